"""Gradient descent with weight decay at the edge of stability drifts to flat minima (after Lyu, Li, Arora 2022).

The minimisers of L = (m + A c) z^2/(2|w|^2), c = x/sqrt(x^2+y^2), are the equator z = 0, of sharpness m + A c.
Weight decay takes effective lr x sharpness to 2, where z flips its sign at every step and pushes the weights
along the equator. The reader should see the longitude follow one curve in slow time for every lr wd (a);
effective lr x sharpness come to 2 when predicted and swing around it (b), the oscillation around its predicted
size (c); how fast the paths tend to the flow, which depends on the start, and that one clock puts all starts
right (d); and the effective lr as that of RMSprop with memory 1 - 4 lr wd (e, f).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.integrate import solve_ivp

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_most, between
from figures.press.measured import rmsprop_form
from sdetheory.predictions import edge_of_stability, intrinsic_lr

CLAIMS = ("I52", "I53")
CAPTION = """Descent with weight decay on L = (m + A c) z^2/(2|w|^2), c the cosine of the longitude; dashed:
predictions; slow time: lr wd x steps. (a) Longitude from starts at the edge (symbols), losses (m, A) = {losses},
the last in {dimension} dimensions. (b) Discrete effective lr x sharpness from {below:g}, below the edge (m = 2,
A = 1; noise of relative size {kick:g} keeps z from being rounded to 0); dotted: predicted arrival at 2. (c) Square
x^2 of the oscillation over 2 lr wd/(4 + |grad ln lambda_1|^2), starts at the edge with {swing:g} times the
predicted amplitude; dashed: the averaged equations v' = 4 (1 - rho), rho' = 2 v rho of the ratio rho in
t sqrt(lr wd). (d) Largest distance of the longitude to the flow in slow time up to {horizon:g}, mean over {starts}
starts of each loss: at the edge with the predicted amplitude, with {swing:g} times that, and from effective lr x
sharpness = {off:g}; crosses: the same paths at the time tau + ln(P_0/P)/2 on the flow, P = effective lr x
sharpness; dashed: powers 1 and 1/2. (e) The effective lr of a path like those of (b), lr wd = {shown:g}, and sqrt(2
lr wd/M), M the average of |gradient|^2 on the sphere with memory 1 - 4 lr wd; (f) largest relative distance of the
two, for descent and for SGD on quadratic forms with noisy matrices; dashed: proportional to lr wd."""

PARAMS: dict[str, Any] = {
    "lr": 0.1,
    "losses": [[2.0, 1.0], [1.0, 0.9], [2.0, 0.5]],
    "dimension": 6,
    "longitudes": [0.3, 0.5, 0.8, 1.2, 1.5],
    "starts": 5,
    "products": [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
    "path_products": [3e-4, 3e-3],
    "swing_products": [1e-4, 1e-3, 1e-2],
    "below": 1.2,
    "kick": 1e-9,
    "swing": 2.0,
    "off": 2.5,
    "horizon": 3.0,
    "path_horizon": 8.0,
    "swing_shown": 7.0,
    "shown": 1e-3,
    "matrix_noise": 0.5,
    "sgd_paths": 16,
    "seed": 5,
}
QUICK = PARAMS | {"products": [1e-4, 1e-3, 1e-2], "swing_products": [3e-4, 1e-3, 1e-2], "sgd_paths": 8}

COLOURS = (style.BLUE, style.VERMILION, style.GREEN)
SYMBOLS = ("o", "s", "^")
KINDS = ("edge", "swing", "off")
KIND_LABELS = ("right start", "amplitude doubled", "effective lr off")
RMS = ("rms_descent", "rms_sgd")
OPEN: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 0.7, "markersize": 3, "zorder": 4}
DENSE = 300


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Paths for every loss, swings below and at the edge, distances to the flow, and the RMSprop form."""
    data = {"losses": np.array(params["losses"]), "products": np.array(params["products"])}
    for number, _ in enumerate(params["losses"]):
        data |= {f"path_{number}_{name}": value for name, value in _paths(params, number).items()}
    for number, product in enumerate(params["swing_products"]):
        below = _run(params, 0, product, [0.8], edge_product=params["below"], kick=params["kick"], steps=True)
        data |= {f"below_{number}_{name}": below[name] for name in ("time", "edge")}
        swing = _run(params, 0, product, [0.8], swing=params["swing"], steps=True)
        data |= {f"swing_{number}_{name}": swing[name] for name in ("time", "ratio")}
    data |= _swing(params)
    starts = {"edge": {}, "swing": {"swing": params["swing"]}, "off": {"edge_product": params["off"]}}
    for kind, start in starts.items():
        found = [_distances(params, product, start) for product in params["products"]]
        data |= {f"{kind}_{name}": np.array([row[name] for row in found]) for name in found[0]}
    data["arrival"] = edge_of_stability.sharpness_clock(
        slow_time=0.0, edge_product0=2.0, edge_product=params["below"]
    )
    data |= _rmsprop(params)
    names = ("swing_products", "path_products", "shown", "swing", "off", "below", "horizon", "path_horizon")
    return {name: np.asarray(value) for name, value in data.items()} | {n: np.asarray(params[n]) for n in names}


