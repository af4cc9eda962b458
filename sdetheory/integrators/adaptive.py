"""The compiled loop of adaptive flows: W members at a time, each with its own clock, refilled from a
queue."""

from typing import NamedTuple

import numpy as np
from numba import njit

from sdetheory.integrators.dop853 import (
    EPSILON,
    SLOT,
    SLOTS,
    STAGES,
    TERMS,
    error_norm,
    finish,
    first_step,
    interpolate,
    polynomials,
    start_norms,
    step_factor,
    trial_step,
)
from sdetheory.integrators.stages import combine, force, inner
from sdetheory.lanes.borrowed import borrowed
from sdetheory.lanes.cache import compiled
from sdetheory.lanes.driver import record
from sdetheory.lanes.vector import float_rows, lane_array, load, select, store, take

RUNNING, DONE, FAILED = 0, 1, 2
EULER = np.ones(1)
SMALLEST = 1e-300  # a step below this, or below 10 ulps of the time, has underflowed
# First rows of the memory, one number a lane: the step being tried (with the minus of the descent), the
# fraction of it that is wanted, marks of chosen and of due lanes (1.0), three norms, time, time after the
# step, next step size.
STEP, FRACTION, CHOSEN, DUE, NORMS, TIME, AFTER, NEXT, HEAD = 0, 1, 2, 3, 4, 7, 8, 9, 10
# The vectors that follow, d rows each: state, end of the step, stage, slopes, dense polynomials, state shown.
Y, NEW, STAGE, SLOPES, DENSE, SHOWN, SEEN = 0, 1, 2, 3, 3 + SLOTS, 10 + SLOTS, 11 + SLOTS
# Rows of `numbers`: member in the lane (-1: none), next entry of ts, was the last step rejected, steps accepted
# and rejected, status; and (in the first lane) whether the queue was found empty. Counts stay here until the
# member is done: neighbours in `results` belong to other threads, which would wait for the shared cache line.
MEMBER, MARK, REJECTED, ACCEPTS, REJECTS, STATUS, EMPTY, NUMBERS = 0, 1, 2, 3, 4, 5, 6, 7
# A phase is the slope being computed: 1 ... 11 of a step, 12 at its end, 13 ... 15 for dense output, or one
# of these.
START, SLOPE_OF_START, SLOPE_AHEAD, STOP = 0, 16, 17, 18
LAST, LAST_EXTRA = 12, 15
NOTHING, END, INSIDE = 0, 1, 2  # what is due: nothing, the end of a step, a time inside a step


class Memory(NamedTuple):
    """What the W lanes work on: HEAD rows, the vectors, what the observers saw, and a workspace shared by model
    and observers."""

    lanes: np.ndarray  # (rows,) lane array
    rows: np.ndarray  # (rows, W) the same memory, number by number
    numbers: np.ndarray  # (NUMBERS, W) int64
    d: int
    observers: int


class Results(NamedTuple):
    """What the loop writes, by member."""

    values: np.ndarray  # (members, T, observers)
    states: np.ndarray  # (members, T or 0, d)
    final: np.ndarray  # (members, d)
    times: np.ndarray  # (members,) time reached
    counts: np.ndarray  # (members, 3) accepted steps, rejected steps, DONE or FAILED


def make_memory(d: int, observers: int, scratch: int, width: int) -> Memory:
    """Zeroed memory for states of d rows."""
    lanes = lane_array(HEAD + SEEN * d + observers + scratch, width)
    return Memory(lanes, float_rows(lanes), np.zeros((NUMBERS, width), np.int64), d, observers)


@njit(inline="always")
def _group(memory, first, last):
    """The vectors number first, ..., last-1 of the memory."""
    return memory.lanes[HEAD + first * memory.d : HEAD + last * memory.d]


@njit(inline="always")
def _work(memory):
    """The workspace of the model and of the observers, one at a time."""
    return memory.lanes[HEAD + SEEN * memory.d + memory.observers :]


