"""The tests of the tests: false-alarm rate, power, equivalence and order fits do what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from sdetheory import statistics

TRIALS = 5000


def draws(n=400, mean=0.0, seed=0):
    return mean + np.random.default_rng(seed).standard_normal(n)


def test_a_true_mean_passes_and_a_shifted_one_fails():
    assert statistics.mean_test(draws(), 0.0, detectable=0.5)
    shifted = statistics.mean_test(draws(mean=0.5), 0.0, detectable=0.5)
    assert not shifted, shifted
    assert "FAILED" in str(shifted) and "against 0" in str(shifted)


def test_a_test_without_power_fails_even_when_the_mean_is_right():
    weak = statistics.mean_test(draws(), 0.0, detectable=0.05)
    assert abs(weak.z) < weak.critical and weak.power < 0.99 and not weak, weak


def test_the_false_alarm_rate_is_the_stated_one():
    rejected = sum(abs(o.z) > o.critical for o in _many(false_alarm=0.05))
    outcome = statistics.proportion_test(rejected, TRIALS, 0.05, detectable=0.03)
    assert outcome, outcome


def test_the_power_is_the_stated_one():
    outcomes = _many(false_alarm=0.05, mean=0.3, detectable=0.3, n=100)
    seen = sum(abs(o.z) > o.critical for o in outcomes)
    stated = float(np.mean([o.power for o in outcomes]))
    outcome = statistics.proportion_test(seen, TRIALS, stated, detectable=0.06)
    assert outcome, outcome


def _many(false_alarm, mean=0.0, detectable=1.0, n=12):
    rng = np.random.default_rng(5)
    return [
        statistics.mean_test(mean + rng.standard_normal(n), 0.0, detectable=detectable, false_alarm=false_alarm)
        for _ in range(TRIALS)
    ]


def test_equivalence_needs_evidence_not_its_absence():
    assert statistics.equivalent(draws(10_000), 0.0, margin=0.1)
    assert not statistics.equivalent(draws(20), 0.0, margin=0.1), "too few samples to say anything"
    assert not statistics.equivalent(draws(10_000, mean=0.2), 0.0, margin=0.1)


def test_constant_samples_are_judged_exactly():
    assert statistics.mean_test(np.ones(8), 1.0, detectable=0.1)
    assert not statistics.mean_test(np.ones(8), 1.0 + 1e-9, detectable=0.1)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((8, 2)), np.full(9, np.nan)])
def test_unusable_samples_are_refused(bad):
    with pytest.raises(ValueError, match="`samples` must be"):
        statistics.mean_test(bad, 0.0, detectable=1.0)


UNIFORM = lambda x: np.clip(x, 0.0, 1.0)
BENT = lambda delta: lambda x: UNIFORM(x) + 4 * delta * UNIFORM(x) * (1 - UNIFORM(x))  # at distance delta


def bent_draws(delta, shape, seed):
    """Draws of BENT(delta): u solves x + 4 delta x (1 - x) = p."""
    p, b = np.random.default_rng(seed).random(shape), 1 + 4 * delta
    return 2 * p / (b + np.sqrt(b * b - 16 * delta * p)) if delta else p


@pytest.mark.parametrize("margin", [0.0, 0.03])
def test_the_false_alarm_rate_of_the_law_test_is_the_stated_one(margin):
    """Without a margin it is exact; a law at the margin's distance fails less often than stated."""
    outcomes = [
        statistics.law_test(row, UNIFORM, detectable=0.9, margin=margin, false_alarm=0.05)
        for row in bent_draws(margin, (4000, 60), 3)
    ]
    rejected = sum(not o for o in outcomes)
    if margin:
        assert 0 < rejected < 0.05 * 4000, rejected
    else:
        outcome = statistics.proportion_test(rejected, 4000, 0.05, detectable=0.035)
        assert outcome, outcome


@pytest.mark.parametrize("alternative", [0.1, BENT(0.1)])
def test_the_power_of_the_law_test_is_at_least_the_stated_one(alternative):
    """With 1200 samples 0.99 is stated: the law 0.1 away is missed in fewer than one of a hundred runs."""
    outcomes = [
        statistics.law_test(row, UNIFORM, detectable=alternative, false_alarm=0.001)
        for row in bent_draws(0.1, (1500, 1200), 4)
    ]
    assert all(o.power >= 0.99 for o in outcomes), outcomes[0]
    missed = sum(o.z <= o.critical for o in outcomes)
    assert missed <= 15, (missed, outcomes[0])
    weak = statistics.law_test(bent_draws(0.0, 200, 5), UNIFORM, detectable=alternative, false_alarm=0.001)
    assert weak.z <= weak.critical and not weak, weak


def test_the_law_test_refuses_what_is_no_law():
    x = np.linspace(0.1, 0.9, 20)
    for cdf in (lambda x: -x, lambda x: 2 * x, lambda x: 0.5, lambda x: x * np.nan):
        with pytest.raises(ValueError, match="`cdf` must be an increasing function"):
            statistics.law_test(x, cdf, detectable=0.5)
    with pytest.raises(ValueError, match="`samples` must be finite"):
        statistics.law_test(np.full(20, np.inf), UNIFORM, detectable=0.5)


@given(order=some.floats(0.5, 6.0), constant=some.floats(1e-6, 1e6))
def test_fit_order_recovers_the_exponent(order, constant):
    steps = 0.5 ** np.arange(6)
    assert abs(statistics.fit_order(steps, constant * steps**order) - order) < 1e-9


def test_fit_order_leaves_out_rounding_and_refuses_too_little():
    steps = 0.5 ** np.arange(8)
    errors = np.maximum(steps**4, 1e-7)
    assert abs(statistics.fit_order(steps, errors, floor=2e-7) - 4) < 1e-9
    with pytest.raises(ValueError, match="three values above floor"):
        statistics.fit_order(steps, errors, floor=0.1)
