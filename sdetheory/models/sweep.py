"""The forward and backward sweep of a deep linear network as tables of lane-wise matrix products.

With inputs X (d_0 x n) and targets Y (d_N x n) the residual is R = W_N ... W_1 X - Y.  The forward table leaves R in
the workspace, the backward table turns slopes there (dL/dR) into the gradients of all layers,
G_j = B_j P_{j-1}^T with P_j = W_j P_{j-1}, P_0 = X, and B_N = dL/dR, B_{j-1} = W_j^T B_j.
Without inputs (X = I) the sweep starts at P_1 = W_1 and needs no product for it, nor for G_1 = B_1.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from sdetheory.lanes.products import OUTPUT, WEIGHTS, WORK, Operand, multiply, product_row, product_table
from sdetheory.lanes.vector import constant, store


class Sweep(NamedTuple):
    """Both tables, the constants they need and where things lie in the workspace (offsets in rows)."""

    forward: np.ndarray  # (rows, 14) products that leave R in the workspace
    backward: np.ndarray  # (rows, 14) products from dL/dR to the gradient
    negated_targets: np.ndarray  # (d_N n,) the entries of -Y, row by row
    inputs: np.ndarray  # (d_0 n,) the entries of X, row by row; empty for X = I
    residual: int  # where R starts; X starts at 0
    entries: int  # d_N n, the entries of R
    rows: int  # rows of workspace


def layer_offsets(widths: np.ndarray) -> np.ndarray:
    """Where each layer starts in the flat weights: W_1 row by row, then W_2, ...; the last number is d."""
    return np.concatenate([[0], np.cumsum(widths[1:] * widths[:-1])])


def build_sweep(widths: np.ndarray, inputs: np.ndarray | None, targets: np.ndarray) -> Sweep:
    """The sweep for layer widths (d_0, ..., d_N), inputs (d_0, n) or None for the identity, targets (d_N, n)."""
    depth, columns = widths.size - 1, targets.shape[1]
    if inputs is None and depth == 1:
        inputs = np.eye(columns)
    starts = layer_offsets(widths)
    shapes = [(int(widths[j + 1]), int(widths[j])) for j in range(depth)]
    layers = [Operand(WEIGHTS, int(start), shape) for start, shape in zip(starts, shapes, strict=False)]
    gradients = [Operand(OUTPUT, layer.offset, layer.shape) for layer in layers]
    top = 0

    def scratch(height: int) -> Operand:
        nonlocal top
        top += height * columns
        return Operand(WORK, top - height * columns, (height, columns))

    products = [layers[0]] if inputs is None else [scratch(int(widths[0]))]
    ahead = layers[1:] if inputs is None else layers
    forward = []
    for layer in ahead:
        below, above = products[-1], scratch(layer.shape[0])
        forward.append(product_row(layer, below, above, init=0 if layer is layers[-1] else -1))
        products.append(above)
    residual = pulled = products.pop()
    spare = [scratch(int(widths.max())) for _ in range(2)]
    backward = []
    for j in reversed(range(len(layers) - len(ahead), depth)):
        backward.append(product_row(pulled, products.pop().T, gradients[j]))
        if j > 0:
            first = inputs is None and j == 1
            lower = gradients[0] if first else Operand(WORK, spare[j % 2].offset, (int(widths[j]), columns))
            backward.append(product_row(layers[j].T, pulled, lower))
            pulled = lower
    flat_inputs = np.zeros(0) if inputs is None else np.ascontiguousarray(inputs, dtype=np.float64).reshape(-1)
    return Sweep(product_table(forward), product_table(backward), -targets.reshape(-1), flat_inputs, residual.offset,
                 targets.size, top)


@njit(inline="always")
def lay_inputs(sweep, work):
    """Write X into the first rows of the workspace, the same in every lane."""
    for i in range(sweep.inputs.size):
        store(work, i, constant(work, sweep.inputs[i]))


@njit(inline="always")
def residual(sweep, w, work):
    """R = W_N ... W_1 X - Y, left at row `sweep.residual` of the workspace; X must have been laid."""
    multiply(sweep.forward, w, work, work, sweep.negated_targets)


@njit(inline="always")
def pull_back(sweep, w, out, work):
    """out <- the gradient, from the slopes dL/dR that stand where the residual was."""
    multiply(sweep.backward, w, out, work, sweep.negated_targets)
