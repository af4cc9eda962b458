"""SVAG, its coin variant and SGD on the sphere: their steps, moments, weak errors without sampling, regimes."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

import sdetheory as st
from sdetheory.dynamics import Piecewise
from sdetheory.lanes.random import increments
from sdetheory.lanes.vector import load, store
from sdetheory.lanes.verbs import disturb, draws, gradient
from sdetheory.predictions import intrinsic_lr as theory
from sdetheory.predictions import svag
from sdetheory.statistics import fit_order

MODEL, NOISE = st.Rayleigh([0.0, 0.3, -0.5]), st.Isotropic(0.7)
W0 = np.array([[1.0, -0.4, 0.7], [0.3, 0.9, -1.1]])
refinements = some.integers(1, 64)


class Quadratic(NamedTuple):
    """L = h |w|^2/2."""

    h: float


class Slopes(NamedTuple):
    """Batches whose curvature is h + s z: the noise is s z w, one number a step."""

    s: float


@gradient.of(Quadratic)
def _quadratic(model, w, out, work):
    for i in range(w.size):
        store(out, i, model.h * load(w, i))


@draws.of(Slopes)
def _one(noise, d):
    return 1


@disturb.of(Slopes)
def _slopes(noise, w, z, out, work):
    for i in range(w.size):
        store(out, i, noise.s * load(z, 0) * load(w, i))


def batch_gradient(w, z):
    return st.evaluate.gradient(MODEL, w) + st.evaluate.diffusion(NOISE, w) @ z


@pytest.mark.parametrize("rule", [st.SVAG(0.2, 0.3, 5), st.CoinSVAG(0.2, 0.3, 5)], ids=lambda r: type(r).__name__)
def test_steps_are_the_written_ones(rule):
    states = st.simulate(MODEL, rule, W0, np.arange(7), noise=NOISE, keep_states=True, width=16).states
    lr, a = 0.2 / 5, svag.svag_first_coefficient(refinement=5)
    for path, w in enumerate(W0):
        zs = increments(0, path, 0, 12, 3)
        for t in range(6):
            if isinstance(rule, st.CoinSVAG):
                g = (1 + 2.0 * np.sign(zs[2 * t + 1, 0])) * batch_gradient(w, zs[2 * t])
            else:
                g = a * batch_gradient(w, zs[2 * t]) + (1 - a) * batch_gradient(w, zs[2 * t + 1])
            w = w - lr * (g + 0.3 * w)
            assert np.abs(states[path, t + 1] - w).max() < 1e-13, (rule, path, t, states[path, t + 1] - w)


def test_svag_of_one_takes_the_step_of_sgd():
    for rule in (st.SVAG(0.2, 0.3), st.CoinSVAG(0.2, 0.3)):
        one = st.simulate(MODEL, rule, W0, [1], noise=NOISE, width=16).final
        sgd = st.simulate(MODEL, st.SGD(0.2, 0.3), W0, [1], noise=NOISE, width=16).final
        assert np.abs(one - sgd).max() < 1e-15, (rule, one - sgd)


def test_schedules_run_on_the_clock_of_sgd():
    drop = Piecewise((0.4, 0.1), (2,))
    lr, wd = st.SVAG(drop, 0.5, 3).rates(9, 1.0)
    assert np.allclose(lr, np.repeat([0.4, 0.4, 0.1], 3) / 3), lr
    assert np.array_equal(wd, [0.5]), wd


# ---- moments of a step


@pytest.mark.claim("I45", kind="property")
@given(refinement=refinements)
@example(refinement=1)
def test_power_sums_of_the_two_weights(refinement):
    a = svag.svag_first_coefficient(refinement=refinement)
    for power, wanted in (
        (1, 1.0),
        (2, svag.svag_second_moment(refinement=refinement)),
        (3, svag.svag_third_moment(refinement=refinement)),
        (4, svag.svag_fourth_moment(refinement=refinement)),
    ):
        assert np.isclose(a**power + (1 - a) ** power, wanted, rtol=1e-11), (power, refinement)


def enumerated(rule, x, s, law):
    """(w - w')/lr of one step from x for every outcome of two numbers of a law (values, weights); chances."""
    values, weights = law
    lr = rule.rates(1, 1.0)[0][0]
    moved = lambda z: st.evaluate.step(rule, Quadratic(0.7), Slopes(s), np.array([x]), z)[0]
    moves = [(x - moved(z)) / lr for z in itertools.product(values, repeat=2)]
    return np.array(moves), np.array([a * b for a, b in itertools.product(weights, repeat=2)])


COIN = ((-1.0, 1.0), (0.5, 0.5))
LOADED = ((-0.5, 2.0), (0.8, 0.2))  # mean 0, variance 1, third moment 3/2, fourth 13/4


@pytest.mark.claim("I45", kind="simulation")
@pytest.mark.parametrize("refinement", [1, 3, 10])
def test_cumulants_of_the_compiled_step_by_enumeration(refinement):
    """All outcomes of a loaded coin: mean, covariance, third and fourth cumulant, no sampling."""
    moves, chance = enumerated(st.SVAG(0.2, 0.0, refinement), 1.3, 0.4 / 1.3, LOADED)
    mean = chance @ moves
    m2, m3, m4 = (chance @ (moves - mean) ** k for k in (2, 3, 4))
    l = {"refinement": refinement}
    assert np.isclose(mean, 0.7 * 1.3, rtol=1e-12), mean
    assert np.isclose(m2, 0.4**2 * svag.svag_second_moment(**l), rtol=1e-12), m2
    assert np.isclose(m3, 0.4**3 * 1.5 * svag.svag_third_moment(**l), rtol=1e-11), m3
    kappa4 = m4 - 3 * m2**2
    assert np.isclose(kappa4, 0.4**4 * 0.25 * svag.svag_fourth_moment(**l), rtol=1e-10), kappa4
    per_time = m3 / refinement**2 / (0.4**3 * 1.5)
    assert np.isclose(per_time, svag.svag_third_cumulant_per_time(**l), rtol=1e-11), per_time


@pytest.mark.claim("I45", kind="simulation")
@pytest.mark.parametrize("refinement", [1, 3, 10])
def test_variance_of_the_coin_variant_by_enumeration(refinement):
    """The coin shows the gradient itself: Sigma + (l - 1) (Sigma + grad L grad L^T)."""
    moves, chance = enumerated(st.CoinSVAG(0.2, 0.0, refinement), 1.3, 0.4 / 1.3, COIN)
    mean = chance @ moves
    variance = chance @ (moves - mean) ** 2
    predicted = svag.coin_svag_variance(
        trace=0.4**2, unit_squared_gradient=(0.7 * 1.3) ** 2, refinement=refinement
    )
    assert np.isclose(mean, 0.7 * 1.3, rtol=1e-12) and np.isclose(variance, predicted, rtol=1e-11), (mean, variance)


# ---- weak error of order 1/l, exactly: E x^k of one step is linear in E x^k (curvature noise)

H, S, LR, TIME = 0.8, 1.1, 0.3, 6  # dX = -lr H X dt + lr S X dB in time of SGD steps


def moment_factor(rule, power, law):
    """E (w'/w)^power of one compiled step, by enumeration."""
    values, weights = law
    moved = lambda z: st.evaluate.step(rule, Quadratic(H), Slopes(S), np.array([1.0]), z)[0]
    outcomes = zip(itertools.product(weights, repeat=2), itertools.product(values, repeat=2), strict=True)
    return sum(a * b * moved(z) ** power for (a, b), z in outcomes)


def weak_errors(make, power, law, levels):
    """|E x^power of SVAG(l) after TIME steps of SGD - that of the SDE|, exactly."""
    exact = np.exp(TIME * (-power * LR * H + 0.5 * power * (power - 1) * (LR * S) ** 2))
    return np.array([abs(moment_factor(make(l), power, law) ** (l * TIME) - exact) for l in levels])


@pytest.mark.claim("I46", kind="simulation")
@pytest.mark.parametrize("power", [1, 2, 3, 4])
@pytest.mark.parametrize("law", [COIN, LOADED], ids=["coin", "loaded"])
def test_weak_error_falls_like_one_over_l(power, law):
    levels = np.array([16, 32, 64, 128, 256])
    errors = weak_errors(lambda l: st.SVAG(LR, 0.0, l), power, law, levels)
    slope = fit_order(levels, errors)
    assert abs(slope + 1.0) < 0.1, (power, slope, errors)


@pytest.mark.claim("I46", kind="simulation")
def test_the_coin_variant_tends_to_another_sde_where_the_gradient_is_not_zero():
    """Its limit has covariance Sigma + grad L grad L^T: second moments of that SDE, not of SGD's."""
    levels = np.array([16, 64, 256])
    second = np.array([moment_factor(st.CoinSVAG(LR, 0.0, l), 2, COIN) ** (l * TIME) for l in levels])
    limit = lambda s2: np.exp(TIME * (-2 * LR * H + LR**2 * s2))
    assert fit_order(levels, np.abs(second - limit(S**2 + H**2))) < -0.9, second
    assert abs(second[-1] / limit(S**2) - 1) > 0.3, (second[-1], limit(S**2))


def test_skewed_noise_has_the_covariance_of_its_gaussian():
    """Exactly, by quadrature over the increment: variance s^2, third cumulant sqrt 8 s^3 instead of 0."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    noise, w = st.Skewed(Slopes(0.5)), np.array([1.0])
    x = np.array([st.evaluate.step(st.SGD(1.0), Quadratic(0.0), noise, w, [z])[0] for z in nodes]) - 1
    mean, second, third = (weights @ (-x) ** k / weights.sum() for k in (1, 2, 3))
    assert np.allclose((mean, second, third), (0, 0.25, np.sqrt(8) / 8), atol=1e-12), (mean, second, third)


# ---- SGD on the sphere


@pytest.mark.claim("I4", "I14", kind="simulation")
def test_sgd_with_weight_decay_is_sgd_on_the_sphere_at_its_own_effective_lr():
    lr, wd, steps, w0 = 0.3, 0.4, 40, np.array([1.1, -0.6, 0.8])
    run = {"noise": NOISE, "keep_states": True, "width": 16}
    free = st.simulate(MODEL, st.SGD(lr, wd), w0, np.arange(steps + 1), **run).states[0]
    squares = np.sum(free[:-1] ** 2, axis=-1)
    rule = st.SphereSGD(theory.direction_lr(lr=lr, weight_decay=wd, squared_norm=squares))
    sphere = st.simulate(MODEL, rule, w0, np.arange(steps + 1), **run).states[0]
    direction = free / np.linalg.norm(free, axis=-1, keepdims=True)
    error = np.abs(sphere / np.linalg.norm(w0) - direction).max()
    assert error < 1e-11, error
    assert np.allclose(np.linalg.norm(sphere, axis=-1), np.linalg.norm(w0), rtol=1e-14)


def on_the_circle(elr, angles, ts):
    """GD on the unit circle with the loss sin^2(angle), h = 1."""
    w0 = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    observe = {"loss": st.observers.Loss(st.Circle(1.0))}
    return st.simulate(st.Circle(1.0), st.SphereSGD(elr), w0, ts, observe=observe, width=16)


def sphere_loss(elr, steps, kept):
    """Loss over the last `kept` of `steps` steps from 64 starts."""
    return on_the_circle(elr, np.linspace(0.05, 1.5, 64), np.arange(steps - kept, steps))["loss"]


@pytest.mark.claim("I54", kind="simulation")
def test_regimes_of_a_fixed_effective_lr_on_the_circle():
    """Below the edge 2/lambda_1 = 1/h convergence; above it the angle flips its sign for ever at the loss
    (h - 1/elr)/2, which rises from 0 to the mean over the circle, h/2."""
    quiet = sphere_loss(0.7, 200, 4)
    assert quiet.max() < 1e-20, quiet.max()
    for elr in (1.05, 1.3, 2.5):
        level = sphere_loss(elr, 1200, 50)
        assert np.allclose(level, (1 - 1 / elr) / 2, rtol=1e-9), (elr, level.min(), level.max())


@given(elr=some.floats(0.05, 0.9))
@example(elr=0.9)
def test_convergence_on_the_sphere_is_geometric_up_to_the_edge_of_stability(elr):
    """The angle to the minimum shrinks by 1 - elr lambda_1, lambda_1 = 2 h."""
    moved = on_the_circle(elr, np.array([1e-5]), [1]).final[0]
    assert np.isclose(moved[0] / 1e-5, 1 - 2 * elr, atol=1e-9), (elr, moved)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.SVAG(0.1, l=0), "`l` must be at least 1: l=0"),
        (lambda: st.SVAG(0.1, l=2.5), "`l` must be an integer: l=2.5"),
        (lambda: st.SphereSGD(-0.1), "`effective_lr` must not be negative: effective_lr=-0.1"),
        (
            lambda: st.simulate(MODEL, st.CoinSVAG(0.1, l=2), np.ones(3), [1]),
            "`noise` must have increments for CoinSVAG",
        ),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
