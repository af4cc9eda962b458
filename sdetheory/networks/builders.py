"""Networks from switches: perceptrons and convolutional nets, with or without normalisation, skips, ...

The switches are those of a factorial experiment: nets that differ in activation, in the place of the
normalisation, in eps, or in skip connections (between equal widths) share the layout of their parameters and,
seed by seed, their start.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from sdetheory import checks
from sdetheory.networks.activations import ACTIVATIONS
from sdetheory.networks.chain import Residual
from sdetheory.networks.convolution import Conv, Flat, Images, MaxPool, MeanPool
from sdetheory.networks.layers import BatchNorm, Dense, Layer
from sdetheory.networks.network import Network

POOLS: dict[str, Callable[[int, int], Layer]] = {"mean": MeanPool, "max": MaxPool}


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
    "linear", "sigmoid", "tanh", "relu", "gelu", or a layer of your own. With a rectifier and norm "after" take eps
    > 0: a neuron that is 0 on a whole batch has no variance, and the net is reported as diverged.

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


def conv_net(
    channels: Sequence[int],
    classes: int = 10,
    *,
    image: tuple[int, int, int] = (8, 8, 1),
    kernel: int = 3,
    pool: str | None = None,
    pool_after: Sequence[int] = (),
    head: str = "mean",
    activation: str | Layer = "relu",
    normalised: bool = True,
    normalised_output: bool = False,
    norm: str = "before",
    eps: float = 0.0,
    affine: bool = False,
    residual: bool = False,
    frozen_output: bool = False,
) -> Network:
    """A convolutional net: k x k convolutions of stride 1 with so many `channels`, pooling, a product to the logits.

    image: height, width, channels of an input (`Data.image`), channels last in the features. pool: "mean" or "max",
    over 2 x 2 pixels after the convolutions number `pool_after` (1, 2, ...). head: what the last product sees,
    "mean" over all pixels of each channel, or every pixel, "flat". The other switches are those of `mlp`, with one
    statistic a channel over examples and pixels (Ioffe, Szegedy 2015, section 3.2); residual: from the second
    convolution on x + phi(BN(W x)), with BN of a 1 x 1 convolution for x where the number of channels changes (it
    is a `Dense` layer on pixels). Raises ValueError for no channels or channels below 1, fewer than 2 classes, an
    even kernel, pools that do not tile the image, `pool` without `pool_after` or the reverse, eps < 0, unknown names.
    """
    height, width, colours = (checks.integer(f"image[{i}]", size, 1) for i, size in enumerate(image))
    sizes = [checks.integer(f"channels[{i}]", size, 1) for i, size in enumerate(channels)]
    if not sizes:
        raise ValueError("`channels` must name at least one convolution: channels=()")
    last, head = checks.integer("classes", classes, 2), checks.choice("head", head, ("mean", "flat"))
    pools = _pools(pool, pool_after, len(sizes))
    units = _units(activation, normalised, norm, eps, affine, residual)
    layers: list[Layer] = [Images(height, width, colours)]
    for number, (fan_in, fan_out) in enumerate(pairwise([colours, *sizes])):
        product = Conv(height, width, fan_in, fan_out, kernel, bias=not normalised)
        other = None if fan_in == fan_out else Dense(fan_in, fan_out)
        layers += units.hidden(product, fan_out, other) if number else units.plain(product, fan_out)
        if number + 1 in pools:
            layers.append(POOLS[pools[number + 1]](height, width))
            height, width = height // 2, width // 2
    whole = head == "mean"
    layers.append(MeanPool(height, width, height, width) if whole else Flat(height, width, sizes[-1]))
    features = sizes[-1] * (1 if whole else height * width)
    return Network((*layers, *units.output(features, last, normalised_output, frozen_output)))


def _pools(pool: str | None, after: Sequence[int], convolutions: int) -> dict[int, str]:
    """The kind of pool after each convolution that has one."""
    if (pool is None) != (len(after) == 0):
        raise ValueError(f"`pool` and `pool_after` go together: pool={pool!r}, pool_after={tuple(after)}")
    if pool is None:
        return {}
    kind = checks.choice("pool", pool, POOLS)
    for number in after:
        if not 1 <= checks.integer("pool_after", number) <= convolutions:
            raise ValueError(f"`pool_after` must number convolutions 1 .. {convolutions}: pool_after={tuple(after)}")
    return dict.fromkeys(after, kind)


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
