"""The regularity of a training run, measured while it runs: an instrument for `train` or any other loop.

A reference known beforehand costs one row of numbers a step. The last or the best iterate is known only at the end:
then the instrument keeps all iterates, or the run is made twice (`replayed`), which a bitwise reproducible trainer
allows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.regularity import REFERENCES, gathered, geometry

FullLoss = Callable[[np.ndarray], np.ndarray]


class Regularity:
    """Instrument: gamma_k and the cosine of update and w_k - reference, at every step (see `sdetheory.regularity`).

    reference: points (E, P) known beforehand, or "final" or "best", which keep all iterates, 8 (T + 1) E P bytes in
    all, and refuse to pass `most_bytes` a chunk of nets (`replayed` needs no such memory). loss: None for that of the
    batch, or a function of weights (E, P) -> (E,), such as the loss on all data, evaluated at every step;
    least_loss: its infimum; name: of the reading, for several in one run. The update direction is (w - w')/lr
    whatever moved the weights, weight decay and rescaling too. Reading: gamma, cosine, fall, excess, lr (E, T),
    squared_distance (E, T + 1), and the reference (E, P); `PathRegularity.of` makes epochs, bounds and quantiles of it.
    Raises ValueError for an unknown reference, too little memory, lr <= 0 or one for each group.
    """

    def __init__(
        self,
        reference: str | np.ndarray = "final",
        *,
        loss: FullLoss | None = None,
        least_loss: float = 0.0,
        most_bytes: float = 2e9,
        name: str = "regularity",
    ):
        if isinstance(reference, str):
            self.reference: str | np.ndarray = checks.choice("reference", reference, REFERENCES)
        else:
            self.reference = checks.shape("reference", checks.finite("reference", reference), (None, None))
        self.loss, self.least_loss = loss, checks.real("least_loss", least_loss)
        self.most_bytes, self.name = checks.positive("most_bytes", most_bytes), name
        self._path: list[np.ndarray] = []
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._known: list[tuple[np.ndarray, ...]] = []
        self._after = np.empty((0, 0))

    def part(self, nets: slice) -> "Regularity":
        """The instrument for these nets of the ensemble."""
        mine = self.reference if isinstance(self.reference, str) else self.reference[nets]
        settings: dict[str, Any] = {"loss": self.loss, "least_loss": self.least_loss}
        return Regularity(mine, most_bytes=self.most_bytes, name=self.name, **settings)

    def see(self, step: Any) -> None:
        """One step of all nets, the next one of the run."""
        lr = np.broadcast_to(step.lr, step.loss.shape) if np.ndim(step.lr) < 2 else step.lr
        if np.ndim(step.lr) > 1 or (lr <= 0).any():
            raise ValueError(f"`lr` must be positive and one number a net: shape {np.shape(step.lr)}, {np.min(lr)}")
        self._known.append((np.array(step.loss if self.loss is None else self.loss(step.before)), np.array(lr)))
        if isinstance(self.reference, np.ndarray):
            checks.shape("reference", self.reference, step.before.shape)
            self._rows.append(geometry(step.before, step.after, self.reference))
        else:
            if (len(self._path) + 2) * step.before.nbytes > self.most_bytes:
                raise ValueError(
                    f"`most_bytes` must hold all iterates: most_bytes={self.most_bytes:g} are full after "
                    f"{len(self._path)} steps; give more, or use `replayed`"
                )
            self._path.append(np.array(step.before))
        self._after = np.array(step.after)

    def reading(self) -> dict[str, np.ndarray]:
        """Everything about the steps seen so far."""
        if not self._known:
            raise ValueError("`Regularity` must have seen a step before it is read")
        loss, lr = (np.stack(rows, axis=1) for rows in zip(*self._known, strict=True))
        reference, rows = self._point(loss), self._rows
        if self._path:
            ends = [*self._path[1:], self._after]
            rows = [geometry(a, b, reference) for a, b in zip(self._path, ends, strict=True)]
        distance, fall, cosine = (np.stack(row, axis=1) for row in zip(*rows, strict=True))
        end = self._after - reference
        distance = np.column_stack([distance, np.einsum("ep,ep->e", end, end)])
        seen = gathered(distance, fall, cosine, loss, lr, self.least_loss)
        return {"gamma": seen.gamma, **vars(seen), "reference": reference}

    def _point(self, loss: np.ndarray) -> np.ndarray:
        """The reference of each net, (E, P)."""
        if isinstance(self.reference, np.ndarray):
            return self.reference
        if self.reference == "final":
            return self._after
        best = loss.argmin(axis=1)
        return np.stack([self._path[k][e] for e, k in enumerate(best)])


class BestIterate:
    """Instrument: the weights with the smallest loss so far, (E, P), and that loss (E,); memory of one state.

    loss: None for that of the batch, or a function of weights (E, P) -> (E,).
    """

    def __init__(self, loss: FullLoss | None = None):
        self.loss = loss
        self._weights, self._least = np.empty((0, 0)), np.empty(0)

    def see(self, step: Any) -> None:
        """One step of all nets."""
        loss = np.array(step.loss if self.loss is None else self.loss(step.before))
        if not len(self._least):
            self._weights, self._least = np.array(step.before), loss
            return
        better = loss < self._least
        self._weights[better], self._least[better] = step.before[better], loss[better]

    def reading(self) -> dict[str, np.ndarray]:
        """The best weights and their loss."""
        return {"weights": self._weights, "loss": self._least}


def replayed(
    run: Callable[..., Any], reference: str = "final", *, loss: FullLoss | None = None, least_loss: float = 0.0
) -> Any:
    """The record of run(instruments=...), made twice: once to know the reference, once to be measured against it.

    run: `functools.partial(train, net, data, ...)` with everything but the instruments; reference: "final" or "best".
    Needs the memory of one state and twice the time; readings["regularity"] is that of the instrument which keeps
    every iterate, to the last bit. Raises ValueError for an unknown reference.
    """
    if checks.choice("reference", reference, REFERENCES) == "final":
        point = run(instruments=()).final
    else:
        point = run(instruments=(BestIterate(loss),)).readings["best_iterate"]["weights"]
    return run(instruments=(Regularity(point, loss=loss, least_loss=least_loss),))
