"""Adaptive rules: Adam with coupled L2, AdamW, Lion. Their steps do not shrink with the gradient."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.dynamics.coordinatewise import age, move, rates
from sdetheory.dynamics.optimiser import Optimiser, batch_gradient, fraction, start
from sdetheory.lanes.vector import constant, fma, load, select, sqrt, store
from sdetheory.lanes.verbs import encode, extra, step, workspace


class AdamStep(NamedTuple):
    """h = g + coupling weight_decay w;  m' = beta1 m + (1 - beta1) h;  v' = beta2 v + (1 - beta2) h^2;
    w' = (1 - (1 - coupling) lr weight_decay) w - lr mhat/(sqrt(vhat) + epsilon), mhat = m'/(1 - correction beta1^t).

    State: w, |w|^2, m, v, beta1^t, beta2^t.
    """

    beta1: float
    beta2: float
    epsilon: float
    coupling: float
    correction: float = 1.0
    calculus = "discrete"
    buffers = ("first_moment", "second_moment")
    displacement_degrees = (0, 2)
    gradient_degrees = (1, 2)

    def memory(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        """The buffers at the start."""
        return np.zeros_like(w), np.zeros_like(w)


class LionStep(NamedTuple):
    """w' = (1 - lr weight_decay) w - lr sign(beta1 m + (1 - beta1) g);  m' = beta2 m + (1 - beta2) g.

    State: w, |w|^2, m.
    """

    beta1: float
    beta2: float
    calculus = "discrete"
    buffers = ("momentum",)
    displacement_degrees = (1,)  # its steps have one length: there is no shorter one
    gradient_degrees = (1,)

    def memory(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        """The buffer at the start."""
        return (np.zeros_like(w),)


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam with weight decay as part of the gradient (L2): h = g + weight_decay w is what gets rescaled.

    m' = beta1 m + (1 - beta1) h, v' = beta2 v + (1 - beta2) h^2 (each coordinate its own),
    w' = w - lr mhat/(sqrt(vhat) + epsilon), mhat = m'/(1 - beta1^t), vhat = v'/(1 - beta2^t); without
    `bias_correction` mhat = m', vhat = v'.

    Raises ValueError for a beta outside [0, 1) or a negative epsilon.
    Source: D. Kingma and J. Ba (2015), Adam: a method for stochastic optimization.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    bias_correction: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("beta1", self.beta1)
        fraction("beta2", self.beta2)
        checks.nonnegative("epsilon", self.epsilon)

    def stepper(self) -> Any:
        """All of the weight decay in the gradient."""
        return AdamStep(float(self.beta1), float(self.beta2), float(self.epsilon), 1.0, float(self.bias_correction))


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: w' = (1 - lr weight_decay) w - lr mhat/(sqrt(vhat) + epsilon), h = g.

    Source: I. Loshchilov and F. Hutter (2019), Decoupled weight decay regularization.
    """

    def stepper(self) -> Any:
        """None of the weight decay in the gradient."""
        return super().stepper()._replace(coupling=0.0)


@dataclass(frozen=True)
class Lion(Optimiser):
    """w' = (1 - lr weight_decay) w - lr sign(beta1 m + (1 - beta1) g), m' = beta2 m + (1 - beta2) g.

    sign(0) = 0.  Raises ValueError for a beta outside [0, 1).
    Source: X. Chen et al. (2023), Symbolic discovery of optimization algorithms.
    """

    beta1: float = 0.9
    beta2: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("beta1", self.beta1)
        fraction("beta2", self.beta2)

    def stepper(self) -> Any:
        """The step with both memories."""
        return LionStep(float(self.beta1), float(self.beta2))


@age.of(AdamStep)
def _adam_age(rule, powers):
    """beta1^t, beta2^t."""
    return rule.beta1 * powers[0], rule.beta2 * powers[1]


@rates.of(AdamStep)
def _adam_rates(rule, lr, weight_decay, powers):
    """Decay in the gradient, decay beside it, lr over the weight of m, and one over that of v."""
    keep = 1.0 - (1.0 - rule.coupling) * lr * weight_decay
    size, root = lr / (1.0 - rule.correction * powers[0]), 1.0 / (1.0 - rule.correction * powers[1])
    return rule.coupling * weight_decay, keep, size, root


@move.of(AdamStep)
def _adam_move(rule, c, x, g, memory):
    coupled, keep, size, root = c
    h = fma(coupled, x, g)
    first = fma(rule.beta1, memory[0], (1.0 - rule.beta1) * h)
    second = fma(rule.beta2, memory[1], (1.0 - rule.beta2) * h * h)
    return keep * x - size * first / (sqrt(root * second) + rule.epsilon), (first, second)


@rates.of(LionStep)
def _lion_rates(rule, lr, weight_decay, powers):
    """What remains of w, and the lr."""
    return 1.0 - lr * weight_decay, lr


@move.of(LionStep)
def _lion_move(rule, c, x, g, memory):
    old = memory[0]
    mixed = fma(rule.beta1, old, (1.0 - rule.beta1) * g)
    sign = select(mixed > 0.0, 1.0, select(mixed < 0.0, -1.0, 0.0 * mixed))
    return fma(c[0], x, -c[1] * sign), (fma(rule.beta2, old, (1.0 - rule.beta2) * g),)


@step.of(AdamStep)
def _adam_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = (y.size - 3) // 3
    w, m, v, powers = y[:d], y[d + 1 : 2 * d + 1], y[2 * d + 1 : 3 * d + 1], y[3 * d + 1 :]
    batch_gradient(model, noise, w, load(y, d), z, work)
    now = age(integrator, (load(powers, 0), load(powers, 1)))
    c = rates(integrator, lr, weight_decay, now)
    q = constant(y, 0.0)
    for i in range(d):
        x, memory = move(integrator, c, load(w, i), load(work, i), (load(m, i), load(v, i)))
        q = fma(x, x, q)
        store(m, i, memory[0])
        store(v, i, memory[1])
        store(w, i, x)
    store(y, d, q)
    store(powers, 0, now[0])
    store(powers, 1, now[1])


@step.of(LionStep)
def _lion_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = (y.size - 1) // 2
    w, m = y[:d], y[d + 1 :]
    batch_gradient(model, noise, w, load(y, d), z, work)
    c = rates(integrator, lr, weight_decay, (1.0, 1.0))
    q = constant(y, 0.0)
    for i in range(d):
        x, memory = move(integrator, c, load(w, i), load(work, i), (load(m, i),))
        q = fma(x, x, q)
        store(m, i, memory[0])
        store(w, i, x)
    store(y, d, q)


@extra.of(AdamStep)
def _adam_extra(integrator, d):
    """|w|^2, m, v, beta1^t, beta2^t."""
    return 2 * d + 3


@extra.of(LionStep)
def _lion_extra(integrator, d):
    """|w|^2 and m."""
    return d + 1


@workspace.of(AdamStep, LionStep)
def _workspace(integrator, d):
    return 2 * d


@encode.of(AdamStep)
def _adam_encode(integrator, w, lr, y):
    """(w, |w|^2, 0, 0, 1, 1)."""
    start(w, y)
    store(y, y.size - 2, 1.0)
    store(y, y.size - 1, 1.0)


@encode.of(LionStep)
def _lion_encode(integrator, w, lr, y):
    """(w, |w|^2, 0)."""
    start(w, y)
