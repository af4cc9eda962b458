"""Functions of states, in numpy: norms and effective rates, imbalance, modes, curvature of deep linear
networks.

Every function takes states of shape (..., d), flat weights as in `models.deep_linear`, and keeps the leading
axes.
"""

import itertools
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.models.deep_linear import DeepLinear, PseudoHuber, Square
from sdetheory.models.weights import unpack

# ---- any state


def squared_norm(w: Any) -> np.ndarray:
    """|w|^2, shape (...)."""
    return np.sum(np.square(np.asarray(w, dtype=np.float64)), axis=-1)


def norm(w: Any) -> np.ndarray:
    """|w|, shape (...)."""
    return np.sqrt(squared_norm(w))


def effective_lr(w: Any, lr: Any) -> np.ndarray:
    """lr / |w|^2: the learning rate of the direction of scale-invariant weights (Li, Lyu, Arora 2020)."""
    return np.asarray(lr) / squared_norm(w)


# ---- deep linear networks


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


def hessian(model: DeepLinear, w: Any) -> np.ndarray:
    """Hessian of the model's loss, shape (..., d, d): J^T diag(L''(R)) J plus the slopes times the curvature
    of R(w).

    With P = A_j W_j B_j (A_j the layers above, B_j those below) the rows of J for W_j are A_j kron (B_j X)^T.
    """
    states = np.asarray(w, dtype=np.float64)
    layers = unpack(states, model.widths)
    flat = [layer.reshape(-1, *layer.shape[-2:]) for layer in layers]
    every = [_hessian_of(model, [layer[i] for layer in flat]) for i in range(len(flat[0]))]
    return np.reshape(every, (*states.shape, states.shape[-1]))


def sharpness(model: DeepLinear, w: Any) -> np.ndarray:
    """Largest eigenvalue of the Hessian, shape (...)."""
    return np.linalg.eigvalsh(hessian(model, w))[..., -1]


def _hessian_of(model: DeepLinear, layers: list[np.ndarray]) -> np.ndarray:
    """The Hessian at one state."""
    inputs, depth = model.inputs, len(layers)
    above, below = [np.eye(layers[-1].shape[0])], [np.eye(inputs.shape[0])]
    for j in range(depth - 1):
        above.insert(0, above[0] @ layers[depth - 1 - j])
        below.append(layers[j] @ below[-1])
    slopes, curvatures = _derivatives(model, layers[-1] @ below[-1] @ inputs - model.targets)
    jacobian = np.hstack([np.kron(a, (b @ inputs).T) for a, b in zip(above, below, strict=True)])
    total = jacobian.T @ (curvatures.reshape(-1, 1) * jacobian)
    starts = np.cumsum([0, *(layer.size for layer in layers)])
    for i in range(depth):
        between = np.eye(layers[i].shape[0])
        for j in range(i + 1, depth):
            outer = above[j].T @ slopes @ (below[i] @ inputs).T
            block = np.einsum("cg,ef->cefg", outer, between).reshape(layers[j].size, layers[i].size)
            total[starts[j] : starts[j + 1], starts[i] : starts[i + 1]] += block
            total[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] += block.T
            between = layers[j] @ between
    return total


def _derivatives(model: DeepLinear, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of the loss in the entries of the residual."""
    if isinstance(model.residual_loss, Square):
        return model.scale * residual, np.full(residual.shape, model.scale)
    if isinstance(model.residual_loss, PseudoHuber):
        root = np.sqrt(1.0 + residual**2)
        return model.scale * residual / root, model.scale / root**3
    raise ValueError(
        f"`model` must have the square or the pseudo-Huber loss: residual_loss={model.residual_loss!r}"
    )


def _t(matrix: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrix, -1, -2)


def _squared_layer_norms(w: Any, widths: Any) -> np.ndarray:
    """||W_j||_F^2, shape (..., N)."""
    return np.stack([np.sum(np.square(layer), axis=(-2, -1)) for layer in unpack(w, widths)], axis=-1)


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
