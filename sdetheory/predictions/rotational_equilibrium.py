"""Rotational equilibrium: norm, turn of one step and relaxation under momentum, AdamW, Adam and Lion.

Heavy ball's norm and turn are `intrinsic_lr.momentum_equilibrium_squared_norm` and `momentum_turn_cosine`
(dampening: lr (1 - dampening) for lr).  Here a = 1 - lr wd.  Rules that rescale the gradient have an lr in
units of a weight; "exact" means exact for the second moments of independent gradients with zero mean at w and
at the w before, so that the cosine is E<w', w>/E|w|^2.  Sources: Wan et al. 2021; Kosson et al. 2024.
"""

from functools import partial

import sympy as sp

from sdetheory.predictions import intrinsic_lr
from sdetheory.predictions.prediction import Prediction, Quantity

lr, weight_decay, momentum, unit_squared_gradient, dimension, trace = sp.symbols(
    "lr weight_decay momentum unit_squared_gradient dimension trace"
)
multiplier = sp.Symbol("multiplier")
beta1, beta2, update_square = sp.symbols("beta1 beta2 update_square")
_SHARED = tuple(q for q in intrinsic_lr.QUANTITIES if q.name in ("dimension", "trace"))
_MEMORY = (
    Quantity("beta1", "1", "memory of the averaged gradient (Lion: its weight in the step)", r"\beta_1",
             "nonnegative"),
    Quantity("beta2", "1", "memory of the squared gradient (Lion: of the averaged one)", r"\beta_2",
             "nonnegative"),
    Quantity("update_square", "1", "E |u|^2 of the update w' = a w - lr u", "U^2", "nonnegative"),
)  # fmt: skip
DECOUPLED = (
    Quantity("lr", "w", "learning rate of a rescaled gradient", r"\eta", "positive"),
    Quantity("weight_decay", "1/w", "decoupled weight decay", r"\lambda", "nonnegative"),
    *_MEMORY, *_SHARED,
)  # fmt: skip
COUPLED = (
    DECOUPLED[0],
    Quantity("weight_decay", "loss/w^2", "weight decay, part of the gradient", r"\lambda", "nonnegative"),
    *_MEMORY, *_SHARED,
)  # fmt: skip

_WAN = "method of Wan et al. 2021, Spherical motion dynamics"
_KOSSON = "Kosson, Messmer, Jaggi 2024, Rotational equilibrium"
GRADIENTS = (
    *intrinsic_lr.QUANTITIES, Quantity("multiplier", "1", "factor a step of a small deviation", r"\mu")
)
_gradients = partial(Prediction, quantities=GRADIENTS, theory="rotational_equilibrium")
_rescaled = partial(Prediction, quantities=DECOUPLED, theory="rotational_equilibrium")
_coupled = partial(Prediction, quantities=COUPLED, theory="rotational_equilibrium")

product = lr * weight_decay
keep = 1 - product
_decays = (sp.Gt(weight_decay, 0), sp.Lt(product, 1))
_forgets = (sp.Lt(momentum, 1),)
_averages = (sp.Lt(beta1, 1),)

# -- rules that follow the gradient: units of SGD
momentum_relaxation_rate = _gradients(
    "momentum_relaxation_rate",
    "rate at which gamma approaches equilibrium with momentum, first order in lr*wd/(1-momentum)^2",
    4 * product / (1 - momentum), "1", _WAN, latex_name="r", where=_forgets,
)  # fmt: skip
_carry = 1 + momentum - product  # w' = _carry w - momentum w_before - lr g
_restoring = 1 - _carry**2 - momentum**2 + 2 * momentum * _carry**2 / (1 + momentum)
momentum_relaxation_polynomial = _gradients(
    "momentum_relaxation_polynomial",
    "zero at the factors a step of small deviations of |w|^2 with momentum, many dimensions (exact)",
    multiplier * ((_carry**2 - _restoring - multiplier) * (momentum + multiplier) - 2 * momentum * _carry**2)
    + momentum**2 * (momentum + multiplier),
    "1", _WAN, latex_name=r"p(\mu)",
)  # fmt: skip
_newest = 2 * momentum**2 * (1 - keep) + momentum * (2 - keep) + 1
nesterov_equilibrium_squared_norm = _gradients(
    "nesterov_equilibrium_squared_norm", "stationary squared norm with Nesterov momentum (exact as W1)",
    lr * sp.sqrt(
        unit_squared_gradient * _newest / (product * (1 - momentum * keep) * (2 * momentum * keep + keep + 1))
    ),
    "w^2", _WAN, latex_name=r"\|w\|_*^2", where=(*_decays, *_forgets),
)  # fmt: skip
nesterov_turn_cosine = _gradients(
    "nesterov_turn_cosine", "cosine of the turn per step at equilibrium with Nesterov momentum (exact)",
    (1 + momentum) * (keep - momentum * (1 - 2 * keep + keep**2) + 2 * momentum**2 * keep * (1 - keep))
    / _newest,
    "1", _WAN, latex_name=r"\cos\Delta_*", where=(*_decays, *_forgets),
)  # fmt: skip

