"""Chains of scalar layers: formulas against integrated flows, Hessians and quadrature."""

import numpy as np
import pytest
import scipy.integrate
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory.predictions import scalar_chains

squares = arrays(float, st.integers(2, 6), elements=st.floats(0.05, 4.0))
weights = arrays(float, st.integers(2, 4), elements=st.floats(0.4, 1.6) | st.floats(-1.6, -0.4))


def others(layers):
    """prod_{k != i} w_k for every i."""
    return np.array([np.delete(layers, i).prod() for i in range(layers.size)])


def flow(layers, target, time):
    """Gradient flow of a scalar chain, integrated by an adaptive method for stiff and other equations."""
    solution = scipy.integrate.solve_ivp(
        lambda t, w: (target - w.prod()) * others(w), (0, time), layers, method="LSODA", rtol=1e-11, atol=1e-12
    )
    return solution.y[:, -1]


def hessian(layers, target):
    """Of (1/2)(W - s)^2 at W = s."""
    pulls = others(layers)
    return np.outer(pulls, pulls)


@pytest.mark.claim("D43", kind="simulation")
@given(weights, st.floats(0.5, 1.5))
@example(np.array([0.3, -1.2, 0.9]), 1.0)  # from W < 0: the smallest layer changes its sign
@example(np.array([0.4, 0.4, 0.4]), 1.0)
def test_the_flow_ends_where_the_reduction_says(layers, target):
    size = np.sort(layers**2)
    assume(layers.prod() > 0 or size[1] - size[0] > 0.05)
    end = scalar_chains.chain_endpoint(layers, target)
    gaps = layers[:, None] ** 2 - layers**2
    assert np.isclose(end.prod(), target, rtol=1e-12), (end, target)
    assert np.allclose(end[:, None] ** 2 - end**2, gaps, rtol=1e-9, atol=1e-12), (end, gaps)
    rate = scalar_chains.guaranteed_rate(layers, target)
    assume(rate > 0.03)  # shorter than a time of 700
    moved = flow(layers, target, 20 / rate)
    assert np.allclose(moved, end, rtol=1e-6, atol=1e-6), (moved, end)


@pytest.mark.claim("D43", kind="property")
@given(weights, st.floats(-3, 3))
def test_rates_of_squares_and_of_the_product(layers, slope):
    step = 1e-6
    rate = -slope * others(layers)
    ahead, behind = layers + step * rate, layers - step * rate
    whole = layers.prod()
    squares_rate = (ahead**2 - behind**2) / (2 * step)
    predicted = scalar_chains.smallest_square_rate(end_to_end=whole, slope=slope)
    assert np.allclose(squares_rate, predicted, rtol=1e-6, atol=1e-8), (squares_rate, predicted)
    known = {"end_to_end": whole, "inverse_squares": (layers**-2).sum(), "slope": slope}
    product_rate = (ahead.prod() - behind.prod()) / (2 * step)
    assert np.isclose(product_rate, scalar_chains.end_to_end_rate(**known), rtol=1e-5, atol=1e-6), product_rate


@pytest.mark.claim("D44", kind="simulation")
@given(weights, st.floats(0.5, 1.5), st.floats(0.05, 1.0))
@example(np.array([0.3, -1.2, 0.9]), 1.0, 0.5)
def test_the_loss_falls_at_least_at_the_guaranteed_rate(layers, target, fraction):
    size = np.sort(layers**2)
    assume(layers.prod() > 0 or size[1] - size[0] > 0.05)
    rate = scalar_chains.guaranteed_rate(layers, target)
    assert rate > 0, rate
    time = fraction * 3 / (target**2 / scalar_chains.chain_endpoint(layers, target) ** 2).sum()
    now = abs(flow(layers, target, time).prod() - target)
    assert now <= abs(layers.prod() - target) * np.exp(-rate * time) * (1 + 1e-7) + 1e-10, (now, rate, time)


@pytest.mark.claim("D44", kind="property")
@given(squares)
def test_the_kernel_rises_with_the_smallest_square(z):
    step, kernel = 1e-6, lambda z: z.prod() * (1 / z).sum()
    measured = (kernel(z + step) - kernel(z - step)) / (2 * step)
    pairs = ((1 / z).sum() ** 2 - (z**-2).sum()) / 2
    predicted = scalar_chains.kernel_growth(end_to_end=np.sqrt(z.prod()), inverse_pairs=pairs)
    assert np.isclose(measured, predicted, rtol=1e-5, atol=1e-6), (measured, predicted)


@pytest.mark.parametrize(("layers", "target"), [([-1.0, 1.0, 2.0], 1.0), ([0.0, 0.0, 2.0], 1.0)])
def test_a_flow_into_a_saddle_is_refused(layers, target):
    with pytest.raises(ValueError, match="saddle"):
        scalar_chains.chain_endpoint(layers, target)


