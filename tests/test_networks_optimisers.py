"""Optimisers on networks: every rule against the kernels of `simulate` and against numpy, continued and chunked."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest

import sdetheory as st
from sdetheory.dynamics.coordinatewise import move, rates
from sdetheory.dynamics.optimiser import Optimiser
from sdetheory.lanes.vector import select
from sdetheory.networks import WeightRescaling, labelled, mlp, train, train_in_pieces
from sdetheory.networks import descent as kernels
from sdetheory.networks.streams import batches

WIDTHS = (5, 4, 3)
DATA = labelled(np.sin(np.arange(200.0) ** 1.4).reshape(40, 5), np.arange(40) % 3)
NET = mlp(WIDTHS, normalised_output=True)
COMMON = dict(batch_size=8, label_noise=0.2)
RULES = [
    st.SGD(0.2, 0.3),
    st.HeavyBall(0.2, 0.3, 0.7, 0.25, 0.1),
    st.InnerHeavyBall(0.2, 0.3, 0.7, 0.25, 0.1),
    st.SGDW(0.2, 0.3, 0.7),
    st.Nesterov(0.2, 0.3, 0.7),
    st.Adam(0.05, 0.3, 0.8, 0.95, 1e-3),
    st.Adam(0.05, 0.3, 0.8, 0.95, 1e-3, bias_correction=False),
    st.AdamW(0.05, 0.3, 0.8, 0.95, 1e-3),
    st.Lion(0.05, 0.3, 0.8, 0.95),
]
ids = [type(r).__name__ + ("" if getattr(r, "bias_correction", True) else " uncorrected") for r in RULES]


def heavy_ball(r, t, w, g, memory):
    inside, decoupled = isinstance(r, st.InnerHeavyBall), isinstance(r, st.SGDW)
    h = (1 - r.dampening) * (g + (0.0 if decoupled else r.weight_decay) * w)
    v = memory["v"] = r.momentum * memory.get("v", r.first * w) + (r.lr * h if inside else h)
    return (1 - r.lr * r.weight_decay * decoupled) * w - (v if inside else r.lr * v)


def nesterov(r, t, w, g, memory):
    h = g + r.weight_decay * w
    v = memory["v"] = r.momentum * memory.get("v", 0.0) + h
    return w - r.lr * (h + r.momentum * v)


def adam(r, t, w, g, memory):
    decoupled = r.weight_decay if isinstance(r, st.AdamW) else 0.0
    h = g + (r.weight_decay - decoupled) * w
    m = memory["m"] = r.beta1 * memory.get("m", 0.0) + (1 - r.beta1) * h
    v = memory["v"] = r.beta2 * memory.get("v", 0.0) + (1 - r.beta2) * h**2
    if r.bias_correction:
        m, v = m / (1 - r.beta1 ** (t + 1)), v / (1 - r.beta2 ** (t + 1))
    return (1 - r.lr * decoupled) * w - r.lr * m / (np.sqrt(v) + r.epsilon)


def lion(r, t, w, g, memory):
    m = memory.get("m", 0.0)
    memory["m"] = r.beta2 * m + (1 - r.beta2) * g
    return (1 - r.lr * r.weight_decay) * w - r.lr * np.sign(r.beta1 * m + (1 - r.beta1) * g)


def sgd(r, t, w, g, memory):
    return (1 - r.lr * r.weight_decay) * w - r.lr * g


BY_HAND = {
    st.SGD: sgd, st.HeavyBall: heavy_ball, st.InnerHeavyBall: heavy_ball, st.SGDW: heavy_ball,
    st.Nesterov: nesterov, st.Adam: adam, st.AdamW: adam, st.Lion: lion,
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=ids)
def test_six_steps_on_a_network_are_the_written_ones(rule):
    indices, labels = batches(DATA.labels, 3, 4, 0, 6, 8, 0.2)
    w, memory = NET.start([4]), {}
    for t in range(6):
        g = NET.gradient(w, DATA.inputs[indices[t]], labels[t])[1]
        w = BY_HAND[type(rule)](rule, t, w, g, memory)
    run = train(NET, DATA, optimiser=rule, steps=6, seeds=[4], **COMMON)
    error = np.abs(run.final - w).max()
    assert error < 1e-12, f"{error:.1e}"


@pytest.mark.parametrize("rule", RULES[1:], ids=ids[1:])
def test_networks_and_lanes_share_the_numbers_of_a_step(rule):
    """One step from the same weights and gradient: the network's kernel and the compiled lane step."""
    model = st.Rayleigh([0.0, 0.3, -0.5])
    w = np.array([1.0, -0.4, 0.7])
    there = st.evaluate.step(rule, model, None, w, np.zeros(0))
    g, ready = st.evaluate.gradient(model, w)[None], kernels.descent(rule)
    here = w[None].copy()
    arrays = ready.memory(here), np.ones((1, 2)), np.array([[0, 3, 0]])
    rates = np.full((1, 1), rule.lr), np.full((1, 1), rule.weight_decay)
    ready.step(here, g, *arrays, *rates, np.empty((1, 1, 3)), np.zeros((1, 1, 4)))
    error = np.abs(here[0] - there).max()
    assert error <= 4e-16, f"{error:.1e}"


