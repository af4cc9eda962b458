"""How much the coefficient of decay, and the period of rescaling, matter (claim A23, after Liu et al. 2022).

The paper finds the effect of weight decay under momentum and Adam very sensitive to its coefficient, and offers
weight rescaling as the robust choice. The reader should see held-out accuracy of a small network over four
decades of decay and two of the rescaling period, for learning rates a factor 10 apart: up to a
coefficient of 0.01 neither matters much on clean labels, and what decay does on wrong ones is gain, as it also
decays the output layer; a decade beyond it collapses, which no period of rescaling does.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdetheory as st
from figures.press import style
from figures.press.decay_nets import accuracies
from figures.press.digit_nets import one_thread_a_product
from figures.press.expectation import Expectation, at_least, at_most, between
from figures.press.measured import paired_interval
from sdetheory import networks

CLAIMS = ("A23",)
CAPTION = """Nets {widths}, normalisations with scale and shift, plain output layer, {training_digits} digits, batches
of 32, {steps} steps, lr divided by 10 half way, {net_seeds} seeds: accuracy on {held_out_digits} held-out digits at the
end, bars: 95 % intervals. Filled: clean labels; open: {corrupted:.0%} of the training labels wrong for good. Upper
row: against weight decay, on all layers, in the gradient (L2; left end: none); lower row: against the period of
rescaling to norm 1 per neuron. Left: heavy ball, momentum {momentum:g}, right: Adam; colours: lr."""

PARAMS: dict[str, Any] = {
    "widths": [64, 32, 32, 10], "training_digits": 1000, "held_out_digits": 797, "corrupted": 0.2, "momentum": 0.9,
    "lrs": [0.02, 0.2], "adam_lrs": [0.002, 0.02], "wds": [0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    "periods": [1, 4, 16, 64, 256], "steps": 800, "net_seeds": 5, "seed": 65,
}  # fmt: skip
QUICK = PARAMS | {
    "lrs": [0.06, 0.2], "adam_lrs": [0.006, 0.02], "wds": [0.0, 1e-4, 1e-2, 1e-1], "periods": [1, 16, 256],
    "steps": 500, "net_seeds": 4,
}  # fmt: skip

RULES = ("heavy ball", "Adam")
LABELS = ("clean labels", "wrong labels")
COLOURS = (style.BLUE, style.VERMILION)
SYMBOLS = "os"


@one_thread_a_product
def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Held-out accuracy (rules, labels, lrs, decays or periods, seeds)."""
    training, held_out = networks.digits().split(params["held_out_digits"], seed=params["seed"])
    training = training.subset(slice(0, params["training_digits"]))
    sets = (training, training.corrupted_labels(params["corrupted"]))
    decayed = [[_decayed(params, rule, data, held_out) for data in sets] for rule in RULES]
    rescaled = [[_rescaled(params, rule, data, held_out) for data in sets] for rule in RULES]
    return {"decay": np.array(decayed), "rescaling": np.array(rescaled)} | {
        name: np.array(params[name]) for name in ("wds", "periods", "lrs", "adam_lrs")
    }


