"""diffrax: its adaptive Runge-Kutta pairs for the flow, its Euler-Maruyama for the SDE, on two devices.

The SDE is one solve of the whole ensemble (d, paths), its noise a projection of the increment. Brownian
paths: `UnsafeBrownianPath` (fast, increments of one grid only) and `VirtualBrownianTree` (reproducible on
any grid).
"""

from collections.abc import Callable
from typing import Any

from .with_jax import _split, deep_linear_loss  # isort: skip  (sets the number of devices before jax starts)

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from ..workloads import Flow, NormalisedSDE


def flow(case: Flow, threads: int = 2, solver: str = "Tsit5") -> Callable[[], np.ndarray]:
    """W1: run() -> final layers (members, N, n, n)."""
    devices = _split(len(case.starts), threads)
    loss = deep_linear_loss(case.target)
    term = diffrax.ODETerm(lambda t, w, args: -jax.grad(loss)(w))
    control = diffrax.PIDController(rtol=case.rtol, atol=case.atol)

    def solve(w: jax.Array) -> jax.Array:
        pair = getattr(diffrax, solver)()
        answer = diffrax.diffeqsolve(term, pair, 0.0, case.end, None, w, stepsize_controller=control, max_steps=None)
        return answer.ys[-1]

    parts = case.starts.reshape(devices, -1, *case.starts.shape[1:])
    call = jax.pmap(jax.vmap(solve), devices=jax.local_devices()[:devices])
    jax.block_until_ready(call(parts))
    return lambda: np.asarray(call(parts)).reshape(case.starts.shape)


def _terms(case: NormalisedSDE, path: Any) -> Any:
    a = jnp.asarray(case.a)[:, None]

    def drift(t: Any, w: jax.Array, args: Any) -> jax.Array:
        q = jnp.sum(w * w, axis=0)
        s = jnp.sum(a * w * w, axis=0) / q
        return w * (-case.lr * case.weight_decay - 2.0 * case.lr / q * (a - s))

    class Noise(diffrax.ControlTerm):
        """The noise at w applied to an increment: a projection, so that no d x d matrix is formed."""

        def prod(self, vf: jax.Array, control: jax.Array) -> jax.Array:
            q = jnp.sum(vf * vf, axis=0)
            inner = jnp.sum(vf * control, axis=0) / q
            return case.lr * case.sigma / jnp.sqrt(q) * (control - vf * inner)

    return diffrax.MultiTerm(diffrax.ODETerm(drift), Noise(lambda t, w, args: w, path))


def normalised_sde(
    case: NormalisedSDE, threads: int = 2, path: str = "UnsafeBrownianPath"
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """W2, W3: run() -> (|w|^2 (paths, records), final w (paths, d))."""
    devices = _split(len(case.w0), threads)
    shape = (case.w0.shape[1], len(case.w0) // devices)
    end = case.steps * case.dt
    save = diffrax.SubSaveAt(
        ts=jnp.linspace(end / case.records, end, case.records), fn=lambda t, w, args: jnp.sum(w * w, axis=0)
    )
    last = diffrax.SubSaveAt(t1=True)

    def solve(w: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        structure = jax.ShapeDtypeStruct(shape, jnp.float64)
        if path == "UnsafeBrownianPath":
            brownian: Any = diffrax.UnsafeBrownianPath(structure, key)
            adjoint: Any = diffrax.ForwardMode()
        else:
            brownian = diffrax.VirtualBrownianTree(0.0, end, case.dt / 2, structure, key)
            adjoint = diffrax.RecursiveCheckpointAdjoint()
        answer = diffrax.diffeqsolve(
            _terms(case, brownian), diffrax.Euler(), 0.0, end, case.dt, w,
            saveat=diffrax.SaveAt(subs=[save, last]), max_steps=None,
            adjoint=adjoint,
        )  # fmt: skip
        return answer.ys[1][-1], answer.ys[0]

    parts = np.ascontiguousarray(case.w0.reshape(devices, -1, shape[0]).transpose(0, 2, 1))
    keys = jax.random.split(jax.random.key(7), devices)
    call = jax.pmap(solve, devices=jax.local_devices()[:devices])
    jax.block_until_ready(call(parts, keys))

    def run() -> tuple[np.ndarray, np.ndarray]:
        final, norms = call(parts, keys)
        w = np.asarray(final).transpose(0, 2, 1).reshape(case.w0.shape)
        return np.asarray(norms).transpose(0, 2, 1).reshape(len(case.w0), case.records), w

    return run
