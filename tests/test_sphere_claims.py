"""What StrangGeodesic has exactly for every step: gamma, turning without loss, flow without noise."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from operator_kernel import steps
from scipy import special

from sdetheory.dynamics import Piecewise
from sdetheory.dynamics.rules import WeightDecaySDE
from sdetheory.integrators import (
    Flow2,
    ProjectedEulerMaruyama,
    Richardson,
    StrangAveraged,
    StrangFrozen,
    StrangGeodesic,
)
from sdetheory.integrators.half_flow import half_flow
from sdetheory.integrators.sphere_state import trace
from sdetheory.lanes.vector import exp, float_rows, lane_array, load, sqrt, store
from sdetheory.models.noise import (
    CircleBatch,
    Covariance,
    GOEBatch,
    Isotropic,
    NoisyLinearBatch,
    NoNoise,
    squared_norm,
)
from sdetheory.models.scale_invariant import VonMisesFisher
from sdetheory.observers import Coordinate, SquaredNorm
from sdetheory.predictions import intrinsic_lr
from sdetheory.simulation import simulate
from sdetheory.statistics import mean_test

SEEN = {"u": Coordinate(0), "square": SquaredNorm()}
compiled = pytest.mark.compiled


def run(d, ts, *, lr, weight_decay, sigma=0.7, gamma_share=1.0, k=0.0, dt=1.0, paths=4, seed=0):
    """From the pole, with gamma_0 = gamma_share times the equilibrium value at lr = .2, wd = .1."""
    gamma = gamma_share * intrinsic_lr.equilibrium_gamma(lr=0.2, weight_decay=0.1, trace=sigma**2 * (d - 1))
    rates = WeightDecaySDE(lr, weight_decay)
    first = float(np.ravel(rates.rates(1, dt)[0])[0])
    start = np.eye(d)[0] * np.sqrt(first * np.sqrt(gamma))
    ensemble = simulate(
        VonMisesFisher(np.eye(d)[0], k),
        rates,
        start,
        ts,
        noise=Isotropic(sigma),
        dt=dt,
        paths=paths,
        seed=seed,
        observe=SEEN,
        progress=False,
    )
    return ensemble, gamma


@given(
    dt=st.sampled_from([1.0, 3.0, 10.0, 40.0]),
    share=st.floats(0.01, 30.0),
    weight_decay=st.sampled_from([0.0, 0.02, 0.1]),
    k=st.sampled_from([0.0, 0.4]),
)
@settings(max_examples=12)
@compiled
@pytest.mark.claim("I7", "I10", kind="simulation")
def test_gamma_is_exact_for_every_step_start_and_loss(dt, share, weight_decay, k):
    ts = np.array([1, 2, 5]) * dt
    ensemble, gamma0 = run(5, ts, lr=0.2, weight_decay=weight_decay, gamma_share=share, dt=dt, k=k)
    wanted = intrinsic_lr.gamma(t=ts, lr=0.2, weight_decay=weight_decay, trace=0.49 * 4, gamma0=gamma0)
    measured = (ensemble.values["square"] / 0.2) ** 2
    np.testing.assert_allclose(measured, np.broadcast_to(wanted, measured.shape), rtol=1e-12)


@compiled
@pytest.mark.claim("I16", "I20", kind="simulation")
def test_gamma_through_a_drop_of_the_learning_rate():
    """Equilibrium norm before, the jump by K^2 at the drop, the recovery after it; steps of h = .2."""
    drop, K, dt = 200.0, 5.0, 10.0
    ts = dt * np.arange(1, 120)
    ensemble, _ = run(5, ts, lr=Piecewise([0.2, 0.2 / K], [drop]), weight_decay=0.1, dt=dt)
    before, after = ts <= drop, ts > drop
    square = ensemble.values["square"][0]
    np.testing.assert_allclose(
        square[before],
        intrinsic_lr.equilibrium_squared_norm(lr=0.2, weight_decay=0.1, trace=1.96),
        rtol=1e-12,
    )
    ratio = (square[after] / (0.2 / K)) ** 2 / intrinsic_lr.equilibrium_gamma(lr=0.2 / K, weight_decay=0.1, trace=1.96)
    wanted = intrinsic_lr.lr_drop_gamma_ratio(t=ts[after] - drop, lr=0.2, weight_decay=0.1, factor=K)
    np.testing.assert_allclose(ratio, wanted, rtol=1e-12)


@compiled
@pytest.mark.parametrize(("share", "dt"), [(0.3, 10.0), (1.0, 20.0), (8.0, 5.0)])
@pytest.mark.claim("I28", kind="simulation")
def test_turning_without_loss_on_and_off_equilibrium(share, dt):
    ts = np.array([20.0, 60.0])
    ensemble, gamma0 = run(5, ts, lr=0.2, weight_decay=0.1, gamma_share=share, dt=dt, paths=40000, seed=5)
    wanted = intrinsic_lr.direction_correlation(t=ts, lr=0.2, weight_decay=0.1, trace=0.49 * 4, gamma0=gamma0)
    for j in range(2):
        outcome = mean_test(ensemble.values["u"][:, j], wanted[j], detectable=0.02)
        assert outcome, outcome


@compiled
@pytest.mark.claim("I29", kind="simulation")
def test_harmonics_of_degree_one_two_three_decay_at_their_rates():
    """Steps of h = .05, where the scheme's own error of degrees 2 and 3 is far below what is detectable."""
    t, d = 15.0, 5
    ensemble, _ = run(d, [t], lr=0.2, weight_decay=0.1, dt=2.5, paths=40000, seed=6)
    for degree in (1, 2, 3):
        harmonic = special.eval_gegenbauer(degree, (d - 2) / 2, ensemble.values["u"][:, 0])
        harmonic = harmonic / special.eval_gegenbauer(degree, (d - 2) / 2, 1.0)
        rate = intrinsic_lr.harmonic_rate(lr=0.2, weight_decay=0.1, dimension=d, degree=degree)
        outcome = mean_test(harmonic, np.exp(-rate * t), detectable=0.03)
        assert outcome, (degree, outcome)


