"""Bias and variance of a scheme at equilibrium without sampling: its exact one-step kernel on polynomials.

A loss of u = <e_1, w>/|w| makes u (Strang splitting) or (u, r), r = |w|^2 over its equilibrium value
(Euler-Maruyama), a Markov chain. The kernel is integrated by Gauss quadrature over the increments and
projected on orthonormal polynomials of the stationary law; its stationary density and a Poisson equation
give the bias and the variance of long averages.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, optimize, special

from sdetheory.integrators import StrangGeodesic

from .laws import Law

RADIAL = 6
State = tuple[np.ndarray, np.ndarray]
Step = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], State]


class Basis(NamedTuple):
    """Orthonormal polynomials by their recurrence: alpha (count,), beta (count + 1,)."""

    alpha: np.ndarray
    beta: np.ndarray

    def at(self, x: np.ndarray) -> np.ndarray:
        """p_0, ..., p_{count-1} at x: (count, *x.shape)."""
        out = [np.zeros_like(x), np.ones_like(x)]
        for k in range(len(self.alpha) - 1):
            out.append(((x - self.alpha[k]) * out[-1] - self.beta[k] * out[-2]) / self.beta[k + 1])
        return np.array(out[1:])

    def gauss(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Gauss nodes and masses of the measure the polynomials are orthonormal for."""
        x, vectors = linalg.eigh_tridiagonal(self.alpha[:count], self.beta[1:count])
        return x, vectors[0] ** 2


def basis(x: np.ndarray, mass: np.ndarray, count: int) -> Basis:
    """Stieltjes' procedure on a discrete measure of total mass one."""
    alpha, beta = np.zeros(count), np.zeros(count + 1)
    before, now = np.zeros_like(x), np.ones_like(x)
    for k in range(count):
        alpha[k] = mass @ (x * now * now)
        new = (x - alpha[k]) * now - beta[k] * before
        beta[k + 1] = np.sqrt(mass @ (new * new))
        before, now = now, new / beta[k + 1]
    return Basis(alpha, beta)


def euler_maruyama(law: Law, h: float) -> Step:
    """(u, r) after one step with the increment z along the axis' tangent and x2, the square of the others."""
    n = law.d - 1

    def step(u: np.ndarray, r: np.ndarray, z: np.ndarray, x2: np.ndarray) -> State:
        side = np.sqrt(1.0 - u * u)
        along = (law.strength / n * h * law.force(u) * side + np.sqrt(2.0 * h / n) * z) / r
        square = (1.0 - h) ** 2 + along**2 + 2.0 * h / n * x2 / r**2
        return ((1.0 - h) * u + along * side) / np.sqrt(square), r * square

    return step


def matched_variance(n: int, h: float) -> float:
    """v with E cos sqrt(v chi^2_n) = e^-h: the geodesic step turns the mean as Brownian motion does."""
    s, mass = special.roots_genlaguerre(60, n / 2 - 1)
    mass = mass / mass.sum()
    return float(optimize.brentq(lambda v: mass @ np.cos(np.sqrt(2.0 * v * s)) - np.exp(-h), 1e-12, 6.0 * h / n + 1e-9))


def strang(law: Law, h: float) -> Step:
    """u after half a flow, a matched geodesic noise step and half a flow; r stays one."""
    n = law.d - 1
    variance, half = matched_variance(n, h), law.strength / n * h / 2.0

    def step(u: np.ndarray, r: np.ndarray, z: np.ndarray, x2: np.ndarray) -> State:
        u = law.flow(u, half)
        angle = np.sqrt(variance * (z * z + x2))
        u = np.cos(angle) * u + np.sinc(angle / np.pi) * np.sqrt(variance) * z * np.sqrt(1.0 - u * u)
        return law.flow(u, half), r

    return step


def observation(law: Law, scheme: Any, h: float) -> Callable[[np.ndarray], np.ndarray]:
    """What the Strang scheme (an object of the package) observes of u: its weights on w, Phi w, Phi^-1 w."""
    weights, half = getattr(scheme, "weights", (1.0,)), law.strength / (law.d - 1) * h / 2.0
    times = (0.0, half, -half)[: len(weights)]

    def value(u: np.ndarray) -> np.ndarray:
        return sum(c * law.observed(law.flow(u, time)) for c, time in zip(weights, times, strict=True))

    return value


class Long(NamedTuple):
    """Of long averages of the observed value: bias, and variance times time (in units of 1/(lr wd))."""

    bias: float
    variance: float


def long_average(
    law: Law,
    scheme: Callable[[Law, float], Step],
    h: float,
    degree: int = 14,
    observed: Any = StrangGeodesic(),
    stride: int = 1,
) -> Long:
    """Bias and asymptotic variance of `scheme` at step h, seen as `observed` does after every `stride` steps."""
    n = law.d - 1
    axis = basis(*law.nodes(), 2 * degree)
    x, mass = special.roots_hermitenorm(16)
    spread = np.sqrt(h / n) if scheme is euler_maruyama else 0.0
    radial = basis(spread * x, mass / mass.sum(), RADIAL) if spread else None
    u, u_mass = axis.gauss(2 * degree)
    r, r_mass = radial.gauss(RADIAL) if radial else (np.zeros(1), np.ones(1))
    r = np.exp(r)
    u, r = (grid.ravel() for grid in np.meshgrid(u, r, indexing="ij"))
    weight = np.outer(u_mass, r_mass).ravel()

    def functions(u: np.ndarray, r: np.ndarray) -> np.ndarray:
        first = axis.at(u)[:degree]
        second = radial.at(np.log(r)) if radial else np.ones((1, *u.shape))
        return (first[:, None] * second).reshape(-1, *u.shape)

    z, z_mass = special.roots_hermitenorm(16)
    s, s_mass = special.roots_genlaguerre(10, (n - 1) / 2 - 1)
    increments = np.outer(z_mass / z_mass.sum(), s_mass / s_mass.sum()).ravel()
    z, x2 = (grid.ravel() for grid in np.meshgrid(z, 2.0 * s, indexing="ij"))
    image = functions(*scheme(law, h)(u[:, None], r[:, None], z[None], x2[None])) @ increments
    here = functions(u, r)
    kernel = (here * weight) @ image.T
    density = np.concatenate([[1.0], np.linalg.solve(np.eye(len(kernel) - 1) - kernel[1:, 1:].T, kernel[0, 1:])])
    mass = density @ here * weight
    value = observation(law, observed, h)(u)
    mean = float(mass @ value)
    centred = (here * weight) @ (value - mean)
    apart = np.linalg.matrix_power(kernel, stride)
    sums = np.concatenate([[0.0], np.linalg.solve(np.eye(len(kernel) - 1) - apart[1:, 1:], centred[1:])])
    variance = 2.0 * mass @ ((value - mean) * (sums @ here)) - mass @ (value - mean) ** 2
    return Long(mean - law.exact, float(variance * h * stride))
