"""Machine code for one network: all products of a sweep in a row, their shapes and places known to the compiler.

Reading one row of a table of products costs about as much as a product of 5 x 5 matrices of lanes.  So where a
run is long, the table is translated once, by LLVM alone and in a small part of a second, to a function that
takes a whole gradient or many steps of descent, eight lanes at a time.  Its sums are those of
`lanes.products`, in the same order and with the same roundings: results are equal, bit by bit.
"""

import functools
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic, overload

from sdetheory.lanes.emit import DOUBLE, I64, LANES, POINTER
from sdetheory.lanes.parts import OPTIONS
from sdetheory.lanes.products import OUTPUT, ROW, WEIGHTS, WORK
from sdetheory.lanes.sheet import FIRST, OTHER, Line, Sheet

GRADIENT = 0  # steps that a gradient takes
STRAIGHT = 150  # multiply-adds up to which a sweep is one straight line, with nothing kept in the workspace
SMALL = 1600  # multiply-adds up to which a step of descent has few enough instructions for longer sums written out
FEW = 8  # weights that stay in registers
TOGETHER = 2  # groups of lanes in turn, so that one works while the other waits
Rows = list[list[int]]
KIND = ir.FunctionType(ir.VoidType(), [I64, *[POINTER] * 4, *[DOUBLE] * 2])
_LOADED: list[Any] = []  # engines: their code lives as long as the process


def for_run(model: Any, width: int, slopes: float, integrator: Any = None, noise: Any = None) -> Any:
    """The model in its form for a run of about so many gradients of `width` lanes each, or of steps of descent, where
    the integrator takes these; not to be kept beyond it."""
    translate, descends = getattr(model, "translated", None), getattr(integrator, "descends", None)
    return model if translate is None else translate(width, slopes, descends is not None and descends(noise))


def available() -> bool:
    """Is there compiled code to call it from?"""
    return not vars(config)["DISABLE_JIT"]


def address_of(sweep: Any, width: int, descends: bool) -> int:
    """Where the function for this sweep's table and arrays of `width` lanes starts, in this process: the one for
    gradients, or for steps of descent."""
    places = (sweep.forward, sweep.backward, sweep.descending, sweep.residual, sweep.entries, sweep.inputs)
    table, widths = sweep.program[: sweep.descending], sweep.program[sweep.descending :]
    return _address(table.tobytes(), int(widths[0] * widths[1]), places, width, descends)


@functools.cache
def _address(program: bytes, first_layer: int, places: tuple[int, ...], width: int, descends: bool) -> int:
    rows = np.frombuffer(program, np.int64).reshape(-1, ROW).tolist()
    module = ir.Module("sdetheory.sweep")
    function = ir.Function(module, KIND, "sweep")
    function.attributes.add("nounwind")
    function.args[1].add_attribute("noalias")
    _emit(function, rows, places, first_layer, width, descends)
    return machine_code(module, "sweep")


def machine_code(module: ir.Module, name: str) -> int:
    """Where the function of this name in the module starts, in this process and for as long as it lives."""
    parsed = llvm.parse_assembly(str(module))
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, jit=True
    )
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _LOADED.append((engine, machine))
    return int(engine.get_function_address(name))


