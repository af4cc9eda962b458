"""Do the techniques of deep learning raise the regularity parameter, and does a larger one mean faster training?

A 2^3 design on digits: rectifier or sigmoid, batch normalisation or not, skip connections or not, each with a tuned
learning rate, and the four cells of linear units beside it. The reader should see what each technique does to the
time to a fixed loss and to several versions of gamma (a), and gamma, the scale-free gamma and the cosine against the
time, cell by cell (b-d).

Rules fixed after a pilot with other seeds, and before the seeds shown were run: the learning rate of a cell is that
of the smallest geometric mean time to the level over the tuning seeds, which are not used again; times are those of
windows of ten steps; intervals are Student's, over seeds, at 95 per cent simultaneously for all effects drawn
(Bonferroni). They know nothing of the choice of the learning rate, nor of other nets and data. The smallest gamma, its
median over epochs and its mean over the run are all shown: the theory singles out none that is positive.
"""

from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, between
from figures.press.technique_nets import Bench, Technique

CLAIMS = ("B8", "B9")
CAPTION = """Nets {widths[0]}-{widths[1]}-{widths[2]}-{widths[3]}-{widths[4]} on {training_digits} digits, SGD with
batches of {batch_size}, {steps} steps, {net_seeds} seeds a cell; learning rate tuned in each cell on {tuning_seeds}
other seeds. (a) Effects of rectifier instead of sigmoid (R), batch normalisation (N), skip connections (S) and their
interactions on, from left to right: time to a loss of {level:g} and gamma (median over epochs, seen from the last
iterate; the same from the end of a run {far} times as long; mean of the run, last iterate), all as factors, the
smallest relative gamma of an epoch and the mean cosine of update and w - reference, both from the far end, as
differences. Bars: simultaneous 95 per cent. (b-d) Cells, with standard deviations over seeds, against the time; filled:
batch normalisation, squares: skip connections; rank correlation of these twelve cells with its 95 per cent interval;
cross: sigmoids without normalisation or skips and with two layers more, which do not train. (e) Smallest gamma of an
epoch of the runs of the tuning, last iterate, one point a learning rate and seed (those below -1 at -1; on the right:
level not reached); mean rank correlation inside cells with its 95 per cent interval."""

