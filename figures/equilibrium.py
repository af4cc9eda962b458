"""The norm forgets its start: gamma(t) collapses on t lr wd (analogue of norm panels of Li, Lyu, Arora 2020).

gamma = |w|^4/lr^2 = (effective lr)^-2 obeys d gamma/dt = -4 lr wd gamma + 2 Tr Sigma. The reader should
see curves of two products lr wd that differ in level and in time (a), but fall on one curve for each
start when gamma is measured in gamma_* = Tr Sigma/(2 lr wd) and time in 1/(lr wd), whatever lr is (b):
SGD on random batches of a Rayleigh quotient, and the SDE in R^d, where nothing but Ito's formula makes
the norm grow. A batch-normalised network on digits does the same with its own measured gradient noise
(c). How far all of them are from the law is drawn, not said (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most
from figures.press.measured import driven_gamma, near_equilibrium, sphere_trace, standard_error
from sdetheory.predictions import intrinsic_lr

CLAIMS = ("I3", "I9", "I10", "I12", "I15", "I16", "I18")
CAPTION = """gamma = |w|^4/lr^2 against the law d gamma/dt = -4 lr wd gamma + 2 Tr Sigma (dashed). (a) SGD
on GOE batches of a Rayleigh quotient from half, once and twice the equilibrium norm; two products lr wd
(colours), three lr each (symbols, taking turns in time): means over {sgd_seeds} seeds. (b) The same in
units of the equilibrium, with the SDE in R^d, integrated by Euler-Maruyama (lines): means over
{sde_paths} paths. (c) The three layers (symbols) of a batch-normalised network 64-32-32-10 trained on
digits with label noise: nets at equilibrium whose weights are then halved, kept or doubled, which leaves
the function they compute as it was; means over two lr with {net_seeds} seeds each. Dashed: the law with
the |gradient|^2 measured on the unit sphere, whose mean over the last quarter of the time gives gamma_*.
(d) Measured over predicted: the range over all runs of (a) to (c), every run a mean over seeds or paths."""

PARAMS: dict[str, Any] = {
    "products": [2e-3, 2e-4],
    "lrs": [0.02, 0.1, 0.5],
    "start_norms": [0.5, 1.0, 2.0],
    "eigenvalues": [0.0, 0.2],
    "dimension": 16,
    "batch_noise": 0.5,
    "horizon": 2.0,
    "times": 40,
    "sgd_seeds": 256,
    "sde_paths": 1024,
    "sde_steps": 2000,
    "net_widths": [64, 32, 32, 10],
    "net_lrs": [0.3, 1.2],
    "net_seeds": 6,
    "net_warm_up": 1.5,
    "label_noise": 0.2,
    "seed": 2020,
}
QUICK = PARAMS | {"products": [2e-3, 1e-3], "sgd_seeds": 128, "sde_paths": 256, "net_seeds": 4}

COLOURS = (style.BLUE, style.VERMILION)
SYMBOLS = "os^"
EXACT_STEPS = 16


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Means over runs of gamma, shapes (products, lrs, starts, times), their standard errors, and the law."""
    scaled = np.unique(np.round(np.geomspace(0.004, params["horizon"], params["times"]) * 250)) / 250
    rows = [
        _one_product(params, number, product, scaled) for number, product in enumerate(params["products"])
    ]
    data = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    given = {name: np.asarray(params[name]) for name in ("products", "lrs", "start_norms")}
    return data | {"scaled_time": scaled} | given


def _one_product(
    params: dict[str, Any], number: int, product: float, scaled: np.ndarray
) -> dict[str, np.ndarray]:
    """Every lr and start of one product lr wd."""
    runs = [
        [
            _toy(params, product, lr, norm, scaled, (number * len(params["lrs"]) + i) * 3 + j)
            for j, norm in enumerate(params["start_norms"])
        ]
        for i, lr in enumerate(params["lrs"])
    ]
    toys = {name: np.array([[run[name] for run in row] for row in runs]) for name in runs[0][0]}
    return toys | _network(params, product, scaled)


