"""Distances at a lag: SGD without loss, an Ornstein-Uhlenbeck process, and networks on digits at two ages."""

import numpy as np
import pytest

import sdetheory as sd
from sdetheory.networks import digits, evaluate, mlp, train_in_pieces
from sdetheory.predictions import intrinsic_lr, stationary_moments
from sdetheory.statistics import equivalent, mean_test

D, LR = 64, 0.1


def rates(product):
    return {"lr": LR, "weight_decay": product / LR}


def distances(lags, paths, product, strength=0.0):
    """SGD with isotropic noise and the linear loss, at equilibrium: relative squared distances (paths, lags)."""
    mu = np.eye(D)[0]
    square = intrinsic_lr.equilibrium_squared_norm(trace=D - 1.0, **rates(product))
    burn = round(5 / product)
    path = sd.simulate(
        sd.VonMisesFisher(mu, strength), sd.SGD(**rates(product)), np.tile(mu * np.sqrt(square), (paths, 1)),
        np.concatenate([[burn], burn + np.asarray(lags)]), noise=sd.Isotropic(1.0), keep_states=True, seed=5,
    ).states  # fmt: skip
    return squared(path[:, :1], path[:, 1:])


def squared(first, second):
    """Squared distances over the sum of the squared norms, along the last axis."""
    return np.sum((first - second) ** 2, axis=-1) / (np.sum(first**2, axis=-1) + np.sum(second**2, axis=-1))


@pytest.mark.compiled
@pytest.mark.claim("I27", kind="simulation")
def test_sgd_without_loss_forgets_its_weights_by_the_exact_law():
    """E|w_T - w_(T+D)|^2 = 2R (1 - (1 - lr wd)^D) at lr wd = 0.1; 1 - e^(-D lr wd) would be seen and is refused."""
    lags = np.array([3, 7, 15])
    distance = distances(lags, 16384, 0.1)
    for number, lag in enumerate(lags):
        law = stationary_moments.lag_squared_distance(t=lag, squared_norm=0.5, **rates(0.1))
        outcome = mean_test(distance[:, number], law, detectable=0.012)
        assert outcome, outcome
        continuous = stationary_moments.ou_squared_distance(t=lag, stiffness=0.1, variance=0.5)
        refused = mean_test(distance[:, number], continuous, detectable=0.012)
        assert abs(continuous - law) < 0.012 or not refused, refused


@pytest.mark.compiled
@pytest.mark.claim("I27", kind="simulation")
def test_around_one_minimum_the_distance_saturates_at_the_limit_of_the_stationary_law():
    """With the linear loss: 1 - <mu, w/|w|>^2 of the von Mises-Fisher law at lags beyond 1/(lr wd), both the same."""
    strength, product = 1.5, 0.01
    mean = intrinsic_lr.vmf_mean(dimension=D, strength=strength, noise=1.0, **rates(product))
    limit = 1 - mean**2
    distance = distances([200, 600], 4096, product, strength)
    assert 0.2 < limit < 0.8, limit
    for values in distance.T:
        assert (outcome := equivalent(values, limit, margin=0.05 * limit)), outcome
    assert (outcome := mean_test(distance[:, 1] - distance[:, 0], 0.0, detectable=0.03 * limit)), outcome


@pytest.mark.claim("I27", kind="simulation")
def test_an_ou_process_saturates_at_twice_its_variance():
    """Exact transitions of one coordinate: the law at short lags, 2 v at long ones."""
    stiffness, variance, draw = 0.3, 2.0, np.random.default_rng(8)
    start = np.sqrt(variance) * draw.standard_normal(400_000)
    for lag in (1.0, 5.0, 50.0):
        kept = np.exp(-stiffness * lag)
        later = kept * start + np.sqrt(variance * (1 - kept**2)) * draw.standard_normal(len(start))
        law = stationary_moments.ou_squared_distance(t=lag, stiffness=stiffness, variance=variance)
        assert (outcome := mean_test((start - later) ** 2, law, detectable=0.1)), outcome
    assert law == pytest.approx(2 * variance, rel=1e-6)


@pytest.fixture(scope="module")
def runs():
    """States of 48 nets at ages 5 and 80/(lr wd) and after lags from there, and the held-out digits."""
    net, every, product = mlp((64, 16, 10), activation="tanh", normalised_output=True), digits(), 1e-2
    seeds, ages, lags = np.arange(48), (500, 8000), (500, 2000)
    stops = sorted({age + lag for age in ages for lag in (0, *lags)})
    pieces = train_in_pieces(
        net, every.subset(slice(0, 1297)), stops=stops, lr=0.3, weight_decay=product / 0.3, label_noise=0.2,
        seeds=seeds, start=net.start(seeds, 0.16 * (0.09 / product) ** 0.25),
    )  # fmt: skip
    at = {stop: record.final for stop, record in zip(stops, pieces, strict=True)}
    return net, every.subset(slice(1297, None)), at, ages, lags


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.claim("I27", kind="simulation")
def test_networks_go_on_moving_beyond_the_forgetting_time_but_less_so_when_old(runs):
    """From lag 5 to 20/(lr wd) the distance of young runs grows (more than 5.8 standard errors); old ones grow less."""
    _, _, at, ages, lags = runs
    growth = [np.log(squared(at[a], at[a + lags[1]]) / squared(at[a], at[a + lags[0]])) for a in ages]
    young = mean_test(growth[0], 0.0, detectable=0.3)
    assert young.z > young.critical and young.power > 0.99, young
    ageing = mean_test(growth[0] - growth[1], 0.0, detectable=0.2, false_alarm=1e-2)
    assert ageing.z > ageing.critical and ageing.power > 0.99, ageing


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.claim("I27", kind="simulation")
def test_averages_of_one_run_are_better_than_its_iterates_and_those_of_two_runs_worse(runs):
    net, held_out, at, ages, lags = runs
    first, later = at[ages[1]], at[ages[1] + lags[1]]
    single = (evaluate(net, first, held_out)[0] + evaluate(net, later, held_out)[0]) / 2
    one = evaluate(net, (first + later) / 2, held_out)[0] - single
    two = evaluate(net, (later[::2] + later[1::2]) / 2, held_out)[0] - (single[::2] + single[1::2]) / 2
    gain, cost = mean_test(one, 0.0, detectable=0.1), mean_test(two, 0.0, detectable=0.5, false_alarm=1e-3)
    assert -gain.z > gain.critical and gain.power > 0.99, f"loss of the average in one run: {gain}"
    assert cost.z > cost.critical and cost.power > 0.99, f"loss of the average of two runs: {cost}"
    apart = squared(later[::2], later[1::2])
    outcome = equivalent(apart, 1.0, margin=0.2, false_alarm=1e-3)
    assert outcome, f"two runs are as far apart as orthogonal vectors: {outcome}"
