"""torch: batched products (`bmm`) of the whole ensemble, a chunk of members at a time; no graph is recorded."""

from collections.abc import Callable

import numpy as np
import torch

from ..workloads import Descent


@torch.inference_mode()
def descend(w: torch.Tensor, target: torch.Tensor, lr: float, steps: int) -> torch.Tensor:
    """Descend 1/2 ||w_N ... w_1 - target||^2 in place; w (N, members, n, n)."""
    depth = len(w)
    ahead, back, turned, change = torch.empty_like(w), *(torch.empty_like(w[0]) for _ in range(3))
    for _ in range(steps):
        product = w[0]
        for j in range(1, depth):
            product = torch.bmm(w[j], product, out=ahead[j])
        torch.sub(product, target, out=back)
        for j in range(depth - 1, 0, -1):
            torch.bmm(back, (ahead[j - 1] if j > 1 else w[0]).transpose(1, 2), out=change)
            torch.bmm(w[j].transpose(1, 2), back, out=turned)
            w[j].sub_(change, alpha=lr)
            back, turned = turned, back
        w[0].sub_(back, alpha=lr)
    return w


def descent(case: Descent, threads: int = 2, chunk: int | None = None) -> Callable[[], np.ndarray]:
    """W1b: run() -> final layers (members, N, n, n), `chunk` members at a time (all)."""
    torch.set_num_threads(threads)
    target = torch.as_tensor(case.target)
    parts = np.array_split(case.starts, -(-len(case.starts) // (chunk or len(case.starts))))

    def go(part: np.ndarray) -> np.ndarray:
        layers = torch.as_tensor(np.array(part.transpose(1, 0, 2, 3), order="C"))
        return descend(layers, target, case.lr, case.steps).numpy().transpose(1, 0, 2, 3)

    return lambda: np.concatenate([go(part) for part in parts])
