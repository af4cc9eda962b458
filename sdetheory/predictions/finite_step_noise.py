"""Two scalar layers after one noisy step: exact means given the state, and what they say about the stationary law.

SGD w_i' = w_i - lr g w_j with a fresh slope g = dl/dW of any law, W = w_1 w_2, sigma = w_1^2 + w_2^2. The SDE of the
law of balance keeps the terms of first order in lr; these have no remainder. Base units: w, loss.
"""

from functools import partial

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("lr", "w^2/loss", "learning rate", r"\eta", "positive"),
    Quantity("imbalance", "w^2", "w_1^2 - w_2^2", "D"),
    Quantity("end_to_end", "w^2", "W = w_1 w_2", "W"),
    Quantity("squares", "w^2", "w_1^2 + w_2^2", r"\sigma", "positive"),
    Quantity("slope_mean", "loss/w^2", "mean of dl/dW given the state", r"\mathbb{E}g"),
    Quantity("slope_square", "loss^2/w^4", "mean of (dl/dW)^2 given the state", r"\mathbb{E}g^2", "nonnegative"),
)  # fmt: skip
lr, imbalance, end_to_end, squares, slope_mean, slope_square = (q.symbol for q in QUANTITIES)
_prediction = partial(Prediction, quantities=QUANTITIES, theory="finite_step_noise")

mean_imbalance_after = _prediction(
    "mean_imbalance_after", "mean of w_1^2 - w_2^2 after a step", imbalance * (1 - lr**2 * slope_square), "w^2",
    "mean of the exact step, Ginsburg 2020", latex_name=r"\mathbb{E}D'",
)  # fmt: skip
mean_product_after = _prediction(
    "mean_product_after",
    "mean of w_1 w_2 after a step; at stationarity lr E[W g^2] = E[sigma g] exactly",
    end_to_end * (1 + lr**2 * slope_square) - lr * slope_mean * squares, "w^2", "derived",
    latex_name=r"\mathbb{E}W'",
)  # fmt: skip
mean_squares_after = _prediction(
    "mean_squares_after",
    "mean of w_1^2 + w_2^2 after a step; at stationarity lr E[sigma g^2] = 4 E[W g] exactly",
    squares * (1 + lr**2 * slope_square) - 4 * lr * slope_mean * end_to_end, "w^2", "derived",
    latex_name=r"\mathbb{E}\sigma'",
)  # fmt: skip
