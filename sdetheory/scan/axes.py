"""The axes of a scan: lists, equal steps, equal ratios, and axes that advance together."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sdetheory import checks
from sdetheory.scan.experiments.protocol import known

KINDS = ("values", "linear", "log")
LONGEST = 1_000_000  # values of an axis: a longer one is a slip, and would fill the memory before anything is checked
DIGITS = 12  # significant digits of computed values: the same number whatever grid it belongs to, on any machine


class Axis(NamedTuple):
    """One parameter that varies.

    kind: values (`numbers` are the values themselves, texts too), linear or log (`numbers` are first, last, count).
    Computed values are rounded to 12 significant digits, so that a longer or finer grid contains the same numbers.
    zip: axes that share this name advance together.
    """

    kind: str
    numbers: tuple[Any, ...]
    zip: str | None = None

    @property
    def values(self) -> list[Any]:
        """The values along the axis, in order."""
        if self.kind == "values":
            return list(self.numbers)
        first, last, count = self.numbers
        steps = [i / (count - 1) for i in range(count)] if count > 1 else [0.0]
        if self.kind == "log":
            return [_rounded(first * (last / first) ** s) for s in steps]
        return [_rounded(first + (last - first) * s) for s in steps]


def values(*numbers: Any, zip: str | None = None) -> Axis:
    """An axis through these values (or through those of one list)."""
    given = numbers[0] if len(numbers) == 1 and isinstance(numbers[0], list | tuple) else numbers
    return axis({"values": list(given), **_zip(zip)})


def linear(first: float, last: float, count: int, zip: str | None = None) -> Axis:
    """An axis of `count` equal steps, both ends included."""
    return axis({"linear": [first, last, count], **_zip(zip)})


def log(first: float, last: float, count: int, zip: str | None = None) -> Axis:
    """An axis of `count` equal ratios, both ends included."""
    return axis({"log": [first, last, count], **_zip(zip)})


def axis(table: Mapping[str, Any]) -> Axis:
    """From {"values" | "linear" | "log": [...], "zip": name}; ValueError says what is wrong."""
    known("an axis", table, (*KINDS, "zip"), "key")
    given = [kind for kind in KINDS if kind in table]
    if len(given) != 1:
        raise ValueError(f"an axis must have exactly one of {', '.join(KINDS)}: it has {', '.join(given) or 'none'}")
    kind, numbers = given[0], table[given[0]]
    if isinstance(numbers, str) or not isinstance(numbers, Sequence) or not numbers:
        raise ValueError(f"`{kind}` must be a list that is not empty: {kind}={numbers!r}")
    if not isinstance(table.get("zip", ""), str):
        raise ValueError(f"`zip` must be a text, the name that axes advancing together share: zip={table['zip']!r}")
    found = Axis(kind, _plain(numbers) if kind == "values" else _ends(kind, numbers), table.get("zip"))
    seen: set[Any] = set()
    for value in found.values:
        if value in seen:
            raise ValueError(f"`{kind}` must not repeat a value: {kind}={list(numbers)!r} has {value!r} twice")
        seen.add(value)
    return found


def table(found: Axis) -> dict[str, Any]:
    """What `axis` makes this axis of."""
    return {found.kind: _listed(found.numbers), **_zip(found.zip)}


def combinations(axes: Mapping[str, Axis]) -> Iterator[dict[str, Any]]:
    """All points of the grid, the last axis fastest; axes zipped together count as one, at the first one's place.

    Raises ValueError for zipped axes of different lengths.
    """
    bundles: dict[Any, list[str]] = {}
    for name, one in axes.items():
        bundles.setdefault(name if one.zip is None else ("zip", one.zip), []).append(name)
    steps = []
    for key, names in bundles.items():
        columns = [axes[name].values for name in names]
        if len({len(column) for column in columns}) > 1:
            sizes = ", ".join(f"{name} has {len(c)}" for name, c in zip(names, columns, strict=True))
            raise ValueError(f"axes with zip={key[1]!r} must have equally many values: {sizes}")
        steps.append([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])
    for parts in itertools.product(*steps):
        yield {name: value for part in parts for name, value in part.items()}


def _rounded(x: float) -> float:
    return float(f"{x:.{DIGITS}g}")


def _ends(kind: str, numbers: Sequence[Any]) -> tuple[float, float, int]:
    if len(numbers) != 3:
        raise ValueError(f"`{kind}` must be [first, last, count]: {kind}={list(numbers)!r}")
    first, last = (checks.real(f"{kind}[{i}]", numbers[i]) for i in range(2))
    count = checks.integer(f"{kind}[2]", numbers[2], 1)
    if count > LONGEST:
        raise ValueError(f"`{kind}[2]` must be at most {LONGEST}: {kind}[2]={count}")
    if kind == "log" and not (first > 0 and last > 0):
        raise ValueError(f"`log` must have positive ends: log={list(numbers)!r}")
    return first, last, count


def _plain(numbers: Sequence[Any]) -> tuple[Any, ...]:
    """Lists as tuples, so that an axis can be hashed and compared."""
    return tuple(_plain(x) if isinstance(x, list | tuple) else x for x in numbers)


def _listed(numbers: Any) -> Any:
    return [_listed(x) for x in numbers] if isinstance(numbers, tuple) else numbers


def _zip(name: str | None) -> dict[str, str]:
    return {} if name is None else {"zip": name}
