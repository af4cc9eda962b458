"""The regularity parameter: what it is worth, what loss landscapes promise, and why it ends at the edge of stability.

The reader should see gamma = 2 - lr lambda_max of gradient descent on quadratics, attained on the top eigenvector and
zero at the edge of stability (a); the same near the minimum of a network, with its sharpness (b); how much of what
star-convexity, quasar-convexity, the restricted secant inequality and convexity promise can be lost (c); and that the
theorem's bound on the mean loss, computed with the last iterate and the mean gamma, is the mean loss itself, for
random walks and ascents as for training (d).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import minimize

from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most
from figures.press.landscapes import LANDSCAPES
from sdetheory.networks import digits, mlp
from sdetheory.networks.sharpness import lanczos
from sdetheory.predictions import regularity as predicted
from sdetheory.regularity import PathRegularity, regularity

CLAIMS = ("B2", "B3", "B4", "B5", "B6")
CAPTION = """The regularity parameter gamma_k = (D_k - D_(k+1))/(2 lr (l_k - l*)), D the squared distance to a
reference; dashed: predictions. (a) Gradient descent on a quadratic loss in {dimension} dimensions, condition number
{condition:g}, reference: the minimiser; circles: start on the top eigenvector; band: from the smallest to the largest
gamma of {steps} steps from {starts} random starts. (b) Full-batch descent of a tanh network
{widths[0]}-{widths[1]}-{widths[2]} on {examples} digits with an L2 penalty of {penalty:g}/2 |w|^2, starting {away:g}
away from a minimum found beforehand: along the top eigenvector of its Hessian (circles, {minima} minima) and the
smallest gamma of {net_steps} steps from random directions (squares). (c) Smallest gamma on a grid of points (symbols)
against what the condition promises, up to the learning rate at which the promise ends. (d) The theorem's bound of the
mean loss over the mean loss, for least squares that can be interpolated, {runs} runs a rule and learning rate of {long}
steps, batches of {batch}: with the last iterate as reference and the loss-weighted mean of gamma (points), and with the
known minimiser and the smallest gamma (crosses; runs where that is not positive have no bound: their share)."""

PARAMS: dict[str, Any] = {
    "dimension": 12,
    "condition": 30.0,
    "steps": 60,
    "starts": 40,
    "widths": [64, 8, 10],
    "examples": 400,
    "penalty": 3e-3,
    "minima": 5,
    "away": 1e-3,
    "net_steps": 150,
    "runs": 8,
    "long": 400,
    "batch": 4,
    "seed": 21,
}
QUICK = PARAMS | {"starts": 10, "examples": 200, "penalty": 1e-2, "minima": 2, "net_steps": 60, "long": 200}

EDGES = np.array([0.1, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 1.95, 2.05, 2.2])  # lr times the largest curvature
SHARES = np.linspace(0.05, 1.0, 11)  # of the learning rate up to which something is promised
RULES = ("SGD", "momentum", "Adam", "random walk", "ascent")
RATES = {"SGD": (0.02, 0.1), "momentum": (2e-3, 0.02), "Adam": (3e-3, 0.03), "random walk": (0.1,), "ascent": (1e-3,)}
LABELS = {
    "pseudo-Huber": "convex", "star-convex": "star-convex", "quasar-convex": r"quasar-convex, $\tau=1/2$",
    "restricted secant": "restricted secant",
}  # fmt: skip
SYMBOLS = dict(zip(LABELS, "os^D", strict=True))
COLOURS = dict(zip(LABELS, (style.BLACK, style.BLUE, style.VERMILION, style.GREEN), strict=True))
HUES = dict(zip(RULES, (style.BLUE, style.GREEN, style.VERMILION, style.GREY, style.PURPLE), strict=True))
OPEN: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 0.7, "markersize": 3.2, "linestyle": ""}
VISIBLE = 1e-12  # loss above its minimum, relative to that of the start, below which rounding decides


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """gamma on quadratics, near minima of a network, on landscapes; bounds and mean losses of many runs."""
    return {"edges": EDGES, "shares": SHARES} | _quadratic(params) | _network(params) | _landscapes() | _bounds(params)


def _descended(
    gradient: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], start: np.ndarray, lr: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Iterates (E, steps + 1, P) and losses (E, steps) of gradient descent with rates (E,)."""
    path, losses = [start], []
    for _ in range(steps):
        loss, slope = gradient(path[-1])
        losses.append(loss)
        path.append(path[-1] - lr[:, None] * slope)
    return np.stack(path, axis=1), np.stack(losses, axis=1)


