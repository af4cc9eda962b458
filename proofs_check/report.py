"""What became of a claim, as text for people and as JSON for machines."""

from typing import Any

from proofs_check.registry import Outcome

_WIDTH = 13


def text(outcome: Outcome) -> str:
    """A paragraph: verdict, id, sentence, then what was established, needed, divided by, given."""
    c = outcome.claim
    head = f"{outcome.verdict:9} {c.id:5} {c.says}  [{outcome.seconds:.2f} s]"
    rows = [("establishes", c.establishes), ("source", c.source)]
    rows += [("needs", f"{t.meaning}; without it: {_twin(t)}") for t in outcome.twins]
    rows += [("given", lemma) for lemma in c.lemmas]
    if outcome.divided_by:
        rows.append(("divided by", ", ".join(outcome.divided_by)))
    certificate = f"{', '.join(outcome.kinds) or 'none'}; {len(outcome.checks)} checks (sympy, then flint)"
    rows.append(("certificate", f"{certificate}; {outcome.mutants} changed predictions refused"))
    if outcome.predictions:
        rows.append(("derives", ", ".join(f"{p.theory}.{p.name}" for p in outcome.predictions)))
    rows += [("FAILED", problem) for problem in problems(outcome)]
    return "\n".join([head, *(f"{'':9} {name:{_WIDTH}}{value}" for name, value in rows)])


def _twin(twin: Any) -> str:
    if twin.outcome != "refuted":
        return twin.outcome.upper()
    return f"refuted in {twin.check!r} at {_point(twin.witness, limit=4)}"


def _point(witness: Any, limit: int = 12) -> str:
    shown = [f"{name}={value}" for name, value in sorted(witness.items(), key=lambda item: str(item[0]))]
    return ", ".join(shown[:limit]) + (", ..." if len(shown) > limit else "")


def problems(outcome: Outcome) -> list[str]:
    """Everything that keeps a claim from being proved."""
    out = [f"not decided: {outcome.undecided}"] if outcome.undecided else []
    for check in outcome.checks:
        if check.refuted:
            out.append(f"{check.label}: {check.residual} is not zero at {_point(check.witness)}")
        out += [f"{check.label}: the changed prediction {changed} passes too" for changed in check.survivors]
    if not outcome.twins:
        out.append("the proof names no hypothesis that could be dropped")
    return out + [f"hypothesis {t.hypothesis}: {t.outcome}" for t in outcome.twins if t.outcome != "refuted"]


def record(outcome: Outcome) -> dict[str, Any]:
    """The same as plain data."""
    c = outcome.claim
    return {
        "id": c.id,
        "statement": c.says,
        "establishes": c.establishes,
        "source": c.source,
        "verdict": outcome.verdict,
        "seconds": round(outcome.seconds, 3),
        "certificate": list(outcome.kinds),
        "checks": [{"label": v.label, "proved": v.proved, "kind": v.kind} for v in outcome.checks],
        "hypotheses": [
            {
                "name": t.hypothesis,
                "meaning": t.meaning,
                "when_dropped": t.outcome,
                "check": t.check,
                "witness": {str(k): str(v) for k, v in t.witness.items()},
            }
            for t in outcome.twins
        ],
        "divided_by": list(outcome.divided_by),
        "given": list(c.lemmas),
        "mutants_refused": outcome.mutants,
        "predictions": [f"{p.theory}.{p.name}" for p in outcome.predictions],
        "latex": {
            "statement": c.latex or (outcome.predictions[0].latex if outcome.predictions else ""),
            "formulas": {p.name: p.latex for p in outcome.predictions},
        },
        "problems": problems(outcome),
    }
