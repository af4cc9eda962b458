"""Rotational equilibrium: norm, turn and relaxation of every optimiser, on noise without a loss.

Two kinds of noise: `White`, the same everywhere, for which the laws of rules that rescale the gradient are
exact; and `Isotropic`, tangent and growing like 1/|w| as for any scale-invariant loss.
"""

import numpy as np
import pytest
import sympy as sp

import sdetheory as st
from sdetheory.integrators.turning import turn_cosine, turning
from sdetheory.predictions import intrinsic_lr as theory
from sdetheory.predictions import rotational_equilibrium as rotation
from sdetheory.statistics import equivalent, mean_test

pytestmark = pytest.mark.compiled
SIGMA = 0.7
TANGENT, WHITE = st.Isotropic(SIGMA), st.White(SIGMA)


def direction(d):
    v = np.random.default_rng(1).standard_normal(d)  # generic: no coordinate of a gradient is zero to rounding
    return v / np.linalg.norm(v)


def trace(d):
    return SIGMA**2 * (d - 1)


def stationary(rule, noise, d, start, *, burn, paths, spacing=10, count=20, seed=3):
    """|w|^2 before and after, and |w' - w|^2, of steps `spacing` apart: three arrays (paths, count)."""
    ts = burn + spacing * np.arange(count)[:, None] + np.arange(2)
    w0 = direction(d) * np.sqrt(start)
    states = st.simulate(st.Rayleigh(np.zeros(d)), rule, w0, ts.ravel(), noise=noise, paths=paths, seed=seed,
                         keep_states=True, width=16).states.reshape(paths, count, 2, d)  # fmt: skip
    squares = np.sum(states**2, axis=-1)
    return squares[..., 0], squares[..., 1], np.sum((states[..., 1, :] - states[..., 0, :]) ** 2, axis=-1)


def turn_gap(before, after, moved, cosine):
    """Per path, zero in the mean where E<w', w> = cosine E|w|^2: in units of 1 - cosine."""
    gap = (moved - (1 - cosine) * (before + after)).mean(axis=1)
    return gap / ((1 - cosine) * (before + after).mean())


# ---- momentum


@pytest.mark.claim("I37", kind="simulation")
@pytest.mark.parametrize(
    ("rule", "norm", "cosine"),
    [
        (st.HeavyBall(0.4, 0.05, 0.8), theory.momentum_equilibrium_squared_norm, theory.momentum_turn_cosine),
        (st.Nesterov(0.3, 0.06, 0.7), rotation.nesterov_equilibrium_squared_norm, rotation.nesterov_turn_cosine),
    ],
    ids=["heavy ball", "nesterov"],
)
def test_norm_and_turn_with_momentum(rule, norm, cosine):
    """The turn is exact; the norm is exact for E|w|^2 = norm^2 E 1/|w|^2, and off by the fluctuation of |w|."""
    d, given = 6, {"lr": rule.lr, "weight_decay": rule.weight_decay, "momentum": rule.momentum}
    star, cosine = norm(unit_squared_gradient=trace(d), **given), cosine(**given)
    before, after, moved = stationary(rule, TANGENT, d, star, burn=300, paths=4000)
    outcome = mean_test(turn_gap(before, after, moved, cosine), 0.0, detectable=0.02)
    assert outcome, outcome
    outcome = mean_test((before / star - star / before).mean(axis=1), 0.0, detectable=0.05)
    assert outcome, outcome
    excess = (before / star).mean() - 1
    predicted = np.sqrt(before.mean() * (1 / before).mean()) - 1
    assert 0.005 < excess and abs(excess - predicted) < 0.005, (excess, predicted)


