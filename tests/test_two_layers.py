"""Two layers solved exactly: closed forms against integrated flows."""

import numpy as np
import pytest
import scipy.integrate
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory.predictions import two_layers

starts = st.floats(-2.5, 2.5)
entries = st.floats(-1.5, 1.5)


def integrated(rate, start, time, rtol=1e-10):
    return scipy.integrate.solve_ivp(rate, (0, time), start, method="DOP853", rtol=rtol, atol=1e-12).y[:, -1]


@pytest.mark.claim("D40", kind="simulation")
@given(starts, starts, st.floats(0.2, 2.0), st.floats(0.0, 4.0))
@example(0.1, 1.7, 1.0, 2.0)
@example(1.0, 1.0, 0.5, 1.0)  # balanced
@example(-1.0, 0.9, 0.5, 3.0)  # crosses W = 0
@example(0.0, 1.0, 1.0, 0.5)
def test_scalar_flow_from_any_start(first, second, target, time):
    assume(abs(first + second) > 1e-6)
    w1, w2 = two_layers.two_layer_flow(time, first, second, target)
    ends = integrated(lambda t, w: -(w[0] * w[1] - target) * w[::-1], [first, second], time)
    assert np.allclose([w1, w2], ends, rtol=1e-6, atol=1e-7), ([w1, w2], ends)
    assert np.isclose(w2**2 - w1**2, second**2 - first**2, rtol=1e-9, atol=1e-12), (w1, w2)


@pytest.mark.claim("D40", kind="property")
@given(st.floats(1e-12, 1e-3), st.floats(0.5, 2.0))
def test_a_tiny_balanced_start_loses_no_digits(size, target):
    t = np.array([0.5, 1.0, 1.5]) * np.log(1 / size) / target
    w1, w2 = two_layers.two_layer_flow(t, size, size, target)
    strength = size**2 / (size**2 / target + (1 - size**2 / target) * np.exp(-2 * target * t))
    assert np.allclose(w1 * w2, strength, rtol=1e-9), (w1 * w2, strength)


@pytest.mark.claim("D40", "D44", kind="property")
@given(st.floats(-2, 2), st.floats(0.3, 2.0), st.floats(-1, 1), st.floats(0.01, 2))
def test_ratio_squares_and_rate_agree(imbalance, target, strength0, t):
    known = {"imbalance": imbalance, "two_layer_target": target}
    time = {"clock": two_layers.two_layer_clock(t=t, **known),
            "clock_rate": two_layers.two_layer_clock_rate(t=t, **known)}  # fmt: skip
    K = two_layers.two_layer_rate(**known)
    assert np.isclose(time["clock"], 2 / K * np.tanh(K * t / 2), rtol=1e-12), time
    assert np.isclose(time["clock_rate"], 1 / np.cosh(K * t / 2) ** 2, rtol=1e-11), time
    assert K == two_layers.two_layer_local_rate(**known)
    product = two_layers.two_layer_product(strength0=strength0, **known, **time)
    squares = two_layers.two_layer_squares(strength0=strength0, **known, **time)
    assert np.isclose(squares, np.hypot(imbalance, 2 * product), rtol=1e-9, atol=1e-12), (squares, product)
    second0 = np.sqrt((np.hypot(imbalance, 2 * strength0) + imbalance) / 2)
    assume(second0 > 0.1)
    now = two_layers.two_layer_ratio(ratio0=strength0 / second0**2, clock=time["clock"], **known)
    assert np.isclose(now * (squares + imbalance) / 2, product, rtol=1e-7, atol=1e-9), (now, product)


