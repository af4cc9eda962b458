"""SVAG tends to the SDE like 1/l (analogue of Li, Malladi, Arora 2021, On the validity of modeling SGD with SDEs).

SGD in l-fold smaller steps whose noise per time is kept. The reader should see every moment of a linear problem with
loaded batches approach the SDE's at order one (a); on the circle, at a fixed lr far from zero and with batches of
large third moment, the bias of SGD that its Gaussian twin does not have fall as the third cumulant per time (b); the
norm approach the SDE's for SVAG but another limit for the variant with a coin, which adds the gradient to the noise
(c); and the cumulants of the compiled step themselves (d).
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import curve_fit

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, near
from figures.press.measured import standard_error
from sdetheory.lanes import disturb, draws, gradient, load, store
from sdetheory.predictions import intrinsic_lr, svag
from sdetheory.spectrum import circle

CLAIMS = ("I45", "I46")
CAPTION = """(a) Batches of slope H + s z in one dimension, z a loaded coin (third moment 3/2), lr = {linear_lr:g}:
distance of E w^k after {linear_time} steps of SGD to the SDE's, exactly, by enumeration of the compiled step; open: the
variant with a coin; dashed: 1/l. (b) Loss {height:g} x^2/|w|^2 on the plane, batches of third cumulant sqrt 8 a number,
lr wd = {product:g}, {time} steps of SGD from the SDE's stationary law, {paths} runs: E sin 2 phi, which the SDE and any
symmetric noise leave at 0; dashed: the error of SGD times the third cumulant per time. Triangle: SGD with Gaussian
noise of the same covariance. (c) The same runs: E |w|^4 over the SDE's, which stays at equilibrium, less 1; dashed:
1/l, and the limit of the variant with a coin (its covariance is Sigma + grad L grad L^T), to first order. Bars: two
standard errors. (d) Cumulants per unit of time of the compiled SVAG step over those of SGD; dashed: predictions."""

PARAMS: dict[str, Any] = {
    "linear_lr": 0.3,
    "curvature": 0.8,
    "spread": 1.1,
    "linear_time": 6,
    "linear_levels": [1, 2, 4, 8, 16, 32, 64, 128, 256],
    "levels": [1, 2, 4, 8, 16, 32],
    "height": 0.3,
    "product": 0.05,
    "lr": 0.3,
    "time": 6,
    "paths": 400_000,
    "seed": 46,
}
QUICK = PARAMS | {"paths": 100_000}

LOADED = ((-0.5, 2.0), (0.8, 0.2))  # mean 0, variance 1, third moment 3/2, fourth cumulant 1/4
POWERS = (1, 2, 3, 4)
COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE)
OPEN: dict[str, Any] = {"markersize": 3.4, "markerfacecolor": "white", "markeredgewidth": 0.7, "linestyle": ""}
FITTED_FROM = 16  # l from which the exact orders are fitted
SAMPLED_FROM = 4, 8  # l from which those of the third moment and of the norm are


class Parabola(NamedTuple):
    """L = h |w|^2/2."""

    h: float


class BatchSlopes(NamedTuple):
    """Batches of curvature h + s z: the noise is s z w, one number a step."""

    s: float


@gradient.of(Parabola)
def _slope(model, w, out, work):  # type: ignore[no-untyped-def]
    for i in range(w.size):
        store(out, i, model.h * load(w, i))


@draws.of(BatchSlopes)
def _one(noise, d):  # type: ignore[no-untyped-def]
    return 1


@disturb.of(BatchSlopes)
def _slopes(noise, w, z, out, work):  # type: ignore[no-untyped-def]
    for i in range(w.size):
        store(out, i, noise.s * load(z, 0) * load(w, i))


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Exact errors of a linear problem, sampled ones on the circle, cumulants of the step."""
    return _linear(params) | _sphere(params) | _cumulants(params)


def _outcomes(params: dict[str, Any], rule: Any, law: Any, curvature: float) -> tuple[np.ndarray, np.ndarray]:
    """w'/w of one compiled step for every outcome of two numbers of a law, and the chances."""
    values, weights = law
    made = Parabola(curvature), BatchSlopes(params["spread"])
    moved = [st.evaluate.step(rule, *made, np.array([1.0]), z)[0] for z in itertools.product(values, repeat=2)]
    return np.array(moved), np.array([a * b for a, b in itertools.product(weights, repeat=2)])


