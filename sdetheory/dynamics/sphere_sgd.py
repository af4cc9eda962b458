"""SGD on the sphere: every step is followed by a return to the sphere of the start."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sdetheory.dynamics.optimiser import Optimiser, batch_gradient, start
from sdetheory.dynamics.schedules import Rate, check_constant, sample
from sdetheory.lanes.vector import constant, fma, load, sqrt, store
from sdetheory.lanes.verbs import encode, extra, step, workspace


class SphereStep(NamedTuple):
    """w' = |w| x/|x| with x = w - lr |w|^2 g: the direction moves by projected SGD with effective lr `lr`.

    State: w and the square of the radius, which never changes.
    """

    calculus = "discrete"


@dataclass(frozen=True, init=False, repr=False)
class SphereSGD(Optimiser):
    """w' = |w| x/|x|, x = w - effective_lr |w|^2 g: SGD on the sphere through the start, effective lr fixed.

    effective_lr (a number or a schedule) is lr/|w|^2, in units of 1/loss.  It is SGD with weight decay in
    another gauge: the schedule lr/((1 - lr wd) |w_t|^2) of a path reproduces the directions of that path.

    Raises ValueError for a negative or non-finite effective_lr.
    Source: M. Kodryan et al. (2022), Training scale-invariant neural networks on the sphere, section 2.
    """

    def __init__(self, effective_lr: Rate) -> None:
        check_constant("effective_lr", effective_lr)
        object.__setattr__(self, "lr", effective_lr)
        object.__setattr__(self, "weight_decay", 0.0)

    def __repr__(self) -> str:
        return f"SphereSGD(effective_lr={self.lr!r})"

    @property
    def effective_lr(self) -> Rate:
        """What was given."""
        return self.lr

    def rates(self, steps: int, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """effective_lr of every step, and no weight decay."""
        return sample("effective_lr", self.lr, np.arange(steps), signed=False), np.zeros(1)

    def stepper(self) -> Any:
        """The projected step."""
        return SphereStep()


@step.of(SphereStep)
def _sphere_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = y.size - 1
    q = load(y, d)
    batch_gradient(model, noise, y[:d], q, z, work)
    size = constant(y, 0.0)
    for i in range(d):
        x = fma(-lr * q, load(work, i), load(y, i))
        size = fma(x, x, size)
        store(y, i, x)
    scale = sqrt(q / size)
    for i in range(d):
        store(y, i, scale * load(y, i))


@extra.of(SphereStep)
def _extra(integrator, d):
    """The squared radius."""
    return 1


@workspace.of(SphereStep)
def _workspace(integrator, d):
    return 2 * d


@encode.of(SphereStep)
def _encode(integrator, w, lr, y):
    """(w, |w|^2)."""
    start(w, y)
