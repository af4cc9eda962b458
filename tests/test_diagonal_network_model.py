"""The diagonal linear network and its noises: complex steps, moments of the noises, what flow and SGD do to w_+ w_-."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import sdetheory
from sdetheory import evaluate
from sdetheory.lanes.random import TwoPoint
from sdetheory.models.diagonal_network import (
    DiagonalBatch,
    DiagonalFlowNoise,
    DiagonalLabelNoise,
    DiagonalNetwork,
    end_to_end,
    scale,
)
from sdetheory.predictions import diagonal_networks as theory
from sdetheory.statistics import equivalent

RNG = np.random.default_rng(3)
INPUTS, LABELS = RNG.standard_normal((3, 5)), np.array([1.0, -0.5, 0.3])
MODEL = DiagonalNetwork(INPUTS, LABELS)
weights = arrays(float, 10, elements=st.floats(-2, 2, allow_subnormal=False))


def loss_by_hand(w, inputs=INPUTS, labels=LABELS):
    residual = inputs @ (w[:5] * w[:5] - w[5:] * w[5:]) - labels
    return np.sum(residual * residual) / (2 * len(labels))


def complex_step(w, *data):
    return np.array([loss_by_hand(w + 1e-30j * e, *data).imag / 1e-30 for e in np.eye(w.size)])


@settings(max_examples=30)
@given(weights)
@example(np.zeros(10))
def test_loss_and_gradient_by_complex_steps(w):
    wanted = complex_step(w)
    size = 1 + np.abs(wanted).max()
    assert np.allclose(evaluate.gradient(MODEL, w), wanted, rtol=0, atol=1e-13 * size), wanted
    assert np.isclose(evaluate.loss(MODEL, w), loss_by_hand(w), rtol=1e-13), w


@settings(max_examples=20)
@given(weights)
@example(np.zeros(10))
def test_covariances_of_the_noises(w):
    """Labels: sigma^2/n X^T X between the halves. Stochastic flow: that of one sample with equal residuals, 2 L."""
    signed = np.concatenate([INPUTS * w[:5], -INPUTS * w[5:]], axis=1)  # X diag(w) with the sign of each half
    for noise, variance in (
        (DiagonalLabelNoise(MODEL, 0.4), 0.4**2 / 3),
        (DiagonalFlowNoise(MODEL), 2 * loss_by_hand(w)),
    ):
        root = evaluate.diffusion(noise, w)
        wanted = 4 * variance * signed.T @ signed / 3
        assert np.allclose(root @ root.T, wanted, rtol=1e-12, atol=1e-12 * (1 + np.abs(wanted).max())), noise


@settings(max_examples=20)
@given(weights, arrays(float, 2, elements=st.floats(-3, 3)))
def test_a_batch_is_the_loss_of_the_samples_drawn(w, z):
    """Thirds of [-sqrt 3, sqrt 3], the increments being uniform there."""
    rule = sdetheory.SGD(0.1)
    got = evaluate.step(rule, MODEL, DiagonalBatch(MODEL, 2), w, z, lr=0.1)
    drawn = np.searchsorted([-1 / np.sqrt(3), 1 / np.sqrt(3)], z, side="right")
    wanted = w - 0.1 * complex_step(w, INPUTS[drawn], LABELS[drawn])
    assert np.allclose(got, wanted, rtol=0, atol=1e-12 * (1 + np.abs(wanted).max())), (drawn, got, wanted)


@pytest.mark.claim("D57", kind="simulation")
@pytest.mark.compiled
def test_flow_keeps_the_scale_and_ends_at_the_selected_fit():
    start = np.array([[1.0], [0.3]]) * np.ones(10)
    run = sdetheory.simulate(MODEL, sdetheory.GradientFlow(), start, [300.0], threads=1)
    assert np.allclose(scale(run.final), start[:, :5] ** 2, rtol=1e-6), scale(run.final)
    for found, alpha in zip(end_to_end(run.final), (1.0, 0.3), strict=True):
        wanted, _ = theory.selected_interpolant(INPUTS, LABELS, alpha**2)
        assert np.allclose(found, wanted, atol=1e-6), (found, wanted)


@pytest.mark.claim("D58", kind="simulation")
@pytest.mark.compiled
def test_label_noise_shrinks_the_scale():
    """SGD with labels of spread 1/2: ln(w_+ w_-) falls as if the loss were sigma^2/(2 n). A path measures the fall
    to 1.1%; the fluctuating residual adds at most lr h/2 of it, h the largest curvature: the margin is 3%."""
    lr, sigma, steps = 0.003, 0.5, 18000
    start = np.sqrt(0.3) * np.ones(10)
    settled = sdetheory.simulate(MODEL, sdetheory.GradientFlow(), start, [300.0], threads=1).final[0]
    noise = DiagonalLabelNoise(MODEL, sigma)
    run = sdetheory.simulate(
        MODEL, sdetheory.SGD(lr), settled, [steps], noise=noise, paths=64, seed=5, threads=1
    )
    root = 2 * np.concatenate([INPUTS * settled[:5], INPUTS * settled[5:]], axis=1) / np.sqrt(3)  # of the Hessian
    assert lr * np.linalg.svd(root)[1][0] ** 2 / 2 < 0.03
    predicted = theory.stochastic_scale(
        scale0=0.3, lr=2 * lr, input_square=np.mean(INPUTS**2, axis=0), loss_integral=lr * steps * sigma**2 / 6
    )
    fall = np.log(0.3 / predicted)
    assert (fall > 0.001).all(), fall
    for column in (np.log(0.3 / scale(run.final)) / fall).T:
        outcome = equivalent(column, 1.0, margin=0.03)
        assert outcome, outcome


def test_wrong_arguments_are_refused():
    flow, w = sdetheory.GradientFlow(), np.ones(4)
    with pytest.raises(ValueError, match="`w0` must have 10 weights"):
        sdetheory.simulate(MODEL, flow, w, [1.0])
    with pytest.raises(ValueError, match="`labels`"):
        sdetheory.simulate(DiagonalNetwork(np.eye(2), np.ones(3)), flow, w, [1.0])
    with pytest.raises(ValueError, match="must be finite"):
        sdetheory.simulate(DiagonalNetwork(np.eye(2), [np.nan, 1.0]), flow, w, [1.0])
    with pytest.raises(ValueError, match="must not be empty"):
        sdetheory.simulate(DiagonalNetwork(np.zeros((0, 2)), []), flow, w, [1.0])
    for noise in (DiagonalLabelNoise(MODEL, -1.0), DiagonalBatch(MODEL, 0)):
        with pytest.raises(ValueError, match=r"`sigma`|`batch`"):
            sdetheory.simulate(MODEL, sdetheory.SGD(0.1), np.ones(10), [1], noise=noise)
    with pytest.raises(ValueError, match="linear in its increments"):
        evaluate.diffusion(DiagonalBatch(MODEL, 1), np.ones(10))
    with pytest.raises(ValueError, match="`increment` must be left out for DiagonalBatch"):
        sdetheory.simulate(
            MODEL, sdetheory.SGD(0.1), np.ones(10), [1], noise=DiagonalBatch(MODEL, 1), increment=TwoPoint()
        )
