"""The benchmarks' harness, and that candidate and peers compute the same thing; nothing here is timed."""

import functools
import importlib.util
import sys
import types

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import (
    agreement,
    candidate,
    chains,
    goals,
    heatmap,
    laws,
    machine,
    races,
    report,
    rivals,
    study,
    timing,
    workloads,
)
from benchmarks.candidate import PREPARE
from benchmarks.peers import numpy_equilibrium, with_numpy, with_scipy
from benchmarks.workloads import workload
from sdetheory import integrators
from sdetheory.integrators import dop853_tableau as tableau
from sdetheory.lanes.random import increments

# ---- harness


def test_every_rival_runs_between_two_runs_of_the_candidate(monkeypatch):
    order = []

    def clock(call):
        call()
        return timing.Clock(1.0 + len(order), 2.0)

    monkeypatch.setattr(timing, "clock", clock)
    calls = {name: (lambda name=name: order.append(name), 1.0) for name in ("a", "b")}
    race = timing.interleave(lambda: order.append("ours"), calls, repeats=2)
    assert order == ["ours", "ours"] + ["a", "ours", "b", "ours"] * 2, order
    ratio = race.ratio("a")
    assert ratio.median == pytest.approx(1.0), ratio  # times grow linearly, so a rival is the mean of its neighbours


def test_times_are_scaled_by_the_share_of_the_work():
    fake = iter([timing.Clock(*2 * (t,)) for t in (1.0, 0.3, 1.0)])
    race = timing.Race()
    scaled = [timing._scaled(next(fake), share) for share in (0.5, 0.1, 0.5)]
    race.rivals["a"] = [(scaled[1], timing.Clock(2.0, 2.0))]
    assert scaled[0].wall == 2.0 and race.ratio("a").median == pytest.approx(1.5), scaled


def test_a_library_that_is_missing_is_a_visible_row(monkeypatch):
    missing = rivals.Rival("nobody", "no-such-library", "nowhere", "nothing", 1.0, 1.0)
    monkeypatch.setitem(races.RIVALS, "W2", (missing,))
    monkeypatch.setitem(races.PREPARE, "W2", lambda case: lambda: None)
    (row,) = races.check("W2", size="tiny")
    assert row["status"] == "not installed" and row["version"] is None, row
    text = "\n".join(
        report._race_lines("W2", {"candidate": {"seconds": 1.0, "share": 1.0}, "rivals": [row], "limits": []})
    )
    assert "nobody" in text and "not installed" in text, text


def test_agreement_sees_a_wrong_drift_and_a_wrong_noise():
    case = workload("W2", "check").part(0.25)
    ours, same = (with_numpy.normalised_sde(case._replace(w0=w0))() for w0 in (case.w0, case.w0[::-1].copy()))
    verdict = agreement.compare(case, ours, same)
    assert verdict.passed, str(verdict)
    for wrong in (
        case._replace(weight_decay=1.02 * case.weight_decay),
        case._replace(sigma=1.02 * case.sigma),
    ):
        verdict = agreement.compare(case, ours, with_numpy.normalised_sde(wrong)())
        assert not verdict.passed and str(verdict).startswith("DISAGREES"), str(verdict)
    descent = workload("W1b", "tiny")
    final = with_numpy.descent(descent)()
    verdict = agreement.compare(descent, final, final * (1 + 1e-8))
    assert not verdict.passed, str(verdict)


def test_goals_know_which_way_is_better():
    assert goals.Goal("", 12.0, 5.0, 10.0).verdict == "aim"
    assert goals.Goal("", 5.0, 5.0, 10.0).verdict == "must"
    assert goals.Goal("", 4.9, 5.0, 10.0).verdict == "MISSED"
    assert goals.Goal("", 0.4, 0.5, 0.3, more=False).verdict == "must"
    assert goals.Goal("", 0.6, 0.5, 0.3, more=False).verdict == "MISSED"


