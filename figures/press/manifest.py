"""What a figure leaves behind: PDF, PNG, data, and a manifest that says how to make the same bytes again."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import sdetheory
from figures.press import cache, files, style
from figures.press import script as parts
from figures.press.expectation import Expectation


def publish(
    script: ModuleType,
    quick: bool,
    out: Path,
    data: files.Arrays,
    expectations: list[Expectation],
    drawn: tuple[bytes, bytes],
) -> list[Path]:
    """Write the four files of a figure into `out`; the manifest, last, carries the hashes of the others."""
    name = parts.name(script)
    contents = {f"{name}.pdf": drawn[0], f"{name}.png": drawn[1], f"{name}.npz": files.pack(data)}
    hashes = {file: files.write(out / file, content) for file, content in contents.items()}
    record = describe(script, quick, expectations) | {"sha256": hashes}
    files.write(out / f"{name}.json", files.json_bytes(record))
    return [out / file for file in contents] + [out / f"{name}.json"]


def describe(script: ModuleType, quick: bool, expectations: list[Expectation]) -> dict[str, Any]:
    """The manifest but for the hashes of the outputs: nothing in it depends on when or where it was made."""
    name = parts.name(script)
    parameters = parts.parameters(script, quick)
    return {
        "figure": name,
        "title": parts.title(script),
        "command": f"python -m figures {name}" + (" --quick" if quick else ""),
        "claims": list(script.CLAIMS),
        "caption": caption(script, parameters, expectations),
        "expectations": [_row(expectation) for expectation in expectations],
        "parameters": parameters,
        "seeds": {key: value for key, value in parameters.items() if key.endswith("seed")},
        "versions": cache.versions() | {"sdetheory": sdetheory.__version__, "drawn by": style.renderer()},
        "sources": {"sdetheory": package_digest(), f"figures/{name}.py": _file_digest(script)},
    }


def _row(expectation: Expectation) -> dict[str, Any]:
    """A check as JSON; an open side of its interval is null."""
    row = expectation._asdict()
    return {key: None if value in (-math.inf, math.inf) else value for key, value in row.items()} | {
        "holds": expectation.holds
    }


def caption(script: ModuleType, parameters: dict[str, Any], expectations: list[Expectation]) -> str:
    """What is drawn, with the parameters it names, then every sentence with the number found."""
    drawn = " ".join(script.CAPTION.format(**parameters).split())
    return " ".join([drawn, *(expectation.sentence for expectation in expectations)])


def package_digest() -> str:
    """SHA-256 over the sources of the package, in the order of their paths."""
    root = Path(str(sdetheory.__file__)).parent
    paths = sorted(root.rglob("*.py"))
    lines = [f"{path.relative_to(root).as_posix()} {files.sha256(path.read_bytes())}" for path in paths]
    return files.sha256("\n".join(lines).encode())


def _file_digest(script: ModuleType) -> str:
    return files.sha256(Path(str(script.__file__)).read_bytes())
