"""Strategies for the tests of the networks: parameters, inputs and labels of a small net, as arrays."""

import numpy as np
from hypothesis import strategies as st

WIDTHS, BATCH = (3, 4, 3), 5


def spread(*shape):
    """Arrays of numbers in [-2.5, 2.5]; the simplest is a wave, so that no two examples of a batch agree.

    Drawn as one string of bytes: hypothesis takes milliseconds an array when it draws each number by itself.
    """
    size = int(np.prod(shape))
    wave = 0.5 * np.cos(1.7 * np.arange(size)).reshape(shape)
    return st.binary(min_size=2 * size, max_size=2 * size).map(
        lambda drawn: np.frombuffer(drawn, np.int16).reshape(shape) / 16384 + wave
    )


def labellings():
    """One label an example."""
    return st.lists(st.integers(0, WIDTHS[-1] - 1), min_size=BATCH, max_size=BATCH).map(np.array)


def problems(net):
    """Parameters (P,), inputs (B, F) and labels (B,) of one net."""
    return st.tuples(spread(net.size), spread(BATCH, WIDTHS[0]), labellings())
