"""StrangFrozen: the Strang splitting for any noise, with the covariance frozen during a step."""

from typing import Any, NamedTuple

from sdetheory.integrators.clocks import norm_after
from sdetheory.integrators.geodesic import geodesic, matched_share, store_coefficients
from sdetheory.integrators.half_flow import begin_flow, flow_coordinate, prepare_flow
from sdetheory.integrators.sphere_state import check_scale_invariant, join, split, trace
from sdetheory.lanes.vector import constant, fma, load, store
from sdetheory.lanes.verbs import decode, disturb, draws, encode, extra, step, workspace
from sdetheory.models.noise import inner


class StrangFrozen(NamedTuple):
    """Half a drift flow, a geodesic step along G(w) z, half a drift flow; |w| by half steps with Tr Sigma at
    both ends.

    Any scale-invariant noise, also one whose trace or covariance depends on the direction: register `trace`
    for it, or pay for one `disturb` an increment.  Weak order 1 with a small constant (2 if Sigma is
    isotropic with constant trace), made for `Richardson`.  The tangent's length is matched as if Sigma were
    isotropic with the same trace.
    """

    calculus = "ito"
    strong_order = 0.5
    weak_order = 1.0

    def check_fits(self, model: Any, noise: Any) -> None:
        """Raises ValueError unless model and noise are scale-invariant."""
        check_scale_invariant(self, model, noise)


@extra.of(StrangFrozen)
def _extra(integrator: Any, d: int) -> int:
    """|w|^2, the squared length of the stored direction, the table of the matched step."""
    return 17


@workspace.of(StrangFrozen)
def _workspace(integrator: Any, d: int) -> int:
    """The moved direction, the disturbance, the middle point of a midpoint rule."""
    return 3 * d


@encode.of(StrangFrozen)
def _encode(integrator: Any, w: Any, lr: float, y: Any) -> None:
    """Direction and squared norm apart; the table of the matched step."""
    split(integrator, w, lr, y)
    if w.size > 2:
        store_coefficients(w.size - 1.0, y, w.size + 2)


decode.of(StrangFrozen)(join)


@step.of(StrangFrozen)
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
    """Norm, drift, noise, drift, norm."""
    d = y.size - 17
    w, out, g, rest, increments = y[:d], work[:d], work[d : 2 * d], work[2 * d :], z[: draws(noise, d)]
    s = trace(noise, w, load(y, d + 1), increments, rest)
    m = norm_after(load(y, d), lr, weight_decay, s, 0.5 * dt)
    speed = lr / m
    half = 0.5 * dt * speed
    begin_flow(model, half, out)
    c = prepare_flow(model, w, load(y, d + 1), half, out, rest)
    ww = constant(w, 0.0)
    for i in range(d):
        v = flow_coordinate(model, c, load(w, i), i, out)
        store(w, i, v)
        ww = fma(v, v, ww)
    disturb(noise, w, z, g, rest)
    eta = 0.5 * dt * speed * speed * s
    scale = dt * speed * speed * ww * matched_share(eta, d - 1.0, y, d + 2)
    along, across = geodesic(scale, ww, inner(w, g, d), inner(g, g, d))
    for i in range(d):
        store(w, i, fma(along, load(w, i), across * load(g, i)))
    c = prepare_flow(model, w, constant(w, 1.0), half, out, rest)
    q = constant(w, 0.0)
    for i in range(d):
        v = flow_coordinate(model, c, load(w, i), i, out)
        store(w, i, v)
        q = fma(v, v, q)
    store(y, d, norm_after(m, lr, weight_decay, trace(noise, w, q, increments, rest), 0.5 * dt))
    store(y, d + 1, q)
