"""Weight decay replayed by learning rates: what the effective lr explains and what it does not (Liu et al. 2021).

The paper calls the usual explanation of weight decay, a larger effective learning rate, insufficient. The reader
should see that weights followed by batch normalisation, without decay but at the right learning rates, go
through the same functions and the same share of weights outside the input span as under decay, to rounding (a);
what breaks it: schedules that are not quite right, momentum, epsilon, and parameters no normalisation follows (a);
and that what decay does to held-out accuracy beyond its replay on the hidden layers comes from the output layer:
nothing where labels are clean, most of it where some are wrong (b).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdetheory as st
from figures.press import style
from figures.press.decay_nets import Replay, accuracies, replay, seen_at, units, with_buffers
from figures.press.digit_nets import one_thread_a_product
from figures.press.expectation import Expectation, at_least, at_most
from figures.press.measured import paired_interval
from sdetheory import networks

CLAIMS = ("A20", "A17", "A18", "A19")
CAPTION = """Nets {widths} on {training_digits} digits, {corrupted:.0%} of whose labels are wrong for good (but for the
clean setting of b), batches of 32. (a) Largest distance, over neurons, between the unit weights under decay and under
the learning rates that should replay it, median of {traced_seeds} seeds; all weights normalised, lr {traced_lr:g}, wd
{traced_wd:g} (heavy ball: momentum {momentum:g}, wd {traced_momentum_wd:g}) unless the label says otherwise. (b) Plain
output layer, {steps} steps, lr divided by 10 half way: accuracy on {held_out_digits} held-out digits less that of decay
on all layers, the same {net_seeds} seeds for both; bars: 95 % intervals. The replay is that of the decay of hidden
layers, rescaling is to norm 1 after every step."""

PARAMS: dict[str, Any] = {
    "widths": [64, 32, 32, 10],
    "training_digits": 1000,
    "held_out_digits": 797,
    "corrupted": 0.2,
    "net_seeds": 10,
    "traced_seeds": 6,
    "traced_steps": 1000,
    "traced_lr": 0.1,
    "traced_wd": 2e-2,
    "traced_momentum_wd": 2e-3,
    "momentum": 0.9,
    "traced_eps": 1e-5,
    "steps": 1500,
    "settings": [[0.1, 2e-2, 0.0, True], [0.1, 2e-2, 0.0, False], [0.02, 2e-2, 0.9, False], [0.1, 5e-3, 0.9, False]],
    "seed": 60,
}
QUICK = PARAMS | {"net_seeds": 5, "traced_seeds": 3, "traced_steps": 150, "steps": 400}

TRACED = ("SGD", "heavy ball", "without $1/(1-\\eta\\lambda)$", "heavy ball, schedule of SGD", "$\\epsilon=10^{-5}$",
          "output layer decays too")  # fmt: skip
ARMS = ("no decay", "decay, hidden layers", "  its replay", "decay, output layer", "replay + decay, output",
        "rescaling", "rescaling + decay, output", "lr of the replay, all layers")  # fmt: skip
NONE, HIDDEN, REPLAY, OUTPUT, BOTH, RESCALED, RESCALED_TOO, SCALED = range(len(ARMS))
CLEAN = 0  # the setting with clean labels, the first
COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY)


@one_thread_a_product
def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Distances (cases, marks), noise ratios of both runs, accuracies less those of decay (settings, arms, seeds)."""
    digits = networks.digits()
    training, held_out = digits.split(params["held_out_digits"], seed=params["seed"])
    clean = training.subset(slice(0, params["training_digits"]))
    wrong = clean.corrupted_labels(params["corrupted"])
    data = _traces(params, wrong)
    rows = (_setting(params, clean if s[3] else wrong, held_out, *s[:3]) for s in params["settings"])
    gains, accuracy = zip(*rows, strict=True)
    return data | {"gain": np.array(gains), "accuracy": np.array(accuracy)}


