"""torchsde: its Euler method for Ito equations with general noise, by products, never a d x d matrix.

Double precision, two torch threads, no gradients. Brownian paths: torchsde's own `BrownianInterval`
(reproducible), and independent increments drawn on the fly, which is all that one pass over one grid needs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchsde

from ..workloads import NormalisedSDE


class Net(torch.nn.Module):
    """Drift, and noise applied to an increment, for w (paths, d)."""

    noise_type = "general"
    sde_type = "ito"

    def __init__(self, case: NormalisedSDE) -> None:
        super().__init__()
        self.case, self.a = case, torch.as_tensor(case.a)

    def f(self, t: Any, w: torch.Tensor) -> torch.Tensor:
        """The drift."""
        square = w * w
        q = square.sum(1, keepdim=True)
        s = (square @ self.a)[:, None] / q
        pull = 2.0 * self.case.lr / q
        return w * (pull * s - self.case.lr * self.case.weight_decay - pull * self.a)

    def g_prod(self, t: Any, w: torch.Tensor, increment: torch.Tensor) -> torch.Tensor:
        """The noise of one increment (paths, d)."""
        q = (w * w).sum(1, keepdim=True)
        inner = (w * increment).sum(1, keepdim=True) / q
        return self.case.lr * self.case.sigma / q.sqrt() * (increment - inner * w)


class Independent(torchsde.BaseBrownian):
    """Increments drawn afresh for every interval asked for."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self._shape = shape
        self.generator = torch.Generator().manual_seed(7)

    def __call__(self, start: Any, end: Any = None, return_U: bool = False, return_A: bool = False) -> torch.Tensor:
        z = torch.randn(self._shape, generator=self.generator, dtype=torch.float64)
        return z.mul_((float(end) - float(start)) ** 0.5)

    def __repr__(self) -> str:
        return "independent increments"

    @property
    def dtype(self) -> torch.dtype:
        """Of an increment."""
        return torch.float64

    @property
    def device(self) -> torch.device:
        """Of an increment."""
        return torch.device("cpu")

    @property
    def shape(self) -> tuple[int, int]:
        """Of an increment."""
        return self._shape

    @property
    def levy_area_approximation(self) -> str:
        """Euler needs none."""
        return "none"


def normalised_sde(
    case: NormalisedSDE, threads: int = 2, path: str = "independent"
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """W2, W3: run() -> (|w|^2 (paths, records), final w (paths, d))."""
    torch.set_num_threads(threads)
    sde, w0 = Net(case), torch.as_tensor(case.w0)
    end = case.steps * case.dt
    ts = torch.linspace(0.0, end, case.records + 1, dtype=torch.float64)

    def run() -> tuple[np.ndarray, np.ndarray]:
        if path == "independent":
            brownian: Any = Independent(case.w0.shape)
        else:
            brownian = torchsde.BrownianInterval(
                0.0, end, size=case.w0.shape, dtype=torch.float64, entropy=7, dt=case.dt
            )
        with torch.no_grad():
            states = torchsde.sdeint(sde, w0, ts, bm=brownian, method="euler", dt=case.dt)
        return (states[1:] ** 2).sum(2).T.numpy(), states[-1].numpy()

    return run
