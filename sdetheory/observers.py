"""Functions of the state recorded during a run: one compiled kernel each, lanes in, a lane out.

An observer of your own is a NamedTuple and a kernel registered with ``@observe.of(MyObserver)``.
"""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.vector import constant, fma, load, sqrt
from sdetheory.lanes.verbs import gradient, loss, measure, observe, workspace
from sdetheory.models.noise import inner, squared_norm


class SquaredNorm(NamedTuple):
    """|w|^2."""


class EffectiveLR(NamedTuple):
    """lr/|w|^2, the speed of the direction, for the (constant) learning rate given."""

    lr: float

    def validated(self, d: int) -> "EffectiveLR":
        """Raises ValueError unless `lr` is positive."""
        return EffectiveLR(checks.positive("lr", self.lr))


class Gamma(NamedTuple):
    """|w|^4/lr^2 = (effective learning rate)^-2, which obeys a linear equation."""

    lr: float

    def validated(self, d: int) -> "Gamma":
        """Raises ValueError unless `lr` is positive."""
        return Gamma(checks.positive("lr", self.lr))


class Cosine(NamedTuple):
    """<direction, w>/|w|, with `direction` of shape (d,), normalised by the observer."""

    direction: np.ndarray

    def validated(self, d: int) -> "Cosine":
        """Raises ValueError unless `direction` has shape (d,) and is not zero."""
        v = checks.start_norm(
            "direction", checks.shape("direction", checks.finite("direction", self.direction), (d,))
        )
        return Cosine(v / np.linalg.norm(v))


class Coordinate(NamedTuple):
    """w_i of the direction w/|w|."""

    i: int

    def validated(self, d: int) -> "Coordinate":
        """Raises ValueError unless 0 <= i < d."""
        if not 0 <= checks.integer("i", self.i) < d:
            raise ValueError(f"`i` must be below d={d}: i={self.i}")
        return self


class Loss(NamedTuple):
    """L(w) of a model."""

    model: Any


class SquaredGradient(NamedTuple):
    """|w|^2 |grad L(w)|^2: the squared gradient at the direction, for a scale-invariant model."""

    model: Any


@observe.of(SquaredNorm)
def _squared_norm(observer, w):
    """|w|^2."""
    return squared_norm(w)


@observe.of(EffectiveLR)
def _effective_lr(observer, w):
    """lr/|w|^2."""
    return observer.lr / squared_norm(w)


@observe.of(Gamma)
def _gamma(observer, w):
    """(|w|^2/lr)^2."""
    ratio = squared_norm(w) / observer.lr
    return ratio * ratio


@observe.of(Cosine)
def _cosine(observer, w):
    """<direction, w>/|w|."""
    s = constant(w, 0.0)
    for i in range(w.size):
        s = fma(load(w, i), observer.direction[i], s)
    return s / sqrt(squared_norm(w))


@observe.of(Coordinate)
def _coordinate(observer, w):
    """w_i/|w|."""
    return load(w, observer.i) / sqrt(squared_norm(w))


@measure.of(Loss)
def _loss(observer, w, work):
    """L(w)."""
    return loss(observer.model, w, work)


@workspace.of(Loss)
def _loss_workspace(observer, d):
    """The model's."""
    return workspace(observer.model, d)


@measure.of(SquaredGradient)
def _squared_gradient(observer, w, work):
    """|w|^2 |grad L(w)|^2."""
    g = work[: w.size]
    gradient(observer.model, w, g, work[w.size :])
    return squared_norm(w) * inner(g, g, w.size)


@workspace.of(SquaredGradient)
def _squared_gradient_workspace(observer, d):
    """The gradient, and the model's."""
    return d + workspace(observer.model, d)
