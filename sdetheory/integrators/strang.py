"""StrangGeodesic: half a drift flow, one matched geodesic noise step, half a drift flow, on exact clocks.

For noise with constant isotropic trace, Sigma = sigma^2 P / |w|^2.  |w|^2 and both clocks are exact for every
step; without a loss E<w_t, w_0> is exact, without noise the flow is; in between the weak order is 2.
"""

from typing import Any, NamedTuple

from sdetheory.integrators.clocks import advance
from sdetheory.integrators.geodesic import geodesic, step_variance, store_coefficients
from sdetheory.integrators.half_flow import begin_flow, flow_coordinate, prepare_flow
from sdetheory.integrators.sphere_state import check_registered, check_scale_invariant, join, split
from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import any_lane, constant, fma, load, store
from sdetheory.lanes.verbs import decode, encode, extra, step, workspace
from sdetheory.models.noise import Isotropic, NoisyLinearBatch, NoNoise


class StrangGeodesic(NamedTuple):
    """Strang splitting on the sphere with exact clocks and a matched geodesic noise step (default for
    isotropic noise).

    One step costs about an Euler-Maruyama step.  Needs a noise that registers `isotropic_trace`.
    Weak order 2: with h = lr wd dt and drift rate a, the bias is about (a h)^2/6 of the fluctuation.
    StrangAveraged and StrangSimpson observe the same paths with less bias at equilibrium.
    """

    weak_order = 2.0
    strong_order = 0.5
    calculus = "ito"

    def check_fits(self, model: Any, noise: Any) -> None:
        """Raises ValueError unless all is scale-invariant and the noise isotropic with constant trace."""
        check_scale_invariant(self, model, noise)
        check_registered(self, noise, isotropic_trace, "StrangFrozen() or Flow2()")


# A noise with disturbance sigma P x / |w|, x = d standard normals, says so by its trace on the unit sphere;
# `ambient` is the i-th coordinate of x, by default the increment z_i itself (v is any lane of the state, for
# its width).
isotropic_trace = verb("isotropic_trace", "noise", "d")  # -> sigma^2 (d - 1)


def _increment(noise: Any, v: Any, z: Any, i: int) -> Any:
    """z_i."""
    return load(z, i)


ambient = verb("ambient", "noise", "v", "z", "i", default=_increment)


@isotropic_trace.of(Isotropic, NoisyLinearBatch)
def _isotropic_trace(noise: Any, d: int) -> float:
    """sigma^2 (d - 1)."""
    return noise.sigma * noise.sigma * (d - 1.0)


@isotropic_trace.of(NoNoise)
def _no_trace(noise: Any, d: int) -> float:
    """0."""
    return 0.0


@ambient.of(NoisyLinearBatch)
def _opposite_increment(noise: Any, v: Any, z: Any, i: int) -> Any:
    """-z_i: the batch -k <mu + (sigma/k) z, w>/|w| disturbs by -sigma P z."""
    return -load(z, i)


@ambient.of(NoNoise)
def _no_increment(noise: Any, v: Any, z: Any, i: int) -> Any:
    """0: z is empty."""
    return 0.0 * v


@extra.of(StrangGeodesic)
def _extra(integrator: Any, d: int) -> int:
    """|w|^2, the squared length of the stored direction, the noise table, the last clocks, the last flow."""
    return 24 + d


@workspace.of(StrangGeodesic)
def _workspace(integrator: Any, d: int) -> int:
    """The middle point of a midpoint rule."""
    return d


@encode.of(StrangGeodesic)
def _encode(integrator: Any, w: Any, lr: float, y: Any) -> None:
    """Direction and squared norm apart; the table of the matched step."""
    split(integrator, w, lr, y)
    if w.size > 2:
        store_coefficients(w.size - 1.0, y, w.size + 2)
    for k in range(w.size + 17, y.size):
        store(y, k, 0.0)


decode.of(StrangGeodesic)(join)


@part
def renew(model: Any, noise: Any, lr: float, weight_decay: float, dt: float, d: int, y: Any, out: Any) -> None:
    """Rows d + 17, ...: what was asked for, then |w|^2 after the step, variance of the noise, B/2."""
    m = load(y, d)
    after, turned, clock = advance(m, lr, weight_decay, isotropic_trace(noise, d), dt)
    begin_flow(model, 0.5 * clock, out)
    store(y, d + 17, m)
    store(y, d + 18, lr)
    store(y, d + 19, weight_decay)
    store(y, d + 20, dt)
    store(y, d + 21, after)
    store(y, d + 22, step_variance(turned, d - 1.0, y, d + 2))
    store(y, d + 23, 0.5 * clock)


@part
def stale(lr: float, weight_decay: float, dt: float, d: int, y: Any) -> bool:
    """Does any lane ask for clocks that are not the ones remembered?"""
    same = (load(y, d) == load(y, d + 17)) & (load(y, d + 18) == lr) & (load(y, d + 19) == weight_decay)
    return any_lane(~(same & (load(y, d + 20) == dt)))


@part
def carry(model: Any, w: Any, q: Any, half: Any, out: Any, work: Any, end: Any) -> Any:
    """end <- the direction w of squared length q after half a drift flow (end may be w); its squared length."""
    c = prepare_flow(model, w, q, half, out, work)
    square = constant(w, 0.0)
    for i in range(w.size):
        v = flow_coordinate(model, c, load(w, i), i, out)
        store(end, i, v)
        square = fma(v, v, square)
    return square


@step.of(StrangGeodesic)
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
    """Drift B/2, noise A, drift B/2.  Every substep keeps the sphere, so only the last length is kept."""
    d = (y.size - 24) // 2
    w, out = y[:d], y[d + 24 :]
    if stale(lr, weight_decay, dt, d, y):
        renew(model, noise, lr, weight_decay, dt, d, y, out)
    half = load(y, d + 23)
    c = prepare_flow(model, w, load(y, d + 1), half, out, work)
    ww, wz, zz = constant(w, 0.0), constant(w, 0.0), constant(w, 0.0)
    for i in range(d):
        v = flow_coordinate(model, c, load(w, i), i, out)
        x = ambient(noise, v, z, i)
        store(w, i, v)
        ww = fma(v, v, ww)
        wz = fma(v, x, wz)
        zz = fma(x, x, zz)
    along, across = geodesic(load(y, d + 22), ww, wz, zz)
    for i in range(d):
        v = load(w, i)
        store(w, i, fma(along, v, across * ambient(noise, v, z, i)))
    q = carry(model, w, constant(w, 1.0), half, out, work, w)
    store(y, d, load(y, d + 21))
    store(y, d + 1, q)
