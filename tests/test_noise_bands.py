"""Noise bands of scalar layers: the formulas against integrated flows, single steps and a worst-case search."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory.predictions import noise_bands

weights = arrays(float, st.integers(2, 5), elements=st.floats(0.2, 2.0))


def others(layers):
    return np.array([np.delete(layers, i).prod() for i in range(layers.size)])


def noisy_step(layers, lr, error):
    whole = layers.prod()
    return layers - lr * 2 * (1 + error) * (whole * (1 + error) - 1) * others(layers)


@pytest.mark.claim("D22", kind="property")
@given(weights, st.floats(-0.45, 0.45))
@example(np.array([1.0, 1.0]), 0.4)
def test_loss_along_the_noise_flow(layers, error):
    whole, stiffness = layers.prod(), (layers**-2).sum() * (1 + layers.prod() ** 4)
    dt = 1e-5 / stiffness
    ahead, behind = (noisy_step(layers, s * dt, error) for s in (1, -1))
    measured = ((ahead.prod() - 1) ** 2 - (behind.prod() - 1) ** 2) / (2 * dt)
    known = {"lr": 1.0, "input_error": error, "end_to_end": whole, "inverse_squares": (layers**-2).sum()}
    rate = noise_bands.noise_flow_loss_rate(**known)
    assert np.isclose(measured, rate, rtol=1e-4, atol=1e-5 * stiffness), (measured, rate)
    bound = abs(error) + 1e-6
    low = noise_bands.noise_flow_band_lower(noise_bound=bound)
    high = noise_bands.noise_flow_band_upper(noise_bound=bound)
    if not low <= whole <= high:
        assert rate < 0, (rate, whole, low, high)
    assert noise_bands.noise_band_lower(noise_bound=bound) <= low, (bound, low)
    assert high <= noise_bands.noise_band_upper(noise_bound=bound), (bound, high)


@pytest.mark.claim("D27", kind="property")
@given(st.floats(0.01, 0.1354), st.floats(0, 1), st.floats(-1, 1), arrays(float, st.integers(2, 6),
       elements=st.floats(0.05, 20.0)))  # fmt: skip
@example(0.1354, 1.0, 1.0, np.array([1e-3, 30.0]))
def test_below_the_threshold_no_step_leaves_the_band(bound, where, error, layers):
    low, high = noise_bands.noise_band_lower(noise_bound=bound), noise_bands.noise_band_upper(noise_bound=bound)
    layers = layers * ((low + where * (high - low)) / layers.prod()) ** (1 / layers.size)
    after = noisy_step(layers, 1 / (4 * (layers**-2).sum()), error * bound).prod()
    assert low - 1e-12 <= after <= high + 1e-12, (low, after, high)


@pytest.mark.claim("D27", kind="property")
@pytest.mark.parametrize("excess", [1e-3, 0.05, 0.2])
def test_above_the_threshold_an_unbalanced_step_leaves_it(excess):
    bound = noise_bands.noise_band_threshold() + excess
    high = noise_bands.noise_band_upper(noise_bound=bound)
    layers = np.array([high / 1e4, 1e4])
    after = noisy_step(layers, 1 / (4 * (layers**-2).sum()), bound).prod()
    assert after < noise_bands.noise_band_lower(noise_bound=bound), (after, bound)
    assert np.isclose(after, noise_bands.worst_noisy_step(noise_bound=bound), rtol=1e-6), (after, bound)
