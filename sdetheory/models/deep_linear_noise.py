"""Noise augmentation of deep linear networks: fresh noise on the labels or on the inputs in every step.

Both are exact: the model's gradient plus the disturbance is the gradient of the noisy loss. So `SGD` with
them is gradient descent on freshly perturbed data, not an approximation of it.
"""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.parts import part
from sdetheory.lanes.products import multiply
from sdetheory.lanes.vector import load, store
from sdetheory.lanes.verbs import disturb, draws, workspace
from sdetheory.models.deep_linear import DeepLinear, Square, slope
from sdetheory.models.sweep import Sweep, build_sweep, lay_inputs


class LabelNoise(NamedTuple):
    """Labels Y + sigma Z with fresh Z in every step; made by `label_noise`."""

    sweep: Sweep
    residual_loss: Any
    scale: float
    sigma: float

    @property
    def linear(self) -> bool:
        """Is the disturbance linear in the increments, G(w) z?  For the square loss."""
        return isinstance(self.residual_loss, Square)


class InputNoise(NamedTuple):
    """Inputs X + (levels at `places`) Z with fresh Z in every step; made by the two builders below.

    The sweep holds noisy and clean columns side by side, (X~ | X), with slopes of opposite sign, so that one
    backward sweep gives the difference of the two gradients."""

    sweep: Sweep
    residual_loss: Any
    scale: float
    places: np.ndarray  # (draws,) rows of X~ in the workspace that are disturbed
    levels: np.ndarray  # (draws,) standard deviations
    columns: int  # n: columns of X~
    linear = False  # quadratic in the increments: there is no G(w)


def label_noise(model: DeepLinear, sigma: float) -> LabelNoise:
    """Independent noise of standard deviation `sigma` on every label: L(w) with Y + sigma Z, Z new in every
    step.

    The square loss on data feels label noise only through Z X^T, so it draws noise for the root of X X^T that
    the model is swept on: the same law with d_N min(d_0, n) draws. In target form the noise is on the entries
    of A. Source: Blanc, Gupta, Valiant, Valiant 2020; Damian, Ma, Lee 2021.
    """
    return LabelNoise(model.sweep, model.residual_loss, model.scale, checks.nonnegative("sigma", sigma))


def input_noise(model: DeepLinear, sigma: float) -> InputNoise:
    """Independent noise of standard deviation `sigma` on every input entry: L(w) with X + sigma Z.

    In target form X is the identity: noise of the whitened problem. The average loss is
    L(w) + (sigma^2/2)||W_N...W_1||^2 times the number of columns over n (square loss). Source: Bishop 1995.
    """
    return _input_noise(model, np.full(model.inputs.shape, checks.nonnegative("sigma", sigma)))


def multiplicative_input_noise(model: DeepLinear, sigma: float) -> InputNoise:
    """Every input entry times an independent 1 + sigma z: noise augmentation as in Ginsburg 2020, section
    4.2.

    For a scalar chain the step uses the loss (W (1 + sigma z) - target)^2.
    """
    return _input_noise(model, checks.nonnegative("sigma", sigma) * np.abs(model.inputs))


def _input_noise(model: DeepLinear, levels: np.ndarray) -> InputNoise:
    inputs, targets = model.inputs, model.targets
    sweep = build_sweep(model.widths, np.hstack([inputs, inputs]), np.hstack([targets, targets]))
    rows, columns = np.nonzero(levels)
    return InputNoise(
        sweep,
        model.residual_loss,
        model.scale,
        rows * 2 * inputs.shape[1] + columns,
        np.ascontiguousarray(levels[rows, columns]),
        inputs.shape[1],
    )


@draws.of(LabelNoise)
def _label_draws(noise, d):
    return noise.sweep.entries


@draws.of(InputNoise)
def _input_draws(noise, d):
    return noise.places.size


@workspace.of(LabelNoise, InputNoise)
def _workspace(noise, d):
    return noise.sweep.rows


@disturb.of(LabelNoise)
def _disturb_labels(noise, w, z, out, work):
    sweep = noise.sweep
    lay_inputs(sweep.constants, sweep.entries, sweep.inputs, work)
    multiply(sweep.program, 0, sweep.forward, w, work, work, sweep.constants)
    for i in range(sweep.entries):
        r = load(work, sweep.residual + i)
        change = slope(noise.residual_loss, r - noise.sigma * load(z, i)) - slope(noise.residual_loss, r)
        store(work, sweep.residual + i, noise.scale * change)
    multiply(sweep.program, sweep.forward, sweep.backward, w, out, work, sweep.constants)


@disturb.of(InputNoise)
def _disturb_inputs(noise, w, z, out, work):
    sweep = noise.sweep
    lay_inputs(sweep.constants, sweep.entries, sweep.inputs, work)
    for i in range(noise.places.size):
        store(work, noise.places[i], load(work, noise.places[i]) + noise.levels[i] * load(z, i))
    multiply(sweep.program, 0, sweep.forward, w, work, work, sweep.constants)
    _opposite_slopes(noise.residual_loss, noise.scale, work, sweep.residual, sweep.entries, noise.columns)
    multiply(sweep.program, sweep.forward, sweep.backward, w, out, work, sweep.constants)


@part
def _opposite_slopes(residual_loss, scale, work, residual, entries, columns):
    """Slopes of the noisy columns, minus the slopes of the clean ones."""
    for i in range(entries):
        sign = scale if i % (2 * columns) < columns else -scale
        store(work, residual + i, sign * slope(residual_loss, load(work, residual + i)))
