"""Machine code for steps of descent of a wide network: members leave their block of lanes, one or two at a time.

Where layers are wide, products of matrices of numbers need fewer loads for each multiply-add than products of
matrices of lanes, and what a step touches is an eighth.  So where they fill vector registers without a rest, members
leave their lanes for as many steps as are asked for, in the forms of `lanes.packed`, and come back.  Sums and
roundings are the same: results are equal, bit by bit.
"""

import functools
from typing import Any, NamedTuple

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
    weights = int(sizes.sum())
    parts = [sweep.rows * members, turned_rows(sweep, members) * LANES, weights * members, apart * members]
    *starts, end = np.cumsum([registers(part) * LANES for part in parts]).tolist()
    if end > sweep.rows * width:
        return 0
    forward = sweep.program[: sweep.forward].tobytes()
    back = sweep.program[sweep.backward : sweep.descending].tobytes()
    return _address(_Shape(forward + back, sweep.entries, sweep.inputs, weights, apart, tuple(starts), members, width))


class _Shape(NamedTuple):
    """All that the code depends on."""

    program: bytes  # rows of a step, forward and back
    entries: int
    inputs: int
    weights: int
    apart: int  # weights of a first layer that moves from one array to another
    starts: tuple[int, ...]  # in the workspace, of the transpose, the weights, and the first layer's other array
    members: int  # at a time
    width: int


@functools.cache
def _address(shape: _Shape) -> int:
    module = ir.Module("sdetheory.descent")
    function = ir.Function(module, KIND, "descent")
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    repeat(builder, shape.width // shape.members, _Descent(builder, shape).emit)
    builder.ret_void()
    return machine_code(module, "descent")


class _Descent:
    """`count` times w <- keep w + scale grad L(w), for members next to each other in their block of lanes."""

    def __init__(self, builder: Any, shape: _Shape) -> None:
        self.builder, self.shape = builder, shape
        self.count, self.lanes, _, self.work, self.constants, self.scale, self.keep = builder.function.args
        self.turned, self.own, self.other = (builder.gep(self.work, [I64(start)]) for start in shape.starts)

    def emit(self, number: Any) -> None:
        """Group `number` of the members of the block."""
        builder, members, width = self.builder, self.shape.members, self.shape.width
        column = builder.gep(self.lanes, [builder.mul(number, I64(members))])
        self.copied(column, width, self.own, members, self.shape.weights)
        more = lambda following: builder.icmp_signed(">", following[0], I64(0))
        with loop(builder, [self.count, self.own, self.other], more) as ((left, first, other), following):
            self.step({WEIGHTS: self.own, WORK: self.work, FIRST: first, OTHER: other})
            following[:] = [builder.sub(left, I64(1)), other, first]
        self.copied(self.own, members, column, width, self.shape.weights)
        self.copied(following[1], members, column, width, self.shape.apart)

    def step(self, bases: dict[int, Any]) -> None:
        """One step."""
        shape = self.shape
        arrays = Arrays(bases, self.constants, shape.entries, shape.inputs)
        for given in np.frombuffer(shape.program, np.int64).reshape(-1, ROW).tolist():
            row = with_first(given, shape.apart)
            finish = Finish(moved={WEIGHTS: WEIGHTS, OTHER: FIRST}.get(row[9]))
            multiply(self.builder, row, shape.members, arrays, self.turned, finish, self.scale, self.keep)

    def copied(self, source: Any, step: int, target: Any, stride: int, count: int) -> None:
        """The members' numbers go from one array to another, where numbers are so far apart."""
        builder, kind = self.builder, ir.VectorType(DOUBLE, self.shape.members)

        def one(i: Any) -> None:
            value = load(builder, builder.gep(source, [builder.mul(i, I64(step))]), 0, kind)
            store(builder, value, builder.gep(target, [builder.mul(i, I64(stride))]))

        repeat(builder, count, one)
