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
    stages,
    start_norms,
    step_factor,
    trial_step,
)
from sdetheory.integrators.stages import combine, force
from sdetheory.lanes.driver import record
from sdetheory.lanes.tag import compiled
from sdetheory.lanes.vector import any_lane, float_rows, lane_array, load, select, store

RUNNING, DONE, FAILED = 0, 1, 2
SMALLEST = 1e-300                     # a step below this, or below 10 ulps of the time, has underflowed
# Rows of `head`: step (with the minus of the descent), fraction of a step wanted, chosen lanes (1.0), three norms.
STEP, FRACTION, CHOSEN, NORMS, HEAD = 0, 1, 2, 3, 6


class Memory(NamedTuple):
    """What the W lanes work on; `x_rows` is the (rows, W) plain view of the lane array `x`."""

    head: np.ndarray
    head_rows: np.ndarray
    y: np.ndarray
    y_rows: np.ndarray
    new: np.ndarray
    new_rows: np.ndarray
    at: np.ndarray
    k: np.ndarray
    dense: np.ndarray
    shown: np.ndarray
    shown_rows: np.ndarray
    seen: np.ndarray
    seen_rows: np.ndarray
    work: np.ndarray
    member: np.ndarray                # (W,) number of the member in each lane, -1: none
    mark: np.ndarray                  # (W,) next entry of ts
    clock: np.ndarray                 # (2, W) time, and time at the end of the step being tried
    h: np.ndarray                     # (W,) step size to try
    rejected: np.ndarray              # (W,) 1: the last try was refused


class Results(NamedTuple):
    """What the loop writes, by member."""

    values: np.ndarray                # (members, T, observers)
    states: np.ndarray                # (members, T or 0, d)
    final: np.ndarray                 # (members, d)
    times: np.ndarray                 # (members,) time reached
    counts: np.ndarray                # (members, 3) accepted steps, rejected steps, DONE or FAILED


def make_memory(d: int, observers: int, scratch: int, width: int) -> Memory:
    """Zeroed memory for states of d rows."""
    head, y, new, shown, seen = (lane_array(n, width) for n in (HEAD, d, d, d, max(observers, 1)))
    return Memory(head, float_rows(head), y, float_rows(y), new, float_rows(new), lane_array(d, width),
                  lane_array(SLOTS * d, width), lane_array(7 * d, width), shown, float_rows(shown), seen,
                  float_rows(seen), lane_array(scratch, width), np.full(width, -1), np.zeros(width, np.int64),
                  np.zeros((2, width)), np.zeros(width), np.zeros(width, np.int64))


@compiled
def advance(tag, integrator, model, observers, weight_decay, ts, starts, memory, results):
    """Carry all members `starts` (members, d) from 0 to ts[-1] and record at ts."""
    queue, members = 0, starts.shape[0]
    for lane in range(memory.member.size):
        _park(memory, starts, lane)
    while True:
        if queue < members and (memory.member < 0).any():
            queue = _fill(memory, starts, queue)
            _start(integrator, model, weight_decay, ts[-1], memory, results)
            _deliver(model, observers, weight_decay, ts, memory, results)
        elif (memory.member < 0).all():
            return
        else:
            _attempt(integrator, model, weight_decay, ts[-1], memory, results)
            _deliver(model, observers, weight_decay, ts, memory, results)
            _move_on(memory)
        _release(memory, results, starts, ts[-1])


@njit(error_model="numpy")
def _park(memory, starts, lane):
    """An empty lane rests at a harmless state with step 0."""
    memory.member[lane] = -1
    memory.h[lane] = 0.0
    memory.head_rows[STEP, lane] = 0.0
    memory.head_rows[CHOSEN, lane] = 0.0
    for i in range(starts.shape[1]):
        memory.y_rows[i, lane] = starts[0, i]


