"""Learning rate or weight decay divided by 10 (analogue of the schedule figures of Li, Lyu, Arora 2020).

Both schedules end at the same product lr wd, hence at the same equilibrium, but not by the same way. The
reader should see the effective lr fall by 10 at once and rise again by sqrt(10) when lr is divided, and
glide down by sqrt(10) when weight decay is divided (a); both distances to equilibrium decaying as exp(-4
lr wd t) (b); what this does to the loss: annealed while the effective lr is low, it rises again to the
level of the new equilibrium (c); and the same effective lr in every layer of a batch-normalised network,
whose test error shows an early lead of the lr drop but no rise (d).
"""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, near
from figures.press.measured import driven_gamma, near_equilibrium, sphere_trace, standard_error
from sdetheory.integrators import EulerMaruyama
from sdetheory.observers import Cosine, Gamma
from sdetheory.predictions import intrinsic_lr

CLAIMS = ("I9", "I10", "I16", "I20", "I21", "I30")
CAPTION = """At equilibrium, lr (blue) or weight decay (vermilion) is divided by {factor:g}; time in units
of 1/(lr wd) after the drop; dashed: predictions. (a) Effective lr in units of its predicted value before,
(b) distance of gamma = (effective lr)^-2 to the new equilibrium, (c) loss above its minimum, for the
linear loss -k <mu, w>/|w| under isotropic noise: the SDE (lines, Euler-Maruyama in R^d) and SGD on noisy
linear batches (circles), means over {paths} paths and seeds, bands: two standard errors. Dashed in (c):
the stationary von Mises-Fisher law before and after the drop. (d) Effective lr of the three layers
(symbols) of a batch-normalised network 64-32-32-10 on digits, mean over {net_seeds} seeds; dashed: the
law driven by the measured |gradient|^2. Inset: its error on the held-out digits in per cent, bands: two
standard errors."""

PARAMS: dict[str, Any] = {
    "lr": 0.4,
    "product": 1e-3,
    "factor": 10.0,
    "dimension": 16,
    "strength": 0.6,
    "noise": 1.0,
    "before": 1.0,
    "horizon": 1.6,
    "paths": 1024,
    "sde_dt": 1.0,
    "net_widths": [64, 32, 32, 10],
    "net_lr": 0.3,
    "net_product": 5e-3,
    "net_before": 4.0,
    "net_seeds": 24,
    "label_noise": 0.2,
    "training_digits": 1297,
    "test_every": 3,
    "seed": 10,
}
QUICK = PARAMS | {"product": 4e-3, "paths": 512, "sde_dt": 0.25, "net_product": 1e-2, "net_seeds": 8}

DROPS = ("lr", "weight_decay")
COLOURS = dict(zip(DROPS, (style.BLUE, style.VERMILION), strict=True))
LABELS = {"lr": r"$\eta\to\eta/10$", "weight_decay": r"$\lambda\to\lambda/10$"}
SYMBOLS = "os^"
OPEN: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 0.7, "markersize": 3, "zorder": 4}
GRID = np.array([0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, *np.arange(0.1, 10.0, 0.05)])
TOLD = (0.25, 0.5, 1.0)  # times whose values stand in the theory sheet: 0.48, 0.67, 0.93 for a drop by 10


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """For both drops: effective lr, gamma and loss of the toy, effective lr and test error of the network."""
    time = GRID[GRID <= params["horizon"] + 1e-9]
    data = _predicted(params, time) | {"time": time, "factor": np.array(params["factor"])}
    for number, witness in enumerate(("sde", "sgd")):
        data |= _toy(params, witness, time, params["seed"] + 3 * number)
    for drop in DROPS:
        data |= _network(params, drop, time)
    return data


def _rates(params: dict[str, Any], drop: str = "") -> dict[str, float]:
    """lr and weight decay of the toy, one of them divided."""
    rates = {"lr": params["lr"], "weight_decay": params["product"] / params["lr"]}
    return rates | ({drop: rates[drop] / params["factor"]} if drop else {})


