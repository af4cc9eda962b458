"""Small torch models in the shape of well-known ones, with switches for what papers toggle; seconds on a processor.

VGG (Simonyan, Zisserman 2015), ResNet (He et al. 2016) and U-Net (Ronneberger et al. 2015), a few channels wide, for
images of 8 x 8 up to 32 x 32 and more. All have the same switches: activation, batch normalisation or not and on
which side of the activation, and (ResNet, U-Net) skip connections or not. Needs the extra `nets` (torch).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sdetheory import checks

try:
    import torch
    from torch import nn
except ModuleNotFoundError as absent:
    raise ImportError("`sdetheory.networks.torch_models` needs torch: install sdetheory[nets]") from absent

ACTIVATIONS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}


def vgg(
    channels: Sequence[int] = (8, 16),
    classes: int = 10,
    *,
    colours: int = 1,
    convolutions: int = 2,
    activation: str = "relu",
    normalised: bool = True,
    norm: str = "before",
) -> Any:
    """Stages of 3 x 3 convolutions, each ended by a 2 x 2 maximum, then the mean over pixels and a product.

    Inputs (B, colours, height, width) with sides divisible by 2^stages; logits (B, classes).
    """
    unit = _unit(activation, normalised, norm)
    layers: list[Any] = []
    for before, after in pairwise([colours, *_sizes(channels)]):
        for number in range(checks.integer("convolutions", convolutions, 1)):
            layers += unit(before if number == 0 else after, after)
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], classes))


class Block(nn.Module):
    """activation(BN(W2 activation(BN(W1 x))) + x), or without the x; where shapes change x is BN(V x)."""

    def __init__(self, before: int, after: int, stride: int, activation: str, normalised: bool, skip: bool) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        self.branch = nn.Sequential(
            *_product(before, after, normalised, stride), act(), *_product(after, after, normalised)
        )
        self.shortcut = nn.Identity()
        if skip and (stride != 1 or before != after):
            self.shortcut = nn.Sequential(*_product(before, after, normalised, stride, kernel=1))
        self.activation, self.skip = act(), skip

    def forward(self, x: Any) -> Any:
        """(B, before, h, w) -> (B, after, h / stride, w / stride)."""
        y = self.branch(x)
        return self.activation(y + self.shortcut(x) if self.skip else y)


def resnet(
    channels: Sequence[int] = (8, 16),
    classes: int = 10,
    *,
    colours: int = 1,
    blocks: int = 1,
    activation: str = "relu",
    normalised: bool = True,
    skip: bool = True,
) -> Any:
    """A stem, stages of residual blocks that halve the image from the second on, mean over pixels, product."""
    checks.choice("activation", activation, ACTIVATIONS)
    sizes = _sizes(channels)
    layers = [*_product(colours, sizes[0], normalised), ACTIVATIONS[activation]()]
    for stage, (before, after) in enumerate(pairwise([sizes[0], *sizes])):
        for number in range(checks.integer("blocks", blocks, 1)):
            first = number == 0
            layers.append(
                Block(before if first else after, after, 2 if first and stage else 1, activation, normalised, skip)
            )
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sizes[-1], classes))


class UNet(nn.Module):
    """Down by maxima, up by transposed convolutions, what was seen on the way down put beside (or not)."""

    def __init__(self, unit: Any, sizes: Sequence[int], classes: int, colours: int, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.down = nn.ModuleList(nn.Sequential(*unit(a, b)) for a, b in pairwise([colours, *sizes]))
        ups = list(pairwise(sizes[::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in ups)
        self.merge = nn.ModuleList(nn.Sequential(*unit(2 * b if skip else b, b)) for _, b in ups)
        self.pool, self.out = nn.MaxPool2d(2), nn.Conv2d(sizes[0], classes, 1)

    def forward(self, x: Any) -> Any:
        """(B, colours, h, w) -> logits of every pixel, (B, classes, h, w)."""
        seen = []
        for number, stage in enumerate(self.down):
            x = stage(self.pool(x) if number else x)
            seen.append(x)
        for up, merge, beside in zip(self.up, self.merge, seen[-2::-1], strict=True):
            x = up(x)
            x = merge(torch.cat([x, beside], dim=1) if self.skip else x)
        return self.out(x)


def unet(
    channels: Sequence[int] = (8, 16),
    classes: int = 2,
    *,
    colours: int = 1,
    activation: str = "relu",
    normalised: bool = True,
    norm: str = "before",
    skip: bool = True,
) -> Any:
    """A U-Net of len(channels) levels: logits for every pixel; sides divisible by 2^(levels - 1)."""
    return UNet(_unit(activation, normalised, norm), _sizes(channels), classes, colours, skip)


def _sizes(channels: Sequence[int]) -> list[int]:
    sizes = [checks.integer(f"channels[{i}]", size, 1) for i, size in enumerate(channels)]
    if not sizes:
        raise ValueError("`channels` must name at least one stage: channels=()")
    return sizes


def _product(before: int, after: int, normalised: bool, stride: int = 1, kernel: int = 3) -> list[Any]:
    conv = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=not normalised)
    return [conv, nn.BatchNorm2d(after)] if normalised else [conv]


def _unit(activation: str, normalised: bool, norm: str) -> Any:
    """(before, after) -> convolution, normalisation and activation, in the order of `norm`."""
    act = ACTIVATIONS[checks.choice("activation", activation, ACTIVATIONS)]
    checks.choice("norm", norm, ("before", "after"))

    def unit(before: int, after: int) -> list[Any]:
        conv, *rest = _product(before, after, normalised)
        return [conv, *rest, act()] if norm == "before" else [conv, act(), *rest]

    return unit
