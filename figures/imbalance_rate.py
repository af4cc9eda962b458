"""How imbalance speeds up gradient flow, and how loose the rate of descent near balance is.

Loss (1/2)|W - Y|^2. The reader should see scalar chains approach their minimum at the rate that is its sharpness, so
that speed is paid in flatness (a); two matrix layers stay below bounds that imbalance steepens (b), as all random
starts do (c); the pairing of spreads with singular values that holds and the one that does not, at random states (d)
and along one flow (e); and the published rate of deep descent near balance far below the observed one (f).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, between
from sdetheory.integrators import DOP853
from sdetheory.models.weights import balanced_weights, pack
from sdetheory.observables import chain_product, end_to_end
from sdetheory.predictions import imbalanced_rates, linear_convergence, scalar_chains

CLAIMS = ("D36", "D44", "D45", "D46")
CAPTION = """Gradient flow on (1/2)|W - Y|^2. (a) Rate at which W approaches 1 at the end, chains of scalar layers,
against the largest w_i^2 - w_j^2: flow (marks) and the largest Hessian eigenvalue (dashed); open: all layers but a
large one equal, filled: all but a small one. (b) Loss of two 2 x 3 x 2 layers of three imbalances (lines) and its
bound l(0) exp(-2 alpha t) (dashed). (c) Slowest mean rate, the minimum over t of ln(l(0)/l(t))/(2 t), against alpha
for random starts and targets. (d) Distribution of alpha over sigma_n^2(W_1) + sigma_m^2(W_2) at random states with n
different from m: the spreads paired as proved, and swapped. (e) Loss over each of the two bounds from W_1 = diag(3/2,
1), W_2 = (1/4, 0)^T. (f) Three balanced 3 x 3 layers with half of the largest margin: fall of the loss in a step over
the published one against lr over the largest published lr, smallest (filled) and largest (open) of the steps; dashed:
published, dotted: proved."""

PARAMS: dict[str, Any] = {
    "depths": [2, 3, 4],
    "imbalances": [0.5, 1.0, 2.0, 3.0, 4.0],
    "scales": [1.0, 1.5, 2.5],
    "horizon": 2.0,
    "shapes": [[3, 4, 3], [1, 3, 2], [1, 1, 1]],
    "starts": 40,
    "states": 6000,
    "factors": [1e0, 1e2, 1e4, 1e6, 1e7, 3e7, 1e8],
    "steps": 200,
    "tolerance": 1e-12,
    "seed": 0,
}
QUICK = PARAMS | {"starts": 16, "states": 1500, "factors": [1e0, 1e4, 1e8]}

COLOURS = (style.BLUE, style.VERMILION, style.GREEN)
PAIRINGS = {"right": style.BLUE, "swapped": style.VERMILION}


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Rates of chains, losses and bounds of two layers, both pairings, descent near balance."""
    data = _chains(params) | _losses(params) | _slowest(params) | _pairings(params) | _wrong(params) | _descent(params)
    return data | {name: np.array(params[name]) for name in ("depths", "imbalances", "scales", "factors", "shapes")}


def _flow(params: dict[str, Any], model: Any, start: np.ndarray, ts: np.ndarray) -> np.ndarray:
    """States of one path at the times."""
    exact = DOP853(rtol=params["tolerance"], atol=params["tolerance"])
    return st.simulate(model, st.GradientFlow(), start, ts, integrator=exact, keep_states=True).states[0]


