"""Diagonal linear networks: the selected fit against flows, optimisers and convexity; the scale against SDE paths."""

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory.predictions import diagonal_networks as theory
from sdetheory.statistics import equivalent


@st.composite
def problems(draw, rows=2, columns=4):
    """X with well separated independent rows, y, a scale."""
    entry = st.floats(-1, 1, width=32)
    inputs = draw(arrays(float, (rows, columns), elements=entry)) + 2 * np.eye(rows, columns)
    return inputs, draw(arrays(float, rows, elements=st.floats(-2, 2, width=32))), draw(st.floats(0.01, 10))


@pytest.mark.claim("D57", kind="property")
@given(problems())
@example((np.eye(2, 4), np.zeros(2), 1.0))
@example((np.array([[1.0, 2.0]]), np.array([3.0]), 1e-12))
def test_the_selected_fit_satisfies_the_optimality_conditions(problem):
    inputs, labels, scale = problem
    beta, multipliers = theory.selected_interpolant(inputs, labels, scale)
    assert np.allclose(inputs @ beta, labels, atol=1e-9), (beta, labels)
    slopes = theory.diagonal_slope(coefficient=beta, scale=scale)
    assert np.allclose(slopes, inputs.T @ multipliers, atol=1e-9), (slopes, multipliers)
    if inputs.shape == (2, 4):
        moves = np.linalg.svd(inputs)[2][2:]
        for move in (*moves, *(-moves)):
            costs = [theory.diagonal_potential(coefficient=beta + h * move, scale=scale).sum() for h in (0, 1e-2, 0.5)]
            assert costs[0] <= costs[1] + 1e-12 and costs[0] <= costs[2] + 1e-12, costs


@pytest.mark.claim("D57", kind="property")
@given(problems())
def test_gradient_flow_ends_at_the_selected_fit(problem):
    inputs, labels, scale = problem
    start = np.full(8, np.sqrt(scale))

    def rate(_, w):
        slope = inputs.T @ (inputs @ (w[:4] ** 2 - w[4:] ** 2) - labels)
        return np.concatenate([-2 * w[:4] * slope, 2 * w[4:] * slope])

    run = scipy.integrate.solve_ivp(rate, (0, 400 / np.sqrt(scale)), start, method="LSODA", rtol=1e-9, atol=1e-11)
    end = run.y[:, -1]
    beta = end[:4] ** 2 - end[4:] ** 2
    if np.abs(inputs @ beta - labels).max() > 1e-8:
        return
    wanted, _ = theory.selected_interpolant(inputs, labels, scale)
    assert np.allclose(beta, wanted, atol=1e-5 * (1 + np.abs(wanted).max())), (beta, wanted)
    assert np.allclose(end[:4] * end[4:], scale, rtol=1e-4), end


@pytest.mark.claim("D57", kind="property")
def test_small_scales_select_l1_and_large_ones_l2():
    """l1 by linear programming, l2 by the pseudo-inverse; the approach to l1 is logarithmic in the scale."""
    rng = np.random.default_rng(2)
    inputs, labels = rng.standard_normal((3, 8)), rng.standard_normal(3)
    least_l1 = scipy.optimize.linprog(np.ones(16), A_eq=np.hstack([inputs, -inputs]), b_eq=labels).fun
    fits = (theory.selected_interpolant(inputs, labels, c)[0] for c in (1e-2, 1e-6, 1e-12))
    small = [np.abs(fit).sum() / least_l1 - 1 for fit in fits]
    assert small[0] > small[1] > small[2] > -1e-9 and small[2] < 0.01, small
    large, _ = theory.selected_interpolant(inputs, labels, 1e3)
    assert np.allclose(large, np.linalg.pinv(inputs) @ labels, atol=1e-6), large


