"""Bad input refused before work starts: every message names the argument, the rule and the value."""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

LARGEST = 2**53  # counts below it are exact in floats and fit into 64 bits


class Diverged(ArithmeticError):
    """A trajectory left the finite numbers; the message says when, and what to change."""

    def __init__(self, time: float, step: int, advice: str = "reduce dt or lr"):
        self.time, self.step = time, step
        super().__init__(f"state became non-finite at t={time:.6g}, step {step}; {advice}")


def _show(value: Any) -> str:
    return np.array2string(value, threshold=6) if isinstance(value, np.ndarray) else repr(value)


def _refuse(name: str, rule: str, value: Any) -> ValueError:
    return ValueError(f"`{name}` must {rule}: {name}={_show(value)}")


def real(name: str, value: Any) -> float:
    """A finite real number, as a float; a text is none, whatever it spells."""
    if isinstance(value, str | bytes):
        raise _refuse(name, "be a real number", value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _refuse(name, "be a real number", value) from None
    except OverflowError:
        raise _refuse(name, "be below 1e308", value) from None
    if not np.isfinite(number):
        raise _refuse(name, "be finite", value)
    return number


def positive(name: str, value: Any) -> float:
    """A finite number > 0."""
    number = real(name, value)
    if number <= 0:
        raise _refuse(name, "be positive", value)
    return number


def nonnegative(name: str, value: Any) -> float:
    """A finite number >= 0."""
    number = real(name, value)
    if number < 0:
        raise _refuse(name, "not be negative", value)
    return number


def integer(name: str, value: Any, least: int = 0) -> int:
    """An integer >= `least` (2.0 counts as 2, True does not count)."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not abs(value) < np.inf or value != int(value):
        raise _refuse(name, "be an integer", value)
    if value < least:
        raise _refuse(name, f"be at least {least}", value)
    return int(value)


def finite(name: str, value: Any) -> np.ndarray:
    """An array of finite numbers, as float64 in C order."""
    try:
        given = np.asarray(value)
        if given.dtype.kind not in "biufO":  # a text is no number, and a complex number would lose its imaginary part
            raise TypeError
        array = np.ascontiguousarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise _refuse(name, "be a number or an array of numbers", value) from None
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"`{name}` must be finite: {name}{list(where)}={array[where]}")
    return array


def shape(name: str, value: np.ndarray, expected: tuple[int | None, ...]) -> np.ndarray:
    """An array of the expected shape; None leaves an axis free."""
    same = value.ndim == len(expected) and all(e is None or e == n for e, n in zip(expected, value.shape, strict=True))
    if not same:
        wanted = ", ".join("any" if e is None else str(e) for e in expected)
        raise ValueError(f"`{name}` must have shape ({wanted}): it has shape {value.shape}")
    return value


def choice(name: str, value: str, options: Iterable[str]) -> str:
    """One of the options; a near miss is suggested."""
    options = list(options)
    if value not in options:
        near = difflib.get_close_matches(str(value), options, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"`{name}` must be one of {', '.join(options)}: {name}={value!r}{hint}")
    return value


def increasing(name: str, value: Any) -> np.ndarray:
    """A one-dimensional array of finite, non-negative, strictly increasing numbers."""
    array = finite(name, np.atleast_1d(value))
    shape(name, array, (None,))
    if array.size == 0:
        raise ValueError(f"`{name}` must not be empty: {name}=[]")
    if array[0] < 0 or (np.diff(array) <= 0).any():
        raise _refuse(name, "be non-negative and strictly increasing", array)
    return array


def multiples(name: str, value: Any, unit_name: str, unit: float) -> np.ndarray:
    """Times as whole numbers of `unit`: the step numbers, int64."""
    array = increasing(name, value)
    with np.errstate(over="ignore"):
        steps = np.rint(array / unit)
    if steps[-1] > LARGEST:
        raise ValueError(f"`{name}` must be below 2**53 times `{unit_name}`: {name}={array[-1]}, {unit_name}={unit}")
    off = np.abs(steps * unit - array) > 1e-9 * np.maximum(unit, np.abs(array))
    if off.any():
        spacing = float(np.diff(array).min()) if array.size > 1 else float(array[0])
        raise ValueError(
            f"`{unit_name}` must divide the spacing of `{name}`: {unit_name}={unit}, spacing={spacing}, "
            f"first value off the grid {array[off][0]}"
        )
    return steps.astype(np.int64)


def start_norm(name: str, value: np.ndarray) -> np.ndarray:
    """Starts (..., d) of a scale-invariant loss: the norm must not be zero, there the loss is not defined."""
    norms = np.linalg.norm(np.atleast_2d(value), axis=-1)
    if (norms == 0).any():
        row = int(np.argmin(norms))
        raise ValueError(f"`{name}` must not be zero for a scale-invariant loss: |{name}|=0 in row {row}")
    return value
