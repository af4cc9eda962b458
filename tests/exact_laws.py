"""Laws of solvable models in closed or quadrature form, from the predictions' parameters: oracles for schemes.

The direction law of isotropic noise is exp(-beta L); with L a function of u = w_1/|w| its law on [-1, 1] is
e^{-beta L(u)} (1 - u^2)^{(d-3)/2}.  On the circle with L = h sin^2 phi the generator is tridiagonal in Fourier modes.
"""

from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicSpline

from sdetheory.predictions import intrinsic_lr


class AxialLaw:
    """u = cos theta with density e^{tilt(u)} sin^{d-2} theta dtheta; `absolute`: the law of |u|."""

    def __init__(self, d: int, tilt: Callable[[np.ndarray], np.ndarray], absolute: bool = False) -> None:
        theta = np.linspace(0.0, np.pi, 8001)
        x, mass = np.polynomial.legendre.leggauss(4)
        middle, half = (theta[1:] + theta[:-1]) / 2, np.diff(theta)[0] / 2
        self.nodes = np.cos(middle[:, None] + half * x)
        exponent = tilt(self.nodes) + (d - 2) * np.log(np.sin(middle[:, None] + half * x))
        self.mass = np.exp(exponent - exponent.max()) * mass
        self.mass /= self.mass.sum()
        self._above = CubicSpline(theta, np.concatenate([[0.0], np.cumsum(self.mass.sum(axis=1))]))
        self.absolute = absolute

    def mean(self, f: Callable[[np.ndarray], np.ndarray]) -> float:
        """E f(u)."""
        return float((self.mass * f(np.abs(self.nodes) if self.absolute else self.nodes)).sum())

    def cdf(self, u: np.ndarray) -> np.ndarray:
        """P(U <= u), or P(|U| <= u)."""
        above = self._above(np.arccos(np.clip(u, -1.0, 1.0)))
        below = self._above(np.arccos(np.clip(-u, -1.0, 1.0)))
        return np.clip(below - above if self.absolute else 1.0 - above, 0.0, 1.0)


def von_mises_fisher(d: int, k: float, sigma: float, lr: float, weight_decay: float) -> AxialLaw:
    """L = -k u."""
    kappa = intrinsic_lr.vmf_concentration(strength=k, lr=lr, weight_decay=weight_decay, dimension=d, noise=sigma)
    return AxialLaw(d, lambda u: float(kappa) * u)


def bingham(d: int, a: float, sigma: float, lr: float, weight_decay: float) -> AxialLaw:
    """L = a u^2, of either sign; the law of |u|."""
    beta = intrinsic_lr.inverse_temperature(lr=lr, weight_decay=weight_decay, dimension=d, noise=sigma)
    return AxialLaw(d, lambda u: -float(beta) * a * u * u, absolute=True)


def circle_mode(
    parity: int, h: float, sigma: float, lr: float, weight_decay: float, count: int = 40
) -> tuple[float, np.ndarray]:
    """The slowest rate and the coefficients of its eigenfunction sum_k c_k cos k phi, k = parity, parity + 2, ...

    L = h sin^2 phi at the equilibrium norm: f'' lr wd - (effective lr) h sin(2 phi) f', effective lr
    = sqrt(2 lr wd)/sigma.  The constants, of rate 0, are left aside.
    """
    product = lr * weight_decay
    drift = np.sqrt(2 * product) / sigma * h
    k = np.arange(parity, parity + 2 * count, 2)
    generator = np.zeros((count, count))
    for j, degree in enumerate(k):
        generator[j, j] -= product * degree**2
        for other, sign in ((abs(degree - 2), 1), (degree + 2, -1)):
            if other <= k[-1]:
                generator[(other - parity) // 2, j] += sign * drift * degree / 2
    values, vectors = np.linalg.eig(generator)
    rates = -values.real + np.where(np.abs(values) < 1e-12, np.inf, 0.0)
    slowest = int(np.argmin(rates))
    coefficients = np.zeros(parity + 2 * count)
    coefficients[parity::2] = vectors[:, slowest].real
    return float(rates[slowest]), coefficients


def cosine_series(coefficients: np.ndarray, u: np.ndarray) -> np.ndarray:
    """sum_k c_k cos k phi at u = cos phi."""
    return np.polynomial.chebyshev.chebval(u, coefficients)