def _traces(params: dict[str, Any], training: networks.Data) -> dict[str, np.ndarray]:
    """How far each replay gets from its run with decay."""
    steps, seeds = params["traced_steps"], params["seed"] + np.arange(params["traced_seeds"])
    marks = np.unique(np.rint(np.geomspace(1, steps, 14)).astype(int))
    lr, wd, momentum = np.full(steps, params["traced_lr"]), params["traced_wd"], params["momentum"]
    invariant, leaky = (
        networks.mlp(params["widths"], normalised_output=True, eps=eps) for eps in (0.0, params["traced_eps"])
    )
    plain, exact = networks.mlp(params["widths"]), replay(lr, wd)
    heavy = replay(lr, params["traced_momentum_wd"], momentum)
    wrong = replay(lr, params["traced_momentum_wd"])
    cases = (
        (invariant, 0.0, wd, exact),
        (invariant, momentum, params["traced_momentum_wd"], heavy),
        (invariant, 0.0, wd, Replay(exact.lr * (1 - lr * wd), 0.0)),
        (invariant, momentum, params["traced_momentum_wd"], wrong),
        (leaky, 0.0, wd, exact),
        (plain, 0.0, wd, exact),
    )
    rows, ratios = [], []
    for net, beta, decay, with_lr in cases:
        hidden = np.array([g.scale_invariant or net is leaky for g in net.groups()])
        runs = [
            seen_at(marks, net, training, seeds=seeds, optimiser=rule)
            for rule in (st.HeavyBall(lr, decay, beta), _replaying(lr, with_lr, hidden, beta))
        ]
        like = invariant if net is leaky else net
        a, b = (units(like, run) for run in runs)
        rows.append(np.median(np.abs(a - b).max(axis=2), axis=0))
        ratios.append([_noise_ratio(net, run[:, -1], training) for run in runs])
    return {"marks": marks, "distance": np.array(rows), "noise_ratio": np.array(ratios[0])}


def _replaying(lr: np.ndarray, with_lr: Replay, hidden: np.ndarray, momentum: float) -> st.HeavyBall:
    """No decay, the learning rates of the replay on hidden layers (one truth value a group), `lr` on the rest."""
    rates = np.where(hidden, with_lr.lr[:, None], lr[:, None])[None]
    return st.HeavyBall(rates, 0.0, momentum, first=with_lr.first)


def _noise_ratio(net: networks.Network, weights: np.ndarray, training: networks.Data) -> np.ndarray:
    """|P_perp w|/|w| of the first layer (E,), P_perp orthogonal to the centred inputs."""
    first = net.groups()[0].select(weights).reshape(len(weights), -1, net.inputs)
    outside = networks.input_span(training.inputs).outside(first)
    return np.sqrt((outside**2).sum(axis=(1, 2)) / (first**2).sum(axis=(1, 2)))


