"""What an experiment is: named parameters in, measured numbers with standard errors out, predictions beside them."""

import difflib
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sdetheory import checks
from sdetheory.scan.records import Outcome

REQUIRED: Any = object()  # the default of a parameter that has none
Parameters = Mapping[str, Any]


class Parameter(NamedTuple):
    """A parameter of an experiment: its kind, default, unit, meaning and rule.

    kind: float, integer, text, boolean, or list (of floats).  rule: any, positive, nonnegative or unit (0 <= x < 1)
    for numbers and the entries of lists; a tuple of the texts allowed for a text; an integer: the least value.
    """

    kind: str
    default: Any = REQUIRED
    unit: str = ""
    says: str = ""
    rule: Any = "any"


class Observable(NamedTuple):
    """A number (or list of numbers) that an experiment measures: its unit, and what it is in words."""

    unit: str
    says: str


class Predicted(NamedTuple):
    """A predicted value, by which formula, and the relative error it is known to have (0: exact)."""

    value: float
    source: str = ""
    margin: float = 0.0


class Experiment(Protocol):
    """What a scan needs of an experiment; any object with these attributes can be scanned as `module:object`."""

    name: str
    says: str

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Name -> Parameter; what depends on other parameters may be left to `validate`."""

    @property
    def observables(self) -> Mapping[str, Observable]:
        """Name -> Observable; empty where it is not known before the run."""

    def validate(self, parameters: Parameters) -> dict[str, Any]:
        """All parameters, defaults filled in, numbers of the right kind; ValueError says what is wrong."""

    def run(self, points: Sequence[Parameters], seeds: Sequence[int]) -> list[Outcome]:
        """One outcome a point, each a function of its parameters and its seed alone, whatever runs beside it."""

    def predict(self, parameters: Parameters, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Observable -> Predicted or None; what needs a measured number is None without it."""

    def batch_key(self, parameters: Parameters) -> Hashable:
        """Points with the same key gain from one call of `run`."""

    def cost(self, parameters: Parameters) -> float | None:
        """Seconds that a point takes on one thread, roughly; None if unknown."""

    def modules(self) -> list[str]:
        """Modules whose sources decide the numbers."""


def complete(table: Mapping[str, Parameter], given: Parameters, where: str) -> dict[str, Any]:
    """All parameters of the table in its order: those given, checked, and the defaults of the others.

    Raises ValueError for a name that is not in the table (with a suggestion), for a missing one and a wrong value.
    """
    known(where, given, table)
    if missing := [name for name, one in table.items() if one.default is REQUIRED and name not in given]:
        raise ValueError(f"{where} needs {', '.join(f'`{name}`' for name in missing)}")
    return {name: checked(name, given.get(name, one.default), one) for name, one in table.items()}


def known(where: str, names: Iterable[str], options: Iterable[str], noun: str = "parameter") -> None:
    """Raises ValueError for the first name that is not an option, with the nearest one."""
    options = list(options)
    for name in names:
        if name not in options:
            near = difflib.get_close_matches(str(name), options, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(options) or 'none'}"
            raise ValueError(f"{where} has no {noun} {name!r}{hint}")


def checked(name: str, value: Any, parameter: Parameter) -> Any:
    """The value as its kind wants it; ValueError names the parameter, the rule and the value."""
    if value is None and parameter.default is None:
        return None
    return _KINDS[parameter.kind](name, value, parameter.rule)


def _float(name: str, value: Any, rule: Any) -> float:
    if isinstance(value, bool | str):
        raise ValueError(f"`{name}` must be a real number: {name}={value!r}")
    number = checks.real(name, value)
    if rule not in _RULES:
        raise ValueError(f"`{name}` has no rule {rule!r}")
    holds, says = _RULES[rule]
    if not holds(number):
        raise ValueError(f"`{name}` must {says}: {name}={value!r}")
    return number + 0.0  # -0.0 is 0.0


def _integer(name: str, value: Any, rule: Any) -> int:
    return checks.integer(name, value, rule if isinstance(rule, int) else -(2**63))


def _text(name: str, value: Any, rule: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"`{name}` must be a text: {name}={value!r}")
    return checks.choice(name, value, rule) if isinstance(rule, tuple) else value


def _boolean(name: str, value: Any, rule: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be true or false: {name}={value!r}")
    return value


def _list(name: str, value: Any, rule: Any) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"`{name}` must be a list of numbers: {name}={value!r}")
    nested = [_list if isinstance(x, Sequence) and not isinstance(x, str) else _float for x in value]
    return [check(f"{name}[{i}]", x, rule) for i, (check, x) in enumerate(zip(nested, value, strict=True))]


def _texts(name: str, value: Any, rule: Any) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"`{name}` must be a list of texts: {name}={value!r}")
    return [_text(f"{name}[{i}]", x, rule) for i, x in enumerate(value)]


_RULES: dict[str, tuple[Callable[[float], bool], str]] = {
    "any": (math.isfinite, "be finite"),
    "positive": (lambda x: x > 0, "be positive"),
    "nonnegative": (lambda x: x >= 0, "not be negative"),
    "unit": (lambda x: 0 <= x < 1, "lie in [0, 1)"),
}
_KINDS: dict[str, Callable[[str, Any, Any], Any]] = {
    "float": _float, "integer": _integer, "text": _text, "boolean": _boolean, "list": _list, "texts": _texts,
}  # fmt: skip
