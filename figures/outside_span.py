"""Weights outside the span of the inputs under six rules (reconstruction of Liu et al. 2021, claims A12 to A15).

The gradient of a neuron in front of batch normalisation is a combination of centred inputs: what its weight has
outside their span is never trained. The reader should see that part stay under SGD, shrink by 1 - lr wd a step
under decay, follow the roots of heavy ball with decay, real or complex, and shrink under weight rescaling as
much as each gradient makes the norm grow, all to rounding (a, b); Adam move it, although no gradient points
there (a); rescaling stop where the training loss does, which decay does not (c); and the ratio to the whole
norm fall slowly by growth alone (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdetheory as st
from figures.press import style
from figures.press.decay_nets import Snapshots
from figures.press.digit_nets import one_thread_a_product
from figures.press.expectation import Expectation, at_least, at_most, between, near
from sdetheory import networks
from sdetheory.predictions import outside_span

CLAIMS = ("A12", "A13", "A14", "A15", "A7")
CAPTION = """First layer of nets {features}-{hidden}-{classes}, batch normalisation also on the logits, on {examples}
examples of {classes} Gaussian classes in a random {rank}-dimensional subspace; lr {lr:g}, start {init_scale:g} times
He's, {net_seeds} seeds. (a) Part outside the subspace over its value at the start, mean over neurons and seeds, fresh
label noise {noise:g}: symbols, measured; dashed: predictions (SGD with wd {wd:g}; heavy ball, momentum {momentum:g},
with lr wd below and above (1 - sqrt(mu))^2; rescaling to norm 1 after every step). (b) Largest error of the predictions
over neurons and seeds, in units of the start. (c) As (a) on classes {quiet_separation:g} times their width apart,
without label noise, all examples in each step. (d) Ratio of the part outside to the whole norm, averaged the same way,
under label noise."""

PARAMS: dict[str, Any] = {
    "features": 40, "rank": 8, "classes": 4, "hidden": 16, "examples": 200, "separation": 1.5, "noise": 0.3,
    "lr": 1.0, "wd": 5e-3, "momentum": 0.9, "real_wd": 2e-4, "complex_wd": 0.03, "adam_lr": 1e-2, "init_scale": 0.2,
    "quiet_separation": 4.0, "net_seeds": 5, "steps": 3000, "seed": 61,
}  # fmt: skip
QUICK = PARAMS | {"steps": 600, "net_seeds": 3}

RULES = ("SGD", "SGD, decay", "heavy ball, real roots", "heavy ball, complex roots", "rescaling", "Adam")
COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE, style.BLACK)
SYMBOLS = "osD^v"
PLAIN, DECAY, REAL, COMPLEX, RESCALING, ADAM = range(len(RULES))


@one_thread_a_product
def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Part outside over the start (rules, marks), the prediction, its error; the same without noise."""
    span = networks.random_span(params["features"], params["rank"], params["seed"])
    common = {"classes": params["classes"], "seed": params["seed"]}
    data, apart = (
        networks.clusters(params["examples"], span, separation=params[name], **common)
        for name in ("separation", "quiet_separation")
    )
    marks = np.unique(np.rint(np.geomspace(1, params["steps"], 24)).astype(int))
    rows = [_run(params, data, span, marks, rule, 32, params["noise"]) for rule in range(len(RULES))]
    quiet = [_run(params, apart, span, marks, rule, None, 0.0) for rule in (PLAIN, DECAY, RESCALING)]
    out = {"marks": marks}
    for name in rows[0]:
        out[name] = np.array([row[name] for row in rows])
        out[f"quiet_{name}"] = np.array([row[name] for row in quiet])
    return out | {"axis_adam": np.array(_along_axes(params, data)), "product": np.array(params["lr"] * params["wd"])}


def _rule(params: dict[str, Any], rule: int) -> tuple[Any, Any]:
    """Optimiser and rescaling."""
    lr, momentum = params["lr"], params["momentum"]
    return {
        PLAIN: (st.HeavyBall(lr, 0.0, 0.0), None),
        DECAY: (st.HeavyBall(lr, params["wd"], 0.0), None),
        REAL: (st.HeavyBall(lr, params["real_wd"], momentum), None),
        COMPLEX: (st.HeavyBall(lr, params["complex_wd"], momentum), None),
        RESCALING: (st.HeavyBall(lr, 0.0, 0.0), networks.WeightRescaling()),
        ADAM: (st.Adam(params["adam_lr"], 0.0), None),
    }[rule]


