"""scipy.integrate.solve_ivp, one start at a time, on two processes that are started before the clock.

DOP853 is the fastest of scipy's methods here (RK45 and LSODA took about twice as long at rtol 1e-8);
stacking all starts into one is slower still, because every member then waits for the stiffest.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from scipy.integrate import solve_ivp

from ..workloads import Flow


def right_hand_side(target: np.ndarray, depth: int = 3) -> Callable[[float, np.ndarray], np.ndarray]:
    """y (depth n^2,) -> -grad L(y) into one reused array."""
    n = len(target)

    def force(t: float, y: np.ndarray) -> np.ndarray:
        layers = y.reshape(depth, n, n)
        out = np.empty((depth, n, n))
        products = [layers[0]]
        for layer in layers[1:]:
            products.append(layer @ products[-1])
        back = target - products.pop()
        for j in range(depth - 1, 0, -1):
            np.matmul(back, products.pop().T, out=out[j])
            back = layers[j].T @ back
        out[0] = back
        return out.ravel()

    return force


def solve(case: Flow, method: str = "DOP853") -> np.ndarray:
    """Final layers (members, N, n, n) of the case's starts, one after the other."""
    force = right_hand_side(case.target, case.starts.shape[1])
    final = np.empty_like(case.starts)
    for start, end in zip(case.starts, final, strict=True):
        answer = solve_ivp(force, (0.0, case.end), start.ravel(), method, (case.end,), rtol=case.rtol, atol=case.atol)
        end[:] = answer.y[:, -1].reshape(end.shape)
    return final


def flow(case: Flow, threads: int = 2) -> Callable[[], np.ndarray]:
    """W1: run() -> final layers (members, N, n, n)."""
    if threads == 1:
        return lambda: solve(case)
    pool = ProcessPoolExecutor(threads, mp_context=multiprocessing.get_context("spawn"))
    parts = [case._replace(starts=part) for part in np.array_split(case.starts, threads * 2) if len(part)]
    list(pool.map(solve, [case._replace(starts=case.starts[:1], end=0.1)] * threads * 2))
    return lambda: np.concatenate(list(pool.map(solve, parts)))
