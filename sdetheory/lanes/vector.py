"""Lane vectors: one Numba value holds the same number of W paths, and a numpy row of W in plain Python.

How to use it.  A *lane array* is an array whose element is a row of W doubles (or of W 64-bit words)::

    w = lane_array(d, 16)            # d rows of 16 lanes, zeros, 64-byte aligned
    v = load(w, i)                   # row i: a lane vector; arithmetic, comparisons, fma, sqrt, select work
    on it store(w, i, 2.0 * v)             # scalars broadcast

A kernel reads as scalar code, one path at a time: ``s = 0.0``, then ``s = fma(v, v, s)`` in a loop.  The
width is in the array's dtype, so one source serves every width in one process.  ``float_rows(w)`` is the (d,
W) numpy view. A loop that may run zero times must start from ``constant(w, 0.0)`` instead of ``0.0``. Every
lane is computed on its own, so results do not depend on the width.
"""

import functools
import itertools
import math
import operator
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typeconv import Conversion
from numba.extending import lower_builtin, lower_cast, models, register_model, type_callable

WIDTHS = (8, 16, 32)
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FLAGS = ("contract",)


# ---- lane arrays
# ----------------------------------------------------------------------------------------------


@functools.cache
def lane_dtype(width: int, kind: str = "f8") -> np.dtype:
    """Element type of a lane array: one field `lane` of `width` doubles ("f8") or words ("u8")."""
    if width not in WIDTHS:
        raise ValueError(f"`width` must be one of {WIDTHS}: width={width!r}")
    return np.dtype([("lane", kind, (width,))])


def lane_array(rows: Any, width: int, kind: str = "f8") -> np.ndarray:
    """Zeroed lane array of shape `rows` (int or tuple), aligned to 64 bytes."""
    shape = (rows,) if isinstance(rows, (int, np.integer)) else tuple(rows)
    size = math.prod(shape) * width
    raw = np.zeros(size + 8, kind)
    start = (-raw.__array_interface__["data"][0] % 64) // 8
    return raw[start : start + size].view(lane_dtype(width, kind)).reshape(shape)


def lane_arrays(shapes: dict[str, tuple[int, ...]], width: int) -> dict[str, np.ndarray]:
    """Zeroed lane arrays of these shapes in one piece of memory."""
    ends = list(itertools.accumulate(map(math.prod, shapes.values()), initial=0))
    whole = lane_array(ends[-1], width)
    return {name: whole[ends[k] : ends[k + 1]].reshape(shape) for k, (name, shape) in enumerate(shapes.items())}


def as_lanes(rows: np.ndarray) -> np.ndarray:
    """View a C-contiguous (..., W) array of doubles or words as a lane array of shape (...)."""
    kind = "u8" if rows.dtype == np.uint64 else "f8"
    if not rows.flags.c_contiguous or rows.dtype.itemsize != 8:
        raise ValueError(f"`rows` must be C-contiguous with 8-byte elements: dtype={rows.dtype}")
    return rows.view(lane_dtype(rows.shape[-1], kind))[..., 0]


def float_rows(x: np.ndarray) -> np.ndarray:
    """The (..., W) plain view of a lane array."""
    return x["lane"]


# ---- value types
# ----------------------------------------------------------------------------------------------


