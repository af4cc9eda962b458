"""Gradient noise at frozen weights: gradients of batches, of examples given their batch, and Tr Sigma.

Sigma is the covariance of the batch gradient, the batch size inside it, and with batch normalisation it
includes the noise of the batch statistics: it is measured over batches, not from single examples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.networks.data import Data
from sdetheory.networks.groups import Group
from sdetheory.networks.network import Network, cross_entropy
from sdetheory.networks.streams import batches as drawn_batches

_TOGETHER = 32


class NoiseEstimate(NamedTuple):
    """Per group (G,): unbiased estimates of Tr Sigma and |E g|^2, their jackknife errors, and |w|^2.

    Multiply by `squared_norm` for the values on the unit sphere (groups that are scale invariant).
    """

    groups: tuple[Group, ...]
    trace: np.ndarray
    trace_error: np.ndarray
    squared_mean: np.ndarray
    squared_mean_error: np.ndarray
    squared_norm: np.ndarray
    batches: int


class SignalAndNoise(NamedTuple):
    """Per net (E,), over all trainable parameters: unbiased estimates of G and N, and R = |w|^2.

    G = |E g|^2 and N = Tr Cov g for the gradient g of a batch at frozen weights.
    """

    squared_mean: np.ndarray
    noise_trace: np.ndarray
    squared_norm: np.ndarray


def signal_and_noise(
    net: Network,
    parameters: np.ndarray,
    data: Data,
    *,
    batches: int,
    batch_size: int = 32,
    label_noise: float = 0.0,
    seeds: Sequence[int] | np.ndarray | None = None,
    first_step: int = 0,
) -> SignalAndNoise:
    """G, N and R of nets (E, P) from m = `batches` independent batches each (Li, Malladi, Arora 2021, section 5).

    N + G ~ mean |g_b|^2, G ~ (m |mean g_b|^2 - mean |g_b|^2)/(m - 1): unbiased for every m >= 2. Net e draws the
    batches that training with its seed would draw from `first_step` on; seeds default to 0 .. E - 1.
    """
    checks.shape("parameters", parameters, (None, net.size))
    m, members = checks.integer("batches", batches, 2), np.arange(len(parameters)) if seeds is None else seeds
    checks.shape("seeds", np.asarray(members), (len(parameters),))
    trained = np.concatenate([np.arange(a, b) for g in net.groups() if not g.frozen for a, b in g.segments])
    rows = np.empty((len(parameters), 3))
    for row, w, seed in zip(rows, parameters, members, strict=True):
        gradients = batch_gradients(
            net, w, data, batches=m, batch_size=batch_size, label_noise=label_noise, seed=int(seed),
            first_step=first_step,
        )[:, trained]  # fmt: skip
        both, mean = np.mean(np.sum(gradients**2, axis=1)), gradients.mean(axis=0)
        signal = (m * (mean @ mean) - both) / (m - 1)
        row[:] = signal, both - signal, np.sum(w[trained] ** 2)
    return SignalAndNoise(*rows.T)


def batch_gradients(
    net: Network,
    parameters: np.ndarray,
    data: Data,
    *,
    batches: int,
    batch_size: int = 32,
    label_noise: float = 0.0,
    seed: int = 0,
    first_step: int = 0,
) -> np.ndarray:
    """Gradients (batches, P) at frozen parameters (P,), on the batches that training with `seed` draws."""
    checks.shape("parameters", parameters, (net.size,))
    count, first = checks.integer("batches", batches, 1), checks.integer("first_step", first_step)
    address = (checks.integer("seed", seed), first, first + count)
    indices, labels = drawn_batches(data.labels, data.classes, *address, batch_size, label_noise)
    out = np.empty((count, net.size))
    for a in range(0, count, _TOGETHER):
        here = slice(a, min(a + _TOGETHER, count))
        nets = np.repeat(parameters[None], here.stop - a, axis=0)
        out[here] = net.gradient(nets, data.inputs[indices[here]], labels[here])[1]
    return out


def noise_estimate(
    net: Network, parameters: np.ndarray, gradients: np.ndarray, *, by: str = "layer"
) -> NoiseEstimate:
    """Tr Sigma and |E g|^2 of each trainable group from m >= 3 independent gradients (m, P) at (P,).

    With mean gradient G_m: Tr Sigma ~ sum_b |g_b - G_m|^2 / (m - 1) and |E g|^2 ~ |G_m|^2 - Tr Sigma / m,
    both unbiased (Li, Malladi, Arora 2021, section 5: mean |g_b|^2 estimates their sum).
    """
    checks.shape("gradients", gradients, (None, net.size))
    m = checks.integer("number of gradients", len(gradients), 3)
    groups = tuple(group for group in net.groups(by) if not group.frozen)
    rows = np.array([_moments(group.select(gradients), m) for group in groups])
    norms = np.array([np.sum(group.select(parameters) ** 2) for group in groups])
    return NoiseEstimate(groups, rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], norms, m)


def _moments(gradients: np.ndarray, m: int) -> tuple[float, float, float, float]:
    """Trace and squared mean with their jackknife errors: each batch left out once, in closed form."""
    mean = gradients.mean(axis=0)
    off = gradients - mean
    spread, along = np.einsum("mp,mp->m", off, off), off @ mean
    trace = spread.sum() / (m - 1)
    squared = mean @ mean - trace / m
    traces = (spread.sum() - spread * m / (m - 1)) / (m - 2)
    squares = mean @ mean - 2 * along / (m - 1) + spread / (m - 1) ** 2 - traces / (m - 1)
    return trace, _jackknife(traces), squared, _jackknife(squares)


def _jackknife(values: np.ndarray) -> float:
    """Standard error from leave-one-out estimates (m,)."""
    m = len(values)
    return float(np.sqrt((m - 1) / m * np.sum((values - values.mean()) ** 2)))


def per_sample_gradients(
    net: Network, parameters: np.ndarray, inputs: np.ndarray, labels: Sequence[int] | np.ndarray
) -> np.ndarray:
    """d(loss of example b)/dw given its batch, (B, P), through its statistics; the mean is the gradient."""
    checks.shape("parameters", parameters, (net.size,))
    size = len(inputs)
    out = np.zeros((size, net.size))
    for a in range(0, size, _TOGETHER):
        rows = np.arange(a, min(a + _TOGETHER, size))
        nets, x, given = net.checked(np.repeat(parameters[None], len(rows), axis=0), inputs, labels)
        logits, caches = net.forward(nets, np.repeat(x, len(rows), axis=0))
        every = cross_entropy(logits, given, given)[2]
        dy = np.zeros_like(every)
        dy[np.arange(len(rows)), rows] = size * every[np.arange(len(rows)), rows]
        net.backward(nets, net.bind(out[rows[0] : rows[-1] + 1]), caches, dy)
    return out
