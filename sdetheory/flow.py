"""Gradient flows with adaptive steps: an ensemble whose members step on their own, a vector of lanes at a
time."""

import hashlib
import platform
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numba
import numpy as np

from sdetheory import checks
from sdetheory.dynamics.rules import GradientFlow
from sdetheory.ensemble import Ensemble
from sdetheory.integrators.adaptive import FAILED, START, STOP, Results, advance
from sdetheory.integrators.dop853 import DOP853
from sdetheory.integrators.memory import PLAN, make_memory
from sdetheory.lanes.driver import automatic_threads, automatic_width, columns
from sdetheory.lanes.emit import LANES
from sdetheory.lanes.packed import for_flow
from sdetheory.lanes.sources import digest, plugin_classes
from sdetheory.lanes.tag import tag
from sdetheory.lanes.translate import for_run
from sdetheory.lanes.vector import WIDTHS
from sdetheory.lanes.verbs import workspace

LIKELY = 1000  # slopes of a member, about
CLOSE = 512  # lanes x numbers of a member up to which all slopes of a step stay in the nearest cache
SLICE = 1 << 26  # lanes x numbers of a member x slopes of one compiled call: a fraction of a second


def solve(
    model: Any,
    dynamics: GradientFlow,
    w0: Any,
    ts: Any,
    integrator: DOP853 = DOP853(),
    observers: tuple = (),
    names: Sequence[str] = (),
    keep_states: bool = False,
    threads: int | None = None,
    width: int | None = None,
    progress: bool | None = None,
) -> Ensemble:
    """Gradient flow dw/dt = -grad L(w) - weight_decay w of an ensemble, recorded at any increasing times `ts`
    >= 0.

    w0: (d,) or (paths, d). Every path has its own step sizes, so it does not depend on the others, on threads
    or on width; times between two steps are filled by dense output, so `ts` does not move the steps (the last
    one excepted). The result's `how` holds the accepted and rejected steps of every path; `diverged_step`
    counts accepted steps. width: paths side by side; None takes what is fastest, for wide networks few paths at once.

    `sdetheory.simulate` calls this for integrators with error control and checks its arguments first. Raises
    ValueError for invalid input, Diverged when no path reached ts[-1] (a part of them is marked instead).
    """
    w0 = np.array(
        np.atleast_2d(checks.finite("w0", w0))
    )  # a copy: writable, so that every start is one compiled type
    ts = checks.increasing("ts", ts)
    weight_decay = (
        checks.real("weight_decay", dynamics.weight_decay) if np.isscalar(dynamics.weight_decay) else None
    )
    if weight_decay is None:
        raise ValueError(
            f"`weight_decay` must be a number for an integrator with error control (use RK4 for schedules):"
            f" weight_decay={dynamics.weight_decay!r}"
        )
    model = model.validated(w0.shape[1]) if hasattr(model, "validated") else model
    integrator = integrator.validated(w0.shape[1])
    threads = automatic_threads() if threads is None else checks.integer("threads", threads, least=1)
    form = _form(model, integrator, observers, *w0.shape, width)
    results = _empty(len(w0), w0.shape[1], ts.size, columns(observers), keep_states)
    with _bar(len(w0), progress) as bar:
        _run(form, integrator, observers, weight_decay, ts, w0, results, threads, bar)
    return _ensemble(model, dynamics, integrator, observers, names, w0, ts, results, keep_states, threads, form)


class Form(NamedTuple):
    """How a flow is computed: the model as its loop wants it, lanes, how many of them a member has, and rows of
    workspace."""

    model: Any
    width: int
    share: int
    scratch: int

    @property
    def at_once(self) -> int:
        """Members that go together."""
        return self.width // self.share


