"""Flat factorisations M = W_N ... W_1: the Hessian at a fit, its largest eigenvalue, its trace under data.

Loss (1/2)|W - M|_F^2 for the spectrum; (1/2) tr((W - M) Sx (W - M)^T), inputs of covariance Sx, for the trace,
which label noise minimises. Weights are pure numbers here.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions import end_to_end
from sdetheory.predictions.end_to_end import depth, strength
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    *(q for q in end_to_end.QUANTITIES if q.name in ("depth", "strength")),
    Quantity("upper_norm", "1", "spectral norm of W_2", r"\|W_2\|", "nonnegative"),
    Quantity("lower_norm", "1", "spectral norm of W_1", r"\|W_1\|", "nonnegative"),
    Quantity("upper_square", "1", "|W_2|_F^2", r"\|W_2\|_F^2", "nonnegative"),
    Quantity("lower_square", "1", "tr(W_1 Sx W_1^T)", r"\mathrm{tr}\,W_1\Sigma_xW_1^\top", "nonnegative"),
    Quantity("input_trace", "1", "tr Sx, mean squared norm of an input", r"\mathrm{tr}\,\Sigma_x", "positive"),
    Quantity("outputs", "1", "number of outputs", "o", "positive"),
    Quantity("nuclear", "1", "nuclear norm of M Sx^(1/2)", r"\|M\Sigma_x^{1/2}\|_*", "nonnegative"),
)  # fmt: skip
upper_norm, lower_norm, upper_square, lower_square, input_trace, outputs, nuclear = (
    q.symbol for q in QUANTITIES[2:]
)
_KP = "Kamber, Parhi 2025; Mulayoff, Michaeli 2020"
_LABELS = "Blanc et al. 2020 for the regulariser; minimum derived"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="flat_factors")

two_matrix_sharpness = _prediction(
    "two_matrix_sharpness", "largest Hessian eigenvalue of (1/2)|W_2 W_1 - M|^2 at a fit: spectral norms alone",
    upper_norm**2 + lower_norm**2, "1", _KP, latex_name=r"\lambda_{\max}",
)  # fmt: skip
flattest_matrix_sharpness = _prediction(
    "flattest_matrix_sharpness",
    "smallest largest Hessian eigenvalue over factorisations of M of this depth; strength is sigma_1(M)",
    end_to_end.singular_value_speed.expr, "1", _KP, latex_name=r"\min\lambda_{\max}", where=(sp.Ge(depth, 1),),
)  # fmt: skip
hessian_trace = _prediction(
    "hessian_trace", "trace of the Hessian of (1/2) tr((W_2 W_1 - M) Sx (W_2 W_1 - M)^T), anywhere",
    input_trace * upper_square + outputs * lower_square, "1", _LABELS, latex_name=r"\mathrm{tr}\,H",
)  # fmt: skip
least_hessian_trace = _prediction(
    "least_hessian_trace", "its minimum over factorisations of M, where label noise settles",
    2 * sp.sqrt(outputs * input_trace) * nuclear, "1", _LABELS, latex_name=r"\min\mathrm{tr}\,H",
)  # fmt: skip
__all__ = [
    "QUANTITIES", "depth", "flattest_matrix_sharpness", "hessian_spectrum", "hessian_trace", "label_noise_factors",
    "least_hessian_trace", "strength", "two_matrix_sharpness",
]  # fmt: skip


def hessian_spectrum(layers: Sequence[Any]) -> np.ndarray:
    """Eigenvalues, largest first, of sum_i (A_i A_i^T) kron (B_i^T B_i), A_i layers above, B_i below W_i.

    `layers` are W_1, ..., W_N. With zeros appended (or taken away) this is the spectrum of the Hessian of
    (1/2)|W - M|_F^2 where W = M; its size is the number of entries of M.
    """
    matrices = [np.asarray(layer, dtype=float) for layer in layers]
    for first, second in itertools.pairwise(matrices):
        if first.ndim != 2 or second.ndim != 2 or second.shape[1] != first.shape[0]:
            raise ValueError(f"`layers` must multiply: {second.shape} after {first.shape}")
    below = [np.eye(matrices[0].shape[1])]
    for layer in matrices[:-1]:
        below.append(layer @ below[-1])
    above = [np.eye(matrices[-1].shape[0])]
    for layer in matrices[:0:-1]:
        above.append(above[-1] @ layer)
    total = sum(np.kron(a @ a.T, b.T @ b) for a, b in zip(reversed(above), below, strict=True))
    return np.linalg.eigvalsh(total)[::-1]


def label_noise_factors(target: Any, input_covariance: Any) -> tuple[np.ndarray, np.ndarray]:
    """(W_1, W_2) with W_2 W_1 = target and the least trace of the Hessian, hidden width min(shape).

    They satisfy the noise balance o W_1 Sx W_1^T = tr(Sx) W_2^T W_2. ValueError unless the covariance is
    positive definite.
    """
    target, covariance = np.asarray(target, dtype=float), np.asarray(input_covariance, dtype=float)
    if target.ndim != 2 or covariance.shape != (target.shape[1],) * 2:
        raise ValueError(f"`input_covariance` must be square, one row per input: {covariance.shape}, {target.shape}")
    values, vectors = np.linalg.eigh(covariance)
    if values[0] <= 0:
        raise ValueError(f"`input_covariance` must be positive definite: smallest eigenvalue {values[0]}")
    root, inverse = ((vectors * values**power) @ vectors.T for power in (0.5, -0.5))
    left, strengths, right = np.linalg.svd(target @ root, full_matrices=False)
    ratio = (target.shape[0] / np.trace(covariance)) ** 0.25
    return (np.sqrt(strengths)[:, None] * right) @ inverse / ratio, ratio * left * np.sqrt(strengths)
