"""Groups of parameters, per layer or per neuron, and which of them the loss does not see the scale of.

A group is scale invariant when loss(c * group) = loss(group) for every c > 0 and every batch. That follows
from the layers behind it: the scale passes through homogeneous layers until a batch normalisation with eps =
0 removes it. So are found: weights in front of a normalisation (per layer and per neuron, which is a filter in
a convolution; Ioffe, Szegedy 2015), and the joint scale and shift of a normalisation whose output meets,
through rectifiers and products without bias, another one.

With a residual block b(x) + s(x): a factor of a weight inside b must be gone before the sum, as s does not have
it, whatever normalises the sum (c b + s is no multiple of b + s). A factor of x itself passes if both chains
pass it on, and is gone if both remove it; a branch that removes it beside the identity does neither.
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from sdetheory.networks.chain import Place, places, scale_behind
from sdetheory.networks.layers import Layer


class Group(NamedTuple):
    """Entries of the parameter vector (P,) that belong together."""

    name: str
    layer: int
    segments: tuple[tuple[int, int], ...]
    scale_invariant: bool
    frozen: bool

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(stop - start for start, stop in self.segments)

    def select(self, parameters: np.ndarray) -> np.ndarray:
        """The group's entries (..., size) of parameters (..., P)."""
        return np.concatenate([parameters[..., start:stop] for start, stop in self.segments], axis=-1)

    def scaled(self, parameters: np.ndarray, factor: float | np.ndarray) -> np.ndarray:
        """A copy of parameters (..., P) with this group multiplied by `factor` (scalar or (..., 1))."""
        out = np.array(parameters, dtype=np.float64)
        for start, stop in self.segments:
            out[..., start:stop] *= factor
        return out


class Slot(NamedTuple):
    """Where one named array of one layer lives in the parameter vector."""

    layer: int
    name: str
    start: int
    stop: int
    shape: tuple[int, ...]


def slots(layers: Sequence[Layer]) -> tuple[Slot, ...]:
    """The layout of the parameter vector: layer after layer, arrays in the order of ``shapes``."""
    out, at = [], 0
    for number, leaf, _ in places(layers):
        for name, shape in leaf.shapes.items():
            size = int(np.prod(shape))
            out.append(Slot(number, name, at, at + size, shape))
            at += size
    return tuple(out)


def layer_groups(layers: Sequence[Layer]) -> tuple[Group, ...]:
    """One group a layer with parameters: all its arrays jointly."""
    out = []
    for place, name, mine in _by_layer(layers):
        segments = tuple((slot.start, slot.stop) for slot in mine)
        invariant = scale_behind([layer for _, layer in place.behind]) == "removed"
        out.append(Group(name, place.number, segments, invariant, place.leaf.frozen))
    return tuple(out)


def neuron_groups(layers: Sequence[Layer]) -> tuple[Group, ...]:
    """One group a neuron or filter: its row of the weight with its bias, or its scale with its shift."""
    out = []
    for place, name, mine in _by_layer(layers):
        removed = scale_behind(_elementwise(place)) == "removed"
        for row in range(mine[0].shape[0]):
            segments = tuple(_row(slot, row) for slot in mine)
            out.append(Group(f"{name}[{row}]", place.number, segments, removed, place.leaf.frozen))
    return tuple(out)


def meets_norm(place: Place) -> int | None:
    """The number of the normalisation that the output meets, feature by feature and unharmed in its scale."""
    for number, layer in place.behind:
        if hasattr(layer, "eps"):
            return number
        if not (layer.elementwise and layer.homogeneous):
            return None
    return None


def segment_table(groups: Sequence[Group]) -> np.ndarray:
    """Rows (start, stop, index of the group) of the trainable groups, int64 (S, 3), for the compiled step."""
    rows = [(a, b, number) for number, group in enumerate(groups) for a, b in group.segments]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _by_layer(layers: Sequence[Layer]) -> Iterator[tuple[Place, str, list[Slot]]]:
    """(place, name, slots) of the leaves with parameters, named by kind: dense1, norm1, dense2, conv1, ..."""
    seen: dict[str, int] = {}
    layout = slots(layers)
    for place in places(layers):
        kind = "norm" if hasattr(place.leaf, "eps") else type(place.leaf).__name__.lower()
        seen[kind] = seen.get(kind, 0) + 1
        mine = [slot for slot in layout if slot.layer == place.number]
        if mine:
            yield place, f"{kind}{seen[kind]}", mine


def _row(slot: Slot, row: int) -> tuple[int, int]:
    width = int(np.prod(slot.shape[1:]))
    return slot.start + row * width, slot.start + (row + 1) * width


def _elementwise(place: Place) -> list[Layer]:
    """What follows as long as features stay apart."""
    return list(takewhile(lambda layer: layer.elementwise, (layer for _, layer in place.behind)))
