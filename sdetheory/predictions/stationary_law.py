"""The stationary law of the product of balanced scalar layers trained on (v x - y)^2, and its collapse to 0.

v > 0 is the product of d equal layers; a_1 = Var x^2, a_2 = Cov(x^2, xy), a_3 = Var xy, b_1 = E x^2, b_2 =
E xy over the data; T as in `gradient_noise`. Everything is a plain number.
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("end_to_end", "1", "product v of all layers", "v", "positive"),
    Quantity("depth", "1", "number of layers", "d", "positive"),
    Quantity("temperature", "1", "T, the learning rate over the batch size", "T", "positive"),
    Quantity("input_spread", "1", "Var x^2", "a_1", "nonnegative"),
    Quantity("crossed_spread", "1", "Cov(x^2, x y)", "a_2"),
    Quantity("target_spread", "1", "Var x y", "a_3", "positive"),
    Quantity("input_power", "1", "E x^2", "b_1", "positive"),
    Quantity("correlation", "1", "E x y", "b_2"),
)
(end_to_end, depth, temperature, input_spread, crossed_spread, target_spread, input_power, correlation) = (
    q.symbol for q in QUANTITIES)  # fmt: skip

_ZIYIN = "Ziyin, Li, Ueda 2023, law of balance"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="stationary_law")
_spread = input_spread * end_to_end**2 - 2 * crossed_spread * end_to_end + target_spread

stationary_score = _prediction(
    "stationary_score", "d ln p/dv of the stationary density of the product v > 0 of balanced layers",
    -3 * (1 - 1 / depth) / end_to_end - (2 * input_spread * end_to_end - 2 * crossed_spread) / _spread
    - end_to_end ** (2 / depth - 2) * (input_power * end_to_end - correlation) / (temperature * depth * _spread),
    "1", _ZIYIN, latex_name=r"(\ln p)'",
)  # fmt: skip
origin_exponent = _prediction(
    "origin_exponent", "power of v in the stationary density near v = 0, two layers",
    correlation / (2 * temperature * target_spread) - sp.Rational(3, 2), "1", _ZIYIN, latex_name=r"\alpha",
)  # fmt: skip
collapse_temperature = _prediction(
    "collapse_temperature", "T from which two layers have no stationary density and collapse to v = 0",
    correlation / target_spread, "1", _ZIYIN, latex_name="T_c", where=(sp.Gt(correlation, 0),),
)  # fmt: skip
origin_barrier = _prediction(
    "origin_barrier", "c in p ~ exp(-c v^(2/d - 1)) near v = 0, depth > 2: no collapse at any T",
    correlation / (temperature * target_spread * (depth - 2)), "1", _ZIYIN, latex_name="c",
    where=(sp.Gt(depth, 2),),
)  # fmt: skip


def stationary_density(
    end_to_end: Any,
    *,
    depth: float,
    temperature: float,
    input_spread: float,
    crossed_spread: float,
    target_spread: float,
    input_power: float,
    correlation: float,
) -> np.ndarray:
    """The stationary density on an increasing grid of v > 0, shape (n,), its trapezoidal integral 1.

    ln p is the integral of `stationary_score`, by 16 Gauss nodes between neighbours; ValueError when the grid
    does not increase, or at a temperature at which two layers collapse.
    """
    grid = np.asarray(end_to_end, dtype=float)
    if grid.ndim != 1 or grid.size < 2 or not (np.diff(grid) > 0).all():
        raise ValueError(f"`end_to_end` must be an increasing grid, shape (n,): {end_to_end}")
    data = {
        "depth": depth, "temperature": temperature, "input_spread": input_spread,
        "crossed_spread": crossed_spread, "target_spread": target_spread, "input_power": input_power,
        "correlation": correlation,
    }  # fmt: skip
    if depth == 2 and temperature * target_spread >= correlation:
        raise ValueError(f"`temperature` must be below {correlation / target_spread}: temperature={temperature}")
    nodes, weights = np.polynomial.legendre.leggauss(16)
    middles, halves = (grid[1:] + grid[:-1]) / 2, np.diff(grid) / 2
    scores = stationary_score(end_to_end=middles[:, None] + halves[:, None] * nodes, **data)
    log_density = np.concatenate([[0.0], np.cumsum(halves * (scores @ weights))])
    density = np.exp(log_density - log_density.max())
    return np.asarray(density / np.trapezoid(density, grid))
