"""Flat factorisations: the Kronecker spectrum, the flattest and the least trace, against Hessians and searches."""

import itertools

import numpy as np
import pytest
import scipy.optimize
from deep_linear_cases import product_of
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory import observables
from sdetheory.models.deep_linear import deep_linear
from sdetheory.predictions import flat_factors as theory


@st.composite
def networks(draw):
    """Layers W_1, ..., W_N of widths 1 to 3."""
    widths = draw(st.lists(st.integers(1, 3), min_size=2, max_size=5))
    entry = st.floats(-2, 2, width=32)
    return [draw(arrays(float, (b, a), elements=entry)) for a, b in itertools.pairwise(widths)]


def largest_strength(layers):
    return np.linalg.svd(product_of(layers, layers[0].shape[1]), compute_uv=False)[0]


@pytest.mark.claim("D47", kind="property")
@given(networks())
@example([np.eye(2), np.zeros((2, 2))])
def test_the_spectrum_of_the_hessian_at_a_fit(layers):
    widths = [layers[0].shape[1], *(layer.shape[0] for layer in layers)]
    weights = np.concatenate([layer.ravel() for layer in layers])
    hessian = observables.hessian(deep_linear(widths, product_of(layers, widths[0])), weights)
    direct, formula = np.linalg.eigvalsh(hessian)[::-1], theory.hessian_spectrum(layers)
    size = max(len(direct), len(formula))
    padded = [np.sort(np.pad(values, (0, size - len(values)))) for values in (direct, formula)]
    assert np.allclose(*padded, atol=1e-9 * (1 + direct[0])), padded


@pytest.mark.claim("D47", "D49", kind="property")
@given(networks())
def test_every_factorisation_is_sharper_than_the_flattest(layers):
    sharpness, strength = theory.hessian_spectrum(layers)[0], largest_strength(layers)
    if strength < 1e-6:
        return
    bound = theory.flattest_matrix_sharpness(depth=len(layers), strength=strength)
    assert sharpness >= bound * (1 - 1e-9), (sharpness, bound)
    if len(layers) == 2:
        norms = [np.linalg.norm(layer, 2) for layer in layers]
        two = theory.two_matrix_sharpness(lower_norm=norms[0], upper_norm=norms[1])
        assert np.isclose(sharpness, two, rtol=1e-10), (sharpness, two)


@pytest.mark.claim("D49", kind="property")
@given(arrays(float, (3, 2), elements=st.floats(-2, 2, width=32)), st.integers(1, 5))
@example(np.eye(3, 2), 3)
def test_balanced_factors_are_flattest(product, depth):
    left, strengths, right = np.linalg.svd(product, full_matrices=False)
    if strengths[0] < 1e-6:
        return
    root = np.diag(strengths ** (1 / depth))
    layers = [product] if depth == 1 else [root @ right, *([root] * (depth - 2)), left @ root]
    found = theory.hessian_spectrum(layers)[0]
    wanted = theory.flattest_matrix_sharpness(depth=depth, strength=strengths[0])
    assert np.isclose(found, wanted, rtol=1e-9), (found, wanted)


@pytest.mark.claim("D48", kind="property")
def test_flat_minima_that_are_not_balanced():
    """The point of the claim, a family around it, and one mode, where flat and balanced are the same."""
    for small in (0.25, 0.5, 1.0, 2.0):
        layers = [np.diag([2.0, small]), np.diag([2.0, 1 / small])]
        gap = np.sum(layers[1] ** 2) - np.sum(layers[0] ** 2)
        flattest = theory.flattest_matrix_sharpness(depth=2, strength=largest_strength(layers))
        sharpness = theory.hessian_spectrum(layers)[0]
        assert np.isclose(sharpness, flattest) == (0.5 <= small <= 2.0), (small, sharpness, flattest)
        assert (abs(gap) < 1e-12) == (small == 1.0), (small, gap)
    exact = [np.diag([2.0, 0.5]), np.diag([2.0, 2.0])]
    assert np.isclose(theory.hessian_spectrum(exact)[0], 8.0) and np.sum(exact[1] ** 2) - np.sum(exact[0] ** 2) == 3.75


