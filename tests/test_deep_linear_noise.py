"""Noises of deep linear networks: one step of SGD is gradient descent on the perturbed data."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numba import njit

import sdetheory
from sdetheory.lanes.vector import float_rows, lane_array
from sdetheory.lanes.verbs import disturb, workspace
from sdetheory.models.deep_linear import PseudoHuber, deep_linear, deep_linear_from_data, scalar_chain
from sdetheory.models.deep_linear_noise import input_noise, label_noise, multiplicative_input_noise
from sdetheory.models.weights import gaussian_weights
from sdetheory.observables import chain_imbalance
from sdetheory.predictions import deep_linear as predictions
from sdetheory.statistics import equivalent
from tests.deep_linear_cases import SLOPE, WIDTHS, arrays, close, gradient_by_hand, sgd_step


@given(w=arrays(26), target=arrays(3, 3), sigma=st.floats(0, 2), path=st.integers(0, 1000))
@example(w=np.ones(26), target=np.zeros((3, 3)), sigma=0.0, path=0)
def test_label_noise_step_is_the_step_on_noisy_labels(w, target, sigma, path):
    model = deep_linear(WIDTHS, target)
    found, z = sgd_step(model, label_noise(model, sigma), w, 0.1, 0.2, 9, path=path)
    gradient = gradient_by_hand(w, WIDTHS, np.eye(3), target + sigma * z.reshape(3, 3), SLOPE["square"], 1.0)
    close(found, (1 - 0.02) * w - 0.1 * gradient, scale=1 + 10 * np.abs(gradient).max())


@given(w=arrays(26), inputs=arrays(3, 2), targets=arrays(3, 2), path=st.integers(0, 1000))
@example(w=np.ones(26), inputs=np.ones((3, 2)), targets=np.zeros((3, 2)), path=0)
def test_label_noise_on_data_is_noise_on_the_labels_that_matter(w, inputs, targets, path):
    """The draws are the label noise in an orthonormal basis of the inputs' row space: what Z X^T sees, with
    its law."""
    assume(np.linalg.cond(inputs) < 1e6 or not inputs.any() or np.linalg.matrix_rank(inputs, tol=1e-9) == 1)
    model = deep_linear_from_data(inputs, targets, WIDTHS)
    noise = label_noise(model, 0.7)
    rank = noise.sweep.entries // 3
    found, z = sgd_step(model, noise, w, 0.1, 0.0, noise.sweep.entries, path=path)
    basis = np.linalg.svd(inputs, full_matrices=False)[2][:rank]
    gradient = gradient_by_hand(
        w, WIDTHS, inputs, targets + 0.7 * z.reshape(3, rank) @ basis, SLOPE["square"], 0.5
    )
    close(found, w - 0.1 * gradient, scale=1 + 10 * np.abs(gradient).max())


@given(w=arrays(26), inputs=arrays(3, 2), targets=arrays(3, 2), path=st.integers(0, 1000))
@example(w=np.ones(26), inputs=np.zeros((3, 2)), targets=np.zeros((3, 2)), path=0)
def test_input_noise_step_is_the_step_on_noisy_inputs(w, inputs, targets, path):
    model = deep_linear_from_data(inputs, targets, WIDTHS)
    found, z = sgd_step(model, input_noise(model, 0.3), w, 0.1, 0.0, 6, path=path)
    gradient = gradient_by_hand(w, WIDTHS, inputs + 0.3 * z.reshape(3, 2), targets, SLOPE["square"], 0.5)
    close(found, w - 0.1 * gradient, scale=1 + 10 * np.abs(gradient).max())


@pytest.mark.claim("D24", kind="property")
@given(w=arrays(3).map(lambda w: w + np.sign(w) + (w == 0)), sigma=st.floats(0, 1), path=st.integers(0, 1000))
def test_multiplicative_noise_on_a_chain_is_ginsburgs(w, sigma, path):
    """w_i' = w_i - 2 lr (1 + eta)(W (1 + eta) - 1) W/w_i, and the imbalance moves by the predicted factor."""
    chain, lr = scalar_chain(3), 0.01
    noise = multiplicative_input_noise(chain, sigma)
    found, z = sgd_step(chain, noise, w, lr, 0.0, noise.places.size, path=path)
    product, factor = w.prod(), 1 + (sigma * z[0] if noise.places.size else 0.0)
    slope = 2 * factor * (product * factor - 1)
    close(found, w - lr * slope * product / w, scale=100.0)
    predicted = predictions.scalar_imbalance_step(
        imbalance=w[0] ** 2 - w[1] ** 2, lr=lr, weight_decay=0.0, slope=slope, rest=w[2]
    )
    close(found[0] ** 2 - found[1] ** 2, predicted, scale=100.0)


