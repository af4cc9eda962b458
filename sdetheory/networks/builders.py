"""Networks from switches: perceptrons and convolutional nets, with or without normalisation, skips, ...

The switches are those of a factorial experiment: nets that differ in activation, in the place of the
normalisation, in eps, or in skip connections (between equal widths) share the layout of their parameters and,
seed by seed, their start.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from sdetheory import checks
from sdetheory.networks.activations import ACTIVATIONS
from sdetheory.networks.chain import Residual
from sdetheory.networks.layers import BatchNorm, Dense, Layer
from sdetheory.networks.network import Network


def mlp(
    widths: Sequence[int],
    *,
    activation: str | Layer = "relu",
    normalised: bool = True,
    normalised_output: bool = False,
    norm: str = "before",
    eps: float = 0.0,
    affine: bool = False,
    residual: bool = False,
    frozen_output: bool = False,
) -> Network:
    """A multilayer perceptron, batch normalisation `norm` ("before" or "after") its activations.

    widths: inputs, hidden ..., classes. `eps` (0 is exact scale invariance) and `affine` (trainable scale and
    shift) describe every normalisation; `normalised_output` puts one on the logits, so that every weight is
    scale invariant; `frozen_output` keeps the last product at its start. A net without normalisation has
    biases; with it, the only one is at the logits (unless they are frozen or normalised). `activation`:
    "linear", "sigmoid", "tanh", "relu", "gelu", or a layer of your own.

    residual: from the second hidden layer on x + phi(BN(W x)) instead of phi(BN(W x)); where the width changes,
    BN(V x) stands for x. Raises ValueError for fewer than two widths, widths below 1 (classes below 2), eps < 0,
    an unknown activation or norm.
    """
    sizes = [checks.integer(f"widths[{i}]", width, 1) for i, width in enumerate(widths)]
    if len(sizes) < 2 or sizes[-1] < 2:
        raise ValueError(
            f"`widths` must be inputs, hidden ..., classes with at least 2 classes: widths={tuple(widths)}"
        )
    units = _units(activation, normalised, norm, eps, affine, residual)
    layers: list[Layer] = []
    for number, (fan_in, fan_out) in enumerate(pairwise(sizes[:-1])):
        product = Dense(fan_in, fan_out, bias=not normalised)
        other = None if fan_in == fan_out else Dense(fan_in, fan_out)
        layers += units.hidden(product, fan_out, other) if number else units.plain(product, fan_out)
    return Network((*layers, *units.output(sizes[-2], sizes[-1], normalised_output, frozen_output)))


class _Units(NamedTuple):
    """How a product becomes a hidden layer."""

    activation: Layer
    normalised: bool
    norm: str
    eps: float
    affine: bool
    residual: bool

    def normalisation(self, features: int, wanted: bool = True) -> list[Layer]:
        """None or one normalisation."""
        return [BatchNorm(features, self.eps, self.affine)] if wanted else []

    def plain(self, product: Layer, features: int) -> list[Layer]:
        """Product, normalisation and activation."""
        behind = [*self.normalisation(features, self.normalised), self.activation]
        return [product, *(behind if self.norm == "before" else reversed(behind))]

    def hidden(self, product: Layer, features: int, other: Layer | None) -> list[Layer]:
        """The same beside a shortcut, if wanted: the identity, or the product `other`."""
        unit = self.plain(product, features)
        if not self.residual:
            return unit
        shortcut = [other, *self.normalisation(features, self.normalised)] if other is not None else []
        return [Residual(tuple(unit), tuple(shortcut))]

    def output(self, fan_in: int, classes: int, normalised: bool, frozen: bool) -> list[Layer]:
        """The product of the logits, normalised or not."""
        return [Dense(fan_in, classes, not (normalised or frozen), frozen), *self.normalisation(classes, normalised)]


def _units(
    activation: str | Layer, normalised: bool, norm: str, eps: float, affine: bool, residual: bool
) -> _Units:
    if isinstance(activation, str):
        activation = ACTIVATIONS[checks.choice("activation", activation, ACTIVATIONS)]()
    place = checks.choice("norm", norm, ("before", "after"))
    return _Units(activation, normalised, place, checks.nonnegative("eps", eps), affine, residual)
