"""Addressable randomness: the batches of a net are a function of (its seed, the step), nothing else.

Counter-based: Philox4x64 keyed by (seed, purpose) with the block of 256 steps in its counter, so that a net
sees the same data alone or in any ensemble, in any chunk, and when training is continued later.
"""

import numpy as np

BLOCK = 256
START, BATCHES, SHUFFLE = 1, 2, 3


def generator(seed: int, purpose: int, block: int = 0) -> np.random.Generator:
    """The generator of one address; different addresses never share a counter (Salmon et al. 2011)."""
    key = np.array([seed, purpose], dtype=np.uint64)
    counter = np.array([0, 0, 0, block], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def batches(
    labels: np.ndarray,
    classes: int,
    seed: int,
    first: int,
    last: int,
    batch_size: int,
    label_noise: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Examples and their labels at steps first .. last - 1 of one net: two arrays (last - first, batch_size).

    Examples are drawn uniformly with replacement from `labels` (n,); each label is, with probability
    `label_noise` and anew each time, replaced by a uniform one out of all classes.
    """
    indices = np.empty((last - first, batch_size), dtype=np.int64)
    targets = np.empty_like(indices)
    for block in range(first // BLOCK, -(-last // BLOCK)):
        drawn, given = _block(labels, classes, seed, block, batch_size, label_noise)
        a, b = max(first, block * BLOCK), min(last, (block + 1) * BLOCK)
        here = slice(a - block * BLOCK, b - block * BLOCK)
        indices[a - first : b - first], targets[a - first : b - first] = drawn[here], given[here]
    return indices, targets


def _block(labels, classes, seed, block, batch_size, label_noise):
    draw = generator(seed, BATCHES, block)
    indices = draw.integers(0, len(labels), (BLOCK, batch_size))
    given = labels[indices]
    if label_noise:
        replaced = draw.random(indices.shape) < label_noise
        given = np.where(replaced, draw.integers(0, classes, indices.shape), given)
    return indices, given
