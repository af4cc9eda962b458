"""The linear scaling rule and the SDE behind it (analogue of the scaling figures of Li, Malladi, Arora 2021).

Batch size and learning rate times kappa at constant weight decay: where the SDE describes SGD, norm R, signal G
and noise kappa N stay. The reader should see them stay, then leave the factor C one after the other, before the
bound that G and N of the base run put on kappa (a); the balance lr (G + N) = wd (2 - lr wd) R of stationary SGD
hold at every kappa, that of the SDE fail as the signal outgrows the noise (b); G/N pass C^2 - 1, beyond which
no SDE is close (c); and accuracy and loss suffer there (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, between, near
from figures.press.measured import near_equilibrium, standard_error
from sdetheory.predictions import stationary_moments

CLAIMS = ("I47", "I48", "I49")
CAPTION = """Batch-normalised network 64-32-10 (logits normalised too) on {training_digits} digits, label noise
{label_noise:g}, batches of {batch_size} kappa, lr = {lr:g} kappa, weight decay {product:g}/{lr:g}: R = E|w|^2, G =
E|grad L|^2 and N = E Tr Sigma at equilibrium, over {window:g}/(lr wd) steps after {burn:g}/(lr wd), means over
{nets} runs, bars: two standard errors. C^2 = {square:g}. (a) Over their values at kappa = 1; grey: kappa N and G at
the frozen weights of the base runs, where only the batch size changes; band: the factor C; dashed: the bound C^2 +
(C^2 - 1) N/G. (b) lr (G + N) over wd (2 - lr wd) R for SGD, lr N over 2 wd R for the SDE; (c) G/N; dashed: C^2 - 1;
dotted: kappa times G/N of the base runs. (d) Error on the other digits and training loss (true labels, all digits
in one batch)."""

PARAMS: dict[str, Any] = {
    "widths": [64, 32, 10],
    "training_digits": 1297,
    "label_noise": 0.2,
    "batch_size": 32,
    "lr": 0.1,
    "product": 2e-3,
    "kappa": [1, 2, 4, 8, 12, 16, 24, 32],
    "burn": 4.0,
    "window": 6.0,
    "checks": 6,
    "batches": 24,
    "nets": 10,
    "square": 2.0,
    "resamples": 400,
    "seed": 60,
}
QUICK = PARAMS | {"product": 4e-3, "kappa": [1, 4, 12, 32], "nets": 6, "batches": 16, "window": 4.0}

NAMES = ("R", "G", "N")
TOLD = dict(zip(NAMES, ("R", "G", "kappa N"), strict=True))
LOOK = dict(zip(NAMES, ((style.BLUE, "o"), (style.VERMILION, "s"), (style.GREEN, "^")), strict=True))


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """R, G, N, the squared gradient of training, error and loss, (kappa, nets); N and G at frozen weights."""
    net, digits = st.networks.mlp(params["widths"], normalised_output=True), st.networks.digits()
    cut = np.split(np.arange(len(digits)), [params["training_digits"]])
    training, held_out = (digits.subset(part) for part in cut)
    runs = [_run(params, net, training, held_out, kappa) for kappa in params["kappa"]]
    data = {name: np.array([run[name] for run in runs]) for name in runs[0] if name != "final"}
    base, frozen = runs[0]["final"], []
    for kappa in params["kappa"]:
        found = st.networks.signal_and_noise(
            net, base, training, batches=4 * params["batches"], batch_size=params["batch_size"] * kappa,
            label_noise=params["label_noise"], seeds=params["seed"] + 1000 + np.arange(params["nets"]),
        )  # fmt: skip
        frozen.append([found.squared_mean, found.noise_trace])
    signal, noise = np.moveaxis(np.array(frozen), 1, 0)
    kept = {name: np.asarray(params[name]) for name in ("kappa", "lr", "product", "square", "resamples", "seed")}
    return data | kept | {"frozen_G": signal, "frozen_N": noise}


def _run(params: dict[str, Any], net: Any, training: Any, held_out: Any, kappa: int) -> dict[str, np.ndarray]:
    """One kappa: burn in, then the window in pieces, G and N estimated at the end of each."""
    lr, decay, members = params["lr"] * kappa, params["product"] / params["lr"], np.arange(params["nets"])
    batch = {"batch_size": params["batch_size"] * kappa, "label_noise": params["label_noise"]}
    rates = {"lr": lr, "weight_decay": decay, "seeds": params["seed"] + members, **batch}
    burn = round(params["burn"] / (lr * decay))
    piece = max(1, round(params["window"] / (lr * decay) / params["checks"]))
    scale = near_equilibrium(np.full((len(members), 1), lr), lr * decay)
    w = st.networks.train(net, training, steps=burn, init_scale=scale, record_every=burn, **rates).final
    rows = []
    for number in range(params["checks"]):
        step = burn + number * piece
        record = st.networks.train(net, training, steps=piece, start=w, first_step=step, **rates)
        before, after = record.squared_norm[:, :-1].sum(axis=2), record.squared_norm[:, -1].sum(axis=1)
        w = record.final
        found = st.networks.signal_and_noise(
            net, w, training, batches=params["batches"], seeds=10000 + rates["seeds"], first_step=step, **batch
        )
        error = 1 - st.networks.evaluate(net, w, held_out)[1]
        loss = st.networks.evaluate(net, w, training)[0]
        total = record.growth_sum.sum(axis=(1, 2)) / lr**2 / piece
        drift = (after - before[:, 0]) / piece
        rows.append([before.mean(axis=1), found.squared_mean, found.noise_trace, total, drift, error, loss])
    names = (*NAMES, "total", "drift", "error", "loss")
    return dict(zip(names, np.mean(rows, axis=0), strict=True)) | {"final": w}


def _ratios(data: dict[str, np.ndarray], nets: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
    """R, G and kappa N of a choice of nets over their values at the smallest kappa, (kappa,)."""
    means = {name: data[name][:, nets].mean(axis=1) for name in NAMES}
    means["N"] = means["N"] * data["kappa"]
    return {name: values / values[0] for name, values in means.items()}


def _bound(data: dict[str, np.ndarray], nets: np.ndarray | slice = slice(None)) -> float:
    """The largest kappa that G and N of the base runs allow."""
    signal, noise = (data[name][0, nets].mean() for name in ("G", "N"))
    return float(stationary_moments.largest_scaling(
        closeness=np.sqrt(data["square"]), squared_mean=signal, noise_trace=noise
    ))  # fmt: skip


def _leaves(ratios: dict[str, np.ndarray], data: dict[str, np.ndarray]) -> dict[str, float]:
    """The kappa at which each ratio leaves the factor C, interpolated in logarithms; infinity if it stays."""
    level, kappa, out = np.log(data["square"]) / 2, np.log(data["kappa"]), {}
    for name, values in ratios.items():
        off = np.abs(np.log(values)) - level
        beyond = np.flatnonzero(off > 0)
        if len(beyond) == 0:
            out[name] = np.inf
            continue
        k = beyond[0]
        share = -off[k - 1] / (off[k] - off[k - 1])
        out[name] = float(np.exp(kappa[k - 1] + share * (kappa[k] - kappa[k - 1])))
    return out


def _resampled(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """First leaving place and bound for resampled nets, (resamples,) each."""
    draw, nets = np.random.default_rng(int(data["seed"])), data["R"].shape[1]
    picks = [draw.integers(0, nets, nets) for _ in range(int(data["resamples"]))]
    most = 10.0 * data["kappa"][-1]  # stands for "stays"
    first = np.array([min(most, *_leaves(_ratios(data, pick), data).values()) for pick in picks])
    return first, np.array([_bound(data, pick) for pick in picks])


def _balances(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Predicted over measured R, (kappa, nets): of SGD from mean |g|^2 = G + N in training, of the SDE from N."""
    rates = {"lr": (data["lr"] * data["kappa"])[:, None], "weight_decay": data["product"] / data["lr"]}
    sgd, sde = stationary_moments.sgd_stationary_squared_norm, stationary_moments.sde_stationary_squared_norm
    nothing, noise = np.zeros_like(data["N"]), np.maximum(data["N"], 0)
    return (
        sgd(squared_mean=data["total"], noise_trace=nothing, **rates) / data["R"],
        sde(noise_trace=noise, **rates) / data["R"],
    )


