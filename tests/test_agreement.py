"""Distances between the laws of labels of two ensembles: exact small cases, unbiasedness, floors, errors."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from sdetheory.networks import agreement, digits, mlp, train, train_in_pieces

CLASSES = 3


def labellings(least=4, most=9, inputs=4):
    """Labels (E, n) of a few nets on a few inputs."""
    return st.integers(least, most).flatmap(
        lambda nets: st.lists(
            st.lists(st.integers(0, CLASSES - 1), min_size=inputs, max_size=inputs), min_size=nets, max_size=nets
        ).map(np.array)
    )


def samples(law, nets):
    """All outcomes of `nets` independent labels on one input, with their chances: counts (S, 1, C) and (S,)."""
    drawn = list(itertools.product(range(len(law)), repeat=nets))
    counts = np.array([[np.bincount(one, minlength=len(law))] for one in drawn])
    return counts, np.array([np.prod([law[label] for label in one]) for one in drawn])


@given(labellings(), labellings())
@example(np.zeros((4, 4), int), np.zeros((5, 4), int))
@example(np.zeros((4, 4), int), np.ones((5, 4), int))
def test_distances_against_their_definitions(a, b):
    """Loops over inputs, labels and pairs of nets."""
    x, y = agreement.label_counts(a, CLASSES), agreement.label_counts(b, CLASSES)
    inputs = range(a.shape[1])
    expected = [
        [abs((a[:, i] == k).mean() - (b[:, i] == k).mean()) / 2 for k in range(CLASSES)] for i in inputs
    ]
    assert agreement.total_variation(x, y) == pytest.approx(np.sum(expected, axis=1).mean(), abs=1e-14)
    across = np.mean([u != v for i in inputs for u in a[:, i] for v in b[:, i]])
    within = [np.mean([u != v for i in inputs for u, v in itertools.permutations(one[:, i], 2)]) for one in (a, b)]
    assert agreement.disagreement(x, y) == pytest.approx(across, abs=1e-14)
    for counts, found in zip((x, y), within, strict=True):
        assert agreement.disagreement(counts) == pytest.approx(found, abs=1e-14)
    assert agreement.squared_distance(x, y) == pytest.approx(2 * across - sum(within), abs=1e-13)
    share = agreement.start_share(x, y)
    assert np.isnan(share) if across == 0 else share == pytest.approx(1 - sum(within) / (2 * across), abs=1e-12)


@given(labellings(), labellings())
def test_symmetries(a, b):
    """Order of nets, of inputs, of ensembles and names of labels do not matter."""
    x, y = agreement.label_counts(a, CLASSES), agreement.label_counts(b, CLASSES)
    for measure in (agreement.total_variation, agreement.squared_distance, agreement.gaussian_floor):
        value = measure(x, y)
        assert measure(y, x) == pytest.approx(value, abs=1e-14), measure
        assert measure(x[::-1], y[::-1]) == pytest.approx(value, abs=1e-14), measure
        assert measure(x[:, ::-1], y[:, ::-1]) == pytest.approx(value, abs=1e-14), measure
    np.testing.assert_array_equal(agreement.label_counts(a[::-1], CLASSES), x)
    assert 0 <= agreement.total_variation(x, y) <= 1
    stacked = np.stack([x, x]), np.stack([y, y])
    np.testing.assert_allclose(agreement.squared_distance(*stacked), agreement.squared_distance(x, y), atol=1e-14)


laws = st.lists(st.floats(0.01, 1), min_size=2, max_size=3).map(lambda p: np.array(p) / np.sum(p))


@given(laws, st.integers(2, 3), st.integers(2, 4))
def test_squared_distance_is_unbiased_and_total_variation_is_not(law, first, second):
    """Exact expectation over all samples of two laws on one input; the second law is the first one reversed."""
    other = law[::-1]
    (x, p), (y, q) = samples(law, first), samples(other, second)
    chance = p[:, None] * q[None]
    pairs = np.broadcast_to(x[:, None], (len(x), len(y), *x.shape[1:])), np.broadcast_to(y, (len(x), *y.shape))
    exact = ((law - other) ** 2).sum()
    assert (chance * agreement.squared_distance(*pairs)).sum() == pytest.approx(exact, abs=1e-12)
    mean = (chance * agreement.total_variation(*pairs)).sum()
    assert mean >= np.abs(law - other).sum() / 2 - 1e-12, "the mean of a convex function"
    if not exact:
        assert mean > 0, mean


@pytest.mark.parametrize(("law", "nets", "off"), [((0.95, 0.05), 500, 0.01), ((0.6, 0.3, 0.1), 40, 0.03)])
def test_gaussian_floor_against_the_exact_binomial_mean(law, nets, off):
    """In the first case the l1 floor, twice that of the total variation, is 0.022."""
    k = np.arange(nets + 1)
    exact = 0.0
    for p in law:
        chance = stats.binom.pmf(k, nets, p)
        exact += (chance[:, None] * chance * np.abs(k[:, None] - k)).sum() / nets / 2
    counts = np.rint(np.array([law]) * nets).astype(int)
    found = agreement.gaussian_floor(counts, counts)
    assert found == pytest.approx(exact, rel=off), f"{found} against the exact {exact}"
    assert nets != 500 or 2 * found == pytest.approx(0.022, abs=5e-4), found


@given(labellings(3, 3, 2), labellings(2, 3, 2))
def test_exchanged_counts_go_over_all_exchanges(a, b):
    """Their mean distance is that over all ways to split the pooled nets; nothing is lost."""
    pooled = np.concatenate([a, b])
    total = agreement.label_counts(pooled, CLASSES)
    x, y = agreement.exchanged(a, b, CLASSES, 600)
    np.testing.assert_array_equal(x + y, np.broadcast_to(total, x.shape))
    assert (x.sum(axis=2) == len(a)).all() and (y.sum(axis=2) == len(b)).all()
    every = []
    for mine in itertools.combinations(range(len(pooled)), len(a)):
        first = agreement.label_counts(pooled[list(mine)], CLASSES)
        every.append(agreement.total_variation(first, total - first))
    found = agreement.total_variation(x, y)
    error = np.std(every) / np.sqrt(len(found))
    assert abs(found.mean() - np.mean(every)) <= 6 * error + 1e-12, (found.mean(), np.mean(every), error)


@given(labellings(4, 6, 3))
def test_halves_have_the_error_of_the_whole(labels):
    """Mean of the halves is the whole; variance (1 - f)/(f n) s^2, f the share drawn: 1/n s^2 for an even number."""
    nets, drawn = len(labels), agreement.halves(labels, CLASSES, 4000, seed=1)
    half = nets // 2
    assert (drawn.sum(axis=2) == half).all()
    share = (labels == 0).mean(axis=0)
    found = drawn[:, :, 0] / half
    variance = share * (1 - share) * nets / (nets - 1) * (nets - half) / (half * nets)
    slack = 6 * np.sqrt(variance / len(drawn))
    assert (np.abs(found.mean(axis=0) - share) <= slack + 1e-12).all(), (found.mean(axis=0), share)
    np.testing.assert_allclose(found.var(axis=0), variance, rtol=0.25, atol=1e-12)


def ensembles(nets, inputs, seed, shift=0.0):
    """Labels of independent random classifiers: each input has its own law, tilted by `shift`."""
    draw, common = np.random.default_rng(seed), np.random.default_rng(99)
    law = common.dirichlet(np.full(CLASSES, 0.5), inputs)
    law[:, 0] += shift
    levels = np.cumsum(law / law.sum(axis=1, keepdims=True), axis=1)
    return (draw.random((nets, inputs, 1)) > levels).sum(axis=2)


def test_comparison_of_equal_and_of_different_laws():
    """200 nets, 100 inputs: distance at the floor and p-value above 0.01 for equal laws, far above for others."""
    a = ensembles(200, 100, 1)
    same = agreement.compare(a, ensembles(200, 100, 2), CLASSES)
    assert abs(same.excess) < 4 and same.p_value > 0.01, same
    assert same.floor == pytest.approx(same.gaussian_floor, rel=0.1), same
    assert abs(same.squared) < 5 * same.squared_error and abs(same.share) < 5 * same.share_error, same
    other = agreement.compare(a, ensembles(200, 100, 3, shift=0.2), CLASSES)
    assert other.excess > 10 and other.p_value == pytest.approx(1 / 101), other
    assert other.squared > 10 * other.squared_error and other.distance > 1.5 * other.floor, other


def test_standard_errors_against_repetitions():
    """Errors from random halves against the spread of the same estimate over 200 independent repetitions."""
    found = [
        agreement.compare(ensembles(60, 40, i, 0.3), ensembles(60, 40, 1000 + i), CLASSES, shuffles=1)
        for i in range(200)
    ]
    for name in ("squared", "share"):
        spread = np.std([getattr(one, name) for one in found], ddof=1)
        error = np.mean([getattr(one, f"{name}_error") for one in found])
        assert 0.8 < error / spread < 1.35, f"{name}: halves {error}, repetitions {spread}"


def test_p_values_are_uniform_for_equal_laws():
    """Share of p-values up to 0.2 in 300 comparisons of equal laws, within 5 binomial deviations of 0.2."""
    found = [
        agreement.compare(
            ensembles(12, 30, i), ensembles(12, 30, 5000 + i), CLASSES, shuffles=49, resamples=2, seed=i
        ).p_value
        for i in range(300)
    ]
    share = np.mean(np.array(found) <= 0.2)
    assert abs(share - 0.2) < 5 * np.sqrt(0.16 / 300), share


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: agreement.label_counts(np.zeros(3, int), 2), r"`labels` must have shape"),
        (lambda: agreement.label_counts(np.zeros((3, 2)), 2), r"`labels` must be integers in 0 .. 1: dtype=float64"),
        (lambda: agreement.label_counts(np.full((3, 2), 5), 2), r"values 5 .. 5"),
        (lambda: agreement.total_variation(np.ones((2, 3)), np.ones((3, 3))), r"same inputs and classes"),
        (lambda: agreement.disagreement(np.array([[1, 1], [1, 2]])), r"`a` must count the same nets"),
        (lambda: agreement.disagreement(np.array([[1, 0]])), r"`a` must count at least two nets: 1"),
        (lambda: agreement.compare(np.zeros((3, 2), int), np.zeros((5, 2), int), 2), r"at least 4 nets: 3, 5"),
        (lambda: agreement.compare(np.zeros((4, 2), int), np.zeros((4, 3), int), 2), r"`b` must have shape"),
        (lambda: agreement.halves(np.zeros((1, 2), int), 2, 5), r"`labels` must have at least 2 nets: 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.compiled
def test_pieces_are_the_run_in_one_go():
    """Rates (E, steps), stops across the blocks of random numbers: same bits at the stops and in the norms."""
    net, data = mlp((64, 8, 10), normalised_output=True), digits().subset(slice(0, 100))
    seeds, steps = [3, 8], 300
    lr = np.linspace(0.1, 0.5, 2 * steps).reshape(2, steps)
    common = {"lr": lr, "weight_decay": 0.01, "batch_size": 8, "label_noise": 0.1, "seeds": seeds}
    start = net.start(seeds, 0.5)
    whole = train(net, data, steps=steps, start=start, record_every=[10, 255, 300], **common)
    for number, piece in enumerate(train_in_pieces(net, data, stops=[10, 255, 300], start=start, **common)):
        assert piece.steps[-1] == whole.steps[number]
        assert piece.squared_norm[:, -1].tobytes() == whole.squared_norm[:, number].tobytes()
    assert piece.final.tobytes() == whole.final.tobytes()
    for stops, message in (([0, 5], "whole steps >= 1"), ([2.5], "whole steps >= 1"), ([5, 3], "increasing")):
        with pytest.raises(ValueError, match=message):
            next(train_in_pieces(net, data, stops=stops, start=start, **common))
