"""The workloads W1, W1b, W2 and W3 as plain arrays and numbers: what the candidate and every peer compute."""

from typing import NamedTuple

import numpy as np


class Flow(NamedTuple):
    """Gradient flow of 1/2 ||W_N ... W_1 - target||^2 from `starts` (members, N, n, n) to time `end`."""

    target: np.ndarray
    starts: np.ndarray
    end: float
    rtol: float
    atol: float

    def part(self, share: float) -> "Flow":
        """The same flow for a share of the members."""
        return self._replace(starts=self.starts[: max(2, round(share * len(self.starts)))])

    @property
    def size(self) -> float:
        return float(len(self.starts))


class Descent(NamedTuple):
    """`steps` steps of gradient descent on the same loss, all members at once."""

    target: np.ndarray
    starts: np.ndarray
    lr: float
    steps: int

    def part(self, share: float) -> "Descent":
        """The same descent for a share of the steps."""
        return self._replace(steps=max(1, round(share * self.steps)))

    @property
    def size(self) -> float:
        return float(self.steps)


class NormalisedSDE(NamedTuple):
    """Euler-Maruyama for dW = -lr wd W dt - lr grad L dt + lr sigma P dB/|W|, L = W^T diag(a) W/|W|^2.

    w0 (paths, d); |W|^2 is wanted at `records` equally spaced times, the last one being the end.
    """

    a: np.ndarray
    w0: np.ndarray
    lr: float
    weight_decay: float
    sigma: float
    dt: float
    steps: int
    records: int

    def part(self, share: float) -> "NormalisedSDE":
        """The same ensemble for a share of the steps, recorded as often per step."""
        every = self.steps // self.records
        records = max(1, round(share * self.records))
        return self._replace(steps=records * every, records=records)

    @property
    def size(self) -> float:
        return float(self.steps)

    @property
    def normals(self) -> float:
        """Normal variates one run consumes."""
        return float(self.w0.size) * self.steps


def _target(rng: np.random.Generator, n: int) -> np.ndarray:
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    return np.ascontiguousarray(left * np.linspace(0.5, 2.0, n) @ right)


def _starts(rng: np.random.Generator, members: int, n: int, depth: int) -> np.ndarray:
    """Gaussian layers, smaller for few layers, so that their product is about as large at any depth."""
    return 0.5 ** (3 / depth) / np.sqrt(n) * rng.standard_normal((members, depth, n, n))


def flow(members: int, n: int = 10, end: float = 50.0, depth: int = 3) -> Flow:
    """W1: `depth` n x n layers, rtol 1e-8, atol 1e-10."""
    rng = np.random.default_rng(101)
    return Flow(_target(rng, n), _starts(rng, members, n, depth), end, 1e-8, 1e-10)


def descent(members: int, steps: int, n: int = 10, depth: int = 3) -> Descent:
    """W1b: the model of W1 trained by gradient descent with lr = 0.01."""
    rng = np.random.default_rng(102)
    return Descent(_target(rng, n), _starts(rng, members, n, depth), 0.01, steps)


def normalised_sde(
    d: int, paths: int, steps: int, records: int, lr: float = 0.1, weight_decay: float = 0.01
) -> NormalisedSDE:
    """W2 and W3: started at twice the equilibrium norm, trace of the noise 3.75 for every d."""
    rng = np.random.default_rng(103)
    trace = 3.75
    direction = rng.standard_normal((paths, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    norm = 2.0 * (lr * trace / (2.0 * weight_decay)) ** 0.25
    sigma = float(np.sqrt(trace / (d - 1)))
    return NormalisedSDE(np.linspace(0.0, 0.05, d), norm * direction, lr, weight_decay, sigma, 1.0, steps, records)


Workload = Flow | Descent | NormalisedSDE
TITLES = {
    "W1": "deep-linear gradient flow, depth 3, 10x10, t=50, 256 starts, rtol 1e-8",
    "W1b": "deep-linear gradient descent, depth 3, 10x10, 256 members, 1e5 steps",
    "W2": "normalised-net SDE, d=16, 4096 paths, 1e4 Euler-Maruyama steps",
    "W3": "normalised-net SDE, d=1000, 64 paths, 1e4 Euler-Maruyama steps",
}


def workload(name: str, size: str = "full") -> Workload:
    """The workload `name` at `size`: "full" (timed), "check" (peers compared) or "tiny" (tests)."""
    full, check = size == "full", size == "check"
    if name == "W1":
        return flow(256) if full else flow(12) if check else flow(3, n=3, end=4.0)
    if name == "W1b":
        return descent(256, 100_000) if full else descent(64, 400) if check else descent(3, 20, n=3)
    if name == "W2":
        if full:
            return normalised_sde(16, 4096, 10_000, 100)
        return normalised_sde(16, 4096, 200, 4, weight_decay=0.05) if check else normalised_sde(4, 6, 8, 2)
    if name == "W3":
        if full:
            return normalised_sde(1000, 64, 10_000, 100)
        return normalised_sde(1000, 64, 100, 4, weight_decay=0.05) if check else normalised_sde(33, 4, 8, 2)
    raise ValueError(f"`name` must be one of {', '.join(TITLES)}: name={name!r}")
