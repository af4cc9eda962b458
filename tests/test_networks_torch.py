"""Torch models under the same instruments: the same readings as our engine, groups, invariance, small models."""

import subprocess
import sys

import numpy as np
import pytest

from sdetheory import checks
from sdetheory.dynamics.momentum import HeavyBall
from sdetheory.networks import conv_net, labelled, mlp, train
from sdetheory.networks.instruments import Angle
from sdetheory.networks.norm_law import NormLaw
from sdetheory.networks.regularity import Regularity

torch = pytest.importorskip("torch", reason="torch is not installed: these tests belong to the extra `nets`")
from torch import nn  # noqa: E402

from sdetheory.networks.torch_adapter import (  # noqa: E402
    TorchRun,
    parameters_of,
    scale_invariant_modules,
    set_parameters,
    torch_batches,
    torch_groups,
    torch_inputs,
    train_torch,
)
from sdetheory.networks.torch_models import resnet, unet, vgg  # noqa: E402

IMAGES = labelled(np.sin(np.arange(1280.0) ** 1.4).reshape(40, 4, 8, 1), np.arange(40) % 3)
POINTS = labelled(IMAGES.inputs[:, :6], IMAGES.labels)
cross_entropy = nn.functional.cross_entropy


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small products: threads of torch only get in each other's way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Plus(nn.Module):
    """x + branch(x)."""

    def __init__(self, *branch):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x):
        return x + self.branch(x)


class Extra(nn.Sequential):
    """Layers, and one that is never used."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.extra = nn.Linear(2, 2)

    def forward(self, x):
        return self[2](self[1](self[0](x)))


def perceptron():
    """(our net, the torch net with the same parameters in the same order)."""
    net = mlp((6, 5, 5, 3), activation="gelu", eps=1e-3, affine=True, residual=True)
    norm = lambda: nn.BatchNorm1d(5, eps=1e-3)
    skip = Plus(nn.Linear(5, 5, bias=False), norm(), nn.GELU())
    return net, nn.Sequential(nn.Linear(6, 5, bias=False), norm(), nn.GELU(), skip, nn.Linear(5, 3)), POINTS


def convolutional():
    """The same with filters, whose entries torch orders (channel, row, column)."""
    net = conv_net((3, 4), 3, image=(4, 8, 1), eps=1e-3, pool="max", pool_after=(1,), head="mean")
    norm = lambda c: nn.BatchNorm2d(c, eps=1e-3, affine=False)
    conv = lambda a, b: nn.Conv2d(a, b, 3, padding=1, bias=False)
    model = nn.Sequential(
        conv(1, 3), norm(3), nn.ReLU(), nn.MaxPool2d(2), conv(3, 4), norm(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    return net, model, IMAGES


def in_torch_order(net, parameters):
    """Our filters (out, k k in) as torch's (out, in, k, k), in one vector."""
    out = np.array(parameters)
    for slot in net.slots:
        layer = net.leaves[slot.layer]
        if slot.name == "weight" and hasattr(layer, "kernel"):
            windows = out[..., slot.start : slot.stop].reshape(-1, layer.outputs, layer.kernel**2, layer.channels)
            out[..., slot.start : slot.stop] = windows.swapaxes(2, 3).reshape(len(windows), -1)
    return out


@pytest.mark.parametrize("build", [perceptron, convolutional])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_same_net_gives_the_same_readings_in_both_engines(build, momentum):
    net, prototype, data = build()
    seeds, steps, lr, weight_decay = (3, 8), 25, 0.05, 0.02
    rule = HeavyBall(lr=lr, weight_decay=weight_decay, momentum=momentum) if momentum else None
    rates = {"optimiser": rule} if momentum else {"lr": lr, "weight_decay": weight_decay}
    start = net.start(seeds)
    mine = lambda groups: (NormLaw(groups, rule), Angle(groups), Regularity(reference="best"))
    ours = train(net, data, **rates, steps=steps, batch_size=8, label_noise=0.2, seeds=seeds, start=start,
                 instruments=mine(net.groups()))  # fmt: skip
    models = [prototype.double(), build()[1].double()]
    for model, values in zip(models, in_torch_order(net, start), strict=True):
        set_parameters(model, values)
    groups = torch_groups(models[0], torch_inputs(data)[:9])
    assert [g.segments[0][0] for g in groups] == [g.segments[0][0] for g in net.groups()]
    optimisers = [torch.optim.SGD(m.parameters(), lr=lr, weight_decay=weight_decay, momentum=momentum) for m in models]
    drawn = torch_batches(data, seeds, batch_size=8, label_noise=0.2)
    theirs = train_torch(models, optimisers, cross_entropy, drawn, steps=steps, instruments=mine(groups))
    error = np.abs(theirs.final - in_torch_order(net, ours.final)).max()
    assert error < 1e-11, f"final weights: {error:.1e}"
    assert np.abs(theirs.loss - ours.loss[:, :-1]).max() < 1e-11
    assert set(theirs.readings) == set(ours.readings) == {"norm_law", "angle", "regularity"}
    for name, reading in ours.readings.items():
        for key, values in reading.items():
            got = theirs.readings[name][key]
            values = in_torch_order(net, values) if key == "reference" else values
            assert got.shape == values.shape, (name, key)
            scale = np.nanmax(np.abs(values)) if key not in ("residual", "tangent_residual") else 1.0
            error = np.nanmax(np.abs(got - values)) / (scale or 1.0)
            assert error < 1e-10, f"{name}.{key}: {error:.1e} of {scale:.1e}"


