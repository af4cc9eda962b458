"""The forward and backward sweep of a deep linear network as tables of lane-wise matrix products.

With inputs X (d_0 x n) and targets Y (d_N x n) the residual is R = W_N ... W_1 X - Y.  The forward rows leave
R in the workspace, the backward rows turn slopes there (dL/dR) into the gradients of all layers, G_j = B_j
P_{j-1}^T with P_j = W_j P_{j-1}, P_0 = X, and B_N = dL/dR, B_{j-1} = W_j^T B_j. Without inputs (X = I) the
sweep starts at P_1 = W_1 and needs no product for it, nor for G_1 = B_1.  The descending rows do the same, but
move each W_j by G_j as soon as W_j^T B_j is there, which saves a pass over gradients and weights.
"""

from typing import Any, NamedTuple

import numpy as np

from sdetheory.lanes.parts import part
from sdetheory.lanes.products import OUTPUT, WEIGHTS, WORK, Operand, product
from sdetheory.lanes.vector import constant, store


class Sweep(NamedTuple):
    """The program of products, the numbers it needs, and where things lie.

    There are only two arrays because every array that a compiled call is handed costs two atomic reference
    counts."""

    program: np.ndarray  # rows of the forward sweep, of the backward sweep, of the descending one; layer widths
    constants: np.ndarray  # the entries of -Y, those of X (none for X = I), and whatever the owner adds
    forward: int  # where the forward rows end in `program`
    backward: int  # where the backward rows end
    descending: int  # where the descending rows end
    residual: int  # where R starts in the workspace; X starts at 0
    entries: int  # d_N n, the entries of R and of Y
    inputs: int  # d_0 n, the entries of X, or 0 for X = I
    rows: int  # rows of workspace
    code: int = 0  # address of `lanes.translate`'s gradient while a run lasts, or 0: the table is read
    descent: int = 0  # the same of its steps of descent


def layer_offsets(widths: np.ndarray) -> np.ndarray:
    """Where each layer starts in the flat weights: W_1 row by row, then W_2, ...; the last number is d."""
    return np.concatenate([[0], np.cumsum(widths[1:] * widths[:-1])])


def build_sweep(
    widths: np.ndarray, inputs: np.ndarray | None, targets: np.ndarray, *more: np.ndarray
) -> Sweep:
    """The sweep for layer widths (d_0, ..., d_N), inputs (d_0, n) or None for the identity, targets (d_N, n).

    The entries of the arrays `more` are kept at the end of the constants."""
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
        forward += product(layer, below, above, init=0 if layer is layers[-1] else -1)
        products.append(above)
    residual = products.pop()
    backward = _backward(layers, products, residual, gradients)
    panes = [scratch(int(widths[1:].max())) for _ in range(2 * (depth > 1))]
    descending = _descending(layers, products, residual, gradients, panes)
    program = np.array([*forward, *backward, *descending, *widths.tolist()], np.int64)
    flat: list[Any] = [-targets, *([] if inputs is None else [inputs]), *more]
    constants = np.concatenate([np.asarray(array, dtype=np.float64).reshape(-1) for array in flat])
    return Sweep(
        program,
        constants,
        len(forward),
        len(forward) + len(backward),
        len(forward) + len(backward) + len(descending),
        residual.offset,
        targets.size,
        0 if inputs is None else inputs.size,
        top,
    )


def _backward(
    layers: list[Operand], products: list[Operand], residual: Operand, gradients: list[Operand]
) -> list[int]:
    """Rows that turn slopes into gradients; `products` (P_0 or P_1 to P_{N-1}) are lost."""
    rows: list[int] = []
    pulled, begin = residual, len(layers) - len(products)
    for j in reversed(range(begin, len(layers))):
        below = products[j - begin]
        rows += product(pulled, below.T, gradients[j])
        if j > 0:  # B_{j-1} takes the place of P_{j-1}, which is not needed any more
            lower = gradients[0] if begin == j == 1 else below
            rows += product(layers[j].T, pulled, lower)
            pulled = lower
    return rows


def _descending(
    layers: list[Operand], products: list[Operand], residual: Operand, gradients: list[Operand], panes: list[Operand]
) -> list[int]:
    """Rows that move every layer by its gradient; without inputs the first one's is left in `gradients` instead."""
    rows: list[int] = []
    pulled, begin = residual, len(layers) - len(products)
    for j in reversed(range(begin, len(layers))):
        lower = pulled
        if j > 0:
            pane = panes[j % 2]
            lower = gradients[0] if begin == j == 1 else Operand(WORK, pane.offset, (layers[j].shape[1], pane.shape[1]))
            rows += product(layers[j].T, pulled, lower)
        rows += product(pulled, products[j - begin].T, layers[j])
        pulled = lower
    return rows


@part
def lay_inputs(constants, entries, inputs, work):
    """Write X into the first rows of the workspace, the same in every lane."""
    for i in range(inputs):
        store(work, i, constant(work, constants[entries + i]))
