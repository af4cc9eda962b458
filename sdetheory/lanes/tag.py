"""Cache freshness: a digest of every source a compiled run depends on, carried in the type of its first argument.

Numba's disk cache stamps only the file of the cached function, so an edit of a kernel in another file would return
old answers.  `tag(*plugins)` walks from the plug-ins' kernels over the jitted functions they call, also in users'
modules, and digests their files, their code and the constants they read; the digest is part of the cache key.
"""

import functools
import hashlib
import inspect
import pathlib
import types as python_types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox

from sdetheory.lanes.dispatch import VERBS

_OURS = pathlib.Path(__file__).parent
_FOREIGN = ("numpy", "numba", "llvmlite", "math", "cmath", "operator", "builtins", "typing")


class Tag:
    """Carries the digest into a compiled function."""

    def __init__(self, digest: str) -> None:
        self.digest = digest


class TagType(types.Type):
    """The Numba type of a tag: different digests are different types."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        super().__init__(f"Tag({digest})")


register_model(TagType)(models.OpaqueModel)


@typeof_impl.register(Tag)
def _typeof_tag(tag: Tag, context: Any) -> TagType:
    return TagType(tag.digest)


@unbox(TagType)
def _unbox_tag(typ: TagType, value: Any, c: Any) -> NativeValue:
    return NativeValue(c.context.get_dummy_value())


def compiled(function: Callable) -> Callable:
    """Jit an entry point (first argument: a tag) with a disk cache; without one where no folder can be written."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return njit(**options)(function)


def tag(*plugins: Any) -> Tag:
    """The tag of a combination of plug-ins: NamedTuples, nested ones and tuples of them included."""
    classes = sorted(set(_classes(plugins)), key=lambda c: (c.__module__, c.__qualname__))
    kernels = {k for verb in VERBS for k in (verb.default, *map(verb.kernels.get, classes)) if k is not None}
    return _digest(tuple(classes), frozenset(kernels))


@functools.lru_cache(maxsize=4096)
def _digest(classes: tuple[type, ...], kernels: frozenset[Callable]) -> Tag:
    parts: set[bytes] = set()
    files = set(_OURS.glob("*.py")) | {pathlib.Path(f) for c in classes if (f := _file_of(c))}
    for item, text in _reachable(classes, kernels):
        parts.add(text.encode())
        code = getattr(item, "__code__", None)
        if code is not None:
            files.add(pathlib.Path(code.co_filename))
    parts |= {hashlib.sha256(f.read_bytes()).digest() for f in files if f.is_file()}
    return Tag(hashlib.sha256(b"\0".join(sorted(parts))).hexdigest()[:20])


def _file_of(cls: type) -> str | None:
    try:
        return inspect.getfile(cls)
    except (TypeError, OSError):          # a class typed at a prompt has no file
        return None


def _classes(values: Any) -> Iterator[type]:
    """Plug-in classes in a nest of tuples."""
    for value in values:
        if isinstance(value, tuple):
            if hasattr(value, "_fields"):
                yield type(value)
            yield from _classes(value)


def _reachable(classes: tuple[type, ...], kernels: frozenset[Callable]) -> Iterator[tuple[Any, str]]:
    """Every function and constant the kernels use, with a text that changes when it does."""
    queue: list[Any] = [*kernels]
    seen: set[int] = set()
    known = set(classes)
    while queue:
        item = queue.pop()
        item = getattr(item, "py_func", item)
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, python_types.FunctionType):
            yield item, f"{item.__module__}.{item.__qualname__} {_code_text(item.__code__)}"
            for name, value in _used(item):
                if isinstance(value, (int, float, complex, str, bool, np.ndarray, np.generic)):
                    yield None, f"{item.__module__}.{name}={_constant_text(value)}"
                elif isinstance(value, tuple) and not hasattr(value, "_fields"):
                    yield None, f"{item.__module__}.{name}={_constant_text(value)}"
                    queue.extend(value)
                else:
                    queue.append(value)
        elif isinstance(item, type) and hasattr(item, "_fields") and item not in known:
            known.add(item)
            queue.extend(k for verb in VERBS if (k := verb.kernels.get(item)) is not None)
        elif isinstance(item, tuple):
            queue.extend(_classes((item,)))


def _used(function: Any) -> Iterator[tuple[str, Any]]:
    """Globals, closure cells and module attributes a function reads, by name."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    for name, cell in cells:
        try:
            yield name, cell.cell_contents
        except ValueError:                # an empty cell: the function refers to itself while being defined
            continue
    names = _names(function.__code__)
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, python_types.ModuleType):
            if value.__name__.split(".")[0] not in _FOREIGN:
                yield from ((f"{name}.{n}", getattr(value, n)) for n in names if hasattr(value, n))
        elif value is not None:
            yield name, value


def _names(code: Any) -> list[str]:
    """Names a code object and the ones nested in it look up."""
    inner = (n for c in code.co_consts if isinstance(c, python_types.CodeType) for n in _names(c))
    return sorted({*code.co_names, *inner})


def _code_text(code: Any) -> str:
    consts = [_code_text(c) if isinstance(c, python_types.CodeType) else _constant_text(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {consts}"


def _constant_text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)
