"""Two phases of training with both time constants measured: across the valley, then along it (after Ginsburg 2020).

The gradient of the loss of a deep linear network moves its product, across the valley of minima; what regularises,
weight decay or noise, drifts along the valley. The reader should see the two speeds of one run cross (a); both time
constants follow their formulas, the first independent of the penalty, the second inverse to it (b); the same second
phase under label noise, at its own rate (c); and matrix layers, whose first phase ends with their slowest mode (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most
from sdetheory import observables
from sdetheory.integrators import DOP853
from sdetheory.models.weights import gaussian_weights
from sdetheory.predictions import deep_linear

CLAIMS = ("D14", "D20", "D30", "D44")
CAPTION = """Speeds across the valley (in the span of the gradients of the product of the layers) and along it. (a) Two
scalar layers on (w_1 w_2 - 1)^2 from (0.1, 1.7), flow in steps of 0.05 with penalty mu (w_1^2 + w_2^2): speed across
(solid) and along (broad) for three mu; dashed: the slope of exp(-k/tau_1), and the predicted speed along the hyperbola
w_1 w_2 = 1; triangles: the switch. (b) Both time constants and the switch measured on such runs from two starts against
mu (markers); dashed: tau_1 = 1/(2 lr S) at the end of the unpenalised flow and tau_2 = 1/(4 lr mu). (c) SGD with label
noise of standard deviation sigma, mean of all paths, from (0.5, 1.1): measured tau_2 against sigma for two learning
rates; dashed: predicted. (d) Three matrix layers with weight decay: speeds, imbalance of neighbouring layers (dots),
predicted exponentials (dashed; the slope of the first from the smallest eigenvalue of the kernel at the gradient-flow
solution)."""

PARAMS: dict[str, Any] = {
    "starts": [[0.1, 1.7], [1.6, 0.3]],
    "lr": 0.05,
    "penalties": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
    "shown": [0, 2, 4],
    "records": 241,
    "noise_start": [0.5, 1.1],
    "rates": [0.03, 0.08],
    "sigmas": [0.12, 0.17, 0.24, 0.35, 0.5],
    "paths": 512,
    "falls": 1.5,
    "widths": [3, 4, 4, 2],
    "decay": 1e-5,
    "gain": 1.2,
    "seed": 5,
}
QUICK = PARAMS | {"penalties": [3e-4, 1e-3, 3e-3, 1e-2], "shown": [0, 1, 3], "sigmas": [0.2, 0.3, 0.5], "paths": 256}

COLOURS = (style.BLUE, style.GREEN, style.ORANGE)
EXACT = DOP853(rtol=1e-12, atol=1e-13)
FIRST = 60.0  # steps recorded densely


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Runs of the three kinds, their phases, the predicted time constants."""
    return _penalised(params) | _noisy(params) | _matrices(params)


