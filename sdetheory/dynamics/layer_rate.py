"""SGD on scalar layers with Ginsburg's adaptive step: a learning rate that follows the layers of the moment."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sdetheory.dynamics.optimiser import Optimiser, batch_gradient, start
from sdetheory.dynamics.schedules import Rate
from sdetheory.lanes.vector import constant, fma, load, store
from sdetheory.lanes.verbs import encode, extra, step, workspace


class LayerRateStep(NamedTuple):
    """w' = (1 - h weight_decay) w - h g, h = lr/S(w), S = sum_i 1/w_i^2."""

    calculus = "discrete"

    def check_fits(self, model: Any, noise: Any) -> None:
        """Raises ValueError for layers that are not scalar: S would not be theirs."""
        widths = getattr(model, "widths", ())
        if any(width != 1 for width in widths):
            raise ValueError(f"`model` must have scalar layers for LayerRateSGD: widths={tuple(map(int, widths))}")


@dataclass(frozen=True)
class LayerRateSGD(Optimiser):
    """w' = (1 - h weight_decay) w - h (grad L(w) + noise), h = lr/S(w), S(w) = sum_i 1/w_i^2 at the current point.

    For chains of scalar layers, such as `scalar_chain`; without noise it is gradient descent.  lr = 1/4, the default,
    is Ginsburg's rate: on (W - 1)^2 from |W - 1| < 1/2 the loss falls at a linear rate and no imbalance grows.  At
    W = 1 the sharpness is 2 S, so that lr = 1 is the limit of stability there.  `lr` (units of h times 1/w^2) may be
    a schedule; a path with a layer that is exactly 0 stays where it is.

    Raises ValueError for negative or non-finite rates, and when run with a model whose layers are not scalar.
    Source: Ginsburg 2020, On regularization of gradient descent, layer imbalance and flat minima, theorems 3.1, 3.2.
    """

    lr: Rate = 0.25
    weight_decay: Rate = 0.0

    def stepper(self) -> Any:
        """The step that divides by S."""
        return LayerRateStep()


@step.of(LayerRateStep)
def _layer_rate_step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    d = y.size - 1
    batch_gradient(model, noise, y[:d], load(y, d), z, work)
    total = constant(y, 0.0)
    for i in range(d):
        total = total + 1.0 / (load(y, i) * load(y, i))
    h, q = lr / total, constant(y, 0.0)
    for i in range(d):
        x = fma(1.0 - h * weight_decay, load(y, i), -h * load(work, i))
        q = fma(x, x, q)
        store(y, i, x)
    store(y, d, q)


@extra.of(LayerRateStep)
def _extra(integrator, d):
    """|w|^2."""
    return 1


@workspace.of(LayerRateStep)
def _workspace(integrator, d):
    return 2 * d


@encode.of(LayerRateStep)
def _encode(integrator, w, lr, y):
    """(w, |w|^2)."""
    start(w, y)