class Lanes(types.Type):
    """W doubles ("f"), W words ("u") or W truth values ("m")."""

    def __init__(self, kind: str, width: int) -> None:
        self.kind, self.width = kind, width
        super().__init__(f"Lanes({kind}{width})")

    def can_convert_from(self, context: Any, other: Any) -> Any:
        """Scalars broadcast."""
        scalar = {"f": (types.Float, types.Integer), "u": (types.Integer,), "m": (types.Boolean,)}[self.kind]
        return Conversion.safe if isinstance(other, scalar) else None

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM vector type."""
        element = {"f": ir.DoubleType(), "u": _I64, "m": ir.IntType(1)}[self.kind]
        return ir.VectorType(element, self.width)

    @property
    def element(self) -> Any:
        """The Numba type of one lane."""
        return {"f": types.float64, "u": types.uint64, "m": types.boolean}[self.kind]


F, U, M = ({w: Lanes(kind, w) for w in WIDTHS} for kind in "fum")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


def _splat(builder: Any, x: Any, vector: ir.VectorType) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, x, _I32(0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
    )


@lower_cast(types.Float, Lanes)
@lower_cast(types.Integer, Lanes)
@lower_cast(types.Boolean, Lanes)
def _broadcast(context: Any, builder: Any, fromty: Any, toty: Lanes, x: Any) -> Any:
    x = context.cast(builder, x, fromty, toty.element)
    if toty.kind == "m":
        x = builder.trunc(x, ir.IntType(1)) if x.type != ir.IntType(1) else x
    return _splat(builder, x, toty.llvm)


# ---- registering functions on lanes
# ---------------------------------------------------------------------------


def _width(arguments: tuple) -> int:
    """Common width of the lane vectors among the arguments; 0 if there are none or they differ."""
    widths = {a.width for a in arguments if isinstance(a, Lanes)}
    return widths.pop() if len(widths) == 1 else 0


def _broadcasts(have: Any, want: Any) -> bool:
    """Is this a scalar that can stand for a lane vector (or for the scalar wanted)?"""
    if isinstance(want, Lanes):
        return want.can_convert_from(None, have) is not None
    return isinstance(have, types.Integer)


def _define(function: Callable, arguments: str, result: str, emit: Callable) -> None:
    """Typing and lowering of `function` on lanes: one letter (f, u, m; s = scalar shift) an argument."""
    names = ", ".join("abc"[: len(arguments)])

    def signature(*given: Any) -> Any:
        width = _width(given)
        if not width:
            return None
        wanted = [types.uint64 if k == "s" else Lanes(k, width) for k in arguments]
        fits = (have == want or _broadcasts(have, want) for have, want in zip(given, wanted, strict=True))
        return Lanes(result, width)(*wanted) if all(fits) else None

    space: dict[str, Any] = {"signature": signature}
    exec(f"def typer(context):\n def typed({names}):\n  return signature({names})\n return typed", space)
    type_callable(function)(space["typer"])
    for width in WIDTHS:
        wanted = [types.uint64 if k == "s" else Lanes(k, width) for k in arguments]
        lower_builtin(function, *wanted)(lambda context, builder, sig, args: emit(builder, *args))


def _operator(names: str, kinds: str, result: str, emit: Callable) -> None:
    for name in names.split():
        _define(getattr(operator, name), kinds, result, emit)


_operator("add iadd", "ff", "f", lambda b, x, y: b.fadd(x, y, flags=_FLAGS))
_operator("sub isub", "ff", "f", lambda b, x, y: b.fsub(x, y, flags=_FLAGS))
_operator("mul imul", "ff", "f", lambda b, x, y: b.fmul(x, y, flags=_FLAGS))
_operator("truediv itruediv", "ff", "f", lambda b, x, y: b.fdiv(x, y))
_operator("neg", "f", "f", lambda b, x: b.fneg(x))
_operator("pos", "f", "f", lambda b, x: x)
_operator("add iadd", "uu", "u", lambda b, x, y: b.add(x, y))
_operator("sub isub", "uu", "u", lambda b, x, y: b.sub(x, y))
_operator("mul imul", "uu", "u", lambda b, x, y: b.mul(x, y))
_operator("xor ixor", "uu", "u", lambda b, x, y: b.xor(x, y))
_operator("or_ ior", "uu", "u", lambda b, x, y: b.or_(x, y))
_operator("and_ iand", "uu", "u", lambda b, x, y: b.and_(x, y))
_operator("lshift ilshift", "us", "u", lambda b, x, k: b.shl(x, _splat(b, k, x.type)))
_operator("rshift irshift", "us", "u", lambda b, x, k: b.lshr(x, _splat(b, k, x.type)))
_operator("and_ iand", "mm", "m", lambda b, x, y: b.and_(x, y))
_operator("or_ ior", "mm", "m", lambda b, x, y: b.or_(x, y))
_operator("invert", "m", "m", lambda b, x: b.not_(x))
for _name, _sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "==")):
    _operator(_name, "ff", "m", lambda b, x, y, sign=_sign: b.fcmp_ordered(sign, x, y))
_operator("ne", "ff", "m", lambda b, x, y: b.fcmp_unordered("!=", x, y))


# ---- functions of lanes
# ---------------------------------------------------------------------------------------


def fma(x: Any, y: Any, z: Any) -> Any:
    """x*y + z, rounded once when compiled (twice in plain Python)."""
    return x * y + z


def select(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, y elsewhere."""
    return np.where(condition, x, y)