@pytest.mark.parametrize("dt", [0.5, 20.0, 90.0])
def test_without_noise_the_flow_is_exact(dt):
    """sigma = 0: |w|^2 decays, the direction moves for B = lr (e^{2 lr wd t} - 1)/(2 lr wd |w|^2)."""
    lr, weight_decay, k, w = 0.2, 0.1, 0.03, np.array([[1.2, -0.5, 0.3]])
    square = (w**2).sum()
    after = steps(
        StrangGeodesic(),
        VonMisesFisher(np.eye(3)[0], k),
        NoNoise(),
        w,
        np.zeros((1, 0)),
        lr=lr,
        weight_decay=weight_decay,
        dt=dt,
    )[0]
    rate = lr * weight_decay
    r, u = k * lr * np.expm1(2 * rate * dt) / (2 * rate * square), w[0, 0] / np.sqrt(square)
    assert abs((after**2).sum() / (square * np.exp(-2 * rate * dt)) - 1) < 1e-13
    wanted = (u * np.cosh(r) + np.sinh(r)) / (np.cosh(r) + u * np.sinh(r))
    assert abs(after[0] / np.linalg.norm(after) - wanted) < 1e-13, (after, wanted)


def test_batch_noise_of_the_linear_loss_is_the_isotropic_one_reflected():
    z = np.random.default_rng(2).standard_normal((7, 3))
    w, model = (
        np.random.default_rng(3).standard_normal((7, 3)),
        VonMisesFisher(np.array([0.6, 0.0, 0.8]), 0.4),
    )
    rates = {"lr": 0.2, "weight_decay": 0.1, "dt": 5.0}
    batch = steps(StrangGeodesic(), model, NoisyLinearBatch(0.5), w, z, **rates)
    np.testing.assert_allclose(batch, steps(StrangGeodesic(), model, Isotropic(0.5), w, -z, **rates), rtol=1e-13)


