"""Functions of states: curvature against differences, imbalance and sharpness against the theory of flat
minima."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import brentq

from sdetheory import observables
from sdetheory.models.deep_linear import PseudoHuber, Square, deep_linear, deep_linear_from_data, scalar_chain
from sdetheory.models.weights import balanced_weights, pack
from sdetheory.predictions import deep_linear as predictions
from tests.deep_linear_cases import SLOPE, arrays, close, gradient_by_hand, layers_of, product_of

WIDTHS = (2, 3, 1, 2)
away = st.floats(0.4, 2.5) | st.floats(-2.5, -0.4)


@pytest.mark.parametrize("name", ["square", "huber"])
@given(w=arrays(11), inputs=arrays(2, 3), targets=arrays(2, 3))
@example(w=np.zeros(11), inputs=np.ones((2, 3)), targets=np.ones((2, 3)))
def test_hessian_is_the_derivative_of_the_gradient(name, w, inputs, targets):
    """Complex steps on the gradient by hand: no cancellation, so rounding is all that is left."""
    model = deep_linear_from_data(inputs, targets, WIDTHS, {"square": Square(), "huber": PseudoHuber()}[name])
    found = observables.hessian(model, w)
    rows = [
        gradient_by_hand(w + 1e-30j * e, WIDTHS, inputs, targets, SLOPE[name], 1 / 3).imag / 1e-30
        for e in np.eye(11)
    ]
    close(found, np.array(rows), scale=1e3)
    assert np.abs(found - found.T).max() <= 1e-12 * max(1, np.abs(found).max())


def test_leading_axes_are_kept():
    w = np.random.default_rng(0).standard_normal((3, 2, 11))
    model = deep_linear(WIDTHS, np.eye(2))
    assert observables.hessian(model, w).shape == (3, 2, 11, 11)
    assert observables.sharpness(model, w).shape == (3, 2)
    assert observables.end_to_end(w, WIDTHS).shape == (3, 2, 2, 2)
    assert [d.shape for d in observables.matrix_imbalance(w, WIDTHS)] == [(3, 2, 3, 3), (3, 2, 1, 1)]
    assert observables.frobenius_imbalance(w, WIDTHS).shape == (3, 2, 2)
    for function in (
        observables.norm,
        observables.squared_norm,
        observables.chain_product,
        observables.inverse_square_sum,
    ):
        assert function(w).shape == (3, 2)
    for i in (0, 2):
        single = observables.sharpness(model, w[i, 1])
        close(observables.sharpness(model, w)[i, 1], single, tolerance=1e-12, scale=single)
        close(
            observables.end_to_end(w, WIDTHS)[i, 1],
            product_of(layers_of(w[i, 1], WIDTHS), 2),
            tolerance=1e-13,
        )


@given(arrays(11))
def test_imbalances_are_traces_and_norms_of_each_other(w):
    layers = layers_of(w, WIDTHS)
    squares = np.array([np.sum(m**2) for m in layers])
    close(observables.frobenius_imbalance(w, WIDTHS), np.diff(squares), tolerance=1e-13, scale=squares.max())
    close(
        observables.layer_imbalance(w, WIDTHS),
        squares.max() - squares.min(),
        tolerance=1e-13,
        scale=squares.max(),
    )
    matrices = [layers[j + 1].T @ layers[j + 1] - layers[j] @ layers[j].T for j in range(2)]
    close(
        observables.imbalance_norm(w, WIDTHS),
        max(np.linalg.norm(m) for m in matrices),
        tolerance=1e-12,
        scale=50,
    )
    assert observables.imbalance_norm(w[:6], (2, 3)) == 0.0
    close(observables.norm(w), np.linalg.norm(w), tolerance=1e-13, scale=10)


@given(arrays(3).filter(lambda w: np.abs(w).max() > 0.1), st.floats(0.01, 10))
def test_effective_lr_is_lr_over_squared_norm(w, lr):
    close(observables.effective_lr(w, lr) * (w @ w), lr, tolerance=1e-13, scale=lr)


def test_mode_strengths_are_singular_values_or_projections():
    rng = np.random.default_rng(3)
    target = rng.standard_normal((2, 3))
    left, _values, right = np.linalg.svd(target, full_matrices=False)
    w = balanced_weights((3, 4, 2), left * [1.5, 0.25] @ right, rng)
    close(observables.mode_strengths(w, (3, 4, 2)), [1.5, 0.25], tolerance=1e-13)
    close(observables.mode_strengths(w, (3, 4, 2), -target), [-1.5, -0.25], tolerance=1e-13)


# ---- scalar chains


@pytest.mark.claim("D2", kind="property")
@given(st.lists(away, min_size=2, max_size=5).map(np.array))
def test_scalar_hessian_is_ginsburgs(w):
    """H_ii = 2 W^2/w_i^2, H_ij = 2 W (2 W - 1)/(w_i w_j)."""
    product = w.prod()
    expected = 2 * product * (2 * product - 1) / np.outer(w, w)
    np.fill_diagonal(expected, 2 * product**2 / w**2)
    close(observables.hessian(scalar_chain(w.size), w), expected, scale=np.abs(expected).max())


@pytest.mark.claim("D3", kind="property")
@given(st.lists(away, min_size=1, max_size=4))
@example([1.0])
def test_sharpness_at_a_minimum_is_twice_the_inverse_squares(free):
    """At W = 1: lambda_max = tr H = 2 S >= 2 d, with equality only at |w_i| = 1."""
    w = np.array([*free, 1 / np.prod(free)])
    eigenvalues = np.linalg.eigvalsh(observables.hessian(scalar_chain(w.size), w))
    predicted = predictions.sharpness_at_minimum(
        target=1.0, inverse_squares=observables.inverse_square_sum(w)
    )
    close(eigenvalues[-1], predicted, scale=predicted)
    close(eigenvalues[:-1], 0.0, scale=predicted)
    assert predicted >= predictions.flattest_sharpness(depth=w.size) * (1 - 1e-14)


@pytest.mark.claim("D4", kind="property")
@given(away, st.floats(0.1, 3))
def test_two_layer_sharpness_is_a_function_of_the_imbalance(first, target):
    w = np.array([first, target / first])
    imbalance = observables.chain_imbalance(w)[0, 1]
    predicted = predictions.sharpness_two_layers(imbalance=imbalance, two_layer_target=target)
    close(observables.sharpness(scalar_chain(2, target), w), predicted, scale=predicted)


def minimum_with(differences):
    """The point of W = 1 whose squares are m + differences: where gradient flow with these imbalances
    ends."""
    differences = np.asarray(differences) - np.min(differences)
    least = brentq(lambda log: np.sum(np.log(np.exp(log) + differences)), -60, 1, xtol=1e-14)
    return np.sqrt(np.exp(least) + differences)


@pytest.mark.claim("D5", kind="simulation")
def test_imbalance_alone_does_not_order_sharpness_of_three_layers():
    """Sheet 1.2: D = 1 with 2S = 7.0251, D = 1.2 with 2S = 6.5855, D = 1 with 6.4386."""
    patterns = {(0, 1, 1): (1.0, 7.0251), (0, 0, 1.2): (1.2, 6.5855), (0, 0, 1): (1.0, 6.4386)}
    for pattern, (imbalance, sharpness) in patterns.items():
        w = minimum_with(pattern)
        close(w.prod(), 1.0, tolerance=1e-12)
        close(observables.layer_imbalance(w, (1, 1, 1, 1)), imbalance, tolerance=1e-12)
        close(observables.sharpness(scalar_chain(3), w), sharpness, tolerance=6e-5)


@pytest.mark.claim("D6", kind="property")
@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), min_size=1, max_size=5))
@example([(1.0, 0.0)])
def test_shrinking_every_gap_flattens_the_minimum(gaps):
    """Sorted differences whose gaps all shrink weakly: S at W = 1 does not grow."""
    wide = np.cumsum([0.0] + [gap for gap, _ in gaps])
    narrow = np.cumsum([0.0] + [gap * kept for gap, kept in gaps])
    before, after = (observables.inverse_square_sum(minimum_with(z)) for z in (wide, narrow))
    assert after <= before * (1 + 1e-9), f"S grew from {before} to {after}"


# ---- flat minima of matrix networks (theory sheet 2.5)


@pytest.mark.claim("D47", kind="property")
@given(arrays(18))
def test_spectrum_at_a_minimum_is_that_of_the_kernel(w):
    """Non-zero spectrum of H = spectrum of sum_i A_i A_i^T kron B_i^T B_i; two layers: ||W_1||^2 +
    ||W_2||^2."""
    w = np.resize(w, 2 * 3 + 3 * 3 + 3 * 2)
    widths = (2, 3, 3, 2)
    layers = layers_of(w, widths)
    found = np.linalg.eigvalsh(observables.hessian(deep_linear(widths, product_of(layers, 2)), w))
    above = [layers[2] @ layers[1], layers[2], np.eye(2)]
    below = [np.eye(2), layers[0], layers[1] @ layers[0]]
    kernel = sum(np.kron(a @ a.T, b.T @ b) for a, b in zip(above, below, strict=True))
    expected = np.concatenate([np.zeros(w.size - 4), np.linalg.eigvalsh(kernel)])
    close(found, np.sort(expected), scale=np.abs(kernel).max() * 10)
    two = pack(layers[:2])
    flat = observables.sharpness(deep_linear(widths[:3], layers[1] @ layers[0]), two)
    close(flat, sum(np.linalg.norm(m, 2) ** 2 for m in layers[:2]), scale=flat * 10)


@pytest.mark.claim("D48", kind="simulation")
def test_flattest_minimum_need_not_be_balanced():
    """W_2 = diag(2, 2), W_1 = diag(2, 1/2): lambda_max = 8 = 2 sigma_1, Frobenius imbalance 3.75."""
    w = pack([np.diag([2.0, 0.5]), np.diag([2.0, 2.0])])
    close(observables.sharpness(deep_linear((2, 2, 2), np.diag([4.0, 1.0])), w), 8.0, tolerance=1e-13)
    close(observables.frobenius_imbalance(w, (2, 2, 2)), 3.75, tolerance=1e-14)


@pytest.mark.claim("D49", kind="property")
@given(
    hnp.arrays(np.float64, (2, 2), elements=st.floats(-2, 2, width=32)), st.integers(2, 4), st.floats(0.5, 2)
)
def test_balanced_factors_are_flattest(matrix, depth, factor):
    """Sharpness L sigma_1^(2 - 2/L) at balanced factors; rescaling two layers against each other never lowers
    it."""
    largest = np.linalg.norm(matrix, 2)
    assume(largest > 0.1)
    widths = (2,) * (depth + 1)
    w = balanced_weights(widths, matrix, np.random.default_rng(0))
    model, flattest = deep_linear(widths, matrix), depth * largest ** (2 - 2 / depth)
    close(observables.sharpness(model, w), flattest, scale=flattest)
    layers = layers_of(w, widths)
    moved = pack([layers[0] * factor, layers[1] / factor, *layers[2:]])
    assert observables.sharpness(model, moved) >= flattest * (1 - 1e-11)


# ---- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: observables.end_to_end(np.ones(5), (2, 3)), "`w` must have 6 weights"),
        (
            lambda: observables.mode_strengths(np.ones(6), (2, 3), np.ones((2, 3))),
            r"`target` must have shape \(3, 2\)",
        ),
        (
            lambda: observables.hessian(scalar_chain(2)._replace(residual_loss=1.0), np.ones(2)),
            "`model` must have the square",
        ),
    ],
)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
