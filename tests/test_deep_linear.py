"""Deep linear networks: gradients, losses and noises against numpy, and the exact identities of every
step."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numba import njit

import sdetheory
from sdetheory import evaluate
from sdetheory.lanes.random import increments
from sdetheory.lanes.vector import float_rows, lane_array
from sdetheory.lanes.verbs import disturb, workspace
from sdetheory.models.deep_linear import PseudoHuber, Square, deep_linear, deep_linear_from_data, scalar_chain
from sdetheory.models.deep_linear_noise import input_noise, label_noise, multiplicative_input_noise
from sdetheory.models.weights import balanced_weights, gaussian_weights, pack, unpack
from sdetheory.observables import chain_imbalance, frobenius_imbalance, inverse_square_sum, matrix_imbalance
from sdetheory.predictions import deep_linear as predictions
from sdetheory.statistics import equivalent
from tests.deep_linear_cases import PENALTY, SLOPE, gradient_by_hand, layers_of, loss_by_hand

WIDTHS = (3, 4, 2, 3)
LOSSES = {"square": Square(), "huber": PseudoHuber()}
entries = st.floats(-2, 2, allow_subnormal=False, width=32)


def arrays(*shape):
    return hnp.arrays(np.float64, shape, elements=entries)


@st.composite
def problems(draw):
    """(widths, w, inputs or None, targets, name of the loss): any depth up to 4, any widths up to 6."""
    widths = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple))
    samples = draw(st.integers(1, 5))
    inputs = draw(st.none() | arrays(widths[0], samples))
    columns = widths[0] if inputs is None else samples
    d = int(np.dot(widths[1:], widths[:-1]))
    return (
        widths,
        draw(arrays(d)),
        inputs,
        draw(arrays(widths[-1], columns)),
        draw(st.sampled_from(sorted(LOSSES))),
    )


def build(widths, inputs, targets, loss):
    """The model, and what the reference needs: inputs and scale."""
    if inputs is None:
        return deep_linear(widths, targets, LOSSES[loss]), np.eye(widths[0]), 1.0
    return deep_linear_from_data(inputs, targets, widths, LOSSES[loss]), inputs, 1 / inputs.shape[1]


def close(found, expected, scale=1.0, tolerance=1e-11):
    """|found - expected| <= tolerance max(1, scale), entry by entry."""
    gaps = np.abs(np.asarray(found) - expected)
    error = gaps.max(initial=0.0)
    with np.printoptions(threshold=12, edgeitems=2):
        said = (
            f"{found} against {expected}: error {error:.3g} at {np.unravel_index(gaps.argmax(), gaps.shape)}"
        )
    assert error <= tolerance * max(1.0, scale), said


@given(problems())
@example(((1, 1), np.array([0.5]), None, np.array([[2.0]]), "square"))
@example(((2, 3), np.arange(6.0), np.zeros((2, 1)), np.ones((3, 1)), "square"))
@example(((1, 1, 1, 1), np.zeros(3), None, np.array([[1.0]]), "huber"))
def test_gradient_and_loss_equal_numpy(problem):
    widths, w, given_inputs, targets, name = problem
    model, inputs, scale = build(widths, given_inputs, targets, name)
    expected = gradient_by_hand(w, widths, inputs, targets, SLOPE[name], scale)
    size = 2.0 ** len(widths) * 36 ** len(widths)
    close(evaluate.gradient(model, w), expected, scale=min(size, 1 + np.abs(expected).max() * 100))
    value = loss_by_hand(w, widths, inputs, targets, PENALTY[name], scale)
    close(evaluate.loss(model, w), value, scale=1 + value * 100)


@pytest.mark.claim("D1", kind="property")
@given(arrays(4).map(lambda w: w + np.sign(w) + (w == 0)), st.floats(-2, 2))
def test_scalar_chain_gradient_is_ginsburgs(w, target):
    """dL/dw_i = 2 (W - s) W / w_i, without a 1/2 in the loss."""
    product = w.prod()
    close(
        evaluate.gradient(scalar_chain(4, target), w),
        2 * (product - target) * product / w,
        scale=product**2 * 10,
    )
    close(evaluate.loss(scalar_chain(4, target), w), (product - target) ** 2, scale=product**2 * 10)


@given(arrays(2, 5), arrays(3, 5), arrays(15))
def test_square_loss_knows_the_data_through_covariances_only(inputs, targets, w):
    """Gradient in the end-to-end matrix: P C - B with C = X X^T / n, B = Y X^T / n."""
    widths = (2, 3, 3)
    first, second = layers_of(w, widths)
    error = second @ first @ (inputs @ inputs.T / 5) - targets @ inputs.T / 5
    expected = np.concatenate([(second.T @ error).reshape(-1), (error @ first.T).reshape(-1)])
    close(
        evaluate.gradient(deep_linear_from_data(inputs, targets, widths), w),
        expected,
        scale=1 + 100 * np.abs(expected).max(),
    )


@given(arrays(2, 3, 23))
def test_pack_undoes_unpack(w):
    widths = (1, 3, 4, 2)
    layers = unpack(w, widths)
    assert [m.shape for m in layers] == [(2, 3, 3, 1), (2, 3, 4, 3), (2, 3, 2, 4)]
    assert np.array_equal(pack(layers), w)
    for found, expected in zip(unpack(w[1, 2], widths), layers_of(w[1, 2], widths), strict=True):
        assert np.array_equal(found, expected)


@given(arrays(3, 2), st.sampled_from([(2, 3), (2, 2, 3), (2, 5, 4, 3)]))
@example(np.zeros((3, 2)), (2, 4, 3))
def test_balanced_weights_are_balanced_and_factorise(matrix, widths):
    w = balanced_weights(widths, matrix, np.random.default_rng(0))
    product = np.eye(2)
    for layer in unpack(w, widths):
        product = layer @ product
    close(product, matrix, tolerance=1e-13, scale=np.abs(matrix).max())
    for imbalance in matrix_imbalance(w, widths):
        close(imbalance, 0.0, tolerance=1e-13, scale=np.abs(matrix).max())


# ---- noises: one step of SGD is gradient descent on the perturbed data


def sgd_step(model, noise, w, lr, weight_decay, draws, seed=3, path=0):
    """(w after one step of `simulate`, the increments the step used)."""
    run = sdetheory.simulate(
        model,
        sdetheory.SGD(lr, weight_decay),
        w,
        [1],
        noise=noise,
        seed=seed,
        first_path=path,
        threads=1,
        width=8,
        progress=False,
    )
    return run.final[0], increments(seed, path, 0, 1, draws)[0]


@given(w=arrays(26), target=arrays(3, 3), sigma=st.floats(0, 2), path=st.integers(0, 1000))
@example(w=np.ones(26), target=np.zeros((3, 3)), sigma=0.0, path=0)
def test_label_noise_step_is_the_step_on_noisy_labels(w, target, sigma, path):
    model = deep_linear(WIDTHS, target)
    found, z = sgd_step(model, label_noise(model, sigma), w, 0.1, 0.2, 9, path=path)
    gradient = gradient_by_hand(w, WIDTHS, np.eye(3), target + sigma * z.reshape(3, 3), SLOPE["square"], 1.0)
    close(found, (1 - 0.02) * w - 0.1 * gradient, scale=1 + 10 * np.abs(gradient).max())


@given(w=arrays(26), inputs=arrays(3, 2), targets=arrays(3, 2), path=st.integers(0, 1000))
@example(w=np.ones(26), inputs=np.ones((3, 2)), targets=np.zeros((3, 2)), path=0)
def test_label_noise_on_data_is_noise_on_the_labels_that_matter(w, inputs, targets, path):
    """The draws are the label noise in an orthonormal basis of the inputs' row space: what Z X^T sees, with
    its law."""
    assume(np.linalg.cond(inputs) < 1e6 or not inputs.any() or np.linalg.matrix_rank(inputs, tol=1e-9) == 1)
    model = deep_linear_from_data(inputs, targets, WIDTHS)
    noise = label_noise(model, 0.7)
    rank = noise.sweep.entries // 3
    found, z = sgd_step(model, noise, w, 0.1, 0.0, noise.sweep.entries, path=path)
    basis = np.linalg.svd(inputs, full_matrices=False)[2][:rank]
    gradient = gradient_by_hand(
        w, WIDTHS, inputs, targets + 0.7 * z.reshape(3, rank) @ basis, SLOPE["square"], 0.5
    )
    close(found, w - 0.1 * gradient, scale=1 + 10 * np.abs(gradient).max())


@given(w=arrays(26), inputs=arrays(3, 2), targets=arrays(3, 2), path=st.integers(0, 1000))
@example(w=np.ones(26), inputs=np.zeros((3, 2)), targets=np.zeros((3, 2)), path=0)
def test_input_noise_step_is_the_step_on_noisy_inputs(w, inputs, targets, path):
    model = deep_linear_from_data(inputs, targets, WIDTHS)
    found, z = sgd_step(model, input_noise(model, 0.3), w, 0.1, 0.0, 6, path=path)
    gradient = gradient_by_hand(w, WIDTHS, inputs + 0.3 * z.reshape(3, 2), targets, SLOPE["square"], 0.5)
    close(found, w - 0.1 * gradient, scale=1 + 10 * np.abs(gradient).max())


@pytest.mark.claim("D24", kind="property")
@given(w=arrays(3).map(lambda w: w + np.sign(w) + (w == 0)), sigma=st.floats(0, 1), path=st.integers(0, 1000))
def test_multiplicative_noise_on_a_chain_is_ginsburgs(w, sigma, path):
    """w_i' = w_i - 2 lr (1 + eta)(W (1 + eta) - 1) W/w_i, and the imbalance moves by the predicted factor."""
    chain, lr = scalar_chain(3), 0.01
    noise = multiplicative_input_noise(chain, sigma)
    found, z = sgd_step(chain, noise, w, lr, 0.0, noise.places.size, path=path)
    product, factor = w.prod(), 1 + (sigma * z[0] if noise.places.size else 0.0)
    slope = 2 * factor * (product * factor - 1)
    close(found, w - lr * slope * product / w, scale=100.0)
    predicted = predictions.scalar_imbalance_step(
        imbalance=w[0] ** 2 - w[1] ** 2, lr=lr, weight_decay=0.0, slope=slope, rest=w[2]
    )
    close(found[0] ** 2 - found[1] ** 2, predicted, scale=100.0)