@pytest.mark.claim("I37", kind="simulation")
def test_with_a_loss_the_turn_stays_and_the_norm_does_not():
    """The turn needs <g, w> = 0 alone; the norm also E<g, w_before> = 0, which a loss breaks."""
    d, lr, wd, momentum = 6, 0.4, 0.05, 0.8
    given = {"lr": lr, "weight_decay": wd, "momentum": momentum}
    states = st.simulate(st.Rayleigh(np.linspace(0, 4.0, d)), st.HeavyBall(*given.values()), direction(d) * 2.6,
                         np.arange(300, 320), noise=TANGENT, paths=4000, keep_states=True, width=16).states  # fmt: skip
    squares = np.sum(states**2, axis=-1)
    moved = np.sum((states[:, 1:] - states[:, :-1]) ** 2, axis=-1)
    cosine = theory.momentum_turn_cosine(**given)
    outcome = mean_test(turn_gap(squares[:, :-1], squares[:, 1:], moved, cosine), 0.0, detectable=0.05)
    assert outcome, outcome
    before, now, after = states[:, :-2], states[:, 1:-1], states[:, 2:]
    g = ((1 + momentum - lr * wd) * now - momentum * before - after) / lr
    fourth = theory.momentum_equilibrium_squared_norm(unit_squared_gradient=1.0, **given) ** 2
    scale = squares.mean() / fourth
    residual = (squares[:, 1:-1] / fourth - np.sum(g**2, axis=-1)).mean(axis=1) / scale
    assert not mean_test(residual, 0.0, detectable=0.1), residual.mean()
    pulled = 2 * momentum / lr * np.sum(g * before, axis=-1).mean(axis=1) / scale
    outcome = mean_test(residual - pulled, 0.0, detectable=0.05)
    assert outcome, (outcome, pulled.mean())


# ---- AdamW and Lion: exact on white noise


@pytest.mark.claim("I38", kind="simulation")
@pytest.mark.parametrize(("beta1", "lr", "wd"), [(0.8, 0.02, 2.0), (0.0, 0.01, 5.0)])
def test_norm_and_turn_of_adamw_where_the_squared_gradient_is_known(beta1, lr, wd):
    d, rule = 6, st.AdamW(lr, wd, beta1=beta1, beta2=0.9999, epsilon=0.0)
    given = {"lr": lr, "weight_decay": wd, "beta1": beta1}
    star = rotation.adamw_equilibrium_squared_norm(dimension=d, **given)
    before, after, moved = stationary(rule, WHITE, d, star, burn=1000, paths=8000, spacing=40)
    for samples, margin in (
        (before.mean(axis=1) / star - 1, 0.02),
        (turn_gap(before, after, moved, rotation.ema_turn_cosine(lr=lr, weight_decay=wd, beta1=beta1)), 0.02),
        (moved.mean(axis=1) / lr**2 / rotation.adamw_update_square(beta1=beta1, dimension=d) - 1, 0.2),
    ):
        outcome = equivalent(samples, 0.0, margin=margin)
        assert outcome, outcome


@pytest.mark.claim("I38", kind="property")
@pytest.mark.parametrize("beta1", [0.0, 0.3, 0.95])
def test_the_effective_step_is_the_sine_of_the_turn(beta1):
    """lr times the part of the update across w over |w|; all of the update is more, it also points back."""
    given = {"lr": 0.02, "weight_decay": np.array([0.1, 1.0, 30.0]), "beta1": beta1}
    step, cosine = rotation.ema_effective_step(**given), rotation.ema_turn_cosine(**given)
    assert np.allclose(step**2 + cosine**2, 1, rtol=1e-14), (step, cosine)
    norm = rotation.ema_equilibrium_squared_norm(update_square=3.0, **given)
    across = 3.0 - rotation.ema_alignment(update_square=3.0, **given) ** 2 / norm
    assert np.allclose(0.02**2 * across / norm, step**2, rtol=1e-12), (norm, step)
    whole = 0.02**2 * 3.0 / norm / step**2
    assert np.allclose(whole, 1.0) if beta1 == 0.0 else whole[0] > 1.0 and (np.diff(whole) > 0).all(), whole
    rotated = rotation.adamw_rotation(lr=0.02, weight_decay=1e-6, beta1=beta1)
    small = rotation.ema_effective_step(lr=0.02, weight_decay=1e-6, beta1=beta1)
    assert np.isclose(rotated, small, rtol=1e-5), (rotated, small)


