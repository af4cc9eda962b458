"""What training leaves behind: norms, gradient norms, losses at recorded steps, and sums in between."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.networks.groups import Group
from sdetheory.networks.state import TrainingState


@dataclass(frozen=True)
class TrainingRecord:
    """E nets, T recorded steps, G groups of parameters (the trainable ones).

    At recorded step t the values belong to the parameters before that step and to the batch of that step; the
    `..._sum` and `..._mean` entries cover the steps from the previous record up to the one before t (0 or NaN
    at the first). With w the group, g its gradient: squared_norm |w|^2, squared_gradient |g|^2, radial <w,
    g>, each (E, T, G); spherical_sum of s = |w|^2 |g|^2, the squared gradient at w/|w|; correction_sum of s^2
    lr^2 / |w|^4, the term by which one step of SGD leaves the continuum law of lr^-2 |w|^4; growth_sum of
    lr^2 |g|^2; leak_sum of 2 lr <w, g>, to be compared with growth_sum (0 for scale-invariant groups).

    lr and weight_decay are (E, T), or (E, T, G) where they differ between groups. rescaled: the R groups that weight
    rescaling acted on; log_divisor (E, T, R): log N_t, the sum of log c over the rescalings before step t. readings:
    of the instruments, by name. final (E, P) and state: hand them to `train` to go on.
    """

    steps: np.ndarray
    groups: tuple[Group, ...]
    seeds: np.ndarray
    lr: np.ndarray
    weight_decay: np.ndarray
    squared_norm: np.ndarray
    squared_gradient: np.ndarray
    radial: np.ndarray
    spherical_sum: np.ndarray
    correction_sum: np.ndarray
    growth_sum: np.ndarray
    leak_sum: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    loss_mean: np.ndarray
    final: np.ndarray
    state: TrainingState
    rescaled: tuple[Group, ...]
    log_divisor: np.ndarray
    readings: dict[str, dict[str, np.ndarray]]
    diverged: np.ndarray
    diverged_step: np.ndarray
    how: dict[str, Any]

    @property
    def spherical(self) -> np.ndarray:
        """|w|^2 |g|^2 of the batch at the recorded step, (E, T, G)."""
        return self.squared_norm * self.squared_gradient

    @property
    def spherical_mean(self) -> np.ndarray:
        """Mean of |w|^2 |g|^2 over the steps since the previous record, (E, T, G); NaN at the first."""
        steps = np.diff(self.steps, prepend=self.steps[0]).astype(np.float64)
        steps[0] = np.nan
        return self.spherical_sum / steps[:, None]

    @property
    def effective_lr(self) -> np.ndarray:
        """lr / |w|^2, (E, T, G)."""
        return self.lr.reshape(*self.lr.shape[:2], -1) / self.squared_norm

    @property
    def gamma(self) -> np.ndarray:
        """effective_lr^-2 = |w|^4 / lr^2, (E, T, G)."""
        return self.effective_lr**-2

    @property
    def healthy(self) -> np.ndarray:
        """Indices of the nets that did not diverge."""
        return np.flatnonzero(~self.diverged)

    def column(self, name: str) -> int:
        """The place of a group, by its name, along the last axis."""
        names = [group.name for group in self.groups]
        return names.index(checks.choice("name", name, names))
