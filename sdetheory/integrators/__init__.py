"""Numerics for continuous time, and the plain step of discrete training: one scheme, or family of schemes, a
file.

Every integrator class declares `calculus` ("ito", "stratonovich", "ode" or "discrete") and its orders
(`order` for ordinary equations, `strong_order` and `weak_order` for stochastic ones).  A class in any file of
this package can be imported from here by its name.
"""

import importlib
import pkgutil
from typing import Any


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for found in pkgutil.iter_modules(__path__):
            module = importlib.import_module(f"{__name__}.{found.name}")
            value = vars(module).get(name)
            if getattr(value, "__module__", None) == module.__name__:
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
