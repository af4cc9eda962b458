"""Training of the networks, one step at a time: norms, directions, gauges, the input span, bookkeeping."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdetheory import checks
from sdetheory.dynamics import Piecewise
from sdetheory.networks import Linear, labelled, mlp, predict, radial_leak, train
from sdetheory.networks.streams import batches
from sdetheory.predictions import intrinsic_lr

WIDTHS = (5, 4, 3)
DATA = labelled(np.sin(np.arange(200.0) ** 1.4).reshape(40, 5), np.arange(40) % 3)
NET = mlp(WIDTHS, normalised_output=True)
LR = np.array([[0.05], [0.2], [0.2]])
WEIGHT_DECAY = np.array([[0.4], [0.1], [0.0]])
SETTINGS = dict(lr=LR, weight_decay=WEIGHT_DECAY, steps=40, batch_size=8, label_noise=0.2, seeds=3)


@pytest.fixture(scope="module")
def record():
    """Three nets at different (lr, wd), every step recorded."""
    return train(
        NET, DATA, lr=LR, weight_decay=WEIGHT_DECAY, steps=40, batch_size=8, label_noise=0.2, seeds=3
    )


@pytest.mark.claim("I3", "A10", kind="simulation")
def test_squared_norm_steps_exactly(record):
    step = intrinsic_lr.squared_norm_step(
        lr=record.lr[:, :-1, None], weight_decay=record.weight_decay[:, :-1, None],
        squared_norm=record.squared_norm[:, :-1], squared_gradient=record.squared_gradient[:, :-1],
    )  # fmt: skip
    error = np.abs(record.squared_norm[:, 1:] / step - 1).max()
    assert error < 1e-12, f"relative error {error:.1e}"


@pytest.mark.claim("A6", kind="simulation")
def test_without_weight_decay_the_norm_grows_by_the_squared_step(record):
    free = record.squared_norm[2]
    growth = np.diff(free, axis=0)
    assert (growth > 0).all(), growth.min()
    error = np.abs(growth / (record.lr[2, :-1, None] ** 2 * record.squared_gradient[2, :-1]) - 1).max()
    assert error < 1e-9, f"{error:.1e}"


@pytest.mark.claim("I5", kind="simulation")
def test_effective_lr_and_gamma_step_exactly(record):
    """gamma' = (1-h)^4 gamma + 2 (1-h)^2 s + s^2/gamma, s = |w|^2 |g|^2: the law drops the last term."""
    lr, weight_decay = record.lr[:, :-1, None], record.weight_decay[:, :-1, None]
    keep = 1 - lr * weight_decay
    gamma, s = record.gamma[:, :-1], record.spherical[:, :-1]
    error = np.abs((keep**4 * gamma + 2 * keep**2 * s + s**2 / gamma) / record.gamma[:, 1:] - 1).max()
    without = np.abs((keep**4 * gamma + 2 * keep**2 * s) / record.gamma[:, 1:] - 1).max()
    assert error < 1e-12, f"relative error {error:.1e}"
    assert without > 1e-4, f"the last term should be seen: {without:.1e} without it"
    norm = record.squared_norm
    now, after = (
        intrinsic_lr.direction_lr(lr=lr, weight_decay=weight_decay, squared_norm=n)
        for n in (norm[:, :-1], norm[:, 1:])
    )
    step = intrinsic_lr.direction_lr_step(
        lr=lr, weight_decay=weight_decay, step_lr=now, unit_squared_gradient=s
    )
    assert np.abs(after / step - 1).max() < 1e-12


