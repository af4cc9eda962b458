"""Two scalar layers: gradient flow, gradient descent, weight decay (analogue of figures of Ginsburg 2020).

L(w) = (w_1 w_2 - 1)^2 has a hyperbola of minima, flat near (1, 1) and (-1, -1), sharp near the axes. The
reader should see flow keep w_1^2 - w_2^2 and end where its start decides, gradient descent end only a
little inside (a); weight decay go to the same hyperbola first and then slide along it to the flat minimum
(b); the imbalance constant, slightly reduced, or decaying exponentially (c); and the two phases in the
data loss: it falls until w_1 w_2 enters the weight-decay band, and then rises to the price of
regularisation (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, near
from sdetheory.integrators import DOP853
from sdetheory.observables import chain_product, frobenius_imbalance, inverse_square_sum, sharpness
from sdetheory.observers import Loss
from sdetheory.predictions import deep_linear

CLAIMS = ("D4", "D7", "D9", "D14", "D15", "D16", "D18", "D19", "D20", "D21")
CAPTION = """Two scalar layers, L = (w_1 w_2 - 1)^2, step 0.05, penalty mu (w_1^2 + w_2^2). (a) Contours
of L (a factor ten apart), its minima (grey hyperbola), gradient flow (lines) and gradient descent (dots:
the first 60 steps) from four starts (squares), mu = 0; crosses: predicted ends of the flow. (b) The same
with mu = 0.05, log-spaced steps; stars: the two predicted minima. (c) Imbalance |w_1^2 - w_2^2| from
(0.1, 1.7) for three mu: gradient descent (dots) and flow (broad lines) against the prediction for the
flow (dashed). (d) Data loss of gradient descent from the same start, with mu = 0.05 and without penalty;
shaded: the optimisation phase, up to the step at which w_1 w_2 enters the weight-decay band; dotted: the
predicted limit. Inset: w_1 w_2 (dots) and that band, in which the penalised flow raises the data loss."""

PARAMS: dict[str, Any] = {
    "starts": [[0.1, 1.7], [2.0, 0.1], [-0.2, -1.8], [1.6, 0.3]],
    "lr": 0.05,
    "penalties": [0.0, 0.01, 0.05],
    "steps": 4000,
    "grid": 121,
    "reach": 2.4,
    "tolerance": 1e-12,
}
QUICK = PARAMS | {"grid": 61}

WIDTHS = (1, 1, 1)
STARTS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE)
PENALTIES = (style.BLACK, style.ORANGE, style.SKY)
TOLD = 1001  # steps over which the imbalance of the flow is above rounding for every penalty
SHOWN = np.unique(np.geomspace(1, 4000, 60).astype(int))  # steps shown where time is logarithmic
# The theory sheet's numbers, from an independent computation: ends of flow and descent, imbalances.
FLOW_ENDS = [[0.55961, 1.78694], [2.05587, 0.48641], [-0.53553, -1.86730], [1.68050, 0.59506]]
DESCENT_ENDS = [[0.56273, 1.77705], [2.04682, 0.48856], [-0.53719, -1.86153], [1.67681, 0.59637]]
IMBALANCE_AT = {1: {200: 1.9038, 1000: 0.38381, 4000: 9.457e-4}, 2: {200: 0.38101, 1000: 1.228e-4}}
ENTRY = (0.9682, 0.9680, 0.00101)  # w_1 w_2, the edge of the band and the data loss where the band is entered
HALF_DIGIT = (5e-5, 5e-5, 5e-6)


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Loss on a grid, states (penalties, starts, steps, 2) of flow and descent, predictions for both."""
    model, starts, lr = st.scalar_chain(2), np.array(params["starts"]), params["lr"]
    steps, penalties = np.arange(params["steps"] + 1), np.array(params["penalties"])
    exact = DOP853(rtol=params["tolerance"], atol=params["tolerance"])
    seen = {"loss": Loss(model)}
    flow, descent, loss = [], [], []
    for weight_decay in deep_linear.weight_decay_of_penalty(penalty=penalties):
        rule = st.GradientFlow(weight_decay)
        flow.append(st.simulate(model, rule, starts, steps * lr, integrator=exact, keep_states=True).states)
        rule = st.GradientDescent(lr, weight_decay)
        run = st.simulate(model, rule, starts, steps, keep_states=True, observe=seen)
        descent.append(run.states)
        loss.append(run["loss"][0])
    data = {"flow": np.array(flow), "descent": np.array(descent), "steps": steps, "penalties": penalties}
    axis = np.linspace(-params["reach"], params["reach"], params["grid"])
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    grid = st.simulate(model, st.GradientDescent(lr), points, [0.0], observe=seen)["loss"]
    data |= {
        "axis": axis,
        "loss": grid.reshape(axis.size, -1),
        "lr": np.array(lr),
        "descent_loss": np.array(loss),
    }
    data["sharpness"] = sharpness(model, data["flow"][0, :, -1])
    return data | _predicted(data, starts)


