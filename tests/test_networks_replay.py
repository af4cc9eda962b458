"""Learning-rate schedules instead of weight decay, and the replay of a run's effective lr (claims A16 - A20)."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

import sdetheory as st
from sdetheory.checks import Diverged
from sdetheory.networks import InputSpan, ReplayedRate, clusters, input_span, mlp, random_span, train
from sdetheory.predictions import exponential_lr as growth

SPAN = random_span(7, 4, seed=3)
DATA = clusters(60, SPAN, classes=3, seed=1)
NET = mlp((7, 4, 3), normalised_output=True)
FIRST = [group for group in NET.groups("neuron") if group.layer == 0]
LR, DECAY, STEPS = 0.1, 0.2, 40
COMMON = dict(steps=STEPS, batch_size=8, label_noise=0.2, seeds=3)


def with_span(**settings):
    return train(NET, DATA, instruments=[InputSpan(FIRST, input_span(DATA.inputs))], **{**COMMON, **settings})


def directions(w, by="neuron"):
    parts = (g.select(w) for g in NET.groups(by))
    return np.concatenate([v / np.linalg.norm(v, axis=1, keepdims=True) for v in parts], axis=1)


@pytest.mark.claim("A20", kind="simulation")
@pytest.mark.parametrize(("by", "sets"), [("neuron", "group"), ("neuron", "layer"), ("layer", "group")])
def test_a_replayed_effective_lr_is_weight_decay_noise_ratio_included(by, sets):
    """Equal in direction, loss and noise ratio; without the factor 1/(1 - lr wd) they differ."""
    decayed = with_span(lr=LR, weight_decay=DECAY, by=by)
    replay = with_span(lr=ReplayedRate(decayed, sets), by=by)
    keep = (1 - LR * DECAY) ** STEPS
    error = np.abs(replay.final * keep / decayed.final - 1).max(), np.abs(replay.loss - decayed.loss).max()
    ratios = [run.readings["input_span"]["noise_ratio"] for run in (decayed, replay)]
    assert max(error) < 1e-10 and np.abs(ratios[1] / ratios[0] - 1).max() < 1e-11, (error, ratios[1] / ratios[0] - 1)
    outside = replay.readings["input_span"]["along"], decayed.readings["input_span"]["along"]
    assert np.allclose(outside[0], 1, rtol=1e-12) and (outside[1][:, -1] < 0.5).all(), "yet only one of them lost it"
    naive = with_span(lr=ReplayedRate(decayed, sets, exact=False), by=by)
    assert np.abs(naive.loss - decayed.loss).max() > 1e-5, "the naive factor should be seen"


@pytest.mark.claim("A20", kind="simulation")
def test_one_scale_for_all_layers_replays_pure_weight_decay_too():
    """All groups decay alike under SGD, so the coarsest scale is still exact; with uneven decay it has to be finer."""
    decayed = train(NET, DATA, lr=LR, weight_decay=DECAY, by="neuron", **COMMON)
    replay = train(NET, DATA, lr=ReplayedRate(decayed, "network"), by="neuron", **COMMON)
    assert np.abs(directions(replay.final) - directions(decayed.final)).max() < 1e-11
    for decays, exact in ((np.linspace(0.1, 0.4, 7), ["group"]), (np.repeat([0.1, 0.4], [4, 3]), ["group", "layer"])):
        uneven = train(NET, DATA, lr=LR, weight_decay=decays.reshape(1, 1, -1), by="neuron", **COMMON)
        for sets in ("group", "layer", "network"):
            replay = train(NET, DATA, lr=ReplayedRate(uneven, sets), by="neuron", **COMMON)
            gap = np.abs(directions(replay.final) - directions(uneven.final)).max()
            assert gap < 1e-11 if sets in exact else gap > 1e-4, (decays, sets, gap)


@pytest.mark.claim("A20", kind="simulation")
@pytest.mark.parametrize("reason", ["momentum", "epsilon", "other parameters"])
def test_where_the_replay_fails(reason):
    """Momentum, epsilon, or decayed parameters that are not scale invariant: the effective lr does not say it all."""
    nets = {"epsilon": mlp((7, 4, 3), normalised_output=True, eps=0.3), "other parameters": mlp((7, 4, 3))}
    net, lr = nets.get(reason, NET), 0.02 if reason == "momentum" else LR
    rule = (lambda lr, wd=0.0: st.InnerHeavyBall(lr, wd, 0.8)) if reason == "momentum" else st.SGD
    decayed = train(net, DATA, optimiser=rule(lr, DECAY), by="neuron", **COMMON)
    if reason == "epsilon":  # no group is scale invariant by construction: the exponential lr stands for the replay
        rates = LR * (1 - LR * DECAY) ** (-2.0 * np.arange(STEPS) - 1)
    else:
        rates = ReplayedRate(decayed)
    replay = train(net, DATA, optimiser=rule(rates), by="neuron", **COMMON)
    gap = np.abs(replay.loss - decayed.loss).max()
    assert gap > 1e-3, f"{gap:.1e}"
    if reason == "other parameters":
        own = (replay.lr == LR).all(axis=(0, 1))
        assert own.tolist() == [not group.scale_invariant for group in replay.groups], "they keep the lr of the run"


@pytest.mark.claim("A20", kind="simulation")
def test_with_other_parameters_the_replay_is_exact_again_if_they_keep_their_decay():
    net = mlp((7, 4, 3))
    kept = np.where([group.scale_invariant for group in net.groups("neuron")], 0.0, DECAY).reshape(1, 1, -1)
    decayed = train(net, DATA, lr=LR, weight_decay=DECAY, by="neuron", **COMMON)
    replay = train(net, DATA, lr=ReplayedRate(decayed), weight_decay=kept, by="neuron", **COMMON)
    error = np.abs(replay.loss - decayed.loss).max()
    assert error < 1e-10, f"{error:.1e}"


@pytest.mark.claim("A20", kind="simulation")
def test_with_the_lr_outside_the_buffer_a_replay_feeds_on_itself():
    """lr |v|^2 meets a buffer of gradients from when |v| was smaller, so larger ones: growth makes more growth."""
    decayed = train(NET, DATA, optimiser=st.HeavyBall(LR, DECAY, 0.8), by="neuron", **COMMON)
    with pytest.raises(Diverged):
        train(NET, DATA, optimiser=st.HeavyBall(ReplayedRate(decayed), 0.0, 0.8), by="neuron", **COMMON)
    inner = train(NET, DATA, optimiser=st.InnerHeavyBall(ReplayedRate(decayed), 0.0, 0.8), by="neuron", **COMMON)
    assert not inner.diverged.any(), inner.diverged_step


@pytest.mark.claim("A18", kind="simulation")
@pytest.mark.parametrize("root", [growth.exponential_lr_root, growth.exponential_lr_other_root], ids=["root", "other"])
@pytest.mark.parametrize("inside", [True, False], ids=["lr inside", "lr outside"])
def test_weight_decay_with_momentum_is_momentum_at_an_exponential_lr(root, inside):
    """w_t = a^t v_t; the same momentum with the lr outside the buffer, m/a^2 inside."""
    momentum, steps = 0.5, 30
    weight_decay = 0.5 * growth.exponential_lr_critical_product(momentum=momentum) / LR
    a = root(lr=LR, weight_decay=weight_decay, momentum=momentum)
    lr, common = growth.exponential_lr(t=np.arange(steps), lr=LR, root=a), {**COMMON, "steps": steps}
    if inside:
        buffer = growth.exponential_lr_inner_buffer(root=a)
        rule = st.InnerHeavyBall(lr, 0.0, growth.exponential_lr_inner_momentum(momentum=momentum, root=a), first=buffer)
    else:
        rule = st.HeavyBall(lr, 0.0, momentum, first=growth.exponential_lr_buffer(lr=LR, root=a))
    decayed = train(NET, DATA, optimiser=st.HeavyBall(LR, weight_decay, momentum), **common)
    grown = train(NET, DATA, optimiser=rule, **common)
    error = np.abs(grown.loss - decayed.loss).max(), np.abs(directions(grown.final) - directions(decayed.final)).max()
    assert max(error) < 1e-7, error
    other = train(NET, DATA, optimiser=st.InnerHeavyBall(lr, 0.0, momentum), **common)
    assert np.abs(other.loss - decayed.loss).max() > 1e-3, "the same momentum inside the buffer should not do"


@pytest.mark.claim("A16", "A17", kind="property")
@given(c=some.floats(0.2, 5.0), lr=some.floats(0.01, 0.2), decay=some.floats(0.0, 1.0))
@example(c=4.0, lr=0.1, decay=0.0)
def test_pairs_of_lr_and_scale(c, lr, decay):
    """(c w, c^2 lr, wd/c^2) for SGD and momentum, (c w, c lr, wd/c) for AdamW without epsilon: the same directions."""
    common = dict(steps=6, batch_size=8, seeds=2)
    for rule, power in (
        (st.SGD, 2), (lambda lr, wd: st.HeavyBall(lr, wd, 0.8), 2), (lambda lr, wd: st.AdamW(lr, wd, epsilon=0.0), 1)
    ):  # fmt: skip
        plain = train(NET, DATA, optimiser=rule(lr, decay), **common)
        scaled = train(NET, DATA, optimiser=rule(c**power * lr, decay / c**power), init_scale=c, **common)
        error = np.abs(scaled.loss - plain.loss).max()
        assert error < 1e-9, (power, c, lr, decay, error)


@pytest.mark.claim("A16", kind="simulation")
def test_adam_scales_by_the_norm_where_sgd_scales_by_its_square():
    """200 steps; with epsilon, or c^2 lr, Adam is another run."""
    common = dict(steps=200, batch_size=8, seeds=3, record_every=200)
    plain = train(NET, DATA, optimiser=st.Adam(0.002, epsilon=0.0), **common)
    error, others = [], []
    for lr, epsilon in ((0.01, 0.0), (0.05, 0.0), (0.01, 1e-3)):
        run = train(NET, DATA, optimiser=st.Adam(lr, epsilon=epsilon), init_scale=5.0, **common)
        (others if error else error).append(np.abs(directions(run.final) - directions(plain.final)).max())
    assert error[0] < 1e-8 and min(others) > 1e-3, (error, others)


@pytest.mark.claim("A17", kind="simulation")
def test_replayed_rates_grow_like_the_exponential_schedule():
    decayed = train(NET, DATA, lr=LR, weight_decay=DECAY, by="neuron", **COMMON)
    replay = train(NET, DATA, lr=ReplayedRate(decayed), by="neuron", **COMMON)
    law = LR * (1 - LR * DECAY) ** (-2.0 * np.arange(STEPS) - 1)
    assert replay.lr.shape == (3, STEPS + 1, 7)
    error = np.abs(replay.lr[:, :-1] / law[:, None] - 1).max()
    assert error < 1e-10, f"{error:.1e}"


def test_a_replay_refuses_what_it_cannot_replay():
    decayed = train(NET, DATA, lr=LR, weight_decay=DECAY, by="neuron", **COMMON)
    with pytest.raises(ValueError, match="with the groups of this run"):
        train(NET, DATA, lr=ReplayedRate(decayed), by="layer", **COMMON)
    with pytest.raises(ValueError, match="of the same 3 nets and of steps 0 \\.\\. 40"):
        train(NET, DATA, lr=ReplayedRate(decayed), by="neuron", **{**COMMON, "steps": STEPS + 1})
    with pytest.raises(ValueError, match="of the same 2 nets"):
        train(NET, DATA, lr=ReplayedRate(decayed), by="neuron", **{**COMMON, "seeds": 2})
    with pytest.raises(ValueError, match="`run` must be a record of every step"):
        ReplayedRate(train(NET, DATA, lr=LR, record_every=5, **COMMON))
    with pytest.raises(ValueError, match="`by`"):
        ReplayedRate(decayed, by="filter")