@pytest.mark.claim("D57", "D58", kind="property")
@given(st.floats(-5, 5), st.floats(1e-3, 10))
@example(0.0, 1.0)
def test_potentials_and_slopes(coefficient, scale):
    """The slope is the potential's difference quotient; Pesme's potential is a quarter of Woodworth's, shifted."""
    h = 1e-5 * (1 + scale)
    ahead, behind = (theory.diagonal_potential(coefficient=coefficient + s * h, scale=scale) for s in (1, -1))
    slope = theory.diagonal_slope(coefficient=coefficient, scale=scale)
    assert np.isclose((ahead - behind) / (2 * h), slope, atol=1e-4 * (1 + abs(slope))), (ahead, behind, slope)
    woodworth = theory.diagonal_potential(coefficient=coefficient, scale=scale)
    pesme = theory.stochastic_potential(coefficient=coefficient, scale=scale)
    assert np.isclose(4 * pesme + 2 * scale, woodworth, rtol=1e-12, atol=1e-12), (pesme, woodworth)


@pytest.mark.claim("D58", kind="simulation")
def test_the_scale_along_stochastic_gradient_flow():
    """Euler and Maruyama of both halves, 1000 paths: ln(w_+ w_-) + 4 lr v int L is ln of the start to
    2% of the change (the bias of a step is of order dt/lr = 0.5%)."""
    rng = np.random.default_rng(11)
    n, d, paths, dt, steps, lr = 3, 5, 1000, 5e-4, 1000, 0.1
    inputs, target = rng.standard_normal((n, d)), np.array([1.0, -0.7, 0.0, 0.4, 0.0])
    labels, squares = inputs @ target, np.mean(inputs**2, axis=0)
    plus, minus = np.full((paths, d), 0.7), np.full((paths, d), 0.7)
    integral = np.zeros(paths)
    for _ in range(steps):
        residual = (plus**2 - minus**2) @ inputs.T - labels
        loss = np.sum(residual**2, axis=1) / (4 * n)
        drift = residual @ inputs / n * dt
        noise = 2 * np.sqrt(lr * loss / n * dt)[:, None] * (rng.standard_normal((paths, n)) @ inputs)
        integral += loss * dt
        plus, minus = plus * (1 - drift + noise), minus * (1 + drift - noise)
    predicted = theory.stochastic_scale(
        scale0=0.49, lr=lr, input_square=squares, loss_integral=integral[:, None] * np.ones(d)
    )
    moved = np.log(0.49 / predicted.mean(axis=0))
    gaps = np.log(plus * minus / predicted) / moved
    assert np.all(moved > 0.01), moved
    for gap in gaps.T:
        outcome = equivalent(gap, 0.0, margin=0.02)
        assert outcome, outcome


@pytest.mark.claim("D58", kind="property")
def test_a_smaller_final_scale_selects_a_sparser_fit_as_a_rule_without_a_law():
    """Over 100 Gaussian problems the l1 norm falls with the common scale, up to rises by less than 1%."""
    rng, rises, falls = np.random.default_rng(4), [], []
    for _ in range(100):
        inputs, labels = rng.standard_normal((2, 5)), rng.standard_normal(2)
        later = theory.stochastic_scale(scale0=1.0, lr=1.0, input_square=1.0, loss_integral=0.5)
        norms = [np.abs(theory.selected_interpolant(inputs, labels, c)[0]).sum() for c in (1.0, later)]
        rises.append(norms[1] / norms[0] - 1)
        falls.append(norms[1] < norms[0])
    assert np.mean(falls) > 0.9 and max(rises) < 0.01, (np.mean(falls), max(rises))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="one entry per row"):
        theory.selected_interpolant(np.eye(2), np.ones(3), 1.0)
    with pytest.raises(ValueError, match="`scale` must be positive"):
        theory.selected_interpolant(np.eye(2), np.ones(2), 0.0)
    with pytest.raises(ValueError, match="independent rows"):
        theory.selected_interpolant(np.ones((2, 3)), np.ones(2), 1.0)
