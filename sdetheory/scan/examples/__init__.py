"""Example scans that come with the package: `sdetheory scan --examples`."""

import tomllib
from pathlib import Path

from sdetheory.scan.experiments.protocol import known

HERE = Path(__file__).parent


def names() -> list[str]:
    """Names of the examples."""
    return sorted(path.stem for path in HERE.glob("*.toml"))


def path(name: str) -> Path:
    """The file of a scan: the path given, or that of an example by its name."""
    given = Path(name)
    if not given.suffix and not given.exists():
        known("the package", [name], names(), "example scan")
        return HERE / f"{name}.toml"
    return given


def shown(name: str) -> str:
    """The text of an example, or a list of all."""
    if name:
        return path(name).read_text(encoding="utf-8").rstrip()
    rows = [f"  {one:22} {tomllib.loads(path(one).read_text(encoding='utf-8'))['scan']['says']}" for one in names()]
    more = "sdetheory scan NAME --store DIR runs one; sdetheory scan --examples NAME prints its file"
    return "\n".join(["example scans:", *rows, "", more])
