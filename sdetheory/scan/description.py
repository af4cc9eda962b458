"""A scan described: an experiment, fixed parameters, axes, seeds; from TOML or Python, checked before anything runs."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sdetheory import checks
from sdetheory.scan import axes as axes_module
from sdetheory.scan import experiments
from sdetheory.scan.axes import Axis
from sdetheory.scan.experiments.protocol import Experiment, known
from sdetheory.scan.identity import Point

SECTIONS = ("scan", "parameters", "axes", "points")
KEYS = ("name", "experiment", "says", "seeds", "root_seed", "record")


@dataclass(frozen=True)
class Scan:
    """Which points an experiment is run at.

    experiment: a name (`sdetheory scan --experiments` lists them) or "module:function".  parameters: fixed values.
    axes: name -> Axis, all combinations in the order given (axes.values, axes.linear, axes.log).  points: further
    points, each a dict.  seeds: how many seeds a point has (indices 0, 1, ...) or the list of indices.  root_seed: of
    all random numbers; a point's own seed is a function of root_seed and of what the point is, never of its place.
    record: observables to keep (None: all).  Raises ValueError for anything unknown or wrong, before anything runs.
    """

    experiment: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, Axis] = field(default_factory=dict)
    points_given: Sequence[Mapping[str, Any]] = ()
    seeds: int | Sequence[int] = 1
    root_seed: int = 0
    record: Sequence[str] | None = None
    name: str = "scan"
    says: str = ""
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        try:
            self._check()
        except ValueError as error:
            raise ValueError(self._located(str(error))) from None

    @property
    def what(self) -> Experiment:
        """The experiment itself."""
        return experiments.find(self.experiment)

    @cached_property
    def seed_indices(self) -> list[int]:
        """Indices of the seeds of every point."""
        if isinstance(self.seeds, Sequence) and not isinstance(self.seeds, str):
            found = [checks.integer(f"seeds[{i}]", s) for i, s in enumerate(self.seeds)]
            if not found or len(set(found)) < len(found):
                raise ValueError(f"`seeds` must be different indices, at least one: seeds={list(self.seeds)!r}")
            return found
        return list(range(checks.integer("seeds", self.seeds, 1)))

    @cached_property
    def groups(self) -> list[dict[str, Any]]:
        """Complete parameters of every group (points that differ in the seed alone), each once, in order.

        First the grid, the last axis fastest, then the points given one by one.
        """
        grid = axes_module.combinations(self.axes) if self.axes or not self.points_given else iter(())
        found: dict[str, dict[str, Any]] = {}
        recorded = {"record": list(self.record)} if self.record and "record" in self.what.parameters else {}
        for varied in [*grid, *self.points_given]:
            try:
                complete = self.what.validate({**self.parameters, **varied, **recorded})
            except ValueError as error:
                at = ", ".join(f"{name}={value!r}" for name, value in varied.items())
                raise ValueError(f"{error}{f' (at the point {at})' if at else ''}") from None
            if self._restricts and not recorded:
                complete["record"] = sorted(self.record or ())
            found.setdefault(json.dumps(complete, sort_keys=True), complete)
        return list(found.values())

    @property
    def _restricts(self) -> bool:
        """Whether less than everything is recorded."""
        return self.record is not None and set(self.record) != set(self.what.observables)

    def points(self) -> Iterator[Point]:
        """All points: group by group, the seeds of a group one after the other."""
        for parameters in self.groups:
            for seed in self.seed_indices:
                yield Point(self.experiment, parameters, seed)

    def __len__(self) -> int:
        return len(self.groups) * len(self.seed_indices)

    @property
    def digest(self) -> str:
        """SHA-256 of the description."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    # -- dict and TOML

    @classmethod
    def from_toml(cls, path: str | Path) -> "Scan":
        """Read a file; ValueError names the file, the key and the rule."""
        path = Path(path)
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            near = sorted(p.name for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
            hint = f"; there are {', '.join(near)}" if near else ""
            raise ValueError(f"no file {str(path)!r}{hint}") from None
        except OSError as error:
            raise ValueError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not TOML: {error}") from None
        return cls.from_dict(given, source=str(path), name=path.stem)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], source: str = "", name: str = "scan") -> "Scan":
        """From the tables of a TOML file: scan, parameters, axes, points."""
        try:
            known("a scan", given, SECTIONS, "section")
            for section, kind in zip(SECTIONS, (dict, dict, dict, list), strict=True):
                if not isinstance(given.get(section, kind()), kind):
                    wanted = "[[points]] tables" if kind is list else f"a table [{section}]"
                    raise ValueError(f"`{section}` must be {wanted}: {section}={given[section]!r}")
            head = given.get("scan", {})
            known("[scan]", head, KEYS, "key")
            if "experiment" not in head:
                raise ValueError("[scan] needs `experiment`")
            axes = {}
            for key, one in _flat(given.get("axes", {}), _is_axis).items():
                try:
                    axes[key] = axes_module.axis(one if isinstance(one, dict) else {"values": one})
                except ValueError as error:
                    raise ValueError(f"[axes.{_key(key)}]: {error}") from None
            points = [_flat(p) if isinstance(p, dict) else p for p in given.get("points", [])]
        except ValueError as error:
            raise ValueError(f"{source}: {error}" if source else str(error)) from None
        fixed, options = _flat(given.get("parameters", {})), {"name": name, **head}
        return cls(parameters=fixed, axes=axes, points_given=points, source=source, **options)

    def to_dict(self) -> dict[str, Any]:
        """The tables of the TOML file."""
        head: dict[str, Any] = {"name": self.name, "experiment": self.experiment, "says": self.says,
                "seeds": self.seeds if isinstance(self.seeds, int) else list(self.seeds),
                "root_seed": self.root_seed}  # fmt: skip
        if self.record is not None:
            head["record"] = list(self.record)
        tables = {"scan": head, "parameters": dict(self.parameters),
                  "axes": {name: axes_module.table(one) for name, one in self.axes.items()},
                  "points": [dict(point) for point in self.points_given]}  # fmt: skip
        return {section: value for section, value in tables.items() if value}

    def to_toml(self) -> str:
        """The file that `from_toml` reads back as this scan."""
        tables = self.to_dict()
        parts = [("[scan]", tables["scan"])]
        parts += [("[parameters]", tables["parameters"])] if "parameters" in tables else []
        parts += [(f"[axes.{_key(name)}]", one) for name, one in tables.get("axes", {}).items()]
        parts += [("[[points]]", point) for point in tables.get("points", [])]
        lines = [[head, *(f"{_key(k)} = {_toml(v)}" for k, v in body.items())] for head, body in parts]
        return "\n\n".join("\n".join(block) for block in lines) + "\n"

    # -- checks

    def _check(self) -> None:
        for name in ("name", "experiment", "says"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"`{name}` must be a text: {name}={value!r}")
        checks.integer("root_seed", self.root_seed)
        what, both = self.what, [name for name in self.axes if name in self.parameters]
        if both:
            raise ValueError(f"`{both[0]}` must be either fixed or an axis: it is in [parameters] and in [axes]")
        for i, point in enumerate(self.points_given):
            if not isinstance(point, Mapping):
                raise ValueError(f"points[{i}] must be a table of parameters: {point!r}")
        for name, one in self.axes.items():
            if not isinstance(one, Axis):
                raise ValueError(f"`axes[{name!r}]` must be an Axis (axes.values, axes.linear, axes.log): {one!r}")
        if self.record is not None:
            if isinstance(self.record, str) or not self.record:
                raise ValueError(f"`record` must be a list of observables: record={self.record!r}")
            if what.observables:
                known(what.name, self.record, what.observables, "observable")
        self.seed_indices  # noqa: B018
        self.groups  # noqa: B018

    def _located(self, message: str) -> str:
        """The message with the file and the section that holds what it names."""
        for name in re.findall(r"`([^`\[]+)|parameter '([^']+)'|argument '([^']+)'", message):
            key = next(part for part in name if part)
            place = self._place(key)
            if place:
                message = f"{place}: {message}"
                break
        return f"{self.source}: {message}" if self.source else message

    def _place(self, key: str) -> str:
        if key in self.axes:
            return f"[axes.{_key(key)}]"
        if key in self.parameters:
            return f"[parameters] {_key(key)}"
        if any(isinstance(point, Mapping) and key in point for point in self.points_given):
            return f"[[points]] {_key(key)}"
        return f"[scan] {key}" if key in KEYS else ""


def _is_axis(table: Mapping[str, Any]) -> bool:
    """Whether a table of [axes] describes an axis, rather than holding tables that do."""
    return not all(isinstance(value, dict) for value in table.values())


def _flat(given: Mapping[str, Any], leaf: Any = lambda table: False, prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted names; a table's `name` is the value of the table's own name (noise.name is noise)."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = prefix[:-1] if key == "name" and prefix else f"{prefix}{key}"
        inner = _flat(value, leaf, f"{prefix}{key}.") if isinstance(value, dict) and not leaf(value) else {name: value}
        if twice := [one for one in inner if one in found]:
            raise ValueError(f"`{twice[0]}` is given twice")
        found |= inner
    return found


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    """A value as TOML text; floats as their shortest exact decimals."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, int | float):
        return repr(value)
    raise ValueError(f"a description must hold numbers, texts, lists and tables: {value!r}")
