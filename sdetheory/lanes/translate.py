"""Machine code for one network: all products of a sweep in a row, their shapes and places known to the compiler.

Reading one row of a table of products costs about as much as a product of 5 x 5 matrices of lanes.  So where a
run is long, the table is translated once, by LLVM alone and in a small part of a second, to a function that
takes a whole gradient or a whole step of descent, eight lanes at a time.  Its sums are those of
`lanes.products`, in the same order and with the same roundings: results are equal, bit by bit.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, overload

from sdetheory.lanes.parts import OPTIONS
from sdetheory.lanes.products import LARGEST, OUTPUT, ROW, WEIGHTS, WORK

GRADIENT = 0  # what the function is asked for: this, or a number of steps of descent
LANES = 8  # at a time: one vector register of AVX-512
STRAIGHT = 150  # multiply-adds up to which a sweep is one straight line, with nothing kept in the workspace
SHORT = 4  # sums up to here are written out, longer ones are loops
_I32, _I64, _DOUBLE = ir.IntType(32), ir.IntType(64), ir.DoubleType()
_POINTER = _DOUBLE.as_pointer()
_LANE = ir.VectorType(_DOUBLE, LANES)
_KIND = ir.FunctionType(ir.VoidType(), [_I64, *[_POINTER] * 4, *[_DOUBLE] * 2])
_LOADED: list[Any] = []  # engines: their code lives as long as the process


def for_run(model: Any, width: int, slopes: float) -> Any:
    """The model in its form for a run of about so many gradients of `width` lanes each; not to be kept beyond it."""
    translate = getattr(model, "translated", None)
    return model if translate is None else translate(width, slopes)


def available() -> bool:
    """Is there compiled code to call it from?"""
    return not vars(config)["DISABLE_JIT"]


def address_of(sweep: Any, width: int) -> int:
    """Where the function for this sweep's table and arrays of `width` lanes starts, in this process."""
    places = (sweep.forward, sweep.backward, sweep.descending, sweep.residual, sweep.entries, sweep.inputs)
    table, widths = sweep.program[: sweep.descending], sweep.program[sweep.descending :]
    return _address(table.tobytes(), int(widths[0] * widths[1]), places, width)


@functools.cache
def _address(program: bytes, first_layer: int, places: tuple[int, ...], width: int) -> int:
    rows = np.frombuffer(program, np.int64).reshape(-1, ROW).tolist()
    module = ir.Module("sdetheory.sweep")
    function = ir.Function(module, _KIND, "sweep")
    function.attributes.add("nounwind")
    function.args[1].add_attribute("noalias")
    _emit(function, rows, places, first_layer, width)
    parsed = llvm.parse_assembly(str(module))
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, jit=True
    )
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _LOADED.append((engine, machine))
    return int(engine.get_function_address("sweep"))


