"""Small experiments for tests of scans: one that works, and ones that fail in every way an experiment can."""

import os
import signal
import time

import numpy as np

from sdetheory.checks import Diverged


def sample(x: float, n: int = 10, wait: float = 0.0, seed: int = 0):
    """The mean of n normal numbers around x."""
    if wait:
        time.sleep(wait)
    draws = x + np.random.default_rng(seed).standard_normal(n)
    return {"mean": (draws.mean(), draws.std(ddof=1) / np.sqrt(n)), "first": draws[0]}


def _predicted(x, n=10, wait=0.0):
    return {"mean": x}


sample.predict = _predicted


def bad(x: float, how: str = "raise", seed: int = 0):
    """Points with x >= 3 and x < 4 misbehave."""
    if not 3 <= x < 4:
        return {"y": 2 * x}
    if how == "raise":
        raise RuntimeError(f"no value at x={x}")
    if how == "diverge":
        raise Diverged(1.5, 3)
    if how == "nan":
        return {"y": float("nan")}
    if how == "complex":
        return {"y": 1j}
    if how == "exit":
        raise SystemExit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "abort":
        os.abort()
    raise ValueError(how)
