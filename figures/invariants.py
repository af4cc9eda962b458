"""Invariants against integrators: who conserves the norm and the balancedness of a gradient flow.

The squared norm under a scale-invariant loss and W_{j+1}^T W_{j+1} - W_j W_j^T of a deep linear network are
constant along the flow, and quadratic. The reader should see explicit methods lose them at their own order in
the step, and Gauss-Legendre collocation keep them to rounding at any step for which its equations are solved.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_most, near
from sdetheory.integrators import DOP853, RK4, Euler, GaussLegendre4
from sdetheory.models.weights import gaussian_weights
from sdetheory.observables import matrix_imbalance, squared_norm
from sdetheory.statistics import fit_order

CLAIMS = ("I1", "D7")
CAPTION = """Relative defect at t = {horizon:g} of two quadratic invariants of gradient flow: (a) the
squared norm under a Rayleigh quotient in eight dimensions, (b) the balancedness matrices (Frobenius norm,
relative to |w|^2) of a deep linear network 3-4-2-3, against the step; DOP853 chooses its steps, shown is
their mean at tolerances from 1e-3 down to 1e-13. Points: median over {starts} random starts, bands: 10 %
to 90 %. Dashed: the declared order, through the last point of its range; grey: rounding, 2^-52."""

PARAMS: dict[str, Any] = {
    "eigenvalues": [0.0, 2.0],
    "dimension": 8,
    "widths": [3, 4, 2, 3],
    "starts": 64,
    "horizon": 4.0,
    "halvings": [3, 11],
    "tolerance_exponents": [3, 13],
    "seed": 4,
}
QUICK = PARAMS | {"starts": 16}

FIXED = {"euler": Euler(), "rk4": RK4(), "gauss_legendre": GaussLegendre4()}
LABELS = {"euler": "Euler", "rk4": "Runge-Kutta 4", "dop853": "DOP853", "gauss_legendre": "Gauss-Legendre 4"}
ORDERS = {"euler": Euler.order, "rk4": RK4.order, "dop853": DOP853.order}
COLOURS = dict(zip(LABELS, (style.VERMILION, style.ORANGE, style.GREEN, style.BLUE), strict=True))
# Where each curve of the first panel carries its name: number of a point, shift in points.
TAGS = {
    "euler": (-3, (0, 10)),
    "rk4": (4, (-34, 8)),
    "dop853": (5, (-28, 4)),
    "gauss_legendre": (-4, (8, 12)),
}
SYMBOLS = dict(zip(LABELS, "^sDo", strict=True))
FLOWS = ("norm", "balance")
TARGET, GAIN = 0.7, 0.8  # scales at which Gauss-Legendre's equations contract at the largest step
ROUNDING = np.finfo(float).eps
# Defects between rounding and the steps at which the order has not set in yet.
RANGES = {"euler": (1e-12, 1e-2), "rk4": (2e-12, 1e-5), "dop853": (2e-14, 1e-9)}


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Steps (n,) and defects (n, starts) for every flow and integrator."""
    rng = np.random.default_rng(params["seed"])
    first, last = params["halvings"]
    steps = 2.0 ** -np.arange(first, last + 1)
    loose, tight = params["tolerance_exponents"]
    tolerances = 10.0 ** -np.arange(loose, tight + 1)
    data: dict[str, np.ndarray] = {}
    for flow, model, starts, defect in (_norm_flow(params, rng), _balance_flow(params, rng)):
        for name, integrator in FIXED.items():
            ends = [_end(model, starts, params, integrator=integrator, dt=dt).final for dt in steps]
            data |= {
                f"{flow}_{name}_steps": steps,
                f"{flow}_{name}": np.array([defect(starts, end) for end in ends]),
            }
        runs = [_end(model, starts, params, integrator=DOP853(rtol=tol, atol=tol)) for tol in tolerances]
        data[f"{flow}_dop853_steps"] = np.array(
            [params["horizon"] / run.how["accepted_steps"].mean() for run in runs]
        )
        data[f"{flow}_dop853"] = np.array([defect(starts, run.final) for run in runs])
    return data


def _end(model: Any, starts: np.ndarray, params: dict[str, Any], **numerics: Any) -> st.Ensemble:
    """The flow at the horizon."""
    return st.simulate(model, st.GradientFlow(), starts, [params["horizon"]], **numerics)


def _norm_flow(params: dict[str, Any], rng: np.random.Generator) -> tuple[str, Any, np.ndarray, Any]:
    """Rayleigh quotient, random starts, relative change of the squared norm."""
    least, largest = params["eigenvalues"]
    model = st.Rayleigh(np.linspace(least, largest, params["dimension"]))
    starts = rng.standard_normal((params["starts"], params["dimension"]))
    starts /= np.sqrt(squared_norm(starts))[:, None]
    return "norm", model, starts, lambda start, end: np.abs(squared_norm(end) / squared_norm(start) - 1)


