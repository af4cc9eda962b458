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
    channels,
    coordinate,
    coordinate_noise,
    disturb,
    draws,
    gradient,
    laplacian,
    loss,
    measure,
    measure_all,
    observe,
    prepare,
    prepare_noise,
    workspace,
)

__all__ = [
    "absolute", "channels", "constant", "coordinate", "coordinate_noise", "disturb", "draws", "exp", "fma", "gradient",
    "laplacian", "load", "log", "loss", "maximum", "measure", "measure_all", "minimum", "observe", "prepare",
    "prepare_noise", "select", "sqrt", "store", "workspace",
]  # fmt: skip
