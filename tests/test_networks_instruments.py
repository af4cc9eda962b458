"""Instruments against slow plain numpy, and the laws of the norm they measure, on networks in training."""

import numpy as np
import pytest

import sdetheory as st
from sdetheory.networks import Angle, NormLaw, Norms, WeightRescaling, labelled, mlp, train
from sdetheory.networks.instruments import Step

DATA = labelled(np.sin(np.arange(200.0) ** 1.4).reshape(40, 5), np.arange(40) % 3)
NET = mlp((5, 4, 3), normalised_output=True)
LEAKY = mlp((5, 4, 3), normalised_output=True, eps=0.3)
NEURONS = NET.groups("neuron")
COMMON = dict(steps=40, batch_size=8, label_noise=0.2, seeds=3)


class Tape:
    """Keeps everything."""

    def __init__(self):
        self.steps = []

    def see(self, step):
        self.steps.append(Step(*(np.array(x) for x in step)))

    def reading(self):
        kept = ("before", "gradient", "after")
        return {name: np.stack([getattr(s, name) for s in self.steps], axis=1) for name in kept}


MOMENTA = [
    st.HeavyBall(0.1, 0.0, 0.8), st.HeavyBall(0.1, 0.2, 0.8, 0.3, 0.05), st.InnerHeavyBall(0.1, 0.2, 0.8),
    st.SGDW(0.1, 0.2, 0.8), st.Nesterov(0.1, 0.2, 0.8), st.HeavyBall(st.dynamics.Cosine(0.2, 0.01, 40), 0.2, 0.8),
]  # fmt: skip


@pytest.mark.claim("A6", "A10", kind="simulation")
@pytest.mark.parametrize(
    "rule",
    [st.SGD(0.2), st.SGD(0.2, 0.3), st.SGD(0.2, lambda t: 0.3 / (1 + t))],
    ids=["alone", "decay", "falling decay"],
)
def test_norm_law_of_sgd_holds_to_rounding_for_every_neuron(rule):
    run = train(NET, DATA, optimiser=rule, instruments=[NormLaw(NEURONS, rule)], **COMMON)
    reading = run.readings["norm_law"]
    assert reading["residual"].shape == (3, 40, 7) and reading["steps"].tolist() == list(range(40))
    worst = [np.abs(reading[name]).max() for name in ("residual", "tangent_residual")]
    assert max(worst) < 1e-13, worst
    leaky = train(LEAKY, DATA, optimiser=rule, instruments=[NormLaw(NEURONS, rule)], **COMMON).readings["norm_law"]
    assert np.abs(leaky["residual"]).max() < 1e-13 and np.abs(leaky["tangent_residual"]).max() > 1e-4


@pytest.mark.claim("A8", kind="simulation")
@pytest.mark.parametrize("rule", MOMENTA, ids=lambda r: type(r).__name__)
def test_norm_law_of_momentum_needs_tangent_gradients_alone(rule):
    run = train(NET, DATA, optimiser=rule, instruments=[NormLaw(NEURONS, rule)], **COMMON)
    worst = [np.abs(run.readings["norm_law"][name]).max() for name in ("residual", "tangent_residual")]
    assert max(worst) < 1e-12, worst
    leaky = train(LEAKY, DATA, optimiser=rule, instruments=[NormLaw(NEURONS, rule)], **COMMON).readings["norm_law"]
    assert np.abs(leaky["residual"]).max() < 1e-12 and np.abs(leaky["tangent_residual"]).max() > 1e-4


