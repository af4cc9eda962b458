"""Noise on layers and weights: average losses over all masks, and where SGD with dropout ends."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sdetheory
from sdetheory import evaluate
from sdetheory.dynamics import Exponential
from sdetheory.integrators.euler_maruyama import TrainingStep
from sdetheory.lanes.mask import Mask
from sdetheory.lanes.random import TwoPoint, increments
from sdetheory.lanes.uniform import Uniform, uniform_level
from sdetheory.models.deep_linear import deep_linear, scalar_chain
from sdetheory.models.deep_linear_noise import multiplicative_input_noise
from sdetheory.models.factor_noise import drop_connect, dropout, layer_noise, weight_noise
from sdetheory.models.weights import gaussian_weights, unpack
from sdetheory.predictions import deep_linear as predictions
from sdetheory.predictions import low_rank
from sdetheory.statistics import equivalent, mean_test, proportion_test
from tests.deep_linear_cases import arrays, close

NET = (2, 3, 2)


# ---- increments


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("law", "moments"),
    [(Uniform(), (0, 1, 0, 9 / 5)), (Mask(0.5), (0, 1, 0, 1)), (Mask(0.8), (0, 1, -1.5, 3.25))],
    ids=str,
)
def test_moments_of_bounded_increments(law, moments):
    """Moments 1 to 3 of Uniform() and Mask(0.5) are a normal's (weak order 1); of other masks 1 and 2."""
    z = increments(4, 1, 0, 40_000, 3, increment=law).ravel()
    for power, moment in enumerate(moments, start=1):
        spread = np.std(z**power) + 1e-12  # Mask(0.5) has z^2 = 1
        outcome = mean_test(z**power, moment, detectable=9 * spread / np.sqrt(z.size) + 1e-9)
        assert outcome or np.allclose(z**power, moment, atol=1e-12), (power, outcome)
    assert np.abs(z).max() <= (np.sqrt(3) if isinstance(law, Uniform) else 2.0 + 1e-12), np.abs(z).max()


@pytest.mark.compiled
def test_masks_are_kept_as_often_as_said_and_nothing_in_between():
    noise = dropout(deep_linear(NET, np.eye(2)), 0.7)
    z = increments(4, 1, 0, 20_000, 3, increment=noise.increment)
    factors = 1 + noise.level * z
    assert np.allclose(np.unique(np.round(factors, 12)), [0, 1 / 0.7]), np.unique(factors)
    outcome = proportion_test(int((factors > 1).sum()), factors.size, 0.7, detectable=0.02)
    assert outcome, outcome


@given(st.floats(0, 0.9))
def test_uniform_noise_stays_within_its_bound(delta):
    z = np.sqrt(3) * np.array([-1.0, 1.0])
    assert np.allclose(uniform_level(delta) * z, [-delta, delta], rtol=1e-15), delta


# ---- average gradients


def gradients(model, noise, w, zs):
    step = lambda z: evaluate.step(TrainingStep(), model, noise, w, z, lr=-1.0) - w
    return np.array([step(np.array(z)) for z in zs])


def over_masks(noise):
    """(z, probability) of every mask."""
    odds = np.sqrt((1 - noise.keep) / noise.keep)
    for kept in itertools.product((True, False), repeat=noise.factors):
        yield np.where(kept, odds, -1 / odds), np.prod(np.where(kept, noise.keep, 1 - noise.keep))


@pytest.mark.claim("D59", kind="property")
@settings(max_examples=10)
@given(arrays(12), arrays(2, 2), st.floats(0.2, 0.9))
@example(np.ones(12), np.eye(2), 0.5)
def test_the_mean_gradient_over_all_masks_is_that_of_the_dropout_loss(w, target, keep):
    """(1/2)|M - U V^T|^2 + (q/2) sum |u_i|^2 |v_i|^2 for U = W_2, V^T = W_1, differentiated by hand."""
    model = deep_linear(NET, target)
    noise = dropout(model, keep)
    zs, chances = zip(*over_masks(noise), strict=True)
    found = np.average(gradients(model, noise, w, zs), axis=0, weights=chances)
    (V, U), q = unpack(w, NET), low_rank.dropout_strength(keep=keep)
    error, u2, v2 = U @ V - target, np.sum(U**2, axis=0), np.sum(V**2, axis=1)
    wanted = np.concatenate([(U.T @ error + q * u2[:, None] * V).ravel(), (error @ V.T + q * v2 * U).ravel()])
    close(found, wanted, scale=100 / keep)


