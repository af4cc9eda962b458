"""Rotational equilibrium: lr wd sets the turn per step (analogue of figures of Kosson, Messmer, Jaggi 2024).

Weight decay shrinks the weights, gradients across them make them grow; where both balance, norm and turn per
step are constant. The reader should see the turn of five rules follow its prediction over two decades of
lr wd (a), to within standard errors once the prediction is the exact one and not the first order in lr wd
(b); the norm likewise (c); and norms forgetting their start at the rate of the rule: twice lr wd where the
gradient is rescaled, four times for SGD, and 1/(1 - momentum) times faster with momentum (d).
"""

from typing import Any

import numpy as np
import sympy as sp
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, near
from figures.press.measured import sphere_trace, standard_error
from sdetheory.integrators.turning import turn_cosine, turning
from sdetheory.predictions import intrinsic_lr, rotational_equilibrium

CLAIMS = ("I35", "I37", "I38", "I39", "I40")
CAPTION = """Gradients are noise in {dimension} dimensions: across the weights and growing like 1/|w| for SGD,
heavy ball and Nesterov (momentum {momentum:g}), white for AdamW (beta {adamw_betas}) and Lion (beta
{lion_betas}). Symbols: {paths} runs each, bars: two standard errors, dashed: predictions. (a) Turn of the
direction in one step at equilibrium. (b) 1 - cosine of the turn, E<w', w> = cos E|w|^2, measured over
predicted; solid lines: the laws of AdamW and Lion to first order in lr wd (Lion's sign linearised)
over the exact ones. (c) |w|^2 measured over predicted; for rules that follow the gradient the root of
E|w|^2/E|w|^-2. (d) Difference in |w|^2 of two starts on the same
noise, {spread:g} times above and below equilibrium, over its value at the first symbol, at lr wd =
{relaxation_product:g}; numbers: its rates over lr wd to first order, mu the momentum."""

PARAMS: dict[str, Any] = {
    "products": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
    "dimension": 24,
    "noise": 0.7,
    "lr": 0.4,
    "momentum": 0.8,
    "rescaled_lr": 0.01,
    "adamw_betas": [0.8, 0.9999],
    "lion_betas": [0.9, 0.97],
    "burn": 3.0,
    "least_burn": 1000,
    "spacing": 0.25,
    "counted": 16,
    "paths": 512,
    "relaxation_product": 2e-3,
    "relaxation_until": 1.2,
    "spread": 1.2,
    "seed": 35,
}
QUICK = PARAMS | {"products": [3e-3, 1e-2, 1e-1], "paths": 256}

