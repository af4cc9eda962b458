"""A prediction: one formula with named symbols, its units and its source, callable on arrays."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.functions import NUMPY
from sdetheory.predictions.letters import LetterForm, letter_form, together_under_roots

DOMAINS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "real": ("be finite", np.isfinite),
    "nonzero": ("be finite and not zero", lambda x: np.isfinite(x) & (x != 0)),
    "nonnegative": ("be finite and not negative", lambda x: np.isfinite(x) & (x >= 0)),
    "positive": ("be finite and positive", lambda x: np.isfinite(x) & (x > 0)),
    "unit": ("lie strictly between 0 and 1", lambda x: (x > 0) & (x < 1)),
}


@dataclass(frozen=True)
class Quantity:
    """A named symbol of a theory: its meaning, its unit in powers of the base units, its LaTeX and its
    domain."""

    name: str
    unit: str
    says: str
    latex: str = ""
    domain: str = "real"

    @property
    def symbol(self) -> sp.Symbol:
        return sp.Symbol(self.name)


@dataclass(frozen=True, eq=False)
class Prediction:
    """A formula stated once: proofs derive it, tests and figures evaluate it.

    `expr` is a sympy expression in the names of `quantities`; `unit` is the unit of its value; `where` lists
    the relations its arguments must satisfy. Calling it with keywords evaluates it on numpy arrays,
    broadcast together.
    """

    name: str
    says: str
    expr: sp.Expr
    unit: str
    source: str
    quantities: tuple[Quantity, ...]
    latex_name: str = ""
    where: tuple[Any, ...] = ()
    theory: str = ""
    known: Mapping[str, Quantity] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        table = {q.name: q for q in self.quantities}
        used = sorted(
            s.name for s in self.expr.free_symbols | set().union(*(c.free_symbols for c in self.where))
        )
        missing = [name for name in used if name not in table]
        if missing:
            raise ValueError(f"`expr` of {self.name} has symbols without a Quantity: {', '.join(missing)}")
        inputs = {name: q for name, q in table.items() if name in used}
        object.__setattr__(self, "known", inputs)

    @property
    def symbols(self) -> dict[str, sp.Symbol]:
        """Argument name -> sympy symbol."""
        return {name: q.symbol for name, q in self.known.items()}

    @property
    def units(self) -> dict[str, str]:
        """Argument name -> unit."""
        return {name: q.unit for name, q in self.known.items()}

    @property
    def formula(self) -> str:
        """The formula as text, in the names of the arguments."""
        return str(together_under_roots(self.expr))

    @property
    def latex(self) -> str:
        """The formula in the letters of the papers."""
        names = {q.symbol: q.latex or sp.latex(q.symbol) for q in self.known.values()}
        shown = together_under_roots(self.expr)
        return f"{self.latex_name or sp.latex(sp.Symbol(self.name))} = {sp.latex(shown, symbol_names=names)}"

    @cached_property
    def letters(self) -> LetterForm:
        """The rational letter form that proofs use."""
        return letter_form(self.expr)

    @cached_property
    def _function(self) -> Callable[..., Any]:
        return sp.lambdify(list(self.symbols.values()), self.expr, modules=[NUMPY, "numpy"], cse=True)

    @cached_property
    def _conditions(self) -> tuple[tuple[str, Callable[..., Any]], ...]:
        return tuple((str(c), sp.lambdify(list(self.symbols.values()), c, "numpy")) for c in self.where)

    def at(self, **values: Any) -> sp.Expr:
        """The formula with some symbols replaced (exact; limits of the special functions taken)."""
        return self.expr.subs(
            {self.symbols[name]: value for name, value in values.items()}, simultaneous=True
        )

    def __call__(self, **values: Any) -> Any:
        """Evaluate on arrays given by keyword; ValueError names a wrong, missing or out-of-domain
        argument."""
        self._check_names(values)
        arrays = {name: self._checked(name, values[name]) for name in self.known}
        try:
            shape = np.broadcast_shapes(*(a.shape for a in arrays.values()))
        except ValueError:
            shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items() if a.ndim)
            raise ValueError(f"{self.name} needs arrays whose shapes go together: {shapes}") from None
        for text, holds in self._conditions:
            if not np.all(holds(*arrays.values())):
                given = ", ".join(f"{name}={values[name]}" for name in self.known if name in text)
                raise ValueError(f"{self.name} needs {text}: {given}")
        value = np.asarray(self._function(*arrays.values()), dtype=float)
        return np.array(np.broadcast_to(value, shape)) if shape else float(value)

    def _check_names(self, values: Mapping[str, Any]) -> None:
        for name in values:
            if name not in self.known:
                near = difflib.get_close_matches(name, self.known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"{self.name} has no argument `{name}`; it takes {', '.join(self.known)}{hint}"
                )
        missing = [name for name in self.known if name not in values]
        if missing:
            raise ValueError(f"{self.name} needs {', '.join(f'`{name}`' for name in missing)}")

    def _checked(self, name: str, value: Any) -> np.ndarray:
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            raise ValueError(f"`{name}` must be a number or an array of numbers: {name}={value!r}") from None
        rule, inside = DOMAINS[self.known[name].domain]
        wrong = ~np.asarray(inside(array))
        if wrong.any():
            raise ValueError(f"`{name}` must {rule}: {name}={array[wrong].flat[0]}")
        return array
