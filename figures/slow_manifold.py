"""Minimisers that form a manifold: mixing in O(1/(lr wd)) steps (analogue of Li, Wang, Yu 2022, Fast mixing).

Where the minimisers are connected no barrier has to be crossed: the direction diffuses along them at a rate
proportional to lr wd, however low. The reader should see the rate over lr wd tend to the constant of the limiting
diffusion, flat or with a width that varies along the manifold, but collapse once a small slope along the manifold
leaves two isolated minima (a); the clock K(T) collapse the decay from |w_0| = 1 at all lr wd (b), which the
number of steps does not (c); and the longitude spend its time where the valley is wide (d).
"""

from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import special

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, near
from figures.press.measured import standard_error
from sdetheory.predictions import intrinsic_lr, mixing
from sdetheory.spectrum import circle, zonal

CLAIMS = ("I50", "I51", "I33")
CAPTION = """Minimisers form the equator of the sphere in three dimensions; isotropic noise, lr/wd = {ratio:g}
throughout. (a) Rate over lr wd at which x, y (or both) are forgotten: valley of sharpness {mean:g} everywhere (flat);
of sharpness {mean:g} + {amplitude:g} cos(longitude); and flat but for -{tilt:g} x^2, which leaves two minima. Circles:
SDE, {paths} stationary runs, crosses: SGD, {sgd_paths}, bars: two standard errors; dashed: limiting diffusion on the
equator; line: the generator on the sphere (flat). (b) Flat valley from |w_0| = 1: mean of x/|w| under SGD at step
K(T); dashed: its limit (1 + S T/2)^(-1/8). (c) The same against the number of steps. (d) Longitude of the SDE at
lr wd = {law_product:g} where the width varies, 8/(lr wd) steps after an even start; dashed: the law
sharpness^(-1/2)."""

PARAMS: dict[str, Any] = {
    "products": [1e-1, 1e-2, 1e-3, 3e-4, 1e-4],
    "sgd_products": [1e-2, 1e-3],
    "tilt_products": [1e-1, 1e-2, 1e-3],
    "clock_products": [1e-2, 1e-3, 1e-4],
    "law_product": 1e-3,
    "ratio": 0.1,
    "mean": 2.0,
    "amplitude": 1.6,
    "tilt": 0.05,
    "longest": 1e5,
    "fitted_below": 2e-2,
    "paths": 8192,
    "sgd_paths": 2048,
    "step": 0.2,
    "seed": 51,
}
QUICK = PARAMS | {
    "products": [1e-1, 1e-2, 1e-3],
    "sgd_products": [1e-2],
    "tilt_products": [1e-1, 1e-2, 1e-3],
    "clock_products": [1e-2, 1e-3],
    "paths": 4096,
}

VALLEYS = ("flat", "varying", "tilted")
HARMONICS = {"x": np.cos, "y": np.sin}
CURVES = (("flat", "xy"), ("varying", "x"), ("varying", "y"), ("tilted", "x"))  # valley, harmonics watched
COLOURS = (style.BLUE, style.GREEN, style.PURPLE, style.VERMILION)
LABELS = ("flat valley", "width varies: $x$", "width varies: $y$", "two minima: $x$")
LAST = len(CURVES) - 1
CLOCK_COLOURS = (style.ORANGE, style.SKY, style.BLACK)
SYMBOL: dict[str, Any] = {"linestyle": "", "markersize": 3.4, "markerfacecolor": "white", "markeredgewidth": 0.7}
TRACE = 2.0  # sigma = 1, d = 3
SLOWER = 2.0  # the plane's time lr wd is this many of the sphere's: D = lr wd/(d - 1)


def _beta(product: Any) -> Any:
    return intrinsic_lr.inverse_temperature(lr=1.0, weight_decay=product, dimension=3, noise=1.0)


def _rates(params: dict[str, Any], product: float) -> dict[str, float]:
    """lr and weight decay of a product, at their fixed ratio."""
    lr = float(np.sqrt(product * params["ratio"]))
    return {"lr": lr, "weight_decay": product / lr}


def _model(params: dict[str, Any], valley: str) -> Any:
    if valley == "tilted":
        return st.Rayleigh([-params["tilt"], 0.0, params["mean"] / 2])
    return st.Equator(params["mean"], params["amplitude"] if valley == "varying" else 0.0)


