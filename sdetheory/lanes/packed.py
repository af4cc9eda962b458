"""Machine code for one network and few members: neighbouring numbers of a matrix to a vector register.

Eight members side by side take eight times the memory of one, and with wide layers their slopes leave the caches
near the core.  So where layers are wide, a flow takes members one at a time, each in the order of its flat
weights, or two, number by number, where eight columns to a register would leave it half empty.  A tile of
C = A B is h rows by c registers of columns: rows of B are loaded, entries of A spread over the lanes.  Where B is a
transpose, it is turned first, block by block.  Sums are those of `lanes.products`, in the same order and with the
same roundings: results are equal, bit by bit.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from llvmlite import ir

from sdetheory.lanes.climb import Climb, Plan
from sdetheory.lanes.emit import (
    DOUBLE,
    I32,
    I64,
    LANE,
    LANES,
    POINTER,
    fma_of,
    load,
    load_part,
    repeat,
    spread,
    store,
    store_part,
)
from sdetheory.lanes.products import OUTPUT, ROW, WEIGHTS, WORK
from sdetheory.lanes.translate import GRADIENT, machine_code

FEWEST = 192  # weights from which it pays: below, the loop around the steps takes as long as they (2x8: 1.0, 3x8: 1.15)
ACROSS = 4  # registers of columns in the widest tile
HEIGHT = {1: 8, 2: 8, 3: 6, 4: 4}  # rows of a tile, by its registers of columns: enough sums to hide their latency
CLIMB = 1  # what the function may be asked for beside the gradient
AT_ONCE = 4  # terms of a sum written out before the loop comes round
FULL = 0.6  # part of the registers of columns that must be filled for it to pay
_HALF = ir.VectorType(DOUBLE, LANES // 2)
_KIND = ir.FunctionType(ir.VoidType(), [I64, *[POINTER] * 4, *[DOUBLE] * 2])  # as in `lanes.translate`
_GRADIENT = ir.FunctionType(ir.VoidType(), [*[POINTER] * 4, DOUBLE])
_PRODUCT = ir.FunctionType(ir.VoidType(), [*[POINTER] * 4, DOUBLE])
_TURN = ir.FunctionType(ir.VoidType(), [POINTER] * 2)


def for_flow(model: Any, slopes: float, plan: Plan) -> tuple[Any, int, int] | None:
    """The model in its form for few members at a time, how many, and the rows of 8 numbers its workspace has; None: a
    member a lane.

    For a run of about so many gradients, in the stages of `plan`; not to be kept beyond it."""
    packed = getattr(model, "packed", None)
    return None if packed is None else packed(slopes, plan)


def members_of(sweep: Any) -> int:
    """How many members go together: those that fill registers of columns best, or 0 where none fill them well or the
    weights are few."""
    sides = [*sweep.program[sweep.descending :].tolist(), sweep.entries // int(sweep.program[-1])]
    filled = {m: min(side * m / (LANES * registers(side * m)) for side in sides) for m in (1, 2)}
    if sweep.inputs:
        del filled[2]  # X is read as it is
    best = max(filled, key=lambda m: filled[m])
    return best if filled[best] >= FULL and min(sides) >= LANES and layer_sizes(sweep).sum() >= FEWEST else 0


def registers(numbers: int) -> int:
    """Registers that hold so many numbers."""
    return -(-numbers // LANES)


def workspace_rows(sweep: Any) -> int:
    """Rows of 8 numbers: the sweep's own, and the largest matrix to be turned, its sides whole registers."""
    widths = sweep.program[sweep.descending :].tolist()
    columns, members = max(*widths, sweep.entries // widths[-1]), members_of(sweep)
    across = LANES // members
    return registers(sweep.rows * members) + -(-columns // across) * across * registers(max(widths) * members)


def address_of(sweep: Any, plan: Plan) -> int:
    """Where the function for this sweep's table starts, in this process, called as `translated`.

    Asked for `GRADIENT` it is that of w; asked for `CLIMB`, w are the vectors of a flow, `out` is the head of its
    memory, and `keep` is the weight decay: a step is made, see `lanes.climb`."""
    places = (sweep.forward // ROW, sweep.entries, sweep.inputs, sweep.rows)
    d = int(layer_sizes(sweep).sum())
    return _address(sweep.program[: sweep.backward].tobytes(), places, d, members_of(sweep), plan)


def layer_sizes(sweep: Any) -> np.ndarray:
    """Weights of each layer."""
    widths = sweep.program[sweep.descending :]
    return widths[1:] * widths[:-1]


@functools.cache
def _address(program: bytes, places: tuple[int, ...], d: int, members: int, plan: Plan) -> int:
    rows = np.frombuffer(program, np.int64).reshape(-1, ROW).tolist()
    module = ir.Module("sdetheory.packed")
    gradient = _function(module, _GRADIENT, "gradient")
    _emit(gradient, rows, members, *places)
    function = ir.Function(module, _KIND, "packed")
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    wanted, weights, out, *rest, keep = function.args
    once, climb = (function.append_basic_block(name) for name in ("once", "climb"))
    builder.cbranch(builder.icmp_signed("==", wanted, I64(GRADIENT)), once, climb)
    builder.position_at_end(once)
    builder.call(gradient, [weights, out, *rest])
    builder.ret_void()
    builder.position_at_end(climb)
    Climb(builder, plan, d, members, weights, out, keep, lambda at, to: builder.call(gradient, [at, to, *rest])).emit()
    builder.ret_void()
    return machine_code(module, "packed")


def _emit(
    function: Any, rows: list[list[int]], members: int, forward: int, entries: int, inputs: int, scratch: int
) -> None:
    """A call for each product, the operands at known places; X is read among the constants."""
    builder, module = ir.IRBuilder(function.append_basic_block("entry")), function.module
    weights, out, work, constants, scale = function.args
    bases = {WEIGHTS: weights, OUTPUT: out, WORK: work}
    turned = builder.gep(work, [I64(registers(scratch * members) * LANES)])

    def place(array: int, offset: int) -> Any:
        if array == WORK and offset < inputs:
            return builder.gep(constants, [I64(offset + entries)])
        return builder.gep(bases[array], [I64(offset * members)])

    for i, (init, a, oa, ai, ak, b, ob, bk, bj, c, oc, m, q, n) in enumerate(rows):
        right = place(b, ob)
        if bj != 1:
            turn = _Turn(module, members, q, n)
            builder.call(turn.function, [right, turned])
            right, bk = turned, turn.stride
        start = builder.gep(constants, [I64(max(init, 0))])
        product = _Product(module, members, m, q, n, ai, ak, bk, init >= 0, i == forward - 1)
        builder.call(product.function, [place(a, oa), right, place(c, oc), start, scale])
    builder.ret_void()


class _Product:
    """C = A B, or start + A B, or scale (start + A B), with C and start row by row: a function for each shape.

    Numbers of `members` lie side by side, but for the start, which they share; a register has so many columns fewer."""

    def __init__(
        self, module: Any, members: int, m: int, q: int, n: int, ai: int, ak: int, bk: int, starts: bool, scaled: bool
    ) -> None:
        self.members, self.columns = members, LANES // members
        self.q, self.n, self.ai, self.ak, self.bk, self.starts = q, n, ai, ak, bk, starts
        name = f"product.{m}.{q}.{n}.{ai}.{ak}.{bk}.{int(starts)}.{int(scaled)}"
        self.m, self.scaled = m, scaled
        self.function = _once(module, _PRODUCT, name, self.emit)

    def emit(self, function: Any) -> None:
        """The product, tile by tile."""
        self.function, self.builder = function, ir.IRBuilder(function.append_basic_block("entry"))
        self.fma = fma_of(function.module)
        self.scale = spread(self.builder, function.args[4]) if self.scaled else None
        for register, across in _parts(registers(self.q * self.members), ACROSS):
            for first, height, count in _runs(_parts(self.m, HEIGHT[across])):
                tile = functools.partial(self.tile, first, height, self.columns * register, across)
                repeat(self.builder, count, tile)
        self.builder.ret_void()

    def tile(self, first: int, height: int, column: int, across: int, number: Any) -> None:
        """Tile `number` of a run of equal ones that starts at row `first`; each sum is added up in the order of k."""
        builder, members = self.builder, self.members
        left, right, result, start, _ = self.function.args
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
        for (cell, columns), total in zip(cells, sums, strict=True):
            value = total if self.scale is None else builder.fmul(self.scale, total)
            store_part(builder, value, end, cell * members, columns * members)

    def shared(self, base: Any, offset: int, columns: int) -> Any:
        """Numbers that all members have."""
        value = load_part(self.builder, base, offset, columns, ir.VectorType(DOUBLE, self.columns))
        order = ir.Constant(ir.VectorType(I32, LANES), [I32(lane // self.members) for lane in range(LANES)])
        return self.builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), order)

    def sum(self, a: Any, b: Any, sums: list[Any], height: int, filled: list[int]) -> list[Any]:
        """sums + A B of a tile, whose registers have so many columns."""
        builder, before, members = self.builder, self.builder.block, self.members
        rest = self.n % AT_ONCE
        inside, after = builder.append_basic_block("sum"), builder.append_basic_block("sum.end")
        builder.branch(inside)
        builder.position_at_end(inside)
        left, carried = builder.phi(I64), [builder.phi(value.type) for value in (a, b, *sums)]
        at_a, at_b, *totals = carried
        totals = self.terms(at_a, at_b, totals, AT_ONCE, height, filled)
        fewer = builder.sub(left, I64(AT_ONCE))
        step_a, step_b = (AT_ONCE * step * members for step in (self.ak, self.bk))
        next_a, next_b = builder.gep(at_a, [I64(step_a)]), builder.gep(at_b, [I64(step_b)])
        firsts, agains = (I64(self.n - rest), a, b, *sums), (fewer, next_a, next_b, *totals)
        for phi, first, again in zip((left, *carried), firsts, agains, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(again, inside)
        builder.cbranch(builder.icmp_signed(">", fewer, I64(0)), inside, after)
        builder.position_at_end(after)
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


class _Turn:
    """Writes the transpose of a matrix, block by block: as many rows as a register has columns. Rows of the transpose
    start at whole registers, `stride` columns apart."""

    def __init__(self, module: Any, members: int, rows: int, columns: int) -> None:
        self.members, self.side = members, LANES // members
        self.rows, self.columns, self.stride = rows, columns, -(-rows // self.side) * self.side
        self.function = _once(module, _TURN, f"turn.{rows}.{columns}", self.emit)

    def emit(self, function: Any) -> None:
        """All blocks."""
        self.function, self.builder = function, ir.IRBuilder(function.append_basic_block("entry"))
        whole, rest = divmod(self.rows, self.side)
        repeat(self.builder, whole, lambda i: self.across(i, self.side))
        if rest:
            self.across(I64(whole), rest)
        self.builder.ret_void()

    def across(self, i: Any, height: int) -> None:
        """Blocks side by side."""
        whole, rest = divmod(self.columns, self.side)
        repeat(self.builder, whole, lambda j: self.block(i, j, height, self.side))
        if rest:
            self.block(i, I64(whole), height, rest)

    def block(self, i: Any, j: Any, height: int, breadth: int) -> None:
        """The first rows and columns of block (i, j)."""
        builder, side, members = self.builder, self.side, self.members
        matrix, result = self.function.args
        source = builder.add(builder.mul(i, I64(side * self.columns)), builder.mul(j, I64(side)))
        target = builder.add(builder.mul(j, I64(side * self.stride)), builder.mul(i, I64(side)))
        begin = builder.gep(matrix, [builder.mul(source, I64(members))])
        end = builder.gep(result, [builder.mul(target, I64(members))])
        for first, values in self.turned(begin, height, breadth):
            for r, value in enumerate(values):
                if first + r < breadth:
                    store(builder, value, end, (first + r) * self.stride * members)

    def turned(self, begin: Any, height: int, breadth: int) -> Iterator[tuple[int, list[Any]]]:
        """Columns of a block, four from each first one on: rows of one member are halves of registers joined first;
        then pairs change places, then fours."""
        if self.members == 1:
            for half in range(0, breadth, LANES // 2):
                rows = [self.joined(begin, r, height, half, min(LANES // 2, breadth - half)) for r in range(4)]
                orders = ((0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15))
                yield half, self.exchanged(rows, orders, ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)))
            return
        rows = [self.part(begin, r, height, 0, breadth * self.members, LANE) for r in range(4)]
        orders = ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15))
        yield 0, self.exchanged(rows, orders, ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)))

    def exchanged(self, rows: list[Any], pairs: Any, fours: Any) -> list[Any]:
        """Two rounds of exchanges between four registers."""
        a, b, c, d = rows
        joined = [(self.shuffled(a, b, order), self.shuffled(c, d, order)) for order in pairs]
        return [self.shuffled(*pair, order) for order in fours for pair in joined]

    def shuffled(self, x: Any, y: Any, order: Any) -> Any:
        """A register of numbers of two vectors."""
        return self.builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, LANES), [I32(k) for k in order]))

    def part(self, begin: Any, row: int, height: int, first: int, lanes: int, kind: Any) -> Any:
        """Numbers of a row, or zeros below the matrix."""
        if row >= height:
            return ir.Constant(kind, None)
        return load_part(self.builder, begin, row * self.columns * self.members + first, lanes, kind)

    def joined(self, begin: Any, row: int, height: int, half: int, lanes: int) -> Any:
        """Half a row and that four rows below."""
        above, below = (self.part(begin, r, height, half, lanes, _HALF) for r in (row, row + 4))
        return self.shuffled(above, below, range(LANES))


# ---- small parts of code


def _function(module: Any, kind: Any, name: str) -> Any:
    """A function of its own, whose pointers lead to different places."""
    function = ir.Function(module, kind, name)
    function.linkage = "private"
    for attribute in ("nounwind", "noinline"):
        function.attributes.add(attribute)
    for argument in function.args:
        if argument.type == POINTER:
            argument.add_attribute("noalias")
    return function


def _once(module: Any, kind: Any, name: str, emit: Callable[[Any], None]) -> Any:
    """The function of this name, emitted when it is first asked for."""
    known = module.globals.get(name)
    if known is None:
        known = _function(module, kind, name)
        emit(known)
    return known


def _parts(side: int, largest: int) -> list[tuple[int, int]]:
    """(start, length) of parts of a side as equal as can be, the longer ones first."""
    count = -(-side // largest)
    lengths = [side // count + (part < side % count) for part in range(count)]
    return list(zip(itertools.accumulate([0, *lengths[:-1]]), lengths, strict=True))


def _runs(parts: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(start, length, count) of neighbours of equal length."""
    groups = [list(group) for _, group in itertools.groupby(parts, key=lambda part: part[1])]
    return [(group[0][0], group[0][1], len(group)) for group in groups]
