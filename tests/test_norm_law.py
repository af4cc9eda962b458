"""The law of the norm and of gamma = |w|^4/lr^2: the SDE by extrapolated Euler-Maruyama, SGD with exact
batches.
"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sdetheory as st
from sdetheory.dynamics import Cosine, Exponential, Piecewise
from sdetheory.integrators import EulerMaruyama
from sdetheory.predictions import intrinsic_lr as theory
from sdetheory.statistics import equivalent, fit_order, mean_test

pytestmark = pytest.mark.compiled
D, SIGMA = 4, 0.8
TRACE = SIGMA**2 * (D - 1)
FLAT, ISOTROPIC = st.Rayleigh(np.zeros(D)), st.Isotropic(SIGMA)


def sde(rule, ts, *, w0, paths, dt, coarsen=1, model=FLAT, noise=ISOTROPIC, seed=1):
    """States (paths, T, d) of Euler-Maruyama."""
    ens = st.simulate(model, rule, w0, ts, noise=noise, integrator=EulerMaruyama(), dt=dt, coarsen=coarsen,
                      paths=paths, seed=seed, keep_states=True, width=16)  # fmt: skip
    return ens.states


def extrapolated(measure, rule, ts, *, dt, **options):
    """Two levels driven by the same noise, 2 fine - coarse: `measure(states)` free of its error of order
    dt.
    """
    coarse = measure(sde(rule, ts, dt=dt, coarsen=2, **options))
    return 2 * measure(sde(rule, ts, dt=dt / 2, **options)) - coarse


def start(gamma, lr, d=D):
    """A start with this gamma."""
    return np.eye(d)[0] * np.sqrt(lr) * gamma**0.25


def gamma_of(lr):
    return lambda states: (np.sum(states**2, axis=-1) / lr) ** 2


def agree(samples, predicted, margin):
    """Equivalence at every time, within a relative margin."""
    for k, value in enumerate(np.broadcast_to(predicted, samples.shape[1:])):
        outcome = equivalent(samples[:, k], float(value), margin=margin * float(value))
        assert outcome, (k, outcome)


@pytest.mark.claim("I6", kind="simulation")
def test_the_squared_norm_has_no_noise_term():
    """Its variance over paths is the integrator's: it vanishes like dt."""
    dts = np.array([2.0, 1.0, 0.5, 0.25])
    rule, w0 = st.WeightDecaySDE(0.5, 0.04), start(4.0, 0.5)
    variances = [
        np.var(np.sum(sde(rule, [20.0], w0=w0, paths=4000, dt=dt)[:, 0] ** 2, axis=-1)) for dt in dts
    ]
    slope = fit_order(dts, np.array(variances))
    assert abs(slope - 1.0) < 0.15, (slope, variances)


@pytest.mark.claim("I7", "I9", "I10", kind="simulation")
@pytest.mark.parametrize(("lr", "wd", "gamma0"), [(0.5, 0.02, 20.0), (0.1, 0.1, 400.0), (0.5, 0.0, 50.0)])
def test_gamma_follows_its_linear_equation(lr, wd, gamma0):
    ts = np.array([10.0, 30.0, 100.0])
    gamma = extrapolated(
        gamma_of(lr), st.WeightDecaySDE(lr, wd), ts, w0=start(gamma0, lr), paths=60_000, dt=0.5
    )
    agree(gamma, theory.gamma(t=ts, lr=lr, weight_decay=wd, trace=TRACE, gamma0=gamma0), 5e-3)


@pytest.mark.claim("I18", kind="simulation")
def test_gamma_relaxes_at_four_times_the_intrinsic_lr():
    lr, wd, ts = 0.5, 0.04, np.arange(5.0, 45.0, 5.0)
    star = theory.equilibrium_gamma(lr=lr, weight_decay=wd, trace=TRACE)
    gamma = extrapolated(
        gamma_of(lr), st.WeightDecaySDE(lr, wd), ts, w0=start(5 * star, lr), paths=60_000, dt=0.5
    )
    rate = -np.polyfit(ts, np.log(gamma.mean(axis=0) / star - 1), 1)[0]
    predicted = theory.relaxation_rate(lr=lr, weight_decay=wd)
    assert abs(rate / predicted - 1) < 0.02, (rate, predicted)