def _run(
    params: dict[str, Any], data: networks.Data, span: networks.Span, marks: np.ndarray, rule: int,
    batch_size: int | None, noise: float,
) -> dict[str, np.ndarray]:  # fmt: skip
    """What is left outside, what should be, its largest error (marks,), and the ratio to the norm."""
    net = networks.mlp((params["features"], params["hidden"], params["classes"]), normalised_output=True)
    optimiser, rescaling = _rule(params, rule)
    watch: list[Any] = [Snapshots(np.append(0, marks[:-1]))]
    if rescaling is not None:
        watch.append(networks.Norms(net.groups("neuron")[: params["hidden"]]))
    steps = int(marks[-1])
    run = networks.train(
        net, data, optimiser=optimiser, rescaling=rescaling, instruments=watch, steps=steps, record_every=steps,
        batch_size=batch_size, label_noise=noise, init_scale=params["init_scale"], seeds=_seeds(params),
    )  # fmt: skip
    weights = np.concatenate([run.readings["snapshots"]["weights"], run.final[:, None]], axis=1)
    first = net.groups()[0].select(weights).reshape(*weights.shape[:2], -1, params["features"])
    outside = np.linalg.norm(span.outside(first), axis=3)
    left = outside[:, 1:] / outside[:, :1]
    predicted = _predicted(params, rule, marks, run.readings)
    whole = np.linalg.norm(first, axis=3)[:, 1:]
    error = np.abs(left - np.abs(predicted)).max(axis=(0, 2))  # a norm does not see the sign of an oscillation
    return {"left": left.mean(axis=(0, 2)), "error": error, "ratio": (outside[:, 1:] / whole).mean(axis=(0, 2)),
            "predicted": np.broadcast_to(predicted, left.shape).mean(axis=(0, 2))}  # fmt: skip


def _seeds(params: dict[str, Any]) -> np.ndarray:
    return params["seed"] + np.arange(params["net_seeds"])


def _predicted(params: dict[str, Any], rule: int, marks: np.ndarray, readings: dict[str, Any]) -> np.ndarray:
    """c_t at the marks, (nets or 1, marks, neurons or 1)."""
    if rule == RESCALING:
        squares = readings["norms"]["gradient_norm"] ** 2
        factors = outside_span.outside_rescaled(lr=params["lr"], squared_gradient=squares, target=1.0)
        return np.cumprod(factors, axis=1)[:, marks - 1]
    if rule in (PLAIN, ADAM, DECAY):
        wd = params["wd"] if rule == DECAY else 0.0
        return outside_span.outside_decay(t=marks, lr=params["lr"], weight_decay=wd)[None, :, None]
    wd = params["complex_wd"] if rule == COMPLEX else params["real_wd"]
    left = [1.0, 1.0]
    for _ in range(int(marks[-1])):
        left.append(float(outside_span.outside_momentum_step(
            lr=params["lr"], weight_decay=wd, momentum=params["momentum"], outside=left[-1], outside_before=left[-2]
        )))  # fmt: skip
    return np.array(left)[1 + marks][None, :, None]


def _along_axes(params: dict[str, Any], data: networks.Data) -> float:
    """Largest change Adam makes outside a span along the axes: there no coordinate of the gradient is not 0."""
    wide, _ = networks.embedded(data, params["features"] + 10)
    net = networks.mlp((params["features"] + 10, params["hidden"], params["classes"]), normalised_output=True)
    seeds = _seeds(params)
    run = networks.train(net, wide, optimiser=st.Adam(params["adam_lr"], 0.0), steps=100, seeds=seeds)
    first = [net.groups()[0].select(w).reshape(len(seeds), params["hidden"], -1) for w in (net.start(seeds), run.final)]
    return float(np.abs(first[1] - first[0])[..., params["features"] :].max())


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    left, error = data["left"], data["error"]
    quiet, late = data["quiet_left"], len(data["marks"]) * 2 // 3
    slope = np.polyfit(np.log(data["marks"][-8:]), np.log(data["ratio"][PLAIN][-8:]), 1)[0]
    stopped = quiet[2, -1] / quiet[2, late]
    return [
        at_most("sgd_leaves_it", error[PLAIN].max(), 1e-12, "(a, b) SGD leaves the part outside alone to {found:.0e},"),
        at_most("decay_shrinks_it", error[DECAY].max(), 1e-12,
                f"decay shrinks it by 1 - lr wd a step, down to {left[DECAY, -1]:.0e} of the start, "
                "within {found:.0e};"),
        at_most("real_roots", error[REAL].max(), 1e-12, "heavy ball follows its recursion within {found:.0e}"),
        at_most("complex_roots", error[COMPLEX].max(), 1e-12, "for real and {found:.0e} for complex roots;"),
        at_most("rescaling_shrinks_it", error[RESCALING].max(), 1e-11,
                f"rescaling divides it by sqrt(1 + lr^2 |g|^2) a step, down to {left[RESCALING, -1]:.2g}, "
                "within {found:.0e}."),
        at_least("adam_moves_it", np.abs(left[ADAM] - 1).max(), 0.1,
                 "Adam, whose steps leave the span, changes it by {found:.0%} of the start:"),
        at_most("but_not_along_axes", data["axis_adam"], 0.0,
                "not so if the span lies along the axes (change {found:g}), as dark pixels do."),
        near("rescaling_stops", stopped, 1.0, 0.05,
             f"(c) Without label noise rescaling stops at {quiet[2, -1]:.2f} of the start (last third: factor "
             "{found:.3f}),"),
        at_most("decay_goes_on", quiet[1, -1] / quiet[1, late] / (left[1, -1] / left[1, late]), 1 + 1e-9,
                f"decay goes on as before, to {quiet[1, -1]:.0e}: the two are not equivalent."),
        between("ratio_falls_by_growth", slope, -0.27, -0.05,
                "(d) Under SGD alone growth takes the ratio to the whole norm down, as t^{found:.2f} at the end and "
                "never faster than t^-1/4 while gradients do not grow (dashed)."),
    ]  # fmt: skip


