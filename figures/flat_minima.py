"""Flat minima and layer imbalance: what imbalance says about sharpness, and where it is silent (after Ginsburg 2020).

Two scalar layers: the minima of (w_1 w_2 - 1)^2 are a hyperbola, flat at the diagonal and sharp near the axes (a, his
first figure), and the imbalance |w_1^2 - w_2^2| vanishes on the diagonals (b, his second), so that it orders minima by
sharpness. The reader should see that three layers break this, and what remains: shrinking all gaps flattens (c); and
that matrix layers are flat where their spectral norms agree, which their Frobenius norms need not (d).
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import sdetheory as st
from figures.press import style
from figures.press.expectation import Expectation, at_least, at_most, between, near
from sdetheory import observables
from sdetheory.models.weights import pack
from sdetheory.predictions import deep_linear, flat_factors, flow_sharpness

CLAIMS = ("D3", "D4", "D5", "D6", "D47", "D48", "D49")
CAPTION = """(a) L = (w_1 w_2 - 1)^2 (grey, contours a factor ten apart) and its minima, coloured by sharpness. (b)
Layer imbalance |w_1^2 - w_2^2| (contours) and the same minima (black); lines: gradient flow from four starts
(squares), which stays on a contour. (c) Sharpness 2S of minima of three layers against their imbalance: minima with
random gaps (dots), the extremes (dashed; above: two equal large squares, below: the best middle square), three minima
of an independent computation (crosses); arrows: all gaps halved. (d) Two 2 x 2 layers with product diag(4, 1), diag(2
c, 2), W_1 = diag(2/c, 1/2): largest Hessian eigenvalue by Lanczos (dots) and by the spectral norms (dashed), and
|W_2|_F^2 - |W_1|_F^2 (red line); the same with W_2 = diag(2 c, 1), W_1 = diag(2/c, 1) (open, dotted)."""

PARAMS: dict[str, Any] = {
    "starts": [[0.1, 1.7], [2.0, 0.1], [-0.2, -1.8], [1.6, 0.3]],
    "reach": 2.4,
    "grid": 121,
    "minima": 400,
    "widest": 3.0,
    "pairs": 14,
    "factors": 25,
    "seed": 1,
}
QUICK = PARAMS | {"grid": 61, "minima": 150, "factors": 13}
WIDTHS = (1, 1, 1)
# the theory sheet's numbers: gaps above the smallest square, imbalance, sharpness at W = 1
TOLD = (((0.0, 1.0, 1.0), 1.0, 7.0251), ((0.0, 0.0, 1.2), 1.2, 6.5855), ((0.0, 0.0, 1.0), 1.0, 6.4386))
MATRIX_TOLD = (8.0, 3.75)  # sharpness and Frobenius imbalance of diag(2, 2) diag(2, 1/2)
STARTS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE)


def compute(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Loss and imbalance on a grid, sharpness along the hyperbola, minima of three layers, matrix layers."""
    axis = np.linspace(-params["reach"], params["reach"], params["grid"])
    points = np.stack(np.meshgrid(axis, axis), axis=-1)
    branch = np.geomspace(1 / params["reach"], params["reach"], 81)
    curve, chain = np.stack([branch, 1 / branch], axis=-1), st.scalar_chain(2)
    starts = np.array(params["starts"])
    flow = st.simulate(chain, st.GradientFlow(), starts, np.geomspace(1e-2, 20, 40), keep_states=True).states
    return {
        "axis": axis,
        "loss": (observables.chain_product(points) - 1) ** 2,
        "imbalance": observables.layer_imbalance(points, WIDTHS),
        "curve": curve,
        "curve_sharpness": observables.hessian_eigenvalues(chain, curve)[:, 0],
        "curve_told": deep_linear.sharpness_two_layers(
            imbalance=observables.layer_imbalance(curve, WIDTHS), two_layer_target=1.0
        ),
        "starts": starts,
        "flow": flow,
        "flow_imbalance": observables.frobenius_imbalance(flow, WIDTHS)[..., 0],
        "start_imbalance": observables.frobenius_imbalance(starts, WIDTHS)[:, 0],
    } | _three_layers(params) | _matrices(params)  # fmt: skip


