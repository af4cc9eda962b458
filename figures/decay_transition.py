"""Weight decay on products of layers: continuous at depth 2, a first-order transition with hysteresis when deeper.

Weight decay swept slowly up and down again while SGD runs. The reader should see two layers follow one curve both
ways, three and four layers fall to zero where their minimum ends and stay there when weight decay falls again (a);
why: above the coexistence penalty zero is the deeper minimum, and below it the run on the way down still rests at zero
(b); every singular value of a matrix jump at a threshold of its own, so that rank falls one by one (c); and the jumps
of all depths where the theory puts them (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, near
from sdetheory.models.weights import balanced_weights
from sdetheory.observables import chain_product, end_to_end, squared_norm
from sdetheory.predictions import deep_linear, low_rank

CLAIMS = ("D19", "D60", "D61")
CAPTION = """SGD (step 0.05, weak isotropic gradient noise) while weight decay is swept linearly. (a) Chains of d scalar
layers, L = (W - 1)^2 with penalty mu sum_i w_i^2: W = w_1 ... w_d with mu rising (filled) and then falling (open);
dashed: predicted minimum, dotted: the predicted barrier between it and zero. (b) Penalised loss of d = 3 on both ways;
dashed: the two minima; grey line: coexistence penalty mu_1, where the predicted minima are equally deep. (c) Singular
values of a product of two (open) and of three (filled) 3 x 3 layers fitting diag(1.5, 1, 0.6), weight decay rising;
dashed: prediction for the minimum reached from large weights. (d) Penalty at which a chain falls to zero, by depth
(markers); dashed: end of the non-zero minimum, mu_c; grey: mu_1."""

PARAMS: dict[str, Any] = {
    "lr": 0.05,
    "tops": {"2": 1.2, "3": 0.6, "4": 0.5},
    "sweep": 300000,
    "records": 1500,
    "noise": 0.02,
    "depths": [3, 4, 5, 6, 8, 10],
    "approach": 100000,
    "weak": 1e-4,
    "matrix": {"2": 1.7, "3": 1.0},
    "matrix_sweep": 150000,
    "matrix_noise": 1e-3,
    "modes": [1.5, 1.0, 0.6],
    "seed": 1,
}
QUICK = PARAMS | {"sweep": 120000, "depths": [3, 4, 5, 10], "approach": 60000, "matrix_sweep": 60000, "records": 600}

CHAINS = (2, 3, 4)
COLOURS = (style.BLUE, style.VERMILION, style.GREEN)
TOLD = {3: 0.47247, 4: 0.38490, 5: 0.34698, 10: 0.29039}  # mu_c of the theory sheet, from an independent computation
TOLD_COEXISTENCE = 0.39685


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Hysteresis loops of chains, ends of their minima by depth, singular values of matrices under weight decay."""
    return _loops(params) | _collapses(params) | _matrices(params)


def _sweep(model: Any, start: np.ndarray, decay: np.ndarray, noise: float, params: dict[str, Any], gap: int) -> Any:
    """(weight decay, states) every `gap` steps of SGD, its weight decay given for every step."""
    steps = np.arange(gap, decay.size + 1, gap)
    run = st.simulate(
        model, st.SGD(params["lr"], decay), start, steps, noise=st.White(noise), seed=params["seed"], keep_states=True
    )
    return decay[steps - 1], run.states[0]


