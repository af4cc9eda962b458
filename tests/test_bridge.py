"""The proved system is the simulated one: compiled losses, gradients and diffusions equal the symbolic
definitions.
"""

import functools
import importlib
import pkgutil

import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, example, given, settings
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import integers, lists

import sdetheory
import sdetheory.models
from proofs_check import systems
from sdetheory import evaluate
from sdetheory.integrators.euler_maruyama import TrainingStep
from sdetheory.lanes import verbs
from sdetheory.models import deep_linear as nets
from sdetheory.models import deep_linear_noise as net_noise
from sdetheory.models import noise as noises
from sdetheory.models import scale_invariant as losses
from sdetheory.models.deep_linear_batches import minibatch
from sdetheory.models.epoch_batches import epoch_batches
from sdetheory.models.independent_noise import Skewed
from tests.bridge_twins import (
    ADDED,
    BATCHES,
    ELSEWHERE,
    INDEXED,
    MODELS,
    NOT_LINEAR,
    SAMPLES,
    WRAPPERS,
    close,
    data,
    data_loss,
    network_layers,
    numbers,
    states,
)


def twins(draw_from):
    return pytest.mark.parametrize("twin", draw_from, ids=str)


def registered(verb):
    """The classes of the package's models folder that a verb has kernels for."""
    for module in pkgutil.iter_modules(sdetheory.models.__path__, "sdetheory.models."):
        importlib.import_module(module.name)
    return {cls for cls in verb.kernels if cls.__module__.startswith("sdetheory.models")}


def test_every_model_has_a_symbolic_twin():
    assert registered(verbs.gradient) == {twin.plugin for twin in MODELS}


def test_every_noise_has_a_symbolic_twin():
    twins = {noise.plugin for _, noise in BATCHES} | set(ADDED)
    assert registered(verbs.disturb) == twins | WRAPPERS | ELSEWHERE | INDEXED


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
        assume(twin.admits(w))
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


@pytest.mark.parametrize("pair", [b for b in BATCHES if b[1] not in NOT_LINEAR], ids=str)
def test_diffusion_of_batch_noise_is_the_batch_gradient_minus_the_mean(pair):
    """To the rounding of the two gradients: their difference is 0 where all samples are alike, and they are not."""
    model, noise = pair

    @settings(max_examples=15)
    @given(states(noise.dimension, noise.parameters))
    @example((np.full(noise.dimension, 2.0), np.ones(noise.parameters), np.zeros(0)))
    def check(drawn):
        w, p, _ = drawn
        mean = model.gradient(w, p[: model.parameters])
        batches = np.array([noise.gradient(w, p, z) for z in np.eye(noise.draws)])
        G = evaluate.diffusion(noise.build(p), w)
        scale = max(1 / np.linalg.norm(w) ** 2, np.abs(batches).max(), np.abs(mean).max())
        ok, why = close(G, np.transpose(batches - mean), scale=scale)
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


@pytest.mark.parametrize("uniform", [False, True], ids=["epoch_batches", "minibatch"])
@settings(max_examples=15)
@given(states(12, 12), lists(integers(0, SAMPLES - 1), min_size=2, max_size=2))
def test_a_mini_batch_is_a_symbolic_network_on_its_samples(uniform, drawn, chosen):
    """One step of SGD at samples with repetition, by index or by number: a step on the loss of their columns."""
    w, p, _ = drawn
    assume(np.linalg.norm(p) > 0.01)
    columns = np.concatenate([np.reshape(half, (2, SAMPLES))[:, chosen].ravel() for half in (p[:6], p[6:])])
    model, z = data(p), np.array(chosen, dtype=float)
    noise = minibatch(model, 2) if uniform else epoch_batches(model, 2)
    if uniform:
        z = np.sqrt(3) * (2 * (z + 0.5) / SAMPLES - 1)
    got = evaluate.step(TrainingStep(), model, noise, w, z, lr=0.3, weight_decay=0.1)
    ok, why = close(got, systems.sgd_step(w, pair_gradient(w, columns), 0.3, 0.1))
    assert ok, why


@functools.cache
def _pair_gradient():
    w, p = systems.column("w", 12), systems.column("p", 8)
    loss = systems.network_loss(network_layers(list(w)), sp.Matrix(2, 2, p[:4]), sp.Matrix(2, 2, p[4:])) / 2
    return sp.lambdify([list(w), list(p)], systems.gradient(loss, w), "numpy", cse=True)


def pair_gradient(w, columns):
    """Gradient of the loss of two samples: entries of X (2, 2), then of Y."""
    return np.array(_pair_gradient()(w, columns), dtype=float).ravel()
