"""Conventions of deep linear networks, in one place: the loss with and without 1/2, and the names of the penalty.

Most wrong factors of 2 come from here.  This package minimises L(w) with the penalty (weight_decay/2)|w|^2, so that
a step is w' = (1 - lr weight_decay) w - lr grad L(w).  Three ways to write the same training run:

    ==================  ========================  ====================  =======================
                        Ginsburg 2020             here, the same loss   here, half the loss
    ==================  ========================  ====================  =======================
    data loss           (W - 1)^2                 (W - 1)^2             (1/2)(W - 1)^2
    penalty             mu sum w_i^2              (2 mu/2) sum w_i^2    (mu/2) sum w_i^2
    weight decay        mu                        2 mu                  mu
    learning rate       lambda                    lambda                2 lambda
    flow time of k      lambda k                  lambda k              2 lambda k
      steps
    sharpness at W = 1  2 S                       2 S                   S
    label noise         sigma on the label        sigma                 sigma
    imbalance, decay    4 lambda mu               2 lr weight_decay     2 lr weight_decay
    weight decay in     2 mu, lr lambda, loss = mean of squares         mu, 2 lambda, half the
      PyTorch                                                           mean of squares
    ==================  ========================  ====================  =======================

`scalar_chain` is the middle column, `deep_linear` and `deep_linear_from_data` the right one.  Depth counts weight
layers (Saxe, McClelland, Ganguli count layers of neurons: one more).  The imbalance of two layers is
W_{j+1}^T W_{j+1} - W_j W_j^T, for scalars w_{j+1}^2 - w_j^2; Ginsburg's D is the largest |w_i^2 - w_j^2|.
"""

from typing import Any

from sdetheory import checks


def ginsburg_rates(lr: float, penalty: float = 0.0) -> dict[str, float]:
    """`lr` and `weight_decay` of a rule here that makes Ginsburg's step of size lr with penalty mu sum w_i^2.

    For a loss without 1/2, such as `scalar_chain`: ``st.GradientDescent(**ginsburg_rates(0.05, 0.01))``.
    """
    return {"lr": checks.nonnegative("lr", lr), "weight_decay": 2.0 * checks.nonnegative("penalty", penalty)}


def rates_on_half_the_loss(lr: float, weight_decay: float = 0.0) -> dict[str, float]:
    """`lr` and `weight_decay` that make the same step on L/2 as the given ones on L: 2 lr and weight_decay/2."""
    return {
        "lr": 2.0 * checks.nonnegative("lr", lr),
        "weight_decay": 0.5 * checks.nonnegative("weight_decay", weight_decay),
    }


def without_half(model: Any) -> Any:
    """A deep linear network with twice the loss: sum of squares in place of half of it, everything else the same."""
    return model._replace(scale=2.0 * model.scale, floor=2.0 * model.floor)


def with_half(model: Any) -> Any:
    """The inverse of `without_half`."""
    return model._replace(scale=0.5 * model.scale, floor=0.5 * model.floor)
