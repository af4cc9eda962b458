"""Optimisers: training rules whose step has a memory of its own, and what their kernels share."""

from dataclasses import dataclass
from typing import Any

from sdetheory import checks
from sdetheory.dynamics.rules import SGD
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import constant, fma, load, store
from sdetheory.lanes.verbs import coordinate, coordinate_noise, prepare, prepare_noise


@dataclass(frozen=True)
class Optimiser(SGD):
    """SGD with a step of its own: `stepper()` is the plug-in that makes the step, memory included.

    Runs through ``simulate`` like SGD, with the same schedules, models and noises; g below is the gradient of
    the batch, grad L(w) + noise.
    """

    def stepper(self) -> Any:
        """The plug-in of calculus "discrete" that makes one step."""
        raise NotImplementedError(f"{type(self).__name__} must define stepper()")

    def check_integrator(self, integrator: Any) -> None:
        """Raises ValueError for an integrator other than this rule's step (or a recorder around it)."""
        inner, own = getattr(integrator, "scheme", integrator), self.stepper()
        if type(inner) is not type(own) or inner != own:
            raise ValueError(
                f"`integrator` must be left out for {type(self).__name__}, which makes its own step: "
                f"integrator={integrator}"
            )


def fraction(name: str, value: Any) -> float:
    """A number in [0, 1), as a float."""
    number = checks.nonnegative(name, value)
    if number >= 1.0:
        raise ValueError(f"`{name}` must be below 1: {name}={value!r}")
    return number


@part
def batch_gradient(model: Any, noise: Any, w: Any, q: Any, z: Any, work: Any) -> None:
    """work[:d] <- grad L(w) + G(w) z; the next d rows are scratch, the rest goes to model and noise."""
    d = w.size
    f, g, rest = work[:d], work[d : 2 * d], work[2 * d :]
    c = prepare(model, w, q, f, rest)
    s = prepare_noise(noise, w, q, z, g, rest)
    for i in range(d):
        v = load(w, i)
        store(f, i, coordinate(model, c, v, i, f) + coordinate_noise(noise, s, v, z, i, g))


@part
def start(w: Any, y: Any) -> None:
    """y <- (w, |w|^2, 0, ..., 0): nothing remembered yet."""
    q = constant(w, 0.0)
    for i in range(w.size):
        v = load(w, i)
        q = fma(v, v, q)
        store(y, i, v)
    store(y, w.size, q)
    for i in range(w.size + 1, y.size):
        store(y, i, 0.0)
