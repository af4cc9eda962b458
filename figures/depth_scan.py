"""Learning curves and escape times of balanced scalar chains of depth 1 to 8 (after Saxe, McClelland, Ganguli 2014).

Gradient flow on (1/2)(W - 1)^2 from equal layers of small product W = a_0. The reader should see the curves become
steeper and later sigmoids with depth (a); the time to reach one half grow as a logarithm of the start at depth 2 and
as the power a_0^-(1-2/d) beyond (b); the leading order come as close as the proved bound says (c); and deep chains
tend to one law when time is multiplied by depth (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import cumulative_simpson
from scipy.interpolate import PchipInterpolator

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most
from sdetheory.integrators import DOP853
from sdetheory.observables import chain_product
from sdetheory.predictions import deep_linear, scalar_chains

CLAIMS = ("D37", "D38", "D39")
CAPTION = """Gradient flow on (1/2)(W - 1)^2, W = w_1 ... w_d, from equal layers with W = a_0. (a) W for depths 1 to 8
and a_0 = 10^-3: flow (lines) and the integral of dW/dt = d W^(2-2/d) (1 - W) (dashed); circles: closed forms at depths
2 and 4. (b) Time to W = 1/2 against a_0: flow (circles), exact at depth 2 and escape time a_0^-(1-2/d)/(d-2) at greater
depth (dashed). (c) Distance of that time from the escape time, relative: below (filled) or above (open) it, and the
largest that the proved bounds allow (lines). (d) Depth times the time to W = 1/2, and its limit of many layers
(dashed)."""

PARAMS: dict[str, Any] = {
    "depths": [1, 2, 3, 4, 5, 6, 7, 8],
    "start": 1e-3,
    "horizon": 40.0,
    "starts": [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    "escape_depths": [2, 3, 4, 6, 8],
    "deep_starts": [0.02, 0.05, 0.1],
    "deep_depths": [2, 3, 4, 6, 8, 12, 16, 24, 32, 48],
    "tolerance": 1e-12,
}
QUICK = PARAMS | {"starts": [1e-8, 1e-6, 1e-4, 1e-2], "deep_depths": [2, 4, 8, 16, 48], "deep_starts": [0.05, 0.1]}

LEVEL = 0.5  # of W, where a start counts as escaped
# The theory sheet's ratios of the time to one half to the escape time, at a_0 = 10^-6.
TOLD = {3: 0.992, 4: 0.9995, 6: 1.00002}
UNITS = {3: 1e-3, 4: 1e-4, 6: 1e-5}  # of their last digits


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Learning curves, times to one half for every depth and start, and their predictions."""
    ts = np.linspace(0, params["horizon"], 801)
    depths, starts = np.array(params["depths"]), np.array(params["starts"])
    curves = np.array([_flow(params, int(d), params["start"], ts) for d in depths])
    data = {"ts": ts, "depths": depths, "curves": curves, "starts": starts, "start": np.array(params["start"])}
    data["laws"] = np.array([_law(int(d), params["start"], ts) for d in depths])
    escape = np.array(params["escape_depths"])
    data |= {"escape_depths": escape, "times": _times(params, escape, starts)}
    deep, few = np.array(params["deep_depths"]), np.array(params["deep_starts"])
    data |= {"deep_depths": deep, "deep_starts": few, "deep_times": deep[:, None] * _times(params, deep, few)}
    known = {"strength": LEVEL, "target": 1.0}
    data["deep_law"] = scalar_chains.deep_growth_time(strength0=few, **known)
    data["two_layers"] = scalar_chains.two_layer_growth_time(strength0=starts, **known)
    data["four_layers"] = scalar_chains.four_layer_growth_time(strength0=starts, **known)
    low, high, leading = zip(*(_bounds(int(d), starts) for d in escape[1:]), strict=True)
    return data | {"low": np.array(low), "high": np.array(high), "leading": np.array(leading)}


def _flow(params: dict[str, Any], depth: int, start: float, ts: np.ndarray) -> np.ndarray:
    """W at the times, from equal layers."""
    chain = st.deep_linear((1,) * (depth + 1), [[1.0]])
    exact = DOP853(rtol=params["tolerance"], atol=params["tolerance"])
    layers = np.full(depth, start ** (1 / depth))
    run = st.simulate(chain, st.GradientFlow(), layers, ts, integrator=exact, keep_states=True)
    return chain_product(run.states[0])


