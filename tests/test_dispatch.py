"""Verbs: the kernel follows the class, compiled or not, and a missing kernel says what to do."""

from typing import NamedTuple

import numpy as np
import pytest
from numba import njit

from sdetheory.lanes.dispatch import verb
from sdetheory.plugins import canonical


class Celsius(NamedTuple):
    degrees: float


class Kelvin(NamedTuple):
    degrees: float


class Silent(NamedTuple):
    pass


def _zero(thing, shift):
    return 0.0


absolute_temperature = verb("absolute_temperature", "thing", "shift")
with_default = verb("with_default", "thing", "shift", default=_zero)


@absolute_temperature.of(Celsius)
def _celsius(thing, shift):
    return thing.degrees + 273.15 + shift


@absolute_temperature.of(Kelvin)
def _kelvin(thing, shift):
    return thing.degrees + shift


@njit
def call(thing, shift):
    return absolute_temperature(thing, shift) + with_default(thing, shift)


def test_the_class_of_the_first_argument_decides():
    for f in (call, absolute_temperature, absolute_temperature.python):
        assert f(Celsius(1.0), 2.0) == pytest.approx(276.15, abs=1e-12)
        assert f(Kelvin(1.0), 2.0) == 3.0
    assert with_default(Silent(), 1.0) == 0.0


def test_the_decorator_returns_the_plain_function():
    assert _celsius(Celsius(0.0), 0.0) == 273.15
    assert absolute_temperature.has(Celsius(0.0)) and not absolute_temperature.has(Silent())
    assert "absolute_temperature(thing, shift)" in repr(absolute_temperature)


def test_a_missing_kernel_is_named():
    with pytest.raises(
        TypeError, match=r"Silent has no `absolute_temperature` kernel.*registered: Celsius, Kelvin"
    ):
        absolute_temperature(Silent(), 1.0)


@pytest.mark.compiled
def test_a_missing_kernel_is_named_when_compiling_too():
    with pytest.raises(Exception, match="Silent has no `absolute_temperature` kernel"):
        call(Silent(), 1.0)


def test_a_kernel_of_the_wrong_arity_is_refused():
    with pytest.raises(TypeError, match=r"takes \(thing, shift\): short takes 1 arguments"):

        @absolute_temperature.of(Silent)
        def short(thing):
            return 0.0


class Fields(NamedTuple):
    number: float
    array: np.ndarray
    inner: Celsius


def test_plug_ins_become_canonical():
    fields = canonical(Fields(1, np.arange(6.0).reshape(2, 3).T, Celsius(2)), 3)
    assert isinstance(fields.number, float) and isinstance(fields.inner.degrees, float)
    assert fields.array.flags.c_contiguous and fields.array.dtype == np.float64
    assert canonical(Fields(1.0, np.arange(3), Celsius(0.0)), 3).array.dtype == np.int64
    for wrong in (Celsius, "sgd", 3.0):
        with pytest.raises(TypeError, match="must be an instance of a NamedTuple class"):
            canonical(wrong, 3)
