"""Mini-batches of a deep linear network on data, drawn with or without replacement."""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.parts import part
from sdetheory.lanes.products import multiply
from sdetheory.lanes.uniform import ROOT3, Uniform
from sdetheory.lanes.vector import constant, floor, load, maximum, minimum, select, store
from sdetheory.lanes.verbs import disturb, draws, workspace
from sdetheory.models.deep_linear import DeepLinear, slope
from sdetheory.models.sweep import Sweep, build_sweep, lay_inputs


class Minibatch(NamedTuple):
    """Batch gradient minus gradient; made by `minibatch`, drawn with Uniform() increments."""

    sweep: Sweep
    residual_loss: Any
    scale: float
    samples: int  # n: columns of the data
    drawn: int  # samples drawn in a step: those of the batch, or those left out where these are fewer
    weight: float  # of a sample drawn
    level: float  # of all other samples
    distinct: bool
    linear = False  # samples are chosen: there is no G(w)

    @property
    def increment(self) -> Any:
        """Uniform numbers, one by one: with others, or sums of them, the choice of samples would not be fair."""
        return Uniform()


def minibatch(model: DeepLinear, batch: int, replacement: bool = True) -> Minibatch:
    """Batches of `batch` of the n samples, a new one in every step: with it `st.SGD` is mini-batch SGD.

    Model gradient + disturbance = gradient of the mean loss of the batch, exactly, for any residual loss. Without
    replacement the samples of a batch are distinct; batches of different steps are independent (those of
    `epoch_batches` are not, and take every sample once an epoch). Cost per step: a sweep over all n samples and n
    comparisons a sample drawn. Raises ValueError for a model without data, or a batch larger than the data without
    replacement.
    """
    batch, samples = checks.integer("batch", batch, least=1), model.samples
    if not samples:
        raise ValueError("`model` must be on data: make it by deep_linear_from_data")
    if not replacement and batch > samples:
        raise ValueError(f"`batch` must not exceed the samples without replacement: batch={batch}, samples={samples}")
    sweep = build_sweep(model.widths, model.inputs, model.targets)
    left_out = not replacement and 2 * batch > samples
    share = samples / batch
    return Minibatch(
        sweep, model.residual_loss, model.scale, samples, samples - batch if left_out else batch,
        -share if left_out else share, share - 1.0 if left_out else -1.0, not replacement,
    )  # fmt: skip


def batch_members(noise: Minibatch, z: Any) -> np.ndarray:
    """Sample numbers (steps, batch) of the batches that the increments z (steps, draws) choose, ascending.

    With z = lanes.random.increments(seed, path, first, last, noise.drawn, increment=Uniform()) these are the batches
    of that path of `simulate`.
    """
    steps = checks.shape("z", checks.finite("z", z), (None, noise.drawn))
    return np.array([_members(noise, row) for row in steps])


def _members(noise: Minibatch, z: np.ndarray) -> list[int]:
    """The batch of one step."""
    free, found = list(range(noise.samples)), []
    for x in z:
        number = min(int((x * (0.5 / ROOT3) + 0.5) * len(free)), len(free) - 1)
        found.append(free.pop(number) if noise.distinct else number)
    return free if noise.weight < 0 else sorted(found)


@draws.of(Minibatch)
def _draws(noise, d):
    return noise.drawn


@workspace.of(Minibatch)
def _workspace(noise, d):
    return noise.sweep.rows + noise.drawn + noise.samples


@disturb.of(Minibatch)
def _disturb(noise, w, z, out, work):
    sweep = noise.sweep
    lay_inputs(sweep.constants, sweep.entries, sweep.inputs, work)
    multiply(sweep.program, 0, sweep.forward, w, work, work, sweep.constants)
    chosen = work[sweep.rows : sweep.rows + noise.drawn]
    weights = work[sweep.rows + noise.drawn :]
    _choose(z, noise.drawn, noise.samples, noise.distinct, chosen)
    _weigh(chosen, noise.drawn, noise.samples, noise.weight, noise.level, weights)
    for i in range(sweep.entries):
        pull = load(weights, i % noise.samples) * slope(noise.residual_loss, load(work, sweep.residual + i))
        store(work, sweep.residual + i, noise.scale * pull)
    multiply(sweep.program, sweep.forward, sweep.backward, w, out, work, sweep.constants)


@part
def _choose(z, drawn, samples, distinct, chosen):
    """Numbers of samples, each uniform; distinct: of those not chosen yet, kept in ascending order."""
    for k in range(drawn):
        free = samples - k if distinct else samples
        number = minimum(floor((load(z, k) * (0.5 / ROOT3) + 0.5) * free), free - 1.0)
        if distinct:
            for i in range(k):
                number = number + select(load(chosen, i) <= number, constant(chosen, 1.0), constant(chosen, 0.0))
            for i in range(k):
                low, high = minimum(load(chosen, i), number), maximum(load(chosen, i), number)
                store(chosen, i, low)
                number = high
        store(chosen, k, number)


@part
def _weigh(chosen, drawn, samples, weight, level, weights):
    """Weight of every sample: `level` plus `weight` for each time it was chosen."""
    for i in range(samples):
        total = constant(chosen, level)
        for k in range(drawn):
            same = load(chosen, k) == 1.0 * i
            total = total + select(same, constant(chosen, weight), constant(chosen, 0.0))
        store(weights, i, total)
