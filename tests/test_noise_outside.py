"""What first-layer weights have outside the input span does to test inputs, and how learning rates replay decay."""

import numpy as np
import pytest

import sdetheory as st
from figures.press.decay_nets import replay, seen_at, units, with_buffers
from sdetheory.networks import clusters, evaluate, input_span, mlp, noise_ratio, random_span, shifted, train

SPAN = random_span(20, 5, 3)
DATA, FRESH = (clusters(150, SPAN, classes=3, separation=2.5, seed=1, draw=draw) for draw in (0, 1))
NET = mlp((20, 8, 3))
SETTINGS = dict(steps=150, record_every=150, seeds=4, batch_size=16, threads=1)


def removed(net, weights, span):
    """The nets without what their first layer has outside the span, and the noise ratio (nets, neurons)."""
    (a, b), out = net.groups()[0].segments[0], weights.copy()
    first = weights[:, a:b].reshape(len(weights), -1, span.features)
    out[:, a:b] = span.inside(first).reshape(len(weights), -1)
    return out, noise_ratio(first, span)


@pytest.mark.claim("A24", kind="simulation")
def test_the_part_outside_matters_to_shifted_inputs_alone_and_decay_removes_it():
    decays = np.repeat([0.0, 0.5], 4)[:, None]
    final = train(NET, DATA, lr=0.1, weight_decay=decays, **SETTINGS | {"seeds": [*range(4)] * 2})
    span, far = input_span(DATA.inputs), shifted(FRESH, SPAN, 2.0)
    clean, ratio = removed(NET, final.final, span)
    inside = np.abs(NET.logits(clean, FRESH.inputs) - NET.logits(final.final, FRESH.inputs)).max()
    assert inside < 1e-9, f"fresh inputs in the span see the part outside: {inside:.1e}"
    lost = evaluate(NET, clean, far)[1] - evaluate(NET, final.final, far)[1]
    assert ratio[:4].mean() > 0.2 and ratio[4:].mean() < 0.02, ratio.mean(axis=1)
    assert lost[:4].mean() > 0.1 and np.abs(lost[4:]).max() < 0.05, lost
    assert lost[:4].min() > lost[4:].max(), lost


@pytest.mark.claim("A17", "A18", "A20", kind="simulation")
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_replays_follow_decay_through_a_drop_of_the_lr(momentum):
    """Hidden layers at the rates of the replay, the output layer as it is: the same functions, and noise ratios."""
    lr, wd = np.where(np.arange(150) < 70, 0.1, 0.02), 0.05
    right, hidden, start = replay(lr, wd, momentum), np.array([True, False]), NET.start(range(4))
    marks = np.array([1, 60, 80, 150])
    common = dict(net=NET, data=DATA, marks=marks, seeds=4, batch_size=16, start=start, threads=1)
    decays = np.where(hidden, wd, 0.0)[None, None]
    w = seen_at(optimiser=st.HeavyBall(lr, decays, momentum), **common)
    rates = np.where(hidden, right.lr[:, None], lr[:, None])[None]
    state = with_buffers(NET, start, np.where(hidden, right.first, 0.0)[None].repeat(4, axis=0))
    v = seen_at(optimiser=st.HeavyBall(rates, 0.0, momentum), state=state, **common)
    apart = np.abs(units(NET, w) - units(NET, v)).max()
    assert apart < 1e-11, f"{apart:.1e}"
    output = np.abs(NET.groups()[1].select(w) - NET.groups()[1].select(v)).max()
    assert output < 1e-10, f"{output:.1e}"
    grown = [np.linalg.norm(NET.groups()[0].select(x[:, -1]), axis=1).mean() for x in (v, w)]
    assert grown[0] > 1.3 * grown[1], "the replay should not be the run itself"
    wrong = seen_at(optimiser=st.HeavyBall(rates * (1 + 1e-3 * hidden), 0.0, momentum), state=state, **common)
    assert np.abs(units(NET, w) - units(NET, wrong)).max() > 1e-6, "another schedule should be seen"
