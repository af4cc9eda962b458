"""Machine code for one network and few members: neighbouring numbers of a matrix to a vector register.

Eight members side by side take eight times the memory of one, and with wide layers their slopes leave the caches
near the core.  So where layers are wide, a flow takes members one at a time, each in the order of its flat
weights, or two or four, number by number, where eight columns to a register would leave it half empty.  A tile of
C = A B is h rows by c registers of columns: rows of B are loaded, entries of A spread over the lanes.  Where B is a
transpose, it is turned first, block by block.  Sums are those of `lanes.products`, in the same order and with the
same roundings: results are equal, bit by bit.
"""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from sdetheory.lanes.climb import PASS, Plan, climb
from sdetheory.lanes.emit import (
    DOUBLE,
    I32,
    I64,
    LANE,
    LANES,
    POINTER,
    fma_of,
    function_of,
    load,
    load_part,
    loop,
    once,
    repeat,
    spread,
    store_part,
)
from sdetheory.lanes.products import OUTPUT, ROW, WEIGHTS, WORK
from sdetheory.lanes.translate import GRADIENT, KIND, machine_code
from sdetheory.lanes.turn import Turn

FEWEST = 192  # weights from which it pays: below, the loop around the steps takes as long as they (2x8: 1.0, 3x8: 1.15)
ACROSS = 5  # registers of columns in the widest tile
HEIGHT = {1: 8, 2: 8, 3: 6, 4: 4, 5: 5}  # rows of a tile, by its registers of columns: enough sums to hide latency
CLIMB = 1  # what the function may be asked for beside the gradient
AT_ONCE = 4  # terms of a sum written out before the loop comes round
FULL = 0.6  # part of the registers of columns that must be filled for it to pay
_THEN = [PASS.as_pointer(), *[POINTER] * 2, DOUBLE]  # what follows for rows that are ready
NEARLY = 0.87  # the part up to which four members, who take more memory, are better if they fill all
_GRADIENT = ir.FunctionType(ir.VoidType(), [*[POINTER] * 4, DOUBLE, *_THEN])
_PRODUCT = ir.FunctionType(ir.VoidType(), [*[POINTER] * 4, *[DOUBLE] * 2])
_FOLLOWED = ir.FunctionType(ir.VoidType(), [*_PRODUCT.args, *_THEN, *[I64] * 3])


def for_flow(model: Any, slopes: float, plan: Plan) -> tuple[Any, int, int] | None:
    """The model in its form for few members at a time, how many, and the rows of 8 numbers its workspace has; None: a
    member a lane.

    For a run of about so many gradients, in the stages of `plan`; not to be kept beyond it."""
    packed = getattr(model, "packed", None)
    return None if packed is None else packed(slopes, plan)


def members_of(sweep: Any) -> int:
    """How many members go together: those that fill registers of columns best, or 0 where none fill them well or the
    weights are few."""
    sides = sides_of(sweep)
    filled = {m: min(side * m / (LANES * registers(side * m)) for side in sides) for m in (1, 2, 4)}
    best = 2 if filled[2] > filled[1] and not sweep.inputs else 1  # X is read as it is
    if filled[best] < NEARLY and filled[4] == 1.0 and not sweep.inputs:
        best = 4
    return best if filled[best] >= FULL and min(sides) >= LANES and layer_sizes(sweep).sum() >= FEWEST else 0


