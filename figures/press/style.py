"""The look of the figures: one style sheet, the Okabe-Ito colours by name, widths of a NeurIPS page."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

TEXT_WIDTH = 5.5  # inches of text on a NeurIPS page

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#808080"

# the dashed line of every figure
PREDICTED: dict[str, Any] = {"color": BLACK, "linestyle": (0, (4, 2)), "linewidth": 0.9, "zorder": 5}


def paper() -> AbstractContextManager[None]:
    """The style sheet on top of matplotlib's defaults, whatever the user's own settings are."""
    return style.context(["default", str(Path(__file__).with_name("paper.mplstyle"))])


def page(rows: int, columns: int, height: float, **axes: Any) -> tuple[Figure, Any]:
    """A figure as wide as the text, `height` inches high, with its axes; no state of pyplot."""
    figure = Figure(figsize=(TEXT_WIDTH, height))
    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(wspace=0.04, hspace=0.05)
    return figure, figure.subplots(rows, columns, **axes)


def letter(axes: Axes, mark: str, title: str) -> None:
    """The panel's letter in bold and what it shows, above its left edge."""
    axes.set_title(rf"$\mathbf{{{mark}}}$  {title}")


def power(number: float) -> str:
    """A number as mathtext: 2e-3 becomes 2 x 10^-3, 1e-3 just 10^-3."""
    factor, exponent = f"{number:.10e}".split("e")
    factor = f"{float(factor):g}"
    return rf"10^{{{int(exponent)}}}" if factor == "1" else rf"{factor}\times10^{{{int(exponent)}}}"


def renderer() -> str:
    """Name and version of what draws."""
    return f"matplotlib {matplotlib.__version__}"
