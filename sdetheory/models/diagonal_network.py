"""Diagonal linear networks beta = w_+^2 - w_-^2 on data, and their noises: labels, batches, stochastic flow.

The weights are one flat vector w = [w_+ | w_-] of 2 d numbers, every square, product and difference coordinate by
coordinate. All the gradients are of the form (w_+ s, -w_- s), s the slope in beta twice, so that w_+ w_- stays along
the flow and shrinks by 1 - (lr s)^2 in a step.
"""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.parts import part
from sdetheory.lanes.uniform import ROOT3, Uniform
from sdetheory.lanes.vector import constant, fma, load, select, sqrt, store
from sdetheory.lanes.verbs import disturb, draws, gradient, loss, workspace


class DiagonalNetwork(NamedTuple):
    """L(w) = (1/2n) |X (w_+^2 - w_-^2) - y|^2, `inputs` X of shape (n, d), one sample a row, `labels` y of shape (n,).

    w = [w_+ | w_-], shape (2 d,). Pesme et al. 2021 have half this loss, Woodworth et al. 2020 2 n times it: other
    units of time, the same paths.
    """

    inputs: np.ndarray
    labels: np.ndarray

    def validated(self, d: int) -> "DiagonalNetwork":
        """Raises ValueError unless X is (n, d/2), y is (n,), n at least 1, and all are finite."""
        inputs = checks.shape("inputs", checks.finite("inputs", self.inputs), (None, None))
        labels = checks.shape("labels", checks.finite("labels", self.labels), inputs.shape[:1])
        if not inputs.size:
            raise ValueError(f"`inputs` must not be empty: shape {inputs.shape}")
        if d != 2 * inputs.shape[1]:
            raise ValueError(f"`w0` must have {2 * inputs.shape[1]} weights, w_+ and w_- of every input: it has {d}")
        return DiagonalNetwork(inputs, labels)


class DiagonalLabelNoise(NamedTuple):
    """Labels y + sigma z with fresh z in every step: s changes by -(2 sigma/n) X^T z."""

    model: DiagonalNetwork
    sigma: float

    def validated(self, d: int) -> "DiagonalLabelNoise":
        """Raises ValueError for a negative or non-finite `sigma`."""
        return self._replace(sigma=checks.nonnegative("sigma", self.sigma))


class DiagonalFlowNoise(NamedTuple):
    """Noise of stochastic gradient flow: s changes by 2 (2 L(w)/n)^(1/2) X^T z; none at a fit.

    The covariance of the gradient of one sample, the squared residuals replaced by their mean.
    Source: Pesme, Pillaud-Vivien, Flammarion 2021, section 2.
    """

    model: DiagonalNetwork


class DiagonalBatch(NamedTuple):
    """Mini-batches of `batch` samples, drawn with replacement: exact SGD, the loss of the samples drawn instead of L.

    A uniform increment on [-sqrt 3, sqrt 3], cut into n equal cells, draws each sample.
    """

    model: DiagonalNetwork
    batch: int
    edges: np.ndarray = np.zeros(0)  # of the cells of z, (n - 1,): set by `validated`
    linear = False  # in the increments

    def validated(self, d: int) -> "DiagonalBatch":
        """Raises ValueError for a `batch` below 1."""
        batch, samples = checks.integer("batch", self.batch, least=1), len(self.model.inputs)
        return DiagonalBatch(self.model, batch, ROOT3 * (2 * np.arange(1, samples) / samples - 1))

    @property
    def increment(self) -> Any:
        """Uniform increments: others would not draw the samples evenly."""
        return Uniform()


@part
def _residuals(model, w, out):
    """out[:n] <- X (w_+^2 - w_-^2) - y."""
    samples, width = model.inputs.shape
    for i in range(samples):
        store(out, i, constant(w, 0.0) - model.labels[i])
    for j in range(width):
        plus, minus = load(w, j), load(w, width + j)
        beta = plus * plus - minus * minus
        for i in range(samples):
            store(out, i, fma(beta, model.inputs[i, j], load(out, i)))


@part
def _pull_back(model, w, seen, scale, out):
    """out <- (w_+ s, -w_- s), s = scale X^T seen[:n]."""
    samples, width = model.inputs.shape
    for j in range(width):
        s = constant(w, 0.0)
        for i in range(samples):
            s = fma(load(seen, i), model.inputs[i, j], s)
        s = scale * s
        store(out, j, s * load(w, j))
        store(out, width + j, -s * load(w, width + j))


@part
def _mean_square(seen, samples):
    """The mean of seen[:n]^2."""
    total = constant(seen, 0.0)
    for i in range(samples):
        total = fma(load(seen, i), load(seen, i), total)
    return (1.0 / samples) * total


@workspace.of(DiagonalNetwork)
def _workspace(model, d):
    return model.inputs.shape[0]


@workspace.of(DiagonalFlowNoise, DiagonalBatch)
def _noise_workspace(noise, d):
    return noise.model.inputs.shape[0]


@draws.of(DiagonalLabelNoise, DiagonalFlowNoise)
def _draws(noise, d):
    return noise.model.inputs.shape[0]


@draws.of(DiagonalBatch)
def _batch_draws(noise, d):
    return noise.batch


@loss.of(DiagonalNetwork)
def _loss(model, w, work):
    _residuals(model, w, work)
    return 0.5 * _mean_square(work, model.inputs.shape[0])


@gradient.of(DiagonalNetwork)
def _gradient(model, w, out, work):
    _residuals(model, w, work)
    _pull_back(model, w, work, 2.0 / model.inputs.shape[0], out)


@disturb.of(DiagonalLabelNoise)
def _disturb_labels(noise, w, z, out, work):
    _pull_back(noise.model, w, z, -2.0 * noise.sigma / noise.model.inputs.shape[0], out)


@disturb.of(DiagonalFlowNoise)
def _disturb_flow(noise, w, z, out, work):
    samples = noise.model.inputs.shape[0]
    _residuals(noise.model, w, work)
    _pull_back(noise.model, w, z, 2.0 * sqrt(_mean_square(work, samples) * (1.0 / samples)), out)


@disturb.of(DiagonalBatch)
def _disturb_batch(noise, w, z, out, work):
    """Residuals weighted by how often each sample was drawn, over the batch, minus 1/n."""
    samples = noise.model.inputs.shape[0]
    _residuals(noise.model, w, work)
    for i in range(samples):
        weight = constant(w, -1.0 / samples)
        for k in range(noise.batch):
            drawn = constant(w, 1.0 / noise.batch)
            if i > 0:
                drawn = select(load(z, k) >= noise.edges[i - 1], drawn, constant(w, 0.0))
            if i < samples - 1:
                drawn = select(load(z, k) < noise.edges[i], drawn, constant(w, 0.0))
            weight = weight + drawn
        store(work, i, weight * load(work, i))
    _pull_back(noise.model, w, work, constant(w, 2.0), out)


def end_to_end(w: Any) -> np.ndarray:
    """beta = w_+^2 - w_-^2, shape (..., d), of flat weights (..., 2 d)."""
    plus, minus = np.split(np.asarray(w, dtype=float), 2, axis=-1)
    return np.asarray(plus**2 - minus**2)


def scale(w: Any) -> np.ndarray:
    """w_+ w_-, shape (..., d): what the flow keeps and noise shrinks; alpha^2 from the start w_+ = w_- = alpha."""
    plus, minus = np.split(np.asarray(w, dtype=float), 2, axis=-1)
    return np.asarray(plus * minus)
