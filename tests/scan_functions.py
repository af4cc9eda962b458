"""Functions that tests scan."""

import math
import random

from sdetheory.checks import Diverged


def wave(x: float, n: int = 1, kind: str = "plain", shift: float = 0.0, *, seed):
    """A sum with noise."""
    return {"y": (n * x + shift + random.Random(seed).gauss(0, 1e-3), 1e-3), "z": x}


wave.observables = {"y": "sum", "z": "x again"}
wave.predict = lambda x, n, kind, shift: {"y": n * x}


def moody(x: float, mood: str = "well"):
    """Fails or diverges where told to."""
    if mood == "fails":
        raise ArithmeticError(f"no luck at {x}")
    if mood == "diverges":
        raise Diverged(2.5, 10)
    return {"y": math.nan if mood == "nan" else x, "path": [x, 2 * x]}


def loose(**parameters):
    """Does not name its parameters."""
    return {"y": 1.0}


def silent(x: float):
    """Returns nothing."""


def mislabelled(x: float):
    """Measures what it did not announce."""
    return {"yy": x}


mislabelled.observables = {"y": "x"}
NUMBER = 3
