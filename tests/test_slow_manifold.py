"""Minimisers that form a great sphere: the rate along them, its limit, and the clock K(T) of SGD from |w_0| = 1."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

import sdetheory as st
from sdetheory.predictions import exponential_lr, intrinsic_lr, mixing
from sdetheory.spectrum import zonal
from sdetheory.statistics import mean_test

RATIO = 0.1  # lr/wd


@pytest.mark.claim("I51", kind="property")
@pytest.mark.parametrize("d", [3, 5, 20])
def test_the_rate_along_a_great_sphere_tends_to_its_limit_like_the_root_of_lr_wd(d):
    """First harmonics on u^2: rate/(lr wd) - (d - 2)/(d - 1) is 1/(beta a) times a constant, beta ~ (lr wd)^(-1/2)."""
    beta = np.array([150.0, 300.0, 600.0])
    products = 2 * (d - 1) / beta**2
    again = intrinsic_lr.inverse_temperature(lr=1.0, weight_decay=products, dimension=d, noise=1.0)
    assert np.allclose(again, beta), again
    rates = np.array([zonal(lambda u: u * u, b, dimension=d, degree=1, count=1).rates[0] for b in beta])
    excess = rates - mixing.great_sphere_rate(dimension=d)
    slope = np.diff(np.log(excess)) / np.diff(np.log(products))
    assert (excess > 0).all() and (excess < 3 / beta).all(), excess
    assert np.allclose(slope, 0.5, atol=0.03), slope


@pytest.mark.claim("I50", kind="property")
@given(slow_time=some.floats(1e-3, 1e6), ratio=some.floats(1e-3, 10))
@example(slow_time=1e6, ratio=1e-3)
def test_the_squared_lr_of_the_equivalent_run_sum_to_a_quarter_of_the_slow_time(slow_time, ratio):
    """sum over K(T) steps of the squared lr without weight decay against T/4, at lr wd = 1e-6 and lr/wd = ratio."""
    product = 1e-6
    rates = {"lr": (product * ratio) ** 0.5, "weight_decay": (product / ratio) ** 0.5}
    last = mixing.mixing_steps(slow_time=slow_time, **rates)
    root = exponential_lr.exponential_lr_root(momentum=0.0, **rates)
    first, grown = exponential_lr.exponential_lr(t=np.array([0.0, last]), lr=rates["lr"], root=root) ** 2
    total = (grown - first) / (root**-4 - 1)
    growth = np.log1p(slow_time / ratio)
    assert np.isclose(total, slow_time / 4, rtol=4e-6 * (1 + growth)), (total, slow_time / 4)


@pytest.mark.claim("I51", "I50", kind="simulation")
@pytest.mark.compiled
@pytest.mark.parametrize("product", [1e-2, 1e-3])
def test_sgd_forgets_the_longitude_on_the_clock(product):
    """4096 runs from w_0 = (1, 0, 0) in the valley u^2: E x/|w| at K(T), T from 1 to 10^4, within 0.08 of
    (1 + S T/2)^(-1/8) with power 0.99; the number of steps differs tenfold between the two products."""
    lr = (product * RATIO) ** 0.5
    T = np.array([1.0, 1e2, 1e4])
    steps = np.rint(mixing.mixing_steps(slow_time=T, lr=lr, weight_decay=lr / RATIO))
    run = st.simulate(
        st.Equator(2.0, 0.0), st.SGD(lr, lr / RATIO), [1.0, 0.0, 0.0], steps, noise=st.Isotropic(1.0), paths=4096,
        seed=50, observe={"x": st.observers.Coordinate(0)}, threads=1, width=16,
    )  # fmt: skip
    log = mixing.log_slow_correlation(
        slow_time=T, trace=2.0, squared_norm0=1.0, slow_rate=mixing.great_sphere_rate(dimension=3)
    )
    for k in range(T.size):
        outcome = mean_test(run["x"][:, k], np.exp(log[k]), detectable=0.1)
        assert outcome, (product, T[k], outcome)
