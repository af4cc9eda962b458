"""numbalsoda: Hairer's DOP853 in Fortran on a compiled right-hand side; one start at a time, two threads.

The right-hand side is loops of fixed length, ordered so that the inner one runs along rows and vectorises.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numbalsoda import dop853, lsoda_sig

from ..workloads import Flow


def right_hand_side(n: int) -> Any:
    """(t, y, dy, data) -> dy = -grad L(y) for three n x n layers; data: the target and four buffers."""

    @numba.njit(error_model="numpy")
    def product(a, b, out):
        for i in range(n):
            for j in range(n):
                out[i, j] = a[i, 0] * b[0, j]
            for k in range(1, n):
                for j in range(n):
                    out[i, j] += a[i, k] * b[k, j]

    @numba.njit(error_model="numpy")
    def turn(a, out):
        for i in range(n):
            for j in range(n):
                out[j, i] = a[i, j]

    @numba.cfunc(lsoda_sig, error_model="numpy")
    def force(t, y, dy, data):
        w = numba.carray(y, (3, n, n))
        out = numba.carray(dy, (3, n, n))
        target, inner, residual, back, turned = numba.carray(data, (5, n, n))
        product(w[1], w[0], inner)
        product(w[2], inner, residual)
        for i in range(n):
            for j in range(n):
                residual[i, j] = target[i, j] - residual[i, j]
        turn(w[2], turned)
        product(turned, residual, back)
        turn(inner, turned)
        product(residual, turned, out[2])
        turn(w[0], turned)
        product(back, turned, out[1])
        turn(w[1], turned)
        product(turned, back, out[0])

    return force


@numba.njit(nogil=True, error_model="numpy")
def _solve(address, starts, end, target, rtol, atol, final):
    data = np.zeros((5, *target.shape))
    data[0] = target
    times = np.array([0.0, end])
    for m in range(len(starts)):
        y, done = dop853(address, starts[m].copy().ravel(), times, data, rtol, atol)
        final[m] = y[1].reshape(final[m].shape)
        if not done:
            final[m] = np.nan


def flow(case: Flow, threads: int = 2) -> Callable[[], np.ndarray]:
    """W1: run() -> final layers (members, 3, n, n)."""
    force = right_hand_side(case.starts.shape[-1])
    final = np.empty_like(case.starts)
    members = np.array_split(np.arange(len(final)), threads * 8)
    parts = [slice(part[0], part[-1] + 1) for part in members if len(part)]

    def go(part: slice) -> None:
        _solve(force.address, case.starts[part], case.end, case.target, case.rtol, case.atol, final[part])

    def run() -> np.ndarray:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(go, parts))
        return final.copy()

    go(slice(0, 1))
    return run
