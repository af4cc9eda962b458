"""Exponential, logarithm, sine and cosine as polynomials on lane vectors (relative error a few 1e-16).

The scalar library's functions would be called once a lane; these stay in vector registers and give the same
digits in every lane, whatever the width.
"""

from math import factorial, pi
from typing import Any

from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import any_lane, floor, fma, from_bits, maximum, minimum, select, sqrt, to_bits

_EXP = tuple(1.0 / factorial(k) for k in range(14))
_ATANH = tuple(1.0 / (2 * k + 1) for k in range(11))
_SIN = tuple((-1.0) ** k / factorial(2 * k + 1) for k in range(11))
_COS = tuple((-1.0) ** k / factorial(2 * k) for k in range(12))

_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_TURN_HIGH = float.fromhex("0x1.921fb544p+2")  # 2 pi in two parts: the first has 33 bits
_TURN_LOW = float.fromhex("0x1.0b4611a626331p-32")
_PER_TURN = 0.5 / pi
_WHOLE = 6755399441055744.0  # 1.5 * 2**52: adding it leaves an integer in the low bits
_TINY = 1e-300


@part
def exponential(x: Any) -> Any:
    """e^x: x = k ln 2 + f, 2^k by its bits, e^f by Taylor; clipped to [-708, 708], NaN stays NaN."""
    clipped = minimum(maximum(x, -708.0), 708.0)
    k = floor(fma(clipped, _LOG2E, 0.5))
    f = fma(k, -_LN2_LOW, fma(k, -_LN2_HIGH, clipped))
    p = fma(f, _EXP[13], _EXP[12])
    p = fma(f, p, _EXP[11])
    p = fma(f, p, _EXP[10])
    p = fma(f, p, _EXP[9])
    p = fma(f, p, _EXP[8])
    p = fma(f, p, _EXP[7])
    p = fma(f, p, _EXP[6])
    p = fma(f, p, _EXP[5])
    p = fma(f, p, _EXP[4])
    p = fma(f, p, _EXP[3])
    p = fma(f, p, _EXP[2])
    p = fma(f, p, 1.0)
    p = fma(f, p, 1.0)
    return p * from_bits(to_bits(k + (_WHOLE + 1023.0)) << 52) + 0.0 * x


@part
def _artanh_ratio(y: Any) -> Any:
    """artanh(s)/s from y = s^2 <= 0.04."""
    p = fma(y, _ATANH[10], _ATANH[9])
    p = fma(y, p, _ATANH[8])
    p = fma(y, p, _ATANH[7])
    p = fma(y, p, _ATANH[6])
    p = fma(y, p, _ATANH[5])
    p = fma(y, p, _ATANH[4])
    p = fma(y, p, _ATANH[3])
    p = fma(y, p, _ATANH[2])
    p = fma(y, p, _ATANH[1])
    return fma(y, p, 1.0)


@part
def logarithm(x: Any) -> Any:
    """ln x for positive normal x: x = 2^k m with m in [1/sqrt 2, sqrt 2), ln m = 2 artanh((m-1)/(m+1))."""
    shifted = to_bits(x) + 0x00095F619980C433  # adds 1 - 1/sqrt 2: the exponent now rounds to nearest
    k = from_bits((shifted >> 52) | 0x4330000000000000) - 4503599627371519.0
    m = from_bits((shifted & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD)
    s = (m - 1.0) / (m + 1.0)
    return fma(k, _LN2_HIGH, fma(2.0 * s, _artanh_ratio(s * s), k * _LN2_LOW))


@part
def log1p_ratio(y: Any) -> Any:
    """ln(1 + y)/y for y >= 0, 1 at y = 0: by artanh(y/(2 + y)) for y <= 1/2, else by the logarithm."""
    large = y > 0.5
    inverse = 1.0 / (2.0 + y)
    s = y * inverse
    near = 2.0 * inverse * _artanh_ratio(s * s)
    if not any_lane(large):
        return near
    return select(large, logarithm(1.0 + y) / maximum(y, 0.5), near)


@part
def arctan_ratio(y: Any) -> Any:
    """arctan(y)/y for y >= 0: three half angles, then the series."""
    t = y / (1.0 + sqrt(1.0 + y * y))
    t = t / (1.0 + sqrt(1.0 + t * t))
    t = t / (1.0 + sqrt(1.0 + t * t))
    p = 0.0 * t
    square = -t * t
    for k in range(11, -1, -1):
        p = fma(square, p, 1.0 / (2 * k + 1))
    return select(y > _TINY, 8.0 * t * p / maximum(y, _TINY), 1.0 + 0.0 * y)


@part
def _small_cos_sinc(square: Any) -> tuple[Any, Any]:
    """(cos r, sin r / r) for r^2 <= 10 by half the angle, with neither root nor quotient."""
    y = 0.25 * square
    s = fma(y, _SIN[10], _SIN[9])
    s = fma(y, s, _SIN[8])
    s = fma(y, s, _SIN[7])
    s = fma(y, s, _SIN[6])
    s = fma(y, s, _SIN[5])
    s = fma(y, s, _SIN[4])
    s = fma(y, s, _SIN[3])
    s = fma(y, s, _SIN[2])
    s = fma(y, s, _SIN[1])
    s = fma(y, s, 1.0)
    c = fma(y, _COS[11], _COS[10])
    c = fma(y, c, _COS[9])
    c = fma(y, c, _COS[8])
    c = fma(y, c, _COS[7])
    c = fma(y, c, _COS[6])
    c = fma(y, c, _COS[5])
    c = fma(y, c, _COS[4])
    c = fma(y, c, _COS[3])
    c = fma(y, c, _COS[2])
    c = fma(y, c, _COS[1])
    c = fma(y, c, 1.0)
    return fma(-2.0 * y * s, s, 1.0), s * c


@part
def cos_sinc(square: Any) -> tuple[Any, Any]:
    """(cos r, sin r / r) from r^2 >= 0; whole turns are removed first in the lanes that need it."""
    large = square > 10.0
    if not any_lane(large):
        return _small_cos_sinc(square)
    r = sqrt(square)
    turns = floor(fma(r, _PER_TURN, 0.5))
    rest = fma(turns, -_TURN_LOW, fma(turns, -_TURN_HIGH, r))
    rest = select(large, rest, 0.0 * rest)
    cosine, sinc = _small_cos_sinc(select(large, rest * rest, square))
    return cosine, select(large, sinc * rest / maximum(r, _TINY), sinc)
