"""Weight decay divided at times x, y, learning rate at z, u (after the wd_x_y_lr_z_u figure of Li, Lyu, Arora 2020).

Two divisions by the same factor, of weight decay or of lr, in any order, end at the same product lr wd and so at
the same equilibrium. The reader should see four curves of the effective lr that part at each division and meet
again, a division of lr as a jump and a return, one of weight decay as a glide (a); norms that end far apart
although the effective lr are equal (b); the same in every layer of a batch-normalised network (c); and a loss that
dips at divisions of lr alone, and ends the same (d).
"""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, near
from figures.press.measured import driven_gamma, near_equilibrium, sphere_trace, standard_error
from sdetheory.dynamics import Piecewise
from sdetheory.integrators import EulerMaruyama
from sdetheory.observers import Loss, SquaredNorm
from sdetheory.predictions import intrinsic_lr

CLAIMS = ("I9", "I20", "I21")
CAPTION = """Weight decay (wd) or learning rate (lr) is divided by {factor:g} at the events 1 and 2; wd_1_lr_2: wd at
1, lr at 2. Time is lr wd summed over steps, so that every distance of gamma to equilibrium decays as exp(-4 t);
dotted: the events. (a) Effective lr and (b) |w|^2 over their equilibrium before, (d) mean of the loss, for the loss
w^T A w/|w|^2 in {dimension} dimensions: the SDE with isotropic noise (lines, Euler-Maruyama) and SGD on noisy
quadratic forms (circles), {paths} paths each; dashed: the closed form of gamma. (c) Effective lr of the layers
(symbols) of a batch-normalised network {net_widths} on digits, mean over {net_seeds} seeds; dashed: the law driven
by the measured |gradient|^2."""

PARAMS: dict[str, Any] = {
    "lr": 0.4,
    "product": 1e-2,
    "factor": 5.0,
    "dimension": 8,
    "curvature": 1.0,
    "noise": 0.4,
    "before": 0.25,
    "between": 0.5,
    "after": 1.6,
    "paths": 512,
    "sde_dt": 0.5,
    "net_widths": [64, 32, 10],
    "net_lr": 0.3,
    "net_product": 1e-2,
    "net_seeds": 12,
    "settle": 4.0,
    "label_noise": 0.2,
    "seed": 21,
}
QUICK = PARAMS | {"product": 2e-2, "paths": 192, "net_product": 4e-2, "net_seeds": 4}

SCHEDULES = {  # what is divided at the events 1 and 2
    "wd_1_2": ("weight_decay", "weight_decay"),
    "wd_1_lr_2": ("weight_decay", "lr"),
    "lr_1_wd_2": ("lr", "weight_decay"),
    "lr_1_2": ("lr", "lr"),
}
COLOURS = dict(zip(SCHEDULES, (style.VERMILION, style.ORANGE, style.SKY, style.BLUE), strict=True))
SYMBOLS = "os^"
LOSS_TICKS = [0.01, 0.02, 0.05, 0.1]
OPEN: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 0.7, "markersize": 3, "zorder": 4}
FINE = np.array([0.0, 0.004, 0.01, 0.02, 0.03, 0.05, 0.075, *np.arange(0.1, 10, 0.05)])


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Along all four schedules: predictions, SDE, SGD and network."""
    steps, time, events = _clock(params, params["product"], params["factor"])
    data: dict[str, Any] = {"time": time, "events": time[np.searchsorted(steps, events)]}
    for number, name in enumerate(SCHEDULES):
        data |= {f"{name}_{key}": value for key, value in _toy(params, name, params["seed"] + 2 * number).items()}
    data |= _network(params)
    return {name: np.asarray(value) for name, value in data.items()} | {"factor": np.array(params["factor"])}


def _clock(params: dict[str, Any], product: float, factor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recorded steps (the last one of each phase too), their times (lr wd summed), and the steps of the events."""
    lengths = [params[name] for name in ("before", "between", "after")]
    paces = product / factor ** np.arange(3)
    counts = np.rint(np.divide(lengths, paces)).astype(int)
    events = np.cumsum(counts)
    steps, times, begun = [], [], 0.0
    for first, count, pace in zip((0, *events[:2]), counts, paces, strict=True):
        inside = np.append(np.rint(FINE / pace).astype(int), count - 1)
        steps.append(first + np.unique(inside[inside < count]))
        times.append(begun + steps[-1] * pace - first * pace)
        begun += count * pace
    return np.append(np.concatenate(steps), events[2]), np.append(np.concatenate(times), begun), events[:2]


def _rates(name: str, lr: float, product: float, factor: float) -> dict[str, list[float]]:
    """lr and weight decay of the three phases of a schedule."""
    rates = {"lr": [lr], "weight_decay": [product / lr]}
    for divided in SCHEDULES[name]:
        for key, values in rates.items():
            values.append(values[-1] / (factor if key == divided else 1.0))
    return rates