def _chains(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """(depths, large or small, imbalances): rate at the end, the predicted one, slowest mean rate over guaranteed."""
    shape = (len(params["depths"]), 2, len(params["imbalances"]))
    found, predicted, slack = (np.empty(shape) for _ in range(3))
    for index in np.ndindex(shape):
        depth, imbalance = params["depths"][index[0]], params["imbalances"][index[2]] * (1, -1)[index[1]]
        end = np.sqrt(_equal_but_one(depth, -imbalance))
        start = np.sqrt(end**2 - 0.5 * (end**2).min())
        rate = float(scalar_chains.local_rate(target=1.0, inverse_squares=(end**-2).sum()))
        ts = np.append(0, np.linspace(1, 14, 40) / rate)
        gap = 1 - chain_product(_flow(params, st.deep_linear((1,) * (depth + 1), [[1.0]]), start, ts))
        found[index] = np.log(gap[-10] / gap[-1]) / (ts[-1] - ts[-10])
        predicted[index] = rate
        slack[index] = (np.log(gap[0] / gap[1:]) / ts[1:]).min() / scalar_chains.guaranteed_rate(start)
    return {"chain_rate": found, "chain_law": predicted, "chain_slack": slack}


def _equal_but_one(depth: int, imbalance: float) -> np.ndarray:
    """Squares of a minimum W = 1, all but the last equal; `imbalance` is the common square less the last."""
    low, high = 1e-6, 1e3
    for _ in range(200):
        middle = np.sqrt(low * high)
        above = scalar_chains.imbalance_of_equal_layers(common_square=middle, depth=depth) > imbalance
        low, high = (low, middle) if above else (middle, high)
    return np.array([low] * (depth - 1) + [low ** (1 - depth)])


def _two_layers(
    params: dict[str, Any], outer: np.ndarray, inner: np.ndarray, target: np.ndarray, ts: np.ndarray
) -> np.ndarray:
    """Loss at the times from W = outer @ inner."""
    widths = (inner.shape[1], inner.shape[0], outer.shape[0])
    states = _flow(params, st.deep_linear(widths, target), pack([inner, outer]), ts)
    return 0.5 * np.sum((end_to_end(states, widths) - target) ** 2, axis=(-2, -1))


def _losses(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Loss and bound for outer layers of three sizes."""
    rng = np.random.default_rng(params["seed"])
    ts, target = np.linspace(0, params["horizon"], 101), np.diag([1.0, 0.6])
    outer, inner = np.eye(2, 3) + 0.1 * rng.standard_normal((2, 3)), 0.3 * rng.standard_normal((3, 2))
    losses, bounds, rates = [], [], []
    for scale in params["scales"]:
        losses.append(_two_layers(params, scale * outer, inner, target, ts))
        rates.append(imbalanced_rates.rate_bound(scale * outer, inner, target))
        bounds.append(imbalanced_rates.accelerated_loss_bound(t=ts, rate=rates[-1], loss0=losses[-1][0]))
    return {"loss_ts": ts, "losses": np.array(losses), "bounds": np.array(bounds), "bound_rates": np.array(rates)}


def _slowest(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """alpha and the slowest mean rate, (shapes, starts)."""
    rng, rows = np.random.default_rng(params["seed"] + 1), []
    for m, h, n in params["shapes"]:
        row: list[list[float]] = []
        while len(row) < params["starts"]:
            scale = 3 ** rng.uniform(-1, 1)
            outer, inner = scale * rng.standard_normal((n, h)), rng.standard_normal((h, m)) / scale
            target = outer @ inner + rng.uniform(0.05, 0.5) * rng.standard_normal((n, m))
            alpha = imbalanced_rates.rate_bound(outer, inner, target)
            if alpha > 0.05:
                ts = np.append(0, np.geomspace(0.02, 6, 40) / alpha)
                loss = _two_layers(params, outer, inner, target, ts)
                seen = loss > 1e-18 * loss[0]
                row.append([alpha, (np.log(loss[0] / loss[seen][1:]) / (2 * ts[seen][1:])).min()])
        rows.append(row)
    return {"slowest": np.array(rows)}


def _both(outer: np.ndarray, inner: np.ndarray, target: Any = None) -> tuple[float, float]:
    """alpha with the right pairing and with the swapped one."""
    right = imbalanced_rates.rate_bound(outer, inner, target)
    known = imbalanced_rates.spectrum_of_imbalance(outer, inner)
    if target is not None:
        margin = np.linalg.svd(target, compute_uv=False)[-1] - np.linalg.norm(target - outer @ inner)
        names = [name for name in ("row_value", "column_value") if known[name] > 0]
        known |= dict.fromkeys(names, max(float(margin), 0.0))
    known["row_value"], known["column_value"] = known["column_value"], known["row_value"]
    return right, float(imbalanced_rates.accelerated_rate(**known))


def _pairings(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Both bounds over the actual value at random states, and whether n = m."""
    rng, rows = np.random.default_rng(params["seed"] + 2), []
    for _ in range(params["states"]):
        n, h, m = rng.integers(1, 5, size=3)
        outer, inner = rng.standard_normal((n, h)), rng.standard_normal((h, m))
        actual = np.linalg.eigvalsh(outer @ outer.T)[0] + np.linalg.eigvalsh(inner.T @ inner)[0]
        right, swapped = _both(outer, inner)
        rows.append([right, swapped, actual, n == m])
    right, swapped, actual, square = np.array(rows).T
    return {"right": right, "swapped": swapped, "actual": actual, "square": square}


def _wrong(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Loss over both bounds along the flow from the exact point that refutes the swapped pairing."""
    outer, inner = np.diag([1.5, 1.0]), np.array([[0.25], [0.0]])
    target = outer @ inner + np.array([[0.0], [1e-3]])  # the slowest direction
    ts = np.linspace(0, 10, 101)
    loss, alphas = _two_layers(params, outer, inner, target, ts), _both(outer, inner, target)
    bounds = [imbalanced_rates.accelerated_loss_bound(t=ts, rate=alpha, loss0=loss[0]) for alpha in alphas]
    return {"wrong_ts": ts, "wrong": loss / np.array(bounds), "wrong_rates": np.array(alphas)}


def _descent(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Smallest and largest fall of a step over the published one, for every lr; steps against the published ones."""
    rng = np.random.default_rng(params["seed"])
    target = rng.standard_normal((3, 3))
    smallest = np.linalg.svd(target, compute_uv=False)[-1]
    move = rng.standard_normal((3, 3))
    start = target + smallest / 2 * move / np.linalg.norm(move)
    widths, known = (3, 3, 3, 3), {"margin": smallest / 2, "depth": 3}
    w0, model = balanced_weights(widths, start, rng), st.deep_linear(widths, target)
    largest, rows = linear_convergence.sufficient_lr(target_norm=np.linalg.norm(target), **known), []
    for factor in params["factors"]:
        lr = factor * float(largest)
        run = st.simulate(model, st.GradientDescent(lr), w0, np.arange(params["steps"] + 1), keep_states=True)
        loss = 0.5 * np.sum((end_to_end(run.states[0], widths) - target) ** 2, axis=(-2, -1))
        loss = loss[loss > 1e-20]
        fall = (1 - loss[1:] / loss[:-1]) / (1 - linear_convergence.stated_loss_factor(lr=lr, **known))
        rows.append([fall.min(), fall.max()])
    lr = 10 * lr
    over = st.simulate(model, st.GradientDescent(lr), w0, [0, 1, 2, 3, 4], keep_states=True).states[0]
    proved = (1 - linear_convergence.proved_loss_factor(lr=lr, **known)) / (
        1 - linear_convergence.stated_loss_factor(lr=lr, **known)
    )
    after = 0.5 * np.sum((end_to_end(over, widths) - target) ** 2, axis=(-2, -1))
    return {
        "fall": np.array(rows), "largest_lr": np.array(largest), "over": after[1:] / after[0],
        "proved": np.array(proved),
    }  # fmt: skip


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    ratio = data["chain_rate"] / data["chain_law"]
    small = data["chain_law"][1:, 1] / data["chain_law"][1:, 0]
    slowest = data["slowest"][..., 1] / data["slowest"][..., 0]
    possible = data["actual"] > 1e-12
    valid = data["right"][possible] / data["actual"][possible]
    failed = data["swapped"] > data["actual"] + 1e-9
    equal = data["square"] > 0
    below = (data["losses"] / data["bounds"])[:, 1:].max()
    return [
        at_most("rate_is_sharpness", np.abs(ratio - 1).max(), 1e-3,
                "(a) The rates are the sharpnesses to {found:.0e};"),
        at_least("imbalance_is_not_enough", small.min(), 1.0,
                 "at depth 3 and 4 one small layer is faster than one large layer of the same imbalance, at least"
                 " {found:.2f} times."),
        at_least("guaranteed_rate", data["chain_slack"].min(), 1.0,
                 f"Mean rates from the start are {{found:.2f}} to {data['chain_slack'].max():.2f} times the guaranteed"
                 " rate."),
        at_most("loss_below_bound", below, 1.0, "(b) The losses are at most {found:.3f} of their bounds, with alpha ="
                " " + ", ".join(f"{a:.2f}" for a in data["bound_rates"]) + ";"),
        at_least("imbalance_speeds_up", np.diff(data["bound_rates"]).min(), 0.1, "imbalance raises alpha."),
        at_least("all_starts_faster", slowest.min(), 1 - 1e-6,
                 f"(c) All {slowest.size} starts are faster than alpha, {{found:.4f}} times at least and"
                 f" {np.median(slowest):.1f} times in the median."),
        at_most("right_pairing", valid.max(), 1 + 1e-9,
                f"(d) The right pairing holds at all {valid.size} states where the sum is not 0 (largest ratio"
                " {found:.6f}),"),
        between("swapped_pairing", failed.mean(), 0.2, 0.4, "the swapped one fails at {found:.0%} of all states,"),
        at_most("swapped_where_equal", np.count_nonzero(failed & equal), 0.0, "at {found:.0f} of those with n = m."),
        at_most("right_along_flow", data["wrong"][0].max(), 1 + 1e-9,
                "(e) The loss stays below the right bound (at most {found:.4f} of it)"),
        at_least("swapped_along_flow", data["wrong"][1, -1], 2.0,
                 "and is {found:.1f} times the swapped one at the end (alpha {:.4f} and {:.4f}).".format(
                     *data["wrong_rates"], found=data["wrong"][1, -1])),
        at_least("descent_faster_than_proved", data["fall"].min(), data["proved"],
                 f"(f) The published lr is at most {data['largest_lr']:.1e}; up to {data['factors'][-1]:.0e} times that"
                 " every step falls at least {found:.0f} times as far as published;"),
        at_least("over_the_edge", data["over"][-1], 1.0,
                 "with ten times more the loss is {found:.0f} times its start after four steps."),
    ]  # fmt: skip


def _scaled(name: str, by: float) -> Any:
    """Spoil one array by a factor."""
    return lambda data: data | {name: data[name] * by}


BROKEN = {
    "rate_is_sharpness": _scaled("chain_law", 1.01),
    "imbalance_is_not_enough": lambda data: data | {"chain_law": data["chain_law"][:, ::-1]},
    "guaranteed_rate": _scaled("chain_slack", 0.5),
    "loss_below_bound": _scaled("losses", 1.5),
    "imbalance_speeds_up": lambda data: data | {"bound_rates": data["bound_rates"][::-1]},
    "all_starts_faster": lambda data: data | {"slowest": data["slowest"][..., ::-1]},
    "right_pairing": lambda data: data | {"right": data["swapped"]},
    "swapped_pairing": lambda data: data | {"swapped": data["right"]},
    "swapped_where_equal": lambda data: data | {"square": np.ones_like(data["square"])},
    "right_along_flow": lambda data: data | {"wrong": data["wrong"][::-1]},
    "swapped_along_flow": lambda data: data | {"wrong": data["wrong"][::-1]},
    "descent_faster_than_proved": _scaled("fall", 0.01),
    "over_the_edge": lambda data: data | {"over": data["over"][:1]},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Chains, losses, slowest rates; pairings, one flow, descent."""
    figure, ((chains, losses, slowest), (pairings, wrong, descent)) = style.page(2, 3, 3.9)
    _draw_chains(chains, data)
    _draw_losses(losses, data)
    _draw_slowest(slowest, data)
    _draw_pairings(pairings, data)
    _draw_wrong(wrong, data)
    _draw_descent(descent, data)
    return figure


def _draw_chains(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "rate at the minimum")
    dense = np.linspace(0.2, data["imbalances"][-1], 40)
    for number, (depth, colour) in enumerate(zip(data["depths"], COLOURS, strict=True)):
        for side, face in ((0, "white"), (1, colour)):
            if depth == 2 and side:
                continue
            ends = [_equal_but_one(int(depth), (1, -1)[1 - side] * x) for x in dense]
            axes.plot(dense, [(1 / z).sum() for z in ends], **style.PREDICTED | {"zorder": 2})
            axes.plot(data["imbalances"], data["chain_rate"][number, side], "o", color=colour, markerfacecolor=face)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=c, label=f"depth {d}")
        for d, c in zip(data["depths"], COLOURS, strict=True)
    ]
    axes.set(yscale="log", xlabel=r"largest $w_i^2-w_j^2$", ylabel="rate")
    axes.set_yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.legend(handles=handles, loc="upper left")


def _draw_losses(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "loss and bound")
    for number, colour in enumerate(COLOURS):
        label = rf"$W_1\times{data['scales'][number]:g}$"
        axes.plot(data["loss_ts"], data["losses"][number], color=colour, label=label)
        axes.plot(data["loss_ts"], data["bounds"][number], color=colour, linestyle=(0, (4, 2)), linewidth=0.9)
    axes.set(yscale="log", xlabel="$t$", ylim=(1e-9, 3))
    axes.legend(loc="lower left")


def _draw_slowest(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "slowest mean rate")
    for number, (m, h, n) in enumerate(data["shapes"]):
        axes.plot(*data["slowest"][number].T, ".", color=COLOURS[number], label=rf"${n}\times{h}\times{m}$")
    ends = np.array([data["slowest"][..., 0].min(), data["slowest"][..., 0].max()])
    axes.plot(ends, ends, **style.PREDICTED)
    axes.set(xscale="log", yscale="log", xlabel=r"bound $\alpha$")
    axes.legend(loc="lower right")


def _draw_pairings(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "two pairings")
    unequal = (data["square"] == 0) & (data["actual"] > 1e-12)
    for name, colour in PAIRINGS.items():
        ratio = np.sort(data[name][unequal] / data["actual"][unequal])
        axes.plot(ratio, np.linspace(0, 1, ratio.size), color=colour, label=name)
    axes.axvline(1, color=style.GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel=r"$\alpha\,/\,(\sigma_n^2(W_1)+\sigma_m^2(W_2))$", ylabel="fraction below")
    axes.set(xlim=(0, 2), ylim=(0, 1.02))
    axes.legend(loc="upper left")


def _draw_wrong(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "e", "loss / bound")
    for number, (name, colour) in enumerate(PAIRINGS.items()):
        axes.plot(data["wrong_ts"], data["wrong"][number], color=colour, label=name)
    axes.axhline(1, color=style.GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="$t$", ylim=(0, None))
    axes.legend(loc="upper left")


def _draw_descent(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "f", "fall / published fall")
    axes.plot(data["factors"], data["fall"][:, 0], "o", color=style.BLUE)
    axes.plot(data["factors"], data["fall"][:, 1], "o", color=style.BLUE, markerfacecolor="white")
    axes.axhline(1, **style.PREDICTED)
    axes.axhline(data["proved"], color=style.BLACK, linestyle=":", linewidth=0.9)
    over = 10 * data["factors"][-1]
    axes.axvspan(over, 10 * over, color=style.VERMILION, alpha=0.25, linewidth=0)
    axes.text(over * 0.7, 90, "loss rises", color=style.VERMILION, fontsize=6.5, ha="right")
    axes.text(1, 1.07, "published", fontsize=6.5)
    axes.text(1, data["proved"] * 1.07, "proved", fontsize=6.5)
    axes.set(xscale="log", yscale="log", xlabel="lr / largest published lr", ylim=(0.6, 130), xlim=(0.4, 10 * over))
    axes.set_xticks([1, 1e2, 1e4, 1e6, 1e8])
