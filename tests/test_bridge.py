"""The proved system is the simulated one: compiled gradients, diffusions and steps equal the symbolic
definitions.
"""

import functools
import importlib
import os
import pkgutil

import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import sdetheory
import sdetheory.models
from proofs_check import systems
from sdetheory import evaluate
from sdetheory.integrators import Euler, EulerMaruyama
from sdetheory.integrators.euler_maruyama import TrainingStep
from sdetheory.lanes import verbs
from sdetheory.models import deep_linear as nets
from sdetheory.models import deep_linear_noise as net_noise
from sdetheory.models import noise as noises
from sdetheory.models import scale_invariant as losses
from sdetheory.models.independent_noise import Skewed, White

JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT") == "1"
TOLERANCE = 1e-12
numbers = st.floats(-2, 2, allow_subnormal=False)


class Twin:
    """A plug-in and the symbolic loss it stands for, as functions of one flat array of parameters.

    `build(numbers)` makes the compiled plug-in, `loss(w, letters)` its definition in proofs_check.systems.
    """

    def __init__(self, name, plugin, dimension, parameters, build, loss, draws=0):
        self.name, self.plugin, self.dimension = name, plugin, dimension
        self.parameters, self.build, self.loss, self.draws = parameters, build, loss, draws

    def __repr__(self):
        return self.name

    @functools.cached_property
    def functions(self):
        """(loss, gradient) of (w, parameters, z), lambdified from the symbolic definition."""
        w, p, z = (
            systems.column(n, size)
            for n, size in zip("wpz", (self.dimension, self.parameters, self.draws), strict=True)
        )
        loss = self.loss(w, list(p), *([z] if self.draws else []))
        return tuple(
            sp.lambdify([list(w), list(p), list(z)], e, "numpy", cse=True)
            for e in (loss, systems.gradient(loss, w))
        )

    def value(self, w, p, z=()):
        return float(self.functions[0](w, p, z))

    def gradient(self, w, p, z=()):
        return np.array(self.functions[1](w, p, z), dtype=float).ravel()


def square_matrix(p):
    return sp.Matrix(3, 3, lambda i, j: p[3 * min(i, j) + max(i, j)])


def numeric_square(p):
    full = np.reshape(p, (3, 3))
    return np.triu(full) + np.triu(full, 1).T


def goe(z):
    """E of GOEBatch: sqrt(2) z_i on the diagonal, then row by row below it."""
    E, below = sp.zeros(3, 3), iter(z[3:])
    for i in range(3):
        E[i, i] = sp.sqrt(2) * z[i]
        for j in range(i):
            E[i, j] = E[j, i] = next(below)
    return E


WIDTHS, SAMPLES = (2, 3, 2), 3


def network_layers(w, widths=WIDTHS):
    """Flat weights as matrices, row by row."""
    layers, start = [], 0
    for rows, columns in zip(widths[1:], widths[:-1], strict=True):
        layers.append(sp.Matrix(rows, columns, list(w[start : start + rows * columns])))
        start += rows * columns
    return layers


def target_loss(w, p, penalty=systems.half_square, noise=None):
    target = sp.Matrix(2, 2, p[:4]) + (noise if noise is not None else sp.zeros(2, 2))
    return systems.network_loss(network_layers(w), sp.eye(2), target, penalty)


def data_loss(w, p, penalty=systems.half_square, on_inputs=None, on_labels=None):
    inputs, targets = sp.Matrix(2, SAMPLES, p[:6]), sp.Matrix(2, SAMPLES, p[6:12])
    inputs = inputs if on_inputs is None else inputs + on_inputs
    targets = targets if on_labels is None else targets + on_labels
    return systems.network_loss(network_layers(w), inputs, targets, penalty) / SAMPLES


def data(p, residual_loss=nets.Square()):
    return nets.deep_linear_from_data(
        np.reshape(p[:6], (2, 3)), np.reshape(p[6:12], (2, 3)), WIDTHS, residual_loss
    )


def whitened(p, residual_loss=nets.Square()):
    return nets.deep_linear(WIDTHS, np.reshape(p[:4], (2, 2)), residual_loss)


