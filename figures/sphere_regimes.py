"""Three regimes of SGD on the sphere with a fixed effective lr (after Kodryan et al. 2022).

With weights held on a sphere the effective lr is a free number. The reader should see the same three regimes in a
model that can be solved and in a normalised network: at low effective lr the loss goes to its minimum, at
intermediate ones it stays at a level that grows with the effective lr, at high ones it is that of random weights or
worse (a, c). In the model both borders are where a Lyapunov exponent changes its sign (b); how the loss of the
network falls or rests in time (d).
"""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import brentq
from scipy.special import roots_genlaguerre
from scipy.stats import chi2

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, near
from figures.press.measured import standard_error
from sdetheory.observers import Coordinate, Loss
from sdetheory.predictions import edge_of_stability as theory

CLAIMS = ("I54",)
CAPTION = """SGD on the sphere, v' = x/|x|, x = v - (effective lr) g. (a, b) The model: batches <x, w>^2/|w|^2 of one
Gaussian sample x without component along the first of {dimension} axes, which is the common minimum of all batches;
(c, d) batch-normalised networks {net_widths}, last layer random and fixed, all other weights one unit vector,
{training_digits} digits, batches of {batch_size}. (a, c) Mean batch loss over the second half of the run (model:
{steps} steps; networks: {net_steps}) for {paths} starts and {net_seeds} seeds: means and two standard errors; grey
line: loss of random directions (networks: with the same last layers). Colours, by a rule for each run: convergence,
the loss falls like t^p, p <= {power}, over the last seven eighths, or is below {floor:g} (shown there); else
divergence, where its mean over the second half is at least that of random directions; else equilibrium; shown is the
regime of most runs. (b) Exponents of the model, predicted (dashed) and measured (symbols) next to the minimum (w
along the first axis) and next to the maximum (w across it); dotted in (a): their zeros. (d) Loss of the networks in
time, means over seeds."""

PARAMS: dict[str, Any] = {
    "dimension": 6,
    "effective_lr": [*np.geomspace(1e-4, 1e-1, 7).tolist(), 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.55, 0.7, 1.0],
    "steps": 40000,
    "paths": 64,
    "floor": 1e-12,
    "exponents": [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0],
    "exponent_paths": 4096,
    "exponent_steps": 60,
    "power": -0.25,
    "net_widths": [64, 24, 32, 10],
    "output_scale": 3.0,
    "training_digits": 500,
    "batch_size": 32,
    "net_effective_lr": [*np.geomspace(1e-5, 1e-2, 7).tolist(), 2e-2, 3e-2, 4e-2, 6e-2, 0.1, 0.3, 1.0],
    "net_seeds": 4,
    "random_directions": 16,
    "net_steps": 2048,
    "seed": 30,
}
QUICK = PARAMS | {
    "effective_lr": [1e-3, 1e-2, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1.0], "paths": 32, "steps": 10000,
    "net_effective_lr": [1e-4, 1e-3, 3e-2, 6e-2, 1.0], "net_seeds": 3, "net_steps": 768,
}  # fmt: skip

