"""The memory of an adaptive flow: W members at a time, one a lane, or few members that share the lanes."""

from typing import NamedTuple

import numpy as np
from numba import njit

from sdetheory.integrators.dop853 import ERROR, PARTS, SLOT, SLOTS, STAGES
from sdetheory.integrators.stages import inner
from sdetheory.lanes.climb import Plan, Terms
from sdetheory.lanes.packed import FEWEST
from sdetheory.lanes.vector import float_rows, lane_array, load

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
    and observers.

    A member has `share` lanes, 1 or W / M for M members: number i of member m is number i M + m of a vector, row by
    row; the rest of its last row is zero."""

    lanes: np.ndarray  # (rows,) lane array
    rows: np.ndarray  # (rows, W) the same memory, number by number
    numbers: np.ndarray  # (NUMBERS, W / share) int64
    d: int
    share: int
    height: int
    observers: int


def make_memory(d: int, observers: int, scratch: int, width: int, share: int = 1) -> Memory:
    """Zeroed memory for states of d numbers."""
    height = -(-d // share)
    lanes = lane_array(HEAD + SEEN * height + observers + scratch, width)
    numbers = np.zeros((NUMBERS, width // share), np.int64)
    return Memory(lanes, float_rows(lanes), numbers, d, share, height, observers)


@njit(inline="always")
def group(memory, first, last):
    """The vectors number first, ..., last-1 of the memory."""
    return memory.lanes[HEAD + first * memory.height : HEAD + last * memory.height]


@njit(inline="always")
def work_of(memory):
    """The workspace of the model and of the observers, one at a time."""
    return memory.lanes[HEAD + SEEN * memory.height + memory.observers :]


@njit(inline="always")
def parts_of(memory):
    """Into how many rows a norm is summed: with the lanes of a member in them the same parts, however many it has."""
    return PARTS // memory.share if memory.d >= FEWEST else 1


@inner
def each(memory, row):
    """Every member's number, in all of its lanes."""
    rows, members = memory.rows, memory.numbers.shape[1]
    if memory.share == 1:
        return load(memory.lanes, row)
    for lane in range(rows.shape[1]):
        rows[SPREAD, lane] = rows[row, lane % members]
    return load(memory.lanes, SPREAD)


@inner
def total_up(memory, norms):
    """Add up the parts of the first norms, in one order: whether they are in rows or in lanes of a member."""
    rows, share, members = memory.rows, memory.share, memory.numbers.shape[1]
    if memory.d >= FEWEST:
        for row in range(NORMS, NORMS + norms * PARTS, PARTS):
            for member in range(members):
                total = rows[row, member]
                for part in range(1, PARTS):
                    total += rows[row + part // share, part % share * members + member]
                rows[row, member] = total


@inner
def place_of(memory, i, lane):
    """Row and lane of number i of the member of a lane, in a vector that starts with row 0."""
    if memory.share == 1:
        return i, lane
    at, width = i * memory.numbers.shape[1] + lane, memory.rows.shape[1]
    return at // width, at % width


@inner
def enter(memory, starts, member, lane):
    """A start goes to the lanes of its member."""
    for i in range(memory.d):
        row, column = place_of(memory, i, lane)
        memory.rows[HEAD + row, column] = starts[member, i]


@inner
def leave(memory, first, lane, state):
    """state (d,) <- the vector from row `first` on in a member's lanes."""
    for i in range(memory.d):
        row, column = place_of(memory, i, lane)
        state[i] = memory.rows[first + row, column]


@inner
def show(memory):
    """Where the state to be shown starts, with a member a lane as observers expect it, and the workspace for them."""
    shown, work = HEAD + SHOWN * memory.height, HEAD + SEEN * memory.height + memory.observers
    if memory.share == 1 or memory.observers == 0:
        return shown, work
    rows, members = memory.rows, memory.numbers.shape[1]
    for i in range(memory.d):
        for lane in range(rows.shape[1]):
            row, column = place_of(memory, i, lane % members)
            rows[work + i, lane] = rows[shown + row, column]
    return work, work + memory.d
