"""How far SGD moves in a lag, and what averaging two iterates gives (analogue of Fig. 3 of Li, Lyu, Arora 2020).

Without loss the weights forget themselves on the time 1/(lr wd); around one minimum their distance saturates
at once, like that of an Ornstein-Uhlenbeck process (a). The reader should see that a network follows the OU
process of its local curvature and noise up to lags of about 1/(lr wd), then leaves it and goes on, but the
more slowly the older the run is, and stays far nearer to itself than to another run (b); that the average
of two iterates of one run is better than either at every lag, while that of two runs is much worse, in
accuracy (c) and in loss (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, between, near
from figures.press.measured import near_equilibrium, sphere_trace, standard_error
from sdetheory.networks.pieces import train_in_pieces
from sdetheory.networks.sharpness import hessian_product
from sdetheory.predictions import intrinsic_lr, stationary_moments

CLAIMS = ("I27",)
CAPTION = """E|w_T - w_(T+D)|^2 over E(|w_T|^2 + |w_(T+D)|^2) against the lag D. (a) SGD in {dimension} dimensions
with isotropic noise at equilibrium, lr wd = {toy_product:g}, without loss (circles) and with the linear loss -k
<mu, w>/|w| (squares), means over {toy_paths} paths; dashed: 1 - (1 - lr wd)^D, and the OU process linearised around
the minimum; dotted: the limit 1 - <mu, w/|w|>^2 of the stationary von Mises-Fisher law. (b) Batch-normalised
network 64-16-10, tanh, on {training_digits} digits, lr wd = {product:g}, label noise {label_noise:g}, batches of
32, means over {nets} runs, bands: two standard errors. Dashed: the OU process whose rates are lr wd plus lr times
the eigenvalues of the Hessian (negative ones set to 0) and whose noise is the measured covariance, both at w_T of
{ou_nets} runs, T = {ages[2]:g}/(lr wd); dotted: no loss. (c) Accuracy on the other digits and (d) training loss
(true labels) of single iterates, of the average of w_T and w_(T+D) of one run, T = {ages[2]:g}/(lr wd), and of the
average of two runs at T + D, {nets} runs in pairs."""

PARAMS: dict[str, Any] = {
    "dimension": 16,
    "toy_product": 1e-2,
    "toy_lr": 0.1,
    "toy_paths": 4096,
    "stiffening": 10.0,
    "widths": [64, 16, 10],
    "lr": 0.3,
    "product": 4e-3,
    "label_noise": 0.2,
    "training_digits": 1297,
    "nets": 32,
    "ages": [5.0, 20.0, 80.0],
    "longest": 20.0,
    "ou_nets": 4,
    "ou_batches": 2000,
    "ou_digits": 1297,
    "seed": 40,
}
QUICK = PARAMS | {"toy_paths": 2048, "product": 1e-2, "nets": 16, "ou_nets": 1, "ou_digits": 300}

COLOURS = (style.SKY, style.BLUE, style.PURPLE)
TOY_LAGS = np.array([0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0, 5.0])
SHORT, LATE = 0.1, 5.0  # lags in units of 1/(lr wd): where OU should hold, and from where on it stands still


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Distances of the toys, and of the networks with the OU process beside them; the averages."""
    data = {f"toy_{name}": values for k in (0, 1) for name, values in _toy(params, bool(k)).items()}
    return data | _networks(params) | {"ages": np.array(params["ages"]), "toy_product": np.array(params["toy_product"])}