@njit(error_model="numpy")
def carry(noise, w, z, out, work):
    disturb(noise, w, z, out, work)


@pytest.mark.parametrize("kind", [label_noise, input_noise, multiplicative_input_noise])
def test_disturbance_is_noisy_gradient_minus_gradient_beyond_least_squares(kind):
    """With the pseudo-Huber loss labels and inputs enter non-linearly, on every sample."""
    rng = np.random.default_rng(5)
    widths, inputs, targets = (2, 3, 2), rng.standard_normal((2, 4)), rng.standard_normal((2, 4))
    w = gaussian_weights(widths, rng)
    noise = kind(deep_linear_from_data(inputs, targets, widths, PseudoHuber()), 0.5)
    z = rng.standard_normal((2, 4))
    noisy = inputs + 0.5 * z * (np.abs(inputs) if kind is multiplicative_input_noise else 1.0), targets
    if kind is label_noise:
        noisy = inputs, targets + 0.5 * z
    lanes = [lane_array(n, 8) for n in (w.size, z.size, w.size, workspace.python(noise, w.size))]
    float_rows(lanes[0])[:], float_rows(lanes[1])[:] = w[:, None], z.reshape(-1, 1)
    carry(noise, *lanes)
    expected = gradient_by_hand(w, widths, *noisy, SLOPE["huber"], 0.25)
    expected -= gradient_by_hand(w, widths, inputs, targets, SLOPE["huber"], 0.25)
    close(float_rows(lanes[2])[:, 3], expected, tolerance=1e-14, scale=10.0)


@pytest.mark.compiled
@pytest.mark.claim("D30", kind="simulation")
def test_label_noise_shrinks_the_imbalance_at_the_predicted_rate():
    """d ln|D|/dk = -4 lr^2 sigma^2 / (1 - lr S) on the minimum of two layers, S = sqrt(D^2 + 4)."""
    lr, sigma, steps = 0.05, 0.1, 4000
    chain = scalar_chain(2)
    start = np.sqrt((np.sqrt(3.75**2 + 4) + np.array([3.75, -3.75])) / 2)
    run = sdetheory.simulate(
        chain, sdetheory.SGD(lr), start, [steps], noise=label_noise(chain, sigma), paths=256, seed=11
    )
    logs = np.log(run.final[:, 0] ** 2 - run.final[:, 1] ** 2)
    log = np.log(3.75)
    for _ in range(steps):
        log -= predictions.label_noise_imbalance_rate(
            lr=lr, noise=sigma, inverse_squares=np.sqrt(np.exp(2 * log) + 4)
        )
    outcome = equivalent(logs - np.log(3.75), log - np.log(3.75), margin=0.02 * abs(log - np.log(3.75)))
    assert outcome, outcome


@pytest.mark.claim("D29", kind="simulation")
def test_without_noise_at_the_minimum_the_imbalance_freezes():
    """Interpolated data: descent stops on W = 1 with D != 0, and further steps change nothing."""
    run = sdetheory.simulate(
        scalar_chain(2),
        sdetheory.GradientDescent(0.05),
        [0.1, 1.7],
        [400, 4000],
        keep_states=True,
        progress=False,
    )
    imbalance = chain_imbalance(run.states[0])[:, 1, 0]
    assert abs(imbalance[1] - imbalance[0]) < 1e-14 and imbalance[1] > 2.0, imbalance
