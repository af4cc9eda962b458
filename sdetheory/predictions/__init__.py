"""The formulas of the theory, each stated once: derived by a proof, measured by a simulation, drawn by a
figure."""

import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType

from sdetheory.predictions.letters import LetterForm, letter_form
from sdetheory.predictions.prediction import Prediction, Quantity

_TOOLS = ("functions", "letters", "prediction")
THEORIES: tuple[ModuleType, ...] = tuple(
    importlib.import_module(f"{__name__}.{module.name}")
    for module in pkgutil.iter_modules(__path__)
    if module.name not in _TOOLS
)
__all__ = ["THEORIES", "LetterForm", "Prediction", "Quantity", "all", "find", "letter_form"]
__all__ += [theory.__name__.rpartition(".")[2] for theory in THEORIES]


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
