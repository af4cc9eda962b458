"""The experiments that can be scanned: their predictions, their independence of chunks, and their refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdetheory.scan import comparison, experiments
from sdetheory.scan.experiments import components, laws
from sdetheory.scan.experiments.crossing import crossing
from sdetheory.scan.experiments.imbalance import EXPERIMENT as IMBALANCE
from sdetheory.scan.experiments.simulate import EXPERIMENT as SIMULATE

SDE = {"model": "NoLoss", "dynamics": "WeightDecaySDE", "noise": "Isotropic", "lr": 0.1, "sigma": 0.5, "d": 8}
SGD = {"model": "Rayleigh", "a": "0:0.2", "noise": "GOEBatch", "s": 0.5, "d": 16,
       "record": ["effective_lr", "gamma", "squared_gradient", "squared_norm"]}  # fmt: skip
SMALL = {
    "effective_lr": [{"lr": 0.1, "weight_decay": 0.2}, {"lr": 0.4, "weight_decay": 0.05}],
    "imbalance_half_life": [{"depth": 2, "noise": 0.4}, {"depth": 3, "noise": 0.4, "paths": 64}],
    "fast_equilibrium": [{"product": 0.05, "nets": 16, "hidden": 4, "fitting_steps": 50},
                         {"product": 0.02, "nets": 16, "hidden": 4, "fitting_steps": 50, "start_norm": 2}],
    "simulate": [SGD | {"lr": 0.1, "weight_decay": 0.2, "time": 200}, SGD | {"lr": 0.2, "time": 100, "after": 50}],
    "scan_functions:wave": [{"x": 1}, {"x": 2}],
}  # fmt: skip


@pytest.mark.compiled
@pytest.mark.parametrize("name", SMALL)
def test_a_point_is_a_function_of_its_parameters_and_seed_whatever_runs_beside_it(name):
    what = experiments.find(name)
    points = [what.validate(one) for one in SMALL[name]]
    assert [what.validate(one) for one in points] == points, "complete parameters are complete"
    both = experiments.run_points(name, points, [5, 6])
    assert experiments.run_points(name, points[1:], [6]) == both[1:]
    assert experiments.run_points(name, points[::-1], [6, 5]) == both[::-1]
    assert experiments.run_points(name, points[:1], [7])[0].measured != both[0].measured, "the seed counts"
    for point, outcome in zip(points, both, strict=True):
        assert outcome.diverged is None and set(outcome.measured) <= set(what.observables), outcome
        assert set(outcome.standard_error) == set(outcome.measured)
        assert all(math.isfinite(v) for v in outcome.measured.values()), outcome.measured
        kept = experiments.run_points(name, [{**point, "record": list(outcome.measured)[:1]}], [5])[0]
        assert len(kept.measured) == 1


@pytest.mark.compiled
@pytest.mark.claim("I16", "I18", kind="simulation")
def test_effective_lr_follows_the_law_and_depends_on_the_product_alone():
    what = experiments.find("effective_lr")
    grid = [(0.05, 0.2), (0.2, 0.05), (0.05, 0.8), (0.4, 0.1)]
    points = [what.validate({"lr": a, "weight_decay": b, "horizon": 12}) for a, b in grid]
    outcomes = what.run(points, range(4))
    for point, outcome in zip(points, outcomes, strict=True):
        found = comparison.beside(what, point, outcome)
        said = {name: found.verdict[name] for name in ("effective_lr", "gamma", "squared_norm")}
        assert set(said.values()) == {"agrees"}, (point, found.ratio)
        wrong = comparison.compare(
            outcome.measured["effective_lr"], outcome.standard_error["effective_lr"],
            1.1 * found.predicted["effective_lr"], margin=found.margin["effective_lr"], samples=outcome.samples,
        )  # fmt: skip
        assert wrong.verdict == "differs", wrong
    for i, j in ((0, 1), (2, 3)):
        a, b = (outcomes[k].measured["effective_lr"] for k in (i, j))
        error = math.hypot(*(outcomes[k].standard_error["effective_lr"] for k in (i, j)))
        assert abs(a - b) < 6 * error and 6 * error < 0.02 * a, (a, b, error)
    assert outcomes[2].measured["effective_lr"] / outcomes[0].measured["effective_lr"] == pytest.approx(2.0, rel=0.05)


@pytest.mark.compiled
@pytest.mark.claim("D54", kind="simulation")
@pytest.mark.parametrize("depth", [2, 3])
def test_label_noise_halves_the_imbalance_when_the_limiting_flow_says(depth):
    """And not when the flow without the factor of the finite learning rate says."""
    point = IMBALANCE.validate({"depth": depth, "noise": 0.2, "paths": 512})
    outcome = IMBALANCE.run([point], [3])[0]
    found = comparison.beside(IMBALANCE, point, outcome)
    assert found.verdict["half_life"] == "agrees", (found, outcome)
    bare = found.predicted["half_life"] / (1 - point["lr"] * float((1 / IMBALANCE.start(point)).sum()))
    said = comparison.compare(outcome.measured["half_life"], outcome.standard_error["half_life"], bare,
                              margin=found.margin["half_life"], samples=outcome.samples)  # fmt: skip
    assert said.verdict == "differs", (said, bare)


@pytest.mark.compiled
@pytest.mark.claim("I10", kind="simulation")
@pytest.mark.parametrize("weight_decay", [0.0, 0.05, 0.4])
def test_the_norm_of_a_simulation_by_name_is_the_law_at_every_time(weight_decay):
    known = SDE | {"weight_decay": weight_decay, "dt": 5.0, "start_norm": 2.0, "record": ["gamma"]}
    points = [SIMULATE.validate(known | {"time": t}) for t in (5, 50)] + [
        SIMULATE.validate(known | {"time": 100, "after": 50, "records": 5})]  # fmt: skip
    for point, outcome in zip(points, SIMULATE.run(points, [1, 2, 3]), strict=True):
        found = comparison.beside(SIMULATE, point, outcome)
        assert found.verdict == {"gamma": "agrees"} and found.margin["gamma"] < 1e-6, (point, found)
        assert abs(found.ratio["gamma"] - 1) < 1e-9, found


@pytest.mark.compiled
def test_two_noises_with_equal_fields_have_their_own_traces():
    """Isotropic(0.5) == GOEBatch(0.5) as tuples: a table keyed by the plug-in alone confuses them."""
    from sdetheory import GOEBatch, Isotropic

    assert Isotropic(0.5) == GOEBatch(0.5)
    assert laws._trace(Isotropic(0.5), 8) == pytest.approx(0.25 * 7)
    assert laws._trace(GOEBatch(0.5), 8) == pytest.approx(7)


@pytest.mark.compiled
def test_a_divergence_says_when_and_what_the_last_finite_state_was():
    known = {"model": "scalar_chain", "depth": 4, "dynamics": "GradientDescent", "start": [1.2, 1, 1, 1], "paths": 1}
    point = SIMULATE.validate(known | {"lr": 5.0, "time": 300, "record": ["squared_norm"]})
    outcome = SIMULATE.run([point], [0])[0]
    assert not outcome.measured and outcome.diverged["step"] < 20, outcome
    assert 1 < outcome.diverged["last"]["largest"] <= outcome.diverged["last"]["norm"] < math.inf, outcome


@pytest.mark.slow
@pytest.mark.compiled
def test_functions_of_states_are_measured_too():
    known = {"model": "deep_linear", "depth": 3, "width": 2, "dynamics": "GradientFlow", "integrator": "RK4",
             "dt": 0.01, "time": 1, "paths": 1, "start": "random",
             "record": ["frobenius_imbalance", "layer_imbalance", "sharpness"]}  # fmt: skip
    now, later = (SIMULATE.validate(known | {"weight_decay": wd}) for wd in (0.0, 0.3))
    first, second = (SIMULATE.run([one], [4])[0].measured for one in (now, later))
    assert np.shape(first["frobenius_imbalance"]) == (2,) and first["sharpness"] > 0
    decayed = np.array(second["frobenius_imbalance"]) / np.array(first["frobenius_imbalance"])
    np.testing.assert_allclose(decayed, np.exp(-2 * 0.3 * 1.0), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.compiled
def test_plug_ins_of_a_module_of_your_own_are_found():
    what = experiments.find("simulate+scan_plugins")
    assert "scan_plugins" in what.modules() and what.name == "simulate+scan_plugins"
    point = what.validate({"model": "Bowl", "a": [1, 2], "d": 2, "dynamics": "GradientDescent", "lr": 0.1, "time": 3,
                           "paths": 1, "record": ["squared_norm"]})  # fmt: skip
    measured = what.run([point], [0])[0].measured["squared_norm"]
    assert measured == pytest.approx((0.9**6 + 0.8**6) / 2, rel=1e-12)
    with pytest.raises(ValueError, match="no choice 'Bowl'"):
        SIMULATE.validate(point)


def test_every_component_of_the_package_has_parameters_of_a_known_kind():
    tables = components.tables()
    assert {"Rayleigh", "VonMisesFisher", "scalar_chain", "deep_linear", "DiagonalNetwork"} <= set(tables["model"])
    assert {"Isotropic", "GOEBatch", "label_noise", "minibatch", "dropout", "White"} <= set(tables["noise"])
    assert {"SGD", "WeightDecaySDE", "AdamW", "HeavyBall", "SVAG", "GradientFlow"} <= set(tables["dynamics"])
    assert {"StrangGeodesic", "EulerMaruyama", "DOP853", "RK4", "Richardson"} <= set(tables["integrator"])
    assert {"gamma", "loss", "cosine", "layer_imbalance", "sharpness"} <= set(components.observed())
    kinds = {p.kind for t in tables.values() for one in t.values() for p in one.fields.values()}
    assert kinds <= {"float", "integer", "boolean", "text", "list", "array"}, kinds
    assert tables["noise"]["label_noise"].takes_model and not tables["noise"]["Isotropic"].takes_model
    assert "deep_linear:" not in SIMULATE.more and "noise.sigma" in SIMULATE.more


REFUSED = {
    "model": ({}, "needs `model`"),
    "unknown": ({"model": "Rayleig"}, "`model` has no choice 'Rayleig'; did you mean 'Rayleigh'"),
    "missing": ({"model": "Rayleigh", "time": 1}, "needs `a`, `lr`"),
    "not of these": (SDE | {"time": 1, "weight_decay": 0.1, "s": 1.0}, "no parameter 's'"),
    "twice": (SDE | {"time": 1, "weight_decay": 0.1, "dynamics.lr": 0.1}, "`lr` is given twice"),
    "shape": ({"model": "Rayleigh", "a": [1, 2], "lr": 0.1, "time": 1}, r"`a` must have shape \(16\)"),
    "unit": ({"model": "VonMisesFisher", "mu": "e17", "k": 1, "lr": 0.1, "time": 1}, "one of e1 ... e16"),
    "array": ({"model": "VonMisesFisher", "mu": "x", "k": 1, "lr": 0.1, "time": 1}, '"first:last"'),
    "dimension": ({"model": "Circle", "lr": 0.1, "time": 1}, "d=2"),
    "calculus": (SDE | {"time": 1, "weight_decay": 0.1, "integrator": "RK4"}, "`integrator` must be of calculus"),
    "noise": (SDE | {"time": 1, "dynamics": "GradientDescent"}, "`noise` must be left out"),
    "dt": (SDE | {"time": 4, "dynamics": "SGD", "dt": 2}, "`dt` must be 1 for SGD"),
    "dt beyond the end": (SDE | {"time": 2, "dt": 5, "weight_decay": 0.1}, "`dt` must not exceed the time.* 2: dt=5"),
    "dt beyond the record": (SDE | {"time": 9, "after": 8, "dt": 3, "weight_decay": 0.1}, "`dt` must not exceed"),
    "after": (SDE | {"time": 4, "after": 5, "weight_decay": 0.1}, "`after` must be before the end"),
    "observable": (SDE | {"time": 4, "weight_decay": 0.1, "record": ["gama"]}, "did you mean 'gamma'"),
    "needs widths": (SDE | {"time": 4, "weight_decay": 0.1, "record": ["layer_imbalance"]}, "needs `?widths"),
    "start": (SDE | {"time": 4, "weight_decay": 0.1, "start": [1, 2]}, "`start` must have 8 weights"),
    "zero": (SDE | {"time": 4, "weight_decay": 0.1, "start": 0.0}, "must not be zero for a scale-invariant loss"),
    "direction": (SDE | {"time": 4, "weight_decay": 0.1, "record": ["cosine"]}, "needs `direction`"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_simulate_refuses_before_anything_runs(case):
    given_, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        SIMULATE.validate(given_)


OTHERS = {
    "effective_lr": ({"lr": 2.0, "weight_decay": 0.3}, "`weight_decay` must be below 0.5/lr"),
    "imbalance_half_life": ({"depth": 2, "noise": 0.1, "lr": 0.5}, "`lr` must be below 0.9/S"),
    "fast_equilibrium": ({"product": 0.2}, "`product` must be at most 0.1"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_experiments_refuse_what_their_theory_does_not_cover(name):
    given_, message = OTHERS[name]
    with pytest.raises(ValueError, match=message):
        experiments.find(name).validate(given_)


def test_a_function_must_return_numbers_it_announced():
    for spec, error, message in (("silent", TypeError, "must return a dict"), ("mislabelled", ValueError, "'yy'")):
        with pytest.raises(error, match=message):
            experiments.run_points(f"scan_functions:{spec}", [{"x": 1.0}], [0])


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 0.9), st.integers(6, 40))
def test_an_exponential_crosses_where_it_should(rate, share, count):
    ts = np.linspace(0, 10, count) / rate
    curve = np.exp(-rate * ts)
    expected = -math.log(share) / rate
    assert crossing(ts, curve, share) == pytest.approx(expected, rel=1e-9)
    assert crossing(ts, curve, 0.5 * curve[-1]) == math.inf and crossing(ts, curve, 1.0) == 0.0


def test_a_curve_may_fall_below_zero():
    assert crossing(np.array([0.0, 1.0]), np.array([1.0, -1.0]), 0.1) == pytest.approx(math.log(10) / math.log(200))
