"""Results of points: what an experiment returns, what is kept of it, and its exact text form.

A record is ok, diverged (with time and last finite state) or failed (with traceback); a point without a record is
missing. Text is JSON; non-finite measured values are spelled {"float": "nan"}, so that NaN, None and absent differ.
"""

import dataclasses
import json
import math
import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np

from sdetheory.checks import Diverged
from sdetheory.scan.identity import Point, order

OK, DIVERGED, FAILED = STATUSES = ("ok", "diverged", "failed")
VOLATILE = ("seconds", "tries")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an experiment measured at one point.

    measured: name -> number or nested list (float64 arrays are taken too); standard_error: name -> number or None.
    diverged: None, or {"time": ..., "step": ..., "last": {name: value of the last finite state}}; then `measured`
    may be empty or hold what was seen before.  samples: independent samples behind the standard errors (None: many).
    """

    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    standard_error: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    diverged: Mapping[str, Any] | None = None
    samples: int | None = None


@dataclasses.dataclass(frozen=True)
class Record:
    """What is kept of a point. `reason` is empty when ok; `code` is the digest of the sources that computed it.

    predicted, ratio, margin (relative error the prediction is known to have), verdict: name -> value beside `measured`.
    `seconds` (its share of its chunk's time) and `tries` (attempts so far, this one included) vary from run to run
    and are left out of tables. margin: relative error that a prediction is known to have; samples: see Outcome.
    """

    id: str
    experiment: str
    parameters: Mapping[str, Any]
    seed: int
    status: str
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    standard_error: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    predicted: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    margin: Mapping[str, float] = dataclasses.field(default_factory=dict)
    ratio: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    verdict: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reason: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    samples: int | None = None
    code: str = ""
    seconds: float = 0.0
    tries: int = 1

    @property
    def order(self) -> tuple[Any, ...]:
        """Its place in the canonical order."""
        return order(self.experiment, self.parameters, self.seed)

    def line(self, volatile: bool = True) -> bytes:
        """One line of JSON, keys sorted; without `volatile` only what is the same in every run."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if not volatile:
            for name in VOLATILE:
                del fields[name]
        try:
            text = _text(fields)
        except (TypeError, ValueError):  # arrays or non-finite numbers
            text = _text(encoded(fields))
        return text.encode("ascii") + b"\n"


def _text(fields: Any) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)


_FIELDS = frozenset(field.name for field in dataclasses.fields(Record))


def read_line(line: bytes) -> Record:
    """The record of a line. Raises ValueError for anything that is not one."""
    fields = json.loads(line, object_hook=_decoded if b'{"float":' in line else None)
    if not isinstance(fields, dict) or not {"id", "status"} <= fields.keys() <= _FIELDS:
        raise ValueError(f"`line` must be a record of this format: {line[:80]!r}")
    return Record(**fields)


def encoded(value: Any) -> Any:
    """JSON's own types, with non-finite numbers spelled out."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, Mapping):
        return {str(key): encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a result must be numbers, text, or lists and tables of them: got {type(value).__name__}")


def _decoded(table: dict[str, Any]) -> Any:
    return float(table["float"]) if table.keys() == {"float"} and table["float"] in ("nan", "inf", "-inf") else table


def diverged(error: Diverged) -> Outcome:
    """The outcome of a point whose trajectory left the finite numbers."""
    return Outcome(diverged={"time": error.time, "step": error.step, "message": str(error)})


def failure(error: BaseException) -> dict[str, str]:
    """Why a point failed: kind, message and traceback."""
    lines = traceback.format_exception(error)
    return {"kind": type(error).__name__, "message": str(error), "traceback": "".join(lines)}


def record(point: Point, outcome: Outcome | BaseException, **rest: Any) -> Record:
    """The record of a point's outcome; an exception makes it failed, or diverged if it is Diverged."""
    if isinstance(outcome, Diverged):
        outcome = diverged(outcome)
    base = (point.id, point.experiment, point.parameters, point.seed)
    if isinstance(outcome, BaseException):
        return Record(*base, FAILED, reason=failure(outcome), **rest)
    if not isinstance(outcome, Outcome):
        wrong = TypeError(f"an experiment must return an Outcome a point: got {type(outcome).__name__}")
        return Record(*base, FAILED, reason=failure(wrong), **rest)
    status = OK if outcome.diverged is None else DIVERGED
    return Record(*base, status, outcome.measured, outcome.standard_error, reason=outcome.diverged or {},
                  samples=outcome.samples, **rest)  # fmt: skip
