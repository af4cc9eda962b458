"""Gradient descent with weight decay never settles on x^2/(x^2+y^2) (analogue of Fig. 1a of Li, Lyu, Arora 2020).

The loss does not depend on the norm, so that weight decay shrinks the weights and the effective lr grows
until the minimum is unstable. The reader should see the iterates come down along the minimum to the circle
where it loses its stability, and be thrown off it again and again (a); the loss rise from nothing to about
the same height each time, the same step by step for equal products lr wd, until weight decay is switched off
(b); the effective lr held at its threshold (c); excursions that shrink with lr wd but do not cease (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, between, near
from sdetheory.dynamics import Piecewise
from sdetheory.observers import EffectiveLR, Loss
from sdetheory.predictions import edge_of_stability, intrinsic_lr

CLAIMS = ("I13", "I25")
CAPTION = """Gradient descent with weight decay on L = x^2/(x^2+y^2). Dashed: where the minimum x = 0 loses
its stability, y^2 = lr/(1 - lr wd). Gradients carry noise of relative size {kick:g}, without which rounding
ends the motion on the minimum for ever. (a) Iterates at lr wd = {shown_products[1]:g}: with weight decay
(blue; grey line: the first steps) and after it was switched off (green, star: the end). (b) Loss and (c) effective lr,
lr/|w|^2, for two products lr wd (circle: predicted arrival at the threshold, from the norm of the start); crosses:
the smaller one made of three other pairs, (4 lr, wd/4, 2w), (16 lr, wd/16, 4w) and (lr/4, 4wd, w/2). Weight decay
is switched off at the dotted line. (d) For each product the largest loss and how far the effective lr goes above
and below its threshold, in the last {kept:g}/(lr wd) steps of {horizon:g}/(lr wd): means over {paths} runs,
whiskers: the whole range."""

PARAMS: dict[str, Any] = {
    "start": [0.6, 0.8],
    "lr": 0.1,
    "kick": 1e-10,
    "shown_products": [1e-3, 1e-2],
    "switch_off": 7.0,
    "shown_until": 9.0,
    "gauges": [2.0, 4.0, 0.5],
    "products": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
    "horizon": 60.0,
    "kept": 40.0,
    "paths": 16,
    "seed": 1,
}
QUICK = PARAMS | {"products": [1e-3, 1e-2, 1e-1], "paths": 8}

COLOURS = (style.BLUE, style.VERMILION)
OPEN: dict[str, Any] = {"markerfacecolor": "none", "markeredgewidth": 0.9, "zorder": 6}
EXCURSION = 1e-2
LINEAR = (1e-14, 1e-6)  # losses above the noise, and small enough for the linearised step


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """The shown runs, their gauge copies, statistics of long runs, and a run without noise."""
    data = {f"shown_{n}_{name}": value for n in range(2) for name, value in _shown(params, n, 1.0).items()}
    copies = [_shown(params, 0, scale) for scale in params["gauges"]]
    data |= {f"gauge_{name}": np.array([copy[name] for copy in copies]) for name in ("loss", "effective_lr")}
    long = [_long(params, params["lr"], product) for product in params["products"]]
    data |= {name: np.array([run[name] for run in long]) for name in long[0]}
    product = params["shown_products"][0]
    data["same_start_excursions"] = _long(params, params["lr"] / 10, product)["excursions"]
    rates = {"lr": params["lr"], "weight_decay": product / params["lr"]}
    silent = _run(params, st.SGD(**rates), np.array(params["start"]), int(30 / product), kick=0.0)
    data["silent_loss"] = silent["loss"][0, -1]
    data["threshold"] = np.array([_threshold(params["lr"], product) for product in params["shown_products"]])
    data["arrival"] = np.array([_arrival(params, product) for product in params["shown_products"]])
    return {name: np.asarray(value) for name, value in data.items()} | {
        name: np.asarray(params[name]) for name in ("products", "shown_products", "switch_off", "shown_until")
    }


def _threshold(lr: float, product: float) -> float:
    """Effective lr at the predicted threshold."""
    square = intrinsic_lr.circle_threshold(lr=lr, weight_decay=product / lr, height=1.0)
    return float(intrinsic_lr.effective_lr(lr=lr, squared_norm=square))


def _arrival(params: dict[str, Any], product: float) -> float:
    """Predicted steps to the threshold, from the norm of the start, times lr wd."""
    rates = {"lr": params["lr"], "weight_decay": product / params["lr"]}
    square = float(np.sum(np.square(params["start"])))
    return product * edge_of_stability.steps_to_threshold(height=1.0, squared_norm0=square, **rates)


def _run(params: dict[str, Any], rule: Any, start: np.ndarray, steps: int, *, kick: float, **more: Any) -> Any:
    """Every step of a run: loss and effective lr."""
    circle, lr = st.Circle(1.0), float(rule.lr)
    return st.simulate(
        circle, rule, start, np.arange(steps + 1), noise=st.Isotropic(kick), seed=params["seed"],
        observe={"loss": Loss(circle), "effective_lr": EffectiveLR(lr)}, **more,
    )  # fmt: skip


def _shown(params: dict[str, Any], number: int, scale: float) -> dict[str, np.ndarray]:
    """Weight decay on, then off; lr scale^2, wd/scale^2 and start times scale."""
    product, lr = params["shown_products"][number], params["lr"] * scale**2
    off, steps = (int(params[name] / product) for name in ("switch_off", "shown_until"))
    decay = Piecewise((product / params["lr"] / scale**2, 0.0), (off,))
    start = np.array(params["start"]) * scale
    run = _run(params, st.SGD(lr, decay), start, steps, kick=params["kick"], keep_states=True)
    path = run.states[0] / np.sqrt(lr) if number == 1 else np.empty((0, 2))
    return {"loss": run["loss"][0], "effective_lr": run["effective_lr"][0], "path": path}


def _long(params: dict[str, Any], lr: float, product: float) -> dict[str, np.ndarray]:
    """Statistics (paths,) of long runs, the first part left out."""
    steps = int(params["horizon"] / product)
    start = np.tile(params["start"], (params["paths"], 1))
    run = _run(params, st.SGD(lr, product / lr), start, steps, kick=params["kick"])
    first = steps - int(params["kept"] / product)
    loss, effective = run["loss"][:, first:], run["effective_lr"][:, first:]
    high, threshold = loss > EXCURSION, _threshold(lr, product)
    small = (loss[:, :-1] > LINEAR[0]) & (loss[:, :-1] < LINEAR[1])
    agree = (loss[:, 1:] > loss[:, :-1]) == (effective[:, :-1] > threshold)
    return {
        "largest_loss": loss.max(axis=1),
        "last_loss": loss[:, -loss.shape[1] // 10 :].max(axis=1),
        "lowest": effective.min(axis=1),
        "highest": effective.max(axis=1),
        "excursions": np.sum(high[:, 1:] & ~high[:, :-1], axis=1),
        "long_threshold": np.full(len(loss), threshold),
        "grow_above_threshold": np.sum(agree & small, axis=1) / np.maximum(small.sum(axis=1), 1),
    }


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    slow, fast = (int(np.flatnonzero(np.isclose(data["products"], p))[0]) for p in (1e-3, 1e-2))
    gauge = np.abs(data["gauge_loss"] - data["shown_0_loss"]).max()
    count = data["excursions"].mean(axis=1)
    after = data["shown_0_loss"][data["shown_0_loss"].size // 40 * -5 :]
    few = data["products"] <= 0.011
    slope = np.polyfit(np.log(data["products"][few]), np.log(data["largest_loss"][few].mean(axis=1)), 1)[0]
    arrival = [
        np.argmax(data[f"shown_{n}_effective_lr"] > data["threshold"][n]) * data["shown_products"][n] for n in (0, 1)
    ]
    return [
        at_most("threshold_reached_when_predicted", np.abs(arrival / data["arrival"] - 1).max(), 0.03,
                "The effective lr reaches the threshold within {found:.1%} of the predicted number of steps (circle)."),
        at_least("never_settles", data["last_loss"].min(), 1e-3,
                 "In the last tenth of every run the loss still reaches {found:.1e}."),
        at_least("grows_above_the_threshold", data["grow_above_threshold"][[slow, fast]].min(), 0.995,
                 "Between 1e-14 and 1e-6 the loss grows just when the effective lr is above the dashed line "
                 "({found:.2%} of the steps)."),
        near("largest_loss_slow", data["largest_loss"][slow].mean(), 0.021, 0.006,
             "At lr wd = 1e-3 the loss reaches {found:.3f},"),
        near("excursions_slow", count[slow], 192, 29,
             "exceeds 0.01 {found:.0f} times in 40/(lr wd) steps ({expected:.0f} if |x| is kept above 1e-10 |y| "
             "instead of the noise),"),
        between("lowest_slow", data["lowest"][slow].mean(), 0.79, 0.87,
                "and the effective lr stays above {found:.2f}"),
        between("highest_slow", data["highest"][slow].mean(), 1.17, 1.27, "and below {found:.2f};"),
        near("largest_loss_fast", data["largest_loss"][fast].mean(), 0.206, 0.06,
             "at 1e-2 the loss reaches {found:.2f}, exceeds 0.01"),
        near("excursions_fast", count[fast], 61, 10, "{found:.0f} times,"),
        between("highest_fast", data["highest"][fast].mean(), 1.7, 2.2, "and the effective lr reaches {found:.2f}."),
        near("largest_loss_shrinks_like_the_product", slope, 1.0, 0.2,
             "Up to there the largest loss grows like the power {found:.2f} of lr wd."),
        at_most("equal_products_are_one_curve", gauge, 1e-12,
                "The four pairs of equal product differ by {found:.0g} in loss at every step;"),
        near("equal_products_from_the_same_start", data["same_start_excursions"].mean() / count[slow], 1.0, 0.06,
             "with a tenth of lr from the same start the number of excursions is {found:.2f} times as large."),
        at_most("settles_without_weight_decay", after.max(), 1e-15,
                "Without weight decay the loss falls to {found:.0e} and stays."),
        at_most("rounding_would_end_it", data["silent_loss"], 0.0,
                "Without noise, x is rounded to zero: the loss ends at exactly {found:g}."),
    ]  # fmt: skip


def _scaled(name: str, factor: float) -> Any:
    return lambda data: data | {name: data[name] * factor}


BROKEN = {
    "threshold_reached_when_predicted": _scaled("arrival", 1.1),
    "never_settles": _scaled("last_loss", 1e-4),
    "grows_above_the_threshold": _scaled("grow_above_threshold", 0.98),
    "largest_loss_slow": _scaled("largest_loss", 2.0),
    "excursions_slow": _scaled("excursions", 0.6),
    "lowest_slow": _scaled("lowest", 1.2),
    "highest_slow": _scaled("highest", 1.2),
    "largest_loss_fast": _scaled("largest_loss", 2.0),
    "excursions_fast": _scaled("excursions", 0.7),
    "highest_fast": _scaled("highest", 1.4),
    "largest_loss_shrinks_like_the_product": lambda data: data | {"largest_loss": np.sqrt(data["largest_loss"])},
    "equal_products_are_one_curve": lambda data: data | {"gauge_loss": np.roll(data["gauge_loss"], 1, axis=1)},
    "equal_products_from_the_same_start": _scaled("same_start_excursions", 1.2),
    "settles_without_weight_decay": lambda data: (
        data | {"shown_0_loss": np.roll(data["shown_0_loss"], data["shown_0_loss"].size // 3)}
    ),
    "rounding_would_end_it": lambda data: data | {"silent_loss": data["silent_loss"] + 1e-3},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """The plane, loss, effective lr, and how excursions depend on lr wd."""
    figure, ((plane, loss), (rate, scan)) = style.page(2, 2, 4.4)
    _draw_plane(plane, data)
    _draw_loss(loss, data)
    _draw_rate(rate, data)
    _draw_scan(scan, data)
    return figure


def _draw_plane(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", rf"iterates, $\eta\lambda={style.power(data['shown_products'][1])}$")
    path = data["shown_1_path"]
    off = int(data["switch_off"] / data["shown_products"][1])
    axes.plot(*path[:60].T, color=style.GREY, linewidth=0.6, zorder=1)
    axes.plot(*path[:off].T, "o", color=style.BLUE, markersize=1.6, markeredgewidth=0)
    axes.plot(*path[off:].T, "o", color=style.GREEN, markersize=2.2, markeredgewidth=0, zorder=4)
    axes.plot(*path[0], "o", color=style.BLACK, markersize=3)
    axes.annotate("start", path[0], (4, -1), textcoords="offset points", fontsize=6.5)
    angle, radius = np.linspace(-0.75, 0.95, 200), 1 / np.sqrt(data["threshold"][1])
    axes.plot(radius * np.sin(angle), radius * np.cos(angle), **style.PREDICTED)
    axes.plot(*path[-1], "*", color=style.GREEN, markersize=8, markeredgecolor="white", markeredgewidth=0.5,
              zorder=6)  # fmt: skip
    axes.annotate("end, without weight decay", path[-1], (14, 12), textcoords="offset points", fontsize=6.5,
                  color=style.GREEN)  # fmt: skip
    axes.set(xlabel=r"$x/\sqrt{\eta}$", ylabel=r"$y/\sqrt{\eta}$")


def _time(data: dict[str, np.ndarray], number: int) -> np.ndarray:
    return np.arange(data[f"shown_{number}_loss"].size) * data["shown_products"][number]


def _keys(data: dict[str, np.ndarray]) -> list[Line2D]:
    return [
        Line2D([], [], color=colour, linewidth=2, label=rf"$\eta\lambda={style.power(product)}$")
        for colour, product in zip(COLOURS, data["shown_products"], strict=True)
    ]


def _copies(axes: Axes, data: dict[str, np.ndarray], name: str) -> None:
    """The gauge copies as crosses that take turns."""
    time, rows = _time(data, 0), data[f"gauge_{name}"]
    for number, row in enumerate(rows):
        every = slice(40 + 80 * number, None, 80 * len(rows))
        axes.plot(time[every], row[every], "x", color=style.BLACK, markersize=2.5, markeredgewidth=0.5, zorder=4)


def _draw_loss(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "loss")
    for number in (1, 0):
        time, loss = _time(data, number), data[f"shown_{number}_loss"]
        axes.plot(time, loss, color=COLOURS[number], linewidth=0.7, zorder=2 + number)
    _copies(axes, data, "loss")
    axes.axvline(float(data["switch_off"]), ymax=0.88, color=style.GREY, linestyle=":", linewidth=0.9)
    axes.set(yscale="log", ylim=(1e-22, 1e4), xlabel=r"$t\,\eta\lambda$", ylabel=r"$L$", xlim=(0, data["shown_until"]))
    keys = [*_keys(data), Line2D([], [], color=style.BLACK, marker="x", linestyle="", markersize=2.5,
                                 markeredgewidth=0.5, label="equal product")]  # fmt: skip
    axes.legend(handles=keys, loc="upper center", ncols=3)


def _draw_rate(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "effective learning rate")
    for number in (1, 0):
        axes.plot(_time(data, number), data[f"shown_{number}_effective_lr"], color=COLOURS[number],
                  linewidth=0.7, zorder=2 + number)  # fmt: skip
    _copies(axes, data, "effective_lr")
    axes.axhline(data["threshold"].mean(), **style.PREDICTED)
    axes.axvline(float(data["switch_off"]), ymax=0.88, color=style.GREY, linestyle=":", linewidth=0.9)
    axes.set(xlabel=r"$t\,\eta\lambda$", ylabel=r"$\eta/\|w\|^2$", xlim=(0, data["shown_until"]), ylim=(0, 2.5))
    axes.plot(data["arrival"], data["threshold"], "o", color=style.BLACK, markersize=5, **OPEN)
    keys = [Line2D([], [], label="threshold", **style.PREDICTED)]
    keys.append(Line2D([], [], color=style.BLACK, marker="o", linestyle="", markersize=5, label="arrival", **OPEN))
    keys.append(Line2D([], [], color=style.GREY, linestyle=":", linewidth=0.9, label="weight decay off"))
    axes.legend(handles=keys, loc="upper left", ncols=3, columnspacing=1.0)


def _draw_scan(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "size of the excursions")
    rows = {
        "largest loss": (data["largest_loss"], "o", style.PURPLE),
        r"highest $\eta_e$ over threshold, $-1$": (data["highest"] / data["long_threshold"] - 1, "^", style.ORANGE),
        r"$1-$ lowest $\eta_e$ over threshold": (1 - data["lowest"] / data["long_threshold"], "v", style.GREEN),
    }
    for label, (values, symbol, colour) in rows.items():
        mean = values.mean(axis=1)
        spread = np.abs(np.stack([values.min(axis=1), values.max(axis=1)]) - mean)
        axes.errorbar(data["products"], mean, spread, fmt=symbol + "-", color=colour, label=label, linewidth=0.7,
                      markerfacecolor="white", markeredgewidth=0.7, capsize=1.5)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta\lambda$", ylabel="size")
    axes.legend(loc="upper left")
    axes.set_ylim(top=100)
