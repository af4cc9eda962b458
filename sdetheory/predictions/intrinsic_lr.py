"""Normalised networks under SGD and weight decay: norm, gamma, effective learning rate, equilibrium.

Conventions: one step is one unit of time; dW = -lr wd W dt - lr grad L(W) dt + lr Sigma_W^(1/2) dB, and w' =
(1 - lr wd) w - lr g for SGD; gamma = |w|^4/lr^2, so that the effective learning rate lr/|w|^2 is
gamma^(-1/2); `trace` is the trace of the gradient covariance on the unit sphere. Base units: w (a weight)
and loss.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.functions import bessel_ratio, saturation
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("t", "1", "time in SGD steps since the start of the phase", "t", "nonnegative"),
    Quantity("lr", "w^2/loss", "learning rate", r"\eta", "positive"),
    Quantity("weight_decay", "loss/w^2", "weight decay (gradient of (wd/2)|w|^2)", r"\lambda", "nonnegative"),
    Quantity("trace", "loss^2", "trace of the gradient covariance on the unit sphere", "S", "nonnegative"),
    Quantity("gamma", "loss^2", "gamma now, |w|^4/lr^2", r"\gamma", "positive"),
    Quantity("gamma0", "loss^2", "gamma at t = 0", r"\gamma_0", "nonnegative"),
    Quantity("lr_log_rate", "1", "d ln(lr)/dt of the schedule", r"\tfrac{d\ln\eta}{dt}"),
    Quantity("squared_norm", "w^2", "|w|^2", r"\|w\|^2", "positive"),
    Quantity("squared_norm0", "w^2", "|w|^2 at t = 0", r"\|w_0\|^2", "nonnegative"),
    Quantity("squared_gradient", "loss^2/w^2", "|gradient at w|^2 of this batch", r"\|g\|^2", "nonnegative"),
    Quantity("unit_squared_gradient", "loss^2", "|gradient at w/|w||^2", r"\|\bar g\|^2", "nonnegative"),
    Quantity("step_lr", "1/loss", "discrete effective learning rate now", r"\tilde\eta", "positive"),
    Quantity("mean_square", "loss^2", "E |gradient at w/|w||^2", r"E\|\bar g\|^2", "nonnegative"),
    Quantity("mean_fourth", "loss^2", "E |gradient at w/|w||^4/gamma", r"E\|\bar g\|^4/\gamma",
    "nonnegative"),
    Quantity("relative_variance", "1", "Var s/(E s)^2 of s = |gradient at w/|w||^2",
             r"\mathrm{Var}(s)/(Es)^2", "nonnegative"),
    Quantity("factor", "1", "lr or weight decay is divided by this", "K", "positive"),
    Quantity("distance0", "1", "|gamma_0/gamma_* - 1| at t = 0", r"\delta_0", "positive"),
    Quantity("error", "1", "|gamma_t/gamma_* - 1| to reach", r"\epsilon", "positive"),
    Quantity("correlation0", "1", "|w_0|/|w_t|", r"\tfrac{\|w_0\|}{\|w_t\|}", "positive"),
    Quantity("dimension", "1", "number of weights d", "d", "positive"),
    Quantity("degree", "1", "degree of a spherical harmonic", r"\ell", "nonnegative"),
    Quantity("strength", "loss", "strength k of the linear loss -k<mu,w>/|w|", "k", "nonnegative"),
    Quantity("noise", "loss", "standard deviation of the gradient noise per tangent direction", r"\sigma",
    "positive"),
    Quantity("height", "loss", "height h of the circle loss h x^2/(x^2+y^2)", "h", "nonnegative"),
    Quantity("momentum", "1", "heavy-ball momentum", r"\alpha", "nonnegative"),
)  # fmt: skip
(t, lr, weight_decay, trace, gamma_now, gamma0, lr_log_rate, squared_norm_now, squared_norm0,
squared_gradient,
 unit_squared_gradient, step_lr, mean_square, mean_fourth, relative_variance, factor, distance0, error,
 correlation0, dimension,
 degree, strength, noise, height, momentum) = (q.symbol for q in QUANTITIES)  # fmt: skip

_LLA = "Li, Lyu, Arora 2020, Reconciling modern deep learning with traditional optimization analyses"
_SMD = "Wan et al. 2021, Spherical motion dynamics; van Laarhoven 2017"
_FINITE = "finite-step form of the equilibrium of Wan et al. 2021"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="intrinsic_lr")

product = lr * weight_decay
keep = 1 - product
_shrinks = (sp.Lt(product, 1),)
_decays = (sp.Gt(weight_decay, 0),)

# -- definitions
intrinsic_lr = _prediction(
    "intrinsic_lr", "intrinsic learning rate lr*wd", product, "1", _LLA, latex_name=r"\lambda_e"
)
effective_lr = _prediction(
    "effective_lr", "effective learning rate, the speed of the direction",
    lr / squared_norm_now, "1/loss", _LLA, latex_name=r"\eta_e",
)  # fmt: skip
effective_lr_of_gamma = _prediction(
    "effective_lr_of_gamma", "effective learning rate from gamma",
    1 / sp.sqrt(gamma_now), "1/loss", _LLA, latex_name=r"\eta_e",
)  # fmt: skip
gamma_of_norm = _prediction(
    "gamma_of_norm", "gamma, the inverse squared effective learning rate",
    squared_norm_now**2 / lr**2, "loss^2", _LLA, latex_name=r"\gamma",
)  # fmt: skip
squared_norm_of_gamma = _prediction(
    "squared_norm_of_gamma", "squared norm from gamma",
    lr * sp.sqrt(gamma_now), "w^2", _LLA, latex_name=r"\|w\|^2",
)  # fmt: skip

# -- one step of SGD, exactly
squared_norm_step = _prediction(
    "squared_norm_step", "squared norm after one SGD step (scale-invariant batch loss)",
    keep**2 * squared_norm_now + lr**2 * squared_gradient, "w^2", _SMD, latex_name=r"\|w'\|^2",
)  # fmt: skip
direction_lr = _prediction(
    "direction_lr", "learning rate of the projected SGD that the direction performs",
    lr / (keep * squared_norm_now), "1/loss", "Lyu, Li, Arora 2022", latex_name=r"\tilde\eta", where=_shrinks,
)  # fmt: skip
direction_lr_step = _prediction(
    "direction_lr_step", "discrete effective learning rate after one SGD step",
    1 / (keep**2 * (1 / step_lr + step_lr * unit_squared_gradient)), "1/loss", "Lyu, Li, Arora 2022",
    latex_name=r"\tilde\eta'", where=_shrinks,
)  # fmt: skip

# -- the SDE
squared_norm_rate = _prediction(
    "squared_norm_rate", "d|W|^2/dt of the SDE (no noise term)",
    -2 * product * squared_norm_now + lr**2 * trace / squared_norm_now, "w^2", _LLA,
    latex_name=r"\tfrac{d\|W\|^2}{dt}",
)  # fmt: skip
fourth_power_rate = _prediction(
    "fourth_power_rate", "d|W|^4/dt of the SDE: linear in |W|^4",
    -4 * product * squared_norm_now**2 + 2 * lr**2 * trace, "w^4", _LLA, latex_name=r"\tfrac{d\|W\|^4}{dt}",
)  # fmt: skip
gamma_rate = _prediction(
    "gamma_rate", "d gamma/dt at constant learning rate",
    -4 * product * gamma_now + 2 * trace, "loss^2", _LLA, latex_name=r"\tfrac{d\gamma}{dt}",
)  # fmt: skip
gamma_rate_schedule = _prediction(
    "gamma_rate_schedule", "d gamma/dt under schedules lr(t), wd(t)",
    -4 * (product + lr_log_rate / 2) * gamma_now + 2 * trace, "loss^2", _LLA,
    latex_name=r"\tfrac{d\gamma}{dt}",
)  # fmt: skip
direction_shrinkage = _prediction(
    "direction_shrinkage", "Ito coefficient of -W/|W| that keeps the direction on the sphere",
    trace / (2 * gamma_now), "1", _LLA, latex_name=r"c",
)  # fmt: skip
_exponent = 4 * product * t
_gamma = gamma0 * sp.exp(-_exponent) + 2 * trace * t * saturation(_exponent)
gamma = _prediction(
    "gamma", "gamma after t steps, constant lr, wd and trace (wd = 0 allowed)",
    _gamma, "loss^2", _LLA, latex_name=r"\gamma_t",
)  # fmt: skip
squared_norm = _prediction(
    "squared_norm", "squared norm after t steps, constant lr, wd and trace",
    sp.sqrt(squared_norm0**2 * sp.exp(-_exponent) + 2 * lr**2 * trace * t * saturation(_exponent)),
    "w^2", _LLA, latex_name=r"\|W_t\|^2",
)  # fmt: skip
effective_lr_at = _prediction(
    "effective_lr_at", "effective learning rate after t steps, constant lr, wd and trace",
    1 / sp.sqrt(_gamma), "1/loss", _LLA, latex_name=r"\eta_e(t)",
)  # fmt: skip

# -- equilibrium
equilibrium_gamma = _prediction(
    "equilibrium_gamma", "stationary gamma (mean of gamma for any stationary law with this mean trace)",
    trace / (2 * product), "loss^2", _LLA, latex_name=r"\gamma_*", where=_decays,
)  # fmt: skip
equilibrium_squared_norm = _prediction(
    "equilibrium_squared_norm", "stationary squared norm of the SDE",
    sp.sqrt(lr * trace / (2 * weight_decay)), "w^2", _LLA, latex_name=r"\|W\|_*^2", where=_decays,
)  # fmt: skip
equilibrium_norm = _prediction(
    "equilibrium_norm", "stationary norm of the SDE",
    (lr * trace / (2 * weight_decay)) ** sp.Rational(1, 4), "w", _LLA, latex_name=r"\|W\|_*", where=_decays,
)  # fmt: skip
equilibrium_effective_lr = _prediction(
    "equilibrium_effective_lr", "stationary effective learning rate: depends on the product lr*wd alone",
    sp.sqrt(2 * product / trace), "1/loss", _LLA, latex_name=r"\eta_e^*", where=(sp.Gt(trace, 0),),
)  # fmt: skip
relaxation_rate = _prediction(
    "relaxation_rate", "rate at which gamma approaches equilibrium, per step",
    4 * product, "1", _LLA, latex_name=r"r",
)  # fmt: skip
relaxation_time = _prediction(
    "relaxation_time", "steps in which the distance of gamma to equilibrium falls by e",
    1 / (4 * product), "1", _LLA, latex_name=r"\tau", where=_decays,
)  # fmt: skip
time_to_equilibrium = _prediction(
    "time_to_equilibrium", "steps until gamma is within a relative distance of equilibrium",
    sp.log(distance0 / error) / (4 * product), "1", _LLA, latex_name=r"t_\epsilon", where=_decays,
)  # fmt: skip
no_decay_effective_lr = _prediction(
    "no_decay_effective_lr", "effective learning rate long after a small start without weight decay",
    1 / sp.sqrt(2 * trace * t), "1/loss", "Arora, Li, Lyu 2018", latex_name=r"\eta_e", where=(sp.Gt(t, 0),),
)  # fmt: skip
no_decay_squared_norm = _prediction(
    "no_decay_squared_norm", "squared norm long after a small start without weight decay",
    lr * sp.sqrt(2 * trace * t), "w^2", "Arora, Li, Lyu 2018", latex_name=r"\|W_t\|^2",
)  # fmt: skip

# -- lr or weight decay divided by K at equilibrium (`lr`, `weight_decay` are those BEFORE the drop)
_slower = sp.exp(-4 * product / factor * t)
lr_drop_gamma_ratio = _prediction(
    "lr_drop_gamma_ratio", "gamma over its new equilibrium, t steps after lr was divided by K at equilibrium",
    1 + (factor - 1) * _slower, "1", _LLA, latex_name=r"\gamma_t/\gamma'_*",
)  # fmt: skip
lr_drop_effective_lr_ratio = _prediction(
    "lr_drop_effective_lr_ratio", "effective lr over its new equilibrium, t steps after lr was divided by K",
    1 / sp.sqrt(1 + (factor - 1) * _slower), "1", _LLA, latex_name=r"\eta_e/\eta_e'^*",
)  # fmt: skip
wd_drop_gamma_ratio = _prediction(
    "wd_drop_gamma_ratio", "gamma over its new equilibrium, t steps after wd was divided by K at equilibrium",
    1 - (1 - 1 / factor) * _slower, "1", _LLA, latex_name=r"\gamma_t/\gamma'_*",
)  # fmt: skip
wd_drop_effective_lr_ratio = _prediction(
    "wd_drop_effective_lr_ratio", "effective lr over its new equilibrium, t steps after wd was divided by K",
    1 / sp.sqrt(1 - (1 - 1 / factor) * _slower), "1", _LLA, latex_name=r"\eta_e/\eta_e'^*",
)  # fmt: skip
lr_drop_recovery = _prediction(
    "lr_drop_recovery", "factor by which the effective lr rises again after lr was divided by K",
    sp.sqrt(factor), "1", _LLA, latex_name=r"\eta_e'^*/\eta_e(0^+)",
)  # fmt: skip

# -- finite steps at equilibrium
discrete_equilibrium_squared_norm = _prediction(
    "discrete_equilibrium_squared_norm", "fixed point of the exact squared norm step, constant |gradient|^2",
    sp.sqrt(lr * unit_squared_gradient / (weight_decay * (2 - product))), "w^2", _FINITE,
    latex_name=r"\|w\|_*^2", where=(*_decays, sp.Lt(product, 2)),
)  # fmt: skip
discrete_relaxation_multiplier = _prediction(
    "discrete_relaxation_multiplier", "derivative of the squared norm step at its fixed point",
    1 - 4 * product + 2 * product**2, "1", _FINITE, latex_name=r"m",
)  # fmt: skip
turn_cosine = _prediction(
    "turn_cosine", "cosine of the angle by which the direction turns in one step at the fixed point",
    keep, "1", _FINITE, latex_name=r"\cos\Delta_*", where=_shrinks,
)  # fmt: skip
stationary_mean_gamma = _prediction(
    "stationary_mean_gamma", "E gamma of any stationary SGD, from the moments of the unit gradient",
    (2 * keep**2 * mean_square + mean_fourth) / (1 - keep**4), "loss^2",
    "stationarity of the squared norm step",
    latex_name=r"E\gamma", where=(*_decays, *_shrinks),
)  # fmt: skip
squared_norm_fluctuation = _prediction(
    "squared_norm_fluctuation",
    "Var(|w|^2)/|w|_*^4 of SGD at equilibrium, independent gradients (linearised step)",
    product * (2 - product) / (4 * keep**2) * relative_variance, "1", "linearised squared norm step",
    latex_name=r"\mathrm{Var}\|w\|^2/\|w\|_*^4", where=_shrinks,
)  # fmt: skip
momentum_turn_cosine = _prediction(
    "momentum_turn_cosine", "cosine of the turn per step at equilibrium with heavy-ball momentum",
    1 - product / (1 + momentum), "1", "Wan et al. 2021; exact form", latex_name=r"\cos\Delta_*",
    where=_shrinks,
)  # fmt: skip
momentum_equilibrium_squared_norm = _prediction(
    "momentum_equilibrium_squared_norm", "stationary squared norm with heavy-ball momentum",
    sp.sqrt(lr * unit_squared_gradient / (weight_decay * (1 - momentum) * (2 - product / (1 + momentum)))),
    "w^2",
    "Wan et al. 2021", latex_name=r"\|w\|_*^2", where=(*_decays, *_shrinks, sp.Lt(momentum, 1)),
)  # fmt: skip

# -- solvable models
direction_correlation = _prediction(
    "direction_correlation", "E<W_t/|W_t|, W_0/|W_0|> under isotropic noise and no loss, any dimension",
    sp.exp(-product * t) * (gamma0 / _gamma) ** sp.Rational(1, 4), "1",
    "spherical Brownian motion with weight decay",
    latex_name=r"E\langle\bar W_t,\bar W_0\rangle", where=(sp.Gt(gamma0, 0),),
)  # fmt: skip
discrete_direction_correlation = _prediction(
    "discrete_direction_correlation", "E<w_t/|w_t|, w_0/|w_0|> of SGD with isotropic gradients of fixed norm",
    keep**t * correlation0, "1", "exact mean of SGD with tangent noise",
    latex_name=r"E\langle\bar w_t,\bar w_0\rangle", where=_shrinks,
)  # fmt: skip
harmonic_rate = _prediction(
    "harmonic_rate", "decay rate at equilibrium of a spherical harmonic of the direction, isotropic noise",
    degree * (degree + dimension - 2) * product / (dimension - 1), "1", "Laplace-Beltrami spectrum",
    latex_name=r"r_\ell", where=(sp.Gt(dimension, 1),),
)  # fmt: skip
inverse_temperature = _prediction(
    "inverse_temperature", "beta of the stationary law exp(-beta L) of the direction, isotropic noise",
    sp.sqrt(2 * (dimension - 1) / product) / noise, "1/loss", "detailed balance on the sphere",
    latex_name=r"\beta", where=(*_decays, sp.Gt(dimension, 1)),
)  # fmt: skip
vmf_concentration = _prediction(
    "vmf_concentration", "concentration of the stationary von Mises-Fisher law of the direction",
    strength * inverse_temperature.expr, "1", "detailed balance on the sphere",
    latex_name=r"\kappa", where=(*_decays, sp.Gt(dimension, 1)),
)  # fmt: skip
vmf_mean = _prediction(
    "vmf_mean", "stationary mean of <mu, W/|W|> for the linear loss",
    bessel_ratio(dimension, vmf_concentration.expr), "1",
    "Mardia, Jupp 2000, Directional statistics, section 9.3",
    latex_name=r"E\langle\mu,\bar W\rangle", where=(*_decays, sp.Gt(dimension, 1)),
)  # fmt: skip
circle_threshold = _prediction(
    "circle_threshold", "squared norm below which the minimum of h x^2/(x^2+y^2) is unstable under GD",
    lr * height / keep, "w^2", "linear stability of the minimiser ray", latex_name=r"y_c^2", where=_shrinks,
)  # fmt: skip


def gamma_piecewise(
    ts: Any, phases: Sequence[tuple[float, float, float]], *, trace: float, squared_norm0: float
) -> np.ndarray:
    """gamma(ts) for piecewise constant lr and wd, phases chained by the `gamma` prediction.

    `phases` is a sequence of (start, lr, weight_decay) with increasing starts, the first not after ts[0].
    |w| is continuous; gamma = |w|^4/lr^2 jumps where lr does. Times in steps, the value at a start belongs
    to the new phase.
    """
    ts = np.asarray(ts, dtype=float)
    starts = [float(start) for start, _, _ in phases]
    if not starts or any(b <= a for a, b in itertools.pairwise(starts)):
        raise ValueError(f"`phases` must have increasing starts: starts={starts}")
    if ts.size and ts.min() < starts[0]:
        raise ValueError(f"`ts` must not be before the first phase: ts={ts.min()}, start={starts[0]}")
    out, fourth = np.empty_like(ts), float(squared_norm0) ** 2
    for (start, rate, decay), end in zip(phases, [*starts[1:], np.inf], strict=True):
        constants = {"lr": rate, "weight_decay": decay, "trace": trace, "gamma0": fourth / rate**2}
        inside = (ts >= start) & (ts < end)
        out[inside] = gamma(t=ts[inside] - start, **constants)
        if np.isfinite(end):
            fourth = gamma(t=end - start, **constants) * rate**2
    return out