@pytest.mark.claim("D23", kind="property")
@settings(max_examples=15)
@given(arrays(3), st.floats(0.05, 1.0), st.sampled_from([[1], [2], [1, 3], [1, 2, 3]]))
@example(np.ones(3), 0.5, [1, 2, 3])
def test_noise_of_k_layers_is_input_noise_of_a_larger_variance(w, sigma, layers):
    """The mean gradient of a chain over factors 1 +- sigma is that of (W - 1)^2 + ((1 + sigma^2)^k - 1) W^2."""
    chain = scalar_chain(3)
    noise = layer_noise(chain, sigma, layers)
    found = gradients(chain, noise, w, list(itertools.product((-1.0, 1.0), repeat=noise.factors))).mean(axis=0)
    whole, others = w.prod(), np.array([w[1] * w[2], w[0] * w[2], w[0] * w[1]])
    slope = 2 * (whole - 1) + 2 * ((1 + sigma**2) ** len(layers) - 1) * whole
    close(found, slope * others, scale=1000.0)


@pytest.mark.claim("D24", kind="property")
@settings(max_examples=15)
@given(arrays(3).map(lambda w: w + np.sign(w) + (w == 0)), arrays(3), st.booleans())
@example(np.ones(3), np.zeros(3), True)
def test_noise_anywhere_in_a_chain_moves_the_imbalance_as_input_noise(w, z, masks):
    """1 + e is the product of all factors: D_ij' = D_ij (1 - 4 lr^2 (1+e)^2 (W(1+e) - 1)^2 W^2/(w_i w_j)^2)."""
    chain, lr = scalar_chain(3), 0.01
    noise = drop_connect(chain, 0.6) if masks else layer_noise(chain, 0.4, [1, 2, 3])
    after = evaluate.step(TrainingStep(), chain, noise, w, z, lr=lr)
    factor, whole = np.prod(1 + noise.level * z), w.prod()
    predicted = predictions.scalar_imbalance_step(
        imbalance=w[0] ** 2 - w[1] ** 2, lr=lr, weight_decay=0.0, slope=2 * factor * (whole * factor - 1), rest=w[2]
    )
    close(after[0] ** 2 - after[1] ** 2, predicted, scale=1e4)


def test_drop_connect_over_all_masks():
    """The mean over 2^8 masks of the loss of one matrix layer before another, by its second moments."""
    rng, widths = np.random.default_rng(2), (2, 2, 2)
    w, target = gaussian_weights(widths, rng), rng.standard_normal((2, 2))
    model = deep_linear(widths, target)
    noise = drop_connect(model, 0.6)
    zs, chances = zip(*over_masks(noise), strict=True)
    found = np.average(gradients(model, noise, w, zs), axis=0, weights=chances)
    q = low_rank.dropout_strength(keep=0.6)

    def mean_loss(w):
        V, U = unpack(w, widths)
        spread = (1 + q) ** 2 * (U**2) @ (V**2) - (U**2) @ (V**2)
        return 0.5 * np.sum((U @ V - target) ** 2) + 0.5 * np.sum(spread)

    steps = 1e-5 * np.eye(8)
    wanted = [(mean_loss(w + h) - mean_loss(w - h)) / 2e-5 for h in steps]
    close(found, wanted, tolerance=1e-8)


# ---- simulations

CHAIN = scalar_chain(2)
NOISES = {
    "uniform input": (lambda s: multiplicative_input_noise(CHAIN, s), 1, Uniform()),
    "uniform layers": (lambda s: layer_noise(CHAIN, s, [1, 2]), 2, Uniform()),
    "two-point layer": (lambda s: layer_noise(CHAIN, s), 1, TwoPoint()),
    "drop-connect": (lambda s: drop_connect(CHAIN, 1 / (1 + s**2)), 2, None),
}


@pytest.mark.compiled
@pytest.mark.claim("D23", kind="simulation")
@pytest.mark.parametrize("kind", NOISES)
def test_sgd_settles_at_the_minimum_of_the_average_loss(kind):
    """Mean product of 256 paths at lr = 0.002: within 0.003 of 1/(1 + sigma^2)^k, k factors of |eta| <= 0.4."""
    build, factors, increment = NOISES[kind]
    sigma = uniform_level(0.4)
    run = sdetheory.simulate(
        CHAIN, sdetheory.SGD(0.002), [1.1, 0.8], np.arange(2000, 4001, 250), noise=build(sigma), increment=increment,
        paths=256, keep_states=True, seed=6, progress=False,
    )  # fmt: skip
    means = run.states.prod(axis=-1).mean(axis=1)
    wanted = predictions.averaged_noise_minimum(input_noise=np.sqrt((1 + sigma**2) ** factors - 1))
    outcome = equivalent(means, wanted, margin=0.003)
    assert outcome and abs(wanted - 1) > 10 * 0.003, (outcome, wanted)


