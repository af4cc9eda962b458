"""The sharpness of the gradient-flow solution along GD: never rises at small steps, can at larger ones."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory.predictions import deep_linear
from sdetheory.predictions import flow_sharpness as theory


@st.composite
def steps(draw):
    """Layers away from zero, and lr times the slope as a share of what the theorem allows."""
    depth = draw(st.integers(2, 6))
    layers = draw(arrays(float, depth, elements=st.floats(0.25, 2.5, width=32)))
    return layers, draw(st.floats(-1, 1))


def least_factor(layers, lr, slope):
    squares = np.sort(layers**2)
    return theory.least_imbalance_factor(
        lr=lr, slope=slope, end_to_end=layers.prod(), smallest_square=squares[0], next_square=squares[1]
    )


@pytest.mark.claim("D63", kind="property")
@given(steps())
@example((np.array([1.0, 1.0, 1.0]), 1.0))
@example((np.array([0.2, 2.5, 2.5, 0.2]), -1.0))
def test_no_small_step_raises_it(problem):
    layers, share = problem
    squares = np.sort(layers**2)
    lr = theory.largest_monotone_lr(
        slope=1.0, end_to_end=layers.prod(), smallest_square=squares[0], next_square=squares[1]
    )
    assert abs(least_factor(layers, lr, 1.0)) < 1e-9, lr
    slope = share * 0.999
    after = layers - lr * slope * layers.prod() / layers
    assert least_factor(layers, lr, slope) >= 0
    if after.prod() <= 1e-6:  # W left the side of the minimum
        return
    now, then = theory.flow_sharpness(layers), theory.flow_sharpness(after)
    assert then <= now * (1 + 1e-9), (now, then)


@pytest.mark.claim("D63", kind="property")
def test_a_large_step_can_raise_it():
    """Two layers, factor -5/4: the imbalance turns around and grows, and the sharpness 2 sqrt(D^2 + 4) with it."""
    layers, slope = np.array([1.0, 2.0]), -1.5
    assert np.isclose(least_factor(layers, 1.0, slope), -1.25)
    after = layers - slope * layers[::-1]
    now, then = theory.flow_sharpness(layers), theory.flow_sharpness(after)
    gaps = [w[0] ** 2 - w[1] ** 2 for w in (layers, after)]
    assert np.isclose(gaps[1], -1.25 * gaps[0]) and then > now, (gaps, now, then)
    for gap, sharpness in zip(gaps, (now, then), strict=True):
        assert np.isclose(sharpness, deep_linear.sharpness_two_layers(imbalance=gap, two_layer_target=1.0), rtol=1e-10)


@pytest.mark.claim("D63", kind="simulation")
def test_along_whole_runs_of_descent():
    """Ginsburg's loss at lr 0.02, 400 random chains of depth 2 to 5: monotone wherever the factor is not negative."""
    rng, rises, checked = np.random.default_rng(8), 0, 0
    for depth in (2, 3, 4, 5):
        layers = rng.uniform(0.3, 2.0, size=(100, depth))
        sharpness = theory.flow_sharpness(layers)
        for _ in range(30):
            product = layers.prod(axis=1)
            squares = np.sort(layers**2, axis=1)
            factor = theory.least_imbalance_factor(
                lr=0.02, slope=2 * (product - 1), end_to_end=product, smallest_square=squares[:, 0],
                next_square=squares[:, 1],
            )  # fmt: skip
            layers = layers - 0.02 * (2 * (product - 1) * product)[:, None] / layers
            fine = (factor >= 0) & (layers.min(axis=1) > 0)
            layers = np.where(fine[:, None], layers, 1.0)  # the others leave the study
            after = theory.flow_sharpness(layers)
            rises += np.count_nonzero(fine & (after > sharpness * (1 + 1e-9)))
            checked += np.count_nonzero(fine)
            sharpness = after
    assert rises == 0 and checked > 9000, (rises, checked)
