"""Three shipped scans: iso-lines of lr wd, half-life of the imbalance, time to forget the start (`sdetheory scan`).

The reader should see that the effective learning rate at equilibrium has the iso-lines of the product lr wd (a) and
collapses on its square root (b); that the half-life of the imbalance of chains under label noise, in the clock of the
noise, depends on depth as the limiting flow says, with corrections of second order in the noise (c); and that nets on
digits forget the norm of their start when the law of the norm says, their function in a time that grows alike (d).
"""

import tempfile
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most
from sdetheory import scan
from sdetheory.scan import examples
from sdetheory.scan.report import Report, troubles

CLAIMS = ("I16", "I18", "I23", "D54")
CAPTION = """The scans `sdetheory scan effective_lr`, `imbalance_half_life` and `fast_equilibrium`; every point carries
its prediction. (a) Effective learning rate lr/|w|^2 of SGD on batches of a Rayleigh quotient at equilibrium: lines of
equal value, measured (white) and predicted (dashed). (b) The same against lr wd, colours by lr; dashed: square root.
(c) Half-life of the imbalance of chains of scalar layers under label noise, in units of 1/(2 lr noise)^2 steps, by
depth, and the limiting flow with the factor 1/(1 - lr S) (dashed); bars: two standard errors. (d) Memory of the start
of nets on digits, from a norm near equilibrium (open) and from 1.5 times it (filled): squares, squared distance of
the laws of labels of nets that start from one fitted net and from random ones, summed over steps (times 20); circles,
steps until gamma is twice its equilibrium, and by its law with the gradients these nets had (dashed); grey: slopes
-1. Bars: two standard errors, {seeds} seeds of {nets} nets."""

PARAMS: dict[str, Any] = {
    "lr": [0.01, 1, 9],
    "weight_decay": [0.01, 0.316227766017, 7],
    "depth": [2, 3, 4, 6],
    "noise": [0.1, 0.4, 5],
    "paths": 256,
    "product": [2e-3, 8e-3, 3],
    "start_norm": [1.0, 1.5],
    "nets": 96,
    "seeds": 2,
}
QUICK = PARAMS | {
    "lr": [0.01, 1, 5], "weight_decay": [0.01, 0.316227766017, 4], "depth": [2, 4], "noise": [0.2, 0.4, 3],
    "product": [3e-3, 9e-3, 2], "nets": 48, "seeds": 1,
}  # fmt: skip

COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE)
SYMBOLS = "os^D"


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Means, standard errors and predictions of the three scans."""
    lr, weight_decay = scan.log(*params["lr"]), scan.log(*params["weight_decay"])
    first = _run("effective_lr", {"lr": lr, "weight_decay": weight_decay})
    noise, depth = scan.log(*params["noise"]), scan.values(params["depth"])
    second = _run("imbalance_half_life", {"depth": depth, "noise": noise}, paths=params["paths"])
    product, starts = scan.log(*params["product"]), scan.values(params["start_norm"])
    known = {"seeds": params["seeds"], "nets": params["nets"]}
    third = _run("fast_equilibrium", {"start_norm": starts, "product": product}, **known)
    return {
        "lr": np.array(lr.values), "weight_decay": np.array(weight_decay.values),
        "depth": np.array(params["depth"]), "noise": np.array(noise.values),
        **_arrays(first, "effective_lr", (len(lr.values), -1)),
        **_arrays(second, "slow_half_life", (len(params["depth"]), -1)),
        "product": np.array(product.values), "start_norm": np.array(params["start_norm"]),
        **_arrays(third, "norm_time", (len(starts.values), -1)),
        **_arrays(third, "function_memory", (len(starts.values), -1)),
    }  # fmt: skip


def _run(name: str, axes: dict[str, Any], seeds: int = 1, **parameters: Any) -> Report:
    """The shipped scan on these axes, in this process."""
    shipped = scan.Scan.from_toml(examples.path(name))
    mine = scan.Scan(shipped.experiment, {**shipped.parameters, **parameters}, axes, seeds=seeds, name=shipped.name)
    with tempfile.TemporaryDirectory() as folder:
        scan.run(mine.points(), folder, description={"toml": mine.to_toml()}, serial=True, progress=False)
        found = scan.open_report(folder)
    if trouble := troubles(found):
        raise RuntimeError(trouble)
    return found


def _arrays(found: Report, name: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Mean, standard error, prediction, and whether the verdict is agreement, on the grid."""
    rows = [group.found(name) for group in found.groups]
    columns = {
        name: [np.nan if one is None else one.mean for one in rows],
        f"{name}_error": [np.nan if one is None else one.standard_error or 0.0 for one in rows],
        f"{name}_law": [np.nan if one is None or one.predicted is None else one.predicted for one in rows],
        f"{name}_agrees": [float(one is not None and one.verdict == "agrees") for one in rows],
    }
    return {key: np.array(column, dtype=float).reshape(shape) for key, column in columns.items()}


