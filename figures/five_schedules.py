"""Five random schedules coincide once lr and wd are equal (Figure 5 and Table 1 of Li, Lyu, Arora 2020).

Ensembles of a batch-normalised network run under five schedules of learning rate and weight decay, constant
on phases and drawn log-uniformly; then all have the same lr and wd, and at the end lr is divided and weight
decay removed. The reader should see test accuracy, training accuracy, norm and effective lr far apart in the
random phases and coincide O(1/(lr wd)) steps after the schedules became equal; what came before does not matter,
also after the final decay. The effective lr follows the law of gamma with the measured |gradient|^2 all along.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.press import style
from figures.press.digit_nets import DigitNets, one_thread_a_product
from figures.press.expectation import Expectation, at_least, at_most
from figures.press.measured import near_equilibrium, standard_error
from sdetheory.predictions import intrinsic_lr

CLAIMS = ("I22", "I9", "I10")
CAPTION = """Nets {widths[0]}-{widths[1]}-{widths[2]}, batch normalisation also on the logits, {training_digits}
digits, label noise {label_noise}, {net_seeds} seeds a schedule (all different). (a) Learning rate and (b) weight
decay of five schedules, drawn log-uniformly for each of {phases} phases of {phase_steps} steps; then lr {lr:g}, wd
{wd:g} for all; at the last line lr is divided by {factor:g} and weight decay removed. (c) Accuracy on
{held_out_digits} held-out digits, (d) on the training digits, (e) norm of all weights, (f) effective lr of the
first layer, its law with the measured |gradient|^2 dashed. Means over seeds, bands: two standard errors."""

PARAMS: dict[str, Any] = {
    "widths": [64, 16, 10],
    "batch_size": 16,
    "label_noise": 0.2,
    "training_digits": 1000,
    "held_out_digits": 797,
    "net_seeds": 48,
    "phases": 5,
    "phase_steps": 300,
    "lr_range": [0.05, 1.5],
    "wd_range": [1e-3, 3e-2],
    "lr": 0.3,
    "wd": 1e-2,
    "common": 4.0,
    "factor": 10.0,
    "final_steps": 300,
    "seed": 12,
}
QUICK = PARAMS | {"net_seeds": 16, "phase_steps": 120, "wd": 2e-2, "common": 3.0, "final_steps": 120}

SCHEDULES = 5
COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE)
MEASURED = ("test", "train", "norm", "effective_lr")
NAMES = ("accuracy on held-out digits", "accuracy on training digits", "norm", "effective lr")


@one_thread_a_product
def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Schedules, and along the recorded steps: both accuracies, norm, effective lr, its law."""
    nets = DigitNets.of(params)
    lr, wd, edges = _schedules(params)
    stops = _stops(edges)
    seeds = params["seed"] + np.arange(SCHEDULES * params["net_seeds"])
    rates = {name: np.repeat(rows, params["net_seeds"], axis=0) for name, rows in (("lr", lr), ("weight_decay", wd))}
    scale = near_equilibrium(np.full((len(seeds), 1), params["lr"]), params["lr"] * params["wd"])
    start = nets.net.start(seeds, scale)
    first = nets.net.groups()[0].select(start)
    rows, law = [], [_by_schedule((first**2).sum(axis=1) ** 2)]
    for record in nets.pieces(stops, start=start, seeds=seeds, **rates):
        norms = record.squared_norm[:, -1]
        now = {name: getattr(record, name)[:: params["net_seeds"], -1] for name in ("lr", "weight_decay")}
        trace, length = _by_schedule(record.spherical_mean[:, -1, 0]), record.steps[-1] - record.steps[0]
        gamma = intrinsic_lr.gamma(t=length, trace=trace, gamma0=law[-1] / now["lr"] ** 2, **now)
        law.append(gamma * now["lr"] ** 2)
        held_out, training = nets.accuracies(record.final)
        rows.append([held_out, training, np.sqrt(norms.sum(axis=1)), record.effective_lr[:, -1, 0]])
    shape = (len(stops), len(MEASURED), SCHEDULES, params["net_seeds"])
    measured = np.reshape(rows, shape)
    return {name: measured[:, i] for i, name in enumerate(MEASURED)} | {
        "steps": stops, "edges": edges, "schedule_lr": lr[:, edges[:-1]], "schedule_wd": wd[:, edges[:-1]],
        "law": (np.array(law)[1:] / lr[:, stops - 1].T ** 2) ** -0.5, "product": np.array(params["lr"] * params["wd"]),
    }  # fmt: skip