def _imbalance(data: dict[str, np.ndarray]) -> float:
    """Largest relative error of lr^2 |g|^2 = change of |w|^2 + lr wd (2 - lr wd) |w|^2, summed over each window."""
    lr = (data["lr"] * data["kappa"])[:, None]
    product = lr * data["product"] / data["lr"]
    gain, loss = lr**2 * data["total"], product * (2 - product) * data["R"]
    return float(np.abs((gain - loss - data["drift"]) / gain).max())


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    ratios, bound, kappa = _ratios(data), _bound(data), data["kappa"]
    leaves = _leaves(ratios, data)
    first, bounds = _resampled(data)
    low, high = np.quantile(first, (0.025, 0.975))
    early = kappa <= 4
    outside = np.array([np.abs(np.log(values)) > np.log(data["square"]) / 2 for values in ratios.values()]).any(axis=0)
    sgd, sde = _balances(data)
    share = data["G"] / data["total"]  # G/(G + N)
    off = np.abs(sgd.mean(axis=1) - 1)
    noise = data["G"].mean(axis=1) / data["N"].mean(axis=1)
    frozen = (data["frozen_N"] * kappa[:, None])[-1].mean() / data["frozen_N"][0].mean()
    cost = 100 * (data["error"][-1] - data["error"][0])
    gain = 100 * (data["error"][early][-1] - data["error"][0])
    return [
        between("holds_at_first", np.exp(np.abs(np.log([v[early] for v in ratios.values()])).max()), 1.0,
                np.sqrt(data["square"]), "Up to kappa = 4 all three stay within a factor {found:.2f};"),
        between("first_to_leave", min(leaves.values()), 4.0, bound,
                f"{TOLD[min(leaves, key=leaves.__getitem__)]} is the first to leave the factor C, at kappa ="
                f" {{found:.1f}} (95 % interval of resampled runs {low:.1f} to {high:.1f}; {_told(leaves)}),"),
        at_least("bound_not_reached", np.quantile(np.log(bounds / first), 0.025), 0.0,
                 f"before the bound of {bound:.0f}, which is necessary but not sharp,"),
        at_least("outside_beyond_the_bound", outside[kappa > bound].all(), 1.0,
                 "and beyond it no run keeps all three;"),
        between("batch_norm_alone", frozen, 0.6, 0.98,
                "at frozen weights kappa N alone falls to {found:.2f}: small batches add noise through batch"
                " normalisation, outside the rule."),
        at_most("every_step_balances", _imbalance(data), 1e-10,
                "Step by step, gradients and decay balance the change of the norm to {found:.0e};"),
        at_most("sgd_balances", off.max(), 0.02,
                "at equilibrium the balance of SGD holds at every kappa within {found:.1%},"),
        at_most("sde_does_not", sde[-1].mean(), 1 / data["square"],
                "that of the SDE gives {found:.2f} of R at the end,"),
        near("by_the_signal", np.mean(sde[-1] + share[-1]), 1.0, 0.08,
             "the missing part being G/(G + N) ({found:.2f} with it)."),
        at_least("signal_outgrows_noise", noise[-1], data["square"] - 1,
                 f"G/N grows from {noise[0]:.3f} to {{found:.2f}}, past C^2 - 1 at kappa ="
                 f" {_crossing(data, noise):.0f}."),
        at_least("accuracy_suffers", cost.mean() / standard_error(cost), 3.0,
                 f"From the first to the last kappa the error changes by {cost.mean():+.1f} points ({{found:.1f}}"
                 f" standard errors), up to kappa = 4 by {gain.mean():+.1f} +- {standard_error(gain):.1f}."),
    ]  # fmt: skip


