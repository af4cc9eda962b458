"""Mini-batches of deep linear networks, uniform and held increments: exact steps, fair choices."""

import numpy as np
import pytest
from deep_linear_cases import SLOPE, close, gradient_by_hand

import sdetheory as st
from sdetheory.lanes.random import Gaussian, Philox, increments
from sdetheory.models.deep_linear_batches import batch_members
from sdetheory.models.weights import gaussian_weights
from sdetheory.predictions import public_run
from sdetheory.statistics import equivalent, mean_test

SAMPLES, WIDTHS = 6, (2, 3, 2)


def chosen(z, samples, replacement):
    """Sample numbers from the increments of one step, by a list of those still free."""
    free, numbers = list(range(samples)), []
    for x in z:
        numbers.append(free[int((x / np.sqrt(12) + 0.5) * len(free))])
        if not replacement:
            free.remove(numbers[-1])
    return numbers


def problem(rng, loss=None):
    data = rng.standard_normal((2, SAMPLES)), rng.standard_normal((2, SAMPLES))
    return data, st.deep_linear_from_data(*data, WIDTHS, *([] if loss is None else [loss]))


@pytest.mark.parametrize(
    ("batch", "replacement"), [(1, True), (4, True), (9, True), (2, False), (5, False), (6, False)]
)
def test_a_step_is_descent_on_the_batch(batch, replacement):
    rng = np.random.default_rng(3)
    (inputs, targets), model = problem(rng)
    noise, starts = st.minibatch(model, batch, replacement), gaussian_weights(WIDTHS, rng, paths=16)
    run = st.simulate(model, st.SGD(0.1), starts, [1], noise=noise, increment=st.Uniform(), seed=5, threads=1)
    seen = set()
    for path, w in enumerate(starts):
        z = increments(5, path, 0, 1, noise.drawn, increment=st.Uniform())[0]
        picked = chosen(z, SAMPLES, replacement)
        if noise.drawn != batch:
            picked = [k for k in range(SAMPLES) if k not in picked]
        assert len(picked) == batch and (replacement or len(set(picked)) == batch), picked
        assert batch_members(noise, z[None])[0].tolist() == sorted(picked), (z, picked)
        seen |= set(picked)
        gradient = gradient_by_hand(w, WIDTHS, inputs[:, picked], targets[:, picked], SLOPE["square"], 1 / batch)
        close(run.final[path], w - 0.1 * gradient, scale=1 + np.abs(gradient).max())
    assert seen == set(range(SAMPLES)), seen


@pytest.mark.claim("D28", kind="property")
def test_the_imbalance_of_a_chain_falls_in_every_batch():
    """D' = D (1 - lr^2 g_B^2), g_B = 2 (a_B W - b_B) here with the loss halved: g_B = a_B W - b_B."""
    rng = np.random.default_rng(8)
    x, noise = rng.standard_normal(SAMPLES), rng.standard_normal(SAMPLES)
    model = st.deep_linear_from_data(x[None], (x + noise)[None], (1, 1, 1))
    starts = rng.uniform(0.5, 1.5, (16, 2))
    run = st.simulate(
        model, st.SGD(0.1), starts, [1], noise=st.minibatch(model, 1), increment=st.Uniform(), seed=5, threads=1
    )
    picked = [chosen(increments(5, k, 0, 1, 1, increment=st.Uniform())[0], SAMPLES, True)[0] for k in range(16)]
    slope = x[picked] ** 2 * starts.prod(axis=1) - (x * (x + noise))[picked]
    before, after = (w[:, 0] ** 2 - w[:, 1] ** 2 for w in (starts, run.final))
    close(after, before * (1 - 0.01 * slope**2), scale=10)


@pytest.mark.compiled
@pytest.mark.claim("D28", kind="simulation")
@pytest.mark.parametrize("batch", [1, 4])
def test_the_rate_of_batches_needs_the_curvature_of_each(batch):
    """Decay of ln|D| at W = 1: E a_B^2/E a_B enters the factor of finite steps, where E a_B would miss by 7%, B = 1."""
    rng, lr, steps = np.random.default_rng(4), 0.01, 3000
    x = rng.standard_normal(100)
    x = (x - x.mean()) / x.std()
    y = x + 0.5 * rng.standard_normal(100)
    y += x * (1 - np.mean(x * y))
    model, start = st.deep_linear_from_data(x[None], y[None], (1, 1, 1)), np.array([2.0, 0.5])
    run = st.simulate(
        model, st.SGD(2 * lr), start, [200, 200 + steps], noise=st.minibatch(model, batch), increment=st.Uniform(),
        seed=9, paths=256, keep_states=True, threads=1,
    )  # fmt: skip
    logs = np.log(run.states[..., 0] ** 2 - run.states[..., 1] ** 2)
    rate = public_run.batch_imbalance_rate(
        lr=lr, imbalance=np.exp(logs.mean()), two_layer_target=1.0, curvature=1 + (np.mean(x**4) - 1) / batch,
        slope_variance=4 * np.var(x * x - x * y) / batch,
    )  # fmt: skip
    outcome = equivalent((logs[:, 0] - logs[:, 1]) / (steps * rate), 1.0, margin=0.03)
    assert outcome, outcome


def test_uniform_increments_fill_their_interval():
    z = increments(2, 0, 0, 12000, 5, increment=st.Uniform()).ravel()
    assert np.abs(z).max() < np.sqrt(3) and np.abs(z).max() > 0.999 * np.sqrt(3), np.abs(z).max()
    for power, moment in ((1, 0.0), (2, 1.0), (4, 9 / 5)):
        outcome = mean_test(z**power, moment, detectable=0.1)
        assert outcome, (power, outcome)


def test_held_increments_stay_for_their_steps():
    fine = increments(7, 3, 0, 12, 3, generator=st.Held(4), increment=st.Uniform())
    coarse = increments(7, 3, 0, 3, 3, generator=Philox(), increment=st.Uniform())
    np.testing.assert_array_equal(fine, np.repeat(coarse, 4, axis=0))


def test_refusals():
    _, model = problem(np.random.default_rng(1))
    for increment in (Gaussian(), st.Antithetic()):
        with pytest.raises(ValueError, match=r"`increment` must be left out for Minibatch, which draws Uniform\(\)"):
            st.simulate(model, st.SGD(0.1), np.ones(12), [1], noise=st.minibatch(model, 2), increment=increment)
    with pytest.raises(ValueError, match="`coarsen` must be 1 for Minibatch"):
        st.simulate(model, st.SGD(0.1), np.ones(12), [1], noise=st.minibatch(model, 2), coarsen=2)
    with pytest.raises(ValueError, match="`batch` must not exceed the samples without replacement: batch=7"):
        st.minibatch(model, 7, replacement=False)
    with pytest.raises(ValueError, match="`model` must be on data"):
        st.minibatch(st.scalar_chain(2), 1)
    with pytest.raises(ValueError, match="`steps`"):
        st.simulate(model, st.SGD(0.1), np.ones(12), [1], noise=st.minibatch(model, 2), increment=st.Uniform(),
                    generator=st.Held(0))  # fmt: skip
