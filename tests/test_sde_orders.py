"""Every integrator of stochastic equations: its declaration, its weak and strong order, its Ito limit.

The tests read the declarations of all classes that registered a `step`; one without a declaration fails.
Weak errors are sums over all outcomes of the increments (Gauss-Hermite nodes, or the two or three points of a
weak increment): no sampling.
"""

import importlib
import itertools
import pkgutil
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from operator_kernel import isotropic_setting, scheme_law, steps

import sdetheory.integrators
from sdetheory import evaluate
from sdetheory.integrators import (
    Euler,
    EulerMaruyama,
    Flow2,
    ProjectedEulerMaruyama,
    Richardson,
    StrangAveraged,
    StrangGeodesic,
    StrangSimpson,
    WithTwin,
)
from sdetheory.lanes.random import Gaussian, ThreePoint, TwoPoint, increments
from sdetheory.lanes.verbs import step, views
from sdetheory.models.noise import Covariance, Isotropic
from sdetheory.models.scale_invariant import VonMisesFisher
from sdetheory.statistics import fit_order

for _found in pkgutil.iter_modules(sdetheory.integrators.__path__):
    importlib.import_module(f"sdetheory.integrators.{_found.name}")

REGISTERED = sorted(
    (c for c in step.kernels if c.__module__.startswith("sdetheory.integrators")), key=lambda c: c.__name__
)
STOCHASTIC = [c for c in REGISTERED if getattr(c(), "calculus", None) not in ("ode", "discrete")]
ONE_STATE = [c for c in STOCHASTIC if c is not Richardson]
NEEDS_ISOTROPIC = (StrangGeodesic, StrangAveraged, StrangSimpson, WithTwin)

LR, WEIGHT_DECAY = 0.3, 0.04
RATE = LR * WEIGHT_DECAY
MODEL = VonMisesFisher(np.array([0.6, 0.0, 0.8]), 0.11)
COVARIANCE = Covariance(np.array([[0.7, 0.0, 0.1], [0.2, 0.5, 0.0], [0.0, 0.1, 0.9]]))
START = np.array([[0.9, -1.1, 0.5]])
names = {"ids": lambda c: getattr(c, "__name__", None) or type(c).__name__}
compiled = pytest.mark.compiled


def noise_for(cls):
    return Isotropic(0.6) if cls in NEEDS_ISOTROPIC else COVARIANCE


def advance(integrator, w, z, h):
    return steps(integrator, MODEL, noise_for(type(integrator)), w, z, lr=LR, weight_decay=WEIGHT_DECAY, dt=h / RATE)


def test_every_integrator_declares_what_it_converges_to():
    assert len(STOCHASTIC) >= 8, STOCHASTIC
    for cls in REGISTERED:
        assert getattr(cls(), "calculus", None) in ("ito", "stratonovich", "ode", "discrete"), cls
    for cls in STOCHASTIC:
        scheme = cls()
        assert scheme.calculus in ("ito", "stratonovich"), cls
        assert scheme.weak_order > 0 and scheme.strong_order > 0, cls


# ---- weak order


def outcomes(increment):
    """All values (K, 3) of the increments of one step in d = 3 and their probabilities."""
    if isinstance(increment, Gaussian):
        x, p = np.polynomial.hermite_e.hermegauss(5)
    else:
        x = np.unique(increments(0, 0, 0, 64, 8, increment=increment))
        p = {2: np.ones(2), 3: np.array([1.0, 4.0, 1.0])}[x.size]
    p = p / p.sum()
    assert abs(p @ x) < 1e-12 and abs(p @ x**2 - 1) < 1e-12, (x, p)
    return np.array(list(itertools.product(x, repeat=3))), np.prod(list(itertools.product(p, repeat=3)), axis=1)


