"""Adaptive rules: Adam with coupled L2, AdamW, Lion. Their steps do not shrink with the gradient."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sdetheory import checks
from sdetheory.dynamics.optimiser import Optimiser, batch_gradient, fraction, start
from sdetheory.lanes.vector import constant, fma, load, select, sqrt, store
from sdetheory.lanes.verbs import encode, extra, step, workspace


class AdamStep(NamedTuple):
    """h = g + coupling weight_decay w;  m' = beta1 m + (1 - beta1) h;  v' = beta2 v + (1 - beta2) h^2;
    w' = (1 - (1 - coupling) lr weight_decay) w - lr mhat/(sqrt(vhat) + epsilon), mhat = m'/(1 - beta1^t).

    State: w, |w|^2, m, v, beta1^t, beta2^t.
    """

    beta1: float
    beta2: float
    epsilon: float
    coupling: float
    calculus = "discrete"


class LionStep(NamedTuple):
    """w' = (1 - lr weight_decay) w - lr sign(beta1 m + (1 - beta1) g);  m' = beta2 m + (1 - beta2) g.

    State: w, |w|^2, m.
    """

    beta1: float
    beta2: float
    calculus = "discrete"


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam with weight decay as part of the gradient (L2): h = g + weight_decay w is what gets rescaled.

    m' = beta1 m + (1 - beta1) h, v' = beta2 v + (1 - beta2) h^2 (each coordinate its own),
    w' = w - lr mhat/(sqrt(vhat) + epsilon), mhat = m'/(1 - beta1^t), vhat = v'/(1 - beta2^t).

    Raises ValueError for a beta outside [0, 1) or a negative epsilon.
    Source: D. Kingma and J. Ba (2015), Adam: a method for stochastic optimization.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("beta1", self.beta1)
        fraction("beta2", self.beta2)
        checks.nonnegative("epsilon", self.epsilon)

    def stepper(self) -> Any:
        """All of the weight decay in the gradient."""
        return AdamStep(float(self.beta1), float(self.beta2), float(self.epsilon), 1.0)


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


@step.of(AdamStep)
def _adam_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = (y.size - 3) // 3
    w, m, v, powers = y[:d], y[d + 1 : 2 * d + 1], y[2 * d + 1 : 3 * d + 1], y[3 * d + 1 :]
    batch_gradient(model, noise, w, load(y, d), z, work)
    beta1, beta2 = integrator.beta1, integrator.beta2
    coupled = integrator.coupling * weight_decay
    keep = 1.0 - (1.0 - integrator.coupling) * lr * weight_decay
    power1, power2 = beta1 * load(powers, 0), beta2 * load(powers, 1)
    size, root = lr / (1.0 - power1), 1.0 / (1.0 - power2)
    q = constant(y, 0.0)
    for i in range(d):
        x = load(w, i)
        h = fma(coupled, x, load(work, i))
        first = fma(beta1, load(m, i), (1.0 - beta1) * h)
        second = fma(beta2, load(v, i), (1.0 - beta2) * h * h)
        x = keep * x - size * first / (sqrt(root * second) + integrator.epsilon)
        q = fma(x, x, q)
        store(m, i, first)
        store(v, i, second)
        store(w, i, x)
    store(y, d, q)
    store(powers, 0, power1)
    store(powers, 1, power2)


@step.of(LionStep)
def _lion_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = (y.size - 1) // 2
    w, m = y[:d], y[d + 1 :]
    batch_gradient(model, noise, w, load(y, d), z, work)
    beta1, beta2, keep = integrator.beta1, integrator.beta2, 1.0 - lr * weight_decay
    q = constant(y, 0.0)
    for i in range(d):
        h, old = load(work, i), load(m, i)
        c = fma(beta1, old, (1.0 - beta1) * h)
        sign = select(c > 0.0, 1.0, select(c < 0.0, -1.0, 0.0 * c))
        x = fma(keep, load(w, i), -lr * sign)
        q = fma(x, x, q)
        store(m, i, fma(beta2, old, (1.0 - beta2) * h))
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
