"""Flow2: a splitting of weak order 2 for Sigma = P C P with any constant covariance C."""

from typing import Any, NamedTuple

from sdetheory.integrators.clocks import norm_after
from sdetheory.integrators.elementary import exponential
from sdetheory.integrators.sphere_state import check_registered, check_scale_invariant, join, split
from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import constant, fma, load, maximum, sqrt, store
from sdetheory.lanes.verbs import decode, encode, extra, gradient, step, workspace
from sdetheory.models.noise import Covariance, Isotropic, inner

_TINY = 1e-150


class Flow2(NamedTuple):
    """Half a drift flow, the flow of one random vector field w' = P b, half a drift flow; weak order 2 for
    Sigma = P C P.

    With T = dt/gamma, y = C w, q = <w, y>, x = root z (covariance C), the field of the step is
    b = sqrt(T) [x + T ((q/8 + Tr C/12) x - C x/12 - y <w, x>/8)] + (T^2/8) (C y - Tr C y),
    a Moebius flow of the sphere; the Stratonovich drift (T/2) P C w goes into the drift flow (explicit
    midpoint), and gamma takes half steps with Tr Sigma = Tr C - q at both ends. Needs a noise that registers
    `spread` (root z), `covary` (C x) and `covariance_trace`.
    """

    calculus = "ito"
    strong_order = 0.5
    weak_order = 2.0

    def check_fits(self, model: Any, noise: Any) -> None:
        """Raises ValueError unless all is scale-invariant and Sigma a projected constant covariance."""
        check_scale_invariant(self, model, noise)
        check_registered(self, noise, covary, "StrangFrozen()")


spread = verb("spread", "noise", "z", "out")  # out <- root z, C = root root^T
covary = verb("covary", "noise", "x", "out")  # out <- C x
covariance_trace = verb("covariance_trace", "noise", "d")  # -> Tr C


@spread.of(Covariance)
def _spread(noise: Any, z: Any, out: Any) -> None:
    """root z."""
    for i in range(out.size):
        s = constant(out, 0.0)
        for k in range(noise.root.shape[1]):
            s = fma(noise.root[i, k], load(z, k), s)
        store(out, i, s)


@covary.of(Covariance)
def _covary(noise: Any, x: Any, out: Any) -> None:
    """root root^T x."""
    for i in range(out.size):
        store(out, i, 0.0)
    for k in range(noise.root.shape[1]):
        s = constant(x, 0.0)
        for i in range(x.size):
            s = fma(noise.root[i, k], load(x, i), s)
        for i in range(x.size):
            store(out, i, fma(noise.root[i, k], s, load(out, i)))


@covariance_trace.of(Covariance)
def _covariance_trace(noise: Any, d: int) -> float:
    """|root|^2."""
    total = 0.0
    for i in range(noise.root.shape[0]):
        for k in range(noise.root.shape[1]):
            total += noise.root[i, k] * noise.root[i, k]
    return total


@spread.of(Isotropic)
def _spread_isotropic(noise: Any, z: Any, out: Any) -> None:
    """sigma z."""
    for i in range(out.size):
        store(out, i, noise.sigma * load(z, i))


@covary.of(Isotropic)
def _covary_isotropic(noise: Any, x: Any, out: Any) -> None:
    """sigma^2 x."""
    for i in range(out.size):
        store(out, i, noise.sigma * noise.sigma * load(x, i))


@covariance_trace.of(Isotropic)
def _covariance_trace_isotropic(noise: Any, d: int) -> float:
    """d sigma^2."""
    return noise.sigma * noise.sigma * d


@extra.of(Flow2)
def _extra(integrator: Any, d: int) -> int:
    """|w|^2 and the squared length of the stored direction."""
    return 2


@workspace.of(Flow2)
def _workspace(integrator: Any, d: int) -> int:
    """Four vectors."""
    return 4 * d


encode.of(Flow2)(split)
decode.of(Flow2)(join)


@part
def _field(model: Any, noise: Any, w: Any, drift: Any, stray: Any, out: Any, image: Any, rest: Any) -> None:
    """out <- -drift |w|^2 grad L(w) + stray P C w: homogeneous of degree 1, so that |w| does not matter."""
    gradient(model, w, out, rest)
    covary(noise, w, image)
    q = inner(w, w, w.size)
    along = inner(w, image, w.size) / q
    for i in range(w.size):
        store(out, i, fma(-drift * q, load(out, i), stray * fma(-along, load(w, i), load(image, i))))


@part
def _drift(model: Any, noise: Any, w: Any, drift: Any, stray: Any, work: Any) -> None:
    """w <- the unit vector after drift and Stratonovich drift of half a step, by the midpoint rule."""
    d = w.size
    out, image, middle, rest = work[:d], work[d : 2 * d], work[2 * d : 3 * d], work[4 * d :]
    _field(model, noise, w, drift, stray, out, image, rest)
    for i in range(d):
        store(middle, i, fma(0.5, load(out, i), load(w, i)))
    _field(model, noise, middle, drift, stray, out, image, rest)
    square = constant(w, 0.0)
    for i in range(d):
        v = load(w, i) + load(out, i)
        store(w, i, v)
        square = fma(v, v, square)
    scale = 1.0 / sqrt(square)
    for i in range(d):
        store(w, i, scale * load(w, i))


@part
def _random_field(noise: Any, w: Any, z: Any, t: Any, work: Any) -> None:
    """work[:d] <- the random field of the step at the unit vector w."""
    d = w.size
    b, y, cy, cx = work[:d], work[d : 2 * d], work[2 * d : 3 * d], work[3 * d : 4 * d]
    trace, root = covariance_trace(noise, d), sqrt(t)
    spread(noise, z, b)
    covary(noise, b, cx)
    covary(noise, w, y)
    covary(noise, y, cy)
    along = fma(t, fma(0.125, inner(w, y, d), trace / 12.0), 1.0)
    across = 0.125 * t * inner(w, b, d)
    for i in range(d):
        x = fma(along, load(b, i), t * (-1.0 / 12.0) * load(cx, i)) - across * load(y, i)
        store(b, i, fma(root, x, 0.125 * t * t * (load(cy, i) - trace * load(y, i))))


@part
def _moebius(w: Any, b: Any) -> None:
    """w <- the flow of w' = b - <b, w> w for the time 1, from a unit vector."""
    d = w.size
    r = sqrt(inner(b, b, d))
    e = exponential(-r)
    share = (1.0 - e) / maximum(r, _TINY)
    push = share * fma(share, inner(b, w, d), 1.0 + e)
    for i in range(d):
        store(w, i, fma(2.0 * e, load(w, i), push * load(b, i)))


@step.of(Flow2)
def _step(
    integrator: Any,
    model: Any,
    noise: Any,
    lr: float,
    weight_decay: float,
    dt: float,
    y: Any,
    z: Any,
    work: Any,
) -> None:
    """Norm, drift, random flow, drift, norm."""
    d = y.size - 2
    w, b, image = y[:d], work[:d], work[d : 2 * d]
    trace = covariance_trace(noise, d)
    covary(noise, w, image)
    m = norm_after(load(y, d), lr, weight_decay, trace - inner(w, image, d), 0.5 * dt)
    speed = lr / m
    t = dt * speed * speed
    _drift(model, noise, w, 0.5 * dt * speed, 0.25 * t, work)
    _random_field(noise, w, z, t, work)
    _moebius(w, b)
    _drift(model, noise, w, 0.5 * dt * speed, 0.25 * t, work)
    covary(noise, w, image)
    store(y, d, norm_after(m, lr, weight_decay, trace - inner(w, image, d), 0.5 * dt))
