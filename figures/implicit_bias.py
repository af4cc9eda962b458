"""Diagonal linear networks: which fit flow selects by its start, and noise by shrinking w_+ w_-.

beta = w_+^2 - w_-^2 with more coordinates than samples. The reader should see the fit that flow selects move from the
least l2 to the least l1 norm as the start shrinks, along the prediction (a); label noise shrink w_+ w_- of every
coordinate at a rate of its own, the mean square of its input (b), so that the fit does not go to the least l1 norm
but to the least one weighted by these squares, its l1 norm rising on the way (c); and stochastic flow, whose noise
ends at the fit, select path by path the fit of the scale at which it ends (d).
"""

from typing import Any

import numpy as np
import scipy.optimize
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most
from sdetheory.integrators import DOP853
from sdetheory.models.diagonal_network import end_to_end, scale
from sdetheory.observers import Loss
from sdetheory.predictions import diagonal_networks

CLAIMS = ("D57", "D58")
CAPTION = """Diagonal linear networks beta = w_+^2 - w_-^2, L = |X beta - y|^2/(2n): n = 5 Gaussian samples, 12 inputs,
labels of a beta with two entries. (a) Excess over the least l1 norm, and over the least squared l2 norm, of the fit
that gradient flow from w_+ = w_- = alpha finds (markers), and of the fit of least Woodworth potential (dashed).
(b) SGD on labels with fresh noise of spread 1: w_+ w_- of the inputs with the largest, the median and the smallest
mean square (in the legend), mean over paths (markers), and Pesme's law (dashed). (c) The same runs: norm of the mean
beta over the least norm of all fits, for l1 and for l1 weighted by the mean squares of the inputs (markers), and of
the predicted fit at the predicted w_+ w_- (dashed). (d) Stochastic gradient flow: change of every coordinate of beta at
the end against flow without noise, on every path, over the change predicted from that path's own integral of the loss;
dashed: equality."""

PARAMS: dict[str, Any] = {
    "samples": 5,
    "inputs": 12,
    "data_seed": 0,
    "alphas": [1e-3, 3],
    "starts": 13,
    "start": 0.7,
    "lr": 0.005,
    "spread": 1.0,
    "steps": 400000,
    "records": 41,
    "paths": 64,
    "flow_lr": 0.04,
    "flow_start": 0.2,
    "dt": 0.01,
    "flow_steps": 3000,
    "flow_paths": 32,
    "seed": 1,
}
QUICK = PARAMS | {
    "starts": 7, "alphas": [1e-3, 1.0], "lr": 0.01, "steps": 100000, "records": 21, "paths": 32, "dt": 0.02,
    "flow_paths": 16,
}  # fmt: skip
NORMS = {"l1": style.BLUE, "weighted": style.GREEN}
COLOURS = (style.VERMILION, style.BLUE, style.GREEN)


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Ends of flows, label noise along time, ends of stochastic flows, and what the potentials say about each."""
    rng, width = np.random.default_rng(params["data_seed"]), params["inputs"]
    inputs = rng.standard_normal((params["samples"], width))
    labels = inputs[:, 0] - 0.7 * inputs[:, 1]
    model, squares = st.DiagonalNetwork(inputs, labels), np.mean(inputs**2, axis=0)
    data = {
        "squares": squares,
        "least_l1": _least(inputs, labels, np.ones(width)),
        "least_weighted": _least(inputs, labels, squares),
        "least_l2": np.array(np.sum((np.linalg.pinv(inputs) @ labels) ** 2)),
    }
    return data | _flows(model, params) | _label_noise(model, squares, params) | _stochastic(model, squares, params)


def _least(inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The least sum of weights |beta| of all fits, by linear programming."""
    costs, both = np.concatenate([weights, weights]), np.hstack([inputs, -inputs])
    return np.array(scipy.optimize.linprog(costs, A_eq=both, b_eq=labels).fun)


def _fits(model: Any, scales: np.ndarray) -> np.ndarray:
    """The fits of least potential at `scales` (..., d) of the coordinates."""
    rows = scales.reshape(-1, scales.shape[-1])
    fits = [diagonal_networks.selected_interpolant(model.inputs, model.labels, row)[0] for row in rows]
    return np.reshape(fits, scales.shape)