def test_goals_take_the_best_rival_and_the_worst_case(tmp_path):
    timed = {"seconds": 1.0, "low": 1.0, "high": 9.0, "processor_ratio": 1.0, "share": 1.0}
    race = {
        "candidate": {"seconds": 1.0, "share": 1.0},
        "rivals": [{"name": n, "ratio": r, "status": "agrees", **timed} for n, r in (("slow", 80.0), ("fast", 7.0))],
        "limits": [
            {"name": n, "ratio": 0.5, **timed} for n in ("normals alone: one fused loop", "normals alone: Block(256)")
        ],
    }
    methods = {name: {"time": 1.0, "h": 0.1} for name in study.METHODS}
    pairs = [f"{o}/{p}" for o in study.OURS for p in ("plain", "extrapolated")]
    rows = [
        {"case": name, "exact": 0.5, "methods": methods, "ratios": dict.fromkeys(pairs, ratio)}
        for name, ratio in (("easy", 900.0), ("hard", 40.0))
    ]
    results = {"mode": "quick", "machine": report.machine(), "races": {"W2": race}, "study": {"rows": rows}}
    found = {goal.text: goal for goal in goals.goals(results)}
    assert found["W2 against fast"].measured == 7.0, found
    worst = [goal for text, goal in found.items() if "hard" in text]
    assert len(worst) == 3 and {goal.measured for goal in worst} == {40.0}, found
    for file in report.save(results, tmp_path):
        assert "W2 against fast" in file.read_text(), file


def test_the_command_lists_what_there_is(capsys):
    assert command.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in command.NAMES) and "numbalsoda DOP853" in out, out


# ---- heat map


def _cell(monkeypatch, contenders, seconds):
    """A cell of W1b on tiny work, with a clock that knows how long each peer takes."""
    monkeypatch.setitem(heatmap.CONTENDERS, "W1b", contenders)
    monkeypatch.setattr(heatmap, "_work", lambda name, depth, n, quick: workloads.descent(4, 5, n, depth))
    monkeypatch.setattr("benchmarks.candidate.PREPARE", {"W1b": lambda case, threads: with_numpy.descent(case, 1)})
    monkeypatch.setattr("benchmarks.machine.multiply_adds", lambda count: lambda: seconds.append(0.25))

    def clock(call):
        seconds.clear()
        call()
        return timing.Clock(1.0, seconds[-1] if seconds else 1.0)

    monkeypatch.setattr(timing, "clock", clock)
    monkeypatch.setattr(heatmap, "clock", clock)
    return heatmap.measure("W1b", 3, 2, quick=True)


def _peer(monkeypatch, seconds, name, times, wrong=0.0):
    """A contender whose run takes `times[chunk]` seconds of the fake clock."""
    module = types.ModuleType(f"benchmarks.peers.{name}")

    def descent(case, threads, chunk=None):
        def run():
            seconds.append(times[chunk])
            return with_numpy.descent(case, 1)() * (1.0 + wrong)

        return run

    module.descent = descent
    monkeypatch.setitem(sys.modules, module.__name__, module)
    rival = rivals.Rival(name, "numpy", name, "descent", 1.0, 1.0)
    return heatmap.Contender(rival, name[0], tuple(c for c in times if c))


