"""Instruments: what watches training step by step, and the little they may see of a step."""

import copy
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from sdetheory import checks
from sdetheory.networks.dots import GroupDot
from sdetheory.networks.groups import Group


class Step(NamedTuple):
    """One step of E nets of P parameters, as plain arrays that any framework can fill.

    number; before, gradient, after (E, P): weights before, gradient of the batch loss there, weights after the step
    (and after a rescaling, if one happened); lr and weight_decay (E,), or (E, P), one a parameter, where they differ
    between groups; loss (E,): of the batch, at `before`. In `train` the arrays are overwritten by the next step: copy
    what you keep.
    """

    number: int
    before: np.ndarray
    gradient: np.ndarray
    after: np.ndarray
    lr: np.ndarray
    weight_decay: np.ndarray
    loss: np.ndarray


class Instrument(Protocol):
    """What `train` asks of an instrument; write your own with these two names.

    `reading` gives arrays with leading axis E, then (where it makes sense) the seen steps. Three optional names:
    `every` (the instrument sees the steps whose number it divides, or those it holds; default 1), `name` (of its
    reading; default the class name in snake_case), and `part(nets: slice)` (the instrument for these nets of the
    ensemble; default a copy).
    One that must not see steps with a weight rescaling in them says so by `takes_rescaling = False`.
    """

    def see(self, step: Step) -> None: ...
    def reading(self) -> dict[str, np.ndarray]: ...


def name_of(instrument: Any) -> str:
    """`instrument.name`, or its class name in snake_case."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(instrument).__name__)
    return getattr(instrument, "name", None) or words.lower()


def check_instruments(instruments: Sequence[Any], rescaled: bool = False) -> tuple[Any, ...]:
    """ValueError for two of one name, one without see and reading, or one that takes no rescaled steps."""
    if not isinstance(instruments, Sequence) or isinstance(instruments, str):
        raise ValueError(f"`instruments` must be a list of instruments: {instruments!r}")
    names = [name_of(i) for i in instruments]
    for instrument, name in zip(instruments, names, strict=True):
        if isinstance(instrument, type) or not (hasattr(instrument, "see") and hasattr(instrument, "reading")):
            raise ValueError(f"`instruments` must have `see` and `reading`: {instrument!r}")
        if rescaled and not getattr(instrument, "takes_rescaling", True):
            raise ValueError(f"`instruments` must take steps that end with a rescaling: {name!r} does not")
        if names.count(name) > 1:
            raise ValueError(f"`instruments` must have different names: two are called {name!r}")
    return tuple(instruments)


def parts(instruments: Sequence[Any], nets: slice) -> list[Any]:
    """Instruments of their own for some nets of an ensemble."""
    return [i.part(nets) if hasattr(i, "part") else copy.deepcopy(i) for i in instruments]


def watching(instruments: Sequence[Any], number: int) -> list[Any]:
    """Those that see the step of this number."""
    return [i for i in instruments if _seen(i, number)]


def _seen(instrument: Any, number: int) -> bool:
    every = getattr(instrument, "every", 1)
    return number % every == 0 if isinstance(every, int) else number in every


def spacing(every: Any) -> int | frozenset[int]:
    """`every` of an instrument, checked: a spacing >= 1, or the set of numbers of the steps themselves."""
    if np.ndim(every) == 0:
        return checks.integer("every", every, 1)
    return frozenset(checks.integer("every", number) for number in np.asarray(every).tolist())


def joined(
    instruments: Sequence[Any], chunks: Sequence[Sequence[Any]], first: int, steps: int
) -> dict[str, dict[str, np.ndarray]]:
    """The readings of all chunks, by name; `steps`, the seen ones, added where the instrument did not."""
    out = {}
    for i, instrument in enumerate(instruments):
        readings = [chunk[i].reading() for chunk in chunks]
        seen = np.array([n for n in range(first, first + steps) if _seen(instrument, n)], dtype=np.int64)
        whole = {key: np.concatenate([r[key] for r in readings], axis=0) for key in readings[0]}
        out[name_of(instrument)] = {"steps": seen, **whole}
    return out


class Series:
    """Rows (E, G) of named quantities, one a seen step; the base of the shipped instruments."""

    def __init__(self, groups: Sequence[Group], every: Any = 1) -> None:
        self.groups, self.every, self.dot = tuple(groups), spacing(every), GroupDot(groups)
        self._rows: dict[str, list[np.ndarray]] = {}

    def keep(self, **values: np.ndarray) -> None:
        """Add a row of each quantity."""
        for name, row in values.items():
            self._rows.setdefault(name, []).append(np.array(row))

    def reading(self) -> dict[str, np.ndarray]:
        """Every quantity as (E, T, G)."""
        return {name: np.stack(rows, axis=1) for name, rows in self._rows.items()}


class Norms(Series):
    """|w|, |g| and |w' - w| of every group, each (E, T, G): `norm`, `gradient_norm`, `step_norm`."""

    def see(self, step: Step) -> None:
        """One row."""
        moved = step.after - step.before
        pairs = {"norm": step.before, "gradient_norm": step.gradient, "step_norm": moved}
        self.keep(**{name: np.sqrt(self.dot(a, a)) for name, a in pairs.items()})


class Angle(Series):
    """The angle between w and w' of every group, in radians: `angle` (E, T, G).

    atan2 of sqrt(|w|^2 |d|^2 - <w, d>^2) and <w, w'>, d = w' - w: small angles keep their digits.
    """

    def see(self, step: Step) -> None:
        """One row."""
        moved = step.after - step.before
        norm, length = self.dot(step.before, step.before), self.dot(moved, moved)
        along = self.dot(step.before, moved)
        across = np.sqrt(np.maximum(norm * length - along**2, 0.0))
        self.keep(angle=np.arctan2(across, norm + along))
