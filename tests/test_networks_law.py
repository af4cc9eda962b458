"""The law of gamma on a real network: normalised perceptrons on digits, SGD, weight decay, label noise.

Noise is measured while training (sums of |w|^2 |g|^2 between records) and put into the prediction, window by
window; what is tested is the law, not a model of the noise. Nothing is fitted.
"""

import numpy as np
import pytest

from sdetheory.networks import digits, mlp, train
from sdetheory.predictions import intrinsic_lr
from sdetheory.statistics import equivalent

pytestmark = pytest.mark.compiled
NETS, STEPS, LR, INTRINSIC = 32, 1500, 0.3, 4e-3
DECAY = INTRINSIC / LR


def run(by="layer", scale=1.0, steps=STEPS, seeds=range(NETS)):
    marks = np.unique(np.r_[0, np.geomspace(1, steps, 60).astype(int), np.arange(0, steps + 1, 10)])
    return train(
        mlp((64, 16, 10), normalised_output=True), digits().subset(slice(0, 500)), lr=LR, weight_decay=DECAY,
        steps=steps, batch_size=16, label_noise=0.2, seeds=seeds, init_scale=scale, record_every=marks, by=by,
    )  # fmt: skip


@pytest.fixture(scope="module")
def records():
    """By start norm; gamma0 is 13 (factor 1) and 210 (factor 2) times its equilibrium."""
    return {1.0: run(), 2.0: run(scale=2.0, seeds=range(100, 100 + NETS))}


def along(record, decay=DECAY, share=1.0):
    """The prediction from each net's own measured noise, (E, T, G)."""
    gamma = [record.gamma[:, 0]]
    for window, length in enumerate(np.diff(record.steps)):
        noise = share * record.spherical_mean[:, window + 1]
        gamma.append(
            intrinsic_lr.gamma(t=float(length), lr=LR, weight_decay=decay, trace=noise, gamma0=gamma[-1])
        )
    return np.stack(gamma, axis=1)


@pytest.mark.claim("I9", "I10", "I56", kind="simulation")
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_gamma_of_each_layer_follows_the_law_with_its_own_noise(records, scale):
    record = records[scale]
    ratio = record.gamma / along(record)
    for group in record.groups:
        for time in (0.25, 1.0, 4.0):
            here = record.steps.searchsorted(int(time / INTRINSIC))
            samples = ratio[:, here, record.column(group.name)]
            assert (outcome := equivalent(samples, 1.0, margin=0.015)), (
                f"{group.name}, steps x lr x wd = {time}: {outcome}"
            )


@pytest.mark.claim("I9", "I10", kind="simulation")
def test_other_laws_are_refuted_by_the_same_data(records):
    """Relaxation 2 lr wd or 8 lr wd instead of 4, noise |gbar|^2 instead of 2 |gbar|^2."""
    for wrong in (dict(decay=DECAY / 2), dict(decay=2 * DECAY), dict(share=0.5)):
        ratio = (records[1.0].gamma / along(records[1.0], **wrong))[:, -1]
        for number in range(ratio.shape[1]):
            outcome = equivalent(ratio[:, number], 1.0, margin=0.015)
            assert not outcome and abs(outcome.estimate - 1) > 0.1, f"{wrong}: {outcome}"


@pytest.mark.claim("I56", kind="simulation")
def test_gamma_of_each_neuron_follows_its_own_law():
    record = run(by="neuron", steps=250)
    ratio = (record.gamma / along(record))[:, -1]
    for layer in (0, 3):
        mine = [number for number, group in enumerate(record.groups) if group.layer == layer]
        assert (outcome := equivalent(ratio[:, mine].mean(axis=1), 1.0, margin=0.015)), (
            f"layer {layer}: {outcome}"
        )
        assert np.abs(ratio[:, mine].mean(axis=0) - 1).max() < 0.05, ratio[:, mine].mean(axis=0)


@pytest.mark.claim("I15", "I36", "I47", kind="simulation")
def test_at_equilibrium_noise_and_decay_balance(records):
    """Over the last half: 2 h E gamma = E s, its form exact in h, and lr E|g|^2 = wd (2 - h) E|w|^2."""
    record, first = records[1.0], records[1.0].steps.searchsorted(STEPS // 2)
    steps = STEPS - record.steps[first]
    means = {
        name: getattr(record, name)[:, first + 1 :].sum(axis=1) / steps
        for name in ("spherical_sum", "correction_sum")
    }
    weights = np.diff(record.steps)[first:, None] / steps
    gamma = (record.gamma[:, first:-1] * weights).sum(axis=1)
    norm = (record.squared_norm[:, first:-1] * weights).sum(axis=1)
    square = record.growth_sum[:, first + 1 :].sum(axis=1) / steps / LR**2
    exact = intrinsic_lr.stationary_mean_gamma(
        lr=LR, weight_decay=DECAY, mean_square=means["spherical_sum"], mean_fourth=means["correction_sum"]
    )  # fmt: skip
    law = intrinsic_lr.equilibrium_gamma(lr=LR, weight_decay=DECAY, trace=means["spherical_sum"])
    for number in range(len(record.groups)):
        for name, ratio, margin in (
            ("exact in lr wd", gamma / exact, 0.03),
            ("law", gamma / law, 0.03),
            ("norm", LR * square / (DECAY * (2 - INTRINSIC) * norm), 0.03),
        ):
            assert (outcome := equivalent(ratio[:, number], 1.0, margin=margin)), f"{name}: {outcome}"


@pytest.mark.claim("I10", kind="simulation")
def test_the_start_norm_is_forgotten(records):
    gamma = {scale: record.gamma for scale, record in records.items()}
    start = gamma[2.0][:, 0].mean(axis=0) / gamma[1.0][:, 0].mean(axis=0)
    late = gamma[2.0][:, -20:].mean(axis=(0, 1)) / gamma[1.0][:, -20:].mean(axis=(0, 1))
    assert (np.abs(start - 16) < 1.5).all() and (np.abs(late - 1) < 0.1).all(), (start, late)
