"""Where the time of a step goes: `python -m benchmarks.anatomy [NAME ...] [--d D ...] [--widths W ...]`.

Processor nanoseconds of one path-step on one thread, for the parts of a step that can be called alone: the
increments, the step on given increments, both, an observation, and through the driver as users run it. The
parts overlap in the processor, so they need not add up; what counts is which one the whole is close to.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

import sdetheory as st
from sdetheory import integrators
from sdetheory.lanes.random import SAVED, Block, Gaussian, draw
from sdetheory.lanes.vector import float_rows, lane_array, load, store
from sdetheory.lanes.verbs import draws, encode, extra, gradient, observe, step, substeps, workspace
from sdetheory.observers import SquaredNorm


@numba.njit(nogil=True, error_model="numpy")
def _draws(increment, generator, path, steps, saved, z, n):
    for i in range(steps):
        draw(increment, generator, np.uint64(7), load(path, 0), i, saved, z, n)


@numba.njit(nogil=True, error_model="numpy")
def _steps(integrator, model, noise, lr, weight_decay, dt, steps, y, z, work):
    for _ in range(steps):
        step(integrator, model, noise, lr, weight_decay, dt, y, z, work)


@numba.njit(nogil=True, error_model="numpy")
def _both(integrator, model, noise, increment, generator, path, lr, weight_decay, dt, steps, y, saved, z, work, n):
    for i in range(steps):
        draw(increment, generator, np.uint64(7), load(path, 0), i, saved, z, n)
        step(integrator, model, noise, lr, weight_decay, dt, y, z, work)


@numba.njit(nogil=True, error_model="numpy")
def _gradients(model, steps, w, out, work):
    for _ in range(steps):
        gradient(model, w, out, work)


@numba.njit(nogil=True, error_model="numpy")
def _observations(observer, steps, w, out):
    for _ in range(steps):
        store(out, 0, observe(observer, w))


class Part(NamedTuple):
    """A part of a step, and the path-steps one call does."""

    name: str
    call: Callable[[], Any]
    path_steps: float


def parts(integrator: Any, model: Any, noise: Any, d: int, width: int, steps: int = 2000) -> list[Part]:
    """The parts of a step with lr = weight_decay = 0.1, dt = 5 (h = 0.05) on one block of `width` paths."""
    lr, weight_decay, dt = 0.1, 0.1, 5.0
    rng = np.random.default_rng(0)
    n, pieces = draws(noise, d), substeps(integrator)
    w, y = lane_array(d, width), lane_array(d + extra(integrator, d), width)
    float_rows(w)[:] = rng.standard_normal((d, width))
    encode(integrator, w, lr, y)
    z, saved = lane_array(pieces * n + 2, width), lane_array(SAVED, width, "u8")
    float_rows(z)[:] = rng.standard_normal(float_rows(z).shape)
    path, out = lane_array(1, width, "u8"), lane_array(d, width)
    float_rows(path)[:] = np.arange(width)
    rows = workspace(integrator, d) + max(workspace(model, d), workspace(noise, d)) + 1
    work = lane_array(rows, width)
    w0 = np.ascontiguousarray(float_rows(w).T)
    dynamics = st.WeightDecaySDE(lr, weight_decay)

    def driver() -> None:
        st.simulate(model, dynamics, w0, [steps * dt], noise=noise, dt=dt, integrator=integrator, threads=1,
                    width=width, observe=[SquaredNorm()], progress=False)  # fmt: skip

    count = float(steps * width)
    kernel, draw_from = (integrator, model, noise), (Gaussian(), Block(256))
    return [
        Part("increments", lambda: _draws(*draw_from, path, steps, saved, z, pieces * n), count),
        Part("gradient", lambda: _gradients(model, steps, w, out, work), count),
        Part("step", lambda: _steps(*kernel, lr, weight_decay, dt, steps, y, z, work), count),
        Part("increments + step",
             lambda: _both(*kernel, *draw_from, path, lr, weight_decay, dt, steps, y, saved, z, work,
                           pieces * n), count),
        Part("observation", lambda: _observations(SquaredNorm(), steps, w, out), count),
        Part("simulate", driver, count),
    ]  # fmt: skip


def nanoseconds(measured: list[Part], repeats: int = 9) -> dict[str, float]:
    """Median processor time per path-step of each part, taken in turns."""
    for part in measured:
        part.call()
    times: dict[str, list[float]] = {part.name: [] for part in measured}
    for _ in range(repeats):
        for part in measured:
            start = time.process_time()
            part.call()
            times[part.name].append(1e9 * (time.process_time() - start) / part.path_steps)
    return {name: float(np.median(values)) for name, values in times.items()}


def main(given: list[str] | None = None) -> int:
    """Print one line for every integrator, model, dimension and width."""
    parser = argparse.ArgumentParser("python -m benchmarks.anatomy", description=__doc__.splitlines()[0])
    parser.add_argument("integrators", nargs="*", default=["EulerMaruyama", "StrangGeodesic", "Richardson"])
    parser.add_argument("--d", nargs="+", type=int, default=[3, 16])
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 32])
    chosen = parser.parse_args(given)
    heading = False
    for d in chosen.d:
        axis = np.eye(d)[0]
        for model in (st.VonMisesFisher(axis, 0.1), st.Rayleigh(np.linspace(0.0, 0.1, d))):
            for name in chosen.integrators:
                for width in chosen.widths:
                    found = nanoseconds(parts(getattr(integrators, name)(), model, st.Isotropic(1.0), d, width))
                    if not heading:
                        print(f"{'ns per path-step':46}" + "".join(f"{part:>18}" for part in found))
                        heading = True
                    label = f"{name}, {type(model).__name__}, d={d}, W={width}"
                    print(f"{label:46}" + "".join(f"{value:18.2f}" for value in found.values()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
