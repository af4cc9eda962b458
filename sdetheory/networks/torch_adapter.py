"""The same experiments on torch models: any module, loss and optimiser, seen by the instruments of this package.

Needs the extra `nets` (torch). What instruments see are arrays, a `Step`; this module fills them from torch: every
parameter of a module in the order of `named_parameters`, flat and as float64 (the frozen ones too, buffers such as
running means not), the gradients, the rates in the optimiser's parameter groups. One net or several side by side:

    models = [vgg() for _ in range(5)]
    optimisers = [torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-3) for model in models]
    groups = torch_groups(models[0], inputs)
    record = train_torch(models, optimisers, torch.nn.functional.cross_entropy,
                         torch_batches(data, range(5), batch_size=32), steps=100, instruments=(NormLaw(groups),))
    record.readings["norm_law"]

or, in a loop of one's own, a `TorchRun` whose `step` takes the place of `optimiser.step`. Nothing is downloaded.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.networks.data import Data
from sdetheory.networks.groups import Group
from sdetheory.networks.instruments import Step, check_instruments, joined, parts, watching
from sdetheory.networks.streams import BLOCK, batches

try:
    import torch
except ModuleNotFoundError as absent:
    raise ImportError("`sdetheory.networks.torch_adapter` needs torch: install sdetheory[nets]") from absent

Batches = Callable[[int, int], tuple[Any, Any]]


def parameters_of(model: Any) -> np.ndarray:
    """The parameters (P,) of a module, in the order of `named_parameters`, as float64."""
    return _flat([p.detach() for p in model.parameters()])


def set_parameters(model: Any, values: np.ndarray) -> None:
    """Write parameters (P,) into a module, rounded to its own precision. Raises ValueError for another length."""
    values, at = checks.finite("values", values), 0
    checks.shape("values", values, (sum(p.numel() for p in model.parameters()),))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.as_tensor(values[at : at + p.numel()]).reshape(p.shape))
            at += p.numel()


def torch_groups(
    model: Any, inputs: Any = None, *, by: str = "layer", scale_invariant: Collection[str] | None = None
) -> tuple[Group, ...]:
    """Groups of parameters, one a module with parameters of its own ("layer"), or one a row of them ("neuron").

    Names are those of the modules ("features.0", or "features.0[3]" for a neuron or filter). scale_invariant: names
    of modules whose weights are; None finds them out on an example batch `inputs`, see `scale_invariant_modules`.
    Raises ValueError for unknown names, or for neither names nor inputs.
    """
    checks.choice("by", by, ("layer", "neuron"))
    own = [(name, list(module.parameters(recurse=False)), module) for name, module in model.named_modules()]
    own = [(name, mine, module) for name, mine, module in own if mine]
    if scale_invariant is None:
        if inputs is None:
            raise ValueError("`inputs`, an example batch, or the names in `scale_invariant` must be given")
        scale_invariant = scale_invariant_modules(model, inputs, by=by)
    for name in scale_invariant:
        checks.choice("scale_invariant", name, [name for name, _, _ in own])
    starts, at = {}, 0
    for p in model.parameters():
        starts[id(p)], at = at, at + p.numel()
    out, seen = [], set()
    for number, (name, mine, module) in enumerate(own):
        mine = [p for p in mine if id(p) not in seen]  # a tied parameter belongs to the first of its modules
        seen |= {id(p) for p in mine}
        how = number, name in scale_invariant, not any(p.requires_grad for p in mine)
        whole = tuple((starts[id(p)], starts[id(p)] + p.numel()) for p in mine)
        if mine and by == "layer":
            out.append(Group(name, how[0], whole, *how[1:]))
        elif mine:
            rows = [list(_rows(module, p)) for p in mine]
            for row in range(len(rows[0])):
                segments = tuple(
                    (starts[id(p)] + a, starts[id(p)] + b)
                    for p, mine_rows in zip(mine, rows, strict=True) if row < len(mine_rows)
                    for a, b in mine_rows[row]
                )  # fmt: skip
                out.append(Group(f"{name}[{row}]", how[0], segments, *how[1:]))
    return tuple(out)


def scale_invariant_modules(model: Any, inputs: Any, *, by: str = "layer") -> set[str]:
    """Names of the modules whose parameters, times positive factors, leave the output in training mode as it is.

    Found by doing it, so for any architecture: on a copy in float64 at parameters in general position, with every
    eps at 1e-30 (invariance holds but for eps; `radial_leak` of claim A3 is what eps makes of it), all parameters of
    a module are multiplied by 2, or with by="neuron" every row by 2 or 1/2. `inputs`: an example batch.
    """
    probe = copy.deepcopy(model).double().train()
    for module in probe.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-30
    inputs = inputs.double() if torch.is_tensor(inputs) and inputs.is_floating_point() else inputs
    with torch.no_grad():
        for p in probe.parameters():
            wave = torch.cos(torch.arange(p.numel(), dtype=torch.float64) ** 1.3 + 0.3).reshape(p.shape)
            p += 0.1 * (1.0 + p.abs().mean()) * wave
        found, plain = set(), _output(probe, inputs)
        for name, module in probe.named_modules():
            mine = list(module.parameters(recurse=False))
            if mine and _unmoved(plain, probe, inputs, module, mine, by) and not _idle(plain, probe, inputs, mine):
                found.add(name)
    return found


def _output(model: Any, inputs: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # dropout alike in every call
        return model(inputs)


def _unmoved(plain: Any, model: Any, inputs: Any, module: Any, mine: list[Any], by: str) -> bool:
    """Is the output the same with the module's parameters scaled?"""
    kept = [p.clone() for p in mine]
    for p in mine:
        factors = torch.full((p.numel(),), 2.0, dtype=torch.float64)
        if by == "neuron":
            for number, row in enumerate(_rows(module, p)):
                for a, b in row:
                    factors[a:b] = 2.0 if number % 2 else 0.5
        p *= factors.reshape(p.shape)
    same = _near(_output(model, inputs), plain)
    for p, old in zip(mine, kept, strict=True):
        p.copy_(old)
    return same