REGIMES = ("convergence", "equilibrium", "divergence")
COLOURS = (style.BLUE, style.GREEN, style.VERMILION)
OPEN: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 0.7, "markersize": 3, "zorder": 4}
WINDOWS = 64


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Losses in windows of time for every effective lr, model and network; exponents predicted and measured."""
    data: dict[str, Any] = {"effective_lr": params["effective_lr"], "net_effective_lr": params["net_effective_lr"]}
    data |= {"loss": _model(params), "random": 1 - 1 / params["dimension"]} | _exponents(params) | _network(params)
    names = ("power", "floor", "exponents", "net_steps")
    return {name: np.asarray(value) for name, value in data.items()} | {n: np.asarray(params[n]) for n in names}


def _samples(params: dict[str, Any]) -> tuple[Any, Any]:
    """The loss and its batches."""
    a = np.ones(params["dimension"])
    a[0] = 0.0
    return st.Rayleigh(a), st.SampleBatch(a)


def _model(params: dict[str, Any]) -> np.ndarray:
    """Mean loss in each window, (effective lr, paths, windows)."""
    model, noise = _samples(params)
    start = np.random.default_rng(params["seed"]).standard_normal((params["paths"], params["dimension"]))
    ts = np.rint(np.linspace(0, params["steps"], 8 * WINDOWS + 1))[1:]
    common = {"noise": noise, "seed": params["seed"], "observe": {"loss": Loss(model)}}
    runs = [st.simulate(model, st.SphereSGD(speed), start, ts, **common) for speed in params["effective_lr"]]
    return np.array([run["loss"].reshape(params["paths"], WINDOWS, -1).mean(axis=2) for run in runs])


def _exponents(params: dict[str, Any]) -> dict[str, Any]:
    """Mean growth a step of ln(distance) next to the minimum and next to the maximum; zeros of the predictions."""
    model, noise = _samples(params)
    d, steps = params["dimension"], params["exponent_steps"]
    draw = np.random.default_rng(params["seed"]).standard_normal((params["exponent_paths"], d))
    draw[:, 0] = 0.0
    draw /= np.linalg.norm(draw, axis=1, keepdims=True)
    tiny, first = 1e-80, np.eye(d)[0]
    starts = {"minimum": first + tiny * draw, "maximum": draw + tiny * first}
    data: dict[str, Any] = {}
    for place, start in starts.items():
        rows = []
        for speed in params["exponents"]:
            run = st.simulate(
                model, st.SphereSGD(speed), start, [0, steps], noise=noise, seed=params["seed"] + 1,
                observe={"loss": Loss(model), "first": Coordinate(0)},
            )  # fmt: skip
            size = np.sqrt(run["loss"]) if place == "minimum" else np.abs(run["first"])
            growth = np.diff(np.log(size), axis=1)[:, 0] / steps
            rows.append([growth.mean(), standard_error(growth), predicted_exponent(place, speed, d)])
        data[place] = np.array(rows)
        data[f"{place}_zero"] = brentq(partial(predicted_exponent, place, dimension=d), 0.05, 1.0, xtol=1e-5)
    return data


def predicted_exponent(place: str, effective_lr: float, dimension: int) -> float:
    """E ln of the factor by which a step multiplies a small distance to the minimum, or to the maximum.

    x has d - 1 standard normal components: one along the unit vector that matters (the distance, or w itself), whose
    square is chi square with 1 degree of freedom, and the rest, with d - 2.
    """
    square = chi2.ppf((np.arange(4000) + 0.5) / 4000, 1)[:, None]  # middles of equal shares
    half_rest, weights = roots_genlaguerre(60, dimension / 2 - 2)
    factor = {"minimum": theory.sample_minimum_factor, "maximum": theory.sample_maximum_factor}[place]
    values = np.abs(factor(step_lr=effective_lr, along_square=square, rest_square=2 * half_rest))
    return float(np.log(values).mean(axis=0) @ weights / weights.sum()) / 2


def _network(params: dict[str, Any]) -> dict[str, Any]:
    """Mean batch loss in each window, (effective lr, seeds, windows), and that of random weights, (seeds,)."""
    net = st.networks.mlp(params["net_widths"], frozen_output=True)
    digits = st.networks.digits().subset(slice(0, params["training_digits"]))
    seeds = np.tile(params["seed"] + np.arange(params["net_seeds"]), len(params["net_effective_lr"]))
    (output,) = (group for group in net.groups() if group.frozen)
    start = output.scaled(net.start(seeds), params["output_scale"])
    common = {"batch_size": params["batch_size"], "seeds": seeds, "start": start}
    speeds = np.repeat(params["net_effective_lr"], params["net_seeds"])
    every = params["net_steps"] // WINDOWS
    run = st.networks.train_on_sphere(
        net, digits, effective_lr=speeds, steps=params["net_steps"], record_every=every, progress=True, **common
    )
    count, directions = params["net_seeds"], params["random_directions"]
    fixed = output.select(np.arange(net.size)[None])[0]
    elsewhere = net.start(params["seed"] + 1000 + np.arange(count * directions))
    elsewhere[:, fixed] = np.repeat(start[:count, fixed], directions, axis=0)
    common |= {"seeds": np.repeat(seeds[:count], directions), "start": elsewhere}
    still = st.networks.train_on_sphere(net, digits, effective_lr=0.0, steps=8, record_every=8, **common)
    return {
        "net_loss": run.loss_mean[:, 1:].reshape(len(params["net_effective_lr"]), count, -1),
        "net_random": still.loss_mean[:, -1].reshape(count, directions).mean(axis=1),
    }


def _powers(loss: np.ndarray) -> np.ndarray:
    """p of t^p fitted to the loss in windows, the first eighth left out: (..., windows) -> (...)."""
    log_time = np.log(np.arange(loss.shape[-1]) + 0.5)[loss.shape[-1] // 8 :]
    log_loss = np.log(np.maximum(loss, 1e-300))[..., loss.shape[-1] // 8 :]
    centred = log_time - log_time.mean()
    return log_loss @ centred / (centred @ centred)


def regimes(loss: np.ndarray, random: float | np.ndarray, power: float, floor: float) -> np.ndarray:
    """0, 1, 2 for convergence, equilibrium, divergence: (..., windows) -> (...); `random` a number or (...)."""
    level = loss[..., loss.shape[-1] // 2 :].mean(axis=-1)
    return np.where((_powers(loss) <= power) | (level < floor), 0, np.where(level >= random, 2, 1))


def _told(data: dict[str, np.ndarray], net: bool) -> tuple[np.ndarray, np.ndarray]:
    """The regime of most members at each effective lr, and the share of members that are in it."""
    loss, random = (data["net_loss"], data["net_random"]) if net else (data["loss"], data["random"])
    each = regimes(loss, random, float(data["power"]), float(data["floor"]))
    counts = np.stack([(each == number).sum(axis=1) for number in range(3)], axis=1)
    return counts.argmax(axis=1), counts.max(axis=1) / each.shape[1]


def _level(loss: np.ndarray) -> np.ndarray:
    """Mean over the second half, (effective lr, members)."""
    return loss[..., loss.shape[-1] // 2 :].mean(axis=-1)


def _borders(speeds: np.ndarray, found: np.ndarray) -> str:
    """The intervals in which the two borders lie."""
    gaps = [(speeds[found <= number].max(initial=0), speeds[found > number].min(initial=np.inf)) for number in range(2)]
    return " and ".join(f"{low:.2g} to {high:.2g}" for low, high in gaps)


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    (found, agree), (net_found, net_agree) = _told(data, net=False), _told(data, net=True)
    speeds, low, high = data["effective_lr"], float(data["minimum_zero"]), float(data["maximum_zero"])
    wanted = np.where(speeds < low, 0, np.where(speeds < high, 1, 2))
    unlike = np.abs(np.log(speeds[wanted != found] / np.where(found[wanted != found] == 2, high, low)))
    gaps = np.array([(data[p][:, 0] - data[p][:, 2]) / data[p][:, 1] for p in ("minimum", "maximum")])
    resting = _level(data["net_loss"])[net_found == 1].mean(axis=1)
    random = data["net_random"].mean()
    lowest = _level(data["net_loss"])[net_found == 0].mean(axis=1).min(initial=np.inf)
    return [
        at_most("exponents_are_predicted", np.abs(gaps).max(), 5.0,
                "(b) Measured exponents are within {found:.1f} standard errors of the prediction;"),
        near("first_zero", low, 0.1756, 0.002, "they vanish at effective lr {found:.3f}"),
        near("second_zero", high, 0.502, 0.005, "and {found:.3f}."),
        at_most("regimes_lie_between_the_zeros", unlike.max(initial=0.0), 0.35,
                f"(a) The regimes change in {_borders(speeds, found)}; {(wanted != found).sum()} of {len(speeds)} are "
                "on the wrong side of a zero (farthest: {found:.2f} in ln of the effective lr);"),
        at_least("starts_agree", np.median(agree), 0.95,
                 "the median share of starts in the regime shown is {found:.0%}."),
        at_most("network_regimes_in_order", np.abs(np.diff(net_found) < 0).sum(), 0,
                "(c) The regimes of the networks follow one another without exception,"),
        at_least("network_has_all_three", len(set(net_found.tolist())), 3,
                 f"all three ({{found:g}}) occur, with borders in {_borders(data['net_effective_lr'], net_found)};"),
        at_least("seeds_agree", net_agree.mean(), 0.85, "on average {found:.0%} of the seeds are in the regime shown."),
        at_least("equilibrium_level_grows", np.diff(np.log(resting)).min(initial=np.inf), 0.05,
                 "The level of the equilibrium grows with the effective lr."),
        at_least("divergence_is_worse_than_random", _level(data["net_loss"])[-1].mean() / random, 1.0,
                 "At the highest effective lr the loss is {found:.2f} times that of random directions,"),
        at_most("convergence_reaches_low_loss", lowest / random, 0.06,
                "in the regime of convergence down to {found:.1e} times it."),
    ]  # fmt: skip


def _scaled(name: str, factor: Any) -> Any:
    return lambda data: data | {name: data[name] * factor}


BROKEN = {
    "exponents_are_predicted": _scaled("minimum", np.array([1.1, 1.0, 1.0])),
    "first_zero": _scaled("minimum_zero", 1.1),
    "second_zero": _scaled("maximum_zero", 1.1),
    "regimes_lie_between_the_zeros": lambda data: data | {"loss": data["loss"][::-1]},
    "starts_agree": lambda data: (
        data | {"loss": np.where(np.arange(data["loss"].shape[1])[:, None] % 2, data["loss"], data["loss"][::-1])}
    ),
    "network_regimes_in_order": lambda data: data | {"net_loss": data["net_loss"][::-1]},
    "network_has_all_three": lambda data: data | {"net_loss": data["net_loss"] * 0 + data["net_loss"][-1]},
    "seeds_agree": lambda data: (
        data | {"net_loss": np.where(np.arange(data["net_loss"].shape[1])[:, None] % 2, data["net_loss"],
                                     data["net_loss"][::-1])}
    ),
    "equilibrium_level_grows": lambda data: (
        data | {"net_loss": np.where(_told(data, net=True)[0][:, None, None] == 1, 1.0, data["net_loss"])}
    ),
    "divergence_is_worse_than_random": _scaled("net_random", 2.0),
    "convergence_reaches_low_loss": _scaled("net_random", 0.01),
}  # fmt: skip


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Levels and exponents of the model, levels and paths of the networks."""
    figure, ((model, exponents), (net, paths)) = style.page(2, 2, 4.4)
    style.letter(model, "a", "model: loss")
    found, _ = _told(data, net=False)
    _draw_levels(model, data["effective_lr"], np.maximum(_level(data["loss"]), data["floor"]), found)
    model.axhline(float(data["random"]), color=style.GREY, linewidth=0.9)
    for place in ("minimum", "maximum"):
        model.axvline(float(data[f"{place}_zero"]), color=style.BLACK, linestyle=":", linewidth=0.9)
    pairs = zip(REGIMES, COLOURS, strict=True)
    keys = [Line2D([], [], color=colour, marker="o", linestyle="", label=name, **OPEN) for name, colour in pairs]
    model.legend(handles=keys, loc="center")
    _draw_exponents(exponents, data)
    style.letter(net, "c", "networks on digits: loss")
    found, _ = _told(data, net=True)
    _draw_levels(net, data["net_effective_lr"], _level(data["net_loss"]), found)
    net.axhline(float(data["net_random"].mean()), color=style.GREY, linewidth=0.9)
    _draw_paths(paths, data, found)
    return figure


