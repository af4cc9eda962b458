"""StrangGeodesic: half a drift flow, one matched geodesic noise step, half a drift flow, on exact clocks.

For noise with constant isotropic trace, Sigma = sigma^2 P / |w|^2.  |w|^2 and both clocks are exact for every step;
without a loss E<w_t, w_0> is exact, without noise the flow is; in between the weak order is 2.
"""

from typing import Any, NamedTuple

from sdetheory.integrators.clocks import advance
from sdetheory.integrators.geodesic import geodesic, step_variance, store_coefficients
from sdetheory.integrators.half_flow import flow_coordinate, prepare_flow
from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.vector import constant, fma, load, sqrt, store
from sdetheory.lanes.verbs import decode, encode, extra, step, workspace
from sdetheory.models.noise import Isotropic, NoisyLinearBatch, NoNoise


class StrangGeodesic(NamedTuple):
    """Strang splitting on the sphere with exact clocks and a matched geodesic noise step (default for isotropic noise).

    State: direction (d rows), |w|^2, squared length of the stored direction, 15 rows of the dimension's noise table.
    One step costs about an Euler-Maruyama step.  Needs a noise that registers `isotropic_trace`.
    Weak order 2: with h = lr wd dt and drift rate a, the bias is about (a h)^2/6 of the fluctuation.
    """

    weak_order = 2.0
    strong_order = 0.5
    calculus = "ito"


# A noise with disturbance sigma P x / |w|, x = d standard normals, says so by its trace on the unit sphere; `ambient` is
# the i-th coordinate of x, by default the increment z_i itself (v is any lane of the state, for its width).
isotropic_trace = verb("isotropic_trace", "noise", "d")                 # -> sigma^2 (d - 1)


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
    """|w|^2, the squared length of the stored direction, the noise table."""
    return 17


@workspace.of(StrangGeodesic)
def _workspace(integrator: Any, d: int) -> int:
    """The moved direction, and the middle point of a midpoint rule."""
    return 2 * d


@encode.of(StrangGeodesic)
def _encode(integrator: Any, w: Any, lr: float, y: Any) -> None:
    """Direction and squared norm apart; the table of the matched step."""
    d = w.size
    q = 0.0
    for i in range(d):
        q = fma(load(w, i), load(w, i), q)
    for i in range(d):
        store(y, i, load(w, i) / sqrt(q))
    store(y, d, q)
    store(y, d + 1, 1.0)
    if d > 2:
        store_coefficients(d - 1.0, y, d + 2)


@decode.of(StrangGeodesic)
def _decode(integrator: Any, y: Any, lr: float, w: Any) -> None:
    """w = |w| times the direction."""
    d = w.size
    scale = sqrt(load(y, d) / load(y, d + 1))
    for i in range(d):
        store(w, i, scale * load(y, i))


@step.of(StrangGeodesic)
def _step(integrator: Any, model: Any, noise: Any, lr: float, weight_decay: float, dt: float,
          y: Any, z: Any, work: Any) -> None:
    """Drift B/2, noise A, drift B/2: every substep keeps the sphere, so only the last one's length is remembered."""
    d = y.size - 17
    w, out, rest = y[:d], work[:d], work[d:]
    m, turned, clock = advance(load(y, d), lr, weight_decay, isotropic_trace(noise, d), dt)
    half = 0.5 * clock
    c = prepare_flow(model, w, load(y, d + 1), half, out, rest)
    ww, wz, zz = 0.0, 0.0, 0.0
    for i in range(d):
        v = flow_coordinate(model, c, load(w, i), i, out)
        x = ambient(noise, v, z, i)
        store(w, i, v)
        ww = fma(v, v, ww)
        wz = fma(v, x, wz)
        zz = fma(x, x, zz)
    along, across = geodesic(step_variance(turned, d - 1.0, y, d + 2), ww, wz, zz)
    for i in range(d):
        v = load(w, i)
        store(w, i, fma(along, v, across * ambient(noise, v, z, i)))
    c = prepare_flow(model, w, constant(m, 1.0), half, out, rest)
    q = 0.0
    for i in range(d):
        v = flow_coordinate(model, c, load(w, i), i, out)
        store(w, i, v)
        q = fma(v, v, q)
    store(y, d, m)
    store(y, d + 1, q)