def observables(w):
    """(N, 11): directions, their products, |w|^2 and |w|^4 in units of the start."""
    square = (w * w).sum(1)
    u = w / np.sqrt(square)[:, None]
    products = [u[:, i] * u[:, j] for i in range(3) for j in range(i, 3)]
    scaled = square / (START @ START.T)[0, 0]
    return np.column_stack([u, *products, scaled, scaled**2])


def local_error(integrator, increment, h):
    """|E f(one step of h) - E f(two steps of h/2)| ~ h^{p+1}."""
    z, p = outcomes(increment)
    one = p @ observables(advance(integrator, np.repeat(START, len(z), 0), z, h))
    middle = advance(integrator, np.repeat(START, len(z), 0), z, h / 2)
    pairs = advance(integrator, np.repeat(middle, len(z), 0), np.tile(z, (len(z), 1)), h / 2)
    two = np.repeat(p, len(p)) * np.tile(p, len(p)) @ observables(pairs)
    return np.linalg.norm(one - two)


def weak_order(integrator, increment, steps_h=(0.03, 0.015, 0.0075, 0.00375)):
    errors = [local_error(integrator, increment, h) for h in steps_h]
    return fit_order(np.array(steps_h), np.array(errors), floor=1e-13) - 1, errors


@compiled
@pytest.mark.parametrize("cls", ONE_STATE, **names)
def test_weak_order_is_the_declared_one(cls):
    order, errors = weak_order(cls(), Gaussian())
    assert abs(order - cls().weak_order) < 0.2, (order, errors)


@compiled
@pytest.mark.parametrize("scheme", [StrangGeodesic(), Flow2()], **names)
def test_three_point_increments_keep_order_two_and_two_point_do_not(scheme):
    three, errors = weak_order(scheme, ThreePoint())
    two, coarser = weak_order(scheme, TwoPoint())
    assert abs(three - 2) < 0.2, (three, errors)
    assert two < 1.3, (two, coarser)


@compiled
@pytest.mark.parametrize("scheme", [EulerMaruyama(), ProjectedEulerMaruyama()], **names)
def test_two_point_increments_keep_order_one(scheme):
    order, errors = weak_order(scheme, TwoPoint())
    assert abs(order - 1) < 0.2, (order, errors)


@compiled
def test_richardson_gains_its_declared_order_at_equilibrium():
    scheme = Richardson(StrangGeodesic())
    setting = isotropic_setting("von_mises_fisher", 3, 0.5, lr=0.23, weight_decay=0.06, sigma=0.7)
    rate, hs = setting.lr * setting.weight_decay, np.array([0.4, 0.2, 0.1, 0.05])
    errors = np.array([scheme_law(setting, scheme.scheme, h / rate)["u"] / 0.5 - 1 for h in hs])
    fine, coarse = scheme.weights
    extrapolated = np.abs(fine * errors[1:] + coarse * errors[:-1])
    order = fit_order(hs[1:], extrapolated)
    assert fine + coarse == pytest.approx(1.0) and abs(order - scheme.weak_order) < 0.3, (order, extrapolated)
    assert extrapolated[0] < 5e-5 < np.abs(errors[1]) / 20, (extrapolated, errors)


@compiled
@pytest.mark.parametrize(
    ("scheme", "order"), [(EulerMaruyama(), 2.0), (StrangGeodesic(), 3.0), (Flow2(), 3.0)], **names
)
def test_richardson_reads_the_order_of_its_scheme(scheme, order):
    fine, coarse = Richardson(scheme).weights
    assert Richardson(scheme).weak_order == order
    assert fine * 1.0 + coarse * 2.0 ** (order - 1) == pytest.approx(0.0)
    assert Richardson(scheme).calculus == scheme.calculus


class Unweighed(NamedTuple):
    """Two views and no weights."""

    weak_order = 1.0


@views.of(Unweighed)
def _two(integrator):
    return 2


