"""Weight decay and dropout on products of layers: norms, thresholds and hysteresis, against searches."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from deep_linear_cases import product_of
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory.predictions import deep_linear
from sdetheory.predictions import low_rank as theory

strengths = st.floats(0.05, 5)
decays = st.floats(0.01, 2)


def nuclear(matrix):
    return np.linalg.svd(matrix, compute_uv=False).sum()


# ---- weight decay


@pytest.mark.claim("D60", kind="property")
@given(st.data())
def test_no_layers_weigh_less_than_the_schatten_norm(data):
    widths = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=5))
    entry = st.floats(-2, 2, width=32)
    layers = [data.draw(arrays(float, (b, a), elements=entry)) for a, b in itertools.pairwise(widths)]
    values = np.linalg.svd(product_of(layers, widths[0]), compute_uv=False)
    values = values[values > 1e-9]
    least = np.sum(theory.least_weight_cost(depth=len(layers), strength=values)) if len(values) else 0.0
    weight = sum(np.sum(layer**2) for layer in layers)
    assert weight >= least * (1 - 1e-9), (weight, least, values)


@pytest.mark.claim("D60", kind="property")
def test_balanced_layers_attain_it_and_a_search_finds_it():
    """A quasi-Newton search over both changes of basis of three layers of width 2."""
    rng = np.random.default_rng(0)
    layers = [rng.standard_normal((2, 2)) for _ in range(3)]
    values = np.linalg.svd(product_of(layers, 2), compute_uv=False)
    wanted = np.sum(theory.least_weight_cost(depth=3, strength=values))

    def weight(g):
        one, two = g.reshape(2, 2, 2)
        moved = one @ layers[0], two @ layers[1] @ np.linalg.inv(one), layers[2] @ np.linalg.inv(two)
        return sum(np.sum(layer**2) for layer in moved)

    found = scipy.optimize.minimize(weight, np.array([np.eye(2)] * 2).ravel(), tol=1e-10)
    assert np.isclose(found.fun, wanted, rtol=1e-6) and weight(np.eye(2)[None].repeat(2, 0)) > 1.05 * wanted, (
        found.fun,
        wanted,
    )


def mode_cost(a, s, decay, depth):
    return 0.5 * (a - s) ** 2 + 0.5 * decay * depth * a ** (2 / depth)


@pytest.mark.claim("D61", kind="property")
@given(strengths, decays, st.integers(2, 6))
@example(1.0, 1.0, 2)
@example(0.3, 1.0, 3)
def test_the_global_minimum_of_a_mode_is_found_on_a_grid(target, decay, depth):
    grid = np.linspace(0, target, 4001)
    costs = mode_cost(grid, target, decay, depth)
    found = float(theory.weight_decay_strengths(target, decay, depth))
    assert mode_cost(found, target, decay, depth) <= costs.min() + 1e-12, (found, grid[costs.argmin()])
    if found:
        rest = theory.stationary_target(strength=found, weight_decay=decay, depth=depth)
        assert np.isclose(rest, target, rtol=1e-9), (rest, target)


@pytest.mark.claim("D61", kind="property")
@given(decays, st.floats(2.2, 8))
@example(1.0, 3.0)
def test_where_the_upper_minimum_ends_and_where_it_stops_being_global(decay, depth):
    rule = {"weight_decay": decay, "depth": depth}
    ends, ends_at = theory.vanishing_target(**rule), theory.vanishing_strength(**rule)
    equal, equal_at = theory.transition_target(**rule), theory.transition_strength(**rule)
    a = np.geomspace(ends_at / 100, ends_at * 100, 20001)
    rests = theory.stationary_target(strength=a, **rule)
    assert np.isclose(rests.min(), ends, rtol=1e-5) and np.isclose(a[rests.argmin()], ends_at, rtol=1e-2), (ends, a)
    assert 1 < equal / ends and ends_at < equal_at, (ends, equal)
    assert np.isclose(mode_cost(equal_at, equal, decay, depth), 0.5 * equal**2, rtol=1e-12), (equal_at, equal)
    assert np.isclose(theory.stationary_target(strength=equal_at, **rule), equal, rtol=1e-12)


@pytest.mark.claim("D61", kind="simulation")
def test_gradient_descent_jumps_and_remembers():
    """Targets swept down and up, three balanced layers: the mode falls at s_*, and zero never leaves."""
    decay, depth = 0.5, 3
    ends = theory.vanishing_target(weight_decay=decay, depth=depth)
    targets = ends * np.array([1.3, 1.1, 1.02, 0.98, 1.02, 1.3])
    w, seen = np.full(depth, 1.0), []
    for s in targets:
        for _ in range(6000):
            product = np.prod(w)
            w = w - 0.02 * ((product - s) * product / w + decay * w)
        seen.append(np.prod(w))
    upper = theory.weight_decay_strengths(targets[:3], decay, depth, branch="upper")
    assert np.allclose(seen[:3], upper, rtol=1e-5), (seen, upper)
    assert np.all(np.abs(seen[3:]) < 1e-6), seen
    assert theory.weight_decay_strengths(targets[2], decay, depth) == 0.0 < upper[2]
    assert upper[2] >= theory.vanishing_strength(weight_decay=decay, depth=depth)


@pytest.mark.claim("D61", kind="property")
@given(strengths, st.floats(0.01, 4))
def test_two_layers_are_the_soft_threshold(target, decay):
    found = float(theory.weight_decay_strengths(target, decay, 2))
    wanted = deep_linear.equilibrium_end_to_end(weight_decay=decay, two_layer_target=target) if decay < target else 0.0
    assert np.isclose(found, wanted, rtol=1e-12, atol=1e-15), (found, wanted)


@pytest.mark.claim("D19", "D61", kind="property")
@given(st.integers(3, 9))
def test_ginsburgs_thresholds_are_these_at_target_one(depth):
    """(W-1)^2 + mu sum w^2 is twice (1/2)(W-1)^2 + (wd/2) sum w^2 at wd = mu."""
    for mu, threshold in (
        (deep_linear.critical_penalty(depth=depth), theory.vanishing_target),
        (deep_linear.coexistence_penalty(depth=depth), theory.transition_target),
    ):
        assert np.isclose(threshold(weight_decay=mu, depth=depth), 1.0, rtol=1e-12), (depth, mu)


# ---- dropout


@st.composite
def hidden_layers(draw):
    """U (o, r), V (i, r), M (o, i), a probability."""
    o, r, i = (draw(st.integers(1, 3)) for _ in range(3))
    entry = st.floats(-2, 2, width=32)
    parts = [draw(arrays(float, shape, elements=entry)) for shape in ((o, r), (i, r), (o, i))]
    return (*parts, draw(st.floats(0.2, 0.9)))


def penalty(U, V):
    return np.sum(np.sum(U**2, axis=0) * np.sum(V**2, axis=0))


@pytest.mark.claim("D59", kind="property")
@given(hidden_layers())
def test_the_mean_over_all_masks(problem):
    U, V, M, keep = problem
    mean = 0.0
    for mask in itertools.product((0, 1), repeat=U.shape[1]):
        chance = np.prod([keep if b else 1 - keep for b in mask])
        mean += chance * np.sum((M - (U * np.array(mask)) @ V.T / keep) ** 2)
    wanted = np.sum((M - U @ V.T) ** 2) + theory.dropout_strength(keep=keep) * penalty(U, V)
    assert np.isclose(mean, wanted, rtol=1e-9), (mean, wanted)


@pytest.mark.claim("D59", kind="property")
@given(hidden_layers())
@example((np.eye(2), np.eye(2), np.eye(2), 0.5))
def test_no_factorisation_costs_less_and_an_equalised_one_attains_it(problem):
    U, V, _, keep = problem
    q, width, product = theory.dropout_strength(keep=keep), U.shape[1], U @ V.T
    least = theory.least_dropout_cost(dropout=q, nuclear=nuclear(product), width=width)
    assert q * penalty(U, V) >= least * (1 - 1e-9) - 1e-12, (penalty(U, V), least)
    size = 1 << (width - 1).bit_length()
    if size == width and min(product.shape) <= width:  # Hadamard rotations equalise
        left, values, right = np.linalg.svd(product, full_matrices=False)
        turn = scipy.linalg.hadamard(width)[: len(values)] / np.sqrt(width)
        one, two = (left * np.sqrt(values)) @ turn, (right.T * np.sqrt(values)) @ turn
        assert np.allclose(one @ two.T, product, atol=1e-9)
        assert np.isclose(q * penalty(one, two), least, rtol=1e-9, atol=1e-12), (penalty(one, two), least)


@pytest.mark.claim("D59", kind="property")
@given(hidden_layers(), st.integers(0, 2**32 - 1))
def test_no_network_beats_the_thresholded_modes(problem, seed):
    """The mean loss of any factors, and of factors near the optimum, is at least that of the formula."""
    U, V, M, keep = problem
    q, width = theory.dropout_strength(keep=keep), U.shape[1]
    values = np.linalg.svd(M, compute_uv=False)
    best = theory.dropout_strengths(values, keep, width)
    assert np.count_nonzero(best) <= width, best
    least = np.sum((values - best) ** 2) + q * best.sum() ** 2 / width
    rng = np.random.default_rng(seed)
    for size in (0.0, 0.1, 1.0):
        one, two = U + size * rng.standard_normal(U.shape), V + size * rng.standard_normal(V.shape)
        cost = np.sum((M - one @ two.T) ** 2) + q * penalty(one, two)
        assert cost >= least * (1 - 1e-9) - 1e-12, (cost, least)


@pytest.mark.claim("D59", kind="property")
@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_search_ends_at_the_thresholded_modes(width):
    """Width 1 and 2 are below the number of modes above the threshold: the count must stop at the width."""
    values, keep = np.array([3.0, 2.0, 1.9]), 0.7
    q, rng = theory.dropout_strength(keep=keep), np.random.default_rng(1)
    best = theory.dropout_strengths(values, keep, width)

    def cost(p):
        U, V = p[: 3 * width].reshape(3, width), p[3 * width :].reshape(3, width)
        return np.sum((np.diag(values) - U @ V.T) ** 2) + q * penalty(U, V)

    runs = (scipy.optimize.minimize(cost, rng.standard_normal(6 * width), tol=1e-10) for _ in range(6))
    found = min(runs, key=lambda run: run.fun)
    least = np.sum((values - best) ** 2) + q * best.sum() ** 2 / width
    assert np.isclose(found.fun, least, rtol=1e-6), (found.fun, least)
    assert np.count_nonzero(best) == min(width, 3), best


@pytest.mark.claim("D59", kind="property")
def test_the_example_of_the_sheet():
    best = theory.dropout_strengths([3, 2, 0.5], 0.7, 3)
    assert np.allclose(best, [2.4444, 1.4444, 0], atol=1e-4), best


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        theory.weight_decay_strengths([-1.0], 0.1, 2)
    with pytest.raises(ValueError, match="`branch` must be"):
        theory.weight_decay_strengths([1.0], 0.1, 3, branch="lower")
    with pytest.raises(ValueError, match="must be a list of singular values"):
        theory.dropout_strengths([[1.0]], 0.5, 2)
