"""Times at which curves fall to a level, and the power of a parameter by which they grow, with its interval."""

from typing import NamedTuple

import numpy as np


class Exponent(NamedTuple):
    """p of time ~ parameter^-p, with its interval over resamples, and the times themselves."""

    value: float
    low: float
    high: float
    times: np.ndarray

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def reach(time: np.ndarray, curve: np.ndarray, level: float) -> float:
    """When a curve first falls below `level`: its logarithm interpolated between the two times; else NaN.

    NaN also if the first value lies below already. A value without logarithm counts as a twentieth of the level.
    """
    below = np.flatnonzero(curve < level)
    if not len(below) or below[0] == 0:
        return np.nan
    k = below[0]
    a, b = (np.log(max(value, level / 20) / level) for value in curve[k - 1 : k + 1])
    return float(time[k - 1] + (time[k] - time[k - 1]) * a / (a - b))


def exponent(
    parameter: np.ndarray,
    time: np.ndarray,
    curves: np.ndarray,
    resampled: np.ndarray,
    level: float,
    outside: float = 2.5,
) -> Exponent:
    """The power by which the time to `level` grows as a parameter falls: least squares in logarithms.

    parameter (n,); time (n, T); curves (n, T); resampled (n, T, R), the curves of R resamples. The interval has
    `outside` per cent of the resamples on either side; it is NaN where more than a tenth of them do not cross.
    """
    times = np.array([reach(t, curve, level) for t, curve in zip(time, curves, strict=True)])
    fits = []
    for r in range(resampled.shape[2]):
        drawn = [reach(t, curve, level) for t, curve in zip(time, resampled[:, :, r], strict=True)]
        fits.append(slope(parameter, np.array(drawn)))
    known = np.array(fits)[np.isfinite(fits)]
    low, high = np.percentile(known, [outside, 100 - outside]) if len(known) > 0.9 * len(fits) else (np.nan, np.nan)
    return Exponent(slope(parameter, times), float(low), float(high), times)


def slope(parameter: np.ndarray, times: np.ndarray) -> float:
    """p of times ~ parameter^-p by least squares in logarithms; NaN if a time is missing."""
    known = bool(np.isfinite(times).all())
    return -float(np.polyfit(np.log(parameter), np.log(times), 1)[0]) if known else np.nan
