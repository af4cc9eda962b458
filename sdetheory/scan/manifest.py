"""What a store holds and by whose code: one immutable manifest a run, kept twice, newest valid one first.

A manifest fixes the settings (everything besides a point's identity that decides its numbers, such as the root seed),
names the code whose records count, and keeps the description, the command and the versions.
"""

import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import platform
import socket
from collections.abc import Mapping
from typing import Any

import sdetheory
from sdetheory.scan import sources
from sdetheory.scan.shards import seal_json, unseal_json

COPIES = ("manifest.json", "manifest.copy.json")
CHANGED = ("refuse", "keep", "recompute")


class CodeChanged(ValueError):
    """The code is not the one that computed what the store holds."""


class SettingsChanged(ValueError):
    """The store was computed with other settings."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """settings and description: plain tables; accepted: experiment -> digests of the code whose records count, newest
    last; files: digest -> {module: digest of its file}; origin: command, versions, host, process and time of the run.
    """

    run: int
    settings: Mapping[str, Any]
    description: Any = None
    accepted: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
    files: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def counts(self, experiment: str, code: str) -> bool:
        """Whether records of this code count."""
        return code in self.accepted.get(experiment, ())

    @property
    def holder(self) -> str:
        """Who runs it."""
        return ", ".join(f"{key} {self.origin[key]}" for key in ("host", "pid", "started") if key in self.origin)


def sealed(manifest: Manifest) -> bytes:
    """Its bytes."""
    return seal_json("manifest", dataclasses.asdict(manifest))


def unsealed(data: bytes) -> Manifest:
    """The manifest in these bytes; Damaged if one was touched."""
    return Manifest(**unseal_json("manifest", data))


def folder(path: pathlib.Path, run: int) -> pathlib.Path:
    """Where a run keeps its manifest and the marks of what it has begun."""
    return path / "runs" / f"{run:06d}"


def origin(command: list[str] | None) -> dict[str, Any]:
    """Command, versions, host, process and time."""
    packages = ("numpy", "scipy", "numba", "sympy", "distributed")
    versions = {name: importlib.metadata.version(name) for name in packages if _there(name)}
    return {
        "command": command,
        "versions": {"sdetheory": sdetheory.__version__, "python": platform.python_version(), **versions},
        "machine": platform.machine(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _there(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def check_settings(old: Mapping[str, Any], new: Mapping[str, Any], path: pathlib.Path) -> None:
    """Raises SettingsChanged, naming each setting that differs."""
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    differing = [f"{name}={new.get(name)!r} (there: {old.get(name)!r})" for name in names]
    if differing:
        raise SettingsChanged(
            f"`{path}` was computed with other settings: {', '.join(differing)}; use the old ones, or another store"
        )


def accept(
    old: Manifest | None, held: Mapping[str, set[str]], code: Mapping[str, Mapping[str, str]], changed: str
) -> tuple[dict[str, list[str]], dict[str, Mapping[str, str]]]:
    """Which code counts from now on: (accepted, files).

    held: experiment -> digests of the code that computed results (ok or diverged) which count now; code: experiment ->
    {module: digest} of the code at hand. Raises CodeChanged if they differ, unless `changed` says what to do: keep
    (what the old code computed stands beside what the new one will), recompute (it does not count any more).
    """
    accepted = {name: list(digests) for name, digests in (old.accepted if old else {}).items()}
    files = dict(old.files if old else {})
    for experiment, parts in code.items():
        digest = sources.digest(dict(parts))
        files[digest] = parts
        before = accepted.get(experiment, [])
        foreign = held.get(experiment, set()) - {digest}
        if not foreign or changed == "recompute":
            accepted[experiment] = [digest]
        elif changed == "keep" or digest in before:
            accepted[experiment] = [*(one for one in before if one != digest), digest]
        else:
            newest = next((one for one in reversed(before) if one in foreign), min(foreign))
            known = files.get(newest)
            raise CodeChanged(
                f"the code of {experiment} is not the one that computed what this store holds "
                f"({sources.differences(dict(known) if known else None, dict(parts))}). "
                "Say which you want: keep (the old results stand, new points use the new code), "
                "recompute (the old results do not count any more), or another store"
            )
    return accepted, files
