"""Regression control variates: an expectation from independent samples and quantities whose means are known.

With controls c of known mean mu, y - b (c - mu) has the mean of y for every b and the least variance for the
regression coefficients.  Fitted on the samples they are used on, coefficients bias the estimate by O(1/n); fitted
for every sample on all the others they are independent of it, and the estimate has no bias at all.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from sdetheory import checks

LEAST_SAMPLES = 8  # beyond the number of controls
WRONG_MEAN = 1e-10  # false-alarm rate at which a known mean is refused
CONSTANT = 1e-12  # spread relative to size below which a control varies by rounding alone


@dataclass(frozen=True)
class Controlled:
    """An estimate with control variates.

    estimate: unbiased, every sample with coefficients fitted on all the others; standard_error: of either estimate,
    by the jackknife (HC3), which holds for unequal variances and charges for the coefficients; coefficients (k,),
    fitted on all samples; variance_ratio: its square over that of the plain mean, what the controls left;
    fitted: the usual estimate with `coefficients`; bias = fitted - estimate, an unbiased estimate of its bias;
    deviations (k,): mean of each control less its known mean, in standard errors; samples: their number.
    """

    estimate: float
    standard_error: float
    coefficients: np.ndarray
    variance_ratio: float
    fitted: float
    bias: float
    deviations: np.ndarray
    samples: int


def controlled(
    samples: Any, controls: Any, known_means: Any, *, coefficients: Any = None, refuse: bool = True
) -> Controlled:
    """The mean of `samples` (n,) with `controls` (n,) or (n, k) of `known_means`, a number or (k,).

    Rows are independent: paths, or pair means of antithetic paths.  `coefficients`, a number or (k,), are used
    as they are (from theory, or a pilot run) instead of being fitted; then nothing is biased.  refuse=False accepts
    means that deviate, for controls whose known mean is that of a limit (of small steps, of long times) which the
    samples only approach: look at `deviations`.

    Raises ValueError for non-finite or misshapen input, fewer than k + 8 samples, a constant control, controls that
    are linearly dependent or that a single sample decides, and where the mean of a control deviates from its known
    mean more than in a fraction 1e-10 of runs: a wrong known mean would bias the estimate silently.

    Sources: S. Lavenberg and P. Welch (1981), A perspective on the use of control variables to increase the
    efficiency of Monte Carlo simulations; A. Avramidis and J. Wilson (1993), A splitting scheme for control variates.
    """
    y = checks.shape("samples", checks.finite("samples", samples), (None,))
    c = checks.finite("controls", controls)
    c = checks.shape("controls", c[:, None] if c.ndim == 1 else c, (y.size, None))
    n, k = c.shape
    if n < k + LEAST_SAMPLES or k == 0:
        raise ValueError(f"`controls` must be at least 1 and {LEAST_SAMPLES} fewer than samples: {k} and {n} samples")
    means = _row("known_means", known_means, k)
    centred = c - means
    deviations = _deviations(c, centred, refuse)
    if coefficients is not None:
        b = _row("coefficients", coefficients, k)
        rest = y - centred @ b
        estimate, error = float(rest.mean()), float(rest.std(ddof=1) / np.sqrt(n))
        return Controlled(estimate, error, b, _ratio(error, y), estimate, 0.0, deviations, n)
    return _fitted(y, centred, deviations)


def varies(control: np.ndarray) -> np.ndarray:
    """Does a control (n, ...) vary by more than rounding?"""
    return np.ptp(control, axis=0) > CONSTANT * np.abs(control).max(axis=0)


def _row(name: str, value: Any, k: int) -> np.ndarray:
    """A number or (k,), as (k,)."""
    value = checks.finite(name, value)
    return np.full(k, float(value)) if value.ndim == 0 and k == 1 else checks.shape(name, value, (k,))


def _ratio(error: float, y: np.ndarray) -> float:
    """Variance with controls over that of the plain mean; 1 where nothing varies."""
    plain = float(y.var(ddof=1) / y.size)
    return error**2 / plain if plain > 0 else 1.0


def _deviations(c: np.ndarray, centred: np.ndarray, refuse: bool) -> np.ndarray:
    """Means less known means in standard errors; raises ValueError for a constant control and a wrong mean."""
    n = len(c)
    flat = ~varies(c)
    if flat.any():
        j = int(np.argmax(flat))
        raise ValueError(f"`controls` must vary: controls[:, {j}] is {c[0, j]:.6g} in all {n} samples")
    z = centred.mean(axis=0) / (c.std(axis=0, ddof=1) / np.sqrt(n))
    worst, critical = int(np.argmax(np.abs(z))), float(stats.t.isf(WRONG_MEAN / 2, n - 1))
    if refuse and abs(z[worst]) > critical:
        raise ValueError(
            f"`known_means` must be the means of the controls: that of controls[:, {worst}] is off by "
            f"{z[worst]:.1f} standard errors (limit {critical:.1f})"
        )
    return z


def _fitted(y: np.ndarray, centred: np.ndarray, deviations: np.ndarray) -> Controlled:
    """Least squares on (1, c - mu): the intercept is the estimate, and leaving a sample out is a closed formula."""
    n = len(centred)
    scale = centred.std(axis=0)
    q, r = np.linalg.qr(np.column_stack([np.ones(n), centred / scale]))
    if np.abs(np.diag(r)).min() < 1e-7 * np.sqrt(n):
        raise ValueError("`controls` must be linearly independent, and not only in one sample")
    leverage = (q * q).sum(axis=1)
    if leverage.max() > 1 - 1e-9:
        raise ValueError(f"`controls` must not be decided by one sample: sample {int(np.argmax(leverage))} is")
    shift = y.mean()
    beta = np.linalg.solve(r, q.T @ (y - shift))
    left_out = (y - shift - q @ (r @ beta)) / (1.0 - leverage)  # residual of each sample, fitted on the others
    influence = np.linalg.solve(r, q.T) * left_out  # beta less beta without the sample
    standardised = centred / scale
    others = beta[1:, None] - influence[1:]
    fitted = float(shift + beta[0])
    estimate = float(shift + np.mean(y - shift - (standardised * others.T).sum(axis=1)))
    error = float(np.sqrt((influence[0] ** 2).sum()))
    return Controlled(estimate, error, beta[1:] / scale, _ratio(error, y), fitted, fitted - estimate, deviations, n)
