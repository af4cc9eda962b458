"""Ginsburg's adaptive step 1/(4S) on scalar layers: its step, its rates and its bands, in compiled runs."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sdetheory
from proofs_check import systems
from sdetheory import evaluate
from sdetheory.lanes.uniform import Uniform, uniform_level
from sdetheory.models.deep_linear import deep_linear, scalar_chain
from sdetheory.models.deep_linear_noise import multiplicative_input_noise
from sdetheory.predictions import deep_linear as predictions
from sdetheory.predictions import descent, noise_bands
from tests.deep_linear_cases import arrays, close

sizes = arrays(3).map(lambda w: w + 0.3 * np.where(w < 0, -1, 1))


@settings(max_examples=25)
@given(sizes, st.floats(0.01, 1.0), st.floats(0.0, 0.5), st.floats(-2, 2))
@example(np.ones(3), 0.25, 0.0, 0.0)
def test_the_step_is_sgd_at_the_rate_of_the_point(w, lr, weight_decay, z):
    """Bridge: the symbolic step of SGD at h = lr/S, on the symbolic noisy slope."""
    chain = scalar_chain(3)
    noise = multiplicative_input_noise(chain, 0.5)
    found = evaluate.step(sdetheory.LayerRateSGD(lr, weight_decay), chain, noise, w, [z])
    whole = w.prod()
    gradient = 2 * (1 + 0.5 * z) * (whole * (1 + 0.5 * z) - 1) * whole / w
    wanted = systems.sgd_step(w, gradient, lr / (w**-2.0).sum(), weight_decay)
    close(found, wanted, scale=1000.0)


def starts_in_the_band(rng, depth, paths, low=0.5, high=1.5):
    """Layers of sizes over two decades with products between low and high."""
    w = np.exp(rng.uniform(-2.3, 2.3, (paths, depth)))
    wanted = rng.uniform(low, high, paths)
    return w * ((wanted / w.prod(axis=1)) ** (1 / depth))[:, None]


def gaps(w):
    """w_i^2 - w_j^2 for i < j, last axis."""
    first, second = np.triu_indices(w.shape[-1], 1)
    return w[..., first] ** 2 - w[..., second] ** 2


@pytest.mark.compiled
@pytest.mark.claim("D10", "D11", "D13", kind="simulation")
@pytest.mark.parametrize("depth", [2, 3, 6])
def test_descent_at_the_adaptive_rate(depth):
    """512 starts, 60 steps: (W' - 1)/(W - 1) in [-1/8, 7/8] and near 1/2 at the end; every imbalance keeps at least
    247/256 of itself in a step and never grows; in the end it has what is predicted of it or more."""
    starts = starts_in_the_band(np.random.default_rng(depth), depth, 512)
    run = sdetheory.simulate(
        scalar_chain(depth), sdetheory.LayerRateSGD(), starts, np.arange(61), keep_states=True, progress=False
    )
    error = run.states.prod(axis=-1) - 1
    seen = np.abs(error[:, :-1]) > 1e-8
    ratio = error[:, 1:][seen] / error[:, :-1][seen]
    assert -1 / 8 - 1e-6 <= ratio.min() and ratio.max() <= 7 / 8 + 1e-6, (ratio.min(), ratio.max())
    assert ratio.max() > 0.8 and ratio.min() < 0.1, (ratio.min(), ratio.max())  # the starts try the interval
    late = np.abs(error[:, :-1][seen]) < 1e-5
    assert np.abs(ratio[late] - 0.5).max() < 1e-3, ratio[late]
    imbalance = gaps(run.states)
    scale = (run.states**2).max(axis=(1, 2))[:, None]
    factors = imbalance[:, 1:] / imbalance[:, :-1]
    clear = np.abs(imbalance[:, :-1]) > 1e-5 * scale[..., None]
    assert (factors[clear] >= 247 / 256 - 1e-9).all() and (factors[clear] <= 1 + 1e-9).all(), factors[clear]
    assert factors[clear].min() < 1 - 1e-3, factors[clear].min()
    kept = (imbalance[:, -1] / imbalance[:, 0])[clear[:, 0]]
    least = descent.adaptive_imbalance_kept(distance=np.abs(error[:, :1]) + np.zeros_like(imbalance[:, 0]))
    assert (kept >= least[clear[:, 0]] - 1e-9).all() and (kept > 0.8).all(), kept.min()


@pytest.mark.compiled
@pytest.mark.claim("D15", kind="simulation")
@pytest.mark.parametrize("depth", [2, 3])
def test_with_weight_decay_the_adaptive_rate_balances(depth):
    """mu = 0.05: every step multiplies D by (1 - 2 h mu)^2 - 4 h^2 (W - 1)^2 W^2/(w_i w_j)^2, in [0, 1) here, and D
    ends below 1e-9 of its start, at the balanced minimum of the penalised loss."""
    mu, starts = 0.05, starts_in_the_band(np.random.default_rng(3), depth, 256)
    rule = sdetheory.LayerRateSGD(0.25, 2 * mu)
    near = sdetheory.simulate(
        scalar_chain(depth), rule, starts, np.arange(101), keep_states=True, progress=False
    ).states  # fmt: skip
    imbalance, before = gaps(near), near[:, :-1]
    h, whole = 0.25 / (before**-2).sum(axis=-1)[..., None], before.prod(axis=-1)[..., None]
    first, second = np.triu_indices(depth, 1)
    pairs = (before[..., first] * before[..., second]) ** 2
    factors = (1 - 2 * h * mu) ** 2 - 4 * h**2 * (whole - 1) ** 2 * whole**2 / pairs
    error = np.abs(imbalance[:, 1:] - imbalance[:, :-1] * factors).max(axis=(1, 2)) / (near**2).max(axis=(1, 2))
    assert error.max() < 1e-12, error.max()
    assert factors.min() >= 0 and factors.max() < 1, (factors.min(), factors.max())
    start = np.exp(0.5) * np.ones(depth)  # of the two branches at depth 3, towards W > 0
    start[0] = 1 / start[1:].prod()
    far = sdetheory.simulate(scalar_chain(depth), rule, start, [4000], progress=False).final[0]
    assert np.abs(gaps(far)).max() < 1e-9 * np.abs(gaps(start)).max(), far
    penalty = predictions.ginsburg_stationary_penalty(end_to_end=far.prod(), depth=depth)
    close(penalty, mu, tolerance=1e-9)


def noisy_run(delta, starts, steps):
    noise = multiplicative_input_noise(scalar_chain(starts.shape[1]), uniform_level(delta))
    return sdetheory.simulate(
        scalar_chain(starts.shape[1]), sdetheory.LayerRateSGD(), starts, np.arange(steps + 1), noise=noise,
        increment=Uniform(), keep_states=True, seed=8, progress=False,
    ).states  # fmt: skip


@pytest.mark.compiled
@pytest.mark.claim("D27", kind="simulation")
@pytest.mark.parametrize("depth", [2, 4])
def test_bounded_noise_below_the_threshold_stays_in_the_band_and_balances(depth):
    """|eta| <= 0.13 < 0.1355: 512 starts in the band stay there for 400 steps, and no imbalance ever grows."""
    delta = 0.13
    assert delta < noise_bands.noise_band_threshold()
    low, high = noise_bands.noise_band_lower(noise_bound=delta), noise_bands.noise_band_upper(noise_bound=delta)
    states = noisy_run(delta, starts_in_the_band(np.random.default_rng(1), depth, 512, low, high), 400)
    whole, imbalance = states.prod(axis=-1), gaps(states)
    assert low - 1e-12 <= whole.min() and whole.max() <= high + 1e-12, (whole.min(), whole.max())
    growth = np.diff(np.abs(imbalance), axis=1).max(axis=(1, 2)) / (states**2).max(axis=(1, 2))
    assert growth.max() < 1e-12, growth.max()
    assert (np.abs(imbalance[:, -1]) < np.abs(imbalance[:, 0])).all()


@pytest.mark.compiled
@pytest.mark.claim("D27", kind="simulation")
def test_bounded_noise_above_the_threshold_leaves_the_band():
    """|eta| <= 0.3 from the upper edge with very unequal layers: one step is enough for some noise."""
    high = noise_bands.noise_band_upper(noise_bound=0.3)
    whole = noisy_run(0.3, np.tile([high / 1e3, 1e3], (512, 1)), 1)[:, 1].prod(axis=-1)
    low = noise_bands.noise_band_lower(noise_bound=0.3)
    worst = noise_bands.worst_noisy_step(noise_bound=0.3)
    assert 0.2 < np.mean(whole < low) < 1 and whole.min() >= worst - 1e-6, (np.mean(whole < low), whole.min(), worst)


@pytest.mark.compiled
@pytest.mark.claim("D25", kind="simulation")
@pytest.mark.parametrize("depth", [2, 4])
def test_large_bounded_noise_at_most_halves_an_imbalance(depth):
    """|eta| <= 1/2 from W in [1/2, 3/2]: factors of one step in [1/2, 1], 512 starts."""
    states = noisy_run(0.5, starts_in_the_band(np.random.default_rng(5), depth, 512), 1)
    before, after = gaps(states[:, 0]), gaps(states[:, 1])
    clear = np.abs(before) > 1e-4 * (states[:, 0] ** 2).max(axis=1, keepdims=True)
    factors = after[clear] / before[clear]
    assert 0.5 - 1e-9 <= factors.min() < 0.9 and factors.max() <= 1 + 1e-9, (factors.min(), factors.max())


@pytest.mark.claim("D26", kind="simulation")
def test_an_imbalance_may_grow_on_the_full_band():
    """Two nearly equal layers, W = 2, eta = 1/2: the factor is -5/4."""
    chain, w = scalar_chain(2), np.sqrt(2.0) * np.array([1 + 1e-4, 1 / (1 + 1e-4)])
    after = evaluate.step(sdetheory.LayerRateSGD(), chain, multiplicative_input_noise(chain, 0.5), w, [1.0])
    factor = (gaps(after) / gaps(w))[0]
    assert abs(factor + 1.25) < 1e-6, factor


def test_matrices_are_refused():
    model = deep_linear((2, 1), [[1.0, 0.0]])
    with pytest.raises(ValueError, match=r"`model` must have scalar layers for LayerRateSGD: widths=\(2, 1\)"):
        sdetheory.simulate(model, sdetheory.LayerRateSGD(), [0.5, 0.5], [1])
    with pytest.raises(ValueError, match="`lr` must not be negative"):
        sdetheory.LayerRateSGD(-0.25)
