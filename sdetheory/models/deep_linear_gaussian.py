"""Gaussian noise with the covariance of mini-batch gradients of a deep linear network: for its Ito SDE."""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.products import multiply
from sdetheory.lanes.vector import constant, load, store
from sdetheory.lanes.verbs import disturb, draws, workspace
from sdetheory.models.deep_linear import DeepLinear, slope
from sdetheory.models.sweep import Sweep, build_sweep, lay_inputs


class GaussianBatch(NamedTuple):
    """G(w) z, G G^T = (1/(n B)) sum_i (g_i - g)(g_i - g)^T over the gradients g_i of n samples; by `gaussian_batch`."""

    sweep: Sweep
    residual_loss: Any
    scale: float
    samples: int  # n: columns of the data, one increment each
    level: float  # sqrt(n/B)


def gaussian_batch(model: DeepLinear, batch: int = 1) -> GaussianBatch:
    """Noise of batches of `batch` samples drawn with replacement, made Gaussian: covariance C/B, C of one sample.

    Sum of z_i (g_i - g)/sqrt(n B): n increments a step, linear in them, so that WeightDecaySDE takes it. Raises
    ValueError for a model without data or a batch below 1. Source: Ziyin, Li, Ueda 2023, section 2.
    """
    batch = checks.integer("batch", batch, least=1)
    if not model.samples:
        raise ValueError("`model` must be on data: make it by deep_linear_from_data")
    sweep = build_sweep(model.widths, model.inputs, model.targets)
    level = float(np.sqrt(model.samples / batch))
    return GaussianBatch(sweep, model.residual_loss, model.scale, model.samples, level)


@draws.of(GaussianBatch)
def _draws(noise, d):
    return noise.samples


@workspace.of(GaussianBatch)
def _workspace(noise, d):
    return noise.sweep.rows


@disturb.of(GaussianBatch)
def _disturb(noise, w, z, out, work):
    sweep = noise.sweep
    lay_inputs(sweep.constants, sweep.entries, sweep.inputs, work)
    multiply(sweep.program, 0, sweep.forward, w, work, work, sweep.constants)
    mean = constant(w, 0.0)
    for i in range(noise.samples):
        mean = mean + load(z, i)
    mean = (1.0 / noise.samples) * mean
    for i in range(sweep.entries):
        weight = (noise.scale * noise.level) * (load(z, i % noise.samples) - mean)
        store(work, sweep.residual + i, weight * slope(noise.residual_loss, load(work, sweep.residual + i)))
    multiply(sweep.program, sweep.forward, sweep.backward, w, out, work, sweep.constants)
