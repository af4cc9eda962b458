"""Work and precision: the time four methods need for a given error of an equilibrium expectation.

A long average over time T of P paths with step h has the squared error bias(h)^2 + V(h)/(P T) and costs P
T/h steps. Bias and V of each scheme come from its exact one-step kernel (`chains`), seconds per step from
interleaved runs of the real programs on two threads, and every method gets the step size that is best for
it: the time to an error is min over h of (seconds per step/h) V/(error^2 - bias^2). A step may not profit
from a change of sign of the bias: it counts with the largest bias of all steps up to it. For our methods V
is the larger of the kernel's and the measured one; the extrapolating peer is given the variance of plain
Euler-Maruyama, which it cannot beat.

The default method observes as the schemes' documentation recommends, from the drift rate of the case alone:
StrangAveraged below MILD_RATE, StrangSimpson above. The fast one is always Richardson(StrangSimpson()).
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

import sdetheory as st
from sdetheory.integrators import Richardson, StrangAveraged, StrangSimpson
from sdetheory.integrators.strang_averaged import MILD_RATE
from sdetheory.observers import Loss

from .chains import euler_maruyama, long_average, strang
from .laws import Law, laws
from .peers import numpy_equilibrium
from .timing import interleave

TARGET = 1e-3
METHODS = {
    "default": "sdetheory, StrangAveraged or StrangSimpson",
    "fast": "sdetheory, Richardson(StrangSimpson)",
    "plain": "numpy, Euler-Maruyama",
    "extrapolated": "numpy, Euler-Maruyama extrapolated",
}
OURS = ("default", "fast")


class Curve(NamedTuple):
    """One method on one law: relative bias and relative variance x time against the (fine) step h."""

    h: np.ndarray
    bias: np.ndarray
    variance: np.ndarray

    def times(self, error: float | np.ndarray, seconds: float) -> np.ndarray:
        """Seconds to a relative error for each h (last axis), infinite where a bias up to h exceeds it."""
        room = np.square(error)[..., None] - np.maximum.accumulate(np.abs(self.bias)) ** 2
        with np.errstate(divide="ignore"):
            return np.where(room > 0, seconds / self.h * self.variance / np.maximum(room, 0), np.inf)

    def best(self, error: float, seconds: float = 1.0) -> int:
        """Index of the step that reaches the error soonest."""
        return int(np.argmin(self.times(np.asarray(error), seconds)))


def drift_rate(law: Law) -> float:
    """The rate at which the observed value forgets, in units of lr wd: 2 variance/(asymptotic variance)."""
    u, mass = law.nodes()
    value = law.observed(u)
    return float(2.0 * (mass @ value**2 - (mass @ value) ** 2) / long_average(law, strang, 1e-3).variance)


def recommended(law: Law) -> Any:
    """The scheme whose observation the documentation recommends for a drift rate like the law's."""
    return StrangAveraged() if drift_rate(law) < MILD_RATE else StrangSimpson()


def integrator(law: Law, method: str) -> Any:
    """What our methods run."""
    return recommended(law) if method == "default" else Richardson(StrangSimpson())


def _smooth(law: Law, scheme: Any, order: int, h: np.ndarray, **seen: Any) -> tuple[Callable, Callable]:
    """Relative bias and variance as functions of h: bias/h^order and variance are smooth in log h."""
    knots = np.geomspace(h[0], 2.0 * h[-1], 14)
    found = [long_average(law, scheme, step, **seen) for step in knots]
    bias = CubicSpline(np.log(knots), [a.bias / law.exact / s**order for a, s in zip(found, knots, strict=True)])
    variance = CubicSpline(np.log(knots), [a.variance / law.exact**2 for a in found])
    return lambda h: bias(np.log(h)) * h**order, lambda h: variance(np.log(h))


