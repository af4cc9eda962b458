"""Small parts of machine code on vectors of eight doubles: loading, storing, spreading, repeating."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 8  # at a time: one vector register of AVX-512
I32, I64, DOUBLE = ir.IntType(32), ir.IntType(64), ir.DoubleType()
LANE = ir.VectorType(DOUBLE, LANES)
POINTER = DOUBLE.as_pointer()


def intrinsic(module: Any, name: str, arguments: int) -> Any:
    """LLVM's function of so many vectors."""
    return cgutils.get_or_insert_function(module, ir.FunctionType(LANE, [LANE] * arguments), f"llvm.{name}.v{LANES}f64")


def fma_of(module: Any) -> Any:
    """x y + z, rounded once."""
    return intrinsic(module, "fma", 3)


def called(builder: Any, name: str, *vectors: Any) -> Any:
    """An intrinsic function of vectors, called."""
    return builder.call(intrinsic(builder.module, name, len(vectors)), vectors)


def spread(builder: Any, value: Any, members: int = 0) -> Any:
    """The same number in every lane; or a vector of so many numbers again and again."""
    if members == 0:
        undefined = ir.Constant(ir.VectorType(DOUBLE, 1), ir.Undefined)
        value, members = builder.insert_element(undefined, value, I32(0)), 1
    order = ir.Constant(ir.VectorType(I32, LANES), [I32(lane % members) for lane in range(LANES)])
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), order)


def load(builder: Any, base: Any, offset: int = 0, kind: Any = LANE) -> Any:
    """The vector that starts `offset` doubles after `base`."""
    value = builder.load(builder.bitcast(builder.gep(base, [I64(offset)]), kind.as_pointer()))
    value.align = 8
    return value


def load_part(builder: Any, base: Any, offset: int, lanes: int, whole: Any = LANE) -> Any:
    """The first lanes of that vector, and zeros: nothing beyond them is read."""
    if lanes == whole.count:
        return load(builder, base, offset, whole)
    kind = ir.VectorType(DOUBLE, lanes)
    order = [I32(min(lane, lanes)) for lane in range(whole.count)]
    zeros, value = ir.Constant(kind, None), load(builder, base, offset, kind)
    return builder.shuffle_vector(value, zeros, ir.Constant(ir.VectorType(I32, whole.count), order))


def store_part(builder: Any, value: Any, base: Any, offset: int, lanes: int) -> None:
    """Write the first lanes of a vector, and nothing beyond."""
    if lanes < LANES:
        order = ir.Constant(ir.VectorType(I32, lanes), [I32(lane) for lane in range(lanes)])
        value = builder.shuffle_vector(value, ir.Constant(LANE, ir.Undefined), order)
    store(builder, value, base, offset)


def store(builder: Any, value: Any, base: Any, offset: int = 0) -> None:
    """Write a vector `offset` doubles after `base`."""
    place = builder.bitcast(builder.gep(base, [I64(offset)]), value.type.as_pointer())
    builder.store(value, place).align = 8


@contextlib.contextmanager
def loop(builder: Any, starts: list[Any], again: Callable[[list[Any]], Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    """Do the body with (values, following): it fills in what `values` are in the next round, which there is
    where `again(following)` holds."""
    before, inside, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("end")
    builder.branch(inside)
    builder.position_at_end(inside)
    values, following = [builder.phi(start.type) for start in starts], list(starts)
    yield values, following
    for value, start, new in zip(values, starts, following, strict=True):
        value.add_incoming(start, before)
        value.add_incoming(new, builder.block)
    builder.cbranch(again(following), inside, after)
    builder.position_at_end(after)


def repeat(builder: Any, count: int, body: Callable[[Any], Any]) -> None:
    """body(0), ..., body(count - 1): a loop unless there is one only."""
    if count < 2:
        for number in range(count):
            body(I64(number))
        return
    with loop(builder, [I64(0)], lambda numbers: builder.icmp_signed("<", numbers[0], I64(count))) as ((number,), then):
        body(number)
        then[0] = builder.add(number, I64(1))


def function_of(module: Any, kind: Any, name: str, aliases: tuple[int, ...] = ()) -> Any:
    """A function of its own, whose pointers lead to different places, but for arguments that may be `aliases`."""
    function = ir.Function(module, kind, name)
    function.linkage = "private"
    for attribute in ("nounwind", "noinline"):
        function.attributes.add(attribute)
    for i, argument in enumerate(function.args):
        if argument.type == POINTER and i not in aliases:
            argument.add_attribute("noalias")
    return function


def once(module: Any, kind: Any, name: str, emit: Callable[[Any], None], aliases: tuple[int, ...] = ()) -> Any:
    """The function of this name, emitted when it is first asked for."""
    known = module.globals.get(name)
    if known is None:
        known = function_of(module, kind, name, aliases)
        emit(known)
    return known
