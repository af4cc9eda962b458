"""The public run of two scalar layers: loss and sharpness of descent and of SGD (after Cockpit, appendix).

Data, start, learning rate and batches are those of the public code. The reader should see the losses of both come
to rest together within a hundred steps (a); the sharpness of descent stay where it first arrived while that of SGD,
which leaves out five of a hundred samples in a step, falls over 10^5 steps to its floor (b); and the imbalance follow
the line predicted from the variance of those batches (c).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_most, near
from sdetheory.lanes.random import increments
from sdetheory.models.deep_linear_batches import batch_members
from sdetheory.observables import chain_product, sharpness
from sdetheory.predictions import public_run

CLAIMS = ("D31",)
CAPTION = """Mean squared error of y = w_1 w_2 x on the 100 public samples, from (0.1, 1.7), learning rate 0.1;
descent on all samples and SGD on 95 of them, drawn anew in every step. (a) Loss of the batch (dots) and of all
samples (lines) of one path. (b) Largest Hessian eigenvalue of the loss of all samples: descent, three paths of SGD,
their mean over {paths} paths (circles); predictions (dashed) for descent and SGD, and the smallest possible (dotted).
(c) w_1^2 - w_2^2 of the same paths; crosses: an independent run."""

PARAMS: dict[str, Any] = {"paths": 32, "marks": 160, "seed": 0}
QUICK = PARAMS | {"paths": 8, "marks": 80}

COLOURS = {"descent": style.BLUE, "sgd": style.VERMILION}
# The theory sheet's numbers, from an independent computation: start, plateau of descent, imbalance of SGD.
START_LOSS, START_SHARPNESS = 1.67671, 5.1941
END_LOSS, END_SHARPNESS, END_IMBALANCE, FLOOR = 0.759325, 6.106881, -2.763861, 4.0473
TOLD = {1000: -2.70, 10_000: -2.20, 30_000: -1.41, 100_000: -0.325}
FINAL = -0.3273  # predicted after all steps, of the sheet


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Loss, sharpness and imbalance of both, (paths, marks), and their predictions."""
    x, y = public_run.public_data()
    model = st.deep_linear_from_data(x[None], y[None], (1, 1, 1))
    marks = np.unique(np.geomspace(1, public_run.STEPS, params["marks"]).astype(int))
    marks = np.unique([0, *marks, *TOLD])
    data = {"steps": marks, "paths": np.array(params["paths"])}
    for name, batch, paths in (("descent", len(x), 1), ("sgd", public_run.BATCH, params["paths"])):
        noise = st.minibatch(model, batch, replacement=False)
        states = st.simulate(  # twice the learning rate, for the model halves the square
            model, st.SGD(2 * public_run.RATE), public_run.START, marks, noise=noise, increment=st.Uniform(),
            seed=params["seed"], paths=paths, keep_states=True,
        ).states  # fmt: skip
        product = chain_product(states)
        data |= {
            f"{name}_loss": _errors(product[0], x, y).mean(axis=1),
            f"{name}_batch_loss": _batch_losses(noise, params["seed"], marks, _errors(product[0], x, y)),
            f"{name}_sharpness": 2 * sharpness(model, states),
            f"{name}_imbalance": states[..., 0] ** 2 - states[..., 1] ** 2,
        }
    return data | _predicted(x, y, data)


