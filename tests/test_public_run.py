"""The public run of two scalar layers: its stated numbers, GD exactly, SGD in the mean over shuffles."""

import itertools

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st

from sdetheory.predictions import public_run as theory
from sdetheory.statistics import equivalent

X, Y = theory.public_data()
A, B, C = np.mean(X * X), np.mean(X * Y), np.mean(Y * Y)
TARGET = B / A
RESIDUALS = X * X * TARGET - X * Y
VARIANCE = theory.slope_variance_without_replacement(
    residual_variance=np.var(RESIDUALS, ddof=1), batch=theory.BATCH, samples=len(X)
)


def sharpness(w):
    """Largest eigenvalue of the Hessian of the mean squared error, from its entries."""
    slope, product = 2 * (A * w[0] * w[1] - B), w[0] * w[1]
    cross = slope + 2 * A * product
    return np.linalg.eigvalsh([[2 * A * w[1] ** 2, cross], [cross, 2 * A * w[0] ** 2]])[-1]


def descend(steps):
    first, second = theory.START
    for _ in range(steps):
        slope = theory.RATE * 2 * (A * first * second - B)
        first, second = first - slope * second, second - slope * first
    return first, second


@pytest.mark.claim("D31", kind="simulation")
def test_the_start_and_the_end_of_gd():
    first, second = theory.START
    loss = A * (first * second) ** 2 - 2 * B * first * second + C
    assert np.isclose(loss, 1.67671, atol=5e-6) and np.isclose(sharpness(theory.START), 5.1941, atol=5e-5), loss
    first, second = descend(theory.STEPS)
    product, imbalance = first * second, first**2 - second**2
    assert np.isclose(A * product**2 - 2 * B * product + C, 0.759325, atol=5e-7)
    assert np.isclose(imbalance, -2.763861, atol=5e-7), imbalance
    predicted = theory.quadratic_sharpness(curvature=A, imbalance=imbalance, two_layer_target=TARGET)
    assert np.isclose(sharpness((first, second)), predicted, rtol=1e-12), predicted
    assert np.isclose(predicted, 6.106881, atol=5e-7), predicted


def batches(rng, steps, paths):
    """2 lr (a_B, b_B) of batches that leave out five of the hundred samples (Floyd's sampling): (steps, paths)."""
    left = []
    for j in range(theory.BATCH, len(X)):
        drawn = rng.integers(0, j + 1, size=(steps, paths))
        taken = np.logical_or.reduce([drawn == one for one in left]) if left else False
        left.append(np.where(taken, j, drawn))
    scale = 2 * theory.RATE / theory.BATCH
    return [scale * (np.sum(v) - sum(v[one] for one in left)) for v in (X * X, X * Y)]


@pytest.mark.claim("D31", kind="simulation")
def test_sgd_balances_as_predicted():
    """32 shuffles: imbalance after 10^3, 10^4, 3 10^4 and 10^5 steps, and the sharpness at the end."""
    rng, paths, seen = np.random.default_rng(42), 32, {}
    first, second = (np.full(paths, w) for w in theory.START)
    for step in range(theory.STEPS):
        if step % 5000 == 0:
            a, b = batches(rng, 5000, paths)
        slope = a[step % 5000] * first * second - b[step % 5000]
        first, second = first - slope * second, second - slope * first
        if step + 1 in (1000, 10_000, 30_000, theory.STEPS):
            seen[step + 1] = first**2 - second**2
    for steps, predicted in ((1000, -2.6993), (10_000, -2.1938), (30_000, -1.4142), (theory.STEPS, -0.3273)):
        outcome = equivalent(seen[steps], predicted, margin=0.02)
        assert outcome, (steps, outcome)
    final = np.mean([sharpness(w) for w in zip(first, second, strict=True)])
    assert 4.03 < final < 4.11, final  # the last product fluctuates with the batches
    floor = theory.quadratic_sharpness(curvature=A, imbalance=0.0, two_layer_target=TARGET)
    at_end = theory.quadratic_sharpness(curvature=A, imbalance=-0.3273, two_layer_target=TARGET)
    assert np.isclose(floor, 4.0473, atol=5e-5) and np.isclose(at_end, 4.083, atol=5e-4), (floor, at_end)


@pytest.mark.claim("D31", kind="property")
def test_the_clock_integrates_the_rate():
    """Against an adaptive solver: sizes after the steps of the sheet, from the plateau of GD."""
    known = {"lr": theory.RATE, "curvature": A, "slope_variance": VARIANCE, "two_layer_target": TARGET}

    def rate(_, size):
        return -theory.batch_imbalance_rate(imbalance=size[0], **known) * size

    steps = np.array([1e3, 1e4, 3e4, 1e5])
    sizes = scipy.integrate.solve_ivp(rate, (0, 1e5), [2.763861], rtol=1e-10, atol=1e-12, t_eval=steps).y[0]
    assert np.allclose(sizes, [2.6993, 2.1938, 1.4142, 0.3273], atol=6e-5), sizes
    clock = theory.batch_imbalance_clock(size=sizes, **known) - theory.batch_imbalance_clock(size=2.763861, **known)
    assert np.allclose(clock, steps, rtol=1e-7), clock


@pytest.mark.claim("D31", kind="property")
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_the_variance_of_batches_without_replacement(seed, batch):
    """All batches of ten samples, enumerated by the sampling of every subset of a size."""
    values = np.random.default_rng(seed).standard_normal(10)
    means = [np.mean(subset) for subset in itertools.combinations(values, batch)]
    predicted = theory.slope_variance_without_replacement(
        residual_variance=np.var(values, ddof=1), batch=batch, samples=10
    )
    assert np.isclose(4 * np.var(means), predicted, rtol=1e-9), (np.var(means), predicted)
