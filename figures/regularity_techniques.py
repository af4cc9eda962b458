"""Loss, regularity parameter and direction of training with and without the techniques of deep learning.

One net, ReLU with batch normalisation and skip connections under SGD, and one thing changed at a time. The reader
should see, for activations, normalisation, skip connections and optimisers, the loss, gamma of each epoch, and the
cosine between the update and the way to the last iterate: small all along, growing to 1 only in the last steps,
where it must; and that optimisers cannot be compared by gamma, whose unit is that of their learning rate.
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, between, near
from figures.press.technique_nets import RATE_SHARE, Bench, Technique, nearer, shuffled, walks
from sdetheory.regularity import PathRegularity

CLAIMS = ("B1", "B3", "B8", "B9")
CAPTION = """Nets {widths[0]}-{widths[1]}-{widths[2]}-{widths[3]}-{widths[4]} on {training_digits} digits, batches of
{batch_size}, mean over {net_seeds} seeds, bands: two standard errors; each learning rate tuned on {tuning_seeds} other
seeds for the time to a loss of {level:g}. Columns: one thing changed in a rectified net with batch normalisation and
skip connections under SGD. Above: loss of the batches; middle: gamma of each epoch, seen from the last iterate (dotted:
momentum in the unit of SGD, times 1 - 0.9); below: cosine of the update and w_k - w_T (means over ten steps), dashed:
its value for a walk of independent steps of equal length, 1/sqrt(T - k)."""

PARAMS: dict[str, Any] = {
    "widths": [64, 24, 24, 24, 10],
    "training_digits": 1000,
    "batch_size": 32,
    "steps": 500,
    "level": 0.3,
    "far": 1,
    "rates": [0.03, 0.1, 0.3, 1.0, 3.0],
    "tuning_seeds": 3,
    "net_seeds": 8,
    "seed": 200,
}
QUICK = PARAMS | {
    "widths": [64, 16, 16, 16, 10], "training_digits": 500, "steps": 250, "rates": [0.1, 0.5], "tuning_seeds": 2,
    "net_seeds": 5, "level": 0.5,
}  # fmt: skip

BASE = Technique()
COLUMNS: dict[str, dict[str, Technique]] = {
    "activation": {name: Technique(activation=name) for name in ("relu", "gelu", "tanh", "sigmoid", "linear")},
    "normalisation": {"batch norm": BASE, "none": Technique(normalised=False)},
    "skip connections": {"skip": BASE, "none": Technique(residual=False)},
    "optimiser": {"SGD": BASE, "momentum": Technique(rule="momentum"), "Adam": Technique(rule="Adam")},
}
TECHNIQUES = list(dict.fromkeys(t for column in COLUMNS.values() for t in column.values()))
COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE)
BIN = 10


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Loss, gamma of epochs and cosine of every technique, (techniques, seeds, ...), and what gamma knows by itself."""
    bench, seeds = Bench(params), params["seed"] + np.arange(params["net_seeds"])
    rows = []
    with np.errstate(all="ignore"):  # some learning rates of the grid are too large, as they must be
        for technique in TECHNIQUES:
            rate, _ = bench.tuned(technique)
            run = bench.measured(technique, np.full(len(seeds), rate), seeds, far=False, products=True)
            draw = np.random.default_rng(params["seed"])
            known = {"rate": rate, "loss": run.losses, "time": run.measures["time"], "ordered": nearer(run.products)}
            known["shuffled"] = nearer(shuffled(run.products, draw))
            known["walk"] = nearer(walks(run.products, bench.net(technique).size, draw))
            rows.append(_row(run.final, bench.epoch) | known)
    data = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    rest = params["steps"] - BIN * np.arange(data["cosine"].shape[2])
    return data | {"epoch": np.array(bench.epoch), "rest": rest}


