"""Learning rates and weight decays as one value a net and step."""

from collections.abc import Callable, Sequence

import numpy as np

from sdetheory import checks

Rate = float | np.ndarray | Sequence | Callable[[int], float]


def per_step(name: str, rate: Rate, nets: int, first: int, steps: int) -> np.ndarray:
    """A number, a callable step -> value, or an array (steps,), (E, 1), (E, steps), as an array (E, steps) >= 0."""
    if callable(rate):
        rate = [rate(step) for step in range(first, first + steps)]
    values = checks.finite(name, rate)
    if values.ndim == 1 and len(values) not in (1, steps) or values.ndim > 2:
        raise ValueError(
            f"`{name}` must be a number, one value a step ({steps},), one a net ({nets}, 1), or both ({nets}, {steps}): "
            f"it has shape {values.shape}"
        )
    if values.ndim == 2:
        checks.shape(name, values, (nets if len(values) > 1 else 1, steps if values.shape[1] > 1 else 1))
    if (values < 0).any():
        raise ValueError(f"`{name}` must not be negative: {name}={values.min()}")
    return np.broadcast_to(values, (nets, steps))