@njit(error_model="numpy")
def carry(noise, w, z, out, work):
    disturb(noise, w, z, out, work)


@pytest.mark.parametrize("kind", [label_noise, input_noise, multiplicative_input_noise])
def test_disturbance_is_noisy_gradient_minus_gradient_beyond_least_squares(kind):
    """With the pseudo-Huber loss labels and inputs enter non-linearly, on every sample."""
    rng = np.random.default_rng(5)
    widths, inputs, targets = (2, 3, 2), rng.standard_normal((2, 4)), rng.standard_normal((2, 4))
    w = gaussian_weights(widths, rng)
    noise = kind(deep_linear_from_data(inputs, targets, widths, PseudoHuber()), 0.5)
    z = rng.standard_normal((2, 4))
    noisy = inputs + 0.5 * z * (np.abs(inputs) if kind is multiplicative_input_noise else 1.0), targets
    if kind is label_noise:
        noisy = inputs, targets + 0.5 * z
    lanes = [lane_array(n, 8) for n in (w.size, z.size, w.size, workspace.python(noise, w.size))]
    float_rows(lanes[0])[:], float_rows(lanes[1])[:] = w[:, None], z.reshape(-1, 1)
    carry(noise, *lanes)
    expected = gradient_by_hand(w, widths, *noisy, SLOPE["huber"], 0.25)
    expected -= gradient_by_hand(w, widths, inputs, targets, SLOPE["huber"], 0.25)
    close(float_rows(lanes[2])[:, 3], expected, tolerance=1e-14, scale=10.0)