@pytest.mark.claim("A3", kind="simulation")
def test_with_eps_the_radial_part_closes_the_norm_step():
    net = mlp(WIDTHS, eps=0.3, normalised_output=True)
    record = train(net, DATA, lr=0.2, weight_decay=0.1, steps=30, batch_size=8, seeds=2)
    keep, lr = 1 - 0.02, 0.2
    bare = keep**2 * record.squared_norm + lr**2 * record.squared_gradient
    full = bare - 2 * lr * keep * record.radial
    error = np.abs(full[:, :-1] / record.squared_norm[:, 1:] - 1).max()
    without = np.abs(bare[:, :-1] / record.squared_norm[:, 1:] - 1).max()
    assert error < 1e-12 < 1e-3 < without, f"with <w,g> {error:.1e}, without {without:.1e}"
    indices, labels = batches(DATA.labels, 3, 1, 0, 1, 8)
    start = net.start([1])
    leak = radial_leak(net, start, DATA.inputs[indices[0]], labels)
    expected = [leak[group.name].sum() for group in record.groups]
    assert np.allclose(record.radial[1, 0], expected, rtol=1e-10), (record.radial[1, 0], expected)


@pytest.mark.claim("I4", kind="simulation")
def test_the_direction_does_a_projected_step_on_the_sphere():
    lr, weight_decay, start = 0.3, 0.4, NET.start([5])
    indices, labels = batches(DATA.labels, 3, 5, 0, 1, 8)
    gradient = NET.gradient(start, DATA.inputs[indices], labels)[1]
    after = train(NET, DATA, lr=lr, weight_decay=weight_decay, steps=1, batch_size=8, seeds=[5]).final
    for group in NET.groups("neuron"):
        w, g, new = (group.select(a)[0] for a in (start, gradient, after))
        norm = np.linalg.norm(w)
        speed = intrinsic_lr.direction_lr(lr=lr, weight_decay=weight_decay, squared_norm=norm**2)
        moved = w / norm - speed * norm * g
        error = np.abs(moved / np.linalg.norm(moved) - new / np.linalg.norm(new)).max()
        assert error < 1e-14, f"{group.name}: {error:.1e}"


@pytest.mark.claim("I13", "A16", kind="simulation")
def test_rescaled_lr_weight_decay_and_start_give_the_same_directions():
    """(lr, wd, w0) and (c^2 lr, wd/c^2, c w0): the same bits for c = 2, to rounding for c = 3."""
    common = dict(steps=40, batch_size=8, label_noise=0.2, seeds=2)
    plain = train(NET, DATA, lr=0.2, weight_decay=0.1, **common)
    double = train(NET, DATA, lr=0.8, weight_decay=0.025, init_scale=2.0, **common)
    triple = train(NET, DATA, lr=1.8, weight_decay=0.1 / 9, init_scale=3.0, **common)
    assert (double.final == 2 * plain.final).all()
    assert (double.loss == plain.loss).all() and (double.gamma == plain.gamma).all()
    error = np.abs(triple.final / (3 * plain.final) - 1).max()
    assert error < 1e-9, f"{error:.1e}"
    other = train(NET, DATA, lr=0.8, weight_decay=0.1, init_scale=2.0, **common)
    assert np.abs(other.final / (2 * plain.final) - 1).max() > 1e-3, "another product should give another run"


@pytest.mark.claim("I14", "A17", kind="simulation")
def test_weight_decay_is_an_exponential_lr():
    """w with (lr, wd) and v = w / a^t with lr a^(-2t-1) and no decay, a = 1 - lr wd."""
    keep = 1 - 0.2 * 0.1
    common = dict(steps=30, batch_size=8, seeds=2)
    decayed = train(NET, DATA, lr=0.2, weight_decay=0.1, **common)
    growing = train(NET, DATA, lr=lambda t: 0.2 * keep ** (-2 * t - 1), **common)
    error = np.abs(growing.final * keep**30 / decayed.final - 1).max()
    assert error < 1e-10, f"{error:.1e}"
    wrong = train(NET, DATA, lr=lambda t: 0.2 * keep ** (-2 * t), **common)
    assert np.abs(wrong.final * keep**30 / decayed.final - 1).max() > 1e-5, (
        "without the factor 1/a it should differ"
    )