def _visible(seen: PathRegularity) -> np.ndarray:
    """gamma of the steps that rounding does not decide, NaN elsewhere."""
    return np.where(seen.excess > VISIBLE * seen.excess[:, :1], seen.gamma, np.nan)


def _quadratic(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """On the top eigenvector and from random starts, for each learning rate."""
    a = np.geomspace(1.0, 1 / params["condition"], params["dimension"])
    draw, starts = np.random.default_rng(params["seed"]), params["starts"]
    top, out = np.eye(len(a))[:1], {"quadratic_top": [], "quadratic_low": [], "quadratic_high": []}
    for edge in EDGES:
        start = np.concatenate([top, draw.standard_normal((starts, len(a)))])
        path, loss = _descended(lambda w: (w**2 @ a / 2, w * a), start, np.full(len(start), edge), params["steps"])
        gamma = _visible(regularity(path, loss, edge, reference=np.zeros(len(a))))
        out["quadratic_top"].append(gamma[0, np.isfinite(gamma[0])][-1])
        out["quadratic_low"].append(np.nanmin(gamma[1:]))
        out["quadratic_high"].append(np.nanmax(gamma[1:]))
    return {name: np.array(values) for name, values in out.items()}


def _network(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """The same near minima of a network: first step along the top eigenvector, smallest gamma from elsewhere."""
    net = mlp(params["widths"], activation="tanh", normalised=False)
    data, penalty = digits().subset(slice(0, params["examples"])), params["penalty"]

    def gradient(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        loss, slope = net.gradient(w, data.inputs, data.labels)
        return loss + penalty / 2 * (w**2).sum(axis=1), slope + penalty * w

    rows: dict[str, list] = {"net_top": [], "net_low": [], "net_sharpness": [], "net_slope": []}
    for seed in params["seed"] + np.arange(params["minima"]):
        w, least, slope = _minimum(gradient, net.start([seed])[0])
        sharpness, top = _top(gradient, w)
        other = np.random.default_rng(seed).standard_normal(net.size)
        away = params["away"] * np.stack([top, other / np.linalg.norm(other)])
        lr = np.repeat(EDGES / sharpness, 2)
        path, loss = _descended(gradient, w + np.tile(away, (len(EDGES), 1)), lr, params["net_steps"])
        seen = regularity(path, loss, lr[:, None], reference=w, least_loss=np.minimum(least, loss.min()))
        gamma = np.where(seen.excess > 1e-4 * seen.excess[:, :1], seen.gamma, np.nan)
        rows["net_top"].append(gamma[::2, 0])
        rows["net_low"].append(np.nanmin(gamma[1::2], axis=1))
        rows["net_sharpness"].append(sharpness)
        rows["net_slope"].append(slope)
    return {name: np.array(values) for name, values in rows.items()}


def _minimum(gradient: Callable, start: np.ndarray) -> tuple[np.ndarray, float, float]:
    """A minimum, its loss and |gradient| there."""

    def one(w: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = gradient(w[None])
        return float(loss[0]), slope[0]

    settings = {"maxiter": 4000, "maxfun": 5000, "ftol": 1e-16, "gtol": 1e-10}
    w = minimize(one, start, jac=True, method="L-BFGS-B", options=settings).x
    loss, slope = one(w)
    return w, loss, float(np.linalg.norm(slope))


def _top(gradient: Callable, w: np.ndarray) -> tuple[float, np.ndarray]:
    """Largest eigenvalue of the Hessian, and its eigenvector."""
    step = 1e-5

    def product(v: np.ndarray) -> np.ndarray:
        ahead, behind = np.split(gradient(np.concatenate([w + step * v, w - step * v]))[1], 2)
        return (ahead - behind) / (2 * step)

    value, vector = lanczos(product, np.cos(np.arange(len(w)) ** 1.5)[None], 1e-7, 100)
    return float(value[0]), vector[0]


def _landscapes() -> dict[str, np.ndarray]:
    """Smallest gamma on the grid and what is promised, for each landscape and learning rate."""
    data = {}
    for name, one in LANDSCAPES.items():
        last = {"convex": 2.0, "quasar": one.constant, "restricted": 2 * one.constant / one.smoothness}[one.kind]
        lr = SHARES * last / one.smoothness
        data[f"{name}_found"] = np.array([np.nanmin(one.gamma(rate)) for rate in lr])
        data[f"{name}_promised"] = one.promised(lr)
    return data


def _bounds(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Mean loss and two bounds of it, for each rule: (learning rates times runs,)."""
    data = {}
    for rule in RULES:
        rows = []
        for rate in RATES[rule]:
            for run in range(params["runs"]):
                draw = np.random.default_rng([params["seed"], run])
                rows.append(_bound(rule, rate, params["long"], params["batch"], draw))
        for name, values in zip(("mean", "tautology", "smallest", "known", "far"), np.array(rows).T, strict=True):
            data[f"{rule}_{name}"] = values
    return data


def _bound(rule: str, lr: float, steps: int, batch: int, draw: np.random.Generator) -> list[float]:
    """Mean loss; its bounds by the last iterate with mean and smallest gamma, by the minimiser; D_T/D_0 there."""
    inputs, target, w = draw.standard_normal((40, 8)), draw.standard_normal(8), np.zeros(8)
    m, v, path, losses = np.zeros(8), np.zeros(8), [w], []
    for k in range(1, steps + 1):
        x = inputs[draw.integers(0, 40, batch)]
        error = x @ (w - target)
        losses.append(np.mean(error**2) / 2)
        g = error @ x / batch
        m = {"momentum": 0.9 * m + g, "Adam": 0.9 * m + 0.1 * g}.get(rule, g)
        v = 0.999 * v + 0.001 * g * g
        adam = m / (1 - 0.9**k) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
        U = {"Adam": adam, "random walk": draw.standard_normal(8), "ascent": -g}.get(rule, m)
        w = w - lr * U
        path.append(w)
    last, known = (regularity(np.array(path), np.array(losses), lr, reference=r) for r in ("final", target))
    far = known.squared_distance[0, -1] / known.squared_distance[0, 0]
    return [last.mean_excess[0], last.bound(last.mean)[0], last.bound()[0], known.bound()[0], far]


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    line = predicted.quadratic_regularity(lr=data["edges"], smoothness=1.0)
    stable = data["edges"] < 2
    off = np.abs(data["net_top"] - line)
    slack = {name: (data[f"{name}_found"] - data[f"{name}_promised"]) for name in LABELS}
    lost = np.ptp(data["star-convex_found"]) / np.ptp(data["star-convex_promised"])
    ratio = {rule: data[f"{rule}_tautology"] / data[f"{rule}_mean"] for rule in RULES}
    known = {rule: data[f"{rule}_known"] / data[f"{rule}_mean"] for rule in RULES}
    slow, fast = np.split(data["SGD_mean"], 2)[0], np.split(data["momentum_mean"], 2)[1]  # both at lr = 0.02
    return [
        at_most("quadratic_on_the_line", np.abs(data["quadratic_top"] - line).max(), 1e-9,
                "On the top eigenvector gamma is 2 - lr lambda_max to {found:.0e},"),
        at_least("nowhere_below", (data["quadratic_low"] - line).min(), -1e-9,
                 "and from no start is it smaller (least difference {found:.1e});"),
        at_most("beyond_the_edge", data["quadratic_low"][~stable].max(), 0.0,
                "beyond the edge it becomes negative, to {found:.2f} or below at each rate."),
        at_most("minima_found", data["net_slope"].max(), 1e-5,
                "At the minima of the network |gradient| is {found:.0e};"),
        at_most("network_on_the_line", off.max(), 0.01,
                "along the top eigenvector gamma differs from 2 - lr lambda_max by at most {found:.4f},"),
        at_least("network_random_above", (data["net_low"] - line)[:, stable].min(), -0.01,
                 "and from random directions is not smaller while it is stable (least difference {found:.2f})."),
        at_least("promises_kept", min(value.min() for value in slack.values()), -1e-9,
                 "Every promise of (c) is kept (smallest slack {found:.1e});"),
        at_most("convex_attained", slack["pseudo-Huber"].max(), 1e-4,
                "that of convexity is attained to {found:.0e},"),
        at_least("star_nearly", lost, 2 / 3,
                 "in curved valleys star-convexity loses {found:.0%} of the range it may lose,"),
        at_least("restricted_loose", slack["restricted secant"].min(), 0.2,
                 "while the restricted secant example keeps {found:.2f} more than promised."),
        at_most("tautology", max(np.abs(value - 1).max() for value in ratio.values()), 1e-9,
                "The last iterate and the mean gamma give the mean loss back, to {found:.0e}, for every run,"),
        at_least("also_where_nothing_is_learnt", min(data["random walk_far"].min(), data["ascent_far"].min()), 0.25,
                 "also for walks and ascents, which keep {found:.1f} of the squared distance to the target or more."),
        at_least("sgd_has_content", np.isfinite(known["SGD"]).mean(), 0.9,
                 "With the known minimiser {found:.0%} of the runs of SGD have a bound,"),
        at_least("bounds_hold", min(value.min() for value in known.values()), 1.0,
                 "which is never below {found:.2f} times the mean loss,"),
        at_most("none_where_nothing_is_learnt", np.isfinite(known["random walk"] + known["ascent"]).mean(), 0.0,
                "and {found:.0%} of the walks and ascents."),
        at_least("momentum_is_faster", (fast < slow).mean(), 0.9,
                 "Momentum at lr = 0.02 has a smaller mean loss than SGD there in {found:.0%} of the runs,"),
        at_most("momentum_has_no_bound", np.isfinite(known["momentum"][len(fast):]).mean(), 0.1,
                "and {found:.0%} of them have a bound: a positive gamma is not needed to be fast."),
    ]  # fmt: skip


def _moved(name: str, by: Any, times: Any = 1.0) -> Any:
    """Spoil one array."""
    return lambda data: data | {name: data[name] * times + by}


BROKEN = {
    "quadratic_on_the_line": _moved("quadratic_top", 1e-6),
    "nowhere_below": _moved("quadratic_low", -2.0),
    "beyond_the_edge": _moved("quadratic_low", 1.0),
    "minima_found": _moved("net_slope", 1e-3),
    "network_on_the_line": _moved("net_top", 0.02),
    "network_random_above": _moved("net_low", -2.0),
    "promises_kept": _moved("quasar-convex_found", -0.5),
    "convex_attained": _moved("pseudo-Huber_found", 1e-3),
    "star_nearly": lambda data: data | {"star-convex_found": data["star-convex_found"] * 0 + 1},
    "restricted_loose": lambda data: data | {"restricted secant_found": data["restricted secant_promised"]},
    "tautology": _moved("Adam_tautology", 0.0, 1.001),
    "also_where_nothing_is_learnt": lambda data: data | {"ascent_far": data["SGD_far"]},
    "sgd_has_content": lambda data: data | {"SGD_known": data["SGD_known"] + np.inf},
    "bounds_hold": _moved("SGD_known", 0.0, 1e-3),
    "none_where_nothing_is_learnt": lambda data: data | {"ascent_known": 1.0, "random walk_known": 1.0},
    "momentum_is_faster": _moved("momentum_mean", 1.0),
    "momentum_has_no_bound": lambda data: data | {"momentum_known": data["momentum_mean"]},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Quadratics, a network, landscapes, bounds."""
    figure, ((quadratic, network), (landscapes, bounds)) = style.page(2, 2, 4.3)
    _draw_quadratic(quadratic, data)
    _draw_network(network, data)
    _draw_landscapes(landscapes, data)
    _draw_bounds(bounds, data)
    return figure


def _line(axes: Axes) -> None:
    ends = np.array([0.0, 2.25])
    axes.plot(ends, predicted.quadratic_regularity(lr=ends + 1e-12, smoothness=1.0), **style.PREDICTED)
    axes.axhline(0, color=style.GREY, linewidth=0.5)
    axes.axvline(2, color=style.GREY, linewidth=0.5, linestyle=":")
    axes.text(1.97, 1.75, "edge of stability", ha="right", fontsize=6.5, color=style.GREY)
    axes.set(xlabel=r"$\eta\lambda_{\max}$", ylabel=r"$\gamma$", xlim=(0, 2.25), ylim=(-0.75, 2.1))


def _draw_quadratic(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "gradient descent on a quadratic")
    axes.fill_between(
        data["edges"], data["quadratic_low"], data["quadratic_high"], color=style.SKY, alpha=0.35, linewidth=0,
        label="random starts",
    )  # fmt: skip
    axes.plot(data["edges"], data["quadratic_top"], "o", color=style.BLUE, label="top eigenvector", **OPEN)
    _line(axes)
    axes.legend(loc="lower left")


def _draw_network(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "network near its minimum")
    labels: dict[str, Any] = {"net_low": "random direction, smallest", "net_top": "top eigenvector"}
    for name, symbol, colour in (("net_low", "s", style.VERMILION), ("net_top", "o", style.BLUE)):
        values = data[name]
        x = np.broadcast_to(data["edges"], values.shape)
        axes.plot(x.ravel(), values.ravel(), symbol, color=colour, label=labels[name], **OPEN)
    _line(axes)
    axes.legend(loc="lower left")


def _draw_landscapes(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "promised and found")
    for name, label in LABELS.items():
        colour = COLOURS[name]
        axes.plot(data["shares"], data[f"{name}_promised"], **style.PREDICTED | {"color": colour})
        axes.plot(data["shares"], data[f"{name}_found"], SYMBOLS[name], color=colour, label=label, **OPEN)
    axes.set(xlabel=r"$\eta\,/\,$last $\eta$ with a promise", ylabel=r"smallest $\gamma$")
    axes.set(ylim=(-0.03, 1.5), xlim=(0, 1.03))
    axes.legend(loc="upper left", ncols=2)


def _draw_bounds(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "the bound over what it bounds")
    for place, rule in enumerate(RULES):
        mean = data[f"{rule}_mean"]
        for name, symbol, shift in (("tautology", ".", -0.18), ("known", "x", 0.18)):
            ratio = data[f"{rule}_{name}"] / mean
            x = place + shift + np.linspace(-0.12, 0.12, len(ratio))
            axes.plot(x, ratio, symbol, color=HUES[rule], markersize=3, markeredgewidth=0.7)
        none = np.isinf(data[f"{rule}_known"]).mean()
        axes.text(place + 0.12, 40, f"none:\n{none:.0%}", ha="center", va="center", fontsize=6.5)
    axes.axhline(1, color=style.GREY, linewidth=0.5)
    axes.plot([], [], ".", color=style.GREY, label=r"last iterate, mean $\gamma$")
    axes.plot([], [], "x", color=style.GREY, markersize=3, label=r"minimiser, smallest $\gamma$")
    axes.set(yscale="log", ylim=(0.7, 70), xlim=(-0.5, len(RULES) - 0.5), ylabel="bound / mean loss")
    axes.set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
    axes.minorticks_off()
    axes.set_xticks(range(len(RULES)), [rule.replace(" ", "\n") for rule in RULES])
    axes.legend(loc="center right")
