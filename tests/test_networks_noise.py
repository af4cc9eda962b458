"""Gradient noise at frozen weights: estimators, their errors, the covariance of a scale-invariant loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdetheory.networks import batch_gradients, labelled, mlp, noise_estimate, per_sample_gradients, train
from sdetheory.networks.streams import batches
from sdetheory.statistics import mean_test

DATA = labelled(np.sin(np.arange(200.0) ** 1.4).reshape(40, 5), np.arange(40) % 3)
NET = mlp((5, 4, 3), normalised_output=True)
PARAMETERS = NET.start([2])[0]


def gradients(net=NET, parameters=PARAMETERS, **how):
    return batch_gradients(
        net, parameters, DATA, **{"batches": 20, "batch_size": 8, "label_noise": 0.2, **how}
    )


def test_batch_gradients_are_those_training_would_see():
    indices, labels = batches(DATA.labels, 3, 6, 10, 50, 8, 0.2)
    got = gradients(batches=40, seed=6, first_step=10)
    for step in (0, 31, 32, 39):
        expected = NET.gradient(PARAMETERS[None], DATA.inputs[indices[step]], labels[step])[1][0]
        assert (got[step] == expected).all(), step


@pytest.mark.claim("I2", kind="property")
@given(exponent=st.floats(-3, 3))
def test_the_noise_of_an_invariant_group_is_tangent_and_scales_inversely(exponent):
    factor = 10.0**exponent
    for group in NET.groups():
        w, sample = group.select(PARAMETERS), group.select(gradients())
        centred = sample - sample.mean(axis=0)
        radial = np.abs(centred.T @ (centred @ w) / len(sample)).max()  # Sigma w
        size = np.linalg.norm(centred, axis=1).max() ** 2 * np.linalg.norm(w)
        assert radial < 1e-13 * size, f"Sigma w = {radial:.1e} against |Sigma||w| {size:.1e}"
        scaled = group.select(gradients(parameters=group.scaled(PARAMETERS, factor)))
        error = np.abs(scaled * factor - sample).max() / np.abs(sample).max()
        assert error < 1e-12, f"{group.name} x {factor:.2g}: noise times scale changed by {error:.1e}"


@pytest.mark.claim("I2", kind="simulation")
def test_trace_times_squared_norm_does_not_depend_on_the_norm():
    estimate = noise_estimate(NET, PARAMETERS, gradients())
    for number, group in enumerate(NET.groups()):
        scaled = group.scaled(PARAMETERS, 7.0)
        other = noise_estimate(NET, scaled, gradients(parameters=scaled))
        here, there = (e.trace[number] * e.squared_norm[number] for e in (estimate, other))
        assert there == pytest.approx(here, rel=1e-12)
        assert other.trace[number] == pytest.approx(estimate.trace[number] / 49, rel=1e-12)


@given(data=st.data(), count=st.integers(3, 9))
def test_estimates_and_jackknife_errors_equal_their_definitions(data, count):
    drawn = data.draw(st.binary(min_size=count * NET.size, max_size=count * NET.size))
    sample = np.frombuffer(drawn, np.int8).reshape(count, NET.size) / 32.0
    estimate = noise_estimate(NET, PARAMETERS, sample)
    for number, group in enumerate(NET.groups()):
        g = group.select(sample)

        def trace_and_square(rows):
            trace = np.trace(np.atleast_2d(np.cov(rows.T)))
            return np.array([trace, np.sum(rows.mean(axis=0) ** 2) - trace / len(rows)])

        left_out = np.array([trace_and_square(np.delete(g, i, axis=0)) for i in range(count)])
        errors = (
            np.sqrt((count - 1) / count * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
            if count > 3
            else None
        )
        got = np.array([estimate.trace[number], estimate.squared_mean[number]])
        assert np.allclose(got, trace_and_square(g), rtol=1e-10, atol=1e-9)
        assert got.sum() == pytest.approx((g**2).sum(axis=1).mean(), rel=1e-10, abs=1e-9), (
            "N + G = mean |g_b|^2"
        )
        if errors is not None:
            shown = np.array([estimate.trace_error[number], estimate.squared_mean_error[number]])
            assert np.allclose(shown, errors, rtol=1e-8, atol=1e-7), (shown, errors)


@pytest.mark.compiled
def test_estimates_are_unbiased_and_their_errors_honest():
    """400 disjoint groups of 6 batches against the covariance over all 2400."""
    every = gradients(batches=2400)
    parts = [noise_estimate(NET, PARAMETERS, part) for part in every.reshape(400, 6, -1)]
    total = noise_estimate(NET, PARAMETERS, every)
    for number in range(len(NET.groups())):
        traces = np.array([part.trace[number] for part in parts])
        squares = np.array([part.squared_mean[number] for part in parts])
        for samples, truth in ((traces, total.trace[number]), (squares, total.squared_mean[number])):
            spread = samples.std()
            assert (outcome := mean_test(samples, truth, detectable=0.5 * spread)), outcome
        mine = NET.groups()[number].select(every).reshape(400, 6, -1)
        biased = (mine.mean(axis=1) ** 2).sum(axis=1)
        outcome = mean_test(biased, total.squared_mean[number], detectable=0.5 * biased.std())
        assert not outcome, f"|mean|^2 itself is biased: {outcome}"
        ratio = np.mean([part.trace_error[number] ** 2 for part in parts]) / traces.var(ddof=1)
        assert 0.7 < ratio < 1.5, f"jackknife variance over actual variance of the trace: {ratio:.2f}"


def test_noise_shrinks_with_the_batch():
    small, large = (
        noise_estimate(NET, PARAMETERS, gradients(batches=300, batch_size=size)).trace for size in (8, 32)
    )
    assert ((small / large > 3) & (small / large < 6)).all(), f"batch 8 against 32: {small / large}"


@pytest.mark.parametrize("normalised_output", [False, True])
def test_label_noise_adds_to_the_noise_of_a_trained_net(normalised_output):
    data, net = DATA.subset(slice(0, 10)), mlp((5, 12, 3), normalised_output=normalised_output)
    trained = train(net, data, lr=0.3, steps=600, batch_size=10, record_every=600).final[0]
    sample = [
        batch_gradients(net, trained, data, batches=300, batch_size=8, label_noise=n) for n in (0.0, 0.3)
    ]
    clean, noisy = (noise_estimate(net, trained, gradients).trace[0] for gradients in sample)
    assert noisy > 2 * clean, f"{clean:.3g} without label noise, {noisy:.3g} with"


def test_frozen_parameters_have_no_noise_and_are_left_out():
    net = mlp((5, 4, 3), frozen_output=True)
    parameters = net.start([0])[0]
    sample = gradients(net, parameters)
    assert not net.groups()[-1].select(sample).any()
    assert [group.name for group in noise_estimate(net, parameters, sample).groups] == ["dense1"]


def test_examples_of_a_batch_share_its_statistics():
    """The gradient of one example's loss moves when another example of its batch does."""
    inputs, labels = DATA.inputs[:6].copy(), DATA.labels[:6]
    before = per_sample_gradients(NET, PARAMETERS, inputs, labels)
    inputs[5] += 0.5
    after = per_sample_gradients(NET, PARAMETERS, inputs, labels)
    assert np.abs(after[0] - before[0]).max() > 1e-3
    plain = mlp((5, 4, 3), normalised=False)
    alone = per_sample_gradients(plain, plain.start([0])[0], DATA.inputs[:6], labels)
    company = per_sample_gradients(plain, plain.start([0])[0], inputs, labels)
    assert np.abs(alone[:5] - company[:5]).max() < 1e-14
