"""The law of the network function forgets its start in O(1/(lr wd)) steps (blog Figure 4 of Li, Lyu, Arora 2020).

A net trained with one seed is a random classifier; two ensembles are compared, input by input, by the law
of their labels over seeds. The reader should see ensembles from random starts and from one start that was
fitted to shuffled labels approach each other (a) at the rate lr wd (b); the same without the Monte Carlo
floor and for starts of another norm (c); the steps needed growing as (lr wd)^-p with p near 1 (d); three
schedules meeting once their products lr wd are equal, not before (e); and what the function forgets first
still written in the weights (f).

Rules fixed before the run: the level of (d) is four times the expected square of the plug-in distance
between two samples of one law, at the last time of the smallest product, that is, twice the floor as a
distance; p is fitted to the times at which the unbiased squared distance falls below it; its interval are
the 2.5 and 97.5 percentiles over random halves of the seeds.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.press import scaling, style
from figures.press.digit_nets import DigitNets, one_thread_a_product
from figures.press.expectation import Expectation, at_least, at_most, between
from figures.press.measured import near_equilibrium
from figures.press.scaling import Exponent
from sdetheory.networks import agreement

CLAIMS = ("I23",)
CAPTION = """Nets {widths[0]}-{widths[1]}-{widths[2]}, batch normalisation also on the logits, {training_digits}
digits, label noise {label_noise}, {net_seeds} seeds an ensemble; distance: mean over {held_out_digits} held-out
digits of the total variation between the laws of the label over seeds. Three products lr wd, t: steps. Starts
have {start_norms[0]:g} times the usual norm unless said otherwise; smaller ones first have to grow. (a)
Random starts against one start that was fitted to shuffled labels, dotted with bands of two standard
deviations: the floor, the same distance after exchanging seeds between the ensembles at random; (b) the same
in units of 1/(lr wd), grey: distance between the ends of runs with the largest and the other products. (c)
Unbiased squared distance (it has no floor) where it exceeds its standard error (bars; from random halves of the
seeds); open: starts of norm x1 against x2; for the middle product also one random start and as many fitted starts
as seeds, each against random starts. (d) Steps until the curves of (c) fall below the level dotted there;
line: fit; dashed: slope -1. Inset: exponent p for other levels, band: 95 per cent. (e) Three schedules whose
products differ before t = 0 and are equal after (their learning rates never are): distances and floors. (f) Mean
cosine between the weights and the common start, output layer (full) and first layer (open); dashed: exp(-t lr wd)."""

PARAMS: dict[str, Any] = {
    "widths": [64, 16, 10],
    "lr": 0.3,
    "products": [1e-2, 10**-2.5, 1e-3],
    "horizon": 4.0,
    "net_seeds": 256,
    "batch_size": 16,
    "label_noise": 0.2,
    "training_digits": 500,
    "held_out_digits": 500,
    "start_norms": [2.0, 1.0],
    "fitting_steps": 8000,
    "fitting_batch": 32,
    "shuffles_fitted": 8,
    "shuffles": 40,
    "resamples": 200,
    "schedule_lrs": [0.6, 0.3, 0.15],
    "schedule_products": [1e-2, 10**-2.5, 1e-3],
    "schedule_common": 10**-2.5,
    "schedule_before": 3.0,
    "seed": 11,
}
QUICK = PARAMS | {
    "products": [1.5e-2, 8e-3, 5e-3], "horizon": 2.0, "net_seeds": 96, "held_out_digits": 250, "fitting_steps": 4000,
    "shuffles": 20, "resamples": 100, "schedule_products": [3e-2, 1e-2, 3e-3], "schedule_common": 1e-2,
}  # fmt: skip

TIMES = np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0])
AFTER = np.array([0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0])
BEFORE = np.array([-2.0, -1.0, 0.0])
LEVELS = np.geomspace(0.25, 8.0, 16)  # times the level of the rule
MIDDLE = 1  # the product at which more starts are compared
PAIRS = ((0, 1), (0, 2), (1, 2))
COLOURS = (style.BLUE, style.GREEN, style.VERMILION)
SYMBOLS = "os^"


@one_thread_a_product
def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Distances of the ensembles at all times, for each product; the schedules; the cosines with the start."""
    setting, nets = DigitNets.of(params), params["net_seeds"]
    starts, known = _fitted(params, setting)
    rows, ends, first = [], [], params["seed"]
    for number, product in enumerate(params["products"]):
        row, end = _relaxation(params, setting, starts if number == MIDDLE else starts[:1], product, first)
        rows.append(row)
        ends.append(end)
        first += 5 * nets
    data = rows[MIDDLE] | {name: np.array([row[name] for row in rows]) for name in rows[0]}
    controls = [_told(params, ends[0], other) for other in ends[1:]]
    data["control"] = np.array([[one.distance, one.floor, one.floor_sd] for one in controls])
    return data | known | _schedules(params, setting, first) | {
        "time": TIMES[TIMES <= params["horizon"]], "products": np.array(params["products"]), "nets": np.array(nets),
    }  # fmt: skip


