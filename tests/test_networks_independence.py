"""A net's numbers depend on its seed and settings alone: not on chunk, threads, other nets, interruptions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdetheory.networks import labelled, mlp, train
from sdetheory.networks.streams import BLOCK, batches

DATA = labelled(np.sin(np.arange(210.0) ** 1.4).reshape(30, 7), np.arange(30) % 3)
NETS = {
    "relu": mlp((7, 5, 3), normalised_output=True),
    "tanh affine": mlp((7, 1, 3), activation="tanh", eps=1e-3, affine=True),
    "plain": mlp((7, 5, 3), normalised=False),
    "residual": mlp((7, 5, 5, 3), activation="gelu", residual=True, norm="after"),
    "sigmoid": mlp((7, 5, 3), activation="sigmoid"),
}
COMMON = dict(lr=0.1, weight_decay=0.02, steps=12, batch_size=6, label_noise=0.3)


def same(a, b):
    """Bitwise equal records."""
    fields = ("final", "squared_norm", "squared_gradient", "radial", "loss", "accuracy", "spherical_sum")
    return [name for name in fields if not (getattr(a, name) == getattr(b, name)).all()]


@pytest.mark.parametrize("name", NETS)
def test_bitwise_independent_of_chunk_threads_and_company(name):
    net = NETS[name]
    whole = train(net, DATA, seeds=7, threads=1, chunk=7, **COMMON)
    for threads, chunk in ((1, 1), (2, 3), (3, 2), (2, None)):
        assert not same(whole, train(net, DATA, seeds=7, threads=threads, chunk=chunk, **COMMON)), (
            threads,
            chunk,
        )
    alone = train(net, DATA, seeds=[4], **COMMON)
    assert (alone.final[0] == whole.final[4]).all() and (alone.gamma[0] == whole.gamma[4]).all()
    mixed = train(
        net, DATA, seeds=[9, 4, 4], init_scale=1.0, **{**COMMON, "lr": np.array([[0.5], [0.1], [0.1]])}
    )
    assert (mixed.final[1:] == whole.final[4]).all()


@pytest.mark.compiled
def test_bitwise_independent_for_the_net_of_the_figures():
    """Widths where products run in blocked kernels, batch 32, blocks of random numbers crossed."""
    data = labelled(np.sin(np.arange(64.0 * 200) ** 1.1).reshape(200, 64), np.arange(200) % 10)
    net = mlp((64, 32, 32, 10), normalised_output=True)
    settings = dict(lr=0.3, weight_decay=0.01, steps=BLOCK + 44, label_noise=0.2, record_every=100)
    whole = train(net, data, seeds=9, threads=2, **settings)
    assert not same(whole, train(net, data, seeds=9, threads=1, chunk=1, **settings))
    alone = train(net, data, seeds=[8], **settings)
    assert (alone.final[0] == whole.final[8]).all()


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_a_continued_run_is_bitwise_the_uninterrupted_one(stop):
    net, rate = NETS["relu"], lambda t: 0.1 / (1 + t)
    settings = {**COMMON, "lr": rate}
    whole = train(net, DATA, seeds=2, **settings)
    first = train(net, DATA, seeds=2, **{**settings, "steps": stop})
    rest = train(net, DATA, seeds=2, start=first.final, first_step=stop, **{**settings, "steps": 12 - stop})
    assert (rest.final == whole.final).all()
    assert (rest.gamma[:, :-1] == whole.gamma[:, stop:-1]).all() and rest.steps.tolist() == list(
        range(stop, 13)
    )


@given(
    first=st.integers(0, 3 * BLOCK),
    length=st.integers(1, 2 * BLOCK),
    size=st.integers(1, 9),
    noise=st.floats(0, 1),
)
def test_batches_are_addressed_by_seed_and_step(first, length, size, noise):
    labels = np.arange(30) % 3
    every = batches(labels, 3, 11, 0, first + length, size, noise)
    part = batches(labels, 3, 11, first, first + length, size, noise)
    assert all((p == e[first:]).all() for p, e in zip(part, every, strict=True))
    indices, given_labels = part
    assert indices.shape == (length, size) and indices.min() >= 0 and indices.max() < 30
    assert given_labels.min() >= 0 and given_labels.max() < 3
    if noise == 0:
        assert (given_labels == labels[indices]).all()


def test_seeds_and_blocks_draw_different_batches():
    draws = [batches(np.arange(30) % 3, 3, seed, 0, 2 * BLOCK, 4)[0] for seed in (11, 12)]
    parts = [part for drawn in draws for part in (drawn[:BLOCK], drawn[BLOCK:])]
    shared = [(a == b).mean() for number, a in enumerate(parts) for b in parts[:number]]
    assert max(shared) < 0.1, f"1/30 of the entries agree by chance: {shared}"


def test_batches_are_uniform_and_labels_replaced_at_the_stated_rate():
    from sdetheory.statistics import proportion_test

    labels = np.arange(30) % 3
    indices, given_labels = batches(labels, 3, 0, 0, 4000, 10, 0.3)
    changed = np.count_nonzero(given_labels != labels[indices])
    assert (outcome := proportion_test(changed, indices.size, 0.3 * 2 / 3, detectable=0.02)), outcome
    assert (
        outcome := proportion_test(np.count_nonzero(indices == 29), indices.size, 1 / 30, detectable=0.01)
    ), outcome
