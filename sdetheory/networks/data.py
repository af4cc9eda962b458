"""Labelled data: scikit-learn's handwritten digits (from its wheel, nothing is downloaded), or yours."""

from dataclasses import dataclass, replace

import numpy as np

from sdetheory import checks
from sdetheory.networks.network import checked_labels
from sdetheory.networks.streams import SHUFFLE, generator


@dataclass(frozen=True)
class Data:
    """Inputs (n, F), labels (n,) out of 0 .. classes - 1."""

    inputs: np.ndarray
    labels: np.ndarray
    classes: int

    def __len__(self) -> int:
        return len(self.inputs)

    def subset(self, which: slice | np.ndarray) -> "Data":
        """The chosen examples, e.g. ``data.subset(slice(0, 500))``."""
        return replace(
            self, inputs=np.ascontiguousarray(self.inputs[which]), labels=self.labels[which].copy()
        )

    def shuffled_labels(self, seed: int = 0) -> "Data":
        """The inputs with labels permuted: nothing to learn, only to memorise (Zhang et al. 2017)."""
        order = generator(checks.integer("seed", seed), SHUFFLE).permutation(len(self.labels))
        return replace(self, labels=self.labels[order])


def labelled(inputs: np.ndarray, labels: np.ndarray, classes: int | None = None) -> Data:
    """Data from arrays: inputs (n, F), labels (n,) integers, `classes` by default the largest label + 1."""
    inputs = checks.shape("inputs", checks.finite("inputs", inputs), (None, None))
    labels = np.asarray(labels)
    checks.shape("labels", labels, (len(inputs),))
    count = checks.integer("classes", int(labels.max()) + 1 if classes is None else classes, 2)
    return Data(inputs, checked_labels(labels, count), count)


def digits(*, centred: bool = False) -> Data:
    """The 1797 digits of 8 x 8 pixels (Alpaydin, Kaynak 1998): inputs x / 16 - 0.3, labels 0 .. 9.

    `centred` subtracts each pixel's mean over the data instead of 0.3.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    inputs = pixels / 16.0
    return labelled(inputs - (inputs.mean(axis=0) if centred else 0.3), labels.astype(np.int64))
