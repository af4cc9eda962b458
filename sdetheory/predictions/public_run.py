"""Two scalar layers on noisy linear data, in batches without replacement, and the public run of that problem.

Loss a W^2 - 2 b W + c with a = mean x^2, b = mean x y, minimal at W = b/a (`two_layer_target`). The run is that of
Schneider, Dangel, Hennig 2021, Cockpit (appendix; experiment `03_scalar_deep` of its public code), of the problem of
Ginsburg 2020, section 2: 100 samples, start (0.1, 1.7), learning rate 0.1, 100000 steps; batches of 100 ("GD") or 95
("SGD", one batch an epoch).
"""

from functools import partial

import numpy as np
import sympy as sp

from sdetheory.predictions import deep_linear
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    *(q for q in deep_linear.QUANTITIES if q.name in ("lr", "imbalance", "two_layer_target")),
    Quantity("curvature", "loss/w^4", "a, mean of x^2; in rates, where it varies from step to step, E a^2/E a", "a",
             "positive"),
    Quantity("slope_variance", "loss^2/w^4", "variance of dl_B/dW of a batch at W = b/a", "V", "positive"),
    Quantity("residual_variance", "loss^2/w^4", "variance (over n - 1) of x^2 W - x y at W = b/a over samples",
             "s^2", "nonnegative"),
    Quantity("batch", "1", "samples in a batch", "B", "positive"),
    Quantity("samples", "1", "samples in the data", "n", "positive"),
    Quantity("size", "w^2", "|w_1^2 - w_2^2|", "D", "positive"),
)  # fmt: skip
lr, imbalance, two_layer_target = deep_linear.lr, deep_linear.imbalance, deep_linear.two_layer_target
curvature, slope_variance, residual_variance, batch, samples, size = (q.symbol for q in QUANTITIES[3:])
START, RATE, STEPS, BATCH = (0.1, 1.7), 0.1, 100_000, 95
_PUBLIC = "Schneider, Dangel, Hennig 2021, Cockpit; Ginsburg 2020"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="public_run")

_sum_of_squares = sp.sqrt(imbalance**2 + 4 * two_layer_target**2)  # w_1^2 + w_2^2 at the minimum
quadratic_sharpness = _prediction(
    "quadratic_sharpness", "largest Hessian eigenvalue of a W^2 - 2 b W at a minimum", 2 * curvature * _sum_of_squares,
    "loss/w^2", _PUBLIC, latex_name=r"\lambda_{\max}",
)  # fmt: skip
slope_variance_without_replacement = _prediction(
    "slope_variance_without_replacement", "variance of dl_B/dW over batches drawn without replacement",
    4 * residual_variance * (1 / batch - 1 / samples), "loss^2/w^4", "sampling from a finite population",
    latex_name="V",
)  # fmt: skip
batch_imbalance_rate = _prediction(
    "batch_imbalance_rate", "decay of ln|D| per step at the minimum, W stationary",
    lr**2 * slope_variance / (1 - lr * curvature * _sum_of_squares), "1", "method of Damian, Ma, Lee 2021",
    latex_name=r"-\tfrac{d\ln|D|}{dk}",
)  # fmt: skip


_c = 2 * two_layer_target
_root = size * sp.sqrt((_c / size) ** 2 + 1)
batch_imbalance_clock = _prediction(
    "batch_imbalance_clock",
    "steps at which the imbalance has this size, up to a constant: differences are the steps between two sizes",
    (lr * curvature * (_root - _c * sp.asinh(_c / size)) - sp.log(size / two_layer_target)) / (lr**2 * slope_variance),
    "1", "integral of batch_imbalance_rate", latex_name="k(D)",
)  # fmt: skip


def public_data() -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the public run, 100 samples: the numbers of its stated seed, in its single precision."""
    draws = np.random.RandomState(42)  # the stream that the public code draws from
    x = draws.normal(size=300).astype(np.float32)
    y = np.float32(1.4) * x + draws.normal(size=300).astype(np.float32)
    return x[:100].astype(float), y[:100].astype(float)
