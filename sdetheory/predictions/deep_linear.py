"""Deep linear networks: layer imbalance, balanced flows, flat minima, and what weight decay does to them.

Conventions: the flow is dw/dt = -grad l(w) - wd w, a step of GD or SGD is w' = (1 - lr wd) w - lr g, so that
the penalty is (wd/2)|w|^2. Ginsburg (2020) minimises (W-1)^2 + mu sum w_i^2 and counts time in steps of size
lambda: his formulas (names beginning with `ginsburg_`) are ours at wd = 2 mu and t = lambda k. The imbalance
of two scalar layers is w_i^2 - w_j^2, of two matrix layers W_{j+1}^T W_{j+1} - W_j W_j^T. Base units: w (a
weight), loss, y (the end to end product).
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("t", "w^2/loss", "flow time", "t", "nonnegative"),
    Quantity("step", "1", "number of steps", "k", "nonnegative"),
    Quantity("lr", "w^2/loss", "learning rate", r"\eta", "positive"),
    Quantity("weight_decay", "loss/w^2", "weight decay (gradient of (wd/2)|w|^2)", r"\mu", "nonnegative"),
    Quantity("penalty", "loss/w^2", "Ginsburg's mu: penalty mu sum w_i^2, half the weight decay", r"\mu_G",
    "nonnegative"),
    Quantity("imbalance", "w^2", "imbalance now", "D"),
    Quantity("imbalance0", "w^2", "imbalance at t = 0", "D_0"),
    Quantity("upper_gram", "loss^2/w^2", "G_{j+1}^T G_{j+1} of the layer above", r"G_{j+1}^\top G_{j+1}"),
    Quantity("lower_gram", "loss^2/w^2", "G_j G_j^T of the layer below", r"G_j G_j^\top"),
    Quantity("slope", "loss/y", "dl/dW at the end to end product (any loss, batch or noise)", "g"),
    Quantity("rest", "y/w^2", "product of all the layers except the two", r"\textstyle\prod_{l\ne i,j}w_l"),
    Quantity("target", "y", "end to end product of the minimum", "s", "positive"),
    Quantity("two_layer_target", "w^2", "end to end product of the minimum, two layers", "s", "positive"),
    Quantity("end_to_end", "y", "product W of all layers", "W"),
    Quantity("inverse_squares", "1/w^2", "S, the sum of 1/w_i^2 over the layers", "S", "positive"),
    Quantity("depth", "1", "number of weight layers", "d", "positive"),
    Quantity("strength", "y", "strength of one mode", "a", "positive"),
    Quantity("strength0", "y", "strength of one mode at t = 0", "a_0", "positive"),
    Quantity("noise", "y", "standard deviation of the label noise", r"\sigma", "nonnegative"),
    Quantity("input_noise", "1", "standard deviation of the multiplicative input noise", r"\sigma",
    "nonnegative"),
)  # fmt: skip
(t, step, lr, weight_decay, penalty, imbalance, imbalance0, upper_gram, lower_gram, slope, rest, target,
 two_layer_target, end_to_end, inverse_squares, depth, strength, strength0, noise, input_noise) = (
    q.symbol for q in QUANTITIES)  # fmt: skip

_GINSBURG = "Ginsburg 2020, On regularization of gradient descent, layer imbalance and flat minima"
_BALANCE = "Arora, Cohen, Hazan 2018; Du, Hu, Lee 2018"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="deep_linear")


def _ginsburg(expr: sp.Expr) -> sp.Expr:
    """A formula in Ginsburg's letters: time counted in steps, penalty mu sum w_i^2."""
    return expr.subs({t: lr * step, weight_decay: 2 * penalty}, simultaneous=True)


