"""Weight decay as an exponentially growing learning rate: the equivalence, with momentum and with phases.

w~_t = root^-t w_t follows momentum without weight decay at the learning rates below; `root` is either
solution of x^2 - (1 + momentum - lr wd) x + momentum = 0.  With the lr outside the buffer (HeavyBall) the
momentum stays the same; inside (InnerHeavyBall) it becomes momentum/root^2.  The buffer starts as a multiple
of the start, because w~ moves even where w rests.  Source: Li and Arora 2020, An exponential learning rate
schedule.
"""

from functools import partial

import sympy as sp

from sdetheory.predictions import intrinsic_lr
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    *(q for q in intrinsic_lr.QUANTITIES if q.name in ("t", "lr", "weight_decay", "momentum")),
    Quantity("steps_per_epoch", "1", "steps of an epoch", "n", "nonnegative"),
    Quantity("root", "1", "a root of x^2 - (1 + momentum - lr wd) x + momentum", r"\alpha", "nonzero"),
    Quantity("lr_ratio", "1", "lr of this step over lr of the step before", r"\eta_t/\eta_{t-1}", "positive"),
)
t, lr, weight_decay, momentum, steps_per_epoch, root, lr_ratio = (
    sp.Symbol(n) for n in ("t", "lr", "weight_decay", "momentum", "steps_per_epoch", "root", "lr_ratio")
)
_LA = "Li, Arora 2020, An exponential learning rate schedule for deep learning"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="exponential_lr")

_sum = 1 + momentum - lr * weight_decay
_discriminant = _sum**2 - 4 * momentum
_real = (sp.Ge(_discriminant, 0),)

exponential_lr_root = _prediction(
    "exponential_lr_root", "the root to take: 1 without weight decay",
    (_sum + sp.sqrt(_discriminant)) / 2, "1", _LA, latex_name=r"\alpha", where=_real,
)  # fmt: skip
exponential_lr_other_root = _prediction(
    "exponential_lr_other_root", "the other root: the momentum without weight decay",
    (_sum - sp.sqrt(_discriminant)) / 2, "1", _LA, latex_name=r"\alpha'", where=_real,
)  # fmt: skip
exponential_lr_critical_product = _prediction(
    "exponential_lr_critical_product", "lr*wd up to which the roots are real",
    (1 - sp.sqrt(momentum)) ** 2, "1", _LA, latex_name=r"(\eta\lambda)_c",
)  # fmt: skip
exponential_lr = _prediction(
    "exponential_lr", "learning rate of step t without weight decay",
    lr * root ** (-2 * t - 1), "w^2/loss", _LA, latex_name=r"\tilde\eta_t",
)  # fmt: skip
exponential_lr_growth_per_epoch = _prediction(
    "exponential_lr_growth_per_epoch", "factor by which the learning rate grows in an epoch",
    root ** (-2 * steps_per_epoch), "1", _LA, latex_name=r"\tilde\eta_{t+n}/\tilde\eta_t",
)  # fmt: skip
exponential_lr_buffer = _prediction(
    "exponential_lr_buffer", "start of the buffer over the start, lr outside the buffer",
    (1 - 1 / root) / lr, "loss/w^2", _LA, latex_name=r"\tilde v_{-1}/w_0",
)  # fmt: skip
exponential_lr_inner_momentum = _prediction(
    "exponential_lr_inner_momentum", "momentum without weight decay, lr inside the buffer",
    momentum / root**2, "1", _LA, latex_name=r"\tilde\gamma",
)  # fmt: skip
exponential_lr_inner_buffer = _prediction(
    "exponential_lr_inner_buffer", "start of the buffer over the start, lr inside the buffer",
    root - 1, "1", _LA, latex_name=r"\tilde v_{-1}/w_0",
)  # fmt: skip
tapered_root = _prediction(
    "tapered_root", "root of this step from that of the step before, under any lr schedule: w~_t+1 = w_t+1 "
    "over the product of the roots so far",
    1 + momentum * lr_ratio - lr * weight_decay - momentum * lr_ratio / root, "1", _LA,
    latex_name=r"\alpha_t",
)  # fmt: skip