def _toy(
    params: dict[str, Any], product: float, lr: float, norm: float, scaled: np.ndarray, run: int
) -> dict[str, Any]:
    """SGD on GOE batches and the SDE with the same covariance, from `norm` times the norm of equilibrium."""
    rates = {"lr": lr, "weight_decay": product / lr}
    d, s = params["dimension"], params["batch_noise"]
    trace = sphere_trace(st.GOEBatch(s), d)
    model = st.Rayleigh(np.linspace(params["eigenvalues"][0], params["eigenvalues"][1], d))
    direction = np.ones(d) / np.sqrt(d)
    w0 = direction * norm * intrinsic_lr.equilibrium_norm(trace=trace, **rates)
    ts, observe, seed = scaled / product, {"squared_norm": st.observers.SquaredNorm()}, params["seed"] + run
    common = {"seed": seed, "observe": observe}
    sgd = st.simulate(
        model, st.SGD(**rates), w0, np.rint(ts), noise=st.GOEBatch(s), paths=params["sgd_seeds"], **common
    )
    sde = st.simulate(
        model, st.WeightDecaySDE(**rates), w0, ts, noise=st.Isotropic(2 * s), paths=params["sde_paths"],
        dt=params["horizon"] / product / params["sde_steps"], integrator=st.integrators.EulerMaruyama(),
        **common,
    )  # fmt: skip
    gamma = {
        name: intrinsic_lr.gamma_of_norm(lr=lr, squared_norm=run["squared_norm"])
        for name, run in (("sgd", sgd), ("sde", sde))
    }
    gamma0 = intrinsic_lr.gamma_of_norm(lr=lr, squared_norm=float(w0 @ w0))
    return {
        "sgd": gamma["sgd"].mean(0), "sgd_error": standard_error(gamma["sgd"]),
        "sde": gamma["sde"].mean(0), "sde_error": standard_error(gamma["sde"]),
        "law": intrinsic_lr.gamma(t=ts, trace=trace, gamma0=gamma0, **rates),
        "equilibrium": intrinsic_lr.equilibrium_gamma(trace=trace, **rates),
    }  # fmt: skip


def _network(params: dict[str, Any], product: float, scaled: np.ndarray) -> dict[str, np.ndarray]:
    """The batch-normalised network at equilibrium, its weights rescaled: gamma of every layer, and its law.

    Every weight is in front of a normalisation: rescaling changes the norms and not the function.  Arrays are
    (lrs, starts, times, layers), means over seeds; no two nets share batches.
    """
    lrs, norms = np.array(params["net_lrs"]), np.array(params["start_norms"])
    shape = (len(lrs), len(norms), params["net_seeds"])
    net = st.networks.mlp(params["net_widths"], normalised_output=True)
    start = norms[:, None, None] * _at_equilibrium(params, net, product, lrs)[:, None]
    lr = np.broadcast_to(lrs[:, None, None], shape).reshape(-1, 1)
    wanted = np.rint(scaled / product).astype(int)
    marks = np.union1d(np.arange(EXACT_STEPS), wanted)
    run = st.networks.train(
        net, st.networks.digits(), lr=lr, weight_decay=product / lr, label_noise=params["label_noise"],
        start=start.reshape(len(lr), -1), steps=int(marks[-1]), record_every=marks,
        seeds=params["seed"] + len(lr) + np.arange(len(lr)), progress=True,
    )  # fmt: skip
    members = np.arange(len(lr)).reshape(*shape[:2], -1)
    pairs = [[driven_gamma(run, group) for group in row] for row in members]
    gamma, law = np.moveaxis(np.array(pairs), 2, 0)
    there, late = np.searchsorted(marks, wanted), marks > 0.75 * marks[-1]
    noise = run.spherical_sum[:, late].sum(axis=1).mean(axis=0) / np.diff(marks)[late[1:]].sum()
    return {
        "net": gamma[:, :, there], "net_law": law[:, :, there], "net_step_error": _step_error(run),
        "net_equilibrium": intrinsic_lr.equilibrium_gamma(lr=1.0, weight_decay=product, trace=noise),
    }  # fmt: skip


def _at_equilibrium(
    params: dict[str, Any], net: st.networks.Network, product: float, lrs: np.ndarray
) -> np.ndarray:
    """Nets trained to the equilibrium of this product, (lrs, seeds, parameters), from norms near it."""
    seeds = params["net_seeds"]
    lr, steps = np.repeat(lrs, seeds)[:, None], int(params["net_warm_up"] / product)
    run = st.networks.train(
        net, st.networks.digits(), lr=lr, weight_decay=product / lr, label_noise=params["label_noise"],
        init_scale=near_equilibrium(lr, product), steps=steps, record_every=steps,
        seeds=params["seed"] + np.arange(len(lr)),
    )  # fmt: skip
    return run.final.reshape(len(lrs), seeds, -1)


