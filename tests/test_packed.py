"""Flows of wide deep linear networks, few members at a time: against the table, numpy and scipy, and bit by bit
against members side by side."""

import ctypes
import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sdetheory
from sdetheory import evaluate
from sdetheory.integrators import DOP853
from sdetheory.integrators.memory import PLAN
from sdetheory.lanes import packed
from sdetheory.lanes.translate import GRADIENT
from sdetheory.lanes.vector import float_rows, lane_array
from sdetheory.models import deep_linear as module
from sdetheory.models.deep_linear import PseudoHuber, deep_linear, deep_linear_from_data
from sdetheory.observers import Loss, SquaredGradient, SquaredNorm
from tests.deep_linear_cases import SLOPE, close, gradient_by_hand

# Widths, and how many members go together.
SHAPES = {(16, 16): 1, (16, 16, 16): 1, (8, 24, 16): 1, (40, 8, 48): 1, (24, 24, 24, 24): 1, (10, 10, 10): 4,
          (10, 12, 11): 2, (13, 17, 10, 29): 2, (16, 8, 32, 8, 16): 1}  # fmt: skip
MANY = (32,) * 9
# One; two; two, and vectors that end within a row; one, and more columns than a tile has; four.
CASES = [(8, 16, 8), (12, 12, 12), (10, 11, 9), (8, 40, 8), (10, 12, 10)]
TOGETHER = dict(zip(CASES, (1, 2, 2, 1, 4), strict=True))
WIDTHS = CASES[0]


def problem(widths, members=1, seed=0, samples=0):
    """A model of these widths, with data or without, and starts of its members."""
    rng = np.random.default_rng(seed)
    starts = [rng.standard_normal((members, m * n)) / np.sqrt(n) for n, m in itertools.pairwise(widths)]
    if samples:
        inputs, targets = rng.standard_normal((widths[0], samples)), rng.standard_normal((widths[-1], samples))
        return deep_linear_from_data(inputs, targets, widths), np.hstack(starts)
    return deep_linear(widths, rng.standard_normal((widths[-1], widths[0])) / np.sqrt(widths[0])), np.hstack(starts)


def one_at_a_time(monkeypatch, wanted):
    """Say whether members go one at a time wherever that can be."""
    monkeypatch.setattr(module, "WORTH_PACKING", 0.0 if wanted else np.inf)


def flow(model, w0, ts=(0.3, 1.0), weight_decay=0.0, **options):
    """A gradient flow, quietly, all states kept."""
    options = {"threads": 1, "progress": False, "keep_states": True, **options}
    return sdetheory.simulate(model, sdetheory.GradientFlow(weight_decay), w0, ts, integrator=DOP853(), **options)


def observers(model):
    """One without a workspace, two that ask the model."""
    return [SquaredNorm(), Loss(model), SquaredGradient(model)]


def same(one, other):
    """Are two ensembles equal, bit by bit?"""
    for name in ("states", "final", "diverged", "diverged_step"):
        a, b = getattr(one, name), getattr(other, name)
        assert np.array_equal(a, b, equal_nan=True), f"{name}: {np.abs(a - b).max()}"
    for name, values in one.values.items():
        assert np.array_equal(values, other.values[name], equal_nan=True), (name, values, other.values[name])
    for name in ("accepted_steps", "rejected_steps"):
        assert np.array_equal(one.how[name], other.how[name]), (name, one.how[name], other.how[name])