@st.composite
def regressions(draw):
    """Two layers, and the covariance of inputs."""
    n, h, m = (draw(st.integers(1, 3)) for _ in range(3))
    entry = st.floats(-2, 2, width=32)
    root = draw(arrays(float, (n, n), elements=entry))
    first, second = draw(arrays(float, (h, n), elements=entry)), draw(arrays(float, (m, h), elements=entry))
    return first, second, root @ root.T + 0.1 * np.eye(n)


def trace_of(first, second, covariance):
    return theory.hessian_trace(
        input_trace=np.trace(covariance), outputs=second.shape[0], upper_square=np.sum(second**2),
        lower_square=np.trace(first @ covariance @ first.T),
    )  # fmt: skip


def least(target, covariance):
    values, vectors = np.linalg.eigh(covariance)
    nuclear = np.linalg.svd(target @ (vectors * np.sqrt(values)) @ vectors.T, compute_uv=False).sum()
    return theory.least_hessian_trace(outputs=target.shape[0], input_trace=np.trace(covariance), nuclear=nuclear)


@pytest.mark.claim("D56", kind="property")
@given(regressions())
@example((np.zeros((1, 2)), np.zeros((2, 1)), np.eye(2)))
def test_no_factorisation_has_a_smaller_trace(problem):
    first, second, covariance = problem
    target = second @ first
    bound = least(target, covariance)
    assert trace_of(first, second, covariance) >= bound * (1 - 1e-9) - 1e-12, (first, second, bound)
    one, two = theory.label_noise_factors(target, covariance)
    assert np.allclose(two @ one, target, atol=1e-9), (one, two)
    assert np.isclose(trace_of(one, two, covariance), bound, rtol=1e-9, atol=1e-12), (one, two, bound)
    balance = second.shape[0] * one @ covariance @ one.T - np.trace(covariance) * two.T @ two
    assert np.allclose(balance, 0, atol=1e-9 * (1 + bound)), balance


@pytest.mark.claim("D56", kind="property")
def test_the_trace_is_the_hessians_and_a_search_finds_its_minimum():
    """The Hessian of the data form; a quasi-Newton search over all G of W_2 G^-1, G W_1 ends at the minimum."""
    rng = np.random.default_rng(3)
    first, second = rng.standard_normal((2, 3)), rng.standard_normal((4, 2))
    root = rng.standard_normal((3, 3))
    covariance = root @ root.T
    step, total = 1e-4, 0.0
    weights = np.concatenate([first.ravel(), second.ravel()])

    def loss(w):
        error = (w[6:].reshape(4, 2) @ w[:6].reshape(2, 3) - second @ first) @ root
        return 0.5 * np.sum(error**2)

    for direction in np.eye(len(weights)):
        total += (loss(weights + step * direction) + loss(weights - step * direction)) / step**2
    assert np.isclose(total, trace_of(first, second, covariance), rtol=1e-6), total

    def trace_at(g):
        change = g.reshape(2, 2)
        return trace_of(change @ first, second @ np.linalg.inv(change), covariance)

    found = scipy.optimize.minimize(trace_at, np.eye(2).ravel(), tol=1e-12).fun
    wanted = least(second @ first, covariance)
    assert np.isclose(found, wanted, rtol=1e-7), (found, wanted)
    assert trace_at(np.eye(2)) > 1.05 * wanted


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="`layers` must multiply"):
        theory.hessian_spectrum([np.eye(2), np.eye(3)])
    with pytest.raises(ValueError, match="one row per input"):
        theory.label_noise_factors(np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="must be positive definite"):
        theory.label_noise_factors(np.eye(2), np.diag([1.0, 0.0]))
