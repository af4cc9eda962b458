"""Label noise flattens: chains of scalar layers slide along their minima, at the speed of Damian's regulariser.

SGD on (W - 1)^2 with a fresh label 1 + xi in every step stays near W = 1 and drifts along it. The reader should see
the imbalance of two layers decay in slow time lr^2 k, the faster the larger lr, as the finite-lr formula says and the
limiting flow alone does not (a); the squares of three layers follow the limiting flow to balance (b); sharpness fall
to the flattest minimum at every depth (c); and the factor 1/(1 - lr S) by which the finite step speeds all this up
(d).
"""

from typing import Any

import numpy as np
import scipy.integrate
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most
from figures.press.measured import standard_error
from sdetheory.observables import inverse_square_sum
from sdetheory.predictions import deep_linear, label_noise

CLAIMS = ("D30", "D54", "D55")
CAPTION = """Chains of scalar layers, L = (W - 1)^2, labels 1 + xi with fresh Gaussian xi in every step of SGD (rate
lr, eta in the panels), from minima W = 1. (a) Two layers from squares (4, 1/4), spread of xi 0.1: imbalance D = w_1^2
- w_2^2 against slow time lr^2 k, mean over paths (markers), the finite-lr rate (dashed), and the limiting flow lr ->
0 (dotted). (b) Three layers: squares of the layers, lr = 0.03 (markers), and the limiting flow with the factor 1/(1 -
lr S) (dashed) and without (dotted). (c) Sharpness 2S of chains of two, three and four layers (markers), the same
prediction (dashed), and its least values 2d (grey). (d) Measured rate of ln D of two layers over that of the limiting
flow, 4 lr^2 sigma^2, in short runs from squares (4, 1/4), spread 0.002 (markers, four standard errors), against lr S;
dashed: 1/(1 - lr S)."""

PARAMS: dict[str, Any] = {
    "rates": [0.02, 0.05, 0.1],
    "spread": 0.1,
    "steps": [20000, 4999, 1249],
    "records": 21,
    "paths": 1024,
    "starts": {"2": [4.0, 0.25], "3": [4.0, 1.0, 0.25], "4": [4.0, 1.0, 0.5, 0.5]},
    "chain_lr": 0.03,
    "chain_steps": 80000,
    "chain_paths": 64,
    "speed_rates": [0.02, 0.06, 0.1, 0.14, 0.17, 0.2],
    "speed_spread": 0.002,
    "speed_steps": 1000,
    "settle": 100,
    "speed_paths": 1024,
    "seed": 4,
}
QUICK = PARAMS | {"paths": 256, "chain_paths": 16, "speed_paths": 256}

COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE)
# The theory sheet's ends of (a): the finite-lr formula, the limiting flow, by an independent computation.
TOLD = [[2.65327, 2.72306], [2.04847, 2.27472], [1.77278, 2.27540]]


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Imbalances of two layers, squares of deeper chains, speeds by learning rate."""
    return _imbalances(params) | _chains(params) | _speeds(params)


def _squares(start: Any, lr: float, spread: float, steps: np.ndarray, paths: int, seed: int) -> np.ndarray:
    """Squares of the layers (paths, times, d) under label noise."""
    model, layers = st.scalar_chain(len(start)), np.sqrt(start)
    noise = st.label_noise(model, spread)
    run = st.simulate(model, st.SGD(lr), layers, steps, noise=noise, paths=paths, seed=seed, keep_states=True)
    return np.asarray(run.states**2)


def _flow(start: Any, lr: float, spread: float, times: np.ndarray) -> np.ndarray:
    """Squares (times, d) along the limiting flow in slow time, sped up by 1/(1 - lr S); lr = 0 is the flow itself."""

    def rate(_: float, z: np.ndarray) -> Any:
        sums = {"inverse_squares": (1 / z).sum(), "inverse_fourths": (z**-2).sum()}
        limit = label_noise.limiting_square_rate(square=z, noise=spread, **sums)
        return limit / (1 - lr * sums["inverse_squares"])

    return scipy.integrate.solve_ivp(rate, (0, times[-1]), start, t_eval=times, rtol=1e-9, atol=1e-11).y.T


def _finite_rate(start: Any, lr: float, spread: float, steps: np.ndarray) -> np.ndarray:
    """Imbalance of two layers at `steps`, by the predicted rate of its logarithm, step by step (from a fine table)."""
    gap = start[0] - start[1]
    table = np.linspace(0, gap, 4001)
    known = {"lr": lr, "noise": spread, "inverse_squares": np.sqrt(table**2 + 4)}
    falls = table * deep_linear.label_noise_imbalance_rate(**known)
    gaps = [gap]
    for _ in range(steps[-1]):
        gaps.append(gaps[-1] - np.interp(gaps[-1], table, falls))
    return np.array(gaps)[steps]


def _imbalances(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Mean D and its standard error by learning rate, the two predictions, (rates, times)."""
    start, spread = params["starts"]["2"], params["spread"]
    rows: list[list[np.ndarray]] = []
    for number, (lr, last) in enumerate(zip(params["rates"], params["steps"], strict=True)):
        steps = np.round(np.linspace(0, last, params["records"])).astype(int)
        squares = _squares(start, lr, spread, steps, params["paths"], params["seed"] + number)
        gaps = squares[..., 0] - squares[..., 1]
        slow = lr**2 * steps
        limit = label_noise.limiting_imbalance(slow_time=slow, noise=spread, imbalance0=start[0] - start[1])
        rows.append([slow, gaps.mean(axis=0), standard_error(gaps), _finite_rate(start, lr, spread, steps), limit])
    names = ("slow", "gap", "gap_error", "gap_law", "gap_limit")
    return dict(zip(names, np.array(rows).swapaxes(0, 1), strict=True)) | {"rates": np.array(params["rates"])}