def sqrt(x: Any) -> Any:
    """Square root, lane by lane."""
    return np.sqrt(x)


def absolute(x: Any) -> Any:
    """|x|, lane by lane."""
    return np.abs(x)


def floor(x: Any) -> Any:
    """Largest integer not above x, lane by lane."""
    return np.floor(x)


def exp(x: Any) -> Any:
    """Exponential, lane by lane (the scalar library's)."""
    return np.exp(x)


def log(x: Any) -> Any:
    """Natural logarithm, lane by lane (the scalar library's)."""
    return np.log(x)


def sin(x: Any) -> Any:
    """Sine, lane by lane (the scalar library's)."""
    return np.sin(x)


def cos(x: Any) -> Any:
    """Cosine, lane by lane (the scalar library's)."""
    return np.cos(x)


def minimum(x: Any, y: Any) -> Any:
    """The smaller one; a NaN is ignored."""
    return np.fmin(x, y)


def maximum(x: Any, y: Any) -> Any:
    """The larger one; a NaN is ignored."""
    return np.fmax(x, y)


def power(x: Any, y: Any) -> Any:
    """x**y, lane by lane (the scalar library's)."""
    return np.power(x, y)


def to_bits(x: Any) -> Any:
    """The 64 bits of each double."""
    return np.asarray(x).view(np.uint64)


def from_bits(x: Any) -> Any:
    """The double with these 64 bits."""
    return np.asarray(x).view(np.float64)


def _all_plain(*arguments: Any) -> bool:
    """Are these single numbers?"""
    return all(isinstance(a, (types.Float, types.Integer)) for a in arguments)


def _llvm_function(name: str) -> Callable:
    def emit(builder: Any, *args: Any) -> Any:
        vector = args[0].type
        function = f"llvm.{name}.v{vector.count}f64" if isinstance(vector, ir.VectorType) else f"llvm.{name}.f64"
        declared = builder.module.globals.get(function) or ir.Function(
            builder.module, ir.FunctionType(vector, [vector] * len(args)), function
        )
        return builder.call(declared, args)

    return emit


_define(fma, "fff", "f", _llvm_function("fma"))
_define(select, "mff", "f", lambda b, m, x, y: b.select(m, x, y))
for _unary in ((sqrt, "sqrt"), (absolute, "fabs"), (floor, "floor"), (exp, "exp"), (log, "log"), (sin, "sin"),
               (cos, "cos")):  # fmt: skip
    _define(_unary[0], "f", "f", _llvm_function(_unary[1]))
for _binary in ((minimum, "minnum"), (maximum, "maxnum"), (power, "pow")):
    _define(_binary[0], "ff", "f", _llvm_function(_binary[1]))
# The same three of plain doubles, so that a formula written once serves lanes and arrays of numbers alike.
type_callable(fma)(
    lambda context: lambda x, y, z: types.float64(*[types.float64] * 3) if _all_plain(x, y, z) else None
)
type_callable(sqrt)(lambda context: lambda x: types.float64(types.float64) if _all_plain(x) else None)
type_callable(select)(
    lambda context: lambda condition, x, y: (
        types.float64(types.boolean, types.float64, types.float64)
        if condition == types.boolean and _all_plain(x, y)
        else None
    )
)
for _function, _count, _name in ((fma, 3, "fma"), (sqrt, 1, "sqrt")):
    lower_builtin(_function, *[types.float64] * _count)(
        lambda context, builder, sig, args, name=_name: _llvm_function(name)(builder, *args)
    )
lower_builtin(select, types.boolean, types.float64, types.float64)(
    lambda context, builder, sig, args: builder.select(
        context.cast(builder, args[0], types.boolean, types.boolean), args[1], args[2]
    )
)
_define(to_bits, "f", "u", lambda b, x: b.bitcast(x, ir.VectorType(_I64, x.type.count)))
_define(from_bits, "u", "f", lambda b, x: b.bitcast(x, ir.VectorType(ir.DoubleType(), x.type.count)))


