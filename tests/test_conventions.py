"""The loss with and without 1/2, the penalty and the weight decay: the same runs under other names."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sdetheory
from sdetheory import conventions, evaluate
from sdetheory.integrators import RK4
from sdetheory.models.deep_linear import deep_linear, deep_linear_from_data, scalar_chain
from sdetheory.models.deep_linear_noise import label_noise
from sdetheory.predictions import deep_linear as predictions
from tests.deep_linear_cases import arrays, close

rates, penalties = st.floats(0.001, 0.1), st.floats(0.0, 0.5)


@settings(max_examples=25)
@given(arrays(2), rates, penalties)
@example(np.array([0.1, 1.7]), 0.05, 0.01)
def test_one_step_in_three_conventions(w, lam, mu):
    """w_i - 2 lambda ((W - 1) W/w_i + mu w_i), Ginsburg's step, is ours without and with 1/2."""
    wanted = w - 2 * lam * ((w.prod() - 1) * w[::-1] + mu * w)
    ours = conventions.ginsburg_rates(lam, mu)
    for model, how in (
        (scalar_chain(2), ours),
        (deep_linear((1, 1, 1), [[1.0]]), conventions.rates_on_half_the_loss(**ours)),
    ):
        found = evaluate.step(sdetheory.GradientDescent(**how), model, None, w, [])
        close(found, wanted, scale=10.0)
    assert conventions.ginsburg_rates(lam, mu)["weight_decay"] == predictions.weight_decay_of_penalty(penalty=mu)


def test_the_chain_is_a_network_without_the_half():
    assert_same = np.testing.assert_array_equal
    chain, network = scalar_chain(3, 1.5), conventions.without_half(deep_linear((1, 1, 1, 1), [[1.5]]))
    assert chain.scale == network.scale and chain.floor == network.floor
    assert_same(chain.sweep.program, network.sweep.program)
    back = conventions.with_half(network)
    assert back.scale == 1.0, back.scale


@settings(max_examples=10)
@given(arrays(3), arrays(1, 4), arrays(1, 4))
@example(np.ones(3), np.ones((1, 4)), np.arange(4.0)[None])
def test_without_half_is_the_mean_of_squares(w, x, y):
    """What PyTorch's MSE loss is, the part that no network fits included."""
    model = conventions.without_half(deep_linear_from_data(x, y, (1, 1, 1, 1)))
    close(evaluate.loss(model, w), np.mean((w.prod() * x - y) ** 2), scale=100.0)


def test_runs_flows_and_noise_are_the_same_in_both():
    """SGD with label noise of one sigma, and gradient flow at half the time."""
    whole, half = scalar_chain(2), deep_linear((1, 1, 1), [[1.0]])
    ours = conventions.ginsburg_rates(0.05, 0.02)
    ends = []
    for model, how in ((whole, ours), (half, conventions.rates_on_half_the_loss(**ours))):
        noise = label_noise(model, 0.3)
        run = sdetheory.simulate(
            model, sdetheory.SGD(**how), [0.1, 1.7], [50], noise=noise, paths=3, progress=False
        )
        ends.append(run.final)
    close(*ends)
    flows = [
        sdetheory.simulate(
            model, sdetheory.GradientFlow(wd), [0.1, 1.7], [time], integrator=RK4(), dt=time / 400, progress=False
        ).final
        for model, wd, time in ((whole, 0.04, 2.0), (half, 0.02, 4.0))
    ]
    close(*flows)
    end = flows[0][0]
    known = {"lr": 0.05, "penalty": 0.02, "imbalance0": 0.01 - 2.89, "step": 2.0 / 0.05}
    predicted = predictions.ginsburg_imbalance_flow(**known)
    close(end[0] ** 2 - end[1] ** 2, predicted, tolerance=1e-8)
    ours_too = predictions.imbalance_flow(t=4.0, weight_decay=0.02, imbalance0=0.01 - 2.89)
    close(ours_too, predicted)


def test_negative_rates_are_refused():
    with pytest.raises(ValueError, match="`penalty` must not be negative"):
        conventions.ginsburg_rates(0.1, -0.1)
    with pytest.raises(ValueError, match="`weight_decay` must not be negative"):
        conventions.rates_on_half_the_loss(0.1, -0.1)
