"""Emitting products of small matrices of lanes as LLVM: operands in memory, or as values of one straight line.

The rows are those of `lanes.products`, with two more arrays: a step of descent reads the first layer in `FIRST` and
writes it to `OTHER`, since the last product of a step needs it as it was.  Where a product moves weights, w <- keep w +
scale A B, a `keep` of one is known to change nothing and is left out.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir

from sdetheory.lanes.emit import DOUBLE, I64, LANE, LANES, fma_of, load, loop, spread, store
from sdetheory.lanes.products import LARGEST, OUTPUT, WEIGHTS, WORK

FIRST, OTHER = 3, 4
SHORT, LONGER = 4, 8  # terms up to which sums are written out, and in a small sweep; longer ones are loops
ROOMY = 16  # sums of a tile that leave registers for what is loaded ahead
THIN = 2  # columns of a tile that starts at constants: loads and stores in a row keep the multiply-adds waiting


class Sheet:
    """The arrays while code that reads and writes them is emitted, `LANES` columns of them at a time."""

    def __init__(self, builder: Any, function: Any, width: int, small: bool = False) -> None:
        self.builder, self.function, self.width, self.small = builder, function, width, small
        _, w, out, work, self.constants, scale, keep = function.args
        self.bases = {WEIGHTS: w, OUTPUT: out, WORK: work, FIRST: w, OTHER: out}
        self.scale, self.keep = spread(builder, scale), spread(builder, keep)
        self.unit: Any = builder.fcmp_ordered("==", keep, DOUBLE(1.0))
        self.fma = fma_of(function.module)

    # ---- control

    def block(self, name: str) -> Any:
        """A new block of the function."""
        return self.function.append_basic_block(name)

    def loop(self, starts: list[Any], again: Callable[[list[Any]], Any]) -> Any:
        """A loop over values, as `emit.loop`."""
        return loop(self.builder, starts, again)

    @contextlib.contextmanager
    def over_lanes(self, step: int = LANES) -> Iterator[None]:
        """The body for each `step` lanes of the rows."""
        if step == self.width:
            yield
            return
        kept = self.bases
        more = lambda at: self.builder.icmp_signed("<", at[0], I64(self.width))
        with self.loop([I64(0)], more) as ((at,), following):
            self.bases = {array: self.builder.gep(base, [at]) for array, base in kept.items()}
            yield
            following[0] = self.builder.add(at, I64(step))
        self.bases = kept

    def either(self, condition: Any, yes: Callable[[], None], no: Callable[[], None] = lambda: None) -> None:
        """One or the other, none of which leaves a value."""
        ways, join = (self.block("yes"), self.block("no")), self.block("join")
        self.builder.cbranch(condition, *ways)
        for way, emit in zip(ways, (yes, no), strict=True):
            self.builder.position_at_end(way)
            emit()
            self.builder.branch(join)
        self.builder.position_at_end(join)

    # ---- entries

    def constant(self, i: int) -> Any:
        """Number i of the constants, in every lane."""
        return spread(self.builder, self.builder.load(self.builder.gep(self.constants, [I64(i)])))

    def _place(self, array: int, row: Any, group: int) -> Any:
        at = self.builder.add(self.builder.mul(row, I64(self.width)), I64(group * LANES))
        return self.builder.gep(self.bases[array], [at])

    def read(self, array: int, row: Any, group: int = 0) -> Any:
        """Lanes of a row whose number may be found while running, of the first group or a later one."""
        return load(self.builder, self._place(array, row, group))

    def write(self, array: int, row: Any, value: Any, group: int = 0) -> None:
        """The same, changed."""
        store(self.builder, value, self._place(array, row, group))

    def load(self, array: int, row: int) -> Any:
        """Lanes of a row."""
        return self.read(array, I64(row))

    def store(self, array: int, row: int, value: Any) -> None:
        """Lanes of a row, changed."""
        self.write(array, I64(row), value)

    # ---- products

    def product(self, row: list[int]) -> None:
        """One row of the table, tile by tile."""
        across = LARGEST[LANES] if row[0] < 0 else THIN
        for i, height in parts(row[11], LARGEST[LANES]):
            for j, breadth in parts(row[12], across):
                self._tile(row, i, height, j, breadth)

    def _tile(self, row: list[int], i: int, height: int, j: int, breadth: int) -> None:
        """One tile: sums stay in registers, and each is added up in the order of k."""
        init, a, oa, ai, ak, b, ob, bk, bj, c, oc, _, q, n = row
        cells = [(i + r, j + s) for r in range(height) for s in range(breadth)]
        sums = [self.constant(init + r * q + s) if init >= 0 else ir.Constant(LANE, None) for r, s in cells]

        def add(sums: list[Any], entry: Callable[[int, int, int], Any]) -> list[Any]:
            left = {r: entry(a, oa + r * ai, ak) for r in range(i, i + height)}
            right = {s: entry(b, ob + s * bj, bk) for s in range(j, j + breadth)}
            return [
                self.builder.call(self.fma, [left[r], right[s], total])
                for (r, s), total in zip(cells, sums, strict=True)
            ]

        def entry_at(k: int) -> Callable[[int, int, int], Any]:
            return lambda array, start, stride: self.load(array, start + k * stride)

        if self.written_out(n, len(cells)):
            for k in range(n):
                sums = add(sums, entry_at(k))
        else:
            sums = self._looped(sums, add, n)
        self._finish(c, [oc + r * q + s for r, s in cells], sums)

    def written_out(self, n: int, cells: int) -> bool:
        """Are so many sums over n terms no loop?"""
        return n <= SHORT or (self.small and n <= LONGER and cells <= ROOMY)

    def _looped(self, sums: list[Any], add: Callable[[list[Any], Any], list[Any]], n: int) -> list[Any]:
        more = lambda following: self.builder.icmp_signed("<", following[0], I64(n))
        with self.loop([I64(0), *sums], more) as ((k, *totals), following):

            def entry(array: int, start: int, stride: int) -> Any:
                return self.read(array, self.builder.add(I64(start), self.builder.mul(k, I64(stride))))

            following[:] = [self.builder.add(k, I64(1)), *add(totals, entry)]
        return following[1:]

    def _finish(self, array: int, rows: list[int], sums: list[Any]) -> None:
        """Store sums, or move weights by them."""
        source = FIRST if array == OTHER else array

        def move(unit: bool) -> None:
            for row, total in zip(rows, sums, strict=True):
                self.store(array, row, self.moved(self.load(source, row), total, unit))

        if array in (WEIGHTS, OTHER):
            self._either_unit(move)
            return
        for row, total in zip(rows, sums, strict=True):
            self.store(array, row, total)

    def _either_unit(self, move: Callable[[bool], None]) -> None:
        self.either(self.unit, lambda: move(True), lambda: move(False))

    def moved(self, weight: Any, total: Any, unit: bool) -> Any:
        """keep w + scale total."""
        kept = weight if unit else self.builder.fmul(self.keep, weight)
        return self.builder.call(self.fma, [self.scale, total, kept])


class Line(Sheet):
    """The same as a straight line: entries are values, read when first needed, and written where the emitter says
    so."""

    def __init__(self, builder: Any, function: Any, width: int) -> None:
        super().__init__(builder, function, width)
        self.values: dict[tuple[int, int], Any] = {}

    def load(self, array: int, row: int) -> Any:
        """The value of a row."""
        if (array, row) not in self.values:
            self.values[array, row] = self.read(array, I64(row))
        return self.values[array, row]

    def store(self, array: int, row: int, value: Any) -> None:
        """The row has a new value."""
        self.values[array, row] = value

    def written_out(self, n: int, cells: int) -> bool:
        """All sums are."""
        return True

    def _either_unit(self, move: Callable[[bool], None]) -> None:
        move(self.unit)  # settled before the line starts


def parts(side: int, most: int) -> list[tuple[int, int]]:
    """(start, length) of parts of a side as equal as can be, none longer than `most`."""
    count = -(-side // most)
    ends = [side * part // count for part in range(count + 1)]
    return [(low, high - low) for low, high in itertools.pairwise(ends)]
