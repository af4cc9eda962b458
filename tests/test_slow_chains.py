"""Deep scalar chains start slowly: the lower bounds against descent and flow, and how the time grows with depth."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory.predictions import slow_chains as theory


def descend(layers, lr, steps, target=1.0):
    """GD on (W - target)^2/2, one chain a row."""
    for _ in range(steps):
        product = layers.prod(axis=-1, keepdims=True)
        rest = np.stack([np.delete(layers, i, axis=-1).prod(axis=-1) for i in range(layers.shape[-1])], axis=-1)
        layers = layers - lr * (product - target) * rest
    return layers


@pytest.mark.claim("D62", kind="property")
@given(arrays(float, (1, 6), elements=st.floats(-0.75, 0.75, width=32)), st.floats(0.01, 0.2))
@example(np.zeros((1, 6)), 0.1)
def test_no_layer_moves_far_in_the_still_steps(layers, move):
    sizes = np.abs(layers[0]) + move
    largest = max(np.delete(sizes, i).prod() for i in range(6))
    lr, slope_bound = 0.5, 1.0 + sizes.prod()
    steps = theory.still_steps(move=move, lr=lr, slope_bound=slope_bound, largest_rest=largest)
    after = descend(layers, lr, min(int(steps), 300))
    assert np.abs(after - layers).max() <= move * (1 + 1e-9), (after, layers, steps)
    assert abs(after.prod()) <= sizes.prod() * (1 + 1e-9)


@pytest.mark.claim("D62", kind="simulation")
def test_random_starts_are_slow_with_the_stated_probability():
    """Gaussian layers, rho = E|w| + 0.05 = 0.848, 60 layers: the share of fast starts is below the bound, by 6
    standard errors."""
    depth, move, rng = 60, 0.05, np.random.default_rng(0)
    rho = np.sqrt(2 / np.pi) + move
    failure = theory.slow_start_failure(depth=depth, mean_size=rho)
    steps = theory.slow_start_steps(depth=depth, mean_size=rho, move=move, lr=0.1, slope_bound=2.0)
    assert 0.3 < failure < 0.6 and 20 < steps < 100, (failure, steps)
    starts = rng.standard_normal((300, depth))
    after = descend(starts, 0.1, int(steps))
    slow = np.abs(after - starts).max(axis=1) <= move
    error = np.sqrt(failure * (1 - failure) / len(slow))  # of the share, were the bound attained
    assert slow.mean() > 1 - failure + 6 * error, (slow.mean(), failure)
    assert np.all(np.abs(after.prod(axis=1))[slow] <= rho ** ((depth - 1) / 2))


@pytest.mark.claim("D62", kind="simulation")
def test_the_time_to_learn_grows_exponentially_with_the_depth():
    """Shamir's figure: GD on (W + 1)^2/2 from layers 1 + small, until W < -1/2; every two layers multiply the steps."""
    rng, medians = np.random.default_rng(6), []
    for depth in (3, 5, 7):
        layers, hit = 1 + rng.uniform(-0.2, 0.2, size=(24, depth)), np.full(24, np.inf)
        for step in range(20000):
            product = layers.prod(axis=1, keepdims=True)
            hit = np.where((product[:, 0] < -0.5) & np.isinf(hit), step, hit)
            if np.all(np.isfinite(hit)):
                break
            layers = layers - 0.05 * (product + 1) * product / layers
        medians.append(np.median(hit))
    ratios = np.divide(medians[1:], medians[:-1])
    assert np.all(np.isfinite(medians)) and np.all(ratios > 1.5) and ratios[1] > 0.8 * ratios[0], (medians, ratios)


@pytest.mark.claim("D62", kind="property")
@given(st.integers(3, 9), st.integers(0, 2**32 - 1), st.floats(0.05, 0.4))
@example(9, 0, 0.4)
def test_the_flow_takes_at_least_the_crossing_time(depth, seed, spread):
    """The smallest square falls at rate 2 W (1 + W): its time from `spread` to zero, by quadrature."""
    gaps = np.sort(np.random.default_rng(seed).uniform(0, spread, depth))
    gaps = gaps - gaps[0]
    m = spread * np.linspace(0, 1, 4001)[1:] ** 4  # dense where W is small
    product = np.sqrt(np.prod(m[:, None] + gaps, axis=1))
    slowness = 1 / (2 * product * (1 + product))
    time = np.sum(np.diff(m) * (slowness[1:] + slowness[:-1]) / 2)
    assert time >= theory.crossing_time(depth=depth, twice_spread=2 * spread), (time, depth, spread)


@pytest.mark.claim("D62", kind="property")
@given(st.integers(3, 9), st.integers(0, 2**32 - 1), st.floats(0.02, 0.12))
@example(9, 1, 0.12)
def test_descent_from_layers_near_one_takes_at_least_the_crossing_steps(depth, seed, width):
    layers = 1 - width * np.random.default_rng(seed).uniform(0, 1, size=(1, depth))
    spread = np.ptp(layers**2)
    lr = spread / 8
    if layers.min() ** 2 < spread or spread < 1e-3:
        return
    least = theory.crossing_steps(depth=depth, twice_spread=2 * spread, lr=lr)
    after = descend(layers, lr, min(int(least), 500), target=-1.0)
    assert after.min() > 0, (after, least, spread)
