"""Deep linear networks: gradients and losses against numpy, weights packed and balanced, what is refused."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sdetheory
from sdetheory import evaluate
from sdetheory.lanes.translate import address_of
from sdetheory.models.deep_linear import PseudoHuber, Square, deep_linear, deep_linear_from_data, scalar_chain
from sdetheory.models.deep_linear_noise import label_noise
from sdetheory.models.noise import NoNoise
from sdetheory.models.weights import balanced_weights, pack, unpack
from sdetheory.observables import matrix_imbalance
from tests.deep_linear_cases import PENALTY, SLOPE, arrays, close, gradient_by_hand, layers_of, loss_by_hand

LOSSES = {"square": Square(), "huber": PseudoHuber()}


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


@given(problems(), st.floats(0.0, 0.2))
@example(((1, 1), np.array([0.5]), None, np.array([[2.0]]), "square"), 0.1)
@example(((2, 3, 2), np.arange(12.0), None, np.ones((2, 2)), "square"), 0.1)
def test_descent_moves_every_layer_by_its_gradient(problem, weight_decay):
    """The step moves layers one after the other; none may see one that has moved."""
    widths, w, given_inputs, targets, name = problem
    model, _, _ = build(widths, given_inputs, targets, name)
    slope = evaluate.gradient(model, w)
    moved = evaluate.step(sdetheory.GradientDescent(0.125, weight_decay), model, NoNoise(), w, np.zeros(0))
    expected = (1.0 - 0.125 * weight_decay) * w - 0.125 * slope
    close(moved, expected, scale=1 + np.abs(expected).max())


@pytest.mark.compiled
@pytest.mark.parametrize("widths", [(3, 3, 3), (2, 4, 1, 3)])
def test_descent_of_an_ensemble_in_wide_lanes_is_that_of_its_members(widths):
    """Tiny networks get 32 lanes when there are many; not a bit changes."""
    rng = np.random.default_rng(2)
    model = deep_linear(widths, rng.standard_normal((widths[-1], widths[0])))
    w0 = 0.5 * rng.standard_normal((130, model.dimension))
    assert model.preferred_width(130) == 32 and model.preferred_width(100) == 8
    run = lambda starts: sdetheory.simulate(model, sdetheory.GradientDescent(0.01), starts, [20], threads=1).final
    assert np.array_equal(run(w0)[:5], run(w0[:5])), np.abs(run(w0)[:5] - run(w0[:5])).max()


@pytest.mark.compiled
@pytest.mark.parametrize("dynamics", ["descent", "decay", "flow"])
@pytest.mark.parametrize(
    "widths, from_data", [((2, 2, 2), False), ((1, 1, 1, 1), False), ((2, 3, 2), False), ((2, 4, 1, 3), True),
                          ((3, 7), True), ((5, 6, 10, 2), False), ((8, 8, 8), True)],
)  # fmt: skip
def test_machine_code_of_a_network_gives_the_bits_of_its_table(monkeypatch, widths, from_data, dynamics):
    """Translated or read, in any width, by any threads, in any chunks, recorded often or never: the same numbers."""
    rng = np.random.default_rng(5)
    inputs, targets = rng.standard_normal((widths[0], 6)), rng.standard_normal((widths[-1], 6))
    target = rng.standard_normal((widths[-1], widths[0]))
    model = deep_linear_from_data(inputs, targets, widths) if from_data else deep_linear(widths, target)
    starts = rng.standard_normal((37, model.dimension)) / 2
    rules = {"descent": sdetheory.GradientDescent(0.01), "decay": sdetheory.GradientDescent(0.01, 0.02)}
    rule = rules.get(dynamics, sdetheory.GradientFlow(0.02))
    run = lambda ts, **options: sdetheory.simulate(model, rule, starts, ts, **options).final
    monkeypatch.setattr("sdetheory.models.deep_linear.WORTH", np.inf)
    assert model.translated(8, 1e300) is model
    read = run([70], threads=1, width=8)
    monkeypatch.setattr("sdetheory.models.deep_linear.WORTH", 0.0)
    descends, asked = dynamics != "flow", set()
    sweep = model.translated(8, 1.0, descends).sweep
    assert (sweep.code == 0, sweep.descent == 0) == (descends, not descends), sweep
    ask = lambda sweep, width, kind: asked.add((width, kind)) or address_of(sweep, width, kind)
    monkeypatch.setattr("sdetheory.models.deep_linear.address_of", ask)
    often = [1, 2, 31, 32, 33, 64, 69, 70]
    for width, threads, ts in ((8, 1, [70]), (32, 1, often), (16, 2, [70]), (8, 3, often)):
        found = run(ts, threads=threads, width=width)
        away = np.abs(found - read).max()
        assert np.array_equal(found, read), (width, threads, ts, away)
    assert asked == {(width, descends) for width in (8, 16, 32)}, asked


def test_only_long_runs_of_small_square_loss_networks_are_translated(monkeypatch):
    """The table is read where code would not pay or there is none: few gradients, wide layers, other losses."""
    model = deep_linear((2, 2, 2), np.eye(2))
    assert model.translated(8, 100.0) is model
    assert deep_linear((12, 12, 12), np.eye(12)).translated(8, 1e12).sweep.code == 0
    assert deep_linear((2, 2, 2), np.eye(2), PseudoHuber()).translated(8, 1e12).sweep.code == 0
    monkeypatch.setattr("sdetheory.models.deep_linear.available", lambda: False)
    assert model.translated(8, 1e12) is model


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