# ---- exact identities of the imbalance, step by step


def imbalance_after(w, gradient, lr, weight_decay):
    """The predicted D_j after a step with this gradient, entry by entry of the matrices."""
    layers = [g for g in unpack(gradient, WIDTHS)]
    return [
        predictions.imbalance_step(
            imbalance=now, lr=lr, weight_decay=weight_decay, upper_gram=up.T @ up, lower_gram=low @ low.T
        )
        for now, low, up in zip(matrix_imbalance(w, WIDTHS), layers[:-1], layers[1:], strict=True)
    ]


@pytest.mark.claim("D32", kind="property")
@given(w=arrays(26), target=arrays(3, 3), weight_decay=st.floats(0, 5), sigma=st.sampled_from((0.0, 0.5)))
@example(w=np.zeros(26), target=np.ones((3, 3)), weight_decay=0.0, sigma=0.0)
def test_imbalance_step_is_exact_for_every_noise(w, target, weight_decay, sigma):
    """D_j' = (1 - lr wd)^2 D_j + lr^2 (G_{j+1}^T G_{j+1} - G_j G_j^T), with label noise and without."""
    model = deep_linear(WIDTHS, target)
    found, z = sgd_step(model, label_noise(model, sigma), w, 0.1, weight_decay, 9)
    gradient = gradient_by_hand(w, WIDTHS, np.eye(3), target + sigma * z.reshape(3, 3), SLOPE["square"], 1.0)
    scale = 1 + np.square(gradient).sum() + np.square(w).sum()
    predicted = imbalance_after(w, gradient, 0.1, weight_decay)
    for now, expected in zip(matrix_imbalance(found, WIDTHS), predicted, strict=True):
        close(now, expected, scale=scale, tolerance=1e-13)
    traces = np.stack([np.trace(d) for d in predicted])
    close(frobenius_imbalance(found, WIDTHS), traces, scale=scale, tolerance=1e-13)