def _errors(product: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared error of every sample, (times, samples)."""
    return (product[:, None] * x - y) ** 2


def _batch_losses(noise: Any, seed: int, marks: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Loss of the batch that the step after each mark takes, on path 0."""
    z = [increments(seed, 0, k, k + 1, noise.drawn, increment=st.Uniform()) for k in marks]
    members = batch_members(noise, np.concatenate(z))
    return np.take_along_axis(errors, members, axis=1).mean(axis=1)


def _predicted(x: np.ndarray, y: np.ndarray, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Imbalance and sharpness after every step, from the plateau of descent on."""
    curvature, target = np.mean(x * x), np.mean(x * y) / np.mean(x * x)
    variance = public_run.slope_variance_without_replacement(
        residual_variance=np.var(x * x * target - x * y, ddof=1), batch=public_run.BATCH, samples=len(x)
    )
    known = {"curvature": curvature, "two_layer_target": target}
    size = np.geomspace(1, 0.05, 4000) * -data["descent_imbalance"][0, -1]
    clock = public_run.batch_imbalance_clock(size=size, lr=public_run.RATE, slope_variance=variance, **known)
    law = -np.exp(np.interp(data["steps"], clock - clock[0], np.log(size)))
    return {
        "law": law,
        "law_sharpness": public_run.quadratic_sharpness(imbalance=law, **known),
        "plateau": np.array(public_run.quadratic_sharpness(imbalance=data["descent_imbalance"][0, -1], **known)),
        "floor": np.array(public_run.quadratic_sharpness(imbalance=0.0, **known)),
    }


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    sgd, steps = data["sgd_imbalance"], data["steps"]
    mean = sgd.mean(axis=0)
    told = [mean[np.searchsorted(steps, k)] - value for k, value in TOLD.items()]
    late = steps >= 100
    kept = data["descent_sharpness"][0, late]
    flattened = data["sgd_sharpness"][:, late] - data["law_sharpness"][late]
    apart = np.abs(data["sgd_loss"] / data["descent_loss"] - 1)[late].max()
    return [
        near("start_loss", data["descent_loss"][0], START_LOSS, 5e-6, "Loss {found:.5f}"),
        near("start_sharpness", data["descent_sharpness"][0, 0], START_SHARPNESS, 5e-5,
             "and sharpness {found:.4f} of the start are the independent ones;"),
        near("end_loss", data["descent_loss"][-1], END_LOSS, 5e-7, "so are those of descent at the end, {found:.6f}"),
        near("end_sharpness", data["descent_sharpness"][0, -1], END_SHARPNESS, 5e-7, "and {found:.6f},"),
        near("plateau_as_predicted", data["descent_sharpness"][0, -1] / data["plateau"], 1.0, 1e-9,
             "which is the prediction from its imbalance"),
        near("end_imbalance", data["descent_imbalance"][0, -1], END_IMBALANCE, 5e-7, "of {found:.6f}."),
        at_most("descent_stays", np.ptp(kept), 1e-9, "From step 100 on it changes by {found:.0e}."),
        at_most("imbalance_as_predicted", np.abs(mean - data["law"])[late].max(), 0.02,
                "The mean imbalance of SGD follows its line to {found:.3f},"),
        at_most("imbalance_as_told", np.abs(told).max(), 0.02, "the independent run to {found:.3f}."),
        near("final_prediction", data["law"][-1], FINAL, 1e-4, "After 100000 steps the line is at {found:.4f},"),
        near("final_imbalance", mean[-1], data["law"][-1], 0.01,
             f"the mean over paths at {{found:.4f}} (standard deviation of a path {sgd[:, -1].std(ddof=1):.3f})."),
        near("floor", data["floor"], FLOOR, 5e-5, "The smallest sharpness is {found:.4f},"),
        near("sgd_flattens", flattened.mean(), 0.0, 0.03,
             "and the sharpness of SGD is {found:+.3f} off its line, mean over paths and times from step 100,"),
        at_most("losses_agree", apart, 0.01, "although its loss is that of descent to {found:.1%}."),
    ]  # fmt: skip


def _shifted(name: str, by: float) -> Any:
    """Spoil one array by adding a constant."""
    return lambda data: data | {name: data[name] + by}


BROKEN = {
    "start_loss": _shifted("descent_loss", 1e-4),
    "start_sharpness": _shifted("descent_sharpness", 1e-3),
    "end_loss": _shifted("descent_loss", 1e-5),
    "end_sharpness": _shifted("descent_sharpness", 1e-5),
    "plateau_as_predicted": _shifted("plateau", 1e-6),
    "end_imbalance": _shifted("descent_imbalance", 1e-5),
    "descent_stays": lambda data: data | {"descent_sharpness": data["sgd_sharpness"]},
    "imbalance_as_predicted": _shifted("law", 0.05),
    "imbalance_as_told": _shifted("sgd_imbalance", 0.05),
    "final_prediction": _shifted("law", 0.001),
    "final_imbalance": _shifted("law", 0.03),
    "floor": _shifted("floor", 0.001),
    "sgd_flattens": lambda data: data | {"sgd_sharpness": data["descent_sharpness"]},
    "losses_agree": lambda data: data | {"sgd_loss": data["sgd_loss"] * 1.05},
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Loss, sharpness, imbalance."""
    figure, (loss, sharp, imbalance) = style.page(1, 3, 2.1)
    _draw_loss(loss, data)
    _draw_paths(sharp, data, "sharpness", "law_sharpness")
    style.letter(sharp, "b", "sharpness")
    sharp.axhline(data["floor"], color=style.GREY, linewidth=0.8, linestyle=":")
    sharp.plot(data["steps"][[40, -1]], [data["plateau"]] * 2, **style.PREDICTED)
    sharp.set(ylabel=r"$\lambda_{\max}$", ylim=(3.7, 6.6))
    _draw_paths(imbalance, data, "imbalance", "law")
    style.letter(imbalance, "c", "imbalance")
    imbalance.plot(
        np.array(list(TOLD)) + 1, list(TOLD.values()), "x", color=style.BLACK, markersize=5, markeredgewidth=1, zorder=7
    )
    imbalance.set(ylabel="$w_1^2-w_2^2$", ylim=(-3, 0.05))
    for axes in (loss, sharp, imbalance):
        axes.set(xscale="log", xlabel="step + 1", xlim=(0.9, 1.8e5))
        axes.set_xticks([1, 100, 10_000])
        axes.minorticks_off()
    return figure


def _draw_loss(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "a", "loss")
    for name, label in (("sgd", "SGD"), ("descent", "descent")):
        if name == "sgd":
            axes.plot(data["steps"] + 1, data["sgd_batch_loss"], ".", color=COLOURS[name], markersize=2.2)
        axes.plot(data["steps"] + 1, data[f"{name}_loss"], color=COLOURS[name], label=label)
    axes.set(ylabel="mean squared error")
    axes.legend(loc="upper right")


def _draw_paths(axes: Axes, data: dict[str, np.ndarray], name: str, law: str) -> None:
    """Descent, three paths of SGD, their mean, the predicted line."""
    steps = data["steps"] + 1
    late = steps >= 30
    for path in data[f"sgd_{name}"][:3]:
        axes.plot(steps, path, color=COLOURS["sgd"], linewidth=0.5, alpha=0.6)
    axes.plot(steps, data[f"descent_{name}"][0], color=COLOURS["descent"])
    sparse = np.flatnonzero(late)[:: len(steps) // 16]
    mean = data[f"sgd_{name}"].mean(axis=0)
    axes.plot(steps[sparse], mean[sparse], "o", color=COLOURS["sgd"], markerfacecolor="white", zorder=4)
    axes.plot(steps[late], data[law][late], **style.PREDICTED)