RULES = ("SGD", "heavy ball", "Nesterov", "AdamW", "Lion")
RELAXING = ("SGD", "heavy ball", "AdamW", "Lion")
COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE)
SYMBOLS = "os^Dv"
FOLLOWING = 3  # the first rules follow the gradient, the others rescale it


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Turn and norm, measured and predicted, (rules, products); relaxation, (rules but Nesterov, times)."""
    rows = [[_equilibrium(params, rule, product) for product in params["products"]] for rule in RULES]
    data = {name: np.array([[one[name] for one in row] for row in rows]) for name in rows[0][0]}
    rescaled = [[_predicted(params, rule, p)["first"] for p in params["products"]] for rule in RULES[FOLLOWING:]]
    data["first"] = np.array(rescaled)
    relaxed = [_relaxation(params, rule) for rule in RELAXING]
    data |= {name: np.array([one[name] for one in relaxed]) for name in relaxed[0]}
    product = params["relaxation_product"]
    return data | {"products": np.asarray(params["products"]), "relaxation_product": np.asarray(product),
                   "momentum": np.asarray(params["momentum"])}  # fmt: skip


def _rule(params: dict[str, Any], rule: str, product: float) -> tuple[Any, Any]:
    """The rule and its noise."""
    following, rescaled = ((lr, product / lr) for lr in (params["lr"], params["rescaled_lr"]))
    tangent, white = st.Isotropic(params["noise"]), st.White(params["noise"])
    return {
        "SGD": (st.HeavyBall(*following, 0.0), tangent),
        "heavy ball": (st.HeavyBall(*following, params["momentum"]), tangent),
        "Nesterov": (st.Nesterov(*following, params["momentum"]), tangent),
        "AdamW": (st.AdamW(*rescaled, *params["adamw_betas"], epsilon=0.0), white),
        "Lion": (st.Lion(*rescaled, *params["lion_betas"]), white),
    }[rule]


def _predicted(params: dict[str, Any], rule: str, product: float) -> dict[str, float]:
    """Cosine of the turn, squared norm; where the turn has a first-order law, 1 - turn^2/2 by it."""
    theory, made = rotational_equilibrium, _rule(params, rule, product)
    given = {"lr": float(made[0].lr), "weight_decay": float(made[0].weight_decay)}
    if rule in RULES[:FOLLOWING]:
        given["momentum"] = made[0].momentum
        trace = sphere_trace(made[1], params["dimension"])
        cosine, norm = intrinsic_lr.momentum_turn_cosine, intrinsic_lr.momentum_equilibrium_squared_norm
        if rule == "Nesterov":
            cosine, norm = theory.nesterov_turn_cosine, theory.nesterov_equilibrium_squared_norm
        return {"cosine": cosine(**given), "norm": norm(unit_squared_gradient=trace, **given)}
    given["beta1"] = made[0].beta1
    if rule == "AdamW":
        return {"cosine": theory.ema_turn_cosine(**given), "first": 1 - theory.adamw_rotation(**given) ** 2 / 2,
                "norm": theory.adamw_equilibrium_squared_norm(dimension=params["dimension"], **given)}  # fmt: skip
    given["beta2"] = made[0].beta2
    return {"cosine": theory.lion_turn_cosine(**given), "first": 1 - theory.lion_rotation(**given) ** 2 / 2,
            "norm": theory.lion_equilibrium_squared_norm(dimension=params["dimension"], **given)}  # fmt: skip


def _run(params: dict[str, Any], rule: str, product: float, norm: float, ts: np.ndarray) -> Any:
    """Squared norm and turn from a generic direction, `norm` the squared norm of the start."""
    d = params["dimension"]
    direction = np.random.default_rng(params["seed"]).standard_normal(d)
    made, noise = _rule(params, rule, product)
    return st.simulate(
        st.Rayleigh(np.zeros(d)), made, direction * np.sqrt(norm / (direction @ direction)), ts, noise=noise,
        paths=params["paths"], seed=params["seed"], integrator=turning(made), observe=[st.observers.SquaredNorm()],
    )  # fmt: skip


def _equilibrium(params: dict[str, Any], rule: str, product: float) -> dict[str, float]:
    """Stationary turn and norm with standard errors, and what is predicted."""
    predicted = _predicted(params, rule, product)
    first = max(int(params["burn"] / product), params["least_burn"])
    gap = max(2, int(params["spacing"] / product))
    ts = first + gap * np.arange(params["counted"])[:, None] + np.arange(2)
    run = _run(params, rule, product, predicted["norm"], ts.ravel())
    square = run["squared_norm"].reshape(-1, *ts.shape)
    root = np.sqrt(square[..., 0] * square[..., 1])
    inner = (root * turn_cosine(run).reshape(square.shape)[..., 1]).mean(axis=1)
    mean = square.mean(axis=(1, 2))
    cosine = inner.mean() / mean.mean()
    inverse = (1 / square).mean(axis=(1, 2))
    norm, relative = mean.mean(), mean / mean.mean()
    if rule in RULES[:FOLLOWING]:
        norm = np.sqrt(mean.mean() / inverse.mean())
        relative = (relative - inverse / inverse.mean()) / 2
    return {
        "cosine": cosine,
        "cosine_error": standard_error(inner - cosine * mean) / mean.mean(),
        "norm": norm,
        "norm_error": norm * standard_error(relative),
        "predicted_cosine": predicted["cosine"],
        "predicted_norm": predicted["norm"],
    }


def _relaxation(params: dict[str, Any], rule: str) -> dict[str, np.ndarray]:
    """Distance of two starts from the first mark on, its standard error, and the factor predicted."""
    product, predicted = params["relaxation_product"], _rate(params, rule)
    last = min(params["relaxation_until"] / product, 2.5 / predicted)
    ts = np.rint(np.linspace(min(60.0, last / 3), last, 13))
    norm = _predicted(params, rule, product)["norm"]
    high, low = (_run(params, rule, product, norm * params["spread"] ** sign, ts)["squared_norm"] for sign in (1, -1))
    gap = (high - low) / (high - low).mean(axis=0)[0]
    mean = gap.mean(axis=0)
    fitted = -np.log(mean[-1]) / (ts[-1] - ts[0]) / product
    return {"steps": ts, "gap": mean, "gap_error": standard_error(gap - mean * gap[:, :1]),
            "predicted_rate": np.array(predicted / product), "rate": fitted}  # fmt: skip


def _rate(params: dict[str, Any], rule: str) -> float:
    """Predicted rate per step: the slowest root with momentum, the exact multiplier otherwise."""
    made = _rule(params, rule, params["relaxation_product"])[0]
    given = {"lr": float(made.lr), "weight_decay": float(made.weight_decay)}
    if rule not in RULES[:FOLLOWING]:
        return -float(np.log(rotational_equilibrium.rescaled_relaxation_multiplier(**given)))
    polynomial = rotational_equilibrium.momentum_relaxation_polynomial.at(momentum=made.momentum, **given)
    coefficients = sp.Poly(polynomial, sp.Symbol("multiplier")).all_coeffs()
    return -float(np.log(np.roots([float(c) for c in coefficients]).real.max()))


def _ratios(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Measured over predicted: 1 - cosine and squared norm, with standard errors; the first-order law."""
    exact = 1 - data["predicted_cosine"]
    return {
        "turn": (1 - data["cosine"]) / exact, "turn_error": data["cosine_error"] / exact,
        "norm": data["norm"] / data["predicted_norm"], "norm_error": data["norm_error"] / data["predicted_norm"],
        "first": (1 - data["first"]) / exact[FOLLOWING:],
    }  # fmt: skip


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    ratios, rate = _ratios(data), dict(zip(RELAXING, data["rate"], strict=True))
    far = {name: np.abs(ratios[name] - 1).max(axis=1) for name in ("turn", "norm")}
    z = {name: np.abs((ratios[name] - 1) / ratios[f"{name}_error"]).max() for name in ("turn", "norm")}
    missed = np.abs(ratios["first"][-1] / ratios["turn"][-1] - 1)
    return [
        at_most("turn_of_rules_that_follow", far["turn"][:FOLLOWING].max(), 0.02,
                "1 - cosine is within {found:.1%} of its prediction for SGD, heavy ball and Nesterov,"),
        at_most("turn_of_rules_that_rescale", far["turn"][FOLLOWING:].max(), 0.04,
                "{found:.1%} for AdamW and Lion,"),
        at_most("turn_within_errors", z["turn"], 4.0, "all within {found:.1f} standard errors."),
        at_most("norm_of_rules_that_follow", far["norm"][:FOLLOWING].max(), 0.015, "The norm is within {found:.1%},"),
        at_most("norm_of_rules_that_rescale", far["norm"][FOLLOWING:].max(), 0.04, "{found:.1%} for AdamW and Lion,"),
        at_most("norm_within_errors", z["norm"], 4.5, "all within {found:.1f} standard errors."),
        at_least("linearised_lion_is_off", (missed / ratios["turn_error"][-1]).max(), 8.0,
                 f"The linearised law of Lion misses by {missed.min():.0%} to {missed.max():.0%} in 1 - cosine, "
                 "up to {found:.0f} standard errors."),
        near("sgd_relaxes_at_four", rate["SGD"], 4.0, 0.1,
             "|w|^2 relaxes at {found:.2f} lr wd under SGD (to first order {expected:g}),"),
        near("heavy_ball_relaxes_faster", rate["heavy ball"] / data["predicted_rate"][1], 1.0, 0.04,
             f"at {rate['heavy ball']:.1f} under heavy ball ({{found:.3f}} of the exact root; to first order "
             f"{4 / (1 - float(data['momentum'])):g}),"),
        near("adamw_relaxes_at_two", rate["AdamW"], 2.0, 0.1, "at {found:.2f} under AdamW"),
        near("lion_relaxes_at_two", rate["Lion"], 2.0, 0.1, "and {found:.2f} under Lion ({expected:g})."),
    ]  # fmt: skip


