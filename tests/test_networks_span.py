"""The part of the weights outside the span of the inputs, under every rule; noise ratios against their definitions."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

import sdetheory as st
from sdetheory.networks import (
    InputSpan,
    WeightRescaling,
    clusters,
    conv_net,
    eigen_noise_ratio,
    input_span,
    labelled,
    mlp,
    noise_ratio,
    patches,
    random_span,
    shifted,
    signal_to_noise,
    train,
)

SPAN = random_span(9, 4, seed=3)
DATA = clusters(60, SPAN, classes=3, seed=1)
NET = mlp((9, 4, 3), normalised_output=True)
FIRST = [group for group in NET.groups("neuron") if group.layer == 0]
LAYER = [NET.groups("layer")[0]]
COMMON = dict(steps=60, batch_size=8, label_noise=0.2, seeds=3)


def watched(rule=None, groups=FIRST, **settings):
    how = {**COMMON, "optimiser": rule, **settings}
    return train(NET, DATA, instruments=[InputSpan(groups, input_span(DATA.inputs))], **how)


def reading(*args, **settings):
    return watched(*args, **settings).readings["input_span"]


def test_the_reading_is_the_plain_one():
    """Against projectors from the known span, written out for each net, step and neuron."""
    run = watched(st.SGD(0.3, 0.2), steps=4)
    w, seen = NET.start(range(3)), run.readings["input_span"]
    rest = np.eye(9) - SPAN.basis @ SPAN.basis.T
    for e in range(3):
        for i in range(4):
            v = w[e, 9 * i : 9 * i + 9]
            assert np.isclose(seen["squared_outside"][e, 0, i], v @ rest @ v, rtol=1e-12)
            assert np.isclose(seen["noise_ratio"][e, 0, i], (v @ rest @ v) / (v @ v), rtol=1e-12)
            assert np.isclose(noise_ratio(v, SPAN), (v @ rest @ v) / (v @ v), rtol=1e-12)
    whole = reading(st.SGD(0.3, 0.2), groups=LAYER, steps=4)
    assert np.allclose(whole["squared_outside"][..., 0], seen["squared_outside"].sum(-1), rtol=1e-12)


@pytest.mark.claim("A12", kind="simulation")
@pytest.mark.parametrize(
    "rule",
    [st.SGD(0.3), st.HeavyBall(0.1, 0.0, 0.9), st.InnerHeavyBall(0.1, 0.0, 0.9, 0.3), st.Nesterov(0.1, 0.0, 0.9)],
    ids=lambda r: type(r).__name__,
)
def test_sgd_and_momentum_never_touch_what_is_outside(rule):
    seen = reading(rule)
    error = np.abs(seen["along"] - 1).max(), seen["drift"].max()
    assert max(error) < 1e-12, error
    fallen = seen["noise_ratio"][:, -1] / seen["noise_ratio"][:, 0]
    assert (fallen < 0.99).all(), "it falls relative to |w|, which grows"


@pytest.mark.claim("A13", kind="simulation")
@pytest.mark.parametrize("rule", [st.SGD, st.SGDW, st.AdamW], ids=lambda r: r.__name__)
def test_weight_decay_beside_the_gradient_shrinks_it_geometrically(rule):
    """For any schedule of lr and wd; AdamW's decay as well, but Adam's part leaves the span."""
    rates = dict(lr=lambda t: 0.2 / (1 + 0.1 * t), weight_decay=lambda t: 0.3 + 0.01 * t)
    seen = reading(rule(**rates))
    t = np.arange(59.0)
    law = np.concatenate([[1.0], np.cumprod(1 - 0.2 / (1 + 0.1 * t) * (0.3 + 0.01 * t))])
    error = np.abs(seen["along"] / law[:, None] - 1).max(), seen["drift"].max()
    if rule is st.AdamW:
        assert error[1] > 1e-2, f"{error}"
    else:
        assert max(error) < 1e-11, error


def recursion(momentum, h, steps):
    """c' = (1 + m - h) c - m c_before, c_0 = 1, c_1 = 1 - h."""
    c = [1.0, 1.0 - h]
    while len(c) < steps:
        c.append((1 + momentum - h) * c[-1] - momentum * c[-2])
    return np.array(c[:steps])


