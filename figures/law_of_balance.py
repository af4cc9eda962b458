"""What gradient noise does to products of layers: stationary densities, collapse, and the balance of matrix layers.

The SDE of mini-batch SGD on (v x - y)^2, v the product of d equal layers. The reader should see the stationary density
of v grow wider, skew and lean towards zero with depth, as predicted (a); two layers grow from a small start below a
critical temperature and collapse above it (b); and, under label noise, two matrix layers leave balance whenever inputs
and outputs differ in number: the squares of the layers come to the ratio outputs/inputs (c), matrix by matrix (d).
"""

from typing import Any

import numpy as np
import scipy.integrate
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, near
from figures.press.measured import standard_error
from sdetheory.models.weights import balanced_weights, unpack
from sdetheory.observables import chain_product
from sdetheory.predictions import gradient_noise, stationary_law

CLAIMS = ("D50", "D51", "D52", "D53")
CAPTION = """(a) Stationary density of the product v of d equal scalar layers: SDE of SGD with batches of one on
(v x - y)^2, x = 1/2 or 3/2, y = x +- 1, temperature 0.02 (histograms of all paths and times), and the law of balance
(dashed). (b) Mean rate of ln v of two layers from v = 10^-8 against the temperature (markers, four standard errors),
the rate from drift and noise of the law of balance (dashed), the predicted critical temperature (grey). (c) Two matrix
layers of hidden width 2, outputs x inputs in the legend, started balanced, labels with fresh noise in every step: ratio
of |W_2|^2 to |W_1|^2, mean over paths (markers), and the predicted motion along the fits (dashed). (d) Entries of
o W_1 W_1^T (o outputs) against those of i W_2^T W_2 (i inputs), mean over paths, at the start (open) and at the end
(filled); dashed: balance of the noise."""

PARAMS: dict[str, Any] = {
    "depths": [1, 2, 3, 4],
    "temperature": 0.02,
    "burn_in": 150,
    "length": 600,
    "gap": 15,
    "paths": 512,
    "dt": 0.05,
    "grid": [0.002, 8.0, 4000],
    "temperatures": [0.1, 0.25, 0.4, 0.55, 0.7, 0.85],
    "small": 1e-8,
    "small_paths": 2048,
    "small_dt": 0.00390625,
    "shapes": [[2, 2], [2, 4], [4, 2], [2, 6]],
    "modes": [1.5, 0.8],
    "lr": 0.02,
    "spread": 0.5,
    "steps": 12000,
    "records": 31,
    "matrix_paths": 64,
    "seed": 3,
}
QUICK = PARAMS | {
    "paths": 256, "length": 450, "dt": 0.1, "small_paths": 1024, "small_dt": 0.0078125,
    "shapes": [[2, 2], [2, 4], [4, 2]], "matrix_paths": 32,
}  # fmt: skip

COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE)
TOLD = {0.02: (0.9793, 0.2012), 0.01: (0.98984, 0.14185)}  # temperature: mean, std of two layers (theory sheet)


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Samples of v by depth with their densities, growth rates by temperature, matrices under label noise."""
    return _stationary(params) | _growth(params) | _matrices(params)


def _samples() -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """(inputs, targets, moments): the four samples, each as likely."""
    inputs = np.array([[0.5, 0.5, 1.5, 1.5]])
    targets = inputs + np.array([[1.0, -1.0, 1.0, -1.0]])
    squares, products = inputs[0] ** 2, inputs[0] * targets[0]
    moments = {
        "input_spread": squares.var(), "crossed_spread": np.cov(squares, products, bias=True)[0, 1],
        "target_spread": products.var(), "input_power": squares.mean(), "correlation": products.mean(),
    }  # fmt: skip
    return inputs, targets, moments


def _run(depth: int, temperature: float, start: float, ts: Any, paths: int, dt: float, seed: int) -> Any:
    """The SDE of batches of one; half of (v x - y)^2 is the loss of the package, so its rate is twice T."""
    inputs, targets, _ = _samples()
    model = st.deep_linear_from_data(inputs, targets, (1,) * (depth + 1))
    rule, layers = st.WeightDecaySDE(2 * temperature, 0.0), np.full(depth, start ** (1 / depth))
    noise = st.gaussian_batch(model, 1)
    return st.simulate(model, rule, layers, ts, noise=noise, dt=dt, paths=paths, seed=seed, keep_states=True)


def _stationary(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """v of every path and time after the burn-in, the predicted density, moments of the sheet's two cases."""
    grid, moments = np.geomspace(*params["grid"]), _samples()[2]
    times = np.arange(params["burn_in"], params["length"] + 1, params["gap"])
    products, densities, healthy = [], [], []
    for depth in params["depths"]:
        run = _run(depth, params["temperature"], 1.0, times, params["paths"], params["dt"], params["seed"])
        healthy.append(~run.diverged)
        products.append(np.where(healthy[-1][:, None], chain_product(run.states), np.nan))
        law = {"depth": depth, "temperature": params["temperature"]} | moments
        densities.append(stationary_law.stationary_density(grid, **law))
    told = []
    for temperature in TOLD:
        density = stationary_law.stationary_density(grid, depth=2, temperature=temperature, **moments)
        mean = np.trapezoid(density * grid, grid)
        told.append([mean, np.sqrt(np.trapezoid(density * (grid - mean) ** 2, grid))])
    return {"grid": grid, "products": np.array(products), "densities": np.array(densities),
            "healthy": np.array(healthy), "told": np.array(told)}  # fmt: skip


