"""Fast against slow mixing: even and odd gaps of the direction, exactly (Li, Lyu, Arora 2020; Wang, Wang 2022).

Functions of a network cannot tell a direction from its antipode where the loss cannot; parameters can. The reader
should see, for the plane loss h x^2/|w|^2, the even gap stay above 4 lr wd, where the norm relaxes, while the odd
gap falls like Kramers' rate (a); its logarithm tend to -barrier times beta ~ (lr wd)^(-1/2) in three landscapes (b);
and at one lr wd the loss forgotten in a time in which the side of the start is not (c, d).
"""

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
from sdetheory.spectrum import Spectrum, circle, zonal

CLAIMS = ("I32", "I33", "I9")
CAPTION = """Gaps of the generator of the direction at equilibrium under isotropic noise (sigma = 1), by the spectral
solver, in units of lr wd. (a) L = h x^2/|w|^2 in the plane: gap of functions equal at antipodes (dotted) and opposite
there (solid); dashed: Kramers' rate; grey: rate 4 of the norm; circles: the SDE, crosses: SGD on batches, rates of
simulated autocorrelations of {paths} stationary runs, bars: two standard errors. (b) ln of the odd gap, less ln
of the first point (symbols), for that loss (h = {slope_height:g}), for the same with wells of different depth (tilt
{tilt:g}), and for the Rayleigh quotient -h w_1^2/|w|^2 in three dimensions; dashed: the Eyring-Kramers formula of
each. (c) At lr wd = {shown_product:g}, h = {shown_height:g}: autocorrelation of the loss and of the coordinate along
the minima; circles: the SDE; grey: the relaxation of gamma. (d) Density of the angle at the time marked in (c),
started in one well: histogram of the SDE, lines: solver; dashed: stationary."""

PARAMS: dict[str, Any] = {
    "heights": [0.03, 0.1, 0.3],
    "lowest_product": 1e-5,
    "points": 41,
    "simulated": [[0.03, [0.1, 1e-2, 1e-3]], [0.1, [0.1, 1e-2, 1e-3]], [0.3, [0.1, 1e-2]]],
    "paths": 8192,
    "sgd_least_product": 1e-2,
    "step": 0.05,
    "slope_height": 0.3,
    "tilt": 0.06,
    "slope_products": [1e-3, 1e-5],
    "slope_points": 25,
    "shown_product": 1e-3,
    "shown_height": 0.14,
    "marked": 1.0,
    "lr": 0.1,
    "seed": 33,
}
QUICK = PARAMS | {"points": 11, "slope_points": 12, "simulated": [[0.1, [0.1, 1e-2]]], "paths": 4096}

COLOURS = (style.BLUE, style.VERMILION, style.GREEN)
LANDSCAPES = ("equal wells", "unequal wells", r"sphere, $d=3$")
SYMBOL: dict[str, Any] = {"linestyle": "", "markersize": 3.2, "markerfacecolor": "white", "markeredgewidth": 0.7,
                          "elinewidth": 0.7}  # fmt: skip
FITS = 3  # windows of the slopes in (b)
EVEN_LAGS, ODD_LAGS = (0.25, 1.0), (0.25, 1.0)  # lags of a simulated rate, in units of 1/rate