@pytest.mark.claim("A14", kind="simulation")
@pytest.mark.parametrize(("momentum", "h"), [(0.5, 0.02), (0.9, 0.05), (0.8, 3.595)], ids=["real", "spiral", "flips"])
def test_momentum_with_l2_decays_through_the_roots_of_its_recursion(momentum, h):
    """Real roots below (1 - sqrt m)^2, modulus sqrt m between, real and negative up to 2 (1 + m), where it diverges."""
    lr = 0.1
    seen = reading(st.HeavyBall(lr, h / lr, momentum))
    law = recursion(momentum, h, 60)
    error = np.abs(seen["along"] - law[:, None]).max() / np.abs(law).max(), seen["drift"].max()
    assert max(error) < 1e-11, error
    roots = np.roots([1.0, -(1 + momentum - h), momentum])
    between = (1 - np.sqrt(momentum)) ** 2 < h < (1 + np.sqrt(momentum)) ** 2
    assert (np.abs(roots.imag) > 0).all() == between
    coefficients = np.linalg.solve([[1.0, 1.0], roots], [1.0, 1.0 - h])
    closed = (coefficients * roots ** np.arange(60)[:, None]).sum(axis=1).real
    assert np.abs(closed - law).max() < 1e-12 * np.abs(law).max()
    if between:
        assert np.allclose(np.abs(roots), np.sqrt(momentum), rtol=1e-12) and (law < 0).any()


@pytest.mark.claim("A15", kind="simulation")
@pytest.mark.parametrize("every", [1, 7])
def test_rescaling_divides_it_by_the_product_of_the_divisors(every):
    run = watched(st.SGD(0.3), rescaling=WeightRescaling(every=every), by="neuron")
    seen = run.readings["input_span"]
    law = np.exp(-(run.log_divisor - run.log_divisor[:, :1]))[:, :-1, :4]
    error = np.abs(seen["along"] / law - 1).max(), seen["drift"].max()
    assert max(error) < 1e-12 and law.min() < 0.97, (error, law.min())


@pytest.mark.claim("A12", kind="simulation")
@pytest.mark.parametrize("rule", [st.Adam(0.01), st.Lion(0.01)], ids=lambda r: type(r).__name__)
def test_coordinatewise_scaling_leaves_the_span(rule):
    """The counter-example: D^-1 g is not in the span, unless the span is one of coordinates."""
    seen = reading(rule)
    assert (seen["drift"][:, -1] > 1e-2).all(), seen["drift"][:, -1].min()


@pytest.mark.claim("A15", kind="simulation")
def test_rescaling_stops_where_gradients_vanish_and_weight_decay_does_not():
    """The sheet's interpolating neuron, five seeds: what is left outside after full-batch training."""
    data = clusters(12, SPAN, classes=2, separation=6.0, seed=2)
    net = mlp((9, 1, 2))
    first = [group for group in net.groups("neuron") if group.layer == 0]
    common = dict(batch_size=None, steps=400, seeds=5, by="neuron")
    decays = np.where([g.scale_invariant for g in net.groups("neuron")], 0.05, 0.0).reshape(1, 1, -1)
    ways = {
        "none": dict(lr=0.3),
        "decay": dict(lr=0.3, weight_decay=decays),
        "rescaling": dict(lr=0.3, rescaling=WeightRescaling(target="start")),
    }
    left = {}
    for name, way in ways.items():
        run = train(net, data, instruments=[InputSpan(first, input_span(data.inputs), every=[0, 399])], **way, **common)
        left[name] = run.readings["input_span"]["along"][:, -1, 0]
    assert np.allclose(left["none"], 1, rtol=1e-10)
    assert np.allclose(left["decay"], 0.985**399, rtol=1e-9), left["decay"]
    assert (left["rescaling"] > 0.05).all() and (left["rescaling"] < 1).all(), left["rescaling"]


