"""Machine code that writes the transpose of a matrix of numbers of one, two or four members, in registers of eight."""

from collections.abc import Iterator
from typing import Any

from llvmlite import ir

from sdetheory.lanes.emit import DOUBLE, I32, I64, LANE, LANES, POINTER, load_part, once, repeat, store

_HALF = ir.VectorType(DOUBLE, LANES // 2)
_TURN = ir.FunctionType(ir.VoidType(), [POINTER] * 2)


class Turn:
    """Writes the transpose of a matrix, block by block: as many rows as a register has columns. Rows of the transpose
    start at whole registers, `stride` columns apart."""

    def __init__(self, module: Any, members: int, rows: int, columns: int) -> None:
        self.members, self.side = members, LANES // members
        self.rows, self.columns, self.stride = rows, columns, -(-rows // self.side) * self.side
        self.function = once(module, _TURN, f"turn.{rows}.{columns}", self.emit)

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
        rows = [self.part(begin, r, height, 0, breadth * self.members, LANE) for r in range(self.side)]
        if self.members == 4:
            above, below = rows
            halves = ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))
            yield 0, [self.shuffled(above, below, order) for order in halves]
            return
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
