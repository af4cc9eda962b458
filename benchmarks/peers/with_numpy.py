"""numpy as a careful user writes it: whole ensembles in one array, SFC64 into reused buffers, two threads.

Arrays are (d, paths) so that every per-path factor broadcasts along the fast axis; the two weighted norms
of a step are one small matrix product; the paths are split over threads, for which numpy releases the
interpreter lock.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..workloads import Descent, NormalisedSDE

SLAB = 2048
"""Paths advanced together at d = 16: 256 KB an array, the best of 128, 256, ..., 2048 where tried."""


class EulerMaruyama:
    """The state and buffers of one slab of paths, w (d, paths)."""

    def __init__(self, case: NormalisedSDE, w0: np.ndarray) -> None:
        self.case = case
        self.w = np.array(w0.T, order="C")
        self.square, self.z = np.empty_like(self.w), np.empty_like(self.w)
        self.weights = np.stack([np.ones_like(case.a), case.a])
        self.outer = np.stack([np.ones_like(case.a), case.a], axis=1)

    def step(self, z: np.ndarray) -> None:
        """One step with the increments z (d, paths), which is overwritten."""
        case, w, square = self.case, self.w, self.square
        np.multiply(w, w, out=square)
        q, s = self.weights @ square
        np.multiply(w, z, out=square)
        inner = self.weights[0] @ square
        noise = case.lr * case.sigma * np.sqrt(case.dt / q)
        pull = 2.0 * case.lr * case.dt / q
        keep = 1.0 - case.lr * case.weight_decay * case.dt + (pull * s - noise * inner) / q
        np.matmul(self.outer, np.stack([keep, -pull]), out=square)
        w *= square
        z *= noise
        w += z

    def run(self, rng: np.random.Generator, norms: np.ndarray) -> np.ndarray:
        """Fill norms (records, paths) with |w|^2 and return the final w (paths, d)."""
        every = self.case.steps // self.case.records
        for record in range(self.case.records):
            for _ in range(every):
                rng.standard_normal(out=self.z)
                self.step(self.z)
            np.einsum("ip,ip->p", self.w, self.w, out=norms[record])
        return self.w.T


def _slabs(paths: int, d: int, threads: int) -> list[slice]:
    size = max(1, min(SLAB * 16 // d, -(-paths // threads)))
    return [slice(i, min(i + size, paths)) for i in range(0, paths, size)]


def normalised_sde(case: NormalisedSDE, threads: int = 2) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """W2, W3: run() -> (|w|^2 (paths, records), final w (paths, d))."""
    slabs = _slabs(*case.w0.shape, threads)

    def run() -> tuple[np.ndarray, np.ndarray]:
        streams = np.random.SeedSequence(7).spawn(len(slabs))
        norms = np.empty((case.records, len(case.w0)))
        final = np.empty_like(case.w0)

        def go(slab: slice, stream: np.random.SeedSequence) -> None:
            rng = np.random.Generator(np.random.SFC64(stream))
            part = np.empty((case.records, slab.stop - slab.start))
            final[slab] = EulerMaruyama(case, case.w0[slab]).run(rng, part)
            norms[:, slab] = part

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(go, slabs, streams))
        return norms.T, final

    return run


def descend(w: np.ndarray, target: np.ndarray, lr: float, steps: int) -> np.ndarray:
    """Descend 1/2 ||w_3 w_2 w_1 - target||^2 in place, by batched products; w (3, members, n, n)."""
    one, two, three = w
    product, residual, back, change = (np.empty_like(one) for _ in range(4))
    for _ in range(steps):
        np.matmul(two, one, out=product)
        np.matmul(three, product, out=residual)
        residual -= target
        np.matmul(three.transpose(0, 2, 1), residual, out=back)
        np.matmul(residual, product.transpose(0, 2, 1), out=change)
        change *= lr
        three -= change
        np.matmul(back, one.transpose(0, 2, 1), out=change)
        np.matmul(two.transpose(0, 2, 1), back, out=product)
        change *= lr
        two -= change
        product *= lr
        one -= product
    return w


def descent(case: Descent, threads: int = 2) -> Callable[[], np.ndarray]:
    """W1b: run() -> final layers (members, 3, n, n)."""
    parts = [p for p in np.array_split(case.starts, threads) if len(p)]

    def go(part: np.ndarray) -> np.ndarray:
        layers = np.array(part.transpose(1, 0, 2, 3), order="C")
        return descend(layers, case.target, case.lr, case.steps).transpose(1, 0, 2, 3)

    def run() -> np.ndarray:
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(go, parts)))

    return run
