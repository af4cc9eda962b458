"""Full-batch gradient descent with weight decay on a network (analogue of Fig. 1b,c of Li, Lyu, Arora 2020).

The network fits its digits, gradients fade, weight decay shrinks the norms and so raises the effective lr,
until the minimum is unstable: lr/(1 - lr wd) times the largest Hessian eigenvalue exceeds 2. The reader should
see the loss burst again and again after it had reached its floor (a), the accuracy leave 100 % with it (b), the
stability number climb through 2 before each burst and fall below it in the burst (c), how seldom it exceeds 2
at other times (d), and everything come to rest once weight decay is switched off.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import binomtest

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, between
from sdetheory.networks.sharpness import sharpness, stability

CLAIMS = ("I26",)
CAPTION = """Full-batch gradient descent with weight decay on {digits} digits: network 64-64-10, tanh, batch
normalisation, last layer fixed, {nets} starts for each of two products lr wd, lr = {lr:g}; time in units of 1/(lr wd).
Weight decay is switched off at the dotted line. (a) Training loss, (b) training accuracy and (c) stability number
lr/(1 - lr wd) lambda_1(Hess L(w)) of one net each; dashed: the edge at 2. It is the effective lr
times the spherical sharpness, lambda_1(Hess L(w/|w|)).
(d) Share of moments at which the number is below the abscissa: at the last measurement before the loss bursts
(exceeds {high:g} after it was below {low:g}; lines), at all other moments before (grey) and after the switch (green).
The number is measured every {spacing:g}/(lr wd)."""

PARAMS: dict[str, Any] = {
    "widths": [64, 64, 10],
    "digits": 200,
    "lr": 0.3,
    "products": [1e-2, 1e-3],
    "nets": 6,
    "switch_off": 6.0,
    "until": 10.0,
    "spacing": 0.05,
    "low": 0.1,
    "high": 0.2,
    "shown": 0,
    "seed": 0,
}
QUICK = PARAMS | {"products": [1e-2, 5e-3], "nets": 3, "spacing": 0.1}

COLOURS = (style.BLUE, style.VERMILION)
EDGE = 2.0


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Loss and accuracy at every step, the stability number at a spacing, for both products."""
    net = st.networks.mlp(params["widths"], activation="tanh", frozen_output=True)
    data = st.networks.digits().subset(slice(0, params["digits"]))
    out = {name: np.asarray(params[name]) for name in ("products", "switch_off", "until", "low", "high", "shown")}
    for number, product in enumerate(params["products"]):
        out |= {f"{name}_{number}": values for name, values in _run(params, net, data, product).items()}
    return out


def _run(params: dict[str, Any], net: Any, data: Any, product: float) -> dict[str, np.ndarray]:
    """One ensemble, piece by piece; at the start of each piece the largest eigenvalue."""
    lr, seeds = params["lr"], params["seed"] + np.arange(params["nets"])
    off, end = (round(params[name] / product) for name in ("switch_off", "until"))
    piece = max(1, round(params["spacing"] / product))
    stops = np.unique([*range(0, end, piece), off, end])
    w, vectors = net.start(seeds), None
    rows: dict[str, list[np.ndarray]] = {"loss": [], "accuracy": [], "number": [], "effective_lr": []}
    for begin, stop in pairwise(stops):
        decay = product / lr if begin < off else 0.0
        largest, found = sharpness(net, w, data, start=vectors, tolerance=1e-2)
        vectors = found + 0.1 / np.sqrt(net.size)  # so that no eigenvector that overtakes is missed
        rows["number"].append(stability(lr, decay, largest)[:, None])
        record = st.networks.train(
            net, data, lr=lr, weight_decay=decay, steps=int(stop - begin), batch_size=None, seeds=seeds, start=w,
            first_step=int(begin),
        )  # fmt: skip
        w = record.final
        rows["effective_lr"].append(record.effective_lr[:, :1, 0])
        rows["loss"].append(record.loss[:, :-1])
        rows["accuracy"].append(record.accuracy[:, :-1])
    return {name: np.concatenate(parts, axis=1) for name, parts in rows.items()} | {"measured_at": stops[:-1]}


