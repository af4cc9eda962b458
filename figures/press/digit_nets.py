"""Ensembles of batch-normalised nets on digits: what several figures train, and how it is seen in between."""

from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from sdetheory import networks

# For `compute`: products outside of training are small too, a second BLAS thread would only wait for its share.
one_thread_a_product: Any = threadpool_limits.wrap(limits=1, user_api="blas")
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

    def labels(self, weights: np.ndarray) -> np.ndarray:
        """The label each net gives each held-out digit, (E, n)."""
        return networks.predict(self.net, weights, self.held_out.inputs)

    def accuracies(self, weights: np.ndarray) -> list[np.ndarray]:
        """Share of held-out digits, and of training digits, told rightly by each net, (E,) both."""
        return [networks.evaluate(self.net, weights, data)[1] for data in (self.held_out, self.training)]

    def fitted(self, seeds: np.ndarray, shuffle: int, batch_size: int, **rates: Any) -> tuple[np.ndarray, np.ndarray]:
        """Nets fitted to shuffled labels without noise or weight decay, and the share of them each knows."""
        wrong = self.training.shuffled_labels(shuffle)
        run = networks.train(
            self.net, wrong, seeds=seeds, batch_size=batch_size, record_every=rates["steps"], chunk=CHUNK // 2, **rates
        )
        return run.final, networks.evaluate(self.net, run.final, wrong)[1]

    def with_norms_of(self, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Nets (E, P), each layer scaled to the root mean square norm it has in `starts`."""
        for group in self.net.groups():
            wanted = np.sqrt((group.select(starts) ** 2).sum(axis=1).mean())
            weights = group.scaled(weights, wanted / np.linalg.norm(group.select(weights), axis=1)[:, None])
        return weights
