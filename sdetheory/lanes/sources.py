"""What a compiled entry point depends on: a digest of every source, found by walking from function to
function.

Numba stamps only the file of a cached function, so that an edit of a kernel in another file would return old
answers. Here the walk starts at the entry point, follows the functions it calls, also into users' modules,
and where it meets a verb goes on to the kernels of the plug-in classes at hand.
"""

import functools
import hashlib
import inspect
import pathlib
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from sdetheory.lanes.dispatch import Verb, registrations

_BELOW = ("vector.py", "dispatch.py", "parts.py")  # what no walk through code finds: this, and code that writes code
_WRITING = ("emit.py", "sheet.py", "packed.py", "turn.py", "climb.py", "descent.py")
_ALWAYS = [pathlib.Path(__file__).parent / name for name in (*_BELOW, *_WRITING)]
_FOREIGN = ("numpy", "numba", "llvmlite", "math", "cmath", "operator", "builtins", "typing")
_PLAIN = (int, float, complex, str, bool, np.ndarray, np.generic)


def plugin_classes(values: Iterable[Any]) -> Iterator[type]:
    """Classes of the plug-ins in a nest of tuples."""
    for value in values:
        if isinstance(value, tuple):
            if hasattr(value, "_fields"):
                yield type(value)
            yield from plugin_classes(value)


def digest(entries: Iterable[Callable], classes: Iterable[type]) -> str:
    """Digest of the entry points with these plug-in classes: code, constants, names, and whole files."""
    return _digest(frozenset(entries), frozenset(classes), registrations())


@functools.lru_cache(maxsize=1024)
def _digest(entries: frozenset[Callable], classes: frozenset[type], registered: int) -> str:
    walk = _Walk(entries, classes)
    contents = {hashlib.sha256(f.read_bytes()).hexdigest() for f in walk.files if f.is_file()}
    return hashlib.sha256("\0".join([*sorted(walk.texts), *sorted(contents)]).encode()).hexdigest()[:32]


class _Walk:
    """Everything reachable: texts that change with code and constants, and the files it all stands in."""

    def __init__(self, entries: Iterable[Callable], classes: Iterable[type]) -> None:
        self.texts: set[str] = set()
        self.files: set[pathlib.Path] = set(_ALWAYS)
        self.verbs: set[Verb] = set()
        self.classes: set[type] = set()
        self.seen: set[int] = set()
        self.queue: list[Any] = [*entries, *classes]
        while self.queue:
            item = self.queue.pop()
            item = getattr(item, "py_func", item)
            if id(item) not in self.seen:
                self.seen.add(id(item))
                self._visit(item)

    def _visit(self, item: Any) -> None:
        if isinstance(item, Verb):
            self.verbs.add(item)
            self.queue += [item.default, *(item.kernels.get(c) for c in self.classes)]
        elif isinstance(item, type) and hasattr(item, "_fields"):
            self.classes.add(item)
            self.texts.add(f"class {item.__module__}.{item.__qualname__} {item._fields}")
            self.queue += [verb.kernels.get(item) for verb in self.verbs]
            self._add_file(item)
        elif isinstance(item, types.FunctionType):
            self.files.add(pathlib.Path(item.__code__.co_filename))
            self.texts.add(f"{item.__module__}.{item.__qualname__} {_code_text(item.__code__)}")
            for name, value in _used(item):
                if isinstance(value, (*_PLAIN, tuple)):
                    self.texts.add(f"{item.__module__}.{name}={_text(value)}")
                self.queue += [value, *(value if isinstance(value, tuple) else ())]
        elif isinstance(item, tuple):
            self.queue += plugin_classes([item])

    def _add_file(self, cls: type) -> None:
        try:
            self.files.add(pathlib.Path(inspect.getfile(cls)))
        except (TypeError, OSError):  # a class typed at a prompt has no file
            return


def _used(function: Any) -> Iterator[tuple[str, Any]]:
    """Globals, closure cells and module attributes a function reads, by name."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # an empty cell: the function refers to itself while being defined
            continue
    names = _names(function.__code__)
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType):
            if value.__name__.split(".")[0] not in _FOREIGN:
                yield from ((f"{name}.{n}", getattr(value, n)) for n in names if hasattr(value, n))
        elif value is not None:
            yield name, value


def _names(code: Any) -> list[str]:
    """Names a code object and the ones nested in it look up."""
    inner = (n for c in code.co_consts if isinstance(c, types.CodeType) for n in _names(c))
    return sorted({*code.co_names, *inner})


def _code_text(code: Any) -> str:
    """Bytecode with names and constants."""
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {[_text(c) for c in code.co_consts]}"


def _text(value: Any) -> str:
    """A constant, spelled out."""
    if isinstance(value, types.CodeType):
        return _code_text(value)
    if isinstance(value, np.ndarray):
        data = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype}{value.shape}{data}"
    if isinstance(value, tuple):
        return f"{type(value).__name__}{[_text(v) for v in value]}"
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)
