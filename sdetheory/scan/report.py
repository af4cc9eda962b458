"""What a store holds, as text: how many points of which kind, groups with predictions beside them, what went wrong."""

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdetheory.scan.axes import KINDS
from sdetheory.scan.comparison import DETECTABLE, FALSE_ALARM, VERDICTS
from sdetheory.scan.experiments.protocol import known
from sdetheory.scan.groups import Group, grouped, measured, varied
from sdetheory.scan.records import DIVERGED, FAILED, STATUSES, Record


@dataclass(frozen=True)
class Report:
    """The groups of a store in the order of its description, with what it calls axes and observables."""

    description: Mapping[str, Any]
    groups: list[Group]

    @property
    def axes(self) -> list[str]:
        """Varied parameters: the axes of the description first, then what else differs."""
        differ = [name for name in varied(self.groups) if name != "record"]
        described = [name for name in self.description.get("axes", {}) if name in differ]
        return described + [name for name in differ if name not in described]

    @property
    def observables(self) -> list[str]:
        """Measured numbers: those of [scan] record first, else as the experiment lists them, then the others."""
        found = measured(self.groups)
        first = self.description.get("scan", {}).get("record") or _listed(self.description)
        return [n for n in first if n in found] + [n for n in found if n not in first]

    def chosen(self, names: Sequence[str] | None) -> list[str]:
        """These observables, or all; ValueError for one that was not measured."""
        if not self.observables:
            raise ValueError("the store has no measured numbers yet")
        known("the store", names or [], self.observables, "observable")
        return list(names or self.observables)


def report(records: Iterable[Record], description: Mapping[str, Any] | None) -> Report:
    """From the records of a store and the description in its manifest."""
    description = description or {}
    groups = grouped(records)
    names = list(description.get("axes", {}))
    groups.sort(key=lambda group: [_place(group.parameters.get(name)) for name in names])
    return Report(description, groups)


def open_report(path: str) -> Report:
    """Of the store in a folder."""
    from sdetheory.scan.store import Store

    store = Store(path)
    return report(store.records(), tables(store))


def tables(store: Any) -> dict[str, Any]:
    """The tables of the description in a store's manifest; empty without one.

    It is kept as TOML text: the order of the axes counts, and canonical JSON sorts its keys.
    """
    text = ((store.manifest.description if store.manifest else None) or {}).get("toml", "")
    return tomllib.loads(text)


def _place(value: Any) -> tuple[int, Any]:
    """Numbers by size, texts by alphabet, lists by spelling."""
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (2, json.dumps(value))


def _listed(description: Mapping[str, Any]) -> list[str]:
    """Observables as the experiment lists them; nothing where it cannot be loaded here."""
    from sdetheory.scan.experiments import find

    try:
        return list(find(description["scan"]["experiment"]).observables)
    except (KeyError, ValueError, ImportError):
        return []


# -- text


def heading(found: Report, missing: int | None) -> str:
    """Name, experiment and counts."""
    head = found.description.get("scan", {})
    count = Counter(r.status for g in found.groups for r in g.records.values())
    points, groups = sum(count.values()), len(found.groups)
    names = sorted({g.experiment for g in found.groups}) or [head.get("experiment", "nothing")]
    lines = [f"{head.get('name', 'scan')}: {', '.join(names)}, {points} points in {groups} groups"]
    lines += [f"  {head['says']}"] if head.get("says") else []
    shown = [f"{status} {count[status]}" for status in STATUSES]
    shown += [f"missing {missing}"] if missing is not None else []
    return "\n".join([*lines, "  " + "   ".join(shown)])


def table(found: Report, observable: str, limit: int | None = None) -> str:
    """A row a group: varied parameters, mean and standard error over seeds, prediction, ratio, verdict."""
    axes = found.axes
    rows, verdicts = [], Counter[str]()
    for group in found.groups:
        one = group.found(observable)
        where = [short(group.parameters.get(name)) for name in axes]
        if one is None:
            rows.append([*where, "-" if group.healthy else f"- ({_counts(group)})", "", "", ""])
            continue
        verdicts[one.verdict] += 1
        error = "" if one.standard_error is None else f" +- {one.standard_error:.2g}"
        law = "" if one.predicted is None else f"{one.predicted:.5g}"
        ratio = "" if one.ratio is None else f"{one.ratio:.4f}"
        some = "" if len(group.healthy) == len(group.records) else f" ({_counts(group)})"
        rows.append([*where, f"{one.mean:.5g}{error}{some}", law, ratio, one.verdict])
    if not any(row[-3] for row in rows):
        head, rows = [*axes, observable], [row[:-3] for row in rows]
    else:
        head = [*axes, observable, "predicted", "ratio", "verdict"]
    cut = [] if limit is None or len(rows) <= limit else [f"... {len(rows) - limit} more groups (--all)"]
    lines = _aligned([head, *rows[:limit]])
    if set(verdicts) - {"no prediction"}:
        said = ", ".join(f"{verdicts[v]} {v}" for v in VERDICTS if verdicts[v])
        lines_end = [f"{said} (each at false-alarm rate {FALSE_ALARM:g}; agreement: a deviation of "
                     f"{DETECTABLE:.0%} would have been seen)"]  # fmt: skip
    else:
        lines_end = []
    return "\n".join([*lines, *cut, *lines_end])


def troubles(found: Report, traceback: bool = False, limit: int | None = 5) -> str:
    """Points that diverged or failed, each with its reason."""
    lines = []
    bad = [r for g in found.groups for r in g.records.values() if r.status in (DIVERGED, FAILED)]
    for one in bad[:limit]:
        where = ", ".join(f"{name}={short(one.parameters.get(name))}" for name in found.axes)
        lines.append(f"{one.status}: {where}{', ' if where else ''}seed {one.seed}: {reason(one)}")
        if traceback and one.reason.get("traceback"):
            lines += [f"    {line}" for line in str(one.reason["traceback"]).rstrip().splitlines()]
    more = len(bad) - len(bad[:limit])
    return "\n".join(lines + ([f"... {more} more (--failures shows all, with tracebacks)"] if more else []))


def reason(one: Record) -> str:
    """Why a point has no result, in one line."""
    given = one.reason
    if one.status == FAILED:
        return f"{given.get('kind', 'error')}: {given.get('message', '')}"
    if "message" in given:
        return str(given["message"])
    return f"t={given.get('time')}, step {given.get('step')}"


def as_json(found: Report) -> str:
    """Groups with everything that is shown, for other programs."""
    rows = []
    for g in found.groups:
        values = {name: one._asdict() for name in found.observables if (one := g.found(name))}
        rows.append({"experiment": g.experiment, "parameters": dict(g.parameters), "found": values,
                     "seeds": {status: g.count(status) for status in STATUSES}})  # fmt: skip
    return json.dumps(rows)


def short(value: Any) -> str:
    """A parameter in a few characters."""
    if isinstance(value, bool) or not isinstance(value, float):
        text = value if isinstance(value, str) else json.dumps(value)
        return text if len(text) <= 24 else text[:21] + "..."
    return f"{value:.6g}"


def _counts(group: Group) -> str:
    return ", ".join(f"{group.count(status)} {status}" for status in STATUSES if group.count(status))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def scale_of(description: Mapping[str, Any], name: str, values: Sequence[float]) -> str:
    """log or linear: as the description says, else log for positive values that span more than a factor 20."""
    given = description.get("axes", {}).get(name, {})
    kind = next((k for k in KINDS if k in given), "values")
    if kind != "values":
        return kind
    positive = all(v > 0 for v in values)
    return "log" if positive and max(values) > 20 * min(values) else "linear"
