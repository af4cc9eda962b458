"""The sphere: a loss of one coordinate u = <mu, x>, by ultraspherical polynomials, per transversal degree."""

from typing import NamedTuple

import numpy as np
from numpy.polynomial import Chebyshev, legendre
from scipy import special

from sdetheory import checks
from sdetheory.spectrum.factored import EPS, Inverse, Modes, slowest
from sdetheory.spectrum.resolution import band, centred, sampled
from sdetheory.spectrum.result import Function, Spectrum


class Axis(NamedTuple):
    """beta L as a polynomial of u, its oscillation centred at 0; d; transversal degree; number of polynomials."""

    energy: Chebyshev
    dimension: int
    degree: int
    size: int

    @property
    def power(self) -> float:
        """The exponent of 1 - u^2 in the weight of this sector."""
        return self.degree + (self.dimension - 3) / 2


def zonal(
    loss: Function, inverse_temperature: float, *, dimension: int, degree: int = 0, count: int = 12
) -> Spectrum:
    """The `count` slowest rates of the direction x on the sphere of R^d for L = loss(<mu, x>), |mu| = 1.

    rates/(lr wd) of f -> (Laplace-Beltrami f - beta <grad L, grad f>)/(d - 1) on functions g(u) Y(transversal part
    of x), Y harmonic and homogeneous of this `degree` in the d - 1 coordinates across mu: degree 0 are functions
    of u, degree 1 functions g(u) <nu, x>, nu across mu.  `nodes` of the result are values of u, an observable is
    given as g(u), and weights and density belong to (1 - u^2)^degree g^2.  loss: function of an array of u in
    [-1, 1] (-k u: von Mises-Fisher; a u^2: Rayleigh quotient with one distinguished axis).

    Raises ValueError for a loss that is not smooth on [-1, 1], is too steep for double precision
    (beta (max L - min L) > 650), and for invalid numbers.
    """
    beta = checks.positive("inverse_temperature", inverse_temperature)
    dimension = checks.integer("dimension", dimension, least=2)
    degree = checks.integer("degree", degree)
    if dimension == 2 and degree > 1:
        raise ValueError(f"`degree` must be 0 or 1 for dimension=2: degree={degree}")
    count = checks.integer("count", count, least=1)
    if not callable(loss):
        raise ValueError(f"`loss` must be a function of an array: loss={loss!r}")
    cosines = centred(beta * sampled(lambda angle: loss(np.cos(angle))).real)
    energy = Chebyshev(cosines)
    axis = Axis(energy, dimension, degree, band(cosines) + 2 * count + energy.degree() + 12)
    parities = (0,) if np.abs(energy.coef[1::2]).any() else (1, -1)
    nodes, weights = special.roots_jacobi(2 * axis.size + energy.degree(), axis.power, axis.power)
    sectors = [_sector(axis, parity, count, nodes, weights) for parity in parities]
    values = np.concatenate([s.values for s in sectors]) / (dimension - 1)
    order = np.argsort(values, kind="stable")[:count]
    root = np.exp(-energy(nodes) / 2)
    return Spectrum(
        dimension=dimension,
        inverse_temperature=beta,
        rates=values[order],
        errors=np.concatenate([s.errors for s in sectors])[order] + 4 * EPS * dimension,  # Gamma functions of it
        parities=np.repeat(parities, count)[order],
        nodes=nodes,
        weights=weights,
        root=root / np.sqrt(weights @ root**2),
        functions=np.concatenate([s.functions for s in sectors])[order],
        has_constant=degree == 0,
    )


def polynomials(count: int, power: float, u: np.ndarray) -> np.ndarray:
    """The first `count` orthonormal polynomials of the weight (1 - u^2)^power at u: (u.size, count)."""
    values = np.empty((u.size, count))
    mass = np.sqrt(np.pi) * np.exp(special.gammaln(power + 1) - special.gammaln(power + 1.5))
    values[:, 0] = 1 / np.sqrt(mass)
    below, last = np.zeros(u.size), 0.0
    for n in range(1, count):
        square = 1 / (3 + 2 * power) if n == 1 else n * (n + 2 * power) / (4 * (n + power) ** 2 - 1)
        values[:, n] = (u * values[:, n - 1] - last * below) / np.sqrt(square)
        below, last = values[:, n - 1], np.sqrt(square)
    return values


def _slopes(count: int, power: float, u: np.ndarray) -> np.ndarray:
    """Derivatives of the same polynomials."""
    n = np.arange(1, count)
    upper = polynomials(count - 1, power + 1, u) * np.sqrt(n * (n + 2 * power + 1))
    return np.hstack([np.zeros((u.size, 1)), upper])


def _sector(axis: Axis, parity: int, count: int, nodes: np.ndarray, weights: np.ndarray) -> Modes:
    """The slowest modes of one parity under x -> -x; parity 0: all."""
    first, stride = ((axis.degree + (parity == -1)) % 2, 2) if parity else (0, 1)
    basis = polynomials(axis.size, axis.power, nodes)[:, first::stride]
    forward = _forward(axis)[:, first::stride]
    if axis.degree:
        return slowest(count, forward, basis, None, None)
    root_weights, fall = np.sqrt(weights), np.exp(-axis.energy(nodes) / 2)
    ground = root_weights * fall
    rises, largest = _rises(axis, nodes)
    backward = ground[:, None] * rises[:, (1 - first) if parity else 0 :: stride]
    inverse = Inverse(backward, root_weights, np.sqrt(axis.size) * float(np.linalg.norm(ground)) * largest)
    if parity == -1:
        return slowest(count, forward, basis, None, inverse)
    unit = ground / np.linalg.norm(ground)
    backward -= np.outer(unit, unit @ backward)
    return slowest(count, forward, basis, (weights * fall) @ basis, inverse)


def _forward(axis: Axis) -> np.ndarray:
    """A on the polynomials p, f = (1 - u^2)^(degree/2) e^(U/2) p: the parts of |grad f| along u and across it."""
    power = axis.power - (axis.degree > 0)
    u, weights = special.roots_jacobi(axis.size + axis.energy.degree() + 2, power, power)
    values, slopes = (make(axis.size, axis.power, u) for make in (polynomials, _slopes))
    rise = slopes + 0.5 * axis.energy.deriv()(u)[:, None] * values
    if not axis.degree:
        return np.sqrt(weights * (1 - u * u))[:, None] * rise
    along = (1 - u * u)[:, None] * rise - axis.degree * u[:, None] * values
    across = np.sqrt(axis.degree * (axis.degree + axis.dimension - 3)) * values
    return np.vstack([np.sqrt(weights)[:, None] * part for part in (along, across)])


def _rises(axis: Axis, nodes: np.ndarray) -> tuple[np.ndarray, float]:
    """The integrals of e^(U/2) q over u, from 0, q orthonormal with the weight (1 - u^2)^(power + 1).

    And the largest integrand: in high dimension q grows fast towards the poles, and the integrals lose what is
    small beside it.
    """
    u, weights = special.roots_legendre(3 * axis.size)
    flux = np.exp(axis.energy(u) / 2)[:, None] * polynomials(axis.size, axis.power + 1, u)
    vander = legendre.legvander(u, 2 * axis.size)
    coefficients = (vander * weights[:, None]).T @ flux * (np.arange(2 * axis.size + 1) + 0.5)[:, None]
    rises = legendre.legvander(nodes, 2 * axis.size + 1) @ legendre.legint(coefficients, axis=0)
    return rises, float(np.abs(flux).max())
