"""Diagonal networks of any depth: fits of the potentials against flows, and starts that are small or large enough."""

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdetheory.predictions import deep_diagonal_networks as deep
from sdetheory.predictions import rich_and_lazy
from sdetheory.predictions.diagonal_networks import selected_interpolant
from sdetheory.predictions.letters import NotRational

depths = st.sampled_from([3.0, 3.5, 4.0, 6.0, 12.0])


def problem(seed, rows=3, columns=8):
    """X, y, the least l1 norm of all fits (linear programming), the least l2 norm."""
    rng = np.random.default_rng(seed)
    inputs, labels = rng.standard_normal((rows, columns)), rng.standard_normal(rows)
    costs = np.ones(2 * columns)
    least_l1 = scipy.optimize.linprog(costs, A_eq=np.hstack([inputs, -inputs]), b_eq=labels).fun
    return inputs, labels, least_l1, np.linalg.norm(np.linalg.pinv(inputs) @ labels)


@pytest.mark.claim("D57", kind="property")
@given(st.floats(-120, 120), depths)
@example(0.0, 3.0)
def test_the_inverse_function_is_accurate_at_every_scale(power, depth):
    """h_D at the slope, in 300 digits, from r = atanh z: relative errors of rounding, 240 orders of magnitude."""
    ratio = 10.0**power
    r = float(deep._rapidity(ratio, depth))
    with mpmath.workdps(300):
        z, c = mpmath.tanh(mpmath.mpf(r)), mpmath.mpf(depth) / (mpmath.mpf(depth) - 2)
        found = (1 - z) ** -c - (1 + z) ** -c
        error = float(abs(found / mpmath.mpf(ratio) - 1))
    assert error < 1e-14 * (1 + 2 * depth / (depth - 2) * r), (ratio, depth, error)
    assert deep.deep_slope(-ratio, 1.0, depth) == -np.tanh(r)


@pytest.mark.claim("D57", kind="property")
@given(st.floats(-0.99, 0.99).filter(lambda z: abs(z) > 1e-3), st.floats(0.05, 3), depths)
def test_slope_and_potential_are_those_of_the_closed_forms(slope, start, depth):
    given = {"potential_slope": slope, "start": start, "depth": depth}
    beta, potential = deep.deep_coefficient(**given), deep.deep_potential_at_slope(**given)
    assert np.isclose(deep.deep_slope(beta, start, depth), slope, rtol=1e-9), deep.deep_slope(beta, start, depth)
    assert np.isclose(deep.deep_potential(beta, start, depth), potential, rtol=1e-7), potential
    h = 1e-5 * (abs(beta) + start**depth)
    ahead, behind = (deep.deep_potential(beta + sign * h, start, depth) for sign in (1, -1))
    assert np.isclose((ahead - behind) / (2 * h), slope, atol=1e-4), ((ahead - behind) / (2 * h), slope)
    assert 0 <= potential <= abs(beta), (potential, beta)
    assert potential >= abs(beta) - depth / 2 * start ** (depth - 2) * abs(beta) ** (2 / depth) - 1e-12


@pytest.mark.claim("D57", kind="property")
@settings(max_examples=25)  # a fit costs a tenth of a second
@given(st.integers(0, 50), st.floats(-7, 1), depths)
def test_the_deep_fit_satisfies_the_optimality_conditions(seed, power, depth):
    inputs, labels, _, _ = problem(seed)
    start = 10.0 ** max(power, -20.0 / depth)
    beta, multipliers = deep.deep_selected_interpolant(inputs, labels, start, depth)
    assert np.abs(inputs @ beta - labels).max() < 1e-11 * np.abs(labels).max(), (beta, labels)
    gap = np.abs(deep.deep_slope(beta, start, depth) - inputs.T @ multipliers).max()
    assert gap < 1e-11, gap
    for move in np.linalg.svd(inputs)[2][3:]:
        for size in (-1e-2, 1e-2):
            costs = [deep.deep_potential(b, start, depth).sum() for b in (beta, beta + size * move)]
            assert costs[0] <= costs[1] * (1 + 1e-12), costs


