"""ProjectedEulerMaruyama: an Euler step of the direction projected on the sphere, an exact norm step."""

from typing import Any, NamedTuple

import numpy as np

from sdetheory.integrators.clocks import norm_after
from sdetheory.integrators.sphere_state import check_scale_invariant, join, split, trace
from sdetheory.lanes.vector import constant, fma, load, sqrt, store
from sdetheory.lanes.verbs import (
    coordinate,
    coordinate_noise,
    decode,
    draws,
    encode,
    extra,
    prepare,
    prepare_noise,
    step,
    workspace,
)


class ProjectedEulerMaruyama(NamedTuple):
    """w' = Pi(w - e dt grad L(w) + e sqrt(dt) G(w) z) on the unit sphere, e = lr/|w|^2 in mid-step.

    |w| follows its exact equation with Tr Sigma as at the start of the step.
    Any noise.  The projection supplies the Ito correction, so the scheme converges to the Ito solution.
    The baseline the splittings are measured against: weak order 1, exact in |w| when the trace is constant.
    """

    calculus = "ito"
    strong_order = 0.5
    weak_order = 1.0

    def check_fits(self, model: Any, noise: Any) -> None:
        """Raises ValueError unless model and noise are scale-invariant."""
        check_scale_invariant(self, model, noise)


extra.of(ProjectedEulerMaruyama)(lambda integrator, d: 2)
encode.of(ProjectedEulerMaruyama)(split)
decode.of(ProjectedEulerMaruyama)(join)


@workspace.of(ProjectedEulerMaruyama)
def _workspace(integrator: Any, d: int) -> int:
    """Gradient and disturbance."""
    return 2 * d


@step.of(ProjectedEulerMaruyama)
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
    d = y.size - 2
    w, f, g, rest = y[:d], work[:d], work[d : 2 * d], work[2 * d :]
    m, q = load(y, d), load(y, d + 1)
    s = trace(noise, w, q, z[: draws(noise, d)], rest)
    speed = lr / norm_after(m, lr, weight_decay, s, 0.5 * dt)
    a, b = np.sqrt(dt) * speed, dt * speed
    c, e = prepare(model, w, q, f, rest), prepare_noise(noise, w, q, z, g, rest)
    square = constant(w, 0.0)
    for i in range(d):
        v = load(w, i)
        move = fma(-b, coordinate(model, c, v, i, f), a * coordinate_noise(noise, e, v, z, i, g))
        v = v + move
        square = fma(v, v, square)
        store(w, i, v)
    scale = 1.0 / sqrt(square)
    for i in range(d):
        store(w, i, scale * load(w, i))
    store(y, d, norm_after(m, lr, weight_decay, s, dt))
    store(y, d + 1, 1.0)