def _predicted(params: dict[str, Any], time: np.ndarray) -> dict[str, np.ndarray]:
    """Everything the theory says about the toy; `time` is in units of the new 1/(lr wd)."""
    before, model = _rates(params), {"dimension": params["dimension"], "strength": params["strength"]}
    steps = time / (params["product"] / params["factor"])
    drops = {"lr": intrinsic_lr.lr_drop_gamma_ratio, "weight_decay": intrinsic_lr.wd_drop_gamma_ratio}
    trace = sphere_trace(st.Isotropic(params["noise"]), params["dimension"])
    data = {"gamma_before": intrinsic_lr.equilibrium_gamma(trace=trace, **before)}
    data["gamma_after"] = intrinsic_lr.equilibrium_gamma(trace=trace, **_rates(params, "lr"))
    data["recovery"] = intrinsic_lr.lr_drop_recovery(factor=params["factor"])
    for drop, ratio in drops.items():
        data[f"{drop}_ratio"] = ratio(t=steps, factor=params["factor"], **before)
    for moment, rates in (("before", before), ("after", _rates(params, "lr"))):
        data[f"loss_{moment}"] = 1 - intrinsic_lr.vmf_mean(noise=params["noise"], **model, **rates)
    return {name: np.asarray(value) for name, value in data.items()}