def _predicted(data: dict[str, np.ndarray], starts: np.ndarray) -> dict[str, np.ndarray]:
    """Everything the theory says about these runs."""
    flow, descent, penalties, lr = data["flow"], data["descent"], data["penalties"], data["lr"]
    start = frobenius_imbalance(starts, WIDTHS)[:, 0]
    now = frobenius_imbalance(descent, WIDTHS)[..., 0]
    product = chain_product(descent)
    step = deep_linear.ginsburg_imbalance_step(
        lr=lr, penalty=penalties[:, None, None], imbalance=now, slope=2 * (product - 1), rest=1.0
    )
    end_sum = inverse_square_sum(flow[0, 0, -1])
    band = {"end_to_end": product, "inverse_squares": inverse_square_sum(descent), "depth": 2.0}
    return {
        "flow_imbalance": frobenius_imbalance(flow, WIDTHS)[..., 0],
        "descent_imbalance": now,
        "product": product,
        "imbalance_law": deep_linear.ginsburg_imbalance_flow(
            step=data["steps"], lr=lr, penalty=penalties[:, None, None], imbalance0=start[:, None]
        ),
        "imbalance_step": step,
        "flow_ends": np.stack(deep_linear.flow_endpoint(*starts.T), axis=-1),
        "flow_sharpness": deep_linear.sharpness_two_layers(
            imbalance=frobenius_imbalance(flow[0, :, -1], WIDTHS)[:, 0], two_layer_target=1.0
        ),
        "band": deep_linear.weight_decay_band_lower(penalty=penalties[:, None, None], **band),
        "limit": deep_linear.ginsburg_end_to_end(penalty=penalties),
        "optimisation": np.array(deep_linear.optimisation_time(lr=lr, inverse_squares=end_sum)),
        "regularisation": np.array(deep_linear.regularisation_time(lr=lr, penalty=penalties[-1])),
    }  # fmt: skip


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    start = data["flow_imbalance"][:, :, :1]
    kept = data["flow_imbalance"][0] / start[0] - 1
    law = data["flow_imbalance"][1:, :, :TOLD] / data["imbalance_law"][1:, :, :TOLD] - 1
    step = (data["imbalance_step"][:, :, :-1] - data["descent_imbalance"][:, :, 1:]) / np.abs(start)
    entry, loss = _entry(data), data["descent_loss"][-1]
    inside = _in_band(data)[entry:]
    at_entry = np.array([data["product"][-1, 0, entry], data["band"][-1, 0, entry], loss[entry]])
    ends = np.abs(np.abs(data["descent"][-1, :, -1]) - np.sqrt(data["limit"][-1]))
    told = [
        np.abs(data["descent_imbalance"][m, 0, k]) / v - 1
        for m, at in IMBALANCE_AT.items()
        for k, v in at.items()
    ]
    shrunk = np.abs(data["descent_imbalance"][0, :, -1] / start[0, :, 0])
    return [
        at_most("flow_keeps_imbalance", np.abs(kept).max(), 1e-9, "Flow keeps the imbalance to {found:.0e}"),
        at_most("flow_ends_where_predicted", _distance(data["flow"][0, :, -1], data["flow_ends"]), 1e-8,
                "and ends within {found:.0e} of the prediction;"),
        at_most("flow_ends_as_told", _distance(data["flow"][0, :, -1], FLOW_ENDS), 1e-5,
                "both agree with an independent computation to its five digits."),
        at_most("descent_ends_as_told", _distance(data["descent"][0, :, -1], DESCENT_ENDS), 1e-5,
                "So do the ends of gradient descent,"),
        at_most("descent_shrinks_imbalance", shrunk.max(), 0.999,
                f"which keeps {shrunk.min():.1%} to {{found:.1%}} of the imbalance."),
        at_most("sharpness_by_imbalance", _distance(data["sharpness"], data["flow_sharpness"]), 1e-6,
                "The sharpness at the ends is 2 (D^2 + 4)^(1/2) to {found:.0e}."),
        at_most("decay_is_exponential", np.abs(law).max(), 1e-6,
                "Penalised flow follows exp(-4 lr mu k) to {found:.0e};"),
        at_most("step_identity", np.abs(step).max(), 1e-13,
                "every step of gradient descent obeys the exact step of the imbalance to {found:.0e}"),
        at_most("imbalance_as_told", np.abs(told).max(), 2e-3, "and the independent numbers to {found:.0e}."),
        near("enters_the_band", entry, 20, 0, "With mu = 0.05, w_1 w_2 enters the band at step {found:.0f}"),
        at_most("entry_as_told", np.max(np.abs(at_entry - ENTRY) / HALF_DIGIT), 1.0,
                f"at {at_entry[0]:.4f}, its edge at {at_entry[1]:.4f} (the independent numbers),"),
        at_least("stays_in_the_band", inside.mean(), 1.0, "and never leaves it;"),
        at_most("loss_falls_before", np.diff(loss[: max(entry, 2)]).max(), 0.0,
                f"the data loss falls in every step before, to {loss[entry]:.5f} there,"),
        near("loss_rises_after", loss[-1], data["penalties"][-1] ** 2, 1e-6,
             "then rises to {found:.6f} (mu^2 = {expected:.6f})."),
        at_most("ends_at_the_flat_minimum", ends.max(), 1e-6,
                "All four penalised runs end at the predicted flat minimum within {found:.0e}."),
        at_least("phases_are_apart", data["regularisation"] / data["optimisation"], 10.0,
                 "The predicted time of the second phase is {found:.0f} times that of the first."),
    ]  # fmt: skip


