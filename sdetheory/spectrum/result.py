"""What a spectral solver returns: rates with error estimates, eigenfunctions, and what follows from them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.spectrum.resolution import sampled_at

Function = Callable[[np.ndarray], Any]
MISSING = 1e-6  # share of an observable's variance that the modes kept may leave out
PARITIES = {"even": 1, "odd": -1}


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of minus the generator in units of lr wd, ascending, without the eigenvalue 0 of the constant.

    rates, errors: (n,) and their estimated relative errors.  parities: (n,) 1 for eigenfunctions that are equal at
    antipodes, -1 for opposite ones, 0 where the loss does not separate the two.  nodes, weights: (m,) quadrature on
    the angle of the circle or the coordinate u in [-1, 1].  root: (m,) square root of the stationary density on
    them; functions: (n, m) eigenfunctions times root, orthonormal.  has_constant: whether the constant belongs to
    this sector.  Times below are in units of 1/(lr wd).
    """

    dimension: int
    inverse_temperature: float
    rates: np.ndarray
    errors: np.ndarray
    parities: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray
    root: np.ndarray
    functions: np.ndarray
    has_constant: bool = True

    def gap(self, parity: str | None = None) -> float:
        """The smallest rate, of the functions "even" or "odd" under x -> -x where the loss separates them.

        Raises ValueError for another parity, and where the loss differs at antipodes.
        """
        if parity is None:
            return float(self.rates[0])
        wanted = PARITIES[checks.choice("parity", parity, PARITIES)]
        if (self.parities == 0).any():
            raise ValueError(f"`parity` must be None for a loss that differs at antipodes: parity={parity!r}")
        if wanted not in self.parities:
            raise ValueError(f"`count` must be larger to see a rate of this parity: count={len(self.rates)}")
        return float(self.rates[self.parities == wanted][0])

    @property
    def density(self) -> np.ndarray:
        """(m,) stationary probability density on the nodes."""
        return self.root**2

    def expectation(self, observable: Function, weight: Function | None = None) -> float:
        """Mean of observable(nodes) under the stationary law, or under the law of density weight x stationary."""
        law = self.density * self.weights
        law = law if weight is None else law * self._values("weight", weight)
        return float(self._values("observable", observable) @ law / law.sum())

    def covariance(self, observable: Function, ts: Any) -> np.ndarray:
        """Cov(f(x_t), f(x_0)) of the stationary process at the times ts: sum of squared modes e^(-rate t)."""
        modes = self._modes("observable", observable)
        return modes**2 @ np.exp(-np.outer(self.rates, checks.increasing("ts", ts)))

    def mean(self, observable: Function, ts: Any, weight: Function) -> np.ndarray:
        """E f(x_t) at the times ts when x_0 has the density weight x stationary (normalised here)."""
        rest = self.expectation(observable) if self.has_constant else 0.0
        moving = self._start(weight) * self._modes("observable", observable)
        return rest + moving @ np.exp(-np.outer(self.rates, checks.increasing("ts", ts)))

    def law(self, ts: Any, weight: Function) -> np.ndarray:
        """(times, m) probability density of x_t on the nodes at the times ts, from the same start."""
        decays = np.exp(-np.outer(checks.increasing("ts", ts), self.rates))
        moved = (decays * self._start(weight)) @ self.functions * self.root
        return self.density + moved if self.has_constant else moved

    def _start(self, weight: Function) -> np.ndarray:
        """(n,) modes of the law of density weight x stationary."""
        law = self._values("weight", weight) * self.density * self.weights
        if not (law >= 0).all() or law.sum() == 0:
            raise ValueError(f"`weight` must be non-negative and not zero: least value {law.min():.3g}")
        return self._modes("weight", weight) / law.sum()

    def _values(self, name: str, function: Function) -> np.ndarray:
        return sampled_at(name, function, self.nodes)

    def _modes(self, name: str, function: Function) -> np.ndarray:
        """(n,) coefficients on the modes, after a check that they carry the variance."""
        centred = self._values(name, function) * self.root
        if self.has_constant:
            centred = centred - (centred @ (self.weights * self.root)) * self.root
        modes = self.functions @ (self.weights * centred)
        variance = centred**2 @ self.weights
        left_out = variance - modes @ modes
        if left_out > MISSING * variance + 1e-14 * (self._values(name, function) ** 2 @ (self.weights * self.density)):
            raise ValueError(
                f"`count` must be larger to resolve this {name}: count={len(self.rates)}, "
                f"share of the variance left out {left_out / variance:.2g}"
            )
        return modes