@pytest.mark.claim("D9", "D15", kind="property")
@given(w=arrays(4).map(lambda w: 0.75 * w), weight_decay=st.floats(0, 5), target=st.floats(-2, 2))
@example(w=np.array([0.1, 1.7, 1.0, 1.0]), weight_decay=0.0, target=1.0)
@example(w=np.zeros(4), weight_decay=1.0, target=1.0)
def test_scalar_imbalance_step_is_exact(w, weight_decay, target):
    """D_ij' = D_ij ((1 - lr wd)^2 - (lr g prod_{l != i,j} w_l)^2) with g = 2 (W - s), all pairs, along 20
    steps of GD."""
    lr = 0.01
    run = sdetheory.simulate(
        scalar_chain(4, target),
        sdetheory.GradientDescent(lr, weight_decay),
        w,
        np.arange(21),
        keep_states=True,
        threads=1,
        progress=False,
    )
    states = run.states[0]
    for now, following in itertools.pairwise(states):
        rest = np.array([[np.prod(np.delete(now, sorted({i, j}))) for j in range(4)] for i in range(4)])
        predicted = predictions.scalar_imbalance_step(
            imbalance=chain_imbalance(now),
            lr=lr,
            weight_decay=weight_decay,
            slope=2 * (now.prod() - target),
            rest=rest,
        )
        close(
            chain_imbalance(following),
            predicted,
            tolerance=1e-13,
            scale=np.square([now, following]).max() * 10,
        )


