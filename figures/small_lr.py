"""A small initial learning rate does as well, given time (blog Figure 2 of Li, Lyu, Arora 2020).

A baseline with step decays, lr, lr/K, lr/K^2, against the same net trained at lr/K from the start for the same
number of steps, K times as many as the baseline spends at lr, and decayed once more. The reader should see the
small lr lag behind as soon as the baseline decays, catch up when lr wd x steps is about 1, and the two meet before
the last decay and after it; a run at lr/K that is decayed as early as the baseline stays behind, and so does one
that goes from lr to lr/K^2 at once: what counts is lr wd of the last phase that reached equilibrium.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.press import style
from figures.press.digit_nets import DigitNets, one_thread_a_product
from figures.press.expectation import Expectation, at_least, at_most
from figures.press.measured import near_equilibrium, standard_error

CLAIMS = ("I24",)
CAPTION = """Nets {widths[0]}-{widths[1]}-{widths[2]}, batch normalisation also on the logits, {training_digits}
digits, label noise {label_noise}, wd {wd:.2g}, {net_seeds} seeds, the same starts and batches for all runs. Baseline:
lr {lr:g}, lr/{factor:g}, lr/{factor:g}^2; small: lr/{factor:g} from the start; hurried: the same with the number of
steps the baseline spends at lr; skipping: from lr to lr/{factor:g}^2 at once (these two are drawn from where they
branch off). Dots: the last decay, to lr/{factor:g}^2. (a, b) Accuracy on {held_out_digits} held-out digits and on
the training digits against steps, (c, d) against the sum of lr wd. Means over seeds, bands: two standard errors."""

PARAMS: dict[str, Any] = {
    "widths": [64, 16, 10],
    "batch_size": 16,
    "label_noise": 0.2,
    "training_digits": 500,
    "held_out_digits": 797,
    "net_seeds": 96,
    "lr": 0.3,
    "wd": 1e-2 / 0.3,
    "factor": 10.0,
    "start_norm": 1.0,
    "first": 2.0,
    "second": 2.0,
    "final_steps": 1000,
    "seed": 13,
}
QUICK = PARAMS | {"net_seeds": 48, "factor": 5.0, "wd": 2e-2 / 0.3, "final_steps": 250}

RUNS = ("baseline", "small", "hurried", "skipping")
BRANCHES = ("hurried", "skipping")  # the same as small and as the baseline until they are decayed
COLOURS = dict(zip(RUNS, (style.BLUE, style.VERMILION, style.ORANGE, style.PURPLE), strict=True))
MEASURED = ("test", "train")
LABELS = ("accuracy on held-out digits", "accuracy on training digits")


@one_thread_a_product
def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Both accuracies of every seed along each run, steps, sums of lr wd, the step of the last decay."""
    nets = DigitNets.of(params)
    data: dict[str, np.ndarray] = {"factor": np.array(params["factor"])}
    for run, (lrs, lengths) in _schedules(params).items():
        lr, edges = np.repeat(lrs, lengths), np.cumsum([0, *lengths])
        stops = np.unique(np.concatenate([a + _marks(n) for a, n in zip(edges[:-1], lengths, strict=True)]))
        seeds = params["seed"] + np.arange(params["net_seeds"])
        scale = near_equilibrium(np.full((len(seeds), 1), params["lr"]), params["lr"] * params["wd"])
        start = nets.net.start(seeds, params["start_norm"] * scale)
        rows = [
            nets.accuracies(record.final)
            for record in nets.pieces(stops, lr=lr, weight_decay=params["wd"], start=start, seeds=seeds)
        ]
        data |= {f"{run}_{name}": np.array([row[i] for row in rows]) for i, name in enumerate(MEASURED)}
        data |= {f"{run}_steps": stops, f"{run}_time": params["wd"] * np.cumsum(lr)[stops - 1]}
        data[f"{run}_decay"] = stops.searchsorted(edges[-2])
    return data


def _schedules(params: dict[str, Any]) -> dict[str, tuple[list[float], list[int]]]:
    """For each run the learning rates of its phases and their lengths in steps."""
    lr, factor, final = params["lr"], params["factor"], params["final_steps"]
    first = round(params["first"] / (lr * params["wd"]))
    second = round(params["second"] * factor / (lr * params["wd"]))
    low, lowest = lr / factor, lr / factor**2
    return {
        "baseline": ([lr, low, lowest], [first, second, final]),
        "small": ([low, low, lowest], [first, second, final]),
        "hurried": ([low, lowest], [first, final]),
        "skipping": ([lr, lowest], [first, final]),
    }


def _marks(length: int) -> np.ndarray:
    """Steps from 2 to `length`, spaced by their logarithms."""
    return np.unique(np.ceil(np.geomspace(2, length, 14)).astype(int))


def _gap(data: dict[str, np.ndarray], run: str, name: str, at: str) -> tuple[float, float]:
    """Accuracy of a run less that of the baseline, in points, with its standard error over seeds (paired)."""
    ends = [-1 if at == "end" else int(data[f"{one}_decay"]) for one in (run, "baseline")]
    gap = 100 * (data[f"{run}_{name}"][ends[0]] - data[f"baseline_{name}"][ends[1]])
    return float(gap.mean()), float(standard_error(gap))


