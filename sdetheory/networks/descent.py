"""Steps of any coordinatewise rule on an ensemble of networks, with the norms of every group, in one pass.

The formulas are those of `sdetheory.dynamics`: the kernels here bring them to arrays of parameters.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from sdetheory.dynamics.coordinatewise import PLAIN, age, move, rates
from sdetheory.dynamics.rules import SGD, GradientDescent
from sdetheory.lanes.cache import compiled
from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.tag import Tag, tag
from sdetheory.networks.dots import SUMS
from sdetheory.plugins import canonical

# One segment of parameters: w, g (n,), memory (buffers, P) from `start` on; moves them and gives |w|^2, |g|^2, <w, g>
# from before.


@njit(**SUMS)
def _sweep_alone(rule, c, w, g, memory, start):
    """Rules without memory."""
    norm, growth, radial = 0.0, 0.0, 0.0
    for i in range(w.size):
        x, y = w[i], g[i]
        norm += x * x
        growth += y * y
        radial += x * y
        w[i] = move(rule, c, x, y, ())[0]
    return norm, growth, radial


@njit(**SUMS)
def _sweep_one(rule, c, w, g, memory, start):
    """Rules with one buffer."""
    norm, growth, radial, first = 0.0, 0.0, 0.0, memory[0, start : start + w.size]
    for i in range(w.size):
        x, y = w[i], g[i]
        norm += x * x
        growth += y * y
        radial += x * y
        x, new = move(rule, c, x, y, (first[i],))
        w[i] = x
        first[i] = new[0]
    return norm, growth, radial


@njit(**SUMS)
def _sweep_two(rule, c, w, g, memory, start):
    """Rules with two buffers."""
    norm, growth, radial = 0.0, 0.0, 0.0
    first, second = memory[0, start : start + w.size], memory[1, start : start + w.size]
    for i in range(w.size):
        x, y = w[i], g[i]
        norm += x * x
        growth += y * y
        radial += x * y
        x, new = move(rule, c, x, y, (first[i], second[i]))
        w[i] = x
        first[i] = new[0]
        second[i] = new[1]
    return norm, growth, radial


_SWEEPS = (_sweep_alone, _sweep_one, _sweep_two)
sweep = verb("sweep", "rule", "c", "w", "g", "memory", "start")


@compiled
def _step(tag, rule, w, g, memory, powers, segments, lr, weight_decay, moments, sums):
    """One step of every net: w, g (E, P), memory (E, buffers, P), powers (E, 2), lr and weight_decay (E, G).

    segments, moments and sums as in `kernels.descend`.
    """
    for e in range(len(w)):
        now = age(rule, (powers[e, 0], powers[e, 1]))
        powers[e, 0], powers[e, 1] = now
        moments[e] = 0.0
        for start, stop, group in segments:
            c = rates(rule, lr[e, group], weight_decay[e, group], now)
            norm, growth, radial = sweep(rule, c, w[e, start:stop], g[e, start:stop], memory[e], start)
            moments[e, group, 0] += norm
            moments[e, group, 1] += growth
            moments[e, group, 2] += radial
        for group in range(moments.shape[1]):
            norm, growth, radial = moments[e, group]
            sums[e, group, 0] += norm * growth
            sums[e, group, 1] += (lr[e, group] * growth) ** 2
            sums[e, group, 2] += lr[e, group] ** 2 * growth
            sums[e, group, 3] += 2.0 * lr[e, group] * radial


@dataclass(frozen=True)
class Descent:
    """A rule ready for networks: `step` moves parameters, buffers and powers in place."""

    rule: Any
    tag: Tag

    def step(self, w, g, memory, powers, segments, lr, weight_decay, moments, sums) -> None:
        """One step; shapes as in the kernel."""
        _step(self.tag, self.rule, w, g, memory, powers, segments, lr, weight_decay, moments, sums)

    def memory(self, w: np.ndarray) -> np.ndarray:
        """Buffers (E, K, P) at the start w (E, P)."""
        start = self.rule.memory(w)
        return np.stack(start, axis=1) if start else np.zeros((len(w), 0, w.shape[1]))


def descent(optimiser: Any) -> Descent:
    """The kernels of an optimiser: of `sdetheory.dynamics`, or your own with a coordinatewise `stepper()`.

    Raises ValueError for one whose step is not coordinate by coordinate.
    """
    plain = optimiser is None or type(optimiser) in (GradientDescent, SGD)
    rule = PLAIN if plain else optimiser.stepper() if hasattr(optimiser, "stepper") else None
    if not move.has(rule):
        raise ValueError(
            f"`optimiser` must move coordinate by coordinate (register `move` and `rates` for its step): {optimiser!r}"
        )
    rule = canonical(rule, 1)
    if len(rule.buffers) >= len(_SWEEPS):
        raise ValueError(f"`optimiser` must have at most two buffers: {type(rule).__name__} has {rule.buffers}")
    if not sweep.has(rule):
        sweep.of(type(rule))(_SWEEPS[len(rule.buffers)])
    return Descent(rule, tag(rule))


def check_optimiser(optimiser: Any, lr: Any, weight_decay: Any) -> tuple[Any, Any]:
    """lr and weight decay from the optimiser or from the arguments; ValueError if given twice or not at all."""
    if optimiser is None:
        if lr is None:
            raise ValueError("`lr` must be given, by itself or in an `optimiser`: lr=None")
        return lr, weight_decay
    if not (hasattr(optimiser, "lr") and hasattr(optimiser, "weight_decay")):
        raise ValueError(f"`optimiser` must be a rule with lr and weight_decay, like HeavyBall(lr=0.1): {optimiser!r}")
    decays = np.ndim(weight_decay) > 0 or callable(weight_decay) or weight_decay != 0
    for name, twice in {"lr": lr is not None, "weight_decay": decays}.items():
        if twice:
            raise ValueError(f"`{name}` must be given in the optimiser alone: {optimiser!r}")
    return optimiser.lr, optimiser.weight_decay

