"""The compiled loop of adaptive flows: W members at a time, one a lane, or few that share the lanes; each with its
own clock, refilled from a queue."""

from typing import NamedTuple

import numpy as np

from sdetheory.integrators.dop853 import (
    EPSILON,
    SLOT,
    STAGES,
    TERMS,
    error_norm,
    first_step,
    interpolate,
    polynomials,
    start_norms,
    step_factor,
    trial_step,
)
from sdetheory.integrators.memory import (
    ACCEPTS,
    AFTER,
    CHOSEN,
    DENSE,
    DUE,
    EMPTY,
    FRACTION,
    HEAD,
    LAST,
    MARK,
    MEMBER,
    NEW,
    NEXT,
    NORM2,
    NORM3,
    NORMS,
    REJECTED,
    REJECTS,
    SEEN,
    SHOWN,
    SLOPES,
    STAGE,
    STATUS,
    STEP,
    TIME,
    TOLERANCES,
    Y,
    each,
    enter,
    group,
    leave,
    measure_end,
    parts_of,
    show,
    step_at_once,
    total_up,
    work_of,
)
from sdetheory.integrators.stages import combine, force, inlined, inner
from sdetheory.lanes.borrowed import borrowed
from sdetheory.lanes.cache import compiled
from sdetheory.lanes.driver import record
from sdetheory.lanes.vector import load, select, store, take

RUNNING, DONE, FAILED = 0, 1, 2
EULER = np.ones(1)
SMALLEST = 1e-300  # a step below this, or below 10 ulps of the time, has underflowed
# A phase is the slope being computed: 1 ... 11 of a step, 12 at its end, 13 ... 15 for dense output, or one
# of these.
START, SLOPE_OF_START, SLOPE_AHEAD, STOP = 0, 16, 17, 18
LAST_EXTRA = 15
NOTHING, END, INSIDE = 0, 1, 2  # what is due: nothing, the end of a step, a time inside a step


class Results(NamedTuple):
    """What the loop writes, by member."""

    values: np.ndarray  # (members, T, observers)
    states: np.ndarray  # (members, T or 0, d)
    final: np.ndarray  # (members, d)
    times: np.ndarray  # (members,) time reached
    counts: np.ndarray  # (members, 3) accepted steps, rejected steps, DONE or FAILED


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
    lanes, work = memory.lanes, work_of(memory)
    if phase == START:
        for lane in range(memory.numbers.shape[1]):
            _park(memory, starts, lane)
        memory.numbers[EMPTY, 0] = 0
        store(lanes, TOLERANCES, integrator.rtol)
        store(lanes, TOLERANCES + 1, integrator.atol)
        phase = _begin(ts[-1], starts, memory, queue)
    while phase != STOP and slopes > 0:
        slopes -= 1
        if step_at_once(phase, model, weight_decay, memory):
            phase, slopes = LAST - 1, slopes - (LAST - 2)
        else:
            if phase < SLOPE_OF_START and phase != LAST:
                _stage(phase, memory)
            place, slope = _place(phase), _slope(phase)
            at, out = group(memory, place, place + 1), group(memory, slope, slope + 1)
            force(model, 1.0, weight_decay, at, out, work)
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


@inlined
def _after(phase, integrator, observers, ts, starts, memory, results, queue):
    """What to do with the slope just computed; returns the phase of the slope needed next."""
    end = ts[-1]
    if phase == SLOPE_OF_START:
        _look_ahead(integrator, end, memory)
        return SLOPE_AHEAD
    arrived = True
    if phase == SLOPE_AHEAD:
        _first_steps(integrator, end, memory)
    elif phase == LAST - 1:
        if _judge_all(integrator, memory):
            return LAST
        arrived = False
    elif (phase == LAST and _mark_due(ts, memory) == INSIDE) or LAST < phase < LAST_EXTRA:
        return phase + 1
    if arrived:
        _deliver(phase == LAST_EXTRA, observers, ts, memory, results)
    if arrived and phase != SLOPE_AHEAD:
        _move_on(memory)
    _release(memory, results, starts, end)
    return _begin(end, starts, memory, queue)