def _growth(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Rates of ln v of two layers over a few steps from a small v, per unit of flow time of (v x - y)^2."""
    small, moments, rates = params["small"], _samples()[2], []
    for number, temperature in enumerate(params["temperatures"]):
        steps = 2.0 ** np.floor(np.log2(0.9 / temperature))
        law = {"paths": params["small_paths"], "dt": params["small_dt"] * steps, "seed": params["seed"] + number}
        run = _run(2, temperature, small, [steps], **law)
        rates.append(np.log(chain_product(run.final) / small) / (temperature * steps))
    line = np.linspace(0, max(params["temperatures"]) * 1.1, 50)[1:]
    variance, squares = 4 * moments["target_spread"], 2 / small
    drift = gradient_noise.product_drift(
        end_to_end=small, inverse_squares=squares, inverse_pairs=small**-2,
        slope_mean=-2 * moments["correlation"], slope_variance=variance, temperature=line,
    )  # fmt: skip
    return {
        "temperatures": np.array(params["temperatures"]),
        "rates": np.array(rates),
        "line": line,
        "line_rates": drift / small - line * variance * (small**2 * squares) ** 2 / (2 * small**2),
        "critical": np.array(stationary_law.collapse_temperature(
            correlation=moments["correlation"], target_spread=moments["target_spread"])),
    }  # fmt: skip


def _matrices(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Mean W_1 W_1^T and W_2^T W_2 (shapes, 2, times, h, h) under label noise, from balance, and |W_j|^2 predicted."""
    steps, modes = np.linspace(0, params["steps"], params["records"]).astype(int), np.array(params["modes"])
    squares, told = [], []
    for number, (outputs, inputs) in enumerate(params["shapes"]):
        widths, target = (inputs, modes.size, outputs), np.zeros((outputs, inputs))
        target[: modes.size, : modes.size] = np.diag(modes)
        model = st.deep_linear(widths, target)
        start = balanced_weights(widths, target, np.random.default_rng(params["seed"]))
        run = st.simulate(
            model, st.SGD(params["lr"]), start, steps, noise=st.label_noise(model, params["spread"]),
            paths=params["matrix_paths"], seed=params["seed"] + number, keep_states=True,
        )  # fmt: skip
        lower, upper = unpack(run.states, widths)
        lower, upper = lower @ np.swapaxes(lower, -1, -2), np.swapaxes(upper, -1, -2) @ upper
        squares.append([lower.mean(axis=0), upper.mean(axis=0)])
        told.append([_mode_squares(mode, outputs, inputs, steps, params) for mode in modes])
    return {
        "steps": steps,
        "shapes": np.array(params["shapes"]),
        "squares": np.array(squares),
        "mode_squares": np.array(told),
    }


def _mode_squares(mode: float, outputs: int, inputs: int, steps: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    """(lower, upper) squares of a mode along the fits, lower times upper = mode^2, by the rate of their difference."""

    def squares(gap: Any) -> tuple[Any, Any]:
        size = np.sqrt(gap**2 + 4 * mode**2)
        return (size - gap) / 2, (size + gap) / 2

    def rate(_: float, gap: np.ndarray) -> Any:
        lower, upper = squares(gap)
        return params["lr"] * gradient_noise.matrix_balance_rate(
            temperature=params["lr"], noise_variance=params["spread"] ** 2, above=outputs, below=inputs,
            lower_square=lower, upper_square=upper,
        )  # fmt: skip

    run = scipy.integrate.solve_ivp(rate, (0, steps[-1]), [0.0], t_eval=steps, rtol=1e-8, atol=1e-10)
    return np.array(squares(run.y[0]))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    gaps = [_distance(data, k) for k in range(len(data["products"]))]
    means = np.nanmean(data["products"], axis=(1, 2))
    rates, error = data["rates"].mean(axis=1), standard_error(data["rates"].T)
    line = np.interp(data["temperatures"], data["line"], data["line_rates"])
    slope, offset = np.polyfit(data["temperatures"], rates, 1)
    found, told, wanted = _ratio(data), _told_ratio(data), data["shapes"][:, 0] / data["shapes"][:, 1]
    unequal = wanted != 1
    lower, upper = _sides(data)
    size = np.abs(upper).max(axis=(-2, -1))
    off = np.abs(lower - upper).max(axis=(-2, -1)) / size
    return [
        at_least("paths_stay", data["healthy"].mean(axis=1).min(), 0.99,
                 "The numerical SDE stays finite on {found:.1%} of the paths, at each depth, the others left out."),
        at_most("densities", max(gaps), 0.03,
                "The distribution functions differ from the predicted ones by at most {found:.3f};"),
        at_most("depth_lowers_the_mean", np.diff(means).max(), -0.01,
                f"the mean falls with depth, from {means[0]:.3f} to {means[-1]:.3f}."),
        at_most("moments_as_told", np.abs(data["told"] - np.array(list(TOLD.values()))).max(), 1e-4,
                "Two layers at temperatures 0.02 and 0.01 have the moments of another computation to {found:.0e}."),
        at_most("growth", (np.abs(rates - line) / error).max(), 5.0,
                "Two small layers grow at the predicted rate (at most {found:.1f} standard errors off)"),
        near("collapses_at", -offset / slope, data["critical"], 0.03,
             "and collapse above T = {found:.3f} (predicted {expected:.3f})."),
        at_most("ratio_follows", np.abs(found / told - 1).max(), 0.04,
                "The ratio of the matrix layers follows the prediction within {found:.1%}"),
        at_most("ratio_ends", np.abs(found[:, -1] / wanted - 1).max(), 0.05,
                "to outputs/inputs, within {found:.1%};"),
        at_least("balance_is_left", np.abs(np.log(found[unequal, -1])).min(), 0.5,
                 "equal squares, where they began, are left by e^{found:.2f} or more unless the two numbers agree."),
        at_most("matrices_balance", off[:, -1].max(), 0.06,
                f"Entry by entry the two sides differ by {off[unequal, 0].min():.0%} or more at first, by "
                "{found:.1%} or less at the end."),
    ]  # fmt: skip


def _distance(data: dict[str, np.ndarray], k: int) -> float:
    """Largest difference of the empirical and the predicted distribution function."""
    values, grid = _values(data, k), data["grid"]
    density = data["densities"][k]
    told = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
    return float(np.abs(np.searchsorted(values, grid) / values.size - told).max())


def _values(data: dict[str, np.ndarray], k: int) -> np.ndarray:
    """All v of one depth, sorted."""
    values = data["products"][k].ravel()
    return np.sort(values[np.isfinite(values)])


def _ratio(data: dict[str, np.ndarray]) -> np.ndarray:
    """|W_2|^2/|W_1|^2 of the means, (shapes, times)."""
    traces = np.trace(data["squares"], axis1=-2, axis2=-1)
    return np.asarray(traces[:, 1] / traces[:, 0])


def _told_ratio(data: dict[str, np.ndarray]) -> np.ndarray:
    """The same of the predicted modes."""
    traces = data["mode_squares"].sum(axis=1)
    return np.asarray(traces[:, 1] / traces[:, 0])


def _sides(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """o W_1 W_1^T and i W_2^T W_2 at first and last, (shapes, 2, h, h)."""
    ends = data["squares"][:, :, [0, -1]]
    outputs, inputs = data["shapes"].T[:, :, None, None, None]
    return outputs * ends[:, 0], inputs * ends[:, 1]


def _balanced(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Layers that stay as they began."""
    return data | {"squares": data["squares"][:, :, :1].repeat(data["steps"].size, axis=2)}


def _scaled(name: str, factor: float) -> Any:
    """Spoil one array by a factor."""
    return lambda data: data | {name: data[name] * factor}


BROKEN = {
    "paths_stay": lambda data: data | {"healthy": data["healthy"] & (np.arange(data["healthy"].shape[1]) % 50 > 0)},
    "densities": lambda data: data | {"densities": np.roll(data["densities"], 1, axis=0)},
    "depth_lowers_the_mean": lambda data: data | {"products": data["products"][::-1]},
    "moments_as_told": _scaled("told", 1.001),
    "growth": lambda data: data | {"rates": data["rates"] + 3.0},
    "collapses_at": _scaled("critical", 1.1),
    "ratio_follows": _balanced,
    "ratio_ends": _balanced,
    "balance_is_left": _balanced,
    "matrices_balance": _balanced,
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Densities, growth rates, ratio of layers, entries."""
    figure, ((densities, growth), (ratio, entries)) = style.page(2, 2, 4.4)
    _draw_densities(densities, data)
    _draw_growth(growth, data)
    _draw_ratio(ratio, data)
    _draw_entries(entries, data)
    return figure


def _draw_densities(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "stationary density of $v$")
    edges = np.linspace(0, 2.0, 61)
    for k, colour in enumerate(COLOURS[: len(data["products"])]):
        values = _values(data, k)
        heights = np.histogram(values, edges)[0] / (values.size * np.diff(edges))
        axes.stairs(heights, edges, color=colour, linewidth=1.2, label=f"$d={k + 1}$")
        axes.plot(data["grid"], data["densities"][k], **style.PREDICTED)
    axes.set(xlabel="product $v$ of the layers", ylabel="density", xlim=(0, 2.0), ylim=(0, None))
    axes.legend(loc="upper right")


def _draw_growth(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", r"two layers near $v=0$")
    error = 4 * standard_error(data["rates"].T)
    axes.axhline(0, color=style.GREY, linewidth=0.6)
    axes.axvline(data["critical"], color=style.GREY, linewidth=0.8, linestyle=":")
    axes.errorbar(data["temperatures"], data["rates"].mean(axis=1), error, fmt="o", color=style.VERMILION,
                  elinewidth=0.8, capsize=2, label="measured")  # fmt: skip
    axes.plot(data["line"], data["line_rates"], **style.PREDICTED, label="prediction")
    axes.annotate("$T_c$", (data["critical"], 3.0), (3, 0), textcoords="offset points", color=style.GREY)
    axes.set(xlabel="temperature $T$", ylabel=r"mean rate of $\ln v$", xlim=(0, None))
    axes.legend(loc="lower left")


def _draw_ratio(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "matrix layers, label noise")
    for (outputs, inputs), found, told, colour in zip(
        data["shapes"], _ratio(data), _told_ratio(data), COLOURS, strict=False
    ):
        axes.plot(data["steps"] / 1000, found, "o", color=colour, label=rf"${outputs}\times{inputs}$")
        axes.plot(data["steps"] / 1000, told, **style.PREDICTED)
    axes.set(yscale="log", xlabel="step (thousands)", ylabel=r"$\|W_2\|^2/\|W_1\|^2$", ylim=(0.25, 3.6))
    axes.set_yticks([1 / 3, 0.5, 1, 2], ["1/3", "1/2", "1", "2"])
    axes.minorticks_off()
    axes.legend(loc="upper center", ncols=4, columnspacing=0.8)


def _draw_entries(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "matrix balance, entry by entry")
    lower, upper = _sides(data)
    for k, colour in zip(range(len(data["shapes"])), COLOURS, strict=False):
        axes.plot(upper[k, 0].ravel(), lower[k, 0].ravel(), "o", color=colour, markerfacecolor="white", zorder=2)
        axes.plot(upper[k, 1].ravel(), lower[k, 1].ravel(), "o", color=colour, zorder=3)
    low, high = min(lower.min(), upper.min()), max(lower.max(), upper.max())
    axes.plot([low, high], [low, high], **style.PREDICTED)
    axes.set(xlabel=r"entry of $i\,W_2^\top W_2$", ylabel=r"entry of $o\,W_1W_1^\top$")
    handles = [
        Line2D([], [], marker="o", linestyle="", color=style.GREY, markerfacecolor="white", label="start"),
        Line2D([], [], marker="o", linestyle="", color=style.GREY, label="end"),
        Line2D([], [], label="noise balanced", **style.PREDICTED),
    ]
    axes.legend(handles=handles, loc="upper left")
