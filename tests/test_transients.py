"""Benchmarks of transients: exact kernels against sampling and the design's table, and what a run reports."""

import json

import numpy as np
import pytest

import sdetheory as st
from benchmarks import __main__ as command
from benchmarks import transients
from benchmarks.transient_chains import clocks, euler_maruyama_moments, exact, strang
from benchmarks.transients import START, Curve, Transient
from sdetheory.integrators import EulerMaruyama
from sdetheory.integrators.clocks import noise_clock
from sdetheory.observers import Coordinate
from sdetheory.statistics import mean_test

TABLE = {1.0: (1.8e-3, 4.4e-4, 1.1e-4), 0.01: (-4.4e-3, -2.9e-3, -1.5e-3), 25.0: (7.5e-4, 1.9e-4, 4.8e-5)}


def test_clocks_are_those_of_the_integrator():
    times = np.array([0.0, 0.1, 0.7, 2.0])
    for start in (0.01, 1.0, 25.0):
        rates = {"lr": 0.2, "weight_decay": 0.05, "trace": 3.0}
        gamma = 3.0 / (2 * 0.01)
        wanted = noise_clock(times / 0.01, **rates, square_norm=0.2 * np.sqrt(start * gamma)) * 3.0 / 2
        np.testing.assert_allclose(np.cumsum(clocks(start, times)[0]), wanted[1:], rtol=1e-10)


@pytest.mark.parametrize("start", [1.0, 0.01, pytest.param(25.0, marks=pytest.mark.slow)])
def test_kernel_of_strang_reproduces_the_designs_table(start):
    """d = 16, u = -.6, T = 1: errors with 4, 8 and 16 equal steps, to the table's two digits."""
    law = Transient(16, start, 1.0).law
    truth = exact(law, START, start, 1.0).first
    errors = [strang(law, START, start, np.linspace(0.0, 1.0, n + 1)).first - truth for n in (4, 8, 16)]
    np.testing.assert_allclose(errors, TABLE[start], rtol=0.03)


def test_without_a_loss_the_kernels_mean_is_known():
    for t in (Transient(3, 0.01, 1.0), Transient(16, 25.0, 0.5)):
        law = t.law._replace(case=t.law.case._replace(concentration=0.0))
        got = strang(law, START, t.start, np.linspace(0.0, t.time, 8)).first
        assert abs(got - t.known_mean()) < 1e-9, (t, got, t.known_mean())


@pytest.mark.compiled
@pytest.mark.parametrize("t", [Transient(3, 25.0, 1.0), pytest.param(Transient(16, 1.0, 1.0), marks=pytest.mark.slow)])
def test_kernel_of_euler_maruyama_agrees_with_sampling(t):
    """A step of h = 1/8, where its error is seen: by the package's own Euler-Maruyama."""
    h, steps = 1 / 8, 8
    moments = euler_maruyama_moments(t.law, START, h, {(t.start, t.time): steps})[t.start, t.time]
    case = t.law.case
    runs = st.simulate(
        case.model, st.WeightDecaySDE(case.lr, case.weight_decay), t.w0(200_000), [h * steps / case.intrinsic_lr],
        noise=case.noise, integrator=EulerMaruyama(), dt=h / case.intrinsic_lr, observe={"u": Coordinate(0)}, seed=3,
        threads=1, progress=False,
    )  # fmt: skip
    u = runs.values["u"][:, 0]
    bias = abs(moments.first - exact(t.law, START, t.start, t.time).first)
    assert bias > 0.011, bias
    for samples, wanted in ((u, moments.first), (u * u, moments.second)):
        outcome = mean_test(samples, wanted, detectable=0.011)
        assert outcome, outcome


def test_a_curve_may_not_profit_from_a_change_of_sign():
    curve = Curve(np.array([1, 2, 4, 8]), np.array([1e-1, 1e-9, -1e-2, 1e-3]))
    times = curve.times(2e-3, lambda n: 1.0 * n, 1.0)
    assert np.isinf(times[:3]).all() and times[3] == pytest.approx(8 / (4e-6 - 1e-6)), times


@pytest.mark.compiled
@pytest.mark.slow
def test_a_case_from_kernels_to_report(tmp_path, monkeypatch):
    """Estimates agree with the kernels, variance reduction reduces, and the report and the picture say so."""
    monkeypatch.setattr(transients, "cases", lambda quick: [Transient(16, 1.0, 0.25)])
    assert command.main(["--quick", "--only", "transients", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "transients.png").stat().st_size > 10_000
    text = (tmp_path / "benchmarks.txt").read_text()
    assert "d=16 gamma_0=1 gamma_* lr wd T=0.25" in text and "plain Euler-Maruyama in numpy over ours" in text, text
    (row,) = json.loads((tmp_path / "benchmarks.json").read_text())["transients"]["rows"]
    z = {name: row["methods"][name]["z"] for name in transients.OURS}
    assert max(map(abs, z.values())) < 5.5, z
    variance = {name: method["variance"] for name, method in row["methods"].items()}
    for name, most in (("antithetic", 0.25), ("twin", 0.03), ("all three", 0.015)):
        assert variance[name] < most * variance["plain"], (name, variance)
    assert abs(variance["default"] / variance["plain"] - 1) < 0.06, variance