def _power(data: dict[str, np.ndarray], start: int) -> tuple[float, float]:
    """p of the memory ~ (lr wd)^-p from one norm of the start: least squares in logarithms; its standard error."""
    x, memory = np.log(data["product"]), data["function_memory"][start]
    x, relative = x - x.mean(), data["function_memory_error"][start] / memory
    return -float(x @ np.log(memory) / (x @ x)), float(np.sqrt(((x * relative) ** 2).sum()) / (x @ x))


def _same_product(data: dict[str, np.ndarray]) -> float:
    """Largest relative difference of effective learning rates whose products lr wd are equal."""
    product = np.round(np.log10(np.outer(data["lr"], data["weight_decay"])), 6)
    groups = [data["effective_lr"][product == value] for value in np.unique(product)]
    return float(max(values.max() / values.min() - 1 for values in groups))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    ratio = data["effective_lr"] / data["effective_lr_law"]
    slow = data["slow_half_life"] / data["slow_half_life_law"]
    norm = (data["norm_time"] / data["norm_time_law"])[1]
    span = data["effective_lr"].max() / data["effective_lr"].min()
    (near, near_error), (large, large_error) = _power(data, 0), _power(data, 1)
    least = slow[:, 0] - 1
    return [
        at_most("follows_the_law", np.abs(ratio - 1).max(), 0.15,
                "(a, b) Measured and predicted differ by {found:.1%} or less, most where lr wd = "
                f"{np.outer(data['lr'], data['weight_decay']).max():.2g};"),
        at_most("iso_lines", _same_product(data), 0.04,
                f"over a range of a factor {span:.0f}, points of equal product differ by {{found:.1%}} or less."),
        at_least("verdicts", data["effective_lr_agrees"].mean(), 1.0,
                 f"The verdict is agreement at {{found:.0%}} of {ratio.size} points."),
        at_most("half_life", np.abs(slow - 1).max(), 0.03,
                "(c) Half-lives are within {found:.1%} of the prediction,"),
        at_most("small_noise", np.abs(least).max(), 0.012, "at the smallest noise within {found:.1%};"),
        at_least("depth_counts", np.ptp(data["slow_half_life_law"][:, 0]) / data["slow_half_life"][:, 0].min(), 0.1,
                 "the longest is {found:.0%} longer than the shortest."),
        at_most("norm_clock", np.abs(norm - 1).max(), 0.03,
                "(d) The norm is forgotten within {found:.1%} of the time of its law,"),
        at_most("function_power", max(abs(near - 1) / near_error, abs(large - 1) / large_error), 3.0,
                f"the function in (lr wd)^-p steps, p = {near:.2f} +- {near_error:.2f} from near the equilibrium's norm"
                f" and {large:.2f} +- {large_error:.2f} from 1.5 times it (at most {{found:.1f}} standard errors from"
                " 1),"),
        at_least("large_norms_remember", (data["function_memory"][1] / data["function_memory"][0]).min(), 1.2,
                 "at least {found:.1f} times later."),
    ]  # fmt: skip


def _scaled(name: str, by: Any) -> Any:
    return lambda data: data | {name: data[name] * by}