def test_a_cell_takes_the_best_peer_with_its_best_chunk(monkeypatch):
    """Peers that are missing, wrong, slow or quick; the quick one's second chunk size is its better one."""
    seconds: list[float] = []
    missing = rivals.Rival("nobody", "no-such-library", "nowhere", "nothing", 1.0, 1.0)
    contenders = (
        heatmap.Contender(missing, "x"),
        _peer(monkeypatch, seconds, "wrong", {None: 0.1}, wrong=1e-6),
        _peer(monkeypatch, seconds, "slow", {None: 9.0}),
        _peer(monkeypatch, seconds, "quick", {2: 4.0, 4: 2.0}),
    )
    cell = _cell(monkeypatch, contenders, seconds)
    rows = {row["name"]: row for row in cell["rivals"]}
    assert rows["nobody"]["status"] == "not installed" and "ratio" not in rows["wrong"], rows
    assert rows["wrong"]["status"].startswith("DISAGREES"), rows["wrong"]
    assert rows["quick"]["chunk"] == 4 and rows["slow"]["rounds"] == 1 and rows["quick"]["rounds"] == 3, rows
    share = 2 / 5  # of the steps, so a peer's two seconds stand for five, and the limit's quarter for 5/8
    assert cell["peer"] == "quick" and cell["ratio"] == pytest.approx(2.0 / share), cell
    assert rows["slow"]["ratio"] == pytest.approx(9.0 / share), rows["slow"]
    assert cell["most"] == pytest.approx(8.0) and cell["share_of_limit"] == pytest.approx(0.25 / share), cell


@pytest.mark.compiled
def test_the_limit_of_a_flow_counts_every_sum_of_its_steps():
    """12 slopes of an accepted step, 11 of a rejected one, and a term of a sum for each nonzero weight."""
    case = workloads.flow(3, 2, 4.0, 3)
    accepted, rejected = candidate.flow_steps(case)
    terms = sum(np.count_nonzero(row) for row in (*tableau.A[1:12], tableau.B, tableau.E3, tableau.E5))
    expected = (12 * accepted + 11 * rejected) * 48 + (accepted + rejected) * terms * 12
    assert accepted >= 12 and heatmap._sums(case, 3, 2) == expected, (accepted, rejected)
    assert heatmap._sums(workloads.descent(4, 5, 2, 3), 3, 2) == 4 * 5 * 48


def test_the_heat_map_shows_its_least_cell_and_survives_without_peers(tmp_path):
    cells = [
        {"workload": name, "depth": depth, "width": n, "seconds": 0.1, "ratio": 2.0 * depth * k, "low": 1.0,
         "high": 9.0, "letter": "q", "peer": "quick", "most": 9.0,
         "rivals": [{"name": "quick", "letter": "q", "status": "agrees", "ratio": 1.0}]}
        for k, name in ((1, "W1"), (2, "W1b")) for depth in (2, 3) for n in (4, 8)
    ]  # fmt: skip
    cells[0] |= {"ratio": 3.5}
    alone = {"workload": "W1b", "depth": 4, "width": 4, "seconds": 0.1}
    cells.append(alone | {"rivals": [{"name": "q", "letter": "q", "status": "not installed"}]})
    measured = {"depths": [2, 3, 4], "widths": [4, 8], "goals": heatmap.GOALS, "cells": cells}
    found = {goal.text: goal for goal in goals.goals({"heatmap": measured})}
    assert [(g.measured, g.verdict) for g in found.values()] == [(3.5, "MISSED"), (8.0, "aim")], found
    assert "depth 2, width 4, quick); 3 of 4 reach the must" in next(iter(found)), found
    slow = measured | {"cells": [cell | {"most": 3.9} for cell in cells]}
    texts = [goal.text for goal in goals.goals({"heatmap": slow})]
    assert all("could not at any speed" in text for text in texts) and "could not" not in next(iter(found)), texts
    scipy = measured | {"cells": [cells[0] | {"peer": "scipy DOP853", "ratio": 20.0}]}
    assert [goal.verdict for goal in goals.goals({"heatmap": scipy})] == ["MISSED"], "25x where only scipy is there"
    text = "\n".join(report._heatmap_lines(measured))
    assert "no peer took part" in text and "not installed: q" in text, text
    assert all(file.stat().st_size > 5000 for file in heatmap.draw(measured, tmp_path))


# ---- candidate and peers