@pytest.mark.claim("I38", kind="simulation")
def test_adamw_on_tangent_noise_keeps_the_law_to_a_few_per_cent():
    d, lr, wd = 24, 0.01, 1.0
    star = rotation.adamw_equilibrium_squared_norm(lr=lr, weight_decay=wd, beta1=0.8, dimension=d)
    rule = st.AdamW(lr, wd, beta1=0.8, beta2=0.999, epsilon=0.0)
    before, after, moved = stationary(rule, TANGENT, d, star, burn=1500, paths=500)
    cosine = rotation.ema_turn_cosine(lr=lr, weight_decay=wd, beta1=0.8)
    for samples in (before.mean(axis=1) / star - 1, turn_gap(before, after, moved, cosine)):
        outcome = equivalent(samples, 0.0, margin=0.04)
        assert outcome, outcome


LIONS = [(0.8, 0.9, 0.02, 2.0), (0.9, 0.97, 0.01, 2.0), (0.5, 0.0, 0.02, 2.0)]


@pytest.mark.claim("I39", kind="simulation")
@pytest.mark.parametrize(("beta1", "beta2", "lr", "wd"), LIONS)
def test_norm_and_turn_of_lion_follow_the_arcsine_law(beta1, beta2, lr, wd):
    d, given = 6, {"lr": lr, "weight_decay": wd, "beta1": beta1, "beta2": beta2}
    star = rotation.lion_equilibrium_squared_norm(dimension=d, **given)
    rule = st.Lion(lr, wd, beta1, beta2)
    before, after, moved = stationary(rule, WHITE, d, star, burn=500, paths=8000, spacing=40)
    outcome = mean_test(before.mean(axis=1) / star - 1, 0.0, detectable=0.03)
    assert outcome, outcome
    outcome = mean_test(turn_gap(before, after, moved, rotation.lion_turn_cosine(**given)), 0.0, detectable=0.04)
    assert outcome, outcome


@pytest.mark.claim("I39", kind="property")
def test_the_factor_with_pi_over_two_is_the_linearised_limit():
    """At betas (0.9, 0.99) it is right to 2 % as lr wd goes to 0 (the curvature of the arcsine), high by 8 % in
    |w|^2 at lr wd = 1e-3 and by 92 % at 1e-2 (memory as long as equilibrium); low by 2/pi without memory."""
    ratio = lambda b1, b2, le: float(
        rotation.lion_linear_squared_norm(lr=le, weight_decay=1.0, beta1=b1, beta2=b2, dimension=1.0)
        / rotation.lion_equilibrium_squared_norm(lr=le, weight_decay=1.0, beta1=b1, beta2=b2, dimension=1.0)
    )
    assert abs(ratio(0.0, 0.0, 1e-9) - 2 / np.pi) < 1e-6, ratio(0.0, 0.0, 1e-9)
    usual = [ratio(0.9, 0.99, le) for le in (1e-9, 1e-4, 1e-3, 1e-2)]
    assert 0.97 < usual[0] < 1 < usual[2] < usual[3] and usual[3] > 1.5, usual
    turn = np.sqrt(2 * (1 - rotation.lion_turn_cosine(lr=1e-9, weight_decay=1.0, beta1=0.9, beta2=0.99)))
    linear = rotation.lion_rotation(lr=1e-9, weight_decay=1.0, beta1=0.9, beta2=0.99)
    assert 1.0 < linear / turn < 1.02, (linear, turn)


@pytest.mark.claim("I39", kind="simulation")
def test_on_tangent_noise_lion_is_off_by_about_one_over_the_dimension():
    """However small lr wd: signs of a tangent vector are not tangent."""
    lr, wd, beta1, beta2 = 0.01, 0.5, 0.8, 0.9
    excess = {}
    for d, paths in ((6, 4000), (24, 1000)):
        given = {"lr": lr, "weight_decay": wd, "beta1": beta1, "beta2": beta2}
        star = rotation.lion_equilibrium_squared_norm(dimension=d, **given)
        before, _, _ = stationary(st.Lion(lr, wd, beta1, beta2), TANGENT, d, star, burn=1500, paths=paths, spacing=40)
        excess[d] = d * (before.mean(axis=1) / star - 1)
        outcome = equivalent(excess[d], 1.0, margin=0.5)
        assert outcome, (d, outcome)


