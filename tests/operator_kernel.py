"""Deterministic tests of SDE schemes: the exact one-step kernel of the *shipped* step, on functions of u = <mu, w/|w|> and gamma.

A loss and a noise that are symmetric about an axis mu make (u, gamma) a Markov chain.  Its kernel is the integral of the
compiled step over Gauss nodes of the increments (along mu, along the tangent, and the length of the rest); it is projected
on orthonormal polynomials and its stationary law solved, so the errors of a scheme carry no Monte Carlo noise.
`generator_law` solves the stationary equation of the diffusion itself the same way: the reference.
"""

from typing import Any, Callable, NamedTuple

import numpy as np
from numba import njit
from scipy import linalg, optimize, special

from sdetheory.lanes.vector import float_rows, lane_array
from sdetheory.lanes.verbs import decode, draws, encode, extra, step, substeps, workspace


@njit(error_model="numpy")
def _one_step(integrator, model, noise, lr, weight_decay, dt, w, z, y, work):
    encode(integrator, w, lr, y)
    step(integrator, model, noise, lr, weight_decay, dt, y, z, work)
    decode(integrator, y, lr, w)


@njit(error_model="numpy")
def _all_steps(integrator, model, noise, lr, weight_decay, dt, w, z, y, work):
    for b in range(w.shape[0]):
        _one_step(integrator, model, noise, lr, weight_decay, dt, w[b], z[b], y, work)


