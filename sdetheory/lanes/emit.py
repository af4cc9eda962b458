"""Small parts of machine code on vectors of eight doubles: loading, storing, spreading, repeating."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from sdetheory.lanes.sheet import DOUBLE, I32, I64, LANE, LANES

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


def spread(builder: Any, number: Any) -> Any:
    """The same number in every lane."""
    undefined = ir.Constant(LANE, ir.Undefined)
    first = builder.insert_element(undefined, number, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, LANES), None))


def load(builder: Any, base: Any, offset: int = 0, kind: Any = LANE) -> Any:
    """The vector that starts `offset` doubles after `base`."""
    value = builder.load(builder.bitcast(builder.gep(base, [I64(offset)]), kind.as_pointer()))
    value.align = 8
    return value


def store(builder: Any, value: Any, base: Any, offset: int = 0) -> None:
    """Write a vector `offset` doubles after `base`."""
    place = builder.bitcast(builder.gep(base, [I64(offset)]), LANE.as_pointer())
    builder.store(value, place).align = 8


def repeat(builder: Any, count: int, body: Callable[[Any], Any]) -> None:
    """body(0), ..., body(count - 1): a loop unless there is one only."""
    if count == 1:
        body(I64(0))
        return
    before, inside, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("loop.end")
    builder.branch(inside)
    builder.position_at_end(inside)
    number = builder.phi(I64)
    number.add_incoming(I64(0), before)
    body(number)
    following = builder.add(number, I64(1))
    number.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, I64(count)), inside, after)
    builder.position_at_end(after)