class SignStep(NamedTuple):
    """w' = w - lr (1 - wd) sign(g): a rule of one's own."""

    calculus = "discrete"
    buffers = ()
    displacement_degrees = ()
    gradient_degrees = ()

    def memory(self, w):
        return ()


@rates.of(SignStep)
def _sign_rates(rule, lr, weight_decay, powers):
    return (lr * (1.0 - weight_decay),)


@move.of(SignStep)
def _sign_move(rule, c, x, g, memory):
    return x - c[0] * select(g > 0.0, 1.0, -1.0), ()


@dataclasses.dataclass(frozen=True)
class SignDescent(Optimiser):
    def stepper(self):
        return SignStep()


def test_a_rule_of_ones_own():
    run = train(NET, DATA, optimiser=SignDescent(0.01, 0.5), steps=1, seeds=[4], **COMMON)
    indices, labels = batches(DATA.labels, 3, 4, 0, 1, 8, 0.2)
    w = NET.start([4])
    g = NET.gradient(w, DATA.inputs[indices[0]], labels[0])[1]
    assert np.abs(run.final - (w - 0.005 * np.where(g > 0, 1, -1))).max() < 1e-15


def test_sgd_as_an_optimiser_is_the_default():
    plain = train(NET, DATA, lr=0.2, weight_decay=0.1, steps=30, seeds=2, **COMMON)
    named = train(NET, DATA, optimiser=st.SGD(0.2, 0.1), steps=30, seeds=2, **COMMON)
    assert plain.how["optimiser"] == named.how["optimiser"] == "SGD" and plain.how["rescaling"] is None
    assert (plain.final == named.final).all() and (plain.gamma == named.gamma).all()
    grouped = train(NET, DATA, lr=np.full((1, 1, 2), 0.2), weight_decay=0.1, steps=30, seeds=2, **COMMON)
    assert np.allclose(grouped.final, plain.final, rtol=1e-11) and np.allclose(grouped.gamma, plain.gamma, rtol=1e-10)
    assert np.allclose(grouped.leak_sum, plain.leak_sum, atol=1e-14)


@pytest.mark.parametrize("rule", RULES, ids=ids)
def test_a_run_goes_on_bitwise_and_does_not_depend_on_company(rule):
    whole = train(NET, DATA, optimiser=rule, steps=20, seeds=5, threads=1, chunk=5, **COMMON)
    first = train(NET, DATA, optimiser=rule, steps=7, seeds=5, **COMMON)
    rest = train(
        NET, DATA, optimiser=rule, steps=13, seeds=5, start=first.final, state=first.state, first_step=7,
        threads=2, chunk=2, **COMMON,
    )  # fmt: skip
    assert (rest.final == whole.final).all()
    assert all((a == b).all() for a, b in zip(rest.state, whole.state, strict=True))
    alone = train(NET, DATA, optimiser=rule, steps=20, seeds=[3], **COMMON)
    assert (alone.final[0] == whole.final[3]).all()
    if rule.stepper().buffers if hasattr(rule, "stepper") else False:
        forgetful = train(NET, DATA, optimiser=rule, steps=13, seeds=5, start=first.final, first_step=7, **COMMON)
        assert (forgetful.final != whole.final).any(), "without its state it should differ"


