"""Simulations: bitwise the same however they are run, marked or refused where they cannot run, and
reproducible.
"""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

import sdetheory as st
from sdetheory.integrators import EulerMaruyama
from sdetheory.lanes import driver
from sdetheory.lanes.random import Philox
from sdetheory.observers import (
    Coordinate,
    Cosine,
    EffectiveLR,
    Gamma,
    Loss,
    SquaredGradient,
    SquaredNorm,
)

D, PATHS = 3, 21
MODEL, RULE, NOISE = st.Rayleigh([0.0, 0.1, 0.4]), st.WeightDecaySDE(0.2, 0.1), st.Isotropic(0.7)
OBSERVED = [SquaredNorm()]
START = np.random.default_rng(3).standard_normal((PATHS, D))


def run(w0=START, ts=(0.0, 4.0, 30.0), rule=RULE, noise=NOISE, **options):
    """The combination of plug-ins shared by the tests of this file."""
    options = {"integrator": EulerMaruyama(), "dt": 0.5, "seed": 7, "observe": OBSERVED, "keep_states": True,
               "width": 8, "threads": 1} | options  # fmt: skip
    return st.simulate(MODEL, rule, w0, ts, noise=noise, **options)


class BareIntegrator(NamedTuple):
    calculus = "ito"


def same(a, b, rows=slice(None)):
    np.testing.assert_array_equal(a.states[rows], b.states)
    np.testing.assert_array_equal(a.final[rows], b.final)
    np.testing.assert_array_equal(a["squared_norm"][rows], b["squared_norm"])


@pytest.mark.compiled
@pytest.mark.parametrize(
    "options", [{"width": 16}, {"width": 32}, {"threads": 2}, {"width": 16, "threads": 2}], ids=str
)
def test_width_and_threads_do_not_change_a_bit(options):
    same(run(), run(**options))


def test_chunks_slices_and_checks_do_not_change_a_bit(monkeypatch):
    reference = run()
    monkeypatch.setattr(driver, "CHUNK", 1)
    monkeypatch.setattr(driver, "SHORT", 0)
    monkeypatch.setattr(driver, "SLICE", 1)
    monkeypatch.setattr(driver, "CHECK", 5)
    same(reference, run())


def test_a_path_does_not_depend_on_its_company():
    reference = run()
    same(reference, run(START[5:9], first_path=5), slice(5, 9))
    same(reference, run(START[20], first_path=20), slice(20, 21))


def test_recorded_times_do_not_change_the_path():
    a, b = run(), run(ts=[30.0])
    np.testing.assert_array_equal(a.final, b.final)
    np.testing.assert_array_equal(a.states[:, -1], a.final)
    np.testing.assert_array_equal(a.states[:, 0], START)
    np.testing.assert_array_equal(run(ts=[0.0]).final, START)


def test_seeds_and_generators_make_other_paths():
    reference = run().final
    assert (run(seed=8).final != reference).all()
    assert (run(first_path=1).final != reference).all()


@pytest.mark.compiled
def test_the_reference_generator_drives_the_same_kernels():
    a, b = run(generator=Philox()), run(generator=Philox(), first_path=2, w0=START[2:4])
    same(a, b, slice(2, 4))
    assert (a.final != run().final).all()


def test_coarse_steps_follow_the_same_noise():
    """Without loss and weight decay the distance between levels falls with dt: it would not with other
    noise.
    """
    options = {"rule": st.WeightDecaySDE(0.2, 0.0), "ts": [4.0], "keep_states": True}
    fine = run(dt=0.125, **options).final
    distance = [np.abs(run(dt=0.125 * m, coarsen=m, **options).final - fine).mean() for m in (4, 2)]
    other = np.abs(run(dt=0.125, seed=1, **options).final - fine).mean()
    assert distance[1] < distance[0] < 0.2 * other, (distance, other)


@settings(max_examples=10)
@given(
    w0=arrays(np.float64, (4, D), elements=some.floats(0.5, 3)),
    lr=some.floats(0, 0.5),
    wd=some.floats(0, 0.5),
)
@example(w0=np.ones((4, D)), lr=0.0, wd=0.0)
def test_gradient_descent_is_the_recursion(w0, lr, wd):
    a = np.array(MODEL.a)
    ens = st.simulate(MODEL, st.GradientDescent(lr, wd), w0, np.arange(6), keep_states=True, width=8)
    w = w0.copy()
    for k in range(6):
        np.testing.assert_allclose(ens.states[:, k], w, rtol=1e-12)
        q = (w * w).sum(1, keepdims=True)
        gradient = 2 / q * (a * w - (a * w * w).sum(1, keepdims=True) / q * w)
        w = (1 - lr * wd) * w - lr * gradient