def test_invariant_modules_are_found_by_scaling_them():
    """The same answers as our construction; those inside a branch with a normalisation, not those in front of a sum."""
    x = torch_inputs(POINTS)[:9]
    norm = lambda: nn.BatchNorm1d(5)
    first = nn.Linear(6, 5)
    cases = {
        "stem alone": (nn.Sequential(first, Plus(nn.ReLU(), nn.Linear(5, 5, bias=False)), norm()), {"0"}),
        "branch": (nn.Sequential(first, Plus(nn.ReLU(), nn.Linear(5, 5), norm()), norm()), {"1.branch.1"}),
        "tanh": (nn.Sequential(first, nn.Tanh(), norm()), set()),
        "layer norm": (nn.Sequential(first, nn.LayerNorm(5), nn.Linear(5, 3)), {"0"}),
        "dropout": (nn.Sequential(first, norm(), nn.Dropout(0.5), nn.Linear(5, 3)), {"0"}),
        "unused": (Extra(first, norm(), nn.Linear(5, 3, bias=False)), {"0"}),
    }
    for name, (model, expected) in cases.items():
        before, state = parameters_of(model), torch.random.get_rng_state()
        assert scale_invariant_modules(model, x) == expected, name
        assert (parameters_of(model) == before).all() and (torch.random.get_rng_state() == state).all()
    layer = cases["layer norm"][0]
    assert scale_invariant_modules(layer, x, by="neuron") == set(), "a layer norm mixes neurons: one scale for all"
    assert scale_invariant_modules(cases["branch"][0], x, by="neuron") == {"1.branch.1"}


def test_groups_cover_every_parameter_once_by_layer_and_by_neuron():
    model = unet((2, 3), classes=2)
    x = torch.sin(torch.arange(3 * 64.0) ** 1.3).reshape(3, 1, 8, 8)
    size = len(parameters_of(model))
    for by in ("layer", "neuron"):
        groups = torch_groups(model, x, by=by)
        covered = np.concatenate([np.arange(a, b) for group in groups for a, b in group.segments])
        assert sorted(covered) == list(range(size)), by
    rows = [g for g in groups if g.name.startswith("up.0[")]
    assert len(rows) == 2 and all(g.size == 3 * 4 + 1 for g in rows), "a transposed filter: 3 x 2 x 2 and its bias"
    weight = model.up[0].weight.detach().numpy()
    assert np.allclose(rows[1].select(parameters_of(model))[:12].reshape(3, 2, 2), weight[:, 1])
    named = torch_groups(model, by="neuron", scale_invariant={"down.0.0"})
    assert [g.name for g in named if g.scale_invariant] == ["down.0.0[0]", "down.0.0[1]"]
    with pytest.raises(ValueError, match=r"`scale_invariant` must be one of .*did you mean 'down"):
        torch_groups(model, scale_invariant={"down.0.9"})
    with pytest.raises(ValueError, match="`inputs`, an example batch, or the names"):
        torch_groups(model)