@pytest.mark.claim("I11", kind="simulation")
@pytest.mark.parametrize(
    "schedule", [Exponential(0.5, -0.01), Cosine(0.5, 0.1, 100.0)], ids=lambda s: type(s).__name__
)
def test_a_smooth_schedule_shifts_the_intrinsic_learning_rate(schedule):
    """le + (1/2) d ln lr/dt instead of le: the predicted rate, integrated."""
    wd, gamma0, ts = 0.04, 60.0, np.array([20.0, 50.0, 90.0])
    log_rate = lambda t, h=1e-4: (np.log(schedule(t + h)) - np.log(schedule(t - h))) / (2 * h)
    rate = lambda t, g: theory.gamma_rate_schedule(
        lr=schedule(t), weight_decay=wd, trace=TRACE, gamma=g, lr_log_rate=log_rate(t)
    )
    predicted = solve_ivp(rate, (0, ts[-1]), [gamma0], t_eval=ts, rtol=1e-9, atol=1e-9).y[0]
    gamma = extrapolated(gamma_of(schedule(ts)), st.WeightDecaySDE(schedule, wd), ts,
                         w0=start(gamma0, schedule(0.0)), paths=60_000, dt=0.5)  # fmt: skip
    agree(gamma, predicted, 5e-3)


@pytest.mark.claim("I16", "I20", "I21", kind="simulation")
def test_dropping_lr_and_dropping_weight_decay_reach_one_equilibrium_by_different_ways():
    lr, wd, K, drop = 0.8, 0.025, 4.0, 20.0
    ts = np.array([20.0, 30.0, 60.0, 100.0])
    star = theory.equilibrium_gamma(lr=lr, weight_decay=wd, trace=TRACE)
    after = {"lr": lr, "weight_decay": wd, "factor": K, "t": ts - drop}
    for rule, ratio, rates in (
        (
            st.WeightDecaySDE(Piecewise((lr, lr / K), (drop,)), wd),
            theory.lr_drop_gamma_ratio(**after),
            lr / K,
        ),
        (st.WeightDecaySDE(lr, Piecewise((wd, wd / K), (drop,))), theory.wd_drop_gamma_ratio(**after), lr),
    ):
        gamma = extrapolated(gamma_of(rates), rule, ts, w0=start(star, lr), paths=60_000, dt=0.5)
        agree(gamma, ratio * K * star, 5e-3)


@pytest.mark.claim("I19", kind="simulation")
def test_without_weight_decay_the_effective_lr_falls_like_one_over_root_t():
    lr, ts = 0.5, np.array([25.0, 50.0, 100.0, 200.0, 400.0])
    states = sde(st.WeightDecaySDE(lr, 0.0), ts, w0=start(1.0, lr), paths=1000, dt=0.5)
    effective_lr = lr / np.sum(states**2, axis=-1)
    slope = fit_order(ts, effective_lr.mean(axis=0))
    assert abs(slope + 0.5) < 0.01, slope
    agree(effective_lr[:, -1:], theory.no_decay_effective_lr(t=ts[-1:], trace=TRACE), 0.01)


@pytest.mark.claim("I28", kind="simulation")
@pytest.mark.parametrize("gamma0", [2.0, 48.0, 300.0])
def test_correlation_of_the_direction_with_its_start(gamma0):
    """Below, at and above equilibrium, in d = 4: no d in the formula."""
    lr, wd, ts = 0.5, 0.04, np.array([10.0, 40.0])
    along = lambda states: states[..., 0] / np.sqrt(np.sum(states**2, axis=-1))
    cosines = extrapolated(along, st.WeightDecaySDE(lr, wd), ts, w0=start(gamma0, lr), paths=20_000, dt=0.5)
    predicted = theory.direction_correlation(t=ts, lr=lr, weight_decay=wd, trace=TRACE, gamma0=gamma0)
    for k in range(ts.size):
        outcome = mean_test(cosines[:, k], float(predicted[k]), detectable=0.05)
        assert outcome, (ts[k], outcome)