def _told(leaves: dict[str, float]) -> str:
    return ", ".join(f"{TOLD[name]} {'stays' if np.isinf(x) else f'at {x:.1f}'}" for name, x in leaves.items())


def _crossing(data: dict[str, np.ndarray], noise: np.ndarray) -> float:
    """Where G/N reaches C^2 - 1, interpolated in logarithms."""
    limit = stationary_moments.largest_signal_to_noise(closeness=np.sqrt(data["square"]))
    return float(np.exp(np.interp(np.log(limit), np.log(noise), np.log(data["kappa"]))))


def _scaled(name: str, factor: Any) -> Any:
    return lambda data: data | {name: data[name] * factor}


def _tilted(name: str, power: float) -> Any:
    return lambda data: data | {name: data[name] * (data["kappa"] ** power)[:, None]}


BROKEN = {
    "holds_at_first": _tilted("R", 1.0),
    "first_to_leave": _tilted("G", 1.0),
    "bound_not_reached": lambda data: data | {"G": data["G"] * 100},
    "outside_beyond_the_bound": lambda data: (
        data | {name: data[name][:1] / data["kappa"][:, None] ** (name == "N") for name in NAMES}
    ),
    "batch_norm_alone": _tilted("frozen_N", 0.2),
    "every_step_balances": _scaled("total", 1 + 1e-6),
    "sgd_balances": _scaled("total", 1.1),
    "sde_does_not": _tilted("N", 0.5),
    "by_the_signal": _scaled("G", 1.5),
    "signal_outgrows_noise": _scaled("G", 0.1),
    "accuracy_suffers": lambda data: data | {"error": data["error"][::-1]},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Ratios, balances, signal over noise, error and loss."""
    figure, ((ratio, balance), (signal, error)) = style.page(2, 2, 4.2)
    _draw_ratio(ratio, data)
    _draw_balance(balance, data)
    _draw_signal(signal, data)
    _draw_error(error, data)
    ticks = [int(k) for k in data["kappa"] if k & (k - 1) == 0]
    for axes in (ratio, balance, signal, error):
        axes.set(xscale="log", xlabel=r"$\kappa$")
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.minorticks_off()
    return figure


def _bars(axes: Axes, kappa: np.ndarray, values: np.ndarray, colour: str, symbol: str, label: str) -> None:
    """Means over nets with two standard errors."""
    axes.errorbar(kappa, values.mean(axis=1), 2 * standard_error(values.T), fmt=symbol + "-", color=colour, label=label,
                  linewidth=0.8, markerfacecolor="white", markeredgewidth=0.7, capsize=1.5)  # fmt: skip


def _draw_ratio(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "the rule")
    kappa, root = data["kappa"], np.sqrt(data["square"])
    axes.axhspan(1 / root, root, color=style.GREY, alpha=0.15, linewidth=0)
    for values, symbol, label in ((data["frozen_G"], "s", "frozen"), (data["frozen_N"] * kappa[:, None], "^", None)):
        mean = values.mean(axis=1) / values[0].mean()
        axes.plot(kappa, mean, symbol + ":", color=style.GREY, markersize=2.5, label=label)
    for name, (colour, symbol) in LOOK.items():
        factor = kappa[:, None] if name == "N" else 1
        label = r"$\kappa N$" if name == "N" else f"${name}$"
        _bars(axes, kappa, data[name] * factor / data[name][0].mean(), colour, symbol, label)
    axes.axvline(_bound(data), label="bound", **style.PREDICTED)
    axes.set(yscale="log", ylabel=r"over its value at $\kappa=1$", ylim=(0.25, 4))
    axes.set_yticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
    axes.legend(loc="upper left", ncols=3)


def _draw_balance(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "balances at equilibrium")
    sgd, sde = _balances(data)
    axes.axhline(1.0, **style.PREDICTED)
    _bars(axes, data["kappa"], sgd, style.BLUE, "o", r"SGD: $\eta(G+N)\,/\,\lambda(2-\eta\lambda)R$")
    _bars(axes, data["kappa"], sde, style.VERMILION, "s", r"SDE: $\eta N\,/\,2\lambda R$")
    axes.set_ylim(0, 1.25)
    axes.legend(loc="lower left")


def _draw_signal(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "signal over noise")
    kappa = data["kappa"]
    _bars(axes, kappa, data["G"] / data["N"].mean(axis=1, keepdims=True), style.PURPLE, "o", r"$G/N$")
    axes.plot(kappa, kappa * data["G"][0].mean() / data["N"][0].mean(), ":", color=style.BLACK, linewidth=0.9,
              label=r"$\kappa$ times its first value")  # fmt: skip
    limit = stationary_moments.largest_signal_to_noise(closeness=np.sqrt(data["square"]))
    axes.axhline(limit, label=r"$C^2-1$", **style.PREDICTED)
    axes.set(yscale="log")
    axes.legend(loc="upper left")


def _draw_error(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "what it costs")
    _bars(axes, data["kappa"], 100 * data["error"], style.BLUE, "o", "held-out error, %")
    axes.set(ylabel="held-out error, %", ylim=(0, None))
    other = axes.twinx()
    _bars(other, data["kappa"], data["loss"], style.ORANGE, "s", "training loss")
    other.set(ylabel="training loss", ylim=(0, None))
    other.spines["right"].set_visible(True)
    axes.yaxis.label.set_color(style.BLUE)
    other.yaxis.label.set_color(style.ORANGE)
