"""When a decaying curve falls to a level."""

import math

import numpy as np


def crossing(ts: np.ndarray, curve: np.ndarray, level: float) -> float:
    """When a curve (T,) first is at or below `level`: its logarithm interpolated between two times.

    inf if it never is, ts[0] if it begins there.  A value without logarithm counts as a twentieth of the level.
    """
    below = np.flatnonzero(curve <= level)
    if not below.size:
        return math.inf
    k = int(below[0])
    if k == 0:
        return float(ts[0])
    before, after = (math.log(max(float(v), level / 20) / level) for v in curve[k - 1 : k + 1])
    return float(ts[k - 1] + (ts[k] - ts[k - 1]) * before / (before - after))
