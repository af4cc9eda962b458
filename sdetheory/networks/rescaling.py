"""Weight rescaling: weights that a normalisation follows are put back on their norm every few steps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from sdetheory import checks
from sdetheory.lanes.cache import compiled
from sdetheory.lanes.parts import OPTIONS
from sdetheory.lanes.tag import Tag, tag
from sdetheory.networks.data import Data
from sdetheory.networks.dots import inner
from sdetheory.networks.groups import Group, segment_table
from sdetheory.networks.network import Network

BUFFERS = ("keep", "rescale", "gradient", "project")


@dataclass(frozen=True)
class WeightRescaling:
    """w <- w / c, c = |w| / target, for groups of scale-invariant weights: the function stays, its effective lr not.

    every, unit: after every so many steps ("step") or passes over the data ("epoch", ceil(examples / batch) steps),
        counted from step 0 of the run. at_start: also before step 0.
    by: one norm a "neuron" (a filter, of a convolution) or a "layer".
    target: the norm, one number for all groups or one a group; "start" keeps the norms at the start.
    groups: names of layers, e.g. ("dense1",); None: all products whose weights are scale invariant. Scales and shifts
        of normalisations, and products without one behind them, are left alone.
    buffer: what becomes of the optimiser's memory v. "keep": nothing. "rescale": its next displacement shrinks like
        the weights (v/c for momentum). "gradient": as if all gradients had been taken at the new weights, where they
        are c times as long (c v). "project": v loses its part along w in each group. Rescaling with "rescale" is the
        schedule lr N^2 inside the buffer, with "gradient" outside it, N the product of the divisors (claim A19).
    despite_eps: also where normalisations have eps > 0: the groups that are scale invariant at eps = 0. Division by c
        then multiplies what leaves a normalisation by sqrt((v + eps)/(v + c^2 eps)), v the variance before, and no
        schedule of the lr is quite the same.

    Raises ValueError for a bad knob, and when training starts for groups that are not scale invariant.
    Source: Z. Liu et al. (2022), Weight rescaling (arXiv 2102.03497), reconstructed from the abstract.
    """

    every: int = 1
    unit: str = "step"
    by: str = "neuron"
    target: Any = 1.0
    groups: tuple[str, ...] | None = None
    buffer: str = "keep"
    at_start: bool = True
    despite_eps: bool = False

    def __post_init__(self) -> None:
        checks.integer("every", self.every, 1)
        checks.choice("unit", self.unit, ("step", "epoch"))
        checks.choice("by", self.by, ("neuron", "layer"))
        checks.choice("buffer", self.buffer, BUFFERS)
        if isinstance(self.target, str):
            checks.choice("target", self.target, ("start",))
        elif (checks.finite("target", self.target) <= 0).any():
            raise ValueError(f"`target` must be positive: target={self.target!r}")

    def chosen(self, net: Network) -> tuple[Group, ...]:
        """The groups of a network that are rescaled; ValueError if there are none or one must not be."""
        net = net.with_eps(0.0) if self.despite_eps else net
        layers = {group.name: group.layer for group in net.groups("layer")}
        named = None if self.groups is None else {layers[checks.choice("groups", n, layers)] for n in self.groups}
        products = {slot.layer for slot in net.slots if slot.name == "weight"}
        out = []
        for group in net.groups(self.by):
            if named is None:
                if group.scale_invariant and not group.frozen and group.layer in products:
                    out.append(group)
            elif group.layer in named:
                if not group.scale_invariant or group.frozen:
                    hint = self._hint(net, group.name)
                    raise ValueError(f"`groups` must be scale invariant and trained: {group.name} is not{hint}")
                out.append(group)
        if not out:
            raise ValueError(
                f"`rescaling` needs scale-invariant groups by {self.by}: the network has none{self._hint(net)}"
            )
        return tuple(out)

    def _hint(self, net: Network, name: str = "") -> str:
        """What may be meant where it is eps > 0 alone that leaves a group, this or any, its scale."""
        groups = [group for group in net.with_eps(0.0).groups(self.by) if group.name == name or not name]
        leaks = not self.despite_eps and any(group.scale_invariant and not group.frozen for group in groups)
        return " (because of eps > 0: `despite_eps=True` rescales nevertheless)" if leaks else ""

    def period(self, data: Data, batch_size: int | None) -> int:
        """Steps from one rescaling to the next."""
        return self.every * (1 if self.unit == "step" else -(-len(data) // (batch_size or len(data))))


class Rescaler:
    """A rescaling bound to a network and an optimiser's rule: divides weights and buffers in place."""

    def __init__(self, rescaling: WeightRescaling, net: Network, rule: Any, period: int) -> None:
        self.groups, self.period = rescaling.chosen(net), period
        self.segments = segment_table(self.groups)
        self._target = rescaling.target
        degrees = {"rescale": rule.displacement_degrees, "gradient": rule.gradient_degrees}
        self.degrees = np.array(degrees.get(rescaling.buffer, (0,) * len(rule.buffers)), dtype=np.float64)
        self.project = rescaling.buffer == "project"
        self._tag: Tag = tag()

    @classmethod
    def of(
        cls, rescaling: WeightRescaling | None, net: Network, rule: Any, data: Data, batch_size: int | None
    ) -> "Rescaler | None":
        """The rescaling of a run, if there is one."""
        return None if rescaling is None else cls(rescaling, net, rule, rescaling.period(data, batch_size))

    def targets(self, w: np.ndarray) -> np.ndarray:
        """Norms to return to, (E, G): as given, or those of w (E, P)."""
        shape = (len(w), len(self.groups))
        if isinstance(self._target, str):
            return np.stack([np.linalg.norm(group.select(w), axis=1) for group in self.groups], axis=1)
        values = checks.finite("target", self._target)
        if np.ndim(self._target):
            checks.shape("target", values, (shape[1],) if values.ndim == 1 else shape)
        return np.array(np.broadcast_to(values, shape))

    def due(self, step: int) -> bool:
        """Is it time after this step?"""
        return (step + 1) % self.period == 0

    def apply(self, w: np.ndarray, memory: np.ndarray, targets: np.ndarray, log_divisor: np.ndarray) -> None:
        """Rescale w (E, P) and memory (E, K, P) to norms (E, G); log c is added to log_divisor (E, G)."""
        degrees = self.degrees[: memory.shape[1]]
        _rescale(self._tag, w, memory, self.segments, targets, degrees, self.project, log_divisor)


@njit(**OPTIONS)
def _scale(v, w, factor, part):
    """v <- factor (v - part w)."""
    for i in range(v.size):
        v[i] = factor * (v[i] - part * w[i])


@compiled
def _rescale(tag, w, memory, segments, targets, degrees, project, log_divisor):
    """w <- w / c group by group, buffers times c^degree or freed of their part along w."""
    groups = targets.shape[1]
    squares, along = np.empty(groups), np.empty((len(degrees), groups))
    for e in range(len(w)):
        squares[:] = 0.0
        along[:] = 0.0
        for start, stop, group in segments:
            squares[group] += inner(w[e, start:stop], w[e, start:stop])
            if project:
                for k in range(len(degrees)):
                    along[k, group] += inner(w[e, start:stop], memory[e, k, start:stop])
        for start, stop, group in segments:
            c, here = np.sqrt(squares[group]) / targets[e, group], w[e, start:stop]
            for k in range(len(degrees)):
                if project or degrees[k] != 0.0:
                    _scale(memory[e, k, start:stop], here, c ** degrees[k], along[k, group] / squares[group])
            _scale(here, here, 1.0 / c, 0.0)
        for group in range(groups):
            log_divisor[e, group] += np.log(np.sqrt(squares[group]) / targets[e, group])