# ---- Adam with L2


@pytest.mark.claim("I40", kind="simulation")
def test_norm_and_turn_of_adam_with_coupled_weight_decay():
    d, lr, wd = 24, 0.01, 0.3
    given = {"lr": lr, "weight_decay": wd, "dimension": d, "trace": trace(d)}
    star = rotation.adam_equilibrium_squared_norm(**given)
    cosine = rotation.adam_turn_cosine(beta1=0.8, **given)
    rule = st.Adam(lr, wd, beta1=0.8, beta2=0.999, epsilon=0.0)
    before, after, moved = stationary(rule, TANGENT, d, star, burn=4000, paths=400)
    for samples in (before.mean(axis=1) / star - 1, turn_gap(before, after, moved, cosine)):
        outcome = equivalent(samples, 0.0, margin=0.04)
        assert outcome, outcome


# ---- relaxation: two starts on the same noise, one above and one below equilibrium


def relaxed(rule, noise, d, star, t1, t2, *, paths, spread=1.1):
    """Distance in |w|^2 of the two starts at t2 over its mean at t1, by path."""
    gap = 0.0
    for sign in (1, -1):
        start = direction(d) * np.sqrt(star * spread**sign)
        states = st.simulate(st.Rayleigh(np.zeros(d)), rule, start, [t1, t2], noise=noise, paths=paths, seed=5,
                             keep_states=True, width=16).states  # fmt: skip
        gap = gap + sign * np.sum(states**2, axis=-1)
    return gap[:, 1] / gap[:, 0].mean()


D = 24


def slowest(lr, wd, momentum):
    """The slowest factor a step of momentum, from the polynomial whose zero it is."""
    x = sp.Symbol("multiplier")
    polynomial = rotation.momentum_relaxation_polynomial.at(lr=lr, weight_decay=wd, momentum=momentum)
    return max(np.roots([float(c) for c in sp.Poly(polynomial, x).all_coeffs()]).real)


@pytest.mark.claim("I18", "I37", kind="simulation")
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.8])
def test_relaxation_with_momentum_is_faster_by_one_over_one_minus_momentum(momentum):
    lr, wd = 0.1, 0.02 * (1 - momentum) ** 2 + 0.005
    given = {"lr": lr, "weight_decay": wd, "momentum": momentum}
    star = theory.momentum_equilibrium_squared_norm(unit_squared_gradient=trace(D), **given)
    factor, first_order = slowest(lr, wd, momentum), rotation.momentum_relaxation_rate(**given)
    t1, steps = int(6 / (1 - momentum)), int(1 / first_order)
    left = relaxed(st.HeavyBall(lr, wd, momentum), TANGENT, D, star, t1, t1 + steps, paths=1000)
    outcome = equivalent(left, factor**steps, margin=0.01)
    assert outcome, (outcome, factor, first_order)
    assert 1.0 < -np.log(factor) / first_order < 1.1, (-np.log(factor), first_order)
    if momentum == 0.0:
        exact = theory.discrete_relaxation_multiplier(lr=lr, weight_decay=wd)
        assert np.isclose(factor, exact, rtol=1e-12), (factor, exact)


@pytest.mark.claim("I40", kind="simulation")
@pytest.mark.parametrize(
    "rule", [st.AdamW(0.01, 1.0, beta1=0.8, beta2=0.9, epsilon=0.0), st.Lion(0.01, 1.0, 0.8, 0.9)],
    ids=["adamw", "lion"],
)  # fmt: skip
def test_rules_that_rescale_relax_at_twice_the_intrinsic_lr(rule):
    """White noise: exactly (1 - lr wd)^2 a step, half of SGD's rate and no more."""
    factor = rotation.rescaled_relaxation_multiplier(lr=rule.lr, weight_decay=rule.weight_decay)
    left = relaxed(rule, WHITE, D, 0.2, 40, 90, paths=8000, spread=4.0)
    outcome = mean_test(left, factor**50, detectable=0.03)
    assert outcome, outcome
    rate = rotation.rescaled_relaxation_rate(lr=rule.lr, weight_decay=rule.weight_decay)
    assert abs(-np.log(factor) / rate - 1) < 0.006, (factor, rate)
    assert not mean_test(left, np.exp(-50 * theory.relaxation_rate(lr=rule.lr, weight_decay=rule.weight_decay)),
                         detectable=0.03)  # fmt: skip


