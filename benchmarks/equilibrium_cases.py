"""Twelve equilibrium expectations with exact values: von Mises-Fisher and Bingham laws, d = 3, 16, 128.

The direction of the weight-decay SDE with isotropic noise of a linear loss -k <mu, w>/|w| is stationary under
the density e^{kappa u}, that of a Rayleigh quotient a u^2 under e^{-beta u^2}, u = <mu, w/|w|>, on the
sphere; only lr * weight_decay matters.  `work_precision` runs schemes on a case and returns error against
time.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special

from sdetheory.dynamics.rules import WeightDecaySDE
from sdetheory.integrators import EulerMaruyama, Richardson, StrangGeodesic
from sdetheory.models.noise import Isotropic
from sdetheory.models.scale_invariant import Rayleigh, VonMisesFisher
from sdetheory.observers import Loss
from sdetheory.simulation import simulate

LEVELS = {"von_mises_fisher": (0.5, 0.9), "bingham": (0.5, 0.1)}  # E u, and d E u^2
DIMENSIONS = (3, 16, 128)


class Case(NamedTuple):
    """One expectation E L at equilibrium: how to simulate it, and its exact value."""

    name: str
    d: int
    model: Any
    noise: Isotropic
    lr: float
    weight_decay: float
    square_norm: float  # |w|^2 at equilibrium
    concentration: float  # kappa or beta
    expectation: float  # E L

    @property
    def intrinsic_lr(self) -> float:
        """lr * weight_decay: one unit of h is 1 / intrinsic_lr steps of SGD."""
        return self.lr * self.weight_decay

    def starts(self, paths: int, seed: int = 0) -> np.ndarray:
        """(paths, d) draws of the exact equilibrium."""
        rng = np.random.default_rng(seed)
        u = np.linspace(-1.0, 1.0, 200001)
        law = np.cumsum(density(self.d, type(self.model).__name__, self.concentration, u))
        first = np.interp(rng.random(paths), law / law[-1], u)
        rest = rng.standard_normal((paths, self.d - 1))
        rest *= np.sqrt((1.0 - first**2) / (rest**2).sum(1))[:, None]
        return np.sqrt(self.square_norm) * np.column_stack([first, rest])


def density(d: int, model: str, concentration: float, u: np.ndarray) -> np.ndarray:
    """The stationary density of u up to a factor: e^{kappa u} or e^{-beta u^2}, times (1 - u^2)^{(d-3)/2}."""
    tilt = concentration * u if model == "VonMisesFisher" else -concentration * u * u
    return np.exp(tilt - tilt.max()) * np.maximum(1.0 - u * u, 0.0) ** ((d - 3) / 2)


def von_mises_fisher_kappa(d: int, mean: float) -> float:
    """kappa with E u = I_{d/2}(kappa) / I_{d/2-1}(kappa) = mean."""
    ratio = lambda kappa: special.ive(d / 2, kappa) / special.ive(d / 2 - 1, kappa)
    return float(optimize.brentq(lambda kappa: ratio(kappa) - mean, 0.9 * d * mean, 100.0 * d))


def bingham_second_moment(d: int, beta: float) -> float:
    """E u^2 under e^{-beta u^2}: 1F1(3/2; d/2+1; -beta) / (d 1F1(1/2; d/2; -beta)), transformed."""
    return float(special.hyp1f1((d - 1) / 2, d / 2 + 1, beta) / special.hyp1f1((d - 1) / 2, d / 2, beta) / d)


def bingham_beta(d: int, second_moment: float) -> float:
    """beta with E u^2 = second_moment < 1/d."""
    return float(optimize.brentq(lambda beta: bingham_second_moment(d, beta) - second_moment, 0.0, 5.0 * d))


def case(kind: str, d: int, level: float, *, lr: float = 0.1, weight_decay: float = 0.1, sigma: float = 1.0) -> Case:
    """The case of LEVELS: E u = level for "von_mises_fisher", d E u^2 = level for "bingham"."""
    gamma = sigma**2 * (d - 1) / (2 * lr * weight_decay)
    inverse_temperature = 2.0 * np.sqrt(gamma) / sigma**2
    axis = np.zeros(d)
    axis[0] = 1.0
    if kind == "von_mises_fisher":
        concentration = von_mises_fisher_kappa(d, level)
        strength = concentration / inverse_temperature
        model, expectation = VonMisesFisher(axis, strength), -strength * level
    else:
        concentration = bingham_beta(d, level / d)
        strength = concentration / inverse_temperature
        model, expectation = Rayleigh(strength * axis), strength * level / d
    return Case(
        f"{kind} {level} d={d}",
        d,
        model,
        Isotropic(sigma),
        lr,
        weight_decay,
        lr * np.sqrt(gamma),
        concentration,
        expectation,
    )


def cases() -> list[Case]:
    """All twelve."""
    return [case(kind, d, level) for d in DIMENSIONS for kind in LEVELS for level in LEVELS[kind]]


# Work a unit of time goes with the number of increments: Richardson's step is its coarse one, two increments.
SCHEMES: dict[str, Callable[[], Any]] = {
    "Euler-Maruyama": EulerMaruyama,
    "Euler-Maruyama, Richardson": lambda: Richardson(EulerMaruyama()),
    "Strang": StrangGeodesic,
    "Strang, Richardson": lambda: Richardson(StrangGeodesic()),
}


class Point(NamedTuple):
    """One run: relative error of the expectation and its standard error, and what it cost."""

    case: str
    scheme: str
    h: float
    error: float
    standard_error: float
    seconds: float
    normals: int


def run(
    case: Case,
    scheme: str,
    h: float,
    *,
    paths: int = 4096,
    length: float = 20.0,
    spacing: float = 0.5,
    burn: float = 3.0,
    seed: int = 0,
    threads: int | None = None,
) -> Point:
    """Average the loss over `paths` equilibrium paths of `length`/intrinsic_lr steps, after
    `burn`/intrinsic_lr.

    h = lr * weight_decay * dt is the step of the *fine* level (of the scheme itself without Richardson).
    """
    integrator = SCHEMES[scheme]()
    dt = h * (2.0 if isinstance(integrator, Richardson) else 1.0) / case.intrinsic_lr
    every = max(1, round(spacing / (case.intrinsic_lr * dt)))
    marks = np.arange(np.ceil(burn / (case.intrinsic_lr * dt)), length / (case.intrinsic_lr * dt) + 1, every)
    start = case.starts(paths, seed)
    began = time.perf_counter()
    ensemble = simulate(
        case.model,
        WeightDecaySDE(case.lr, case.weight_decay),
        start,
        marks * dt,
        noise=case.noise,
        integrator=integrator,
        dt=dt,
        seed=seed,
        observe={"loss": Loss(case.model)},
        threads=threads,
        progress=False,
    )
    seconds = time.perf_counter() - began
    means = ensemble.values["loss"].mean(1) / case.expectation
    normals = int(paths * marks[-1] * case.d * (2 if isinstance(integrator, Richardson) else 1))
    return Point(
        case.name,
        scheme,
        h,
        float(means.mean() - 1.0),
        float(means.std(ddof=1) / np.sqrt(paths)),
        seconds,
        normals,
    )


def work_precision(
    case: Case, steps: Iterable[float], schemes: Iterable[str] = tuple(SCHEMES), **options: Any
) -> Iterator[Point]:
    """Points of every scheme at every step h, compiled beforehand so that seconds are computing."""
    steps = list(steps)
    for scheme in schemes:
        run(case, scheme, max(steps), **{**options, "paths": 96, "length": 4.0})
        for h in steps:
            yield run(case, scheme, h, **options)
