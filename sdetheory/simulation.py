"""Run an ensemble: any model, dynamics, noise and integrator, from an address (seed, path, step) that
reproduces it.
"""

import dataclasses
import hashlib
import platform
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numba
import numpy as np

from sdetheory import checks
from sdetheory.dynamics.rules import default_integrator
from sdetheory.ensemble import Ensemble
from sdetheory.lanes import driver, verbs
from sdetheory.lanes.held import Held
from sdetheory.lanes.random import Block, Gaussian, numbers
from sdetheory.lanes.sources import digest, plugin_classes
from sdetheory.lanes.vector import WIDTHS
from sdetheory.models.noise import NoNoise
from sdetheory.plugins import canonical


def simulate(
    model: Any,
    dynamics: Any,
    w0: Any,
    ts: Any,
    *,
    noise: Any = NoNoise(),
    integrator: Any = None,
    dt: float = 1.0,
    paths: int | None = None,
    seed: int = 0,
    observe: Sequence[Any] | Mapping[str, Any] = (),
    keep_states: bool = False,
    keep_views: bool = True,
    threads: int | None = None,
    width: int | None = None,
    coarsen: int = 1,
    generator: Any = Block(),
    increment: Any = None,
    first_path: int = 0,
    progress: bool | None = None,
) -> Ensemble:
    """Integrate `dynamics` of `model` from `w0` and record at the times `ts`.

    w0: (d,) for one start shared by `paths` paths (default 1), or (paths, d).  ts: increasing, multiples of
    `dt`, may include 0; time is measured in steps for GradientDescent, SGD and WeightDecaySDE.  observe:
    observers, or a mapping from the names wanted to observers.  coarsen=m: one step of `dt` uses the sum of
    the increments that m steps of dt/m use.  Paths are numbered from `first_path`; path number and seed fix
    the noise, whatever else runs; with increment=Antithetic() paths 2k and 2k + 1 see opposite noise.  increment:
    None is Gaussian(), or what the noise is made for (a mini-batch draws indices of samples, dropout masks).
    keep_views=False: for an integrator with several views (Richardson, StrangSimpson) record their combination
    only, in less memory.  progress: None shows a bar on a terminal when the run is long.  An integrator that controls
    its error (DOP853) chooses its own steps and draws nothing: it makes no use of dt, seed, coarsen or first_path.

    Raises ValueError for invalid input, TypeError for a plug-in without the kernel it needs, Diverged when
    every path became non-finite (a part of the paths is marked in the result instead).
    """
    _check_kinds(model, dynamics, noise, integrator, generator, increment)
    w0 = _starts(w0, paths)
    d = w0.shape[1]
    model, noise = canonical(model, d), canonical(noise, d)
    integrator = canonical(
        default_integrator(dynamics, model, noise) if integrator is None else integrator, d
    )
    _check_match(model, dynamics, noise, integrator, w0)
    observers, names = _observers(observe, d)
    columns = _columns(observers, names)
    _check_kernels(model, noise, integrator, observers)
    threads = (
        checks.integer("threads", threads, least=1) if threads is not None else driver.automatic_threads()
    )
    width = _width(width)
    if hasattr(integrator, "rtol"):
        from sdetheory import flow

        return flow.solve(
            model,
            dynamics,
            w0,
            checks.increasing("ts", ts),
            integrator,
            observers,
            columns,
            keep_states,
            threads,
            width,
            progress,
        )
    dt = checks.positive("dt", dt)
    if "discrete" in dynamics.calculi and dt != 1.0:
        raise ValueError(f"`dt` must be 1 for {type(dynamics).__name__}, which counts steps: dt={dt}")
    marks = checks.multiples("ts", ts, "dt", dt)
    steps = int(marks[-1])
    lr, weight_decay = dynamics.rates(steps, dt)
    task = driver.Task(
        integrator,
        model,
        noise,
        canonical(generator, d),
        canonical(_increment(increment, noise, coarsen, generator), d),
        observers,
        _seed(seed),
        _below("coarsen", checks.integer("coarsen", coarsen, least=1), checks.LARGEST),
        dt,
        lr,
        weight_decay,
        steps,
        marks,
        keep_states,
        keep_views,
    )
    numbers = _numbers(checks.integer("first_path", first_path), len(w0), task.increment)
    width = driver.automatic_width(len(w0), model) if width is None else width
    record = _run(task, w0, numbers, threads, width, progress)
    return _ensemble(
        task,
        record,
        w0,
        numbers,
        columns,
        np.asarray(ts, dtype=np.float64).reshape(-1),
        threads,
        width,
        dynamics,
    )


