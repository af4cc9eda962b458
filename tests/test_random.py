"""Addressable randomness: known answers, exact transforms, moments, and the numbers a simulation really
consumes.
"""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from numba import njit

import sdetheory as st
from sdetheory.integrators import EulerMaruyama
from sdetheory.lanes import random
from sdetheory.lanes.random import Block, Philox, ThreePoint, TwoPoint, increments
from sdetheory.lanes.vector import float_rows, lane_array, load, store
from sdetheory.statistics import mean_test

W64 = np.uint64
plain = lambda kernel: getattr(kernel, "py_func", kernel)

# kat_vectors of Random123 1.14 (D. E. Shaw Research): philox4x32, 10 rounds; counter, key, answer
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]  # fmt: skip


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_known_answers(counter, key, answer):
    low, high = plain(random.philox)(*map(W64, counter), *map(W64, key))
    got = [int(low) & 0xFFFFFFFF, int(low) >> 32, int(high) & 0xFFFFFFFF, int(high) >> 32]
    assert got == list(answer), [hex(word) for word in got]


def test_xoshiro_follows_its_reference():
    """Python integers, written from the authors' C code."""
    rotate = lambda x, k: ((x << k) | (x >> (64 - k))) % 2**64
    s = [1, 2, 3, 4]
    lanes = [np.array([word], dtype=W64) for word in s]
    for _ in range(200):
        word = (rotate((s[0] + s[3]) % 2**64, 23) + s[0]) % 2**64
        t = (s[1] << 17) % 2**64
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 45)
        *lanes, got = plain(random.xoshiro)(*lanes)
        assert int(got[0]) == word


def exact_normals(r0, r1):
    """Box-Muller from the same bits with the library's functions."""
    u = 1.0 - (r0 >> W64(12)).astype(float) * 2.0**-52 - 2.0**-53
    t = 2.0 * (r1 >> W64(12)).astype(float) * 2.0**-52 - 1.0
    sign = np.where(r1 & W64(1), -1.0, 1.0)
    radius = np.sqrt(-2.0 * np.log(u))
    return sign * radius * np.cos(0.5 * np.pi * t), radius * np.sin(0.5 * np.pi * t)


@njit(error_model="numpy")
def transform(words, out):
    """Both normals of one pair of words, and the logarithm of the uniform one."""
    x, y = random.box_muller(load(words, 0), load(words, 1))
    store(out, 0, x)
    store(out, 1, y)


@njit(error_model="numpy")
def logarithm(x, out):
    """The generator's own."""
    store(out, 0, random._log(load(x, 0)))


@given(words=some.lists(some.integers(0, 2**64 - 1), min_size=16, max_size=16))
@example(words=[0] * 16)
@example(words=[2**64 - 1] * 16)
def test_box_muller_of_the_same_bits(words):
    bits, out = lane_array(2, 8, "u8"), lane_array(2, 8)
    float_rows(bits)[:] = np.array(words, dtype=W64).reshape(2, 8)
    transform(bits, out)
    error = np.abs(float_rows(out) - exact_normals(*float_rows(bits)))
    assert error.max() < 2e-12, (error, words)


@pytest.mark.compiled
@pytest.mark.parametrize("generator", [Block(), Philox()], ids=["block", "philox"])
def test_moments_and_lags_of_normals(generator):
    x = increments(11, 3, 0, 60_000, 5, generator=generator)
    n, scale = x.size, np.sqrt(x.size)
    for power, moment, spread in ((1, 0, 1), (2, 1, np.sqrt(2)), (3, 0, np.sqrt(15)), (4, 3, np.sqrt(96))):
        outcome = mean_test((x**power).reshape(-1), moment, detectable=9 * spread / scale)
        assert outcome, outcome
    block = x[256::256]
    for name, a, b in (
        ("step", x[1:], x[:-1]),
        ("coordinate", x[:, 1:], x[:, :-1]),
        ("block", block[1:], block[:-1]),
        ("across the border of a block", block, x[255:-1:256][: len(block)]),
        ("pair", x[:, 0] ** 2 - 1, x[:, 1] ** 2 - 1),
    ):
        samples = (a * b).reshape(-1)
        outcome = mean_test(samples, 0.0, detectable=9 * samples.std() / np.sqrt(samples.size))
        assert outcome, (name, outcome)
    assert n == 300_000