def curves(law: Law) -> dict[str, Curve]:
    """The four methods' bias and variance against h, over the range where the scheme makes sense."""
    rate, points = drift_rate(law), 400
    h = np.geomspace(3e-5 / rate, min(0.3, 0.3 / rate), points)
    bias, variance = _smooth(law, euler_maruyama, 1, h)
    plain = Curve(h, bias(h), variance(h))
    extrapolated = Curve(h, 2.0 * bias(h) - bias(2.0 * h), variance(h))
    h = np.geomspace(1e-3 / rate, min(0.4, 2.5 / rate), points)
    bias, variance = _smooth(law, strang, 2, h, observed=recommended(law))
    default = Curve(h, bias(h), variance(h))
    bias, variance = _smooth(law, strang, 2, h, observed=StrangSimpson(), stride=2)  # seen at the coarse steps
    fast = Curve(h, (4.0 * bias(h) - bias(2.0 * h)) / 3.0, variance(h))
    return {"default": default, "fast": fast, "plain": plain, "extrapolated": extrapolated}


class Trial(NamedTuple):
    """One timed run of a method at its best step: h fine steps, `every`-th seen, from equilibrium starts."""

    h: float
    steps: int
    every: int
    paths: int
    call: Callable[[], Any]


def _ours(law: Law, w0: np.ndarray, method: str, h: float, steps: int, every: int) -> Callable[[], np.ndarray]:
    """run() -> observed values (paths, records) with the fine step h."""
    case, fine = law.case, 1 if method == "default" else 2
    scheme = integrator(law, method)
    dt = fine * h / case.intrinsic_lr
    ts = dt * (every // fine) * np.arange(1, steps // every + 1)
    dynamics = st.WeightDecaySDE(case.lr, case.weight_decay)
    scale = -law.loss_scale if law.linear else law.loss_scale

    def run() -> np.ndarray:
        ensemble = st.simulate(
            case.model, dynamics, w0, ts, noise=case.noise, dt=dt, integrator=scheme,
            observe={"loss": Loss(case.model)}, seed=5, threads=2, progress=False,
        )  # fmt: skip
        return ensemble.values["loss"] / scale

    return run


def ensemble_size(d: int, method: str) -> int:
    """Paths of a run: numpy's arrays fill the cache, ours are enough for two threads."""
    if method in OURS:
        return 2048 if d < 100 else 1024
    return max(256, 65536 // d // 256 * 256)


def trial(law: Law, method: str, curve: Curve, normals: float, error: float = TARGET) -> Trial:
    """The method at the step that is best for `error`, long enough to use about `normals` normal variates."""
    paths = ensemble_size(law.d, method)
    h = float(curve.h[curve.best(error)])
    group = 1 if method == "default" else 2
    every = min(40, group * max(1, round(0.7 / group / (drift_rate(law) * h))))
    steps = max(2, round(normals / (paths * law.d) / every)) * every
    w0 = law.case.starts(paths, seed=3)
    if method in OURS:
        return Trial(h, steps, every, paths, _ours(law, w0, method, h, steps, every))
    call = numpy_equilibrium.averages(law, h, w0, steps, every, method == "extrapolated")
    return Trial(h, steps, every, paths, call)


def _measured(law: Law, trial: Trial, values: np.ndarray) -> dict[str, float]:
    """Estimate after a relaxation, its standard error, and the relative variance x time of our own run."""
    skipped = min(len(values[0]) // 3, int(np.ceil(4.0 / (drift_rate(law) * trial.h * trial.every))))
    kept = values[:, skipped:]
    means = kept.mean(axis=1)
    time = kept.shape[1] * trial.h * trial.every
    return {
        "estimate": float(means.mean()),
        "standard_error": float(means.std(ddof=1) / np.sqrt(len(means))),
        "variance": float(means.var(ddof=1) * time / law.exact**2),
    }


def one_case(law: Law, quick: bool) -> dict[str, Any]:
    """Time the four methods on one law; seconds to the target error, and the ratios peer over ours."""
    known = curves(law)
    amount = {name: (1e8 if name in OURS else 1e7) / (4 if quick else 1) for name in METHODS}
    trials = {name: trial(law, name, known[name], amount[name]) for name in METHODS}
    calls = {name: (t.call, float(t.steps * t.paths)) for name, t in trials.items()}
    ours, steps = calls.pop("default")
    race = interleave(ours, calls, 3 if quick else 5, steps)
    seconds = {"default": race.seconds()} | {name: race.seconds() * race.ratio(name).median for name in calls}
    methods = {}
    for name, t in trials.items():
        at = known[name].best(TARGET)
        row: dict[str, Any] = {
            "h": t.h, "bias": float(known[name].bias[at]), "variance": float(known[name].variance[at]),
            "nanoseconds": 1e9 * seconds[name],
        }  # fmt: skip
        inflation = 1.0
        if name in OURS:
            row["measured"] = _measured(law, t, t.call())
            inflation = max(1.0, row["measured"]["variance"] / row["variance"])
            predicted = law.exact * (1.0 + row["bias"])
            row["z"] = (row["measured"]["estimate"] - predicted) / row["measured"]["standard_error"]
            row["scheme"] = repr(integrator(law, name))
        row["inflation"] = inflation
        row["time"] = float(known[name].times(np.asarray(TARGET), seconds[name])[at]) * inflation
        row["curve"] = _envelope(known[name], seconds[name], inflation)
        methods[name] = row
    ratios = {f"{o}/{p}": methods[p]["time"] / methods[o]["time"] for o in OURS for p in ("plain", "extrapolated")}
    return {"case": law.name, "exact": law.exact, "methods": methods, "ratios": ratios}


ERRORS = np.geomspace(1e-4, 3e-2, 40)


def _envelope(curve: Curve, seconds: float, inflation: float) -> list[float]:
    """Seconds to each of `ERRORS`, each with its own best step."""
    return [float(t) for t in curve.times(ERRORS, seconds).min(axis=-1) * inflation]


def run(quick: bool = False, tick: Callable[[str], Any] = lambda text: None) -> dict[str, Any]:
    """The study over the twelve cases (three, if quick)."""
    rows = []
    for law in [laws()[k] for k in (0, 4, 6)] if quick else laws():
        tick(f"work and precision: {law.name}")
        rows.append(one_case(law, quick))
    return {"target": TARGET, "errors": ERRORS.tolist(), "rows": rows}


def draw(study: dict[str, Any], out: pathlib.Path) -> list[pathlib.Path]:
    """Error against time, each point at its own best step, one panel a case, as PNG and PDF."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = study["rows"]
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(2.6 * columns, 2.3 * lines + 0.5), squeeze=False, sharey=True)
    colours = dict(zip(METHODS, ("#0072b2", "#009e73", "#d55e00", "#e69f00"), strict=True))
    for axis, row in zip(axes.ravel(), rows, strict=False):
        for name, label in METHODS.items():
            method = row["methods"][name]
            axis.loglog(method["curve"], study["errors"], color=colours[name], lw=1.5, label=label,
                        ls="-" if name in OURS else "--")  # fmt: skip
            axis.plot(method["time"], study["target"], "o", ms=3.5, color=colours[name])
        axis.axhline(study["target"], color="0.7", lw=0.6, zorder=0)
        axis.set_title(row["case"].replace("E u^2", "$E\\,u^2$").replace("E u", "$E\\,u$"), fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("seconds on two threads", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("relative error", fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4 if columns > 3 else 2, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0.0, 0.05 if lines > 1 else 0.13, 1.0, 1.0))
    files = [out / "work_precision.png", out / "work_precision.pdf"]
    figure.savefig(files[0], dpi=160)
    figure.savefig(files[1], metadata={"CreationDate": None})
    plt.close(figure)
    return files