def balanced_start(seed, hidden, inputs, outputs, lam):
    """W_2^T W_2 - W_1 W_1^T = lam I, hidden = the smaller of the widths."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(hidden, inputs)) * 0.6
    values, vectors = np.linalg.eigh(first @ first.T + lam * np.eye(hidden))
    basis = np.linalg.qr(rng.normal(size=(outputs, hidden)))[0]
    return first, basis @ np.diag(np.sqrt(values)) @ vectors.T, rng.normal(size=(outputs, inputs))


@pytest.mark.claim("D41", kind="simulation")
@pytest.mark.parametrize(
    ("hidden", "inputs", "outputs", "lam"), [(4, 4, 4, 0.8), (2, 3, 4, 0.5), (3, 2, 5, 1.0), (3, 5, 3, 0.0)]
)
def test_matrix_flow_of_a_balanced_start(hidden, inputs, outputs, lam):
    first, second, target = balanced_start(3, hidden, inputs, outputs, lam)
    cut = first.size

    def rate(t, w):
        W1, W2 = w[:cut].reshape(first.shape), w[cut:].reshape(second.shape)
        error = target - W2 @ W1
        return np.concatenate([(W2.T @ error).ravel(), (error @ W1.T).ravel()])

    for time in (0.0, 0.7, 3.0):
        end = integrated(rate, np.concatenate([first.ravel(), second.ravel()]), time) if time else None
        W1 = end[:cut].reshape(first.shape) if time else first
        W2 = end[cut:].reshape(second.shape) if time else second
        found = two_layers.factor_flow(time, first, second, target)
        for name, block, wanted in zip(["11", "21", "22"], found, (W1.T @ W1, W2 @ W1, W2 @ W2.T), strict=True):
            gap = np.abs(block - wanted).max()
            assert gap < 1e-8, (name, time, gap)


@pytest.mark.claim("D41", kind="property")
@given(arrays(float, (2, 2), elements=entries), st.floats(0, 30), st.floats(0, 30))
@example(np.zeros((2, 2)), 1.0, 2.0)  # F is singular: its inverse is not needed
@example(np.eye(2), 0.0, 300.0)  # e^(2Ft) would overflow in one step
@example(np.array([[1.5, -1.5], [1.5, 1.5]]), 0.0, 15.0)  # passes a saddle: rounding grows by 1e11
@example(np.array([[0.0, -1.5], [1.5, 0.0]]), 0.0, 20.0)
def test_matrix_flow_is_a_flow(target, t1, t2):
    """Rounding of the state half-way is allowed what moves by 1e-15 there make of the end."""
    first, second, _ = balanced_start(5, 2, 2, 2, 0.0)
    _, product, outer = two_layers.factor_flow(t1 + t2, first, second, target)
    for whole in (product, outer):
        assert np.isfinite(whole).all(), whole
    inner, middle, outer1 = two_layers.factor_flow(t1, first, second, target)
    full = np.block([[inner, middle.T], [middle, outer1]])
    values, vectors = np.linalg.eigh(full)
    root = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))
    assume(values[-2] > 1e-6)
    again = two_layers.factor_flow(t2, root[:2].T, root[2:], target)[1]
    moves = root + 1e-15 * np.random.default_rng(0).standard_normal((4, *root.shape))
    ends = [two_layers.factor_flow(t2, moved[:2].T, moved[2:], target)[1] for moved in moves]
    magnified = np.abs(np.array(ends) - again).max()
    assert np.allclose(again, product, rtol=1e-5, atol=1e-6 + magnified), (again, product, magnified)


def test_an_unbalanced_start_is_refused():
    with pytest.raises(ValueError, match="lam I"):
        two_layers.factor_flow(1.0, np.diag([1.0, 2.0]), np.diag([2.0, 2.0]), np.eye(2))


@pytest.mark.claim("D42", kind="simulation")
@given(arrays(float, 3, elements=st.floats(-2, 2)), st.floats(-2, 2), arrays(float, 3, elements=st.floats(-2, 2)),
       st.floats(0.1, 3), st.floats(0.1, 3))  # fmt: skip
@example(np.array([1.0, 0.0, 0.0]), 1.0, np.array([0.0, 1.0, 0.0]), 1.0, 1.0)
def test_neuron_moves_its_product_by_the_kernel(w, a, gradient, lr_in, lr_out):
    beta = a * w
    assume(np.abs(beta).max() > 1e-3)
    balance = lr_in * a**2 - lr_out * w @ w
    M = two_layers.neuron_kernel(beta, balance, lr_in, lr_out)
    moved = -lr_out * (w @ gradient) * w - a * lr_in * a * gradient
    assert np.allclose(moved, -M @ gradient, rtol=1e-9, atol=1e-9), (moved, -M @ gradient)
