"""Deep linear networks by hand, in numpy: the independent side of the tests."""

import itertools

import numpy as np


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