def test_richardson_refuses_what_it_cannot_extrapolate():
    with pytest.raises(ValueError, match="`scheme` must consume one increment a step"):
        Richardson(Richardson(StrangGeodesic())).validated(3)
    with pytest.raises(ValueError, match="`scheme` must be an SDE scheme with a declared weak order"):
        Richardson(Euler()).validated(3)
    with pytest.raises(ValueError, match="one weight a view: views=2, weights=1"):
        Richardson(Unweighed()).validated(3)


@pytest.mark.parametrize("scheme", [StrangAveraged(), StrangSimpson()], **names)
def test_richardson_multiplies_the_weights_of_its_scheme(scheme):
    both = Richardson(scheme).validated(3)
    assert both.weak_order == scheme.weak_order + 1 and views.python(both) == 2 * len(scheme.weights)
    levels = np.array(both.weights).reshape(2, 3)
    np.testing.assert_allclose(levels, np.outer([4 / 3, -1 / 3], scheme.weights), rtol=1e-15)
    assert levels.sum() == pytest.approx(1.0), levels


# ---- observation before, at and after the middle of a drift flow


def push(kind, u, r):
    """u after the exact flow of -u (Moebius) or u^2 for the time r."""
    if kind == "von_mises_fisher":
        return (np.sinh(r) + u * np.cosh(r)) / (np.cosh(r) + u * np.sinh(r))
    return np.exp(-2 * r) * u / np.sqrt(np.exp(-4 * r) * u**2 + 1 - u * u)


@cache
def observed_error(cls, kind, d, level, h, degree=14):
    """Relative bias at equilibrium of the scheme's observation of u or u^2, without sampling."""
    setting = isotropic_setting(kind, d, level, degree=degree, lr=0.23, weight_decay=0.06, sigma=0.7)
    dt, linear = h / (setting.lr * setting.weight_decay), kind == "von_mises_fisher"
    strength = setting.model.k if linear else setting.model.a[0]
    r = strength * dt / np.sqrt(setting.gamma.nodes[0]) / 2
    times = {"=": 0.0, "+": r, "-": -r}
    flows = {name: lambda u, t=t: push(kind, u, t) ** (1 if linear else 2) for name, t in times.items()}
    law = scheme_law(setting, StrangGeodesic(), dt, extra=flows)
    seen = [law[name] for name in "=+-"]
    return np.dot(getattr(cls(), "weights", (1.0, 0.0, 0.0)), seen) * (1 if linear else d) / level - 1


VMF, BINGHAM = "von_mises_fisher", "bingham"


@compiled
@pytest.mark.parametrize(
    ("cls", "kind", "d", "level", "h"),
    [
        (StrangAveraged, VMF, 16, 0.5, 0.32),
        (StrangAveraged, BINGHAM, 3, 0.5, 0.107),
        (StrangSimpson, VMF, 3, 0.5, 0.164),
        (StrangSimpson, VMF, 16, 0.5, 0.126),
        (StrangSimpson, VMF, 16, 0.9, 0.167),
        (StrangSimpson, BINGHAM, 3, 0.5, 0.049),
        (StrangSimpson, BINGHAM, 16, 0.5, 0.053),
        (StrangSimpson, BINGHAM, 16, 0.1, 0.019),
    ],
    **names,
)
def test_largest_step_for_a_bias_of_one_in_a_thousand(cls, kind, d, level, h):
    """The published step of each observation, against the error there; f(w) itself is 1.1 to 60 times worse."""
    error = observed_error(cls, kind, d, level, h)
    assert abs(abs(error) - 1e-3) < 6e-5, error
    plain = observed_error(StrangGeodesic, kind, d, level, h)
    assert abs(plain) > 1.1 * abs(error), (plain, error)


@compiled
def test_averaging_before_and_after_the_noise_for_a_mild_loss():
    """d = 16, E u = 1/2: the average is within 1e-3 up to h = .32, the end of the step only up to .105."""
    fine, coarse = (observed_error(StrangAveraged, VMF, 16, 0.5, h) for h in (0.16, 0.32))
    assert abs(coarse) < 1.05e-3 < 8e-3 < observed_error(StrangGeodesic, VMF, 16, 0.5, 0.32), coarse
    assert abs(coarse / fine) > 3.5, (fine, coarse)


