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
    """Descend 1/2 ||w_N ... w_1 - target||^2 in place, by batched products; w (N, members, n, n)."""
    depth = len(w)
    ahead, back, turned, change = np.empty_like(w), np.empty_like(w[0]), np.empty_like(w[0]), np.empty_like(w[0])
    for _ in range(steps):
        product = w[0]
        for j in range(1, depth):
            product = np.matmul(w[j], product, out=ahead[j])
        back, product = product, back
        back -= target
        for j in range(depth - 1, 0, -1):
            np.matmul(back, (ahead[j - 1] if j > 1 else w[0]).transpose(0, 2, 1), out=change)
            np.matmul(w[j].transpose(0, 2, 1), back, out=turned)
            change *= lr
            w[j] -= change
            back, turned = turned, back
        back *= lr
        w[0] -= back
    return w


def descend_members_last(w: np.ndarray, target: np.ndarray, lr: float, steps: int) -> np.ndarray:
    """The same for w (N, n, n, members): for small matrices, whose products are then loops over members."""

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.einsum("ikm,kjm->ijm", a, b)

    for _ in range(steps):
        ahead = [w[0]]
        for layer in w[1:]:
            ahead.append(product(layer, ahead[-1]))
        back = ahead.pop() - target[:, :, None]
        for layer in w[:0:-1]:
            change = product(back, ahead.pop().swapaxes(0, 1))
            back = product(layer.swapaxes(0, 1), back)
            layer -= lr * change
        w[0] -= lr * back
    return w


def descent(
    case: Descent, threads: int = 2, chunk: int | None = None, members_last: bool = False
) -> Callable[[], np.ndarray]:
    """W1b: run() -> final layers (members, N, n, n), `chunk` members at a time (all that a thread has)."""
    members = len(case.starts)
    count = max(threads, -(-members // (chunk or members)))
    parts = [p for p in np.array_split(case.starts, count) if len(p)]
    go_to, go_back = ((1, 2, 3, 0), (3, 0, 1, 2)) if members_last else ((1, 0, 2, 3), (1, 0, 2, 3))
    advance = descend_members_last if members_last else descend

    def go(part: np.ndarray) -> np.ndarray:
        layers = np.array(part.transpose(go_to), order="C")
        return advance(layers, case.target, case.lr, case.steps).transpose(go_back)

    def run() -> np.ndarray:
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(go, parts)))

    return run
