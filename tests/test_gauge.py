"""Identities of mini-batch SGD on scale-invariant losses, step by step on real trajectories, and its gauge
symmetries.
"""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

import sdetheory as st
from sdetheory.predictions import intrinsic_lr as theory

MODEL, NOISE = st.Rayleigh([0.0, 0.3, -0.5]), st.GOEBatch(0.5)
starts = arrays(np.float64, (3, 3), elements=some.floats(-2, 2)).filter(
    lambda w: np.linalg.norm(w, axis=1).min() > 0.5
)
rates = some.floats(0.01, 0.5)
decays = some.floats(0.0, 1.0)


def train(lr, wd, w0, steps):
    """States (paths, steps + 1, 3) of SGD on batches w^T (A + E/2) w/|w|^2."""
    return st.simulate(
        MODEL, st.SGD(lr, wd), w0, np.arange(steps + 1), noise=NOISE, keep_states=True, width=16
    ).states


def steps_of(states, lr, wd):
    """(before, after, batch gradient) of every step."""
    before, after = states[:, :-1], states[:, 1:]
    return before, after, ((1 - lr * wd) * before - after) / lr


def squares(x):
    return np.sum(x * x, axis=-1)


@pytest.mark.claim("I1", "I3", "A10", kind="property")
@given(w0=starts, lr=rates, wd=decays)
@example(w0=np.eye(3), lr=0.5, wd=0.0)
@example(w0=np.eye(3), lr=0.5, wd=2.0)
def test_squared_norm_of_every_step(w0, lr, wd):
    before, after, g = steps_of(train(lr, wd, w0, 12), lr, wd)
    predicted = theory.squared_norm_step(
        lr=lr, weight_decay=wd, squared_norm=squares(before), squared_gradient=squares(g)
    )
    error = np.abs(squares(after) / predicted - 1).max()
    assert error < 1e-12, (error, lr, wd, w0)


@pytest.mark.claim("I4", "I5", kind="property")
@given(w0=starts, lr=rates, wd=decays)
@example(w0=np.eye(3), lr=0.5, wd=0.0)
def test_the_direction_performs_projected_sgd_with_its_own_learning_rate(w0, lr, wd):
    before, after, g = steps_of(train(lr, wd, w0, 12), lr, wd)
    size = np.sqrt(squares(before))[..., None]
    step_lr = theory.direction_lr(lr=lr, weight_decay=wd, squared_norm=squares(before))
    moved = before / size - step_lr[..., None] * g * size
    moved /= np.sqrt(squares(moved))[..., None]
    error = np.abs(after / np.sqrt(squares(after))[..., None] - moved).max()
    assert error < 1e-12, (error, lr, wd, w0)
    s = squares(g) * squares(before)
    predicted = theory.direction_lr_step(
        lr=lr, weight_decay=wd, step_lr=step_lr[:, :-1], unit_squared_gradient=s[:, :-1]
    )
    error = np.abs(step_lr[:, 1:] / predicted - 1).max()
    assert error < 1e-12, (error, lr, wd, w0)


@pytest.mark.claim("I13", "A16", kind="property")
@given(w0=starts, lr=rates, wd=decays, c=some.floats(0.1, 10))
@example(w0=np.eye(3), lr=0.5, wd=0.5, c=8.0)
def test_scaling_lr_weight_decay_and_start_together_scales_the_path(w0, lr, wd, c):
    """Over a few steps: where lr wd is large the dynamics amplify rounding tenfold in every step."""
    scaled = train(c * c * lr, wd / c**2, c * w0, 3) / c
    error = np.abs(scaled - train(lr, wd, w0, 3)).max()
    assert error < 1e-12, (error, lr, wd, c, w0)


@pytest.mark.compiled
@pytest.mark.claim("I13", "A16", kind="simulation")
@pytest.mark.parametrize("c", [0.3, 7.0])
def test_the_scaled_path_stays_the_same_for_a_thousand_steps(c):
    w0 = 1.5 * np.eye(3)
    path, scaled = train(0.05, 0.1, w0, 1000), train(c * c * 0.05, 0.1 / c**2, c * w0, 1000) / c
    error = np.abs(scaled - path).max()
    assert error < 1e-12, error


def test_scaling_the_learning_rate_by_the_wrong_power_changes_the_path():
    wrong = train(2.0 * 0.3, 0.2 / 2.0, 2.0 * np.eye(3), 60) / 2.0
    assert np.abs(wrong - train(0.3, 0.2, np.eye(3), 60)).max() > 0.1


@pytest.mark.claim("I14", "A17", kind="property")
@given(w0=starts, lr=rates, wd=decays, logs=arrays(np.float64, 4, elements=some.floats(-1, 1)))
@example(w0=np.eye(3), lr=0.5, wd=0.5, logs=np.zeros(4))
def test_any_sequence_of_scales_is_a_gauge_change(w0, lr, wd, logs):
    assert gauge_error(np.exp(logs), lr, wd, w0) < 1e-12, (lr, wd, logs, w0)


def gauge_error(c, lr, wd, w0):
    """How far the path with the scales c_t divided out is from the path itself."""
    steps = c.size - 1
    new_lr = c[:-1] * c[1:] * lr
    new_wd = (1 - c[1:] / c[:-1] * (1 - lr * wd)) / new_lr
    scaled = train(new_lr, new_wd, c[0] * w0, steps) / c[None, :, None]
    return np.abs(scaled - train(lr, wd, w0, steps)).max()


@pytest.mark.claim("I14", "A17", kind="simulation")
def test_a_wild_gauge_change_for_three_hundred_steps():
    c = np.exp(np.random.default_rng(0).uniform(-1, 1, 301))
    error = gauge_error(c, 0.05, 0.1, 1.5 * np.eye(3))
    assert error < 1e-11, error


@pytest.mark.claim("I14", kind="property")
@given(w0=starts, lr=rates, product=some.floats(0.0, 0.1))
@example(w0=np.eye(3), lr=0.5, product=0.1)
def test_a_growing_learning_rate_replaces_weight_decay(w0, lr, product):
    """c_t = (1 - lr wd)^-t: no weight decay, learning rate growing by (1 - lr wd)^-2 a step."""
    growth = 1 / (1 - product)
    c = growth ** np.arange(11)
    grown = train(lambda step: lr * growth ** (2 * step + 1), 0.0, w0, 10) / c[None, :, None]
    error = np.abs(grown - train(lr, product / lr, w0, 10)).max()
    assert error < 1e-12, (error, lr, product, w0)
