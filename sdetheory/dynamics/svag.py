"""Stochastic variance-amplified gradient: SGD in l-fold smaller steps with the noise per time kept."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.dynamics.optimiser import Optimiser, batch_gradient, start
from sdetheory.dynamics.schedules import sample
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import absolute, constant, fma, load, store
from sdetheory.lanes.verbs import (
    coordinate_noise,
    draws,
    encode,
    extra,
    prepare_noise,
    step,
    substeps,
    workspace,
)
from sdetheory.models.noise import NoNoise


class TwoBatchStep(NamedTuple):
    """w' = (1 - lr weight_decay) w - lr (a g1 + (1 - a) g2), a = (1 + sqrt(2 l - 1))/2, lr already over l."""

    l: float
    calculus = "discrete"


class CoinStep(NamedTuple):
    """w' = (1 - lr weight_decay) w - lr (1 + sqrt(l - 1) xi) g, xi = +-1 a fair coin, lr already over l."""

    l: float
    calculus = "discrete"

    def check_fits(self, model: Any, noise: Any) -> None:
        """Raises ValueError without noise, whose increments the coin is drawn beside, and where they are no coins."""
        if isinstance(noise, NoNoise):
            raise ValueError(f"`noise` must have increments for CoinSVAG: noise={noise}")
        if getattr(noise, "increment", None) is not None:
            raise ValueError(f"`noise` must have increments with a fair sign for CoinSVAG: noise={noise}")


@dataclass(frozen=True)
class SVAG(Optimiser):
    """w' = w - (lr/l) (a g1 + (1 - a) g2 + weight_decay w), a = (1 + sqrt(2 l - 1))/2, g1, g2 of two batches.

    l steps make one unit of SGD's time; `ts` counts SVAG's steps, and schedules are read at step/l.  The mean
    gradient and the covariance per unit of time are SGD's, and as l grows the path tends to the SDE's.

    Raises ValueError unless l is an integer of at least 1 (SVAG of 1 is SGD).
    Source: Z. Li, S. Malladi, S. Arora (2021), On the validity of modeling SGD with SDEs, section 3.
    """

    l: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("l", self.l, least=1)

    def rates(self, steps: int, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """lr/l and weight_decay of the steps, schedules read at SGD's time step/l."""
        times = np.arange(steps) / self.l
        lr = sample("lr", self.lr, times, signed=False) / self.l
        return lr, sample("weight_decay", self.weight_decay, times, signed=True)

    def stepper(self) -> Any:
        """Two batches."""
        return TwoBatchStep(float(self.l))


@dataclass(frozen=True)
class CoinSVAG(SVAG):
    """w' = w - (lr/l) ((1 + sqrt(l - 1) xi) g + weight_decay w), xi = +-1 a fair coin: one batch, rescaled.

    Same mean as SGD, but the covariance per unit of time is Sigma + (1 - 1/l) grad L grad L^T: its limit is
    another SDE wherever the gradient is not zero.  The coin is the sign of one more increment: with
    `Gaussian()` or `TwoPoint()` increments (zeros of `ThreePoint()` have no sign and make the path diverge).

    Source: the code of Li, Malladi, Arora (2021).
    """

    def stepper(self) -> Any:
        """One batch and a coin."""
        return CoinStep(float(self.l))


@part
def _move(y, keep, size, work):
    """w <- keep w - size work."""
    d = y.size - 1
    q = constant(y, 0.0)
    for i in range(d):
        x = fma(keep, load(y, i), -size * load(work, i))
        q = fma(x, x, q)
        store(y, i, x)
    store(y, d, q)


@part
def _add_noise(noise, w, q, scale, z, work):
    """work[:d] <- work[:d] + scale G(w) z."""
    d = w.size
    g = work[d : 2 * d]
    s = prepare_noise(noise, w, q, z, g, work[2 * d :])
    for i in range(d):
        store(work, i, fma(scale, coordinate_noise(noise, s, load(w, i), z, i, g), load(work, i)))


@step.of(TwoBatchStep)
def _two_batch_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = y.size - 1
    w, q, n = y[:d], load(y, d), draws(noise, y.size - 1)
    a = 0.5 * (1.0 + np.sqrt(2.0 * integrator.l - 1.0))
    batch_gradient(model, noise, w, q, z, work)
    _add_noise(noise, w, q, a - 1.0, z, work)  # the first batch's noise counts a times in all
    _add_noise(noise, w, q, 1.0 - a, z[n:], work)
    _move(y, 1.0 - lr * weight_decay, lr, work)


@step.of(CoinStep)
def _coin_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = y.size - 1
    batch_gradient(model, noise, y[:d], load(y, d), z, work)
    coin = load(z, draws(noise, d))
    scale = 1.0 + np.sqrt(integrator.l - 1.0) * (coin / absolute(coin))
    _move(y, 1.0 - lr * weight_decay, lr * scale, work)


@substeps.of(TwoBatchStep, CoinStep)
def _substeps(integrator):
    """Two: the second batch, or the coin."""
    return 2


@extra.of(TwoBatchStep, CoinStep)
def _extra(integrator, d):
    """|w|^2."""
    return 1


@workspace.of(TwoBatchStep, CoinStep)
def _workspace(integrator, d):
    return 2 * d


@encode.of(TwoBatchStep, CoinStep)
def _encode(integrator, w, lr, y):
    """(w, |w|^2)."""
    start(w, y)