def steps(integrator: Any, model: Any, noise: Any, w: np.ndarray, z: np.ndarray, *, lr: float, weight_decay: float,
          dt: float, width: int = 16) -> np.ndarray:
    """One step of the compiled integrator from every row of w (N, d) with the increments z (N, n): (N, d)."""
    count, d = w.shape
    blocks = -(-count // width)
    rows = np.minimum(np.arange(blocks * width), count - 1)
    needed = draws(noise, d) * substeps(integrator)
    lanes_w, lanes_z = lane_array((blocks, d), width), lane_array((blocks, needed + 1), width)
    float_rows(lanes_w)[:] = w[rows].reshape(blocks, width, d).transpose(0, 2, 1)
    float_rows(lanes_z)[:, :needed] = z[rows].reshape(blocks, width, needed).transpose(0, 2, 1)
    own = workspace(integrator, d) + max(workspace(model, d), workspace(noise, d))
    _all_steps(integrator, model, noise, lr, weight_decay, dt, lanes_w, lanes_z,
               lane_array(d + extra(integrator, d), width), lane_array(own + 1, width))
    return float_rows(lanes_w).transpose(0, 2, 1).reshape(-1, d)[:count]


class Polynomials(NamedTuple):
    """Orthonormal polynomials of a measure on the line by their recurrence, with the measure's Gauss nodes."""

    alpha: np.ndarray
    beta: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray

    def at(self, x: np.ndarray, count: int, derivatives: int = 0) -> np.ndarray:
        """(1 + derivatives, count, *x.shape): p_0..p_{count-1} and their derivatives."""
        out = np.zeros((1 + derivatives, count, *np.shape(x)))
        out[0, 0] = 1.0
        for k in range(count - 1):
            for r in range(1 + derivatives):
                new = (x - self.alpha[k]) * out[r, k] + (r * out[r - 1, k] if r else 0.0)
                out[r, k + 1] = (new - (self.beta[k] * out[r, k - 1] if k else 0.0)) / self.beta[k + 1]
        return out


def polynomials(x: np.ndarray, mass: np.ndarray, count: int) -> Polynomials:
    """Stieltjes' procedure on a discrete measure with many nodes x and masses."""
    mass = mass / mass.sum()
    alpha, beta = np.zeros(count), np.zeros(count + 1)
    before, now = np.zeros_like(x), np.ones_like(x)
    for k in range(count):
        alpha[k] = (mass * x * now * now).sum()
        new = (x - alpha[k]) * now - beta[k] * before
        beta[k + 1] = np.sqrt((mass * new * new).sum())
        before, now = now, new / beta[k + 1]
    nodes, vectors = linalg.eigh_tridiagonal(alpha, beta[1:count])
    return Polynomials(alpha, beta, nodes, vectors[0] ** 2)


def axis_measure(d: int, tilt: Callable[[np.ndarray], np.ndarray], count: int) -> Polynomials:
    """Polynomials of the density e^{tilt(u)} (1 - u^2)^{(d-3)/2} on [-1, 1]."""
    x, mass = special.roots_jacobi(400, (d - 3) / 2, (d - 3) / 2)
    exponent = tilt(x)
    return polynomials(x, mass * np.exp(exponent - exponent.max()), count)


def von_mises_fisher_kappa(d: int, mean: float) -> float:
    """kappa with I_{d/2}(kappa)/I_{d/2-1}(kappa) = mean."""
    return float(optimize.brentq(lambda k: special.ive(d / 2, k) / special.ive(d / 2 - 1, k) - mean, 1e-9, 4000.0))


def bingham_beta(d: int, second: float) -> float:
    """beta of the density e^{-beta u^2} with E u^2 = second < 1/d."""
    x, mass = special.roots_jacobi(400, (d - 3) / 2, (d - 3) / 2)

    def excess(beta: float) -> float:
        density = mass * np.exp(-beta * x * x)
        return float((density * x * x).sum() / density.sum() - second)

    return float(optimize.brentq(excess, 0.0, 60.0 * d))


def _increments(d: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss nodes (K, 3) and weights (K,) of z: along the axis, along the tangent, and the length of the other d-2."""
    x, a = special.roots_hermitenorm(count)
    x, a = x[a > 1e-14 * a.max()], a[a > 1e-14 * a.max()]
    s, b = special.roots_genlaguerre(count, (d - 4) / 2)
    s, b = s[b > 1e-14 * b.max()], b[b > 1e-14 * b.max()]
    grid = np.stack(np.meshgrid(x, x, np.sqrt(2 * s), indexing="ij"), -1).reshape(-1, 3)
    weight = (a[:, None, None] * a[:, None] * b).reshape(-1)
    return grid, weight / weight.sum()


class Setting(NamedTuple):
    """An axially symmetric stationary problem: d >= 3, axis e_1, lr and weight_decay, and where the law lives."""

    d: int
    model: Any
    noise: Any
    lr: float
    weight_decay: float
    axis: Polynomials
    gamma: Polynomials
    degree: int
    gamma_degree: int = 1

    def basis(self, u: np.ndarray, gamma: np.ndarray) -> np.ndarray:
        """(basis, points)."""
        a = self.axis.at(u, self.degree)[0]
        b = self.gamma.at(gamma, self.gamma_degree)[0]
        return (a[:, None] * b).reshape(-1, u.size)

    def points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gauss nodes u, gamma and weights of the reference measure."""
        few = slice(None) if self.gamma_degree > 1 else slice(0, 1)
        u, gamma = np.meshgrid(self.axis.nodes, self.gamma.nodes[few], indexing="ij")
        weight = self.axis.weights[:, None] * self.gamma.weights[few]
        return u.ravel(), gamma.ravel(), weight.ravel() / weight.sum()


def kernel_matrix(setting: Setting, integrator: Any, dt: float, count: int = 12) -> np.ndarray:
    """M_jk = E_ref[p_j K p_k] of one step of length dt."""
    d, lr = setting.d, setting.lr
    u, gamma, weight = setting.points()
    z, mass = _increments(d, count)
    w = np.zeros((u.size, 1, d))
    norm = (lr * np.sqrt(gamma)) ** 0.5
    w[:, 0, 0], w[:, 0, 1] = norm * u, norm * np.sqrt(1 - u * u)
    increments = np.zeros((1, mass.size, d))
    increments[0, :, :3] = z
    shape = (u.size, mass.size, d)
    after = steps(integrator, setting.model, setting.noise, np.broadcast_to(w, shape).reshape(-1, d),
                  np.broadcast_to(increments, shape).reshape(-1, d), lr=lr, weight_decay=setting.weight_decay, dt=dt)
    square = (after * after).sum(1)
    values = setting.basis(after[:, 0] / np.sqrt(square), square**2 / lr**2)
    image = (values.reshape(-1, u.size, mass.size) * mass).sum(2)
    return (setting.basis(u, gamma) * weight) @ image.T


def _stationary(setting: Setting, equations: np.ndarray) -> dict[str, float]:
    """Moments under the density sum c_j p_j, c_0 = 1, with c @ equations = 0 (first column: mass, always satisfied)."""
    c = np.concatenate([[1.0], np.linalg.solve(equations[1:, 1:].T, -equations[0, 1:])])
    u, gamma, weight = setting.points()
    density = c @ setting.basis(u, gamma) * weight
    return {"u": float((density * u).sum()), "u2": float((density * u * u).sum()),
            "gamma": float((density * gamma).sum())}


def scheme_law(setting: Setting, integrator: Any, dt: float, count: int = 12) -> dict[str, float]:
    """E u, E u^2, E gamma under the stationary law of the scheme with step dt."""
    matrix = kernel_matrix(setting, integrator, dt, count)
    return _stationary(setting, matrix - np.eye(matrix.shape[0]))


def generator_law(setting: Setting, drift: Callable, diffusion: Callable, growth: Callable) -> dict[str, float]:
    """The same moments of the diffusion du = drift dt + sqrt(diffusion) dB, dgamma = growth dt, functions of (u, gamma)."""
    u, gamma, weight = setting.points()
    a, b = setting.axis.at(u, setting.degree, 2), setting.gamma.at(gamma, setting.gamma_degree, 1)

    def pairs(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return (p[:, None] * q).reshape(-1, u.size)

    image = (drift(u, gamma) * pairs(a[1], b[0]) + 0.5 * diffusion(u, gamma) * pairs(a[2], b[0])
             + growth(u, gamma) * pairs(a[0], b[1]))
    return _stationary(setting, (setting.basis(u, gamma) * weight) @ image.T)