@pytest.mark.claim("D44", kind="property")
@given(squares, st.floats(0.3, 3.0))
def test_local_rate_is_the_sharpness_and_the_balanced_one_is_slowest(z, target):
    layers = np.sqrt(z * (target**2 / z.prod()) ** (1 / z.size))
    rate = scalar_chains.local_rate(target=target, inverse_squares=(layers**-2).sum())
    sharpness = np.linalg.eigvalsh(hessian(layers, target))[-1]
    assert np.isclose(rate, sharpness, rtol=1e-10), (rate, sharpness)
    slowest = scalar_chains.slowest_local_rate(target=target, depth=z.size)
    assert rate >= slowest * (1 - 1e-12), (rate, slowest)
    balanced = np.full(z.size, target ** (1 / z.size))
    assert np.isclose(np.linalg.eigvalsh(hessian(balanced, target))[-1], slowest, rtol=1e-10), slowest


@pytest.mark.claim("D44", kind="simulation")
def test_the_flow_approaches_the_minimum_at_the_local_rate():
    start = np.array([0.4, 1.3, 1.1])
    end = scalar_chains.chain_endpoint(start, 1.0)
    rate = scalar_chains.local_rate(target=1.0, inverse_squares=(end**-2).sum())
    early, late = (abs(flow(start, 1.0, t).prod() - 1) for t in (2.0, 2.5))
    measured = np.log(early / late) / 0.5
    assert abs(measured / rate - 1) < 1e-3, (measured, rate)


@pytest.mark.claim("D5", kind="property")
@given(st.floats(1.05, 4.0), st.integers(3, 8))
@example(1.5, 3)
def test_one_small_layer_is_sharper_than_one_large_layer_of_the_same_imbalance(common, depth):
    imbalance = scalar_chains.imbalance_of_equal_layers(common_square=common, depth=depth)
    low, high = 1e-3, 1.0  # common square of the other pattern: one large layer, the same imbalance
    for _ in range(100):
        middle = (low + high) / 2
        less = -scalar_chains.imbalance_of_equal_layers(common_square=middle, depth=depth) < imbalance
        low, high = (low, middle) if less else (middle, high)
    sharp, flat = (
        scalar_chains.sharpness_of_equal_layers(common_square=x, depth=depth) for x in (common, low)
    )
    z = np.array([common] * (depth - 1) + [common ** (1 - depth)])
    assert np.isclose(2 * (1 / z).sum(), sharp, rtol=1e-12), (z, sharp)
    assert flat < sharp, (flat, sharp, imbalance)


@pytest.mark.claim("D39", kind="property")
@given(st.floats(1e-8, 0.3), st.floats(0.4, 0.95), st.floats(0.5, 2.0), st.integers(3, 8))
@example(1e-6, 0.9, 1.0, 3)
def test_growth_time_lies_in_its_bounds(strength0, fraction, target, depth):
    strength = fraction * target
    assume(strength0 < strength)
    time, _ = scipy.integrate.quad(  # over ln a
        lambda x: np.exp(x) / (depth * np.exp(x) ** (2 - 2 / depth) * (target - np.exp(x))),
        np.log(strength0), np.log(strength), epsabs=0, epsrel=1e-11, limit=200,
    )  # fmt: skip
    low = scalar_chains.escape_time(strength0=strength0, target=target, depth=depth)
    low -= scalar_chains.escape_time(strength0=strength, target=target, depth=depth)
    excess = scalar_chains.escape_time_excess(strength=strength, target=target, depth=depth)
    assert low * (1 - 1e-9) <= time <= (low + excess) * (1 + 1e-9), (low, time, low + excess)


@pytest.mark.claim("D39", kind="property")
@given(st.floats(1e-8, 0.3), st.floats(0.4, 0.95), st.floats(0.5, 2.0))
def test_growth_times_in_closed_form(strength0, fraction, target):
    strength = fraction * target
    assume(strength0 < strength)
    known = {"strength0": strength0, "strength": strength, "target": target}
    for time, power in (
        (scalar_chains.two_layer_growth_time(**known), lambda u: 2 * u),
        (scalar_chains.four_layer_growth_time(**known), lambda u: 4 * u**1.5),
        (scalar_chains.deep_growth_time(**known), lambda u: u**2),
    ):
        wanted, _ = scipy.integrate.quad(
            lambda x: np.exp(x) / (power(np.exp(x)) * (target - np.exp(x))),  # noqa: B023
            np.log(strength0), np.log(strength), epsabs=0, epsrel=1e-11, limit=200,
        )  # fmt: skip
        assert np.isclose(time, wanted, rtol=1e-9), (time, wanted, known)
