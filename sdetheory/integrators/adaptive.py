"""The compiled loop of adaptive flows: W members at a time, each with its own clock, refilled from a queue."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sdetheory.integrators.dop853 import (
    EPSILON,
    SLOT,
    SLOTS,
    error_norm,
    finish,
    first_step,
    interpolate,
    polynomials,
    slopes,
    start_norms,
    step_factor,
    trial_step,
)
from sdetheory.integrators.stages import combine, force
from sdetheory.lanes.driver import record
from sdetheory.lanes.cache import compiled
from sdetheory.lanes.vector import any_lane, float_rows, lane_array, load, select, store

RUNNING, DONE, FAILED = 0, 1, 2
ONE = np.ones(1)
SMALLEST = 1e-300                     # a step below this, or below 10 ulps of the time, has underflowed
# First rows of the memory, one number a lane: the step being tried (with the minus of the descent), the fraction of it
# that is wanted, marks of chosen and of due lanes (1.0), three norms, time, time after the step, next step size.
STEP, FRACTION, CHOSEN, DUE, NORMS, TIME, AFTER, NEXT, HEAD = 0, 1, 2, 3, 4, 7, 8, 9, 10
# The vectors that follow, d rows each: state, end of the step, stage, slopes, dense polynomials, state shown.
Y, NEW, STAGE, SLOPES, DENSE, SHOWN, SEEN = 0, 1, 2, 3, 3 + SLOTS, 10 + SLOTS, 11 + SLOTS
MEMBER, MARK, REJECTED = 0, 1, 2      # rows of `numbers`: member in the lane (-1: none), next entry of ts, flag


class Memory(NamedTuple):
    """What the W lanes work on: HEAD rows, the vectors, what the observers saw, and the model's workspace."""

    lanes: np.ndarray                 # (rows,) lane array
    rows: np.ndarray                  # (rows, W) the same memory, number by number
    numbers: np.ndarray               # (3, W) int64
    d: int
    observers: int


class Results(NamedTuple):
    """What the loop writes, by member."""

    values: np.ndarray                # (members, T, observers)
    states: np.ndarray                # (members, T or 0, d)
    final: np.ndarray                 # (members, d)
    times: np.ndarray                 # (members,) time reached
    counts: np.ndarray                # (members, 3) accepted steps, rejected steps, DONE or FAILED


def make_memory(d: int, observers: int, scratch: int, width: int) -> Memory:
    """Zeroed memory for states of d rows."""
    lanes = lane_array(HEAD + SEEN * d + observers + scratch, width)
    return Memory(lanes, float_rows(lanes), np.zeros((3, width), np.int64), d, observers)


@njit(inline="always")
def _group(memory, first, last):
    """The vectors number first, ..., last-1 of the memory."""
    return memory.lanes[HEAD + first * memory.d : HEAD + last * memory.d]


@njit(inline="always")
def _work(memory):
    """The model's workspace."""
    return memory.lanes[HEAD + SEEN * memory.d + memory.observers :]


@compiled
def advance(tag, integrator, model, observers, weight_decay, ts, starts, memory, results):
    """Carry all members `starts` (members, d) from 0 to ts[-1] and record at ts."""
    queue, end = 0, ts[-1]
    for lane in range(memory.numbers.shape[1]):
        _park(memory, starts, lane)
    while True:
        busy = _busy(memory)
        if queue < starts.shape[0] and busy < memory.numbers.shape[1]:
            queue = _fill(memory, starts, queue)
            _start(integrator, model, weight_decay, end, memory, results)
            _deliver(model, observers, weight_decay, ts, memory, results)
        elif busy == 0:
            return
        else:
            _attempt(integrator, model, weight_decay, end, memory, results)
            _deliver(model, observers, weight_decay, ts, memory, results)
            _move_on(memory)
        _release(memory, results, starts, end)


@njit(error_model="numpy")
def _busy(memory):
    """How many lanes hold a member."""
    busy = 0
    for lane in range(memory.numbers.shape[1]):
        busy += memory.numbers[MEMBER, lane] >= 0
    return busy


@njit(error_model="numpy")
def _park(memory, starts, lane):
    """An empty lane rests at a harmless state with step 0."""
    rows = memory.rows
    memory.numbers[MEMBER, lane] = -1
    rows[STEP, lane], rows[CHOSEN, lane] = 0.0, 0.0
    for i in range(memory.d):
        rows[HEAD + i, lane] = starts[0, i]


