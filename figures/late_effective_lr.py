"""Effective lr over time and angle per step of real layers under momentum and decay (claim A22, after Liu et al. 2022).

The paper reports that with momentum and weight decay the effective learning rate keeps increasing after the initial
stage. The reader should see it increase for as long as the norm is above, and the gradients fall towards, their
equilibrium (a), then stay; fall, not rise, where labels are wrong and the gradients grow instead (b); jump with
the schedule (c); and the turn of each layer per step at equilibrium on the laws for SGD, heavy ball and AdamW (d),
which `rotational_equilibrium` checks on exactly solvable noise.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdetheory as st
from figures.press import style
from figures.press.digit_nets import one_thread_a_product
from figures.press.expectation import Expectation, at_least, at_most, between
from sdetheory import networks
from sdetheory.predictions import intrinsic_lr, rotational_equilibrium

CLAIMS = ("A22", "A10", "I37", "I38")
CAPTION = """Nets {widths} on {training_digits} digits, batches of 32, {net_seeds} seeds. (a to c) Plain output layer,
heavy ball, momentum {momentum:g}, lr {lr:g}: lr/|w|^2 of the first layer over its value at the start, mean over seeds,
for the weight decays of the legend; dashed: at the equilibrium norm for the gradients measured in the window. (a) Clean
labels, (b) {corrupted:.0%} of the labels wrong for good, (c) both, lr divided by 10 at the vertical lines. (d) All
layers normalised, fresh label noise {noise:g}: root mean square turn per step of each layer over the last quarter,
against lr wd; dashed: predictions."""

PARAMS: dict[str, Any] = {
    "widths": [64, 32, 32, 10], "training_digits": 1000, "corrupted": 0.2, "net_seeds": 5, "momentum": 0.9, "lr": 0.1,
    "wds": [0.0, 5e-4, 2e-3, 8e-3], "steps": 4000, "products": [1e-3, 3e-3, 1e-2], "noise": 0.2, "turn_lr": 0.3,
    "adamw_lr": 0.01, "adamw_betas": [0.9, 0.999], "times": 4.0, "seed": 64,
}  # fmt: skip
QUICK = PARAMS | {"steps": 800, "net_seeds": 3, "wds": [0.0, 2e-3, 8e-3], "products": [3e-3, 1e-2], "times": 3.0}

COLOURS = (style.BLACK, style.BLUE, style.GREEN, style.VERMILION)
RULES = ("SGD", "heavy ball", "AdamW")
SYMBOLS = "os^"


@one_thread_a_product
def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Effective lr (labels, decays, marks), what equilibrium would be; turns (rules, products, layers)."""
    training = networks.digits().subset(slice(0, params["training_digits"]))
    corrupted = training.corrupted_labels(params["corrupted"])
    steps = params["steps"]
    # close together early, and in the second half, where the lr of (c) drops
    marks = np.concatenate([[0], np.rint(np.geomspace(1, steps, 36)), np.linspace(steps // 2, steps, 33) // 1])
    marks, phase = np.unique(marks.astype(int)), np.arange(steps) // (steps // 4)
    dropped = params["lr"] * np.array([1.0, 1.0, 0.1, 0.01])[np.minimum(phase, 3)]
    rows = [
        _rates(params, data, lr, marks)
        for lr in (np.full(steps, params["lr"]), dropped)
        for data in (training, corrupted)
    ]
    turns = [_turns(params, training, rule) for rule in RULES]
    return {
        "marks": marks, "wds": np.array(params["wds"]), "products": np.array(params["products"]),
        "effective_lr": np.array([row[0] for row in rows]), "equilibrium": np.array([row[1] for row in rows]),
        "gradient": np.array([row[2] for row in rows]),
        "turn": np.array([turn[0] for turn in turns]), "predicted": np.array([turn[1] for turn in turns]),
    }  # fmt: skip


def _rates(params: dict[str, Any], data: networks.Data, lr: np.ndarray, marks: np.ndarray) -> tuple[np.ndarray, ...]:
    """lr/|w|^2 of the first layer, its equilibrium at the gradients of the window, those gradients: (decays, marks)."""
    net, wds, count = networks.mlp(params["widths"]), params["wds"], params["net_seeds"]
    run = networks.train(
        net, data, optimiser=st.HeavyBall(lr, np.repeat(wds, count)[:, None], params["momentum"]), steps=len(lr),
        seeds=np.tile(params["seed"] + np.arange(count), len(wds)), record_every=marks,
    )  # fmt: skip
    shape = (len(wds), count, len(marks))
    effective = run.effective_lr[:, :, 0].reshape(shape).mean(axis=1)
    gradient = run.spherical_mean[:, :, 0].reshape(shape).mean(axis=1)
    now, equilibrium = run.lr[0], np.full_like(effective, np.nan)
    for i, wd in enumerate(wds):
        if wd > 0:
            norm = intrinsic_lr.momentum_equilibrium_squared_norm(
                lr=now[1:], weight_decay=wd, momentum=params["momentum"], unit_squared_gradient=gradient[i, 1:]
            )
            equilibrium[i, 1:] = now[1:] / norm
    return effective, equilibrium, gradient


def _turns(params: dict[str, Any], data: networks.Data, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square turn (products, layers) and its prediction (products,)."""
    net, count = networks.mlp(params["widths"], normalised_output=True), params["net_seeds"]
    measured, predicted = [], []
    for product in params["products"]:
        optimiser, turn = _rule(params, rule, product)
        steps = int(params["times"] / product)
        watch = networks.Angle(net.groups(), every=np.arange(3 * steps // 4, steps, 5))
        run = networks.train(
            net, data, optimiser=optimiser, steps=steps, seeds=params["seed"] + np.arange(count), record_every=steps,
            label_noise=params["noise"], instruments=[watch], init_scale=0.3,
        )  # fmt: skip
        angle = run.readings["angle"]["angle"]
        measured.append(np.sqrt((angle**2).mean(axis=(0, 1))))
        predicted.append(turn)
    return np.array(measured), np.array(predicted)


def _rule(params: dict[str, Any], rule: str, product: float) -> tuple[Any, float]:
    """The optimiser, and its turn at equilibrium."""
    lr, momentum = params["turn_lr"], params["momentum"]
    if rule == "AdamW":
        given = {"lr": params["adamw_lr"], "weight_decay": product / params["adamw_lr"]}
        betas = params["adamw_betas"]
        return st.AdamW(*given.values(), *betas), float(rotational_equilibrium.adamw_rotation(beta1=betas[0], **given))
    if rule == "SGD":
        momentum = 0.0
    lr = lr * (1 - momentum)
    given = {"lr": lr, "weight_decay": product / lr, "momentum": momentum}
    return st.HeavyBall(*given.values()), float(np.arccos(intrinsic_lr.momentum_turn_cosine(**given)))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    clean, wrong = data["effective_lr"][0], data["effective_lr"][1]
    low = clean.argmin(axis=1)
    rise = clean[:, -1] / clean.min(axis=1)
    late = int(data["marks"].searchsorted(data["marks"][-1] // 2))
    level = clean[-1, -1] / clean[-1, late]
    fall = wrong[1, -1] / wrong[1].max()
    kept = (data["effective_lr"][0] / data["equilibrium"][0])[-1, -4:]
    grown = data["gradient"][1, 1, -1] / data["gradient"][0, 1, -1]
    half, last = data["marks"][-1] // 2, data["marks"][-1] * 3 // 4
    inside = np.flatnonzero((data["marks"] > half) & (data["marks"] < last))
    again = data["effective_lr"][2][:, inside[-1]] / data["effective_lr"][2][:, inside[0]]
    ratio = data["turn"] / data["predicted"][:, :, None]
    told = [f"{r.min():.2f} to {r.max():.2f}" for r in ratio]
    return [
        at_least("it_rises_on_clean_labels", rise[1:].min(), 1.15,
                 f"(a) With decay the effective lr falls up to step {data['marks'][low[1]]} (weakest) or "
                 f"{data['marks'][low[-1]]} (strongest decay), then rises by "
                 f"{', '.join(f'{r:.1f}' for r in rise[1:])} (at least {{found:.1f}}),"),
        at_most("not_without_decay", rise[0], 1.1, "without decay it does not ({found:.2f});"),
        between("until_equilibrium", level, 0.8, 1.3,
                "under the strongest decay it has stopped: factor {found:.2f} in the second half,"),
        between("at_the_equilibrium_of_its_gradients", kept.mean(), 0.8, 1.25,
                "at {found:.2f} of the equilibrium for its gradients."),
        at_most("it_falls_with_wrong_labels", fall, 0.8,
                f"(b) With wrong labels, whose squared unit gradients end {grown:.0f} times larger, it falls under wd "
                f"{data['wds'][1]:g}, to {{found:.2f}} of its largest value: no law that it rises."),
        at_least("rises_again_after_a_drop", again.max(), 1.1,
                 f"(c) A drop of lr takes it down at once; then it rises again by {again[1]:.2f} (weakest) to "
                 "{found:.1f} (strongest decay, clean labels)."),
        between("turn_of_sgd", ratio[0].mean(), 0.9, 1.1,
                f"(d) The turn over its prediction is {told[0]} for SGD (mean {{found:.2f}}),"),
        between("turn_of_heavy_ball", ratio[1].mean(), 0.85, 1.15, f"{told[1]} for heavy ball ({{found:.2f}})"),
        between("turn_of_adamw", ratio[2].mean(), 0.7, 1.3, f"and {told[2]} for AdamW ({{found:.2f}})."),
    ]  # fmt: skip


def _times(name: str, at: Any, factor: float) -> Any:
    """Some entries times a factor."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = data[name].copy()
        values[at] *= factor
        return data | {name: values}

    return spoil


BROKEN = {
    "it_rises_on_clean_labels": _times("effective_lr", (0, slice(1, None), -1), 0.01),
    "not_without_decay": _times("effective_lr", (0, 0, -1), 10.0),
    "until_equilibrium": _times("effective_lr", (0, -1, -1), 2.0),
    "at_the_equilibrium_of_its_gradients": _times("equilibrium", 0, 2.0),
    "it_falls_with_wrong_labels": _times("effective_lr", (1, 1, -1), 100.0),
    "rises_again_after_a_drop": lambda data: data | {"effective_lr": data["effective_lr"][[0, 1, 1, 3]] ** 0},
    "turn_of_sgd": _times("turn", 0, 1.4),
    "turn_of_heavy_ball": _times("turn", 1, 1.5),
    "turn_of_adamw": _times("turn", 2, 2.5),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Effective lr on clean and wrong labels, under the schedule, and turns."""
    figure, ((clean, wrong), (schedule, turn)) = style.page(2, 2, 4.4)
    for axes, row, mark, title in ((clean, 0, "a", "clean labels"), (wrong, 1, "b", "wrong labels")):
        style.letter(axes, mark, title)
        _draw_rates(axes, data, row, "-")
    clean.legend(loc="upper left", fontsize=5.5)
    style.letter(schedule, "c", "lr divided by 10, twice")
    _draw_rates(schedule, data, 2, "-", expected=False)
    _draw_rates(schedule, data, 3, ":", expected=False)
    for edge in (0.5, 0.75):
        schedule.axvline(edge * data["marks"][-1], color=style.GREY, linewidth=0.6)
    schedule.set_xscale("linear")
    schedule.plot([], [], color=style.BLACK, label="clean labels")
    schedule.plot([], [], color=style.BLACK, linestyle=":", label="wrong labels")
    schedule.legend(handles=schedule.lines[-2:], loc="lower left", fontsize=5.5)
    style.letter(turn, "d", "turn per step at equilibrium")
    _draw_turns(turn, data)
    return figure


def _draw_rates(axes: Axes, data: dict[str, np.ndarray], row: int, line: str, expected: bool = True) -> None:
    start, whole = data["effective_lr"][row, 0, 0], data["marks"]
    early = int(whole.searchsorted(whole[-1] // 2))
    shown = np.r_[1:early, early : len(whole) : 4 if expected else 1]  # windows as long as those before
    marks = whole[shown]
    colours = COLOURS if len(data["wds"]) == len(COLOURS) else (COLOURS[0], *COLOURS[-len(data["wds"]) + 1 :])
    for i, wd in enumerate(data["wds"]):
        axes.plot(marks, data["effective_lr"][row, i, shown] / start, line, color=colours[i], linewidth=1.0,
                  label=rf"$\lambda={wd:g}$" if wd else "no decay")  # fmt: skip
        if expected and wd:
            axes.plot(marks, data["equilibrium"][row, i, shown] / start, **style.PREDICTED | {"color": colours[i]})
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel=r"$(\eta/\|w\|^2)$ / start")


def _draw_turns(axes: Axes, data: dict[str, np.ndarray]) -> None:
    for i, rule in enumerate(RULES):
        axes.plot(data["products"], data["predicted"][i], **style.PREDICTED | {"zorder": 1})
        for layer, turn in enumerate(data["turn"][i].T):
            axes.plot(data["products"] * 1.05 ** (layer - 1), turn, linestyle="", marker=SYMBOLS[i], markersize=3,
                      markerfacecolor="white", markeredgewidth=0.7, color=COLOURS[i + 1],
                      label=rule if layer == 0 else None)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta\lambda$", ylabel="radians")
    axes.legend(loc="upper left", fontsize=5.5)
