"""SGD of networks on a sphere: fixed effective lr for all weights that a normalisation follows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from sdetheory import checks
from sdetheory.networks.data import Data
from sdetheory.networks.network import Network
from sdetheory.networks.streams import BLOCK, batches
from sdetheory.networks.training import _check_data, _members


@dataclass(frozen=True)
class SphereRecord:
    """E nets, T recorded steps.

    steps (T,): recorded steps; final (E, P): parameters, the trained ones of norm 1; loss_mean (E, T): mean loss of
    the batches since the record before (NaN at the first); squared_gradient (E, T): that of |gradient|^2 on the
    sphere.
    """

    steps: np.ndarray
    final: np.ndarray
    loss_mean: np.ndarray
    squared_gradient: np.ndarray


def train_on_sphere(
    net: Network,
    data: Data,
    *,
    effective_lr: float | Sequence[float] | np.ndarray,
    steps: int,
    batch_size: int = 32,
    seeds: int | Sequence[int] | np.ndarray = 1,
    start: np.ndarray | None = None,
    first_step: int = 0,
    record_every: int = 1,
    progress: bool = False,
) -> SphereRecord:
    """v' = x/|x|, x = v - effective_lr g: v all trained weights of a net as one unit vector, g the batch gradient.

    Every trained weight must be scale invariant (followed by a normalisation).  effective_lr: a number or one a
    net, (E,); seeds, start, first_step as in `train`, with the same starts (divided by their norm) and batches.
    Raises ValueError on bad arguments.
    Source: M. Kodryan et al. (2022), Training scale-invariant neural networks on the sphere can happen in three
    regimes, section 3.
    """
    members, mine = _members(seeds), _trained(net)
    _check_data(net, data, batch_size, 0.0)
    speed = np.broadcast_to(checks.finite("effective_lr", effective_lr), len(members))[:, None]
    if (speed < 0).any():
        raise ValueError(f"`effective_lr` must not be negative: effective_lr={speed.min()}")
    steps, first = checks.integer("steps", steps, 1), checks.integer("first_step", first_step)
    every = checks.integer("record_every", record_every, 1)
    parameters = net.start(members) if start is None else checks.finite("start", start).copy()
    checks.shape("start", parameters, (len(members), net.size))
    parameters[:, mine] = _unit(parameters[:, mine])
    marks, rows = np.unique(np.append(np.arange(0, steps + 1, every), steps)), []
    sums = np.zeros((2, len(members)))
    with threadpool_limits(1, "blas"), tqdm(total=steps, unit="step", disable=not progress) as bar:
        for step in range(steps):
            if step % BLOCK == 0:
                indices, labels = _batches(data, members, first + step, min(BLOCK, steps - step), batch_size)
            here = step % BLOCK
            loss, gradient = net.gradient(parameters, data.inputs[indices[here]], labels[here])
            g = gradient[:, mine]
            sums += loss, np.einsum("ep,ep->e", g, g)
            parameters[:, mine] = _unit(parameters[:, mine] - speed * g)
            if (step + 1) in marks:
                rows.append(sums.copy())
                sums[:] = 0.0
            bar.update()
    means = np.array(rows).transpose(1, 2, 0) / np.diff(marks)
    loss, square = (np.concatenate([np.full((len(members), 1), np.nan), mean], axis=1) for mean in means)
    return SphereRecord(first + marks, parameters, loss, square)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def _trained(net: Network) -> np.ndarray:
    """Which parameters are trained, (P,) of truth values; ValueError if one of them is not scale invariant."""
    probe, mine = np.arange(net.size)[None], np.zeros(net.size, dtype=bool)
    for group in net.groups():
        if group.frozen:
            continue
        if not group.scale_invariant:
            raise ValueError(f"`net` must be scale invariant in every trained group: {group.name} is not")
        mine[group.select(probe)[0]] = True
    return mine


def _batches(data: Data, members: np.ndarray, first: int, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Examples and labels of `count` steps, (count, nets, batch)."""
    drawn = [batches(data.labels, data.classes, int(seed), first, first + count, size) for seed in members]
    return np.stack([d[0] for d in drawn], axis=1), np.stack([d[1] for d in drawn], axis=1)