@compiled
@pytest.mark.parametrize(
    ("kind", "d", "level", "h"), [(VMF, 3, 0.9, 0.06), (VMF, 16, 0.9, 0.06), (BINGHAM, 16, 0.1, 0.02)]
)
def test_extrapolated_simpson_in_concentrated_laws(kind, d, level, h):
    """Where f(w) is worst Simpson's rule gains, also when both are extrapolated."""
    errors = {}
    for cls in (StrangGeodesic, StrangSimpson):
        fine, coarse = (observed_error(cls, kind, d, level, s, 8 if d > 3 else 14) for s in (h, 2 * h))
        errors[cls.__name__] = abs(fine), abs((4 * fine - coarse) / 3)
    (plain, plain_twice), (simpson, simpson_twice) = errors.values()
    assert simpson < plain / 5 and simpson_twice < plain_twice / 2, errors


# ---- strong order


@compiled
@pytest.mark.parametrize("cls", ONE_STATE, **names)
def test_strong_order_is_the_declared_one(cls):
    """Root mean square distance to the same scheme on the same Brownian path, 64 times finer."""
    scheme, finest, span = cls(), 1024, 0.8
    z = np.random.default_rng(7).standard_normal((finest, 256, 3))
    ends = {}
    for count in (2, 4, 8, 16, finest):
        w = np.repeat(START, 256, 0)
        for row in z.reshape(count, -1, 256, 3).sum(1) / np.sqrt(finest // count):
            w = advance(scheme, w, row, span / count)
        ends[count] = w
    errors = [np.sqrt(((ends[n] - ends[finest]) ** 2).sum(1).mean()) for n in (2, 4, 8, 16)]
    order = fit_order(span / np.array([2, 4, 8, 16]), np.array(errors))
    assert abs(order - scheme.strong_order) < 0.2, (order, errors)


# ---- the right limit


def correction(noise, w, small=1e-5):
    """(1/2) sum_k (D G_k) G_k: lr^2 times it is what a Stratonovich reading adds to the drift."""
    columns = evaluate.diffusion(noise, w).T
    moved = [
        evaluate.diffusion(noise, w + small * g)[:, k] - evaluate.diffusion(noise, w - small * g)[:, k]
        for k, g in enumerate(columns)
    ]
    return sum(moved) / (4 * small)


def rates(noise, stratonovich):
    """d/dt of E w_i and E w_i w_j at START."""
    w = START[0]
    drift = -LR * WEIGHT_DECAY * w - LR * evaluate.gradient(MODEL, w)
    if stratonovich:
        drift = drift + LR**2 * correction(noise, w)
    spread = evaluate.diffusion(noise, w)
    second = np.outer(drift, w) + np.outer(w, drift) + LR**2 * spread @ spread.T
    return np.concatenate([drift, second.ravel()])


@compiled
@pytest.mark.parametrize("cls", ONE_STATE, **names)
@pytest.mark.claim("I6", "I8", kind="property")
def test_the_limit_is_the_declared_calculus_and_not_the_other(cls):
    scheme, z_p = cls(), outcomes(Gaussian())
    z, p = z_p
    h = 1e-5
    after = advance(scheme, np.repeat(START, len(z), 0), z, h)
    second = np.einsum("k,ki,kj->ij", p, after, after) - START.T @ START
    measured = np.concatenate([p @ after - START[0], second.ravel()]) / (h / RATE)
    right, wrong = (rates(noise_for(cls), s) for s in (scheme.calculus != "ito", scheme.calculus == "ito"))
    scale = np.linalg.norm(right)
    assert np.linalg.norm(measured - right) < 1e-3 * scale, (measured, right)
    assert np.linalg.norm(measured - wrong) > 0.05 * scale, "the two calculi must be told apart here"
