"""What can be scanned: experiments by name, and a user's own function or experiment by import path."""

import importlib
import os
import sys
from functools import lru_cache
from typing import Any

from sdetheory.scan.experiments.protocol import (
    REQUIRED, Divergence, Experiment, Observable, Outcome, Parameter, Predicted, known,
)  # fmt: skip

__all__ = [
    "NAMED", "REQUIRED", "Divergence", "Experiment", "Observable", "Outcome", "Parameter", "Predicted", "find",
]  # fmt: skip

NAMED = {
    "simulate": "sdetheory.scan.experiments.simulate:EXPERIMENT",
    "effective_lr": "sdetheory.scan.experiments.effective_lr:EXPERIMENT",
    "imbalance_half_life": "sdetheory.scan.experiments.imbalance:EXPERIMENT",
    "fast_equilibrium": "sdetheory.scan.experiments.fast_equilibrium:EXPERIMENT",
}


@lru_cache(maxsize=64)
def find(spec: str) -> Experiment:
    """The experiment of this name, or the object at `module:name`: an experiment, or a function of one point.

    Raises ValueError for an unknown name (with a suggestion), a module or an object that cannot be found.
    """
    if not isinstance(spec, str):
        raise ValueError(f"`experiment` must be a name or module:function: experiment={spec!r}")
    if ":" not in spec:
        known("scan", [spec], NAMED, "experiment")
        return _object(NAMED[spec])
    found = _object(spec)
    if hasattr(found, "run") and hasattr(found, "validate"):
        return found
    from sdetheory.scan.experiments.function import FunctionExperiment

    return FunctionExperiment(spec, found)


def _object(spec: str) -> Any:
    """The object at `module:name`, the current folder being on the path."""
    module, _, name = spec.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{module}.".startswith(f"{missing.name}."):
            raise
        raise ValueError(f"no module named {module!r} in {os.getcwd()} or on the path: experiment={spec!r}") from None
    if not hasattr(found, name):
        known(f"module {module}", [name], [one for one in vars(found) if not one.startswith("_")], "object")
    return getattr(found, name)