def chain_product(w):
    return systems.end_to_end(list(w))


diagonal = Twin(
    "Rayleigh",
    losses.Rayleigh,
    3,
    3,
    lambda p: losses.Rayleigh(p),
    lambda w, p: systems.rayleigh(w, sp.diag(*p)),
)
quotient = Twin(
    "RayleighQuotient",
    losses.RayleighQuotient,
    3,
    9,
    lambda p: losses.RayleighQuotient(numeric_square(p)),
    lambda w, p: systems.rayleigh(w, square_matrix(p)),
)
linear = Twin(
    "VonMisesFisher",
    losses.VonMisesFisher,
    3,
    4,
    lambda p: losses.VonMisesFisher(p[:3], p[3]),
    lambda w, p: systems.von_mises_fisher(w, sp.Matrix(p[:3]), p[3]),
)
circle = Twin(
    "Circle", losses.Circle, 2, 1, lambda p: losses.Circle(p[0]), lambda w, p: systems.circle(w, p[0])
)
net = Twin("DeepLinear", nets.DeepLinear, 12, 4, whitened, target_loss)
huber = Twin(
    "DeepLinear, PseudoHuber",
    nets.DeepLinear,
    12,
    4,
    lambda p: whitened(p, nets.PseudoHuber()),
    functools.partial(target_loss, penalty=systems.pseudo_huber),
)
data_net = Twin("DeepLinear, data", nets.DeepLinear, 12, 12, data, data_loss)
chain = Twin(
    "scalar chain",
    nets.DeepLinear,
    3,
    1,
    lambda p: nets.scalar_chain(3, p[0]),
    lambda w, p: systems.square_loss(chain_product(w), p[0]),
)
MODELS = [diagonal, quotient, linear, circle, net, huber, data_net, chain]

# A batch noise is the gradient of its batch loss minus that of the loss; its last parameter is its size.
goe_noise = Twin(
    "GOEBatch",
    noises.GOEBatch,
    3,
    4,
    lambda p: noises.GOEBatch(abs(p[3])),
    lambda w, p, z: systems.goe_batch(w, sp.diag(*p[:3]), sp.Abs(p[3]), goe(z)),
    6,
)
goe_full = Twin(
    "GOEBatch",
    noises.GOEBatch,
    3,
    10,
    lambda p: noises.GOEBatch(abs(p[9])),
    lambda w, p, z: systems.goe_batch(w, square_matrix(p), sp.Abs(p[9]), goe(z)),
    6,
)
linear_noise = Twin(
    "NoisyLinearBatch",
    noises.NoisyLinearBatch,
    3,
    5,
    lambda p: noises.NoisyLinearBatch(abs(p[4])),
    lambda w, p, z: systems.noisy_linear_batch(w, sp.Matrix(p[:3]), p[3], sp.Abs(p[4]), z),
    3,
)
circle_noise = Twin(
    "CircleBatch",
    noises.CircleBatch,
    2,
    2,
    lambda p: noises.CircleBatch(abs(p[1])),
    lambda w, p, z: systems.circle_batch(w, p[0], sp.Abs(p[1]), z),
    2,
)
labels = Twin(
    "LabelNoise",
    net_noise.LabelNoise,
    12,
    5,
    lambda p: net_noise.label_noise(whitened(p), abs(p[4])),
    lambda w, p, z: target_loss(w, p, noise=sp.Abs(p[4]) * sp.Matrix(2, 2, list(z))),
    4,
)
chain_labels = Twin(
    "LabelNoise, chain",
    net_noise.LabelNoise,
    3,
    2,
    lambda p: net_noise.label_noise(nets.scalar_chain(3, p[0]), abs(p[1])),
    lambda w, p, z: systems.label_noise_batch(chain_product(w), p[0], sp.Abs(p[1]) * z[0]),
    1,
)
chain_inputs = Twin(
    "InputNoise, chain",
    net_noise.InputNoise,
    3,
    2,
    lambda p: net_noise.multiplicative_input_noise(nets.scalar_chain(3, p[0]), abs(p[1])),
    lambda w, p, z: systems.input_noise_batch(chain_product(w), p[0], sp.Abs(p[1]) * z[0]),
    1,
)
data_inputs = Twin("InputNoise, data", net_noise.InputNoise, 12, 13,
                   lambda p: net_noise.input_noise(data(p), abs(p[12])),
                   lambda w, p, z: data_loss(w, p, on_inputs=sp.Abs(p[12]) * sp.Matrix(2, 3, list(z))),
                   6)  # fmt: skip
