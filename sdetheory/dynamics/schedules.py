"""Learning-rate and weight-decay schedules: functions of the step number (of continuous time, for SDEs and
flows).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdetheory import checks


class Schedule:
    """A function of time, vectorised: schedule(t) for t of any shape."""

    def __call__(self, t: Any) -> Any:
        raise NotImplementedError("a schedule defines __call__(t)")


@dataclass(frozen=True)
class Piecewise(Schedule):
    """values[j] from boundaries[j-1] (included) to boundaries[j]: one more value than boundaries.

    ``Piecewise((0.8, 0.08), (500,))`` is a drop by 10 at step 500.
    """

    values: tuple[float, ...]
    boundaries: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        values, boundaries = (
            checks.finite("values", self.values),
            checks.finite("boundaries", self.boundaries),
        )
        if values.size != boundaries.size + 1 or (np.diff(boundaries) <= 0).any():
            raise ValueError(
                f"`boundaries` must increase and be one fewer than `values`: values={self.values}, "
                f"boundaries={self.boundaries}"
            )

    def __call__(self, t: Any) -> Any:
        return np.asarray(self.values)[np.searchsorted(np.asarray(self.boundaries), t, side="right")]


@dataclass(frozen=True)
class Exponential(Schedule):
    """initial * exp(rate * t); rate > 0 grows."""

    initial: float
    rate: float

    def __post_init__(self) -> None:
        checks.real("initial", self.initial)
        checks.real("rate", self.rate)

    def __call__(self, t: Any) -> Any:
        return self.initial * np.exp(self.rate * np.asarray(t))


@dataclass(frozen=True)
class Cosine(Schedule):
    """From `initial` to `final` along half a cosine over `length`, `final` afterwards."""

    initial: float
    final: float
    length: float

    def __post_init__(self) -> None:
        checks.real("initial", self.initial)
        checks.real("final", self.final)
        checks.positive("length", self.length)

    def __call__(self, t: Any) -> Any:
        phase = np.pi * np.minimum(np.asarray(t) / self.length, 1.0)
        return self.final + 0.5 * (self.initial - self.final) * (1.0 + np.cos(phase))


Rate = float | Schedule | Callable[[Any], float] | np.ndarray


def check_constant(name: str, rate: Rate) -> None:
    """Raises ValueError for a negative or non-finite constant; schedules, and rates that are bound to a run, are
    checked when they are sampled or bound.
    """
    if not (callable(rate) or hasattr(rate, "bind")) and np.ndim(rate) == 0:
        checks.nonnegative(name, rate)


def sample(name: str, rate: Rate, times: np.ndarray, *, signed: bool) -> np.ndarray:
    """The values the steps use, shape (times.size,) or (1,) for a constant.

    An array gives one value a step.  Raises ValueError for a wrong length, a non-finite or (unless `signed`)
    a negative value.
    """
    if isinstance(rate, Schedule):
        values = np.broadcast_to(rate(times), times.shape)
    elif callable(rate):
        values = np.array([rate(t) for t in times.tolist()], dtype=np.float64)
    elif np.ndim(rate) == 0:
        return np.array([checks.nonnegative(name, rate)])
    else:
        values = np.asarray(rate, dtype=np.float64)
        if values.ndim != 1 or values.size < times.size:
            raise ValueError(
                f"`{name}` must have one value for each of {times.size} steps: it has shape {values.shape}"
            )
        values = values[: times.size]
    values = checks.finite(name, values)
    if not signed and (values < 0).any():
        step = int(np.argmax(values < 0))
        raise ValueError(f"`{name}` must not be negative: {name}={values[step]} at step {step}")
    return values if values.size else np.zeros(1)