def _loops(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Chains with the penalty mu rising to its top and falling again: rows of (mu, W, penalised loss)."""
    data, gap = {}, params["sweep"] // params["records"]
    for depth in CHAINS:
        rise = params["tops"][str(depth)] * np.arange(1, params["sweep"] + 1) / params["sweep"]
        penalties = np.concatenate([rise, rise[::-1]])
        decay = deep_linear.weight_decay_of_penalty(penalty=penalties)
        _, states = _sweep(st.scalar_chain(depth), np.ones(depth), decay, params["noise"], params, gap)
        mu, W = penalties[gap - 1 :: gap], chain_product(states)
        data[f"loop_{depth}"] = np.stack([mu, W, (W - 1) ** 2 + mu * squared_norm(states)]).reshape(3, 2, -1)
        data[f"branch_{depth}"] = np.array([_resting(m, depth) for m in mu[: mu.size // 2]])
    return data


def _resting(penalty: float, depth: int) -> float:
    """W of the minimum reached from large weights: twice (1/2)(W - 1)^2 + (mu/2) sum w_i^2 is the penalised loss."""
    return float(low_rank.weight_decay_strengths(1.0, penalty, depth, branch="upper"))


def _collapses(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Penalties, past 0.8 mu_c, at which W falls below half of its value at the end of the minimum."""
    found, length = [], params["approach"]
    for depth in params["depths"]:
        penalties = deep_linear.critical_penalty(depth=float(depth)) * np.linspace(0.8, 1.1, length)
        start = np.full(depth, _resting(penalties[0], depth) ** (1 / depth))
        decay = deep_linear.weight_decay_of_penalty(penalty=penalties)
        _, states = _sweep(st.scalar_chain(depth), start, decay, params["weak"], params, 100)
        low = chain_product(states) < deep_linear.critical_end_to_end(depth=float(depth)) / 2
        found.append(penalties[99::100][np.argmax(low)] if low.any() else np.nan)
    line = np.linspace(2.02, max(params["depths"]), 200)
    return {
        "depths": np.array(params["depths"]),
        "collapses": np.array(found),
        "ends": deep_linear.critical_penalty(depth=np.array(params["depths"], dtype=float)),
        "line": line,
        "line_ends": deep_linear.critical_penalty(depth=line),
        "line_coexistence": deep_linear.coexistence_penalty(depth=line),
        "coexistence": np.array(deep_linear.coexistence_penalty(depth=3.0)),
    }


def _matrices(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Singular values and sum |W_j|^2 of products of square layers, weight decay rising from 0."""
    data, modes = {}, np.array(params["modes"])
    for name, top in params["matrix"].items():
        depth, widths = int(name), (modes.size,) * (int(name) + 1)
        start = balanced_weights(widths, np.diag(modes), np.random.default_rng(params["seed"]))
        decay = top * np.arange(1, params["matrix_sweep"] + 1) / params["matrix_sweep"]
        model, gap = st.deep_linear(widths, np.diag(modes)), params["matrix_sweep"] // 300
        at, states = _sweep(model, start, decay, params["matrix_noise"], params, gap)
        data[f"decay_{depth}"], data[f"weight_{depth}"] = at, squared_norm(states)
        data[f"strengths_{depth}"] = np.linalg.svd(end_to_end(states, widths), compute_uv=False)
        told = [low_rank.weight_decay_strengths(modes, wd, depth, branch="upper") for wd in at]
        data[f"told_{depth}"] = np.array(told)
        values = np.maximum(data[f"strengths_{depth}"], 1e-300)
        data[f"least_{depth}"] = low_rank.least_weight_cost(depth=float(depth), strength=values).sum(axis=1)
    return data


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    loops = {depth: data[f"loop_{depth}"] for depth in CHAINS}
    rests = max(np.abs(loops[d][1, 0] - data[f"branch_{d}"])[_below(data, d)].max() for d in CHAINS)
    widths = {d: np.abs(loops[d][1, 0] - loops[d][1, 1, ::-1]).max() for d in CHAINS}
    returns = [loops[d][0, 1][loops[d][1, 1] > 0.1].max(initial=0.0) for d in (3, 4)]
    late = data["collapses"] / data["ends"] - 1
    ends = dict(zip(data["depths"].tolist(), data["ends"], strict=True))
    told = [abs(ends[d] - value) for d, value in TOLD.items() if d in ends]
    falls = np.concatenate([_mode_falls(data[name]) for name in ("strengths_3", "told_3")]).reshape(2, -1)
    soft = np.abs(data["strengths_2"] - data["told_2"]).max()
    off = np.abs(data["strengths_3"] - data["told_3"])[data["told_3"] * data["strengths_3"] > 0.01]
    cost = np.concatenate([_costs(data, depth) for depth in (2, 3)])
    return [
        at_most("rises_on_the_branch", rests, 0.06,
                "With rising mu every chain stays within {found:.3f} of the predicted minimum"),
        at_most("jumps_at_the_end", max(abs(_jump(loops[d]) / _end(data, d) - 1) for d in (3, 4)), 0.02,
                f"up to its end: three and four layers fall to zero at mu = {_jump(loops[3]):.4f} and "
                f"{_jump(loops[4]):.4f}, {{found:.1%}} or less from mu_c."),
        at_most("two_layers_reverse", widths[2], 0.1, "Two layers take the same way back within {found:.3f};"),
        at_least("deeper_ones_do_not", min(widths[3], widths[4]), 0.5,
                 "of the deeper chains W differs by at least {found:.2f} between both ways,"),
        at_most("zero_is_kept", max(returns), 0.05,
                f"which leave zero at mu = {returns[0]:.3f} (three layers) and {returns[1]:.3f} (four)."),
        near("equally_deep", _crossing(loops[3]), data["coexistence"], 0.005,
             "The penalised loss of the rising run crosses that of zero at mu = {found:.4f} (mu_1 = {expected:.4f})"),
        at_least("metastable", loops[3][2, 0].max() - 1, 0.1, "and exceeds it by {found:.2f} before the jump."),
        at_most("soft_threshold", soft, 0.02, "Two matrix layers are the soft threshold within {found:.3f}."),
        at_most("modes_rest", np.quantile(off, 0.99), 0.02,
                "The singular values of three are the predicted ones to {found:.3f} (99% quantile)"),
        at_most("modes_jump", np.abs(falls[0] - falls[1]).max() / 300, 0.03,
                "and fall where predicted, within {found:.1%} of the sweep."),
        at_most("weights_are_least", np.abs(cost).max(), 0.01,
                "The layers always have the least sum of squares for their product, to {found:.1%}."),
        at_most("collapse_by_depth", np.abs(late).max(), 0.01,
                f"Chains of {data['depths'][0]} to {data['depths'][-1]} layers fall within {{found:.2%}} of mu_c,"),
        at_most("as_told", max([*told, abs(float(data["coexistence"]) - TOLD_COEXISTENCE)]), 6e-6,
                "which, like mu_1, agrees with an independent computation to its five digits."),
    ]  # fmt: skip


def _end(data: dict[str, np.ndarray], depth: int) -> float:
    """mu_c of a chain."""
    return float(data["ends"][data["depths"].tolist().index(depth)])


def _below(data: dict[str, np.ndarray], depth: int) -> np.ndarray:
    """Where mu, rising, is below the end of the minimum by 3% (two layers: everywhere)."""
    mu = data[f"loop_{depth}"][0, 0]
    return mu < (0.97 * _end(data, depth) if depth > 2 else np.inf)


def _jump(loop: np.ndarray) -> float:
    """The penalty of the first record on the way up with W below 0.1."""
    return float(loop[0, 0][np.argmax(loop[1, 0] < 0.1)])


def _crossing(loop: np.ndarray) -> float:
    """The penalty, rising, at which the penalised loss passes that of zero, which is 1: mean over a window."""
    mu, loss = loop[0, 0], loop[2, 0]
    near_it = np.abs(loss - 1) < 0.05
    near_it &= mu < _jump(loop) - 0.01
    slope, offset = np.polyfit(mu[near_it], loss[near_it], 1)
    return float((1 - offset) / slope)


def _mode_falls(strengths: np.ndarray) -> np.ndarray:
    """The records at which the singular values fall below 0.1."""
    return np.argmax(strengths < 0.1, axis=0)


def _costs(data: dict[str, np.ndarray], depth: int) -> np.ndarray:
    """sum |W_j|^2 over its least value for the product, minus 1, while something is left."""
    kept = data[f"strengths_{depth}"][:, 0] > 0.1
    return data[f"weight_{depth}"][kept] / data[f"least_{depth}"][kept] - 1


def _scaled(name: str, factor: float) -> Any:
    """Spoil one array by a factor."""
    return lambda data: data | {name: data[name] * factor}


def _there_and_back(data: dict[str, np.ndarray], depth: int, source: int) -> dict[str, np.ndarray]:
    """A loop whose way back is that of another depth (or of its own way up)."""
    loop, other = data[f"loop_{depth}"].copy(), data[f"loop_{source}"]
    loop[1, 1] = other[1, 0, ::-1] if source == depth else other[1, 1]
    return data | {f"loop_{depth}": loop}


def _early(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The transition at the penalty of equal depth instead of the end."""
    loop = data["loop_3"].copy()
    loop[1:, 0, loop[0, 0] > data["coexistence"]] = [[0.0], [1.0]]
    return data | {"loop_3": loop}


BROKEN = {
    "rises_on_the_branch": _scaled("branch_3", 1.1),
    "jumps_at_the_end": _early,
    "two_layers_reverse": lambda data: _there_and_back(data, 2, 3),
    "deeper_ones_do_not": lambda data: _there_and_back(data, 3, 3),
    "zero_is_kept": lambda data: _there_and_back(data, 3, 3),
    "equally_deep": _scaled("coexistence", 1.05),
    "metastable": _early,
    "soft_threshold": lambda data: data | {"told_2": data["told_3"]},
    "modes_rest": _scaled("told_3", 1.05),
    "modes_jump": lambda data: data | {"told_3": data["told_2"]},
    "weights_are_least": _scaled("weight_3", 1.05),
    "collapse_by_depth": _scaled("collapses", 0.97),
    "as_told": _scaled("coexistence", 1.0001),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Loops, penalised loss, singular values, thresholds."""
    figure, ((loops, losses), (modes, ends)) = style.page(2, 2, 4.4)
    _draw_loops(loops, data)
    _draw_losses(losses, data)
    _draw_modes(modes, data)
    _draw_ends(ends, data)
    return figure


def _open(colour: str) -> dict[str, Any]:
    """Open markers."""
    return {"marker": "o", "linestyle": "", "color": colour, "markerfacecolor": "white", "markeredgewidth": 0.7}


def _draw_loops(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "chains, penalty up and down")
    for depth, colour in zip(CHAINS, COLOURS, strict=True):
        (mu, W, _) = data[f"loop_{depth}"]
        some = slice(None, None, mu.shape[1] // 40)
        axes.plot(mu[1, some], W[1, some], **_open(colour), zorder=2)
        axes.plot(mu[0, some], W[0, some], "o", color=colour, label=f"$d={depth}$", zorder=3)
        rests = np.linspace(1e-3, 1, 400)
        at = deep_linear.ginsburg_stationary_penalty(end_to_end=rests, depth=float(depth))
        top = int(np.argmax(at))
        axes.plot(at[top:], rests[top:], **style.PREDICTED)
        if depth > 2:
            axes.plot(at[:top], rests[:top], **style.PREDICTED | {"linestyle": ":"})
    axes.set(xlabel=r"penalty $\mu$", ylabel=r"$W=w_1\cdots w_d$", xlim=(-0.03, 1.2), ylim=(-0.06, 1.06))
    axes.legend(loc="upper right")


def _draw_losses(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "penalised loss, $d=3$")
    mu, _, loss = data["loop_3"]
    some = slice(None, None, mu.shape[1] // 60)
    axes.plot(mu[1, some], loss[1, some], **_open(style.VERMILION), label=r"$\mu$ falling")
    axes.plot(mu[0, some], loss[0, some], "o", color=style.VERMILION, label=r"$\mu$ rising")
    rests = data["branch_3"]
    there = rests > 0
    deep = (rests - 1) ** 2 + 3 * mu[0] * rests ** (2 / 3)
    axes.plot(mu[0][there], deep[there], **style.PREDICTED, label="minima")
    axes.axhline(1.0, **style.PREDICTED)
    axes.axvline(data["coexistence"], color=style.GREY, linewidth=0.8)
    axes.annotate(r"$\mu_1$", (data["coexistence"], 0.02), (3, 0), textcoords="offset points", color=style.GREY)
    axes.set(xlabel=r"penalty $\mu$", ylabel=r"$(W-1)^2+\mu\sum w_i^2$", ylim=(0, 1.25))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.08))


def _draw_modes(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "matrix layers, weight decay rising")
    for depth in (2, 3):
        at, found, told = (data[f"{name}_{depth}"] for name in ("decay", "strengths", "told"))
        for k, colour in enumerate(COLOURS):
            kind = _open(colour) if depth == 2 else {"marker": "o", "linestyle": "", "color": colour}
            shown = np.flatnonzero(found[:, k] > 5e-3)[::8]
            axes.plot(at[shown], found[shown, k], **kind, zorder=3)
            line = np.where(told[:, k] > 0, told[:, k], np.nan)
            axes.plot(at, line, **style.PREDICTED)
    handles = [Line2D([], [], **_open(style.GREY), label="two layers"),
               Line2D([], [], marker="o", linestyle="", color=style.GREY, label="three layers"),
               Line2D([], [], label="prediction", **style.PREDICTED)]  # fmt: skip
    axes.legend(handles=handles, loc="upper right")
    axes.set(xlabel="weight decay", ylabel=r"singular values of $W_d\cdots W_1$", xlim=(-0.03, None), ylim=(-0.05, 1.6))


def _draw_ends(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "where chains fall to zero")
    axes.plot(data["line"], data["line_ends"], **style.PREDICTED, label=r"$\mu_c$: the minimum ends")
    axes.plot(data["line"], data["line_coexistence"], color=style.GREY, label=r"$\mu_1$: zero as deep")
    axes.plot(data["depths"], data["collapses"], "o", color=style.BLUE, label="measured", zorder=6)
    axes.set(xlabel="depth $d$", ylabel=r"penalty $\mu$", ylim=(0, 1.05))
    axes.legend(loc="upper right")
