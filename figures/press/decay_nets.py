"""Nets under weight decay and what stands in for it: training seen at chosen steps, replaying learning rates."""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import networks
from sdetheory.predictions import exponential_lr


class Snapshots:
    """Instrument: the parameters before the steps `every`, as `weights` (E, T, P)."""

    def __init__(self, every: np.ndarray) -> None:
        self.every, self._seen = frozenset(np.asarray(every).tolist()), []

    def see(self, step: networks.Step) -> None:
        """Keep them."""
        self._seen.append(step.before.copy())

    def reading(self) -> dict[str, np.ndarray]:
        """One array."""
        return {"weights": np.stack(self._seen, axis=1)}


def seen_at(marks: np.ndarray, net: Any, data: Any, **settings: Any) -> np.ndarray:
    """Parameters (E, T, P) at the steps `marks`, the last of which ends the run."""
    steps = int(marks[-1])
    run = networks.train(
        net, data, steps=steps, record_every=steps, instruments=[Snapshots(marks[:-1])], **settings
    )
    return np.concatenate([run.readings["snapshots"]["weights"], run.final[:, None]], axis=1)


def with_buffers(net: Any, start: np.ndarray, first: np.ndarray) -> networks.TrainingState:
    """State of heavy ball whose buffer is `first` (E, G), group by group, times the start (E, P)."""
    memory, empty = np.zeros((len(start), 1, net.size)), np.zeros((len(start), 0))
    for group, factors in zip(net.groups(), first.T, strict=True):
        for a, b in group.segments:
            memory[:, 0, a:b] = factors[:, None] * start[:, a:b]
    return networks.TrainingState(memory, np.ones((len(start), 2)), empty, empty)


def accuracies(net: Any, weights: np.ndarray, data: Any) -> np.ndarray:
    """Share of the data told rightly: weights (E, ..., P), result (E, ...)."""
    flat = weights.reshape(-1, weights.shape[-1])
    return networks.evaluate(net, flat, data)[1].reshape(weights.shape[:-1])


def units(net: Any, weights: np.ndarray) -> np.ndarray:
    """The scale-invariant weights of nets (..., P), every neuron divided by its norm: (..., neurons' weights)."""
    groups = [group for group in net.groups("neuron") if group.scale_invariant]
    rows = [group.select(weights) for group in groups]
    return np.concatenate([row / np.linalg.norm(row, axis=-1, keepdims=True) for row in rows], axis=-1)


class Replay(NamedTuple):
    """Learning rates (T,) that without decay do what decay does, and the buffer's start over the start."""

    lr: np.ndarray
    first: float


def replay(lr: np.ndarray, weight_decay: float, momentum: float = 0.0) -> Replay:
    """For heavy ball with the lr outside the buffer, exact under any schedule lr (T,) (A17, A18, A20)."""
    root = exponential_lr.exponential_lr_root(lr=lr[0], weight_decay=weight_decay, momentum=momentum)
    first = float(exponential_lr.exponential_lr_buffer(lr=lr[0], root=root))
    rates, product = np.empty(len(lr)), 1.0
    for t, now in enumerate(lr):
        if t:
            root = exponential_lr.tapered_root(
                root=root, lr=now, lr_ratio=now / lr[t - 1], weight_decay=weight_decay, momentum=momentum
            )
        rates[t] = exponential_lr.exponential_lr(t=0, lr=now / product**2, root=root)
        product *= float(root)
    return Replay(rates, first)