def _fitted(params: dict[str, Any], setting: DigitNets) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One net fitted to shuffled labels, then, less long, as many as an ensemble has seeds; what they know."""
    lr, steps, batch = params["lr"], params["fitting_steps"], params["fitting_batch"]
    fits = [setting.fitted(np.array([params["seed"]]), params["seed"], batch, lr=lr, steps=steps)]
    others = np.split(params["seed"] + 1 + np.arange(params["net_seeds"]), params["shuffles_fitted"])
    for shuffle, seeds in enumerate(others, params["seed"] + 1):
        fits.append(setting.fitted(seeds, shuffle, batch, lr=lr, steps=steps // 4))
    known = {"fitted_known": fits[0][1], "many_known": np.concatenate([one[1] for one in fits[1:]])}
    return np.concatenate([one[0] for one in fits]), known


def _relaxation(
    params: dict[str, Any], setting: DigitNets, fitted: np.ndarray, product: float, first: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Distances to random starts along time, and labels of those at the end.

    Of the first fitted start, of random starts of another norm; with more fitted starts also of one random start
    and of the others.
    """
    net, nets = setting.net, params["net_seeds"]
    scale = near_equilibrium(np.full((nets, 1), params["lr"]), product)
    random, other = (
        net.start(first + i * nets + np.arange(nets), norm * scale) for i, norm in enumerate(params["start_norms"])
    )
    fitted = setting.with_norms_of(fitted, random)
    starts = {"fitted": np.repeat(fitted[:1], nets, axis=0), "norm": other}
    if len(fitted) > 1:
        starts |= {"common": np.repeat(random[:1], nets, axis=0), "many": fitted[1:]}
    start = np.concatenate([random, *starts.values()])
    rates = {"lr": params["lr"], "weight_decay": product / params["lr"], "seeds": first + np.arange(len(start))}
    rows, labels = [], np.empty(0)
    for record in setting.pieces(np.rint(TIMES[TIMES <= params["horizon"]] / product), start=start, **rates):
        labels = setting.labels(record.final).reshape(len(starts) + 1, nets, -1)
        weights = record.final[nets : 2 * nets]
        cosine = [_cosine(group.select(weights), group.select(fitted[0])) for group in net.groups()]
        rows.append({"cosine": cosine, **_row(params, dict(zip(starts, labels[1:], strict=True)), labels[0])})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}, labels[0]


def _row(params: dict[str, Any], others: dict[str, np.ndarray], random: np.ndarray) -> dict[str, Any]:
    """Everything measured on labels at one time."""
    row: dict[str, Any] = {}
    for name, one in others.items():
        row |= {f"{name}_{key}": value for key, value in vars(_told(params, random, one)).items()}
    pair = (random, others["fitted"])
    row["within"] = sum(agreement.disagreement(agreement.label_counts(one, 10)) for one in pair)
    drawn = [agreement.halves(one, 10, params["resamples"], 1 + i) for i, one in enumerate(pair)]
    row["halves_squared"], row["halves_share"] = agreement.squared_distance(*drawn), agreement.start_share(*drawn)
    return row


