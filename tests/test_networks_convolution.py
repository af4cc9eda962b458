"""Convolutional nets: gradients, scale invariance of filters, the leak of eps, the span of patches, independence."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from network_problems import spread
from network_reference import amplification, complex_step, losses, patches, torch_loss

from sdetheory.networks import (
    BatchNorm,
    Conv,
    MaxPool,
    MeanPool,
    Tanh,
    conv_net,
    digits,
    evaluate,
    labelled,
    per_sample_gradients,
    predict,
    radial_leak,
    train,
)
from sdetheory.networks.sharpness import hessian_product, sharpness

SMALL = dict(image=(2, 4, 1), classes=3)
KINDS = {
    "relu": dict(channels=(2, 2), normalised_output=True),
    "residual": dict(channels=(2, 2, 3), residual=True, affine=True, pool="max", pool_after=(1,)),
    "gelu": dict(channels=(2, 1), activation="gelu", norm="after", eps=1e-3, head="flat", pool="mean", pool_after=(2,)),
    "plain": dict(channels=(2, 2), normalised=False, activation="sigmoid", residual=True),
    "wide": dict(channels=(2,), kernel=5, activation="tanh", head="flat", frozen_output=True),
}
NETS = {name: conv_net(**{**SMALL, **how}) for name, how in KINDS.items()}
BATCH = 3
INVARIANT = {
    "relu": {"conv1", "conv2", "dense1"},
    "residual": {"conv1", "conv2", "conv3", "dense1"},  # dense1: the 1 x 1 convolution of the shortcut
    "gelu": set(),
    "plain": set(),
    "wide": {"conv1"},
}


def problems(net):
    """Parameters (P,), images (B, F) and labels (B,)."""
    labels = st.lists(st.integers(0, 2), min_size=BATCH, max_size=BATCH).map(np.array)
    return st.tuples(spread(net.size), spread(BATCH, net.inputs), labels)


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_gradient_equals_complex_steps(name, data):
    net = NETS[name]
    parameters, x, labels = data.draw(problems(net))
    amplified = amplification(net, parameters, x)
    assume(amplified < 1e5)
    groups = net.groups()
    waves = np.zeros((len(groups), net.size))
    for wave, group in zip(waves, groups, strict=True):  # along all entries of a group
        for a, b in group.segments:
            wave[a:b] = np.cos(np.arange(a, b) ** 1.5)
    truth = complex_step(net, parameters, x, labels, waves).T
    loss, gradient = net.gradient(parameters[None], x, labels)
    each = per_sample_gradients(net, parameters, x, labels)
    assert loss[0] == pytest.approx(losses(net, parameters, x, labels).mean(), rel=1e-12, abs=1e-12)
    for group, wave, expected in zip(groups, waves, truth, strict=True):
        expected = np.zeros(BATCH) if group.frozen else expected
        error = abs(gradient[0] @ wave - expected.mean())
        error_each = np.abs(each @ wave - expected).max()
        allowed = 1e-12 * amplified
        assert max(error, error_each) < allowed, f"{group.name}: {error:.1e}, {error_each:.1e}, {allowed:.1e}"


@pytest.mark.claim("A1", "A2", kind="property")
@pytest.mark.parametrize("name", KINDS)
def test_filters_in_front_of_a_normalisation_are_invariant_and_no_others(name):
    net = NETS[name]
    assert {group.name for group in net.groups() if group.scale_invariant} == INVARIANT[name]
    biased = {slot.layer for slot in net.slots if slot.name == "bias"}
    last = {len(net.leaves) - 1} if name not in ("relu", "wide") else set()
    everywhere = {slot.layer for slot in net.slots if slot.name == "weight"}
    assert biased == (everywhere if name == "plain" else last), "no bias that a normalisation would remove"
    parameters = net.start([4]) + 0.3 * np.cos(np.arange(net.size))
    x, labels = np.sin(np.arange(64.0) ** 1.3).reshape(8, 8), np.arange(8) % 3
    loss, gradient = net.gradient(parameters, x, labels)
    for group in (*net.groups("layer"), *net.groups("neuron")):
        change = abs(net.loss(group.scaled(parameters, 1.5), x, labels)[0] - loss[0])
        radial = abs(np.vdot(group.select(parameters), group.select(gradient)))
        good = (change < 1e-13 and radial < 1e-13) if group.scale_invariant else change > 1e-9
        assert good, f"{group.name}: loss {change:.1e}, <w, g> {radial:.1e}"


@pytest.mark.claim("A3", kind="property")
@pytest.mark.parametrize("norm", ["before", "after"])
@given(data=st.data(), eps=st.sampled_from([0.0, 1e-5, 0.1, 1.0]))
def test_the_radial_gradient_of_filters_is_the_leak_of_eps(norm, data, eps):
    net = conv_net((2, 2, 3), **SMALL, residual=True, eps=eps, norm=norm, affine=True, pool="mean", pool_after=(1,))
    parameters, x, labels = data.draw(problems(net))
    amplified = amplification(net, parameters, x)
    assume(amplified < 1e5)
    gradient, leak = net.gradient(parameters[None], x, labels)[1], radial_leak(net, parameters[None], x, labels)
    assert set(leak) == {"conv1", "conv2", "conv3", "dense1"}, "dense1 is the shortcut's, dense2 gives the logits"
    for group in net.groups("neuron"):
        name, row = group.name.rstrip("]").split("[")
        if name in leak:
            w, g = group.select(parameters), group.select(gradient)[0]
            expected, allowed = leak[name][0, int(row)], 1e-13 * amplified * np.linalg.norm(w)
            assert abs(w @ g - expected) < allowed, f"{group.name}: {w @ g:.3e}, leak {expected:.3e}, {allowed:.1e}"


@pytest.mark.claim("A11", kind="property")
@given(data=st.data())
def test_the_gradient_of_a_filter_lies_in_the_span_of_the_centred_patches(data):
    """Two pixels wide, padded: the corner patches differ, so that the span is smaller than the space."""
    net = conv_net((2,), 3, image=(1, 3, 2))
    parameters, x, labels = data.draw(st.tuples(spread(net.size), spread(2, 6), st.just(np.array([0, 2]))))
    amplified = amplification(net, parameters, x)
    assume(amplified < 1e4)
    seen = patches(net.layers[1], x.reshape(-1, 2))  # 6 patches of 18 numbers
    values, basis = np.linalg.svd(seen - seen.mean(axis=0))[1:]
    rank = int((values > 1e-6 * values[0]).sum())
    assert rank <= 5
    group = net.groups()[0]
    gradient = group.select(net.gradient(parameters[None], x, labels)[1]).reshape(2, 18)
    outside = np.abs(gradient @ basis[rank:].T).max()
    assert outside < 1e-12 * amplified, f"{outside:.1e} outside, {np.abs(gradient).max():.1e} in all"
    outputs = patches(net.layers[1], x.reshape(-1, 2)) @ basis[5:].T
    assert np.ptp(outputs, axis=0).max() < 1e-12 * (1 + np.abs(x).max()), "what is outside is the same for all patches"


@pytest.mark.parametrize("name", KINDS)
def test_gradient_equals_torch_autograd(name):
    torch = pytest.importorskip("torch", reason="torch is not installed: the optional oracle of the nets extra")
    how = {**KINDS[name], "image": (4, 6, 2), "classes": 4}
    net = conv_net(**{**how, "channels": tuple(c + 2 for c in how["channels"])})
    parameters = net.start([0, 1]) + 0.1 * np.cos(np.arange(2 * net.size)).reshape(2, -1)
    x, labels = np.sin(np.arange(9 * 48.0) ** 1.5).reshape(9, 48), np.arange(9) % 4
    loss, gradient = net.gradient(parameters, x, labels)
    for e, row in enumerate(parameters):
        w = torch.tensor(row, requires_grad=True)
        value = torch_loss(net, w, x, labels)
        value.backward()
        assert loss[e] == pytest.approx(value.item(), rel=1e-13)
        for group in net.groups():
            if not group.frozen:
                got, expected = group.select(gradient[e]), group.select(w.grad.numpy())
                error = np.abs(got - expected).max() / np.abs(expected).max()
                assert error < 1e-12, f"{group.name}: {error:.1e}"


DATA = labelled(np.sin(np.arange(240.0) ** 1.4).reshape(30, 2, 4, 1), np.arange(30) % 3)


@pytest.mark.parametrize("name", KINDS)
def test_bitwise_independent_of_chunk_threads_and_company(name):
    net, settings = NETS[name], dict(lr=0.1, weight_decay=0.02, steps=6, batch_size=5)
    whole = train(net, DATA, seeds=5, threads=1, chunk=5, **settings)
    for threads, chunk in ((1, 1), (2, 2), (2, None)):
        other = train(net, DATA, seeds=5, threads=threads, chunk=chunk, **settings)
        assert (other.final == whole.final).all() and (other.gamma == whole.gamma).all(), (threads, chunk)
    alone = train(net, DATA, seeds=[3], **settings)
    assert (alone.final[0] == whole.final[3]).all()


@pytest.mark.compiled
@pytest.mark.claim("A10", kind="simulation")
def test_digits_are_learnt_and_every_filter_obeys_the_norm_step():
    """Images of 8 x 8 in blocks of rows, two threads; and the same bits net by net."""
    data, net = digits().subset(slice(0, 300)), conv_net((4, 4, 6), residual=True, normalised_output=True)
    assert net.inputs == 64 and net.classes == 10 and data.image == (8, 8, 1)
    settings = dict(lr=0.1, weight_decay=0.01, steps=150, batch_size=32)
    run = train(net, data, seeds=2, threads=2, by="neuron", **settings)
    keep, lr = 1 - 0.1 * 0.01, 0.1
    step = keep**2 * run.squared_norm[:, :-1] + lr**2 * run.squared_gradient[:, :-1]
    error = np.abs(run.squared_norm[:, 1:] / step - 1).max()
    assert error < 1e-11, f"relative error {error:.1e}"
    accuracy = evaluate(net, run.final, data)[1]
    assert (accuracy > 0.8).all(), accuracy
    assert np.allclose(accuracy, (predict(net, run.final, data.inputs) == data.labels).mean(axis=1))
    assert (train(net, data, seeds=[1], by="neuron", **settings).final[0] == run.final[1]).all()


def test_the_hessian_of_a_convolutional_net_is_symmetric_and_homogeneous():
    net = conv_net((2, 2), **SMALL, activation="tanh", normalised_output=True)
    parameters = net.start([0])
    first, second = np.cos(np.arange(2.0 * net.size) ** 1.2).reshape(2, 1, -1)
    products = [hessian_product(net, parameters, v, DATA) for v in (first, second)]
    left, right = np.vdot(products[0], second), np.vdot(products[1], first)
    assert left == pytest.approx(right, rel=1e-6), (left, right)
    top = sharpness(net, parameters, DATA)[0][0]
    scaled = net.groups()[0].scaled(parameters, 1.0)
    for group in net.groups():
        scaled = group.scaled(scaled, 2.0)
    assert sharpness(net, scaled, DATA)[0][0] == pytest.approx(top / 4, rel=1e-3)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (dict(channels=()), r"`channels` must name at least one convolution: channels=\(\)"),
        (dict(channels=(2, 0)), r"`channels\[1\]` must be at least 1: channels\[1\]=0"),
        (dict(classes=1), "`classes` must be at least 2: classes=1"),
        (dict(image=(8, 0, 1)), r"`image\[1\]` must be at least 1"),
        (dict(kernel=2), "`kernel` must be odd: kernel=2"),
        (dict(pool="mean"), r"`pool` and `pool_after` go together: pool='mean', pool_after=\(\)"),
        (dict(pool="maen", pool_after=(1,)), "`pool` must be one of mean, max.*did you mean 'mean'"),
        (dict(pool="max", pool_after=(2,)), r"`pool_after` must number convolutions 1 .. 1: pool_after=\(2,\)"),
        (dict(image=(3, 4, 1), pool="max", pool_after=(1,)), "`down`, `across` must tile the image: 2 x 2 in 3 x 4"),
        (dict(head="flatt"), "`head` must be one of mean, flat.*did you mean 'flat'"),
        (dict(activation="gleu"), "`activation` must be one of .*did you mean 'gelu'"),
    ],
)
def test_bad_convolutional_nets_are_refused(how, message):
    with pytest.raises(ValueError, match=message):
        conv_net(**{"channels": (2,), **how})


def test_ties_of_a_maximum_go_to_the_first_pixel_and_nan_is_kept():
    pool, x = MaxPool(2, 2), np.array([1.0, 3.0, 3.0, 2.0]).reshape(1, 4, 1)
    y, cache = pool.forward({}, x)
    assert y.item() == 3.0 and pool.input_gradient({}, cache, np.ones((1, 1, 1))).ravel().tolist() == [0, 1, 0, 0]
    x[0, 2] = np.nan
    assert np.isnan(pool.forward({}, x)[0].item()), "a diverged net stays visible"
    assert MeanPool(2, 2).forward({}, np.ones((1, 4, 1)))[0].item() == 1.0
    assert Conv(2, 2, 1, 1).homogeneous and not Conv(2, 2, 1, 1, bias=True).homogeneous
    assert not Tanh().homogeneous and BatchNorm(1).removes_scale and not BatchNorm(1, 0.1).removes_scale