def _check_kinds(
    model: Any, dynamics: Any, noise: Any, integrator: Any, generator: Any, increment: Any
) -> None:
    """Raises TypeError for something that is not of the kind its argument names."""
    kinds = [("model", model, "Rayleigh(a)"), ("noise", noise, "Isotropic(sigma)"), ("generator", generator, "Block()")]
    kinds += [("integrator", integrator, "EulerMaruyama()")] if integrator is not None else []
    kinds += [("increment", increment, "Antithetic()")] if increment is not None else []
    for name, value, like in kinds:
        if isinstance(value, type) or not hasattr(value, "_fields"):
            raise TypeError(f"`{name}` must be a plug-in such as {like}: {name}={value!r}")
    if isinstance(dynamics, type) or not hasattr(dynamics, "calculi"):
        raise TypeError(f"`dynamics` must be a training rule such as SGD(lr=0.1): dynamics={dynamics!r}")


def _starts(w0: Any, paths: int | None) -> np.ndarray:
    """w0 as (paths, d)."""
    w0 = checks.finite("w0", w0)
    if w0.ndim not in (1, 2) or w0.size == 0:
        raise ValueError(f"`w0` must have shape (d,) or (paths, d), not empty: it has shape {w0.shape}")
    if w0.ndim == 1:
        return np.ascontiguousarray(
            np.broadcast_to(w0, (checks.integer("paths", 1 if paths is None else paths, least=1), w0.size))
        )
    if paths is not None and paths != len(w0):
        raise ValueError(f"`paths` must be the number of rows of `w0`: paths={paths}, w0 has {len(w0)}")
    return w0


def _seed(seed: Any) -> int:
    """A seed of 64 bits."""
    return _below("seed", checks.integer("seed", seed), 2**64)


def _below(name: str, value: int, limit: int) -> int:
    """The value; raises ValueError unless it is below a power of two."""
    if value >= limit:
        raise ValueError(f"`{name}` must be below 2**{limit.bit_length() - 1}: {name}={value}")
    return value


def _increment(increment: Any, noise: Any, coarsen: int, generator: Any) -> Any:
    """The increments of a run; raises ValueError for others than those a noise is made for, sums of them, or a
    generator that holds numbers which do not come from it."""
    own = getattr(noise, "increment", None)
    if own is None:
        return Gaussian() if increment is None else increment
    if increment is not None and (type(increment) is not type(own) or increment != own):
        raise ValueError(
            f"`increment` must be left out for {type(noise).__name__}, which draws {own}: increment={increment}"
        )
    if coarsen != 1:
        raise ValueError(f"`coarsen` must be 1 for {type(noise).__name__}, which draws {own}: coarsen={coarsen}")
    if isinstance(generator, Held) and numbers.has(own):
        raise ValueError(f"`generator` must not hold the numbers of {type(noise).__name__}: generator={generator}")
    return own


def _numbers(first_path: int, paths: int, increment: Any) -> np.ndarray:
    """Path numbers; raises ValueError where a group of dependent paths would be cut."""
    group = getattr(increment, "group", 1)
    _below("first_path", first_path + paths - 1, 2**63)
    for name, value in (("first_path", first_path), ("paths", paths)):
        if value % group:
            raise ValueError(
                f"`{name}` must be a multiple of {group} for {type(increment).__name__} increments: {name}={value}"
            )
    return first_path + np.arange(paths)


def _width(width: int | None) -> int | None:
    """Lanes of a block as the caller wants them, or None."""
    if width is not None and width not in WIDTHS:
        raise ValueError(f"`width` must be one of {', '.join(map(str, WIDTHS))}: width={width!r}")
    return None if width is None else int(width)


def _check_match(model: Any, dynamics: Any, noise: Any, integrator: Any, w0: np.ndarray) -> None:
    """Raises where the pieces do not belong together, or the start is the origin of a scale-invariant
    loss.
    """
    calculus = getattr(integrator, "calculus", None)
    if calculus not in dynamics.calculi:
        raise ValueError(
            f"`integrator` must be of calculus {' or '.join(dynamics.calculi)} for "
            f"{type(dynamics).__name__}: {type(integrator).__name__} is {calculus!r}"
        )
    if len(getattr(integrator, "weights", (1.0,))) != verbs.views.python(integrator):
        raise ValueError(f"`integrator` must have `weights`, one for each of its views: integrator={integrator!r}")
    if hasattr(dynamics, "check_integrator"):
        dynamics.check_integrator(integrator)
    if not dynamics.noisy and not isinstance(noise, NoNoise):
        raise ValueError(
            f"`noise` must be left out for {type(dynamics).__name__}, which has none: noise={noise}"
        )
    if "discrete" not in dynamics.calculi and not getattr(noise, "linear", True):
        raise ValueError(
            f"`noise` must be linear in its increments for {type(dynamics).__name__}: "
            f"{type(noise).__name__} is not, use SGD"
        )
    if getattr(model, "scale_invariant", False) or getattr(noise, "scale_invariant", False):
        checks.start_norm("w0", w0)
    if hasattr(integrator, "check_fits"):
        integrator.check_fits(model, noise)


