"""Deterministic tests of SDE schemes: the exact one-step kernel of the *shipped* step on an axis.

A loss and a noise that are symmetric about an axis mu make (u, gamma) a Markov chain.  Its kernel is the
integral of the compiled step over Gauss nodes of the increments (along mu, along the tangent, and the length
of the rest); it is projected on orthonormal polynomials and its stationary law solved, so the errors of a
scheme carry no Monte Carlo noise. `generator_law` solves the stationary equation of the diffusion itself the
same way: the reference.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import integrate, linalg, special

from benchmarks.equilibrium_cases import case, von_mises_fisher_kappa
from sdetheory.lanes.cache import compiled
from sdetheory.lanes.tag import tag
from sdetheory.lanes.vector import float_rows, lane_array
from sdetheory.lanes.verbs import decode, draws, encode, extra, step, substeps, workspace
from sdetheory.models.noise import Covariance
from sdetheory.models.scale_invariant import VonMisesFisher
from sdetheory.plugins import canonical


@compiled
def _all_steps(tag, integrator, model, noise, lr, weight_decay, dt, w, z, y, work):
    for b in range(w.shape[0]):
        encode(integrator, w[b], lr, y)
        step(integrator, model, noise, lr, weight_decay, dt, y, z[b], work)
        decode(integrator, y, lr, w[b])


def steps(
    integrator: Any,
    model: Any,
    noise: Any,
    w: np.ndarray,
    z: np.ndarray,
    *,
    lr: float,
    weight_decay: float,
    dt: float,
    width: int = 16,
) -> np.ndarray:
    """One step of the compiled integrator from every row of w (N, d) with the increments z (N, n): (N, d)."""
    count, d = w.shape
    model, noise, integrator = canonical(model, d), canonical(noise, d), canonical(integrator, d)
    blocks = -(-count // width)
    rows = np.minimum(np.arange(blocks * width), count - 1)
    needed = draws.python(noise, d) * substeps.python(integrator)
    lanes_w, lanes_z = lane_array((blocks, d), width), lane_array((blocks, needed + 2), width)
    float_rows(lanes_w)[:] = w[rows].reshape(blocks, width, d).transpose(0, 2, 1)
    float_rows(lanes_z)[:, :needed] = z[rows].reshape(blocks, width, needed).transpose(0, 2, 1)
    own = workspace.python(integrator, d) + max(workspace.python(model, d), workspace.python(noise, d))
    _all_steps(
        tag(integrator, model, noise),
        integrator,
        model,
        noise,
        float(lr),
        float(weight_decay),
        float(dt),
        lanes_w,
        lanes_z,
        lane_array(d + extra.python(integrator, d), width),
        lane_array(own + 1, width),
    )
    return float_rows(lanes_w).transpose(0, 2, 1).reshape(-1, d)[:count]


class Polynomials(NamedTuple):
    """Orthonormal polynomials of a measure on the line by their recurrence, with its Gauss nodes."""

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


def _increments(d: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss nodes (K, 3), weights (K,) of z: along the axis, along the tangent, length of the other d-2."""
    x, a = special.roots_hermitenorm(count)
    x, a = x[a > 1e-14 * a.max()], a[a > 1e-14 * a.max()]
    s, b = special.roots_genlaguerre(count, (d - 4) / 2)
    s, b = s[b > 1e-14 * b.max()], b[b > 1e-14 * b.max()]
    grid = np.stack(np.meshgrid(x, x, np.sqrt(2 * s), indexing="ij"), -1).reshape(-1, 3)
    weight = (a[:, None, None] * a[:, None] * b).reshape(-1)
    return grid, weight / weight.sum()


class Setting(NamedTuple):
    """An axially symmetric stationary problem: d >= 3, axis e_1, rates, and where the law lives."""

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
    after = steps(
        integrator,
        setting.model,
        setting.noise,
        np.broadcast_to(w, shape).reshape(-1, d),
        np.broadcast_to(increments, shape).reshape(-1, d),
        lr=lr,
        weight_decay=setting.weight_decay,
        dt=dt,
    )
    square = (after * after).sum(1)
    values = setting.basis(after[:, 0] / np.sqrt(square), square**2 / lr**2)
    image = (values.reshape(-1, u.size, mass.size) * mass).sum(2)
    return (setting.basis(u, gamma) * weight) @ image.T


def _stationary(setting: Setting, equations: np.ndarray, extra: dict[str, Callable]) -> dict[str, float]:
    """Moments under the density sum c_j p_j, c_0 = 1, with c @ equations = 0 (first column: mass)."""
    c = np.concatenate([[1.0], np.linalg.solve(equations[1:, 1:].T, -equations[0, 1:])])
    u, gamma, weight = setting.points()
    density = c @ setting.basis(u, gamma) * weight
    wanted = {"u": u, "u2": u * u, "gamma": gamma} | {name: f(u) for name, f in extra.items()}
    return {name: float((density * f).sum()) for name, f in wanted.items()}


def scheme_law(
    setting: Setting, integrator: Any, dt: float, count: int = 12, extra: dict[str, Callable] | None = None
) -> dict[str, float]:
    """E u, E u^2, E gamma and E f(u) for f in `extra` under the stationary law of the scheme."""
    matrix = kernel_matrix(setting, integrator, dt, count)
    return _stationary(setting, matrix - np.eye(matrix.shape[0]), extra or {})


