"""Hessian spectra of deep linear networks without the Hessian: the Kronecker formula, Lanczos, traces."""

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from sdetheory import checks
from sdetheory.models.deep_linear import DeepLinear, Square, root_of_data
from sdetheory.models.weights import pack, unpack
from sdetheory.observables.curvature import derivatives, each_state, hessian, surroundings

_ENDS = {"largest": "LA", "smallest": "SA"}


def gradient(model: DeepLinear, w: Any) -> np.ndarray:
    """grad L(w) in numpy, for analysis: (..., d). `sdetheory.evaluate.gradient` runs the compiled kernel."""
    layers = unpack(w, model.widths)
    above, below = surroundings(layers)
    slopes, _ = derivatives(model, layers[-1] @ below[-1] @ model.inputs - model.targets)
    error = slopes @ model.inputs.T
    return pack([_t(a) @ error @ _t(b) for a, b in zip(above, below, strict=True)])


def hessian_product(model: DeepLinear, w: Any, direction: Any) -> np.ndarray:
    """Hess L(w) v, exact, at the cost of about three gradients; states and directions (..., d) broadcast: (..., d).

    The derivative of the gradient along v, carried through the forward and the backward sweep; square or
    pseudo-Huber loss. ValueError for another loss or a d that does not fit the widths.
    Source: Pearlmutter 1994, Fast exact multiplication by the Hessian.
    """
    w, direction = np.asarray(w, np.float64), np.asarray(direction, np.float64)
    for name, value in (("w", w), ("direction", direction)):
        if value.shape[-1:] != (model.dimension,):
            raise ValueError(
                f"`{name}` must have {model.dimension} weights on its last axis for widths "
                f"{tuple(model.widths.tolist())}: it has shape {value.shape}"
            )
    w, direction = np.broadcast_arrays(w, direction)
    layers, moves = unpack(w, model.widths), unpack(direction, model.widths)
    values, rates = [model.inputs], [np.zeros_like(model.inputs)]  # of W_j ... W_1 X, and their rates of change
    for layer, move in zip(layers, moves, strict=True):
        rates.append(move @ values[-1] + layer @ rates[-1])
        values.append(layer @ values[-1])
    back, curvatures = derivatives(model, values[-1] - model.targets)
    back_rate = curvatures * rates[-1]
    parts = []
    for layer, move, value, rate in zip(layers[::-1], moves[::-1], values[-2::-1], rates[-2::-1], strict=True):
        parts.append(back_rate @ _t(value) + back @ _t(rate))
        back, back_rate = _t(layer) @ back, _t(move) @ back + _t(layer) @ back_rate
    return pack(parts[::-1])


def hessian_eigenvalues(
    model: DeepLinear, w: Any, count: int = 1, end: str = "largest", tolerance: float = 1e-10
) -> np.ndarray:
    """The `count` largest or smallest eigenvalues of Hess L(w), largest first: (..., count).

    Lanczos with implicit restarts on exact products, memory of a few vectors of d numbers; `tolerance` is relative to
    the eigenvalue. Of a multiple eigenvalue all copies are found where the start (fixed, so that results repeat) and
    rounding contain them. NaN where a state is not finite (a path that diverged). ValueError for a `count` above d, an
    unknown `end` ("largest" or "smallest").
    """
    states, count = np.asarray(w, np.float64), checks.integer("count", count, least=1)
    which, d = _ENDS[checks.choice("end", end, _ENDS)], model.dimension
    if count > d:
        raise ValueError(f"`count` must be at most the number of weights, {d}: count={count}")
    tolerance = checks.positive("tolerance", tolerance)
    unpack(states, model.widths)
    found = [_lanczos(model, state, count, which, tolerance) for state in states.reshape(-1, d)]
    return np.reshape(found, (*states.shape[:-1], count))


def _lanczos(model: DeepLinear, state: np.ndarray, count: int, which: str, tolerance: float) -> np.ndarray:
    """At one state; dense where nearly all eigenvalues are wanted, which Lanczos cannot do."""
    d = state.size
    if not np.isfinite(state).all():
        return np.full(count, np.nan)
    if d <= max(2 * count, 8):
        values = np.linalg.eigvalsh(hessian(model, state))
        return values[::-1][:count] if which == "LA" else values[:count][::-1]
    operator = LinearOperator((d, d), matvec=lambda v: hessian_product(model, state, v.reshape(-1)), dtype=float)
    start = np.random.default_rng(0).standard_normal(d)
    values = eigsh(operator, count, which=which, v0=start, tol=tolerance, return_eigenvectors=False, maxiter=100 * d)
    return np.sort(values)[::-1]


