"""The networks written out anew, slowly: analytic functions for complex steps, and torch modules for autograd."""

import numpy as np
from scipy.special import erf

from sdetheory.networks import BatchNorm, Dense, Gelu, Linear, Relu, Residual, Sigmoid, Tanh, chain

FUNCTIONS = {
    Relu: lambda v: v * (v.real > 0),
    Tanh: np.tanh,
    Linear: lambda v: v,
    Sigmoid: lambda v: 1 / (1 + np.exp(-v)),
    Gelu: lambda v: v * (1 + erf(v / np.sqrt(2))) / 2,
}


def nested(net, parameters):
    """The arrays of one net's parameters (P,), real or complex, nested like its layers."""
    views = [{} for _ in net.leaves]
    for slot in net.slots:
        views[slot.layer][slot.name] = parameters[slot.start : slot.stop].reshape(slot.shape)
    return chain.nest(net.layers, iter(views))


def losses(net, parameters, x, labels):
    """Loss of each example: parameters (P,) may be complex."""
    x = _through(net.layers, nested(net, parameters), x)
    x = x - x.real.max(axis=1, keepdims=True)
    return np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(x)), labels]


def _through(layers, parameters, x):
    for layer, p in zip(layers, parameters, strict=True):
        if isinstance(layer, Residual):
            x = _through(layer.branch, p[0], x) + _through(layer.shortcut, p[1], x)
        elif isinstance(layer, Dense):
            x = x @ p["weight"].T + p.get("bias", 0.0)
        elif isinstance(layer, BatchNorm):
            x = x - x.sum(axis=0) / len(x)
            x = x / np.sqrt((x * x).sum(axis=0) / len(x) + layer.eps)
            x = x * p.get("scale", 1.0) + p.get("shift", 0.0)
        else:
            x = FUNCTIONS[type(layer)](x)
    return x


def complex_step(net, parameters, x, labels):
    """d(loss of example b)/dw (B, P), to rounding: no difference is taken (Squire, Trapp 1998)."""
    step = 1e-30
    nudged = parameters + 1j * step * np.eye(net.size)
    return np.array([losses(net, row, x, labels).imag / step for row in nudged]).T


def amplification(net, parameters, x):
    """How large the intermediate derivatives may be: rounding is 1e-16 of this, not of the result."""
    with np.errstate(all="ignore"):
        _, caches = net.forward(net.bind(parameters[None]), x[None])
    kept = zip(net.leaves, chain.flat(net.layers, caches), strict=True)
    rates = [cache[1].max() for leaf, cache in kept if isinstance(leaf, BatchNorm)]
    return np.prod([1.0 + rate for rate in rates]) * (1.0 + np.abs(x).max())


def torch_loss(net, w, x, labels):
    """The mean loss of a batch by torch's own functions; w (P,) a tensor, x and labels arrays."""
    import torch

    y = _through_torch(torch, net.layers, nested(net, w), torch.tensor(x))
    return torch.nn.functional.cross_entropy(y, torch.tensor(labels))


def _through_torch(torch, layers, parameters, y):
    from torch.nn import functional as f

    functions = {Relu: f.relu, Tanh: torch.tanh, Linear: lambda v: v, Sigmoid: torch.sigmoid, Gelu: f.gelu}
    for layer, p in zip(layers, parameters, strict=True):
        if isinstance(layer, Residual):
            y = _through_torch(torch, layer.branch, p[0], y) + _through_torch(torch, layer.shortcut, p[1], y)
        elif isinstance(layer, Dense):
            y = f.linear(y, p["weight"], p.get("bias"))
        elif isinstance(layer, BatchNorm) and layer.eps:
            y = f.batch_norm(y, None, None, p.get("scale"), p.get("shift"), True, 0.0, layer.eps)
        elif isinstance(layer, BatchNorm):  # torch refuses eps = 0
            y = (y - y.mean(0)) / y.var(0, correction=0).sqrt() * p.get("scale", 1.0) + p.get("shift", 0.0)
        else:
            y = functions[type(layer)](y)
    return y
