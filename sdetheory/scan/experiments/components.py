"""The package's models, noises, dynamics, integrators, observers and observables by name, made from plain parameters.

The tables are read off the public names, their kernels and their signatures: a plug-in needs no second registration.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

import sdetheory
from sdetheory import dynamics, integrators, observables, observers
from sdetheory.lanes import verbs
from sdetheory.scan.experiments.protocol import REQUIRED, Parameter, checked, known

ROLES = ("model", "dynamics", "noise", "integrator")
NESTED = ("noise", "scheme")  # plug-ins inside of plug-ins: only their defaults can be had by name
_NUMBER = r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
ENDS, UNIT = re.compile(rf"^{_NUMBER}:{_NUMBER}$"), re.compile(r"^e(\d+)$")


class Component(NamedTuple):
    """A class or builder of the package, and what its fields are."""

    name: str
    make: Callable[..., Any]
    fields: Mapping[str, Parameter]
    takes_model: bool


_DEEP = {
    "depth": Parameter("integer", 2, "1", "layers", 1),
    "width": Parameter("integer", 2, "1", "of all layers", 1),
    "widths": Parameter("list", None, "1", "of the layers, inputs first; instead of depth and width"),
    "target": Parameter("array", 1.0, "", "matrix, or a number times the identity"),
}


@lru_cache(maxsize=16)
def tables(modules: tuple[str, ...] = ()) -> dict[str, dict[str, Component]]:
    """role -> name -> Component: those of the package, and of further modules."""
    found: dict[str, dict[str, Component]] = {role: {} for role in ROLES}
    for value in [*_public(), *_of_packages(), *(v for name in modules for v in _own(importlib.import_module(name)))]:
        role = _role(value)
        if role and not any(n in NESTED and one.default is one.empty for n, one in _arguments(value).items()):
            found[role][value.__name__] = _component(value)
    return found


@lru_cache(maxsize=16)
def observed(modules: tuple[str, ...] = ()) -> dict[str, Component]:
    """Observable name -> observer class (compiled, along the way) or function of states."""
    places = [observers, *(importlib.import_module(name) for name in modules)]
    seen = [v for place in places for v in _own(place) if inspect.isclass(v) and _observes(v)]
    found = {snake(v.__name__): _component(v) for v in seen}
    for value in filter(inspect.isfunction, _own(observables)):
        signature = inspect.signature(value)
        of_states = next(iter(signature.parameters)) in ("w", "model") and "w" in signature.parameters
        if of_states and signature.return_annotation is np.ndarray:
            found.setdefault(value.__name__, _component(value))
    return found


def snake(name: str) -> str:
    """Class name as `simulate` spells the observed value."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _public() -> list[Any]:
    """Classes and builders that `sdetheory` exports from its models."""
    homes = sdetheory._HOME.items()
    return [getattr(sdetheory, name) for name, home in homes if home.startswith("models.")]


def _of_packages() -> list[Any]:
    """Classes of the modules of dynamics and integrators."""
    found = []
    for package in (dynamics, integrators):
        for one in pkgutil.iter_modules(package.__path__):
            found += _own(importlib.import_module(f"{package.__name__}.{one.name}"))
    return [value for value in found if inspect.isclass(value)]


def _own(module: Any) -> list[Any]:
    """Public classes and functions defined in a module, or in those of a package that it hands on."""
    both = [v for name, v in vars(module).items() if not name.startswith("_") and callable(v)]
    inside = lambda v: f"{getattr(v, '__module__', None)}.".startswith(f"{module.__name__}.")
    return [v for v in both if inside(v) and hasattr(v, "__name__")]


def _has(verb: Any, cls: type) -> bool:
    return any(one in verb.kernels for one in cls.__mro__)


def _observes(cls: type) -> bool:
    return hasattr(cls, "_fields") and any(_has(v, cls) for v in (verbs.observe, verbs.measure))


def _role(value: Any) -> str | None:
    """What a public object is, by its kernels; a builder by what its first argument is."""
    if inspect.isfunction(value):
        if value.__module__.startswith("sdetheory.models.") and not value.__name__.startswith("_"):
            first = next(iter(inspect.signature(value).parameters), "")
            return "noise" if first == "model" else "model" if first in ("depth", "widths", "inputs") else None
        return None
    if not inspect.isclass(value):
        return None
    if callable(getattr(value, "rates", None)) and hasattr(value, "calculi") and value.__name__ != "Optimiser":
        return "dynamics"
    if not hasattr(value, "_fields"):
        return None
    if _has(verbs.step, value) or hasattr(value, "rtol"):
        return "integrator" if hasattr(value, "calculus") else None
    if any(_has(v, value) for v in (verbs.gradient, verbs.coordinate)):
        return "model"
    return "noise" if any(_has(v, value) for v in (verbs.disturb, verbs.coordinate_noise)) else None


