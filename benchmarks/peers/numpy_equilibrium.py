"""numpy, equilibrium averages: vectorised Euler-Maruyama, plain, or extrapolated on the same increments.

As in `with_numpy`, and it knows that the loss looks at the first coordinate only: the force is one row.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..laws import Law
from .with_numpy import _slabs


class EulerMaruyama:
    """The state w (d, paths) of one slab at step h = lr wd dt, and the sum of the observed values."""

    def __init__(self, law: Law, h: float, w0: np.ndarray) -> None:
        self.law, self.h, self.dt = law, h, h / law.case.intrinsic_lr
        self.w = np.array(w0.T, order="C")
        self.product, self.ones = np.empty_like(self.w), np.ones(len(self.w))
        self.total = np.zeros(self.w.shape[1])

    def step(self, z: np.ndarray) -> None:
        """One step with the increments z (d, paths), which is overwritten."""
        w, product, case = self.w, self.product, self.law.case
        push = case.lr * self.dt * self.law.loss_scale
        q = self.ones @ np.multiply(w, w, out=product)
        inner = self.ones @ np.multiply(w, z, out=product)
        root = np.sqrt(q)
        noise = case.lr * case.noise.sigma * np.sqrt(self.dt) / root
        keep = 1.0 - self.h - noise * inner / q
        if self.law.linear:
            kick = push / root
            keep -= kick * w[0] / q
        else:
            kick = -2.0 * push * w[0] / q
            keep -= kick * w[0] / q
        w *= keep
        z *= noise
        w += z
        w[0] += kick

    def look(self) -> None:
        """Add the observed value of every path."""
        square = self.ones @ np.multiply(self.w, self.w, out=self.product)
        self.total += self.w[0] / np.sqrt(square) if self.law.linear else self.w[0] ** 2 / square


def _plain(law: Law, h: float, w0: np.ndarray, steps: int, every: int, rng: np.random.Generator) -> np.ndarray:
    scheme, z = EulerMaruyama(law, h, w0), np.empty(w0.T.shape)
    for step in range(1, steps + 1):
        scheme.step(rng.standard_normal(out=z))
        if step % every == 0:
            scheme.look()
    return scheme.total / (steps // every)


def _extrapolated(law: Law, h: float, w0: np.ndarray, steps: int, every: int, rng: np.random.Generator) -> np.ndarray:
    fine, coarse = EulerMaruyama(law, h, w0), EulerMaruyama(law, 2.0 * h, w0)
    first, second, both = (np.empty(w0.T.shape) for _ in range(3))
    every = -(-every // 2)
    for pair in range(1, steps // 2 + 1):
        rng.standard_normal(out=first)
        rng.standard_normal(out=second)
        np.add(first, second, out=both)
        both *= np.sqrt(0.5)
        fine.step(first)
        fine.step(second)
        coarse.step(both)
        if pair % every == 0:
            fine.look()
            coarse.look()
    return (2.0 * fine.total - coarse.total) / (steps // 2 // every)


def averages(
    law: Law, h: float, w0: np.ndarray, steps: int, every: int, extrapolated: bool, threads: int = 2
) -> Callable[[], np.ndarray]:
    """run() -> time average of the observed value of each path (paths,), seen every `every` fine steps."""
    slabs = _slabs(*w0.shape, threads)
    run_slab = _extrapolated if extrapolated else _plain

    def run() -> np.ndarray:
        streams = np.random.SeedSequence(11).spawn(len(slabs))
        out = np.empty(len(w0))

        def go(slab: slice, stream: np.random.SeedSequence) -> None:
            rng = np.random.Generator(np.random.SFC64(stream))
            out[slab] = run_slab(law, h, w0[slab], steps, every, rng)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(go, slabs, streams))
        return out

    return run