def _emit(function: Any, rows: list[list[int]], places: tuple[int, ...], first_layer: int, width: int) -> None:
    """The gradient, and the loop over steps of descent; each goes through the lanes of a row, `LANES` at a time."""
    forward, backward, descending, residual, entries, inputs = places
    forward, backward, descending = (place // ROW for place in (forward, backward, descending))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    gradient, descent = (function.append_basic_block(name) for name in ("gradient", "descent"))

    def go(sheet: Any, back: list[list[int]], moves: bool) -> None:
        for i in range(inputs):
            sheet.store(WORK, i, sheet.constant(entries + i))
        for row in rows[:forward]:
            sheet.product(row, moves=False)
        for i in range(residual, residual + entries):
            sheet.store(WORK, i, builder.fmul(sheet.scale, sheet.load(WORK, i)))
        for row in back:
            sheet.product(row, moves)
        for i in range(first_layer if moves and inputs == 0 else 0):
            sheet.store(WEIGHTS, i, sheet.moved(i, sheet.load(OUTPUT, i)))

    builder.cbranch(builder.icmp_signed("==", function.args[0], _I64(GRADIENT)), gradient, descent)
    for block, wanted, back in (
        (gradient, OUTPUT, rows[forward:backward]),
        (descent, WEIGHTS, rows[backward:descending]),
    ):
        builder.position_at_end(block)
        sums = sum(row[11] * row[12] * row[13] for row in rows[:forward] + back)
        again = function.append_basic_block("again")
        builder.branch(again)
        builder.position_at_end(again)
        left = builder.phi(_I64)
        left.add_incoming(function.args[0], block)
        sheet = _Sheet(builder, function, width, sums <= STRAIGHT, wanted)
        sheet.over_lanes(functools.partial(go, sheet, back, wanted == WEIGHTS))
        fewer, end = builder.sub(left, _I64(1)), function.append_basic_block("end")
        left.add_incoming(fewer, builder.block)
        builder.cbranch(builder.icmp_signed(">", fewer, _I64(0)), again, end)
        builder.position_at_end(end)
        builder.ret_void()


class _Sheet:
    """The three arrays while code that reads and writes them is emitted, `LANES` columns of them at a time.

    In a straight line entries are values, and only rows of the array `wanted` are stored, in the end."""

    def __init__(self, builder: Any, function: Any, width: int, straight: bool, wanted: int) -> None:
        self.builder, self.width, self.straight, self.wanted = builder, width, straight, wanted
        _, w, out, work, self.constants, *numbers = function.args
        self.bases = {WEIGHTS: w, OUTPUT: out, WORK: work}
        self.scale, self.keep = (self.spread(number) for number in numbers)
        name, kind = f"llvm.fma.v{LANES}f64", ir.FunctionType(_LANE, [_LANE] * 3)
        self.fma = cgutils.get_or_insert_function(function.module, kind, name)
        self.values: dict[tuple[int, int], Any] = {}
        self.written: set[tuple[int, int]] = set()

    def over_lanes(self, body: Callable[[], None]) -> None:
        """`body` for each `LANES` lanes of the rows."""
        builder, before = self.builder, self.builder.block
        inside, after = builder.append_basic_block("lanes"), builder.append_basic_block("end")
        builder.branch(inside)
        builder.position_at_end(inside)
        at = builder.phi(_I64)
        at.add_incoming(_I64(0), before)
        self.bases = {array: builder.gep(base, [at]) for array, base in self.bases.items()}
        body()
        for array, row in sorted(self.written):
            self._write(array, _I64(row), self.values[array, row])
        following = builder.add(at, _I64(LANES))
        at.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, _I64(self.width)), inside, after)
        builder.position_at_end(after)

    def spread(self, number: Any) -> Any:
        """The same number in every lane."""
        undefined = ir.Constant(_LANE, ir.Undefined)
        first = self.builder.insert_element(undefined, number, _I32(0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, LANES), None))

    def constant(self, i: int) -> Any:
        """Number i of the constants, in every lane."""
        return self.spread(self.builder.load(self.builder.gep(self.constants, [_I64(i)])))

    def _place(self, array: int, row: Any) -> Any:
        place = self.builder.gep(self.bases[array], [self.builder.mul(row, _I64(self.width))])
        return self.builder.bitcast(place, _LANE.as_pointer())

    def _read(self, array: int, row: Any) -> Any:
        value = self.builder.load(self._place(array, row))
        value.align = 8
        return value

    def _write(self, array: int, row: Any, value: Any) -> None:
        self.builder.store(value, self._place(array, row)).align = 8

    def load(self, array: int, row: int) -> Any:
        """Lanes of a row."""
        if not self.straight:
            return self._read(array, _I64(row))
        if (array, row) not in self.values:
            self.values[array, row] = self._read(array, _I64(row))
        return self.values[array, row]

    def store(self, array: int, row: int, value: Any) -> None:
        """Lanes of a row, changed."""
        if not self.straight:
            self._write(array, _I64(row), value)
            return
        self.values[array, row] = value
        if array == self.wanted:
            self.written.add((array, row))

    def moved(self, row: int, slope: Any) -> Any:
        """keep w + slope; slopes have been scaled."""
        return self.builder.call(self.fma, [self.keep, self.load(WEIGHTS, row), slope])

    def product(self, row: list[int], moves: bool) -> None:
        """One row of the table, tile by tile."""
        m, q = row[11], row[12]
        for i, height in _parts(m):
            for j, breadth in _parts(q):
                self.tile(row, moves and row[9] == WEIGHTS, i, height, j, breadth)

    def tile(self, row: list[int], moves: bool, i: int, height: int, j: int, breadth: int) -> None:
        """One tile: sums stay in registers, and each is added up in the order of k."""
        init, a, oa, ai, ak, b, ob, bk, bj, c, oc, _, q, n = row
        cells = [(i + r, j + s) for r in range(height) for s in range(breadth)]
        sums = [self.constant(init + r * q + s) if init >= 0 else ir.Constant(_LANE, None) for r, s in cells]

        def add(sums: list[Any], entry: Callable[[int, int, int], Any]) -> list[Any]:
            left = {r: entry(a, oa + r * ai, ak) for r in range(i, i + height)}
            right = {s: entry(b, ob + s * bj, bk) for s in range(j, j + breadth)}
            return [
                self.builder.call(self.fma, [left[r], right[s], total])
                for (r, s), total in zip(cells, sums, strict=True)
            ]

        def entry_at(k: int) -> Callable[[int, int, int], Any]:
            return lambda array, start, stride: self.load(array, start + k * stride)

        if self.straight or n <= SHORT:
            for k in range(n):
                sums = add(sums, entry_at(k))
        else:
            sums = self._looped(sums, add, n)
        for (r, s), total in zip(cells, sums, strict=True):
            place = oc + r * q + s
            self.store(c, place, self.moved(place, total) if moves else total)

    def _looped(self, sums: list[Any], add: Callable[[list[Any], Any], list[Any]], n: int) -> list[Any]:
        builder, before = self.builder, self.builder.block
        inside, after = builder.append_basic_block("sum"), builder.append_basic_block("sum.end")
        builder.branch(inside)
        builder.position_at_end(inside)
        k, totals = builder.phi(_I64), [builder.phi(_LANE) for _ in sums]

        def entry(array: int, start: int, stride: int) -> Any:
            return self._read(array, builder.add(_I64(start), builder.mul(k, _I64(stride))))

        new, following = add(totals, entry), builder.add(k, _I64(1))
        for phi, first, again in [(k, _I64(0), following), *zip(totals, sums, new, strict=True)]:
            phi.add_incoming(first, before)
            phi.add_incoming(again, inside)
        builder.cbranch(builder.icmp_signed("<", following, _I64(n)), inside, after)
        builder.position_at_end(after)
        return new


