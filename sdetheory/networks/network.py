"""Feed-forward networks over an ensemble: E nets at once, their parameters the rows of one array (E, P)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from sdetheory import checks
from sdetheory.networks import kernels
from sdetheory.networks.blas import one_thread
from sdetheory.networks.groups import Group, Slot, layer_groups, neuron_groups, normalised, slots
from sdetheory.networks.layers import ACTIVATIONS, BatchNorm, Dense, Layer, Parameters
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

    @property
    def inputs(self) -> int:
        """Number of input features."""
        return next(layer.inputs for layer in self.layers if isinstance(layer, Dense))

    @property
    def classes(self) -> int:
        """Number of logits."""
        return next(layer.outputs for layer in reversed(self.layers) if isinstance(layer, Dense))

    @property
    def normalises(self) -> bool:
        """Does some layer use the statistics of the batch?"""
        return any(isinstance(layer, BatchNorm) for layer in self.layers)

    def groups(self, by: str = "layer") -> tuple[Group, ...]:
        """Groups of parameters, per "layer" or per "neuron", each knowing whether it is scale invariant."""
        checks.choice("by", by, ("layer", "neuron"))
        return layer_groups(self.layers) if by == "layer" else neuron_groups(self.layers)

    def bind(self, parameters: np.ndarray) -> list[Parameters]:
        """Views of parameters (E, P), one dictionary a layer: resolve names once, not at every step."""
        out: list[Parameters] = [{} for _ in self.layers]
        for slot in self.slots:
            out[slot.layer][slot.name] = parameters[:, slot.start : slot.stop].reshape(-1, *slot.shape)
        return out

    def start(self, seeds: Sequence[int] | np.ndarray, scale: float | np.ndarray = 1.0) -> np.ndarray:
        """He's start (2015): weights N(0, 2 / in), scales 1, biases and shifts 0; one net a seed, (E, P).

        `scale`, one number or one a net, multiplies the weights that a normalisation follows.
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
        factor = np.broadcast_to(np.asarray(scale, dtype=np.float64), len(parameters))
        if np.all(factor == 1.0):
            return parameters
        mine = [slot for slot in self.slots if slot.name == "weight" and normalised(self.layers, slot.layer)]
        if not mine:
            raise ValueError(
                f"`init_scale` scales the weights in front of batch normalisation, here are none: {scale}"
            )
        for slot in mine:
            parameters[:, slot.start : slot.stop] *= factor[:, None]
        return parameters

    def forward(self, bound: list[Parameters], inputs: np.ndarray) -> tuple[np.ndarray, list]:
        """Logits (E, B, C) and what the backward pass needs; `bound` comes from `bind`."""
        caches = []
        for layer, p in zip(self.layers, bound, strict=True):
            inputs, cache = layer.forward(p, inputs)
            caches.append(cache)
        return inputs, caches

    def backward(self, bound: list[Parameters], into: list[Parameters], caches: list, dy: np.ndarray) -> None:
        """Write the gradient into the bound `into`, from d(loss)/d(logits); frozen layers are left alone."""
        for number in range(len(self.layers) - 1, -1, -1):
            layer, p = self.layers[number], bound[number]
            if not layer.frozen:
                layer.parameter_gradient(p, into[number], caches[number], dy)
            if number:
                dy = layer.input_gradient(p, caches[number], dy)

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


def mlp(
    widths: Sequence[int],
    *,
    activation: str | Layer = "relu",
    normalised: bool = True,
    normalised_output: bool = False,
    eps: float = 0.0,
    affine: bool = False,
    frozen_output: bool = False,
) -> Network:
    """A multilayer perceptron, batch normalisation between each product and its activation.

    widths: inputs, hidden ..., classes. `eps` (0 is exact scale invariance) and `affine` (trainable scale and
    shift) describe every normalisation; `normalised_output` puts one on the logits, so that every weight is
    scale invariant; `frozen_output` keeps the last product at its start. Products without normalisation
    behind them have a bias, except a frozen output. `activation`: "relu", "tanh", "linear", or a layer of
    your own. Raises ValueError for fewer than two widths, widths below 1 (classes below 2), eps < 0, an
    unknown activation.
    """
    sizes = [checks.integer(f"widths[{i}]", width, 1) for i, width in enumerate(widths)]
    if len(sizes) < 2 or sizes[-1] < 2:
        raise ValueError(
            f"`widths` must be inputs, hidden ..., classes with at least 2 classes: widths={tuple(widths)}"
        )
    eps = checks.nonnegative("eps", eps)
    between = (
        ACTIVATIONS[checks.choice("activation", activation, ACTIVATIONS)]()
        if isinstance(activation, str)
        else activation
    )
    layers: list[Layer] = []
    for fan_in, fan_out in pairwise(sizes[:-1]):
        norm = [BatchNorm(fan_out, eps, affine)] if normalised else []
        layers += [Dense(fan_in, fan_out, bias=not normalised), *norm, between]
    bias = not (normalised_output or frozen_output)
    layers.append(Dense(sizes[-2], sizes[-1], bias, frozen_output))
    if normalised_output:
        layers.append(BatchNorm(sizes[-1], eps, affine))
    return Network(tuple(layers))


def _members(seeds: Sequence[int] | np.ndarray) -> list[int]:
    return [checks.integer("seeds", seed) for seed in np.atleast_1d(seeds).tolist()]