def _distance(found: np.ndarray, expected: Any) -> float:
    """Largest difference of two arrays."""
    return float(np.abs(found - np.asarray(expected)).max())


def _in_band(data: dict[str, np.ndarray]) -> np.ndarray:
    """Is w_1 w_2 of the penalised run from the first start in the weight-decay band?"""
    product = data["product"][-1, 0]
    return (product >= data["band"][-1, 0] * (1 - 1e-12)) & (product <= 1)


def _entry(data: dict[str, np.ndarray]) -> int:
    """First step in the band."""
    return int(np.argmax(_in_band(data)))


def _shifted(name: str, by: float) -> Any:
    """Spoil one array by adding a constant."""
    return lambda data: data | {name: data[name] + by}


BROKEN = {
    "flow_keeps_imbalance": lambda data: data | {"flow_imbalance": data["descent_imbalance"]},
    "flow_ends_where_predicted": _shifted("flow_ends", 1e-6),
    "flow_ends_as_told": lambda data: data | {"flow": data["descent"]},
    "descent_ends_as_told": lambda data: data | {"descent": data["flow"]},
    "descent_shrinks_imbalance": lambda data: data | {"descent_imbalance": data["flow_imbalance"]},
    "sharpness_by_imbalance": _shifted("flow_sharpness", 1e-3),
    "decay_is_exponential": lambda data: data | {"flow_imbalance": data["descent_imbalance"]},
    "step_identity": lambda data: data | {"descent_imbalance": data["flow_imbalance"]},
    "imbalance_as_told": lambda data: data | {"descent_imbalance": data["flow_imbalance"]},
    "enters_the_band": _shifted("band", 5e-3),
    "entry_as_told": _shifted("band", 5e-3),
    "stays_in_the_band": lambda data: data | {"band": data["band"] + 1e-3 * (data["steps"] > 100)},
    "loss_falls_before": lambda data: data | {"descent_loss": data["descent_loss"] * (1 + data["steps"] % 2)},
    "loss_rises_after": lambda data: data | {"descent_loss": data["descent_loss"][:, :100]},
    "ends_at_the_flat_minimum": lambda data: data | {"descent": data["descent"][:, :, :100]},
    "phases_are_apart": _shifted("optimisation", 50.0),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Two planes, imbalance, data loss."""
    figure, ((plain, decayed), (imbalance, loss)) = style.page(
        2, 2, 4.9, gridspec_kw={"height_ratios": (1.4, 1)}
    )
    _draw_plane(plain, data, 0, np.arange(61))
    style.letter(plain, "a", "flow and gradient descent")
    plain.plot(*data["flow_ends"].T, "x", color=style.BLACK, markersize=5, markeredgewidth=1.1, zorder=6)
    _draw_plane(decayed, data, -1, SHOWN)
    style.letter(decayed, "b", rf"with weight decay, $\mu={data['penalties'][-1]:g}$")
    corner = np.sqrt(data["limit"][-1])
    _draw_ends(plain.inset_axes((0.13, 0.64, 0.32, 0.32)), data)
    decayed.plot([corner, -corner], [corner, -corner], "*", color=style.BLACK, markersize=6, zorder=6)
    _draw_imbalance(imbalance, data)
    _draw_loss(loss, data)
    return figure


def _draw_plane(axes: Axes, data: dict[str, np.ndarray], penalty: int, steps: np.ndarray) -> None:
    """Contours of the data loss, trajectories from every start."""
    axis = data["axis"]
    levels = np.geomspace(1e-3, 1e2, 11)
    loss = np.maximum(data["loss"], levels[0])
    axes.contourf(axis, axis, loss, levels, cmap="Greys", norm=LogNorm(1e-3, 1e9), zorder=0)
    branch = np.geomspace(1 / axis[-1], axis[-1], 100)
    for sign in (1, -1):
        axes.plot(sign * branch, sign / branch, color=style.GREY, linewidth=0.8, zorder=1)
    for number, colour in enumerate(STARTS):
        axes.plot(*data["flow"][penalty, number].T, color=colour, linewidth=1.0, zorder=3)
        axes.plot(*data["descent"][penalty, number, steps].T, ".", color=colour, markersize=3, zorder=4)
        axes.plot(*data["flow"][penalty, number, 0], "s", color=colour, markersize=4.5, zorder=5)
    axes.set(aspect="equal", xlabel="$w_1$", ylabel="$w_2$", xlim=axis[[0, -1]], ylim=axis[[0, -1]])
    axes.set_xticks([-2, -1, 0, 1, 2])
    axes.set_yticks([-2, -1, 0, 1, 2])


def _draw_ends(axes: Axes, data: dict[str, np.ndarray]) -> None:
    """Where flow and gradient descent from the first start end, enlarged."""
    first = np.linspace(0.53, 0.59, 50)
    axes.plot(first, 1 / first, color=style.GREY, linewidth=0.8)
    axes.plot(*data["flow"][0, 0].T, color=STARTS[0], linewidth=1.0)
    axes.plot(*data["descent"][0, 0].T, ".", color=STARTS[0], markersize=4)
    axes.plot(*data["flow_ends"][0], "x", color=style.BLACK, markersize=5, markeredgewidth=1.1)
    axes.set(xlim=(0.54, 0.575), ylim=(1.755, 1.805), xticks=[0.55, 0.57], yticks=[1.76, 1.78, 1.8])
    axes.spines[:].set_visible(True)
    axes.tick_params(labelsize=6)


def _draw_imbalance(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "imbalance from $(0.1, 1.7)$")
    last = 1200
    for number, (mu, colour) in enumerate(zip(data["penalties"], PENALTIES, strict=True)):
        rows = {
            name: np.abs(data[name][number, 0, : last + 1])
            for name in ("flow_imbalance", "descent_imbalance", "imbalance_law")
        }
        axes.plot(data["steps"][: last + 1], rows["flow_imbalance"], color=colour, linewidth=4, alpha=0.3)
        axes.plot(
            data["steps"][: last + 1 : 75],
            rows["descent_imbalance"][::75],
            "o",
            color=colour,
            markerfacecolor="white",
            markeredgewidth=0.7,
            zorder=6,
        )
        axes.plot(data["steps"][: last + 1], rows["imbalance_law"], **style.PREDICTED)
        at = rows["imbalance_law"][700 if number < 2 else 450]
        axes.annotate(
            rf"$\mu={mu:g}$",
            (700 if number < 2 else 450, at),
            (4, 4),
            textcoords="offset points",
            color=colour,
            fontsize=7,
        )
    axes.set(yscale="log", xlabel="step $k$", ylabel=r"$|w_1^2-w_2^2|$", ylim=(1e-5, 10), xlim=(-20, last))
    axes.legend(handles=_keys(), loc="lower left")


def _keys() -> list[Line2D]:
    """Legend entries of the imbalance."""
    return [
        Line2D([], [], color=style.GREY, linewidth=4, alpha=0.4, label="flow"),
        Line2D(
            [],
            [],
            color=style.GREY,
            marker="o",
            linestyle="",
            markerfacecolor="white",
            label="gradient descent",
        ),
        Line2D([], [], label="prediction", **style.PREDICTED),
    ]


def _draw_loss(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "data loss, two phases")
    entry = _entry(data)
    axes.axvspan(1, entry, color=style.GREY, alpha=0.15, linewidth=0)
    for number in (0, len(PENALTIES) - 1):
        axes.plot(data["steps"][1:], data["descent_loss"][number, 1:], color=PENALTIES[number], linewidth=0.8)
        axes.plot(SHOWN, data["descent_loss"][number, SHOWN], ".", color=PENALTIES[number], markersize=4)
    axes.axhline(data["penalties"][-1] ** 2, color=style.GREY, linewidth=0.8, linestyle=":")
    axes.set(
        xscale="log", yscale="log", xlabel="step $k$", ylabel="$(w_1w_2-1)^2$", ylim=(1e-6, 2), xlim=(1, 4000)
    )
    axes.text(1.3, 0.8, "optimisation", fontsize=6.5, color=style.GREY)
    axes.text(entry * 1.2, 0.8, "regularisation", fontsize=6.5, color=style.GREY)
    _draw_band(axes.inset_axes((0.56, 0.12, 0.42, 0.31)), data)


def _draw_band(axes: Axes, data: dict[str, np.ndarray]) -> None:
    """w_1 w_2 of the penalised run and the band."""
    last = 301
    axes.fill_between(
        data["steps"][:last], data["band"][-1, 0, :last], 1.0, color=style.SKY, alpha=0.35, linewidth=0
    )
    axes.plot(data["steps"][:last:4], data["product"][-1, 0, :last:4], ".", color=style.BLACK, markersize=1.5)
    axes.axhline(data["limit"][-1], color=style.GREY, linewidth=0.8, linestyle=":")
    axes.set(ylim=(0.93, 1.01), xlim=(0, last))
    axes.set_ylabel("$w_1w_2$", fontsize=6)
    axes.tick_params(labelsize=6)
