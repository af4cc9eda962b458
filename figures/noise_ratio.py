"""Noise outside the input span and the test error it causes (reconstruction of Liu et al. 2021, claim A24).

The paper holds that training without weight decay leaves noise in the weights outside the span of the inputs, and
that decay suppresses it. The reader should see that ratio fall with decay and with weight rescaling (a, b); test
inputs that leave the span misclassified as far as the ratio lasts, whatever made it, and not at all once the part
outside is removed after training (a to c); the same held-out digits, inside the span, indifferent to it; and how
much of this real digits show when so few are trained on that held-out ones leave their span (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.press import style
from figures.press.decay_nets import accuracies
from figures.press.digit_nets import one_thread_a_product
from figures.press.expectation import Expectation, at_least, at_most
from figures.press.measured import paired_interval
from sdetheory import networks

CLAIMS = ("A24", "A13", "A15")
CAPTION = """Nets {hidden}, plain output layer, SGD, batches of 32. (a to c) {training_digits} digits turned into a
random subspace of R^{features}, {steps} steps, {net_seeds} seeds; held-out digits as they are, or with noise of sd
{strength:g} in each direction outside; crosses: the latter with the part of the first layer outside the
span removed after training. Ratio: |P_perp w|^2/|w|^2, mean over neurons. (a) Against weight decay at lr {lr:g}
(0: left end), (b) against the period of rescaling to norm 1 at lr {wrs_lr:g}. (c) Accuracy lost by not removing the
part outside against its variance over that of the rest in the sums of the first layer on the held-out digits (mean over
neurons), all runs, noise {weaker:g} and {strength:g}. (d) The same loss on untouched held-out
digits (64 pixels) for nets trained on few, wd {few_wds}: {few_draws} draws of {few_seeds} seeds each, bars: 95 %
intervals over draws."""

PARAMS: dict[str, Any] = {
    "features": 128, "hidden": [32, 32], "training_digits": 1000, "held_out_digits": 797, "strength": 0.6,
    "weaker": 0.3, "tau": 0.01, "lr": 0.3, "wrs_lr": 0.5, "wds": [0.0, 1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 1e-2, 2e-2],
    "periods": [1, 10, 100, 500, 2000], "steps": 2000, "net_seeds": 6,
    "few": [20, 30, 40, 60], "few_draws": 8, "few_seeds": 6, "few_steps": 600, "few_lr": 0.1, "few_wds": [0.0, 3e-2],
    "seed": 63,
}  # fmt: skip
QUICK = PARAMS | {
    "wds": [0.0, 3e-3, 1e-2, 4e-2], "periods": [1, 100, 600], "steps": 600, "net_seeds": 4,
    "few": [20, 60], "few_draws": 5, "few_seeds": 4, "few_steps": 300,
}  # fmt: skip


@one_thread_a_product
def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Noise ratio and accuracies (conditions, seeds) against decay and period; losses on few digits (draws, seeds)."""
    wide, span = networks.embedded(networks.digits(), params["features"], params["seed"])
    training, held_out = wide.split(params["held_out_digits"], params["seed"])
    training = training.subset(slice(0, params["training_digits"]))
    tests = [networks.shifted(held_out, span, s, 1) for s in (0.0, params["weaker"], params["strength"])]
    net = networks.mlp((params["features"], *params["hidden"], 10))
    seeds, steps = params["seed"] + np.arange(params["net_seeds"]), params["steps"]
    common: dict[str, Any] = {"steps": steps, "record_every": steps}
    decayed = networks.train(
        net, training, lr=params["lr"], weight_decay=np.repeat(params["wds"], len(seeds))[:, None],
        seeds=np.tile(seeds, len(params["wds"])), **common,
    ).final  # fmt: skip
    rescaled = np.concatenate([
        networks.train(net, training, lr=params["wrs_lr"], seeds=seeds,
                       rescaling=networks.WeightRescaling(every=every), **common).final
        for every in params["periods"]
    ])  # fmt: skip
    out = {"wds": np.array(params["wds"]), "periods": np.array(params["periods"])}
    for name, weights in (("wd", decayed), ("period", rescaled)):
        inner = networks.input_span(training.inputs)
        ratio, accuracy, cleaned = _seen(net, weights, inner, tests)
        first = net.groups()[0].select(weights).reshape(len(weights), -1, params["features"])
        noise = [(1 / networks.signal_to_noise(first, inner, test.inputs)).mean(axis=1) for test in tests[1:]]
        eigen = networks.eigen_noise_ratio(first, training.inputs, params["tau"]).mean(axis=1)
        out[f"{name}_ratio"], out[f"{name}_eigen"] = (r.reshape(-1, len(seeds)) for r in (ratio, eigen))
        out[f"{name}_noise"] = np.reshape(noise, (2, -1, len(seeds)))
        out[f"{name}_accuracy"] = accuracy.reshape(len(tests), -1, len(seeds))
        out[f"{name}_cleaned"] = cleaned.reshape(len(tests), -1, len(seeds))
    return out | _few(params)


