"""SGD with weight decay on an ensemble of networks, measured at every step.

w <- (1 - lr wd) w - lr g with g the gradient of the batch loss, for every trainable parameter of every net.
Nets run in chunks that stay in the processor's cache for all their steps, chunks on threads; a net's numbers
do not depend on chunk, threads or on the other nets.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, repeat
from threading import Event

import numpy as np
from tqdm import tqdm

from sdetheory import checks
from sdetheory.networks import kernels, provenance
from sdetheory.networks.blas import one_thread
from sdetheory.networks.data import Data
from sdetheory.networks.groups import segment_table
from sdetheory.networks.network import Network, cross_entropy
from sdetheory.networks.rates import Rate, per_step
from sdetheory.networks.record import TrainingRecord
from sdetheory.networks.streams import BLOCK, batches

_CACHE_BYTES = 2_000_000
_LARGEST_CHUNK = 64


def train(
    net: Network,
    data: Data,
    *,
    lr: Rate,
    weight_decay: Rate = 0.0,
    steps: int,
    batch_size: int | None = 32,
    label_noise: float = 0.0,
    seeds: int | Sequence[int] | np.ndarray = 1,
    init_scale: float | np.ndarray = 1.0,
    start: np.ndarray | None = None,
    first_step: int = 0,
    record_every: int | Sequence[int] | np.ndarray = 1,
    by: str = "layer",
    threads: int | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> TrainingRecord:
    """Train E nets for `steps` steps of SGD with weight decay; see `TrainingRecord` for what comes back.

    seeds: a number E (seeds 0 .. E-1), or one seed a net; a net's start and batches depend on its seed alone.
    lr, weight_decay: a number, a callable step -> value, or an array with one value a step, (steps,), one a
        net, (E, 1), or both, (E, steps): a scan over (lr, weight_decay, init_scale) is one ensemble.
    batch_size: examples a batch, drawn with replacement; each label is replaced by a uniform one with
        probability label_noise, anew at each step. None is gradient descent: every example in every step.
    init_scale: factor of He's start, one number or one a net; start, (E, P), replaces the start.
    first_step: number of the first step; with start = record.final a run goes on bitwise as if never stopped.
    record_every: spacing of the records, or the steps themselves; by: norms per "layer" or per "neuron".
    Raises ValueError before work on bad arguments; Diverged if every net left the finite numbers (else they
    are marked).
    """
    members = _members(seeds)
    steps, first = checks.integer("steps", steps, 1), checks.integer("first_step", first_step)
    _check_data(net, data, batch_size, label_noise)
    groups = tuple(group for group in net.groups(by) if not group.frozen)
    run = _Run(
        net, data, members, per_step("lr", lr, len(members), first, steps),
        per_step("weight_decay", weight_decay, len(members), first, steps),
        first, steps, None if batch_size is None else int(batch_size), float(label_noise), _marks(record_every, steps),
        segment_table(groups), Event(),
    )  # fmt: skip
    parameters = _start(net, members, init_scale, start)
    workers = os.cpu_count() or 1 if threads is None else checks.integer("threads", threads, 1)
    size = run.chunk_size(workers) if chunk is None else checks.integer("chunk", chunk, 1)
    out = run.room(len(groups))
    bar = tqdm(total=len(members) * (steps + 1), unit="net-step", disable=None if progress else True)
    parts = [slice(a, min(a + size, len(members))) for a in range(0, len(members), size)]
    # One BLAS thread each: with more, sums would depend on their number, and small products run slower.
    with bar, one_thread(), ThreadPoolExecutor(workers) as pool:
        try:
            list(pool.map(lambda part: run(part, parameters[part], bar.update, out), parts))
        finally:
            run.stop.set()  # an interrupt ends the threads at their next block
    if (out["failed"] >= 0).all():
        step = int(out["failed"].max())
        raise checks.Diverged(step, step, "every net did; reduce lr, or start from a smaller effective lr")
    return run.record(groups, parameters, out, provenance.how(run, init_scale if start is None else "given"))


@dataclass(frozen=True)
class _Run:
    """What all chunks of one call share; calling it trains the nets of one chunk in place."""

    net: Network
    data: Data
    seeds: np.ndarray
    lr: np.ndarray
    weight_decay: np.ndarray
    first: int
    steps: int
    batch_size: int | None
    label_noise: float
    marks: np.ndarray
    segments: np.ndarray
    stop: Event

    def room(self, groups: int) -> dict[str, np.ndarray]:
        """Empty result arrays for all nets."""
        nets, times = len(self.seeds), len(self.marks)
        sizes = {"moments": (groups, 3), "sums": (groups, 4), "loss": (), "accuracy": (), "loss_sum": ()}
        out = {name: np.zeros((nets, times, *size)) for name, size in sizes.items()}
        return {**out, "failed": np.full(nets, -1)}

    def chunk_size(self, threads: int) -> int:
        """Nets a chunk: their weights, gradients and activations in a few MB, and work for every thread."""
        fitting = _CACHE_BYTES // (8 * (2 * self.net.size + (self.batch_size or len(self.data)) * self.net.kept))
        return int(min(max(fitting, 1), _LARGEST_CHUNK, -(-len(self.seeds) // threads)))

    def __call__(self, part: slice, w: np.ndarray, advance: Callable, out: dict[str, np.ndarray]) -> None:
        """Train the nets `part` from parameters w, in place; write their rows of the result arrays."""
        mine = {name: values[part] for name, values in out.items()}
        with np.errstate(all="ignore"):  # a diverging net is marked, not warned about
            for count in self._descend(part, w, mine):
                advance(count)
                if self.stop.is_set():
                    return

    def _descend(self, part: slice, w: np.ndarray, out: dict[str, np.ndarray]) -> Iterator[int]:
        """The loop over steps; step number `steps` measures the final state and moves nothing."""
        net, (nets, _, groups, _) = self.net, out["moments"].shape
        g = np.zeros_like(w)
        bound, into = net.bind(w), net.bind(g)
        moments, sums, loss_sum = np.empty((nets, groups, 3)), np.zeros((nets, groups, 4)), np.zeros(nets)
        mark = 0
        for begin, end in _pieces(self.first, self.first + self.steps + 1):
            batches = self._batches(part, begin, end)
            lr, weight_decay = self._rates(part, begin, end)
            for s in range(end - begin):
                inputs, labels, truth = next(batches)
                logits, caches = net.forward(bound, inputs)
                loss, accuracy, dy = cross_entropy(logits, labels, truth)
                net.backward(bound, into, caches, dy)
                if recording := mark < len(self.marks) and begin + s == self.first + self.marks[mark]:
                    out["loss"][:, mark], out["accuracy"][:, mark] = loss, accuracy
                    out["sums"][:, mark], out["loss_sum"][:, mark] = sums, loss_sum
                    sums[:], loss_sum[:] = 0.0, 0.0
                kernels.descend(w, g, self.segments, lr[s], weight_decay[s], moments, sums)
                loss_sum += loss
                if recording:
                    out["moments"][:, mark] = moments
                    mark += 1
                if not np.isfinite(loss).all():
                    out["failed"][~np.isfinite(loss) & (out["failed"] < 0)] = begin + s
            yield (end - begin) * nets

    def _batches(self, part: slice, begin: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Inputs (nets or 1, batch, F), labels and true labels (nets, batch) of steps begin .. end - 1."""
        data, members = self.data, self.seeds[part]
        if self.batch_size is None:
            labels = np.repeat(data.labels[None], len(members), axis=0)
            yield from repeat((data.inputs[None], labels, labels), end - begin)
            return
        settings = (begin, end, self.batch_size, self.label_noise)
        drawn = [batches(data.labels, data.classes, int(seed), *settings) for seed in members]
        indices, labels = (np.stack([d[i] for d in drawn], axis=1) for i in range(2))
        for now, given in zip(indices, labels, strict=True):
            yield data.inputs.take(now, axis=0), given, data.labels.take(now)

    def _rates(self, part: slice, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """lr and weight decay of steps begin .. end - 1, (steps, nets); 0 after the last step."""
        here = slice(begin - self.first, end - self.first)
        out = np.zeros((2, end - begin, len(self.seeds[part])))
        for rows, rate in zip(out, (self.lr, self.weight_decay), strict=True):
            values = rate[part, here].T
            rows[: len(values)] = values
        return out[0], out[1]

    def record(self, groups, parameters, out, how) -> TrainingRecord:
        """The result arrays as a record."""
        last = np.minimum(self.marks, self.steps - 1)
        windows = np.diff(self.marks, prepend=self.marks[0]).astype(np.float64)
        windows[0] = np.nan
        fields = ("squared_norm", "squared_gradient", "radial")
        sums = ("spherical_sum", "correction_sum", "growth_sum", "leak_sum")
        return TrainingRecord(
            steps=self.first + self.marks, groups=groups, seeds=self.seeds,
            lr=self.lr[:, last], weight_decay=self.weight_decay[:, last],
            **{name: out["moments"][..., i] for i, name in enumerate(fields)},
            **{name: out["sums"][..., i] for i, name in enumerate(sums)},
            loss=out["loss"], accuracy=out["accuracy"], loss_mean=out["loss_sum"] / windows,
            final=parameters, diverged=out["failed"] >= 0, diverged_step=out["failed"], how=how,
        )  # fmt: skip


def _members(seeds: int | Sequence[int] | np.ndarray) -> np.ndarray:
    if np.ndim(seeds) == 0:
        return np.arange(checks.integer("seeds", seeds, 1), dtype=np.int64)
    members = [checks.integer(f"seeds[{i}]", seed) for i, seed in enumerate(np.asarray(seeds).tolist())]
    if not members:
        raise ValueError("`seeds` must not be empty: seeds=[]")
    return np.array(members, dtype=np.int64)


def _check_data(net: Network, data: Data, batch_size: int | None, label_noise: float) -> None:
    """The data fit the network, and the batch the data."""
    checks.shape("data.inputs", data.inputs, (None, net.inputs))
    if data.classes > net.classes:
        raise ValueError(
            f"`data` must have labels below the network's {net.classes} classes: it has {data.classes}"
        )
    if batch_size is not None and checks.integer("batch_size", batch_size, 2 if net.normalises else 1) > len(data):
        raise ValueError(
            f"`batch_size` must not exceed the data: batch_size={batch_size}, {len(data)} examples"
        )
    if checks.nonnegative("label_noise", label_noise) > 1:
        raise ValueError(f"`label_noise` must be a probability: label_noise={label_noise}")
    if label_noise and batch_size is None:
        raise ValueError(f"`label_noise` must be 0 with batch_size=None, which draws nothing: {label_noise}")


def _start(
    net: Network, members: np.ndarray, init_scale: float | np.ndarray, start: np.ndarray | None
) -> np.ndarray:
    if start is not None:
        return checks.shape("start", checks.finite("start", start), (len(members), net.size)).copy()
    return net.start(members, init_scale)


def _marks(record_every: int | Sequence[int] | np.ndarray, steps: int) -> np.ndarray:
    """Recorded steps, counted from the start of this call, int64."""
    if np.ndim(record_every) == 0:
        every = checks.integer("record_every", record_every, 1)
        return np.unique(np.append(np.arange(0, steps + 1, every), steps))
    marks = checks.increasing("record_every", record_every)
    if (marks != np.rint(marks)).any() or marks[-1] > steps:
        raise ValueError(f"`record_every` must hold whole steps in 0 .. {steps}: record_every={marks}")
    return marks.astype(np.int64)


def _pieces(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Cut first .. last at the borders of the blocks of random numbers."""
    borders = [first, *range((first // BLOCK + 1) * BLOCK, last, BLOCK), last]
    yield from pairwise(borders)
