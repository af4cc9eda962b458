"""Norms and effective rates of any weights; product, imbalance and inverse squares of chains of scalar layers."""

from typing import Any

import numpy as np


def squared_norm(w: Any) -> np.ndarray:
    """|w|^2, shape (...)."""
    return np.sum(np.square(np.asarray(w, dtype=np.float64)), axis=-1)


def norm(w: Any) -> np.ndarray:
    """|w|, shape (...)."""
    return np.sqrt(squared_norm(w))


def effective_lr(w: Any, lr: Any) -> np.ndarray:
    """lr / |w|^2: the learning rate of the direction of scale-invariant weights (Li, Lyu, Arora 2020)."""
    return np.asarray(lr) / squared_norm(w)


# ---- chains of scalar layers (Ginsburg 2020)


def chain_product(w: Any) -> np.ndarray:
    """W = w_1 ... w_d, shape (...)."""
    return np.prod(np.asarray(w, dtype=np.float64), axis=-1)


def chain_imbalance(w: Any) -> np.ndarray:
    """w_i^2 - w_j^2 for all pairs, shape (..., d, d), antisymmetric."""
    squares = np.square(np.asarray(w, dtype=np.float64))
    return squares[..., :, None] - squares[..., None, :]


def inverse_square_sum(w: Any) -> np.ndarray:
    """S = sum_i 1/w_i^2, shape (...): the sharpness of (W - 1)^2 at a minimum is 2 S."""
    return np.sum(1.0 / np.square(np.asarray(w, dtype=np.float64)), axis=-1)
