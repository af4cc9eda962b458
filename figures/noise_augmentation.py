"""Noise on the inputs and mini-batches of two scalar layers (analogue of figures of Ginsburg 2020).

A step follows the loss (W (1 + e) - 1)^2, W = w_1 w_2, with fresh e, uniform on [-delta, delta]. The reader should
see the flow on this loss keep w_1^2 - w_2^2 while descent slides to the flat minima (a); W of both stay in the noise
band, which for the flow is sharp (b); the imbalance of descent fall as predicted, to the numbers of an independent
run (c); small steps under the same noise lose it in proportion to their size (d); mini-batches on data do the same,
but not where the data can be interpolated (e); and one factor correct every rate for the size of the step (f).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, near
from sdetheory.observables import chain_product
from sdetheory.predictions import deep_linear, noise_bands, public_run

CLAIMS = ("D22", "D23", "D24", "D28", "D29")
CAPTION = """Two scalar layers, W = w_1 w_2, on the noisy loss (W (1 + e) - 1)^2, e uniform on [-0.3, 0.3] and fresh in
every step; step size 0.05. (a) Noise flow (black; e held for one step) and descent (dots: log-spaced steps up to
20000) from four starts (squares); grey: minima of the clean loss and the sharp noise band 1/1.3 < W < 1/0.7; stars:
balanced points with the predicted mean W = 1/(1 + E e^2). (b) W from (0.1, 1.7) under the same noise; dark: sharp
band, light: Ginsburg's band 0.7 < W < 1.6. (c) Imbalance: single paths (thin), their geometric mean (circles),
prediction (dashed), an independent run (crosses); broad: each step divided into m, the noise unchanged. (d) Decrease
of ln|w_1^2 - w_2^2| over 200 steps when each is divided into m small ones under one and the same noise (black: power
-1). (e) SGD with batches of B of 100 normalised samples, step 0.01: mean of ln|w_1^2 - w_2^2|, prediction to leading
order (dotted) and for finite steps (dashed); grey: interpolated data, B = 1. (f) Measured rate of decay over its
leading order, for noise on the inputs (circles) and batches (squares), against the predicted factor."""

PARAMS: dict[str, Any] = {
    "starts": [[0.1, 1.7], [2.0, 0.1], [-0.2, -1.8], [1.6, 0.3]],
    "delta": 0.3,
    "lr": 0.05,
    "steps": 20000,
    "paths": 64,
    "finer": [1, 4, 16, 64],
    "periods": 200,
    "rates": [0.01, 0.02, 0.05, 0.1],
    "rate_steps": 4000,
    "batches": [1, 4, 16],
    "batch_lr": 0.01,
    "batch_steps": 4000,
    "batch_paths": 128,
    "burn_in": 200,
    "residual": 0.5,
    "seed": 2,
}
QUICK = PARAMS | {
    "paths": 16,
    "finer": [1, 4, 8, 16],
    "batch_paths": 64,
    "rate_steps": 2000,
    "batch_steps": 2000,
}

STARTS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE)
BATCHES = (style.BLUE, style.ORANGE, style.GREEN)
SHOWN = np.unique(np.geomspace(1, 20000, 90).astype(int))  # steps shown of the long run
SETTLED = 100  # the first step of the sheet's count of the band
# The theory sheet's run, from an independent computation (numpy's default_rng(0)): imbalances, range of W.
TOLD = {2000: 1.468, 20000: 6.45e-3}
TOLD_RANGE = (0.805, 1.245)


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Flow and descent on the noisy loss, rates against the step size, batches of data."""
    data = _long_run(params) | _flow(params) | _rates(params) | _batches(params)
    edges = {
        "sharp": (noise_bands.noise_flow_band_lower, noise_bands.noise_flow_band_upper),
        "band": (noise_bands.noise_band_lower, noise_bands.noise_band_upper),
    }
    data |= {name: np.array([edge(noise_bound=params["delta"]) for edge in pair]) for name, pair in edges.items()}
    data["limit"] = np.array(deep_linear.averaged_noise_minimum(input_noise=params["delta"] / np.sqrt(3)))
    names = ("finer", "rates", "batches", "delta", "lr", "batch_lr")
    return data | {name: np.array(params[name]) for name in names}