def _check_kernels(model: Any, noise: Any, integrator: Any, observers: tuple) -> None:
    """Raises TypeError for the first kernel that is missing, before anything is compiled."""
    needs = [(model, verbs.gradient, verbs.prepare), (noise, verbs.disturb, verbs.prepare_noise)]
    alone = [observer for observer in observers if not verbs.measure_all.has(observer)]
    needs += [(observer, verbs.observe, verbs.measure) for observer in alone]
    for plugin, first, second in needs:
        if not second.has(plugin):
            first.kernel(type(plugin))
    verbs.draws.kernel(type(noise))
    if not hasattr(integrator, "rtol"):
        verbs.step.kernel(type(integrator))


def _observers(observe: Any, d: int) -> tuple[tuple, list[str]]:
    """Observers and their names: the mapping's keys, or the class names in snake case, numbered where they
    repeat.
    """
    if isinstance(observe, Mapping):
        names, given = list(observe), list(observe.values())
    else:
        several = isinstance(observe, Iterable) and not isinstance(observe, str) and not hasattr(observe, "_fields")
        names, given = [], list(observe) if several else [observe]
    for observer in given:
        if isinstance(observer, type) or not hasattr(observer, "_fields"):
            raise TypeError(f"`observe` must hold plug-ins such as SquaredNorm(): it holds {observer!r}")
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise TypeError(f"`observe` must name observers by texts: it has the name {wrong[0]!r}")
    if not isinstance(observe, Mapping):
        for observer in given:
            name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(observer).__name__).lower()
            same = sum(n == name or re.fullmatch(rf"{name}_\d+", n) is not None for n in names)
            names.append(f"{name}_{same + 1}" if same else name)
    return tuple(canonical(o, d) for o in given), names


def _columns(observers: tuple, names: list[str]) -> list[str]:
    """A name for every number observed: the observer's, or name_1, name_2, ... where it has several channels."""
    counts = (verbs.channels.python(observer) for observer in observers)
    pairs = zip(names, counts, strict=True)
    columns = [name if n == 1 else f"{name}_{k + 1}" for name, n in pairs for k in range(n)]
    if twice := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
        raise ValueError(f"`observe` must give every number its own name: {', '.join(twice)} more than once")
    return columns


def _run(
    task: driver.Task, w0: np.ndarray, numbers: np.ndarray, threads: int, width: int, progress: bool | None
) -> driver.Record:
    """Run, then run the paths that became non-finite again to find out when."""
    tick = None
    bar = None
    if progress is not False and task.steps:
        from tqdm import tqdm

        bar = tqdm(
            total=len(w0) * task.steps,
            unit="path-steps",
            unit_scale=True,
            delay=0 if progress else 2.0,
            disable=None if progress is None else False,
        )
        lock = threading.Lock()

        def tick(done: int) -> None:
            with lock:
                bar.update(done)

    try:
        record = driver.run(task, w0, numbers, threads=threads, width=width, tick=tick)
    finally:
        if bar is not None:
            bar.close()
    bad = np.flatnonzero(record.status)
    if bad.size:
        again = dataclasses.replace(
            task, steps=int(record.status.max()), marks=np.zeros(0, np.int64), keep_states=False
        )
        exact = driver.run(again, w0[bad], numbers[bad], threads=threads, width=width, check=1)
        record.status[bad] = exact.status
    return record


def _ensemble(
    task: driver.Task,
    record: driver.Record,
    w0: np.ndarray,
    numbers: np.ndarray,
    names: list[str],
    ts: np.ndarray,
    threads: int,
    width: int,
    dynamics: Any,
) -> Ensemble:
    diverged = record.status > 0
    if diverged.all():
        step = int(record.status.min())
        raise checks.Diverged(
            step * task.dt, step, "reduce lr" if "discrete" in dynamics.calculi else "reduce dt"
        )
    values = dict(zip(names, record.values, strict=True))
    several = len(record.views) > 1
    views = {
        name: record.views[:, k] if several else record.values[None, k]
        for k, name in enumerate(names)
        if task.keep_views
    }
    how = {
        "model": task.model,
        "dynamics": dynamics,
        "noise": task.noise,
        "integrator": task.integrator,
        "generator": task.generator,
        "increment": task.increment,
        "dt": task.dt,
        "coarsen": task.coarsen,
        "seed": task.seed,
        "first_path": int(numbers[0]),
        "paths": len(numbers),
        "threads": threads,
        "width": width,
        "w0": hashlib.sha256(w0.tobytes()).hexdigest(),
        "sources": digest([driver.advance], plugin_classes([tuple(vars(task).values())])),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
    }
    return Ensemble(
        ts,
        values,
        record.final,
        diverged,
        np.where(diverged, record.status, -1),
        record.states if task.keep_states else None,
        how,
        views,
        getattr(task.increment, "group", 1),
    )
