"""Time to an error of an expectation on the way to equilibrium: E u_T from u = -.6, von Mises-Fisher with E u = .5.

The mean over n independent paths has the squared error bias(h)^2 + V/n and costs n times the seconds of a path, so
that the time to an error is min over h of (seconds a path) V/(error^2 - bias^2).  Bias comes from exact one-step
kernels (`transient_chains`), seconds from interleaved runs; V of the peers is the exact variance of u_T, V of ours
is measured in the timed runs: per path, so that a pair of antithetic paths counts as two, and a twin or a coarse
level costs the time it takes.  As in `study`, a step may not profit from a change of sign of the bias.  A norm far
from equilibrium wants steps that are equal in the noise clock; steps here are equal in time, for everybody.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

import sdetheory as st
from sdetheory.integrators import Richardson, StrangGeodesic, WithTwin
from sdetheory.lanes.antithetic import Antithetic
from sdetheory.lanes.random import Gaussian
from sdetheory.observers import Coordinate

from . import panels
from .laws import Law, law
from .panels import Style
from .peers import numpy_equilibrium
from .timing import interleave
from .transient_chains import Moments, euler_maruyama_moments, exact, strang

START, TARGET = -0.6, 1e-3
OURS = {
    "default": (StrangGeodesic(), Gaussian()),
    "Richardson": (Richardson(StrangGeodesic()), Gaussian()),
    "antithetic": (StrangGeodesic(), Antithetic()),
    "twin": (WithTwin(), Gaussian()),
    "all three": (Richardson(WithTwin()), Antithetic()),
}
PEERS = {"plain": "numpy, Euler-Maruyama", "extrapolated": "numpy, Euler-Maruyama extrapolated"}
METHODS = {
    "default": "sdetheory, Strang",
    "Richardson": "+ Richardson",
    "antithetic": "+ antithetic pairs",
    "twin": "+ loss-free twin",
    "all three": "+ all three",
    **PEERS,
}
ERRORS = np.geomspace(1e-4, 1e-2, 25)
COUNTS = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96])  # steps of ours


class Transient(NamedTuple):
    """A dimension, gamma_0 over its equilibrium value, and T in units of 1/(lr wd)."""

    d: int
    start: float
    time: float

    @property
    def law(self) -> Law:
        """The stationary law it goes to."""
        return law("von_mises_fisher", self.d, 0.5)

    @property
    def name(self) -> str:
        """For tables and titles."""
        return f"d={self.d} gamma_0={self.start:g} gamma_* lr wd T={self.time:g}"

    @property
    def title(self) -> str:
        """For figures, with T in units of 1/(lr wd)."""
        factor = "" if self.start == 1.0 else f"{self.start:g}\\,"
        return f"$d={self.d}$, $\\gamma_0={factor}\\gamma_*$, $T={self.time:g}$"

    def w0(self, paths: int) -> np.ndarray:
        """(paths, d) copies of the start."""
        w = np.zeros((paths, self.d))
        w[:, :2] = START, np.sqrt(1.0 - START**2)
        return w * np.sqrt(self.law.case.square_norm * np.sqrt(self.start))

    def known_mean(self) -> float:
        """E u_T without loss: e^{-T} |w_0|/|w_T| times the start."""
        gamma = 1.0 + (self.start - 1.0) * np.exp(-4.0 * self.time)
        return float(START * np.exp(-self.time) * (self.start / gamma) ** 0.25)


def cases(quick: bool = False) -> list[Transient]:
    """Three starting norms at T = 1, and two other times at the equilibrium norm."""
    if quick:
        return [Transient(16, 1.0, 1.0), Transient(3, 0.01, 1.0)]
    points = [(1.0, 1.0), (0.01, 1.0), (25.0, 1.0), (1.0, 0.25), (1.0, 3.0)]
    return [Transient(d, *point) for d in (3, 16) for point in points]


class Curve(NamedTuple):
    """Number of fine steps to T, and the bias with each."""

    steps: np.ndarray
    bias: np.ndarray

    def times(self, error: float, seconds: Callable[[np.ndarray], np.ndarray], variance: float) -> np.ndarray:
        """Seconds to an absolute error with each number of steps; infinite where the bias exceeds it."""
        order = np.argsort(-self.steps)
        worst = np.empty_like(self.bias)
        worst[order] = np.maximum.accumulate(np.abs(self.bias[order]))
        room = error**2 - worst**2
        with np.errstate(divide="ignore"):
            return np.where(room > 0, seconds(self.steps) * variance / np.maximum(room, 0.0), np.inf)


def peer_curves(transients: list[Transient], quick: bool = False) -> dict[Transient, dict[str, Curve]]:
    """Plain and extrapolated Euler-Maruyama: bias/h is smooth in log h, found at knots."""
    out: dict[Transient, dict[str, Curve]] = {}
    knots = 2.0 ** -np.arange(3, 14 if quick else 17)
    for d in sorted({t.d for t in transients}):
        mine = [t for t in transients if t.d == d]
        ends = {(t.start, t.time): t.time for t in mine}
        truth = {key: exact(mine[0].law, START, *key).first for key in ends}
        found = []
        for h in knots:
            counts = {key: round(time / h) for key, time in ends.items()}
            moments = euler_maruyama_moments(mine[0].law, START, h, counts)
            found.append({key: (m.first - truth[key]) / h for key, m in moments.items()})
        for t in mine:
            slope = CubicSpline(np.log(knots[::-1]), [f[t.start, t.time] for f in found[::-1]])
            h = t.time / np.unique(np.rint(np.geomspace(t.time / knots[1], t.time / knots[-1], 200)))
            bias = lambda h, slope=slope: slope(np.log(h)) * h
            plain = Curve(np.rint(t.time / h), bias(h))
            out[t] = {"plain": plain, "extrapolated": Curve(plain.steps, 2.0 * bias(h) - bias(2.0 * h))}
    return out


def our_curves(t: Transient) -> tuple[dict[str, Curve], Moments]:
    """Strang and its extrapolation (steps counted on the fine level), and the exact moments."""
    truth = exact(t.law, START, t.start, t.time)
    counts = sorted({*COUNTS, *(2 * COUNTS)})
    grids = {count: np.linspace(0.0, t.time, count + 1) for count in counts}
    found = {count: strang(t.law, START, t.start, grid).first - truth.first for count, grid in grids.items()}
    bias, fine = (np.array([found[k * count] for count in COUNTS]) for k in (1, 2))
    plain, both = Curve(COUNTS, bias), Curve(2 * COUNTS, (4.0 * fine - bias) / 3.0)
    return {name: both if isinstance(OURS[name][0], Richardson) else plain for name in OURS}, truth


def simulate(t: Transient, method: str, steps: int, paths: int, threads: int, seed: int = 5) -> st.Ensemble:
    """Ours with so many (fine) steps to T."""
    integrator, increment = OURS[method]
    case = t.law.case
    levels = 2 if isinstance(integrator, Richardson) else 1
    dt = t.time / case.intrinsic_lr * levels / steps
    return st.simulate(
        case.model, st.WeightDecaySDE(case.lr, case.weight_decay), t.w0(paths), [dt * (steps // levels)],
        noise=case.noise, integrator=integrator, increment=increment, dt=dt, observe={"u": Coordinate(0)},
        seed=seed, threads=threads, progress=False,
    )  # fmt: skip


def estimate(t: Transient, method: str, runs: st.Ensemble) -> tuple[float, float]:
    """Mean and standard error of u_T, with every control the method has."""
    views = {"twin": (1,), "all three": (1, 3)}.get(method, ())
    mean, error = runs.mean("u", controls={("u", view): t.known_mean() for view in views})
    return float(mean[0]), float(error[0])


def _calls(t: Transient, name: str, steps: int, paths: int, threads: int) -> Callable[[], Any]:
    """A run to T with so many (fine) steps, and for ours the estimate."""
    if name in OURS:
        return lambda: estimate(t, name, simulate(t, name, steps, paths, threads))
    return numpy_equilibrium.averages(t.law, t.time / steps, t.w0(paths), steps, steps, name == "extrapolated", threads)


class Cost(NamedTuple):
    """Seconds a path: so many for a path, and so many for each of its steps."""

    path: float
    step: float

    def __call__(self, steps: np.ndarray) -> np.ndarray:
        """Seconds of a path with so many steps."""
        return self.path + self.step * steps


def _costs(t: Transient, lengths: dict[str, tuple[int, int]], quick: bool, threads: int) -> dict[str, Cost]:
    """Of every method, from interleaved runs of two lengths (steps)."""
    paths = {name: 65536 // (2 if quick else 1) for name in OURS} | dict.fromkeys(PEERS, max(512, 32768 // t.d))
    calls = {
        (name, k): (_calls(t, name, lengths[name][k], paths[name], threads), float(paths[name]))
        for name in lengths
        for k in (0, 1)
    }
    keys = {f"{name} {k}": (name, k) for name, k in calls}
    ours, share = calls["default", 1]
    race = interleave(ours, {text: calls[key] for text, key in keys.items()}, 3 if quick else 5, share)
    seconds = {key: race.seconds() * race.ratio(text).median for text, key in keys.items()}
    costs = {}
    for name, (few, many) in lengths.items():
        step = max((seconds[name, 1] - seconds[name, 0]) / (many - few), 0.1 * seconds[name, 1] / many)
        costs[name] = Cost(max(seconds[name, 1] - step * many, 0.0), step)
    return costs


def one_case(t: Transient, peers: dict[str, Curve], quick: bool = False, threads: int = 2) -> dict[str, Any]:
    """Every method's best number of steps and seconds to the target error; ratios peer over ours."""
    ours, truth = our_curves(t)
    curves = ours | peers
    guess = {n: int(c.steps[np.argmin(c.times(TARGET, lambda k: k + 2.0, truth.variance))]) for n, c in curves.items()}
    lengths = {n: (min(guess[n], 100), 300) if n in PEERS else (guess[n], 3 * guess[n]) for n in guess}
    lengths = {n: (few // 2 * 2, many) if few > 1 else (few, many) for n, (few, many) in lengths.items()}
    costs = _costs(t, lengths, quick, threads)
    rows: dict[str, Any] = {}
    for name, curve in curves.items():
        row: dict[str, Any] = {"variance": truth.variance}
        if name in OURS:
            mean, error = estimate(t, name, simulate(t, name, guess[name], 32768, threads))
            at = int(np.flatnonzero(curve.steps == guess[name])[0])
            row |= {"variance": 32768 * error**2, "z": (mean - truth.first - curve.bias[at]) / error}
        times = np.array([curve.times(e, costs[name], row["variance"]) for e in [TARGET, *ERRORS]])
        best = int(np.argmin(times[0]))
        row |= {
            "steps": int(curve.steps[best]), "bias": float(curve.bias[best]), "time": float(times[0].min()),
            "curve": times[1:].min(axis=1).tolist(), "path": costs[name].path, "step": costs[name].step,
        }  # fmt: skip
        rows[name] = row
    ratios = {f"{peer}/{name}": rows[peer]["time"] / rows[name]["time"] for peer in PEERS for name in OURS}
    return {"case": t.name, "title": t.title, "exact": truth.first, "methods": rows, "ratios": ratios}


def run(quick: bool = False, tick: Callable[[str], Any] = lambda text: None, threads: int = 2) -> dict[str, Any]:
    """The ten transients (two, if quick)."""
    chosen = cases(quick)
    tick("transients: kernels of Euler-Maruyama")
    peers, rows = peer_curves(chosen, quick), []
    for t in chosen:
        tick(f"transients: {t.name}")
        rows.append(one_case(t, peers[t], quick, threads))
    return {"target": TARGET, "errors": ERRORS.tolist(), "rows": rows}


STYLE = Style(
    columns=5, size=(2.2, 2.3, 0.7), line=1.4, dot=3.2, error="error of $E\\,u_T$", legend=(4, 2), few=2,
    room=(0.1, 0.24), colours=("#0072b2", "#56b4e9", "#cc79a7", "#009e73", "#000000", "#d55e00", "#e69f00"),
    heading=r"$T$ in units of $1/(\eta\lambda)$; from $u=-0.6$ to a law with $E\,u=0.5$",
)  # fmt: skip


def draw(results: dict[str, Any], out: pathlib.Path) -> list[pathlib.Path]:
    """Error against time, each point at its own best number of steps, one panel a case, as PNG and PDF."""
    titles = [row["title"] for row in results["rows"]]
    return panels.draw(results, titles, METHODS, OURS, STYLE, out, "transients")
