"""Call a kernel's scalar-looking function on plain arrays, compiled, through lanes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from sdetheory.lanes.vector import float_rows, lane_array, load, store


def on_lanes(function: Callable) -> Callable[..., np.ndarray]:
    """(x (N,), scalars) -> (results, N) of a jitted function of one lane vector with a tuple of results."""

    @njit(error_model="numpy")
    def run(x, out, scalars):
        for i in range(x.size):
            results = function(load(x, i), *scalars)
            for k in range(len(results)):
                store(out[k], i, results[k])

    def call(x: np.ndarray, *scalars: Any, results: int = 1, width: int = 8) -> np.ndarray:
        x = np.atleast_1d(np.asarray(x, dtype=np.float64))
        rows = -(-x.size // width)
        lanes, out = lane_array(rows, width), lane_array((results, rows), width)
        float_rows(lanes).reshape(-1)[:] = np.resize(x, rows * width)
        run(lanes, out, tuple(float(s) for s in scalars))
        return float_rows(out).reshape(results, -1)[:, : x.size]

    return call
