"""Predictions of trained nets on a whole data set, normalised with the statistics of that set."""

import numpy as np

from sdetheory import checks
from sdetheory.networks.blas import one_thread
from sdetheory.networks.data import Data
from sdetheory.networks.network import Network, cross_entropy

_TOGETHER = 8


def predict(net: Network, parameters: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The predicted class of every input, (E, n), of nets (E, P) on inputs (n, F), all in one batch."""
    checks.shape("inputs", inputs, (None, net.inputs))
    parts = range(0, len(parameters), _TOGETHER)
    return np.concatenate([net.logits(parameters[a : a + _TOGETHER], inputs).argmax(axis=2) for a in parts])


def evaluate(net: Network, parameters: np.ndarray, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Loss (E,) and accuracy (E,) of nets (E, P) on the data, all in one batch."""
    parts = [
        _evaluate(net, parameters[a : a + _TOGETHER], data) for a in range(0, len(parameters), _TOGETHER)
    ]
    loss, accuracy = np.concatenate(parts, axis=1)
    return loss, accuracy


def _evaluate(net: Network, parameters: np.ndarray, data: Data) -> tuple[np.ndarray, np.ndarray]:
    bound, inputs, labels = net.checked(parameters, data.inputs, data.labels)
    with one_thread():
        return cross_entropy(net.forward(bound, inputs)[0], labels, labels)[:2]