def _parts(side: int) -> list[tuple[int, int]]:
    """(start, length) of parts of a side as equal as can be."""
    count = -(-side // LARGEST[LANES])
    ends = [side * part // count for part in range(count + 1)]
    return [(low, high - low) for low, high in itertools.pairwise(ends)]


def translated(address, count, w, out, work, constants, scale, keep):
    """Call the function at `address`; compiled code only."""
    raise NotImplementedError("machine code is called from compiled code only")


@overload(translated, jit_options=OPTIONS)
def _translated_overload(address, count, w, out, work, constants, scale, keep):
    return lambda address, count, w, out, work, constants, scale, keep: _call(
        address, count, w, out, work, constants, scale, keep
    )


@intrinsic
def _call(typingctx, address, count, w, out, work, constants, scale, keep):
    number, real = types.int64, types.float64
    signature = types.void(number, number, w, out, work, constants, real, real)

    def generate(context, builder, signature, arguments):
        address, count, *arrays, scale, keep = arguments
        data = [
            builder.bitcast(context.make_array(kind)(context, builder, value).data, _POINTER)
            for kind, value in zip(signature.args[2:6], arrays, strict=True)
        ]
        builder.call(builder.inttoptr(address, _KIND.as_pointer()), [count, *data, scale, keep])
        return context.get_dummy_value()

    return signature, generate
