"""G and N from batch gradients without bias, and what they say about SDE and linear scaling on a network."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_problems import spread

from sdetheory.networks import (
    batch_gradients,
    labelled,
    mlp,
    noise_estimate,
    signal_and_noise,
)

DATA = labelled(np.sin(np.arange(200.0) ** 1.4).reshape(40, 5), np.arange(40) % 3)
NET = mlp((5, 4, 3), normalised_output=True, frozen_output=True)
PARAMETERS = NET.start([2, 7])
TRAINED = sum(group.size for group in NET.groups() if not group.frozen)


def settings(**more):
    return {"batches": 5, "batch_size": 8, "label_noise": 0.2, **more}


def test_totals_are_the_sums_of_the_groups_over_the_trainable_parameters():
    got = signal_and_noise(NET, PARAMETERS, DATA, seeds=[3, 9], first_step=100, **settings())
    assert TRAINED < NET.size
    for number, seed in enumerate((3, 9)):
        gradients = batch_gradients(NET, PARAMETERS[number], DATA, seed=seed, first_step=100, **settings())
        estimate = noise_estimate(NET, PARAMETERS[number], gradients)
        assert got.squared_mean[number] == pytest.approx(estimate.squared_mean.sum(), rel=1e-10)
        assert got.noise_trace[number] == pytest.approx(estimate.trace.sum(), rel=1e-10)
        assert got.squared_norm[number] == pytest.approx(estimate.squared_norm.sum(), rel=1e-12)
        both = np.mean(np.sum(gradients**2, axis=1))
        assert got.squared_mean[number] + got.noise_trace[number] == pytest.approx(both, rel=1e-12)


@pytest.mark.claim("I47", kind="property")
@given(data=st.data(), m=st.integers(3, 4))
def test_estimates_average_exactly_to_the_truth_over_all_draws_of_batches(data, m):
    """A finite population of k equally likely gradients: the mean over all k^m draws is G and N, to rounding.

    |mean of the batch gradients|^2 itself averages to G + N/m: a bias the same enumeration shows.
    """
    population = data.draw(spread(4, NET.size))
    mean = population.mean(axis=0)
    trained = np.concatenate([np.arange(a, b) for g in NET.groups() if not g.frozen for a, b in g.segments])
    signal = np.sum(mean[trained] ** 2)
    noise = np.sum((population[:, trained] - mean[trained]) ** 2) / len(population)
    draws = [population[list(pick)] for pick in itertools.product(range(4), repeat=m)]
    found = [noise_estimate(NET, PARAMETERS[0], draw) for draw in draws]
    assert np.mean([f.squared_mean.sum() for f in found]) == pytest.approx(signal, rel=1e-9, abs=1e-12)
    assert np.mean([f.trace.sum() for f in found]) == pytest.approx(noise, rel=1e-9, abs=1e-12)
    naive = np.mean([np.sum(draw.mean(axis=0)[trained] ** 2) for draw in draws])
    assert naive == pytest.approx(signal + noise / m, rel=1e-9), "what subtracting N/m is for"


def test_wrong_arguments_are_refused():
    for change, message in (
        ({"batches": 1}, "`batches`"),
        ({"seeds": [1]}, "`seeds`"),
        ({"parameters": PARAMETERS[0]}, "`parameters`"),
    ):
        with pytest.raises(ValueError, match=message):
            signal_and_noise(**{"net": NET, "parameters": PARAMETERS, "data": DATA, **settings(), **change})