def _bursts(loss: np.ndarray, low: float, high: float) -> np.ndarray:
    """(net, step) of each step at which a loss (nets, steps) exceeds `high`, having been below `low` since the last."""
    found = []
    for net, row in enumerate(loss):
        armed = False
        for step in np.flatnonzero((row < low) | (row > high)):
            if armed and row[step] > high:
                found.append((net, step))
            armed = bool(row[step] < low)
    return np.array(found, dtype=int).reshape(-1, 2)


def _judged(data: dict[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """Numbers at the last measurement before bursts, their lowest between two, and at all other moments."""
    values, at = data[f"number_{number}"], data[f"measured_at_{number}"]
    unit = 1 / float(data["products"][number])
    bursts = _bursts(data[f"loss_{number}"], float(data["low"]), float(data["high"]))
    place = np.searchsorted(at, bursts[:, 1], side="left") - 1  # strictly before the step of the burst
    early, decaying = bursts[:, 1] < data["switch_off"] * unit, at < data["switch_off"] * unit
    others = np.ones(values.shape, dtype=bool)
    others[bursts[:, 0], place] = False
    lowest = [values[net, p + 1 : q + 1].min() for net, (p, q) in _pairs(bursts[early], place[early])]
    return {
        "before": values[bursts[early, 0], place[early]], "others": values[others & decaying & (at >= unit)],
        "lowest": np.array(lowest), "after": values[:, ~decaying], "late": values[bursts[~early, 0], place[~early]],
        "late_nets": np.unique(bursts[~early, 0]), "late_time": bursts[~early, 1] / unit,
    }  # fmt: skip


def _pairs(bursts: np.ndarray, place: np.ndarray) -> list[tuple[int, tuple[int, int]]]:
    """Successive bursts of the same net, as places in its measurements."""
    rows = zip(bursts[:-1, 0], bursts[1:, 0], place[:-1], place[1:], strict=True)
    return [(int(a), (int(p), int(q))) for a, b, p, q in rows if a == b]


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    judged = [_judged(data, number) for number in range(2)]
    before, others, lowest, late = (
        np.concatenate([j[name] for j in judged]) for name in ("before", "others", "lowest", "late")
    )
    nets = sum(len(data[f"loss_{number}"]) for number in range(2))
    rates = [len(j["before"]) / len(j["after"]) / float(data["switch_off"]) for j in judged]
    share, random = binomtest(int(np.sum(before > EDGE)), len(before)), float(np.mean(others > EDGE))
    interval = share.proportion_ci(0.99)
    changes = [_change(data, number) for number in range(2)]
    rest = [_rest(data, number) for number in range(2)]
    later = len(late) / nets / float(data["until"] - data["switch_off"])
    burst = sum(len(j["late_nets"]) for j in judged)
    last = max((time for j in judged for time in j["late_time"]), default=float(data["switch_off"]))
    return [
        at_most("fits", max(_first_fit(data, number) for number in range(2)), 3.0,
                "Every net tells all its digits by {found:.1f}/(lr wd)."),
        at_most("leaves", max(_worst_accuracy(data, number) for number in range(2)), 0.9,
                "Later every one of them falls to {found:.0%} accuracy or less,"),
        between("bursts_slow", rates[1], 0.3, 2.0, f"its loss bursting {rates[0]:.2f} and"
                " {found:.2f} times in 1/(lr wd) (larger and smaller product)."),
        at_least("preceded_by_the_edge", share.statistic, 0.97,
                 f"Before {share.k} of {share.n} bursts ({{found:.1%}}; 99 % interval {interval.low:.1%} to "
                 f"{interval.high:.1%}) the number is above 2;"),
        at_most("not_by_chance", binomtest(share.k, share.n, random, "greater").pvalue, 1e-6,
                f"at other moments it is in {random:.0%} of the cases (probability of so many, did bursts come at"
                " random moments: {found:.0e})."),
        at_least("below_between", np.mean(lowest < EDGE), 0.97,
                 f"Between two bursts it falls below 2 in {{found:.1%}} of {len(lowest)} cases."),
        at_most("effective_lr_falls", max(rise for rise, _ in changes), 1e-12,
                "Without weight decay the effective lr only falls (largest relative change {found:.0e}),"),
        at_least("sharpens", np.median(np.concatenate([sharper for _, sharper in changes])), 1.0,
                 "while the spherical sharpness still grows, by a median factor of {found:.2f}:"),
        at_most("late_bursts", later / np.mean(rates), 0.25,
                f"{burst} of {nets} nets burst once more ({np.sum(late > EDGE)} of {len(late)} times from above 2, the"
                f" last at {last:.1f}/(lr wd)), {{found:.0%}} of the rate before;"),
        at_most("comes_to_rest", max(rise for rise, _ in rest), 0.05,
                "in the last quarter no loss is above its lowest so far by more than a share {found:.0e},"),
        at_least("accuracy_at_rest", min(accuracy for _, accuracy in rest), 1.0, "and every accuracy is {found:.0%}."),
    ]  # fmt: skip


def _change(data: dict[str, np.ndarray], number: int) -> tuple[float, np.ndarray]:
    """After the switch: largest relative rise of an effective lr, and by how much the spherical sharpness grew."""
    off = data[f"measured_at_{number}"] >= data["switch_off"] / data["products"][number]
    rate = data[f"effective_lr_{number}"][:, off]
    spherical = data[f"number_{number}"][:, off] / rate
    return float(np.max(rate[:, 1:] / rate[:, :-1] - 1)), spherical[:, -1] / spherical[:, 0]


def _first_fit(data: dict[str, np.ndarray], number: int) -> float:
    """When the last net first has accuracy 1, in units of 1/(lr wd)."""
    fit = data[f"accuracy_{number}"] == 1
    return float(np.where(fit.any(axis=1), fit.argmax(axis=1), np.inf).max() * data["products"][number])


def _worst_accuracy(data: dict[str, np.ndarray], number: int) -> float:
    """The least accuracy after 3/(lr wd) and before the switch, the best net's."""
    begin, end = (round(x / data["products"][number]) for x in (3.0, float(data["switch_off"])))
    return float(data[f"accuracy_{number}"][:, begin:end].min(axis=1).max())


def _rest(data: dict[str, np.ndarray], number: int) -> tuple[float, float]:
    """Largest relative rise above the running minimum, and least accuracy, in the last quarter after the switch."""
    steps = round(0.25 * float((data["until"] - data["switch_off"]) / data["products"][number]))
    loss, accuracy = (data[f"{name}_{number}"][:, -steps:] for name in ("loss", "accuracy"))
    return float((loss / np.minimum.accumulate(loss, axis=1) - 1).max()), float(accuracy.min())


def _scaled(name: str, factor: float) -> Any:
    return lambda data: data | {f"{name}_{number}": data[f"{name}_{number}"] * factor for number in range(2)}


def _late_burst(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Two bursts of every net in the last tenth."""
    spoilt = dict(data)
    for number in range(2):
        loss = data[f"loss_{number}"].copy()
        for back in (2, loss.shape[1] // 50):
            loss[:, -back - 1 : -1] = 0.01
            loss[:, -back] = 1.0
        spoilt[f"loss_{number}"] = loss
    return spoilt


BROKEN = {
    "fits": _scaled("accuracy", 0.99),
    "leaves": lambda data: data | {f"accuracy_{n}": np.maximum(data[f"accuracy_{n}"], 0.95) for n in range(2)},
    "bursts_slow": lambda data: data | {"loss_1": np.minimum(data["loss_1"], 0.15)},
    "preceded_by_the_edge": _scaled("number", 0.6),
    "not_by_chance": lambda data: data | {f"number_{n}": np.full_like(data[f"number_{n}"], 3.0) for n in range(2)},
    "below_between": _scaled("number", 4.0),
    "effective_lr_falls": lambda data: data | {f"effective_lr_{n}": 1 / data[f"effective_lr_{n}"] for n in range(2)},
    "sharpens": lambda data: data | {f"number_{n}": data[f"number_{n}"][:, ::-1] for n in range(2)},
    "late_bursts": _late_burst,
    "comes_to_rest": _late_burst,
    "accuracy_at_rest": _scaled("accuracy", 0.99),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Loss, accuracy, stability number in time, and its distribution."""
    figure, ((loss, accuracy), (number, share)) = style.page(2, 2, 4.2)
    _draw_loss(loss, data)
    _draw_accuracy(accuracy, data)
    _draw_number(number, data)
    _draw_share(share, data)
    for axes in (loss, accuracy, number):
        axes.axvline(float(data["switch_off"]), ymax=0.88, color=style.GREY, linestyle=":", linewidth=0.9, zorder=0)
        axes.set(xlabel=r"$t\,\eta\lambda$", xlim=(0, float(data["until"])))
    return figure


def _in_time(data: dict[str, np.ndarray], name: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Time and the values of the net shown."""
    values = data[f"{name}_{number}"][int(data["shown"])]
    steps = data[f"measured_at_{number}"] if name == "number" else np.arange(len(values))
    return steps * data["products"][number], values


def _lines(axes: Axes, data: dict[str, np.ndarray], name: str) -> None:
    for number, colour in enumerate(COLOURS):
        axes.plot(*_in_time(data, name, number), color=colour, linewidth=0.8, zorder=3 - number)


def _draw_loss(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "training loss")
    _lines(axes, data, "loss")
    axes.set(yscale="log", ylabel=r"$L$", ylim=(1e-2, 20))
    keys = [Line2D([], [], color=colour, linewidth=2, label=rf"$\eta\lambda={style.power(product)}$")
            for colour, product in zip(COLOURS, data["products"], strict=True)]  # fmt: skip
    axes.legend(handles=keys, loc="upper center", ncols=2)


def _draw_accuracy(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "training accuracy")
    _lines(axes, data, "accuracy")
    axes.set(ylabel="accuracy", ylim=(0, 1.05))


def _draw_number(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "stability number")
    _lines(axes, data, "number")
    axes.axhline(EDGE, label="edge", **style.PREDICTED)
    axes.plot([], [], color=style.GREY, linestyle=":", linewidth=0.9, label="weight decay off")
    axes.legend(loc="upper left", ncols=2)
    axes.set(yscale="log", ylabel=r"$\frac{\eta}{1-\eta\lambda}\lambda_1(\nabla^2L(w))$", ylim=(0.1, 100))


def _draw_share(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "moments below")
    judged = [_judged(data, number) for number in range(2)]
    rows = [(judged[n]["before"], COLOURS[n], "before a burst" if n == 0 else None) for n in range(2)]
    rows.append((np.concatenate([j["others"] for j in judged]), style.GREY, "other moments"))
    rows.append((np.concatenate([j["after"].ravel() for j in judged]), style.GREEN, "weight decay off"))
    for values, colour, label in rows:
        axes.ecdf(values, color=colour, linewidth=1.2, label=label)
    axes.axvline(EDGE, **style.PREDICTED)
    axes.set(xscale="log", xlabel=r"$\frac{\eta}{1-\eta\lambda}\lambda_1(\nabla^2L(w))$", ylabel="share of moments",
             xlim=(0.1, 100))  # fmt: skip
    axes.legend(loc="upper left")