def _beta(product: Any, dimension: int = 2) -> Any:
    return intrinsic_lr.inverse_temperature(lr=1.0, weight_decay=product, dimension=dimension, noise=1.0)


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Gaps over lr wd, simulated rates, logarithms of gaps in three landscapes, relaxation at one lr wd."""
    products = np.geomspace(1.0, params["lowest_product"], params["points"])
    data = {"products": products, "heights": np.array(params["heights"])}
    for parity in ("even", "odd"):
        data[parity] = np.array([[_plane(h, p).gap(parity) for p in products] for h in params["heights"]])
    data["kramers"] = np.array([mixing.kramers_odd_gap(barrier=h * _beta(products)) for h in params["heights"]])
    bessel = special.iv(0, np.outer(params["heights"], _beta(products)) / 2)
    data |= {"lower": mixing.odd_gap_lower(bessel=bessel), "upper": mixing.odd_gap_upper(bessel=bessel)}
    return data | _simulated(params) | _landscapes(params) | _relaxation(params)


def _plane(height: float, product: float, count: int = 12) -> Spectrum:
    """L = h cos^2 of the angle: minima at +-pi/2, as st.Circle."""
    return circle(([0, 0, height / 2], []), _beta(product), count=count)


def _stationary(found: Spectrum, params: dict[str, Any], product: float, weight: Any = None) -> np.ndarray:
    """Starts (paths, 2) at the equilibrium norm, of density weight x stationary."""
    law = found.density * found.weights * (1 if weight is None else weight(found.nodes))
    rng = np.random.default_rng(params["seed"])
    angles = found.nodes[rng.choice(law.size, params["paths"], p=law / law.sum())]
    angles = angles + (rng.random(params["paths"]) - 0.5) * (found.nodes[1] - found.nodes[0])
    norm = intrinsic_lr.equilibrium_norm(trace=1.0, lr=params["lr"], weight_decay=product / params["lr"])
    return norm * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _run(params: dict[str, Any], height: float, product: float, start: np.ndarray, ts: np.ndarray, sgd: bool) -> Any:
    """(coordinate along the minima, (paths, times); the times used), times in units of 1/(lr wd)."""
    rates = {"lr": params["lr"], "weight_decay": product / params["lr"]}
    dt = 1.0 if sgd else params["step"] / (1 + 2 * height * _beta(product)) / product
    marks = dt * np.maximum(1, np.rint(np.asarray(ts) / product / dt))
    rule, noise = (st.SGD, st.CircleBatch) if sgd else (st.WeightDecaySDE, st.Isotropic)
    run = st.simulate(
        st.Circle(height), rule(**rates), start, marks, noise=noise(1.0), dt=dt, seed=params["seed"], threads=1,
        observe={"along": st.observers.Coordinate(1)}, width=16,
    )  # fmt: skip
    return run["along"], marks * product


def _simulated(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Rows height, lr wd, odd?, SGD?, rate simulated over two lags, its error, the solver's over the same lags."""
    rows = []
    for height, products in params["simulated"]:
        for product in products:
            found = _plane(height, product, 40)
            start = _stationary(found, params, product)
            for odd in (False, True):
                for sgd in (False, True)[: 1 + (product >= params["sgd_least_product"])]:
                    rows.append([height, product, odd, sgd, *_rate(params, found, start, height, product, odd, sgd)])
    return {"simulated": np.array(rows, dtype=float)}


def _rate(params: dict[str, Any], found: Spectrum, start: np.ndarray, height: float, product: float, odd: bool,
          sgd: bool) -> tuple[float, float, float]:  # fmt: skip
    """ln of the ratio of two autocorrelations over the lag between: simulated, standard error, solved."""
    function = (lambda x: x) if odd else (lambda x: x * x)
    observable = lambda angle: function(np.sin(angle))
    lags = np.array(ODD_LAGS if odd else EVEN_LAGS) / found.gap("odd" if odd else "even")
    along, ts = _run(params, height, product, start, lags, sgd)
    first = function(start[:, 1] / np.linalg.norm(start, axis=1)) - found.expectation(observable)
    products = first[:, None] * (function(along) - found.expectation(observable))
    mean, span = products.mean(axis=0), ts[1] - ts[0]
    spread = products / mean
    solved = found.covariance(observable, ts)
    return (np.log(mean[0] / mean[1]) / span, standard_error(spread[:, 0] - spread[:, 1]) / span,
            np.log(solved[0] / solved[1]) / span)  # fmt: skip


