"""StrangAveraged, StrangSimpson: the Strang splitting observed half a drift flow before and after its state.

With half flows Phi = exp(D/2) and noise steps between them, the state w at the end of a step lies in the middle
of a drift flow: Phi^-1 w is the direction just after the noise of this step, Phi w the one just before the noise of
the next.  All three have the same time, so a symmetric combination of them keeps weak order 2 at every time.
"""

from typing import Any, NamedTuple

from sdetheory.integrators.geodesic import geodesic
from sdetheory.integrators.sphere_state import join
from sdetheory.integrators.strang import StrangGeodesic, ambient, carry, renew, stale
from sdetheory.lanes.vector import constant, fma, load, sqrt, store
from sdetheory.lanes.verbs import decode, decode_view, encode, extra, step, views, workspace
from sdetheory.models.noise import squared_norm


class StrangAveraged(NamedTuple):
    """StrangGeodesic whose observations are (f(Phi w) + f(Phi^-1 w))/2, before and after the noise.

    The same paths, also weak order 2, with another error constant: 5 to 38 times smaller than that of f(w) for
    losses that vary slowly, larger for concentrated laws (+(a h)^2/3 of the fluctuation for a drift rate a in
    units of lr wd).  Which observation to take at equilibrium is known beforehand: StrangAveraged for drift
    rates a below MILD_RATE, StrangSimpson above.  States and the squared norm are those at the end of the
    step.
    """

    weak_order = StrangGeodesic.weak_order
    strong_order = StrangGeodesic.strong_order
    calculus = StrangGeodesic.calculus
    weights = (0.0, 1 / 2, 1 / 2)  # of f(w), f(Phi w), f(Phi^-1 w)
    check_fits = StrangGeodesic.check_fits


class StrangSimpson(NamedTuple):
    """StrangGeodesic whose observations are (4 f(w) + f(Phi w) + f(Phi^-1 w))/6.

    The same paths, weak order 2.  In a concentrated law, the Ornstein-Uhlenbeck limit, the errors -(a h)^2/6 of
    f(w) and +(a h)^2/3 of the average cancel and the order is 4 at equilibrium; for losses that vary slowly the
    bias is no larger than that of f(w).  So it is the safe choice, and the one to extrapolate:
    Richardson(StrangSimpson()).  States and the squared norm are those at the end of the step.
    """

    weak_order = StrangGeodesic.weak_order
    strong_order = StrangGeodesic.strong_order
    calculus = StrangGeodesic.calculus
    weights = (4 / 6, 1 / 6, 1 / 6)  # of f(w), f(Phi w), f(Phi^-1 w)
    check_fits = StrangGeodesic.check_fits


MILD_RATE = 5.0  # drift rate a in units of lr wd: a h = .5 at h = .1, a usual step


@extra.of(StrangAveraged, StrangSimpson)
def _extra(integrator: Any, d: int) -> int:
    """The state of the splitting, and two directions."""
    return 24 + 3 * d


@workspace.of(StrangAveraged, StrangSimpson)
def _workspace(integrator: Any, d: int) -> int:
    """The splitting's."""
    return d


@encode.of(StrangAveraged, StrangSimpson)
def _encode(integrator: Any, w: Any, lr: float, y: Any) -> None:
    """The start is both directions."""
    d = w.size
    encode(StrangGeodesic(), w, lr, y[: 2 * d + 24])
    for i in range(d):
        store(y, 2 * d + 24 + i, load(w, i))
        store(y, 3 * d + 24 + i, load(w, i))


decode.of(StrangAveraged, StrangSimpson)(join)


@views.of(StrangAveraged, StrangSimpson)
def _views(integrator: Any) -> int:
    """w, Phi w, Phi^-1 w."""
    return 3


@decode_view.of(StrangAveraged, StrangSimpson)
def _decode_view(integrator: Any, y: Any, lr: float, k: int, w: Any) -> None:
    """The direction of the view with the norm at the end of the step."""
    d = w.size
    if k == 0:
        join(integrator, y, lr, w)
        return
    for i in range(d):
        store(w, i, load(y, (k + 1) * d + 24 + i))
    scale = sqrt(load(y, d) / squared_norm(w))
    for i in range(d):
        store(w, i, scale * load(w, i))


@step.of(StrangAveraged, StrangSimpson)
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
    """One splitting step; the first half flow of the next is taken ahead, and again if the clocks change."""
    d = (y.size - 24) // 4
    w, out, before, after = y[:d], y[d + 24 : 2 * d + 24], y[2 * d + 24 : 3 * d + 24], y[3 * d + 24 :]
    if stale(lr, weight_decay, dt, d, y):
        renew(model, noise, lr, weight_decay, dt, d, y, out)
        carry(model, w, load(y, d + 1), load(y, d + 23), out, work, before)
    half = load(y, d + 23)
    ww, wz, zz = constant(w, 0.0), constant(w, 0.0), constant(w, 0.0)
    for i in range(d):
        v = load(before, i)
        x = ambient(noise, v, z, i)
        ww = fma(v, v, ww)
        wz = fma(v, x, wz)
        zz = fma(x, x, zz)
    along, across = geodesic(load(y, d + 22), ww, wz, zz)
    for i in range(d):
        v = load(before, i)
        store(after, i, fma(along, v, across * ambient(noise, v, z, i)))
    q = carry(model, after, constant(w, 1.0), half, out, work, w)
    carry(model, w, q, half, out, work, before)
    store(y, d, load(y, d + 21))
    store(y, d + 1, q)
