"""Functions of the state recorded during a run: one compiled kernel each, a lane in, a lane out."""

from typing import NamedTuple

import numpy as np

from sdetheory.lanes.vector import constant, fma, load, sqrt
from sdetheory.lanes.verbs import observe
from sdetheory.models.noise import squared_norm


class SquaredNorm(NamedTuple):
    """|w|^2."""


@observe.of(SquaredNorm)
def _squared_norm(observer, w):
    """|w|^2."""
    return squared_norm(w)