@pytest.mark.claim("A11", "A12", "A15", kind="simulation")
def test_filters_stay_in_the_span_of_patches():
    """Images whose second channel is twice the first: patches span 9 of 18 dimensions; with filters rescaled too."""
    pixels = np.sin(np.arange(20 * 9.0) ** 1.3).reshape(20, 9)
    data = labelled(np.stack([pixels, 2 * pixels], axis=-1).reshape(20, 18), np.arange(20) % 3)
    net = conv_net((2, 2), 3, image=(3, 3, 2), normalised_output=True)
    filters = [group for group in net.groups("neuron") if group.name.startswith("conv1")]
    span = input_span(patches(data.inputs, (3, 3, 2)))
    assert span.rank == 9 and len(filters) == 2 and filters[0].size == 18
    for rescaling in (None, WeightRescaling(target="start")):
        run = train(
            net, data, lr=0.2, steps=20, batch_size=6, seeds=2, by="neuron", rescaling=rescaling,
            instruments=[InputSpan(filters, span)],
        )  # fmt: skip
        seen = run.readings["input_span"]
        law = np.exp(-run.log_divisor[:, :-1, :2]) if rescaling else 1.0
        error = np.abs(seen["along"] / law - 1).max(), seen["drift"].max()
        assert max(error) < 1e-11, error
    middle = patches(data.inputs[:1], (3, 3, 2))[4]
    assert (middle == data.inputs[0]).all(), "the window of the middle pixel is the image"


vectors = some.lists(some.floats(-3, 3).filter(lambda x: abs(x) > 1e-3), min_size=9, max_size=9).map(np.array)


@given(w=vectors, rank=some.integers(0, 9), seed=some.integers(0, 20))
@example(w=np.ones(9), rank=0, seed=0)
@example(w=np.ones(9), rank=9, seed=0)
def test_noise_ratio_is_a_share(w, rank, seed):
    span = random_span(9, rank, seed)
    projector = span.basis @ np.linalg.solve(span.basis.T @ span.basis, span.basis.T) if rank else np.zeros((9, 9))
    slow = np.sum((w - projector @ w) ** 2) / np.sum(w**2)
    assert abs(noise_ratio(w, span) - slow) < 1e-13 and -1e-15 < noise_ratio(w, span) < 1 + 1e-12


@given(w=vectors, tau=some.floats(0.0, 0.9))
@example(w=np.ones(9), tau=0.0)
def test_eigen_noise_ratio_keeps_the_fewest_directions(w, tau):
    values, vectors = np.linalg.eigh(np.cov(DATA.inputs.T, bias=True))
    order, total = np.argsort(values)[::-1], values.sum()
    count = next(k for k in range(1, 10) if values[order[:k]].sum() >= (1 - tau) * total * (1 - 1e-9))
    lead = vectors[:, order[:count]]
    slow = 1 - np.sum((lead.T @ w) ** 2) / np.sum(w**2)
    got = eigen_noise_ratio(w, DATA.inputs, tau)
    assert abs(got - slow) < 1e-9, (got, slow, count)
    if tau == 0:
        assert abs(got - noise_ratio(w, input_span(DATA.inputs))) < 1e-9


def test_signal_to_noise_of_test_inputs():
    moved = shifted(DATA, SPAN, 0.5, seed=4).inputs
    w = NET.start([0])[0, :36].reshape(4, 9)
    projector = SPAN.basis @ SPAN.basis.T
    for i in range(4):
        outputs = [moved @ projector @ w[i], moved @ (np.eye(9) - projector) @ w[i]]
        slow = np.var(outputs[0]) / np.var(outputs[1])
        assert np.isclose(signal_to_noise(w, SPAN, moved)[i], slow, rtol=1e-12)
    assert (signal_to_noise(w, SPAN, np.zeros((5, 9)) + SPAN.basis[:, 0] * np.arange(5.0)[:, None]) > 1e25).all()


def test_bad_spans_are_refused():
    with pytest.raises(ValueError, match="`groups` must hold rows of 5 weights"):
        InputSpan(FIRST, random_span(5, 2))
    with pytest.raises(ValueError, match="`w` must have 9 features"):
        noise_ratio(np.ones(8), SPAN)
    with pytest.raises(ValueError, match="`tau` must be below 1"):
        eigen_noise_ratio(np.ones(9), DATA.inputs, 1.0)
