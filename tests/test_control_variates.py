"""Control variates: exact identities of the estimate, no bias where the usual one has it, errors that are true."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

from sdetheory.ensemble import Ensemble
from sdetheory.statistics import controlled, mean_test

numbers = some.floats(-3, 3, allow_subnormal=False).map(lambda x: round(x, 3))
rows = arrays(np.float64, (14, 3), elements=numbers)


def accepted(table):
    """y, two controls, and known means near those of the sample; None if refused as degenerate."""
    y, c = table[:, 0], table[:, 1:]
    known = c.mean(axis=0) + 0.1
    try:
        return y, c, known, controlled(y, c, known)
    except ValueError as refused:
        assert "`controls` must" in str(refused) or "`known_means` must" in str(refused), refused
        return None


@given(table=rows)
@example(table=np.zeros((14, 3)))
@example(table=np.eye(14)[:, :3])
def test_estimate_is_the_mean_with_coefficients_from_the_other_samples(table):
    case = accepted(table)
    assume(case is not None)
    y, c, known, got = case
    design = np.column_stack([np.ones(len(y)), c - known])
    without = []
    for i in range(len(y)):
        keep = np.arange(len(y)) != i
        assume(np.linalg.cond(design[keep]) < 1e4)
        without.append(np.linalg.lstsq(design[keep], y[keep], rcond=None)[0])
    without = np.array(without)
    wanted = np.mean(y - ((c - known) * without[:, 1:]).sum(axis=1))
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(got.estimate, wanted, atol=1e-8)
    np.testing.assert_allclose(got.fitted, beta[0], atol=1e-8)
    np.testing.assert_allclose(got.coefficients, beta[1:], atol=1e-8)
    np.testing.assert_allclose(got.standard_error**2, ((beta[0] - without[:, 0]) ** 2).sum(), atol=1e-8)
    assert got.bias == got.fitted - got.estimate


@given(
    table=rows,
    factor=some.floats(0.1, 10),
    shift=some.floats(-5, 5),
    mix=arrays(np.float64, (2, 2), elements=numbers),
)
def test_units_and_mixtures_of_controls_do_not_matter(table, factor, shift, mix):
    case = accepted(table)
    assume(case is not None and np.linalg.cond(mix) < 50)
    y, c, known, got = case
    assume(np.linalg.cond(c - c.mean(axis=0)) < 1e3)
    again = controlled(factor * y + shift, c @ mix + shift, known @ mix + shift)
    np.testing.assert_allclose(again.estimate, factor * got.estimate + shift, atol=1e-6)
    np.testing.assert_allclose(again.standard_error, factor * got.standard_error, atol=1e-6)


@given(c=arrays(np.float64, 12, elements=numbers), a=some.floats(-3, 3), b=some.floats(-3, 3))
def test_a_sample_that_is_its_control_is_known_exactly(c, a, b):
    assume(np.ptp(c) > 0.01)
    known = c.mean() + 0.3 * c.std()
    try:
        got = controlled(a + b * c, c, known)
    except ValueError as refused:
        assert "one sample" in str(refused)
        return
    np.testing.assert_allclose([got.estimate, got.standard_error], [a + b * known, 0.0], atol=1e-9)


def test_given_coefficients_are_used_and_zero_ones_change_nothing():
    rng = np.random.default_rng(0)
    c = rng.standard_normal((50, 2))
    y = c @ [1.0, -2.0] + rng.standard_normal(50)
    plain = controlled(y, c, [0.0, 0.0], coefficients=[0.0, 0.0])
    assert plain.estimate == y.mean() and plain.variance_ratio == pytest.approx(1.0) and plain.bias == 0.0
    exact = controlled(y, c, np.zeros(2), coefficients=[1.0, -2.0])
    assert exact.estimate == pytest.approx(np.mean(y - c @ [1.0, -2.0])) and exact.variance_ratio < 0.5


TRIALS, SMALL = 6_000, 12


@pytest.fixture(scope="module")
def trials():
    """12 samples of y = c^2 + noise, 6000 times: the residual is correlated with c^2, where fitting biases."""
    rng = np.random.default_rng(7)
    c = rng.standard_normal((TRIALS, SMALL))
    y = c * c + c + 0.3 * rng.standard_normal((TRIALS, SMALL))
    return [controlled(row, control, 0.0) for row, control in zip(y, c, strict=True)]


def test_no_bias_where_the_fitted_coefficients_have_one(trials):
    """E fitted - 1 is -E[residual c^2]/n = -2/12 to first order; `estimate` has none, and `bias` tells it."""
    outcome = mean_test(np.array([t.estimate for t in trials]), 1.0, detectable=0.09)
    assert outcome, outcome
    fitted = np.array([t.fitted for t in trials])
    biased = mean_test(fitted, 1.0, detectable=0.09)
    assert not biased and -0.2 < biased.estimate - 1.0 < -0.08, biased
    told = mean_test(fitted - np.array([t.bias for t in trials]), 1.0, detectable=0.09)
    assert told, told


def test_the_standard_error_is_the_spread_of_estimates():
    rng = np.random.default_rng(8)
    c = rng.standard_normal((2000, 40))
    y = np.exp(0.3 * c) + 0.2 * rng.standard_normal(c.shape)
    got = [controlled(row, control, 0.0) for row, control in zip(y, c, strict=True)]
    z = np.array([(g.estimate - np.exp(0.045)) / g.standard_error for g in got])
    outcome = mean_test(z * z, 1.0, detectable=0.3)
    assert outcome, outcome
    ratio = np.mean([g.variance_ratio for g in got])
    variance = np.exp(0.09) * (np.exp(0.09) - 1) + 0.04
    residual = variance - (0.3 * np.exp(0.045)) ** 2
    assert abs(ratio / (residual / variance) - 1) < 0.15, (ratio, residual / variance)


@pytest.mark.parametrize(
    ("samples", "controls", "means", "message"),
    [
        (np.arange(9.0), np.ones(9), 1.0, r"`controls` must vary: controls\[:, 0\] is 1 in all 9 samples"),
        (np.arange(9.0), np.eye(9), np.zeros(9), "`controls` must be at least 1 and 8 fewer than samples: 9 and 9"),
        (np.arange(8.0), np.arange(8.0), 3.5, "8 fewer than samples: 1 and 8"),
        (np.full(9, np.nan), np.arange(9.0), 4.0, r"`samples` must be finite: samples\[0\]=nan"),
        (np.arange(9.0), np.array([*range(8), np.inf]), 4.0, "`controls` must be finite"),
        (np.arange(9.0), np.arange(9.0), np.inf, "`known_means` must be finite"),
        (np.arange(9.0), np.arange(8.0), 4.0, r"`controls` must have shape \(9, any\): it has shape \(8, 1\)"),
        (np.arange(9.0), np.arange(9.0), [4.0, 4.0], r"`known_means` must have shape \(1\)"),
        (np.ones((9, 2)), np.arange(9.0), 4.0, r"`samples` must have shape \(any\)"),
        (np.arange(9.0), np.eye(9)[0], 0.1, "`controls` must not be decided by one sample: sample 0 is"),
        (np.arange(12.0), np.column_stack([np.arange(12.0)] * 2), [5.0, 5.0], "linearly independent"),
        (np.arange(99.0), np.arange(99.0), 90.0, "`known_means` must be the means of the controls"),
    ],
)  # fmt: skip
def test_what_cannot_control_is_refused(samples, controls, means, message):
    with pytest.raises(ValueError, match=message):
        controlled(samples, controls, means)


def ensemble(paths=400, diverged=()):
    """y = c^2 + c seen with c at three times, of variance 0, 1 and 2."""
    rng = np.random.default_rng(3)
    c = rng.standard_normal((paths, 3)) * np.sqrt([0.0, 1.0, 2.0])
    values = {"y": c * c + c, "c": c}
    bad = np.isin(np.arange(paths), diverged)
    values["c"][bad] = np.nan
    views = {"y": np.stack([values["y"], 2 * c]), "c": c[None]}
    return Ensemble(np.arange(3.0), values, c, bad, np.where(bad, 1, -1), views=views)


def test_an_ensemble_uses_its_controls_at_every_time():
    runs = ensemble(diverged=(3, 4))
    mean, error = runs.mean("y", controls={"c": 0.0})
    plain, plain_error = runs.mean("y")
    assert mean[0] == plain[0] == 0.0 and error[0] == 0.0, "a control that does not vary says nothing"
    for t in (1, 2):
        wanted = controlled(runs.samples("y")[:, t], runs.samples("c")[:, t], 0.0)
        assert (mean[t], error[t]) == (wanted.estimate, wanted.standard_error)
        assert error[t] < plain_error[t]
    other = runs.mean("y", controls={("y", 1): np.zeros(3)})
    np.testing.assert_allclose(other, [mean, error], rtol=1e-9, atol=1e-12)


def test_an_ensemble_refuses_controls_it_does_not_have_or_that_are_wrong():
    runs = ensemble()
    with pytest.raises(KeyError, match="must be one of y, c: name='z'"):
        runs.mean("y", controls={"z": 0.0})
    with pytest.raises(KeyError, match="`view` must be below 2 for 'y': view=2"):
        runs.mean("y", controls={("y", 2): 0.0})
    with pytest.raises(ValueError, match="c is 0 on every path at t=0, not 1"):
        runs.mean("y", controls={"c": [1.0, 0.0, 0.0]})