def test_every_observer_and_the_means():
    everything = [SquaredNorm(), Gamma(0.2), EffectiveLR(0.2), Cosine([1.0, 0, 0]), Cosine([0, 2.0, 0]),
                  Coordinate(2), Loss(MODEL), SquaredGradient(MODEL)]  # fmt: skip
    ens = run(observe=everything, ts=[0.0, 2.0])
    assert list(ens.values) == ["squared_norm", "gamma", "effective_lr", "cosine", "cosine_2", "coordinate",
                                "loss", "squared_gradient"]  # fmt: skip
    square = np.sum(ens.states**2, axis=-1)
    u, a = ens.states / np.sqrt(square)[..., None], np.array(MODEL.a)
    loss = np.sum(a * u * u, axis=-1)
    slope = np.sum((2 * (a - loss[..., None]) * u) ** 2, axis=-1)
    expected = [square, (square / 0.2) ** 2, 0.2 / square, u[..., 0], u[..., 1], u[..., 2], loss, slope]
    for name, values in zip(ens.values, expected, strict=True):
        np.testing.assert_allclose(ens[name], values, rtol=1e-11, atol=1e-14, err_msg=name)
    mean, error = ens.mean("gamma")
    np.testing.assert_allclose(mean, ens["gamma"].mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(error, ens["gamma"].std(axis=0, ddof=1) / np.sqrt(PATHS), rtol=1e-12)
    assert "21 paths, 2 times" in repr(ens)


def test_a_mapping_names_what_is_observed():
    ens = run(observe={"r": SquaredNorm()}, ts=[2.0])
    assert list(ens.values) == ["r"]
    with pytest.raises(KeyError, match="`name` must be one of r: name='R'"):
        ens.mean("R")
    with pytest.raises(ValueError, match="`i` must be below d=3: i=3"):
        run(observe=[Coordinate(3)])


def test_how_says_what_ran():
    how = run().how
    assert how["seed"] == 7 and how["dt"] == 0.5 and how["paths"] == PATHS and how["noise"] == NOISE
    assert set(how["versions"]) == {"python", "numpy", "numba"} and len(how["sources"]) == 32
    assert run(first_path=1).how["w0"] == how["w0"] != run(START[:4]).how["w0"]


def test_a_diverged_path_is_marked_at_its_step_and_the_others_are_as_without_it():
    sick = START.copy()
    sick[4] = 1e-160  # 1/|w|^2 overflows in the first step
    ens = run(sick, ts=[1.0, 30.0])
    assert ens.diverged.tolist() == [i == 4 for i in range(PATHS)]
    assert ens.diverged_step[4] == 1 and (np.delete(ens.diverged_step, 4) == -1).all()
    healthy = np.arange(PATHS) != 4
    np.testing.assert_array_equal(ens.final[healthy], run(ts=[30.0]).final[healthy])
    assert np.isfinite(ens.mean("squared_norm")[0]).all()


def test_the_step_of_divergence_is_exact():
    """|w| doubles in every step until |w|^2 overflows above 2^1024."""
    starts = np.array([[1.0, 0, 0], [1e100, 0, 0], [1e-100, 0, 0]])
    ens = st.simulate(MODEL, st.GradientDescent(1.0, lambda step: -1.0), starts, [700], width=8)
    assert ens.diverged_step.tolist() == [512, 180, -1], ens.diverged_step


def test_all_paths_diverged_is_an_error_that_says_when():
    with pytest.raises(st.Diverged, match=r"non-finite at t=0\.5, step 1; reduce dt"):
        run(np.full(D, 1e-160))


def test_progress_counts_every_step(capsys):
    run(progress=True)
    assert f"{PATHS * 60 / 1000:.2f}k" in capsys.readouterr().err.replace("1.26k/1.26k", "1.26k")


REFUSED = [
    ({"w0": np.zeros(D)}, "`w0` must not be zero for a scale-invariant loss"),
    ({"w0": [1.0, np.inf, 0.0]}, r"`w0` must be finite: w0\[1\]=inf"),
    ({"w0": np.ones((2, 2, 3))}, r"`w0` must have shape \(d,\) or \(paths, d\)"),
    ({"w0": np.ones(4)}, r"`a` must have shape \(4\)"),
    ({"paths": 3}, "`paths` must be the number of rows of `w0`: paths=3, w0 has 21"),
    ({"dt": 0.3}, "`dt` must divide the spacing of `ts`: dt=0.3"),
    ({"dt": -1.0}, "`dt` must be positive: dt=-1.0"),
    ({"ts": []}, "`ts` must not be empty"),
    ({"ts": [2.0, 1.0]}, "`ts` must be non-negative and strictly increasing"),
    ({"seed": -1}, "`seed` must be at least 0"),
    ({"seed": 2**64}, "`seed` must be below"),
    ({"coarsen": 0}, "`coarsen` must be at least 1: coarsen=0"),
    ({"width": 4}, "`width` must be one of 8, 16, 32: width=4"),
    ({"threads": 0}, "`threads` must be at least 1"),
    ({"rule": st.GradientDescent(0.1), "integrator": None}, "`noise` must be left out for GradientDescent"),
    ({"rule": st.SGD(0.1)}, "`integrator` must be of calculus discrete for SGD: EulerMaruyama is 'ito'"),
    ({"rule": st.SGD(0.1), "integrator": None}, "`dt` must be 1 for SGD, which counts steps: dt=0.5"),
    ({"rule": st.WeightDecaySDE(lambda t: -t, 0.1)}, "`lr` must not be negative: lr=-0.25 at step 0"),
    ({"rule": st.WeightDecaySDE(np.ones(3), 0.1)}, "`lr` must have one value for each of 60 steps"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_bad_input_is_refused_before_any_work(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


class Bare(NamedTuple):
    pass


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"noise": Bare()}, "disturb"),
        ({"observe": [Bare()]}, "observe"),
        ({"integrator": BareIntegrator()}, "step"),
    ],
)
def test_a_missing_kernel_is_named_before_any_work(options, missing):
    with pytest.raises(
        TypeError, match=rf"Bare\w* has no `{missing}` kernel: register one with @{missing}.of"
    ):
        run(**options)


def test_rates_are_checked_when_the_rule_is_made():
    for make, message in (
        (lambda: st.SGD(-0.1), "`lr` must not be negative: lr=-0.1"),
        (lambda: st.WeightDecaySDE(0.1, np.nan), "`weight_decay` must be finite"),
        (lambda: st.GradientFlow(-1.0), "`weight_decay` must not be negative"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
