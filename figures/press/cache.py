"""Computed data kept under a digest of parameters and sources: computed once, never lost.

An entry records the parameters, the part of the figure script that `compute` uses, the versions of the
libraries, and a SHA-256 of every module of the package that was loaded when the numbers were made.
It is used again only while all of them are unchanged; an edit makes a new entry beside the old one.
"""

import ast
import importlib.util
import json
import sys
import time
import zipfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from figures.press import files
from figures.press import script as parts

LIBRARIES = ("numpy", "scipy", "numba", "scikit-learn")
RECORD = "_record"
BEGAN = time.time()


class Recipe(NamedTuple):
    """What the numbers follow from, apart from the package's own sources."""

    figure: str
    parameters: str
    source: str
    versions: str

    @property
    def digest(self) -> str:
        return files.sha256("\0".join(self).encode())[:16]


def recipe(script: ModuleType, parameters: Mapping[str, Any]) -> Recipe:
    """The recipe of one figure: parameters as JSON, the statements `compute` uses, library versions."""
    source = Path(str(script.__file__)).read_text(encoding="utf-8")
    return Recipe(
        parts.name(script),
        json.dumps(parameters, sort_keys=True),
        used_by(source, "compute"),
        json.dumps(versions()),
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries the numbers depend on."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    return found | {name: metadata.version(name) for name in LIBRARIES}


def used_by(source: str, root: str) -> str:
    """The top-level statements of a script that `root` uses, directly or through others, without comments."""
    body = ast.parse(source).body
    binds = {name: node for node in body for name in _bound(node)}
    wanted: set[int] = set()
    names = [root]
    while names:
        node = binds.get(names.pop())
        if node is not None and id(node) not in wanted:
            wanted.add(id(node))
            names += [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    return "\n".join(ast.unparse(node) for node in body if id(node) in wanted)


def _bound(node: ast.stmt) -> list[str]:
    """Names a top-level statement binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    return [
        part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]


def loaded_sources(recipe: Recipe) -> dict[str, str]:
    """SHA-256 of every loaded module of the package, and of figure scripts the recipe imports from.

    A file written after this process began may not be what ran: such an entry is kept, but never used again.
    """
    names = [name for name in sys.modules if name.partition(".")[0] == "sdetheory"]
    names += [
        name for name in sys.modules if name.startswith("figures.") and f"from {name} import" in recipe.source
    ]
    paths = {name: source_file(name) for name in sorted(names)}
    return {
        name: _digest(path) if _unchanged(path) else "edited while it ran"
        for name, path in paths.items()
        if path
    }


def _unchanged(path: Path) -> bool:
    """Is the file there, and older than this process?"""
    return path.exists() and path.stat().st_mtime < BEGAN


def source_file(name: str) -> Path | None:
    """The file of a module, imported or not; None for one without a file or that is not there any more."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found is not None and found.has_location and found.origin else None


def module_digest(name: str) -> str:
    """SHA-256 of a module's file, "" for one that is not there any more."""
    path = source_file(name)
    return _digest(path) if path is not None and path.exists() else ""


def _digest(path: Path) -> str:
    return files.sha256(path.read_bytes())


def look_up(folder: Path, recipe: Recipe) -> tuple[files.Arrays | None, str]:
    """The cached data, or None and the reason why the figure must be computed."""
    reason = "nothing computed for these parameters yet"
    for path in _entries(folder, recipe):
        try:
            data = files.unpack(path)
            record = json.loads(str(data.pop(RECORD)))
        except (zipfile.BadZipFile, ValueError, EOFError, KeyError, OSError) as error:
            reason = f"{path.name} is damaged ({error})"
            continue
        changed = [name for name, digest in record.items() if module_digest(name) != digest]
        if not changed:
            return data, f"from the cache {path.name}"
        reason = f"{_some(changed)} changed"
    return None, reason


def keep(folder: Path, recipe: Recipe, data: files.Arrays) -> Path:
    """Store computed data beside what is there already."""
    record = json.dumps(loaded_sources(recipe))
    path = folder / f"{recipe.figure}-{recipe.digest}-{files.sha256(record.encode())[:16]}.npz"
    files.write(path, files.pack(data | {RECORD: np.array(record)}))
    return path


def _entries(folder: Path, recipe: Recipe) -> Iterable[Path]:
    """Entries of this recipe, newest first."""
    found = folder.glob(f"{recipe.figure}-{recipe.digest}-*.npz")
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
