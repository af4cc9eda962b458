"""Multiplicative noise inside a network: on the outputs of layers (continuous dropout, dropout) and on weights.

One draw of factors f a step, the same for all samples of the step: its loss is L(f w), f_i = 1 + level z_k the factor
of weight i.  A factor of a hidden unit's output is one of all weights of its row.  The model's gradient plus the
disturbance is the gradient of that loss, exactly.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.mask import Mask, probability
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import constant, load, store
from sdetheory.lanes.verbs import disturb, draws, gradient, workspace
from sdetheory.models.deep_linear import DeepLinear
from sdetheory.models.sweep import layer_offsets


class FactorNoise(NamedTuple):
    """Weights times 1 + level z: made by `layer_noise`, `weight_noise`, `dropout` and `drop_connect`."""

    model: Any
    which: np.ndarray  # (d,) int64: number of the increment in a weight's factor, -1 for no factor
    factors: int
    level: float  # standard deviation of a factor
    keep: float  # probability of a mask, 0 for increments of the caller's choice
    linear = False  # in the increments: there is no G(w)

    @property
    def increment(self) -> Any:
        """Masks, or nothing that the noise is made for."""
        return Mask(self.keep) if self.keep > 0.0 else None


def layer_noise(model: DeepLinear, sigma: float, layers: Sequence[int] | None = None) -> FactorNoise:
    """Every output of the given layers times an independent 1 + sigma z: continuous dropout.

    layers: numbers from 1 (nearest the inputs) to N, by default all but the last: the hidden units.  For bounded
    noise |eta| <= delta give sigma=uniform_level(delta) and run with increment=Uniform().  On a scalar chain the step
    uses (W prod_l (1 + sigma z_l) - target)^2, so that the average loss is (W - s)^2 + ((1 + sigma^2)^k - 1) W^2 with k
    layers.  Raises ValueError for a negative sigma, or a layer that does not exist.
    Source: Ginsburg 2020, section 4.2; Srivastava et al. 2014, section 10 (multiplicative Gaussian noise).
    """
    which = _of_outputs(model, layers)
    return FactorNoise(model, which, int(which.max()) + 1, checks.nonnegative("sigma", sigma), 0.0)


def weight_noise(model: DeepLinear, sigma: float) -> FactorNoise:
    """Every weight times an independent 1 + sigma z.  Raises ValueError for a negative sigma."""
    which = np.arange(model.dimension)
    return FactorNoise(model, which, which.size, checks.nonnegative("sigma", sigma), 0.0)


def dropout(model: DeepLinear, keep: float, layers: Sequence[int] | None = None) -> FactorNoise:
    """Every output of the given layers (hidden ones by default) times b/keep, b = 1 with probability `keep`, else 0.

    Two layers U V^T with whitened inputs: the average of (1/2)|M - (1/keep) U diag(b) V^T|^2 is
    (1/2)|M - U V^T|^2 + (q/2) sum_i |u_i|^2 |v_i|^2, q = (1 - keep)/keep.  Raises ValueError unless 0 < keep < 1.
    Source: Srivastava et al. 2014; Mianjy, Arora, Vidal 2018.
    """
    which, keep = _of_outputs(model, layers), probability("keep", keep)
    return FactorNoise(model, which, int(which.max()) + 1, np.sqrt((1.0 - keep) / keep), keep)


def drop_connect(model: DeepLinear, keep: float) -> FactorNoise:
    """Every weight times b/keep, b = 1 with probability `keep`, else 0.  Raises ValueError unless 0 < keep < 1.

    On a chain of N scalar layers the noise vanishes at the minimum W = keep^N of the average loss: a mask that drops a
    layer has slope 0 everywhere.  So it does not balance layers, as other noise of its variance does.
    Source: Wan et al. 2013, Regularization of neural networks using DropConnect.
    """
    which, keep = np.arange(model.dimension), probability("keep", keep)
    return FactorNoise(model, which, which.size, np.sqrt((1.0 - keep) / keep), keep)


def _of_outputs(model: DeepLinear, layers: Sequence[int] | None) -> np.ndarray:
    """Number of a weight's output among the outputs of the given layers, -1 for other layers' weights."""
    widths, depth = model.widths, model.widths.size - 1
    numbers = list(range(1, depth)) if layers is None else [checks.integer("layers", k, least=1) for k in layers]
    if not numbers or max(numbers) > depth or len(set(numbers)) < len(numbers):
        raise ValueError(f"`layers` must be different numbers from 1 to {depth}, at least one: layers={numbers}")
    which, starts, count = np.full(model.dimension, -1), layer_offsets(widths), 0
    for k in sorted(numbers):
        outputs = int(widths[k])
        which[starts[k - 1] : starts[k]] = count + np.repeat(np.arange(outputs), int(widths[k - 1]))
        count += outputs
    return which


@draws.of(FactorNoise)
def _draws(noise, d):
    return noise.factors


@workspace.of(FactorNoise)
def _workspace(noise, d):
    """Noisy weights, the gradient without noise, and the model's."""
    return 2 * d + workspace(noise.model, d)


@part
def _factor(noise, z, i):
    """Factor of weight i."""
    k = noise.which[i]
    return 1.0 + noise.level * load(z, k) if k >= 0 else constant(z, 1.0)


@disturb.of(FactorNoise)
def _disturb(noise, w, z, out, work):
    """f grad L(f w) - grad L(w)."""
    d = w.size
    noisy, clean, rest = work[:d], work[d : 2 * d], work[2 * d :]
    for i in range(d):
        store(noisy, i, _factor(noise, z, i) * load(w, i))
    gradient(noise.model, noisy, out, rest)
    gradient(noise.model, w, clean, rest)
    for i in range(d):
        store(out, i, _factor(noise, z, i) * load(out, i) - load(clean, i))
