"""Elementary functions on lanes, exact clocks against quadrature (T2), the matched step against 1F1."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lane_calls import on_lanes
from numba import njit
from scipy import integrate, special

from sdetheory.integrators import clocks, elementary, geodesic


@njit(error_model="numpy")
def _exponential(x):
    return (elementary.exponential(x),)


@njit(error_model="numpy")
def _log1p_ratio(x):
    return (elementary.log1p_ratio(x),)


@njit(error_model="numpy")
def _arctan_ratio(x):
    return (elementary.arctan_ratio(x),)


@njit(error_model="numpy")
def _clocks(m, lr, weight_decay, trace, dt):
    after, turned, drift = clocks.advance(m, lr, weight_decay, trace, dt)
    return after, turned, drift


@njit(error_model="numpy")
def _matched(t, n):
    return geodesic.matched(t, n)


@njit(error_model="numpy")
def _matched_coefficients(n, out):
    geodesic.matched_coefficients(n, out)


exponential, log1p_ratio, arctan_ratio = (
    on_lanes(_exponential),
    on_lanes(_log1p_ratio),
    on_lanes(_arctan_ratio),
)
cos_sinc, all_clocks = on_lanes(elementary.cos_sinc), on_lanes(_clocks)


def worst(got, wanted):
    return np.max(np.abs(got / wanted - 1))


@pytest.mark.compiled
def test_exponential_logarithm_arctangent_to_rounding():
    x = np.concatenate([np.linspace(-700, 700, 999), np.linspace(-1, 1, 1000)])
    assert worst(exponential(x)[0], np.exp(x)) < 4e-16
    y = np.exp(np.linspace(-60, 60, 4001))
    assert worst(log1p_ratio(y)[0], np.log1p(y) / y) < 1e-15
    assert worst(arctan_ratio(y)[0], np.arctan(y) / y) < 2e-15


@pytest.mark.compiled
def test_cosine_and_sinc_for_small_and_large_angles():
    square = np.concatenate([[0.0], np.exp(np.linspace(-60, 9, 4000)), np.linspace(9.9, 10.1, 400)])
    r = np.sqrt(square)
    cosine, sinc = cos_sinc(square, results=2)
    assert np.max(np.abs(cosine - np.cos(r))) < 2e-15
    assert np.max(np.abs(sinc - np.sinc(r / np.pi))) < 1e-15


def test_not_a_number_stays_one():
    with np.errstate(invalid="ignore"):
        assert np.isnan(exponential(np.full(8, np.nan))).all()
        assert np.isnan(log1p_ratio(np.full(8, np.nan))).all()
        assert np.isnan(cos_sinc(np.full(8, np.nan), results=2)).all()


def gamma_by_formula(s, m, lr, weight_decay, trace):
    decay = 4 * lr * weight_decay * s
    growth = s * (-np.expm1(-decay) / decay if decay else 1.0)
    return (m / lr) ** 2 * np.exp(-decay) + 2 * trace * growth


@given(
    m=st.floats(1e-3, 1e2),
    lr=st.floats(1e-3, 1.0),
    weight_decay=st.floats(-0.2, 1.0),
    trace=st.floats(0.0, 1e2),
    dt=st.floats(1e-2, 3.0),
)
@example(m=1.3, lr=0.1, weight_decay=0.0, trace=0.0, dt=1.0)
@example(m=1.3, lr=0.1, weight_decay=0.0, trace=2.0, dt=1.0)
@example(m=1.3, lr=0.1, weight_decay=0.5, trace=0.0, dt=1.0)
@example(m=np.sqrt(0.1 * 2.0 / (2 * 0.3)), lr=0.1, weight_decay=0.3, trace=2.0, dt=2.0)
@example(m=1.3, lr=0.1, weight_decay=1e-12, trace=2.0, dt=1.0)
@example(m=1.3, lr=0.1, weight_decay=-0.1, trace=0.0, dt=1.0)
@example(m=1.0, lr=0.125, weight_decay=2.2250738585e-313, trace=0.0, dt=0.5)
@example(m=1.0, lr=0.125, weight_decay=2.2250738585e-313, trace=1.0, dt=0.5)
@example(m=0.0011, lr=0.9, weight_decay=0.3, trace=90.0, dt=2.5)
@pytest.mark.claim("I9", "I10", kind="property")
def test_t2_clocks_against_quadrature(m, lr, weight_decay, trace, dt):
    def integral(power):
        # s = dt x^4 tames the square-root start of a small gamma
        value = lambda x: gamma_by_formula(dt * x**4, m, lr, weight_decay, trace) ** power * 4 * dt * x**3
        return integrate.quad(value, 0, 1, epsabs=0, epsrel=1e-12, limit=200)[0]

    after, turned, drift = all_clocks(m, lr, weight_decay, trace, dt, results=3)[:, 0]
    noise = clocks.noise_clock(dt, lr=lr, weight_decay=weight_decay, trace=trace, square_norm=m)
    wanted_after = lr * np.sqrt(gamma_by_formula(dt, m, lr, weight_decay, trace))
    wanted_noise = integral(-1.0)
    assert abs(after / wanted_after - 1) < 3e-13, (after, wanted_after)
    assert abs(noise / wanted_noise - 1) < 1e-10, (noise, wanted_noise)
    assert abs(turned + np.expm1(-trace * wanted_noise / 2)) < 1e-11, (turned, wanted_noise)
    assert abs(drift / integral(-0.5) - 1) < 1e-10, (drift, integral(-0.5))


def test_clocks_stop_without_learning_rate():
    after, turned, drift = all_clocks(1.7, 0.0, 0.4, 3.0, 2.0, results=3)[:, 0]
    assert (after, turned, drift) == (1.7, 0.0, 0.0)


def test_squared_norm_stands_still_at_equilibrium():
    """What the flow remembers between steps rests on this: rounding alone must not keep |w|^2 moving."""
    for lr, weight_decay, trace, dt in (
        (0.1, 0.1, 3.75, 1.0),
        (0.23, 0.017, 0.7, 40.0),
        (0.05, 0.3, 11.0, 7.0),
    ):
        m = np.sqrt(lr * trace / (2 * weight_decay))
        for _ in range(60):
            m = all_clocks(m, lr, weight_decay, trace, dt, results=3)[0, 0]
        again = all_clocks(m, lr, weight_decay, trace, dt, results=3)[0, 0]
        assert again == m, (again, m)
        assert abs(m / np.sqrt(lr * trace / (2 * weight_decay)) - 1) < 1e-14


@pytest.mark.parametrize("weight_decay", [0.0, 0.03])
def test_times_uniform_in_the_noise_clock(weight_decay):
    lr, trace, m, last = 0.3, 4.0, 0.02, 60.0
    times = clocks.times_uniform_in_noise_clock(6, last, lr=lr, weight_decay=weight_decay, trace=trace, square_norm=m)
    passed = clocks.noise_clock(times[1:], lr=lr, weight_decay=weight_decay, trace=trace, square_norm=m)
    assert times[0] == 0 and times[-1] == last
    np.testing.assert_allclose(np.diff([0.0, *passed]), passed[-1] / 6, rtol=1e-9)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": 0}, "`count`"),
        ({"lr": 0.0}, "`lr`"),
        ({"trace": -1.0}, "`trace`"),
        ({"square_norm": 0.0}, "`square_norm`"),
    ],
)
def test_times_refuse_bad_input(changed, message):
    arguments = {
        "count": 4,
        "last": 9.0,
        "lr": 0.1,
        "weight_decay": 0.1,
        "trace": 1.0,
        "square_norm": 1.0,
    } | changed
    with pytest.raises(ValueError, match=message):
        clocks.times_uniform_in_noise_clock(arguments.pop("count"), arguments.pop("last"), **arguments)


@pytest.mark.parametrize("n", [2, 3, 5, 15, 127, 1000])
def test_matched_step_solves_its_hypergeometric_equation(n):
    """E cos r = 1F1(n/2; 1/2; -v/2) = 1 - t for every t in [0, 1], to the degree of the interpolation."""
    coefficients = np.empty(15)
    _matched_coefficients(float(n), coefficients)
    t = np.linspace(0, 1, 401)
    ratio = np.full_like(t, coefficients[14])
    for k in range(13, -1, -1):
        ratio = (t - geodesic.NODES[k]) * ratio + coefficients[k]
    error = np.abs(special.hyp1f1(n / 2, 0.5, -t * ratio / n) - (1 - t))
    assert error.max() < 2e-8, error.max()
    assert error[t < 0.33].max() < 2e-9, error[t < 0.33].max()


def test_small_step_expansion_of_the_matched_variance():
    """x = eta - (1-y) eta^2/3 + ..., y = 1/n, hence x/t = 1 + (1/6 + y/3) t + ... in t = 1 - e^{-eta}."""
    for n in (2.0, 7.0, 40.0):
        t = 1e-4
        ratio = _matched(t, n) / t
        assert abs((ratio - 1) / t - (1 / 6 + 1 / (3 * n))) < 1e-4, (n, ratio)