BATCHES = [(diagonal, goe_noise), (quotient, goe_full), (linear, linear_noise), (circle, circle_noise),
           (net, labels), (chain, chain_labels), (chain, chain_inputs), (data_net, data_inputs)]  # fmt: skip

# A noise given by its covariance: (size of the parameters, plug-in, Sigma(w, letters)).
ADDED = {
    noises.NoNoise: (0, lambda p: noises.NoNoise(), lambda w, p: sp.zeros(len(w), len(w))),
    noises.Isotropic: (1, lambda p: noises.Isotropic(abs(p[0])), lambda w, p: systems.isotropic(w, p[0])),
    noises.Covariance: (6, lambda p: noises.Covariance(np.reshape(p, (-1, 2))),
                        lambda w, p: systems.projected(w, sp.Matrix(3, 2, p) * sp.Matrix(3, 2, p).T)),
    White: (1, lambda p: White(abs(p[0])), lambda w, p: p[0] ** 2 * sp.eye(len(w))),
}  # fmt: skip
WRAPPERS = {Skewed}  # tested against the noise they wrap


def twins(draw_from):
    return pytest.mark.parametrize("twin", draw_from, ids=str)


def states(dimension, parameters, draws=0):
    """(w away from zero, parameters, increments)."""
    vector = lambda size: arrays(float, size, elements=numbers)
    return st.tuples(
        vector(dimension).filter(lambda w: np.linalg.norm(w) > 0.1), vector(parameters), vector(draws)
    )


def close(got, wanted, scale=1.0):
    error = np.max(np.abs(np.asarray(got) - wanted), initial=0.0)
    size = max(scale, np.max(np.abs(wanted), initial=0.0))
    return error <= TOLERANCE * size, f"error {error:.3g} of {size:.3g}\ncompiled {got}\nsymbolic {wanted}"


def registered(verb):
    """The classes of the package's models folder that a verb has kernels for."""
    for module in pkgutil.iter_modules(sdetheory.models.__path__, "sdetheory.models."):
        importlib.import_module(module.name)
    return {cls for cls in verb.kernels if cls.__module__.startswith("sdetheory.models")}


def test_every_model_has_a_symbolic_twin():
    assert registered(verbs.gradient) == {twin.plugin for twin in MODELS}


def test_every_noise_has_a_symbolic_twin():
    assert registered(verbs.disturb) == {noise.plugin for _, noise in BATCHES} | set(ADDED) | WRAPPERS


@given(arrays(float, 3, elements=numbers))
@example(np.array([1.0, -1.0, 0.0]))
@settings(max_examples=10)
def test_skewed_noise_is_its_noise_at_skewed_increments(z):
    w, model = np.array([0.7, -0.2, 0.4]), losses.Rayleigh(np.array([0.0, 0.3, 1.0]))
    run = lambda noise, z: evaluate.step(TrainingStep(), model, noise, w, z, lr=0.3, weight_decay=0.1)
    got, wanted = run(Skewed(noises.Isotropic(0.5)), z), run(noises.Isotropic(0.5), (z**2 - 1) / np.sqrt(2))
    ok, why = close(got, wanted)
    assert ok, why