def _cosine(weights: np.ndarray, start: np.ndarray) -> float:
    return float((weights @ start / np.linalg.norm(weights, axis=1)).mean() / np.linalg.norm(start))


def _told(params: dict[str, Any], a: np.ndarray, b: np.ndarray) -> agreement.Comparison:
    return agreement.compare(a, b, 10, shuffles=params["shuffles"], resamples=50, seed=params["seed"])


def _schedules(params: dict[str, Any], setting: DigitNets, first: int) -> dict[str, np.ndarray]:
    """Ensembles under three schedules, their products equal from t = 0 on: distances of the pairs along time."""
    nets, common = params["net_seeds"], params["schedule_common"]
    lrs = np.repeat(params["schedule_lrs"], nets)[:, None]
    products = np.repeat(params["schedule_products"], nets)[:, None]
    times = np.concatenate([BEFORE, AFTER])
    stops = np.rint((times + params["schedule_before"]) / common).astype(int)
    change = stops[len(BEFORE) - 1]
    product = np.where(np.arange(stops[-1]) < change, products, common)
    seeds = first + np.arange(len(lrs))
    scale = np.concatenate([near_equilibrium(lrs[i : i + 1], float(products[i, 0])) for i in range(len(lrs))])
    start, rows = setting.net.start(seeds, scale), []
    for record in setting.pieces(stops, lr=lrs, weight_decay=product / lrs, start=start, seeds=seeds):
        labels = np.split(setting.labels(record.final), 3)
        found = [_told(params, labels[i], labels[j]) for i, j in PAIRS]
        rows.append([[one.distance, one.floor, one.floor_sd, one.squared, one.squared_error] for one in found])
    return {"schedule_time": times, "schedule": np.array(rows)}


def exponent(data: dict[str, np.ndarray], level: float, curve: str = "squared") -> Exponent:
    """p of the steps until the distance to the fitted start falls below a level, in 1/(lr wd)."""
    steps = data["time"] / data["products"][:, None]
    return scaling.exponent(data["products"], steps, data[f"fitted_{curve}"], data[f"halves_{curve}"], level)


def rule(data: dict[str, np.ndarray]) -> float:
    """The level of the rule: four times the expected square of the plug-in distance of two samples of one law."""
    return float(4 * data["within"][-1, -1] / data["nets"])


