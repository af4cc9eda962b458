"""The imbalance under plain gradient descent, and enclosed flows: against descent run to its end, and ODEs."""

import flint
import mpmath
import numpy as np
import pytest
import scipy.integrate
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proofs_check.enclosure import ball, enclose, taylor_coefficients, within
from proofs_check.judge import Undecided
from sdetheory.predictions import deep_linear, descent


def weights_of(gap, whole):
    large = np.sqrt((gap + np.hypot(gap, 2 * whole)) / 2)
    return large, whole / large


def log_kept(gap, whole, lr):
    """ln(D_inf/D_0) of gradient descent run until W = 1 to rounding; summed, so that it has all digits."""
    w1, w2 = weights_of(gap, whole)
    total = 0.0
    for _ in range(200_000):
        g = 2 * (w1 * w2 - 1)
        if abs(g) < 1e-9:
            return total
        total += np.log1p(-((lr * g) ** 2))
        w1, w2 = w1 - lr * g * w2, w2 - lr * g * w1
    raise AssertionError((gap, whole, lr, w1, w2))


@pytest.mark.claim("D12", kind="property")
@given(st.floats(0.3, 6.0), st.floats(-0.5, 2.5))
@example(2.88, 0.17)
def test_the_loss_of_imbalance_is_the_integral_along_the_flow(gap, whole):
    def rate(v):
        return 2 * (v - 1) / np.hypot(gap, 2 * v)  # g^2 dt = g dW/(-sigma)

    wanted, _ = scipy.integrate.quad(rate, 1, whole, epsabs=1e-13, epsrel=1e-12)
    found = descent.descent_imbalance_loss(gap=gap, end_to_end=whole)
    assert np.isclose(found, wanted, rtol=1e-9, atol=1e-11), (found, wanted)


@pytest.mark.claim("D12", kind="property")
@given(st.floats(0.3, 5.0), st.floats(-1.0, 2.5), st.floats(0.1, 1.0))
@example(2.88, 0.17, 0.2)
@example(0.01, 0.999, 1.0)
def test_descent_loses_what_is_predicted_up_to_the_bound(gap, whole, fraction):
    distance, widest = abs(whole - 1), np.hypot(gap, 2 * max(1, abs(whole)))
    lr = fraction * min(1 / (3 * widest), 1 / max(4 * distance, 16 * distance**2 / gap, 1e-9))
    low, high = descent.descent_bounds(*weights_of(gap, whole), lr * (1 - 1e-9))
    found = log_kept(gap, whole, lr)
    assert low - 1e-12 <= found <= high + 1e-12, (low, found, high)
    assert found >= np.log(0.5), found


@pytest.mark.parametrize(("first", "second", "lr"), [(1.0, 1.0, 0.01), (2.0, 1.0, 0.2), (0.1, 1.7, 0.5)])
def test_bounds_are_refused_outside_the_theorem(first, second, lr):
    with pytest.raises(ValueError, match="must"):
        descent.descent_bounds(first, second, lr)


@pytest.mark.claim("D12", kind="simulation")
@pytest.mark.parametrize("start", [(0.1, 1.7), (2.0, 0.1), (1.6, 0.9), (0.3, -1.8)])
def test_the_error_is_of_second_order(start):
    """From W_0 < 1, > 1 and < 0: the error over lr^2 settles."""
    gap, whole = abs(start[0] ** 2 - start[1] ** 2), start[0] * start[1]
    predicted = descent.descent_imbalance_loss(gap=gap, end_to_end=whole)
    scaled = [(log_kept(gap, whole, lr) + lr * predicted) / lr**2 for lr in (0.004, 0.002, 0.001)]
    assert abs(scaled[2] - scaled[1]) < 0.6 * abs(scaled[1] - scaled[0]) + 1e-4, scaled
    assert abs(scaled[2]) < 10, scaled


def test_numbers_of_the_sheet():
    predicted = descent.descent_imbalance_loss(gap=2.88, end_to_end=0.17)
    assert abs(predicted - 0.22716) < 1e-5, predicted
    measured = [-log_kept(2.88, 0.17, lr) / lr for lr in (0.005, 0.01, 0.02, 0.04, 0.08)]
    assert np.allclose(measured, [0.2309, 0.2348, 0.2430, 0.2610, 0.3059], atol=6e-5), measured


