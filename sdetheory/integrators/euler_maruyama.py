"""The explicit one-step maps in R^d: Euler-Maruyama for the weight-decay SDE, and the discrete training step.

State: w and |w|^2, carried along so that models and noises need not sum it again.  Where nobody asks for it
(no noise, and a model that fills its gradient) it is not: the sum is one chain of additions, which the rest of
the step would wait for.
"""

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from sdetheory.lanes.parts import OPTIONS
from sdetheory.lanes.vector import constant, fma, load, store
from sdetheory.lanes.verbs import (
    coordinate,
    coordinate_noise,
    descend,
    encode,
    extra,
    prepare,
    prepare_noise,
    step,
    steps,
    workspace,
)
from sdetheory.models.noise import NoNoise


class EulerMaruyama(NamedTuple):
    """w' = w - dt (lr weight_decay w + lr grad L(w)) + lr sqrt(dt) G(w) z.

    Converges to the Ito solution; source: G. Maruyama (1955), P. Kloeden and E. Platen (1992), section 10.2.
    """

    calculus = "ito"
    strong_order = 0.5
    weak_order = 1.0

    def descends(self, noise: Any) -> bool:
        """Are its steps those of the verb `descend`, where the model has no pointwise gradient?"""
        return type(noise) is NoNoise


class TrainingStep(NamedTuple):
    """w' = (1 - lr weight_decay) w - lr (grad L(w) + G(w) z): (stochastic) gradient descent with weight
    decay.
    """

    calculus = "discrete"

    def descends(self, noise: Any) -> bool:
        """Are its steps those of the verb `descend`, where the model has no pointwise gradient?"""
        return type(noise) is NoNoise


def _move(model, noise, keep, drift, diffusion, count, y, z, work):
    """`count` times w <- keep w + drift grad L(w) + diffusion G(w) z: the form is chosen by the classes, at compile
    time."""
    descends = type(noise) is NoNoise and not (prepare.has(model) or coordinate.has(model))
    (_descend if descends else _move_with_norm)(model, noise, keep, drift, diffusion, count, y, z, work)


@overload(_move, jit_options=OPTIONS)
def _chosen_move(model, noise, keep, drift, diffusion, count, y, z, work):
    own = prepare.has_for_good(model.instance_class) or coordinate.has_for_good(model.instance_class)
    return _descend if noise.instance_class is NoNoise and not own else _move_with_norm


def _descend(model, noise, keep, drift, diffusion, count, y, z, work):
    """w <- keep w + drift grad L(w) for a model that fills its gradient; |w|^2 stays that of the start."""
    d = y.size - 1
    descend(model, y[:d], keep, drift, count, work[:d], work[2 * d :])


def _move_with_norm(model, noise, keep, drift, diffusion, count, y, z, work):
    """The same with pointwise models and noises, in one pass over the coordinates."""
    d = y.size - 1
    w, f, g, rest = y[:d], work[:d], work[d : 2 * d], work[2 * d :]
    for _ in range(count):
        q = load(y, d)
        c = prepare(model, w, q, f, rest)
        s = prepare_noise(noise, w, q, z, g, rest)
        q = constant(y, 0.0)
        for i in range(d):
            v = load(w, i)
            move = fma(drift, coordinate(model, c, v, i, f), diffusion * coordinate_noise(noise, s, v, z, i, g))
            v = fma(keep, v, move)
            q = fma(v, v, q)
            store(w, i, v)
        store(y, d, q)


@steps.of(EulerMaruyama)
def _euler_maruyama(integrator, model, noise, lr, weight_decay, dt, count, y, z, work):
    _move(model, noise, 1.0 - lr * weight_decay * dt, -lr * dt, lr * np.sqrt(dt), count, y, z, work)


@steps.of(TrainingStep)
def _training_steps(integrator, model, noise, lr, weight_decay, dt, count, y, z, work):
    _move(model, noise, 1.0 - lr * weight_decay, -lr, -lr, count, y, z, work)


@step.of(EulerMaruyama, TrainingStep)
def _step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    steps(integrator, model, noise, lr, weight_decay, dt, 1, y, z, work)


@extra.of(EulerMaruyama, TrainingStep)
def _extra(integrator, d):
    return 1


@workspace.of(EulerMaruyama, TrainingStep)
def _workspace(integrator, d):
    return 2 * d


@encode.of(EulerMaruyama, TrainingStep)
def _encode(integrator, w, lr, y):
    """(w, |w|^2)."""
    q = constant(w, 0.0)
    for i in range(w.size):
        v = load(w, i)
        q = fma(v, v, q)
        store(y, i, v)
    store(y, w.size, q)