PARAMS: dict[str, Any] = {
    "widths": [64, 24, 24, 24, 10],
    "deep_widths": [64, 24, 24, 24, 24, 24, 10],
    "training_digits": 1000,
    "batch_size": 32,
    "steps": 500,
    "level": 0.3,
    "far": 3,
    "rates": [0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
    "tuning_seeds": 3,
    "net_seeds": 8,
    "seed": 500,
}
QUICK = PARAMS | {
    "widths": [64, 16, 16, 16, 10], "deep_widths": [64, 16, 16, 16, 16, 16, 10], "training_digits": 500,
    "steps": 250, "far": 2, "rates": [0.1, 0.5, 3.0], "tuning_seeds": 2, "level": 0.5,
}  # fmt: skip

ACTIVATIONS = ("relu", "sigmoid", "linear")
CELLS = tuple(product(ACTIVATIONS, (True, False), (True, False)))
EFFECTS = {"R": (0,), "N": (1,), "S": (2,), "RN": (0, 1), "RS": (0, 2), "NS": (1, 2), "RNS": (0, 1, 2)}
RESPONSES = {
    "time": "time", "gamma_final": r"$\gamma$, final", "gamma_far": r"$\gamma$, far",
    "mean_final": r"$\bar\gamma$, final", "relative_far": r"min rel. $\gamma$", "cosine_far": "cosine",
}  # fmt: skip
FACTORS = ("time", "gamma_final", "gamma_far", "mean_final")  # compared on a logarithmic scale
SHOWN = {
    "gamma_far": r"$\gamma$, far (median of epochs)", "relative_far": r"smallest relative $\gamma$",
    "cosine_far": "mean cosine",
}  # fmt: skip
STUCK = Technique("sigmoid", False, False)  # with two layers more, which without techniques does not train
COLOURS = dict(zip(ACTIVATIONS, (style.BLUE, style.VERMILION, style.GREEN), strict=True))


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """All measures of all cells, (cells, seeds), the rates chosen, and the grids (cells, rates, tuning seeds)."""
    bench, seeds = Bench(params), params["seed"] + np.arange(params["net_seeds"])
    rows: list[dict[str, np.ndarray]] = []
    with np.errstate(all="ignore"):  # some learning rates of the grid are too large, as they must be
        for cell in CELLS:
            technique = Technique(*cell)
            rate, grid = bench.tuned(technique)
            measures = bench.measured(technique, np.full(len(seeds), rate), seeds).measures
            kept = {f"grid_{name}": np.nan_to_num(grid[name], nan=-1e300) for name in ("time", "least_final")}
            rows.append({"rate": np.array(rate), **measures, **kept})
        deep = Bench(params | {"widths": params["deep_widths"]})
        stuck = deep.measured(STUCK, np.full(len(seeds), deep.tuned(STUCK)[0]), seeds).measures
    data = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    data["censored"] = np.array(2 * params["steps"])
    return data | {f"stuck_{name}": stuck[name] for name in ("time", "mean_loss", *SHOWN)}


def _effects(data: dict[str, np.ndarray], name: str, off: str = "sigmoid") -> tuple[np.ndarray, np.ndarray]:
    """Mean effect of "relu" against `off`, the two switches and interactions, (7,), and half widths of intervals."""
    values = np.log10(data[name]) if name in FACTORS else data[name]
    design = [(CELLS.index((a, b, s)), (a == "relu", b, s)) for a, b, s in CELLS if a in ("relu", off)]
    signs = np.array([[np.prod([1 if on[i] else -1 for i in which]) for _, on in design] for which in EFFECTS.values()])
    effects = signs @ values[[number for number, _ in design]] / 4
    seeds = effects.shape[1]
    half = stats.t.isf(0.025 / (len(EFFECTS) * len(RESPONSES)), seeds - 1) / np.sqrt(seeds)
    return effects.mean(axis=1), half * effects.std(axis=1, ddof=1)


def _between(data: dict[str, np.ndarray], name: str) -> tuple[float, float, float]:
    """Spearman's correlation with the time over cells, and its interval (Bonett, Wright 2000)."""
    r = stats.spearmanr(np.log(data["time"]).mean(axis=1), data[name].mean(axis=1)).statistic
    half, z = 1.96 * np.sqrt((1 + r**2 / 2) / (len(CELLS) - 3)), np.arctanh(np.clip(r, -0.9999, 0.9999))
    return float(r), float(np.tanh(z - half)), float(np.tanh(z + half))


def _within(times: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Mean over cells of Spearman's correlation inside a cell, and half its 95 per cent interval over cells."""
    pairs = [(t.ravel(), v.ravel()) for t, v in zip(times, values, strict=True) if np.ptp(t)]
    r = np.array([stats.spearmanr(t, v).statistic for t, v in pairs])
    return float(r.mean()), float(stats.t.isf(0.025, len(r) - 1) * r.std(ddof=1) / np.sqrt(len(r)))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    effect = {name: dict(zip(EFFECTS, zip(*_effects(data, name), strict=True), strict=True)) for name in RESPONSES}
    linear = {name: _effects(data, name, "linear")[0][0] for name in ("time", "gamma_final")}
    speed, gamma = effect["time"], effect["gamma_final"]
    slowest = max(m + h for m, h in (speed["R"], speed["N"], speed["S"]))
    known, wide = 10 ** effect["gamma_far"]["N"][0], 10 ** sum(effect["gamma_far"]["N"])
    rank, seeds = _between(data, "gamma_far"), _within(data["time"], data["gamma_far"])
    rates = _within(data["grid_time"], data["grid_least_final"])
    mean = _between(data, "mean_final")
    return [
        at_most("all_are_faster", 10**slowest, 1.0,
                f"Each technique shortens the time: to {10 ** speed['R'][0]:.2f} (R), {10 ** speed['N'][0]:.2f} (N) "
                f"and {10 ** speed['S'][0]:.2f} (S) of it (largest upper end of an interval {{found:.2f}})."),
        at_least("level_reached", (data["time"] < data["censored"]).mean(), 0.85,
                 "{found:.0%} of the runs reach the level."),
        at_least("rectifier_raises_gamma", 10 ** (gamma["R"][0] - gamma["R"][1]), 1.0,
                 f"The rectifier raises gamma, by {10 ** gamma['R'][0]:.2f} (at least {{found:.2f}});"),
        at_most("normalisation_does_less", 10 ** sum(gamma["N"]), 1.6,
                f"batch normalisation makes it {10 ** gamma['N'][0]:.2f} times as large (at most {{found:.2f}};"),
        at_most("from_the_far_end_too", wide, 1.6, f"from the far end {known:.2f}, at most {{found:.2f}})"),
        between("skips_do_less", 10 ** gamma["S"][0], 0.7, 1.4, "and skip connections {found:.2f} times."),
        at_least("linear_is_the_reverse", min(linear["time"], linear["gamma_final"]), 0.0,
                 f"Against linear units the rectifier has {10 ** linear['gamma_final']:.2f} times the gamma and "
                 f"takes {10 ** linear['time']:.2f} times as long (digits are nearly linear)."),
        at_most("normalised_cosines_are_smaller", effect["cosine_far"]["N"][0], -0.01,
                f"Normalisation changes the cosine by {{found:.3f}} +- {effect['cosine_far']['N'][1]:.3f}."),
        at_most("no_correlation_of_cells", abs(rank[0]), 0.6,
                f"Over cells gamma and time have rank correlation {rank[0]:.2f} ({rank[1]:.2f} to {rank[2]:.2f}),"),
        at_most("none_of_seeds", abs(seeds[0]) - seeds[1], 0.0,
                f"inside cells over seeds {seeds[0]:.2f} +- {seeds[1]:.2f};"),
        at_most("but_of_rates", rates[0] + rates[1], 0.0,
                "over the learning rates of the tuning, time and the smallest gamma of an epoch "
                f"{rates[0]:.2f} +- {rates[1]:.2f}."),
        at_most("stuck_nets_have_none", np.median(data["stuck_gamma_far"]) / data["gamma_far"].mean(axis=1).min(), 0.5,
                f"Two layers more and no technique: mean loss {np.median(data['stuck_mean_loss']):.2f}, gamma "
                f"{np.median(data['stuck_gamma_far']):.4f}, {{found:.1%}} of the smallest of the twelve."),
        at_most("never_at_every_step", (data["least_step"] > 0).mean(), 0.05,
                "The principle holds at every step in {found:.0%} of the runs;"),
        between("at_most_steps", data["positive_steps"].mean(), 0.75, 0.98, "in {found:.0%} of the steps,"),
        at_least("at_every_epoch", data["positive_epochs"].mean(), 0.97, "and in {found:.1%} of the epochs."),
        at_most("the_mean_knows_the_time", mean[0], -0.2,
                "The mean gamma of the run, D_0/(2 lr sum of losses) whatever happens, correlates with the time "
                f"({mean[0]:.2f}, {mean[1]:.2f} to {mean[2]:.2f})."),
    ]  # fmt: skip


def _with(**spoilt: Any) -> Any:
    """Replace arrays by functions of all data."""
    return lambda data: data | {name: spoil(data) for name, spoil in spoilt.items()}


_on = np.array(CELLS)[:, 1:] == "True"  # normalised, residual
BROKEN = {
    "all_are_faster": _with(time=lambda data: data["time"] * np.where(_on[:, 1:], 20, 1)),
    "level_reached": _with(time=lambda data: data["time"] + data["censored"]),
    "rectifier_raises_gamma": _with(gamma_final=lambda data: 1 / data["gamma_final"]),
    "normalisation_does_less": _with(gamma_final=lambda data: data["gamma_final"] * np.where(_on[:, :1], 3, 1)),
    "from_the_far_end_too": _with(gamma_far=lambda data: data["gamma_far"] * np.where(_on[:, :1], 3, 1)),
    "skips_do_less": _with(gamma_final=lambda data: data["gamma_final"] * np.where(_on[:, 1:], 3, 1)),
    "linear_is_the_reverse": _with(time=lambda data: data["time"] * np.arange(1, 13)[:, None] ** 3),
    "normalised_cosines_are_smaller": _with(cosine_far=lambda data: data["cosine_far"][::-1]),
    "no_correlation_of_cells": _with(gamma_far=lambda data: 1 / data["time"]),
    "none_of_seeds": _with(gamma_far=lambda data: 1 / data["time"] + 1e-9 * data["gamma_far"]),
    "but_of_rates": _with(grid_least_final=lambda data: data["grid_time"]),
    "stuck_nets_have_none": _with(stuck_gamma_far=lambda data: data["stuck_gamma_far"] * 0 + 1),
    "never_at_every_step": _with(least_step=lambda data: np.abs(data["least_step"])),
    "at_most_steps": _with(positive_steps=lambda data: data["positive_steps"] * 0.5),
    "at_every_epoch": _with(positive_epochs=lambda data: data["positive_epochs"] - 0.1),
    "the_mean_knows_the_time": _with(mean_final=lambda data: data["time"]),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Effects above, cells against the time below."""
    figure = Figure(figsize=(style.TEXT_WIDTH, 4.3))
    above, below = figure.subfigures(2, 1, height_ratios=[1.0, 1.2])
    title = r"$\mathbf{a}$  effects of rectifier (R), batch normalisation (N), skip connections (S) and interactions"
    above.suptitle(title, x=0.01, ha="left", fontsize=8)
    _draw_effects(above.subplots(1, len(RESPONSES), sharey=True), data)
    panels = below.subplots(1, 4)
    for mark, axes, name in zip("bcd", panels, SHOWN, strict=False):
        _draw_cells(axes, data, name, mark)
    _draw_tuning(panels[3], data)
    return figure


def _draw_effects(panels: np.ndarray, data: dict[str, np.ndarray]) -> None:
    rows = np.arange(len(EFFECTS))[::-1]
    for axes, (name, label) in zip(panels, RESPONSES.items(), strict=True):
        mean, half = _effects(data, name)
        clear = np.abs(mean) > half
        for seen, colour in ((clear, style.BLUE), (~clear, style.GREY)):
            axes.errorbar(
                mean[seen], rows[seen], xerr=half[seen], fmt="o", color=colour, markersize=2.5, elinewidth=0.8
            )
        axes.axvline(0, color=style.GREY, linewidth=0.5)
        reach = 1.05 * np.abs(np.concatenate([mean - half, mean + half])).max()
        axes.set(xlabel=label, xlim=(-reach, reach))
        factor = max(f for f in (1.1, 1.2, 1.5, 2, 3, 5) if np.log10(f) < reach or f < 1.2)
        ends = np.log10(factor) if name in FACTORS else float(f"{0.6 * reach:.0e}")
        text = rf"$\div${factor:g}", "1", rf"$\times${factor:g}"
        axes.set_xticks([-ends, 0, ends], text if name in FACTORS else [f"${-ends:g}$", "0", f"{ends:g}"])
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(rows, list(EFFECTS))


def _draw_cells(axes: Axes, data: dict[str, np.ndarray], name: str, mark: str) -> None:
    r, low, high = _between(data, name)
    style.letter(axes, mark, f"${r:.2f}$ (${low:.2f}$, ${high:.2f}$)")
    for number, (activation, normalised, residual) in enumerate(CELLS):
        time, value, colour = np.log(data["time"][number]), data[name][number], COLOURS[activation]
        axes.errorbar(
            np.exp(time.mean()), value.mean(), yerr=value.std(ddof=1),
            xerr=np.exp(time.mean()) * np.abs(np.expm1(np.array([[-1], [1]]) * time.std(ddof=1))),
            fmt="s" if residual else "o", color=colour, markersize=4, elinewidth=0.5,
            markerfacecolor=colour if normalised else "white", markeredgewidth=0.8,
        )  # fmt: skip
    time, value = np.log(data["stuck_time"]), data[f"stuck_{name}"]
    cross: dict[str, Any] = {"fmt": "x", "color": COLOURS["sigmoid"], "elinewidth": 0.5, "markersize": 4}
    axes.errorbar(np.exp(time.mean()), value.mean(), yerr=value.std(ddof=1), **cross)
    axes.set(ylabel=SHOWN[name])
    _times(axes, 1.2 * data["stuck_time"].max())
    if mark == "b":
        colours = [Line2D([], [], color=c, marker="o", linestyle="", label=one) for one, c in COLOURS.items()]
        axes.legend(handles=colours, loc="lower left", handlelength=0.8)
    if mark == "d":
        grey: dict[str, Any] = {"color": style.GREY, "linestyle": "", "markersize": 4}
        keys = [Line2D([], [], marker="o", label="BN", **grey),
                Line2D([], [], marker="o", markerfacecolor="white", label="no BN", **grey),
                Line2D([], [], marker="s", label="skip", **grey)]  # fmt: skip
        axes.legend(handles=keys, loc="upper right", handlelength=0.8)


def _times(axes: Axes, last: float) -> None:
    ticks = [n for n in (30, 100, 300, 1000) if n < last]
    axes.set(xscale="log", xlabel="steps to the level")
    axes.set_xticks(ticks, [f"{n}" for n in ticks])
    axes.minorticks_off()


def _draw_tuning(axes: Axes, data: dict[str, np.ndarray]) -> None:
    r, half = _within(data["grid_time"], data["grid_least_final"])
    style.letter(axes, "e", rf"${r:.2f} \pm {half:.2f}$")
    for (activation, normalised, residual), time, least in zip(
        CELLS, data["grid_time"], data["grid_least_final"], strict=True
    ):
        colour = COLOURS[activation]
        axes.plot(
            time.ravel(), np.maximum(least.ravel(), -1), "s" if residual else "o", color=colour, markersize=2,
            markerfacecolor=colour if normalised else "white", markeredgewidth=0.5,
        )  # fmt: skip
    axes.axhline(0, color=style.GREY, linewidth=0.5)
    axes.set(ylabel=r"smallest $\gamma$ of an epoch")
    _times(axes, 1.2 * data["grid_time"].max())
