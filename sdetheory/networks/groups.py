"""Groups of parameters, per layer or per neuron, and which of them the loss does not see the scale of.

A group is scale invariant when loss(c * group) = loss(group) for every c > 0 and every batch. That follows
from the layers behind it: the scale passes through homogeneous layers until a batch normalisation with eps =
0 removes it. So are found: weights in front of a normalisation (per layer and per neuron; Ioffe, Szegedy
2015), and the joint scale and shift of a normalisation whose output meets, through rectifiers and products
without bias, another one.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

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
    for number, layer in enumerate(layers):
        for name, shape in layer.shapes.items():
            size = int(np.prod(shape))
            out.append(Slot(number, name, at, at + size, shape))
            at += size
    return tuple(out)


def layer_groups(layers: Sequence[Layer]) -> tuple[Group, ...]:
    """One group a layer with parameters: all its arrays jointly."""
    out = []
    for number, name, mine in _by_layer(layers):
        segments = tuple((slot.start, slot.stop) for slot in mine)
        out.append(Group(name, number, segments, _removed_behind(layers, number), layers[number].frozen))
    return tuple(out)


def neuron_groups(layers: Sequence[Layer]) -> tuple[Group, ...]:
    """One group a neuron: its row of the weight with its bias, or its scale with its shift."""
    out = []
    for number, name, mine in _by_layer(layers):
        invariant, frozen = _removed_behind(layers, number, elementwise=True), layers[number].frozen
        for row in range(mine[0].shape[0]):
            segments = tuple(_row(slot, row) for slot in mine)
            out.append(Group(f"{name}[{row}]", number, segments, invariant, frozen))
    return tuple(out)


def normalised(layers: Sequence[Layer], number: int) -> bool:
    """Is the output of this layer standardised, feature by feature, before anything else happens to it?"""
    behind = layers[number + 1] if number + 1 < len(layers) else None
    return behind is not None and hasattr(behind, "eps")


def segment_table(groups: Sequence[Group]) -> np.ndarray:
    """Rows (start, stop, index of the group) of the trainable groups, int64 (S, 3), for the compiled step."""
    rows = [(a, b, number) for number, group in enumerate(groups) for a, b in group.segments]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _by_layer(layers: Sequence[Layer]) -> Iterator[tuple[int, str, list[Slot]]]:
    """(number, name, slots) of the layers with parameters, named by kind: dense1, norm1, dense2, ..."""
    seen: dict[str, int] = {}
    layout = slots(layers)
    for number, layer in enumerate(layers):
        kind = "norm" if hasattr(layer, "eps") else type(layer).__name__.lower()
        seen[kind] = seen.get(kind, 0) + 1
        mine = [slot for slot in layout if slot.layer == number]
        if mine:
            yield number, f"{kind}{seen[kind]}", mine


def _row(slot: Slot, row: int) -> tuple[int, int]:
    width = int(np.prod(slot.shape[1:]))
    return slot.start + row * width, slot.start + (row + 1) * width


def _removed_behind(layers: Sequence[Layer], number: int, elementwise: bool = False) -> bool:
    """Does the scale of this layer's output (of one feature of it, if `elementwise`) vanish further on?"""
    for layer in layers[number + 1 :]:
        if elementwise and not layer.elementwise:
            return False
        if layer.removes_scale:
            return True
        if not layer.homogeneous:
            return False
    return False
