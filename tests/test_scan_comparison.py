"""Measured beside predicted: the verdict's false-alarm rate and power, means over seeds, predictions in records."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdetheory.scan import comparison, experiments
from sdetheory.scan.comparison import compare, over_seeds
from sdetheory.scan.experiments import Outcome
from sdetheory.scan.groups import grouped
from sdetheory.scan.identity import Point
from sdetheory.scan.records import record
from sdetheory.statistics import proportion_test

WAVE = experiments.find("scan_functions:wave")


def verdicts(shift, samples, false_alarm, trials=6000):
    """Verdicts on means of normal samples (samples,) of mean 1 + shift and unit variance, predicted 1."""
    rng = np.random.default_rng(3)
    draws = 1 + shift + rng.standard_normal((trials, samples))
    means, errors = draws.mean(axis=1), draws.std(axis=1, ddof=1) / np.sqrt(samples)
    known = {"samples": samples, "false_alarm": false_alarm, "detectable": 5.0}
    return [compare(m, e, 1.0, **known).verdict for m, e in zip(means, errors, strict=True)]


@pytest.mark.parametrize("samples", [5, 30])
def test_a_true_prediction_differs_at_the_stated_rate_also_with_few_samples(samples):
    """With the normal law instead of Student's the rate for 5 samples would be 0.12, not 0.05."""
    alarms = verdicts(0.0, samples, 0.05).count("differs")
    outcome = proportion_test(alarms, 6000, 0.05, detectable=0.03)
    assert outcome, outcome


def test_a_wrong_prediction_differs_and_a_coarse_measurement_decides_nothing():
    assert compare(1.2, 0.01, 1.0).verdict == "differs"
    assert compare(1.02, 0.01, 1.0).verdict == "agrees"
    assert compare(1.02, 0.05, 1.0).verdict == "undecided", "10 % would not have been seen"
    assert compare(1.2, 0.01, 1.0, margin=0.2).verdict == "agrees", "the prediction is known to 20 %"
    assert compare(1.3, 0.01, 1.0, margin=0.2).verdict == "differs"
    assert compare(1.02, 0.01, 1.0, samples=3).verdict == "undecided", "two degrees of freedom say little"
    assert compare(1.0, math.inf, 1.0).verdict == "undecided"
    assert compare(math.nan, 0.1, 1.0).verdict == compare(math.inf, None, 1.0).verdict == "differs"
    assert compare(1.0, 0.1, None) == (None, None, "no prediction")


def test_agreement_had_the_power_to_see_what_is_detectable():
    """At the borderline of `agrees`, a deviation of 10 % is called different with probability 0.99 (or more)."""
    error, known = 0.1 / (4.892 + 2.327), {"false_alarm": 1e-6}
    assert compare(1.0, error, 1.0, **known).verdict == "agrees"
    assert compare(1.0, 1.01 * error, 1.0, **known).verdict == "undecided"
    draws = 1.1 + error * np.random.default_rng(0).standard_normal(4000)
    seen = sum(compare(x, error, 1.0, **known).verdict == "differs" for x in draws)
    outcome = proportion_test(seen, 4000, 0.99, detectable=0.03)
    assert outcome, outcome


@given(st.floats(-1e300, 1e300), st.floats(0, 1e3))
def test_an_exact_number_agrees_with_itself_up_to_rounding_alone(value, factor):
    found = compare(value, None, value)
    assert found.verdict == "agrees", found
    off = value * (1 + 1e-6)
    if abs(value) > 1e-290:
        assert compare(off, None, value).verdict == "differs", (value, off)
        assert compare(off, None, value, margin=2e-6).verdict == "agrees"


def test_a_prediction_of_zero_has_no_ratio_but_a_verdict():
    assert compare(0.0, None, 0.0) == (None, 0.0, "agrees")
    assert compare(1e-3, None, 0.0).verdict == "differs"
    assert compare(0.1, 1e-3, 0.0)[0] is None and compare(0.1, 1e-3, 0.0).verdict == "differs"


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0, 10)), min_size=2, max_size=9))
def test_errors_of_all_seeds_combine_else_their_spread_counts(pairs):
    values = {i: pair for i, pair in enumerate(pairs)}
    mean, error, samples = over_seeds(values)
    numbers, errors = np.array(pairs).T
    assert mean == pytest.approx(numbers.mean(), abs=1e-9) and samples is None
    assert error == pytest.approx(np.sqrt((errors**2).sum()) / len(pairs))
    values[0] = (values[0][0], None)
    mean, error, samples = over_seeds(values)
    assert samples == len(pairs) and error == pytest.approx(numbers.std(ddof=1) / np.sqrt(len(pairs)), abs=1e-9)
    assert over_seeds({4: (2.0, None)}) == (2.0, None, None)


def test_every_measured_number_gets_prediction_ratio_and_verdict():
    outcome = Outcome({"y": 6.0001, "z": 2.0, "path": [1.0]}, {"y": 1e-3}, samples=100)
    found = comparison.beside(WAVE, {"x": 2.0, "n": 3, "kind": "plain", "shift": 0.0}, outcome)
    assert found.predicted == {"y": 6.0, "z": None, "path": None} and found.ratio["y"] == pytest.approx(1.0000167)
    assert found.verdict == {"y": "agrees", "z": "no prediction", "path": "no prediction"}
    assert comparison.beside(WAVE, {}, Outcome(diverged={"time": 1.0})).verdict == {}


def test_seeds_together_see_what_one_does_not():
    """A deviation of 3 standard errors at each of 16 seeds is 12 of the mean's."""
    records = []
    for seed in range(16):
        point = Point("scan_functions:wave", {"x": 1.0}, seed)
        outcome = Outcome({"y": 1.03}, {"y": 0.01}, samples=1000)
        found = compare(1.03, 0.01, 1.0, samples=1000)
        assert found.verdict == "agrees", found
        records.append(record(point, outcome, predicted={"y": 1.0}, margin={"y": 0.0}))
    group = grouped(records)[0]
    found = group.found("y")
    assert found.verdict == "differs" and found.standard_error == pytest.approx(0.0025), found
    assert group.found("nothing") is None and group.count("ok") == 16
