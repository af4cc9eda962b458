"""Feed-forward networks over an ensemble: E nets at once, their parameters the rows of one array (E, P)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.networks import chain, kernels
from sdetheory.networks.blas import one_thread
from sdetheory.networks.groups import Group, Slot, layer_groups, meets_norm, neuron_groups, slots
from sdetheory.networks.layers import BatchNorm, Layer
from sdetheory.networks.streams import START, generator


@dataclass(frozen=True)
class Network:
    """Layers one after another, ended by the mean softmax cross-entropy over the batch.

    The parameters of E nets are an array (E, P) in the order of `slots`; inputs are (E, B, F), or (1, B, F)
    shared by all nets; labels (E, B) integers. The loss of a batch goes through the statistics of that batch.
    """

    layers: tuple[Layer, ...]

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Where each array of each layer lives in the parameter vector."""
        return slots(self.layers)

    @property
    def size(self) -> int:
        """P, the number of parameters of one net, frozen ones included."""
        return self.slots[-1].stop

    @cached_property
    def leaves(self) -> tuple[Any, ...]:
        """The layers, those inside residual blocks one by one: `Slot.layer` and `Group.layer` count these."""
        return tuple(place.leaf for place in chain.places(self.layers))

    @cached_property
    def inputs(self) -> int:
        """Number of input features."""
        return next(leaf.inputs for leaf in self.leaves if hasattr(leaf, "inputs"))

    @cached_property
    def classes(self) -> int:
        """Number of logits."""
        return next(leaf.outputs for leaf in reversed(self.leaves) if hasattr(leaf, "outputs"))

    @cached_property
    def normalises(self) -> bool:
        """Does some layer use the statistics of the batch?"""
        return any(isinstance(leaf, BatchNorm) for leaf in self.leaves)

    @property
    def kept(self) -> int:
        """About how many numbers an example leaves in the caches of a forward pass."""
        return sum(leaf.kept for leaf in self.leaves)

    @cached_property
    def _first_trained(self) -> int:
        """The first layer with parameters to train."""
        trained = lambda layer: any(place.leaf.shapes and not place.leaf.frozen for place in chain.places((layer,)))
        return next((number for number, layer in enumerate(self.layers) if trained(layer)), len(self.layers))

    def with_eps(self, eps: float) -> "Network":
        """The same network with this eps in all of its normalisations."""
        eps = checks.nonnegative("eps", eps)

        def changed(leaf: Any) -> Any:
            return replace(leaf, eps=eps) if isinstance(leaf, BatchNorm) else leaf

        return Network(chain.mapped(self.layers, changed))

    def groups(self, by: str = "layer") -> tuple[Group, ...]:
        """Groups of parameters, per "layer" or per "neuron", each knowing whether it is scale invariant."""
        checks.choice("by", by, ("layer", "neuron"))
        return layer_groups(self.layers) if by == "layer" else neuron_groups(self.layers)

    def bind(self, parameters: np.ndarray) -> list[Any]:
        """Views of parameters (E, P), one dictionary a layer (of residual blocks: lists of dictionaries).

        Names are so resolved once, not at every step.
        """
        views: list[dict[str, np.ndarray]] = [{} for _ in self.leaves]
        for slot in self.slots:
            views[slot.layer][slot.name] = parameters[:, slot.start : slot.stop].reshape(-1, *slot.shape)
        return chain.nest(self.layers, iter(views))

    def start(self, seeds: Sequence[int] | np.ndarray, scale: float | np.ndarray = 1.0) -> np.ndarray:
        """He's start (2015): weights N(0, 2 / in), scales 1, biases and shifts 0; one net a seed, (E, P).

        `scale`, one number or one a net, multiplies the weights whose scale a normalisation removes (but for
        its eps): those in front of one, with nothing but linear units or rectifiers and pooling in between.
        """
        members = _members(seeds)
        parameters = np.zeros((len(members), self.size))
        for row, seed in zip(parameters, members, strict=True):
            draw = generator(seed, START)
            for slot in self.slots:
                if slot.name == "weight":
                    row[slot.start : slot.stop] = draw.standard_normal(slot.stop - slot.start) * np.sqrt(
                        2 / slot.shape[1]
                    )
                elif slot.name == "scale":
                    row[slot.start : slot.stop] = 1.0
        return self._scaled(parameters, scale)

    def _scaled(self, parameters: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
        factor = checks.finite("init_scale", scale)
        if factor.shape not in ((1,), (len(parameters),)):
            raise ValueError(
                f"`init_scale` must be one number or one for each of {len(parameters)} nets: shape {factor.shape}"
            )
        if not factor.all():
            raise ValueError(f"`init_scale` must not be zero, there normalised weights have no loss: {scale}")
        factor = np.broadcast_to(factor, len(parameters))
        if np.all(factor == 1.0):
            return parameters
        followed = {place.number for place in chain.places(self.layers) if meets_norm(place) is not None}
        mine = [slot for slot in self.slots if slot.name == "weight" and slot.layer in followed]
        if not mine:
            raise ValueError(
                f"`init_scale` scales the weights in front of batch normalisation, here are none: {scale}"
            )
        for slot in mine:
            parameters[:, slot.start : slot.stop] *= factor[:, None]
        return parameters

    def forward(self, bound: list[Any], inputs: np.ndarray) -> tuple[np.ndarray, list]:
        """Logits (E, B, C) and what the backward pass needs; `bound` comes from `bind`."""
        return chain.forward(self.layers, bound, inputs)

    def backward(self, bound: list[Any], into: list[Any], caches: list, dy: np.ndarray) -> None:
        """Write the gradient into the bound `into`, from d(loss)/d(logits); frozen layers are left alone."""
        chain.backward(self.layers, bound, into, caches, dy, self._first_trained)

    def gradient(
        self, parameters: np.ndarray, inputs: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Loss (E,) of each net's batch and its exact gradient (E, P); 0 at frozen parameters."""
        bound, inputs, labels = self.checked(parameters, inputs, labels)
        out = np.zeros((len(parameters), self.size))
        with one_thread():
            logits, caches = self.forward(bound, inputs)
            loss, _, dy = cross_entropy(logits, labels, labels)
            self.backward(bound, self.bind(out), caches, dy)
        return loss, out

    def loss(self, parameters: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Loss (E,) of each net's batch."""
        bound, inputs, labels = self.checked(parameters, inputs, labels)
        with one_thread():
            return cross_entropy(self.forward(bound, inputs)[0], labels, labels)[0]

    def logits(self, parameters: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Logits (E, B, C), normalised with the statistics of these inputs."""
        bound, inputs, _ = self.checked(parameters, inputs, None)
        with one_thread():
            return self.forward(bound, inputs)[0]

    def checked(self, parameters, inputs, labels):
        """Bound parameters, inputs (1 or E, B, F) and labels (E, B) of the right shapes, or an error."""
        checks.shape("parameters", parameters, (None, self.size))
        inputs = np.ascontiguousarray(inputs if np.ndim(inputs) == 3 else [inputs], dtype=np.float64)
        checks.shape("inputs", inputs, (1 if len(inputs) == 1 else len(parameters), None, self.inputs))
        if labels is not None:
            wanted = (len(parameters), inputs.shape[1])
            labels = np.ascontiguousarray(np.broadcast_to(checked_labels(labels, self.classes), wanted))
        return self.bind(np.ascontiguousarray(parameters, dtype=np.float64)), inputs, labels


def cross_entropy(
    logits: np.ndarray, labels: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean loss (E,) against `labels`, accuracy (E,) against `truth`, and d(loss)/d(logits) (E, B, C)."""
    loss, accuracy, shifted = np.empty(len(logits)), np.empty(len(logits)), np.empty_like(logits)
    kernels.centre(logits, truth, shifted, accuracy)
    gradient = np.exp(shifted)  # numpy's exponential runs on vectors, the compiler's does not
    kernels.cross_entropy(shifted, labels, gradient, loss)
    return loss, accuracy, gradient


def checked_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels as int64, each one of 0 .. classes - 1."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"`labels` must be integers: they are {labels.dtype}")
    if labels.size and not (0 <= labels.min() and labels.max() < classes):
        raise ValueError(
            f"`labels` must lie in 0 .. {classes - 1}: they span {labels.min()} .. {labels.max()}"
        )
    return labels.astype(np.int64)


def _members(seeds: Sequence[int] | np.ndarray) -> list[int]:
    return [checks.integer("seeds", seed) for seed in np.atleast_1d(seeds).tolist()]