@pytest.mark.compiled
def test_paths_and_seeds_are_independent_streams():
    x = np.array(
        [increments(seed, path, 0, 20_000, 2).reshape(-1) for seed in (1, 2) for path in (0, 1, 2**40)]
    )
    products = [(x[i] * x[j]) for i in range(6) for j in range(i)]
    for samples in products:
        outcome = mean_test(samples, 0.0, detectable=9 / np.sqrt(samples.size))
        assert outcome, outcome


@pytest.mark.compiled
def test_weak_increments_take_their_values_with_their_probabilities():
    two = increments(5, 1, 0, 20_000, 3, increment=TwoPoint())
    assert set(np.unique(two)) == {-1.0, 1.0}
    outcome = mean_test(two.reshape(-1), 0.0, detectable=0.04)
    assert outcome, outcome
    three = increments(5, 1, 0, 20_000, 3, increment=ThreePoint())
    root = np.sqrt(3.0)
    assert set(np.unique(three)) == {-root, 0.0, root}
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (5, 0)):
        outcome = mean_test(
            (three**power).reshape(-1), moment, detectable=9 * root**power / np.sqrt(three.size)
        )
        assert outcome, (power, outcome)
    wide = increments(5, 1, 0, 300, 200, increment=TwoPoint())  # more than the 128 bits of one pair of words
    worst = np.abs(wide.T @ wide / len(wide) - np.eye(200)).max()
    assert worst < 7 / np.sqrt(len(wide)), worst


@pytest.mark.compiled
@settings(max_examples=15)
@given(first=some.integers(0, 700), count=some.integers(0, 20), coarsen=some.integers(1, 5))
@example(first=256, count=1, coarsen=1)
@example(first=255, count=3, coarsen=3)
def test_any_window_of_a_path_is_the_same_numbers(first, count, coarsen):
    whole = increments(9, 4, 0, 3600, 3)
    last = min(first + count, len(whole) // coarsen)
    first = min(first, last)
    window = increments(9, 4, first, last, 3, coarsen=coarsen)
    fine = whole[first * coarsen : last * coarsen].reshape(last - first, coarsen, 3)
    np.testing.assert_allclose(window, fine.sum(axis=1) / np.sqrt(coarsen), rtol=0, atol=1e-14)


def test_an_odd_count_of_normals_drops_the_spare_one():
    np.testing.assert_array_equal(increments(1, 2, 0, 1, 3), increments(1, 2, 0, 1, 4)[:, :3])


@pytest.mark.parametrize("coarsen", [1, 3])
def test_increments_are_what_a_simulation_consumes(coarsen):
    """Euler-Maruyama without loss, replayed in numpy from the increments handed out."""
    lr, wd, sigma, dt, steps, seed, path = 0.3, 0.2, 0.7, 0.5, 12, 21, 5
    w = np.array([0.4, -1.0, 0.3])
    ens = st.simulate(st.Rayleigh(np.zeros(3)), st.WeightDecaySDE(lr, wd), w, np.arange(steps + 1) * dt,
                      noise=st.Isotropic(sigma), integrator=EulerMaruyama(), dt=dt, seed=seed,
                      first_path=path, coarsen=coarsen, keep_states=True)  # fmt: skip
    for k, z in enumerate(increments(seed, path, 0, steps, 3, coarsen=coarsen)):
        np.testing.assert_allclose(ens.states[0, k], w, rtol=1e-13)
        tangent = z - w * (w @ z) / (w @ w)
        w = w - lr * wd * dt * w + lr * np.sqrt(dt) * sigma * tangent / np.linalg.norm(w)
    np.testing.assert_allclose(ens.final[0], w, rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0, 0, 1, 1), "`seed` must be at least 0"),
        ((0, 0, 2, 1, 1), "`last` must not be below `first`: first=2, last=1"),
        ((0, 0, 0, 1, 1.5), "`n` must be an integer"),
    ],
)
def test_bad_addresses_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        increments(*arguments)


@given(exponents=arrays(np.float64, 8, elements=some.floats(-37, 0)))
@example(exponents=np.zeros(8))
@example(exponents=np.full(8, np.log(0.5) / 2))
def test_the_logarithm_is_good_to_twelve_digits(exponents):
    x, out = lane_array(1, 8), lane_array(1, 8)
    float_rows(x)[0] = np.exp(exponents)
    logarithm(x, out)
    error = np.abs(float_rows(out)[0] - np.log(float_rows(x)[0]))
    assert error.max() < 3e-12, (error, exponents)