class Bowl(NamedTuple):
    """A loss with a scale."""


@pytest.mark.parametrize(
    ("integrator", "model", "noise", "message"),
    [
        (
            StrangGeodesic(),
            VonMisesFisher(np.eye(3)[0], 0.4),
            Covariance(np.eye(3)),
            r"`noise` must have a `isotropic_trace`.*use StrangFrozen",
        ),
        (
            StrangAveraged(),
            VonMisesFisher(np.eye(3)[0], 0.4),
            GOEBatch(0.1),
            "`noise` must have a `isotropic_trace`",
        ),
        (Flow2(), VonMisesFisher(np.eye(3)[0], 0.4), GOEBatch(0.1), "`noise` must have a `covary`"),
        (
            Richardson(Flow2()),
            VonMisesFisher(np.eye(3)[0], 0.4),
            GOEBatch(0.1),
            "`noise` must have a `covary`",
        ),
        (StrangFrozen(), Bowl(), Isotropic(0.3), "`model` must be scale-invariant.*use EulerMaruyama"),
        (ProjectedEulerMaruyama(), Bowl(), Isotropic(0.3), "`model` must be scale-invariant"),
    ],
)
def test_what_a_scheme_cannot_do_is_refused_before_work(integrator, model, noise, message):
    with pytest.raises(ValueError, match=message):
        simulate(
            model,
            WeightDecaySDE(0.2, 0.1),
            np.ones(3),
            [1.0],
            noise=noise,
            integrator=integrator,
            progress=False,
        )


class Pull(NamedTuple):
    """A user's loss -k w_1/|w| with its closed flow: w_1 grows as tanh(k s + artanh u)."""

    k: float
    scale_invariant = True


@half_flow.of(Pull)
def _pull(model, w, q, s, out, work):
    u, r = load(w, 0) / sqrt(q), model.k * s
    moved = (u * (exp(r) + exp(-r)) + exp(r) - exp(-r)) / (exp(r) + exp(-r) + u * (exp(r) - exp(-r)))
    rest = sqrt((1.0 - moved * moved) / (q - load(w, 0) * load(w, 0)))
    store(out, 0, moved)
    for i in range(1, w.size):
        store(out, i, rest * load(w, i))


def test_a_users_closed_flow_is_used():
    rng, rates = np.random.default_rng(8), {"lr": 0.2, "weight_decay": 0.1, "dt": 9.0}
    w, z = rng.standard_normal((8, 3)), rng.standard_normal((8, 3))
    own = steps(StrangGeodesic(), Pull(0.4), Isotropic(0.5), w, z, **rates)
    ours = steps(StrangGeodesic(), VonMisesFisher(np.eye(3)[0], 0.4), Isotropic(0.5), w, z, **rates)
    np.testing.assert_allclose(own, ours, rtol=1e-12)


_by_columns = trace.default


@njit(error_model="numpy")
def _traces(noises, w, z, out, work):
    q = squared_norm(w)
    store(out, 0, trace(noises[0], w, q, z[:6], work))
    store(out, 1, _by_columns(noises[0], w, q, z[:6], work))
    store(out, 2, trace(noises[1], w, q, z[:4], work))
    store(out, 3, _by_columns(noises[1], w, q, z[:4], work))
    store(out, 4, trace(noises[2], w, q, z[:3], work))
    store(out, 5, _by_columns(noises[2], w, q, z[:3], work))


def test_registered_traces_equal_the_sum_over_columns():
    rng = np.random.default_rng(4)
    noises = GOEBatch(0.3), Covariance(rng.standard_normal((3, 4))), Isotropic(0.8)
    w, z, out, work = (lane_array(rows, 8) for rows in (3, 6, 6, 4))
    float_rows(w)[:] = rng.standard_normal((3, 8))
    _traces(noises, w, z, out, work)
    values = float_rows(out)
    np.testing.assert_allclose(values[::2], values[1::2], rtol=1e-12)
    assert trace.python(CircleBatch(0.6), w[:2], np.ones(8), z, work).max() == pytest.approx(0.36)
