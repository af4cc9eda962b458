"""Ensembles of batch-normalised nets on digits: what several figures train, and how it is seen in between."""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import networks

CHUNK = 64  # nets that share a call: two threads need about 20 us of work between two calls of Python


class DigitNets(NamedTuple):
    """A net, its training digits, held-out digits, and the settings of `train` that all runs share."""

    net: networks.Network
    training: networks.Data
    held_out: networks.Data
    common: dict[str, Any]

    @classmethod
    def of(cls, params: dict[str, Any]) -> "DigitNets":
        """From widths, training_digits (the first), held_out_digits (the last), batch_size and label_noise."""
        digits = networks.digits()
        return cls(
            networks.mlp(params["widths"], normalised_output=True),
            digits.subset(slice(0, params["training_digits"])),
            digits.subset(slice(len(digits) - params["held_out_digits"], None)),
            {"batch_size": params["batch_size"], "label_noise": params["label_noise"], "chunk": CHUNK},
        )

    def pieces(self, stops: np.ndarray, **rates: Any) -> Any:
        """`train_in_pieces` on the training digits."""
        return networks.train_in_pieces(self.net, self.training, stops=stops, **rates, **self.common)

    def accuracies(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share of held-out digits, and of training digits, told rightly by each net, (E,) both."""
        held_out, training = (networks.evaluate(self.net, weights, data)[1] for data in (self.held_out, self.training))
        return held_out, training
