"""Scaled learning rates: another run's effective learning rate, brought about without its weight decay."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.networks.dots import GroupDot
from sdetheory.networks.groups import Group
from sdetheory.networks.record import TrainingRecord

RateOfStep = Callable[[int, slice, np.ndarray], np.ndarray]


class ReplayedRate:
    """The lr that gives weights v the effective lr of a recorded run w with weight decay: hand it to `train` as lr.

    lr_t of a set of groups = lr/(1 - lr wd) |v_t|^2/|w_t|^2 with the lr and wd of the run's step t; `exact` False
    leaves out the factor 1/(1 - lr wd). Groups that are not scale invariant get the run's own lr.

    run: a record of every step (record_every=1) of the same nets, with the same groups (`by`) as the new run.
    by: the sets with one |v|^2/|w|^2 each, "group" (the record's own), "layer", or "network" (all of them together).
    For SGD on scale-invariant weights "group" with neurons is exact: w_t = v_t prod (1 - lr wd) (claim A20); a "layer"
    is exact as well, as all its neurons decay alike: what is lost with momentum, epsilon, or other parameters shows.

    Raises ValueError for an unknown `by`, for a record of only some steps, and, when training starts, for other
    groups, steps or nets.
    Source: E. Hoffer et al. (2018), Norm matters; Li and Arora (2020), An exponential learning rate schedule.
    """

    def __init__(self, run: TrainingRecord, by: str = "group", exact: bool = True) -> None:
        self.run, self.by, self.exact = run, checks.choice("by", by, ("group", "layer", "network")), bool(exact)
        if (np.diff(run.steps) != 1).any():
            raise ValueError(f"`run` must be a record of every step: its steps are {run.steps[:4]} ...")
        self._sets = _sets(run.groups, self.by)
        self._invariant = np.array([group.scale_invariant for group in run.groups])
        self._dot, places = GroupDot(run.groups), np.arange(len(self._sets))
        self._members = np.zeros((len(places), self._sets.max() + 1))  # which group counts in which set's norm
        self._members[places, self._sets] = self._invariant | (self.by != "network")

    def __repr__(self) -> str:
        return f"ReplayedRate(by={self.by!r}, exact={self.exact}, steps={self.run.steps[0]}..{self.run.steps[-1]})"

    def bind(self, groups: Sequence[Group], nets: int, first: int, steps: int) -> RateOfStep:
        """The rates (nets, G) of step `number` at weights w of a chunk; checks that the record fits the new run."""
        if [g.segments for g in groups] != [g.segments for g in self.run.groups]:
            raise ValueError(f"`lr` must replay a record with the groups of this run: {self!r}")
        if nets != len(self.run.seeds) or first < self.run.steps[0] or first + steps > self.run.steps[-1]:
            raise ValueError(
                f"`lr` must replay a record of the same {nets} nets and of steps {first} .. {first + steps - 1}: "
                f"{self!r}"
            )
        return self._rate

    def _rate(self, number: int, nets: slice, w: np.ndarray) -> np.ndarray:
        t = number - int(self.run.steps[0])
        lr, weight_decay = (r[nets, t].reshape(len(w), -1) for r in (self.run.lr, self.run.weight_decay))
        own = np.broadcast_to(lr, (len(w), len(self._sets)))
        scale = own / (1.0 - lr * weight_decay) if self.exact else own
        here, there = self._dot(w, w) @ self._members, self.run.squared_norm[nets, t] @ self._members
        return np.where(self._invariant, scale * here[:, self._sets] / there[:, self._sets], own)


def _sets(groups: Sequence[Group], by: str) -> np.ndarray:
    """The set of each group, as numbers from 0."""
    keys: list[Any] = [{"group": i, "layer": g.layer, "network": 0}[by] for i, g in enumerate(groups)]
    return np.unique(keys, return_inverse=True)[1].reshape(-1)