def _toy(params: dict[str, Any], witness: str, time: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """gamma and loss (1 - cosine to the minimum) of the SDE or of SGD, before and after each drop."""
    d, before = params["dimension"], _rates(params)
    mu = np.eye(d)[0]
    norm = intrinsic_lr.equilibrium_norm(trace=sphere_trace(st.Isotropic(params["noise"]), d), **before)
    start = np.tile(mu * norm, (params["paths"], 1))
    settled = _phase(params, witness, before, start, np.array([params["before"] / params["product"]]), seed)
    data = {
        f"{witness}_before_gamma": settled["gamma"].mean(),
        f"{witness}_before_loss": settled["loss"].mean(),
    }
    for number, drop in enumerate(DROPS):
        rates = _rates(params, drop)
        ts = time / (rates["lr"] * rates["weight_decay"])
        phase = _phase(params, witness, rates, settled["final"], ts, seed + 1 + number)
        for name in ("gamma", "loss"):
            data[f"{witness}_{drop}_{name}"] = phase[name].mean(axis=0)
            data[f"{witness}_{drop}_{name}_error"] = standard_error(phase[name])
    return data


def _phase(
    params: dict[str, Any],
    witness: str,
    rates: dict[str, float],
    start: np.ndarray,
    ts: np.ndarray,
    seed: int,
) -> dict[str, np.ndarray]:
    """One phase at constant rates: gamma and loss (paths, times) at `ts`, and the final states."""
    mu = np.eye(params["dimension"])[0]
    rule, noise, numerics = {
        "sde": (st.WeightDecaySDE, st.Isotropic, {"integrator": EulerMaruyama(), "dt": params["sde_dt"]}),
        "sgd": (st.SGD, st.NoisyLinearBatch, {}),
    }[witness]
    run = st.simulate(
        st.VonMisesFisher(mu, params["strength"]), rule(**rates), start, np.rint(ts), seed=seed,
        noise=noise(params["noise"]), observe={"gamma": Gamma(rates["lr"]), "cosine": Cosine(mu)}, **numerics,
    )  # fmt: skip
    return {"gamma": run["gamma"], "loss": 1 - run["cosine"], "final": run.final}


def _network(params: dict[str, Any], drop: str, time: np.ndarray) -> dict[str, np.ndarray]:
    """After one drop: effective lr of the layers over its value before, by its law too, and test error."""
    net, digits = st.networks.mlp(params["net_widths"], normalised_output=True), st.networks.digits()
    training, held_out = (
        digits.subset(part) for part in np.split(np.arange(len(digits)), [params["training_digits"]])
    )
    members, rates = np.arange(params["net_seeds"]), {"lr": params["net_lr"]}
    rates["weight_decay"] = params["net_product"] / params["net_lr"]
    common = {"label_noise": params["label_noise"], "seeds": params["seed"] + members}
    train = partial(st.networks.train, net, training, **common)
    steps = int(params["net_before"] / params["net_product"])
    scale = near_equilibrium(np.full((len(members), 1), rates["lr"]), params["net_product"])
    settled = train(steps=steps, init_scale=scale, record_every=steps // 8, **rates)
    before = settled.effective_lr[:, -3:].mean(axis=(0, 1))
    rates[drop] /= params["factor"]
    marks = np.rint(time / (rates["lr"] * rates["weight_decay"])).astype(int)
    run = train(
        steps=int(marks[-1]),
        start=settled.final,
        first_step=steps,
        record_every=marks,
        progress=True,
        **rates,
    )
    gamma, law = driven_gamma(run, members)
    shown, effective = slice(None, None, params["test_every"]), intrinsic_lr.effective_lr_of_gamma
    again = partial(train, **rates)
    return {
        f"net_{drop}": effective(gamma=gamma) / before,
        f"net_{drop}_law": effective(gamma=law) / before,
        f"net_{drop}_test_error": _test_error(again, net, settled.final, steps + marks[shown], held_out),
        "test_time": time[shown],
    }


def _test_error(train: Any, net: Any, states: np.ndarray, stops: np.ndarray, held_out: Any) -> np.ndarray:
    """Share of held-out digits told wrongly at the given steps, (steps, nets); the same batches again."""
    errors = [1 - st.networks.evaluate(net, states, held_out)[1]]
    for begin, end in pairwise(stops.tolist()):
        states = train(start=states, first_step=begin, steps=end - begin, record_every=end - begin).final
        errors.append(1 - st.networks.evaluate(net, states, held_out)[1])
    return np.array(errors)


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    effective = {drop: np.sqrt(data["sde_before_gamma"] / data[f"sde_{drop}_gamma"]) for drop in DROPS}
    told = np.isin(data["time"].round(9), TOLD)
    fraction = np.sqrt(data["gamma_after"] / data["sgd_lr_gamma"])[told]
    loss = {drop: data[f"sgd_{drop}_loss"] for drop in DROPS}
    lead = (data["net_weight_decay_test_error"] - data["net_lr_test_error"])[1:4].mean(axis=0)
    gap = data["net_weight_decay_test_error"][-3:] - data["net_lr_test_error"][-3:]
    return [
        near("lr_drop_jumps", effective["lr"][0], 1 / data["factor"], 1e-9,
             "The effective lr falls to {found:.3f} of its value at once,"),
        near("it_recovers_by_the_root", effective["lr"][-1] / effective["lr"][0], data["recovery"], 0.06,
             "then rises by {found:.2f} (predicted in the limit: {expected:.2f});"),
        at_most("recovery_as_told", np.abs(fraction - _predicted_fractions(data)[told]).max(), 0.015,
                f"at 0.25, 0.5, 1 it is at {', '.join(f'{x:.2f}' for x in fraction)} of its new level."),
        near("wd_drop_does_not_jump", effective["weight_decay"][0], 1.0, 1e-9,
             "Dividing the weight decay changes nothing at once ({found:.3f})."),
        at_most("sde_follows", _worst(data, "sde"), 0.02,
                "gamma of the SDE follows both predictions within {found:.1%},"),
        at_most("sgd_follows", _worst(data, "sgd"), 0.02, "that of SGD within {found:.1%}."),
        at_most("same_equilibrium",
                np.abs(data["sgd_lr_gamma"] / data["sgd_weight_decay_gamma"] - 1)[-1], 0.03,
                "At the end both schedules differ by {found:.1%} in gamma."),
        near("loss_before", data["sgd_before_loss"] / data["loss_before"], 1.0, 0.04,
             "The loss before the drop is {found:.3f} of the predicted stationary value,"),
        near("loss_after", loss["lr"][-1] / data["loss_after"], 1.0, 0.04,
             "at the end {found:.3f} of the new one;"),
        at_most("loss_dips", loss["lr"].min() / loss["lr"][-1], 0.8,
                "in between, dividing lr takes it down to {found:.2f} of the new level,"),
        at_least("no_dip_without_jump", loss["weight_decay"].min() / loss["weight_decay"][-1], 0.95,
                 "dividing weight decay does not (lowest: {found:.2f})."),
        at_most("network_follows", max(_worst_net(data, drop) for drop in DROPS), 0.03,
                "Every layer of the network follows its law within {found:.1%};"),
        near("network_recovers", np.mean(data["net_lr"][-1] / data["net_lr"][0]), data["recovery"], 0.6,
             "its effective lr rises by {found:.2f}, less than {expected:.2f} as its gradients grow."),
        at_least("lr_drop_leads_early", lead.mean() / standard_error(lead), 2.0,
                 f"Early on the test error is {100 * lead.mean():.2f} points lower after the lr drop "
                 "({found:.1f} standard errors, same seeds),"),
        at_most("test_errors_end_equal", abs(100 * gap.mean()), 0.4,
                "at the end the two differ by {found:.2f} points."),
    ]  # fmt: skip


def _predicted_fractions(data: dict[str, np.ndarray]) -> np.ndarray:
    """Predicted effective lr over its new equilibrium after the lr drop."""
    return intrinsic_lr.effective_lr_of_gamma(gamma=data["lr_ratio"])


def _worst(data: dict[str, np.ndarray], witness: str) -> float:
    """Largest relative distance of gamma to its prediction, both drops."""
    ratios = [data[f"{witness}_{drop}_gamma"] / data["gamma_after"] / data[f"{drop}_ratio"] for drop in DROPS]
    return float(np.abs(np.array(ratios) - 1).max())


def _worst_net(data: dict[str, np.ndarray], drop: str) -> float:
    return float(np.abs(data[f"net_{drop}"] / data[f"net_{drop}_law"] - 1).max())


def _scaled(name: str, factor: Any) -> Any:
    """Spoil one array by a factor that may depend on time."""
    return lambda data: data | {name: data[name] * factor}


BROKEN = {
    "lr_drop_jumps": _scaled("sde_before_gamma", 1.01),
    "it_recovers_by_the_root": _scaled("recovery", 1.1),
    "recovery_as_told": _scaled("sgd_lr_gamma", 1.1),
    "wd_drop_does_not_jump": _scaled("sde_before_gamma", 1.01),
    "sde_follows": _scaled("sde_weight_decay_gamma", 1.03),
    "sgd_follows": _scaled("sgd_lr_gamma", 0.97),
    "same_equilibrium": _scaled("sgd_weight_decay_gamma", 1.1),
    "loss_before": _scaled("sgd_before_loss", 1.1),
    "loss_after": _scaled("loss_after", 0.9),
    "loss_dips": lambda data: data | {"sgd_lr_loss": data["sgd_weight_decay_loss"]},
    "no_dip_without_jump": lambda data: data | {"sgd_weight_decay_loss": data["sgd_lr_loss"]},
    "network_follows": _scaled("net_lr_law", 1.05),
    "network_recovers": lambda data: data | {"net_lr": data["net_lr"] ** 0},
    "lr_drop_leads_early": lambda data: (
        data
        | {
            "net_lr_test_error": data["net_weight_decay_test_error"]
            + 1e-3 * np.arange(1, 1 + data["net_lr_test_error"].shape[1])
        }
    ),
    "test_errors_end_equal": _scaled("net_lr_test_error", 1.5),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Effective lr, distance to equilibrium, loss, and the network."""
    figure, ((rate, distance), (loss, net)) = style.page(2, 2, 4.2)
    _draw_rate(rate, data)
    _draw_distance(distance, data)
    _draw_loss(loss, data)
    _draw_network(net, data)
    for axes in (rate, distance, loss, net):
        axes.set_xlabel(r"$t\,\eta\lambda$ after the drop (new rates)")
    return figure


def _witnesses(axes: Axes, time: np.ndarray, sde: np.ndarray, sgd: np.ndarray, drop: str) -> None:
    """The SDE as a broad line, SGD as circles."""
    axes.plot(time, sde, color=COLOURS[drop], linewidth=4, alpha=0.35, solid_capstyle="butt")
    axes.plot(time[::2], sgd[::2], "o", color=COLOURS[drop], **OPEN)


def _draw_rate(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "effective learning rate")
    time, scale = data["time"], np.sqrt(data["gamma_before"] / data["gamma_after"])
    axes.plot([-0.2, 0], [1, 1], **style.PREDICTED)
    for drop in DROPS:
        sde, sgd = (np.sqrt(data["gamma_before"] / data[f"{name}_{drop}_gamma"]) for name in ("sde", "sgd"))
        _witnesses(axes, time, sde, sgd, drop)
        axes.plot(time, scale / np.sqrt(data[f"{drop}_ratio"]), **style.PREDICTED)
    axes.plot([0, 0], [1, 1 / float(data["factor"])], **style.PREDICTED)
    axes.set(yscale="log", ylabel=r"$\eta_e\,/\,\eta_e$ before", ylim=(0.08, 1.5), xlim=(-0.2, time[-1]))
    axes.set_yticks([0.1, 0.316, 1.0], ["0.1", r"$1/\sqrt{10}$", "1"])
    axes.minorticks_off()
    keys = [Line2D([], [], color=COLOURS[drop], linewidth=2, label=LABELS[drop]) for drop in DROPS]
    keys.append(Line2D([], [], color=style.GREY, linewidth=4, alpha=0.4, label="SDE"))
    keys.append(Line2D([], [], color=style.GREY, marker="o", linestyle="", label="SGD", **OPEN))
    axes.legend(handles=[*keys, Line2D([], [], label="prediction", **style.PREDICTED)], loc="upper right")


def _draw_distance(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "distance to the new equilibrium")
    for drop in DROPS:
        sde, sgd = (np.abs(data[f"{name}_{drop}_gamma"] / data["gamma_after"] - 1) for name in ("sde", "sgd"))
        _witnesses(axes, data["time"], sde, sgd, drop)
        axes.plot(data["time"], np.abs(data[f"{drop}_ratio"] - 1), **style.PREDICTED)
    axes.set(yscale="log", ylabel=r"$|\gamma\,/\,\gamma_*-1|$", ylim=(3e-3, 20))
    axes.text(0.62, 0.62, r"$\propto e^{-4\,t\,\eta\lambda}$", transform=axes.transAxes)


def _draw_loss(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "loss above its minimum")
    for drop in DROPS:
        mean, error = data[f"sde_{drop}_loss"], 2 * data[f"sde_{drop}_loss_error"]
        axes.fill_between(
            data["time"], mean - error, mean + error, color=COLOURS[drop], alpha=0.35, linewidth=0
        )
        axes.plot(data["time"], mean, color=COLOURS[drop], linewidth=0.6)
        axes.plot(data["time"][::2], data[f"sgd_{drop}_loss"][::2], "o", color=COLOURS[drop], **OPEN)
    axes.plot([-0.2, 0], np.full(2, data["loss_before"]), **style.PREDICTED)
    axes.plot([0, data["time"][-1]], np.full(2, data["loss_after"]), **style.PREDICTED)
    axes.set(yscale="log", ylabel=r"$1-\langle\mu,\bar w\rangle$", xlim=(-0.2, data["time"][-1]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")


def _draw_network(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "batch-normalised network on digits")
    time = data["time"]
    for drop in DROPS:
        for layer, symbol in enumerate(SYMBOLS):
            axes.plot(time, data[f"net_{drop}_law"][:, layer], **style.PREDICTED | {"linewidth": 0.6})
            axes.plot(
                time[layer::3], data[f"net_{drop}"][layer::3, layer], symbol, color=COLOURS[drop], **OPEN
            )
    axes.set(yscale="log", ylabel=r"$\eta_e\,/\,\eta_e$ before", ylim=(0.08, 2.6))
    axes.set_yticks([0.1, 0.316, 1.0], ["0.1", r"$1/\sqrt{10}$", "1"])
    axes.minorticks_off()
    keys = [
        Line2D([], [], color=style.GREY, marker=m, linestyle="", label=f"layer {n}", **OPEN)
        for n, m in enumerate(SYMBOLS, 1)
    ]
    axes.legend(handles=keys, loc="lower right")
    _draw_test_error(axes.inset_axes((0.45, 0.62, 0.53, 0.34)), data)


def _draw_test_error(axes: Axes, data: dict[str, np.ndarray]) -> None:
    for drop in DROPS:
        error = 100 * data[f"net_{drop}_test_error"]
        mean, width = error.mean(axis=1), 2 * standard_error(error.T)
        axes.fill_between(
            data["test_time"], mean - width, mean + width, color=COLOURS[drop], alpha=0.3, linewidth=0
        )
        axes.plot(data["test_time"], mean, color=COLOURS[drop], linewidth=0.8)
    axes.set_ylabel("test error, %", fontsize=6)
    axes.tick_params(labelsize=6)