def _spread(data: dict[str, np.ndarray], values: np.ndarray) -> float:
    """Largest over smallest value of the three products, geometric mean over t lr wd from 0.3 to 1."""
    here = (data["time"] >= 0.3) & (data["time"] <= 1.0)
    largest, smallest = values[:, here].max(axis=0), values[:, here].min(axis=0)
    return float(np.exp(np.log(largest / np.maximum(smallest, largest / 100)).mean()))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    level = rule(data)
    found, lower = exponent(data, level), exponent(data, level / 2)
    others = [one for one in (exponent(data, level * factor) for factor in LEVELS) if np.isfinite(one.value)]
    raw = [scaling.reach(data["time"], row, 0.04) for row in data["fitted_distance"]] / data["products"]
    powers = {"share due to the start at 2 %": exponent(data, 0.02, "share").value,
              "total variation at .04 with its floor": scaling.slope(data["products"], raw)}  # fmt: skip
    measures = ", ".join(f"{name} {power:.2f}" for name, power in powers.items() if np.isfinite(power))
    last, ratio = data["fitted_distance"][:, -1], data["products"][0] / data["products"][-1]
    rest = (data["fitted_squared"] / data["fitted_squared_error"])[:, -1]
    tail = data["fitted_squared"][:, data["time"].searchsorted(2.0)]
    norm = ((data["norm_distance"] - data["norm_floor"]) / data["norm_floor_sd"])[:, -3:].mean(axis=1)
    here = (data["time"] >= 0.3) & (data["time"] <= 1.0)
    weight = {name: data[f"{name}_squared"][here].sum() for name in ("many", "common")}
    weight["fitted"] = data["fitted_squared"][MIDDLE, here].sum()
    control = (data["control"][:, 0] - data["control"][:, 1]) / data["control"][:, 2]
    before, after = data["schedule"][len(BEFORE) - 1], data["schedule"][-1]
    return [
        at_least("start_fits_noise", 100 * data["fitted_known"][0], 50.0,
                 "The fitted start knows {found:.0f} % of its shuffled labels (chance: 10 %)."),
        at_most("far_then_close", (last / data["fitted_distance"][:, 0]).max(), 0.35,
                "(a, b) The distance falls to {found:.2f} of its first value or less,"),
        at_most("near_the_floor", (last / data["fitted_floor"][:, -1]).max(), 1.35, "{found:.2f} floors or less."),
        at_least("control_stays_apart", control[-1], 3.0,
                 "Equilibria of the largest and the smallest product stay {found:.0f} standard deviations above the "
                 "floor."),
        at_most("collapse", _spread(data, data["fitted_squared"]), 2.0,
                f"(c) While the steps differ {ratio:.1f}-fold, squared distances at equal t lr wd in 0.3 .. 1 differ "
                "{found:.2f}-fold."),
        at_most("many_starts_forgotten", weight["many"] / weight["fitted"], 0.35,
                f"As many fitted starts as seeds ({100 * data['many_known'].mean():.0f} % known) are soon forgotten: "
                "{found:.2f} of the squared distance that one fitted start has in 0.3 .. 1;"),
        at_least("one_random_start", weight["common"] / weight["fitted"], 0.5,
                 "one random start is forgotten no faster ({found:.2f}): slow is to forget a common start, not what it "
                 "had memorised."),
        at_most("norm_forgotten", np.abs(norm).max(), 4.0,
                "Starts of twice the norm reach the floor ({found:.1f} of its standard deviations at the end)."),
        between("exponent", found.value, 0.7, 1.4,
                f"(d) The steps to the level {level:.4f} grow as (lr wd)^-p with p = {found} "
                "(1/2 would be the time 1/(effective lr));"),
        between("exponent_elsewhere", lower.value, 0.6, 1.6,
                f"at half this level {lower}, at the levels of the inset {min(others)[0]:.2f} to {max(others)[0]:.2f}. "
                f"Other measures, which the product changes at equilibrium too, give other powers: {measures}."),
        at_least("slow_rest", rest.max(), -2.0,
                 f"At t lr wd = {data['time'][-1]:g} the squared distances are {', '.join(f'{z:.1f}' for z in rest)} "
                 f"standard errors above 0 (at 2 they are {', '.join(f'{1e3 * x:.1f}' for x in tail)} / 1000, largest "
                 "product first): equality is not claimed."),
        at_least("schedules_differ_before", ((before[:, 0] - before[:, 1]) / before[:, 2]).min(), 3.0,
                 "(e) Before their products are equal the schedules are {found:.0f} standard deviations above the "
                 "floor or more,"),
        at_most("schedules_meet", (after[:, 0] / after[:, 1]).max(), 1.25, "at the end at {found:.2f} floors or less."),
        at_least("weights_remember", data["cosine"][:, -1, -1].min(), 2 * np.exp(-data["time"][-1]),
                 "(f) The cosine of the output layer with its start stays above {found:.2f}: the law of the labels "
                 "forgets what these weights do not."),
    ]  # fmt: skip


def _scaled(name: str, factor: Any) -> Any:
    return lambda data: data | {name: data[name] * factor}