def _arguments(value: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(value).parameters


def _component(value: Any) -> Component:
    arguments = _arguments(value)
    both = {name: _field(one) for name, one in arguments.items() if name not in ("model", "w", *NESTED)}
    fields = {name: one for name, one in both.items() if one is not None}
    if value.__name__ == "deep_linear":
        fields = _DEEP
    return Component(value.__name__, value, fields, "model" in arguments)


def _field(argument: inspect.Parameter) -> Parameter | None:
    """A parameter, by annotation and default; None for what a file cannot say."""
    hint = argument.annotation if isinstance(argument.annotation, str) else getattr(argument.annotation, "__name__", "")
    default = REQUIRED if argument.default is argument.empty else argument.default
    kinds = {"float": "float", "int": "integer", "bool": "boolean", "str": "text", "ndarray": "array"}
    if isinstance(default, np.ndarray) or not (default is REQUIRED or isinstance(default, int | float | str | None)):
        return None
    if hint in kinds:
        return Parameter(kinds[hint], default)
    if default is not REQUIRED and default is not None:
        return Parameter({float: "float", int: "integer", bool: "boolean", str: "text"}[type(default)], default)
    names = {"depth": "integer", "batch": "integer", "widths": "list"}
    numeric = "Rate" in str(argument.annotation) or argument.name in ("lr", "weight_decay")
    return Parameter(names.get(argument.name, "float" if numeric else "array"), default)


def array(name: str, value: Any, d: int) -> Any:
    """An array parameter: a number (in every place), a list, "first:last" (equal steps), or "e3" (unit vector)."""
    if isinstance(value, str):
        if unit := UNIT.match(value):
            if not 1 <= int(unit[1]) <= d:
                raise ValueError(f"`{name}` must be one of e1 ... e{d}: {name}={value!r}")
            return (np.arange(1, d + 1) == int(unit[1])).astype(float)
        if ends := ENDS.match(value):
            return np.linspace(float(ends[1]), float(ends[2]), d)
        raise ValueError(f'`{name}` must be a number, a list, "first:last" or "e1": {name}={value!r}')
    return np.full(d, float(value)) if isinstance(value, int | float) else np.array(value, dtype=float)


def plain_array(name: str, value: Any) -> Any:
    """An array parameter as it is kept: a float, a text, or nested lists of floats."""
    if isinstance(value, str):
        if not (UNIT.match(value) or ENDS.match(value)):
            array(name, value, 1)
        return value
    if isinstance(value, bool):
        raise ValueError(f"`{name}` must be numbers: {name}={value!r}")
    kind = "list" if isinstance(value, Sequence) else "float"
    return checked(name, value, Parameter(kind))


def build(component: Component, values: Mapping[str, Any], d: int, context: Mapping[str, Any]) -> Any:
    """The plug-in; `context` fills what the other components say (model, lr, weight_decay, widths)."""
    if component.name == "deep_linear":
        return _deep_linear(component, values)
    given = {}
    for name, field in component.fields.items():
        value = values.get(name, context.get(name))
        if value is None and field.default is REQUIRED:
            raise ValueError(f"{component.name} needs `{name}`")
        if value is not None:
            given[name] = array(name, value, d) if field.kind == "array" else value
            if name == "widths":
                given[name] = [int(width) for width in np.asarray(value)]
    return component.make(**given, **({"model": context["model"]} if component.takes_model else {}))


def _deep_linear(component: Component, values: Mapping[str, Any]) -> Any:
    widths = values.get("widths")
    widths = [int(v) for v in widths] if widths else [values["width"]] * (values["depth"] + 1)
    target = values["target"]
    matrix = target * np.eye(widths[-1], widths[0]) if isinstance(target, int | float) else np.array(target)
    return component.make(widths, matrix)


def chosen(table: Mapping[str, Component], role: str, name: str) -> Component:
    """The component of this name; ValueError with a suggestion."""
    known(f"`{role}`", [name], table, "choice")
    return table[name]
