"""torch on ensembles of small networks: one graph for a chunk of nets, `vmap` over nets, or net after net.

The batched form is the one written with care: products of all nets by `bmm`, convolutions as one grouped convolution,
and torch's own fused batch normalisation on the features of all nets side by side. Batches are tensors drawn
beforehand. Layers are read from a `Network`, so that both sides train the same thing (no `Dense` layers on pixels).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.nn import functional as f

from sdetheory.networks import BatchNorm, Conv, Dense, Images, MeanPool, Network, Relu, Residual
from sdetheory.networks.streams import batches

Run = Callable[[], np.ndarray]


def _weights(net: Network, parameters: np.ndarray) -> list[dict[str, torch.Tensor]]:
    """One dictionary of tensors (E, ...) a layer; filters as torch wants them, (E, out, in, k, k)."""
    out: list[dict[str, torch.Tensor]] = [{} for _ in net.leaves]
    for slot in net.slots:
        values, leaf = parameters[:, slot.start : slot.stop].reshape(-1, *slot.shape), net.leaves[slot.layer]
        if isinstance(leaf, Conv) and slot.name == "weight":
            windows = values.reshape(len(values), leaf.outputs, leaf.kernel, leaf.kernel, leaf.channels)
            values = windows.transpose(0, 1, 4, 2, 3)
        out[slot.layer][slot.name] = torch.tensor(np.ascontiguousarray(values), requires_grad=True)
    return out


def _drawn(case: Any, nets: slice, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices and labels of the batches, each (steps, E, B); the loop gathers the inputs."""
    rows = [
        batches(case.data.labels, case.data.classes, seed, 0, steps, case.batch_size)
        for seed in range(case.nets)[nets]
    ]
    indices, labels = (torch.as_tensor(np.stack([row[i] for row in rows], axis=1)) for i in range(2))
    return indices, labels


def _normalise(x: torch.Tensor, p: dict[str, torch.Tensor], eps: float) -> torch.Tensor:
    scale, shift = (None if name not in p else p[name].reshape(-1) for name in ("scale", "shift"))
    return f.batch_norm(x, None, None, scale, shift, True, 0.0, eps)


