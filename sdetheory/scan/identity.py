"""What a point of a scan is: experiment, exact parameters and seed index, named by a hash that no position enters.

The identity of a point is the SHA-256 of canonical JSON. Hence a grid can be extended, reordered or cut without
touching what was computed, and the random numbers of a point are a function of what it is, not of when it ran.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

SCHEMA = 1
WORDS = 8  # 32-bit words of the identity in the spawn key: all 256 bits


def plain(value: Any, name: str = "parameters") -> Any:
    """A value in JSON's own types: None, bool, int, finite float, str, lists and string-keyed dicts of them.

    Numpy scalars become Python's, arrays and tuples become lists.
    Raises ValueError naming where, for NaN and infinities (they equal nothing, so they identify nothing), other
    types, and keys that are not strings.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"`{name}` must be finite: {name}={value!r}")
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"`{name}` must have names as keys: {wrong[0]!r}")
        return {key: plain(item, f"{name}.{key}") for key, item in value.items()}
    raise ValueError(f"`{name}` must be numbers, text, or lists and tables of them: {name}={value!r}")


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII, floats by their shortest exact decimal form.

    Equal bytes mean equal values, bit by bit: 1 and 1.0 differ (an integer is not a real number that happens to be
    whole; a description coerces its values to the declared kind), and so do 0.0 and -0.0.
    """
    return _spelled(plain(value))


def _spelled(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def point_id(experiment: str, parameters: Mapping[str, Any], seed: int) -> str:
    """The identity of a point: 64 hexadecimal digits, the same on every machine and in every grid."""
    return _name({"experiment": experiment, "parameters": plain(parameters), "schema": SCHEMA, "seed": int(seed)})


def group_id(experiment: str, parameters: Mapping[str, Any]) -> str:
    """The identity of a group: the same parameters, whatever the seed."""
    return _name({"experiment": experiment, "parameters": plain(parameters), "schema": SCHEMA})


def _name(value: Any) -> str:
    return hashlib.sha256(_spelled(value)).hexdigest()


def point_seed(root_seed: int, identity: str) -> int:
    """The seed (63 bits) of a point's random numbers: SeedSequence(root_seed, spawn_key=words of its identity)."""
    words = tuple(int(identity[8 * i : 8 * i + 8], 16) for i in range(WORDS))
    low, high = np.random.SeedSequence(root_seed, spawn_key=words).generate_state(2, np.uint32)
    return (int(high) << 32 | int(low)) >> 1


@dataclasses.dataclass(frozen=True)
class Point:
    """One run of an experiment: its name, its exact parameters (plain values) and a seed index."""

    experiment: str
    parameters: Mapping[str, Any]
    seed: int = 0

    @functools.cached_property
    def id(self) -> str:
        """Hexadecimal SHA-256 of the canonical form."""
        return point_id(self.experiment, self.parameters, self.seed)

    @functools.cached_property
    def group(self) -> str:
        """The identity it shares with the other seeds of the same parameters."""
        return group_id(self.experiment, self.parameters)


def order(experiment: str, parameters: Mapping[str, Any], seed: int) -> tuple[Any, ...]:
    """Sort key of the canonical order: experiment, then parameters by name and value, then seed."""
    return (experiment, tuple((name, *_rank(parameters[name])) for name in sorted(parameters)), seed)


def _rank(value: Any) -> tuple[Any, ...]:
    """Values of mixed kinds in one order: numbers by size (exact), text by alphabet, the rest by spelling."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (0, value, repr(value))
    return (1, value, "") if isinstance(value, str) else (2, _spelled(value).decode(), "")