def _flows(model: Any, params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Gradient flow from equal halves; long enough for each start, its slowest rate is a power of alpha."""
    alphas = np.geomspace(*params["alphas"], params["starts"])
    ones, exact, ends = np.ones(2 * params["inputs"]), DOP853(rtol=1e-9, atol=1e-12), []
    for group in (alphas[alphas < 0.3], alphas[alphas >= 0.3]):
        long = 2000 / group[0] ** 0.3 if group[0] < 0.3 else 200 / group[0] ** 2
        run = st.simulate(model, st.GradientFlow(), group[:, None] * ones, [long], integrator=exact)
        ends.append(run.final)
    end, line = np.concatenate(ends), np.geomspace(*params["alphas"], 61)
    return {
        "alphas": alphas,
        "flow_fits": end_to_end(end),
        "flow_scale": scale(end),
        "selected": _fits(model, alphas[:, None] ** 2 * ones[: params["inputs"]]),
        "line_alphas": line,
        "line_fits": _fits(model, line[:, None] ** 2 * ones[: params["inputs"]]),
    }


def _label_noise(model: Any, squares: np.ndarray, params: dict[str, Any]) -> dict[str, np.ndarray]:
    """SGD on noisy labels: the noise is the loss, spread^2/2 over n samples."""
    steps = np.round(np.linspace(0, params["steps"], params["records"])).astype(int)
    noise = st.DiagonalLabelNoise(model, params["spread"])
    start = params["start"] * np.ones(2 * squares.size)
    run = st.simulate(
        model, st.SGD(params["lr"]), start, steps, noise=noise, paths=params["paths"], seed=params["seed"],
        keep_states=True,
    )  # fmt: skip
    law = diagonal_networks.stochastic_scale(
        scale0=params["start"] ** 2,
        lr=2 * params["lr"],  # of Pesme's loss, half of ours
        input_square=squares,
        loss_integral=params["lr"] * steps[:, None] * params["spread"] ** 2 / (2 * params["samples"]),
    )
    return {
        "steps": steps,
        "noisy_scale": scale(run.states).mean(axis=0),
        "noisy_beta": end_to_end(run.states).mean(axis=0),
        "noisy_law": law,
        "noisy_fits": _fits(model, law),
    }


def _stochastic(model: Any, squares: np.ndarray, params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Stochastic gradient flow to its fit, on every path the integral of its loss."""
    start, lr = params["flow_start"] * np.ones(2 * squares.size), params["flow_lr"]
    run = st.simulate(
        model, st.WeightDecaySDE(lr, 0.0), start, np.arange(params["flow_steps"] + 1), dt=params["dt"],
        noise=st.DiagonalFlowNoise(model), paths=params["flow_paths"], seed=params["seed"],
        observe={"loss": Loss(model)},
    )  # fmt: skip
    integral = lr * np.trapezoid(run["loss"], axis=1)
    law = diagonal_networks.stochastic_scale(
        scale0=params["flow_start"] ** 2, lr=2 * lr, input_square=squares, loss_integral=integral[:, None]
    )
    return {
        "last_loss": run["loss"][:, -1],
        "stochastic_scale": scale(run.final),
        "stochastic_law": law,
        "stochastic_beta": end_to_end(run.final),
        "stochastic_fits": _fits(model, law),
        "noiseless_fit": _fits(model, start[: squares.size] ** 2),
    }


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    l1, l2 = _excesses(data, "flow_fits")
    fall = np.log(data["noisy_scale"][-1] / data["noisy_scale"][0])
    law = np.log(data["noisy_law"][-1] / data["noisy_law"][0])
    norms = _norms(data, "noisy_beta")
    found, told = _changes(data)
    shrunk = np.log(data["stochastic_scale"] / data["stochastic_law"])
    return [
        at_most("flow_selects", np.abs(data["flow_fits"] - data["selected"]).max(), 1e-6,
                "Flow ends at the predicted fit to {found:.0e}"),
        at_most("flow_keeps", np.abs(data["flow_scale"] / data["alphas"][:, None] ** 2 - 1).max(), 1e-6,
                "and keeps w_+ w_- to {found:.0e}."),
        at_most("small_starts_are_l1", l1[0], 0.03,
                "From the smallest start its l1 norm is {found:.1%} above the least,"),
        at_most("large_starts_are_l2", l2[-1], 1e-3, "from the largest the squared l2 norm {found:.0e}."),
        at_most("scale_shrinks", np.abs(fall / law - 1).max(), 0.04,
                f"Under label noise w_+ w_- falls by factors e^{np.abs(law).min():.1f} to e^{np.abs(law).max():.1f}; "
                "the logarithms are those of the law within {found:.1%},"),
        at_most("mean_follows", np.abs(data["noisy_beta"] - data["noisy_fits"])[1:].max(), 0.04,
                "and the mean beta follows the predicted fit within {found:.3f}."),
        at_least("l1_rises", norms["l1"][1:].max() / (1 + _excesses(data, "noisy_fits")[0][0]), 1.1,
                 "Its l1 norm rises to {found:.2f} times that of the fit flow selects"),
        at_least("not_the_least_l1", norms["l1"][-1], 1.2, "and ends at {found:.2f} times the least,"),
        at_most("weighted_falls", norms["weighted"][-1], 1.05,
                "while the norm weighted by the mean squares ends at {found:.3f} times its least."),
        at_most("stochastic_flow_fits", data["last_loss"].max(), 1e-10,
                "Stochastic flow ends at a fit on every path (loss at most {found:.0e});"),
        at_most("stochastic_scale", shrunk.std(), 0.02,
                "ln w_+ w_- differs from the law by {found:.4f} (standard deviation)"),
        at_least("noise_moves_the_fit", np.abs(told).max(), 5e-3,
                 "and the fit is moved by up to {found:.3f},"),
        at_most("stochastic_flow_selects", np.linalg.norm(found - told) / max(np.linalg.norm(told), 1e-9), 0.15,
                "as predicted to {found:.1%} (root mean square)."),
    ]  # fmt: skip


def _excesses(data: dict[str, np.ndarray], fits: str) -> tuple[np.ndarray, np.ndarray]:
    """l1 norm and squared l2 norm over their least values, minus 1."""
    l1, l2 = np.abs(data[fits]).sum(axis=-1), np.sum(data[fits] ** 2, axis=-1)
    return l1 / data["least_l1"] - 1, l2 / data["least_l2"] - 1


def _norms(data: dict[str, np.ndarray], fits: str) -> dict[str, np.ndarray]:
    """l1 and weighted l1 norm over their least values."""
    sizes = np.abs(data[fits])
    weighted = sizes @ data["squares"]
    return {"l1": sizes.sum(axis=-1) / data["least_l1"], "weighted": weighted / data["least_weighted"]}


def _changes(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """beta at the end of stochastic flow and its predicted fits, minus the fit of the flow without noise."""
    return data["stochastic_beta"] - data["noiseless_fit"], data["stochastic_fits"] - data["noiseless_fit"]


def _scaled(name: str, factor: Any) -> Any:
    """Spoil one array by a factor."""
    return lambda data: data | {name: data[name] * factor}


def _first_fit(name: str) -> Any:
    """Noise that does not move the fits."""
    return lambda data: data | {name: np.broadcast_to(data["noiseless_fit"], data[name].shape)}


BROKEN = {
    "flow_selects": _scaled("selected", 1.001),
    "flow_keeps": _scaled("flow_scale", 1.001),
    "small_starts_are_l1": lambda data: data | {"flow_fits": data["flow_fits"][::-1]},
    "large_starts_are_l2": lambda data: data | {"flow_fits": data["flow_fits"][::-1]},
    "scale_shrinks": lambda data: data | {"noisy_law": data["noisy_law"][:, ::-1]},
    "mean_follows": lambda data: data | {"noisy_fits": data["noisy_fits"][:1].repeat(data["steps"].size, 0)},
    "l1_rises": lambda data: data | {"noisy_beta": data["noisy_fits"][:1].repeat(data["steps"].size, 0)},
    "not_the_least_l1": lambda data: data | {"noisy_beta": data["flow_fits"][:1].repeat(data["steps"].size, 0)},
    "weighted_falls": lambda data: data | {"noisy_beta": data["noisy_fits"][:1].repeat(data["steps"].size, 0)},
    "stochastic_flow_fits": lambda data: data | {"last_loss": data["last_loss"] + 1e-6},
    "stochastic_scale": lambda data: data | {"stochastic_law": data["stochastic_law"][:, ::-1]},
    "noise_moves_the_fit": _first_fit("stochastic_fits"),
    "stochastic_flow_selects": _first_fit("stochastic_beta"),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Fits of flow; label noise: scales, norms; stochastic flow."""
    figure, ((flow, shrink), (norms, stochastic)) = style.page(2, 2, 4.3)
    _draw_flow(flow, data)
    _draw_shrinking(shrink, data)
    _draw_norms(norms, data)
    _draw_stochastic(stochastic, data)
    return figure


def _draw_flow(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "gradient flow from $w_+=w_-=\\alpha$")
    names, colours = (r"$\|\beta\|_1$", r"$\|\beta\|_2^2$"), (style.BLUE, style.VERMILION)
    found, told = _excesses(data, "flow_fits"), _excesses(data, "line_fits")
    for name, colour, dots, line in zip(names, colours, found, told, strict=True):
        axes.plot(data["alphas"], dots, "o", color=colour, label=f"{name}, flow")
        axes.plot(data["line_alphas"], line, **style.PREDICTED)
    axes.plot([], [], **style.PREDICTED, label="prediction")
    axes.set(xscale="log", xlabel=r"$\alpha$", ylabel="excess over the least of all fits", ylim=(-0.01, 0.33))
    axes.legend(loc="upper right")


def _draw_shrinking(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "b", "label noise, one curve per input")
    order = np.argsort(data["squares"])
    for j, colour in zip((order[-1], order[order.size // 2], order[0]), COLOURS, strict=True):
        label = rf"$(X^\top X/n)_{{jj}}={data['squares'][j]:.2f}$"
        axes.plot(data["steps"][::2] / 1000, data["noisy_scale"][::2, j], "o", color=colour, label=label)
        axes.plot(data["steps"] / 1000, data["noisy_law"][:, j], **style.PREDICTED)
    axes.set(yscale="log", xlabel="step (thousands)", ylabel=r"mean $w_{+,j}w_{-,j}$")
    axes.legend(loc="lower left")


def _draw_norms(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "label noise, norms of the fit")
    found, told = _norms(data, "noisy_beta"), _norms(data, "noisy_fits")
    words = {"l1": r"$\sum|\beta_j|$", "weighted": r"$\sum(X^\top X/n)_{jj}|\beta_j|$"}
    for name, colour in NORMS.items():
        axes.plot(data["steps"][1:] / 1000, found[name][1:], "o", color=colour, label=words[name])
        axes.plot(data["steps"] / 1000, told[name], **style.PREDICTED)
    axes.axhline(1.0, color=style.GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="step (thousands)", ylabel="over the least of all fits", ylim=(0.97, 1.75))
    axes.legend(loc="upper right", ncols=2)


def _draw_stochastic(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "stochastic flow, all paths and inputs")
    found, told = (100 * change for change in _changes(data))
    reach = 1.1 * max(np.abs(found).max(), np.abs(told).max())
    axes.plot(told.ravel(), found.ravel(), ".", color=style.BLUE, markersize=2, alpha=0.6)
    axes.plot([-reach, reach], [-reach, reach], **style.PREDICTED)
    axes.set(xlabel=r"predicted $100\,(\beta_j-\beta_j^{\mathrm{flow}})$",
             ylabel=r"measured $100\,(\beta_j-\beta_j^{\mathrm{flow}})$",
             xlim=(-reach, reach), ylim=(-reach, reach))  # fmt: skip
    handles = [Line2D([], [], marker=".", linestyle="", color=style.BLUE, label="an input on a path"),
               Line2D([], [], label="equality", **style.PREDICTED)]  # fmt: skip
    axes.legend(handles=handles, loc="upper left")
