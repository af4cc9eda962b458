"""Descents of wide deep linear networks, whose members leave their lanes: bit by bit against the table of products."""

import numpy as np
import pytest
from test_packed import problem

import sdetheory
from sdetheory.lanes import descent
from sdetheory.models import deep_linear as module
from sdetheory.models.deep_linear import PseudoHuber, deep_linear
from tests.deep_linear_cases import SLOPE, close, gradient_by_hand

ALONE = [(16, 16), (16, 16, 16), (8, 24, 16), (24, 24, 24, 24), (16, 8, 32, 8, 16)]  # one member at a time
IN_TWOS = [(12, 12, 12), (12, 16, 20), (20, 12, 20, 12)]
IN_FOURS = (10, 12, 10)  # in blocks of 16 lanes: one of 8 has no room
STEPS = 300  # more than go in one call of the function


def descended(monkeypatch, wanted, model, w0, steps=STEPS, weight_decay=0.01, **options):
    """Where descents end; members leave their lanes, or never."""
    monkeypatch.setattr(module, "WORTH_LEAVING", 0.0 if wanted else np.inf)
    dynamics = sdetheory.GradientDescent(0.02, weight_decay)
    return sdetheory.simulate(model, dynamics, w0, [7, steps], progress=False, keep_states=True, **options)


@pytest.mark.compiled
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("samples", [0, 40])
@pytest.mark.parametrize("widths", ALONE + IN_TWOS, ids=str)
def test_members_that_leave_their_lanes_end_where_others_do(widths, samples, weight_decay, monkeypatch):
    model, w0 = problem(widths, members=11, samples=samples)
    if samples and widths in IN_TWOS:
        assert descent.address_of(model.sweep, 8) == 0, "data are read as they are, one member at a time"
        return
    assert descent.address_of(model.sweep, 8), widths
    packed, plain = (descended(monkeypatch, on, model, w0, weight_decay=weight_decay) for on in (True, False))
    assert not packed.diverged.any() and not np.array_equal(packed.states[:, 0], packed.states[:, 1])
    assert np.array_equal(packed.states, plain.states), np.abs(packed.states - plain.states).max()


@pytest.mark.compiled
@pytest.mark.parametrize("widths", [ALONE[1], IN_TWOS[1]], ids=str)
def test_a_descent_is_that_of_numpy(widths, monkeypatch):
    model, w0 = problem(widths, members=3)
    found = descended(monkeypatch, True, model, w0, steps=40).states[:, 1]
    for w, end in zip(w0, found, strict=True):
        for _ in range(40):
            slope = gradient_by_hand(w, widths, model.inputs, model.targets, SLOPE["square"], model.scale)
            w = (1 - 0.02 * 0.01) * w - 0.02 * slope
        close(end, w, np.abs(w).max(), 1e-12)


@pytest.mark.compiled
@pytest.mark.parametrize("widths, width", [(ALONE[1], 8), (ALONE[1], 16), (IN_FOURS, 16)])
def test_lanes_and_threads_do_not_change_a_descent(widths, width, monkeypatch):
    model, w0 = problem(widths, members=21)
    assert descent.address_of(model.sweep, width)
    one = descended(monkeypatch, True, model, w0, width=width, threads=1)
    other = descended(monkeypatch, False, model, w0, width=8, threads=2)
    assert np.array_equal(one.states, other.states)


@pytest.mark.compiled
def test_a_member_that_diverges_leaves_its_neighbours_alone(monkeypatch):
    model, w0 = problem(IN_TWOS[0], members=10)
    w0[3] *= 40
    packed, plain = (descended(monkeypatch, on, model, w0) for on in (True, False))
    assert packed.diverged.tolist() == [i == 3 for i in range(10)]
    assert packed.diverged_step[3] == plain.diverged_step[3] > 0
    assert np.array_equal(packed.states, plain.states, equal_nan=True)


@pytest.mark.compiled
def test_only_wide_networks_that_fill_registers_leave_their_lanes():
    for widths in ((8, 8, 8, 8), (10, 10, 10), (15, 15, 15), (16, 17, 16), (16, 4, 16), (1, 1)):
        assert descent.address_of(problem(widths)[0].sweep, 8) == 0, widths
    tight = problem((8, 96, 8))[0].sweep
    assert descent.address_of(tight, 8) == 0 and descent.address_of(tight, 16) != 0, "a workspace with no room for it"


@pytest.mark.compiled
def test_members_leave_only_where_it_pays_and_the_loss_is_a_square():
    model = problem(ALONE[1])[0]
    few = module.WORTH_LEAVING / (8 * model.multiply_adds)
    assert model.translated(8, 1.01 * few, True).sweep.descent == descent.address_of(model.sweep, 8)
    assert model.translated(8, 0.99 * few, True).sweep.descent == 0
    assert model.translated(8, 1.01 * few, False).sweep.code == 0, "gradients are taken in lanes"
    huber = deep_linear(ALONE[1], np.eye(16), PseudoHuber())
    assert huber.translated(8, 1e12, True) is huber