def _loss(params: dict[str, Any], number: int) -> tuple[Any, int]:
    """The loss of this number and its dimension."""
    return st.Equator(*params["losses"][number]), params["dimension"] if number == 2 else 3


def _start(model: Any, d: int, longitudes: Any, lr: float, weight_decay: float, **start: float) -> np.ndarray:
    """States (longitudes, d) above the equator; beyond three dimensions in a plane in general position."""
    side = np.zeros(d)
    side[1:-1] = 1 / np.sqrt(d - 2)
    zeta = np.cos(longitudes)[:, None] * np.eye(d)[0] + np.sin(longitudes)[:, None] * side
    slope = np.sum(model.log_slope(zeta) ** 2, axis=-1)
    return st.edge_start(
        zeta, np.eye(d)[-1], sharpness=model.sharpness(zeta), log_slope_square=slope, lr=lr,
        weight_decay=weight_decay, **start,
    )  # fmt: skip


def _run(
    params: dict[str, Any], number: int, product: float, longitudes: Any, *, kick: float = 0.0, steps: bool = False,
    horizon: float | None = None, **start: float,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Longitude, effective lr x sharpness and x^2 over its prediction, (starts, times).

    Of snapshots, and means over the snapshot and the step after it; `steps`: at about 2000 steps, not DENSE.
    """
    (model, d), rates = _loss(params, number), {"lr": params["lr"], "weight_decay": product / params["lr"]}
    count = 2000 if steps else DENSE
    at = np.unique(np.rint(np.linspace(0, horizon or params["horizon"], count + 1) / product).astype(int))
    ts = np.unique(np.concatenate([at, at + 1]))
    run = st.simulate(
        model, st.SGD(**rates), _start(model, d, np.asarray(longitudes), **rates, **start), ts,
        noise=st.Isotropic(kick), seed=params["seed"], keep_states=True,
    )  # fmt: skip
    u, size = run.states[..., :-1], np.sum(run.states**2, axis=-1)
    longitude = np.arctan2(np.linalg.norm(u[..., 1:], axis=-1), u[..., 0])
    edge = intrinsic_lr.direction_lr(squared_norm=size, **rates) * model.sharpness(run.states)
    slope = np.sum(model.log_slope(run.states) ** 2, axis=-1)
    square = run.states[..., -1] ** 2 / size
    ratio = square / edge_of_stability.edge_oscillation(log_slope_square=slope, **rates)
    first = np.searchsorted(ts, at)
    mean = {name: (x[:, first] + x[:, first + 1]) / 2 for name, x in (("mean", longitude), ("ratio", ratio))}
    return {"time": at * product, "longitude": longitude[:, first], "edge": edge[:, first], **mean}


def _swing(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """x^2 over its prediction, rho, by the averaged equations in s = t sqrt(lr wd): v' = 4 (1 - rho), rho' = 2 v rho.

    v sqrt(lr wd) is the distance of effective lr x sharpness to 2.
    """
    times = np.linspace(0, params["swing_shown"], 600)
    rate = lambda _, at: [4 * (1 - np.exp(at[1])), 2 * at[0]]
    start = [0.0, 2 * np.log(params["swing"])]
    solved = solve_ivp(rate, (0, times[-1]), start, t_eval=times, method="DOP853", rtol=1e-10)
    return {"swing_times": times, "swing_predicted": np.exp(solved.y[1])}


def _paths(params: dict[str, Any], number: int) -> dict[str, np.ndarray]:
    """Longitudes for each product lr wd, and the flow."""
    longitudes, (model, _) = params["longitudes"][::2], _loss(params, number)
    horizon = params["path_horizon"]
    runs = [_run(params, number, product, longitudes, horizon=horizon) for product in params["path_products"]]
    time = runs[0]["time"]
    found = {"time": time, "flow": np.array([st.equator_longitude(model, a, time) for a in longitudes])}
    rows = [[np.interp(time, run["time"], row) for row in run["longitude"]] for run in runs]
    return found | {"longitude": np.array(rows)}


def _distances(params: dict[str, Any], product: float, start: dict[str, float]) -> dict[str, np.ndarray]:
    """Largest distance to the flow, every loss and start: snapshots, two-step means, and by the clock."""
    rows = []
    for number in range(len(params["losses"])):
        model, _ = _loss(params, number)
        run = _run(params, number, product, params["longitudes"], **start)
        clock = edge_of_stability.sharpness_clock(
            slow_time=run["time"], edge_product0=run["edge"][:, :1], edge_product=run["edge"]
        )
        for path, longitude in enumerate(params["longitudes"]):
            times = np.array([run["time"], run["time"] + product / 2, clock[path]])
            flow = st.equator_longitude(model, longitude, times)
            found = (run["longitude"][path], run["mean"][path], run["longitude"][path])
            rows.append(np.abs(found - flow).max(axis=1))
    return dict(zip(("snapshot", "mean", "clock"), np.array(rows).T, strict=True))


def _rmsprop(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Effective lr and its RMSprop form: a path of descent, and largest distances for all products but the least."""
    model, d = _loss(params, 0)
    form, data = st.Rayleigh(np.linspace(0, 1, 4)), {}

    def descent(product: float) -> tuple[np.ndarray, np.ndarray]:
        rates = {"lr": params["lr"], "weight_decay": product / params["lr"]}
        start = _start(model, d, np.array([0.8]), **rates, edge_product=params["below"])
        ts = np.arange(int(params["horizon"] / product) + 1)
        return rmsprop_form(model, st.Isotropic(params["kick"]), start, ts, seed=params["seed"], **rates)

    def sgd(product: float) -> tuple[np.ndarray, np.ndarray]:
        rates = {"lr": params["lr"], "weight_decay": product / params["lr"]}
        start = np.tile(np.full(4, 0.7 * (params["lr"] ** 2 / product) ** 0.25), (params["sgd_paths"], 1))
        ts = np.arange(int(1 / product) + 1)
        return rmsprop_form(form, st.GOEBatch(params["matrix_noise"]), start, ts, seed=params["seed"], **rates)

    for name, paths in (("rms_descent", descent), ("rms_sgd", sgd)):
        pairs = (paths(product) for product in params["products"][1:])
        data[name] = np.array([np.abs(form_of / found - 1).max(axis=1).mean() for found, form_of in pairs])
    found, form_of = (row[0, :: max(1, row.shape[1] // 2000)] for row in descent(params["shown"]))
    return data | {"rms_found": found, "rms_form": form_of}


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    order = {kind: _orders(data, kind, "snapshot") for kind in KINDS}
    told = {kind: f"{x.min():.2f} to {x.max():.2f}" for kind, x in order.items()}
    clock = _orders(data, "swing", "clock")
    worst = max(np.abs(data[f"path_{n}_longitude"] - data[f"path_{n}_flow"])[0].max() for n in range(3))
    crossed = [data[f"below_{n}_time"][np.argmax(data[f"below_{n}_edge"] > 2)] for n in range(3)]
    late = [data[f"below_{n}_edge"][:, data[f"below_{n}_time"] > 0.8 * data["horizon"]] for n in range(3)]
    power = np.log(np.ptp(late[2]) / np.ptp(late[0])) / np.log(data["swing_products"][2] / data["swing_products"][0])
    apart = np.abs(data["edge_mean"] / data["edge_snapshot"] - 1).max()
    averages = np.array([data[f"swing_{n}_ratio"].mean() for n in range(3)])
    speeds = {name: np.polyfit(*np.log([data["products"][1:], data[name]]), 1)[0] for name in RMS}
    form = np.abs(data["rms_form"] / data["rms_found"] - 1).max()
    left = (data["off_clock"] / data["off_snapshot"]).mean(axis=1)[0]
    return [
        at_most("paths_follow_the_flow", worst, 0.01,
                f"(a) At lr wd = {data['path_products'][0]:g} all longitudes are within {{found:.1e}} of the flow."),
        at_most("arrives_when_predicted", np.abs(crossed - data["arrival"]).max(), 0.012,
                "(b) Effective lr x sharpness passes 2 within {found:.1g} of the predicted slow time;"),
        at_most("stays_near_two", np.abs(late[0] - 2).max(), 0.3,
                f"then it swings around 2, up to the end: by {{found:.2f}} at lr wd = {data['swing_products'][0]:g},"),
        between("swings_grow_like_the_root", power, 0.4, 0.65,
                "and like the power {found:.2f} of lr wd."),
        at_most("oscillation_averages_to_its_prediction", np.abs(averages - 1).max(), 0.03,
                f"(c) The oscillation swings up to {max(data[f'swing_{n}_ratio'].max() for n in range(3)):.1f} times "
                "its prediction; its time average is that within {found:.1%}."),
        at_most("swings_follow_the_averaged_equations", _swing_gap(data), 0.2,
                f"Its logarithm follows the averaged equations within {{found:.2f}} at {data['swing_products'][0]:g}."),
        at_most("first_order_from_the_right_start", np.abs(order["edge"] - 1).max(), 0.1,
                f"(d) The distance shrinks like a power {told['edge']} of lr wd from the right start,"),
        at_most("half_order_with_another_amplitude", np.abs(order["swing"] - 0.5).max(), 0.12,
                f"{told['swing']} with another amplitude,"),
        at_most("no_order_off_the_edge", np.abs(order["off"]).max(), 0.16,
                f"and not at all ({told['off']}) with another effective lr (ranges over losses and starts)."),
        at_most("the_clock_restores_first_order", np.abs(clock - 1).max(), 0.3,
                f"With the clock the second start has powers {clock.min():.2f} to {clock.max():.2f},"),
        at_most("the_clock_takes_the_shift_off", left, 0.15,
                "and of the third distance {found:.0%} is left at the smallest lr wd."),
        at_most("two_step_means_change_nothing", apart, 0.04,
                "Means of two successive steps for snapshots change the first distances by at most {found:.1%}."),
        at_most("effective_lr_is_rmsprop", form, 0.03,
                "(e) The two effective lr differ by at most {found:.1%};"),
        between("first_order_of_rmsprop_descent", speeds["rms_descent"], 0.75, 1.35,
                "(f) their distance is of order {found:.2f} in lr wd for descent,"),
        between("first_order_of_rmsprop_sgd", speeds["rms_sgd"], 0.85, 1.2, "{found:.2f} for SGD."),
    ]  # fmt: skip


def _swing_gap(data: dict[str, np.ndarray]) -> float:
    """Largest distance of ln x^2 to the averaged equations, smallest product."""
    scaled = data["swing_0_time"] / np.sqrt(data["swing_products"][0])
    shown = scaled < data["swing_times"][-1]
    wanted = np.interp(scaled[shown], data["swing_times"], np.log(data["swing_predicted"]))
    return float(np.abs(np.log(data["swing_0_ratio"][0, shown]) - wanted).max())


def _orders(data: dict[str, np.ndarray], kind: str, name: str) -> np.ndarray:
    """Exponents of lr wd in the distances, one a loss and start."""
    return np.polyfit(np.log(data["products"]), np.log(data[f"{kind}_{name}"]), 1)[0]


def _scaled(name: str, factor: Any) -> Any:
    return lambda data: data | {name: data[name] * factor}


def _tilted(name: str, power: float) -> Any:
    """Spoil the order of a distance."""
    return lambda data: data | {name: (data[name].T * data["products"][-data[name].shape[0] :] ** power).T}


BROKEN = {
    "paths_follow_the_flow": _scaled("path_1_longitude", 1.02),
    "arrives_when_predicted": _scaled("arrival", 1.1),
    "stays_near_two": lambda data: data | {"below_0_edge": data["below_0_edge"] + 0.4},
    "swings_grow_like_the_root": lambda data: data | {"below_2_edge": 2 + (data["below_2_edge"] - 2) / 3},
    "oscillation_averages_to_its_prediction": _scaled("swing_1_ratio", 1.1),
    "swings_follow_the_averaged_equations": _scaled("swing_predicted", 1.5),
    "first_order_from_the_right_start": _tilted("edge_snapshot", 0.3),
    "half_order_with_another_amplitude": _tilted("swing_snapshot", 0.3),
    "no_order_off_the_edge": _tilted("off_snapshot", 0.5),
    "the_clock_restores_first_order": _tilted("swing_clock", -0.5),
    "the_clock_takes_the_shift_off": _scaled("off_clock", 5.0),
    "two_step_means_change_nothing": _scaled("edge_mean", 1.1),
    "effective_lr_is_rmsprop": _scaled("rms_form", 1.05),
    "first_order_of_rmsprop_descent": _tilted("rms_descent", 0.7),
    "first_order_of_rmsprop_sgd": _tilted("rms_sgd", 0.5),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Longitude, effective lr x sharpness, oscillation, distances, and the RMSprop form."""
    figure, ((path, edge), (size, distance), (speed, error)) = style.page(3, 2, 6.3)
    panels = {path: _draw_paths, edge: _draw_edge, size: _draw_size, distance: _draw_distance}
    for axes, fill in (panels | {speed: _draw_speed, error: _draw_error}).items():
        fill(axes, data)
    for axes in (path, edge, speed):
        axes.set_xlabel(r"slow time $\tau=\eta\lambda t$")
    return figure


def _draw_paths(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "drift along the equator")
    for number, colour in enumerate(COLOURS):
        time = data[f"path_{number}_time"]
        for flow in data[f"path_{number}_flow"]:
            axes.plot(time, flow, **style.PREDICTED)
        for which, (symbol, rows) in enumerate(zip(SYMBOLS, data[f"path_{number}_longitude"], strict=False)):
            for start, row in enumerate(rows):
                every = slice(4 + 10 * which + 3 * start, None, 20)
                axes.plot(time[every], row[every], symbol, color=colour, **OPEN)
    keys = [
        Line2D([], [], color=colour, linewidth=2, label=rf"$m={m:g},\ A={A:g}$")
        for colour, (m, A) in zip(COLOURS, data["losses"], strict=True)
    ]
    keys += [
        Line2D([], [], color=style.GREY, marker=symbol, linestyle="", label=_told(product), **OPEN)
        for symbol, product in zip(SYMBOLS, data["path_products"], strict=False)
    ]  # fmt: skip
    axes.set(ylabel="longitude", xlim=(0, data["path_horizon"]), ylim=(0, 4.7), yticks=[0, np.pi / 2, np.pi])
    axes.set_yticklabels(["0", r"$\pi/2$", r"$\pi$"])
    axes.legend(handles=keys, loc="upper left", ncols=2)


def _told(product: float) -> str:
    return rf"$\eta\lambda={style.power(product)}$"


def _product_keys(data: dict[str, np.ndarray]) -> list[Line2D]:
    return [
        Line2D([], [], color=colour, linewidth=1.5, label=_told(product))
        for colour, product in zip(COLOURS, data["swing_products"], strict=True)
    ]


def _draw_edge(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "approach to the edge of stability")
    for number in (2, 1, 0):
        axes.plot(data[f"below_{number}_time"], data[f"below_{number}_edge"][0], color=COLOURS[number], linewidth=0.7)
    axes.axhline(2.0, **style.PREDICTED)
    axes.axvline(float(data["arrival"]), color=style.GREY, linestyle=":", linewidth=0.9)
    axes.set(ylabel=r"$\tilde\eta_t\,\lambda_1$", xlim=(0, data["horizon"]), ylim=(1.1, 5.4))
    axes.legend(handles=_product_keys(data), loc="upper right")


def _draw_size(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "swings of the oscillation")
    for number in range(3):
        time = data[f"swing_{number}_time"] / np.sqrt(data["swing_products"][number])
        ratio, every = data[f"swing_{number}_ratio"][0], max(1, int(0.14 / (time[1] - time[0])))
        shown = slice(0, int(np.searchsorted(time, data["swing_times"][-1])), every)
        axes.plot(time[shown], ratio[shown], SYMBOLS[number], color=COLOURS[number], **OPEN)
    axes.plot(data["swing_times"], data["swing_predicted"], **style.PREDICTED)
    axes.set(yscale="log", ylabel="$x^2$ over prediction", xlim=(0, data["swing_times"][-1]), ylim=(3e-2, 40),
             xlabel=r"$t\,\sqrt{\eta\lambda}$")  # fmt: skip
    keys = [
        Line2D([], [], color=colour, marker=symbol, linestyle="", label=_told(product), **OPEN)
        for colour, symbol, product in zip(COLOURS, SYMBOLS, data["swing_products"], strict=True)
    ]
    axes.legend(handles=keys, loc="upper right", ncols=2)


def _draw_distance(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "distance to the flow")
    products, keys = data["products"], []
    for kind, label, colour in zip(KINDS, KIND_LABELS, COLOURS, strict=True):
        mean = data[f"{kind}_snapshot"].mean(axis=1)
        axes.plot(products, mean, "o-", color=colour, linewidth=0.7, **OPEN)
        axes.plot(products, data[f"{kind}_clock"].mean(axis=1), "x-", color=colour, linewidth=0.4, markersize=3.5)
        keys.append(Line2D([], [], color=colour, linewidth=2, label=label))
    for power, kind in ((1.0, "edge"), (0.5, "swing")):
        reference = data[f"{kind}_snapshot"].mean(axis=1)[-1] * (products / products[-1]) ** power
        axes.plot(products, reference, **style.PREDICTED)
    keys.append(Line2D([], [], color=style.GREY, marker="o", linestyle="", label="slow time", **OPEN))
    keys.append(Line2D([], [], color=style.GREY, marker="x", linestyle="", markersize=3.5, label="clock"))
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta\lambda$", ylabel="largest distance", ylim=(2e-6, 30))
    axes.legend(handles=keys, loc="upper left", ncols=2)


def _draw_speed(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "e", rf"effective lr, $\eta\lambda={style.power(data['shown'])}$")
    time = np.linspace(0, data["horizon"], data["rms_found"].size)
    axes.plot(time, data["rms_found"], color=style.BLUE, linewidth=2.2, alpha=0.45, label=r"$\tilde\eta_t$")
    axes.plot(time, data["rms_form"], label=r"$\sqrt{2\eta\lambda/M_t}$", **style.PREDICTED)
    axes.set(ylabel=r"$\tilde\eta_t$", xlim=(0, data["horizon"]))
    axes.legend(loc="lower right")


def _draw_error(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "f", "distance of the RMSprop form")
    products = data["products"][1:]
    for name, label, colour, symbol in zip(RMS, ("descent", "SGD"), COLOURS, SYMBOLS, strict=False):
        axes.plot(products, data[name], symbol + "-", color=colour, linewidth=0.7, label=label, **OPEN)
        axes.plot(products, data[name][0] * products / products[0], **style.PREDICTED)
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta\lambda$", ylabel="largest relative distance")
    axes.legend(loc="upper left", title=r"dashed: $\propto\eta\lambda$", title_fontsize=6.5)
