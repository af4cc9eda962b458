"""How many Fourier modes a smooth periodic function, and the exponential of one, need to be known to rounding."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sdetheory import checks

FINEST = 1 << 13  # angles at most
TAIL = 1e-14  # coefficients below this share of the largest value are zero
WIDEST = 650.0  # of beta (max L - min L): a gap e^-(this) is still a double, and so are the squares of e^(half of it)


def sampled_at(name: str, function: Any, points: np.ndarray) -> np.ndarray:
    """A user's function at points (m,), as finite numbers (m,); a constant may come as one number."""
    if not callable(function):
        raise ValueError(f"`{name}` must be a function of an array: {name}={function!r}")
    values = checks.finite(name, function(points))
    if values.size == 1:
        return np.full(points.shape, values.item())
    return checks.shape(name, values, points.shape)


def sampled(function: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Complex Fourier coefficients c_k, k >= 0, of a loss Re sum_k c_k e^(i k angle).

    Raises ValueError for values that are not finite, and for a function that `FINEST` angles do not resolve.
    """
    size = 64
    while size <= FINEST:
        angles = 2 * np.pi * np.arange(size) / size
        values = sampled_at("loss", function, angles)
        coefficients = np.fft.rfft(values) / size
        coefficients[1:] *= 2
        large = np.abs(coefficients) > TAIL * max(1e-300, np.abs(values).max())
        last = int(np.flatnonzero(large).max(initial=0))
        if last < size // 4:
            return np.where(large, coefficients, 0)[: last + 1]
        size *= 2
    raise ValueError(
        f"`loss` must be smooth: its Fourier coefficient of degree {last} is still {np.abs(coefficients[last]):.2g}"
    )


def on_grid(coefficients: np.ndarray, size: int, derivative: int = 0) -> np.ndarray:
    """Re sum_k (i k)^derivative c_k e^(i k angle) at `size` equal angles."""
    padded = np.zeros(size // 2 + 1, dtype=complex)
    padded[: len(coefficients)] = coefficients * (1j * np.arange(len(coefficients))) ** derivative
    padded[1:] /= 2
    return np.fft.irfft(padded * size, size)


def centred(coefficients: np.ndarray) -> np.ndarray:
    """beta L less the middle of its range; ValueError where the range is more than double precision takes."""
    values = on_grid(coefficients, 8 * len(coefficients) + 64)
    width = float(np.ptp(values))
    if width > WIDEST:
        raise ValueError(f"`inverse_temperature` times the range of `loss` must be at most {WIDEST:g}: {width:.4g}")
    coefficients = coefficients.copy()
    coefficients[0] -= (values.max() + values.min()) / 2
    return coefficients


def band(coefficients: np.ndarray) -> int:
    """Degree from which on the coefficients of e^(U/2) and e^(-U/2) are below rounding, with a third to spare."""
    size = 16 * (len(coefficients) + 8)
    while size <= FINEST:
        values = on_grid(coefficients, size) / 2
        bands = [np.abs(np.fft.rfft(np.exp(v - v.max()))) for v in (values, -values)]
        last = max(int(np.flatnonzero(one > TAIL * one.max()).max()) for one in bands)
        if last < size // 3:
            return 4 * last // 3
        size *= 2
    raise ValueError(f"`loss` times beta must be resolved by {FINEST} angles: its wells are too narrow")