def _rule(params: dict[str, Any], rule: str, lr: np.ndarray, wd: Any) -> Any:
    """lr (E,), divided by 10 half way; weight decay (E, 1) or a number."""
    rates = lr[:, None] * np.where(np.arange(params["steps"]) < params["steps"] // 2, 1.0, 0.1)
    return st.Adam(rates, wd) if rule == "Adam" else st.HeavyBall(rates, wd, params["momentum"])


def _decayed(params: dict[str, Any], rule: str, data: networks.Data, held_out: networks.Data) -> np.ndarray:
    """Accuracy (lrs, decays, seeds)."""
    lrs, wds, seeds = params["adam_lrs" if rule == "Adam" else "lrs"], params["wds"], params["net_seeds"]
    lr, wd, seed = (x.ravel() for x in np.meshgrid(lrs, wds, params["seed"] + np.arange(seeds), indexing="ij"))
    return _accuracy(params, data, held_out, _rule(params, rule, lr, wd[:, None]), seed).reshape(len(lrs), len(wds), -1)


def _rescaled(params: dict[str, Any], rule: str, data: networks.Data, held_out: networks.Data) -> np.ndarray:
    """Accuracy (lrs, periods, seeds)."""
    lrs, seeds = params["adam_lrs" if rule == "Adam" else "lrs"], params["seed"] + np.arange(params["net_seeds"])
    lr, seed = (x.ravel() for x in np.meshgrid(lrs, seeds, indexing="ij"))
    rows = [
        _accuracy(params, data, held_out, _rule(params, rule, lr, 0.0), seed, networks.WeightRescaling(every=every))
        for every in params["periods"]
    ]
    return np.stack([row.reshape(len(lrs), -1) for row in rows], axis=1)


def _accuracy(
    params: dict[str, Any], data: networks.Data, held_out: networks.Data, optimiser: Any, seeds: np.ndarray,
    rescaling: networks.WeightRescaling | None = None,
) -> np.ndarray:  # fmt: skip
    """On the held-out digits after training, (E,)."""
    net = networks.mlp(params["widths"], affine=True)
    final = networks.train(
        net, data, optimiser=optimiser, rescaling=rescaling, seeds=seeds, steps=params["steps"],
        record_every=params["steps"], progress=True,
    ).final  # fmt: skip
    return accuracies(net, final, held_out)


def _spread(accuracy: np.ndarray) -> np.ndarray:
    """Best less worst mean over the settings, in points: (..., settings, seeds) -> (...)."""
    return 100 * np.ptp(accuracy.mean(axis=-1), axis=-1)


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    usual = (data["wds"] >= 0.9e-5) & (data["wds"] <= 1.1e-2)
    narrow, wide = _spread(data["decay"][:, :, :, usual]), _spread(data["decay"])
    period = _spread(data["rescaling"])
    best, flat = (100 * data[name].mean(axis=-1) for name in ("decay", "rescaling"))
    gain = best.max(axis=(2, 3)) - flat.max(axis=(2, 3))
    collapse = (best[..., -2] - best[..., -1]).max(axis=(1, 2))
    error = 100 * np.sqrt(2 / data["decay"].shape[-1]) * data["decay"][:, :, :, usual].std(axis=-1, ddof=1).mean()
    pairs = 100 * (data["decay"][..., -2, :] - data["decay"][..., 0, :])[:, 1].mean(axis=1)
    mean, half = paired_interval(pairs)
    return [
        at_most("little_on_clean_labels", narrow[:, 0].mean(), 1.5,
                f"Clean labels: from 1e-5 to 1e-2 accuracy varies by {narrow[0, 0].mean():.1f} (heavy ball) and "
                f"{narrow[1, 0].mean():.1f} points (Adam; mean over lr {{found:.1f}}),"),
        at_most("period_on_clean_labels", period[:, 0].mean(), 1.5,
                f"over the periods by {period[0, 0].mean():.1f} and {period[1, 0].mean():.1f}; the standard error of a "
                f"difference of two means is {error:.1f}."),
        between("neither_is_sensitive", narrow[:, 1].mean() / period[:, 1].mean(), 0.4, 4.0,
                f"Wrong labels: {narrow[0, 1].mean():.1f} and {narrow[1, 1].mean():.1f} points over decays, "
                f"{period[0, 1].mean():.1f} and {period[1, 1].mean():.1f} over periods ({{found:.1f}} times),"),
        at_least("decay_has_more_to_gain", gain[:, 1].mean(), 0.3,
                 f"and what decay does is gain: its best setting is {gain[0, 1]:.1f} and {gain[1, 1]:.1f} points above "
                 "rescaling's,"),
        at_least("most_of_it_is_gain", mean.mean(), 0.5,
                 f"1e-2 is {mean[0]:.1f} +- {half[0]:.1f} and {mean[1]:.1f} +- {half[1]:.1f} points above none."),
        at_least("it_collapses", collapse.min(), 5.0,
                 f"At 0.1 the largest lr loses {collapse[0]:.0f} and {collapse[1]:.0f} points to 1e-2,"),
        at_least("wide_range", wide.max() / period.max(), 3.0,
                 f"so that over the whole range decay matters up to {wide.max():.0f} points, the period "
                 f"{period.max():.1f} ({{found:.0f}} times)."),
    ]  # fmt: skip


def _changed(name: str, at: Any, value: float) -> Any:
    """Some entries set to a value."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = data[name].copy()
        values[at] = value
        return data | {name: values}

    return spoil


_ALL = slice(None)
BROKEN = {
    "little_on_clean_labels": _changed("decay", (_ALL, 0, _ALL, -2), 0.8),
    "period_on_clean_labels": _changed("rescaling", (_ALL, 0, _ALL, 0), 0.8),
    "neither_is_sensitive": _changed("rescaling", (_ALL, 1, _ALL, 0), 0.5),
    "decay_has_more_to_gain": _changed("rescaling", (_ALL, 1, _ALL, 0), 1.0),
    "most_of_it_is_gain": _changed("decay", (_ALL, 1, _ALL, -2), 0.8),
    "it_collapses": _changed("decay", (_ALL, _ALL, _ALL, -1), 0.95),
    "wide_range": _changed("rescaling", (0, 0, 0, 0), 0.1),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Decay above, rescaling below; heavy ball and Adam."""
    figure, rows = style.page(2, 2, 4.2, sharey=True)
    letters = iter("abcd")
    place = np.where(data["wds"] > 0, data["wds"], data["wds"][1] / 10)
    for row, name, x, label in ((rows[0], "decay", place, r"weight decay $\lambda$ (left end: none)"),
                                (rows[1], "rescaling", data["periods"], "period of rescaling (steps)")):  # fmt: skip
        for number, axes in enumerate(row):
            style.letter(axes, next(letters), f"{RULES[number]}: {name}")
            _draw(axes, data, name, number, x)
            axes.set_xlabel(label)
    for axes in rows[1]:
        axes.legend(loc="lower left", fontsize=5.5)
    for axes in rows[:, 0]:
        axes.set_ylabel("held-out accuracy (%)")
    rows[0, 0].set_ylim(80, 99.5)
    return figure


def _draw(axes: Axes, data: dict[str, np.ndarray], name: str, rule: int, place: np.ndarray) -> None:
    lrs = data["adam_lrs" if RULES[rule] == "Adam" else "lrs"]
    for labels, filled in ((0, True), (1, False)):
        for i, lr in enumerate(lrs):
            mean, half = paired_interval(100 * data[name][rule, labels, i])
            colour = COLOURS[i]
            axes.errorbar(place * 1.06 ** (i - 0.5), mean, half, color=colour, marker=SYMBOLS[i], markersize=3,
                          markerfacecolor=colour if filled else "white", markeredgewidth=0.7, linewidth=0.8,
                          elinewidth=0.6, label=f"lr {lr:g}, {LABELS[labels]}")  # fmt: skip
    axes.set_xscale("log")
