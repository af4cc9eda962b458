"""Training rules: what the state obeys, apart from the model, the noise and the numerics."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sdetheory.dynamics.schedules import Rate, check_constant, sample


@dataclass(frozen=True)
class GradientFlow:
    """dw/dt = -grad L(w) - weight_decay w."""

    weight_decay: Rate = 0.0
    calculi = ("ode",)
    noisy = False

    def __post_init__(self) -> None:
        check_constant("weight_decay", self.weight_decay)

    def rates(self, steps: int, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """lr = 1 and weight_decay of every step, taken at the middle of the step."""
        return np.ones(1), sample(
            "weight_decay", self.weight_decay, (np.arange(steps) + 0.5) * dt, signed=True
        )


@dataclass(frozen=True)
class GradientDescent:
    """w' = (1 - lr weight_decay) w - lr grad L(w)."""

    lr: Rate
    weight_decay: Rate = 0.0
    calculi = ("discrete",)
    noisy = False

    def __post_init__(self) -> None:
        check_constant("lr", self.lr)
        check_constant("weight_decay", self.weight_decay)

    def rates(self, steps: int, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """lr and weight_decay of steps 0, 1, ...; a weight-decay *schedule* may be negative (gauge changes
        need it).
        """
        times = np.arange(steps)
        return sample("lr", self.lr, times, signed=False), sample(
            "weight_decay", self.weight_decay, times, signed=True
        )


@dataclass(frozen=True)
class SGD(GradientDescent):
    """w' = (1 - lr weight_decay) w - lr (grad L(w) + noise): with a batch noise, exact mini-batch SGD."""

    noisy = True


@dataclass(frozen=True)
class WeightDecaySDE:
    """dW = -lr weight_decay W dt - lr grad L(W) dt + lr Sigma_W^(1/2) dB; time unit: one SGD step.

    Source: Li, Lyu, Arora (2020), section 2.
    """

    lr: Rate
    weight_decay: Rate
    calculi = ("ito", "stratonovich")
    noisy = True

    def __post_init__(self) -> None:
        check_constant("lr", self.lr)
        check_constant("weight_decay", self.weight_decay)

    def rates(self, steps: int, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """lr and weight_decay of every step, taken at the middle of the step."""
        times = (np.arange(steps) + 0.5) * dt
        return sample("lr", self.lr, times, signed=False), sample(
            "weight_decay", self.weight_decay, times, signed=True
        )


Dynamics = GradientFlow | GradientDescent | SGD | WeightDecaySDE


def default_integrator(dynamics: Any, model: Any, noise: Any) -> Any:
    """The integrator a run gets when it names none."""
    from sdetheory import integrators

    if hasattr(dynamics, "stepper"):
        return dynamics.stepper()
    if "discrete" in dynamics.calculi:
        return integrators.TrainingStep()
    if "ode" in dynamics.calculi:
        return integrators.DOP853()
    if type(noise).__name__ == "Isotropic" and getattr(model, "scale_invariant", False):
        return integrators.StrangGeodesic()
    return integrators.EulerMaruyama()
