"""The imbalance of deep linear networks: exact identities of every step, and Ginsburg's reference runs."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sdetheory
from sdetheory import evaluate
from sdetheory.models.deep_linear import deep_linear, deep_linear_from_data, scalar_chain
from sdetheory.models.deep_linear_noise import label_noise
from sdetheory.models.weights import unpack
from sdetheory.observables import chain_imbalance, frobenius_imbalance, inverse_square_sum, matrix_imbalance
from sdetheory.predictions import deep_linear as predictions
from tests.deep_linear_cases import SLOPE, STARTS, WIDTHS, arrays, close, gradient_by_hand, sgd_step


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


# ---- Ginsburg's reference runs (theory sheet 1.4, 1.5, 1.8; figure of the Cockpit paper)

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