@pytest.mark.claim("I40", kind="simulation")
@pytest.mark.parametrize(("beta2", "below"), [(0.9, 1.0), (0.97, 0.9)])
def test_where_gradients_grow_like_one_over_the_norm_the_memory_of_adamw_slows_it(beta2, below):
    """lr wd = 0.003: the rate of theory, and less than 2 lr wd as soon as 1 - beta2 is not far above lr wd."""
    lr, wd = 0.01, 0.3
    star = rotation.adamw_equilibrium_squared_norm(lr=lr, weight_decay=wd, beta1=0.5, dimension=D)
    rate = rotation.adamw_relaxation_rate(lr=lr, weight_decay=wd, beta2=beta2)
    rule = st.AdamW(lr, wd, beta1=0.5, beta2=beta2, epsilon=0.0)
    t1, steps = 200, int(1 / rate)
    left = relaxed(rule, TANGENT, D, star, t1, t1 + steps, paths=1000)
    outcome = equivalent(left, np.exp(-rate * steps), margin=0.03)
    assert outcome, (outcome, rate)
    measured = -np.log(left.mean()) / steps / rotation.rescaled_relaxation_rate(lr=lr, weight_decay=wd)
    assert measured < below, measured


@pytest.mark.claim("I40", kind="simulation")
def test_adam_with_coupled_weight_decay_relaxes_at_three_times_its_intrinsic_lr():
    lr, wd, beta2 = 0.003, 0.3, 0.9
    given = {"lr": lr, "weight_decay": wd, "dimension": D, "trace": trace(D)}
    star, first_order = rotation.adam_equilibrium_squared_norm(**given), rotation.adam_relaxation_rate(**given)
    rate = rotation.adam_memory_relaxation_rate(beta2=beta2, **given)
    rule, t1, steps = st.Adam(lr, wd, beta1=0.5, beta2=beta2, epsilon=0.0), 200, int(1 / rate)
    left = relaxed(rule, TANGENT, D, star, t1, t1 + steps, paths=1000)
    outcome = equivalent(left, np.exp(-rate * steps), margin=0.03)
    assert outcome, (outcome, rate, first_order)
    assert abs(rate / first_order - 1) < 0.01, (rate, first_order)


# ---- the recorder of turns


def test_turning_changes_nothing_and_sees_the_turn_of_every_step():
    d, rule, ts = 6, st.HeavyBall(0.4, 0.05, 0.8), np.arange(12)
    run = {"noise": TANGENT, "paths": 20, "width": 16, "keep_states": True}
    plain = st.simulate(st.Rayleigh(np.zeros(d)), rule, direction(d), ts, **run)
    seen = st.simulate(st.Rayleigh(np.zeros(d)), rule, direction(d), ts, **run,
                       integrator=turning(rule), observe=[st.observers.SquaredNorm()])  # fmt: skip
    assert np.array_equal(plain.states, seen.states)
    before, after = plain.states[:, :-1], plain.states[:, 1:]
    cosine = np.sum(before * after, -1) / (np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1))
    error = np.abs(turn_cosine(seen)[:, 1:] - cosine).max()
    assert error < 1e-14 and np.abs(turn_cosine(seen)[:, 0] - 1).max() < 1e-15, error
    assert np.allclose(seen["squared_norm"], np.sum(plain.states**2, axis=-1), rtol=1e-14)
    with pytest.raises(ValueError, match="`ensemble` must come from integrator=turning"):
        turn_cosine(plain)
    with pytest.raises(ValueError, match="`dynamics` must be a discrete training rule"):
        turning(st.WeightDecaySDE(0.1, 0.1))