def test_numpy_takes_the_same_steps_as_the_candidate():
    case = workload("W2", "tiny")
    norms, final = PREPARE["W2"](case, 1, seed=7)()
    scheme = with_numpy.EulerMaruyama(case, case.w0)
    z = np.stack([increments(7, path, 0, case.steps, 4) for path in range(len(case.w0))])
    for step in range(case.steps):
        scheme.step(z[:, step].T.copy())
    error = np.abs(scheme.w.T - final).max()
    assert error < 1e-12, error
    assert np.abs((final**2).sum(1) - norms[:, -1]).max() < 1e-12


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_peers_know_any_depth_and_chunk(depth):
    """numpy in both layouts and scipy's right-hand side, against a gradient written out on its own."""
    case = workloads.descent(5, 1, 3, depth)
    products = lambda w, low, high: functools.reduce(lambda p, j: w[j] @ p, range(low, high), np.eye(3))
    for w, name in zip(case.starts, range(5), strict=True):
        residual = products(w, 0, depth) - case.target
        expected = np.stack([products(w, j + 1, depth).T @ residual @ products(w, 0, j).T for j in range(depth)])
        found = -with_scipy.right_hand_side(case.target, depth)(0.0, w.ravel()).reshape(depth, 3, 3)
        assert np.abs(found - expected).max() < 1e-13, np.abs(found - expected).max()
        for options in ({}, {"chunk": 2}, {"members_last": True}, {"members_last": True, "chunk": 2}):
            moved = with_numpy.descent(case, 1, **options)()[name]
            error = np.abs((w - moved) / case.lr - expected).max()
            assert error < 1e-11, f"{options}: {error}"


@pytest.mark.parametrize("members", [1, 2, 3])
def test_peers_leave_the_starts_alone(members):
    case = workload("W1b", "tiny").part(0.1)
    case = case._replace(starts=case.starts[:members])
    before = case.starts.copy()
    with_numpy.descent(case)()
    assert (case.starts == before).all()
    sde = workload("W2", "tiny")
    sde = sde._replace(w0=sde.w0[:members])
    before = sde.w0.copy()
    with_numpy.normalised_sde(sde)()
    assert (sde.w0 == before).all()


def test_numpy_descends_the_gradient():
    case = workload("W1b", "tiny")._replace(steps=1, lr=1e-3)
    final = with_numpy.descent(case)()

    def loss(layers):
        return 0.5 * ((layers[2] @ layers[1] @ layers[0] - case.target) ** 2).sum()

    flat = case.starts[0].ravel()
    slope = [
        (loss((flat + e).reshape(3, 3, 3)) - loss((flat - e).reshape(3, 3, 3))) / 2e-5 for e in 1e-5 * np.eye(flat.size)
    ]
    error = np.abs((case.starts[0] - final[0]).ravel() / case.lr - slope).max()
    assert error < 1e-8, error
    force = with_scipy.right_hand_side(case.target)(0.0, flat)
    assert np.abs(force + slope).max() < 1e-8


@pytest.mark.compiled
def test_candidate_descends_and_flows_like_numpy_and_scipy():
    case = workload("W1b", "tiny")
    verdict = agreement.compare(case, PREPARE["W1b"](case)(), with_numpy.descent(case)())
    assert verdict.passed, str(verdict)
    case = workload("W1", "tiny")
    verdict = agreement.compare(case, PREPARE["W1"](case)(), with_scipy.solve(case))
    assert verdict.passed, str(verdict)


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("name", "rival"),
    [(n, r) for n, group in rivals.RIVALS.items() for r in group if r.package not in ("numpy", "scipy") and n != "W3"],
    ids=lambda value: getattr(value, "name", value),
)
def test_optional_peers_agree(name, rival):
    if importlib.util.find_spec(rival.package) is None:
        pytest.skip(f"{rival.package} is not installed")
    case = workload(name, "check") if name == "W2" else workload(name, "tiny")
    case = case.part(0.25) if name == "W2" else case
    reference = {"W1": with_scipy.solve, "W1b": lambda c: with_numpy.descent(c)()}.get(
        name, lambda c: with_numpy.normalised_sde(c)()
    )
    verdict = agreement.compare(case, reference(case), rival.prepare(case)())
    assert verdict.passed, f"{rival.name}: {verdict}"


