"""Statistics that can fail: z-scores with a false-alarm rate *and* a power, equivalence tests, convergence orders.

A suite of up to 100 tests at the default false-alarm rate 1e-8 rejects a true statement with probability below 1e-6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from sdetheory.control_variates import Controlled, controlled

__all__ = [
    "Controlled", "Outcome", "controlled", "equivalent", "fit_order", "law_test", "mean_test", "proportion_test",
]  # fmt: skip
LEAST_POWER = 0.99


@dataclass(frozen=True)
class Outcome:
    """The result of one statistical comparison; true if it passed, and it prints its numbers."""

    test: str
    passed: bool
    estimate: float
    standard_error: float
    predicted: float
    z: float
    critical: float
    false_alarm: float
    effect: float
    power: float

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        return (
            f"{self.test} {'passed' if self.passed else 'FAILED'}: {self.estimate:.6g} +- {self.standard_error:.2g} "
            f"against {self.predicted:.6g} (z={self.z:.2f}, critical {self.critical:.2f} at false-alarm rate "
            f"{self.false_alarm:g}; power {self.power:.4f} to see {self.effect:.3g})"
        )


def _mean(samples: np.ndarray) -> tuple[float, float, int]:
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 1 or samples.size < 8:
        raise ValueError(f"`samples` must be one-dimensional with at least 8 independent values: shape={samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError(f"`samples` must be finite: {np.count_nonzero(~np.isfinite(samples))} are not")
    return float(samples.mean()), float(samples.std(ddof=1) / np.sqrt(samples.size)), samples.size - 1


def mean_test(samples: np.ndarray, predicted: float, *, detectable: float, false_alarm: float = 1e-8) -> Outcome:
    """Is the mean of independent samples (n,) the predicted one?  Student's t, two-sided.

    Passes if |mean - predicted| is below the critical value at `false_alarm` *and* a deviation of `detectable`
    (absolute, > 0) would have been seen with probability >= 0.99: a test too weak to exclude what it claims to
    exclude fails.
    """
    mean, error, freedom = _mean(samples)
    critical = float(stats.t.isf(false_alarm / 2, freedom))
    if error == 0.0:
        z, power = (0.0 if mean == predicted else np.inf), 1.0
    else:
        z, power = (mean - predicted) / error, float(stats.t.cdf(abs(detectable) / error - critical, freedom))
    passed = abs(z) <= critical and power >= LEAST_POWER
    return Outcome(
        "mean",
        bool(passed),
        mean,
        error,
        float(predicted),
        float(z),
        critical,
        false_alarm,
        float(detectable),
        power,
    )


def equivalent(samples: np.ndarray, predicted: float, *, margin: float, false_alarm: float = 1e-8) -> Outcome:
    """Is the mean of independent samples (n,) within `margin` (absolute) of `predicted`?

    Passes if the two-sided confidence interval at level 1 - `false_alarm` lies inside the margin; unlike a
    non-significant difference this can only pass with enough evidence.  `power` is the chance to pass were the
    prediction exact.
    """
    mean, error, freedom = _mean(samples)
    critical = float(stats.t.isf(false_alarm / 2, freedom))
    passed = abs(mean - predicted) + critical * error <= margin
    z = (mean - predicted) / error if error else 0.0
    room = margin / error - critical if error else np.inf
    power = float(max(0.0, 2 * stats.t.cdf(room, freedom) - 1)) if error else 1.0
    return Outcome(
        "equivalence",
        bool(passed),
        mean,
        error,
        float(predicted),
        float(z),
        critical,
        false_alarm,
        float(margin),
        power,
    )


def proportion_test(
    successes: int, trials: int, predicted: float, *, detectable: float, false_alarm: float = 1e-8
) -> Outcome:
    """Is a probability the predicted one?  Exact binomial test, power against predicted +- `detectable`."""
    low = int(stats.binom.ppf(false_alarm / 2, trials, predicted)) - 1
    high = int(stats.binom.isf(false_alarm / 2, trials, predicted)) + 1

    def seen(p: float) -> float:
        return float(stats.binom.cdf(low, trials, p) + stats.binom.sf(high - 1, trials, p))

    power = min(seen(min(1.0, predicted + detectable)), seen(max(0.0, predicted - detectable)))
    error = float(np.sqrt(predicted * (1 - predicted) / trials))
    share = successes / trials
    z = (share - predicted) / error if error else (0.0 if share == predicted else np.inf)
    passed = low < successes < high and power >= LEAST_POWER
    critical = (high / trials - predicted) / error if error else 0.0
    return Outcome(
        "proportion",
        bool(passed),
        share,
        error,
        predicted,
        float(z),
        critical,
        false_alarm,
        detectable,
        power,
    )


@lru_cache(maxsize=64)
def _kolmogorov(false_alarm: float, n: int) -> float:
    """The distance sup |F_n - F| exceeds with this probability."""
    return float(stats.kstwo.isf(false_alarm, n))


def law_test(
    samples: np.ndarray,
    cdf: Callable[[np.ndarray], np.ndarray],
    *,
    detectable: float | Callable[[np.ndarray], np.ndarray],
    margin: float = 0.0,
    false_alarm: float = 1e-8,
) -> Outcome:
    """Do independent samples (n,) have the continuous law `cdf`?  Kolmogorov's and Smirnov's distance sup |F_n - F|.

    detectable: a distance sup |G - F| of laws, or the CDF G of an alternative.  margin: a distance allowed, the
    known bias of a scheme.  Passes if the distance is at most margin + c, c exceeded at the false-alarm rate if
    sup |F_n - F| is that of the stated law (then no law within the margin fails more often), *and* a law at the
    detectable distance would be seen with probability >= 0.99 (at the point of greatest distance F_n misses G by
    more than x with probability below exp(-2 n x^2)).

    Raises ValueError for samples that are too few or non-finite, or a `cdf` that does not increase from 0 to 1.
    Sources: W. Hoeffding (1963); P. Massart (1990), The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality.
    """
    x = np.sort(np.asarray(samples, dtype=np.float64))
    _mean(x)
    law, n = np.asarray(cdf(x), dtype=np.float64), x.size
    if law.shape != x.shape or not (np.diff(law) >= 0).all() or not (law[0] >= 0 and law[-1] <= 1):
        raise ValueError("`cdf` must be an increasing function of arrays with values in [0, 1]")
    distance = float(max((np.arange(1, n + 1) / n - law).max(), (law - np.arange(n) / n).max()))
    effect = float(np.abs(detectable(x) - law).max()) if callable(detectable) else float(detectable)
    critical = margin + _kolmogorov(false_alarm, n)
    room, error = effect - critical, 0.5 / np.sqrt(n)
    power = float(-np.expm1(-2.0 * n * room * room)) if room > 0 else 0.0
    passed = distance <= critical and power >= LEAST_POWER
    z, limit = (distance - margin) / error, (critical - margin) / error
    return Outcome("law", bool(passed), distance, error, float(margin), z, limit, false_alarm, effect, power)


def fit_order(steps: np.ndarray, errors: np.ndarray, *, floor: float = 0.0) -> float:
    """The order p of errors ~ C steps^p: least-squares slope in logarithms over the points with error > `floor`.

    steps, errors: (n,).  `floor` is the level of rounding (or of sampling noise) below which points say nothing; at
    least three points must lie above it.
    """
    steps, errors = np.asarray(steps, float), np.asarray(errors, float)
    keep = np.isfinite(errors) & (errors > floor)
    if keep.sum() < 3:
        raise ValueError(f"`errors` must have at least three values above floor={floor:g}: errors={errors}")
    return float(np.polyfit(np.log(steps[keep]), np.log(errors[keep]), 1)[0])
