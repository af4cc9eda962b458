"""Equilibrium laws with known expectations: von Mises-Fisher and Bingham, mild and concentrated, in 3, 16 and 128 dimensions.

In units of 1/(lr wd) the direction obeys dw = -(strength/n) grad l(w) ds + sqrt(2/n) dB on the sphere, n = d - 1, and has the
stationary density exp(-strength l): l = -u or l = u^2 with u = <e_1, w>.  A step h = lr wd dt is all that a scheme sees of lr and wd.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, special

LR, WEIGHT_DECAY, SIGMA = 0.1, 0.1, 1.0


class Law(NamedTuple):
    """`kind` is "vMF" (l = -u, observed: u) or "Bingham" (l = u^2, observed: u^2); `exact` the expectation observed."""

    kind: str
    d: int
    strength: float
    exact: float

    @property
    def name(self) -> str:
        """Kind, dimension and the expectation, for Bingham times d."""
        value = self.exact if self.kind == "vMF" else self.exact * self.d
        return f"{self.kind} d={self.d} {'E u' if self.kind == 'vMF' else 'd E u^2'}={value:.1g}"

    def energy(self, u: np.ndarray) -> np.ndarray:
        """l as a function of u."""
        return -u if self.kind == "vMF" else u * u

    def observed(self, u: np.ndarray) -> np.ndarray:
        """u or u^2."""
        return u if self.kind == "vMF" else u * u

    def force(self, u: np.ndarray) -> np.ndarray:
        """-dl/du."""
        return np.ones_like(u) if self.kind == "vMF" else -2.0 * u

    def flow(self, u: np.ndarray, time: float) -> np.ndarray:
        """u after the exact gradient flow of l on the sphere for `time`."""
        if self.kind == "vMF":
            return (u * np.cosh(time) + np.sinh(time)) / (np.cosh(time) + u * np.sinh(time))
        shrunk = u * np.exp(-2.0 * time)
        return shrunk / np.sqrt(shrunk**2 + 1.0 - u * u)

    @property
    def scale(self) -> float:
        """k of the model -k <e_1, w>/|w| or k w_1^2/|w|^2 that has this law under LR, WEIGHT_DECAY, SIGMA."""
        rate, n = LR * WEIGHT_DECAY, self.d - 1
        return float(self.strength * rate / n * np.sqrt(SIGMA**2 * n / (2.0 * rate)))

    @property
    def squared_norm(self) -> float:
        """|w|^2 at equilibrium."""
        return float(LR * np.sqrt(SIGMA**2 * (self.d - 1) / (2.0 * LR * WEIGHT_DECAY)))

    def sample(self, paths: int, rng: np.random.Generator) -> np.ndarray:
        """Starts (paths, d) from the stationary law, at the equilibrium norm."""
        u, mass = nodes(self)
        order = np.argsort(u)
        cells = np.cumsum(mass[order])
        first = np.interp(rng.random(paths), cells - 0.5 * mass[order], u[order])
        rest = rng.standard_normal((paths, self.d - 1))
        rest *= (np.sqrt(1.0 - first**2) / np.linalg.norm(rest, axis=1))[:, None]
        return np.sqrt(self.squared_norm) * np.column_stack([first, rest])


def _nodes(kind: str, d: int, strength: float, count: int = 600) -> tuple[np.ndarray, np.ndarray]:
    u, weight = special.roots_jacobi(count, (d - 3) / 2, (d - 3) / 2)
    exponent = strength * u if kind == "vMF" else -strength * u * u
    mass = weight * np.exp(exponent - exponent.max())
    return u, mass / mass.sum()


def nodes(law: Law) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature nodes u and masses of the stationary law."""
    return _nodes(law.kind, law.d, law.strength)


def law(kind: str, d: int, wanted: float) -> Law:
    """The law with E u = wanted (vMF) or E u^2 = wanted / d (Bingham)."""
    target = wanted if kind == "vMF" else wanted / d

    def mean(strength: float) -> float:
        u, mass = _nodes(kind, d, strength)
        return float(mass @ (u if kind == "vMF" else u * u))

    strength = optimize.brentq(lambda s: mean(s) - target, 1e-6, 40.0 * d)
    return Law(kind, d, float(strength), mean(strength))


WANTED = [(kind, d, value) for d in (3, 16, 128) for kind, values in (("vMF", (0.5, 0.9)), ("Bingham", (0.5, 0.1))) for value in values]
"""The twelve cases: kind, dimension, and E u or d E u^2."""