@pytest.mark.compiled
@pytest.mark.claim("D29", kind="simulation")
def test_masks_on_scalar_layers_freeze_the_imbalance():
    """Drop-connect interpolates: a mask that drops a layer has slope 0 everywhere, the one that drops none at
    W = keep^2.  Paths make the same steps at different times and end at one imbalance, which stays; noise of the same
    variance that is uniform shrinks it."""
    sigma, start, ends = 0.4, [0.1, 1.7], {}
    for noise, increment in ((drop_connect(CHAIN, 1 / (1 + sigma**2)), None),
                             (weight_noise(CHAIN, sigma), Uniform())):  # fmt: skip
        run = sdetheory.simulate(
            CHAIN, sdetheory.SGD(0.05), start, [5, 1000, 2000], noise=noise, increment=increment, paths=32,
            keep_states=True, progress=False,
        )  # fmt: skip
        ends[noise.keep > 0] = run.states[..., 1] ** 2 - run.states[..., 0] ** 2
    early, middle, late = ends[True].T
    close(late, middle, tolerance=1e-12)
    assert np.ptp(early) > 1e-3 and np.ptp(late) < 1e-12 and late.min() > 2.5, ends[True]
    assert (np.abs(ends[False][:, 2]) < 0.8 * np.abs(ends[False][:, 1])).all(), ends[False]


@pytest.mark.compiled
@pytest.mark.claim("D59", kind="simulation")
def test_dropout_ends_at_thresholded_modes_of_equal_units():
    """Three units, keep 0.7, target diag(3, 2, 1/2), lr falling from 0.05: strengths of the mean network to 0.01, and
    |u_i||v_i| = |X|_*/3 of every unit to 0.02."""
    target, keep, widths = np.diag([3.0, 2.0, 0.5]), 0.7, (3, 3, 3)
    model = deep_linear(widths, target)
    starts = gaussian_weights(widths, np.random.default_rng(9), paths=384, gain=0.5)
    run = sdetheory.simulate(
        model, sdetheory.SGD(Exponential(0.05, -5e-4)), starts, [12_000], noise=dropout(model, keep), seed=3,
        progress=False,
    )  # fmt: skip
    V, U = unpack(run.final, widths)
    wanted = low_rank.dropout_strengths(np.diag(target), keep, 3)
    strengths = np.linalg.svd(U @ V, compute_uv=False)
    for mode, strength in enumerate(wanted):
        outcome = equivalent(strengths[:, mode], strength, margin=0.01)
        assert outcome, (mode, outcome)
    units = np.sqrt(np.sum(U**2, axis=1) * np.sum(V**2, axis=2))
    for unit in range(3):
        outcome = equivalent(units[:, unit], wanted.sum() / 3, margin=0.02)
        assert outcome, (unit, outcome)
    balance = np.sum(U**2, axis=1) - np.sum(V**2, axis=2)
    assert np.abs(balance).max() > 0.1, balance  # equalised units, and layers that are not balanced


# ---- refusals


def test_wrong_masks_and_layers_are_refused():
    model = deep_linear(NET, np.eye(2))
    with pytest.raises(ValueError, match="`keep` must be below 1"):
        dropout(model, 1.0)
    with pytest.raises(ValueError, match="`keep` must be positive"):
        drop_connect(model, 0.0)
    with pytest.raises(ValueError, match="`layers` must be different numbers from 1 to 2"):
        layer_noise(model, 0.1, [3])
    with pytest.raises(ValueError, match="at least one"):
        layer_noise(scalar_chain(1), 0.1)
    with pytest.raises(ValueError, match="`sigma` must not be negative"):
        weight_noise(model, -0.1)
    with pytest.raises(ValueError, match=r"`increment` must be left out for FactorNoise, which draws Mask"):
        sdetheory.simulate(
            model, sdetheory.SGD(0.1), np.ones(12), [1], noise=dropout(model, 0.5), increment=Mask(0.6)
        )
