"""Abstract vectors in any dimension: linear combinations of letters with a table of inner products."""

from collections.abc import Mapping
from typing import Any

import sympy as sp


class Vector(dict[str, Any]):
    """letter -> coefficient."""

    def __add__(self, other: Mapping[str, Any]) -> "Vector":
        return Vector({k: self.get(k, 0) + other.get(k, 0) for k in {**self, **other}})

    def __rmul__(self, scalar: Any) -> "Vector":
        return Vector({k: scalar * v for k, v in self.items()})

    def __neg__(self) -> "Vector":
        return -1 * self

    def __sub__(self, other: "Vector") -> "Vector":
        return self + (-other)


def letters(names: str) -> list[Vector]:
    """One vector per name."""
    return [Vector({name: sp.S.One}) for name in names.split()]


class Gram:
    """Inner products of letters; an unstated one is a free symbol, so that nothing is assumed silently."""

    def __init__(self, **known: Any):
        self.known = {tuple(sorted(pair.split("_"))): sp.sympify(v) for pair, v in known.items()}

    def __call__(self, u: Vector, v: Vector) -> sp.Expr:
        return sp.Add(*(a * b * self.pair(x, y) for x, a in u.items() for y, b in v.items()))

    def pair(self, x: str, y: str) -> sp.Expr:
        """<x, y> of two letters."""
        key = tuple(sorted((x, y)))
        return self.known.get(key, sp.Symbol(f"<{key[0]},{key[1]}>"))


def taylor(gram: Gram, form: Gram, h: Vector) -> sp.Expr:
    """L(w + h) - L(w) to second order: <g, h> + <h, H h>/2, for h with polynomial coefficients.

    `gram` gives <g, .>, `form` gives <., H .>.
    """
    (g,) = letters("g")
    return sp.expand(gram(g, h) + form(h, h) / 2)
