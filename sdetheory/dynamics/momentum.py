"""Momentum: heavy ball with the lr outside or inside the buffer, dampening, Nesterov's look-ahead."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.dynamics.coordinatewise import move, rates
from sdetheory.dynamics.optimiser import Optimiser, batch_gradient, start
from sdetheory.lanes.vector import constant, fma, load, store
from sdetheory.lanes.verbs import encode, extra, step, workspace


class MomentumStep(NamedTuple):
    """h = g + coupling weight_decay w;  v' = momentum v + fresh h;
    w' = (1 - (1 - coupling) lr weight_decay) w - lr (direct h + share v').

    v starts as `first` times the start of w.  State: w, |w|^2, v.
    """

    momentum: float
    fresh: float
    direct: float
    share: float
    first: float
    coupling: float = 1.0
    calculus = "discrete"
    buffers = ("velocity",)
    displacement_degrees = (-1,)
    gradient_degrees = (1,)

    def memory(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        """The buffer at the start."""
        return (self.first * w,)


class VelocityStep(NamedTuple):
    """h = g + weight_decay w;  v' = momentum v + lr fresh h;  w' = w - v': the learning rate inside.

    v starts as `first` times the start of w.  State: w, |w|^2, v.
    """

    momentum: float
    fresh: float
    first: float
    calculus = "discrete"
    buffers = ("velocity",)
    displacement_degrees = (-1,)
    gradient_degrees = (1,)

    def memory(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        """The buffer at the start."""
        return (self.first * w,)


@dataclass(frozen=True)
class HeavyBall(Optimiser):
    """v' = momentum v + (1 - dampening) (g + weight_decay w), w' = w - lr v': the lr outside the buffer.

    v starts as `first` times the start of w, so 0 by default (PyTorch's first step leaves dampening out;
    otherwise this is its SGD); an exponential learning rate equivalent to weight decay needs another start
    (`predictions.exponential_lr`).  momentum may be 1 or more where the weight decay is strong enough.

    Raises ValueError for a negative momentum or a dampening outside [0, 1].
    Source: B. Polyak (1964), Some methods of speeding up the convergence of iteration methods.
    """

    momentum: float = 0.9
    dampening: float = 0.0
    first: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.nonnegative("momentum", self.momentum)
        checks.real("first", self.first)
        if checks.nonnegative("dampening", self.dampening) > 1.0:
            raise ValueError(f"`dampening` must not be above 1: dampening={self.dampening!r}")

    def stepper(self) -> Any:
        """The buffer holds gradients."""
        return MomentumStep(float(self.momentum), 1.0 - self.dampening, 0.0, 1.0, float(self.first))


@dataclass(frozen=True)
class InnerHeavyBall(HeavyBall):
    """v' = momentum v + lr (1 - dampening) (g + weight_decay w), w' = w - v': the lr inside the buffer.

    The same path as HeavyBall at a constant lr; after a drop of the lr the old velocity lives on.
    """

    def stepper(self) -> Any:
        """The buffer holds displacements."""
        return VelocityStep(float(self.momentum), 1.0 - self.dampening, float(self.first))


@dataclass(frozen=True)
class SGDW(HeavyBall):
    """v' = momentum v + (1 - dampening) g, w' = (1 - lr weight_decay) w - lr v': the decay outside the buffer.

    Source: I. Loshchilov and F. Hutter (2019), Decoupled weight decay regularization, algorithm 1.
    """

    def stepper(self) -> Any:
        """None of the weight decay in the gradient."""
        return super().stepper()._replace(coupling=0.0)


@dataclass(frozen=True)
class Nesterov(Optimiser):
    """h = g + weight_decay w, v' = momentum v + h, w' = w - lr (h + momentum v').

    Raises ValueError for a negative momentum.
    Source: Y. Nesterov (1983); I. Sutskever et al. (2013), section 2, in the variables of PyTorch.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.nonnegative("momentum", self.momentum)

    def stepper(self) -> Any:
        """The buffer holds gradients, and the newest counts once more."""
        return MomentumStep(float(self.momentum), 1.0, 1.0, float(self.momentum), 0.0)


@rates.of(MomentumStep)
def _momentum_rates(rule, lr, weight_decay, powers):
    """Decay in the gradient, decay beside it, and what the lr makes of `direct` and `share`."""
    keep = 1.0 - (1.0 - rule.coupling) * lr * weight_decay
    return rule.coupling * weight_decay, keep, lr * rule.direct, lr * rule.share


@move.of(MomentumStep)
def _momentum_move(rule, c, x, g, memory):
    coupled, keep, direct, share = c
    h = fma(coupled, x, g)
    u = fma(rule.momentum, memory[0], rule.fresh * h)
    return keep * x - fma(direct, h, share * u), (u,)


@rates.of(VelocityStep)
def _velocity_rates(rule, lr, weight_decay, powers):
    """Decay in the gradient, and the lr of a fresh gradient."""
    return weight_decay, lr * rule.fresh


@move.of(VelocityStep)
def _velocity_move(rule, c, x, g, memory):
    h = fma(c[0], x, g)
    u = fma(rule.momentum, memory[0], c[1] * h)
    return x - u, (u,)


@step.of(MomentumStep, VelocityStep)
def _step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = (y.size - 1) // 2
    w, v = y[:d], y[d + 1 :]
    batch_gradient(model, noise, w, load(y, d), z, work)
    c = rates(integrator, lr, weight_decay, (1.0, 1.0))
    q = constant(y, 0.0)
    for i in range(d):
        x, memory = move(integrator, c, load(w, i), load(work, i), (load(v, i),))
        q = fma(x, x, q)
        store(v, i, memory[0])
        store(w, i, x)
    store(y, d, q)


@extra.of(MomentumStep, VelocityStep)
def _extra(integrator, d):
    """|w|^2 and v."""
    return d + 1


@workspace.of(MomentumStep, VelocityStep)
def _workspace(integrator, d):
    return 2 * d


@encode.of(MomentumStep, VelocityStep)
def _encode(integrator, w, lr, y):
    """(w, |w|^2, first w)."""
    start(w, y)
    for i in range(w.size):
        store(y, w.size + 1 + i, integrator.first * load(w, i))
