"""What most steps of training obey, and what walks obey too; nets that train and nets that do not."""

import numpy as np
import pytest
from hypothesis import given
from network_problems import spread
from scipy import stats

from figures.press.technique_nets import Bench, Technique, nearer, shuffled, walks
from sdetheory.regularity import regularity
from sdetheory.statistics import mean_test, proportion_test

BENCH = Bench({"widths": [64, 12, 12, 10], "training_digits": 320, "batch_size": 16, "steps": 200, "level": 0.5,
               "far": 2, "rates": [0.1, 0.3, 1.0], "tuning_seeds": 2, "seed": 40})  # fmt: skip
SEEDS = np.arange(8)


@given(spread(2, 7, 3))
def test_products_of_steps_know_who_comes_nearer(steps):
    path = np.concatenate([np.zeros((2, 1, 3)), steps.cumsum(axis=1)], axis=1)
    got, wanted = nearer(steps @ steps.mT), regularity(path, np.ones((2, 7)), 1.0).positive
    close = (np.abs(regularity(path, np.ones((2, 7)), 1.0).fall) < 1e-9).any(axis=1)
    assert (close | (got == wanted)).all(), (got, wanted)


def test_orders_and_walks_keep_the_lengths_of_the_steps():
    steps, draw = np.sin(np.arange(60.0) ** 1.5).reshape(2, 6, 5), np.random.default_rng(0)
    products = steps @ steps.mT
    for other in (shuffled(products, draw), walks(products, 50, draw)):
        lengths = [np.sort(np.einsum("ekk->ek", one), axis=1) for one in (products, other)]
        assert np.allclose(*lengths, rtol=1e-12), lengths
        assert np.allclose(other, other.mT)
    order = shuffled(products, draw)
    assert np.allclose(order.sum(axis=(1, 2)), products.sum(axis=(1, 2))), "the end of the walk has moved"


@pytest.mark.claim("B9", kind="simulation")
def test_a_walk_in_many_dimensions_obeys_the_principle_at_most_steps():
    """Steps independent and as long as each other: gamma_k > 0 with probability Phi(sqrt(P/(T - k - 1))/2)."""
    size, steps, runs = 3000, 120, 40
    products = walks(np.broadcast_to(np.eye(steps), (runs, steps, steps)), size, np.random.default_rng(5))
    left = np.arange(steps - 1, 0, -1)
    wanted = (stats.norm.cdf(np.sqrt(size / left) / 2).sum() + 1) / steps  # the last step ends at the end
    assert wanted > 0.99, wanted
    assert (outcome := mean_test(nearer(products), wanted, detectable=0.01)), str(outcome)
    low = walks(np.broadcast_to(np.eye(steps), (400, steps, steps)), 30, np.random.default_rng(6))
    first = (np.einsum("ek->e", low[:, 0]) > 0.5).sum()  # <u_0, sum of all> > |u_0|^2/2: step 0 comes nearer
    chance = float(stats.norm.cdf(np.sqrt(30 / (steps - 1)) / 2))
    assert (outcome := proportion_test(int(first), 400, chance, detectable=0.3)), str(outcome)


@pytest.fixture(scope="module")
def trained():
    """Eight nets with every technique, their learning rate not tuned."""
    return BENCH.measured(Technique(), np.full(8, 0.3), SEEDS, far=True, products=True)


@pytest.mark.compiled
@pytest.mark.claim("B9", kind="simulation")
def test_training_obeys_it_at_most_steps_and_every_epoch_but_never_always(trained):
    measures = trained.measures
    assert (measures["least_step"] < 0).all(), measures["least_step"]
    assert (measures["positive_epochs"] == 1).all(), measures["positive_epochs"]
    assert ((0.7 < measures["positive_steps"]) & (measures["positive_steps"] < 1)).all(), measures["positive_steps"]
    assert np.allclose(measures["positive_steps"], nearer(trained.products)), "two definitions of the same share"


@pytest.mark.compiled
@pytest.mark.claim("B9", kind="simulation")
def test_that_is_no_evidence_as_walks_do_it_too(trained):
    """Isotropic steps of the same lengths come nearer nearly as often; so a bare share of steps says little."""
    size = BENCH.net(Technique()).size
    share = nearer(walks(trained.products, size, np.random.default_rng(7)))
    gap = trained.measures["positive_steps"] - share
    assert share.min() > 0.6 and abs(gap.mean()) < 0.2, (share, gap)


@pytest.mark.compiled
@pytest.mark.claim("B8", kind="simulation")
def test_nets_that_do_not_train_have_no_gamma(trained):
    """Deep sigmoids without normalisation or skip connections stay at the loss of guessing, and gamma near 0."""
    plain = Bench(BENCH.params | {"widths": [64, 12, 12, 12, 12, 12, 10]})
    stuck = plain.measured(Technique("sigmoid", False, False), np.full(8, 0.3), SEEDS).measures
    assert (stuck["mean_loss"] > 2).all() and (trained.measures["mean_loss"] < 1).all(), stuck["mean_loss"]
    ratio = stuck["gamma_far"] / trained.measures["gamma_far"]
    assert ratio.max() < 0.2 and trained.measures["gamma_far"].min() > 0.3, (ratio, trained.measures["gamma_far"])
