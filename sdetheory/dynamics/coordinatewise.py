"""Rules that move every coordinate by itself: one formula for the lanes of `simulate` and the arrays of networks.

A rule's plug-in registers `move`, one coordinate's step from its gradient and its memory, and `rates`, what all
coordinates share; where the memory of the step is also a clock, `age`.  The plug-in says, as class attributes,
`buffers`: the names of what a coordinate remembers, and for weights that are divided by c (see
``networks.WeightRescaling``) by which power of c each buffer is multiplied: `displacement_degrees`, so that the next
step moves the new weights by 1/c of what it would have moved the old ones, and `gradient_degrees`, as if all
gradients had been taken at the new weights.  ``memory(w)`` gives the buffers at the start.
"""

from typing import Any, NamedTuple

import numpy as np

from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.vector import fma


def _ageless(rule: Any, powers: Any) -> Any:
    """A step that does not depend on how many there were."""
    return powers


age = verb("age", "rule", "powers", default=_ageless)  # (p, q) before -> (p, q) of this step; 1, 1 at the start
rates = verb("rates", "rule", "lr", "weight_decay", "powers")  # -> tuple c of what all coordinates share
move = verb("move", "rule", "c", "x", "g", "memory")  # -> (new coordinate, new memory), from tuple to tuple


class PlainStep(NamedTuple):
    """w' = (1 - lr weight_decay) w - lr g."""

    buffers = ()
    displacement_degrees = ()
    gradient_degrees = ()

    def memory(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        """None."""
        return ()


@rates.of(PlainStep)
def _plain_rates(rule, lr, weight_decay, powers):
    """What remains of w, and the lr."""
    return 1.0 - lr * weight_decay, lr


@move.of(PlainStep)
def _plain_move(rule, c, x, g, memory):
    return fma(c[0], x, -c[1] * g), ()


PLAIN = PlainStep()