@pytest.mark.claim("D57", kind="property")
@pytest.mark.parametrize(("depth", "start"), [(3, 0.05), (3, 0.5), (4, 0.3), (6, 0.8)])
def test_deep_flows_end_at_the_fit_of_their_potential(depth, start):
    """w_+^D - w_-^D by a stiff solver from equal weights, not from the potential."""
    inputs, labels, _, _ = problem(1, 2, 5)

    def rate(_, w):
        slope = inputs.T @ (inputs @ (w[:5] ** depth - w[5:] ** depth) - labels)
        return depth * np.concatenate([-(w[:5] ** (depth - 1)) * slope, w[5:] ** (depth - 1) * slope])

    long = 400 / start ** (2 * depth - 2)
    run = scipy.integrate.solve_ivp(rate, (0, long), np.full(10, start), method="LSODA", rtol=1e-10, atol=1e-13)
    beta = run.y[:5, -1] ** depth - run.y[5:, -1] ** depth
    wanted, _ = deep.deep_selected_interpolant(inputs, labels, start, depth)
    assert np.abs(inputs @ beta - labels).max() < 1e-7, "the flow fits"
    assert np.allclose(beta, wanted, atol=1e-6), (beta, wanted)


@pytest.mark.claim("D57", kind="property")
def test_a_sparse_truth_with_fewer_entries_than_samples():
    """The least l1 fit then uses fewer coordinates than rows: the solver's matrix has rows of very different size."""
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((6, 12))
    truth = np.zeros(12)
    truth[:2] = 1.0, -0.7
    for start in (1e-1, 1e-2, 1e-3, 1e-6, 1e-12):
        beta, _ = deep.deep_selected_interpolant(inputs, inputs @ truth, start, 4)
        assert np.abs(beta - truth).max() < 50 * start**4 + 1e-13, (start, np.abs(beta - truth).max())


def excess_of(norm, fit, least):
    """Relative excess of a norm of a fit."""
    return float(norm(fit, fit) if norm is np.dot else norm(fit)) / least - 1


def l1(beta):
    return np.abs(beta).sum()


def largest(holds, low, high):
    """The largest exponent at which a condition that holds at `low` and fails at `high` holds, by bisection."""
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@pytest.mark.claim("D57", kind="property")
@settings(max_examples=25)  # three fits
@given(st.integers(0, 200), st.floats(0.02, 1), depths, st.floats(0.2, 5))
@example(0, 1.0, 3.0, 1.0)
def test_the_stated_starts_suffice(seed, excess, depth, size):
    """Fits at the stated starts, two layers and deeper: norms within 1 + excess of the least, also where labels are
    rescaled; and the published starts are more demanding.
    """
    inputs, labels, least_l1, least_l2 = problem(seed)
    labels, least_l1, least_l2 = size * labels, size * least_l1, size * least_l2
    rich = rich_and_lazy.rich_scale(excess=excess, least_l1=least_l1, inputs=8)
    if rich > 1e-100:
        fit, _ = selected_interpolant(inputs, labels, rich)
        assert excess_of(l1, fit, least_l1) <= excess, (excess_of(l1, fit, least_l1), excess)
    lazy = rich_and_lazy.lazy_scale(excess=excess, least_l2=least_l2)
    fit, _ = selected_interpolant(inputs, labels, lazy)
    assert excess_of(np.dot, fit, least_l2**2) <= excess, (excess, lazy)
    assert rich_and_lazy.published_lazy_scale(excess, least_l2) > 4 * lazy
    power = deep.deep_rich_start(excess=excess, least_l1=least_l1, inputs=8, depth=depth)
    fit, _ = deep.deep_selected_interpolant(inputs, labels, power ** (1 / (depth - 2)), depth)
    assert excess_of(l1, fit, least_l1) <= excess, (excess_of(l1, fit, least_l1), excess, depth)