@njit(error_model="numpy")
def _fill(memory, starts, queue):
    """Members from the queue go to the empty lanes, which are chosen; returns the queue's new head."""
    for lane in range(memory.member.size):
        memory.head_rows[CHOSEN, lane] = 0.0
        if memory.member[lane] < 0 and queue < starts.shape[0]:
            memory.member[lane], memory.mark[lane], memory.rejected[lane] = queue, 0, 0
            memory.clock[:, lane] = 0.0
            memory.head_rows[CHOSEN, lane] = 1.0
            for i in range(starts.shape[1]):
                memory.y_rows[i, lane] = starts[queue, i]
            queue += 1
    return queue


@njit(error_model="numpy")
def _start(integrator, model, weight_decay, end, memory, results):
    """First slopes and step sizes of the chosen lanes; `new` is their start."""
    rows, d = memory.head_rows, memory.y.size
    first = memory.k[:d]
    force(model, 1.0, weight_decay, memory.y, memory.new, memory.work)
    chosen = load(memory.head, CHOSEN) > 0.5
    for i in range(d):
        store(first, i, select(chosen, load(memory.new, i), load(first, i)))
    start_norms(memory.y, first, first, integrator.rtol, integrator.atol, memory.head[NORMS:])
    for lane in range(memory.h.size):
        size, speed = np.sqrt(rows[NORMS, lane] / d), np.sqrt(rows[NORMS + 1, lane] / d)
        rows[STEP, lane] = -trial_step(size, speed, end)
    combine(memory.y, load(memory.head, STEP), np.ones(1), 1, first, memory.at)
    force(model, 1.0, weight_decay, memory.at, memory.new, memory.work)
    start_norms(memory.y, first, memory.new, integrator.rtol, integrator.atol, memory.head[NORMS:])
    for lane in range(memory.h.size):
        if rows[CHOSEN, lane] > 0.5:
            speed, change = np.sqrt(rows[NORMS + 1, lane] / d), np.sqrt(rows[NORMS + 2, lane] / d)
            if not speed + change < np.inf:
                results.counts[memory.member[lane], 2] = FAILED
            elif end > 0.0:
                memory.h[lane] = first_step(-rows[STEP, lane], speed, change, end)
    for i in range(d):
        store(memory.new, i, load(memory.y, i))


@njit(error_model="numpy")
def _attempt(integrator, model, weight_decay, end, memory, results):
    """One step tried in every lane; accepted lanes are chosen, failed ones released."""
    rows, d, k = memory.head_rows, memory.y.size, memory.k
    for lane in range(memory.member.size):
        if memory.member[lane] >= 0:
            time = memory.clock[0, lane]
            if memory.rejected[lane] == 0:
                memory.h[lane] = max(memory.h[lane], _least(time))
            memory.clock[1, lane] = min(time + memory.h[lane], end)
            memory.h[lane] = memory.clock[1, lane] - time
            rows[STEP, lane] = -memory.h[lane]
    step = load(memory.head, STEP)
    stages(model, weight_decay, memory.y, step, k, memory.at, memory.work, 1, 12)
    norm3, norm5 = finish(memory.y, step, k, memory.new, integrator.rtol, integrator.atol)
    store(memory.head, NORMS, norm3)
    store(memory.head, NORMS + 1, norm5)
    for lane in range(memory.member.size):
        rows[CHOSEN, lane] = 0.0
        if memory.member[lane] >= 0:
            _judge(memory, results.counts, lane)
    if any_lane(load(memory.head, CHOSEN) > 0.5):
        force(model, 1.0, weight_decay, memory.new, k[SLOT[12] * d : (SLOT[12] + 1) * d], memory.work)


@njit(error_model="numpy")
def _least(time):
    """Smallest step at this time."""
    return max(10.0 * EPSILON * time, SMALLEST)


