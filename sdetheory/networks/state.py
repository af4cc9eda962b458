"""What a run carries from step to step beside the weights."""

from typing import NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.networks.descent import Descent
from sdetheory.networks.rescaling import Rescaler


class TrainingState(NamedTuple):
    """Memory of optimiser and rescaling of E nets; hand `record.state` to `train` to go on bitwise.

    memory (E, K, P): the K buffers of the optimiser; powers (E, 2): its clock, e.g. beta1^t, beta2^t; targets (E, R):
    the norms R groups are rescaled to; log_divisor (E, R): log N, the sum of log c over all rescalings so far.
    """

    memory: np.ndarray
    powers: np.ndarray
    targets: np.ndarray
    log_divisor: np.ndarray

    def part(self, nets: slice) -> "TrainingState":
        """Views for some of the nets."""
        return TrainingState(*(a[nets] for a in self))


def begin(
    state: TrainingState | None, w: np.ndarray, descent: Descent, rescaler: Rescaler | None, at_start: bool
) -> TrainingState:
    """A copy of the given state, checked, or the state of a fresh start at w (E, P); rescales w `at_start`."""
    groups = 0 if rescaler is None else len(rescaler.groups)
    if state is not None:
        shapes = ((len(w), len(descent.rule.buffers), w.shape[1]), (len(w), 2), *((len(w), groups),) * 2)
        for name, values, shape in zip(state._fields, state, shapes, strict=True):
            checks.shape(f"state.{name}", values, shape)
        return TrainingState(*(np.array(a) for a in state))
    targets = np.zeros((len(w), 0)) if rescaler is None else rescaler.targets(w)
    log_divisor = np.zeros((len(w), groups))
    if rescaler is not None and at_start:
        rescaler.apply(w, np.zeros((len(w), 0, w.shape[1])), targets, log_divisor)
    return TrainingState(descent.memory(w), np.ones((len(w), 2)), targets, log_divisor)
