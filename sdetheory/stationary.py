"""Stein's identity of the stationary direction: control variates for equilibrium averages, and a test of equilibrium.

A scale-invariant loss L under dW = -lr wd W dt - lr grad L dt + lr sigma P dB/|W| (isotropic noise) has a direction
with the stationary density exp(-beta L) on the unit sphere, beta = (2/sigma) sqrt((d - 1)/(2 lr wd)).  Integration by
parts against it gives, for every smooth phi,

    E[T phi] = 0,    T phi = Laplace phi - beta <grad L, grad phi>        (gradients and Laplacian of the sphere)

and with phi_k = L^k/k and a = T L = Laplace L - beta |grad L|^2:  T phi_k = L^(k-1) a + (k - 1) L^(k-2) |grad L|^2.
T is the generator of the direction up to a factor, so the time average of f - c T phi has less and less variance, and
less and less discretisation bias, the closer phi comes to solving Poisson's equation T phi = (f - E f)/c.

Where it helps, and where not: powers of L can only explain what depends on L.  For a loss of one coordinate
(von Mises-Fisher, Rayleigh with one entry) three powers nearly solve Poisson's equation for every function of the
loss, and what is left to sample is a thousandth or much less.  For a Rayleigh quotient with a full spectrum they leave
a third to two thirds for the loss itself, and for a function that is uncorrelated with L all of it.  There a phi of
one's own helps (`IdentityOf`): any function with `loss`, `gradient` and `laplacian` kernels, such as w^T A^2 w/|w|^2,
which |grad L|^2 brings in.

Sources: C. Stein (1972), A bound for the error in the normal approximation; S. Andradottir, D. Heyman, T. Ott (1993),
Variance reduction through smoothing and control variates for Markov chain simulations; R. Assaraf, M. Caffarel (1999),
Zero-variance principle for Monte Carlo algorithms; A. Mira, R. Solgi, D. Imparato (2013), Zero variance Markov chain
Monte Carlo for Bayesian estimators.
"""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.dynamics.rules import WeightDecaySDE
from sdetheory.lanes.vector import fma, load, store
from sdetheory.lanes.verbs import (
    channels,
    coordinate,
    gradient,
    laplacian,
    loss,
    measure,
    measure_all,
    prepare,
    workspace,
)
from sdetheory.models.noise import Isotropic, inner, squared_norm


class StationaryIdentity(NamedTuple):
    """T phi_1, ..., T phi_powers at the direction w/|w|: observed values whose mean at equilibrium is zero.

    Observed as `name_1`, ..., `name_powers` (as `name` if powers = 1), at the price of one gradient.  A mean that is
    not zero within its standard error says that the law is not (yet) the stationary one, that beta is not that of the
    run, or that the steps are too long.  The model needs `loss`, `gradient` and `laplacian` kernels.
    """

    model: Any
    inverse_temperature: float
    powers: int = 3

    def validated(self, d: int) -> "StationaryIdentity":
        """Raises ValueError unless d >= 2, `inverse_temperature` is a number, `powers` >= 1 and the model is scale
        invariant; TypeError for a model without its `laplacian`."""
        if d < 2:
            raise ValueError(f"`w0` must have d >= 2 coordinates, the sphere is two points otherwise: d={d}")
        if not getattr(self.model, "scale_invariant", False):
            raise ValueError(f"`model` must be scale invariant: model={self.model!r}")
        laplacian.kernel(type(self.model))
        beta = checks.real("inverse_temperature", self.inverse_temperature)
        return self._replace(inverse_temperature=beta, powers=checks.integer("powers", self.powers, least=1))


class IdentityOf(NamedTuple):
    """T phi at the direction w/|w| for a phi of one's own: `function` is any scale-invariant plug-in that has
    `loss` (phi itself), `gradient` and `laplacian` kernels; the model needs its `gradient`.

    Under the stationary law of `model` its mean is zero, as that of StationaryIdentity.
    """

    model: Any
    function: Any
    inverse_temperature: float

    def validated(self, d: int) -> "IdentityOf":
        """Raises ValueError unless d >= 2, `inverse_temperature` is a number and both plug-ins are scale invariant;
        TypeError for a function without its `laplacian`."""
        first = StationaryIdentity(self.function, self.inverse_temperature, 1).validated(d)
        if not getattr(self.model, "scale_invariant", False):
            raise ValueError(f"`model` must be scale invariant: model={self.model!r}")
        return self._replace(inverse_temperature=first.inverse_temperature)


def stationary_identity(
    model: Any, dynamics: WeightDecaySDE, noise: Isotropic, d: int, powers: int = 3, of: Any = None
) -> StationaryIdentity | IdentityOf:
    """The identity at the equilibrium of a run with these constant rates and this noise in R^d, to observe in it:
    for L, ..., L^powers, or for the one function `of`.

    Raises TypeError for other dynamics or noise, ValueError for rates that are not positive numbers.
    """
    if not isinstance(dynamics, WeightDecaySDE) or not isinstance(noise, Isotropic):
        raise TypeError(
            f"the stationary law is known for WeightDecaySDE with Isotropic noise: dynamics={dynamics}, noise={noise}"
        )
    lr, weight_decay = checks.positive("lr", dynamics.lr), checks.positive("weight_decay", dynamics.weight_decay)
    sigma = checks.positive("sigma", noise.sigma)
    beta = 2.0 / sigma * float(np.sqrt((checks.integer("d", d, least=2) - 1) / (2.0 * lr * weight_decay)))
    return StationaryIdentity(model, beta, powers) if of is None else IdentityOf(model, of, beta)


@channels.of(StationaryIdentity)
def _channels(observer):
    """One a power."""
    return observer.powers


@workspace.of(StationaryIdentity)
def _workspace(observer, d):
    """The gradient, and the model's."""
    return d + workspace(observer.model, d)


@measure_all.of(StationaryIdentity)
def _identities(observer, w, out, work):
    """L^(k-2) (L a + (k-1) |w|^2 |grad L|^2), with a = Laplace L - beta |w|^2 |grad L|^2."""
    model, g, rest, q = observer.model, work[: w.size], work[w.size :], squared_norm(w)
    value, bend = loss(model, w, rest), laplacian(model, w, rest)
    c, square = prepare(model, w, q, g, rest), 0.0
    for i in range(w.size):
        slope = coordinate(model, c, load(w, i), i, g)
        square = fma(slope, slope, square)
    square = q * square
    first = fma(-observer.inverse_temperature, square, bend)
    store(out, 0, first)
    power = 1.0 + 0.0 * value
    for k in range(1, observer.powers):
        store(out, k, power * fma(value, first, k * square))
        power = power * value


@workspace.of(IdentityOf)
def _workspace_of(observer, d):
    """Two gradients, and what either plug-in needs."""
    return 2 * d + max(workspace(observer.model, d), workspace(observer.function, d))


@measure.of(IdentityOf)
def _identity_of(observer, w, work):
    """Laplace phi - beta |w|^2 <grad L, grad phi>."""
    d = w.size
    g, slope, rest = work[:d], work[d : 2 * d], work[2 * d :]
    gradient(observer.model, w, g, rest)
    gradient(observer.function, w, slope, rest)
    along = squared_norm(w) * inner(g, slope, d)
    return fma(-observer.inverse_temperature, along, laplacian(observer.function, w, rest))