@pytest.mark.claim("D13", kind="simulation")
@given(arrays(float, st.integers(2, 6), elements=st.floats(0.2, 3.0)), st.floats(0.5, 1.5))
@example(np.array([1.0, 2.0, 3.0]), 1.5)
def test_adaptive_descent_keeps_its_part_of_every_imbalance(layers, whole):
    layers = layers * (whole / layers.prod()) ** (1 / layers.size)
    start = layers[:, None] ** 2 - layers**2
    assume(np.abs(start).max() > 1e-3)
    for _ in range(400):
        slope = 2 * (layers.prod() - 1) * np.array([np.delete(layers, i).prod() for i in range(layers.size)])
        layers = layers - slope / (4 * (layers**-2).sum())
    kept = (layers[:, None] ** 2 - layers**2)[start > 1e-3] / start[start > 1e-3]
    least = descent.adaptive_imbalance_kept(distance=min(abs(whole - 1), 0.5))
    assert abs(layers.prod() - 1) < 1e-9 and (kept >= least - 1e-9).all() and (kept <= 1 + 1e-9).all(), (kept, least)


@pytest.mark.claim("D14e", kind="property")
@pytest.mark.parametrize(
    ("field", "start", "time", "solution"),
    [
        (lambda x: [-x[0]], 1, flint.fmpq(2), lambda: mpmath.exp(-2)),
        (lambda x: [x[0] * x[0]], 1, flint.fmpq(1, 2), lambda: mpmath.mpf(2)),
        (lambda x: [x[0].exp()], 0, flint.fmpq(1, 2), lambda: mpmath.log(2)),
    ],
    ids=["exponential", "blow up", "exp"],
)
def test_enclosure_contains_the_known_solution(field, start, time, solution):
    (end,) = enclose(field, [flint.fmpq(start)], time, steps=40, order=20, bits=192)
    with mpmath.workdps(50), flint.ctx.workprec(192):
        value = flint.arb(mpmath.nstr(solution(), 45)) + flint.arb(0, "1e-44")
        assert end.overlaps(value) and end.rad() < flint.arb("1e-18"), (end, value)


def test_enclosure_refuses_to_pass_a_pole():
    with pytest.raises(Undecided, match="more steps"):
        enclose(lambda x: [x[0] * x[0]], [flint.fmpq(1)], flint.fmpq(3, 2), steps=40, order=10)


def test_enclosure_of_an_interval_contains_every_solution():
    (end,) = enclose(lambda x: [-x[0] * x[0]], [flint.arb(1, 0.1)], flint.fmpq(1), steps=20, order=15)
    for start in (0.9, 1.0, 1.1):
        assert end.contains(flint.arb(start) / (1 + flint.arb(start))), (start, end)


def test_taylor_coefficients_of_a_known_series():
    with flint.ctx.workprec(128):
        (found,) = taylor_coefficients(lambda x: [x[0] * x[0]], [flint.arb(1)], 8)
    assert [float(c.mid()) for c in found] == [1.0] * 9, found


@pytest.mark.claim("D14e", kind="simulation")
def test_the_enclosed_flow_is_the_integrated_one():
    solution = scipy.integrate.solve_ivp(
        lambda t, w: -2 * (w[0] * w[1] - 1) * w[::-1] - 0.1 * w, (0, 1), [0.1, 1.7], method="DOP853",
        rtol=1e-13, atol=1e-14,
    ).y[:, -1]  # fmt: skip
    assert abs(solution.prod() - 0.967518388026350766793) < 1e-12, solution
    law = deep_linear.imbalance_flow(t=1.0, weight_decay=0.1, imbalance0=0.01 - 2.89)
    assert np.isclose(solution[0] ** 2 - solution[1] ** 2, law, rtol=1e-12), (solution, law)


def test_a_ball_neither_inside_nor_outside_is_undecided():
    with pytest.raises(Undecided, match="neither"):
        within("x", flint.arb(1, 0.1), flint.arb(1), flint.arb(2), "enclosed")
    assert within("x", flint.arb(3), flint.arb(1), flint.arb(2), "enclosed").refuted
    with pytest.raises(Undecided, match="no ball"):
        ball(deep_linear.depth)