def _three_layers(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Imbalance and sharpness of minima with random gaps, of both extremes, of shrunk ones, of the told ones."""
    rng, chain = np.random.default_rng(params["seed"]), st.scalar_chain(3)
    random = np.outer(rng.uniform(0, params["widest"], params["minima"]), np.array([0.0, 1.0, 1.0]))
    random[:, 1] *= rng.uniform(size=len(random))
    wide = np.linspace(0.01, params["widest"], 61)
    middles = np.linspace(0, 1, 41)
    every = np.stack(np.broadcast_arrays(0.0, wide[:, None] * middles, wide[:, None]), axis=-1)
    told = np.array([pattern for pattern, _, _ in TOLD])

    def minimum(squares: np.ndarray) -> np.ndarray:
        """From any weights with these gaps the flow ends at the minimum that has them."""
        ends = observables.flow_limit(chain, np.sqrt(0.3 + squares))
        sizes = observables.layer_imbalance(ends, (1, 1, 1, 1))
        return np.stack([sizes, observables.sharpness(chain, ends)], axis=-1)

    return {
        "random": minimum(random),
        "random_formula": flow_sharpness.flow_sharpness(np.sqrt(0.3 + random)),
        "shrunk": minimum(random / 2),
        "wide": wide,
        "every": flow_sharpness.flow_sharpness(np.sqrt(0.3 + every)),  # by imbalance and middle square
        "told": minimum(told),
        "pairs": np.array(params["pairs"]),
    }


def _matrices(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Sharpness and Frobenius imbalance of factors of diag(4, 1), one mode shifted between the layers."""
    model, factors = st.deep_linear((2, 2, 2), np.diag([4.0, 1.0])), np.geomspace(0.5, 2, params["factors"])
    data = {"factors": factors, "flattest": np.array(flat_factors.flattest_matrix_sharpness(depth=2, strength=4.0))}
    for name, second in (("unbalanced", 2.0), ("balanced", 1.0)):
        states, norms = [], []
        for c in factors:
            lower, upper = np.diag([2 / c, 1 / second]), np.diag([2 * c, second])
            states.append(pack([lower, upper]))
            norms.append([np.linalg.norm(upper, 2), np.linalg.norm(lower, 2)])
        norms = np.array(norms)
        data |= {
            f"{name}_sharpness": observables.hessian_eigenvalues(model, np.array(states))[:, 0],
            f"{name}_told": flat_factors.two_matrix_sharpness(upper_norm=norms[:, 0], lower_norm=norms[:, 1]),
            f"{name}_imbalance": observables.frobenius_imbalance(np.array(states), (2, 2, 2))[:, 0],
        }
    return data


def expect(data: dict[str, np.ndarray]) -> list[Expectation]:
    """The sentences of the caption."""
    kept = np.abs(data["flow_imbalance"] - data["start_imbalance"][:, None]).max()
    told = np.array([[imbalance, sharp] for _, imbalance, sharp in TOLD])
    random, every = data["random"], data["every"]
    low, high = (np.interp(random[:, 0], data["wide"], line) for line in (every.min(axis=1), every[:, -1]))
    middle = int(np.argmin(np.abs(data["factors"] - 1)))
    found = data["unbalanced_sharpness"][middle], data["unbalanced_imbalance"][middle]
    return [
        at_most("sharpness_by_imbalance", _largest(data["curve_sharpness"] / data["curve_told"] - 1), 1e-9,
                "Of two layers the sharpness is 2 (D^2 + 4)^(1/2) to {found:.0e},"),
        near("flattest", data["curve_sharpness"].min(), 4.0, 1e-9, "at least {found:.4f}, on the diagonal."),
        at_most("flow_keeps", kept, 1e-5, "Flow stays on its contour to {found:.0e}."),
        at_most("three_layers", _largest(random[:, 1] / data["random_formula"] - 1), 1e-9,
                "Flows of three layers end where the closed form says, sharpness to {found:.0e};"),
        at_most("as_told", _largest(data["told"] - told), 6e-5, "the independent numbers are met ({found:.0e});"),
        at_least("not_ordered", data["told"][0, 1] - data["told"][1, 1], 0.4,
                 "of these the one with the larger imbalance, 1.2 against 1, is flatter by {found:.2f}."),
        at_most("between_extremes", max((low - random[:, 1]).max(), (random[:, 1] - high).max()), 0.01,
                "All random minima lie between the extremes (up to {found:.3f}, the lines are interpolated);"),
        between("middle", np.argmin(every[20]) / (every.shape[1] - 1), 0.01, 0.99,
                "at D = 1 the flattest has its middle square {found:.0%} of the way between the others."),
        at_most("shrinking_flattens", (data["shrunk"][:, 1] - random[:, 1]).max(), 1e-9,
                "Shrinking every gap flattens each of them."),
        at_most("spectral_norms", max(_largest(data[f"{name}_sharpness"] / data[f"{name}_told"] - 1)
                                      for name in ("unbalanced", "balanced")), 1e-9,
                "Matrix layers: Lanczos agrees with the spectral norms to {found:.0e};"),
        at_most("flat_but_unbalanced", max(abs(found[0] - MATRIX_TOLD[0]), abs(found[1] - MATRIX_TOLD[1])), 1e-9,
                f"at c = 1 the sharpness is {found[0]:.0f}, the least possible, at a Frobenius imbalance of "
                f"{found[1]:.2f} (both as told)."),
        at_most("never_below", (data["flattest"] - data["unbalanced_sharpness"]).max(), 1e-9,
                "No c is flatter than that."),
    ]  # fmt: skip


def _largest(errors: Any) -> float:
    """Largest size."""
    return float(np.abs(errors).max())


def _moved(name: str, by: float) -> Any:
    """Spoil one array by adding a constant."""
    return lambda data: data | {name: data[name] + by}


BROKEN = {
    "sharpness_by_imbalance": _moved("curve_told", 1e-3),
    "flattest": _moved("curve_sharpness", 1e-3),
    "flow_keeps": _moved("flow_imbalance", 1e-3),
    "three_layers": _moved("random_formula", 1e-3),
    "as_told": _moved("told", 1e-3),
    "not_ordered": lambda data: data | {"told": data["told"][[1, 0, 2]]},
    "between_extremes": lambda data: data | {"every": data["every"][:, ::-1]},
    "middle": lambda data: data | {"every": np.sort(data["every"], axis=1)},
    "shrinking_flattens": lambda data: data | {"shrunk": data["random"], "random": data["shrunk"]},
    "spectral_norms": _moved("balanced_told", 1e-3),
    "flat_but_unbalanced": _moved("unbalanced_imbalance", 1e-3),
    "never_below": _moved("flattest", 1e-3),
}


def draw(data: dict[str, np.ndarray]) -> Figure:
    """Loss, imbalance, three layers, matrix layers."""
    figure, ((loss, imbalance), (layers, matrices)) = style.page(2, 2, 4.9, gridspec_kw={"height_ratios": (1.35, 1)})
    axis = data["axis"]
    levels = np.geomspace(1e-3, 1e2, 11)
    style.letter(loss, "a", "loss and sharpness of its minima")
    loss.contourf(axis, axis, np.maximum(data["loss"], levels[0]), levels, cmap="Greys", norm=LogNorm(1e-3, 1e9))
    style.letter(imbalance, "b", "layer imbalance")
    lines = imbalance.contour(axis, axis, data["imbalance"], [1, 2, 3, 4], colors=style.GREY, linewidths=0.6)
    spots = [(0.0, side * np.sqrt(level)) for level in (1, 2, 3, 4) for side in (-1, 1)]
    imbalance.clabel(lines, fmt="%g", fontsize=6, manual=spots)
    imbalance.plot(axis, axis, color=style.GREY, linewidth=0.6, linestyle=":")
    imbalance.plot(axis, -axis, color=style.GREY, linewidth=0.6, linestyle=":")
    _draw_curve(figure, loss, data)
    for sign in (1, -1):
        imbalance.plot(*(sign * data["curve"].T), color=style.BLACK, linewidth=0.9)
    for flow, start, colour in zip(data["flow"], data["starts"], STARTS, strict=True):
        imbalance.plot(*flow.T, color=colour, linewidth=1.6)
        imbalance.plot(*start, "s", color=colour, markersize=4.5)
    for axes in (loss, imbalance):
        axes.set(aspect="equal", xlabel="$w_1$", ylabel="$w_2$", xlim=axis[[0, -1]], ylim=axis[[0, -1]])
        axes.set_xticks([-2, -1, 0, 1, 2])
        axes.set_yticks([-2, -1, 0, 1, 2])
    _draw_layers(layers, data)
    _draw_matrices(matrices, data)
    return figure


def _draw_curve(figure: Figure, axes: Axes, data: dict[str, np.ndarray]) -> None:
    """The hyperbola coloured by sharpness, with its scale."""
    norm = LogNorm(4, data["curve_sharpness"].max())
    for sign in (1, -1):
        pieces = np.stack([sign * data["curve"][:-1], sign * data["curve"][1:]], axis=1)
        axes.add_collection(LineCollection(list(pieces), array=data["curve_sharpness"][1:], norm=norm, cmap="plasma",
                                           linewidths=3))  # fmt: skip
    bar = figure.colorbar(ScalarMappable(norm, "plasma"), cax=axes.inset_axes((0.08, 0.93, 0.36, 0.035)),
                          orientation="horizontal", ticks=[4, 6, 10])  # fmt: skip
    bar.ax.set_xticklabels(["4", "6", "10"])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=6)
    bar.set_label(r"$\lambda_{\max}$", fontsize=7, labelpad=0)


