"""Machine code for steps of descent of a wide network: members leave their block of lanes, one or two at a time.

Where layers are wide, products of matrices of numbers need fewer loads for each multiply-add than products of
matrices of lanes, and what a step touches is an eighth.  So where they fill vector registers without a rest, members
leave their lanes for as many steps as are asked for, in the forms of `lanes.packed`, and come back.  Sums and
roundings are the same: results are equal, bit by bit.
"""

import functools
from typing import Any

import numpy as np
from llvmlite import ir

from sdetheory.lanes.emit import DOUBLE, I64, LANES, load, loop, repeat, store
from sdetheory.lanes.packed import Arrays, Finish, layer_sizes, members_of, multiply, registers, sides_of, turned_rows
from sdetheory.lanes.products import ROW, WEIGHTS, WORK
from sdetheory.lanes.sheet import FIRST, OTHER
from sdetheory.lanes.translate import KIND, machine_code, with_first

WIDE = 11  # widest layer from which it pays: below, tiles of lanes fill the registers as well


def address_of(sweep: Any, width: int) -> int:
    """Where the function for this sweep's table and arrays of `width` lanes starts, in this process, called as
    `translated`; 0 where lanes are better, or their workspace has no room for what a member needs."""
    members, sides, sizes = members_of(sweep), sides_of(sweep), layer_sizes(sweep)
    if members == 0 or max(sides) < WIDE or any(side * members % LANES for side in sides):
        return 0
    apart = int(sizes[0]) if sweep.inputs == 0 else 0
    parts = [sweep.rows * members, turned_rows(sweep, members) * LANES, int(sizes.sum()) * members, apart * members]
    starts = np.cumsum([0, *[registers(part) * LANES for part in parts]]).tolist()
    if starts[-1] > sweep.rows * width:
        return 0
    forward = sweep.program[: sweep.forward].tobytes()
    back = sweep.program[sweep.backward : sweep.descending].tobytes()
    return _address(
        forward, back, (sweep.entries, sweep.inputs), tuple(starts[1:4]), parts[2] // members, apart, members, width
    )


@functools.cache
def _address(
    forward: bytes,
    back: bytes,
    data: tuple[int, int],
    starts: tuple[int, ...],
    weights: int,
    apart: int,
    members: int,
    width: int,
) -> int:
    rows = [np.frombuffer(table, np.int64).reshape(-1, ROW).tolist() for table in (forward, back)]
    module = ir.Module("sdetheory.descent")
    function = ir.Function(module, KIND, "descent")
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    repeat(builder, width // members, _Descent(builder, rows, data, starts, weights, apart, members, width).emit)
    builder.ret_void()
    return machine_code(module, "descent")


class _Descent:
    """`count` times w <- keep w + scale grad L(w), for members next to each other in their block of lanes."""

    def __init__(
        self,
        builder: Any,
        rows: list[list[list[int]]],
        data: tuple[int, int],
        starts: tuple[int, ...],
        weights: int,
        apart: int,
        members: int,
        width: int,
    ) -> None:
        self.builder, self.rows, self.data, self.weights = builder, rows, data, weights
        self.apart, self.members, self.width = apart, members, width
        self.count, self.lanes, _, self.work, self.constants, self.scale, self.keep = builder.function.args
        self.turned, self.own, self.other = (builder.gep(self.work, [I64(start)]) for start in starts)

    def emit(self, number: Any) -> None:
        """Group `number` of the members of the block."""
        builder = self.builder
        column = builder.gep(self.lanes, [builder.mul(number, I64(self.members))])
        self.copied(column, self.width, self.own, self.members, self.weights)
        more = lambda following: builder.icmp_signed(">", following[0], I64(0))
        with loop(builder, [self.count, self.own, self.other], more) as ((left, first, other), following):
            self.step({WEIGHTS: self.own, WORK: self.work, FIRST: first, OTHER: other})
            following[:] = [builder.sub(left, I64(1)), other, first]
        self.copied(self.own, self.members, column, self.width, self.weights)
        self.copied(following[1], self.members, column, self.width, self.apart)

    def step(self, bases: dict[int, Any]) -> None:
        """One step."""
        arrays = Arrays(bases, self.constants, *self.data)
        for row in (with_first(row, self.apart) for part in self.rows for row in part):
            old = {WEIGHTS: WEIGHTS, OTHER: FIRST}.get(row[9])
            multiply(self.builder, row, self.members, arrays, self.turned, Finish(moved=old), self.scale, self.keep)

    def copied(self, source: Any, step: int, target: Any, stride: int, count: int) -> None:
        """The members' numbers go from one array to another, where numbers are so far apart."""
        builder, kind = self.builder, ir.VectorType(DOUBLE, self.members)

        def one(i: Any) -> None:
            value = load(builder, builder.gep(source, [builder.mul(i, I64(step))]), 0, kind)
            store(builder, value, builder.gep(target, [builder.mul(i, I64(stride))]))

        repeat(builder, count, one)