def _row(path: PathRegularity, epoch: int) -> dict[str, Any]:
    """What is drawn of one technique, (seeds, ...)."""
    cosine = path.cosine[:, : path.cosine.shape[1] // BIN * BIN].reshape(len(path.cosine), -1, BIN).mean(axis=2)
    return {
        "gamma": path.gamma_over(epoch), "relative": path.relative(epoch), "cosine": cosine, "mean": path.mean,
        "tautology": path.squared_distance[:, 0] / path.spent, "positive": path.positive,
        "last_cosine": path.cosine[:, -1], "least": path.smallest,
    }  # fmt: skip


def _rows(column: str) -> dict[str, int]:
    """Place of each curve of a column."""
    return {label: TECHNIQUES.index(technique) for label, technique in COLUMNS[column].items()}


def _typical(data: dict[str, np.ndarray], name: str = "gamma") -> np.ndarray:
    """Median over seeds and epochs, (techniques,)."""
    return np.median(data[name], axis=(1, 2))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    gamma, time = _typical(data), np.exp(np.log(data["time"]).mean(axis=1))
    activation, optimiser = _rows("activation"), _rows("optimiser")
    smooth = [activation[name] for name in ("relu", "gelu", "tanh")]
    momentum, adam = (gamma[optimiser[name]] / gamma[optimiser["SGD"]] for name in ("momentum", "Adam"))
    plain, skipless = _rows("normalisation")["none"], _rows("skip connections")["none"]
    sgd = np.array([technique.rule == "SGD" for technique in TECHNIQUES])
    middle = data["cosine"][:, :, : data["cosine"].shape[2] * 3 // 4].mean()
    walk = 1 / np.sqrt(data["rest"][: data["cosine"].shape[2] * 3 // 4]).mean()
    return [
        at_least("sigmoid_is_slow", time[activation["sigmoid"]] / time[smooth].max(), 1.0,
                 f"The sigmoid is the slowest activation ({time[activation['sigmoid']]:.0f} steps to the level; ReLU "
                 f"{time[0]:.0f}, GELU {time[activation['gelu']]:.0f}, tanh {time[activation['tanh']]:.0f}, linear "
                 f"{time[activation['linear']]:.0f})"),
        at_least("and_has_less_gamma", gamma[smooth].min() / gamma[activation["sigmoid"]], 1.0,
                 "and its gamma smaller by a factor of {found:.2f} or more than that of ReLU, GELU and tanh;"),
        at_most("linear_is_fast_with_little", gamma[activation["linear"]] / gamma[0], 0.95,
                "but linear units have {found:.2f} of the gamma of ReLU, and are fast."),
        at_least("normalisation_is_faster", time[plain] / time[0], 1.1,
                 "Without batch normalisation training takes {found:.2f} times as long, gamma is "
                 f"{gamma[plain] / gamma[0]:.2f} times as large;"),
        between("skips_matter_little", gamma[skipless] / gamma[0], 0.7, 1.5,
                f"without skip connections the two factors are {time[skipless] / time[0]:.2f} and {{found:.2f}}."),
        at_least("momentum_only_looks_better", momentum, 2.0,
                 f"Momentum has {{found:.1f}} and Adam {adam:.1f} times the gamma of SGD, in units of their own:"),
        between("momentum_in_the_unit_of_sgd", 0.1 * momentum, 0.3, 1.5,
                "with lr/(1 - 0.9) for lr that of momentum is {found:.2f} times that of SGD."),
        between("most_steps", data["positive"].mean(), 0.75, 0.99, "Of all steps {found:.0%} come nearer to the end,"),
        between("so_do_walks", data["walk"].mean(), 0.7, 0.99,
                "but of independent isotropic steps of the same lengths {found:.0%} do too,"),
        between("and_shuffled_steps", data["shuffled"].mean(), 0.5, 0.95,
                "and of the same steps in random order {found:.0%}: most of it is the dimension;"),
        at_least("all_epochs", (data["gamma"] > 0).mean(), 0.95, "of all epochs {found:.1%} do;"),
        at_most("never_all_steps", (data["least"][sgd] > 0).mean(), 0.05,
                "in {found:.0%} of the runs of SGD every step does (momentum and Adam: "
                f"{(data['least'][~sgd] > 0).mean():.0%})."),
        between("cosines_are_small", middle, 0.02, 0.35,
                f"Over the first three quarters the mean cosine is {{found:.2f}} (independent steps: {walk:.2f});"),
        near("last_cosine_is_one", data["last_cosine"].min(), 1.0, 1e-6, "at the last step it is {found:.0f}, always."),
        at_most("tautology", np.abs(data["mean"] / data["tautology"] - 1).max(), 1e-9,
                "The mean gamma of every run is D_0/(2 lr sum of losses) to {found:.0e}."),
    ]  # fmt: skip


def _times(name: str, label: str, column: str, factor: float) -> Any:
    """Multiply the numbers of one technique."""
    row = np.array([number == _rows(column)[label] for number in range(len(TECHNIQUES))])
    return lambda data: data | {
        name: data[name] * np.where(row, factor, 1.0).reshape(-1, *[1] * (data[name].ndim - 1))
    }


BROKEN = {
    "sigmoid_is_slow": _times("time", "sigmoid", "activation", 0.01),
    "and_has_less_gamma": _times("gamma", "sigmoid", "activation", 20.0),
    "linear_is_fast_with_little": _times("gamma", "linear", "activation", 10.0),
    "normalisation_is_faster": _times("time", "none", "normalisation", 0.1),
    "skips_matter_little": _times("gamma", "none", "skip connections", 5.0),
    "momentum_only_looks_better": _times("gamma", "momentum", "optimiser", 0.01),
    "momentum_in_the_unit_of_sgd": _times("gamma", "momentum", "optimiser", 30.0),
    "most_steps": lambda data: data | {"positive": data["positive"] * 0.5},
    "so_do_walks": lambda data: data | {"walk": data["walk"] * 0.5},
    "and_shuffled_steps": lambda data: data | {"shuffled": data["shuffled"] * 0.5},
    "all_epochs": lambda data: data | {"gamma": data["gamma"] - np.median(data["gamma"])},
    "never_all_steps": lambda data: data | {"least": np.abs(data["least"])},
    "cosines_are_small": lambda data: data | {"cosine": data["cosine"] * 0},
    "last_cosine_is_one": lambda data: data | {"last_cosine": data["last_cosine"] * 0.9},
    "tautology": lambda data: data | {"mean": data["mean"] * 1.001},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """A column for each kind of technique: loss, gamma, cosine."""
    figure, rows = style.page(3, len(COLUMNS), 4.8, sharex="col", sharey="row")
    for mark, (column, axes) in zip("abcd", zip(COLUMNS, rows.T, strict=True), strict=True):
        style.letter(axes[0], mark, column)
        for colour, (label, row) in zip(COLOURS, _rows(column).items(), strict=False):
            _curves(axes, data, row, colour, label)
        walk = (data["rest"][0] - data["rest"]) / data["epoch"], 1 / np.sqrt(data["rest"])
        axes[2].plot(*walk, **style.PREDICTED | {"linewidth": 0.7})
        axes[2].set_xlabel("epoch")
        axes[0].legend(loc="upper right")
    unit = np.exp(np.log(np.maximum(data["gamma"][_rows("optimiser")["momentum"]], 1e-3)).mean(axis=0))
    rows[1, 3].plot(np.arange(len(unit)) + 0.5, RATE_SHARE["momentum"] * unit, ":", color=COLOURS[1])
    rows[0, 0].set(yscale="log", ylabel="loss", ylim=(0.003, 6))
    rows[1, 0].set(yscale="log", ylabel=r"$\gamma$ of the epoch", ylim=(0.05, 2 * np.median(data["gamma"][-1, :, 0])))
    rows[2, 0].set(ylabel=r"$\cos(U_k,\,w_k-w_T)$", ylim=(-0.05, 0.6))
    for axes in rows[1]:
        axes.yaxis.set_major_formatter("{x:g}")
    rows[0, 0].yaxis.set_major_formatter("{x:g}")
    return figure


def _curves(axes: Any, data: dict[str, np.ndarray], row: int, colour: str, label: str) -> None:
    """Mean and two standard errors of loss and gamma (of their logarithms) and of the cosine."""
    epoch = float(data["epoch"])
    for panel, values, step in zip(axes, (data["loss"], data["gamma"], data["cosine"]), (BIN, epoch, BIN), strict=True):
        samples = np.log(np.maximum(values[row], 1e-3)) if panel is not axes[2] else values[row]
        mean, error = samples.mean(axis=0), 2 * samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
        scale = (lambda x: x) if panel is axes[2] else np.exp
        x = (np.arange(len(mean)) + 0.5) * step / epoch
        panel.plot(x, scale(mean), color=colour, linewidth=0.9, label=label)
        panel.fill_between(x, scale(mean - error), scale(mean + error), color=colour, alpha=0.25, linewidth=0)
