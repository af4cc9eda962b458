"""Times at which curves fall to a level and the power of a parameter by which they grow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from figures.press import scaling

TIME = np.linspace(0.0, 8.0, 33)


@given(st.floats(0.2, 3.0), st.floats(0.05, 0.9))
def test_the_time_of_an_exponential_is_exact(rate, level):
    """The logarithm is interpolated, so e^(-r t) reaches the level at ln(1/level)/r, or never within the times."""
    reached = scaling.reach(TIME, np.exp(-rate * TIME), level)
    exact = -np.log(level) / rate
    if exact < TIME[-1] - 1e-9:
        assert reached == pytest.approx(exact, rel=1e-9), (reached, exact)
    elif exact > TIME[-1] + 1e-9:
        assert np.isnan(reached)


def test_curves_without_a_crossing_have_no_time():
    """Never below, below from the start; a negative value is a crossing."""
    assert np.isnan(scaling.reach(TIME, np.full(33, 2.0), 1.0)) and np.isnan(scaling.reach(TIME, np.zeros(33), 1.0))
    assert 0 < scaling.reach(np.array([0.0, 1.0]), np.array([2.0, -3.0]), 1.0) < 1


@given(st.floats(0.3, 2.0), st.floats(0.2, 0.8))
def test_the_power_of_a_known_law(power, level):
    """Rates h^p give times h^-p to every level; an interval over equal resamples is that number."""
    parameter = np.array([0.5, 1.0, 2.0])
    time = TIME / parameter[:, None] ** power
    curves = np.exp(-((parameter[:, None] ** power) * time))
    resampled = np.repeat(curves[:, :, None], 5, axis=2)
    found = scaling.exponent(parameter, time, curves, resampled, level)
    assert found[:3] == pytest.approx((power,) * 3, rel=1e-9), found
    np.testing.assert_allclose(found.times, -np.log(level) / parameter**power, rtol=1e-9)
    lost = resampled.copy()
    lost[0, :, 0] = 1.0
    partly = scaling.exponent(parameter, time, curves, lost, level)
    assert np.isnan(partly.low) and np.isnan(partly.high) and partly.value == found.value
    curves[1] = 1.0
    assert np.isnan(scaling.exponent(parameter, time, curves, resampled, level).value)


def test_the_interval_covers_as_often_as_it_says():
    """200 data sets of noisy rates, 40 resamples each: the 80 % interval holds the power in 0.68 to 0.92 of them."""
    draw, parameter, power, held = np.random.default_rng(5), np.array([0.5, 1.0, 2.0]), 1.0, 0

    def curves(rates):
        return np.exp(-rates[..., None] * TIME)

    for _ in range(200):
        rates = parameter**power * np.exp(0.1 * draw.standard_normal(3))
        again = rates[:, None] * np.exp(0.1 * draw.standard_normal((3, 40)))
        resampled = np.moveaxis(curves(again), 1, 2)
        found = scaling.exponent(parameter, np.tile(TIME, (3, 1)), curves(rates), resampled, 0.3, outside=10.0)
        held += found.low <= power <= found.high
    assert 0.68 < held / 200 < 0.92, held / 200
