"""Weights of deep linear networks: flat vectors to layers and back, balanced and random starts."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.models.deep_linear import check_widths
from sdetheory.models.sweep import layer_offsets


def pack(layers: Sequence[Any]) -> np.ndarray:
    """Layers W_1, ..., W_N with W_j of shape (..., d_j, d_{j-1}) as flat weights (..., d); leading axes are
    kept.

    Raises ValueError where the shapes of two layers do not chain."""
    matrices = [np.asarray(layer, dtype=np.float64) for layer in layers]
    for j, (below, above) in enumerate(itertools.pairwise(matrices), start=1):
        if above.shape[-1] != below.shape[-2]:
            raise ValueError(
                f"`layers` must chain: W_{j} has shape {below.shape}, W_{j + 1} has shape {above.shape}"
            )
    return np.concatenate([m.reshape(*m.shape[:-2], -1) for m in matrices], axis=-1)


def unpack(w: Any, widths: Any) -> list[np.ndarray]:
    """Flat weights (..., d) as layers [W_1, ..., W_N], W_j of shape (..., d_j, d_{j-1}).

    Raises ValueError unless d fits the widths."""
    w, sizes = np.asarray(w, dtype=np.float64), check_widths(widths)
    starts = layer_offsets(sizes)
    if w.ndim == 0 or w.shape[-1] != starts[-1]:
        raise ValueError(
            f"`w` must have {starts[-1]} weights on its last axis for widths {tuple(sizes.tolist())}: "
            f"it has shape {w.shape}"
        )
    return [
        w[..., starts[j] : starts[j + 1]].reshape(*w.shape[:-1], sizes[j + 1], sizes[j])
        for j in range(sizes.size - 1)
    ]


def balanced_weights(widths: Any, end_to_end: Any, rng: np.random.Generator) -> np.ndarray:
    """Flat weights (d,) with W_N ... W_1 = end_to_end and W_{j+1}^T W_{j+1} = W_j W_j^T, in random hidden
    frames.

    With end_to_end = U S V^T: W_j = Q_j S^(1/N) Q_{j-1}^T, Q_0 = V, Q_N = U, the others random orthonormal.
    Raises ValueError if a hidden layer is narrower than min(d_0, d_N).
    Source: Arora, Cohen, Hazan 2018, procedure 1.
    """
    sizes = check_widths(widths)
    matrix = checks.shape(
        "end_to_end", checks.finite("end_to_end", end_to_end), (int(sizes[-1]), int(sizes[0]))
    )
    rank, depth = min(matrix.shape), sizes.size - 1
    if (sizes < rank).any():
        raise ValueError(
            f"`widths` must be at least {rank} in every layer to factorise a {matrix.shape} matrix: "
            f"widths={tuple(sizes.tolist())}"
        )
    left, strengths, right = np.linalg.svd(matrix, full_matrices=False)
    hidden = [np.linalg.qr(rng.standard_normal((size, rank)))[0] for size in sizes[1:-1].tolist()]
    frames = [right.T, *hidden, left]
    root = strengths ** (1.0 / depth)
    return pack([frames[j + 1] * root @ frames[j].T for j in range(depth)])


def gaussian_weights(
    widths: Any, rng: np.random.Generator, *, paths: int | None = None, gain: float = 1.0
) -> np.ndarray:
    """Independent normal weights, W_j with standard deviation gain / sqrt(d_{j-1}): (d,), or (paths, d).

    gain = 1 keeps the mean square of the activations."""
    sizes = check_widths(widths)
    gain = checks.nonnegative("gain", gain)
    spread = np.repeat(gain / np.sqrt(sizes[:-1]), sizes[1:] * sizes[:-1])
    leading = () if paths is None else (checks.integer("paths", paths, least=1),)
    return spread * rng.standard_normal((*leading, spread.size))
