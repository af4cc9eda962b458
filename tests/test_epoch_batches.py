"""Batches of epochs: their indices, exact mean and covariance, and what batches do to the imbalance."""

import collections
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sdetheory
from sdetheory import evaluate
from sdetheory.conventions import without_half
from sdetheory.integrators.euler_maruyama import TrainingStep
from sdetheory.lanes.epochs import ROUNDS, Epochs
from sdetheory.lanes.random import increments
from sdetheory.models.deep_linear import PseudoHuber, deep_linear, deep_linear_from_data
from sdetheory.models.deep_linear_batches import minibatch
from sdetheory.models.epoch_batches import epoch_batches
from sdetheory.models.weights import gaussian_weights
from sdetheory.predictions import public_run
from sdetheory.statistics import equivalent, proportion_test
from tests.deep_linear_cases import SLOPE, arrays, close, gradient_by_hand

NET = (2, 3, 2)


# ---- indices


@settings(max_examples=30)
@given(st.integers(1, 40), st.data(), st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_an_epoch_takes_every_sample_at_most_once(samples, data, seed, path):
    batch = data.draw(st.integers(1, samples))
    steps, law = samples // batch, Epochs(samples, batch)
    drawn = increments(seed, path, 0, 3 * steps, batch, increment=law)
    for epoch in drawn.reshape(3, -1):
        assert len(set(epoch)) == epoch.size and 0 <= epoch.min() <= epoch.max() < samples, epoch
    first = data.draw(st.integers(0, 3 * steps - 1))
    np.testing.assert_array_equal(increments(seed, path, first, first + 1, batch, increment=law)[0], drawn[first])


@pytest.mark.compiled
def test_the_order_of_an_epoch_does_not_depend_on_the_batch():
    whole = increments(5, 3, 0, 4, 12, increment=Epochs(12, 12))
    for batch in (1, 2, 3, 6):
        parts = increments(5, 3, 0, 4 * 12 // batch, batch, increment=Epochs(12, batch))
        np.testing.assert_array_equal(parts.reshape(4, 12), whole)
    orders = {tuple(row) for path in range(50) for row in increments(5, path, 0, 4, 12, increment=Epochs(12, 12))}
    assert len(orders) == 200, len(orders)  # two equal orders of 12! have a chance of 4e-5


def round_on_pairs(n):
    """Transition matrix of the ideal shuffle's round on ordered pairs of different positions."""
    pairs = list(itertools.permutations(range(n), 2))
    at, move = {pair: i for i, pair in enumerate(pairs)}, np.zeros((len(pairs), len(pairs)))
    for (x, y), key in itertools.product(pairs, range(n)):
        xs, ys = (key - x) % n, (key - y) % n
        ends = [(x, y), (xs, ys)] * 2 if xs == y else [(x, y), (xs, y), (x, ys), (xs, ys)]
        for end in ends:
            move[at[x, y], at[end]] += 1 / (4 * n)
    return move


@pytest.mark.parametrize("n", [2, 3, 4, 7, 10])
def test_the_law_of_two_positions_tends_to_the_uniform_one(n):
    """Every round shrinks the distance by (1 + 1/n)/2, the second eigenvalue; by 1/2 for n = 2, 3."""
    move = round_on_pairs(n)
    second = np.sort(np.abs(np.linalg.eigvals(move)))[-2]
    shrinks = (1 + 1 / n) / 2 if n > 3 else 0.5
    assert np.isclose(second, shrinks, rtol=1e-9), (second, shrinks)
    error = np.abs(np.linalg.matrix_power(move, ROUNDS) * len(move) - 1).max()
    assert error < len(move) * shrinks**ROUNDS + 1e-13, error


@pytest.mark.compiled
@pytest.mark.parametrize("law", [Epochs(5, 5), Epochs(5, 2)], ids=str)
def test_pairs_of_samples_are_uniform(law):
    """Every ordered pair of the first two places, and of the last place with the first of the next step."""
    count, within = 20_000, law.samples * (law.samples - 1)
    z = increments(8, 2, 0, count, law.batch, increment=law).astype(int)
    seen = collections.Counter(map(tuple, z[:, :2]))
    assert len(seen) == within, seen
    for pair, times in seen.items():
        outcome = proportion_test(times, count, 1 / within, detectable=9 * np.sqrt(1 / within / count))
        assert outcome, (pair, outcome)
    joint = collections.Counter(zip(z[:-1:2, -1], z[1::2, 0], strict=True))
    next_to = within if law == Epochs(5, 2) else law.samples**2  # the two batches of one epoch differ
    assert len(joint) == next_to, joint
    for pair, times in joint.items():
        outcome = proportion_test(times, count // 2, 1 / next_to, detectable=14 * np.sqrt(1 / next_to / count))
        assert outcome, (pair, outcome)


# ---- gradients


def batch_step(model, noise, w, chosen, lr=0.1):
    return evaluate.step(TrainingStep(), model, noise, w, np.asarray(chosen, float), lr=lr)


@settings(max_examples=15)
@given(arrays(12), arrays(2, 4), arrays(2, 4), st.lists(st.integers(0, 3), min_size=2, max_size=2))
@example(np.ones(12), np.ones((2, 4)), np.zeros((2, 4)), [3, 3])
@pytest.mark.parametrize("penalty", ["square", "huber"])
def test_a_step_is_the_step_on_the_samples_chosen(penalty, w, inputs, targets, chosen):
    residual_loss = {"residual_loss": PseudoHuber()} if penalty == "huber" else {}
    model = deep_linear_from_data(inputs, targets, NET, **residual_loss)
    found = batch_step(model, epoch_batches(model, 2), w, chosen)
    gradient = gradient_by_hand(w, NET, inputs[:, chosen], targets[:, chosen], SLOPE[penalty], 0.5)
    close(found, w - 0.1 * gradient, scale=1 + 10 * np.abs(gradient).max())


def test_a_run_takes_the_samples_of_its_address():
    """Six steps of two epochs, replayed by hand from the indices handed out; weight decay included."""
    rng = np.random.default_rng(3)
    inputs, targets, w = rng.standard_normal((2, 7)), rng.standard_normal((2, 7)), gaussian_weights(NET, rng)
    model = deep_linear_from_data(inputs, targets, NET)
    run = sdetheory.simulate(
        model, sdetheory.SGD(0.1, 0.2), w, [6], noise=epoch_batches(model, 2), seed=4, first_path=9, paths=2,
        progress=False,
    )  # fmt: skip
    for chosen in increments(4, 10, 0, 6, 2, increment=Epochs(7, 2)).astype(int):
        gradient = gradient_by_hand(w, NET, inputs[:, chosen], targets[:, chosen], SLOPE["square"], 0.5)
        w = 0.98 * w - 0.1 * gradient
    close(run.final[1], w)


@pytest.mark.claim("D28", kind="property")
@pytest.mark.parametrize("replace", [True, False])
def test_mean_and_covariance_over_all_batches(replace):
    """Every batch of three of five samples: mean 0, covariance V/B, times (n - B)/(n - 1) without replacement."""
    rng, n, size = np.random.default_rng(1), 5, 3
    inputs, targets, w = rng.standard_normal((2, n)), rng.standard_normal((2, n)), gaussian_weights(NET, rng)
    model = deep_linear_from_data(inputs, targets, NET)
    single = np.array([batch_step(model, epoch_batches(model, 1), w, [i], lr=-1.0) - w for i in range(n)])
    whole = evaluate.gradient(model, w)
    close(single.mean(axis=0), whole, scale=10.0)
    covariance = (single - whole).T @ (single - whole) / n / size
    batches = itertools.product(range(n), repeat=size) if replace else itertools.permutations(range(n), size)
    noise = epoch_batches(model, size)  # with repetitions, what its kernel makes of the indices
    found = np.array([batch_step(model, noise, w, chosen, lr=-1.0) - w - whole for chosen in batches])
    close(found.mean(axis=0), 0.0, scale=10.0)
    close(found.T @ found / len(found), covariance * (1.0 if replace else (n - size) / (n - 1)), scale=10.0)


# ---- imbalance


def normalised_data(rng, n, residual):
    """x of mean square 1, y = x + r with mean r x = 0: W = 1 fits best."""
    x, r = rng.standard_normal((2, n))
    x = (x - x.mean()) / x.std()
    r -= r.mean() + x * np.mean(r * x)
    return x, x + residual * r


def start_of(imbalance):
    """(w_1, w_2) with w_1 w_2 = 1 and w_1^2 - w_2^2 = imbalance."""
    first = np.sqrt((imbalance + np.hypot(imbalance, 2)) / 2)
    return np.array([first, 1 / first])


def slope_factor(pull, steps, curvature_square, skew):
    """E (xi + a u)^2/V along u' = u - pull (xi + a u) at a minimum, in the stationary state, E a = 1: independent steps
    with E a^2 = curvature_square for steps=0; else xi that add up to 0 in an epoch of `steps` steps, skew = E a xi^2/V,
    to first order in pull in what a does."""
    if not steps:
        return 1 / (1 - curvature_square * pull / 2)
    covariance = (steps * np.eye(steps) - 1) / (steps - 1)
    late = np.subtract.outer(np.arange(steps + 1), np.arange(steps)) - 1
    by_noise = np.where(late >= 0, -pull * (1 - pull) ** np.maximum(late, 0), 0.0)  # u_k of the epoch's xi
    spread = np.einsum("ki,ij,kj->k", by_noise, covariance, by_noise)
    kept = (1 - pull) ** (2 * np.arange(steps + 1))
    spread += kept * spread[-1] / (1 - kept[-1])
    crossed = np.einsum("ki,ik->k", by_noise[:-1], covariance)
    return np.mean(1 + spread[:-1] + 2 * skew * crossed)


# (lr, steps, batch, replace, steps of an epoch); lr S < 0.01, but in the last case, where lr S = 0.07
RATES = [(0.002, 2000, 1, True, 0), (0.002, 2000, 4, True, 0), (0.002, 2000, 16, True, 0),
         (0.002, 2000, 4, False, 25), (0.002, 2000, 50, False, 2), (0.02, 2000, 50, False, 2)]  # fmt: skip


@pytest.mark.compiled
@pytest.mark.claim("D28", kind="simulation")
@pytest.mark.parametrize(("lr", "steps", "batch", "replace", "epoch"), RATES)
def test_batches_shrink_the_imbalance_at_the_predicted_rate(lr, steps, batch, replace, epoch):
    """ln D falls by 4 lr^2 Var(x^2 - x y)/B a step, times (1 - B/n) n/(n - 1) without replacement: to 3 per cent.

    The spread of W adds 1/(1 - lr S E a^2) with replacement, a = mean x^2 of a batch: for single samples three times
    the lr S of constant curvature.  Inside an epoch the batches make up for each other, and pull W to where the next
    ones push harder: in short epochs (lr S times their steps is small) that adds 1 + 2 lr S E a xi^2/V.
    """
    n = 100
    x, y = normalised_data(np.random.default_rng(7), n, 1.0)
    model = without_half(deep_linear_from_data(x[None], y[None], (1, 1, 1)))
    noise = minibatch(model, batch) if replace else epoch_batches(model, batch)
    run = sdetheory.simulate(
        model, sdetheory.SGD(lr), start_of(3.0), [steps], noise=noise, paths=512, seed=2,
        progress=False,
    )  # fmt: skip
    xi = x * x - x * y
    skew = 1 + np.mean((x * x - 1) * xi**2) / np.mean(xi**2) / batch * (n - 2 * batch) / (n - 2)
    variance, size = 4 * np.var(x * x - x * y) / batch * (1.0 if replace else (n - batch) / (n - 1)), 3.0
    for _ in range(20):
        pull = 2 * lr * np.hypot(size, 2)
        size *= np.exp(-(lr**2) * variance * slope_factor(pull, epoch, 1 + np.var(x * x) / batch, skew) * steps / 20)
    logs = np.log(run.final[:, 0] ** 2 - run.final[:, 1] ** 2)
    outcome = equivalent(logs, np.log(size), margin=0.03 * np.log(3.0 / size))
    assert outcome, outcome
    if epoch == 0:  # at constant curvature, the factor of the package's prediction
        rate = public_run.batch_imbalance_rate(
            lr=lr, slope_variance=variance, curvature=1.0, imbalance=3.0, two_layer_target=1.0
        )
        close(rate / (lr**2 * variance * slope_factor(2 * lr * np.hypot(3, 2), 0, 1.0, 1.0)), 1.0)


@pytest.mark.compiled
@pytest.mark.claim("D29", kind="simulation")
@pytest.mark.parametrize("replace", [True, False])
def test_interpolating_data_freeze_the_imbalance(replace):
    """y = x: batches still differ in their gradients until W = 1, and not at all there."""
    x, y = normalised_data(np.random.default_rng(7), 100, 0.0)
    model = without_half(deep_linear_from_data(x[None], y[None], (1, 1, 1)))
    noise = minibatch(model, 4) if replace else epoch_batches(model, 4)
    run = sdetheory.simulate(
        model, sdetheory.SGD(0.05), [0.1, 1.7], [10, 400, 2000], noise=noise, paths=8,
        keep_states=True, progress=False,
    )  # fmt: skip
    imbalance = run.states[..., 1] ** 2 - run.states[..., 0] ** 2
    assert np.ptp(imbalance[:, 0]) > 1e-4, imbalance[:, 0]  # batches made a difference on the way
    close(imbalance[:, 2], imbalance[:, 1], tolerance=1e-13)
    assert (imbalance[:, 2] > 2.0).all() and (imbalance[:, 2] < 2.88).all(), imbalance[:, 2]


# ---- refusals


def test_what_cannot_be_a_batch_is_refused():
    model = deep_linear_from_data([[1.0, 2.0]], [[1.0, 0.0]], (1, 1))
    with pytest.raises(ValueError, match="`model` must have data"):
        epoch_batches(deep_linear((1, 1), [[1.0]]), 1)
    with pytest.raises(ValueError, match="`batch` must not be above the number of samples, 2: batch=3"):
        epoch_batches(model, 3)
    with pytest.raises(ValueError, match="`batch` must not be above the number of samples, 2: batch=3"):
        Epochs(2, 3).validated(1)
    run = lambda **how: sdetheory.simulate(
        model, how.pop("rule", sdetheory.SGD(0.1)), [1.0], [1], noise=epoch_batches(model, 1), **how
    )
    with pytest.raises(ValueError, match=r"`increment` must be left out for EpochBatch"):
        run(increment=sdetheory.Antithetic())
    with pytest.raises(ValueError, match=r"`coarsen` must be 1 for EpochBatch"):
        run(coarsen=2)
    with pytest.raises(ValueError, match=r"`generator` must not hold the numbers of EpochBatch"):
        run(generator=sdetheory.Held(2))
    with pytest.raises(ValueError, match=r"`noise` must be linear in its increments for WeightDecaySDE"):
        run(rule=sdetheory.WeightDecaySDE(0.1, 0.1))
    with pytest.raises(ValueError, match=r"must have increments with a fair sign"):
        run(rule=sdetheory.CoinSVAG(0.1, l=2))
    with pytest.raises(ValueError, match=r"`noise` must take Gaussian increments"):
        sdetheory.simulate(model, sdetheory.SGD(0.1), [1.0], [1], noise=sdetheory.Skewed(epoch_batches(model, 1)))
