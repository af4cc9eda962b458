"""The matched geodesic noise step on S^n: one Gaussian tangent, scaled so that E cos(angle) is exact.

Brownian motion turns the direction so that E<w', w> = e^{-eta}.  A geodesic step along a Gaussian tangent,
of length r with r^2 = v chi^2_n, has E cos r = 1F1(n/2; 1/2; -v/2).  Solving 1F1 = e^{-eta} for v makes the
first spherical harmonic exact for every step, and inside a Strang splitting the step is as good as the
exact heat kernel.  With x = n v / 2 and t = 1 - e^{-eta} the ratio x / t is a smooth function of t on [0,
1] for every n >= 2 (t = 1 is an infinite step); it is interpolated at 15 nodes when a run starts.  On the
circle v = 2 eta.
"""

from math import cos, pi
from typing import Any

import numpy as np

from sdetheory.integrators.elementary import cos_sinc, exponential, log1p_ratio
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import fma, load, maximum, select, sqrt, store

NODES = np.array([0.0, *(0.5 - 0.5 * cos(pi * (k + 0.5) / 14) for k in (13, 0, 6, 10, 3, 12, 1, 8, 5, 11, 2, 7, 9, 4))])


@part
def mean_cosine(x: float, n: float) -> tuple[float, float]:
    """E cos r and its derivative in x, for r^2 = (2 x / n) chi^2_n: 1F1(n/2; 1/2; -x/n) by its series."""
    value, slope, term = 1.0, 0.0, 1.0
    for k in range(60):
        ratio = -(n / 2 + k) / ((0.5 + k) * (1.0 + k) * n)
        slope += term * ratio * (k + 1)
        term *= ratio * x
        value += term
        if abs(term) < 1e-22:  # terms fall from here on, and change no bit of the sums any more
            break
    return value, slope


@part
def matched(t: float, n: float) -> float:
    """The smallest x with E cos r = 1 - t: Newton, from the value for small t."""
    x = t
    for _ in range(40):
        value, slope = mean_cosine(x, n)
        change = (value - 1.0 + t) / slope
        x -= change
        if abs(change) < 1e-10 * x:  # squared by the next change, below rounding
            break
    return x


@part
def matched_coefficients(n: float, out: np.ndarray) -> None:
    """Newton's divided differences of x / t at NODES, for the sphere S^n with n >= 2."""
    out[0] = 1.0
    for k in range(1, 15):
        out[k] = matched(NODES[k], n) / NODES[k]
    for level in range(1, 15):
        for k in range(14, level - 1, -1):
            out[k] = (out[k] - out[k - 1]) / (NODES[k] - NODES[k - level])


@part
def store_coefficients(n: float, y: Any, first: int) -> None:
    """Write the interpolation of this dimension into 15 rows of the state, starting at row `first`."""
    coefficients = np.empty(15)
    matched_coefficients(n, coefficients)
    for k in range(15):
        store(y, first + k, coefficients[k])


@part
def step_variance(t: Any, n: float, y: Any, first: int) -> Any:
    """v = 2 x / n of the step with E cos r = 1 - t, from `store_coefficients`; 2 eta on the circle."""
    if n < 2.0:
        u = t / (1.0 - t)
        return 2.0 * u * log1p_ratio(u)
    p = load(y, first + 14)
    for k in range(13, -1, -1):
        p = fma(t - NODES[k], p, load(y, first + k))
    return (2.0 / n) * t * p


@part
def matched_share(eta: Any, n: float, y: Any, first: int) -> Any:
    """v / (2 eta / n), the matched variance over the unmatched one; 1 at eta = 0 and on the circle."""
    t = 1.0 - exponential(-eta)
    return select(eta > 1e-12, 0.5 * n * step_variance(t, n, y, first) / maximum(eta, 1e-12), 1.0 + 0.0 * eta)


@part
def geodesic(v: Any, ww: Any, wz: Any, zz: Any) -> tuple[Any, Any]:
    """(a, b) such that a w + b z is the unit vector at distance sqrt(v) |t|, t the tangent of z at w.

    ww, wz, zz: the inner products of w (any length) and z.
    """
    inverse = 1.0 / ww
    share = wz * inverse
    cosine, sinc = cos_sinc(v * maximum(zz - wz * share, 0.0))
    across = sinc * sqrt(v)
    return cosine * sqrt(inverse) - across * share, across