def sides_of(sweep: Any) -> list[int]:
    """Sides of all matrices: the widths of layers, and the columns of the data."""
    return [*sweep.program[sweep.descending :].tolist(), sweep.entries // int(sweep.program[-1])]


def registers(numbers: int) -> int:
    """Registers that hold so many numbers."""
    return -(-numbers // LANES)


def workspace_rows(sweep: Any) -> int:
    """Rows of 8 numbers: the sweep's own, and the largest matrix to be turned."""
    members = members_of(sweep)
    return registers(sweep.rows * members) + turned_rows(sweep, members)


def turned_rows(sweep: Any, members: int) -> int:
    """Rows of 8 numbers of the largest matrix to be turned, its sides whole registers."""
    widths = sweep.program[sweep.descending :].tolist()
    columns, across = max(*widths, sweep.entries // widths[-1]), LANES // members
    return -(-columns // across) * across * registers(max(widths) * members)


def address_of(sweep: Any, plan: Plan) -> int:
    """Where the function for this sweep's table starts, in this process, called as `translated`.

    Asked for `GRADIENT` it is that of w; asked for `CLIMB`, w are the vectors of a flow, `out` is the head of its
    memory, and `keep` is the weight decay: a step is made, see `lanes.climb`."""
    places = (sweep.forward // ROW, sweep.entries, sweep.inputs, sweep.rows)
    d = int(layer_sizes(sweep).sum())
    forward, back = sweep.program[: sweep.forward], sweep.program[sweep.backward : sweep.descending]
    return _address(np.concatenate([forward, back]).tobytes(), places, d, members_of(sweep), plan)


def layer_sizes(sweep: Any) -> np.ndarray:
    """Weights of each layer."""
    widths = sweep.program[sweep.descending :]
    return widths[1:] * widths[:-1]


@functools.cache
def _address(program: bytes, places: tuple[int, ...], d: int, members: int, plan: Plan) -> int:
    rows = np.frombuffer(program, np.int64).reshape(-1, ROW).tolist()
    module = ir.Module("sdetheory.packed")
    gradient = function_of(module, _GRADIENT, "gradient", aliases=(0, 1, 6, 7))
    _emit(gradient, rows, members, d, *places)
    nothing = function_of(module, PASS, "nothing")
    ir.IRBuilder(nothing.append_basic_block("entry")).ret_void()
    function = ir.Function(module, KIND, "packed")
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    wanted, weights, out, *rest, keep = function.args
    once, climbing = (function.append_basic_block(name) for name in ("once", "climb"))
    builder.cbranch(builder.icmp_signed("==", wanted, I64(GRADIENT)), once, climbing)
    builder.position_at_end(once)
    builder.call(gradient, [weights, out, *rest, nothing, weights, out, keep])
    builder.ret_void()
    builder.position_at_end(climbing)

    def slope(at: Any, to: Any, then: Any) -> None:
        builder.call(gradient, [at, to, *rest, then, weights, out, keep])

    climb(builder, plan, d, members, weights, out, keep, slope)
    builder.ret_void()
    return machine_code(module, "packed")


def _emit(
    function: Any, rows: list[list[int]], members: int, d: int, forward: int, entries: int, inputs: int, scratch: int
) -> None:
    """The rows of a descent, that leave gradients instead: layer by layer, weights are not needed any more when their
    slopes are there, and what follows may move them.

    Slopes are scaled as they are made."""
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    weights, out, work, constants, scale, *then = function.args
    arrays = Arrays({WEIGHTS: weights, OUTPUT: out, WORK: work}, constants, entries, inputs)
    turned = builder.gep(work, [I64(registers(scratch * members) * LANES)])
    ready = registers(d * members)
    for i, row in enumerate(rows):
        finish = Finish(scaled=i == forward - 1)
        if row[9] == WEIGHTS:
            first = registers(row[10] * members)
            finish, ready = Finish(then=Then(then, first, ready)), first
            row = [*row[:9], OUTPUT, *row[10:]]
        multiply(builder, row, members, arrays, turned, finish, scale)
    if ready:
        builder.call(then[0], [*then[1:], I64(0), I64(ready)])
    builder.ret_void()


class Then(NamedTuple):
    """A function for rows of results that are ready, with its arguments; the first row and the one after the last."""

    call: list[Any]
    first: int
    last: int


class Arrays(NamedTuple):
    """Where operands are: numbers of the members side by side, but for constants, which they share."""

    bases: dict[int, Any]
    constants: Any
    entries: int
    inputs: int

    def place(self, builder: Any, members: int, array: int, offset: int) -> Any:
        """Number `offset` of an array; X is read among the constants."""
        if array == WORK and offset < self.inputs:
            return builder.gep(self.constants, [I64(offset + self.entries)])
        return builder.gep(self.bases[array], [I64(offset * members)])


class Finish(NamedTuple):
    """What is stored of a product: A B, or scale A B, or keep old + scale A B."""

    scaled: bool = False
    moved: int | None = None  # the array of the old numbers, which have the places of the new ones in theirs
    then: Then | None = None  # what follows for rows of it


def multiply(
    builder: Any,
    row: list[int],
    members: int,
    arrays: Arrays,
    turned: Any,
    finish: Finish,
    scale: Any,
    keep: Any = None,
) -> None:
    """A call for the product of a row of the table; a transpose on the right is turned first."""
    init, a, oa, ai, ak, b, ob, bk, bj, c, oc, m, q, n = row
    left, right, result = (arrays.place(builder, members, *where) for where in ((a, oa), (b, ob), (c, oc)))
    if bj != 1:
        turn = Turn(builder.module, members, q, n)
        builder.call(turn.function, [right, turned])
        right, bk = turned, turn.stride
    start = builder.gep(arrays.constants, [I64(max(init, 0))])
    if finish.moved is not None:
        start = arrays.place(builder, members, finish.moved, oc)
    product = _Product(builder.module, members, m, q, n, ai, ak, bk, init >= 0, finish, finish.moved == c)
    given = [left, right, result, start, scale, DOUBLE(1.0) if keep is None else keep]
    if finish.then is not None:
        given += [*finish.then.call, *map(I64, (oc * members, finish.then.first, finish.then.last))]
    builder.call(product.function, given)


class _Product:
    """C = A B, or start + A B, finished, with C and start row by row: a function for each shape.

    A register has fewer columns where it holds several members. Old numbers are found at `start`, or, where they are
    replaced in place, at C."""

    def __init__(
        self,
        module: Any,
        members: int,
        m: int,
        q: int,
        n: int,
        ai: int,
        ak: int,
        bk: int,
        starts: bool,
        finish: Finish,
        in_place: bool,
    ) -> None:
        self.members, self.columns = members, LANES // members
        self.m, self.q, self.n, self.ai, self.ak, self.bk, self.starts = m, q, n, ai, ak, bk, starts
        self.scaled, self.moves, self.in_place = finish.scaled, finish.moved is not None, in_place
        self.followed = finish.then is not None
        kind = (m, q, n, ai, ak, bk, *map(int, (starts, self.scaled, self.moves, in_place, self.followed)))
        name, aliases = ".".join(map(str, ("product", *kind))), (2, 7, 8) if self.followed else ()
        self.function = once(module, _FOLLOWED if self.followed else _PRODUCT, name, self.emit, aliases)

    def emit(self, function: Any) -> None:
        """The product, tile by tile."""
        self.function, self.builder = function, ir.IRBuilder(function.append_basic_block("entry"))
        self.fma = fma_of(function.module)
        self.scale, self.keep = (spread(self.builder, number) for number in function.args[4:6])
        parts = _parts(registers(self.q * self.members), ACROSS)
        for register, across in parts:
            for first, height, count in _runs(_parts(self.m, HEIGHT[across])):
                whole = self.followed and len(parts) == 1  # tiles fill rows of the matrix from end to end
                emit = functools.partial(self.tile, first, height, self.columns * register, across, whole)
                repeat(self.builder, count, emit)
        if self.followed and len(parts) > 1:
            self.follow(0, self.m, I64(0))
        self.builder.ret_void()

    def follow(self, first: int, height: int, number: Any) -> None:
        """What follows for the rows of eight that a tile has filled; one that it filled in part waits for the next."""
        builder = self.builder
        then, *given, base, start, end = self.function.args[6:]
        top = builder.add(I64(first), builder.mul(number, I64(height)))
        below = builder.add(top, I64(height))
        ends = [builder.add(base, builder.mul(row, I64(self.q * self.members))) for row in (top, below)]
        low, high = (builder.sdiv(numbers, I64(LANES)) for numbers in ends)
        low = builder.select(builder.icmp_signed("<", low, start), start, low)
        high = builder.select(builder.icmp_signed("==", below, I64(self.m)), end, high)
        builder.call(then, [*given, low, high])

    def tile(self, first: int, height: int, column: int, across: int, followed: bool, number: Any) -> None:
        """Tile `number` of a run of equal ones that starts at row `first`; each sum is added up in the order of k."""
        builder, members = self.builder, self.members
        left, right, result, start, *_ = self.function.args
        top = builder.add(I64(first), builder.mul(number, I64(height)))
        corner = builder.add(builder.mul(top, I64(self.q)), I64(column))
        filled = [min(self.columns, self.q - column - self.columns * s) for s in range(across)]
        cells = [(r * self.q + self.columns * s, filled[s]) for r in range(height) for s in range(across)]
        sums = [ir.Constant(LANE, None) for _ in cells]
        if self.starts:
            begin = builder.gep(start, [corner])
            sums = [self.shared(begin, *cell) for cell in cells]
        a = builder.gep(left, [builder.mul(top, I64(self.ai * members))])
        sums = self.sum(a, builder.gep(right, [I64(column * members)]), sums, height, filled)
        end = builder.gep(result, [builder.mul(corner, I64(members))])
        old = end if self.in_place else builder.gep(start, [builder.mul(corner, I64(members))])
        for (cell, columns), total in zip(cells, sums, strict=True):
            value = self.finished(total, old, cell * members, columns * members)
            store_part(builder, value, end, cell * members, columns * members)
        if followed:
            self.follow(first, height, number)

    def finished(self, total: Any, old: Any, offset: int, lanes: int) -> Any:
        """What is stored of a sum."""
        if self.moves:
            kept = self.builder.fmul(self.keep, load_part(self.builder, old, offset, lanes))
            return self.builder.call(self.fma, [self.scale, total, kept])
        return self.builder.fmul(self.scale, total) if self.scaled else total

    def shared(self, base: Any, offset: int, columns: int) -> Any:
        """Numbers that all members have."""
        value = load_part(self.builder, base, offset, columns, ir.VectorType(DOUBLE, self.columns))
        order = ir.Constant(ir.VectorType(I32, LANES), [I32(lane // self.members) for lane in range(LANES)])
        return self.builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), order)

    def sum(self, a: Any, b: Any, sums: list[Any], height: int, filled: list[int]) -> list[Any]:
        """sums + A B of a tile, whose registers have so many columns."""
        builder, members, rest = self.builder, self.members, self.n % AT_ONCE
        step_a, step_b = (I64(AT_ONCE * step * members) for step in (self.ak, self.bk))
        starts, more = [I64(self.n - rest), a, b, *sums], lambda then: builder.icmp_signed(">", then[0], I64(0))
        with loop(builder, starts, more) as ((left, at_a, at_b, *totals), following):
            totals = self.terms(at_a, at_b, totals, AT_ONCE, height, filled)
            after = builder.gep(at_a, [step_a]), builder.gep(at_b, [step_b])
            following[:] = [builder.sub(left, I64(AT_ONCE)), *after, *totals]
        _, next_a, next_b, *totals = following
        return self.terms(next_a, next_b, totals, rest, height, filled)

    def terms(self, a: Any, b: Any, sums: list[Any], count: int, height: int, filled: list[int]) -> list[Any]:
        """So many terms more."""
        builder, members, sums = self.builder, self.members, list(sums)
        for k in range(count):
            rows = [
                load_part(builder, b, (k * self.bk + self.columns * s) * members, columns * members)
                for s, columns in enumerate(filled)
            ]
            for r in range(height):
                one = load(builder, a, (r * self.ai + k * self.ak) * members, ir.VectorType(DOUBLE, members))
                entry = spread(builder, one, members)
                for s, row in enumerate(rows):
                    i = r * len(rows) + s
                    sums[i] = builder.call(self.fma, [entry, row, sums[i]])
        return sums


def _parts(side: int, largest: int) -> list[tuple[int, int]]:
    """(start, length) of parts of a side as equal as can be, the longer ones first."""
    count = -(-side // largest)
    lengths = [side // count + (part < side % count) for part in range(count)]
    return list(zip(itertools.accumulate([0, *lengths[:-1]]), lengths, strict=True))


def _runs(parts: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(start, length, count) of neighbours of equal length."""
    groups = [list(group) for _, group in itertools.groupby(parts, key=lambda part: part[1])]
    return [(group[0][0], group[0][1], len(group)) for group in groups]