@pytest.mark.claim("I14", kind="property")
@given(ratios=st.lists(st.floats(0.8, 1.02), min_size=10, max_size=10))
@example(ratios=[1.0] * 10)
def test_any_sequence_of_scales_is_absorbed_by_rates(ratios):
    """c_t w_t is an SGD run with lr' = c_t c_(t+1) lr and 1 - lr' wd' = (c_(t+1)/c_t) (1 - lr wd)."""
    scales = np.cumprod([1.0, *ratios])
    lr = 0.2 * scales[:-1] * scales[1:]
    weight_decay = (1 - np.array(ratios) * (1 - 0.2 * 0.1)) / lr
    common = dict(steps=10, batch_size=8, seeds=2)
    plain = train(NET, DATA, lr=0.2, weight_decay=0.1, **common)
    scaled = train(NET, DATA, lr=lr, weight_decay=weight_decay, **common)
    error = np.abs(scaled.final / (scales[-1] * plain.final) - 1).max()
    assert error < 1e-10 and np.allclose(scaled.loss, plain.loss, rtol=1e-10), f"{error:.1e}"


@pytest.mark.claim("A11", kind="simulation")
def test_first_layer_gradients_lie_in_the_span_of_the_centred_inputs():
    net, inputs = mlp((9, 4, 3)), np.sin(np.arange(45.0) ** 1.4).reshape(5, 9)
    gradient = net.groups()[0].select(net.gradient(net.start([0]), inputs, np.arange(5) % 3)[1]).reshape(4, 9)
    centred = inputs - inputs.mean(axis=0)
    span = np.linalg.svd(centred)[2][:4]
    residual = np.abs(gradient - gradient @ span.T @ span).max() / np.abs(gradient).max()
    assert residual < 1e-12, f"{residual:.1e}"
    rest = np.linalg.svd(centred)[2][4:]
    assert np.abs(inputs @ rest.T).max() > 1e-3, (
        "the mean input should lie outside, else centring is not seen"
    )


@pytest.mark.claim("A12", "A13", kind="simulation")
def test_weights_orthogonal_to_the_inputs_only_decay():
    inputs = np.concatenate([DATA.inputs, np.zeros((40, 2))], axis=1)  # two pixels that are always dark
    data, net = labelled(inputs, DATA.labels), mlp((7, 4, 3))
    rates = dict(lr=np.array([[0.2], [0.2]]), weight_decay=np.array([[0.0], [0.5]]))
    run = train(net, data, **rates, steps=50, batch_size=8, seeds=2)
    dark = [net.groups()[0].select(p).reshape(2, 4, 7)[:, :, 5:] for p in (net.start([0, 1]), run.final)]
    assert (dark[1][0] == dark[0][0]).all(), "without decay they do not move"
    error = np.abs(dark[1][1] / (0.9**50 * dark[0][1]) - 1).max()
    assert error < 1e-12, f"{error:.1e}"


def test_records_at_chosen_steps_and_their_sums(record):
    """Sums over the steps between records are the sums of the per-step values."""
    marks = [0, 3, 4, 17, 40]
    sparse = train(NET, DATA, record_every=marks, **SETTINGS)
    assert sparse.steps.tolist() == marks and (sparse.gamma == record.gamma[:, marks]).all()
    h = record.lr[:, :, None]
    every = {
        "spherical_sum": record.spherical,
        "correction_sum": record.spherical**2 / record.gamma,
        "growth_sum": h**2 * record.squared_gradient,
    }
    for name, values in every.items():
        sums = np.stack(
            [values[:, a:b].sum(axis=1) for a, b in zip([0, *marks[:-1]], marks, strict=True)], axis=1
        )
        assert np.allclose(getattr(sparse, name), sums, rtol=1e-12), name
    means = np.stack([record.loss[:, a:b].mean(axis=1) for a, b in pairwise(marks)], axis=1)
    assert np.allclose(sparse.loss_mean[:, 1:], means, rtol=1e-12)
    assert np.allclose(sparse.spherical_mean[:, 2], record.spherical[:, 3], rtol=1e-14)
    assert np.isnan(sparse.spherical_mean[:, 0]).all()
    assert train(NET, DATA, lr=0.1, steps=7, record_every=3, batch_size=4).steps.tolist() == [0, 3, 6, 7]