def _tilted(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An effective learning rate that also depends on lr at equal product."""
    return data | {"effective_lr": data["effective_lr"] * data["lr"][:, None] ** 0.05}


BROKEN = {
    "follows_the_law": _scaled("effective_lr_law", 1.2),
    "iso_lines": _tilted,
    "verdicts": _scaled("effective_lr_agrees", 0.98),
    "half_life": _scaled("slow_half_life", 1.05),
    "small_noise": _scaled("slow_half_life", 1.02),
    "depth_counts": lambda data: data | {"slow_half_life_law": 0 * data["slow_half_life_law"] + 0.7},
    "norm_clock": _scaled("norm_time", 1.05),
    "function_power": lambda data: data | {
        name: data[name] * data["product"] ** (10 * _power(data, 1)[1])
        for name in ("function_memory", "function_memory_error")
    },
    "large_norms_remember": lambda data: data | {"function_memory": data["function_memory"][::-1]},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Map, collapse, half-lives, clocks."""
    figure, ((plane, collapse), (half, clocks)) = style.page(2, 2, 4.4)
    _draw_map(plane, data)
    _draw_collapse(collapse, data)
    _draw_half_lives(half, data)
    _draw_clocks(clocks, data)
    return figure


def _edges(ticks: np.ndarray) -> np.ndarray:
    """Borders of cells, half way in logarithms."""
    t = np.log(ticks)
    middle = (t[1:] + t[:-1]) / 2
    return np.exp(np.concatenate([[2 * t[0] - middle[0]], middle, [2 * t[-1] - middle[-1]]]))


def _draw_map(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", r"effective learning rate $\eta/\|w\|^2$")
    values, where = data["effective_lr"].T, (data["lr"], data["weight_decay"])
    norm = LogNorm(values.min(), values.max())
    mesh = axes.pcolormesh(*map(_edges, where), values, norm=norm, cmap="cividis", rasterized=True)
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta$", ylabel=r"$\lambda$")
    levels = np.log(np.geomspace(values.min(), values.max(), 7)[1:-1])
    axes.contour(*where, np.log(values), levels=levels, colors="white", linewidths=1.6)
    look = {"colors": "black", "linewidths": 0.9, "linestyles": [(0, (4, 2))]}
    axes.contour(*where, np.log(data["effective_lr_law"].T), levels=levels, **look)
    figure = axes.figure
    figure.colorbar(mesh, ax=axes, pad=0.02, aspect=25).outline.set_linewidth(0.5)


def _draw_collapse(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "the same against the product")
    product = np.outer(data["lr"], data["weight_decay"])
    shades = np.linspace(0.0, 1.0, len(data["lr"]))
    for row, lr, shade in zip(data["effective_lr"], data["lr"], shades, strict=True):
        ends = lr in (data["lr"][0], data["lr"][-1])
        axes.plot(lr * data["weight_decay"], row, "o", color=style.BLUE, alpha=float(0.25 + 0.75 * shade),
                  markersize=3.2, label=rf"$\eta={lr:g}$" if ends else None)  # fmt: skip
    order = np.argsort(product, axis=None)
    axes.plot(product.ravel()[order], data["effective_lr_law"].ravel()[order], label="prediction", **style.PREDICTED)
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta\lambda$", ylabel=r"$\eta/\|w\|^2$")
    axes.legend(loc="upper left")


def _draw_half_lives(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "half-life of the imbalance, label noise")
    for depth, values, errors, laws, colour, symbol in zip(
        data["depth"], data["slow_half_life"], data["slow_half_life_error"], data["slow_half_life_law"], COLOURS,
        SYMBOLS, strict=False,
    ):  # fmt: skip
        axes.errorbar(data["noise"], values, 2 * errors, color=colour, marker=symbol, markersize=3.2, linestyle="",
                      elinewidth=0.8, label=f"{depth:g} layers")  # fmt: skip
        axes.plot(data["noise"], laws, **{**style.PREDICTED, "color": colour})
    low, high = data["slow_half_life"].min(), data["slow_half_life"].max()
    axes.set(xscale="log", xlabel=r"spread $\sigma$ of the label noise", ylabel=r"half-life $\times\,(2\eta\sigma)^2$",
             ylim=(low - 0.05, high + 0.09))  # fmt: skip
    ticks = [t for t in (0.1, 0.2, 0.3, 0.4) if t >= 0.99 * data["noise"][0]]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.xaxis.set_minor_formatter("")
    axes.legend(loc="upper left", ncols=2)


def _draw_clocks(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "nets on digits forget their start")
    product, faces = data["product"], ("white", None)
    looks = (("norm_time", 1.0, style.BLUE, "o", "norm"), ("function_memory", 20.0, style.VERMILION, "s", "function"))
    for name, factor, colour, symbol, label in looks:
        for start, face in enumerate(faces):
            values, errors = factor * data[name][start], 2 * factor * data[f"{name}_error"][start]
            look = {"color": colour, "marker": symbol, "markersize": 3.8, "linestyle": "", "elinewidth": 0.8}
            look |= {"markerfacecolor": face or colour, "label": None if face else label}
            axes.errorbar(product, values, errors, **look)
            if name == "function_memory":
                middle = np.exp(np.log(values * product).mean())
                axes.plot(product, middle / product, color=style.GREY, linewidth=0.8, linestyle=":")
    axes.plot(product, data["norm_time_law"][1], **style.PREDICTED)
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta\lambda$", ylabel="steps")
    ticks = [t for t in (2e-3, 4e-3, 8e-3, 1.6e-2) if 0.95 * data["product"][0] <= t <= 1.05 * data["product"][-1]]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    low, high = axes.get_ylim()
    steps = [t for t in (10, 20, 50, 100, 200, 500) if low <= t <= high]
    axes.set_yticks(steps, [f"{t:g}" for t in steps])
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_minor_formatter("")
    keys = axes.get_legend_handles_labels()[0]
    keys += [Line2D([], [], label="prediction", **style.PREDICTED),
             Line2D([], [], color=style.GREY, linewidth=0.8, linestyle=":", label="slope $-1$")]  # fmt: skip
    axes.legend(handles=keys, loc="lower left")