# -- imbalance
imbalance_flow = _prediction(
    "imbalance_flow", "imbalance along gradient flow with weight decay: any depth, widths and loss",
    imbalance0 * sp.exp(-2 * weight_decay * t), "w^2", _BALANCE, latex_name="D(t)",
)  # fmt: skip
imbalance_rate = _prediction(
    "imbalance_rate", "dD/dt along gradient flow with weight decay",
    -2 * weight_decay * imbalance, "loss", _BALANCE, latex_name=r"\tfrac{dD}{dt}",
)  # fmt: skip
imbalance_step = _prediction(
    "imbalance_step", "imbalance after one step of GD or SGD, entry by entry of the matrices",
    (1 - lr * weight_decay) ** 2 * imbalance + lr**2 * (upper_gram - lower_gram), "w^2",
    "exact form of Arora, Cohen, Golowich, Hu 2019, lemma on approximate balancedness", latex_name="D'",
)  # fmt: skip
scalar_imbalance_step = _prediction(
    "scalar_imbalance_step", "w_i^2 - w_j^2 of scalar layers after one step, for any scalar dl/dW",
    imbalance * ((1 - lr * weight_decay) ** 2 - (lr * slope * rest) ** 2), "w^2", _GINSBURG,
    latex_name="D'_{ij}",
)  # fmt: skip
ginsburg_imbalance_flow = _prediction(
    "ginsburg_imbalance_flow", "imbalance along the continuous GD with penalty mu sum w_i^2, after k steps",
    _ginsburg(imbalance_flow.expr), "w^2", _GINSBURG, latex_name="D(k)",
)  # fmt: skip
ginsburg_imbalance_step = _prediction(
    "ginsburg_imbalance_step", "imbalance after one step of GD with penalty mu sum w_i^2",
    _ginsburg(scalar_imbalance_step.expr), "w^2", _GINSBURG, latex_name="D'_{ij}",
)  # fmt: skip
label_noise_imbalance_rate = _prediction(
    "label_noise_imbalance_rate",
    "decay of ln|D| per step at the minimum of (W - y)^2, label noise, two layers, W stationary",
    4 * lr**2 * noise**2 / (1 - lr * inverse_squares), "1", "Damian, Ma, Lee 2021; Blanc et al. 2020",
    latex_name=r"-\tfrac{d\ln|D|}{dk}",
)  # fmt: skip
weight_decay_of_penalty = _prediction(
    "weight_decay_of_penalty", "our weight decay for Ginsburg's penalty mu sum w_i^2",
    2 * penalty, "loss/w^2", "convention", latex_name=r"\mu",
)  # fmt: skip

# -- where the unregularised flow ends, and how sharp it is there
flow_endpoint_two_layers = _prediction(
    "flow_endpoint_two_layers", "w_1^2 at the end of gradient flow: the minimum with the conserved imbalance",
    two_layer_target * sp.exp(sp.asinh(imbalance / (2 * two_layer_target))), "w^2",
    "conservation of w_1^2 - w_2^2",
    latex_name=r"w_1^2(\infty)",
)  # fmt: skip
flow_endpoint_two_layers_second = _prediction(
    "flow_endpoint_two_layers_second", "w_2^2 at the end of gradient flow",
    two_layer_target * sp.exp(-sp.asinh(imbalance / (2 * two_layer_target))), "w^2",
    "conservation of w_1^2 - w_2^2",
    latex_name=r"w_2^2(\infty)",
)  # fmt: skip
sharpness_at_minimum = _prediction(
    "sharpness_at_minimum", "largest Hessian eigenvalue (and trace) of (W - s)^2 on W = s: 2 s^2 S",
    2 * target**2 * inverse_squares, "y^2/w^2", _GINSBURG, latex_name=r"\lambda_{\max}",
)  # fmt: skip
flattest_sharpness = _prediction(
    "flattest_sharpness", "smallest sharpness on W = 1: the balanced minimum", 2 * depth, "1", _GINSBURG,
    latex_name=r"\min\lambda_{\max}",
)  # fmt: skip
sharpness_two_layers = _prediction(
    "sharpness_two_layers", "largest Hessian eigenvalue of (w_1 w_2 - s)^2 on w_1 w_2 = s",
    2 * sp.sqrt(imbalance**2 + 4 * two_layer_target**2), "w^2", _GINSBURG, latex_name=r"\lambda_{\max}",
)  # fmt: skip
ginsburg_loss_rate = _prediction(
    "ginsburg_loss_rate", "dL/dk of the data loss (W-1)^2 along the continuous GD with penalty mu sum w_i^2",
    -4 * lr * (end_to_end - 1) * end_to_end**2 * inverse_squares
    * (end_to_end - 1 + penalty * depth / (end_to_end * inverse_squares)),
    "1", _GINSBURG, latex_name=r"\tfrac{dL}{dk}",
)  # fmt: skip
optimisation_time = _prediction(
    "optimisation_time", "steps in which W - 1 falls by e near a minimum of (W-1)^2: the first phase",
    1 / (2 * lr * inverse_squares), "1", _GINSBURG, latex_name=r"\tau_1",
)  # fmt: skip
regularisation_time = _prediction(
    "regularisation_time",
    "steps in which the imbalance falls by e under the penalty mu sum w_i^2: the second phase",
    1 / (4 * lr * penalty), "1", _GINSBURG, latex_name=r"\tau_2", where=(sp.Gt(penalty, 0),),
)  # fmt: skip

