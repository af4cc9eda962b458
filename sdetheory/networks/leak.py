"""The exact radial gradient of a normalised neuron: how much eps > 0 breaks scale invariance."""

import numpy as np

from sdetheory.networks.layers import BatchNorm, Dense
from sdetheory.networks.network import Network, cross_entropy


def radial_leak(
    net: Network, parameters: np.ndarray, inputs: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """<w, dL/dw> of every neuron in front of a normalisation, from the normalised values alone.

    <w, dL/dw> = eps / (s^2 + eps) sum_b (dL/dz_b) z_b, with s^2 the batch variance of w^T x and z the
    standardised value. It is 0 at eps = 0. Returns {name of the product's group: (E, out)}; arguments as
    `Network.gradient`.
    """
    bound, inputs, labels = net.checked(parameters, inputs, labels)
    logits, caches = net.forward(bound, inputs)
    dy, out = cross_entropy(logits, labels, labels)[2], {}
    names = {group.layer: group.name for group in net.groups()}
    for number in range(len(net.layers) - 1, 0, -1):
        layer, before = net.layers[number], net.layers[number - 1]
        if isinstance(layer, BatchNorm) and isinstance(before, Dense) and not before.bias:
            z, rate = caches[number]
            along = (layer.standardised_gradient(bound[number], dy) * z).sum(axis=1)
            out[names[number - 1]] = layer.eps * rate**2 * along
        dy = layer.input_gradient(bound[number], caches[number], dy)
    return out
