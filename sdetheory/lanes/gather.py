"""Gathering: each lane reads its own place of a table."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

from sdetheory.lanes.vector import Lanes

_I64 = ir.IntType(64)


def gather(table: Any, first: int, index: Any) -> Any:
    """table[first + index], lane by lane; table: 1-D array of doubles, index: whole numbers that stay inside it."""
    return table[first + index.astype(int)]


@type_callable(gather)
def _type_gather(context: Any) -> Any:
    def typed(table: Any, first: Any, index: Any) -> Any:
        plain = isinstance(table, types.Array) and table.ndim == 1 and table.dtype == types.float64
        lanes = isinstance(index, Lanes) and index.kind == "f"
        fits = plain and table.layout == "C" and lanes and isinstance(first, types.Integer)
        return index(table, types.intp, index) if fits else None

    return typed


@lower_builtin(gather, types.Array, types.Integer, Lanes)
def _lower_gather(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    view = context.make_array(sig.args[0])(context, builder, args[0])
    start, width = builder.gep(view.data, [args[1]]), sig.return_type.width
    places = builder.fptosi(args[2], ir.VectorType(_I64, width))
    out = ir.Constant(sig.return_type.llvm, ir.Undefined)
    for lane in range(width):
        k = ir.Constant(ir.IntType(32), lane)
        value = builder.load(builder.gep(start, [builder.extract_element(places, k)]))
        out = builder.insert_element(out, value, k)
    return out
