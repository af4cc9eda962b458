"""What can be scanned: experiments by name, and a user's own function or experiment by import path."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sdetheory.scan.experiments.protocol import REQUIRED, Experiment, Observable, Parameter, Predicted, known
from sdetheory.scan.records import Outcome

__all__ = [
    "NAMED", "REQUIRED", "Experiment", "Observable", "Outcome", "Parameter", "Predicted", "find", "run_points",
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
    if spec.startswith("simulate+"):
        from sdetheory.scan.experiments.simulate import Simulate

        return Simulate(tuple(_module(name).__name__ for name in spec.split("+")[1:]))
    if ":" not in spec:
        known("scan", [spec], NAMED, "experiment")
        return _object(NAMED[spec])
    found = _object(spec)
    if hasattr(found, "run") and hasattr(found, "validate"):
        return found
    from sdetheory.scan.experiments.function import FunctionExperiment

    return FunctionExperiment(spec, found)


def run_points(name: str, points: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> list[Outcome]:
    """Outcomes of points, keeping of each what its parameter `record` names (everything without one)."""
    experiment = find(name)
    if "record" in experiment.parameters:
        return experiment.run(points, seeds)
    outcomes = experiment.run([{k: v for k, v in one.items() if k != "record"} for one in points], seeds)
    return [_kept(one, point.get("record")) for one, point in zip(outcomes, points, strict=True)]


def _kept(outcome: Outcome, record: Sequence[str] | None) -> Outcome:
    """The outcome with the observables named."""
    if record is None or outcome.diverged is not None:
        return outcome
    known("the outcome", record, outcome.measured, "observable")
    measured, errors = ({n: v for n, v in table.items() if n in record}
                        for table in (outcome.measured, outcome.standard_error))  # fmt: skip
    return dataclasses.replace(outcome, measured=measured, standard_error=errors)


def _object(spec: str) -> Any:
    """The object at `module:name`, the current folder being on the path."""
    module, _, name = spec.partition(":")
    found = _module(module)
    if not hasattr(found, name):
        known(f"module {module}", [name], [one for one in vars(found) if not one.startswith("_")], "object")
    return getattr(found, name)


def _module(name: str) -> Any:
    """The module of this name, the current folder being on the path."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{name}.".startswith(f"{missing.name}."):
            raise
        raise ValueError(f"no module named {name!r} in {os.getcwd()} or on the path") from None
