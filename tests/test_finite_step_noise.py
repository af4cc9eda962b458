"""Means of a noisy step, exact in the learning rate: against one step of many paths and against a stationary run."""

import numpy as np
import pytest

import sdetheory as st
from sdetheory.models.deep_linear import scalar_chain
from sdetheory.predictions import finite_step_noise as predicted
from sdetheory.statistics import equivalent, mean_test

pytestmark = pytest.mark.compiled
SPREAD = 0.4


def slope_moments(product):
    """E g and E g^2 of g = 2 (W - 1 - xi), xi of standard deviation SPREAD."""
    mean = 2 * (product - 1)
    return {"slope_mean": mean, "slope_square": mean**2 + 4 * SPREAD**2}


@pytest.mark.claim("D50", kind="simulation")
def test_means_after_one_large_step():
    """lr = 0.2, where the second-order terms are a tenth of the first: half of one is seen."""
    start, lr, model = np.array([0.6, 1.3]), 0.2, scalar_chain(2)
    run = st.simulate(
        model, st.SGD(lr), start, [1], noise=st.label_noise(model, SPREAD), paths=100_000, seed=11, progress=False
    )
    first, second = run.final.T
    product, known = start.prod(), {"lr": lr}
    known |= {name: float(value) for name, value in slope_moments(product).items()}
    change = lr**2 * known["slope_square"]
    gap, squares = start[0] ** 2 - start[1] ** 2, start @ start
    cases = (
        (first**2 - second**2, predicted.mean_imbalance_after(imbalance=gap, lr=lr, slope_square=known["slope_square"]),
         gap),
        (first * second, predicted.mean_product_after(end_to_end=product, squares=squares, **known), product),
        (first**2 + second**2, predicted.mean_squares_after(end_to_end=product, squares=squares, **known), squares),
    )  # fmt: skip
    for samples, law, size in cases:
        outcome = mean_test(samples, law, detectable=abs(size) * change / 2)
        assert outcome, outcome


@pytest.mark.claim("D50", "D51", kind="simulation")
def test_exact_identities_of_the_stationary_law():
    """lr E[W g^2] = E[sigma g] and lr E[sigma g^2] = 4 E[W g]: time averages of 4096 paths, every term to 10 %.
    The mean product is not the target at this step size.
    """
    lr, model, paths = 0.1, scalar_chain(2), 4096
    run = st.simulate(
        model, st.SGD(lr), [1.0, 1.0], np.arange(400, 2001, 8), noise=st.label_noise(model, SPREAD), paths=paths,
        keep_states=True, seed=12, progress=False,
    )  # fmt: skip
    product, squares = run.states.prod(axis=-1), np.sum(run.states**2, axis=-1)
    g = slope_moments(product)
    pairs = (
        (lr * product * g["slope_square"], squares * g["slope_mean"]),
        (lr * squares * g["slope_square"], 4 * product * g["slope_mean"]),
    )
    for left, right in pairs:
        size = float(left.mean())
        outcome = equivalent((left - right).mean(axis=1), 0.0, margin=0.1 * size)
        assert outcome, (size, outcome)
    assert 1 - product.mean() > 0.01, product.mean()