def test_pieces_of_a_run_carry_the_memory():
    """Also rates of every step, weight rescaling, and more than one block of random numbers."""
    rule = st.AdamW(lambda t: 0.01 / (1 + 0.01 * t), np.array([[0.3], [0.1]]))
    how = dict(optimiser=rule, rescaling=WeightRescaling(every=4), start=NET.start([0, 1]), seeds=[0, 1], batch_size=8)
    whole = train(NET, DATA, steps=300, record_every=300, **how)
    *_, last = train_in_pieces(NET, DATA, stops=[3, 90, 260, 300], **how)
    assert (last.final == whole.final).all() and (last.state.powers == whole.state.powers).all()


def test_a_run_may_end_with_a_block_of_random_numbers():
    """Blocks hold 256 steps: the measurement after the last step then stands alone in the next one."""
    run = train(NET, DATA, optimiser=st.HeavyBall(0.01), steps=256, record_every=256, **COMMON)
    rest = train(NET, DATA, optimiser=st.HeavyBall(0.01), steps=257, record_every=[256], **COMMON)
    assert np.allclose(run.squared_norm[:, -1], rest.squared_norm[:, 0], rtol=1e-14) and run.steps.tolist() == [0, 256]


def test_rates_of_an_optimiser_take_every_form():
    per_net = np.array([[0.1], [0.2]])
    rule = st.HeavyBall(per_net, weight_decay=lambda t: 0.1 / (1 + t), momentum=0.8)
    run = train(NET, DATA, optimiser=rule, steps=9, seeds=2, **COMMON)
    for e, lr in enumerate(per_net[:, 0]):
        alone = train(NET, DATA, optimiser=dataclasses.replace(rule, lr=lr), steps=9, seeds=[e], **COMMON)
        assert (alone.final[0] == run.final[e]).all()
    groups = np.array([0.1, 0.0]).reshape(1, 1, 2)
    frozen = train(NET, DATA, optimiser=st.HeavyBall(groups), steps=9, seeds=2, **COMMON)
    moved = [np.abs(g.select(frozen.final) - g.select(NET.start([0, 1]))).max() for g in NET.groups()]
    assert moved[0] > 1e-3 and moved[1] == 0, moved
    assert frozen.lr.shape == (2, 10, 2) and (frozen.effective_lr[..., 1] == 0).all()


def test_bad_optimisers_are_refused():
    common = dict(steps=3, seeds=2, **COMMON)
    with pytest.raises(ValueError, match="`lr` must be given in the optimiser alone"):
        train(NET, DATA, lr=0.1, optimiser=st.HeavyBall(0.1), **common)
    with pytest.raises(ValueError, match="`weight_decay` must be given in the optimiser alone"):
        train(NET, DATA, weight_decay=0.1, optimiser=st.HeavyBall(0.1), **common)
    with pytest.raises(ValueError, match="`lr` must be given"):
        train(NET, DATA, **common)
    with pytest.raises(ValueError, match="`optimiser` must move coordinate by coordinate"):
        train(NET, DATA, optimiser=st.SVAG(0.1), **common)
    with pytest.raises(ValueError, match="`optimiser` must move coordinate by coordinate"):
        train(NET, DATA, optimiser=st.WeightDecaySDE(0.1, 0.1), **common)
    with pytest.raises(ValueError, match="`optimiser` must be a rule"):
        train(NET, DATA, optimiser="adam", **common)
    with pytest.raises(ValueError, match="`lr` must"):
        train(NET, DATA, optimiser=st.Adam(np.array([[0.1], [np.nan]])), **common)
    with pytest.raises(ValueError, match=r"state\.memory"):
        state = train(NET, DATA, lr=0.1, **common).state
        train(NET, DATA, optimiser=st.Adam(0.1), state=state, **common)