def _sharpness(params: dict[str, Any], valley: str, longitude: np.ndarray) -> np.ndarray:
    """Curvature of the loss across the equator."""
    if valley == "tilted":
        return params["mean"] + 2 * params["tilt"] * np.cos(longitude) ** 2
    return params["mean"] + (params["amplitude"] if valley == "varying" else 0.0) * np.cos(longitude)


def _limit(params: dict[str, Any], valley: str, product: float) -> Any:
    """The limiting diffusion of the longitude: potential of mean force beta L + ln(sharpness)/2 on the circle."""
    tilt = params["tilt"] if valley == "tilted" else 0.0
    return _mean_force(params["mean"], params["amplitude"] if valley == "varying" else 0.0, tilt, _beta(product) * tilt)


@cache
def _mean_force(mean: float, amplitude: float, tilt: float, depth: float) -> Any:
    sharpness = lambda a: mean + amplitude * np.cos(a) + 2 * tilt * np.cos(a) ** 2
    return circle(lambda a: np.log(sharpness(a)) / 2 - depth * np.cos(a) ** 2, 1.0, count=24)


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Rates of three valleys simulated and predicted, decays on the clock K(T), law of the longitude."""
    runs = [(valley, product, False) for valley in VALLEYS
            for product in params["tilt_products" if valley == "tilted" else "products"]]  # fmt: skip
    runs += [(valley, product, True) for valley in VALLEYS[:2] for product in params["sgd_products"]]
    rows = [row for number, run in enumerate(runs)
            for row in _rows(params | {"seed": params["seed"] + 2 * number}, *run)]  # fmt: skip
    fine = np.geomspace(0.2, 2e-5, 31)
    loss = lambda u: params["mean"] / 2 * u * u
    exact = [zonal(loss, _beta(p), dimension=3, degree=1, count=2).rates[0] for p in fine]
    limits = [[_predicted(params, *curve, p) for p in fine[fine > 1e-4]] for curve in CURVES]
    data = {"rows": np.array(rows), "fine": fine, "exact": np.array(exact),
            "limits": np.array(limits), "fitted_below": np.array(params["fitted_below"]),
            "flat_rate": np.array(mixing.great_sphere_rate(dimension=3))}  # fmt: skip
    return data | _clock(params) | _law(params)


def _lags(params: dict[str, Any], valley: str, product: float) -> np.ndarray:
    """Two lags in units of 1/(lr wd): 0.3 and 1.3 times the slowest limit's."""
    return np.array([0.3, 1.3]) * SLOWER / _limit(params, valley, product).rates[0]


def _predicted(params: dict[str, Any], valley: str, watched: str, product: float) -> float:
    """The rate of the limit between the two lags."""
    return _two_lags(_limit(params, valley, product), watched, _lags(params, valley, product))


def _two_lags(limit: Any, watched: str, lags: np.ndarray) -> float:
    """ln of the ratio of two autocorrelations of the harmonics watched (summed), over the lag between."""
    sums = sum(limit.covariance(HARMONICS[name], lags / SLOWER) for name in watched)
    return float(np.log(sums[0] / sums[1]) / (lags[1] - lags[0]))


def _start(params: dict[str, Any], valley: str, product: float, paths: int) -> np.ndarray:
    """Stationary directions (the law exp(-beta L)) at the equilibrium norm."""
    rng, beta = np.random.default_rng(params["seed"]), _beta(product)
    grid = 2 * np.pi * np.arange(4096) / 4096
    width = lambda a: np.sqrt(beta * _sharpness(params, valley, a) / 2)
    law = special.erf(width(grid)) / width(grid)
    if valley == "tilted":
        law = law * np.exp(beta * params["tilt"] * np.cos(grid) ** 2)
    longitude = grid[rng.choice(grid.size, paths, p=law / law.sum())]
    z = special.erfinv((2 * rng.random(paths) - 1) * special.erf(width(longitude))) / width(longitude)
    across = np.sqrt(1 - z * z)
    norm = intrinsic_lr.equilibrium_norm(trace=TRACE, **_rates(params, product))
    return norm * np.stack([across * np.cos(longitude), across * np.sin(longitude), z], axis=1)


