"""The networks written out anew, slowly: analytic functions for complex steps, and torch modules for autograd."""

import numpy as np
from scipy.special import erf

from sdetheory.networks import (
    BatchNorm,
    Conv,
    Dense,
    Flat,
    Gelu,
    Images,
    Linear,
    MaxPool,
    MeanPool,
    Relu,
    Residual,
    Sigmoid,
    Tanh,
    chain,
)

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
        elif isinstance(layer, Images | Flat):
            x = x.reshape(-1, layer.channels * (area(layer) if isinstance(layer, Flat) else 1))
        elif isinstance(layer, MeanPool | MaxPool):
            x = _windows(layer, x)
        elif isinstance(layer, Conv):
            x = patches(layer, x) @ p["weight"].T + p.get("bias", 0.0)
        elif isinstance(layer, Dense):
            x = x @ p["weight"].T + p.get("bias", 0.0)
        elif isinstance(layer, BatchNorm):
            x = x - x.sum(axis=0) / len(x)
            x = x / np.sqrt((x * x).sum(axis=0) / len(x) + layer.eps)
            x = x * p.get("scale", 1.0) + p.get("shift", 0.0)
        else:
            x = FUNCTIONS[type(layer)](x)
    return x


def area(layer):
    """Pixels of an image."""
    return layer.height * layer.width


def patches(layer, x):
    """What a filter sees at each pixel (N, k k C), from pixels (N, C): zeros around the image."""
    reach = layer.kernel // 2
    images = x.reshape(-1, layer.height, layer.width, layer.channels)
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    rows = range(layer.kernel)
    seen = [padded[:, i : i + layer.height, j : j + layer.width] for i in rows for j in rows]
    return np.concatenate(seen, axis=3).reshape(len(x), -1)


def _windows(layer, x):
    """Means or maxima over windows; of complex numbers the one with the largest real part."""
    shape = (-1, layer.height // layer.down, layer.down, layer.width // layer.across, layer.across, x.shape[1])
    windows = x.reshape(shape).transpose(0, 1, 3, 2, 4, 5).reshape(-1, layer.down * layer.across, x.shape[1])
    if isinstance(layer, MeanPool):
        return windows.sum(axis=1) / windows.shape[1]
    return np.take_along_axis(windows, windows.real.argmax(axis=1)[:, None], axis=1)[:, 0]


def complex_step(net, parameters, x, labels, directions=None):
    """Derivatives of the loss of example b along directions (D, P), as (B, D), by default along every axis.

    Right to rounding: no difference is taken (Squire, Trapp 1998).
    """
    step = 1e-30
    nudged = parameters + 1j * step * (np.eye(net.size) if directions is None else directions)
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
        elif isinstance(layer, Images | Flat):
            y = y.reshape(-1, layer.channels * (area(layer) if isinstance(layer, Flat) else 1))
        elif isinstance(layer, MeanPool | MaxPool):
            pool = f.avg_pool2d if isinstance(layer, MeanPool) else f.max_pool2d
            y = _pixels(pool(_images(layer, y), (layer.down, layer.across)))
        elif isinstance(layer, Conv):
            windows = p["weight"].reshape(layer.outputs, layer.kernel, layer.kernel, layer.channels)
            y = f.conv2d(_images(layer, y), windows.permute(0, 3, 1, 2), p.get("bias"), padding=layer.kernel // 2)
            y = _pixels(y)
        elif isinstance(layer, Dense):
            y = f.linear(y, p["weight"], p.get("bias"))
        elif isinstance(layer, BatchNorm) and layer.eps:
            y = f.batch_norm(y, None, None, p.get("scale"), p.get("shift"), True, 0.0, layer.eps)
        elif isinstance(layer, BatchNorm):  # torch refuses eps = 0
            y = (y - y.mean(0)) / y.var(0, correction=0).sqrt() * p.get("scale", 1.0) + p.get("shift", 0.0)
        else:
            y = functions[type(layer)](y)
    return y


def _images(layer, y):
    """torch wants (B, C, height, width)."""
    return y.reshape(-1, layer.height, layer.width, y.shape[1]).permute(0, 3, 1, 2)


def _pixels(y):
    return y.permute(0, 2, 3, 1).reshape(-1, y.shape[1])