def _landscapes(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Slowest rates of three landscapes, (3, points), Eyring-Kramers rates, and barriers times d beta/d(lr wd)^-1/2."""
    h, c = params["slope_height"], params["tilt"]
    products = np.geomspace(*params["slope_products"], params["slope_points"])
    beta, sphere = _beta(products), _beta(products, 3)
    measured = [
        [_plane(h, p).gap("odd") for p in products],
        [circle(([0, -c, -h / 2], []), b).gap() for b in beta],
        [zonal(lambda u: -h * u * u, b, dimension=3).gap("odd") for b in sphere],
    ]
    formula = [
        mixing.kramers_odd_gap(barrier=h * beta),
        sum(_escape(h, c * side, beta) for side in (1, -1)),
        [mixing.antipodal_rate(h * b, 3) for b in sphere],
    ]
    barriers = np.array([h, (h - c / 2) ** 2 / h, h])
    per_root = np.array([beta[0], beta[0], sphere[0]]) * np.sqrt(products[0])
    return {"slope_products": products, "landscapes": np.array(measured), "formula": np.array(formula),
            "slopes_predicted": -barriers * per_root}  # fmt: skip


def _escape(h: float, c: float, beta: np.ndarray) -> np.ndarray:
    """Kramers' rate over lr wd out of the well at pi of L = -h cos^2 - c cos, over both its barriers."""
    curvatures = (2 * h - c) * (4 * h * h - c * c) / (2 * h)
    return beta * np.sqrt(curvatures) / np.pi * np.exp(-beta * (h - c / 2) ** 2 / h)


def _relaxation(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Autocorrelations at one lr wd, solved and simulated, and the law from one well at the marked time."""
    height, product = params["shown_height"], params["shown_product"]
    found = _plane(height, product, 60)
    times = np.geomspace(1e-3, 60, 121)
    lags = np.geomspace(0.01, 30, 13)
    along, ts = _run(params, height, product, start := _stationary(found, params, product), lags, False)
    data = {"time": times, "lags": ts, "gamma": np.exp(-4 * times), "marked": np.array(params["marked"])}
    for name, function in (("loss", lambda x: height * (1 - x * x)), ("along", lambda x: x)):
        observable = lambda angle, f=function: f(np.sin(angle))
        variance, mean = found.covariance(observable, [0.0])[0], found.expectation(observable)
        first = function(start[:, 1] / np.linalg.norm(start, axis=1)) - mean
        moved = first[:, None] * (function(along) - mean) / variance
        data |= {f"solved_{name}": found.covariance(observable, times) / variance,
                 f"at_lags_{name}": found.covariance(observable, ts) / variance,
                 f"sde_{name}": moved.mean(axis=0), f"sde_{name}_error": standard_error(moved)}  # fmt: skip
    weight = lambda angle: ((1 + np.sin(angle)) / 2) ** 8
    start = _stationary(found, params, product, weight)
    run = st.simulate(
        st.Circle(height), st.WeightDecaySDE(params["lr"], product / params["lr"]), start,
        [params["marked"] / product], noise=st.Isotropic(1.0), dt=params["step"] / product / 8, seed=params["seed"] + 1,
        threads=1, keep_states=True, width=16, observe={"along": st.observers.Coordinate(1)},
    )  # fmt: skip
    state = run.states[:, -1]
    data["angles"] = np.arctan2(state[:, 0], state[:, 1])  # from the minimum started at
    data["nodes"] = np.angle(np.exp(1j * (np.pi / 2 - found.nodes)))
    data["density"] = found.density
    return data | {"law": found.law([params["marked"]], weight)[0], "quadrature": found.weights}


def _slopes(data: dict[str, np.ndarray]) -> np.ndarray:
    """(3, FITS): slopes S of ln gap = A - S x + B ln x, x = (lr wd)^(-1/2), over windows of the points."""
    x = data["slope_products"] ** -0.5
    parts = np.array_split(np.arange(x.size), FITS)
    design = lambda at: np.stack([np.ones(at.size), x[at], np.log(x[at])], axis=1)
    return np.array([[np.linalg.lstsq(design(at), np.log(row[at]), rcond=None)[0][1] for at in parts]
                     for row in data["landscapes"]])  # fmt: skip


def _variation(data: dict[str, np.ndarray], folded: bool) -> float:
    """Total variation between the law at the marked time and the stationary one, of the angle or modulo pi."""
    gap = (data["law"] - data["density"]) * data["quadrature"]
    return float(np.abs(gap.reshape(2, -1).sum(axis=0) if folded else gap).sum() / 2)


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    low, rows = data["kramers"] < 1e-2, data["simulated"]
    sgd = rows[:, 3] == 1
    far, z = np.abs(rows[:, 4] / rows[:, 6] - 1), np.abs(rows[:, 4] - rows[:, 6]) / rows[:, 5]
    ratio = _slopes(data) / data["slopes_predicted"][:, None]
    rest = np.abs(data["landscapes"][:, -1] / data["formula"][:, -1] - 1)
    sided = data["law"] @ (data["quadrature"] * (np.abs(data["nodes"]) < np.pi / 2))
    simulated = np.mean(np.abs(data["angles"]) < np.pi / 2)
    deviation = lambda name: np.abs(data[f"sde_{name}"] - data[f"at_lags_{name}"]) / data[f"sde_{name}_error"]
    at = np.searchsorted(data["time"], data["marked"])
    return [
        at_least("even_above_four", data["even"].min(), 4.0, "The even gap is never below {found:.4f} lr wd,"),
        at_most("odd_between_bounds", max(np.max(data["lower"] / data["odd"]), np.max(data["odd"] / data["upper"])),
                1 + 1e-9, "the odd gap nowhere outside its proved bounds;"),
        at_most("odd_is_kramers", np.abs(data["odd"] / data["kramers"] - 1)[low].max(), 0.3,
                f"where it is below 1e-2, Kramers' rate holds within {{found:.0%}}, at the last point within "
                f"{np.abs(data['odd'] / data['kramers'] - 1)[:, -1].min():.1%}, down to a gap of "
                f"{data['odd'].min():.0e} lr wd."),
        at_most("sde_rates", z[~sgd].max(), 4.5,
                f"Simulated rates of the SDE agree with the solver within {far[~sgd].max():.0%} and "
                "{found:.1f} standard errors,"),
        at_most("sgd_rates", far[sgd].max(), 0.35, "those of SGD, at finite effective lr, within {found:.0%}."),
        near("slopes", ratio[:, -1].mean(), 1.0, 0.005,
             "Slopes against (lr wd)^(-1/2), with a free power in front, over the last third of the points: "
             f"{', '.join(f'{x:.4f}' for x in ratio[:, -1])} of barrier times beta (mean {{found:.4f}}),"),
        at_most("slopes_settle", np.abs(ratio - 1).max(), 0.03, "over the other thirds within {found:.1%};"),
        at_most("eyring_kramers", rest.max(), 0.05,
                "the formulas themselves are within {found:.1%} at the last point."),
        at_most("relaxation_follows", max(deviation("loss").max(), deviation("along").max()), 4.5,
                "The simulated autocorrelations are within {found:.1f} standard errors of the solver."),
        at_most("loss_is_forgotten", data["solved_loss"][at], 0.02,
                "At the marked time the loss keeps {found:.0e} of its correlation,"),
        at_least("side_is_not", data["solved_along"][at], 0.9, "the coordinate {found:.0%};"),
        near("share_on_the_side", simulated, sided, 0.02,
             "{found:.1%} of the runs are on the side they started on (solver {expected:.1%});"),
        at_most("function_is_stationary", _variation(data, True), 0.001,
                "folded modulo pi, which is all the loss sees, the law of the angle is stationary within {found:.0e} "
                f"in total variation, unfolded it is {_variation(data, False):.2f} away."),
    ]  # fmt: skip


def _scaled(name: str, factor: Any) -> Any:
    return lambda data: data | {name: data[name] * factor}


def _rows(column: int, factor: float) -> Any:
    """One column of the simulated rates times a factor."""
    return lambda data: data | {"simulated": data["simulated"] * np.where(np.arange(7) == column, factor, 1.0)}


BROKEN = {
    "even_above_four": _scaled("even", 0.9),
    "odd_between_bounds": _scaled("odd", 0.99),
    "odd_is_kramers": _scaled("kramers", 0.7),
    "sde_rates": _rows(4, 1.5),
    "sgd_rates": _rows(4, 1.8),
    "slopes": _scaled("slopes_predicted", 1.02),
    "slopes_settle": _scaled("slopes_predicted", 1.06),
    "eyring_kramers": _scaled("formula", 1.2),
    "relaxation_follows": _scaled("sde_along", 1.2),
    "loss_is_forgotten": lambda data: data | {"solved_loss": data["solved_along"]},
    "side_is_not": lambda data: data | {"solved_along": data["solved_loss"]},
    "share_on_the_side": _scaled("angles", 4.0),
    "function_is_stationary": _scaled("law", 1.01),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Gaps, slopes, relaxation, law."""
    figure, ((gaps, slopes), (relaxation, law)) = style.page(2, 2, 4.4)
    _draw_gaps(gaps, data)
    _draw_slopes(slopes, data)
    _draw_relaxation(relaxation, data)
    _draw_law(law, data)
    return figure


def _draw_gaps(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "gaps on the circle")
    axes.axhline(4, color=style.GREY, linewidth=0.8, zorder=0)
    for number, (height, colour) in enumerate(zip(data["heights"], COLOURS, strict=True)):
        axes.plot(data["products"], data["odd"][number], color=colour, label=f"$h={height:g}$")
        axes.plot(data["products"], data["even"][number], color=colour, linestyle=":")
        shown = data["kramers"][number] < 0.5
        axes.plot(data["products"][shown], data["kramers"][number][shown], **style.PREDICTED)
        for sgd, marker in ((0, "o"), (1, "x")):
            rows = data["simulated"][(data["simulated"][:, 0] == height) & (data["simulated"][:, 3] == sgd)]
            axes.errorbar(rows[:, 1], rows[:, 4], 2 * rows[:, 5], marker=marker, color=colour, zorder=6, **SYMBOL)
    axes.set(xscale="log", yscale="log", ylim=(1e-9, 3e3), xlabel=r"$\eta\lambda$", ylabel=r"gap$/\eta\lambda$")
    axes.text(data["products"][-1], 1.2, "norm: 4", fontsize=6.5, color=style.GREY, va="top")
    axes.margins(x=0.03)
    axes.plot([], [], color=style.BLACK, linestyle=":", label="even")
    axes.plot([], [], color=style.BLACK, label="odd")
    axes.plot([], [], label="Kramers", **style.PREDICTED)
    axes.legend(loc="lower right", ncols=2)


def _draw_slopes(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", r"exponent $(\eta\lambda)^{-1/2}$")
    x = data["slope_products"] ** -0.5
    for number, (name, colour) in enumerate(zip(LANDSCAPES, COLOURS, strict=True)):
        first = np.log(data["landscapes"][number, 0])
        axes.plot(x, np.log(data["formula"][number]) - first, **style.PREDICTED | {"zorder": 1})
        axes.plot(x, np.log(data["landscapes"][number]) - first, color=colour, label=name, linestyle="",
                  marker="os^"[number], markersize=3.2, markerfacecolor="white", markeredgewidth=0.7)  # fmt: skip
    axes.plot([], [], label="Eyring-Kramers", **style.PREDICTED)
    axes.set(xlabel=r"$(\eta\lambda)^{-1/2}$", ylabel=r"$\ln$ gap$/\eta\lambda$")
    axes.legend(loc="lower left")


def _draw_relaxation(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "function against parameter")
    axes.plot(data["time"], data["gamma"], color=style.GREY, linewidth=0.8, label=r"$\gamma$: $e^{-4\eta\lambda t}$")
    names = {"loss": ("loss", style.BLUE), "along": (r"$\bar w_2$", style.VERMILION)}
    for name, (label, colour) in names.items():
        axes.plot(data["time"], data[f"solved_{name}"], color=colour, label=label)
        error = 2 * data[f"sde_{name}_error"]
        axes.errorbar(data["lags"], data[f"sde_{name}"], error, color=colour, marker="o", **SYMBOL)
    axes.axvline(data["marked"], color=style.BLACK, linewidth=0.5, linestyle=":")
    axes.set(xscale="log", xlabel=r"$t\,\eta\lambda$", ylabel="autocorrelation", ylim=(-0.05, 1.08))
    axes.legend(loc="center left")


def _draw_law(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", rf"law of the angle at $t\,\eta\lambda={float(data['marked']):g}$")
    order = np.argsort(data["nodes"])
    axes.hist(data["angles"], bins=np.linspace(-np.pi, np.pi, 61), density=True, color=style.SKY, alpha=0.5,
              label="SDE")  # fmt: skip
    axes.plot(data["nodes"][order], data["law"][order], color=style.BLUE, label="solver")
    axes.plot(data["nodes"][order], data["density"][order], **style.PREDICTED, label="stationary")
    axes.set(xlabel="angle from the minimum of the start", ylabel="density", xlim=(-np.pi, np.pi))
    axes.set_xticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], [r"$-\pi$", r"$-\pi/2$", "0", r"$\pi/2$", r"$\pi$"])
    axes.legend(loc="upper left")
