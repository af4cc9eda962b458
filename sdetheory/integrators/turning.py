"""The turn of the direction in one step, recorded along any discrete rule."""

from typing import Any, NamedTuple

import numpy as np

from sdetheory.ensemble import Ensemble
from sdetheory.integrators.euler_maruyama import TrainingStep
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import load, sqrt, store
from sdetheory.lanes.verbs import (
    decode,
    decode_view,
    encode,
    extra,
    step,
    substeps,
    views,
    workspace,
)
from sdetheory.models.noise import squared_norm


class Turning(NamedTuple):
    """The steps of `scheme`, unchanged, the state before the last one kept: `turn_cosine` reads the turn.

    Observers see the state (view 0, the values) and x/|x| + y/|y| of the last two states (view 1), whose
    squared norm is 2 + 2 cos(turn).  ``turning(dynamics)`` makes one for a training rule.
    """

    scheme: Any = TrainingStep()
    weights = (1.0, 0.0)

    @property
    def calculus(self) -> str:
        """The scheme's."""
        return self.scheme.calculus

    def check_fits(self, model: Any, noise: Any) -> None:
        """What the scheme asks of model and noise."""
        if hasattr(self.scheme, "check_fits"):
            self.scheme.check_fits(model, noise)


def turning(dynamics: Any) -> Turning:
    """Turning around the step of a discrete training rule; pass it as `integrator`.

    Raises ValueError for a rule in continuous time.
    """
    if "discrete" not in dynamics.calculi:
        raise ValueError(f"`dynamics` must be a discrete training rule: dynamics={dynamics}")
    return Turning(dynamics.stepper() if hasattr(dynamics, "stepper") else TrainingStep())


def turn_cosine(ensemble: Ensemble, name: str = "squared_norm") -> np.ndarray:
    """cos of the angle by which the last step before each time turned the direction, (paths, T); 1 at time 0.

    `name` is the name under which SquaredNorm() was observed in a run with ``integrator=turning(dynamics)``.
    Raises ValueError for a run without it.
    """
    if not isinstance(ensemble.how["integrator"], Turning) or name not in ensemble.views:
        raise ValueError(
            f"`ensemble` must come from integrator=turning(dynamics), SquaredNorm() observed as {name!r}: "
            f"integrator={ensemble.how['integrator']}, observed {', '.join(ensemble.views) or 'nothing'}"
        )
    return 0.5 * ensemble.views[name][1] - 1.0


@part
def _dimension(scheme: Any, rows: int) -> int:
    """d of a state of `rows` rows: the scheme's d + extra, and d more."""
    d = rows // 2
    while 2 * d + extra(scheme, d) > rows:
        d -= 1
    return d


@part
def _normalise(w: Any) -> None:
    """w <- w/|w|."""
    scale = 1.0 / sqrt(squared_norm(w))
    for i in range(w.size):
        store(w, i, scale * load(w, i))


@step.of(Turning)
def _step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = _dimension(integrator.scheme, y.size)
    inner = y[: y.size - d]
    decode(integrator.scheme, inner, lr, y[y.size - d :])
    step(integrator.scheme, model, noise, lr, weight_decay, dt, inner, z, work)


@extra.of(Turning)
def _extra(integrator, d):
    """The scheme's, and the state before."""
    return d + extra(integrator.scheme, d)


@workspace.of(Turning)
def _workspace(integrator, d):
    """The scheme's."""
    return workspace(integrator.scheme, d)


@substeps.of(Turning)
def _substeps(integrator):
    """The scheme's."""
    return substeps(integrator.scheme)


@encode.of(Turning)
def _encode(integrator, w, lr, y):
    """The start, before which it was the start."""
    rows = y.size - w.size
    encode(integrator.scheme, w, lr, y[:rows])
    for i in range(w.size):
        store(y, rows + i, load(w, i))


@decode.of(Turning)
def _decode(integrator, y, lr, w):
    """The scheme's."""
    decode(integrator.scheme, y[: y.size - w.size], lr, w)


@views.of(Turning)
def _views(integrator):
    """The state, and the sum of the last two directions."""
    return 2


@decode_view.of(Turning)
def _decode_view(integrator, y, lr, k, w):
    """k = 0: the state; 1: the sum of the last two directions."""
    d = w.size
    decode(integrator.scheme, y[: y.size - d], lr, w)
    if k == 1:
        before = y[y.size - d :]
        _normalise(w)
        scale = 1.0 / sqrt(squared_norm(before))
        for i in range(d):
            store(w, i, load(w, i) + scale * load(before, i))