def _features(x: torch.Tensor) -> torch.Tensor:
    """(E, B, F) -> (B, E F)."""
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def batched(layers: Sequence[Any], rest: list[dict], x: torch.Tensor, nets: int) -> torch.Tensor:
    """Logits (E, B, C) of inputs (E, B, F); images are (B, E channels, height, width) on the way."""
    for layer in layers:
        if isinstance(layer, Residual):
            y = batched(layer.branch, rest, x, nets)
            x = y + batched(layer.shortcut, rest, x, nets)
            continue
        p = rest.pop(0)
        if isinstance(layer, Images):
            size = (x.shape[1], nets * layer.channels, layer.height, layer.width)
            x = x.transpose(0, 1).reshape(x.shape[1], nets, layer.height, layer.width, layer.channels)
            x = x.permute(0, 1, 4, 2, 3).reshape(size)
        elif isinstance(layer, Conv):
            bias = p["bias"].reshape(-1) if layer.bias else None
            x = f.conv2d(x, p["weight"].flatten(0, 1), bias, padding=layer.kernel // 2, groups=nets)
        elif isinstance(layer, Dense):
            product = (x, p["weight"].transpose(1, 2))
            x = torch.baddbmm(p["bias"][:, None], *product) if layer.bias else torch.bmm(*product)
        elif isinstance(layer, BatchNorm) and x.dim() == 3:
            x = _normalise(_features(x), p, layer.eps).reshape(x.shape[1], nets, -1).transpose(0, 1)
        elif isinstance(layer, BatchNorm):
            x = _normalise(x, p, layer.eps)
        elif isinstance(layer, MeanPool):  # over the whole image: back to (E, B, channels)
            x = x.mean((2, 3)).reshape(x.shape[0], nets, -1).transpose(0, 1)
        elif isinstance(layer, Relu):
            x = torch.relu(x)
        else:
            raise ValueError(f"`layers` has one this peer does not know: {layer}")
    return x


def together(case: Any, threads: int = 1, chunk: int | None = None) -> Run:
    """run() -> losses (steps, E): chunks of nets as one graph each; with chunks, threads take them in turn."""
    size = chunk or case.nets
    inside = 1 if size < case.nets else threads
    inputs, start = torch.as_tensor(case.data.inputs), case.net.start(range(case.nets))

    def loss_of(weights: list[dict[str, torch.Tensor]], x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = batched(case.net.layers, list(weights), x, len(labels))
        each = f.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return each.view(labels.shape).mean(1)

    parts = [slice(a, min(a + size, case.nets)) for a in range(0, case.nets, size)]
    drawn = [_drawn(case, part, case.steps) for part in parts]

    def go(part: slice, stream: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        weights = _weights(case.net, start[part])
        flat = [w for p in weights for w in p.values()]
        out = []
        for indices, labels in zip(*stream, strict=True):
            loss = loss_of(weights, inputs[indices], labels)
            gradients = torch.autograd.grad(loss.sum(), flat)
            with torch.no_grad():
                torch._foreach_mul_(flat, 1.0 - case.lr * case.weight_decay)
                torch._foreach_add_(flat, gradients, alpha=-case.lr)
            out.append(loss.detach())
        return torch.stack(out)

    def run() -> np.ndarray:
        torch.set_num_threads(inside)
        if len(parts) == 1:
            return go(parts[0], drawn[0]).numpy()
        with ThreadPoolExecutor(threads) as pool:
            return torch.cat(list(pool.map(go, parts, drawn)), dim=1).numpy()

    return run


class _One(torch.nn.Module):
    """One net as modules a user would write."""

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__()
        self.layers, self.inner = layers, torch.nn.ModuleList(_module(layer) for layer in layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, module in zip(self.layers, self.inner, strict=True):
            if isinstance(layer, Residual):
                x = module[0](x) + module[1](x)
            elif isinstance(layer, Images):
                x = x.view(-1, layer.height, layer.width, layer.channels).permute(0, 3, 1, 2)
            elif isinstance(layer, MeanPool):
                x = x.mean((2, 3))
            else:
                x = module(x)
        return x


def _module(layer: Any) -> torch.nn.Module:
    if isinstance(layer, Residual):
        return torch.nn.ModuleList([_One(layer.branch), _One(layer.shortcut)])
    if isinstance(layer, Conv):
        return torch.nn.Conv2d(layer.channels, layer.outputs, layer.kernel, padding="same", bias=layer.bias)
    if isinstance(layer, Dense):
        return torch.nn.Linear(layer.inputs, layer.outputs, bias=layer.bias)
    if isinstance(layer, BatchNorm):
        return _Norm(layer.features, layer.eps, affine=layer.affine, track_running_stats=False)
    return torch.nn.ReLU() if isinstance(layer, Relu) else torch.nn.Identity()


class _Norm(torch.nn.modules.batchnorm._BatchNorm):
    """For vectors and images alike."""

    def _check_input_dim(self, x: torch.Tensor) -> None:
        pass


def _load(case: Any, seed: int) -> torch.nn.Module:
    model = _One(case.net.layers).double()
    values = [w.detach()[0] for p in _weights(case.net, case.net.start([seed])) for w in p.values()]
    with torch.no_grad():
        for p, value in zip(model.parameters(), values, strict=True):
            p.copy_(value)
    return model


def one_by_one(case: Any, threads: int = 1) -> Run:
    """run() -> losses (steps, E): modules, autograd and torch.optim.SGD for one net after the other."""
    inputs, drawn = torch.as_tensor(case.data.inputs), _drawn(case, slice(None), case.steps)

    def run() -> np.ndarray:
        torch.set_num_threads(threads)
        out = torch.empty(case.steps, case.nets, dtype=torch.float64)
        for e in range(case.nets):
            model = _load(case, e)
            optimiser = torch.optim.SGD(model.parameters(), lr=case.lr, weight_decay=case.weight_decay)
            for k in range(case.steps):
                loss = f.cross_entropy(model(inputs[drawn[0][k, e]]), drawn[1][k, e])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                out[k, e] = loss.detach()
        return out.numpy()

    return run


def vmapped(case: Any, threads: int = 1) -> Run:
    """run() -> losses (steps, E): gradients of one net's function under `torch.func.vmap`."""
    inputs, drawn = torch.as_tensor(case.data.inputs), _drawn(case, slice(None), case.steps)
    model = _One(case.net.layers).double()
    names = [name for name, _ in model.named_parameters()]
    start = case.net.start(range(case.nets))

    def loss_of(weights: dict[str, torch.Tensor], x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return f.cross_entropy(torch.func.functional_call(model, weights, (x,)), labels)

    both = torch.func.vmap(torch.func.grad_and_value(loss_of))

    def run() -> np.ndarray:
        torch.set_num_threads(threads)
        tensors = [w.detach() for p in _weights(case.net, start) for w in p.values()]
        weights = dict(zip(names, tensors, strict=True))
        out = []
        for indices, labels in zip(*drawn, strict=True):
            gradients, loss = both(weights, inputs[indices], labels)
            torch._foreach_mul_(tensors, 1.0 - case.lr * case.weight_decay)
            torch._foreach_add_(tensors, [gradients[name] for name in names], alpha=-case.lr)
            out.append(loss)
        return torch.stack(out).numpy()

    return run
