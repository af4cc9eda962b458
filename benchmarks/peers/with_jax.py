"""jax: one compiled scan over the steps, double precision, ensembles in one array.

Two host devices, one a core, so that the ensemble is split by sharding where XLA would use one core (set
before jax starts). Normals come from `jax.random.normal`, keys folded with the step number; the generator
is jax's default or the faster "rbg".
"""

import os
from collections.abc import Callable

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..workloads import Descent, NormalisedSDE

jax.config.update("jax_enable_x64", True)


def _split(n: int, threads: int) -> int:
    return threads if threads <= jax.local_device_count() and n % threads == 0 else 1


def advance(case: NormalisedSDE, w: jax.Array, z: jax.Array) -> jax.Array:
    """One Euler-Maruyama step of w (d, paths) with the increments z (d, paths)."""
    a = jnp.asarray(case.a)[:, None]
    q = jnp.sum(w * w, axis=0)
    s = jnp.sum(a * w * w, axis=0) / q
    inner = jnp.sum(w * z, axis=0) / q
    noise = case.lr * case.sigma * jnp.sqrt(case.dt / q)
    pull = 2.0 * case.lr * case.dt / q
    keep = 1.0 - case.lr * case.weight_decay * case.dt
    return w * (keep + pull * s - noise * inner - pull * a) + noise * z


def normalised_sde(
    case: NormalisedSDE, threads: int = 2, generator: str = "threefry2x32"
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """W2, W3: run() -> (|w|^2 (paths, records), final w (paths, d))."""
    devices = _split(len(case.w0), threads)
    every = case.steps // case.records
    shape = (case.w0.shape[1], len(case.w0) // devices)

    def solve(w: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        def one(w: jax.Array, step: jax.Array) -> tuple[jax.Array, None]:
            z = jax.random.normal(jax.random.fold_in(key, step), shape, jnp.float64)
            return advance(case, w, z), None

        def record(w: jax.Array, block: jax.Array) -> tuple[jax.Array, jax.Array]:
            w, _ = lax.scan(one, w, block * every + jnp.arange(every))
            return w, jnp.sum(w * w, axis=0)

        return lax.scan(record, w, jnp.arange(case.records))

    parts = np.ascontiguousarray(case.w0.reshape(devices, -1, shape[0]).transpose(0, 2, 1))
    keys = jax.random.split(jax.random.key(7, impl=generator), devices)
    call = jax.pmap(solve, devices=jax.local_devices()[:devices])
    jax.block_until_ready(call(parts, keys))

    def run() -> tuple[np.ndarray, np.ndarray]:
        final, norms = call(parts, keys)
        w = np.asarray(final).transpose(0, 2, 1).reshape(case.w0.shape)
        return np.asarray(norms).transpose(0, 2, 1).reshape(len(case.w0), case.records), w

    return run


def deep_linear_loss(target: np.ndarray) -> Callable[[jax.Array], jax.Array]:
    """w (N, n, n) -> 1/2 ||w_N ... w_1 - target||^2."""
    wanted = jnp.asarray(target)

    def loss(w: jax.Array) -> jax.Array:
        product = w[0]
        for j in range(1, len(w)):
            product = w[j] @ product
        return 0.5 * jnp.sum((product - wanted) ** 2)

    return loss


def gradient_members_last(target: np.ndarray) -> Callable[[jax.Array], jax.Array]:
    """w (N, n, n, members) -> its gradient, every product written out in vectors of members."""
    wanted = jnp.asarray(target)[:, :, None]

    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return sum((a[:, k, None] * b[k] for k in range(1, len(b))), a[:, 0, None] * b[0])

    def gradient(w: jax.Array) -> jax.Array:
        ahead = [w[0]]
        for j in range(1, len(w)):
            ahead.append(product(w[j], ahead[-1]))
        back = ahead.pop() - wanted
        out = []
        for j in range(len(w) - 1, 0, -1):
            out.append(product(back, ahead.pop().swapaxes(0, 1)))
            back = product(w[j].swapaxes(0, 1), back)
        return jnp.stack([back, *out[::-1]])

    return gradient


def descent(
    case: Descent, threads: int = 2, chunk: int | None = None, members_last: bool = False
) -> Callable[[], np.ndarray]:
    """W1b: run() -> final layers (members, N, n, n), `chunk` members at a time (all that a device has).

    The gradient is jax's own, of one member, vmapped; or products written out (`members_last`)."""
    members, shape = len(case.starts), case.starts.shape[1:]
    devices = _split(members, threads)
    chunk = min(chunk or members, members // devices)
    if members_last:
        gradient, order = gradient_members_last(case.target), (0, 1, 3, 4, 5, 2)
    else:
        gradient, order = jax.vmap(jax.grad(deep_linear_loss(case.target))), (0, 1, 2, 3, 4, 5)

    def solve(w: jax.Array) -> jax.Array:
        return lax.scan(lambda w, _: (w - case.lr * gradient(w), None), w, length=case.steps)[0]

    parts = np.ascontiguousarray(case.starts.reshape(devices, -1, chunk, *shape).transpose(order))
    call = jax.pmap(lambda parts: lax.map(solve, parts), devices=jax.local_devices()[:devices])
    jax.block_until_ready(call(parts))
    return lambda: np.asarray(call(parts)).transpose(np.argsort(order)).reshape(case.starts.shape)