def _draw_levels(axes: Axes, speeds: np.ndarray, level: np.ndarray, found: np.ndarray) -> None:
    mean, error = level.mean(axis=1), 2 * standard_error(level.T)
    axes.plot(speeds, mean, color=style.GREY, linewidth=0.5, zorder=1)
    for number, colour in enumerate(COLOURS):
        of = found == number
        low = np.minimum(error[of], 0.95 * mean[of])
        axes.errorbar(speeds[of], mean[of], [low, error[of]], fmt="o", color=colour, capsize=1.5, linewidth=0.7, **OPEN)
    axes.set(xscale="log", yscale="log", xlabel="effective lr", ylabel="mean loss, second half")


def _draw_exponents(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "model: Lyapunov exponents")
    axes.axhline(0.0, color=style.GREY, linewidth=0.7)
    for place, symbol, colour in (("minimum", "o", style.BLUE), ("maximum", "s", style.VERMILION)):
        mean, error, predicted = data[place].T
        axes.plot(data["exponents"], predicted, **style.PREDICTED)
        axes.errorbar(data["exponents"], mean, 2 * error, fmt=symbol, color=colour, linewidth=0.7,
                      label=f"at the {place}", **OPEN)  # fmt: skip
    axes.set(xlabel="effective lr", ylabel="exponent per step")
    axes.legend(loc="upper left")


def _draw_paths(axes: Axes, data: dict[str, np.ndarray], found: np.ndarray) -> None:
    style.letter(axes, "d", "networks: loss in time")
    mean = data["net_loss"].mean(axis=1)
    time = (np.arange(mean.shape[1]) + 0.5) * float(data["net_steps"]) / mean.shape[1]
    for number, speed in enumerate(data["net_effective_lr"]):
        axes.plot(time, mean[number], color=COLOURS[found[number]], linewidth=0.8)
        if number % 2 == 0:
            axes.annotate(f"{speed:.0e}", (time[-1], mean[number, -1]), (2, 0), textcoords="offset points", fontsize=5,
                          va="center", color=COLOURS[found[number]])  # fmt: skip
    axes.axhline(float(data["net_random"].mean()), color=style.GREY, linewidth=0.9)
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel="batch loss", xlim=(time[0], time[-1] * 1.9))
