"""One training run: the loop over steps of a chunk of nets, and the arrays it fills."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, repeat
from threading import Event
from typing import Any

import numpy as np

from sdetheory.dynamics.coordinatewise import PlainStep
from sdetheory.networks import kernels
from sdetheory.networks.data import Data
from sdetheory.networks.descent import Descent
from sdetheory.networks.dots import GroupDot
from sdetheory.networks.groups import Group
from sdetheory.networks.instruments import Step, parts, watching
from sdetheory.networks.network import Network, cross_entropy
from sdetheory.networks.record import TrainingRecord
from sdetheory.networks.replay import RateOfStep
from sdetheory.networks.rescaling import Rescaler
from sdetheory.networks.state import TrainingState
from sdetheory.networks.streams import BLOCK, batches

_CACHE_BYTES = 2_000_000
_LARGEST_CHUNK = 64


@dataclass(frozen=True)
class Run:
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
    groups: tuple[Group, ...]
    segments: np.ndarray
    descent: Descent
    rescaler: Rescaler | None
    instruments: tuple[Any, ...]
    follow: RateOfStep | None
    stop: Event

    @property
    def plain(self) -> bool:
        """Is it SGD at one rate for all groups, which has a kernel of its own?"""
        return isinstance(self.descent.rule, PlainStep) and self.lr.ndim == 2 and self.weight_decay.ndim == 2

    def room(self) -> dict[str, np.ndarray]:
        """Empty result arrays for all nets."""
        nets, times, groups = len(self.seeds), len(self.marks), len(self.groups)
        rescaled = 0 if self.rescaler is None else len(self.rescaler.groups)
        sizes: dict[str, tuple[int, ...]] = {
            "moments": (groups, 3), "sums": (groups, 4), "loss": (), "accuracy": (), "loss_sum": (),
            "log_divisor": (rescaled,),
        }  # fmt: skip
        out = {name: np.zeros((nets, times, *size)) for name, size in sizes.items()}
        return {**out, "failed": np.full(nets, -1)}

    def chunk_size(self, threads: int) -> int:
        """Nets a chunk: their weights, gradients and activations in a few MB, and work for every thread."""
        floats = 2 * self.net.size + (self.batch_size or len(self.data)) * self.net.kept
        fitting = _CACHE_BYTES // (8 * (floats + len(self.descent.rule.buffers) * self.net.size))
        return int(min(max(fitting, 1), _LARGEST_CHUNK, -(-len(self.seeds) // threads)))

    def __call__(
        self, part: slice, w: np.ndarray, state: TrainingState, advance: Callable, out: dict[str, np.ndarray]
    ) -> list[Any]:
        """Train the nets `part` from parameters w and state, in place; write their rows of the result arrays.

        Gives the instruments that watched them.
        """
        mine = {name: values[part] for name, values in out.items()}
        instruments = parts(self.instruments, part)
        with np.errstate(all="ignore"):  # a diverging net is marked, not warned about
            for count in self._descend(part, w, state, instruments, mine):
                advance(count)
                if self.stop.is_set():
                    break
        return instruments

    def _descend(
        self, part: slice, w: np.ndarray, state: TrainingState, instruments: list[Any], out: dict[str, np.ndarray]
    ) -> Iterator[int]:
        """The loop over steps; step number `steps` measures the final state and moves nothing."""
        net, (nets, _, groups, _) = self.net, out["moments"].shape
        g = np.zeros_like(w)
        bound, into = net.bind(w), net.bind(g)
        moments, sums, loss_sum = np.empty((nets, groups, 3)), np.zeros((nets, groups, 4)), np.zeros(nets)
        mark, last = 0, self.first + self.steps
        for begin, end in _pieces(self.first, last + 1):
            batches = self._batches(part, begin, end)
            rates = self._rates(part, begin, end)
            for s in range(begin, end):
                inputs, labels, truth = next(batches)
                logits, caches = net.forward(bound, inputs)
                loss, accuracy, dy = cross_entropy(logits, labels, truth)
                net.backward(bound, into, caches, dy)
                if recording := mark < len(self.marks) and s == self.first + self.marks[mark]:
                    out["loss"][:, mark], out["accuracy"][:, mark] = loss, accuracy
                    out["sums"][:, mark], out["loss_sum"][:, mark] = sums, loss_sum
                    out["log_divisor"][:, mark] = state.log_divisor
                    sums[:], loss_sum[:] = 0.0, 0.0
                lr, weight_decay = rates[0][s - begin], rates[1][s - begin]
                if self.follow is not None and s < last:
                    lr = self.lr[part, s - self.first] = self.follow(s, part, w)
                watched = watching(instruments, s) if instruments and s < last else ()
                before = w.copy() if watched else w
                if self.plain or s == last:
                    kernels.descend(w, g, self.segments, lr, weight_decay, moments, sums)
                else:
                    memory = state.memory, state.powers
                    self.descent.step(w, g, *memory, self.segments, lr, weight_decay, moments, sums)
                if self.rescaler is not None and s < last and self.rescaler.due(s):
                    self.rescaler.apply(w, state.memory, state.targets, state.log_divisor)
                if watched:
                    shown = [self._shown(*pair, w) for pair in ((self.lr, lr), (self.weight_decay, weight_decay))]
                    for instrument in watched:
                        instrument.see(Step(s, before, g, w, shown[0], shown[1], loss))
                loss_sum += loss
                if recording:
                    out["moments"][:, mark] = moments
                    mark += 1
                if not np.isfinite(loss).all():
                    out["failed"][~np.isfinite(loss) & (out["failed"] < 0)] = s
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

    def _rates(self, part: slice, begin: int, end: int) -> list[list[np.ndarray]]:
        """lr and weight decay of steps begin .. end - 1, each (nets,) or (nets, groups); 0 after the last step."""
        here, out = slice(begin - self.first, end - self.first), []
        nets, groups = len(self.seeds[part]), len(self.groups)
        for rate in (self.lr, self.weight_decay):
            values = np.moveaxis(rate[part, here], 1, 0)
            if not self.plain:
                values = np.broadcast_to(np.atleast_3d(values), (*values.shape[:2], groups))
            after = [np.zeros(nets)] * (end - begin - len(values))
            out.append([*np.ascontiguousarray(values), *after])
        return out

    def _shown(self, given: np.ndarray, rate: np.ndarray, w: np.ndarray) -> np.ndarray:
        """A rate (nets,) or (nets, groups) of a step as instruments see it: (nets,) or one a parameter, (nets, P)."""
        if given.ndim == 2 or rate.shape[-1] == 1:
            return rate if rate.ndim == 1 else rate[:, 0]
        return GroupDot(self.groups).spread(rate, w.shape[1])

    def record(self, parameters, state, out, readings, how) -> TrainingRecord:
        """The result arrays as a record."""
        last = np.minimum(self.marks, self.steps - 1)
        windows = np.diff(self.marks, prepend=self.marks[0]).astype(np.float64)
        windows[0] = np.nan
        fields = ("squared_norm", "squared_gradient", "radial")
        sums = ("spherical_sum", "correction_sum", "growth_sum", "leak_sum")
        return TrainingRecord(
            steps=self.first + self.marks, groups=self.groups, seeds=self.seeds,
            lr=self.lr[:, last], weight_decay=self.weight_decay[:, last],
            **{name: out["moments"][..., i] for i, name in enumerate(fields)},
            **{name: out["sums"][..., i] for i, name in enumerate(sums)},
            loss=out["loss"], accuracy=out["accuracy"], loss_mean=out["loss_sum"] / windows,
            final=parameters, state=state, readings=readings,
            rescaled=() if self.rescaler is None else self.rescaler.groups, log_divisor=out["log_divisor"],
            diverged=out["failed"] >= 0, diverged_step=out["failed"], how=how,
        )  # fmt: skip


def _pieces(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Cut first .. last at the borders of the blocks of random numbers."""
    borders = [first, *range((first // BLOCK + 1) * BLOCK, last, BLOCK), last]
    yield from pairwise(borders)
