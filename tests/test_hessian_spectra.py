"""Spectra without the Hessian: products, Lanczos, Kronecker formula and traces, against the dense Hessian."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sdetheory import observables
from sdetheory.models.deep_linear import PseudoHuber, Square, deep_linear, deep_linear_from_data, scalar_chain
from sdetheory.models.weights import gaussian_weights
from sdetheory.predictions import flat_factors
from sdetheory.statistics import equivalent
from tests.deep_linear_cases import arrays, close, gradient_by_hand, layers_of, product_of

WIDTHS = (2, 3, 1, 2)
LOSSES = {"square": Square(), "huber": PseudoHuber()}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@each_loss
@given(w=arrays(11), v=arrays(11), inputs=arrays(2, 3), targets=arrays(2, 3))
@example(w=np.zeros(11), v=np.ones(11), inputs=np.ones((2, 3)), targets=np.ones((2, 3)))
def test_products_and_trace_are_those_of_the_dense_hessian(loss, w, v, inputs, targets):
    model = deep_linear_from_data(inputs, targets, WIDTHS, loss)
    dense = observables.hessian(model, w)
    size = np.abs(dense).max() * 11
    close(observables.hessian_product(model, w, v), dense @ v, scale=size * np.abs(v).max())
    close(observables.hessian_trace(model, w), np.trace(dense), scale=size)
    both = observables.hessian_product(model, np.stack([w, -w]), v)
    close(both[0], dense @ v, scale=size * np.abs(v).max())
    assert both.shape == (2, 11)


@each_loss
@pytest.mark.parametrize("count", [1, 3])
def test_lanczos_finds_the_ends_of_the_dense_spectrum(loss, count):
    rng, widths = np.random.default_rng(count), (4, 6, 5, 3)
    model = deep_linear_from_data(rng.standard_normal((4, 9)), rng.standard_normal((3, 9)), widths, loss)
    w = gaussian_weights(widths, rng, paths=3)
    dense = np.linalg.eigvalsh(observables.hessian(model, w))[:, ::-1]
    size = np.abs(dense).max()
    close(observables.hessian_eigenvalues(model, w, count), dense[:, :count], tolerance=1e-9, scale=size)
    close(observables.hessian_eigenvalues(model, w, count, "smallest"), dense[:, -count:], tolerance=1e-9, scale=size)
    close(observables.hessian_eigenvalues(model, w)[:, 0], observables.sharpness(model, w), tolerance=1e-9, scale=size)


def test_lanczos_where_no_dense_hessian_fits():
    """40 x 40 x 40, 3200 weights, at a fit: the spectral norms give the sharpness (D47)."""
    rng, widths = np.random.default_rng(0), (40, 40, 40)
    w = gaussian_weights(widths, rng)
    first, second = layers_of(w, widths)
    sharpness = np.linalg.norm(first, 2) ** 2 + np.linalg.norm(second, 2) ** 2
    model = deep_linear(widths, second @ first)
    close(observables.hessian_eigenvalues(model, w)[0], sharpness, tolerance=1e-9, scale=sharpness)
    close(observables.hessian_trace(model, w), 40 * np.sum(w**2), tolerance=1e-12, scale=40 * np.sum(w**2))


@pytest.mark.claim("D47", kind="property")
@given(arrays(11), arrays(2, 4))
def test_kronecker_formula_at_a_fit(w, inputs):
    """Target form against the formula of the predictions; data form, both losses, against the dense Hessian."""
    layers = layers_of(w, WIDTHS)
    product = product_of(layers, 2)
    found = observables.kernel_spectrum(deep_linear(WIDTHS, product), w)
    close(found, flat_factors.hessian_spectrum(layers), scale=10 * found[0])
    for loss in LOSSES.values():
        model = deep_linear_from_data(inputs, product @ inputs, WIDTHS, loss)
        dense = np.linalg.eigvalsh(observables.hessian(model, w))[::-1]
        spectrum = observables.kernel_spectrum(model, w)
        shared = spectrum.size
        close(spectrum[:shared], dense[:shared], scale=100 * max(dense[0], 1))
        close(dense[shared:], 0.0, scale=100 * max(dense[0], 1))


@pytest.mark.claim("D47", kind="property")
@given(arrays(2, 2), arrays(2, 6), arrays(2, 6))
def test_kronecker_formula_needs_no_fit_but_a_zero_slope_in_the_product(first, inputs, targets):
    """Least squares with a residual: dl/dW = 0 is enough; away from it the formula is refused."""
    gram = inputs @ inputs.T
    assume(np.linalg.eigvalsh(gram)[0] > 1e-2 and abs(np.linalg.det(first)) > 0.1)
    best = np.linalg.solve(gram, inputs @ targets.T).T
    layers = [first, best @ np.linalg.inv(first)]
    w = np.concatenate([m.reshape(-1) for m in layers])
    model = deep_linear_from_data(inputs, targets, (2, 2, 2))
    dense = np.linalg.eigvalsh(observables.hessian(model, w))[::-1]
    close(observables.kernel_spectrum(model, w)[:4], dense[:4], tolerance=1e-10, scale=100 * dense[0])
    with pytest.raises(ValueError, match="`w` must have dl/dW = 0"):
        observables.kernel_spectrum(model, w + np.array([0.1, *np.zeros(7)]) + 0.05)


def test_random_signs_estimate_the_trace():
    """2000 probes in each of 40 states that are the same: the errors are as large as stated."""
    rng, widths = np.random.default_rng(5), (3, 4, 2)
    model = deep_linear(widths, np.ones((2, 3)))
    w = gaussian_weights(widths, rng)
    mean, error = observables.hessian_trace_estimate(model, np.tile(w, (40, 1)), rng, probes=2000)
    exact = observables.hessian_trace(model, w)
    outcome = equivalent(mean, exact, margin=0.05 * exact)
    assert outcome, outcome
    assert 0.7 < np.std(mean, ddof=1) / error.mean() < 1.35, (np.std(mean, ddof=1), error.mean())


@given(arrays(11), st.floats(0.1, 2))
def test_gradient_is_that_by_hand(w, size):
    inputs, targets = size * np.eye(2), np.array([[1.0, 0.5], [-0.3, 0.2]])
    found = observables.spectra.gradient(deep_linear_from_data(inputs, targets, WIDTHS), w)
    close(found, gradient_by_hand(w, WIDTHS, inputs, targets, lambda r: r, 0.5), scale=np.abs(found).max())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, w: observables.hessian_eigenvalues(m, w, 3), "`count` must be at most the number of weights, 2"),
        (lambda m, w: observables.hessian_eigenvalues(m, w, 1, "larges"), "did you mean 'largest'"),
        (lambda m, w: observables.hessian_eigenvalues(m, w, tolerance=0.0), "`tolerance` must be positive"),
        (lambda m, w: observables.hessian_product(m, np.ones(3), np.ones(3)), "`w` must have 2 weights"),
        (lambda m, w: observables.hessian_product(m, w, np.ones(3)), r"`direction` must have 2 weights.*shape \(3,\)"),
        (lambda m, w: observables.kernel_spectrum(m, np.nan * w), "`w` must have dl/dW = 0.*: slope nan"),
        (lambda m, w: observables.hessian_trace_estimate(m, w, np.random.default_rng(0), 1), "`probes` must be"),
        (lambda m, w: observables.hessian_trace(m._replace(residual_loss=1.0), w), "must have the square"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(scalar_chain(2), np.ones(2))


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_a_path_that_diverged_has_no_sharpness_and_the_others_keep_theirs(lost):
    model, states = deep_linear(WIDTHS, np.eye(2)), gaussian_weights(WIDTHS, np.random.default_rng(0))
    pair = np.stack([states, np.full_like(states, lost)])
    for values in (observables.sharpness(model, pair), observables.hessian_eigenvalues(model, pair)[:, 0]):
        assert np.isclose(values[0], observables.sharpness(model, states), rtol=1e-9) and np.isnan(values[1]), values
