"""Norms under flow, SGD, momentum, Adam and weight decay, with what is left of the exact laws (after Liu et al. 2021).

The paper: with batch normalisation the norm of a weight is constant under the flow and keeps increasing under SGD.
The reader should see the flow keep it as exactly as the integrator allows (b), SGD and heavy ball raise it at
every step by the exact amounts, momentum (1 + mu)/(1 - mu) times as fast for the same step, decay stop it at its
equilibrium (a, c), Adam lower it at many steps (d), and the square grow like the root of time while gradients on
the sphere stay alike (a).
"""

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdetheory as st
from figures.press import style
from figures.press.digit_nets import one_thread_a_product
from figures.press.expectation import Expectation, at_least, at_most, between, near
from sdetheory import networks
from sdetheory.predictions import intrinsic_lr

CLAIMS = ("A5", "A6", "A7", "A8", "A9", "A10")
CAPTION = """First layer of nets {widths} on {training_digits} digits, batch normalisation also on the logits, start
{init_scale:g} times He's, fresh label noise {noise:g}, batches of 32, {net_seeds} seeds. (a) |w|^2, mean over seeds:
SGD (lr {lr:g}), heavy ball (momentum {momentum:g}, lr {momentum_lr:g}), SGD with wd {wd:g}, Adam (lr {adam_lr:g});
dashed: growth and equilibrium at the mean squared gradient measured on the sphere. (b) Change of |w|^2 along the
gradient flow of a tanh net, usual start, on {flow_digits} digits for a time {flow_time:g}, by Runge-Kutta 4, relative,
largest over layers, against the step of the integrator. (c) Largest residual so far of the exact law of one step over
layers and seeds, relative to |w|^2. (d) Share of steps, in windows, at which |w| falls."""

PARAMS: dict[str, Any] = {
    "widths": [64, 32, 32, 10], "training_digits": 1000, "init_scale": 0.3, "noise": 0.2, "lr": 0.3, "momentum": 0.9,
    "momentum_lr": 0.03, "wd": 1e-2, "adam_lr": 2e-4, "net_seeds": 5, "steps": 3000,
    "flow_digits": 200, "flow_steps": [0.32, 0.16, 0.08, 0.04], "flow_time": 3.2, "seed": 66,
}  # fmt: skip
QUICK = PARAMS | {"steps": 600, "net_seeds": 3, "flow_steps": [0.32, 0.16, 0.08], "flow_time": 1.6}

RULES = ("SGD", "heavy ball", "SGD, decay", "Adam")
PLAIN, MOMENTUM, DECAY, ADAM = range(len(RULES))
COLOURS = (style.BLUE, style.GREEN, style.VERMILION, style.PURPLE)
WINDOWS = 24


