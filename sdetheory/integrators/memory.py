"""The memory of an adaptive flow: W members at a time, one a lane, or few members that share the lanes."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload

from sdetheory.integrators.dop853 import ERROR, PARTS, SLOT, SLOTS, STAGES, finish
from sdetheory.integrators.stages import inner
from sdetheory.lanes.climb import Plan, Terms
from sdetheory.lanes.packed import FEWEST
from sdetheory.lanes.parts import OPTIONS
from sdetheory.lanes.vector import float_rows, lane_array, load, store
from sdetheory.lanes.verbs import climb

# First rows of the memory, one number a member: the step being tried (with the minus of the descent), the
# fraction of it that is wanted, marks of chosen and of due lanes (1.0), time, time after the step, next step
# size, relative and absolute tolerance, one of them spread over the lanes, and the parts of three norms.
STEP, FRACTION, CHOSEN, DUE, TIME, AFTER, NEXT, TOLERANCES, SPREAD, NORMS = 0, 1, 2, 3, 4, 5, 6, 7, 9, 10
HEAD = NORMS + 3 * PARTS
NORM2, NORM3 = NORMS + PARTS, NORMS + 2 * PARTS
# The vectors that follow, `height` rows each: state, end of the step, stage, slopes, dense polynomials, state shown.
Y, NEW, STAGE, SLOPES, DENSE, SHOWN, SEEN = 0, 1, 2, 3, 3 + SLOTS, 10 + SLOTS, 11 + SLOTS
LAST = 12  # the slope at the end of a step, from 0
# Rows of `numbers`: member in the lane (-1: none), next entry of ts, was the last step rejected, steps accepted
# and rejected, status; and (in the first lane) whether the queue was found empty. Counts stay here until the
# member is done: neighbours in `results` belong to other threads, which would wait for the shared cache line.
MEMBER, MARK, REJECTED, ACCEPTS, REJECTS, STATUS, EMPTY, NUMBERS = 0, 1, 2, 3, 4, 5, 6, 7


def _terms(row: np.ndarray) -> Terms:
    """Slopes by slot, and their coefficients."""
    return tuple((i, float(row[i])) for i in np.flatnonzero(row).tolist())


# A step as machine code may do it, for members that share the lanes.
PLAN = Plan(
    Y,
    NEW,
    STAGE,
    SLOPES,
    tuple((int(SLOT[s]), _terms(STAGES[s])) for s in range(1, LAST)),
    (_terms(ERROR[0]), _terms(ERROR[1]), _terms(ERROR[2])),
    STEP,
    TOLERANCES,
    (NORMS, NORM2),
)


class Memory(NamedTuple):
    """What the W lanes work on: HEAD rows, the vectors, what the observers saw, and a workspace shared by model
    and observers. A member has a lane: its number i is row i of a vector."""

    lanes: np.ndarray  # (rows,) lane array
    rows: np.ndarray  # (rows, W) the same memory, number by number
    numbers: np.ndarray  # (NUMBERS, W) int64
    d: int
    height: int  # rows of a vector
    observers: int


class Shared(NamedTuple):
    """The same for few members that share the lanes: number i of member m of M is number i M + m of a vector, row by
    row; the rest of its last row is zero."""

    lanes: np.ndarray  # (rows,) lane array
    rows: np.ndarray  # (rows, W)
    numbers: np.ndarray  # (NUMBERS, M) int64
    d: int
    height: int
    observers: int
    share: int  # lanes of a member, W / M


def make_memory(d: int, observers: int, scratch: int, width: int, share: int = 1) -> Memory | Shared:
    """Zeroed memory for states of d numbers."""
    height = -(-d // share)
    lanes = lane_array(HEAD + SEEN * height + observers + scratch, width)
    numbers = np.zeros((NUMBERS, width // share), np.int64)
    memory = Memory(lanes, float_rows(lanes), numbers, d, height, observers)
    return memory if share == 1 else Shared(*memory, share)


@njit(inline="always")
def group(memory, first, last):
    """The vectors number first, ..., last-1 of the memory."""
    return memory.lanes[HEAD + first * memory.height : HEAD + last * memory.height]


@njit(inline="always")
def work_of(memory):
    """The workspace of the model and of the observers, one at a time."""
    return memory.lanes[HEAD + SEEN * memory.height + memory.observers :]


# ---- what depends on who shares lanes: each run compiles the form it needs


def _choose(memory: Any, alone: Any, shared: Any) -> Any:
    """The form for a kind of memory."""
    return shared if memory.instance_class is Shared else alone


def each(memory, row):
    """Every member's number, in all of its lanes."""
    return load(memory.lanes, row)