def _noisy(params: dict[str, Any], start: Any, ts: Any, *, lr: float, finer: int = 1, **more: Any) -> Any:
    """States (paths, times, 2) of descent by lr/finer, the noise changing after `finer` steps."""
    chain = st.scalar_chain(2)
    noise = st.multiplicative_input_noise(chain, params["delta"] / np.sqrt(3))
    return st.simulate(
        chain, st.SGD(lr / finer), start, ts, noise=noise, increment=st.Uniform(), generator=st.Held(finer),
        seed=params["seed"], keep_states=True, **more,
    ).states  # fmt: skip


def _long_run(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Descent: from the first start on every path, from the others on one; the predicted mean of ln|D|."""
    steps = np.arange(params["steps"] + 1)
    states = _noisy(params, params["starts"][0], steps, lr=params["lr"], paths=params["paths"])
    plane = _noisy(params, np.array(params["starts"]), SHOWN, lr=params["lr"])
    product, log = chain_product(states), _log_imbalance(states)
    mean = log.mean(axis=0)
    begun = mean[params["burn_in"]]
    known = _input_noise(params["delta"]) | {"lr": params["lr"]}
    law = _logarithms(steps[params["burn_in"] :] - params["burn_in"], begun, known)
    at = list(TOLD)
    return {
        "plane": plane,
        "shown_log": log[:8, SHOWN],
        "mean_log": mean[SHOWN],
        "law_log": np.concatenate([np.full(params["burn_in"], np.nan), law])[SHOWN],
        "at_told": log[:, at],
        "settled": np.array([product[:, SETTLED:].min(), product[:, SETTLED:].max()]),
        "product": product[0, :151],
        "mean_product": np.array(product[:, params["burn_in"] :].mean()),
    }


def _flow(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """The same with every step divided: lost imbalance; the finest as flow, at all its steps of the first periods."""
    lost, finest = [], params["finer"][-1]
    for finer in params["finer"]:
        ends = np.array([0, params["periods"] * finer])
        states = _noisy(params, params["starts"][0], ends, lr=params["lr"], finer=finer, paths=16)
        lost.append(-np.diff(_log_imbalance(states), axis=1).mean())
    ts = np.arange(151 * finest)
    flow = _noisy(params, np.array(params["starts"]), ts, lr=params["lr"], finer=finest)
    product = chain_product(flow)
    loss = (product - 1) ** 2
    low, high = (edge(noise_bound=params["delta"]) for edge in
                 (noise_bands.noise_flow_band_lower, noise_bands.noise_flow_band_upper))  # fmt: skip
    outside = (product < low) | (product > high)
    entered = np.maximum.accumulate(~outside, axis=1)
    return {
        "lost": np.array(lost),
        "flow_log": _log_imbalance(
            _noisy(params, params["starts"][0], SHOWN * finest, lr=params["lr"], finer=finest)
        )[0],
        "flow": flow[:, ::8],
        "flow_time": ts[::8] / finest,
        "flow_product": product[0, ::8],
        "flow_rise": np.diff(loss, axis=1)[outside[:, :-1]],
        "flow_inside": (~outside)[entered],
    }


def _log_imbalance(states: np.ndarray) -> np.ndarray:
    """ln|w_1^2 - w_2^2|."""
    return np.log(np.abs(states[..., 0] ** 2 - states[..., 1] ** 2))


def _at_minimum(imbalance: float, product: float) -> np.ndarray:
    """Two positive layers with this difference of squares and this product."""
    return np.array(deep_linear.flow_endpoint(np.sqrt(imbalance), 0.0, product))


def _input_noise(delta: float) -> dict[str, float]:
    """The quadratic a W^2 - 2 b W with a = (1 + e)^2, b = 1 + e, in the letters of batches: E a^2/E a as curvature.

    At its mean minimum the distance of W decays by 1 - 2 lr a q in a step, q = |w|^2, and the slope has the
    variance V: together E slope^2 = V/(1 - lr q E a^2/E a), to leading order in the mean of the distance.
    """
    second, third, fourth = 1 + delta**2 / 3, 1 + delta**2, 1 + 2 * delta**2 + delta**4 / 5
    target = 1 / second
    variance = 4 * (fourth * target**2 - 2 * third * target + second)
    return {"curvature": fourth / second, "slope_variance": variance, "two_layer_target": target}


def _logarithms(steps: np.ndarray, start: float, known: dict[str, float]) -> np.ndarray:
    """Predicted ln|D| after these steps, from `start`, by the clock of sizes."""
    logs = np.linspace(start + 0.5, start - 12, 4000)
    clock = public_run.batch_imbalance_clock(size=np.exp(logs), **known)
    begun = public_run.batch_imbalance_clock(size=np.exp(start), **known)
    return np.interp(steps, clock - begun, logs)


def _factor(imbalance: Any, known: dict[str, Any]) -> tuple[float, float]:
    """Rate of decay of ln|D| to leading order, and the factor of finite steps."""
    leading = known["lr"] ** 2 * known["slope_variance"]
    return leading, public_run.batch_imbalance_rate(imbalance=imbalance, **known) / leading


def _rates(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Measured rate over leading order, its standard error, and the factor, for every learning rate."""
    known, rows = _input_noise(params["delta"]), []
    start = _at_minimum(2.0, known["two_layer_target"])
    for lr in params["rates"]:
        last = params["burn_in"] + int(min(params["rate_steps"], 0.2 / (lr**2 * known["slope_variance"])))
        log = _log_imbalance(_noisy(params, start, [params["burn_in"], last], lr=lr, paths=64))
        rows.append(_measured(log, last - params["burn_in"], known | {"lr": lr}))
    return {"input_rates": np.array(rows)}


def _measured(log: np.ndarray, steps: int, known: dict[str, Any]) -> list[float]:
    """Ratio to leading order with its standard error, and the factor, from ln|D| (paths, first and last)."""
    fall = (log[:, 0] - log[:, -1]) / steps
    leading, factor = _factor(np.exp(log[:, [0, -1]].mean()), known)
    return [fall.mean() / leading, fall.std(ddof=1) / np.sqrt(len(fall)) / leading, factor]


def _batches(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """SGD on normalised data, and on the same inputs with labels that are fitted exactly."""
    x, y = _normalised(params)
    start, lr = _at_minimum(3.75, 1.0), params["batch_lr"]
    ts = np.append(0, np.linspace(params["burn_in"], params["burn_in"] + params["batch_steps"], 21).astype(int))
    logs, laws, leading, rows = [], [], [], []
    for batch in params["batches"]:
        log = _log_imbalance(_sgd(params, x, y, batch, start, ts))
        known = {
            "lr": lr, "curvature": 1 + (np.mean(x**4) - 1) / batch, "two_layer_target": 1.0,
            "slope_variance": 4 * np.var(x * x - x * y) / batch,
        }  # fmt: skip
        mean = log.mean(axis=0)
        laws.append(_logarithms(ts - ts[1], mean[1], known))
        leading.append(mean[1] - _factor(1.0, known)[0] * (ts - ts[1]))
        rows.append(_measured(log[:, 1:], ts[-1] - ts[1], known))
        logs.append(mean)
    fitted = _log_imbalance(_sgd(params, x, x, params["batches"][0], 0.9 * start, ts)).mean(axis=0)
    return {
        "batch_time": ts, "batch_log": np.array(logs), "batch_law": np.array(laws), "fitted_log": fitted,
        "batch_leading": np.array(leading), "batch_rates": np.array(rows),
    }  # fmt: skip


def _sgd(params: dict[str, Any], x: Any, y: Any, batch: int, start: Any, ts: Any) -> np.ndarray:
    """States of SGD on mean (W x - y)^2: with twice the learning rate, for the model halves the square."""
    model = st.deep_linear_from_data(x[None], y[None], (1, 1, 1))
    return st.simulate(
        model, st.SGD(2 * params["batch_lr"]), start, ts, noise=st.minibatch(model, batch), increment=st.Uniform(),
        seed=params["seed"], paths=params["batch_paths"], keep_states=True,
    ).states  # fmt: skip


def _normalised(params: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of 100 samples with sum x = sum y = 0, mean x^2 = mean x y = 1."""
    rng = np.random.default_rng(params["seed"])
    x = rng.standard_normal(100)
    x -= x.mean()
    x /= np.sqrt(np.mean(x * x))
    y = x + params["residual"] * rng.standard_normal(100)
    y -= y.mean()
    return x, y + x * (1 - np.mean(x * y))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    lost, (low, high) = data["lost"], data["settled"]
    power = np.log(lost[-2] / lost[-1]) / np.log(data["finer"][-1] / data["finer"][-2])
    spread = (np.log(list(TOLD.values())) - data["at_told"].mean(axis=0)) / data["at_told"].std(axis=0, ddof=1)
    known = np.isfinite(data["law_log"])
    miss = (data["mean_log"] - data["law_log"])[known]
    fall = data["law_log"][known][0] - data["law_log"][known][-1]
    inputs, batches = data["input_rates"], data["batch_rates"]
    off = np.concatenate([rows[:, 0] / rows[:, 2] - 1 for rows in (inputs, batches)])
    settled, highest = data["fitted_log"][1:], max(inputs[:, 0].max(), batches[:, 0].max())
    told = "independent run: [{:.3f}, {:.3f}]".format(*TOLD_RANGE)
    return [
        at_most("flow_keeps_imbalance", lost[-1], 0.01, "(a) The finest flow loses {found:.1%} of the imbalance in"
                f" 200 steps, descent {1 - np.exp(-lost[0]):.0%}."),
        at_most("flow_loss_falls_outside", data["flow_rise"].max(), 0.0,
                f"(b) Outside the sharp band the flow lowers the clean loss in all {data['flow_rise'].size} small"
                " steps,"),
        at_least("flow_stays_inside", data["flow_inside"].mean(), 1.0, "once inside it never leaves;"),
        at_least("descent_above_lower_edge", low, data["band"][0],
                 f"descent keeps W in [{{found:.3f}}, {high:.3f}] after {SETTLED} steps on all paths"),
        at_most("descent_below_upper_edge", high, data["band"][1],
                f"({told}), inside Ginsburg's band."),
        near("mean_product", data["mean_product"], data["limit"], 2e-3,
             "The mean of W is {found:.4f} (predicted {expected:.4f})."),
        at_most("imbalance_as_told", np.abs(spread).max(), 3.0,
                f"(c) The imbalances of the independent run, {TOLD[2000]} and {TOLD[20000]} after 2000 and 20000"
                " steps, are within {found:.1f} standard deviations of the mean over paths;"),
        at_most("imbalance_as_predicted", np.abs(miss).max() / fall, 0.01,
                f"the mean logarithm falls by {fall:.2f} as predicted, to {{found:.1%}} of that."),
        near("loss_by_small_steps", power, 1.0, 0.05,
             "(d) The decrease is as the power {found:.2f} of 1/m between the last two."),
        at_most("rates_as_predicted", np.abs(off).max(), 0.025,
                f"(e, f) The rates, up to {highest:.2f} times the leading order, agree with the prediction for finite"
                " steps to {found:.1%};"),
        at_least("leading_order_misses", batches[0, 0] - 1, 5 * batches[0, 1],
                 "at B = 1 the leading order is low by {found:.0%}."),
        at_most("interpolation_freezes", np.ptp(settled), 1e-12,
                "Where the data are interpolated the imbalance stops changing, to {found:.0e}."),
    ]  # fmt: skip


def _without(name: str) -> Any:
    """Spoil: the leading order in place of the factor."""
    return lambda data: data | {name: np.column_stack([data[name][:, :2], np.ones(len(data[name]))])}


BROKEN = {
    "flow_keeps_imbalance": lambda data: data | {"lost": data["lost"][::-1]},
    "flow_loss_falls_outside": lambda data: data | {"flow_rise": -data["flow_rise"]},
    "flow_stays_inside": lambda data: data | {"flow_inside": np.append(data["flow_inside"], False)},
    "descent_above_lower_edge": lambda data: data | {"settled": data["settled"] - 0.2},
    "descent_below_upper_edge": lambda data: data | {"settled": data["settled"] + 0.5},
    "mean_product": lambda data: data | {"limit": np.array(1.0)},
    "imbalance_as_told": lambda data: data | {"at_told": data["at_told"] + 0.5},
    "imbalance_as_predicted": lambda data: data | {"law_log": data["law_log"] * 1.1},
    "loss_by_small_steps": lambda data: data | {"lost": data["lost"] ** 2},
    "rates_as_predicted": _without("batch_rates"),
    "leading_order_misses": lambda data: data | {"batch_rates": data["batch_rates"] * 0.85},
    "interpolation_freezes": lambda data: data | {"fitted_log": data["batch_log"][0]},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Plane, W, imbalance; small steps, batches, factors."""
    figure, ((plane, product, imbalance), (finer, batches, factor)) = style.page(
        2, 3, 3.9, gridspec_kw={"height_ratios": (1.15, 1)}
    )
    _draw_plane(plane, data)
    _draw_product(product, data)
    _draw_imbalance(imbalance, data)
    _draw_finer(finer, data)
    _draw_batches(batches, data)
    _draw_factor(factor, data)
    return figure


def _draw_plane(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "flow and descent")
    first = np.geomspace(0.2, 2.6, 200)
    for sign in (1, -1):
        low, high = data["sharp"]
        axes.fill_between(sign * first, sign * low / first, sign * high / first, color=style.GREY, alpha=0.2, lw=0)
        axes.plot(sign * first, sign / first, color=style.GREY, linewidth=0.8)
    for number, colour in enumerate(STARTS):
        axes.plot(*data["flow"][number].T, color=style.BLACK, linewidth=0.8, zorder=4)
        axes.plot(*data["plane"][number].T, ".", color=colour, markersize=2.6, zorder=3)
        axes.plot(*data["flow"][number, 0], "s", color=colour, markersize=4, zorder=5)
    corner = np.sqrt(data["limit"])
    axes.plot([corner, -corner], [corner, -corner], "*", color=style.BLACK, markersize=6, zorder=6)
    axes.set(aspect="equal", xlabel="$w_1$", ylabel="$w_2$", xlim=(-2.3, 2.3), ylim=(-2.3, 2.3))
    axes.set(xticks=[-2, 0, 2], yticks=[-2, 0, 2])


def _draw_product(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", r"$W=w_1w_2$ and noise bands")
    axes.axhspan(*data["band"], color=style.SKY, alpha=0.2, linewidth=0)
    axes.axhspan(*data["sharp"], color=style.SKY, alpha=0.35, linewidth=0)
    axes.plot(data["flow_time"], data["flow_product"], color=style.BLUE, linewidth=0.9, label="flow")
    axes.plot(np.arange(151), data["product"], ".", color=style.VERMILION, markersize=2.6, label="descent")
    axes.set(xlabel="step", ylabel="$W$", xlim=(0, 150), ylim=(0.15, 1.75))
    axes.legend(loc="lower right")


def _draw_imbalance(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", r"imbalance $|w_1^2-w_2^2|$")
    axes.plot(SHOWN, np.exp(data["flow_log"]), color=style.BLUE, linewidth=3, alpha=0.35)
    axes.plot(SHOWN, np.exp(data["shown_log"]).T, color=style.VERMILION, linewidth=0.4, alpha=0.5)
    even = np.searchsorted(SHOWN, [300, 3000, 6000, 9000, 12000, 15000, 18000])
    axes.plot(SHOWN[even], np.exp(data["mean_log"][even]), "o", color=style.VERMILION, markerfacecolor="white")
    axes.plot(SHOWN, np.exp(data["law_log"]), **style.PREDICTED)
    axes.plot(list(TOLD), list(TOLD.values()), "x", color=style.BLACK, markersize=5, markeredgewidth=1.1, zorder=6)
    axes.set(yscale="log", xlabel=r"step ($10^3$)", ylim=(3e-3, 6), xlim=(-400, 21000))
    axes.set_xticks([0, 5000, 10000, 15000, 20000], ["0", "5", "10", "15", "20"])
    axes.text(8000, 3.4, f"flow ($m={data['finer'][-1]}$)", color=style.BLUE, fontsize=6.5)
    axes.text(11000, 0.3, "descent", color=style.VERMILION, fontsize=6.5)


def _draw_finer(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "towards the flow")
    axes.plot(data["finer"], data["lost"][-1] * data["finer"][-1] / data["finer"], **style.PREDICTED)
    axes.plot(data["finer"], data["lost"], "o", color=style.BLUE)
    axes.set(xscale="log", yscale="log", xlabel="small steps per noise, $m$")
    axes.set_ylabel(r"decrease of $\ln|w_1^2-w_2^2|$")
    axes.set_xticks(data["finer"], [f"{m}" for m in data["finer"]])
    axes.minorticks_off()


def _draw_batches(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "e", "SGD on 100 samples")
    time = data["batch_time"] / 1000
    for number, colour in enumerate(BATCHES):
        start = data["batch_log"][number, 0]
        axes.plot(time[::2], data["batch_log"][number, ::2] - start, "o", color=colour, markersize=2.6)
        axes.plot(time[1:], data["batch_law"][number, 1:] - start, **style.PREDICTED)
        axes.plot(time[1:], data["batch_leading"][number, 1:] - start, ":", color=colour, linewidth=0.9)
        at = (time[-1], data["batch_law"][number, -1] - start)
        axes.annotate(f"$B={data['batches'][number]}$", at, (2, 0), textcoords="offset points", color=colour,
                      fontsize=6.5, va="center")  # fmt: skip
    axes.plot(time[1:], data["fitted_log"][1:] - data["fitted_log"][1], color=style.GREY, linewidth=1.6, alpha=0.7)
    axes.set(xlabel=r"step ($10^3$)", ylabel=r"change of $\ln|w_1^2-w_2^2|$", xlim=(-0.03 * time[-1], 1.25 * time[-1]))


def _draw_factor(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "f", "finite steps")
    top = max(data["input_rates"][:, 2].max(), data["batch_rates"][:, 2].max()) * 1.06
    axes.plot([1, top], [1, top], **style.PREDICTED)
    for name, mark, colour in (("input_rates", "o", style.VERMILION), ("batch_rates", "s", style.BLUE)):
        ratio, error, factor = data[name].T
        axes.errorbar(factor, ratio, 2 * error, fmt=mark, color=colour, markersize=3, elinewidth=0.8)
    axes.set(xlabel="predicted factor", ylabel="rate / leading order")
    handles = [
        Line2D([], [], marker="o", linestyle="", color=style.VERMILION, label="noise on inputs"),
        Line2D([], [], marker="s", linestyle="", color=style.BLUE, label="batches"),
    ]
    axes.legend(handles=handles, loc="upper left")
