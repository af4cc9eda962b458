"""Do candidate and rival compute the same thing?  Asked before the clock starts; else it is not timed."""

from typing import Any, NamedTuple

import numpy as np

from .workloads import Descent, NormalisedSDE, Workload

CRITICAL = 6.0
"""Two-sample z-scores beyond this refuse a rival: false alarm below 1e-7 for a dozen scores."""


class Agreement(NamedTuple):
    """The largest deviation found, and whether it is small enough."""

    passed: bool
    deviation: float
    kind: str

    def __str__(self) -> str:
        return f"{'agrees' if self.passed else 'DISAGREES'}: {self.kind} {self.deviation:.2g}"


def compare(case: Workload, ours: Any, theirs: Any) -> Agreement:
    """Final weights to a tolerance for flow and descent; means and variances of samples for the SDE."""
    if isinstance(case, NormalisedSDE):
        return _same_law(case, ours, theirs)
    tolerance = 1e-10 if isinstance(case, Descent) else 1e-6
    deviation = float(np.abs(ours - theirs).max() / np.abs(ours).max())
    return Agreement(deviation <= tolerance, deviation, "relative difference")


def statistics_of(case: NormalisedSDE, result: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Per path: |w|^2 and its squared deviation at every record; loss and first weight at the end."""
    norms, final = result
    weights = final**2 / (final**2).sum(axis=1, keepdims=True)
    spread = (norms - norms.mean(axis=0)) ** 2
    return np.concatenate([norms, spread, (weights @ case.a)[:, None], weights[:, :1]], axis=1)


def _same_law(case: NormalisedSDE, ours: Any, theirs: Any) -> Agreement:
    first, second = statistics_of(case, ours), statistics_of(case, theirs)
    error = np.sqrt(first.var(axis=0, ddof=1) / len(first) + second.var(axis=0, ddof=1) / len(second))
    z = float(np.abs((first.mean(axis=0) - second.mean(axis=0)) / error).max())
    return Agreement(bool(z <= CRITICAL), z, "largest z-score")