def _alike_in_steps(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Curves whose time scale does not depend on the product: t lr wd stretched about the middle one."""
    stretch = zip(data["products"] / data["products"][MIDDLE], data["fitted_squared"], strict=True)
    rows = [np.interp(data["time"] / by, data["time"], row) for by, row in stretch]
    return data | {"fitted_squared": np.array(rows)}


BROKEN = {
    "start_fits_noise": _scaled("fitted_known", 0.5),
    "far_then_close": lambda data: data | {"fitted_distance": data["fitted_distance"] + 0.1},
    "near_the_floor": _scaled("fitted_floor", 0.7),
    "control_stays_apart": lambda data: data | {"control": data["control"][:, [1, 1, 2]]},
    "collapse": _alike_in_steps,
    "many_starts_forgotten": lambda data: data | {"many_squared": data["fitted_squared"][MIDDLE]},
    "one_random_start": _scaled("common_squared", 0.1),
    "norm_forgotten": _scaled("norm_distance", 1.5),
    "exponent": _alike_in_steps,
    "exponent_elsewhere": _alike_in_steps,
    "slow_rest": lambda data: data | {"fitted_squared": data["fitted_squared"] - 0.01},
    "schedules_differ_before": lambda data: data | {"schedule": data["schedule"][::-1]},
    "schedules_meet": lambda data: data | {"schedule": data["schedule"][::-1]},
    "weights_remember": _scaled("cosine", 0.05),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Distances against steps and steps x lr wd, unbiased ones, times to a level, schedules, weights."""
    figure, ((steps, scaled), (squared, times), (schedules, weights)) = style.page(3, 2, 6.0)
    products = [style.power(float(f"{product:.2g}")) for product in data["products"]]
    _draw_distance(steps, data, 1 / data["products"])
    style.letter(steps, "a", "random starts against one fitted start")
    steps.set(xlabel=r"steps $t$", ylabel="total variation of labels")
    keys = [_key(rf"$\eta\lambda={products[i]}$", COLOURS[i], SYMBOLS[i]) for i in range(3)]
    steps.legend(handles=[*keys, _key("floor (exchanged seeds)", linestyle=":")], loc="upper right")
    _draw_distance(scaled, data, np.ones(3))
    style.letter(scaled, "b", r"the same, steps in units of $1/\eta\lambda$")
    for number, distance in enumerate(data["control"][:, 0]):
        scaled.axhline(distance, color=style.GREY, linewidth=0.8)
        pair = f"${products[0]}$ against ${products[number + 1]}$"
        scaled.text(data["time"][-1] * 1.2, distance * 1.03, pair, fontsize=6, color=style.GREY, ha="right")
    scaled.set(xlabel=r"$t\,\eta\lambda$")
    _draw_squared(squared, data)
    _draw_times(times, data)
    _draw_schedules(schedules, data)
    _draw_weights(weights, data)
    return figure


def _key(label: str, color: str = style.GREY, marker: str = "", **look: Any) -> Line2D:
    return Line2D([], [], color=color, marker=marker, label=label, **look)


def _draw_distance(axes: Axes, data: dict[str, np.ndarray], unit: np.ndarray) -> None:
    for number, colour in enumerate(COLOURS):
        x = data["time"] * unit[number]
        axes.plot(x, data["fitted_distance"][number], color=colour, marker=SYMBOLS[number], markersize=2.6)
        _draw_floor(axes, x, data["fitted_floor"][number], data["fitted_floor_sd"][number], colour)
    axes.set(xscale="log", yscale="log")
    _plain(axes, [0.01, 0.02, 0.05, 0.1, 0.2])


def _draw_floor(axes: Axes, x: np.ndarray, floor: np.ndarray, spread: np.ndarray, colour: str) -> None:
    axes.plot(x, floor, ":", color=colour, linewidth=0.9)
    axes.fill_between(x, floor - 2 * spread, floor + 2 * spread, color=colour, alpha=0.2, linewidth=0)


def _plain(axes: Axes, ticks: list[float]) -> None:
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_formatter("")


def _draw_squared(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "squared distance, unbiased")
    for number, colour in enumerate(COLOURS):
        look = {"color": colour, "marker": SYMBOLS[number], "elinewidth": 0.6, "linewidth": 0.8}
        for name, face in (("fitted", colour), ("norm", "white")):
            mean, error = data[f"{name}_squared"][number], data[f"{name}_squared_error"][number]
            axes.errorbar(
                data["time"], np.where(mean > error, mean, np.nan), error, markerfacecolor=face, markersize=2.6,
                markeredgewidth=0.6, alpha=1.0 if name == "fitted" else 0.6, **look,
            )  # fmt: skip
    for name, symbol in (("common", "x"), ("many", "+")):
        mean, error = data[f"{name}_squared"], data[f"{name}_squared_error"]
        look = {"color": style.BLACK, "marker": symbol, "markersize": 4, "elinewidth": 0.6}
        axes.errorbar(data["time"], np.where(mean > error, mean, np.nan), error, linestyle="", **look)
    axes.axhline(rule(data), color=style.BLACK, linestyle=":", linewidth=0.8)
    axes.set(yscale="log", ylim=(6e-5, 0.08), xlim=(0, None), xlabel=r"$t\,\eta\lambda$", ylabel=r"mean $|p-q|^2$")
    keys = [_key("one fitted start", marker="o"), _key(r"norm $\times1$, $\times2$", marker="o", markerfacecolor="w")]
    for label, symbol in (("one random start", "x"), ("many fitted starts", "+")):
        keys.append(_key(label, style.BLACK, symbol, linestyle=""))
    axes.legend(handles=[*keys, _key("level of (d)", style.BLACK, linestyle=":", linewidth=0.8)], loc="upper right")


def _draw_times(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "steps to the level")
    level, products = rule(data), data["products"]
    found = exponent(data, level)
    line = np.exp(np.mean(np.log(found.times))) * (products / np.exp(np.mean(np.log(products)))) ** -found.value
    axes.plot(products, line, color=style.BLACK, linewidth=0.9, label=rf"fit, $p={found.value:.2f}$")
    axes.plot(products, found.times[1] * products[1] / products, label="slope $-1$", **style.PREDICTED)
    for product, time, symbol, colour in zip(products, found.times, SYMBOLS, COLOURS, strict=True):
        axes.plot(product, time, symbol, color=colour, markersize=4.5, zorder=6)
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta\lambda$", ylabel=r"$t$")
    axes.legend(loc="lower left")
    inset = axes.inset_axes((0.57, 0.58, 0.42, 0.4))
    value, low, high = np.array([exponent(data, level * factor)[:3] for factor in LEVELS]).T
    inset.fill_between(LEVELS * level, low, high, color=style.GREY, alpha=0.3, linewidth=0)
    inset.plot(LEVELS * level, value, color=style.BLACK, linewidth=0.9)
    inset.axhline(1.0, **style.PREDICTED)
    inset.axvline(level, color=style.BLACK, linestyle=":", linewidth=0.8)
    inset.set(xscale="log", ylim=(0.5, 1.6), xlabel="level", ylabel="$p$")
    inset.xaxis.set_minor_formatter("")


def _draw_schedules(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "e", "schedules whose products become equal")
    time, colours = data["schedule_time"], (style.PURPLE, style.ORANGE, style.SKY)
    for number, ((i, j), colour) in enumerate(zip(PAIRS, colours, strict=True)):
        distance, floor, spread = data["schedule"][:, number, :3].T
        look = {"color": colour, "marker": SYMBOLS[number], "markersize": 2.6}
        axes.plot(time, distance, label=f"{i + 1} against {j + 1}", **look)
        _draw_floor(axes, time, floor, spread, colour)
    axes.axvline(0.0, color=style.GREY, linewidth=0.7)
    axes.set(yscale="log", xlabel=r"$t\,\eta\lambda$ since $\eta\lambda$ is equal", ylabel="total variation of labels")
    _plain(axes, [0.01, 0.02, 0.05])
    axes.legend(loc="upper right")


def _draw_weights(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "f", "memory in the weights")
    for number, colour in enumerate(COLOURS):
        for layer, face in ((0, "white"), (1, colour)):
            axes.plot(
                data["time"], data["cosine"][number, :, layer], color=colour, marker=SYMBOLS[number], markersize=2.6,
                markerfacecolor=face, markeredgewidth=0.6, linewidth=0.8,
            )  # fmt: skip
    axes.plot(data["time"], np.exp(-data["time"]), **style.PREDICTED)
    axes.set(yscale="log", xlabel=r"$t\,\eta\lambda$", ylabel="cosine with the start", xlim=(0, None))
    _plain(axes, [0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    keys = [_key("output layer", marker="o"), _key("first layer", marker="o", markerfacecolor="w")]
    axes.legend(handles=[*keys, _key(r"$e^{-t\eta\lambda}$", **style.PREDICTED)], loc="lower left")