def packed_gradients(model, w):
    """The gradients at points (members, d) as the machine code has them."""
    sweep, numbers = model.sweep, ctypes.POINTER(ctypes.c_double)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[numbers] * 4, ctypes.c_double, ctypes.c_double)
    lengths = (w.size, w.size + 8, 8 * packed.workspace_rows(sweep) + 8)
    arrays = [float_rows(lane_array(-(-length // 8), 8)).reshape(-1)[:length] for length in lengths]
    arrays[0][:], arrays[1][:], arrays[2][:] = w.T.ravel(), np.nan, np.nan
    pointers = [array.ctypes.data_as(numbers) for array in (*arrays, sweep.constants)]
    kind(packed.address_of(sweep, PLAN))(GRADIENT, *pointers, model.scale, 0.0)
    for array in arrays[1:]:
        assert np.isnan(array[-8:]).all(), f"written beyond the end: {array[-8:]}"
    return arrays[1][:-8].reshape(-1, len(w)).T


# ---- the gradient


@pytest.mark.compiled
@pytest.mark.parametrize("samples", [0, 50])
@pytest.mark.parametrize("widths", SHAPES, ids=str)
def test_the_gradient_is_that_of_the_table_and_of_numpy(widths, samples):
    model, starts = problem(widths, members=4, samples=samples)
    members = packed.members_of(model.sweep)
    assert members == (1 if samples else SHAPES[widths])
    found = packed_gradients(model, starts[:members])
    for w, ours in zip(starts, found, strict=False):
        table = evaluate.gradient(model, w)
        by_hand = gradient_by_hand(w, widths, model.inputs, model.targets, SLOPE["square"], model.scale)
        assert np.array_equal(ours, table), f"greatest gap {np.abs(ours - table).max():.3g} for {widths}"
        close(ours, by_hand, np.abs(by_hand).max(), 1e-13)


@pytest.mark.compiled
@pytest.mark.slow
def test_the_gradient_of_many_wide_layers_is_that_of_the_table():
    model, starts = problem(MANY)
    found, table = packed_gradients(model, starts)[0], evaluate.gradient(model, starts[0])
    assert np.array_equal(found, table), f"greatest gap {np.abs(found - table).max():.3g}"


# ---- which models, and when


@pytest.mark.compiled
def test_only_wide_networks_with_square_loss_go_one_at_a_time_and_only_where_it_pays():
    model, _ = problem(WIDTHS)
    taken, members, rows = model.packed(1e9, PLAN)
    assert taken.sweep.code != 0 and members == 1 and 8 * rows >= model.sweep.rows, (taken.sweep.code, members, rows)
    assert {widths: problem(widths)[0].packed(1e9, PLAN)[1] for widths in CASES} == TOGETHER
    assert model.packed(1e2, PLAN) is None, "a short run"
    assert problem((8, 8, 8))[0].packed(1e9, PLAN) is None, "128 weights are few"
    assert problem((16, 6, 16))[0].packed(1e9, PLAN) is None, "a layer of 6"
    assert problem((16, 17, 9), samples=50)[0].packed(1e9, PLAN) is None, "9 columns of 16"
    assert problem(WIDTHS, samples=5)[0].packed(1e9, PLAN) is None, "5 columns of data"
    huber = deep_linear(WIDTHS, np.eye(8), PseudoHuber())
    assert huber.packed(1e9, PLAN) is None, "another loss"


def test_without_compiled_code_members_go_side_by_side(monkeypatch):
    monkeypatch.setattr(module, "available", lambda: False)
    assert problem(WIDTHS)[0].packed(1e9, PLAN) is None


# ---- flows


def test_a_flow_is_that_of_scipy(monkeypatch):
    """With or without compiled code, so the two forms agree to the tolerance."""
    one_at_a_time(monkeypatch, True)
    model, w0 = problem(WIDTHS, members=2)
    run = flow(model, w0, (0.05, 0.1), weight_decay=0.3)

    def force(t, w):
        return -gradient_by_hand(w, WIDTHS, np.eye(8), model.targets, SLOPE["square"], 1.0) - 0.3 * w

    for start, states in zip(w0, run.states, strict=True):
        expected = solve_ivp(force, (0, 0.1), start, method="DOP853", t_eval=[0.05, 0.1], rtol=1e-12, atol=1e-13).y.T
        close(states, expected, tolerance=1e-8)


@pytest.mark.compiled
@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("widths, samples", [*((widths, 0) for widths in CASES), (WIDTHS, 20), ((10, 14, 11), 30)])
def test_few_at_a_time_or_side_by_side_is_the_same(monkeypatch, widths, samples, weight_decay):
    """Dense output, observers with and without a model, weight decay, data."""
    model, w0 = problem(widths, members=11, samples=samples)
    runs = []
    for wanted in (True, False):
        one_at_a_time(monkeypatch, wanted)
        runs.append(flow(model, w0, (0.0, 0.01, 0.4, 0.41, 2.0), weight_decay, observe=observers(model)))
    same(*runs)
    norms = (runs[0].states ** 2).sum(axis=2)
    close(runs[0].values["squared_norm"], norms, norms.max(), 1e-13)


@pytest.mark.compiled
@pytest.mark.parametrize("widths", [CASES[0], CASES[1], CASES[4]])
def test_threads_width_company_and_order_change_nothing(monkeypatch, widths):
    one_at_a_time(monkeypatch, True)
    model, w0 = problem(widths, members=9)
    many = np.tile(w0, (60, 1))  # for long enough that all threads are at work
    run = flow(model, w0)
    crowd = flow(model, many, threads=3)
    wide = flow(model, many, threads=3, width=16)
    assert [how["members_at_once"] for how in (run.how, crowd.how, wide.how)] == [TOGETHER[widths]] * 2 + [16]
    assert [how["width"] for how in (run.how, crowd.how, wide.how)] == [8, 8, 16]
    same(crowd, wide)
    same(crowd, flow(model, many))
    assert np.array_equal(crowd.states[-9:], run.states), np.abs(crowd.states[-9:] - run.states).max()
    few = flow(model, w0[4:6])
    assert np.array_equal(few.states, run.states[4:6]), np.abs(few.states - run.states[4:6]).max()
    order = np.random.default_rng(1).permutation(9)
    mixed = flow(model, w0[order], threads=2)
    assert np.array_equal(mixed.states, run.states[order]), np.abs(mixed.states - run.states[order]).max()


@pytest.mark.compiled
@pytest.mark.parametrize("widths", CASES)
def test_members_that_fail_are_marked_and_harm_no_others(monkeypatch, widths):
    model, w0 = problem(widths, members=6)
    w0[2], w0[5, 3] = 1e200, 1e308
    runs = []
    for wanted in (True, False):
        one_at_a_time(monkeypatch, wanted)
        runs.append(flow(model, w0, weight_decay=0.1, observe=observers(model)))
    same(*runs)
    assert np.flatnonzero(runs[0].diverged).tolist() == [2, 5], runs[0].diverged
    alone = flow(model, w0[3:4], weight_decay=0.1)
    assert np.array_equal(runs[0].final[3:4], alone.final), np.abs(runs[0].final[3:4] - alone.final).max()
    with pytest.raises(sdetheory.Diverged, match="underflowed"):
        flow(model, w0[[2, 5]])


@pytest.mark.compiled
def test_without_an_absolute_tolerance_nothing_but_the_weights_is_judged(monkeypatch):
    """The zeros that fill a last row would be 0/0 in tolerances."""
    model, w0 = problem(CASES[2], members=3)
    runs = []
    for wanted in (True, False):
        one_at_a_time(monkeypatch, wanted)
        rule, scheme = sdetheory.GradientFlow(), DOP853(rtol=1e-6, atol=0.0)
        runs.append(sdetheory.simulate(model, rule, w0, [0.5], integrator=scheme, keep_states=True, progress=False))
    same(*runs)
    assert not runs[0].diverged.any()
