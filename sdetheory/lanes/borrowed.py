"""Borrowed arrays: the same memory with no owner, so that passing them on inside compiled code counts
nothing.

Numba counts references, atomically, of every array in every plug-in at each call and slice; in a small
gradient that was a third of the time.  An entry point that borrows what it was given (its caller keeps it
alive) is free of that.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable


def borrowed(value):
    """The value (an array, a plug-in, a nest of tuples of them) with ownerless arrays; itself without JIT.

    Valid while its owner lives: borrow the arguments of an entry point, and never return a borrowed array
    from it."""
    return value


@type_callable(borrowed)
def _typed(context):
    def same(value):
        return value

    return same


@lower_builtin(borrowed, types.Any)
def _disown(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Arrays with their owners replaced by null, wherever they stand in the value."""
    return _without_owner(context, builder, signature.args[0], arguments[0])


def _without_owner(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    parts: Any = kind  # the types of a tuple's items, one by one
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = ir.Constant(array.meminfo.type, None)
        array.parent = ir.Constant(array.parent.type, None)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        items = [
            _without_owner(context, builder, item, builder.extract_value(value, i))
            for i, item in enumerate(parts)
        ]
        return context.make_tuple(builder, kind, items)
    return value
