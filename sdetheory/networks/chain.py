"""Layers one after another, and residual blocks: chains of layers inside a layer.

A `Residual` layer gives branch(x) + shortcut(x), both of them chains; whatever belongs to the layers without
chains of their own, the leaves (parameters, gradients, caches), is nested in the same way. Leaves are counted
depth first, the branch before the shortcut.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from sdetheory.networks.layers import Layer


class Place(NamedTuple):
    """A leaf, its number, and (number of the first leaf, layer) of what follows it in its own chain."""

    number: int
    leaf: Any
    behind: tuple[tuple[int, Layer], ...]


def chains(layer: Layer) -> tuple[Sequence[Layer], ...]:
    """The chains inside a layer; a leaf has none."""
    return getattr(layer, "chains", ())


def places(layers: Sequence[Layer], first: int = 0) -> Iterator[Place]:
    """Every leaf in the order in which leaves are counted, from number `first` on."""
    starts = []
    for layer in layers:
        starts.append(first)
        first += _leaves(layer)
    for i, layer in enumerate(layers):
        if not chains(layer):
            yield Place(starts[i], layer, tuple(zip(starts[i + 1 :], layers[i + 1 :], strict=True)))
        at = starts[i]
        for chain in chains(layer):
            yield from places(chain, at)
            at += sum(_leaves(inner) for inner in chain)


def _leaves(layer: Layer) -> int:
    inside = chains(layer)
    return sum(_leaves(inner) for chain in inside for inner in chain) if inside else 1


def nest(layers: Sequence[Layer], entries: Iterator[Any]) -> list[Any]:
    """One entry a layer: of a leaf the next one of `entries`, of a residual block the lists of its chains."""
    return [
        tuple(nest(chain, entries) for chain in chains(layer)) if chains(layer) else next(entries) for layer in layers
    ]


def flat(layers: Sequence[Layer], nested: Sequence[Any]) -> Iterator[Any]:
    """The entries of the leaves; undoes `nest`."""
    for layer, entry in zip(layers, nested, strict=True):
        if chains(layer):
            for chain, inner in zip(chains(layer), entry, strict=True):
                yield from flat(chain, inner)
        else:
            yield entry


def mapped(layers: Sequence[Layer], change: Callable[[Layer], Layer]) -> tuple[Layer, ...]:
    """The layers with every leaf changed."""
    return tuple(
        type(layer)(*(mapped(inner, change) for inner in chains(layer))) if chains(layer) else change(layer)
        for layer in layers
    )


def forward(layers: Sequence[Layer], bound: Sequence[Any], x: np.ndarray) -> tuple[np.ndarray, list[Any]]:
    """The output of the last layer, and the caches of all."""
    caches = []
    for layer, p in zip(layers, bound, strict=True):
        x, cache = layer.forward(p, x)
        caches.append(cache)
    return x, caches


def backward(
    layers: Sequence[Layer],
    bound: Sequence[Any],
    into: Sequence[Any],
    caches: Sequence[Any],
    dy: np.ndarray,
    first: int = -1,
) -> np.ndarray:
    """Write the parameters' gradients into `into`, from d(loss)/d(output); gives d(loss)/d(input).

    Layers before number `first` are skipped, and that one's input gradient is not computed: the result is then
    d(loss)/d(output) of layer `first`. Frozen leaves get no gradient.
    """
    for number in range(len(layers) - 1, max(first, 0) - 1, -1):
        p, cache = bound[number], caches[number]
        layer: Any = layers[number]
        if chains(layer):
            dy = layer.backward(p, into[number], cache, dy)
            continue
        if not layer.frozen:
            layer.parameter_gradient(p, into[number], cache, dy)
        if number > first:
            dy = layer.input_gradient(p, cache, dy)
    return dy


@dataclass(frozen=True)
class Residual:
    """y = branch(x) + shortcut(x) (He et al. 2016); the empty shortcut is the identity.

    Scale passes through (y(c x) = c y(x)) if it does through both chains, and is removed if both remove it: with
    the identity as shortcut, a normalisation in the branch leaves neither.
    """

    branch: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()
    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}
    frozen: ClassVar[bool] = False
    kept: ClassVar[int] = 0

    @property
    def chains(self) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
        return self.branch, self.shortcut

    @property
    def homogeneous(self) -> bool:
        return scale_behind(self.branch) == scale_behind(self.shortcut) == "kept"

    @property
    def removes_scale(self) -> bool:
        return scale_behind(self.branch) == scale_behind(self.shortcut) == "removed"

    @property
    def elementwise(self) -> bool:
        return all(layer.elementwise for chain in self.chains for layer in chain)

    def forward(self, p: Any, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y, branch = forward(self.branch, p[0], x)
        z, shortcut = forward(self.shortcut, p[1], x)
        return y + z, (branch, shortcut)

    def backward(self, p: Any, g: Any, cache: Any, dy: np.ndarray) -> np.ndarray:
        """Write the parameters' gradients into g; gives d(loss)/dx."""
        through = (backward(self.chains[i], p[i], g[i], cache[i], dy) for i in range(2))
        return next(through) + next(through)


def scale_behind(layers: Sequence[Layer]) -> str:
    """What becomes of a positive factor of the input: "removed", "kept" as a factor of the output, or "lost"."""
    for layer in layers:
        if layer.removes_scale:
            return "removed"
        if not layer.homogeneous:
            return "lost"
    return "kept"