@one_thread_a_product
def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Squared norms (rules, steps), residuals, falls (rules, windows); drift of the flow (integrator steps,)."""
    training = networks.digits().subset(slice(0, params["training_digits"]))
    net = networks.mlp(params["widths"], normalised_output=True)
    rows = [_norms(params, net, training, _rule(params, rule)) for rule in range(len(RULES))]
    out = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    few = training.subset(slice(0, params["flow_digits"]))
    smooth = networks.mlp(params["widths"], normalised_output=True, activation="tanh")
    start = smooth.start([params["seed"]])
    drift = [_flow(smooth, few, start, step, params["flow_time"]) for step in params["flow_steps"]]
    return out | {"flow_steps": np.array(params["flow_steps"]), "drift": np.array(drift)} | _predicted(params, out)


def _rule(params: dict[str, Any], rule: int) -> Any:
    return {
        PLAIN: st.HeavyBall(params["lr"], 0.0, 0.0),
        MOMENTUM: st.HeavyBall(params["momentum_lr"], 0.0, params["momentum"]),
        DECAY: st.HeavyBall(params["lr"], params["wd"], 0.0),
        ADAM: st.Adam(params["adam_lr"], 0.0),
    }[rule]


def _norms(params: dict[str, Any], net: Any, data: Any, optimiser: Any) -> dict[str, np.ndarray]:
    """Of the first layer |w|^2 (steps,) and the share of falls (windows,); of all layers the residual (steps,)."""
    steps = params["steps"]
    run = networks.train(
        net, data, optimiser=optimiser, instruments=[networks.NormLaw(net.groups(), optimiser)], steps=steps,
        record_every=steps, label_noise=params["noise"], init_scale=params["init_scale"],
        seeds=params["seed"] + np.arange(params["net_seeds"]),
    )  # fmt: skip
    law = run.readings["norm_law"]
    edges = np.linspace(0, steps, WINDOWS + 1).astype(int)
    falls = (law["change"][:, :, 0] < 0).mean(axis=0)
    adaptive = isinstance(optimiser, st.Adam)
    residual = np.abs(law["residual" if adaptive else "tangent_residual"]).max(axis=(0, 2))
    return {
        "square": law["squared_norm"][:, :, 0].mean(axis=0), "residual": residual,
        "unit_gradient": (law["squared_norm"] * law["squared_gradient"])[:, :, 0].mean(axis=0),
        "falls": np.array([falls[a:b].mean() for a, b in pairwise(edges)]),
    }  # fmt: skip


def _predicted(params: dict[str, Any], out: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Growth at the mean gradient so far, at lr (1 + mu)/(1 - mu) for momentum; the equilibrium under decay."""
    t, start = np.arange(params["steps"]), out["square"][:, 0]
    mean = np.cumsum(out["unit_gradient"], axis=1) / (t + 1)
    mu, growth = params["momentum"], []
    for rule, lr in ((PLAIN, params["lr"]), (MOMENTUM, params["momentum_lr"] / (1 - mu))):
        gamma0 = float(start[rule] ** 2 / lr**2)
        gamma = intrinsic_lr.gamma(t=t, lr=lr, weight_decay=0.0, trace=mean[rule], gamma0=gamma0)
        growth.append(np.sqrt(gamma) * lr)
    late = out["unit_gradient"][DECAY, -params["steps"] // 4 :].mean()
    equilibrium = intrinsic_lr.discrete_equilibrium_squared_norm(
        lr=params["lr"], weight_decay=params["wd"], unit_squared_gradient=late
    )
    return {"growth": np.array(growth), "equilibrium": np.array(equilibrium)}


def _flow(net: Any, data: Any, start: np.ndarray, step: float, time: float) -> float:
    """Largest relative change of |w|^2, over layers, along the flow at a Runge-Kutta step of `step`."""

    def speed(w: np.ndarray) -> np.ndarray:
        return -net.gradient(w, data.inputs, data.labels)[1]

    w = start.copy()
    for _ in range(round(time / step)):
        a = speed(w)
        b = speed(w + step / 2 * a)
        c = speed(w + step / 2 * b)
        w = w + step / 6 * (a + 2 * b + 2 * c + speed(w + step * c))
    squares = [[(group.select(x) ** 2).sum() for group in net.groups()] for x in (w, start)]
    return float(np.abs(np.divide(*squares) - 1).max())


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    residual = data["residual"].max(axis=1)
    order = np.polyfit(np.log(data["flow_steps"]), np.log(data["drift"]), 1)[0]
    late = np.arange(data["square"].shape[1]) > data["square"].shape[1] // 3
    slope = np.polyfit(np.log(np.flatnonzero(late)), np.log(data["square"][PLAIN][late]), 1)[0]
    off = np.abs(data["square"][[PLAIN, MOMENTUM]] / data["growth"] - 1)[:, late].max(axis=1)
    settled = data["square"][DECAY][-len(late) // 4 :].mean() / data["equilibrium"]
    return [
        at_least("flow_keeps_it", order, 3.5,
                 f"(b) Along the flow |w|^2 changes by {data['drift'][-1]:.0e} at the smallest step, falling with its "
                 "power {found:.1f}: an error of the integrator."),
        at_most("sgd_law", residual[PLAIN], 1e-11,
                "(c) Under SGD |w|^2 + lr^2 |g|^2 is the next square to {found:.0e},"),
        at_most("momentum_law", residual[MOMENTUM], 1e-9,
                "under heavy ball with the sum of its past steps added, to {found:.0e},"),
        at_most("decay_law", residual[DECAY], 1e-11, "under decay with (1 - lr wd)^2 in front, to {found:.0e},"),
        at_most("adam_identity", residual[ADAM], 1e-9, "and the identity of Adam to {found:.0e}."),
        near("root_of_time", slope, 0.5, 0.2, "(a) Under SGD |w|^2 grows like t^{found:.2f},"),
        at_most("growth_at_the_mean_gradient", off[0], 0.15,
                "within {found:.0%} of the square root law at the mean gradient so far;"),
        at_most("momentum_grows_faster", off[1], 0.3,
                "heavy ball within {found:.0%} of that law at lr/(1 - mu), by |p| and its correlations;"),
        between("decay_settles", settled, 0.9, 1.1, "under decay it ends at {found:.2f} of its equilibrium."),
        at_most("only_rises", data["falls"][[PLAIN, MOMENTUM]].max(), 0.0,
                "(d) It never falls under SGD and heavy ball,"),
        at_least("adam_falls", data["falls"][ADAM].max(), 0.05,
                 "under Adam at up to {found:.0%} of the steps in a window, though gradients are tangent."),
    ]  # fmt: skip


def _spoilt(name: str, at: Any, factor: float, plus: float = 0.0) -> Any:
    """Some entries times a factor plus a number."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = data[name].copy()
        values[at] = values[at] * factor + plus
        return data | {name: values}

    return spoil


BROKEN = {
    "flow_keeps_it": lambda data: data | {"drift": data["flow_steps"] ** 2},
    "sgd_law": _spoilt("residual", PLAIN, 1e7),
    "momentum_law": _spoilt("residual", MOMENTUM, 1e9),
    "decay_law": _spoilt("residual", DECAY, 1e7),
    "adam_identity": _spoilt("residual", ADAM, 1e9),
    "root_of_time": lambda data: data | {"square": data["square"] ** 4},
    "growth_at_the_mean_gradient": _spoilt("growth", 0, 1.3),
    "momentum_grows_faster": _spoilt("growth", 1, 1.8),
    "decay_settles": lambda data: data | {"equilibrium": data["equilibrium"] * 1.3},
    "only_rises": _spoilt("falls", PLAIN, 1.0, 0.01),
    "adam_falls": _spoilt("falls", ADAM, 0.0),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Norms, the flow, residuals, falls."""
    figure, ((norms, flow), (residuals, falls)) = style.page(2, 2, 4.3)
    style.letter(norms, "a", "squared norm")
    _draw_norms(norms, data)
    style.letter(flow, "b", "gradient flow")
    steps = data["flow_steps"]
    flow.plot(steps, data["drift"], "o", color=style.BLUE, markersize=3, markerfacecolor="white")
    flow.plot(steps, data["drift"][0] * (steps / steps[0]) ** 4, label="order 4", **style.PREDICTED)
    flow.set(xscale="log", yscale="log", xlabel="Runge-Kutta step", ylabel=r"relative change of $\|w\|^2$")
    flow.legend(loc="upper left", fontsize=5.5)
    style.letter(residuals, "c", "residual of the exact step")
    for rule, name in enumerate(RULES):
        sorted_out = np.maximum.accumulate(data["residual"][rule])
        residuals.plot(np.arange(1, len(sorted_out) + 1), sorted_out, color=COLOURS[rule], linewidth=1.0, label=name)
    residuals.set(xscale="log", yscale="log", xlabel="step", ylabel="largest so far", ylim=(1e-17, 1e-12))
    style.letter(falls, "d", "steps at which the norm falls")
    middle = (np.arange(WINDOWS) + 0.5) / WINDOWS * data["square"].shape[1]
    for rule, name in enumerate(RULES):
        falls.plot(middle, 100 * data["falls"][rule], color=COLOURS[rule], linewidth=1.0, label=name)
    falls.set(xlabel="step", ylabel="per cent of steps")
    falls.legend(loc="best", fontsize=5.5)
    return figure


def _draw_norms(axes: Axes, data: dict[str, np.ndarray]) -> None:
    t = np.arange(1, data["square"].shape[1] + 1)
    for rule, name in enumerate(RULES):
        axes.plot(t, data["square"][rule], color=COLOURS[rule], linewidth=1.0, label=name)
    for row in data["growth"]:
        axes.plot(t, row, **style.PREDICTED)
    axes.axhline(float(data["equilibrium"]), **style.PREDICTED)
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel=r"$\|w\|^2$")
    axes.legend(loc="upper left", fontsize=5.5)
