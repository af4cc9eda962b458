"""Mini-batches of a deep linear network on data, epoch by epoch: every path in orders of its own.

Exact: the model's gradient plus the disturbance is the gradient of the loss of the batch, (1/B) times the sum over
its B samples in place of (1/n) times that over all n.  So `SGD` with it is mini-batch SGD.
"""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.epochs import Epochs
from sdetheory.lanes.gather import gather
from sdetheory.lanes.parts import part
from sdetheory.lanes.products import multiply
from sdetheory.lanes.vector import load, maximum, minimum, store
from sdetheory.lanes.verbs import disturb, draws, workspace
from sdetheory.models.deep_linear import DeepLinear, Square, root_of_data, slope
from sdetheory.models.sweep import Sweep, build_sweep, lay_inputs


class EpochBatch(NamedTuple):
    """Batches of `batch` samples, new in every step; made by `epoch_batches`.

    The sweep holds the columns of the batch and of all data (of a root of them, for the square loss) side by side,
    with slopes of opposite sign, so that one backward sweep gives the difference of the two gradients.  Its constants
    end with X and Y, from which each path gathers its samples.  Increments are the indices of the samples."""

    sweep: Sweep
    residual_loss: Any
    scale: float  # of all data
    batch: int
    columns: int  # of the sweep: those of the batch, then the others
    samples: int
    linear = False  # in the increments, which are indices: there is no G(w)

    @property
    def increment(self) -> Any:
        """How indices are drawn."""
        return Epochs(self.samples, self.batch)


def epoch_batches(model: DeepLinear, batch: int) -> EpochBatch:
    """Mini-batches of `batch` of the n samples of `model`, each taken once an epoch: with it SGD is mini-batch SGD.

    L_B(w) = (1/B) sum_{i in B} penalty(W_N ... W_1 x_i - y_i), exactly, for a model built by `deep_linear_from_data`.
    Every path goes through the data in a new random order in every epoch of n // B steps (n % B samples are left out
    of it).  The noise of a step has covariance (V/B) (n - B)/(n - 1), V that of one sample's gradient (mean over all
    n); that of the steps of an epoch adds up to 0 where w does not move and B divides n.  Cost per step: a sweep over
    B + min(d_0, n) columns (B + n for other losses than the square).  `minibatch` draws batches independently.

    Raises ValueError for a model without data, or a batch below 1 or above n.
    Source: Ginsburg 2020, section 5; sampling from a finite population.
    """
    if not model.samples:
        raise ValueError("`model` must have data to draw batches from: it is in target form")
    size = checks.integer("batch", batch, least=1)
    if size > model.samples:
        raise ValueError(f"`batch` must not be above the number of samples, {model.samples}: batch={batch}")
    inputs, targets = model.inputs, model.targets
    all_inputs, all_targets = inputs, targets
    if isinstance(model.residual_loss, Square):
        all_inputs, all_targets, _ = root_of_data(inputs, targets)
    sweep = build_sweep(
        model.widths,
        np.hstack([np.zeros((len(inputs), size)), all_inputs]),
        np.hstack([np.zeros((len(targets), size)), all_targets]),
        inputs,
        targets,
    )
    columns = size + all_inputs.shape[1]
    return EpochBatch(sweep, model.residual_loss, model.scale, size, columns, model.samples)


@draws.of(EpochBatch)
def _draws(noise, d):
    return noise.batch


@workspace.of(EpochBatch)
def _workspace(noise, d):
    return noise.sweep.rows


@part
def _sample(noise, z, k):
    """Index of sample k of the batch, kept inside the data whatever z is."""
    return minimum(maximum(load(z, k), 0.0), noise.samples - 1.0)


@disturb.of(EpochBatch)
def _disturb(noise, w, z, out, work):
    """Gradient of the batch loss minus the gradient of the loss."""
    sweep = noise.sweep
    data = sweep.entries + sweep.inputs  # where X, and then Y, start
    columns = noise.columns
    rows, outputs = sweep.inputs // columns, sweep.entries // columns
    lay_inputs(sweep.constants, sweep.entries, sweep.inputs, work)
    for k in range(noise.batch):
        place = _sample(noise, z, k)
        for i in range(rows):
            store(work, i * columns + k, gather(sweep.constants, data + i * noise.samples, place))
    multiply(sweep.program, 0, sweep.forward, w, work, work, sweep.constants)
    data += rows * noise.samples
    weight = noise.scale * noise.samples / noise.batch
    for k in range(noise.batch):
        place = _sample(noise, z, k)
        for i in range(outputs):
            at = sweep.residual + i * columns + k
            residual = load(work, at) - gather(sweep.constants, data + i * noise.samples, place)
            store(work, at, weight * slope(noise.residual_loss, residual))
    for k in range(noise.batch, columns):
        for i in range(outputs):
            at = sweep.residual + i * columns + k
            store(work, at, -noise.scale * slope(noise.residual_loss, load(work, at)))
    multiply(sweep.program, sweep.forward, sweep.backward, w, out, work, sweep.constants)
