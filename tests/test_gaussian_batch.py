"""Gaussian mini-batch noise of deep linear networks: its covariance is that of the gradients of the samples."""

import numpy as np
import pytest

import sdetheory
from sdetheory import evaluate
from sdetheory.models.deep_linear import PseudoHuber
from sdetheory.models.weights import gaussian_weights


@pytest.mark.claim("D50", kind="property")
@pytest.mark.parametrize("residual_loss", [sdetheory.Square(), PseudoHuber()], ids=["square", "huber"])
def test_covariance_of_the_gradients_of_the_samples(residual_loss):
    rng, widths = np.random.default_rng(2), (2, 3, 2)
    inputs, targets = rng.standard_normal((2, 5)), rng.standard_normal((2, 5))
    network = lambda kept: sdetheory.deep_linear_from_data(inputs[:, kept], targets[:, kept], widths, residual_loss)
    model, w = network(slice(None)), gaussian_weights(widths, rng)
    each = np.array([evaluate.gradient(network([i]), w) for i in range(5)])
    assert np.allclose(each.mean(axis=0), evaluate.gradient(model, w), rtol=1e-12)
    root = evaluate.diffusion(sdetheory.gaussian_batch(model, 3), w)
    wanted = np.cov(each.T, bias=True) / 3
    assert np.allclose(root @ root.T, wanted, rtol=1e-12, atol=1e-12 * np.abs(wanted).max()), wanted


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="`model` must be on data"):
        sdetheory.gaussian_batch(sdetheory.scalar_chain(2))
    with pytest.raises(ValueError, match="`batch` must be at least 1"):
        sdetheory.gaussian_batch(sdetheory.deep_linear_from_data(np.eye(2), np.eye(2), (2, 2)), 0)