def _relative(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared distances over the sum of the squared norms, along the last axis."""
    return np.sum((first - second) ** 2, -1) / (np.sum(first**2, -1) + np.sum(second**2, -1))


def _toy(params: dict[str, Any], with_loss: bool) -> dict[str, np.ndarray]:
    """SGD with isotropic noise at equilibrium; with loss, one strong enough to raise all rates by the factor asked."""
    d, product, noise = params["dimension"], params["toy_product"], st.Isotropic(1.0)
    rates = {"lr": params["toy_lr"], "weight_decay": product / params["toy_lr"]}
    square = float(intrinsic_lr.equilibrium_squared_norm(trace=sphere_trace(noise, d), **rates))
    stiffness = product * (params["stiffening"] if with_loss else 1.0)
    strength = (stiffness - product) * square / rates["lr"]  # lr k/|w|^2 + lr wd
    mu = np.eye(d)[0]
    burn, lags = round(5 / product), np.rint(TOY_LAGS / product).astype(int)
    run = st.simulate(
        st.VonMisesFisher(mu, strength), st.SGD(**rates), np.tile(mu * np.sqrt(square), (params["toy_paths"], 1)),
        np.concatenate([[burn], burn + lags]), noise=noise, keep_states=True, seed=params["seed"],
    )  # fmt: skip
    name, start = ("loss", "free")[not with_loss], run.states[:, :1]
    law = stationary_moments.lag_squared_distance(t=lags, squared_norm=0.5, **rates)
    if with_loss:
        law = stationary_moments.ou_squared_distance(t=lags, stiffness=stiffness, variance=product / stiffness / 2)
    mean = intrinsic_lr.vmf_mean(dimension=d, strength=strength, noise=noise.sigma, **rates) if with_loss else 0.0
    return {
        name: _relative(start, run.states[:, 1:]), f"{name}_law": law, f"{name}_limit": np.array(1 - mean**2),
        "lags": lags,
    }  # fmt: skip


def _networks(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Distances at three ages, OU beside the last one, distance of two runs, averages at the last age."""
    net, digits = st.networks.mlp(params["widths"], activation="tanh", normalised_output=True), st.networks.digits()
    cut = np.split(np.arange(len(digits)), [params["training_digits"]])
    training, held_out = (digits.subset(part) for part in cut)
    product, seeds = params["product"], params["seed"] + np.arange(params["nets"])
    lags = np.unique(np.rint(np.geomspace(1, params["longest"] / product, 28)).astype(int))
    ages = [round(age / product) for age in params["ages"]]
    stops = np.unique(np.concatenate([[age, *(age + lags)] for age in ages]))
    scale = near_equilibrium(np.full((len(seeds), 1), params["lr"]), product)
    run = train_in_pieces(
        net, training, stops=stops, lr=params["lr"], weight_decay=product / params["lr"], seeds=seeds,
        start=net.start(seeds, scale), label_noise=params["label_noise"],
    )  # fmt: skip
    at = {int(stop): record.final for stop, record in zip(stops, run, strict=True)}
    last = at[ages[-1]]
    later = np.array([at[ages[-1] + int(lag)] for lag in lags])
    return {
        "lags": lags, "product": np.asarray(product),
        "distance": np.array([[_relative(at[age], at[age + int(lag)]) for lag in lags] for age in ages]),
        "two_runs": _relative(last[::2], last[1::2]),
        "ou": np.array([_ornstein_uhlenbeck(params, net, training, w, lags) for w in last[: params["ou_nets"]]]),
        "single": _judged(net, later, training, held_out),
        "one_run": _judged(net, (later + last) / 2, training, held_out),
        "pairs": _judged(net, (later[:, ::2] + later[:, 1::2]) / 2, training, held_out),
    }  # fmt: skip


def _judged(net: Any, states: np.ndarray, training: Any, held_out: Any) -> np.ndarray:
    """Training loss and held-out accuracy of states (lags, nets, P), as (2, lags, nets)."""
    flat = states.reshape(-1, net.size)
    loss, accuracy = st.networks.evaluate(net, flat, training)[0], st.networks.evaluate(net, flat, held_out)[1]
    return np.array([loss, accuracy]).reshape(2, *states.shape[:2])


def _ornstein_uhlenbeck(params: dict[str, Any], net: Any, data: Any, w: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Relative distances of the OU process with the Hessian and the noise at w (P,)."""
    given = _relabelled(data, params["label_noise"], params["seed"]).subset(slice(0, params["ou_digits"]))
    units = np.eye(net.size).reshape(-1, 16, net.size)
    hessian = np.concatenate([hessian_product(net, np.repeat(w[None], 16, axis=0), v, given) for v in units])
    curvature, axes = np.linalg.eigh((hessian + hessian.T) / 2)
    gradients = st.networks.batch_gradients(
        net, w, data, batches=params["ou_batches"], label_noise=params["label_noise"], seed=params["seed"]
    )
    noise = (gradients @ axes).var(axis=0, ddof=1)
    stiffness = params["product"] + params["lr"] * np.maximum(curvature, 0)
    variance = params["lr"] ** 2 * noise / (2 * stiffness)
    moved = stationary_moments.ou_squared_distance(t=lags[:, None], stiffness=stiffness, variance=variance)
    return moved.sum(axis=1) / (2 * np.sum(w**2))


def _relabelled(data: Any, label_noise: float, seed: int) -> Any:
    """The data with one draw of the label noise."""
    draw = np.random.default_rng(seed)
    replaced = draw.random(len(data)) < label_noise
    labels = np.where(replaced, draw.integers(0, data.classes, len(data)), data.labels)
    return st.networks.labelled(data.inputs, labels, data.classes)


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    free = data["toy_free"].mean(axis=0) / data["toy_free_law"]
    bound = data["toy_loss"][:, -3:].mean(axis=0)
    lag, distance, ou = data["lags"] * data["product"], data["distance"], data["ou"].mean(axis=0)
    short, still = lag <= SHORT, int(np.argmax(lag >= LATE))
    growth = np.log(distance[:, -1] / distance[:, still])  # (ages, nets)
    mean, error = growth.mean(axis=1), standard_error(growth.T)
    slower = growth[0] - growth[-1]
    far = lag > 0.3
    gain = {name: (data[name] - data["single"])[:, far].mean(axis=1) for name in ("one_run",)}["one_run"]
    pairs = (data["pairs"] - (data["single"][:, :, ::2] + data["single"][:, :, 1::2]) / 2).mean(axis=1)
    return [
        at_most("toy_law", np.abs(free - 1).max(), 0.025, "Without loss the law holds within {found:.1%};"),
        near("toy_saturates", bound.mean() / data["toy_loss_limit"], 1.0, 0.05,
             "with loss the distance ends at {found:.3f} of its predicted limit,"),
        between("toy_ou", bound.mean() / data["toy_loss_law"][-1], 0.9, 1.2, "{found:.2f} of the OU value."),
        between("ou_at_short_lags", np.mean(distance[-1].mean(axis=1)[short] / ou[short]), 0.8, 1.25,
                f"Up to D lr wd = {SHORT:g} the network's distance is {{found:.2f}} of its OU process on average;"),
        at_most("ou_stands_still", ou[-1] / ou[still] - 1, 0.01,
                f"from D lr wd = {LATE:g} to {lag[-1]:.0f} OU grows by {{found:.1%}},"),
        at_least("sgd_goes_on", mean[0] / error[0], 3.0,
                 f"the network's distance by {_percent(mean, error)} for the three T, at first {{found:.1f}} standard"
                 " errors above zero,"),
        at_least("it_ages", slower.mean() / standard_error(slower), 2.0,
                 "at last less by {found:.1f} standard errors: the growth ages,"),
        between("near_the_ou_level", distance[-1, -1].mean() / ou[-1], 0.5, 2.0,
                "and at the last T it ends at {found:.2f} of the OU level,"),
        near("two_runs_are_orthogonal", data["two_runs"].mean(), 1.0, 0.1,
             "while two runs at one time are as far apart as orthogonal vectors ({found:.2f})."),
        at_least("one_run_averages_well", gain[1].mean() / standard_error(gain[1]), 3.0,
                 f"Averaging in one run at lags above 0.3 changes the accuracy by {100 * gain[1].mean():+.2f} points"
                 " ({found:.1f} standard errors)"),
        at_least("one_run_lowers_loss", -gain[0].mean() / standard_error(gain[0]), 3.0,
                 f"and the loss by {gain[0].mean():+.3f} ({{found:.1f}}),"),
        at_least("two_runs_average_badly", -pairs[1].mean() / standard_error(pairs[1]), 3.0,
                 f"averaging two runs by {100 * pairs[1].mean():+.1f} points ({{found:.1f}})"),
        at_least("two_runs_raise_loss", pairs[0].mean() / standard_error(pairs[0]), 3.0,
                 f"and {pairs[0].mean():+.2f} ({{found:.1f}})."),
    ]  # fmt: skip


def _percent(growth: np.ndarray, error: np.ndarray) -> str:
    return ", ".join(f"{100 * np.expm1(g):.0f} +- {100 * e:.0f} %" for g, e in zip(growth, error, strict=True))


def _scaled(name: str, factor: Any) -> Any:
    return lambda data: data | {name: data[name] * factor}


def _averages(name: str, source: str) -> Any:
    """The averages replaced by single iterates shifted the wrong way, net by net."""
    shift = np.array([1e-3, -1e-3] if source == "one_run" else [-1e-3, 1e-3])[:, None, None]
    rows = slice(None) if source == "one_run" else slice(None, None, 2)
    return lambda data: data | {source: data["single"][:, :, rows] + shift * (1 + np.arange(data[source].shape[2]))}


BROKEN = {
    "toy_law": _scaled("toy_free", 1.05),
    "toy_saturates": _scaled("toy_loss", 1.1),
    "toy_ou": _scaled("toy_loss", 1.3),
    "ou_at_short_lags": _scaled("ou", 0.5),
    "ou_stands_still": lambda data: data | {"ou": data["ou"] * data["lags"] ** 0.1},
    "sgd_goes_on": lambda data: data | {"distance": data["distance"][:, ::-1]},
    "it_ages": lambda data: data | {"distance": data["distance"][::-1]},
    "near_the_ou_level": _scaled("ou", 0.3),
    "two_runs_are_orthogonal": _scaled("two_runs", 0.5),
    "one_run_averages_well": _averages("accuracy", "one_run"),
    "one_run_lowers_loss": _averages("loss", "one_run"),
    "two_runs_average_badly": _averages("accuracy", "pairs"),
    "two_runs_raise_loss": _averages("loss", "pairs"),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Toys, network at three ages, accuracy and loss of averages."""
    figure, ((toy, net), (accuracy, loss)) = style.page(2, 2, 4.2)
    _draw_toy(toy, data)
    _draw_distance(net, data)
    _draw_averages(accuracy, data, 1)
    _draw_averages(loss, data, 0)
    style.letter(accuracy, "c", "accuracy on held-out digits")
    style.letter(loss, "d", "training loss")
    for axes in (toy, net, accuracy, loss):
        axes.set(xscale="log", xlabel=r"lag $D\,\eta\lambda$")
    return figure


def _draw_toy(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "exact models")
    lag = data["toy_lags"] * data["toy_product"]
    rows = ("free", "o", style.BLUE, "no loss"), ("loss", "s", style.VERMILION, "one minimum")
    for name, symbol, colour, label in rows:
        axes.plot(lag, data[f"toy_{name}_law"], **style.PREDICTED)
        axes.plot(lag, data[f"toy_{name}"].mean(axis=0), symbol, color=colour, label=label, markerfacecolor="white")
    axes.plot([1, lag[-1]], np.full(2, data["toy_loss_limit"]), ":", color=style.BLACK, linewidth=0.9)
    axes.plot([], [], label="law; OU process", **style.PREDICTED)
    axes.set(yscale="log", ylabel="relative squared distance", ylim=(5e-3, 1.5))
    axes.legend(loc="upper left")


def _draw_distance(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "network on digits")
    lag = data["lags"] * data["product"]
    for distance, colour, age in zip(data["distance"], COLOURS, data["ages"], strict=True):
        mean, width = distance.mean(axis=1), 2 * standard_error(distance.T)
        axes.fill_between(lag, mean - width, mean + width, color=colour, alpha=0.35, linewidth=0)
        axes.plot(lag, mean, color=colour, label=rf"$T\,\eta\lambda={age:g}$")
    axes.plot(lag, data["ou"].mean(axis=0), label="OU process", **style.PREDICTED)
    rates = {"lr": 1.0, "weight_decay": data["product"]}
    free = stationary_moments.lag_squared_distance(t=data["lags"], squared_norm=0.5, **rates)
    axes.plot(lag, free, ":", color=style.BLACK, linewidth=0.9, label="no loss")
    axes.set_ylim(0, 1.6 * data["distance"].mean(axis=2).max())
    axes.annotate(f"two runs: {data['two_runs'].mean():.2f}", (0.68, 0.99), (0.68, 0.86), xycoords="axes fraction",
                  textcoords="axes fraction", ha="center", fontsize=6.5,
                  arrowprops={"arrowstyle": "->", "linewidth": 0.6})  # fmt: skip
    axes.legend(loc="upper left")


def _draw_averages(axes: Axes, data: dict[str, np.ndarray], which: int) -> None:
    lag = data["lags"] * data["product"]
    rows = (("one_run", style.PURPLE, "average in one run"), ("single", style.GREY, "single iterates"),
            ("pairs", style.ORANGE, "average of two runs"))  # fmt: skip
    for name, colour, _ in rows:
        values = data[name][which]
        mean, width = values.mean(axis=1), 2 * standard_error(values.T)
        axes.fill_between(lag, mean - width, mean + width, color=colour, alpha=0.3, linewidth=0)
        axes.plot(lag, mean, color=colour, linewidth=0.9)
    if which == 0:
        keys = [Line2D([], [], color=colour, linewidth=2, label=label) for _, colour, label in rows]
        axes.legend(handles=keys, loc="center left")