def _seen(net: Any, weights: np.ndarray, span: networks.Span, tests: list[Any]) -> tuple[np.ndarray, ...]:
    """Noise ratio (E,), accuracies (tests, E) as trained and with the part outside removed."""
    (a, b), clean = net.groups()[0].segments[0], weights.copy()
    first = weights[:, a:b].reshape(len(weights), -1, span.features)
    clean[:, a:b] = span.inside(first).reshape(len(weights), -1)
    ratio = networks.noise_ratio(first, span).mean(axis=1)
    return ratio, *(np.array([accuracies(net, w, test) for test in tests]) for w in (weights, clean))


def _few(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Few real digits: loss in accuracy by the part outside (decays, sizes, draws), energy outside (sizes, draws)."""
    digits, count = networks.digits(), params["few_seeds"]
    net = networks.mlp((64, *params["hidden"], 10))
    sizes = (len(params["few_wds"]), len(params["few"]), params["few_draws"])
    loss, accuracy, energy = np.empty(sizes), np.empty(sizes), np.empty(sizes[1:])
    for i, size in enumerate(params["few"]):
        for draw in range(params["few_draws"]):
            training, held_out = digits.split(len(digits) - size, params["seed"] + draw)
            span = networks.input_span(training.inputs, tolerance=1e-9)
            away = held_out.inputs - training.inputs.mean(axis=0)
            energy[i, draw] = (span.outside(away) ** 2).sum() / (away**2).sum()
            final = networks.train(
                net, training, lr=params["few_lr"], weight_decay=np.repeat(params["few_wds"], count)[:, None],
                seeds=np.tile(np.arange(count), len(params["few_wds"])), batch_size=16,
                steps=params["few_steps"], record_every=params["few_steps"],
            ).final  # fmt: skip
            _, as_trained, cleaned = _seen(net, final, span, [held_out])
            loss[:, i, draw] = (cleaned - as_trained).reshape(-1, count).mean(axis=1)
            accuracy[:, i, draw] = as_trained.reshape(-1, count).mean(axis=1)
    return {"few": np.array(params["few"]), "few_loss": loss, "few_accuracy": accuracy, "few_energy": energy}


def _losses(data: dict[str, np.ndarray], name: str, strengths: slice) -> tuple[np.ndarray, np.ndarray]:
    """A ratio, and the loss by the part outside, of all conditions and seeds under the noises `strengths` of two."""
    loss = [(data[f"{n}_cleaned"] - data[f"{n}_accuracy"])[1:][strengths] for n in ("wd", "period")]
    ratio = [np.broadcast_to(data[f"{n}_{name}"], (2, *data[f"{n}_ratio"].shape))[strengths] for n in ("wd", "period")]
    return np.concatenate([r.ravel() for r in ratio]), 100 * np.concatenate([x.ravel() for x in loss])


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (x, y)]
    return float(np.corrcoef(*ranks)[0, 1])


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    ratio, loss = _losses(data, "ratio", slice(1, 2))
    both = _rank_correlation(*_losses(data, "noise", slice(None)))
    eigen = data["wd_eigen"].mean(axis=1)
    wd, shift = 100 * data["wd_accuracy"], -1
    clean_gap = np.abs(data["wd_cleaned"][0] - data["wd_accuracy"][0]).max()
    best = int(np.argmax(wd[shift].mean(axis=1)))
    few, half = paired_interval(100 * data["few_loss"])
    gain, spread = paired_interval(100 * (data["few_loss"][0, 0] - data["few_loss"][1, 0]))
    small = ratio < 1e-2
    energy = data["few_energy"].mean(axis=1)
    return [
        at_most("decay_lowers_the_ratio", data["wd_ratio"][-1].mean() / data["wd_ratio"][0].mean(), 1e-2,
                f"(a) Without decay the ratio is {data['wd_ratio'][0].mean():.2f}; the strongest decay leaves "
                "{found:.0e} of that,"),
        at_most("eigen_ratio", eigen[-1] / eigen[0], 0.9,
                f"the ratio outside the directions with 99 % of the variance falls from {eigen[0]:.2f} to "
                f"{eigen[-1]:.2f} (times {{found:.2f}}),"),
        at_least("test_error_follows", wd[shift, best].mean() - wd[shift, 0].mean(), 10.0,
                 f"and accuracy under the shift goes from {wd[shift, 0].mean():.0f} to {wd[shift, best].mean():.0f} %"
                 " (by {found:.0f} points),"),
        at_least("decay_has_a_price", wd[0].mean(axis=1).max() - wd[0, -1].mean(), 0.5,
                 "at a price on digits inside the span of up to {found:.1f} points."),
        at_most("inside_nothing_changes", 100 * clean_gap, 0.15,
                "There the part outside makes no difference ({found:.2f} points)."),
        at_least("rescaling_too", data["period_ratio"][-1].mean() / data["period_ratio"][0].mean(), 1.2,
                 "(b) Rescaling lowers the ratio less the longer its period ({found:.1f}-fold in between)."),
        at_least("whatever_made_it", _rank_correlation(ratio, loss), 0.85,
                 "(c) What the part outside costs follows the ratio, whatever made it (rank correlation {found:.2f}),"),
        at_least("one_curve_for_both_shifts", both, 0.85,
                 "and under both noises the noise over the signal in the sums of the neurons on the test inputs "
                 "({found:.2f});"),
        at_most("no_ratio_no_loss", loss[small].max(initial=0.0), 1.0,
                "below a ratio of 0.01 at most {found:.1f} points."),
        at_least("few_digits", few[0, 0] - half[0, 0], 0.3,
                 f"(d) Of real digits, {data['few'][0]} in training leave {energy[0]:.0%} of the energy of held-out "
                 f"ones outside: the part outside costs {few[0, 0]:.1f} +- {half[0, 0]:.1f} of "
                 f"{100 * data['few_accuracy'][0, 0].mean():.0f} points (lower end {{found:.1f}}),"),
        at_most("many_digits", few[0, -1] + half[0, -1], 0.5,
                f"{data['few'][-1]} leave {energy[-1]:.1%}, which costs {few[0, -1]:.2f} +- {half[0, -1]:.2f}."),
        at_least("decay_removes_it", gain - spread, 0.1,
                 f"Decay lowers the cost by {gain:.1f} +- {spread:.1f} points (lower end {{found:.1f}}), and takes the "
                 f"accuracy from {100 * data['few_accuracy'][0, 0].mean():.1f} to "
                 f"{100 * data['few_accuracy'][1, 0].mean():.1f} %."),
    ]  # fmt: skip


def _changed(name: str, at: Any, value: float) -> Any:
    """Some entries set to a value."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = data[name].copy()
        values[at] = value
        return data | {name: values}

    return spoil


BROKEN = {
    "decay_lowers_the_ratio": _changed("wd_ratio", -1, 0.4),
    "test_error_follows": _changed("wd_accuracy", -1, 0.5),
    "eigen_ratio": _changed("wd_eigen", -1, 1.0),
    "one_curve_for_both_shifts": _changed("wd_noise", (0, 0), 0.0),
    "decay_has_a_price": _changed("wd_accuracy", (0, -1), 1.0),
    "inside_nothing_changes": _changed("wd_cleaned", (0, 0), 0.9),
    "rescaling_too": _changed("period_ratio", -1, 1e-4),
    "whatever_made_it": _changed("wd_cleaned", (-1, 0), 0.0),
    "no_ratio_no_loss": _changed("wd_accuracy", (-1, -1), 0.5),
    "few_digits": _changed("few_loss", (0, 0), 0.0),
    "many_digits": _changed("few_loss", (0, -1), 0.02),
    "decay_removes_it": _changed("few_loss", (1, 0), 0.2),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Against decay, against the period, loss against the ratio, real digits."""
    figure, ((decay, period), (loss, few)) = style.page(2, 2, 4.4)
    style.letter(decay, "a", "weight decay")
    place = np.where(data["wds"] > 0, data["wds"], data["wds"][1] / 4)
    _draw_condition(decay, data, "wd", place)
    decay.set_xlabel(r"weight decay $\lambda$ (left end: 0)")
    style.letter(period, "b", "weight rescaling")
    _draw_condition(period, data, "period", data["periods"])
    period.set_xlabel("period (steps)")
    period.legend(loc="lower left", fontsize=5.5)
    style.letter(loss, "c", "what the part outside costs")
    _draw_losses(loss, data)
    style.letter(few, "d", "few training digits, no shift")
    _draw_few(few, data)
    return figure


def _draw_condition(axes: Axes, data: dict[str, np.ndarray], name: str, place: np.ndarray) -> None:
    """Accuracies on the left axis, the ratio on the right one."""
    rows = (("in the span", 100 * data[f"{name}_accuracy"][0], "o", style.BLUE),
            ("outside too", 100 * data[f"{name}_accuracy"][-1], "s", style.VERMILION),
            ("outside too, removed", 100 * data[f"{name}_cleaned"][-1], "x", style.BLACK))  # fmt: skip
    for label, values, marker, colour in rows:
        mean, half = paired_interval(values)
        axes.errorbar(place, mean, half, marker=marker, markersize=3.5, color=colour, linewidth=0.8, label=label,
                      linestyle="" if marker == "x" else "-", markerfacecolor="white", markeredgewidth=0.8)  # fmt: skip
    axes.set(xscale="log", ylabel="held-out accuracy (%)", ylim=(48, 102))
    right = axes.twinx()
    right.plot(place, data[f"{name}_ratio"].mean(axis=1), color=style.GREY, linewidth=1.0, linestyle="--")
    right.set(yscale="log", ylim=(1e-9, 3))
    right.set_ylabel(r"$\|P_\perp w\|^2/\|w\|^2$ (dashed)", color=style.GREY)
    right.spines["right"].set_visible(True)


def _draw_losses(axes: Axes, data: dict[str, np.ndarray]) -> None:
    for strength, filled in ((0, False), (1, True)):
        for name, colour, marker in (("wd", style.VERMILION, "o"), ("period", style.BLUE, "s")):
            loss = 100 * (data[f"{name}_cleaned"] - data[f"{name}_accuracy"])[1 + strength]
            said = {"wd": "decay", "period": "rescaling"}[name]
            noise = data[f"{name}_noise"][strength]
            axes.plot(noise.ravel(), loss.ravel(), linestyle="", marker=marker, markersize=2.6,
                      color=colour, markerfacecolor=colour if filled else "white", markeredgewidth=0.6,
                      label=f"{said}, {'strong' if filled else 'weak'} noise")  # fmt: skip
    axes.set(xlabel=r"noise / signal, Var$\langle w,P_\perp x\rangle$ / Var$\langle w,Px\rangle$", ylabel="points lost")
    axes.legend(loc="upper left", fontsize=5.5)


def _draw_few(axes: Axes, data: dict[str, np.ndarray]) -> None:
    mean, half = paired_interval(100 * data["few_loss"])
    for row, (label, colour, marker) in enumerate(
        (("no decay", style.BLUE, "o"), ("decay", style.VERMILION, "s"))
    ):
        axes.errorbar(data["few"] * (1 + 0.02 * row), mean[row], half[row], marker=marker, markersize=3.5, color=colour,
                      linewidth=0.8, markerfacecolor="white", label=label)  # fmt: skip
    axes.axhline(0.0, color=style.GREY, linewidth=0.6)
    axes.set(xlabel="training digits", ylabel="points lost")
    energies = ", ".join(f"{e:.1%}" for e in data["few_energy"].mean(axis=1))
    axes.legend(loc="upper right", fontsize=5.5, title=f"energy outside: {energies}", title_fontsize=5.5)