@pytest.mark.compiled
@pytest.mark.claim("D30", kind="simulation")
def test_label_noise_shrinks_the_imbalance_at_the_predicted_rate():
    """d ln|D|/dk = -4 lr^2 sigma^2 / (1 - lr S) on the minimum of two layers, S = sqrt(D^2 + 4)."""
    lr, sigma, steps = 0.05, 0.1, 4000
    chain = scalar_chain(2)
    start = np.sqrt((np.sqrt(3.75**2 + 4) + np.array([3.75, -3.75])) / 2)
    run = sdetheory.simulate(
        chain, sdetheory.SGD(lr), start, [steps], noise=label_noise(chain, sigma), paths=256, seed=11
    )
    logs = np.log(run.final[:, 0] ** 2 - run.final[:, 1] ** 2)
    log = np.log(3.75)
    for _ in range(steps):
        log -= predictions.label_noise_imbalance_rate(
            lr=lr, noise=sigma, inverse_squares=np.sqrt(np.exp(2 * log) + 4)
        )
    outcome = equivalent(logs - np.log(3.75), log - np.log(3.75), margin=0.02 * abs(log - np.log(3.75)))
    assert outcome, outcome


@pytest.mark.claim("D29", kind="simulation")
def test_without_noise_at_the_minimum_the_imbalance_freezes():
    """Interpolated data: descent stops on W = 1 with D != 0, and further steps change nothing."""
    run = sdetheory.simulate(
        scalar_chain(2),
        sdetheory.GradientDescent(0.05),
        [0.1, 1.7],
        [400, 4000],
        keep_states=True,
        progress=False,
    )
    imbalance = chain_imbalance(run.states[0])[:, 1, 0]
    assert abs(imbalance[1] - imbalance[0]) < 1e-14 and imbalance[1] > 2.0, imbalance


# ---- Ginsburg's reference runs (theory sheet 1.4, 1.5, 1.8; figure of the Cockpit paper)

STARTS = np.array([(0.1, 1.7), (2, 0.1), (-0.2, -1.8), (1.6, 0.3)])
DESCENT_ENDS = np.array([(0.56273, 1.77705), (2.04682, 0.48856), (-0.53719, -1.86153), (1.67681, 0.59637)])


def test_descent_ends_where_ginsburgs_figure_ends():
    run = sdetheory.simulate(scalar_chain(2), sdetheory.GradientDescent(0.05), STARTS, [5000], progress=False)
    close(run.final, DESCENT_ENDS, tolerance=6e-6)
    assert (np.abs(run.final.prod(axis=1) - 1) < 1e-14).all(), run.final.prod(axis=1)


@pytest.mark.compiled
@pytest.mark.claim("D12", "D13", kind="simulation")
def test_descent_loses_little_imbalance():
    """-ln(D_inf/D_0)/lr for the five step sizes of the sheet; extrapolated to lr = 0 it is |F(1) -
    F(W_0)|."""
    rates = np.array([0.005, 0.01, 0.02, 0.04, 0.08])
    shrink = []
    for lr in rates:
        run = sdetheory.simulate(
            scalar_chain(2), sdetheory.GradientDescent(lr), STARTS[0], [int(60 / lr)], progress=False
        )
        shrink.append(-np.log((run.final[0, 1] ** 2 - run.final[0, 0] ** 2) / 2.88) / lr)
    close(shrink, [0.2309, 0.2348, 0.2430, 0.2610, 0.3059], tolerance=6e-5)
    limit = (8 * shrink[0] - 6 * shrink[1] + shrink[2]) / 3

    def integral(product):
        return np.sqrt(2.88**2 + 4 * product**2) / 2 - np.arcsinh(2 * product / 2.88)

    close(limit, abs(integral(1.0) - integral(0.17)), tolerance=1e-5)