def _step_error(run: st.networks.TrainingRecord) -> float:
    """Largest relative error of the predicted squared norm after one step, first steps of every net."""
    now, after = slice(0, EXACT_STEPS - 1), slice(1, EXACT_STEPS)
    predicted = intrinsic_lr.squared_norm_step(
        lr=run.lr[:, now, None], weight_decay=run.weight_decay[:, now, None],
        squared_norm=run.squared_norm[:, now], squared_gradient=run.squared_gradient[:, now],
    )  # fmt: skip
    return float(np.abs(predicted / run.squared_norm[:, after] - 1).max())


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    sgd, sde, net = data["sgd"] / data["law"], data["sde"] / data["law"], data["net"] / data["net_law"]
    units = data["sgd"] / data["equilibrium"][..., None]
    net_units = data["net"] / data["net_equilibrium"][:, None, None, None]
    return [
        at_most("sgd_follows_the_law", _worst(sgd), 0.05, "SGD stays within {found:.1%} of the law,"),
        at_most("sde_follows_the_law", _worst(sde), 0.02, "the SDE within {found:.1%},"),
        at_most("network_follows_the_law", _worst(net), 0.05,
                "every layer of the network within {found:.1%}."),
        at_most("equal_products_agree", _worst(units / units.mean(axis=1, keepdims=True)), 0.04,
                "Runs with equal product lr wd differ from their mean by at most {found:.1%};"),
        at_least("products_differ_unscaled", _gap_at_equal_steps(data), 3.0,
                 "the two products, up to a factor {found:.0f} apart after equal numbers of steps,"),
        at_most("products_collapse", _worst(units / units.mean(axis=(0, 1))), 0.05,
                "differ by at most {found:.1%} in the scaled units."),
        at_most("starts_are_forgotten", _worst(units[..., -1]), 0.02,
                "At the end all starts of SGD are within {found:.1%} of gamma_*,"),
        at_most("network_forgets_its_start", _worst(net_units[..., -1, :]), 0.1,
                "those of the network within {found:.1%}."),
        at_most("network_step_is_exact", data["net_step_error"].max(), 1e-12,
                "Each step of the network obeys the exact step of the squared norm to {found:.0e}."),
    ]  # fmt: skip


def _worst(ratio: np.ndarray) -> float:
    """Largest distance of a ratio from 1."""
    return float(np.abs(ratio - 1).max())


def _gap_at_equal_steps(data: dict[str, np.ndarray]) -> float:
    """Largest factor between gamma at the two products, means over lr, same start, same number of steps."""
    first, second = (data["scaled_time"] / product for product in data["products"])
    gamma = data["sgd"].mean(axis=1)
    shared = second <= first[-1]
    other = np.array([np.interp(second[shared], first, row) for row in gamma[0]])
    return float(np.exp(np.abs(np.log(gamma[1][:, shared] / other)).max()))


