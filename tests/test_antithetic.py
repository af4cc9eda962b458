"""Antithetic pairs: exact mirror images, addressable, and an error that counts pairs."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

import sdetheory as st
from sdetheory.ensemble import Ensemble
from sdetheory.integrators import StrangGeodesic
from sdetheory.lanes.antithetic import Antithetic
from sdetheory.lanes.random import Block, Gaussian, Philox, ThreePoint, TwoPoint, increments
from sdetheory.observers import Coordinate, SquaredNorm
from sdetheory.statistics import mean_test

START = np.array([0.6, -0.4, 0.3])


@pytest.mark.parametrize(
    ("inner", "generator"),
    [
        (Gaussian(), Block()),
        (ThreePoint(), Philox()),
        pytest.param(TwoPoint(), Block(), marks=pytest.mark.slow),
        pytest.param(Gaussian(), Philox(), marks=pytest.mark.slow),
    ],
)
def test_a_pair_sees_the_even_paths_numbers_and_minus_them(inner, generator):
    for pair in (0, 7, 2**33):
        plain = increments(3, 2 * pair, 254, 258, 3, increment=inner, generator=generator)
        even, odd = (
            increments(3, 2 * pair + k, 254, 258, 3, increment=Antithetic(inner), generator=generator) for k in (0, 1)
        )
        np.testing.assert_array_equal(even, plain)
        np.testing.assert_array_equal(odd, -plain)


def run(paths=8, first_path=0, increment=Antithetic(), steps=300, k=0.1, integrator=None, **options):
    return st.simulate(
        st.VonMisesFisher(np.eye(3)[0], k), st.WeightDecaySDE(0.2, 0.1), START, np.array([0.0, 1.0, steps]),
        noise=st.Isotropic(0.5), paths=paths, first_path=first_path, increment=increment, integrator=integrator,
        observe={"u": Coordinate(0), "square": SquaredNorm()}, seed=4, progress=False, **options,
    )  # fmt: skip


@pytest.mark.compiled
@settings(max_examples=10)
@given(
    first=some.integers(0, 20),
    count=some.integers(1, 22),
    width=some.sampled_from([16, 32]),
    threads=some.integers(1, 3),
)
@example(first=0, count=1, width=16, threads=1)
def test_threads_width_and_subsets_do_not_matter(first, count, width, threads):
    whole = run(84)
    part = run(2 * count, 2 * first, width=width, threads=threads)
    np.testing.assert_array_equal(part.values["u"], whole.values["u"][2 * first : 2 * (first + count)])
    np.testing.assert_array_equal(part.final, whole.final[2 * first : 2 * (first + count)])


@pytest.mark.compiled
def test_even_paths_are_those_of_plain_increments_and_odd_ones_are_replayed_by_reflected_noise():
    pairs, plain = run(), run(increment=Gaussian())
    np.testing.assert_array_equal(pairs.values["u"][::2], plain.values["u"][::2])
    assert (pairs.values["u"][1::2, 1:] != plain.values["u"][1::2, 1:]).any()
    w = START.copy()
    z = increments(4, 1, 0, 1, 3, increment=Antithetic())[0]
    stepped = st.evaluate.step(
        StrangGeodesic(), st.VonMisesFisher(np.eye(3)[0], 0.1), st.Isotropic(0.5), w, z,
        lr=0.2, weight_decay=0.1, dt=1.0,
    )  # fmt: skip
    np.testing.assert_allclose(pairs.values["u"][1, 1], stepped[0] / np.linalg.norm(stepped), rtol=1e-12)


@pytest.mark.parametrize(
    ("paths", "first_path", "message"),
    [
        (7, 0, "`paths` must be a multiple of 2 for Antithetic increments: paths=7"),
        (8, 3, "`first_path` must be a multiple of 2 for Antithetic increments: first_path=3"),
    ],
)
def test_half_pairs_are_refused(paths, first_path, message):
    with pytest.raises(ValueError, match=message):
        run(paths, first_path)


def test_pairs_of_pairs_are_refused():
    with pytest.raises(ValueError, match="`increment` must not be antithetic itself"):
        run(increment=Antithetic(Antithetic()))


def test_samples_are_means_of_whole_pairs():
    values = np.arange(12.0).reshape(6, 2)
    bad = np.array([False, False, True, False, False, False])
    steps, views = np.where(bad, 1, -1), {"x": values[None]}
    runs = Ensemble(np.arange(2.0), {"x": values}, values, bad, steps, views=views, group=2)
    np.testing.assert_array_equal(runs.samples("x"), [[1.0, 2.0], [9.0, 10.0]])
    np.testing.assert_array_equal(runs.samples("x", 0), runs.samples("x"))
    mean, error = runs.mean("x")
    np.testing.assert_array_equal(mean, [5.0, 6.0])
    np.testing.assert_allclose(error, 4.0)


@pytest.mark.compiled
def test_the_error_of_an_ensemble_of_pairs_is_true():
    """Groups of runs: squared deviations over squared errors average one; over single paths they would be far less."""
    exact = 0.6 / np.linalg.norm(START) * np.exp(-0.02 * 20)
    paths, groups = 64, 1000
    trace, square = 0.5, (0.2 * 0.5 / 0.2) ** 0.5  # |w|^2 = sqrt(lr S/(2 wd)) at equilibrium
    start = START * np.sqrt(square) / np.linalg.norm(START)
    ens = st.simulate(
        st.VonMisesFisher(np.eye(3)[0], 0.0), st.WeightDecaySDE(0.2, 0.1), start, [0.0, 10.0, 20.0],
        noise=st.Isotropic(np.sqrt(trace / 2)), dt=10.0, paths=paths * groups, increment=Antithetic(),
        observe={"u": Coordinate(0)}, seed=1, threads=1, progress=False,
    )  # fmt: skip
    pairs = ens.samples("u")[:, 2].reshape(groups, -1)
    z = (pairs.mean(axis=1) - exact) / (pairs.std(axis=1, ddof=1) / np.sqrt(pairs.shape[1]))
    outcome = mean_test(z * z, 1.07, detectable=0.65)  # Student's t with 31 degrees of freedom: 31/29
    assert outcome, outcome
    singles = ens.values["u"][:, 2].reshape(groups, -1)
    wrong = (singles.mean(axis=1) - exact) / (singles.std(axis=1, ddof=1) / np.sqrt(paths))
    assert not mean_test(wrong * wrong, 1.07, detectable=0.65), "single paths would have been a wrong error"
