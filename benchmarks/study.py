"""Work and precision: the time five methods need for a given error of an equilibrium expectation.

The average over P paths of time T with step h has the squared error bias(h)^2 + V(h)/(P T) and costs P T/h steps; the
paths come from a cold start, and RELAXING of them must first forget it: log(1/error)/rate each, for every method.
Bias and V of each scheme come from its exact one-step kernel (`chains`), seconds per step from interleaved runs of
the real programs on two threads, and every method gets the step size that is best for it: the time to an error is
the least over h of (seconds per step/h) (V/(error^2 - bias^2) + RELAXING log(1/error)/rate). A step may not profit
from a change of sign of the bias: it counts with the largest bias of all steps up to it. For our methods V is the
larger of the kernel's and the measured one; the extrapolating peer is given the variance of plain Euler-Maruyama,
which it cannot beat.

The methods and what they are compared with:
* default: observes as the schemes' documentation recommends, from the drift rate of the case alone, StrangAveraged
  below MILD_RATE and StrangSimpson above; the plain average.
* fast: Richardson(StrangSimpson()), the plain average: what the scheme alone reaches.
* controlled: the same method with POWERS control variates, Stein's identities of L, L^2, L^3 (`sdetheory.stationary`),
  coefficients fitted to the run; observing and fitting are in the time. The twelve laws depend on one coordinate,
  which the loss determines, so three powers nearly solve Poisson's equation: this is where such controls are at their
  best (with a full spectrum they leave a third to two thirds), and nothing in them needs our integrators: a peer who
  added them to his would gain as much in variance.
* plain, extrapolated: numpy's Euler-Maruyama, and a peer who extrapolates it himself; neither has control variates.
The time is that of the steps; what a call costs before the first step (about two milliseconds) is in none. `complete`
is therefore measured too: one whole call of the controlled method, from uniform directions to the estimate.
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
from sdetheory.stationary import stationary_identity

from . import panels
from .chains import controlled, euler_maruyama, long_average, strang
from .laws import Law, laws
from .panels import Style
from .peers import numpy_equilibrium
from .timing import clock, interleave

TARGET = 1e-3
POWERS = 3  # the package's default, settled before any ratio was seen
RELAXING = 64  # paths: a block of 32 lanes for each of two threads
TRUST = 1e-6  # relative error of a bias computed by `chains`
METHODS = {
    "default": "sdetheory, StrangAveraged or StrangSimpson",
    "fast": "sdetheory, Richardson(StrangSimpson)",
    "controlled": "the same with Stein controls",
    "plain": "numpy, Euler-Maruyama",
    "extrapolated": "numpy, Euler-Maruyama extrapolated",
}
OURS = ("default", "fast", "controlled")
PEERS = ("plain", "extrapolated")


class Curve(NamedTuple):
    """One method on one law: relative bias and relative variance x time against the (fine) step h."""

    h: np.ndarray
    bias: np.ndarray
    variance: np.ndarray
    rate: float = np.inf  # at which starts are forgotten

    def times(self, error: float | np.ndarray, seconds: float, inflation: float = 1.0) -> np.ndarray:
        """Seconds to a relative error for each h (last axis), infinite where a bias up to h exceeds it."""
        room = np.square(error)[..., None] - np.maximum.accumulate(np.abs(self.bias)) ** 2
        relaxing = RELAXING * np.log(1.0 / np.asarray(error))[..., None] / self.rate
        with np.errstate(divide="ignore"):
            averaging = np.where(room > 0, inflation * self.variance / np.maximum(room, 0), np.inf)
        return seconds / self.h * (averaging + relaxing)

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


def _smooth_controlled(law: Law, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative bias and variance of the controlled method at h; the bias changes its sign, hence more knots."""
    knots = np.geomspace(h[0], h[-1], 40)
    found = [controlled(law, StrangSimpson(), step, POWERS) for step in knots]
    bias = CubicSpline(np.log(knots), [a.bias / law.exact / s**2 for a, s in zip(found, knots, strict=True)])
    variance = CubicSpline(np.log(knots), np.log([a.variance / law.exact**2 for a in found]))
    return bias(np.log(h)) * h**2, np.exp(variance(np.log(h)))


