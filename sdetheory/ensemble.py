"""What a simulation returns: the ensemble of paths, with what is needed to run it again."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ensemble:
    """Observed values of an ensemble of paths.

    ts (T,); values: name -> (paths, T); states (paths, T, d) or None; final (paths, d): the state after the
    last step; diverged (paths,) and diverged_step (paths,), the step after which a path first was non-finite
    (-1: never); how: parameters, seed, versions and digest of the sources; views: name -> (views, paths, T),
    what was seen of each state of an integrator that carries several (Richardson: fine and coarse), of which
    `values` is the combination.
    """

    ts: np.ndarray
    values: dict[str, np.ndarray]
    final: np.ndarray
    diverged: np.ndarray
    diverged_step: np.ndarray
    states: np.ndarray | None = None
    how: dict[str, Any] = field(default_factory=dict)
    views: dict[str, np.ndarray] = field(default_factory=dict)

    def mean(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard error over healthy paths, both (T,); the error is NaN for a single path."""
        if name not in self.values:
            raise KeyError(
                f"`name` must be one of {', '.join(self.values) or 'no observed values'}: name={name!r}"
            )
        healthy = self.values[name][~self.diverged]
        error = (
            healthy.std(axis=0, ddof=1) / np.sqrt(len(healthy))
            if len(healthy) > 1
            else np.full(self.ts.shape, np.nan)
        )
        return healthy.mean(axis=0), error

    def __getitem__(self, name: str) -> np.ndarray:
        """values[name]."""
        return self.values[name]

    def __repr__(self) -> str:
        kept = ", ".join(self.values) or "nothing"
        size = f"{len(self.final)} paths, {self.ts.size} times"
        return f"<Ensemble: {size}, {kept} observed, {self.diverged.sum()} diverged>"