@compiled
def advance(
    tag, integrator, model, observers, weight_decay, ts, starts, memory, results, queue, phase, slopes
):
    """Carry members of `starts` (members, d) from 0 to ts[-1] and record at ts; at most about `slopes` of them.

    Lanes take the next member from `queue` (1,), which all threads share; what a member does is the same in
    any lane. Begin with phase START, and go on with the phase returned until it is STOP.
    The model is called in this one place; `_after` says where next.  (Small to compile: the rest is shared by
    all models.)
    """
    integrator, model, observers = borrowed(integrator), borrowed(model), borrowed(observers)
    ts, starts, memory, results = borrowed(ts), borrowed(starts), borrowed(memory), borrowed(results)
    queue = borrowed(queue)
    d, lanes, work = memory.d, memory.lanes, _work(memory)
    if phase == START:
        for lane in range(memory.numbers.shape[1]):
            _park(memory, starts, lane)
        memory.numbers[EMPTY, 0] = 0
        phase = _begin(ts[-1], starts, memory, queue)
    while phase != STOP and slopes > 0:
        slopes -= 1
        if phase < SLOPE_OF_START and phase != LAST:
            _stage(phase, memory)
        place, slope = _place(phase), _slope(phase)
        force(
            model,
            1.0,
            weight_decay,
            lanes[HEAD + place * d : HEAD + (place + 1) * d],
            lanes[HEAD + slope * d : HEAD + (slope + 1) * d],
            work,
        )
        if 0 < phase < LAST - 1:
            phase += 1
        else:
            phase = _after(phase, integrator, observers, ts, starts, memory, results, queue)
    return phase


@inner
def _place(phase):
    """Which vector the slope of this phase is taken at."""
    return Y if phase == SLOPE_OF_START else NEW if phase == LAST else STAGE


@inner
def _slope(phase):
    """Which vector the slope of this phase goes to."""
    return NEW if phase in (SLOPE_OF_START, SLOPE_AHEAD) else SLOPES + SLOT[phase]


@inner
def _begin(end, starts, memory, queue):
    """Fill empty lanes, or begin a step in the busy ones; returns the phase of the slope needed next."""
    if _fill(memory, starts, queue):
        return SLOPE_OF_START
    if _busy(memory) == 0:
        return STOP
    _choose_steps(end, memory)
    return 1


@inner
def _after(phase, integrator, observers, ts, starts, memory, results, queue):
    """What to do with the slope just computed; returns the phase of the slope needed next."""
    end = ts[-1]
    if phase == SLOPE_OF_START:
        _look_ahead(integrator, end, memory)
        return SLOPE_AHEAD
    if phase == SLOPE_AHEAD:
        _first_steps(integrator, end, memory)
        _deliver(phase == LAST_EXTRA, observers, ts, memory, results)
    elif phase == LAST - 1:
        if _judge_all(integrator, memory):
            return LAST
    elif phase < LAST or (phase == LAST and _mark_due(ts, memory) == INSIDE) or LAST < phase < LAST_EXTRA:
        return phase + 1
    else:
        _deliver(phase == LAST_EXTRA, observers, ts, memory, results)
        _move_on(memory)
    _release(memory, results, starts, end)
    return _begin(end, starts, memory, queue)


@inner
def _stage(s, memory):
    """The state at which slope s (from 0) is taken."""
    combine(
        _group(memory, Y, NEW),
        load(memory.lanes, STEP),
        STAGES[s],
        TERMS[s],
        _group(memory, SLOPES, DENSE),
        _group(memory, STAGE, SLOPES),
    )


@inner
def _busy(memory):
    """How many lanes hold a member."""
    busy = 0
    for lane in range(memory.numbers.shape[1]):
        busy += memory.numbers[MEMBER, lane] >= 0
    return busy


@inner
def _park(memory, starts, lane):
    """An empty lane rests at a harmless state with step 0."""
    rows = memory.rows
    memory.numbers[MEMBER, lane] = -1
    rows[STEP, lane], rows[CHOSEN, lane] = 0.0, 0.0
    for i in range(memory.d):
        rows[HEAD + i, lane] = starts[0, i]