def _smooth(law: Law, scheme: Any, order: int, h: np.ndarray, **seen: Any) -> tuple[Callable, Callable]:
    """Relative bias and variance as functions of h: bias/h^order and variance are smooth in log h."""
    knots = np.geomspace(h[0], 2.0 * h[-1], 14)
    found = [long_average(law, scheme, step, **seen) for step in knots]
    bias = CubicSpline(np.log(knots), [a.bias / law.exact / s**order for a, s in zip(found, knots, strict=True)])
    variance = CubicSpline(np.log(knots), [a.variance / law.exact**2 for a in found])
    return lambda h: bias(np.log(h)) * h**order, lambda h: variance(np.log(h))


def curves(law: Law) -> dict[str, Curve]:
    """The methods' bias and variance against h, over the range where the scheme makes sense."""
    rate, points = drift_rate(law), 400
    h = np.geomspace(3e-5 / rate, min(0.3, 0.3 / rate), points)
    bias, variance = _smooth(law, euler_maruyama, 1, h)
    plain = Curve(h, bias(h), variance(h), rate)
    extrapolated = Curve(h, 2.0 * bias(h) - bias(2.0 * h), variance(h), rate)
    h = np.geomspace(1e-3 / rate, min(0.4, 2.5 / rate), points)
    bias, variance = _smooth(law, strang, 2, h, observed=recommended(law))
    default = Curve(h, bias(h), variance(h), rate)
    bias, variance = _smooth(law, strang, 2, h, observed=StrangSimpson(), stride=2)  # seen at the coarse steps
    fast = Curve(h, (4.0 * bias(h) - bias(2.0 * h)) / 3.0, variance(h), rate)
    longest = min(h[-1], 1.0 / rate)  # beyond, Phi^-1 w leaves the bulk, and a few paths would decide the coefficients
    h = np.geomspace(longest / 50.0, longest, points)
    found = {"default": default, "fast": fast, "controlled": Curve(h, *_smooth_controlled(law, h), rate)}
    return found | {"plain": plain, "extrapolated": extrapolated}


class Estimate(NamedTuple):
    """Of one of our runs: the expectation, its standard error, variance x time, and coefficients of the controls."""

    estimate: float
    standard_error: float
    variance: float
    coefficients: np.ndarray


class Trial(NamedTuple):
    """One timed run of a method at its best step: h fine steps, `every`-th seen, from equilibrium starts."""

    h: float
    steps: int
    every: int
    paths: int
    call: Callable[[], Any]