def _balance_flow(params: dict[str, Any], rng: np.random.Generator) -> tuple[str, Any, np.ndarray, Any]:
    """Deep linear network with a random target, random starts, change of the balancedness over |w|^2."""
    widths = params["widths"]
    model = st.deep_linear(widths, TARGET * rng.standard_normal((widths[-1], widths[0])))
    starts = gaussian_weights(widths, rng, paths=params["starts"], gain=GAIN)

    def defect(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        pairs = zip(matrix_imbalance(start, widths), matrix_imbalance(end, widths), strict=True)
        change = [np.sum((after - before) ** 2, axis=(-2, -1)) for before, after in pairs]
        return np.sqrt(np.sum(change, axis=0)) / squared_norm(start)

    return "balance", model, starts, defect


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    found = []
    for flow, says in zip(FLOWS, ("norm", "balancedness"), strict=True):
        for name, order in ORDERS.items():
            slope = _slope(data, flow, name)
            margin = 0.2 if name in FIXED else 1.5
            sentence = f"{LABELS[name]} loses the {says} with slope {{found:.2f}} (declared {order})."
            found.append(near(f"{flow}_{name}_order", slope, order, margin, sentence))
        kept = data[f"{flow}_gauss_legendre"].max()
        sentence = f"Gauss-Legendre keeps the {says} to {{found:.0e}} at every step and start."
        found.append(at_most(f"{flow}_gauss_legendre_keeps", kept, 1e-13, sentence))
    return found


def _slope(data: dict[str, np.ndarray], flow: str, name: str) -> float:
    """Fitted order of the median defect in its asymptotic range."""
    steps, defect = data[f"{flow}_{name}_steps"], np.median(data[f"{flow}_{name}"], axis=1)
    inside = (defect > RANGES[name][0]) & (defect < RANGES[name][1])
    return fit_order(steps[inside], defect[inside])


def _tilted(name: str) -> Any:
    """Spoil an order: defects times step^(1/2)."""
    return lambda data: data | {name: data[name] * np.sqrt(data[f"{name}_steps"])[:, None]}


def _leaking(name: str) -> Any:
    """Spoil a conservation: one start loses a little."""
    return lambda data: data | {name: data[name] + 1e-12 * np.eye(1, data[name].shape[1])}


def _steep(name: str) -> Any:
    """Spoil an order by three."""
    return lambda data: data | {name: data[name] * data[f"{name}_steps"][:, None] ** 3}


BROKEN = {
    **{f"{flow}_{name}_order": _tilted(f"{flow}_{name}") for flow in FLOWS for name in ("euler", "rk4")},
    **{f"{flow}_dop853_order": _steep(f"{flow}_dop853") for flow in FLOWS},
    **{f"{flow}_gauss_legendre_keeps": _leaking(f"{flow}_gauss_legendre") for flow in FLOWS},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Defect against step, one panel an invariant."""
    figure, panels = style.page(1, 2, 2.6, sharey=True)
    titles = ("norm, Rayleigh quotient", "balancedness, deep linear network")
    for axes, flow, mark, title in zip(panels, FLOWS, "ab", titles, strict=True):
        style.letter(axes, mark, title)
        for name in LABELS:
            _draw_integrator(axes, data, flow, name)
        axes.axhline(ROUNDING, color=style.GREY, linewidth=0.6)
        axes.set(xscale="log", yscale="log", xlabel=r"step $\Delta t$", ylim=(3e-18, 3))
    for name, (where, shift) in TAGS.items():
        steps, defect = data[f"norm_{name}_steps"], np.median(data[f"norm_{name}"], axis=1)
        panels[0].annotate(LABELS[name], (steps[where], defect[where]), shift, textcoords="offset points",
                           color=COLOURS[name], fontsize=7, ha="center")  # fmt: skip
    panels[0].set_ylabel("relative defect at $t=4$")
    panels[0].text(0.98, ROUNDING / 2, "rounding", color=style.GREY, fontsize=6, ha="right", va="top",
                   transform=panels[0].get_yaxis_transform())  # fmt: skip
    return figure


def _draw_integrator(axes: Axes, data: dict[str, np.ndarray], flow: str, name: str) -> None:
    """Points, band, and the declared order through the last point of its range."""
    steps, defect = data[f"{flow}_{name}_steps"], np.maximum(data[f"{flow}_{name}"], ROUNDING / 16)
    low, middle, high = np.quantile(defect, [0.1, 0.5, 0.9], axis=1)
    axes.fill_between(steps, low, high, color=COLOURS[name], alpha=0.25, linewidth=0)
    axes.plot(steps, middle, SYMBOLS[name], color=COLOURS[name], markerfacecolor="white", markeredgewidth=0.8)
    if name in ORDERS:
        inside = np.flatnonzero((middle > RANGES[name][0]) & (middle < RANGES[name][1]))
        last = inside[np.argmin(steps[inside])]
        axes.plot(
            steps[inside], middle[last] * (steps[inside] / steps[last]) ** ORDERS[name], **style.PREDICTED
        )