@pytest.mark.claim("D15", "D18", "D20", "D21", kind="simulation")
def test_weight_decay_runs_of_the_sheet():
    """mu = 0.01 and 0.05 (weight_decay = 2 mu) from (0.1, 1.7): imbalance after 200, 1000, 4000 steps."""
    expected = {0.01: (-1.9038, -0.38381, -9.457e-4), 0.05: (-0.38101, -1.228e-4, 0.0)}
    for penalty, imbalances in expected.items():
        run = sdetheory.simulate(
            scalar_chain(2),
            sdetheory.GradientDescent(0.05, 2 * penalty),
            STARTS[0],
            [20, 200, 1000, 4000],
            keep_states=True,
            progress=False,
        )
        found = chain_imbalance(run.states[0])[1:, 0, 1]
        for value, wanted in zip(found[:-1], imbalances[:-1], strict=True):
            close(value / wanted, 1.0, tolerance=2e-4)
        close(found[2], imbalances[2], tolerance=1e-13 if penalty == 0.05 else 2e-4 * abs(imbalances[2]))
        close(run.final[0].prod(), predictions.ginsburg_end_to_end(penalty=penalty), tolerance=1e-6)
    entered = run.states[0, 0]
    close(entered.prod(), 0.9682, tolerance=1e-4)
    band = predictions.weight_decay_band_lower(
        penalty=0.05, depth=2, end_to_end=entered.prod(), inverse_squares=inverse_square_sum(entered)
    )
    close(band, 0.9680, tolerance=1e-4)


@pytest.mark.compiled
@pytest.mark.claim("D31", kind="simulation")
def test_cockpit_figure_plateau_is_reproduced():
    """Two scalar layers on 100 points, lr 0.1 on the mean of (.)^2 (twice ours): loss 0.759325, D =
    -2.763861."""
    rng = np.random.RandomState(42)
    x = rng.normal(size=300).astype(np.float32)
    y = 1.4 * x + rng.normal(size=300).astype(np.float32)
    model = deep_linear_from_data(x[None, :100], y[None, :100], (1, 1, 1))
    run = sdetheory.simulate(
        model, sdetheory.GradientDescent(0.2), [0.1, 1.7], [0, 100_000], keep_states=True, progress=False
    )
    losses = [2 * evaluate.loss(model, w) for w in run.states[0]]
    close(losses, [1.67671, 0.759325], tolerance=1e-5)
    close(run.final[0, 0] ** 2 - run.final[0, 1] ** 2, -2.763861, tolerance=1e-5)


# ---- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: deep_linear((3,), np.eye(3)), "`widths` must name at least inputs and outputs"),
        (lambda: deep_linear((3, 0, 2), np.ones((2, 3))), "`widths` must be at least 1"),
        (lambda: deep_linear((3, 2.5, 2), np.ones((2, 3))), "`widths` must be an integer"),
        (
            lambda: deep_linear((3, 4, 2), np.ones((3, 2))),
            r"`target` must have shape \(2, 3\): it has shape \(3, 2\)",
        ),
        (lambda: deep_linear((3, 4, 2), np.full((2, 3), np.nan)), "`target` must be finite"),
        (lambda: deep_linear((3, 2), np.ones((2, 3)), residual_loss="square"), "`residual_loss` must be"),
        (
            lambda: deep_linear_from_data(np.ones((2, 5)), np.ones((2, 4)), (2, 2)),
            r"`targets` must have shape \(2, 5\)",
        ),
        (
            lambda: deep_linear_from_data(np.ones((3, 5)), np.ones((2, 5)), (2, 2)),
            r"`inputs` must have shape \(2, any\)",
        ),
        (
            lambda: deep_linear_from_data(np.ones((2, 0)), np.ones((2, 0)), (2, 2)),
            "`inputs` must have at least one",
        ),
        (lambda: scalar_chain(0), "`depth` must be at least 1"),
        (lambda: label_noise(scalar_chain(2), -1.0), "`sigma` must not be negative"),
        (lambda: unpack(np.ones(5), (2, 3)), "`w` must have 6 weights"),
        (lambda: pack([np.ones((2, 3)), np.ones((2, 3))]), "`layers` must chain"),
        (
            lambda: balanced_weights((3, 1, 3), np.eye(3), np.random.default_rng(0)),
            "`widths` must be at least 3",
        ),
        (
            lambda: sdetheory.simulate(scalar_chain(3), sdetheory.GradientDescent(0.1), [1.0, 2.0], [1]),
            "`w0` must have 3 weights",
        ),
    ],
)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