@inner
def _stage(s, memory):
    """The state at which slope s (from 0) is taken."""
    combine(
        group(memory, Y, NEW),
        each(memory, STEP),
        STAGES[s],
        TERMS[s],
        group(memory, SLOPES, DENSE),
        group(memory, STAGE, SLOPES),
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
    enter(memory, starts, 0, lane)


@inlined
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
            enter(memory, starts, member, lane)
    return found


@inner
def _measure_start(integrator, memory, moved):
    """Norms of the states, of their first slopes, and of the change to the slopes `moved`."""
    lanes, parts = memory.lanes, parts_of(memory)
    y, slope = group(memory, Y, NEW), group(memory, SLOPES, SLOPES + 1)
    for part in range(parts):
        size, speed, change = start_norms(y, slope, moved, integrator.rtol, integrator.atol, part, parts)
        store(lanes, NORMS + part, size)
        store(lanes, NORM2 + part, speed)
        store(lanes, NORM3 + part, change)
    total_up(memory, 3)


@inlined
def _look_ahead(integrator, end, memory):
    """Slopes of the chosen lanes' starts (in `new`) become their first; one Euler step ahead into the
    stage."""
    rows, _lanes, d = memory.rows, memory.lanes, memory.d
    y, new, slope = group(memory, Y, NEW), group(memory, NEW, STAGE), group(memory, SLOPES, SLOPES + 1)
    chosen = each(memory, CHOSEN) > 0.5
    for i in range(y.size):
        store(slope, i, select(chosen, load(new, i), load(slope, i)))
    _measure_start(integrator, memory, slope)
    for lane in range(memory.numbers.shape[1]):
        size, speed = np.sqrt(rows[NORMS, lane] / d), np.sqrt(rows[NORM2, lane] / d)
        rows[STEP, lane] = -trial_step(size, speed, end)
    combine(y, each(memory, STEP), EULER, TERMS[1], slope, group(memory, STAGE, SLOPES))


@inlined
def _first_steps(integrator, end, memory):
    """First step sizes of the chosen lanes from the slope ahead (in `new`); then `new` is their start."""
    rows, d = memory.rows, memory.d
    y, new, _slope = group(memory, Y, NEW), group(memory, NEW, STAGE), group(memory, SLOPES, SLOPES + 1)
    _measure_start(integrator, memory, new)
    for lane in range(memory.numbers.shape[1]):
        if rows[CHOSEN, lane] > 0.5:
            speed, change = np.sqrt(rows[NORM2, lane] / d), np.sqrt(rows[NORM3, lane] / d)
            if not speed + change < np.inf:
                memory.numbers[STATUS, lane] = FAILED
            elif end > 0.0:
                rows[NEXT, lane] = first_step(-rows[STEP, lane], speed, change, end)
    for i in range(y.size):
        store(new, i, load(y, i))


@inlined
def _choose_steps(end, memory):
    """The step each busy lane tries."""
    rows = memory.rows
    for lane in range(memory.numbers.shape[1]):
        rows[CHOSEN, lane] = 0.0
        if memory.numbers[MEMBER, lane] >= 0:
            time, size = rows[TIME, lane], rows[NEXT, lane]
            if memory.numbers[REJECTED, lane] == 0:
                size = max(size, _least(time))
            rows[AFTER, lane] = min(time + size, end)
            rows[STEP, lane] = time - rows[AFTER, lane]


@inlined
def _judge_all(integrator, memory):
    """The end of the step and its error in every lane; accepted lanes are chosen. Is there one?"""
    chosen = False
    measure_end(integrator, memory)
    total_up(memory, 2)
    for lane in range(memory.numbers.shape[1]):
        if memory.numbers[MEMBER, lane] >= 0:
            _judge(memory, lane)
            chosen |= memory.rows[CHOSEN, lane] > 0.5
    return chosen


@inner
def _least(time):
    """Smallest step at this time."""
    return max(10.0 * EPSILON * time, SMALLEST)


@inlined
def _judge(memory, lane):
    """Accept or refuse the step of one lane, and set its next step size."""
    rows, numbers, h = memory.rows, memory.numbers, -memory.rows[STEP, lane]
    error = error_norm(rows[NORMS, lane], rows[NORM2, lane], h, memory.d)
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


@inlined
def _deliver(dense, observers, ts, memory, results):
    """Record the chosen lanes at every time of ts that their step has reached, by dense output inside the
    step."""
    y, new, shown = group(memory, Y, NEW), group(memory, NEW, STAGE), group(memory, SHOWN, SEEN)
    output = group(memory, DENSE, SHOWN)
    if dense:
        polynomials(y, new, each(memory, STEP), group(memory, SLOPES, DENSE), output)
    while _mark_due(ts, memory) != NOTHING:
        fraction = each(memory, FRACTION)
        if dense:
            interpolate(y, fraction, output, shown)
        for i in range(y.size):
            store(shown, i, select(fraction == 1.0, load(new, i), load(shown, i)))
        at, after = show(memory)
        lanes, seen = memory.lanes, HEAD + SEEN * memory.height
        record(observers, lanes[at : at + memory.d], lanes, seen, lanes[after:])
        for lane in range(memory.numbers.shape[1]):
            if memory.rows[DUE, lane] > 0.5:
                _write(memory, results, lane)


@inner
def _mark_due(ts, memory):
    """Mark the chosen lanes with a time to record, and the fraction of their step where it lies; NOTHING,
    END, INSIDE."""
    rows, found = memory.rows, NOTHING
    for lane in range(memory.numbers.shape[1]):
        rows[FRACTION, lane], rows[DUE, lane] = 1.0, 0.0
        mark, after = memory.numbers[MARK, lane], rows[AFTER, lane]
        if rows[CHOSEN, lane] > 0.5 and mark < ts.size and ts[mark] <= after:
            rows[DUE, lane] = 1.0
            found = max(found, END)
            if ts[mark] < after:
                rows[FRACTION, lane] = (ts[mark] - rows[TIME, lane]) / (after - rows[TIME, lane])
                found = INSIDE
    return found


@inlined
def _write(memory, results, lane):
    """One lane's observed values, and its state if states are kept."""
    member, mark, height = memory.numbers[MEMBER, lane], memory.numbers[MARK, lane], memory.height
    for j in range(memory.observers):
        results.values[member, mark, j] = memory.rows[HEAD + SEEN * height + j, lane]
    if results.states.shape[1] > 0:
        leave(memory, HEAD + SHOWN * height, lane, results.states[member, mark])
    memory.numbers[MARK, lane] = mark + 1


@inlined
def _move_on(memory):
    """Chosen lanes begin where their step ended, with its last slope as the first."""
    chosen, last = each(memory, CHOSEN) > 0.5, SLOT[12] * memory.height
    y, new, k = group(memory, Y, NEW), group(memory, NEW, STAGE), group(memory, SLOPES, DENSE)
    for i in range(y.size):
        store(y, i, select(chosen, load(new, i), load(y, i)))
        store(k, i, select(chosen, load(k, last + i), load(k, i)))
    for lane in range(memory.numbers.shape[1]):
        if memory.rows[CHOSEN, lane] > 0.5:
            memory.rows[TIME, lane] = memory.rows[AFTER, lane]


@inlined
def _release(memory, results, starts, end):
    """Lanes that arrived or failed give up their member."""
    numbers = memory.numbers
    for lane in range(memory.numbers.shape[1]):
        member, time = numbers[MEMBER, lane], memory.rows[TIME, lane]
        if member >= 0 and (time == end or numbers[STATUS, lane] == FAILED):
            results.times[member] = time
            results.counts[member, 0] = numbers[ACCEPTS, lane]
            results.counts[member, 1] = numbers[REJECTS, lane]
            leave(memory, HEAD, lane, results.final[member])
            results.counts[member, 2] = FAILED if numbers[STATUS, lane] == FAILED else DONE
            _park(memory, starts, lane)