def _spoilt(name: str, rule: int, factor: float) -> Any:
    """One rule's numbers times a factor."""
    return lambda data: data | {name: (data[name].T * np.where(np.arange(len(data[name])) == rule, factor, 1.0)).T}


BROKEN = {
    "turn_of_rules_that_follow": _spoilt("cosine", 1, 0.98),
    "turn_of_rules_that_rescale": _spoilt("cosine", 3, 0.98),
    "turn_within_errors": lambda data: data | {"cosine_error": data["cosine_error"] / 20},
    "norm_of_rules_that_follow": _spoilt("norm", 2, 1.04),
    "norm_of_rules_that_rescale": _spoilt("norm", 4, 1.1),
    "norm_within_errors": lambda data: data | {"norm_error": data["norm_error"] / 20},
    "linearised_lion_is_off": lambda data: data | {"first": data["predicted_cosine"][FOLLOWING:]},
    "sgd_relaxes_at_four": _spoilt("rate", 0, 0.5),
    "heavy_ball_relaxes_faster": _spoilt("rate", 1, 0.9),
    "adamw_relaxes_at_two": _spoilt("rate", 2, 2.0),
    "lion_relaxes_at_two": _spoilt("rate", 3, 2.0),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Turn, its distance to the law, norm, relaxation."""
    figure, ((turn, turn_ratio), (norm, relaxation)) = style.page(2, 2, 4.2)
    _draw_turn(turn, data)
    _draw_ratio(turn_ratio, data, "turn")
    _draw_ratio(norm, data, "norm")
    _draw_relaxation(relaxation, data)
    return figure


def _look(number: int) -> dict[str, Any]:
    return {
        "marker": SYMBOLS[number],
        "color": COLOURS[number],
        "markersize": 3.2,
        "markerfacecolor": "white",
        "markeredgewidth": 0.7,
    }


def _draw_turn(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "turn per step at equilibrium")
    for number, rule in enumerate(RULES):
        axes.plot(data["products"], np.arccos(data["predicted_cosine"][number]), **style.PREDICTED | {"zorder": 1})
        axes.plot(data["products"], np.arccos(data["cosine"][number]), linestyle="", label=rule, **_look(number))
    axes.plot([], [], label="prediction", **style.PREDICTED)
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta\lambda$", ylabel=r"$\Delta$ (radians)")
    axes.legend(loc="upper left", ncols=2)
    axes.set_ylim(top=np.arccos(data["predicted_cosine"]).max() * 4)


def _draw_ratio(axes: Axes, data: dict[str, np.ndarray], name: str) -> None:
    title, label = {
        "turn": ("turn: measured / predicted", r"$1-\cos\Delta$ / prediction"),
        "norm": ("norm: measured / predicted", r"$\|w\|^2$ / prediction"),
    }[name]
    style.letter(axes, "b" if name == "turn" else "c", title)
    ratios = _ratios(data)
    for number in range(len(RULES)):
        apart = data["products"] * 1.1 ** (number - 2)
        axes.errorbar(apart, ratios[name][number], 2 * ratios[f"{name}_error"][number], linestyle="",
                      linewidth=0.7, capsize=1.5, elinewidth=0.7, **_look(number))  # fmt: skip
    axes.axhline(1.0, **style.PREDICTED | {"zorder": 1})
    if name == "turn":
        for number, rule in enumerate(RULES[FOLLOWING:]):
            axes.plot(data["products"], ratios["first"][number], color=COLOURS[FOLLOWING + number],
                      linewidth=0.8, zorder=1, label=f"{rule}, first order")  # fmt: skip
        axes.legend(loc="upper right")
    axes.set(xscale="log", xlabel=r"$\eta\lambda$", ylabel=label, ylim=(0.9, 1.1) if name == "turn" else (0.95, 1.05))


def _draw_relaxation(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "two starts forgotten")
    for number, rule in enumerate(RELAXING):
        time, look = data["steps"][number] * data["relaxation_product"], _look(RULES.index(rule))
        line = np.exp(-data["predicted_rate"][number] * (time - time[0]))
        axes.plot(time, line, **style.PREDICTED | {"zorder": 1})
        axes.errorbar(time, data["gap"][number], 2 * data["gap_error"][number], linestyle="", linewidth=0.7,
                      elinewidth=0.7, **look)  # fmt: skip
    for at, text in (((0.1, 0.32), r"$4/(1-\mu)$"), ((0.37, 0.17), r"$4$"), ((0.95, 0.24), r"$2$")):
        axes.text(*at, text, fontsize=7)
    axes.set(yscale="log", xlabel=r"$t\,\eta\lambda$", ylabel=r"distance in $\|w\|^2$", ylim=(0.05, 1.4),
             xlim=(0, None))  # fmt: skip
    axes.text(0.98, 0.95, r"rates in units of $\eta\lambda$", transform=axes.transAxes, ha="right", va="top",
              fontsize=6.5)  # fmt: skip
