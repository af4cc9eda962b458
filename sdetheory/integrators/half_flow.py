"""The drift half flow of a splitting: the direction moved along dw/ds = -P grad L(w) on the unit sphere.

Closed forms for the losses that have one (von Mises-Fisher: a Moebius map; Rayleigh quotient and circle:
exponentials); every other model, including a user's, gets the explicit midpoint rule from its `gradient`
alone. A model of your own with a closed form registers `half_flow`; the pointwise pair below it is for models
whose flow is affine in each coordinate, and saves an array and a pass.
"""

from typing import Any

from sdetheory.integrators.elementary import exponential
from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.vector import constant, fma, load, sqrt, store
from sdetheory.lanes.verbs import gradient
from sdetheory.models.scale_invariant import Circle, NoLoss, Rayleigh, VonMisesFisher


def _midpoint(model: Any, w: Any, q: Any, s: Any, out: Any, work: Any) -> None:
    """Explicit midpoint rule in R^d, where the flow keeps |w| and the time q s is s on the sphere."""
    d = w.size
    middle, rest = work[:d], work[d:]
    gradient(model, w, out, rest)
    for i in range(d):
        store(middle, i, fma(-0.5 * q * s, load(out, i), load(w, i)))
    gradient(model, middle, out, rest)
    for i in range(d):
        store(out, i, fma(-q * s, load(out, i), load(w, i)))


# out <- any positive multiple of the direction w / sqrt(q) moved for the time s; q = |w|^2, s and q are lane
# vectors, work has d + workspace(model, d) rows.
half_flow = verb("half_flow", "model", "w", "q", "s", "out", "work", default=_midpoint)


def _nothing_to_begin(model: Any, s: Any, out: Any) -> None:
    """Any model: the flow depends on the direction."""


def _prepare_by_filling(model: Any, w: Any, q: Any, s: Any, out: Any, work: Any) -> Any:
    """Any model: move the whole direction."""
    half_flow(model, w, q, s, out, work)
    return (q,)


def _coordinate_of_filled(model: Any, c: Any, v: Any, i: int, out: Any) -> Any:
    """Any model: read the moved direction."""
    return load(out, i)


# The pointwise form.  begin_flow keeps in `out` (d rows) what depends on s alone: it is called when s
# changes, and `out` is left alone until then; prepare_flow returns what the coordinates share;
# flow_coordinate is the moved i-th coordinate.
begin_flow = verb("begin_flow", "model", "s", "out", default=_nothing_to_begin)
prepare_flow = verb("prepare_flow", "model", "w", "q", "s", "out", "work", default=_prepare_by_filling)
flow_coordinate = verb("flow_coordinate", "model", "c", "v", "i", "out", default=_coordinate_of_filled)


@begin_flow.of(VonMisesFisher)
def _begin_moebius(model: Any, s: Any, out: Any) -> None:
    """e^{-r}, r = k s."""
    store(out, 0, exponential(-model.k * s))


@prepare_flow.of(VonMisesFisher)
def _prepare_moebius(model: Any, w: Any, q: Any, s: Any, out: Any, work: Any) -> Any:
    """w + (sinh r + (cosh r - 1) <mu, w>) mu with r = k s, times 2 e^{-r}."""
    along = constant(w, 0.0)
    for i in range(w.size):
        along = fma(model.mu[i], load(w, i), along)
    e = load(out, 0)
    return 2.0 * e, (1.0 - e) * fma(1.0 + e, sqrt(q), (1.0 - e) * along)


@flow_coordinate.of(VonMisesFisher)
def _moebius(model: Any, c: Any, v: Any, i: int, out: Any) -> Any:
    """2 e^{-r} w_i + c mu_i."""
    return fma(c[1], model.mu[i], c[0] * v)


@begin_flow.of(Rayleigh)
def _begin_exponentials(model: Any, s: Any, out: Any) -> None:
    """e^{-2 s (a_i - min a)}: measured from the smallest entry nothing overflows."""
    least = model.a[0]
    for i in range(model.a.size):
        least = min(least, model.a[i])
    for i in range(model.a.size):
        store(out, i, exponential(-2.0 * (model.a[i] - least) * s))


@begin_flow.of(Circle)
def _begin_circle(model: Any, s: Any, out: Any) -> None:
    """(e^{-2 h s}, 1)."""
    store(out, 0, exponential(-2.0 * model.h * s))
    store(out, 1, 1.0)


@prepare_flow.of(NoLoss, Rayleigh, Circle)
def _prepare_factors(model: Any, w: Any, q: Any, s: Any, out: Any, work: Any) -> Any:
    """Nothing but the factors."""
    return (q,)


@flow_coordinate.of(Rayleigh, Circle)
def _factor(model: Any, c: Any, v: Any, i: int, out: Any) -> Any:
    """The factor times w_i."""
    return v * load(out, i)


@flow_coordinate.of(NoLoss)
def _still(model: Any, c: Any, v: Any, i: int, out: Any) -> Any:
    """w_i."""
    return v
