"""E u_t and E u_t^2 of schemes on the way to equilibrium, without sampling: one-step kernels on interpolants.

As in `chains`, a linear loss makes u (Strang splitting) or (u, r), r = |w|^2 over its equilibrium value
(Euler-Maruyama), a Markov chain.  A function of the state is known by its values at Chebyshev's points; the kernel
maps them to those of its expectation a step earlier, so the transient needs no stationary law: powers of one matrix
for Euler-Maruyama, a product of matrices for Strang, whose steps differ while the norm moves.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from .chains import euler_maruyama, matched_variance
from .laws import Law

ALONG, NORMS = 24, 22  # interpolation points in u and in log r: errors below 1e-6 (3e-5 for d = 3 at h = 1/8)
LEAST_R, MOST_R = 0.06, 8.0


class Points(NamedTuple):
    """Chebyshev's points of an interval, and their barycentric weights."""

    x: np.ndarray
    weight: np.ndarray

    def cardinal(self, x: np.ndarray) -> np.ndarray:
        """Values at x of the polynomials that are one at a point and zero at the others: (*x.shape, points)."""
        apart = x[..., None] - self.x
        hit = np.abs(apart) < 1e-14
        share = self.weight / np.where(hit, 1.0, apart)
        share = share / share.sum(axis=-1, keepdims=True)
        return np.where(hit.any(axis=-1, keepdims=True), hit, share)


def points(count: int, low: float = -1.0, high: float = 1.0) -> Points:
    """Of the first kind, mapped to (low, high)."""
    angle = np.pi * (np.arange(count) + 0.5) / count
    return Points((low + high) / 2 + (high - low) / 2 * np.cos(angle), (-1.0) ** np.arange(count) * np.sin(angle))


def _increments(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss nodes of the increment along the axis' tangent and of the square of the others, and their masses."""
    z, z_mass = special.roots_hermitenorm(24)
    s, s_mass = special.roots_genlaguerre(14, (n - 1) / 2 - 1)
    mass = np.outer(z_mass / z_mass.sum(), s_mass / s_mass.sum()).ravel()
    z, x2 = (grid.ravel() for grid in np.meshgrid(z, 2.0 * s, indexing="ij"))
    return z, x2, mass


class Moments(NamedTuple):
    """E u and E u^2 at the end."""

    first: float
    second: float

    @property
    def variance(self) -> float:
        """Var u."""
        return self.second - self.first**2


def clocks(start: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noise and drift clocks of the steps between `times`, both of rate one at equilibrium.

    start: gamma_0 over its equilibrium value g; then g_s = 1 + (start - 1) e^{-4 s}, and the clocks are the
    integrals of 1/g and of 1/sqrt(g); times in units of 1/(lr wd).
    """
    norm = np.sqrt(1.0 + (start - 1.0) * np.exp(-4.0 * times))
    noise = 0.25 * np.log((np.exp(4.0 * times) + start - 1.0) / start)
    drift = times + 0.5 * np.log((norm + 1.0) / (np.sqrt(start) + 1.0))
    return np.diff(noise), np.diff(drift)


def strang(law: Law, u: float, start: float, times: np.ndarray) -> Moments:
    """Of the Strang splitting with steps between `times` (the first is 0) from u and gamma_0."""
    n, axis = law.d - 1, points(ALONG + 8)
    z, x2, mass = _increments(n)
    value = np.stack([axis.x, axis.x**2], axis=1)
    kernels: dict[tuple[float, float], np.ndarray] = {}
    for noise, drift in zip(*(clock[::-1] for clock in clocks(start, times)), strict=True):
        key = float(f"{noise:.12e}"), float(f"{drift:.12e}")
        if key not in kernels:
            variance, half = matched_variance(n, noise), law.strength / n * drift / 2.0
            moved = law.flow(axis.x, half)[:, None]
            angle = np.sqrt(variance * (z * z + x2))
            tangent = np.sinc(angle / np.pi) * np.sqrt(variance) * z
            after = law.flow(np.cos(angle) * moved + tangent * np.sqrt(1.0 - moved * moved), half)
            kernels[key] = np.einsum("iqj,q->ij", axis.cardinal(after), mass)
        value = kernels[key] @ value
    return Moments(*(axis.cardinal(np.array(u)) @ value))


def exact(law: Law, u: float, start: float, time: float, steps: int = 64) -> Moments:
    """Of the equation itself: Strang's in steps of equal noise clock, extrapolated."""

    def at(count: int) -> np.ndarray:
        whole = 0.25 * np.log((np.exp(4.0 * time) + start - 1.0) / start)
        times = 0.25 * np.log(start * np.exp(4.0 * whole * np.arange(count + 1) / count) - start + 1.0)
        return np.array(strang(law, u, start, times))

    return Moments(*((4.0 * at(steps) - at(steps // 2)) / 3.0))


def euler_maruyama_kernel(law: Law, h: float) -> np.ndarray:
    """One step of size h on the tensor grid of u and log r."""
    axis, radial = points(ALONG), points(NORMS, np.log(LEAST_R), np.log(MOST_R))
    z, x2, mass = _increments(law.d - 1)
    u, r = (grid.ravel() for grid in np.meshgrid(axis.x, np.exp(radial.x), indexing="ij"))
    after, norm = euler_maruyama(law, h)(u[:, None], r[:, None], z[None], x2[None])
    first = axis.cardinal(np.clip(after, -1.0, 1.0))
    second = radial.cardinal(np.log(np.clip(norm, LEAST_R, MOST_R)))
    return (np.swapaxes(first * mass[:, None], 1, 2) @ second).reshape(u.size, -1)


def euler_maruyama_moments(
    law: Law, u: float, h: float, ends: dict[tuple[float, float], int]
) -> dict[tuple[float, float], Moments]:
    """(start, time) -> moments after ends[start, time] steps of size h from u and gamma_0 = start."""
    axis, radial = points(ALONG), points(NORMS, np.log(LEAST_R), np.log(MOST_R))
    powers, out = [euler_maruyama_kernel(law, h)], {}
    grid = np.repeat(axis.x, NORMS)
    for (start, time), steps in ends.items():
        value = np.stack([grid, grid**2], axis=1)
        for bit in range(steps.bit_length()):
            if bit == len(powers):
                powers.append(powers[-1] @ powers[-1])
            if steps >> bit & 1:
                value = powers[bit] @ value
        here = np.kron(axis.cardinal(np.array(u)), radial.cardinal(np.array(0.5 * np.log(start))))
        out[start, time] = Moments(*(here @ value))
    return out


