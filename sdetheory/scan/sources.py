"""The code an experiment depends on: every source file it may import, found without running it, with a digest each.

Numba kernels have a finer digest (`sdetheory.lanes.sources`); a scan's results also depend on all the Python around
them, hence whole files. Files of installed third-party packages do not count; their versions are recorded beside.
"""

import ast
import functools
import hashlib
import importlib.util
import pathlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator

import sdetheory

OWN = "sdetheory"
_TELLING = (ast.Import, ast.ImportFrom, ast.Attribute)
_COUNTING = ("experiments", "comparison", "identity", "records")  # parts of this package that a number depends on


def code_files(modules: Iterable[str]) -> dict[str, pathlib.Path]:
    """Module name -> file of these modules and of all they import, first-party ones only, at any depth.

    The machinery of scans does not count. An import inside a function does; names fetched lazily from `sdetheory` count
    as the module they live in, and a package that looks for its modules counts with all of them.
    Raises LookupError for a root module that is not there.
    """
    found: dict[str, pathlib.Path] = {}
    queue = list(modules)
    for name in queue:
        if _file(name) is None:
            raise LookupError(f"no source file for module {name!r}")
    while queue:
        name = queue.pop()
        file = None if name in found or _machinery(name) else _file(name)
        if file is not None:
            found[name] = file
            queue += [module for module in _imported(name, file) if module not in found]
    found.pop(OWN, None)
    return dict(sorted(found.items()))


def digests(files: dict[str, pathlib.Path]) -> dict[str, str]:
    """Module name -> digest of its file's bytes."""
    return {name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for name, file in files.items()}


def digest(parts: dict[str, str]) -> str:
    """One digest of all."""
    text = "\n".join(f"{name} {part}" for name, part in sorted(parts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: dict[str, str] | None, new: dict[str, str]) -> str:
    """What changed, in words."""
    if old is None:
        return "its files are not on record"
    kinds = {
        "changed": [name for name in new if name in old and old[name] != new[name]],
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
    }
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names) or "nothing"


def _machinery(name: str) -> bool:
    """What runs and keeps scans, whatever they are; it moves numbers but makes none."""
    top, part, *rest = [*name.split("."), ""][:4]
    if top != OWN or part != "scan":
        return (top, part) == (OWN, "cli")
    return rest in ([""], ["experiments", ""]) or rest[0] not in _COUNTING


def _file(name: str) -> pathlib.Path | None:
    """The source of a first-party module, or None; nothing is imported to find it."""
    top, *rest = name.split(".")
    root = _root(top)
    if root is None or (rest and root.name != "__init__.py"):
        return None
    base = root.parent.joinpath(*rest)
    files = [base / "__init__.py", base.with_suffix(".py")] if rest else [root]
    return next((file for file in files if file.is_file()), None)


@functools.lru_cache(maxsize=4096)
def _root(top: str) -> pathlib.Path | None:
    """The file of a top-level package or module that is not installed; `sdetheory` counts wherever it is."""
    if top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # ValueError: a module without a spec, such as __main__
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    file = pathlib.Path(spec.origin).resolve()
    return file if top == OWN or not _installed(file) else None


def _installed(file: pathlib.Path) -> bool:
    paths = sysconfig.get_paths()
    folders = [pathlib.Path(paths[kind]).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    return "site-packages" in file.parts or any(file.is_relative_to(folder) for folder in folders)


def _imported(name: str, file: pathlib.Path) -> Iterator[str]:
    """Modules a file may load, those fetched as attributes of `sdetheory` included."""
    tree = ast.parse(file.read_bytes())
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    aliases = set()
    nodes = [node for node in ast.walk(tree) if isinstance(node, _TELLING)]
    if package == name and any("pkgutil" in _names(node) for node in nodes):  # it finds its modules by itself
        yield from (f"{name}.{sibling.stem}" for sibling in sorted(file.parent.glob("*.py")) if sibling != file)
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
                if alias.name.split(".")[0] == OWN:
                    aliases.add(alias.asname or OWN)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package) if node.level else (
                node.module or ""
            )  # fmt: skip
            yield from _with_parents(base)
            yield from (_home(alias.name) if base == OWN else f"{base}.{alias.name}" for alias in node.names)
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield _home(node.attr)


def _names(node: ast.AST) -> list[str]:
    return [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[: n + 1]) for n in range(len(parts)))


def _home(name: str) -> str:
    return f"{OWN}.{sdetheory._HOME.get(name, name)}"