def _linear(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """|E w^k - SDE's| at the end, (powers, levels), of SVAG (loaded batches) and of its variant (fair ones)."""
    lr, h, s, time = (params[name] for name in ("linear_lr", "curvature", "spread", "linear_time"))
    powers, levels = np.array(POWERS), np.array(params["linear_levels"])
    exact = np.exp(time * (-powers * lr * h + powers * (powers - 1) / 2 * (lr * s) ** 2))
    data = {"linear_levels": levels}
    for name, made, law in (("two", st.SVAG, LOADED), ("coin", st.CoinSVAG, ((-1.0, 1.0), (0.5, 0.5)))):
        rows = []
        for level in levels.tolist():
            moved, chance = _outcomes(params, made(lr, 0.0, level), law, h)
            rows.append(np.array([chance @ moved**k for k in POWERS]) ** (level * time))
        data[f"linear_{name}"] = np.abs(np.array(rows).T - exact[:, None])
    second = np.exp(time * (-2 * lr * h + lr**2 * (s**2 + h**2)))  # the coin's own SDE
    return data | {"coin_limit": np.abs(second - exact[1])}


def _cumulants(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Second, third and fourth cumulant of SVAG's displacement per unit of time over SGD's, (3, levels), predicted."""
    found = []
    for level in params["linear_levels"]:
        moved, chance = _outcomes(params, st.SVAG(1.0, 0.0, level), LOADED, 0.0)
        centred = (1 - moved - chance @ (1 - moved)) / params["spread"]
        m2, m3, m4 = (chance @ centred**k for k in (2, 3, 4))
        found.append([level * m2, level * m3 / 1.5, level * (m4 - 3 * m2**2) / 0.25])
    levels = np.array(params["linear_levels"], dtype=float)
    sums = svag.svag_second_moment, svag.svag_third_moment, svag.svag_fourth_moment
    predicted = [made(refinement=levels) * levels ** (1.0 - k) for k, made in enumerate(sums, 2)]
    return {"cumulants": np.array(found).T, "cumulants_predicted": np.array(predicted)}


def _sphere(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Errors of E sin 2 phi and E |w|^4, (rules, levels), with standard errors; SGD with Gaussian noise beside."""
    rates = {"lr": params["lr"], "weight_decay": params["product"] / params["lr"]}
    beta = intrinsic_lr.inverse_temperature(dimension=2, noise=1.0, **rates)
    found = circle(([0, 0, params["height"] / 2], []), beta, count=40)
    law = found.density * found.weights
    rng = np.random.default_rng(params["seed"])
    angles = found.nodes[rng.choice(law.size, params["paths"], p=law / law.sum())]
    norm = intrinsic_lr.equilibrium_norm(trace=1.0, **rates)
    start = norm * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def errors(rule: Any, noise: Any, level: int, seed: int) -> list[float]:
        run = st.simulate(st.Circle(params["height"]), rule, start, [params["time"] * level], noise=noise, seed=seed,
                          threads=1, width=16, observe=[st.observers.SquaredNorm()])  # fmt: skip
        turned = np.sin(2 * np.arctan2(run.final[:, 1], run.final[:, 0])) - np.sin(2 * angles)
        fourth = (run["squared_norm"][:, -1] / norm**2) ** 2 - 1
        return [x for part in (turned, fourth) for x in (float(part.mean()), float(standard_error(part)))]

    batches, levels, data = st.CircleBatch(1.0), params["levels"], {"levels": np.array(params["levels"])}
    for number, (name, made) in enumerate((("svag", st.SVAG), ("coin_svag", st.CoinSVAG))):
        data[name] = np.array([
            errors(made(*rates.values(), level), st.Skewed(batches), level, params["seed"] + 10 * number + k)
            for k, level in enumerate(levels)
        ])  # fmt: skip
    data["gaussian"] = np.array(errors(st.SGD(**rates), batches, 1, params["seed"] + 30))
    squared_gradient = found.expectation(lambda angle: (params["height"] * np.sin(2 * angle)) ** 2)  # over S = 1
    passed = -np.expm1(-4 * params["time"] * params["product"])
    return data | {"coin_fourth": np.array(squared_gradient * passed)}


def _third(data: dict[str, np.ndarray]) -> np.ndarray:
    """Predicted third cumulant per time over SGD's, at the sampled levels."""
    return svag.svag_third_cumulant_per_time(refinement=data["levels"].astype(float))


def _power(x: np.ndarray, y: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """p of y = A x^p by least squares, and its standard error, from y with the given errors (y may be below 0)."""
    best, spread = curve_fit(lambda x, a, p: a * x**p, x, y, p0=(y[0] / x[0], 1.0), sigma=error, absolute_sigma=True)
    return float(best[1]), float(np.sqrt(spread[1, 1]))


def _limit(rows: np.ndarray) -> tuple[float, float]:
    """Limit of L + A/l + B/l^2 from the norm's errors at the last three l, each twice the one before; its error."""
    weights = np.array([1.0, -6.0, 8.0]) / 3
    return float(weights @ rows[-3:, 2]), float(np.sqrt(weights**2 @ rows[-3:, 3] ** 2))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    far = data["linear_levels"] >= FITTED_FROM
    order = lambda row: np.polyfit(np.log(data["linear_levels"][far]), np.log(row[far]), 1)[0]
    orders = np.array([order(row) for row in data["linear_two"]])
    settling = np.diff(np.log(data["linear_two"][:, -2:]), axis=1) / np.log(2)
    sine, sine_error, fourth, fourth_error = data["svag"].T
    kappa = _third(data)
    from_fourth, late = (data["levels"] >= first for first in SAMPLED_FROM)
    third = _power(1 / data["levels"][from_fourth], sine[from_fourth], sine_error[from_fourth])
    norm = _power(1 / data["levels"][late], fourth[late], fourth_error[late])
    gaussian = data["gaussian"]
    limits = {name: _limit(data[name]) for name in ("svag", "coin_svag")}
    cumulants = np.abs(data["cumulants"] / data["cumulants_predicted"] - 1).max()
    return [
        at_most("exact_orders", np.abs(orders + 1).max(), 0.1,
                f"Fitted from l = {FITTED_FROM} the exact errors fall with the powers "
                f"{', '.join(f'{x:.3f}' for x in orders)} (k = 1 to 4),"),
        at_most("orders_settle", np.abs(settling + 1).max(), 0.02,
                "the last doubling is within {found:.3f} of 1/l;"),
        near("coin_has_its_own_limit", data["linear_coin"][1, -1] / data["coin_limit"], 1.0, 0.02,
             "the second moment of the variant ends at {found:.3f} of the distance to its own SDE."),
        at_least("sgd_is_off", sine[0] / sine_error[0], 20.0,
                 f"On the circle SGD is {sine[0]:.3f} off, {{found:.0f}} standard errors,"),
        at_most("gaussian_is_not", abs(gaussian[0] / gaussian[1]), 4.5,
                f"its Gaussian twin {gaussian[0]:.4f} ({{found:.1f}} standard errors): third moments alone;"),
        at_most("third_cumulant_size", np.abs(sine - sine[0] * kappa).max(), 0.012,
                "SVAG's error is within {found:.4f} of SGD's times the third cumulant per time"),
        near("third_moment_order", third[0], 1.0, 0.01 + 4 * third[1],
             f"and falls with the power {{found:.2f}} +- {2 * third[1]:.2f} of 1/l from l = {SAMPLED_FROM[0]};"),
        near("norm_order", norm[0], 1.0, 0.2,
             f"E|w|^4 approaches the SDE's with the power {{found:.3f}} +- {2 * norm[1]:.3f} of 1/l from "
             f"l = {SAMPLED_FROM[1]},"),
        at_most("norm_limit", abs(limits["svag"][0]) / limits["svag"][1], 4.5,
                f"its limit, extrapolated, is {limits['svag'][0]:.4f} ({{found:.1f}} standard errors from 0),"),
        near("coin_norm", limits["coin_svag"][0], data["coin_fourth"], 0.002 + 4 * limits["coin_svag"][1],
             f"that of the variant {{found:.4f}} +- {2 * limits['coin_svag'][1]:.4f} (predicted {{expected:.4f}})."),
        at_most("cumulants_as_predicted", cumulants, 1e-7, "The cumulants are the predicted ones within {found:.0e}."),
    ]  # fmt: skip


def _scaled(name: str, factor: Any) -> Any:
    return lambda data: data | {name: data[name] * factor}


def _columns(name: str, factors: list[float]) -> Any:
    return _scaled(name, np.array(factors))


def _rising(name: str, column: int) -> Any:
    """One column times l: errors that do not fall."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        spoilt = data[name].copy()
        spoilt[:, column] *= data["levels"]
        return data | {name: spoilt}

    return spoil


BROKEN = {
    "exact_orders": lambda data: data | {"linear_two": np.sqrt(data["linear_two"])},
    "orders_settle": lambda data: data | {"linear_two": data["linear_two"] * data["linear_levels"] ** 0.05},
    "coin_has_its_own_limit": lambda data: data | {"linear_coin": data["linear_two"]},
    "sgd_is_off": _columns("svag", [0.1, 1.0, 1.0, 1.0]),
    "gaussian_is_not": lambda data: data | {"gaussian": data["svag"][0]},
    "third_cumulant_size": _rising("svag", 0),
    "third_moment_order": _rising("svag", 0),
    "norm_order": _rising("svag", 2),
    "norm_limit": _columns("svag", [1.0, 1.0, -20.0, 1.0]),
    "coin_norm": _scaled("coin_fourth", 3.0),
    "cumulants_as_predicted": _scaled("cumulants", 1.001),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Exact errors, third moments, the norm, cumulants."""
    figure, ((exact, sine), (norm, cumulants)) = style.page(2, 2, 4.3)
    _draw_exact(exact, data)
    _draw_sine(sine, data)
    _draw_norm(norm, data)
    _draw_cumulants(cumulants, data)
    for axes in (exact, sine, norm, cumulants):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("$l$")
    return figure


def _draw_exact(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "linear batches: weak error")
    levels = data["linear_levels"]
    for number, power in enumerate(POWERS):
        row = data["linear_two"][number]
        axes.plot(levels, row, marker=".", color=COLOURS[number], linewidth=0.7, label=f"$k={power}$")
    axes.plot(levels, data["linear_coin"][1], marker="s", color=COLOURS[1], label="$k=2$, coin", **OPEN)
    guide = data["linear_two"].max() / levels * 1.7
    axes.plot(levels, guide, **style.PREDICTED, label="$1/l$")
    axes.set(yscale="log", ylabel=r"$|E\,w^k-\mathrm{SDE}|$")
    axes.legend(loc="lower left", ncols=2)


def _draw_sine(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "circle, skewed batches")
    levels = data["levels"]
    fine = np.geomspace(1, levels[-1] * 1.2, 60)
    law = svag.svag_third_cumulant_per_time(refinement=fine)
    axes.axhline(0, color=style.GREY, linewidth=0.6)
    axes.plot(fine, data["svag"][0, 0] * law, **style.PREDICTED, label=r"third cumulant per time")
    for name, marker, colour, label in (("svag", "o", style.BLUE, "SVAG"), ("coin_svag", "s", style.VERMILION, "coin")):
        axes.errorbar(levels, data[name][:, 0], 2 * data[name][:, 1], marker=marker, color=colour, elinewidth=0.7,
                      label=label, zorder=6, **OPEN)  # fmt: skip
    axes.errorbar([1], data["gaussian"][:1], 2 * data["gaussian"][1:2], marker="^", color=style.GREEN, elinewidth=0.7,
                  label="SGD, Gaussian", zorder=6, **OPEN)  # fmt: skip
    axes.set(ylabel=r"$E\sin2\varphi-\mathrm{SDE}$")
    axes.legend(loc="upper right")


def _draw_norm(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", r"$E\|w\|^4$ over the SDE's, less 1")
    levels = data["levels"]
    axes.plot(levels, data["svag"][-1, 2] * levels[-1] / levels, **style.PREDICTED, label="$1/l$ and limit")
    axes.axhline(float(data["coin_fourth"]), **style.PREDICTED)
    for name, marker, colour, label in (("svag", "o", style.BLUE, "SVAG"), ("coin_svag", "s", style.VERMILION, "coin")):
        axes.errorbar(levels, data[name][:, 2], 2 * data[name][:, 3], marker=marker, color=colour, elinewidth=0.7,
                      label=label, zorder=6, **OPEN)  # fmt: skip
    axes.errorbar([1], data["gaussian"][2:3], 2 * data["gaussian"][3:], marker="^", color=style.GREEN, elinewidth=0.7,
                  label="SGD, Gaussian", zorder=6, **OPEN)  # fmt: skip
    axes.set(yscale="log", ylabel="excess")
    axes.legend(loc="upper right")


def _draw_cumulants(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "cumulants per time over SGD's")
    for number, (order, marker) in enumerate(zip((2, 3, 4), "os^", strict=True)):
        axes.plot(data["linear_levels"], data["cumulants_predicted"][number], **style.PREDICTED | {"zorder": 1})
        axes.plot(data["linear_levels"], data["cumulants"][number], marker=marker, color=COLOURS[order - 1],
                  label=rf"$\kappa_{order}$", **OPEN)  # fmt: skip
    axes.set(yscale="log", ylabel="ratio")
    axes.legend(loc="lower left")
