"""Accuracy under no decay, weight decay, weight rescaling, scaled lr (analogue of Figure 1 of Liu et al. 2021).

The paper reports, for VGG16 on CIFAR-10, that weight rescaling trains faster than decay and learning rate scaling
and ends at the test accuracy of decay. The reader should see the same comparison for two small networks on
digits, over several seeds: a perceptron whose labels are partly wrong, where regularisation matters, and a
convolutional net on clean labels, where all methods end alike; that the head start of rescaling is that of its
unit norms, not of rescaling; and that scaling the lr of all layers is not what decay does to normalised ones.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdetheory as st
from figures.press import style
from figures.press.decay_nets import accuracies, replay, seen_at, with_buffers
from figures.press.digit_nets import one_thread_a_product
from figures.press.expectation import Expectation, at_least, at_most
from figures.press.measured import paired_interval
from sdetheory import networks

CLAIMS = ("A21", "A20")
CAPTION = """Heavy ball, momentum {momentum:g}, lr {lr:g}, divided by 10 half way, batches of 32 of {training_digits}
digits, {net_seeds} seeds; normalisations with scale and shift, plain output layer. Upper row: perceptron {widths},
{corrupted:.0%} of the training labels wrong for good, wd {wd:g}. Lower row: convolutions {channels}, clean labels, wd
{conv_wd:g}. (a, d) Accuracy on training labels as given, (b, e) on {held_out_digits} held-out digits; bands: 95 %
intervals. Rescaling: norm 1 for every neuron or filter after every step. Scaled lr: no decay, the growing lr that
replays decay, on scale-invariant layers or on all; dotted: decay from the unit norms that rescaling starts from.
(c, f) Training accuracy of rescaling after one epoch less that of decay."""

PARAMS: dict[str, Any] = {
    "widths": [64, 32, 32, 10], "channels": [6, 12], "training_digits": 1000, "held_out_digits": 797,
    "evaluated": 500, "corrupted": 0.2, "lr": 0.1, "momentum": 0.9, "wd": 5e-3, "conv_wd": 5e-3,
    "epochs": [0, 1, 2, 3, 5, 8, 12, 16, 23, 24, 25, 27, 30, 35, 40, 48],
    "conv_epochs": [0, 1, 2, 3, 4, 5, 6, 7, 8, 10],
    "lrs": [0.01, 0.03, 0.1, 0.3], "net_seeds": 8, "seed": 62,
}  # fmt: skip
QUICK = PARAMS | {
    "epochs": [0, 1, 2, 4, 8, 9, 10, 16], "conv_epochs": [0, 1, 2], "net_seeds": 4, "evaluated": 300,
    "lrs": [0.01, 0.1],
}  # fmt: skip

ARMS = ("none", "weight decay", "rescaling", "scaled lr", "scaled lr, all layers", "decay from unit norms")
NONE, DECAY, RESCALED, SCALED, EVERYWHERE, UNIT = range(len(ARMS))
COLOURS = (style.BLACK, style.VERMILION, style.BLUE, style.GREEN, style.PURPLE, style.VERMILION)


@one_thread_a_product
def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Accuracies (networks, arms, seeds, epochs) on training and held-out digits; for two networks."""
    training, held_out = networks.digits().split(params["held_out_digits"], seed=params["seed"])
    training = training.subset(slice(0, params["training_digits"]))
    corrupted = training.corrupted_labels(params["corrupted"])
    perceptron = networks.mlp(params["widths"], affine=True)
    convolutions = networks.conv_net(params["channels"], pool="mean", pool_after=(1,), head="flat", affine=True)
    out: dict[str, np.ndarray] = {}
    for name, net, data, wd, epochs in (
        ("mlp", perceptron, corrupted, params["wd"], params["epochs"]),
        ("conv", convolutions, training, params["conv_wd"], params["conv_epochs"]),
    ):
        marks = np.array(epochs) * -(-len(training) // 32)
        weights = _train(params, net, data, wd, marks)
        some = data.subset(slice(0, params["evaluated"]))
        for part, seen in (("train", some), ("test", held_out)):
            shape = (len(ARMS), -1, len(marks))
            out[f"{name}_{part}"] = accuracies(net, weights, seen).reshape(shape)
        out[f"{name}_epochs"] = np.array(epochs)
        out[f"{name}_early"] = _early(params, net, data, wd, some)
    return out | {"lrs": np.array(params["lrs"])}


def _early(params: dict[str, Any], net: Any, data: Any, wd: float, some: Any) -> np.ndarray:
    """Training accuracy after one epoch (decay, rescaling, decay from unit norms; lr, seeds)."""
    lrs, seeds = params["lrs"], params["seed"] + np.arange(params["net_seeds"])
    start, steps = net.start(seeds), -(-len(data) // 32)
    rows = []
    for decay, begin, rescaling in ((wd, start, None), (0.0, start, networks.WeightRescaling()),
                                    (wd, _unit(net, start), None)):  # fmt: skip
        final = networks.train(
            net, data, steps=steps, record_every=steps, seeds=np.tile(seeds, len(lrs)), rescaling=rescaling,
            start=np.tile(begin, (len(lrs), 1)),
            optimiser=st.HeavyBall(np.repeat(lrs, len(seeds))[:, None], decay, params["momentum"]),
        ).final  # fmt: skip
        rows.append(accuracies(net, final, some).reshape(len(lrs), -1))
    return np.array(rows)


def _train(params: dict[str, Any], net: Any, data: Any, wd: float, marks: np.ndarray) -> np.ndarray:
    """Parameters (arms x seeds, marks, P)."""
    seeds, steps = params["seed"] + np.arange(params["net_seeds"]), int(marks[-1])
    lr = params["lr"] * np.where(np.arange(steps) < steps // 2, 1.0, 0.1)
    invariant = np.array([group.scale_invariant for group in net.groups()])
    right, start = replay(lr, wd, params["momentum"]), net.start(seeds)
    # arms of one ensemble: which groups have the lr of the replay, whether there is decay, where they start
    plans = {
        NONE: (0 * invariant, 0.0, start), DECAY: (0 * invariant, wd, start), SCALED: (invariant, 0.0, start),
        EVERYWHERE: (0 * invariant + 1, 0.0, start), UNIT: (0 * invariant, wd, _unit(net, start)),
    }  # fmt: skip
    count = len(seeds)
    rates = np.stack([np.where(scaled > 0, right.lr[:, None], lr[:, None]) for scaled, _, _ in plans.values()])
    decays = np.array([decay for _, decay, _ in plans.values()])
    starts = np.concatenate([begin for _, _, begin in plans.values()])
    first = right.first * np.repeat([scaled for scaled, _, _ in plans.values()], count, axis=0)
    together = seen_at(
        marks, net, data, seeds=np.tile(seeds, len(plans)), start=starts, state=with_buffers(net, starts, first),
        optimiser=st.HeavyBall(
            np.repeat(rates, count, axis=0), np.repeat(decays, count)[:, None], params["momentum"]
        ),
    ).reshape(len(plans), count, len(marks), -1)  # fmt: skip
    rescaled = seen_at(
        marks, net, data, seeds=seeds, optimiser=st.HeavyBall(lr, 0.0, params["momentum"]),
        rescaling=networks.WeightRescaling(),
    )  # fmt: skip
    rows = dict(zip(plans, together, strict=True)) | {RESCALED: rescaled}
    return np.concatenate([rows[arm] for arm in range(len(ARMS))])


def _unit(net: Any, weights: np.ndarray) -> np.ndarray:
    """Every neuron or filter that a normalisation follows at norm 1."""
    for group in networks.WeightRescaling().chosen(net):
        weights = group.scaled(weights, 1 / np.linalg.norm(group.select(weights), axis=1, keepdims=True))
    return weights


def _told(difference: np.ndarray) -> tuple[float, str]:
    """Paired differences in points: their mean, and mean and interval in words."""
    mean, half = paired_interval(100 * difference)
    return float(mean), f"{mean:+.1f} +- {half:.1f}"


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    early = {name: data[f"{name}_early"] for name in ("mlp", "conv")}
    shown = int(np.argmin(np.abs(data["lrs"] - 0.1)))
    final = {name: data[f"{name}_test"][:, :, -1] for name in ("mlp", "conv")}
    lead, like = (
        {name: {at: _told(e[1, at] - e[against, at]) for at in (0, shown)} for name, e in early.items()}
        for against in (0, 2)
    )
    end = {name: {a: _told(f[a] - f[DECAY]) for a in range(len(ARMS))} for name, f in final.items()}
    fitted = _told(data["mlp_train"][RESCALED, :, -1] - data["mlp_train"][DECAY, :, -1])
    return [
        at_least("lead_at_small_lr", lead["mlp"][0][0], 1.0,
                 f"(c, f) After one epoch at lr {data['lrs'][0]:g} rescaling leads decay by "
                 f"{lead['mlp'][0][1]} points (perceptron) and {lead['conv'][0][1]} (convolutions),"),
        at_most("lead_of_the_unit_norms", max(like[name][0][0] for name in like), 0.7,
                f"from the same unit norms by {like['mlp'][0][1]} and {like['conv'][0][1]}: a head start of norms;"),
        at_most("no_lead_at_the_lr_shown", max(lead[name][shown][0] for name in lead), 1.5,
                f"at lr {data['lrs'][shown]:g} it does not lead: {lead['mlp'][shown][1]}, {lead['conv'][shown][1]}."),
        at_most("training_accuracy_at_the_end", abs(fitted[0]), 4.0,
                f"At the end it fits wrong labels about as much as decay ({fitted[1]})."),
        at_most("rescaling_ends_like_decay", abs(end["mlp"][RESCALED][0]), 2.0,
                f"Held-out accuracy, relative to decay ({100 * final['mlp'][DECAY].mean():.1f} and "
                f"{100 * final['conv'][DECAY].mean():.1f} %): rescaling {end['mlp'][RESCALED][1]} and "
                f"{end['conv'][RESCALED][1]},"),
        at_most("none_is_behind", end["mlp"][NONE][0], -0.5,
                f"none {end['mlp'][NONE][1]} and {end['conv'][NONE][1]},"),
        at_most("scaled_lr_is_near", abs(end["mlp"][SCALED][0]), 2.5,
                f"scaled lr of invariant layers {end['mlp'][SCALED][1]} and {end['conv'][SCALED][1]},"),
        at_most("scaled_everywhere_is_not", end["mlp"][EVERYWHERE][0], -2.0,
                f"of all layers {end['mlp'][EVERYWHERE][1]} and {end['conv'][EVERYWHERE][1]}."),
        at_most("clean_labels_all_alike", max(abs(end["conv"][a][0]) for a in (NONE, RESCALED, SCALED)), 2.5,
                "On clean labels none, rescaling and scaled lr of invariant layers end within {found:.1f} points."),
        at_least("conv_learns", 100 * final["conv"][DECAY].mean(), 85.0,
                 "The convolutional net under decay is right on {found:.1f} %."),
    ]  # fmt: skip


def _shifted(name: str, arm: int, by: float) -> Any:
    """One arm's accuracies plus a number."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = data[name].copy()
        rows[arm] += by
        return data | {name: rows}

    return spoil


BROKEN = {
    "lead_at_small_lr": _shifted("mlp_early", 0, 0.3),
    "lead_of_the_unit_norms": _shifted("mlp_early", 2, -0.1),
    "no_lead_at_the_lr_shown": _shifted("mlp_early", 1, 0.2),
    "training_accuracy_at_the_end": _shifted("mlp_train", RESCALED, 0.2),
    "rescaling_ends_like_decay": _shifted("mlp_test", RESCALED, -0.08),
    "none_is_behind": _shifted("mlp_test", NONE, 0.2),
    "scaled_lr_is_near": _shifted("mlp_test", SCALED, -0.2),
    "scaled_everywhere_is_not": _shifted("mlp_test", EVERYWHERE, 0.9),
    "clean_labels_all_alike": _shifted("conv_test", RESCALED, 0.2),
    "conv_learns": _shifted("conv_test", DECAY, -0.5),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Training and held-out accuracy of both networks, and the lead of rescaling after one epoch."""
    figure, rows = style.page(2, 3, 3.9)
    letters = iter("abcdef")
    for name, what, row in zip(("mlp", "conv"), ("MLP", "CNN"), rows, strict=True):
        for axes, part, said in zip(row, ("train", "test"), ("training labels", "held-out digits"), strict=False):
            style.letter(axes, next(letters), f"{what}: {said}")
            _draw(axes, data[f"{name}_epochs"], 100 * data[f"{name}_{part}"])
        style.letter(row[2], next(letters), f"{what}: lead after epoch 1")
        _draw_lead(row[2], data["lrs"], 100 * data[f"{name}_early"])
    handles, names = rows[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=6, fontsize=5.5, columnspacing=1.2)
    return figure


def _draw(axes: Axes, epochs: np.ndarray, accuracy: np.ndarray) -> None:
    shown = epochs > 0
    for arm, name in enumerate(ARMS):
        mean, half = (x[shown] for x in paired_interval(np.moveaxis(accuracy[arm], 0, -1)))
        dotted = ":" if arm == UNIT else "-"
        axes.plot(epochs[shown], mean, label=name, color=COLOURS[arm], linewidth=1.0, linestyle=dotted)
        if arm != UNIT:
            axes.fill_between(epochs[shown], mean - half, mean + half, color=COLOURS[arm], alpha=0.15, lw=0)
    top = accuracy[[NONE, DECAY, RESCALED, SCALED]][:, :, shown].mean(axis=1)
    low, high = top.min() - 0.25 * np.ptp(top), top.max() + 0.1 * np.ptp(top)
    axes.set(xlabel="epoch", ylabel="accuracy (%)", xscale="log", ylim=(low, high))
    ticks = [tick for tick in (1, 3, 10, 30) if tick <= epochs[-1]]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()


def _draw_lead(axes: Axes, lrs: np.ndarray, early: np.ndarray) -> None:
    """Rescaling less decay, from the usual start and from unit norms."""
    for against, name, marker in ((0, "on decay", "o"), (2, "on decay from unit norms", "s")):
        mean, half = paired_interval(early[1] - early[against])
        place = lrs * (0.96 if against else 1.04)
        axes.errorbar(place, mean, half, marker=marker, markersize=3, markerfacecolor="white", markeredgewidth=0.7,
                      linewidth=0.8, linestyle=":" if against else "-", color=style.BLUE, label=name)  # fmt: skip
    axes.axhline(0.0, color=style.GREY, linewidth=0.6)
    axes.set(xscale="log", xlabel="lr", ylabel="points")
    axes.legend(loc="lower left", fontsize=5.5)
