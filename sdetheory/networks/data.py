"""Labelled data: scikit-learn's handwritten digits (from its wheel, nothing is downloaded), or yours."""

from dataclasses import dataclass, replace

import numpy as np

from sdetheory import checks
from sdetheory.networks.network import checked_labels
from sdetheory.networks.streams import SHUFFLE, generator

SPLIT, CORRUPTION = 11, 12  # purposes of random numbers, beside those of `streams`


@dataclass(frozen=True)
class Data:
    """Inputs (n, F), labels (n,) out of 0 .. classes - 1; `image` (height, width, channels) if inputs are images.

    The features of an image stand row after row, pixel after pixel, channels last.
    """

    inputs: np.ndarray
    labels: np.ndarray
    classes: int
    image: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def subset(self, which: slice | np.ndarray) -> "Data":
        """The chosen examples, e.g. ``data.subset(slice(0, 500))``."""
        return replace(self, inputs=np.ascontiguousarray(self.inputs[which]), labels=self.labels[which].copy())

    def split(self, held_out: int, seed: int | None = None) -> tuple["Data", "Data"]:
        """Training and held-out data: the last `held_out` examples, or with a seed as many at random.

        Raises ValueError unless both parts have an example.
        """
        count = checks.integer("held_out", held_out, 1)
        if count >= len(self):
            raise ValueError(f"`held_out` must leave examples to train on: held_out={count} of {len(self)}")
        order = np.arange(len(self)) if seed is None else _draw(seed, SPLIT).permutation(len(self))
        return self.subset(order[:-count]), self.subset(order[-count:])

    def shuffled_labels(self, seed: int = 0) -> "Data":
        """The inputs with labels permuted: nothing to learn, only to memorise (Zhang et al. 2017)."""
        return replace(self, labels=self.labels[_draw(seed, SHUFFLE).permutation(len(self.labels))])

    def corrupted_labels(self, share: float, seed: int = 0) -> "Data":
        """A share of the labels, round(share n) chosen at random, replaced for good by another class each.

        The wrong classes are uniform. Not the label noise of `train`, which is drawn anew at every step and may
        draw the true label. Raises ValueError for a share outside [0, 1].
        """
        if checks.nonnegative("share", share) > 1:
            raise ValueError(f"`share` must lie between 0 and 1: share={share}")
        draw = _draw(seed, CORRUPTION)
        chosen = draw.permutation(len(self))[: round(share * len(self))]
        labels = self.labels.copy()
        labels[chosen] = (labels[chosen] + draw.integers(1, self.classes, len(chosen))) % self.classes
        return replace(self, labels=labels)


def labelled(inputs: np.ndarray, labels: np.ndarray, classes: int | None = None) -> Data:
    """Data from arrays: inputs (n, F) or images (n, height, width, channels), labels (n,) integers.

    `classes` is by default the largest label + 1. Raises ValueError for shapes that do not fit, numbers that are
    not finite, labels that are not integers out of 0 .. classes - 1.
    """
    inputs, image = checks.finite("inputs", inputs), None
    if inputs.ndim == 4:
        image = (inputs.shape[1], inputs.shape[2], inputs.shape[3])
        inputs = inputs.reshape(len(inputs), -1)
    checks.shape("inputs", inputs, (None, None))
    labels = np.asarray(labels)
    checks.shape("labels", labels, (len(inputs),))
    if classes is None:
        classes = int(labels.max()) + 1 if labels.size and labels.dtype.kind in "iu" else 2
    count = checks.integer("classes", classes, 2)
    return Data(inputs, checked_labels(labels, count), count, image)


def digits(*, centred: bool = False) -> Data:
    """The 1797 digits of 8 x 8 pixels (Alpaydin, Kaynak 1998): inputs x / 16 - 0.3, labels 0 .. 9.

    `centred` subtracts each pixel's mean over the data instead of 0.3.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    inputs = pixels / 16.0
    inputs -= inputs.mean(axis=0) if centred else 0.3
    return labelled(inputs.reshape(-1, 8, 8, 1), labels.astype(np.int64), 10)


def _draw(seed: int, purpose: int) -> np.random.Generator:
    return generator(checks.integer("seed", seed), purpose)