@pytest.mark.parametrize(
    "noise",
    [
        Skewed(noises.Isotropic(0.5)),
        net_noise.input_noise(nets.scalar_chain(2), 0.3),
        net_noise.label_noise(nets.deep_linear((1, 1), [[1.0]], nets.PseudoHuber()), 0.3),
    ],
    ids=lambda noise: type(noise).__name__,
)
def test_noise_that_is_not_linear_in_its_increments_has_no_diffusion_and_no_sde(noise):
    with pytest.raises(ValueError, match=r"`noise` must be linear in its increments"):
        evaluate.diffusion(noise, [0.3, 0.4])
    with pytest.raises(ValueError, match=r"`noise` must be linear in its increments for WeightDecaySDE"):
        sde = sdetheory.WeightDecaySDE(0.1, 0.1)
        sdetheory.simulate(losses.Rayleigh(np.zeros(2)), sde, [0.3, 0.4], [1.0], noise=noise)


@twins(MODELS)
def test_loss_and_gradient(twin):
    @settings(max_examples=20)
    @given(states(twin.dimension, twin.parameters))
    def check(drawn):
        w, p, _ = drawn
        assume(not isinstance(twin.build(p), nets.DeepLinear) or np.linalg.norm(p) > 0.01)
        model = twin.build(p)
        ok, why = close(evaluate.gradient(model, w), twin.gradient(w, p), scale=1 / np.linalg.norm(w) ** 2)
        assert ok, why
        ok, why = close(evaluate.loss(model, w), twin.value(w, p))
        assert ok, why

    check()


@pytest.mark.parametrize("cls", list(ADDED), ids=lambda c: c.__name__)
def test_diffusion_of_added_noise_is_a_root_of_its_covariance(cls):
    size, build, sigma = ADDED[cls]
    w_letters, p_letters = systems.column("w", 3), systems.column("p", size) if size else sp.Matrix([])
    symbolic = sp.lambdify(
        [list(w_letters), list(p_letters)], sigma(w_letters, list(p_letters)), "numpy", cse=True
    )

    @settings(max_examples=20)
    @given(states(3, size))
    @example((np.array([1.0, 0.0, 0.0]), np.zeros(size), np.zeros(0)))
    def check(drawn):
        w, p, _ = drawn
        G = evaluate.diffusion(build(p), w)
        ok, why = close(G @ G.T, np.array(symbolic(w, p), dtype=float), scale=1 / np.linalg.norm(w) ** 2)
        assert ok, why

    check()


@pytest.mark.parametrize(
    "pair", [b for b in BATCHES if b[1] is not chain_inputs and b[1] is not data_inputs], ids=str
)
def test_diffusion_of_batch_noise_is_the_batch_gradient_minus_the_mean(pair):
    model, noise = pair

    @settings(max_examples=15)
    @given(states(noise.dimension, noise.parameters))
    def check(drawn):
        w, p, _ = drawn
        columns = [
            noise.gradient(w, p, z) - model.gradient(w, p[: model.parameters]) for z in np.eye(noise.draws)
        ]
        G = evaluate.diffusion(noise.build(p), w)
        ok, why = close(G, np.transpose(columns), scale=1 / np.linalg.norm(w) ** 2)
        assert ok, why

    check()


def test_label_noise_on_data_has_the_covariance_of_its_definition():
    """On data the kernel draws fewer increments than labels: the same covariance, not the same numbers."""
    w, p = systems.column("w", 12), systems.column("p", 12)
    z = sp.Matrix(2, SAMPLES, sp.symbols("z:6"))
    sigma = systems.batch_covariance(data_loss(w, list(p), on_labels=z), w, dict.fromkeys(z, 1))
    symbolic = sp.lambdify([list(w), list(p)], sigma, "numpy", cse=True)

    @settings(max_examples=10)
    @given(states(12, 12))
    def check(drawn):
        weights, numbers, _ = drawn
        assume(np.linalg.norm(numbers[:6]) > 0.01)
        G = evaluate.diffusion(net_noise.label_noise(data(numbers), 1.0), weights)
        ok, why = close(G @ G.T, np.array(symbolic(weights, numbers), dtype=float))
        assert ok, why

    check()