def generator_law(setting: Setting, drift: Callable, diffusion: Callable, growth: Callable) -> dict[str, float]:
    """The same of the diffusion du = drift dt + sqrt(diffusion) dB, dgamma = growth dt."""
    u, gamma, weight = setting.points()
    a, b = setting.axis.at(u, setting.degree, 2), setting.gamma.at(gamma, setting.gamma_degree, 1)

    def pairs(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return (p[:, None] * q).reshape(-1, u.size)

    image = (
        drift(u, gamma) * pairs(a[1], b[0])
        + 0.5 * diffusion(u, gamma) * pairs(a[2], b[0])
        + growth(u, gamma) * pairs(a[0], b[1])
    )
    return _stationary(setting, (setting.basis(u, gamma) * weight) @ image.T, {})


def transient(
    setting: Setting,
    integrator: Any,
    times: np.ndarray,
    u: float,
    gamma: float | None = None,
    *,
    nodes: int = 12,
) -> float:
    """E u at the last of the times (the first is 0) from the given u and gamma, for a constant trace.

    gamma (default: its equilibrium value) follows its exact curve, so every step has a kernel of its own.
    """
    equilibrium = float(setting.gamma.nodes[0])
    start = (equilibrium if gamma is None else gamma) - equilibrium
    points, _, weight = setting.points()
    image = setting.basis(points, points) * weight @ points  # the function u in the basis
    kernels: dict[tuple[float, float], np.ndarray] = {}
    for now, then in reversed(list(itertools.pairwise(times))):
        value = equilibrium + start * np.exp(-4 * setting.lr * setting.weight_decay * now)
        key = (value, round(then - now, 9))
        if key not in kernels:
            here = setting.gamma._replace(nodes=np.array([value]))
            kernels[key] = kernel_matrix(setting._replace(gamma=here), integrator, then - now, nodes)
        image = kernels[key] @ image
    return float(setting.basis(np.array([u]), np.array([equilibrium]))[:, 0] @ image)


def isotropic_setting(kind: str, d: int, level: float, *, degree: int = 14, **parameters: float) -> Setting:
    """A case of benchmarks.equilibrium_cases: constant trace, gamma at its equilibrium value."""
    chosen = case(kind, d, level, **parameters)
    kappa, beta = (chosen.concentration, 0.0) if kind == "von_mises_fisher" else (0.0, chosen.concentration)
    axis = axis_measure(d, lambda u: kappa * u - beta * u * u, degree + 16)
    gamma = Polynomials(np.zeros(1), np.zeros(2), np.array([(chosen.square_norm / chosen.lr) ** 2]), np.ones(1))
    return Setting(d, chosen.model, chosen.noise, chosen.lr, chosen.weight_decay, axis, gamma, degree)


class AxialProblem(NamedTuple):
    """A linear loss along the axis and a noise whose trace and covariance depend on u."""

    setting: Setting
    law: dict[str, float]  # of the diffusion itself
    unit: float  # gamma at equilibrium for c = 0


def axial_problem(
    noise: Any,
    d: int,
    along: Callable,
    trace: Callable,
    *,
    sigma: float,
    degree: int = 10,
    gamma_degree: int = 6,
    lr: float = 0.2,
    weight_decay: float = 0.05,
) -> AxialProblem:
    """Loss with E u = 1/2 for Sigma = sigma^2 P; along(u) = <mu, Sigma mu>, trace(u) = Tr Sigma."""
    rate, unit = lr * weight_decay, sigma**2 * (d - 1) / (2 * lr * weight_decay)
    strength = von_mises_fisher_kappa(d, 0.5) / (2 * np.sqrt(unit) / sigma**2)

    def drift(u, gamma):
        return strength * (1 - u * u) / np.sqrt(gamma) - 0.5 * trace(u) * u / gamma

    def diffusion(u, gamma):
        return along(u) / gamma

    # reference measure: the stationary density of u at a typical fixed gamma, times a flat one of gamma
    u = np.linspace(-1, 1, 20001)[1:-1]
    low, high = trace(u).min() / (2 * rate), trace(u).max() / (2 * rate)
    typical = 0.36 * low + 0.64 * high
    log_density = integrate.cumulative_trapezoid(2 * drift(u, typical) / diffusion(u, typical), u, initial=0)
    tilt = log_density - np.log(diffusion(u, typical)) - (d - 3) / 2 * np.log(1 - u * u)
    axis = axis_measure(d, lambda x: np.interp(x, u, tilt), degree + 12)
    x, mass = np.polynomial.legendre.leggauss(60)
    gamma = polynomials((low + high) / 2 + (high - low) / 2 * x, mass, gamma_degree + 6)
    model = VonMisesFisher(np.eye(d)[0], strength)
    setting = Setting(d, model, noise, lr, weight_decay, axis, gamma, degree, gamma_degree)
    law = generator_law(setting, drift, diffusion, lambda u, gamma: 2 * trace(u) - 4 * rate * gamma)
    return AxialProblem(setting, law, unit)


def anisotropic_problem(d: int, c: float, sigma: float = 0.8) -> AxialProblem:
    """Sigma = sigma^2 P (I + c mu mu^T) P."""
    noise = Covariance(sigma * np.diag(np.sqrt(1 + c * np.eye(d)[0])))
    return axial_problem(
        noise,
        d,
        lambda u: sigma**2 * (1 - u * u) * (1 + c * (1 - u * u)),
        lambda u: sigma**2 * (d - 1 + c * (1 - u * u)),
        sigma=sigma,
    )