# ---- whole-vector questions
# -----------------------------------------------------------------------------------


def any_lane(mask: Any) -> bool:
    """Does the condition hold in at least one lane?"""
    return bool(np.any(mask))


@type_callable(any_lane)
def _type_any(context: Any) -> Callable:
    def typed(mask: Any) -> Any:
        return types.boolean if isinstance(mask, Lanes) and mask.kind == "m" else None

    return typed


@lower_builtin(any_lane, Lanes)
def _lower_any(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    bits = ir.IntType(sig.args[0].width)
    return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), bits(0))


# ---- a counter that threads share
# ---------------------------------------------------------------------------------------------------

_TAKING = threading.Lock()


def take(counter: np.ndarray) -> int:
    """counter[0] before it is raised by one, in one piece: no two threads are given the same number.

    counter: (1,) int64, contiguous.
    """
    with _TAKING:
        number = int(counter[0])
        counter[0] = number + 1
    return number


@type_callable(take)
def _type_take(context: Any) -> Callable:
    def typed(counter: Any) -> Any:
        counts = isinstance(counter, types.Array) and counter.dtype == types.int64 and counter.layout == "C"
        return types.int64(counter) if counts else None

    return typed


@lower_builtin(take, types.Array)
def _lower_take(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    view = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.atomic_rmw("add", view.data, _I64(1), "monotonic")


# ---- memory
# ---------------------------------------------------------------------------------------------------


def load(x: Any, i: int) -> Any:
    """Row i of a lane array."""
    return x["lane"][i].copy()


def store(x: Any, i: int, value: Any) -> None:
    """Write row i of a lane array; a scalar goes to every lane."""
    x["lane"][i] = value


def constant(like: Any, value: float) -> Any:
    """`value` in every lane, of the width of `like` (a float lane array or lane vector)."""
    if like.dtype.names:
        return np.full(like.dtype["lane"].shape, value, like.dtype["lane"].base)
    return np.full(like.shape, value, like.dtype)


def _lanes_of(array: Any) -> Any:
    """Lane type of the elements of a contiguous 1-D lane array, or None."""
    if not (isinstance(array, types.Array) and array.ndim == 1 and isinstance(array.dtype, types.Record)):
        return None
    if array.layout != "C":
        return None
    field: Any = array.dtype.fields["lane"].type
    return Lanes("f" if field.dtype == types.float64 else "u", array.dtype.size // 8)


@type_callable(load)
def _type_load(context: Any) -> Callable:
    def typed(x: Any, i: Any) -> Any:
        lanes = _lanes_of(x)
        return (lanes and isinstance(i, types.Integer) and lanes(x, types.intp)) or None

    return typed


@type_callable(store)
def _type_store(context: Any) -> Callable:
    def typed(x: Any, i: Any, value: Any) -> Any:
        lanes = _lanes_of(x)
        return (lanes and isinstance(i, types.Integer) and types.none(x, types.intp, lanes)) or None

    return typed


@type_callable(constant)
def _type_constant(context: Any) -> Callable:
    def typed(like: Any, value: Any) -> Any:
        lanes = like if isinstance(like, Lanes) else _lanes_of(like)
        return (lanes and lanes(like, lanes.element)) or None

    return typed


def _row(context: Any, builder: Any, arrayty: Any, array: Any, i: Any) -> Any:
    """Pointer to row i of a 1-D lane array, rows at the array's own stride."""
    view = context.make_array(arrayty)(context, builder, array)
    vector = _lanes_of(arrayty).llvm
    start = builder.bitcast(view.data, vector.as_pointer())
    return builder.gep(start, [i])


@lower_builtin(load, types.Array, types.Integer)
def _lower_load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    value = builder.load(_row(context, builder, sig.args[0], *args))
    value.align = 8
    return value


@lower_builtin(store, types.Array, types.Integer, Lanes)
def _lower_store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    builder.store(args[2], _row(context, builder, sig.args[0], args[0], args[1])).align = 8
    return context.get_dummy_value()


@lower_builtin(constant, types.Array, types.Any)
@lower_builtin(constant, Lanes, types.Any)
def _lower_constant(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _splat(builder, args[1], sig.return_type.llvm)