# One step: every model with every noise that goes with it. Compiled, a covering set runs by default (each
# model and each noise, SGD and Euler-Maruyama) and the rest is slow; without the compiler everything runs.
SPHERE = (diagonal, quotient, linear)
ADDITIVE = [(model, cls) for model in SPHERE for cls in ADDED]
ADDITIVE += [
    (circle, noises.NoNoise),
    (circle, noises.Isotropic),
    (net, noises.NoNoise),
    (chain, noises.NoNoise),
]
COVER = {(diagonal, noises.Isotropic, EulerMaruyama), (quotient, noises.Covariance, EulerMaruyama),
         (linear, noises.NoNoise, TrainingStep), (circle, noises.NoNoise, EulerMaruyama)}  # fmt: skip


def steps():
    for model, cls in ADDITIVE:
        for rule in (TrainingStep, EulerMaruyama):
            slow = [] if JIT_OFF or (model, cls, rule) in COVER else [pytest.mark.slow]
            yield pytest.param(model, cls, rule, marks=slow, id=f"{model}-{cls.__name__}-{rule.__name__}")


rates = st.floats(0.01, 0.5)


@pytest.mark.parametrize(("model", "cls", "rule"), list(steps()))
def test_one_step_with_added_noise(model, cls, rule):
    size, build, _ = ADDED[cls]

    @settings(max_examples=10)
    @given(
        states(model.dimension, model.parameters),
        arrays(float, size, elements=numbers),
        rates,
        rates,
        rates,
        st.data(),
    )
    def check(drawn, noise_numbers, lr, weight_decay, dt, data):
        w, p, _ = drawn
        noise, g = build(noise_numbers), model.gradient(w, p)
        G = evaluate.diffusion(noise, w)
        z = data.draw(arrays(float, G.shape[1], elements=numbers))
        got = evaluate.step(rule(), model.build(p), noise, w, z, lr=lr, weight_decay=weight_decay, dt=dt)
        if rule is TrainingStep:
            wanted = systems.sgd_step(w, g + G @ z, lr, weight_decay)
        else:
            wanted = systems.euler_maruyama_step(w, g, G @ z, lr, weight_decay, dt, np.sqrt(dt))
        ok, why = close(got, wanted, scale=1 / np.linalg.norm(w) ** 2)
        assert ok, why

    check()


@pytest.mark.claim("I2", "I3", "D24", kind="property")
@pytest.mark.parametrize(
    "pair",
    [pytest.param(b, marks=[] if JIT_OFF or b[1] is not goe_full else [pytest.mark.slow]) for b in BATCHES],
    ids=str,
)
def test_one_sgd_step_is_a_step_on_the_loss_of_one_batch(pair):
    """Real mini-batch SGD: the compiled step equals (1 - lr wd) w - lr grad of the symbolic batch loss."""
    model, noise = pair

    @settings(max_examples=15)
    @given(states(noise.dimension, noise.parameters, noise.draws), rates, rates)
    def check(drawn, lr, weight_decay):
        w, p, z = drawn
        assume(noise.plugin is not net_noise.InputNoise or p[-1] != 0)  # without noise nothing is drawn
        plugin, plugin_noise = model.build(p[: model.parameters]), noise.build(p)
        got = evaluate.step(TrainingStep(), plugin, plugin_noise, w, z, lr=lr, weight_decay=weight_decay)
        wanted = systems.sgd_step(w, noise.gradient(w, p, z), lr, weight_decay)
        ok, why = close(got, wanted, scale=1 / np.linalg.norm(w) ** 2)
        assert ok, why

    check()


@pytest.mark.parametrize(
    "model",
    [circle, pytest.param(chain, marks=[] if JIT_OFF else [pytest.mark.slow])],
    ids=str,
)
def test_one_euler_step_follows_the_flow(model):
    @settings(max_examples=15)
    @given(states(model.dimension, model.parameters), rates, rates)
    def check(drawn, weight_decay, dt):
        w, p, _ = drawn
        got = evaluate.step(
            Euler(), model.build(p), noises.NoNoise(), w, np.zeros(0), weight_decay=weight_decay, dt=dt
        )
        wanted = w + dt * systems.flow_rate(w, model.gradient(w, p), weight_decay)
        ok, why = close(got, wanted)
        assert ok, why

    check()