def _run(params: dict[str, Any], valley: str, product: float, start: np.ndarray, ts: np.ndarray, sgd: bool) -> Any:
    """x and y of the direction at the times ts (in steps, rounded to the step used)."""
    rates, model = _rates(params, product), _model(params, valley)
    stiff = 1 + _beta(product) * (params["mean"] + params["amplitude"]) / 2
    dt = 1.0 if sgd else max(params["step"] / stiff / product, 1e-3)
    marks = dt * np.maximum(1, np.rint(np.asarray(ts) / dt))
    return st.simulate(
        model, st.SGD(**rates) if sgd else st.WeightDecaySDE(**rates), start, marks, noise=st.Isotropic(1.0), dt=dt,
        observe={"x": st.observers.Coordinate(0), "y": st.observers.Coordinate(1)}, seed=params["seed"] + 1,
        threads=1, width=16, keep_states=True,
    )  # fmt: skip


def _rows(params: dict[str, Any], valley: str, product: float, sgd: bool) -> list[list[float]]:
    """Per curve of a valley: curve, lr wd, SGD?, rate over lr wd between two lags, standard error, limit's rate."""
    start = _start(params, valley, product, params["sgd_paths" if sgd else "paths"])
    limit = _limit(params, valley, product)
    run = _run(params, valley, product, start, _lags(params, valley, product) / product, sgd)
    unit = start / np.linalg.norm(start, axis=1, keepdims=True)
    lags, rows = run.ts * product, []
    for curve in (c for c in CURVES if c[0] == valley):
        moved = np.zeros_like(run["x"])
        for name in curve[1]:
            mean = limit.expectation(HARMONICS[name])
            moved += (unit[:, "xy".index(name), None] - mean) * (run[name] - mean)
        means, span = moved.mean(axis=0), lags[1] - lags[0]
        error = float(standard_error(moved[:, 0] / means[0] - moved[:, 1] / means[1])) / span
        rows.append([CURVES.index(curve), product, sgd, float(np.log(means[0] / means[1])) / span, error,
                     _two_lags(limit, curve[1], lags)])  # fmt: skip
    return rows