def _draw_layers(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "c", "minima of three layers")
    axes.plot(*data["random"].T, ".", color=style.SKY, markersize=3, zorder=1)
    for before, after in zip(data["random"][: data["pairs"]], data["shrunk"], strict=False):
        axes.annotate("", after, before, arrowprops={"arrowstyle": "->", "color": style.BLUE, "linewidth": 0.6})
    for line in (data["every"].min(axis=1), data["every"][:, -1]):
        axes.plot(data["wide"], line, **style.PREDICTED)
    axes.plot(*data["told"].T, "x", color=style.VERMILION, markersize=5, markeredgewidth=1.4, zorder=6)
    axes.set(xlabel="layer imbalance $D$", ylabel=r"$\lambda_{\max}=2S$", xlim=(0, 3.05), ylim=(5.8, 20))
    rows = ((".", style.SKY, "random gaps"), ("x", style.VERMILION, "independent numbers"),
            (r"$\rightarrow$", style.BLUE, "gaps halved"))  # fmt: skip
    handles = [Line2D([], [], marker=mark, linestyle="", color=colour, label=label) for mark, colour, label in rows]
    axes.legend(handles=[*handles, Line2D([], [], label="extremes", **style.PREDICTED)], loc="upper left")


def _draw_matrices(axes: Axes, data: dict[str, np.ndarray]) -> None:
    style.letter(axes, "d", "matrix layers, product diag(4, 1)")
    marks = (
        ("unbalanced", style.BLUE, "diag$(2c,2)$ diag$(2/c,1/2)$"),
        ("balanced", "white", "diag$(2c,1)$ diag$(2/c,1)$"),
    )
    for name, fill, label in marks:
        axes.plot(data["factors"], data[f"{name}_sharpness"], "o", color=style.BLUE, markerfacecolor=fill, label=label,
                  markersize=5 if fill == "white" else 3, zorder=4 if fill == "white" else 6)  # fmt: skip
        axes.plot(data["factors"], data[f"{name}_told"], **style.PREDICTED)
        axes.plot(data["factors"], data[f"{name}_imbalance"], color=style.VERMILION,
                  linestyle="-" if name == "unbalanced" else ":")  # fmt: skip
    axes.axhline(0, color=style.GREY, linewidth=0.6)
    axes.text(0.88, -10, r"$\|W_2\|_F^2-\|W_1\|_F^2$", color=style.VERMILION)
    axes.set(xscale="log", xlabel="$c$", ylabel=r"$\lambda_{\max}$", ylim=(-16, 30))
    axes.set_xticks([0.5, 1, 2], ["1/2", "1", "2"])
    axes.minorticks_off()
    axes.legend(loc="upper center")