def _penalised(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Flows of two layers for all penalties, and one without."""
    model, lr = st.scalar_chain(2), params["lr"]
    starts, penalties = np.array(params["starts"]), np.array(params["penalties"])
    second = deep_linear.regularisation_time(lr=lr, penalty=penalties)
    total = observables.inverse_square_sum(observables.flow_limit(model, starts))
    constants, times, across, along = [], [], [], []
    for penalty, tau in zip(penalties, second, strict=True):
        steps = np.concatenate([np.linspace(0, FIRST, params["records"]), np.geomspace(FIRST + 1, 3 * tau, 60)])
        rule = st.GradientFlow(float(deep_linear.weight_decay_of_penalty(penalty=penalty)))
        states = st.simulate(model, rule, starts, lr * steps, integrator=EXACT, keep_states=True).states
        found = [observables.two_phases(model, steps, run) for run in states]
        constants.append([phases[:3] for phases in found])
        times.append(found[0].times)
        across.append(found[0].across)
        along.append(found[0].along)
    states = st.simulate(
        model, st.GradientFlow(), starts[0], lr * np.linspace(0, 20, 81), integrator=EXACT, keep_states=True
    ).states[0]
    gradient = observables.spectra.gradient(model, states)
    gap = np.abs(observables.frobenius_imbalance(starts[0], (1, 1, 1)))
    weights = {"weight_decay": 2 * penalties[:, None], "t": lr * np.array(times)}
    imbalance = deep_linear.imbalance_flow(imbalance0=gap, **weights)
    squares = deep_linear.sharpness_two_layers(imbalance=imbalance, two_layer_target=1.0) / 2
    whole, outside = observables.valley_motion(model, states, gradient)
    return {
        "penalties": penalties,
        "constants": np.array(constants),
        "first_time": deep_linear.optimisation_time(lr=lr, inverse_squares=total),
        "second_time": second,
        "times": np.array(times),
        "across": np.array(across),
        "along": np.array(along),
        # along w_1 w_2 = 1 an arc of length ds changes D = w_1^2 - w_2^2 by 2 sqrt(w_1^2 + w_2^2) ds
        "along_told": imbalance / second[:, None] / (2 * np.sqrt(squares)),
        "gradient_along": outside / whole,
        "shown": np.array(params["shown"]),
    }


def _noisy(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """SGD with label noise; the second time from the mean of S over the fitted stretch."""
    model, start = st.scalar_chain(2), np.array(params["noise_start"])
    total = float(observables.inverse_square_sum(observables.flow_limit(model, start)))
    found, told = [], []
    for lr in params["rates"]:
        for sigma in params["sigmas"]:
            rate = deep_linear.label_noise_imbalance_rate(lr=lr, noise=sigma, inverse_squares=(total + 2) / 2)
            last = params["falls"] / rate
            steps = np.unique(np.round(np.concatenate([np.arange(0, 20 / lr, 1 / lr), np.linspace(40 / lr, last, 12)])))
            run = st.simulate(
                model, st.SGD(lr), start, steps, noise=st.label_noise(model, sigma), paths=params["paths"],
                keep_states=True, seed=params["seed"],
            )  # fmt: skip
            found.append(observables.two_phases(model, steps, run.states.mean(axis=0)).regularisation_time)
            told.append(1 / rate)
    shape = len(params["rates"]), len(params["sigmas"])
    return {
        "rates": np.array(params["rates"]),
        "sigmas": np.array(params["sigmas"]),
        "noisy_time": np.reshape(found, shape),
        "noisy_told": np.reshape(told, shape),
    }


def _matrices(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Flow of matrix layers with weight decay."""
    rng, widths, decay = np.random.default_rng(params["seed"]), tuple(params["widths"]), params["decay"]
    target = rng.standard_normal((widths[-1], widths[0]))
    model, w = st.deep_linear(widths, target), gaussian_weights(widths, rng, gain=params["gain"])
    steep = observables.kernel_spectrum(model, observables.flow_limit(model, w))
    slow = 1 / steep[-1]
    ts = np.concatenate([np.linspace(0, 25 * slow, params["records"]), np.geomspace(26 * slow, 1.2 / decay, 60)])
    states = st.simulate(model, st.GradientFlow(decay), w, ts, integrator=EXACT, keep_states=True).states[0]
    phases = observables.two_phases(model, ts, states)
    return {
        "matrix_constants": np.array(phases[:3]),
        "matrix_told": np.array([1 / steep[-1], 1 / (2 * decay)]),
        "matrix_times": phases.times,
        "matrix_across": phases.across,
        "matrix_along": phases.along,
        "matrix_ts": ts,
        "matrix_imbalance": observables.imbalance_norm(states, widths),
        "matrix_law": deep_linear.imbalance_flow(
            imbalance0=observables.imbalance_norm(w, widths), weight_decay=decay, t=ts
        ),
    }


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    switch, first, second = np.moveaxis(data["constants"], -1, 0)
    error = np.abs(first / data["first_time"] - 1)
    off = np.abs(second / data["second_time"][:, None] - 1)
    noisy = np.abs(data["noisy_time"] / data["noisy_told"] - 1)
    matrix = np.abs(data["matrix_constants"][1:] / data["matrix_told"] - 1)
    return [
        at_most("gradient_is_across", data["gradient_along"].max(), 1e-9,
                "At every state the gradient of the loss points across the valley (a part of {found:.0e} along it)."),
        at_most("first_phase", error[0].max(), 0.03,
                f"At mu = {data['penalties'][0]:g} the measured tau_1 is the predicted one within {{found:.1%}},"),
        at_most("first_phase_everywhere", error.max(), 0.3,
                "at larger mu within {found:.0%} (tau_2 is not far then);"),
        at_most("second_phase", off.max(), 1e-3, "tau_2 is as predicted within {found:.0e} at every mu."),
        at_least("switch_after_first", (switch / data["first_time"]).min(), 2.0,
                 "The switch comes at least {found:.1f} tau_1 after the start"),
        at_most("switch_before_second", (switch / data["second_time"][:, None]).max(), 0.2,
                "and before {found:.2f} tau_2."),
        at_most("speed_along", _drift_error(data), 0.05,
                "The speed along is that of D = D_0 exp(-k/tau_2) on w_1 w_2 = 1 within {found:.1%} from then on "
                "(mu up to 0.01)."),
        at_most("noise_sets_the_time", noisy.max(), 0.1,
                f"Under label noise tau_2 is as predicted within {{found:.1%}} over a range of a factor "
                f"{data['noisy_told'].max() / data['noisy_told'].min():.0f}."),
        at_most("matrices_first", matrix[0], 0.1, "For matrix layers tau_1 is off by {found:.1%}"),
        at_most("matrices_second", matrix[1], 1e-3, "and tau_2 by {found:.0e};"),
        at_most("matrix_imbalance", np.abs(data["matrix_imbalance"] / data["matrix_law"] - 1).max(), 1e-6,
                "their imbalance follows exp(-2 wd t) within {found:.0e}."),
    ]  # fmt: skip


def _drift_error(data: dict[str, np.ndarray]) -> float:
    """Largest relative error of the speed along after the switch, first start, of the shown penalties."""
    late = data["times"] > data["constants"][:, :1, 0]
    error = np.where(late, np.abs(data["along"] / data["along_told"] - 1), 0.0)
    return float(error[data["shown"]].max())


def _times(name: str, factor: float) -> Any:
    """Spoil one array by a factor."""
    return lambda data: data | {name: data[name] * factor}


def _constant(which: int, factor: float) -> Any:
    """Spoil the switch (0) or one time constant (1, 2)."""
    factors = np.where(np.arange(3) == which, factor, 1.0)
    return lambda data: data | {"constants": data["constants"] * factors}


BROKEN = {
    "gradient_is_across": lambda data: data | {"gradient_along": data["gradient_along"] + 1e-6},
    "first_phase": _constant(1, 1.1),
    "first_phase_everywhere": _constant(1, 1.5),
    "second_phase": _constant(2, 1.01),
    "switch_after_first": _constant(0, 0.1),
    "switch_before_second": _constant(0, 20.0),
    "speed_along": _times("along_told", 1.2),
    "noise_sets_the_time": _times("noisy_told", 1.25),
    "matrices_first": _times("matrix_constants", 1.3),
    "matrices_second": _times("matrix_constants", 1.01),
    "matrix_imbalance": _times("matrix_law", 1.01),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Speeds, time constants, label noise, matrix layers."""
    figure, ((speeds, constants), (noise, matrices)) = style.page(2, 2, 4.5)
    _draw_speeds(speeds, data)
    _draw_constants(constants, data)
    _draw_noise(noise, data)
    _draw_matrices(matrices, data)
    return figure


def _draw_speeds(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "two layers, speeds of the flow")
    for index, colour in zip(data["shown"], COLOURS, strict=True):
        times, across, along = (data[name][index] for name in ("times", "across", "along"))
        axes.plot(times, along, color=colour, linewidth=3.5, alpha=0.35)
        axes.plot(times, across, color=colour, linewidth=1.1, label=rf"$\mu={style.power(data['penalties'][index])}$")
        switch = data["constants"][index, 0, 0]
        axes.plot(switch, np.interp(switch, times, along), "v", color=colour, markersize=5, zorder=6)
        late = times > switch
        axes.plot(times[late], data["along_told"][index][late], **style.PREDICTED)
    early = np.linspace(6, 30, 50)
    anchor = np.interp(6, data["times"][data["shown"][0]], data["across"][data["shown"][0]])
    axes.plot(early, 2.5 * anchor * np.exp(-(early - 6) / data["first_time"][0]), **style.PREDICTED)
    axes.set(xscale="log", yscale="log", xlabel="step $k$", ylabel="speed", xlim=(1, 3e4), ylim=(1e-7, 5))
    handles, labels = axes.get_legend_handles_labels()
    handles += [Line2D([], [], color=style.GREY, linewidth=width, alpha=a) for width, a in ((1.1, 1.0), (3.5, 0.5))]
    axes.legend(handles, [*labels, "across", "along"], loc="upper right", ncols=1)


def _draw_constants(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "two layers, time constants")
    mu, line = data["penalties"], np.array([data["penalties"][0] / 1.5, data["penalties"][-1] * 1.5])
    marks = (("v", style.GREY, "switch"), ("o", style.BLUE, r"$\tau_1$"), ("s", style.VERMILION, r"$\tau_2$"))
    for which, (mark, colour, label) in enumerate(marks):
        for start, fill in enumerate((colour, "white")):
            axes.plot(mu, data["constants"][:, start, which], mark, color=colour, markerfacecolor=fill, markersize=4,
                      label=label if start == 0 else None, zorder=6)  # fmt: skip
    for first in data["first_time"]:
        axes.plot(line, [first, first], **style.PREDICTED)
    axes.plot(line, data["second_time"][0] * mu[0] / line, **style.PREDICTED)
    axes.set(xscale="log", yscale="log", xlabel=r"penalty $\mu$", ylabel="steps", ylim=(1.5, 8e6))
    handles, labels = axes.get_legend_handles_labels()
    handles += [Line2D([], [], marker="o", linestyle="", color=style.GREY, markerfacecolor=fill, markersize=4)
                for fill in (style.GREY, "white")]  # fmt: skip
    axes.legend(handles, [*labels, "from $(0.1, 1.7)$", "from $(1.6, 0.3)$"], loc="upper right", ncols=2)


def _draw_noise(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "label noise, second phase")
    for lr, found, told, colour in zip(data["rates"], data["noisy_time"], data["noisy_told"], COLOURS, strict=False):
        axes.plot(data["sigmas"], found, "o", color=colour, label=rf"$\eta={lr:g}$")
        axes.plot(data["sigmas"], told, **style.PREDICTED)
    axes.set(xscale="log", yscale="log", xlabel=r"label noise $\sigma$", ylabel=r"$\tau_2$ (steps)", xlim=(0.1, 0.56))
    axes.set_xticks([0.1, 0.2, 0.5], ["0.1", "0.2", "0.5"])
    axes.minorticks_off()
    axes.plot([], [], **style.PREDICTED, label="prediction")
    axes.legend(loc="lower left")


def _draw_matrices(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "three matrix layers, weight decay")
    times, (first, _) = data["matrix_times"], data["matrix_told"]
    axes.plot(times, data["matrix_along"], color=style.GREEN, linewidth=3.5, alpha=0.35, label="speed along")
    axes.plot(times, data["matrix_across"], color=style.GREEN, linewidth=1.1, label="speed across")
    ts = data["matrix_ts"]
    axes.plot(ts[1::12], data["matrix_imbalance"][1::12], "o", color=style.BLUE, markersize=3, label="imbalance")
    axes.plot(ts[1:], data["matrix_law"][1:], **style.PREDICTED)
    shown = np.linspace(2.0, 12.0, 50) * first
    anchor = np.interp(shown[0], times, data["matrix_across"])
    axes.plot(shown, 3 * anchor * np.exp(-(shown - shown[0]) / first), **style.PREDICTED)
    switch = data["matrix_constants"][0]
    axes.plot(switch, np.interp(switch, times, data["matrix_along"]), "v", color=style.GREEN, markersize=5, zorder=6)
    axes.set(xscale="log", yscale="log", xlabel="time", ylim=(1e-7, 30))
    axes.legend(loc="lower left")
