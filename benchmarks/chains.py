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


def observation(law: Law, scheme: Any, h: float) -> Callable[[Callable], Callable]:
    """What the Strang scheme (an object of the package) makes of a function of u: its weights on w, Phi w, Phi^-1 w."""
    weights, half = getattr(scheme, "weights", (1.0,)), law.strength / (law.d - 1) * h / 2.0
    times = (0.0, half, -half)[: len(weights)]

    def seen(function: Callable) -> Callable:
        return lambda u: sum(c * function(law.flow(u, time)) for c, time in zip(weights, times, strict=True) if c)

    return seen


class Averages(NamedTuple):
    """Of long averages of observed functions: means (m,), and covariance times time (m, m) in units of 1/(lr wd)."""

    means: np.ndarray
    covariance: np.ndarray


class Long(NamedTuple):
    """Of long averages of one observed value: bias, and variance times time (in units of 1/(lr wd))."""

    bias: float
    variance: float


Functions = Callable[[np.ndarray], np.ndarray]


def long_averages(
    law: Law,
    scheme: Callable[[Law, float], Step],
    h: float,
    seen: Functions,
    degree: int = 14,
    stride: int = 1,
    nodes: tuple[int, int] = (16, 10),
) -> Averages:
    """Of `scheme` at step h, for the functions `seen`(u) -> (m, *u.shape) looked at after every `stride` steps.

    nodes: of the quadrature over the increments, along the axis and across it.
    """
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

    z, z_mass = special.roots_hermitenorm(nodes[0])
    s, s_mass = special.roots_genlaguerre(nodes[1], (n - 1) / 2 - 1)
    increments = np.outer(z_mass / z_mass.sum(), s_mass / s_mass.sum()).ravel()
    z, x2 = (grid.ravel() for grid in np.meshgrid(z, 2.0 * s, indexing="ij"))
    image = functions(*scheme(law, h)(u[:, None], r[:, None], z[None], x2[None])) @ increments
    here = functions(u, r)
    kernel = (here * weight) @ image.T
    density = np.concatenate([[1.0], np.linalg.solve(np.eye(len(kernel) - 1) - kernel[1:, 1:].T, kernel[0, 1:])])
    mass = density @ here * weight
    values = seen(u)
    means = values @ mass
    apart = values - means[:, None]
    known = (apart * weight) @ here.T  # coefficients of the functions
    jump = np.linalg.matrix_power(kernel, stride)
    sums = np.linalg.solve(np.eye(len(kernel) - 1) - jump[1:, 1:], known[:, 1:].T)
    forward = (apart * mass) @ (sums.T @ here[1:]).T
    return Averages(means, (forward + forward.T - (apart * mass) @ apart.T) * h * stride)


def long_average(
    law: Law,
    scheme: Callable[[Law, float], Step],
    h: float,
    degree: int = 14,
    observed: Any = StrangGeodesic(),
    stride: int = 1,
) -> Long:
    """Bias and asymptotic variance of `scheme` at step h, seen as `observed` does after every `stride` steps."""
    look = observation(law, observed, h)
    found = long_averages(law, scheme, h, lambda u: look(law.observed)(u)[None], degree, stride)
    return Long(float(found.means[0]) - law.exact, float(found.covariance[0, 0]))


def stein(law: Law, powers: int) -> Callable[[np.ndarray], np.ndarray]:
    """u -> T phi_k (powers, *u.shape) of phi_k = l^k/k: the identities that are zero under the stationary law."""

    def values(u: np.ndarray) -> np.ndarray:
        loss, square = law.loss(u), law.force(u) ** 2 * (1.0 - u * u)
        first = law.laplacian(u) - law.strength * square
        higher = [loss ** (k - 2) * (loss * first + (k - 1) * square) for k in range(2, powers + 1)]
        return np.array([first, *higher])

    return values


class Controlled(NamedTuple):
    """A coupled Richardson average with controls: bias and variance times time, and the means they come from."""

    bias: float
    variance: float
    means: np.ndarray  # (1 + powers,) of the observed value and the controls
    coefficients: np.ndarray  # (powers,)

    def bias_with(self, law: Law, coefficients: np.ndarray) -> float:
        """The bias with other coefficients."""
        return float(self.means[0] - coefficients @ self.means[1:] - law.exact)


def controlled(
    law: Law, observed: Any, h: float, powers: int, degree: int = 20, nodes: tuple[int, int] = (24, 16)
) -> Controlled:
    """Of (4 fine - coarse)/3 with fine steps h, seen after every coarse one.

    More polynomials and nodes than for plain averages: what the controls leave is small, and of high degree.
    The chain knows each level, not how they move together: coefficients are best for independent levels, and the
    variance is its upper bound, that of levels that move as one.
    """

    def both(u: np.ndarray) -> np.ndarray:
        return np.concatenate([law.observed(u)[None], stein(law, powers)(u)])

    fine = long_averages(law, strang, h, observation(law, observed, h)(both), degree, 2, nodes)
    coarse = long_averages(law, strang, 2.0 * h, observation(law, observed, 2.0 * h)(both), degree, 1, nodes)
    means, c = (4.0 * fine.means - coarse.means) / 3.0, (16.0 * fine.covariance + coarse.covariance) / 9.0
    scale = np.sqrt(np.diag(c)[1:])
    b = np.linalg.lstsq(c[1:, 1:] / np.outer(scale, scale), c[1:, 0] / scale, rcond=1e-13)[0] / scale
    rest = np.concatenate([[1.0], -b])
    spreads = [np.sqrt(max(rest @ level.covariance @ rest, 0.0)) for level in (fine, coarse)]
    return Controlled(float(rest @ means - law.exact), ((4.0 * spreads[0] + spreads[1]) / 3.0) ** 2, means, b)
