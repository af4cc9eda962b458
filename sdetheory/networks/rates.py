"""Learning rates and weight decays as one value a net and step."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.dynamics.schedules import Schedule, sample

Rate = float | np.ndarray | Sequence | Schedule | Callable[[Any], float]


def per_step(name: str, rate: Rate, nets: int, first: int, steps: int, groups: int = 1) -> np.ndarray:
    """A number, schedule, callable step -> value, array (steps,), (E, 1), (E, steps), as (E, steps).

    An array with a third axis, (E or 1, steps or 1, G), holds one value a group: (E, steps, G).
    """
    if callable(rate):
        rate = sample(name, rate, np.arange(first, first + steps), signed=False)
    values = checks.finite(name, rate)
    if values.ndim > 3 or (values.ndim == 1 and len(values) not in (1, steps)):
        raise ValueError(
            f"`{name}` must be a number, one value a step ({steps},), one a net ({nets}, 1), "
            f"both ({nets}, {steps}), or one a group ({nets}, {steps}, {groups}): it has shape {values.shape}"
        )
    whole = (nets, steps, groups)[: max(values.ndim, 2)]
    if values.ndim > 1:
        fitting = (1 if n == 1 else full for n, full in zip(values.shape, whole, strict=True))
        checks.shape(name, values, (*fitting,) if values.ndim == 2 else (*tuple(fitting)[:2], groups))
    if (values < 0).any():
        raise ValueError(f"`{name}` must not be negative: {name}={values.min()}")
    return np.broadcast_to(values, whole)