@njit(error_model="numpy")
def _fill(memory, starts, queue):
    """Members from the queue go to the empty lanes, which are chosen; returns the queue's new head."""
    rows, numbers = memory.rows, memory.numbers
    for lane in range(numbers.shape[1]):
        rows[CHOSEN, lane] = 0.0
        if numbers[MEMBER, lane] < 0 and queue < starts.shape[0]:
            numbers[MEMBER, lane], numbers[MARK, lane], numbers[REJECTED, lane] = queue, 0, 0
            rows[TIME, lane], rows[AFTER, lane], rows[NEXT, lane] = 0.0, 0.0, 0.0
            rows[CHOSEN, lane] = 1.0
            for i in range(memory.d):
                rows[HEAD + i, lane] = starts[queue, i]
            queue += 1
    return queue


@njit(error_model="numpy")
def _start(integrator, model, weight_decay, end, memory, results):
    """First slopes and step sizes of the chosen lanes; `new` is their start."""
    rows, lanes, d, work = memory.rows, memory.lanes, memory.d, _work(memory)
    y, new = _group(memory, Y, NEW), _group(memory, NEW, STAGE)
    stage, slope = _group(memory, STAGE, SLOPES), _group(memory, SLOPES, SLOPES + 1)
    force(model, 1.0, weight_decay, y, new, work)
    chosen = load(lanes, CHOSEN) > 0.5
    for i in range(d):
        store(slope, i, select(chosen, load(new, i), load(slope, i)))
    start_norms(y, slope, slope, integrator.rtol, integrator.atol, lanes[NORMS : NORMS + 3])
    for lane in range(rows.shape[1]):
        size, speed = np.sqrt(rows[NORMS, lane] / d), np.sqrt(rows[NORMS + 1, lane] / d)
        rows[STEP, lane] = -trial_step(size, speed, end)
    combine(y, load(lanes, STEP), ONE, 1, slope, stage)
    force(model, 1.0, weight_decay, stage, new, work)
    start_norms(y, slope, new, integrator.rtol, integrator.atol, lanes[NORMS : NORMS + 3])
    for lane in range(rows.shape[1]):
        if rows[CHOSEN, lane] > 0.5:
            speed, change = np.sqrt(rows[NORMS + 1, lane] / d), np.sqrt(rows[NORMS + 2, lane] / d)
            if not speed + change < np.inf:
                results.counts[memory.numbers[MEMBER, lane], 2] = FAILED
            elif end > 0.0:
                rows[NEXT, lane] = first_step(-rows[STEP, lane], speed, change, end)
    for i in range(d):
        store(new, i, load(y, i))


@njit(error_model="numpy")
def _attempt(integrator, model, weight_decay, end, memory, results):
    """One step tried in every lane; accepted lanes are chosen."""
    rows, lanes, d, work = memory.rows, memory.lanes, memory.d, _work(memory)
    y, new, k = _group(memory, Y, NEW), _group(memory, NEW, STAGE), _group(memory, SLOPES, DENSE)
    for lane in range(rows.shape[1]):
        rows[CHOSEN, lane] = 0.0
        if memory.numbers[MEMBER, lane] >= 0:
            time, size = rows[TIME, lane], rows[NEXT, lane]
            if memory.numbers[REJECTED, lane] == 0:
                size = max(size, _least(time))
            rows[AFTER, lane] = min(time + size, end)
            rows[STEP, lane] = time - rows[AFTER, lane]
    step = load(lanes, STEP)
    slopes(model, weight_decay, y, step, k, _group(memory, STAGE, SLOPES), work, 1, 12)
    norm3, norm5 = finish(y, step, k, new, integrator.rtol, integrator.atol)
    store(lanes, NORMS, norm3)
    store(lanes, NORMS + 1, norm5)
    for lane in range(rows.shape[1]):
        if memory.numbers[MEMBER, lane] >= 0:
            _judge(memory, results.counts, lane)
    if any_lane(load(lanes, CHOSEN) > 0.5):
        force(model, 1.0, weight_decay, new, k[SLOT[12] * d : (SLOT[12] + 1) * d], work)


@njit(error_model="numpy")
def _least(time):
    """Smallest step at this time."""
    return max(10.0 * EPSILON * time, SMALLEST)


