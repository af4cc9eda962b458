"""Plug-ins as the kernels want them: NamedTuples of floats, integers, contiguous arrays and other
plug-ins.
"""

from typing import Any

import numpy as np


def canonical(plugin: Any, d: int) -> Any:
    """The plug-in, checked by its own `validated(d)`, with numbers as annotated and arrays in C order.

    Float arrays and lists become float64, integer arrays int64, so that equal plug-ins compile once.
    Raises TypeError for something that is not a NamedTuple instance, and whatever `validated` raises.
    """
    if isinstance(plugin, type) or not hasattr(plugin, "_fields"):
        raise TypeError(
            f"a plug-in must be an instance of a NamedTuple class with registered kernels: got {plugin!r}"
        )
    if hasattr(plugin, "validated"):
        plugin = plugin.validated(d)
    hints = type(plugin).__annotations__
    return type(plugin)(
        *(_plain(value, hints.get(name), d) for name, value in zip(plugin._fields, plugin, strict=True))
    )


def _plain(value: Any, hint: Any, d: int) -> Any:
    """One field."""
    if hasattr(value, "_fields"):
        return canonical(value, d)
    if hint in (float, "float") and isinstance(value, int | float | np.number):
        return float(value)
    if isinstance(value, list):
        value = np.array(value, dtype=np.float64)
    if isinstance(value, np.ndarray):
        kind = np.int64 if value.dtype.kind in "iub" else np.float64
        return value if value.dtype == kind and value.flags.carray else np.require(value, kind, ["C", "W", "A"])
    return value