def _emit(function: Any, rows: Rows, places: tuple[int, ...], first_layer: int, width: int, descends: bool) -> None:
    """The gradient, or steps of descent."""
    forward, backward, descending = (place // ROW for place in places[:3])
    back, emit = (rows[backward:descending], _descent) if descends else (rows[forward:backward], _gradient)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    emit(builder, function, width, rows[:forward], back, places[3:], first_layer)
    builder.ret_void()


def _multiply_adds(rows: Rows) -> int:
    return sum(row[11] * row[12] * row[13] for row in rows)


def _forward(sheet: Sheet, rows: Rows, places: tuple[int, ...]) -> None:
    """The inputs, and products up to the residual."""
    _, entries, inputs = places
    for i in range(inputs):
        sheet.store(WORK, i, sheet.constant(entries + i))
    for row in rows:
        sheet.product(row)


def _gradient(
    builder: Any, function: Any, width: int, forward: Rows, back: Rows, places: tuple[int, ...], first_layer: int
) -> None:
    """out <- scale grad L(w), `LANES` lanes at a time."""
    residual, entries, _ = places
    straight = _multiply_adds(forward + back) <= STRAIGHT
    sheet = (Line if straight else Sheet)(builder, function, width)

    def slopes() -> None:
        for i in range(residual, residual + entries):
            sheet.store(WORK, i, builder.fmul(sheet.scale, sheet.load(WORK, i)))

    with sheet.over_lanes():
        _forward(sheet, forward, places)
        if straight:
            slopes()
        else:
            sheet.either(builder.fcmp_unordered("!=", function.args[5], DOUBLE(1.0)), slopes)
        for row in back:
            sheet.product(row)
        if isinstance(sheet, Line):
            for array, i in sorted(sheet.values):
                if array == OUTPUT:
                    sheet.write(array, I64(i), sheet.values[array, i])


def _descent(
    builder: Any, function: Any, width: int, forward: Rows, back: Rows, places: tuple[int, ...], first_layer: int
) -> None:
    """`count` times w <- keep w + scale grad L(w)."""
    apart = first_layer if places[2] == 0 else 0  # weights of a first layer that moves from one array to another
    forward, back = ([with_first(row, apart) for row in rows] for rows in (forward, back))
    sums = _multiply_adds(forward + back)
    if sums <= STRAIGHT:
        _descent_in_a_line(builder, function, width, forward, back, places, apart)
        return
    sheet = Sheet(builder, function, width, sums <= SMALL)
    more = lambda following: builder.icmp_signed(">", following[0], I64(0))
    ends = [function.args[0], *function.args[1:3]]
    with sheet.loop(ends, more) as ((left, first, other), following):
        sheet.bases |= {FIRST: first, OTHER: other}
        with sheet.over_lanes():
            _forward(sheet, forward, places)
            for row in back:
                sheet.product(row)
        following[:] = [builder.sub(left, I64(1)), other, first]
    if apart:
        astray = builder.icmp_unsigned("==", following[1], function.args[2])
        sheet.either(astray, lambda: _bring_back(sheet, apart))


def with_first(row: list[int], apart: int) -> list[int]:
    """The row, reading the first layer in `FIRST` and writing it to `OTHER`."""
    _, a, oa, _, _, b, ob, _, _, c, *_ = row
    arrays = {
        1: FIRST if a == WEIGHTS and oa < apart else a,
        5: FIRST if b == WEIGHTS and ob < apart else b,
        9: OTHER if c == OUTPUT else c,
    }
    return [arrays.get(column, entry) for column, entry in enumerate(row)]


def _bring_back(sheet: Sheet, apart: int) -> None:
    """The first layer's home is among the weights."""
    builder = sheet.builder
    more = lambda following: builder.icmp_signed("<", following[0], I64(apart))
    with sheet.over_lanes(), sheet.loop([I64(0)], more) as ((i,), following):
        sheet.write(WEIGHTS, i, sheet.read(OUTPUT, i))
        following[0] = builder.add(i, I64(1))


def _descent_in_a_line(
    builder: Any, function: Any, width: int, forward: Rows, back: Rows, places: tuple[int, ...], apart: int
) -> None:
    """Few weights, and those of few lanes, are values from step to step; others pass through memory, while the next
    lanes are at work."""
    last = max(row[10] + row[11] * row[12] for row in back if row[9] == WEIGHTS)
    ends = [(OTHER if i < apart else WEIGHTS, i) for i in range(last)]
    more = lambda following: builder.icmp_signed(">", following[0], I64(0))
    line = Line(builder, function, width)
    groups = range(min(TOGETHER if last <= FEW else 1, width // LANES))

    def moved(weights: list[Any]) -> list[Any]:
        line.values = {(FIRST if i < apart else WEIGHTS, i): weight for i, weight in enumerate(weights)}
        _forward(line, forward, places)
        for row in back:
            line.product(row)
        return [line.values[end] for end in ends]

    def in_memory() -> None:
        with line.loop([function.args[0]], more) as ((left,), following):
            with line.over_lanes():
                for i, weight in enumerate(moved([line.read(WEIGHTS, I64(i)) for i in range(last)])):
                    line.write(WEIGHTS, I64(i), weight)
            following[0] = builder.sub(left, I64(1))

    def in_registers() -> None:
        with line.over_lanes(len(groups) * LANES):
            starts = [line.read(WEIGHTS, I64(i), group) for group in groups for i in range(last)]
            with line.loop([function.args[0], *starts], more) as ((left, *weights), following):
                after = [new for group in groups for new in moved(weights[group * last : (group + 1) * last])]
                following[:] = [builder.sub(left, I64(1)), *after]
            for number, weight in enumerate(following[1:]):
                line.write(WEIGHTS, I64(number % last), weight, number // last)

    def run(unit: bool) -> None:
        line.unit = unit
        (in_registers if last <= FEW or width == LANES else in_memory)()

    line.either(line.unit, lambda: run(True), lambda: run(False))


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
            builder.bitcast(context.make_array(kind)(context, builder, value).data, POINTER)
            for kind, value in zip(signature.args[2:6], arrays, strict=True)
        ]
        builder.call(builder.inttoptr(address, KIND.as_pointer()), [count, *data, scale, keep])
        return context.get_dummy_value()

    return signature, generate