def _toy(params: dict[str, Any], name: str, seed: int) -> dict[str, np.ndarray]:
    """gamma, |w|^2 and loss by the closed form, the SDE and SGD; units: the equilibrium before."""
    steps, _, events = _clock(params, params["product"], params["factor"])
    phases = _rates(name, params["lr"], params["product"], params["factor"])
    rates = {key: Piecewise(tuple(values), tuple(events)) for key, values in phases.items()}
    model = st.Rayleigh(np.linspace(0, params["curvature"], params["dimension"]))
    batches = st.GOEBatch(params["noise"])
    trace = sphere_trace(batches, params["dimension"])
    isotropic = st.Isotropic(np.sqrt(trace / (params["dimension"] - 1)))
    first = {key: values[0] for key, values in phases.items()}
    square = intrinsic_lr.equilibrium_squared_norm(trace=trace, **first)
    gamma = intrinsic_lr.equilibrium_gamma(trace=trace, **first)
    table = list(zip((0, *events), *phases.values(), strict=True))
    law = intrinsic_lr.gamma_piecewise(steps, table, trace=trace, squared_norm0=square)
    lr = rates["lr"](steps)
    found = {"gamma": law / gamma, "square": np.sqrt(law) * lr / square}
    w0 = np.random.default_rng(params["seed"]).standard_normal((params["paths"], params["dimension"]))
    w0 *= np.sqrt(square) / np.linalg.norm(w0, axis=1, keepdims=True)
    settle = int(params["settle"] / params["product"])
    sde = (st.WeightDecaySDE, {"noise": isotropic, "integrator": EulerMaruyama(), "dt": params["sde_dt"]})
    for number, (witness, (rule, how)) in enumerate((("sde", sde), ("sgd", (st.SGD, {"noise": batches})))):
        run_of = partial(st.simulate, model, **how)
        start = run_of(rule(**first), w0, [settle], seed=params["seed"] + 100).final
        observe = {"square": SquaredNorm(), "loss": Loss(model)}
        run = run_of(rule(**rates), start, steps, seed=seed + number, observe=observe)
        found[f"{witness}_gamma"] = np.mean(run["square"] ** 2, axis=0) / lr**2 / gamma
        found[f"{witness}_square"] = np.sqrt(np.mean(run["square"] ** 2, axis=0)) / square
        found[f"{witness}_loss"], found[f"{witness}_loss_error"] = run["loss"].mean(axis=0), standard_error(run["loss"])
    return found