def _stopped(values: np.ndarray, axis: int) -> np.ndarray:
    """The last quarter of the times replaced by what was there before: a run that stood still."""
    times = np.arange(values.shape[axis])
    return np.take(values, np.minimum(times, 3 * times.size // 4), axis=axis)


BROKEN = {
    "sgd_follows_the_law": lambda data: data | {"sgd": 1.06 * data["sgd"]},
    "sde_follows_the_law": lambda data: (
        data | {"law": data["law"] * np.linspace(1, 1.05, data["law"].shape[-1])}
    ),
    "network_follows_the_law": lambda data: data | {"net": data["net"] * 0.9},
    "equal_products_agree": lambda data: (
        data | {"sgd": data["sgd"] * np.array([0.9, 1.0, 1.1])[:, None, None]}
    ),
    "products_differ_unscaled": lambda data: data | {"sgd": data["sgd"] ** 0},
    "products_collapse": lambda data: data | {"sgd": data["sgd"] * np.array([0.9, 1.1])[:, None, None, None]},
    "starts_are_forgotten": lambda data: data | {"sgd": _stopped(data["sgd"], 3)},
    "network_forgets_its_start": lambda data: data | {"net": _stopped(data["net"], 3)},
    "network_step_is_exact": lambda data: data | {"net_step_error": data["net_step_error"] + 1e-3},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Raw curves, collapsed curves, the network, and the distance to the law."""
    figure, ((raw, toy), (net, ratio)) = style.page(2, 2, 4.2)
    _draw_raw(raw, data)
    _draw_collapse(toy, data)
    _draw_network(net, data)
    _draw_ratio(ratio, data)
    return figure


def _points(axes: Axes, x: np.ndarray, rows: np.ndarray, product: int) -> None:
    """Rows (kinds, curves, times) of one product as symbols, one a kind; kinds and products take turns."""
    colour, turns = COLOURS[product], len(SYMBOLS) * len(COLOURS)
    for number, (curves, symbol) in enumerate(zip(rows, SYMBOLS, strict=True)):
        every = slice(len(COLOURS) * number + product, None, turns)
        axes.plot(x[every], curves[:, every].T, symbol, color=colour, markersize=3, markerfacecolor="white",
                  markeredgewidth=0.7, zorder=4)  # fmt: skip


def _symbols(labels: list[str]) -> list[Line2D]:
    """Legend entries of the symbols, in grey."""
    common: dict[str, Any] = {
        "color": style.GREY,
        "linestyle": "",
        "markerfacecolor": "white",
        "markeredgewidth": 0.7,
        "markersize": 3,
    }
    return [
        Line2D([], [], marker=m, label=label, **common) for m, label in zip(SYMBOLS, labels, strict=False)
    ]


def _draw_raw(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "SGD on random batches, three start norms")
    for number, product in enumerate(data["products"]):
        steps = data["scaled_time"] / product
        axes.plot(steps, data["law"][number, 0].T, **style.PREDICTED)
        _points(axes, steps, data["sgd"][number], number)
    axes.set(xscale="log", yscale="log", xlabel=r"steps $t$", ylabel=r"$\gamma=\|w\|^4/\eta^2$")
    keys = [Line2D([], [], label="prediction", **style.PREDICTED)]
    for product, colour in zip(data["products"], COLOURS, strict=True):
        keys.append(Line2D([], [], color=colour, linewidth=2, label=rf"$\eta\lambda={style.power(product)}$"))
    keys += _symbols([rf"$\eta={lr:g}$" for lr in data["lrs"]])
    axes.legend(handles=keys, loc="upper left", ncols=2, columnspacing=1.2)
    low, high = data["law"].min(), data["law"].max()
    axes.set_ylim(low / 1.5, high * (high / low) ** 0.5)


def _draw_collapse(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "the same, scaled; and the SDE")
    time, unit = data["scaled_time"], data["equilibrium"][..., None]
    for number, colour in enumerate(COLOURS):
        track: dict[str, Any] = {
            "color": colour,
            "linewidth": 5 - 2.5 * number,
            "alpha": 0.35,
            "solid_capstyle": "butt",
        }
        axes.plot(time, (data["sde"] / unit)[number, 0].T, **track)
        _points(axes, time, (data["sgd"] / unit)[number], number)
    axes.plot(time, (data["law"] / unit)[0, 0].T, **style.PREDICTED)
    axes.set(
        xscale="log",
        yscale="log",
        ylabel=r"$\gamma\,/\,\gamma_*$",
        xlabel=r"$t\,\eta\lambda$",
        ylim=(0.04, 30),
    )
    key = Line2D([], [], color=style.GREY, linewidth=5, alpha=0.35, label="SDE", solid_capstyle="butt")
    axes.legend(handles=[*_symbols(["SGD"])[:1], key], loc="upper right")


def _draw_network(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "batch-normalised network on digits")
    time = data["scaled_time"]
    for number, unit in enumerate(data["net_equilibrium"]):
        law, gamma = (
            np.moveaxis(data[name][number].mean(axis=0) / unit, -1, 0) for name in ("net_law", "net")
        )
        for layer in law:
            axes.plot(time, layer.T, **style.PREDICTED | {"linewidth": 0.6})
        _points(axes, time, gamma, number)
    axes.set(
        xscale="log",
        yscale="log",
        ylabel=r"$\gamma\,/\,\gamma_*$",
        xlabel=r"$t\,\eta\lambda$",
        ylim=(0.04, 30),
    )
    axes.legend(handles=_symbols([f"layer {number}" for number in (1, 2, 3)]), loc="upper right")


def _draw_ratio(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "measured / predicted, range of all runs")
    time = data["scaled_time"]
    rows = {
        "network": (np.moveaxis(data["net"] / data["net_law"], 3, -1), style.ORANGE),
        "SGD": (data["sgd"] / data["law"], style.GREEN),
        "SDE": (data["sde"] / data["law"], style.PURPLE),
    }
    for label, (ratio, colour) in rows.items():
        runs = ratio.reshape(-1, time.size)
        axes.fill_between(time, runs.min(0), runs.max(0), color=colour, alpha=0.35, linewidth=0, label=label)
        axes.plot(time, np.stack([runs.min(0), runs.max(0)], axis=1), color=colour, linewidth=0.8)
    axes.axhline(1.0, **style.PREDICTED)
    axes.set(xscale="log", xlabel=r"$t\,\eta\lambda$", ylabel=r"$\gamma$ / law", ylim=(0.96, 1.04))
    axes.legend(loc="lower right")