def just_enough(inputs, labels, least_l1, least_l2, excess):
    """Decimal exponents of the largest alpha^2 with this excess of the l1 norm, and the smallest for l2."""

    def rich(power):
        return excess_of(l1, selected_interpolant(inputs, labels, 10.0**power)[0], least_l1) <= excess

    def lazy(power):
        fit, _ = selected_interpolant(inputs, labels, 10.0**-power)
        return excess_of(np.dot, fit, least_l2**2) <= excess

    return largest(rich, -14, 2), -largest(lazy, -3, 6)


@pytest.mark.claim("D57", kind="property")
def test_how_loose_the_starts_are():
    """Twenty problems, excess 1/10: decades between the bounds of alpha^2 and the values that are just enough, medians:
    8.5 (published: 37) for l1, 1.9 (published: 3.6) for l2, measured; no bound is exceeded.
    """
    ratios = []
    for seed in range(20):
        problem_of_seed = problem(seed)
        *_, least_l1, least_l2 = problem_of_seed
        rich, lazy = just_enough(*problem_of_seed, excess=0.1)
        thresholds = {
            "rich": rich - np.log10(rich_and_lazy.rich_scale(excess=0.1, least_l1=least_l1, inputs=8)),
            "published rich": rich - np.log10(max(rich_and_lazy.published_rich_scale(0.1, least_l1, 8), 1e-300)),
            "lazy": np.log10(rich_and_lazy.lazy_scale(excess=0.1, least_l2=least_l2)) - lazy,
            "published lazy": np.log10(rich_and_lazy.published_lazy_scale(0.1, least_l2)) - lazy,
        }
        ratios.append(list(thresholds.values()))
    found = dict(zip(thresholds, np.median(ratios, axis=0), strict=True))
    assert np.min(ratios) > 0, "every bound holds"
    assert found["rich"] < 10 < 30 < found["published rich"], found
    assert found["lazy"] < 2.2 < 3.2 < found["published lazy"], found


def test_letters_differentiate_powers_with_symbolic_exponents():
    """At a point, against a difference; an exponent that moves has no rational rate and is refused."""
    p = deep.deep_coefficient
    values = {"depth": 5.0, "start": 0.7, "potential_slope": 0.4}
    known = {p.symbols[name]: value for name, value in values.items()}
    for letter, meaning in p.letters.meanings.items():
        known[letter] = meaning.subs(known)
    for by in ("potential_slope", "start"):
        ahead, behind = (p(**(values | {by: values[by] + h})) for h in (1e-6, -1e-6))
        found = float(p.letters.rate(p.symbols[by]).subs(known))
        assert np.isclose(found, (ahead - behind) / 2e-6, rtol=1e-7), (by, found)
    with pytest.raises(NotRational, match="depth"):
        p.letters.rate(p.symbols["depth"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deep.deep_slope(1.0, 0.1, 2), "`depth` must be above 2"),
        (lambda: deep.deep_slope(1.0, 0.0, 3), "`start` must be positive"),
        (lambda: deep.deep_slope(1.0, 1e-200, 3), "`start` must be positive, and so start"),
        (lambda: deep.deep_selected_interpolant(np.ones((2, 3)), np.ones(2), 0.1, 3), "independent rows"),
        (lambda: deep.deep_selected_interpolant(np.ones((1, 3)), np.ones(2), 0.1, 3), "`labels` must have one entry"),
        (lambda: rich_and_lazy.published_rich_scale(0.0, 1.0, 3), "`excess` must be finite and positive"),
        (lambda: rich_and_lazy.published_lazy_scale(0.1, -1.0), "`least_l2` must be finite and positive"),
        (lambda: rich_and_lazy.rich_scale(excess=2.0, least_l1=1.0, inputs=3), "needs excess <= 1"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