def _setting(
    params: dict[str, Any], training: networks.Data, held_out: networks.Data, lr: float, wd: float, momentum: float
) -> tuple[np.ndarray, np.ndarray]:
    """Held-out accuracy of each arm less that of decay on all layers, and itself with decay last, (arms, seeds)."""
    net, steps = networks.mlp(params["widths"]), params["steps"]
    hidden = np.array([group.scale_invariant for group in net.groups()])
    seeds = params["seed"] + np.arange(params["net_seeds"])
    lrs = lr * np.where(np.arange(steps) < steps // 2, 1.0, 0.1)
    right = replay(lrs, wd, momentum)
    # arm: does the lr of the replay apply (hidden, output), does decay
    arms = {
        NONE: (0, 0, 0, 0), HIDDEN: (0, 0, 1, 0), REPLAY: (1, 0, 0, 0), OUTPUT: (0, 0, 0, 1), BOTH: (1, 0, 0, 1),
        SCALED: (1, 1, 0, 0), len(ARMS): (0, 0, 1, 1), RESCALED: (0, 0, 0, 0), RESCALED_TOO: (0, 0, 0, 1),
    }  # fmt: skip
    out = np.empty((len(ARMS) + 1, len(seeds)))
    for names, rescaling in (
        ([arm for arm in arms if arm not in (RESCALED, RESCALED_TOO)], None),
        ([RESCALED, RESCALED_TOO], networks.WeightRescaling()),
    ):
        replays, decays = (
            np.array([np.where(hidden, arms[n][i], arms[n][i + 1]) for n in names], dtype=float) for i in (0, 2)
        )
        rates = np.where(replays[:, None] > 0, right.lr[:, None], lrs[:, None])
        final = _final(
            net, training, seeds, rates, wd * decays[:, None], momentum, right.first * replays, rescaling
        )
        out[names] = accuracies(net, final, held_out).reshape(len(names), -1)
    return out[:-1] - out[-1], out


def _final(
    net: networks.Network, training: networks.Data, seeds: np.ndarray, lr: np.ndarray, weight_decay: np.ndarray,
    momentum: float, first: np.ndarray, rescaling: networks.WeightRescaling | None,
) -> np.ndarray:  # fmt: skip
    """Parameters after training: lr (arms, steps, groups), weight_decay (arms, 1, groups), first (arms, groups)."""
    count, steps = len(seeds), lr.shape[1]
    every, rates, decays = np.tile(seeds, len(lr)), np.repeat(lr, count, axis=0), np.repeat(weight_decay, count, axis=0)
    start = net.start(every)
    state = with_buffers(net, start, np.repeat(first, count, axis=0)) if rescaling is None else None
    return networks.train(
        net, training, optimiser=st.HeavyBall(rates, decays, momentum), rescaling=rescaling, start=start, seeds=every,
        state=state, steps=steps, record_every=steps, progress=True,
    ).final  # fmt: skip


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    end, gain = data["distance"][:, -1], 100 * data["gain"]
    ratio = np.abs(data["noise_ratio"][0] / data["noise_ratio"][1] - 1).max()
    mean, half = paired_interval(gain)
    share = mean[:, OUTPUT] - mean[:, NONE]
    told, rescaled = (
        [f"{m:+.1f} +- {h:.1f}" for m, h in zip(mean[:, arm], half[:, arm], strict=True)] for arm in (REPLAY, RESCALED)
    )
    top = 100 * data["accuracy"][:, -1].mean(axis=1)
    return [
        at_most("replay_of_sgd", end[0], 1e-11,
                "(a) At lr (1 - lr wd)^(-2t-1) nets without decay keep to those with decay: {found:.0e} at the end,"),
        at_most("same_noise_ratio", ratio, 1e-11,
                "and the ratio |P_perp w|/|w| outside the input span differs by {found:.0e}:"
                " the decay of that part is not a second effect."),
        at_most("replay_of_heavy_ball", end[1], 1e-9,
                "With momentum the root of x^2 - (1 + mu - lr wd) x + mu takes the place of 1 - lr wd: {found:.0e}."),
        at_least("factor_matters", end[2], 1e-2, "Without the factor 1/(1 - lr wd) they part by {found:.2f},"),
        at_least("momentum_matters", end[3], 5e-2, "with momentum and the schedule of plain SGD by {found:.2f},"),
        at_least("epsilon_matters", end[4] / end[0], 1e3, "with epsilon 1e-5 it is {found:.0e} times the rounding,"),
        at_least("output_layer_matters", end[5], 2e-2,
                 "and if the output layer decays in the one alone, {found:.2f}."),
        at_most("replays_are_exact", np.abs(gain[:, REPLAY] - gain[:, HIDDEN]).max(), 0.15,
                "(b) Replays differ from decay of the hidden layers by at most {found:.2f} points"),
        at_most("with_the_output_layer_too", np.abs(gain[:, BOTH]).max(), 0.15,
                "and, with decay on the output layer, from decay on all layers by {found:.2f}, in every seed."),
        at_most("no_decay_is_behind", mean[:, NONE].mean(), -0.4,
                f"Decay on all layers ({_numbers(top)} per cent right) is ahead of none "
                f"by {_numbers(-mean[:, NONE])} points (mean of the settings, sign reversed: {{found:.1f}})."),
        at_most("effective_lr_is_all_on_clean_labels", abs(mean[CLEAN, REPLAY]), 0.6,
                f"On clean labels the replay of the hidden layers alone is at {told[CLEAN]} points: the effective lr "
                "suffices ({found:.1f}),"),
        at_most("no_share_on_clean_labels", share[CLEAN], 0.5, "and decay of the output layer alone adds {found:.1f}."),
        at_most("effective_lr_is_not_all", (mean + half)[1:, REPLAY].min(), -0.1,
                f"With wrong labels it is at {', '.join(told[1:])} points (least upper end of an interval: "
                "{found:.1f}): not sufficient, for the output layer's sake,"),
        at_least("share_of_the_output_layer", share[1:].mean(), 0.5,
                 f"whose decay alone gains {_numbers(share[1:])} on no decay (mean {{found:.1f}})."),
        at_most("rescaling_lacks_it_too", np.abs(mean[:, RESCALED_TOO]).max(), 2.0,
                f"Rescaling is at {', '.join(rescaled)}, and with decay on the output layer within {{found:.1f}} points"
                " of decay on all layers."),
        at_most("scaled_everywhere", mean[:, SCALED].min(), -1.0,
                "The learning rates of the replay on all layers, output included, are worst: {found:.1f} points."),
    ]  # fmt: skip


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def _arm(number: int, value: float) -> Any:
    """One arm's differences all at a value."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        gain = data["gain"].copy()
        gain[:, number] = value
        return data | {"gain": gain}

    return spoil


def _case(number: int, factor: float) -> Any:
    """One curve of distances times a factor."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        distance = data["distance"].copy()
        distance[number] *= factor
        return data | {"distance": distance}

    return spoil


BROKEN = {
    "replay_of_sgd": _case(0, 1e8),
    "same_noise_ratio": lambda data: data | {"noise_ratio": data["noise_ratio"] * [[1.0], [1.01]]},
    "replay_of_heavy_ball": _case(1, 1e8),
    "factor_matters": _case(2, 1e-3),
    "momentum_matters": _case(3, 1e-3),
    "epsilon_matters": _case(4, 1e-13),
    "output_layer_matters": _case(5, 1e-3),
    "replays_are_exact": _arm(REPLAY, 0.01),
    "with_the_output_layer_too": _arm(BOTH, 0.01),
    "no_decay_is_behind": _arm(NONE, 0.0),
    "effective_lr_is_all_on_clean_labels": _arm(REPLAY, -0.02),
    "no_share_on_clean_labels": _arm(OUTPUT, 0.05),
    "effective_lr_is_not_all": _arm(REPLAY, 0.0),
    "share_of_the_output_layer": _arm(OUTPUT, -0.3),
    "rescaling_lacks_it_too": _arm(RESCALED_TOO, 0.06),
    "scaled_everywhere": _arm(SCALED, 0.0),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Distances, and held-out accuracies for each setting."""
    figure, (distance, gains) = style.page(1, 2, 3.1, gridspec_kw={"width_ratios": [1, 1.25]})
    _draw_distance(distance, data)
    _draw_gains(gains, data)
    return figure


def _draw_distance(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "decay and its replay apart")
    for name, row, colour in zip(TRACED, data["distance"], COLOURS, strict=True):
        axes.plot(data["marks"], row, color=colour, linewidth=1.0, label=name)
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel="distance of unit weights", ylim=(3e-17, 3e5))
    axes.set_yticks([1e-16, 1e-12, 1e-8, 1e-4, 1.0])
    axes.legend(loc="upper left", fontsize=5.5)


def _draw_gains(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "held-out accuracy less that of decay")
    mean, half = paired_interval(100 * data["gain"])
    colours, markers = (style.BLACK, style.BLUE, style.VERMILION, style.GREEN), "Dos^"
    left, right = -7.0, 4.5
    for number in range(len(mean)):
        place = np.arange(len(ARMS)) + 0.2 * (number - 1.5)
        axes.errorbar(
            mean[number], place, xerr=half[number], linestyle="", marker=markers[number], color=colours[number],
            markersize=3, markerfacecolor="white", markeredgewidth=0.7, elinewidth=0.8,
            label=SETTINGS[number],
        )  # fmt: skip
    axes.plot([0.0, 0.0], [-0.6, len(ARMS) - 0.4], **style.PREDICTED | {"zorder": 1})
    axes.set(xlabel="points", yticks=np.arange(len(ARMS)), yticklabels=ARMS, ylim=(len(ARMS) - 0.4, -2.6))
    axes.set_xlim(left, right)
    for number, value in enumerate(mean[:, SCALED]):
        if value < left:
            place, arrow = SCALED + 0.2 * (number - 1.5), {"arrowstyle": "->", "color": colours[number], "lw": 0.7}
            text = (left + 1.2 + 0.8 * (number % 2), place)
            axes.annotate(f"{value:.0f}", (left, place), text, va="center", fontsize=5.5,
                          color=colours[number], arrowprops=arrow)  # fmt: skip
    axes.legend(loc="upper left", fontsize=5.5)


SETTINGS = ("SGD, lr 0.1, wd 0.02, clean labels", "the same, wrong labels", "momentum, lr 0.02, wd 0.02, wrong labels",
            "momentum, lr 0.1, wd 0.005, wrong labels")  # fmt: skip
