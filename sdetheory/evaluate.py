"""One state through the compiled kernels, as plain numpy in and out: what the simulations really use."""

from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.dynamics.rules import GradientDescent, GradientFlow, WeightDecaySDE, default_integrator
from sdetheory.lanes import verbs
from sdetheory.lanes.cache import compiled
from sdetheory.lanes.tag import tag
from sdetheory.lanes.vector import WIDTHS, float_rows, lane_array
from sdetheory.models.noise import NoNoise
from sdetheory.plugins import canonical

WIDTH = WIDTHS[0]


@compiled
def _gradient(tag, model, w, out, work):
    """Entry point of `gradient`."""
    verbs.gradient(model, w, out, work)


@compiled
def _loss(tag, model, w, out, work):
    """Entry point of `loss`."""
    verbs.store(out, 0, verbs.loss(model, w, work))


@compiled
def _disturb(tag, noise, w, z, out, work):
    """Entry point of `diffusion`."""
    verbs.disturb(noise, w, z, out, work)


@compiled
def _step(tag, integrator, model, noise, w, z, lr, weight_decay, dt, y, work):
    """Entry point of `step`."""
    verbs.encode(integrator, w, lr, y)
    verbs.step(integrator, model, noise, lr, weight_decay, dt, y, z, work)
    verbs.decode(integrator, y, lr, w)


def _lanes(values: np.ndarray, spare: int = 0) -> np.ndarray:
    """A vector (d,) in every lane, or the columns of (d, WIDTH), with spare rows of zeros."""
    out = lane_array(len(values) + spare, WIDTH)
    float_rows(out)[: len(values)] = values[:, None] if values.ndim == 1 else values
    return out


def _state(w: Any) -> np.ndarray:
    return checks.shape("w", checks.finite("w", w), (None,))


def gradient(model: Any, w: Any) -> np.ndarray:
    """grad L(w), shape (d,), at one state w (d,)."""
    w = _state(w)
    model, out = canonical(model, w.size), lane_array(w.size, WIDTH)
    _gradient(tag(model), model, _lanes(w), out, lane_array(verbs.workspace.python(model, w.size) + 1, WIDTH))
    return float_rows(out)[:, 0].copy()


def loss(model: Any, w: Any) -> float:
    """L(w) at one state w (d,)."""
    w = _state(w)
    model, out = canonical(model, w.size), lane_array(1, WIDTH)
    _loss(tag(model), model, _lanes(w), out, lane_array(verbs.workspace.python(model, w.size) + 1, WIDTH))
    return float(float_rows(out)[0, 0])


def diffusion(noise: Any, w: Any) -> np.ndarray:
    """The matrix G(w) of shape (d, n) with disturbance G z, so that Sigma_w = G G^T; w has shape (d,).

    Raises ValueError for a noise whose disturbance is not linear in z: it has no such matrix.
    """
    w = _state(w)
    noise = canonical(noise, w.size)
    if not getattr(noise, "linear", True):
        raise ValueError(f"`noise` must be linear in its increments: {type(noise).__name__} is not")
    n, work = verbs.draws.python(noise, w.size), lane_array(verbs.workspace.python(noise, w.size) + 1, WIDTH)
    out, columns = lane_array(w.size, WIDTH), np.empty((w.size, n))
    for first in range(0, n, WIDTH):
        _disturb(
            tag(noise), noise, _lanes(w), _lanes(np.eye(n, n + WIDTH)[:, first : first + WIDTH], 2), out, work
        )
        columns[:, first : first + WIDTH] = float_rows(out)[:, : n - first]
    return columns


def step(
    rule: Any,
    model: Any,
    noise: Any,
    w: Any,
    z: Any,
    *,
    lr: float = 1.0,
    weight_decay: float = 0.0,
    dt: float = 1.0,
) -> np.ndarray:
    """The state (d,) one step after w (d,), with the increments z given.

    rule: an integrator, or dynamics with constant rates (then lr and weight_decay are its own, and the
    integrator the default one).  z: (n,), or (substeps, n) for an integrator that consumes several base
    increments a step.
    """
    w = _state(w)
    model, noise = canonical(model, w.size), canonical(NoNoise() if noise is None else noise, w.size)
    if isinstance(rule, GradientFlow | GradientDescent | WeightDecaySDE):
        lr, weight_decay = (float(rate[0]) for rate in rule.rates(1, dt))
        rule = default_integrator(rule, model, noise)
    rule = canonical(rule, w.size)
    n, count = verbs.draws.python(noise, w.size), verbs.substeps.python(rule)
    z = checks.finite("z", z).reshape(-1)
    checks.shape("z", z, (n * count,))
    own = verbs.workspace.python(rule, w.size)
    rows = own + max(verbs.workspace.python(model, w.size), verbs.workspace.python(noise, w.size)) + 1
    state = _lanes(w)
    _step(
        tag(rule, model, noise),
        rule,
        model,
        noise,
        state,
        _lanes(z, 2),
        checks.real("lr", lr),
        checks.real("weight_decay", weight_decay),
        checks.positive("dt", dt),
        lane_array(w.size + verbs.extra.python(rule, w.size), WIDTH),
        lane_array(rows, WIDTH),
    )
    return float_rows(state)[:, 0].copy()