# -- rules that rescale it: w' = a w - lr u, u an average with memory beta1
ema_equilibrium_squared_norm = _rescaled(
    "ema_equilibrium_squared_norm", "stationary squared norm under an averaged update (exact)",
    lr**2 * update_square * (1 + keep * beta1) / ((1 - keep**2) * (1 - keep * beta1)), "w^2", _KOSSON,
    latex_name=r"\|w\|_*^2", where=(*_decays, *_averages),
)  # fmt: skip
ema_alignment = _rescaled(
    "ema_alignment", "E<w, u> at equilibrium: the update points back along the weights (exact)",
    -lr * beta1 * update_square / (1 - keep * beta1), "w", _KOSSON, latex_name=r"E\langle w,u\rangle",
    where=(*_decays, *_averages),
)  # fmt: skip
ema_turn_cosine = _rescaled(
    "ema_turn_cosine", "cosine of the turn per step at equilibrium under an averaged update (exact)",
    (keep + beta1) / (1 + keep * beta1), "1", _KOSSON, latex_name=r"\cos\Delta_*", where=_decays,
)  # fmt: skip
ema_effective_step = _rescaled(
    "ema_effective_step", "lr times the part of u across w over the norm, root mean squares: sine of the turn",
    sp.sqrt((1 - keep**2) * (1 - beta1**2)) / (1 + keep * beta1), "1", _KOSSON, latex_name=r"\sin\Delta_*",
    where=(*_decays, *_averages),
)  # fmt: skip
adamw_update_square = _rescaled(
    "adamw_update_square", "E |u|^2 of AdamW where the squared gradient is known (beta2 to 1)",
    dimension * (1 - beta1) / (1 + beta1), "1", _KOSSON, latex_name="U^2",
)  # fmt: skip
adamw_equilibrium_squared_norm = _rescaled(
    "adamw_equilibrium_squared_norm", "stationary squared norm of AdamW, squared gradient known",
    ema_equilibrium_squared_norm.expr.subs(update_square, adamw_update_square.expr), "w^2", _KOSSON,
    latex_name=r"\|w\|_*^2", where=(*_decays, *_averages),
)  # fmt: skip
adamw_rotation = _rescaled(
    "adamw_rotation", "turn per step of AdamW at equilibrium, to first order in lr*wd",
    sp.sqrt(2 * product * (1 - beta1) / (1 + beta1)), "1", _KOSSON, latex_name=r"\eta_r",
    where=_averages,
)  # fmt: skip
rescaled_relaxation_multiplier = _rescaled(
    "rescaled_relaxation_multiplier",
    "factor a step of E|w|^2's distance to equilibrium, slowest mode, AdamW and Lion (exact)",
    keep**2, "1", _KOSSON, latex_name="m",
)  # fmt: skip
rescaled_relaxation_rate = _rescaled(
    "rescaled_relaxation_rate", "rate at which |w|^2 approaches equilibrium, AdamW and Lion, to first order",
    2 * product, "1", _KOSSON, latex_name="r",
)  # fmt: skip

_forgetting = 1 - beta2
adamw_relaxation_rate = _rescaled(
    "adamw_relaxation_rate",
    "the same for AdamW where gradients grow like 1/|w|: the memory of the squared gradient holds it back",
    (4 * product + _forgetting - sp.sqrt((4 * product + _forgetting) ** 2 - 8 * product * _forgetting)) / 2,
    "1", "linearised norm and mean squared gradient", latex_name="r", where=(sp.Lt(beta2, 1),),
)  # fmt: skip