def _clock(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Mean of x/|w| under SGD in the flat valley from w_0 = (1, 0, 0), at steps K(T)."""
    T = np.geomspace(0.3, params["longest"], 12)
    found = []
    for product in params["clock_products"]:
        rates = _rates(params, product)
        steps = np.rint(mixing.mixing_steps(slow_time=T, **rates))
        start = np.tile([1.0, 0.0, 0.0], (params["sgd_paths"], 1))
        run = _run(params, "flat", product, start, steps, True)
        found.append((steps, run["x"].mean(axis=0), standard_error(run["x"])))
    steps, means, errors = (np.array(part) for part in zip(*found, strict=True))
    limit = mixing.log_slow_correlation(slow_time=T, trace=TRACE, squared_norm0=1.0,
                                        slow_rate=mixing.great_sphere_rate(dimension=3))  # fmt: skip
    return {"T": T, "steps": steps, "clock": means, "clock_error": errors, "clock_limit": np.exp(limit),
            "clock_products": np.array(params["clock_products"])}  # fmt: skip


def _law(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Longitudes of the SDE from a start spread evenly, long after, and the predicted density."""
    product, paths = params["law_product"], params["paths"]
    rng = np.random.default_rng(params["seed"])
    turn = 2 * np.pi * rng.random(paths)
    norm = intrinsic_lr.equilibrium_norm(trace=TRACE, **_rates(params, product))
    start = norm * np.stack([np.cos(turn), np.sin(turn), np.zeros(paths)], axis=1)
    state = _run(params, "varying", product, start, np.array([8.0 / product]), False).states[:, -1]
    grid = np.linspace(-np.pi, np.pi, 361)
    density = _sharpness(params, "varying", grid) ** -0.5
    return {"longitudes": np.arctan2(state[:, 1], state[:, 0]), "longitude_grid": grid,
            "longitude_law": density / np.trapezoid(density, grid)}  # fmt: skip


def _exponent(data: dict[str, np.ndarray], curve: int) -> tuple[float, float]:
    """Slope of ln(rate per step) in ln(lr wd) below `fitted_below` (SDE), and its standard error."""
    rows = data["rows"][(data["rows"][:, 0] == curve) & (data["rows"][:, 2] == 0)]
    rows = rows[rows[:, 1] <= data["fitted_below"]]
    weights = (rows[:, 3] / rows[:, 4]) ** 2
    x = np.log(rows[:, 1])
    x = x - x @ weights / weights.sum()
    total = weights @ x**2
    return float(x @ (weights * np.log(rows[:, 3] * rows[:, 1])) / total), float(total**-0.5)


def _mean_cosine(data: dict[str, np.ndarray]) -> tuple[float, float]:
    """Mean cosine of the longitude: simulated, predicted."""
    grid, law = data["longitude_grid"], data["longitude_law"]
    return float(np.cos(data["longitudes"]).mean()), float(np.trapezoid(law * np.cos(grid), grid))


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    rows = data["rows"]
    slopes = [_exponent(data, curve) for curve in range(len(CURVES))]
    wide = [slope for slope, _ in slopes[1:LAST]]
    error = 2 * max(error for _, error in slopes[:LAST])
    sde, sgd = rows[rows[:, 2] == 0], rows[rows[:, 2] == 1]
    flat = sde[sde[:, 0] == 0]
    exact = np.interp(np.log(flat[:, 1][::-1]), np.log(data["fine"][::-1]), data["exact"][::-1])[::-1]
    low = rows[(rows[:, 1] <= data["fitted_below"]) & (rows[:, 0] < LAST)]
    tilted = sde[(sde[:, 0] == LAST) & (sde[:, 1] <= data["fitted_below"])]
    collapse = np.abs(data["clock"][-1] - data["clock_limit"])
    spread = data["clock"].max(axis=0) - data["clock"].min(axis=0)
    cosine = _mean_cosine(data)
    return [
        near("flat_exponent", slopes[0][0], 1.0, 0.01 + 4 * slopes[0][1],
                "The rate per step grows like (lr wd)^p with p = {found:.3f} in the flat valley"),
        at_most("varying_exponents", max(abs(slope - 1) for slope in wide), 0.01 + 2 * error,
                f"and {wide[0]:.3f} and {wide[1]:.3f} where the width varies (+- {error:.3f}, two standard errors),"),
        at_least("tilted_exponent", slopes[LAST][0], 1.2,
                 "but {found:.2f} and growing with two minima left."),
        near("limit_of_the_flat_rate", data["exact"][-1] / data["flat_rate"], 1.0, 0.01,
             "On the sphere the flat rate is {found:.4f} of its limit (d - 2)/(d - 1) lr wd at the last point,"),
        at_most("flat_as_solved", (np.abs(flat[:, 3] - exact) / flat[:, 4]).max(), 4.5,
                "the SDE within {found:.1f} standard errors of the generator's at every point;"),
        at_most("limit_diffusion", np.abs(low[:, 3] / low[:, 5] - 1).max(), 0.2,
                "SDE and SGD are within {found:.0%} of the limiting diffusion at the lower lr wd,"),
        at_most("tilted_as_limit", np.abs(tilted[:, 3] / tilted[:, 5] - 1).max(), 0.25,
                "with two minima within {found:.0%}."),
        at_most("sgd_rate", np.abs(sgd[:, 3] / sgd[:, 5] - 1).max(), 0.2, "SGD alone is within {found:.0%}."),
        at_most("clock_collapses", collapse.max(), 0.05,
                "On the clock K(T) the decay at the lowest lr wd is within {found:.3f} of its limit "
                f"({(collapse / data['clock_error'][-1]).max():.1f} standard errors),"),
        at_most("all_products_agree", spread.max(), 0.06, "and all lr wd agree within {found:.3f},"),
        at_least("steps_do_not", float(data["steps"][0, -1] / data["steps"][-1, -1]) ** -1, 5.0,
                 "at numbers of steps that differ {found:.0f}-fold."),
        near("wide_parts_are_favoured", cosine[0], cosine[1], 0.03,
             "The mean cosine of the longitude is {found:.3f} (law: {expected:.3f})."),
    ]  # fmt: skip


def _scaled(name: str, factor: Any) -> Any:
    return lambda data: data | {name: data[name] * factor}


def _tampered(curves: Any, power: float, column: int = 3) -> Any:
    """Rates of some curves times (lr wd)^power or, for the limit's column, times 1 + power."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = data["rows"].copy()
        hit = np.isin(rows[:, 0], curves)
        rows[hit, column] *= rows[hit, 1] ** power if column == 3 else 1 + power
        return data | {"rows": rows}

    return spoil


BROKEN = {
    "flat_exponent": _tampered([0], -0.3),
    "varying_exponents": _tampered([2], -0.4),
    "tilted_exponent": _tampered([LAST], -0.6),
    "limit_of_the_flat_rate": _scaled("flat_rate", 1.5),
    "flat_as_solved": _tampered([0], 0.1),
    "limit_diffusion": _tampered(range(LAST), 1.0, 5),
    "tilted_as_limit": _tampered([LAST], 1.0, 5),
    "sgd_rate": _tampered(range(LAST), 1.0, 5),
    "clock_collapses": _scaled("clock_limit", 1.2),
    "all_products_agree": lambda data: data | {"clock": data["clock"] ** np.arange(1, 1 + len(data["clock"]))[:, None]},
    "steps_do_not": lambda data: data | {"steps": data["steps"] ** 0},
    "wide_parts_are_favoured": lambda data: data | {"longitudes": data["longitudes"] + np.pi},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Rates, the clock, the steps, the law."""
    figure, ((rates, clock), (steps, law)) = style.page(2, 2, 4.4)
    _draw_rates(rates, data)
    _draw_decay(clock, data, "T")
    _draw_decay(steps, data, "steps")
    _draw_law(law, data)
    return figure


def _draw_rates(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "rate along the minimisers")
    axes.plot(data["fine"], data["exact"], color=COLOURS[0], linewidth=0.8)
    for number in range(len(CURVES)):
        axes.plot(data["fine"][: data["limits"].shape[1]], data["limits"][number], **style.PREDICTED | {"zorder": 1})
        for sgd, marker in ((0, "o"), (1, "x")):
            rows = data["rows"][(data["rows"][:, 0] == number) & (data["rows"][:, 2] == sgd)]
            axes.errorbar(rows[:, 1], rows[:, 3], 2 * rows[:, 4], marker=marker, color=COLOURS[number],
                          label=None if sgd else LABELS[number], elinewidth=0.7, **SYMBOL)  # fmt: skip
    axes.plot([], [], label="limit", **style.PREDICTED)
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta\lambda$", ylabel=r"rate$/\eta\lambda$", ylim=(0.03, 1.2))
    axes.legend(loc="lower right")


def _draw_decay(axes: Axes, data: dict[str, np.ndarray], against: str) -> None:
    clock = against == "T"
    style.letter(axes, "b" if clock else "c", r"at step $K(T)$" if clock else "against steps")
    for number, product in enumerate(data["clock_products"]):
        where = data["T"] if clock else data["steps"][number]
        if not clock:
            axes.plot(where, data["clock_limit"], **style.PREDICTED | {"zorder": 1})
        axes.errorbar(where, data["clock"][number], 2 * data["clock_error"][number], marker="os^"[number],
                      color=CLOCK_COLOURS[number], elinewidth=0.7, label=rf"$\eta\lambda={style.power(product)}$",
                      **SYMBOL)  # fmt: skip
    if clock:
        axes.plot(data["T"], data["clock_limit"], **style.PREDICTED | {"zorder": 1}, label=r"$(1+ST/2)^{-1/8}$")
    axes.set(xscale="log", ylabel=r"$E\,x/\|w\|$", ylim=(0, 1.05),
             xlabel=r"$T$" if clock else "steps")  # fmt: skip
    axes.legend(loc="lower left")


def _draw_law(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "law of the longitude")
    axes.hist(data["longitudes"], bins=np.linspace(-np.pi, np.pi, 41), density=True, color=style.SKY, alpha=0.5,
              label="SDE")  # fmt: skip
    axes.plot(data["longitude_grid"], data["longitude_law"], **style.PREDICTED, label=r"$\propto\lambda_1^{-1/2}$")
    axes.set(xlabel="longitude", ylabel="density", xlim=(-np.pi, np.pi), ylim=(0, None))
    axes.set_xticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], [r"$-\pi$", r"$-\pi/2$", "0", r"$\pi/2$", r"$\pi$"])
    axes.legend(loc="lower center")
