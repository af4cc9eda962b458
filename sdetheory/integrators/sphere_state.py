"""The state of the schemes on the sphere: direction and squared norm apart; the trace driving the norm."""

from typing import Any

import numpy as np

from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import constant, fma, load, sqrt, store
from sdetheory.lanes.verbs import disturb
from sdetheory.models.noise import (
    CircleBatch,
    Covariance,
    GOEBatch,
    Isotropic,
    NoisyLinearBatch,
    NoNoise,
    inner,
)


def check_scale_invariant(integrator: Any, model: Any, noise: Any) -> None:
    """Raises ValueError unless loss and noise are declared scale-invariant."""
    for name, plugin in (("model", model), ("noise", noise)):
        if not (getattr(plugin, "scale_invariant", False) or isinstance(plugin, NoNoise)):
            raise ValueError(
                f"`{name}` must be scale-invariant (class attribute scale_invariant = True) for "
                f"{type(integrator).__name__}: {name}={type(plugin).__name__}; use EulerMaruyama()"
            )


def check_registered(integrator: Any, noise: Any, verb: Any, advice: str) -> None:
    """Raises ValueError unless the noise's class registered its own kernel of the verb."""
    if not verb.has(noise):
        known = ", ".join(sorted(c.__name__ for c in verb.kernels))
        raise ValueError(
            f"`noise` must have a `{verb.__name__}` for {type(integrator).__name__} ({known} do): "
            f"noise={type(noise).__name__}; use {advice}"
        )


@part
def split(integrator: Any, w: Any, lr: float, y: Any) -> None:
    """Rows: the direction (d), |w|^2, the squared length of the stored direction (1 here)."""
    d = w.size
    q = inner(w, w, d)
    for i in range(d):
        store(y, i, load(w, i) / sqrt(q))
    store(y, d, q)
    store(y, d + 1, 1.0)


@part
def join(integrator: Any, y: Any, lr: float, w: Any) -> None:
    """w = |w| times the direction."""
    d = w.size
    scale = sqrt(load(y, d) / load(y, d + 1))
    for i in range(d):
        store(w, i, scale * load(y, i))


def _trace_by_columns(noise: Any, w: Any, q: Any, z: Any, work: Any) -> Any:
    """Any noise: |w|^2 times the squared lengths of the columns of G(w), one `disturb` each."""
    unit, out = np.zeros_like(z), np.zeros_like(w)
    total = constant(w, 0.0)
    for j in range(z.size):
        store(unit, j, 1.0)
        disturb(noise, w, unit, out, work)
        store(unit, j, 0.0)
        total = total + inner(out, out, w.size)
    return q * total


# Tr Sigma at the direction w / |w|: q = |w|^2, z has one row an increment (only its size is used).
trace = verb("trace", "noise", "w", "q", "z", "work", default=_trace_by_columns)


@trace.of(NoNoise)
def _no_trace(noise: Any, w: Any, q: Any, z: Any, work: Any) -> Any:
    """0."""
    return 0.0 * q


@trace.of(Isotropic, NoisyLinearBatch, CircleBatch)
def _isotropic_trace(noise: Any, w: Any, q: Any, z: Any, work: Any) -> Any:
    """sigma^2 (d - 1)."""
    return constant(w, noise.sigma * noise.sigma * (w.size - 1.0))


@trace.of(GOEBatch)
def _goe_trace(noise: Any, w: Any, q: Any, z: Any, work: Any) -> Any:
    """4 s^2 (d - 1)."""
    return constant(w, 4.0 * noise.s * noise.s * (w.size - 1.0))


@trace.of(Covariance)
def _covariance_trace(noise: Any, w: Any, q: Any, z: Any, work: Any) -> Any:
    """Tr C - w^T C w/|w|^2."""
    total, along = 0.0, constant(w, 0.0)
    for k in range(noise.root.shape[1]):
        s = constant(w, 0.0)
        for i in range(w.size):
            total += noise.root[i, k] * noise.root[i, k]
            s = fma(noise.root[i, k], load(w, i), s)
        along = fma(s, s, along)
    return total - along / q