def _by_schedule(values: np.ndarray) -> np.ndarray:
    """Mean over the seeds of each schedule."""
    return values.reshape(SCHEDULES, -1).mean(axis=1)


def _schedules(params: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """lr and wd of every step, (schedules, steps), and the steps where phases begin, the end included."""
    draw = np.random.default_rng(params["seed"])
    common = round(params["common"] / (params["lr"] * params["wd"]))
    lengths = [params["phase_steps"]] * params["phases"] + [common, params["final_steps"]]
    rates = []
    for name, last in (("lr", params["lr"] / params["factor"]), ("wd", 0.0)):
        low, high = np.log(params[f"{name}_range"])
        drawn = np.exp(draw.uniform(low, high, (SCHEDULES, params["phases"])))
        fixed = np.tile([params[name], last], (SCHEDULES, 1))
        rates.append(np.repeat(np.hstack([drawn, fixed]), lengths, axis=1))
    return rates[0], rates[1], np.cumsum([0, *lengths])


def _stops(edges: np.ndarray) -> np.ndarray:
    """Recorded steps: closer together after each edge."""
    parts = np.array([0.01, 0.05, 0.15, 0.35, 0.65, 1.0])
    long = np.array([0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.65, 0.8, 1.0])
    lengths = np.diff(edges)
    marks = [
        edge + np.ceil(length * (long if length == lengths.max() else parts))
        for edge, length in zip(edges[:-1], lengths, strict=True)
    ]
    return np.unique(np.concatenate(marks)).astype(int)


def _spread(values: np.ndarray) -> np.ndarray:
    """Largest over smallest mean of the five schedules, less 1: values (..., schedules, seeds) -> (...)."""
    mean = values.mean(axis=-1)
    return mean.max(axis=-1) / mean.min(axis=-1) - 1


def _errors_apart(values: np.ndarray) -> float:
    """Largest difference of two schedules in standard errors of that difference: values (schedules, seeds)."""
    mean, error = values.mean(axis=-1), standard_error(values.T)
    i, j = np.triu_indices(len(mean), 1)
    return float((np.abs(mean[i] - mean[j]) / np.hypot(error[i], error[j])).max())


def _points_apart(values: np.ndarray) -> float:
    """Largest difference of the mean accuracies in percentage points: values (schedules, seeds)."""
    return float(100 * np.ptp(values.mean(axis=-1)))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    begin, end = (int(data["steps"].searchsorted(edge)) for edge in data["edges"][-3:-1])
    apart = {name: _errors_apart(data[name][end]) for name in MEASURED}
    together = np.flatnonzero(_spread(data["effective_lr"])[begin + 1 : end + 1] < 0.05)
    time = (data["steps"][begin + 1 : end + 1] - data["edges"][-3]) * data["product"]
    met = float(time[together[0]]) if len(together) else np.inf
    error = 100 * np.sqrt(2) * standard_error(data["test"][end].T).max()
    gain = 100 * (data["test"][-1].mean() - data["test"][end].mean())
    law = np.abs(data["effective_lr"].mean(axis=2) / data["law"] - 1)
    pairs = zip(data["schedule_lr"][:, :-2], data["schedule_wd"][:, :-2], strict=True)
    table = "; ".join(", ".join(f"{a:.2g} {1e3 * b:.2g}" for a, b in zip(*row, strict=True)) for row in pairs)
    return [
        at_least("norms_apart", 1 + _spread(data["norm"][begin]), 1.5,
                 f"Drawn lr and 1000 wd of the five schedules: {table}. When they become equal the norms differ "
                 "{found:.1f}-fold,"),
        at_least("rates_apart", 1 + _spread(data["effective_lr"][begin + 1]), 2.0,
                 "the effective lr {found:.1f}-fold,"),
        at_least("accuracies_apart", _errors_apart(data["train"][begin + 1]), 3.0,
                 f"training accuracies by {_points_apart(data['train'][begin + 1]):.1f} points ({{found:.0f}} standard "
                 "errors)."),
        at_most("meet_in_time", met, 2.5, "The effective lr agree within 5 % from t lr wd = {found:.2g} on."),
        at_most("norms_coincide", 100 * _spread(data["norm"][end]), 1.5,
                "At the end of the common phase the norms differ by {found:.1f} % "
                f"({apart['norm']:.1f} standard errors),"),
        at_most("rates_coincide", 100 * _spread(data["effective_lr"][end]), 4.0,
                f"the effective lr by {{found:.1f}} % ({apart['effective_lr']:.1f}),"),
        at_most("accuracies_coincide", _points_apart(data["test"][end]), 2.0,
                f"held-out accuracies by {{found:.2f}} points ({apart['test']:.1f}), training accuracies by "
                f"{_points_apart(data['train'][end]):.2f} ({apart['train']:.1f});"),
        at_most("within_errors", max(apart.values()), 5.0,
                "no two of the five differ by more than {found:.1f} standard errors in any of the four "
                f"(5 of them would be {5 * error:.1f} points of held-out accuracy)."),
        at_least("decay_helps", gain, 0.3, "The final decay adds {found:.1f} points"),
        at_most("still_equal", _errors_apart(data["test"][-1]), 5.0,
                f"and keeps the five together: within {_points_apart(data['test'][-1]):.2f} points ({{found:.1f}} "
                "standard errors)."),
        at_most("law_late", 100 * law[begin + 1 : end + 1].max(), 4.0,
                "The effective lr follows its law within {found:.1f} % in the common phase"),
        at_most("law_always", 100 * law.max(), 40.0,
                f"and with a median error of {100 * np.median(law):.1f} %, at most {{found:.0f}} %, overall: in the "
                "first steps of a phase the gradients are not small against the weights."),
    ]  # fmt: skip


def _one_off(name: str, factor: float, at: slice = slice(None)) -> Any:
    """The first schedule's numbers times a factor."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        changed = data[name].copy()
        changed[at, 0] *= factor
        return data | {name: changed}

    return spoil


def _all_alike(name: str) -> Any:
    return lambda data: data | {name: np.tile(data[name][:, :1], (1, SCHEDULES, 1))}


BROKEN = {
    "norms_apart": _all_alike("norm"),
    "rates_apart": _all_alike("effective_lr"),
    "accuracies_apart": _all_alike("train"),
    "meet_in_time": _one_off("effective_lr", 1.2),
    "norms_coincide": _one_off("norm", 1.05),
    "rates_coincide": _one_off("effective_lr", 1.1),
    "accuracies_coincide": _one_off("test", 0.95),
    "within_errors": _one_off("train", 0.95),
    "decay_helps": lambda data: data | {"test": data["test"][::-1]},
    "still_equal": _one_off("test", 0.95),
    "law_late": _one_off("law", 1.1),
    "law_always": _one_off("law", 2.0),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Schedules, accuracies, norm, effective lr."""
    figure, axes = style.page(3, 2, 5.6, sharex=True)
    titles = ("learning rate", "weight decay", *NAMES)
    for one, mark, title in zip(axes.flat, "abcdef", titles, strict=True):
        style.letter(one, mark, title)
        for edge in data["edges"][-3:-1]:
            one.axvline(edge, color=style.GREY, linewidth=0.6)
    for one, name, symbol in zip(axes[0], ("schedule_lr", "schedule_wd"), (r"$\eta$", r"$\lambda$"), strict=True):
        _draw_schedule(one, data["edges"], data[name])
        one.set_ylabel(symbol)
    for one, name in zip(axes.flat[2:], MEASURED, strict=True):
        _draw_measured(one, data["steps"], data[name])
    for one, lowest in zip(axes[1], (0.82, 0.88), strict=True):
        one.set(ylim=(lowest, None), ylabel="accuracy")
    for number in range(SCHEDULES):
        axes[2, 1].plot(data["steps"], data["law"][:, number], **style.PREDICTED | {"linewidth": 0.6})
    axes[2, 0].set_ylabel(r"$\|w\|$")
    axes[2, 1].set(yscale="log", ylabel=r"$\eta_e$")
    axes[2, 1].plot([], [], label="law", **style.PREDICTED)
    axes[2, 1].legend(loc="lower left")
    for one in axes[2]:
        one.set(xlabel="steps", xlim=(0, data["edges"][-1]))
    return figure


def _draw_schedule(axes: Axes, edges: np.ndarray, rates: np.ndarray) -> None:
    """Rates as steps; the common phases black; a rate of 0 is not drawn."""
    for row, colour in zip(rates, COLOURS, strict=True):
        axes.stairs(row[:-2], edges[:-2], baseline=None, color=colour, linewidth=1.0)
    last = np.where(rates[0, -2:] > 0, rates[0, -2:], np.nan)
    axes.stairs(last, edges[-3:], baseline=None, color=style.BLACK, linewidth=1.2)
    axes.set_yscale("log")


def _draw_measured(axes: Axes, steps: np.ndarray, values: np.ndarray) -> None:
    for number, colour in enumerate(COLOURS):
        mean, width = values[:, number].mean(axis=1), 2 * standard_error(values[:, number].T)
        axes.fill_between(steps, mean - width, mean + width, color=colour, alpha=0.3, linewidth=0)
        axes.plot(steps, mean, color=colour, linewidth=0.8)
