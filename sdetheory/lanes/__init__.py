"""Kernels that read as scalar code and run on 8, 16 or 32 paths at once: what a plug-in of your own imports."""

from sdetheory.lanes.vector import (
    absolute,
    constant,
    exp,
    fma,
    load,
    log,
    maximum,
    minimum,
    select,
    sqrt,
    store,
)
from sdetheory.lanes.verbs import (
    coordinate,
    coordinate_noise,
    disturb,
    draws,
    gradient,
    loss,
    measure,
    observe,
    prepare,
    prepare_noise,
    workspace,
)

__all__ = [
    "absolute", "constant", "coordinate", "coordinate_noise", "disturb", "draws", "exp", "fma", "gradient", "load",
    "log", "loss", "maximum", "measure", "minimum", "observe", "prepare", "prepare_noise", "select", "sqrt", "store",
    "workspace",
]  # fmt: skip