@inner
def _fill(memory, starts, queue):
    """Members from the queue go to the empty lanes, which are chosen. Is there one?"""
    rows, numbers, found = memory.rows, memory.numbers, False
    for lane in range(numbers.shape[1]):
        rows[CHOSEN, lane] = 0.0
        if numbers[MEMBER, lane] < 0 and numbers[EMPTY, 0] == 0:
            member = take(queue)
            if member >= starts.shape[0]:
                numbers[EMPTY, 0] = 1
                continue
            for row in range(EMPTY):
                numbers[row, lane] = 0
            numbers[MEMBER, lane] = member
            rows[TIME, lane], rows[AFTER, lane], rows[NEXT, lane] = 0.0, 0.0, 0.0
            rows[CHOSEN, lane], found = 1.0, True
            for i in range(memory.d):
                rows[HEAD + i, lane] = starts[member, i]
    return found


@inner
def _look_ahead(integrator, end, memory):
    """Slopes of the chosen lanes' starts (in `new`) become their first; one Euler step ahead into the
    stage."""
    rows, lanes, d = memory.rows, memory.lanes, memory.d
    y, new, slope = _group(memory, Y, NEW), _group(memory, NEW, STAGE), _group(memory, SLOPES, SLOPES + 1)
    chosen = load(lanes, CHOSEN) > 0.5
    for i in range(d):
        store(slope, i, select(chosen, load(new, i), load(slope, i)))
    start_norms(y, slope, slope, integrator.rtol, integrator.atol, lanes[NORMS : NORMS + 3])
    for lane in range(rows.shape[1]):
        size, speed = np.sqrt(rows[NORMS, lane] / d), np.sqrt(rows[NORMS + 1, lane] / d)
        rows[STEP, lane] = -trial_step(size, speed, end)
    combine(y, load(lanes, STEP), EULER, TERMS[1], slope, _group(memory, STAGE, SLOPES))


@inner
def _first_steps(integrator, end, memory):
    """First step sizes of the chosen lanes from the slope ahead (in `new`); then `new` is their start."""
    rows, d = memory.rows, memory.d
    y, new, slope = _group(memory, Y, NEW), _group(memory, NEW, STAGE), _group(memory, SLOPES, SLOPES + 1)
    start_norms(y, slope, new, integrator.rtol, integrator.atol, memory.lanes[NORMS : NORMS + 3])
    for lane in range(rows.shape[1]):
        if rows[CHOSEN, lane] > 0.5:
            speed, change = np.sqrt(rows[NORMS + 1, lane] / d), np.sqrt(rows[NORMS + 2, lane] / d)
            if not speed + change < np.inf:
                memory.numbers[STATUS, lane] = FAILED
            elif end > 0.0:
                rows[NEXT, lane] = first_step(-rows[STEP, lane], speed, change, end)
    for i in range(d):
        store(new, i, load(y, i))


@inner
def _choose_steps(end, memory):
    """The step each busy lane tries."""
    rows = memory.rows
    for lane in range(rows.shape[1]):
        rows[CHOSEN, lane] = 0.0
        if memory.numbers[MEMBER, lane] >= 0:
            time, size = rows[TIME, lane], rows[NEXT, lane]
            if memory.numbers[REJECTED, lane] == 0:
                size = max(size, _least(time))
            rows[AFTER, lane] = min(time + size, end)
            rows[STEP, lane] = time - rows[AFTER, lane]


@inner
def _judge_all(integrator, memory):
    """The end of the step and its error in every lane; accepted lanes are chosen. Is there one?"""
    lanes, chosen = memory.lanes, False
    k, new = _group(memory, SLOPES, DENSE), _group(memory, NEW, STAGE)
    norm3, norm5 = finish(_group(memory, Y, NEW), load(lanes, STEP), k, new, integrator.rtol, integrator.atol)
    store(lanes, NORMS, norm3)
    store(lanes, NORMS + 1, norm5)
    for lane in range(memory.rows.shape[1]):
        if memory.numbers[MEMBER, lane] >= 0:
            _judge(memory, lane)
            chosen |= memory.rows[CHOSEN, lane] > 0.5
    return chosen