def _rule_spoilt(name: str, rule: int, value: float) -> Any:
    """One rule's row plus a value."""

    def spoil(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = data[name].copy()
        rows[rule] += value
        return data | {name: rows}

    return spoil


BROKEN = {
    "sgd_leaves_it": _rule_spoilt("error", PLAIN, 1e-9),
    "decay_shrinks_it": _rule_spoilt("error", DECAY, 1e-3),
    "real_roots": _rule_spoilt("error", REAL, 1e-6),
    "complex_roots": _rule_spoilt("error", COMPLEX, 1e-6),
    "rescaling_shrinks_it": _rule_spoilt("error", RESCALING, 1e-6),
    "adam_moves_it": lambda data: data | {"left": np.ones_like(data["left"])},
    "but_not_along_axes": lambda data: data | {"axis_adam": np.array(1e-6)},
    "rescaling_stops": lambda data: data | {"quiet_left": data["quiet_left"] * np.linspace(1, 0.1, len(data["marks"]))},
    "decay_goes_on": lambda data: data | {"quiet_left": data["quiet_left"] + 1e-3},
    "ratio_falls_by_growth": lambda data: data | {"ratio": data["ratio"] ** 6},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Part outside, error, without noise, ratio."""
    figure, ((left, error), (quiet, ratio)) = style.page(2, 2, 4.4)
    style.letter(left, "a", "part outside the span")
    for rule, name in enumerate(RULES):
        _draw_curve(left, data["marks"], data["left"][rule], data["predicted"][rule], rule, name)
    left.set(yscale="log", ylim=(1e-12, 100), ylabel=r"$\|P_\perp w_t\|/\|P_\perp w_0\|$")
    left.legend(loc="lower left", fontsize=5.5)
    style.letter(error, "b", "error of the prediction")
    for rule, name in enumerate(RULES[:ADAM]):
        shown = np.maximum(data["error"][rule], 1e-17)
        error.plot(data["marks"], shown, color=COLOURS[rule], linewidth=1.0, label=name)
    error.set(yscale="log", ylim=(1e-17, 1e-12), ylabel="largest error / start")
    style.letter(quiet, "c", "without label noise")
    for place, rule in enumerate((PLAIN, DECAY, RESCALING)):
        _draw_curve(quiet, data["marks"], data["quiet_left"][place], data["quiet_predicted"][place], rule, RULES[rule])
    quiet.set(yscale="log", ylim=(1e-8, 5), ylabel=r"$\|P_\perp w_t\|/\|P_\perp w_0\|$")
    style.letter(ratio, "d", "ratio to the whole norm")
    for rule in (PLAIN, DECAY, RESCALING, ADAM):
        ratio.plot(data["marks"], data["ratio"][rule], color=COLOURS[rule], linewidth=1.0, label=RULES[rule])
    tail = data["marks"][-10:]
    ratio.plot(tail, 1.15 * data["ratio"][PLAIN][-10] * (tail / tail[0]) ** -0.25, **style.PREDICTED)
    ratio.annotate(r"$t^{-1/4}$", (tail[3], 1.3 * data["ratio"][PLAIN][-7]), fontsize=7)
    ratio.set(yscale="log", ylim=(1e-5, 2), ylabel=r"$\|P_\perp w_t\|/\|w_t\|$")
    for axes in (left, error, quiet, ratio):
        axes.set(xscale="log", xlabel="step")
    return figure


def _draw_curve(axes: Axes, marks: np.ndarray, found: np.ndarray, predicted: np.ndarray, rule: int, name: str) -> None:
    """Symbols for what is measured, a dashed line for what is predicted; Adam has no law."""
    look = {"color": COLOURS[rule], "label": name}
    if rule == ADAM:
        axes.plot(marks, found, linewidth=1.0, **look)
        return
    axes.plot(marks, np.abs(predicted), **style.PREDICTED | {"zorder": 1})
    axes.plot(marks, found, linestyle="", marker=SYMBOLS[rule], markersize=3, markerfacecolor="white",
              markeredgewidth=0.7, **look)  # fmt: skip