@pytest.mark.parametrize("build", [vgg, resnet, unet])
def test_small_models_learn_and_their_filters_obey_the_norm_law(build):
    """Momentum, float64: normalised filters follow the law with <w, g> = 0 up to what eps leaks."""
    torch.manual_seed(0)
    model = build((4, 6)).double()
    bright = labelled(np.sin(np.arange(2560.0) ** 1.4).reshape(40, 8, 8, 1), np.arange(40) % 2)
    x = torch_inputs(bright) + 0.5 * torch.as_tensor(bright.labels)[:, None, None, None]
    y = torch.as_tensor(bright.labels)
    target = (x[:, 0] > 0.3).long() if build is unet else y
    groups = torch_groups(model, x[:8])
    invariant = [i for i, g in enumerate(groups) if g.scale_invariant]
    assert len(invariant) >= 3, [g.name for g in groups]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    record = train_torch(model, optimiser, cross_entropy, lambda net, step: (x, target), steps=40,
                         instruments=(NormLaw(groups),))  # fmt: skip
    assert record.loss[0, -1] < 0.7 * record.loss[0, 0], record.loss[0, [0, -1]]
    reading = record.readings["norm_law"]
    exact = np.abs(reading["residual"]).max()
    assert exact < 1e-13, f"the law with <w, g>: {exact:.1e}"
    tangent = np.abs(reading["tangent_residual"])[0]
    others = [i for i, g in enumerate(groups) if not g.scale_invariant]
    assert tangent[:, invariant].max() < 1e-4 < tangent[:, others].max(), "eps = 1e-5 leaks, the others do not obey"


def test_switches_change_the_models_as_they_say():
    count = lambda model, kind: sum(isinstance(m, kind) for m in model.modules())
    assert count(vgg((4, 8), normalised=False), nn.BatchNorm2d) == 0 and count(vgg((4, 8)), nn.BatchNorm2d) == 4
    assert count(resnet((4, 8), activation="gelu"), nn.GELU) == 5
    order = [type(m).__name__ for m in vgg((4,), convolutions=1, norm="after")][:3]
    assert order == ["Conv2d", "ReLU", "BatchNorm2d"]
    x = torch.zeros(2, 3, 32, 32)
    assert vgg((2, 2, 2), colours=3)(x).shape == resnet((2, 2), colours=3, skip=False)(x).shape == (2, 10)
    assert unet((2, 2, 2), colours=3)(x).shape == unet((2, 2, 2), colours=3, skip=False)(x).shape == (2, 2, 32, 32)
    plain, skipping = resnet((4, 4), skip=False), resnet((4, 4))
    assert count(plain, nn.Conv2d) + 1 == count(skipping, nn.Conv2d), "one 1 x 1 convolution where the image halves"
    with pytest.raises(ValueError, match=r"`activation` must be one of .*did you mean 'relu'"):
        vgg((4,), activation="rleu")


def test_rates_of_parameter_groups_are_shown_parameter_by_parameter():
    seen = []

    class Watch:
        every = 2

        def see(self, step):
            seen.append(step)

        def reading(self):
            return {"numbers": np.array([[step.number for step in seen]])}

    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)).double()
    model[1].bias.requires_grad_(False)
    optimiser = torch.optim.SGD([
        {"params": [model[0].weight], "lr": 0.1, "weight_decay": 0.5}, {"params": [model[0].bias, model[1].weight]}
    ], lr=0.2)  # fmt: skip
    watch = Watch()
    run = TorchRun(model, optimiser, instruments=(watch,), first_step=4)
    run._mine = [watch]
    x, y = torch_inputs(POINTS), torch.as_tensor(POINTS.labels)
    for _ in range(3):
        optimiser.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        run.step(loss)
    assert run.readings()["watch"]["steps"].tolist() == [4, 6] == run.readings()["watch"]["numbers"][0].tolist()
    lr, decay = seen[0].lr[0], seen[0].weight_decay[0]
    assert lr.tolist() == [0.1] * 24 + [0.2] * 16 + [0.0] * 3 and decay.tolist() == [0.5] * 24 + [0.0] * 19
    expected = seen[0].before - seen[0].lr * (seen[0].gradient + seen[0].weight_decay * seen[0].before)
    assert np.abs(seen[0].after - expected).max() < 1e-15
    assert torch_groups(model, scale_invariant=())[1].frozen is False, "its weight is trained"


def test_bad_runs_are_refused():
    model = nn.Linear(6, 3).double()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e300, weight_decay=1.0)
    with pytest.raises(ValueError, match="`optimisers` must be one a model: 1 for 2 models"):
        TorchRun([model, model], optimiser)
    with pytest.raises(ValueError, match="`models` must have as many parameters each"):
        TorchRun([model, nn.Linear(5, 3)], [optimiser, optimiser])
    with pytest.raises(ValueError, match="`values` must have shape"):
        set_parameters(model, np.zeros(3))
    with pytest.raises(checks.Diverged, match="a torch net did"):
        train_torch(model, optimiser, cross_entropy, torch_batches(POINTS, [0], batch_size=8), steps=9)


def test_the_package_itself_does_not_load_torch():
    code = "import sys, sdetheory, sdetheory.networks; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False"], out.stdout