def test_per_neuron_records_add_up_to_the_layers(record):
    neurons = train(NET, DATA, by="neuron", **SETTINGS)
    assert np.allclose(neurons.final, record.final, rtol=1e-12)
    for layer in record.groups:
        rows = [i for i, group in enumerate(neurons.groups) if group.layer == layer.layer]
        whole = record.squared_norm[..., record.column(layer.name)]
        assert np.allclose(neurons.squared_norm[..., rows].sum(axis=-1), whole, rtol=1e-10)
    keep = 1 - (neurons.lr * neurons.weight_decay)[:, :-1, None]
    step = (
        keep**2 * neurons.squared_norm[:, :-1]
        + neurons.lr[:, :-1, None] ** 2 * neurons.squared_gradient[:, :-1]
    )
    assert np.abs(neurons.squared_norm[:, 1:] / step - 1).max() < 1e-11, (
        "each neuron obeys the norm step by itself"
    )


def test_frozen_parameters_do_not_move_and_are_not_recorded():
    net = mlp(WIDTHS, frozen_output=True)
    run = train(net, DATA, lr=0.2, weight_decay=0.3, steps=10, batch_size=8)
    last = net.groups()[-1]
    assert last.frozen and (last.select(run.final) == last.select(net.start([0]))).all()
    assert [group.name for group in run.groups] == ["dense1"]
    assert (net.groups()[0].select(run.final) != net.groups()[0].select(net.start([0]))).all()


def test_schedules_arrays_and_callables_are_the_same_rates():
    common = dict(steps=20, batch_size=8, seeds=2, weight_decay=0.1)
    ways = [
        Piecewise((0.2, 0.02), (10,)),
        lambda t: 0.2 if t < 10 else 0.02,
        np.repeat([0.2, 0.02], 10),
        np.repeat([[0.2, 0.02]], 2, axis=0).repeat(10, axis=1),
    ]
    finals = [train(NET, DATA, lr=way, **common).final for way in ways]
    assert all((final == finals[0]).all() for final in finals)
    assert (train(NET, DATA, lr=0.2, **common).final != finals[0]).any()


def test_divergence_is_marked_per_net_and_the_rest_is_returned():
    net = mlp(WIDTHS, normalised=False, activation=Linear())
    rates = np.array([[0.1], [1e200], [0.1]])
    run = train(net, DATA, lr=rates, weight_decay=1.0, steps=30, batch_size=8, seeds=[0, 1, 0])
    assert run.diverged.tolist() == [False, True, False] and run.healthy.tolist() == [0, 2]
    assert 0 < run.diverged_step[1] <= 5 and run.diverged_step[0] == -1, run.diverged_step
    assert (run.final[0] == run.final[2]).all() and np.isfinite(run.final[0]).all()
    with pytest.raises(checks.Diverged, match=r"non-finite at t=.*every net did"):
        train(net, DATA, lr=1e200, weight_decay=1.0, steps=30, batch_size=8, seeds=2)


def test_the_record_says_where_it_comes_from(record):
    assert record.how["lr"] == LR[:, 0].tolist() and record.how["seeds"] == [0, 1, 2]
    assert record.how["network"][0].startswith("Dense(inputs=5, outputs=4")
    assert set(record.how["versions"]) == {"sdetheory", "numpy", "numba", "python"}
    assert record.how["data"]["examples"] == 40


def test_training_learns():
    separable = labelled(DATA.inputs, (DATA.inputs[:, 0] > 0).astype(np.int64))
    net = mlp((5, 8, 2), activation="tanh")
    run = train(net, separable, lr=0.3, steps=150, batch_size=20, seeds=2, record_every=150)
    assert (run.loss_mean[:, -1] < run.loss[:, 0]).all()
    right = (predict(net, run.final, separable.inputs) == separable.labels).mean(axis=1)
    assert (right > 0.9).all(), right


@given(position=st.integers(0, 2), value=st.sampled_from([np.nan, np.inf, -0.1]))
def test_bad_rates_are_refused(position, value):
    rates = np.full((3, 1), 0.1)
    rates[position] = value
    with pytest.raises(ValueError, match="`lr` must"):
        train(NET, DATA, lr=rates, steps=5, batch_size=8, seeds=3)
