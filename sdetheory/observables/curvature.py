"""Curvature of deep linear networks: tangents of the end to end product, dense Hessian, sharpness.

With W = A_j W_j B_j (A_j the layers above, B_j those below) the Hessian of scale sum penalty(W X - Y) is
J^T diag(c) J, J the tangents of W X and c the second derivatives of the loss, plus slopes times the curvature of W.
"""

from typing import Any

import numpy as np

from sdetheory.models.deep_linear import DeepLinear, PseudoHuber, Square
from sdetheory.models.weights import unpack


def hessian(model: DeepLinear, w: Any) -> np.ndarray:
    """Hessian of the model's loss, shape (..., d, d): J^T diag(L''(R)) J plus the slopes times the curvature
    of R(w).

    With P = A_j W_j B_j (A_j the layers above, B_j those below) the rows of J for W_j are A_j kron (B_j X)^T.
    """
    states = np.asarray(w, dtype=np.float64)
    every = [_hessian_of(model, layers) for layers in each_state(model, states)]
    return np.reshape(every, (*states.shape, states.shape[-1]))


def sharpness(model: DeepLinear, w: Any) -> np.ndarray:
    """Largest eigenvalue of the Hessian, shape (...); NaN where a state is not finite (a path that diverged)."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = hessian(model, w)
    healthy = np.isfinite(found).all(axis=(-2, -1))
    values = np.linalg.eigvalsh(np.where(healthy[..., None, None], found, 0.0))[..., -1]
    return np.where(healthy, values, np.nan)[()]


def _hessian_of(model: DeepLinear, layers: list[np.ndarray]) -> np.ndarray:
    """The Hessian at one state."""
    inputs, depth = model.inputs, len(layers)
    above, below = surroundings(layers)
    slopes, curvatures = derivatives(model, layers[-1] @ below[-1] @ inputs - model.targets)
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


def each_state(model: DeepLinear, w: Any) -> list[list[np.ndarray]]:
    """The layers [W_1, ..., W_N] of every state of (..., d), in order; ValueError where d does not fit the widths."""
    flat = [layer.reshape(-1, *layer.shape[-2:]) for layer in unpack(w, model.widths)]
    return [[layer[i] for layer in flat] for i in range(len(flat[0]))]


def surroundings(layers: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(A_1, ..., A_N), (B_1, ..., B_N): products of the layers above and below each layer; leading axes are kept."""
    above, below = [np.eye(layers[-1].shape[-2])], [np.eye(layers[0].shape[-1])]
    for lower, upper in zip(layers[:-1], layers[:0:-1], strict=True):
        above.insert(0, above[0] @ upper)
        below.append(lower @ below[-1])
    return above, below


def derivatives(model: DeepLinear, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of the loss in the entries of the residual; ValueError for other losses."""
    if isinstance(model.residual_loss, Square):
        return model.scale * residual, np.full(residual.shape, model.scale)
    if isinstance(model.residual_loss, PseudoHuber):
        root = np.sqrt(1.0 + residual**2)
        return model.scale * residual / root, model.scale / root**3
    raise ValueError(
        f"`model` must have the square or the pseudo-Huber loss: residual_loss={model.residual_loss!r}"
    )
