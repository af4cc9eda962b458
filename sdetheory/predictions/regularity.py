"""The regularity parameter gamma of gradient descent: what classical conditions on a loss promise, and quadratics.

gamma is the largest number with <g, w - r> >= (lr/2) |g|^2 + gamma (l - l*) at every step, r a minimiser, l* the
smallest loss. The principle is that of Chen, Yang and Zhou 2020 (reconstructed); the constants are derived.
"""

from functools import partial

import sympy as sp

from sdetheory.predictions.intrinsic_lr import lr
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("lr", "w^2/loss", "learning rate", r"\eta", "positive"),
    Quantity("smoothness", "loss/w^2", "Lipschitz constant of the gradient, or largest curvature", "L", "positive"),
    Quantity("quasar", "1", "tau in <g, w - r> >= tau (l - l*); 1 for star-convex losses", r"\tau", "positive"),
    Quantity("restricted", "loss/w^2", "mu in <g, w - r> >= mu |w - r|^2", r"\mu", "positive"),
    Quantity("squared_distance0", "w^2", "|w - r|^2 at the start", "D_0", "nonnegative"),
    Quantity("regularity", "1", "gamma with which the principle holds", r"\gamma", "positive"),
    Quantity("steps", "1", "number of steps", "T", "positive"),
)  # fmt: skip
smoothness, quasar, restricted = sp.symbols("smoothness quasar restricted")
squared_distance0, regularity, steps = sp.symbols("squared_distance0 regularity steps")
_prediction = partial(Prediction, quantities=QUANTITIES, theory="regularity")

quadratic_regularity = _prediction(
    "quadratic_regularity", "gamma of a quadratic loss, smallest on the top eigenvector: 0 at the edge of stability; "
    "also what convex interpolation promises from lr = 1/L to 2/L (and 1 below)",
    2 - lr * smoothness, "1", "derived; co-coercivity", latex_name=r"\gamma",
)  # fmt: skip
quasar_regularity = _prediction(
    "quasar_regularity", "gamma promised by quasar-convexity and smoothness", quasar - lr * smoothness, "1", "derived",
    latex_name=r"\gamma",
)  # fmt: skip
restricted_regularity = _prediction(
    "restricted_regularity", "gamma promised by the restricted secant inequality and smoothness",
    2 * (restricted - lr * smoothness**2 / 2) / smoothness, "1", "derived", latex_name=r"\gamma",
)  # fmt: skip
mean_loss_bound = _prediction(
    "mean_loss_bound", "upper bound of the mean of l - l* over a run",
    squared_distance0 / (2 * lr * regularity * steps),
    "loss", "Chen, Yang, Zhou 2020, reconstructed", latex_name=r"\tfrac1T\sum_k(l_k-l_k^*)\le",
)  # fmt: skip
