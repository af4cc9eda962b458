"""A claim: a sentence, a proof whose keyword arguments are its hypotheses, and what became of it.

A proof is a generator function that yields verdicts. All its keyword arguments default to True and name
hypotheses; the runner drops each in turn, and the proof must then be refuted by a point where the statement
fails.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proofs_check.judge import Undecided, Verdict
from sdetheory.predictions.letters import NotRational

Proof = Callable[..., Iterator[Verdict]]
CLAIMS: dict[str, "Claim"] = {}


@dataclass(frozen=True)
class Claim:
    """What is claimed, how far the algebra reaches, where it comes from, and its proof."""

    id: str
    says: str
    establishes: str
    source: str
    proof: Proof
    latex: str = ""
    lemmas: tuple[str, ...] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """Names of the hypotheses: the keyword arguments of the proof."""
        return tuple(inspect.signature(self.proof).parameters)


@dataclass(frozen=True)
class Twin:
    """The proof with one hypothesis dropped: it must be refuted, with the point that refutes it."""

    hypothesis: str
    meaning: str
    outcome: str
    check: str = ""
    witness: Mapping[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A claim judged: the checks of its proof, its broken twins, the time."""

    claim: Claim
    checks: tuple[Verdict, ...]
    twins: tuple[Twin, ...]
    undecided: str
    seconds: float

    @property
    def verdict(self) -> str:
        """ "proved", "refuted" or "undecided"; a hypothesis that is not refuted when dropped is
        "undecided"."""
        if any(v.refuted for v in self.checks):
            return "refuted"
        certified = bool(self.checks) and not self.undecided and all(v.proved for v in self.checks)
        return "proved" if certified and self.twins and not self.idle else "undecided"

    @property
    def idle(self) -> tuple[str, ...]:
        """Hypotheses whose removal was not refuted."""
        return tuple(t.hypothesis for t in self.twins if t.outcome != "refuted")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of certificate used."""
        return tuple(dict.fromkeys(v.kind for v in self.checks))

    @property
    def divided_by(self) -> tuple[str, ...]:
        """Everything that was divided by, besides numbers: it must not vanish."""
        return tuple(sorted({str(f) for v in self.checks for f in v.divided_by}))

    @property
    def predictions(self) -> tuple[Any, ...]:
        """The predictions derived."""
        return tuple(dict.fromkeys(p for v in self.checks for p in v.predictions))

    @property
    def mutants(self) -> int:
        """Number of changed predictions that were refused."""
        return sum(v.mutants - len(v.survivors) for v in self.checks)


def claim(
    id: str,
    says: str,
    establishes: str,
    source: str,
    *,
    latex: str = "",
    given: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
) -> Callable[[Proof], Proof]:
    """Register a proof under an id.

    `establishes` states the quantifiers; `given` lists cited lemmas the proof relies on; `where` says in
    words what each hypothesis (keyword argument) means.
    """

    def register(proof: Proof) -> Proof:
        if id in CLAIMS and CLAIMS[id].proof.__module__ != proof.__module__:
            raise ValueError(f"claim {id!r} exists already, in {CLAIMS[id].proof.__module__}")
        CLAIMS[id] = Claim(id, says, establishes, source, proof, latex, tuple(given), dict(where or {}))
        return proof

    return register


def examine(claim: Claim) -> Outcome:
    """Run a proof, then each of its broken twins."""
    start = time.perf_counter()
    checks, undecided = _checks(claim, {})
    twins = tuple(_twin(claim, name) for name in claim.hypotheses)
    return Outcome(claim, tuple(checks), twins, undecided, time.perf_counter() - start)


def _checks(
    claim: Claim, dropped: Mapping[str, bool], until_refuted: bool = False
) -> tuple[list[Verdict], str]:
    checks: list[Verdict] = []
    try:
        for verdict in claim.proof(**dropped):
            checks.append(verdict)
            if until_refuted and verdict.refuted:
                break
    except (Undecided, NotRational) as why:
        return checks, str(why) or "undecided"
    return checks, ""


def _twin(claim: Claim, name: str) -> Twin:
    checks, undecided = _checks(claim, {name: False}, until_refuted=True)
    meaning = claim.meanings.get(name, name.replace("_", " "))
    if checks and checks[-1].refuted:
        return Twin(name, meaning, "refuted", checks[-1].label, checks[-1].witness)
    failed = next((v.label for v in checks if not v.proved), "")
    return Twin(
        name, meaning, f"undecided: {undecided or failed}" if undecided or failed else "not needed", failed
    )
