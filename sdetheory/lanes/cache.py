"""Compiled entry points on disk: one file an entry, named by a digest of all it depends on.

Numba's own cache keeps one index file a function, which (i) holds the callers' classes, so that reading it
fails where their modules cannot be imported, (ii) loses or swaps entries when two processes write at once,
and (iii) gives kernels of equally named classes of different modules the same linker symbol, so that a
process that loads both from disk runs the first one twice.  Here (i) a key is a digest, (ii) files appear
atomically and are never rewritten, and (iii) every process numbers the functions it compiles from its own
random start.
"""

import hashlib
import itertools
import os
import pathlib
import pickle
import platform
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import numba
from numba import njit
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from sdetheory.lanes.dispatch import settle
from sdetheory.lanes.sources import digest

KEPT = 400  # files of one entry point that are kept when new ones come
FunctionIdentity._unique_ids = itertools.count(secrets.randbits(60))


def _plugin_classes(types: Any) -> Iterator[type]:
    """Classes of the NamedTuples in a signature."""
    for typ in types:
        if hasattr(typ, "instance_class"):
            yield typ.instance_class
        yield from _plugin_classes(getattr(typ, "types", ()))


class DiskCache(FunctionCache):
    """Loads and saves the compiled code of one entry point."""

    def _file(self, sig: Any, codegen: Any) -> pathlib.Path | None:
        """Where the code for this signature belongs; None for classes only this process has."""
        classes = set(_plugin_classes(sig.args if hasattr(sig, "args") else sig))
        if any(c.__module__ == "__main__" for c in classes):
            return None
        source = digest([self._py_func], classes)
        parts = (str(sig), codegen.magic_tuple(), source, numba.__version__, platform.python_version())
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
        return pathlib.Path(self.cache_path) / f"{self._py_func.__name__}-{key}.nbc"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled code for a signature, or None."""
        target_context.refresh()
        file = self._file(sig, target_context.codegen())
        try:
            data = None if file is None else pickle.loads(file.read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError, ImportError, AttributeError):
            return None
        if data is None:
            return None
        settle(_plugin_classes(sig.args if hasattr(sig, "args") else sig))
        return self._impl.rebuild(target_context, data)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code; where the folder cannot be written it is simply not kept."""
        file = self._file(sig, data.codegen)
        if file is None or not self._impl.check_cachable(data):
            return
        try:
            self._impl.locator.ensure_cache_path()
            temporary = file.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}")
            temporary.write_bytes(dumps(self._impl.reduce(data)))
            os.replace(temporary, file)
            self._prune(file.parent)
        except OSError:
            return

    def _prune(self, folder: pathlib.Path) -> None:
        """Forget the oldest files."""
        files = sorted(folder.glob(f"{self._py_func.__name__}-*.nbc"), key=lambda f: f.stat().st_mtime)
        for file in files[:-KEPT]:
            file.unlink(missing_ok=True)


def on_disk(jitted: Any) -> Any:
    """Give a jitted function the disk cache; where no folder can be written it is left as it is."""
    if not hasattr(jitted, "py_func"):  # NUMBA_DISABLE_JIT
        return jitted
    try:
        jitted._cache = DiskCache(jitted.py_func)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
    return jitted


def compiled(function: Callable) -> Callable:
    """Jit an entry point (first argument: a tag), kept on disk."""
    return on_disk(njit(nogil=True, error_model="numpy")(function))