def _chains(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Mean squares and S of chains of each depth at one learning rate, with both flows."""
    lr, spread = params["chain_lr"], params["spread"]
    steps = np.round(np.linspace(0, params["chain_steps"], 2 * params["records"])).astype(int)
    data = {"times": lr**2 * steps}
    for name, start in params["starts"].items():
        squares = _squares(start, lr, spread, steps, params["chain_paths"], params["seed"] + 10)
        data[f"squares_{name}"] = squares.mean(axis=0)
        data[f"sharp_{name}"] = deep_linear.sharpness_at_minimum(
            target=1.0, inverse_squares=inverse_square_sum(np.sqrt(squares))
        ).mean(axis=0)
        data[f"law_{name}"] = _flow(start, lr, spread, data["times"])
        data[f"limit_{name}"] = _flow(start, 0.0, spread, data["times"])
    return data


def _speeds(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Rate of ln D of two layers over 4 lr^2 sigma^2, per path, after W has settled."""
    start, spread, speeds = params["starts"]["2"], params["speed_spread"], []
    steps = np.array([params["settle"], params["settle"] + params["speed_steps"]])
    for number, lr in enumerate(params["speed_rates"]):
        squares = _squares(start, lr, spread, steps, params["speed_paths"], params["seed"] + 20 + number)
        logs = np.log(squares[..., 0] - squares[..., 1])
        speeds.append((logs[:, 0] - logs[:, 1]) / (4 * lr**2 * spread**2 * params["speed_steps"]))
    inverse_squares = np.sum(1 / np.array(start))
    line = np.linspace(0.01, 0.21, 60)
    rate = deep_linear.label_noise_imbalance_rate
    return {
        "speeds": np.array(speeds),
        "speed_at": np.array(params["speed_rates"]) * inverse_squares,
        "line_at": line * inverse_squares,
        "line": rate(lr=line, noise=spread, inverse_squares=inverse_squares) / (4 * line**2 * spread**2),
        "speed_law": 1 / (1 - np.array(params["speed_rates"]) * inverse_squares),
        "regulariser_law": np.array([_by_regulariser(lr, start) for lr in params["speed_rates"]]),
    }


def _by_regulariser(lr: float, start: list[float]) -> float:
    """Speed-up by Damian's R: its slope in S over that of its limit tr H/4.

    (W - 1)^2 at lr is (1/2)(W - 1)^2 at 2 lr, whose Hessian at a minimum has the one eigenvalue S.
    """
    S, h = sum(1 / z for z in start), 1e-6
    high, low = (label_noise.regulariser(np.diag([S + e, 0.0]), 2 * lr) for e in (h, -h))
    return 4 * (high - low) / (2 * h)


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    ends = np.stack([data["gap_law"][:, -1], data["gap_limit"][:, -1]], axis=1)
    off = np.abs(data["gap"] - data["gap_law"])[:, 1:] / data["gap_error"][:, 1:]
    missed = (data["gap_limit"] - data["gap"])[:, -1] / data["gap_error"][:, -1]
    follows, limits = (
        max(np.abs(data[f"squares_{d}"] / data[f"{law}_{d}"] - 1).max() for d in (2, 3, 4)) for law in ("law", "limit")
    )
    sharp = {d: data[f"sharp_{d}"] for d in (2, 3, 4)}
    told = {d: 2 * (1 / data[f"law_{d}"]).sum(axis=1) for d in (2, 3, 4)}
    speed, error = data["speeds"].mean(axis=1), standard_error(data["speeds"].T)
    return [
        at_most("as_told", np.abs(ends - np.array(TOLD)).max(), 3e-4,
                "Both predictions of the last D agree with an independent computation to {found:.0e}."),
        at_most("finite_rate", np.abs(data["gap"] / data["gap_law"] - 1).max(), 0.01,
                f"The mean imbalance follows the finite-lr rate within {{found:.2%}} ({off.max():.1f} standard "
                "errors)"),
        at_least("limit_is_missed", missed.min(), 5.0,
                 "and is below the limiting flow by {found:.0f} standard errors or more, at lr = 0.1 by "
                 f"{data['gap_limit'][-1, -1] / data['gap'][-1, -1] - 1:.0%}."),
        at_most("squares_follow", follows, 0.04, "The squares of all chains follow this faster flow to {found:.1%},"),
        at_least("factor_is_needed", limits, 0.05, "the limiting flow alone is off by up to {found:.0%}."),
        at_most("sharpness_follows", max(np.abs(sharp[d] / told[d] - 1).max() for d in sharp), 0.04,
                "Their sharpness is predicted within {found:.1%}"),
        at_most("flattest", max(sharp[d][-1] / (2 * d) - 1 for d in sharp), 0.1,
                f"and falls from {', '.join(f'{sharp[d][0]:.1f}' for d in sharp)} to within {{found:.1%}} of 2d."),
        at_most("speed", np.abs(speed / data["speed_law"] - 1).max(), 0.03,
                f"The speed-up, {speed[0]:.2f} to {speed[-1]:.2f}, is 1/(1 - lr S) within {{found:.1%}},"),
        at_least("speed_is_seen", ((speed - 1) / error).min(), 5.0,
                 "at least {found:.0f} standard errors above 1,"),
        at_most("damian", np.abs(data["regulariser_law"] / data["speed_law"] - 1).max(), 1e-6,
                "and is the slope of Damian's regulariser over that of its limit to {found:.0e}."),
    ]  # fmt: skip


def _scaled(name: str, factor: float) -> Any:
    """Spoil one array by a factor."""
    return lambda data: data | {name: data[name] * factor}


BROKEN = {
    "as_told": _scaled("gap_law", 1.001),
    "finite_rate": lambda data: data | {"gap": data["gap_limit"]},
    "limit_is_missed": lambda data: data | {"gap": data["gap_limit"]},
    "squares_follow": lambda data: data | {"squares_3": data["limit_3"] * 1.05},
    "factor_is_needed": lambda data: data | {f"squares_{d}": data[f"limit_{d}"] for d in (2, 3, 4)},
    "sharpness_follows": _scaled("sharp_4", 1.1),
    "flattest": lambda data: data | {"sharp_3": data["sharp_3"][0] * np.ones_like(data["sharp_3"])},
    "speed": lambda data: data | {"speed_law": np.ones_like(data["speed_law"])},
    "speed_is_seen": lambda data: data | {"speeds": data["speeds"] / data["speeds"].mean(axis=1, keepdims=True)},
    "damian": _scaled("regulariser_law", 1.001),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Imbalance, squares, sharpness, speed-up."""
    figure, ((imbalance, squares), (sharp, speed)) = style.page(2, 2, 4.4)
    _draw_imbalance(imbalance, data)
    _draw_squares(squares, data)
    _draw_sharpness(sharp, data)
    _draw_speed(speed, data)
    return figure


def _keys(measured: str = "SGD") -> list[Line2D]:
    """Legend entries of markers and lines."""
    return [Line2D([], [], marker="o", linestyle="", color=style.GREY, label=measured),
            Line2D([], [], label=r"finite $\eta$", **style.PREDICTED),
            Line2D([], [], label=r"limit $\eta\to0$", **style.PREDICTED | {"linestyle": ":"})]  # fmt: skip


def _draw_imbalance(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "two layers, label noise")
    for k, colour in enumerate(COLOURS[: data["rates"].size]):
        axes.plot(data["slow"][k], data["gap"][k], "o", color=colour)
        axes.plot(data["slow"][k], data["gap_law"][k], **style.PREDICTED)
    axes.plot(data["slow"][-1], data["gap_limit"][-1], **style.PREDICTED | {"linestyle": ":"})
    names = [Line2D([], [], marker="o", linestyle="", color=colour, label=rf"$\eta={lr:g}$")
             for lr, colour in zip(data["rates"], COLOURS, strict=False)]  # fmt: skip
    axes.legend(handles=names + _keys()[1:], loc="upper right")
    axes.set(xlabel=r"slow time $\eta^2k$", ylabel="$w_1^2-w_2^2$", yscale="log", ylim=(1.7, 3.9))
    axes.set_yticks([2, 3], ["2", "3"])
    axes.minorticks_off()


def _draw_squares(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "three layers")
    for i, colour in enumerate(COLOURS[:3]):
        axes.plot(data["times"], data["squares_3"][:, i], "o", color=colour, markersize=2.6)
        axes.plot(data["times"], data["law_3"][:, i], **style.PREDICTED)
        axes.plot(data["times"], data["limit_3"][:, i], **style.PREDICTED | {"linestyle": ":"})
    axes.set(xlabel=r"slow time $\eta^2k$", ylabel="$w_i^2$", ylim=(0, None))
    axes.legend(handles=_keys(), loc="upper right")


def _draw_sharpness(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "sharpness")
    for depth, colour in zip((2, 3, 4), COLOURS, strict=False):
        axes.axhline(2 * depth, color=style.GREY, linewidth=0.7)
        axes.plot(data["times"], data[f"sharp_{depth}"], "o", color=colour, markersize=2.6, label=f"$d={depth}$")
        axes.plot(data["times"], 2 * (1 / data[f"law_{depth}"]).sum(axis=1), **style.PREDICTED)
    axes.set(xlabel=r"slow time $\eta^2k$", ylabel="$2S$", ylim=(3, 12))
    axes.legend(loc="upper right")


def _draw_speed(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "speed-up by finite steps")
    error = 4 * standard_error(data["speeds"].T)
    axes.errorbar(data["speed_at"], data["speeds"].mean(axis=1), error, fmt="o", color=style.BLUE, elinewidth=0.8,
                  capsize=2, label="SGD")  # fmt: skip
    axes.plot(data["line_at"], data["line"], **style.PREDICTED, label=r"$1/(1-\eta S)$")
    axes.axhline(1.0, color=style.GREY, linewidth=0.7)
    axes.set(xlabel=r"$\eta S$", ylabel=r"rate over $4\eta^2\sigma^2$", xlim=(0, 1), ylim=(0, None))
    axes.legend(loc="upper left")