def _idle(plain: Any, model: Any, inputs: Any, mine: list[Any]) -> bool:
    """Do the parameters not matter at all?"""
    kept = [p.clone() for p in mine]
    for p in mine:
        p += 0.1 * torch.sin(torch.arange(p.numel(), dtype=torch.float64) ** 1.7 + 1.0).reshape(p.shape)
    same = _near(_output(model, inputs), plain)
    for p, old in zip(mine, kept, strict=True):
        p.copy_(old)
    return same


def _near(a: Any, b: Any) -> bool:
    return bool((a - b).abs().max() <= 1e-9 * (1.0 + b.abs().max()))


def _rows(module: Any, p: Any) -> Iterator[list[tuple[int, int]]]:
    """Segments of each output neuron in a flat parameter; a transposed convolution has its outputs on axis 1."""
    shape, size = tuple(p.shape), p.numel()
    if getattr(module, "transposed", False) and len(shape) > 2:
        width = size // (shape[0] * shape[1])
        for row in range(shape[1]):
            yield [((i * shape[1] + row) * width, (i * shape[1] + row + 1) * width) for i in range(shape[0])]
        return
    rows = shape[0] if shape else 1
    for row in range(rows):
        yield [(row * size // rows, (row + 1) * size // rows)]


class TorchRun:
    """E nets with an optimiser each; `step` moves all of them and shows the step to the instruments.

    Raises ValueError for modules of different sizes, or not one optimiser a module.
    """

    def __init__(
        self, models: Any, optimisers: Any, *, instruments: Sequence[Any] = (), first_step: int = 0
    ) -> None:
        self.models = [models] if hasattr(models, "parameters") else list(models)
        self.optimisers = [optimisers] if hasattr(optimisers, "param_groups") else list(optimisers)
        if not self.models or len(self.models) != len(self.optimisers):
            raise ValueError(
                f"`optimisers` must be one a model: {len(self.optimisers)} for {len(self.models)} models"
            )
        sizes = {sum(p.numel() for p in model.parameters()) for model in self.models}
        if len(sizes) != 1:
            raise ValueError(f"`models` must have as many parameters each: {sorted(sizes)}")
        self.instruments = check_instruments(instruments)
        self._mine = parts(self.instruments, slice(0, len(self.models)))
        self.first = self.number = checks.integer("first_step", first_step)

    @property
    def parameters(self) -> np.ndarray:
        """The parameters of all nets, (E, P)."""
        return np.stack([parameters_of(model) for model in self.models])

    def step(self, losses: Any) -> None:
        """One step of every optimiser, after `backward`; losses: those of the batches at the weights before, (E,)."""
        values = losses if isinstance(losses, Sequence) else [losses]
        loss = np.array([value.item() if hasattr(value, "item") else float(value) for value in values])
        checks.shape("losses", loss, (len(self.models),))
        if not (watched := watching(self._mine, self.number)):
            self._move()
        else:
            before, gradient = self.parameters, np.stack([_gradient(model) for model in self.models])
            lr, weight_decay = self._rates("lr"), self._rates("weight_decay")
            self._move()
            shown = Step(self.number, before, gradient, self.parameters, lr, weight_decay, loss)
            for instrument in watched:
                instrument.see(shown)
        self.number += 1

    def _move(self) -> None:
        for optimiser in self.optimisers:
            optimiser.step()

    def _rates(self, name: str) -> np.ndarray:
        """(E,), or (E, P) where a net's parameters have several; 0 for parameters no optimiser holds."""
        rows = []
        for model, optimiser in zip(self.models, self.optimisers, strict=True):
            held = {id(p): float(group.get(name, 0.0)) for group in optimiser.param_groups for p in group["params"]}
            rows.append(np.concatenate([np.full(p.numel(), held.get(id(p), 0.0)) for p in model.parameters()]))
        out = np.stack(rows)
        return out[:, 0] if (out == out[:, :1]).all() else out

    def readings(self) -> dict[str, dict[str, np.ndarray]]:
        """What the instruments saw, by name, as in `TrainingRecord.readings`."""
        return joined(self.instruments, [self._mine], self.first, self.number - self.first)


class TorchRecord(NamedTuple):
    """loss (E, steps) of each batch at the weights before, final (E, P), readings of the instruments by name."""

    loss: np.ndarray
    final: np.ndarray
    readings: dict[str, dict[str, np.ndarray]]


def train_torch(
    models: Any,
    optimisers: Any,
    loss: Callable[[Any, Any], Any],
    batches: Batches,
    *,
    steps: int,
    instruments: Sequence[Any] = (),
    schedulers: Sequence[Any] = (),
    first_step: int = 0,
) -> TorchRecord:
    """Train E torch nets, in training mode, for so many steps; the instruments are those of `train`.

    loss(output, target): a scalar tensor; batches(net, step): inputs and target of net 0 .. E - 1 at a step, such as
    `torch_batches`; schedulers: stepped after every step. Raises ValueError on bad arguments, and Diverged when a
    loss is not finite.
    """
    run = TorchRun(models, optimisers, instruments=instruments, first_step=first_step)
    out = np.empty((len(run.models), checks.integer("steps", steps, 1)))
    for model in run.models:
        model.train()
    for k in range(steps):
        for e, (model, optimiser) in enumerate(zip(run.models, run.optimisers, strict=True)):
            inputs, target = batches(e, run.number)
            optimiser.zero_grad(set_to_none=True)
            value = loss(model(inputs), target)
            value.backward()
            out[e, k] = value.item()
        if not np.isfinite(out[:, k]).all():
            raise checks.Diverged(run.number, run.number, "a torch net did; reduce lr")
        run.step(list(out[:, k]))
        for scheduler in schedulers:
            scheduler.step()
    return TorchRecord(out, run.parameters, run.readings())


def torch_batches(
    data: Data, seeds: Sequence[int], *, batch_size: int = 32, label_noise: float = 0.0, dtype: Any = None
) -> Batches:
    """The batches that `train` draws for nets with these seeds, as tensors (B, F), or images (B, C, height, width)."""
    inputs = torch_inputs(data, dtype)
    drawn: dict[int, tuple[int, Any, Any]] = {}

    def batch(net: int, step: int) -> tuple[Any, Any]:
        block = step // BLOCK
        if drawn.get(net, (-1,))[0] != block:
            ends = block * BLOCK, (block + 1) * BLOCK
            rows = batches(data.labels, data.classes, int(seeds[net]), *ends, batch_size, label_noise)
            drawn[net] = (block, *(torch.as_tensor(row) for row in rows))
        _, indices, labels = drawn[net]
        return inputs[indices[step % BLOCK]], labels[step % BLOCK]

    return batch


def torch_inputs(data: Data, dtype: Any = None) -> Any:
    """All inputs as one tensor (n, F), of images (n, C, height, width); `dtype` is float64 by default."""
    values = torch.as_tensor(data.inputs, dtype=dtype or torch.float64)
    return values if data.image is None else values.reshape(-1, *data.image).permute(0, 3, 1, 2).contiguous()


def _gradient(model: Any) -> np.ndarray:
    return _flat([torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in model.parameters()])


def _flat(tensors: list[Any]) -> np.ndarray:
    return torch.cat([t.reshape(-1).to("cpu", torch.float64) for t in tensors]).numpy()