def _form(model: Any, integrator: DOP853, observers: tuple, members: int, d: int, width: int | None) -> Form:
    """A member a lane where the caller says how many lanes; else whatever is fastest, with the same results."""
    scratch = max(workspace.python(plugin, d) for plugin in (model, *observers)) + 1
    rest = integrator.atol == 0.0 and d % LANES  # zeros that fill a row would be 0/0 in tolerances
    shared = None if width is not None or rest else for_flow(model, LIKELY * members, PLAN)
    if shared is not None:
        return Form(shared[0], LANES, LANES // shared[1], max(shared[2], (d + scratch) * bool(observers)))
    width = _width(members, d, model) if width is None else width
    return Form(for_run(model, width, LIKELY * members / width), width, 1, scratch)


def _width(members: int, d: int, model: Any) -> int:
    """Lanes: as many as suit the model, but no more than leave the slopes of a step in the nearest cache."""
    width = automatic_width(members, model)
    while width > min(WIDTHS) and width * d > CLOSE:
        width //= 2
    return width


def _empty(members: int, d: int, marks: int, seen: int, keep_states: bool) -> Results:
    """Results to be written; what is never reached stays NaN."""
    return Results(
        np.full((members, marks, seen), np.nan),
        np.full((members, marks if keep_states else 0, d), np.nan),
        np.full((members, d), np.nan),
        np.zeros(members),
        np.zeros((members, 3), np.int64),
    )


def _bar(members: int, progress: bool | None) -> Any:
    """A progress bar over members; None shows it on a terminal when the run is long."""
    from tqdm import tqdm

    hidden = None if progress is None else not progress
    return tqdm(total=members, unit="path", delay=0 if progress else 2.0, disable=hidden)


def _run(
    form: Form,
    integrator: DOP853,
    observers: tuple,
    weight_decay: float,
    ts: np.ndarray,
    w0: np.ndarray,
    results: Results,
    threads: int,
    bar: Any,
) -> None:
    """Integrate all members: the lanes of all threads take them from one queue."""
    model, width, share, scratch = form
    label, lock, members, d = tag(integrator, model, *observers), threading.Lock(), len(w0), w0.shape[1]
    queue, stop = np.zeros(1, np.int64), threading.Event()
    slopes = max(64, SLICE // (form.at_once * d))

    def integrate() -> None:
        memory, phase = make_memory(d, columns(observers), scratch, width, share), START
        while phase != STOP and not stop.is_set():
            with np.errstate(all="ignore"):
                phase = advance(
                    label, integrator, model, observers, weight_decay, ts, w0, memory, results, queue, phase, slopes
                )
            with lock:
                bar.update(int(np.count_nonzero(results.counts[:, 2])) - bar.n)

    with ThreadPoolExecutor(max(1, threads - 1)) as pool:
        try:
            others = [pool.submit(integrate) for _ in range(min(threads, -(-members // form.at_once)) - 1)]
            integrate()
            for other in others:
                other.result()
        finally:
            stop.set()


def _ensemble(
    model: Any,
    dynamics: Any,
    integrator: Any,
    observers: tuple,
    names: Sequence[str],
    w0: np.ndarray,
    ts: np.ndarray,
    results: Results,
    keep_states: bool,
    threads: int,
    form: Form,
) -> Ensemble:
    accepted, rejected, status = results.counts.T
    diverged = (status == FAILED) | ~np.isfinite(results.final).all(axis=1)
    if diverged.all():
        first = int(np.argmin(results.times))
        raise checks.Diverged(
            float(results.times[first]),
            int(accepted[first]),
            "the step size underflowed: the flow leaves its domain or the finite numbers there",
        )
    values = {name: np.ascontiguousarray(results.values[:, :, j]) for j, name in enumerate(names)}
    how = {
        "model": model,
        "dynamics": dynamics,
        "integrator": integrator,
        "paths": len(w0),
        "threads": threads,
        "width": form.width,
        "members_at_once": form.at_once,
        "accepted_steps": accepted.copy(),
        "rejected_steps": rejected.copy(),
        "w0": hashlib.sha256(w0.tobytes()).hexdigest(),
        "sources": digest([advance], plugin_classes([(integrator, model, *observers)])),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
    }
    return Ensemble(
        ts,
        values,
        results.final,
        diverged,
        np.where(diverged, accepted, -1),
        results.states if keep_states else None,
        how,
    )