def _ours(law: Law, w0: np.ndarray, method: str, h: float, steps: int, every: int, skip: int = 0) -> Callable:
    """run() -> Estimate with the fine step h, from the records after the first `skip`."""
    case, fine = law.case, 1 if method == "default" else 2
    scheme = integrator(law, method)
    dt = fine * h / case.intrinsic_lr
    ts = dt * (every // fine) * np.arange(1, steps // every + 1)
    dynamics = st.WeightDecaySDE(case.lr, case.weight_decay)
    scale = -law.loss_scale if law.linear else law.loss_scale
    observe: dict[str, Any] = {"loss": Loss(case.model)}
    if method == "controlled":
        observe["identity"] = stationary_identity(case.model, dynamics, case.noise, law.d, POWERS)
    units = law.loss_scale ** np.arange(1, POWERS + 1) / scale  # of the coefficients in those of `chains`

    def run() -> Estimate:
        ensemble = st.simulate(
            case.model, dynamics, w0, ts, noise=case.noise, dt=dt, integrator=scheme, observe=observe, seed=5,
            threads=2, progress=False, keep_views=False,
        )  # fmt: skip
        found = ensemble.average("loss", after=float(ts[skip]), controls=list(observe)[1:])
        time = (ts.size - skip) * h * every
        error = found.standard_error / abs(scale)
        variance = error**2 * found.samples * time / law.exact**2
        return Estimate(found.estimate / scale, error, variance, found.coefficients * units[: found.coefficients.size])

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
        skip = min(steps // every // 3, int(np.ceil(4.0 / (drift_rate(law) * h * every))))
        return Trial(h, steps, every, paths, _ours(law, w0, method, h, steps, every, skip))
    call = numpy_equilibrium.averages(law, h, w0, steps, every, method == "extrapolated")
    return Trial(h, steps, every, paths, call)


def complete(law: Law, curve: Curve) -> dict[str, float]:
    """One whole call of the controlled method: RELAXING paths from uniform directions, as long as its curve asks.

    Its wall time, the best of three, and its relative error: what a user gets who wants TARGET, once.
    """
    at = curve.best(TARGET)
    h = float(curve.h[at])
    room = TARGET**2 - np.abs(curve.bias[: at + 1]).max() ** 2
    relaxing, averaging = np.log(1.0 / TARGET) / curve.rate, curve.variance[at] / room / RELAXING
    skip = int(np.ceil(relaxing / (2 * h)))
    steps = 2 * (skip + max(8, int(np.ceil(averaging / (2 * h)))))
    w0 = np.random.default_rng(11).standard_normal((RELAXING, law.d))
    w0 *= np.sqrt(law.case.square_norm) / np.linalg.norm(w0, axis=1, keepdims=True)
    call = _ours(law, w0, "controlled", h, steps, 2, skip)
    error = call().estimate / law.exact - 1.0
    return {"seconds": min(clock(call).wall for _ in range(3)), "error": error, "steps": RELAXING * steps}


def _predicted(law: Law, method: str, h: float, bias: float, found: Estimate) -> tuple[float, float]:
    """What the kernel expects of a run, and how far that is to be trusted.

    With controls it is for the coefficients that the run has fitted, and trusted as far as it hangs on the numbers of
    polynomials and of nodes.
    """
    if method != "controlled":
        return law.exact * (1.0 + bias), TRUST * law.exact
    first, second = (
        controlled(law, StrangSimpson(), h, POWERS, degree, nodes).bias_with(law, found.coefficients)
        for degree, nodes in ((20, (32, 24)), (16, (28, 20)))
    )
    return law.exact + first, max(TRUST * law.exact, abs(first - second))


def one_case(law: Law, quick: bool) -> dict[str, Any]:
    """Time the methods on one law; seconds to the target error, and the ratios peer over ours."""
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
            found: Estimate = t.call()
            row["measured"] = found._asdict() | {"coefficients": found.coefficients.tolist()}
            inflation = max(1.0, found.variance / row["variance"])
            expected, trust = _predicted(law, name, t.h, row["bias"], found)
            row["z"] = (found.estimate - expected) / np.hypot(found.standard_error, trust)
            row["scheme"] = repr(integrator(law, name))
        row["inflation"] = inflation
        row["time"] = float(known[name].times(np.asarray(TARGET), seconds[name], inflation)[at])
        row["curve"] = _envelope(known[name], seconds[name], inflation)
        methods[name] = row
    ratios = {f"{o}/{p}": methods[p]["time"] / methods[o]["time"] for o in OURS for p in PEERS}
    whole = complete(law, known["controlled"])
    return {"case": law.name, "exact": law.exact, "methods": methods, "ratios": ratios, "complete": whole}


ERRORS = np.geomspace(1e-4, 3e-2, 40)


def _envelope(curve: Curve, seconds: float, inflation: float) -> list[float]:
    """Seconds to each of `ERRORS`, each with its own best step."""
    return [float(t) for t in curve.times(ERRORS, seconds, inflation).min(axis=-1)]


def run(quick: bool = False, tick: Callable[[str], Any] = lambda text: None) -> dict[str, Any]:
    """The study over the twelve cases (three, if quick)."""
    rows = []
    for law in [laws()[k] for k in (0, 4, 6)] if quick else laws():
        tick(f"work and precision: {law.name}")
        rows.append(one_case(law, quick))
    return {"target": TARGET, "errors": ERRORS.tolist(), "rows": rows}


STYLE = Style(
    columns=4, size=(2.6, 2.3, 0.5), colours=("#0072b2", "#009e73", "#cc79a7", "#d55e00", "#e69f00"), line=1.5, dot=3.5,
    error="relative error", legend=(3, 2), few=3, room=(0.06, 0.18),
)  # fmt: skip


def draw(study: dict[str, Any], out: pathlib.Path) -> list[pathlib.Path]:
    """Error against time, each point at its own best step, one panel a case, as PNG and PDF."""
    titles = [row["case"].replace("E u^2", "$E\\,u^2$").replace("E u", "$E\\,u$") for row in study["rows"]]
    return panels.draw(study, titles, METHODS, OURS, STYLE, out, "work_precision")