@pytest.mark.compiled
def test_the_limit_kernel_makes_normals():
    out, seen = np.empty((2, machine.LANES)), []
    for seed in range(3000):
        machine.fused_normals(seed, 2, out)
        seen.append(out.ravel().copy())
    x = np.concatenate(seen)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        z = ((x**power).mean() - moment) / np.sqrt(variance / x.size)
        assert abs(z) < 6, f"moment {power}: z={z:.2f}"


# ---- work and precision


@pytest.mark.parametrize("kind", ["von_mises_fisher", "bingham"])
def test_numpy_at_equilibrium_is_the_same_scheme(kind):
    law = laws.law(kind, 5, 0.5)
    case, h = law.case, 0.03
    rng = np.random.default_rng(0)
    w, z = case.starts(7), rng.standard_normal((5, 7))
    scheme = numpy_equilibrium.EulerMaruyama(law, h, w)
    scheme.step(z.copy())
    dt, q = h / case.intrinsic_lr, (w**2).sum(1, keepdims=True)
    if law.linear:
        gradient = case.model.k / np.sqrt(q) * (w @ case.model.mu[:, None] / q * w - case.model.mu)
    else:
        gradient = 2.0 / q * (case.model.a - (w**2 @ case.model.a[:, None]) / q) * w
    noise = case.noise.sigma / np.sqrt(q) * (z.T - (w * z.T).sum(1, keepdims=True) / q * w)
    after = w * (1.0 - h) - case.lr * dt * gradient + case.lr * np.sqrt(dt) * noise
    assert np.abs(scheme.w.T - after).max() < 1e-13, np.abs(scheme.w.T - after).max()


