"""Machine code for one network and one member: eight neighbouring numbers of a matrix to a vector register.

Eight members side by side take eight times the memory of one, and with wide layers their slopes leave the caches
near the core.  So where all layers are multiples of eight wide, a flow takes members one at a time, each in the
order of its flat weights.  A tile of C = A B is h rows by c registers of columns: rows of B are loaded, entries of
A spread over the lanes.  Where B is a transpose, it is turned first, block by block.  Sums are those of
`lanes.products`, in the same order and with the same roundings: results are equal, bit by bit.
"""

import functools
import itertools
from typing import Any

import numpy as np
from llvmlite import ir

from sdetheory.lanes.climb import Climb, Plan
from sdetheory.lanes.emit import POINTER, fma_of, load, repeat, spread, store
from sdetheory.lanes.products import OUTPUT, ROW, WEIGHTS, WORK
from sdetheory.lanes.sheet import DOUBLE, I32, I64, LANE, LANES
from sdetheory.lanes.translate import GRADIENT, machine_code

FEWEST = 256  # weights from which it pays: below, the loop around the steps takes as long as they (2x8: 1.0, 4x8: 1.2)
ACROSS = 4  # registers of columns in the widest tile
HEIGHT = {1: 8, 2: 8, 3: 6, 4: 4}  # rows of a tile, by its registers of columns: enough sums to hide their latency
CLIMB = 1  # what the function may be asked for beside the gradient
AT_ONCE = 4  # terms of a sum written out before the loop comes round
_HALF = ir.VectorType(DOUBLE, LANES // 2)
_KIND = ir.FunctionType(ir.VoidType(), [I64, *[POINTER] * 4, *[DOUBLE] * 2])  # as in `lanes.translate`
_GRADIENT = ir.FunctionType(ir.VoidType(), [*[POINTER] * 4, DOUBLE])
_PRODUCT = ir.FunctionType(ir.VoidType(), [*[POINTER] * 4, DOUBLE])
_TURN = ir.FunctionType(ir.VoidType(), [POINTER] * 2)


def for_flow(model: Any, slopes: float, plan: Plan) -> tuple[Any, int] | None:
    """The model in its form for one member at a time, and the rows of 8 numbers its workspace has; None: side by side.

    For a run of about so many gradients, in the stages of `plan`; not to be kept beyond it."""
    packed = getattr(model, "packed", None)
    return None if packed is None else packed(slopes, plan)


def fits(sweep: Any) -> bool:
    """Are all matrices of the sweep whole registers wide and high, and large enough?"""
    sides = [*sweep.program[sweep.descending :].tolist(), sweep.entries // int(sweep.program[-1])]
    return all(side % LANES == 0 for side in sides) and layer_sizes(sweep).sum() >= FEWEST


def workspace_rows(sweep: Any) -> int:
    """Rows of 8 numbers: the sweep's own, and the largest matrix to be turned."""
    widths = sweep.program[sweep.descending :]
    return int(sweep.rows + widths.max() * (sweep.entries // widths[-1])) // LANES


def address_of(sweep: Any, plan: Plan) -> int:
    """Where the function for this sweep's table starts, in this process, called as `translated`.

    Asked for `GRADIENT` it is that of w; asked for `CLIMB`, w are the vectors of a flow, `out` is the head of its
    memory, and `keep` is the weight decay: a step is made, see `lanes.climb`."""
    places = (sweep.forward // ROW, sweep.entries, sweep.inputs, sweep.rows)
    d = int(layer_sizes(sweep).sum())
    return _address(sweep.program[: sweep.backward].tobytes(), places, d, plan)


def layer_sizes(sweep: Any) -> np.ndarray:
    """Weights of each layer."""
    widths = sweep.program[sweep.descending :]
    return widths[1:] * widths[:-1]


@functools.cache
def _address(program: bytes, places: tuple[int, ...], d: int, plan: Plan) -> int:
    rows = np.frombuffer(program, np.int64).reshape(-1, ROW).tolist()
    module = ir.Module("sdetheory.packed")
    gradient = _function(module, _GRADIENT, "gradient")
    _emit(gradient, rows, *places)
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
    Climb(builder, plan, d, weights, out, keep, lambda at, to: builder.call(gradient, [at, to, *rest])).emit()
    builder.ret_void()
    return machine_code(module, "packed")


def _emit(function: Any, rows: list[list[int]], forward: int, entries: int, inputs: int, scratch: int) -> None:
    """A call for each product, the operands at known places; X is read among the constants."""
    builder, module = ir.IRBuilder(function.append_basic_block("entry")), function.module
    weights, out, work, constants, scale = function.args
    bases = {WEIGHTS: weights, OUTPUT: out, WORK: work}
    turned = builder.gep(work, [I64(scratch)])

    def place(array: int, offset: int) -> Any:
        known = array == WORK and offset < inputs
        return builder.gep(constants if known else bases[array], [I64(offset + entries * known)])

    for i, (init, a, oa, ai, ak, b, ob, bk, bj, c, oc, m, q, n) in enumerate(rows):
        right = place(b, ob)
        if bj != 1:
            builder.call(_turn(module, q, n), [right, turned])
            right, bk = turned, q
        start = builder.gep(constants, [I64(max(init, 0))])
        product = _Product(module, m, q, n, ai, ak, bk, init >= 0, i == forward - 1)
        builder.call(product.function, [place(a, oa), right, place(c, oc), start, scale])
    builder.ret_void()


class _Product:
    """C = A B, or start + A B, or scale (start + A B), with C and start row by row: a function for each shape."""

    def __init__(
        self, module: Any, m: int, q: int, n: int, ai: int, ak: int, bk: int, starts: bool, scaled: bool
    ) -> None:
        self.q, self.n, self.ai, self.ak, self.bk, self.starts = q, n, ai, ak, bk, starts
        name = f"product.{m}.{q}.{n}.{ai}.{ak}.{bk}.{int(starts)}.{int(scaled)}"
        if name in module.globals:
            self.function = module.globals[name]
            return
        self.function = _function(module, _PRODUCT, name)
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.fma = fma_of(module)
        self.scale = spread(self.builder, self.function.args[4]) if scaled else None
        for column, across in _parts(q // LANES, ACROSS):
            for first, height, count in _runs(_parts(m, HEIGHT[across])):
                tile = functools.partial(self.tile, first, height, LANES * column, across)
                repeat(self.builder, count, tile)
        self.builder.ret_void()

    def tile(self, first: int, height: int, column: int, across: int, number: Any) -> None:
        """Tile `number` of a run of equal ones that starts at row `first`; each sum is added up in the order of k."""
        builder = self.builder
        left, right, result, start, _ = self.function.args
        top = builder.add(I64(first), builder.mul(number, I64(height)))
        corner = builder.add(builder.mul(top, I64(self.q)), I64(column))
        cells = [r * self.q + LANES * s for r in range(height) for s in range(across)]
        sums = [ir.Constant(LANE, None) for _ in cells]
        if self.starts:
            begin = builder.gep(start, [corner])
            sums = [load(builder, begin, cell) for cell in cells]
        a = builder.gep(left, [builder.mul(top, I64(self.ai))])
        sums = self.sum(a, builder.gep(right, [I64(column)]), sums, height, across)
        end = builder.gep(result, [corner])
        for cell, total in zip(cells, sums, strict=True):
            store(builder, total if self.scale is None else builder.fmul(self.scale, total), end, cell)

    def sum(self, a: Any, b: Any, sums: list[Any], height: int, across: int) -> list[Any]:
        """sums + A B of a tile."""
        builder, before = self.builder, self.builder.block
        inside, after = builder.append_basic_block("sum"), builder.append_basic_block("sum.end")
        builder.branch(inside)
        builder.position_at_end(inside)
        left, carried = builder.phi(I64), [builder.phi(value.type) for value in (a, b, *sums)]
        at_a, at_b, *totals = carried
        for k in range(AT_ONCE):
            rows = [load(builder, at_b, k * self.bk + LANES * s) for s in range(across)]
            for r in range(height):
                entry = spread(builder, builder.load(builder.gep(at_a, [I64(r * self.ai + k * self.ak)])))
                for s in range(across):
                    totals[r * across + s] = builder.call(self.fma, [entry, rows[s], totals[r * across + s]])
        fewer = builder.sub(left, I64(AT_ONCE))
        next_a, next_b = (builder.gep(p, [I64(AT_ONCE * step)]) for p, step in ((at_a, self.ak), (at_b, self.bk)))
        firsts, agains = (I64(self.n), a, b, *sums), (fewer, next_a, next_b, *totals)
        for phi, first, again in zip((left, *carried), firsts, agains, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(again, inside)
        builder.cbranch(builder.icmp_signed(">", fewer, I64(0)), inside, after)
        builder.position_at_end(after)
        return totals


def _turn(module: Any, rows: int, columns: int) -> Any:
    """Function that writes the transpose of a matrix, 8 x 8 block by block."""
    name = f"turn.{rows}.{columns}"
    if name in module.globals:
        return module.globals[name]
    function = _function(module, _TURN, name)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    matrix, result = function.args

    def block(i: Any, j: Any) -> None:
        source = builder.add(builder.mul(i, I64(LANES * columns)), builder.mul(j, I64(LANES)))
        target = builder.add(builder.mul(j, I64(LANES * rows)), builder.mul(i, I64(LANES)))
        begin, end = builder.gep(matrix, [source]), builder.gep(result, [target])
        for half in (0, LANES // 2):
            for r, value in enumerate(_turned(builder, begin, columns, half)):
                store(builder, value, end, (half + r) * rows)

    repeat(builder, rows // LANES, lambda i: repeat(builder, columns // LANES, lambda j: block(i, j)))
    builder.ret_void()
    return function


def _turned(builder: Any, begin: Any, stride: int, half: int) -> list[Any]:
    """Four columns of an 8 x 8 block: halves of rows r and r + 4 are joined, then pairs, then fours change places."""

    def joined(x: Any, y: Any, *order: int) -> Any:
        return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, LANES), [I32(k) for k in order]))

    def row(r: int) -> Any:
        low, high = (load(builder, begin, s * stride + half, _HALF) for s in (r, r + 4))
        return joined(low, high, *range(LANES))

    even, odd = (0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15)
    low, high = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
    a, b, c, d = (row(r) for r in range(4))
    pairs = [(joined(a, b, *order), joined(c, d, *order)) for order in (even, odd)]
    return [joined(*pair, *order) for order in (low, high) for pair in pairs]


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


def _parts(side: int, largest: int) -> list[tuple[int, int]]:
    """(start, length) of parts of a side as equal as can be, the longer ones first."""
    count = -(-side // largest)
    lengths = [side // count + (part < side % count) for part in range(count)]
    return list(zip(itertools.accumulate([0, *lengths[:-1]]), lengths, strict=True))


def _runs(parts: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(start, length, count) of neighbours of equal length."""
    groups = [list(group) for _, group in itertools.groupby(parts, key=lambda part: part[1])]
    return [(group[0][0], group[0][1], len(group)) for group in groups]