@pytest.mark.claim("A8", kind="simulation")
def test_momentum_growth_written_out_as_a_sum():
    rule = st.HeavyBall(0.1, 0.0, 0.8)
    run = train(NET, DATA, optimiser=rule, instruments=[tape := Tape()], **COMMON)
    reading = run.readings["tape"]
    group = NEURONS[2]
    w, after = (group.select(reading[name]) for name in ("before", "after"))
    p = ((w - after) / 0.1 ** 1).astype(float)
    squares = (p**2).sum(axis=-1)
    assert tape.steps == [], "the instrument handed in stays as it was"
    for t in (0, 1, 7, 39):
        old = sum(0.8 ** (t - k) * squares[:, k] for k in range(t))
        law = (w[:, t] ** 2).sum(axis=-1) + 0.01 * squares[:, t] + 0.02 * old
        error = np.abs((after[:, t] ** 2).sum(axis=-1) / law - 1).max()
        assert error < 1e-13, f"step {t}: {error:.1e}"


@pytest.mark.claim("A9", kind="simulation")
def test_norms_can_fall_under_adam_although_gradients_are_tangent():
    rule = st.Adam(0.01, epsilon=0.0)
    net = mlp((5, 4, 3), normalised_output=True)
    run = train(net, DATA, optimiser=rule, instruments=[NormLaw(NEURONS, rule)], **COMMON)
    reading = run.readings["norm_law"]
    assert np.abs(reading["residual"]).max() < 1e-13
    falls = (reading["change"] < 0).mean()
    assert 0.01 < falls < 0.99, falls
    assert (train(net, DATA, lr=0.1, **COMMON, instruments=[NormLaw(NEURONS)]).readings["norm_law"]["change"] > 0).all()


def test_norms_and_angles_are_the_plain_ones():
    """Groups of two segments too: scale and shift of a normalisation, weights and bias of the last product."""
    net = mlp((5, 4, 3), affine=True)
    groups = net.groups("neuron")
    assert {len(group.segments) for group in groups} == {1, 2}
    run = train(net, DATA, lr=0.2, weight_decay=0.3, instruments=[Tape(), Norms(groups), Angle(groups, 3)], **COMMON)
    tape, angle = run.readings["tape"], run.readings["angle"]
    assert angle["steps"].tolist() == list(range(0, 40, 3))
    for i, group in enumerate(groups):
        w, g, new = (group.select(tape[name]) for name in ("before", "gradient", "after"))
        for name, v in (("norm", w), ("gradient_norm", g), ("step_norm", new - w)):
            assert np.allclose(run.readings["norms"][name][..., i], np.linalg.norm(v, axis=-1), rtol=1e-13)
        u, v = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (w, new))
        slow = 2 * np.arctan2(np.linalg.norm(u - v, axis=-1), np.linalg.norm(u + v, axis=-1))[:, ::3]
        assert np.allclose(angle["angle"][..., i], slow, rtol=1e-9), group.name


def test_instruments_do_not_disturb_and_do_not_depend_on_chunks():
    bare = train(NET, DATA, lr=0.2, weight_decay=0.3, **COMMON)
    runs = [
        train(NET, DATA, lr=0.2, weight_decay=0.3, instruments=[NormLaw(NEURONS)], chunk=chunk, threads=2, **COMMON)
        for chunk in (1, 3)
    ]
    for run in runs:
        assert (run.final == bare.final).all() and (run.gamma == bare.gamma).all()
    a, b = (run.readings["norm_law"] for run in runs)
    assert all((a[name] == b[name]).all() for name in a), "chunks"


def test_bad_instruments_are_refused():
    common = dict(lr=0.1, **COMMON)
    with pytest.raises(ValueError, match="`instruments` must have different names"):
        train(NET, DATA, instruments=[Norms(NEURONS), Norms(NEURONS)], **common)
    with pytest.raises(ValueError, match="`instruments` must have `see` and `reading`"):
        train(NET, DATA, instruments=[Norms], **common)
    with pytest.raises(ValueError, match="`instruments` must take steps that end with a rescaling: 'norm_law'"):
        train(NET, DATA, instruments=[NormLaw(NEURONS)], rescaling=WeightRescaling(), **common)
    with pytest.raises(ValueError, match="`every` must be 1 for a rule with memory"):
        NormLaw(NEURONS, st.HeavyBall(0.1), every=2)
    with pytest.raises(ValueError, match="`groups` must not be empty"):
        Norms(())
