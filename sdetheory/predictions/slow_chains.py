"""Deep chains of scalar layers start slowly: lower bounds, exponential in the depth, of the time to learn.

f(W) of the product W of k layers, |f'| at most `slope_bound` while |W| <= 1; weights are pure numbers. Random start:
independent layers with E|w| < 1, which unit variance implies unless |w| = 1. Near-identity start, target -1: W has
to change its sign, and the smallest layer can only cross zero where all layers are small.
Source: Shamir 2019, Exponential convergence time of gradient descent for one-dimensional deep linear networks,
theorems 2 and 3; the constants are derived.
"""

from functools import partial

import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("depth", "1", "number of layers", "k", "positive"),
    Quantity("lr", "1", "learning rate", r"\eta", "positive"),
    Quantity("slope_bound", "1", "largest |f'(W)| for |W| <= 1", "G", "positive"),
    Quantity("move", "1", "how far every layer is allowed to move", r"\epsilon", "positive"),
    Quantity("mean_size", "1", "E|w| + move, below 1", r"\rho", "unit"),
    Quantity("largest_rest", "1", "largest product of all (|w_j| + move) but one", "M", "positive"),
    Quantity("twice_spread", "1", "twice the largest w_i^2 - w_j^2, below 1", r"2\delta", "unit"),
)
depth, lr, slope_bound, move, mean_size, largest_rest, twice_spread = (q.symbol for q in QUANTITIES)
_SHAMIR = "Shamir 2019, exponential convergence time"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="slow_chains")

still_steps = _prediction(
    "still_steps", "steps of GD in which no layer moves by more than `move`, from any start",
    move / (lr * slope_bound * largest_rest), "1", _SHAMIR, latex_name="T",
)  # fmt: skip
slow_start_steps = _prediction(
    "slow_start_steps",
    "steps during which |W| <= mean_size^((k-1)/2), from a random start, but for `slow_start_failure`",
    move / (lr * slope_bound) * mean_size ** (-(depth - 1) / 2), "1", _SHAMIR, latex_name="T",
    where=(sp.Lt(move, mean_size),),
)  # fmt: skip
slow_start_failure = _prediction(
    "slow_start_failure", "upper bound of the probability that a random start is faster",
    (depth + 1) * mean_size ** ((depth - 1) / 2), "1", _SHAMIR, latex_name=r"P",
)  # fmt: skip
crossing_time = _prediction(
    "crossing_time",
    "lower bound of the time of gradient flow on (W + 1)^2/2 to W = 0, from a start where every w_i^2 is at least the "
    "largest w_i^2 - w_j^2",
    twice_spread ** (1 - depth / 2) / 8, "1", _SHAMIR, latex_name="T",
)  # fmt: skip
crossing_steps = _prediction(
    "crossing_steps",
    "lower bound of the steps of GD on (W + 1)^2/2 to W <= 0, from positive layers with W <= 1 and every w_i^2 at "
    "least the largest w_i^2 - w_j^2, at lr up to twice_spread/16",
    twice_spread ** (1 - depth / 2) / (4 * lr), "1", _SHAMIR, latex_name="T",
)  # fmt: skip
