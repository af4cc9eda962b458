"""The exact radial gradient of a normalised neuron: how much eps > 0 breaks scale invariance."""

import numpy as np

from sdetheory.networks import chain
from sdetheory.networks.groups import meets_norm
from sdetheory.networks.layers import Layer
from sdetheory.networks.network import Network, cross_entropy


def radial_leak(
    net: Network, parameters: np.ndarray, inputs: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """<w, dL/dw> of every neuron in front of a normalisation, from the normalised values alone.

    <w, dL/dw> = eps / (s^2 + eps) sum_b (dL/dz_b) z_b, with s^2 the batch variance of w^T x (or of its rectified
    value, when that is what is normalised) and z the standardised value; b runs over examples, and in
    convolutions over their pixels too. It is 0 at eps = 0. Returns {name of the product's group: (E, out)};
    arguments as `Network.gradient`.
    """
    bound, inputs, labels = net.checked(parameters, inputs, labels)
    logits, caches = net.forward(bound, inputs)
    dy = cross_entropy(logits, labels, labels)[2]
    into = net.bind(np.zeros((len(parameters), net.size)))
    views, kept = list(chain.flat(net.layers, into)), list(chain.flat(net.layers, caches))
    followed = {place.number: meets_norm(place) for place in chain.places(net.layers)}
    pairs = {number: norm for number, norm in followed.items() if norm is not None and _alone(net.leaves[number])}
    for norm in pairs.values():
        views[norm]["along"] = np.empty((len(parameters), net.leaves[norm].features))
    net.backward(bound, into, caches, dy)
    names = {group.layer: group.name for group in net.groups()}
    leaks = {norm: net.leaves[norm].eps * kept[norm][1] ** 2 * views[norm]["along"] for norm in pairs.values()}
    return {names[number]: leaks[norm] for number, norm in pairs.items()}


def _alone(leaf: Layer) -> bool:
    """A product without bias, trained."""
    return set(leaf.shapes) == {"weight"} and not leaf.frozen