@overload(each, jit_options=OPTIONS)
def _each(memory, row):
    def shared(memory, row):
        rows, members = memory.rows, memory.numbers.shape[1]
        for lane in range(rows.shape[1]):
            rows[SPREAD, lane] = rows[row, lane % members]
        return load(memory.lanes, SPREAD)

    return _choose(memory, each, shared)


def parts_of(memory):
    """Into how many rows a norm is summed: with the lanes of a member in them the same parts, however many it has."""
    return PARTS if memory.d >= FEWEST else 1


@overload(parts_of, jit_options=OPTIONS)
def _parts_of(memory):
    return _choose(memory, parts_of, lambda memory: PARTS // memory.share)


def total_up(memory, norms):
    """Add up the parts of the first norms, in one order: whether they are in rows or in lanes of a member."""
    for row in range(NORMS, NORMS + norms * PARTS, PARTS):
        for part in range(1, parts_of(memory)):
            store(memory.lanes, row, load(memory.lanes, row) + load(memory.lanes, row + part))


@overload(total_up, jit_options=OPTIONS)
def _total_up(memory, norms):
    def shared(memory, norms):
        rows, share, members = memory.rows, memory.share, memory.numbers.shape[1]
        for row in range(NORMS, NORMS + norms * PARTS, PARTS):
            for member in range(members):
                total = rows[row, member]
                for part in range(1, PARTS):
                    total += rows[row + part // share, part % share * members + member]
                rows[row, member] = total

    return _choose(memory, total_up, shared)


@inner
def _place(memory, first, i, lane):
    """Row and lane of number i of the member of a lane, in the vector that starts with row `first`."""
    at, width = i * memory.numbers.shape[1] + lane, memory.rows.shape[1]
    return first + at // width, at % width


def enter(memory, starts, member, lane):
    """A start goes to the lanes of its member."""
    for i in range(memory.d):
        memory.rows[HEAD + i, lane] = starts[member, i]


@overload(enter, jit_options=OPTIONS)
def _enter(memory, starts, member, lane):
    def shared(memory, starts, member, lane):
        for i in range(memory.d):
            row, column = _place(memory, HEAD, i, lane)
            memory.rows[row, column] = starts[member, i]

    return _choose(memory, enter, shared)


def leave(memory, first, lane, state):
    """state (d,) <- the vector from row `first` on in a member's lanes."""
    for i in range(memory.d):
        state[i] = memory.rows[first + i, lane]


@overload(leave, jit_options=OPTIONS)
def _leave(memory, first, lane, state):
    def shared(memory, first, lane, state):
        for i in range(memory.d):
            row, column = _place(memory, first, i, lane)
            state[i] = memory.rows[row, column]

    return _choose(memory, leave, shared)


def show(memory):
    """Where the state to be shown starts, with a member a lane as observers expect it, and the workspace for them."""
    return HEAD + SHOWN * memory.height, HEAD + SEEN * memory.height + memory.observers


@overload(show, jit_options=OPTIONS)
def _show(memory):
    def shared(memory):
        shown, work = HEAD + SHOWN * memory.height, HEAD + SEEN * memory.height + memory.observers
        if memory.observers == 0:
            return shown, work
        rows, members = memory.rows, memory.numbers.shape[1]
        for i in range(memory.d):
            for lane in range(rows.shape[1]):
                row, column = _place(memory, shown, i, lane % members)
                rows[work + i, lane] = rows[row, column]
        return work, work + memory.d

    return _choose(memory, show, shared)


def step_at_once(phase, model, weight_decay, memory):
    """Make all slopes of a step but the last, its end and its errors, if there is code for that. Was it done?"""
    return False


@overload(step_at_once, jit_options=OPTIONS)
def _step_at_once(phase, model, weight_decay, memory):
    def shared(phase, model, weight_decay, memory):
        if phase == 1:
            climb(model, weight_decay, memory.lanes[HEAD:], memory.lanes[STEP:HEAD], work_of(memory))
        return phase == 1

    return _choose(memory, step_at_once, shared)


def measure_end(integrator, memory):
    """The end of the step, and the squared norms of its errors, unless they are known."""
    y, new, k = group(memory, Y, NEW), group(memory, NEW, STAGE), group(memory, SLOPES, DENSE)
    parts = parts_of(memory)
    for part in range(parts):
        norm3, norm5 = finish(y, load(memory.lanes, STEP), k, new, integrator.rtol, integrator.atol, part, parts)
        store(memory.lanes, NORMS + part, norm3)
        store(memory.lanes, NORM2 + part, norm5)


@overload(measure_end, jit_options=OPTIONS)
def _measure_end(integrator, memory):
    return _choose(memory, measure_end, lambda integrator, memory: None)