@njit(error_model="numpy")
def _judge(memory, counts, lane):
    """Accept or refuse the step of one lane, and set its next step size."""
    member, h, rows = memory.member[lane], memory.h[lane], memory.head_rows
    error = error_norm(rows[NORMS, lane], rows[NORMS + 1, lane], h, memory.y.size)
    factor = step_factor(error, memory.rejected[lane] == 1)
    memory.h[lane] = h * factor
    if error < 1.0:
        rows[CHOSEN, lane] = 1.0
        memory.rejected[lane] = 0
        counts[member, 0] += 1
        return
    memory.rejected[lane] = 1
    counts[member, 1] += 1
    if not memory.h[lane] >= _least(memory.clock[0, lane]):
        counts[member, 2] = FAILED


@njit(error_model="numpy")
def _deliver(model, observers, weight_decay, ts, memory, results):
    """Record the chosen lanes at every time of ts that their step has reached, by dense output inside the step."""
    rows, ready = memory.head_rows, False
    while True:
        due, inside = _mark_due(ts, memory)
        if not due:
            return
        if inside and not ready:
            step = load(memory.head, STEP)
            stages(model, weight_decay, memory.y, step, memory.k, memory.at, memory.work, 13, 16)
            polynomials(memory.y, memory.new, step, memory.k, memory.dense)
            ready = True
        fraction = load(memory.head, FRACTION)
        if ready:
            interpolate(memory.y, fraction, memory.dense, memory.shown)
        for i in range(memory.shown.size):
            store(memory.shown, i, select(fraction == 1.0, load(memory.new, i), load(memory.shown, i)))
        record(observers, memory.shown, memory.seen, 0)
        for lane in range(memory.member.size):
            if rows[NORMS, lane] > 0.5:
                _write(memory, results, lane, results.values.shape[2])


@njit(error_model="numpy")
def _mark_due(ts, memory):
    """Which chosen lanes (norm row 0: 1.0) have a time to record, and at what fraction of the step."""
    rows, due, inside = memory.head_rows, False, False
    for lane in range(memory.member.size):
        rows[FRACTION, lane], rows[NORMS, lane] = 1.0, 0.0
        mark, time = memory.mark[lane], memory.clock[1, lane]
        if rows[CHOSEN, lane] > 0.5 and mark < ts.size and ts[mark] <= time:
            rows[NORMS, lane] = 1.0
            due = True
            if ts[mark] < time:
                start = memory.clock[0, lane]
                rows[FRACTION, lane] = (ts[mark] - start) / (time - start)
                inside = True
    return due, inside


@njit(error_model="numpy")
def _write(memory, results, lane, observers):
    """One lane's observed values, and its state if states are kept."""
    member, mark = memory.member[lane], memory.mark[lane]
    for j in range(observers):
        results.values[member, mark, j] = memory.seen_rows[j, lane]
    if results.states.shape[1] > 0:
        for i in range(memory.shown.size):
            results.states[member, mark, i] = memory.shown_rows[i, lane]
    memory.mark[lane] = mark + 1


@njit(error_model="numpy")
def _move_on(memory):
    """Chosen lanes begin where their step ended, with its last slope as the first."""
    chosen, last = load(memory.head, CHOSEN) > 0.5, SLOT[12] * memory.y.size
    for i in range(memory.y.size):
        store(memory.y, i, select(chosen, load(memory.new, i), load(memory.y, i)))
        store(memory.k, i, select(chosen, load(memory.k, last + i), load(memory.k, i)))
    for lane in range(memory.member.size):
        if memory.head_rows[CHOSEN, lane] > 0.5:
            memory.clock[0, lane] = memory.clock[1, lane]


@njit(error_model="numpy")
def _release(memory, results, starts, end):
    """Lanes that arrived or failed give up their member."""
    for lane in range(memory.member.size):
        member = memory.member[lane]
        if member < 0:
            continue
        results.times[member] = memory.clock[0, lane]
        if results.counts[member, 2] != FAILED:
            results.counts[member, 2] = DONE if memory.clock[0, lane] == end else RUNNING
        if results.counts[member, 2] != RUNNING:
            for i in range(starts.shape[1]):
                results.final[member, i] = memory.y_rows[i, lane]
            _park(memory, starts, lane)