# -- weight decay: the band and its fixed points (target 1)
weight_decay_band_lower = _prediction(
    "weight_decay_band_lower",
    "lower edge in W of the band where penalised flow raises the data loss (upper edge: 1)",
    1 - penalty * depth / (end_to_end * inverse_squares), "1", _GINSBURG, latex_name="W_-",
)  # fmt: skip
weight_decay_band_upper = _prediction(
    "weight_decay_band_upper", "upper edge in W of the band where penalised flow raises the data loss",
    target, "y", _GINSBURG, latex_name="W_+",
)  # fmt: skip
equilibrium_end_to_end = _prediction(
    "equilibrium_end_to_end", "product of two layers at the minimum of (1/2)(w_1 w_2 - s)^2 + (wd/2)|w|^2",
    two_layer_target - weight_decay, "w^2", "soft threshold", latex_name=r"W_*",
    where=(sp.Lt(weight_decay, two_layer_target),),
)  # fmt: skip
ginsburg_end_to_end = _prediction(
    "ginsburg_end_to_end", "product of two layers at the minimum of (w_1 w_2 - 1)^2 + mu (w_1^2 + w_2^2)",
    1 - penalty, "1", _GINSBURG, latex_name=r"W_*", where=(sp.Lt(penalty, 1),),
)  # fmt: skip
ginsburg_stationary_penalty = _prediction(
    "ginsburg_stationary_penalty", "the penalty mu under which a balanced net of this depth rests at W > 0",
    (1 - end_to_end) * end_to_end ** (1 - 2 / depth), "1", _GINSBURG, latex_name=r"\mu_G(W)",
    where=(sp.Gt(end_to_end, 0),),
)  # fmt: skip
critical_end_to_end = _prediction(
    "critical_end_to_end", "W at the largest penalty that still has a minimum with W > 0",
    (depth - 2) / (2 * (depth - 1)), "1", "maximum of ginsburg_stationary_penalty", latex_name=r"W_c",
    where=(sp.Gt(depth, 1),),
)  # fmt: skip
critical_penalty = _prediction(
    "critical_penalty", "largest penalty mu with a non-zero minimum, depth > 2",
    ginsburg_stationary_penalty.expr.subs(end_to_end, critical_end_to_end.expr), "1",
    "maximum of ginsburg_stationary_penalty", latex_name=r"\mu_c", where=(sp.Gt(depth, 2),),
)  # fmt: skip
coexistence_end_to_end = _prediction(
    "coexistence_end_to_end", "W of the non-zero minimum when it is as deep as the origin",
    (depth - 2) / (depth - 1), "1", "equal depth of the two minima", latex_name=r"W_1", where=(sp.Gt(depth,
    1),),
)  # fmt: skip
coexistence_penalty = _prediction(
    "coexistence_penalty", "penalty mu at which the non-zero minimum stops being the global one, depth > 2",
    ginsburg_stationary_penalty.expr.subs(end_to_end, coexistence_end_to_end.expr), "1",
    "equal depth of the two minima", latex_name=r"\mu_1", where=(sp.Gt(depth, 2),),
)  # fmt: skip

# -- balanced modes and averaged noise
mode_strength = _prediction(
    "mode_strength",
    "strength of an aligned balanced mode of two layers, loss (1/2)(a - s)^2, along gradient flow",
    strength0 * two_layer_target
    / (strength0 + (two_layer_target - strength0) * sp.exp(-2 * two_layer_target * t)),
    "w^2", "Saxe, McClelland, Ganguli 2014", latex_name="a(t)",
)  # fmt: skip
mode_rate = _prediction(
    "mode_rate", "da/dt of a balanced mode of any depth, loss (1/2)(a - s)^2",
    depth * strength ** (2 - 2 / depth) * (target - strength), "1", "Saxe, McClelland, Ganguli 2014",
    latex_name=r"\tfrac{da}{dt}",
)  # fmt: skip
averaged_noise_minimum = _prediction(
    "averaged_noise_minimum", "minimum in W of (W-1)^2 averaged over multiplicative input noise",
    1 / (1 + input_noise**2), "1", "Bishop 1995; " + _GINSBURG, latex_name=r"W_B",
)  # fmt: skip


def flow_endpoint(first: Any, second: Any, target: Any = 1.0) -> tuple[Any, Any]:
    """Where gradient flow on the loss of w_1 w_2 = target > 0 ends from (first, second), signs included.

    w_1^2 - w_2^2 is conserved and the sign of w_1 + w_2 never changes; ValueError on the line w_1 + w_2 = 0,
    whose flow ends in the saddle at the origin. Arrays broadcast.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    side = np.sign(first + second)
    if (side == 0).any():
        raise ValueError(f"`first` + `second` must not be zero: first={first}, second={second}")
    start = {"imbalance": first**2 - second**2, "two_layer_target": target}
    ends = flow_endpoint_two_layers(**start), flow_endpoint_two_layers_second(**start)
    return side * np.sqrt(ends[0]), side * np.sqrt(ends[1])