@inner
def _least(time):
    """Smallest step at this time."""
    return max(10.0 * EPSILON * time, SMALLEST)


@inner
def _judge(memory, lane):
    """Accept or refuse the step of one lane, and set its next step size."""
    rows, numbers, h = memory.rows, memory.numbers, -memory.rows[STEP, lane]
    error = error_norm(rows[NORMS, lane], rows[NORMS + 1, lane], h, memory.d)
    rows[NEXT, lane] = h * step_factor(error, numbers[REJECTED, lane] == 1)
    if error < 1.0:
        rows[CHOSEN, lane] = 1.0
        numbers[REJECTED, lane] = 0
        numbers[ACCEPTS, lane] += 1
        return
    numbers[REJECTED, lane] = 1
    numbers[REJECTS, lane] += 1
    if not rows[NEXT, lane] >= _least(rows[TIME, lane]):
        numbers[STATUS, lane] = FAILED


@inner
def _deliver(dense, observers, ts, memory, results):
    """Record the chosen lanes at every time of ts that their step has reached, by dense output inside the
    step."""
    y, new, shown = _group(memory, Y, NEW), _group(memory, NEW, STAGE), _group(memory, SHOWN, SEEN)
    output = _group(memory, DENSE, SHOWN)
    if dense:
        polynomials(y, new, load(memory.lanes, STEP), _group(memory, SLOPES, DENSE), output)
    while _mark_due(ts, memory) != NOTHING:
        fraction = load(memory.lanes, FRACTION)
        if dense:
            interpolate(y, fraction, output, shown)
        for i in range(memory.d):
            store(shown, i, select(fraction == 1.0, load(new, i), load(shown, i)))
        record(observers, shown, memory.lanes, HEAD + SEEN * memory.d, _work(memory))
        for lane in range(memory.rows.shape[1]):
            if memory.rows[DUE, lane] > 0.5:
                _write(memory, results, lane)


@inner
def _mark_due(ts, memory):
    """Mark the chosen lanes with a time to record, and the fraction of their step where it lies; NOTHING,
    END, INSIDE."""
    rows, found = memory.rows, NOTHING
    for lane in range(rows.shape[1]):
        rows[FRACTION, lane], rows[DUE, lane] = 1.0, 0.0
        mark, after = memory.numbers[MARK, lane], rows[AFTER, lane]
        if rows[CHOSEN, lane] > 0.5 and mark < ts.size and ts[mark] <= after:
            rows[DUE, lane] = 1.0
            found = max(found, END)
            if ts[mark] < after:
                rows[FRACTION, lane] = (ts[mark] - rows[TIME, lane]) / (after - rows[TIME, lane])
                found = INSIDE
    return found


@inner
def _write(memory, results, lane):
    """One lane's observed values, and its state if states are kept."""
    member, mark, d = memory.numbers[MEMBER, lane], memory.numbers[MARK, lane], memory.d
    for j in range(memory.observers):
        results.values[member, mark, j] = memory.rows[HEAD + SEEN * d + j, lane]
    if results.states.shape[1] > 0:
        for i in range(d):
            results.states[member, mark, i] = memory.rows[HEAD + SHOWN * d + i, lane]
    memory.numbers[MARK, lane] = mark + 1


@inner
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


@inner
def _release(memory, results, starts, end):
    """Lanes that arrived or failed give up their member."""
    numbers = memory.numbers
    for lane in range(memory.rows.shape[1]):
        member, time = numbers[MEMBER, lane], memory.rows[TIME, lane]
        if member >= 0 and (time == end or numbers[STATUS, lane] == FAILED):
            results.times[member] = time
            results.counts[member, 0] = numbers[ACCEPTS, lane]
            results.counts[member, 1] = numbers[REJECTS, lane]
            for i in range(memory.d):
                results.final[member, i] = memory.rows[HEAD + i, lane]
            results.counts[member, 2] = FAILED if numbers[STATUS, lane] == FAILED else DONE
            _park(memory, starts, lane)
