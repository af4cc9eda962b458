"""numbalsoda: Hairer's DOP853 in Fortran on a compiled right-hand side; one start at a time, two threads.

The right-hand side is loops of fixed length, ordered so that the inner one runs along rows and vectorises;
or, for large matrices, calls of BLAS.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numbalsoda import dop853, lsoda_sig

from ..workloads import Flow


def right_hand_side(n: int, depth: int = 3, blas: bool = False) -> Any:
    """(t, y, dy, data) -> dy = -grad L(y) for `depth` n x n layers; data: the target, and depth + 2 buffers."""

    @numba.njit(error_model="numpy")
    def loops(a, b, out):
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

    @numba.njit(error_model="numpy")
    def product(a, b, out):
        if blas:
            np.dot(a, b, out)
        else:
            loops(a, b, out)

    @numba.njit(error_model="numpy")
    def product_turned(a, b, turned, out):
        if blas:
            np.dot(a, b.T, out)
        else:
            turn(b, turned)
            loops(a, turned, out)

    @numba.njit(error_model="numpy")
    def turned_product(a, b, turned, out):
        if blas:
            np.dot(a.T, b, out)
        else:
            turn(a, turned)
            loops(turned, b, out)

    @numba.cfunc(lsoda_sig, error_model="numpy")
    def force(t, y, dy, data):
        w = numba.carray(y, (depth, n, n))
        out = numba.carray(dy, (depth, n, n))
        buffers = numba.carray(data, (depth + 3, n, n))
        target, turned, other = buffers[0], buffers[1], buffers[2]
        product(w[1], w[0], buffers[4])
        for j in range(2, depth):
            product(w[j], buffers[2 + j], buffers[3 + j])
        back = buffers[2 + depth]
        for i in range(n):
            for j in range(n):
                back[i, j] = target[i, j] - back[i, j]
        for j in range(depth - 1, 1, -1):
            product_turned(back, buffers[2 + j], turned, out[j])
            turned_product(w[j], back, turned, other)
            back, other = other, back
        product_turned(back, w[0], turned, out[1])
        turned_product(w[1], back, turned, out[0])

    return force


@numba.njit(nogil=True, error_model="numpy")
def _solve(address, starts, end, target, rtol, atol, final):
    data = np.zeros((starts.shape[1] + 3, *target.shape))
    data[0] = target
    times = np.array([0.0, end])
    for m in range(len(starts)):
        y, done = dop853(address, starts[m].copy().ravel(), times, data, rtol, atol)
        final[m] = y[1].reshape(final[m].shape)
        if not done:
            final[m] = np.nan


def flow(case: Flow, threads: int = 2, blas: bool = False) -> Callable[[], np.ndarray]:
    """W1: run() -> final layers (members, N, n, n)."""
    force = right_hand_side(case.starts.shape[-1], case.starts.shape[1], blas)
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