def _told(gap: tuple[float, float]) -> str:
    return f"{gap[0]:+.2f} +- {1.96 * gap[1]:.2f}"


def _outer(gap: tuple[float, float]) -> float:
    """The end of the 95 per cent interval that is farther from 0."""
    return abs(gap[0]) + 1.96 * gap[1]


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    lead = 100 * (data["baseline_test"] - data["small_test"])
    best = int(lead.mean(axis=1)[np.flatnonzero(data["baseline_time"] > data["baseline_time"][-1] / 2)].argmax())
    best += int(np.sum(data["baseline_time"] <= data["baseline_time"][-1] / 2))
    early = {name: _gap(data, "small", name, "decay") for name in MEASURED}
    late = {name: _gap(data, "small", name, "end") for name in MEASURED}
    hurried, skipping = (_gap(data, run, "test", "end") for run in ("hurried", "skipping"))
    gain = 100 * (data["small_test"][-1] - data["small_test"][int(data["small_decay"])])
    return [
        at_least("small_lags_first", lead[best].mean() / standard_error(lead[best]), 2.0,
                 f"{data['baseline_steps'][best]} steps in, after its first decay, the baseline is "
                 f"{lead[best].mean():.1f} points ahead of the small lr on held-out digits ({{found:.0f}} standard "
                 "errors)."),
        at_most("test_equal_before", _outer(early["test"]), 1.0,
                "Small less baseline, 95 % intervals over paired seeds: before the last decay "
                f"{_told(early['test'])} points held out,"),
        at_most("train_equal_before", _outer(early["train"]), 0.6, f"{_told(early['train'])} in training;"),
        at_most("test_equal_after", _outer(late["test"]), 0.8, f"at the end {_told(late['test'])}"),
        at_most("train_equal_after", _outer(late["train"]), 0.4, f"and {_told(late['train'])}."),
        at_least("decay_helps", gain.mean() / standard_error(gain), 4.0,
                 f"The last decay adds {gain.mean():.1f} points held out ({{found:.0f}} standard errors)."),
        at_most("hurried_stays_behind", hurried[0] / hurried[1], -2.5,
                f"The hurried run ends {_told(hurried)} points from the baseline ({{found:.0f}} standard errors),"),
        at_most("skipping_stays_behind", skipping[0] / skipping[1], -2.5,
                f"the skipping one {_told(skipping)} ({{found:.0f}}), with as many steps after the last decay."),
    ]  # fmt: skip


def _shifted(name: str, by: float) -> Any:
    return lambda data: data | {name: data[name] + by}


BROKEN = {
    "small_lags_first": _shifted("small_test", 0.05),
    "test_equal_before": _shifted("small_test", 0.01),
    "train_equal_before": _shifted("small_train", 0.01),
    "test_equal_after": _shifted("small_test", -0.01),
    "train_equal_after": _shifted("small_train", -0.01),
    "decay_helps": lambda data: data | {"small_test": data["small_test"][::-1]},
    "hurried_stays_behind": _shifted("hurried_test", 0.02),
    "skipping_stays_behind": _shifted("skipping_test", 0.02),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Both accuracies against steps and against the sum of lr wd."""
    figure, axes = style.page(2, 2, 4.4)
    marks = iter("abcd")
    for row, unit, label in zip(axes, ("steps", "time"), ("steps", r"$\sum\eta\lambda$ over steps"), strict=True):
        for one, name, title in zip(row, MEASURED, LABELS, strict=True):
            style.letter(one, next(marks), title)
            for run in RUNS:
                since = int(data[f"{run}_decay"]) if run in BRANCHES else 0
                _draw_run(one, data[f"{run}_{unit}"][since:], data[f"{run}_{name}"][since:], run)
                at = int(data[f"{run}_decay"])
                one.plot(data[f"{run}_{unit}"][at], data[f"{run}_{name}"][at].mean(), "o", color=COLOURS[run])
            _zoom(one, data, name)
            one.set_xlabel(label)
    for one in axes[0]:
        one.set(xscale="log", xlim=(8, None))
    for one in axes[:, 0]:
        one.set_ylabel("accuracy")
    axes[0, 0].legend(loc="upper left")
    return figure


def _draw_run(axes: Axes, x: np.ndarray, accuracy: np.ndarray, run: str) -> None:
    mean, width = accuracy.mean(axis=1), 2 * standard_error(accuracy.T)
    axes.fill_between(x, mean - width, mean + width, color=COLOURS[run], alpha=0.3, linewidth=0)
    axes.plot(x, mean, color=COLOURS[run], linewidth=0.9, label=run)


def _zoom(axes: Axes, data: dict[str, np.ndarray], name: str) -> None:
    """Leave out the first rise."""
    top = max(data[f"{run}_{name}"].mean(axis=1).max() for run in RUNS)
    axes.set_ylim(top - (0.14 if name == "test" else 0.1), top + 0.01)
