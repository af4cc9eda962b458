"""The driver: one compiled loop over steps for every model, noise, integrator, generator and set of observers.

Paths go in blocks of W lanes; a chunk of blocks is one task of a thread pool.  Every lane is computed on its own
from its address (seed, path, step), so results are bitwise independent of threads, width, chunks and other paths.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba.extending import overload

from sdetheory.lanes.borrowed import borrowed
from sdetheory.lanes.cache import compiled
from sdetheory.lanes.parts import OPTIONS, part
from sdetheory.lanes.random import SAVED, W64, draw_coarse
from sdetheory.lanes.tag import tag
from sdetheory.lanes.translate import for_run
from sdetheory.lanes.vector import constant, float_rows, fma, lane_array, lane_arrays, load, select, store
from sdetheory.lanes.verbs import (
    channels,
    decode,
    decode_view,
    draws,
    encode,
    extra,
    measure_all,
    steps,
    substeps,
    workspace,
)

CHUNK = 4  # blocks of a task, or more of them where they are short or there is one thread
SHORT = 1 << 20  # lanes x rows x steps of a task beside which the overhead of a call does not show
CHECK = 128  # steps between two looks for non-finite states
SLICE = 1 << 26  # lanes x rows x steps of one compiled call: a fraction of a second


def record(observers: Any, w: Any, out: Any, j: int, work: Any = None) -> None:
    """out[j], out[j + 1], ... <- what each observer sees of w, channel by channel; without `work` for observers
    that need no scratch."""
    for observer in observers:
        measure_all(observer, w, out[j:], work)
        j += channels(observer)


@overload(record, jit_options=OPTIONS)
def _record(observers, w, out, j, work=None):
    if len(observers) == 0:
        return lambda observers, w, out, j, work=None: None
    if len(observers) == 1:
        return lambda observers, w, out, j, work=None: measure_all(observers[0], w, out[j:], work)

    def several(observers, w, out, j, work=None):
        measure_all(observers[0], w, out[j:], work)
        record(observers[1:], w, out, j + channels(observers[0]), work)

    return several


@part
def _mark_non_finite(y, number, status):
    """status[0] <- number in lanes that hold a non-finite value for the first time."""
    odd = even = constant(y, 0.0)  # two sums: neither waits for the other
    for i in range(y.size // 2):
        even, odd = fma(load(y, 2 * i), 0.0, even), fma(load(y, 2 * i + 1), 0.0, odd)
    zero, before = fma(load(y, y.size - 1), 0.0, even + odd), load(status, 0)
    store(status, 0, select((zero != 0.0) & (before == 0.0), 1.0 * number, before))


@part
def _at(schedule, i):
    """Value for step i: an array with one value a step, or with the one value of all steps."""
    return schedule[i] if i < schedule.size else schedule[schedule.size - 1]


@part
def _blank(out):
    """out <- 0."""
    for j in range(out.size):
        store(out, j, 0.0)


@part
def _add(weight, seen, out):
    """out <- out + weight seen, for a weight that is not zero: what does not count may be infinite."""
    if weight != 0.0:
        for j in range(seen.size):
            store(out, j, fma(load(seen, j), weight, load(out, j)))


@part
def _copy(seen, out, at):
    """out[at + j] <- seen[j]."""
    for j in range(seen.size):
        store(out, at + j, load(seen, j))


@compiled
def advance(
    tag,
    integrator,
    model,
    noise,
    generator,
    increment,
    observers,
    seed,
    coarsen,
    dt,
    lr,
    weight_decay,
    marks,
    weights,
    check,
    first,
    last,
    w0,
    path,
    y,
    saved,
    values,
    viewed,
    states,
    final,
    status,
    scratch,
    sizes,
):
    """Steps first, ..., last-1 of a chunk of blocks; writes the marks passed, and w after the last step."""
    integrator, model, noise = borrowed(integrator), borrowed(model), borrowed(noise)
    generator, increment, observers = borrowed(generator), borrowed(increment), borrowed(observers)
    lr, weight_decay, marks, sizes = borrowed(lr), borrowed(weight_decay), borrowed(marks), borrowed(sizes)
    weights, viewed = borrowed(weights), borrowed(viewed)
    w0, path, y = borrowed(w0), borrowed(path), borrowed(y)
    saved, scratch = borrowed(saved), borrowed(scratch)
    values, states, final, status = borrowed(values), borrowed(states), borrowed(final), borrowed(status)
    d, n = w0.shape[1], draws(noise, w0.shape[1])
    fine_steps = substeps(integrator)
    w, z, fine, seen, work = (
        scratch[:d],
        scratch[sizes[0] : sizes[1]],
        scratch[sizes[1] : sizes[2]],
        scratch[sizes[2] : sizes[3]],
        scratch[sizes[3] :],
    )
    shared = scratch[sizes[4] :]  # the integrator's own rows are left alone: it may remember things there
    for b in range(w0.shape[0]):
        state, words = y[b], saved[b]
        if first == 0:
            encode(integrator, w0[b], _at(lr, 0), state)
        k = 0
        while k < marks.size and marks[k] < first:
            k += 1
        i = first
        while i <= last:
            if k < marks.size and marks[k] == i:
                at = _at(lr, i - 1 if i > 0 else 0)
                _blank(values[b, k])
                for view in range(weights.size - 1, -1, -1):
                    if weights[view] != 0.0 or viewed.shape[1] > 0 or view == 0:
                        decode_view(integrator, state, at, view, w)
                        record(observers, w, seen, 0, shared)
                        _add(weights[view], seen, values[b, k])
                        if viewed.shape[1] > 0:
                            _copy(seen, viewed[b, k], view * seen.size)
                if states.shape[1] > 0:
                    for j in range(d):
                        store(states[b, k], j, load(w, j))
                k += 1
            if i == last:
                break
            count = 1
            if n > 0:
                number, address = i * fine_steps, load(path, b)
                draw_coarse(increment, generator, seed, address, number, coarsen, words, fine, z, n)
                for j in range(1, fine_steps):
                    draw_coarse(increment, generator, seed, address, number + j, coarsen, words, fine, z[j * n :], n)
            elif lr.size == 1 and weight_decay.size == 1:
                count = max(1, min(last, marks[k] if k < marks.size else last, i - i % check + check) - i)
            steps(integrator, model, noise, _at(lr, i), _at(weight_decay, i), dt, count, state, z, work)
            i += count
            if i % check == 0 or i == last:
                _mark_non_finite(state, i, status[b])
        decode(integrator, state, _at(lr, last - 1 if last > 0 else 0), w)
        for j in range(d):
            store(final[b], j, load(w, j))


# ---- from Python


@dataclass(frozen=True)
class Task:
    """What to integrate: plug-ins, address of the randomness, and the grid (steps of `dt`, marks to record)."""

    integrator: Any
    model: Any
    noise: Any
    generator: Any
    increment: Any
    observers: tuple
    seed: int
    coarsen: int
    dt: float
    lr: np.ndarray  # (steps,) or (1,)
    weight_decay: np.ndarray  # (steps,) or (1,)
    steps: int
    marks: np.ndarray  # (T,) step numbers
    keep_states: bool = False
    keep_views: bool = True

    @property
    def weights(self) -> np.ndarray:
        """(views,) what each view of the integrator counts in an observed value."""
        return np.array(getattr(self.integrator, "weights", (1.0,)), dtype=np.float64)


@dataclass(frozen=True)
class Record:
    """What came out, by path."""

    values: np.ndarray  # (columns, paths, T), a column for each channel of each observer
    views: np.ndarray  # (views, columns, paths, T), or (views, columns, paths, 0)
    states: np.ndarray  # (paths, T, d), or (paths, 0, d)
    final: np.ndarray  # (paths, d)
    status: np.ndarray  # (paths,) 0, or the number of steps after which a non-finite value was found


def automatic_width(paths: int, model: Any = None) -> int:
    """What the model prefers, or 32 lanes for ensembles, 16 for up to 64 paths: it changes speed, never results."""
    preferred = getattr(model, "preferred_width", None)
    return preferred(paths) if preferred is not None else 32 if paths > 64 else 16


def automatic_threads() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _to_blocks(rows: np.ndarray, width: int) -> np.ndarray:
    """(paths, d) -> lane array (blocks, d); the last path fills the last block."""
    blocks = -(-rows.shape[0] // width)
    if rows.shape[0] % width:
        rows = rows[np.minimum(np.arange(blocks * width), rows.shape[0] - 1)]
    out = lane_array((blocks, rows.shape[1]), width, "u8" if rows.dtype == np.uint64 else "f8")
    float_rows(out)[:] = rows.reshape(blocks, width, -1).transpose(0, 2, 1)
    return out


def _to_paths(blocks: np.ndarray, out: np.ndarray) -> None:
    """Lane array (blocks, ...) -> out (paths, ...), without the lanes that fill the last block."""
    rows = float_rows(blocks).transpose(0, blocks.ndim, *range(1, blocks.ndim))
    width, whole = rows.shape[1], len(out) // rows.shape[1]
    if whole and out.size:
        out[: whole * width].reshape(whole, *rows.shape[1:])[...] = rows[:whole]  # a view: `out` is contiguous
    if len(out) > whole * width and out.size:
        out[whole * width :] = rows[whole, : len(out) - whole * width]


def columns(observers: tuple) -> int:
    """Numbers recorded of a state."""
    return sum(channels.python(observer) for observer in observers)


def scratch_rows(task: Task, d: int) -> tuple[np.ndarray, int]:
    """Scratch of a chunk: ends of the rows for w, z, fine increments, what is seen, and the integrator; the rows."""
    n = draws.python(task.noise, d)
    shared = max(workspace.python(plugin, d) for plugin in (task.model, task.noise, *task.observers))
    lengths = [
        d,
        substeps.python(task.integrator) * n + 2,
        n + 2,
        columns(task.observers),
        workspace.python(task.integrator, d),
        shared + 1,
    ]
    ends = np.cumsum(lengths)
    return ends[:5].astype(np.int64), int(ends[5])


def run(
    task: Task,
    w0: np.ndarray,
    path: np.ndarray,
    *,
    threads: int,
    width: int,
    check: int = CHECK,
    tick: Callable[[int], Any] | None = None,
) -> Record:
    """Integrate the paths numbered `path` (paths,) from `w0` (paths, d); `tick(path_steps)` reports progress."""
    paths, d = w0.shape
    start, numbers = _to_blocks(w0, width), _to_blocks(path.astype(np.uint64)[:, None], width)[:, 0]
    blocks, marks, kept = start.shape[0], task.marks.size, task.marks.size * task.keep_states
    seen, weights = columns(task.observers), task.weights
    sizes, rows = scratch_rows(task, d)
    model = for_run(task.model, width, blocks * task.steps, task.integrator, task.noise)
    label = tag(task.integrator, task.model, task.noise, task.generator, task.increment, *task.observers)
    viewed = task.marks.size * task.keep_views * (weights.size > 1)
    out = Record(
        np.empty((seen, paths, marks)),
        np.empty((weights.size, seen, paths, viewed)),
        np.empty((paths, kept, d)),
        np.empty((paths, d)),
        np.empty(paths, np.int64),
    )
    stop = False

    def integrate(low: int, high: int) -> None:
        size, part = high - low, slice(low, high)
        shapes: dict[str, tuple[int, ...]] = {
            "values": (size, marks, seen),
            "viewed": (size, viewed, weights.size * seen),
            "states": (size, kept, d),
            "final": (size, d),
            "status": (size, 1),
            "y": (size, d + extra.python(task.integrator, d)),
        }
        own = lane_arrays(shapes, width)
        saved, scratch = lane_array((size, SAVED), width, "u8"), lane_array(rows, width)
        for first, last in _slices(task.steps, size * width * (int(sizes[2]) + 4)):
            if stop:
                return
            with np.errstate(all="ignore"):  # plain Python would warn where compiled code does not
                advance(
                    label,
                    task.integrator,
                    model,
                    task.noise,
                    task.generator,
                    task.increment,
                    task.observers,
                    W64(task.seed),
                    task.coarsen,
                    task.dt,
                    task.lr,
                    task.weight_decay,
                    task.marks,
                    weights,
                    check,
                    first,
                    last,
                    start[part],
                    numbers[part],
                    own["y"],
                    saved,
                    own["values"],
                    own["viewed"],
                    own["states"],
                    own["final"],
                    own["status"],
                    scratch,
                    sizes,
                )
            if tick is not None:
                tick((min(high * width, paths) - low * width) * (last - first))
        _deliver(own, slice(low * width, min(high * width, paths)), out)

    size = _chunk(blocks, task.steps * width * (int(sizes[2]) + 4), threads)
    chunks = [(low, min(low + size, blocks)) for low in range(0, blocks, size)]
    if threads == 1 or len(chunks) == 1:
        for chunk in chunks:
            integrate(*chunk)
    else:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for future in [pool.submit(integrate, *chunk) for chunk in chunks]:
                    future.result()
            finally:
                stop = True
    return out


def _deliver(own: dict[str, np.ndarray], paths: slice, out: Record) -> None:
    """What a chunk of blocks recorded goes to its paths."""
    for j in range(len(out.values)):
        _to_paths(own["values"][..., j], out.values[j, paths])
        for view in range(len(out.views)):
            _to_paths(own["viewed"][..., view * len(out.values) + j], out.views[view, j, paths])
    _to_paths(own["states"], out.states[paths])
    _to_paths(own["final"], out.final[paths])
    _to_paths(own["status"][:, 0], out.status[paths])


def _chunk(blocks: int, cost: int, threads: int) -> int:
    """Blocks of a task: enough to be worth a call, and some tasks a thread."""
    worth = min(SHORT // max(cost, 1), -(-blocks // (4 * threads)))
    return min(max(CHUNK if threads > 1 else 4 * CHUNK, worth), -(-blocks // threads))


def _slices(steps: int, cost: int) -> Iterator[tuple[int, int]]:
    """(first, last) of the compiled calls of a task; one empty one if there are no steps."""
    length = max(CHECK, SLICE // max(cost, 1) // CHECK * CHECK)
    yield 0, min(length, steps)
    for first in range(length, steps, length):
        yield first, min(first + length, steps)