def _law(depth: int, start: float, ts: np.ndarray) -> np.ndarray:
    """W by its own equation: the time from the start to every W, by quadrature in ln(W/(1 - W)), inverted."""
    logit = np.linspace(np.log(start / (1 - start)), 40, 20001)
    strength = 1 / (1 + np.exp(-logit))
    rest = 1 / (1 + np.exp(logit))
    speed = deep_linear.mode_rate(depth=depth, strength=strength, target=strength + rest)
    slowness = strength * rest / np.where(rest > 1e-9, speed, depth * rest)
    time = cumulative_simpson(slowness, x=logit, initial=0)
    return 1 / (1 + np.exp(-np.interp(ts, time, logit)))


def _bounds(depth: int, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper bound of the time to one half, and the escape time; depth > 2."""
    leading = scalar_chains.escape_time(strength0=starts, target=1.0, depth=depth)
    low = leading - scalar_chains.escape_time(strength0=LEVEL, target=1.0, depth=depth)
    return low, low + scalar_chains.escape_time_excess(strength=LEVEL, target=1.0, depth=depth), leading


def _times(params: dict[str, Any], depths: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Time to one half (depths, starts): the flow is recorded around its predicted time and interpolated."""
    return np.array([[_time(params, int(d), a) for a in starts] for d in depths])


def _time(params: dict[str, Any], depth: int, start: float) -> float:
    if depth == 2:
        low = high = scalar_chains.two_layer_growth_time(strength0=start, strength=LEVEL, target=1.0)
    else:
        low, high, _ = _bounds(depth, np.array(start))
    ts = np.linspace(max(float(low) - 0.1, 0.0), float(high) + 0.1, 401)
    strength = _flow(params, depth, start, ts)
    around = (strength > 0.2) & (strength < 0.8)
    return float(PchipInterpolator(np.log(strength[around] / (1 - strength[around])), ts[around])(0.0))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    times, starts = data["times"], data["starts"]
    deeper = data["escape_depths"][1:]
    at = int(np.argmin(np.abs(np.log10(starts) + 6)))
    ratios = {int(d): times[1 + k, at] / data["leading"][k, at] for k, d in enumerate(deeper)}
    told = max(abs(ratios[d] - TOLD[d]) / UNITS[d] for d in TOLD)
    slack = np.minimum(times[1:] - data["low"], data["high"] - times[1:])
    small = [0, 1]
    powers = np.diff(np.log(times[1:, small]))[:, 0] / np.log(starts[1] / starts[0])
    four = times[list(data["escape_depths"]).index(4)]
    gap = np.abs(data["deep_times"] / data["deep_law"] - 1)
    depths = data["deep_depths"][-2:]
    limit = np.diff(depths[:, None] * data["deep_times"][-2:], axis=0)[0] / np.diff(depths)
    order = -np.log(gap[-1] / gap[-2]) / np.log(depths[1] / depths[0])
    later = np.diff(_half(data))
    return [
        at_most("curves_as_predicted", np.abs(data["curves"] - data["laws"]).max(), 1e-5,
                "(a) The curves are the integrals to {found:.0e};"),
        at_least("deeper_is_later", later[1:].min(), 0.0,
                 "from a_0 = 10^-3 each layer after the second delays the escape by at least {found:.1f}."),
        at_most("two_layers", np.abs(times[0] / data["two_layers"] - 1).max(), 1e-5,
                "(b) Times agree with the closed forms at depth 2 to {found:.0e}"),
        at_most("four_layers", np.abs(four / data["four_layers"] - 1).max(), 1e-5, "and at depth 4 to {found:.0e};"),
        at_most("powers", np.abs(powers + 1 - 2 / deeper).max(), 0.01,
                "the powers between the two smallest starts are -(1 - 2/d) to {found:.4f}."),
        at_least("within_bounds", slack.min(), 0.0,
                 f"(c) All {slack.size} times at depth > 2 are in the proved bounds, the tightest by {{found:.3f}}."),
        at_most("ratios_as_told", told, 1.0,
                "At a_0 = 10^-6 time and escape time have the ratios " + ", ".join(
                    f"{ratios[d]:.{n}f}" for d, n in zip(TOLD, (4, 5, 6), strict=True))
                + " at depths 3, 4, 6: those of an independent run to {found:.1f} units of its last digit."),
        at_most("deep_limit", np.abs(limit / data["deep_law"] - 1).max(), 0.03,
                f"(d) Depth {depths[-1]} is within {gap[-1].max():.0%} of the limit, linear extrapolation in 1/d from"
                " the last two depths within {found:.1%};"),
        at_least("deep_order", order.min(), 0.9, "the limit is approached at least as the power {found:.2f} of 1/d."),
    ]  # fmt: skip


def _half(data: dict[str, np.ndarray]) -> np.ndarray:
    """First time of every curve above one half."""
    return data["ts"][np.argmax(data["curves"] > LEVEL, axis=1)]


def _scaled(name: str, by: float) -> Any:
    """Spoil one array by a factor."""
    return lambda data: data | {name: data[name] * by}


BROKEN = {
    "curves_as_predicted": _scaled("laws", 1.001),
    "deeper_is_later": lambda data: data | {"curves": data["curves"][::-1]},
    "two_layers": _scaled("two_layers", 1.001),
    "four_layers": _scaled("four_layers", 1.001),
    "powers": lambda data: data | {"times": data["times"] ** 1.05},
    "within_bounds": _scaled("times", 1.02),
    "ratios_as_told": _scaled("leading", 1.001),
    "deep_limit": _scaled("deep_law", 1.2),
    "deep_order": _scaled("deep_law", 1.1),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Curves, times, errors, deep limit."""
    figure, ((curves, times), (errors, deep)) = style.page(2, 2, 4.0)
    _draw_curves(curves, data)
    _draw_times(times, data)
    _draw_errors(errors, data)
    _draw_deep(deep, data)
    return figure


def _colours(count: int) -> list[Any]:
    """From light to dark blue with depth."""
    from matplotlib import colormaps

    return [colormaps["viridis"](x) for x in np.linspace(0.9, 0.0, count)]


def _draw_curves(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", rf"learning curves, $a_0={style.power(float(data['start']))}$")
    half = _half(data)
    for number, colour in enumerate(_colours(len(data["depths"]))):
        axes.plot(data["ts"], data["curves"][number], color=colour, linewidth=1.6)
        axes.plot(data["ts"], data["laws"][number], **style.PREDICTED | {"linewidth": 0.6})
        axes.text(half[number] + 0.4, 0.30 + 0.05 * (number % 2), str(data["depths"][number]), color=colour, fontsize=7)
    known = {"strength0": data["start"], "target": 1.0, "strength": np.array([0.1, 0.3, 0.7, 0.9])}
    for law in (scalar_chains.two_layer_growth_time, scalar_chains.four_layer_growth_time):
        axes.plot(law(**known), known["strength"], "o", color=style.BLACK, markerfacecolor="white", zorder=6)
    axes.set(xlabel="time", ylabel="$W$", xlim=(0, data["ts"][-1]), ylim=(0, 1.05))


def _draw_times(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", r"time to $W=1/2$")
    dense = np.geomspace(data["starts"][0], data["starts"][-1], 60)
    for number, (depth, colour) in enumerate(_coloured(data)):
        if depth == 2:
            law = scalar_chains.two_layer_growth_time(strength0=dense, strength=LEVEL, target=1.0)
        else:
            law = scalar_chains.escape_time(strength0=dense, target=1.0, depth=depth)
        axes.plot(dense, law, **style.PREDICTED)
        axes.plot(data["starts"], data["times"][number], "o", color=colour, zorder=6)
        axes.annotate(f"$d={depth}$", (dense[0], law[0]), (-4, 0), textcoords="offset points", color=colour,
                      fontsize=7, va="center", ha="right")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="start $a_0$", xlim=(4e-10, 0.3))
    axes.set_xticks([1e-8, 1e-6, 1e-4, 1e-2])


def _coloured(data: dict[str, np.ndarray]) -> list[tuple[int, Any]]:
    """Depths of the escape times with the colours of their curves."""
    colours = dict(zip(data["depths"].tolist(), _colours(len(data["depths"])), strict=True))
    return [(int(depth), colours[int(depth)]) for depth in data["escape_depths"]]


def _draw_errors(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", r"$|$time / escape time $-\,1|$")
    for number, (_, colour) in enumerate(_coloured(data)[1:]):
        leading = data["leading"][number]
        error = data["times"][number + 1] / leading - 1
        bound = np.maximum(np.abs(data["low"][number] / leading - 1), np.abs(data["high"][number] / leading - 1))
        axes.plot(data["starts"], bound, color=colour, linewidth=0.9)
        below = error < 0
        axes.plot(data["starts"][below], -error[below], "o", color=colour)
        axes.plot(data["starts"][~below], error[~below], "o", color=colour, markerfacecolor="white")
    axes.set(xscale="log", yscale="log", xlabel="start $a_0$")


def _draw_deep(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", r"depth $\times$ time to $W=1/2$")
    colours = (style.VERMILION, style.ORANGE, style.PURPLE)
    for number, start in enumerate(data["deep_starts"]):
        axes.plot(data["deep_depths"], data["deep_times"][:, number], "o", color=colours[number])
        axes.plot(data["deep_depths"][[0, -1]], [data["deep_law"][number]] * 2, **style.PREDICTED)
        axes.annotate(f"$a_0={start:g}$", (2, data["deep_law"][number]), (0, 3), textcoords="offset points",
                      color=colours[number], fontsize=7)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="depth", ylabel="$d\\,t$", ylim=(2, 150))
    axes.set_xticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
    axes.minorticks_off()