def test_extrapolation_uses_the_same_increments_on_both_levels():
    law = laws.law("von_mises_fisher", 3, 0.5)
    w0 = law.case.starts(6)
    means = numpy_equilibrium._extrapolated(law, 0.05, w0, 4, 2, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    fine, coarse = (numpy_equilibrium.EulerMaruyama(law, h, w0) for h in (0.05, 0.1))
    for _ in range(2):
        z = rng.standard_normal((2, 3, 6))
        coarse.step((z[0] + z[1]) / np.sqrt(2.0))
        fine.step(z[0].copy())
        fine.step(z[1].copy())
        fine.look()
        coarse.look()
    assert np.allclose(means, fine.total - 0.5 * coarse.total, rtol=1e-12), means


def test_laws_know_their_means():
    for law in laws.laws():
        u, mass = law.nodes()
        assert mass @ law.observed(u) == pytest.approx(law.exact, rel=1e-9), law.name


def test_bias_of_schemes_without_sampling():
    """Leading constants and halving ratios, against an independent derivation."""
    law = laws.law("von_mises_fisher", 16, 0.5)
    bias = lambda scheme, h: chains.long_average(law, scheme, h).bias / law.exact
    assert bias(chains.strang, 0.1) == pytest.approx(9.0e-4, abs=1e-5)
    assert bias(chains.strang, 0.1) / bias(chains.strang, 0.05) == pytest.approx(4.0, abs=0.1)
    assert bias(chains.euler_maruyama, 0.005) / 0.005 == pytest.approx(-0.2065, abs=5e-4)
    law = laws.law("bingham", 16, 0.5)
    assert bias(chains.strang, 0.1) == pytest.approx(-5.3e-3, abs=1e-4)
    assert bias(chains.euler_maruyama, 0.005) / 0.005 == pytest.approx(0.682, abs=5e-3)


def test_variance_of_long_averages_without_sampling():
    """Without a loss u decays by e^-h a step on average, so the sum of its correlations is geometric."""
    law = laws.law("von_mises_fisher", 16, 1e-3)
    h = 0.02
    decay = np.exp(-h)
    exact = (1 + decay) / (1 - decay) / 16 * h
    found = chains.long_average(law, chains.strang, h).variance
    assert found == pytest.approx(exact, rel=1e-4), (found, exact)


def test_time_to_an_error_is_least_at_the_best_step():
    h = np.geomspace(1e-5, 1.0, 8000)
    curve = study.Curve(h, 0.5 * h, np.ones_like(h))
    error = 1e-2
    best = h[curve.best(error)]
    assert best == pytest.approx(error / 0.5 / np.sqrt(3.0), rel=1e-2), best  # bias^2 = error^2 / 3 for order one
    least = curve.times(np.asarray(error), 2.0).min()
    assert least == pytest.approx(2.0 / best / (error**2 * 2 / 3), rel=1e-2), least
    envelope = study._envelope(curve, 1.0, 1.0)
    assert (np.diff(envelope) < 0).all(), envelope


def test_a_step_does_not_profit_from_a_change_of_sign():
    h = np.geomspace(1e-3, 1.0, 400)
    curve = study.Curve(h, 0.02 * h * (0.5 - h), np.ones_like(h))
    times = curve.times(np.asarray(1e-3), 1.0)
    assert np.isfinite(times[h < 0.05]).all() and np.isinf(times[np.abs(h - 0.5) < 0.01]).all(), times


def test_the_observation_is_chosen_from_the_drift_rate_alone():
    """Mild laws average before and after the noise, concentrated ones use Simpson's rule; rates are far apart."""
    rates = {law.name: study.drift_rate(law) for law in laws.laws()}
    gentle = {name for name, rate in rates.items() if rate < study.MILD_RATE}
    assert gentle == {law.name for law in laws.laws() if law.case.name.split()[1] == "0.5"}, rates
    assert max(rates[name] for name in gentle) < 4.6 < 8.8 < min(rates[n] for n in rates if n not in gentle), rates
    for kind, level in (("von_mises_fisher", 0.5), ("bingham", 0.1)):
        law = laws.law(kind, 16, level)
        scheme = study.integrator(law, "default")
        assert type(scheme).__name__ == ("StrangAveraged" if law.name in gentle else "StrangSimpson"), scheme


@pytest.mark.parametrize(
    ("kind", "d", "level", "observed", "h"),
    [
        ("von_mises_fisher", 3, 0.5, "StrangSimpson", 0.164),
        ("von_mises_fisher", 3, 0.9, "StrangAveraged", 0.039),
        ("von_mises_fisher", 128, 0.5, "StrangAveraged", 0.30),
        ("von_mises_fisher", 128, 0.5, "StrangSimpson", 0.123),
        ("bingham", 16, 0.1, "StrangSimpson", 0.019),
    ],
)
def test_bias_of_observations_without_sampling(kind, d, level, observed, h):
    """The published largest steps for a relative bias of 1e-3."""
    law = laws.law(kind, d, level)
    scheme = getattr(integrators, observed)()
    bias = chains.long_average(law, chains.strang, h, observed=scheme).bias / law.exact
    assert abs(abs(bias) - 1e-3) < 8e-5, bias


def test_averages_seen_after_every_second_step_vary_more():
    """Without a loss the correlations are e^{-2h}, e^{-4h}, ...: a geometric sum again."""
    law = laws.law("von_mises_fisher", 16, 1e-3)
    h = 0.4
    exact = (1 + np.exp(-2 * h)) / (1 - np.exp(-2 * h)) / 16 * 2 * h
    found = chains.long_average(law, chains.strang, h, stride=2).variance
    assert found == pytest.approx(exact, rel=1e-3), (found, exact)


@pytest.mark.parametrize("case", laws.laws(), ids=lambda law: law.name)
def test_controls_have_mean_zero_under_every_law(case):
    u, mass = case.nodes()
    values = chains.stein(case, 4)(u)
    assert np.abs(values @ mass / (np.abs(values) @ mass)).max() < 1e-9, values @ mass


def test_controls_lower_bias_and_variance_and_curves_follow_the_kernel():
    """The curve is a spline through the kernel's numbers: right between its knots too, changes of sign included."""
    case = laws.law("von_mises_fisher", 3, 0.9)
    known = study.curves(case)
    curve, rng = known["controlled"], np.random.default_rng(4)
    for k in rng.integers(len(curve.h), size=6):
        found = chains.controlled(case, integrators.StrangSimpson(), curve.h[k], study.POWERS)
        assert curve.bias[k] * case.exact == pytest.approx(found.bias, abs=0.01 * study.TARGET), (curve.h[k], found)
        assert curve.variance[k] * case.exact**2 == pytest.approx(found.variance, rel=0.05), (curve.h[k], found)
        assert found.bias_with(case, found.coefficients) == pytest.approx(found.bias, abs=1e-15)
    at = known["fast"].best(study.TARGET)
    found = chains.controlled(case, integrators.StrangSimpson(), known["fast"].h[at], study.POWERS)
    assert found.variance < 0.02 * known["fast"].variance[at] * case.exact**2, found


@pytest.mark.parametrize(("degree", "nodes"), [(16, (24, 16)), (20, (32, 24)), (24, (28, 20))])
def test_controlled_averages_do_not_hang_on_polynomials_and_nodes(degree, nodes):
    """The hardest case at the longest step that is used; 16 and 10 nodes would be off by a tenth of the target."""
    case = laws.law("bingham", 3, 0.5)
    scheme = integrators.StrangSimpson()
    found, other = (chains.controlled(case, scheme, 0.224, 3, *options) for options in ((), (degree, nodes)))
    assert other.bias == pytest.approx(found.bias, abs=0.015 * study.TARGET * case.exact), (other, found)
    assert other.variance == pytest.approx(found.variance, rel=0.1), (other, found)


@pytest.mark.compiled
def test_a_run_with_controls_is_what_the_kernel_says():
    """Estimate and variance of the package's own average, at a step whose controlled bias the run could miss."""
    case = laws.law("von_mises_fisher", 3, 0.5)
    h, steps, paths = 0.25, 400, 512
    call = study._ours(case, case.case.starts(paths, seed=3), "controlled", h, steps, 2, 20)
    found, kernel = call(), chains.controlled(case, integrators.StrangSimpson(), h, study.POWERS)
    expected, trust = study._predicted(case, "controlled", h, 0.0, found)
    assert trust < 0.1 * found.standard_error, (trust, found)
    z = (found.estimate - expected) / found.standard_error
    assert abs(z) < 5 and 10 * found.standard_error < 2e-3 * case.exact, (z, found, expected)
    assert found.variance < 2.0 * kernel.variance / case.exact**2, (found, kernel)
    plain = study.curves(case)["fast"]
    assert found.variance < 0.01 * plain.variance[np.searchsorted(plain.h, h)], found
    assert found.coefficients == pytest.approx(kernel.coefficients, rel=0.1), (found, kernel)


def test_every_method_pays_for_forgetting_its_start():
    h = np.geomspace(1e-3, 1.0, 50)
    curve = study.Curve(h, 0.0 * h, 0.0 * h + 1e-30, rate=2.0)
    least = curve.times(np.asarray(1e-3), 3.0).min()
    assert least == pytest.approx(3.0 * study.RELAXING * np.log(1e3) / 2.0, rel=1e-9), least


@pytest.mark.compiled
def test_one_whole_call_starts_cold_and_ends_with_an_estimate():
    case = laws.law("von_mises_fisher", 3, 0.5)
    h = np.array([0.3])
    whole = study.complete(case, study.Curve(h, np.array([1e-5]), np.array([1e-3]), study.drift_rate(case)))
    assert whole["seconds"] > 0 and abs(whole["error"]) < 2e-2, whole
    assert whole["steps"] >= study.RELAXING * 2 * np.log(1e3) / study.drift_rate(case) / (2 * h[0]), whole
