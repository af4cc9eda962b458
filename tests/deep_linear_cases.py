"""Deep linear networks by hand, in numpy: the independent side of the tests."""

import itertools

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import sdetheory
from sdetheory.lanes.random import increments


def layers_of(w, widths):
    """[W_1, ..., W_N] from flat weights, by counting."""
    layers, start = [], 0
    for inputs, outputs in itertools.pairwise(widths):
        layers.append(np.asarray(w[start : start + inputs * outputs]).reshape(outputs, inputs))
        start += inputs * outputs
    return layers


def product_of(layers, width):
    """The product of a list of layers, the first one rightmost."""
    total = np.eye(width)
    for layer in layers:
        total = layer @ total
    return total


def loss_by_hand(w, widths, inputs, targets, penalty, scale):
    """scale * sum penalty(P X - Y)."""
    return scale * np.sum(penalty(product_of(layers_of(w, widths), widths[0]) @ inputs - targets))


def gradient_by_hand(w, widths, inputs, targets, slope, scale):
    """(W_N ... W_{j+1})^T E (W_{j-1} ... W_1)^T for every layer, E = scale slope(P X - Y) X^T."""
    layers = layers_of(w, widths)
    error = scale * slope(product_of(layers, widths[0]) @ inputs - targets) @ inputs.T
    parts = []
    for j in range(len(layers)):
        above = product_of(layers[j + 1 :], widths[j + 1])
        below = product_of(layers[:j], widths[0])
        parts.append((above.T @ error @ below.T).reshape(-1))
    return np.concatenate(parts)


PENALTY = {"square": lambda r: r**2 / 2, "huber": lambda r: np.sqrt(1 + r**2) - 1}
SLOPE = {"square": lambda r: r, "huber": lambda r: r / np.sqrt(1 + r**2)}


WIDTHS = (3, 4, 2, 3)
STARTS = np.array([(0.1, 1.7), (2, 0.1), (-0.2, -1.8), (1.6, 0.3)])  # of Ginsburg's figure
entries = st.floats(-2, 2, allow_subnormal=False, width=32)


def arrays(*shape):
    return hnp.arrays(np.float64, shape, elements=entries)


def close(found, expected, scale=1.0, tolerance=1e-11):
    """|found - expected| <= tolerance max(1, scale), entry by entry."""
    gaps = np.abs(np.asarray(found) - expected)
    error = gaps.max(initial=0.0)
    with np.printoptions(threshold=12, edgeitems=2):
        said = (
            f"{found} against {expected}: error {error:.3g} at {np.unravel_index(gaps.argmax(), gaps.shape)}"
        )
    assert error <= tolerance * max(1.0, scale), said


def sgd_step(model, noise, w, lr, weight_decay, draws, seed=3, path=0):
    """(w after one step of `simulate`, the increments the step used)."""
    run = sdetheory.simulate(
        model,
        sdetheory.SGD(lr, weight_decay),
        w,
        [1],
        noise=noise,
        seed=seed,
        first_path=path,
        threads=1,
        width=8,
        progress=False,
    )
    return run.final[0], increments(seed, path, 0, 1, draws)[0]
