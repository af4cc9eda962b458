"""The parts of a figure script that the press asks for by name."""

from types import ModuleType
from typing import Any


def name(script: ModuleType) -> str:
    """The figure's name: that of its file."""
    return script.__name__.rpartition(".")[2]


def title(script: ModuleType) -> str:
    """The first line of its docstring."""
    return (script.__doc__ or "").strip().partition("\n")[0]


def parameters(script: ModuleType, quick: bool) -> dict[str, Any]:
    """`PARAMS`, or `QUICK`, which must have the same keys."""
    if script.QUICK.keys() != script.PARAMS.keys():
        differ = sorted(script.QUICK.keys() ^ script.PARAMS.keys())
        raise ValueError(f"`QUICK` must have the keys of `PARAMS` in {name(script)}: they differ in {differ}")
    return script.QUICK if quick else script.PARAMS