def kernel_spectrum(model: DeepLinear, w: Any, tolerance: float = 1e-8) -> np.ndarray:
    """Non-zero eigenvalues of Hess L(w) in closed form where dl/dW = 0, largest first: (..., min(d_0, n) d_N).

    They are those of scale sum_j (A_j A_j^T) kron (X^T B_j^T B_j X), A_j the layers above W_j, B_j those below, X the
    inputs (their root for the square loss; the identity in target form), with the curvatures of the loss as weights
    otherwise; where d is smaller, the rest is zero. ValueError where the slope of the loss in W is more than
    `tolerance` of its terms: the formula misses slopes times the curvature of W there, use `hessian_eigenvalues`.
    Source: Mulayoff, Michaeli 2020; Kamber, Parhi 2025.
    """
    states = np.asarray(w, np.float64)
    tolerance = checks.positive("tolerance", tolerance)
    inputs, targets = model.inputs, model.targets
    if isinstance(model.residual_loss, Square) and model.samples:
        inputs, targets, _ = root_of_data(inputs, targets)
    spectra = [_kernel(model, layers, inputs, targets, tolerance) for layers in each_state(model, states)]
    return np.reshape(spectra, (*states.shape[:-1], len(spectra[0])))


def _kernel(
    model: DeepLinear, layers: list[np.ndarray], inputs: np.ndarray, targets: np.ndarray, tolerance: float
) -> np.ndarray:
    above, below = surroundings(layers)
    outputs = layers[-1] @ below[-1] @ inputs
    slopes, curvatures = derivatives(model, outputs - targets)
    slope = np.linalg.norm(slopes @ inputs.T)
    size = model.scale * (np.linalg.norm(outputs) + np.linalg.norm(targets)) * np.linalg.norm(inputs)
    if not slope <= tolerance * size:
        raise ValueError(f"`w` must have dl/dW = 0 up to `tolerance`: slope {slope}, of {size}, tolerance={tolerance}")
    total = sum(np.kron(a @ a.T, (b @ inputs).T @ (b @ inputs)) for a, b in zip(above, below, strict=True))
    weights = np.sqrt(curvatures).reshape(-1)
    return np.linalg.eigvalsh(weights[:, None] * total * weights)[::-1]


def hessian_trace(model: DeepLinear, w: Any) -> np.ndarray:
    """tr Hess L(w) at any state, exact and without the Hessian: (...).

    W is linear in each layer, so that only tangents count: sum_j sum_(o,n) c_on |A_j^T e_o|^2 |B_j X e_n|^2, c the
    second derivatives of the loss (for the square loss tr = scale sum_j |A_j|_F^2 |B_j X|_F^2).
    """
    layers = unpack(w, model.widths)
    above, below = surroundings(layers)
    _, curvatures = derivatives(model, layers[-1] @ below[-1] @ model.inputs - model.targets)
    total = np.zeros(layers[0].shape[:-2])
    for a, b in zip(above, below, strict=True):
        rows, columns = np.sum(np.square(a), axis=-1), np.sum(np.square(b @ model.inputs), axis=-2)
        total = total + np.sum(rows[..., :, None] * curvatures * columns[..., None, :], axis=(-2, -1))
    return total


def hessian_trace_estimate(
    model: DeepLinear, w: Any, rng: np.random.Generator, probes: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard error) of v^T Hess L(w) v over random signs v, an unbiased estimate of the trace: (...), (...).

    It needs products alone. Its variance is 2 (|H|_F^2 - sum H_ii^2)/probes. Source: Hutchinson 1990.
    """
    states, probes = np.asarray(w, np.float64), checks.integer("probes", probes, least=2)
    signs = rng.choice((-1.0, 1.0), size=(probes, *states.shape))
    values = np.sum(signs * hessian_product(model, states, signs), axis=-1)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(probes)


def _t(matrix: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrix, -1, -2)