@pytest.mark.claim("I15", kind="simulation")
def test_mean_gamma_at_equilibrium_is_the_mean_trace_over_twice_the_intrinsic_lr():
    """Anisotropic noise, so the trace depends on the direction; from the same runs."""
    root = np.diag([1.5, 0.8, 0.3, 0.3])
    rule, lr, wd = st.WeightDecaySDE(0.5, 0.1), 0.5, 0.1
    ts = np.arange(60.0, 400.0, 2.0)

    def gap(states):
        """Per path: time average of gamma - S/(2 le), in units of tr C/(2 le)."""
        direction = states / np.linalg.norm(states, axis=-1, keepdims=True)
        trace = np.sum(root**2) - np.sum((direction @ root) ** 2, axis=-1)
        return ((gamma_of(lr)(states) - trace / (2 * lr * wd)) / (np.sum(root**2) / (2 * lr * wd))).mean(
            axis=-1
        )

    samples = extrapolated(gap, rule, ts, w0=start(30.0, lr), paths=2000, dt=0.5, noise=st.Covariance(root))
    outcome = equivalent(samples, 0.0, margin=0.005)
    assert outcome, outcome


# ---- mini-batch SGD on w^T (A + s E) w/|w|^2, E Gaussian and symmetric


def sgd(lr, wd, a, s, ts, *, w0, paths, seed=2):
    ens = st.simulate(st.Rayleigh(a), st.SGD(lr, wd), w0, ts, noise=st.GOEBatch(s), paths=paths, seed=seed,
                      keep_states=True, width=16)  # fmt: skip
    return ens.states


TOYS = [(0.05, 0.1, 0.15), (0.3, 0.1, 0.05)]


@pytest.mark.claim("I15", "I16", "I35", "I36", kind="simulation")
@pytest.mark.parametrize(("lr", "wd", "a"), TOYS)
def test_equilibrium_of_sgd_with_exact_batches(lr, wd, a):
    """gamma, its stationarity identity, and the turn of one step, d = 3, s = 1/2, so the trace is 2."""
    le, s = lr * wd, 0.5
    burn = int(6 / le)
    star = theory.equilibrium_gamma(lr=lr, weight_decay=wd, trace=4 * s * s * 2)
    states = sgd(lr, wd, [0.0, 0.0, a], s, burn + np.arange(600), w0=start(star, lr, 3), paths=600)
    before, after = states[:, :-1], states[:, 1:]
    g = ((1 - le) * before - after) / lr
    square = np.sum(before**2, axis=-1)
    gamma, unit = (square / lr) ** 2, np.sum(g**2, axis=-1) * square
    predicted = theory.stationary_mean_gamma(
        lr=lr, weight_decay=wd, mean_square=unit, mean_fourth=unit**2 / gamma
    )
    outcome = equivalent((gamma - predicted).mean(axis=1), 0.0, margin=0.01 * star)
    assert outcome, outcome
    finite_steps = theory.discrete_equilibrium_squared_norm(
        lr=lr, weight_decay=wd, unit_squared_gradient=unit.mean()
    )
    outcome = equivalent(square.mean(axis=1), float(finite_steps), margin=(0.005 + le) * float(finite_steps))
    assert outcome, outcome
    cosine = np.sum(before * after, axis=-1) / np.sqrt(square * np.sum(after**2, axis=-1))
    outcome = equivalent(
        cosine.mean(axis=1), float(theory.turn_cosine(lr=lr, weight_decay=wd)), margin=0.03 * le
    )
    assert outcome, outcome


@pytest.mark.claim("I28", kind="simulation")
def test_the_mean_of_sgd_without_loss_shrinks_by_one_minus_le_a_step():
    lr, wd, ts = 0.2, 0.1, np.array([20, 80])
    w0 = np.array([1.0, -0.5, 0.3])
    states = sgd(lr, wd, np.zeros(3), 0.5, ts, w0=w0, paths=20_000)
    for k, t in enumerate(ts):
        outcome = mean_test(states[:, k] @ w0 / (w0 @ w0), (1 - lr * wd) ** t, detectable=0.05)
        assert outcome, (t, outcome)


@pytest.mark.claim("I55", kind="simulation")
def test_the_squared_norm_fluctuates_as_the_linearised_step_says():
    """Without loss the squared unit gradient is chi-squared (d - 1 = 2 degrees), independent of the past."""
    lr, wd = 0.1, 0.05
    star = theory.equilibrium_gamma(lr=lr, weight_decay=wd, trace=2.0)
    states = sgd(lr, wd, np.zeros(3), 0.5, [600], w0=start(star, lr, 3), paths=60_000)
    square = np.sum(states[:, 0] ** 2, axis=-1)
    predicted = float(theory.squared_norm_fluctuation(lr=lr, weight_decay=wd, relative_variance=1.0))
    outcome = equivalent((square / square.mean() - 1) ** 2, predicted, margin=0.06 * predicted)
    assert outcome, outcome
