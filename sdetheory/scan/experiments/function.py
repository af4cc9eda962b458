"""A user's own function of one point as an experiment: its signature names the parameters."""

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from sdetheory.checks import Diverged
from sdetheory.scan.experiments.protocol import (
    REQUIRED,
    Observable,
    Parameter,
    Parameters,
    Predicted,
    complete,
    known,
)  # fmt: skip
from sdetheory.scan.records import Outcome, diverged

_KINDS = {float: "float", int: "integer", str: "text", bool: "boolean", list: "list"}


class FunctionExperiment:
    """`function(..., seed)` -> {name: number, list of numbers, or (number, standard error)}, called once a point.

    Parameters are the keyword arguments but `seed`; annotations float, int, str, bool and list (or the type of the
    default) say their kinds.  A function may carry `function.observables`, {name: "what it is [unit]"}, and
    `function.predict`, a function of the same parameters that returns {name: number or None}.
    """

    def __init__(self, spec: str, function: Callable[..., Any]):
        if not callable(function):
            raise ValueError(f"`experiment` must be a function or an experiment: {spec} is {function!r}")
        self.name, self.function = spec, function
        self.says = (inspect.getdoc(function) or "a function of one point").splitlines()[0]
        arguments = inspect.signature(function).parameters
        if any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY) for one in arguments.values()):
            raise ValueError(f"`experiment` must name its parameters one by one: {spec}{inspect.signature(function)}")
        self.seeded = "seed" in arguments
        self.parameters = {name: _parameter(one) for name, one in arguments.items() if name != "seed"}
        says = getattr(function, "observables", {})
        self.observables = {name: Observable("", text) for name, text in dict(says).items()}

    def validate(self, parameters: Parameters) -> dict[str, Any]:
        """All parameters of the function, defaults filled in."""
        return complete(self.parameters, parameters, self.name)

    def run(self, points: Sequence[Parameters], seeds: Sequence[int]) -> list[Outcome]:
        """Call the function point by point; `checks.Diverged` becomes a divergence."""
        return [self._one(point, seed) for point, seed in zip(points, seeds, strict=True)]

    def _one(self, point: Parameters, seed: int) -> Outcome:
        try:
            values = self.function(**point, **({"seed": seed} if self.seeded else {}))
        except Diverged as error:
            return diverged(error)
        if not isinstance(values, Mapping) or not values:
            raise TypeError(f"{self.name} must return a dict of numbers: it returned {values!r}")
        if self.observables:
            known(self.name, values, self.observables, "observable")
        pairs = {name: _pair(name, value) for name, value in values.items()}
        return Outcome({n: v for n, (v, _) in pairs.items()}, {n: e for n, (_, e) in pairs.items()})

    def predict(self, parameters: Parameters, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What `function.predict` says."""
        predict = getattr(self.function, "predict", None)
        found = {} if predict is None else predict(**parameters)
        return {n: v if v is None or isinstance(v, Predicted) else Predicted(float(v)) for n, v in found.items()}

    def batch_key(self, parameters: Parameters) -> Hashable:
        """All alike: points are called one by one."""
        return ()

    def cost(self, parameters: Parameters) -> float | None:
        """Unknown."""
        return None

    def modules(self) -> list[str]:
        """The module of the function."""
        return [self.name.partition(":")[0]]


def _parameter(argument: inspect.Parameter) -> Parameter:
    """From its annotation or the type of its default; otherwise a float."""
    default = REQUIRED if argument.default is argument.empty else argument.default
    hint = argument.annotation if argument.annotation in _KINDS else type(default)
    kind = _KINDS.get(hint, "float")
    return Parameter(kind, default)


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    """(number or list, standard error or None) of plain Python numbers."""
    if isinstance(value, tuple):
        if len(value) != 2:
            raise TypeError(f"`{name}` must be a number or (number, standard error): {value!r}")
        return plain(name, value[0]), None if value[1] is None else plain(name, value[1])
    return plain(name, value), None


def plain(name: str, value: Any) -> Any:
    """numpy numbers and arrays as floats and nested lists of floats."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [plain(name, x) for x in value]
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be a number: {name}={value!r}") from None
