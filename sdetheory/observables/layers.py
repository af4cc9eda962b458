"""Layers of deep linear networks: imbalance, end to end product, strengths of its modes."""

import itertools
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.models.weights import unpack


def matrix_imbalance(w: Any, widths: Any) -> list[np.ndarray]:
    """D_j = W_{j+1}^T W_{j+1} - W_j W_j^T for j = 1, ..., N-1, shapes (..., d_j, d_j) (Arora, Cohen, Hazan
    2018)."""
    layers = unpack(w, widths)
    return [_t(above) @ above - below @ _t(below) for below, above in itertools.pairwise(layers)]


def imbalance_norm(w: Any, widths: Any) -> np.ndarray:
    """max_j ||D_j||_F, the delta of "delta-balanced", shape (...); 0 for a single layer."""
    sizes = [np.sqrt(np.sum(np.square(d), axis=(-2, -1))) for d in matrix_imbalance(w, widths)]
    return np.max(sizes, axis=0) if sizes else np.zeros(np.shape(w)[:-1])


def frobenius_imbalance(w: Any, widths: Any) -> np.ndarray:
    """||W_{j+1}||_F^2 - ||W_j||_F^2 = tr D_j, shape (..., N-1)."""
    return np.diff(_squared_layer_norms(w, widths), axis=-1)


def layer_imbalance(w: Any, widths: Any) -> np.ndarray:
    """max_ij | ||W_i||^2 - ||W_j||^2 |, shape (...): the layer imbalance of Ginsburg 2020, section 2."""
    return np.ptp(_squared_layer_norms(w, widths), axis=-1)


def end_to_end(w: Any, widths: Any) -> np.ndarray:
    """W_N ... W_1, shape (..., d_N, d_0)."""
    layers = unpack(w, widths)
    product = layers[0]
    for layer in layers[1:]:
        product = layer @ product
    return product


def mode_strengths(w: Any, widths: Any, target: Any = None) -> np.ndarray:
    """Singular values of W_N ... W_1, or its strengths u_r^T W v_r along the singular vectors of `target`:
    (..., rank).

    Source: Saxe, McClelland, Ganguli 2014.
    """
    product = end_to_end(w, widths)
    if target is None:
        return np.linalg.svd(product, compute_uv=False)
    target = checks.shape("target", checks.finite("target", target), product.shape[-2:])
    left, _, right = np.linalg.svd(target, full_matrices=False)
    return np.einsum("ir,...ij,rj->...r", left, product, right)


def _t(matrix: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrix, -1, -2)


def _squared_layer_norms(w: Any, widths: Any) -> np.ndarray:
    """||W_j||_F^2, shape (..., N)."""
    return np.stack([np.sum(np.square(layer), axis=(-2, -1)) for layer in unpack(w, widths)], axis=-1)
