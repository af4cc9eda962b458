"""The formulas of the theory, each stated once: derived by a proof, measured by a simulation, drawn by a
figure."""

import difflib
from collections.abc import Sequence
from types import ModuleType

from sdetheory.predictions import (
    deep_linear,
    edge_of_stability,
    exponential_lr,
    intrinsic_lr,
    rotational_equilibrium,
    svag,
)
from sdetheory.predictions.letters import LetterForm, letter_form
from sdetheory.predictions.prediction import Prediction, Quantity

THEORIES: tuple[ModuleType, ...] = (
    intrinsic_lr, deep_linear, rotational_equilibrium, exponential_lr, svag, edge_of_stability,
)  # fmt: skip
__all__ = [
    "THEORIES", "LetterForm", "Prediction", "Quantity", "all", "deep_linear", "edge_of_stability", "exponential_lr",
    "find", "intrinsic_lr", "letter_form", "rotational_equilibrium", "svag",
]  # fmt: skip


def all(modules: Sequence[ModuleType] = THEORIES) -> list[Prediction]:
    """Every prediction of the given modules, in the order of their files."""
    return [value for module in modules for value in vars(module).values() if isinstance(value, Prediction)]


def find(name: str, modules: Sequence[ModuleType] = THEORIES) -> Prediction:
    """The prediction called `name` or `theory.name`; LookupError with a suggestion when there is none."""
    known = {key: p for p in all(modules) for key in (p.name, f"{p.theory}.{p.name}")}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise LookupError(f"no prediction named {name!r}{hint}")
    return known[name]
