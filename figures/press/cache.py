"""Computed data kept under a digest of parameters and sources: computed once, never lost.

An entry records the parameters, the part of the figure script that `compute` uses, the versions of the
libraries, and a SHA-256 of every module of the package that was loaded when the numbers were made.
It is used again only while all of them are unchanged; an edit makes a new entry beside the old one.
"""

import ast
import importlib.util
import json
import sys
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
    """SHA-256 of every loaded module of the package, and of figure scripts the recipe imports from."""
    names = [name for name in sys.modules if name.partition(".")[0] == "sdetheory"]
    names += [
        name for name in sys.modules if name.startswith("figures.") and f"from {name} import" in recipe.source
    ]
    return {name: digest for name in sorted(names) if (digest := module_digest(name))}


def module_digest(name: str) -> str:
    """SHA-256 of a module's file, "" for one without a file or that no longer exists."""
    try:
        found = importlib.util.find_spec(name)
    except ImportError:
        return ""
    if found is None or not found.has_location or not found.origin:
        return ""
    return files.sha256(Path(found.origin).read_bytes())


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
