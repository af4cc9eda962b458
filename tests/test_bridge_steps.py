"""The proved steps are the simulated ones: compiled SGD, Euler-Maruyama and Euler steps equal the symbolic
definitions.
"""

import os

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proofs_check import systems
from sdetheory import evaluate
from sdetheory.integrators import Euler, EulerMaruyama
from sdetheory.integrators.euler_maruyama import TrainingStep
from sdetheory.models import deep_linear_noise as net_noise
from sdetheory.models import noise as noises
from tests.bridge_twins import (
    ADDED,
    BATCHES,
    chain,
    circle,
    close,
    diagonal,
    equator,
    goe_full,
    linear,
    net,
    numbers,
    quotient,
    states,
)

JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT") == "1"

# One step: every model with every noise that goes with it. Compiled, a covering set runs by default (each
# model and each noise, SGD and Euler-Maruyama) and the rest is slow; without the compiler everything runs.
SPHERE = (diagonal, quotient, linear)
ADDITIVE = [(model, cls) for model in SPHERE for cls in ADDED]
ADDITIVE += [
    (circle, noises.NoNoise),
    (circle, noises.Isotropic),
    (equator, noises.NoNoise),
    (net, noises.NoNoise),
    (chain, noises.NoNoise),
]
COVER = {(diagonal, noises.Isotropic, EulerMaruyama), (quotient, noises.Covariance, EulerMaruyama),
         (linear, noises.NoNoise, TrainingStep), (equator, noises.NoNoise, TrainingStep),
         (circle, noises.NoNoise, EulerMaruyama)}  # fmt: skip


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
        assume(model.admits(w))
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