@njit(error_model="numpy")
def _judge(memory, counts, lane):
    """Accept or refuse the step of one lane, and set its next step size."""
    rows, member, h = memory.rows, memory.numbers[MEMBER, lane], -memory.rows[STEP, lane]
    error = error_norm(rows[NORMS, lane], rows[NORMS + 1, lane], h, memory.d)
    rows[NEXT, lane] = h * step_factor(error, memory.numbers[REJECTED, lane] == 1)
    if error < 1.0:
        rows[CHOSEN, lane] = 1.0
        memory.numbers[REJECTED, lane] = 0
        counts[member, 0] += 1
        return
    memory.numbers[REJECTED, lane] = 1
    counts[member, 1] += 1
    if not rows[NEXT, lane] >= _least(rows[TIME, lane]):
        counts[member, 2] = FAILED


@njit(error_model="numpy")
def _deliver(model, observers, weight_decay, ts, memory, results):
    """Record the chosen lanes at every time of ts that their step has reached, by dense output inside the step."""
    ready = False
    while True:
        due, inside = _mark_due(ts, memory)
        if not due:
            return
        y, new, shown = _group(memory, Y, NEW), _group(memory, NEW, STAGE), _group(memory, SHOWN, SEEN)
        step, dense = load(memory.lanes, STEP), _group(memory, DENSE, SHOWN)
        if inside and not ready:
            k = _group(memory, SLOPES, DENSE)
            slopes(model, weight_decay, y, step, k, _group(memory, STAGE, SLOPES), _work(memory), 13, 16)
            polynomials(y, new, step, k, dense)
            ready = True
        fraction = load(memory.lanes, FRACTION)
        if ready:
            interpolate(y, fraction, dense, shown)
        for i in range(memory.d):
            store(shown, i, select(fraction == 1.0, load(new, i), load(shown, i)))
        record(observers, shown, memory.lanes, HEAD + SEEN * memory.d)
        for lane in range(memory.rows.shape[1]):
            if memory.rows[DUE, lane] > 0.5:
                _write(memory, results, lane)


@njit(error_model="numpy")
def _mark_due(ts, memory):
    """Mark the chosen lanes with a time to record, and the fraction of their step where it lies."""
    rows, due, inside = memory.rows, False, False
    for lane in range(rows.shape[1]):
        rows[FRACTION, lane], rows[DUE, lane] = 1.0, 0.0
        mark, after = memory.numbers[MARK, lane], rows[AFTER, lane]
        if rows[CHOSEN, lane] > 0.5 and mark < ts.size and ts[mark] <= after:
            rows[DUE, lane] = 1.0
            due = True
            if ts[mark] < after:
                rows[FRACTION, lane] = (ts[mark] - rows[TIME, lane]) / (after - rows[TIME, lane])
                inside = True
    return due, inside


@njit(error_model="numpy")
def _write(memory, results, lane):
    """One lane's observed values, and its state if states are kept."""
    member, mark, d = memory.numbers[MEMBER, lane], memory.numbers[MARK, lane], memory.d
    for j in range(memory.observers):
        results.values[member, mark, j] = memory.rows[HEAD + SEEN * d + j, lane]
    if results.states.shape[1] > 0:
        for i in range(d):
            results.states[member, mark, i] = memory.rows[HEAD + SHOWN * d + i, lane]
    memory.numbers[MARK, lane] = mark + 1


@njit(error_model="numpy")
def _move_on(memory):
    """Chosen lanes begin where their step ended, with its last slope as the first."""
    chosen, d, last = load(memory.lanes, CHOSEN) > 0.5, memory.d, SLOT[12] * memory.d
    y, new, k = _group(memory, Y, NEW), _group(memory, NEW, STAGE), _group(memory, SLOPES, DENSE)
    for i in range(d):
        store(y, i, select(chosen, load(new, i), load(y, i)))
        store(k, i, select(chosen, load(k, last + i), load(k, i)))
    for lane in range(memory.rows.shape[1]):
        if memory.rows[CHOSEN, lane] > 0.5:
            memory.rows[TIME, lane] = memory.rows[AFTER, lane]


@njit(error_model="numpy")
def _release(memory, results, starts, end):
    """Lanes that arrived or failed give up their member."""
    for lane in range(memory.rows.shape[1]):
        member = memory.numbers[MEMBER, lane]
        if member < 0:
            continue
        time = memory.rows[TIME, lane]
        results.times[member] = time
        if results.counts[member, 2] != FAILED:
            results.counts[member, 2] = DONE if time == end else RUNNING
        if results.counts[member, 2] != RUNNING:
            for i in range(memory.d):
                results.final[member, i] = memory.rows[HEAD + i, lane]
            _park(memory, starts, lane)
