"""Momentum: heavy ball with the lr outside or inside the buffer, dampening, Nesterov's look-ahead."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sdetheory import checks
from sdetheory.dynamics.optimiser import Optimiser, batch_gradient, start
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import constant, fma, load, store
from sdetheory.lanes.verbs import encode, extra, step, workspace


class MomentumStep(NamedTuple):
    """h = g + weight_decay w;  v' = momentum v + fresh h;  w' = w - lr (direct h + share v').

    v starts as `first` times the start of w.  State: w, |w|^2, v.
    """

    momentum: float
    fresh: float
    direct: float
    share: float
    first: float
    calculus = "discrete"


class VelocityStep(NamedTuple):
    """h = g + weight_decay w;  v' = momentum v + lr fresh h;  w' = w - v': the learning rate inside.

    v starts as `first` times the start of w.  State: w, |w|^2, v.
    """

    momentum: float
    fresh: float
    first: float
    calculus = "discrete"


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


@part
def _move(model, noise, weight_decay, momentum, fresh, direct, share, y, z, work):
    """h = g + weight_decay w; v <- momentum v + fresh h; w <- w - direct h - share v."""
    d = (y.size - 1) // 2
    w, v = y[:d], y[d + 1 :]
    batch_gradient(model, noise, w, load(y, d), z, work)
    q = constant(y, 0.0)
    for i in range(d):
        x = load(w, i)
        h = fma(weight_decay, x, load(work, i))
        u = fma(momentum, load(v, i), fresh * h)
        x = x - fma(direct, h, share * u)
        q = fma(x, x, q)
        store(v, i, u)
        store(w, i, x)
    store(y, d, q)


@step.of(MomentumStep)
def _momentum_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    direct, share = lr * integrator.direct, lr * integrator.share
    _move(model, noise, weight_decay, integrator.momentum, integrator.fresh, direct, share, y, z, work)


@step.of(VelocityStep)
def _velocity_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    _move(model, noise, weight_decay, integrator.momentum, lr * integrator.fresh, 0.0, 1.0, y, z, work)


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
