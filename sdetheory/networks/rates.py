"""Learning rates and weight decays as one value a net and step."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.dynamics.schedules import Schedule, sample

Rate = float | np.ndarray | Sequence | Schedule | Callable[[Any], float]


def per_step(name: str, rate: Rate, nets: int, first: int, steps: int) -> np.ndarray:
    """A number, schedule, callable step -> value, array (steps,), (E, 1), (E, steps), as (E, steps)."""
    if callable(rate):
        rate = sample(name, rate, np.arange(first, first + steps), signed=False)
    values = checks.finite(name, rate)
    if values.ndim > 2 or (values.ndim == 1 and len(values) not in (1, steps)):
        raise ValueError(
            f"`{name}` must be a number, one value a step ({steps},), one a net ({nets}, 1), "
            f"or both ({nets}, {steps}): it has shape {values.shape}"
        )
    if values.ndim == 2:
        checks.shape(name, values, (nets if len(values) > 1 else 1, steps if values.shape[1] > 1 else 1))
    if (values < 0).any():
        raise ValueError(f"`{name}` must not be negative: {name}={values.min()}")
    return np.broadcast_to(values, (nets, steps))
