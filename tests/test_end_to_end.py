"""Balanced layers: the end to end rule, singular values and the decay of the loss, against the layers
themselves.
"""

import numpy as np
import pytest
from deep_linear_cases import gradient_by_hand, layers_of, product_of
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory.predictions import end_to_end as theory

SHAPES = st.sampled_from([(1, 1), (2, 2), (3, 2), (2, 4), (3, 3)])


@st.composite
def problems(draw, shapes=SHAPES):
    """W, a target of the same shape, and a depth."""
    shape = draw(shapes)
    entries = arrays(float, shape, elements=st.floats(-2, 2, width=32))
    return draw(entries), draw(entries), draw(st.integers(1, 5))


def balanced(product, depth):
    """Flat weights and widths of exactly balanced layers with this product, hidden width min(shape)."""
    left, strengths, right = np.linalg.svd(product, full_matrices=False)
    if depth == 1:
        return product.ravel(), (product.shape[1], product.shape[0])
    root = np.diag(strengths ** (1 / depth))
    layers = [root @ right, *([root] * (depth - 2)), left @ root]
    widths = (product.shape[1], *([len(strengths)] * (depth - 1)), product.shape[0])
    return np.concatenate([layer.ravel() for layer in layers]), widths


def product_rate(w, widths, error):
    """dW/dt by Leibniz from the gradients of the layers, error = dl/dW."""
    eye = np.eye(widths[0])
    target = product_of(layers_of(w, widths), widths[0]) - error
    rates = layers_of(-gradient_by_hand(w, widths, eye, target, lambda r: r, 1.0), widths)
    layers = layers_of(w, widths)
    return sum(
        product_of(layers[j + 1 :], widths[j + 1]) @ rates[j] @ product_of(layers[:j], widths[0])
        for j in range(len(layers))
    )


@pytest.mark.claim("D33", kind="property")
@given(problems())
@example((np.zeros((2, 2)), np.eye(2), 3))
@example((np.diag([2.0, 0.0]), np.ones((2, 2)), 4))
def test_the_end_to_end_rule_is_the_flow_of_the_layers(problem):
    product, target, depth = problem
    error = product - target
    direct = product_rate(*balanced(product, depth), error)
    ruled = theory.end_to_end_rate(product, error, depth)
    scale = 1 + np.abs(direct).max()
    assert np.allclose(ruled, direct, atol=1e-10 * scale), (ruled, direct)


@pytest.mark.claim("D33", "D34", kind="property")
@given(problems(st.sampled_from([(2, 2), (3, 3)])))
def test_modes_move_at_their_speed(problem):
    """u_r^T (dW/dt) v_s is -speed <dl/dW, u_r v_s^T>; on the diagonal the speed is that of sigma_r."""
    product, target, depth = problem
    left, strengths, right = np.linalg.svd(product)
    if strengths[-1] < 1e-3 or np.ptp(strengths) < 1e-3:
        return
    slopes = left.T @ (product - target) @ right.T
    moved = left.T @ product_rate(*balanced(product, depth), product - target) @ right.T
    wanted = -theory.end_to_end_speed(depth=depth, strength=strengths[0], other_strength=strengths[-1]) * slopes[0, -1]
    assert np.isclose(moved[0, -1], wanted, rtol=1e-8, atol=1e-10), (moved, wanted)
    rates = theory.singular_value_rate(depth=depth, strength=strengths, mode_slope=np.diag(slopes))
    assert np.allclose(np.diag(moved), rates, rtol=1e-8, atol=1e-10), (moved, rates)
    speeds = theory.singular_value_speed(depth=depth, strength=strengths)
    assert np.allclose(rates, -speeds * np.diag(slopes), rtol=1e-12), (rates, speeds)


@pytest.mark.claim("D34", kind="property")
@given(problems(st.just((3, 3))))
def test_singular_values_of_the_next_moment(problem):
    """A central difference of the singular values along dW/dt."""
    product, target, depth = problem
    left, strengths, right = np.linalg.svd(product)
    if np.min(np.abs(np.diff(strengths, append=0.0))) < 0.05:
        return
    rate = theory.end_to_end_rate(product, product - target, depth)
    step = 1e-6 / (1 + np.abs(rate).max())
    ahead, behind = (np.linalg.svd(product + s * step * rate, compute_uv=False) for s in (1, -1))
    slopes = np.diag(left.T @ (product - target) @ right.T)
    wanted = theory.singular_value_rate(depth=depth, strength=strengths, mode_slope=slopes)
    scale = 1 + np.abs(rate).max()
    assert np.allclose((ahead - behind) / (2 * step), wanted, atol=1e-6 * scale), (ahead, behind, wanted)


@pytest.mark.claim("D35", kind="property")
@given(problems())
@example((np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]]), 2))
def test_the_loss_falls_at_least_at_the_bound(problem):
    product, target, depth = problem
    error, strengths = product - target, np.linalg.svd(product, compute_uv=False)
    loss = 0.5 * np.sum(error**2)
    if strengths[-1] < 1e-6 or loss < 1e-12:
        return
    falls = -np.sum(error * product_rate(*balanced(product, depth), error))
    square = product.shape[0] == product.shape[1]
    bound = theory.loss_decay_rate if square else theory.loss_decay_rate_any_shape
    assert falls >= bound(depth=depth, smallest=strengths[-1]) * loss * (1 - 1e-9), (falls, loss, strengths)


@pytest.mark.claim("D35", kind="property")
def test_the_factor_of_square_matrices_is_wrong_for_others():
    """W = (1 0), error (0 1): only the top layer's share moves it, and the loss falls N times slower."""
    product, error = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    for depth in (2, 3, 5):
        falls = -np.sum(error * product_rate(*balanced(product, depth), error))
        any_shape = theory.loss_decay_rate_any_shape(depth=depth, smallest=1.0)
        assert np.isclose(falls, any_shape * 0.5, rtol=1e-12), (falls, any_shape)
        assert falls < theory.loss_decay_rate(depth=depth, smallest=1.0) * 0.5, falls


def test_wrong_shapes_and_depths_are_refused():
    with pytest.raises(ValueError, match="`gradient` must have the shape of `product`"):
        theory.end_to_end_rate(np.eye(2), np.eye(3), 2)
    with pytest.raises(ValueError, match="`depth` must be at least 1: depth=0"):
        theory.end_to_end_rate(np.eye(2), np.eye(2), 0)