# -- Lion: u the signs of a Gaussian c = beta1 m + (1 - beta1) g
_square = (1 - beta1) ** 2 + beta1**2 * (1 - beta2) / (1 + beta2)
lion_correlation = _rescaled(
    "lion_correlation", "correlation of Lion's c with the c before; beta2 times less for every further step",
    beta1 * (1 - beta2) * (1 - beta1 + beta1 * beta2 / (1 + beta2)) / _square, "1", "Gaussian average",
    latex_name=r"\rho", where=(sp.Lt(beta1, 1), sp.Lt(beta2, 1)),
)  # fmt: skip
lion_rotation = _rescaled(
    "lion_rotation", "turn per step of Lion at equilibrium: first order in lr*wd, sign linearised",
    sp.sqrt(sp.pi / 2) * sp.sqrt(2 * product * _square), "1", _KOSSON, latex_name=r"\eta_r",
)  # fmt: skip
lion_linear_squared_norm = _rescaled(
    "lion_linear_squared_norm", "stationary squared norm of Lion: first order in lr*wd, sign linearised",
    lr * dimension / (sp.pi * weight_decay * _square), "w^2", _KOSSON, latex_name=r"\|w\|_*^2",
    where=_decays,
)  # fmt: skip
# the sum over lags j of a^j (2/pi) asin(rho beta2^(j-1)), asin by six terms of its series
_memory = sum(
    2 * sp.binomial(2 * n, n) / (sp.pi * 4**n * (2 * n + 1))
    * lion_correlation.expr ** (2 * n + 1) * keep / (1 - keep * beta2 ** (2 * n + 1))
    for n in range(6)
)  # fmt: skip
lion_equilibrium_squared_norm = _rescaled(
    "lion_equilibrium_squared_norm",
    "stationary squared norm of Lion, Gaussian gradients (arcsine law, asin to six terms)",
    lr**2 * dimension * (1 + 2 * _memory) / (1 - keep**2), "w^2", "Van Vleck's arcsine law",
    latex_name=r"\|w\|_*^2", where=(*_decays, sp.Lt(beta1, 1), sp.Lt(beta2, 1)),
)  # fmt: skip
lion_turn_cosine = _rescaled(
    "lion_turn_cosine", "cosine of Lion's turn per step at equilibrium, Gaussian gradients (arcsine law)",
    keep + (1 - keep**2) * _memory / (keep * (1 + 2 * _memory)), "1", "Van Vleck's arcsine law",
    latex_name=r"\cos\Delta_*", where=(*_decays, sp.Lt(beta1, 1), sp.Lt(beta2, 1)),
)  # fmt: skip

# -- Adam with L2: the weight decay is divided by the gradient's size, which falls like 1/|w|
adam_equilibrium_squared_norm = _coupled(
    "adam_equilibrium_squared_norm",
    "stationary squared norm of Adam with L2, scale-invariant isotropic noise, first order in the decay",
    (lr * sp.sqrt(trace * dimension) / (2 * weight_decay)) ** sp.Rational(2, 3), "w^2",
    "balance of decay lr wd |w|^2/size of the gradient and growth lr^2 d", latex_name=r"\|w\|_*^2",
    where=_decays[:1],
)  # fmt: skip
adam_intrinsic_lr = _coupled(
    "adam_intrinsic_lr", "what lr*wd is for decoupled rules: lr*wd over the gradient's size at equilibrium",
    product * sp.sqrt(dimension * adam_equilibrium_squared_norm.expr / trace), "1",
    "balance of decay and growth", latex_name=r"\lambda_e", where=(*_decays[:1], sp.Gt(trace, 0)),
)  # fmt: skip
adam_turn_cosine = _coupled(
    "adam_turn_cosine", "cosine of Adam's (L2) turn per step at equilibrium, to first order in the decay",
    (1 - adam_intrinsic_lr.expr + beta1) / (1 + (1 - adam_intrinsic_lr.expr) * beta1), "1",
    "balance of decay and growth", latex_name=r"\cos\Delta_*", where=(*_decays[:1], sp.Gt(trace, 0)),
)  # fmt: skip
adam_relaxation_rate = _coupled(
    "adam_relaxation_rate", "rate at which |w|^2 approaches equilibrium, Adam with L2, short memory (beta2)",
    3 * adam_intrinsic_lr.expr, "1", "balance of decay and growth, linearised", latex_name="r",
    where=(*_decays[:1], sp.Gt(trace, 0)),
)  # fmt: skip
_damping = 4 * adam_intrinsic_lr.expr + _forgetting
adam_memory_relaxation_rate = _coupled(
    "adam_memory_relaxation_rate", "the same with the memory of the squared gradient taken into account",
    (_damping - sp.sqrt(_damping**2 - 12 * adam_intrinsic_lr.expr * _forgetting)) / 2, "1",
    "linearised norm and mean squared gradient", latex_name="r",
    where=(*_decays[:1], sp.Gt(trace, 0), sp.Lt(beta2, 1)),
)  # fmt: skip