def _network(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Effective lr of the layers over that at the start, and by its law, along the four schedules."""
    net, digits = st.networks.mlp(params["net_widths"], normalised_output=True), st.networks.digits()
    lr, product, count = params["net_lr"], params["net_product"], params["net_seeds"]
    steps, time, events = _clock(params, product, params["factor"])
    common = {"label_noise": params["label_noise"], "seeds": np.tile(params["seed"] + np.arange(count), len(SCHEDULES))}
    scale = near_equilibrium(np.full((count, 1), lr), product)
    settle = int(params["settle"] / product)
    settled = st.networks.train(
        net, digits, steps=settle, lr=lr, weight_decay=product / lr, init_scale=scale, record_every=settle,
        label_noise=params["label_noise"], seeds=common["seeds"][:count],
    )  # fmt: skip
    tables = {}
    for key in ("lr", "weight_decay"):
        phases = [_rates(name, lr, product, params["factor"])[key] for name in SCHEDULES]
        lengths = np.diff([0, *events, steps[-1]])
        tables[key] = np.repeat(np.repeat(phases, lengths, axis=1), count, axis=0)
    run = st.networks.train(
        net, digits, steps=int(steps[-1]), start=np.tile(settled.final, (len(SCHEDULES), 1)), first_step=settle,
        record_every=steps, progress=True, **tables, **common,
    )  # fmt: skip
    data: dict[str, Any] = {"net_time": time}
    for number, name in enumerate(SCHEDULES):
        members = np.arange(number * count, (number + 1) * count)
        gamma, law = driven_gamma(run, members)
        start = intrinsic_lr.effective_lr_of_gamma(gamma=gamma[:1])
        data[f"net_{name}"] = intrinsic_lr.effective_lr_of_gamma(gamma=gamma) / start
        data[f"net_{name}_law"] = intrinsic_lr.effective_lr_of_gamma(gamma=law) / start
        data[f"net_{name}_norm"] = np.sqrt(np.mean(run.squared_norm[members] ** 2, axis=0))
    return data


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    factor, second = float(data["factor"]), int(np.abs(data["time"] - data["events"][1]).argmin())
    end = {w: np.array([data[f"{n}_{w}_gamma"][-1] for n in SCHEDULES]) for w in ("sde", "sgd")}
    middle = np.array([data[f"{n}_sde_gamma"][second - 1] for n in SCHEDULES])
    told = np.array([data[f"{n}_gamma"][second - 1] for n in SCHEDULES])
    norms = [data[f"{n}_sde_square"][-1] for n in SCHEDULES]
    jump = np.sqrt(data["wd_1_lr_2_sde_gamma"][second] / data["wd_1_lr_2_sde_gamma"][second - 1])
    glide = np.sqrt(data["lr_1_wd_2_sde_gamma"][second] / data["lr_1_wd_2_sde_gamma"][second - 1])
    losses = {n: data[f"{n}_sgd_loss"] for n in SCHEDULES}
    last = np.array([[losses[n][-5:].mean(), np.mean(data[f"{n}_sgd_loss_error"][-5:])] for n in SCHEDULES])
    nets = {n: data[f"net_{n}"] for n in SCHEDULES}
    ends = np.array([nets[n][-1] for n in SCHEDULES])
    net_norms = np.array([data[f"net_{n}_norm"][-1] for n in SCHEDULES])
    net_law = max(np.abs(nets[n] / data[f"net_{n}_law"] - 1).max() for n in SCHEDULES)
    return [
        near("lr_division_jumps", jump, factor, 0.04 * factor,
             "(a) A division of lr lowers the effective lr at once by the factor {found:.2f},"),
        near("wd_division_does_not", glide, 1.0, 0.1, "one of weight decay by {found:.2f}: not at all."),
        at_most("sde_follows", _worst(data, "sde"), 0.04,
                "gamma of the SDE follows the closed form within {found:.1%},"),
        at_most("sgd_follows", _worst(data, "sgd"), 0.08, "that of SGD within {found:.1%}."),
        near("first_event_is_remembered", middle.max() / middle.min(), told.max() / told.min(), 0.08,
             "Before the second event the schedules differ {found:.2f}-fold in gamma (predicted: {expected:.2f}),"),
        at_most("same_equilibrium", max(np.ptp(e) / e.mean() for e in end.values()), 0.06,
                "at the end by {found:.1%}."),
        near("norms_end_apart", norms[0] / norms[3], factor**2, 0.06 * factor**2,
             "(b) wd_1_2 ends with {found:.2f} times the |w|^2 of lr_1_2 (predicted: {expected:g}),"),
        near("mixed_norms_end_together", norms[1] / norms[2], 1.0, 0.04,
             "wd_1_lr_2 with {found:.2f} times that of lr_1_wd_2."),
        at_most("every_layer_follows", net_law, 0.06, "(c) Every layer follows its law within {found:.1%},"),
        at_most("layers_end_together", np.max(np.ptp(ends, axis=0) / ends.mean(axis=0)), 0.1,
                "and ends with an effective lr that differs by {found:.1%} between schedules,"),
        at_least("layers_norms_end_apart", (net_norms[0] / net_norms[3]).min(), 0.85 * factor ** 2,
                 "|w|^2 by a factor {found:.2f} or more."),
        at_most("lr_division_dips", losses["wd_1_lr_2"][second:].min() / losses["wd_1_lr_2"][-1], 0.9,
                "(d) After lr was divided the loss dips to {found:.2f} of the level it rises to,"),
        at_least("no_dip_of_wd_1_2", losses["wd_1_2"].min() / last[0, 0], 0.9,
                 "under wd_1_2 it never falls below {found:.2f} of it;"),
        at_most("losses_end_together", np.ptp(last[:, 0]) / last[:, 1].mean(), 6.0,
                "at the end the four lie within {found:.1f} standard errors."),
    ]  # fmt: skip


def _worst(data: dict[str, np.ndarray], witness: str) -> float:
    """Largest relative distance of gamma to the closed form."""
    return max(float(np.abs(data[f"{n}_{witness}_gamma"] / data[f"{n}_gamma"] - 1).max()) for n in SCHEDULES)


def _scaled(name: str, factor: Any) -> Any:
    return lambda data: data | {name: data[name] * factor}


def _as(name: str, other: str, power: float = 1.0) -> Any:
    return lambda data: data | {name: data[other] ** power}


BROKEN = {
    "lr_division_jumps": _as("wd_1_lr_2_sde_gamma", "wd_1_2_sde_gamma"),
    "wd_division_does_not": _as("lr_1_wd_2_sde_gamma", "lr_1_2_sde_gamma"),
    "sde_follows": _scaled("lr_1_2_sde_gamma", 1.05),
    "sgd_follows": _scaled("wd_1_2_sgd_gamma", 0.9),
    "first_event_is_remembered": lambda data: (
        data | {f"{n}_sde_gamma": data["wd_1_2_sde_gamma"] for n in SCHEDULES}
    ),
    "same_equilibrium": _scaled("wd_1_lr_2_sde_gamma", 1.2),
    "norms_end_apart": _as("wd_1_2_sde_square", "lr_1_2_sde_square"),
    "mixed_norms_end_together": _as("wd_1_lr_2_sde_square", "wd_1_2_sde_square"),
    "every_layer_follows": _scaled("net_lr_1_wd_2_law", 1.1),
    "layers_end_together": _scaled("net_lr_1_2", 1.3),
    "layers_norms_end_apart": _as("net_wd_1_2_norm", "net_lr_1_2_norm"),
    "lr_division_dips": _as("wd_1_lr_2_sgd_loss", "wd_1_2_sgd_loss"),
    "no_dip_of_wd_1_2": _as("wd_1_2_sgd_loss", "lr_1_2_sgd_loss"),
    "losses_end_together": _scaled("lr_1_2_sgd_loss", 1.6),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Effective lr, norm, network, loss."""
    figure, ((rate, norm), (net, loss)) = style.page(2, 2, 4.4)
    _draw_rate(rate, data)
    _draw_norm(norm, data)
    _draw_network(net, data)
    _draw_loss(loss, data)
    factor = float(data["factor"])
    ticks = {rate: [1, 1 / factor, factor**-2], norm: [1 / factor, 1, factor], net: [1, 1 / factor], loss: LOSS_TICKS}
    for axes, values in ticks.items():
        axes.set(xlabel=r"$\int\eta\lambda\,dt$", yscale="log", xlim=(0, data["time"][-1]), yticks=values)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        for event in data["events"]:
            axes.axvline(float(event), color=style.GREY, linestyle=":", linewidth=0.8, zorder=0)
    return figure


def _witnesses(axes: Axes, data: dict[str, np.ndarray], name: str, shape: Any) -> None:
    """The SDE as a broad line, SGD as circles, the closed form dashed; `shape` maps a schedule's prefix to values."""
    time, number = data["time"], list(SCHEDULES).index(name)
    axes.plot(time, shape(f"{name}_sde_"), color=COLOURS[name], linewidth=3.2, alpha=0.35, solid_capstyle="butt")
    every = slice(number % 4, None, 4)
    axes.plot(time[every], shape(f"{name}_sgd_")[every], "o", color=COLOURS[name], **OPEN)
    axes.plot(time, shape(f"{name}_"), **style.PREDICTED | {"linewidth": 0.7})


def _draw_rate(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "effective learning rate")
    for name in SCHEDULES:
        _witnesses(axes, data, name, lambda prefix: data[f"{prefix}gamma"] ** -0.5)
    axes.set(ylabel=r"$\eta_e\,/\,\eta_e$ before", ylim=(2.5e-2, 6))
    keys = [Line2D([], [], color=COLOURS[name], linewidth=2, label=name) for name in SCHEDULES]
    keys.append(Line2D([], [], color=style.GREY, linewidth=3.2, alpha=0.4, label="SDE"))
    keys.append(Line2D([], [], color=style.GREY, marker="o", linestyle="", label="SGD", **OPEN))
    keys.append(Line2D([], [], label="closed form", **style.PREDICTED))
    axes.legend(handles=keys, loc="upper right", ncols=2)


def _draw_norm(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "squared norm")
    for name in SCHEDULES:
        _witnesses(axes, data, name, lambda prefix: data[f"{prefix}square"])
    axes.set_ylabel(r"$\|w\|^2\,/\,\|w\|^2$ before")


def _draw_network(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "batch-normalised network on digits")
    time = data["net_time"]
    for number, name in enumerate(SCHEDULES):
        for layer in range(data[f"net_{name}"].shape[1]):
            axes.plot(time, data[f"net_{name}_law"][:, layer], **style.PREDICTED | {"linewidth": 0.6})
            every = slice((number + 2 * layer) % 4, None, 4)
            axes.plot(time[every], data[f"net_{name}"][every, layer], SYMBOLS[layer], color=COLOURS[name], **OPEN)
    axes.set_ylabel(r"$\eta_e\,/\,\eta_e$ before")
    keys = [
        Line2D([], [], color=style.GREY, marker=m, linestyle="", label=f"layer {n}", **OPEN)
        for n, m in enumerate(SYMBOLS[: data["net_lr_1_2"].shape[1]], 1)
    ]
    axes.legend(handles=keys, loc="upper right")


def _draw_loss(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "mean loss")
    for number, name in enumerate(SCHEDULES):
        mean, error, colour = data[f"{name}_sde_loss"], 2 * data[f"{name}_sde_loss_error"], COLOURS[name]
        axes.fill_between(data["time"], mean - error, mean + error, color=colour, alpha=0.35, linewidth=0)
        every = slice(number, None, 4)
        axes.plot(data["time"][every], data[f"{name}_sgd_loss"][every], "o", color=colour, **OPEN)
    axes.set_ylabel("$L$")
