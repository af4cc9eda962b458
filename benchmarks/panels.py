"""Panels of error against time, one a case: how the studies of work and precision are drawn, and files written."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Style(NamedTuple):
    """What two studies draw differently."""

    columns: int  # panels side by side, at most
    size: tuple[float, float, float]  # inches of a panel, and of the legend below
    colours: Sequence[str]
    line: float  # widths of lines, size of the dots at the target
    dot: float
    error: str  # the label of the vertical axis
    legend: tuple[int, int]  # columns of the legend below many panels side by side, and below few
    few: int  # how many are few
    room: tuple[float, float]  # part of the figure below several rows of panels, and below one
    heading: str | None = None  # of the legend


def draw(
    results: dict[str, Any],
    titles: Sequence[str],
    methods: Mapping[str, str],
    ours: Mapping[str, Any],
    style: Style,
    out: pathlib.Path,
    name: str,
) -> list[pathlib.Path]:
    """Each row's methods (name -> label) with their least time to every error; ours solid, peers dashed."""
    plt = pyplot()
    rows = results["rows"]
    columns = min(style.columns, len(rows))
    lines = -(-len(rows) // columns)
    width, height, below = style.size
    size = (width * columns, height * lines + below)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True)
    for axis, row, title in zip(axes.ravel(), rows, titles, strict=False):
        for (method, label), colour in zip(methods.items(), style.colours, strict=True):
            found, dashes = row["methods"][method], "-" if method in ours else "--"
            axis.loglog(found["curve"], results["errors"], color=colour, lw=style.line, ls=dashes, label=label)
            axis.plot(found["time"], results["target"], "o", ms=style.dot, color=colour)
        axis.axhline(results["target"], color="0.7", lw=0.6, zorder=0)
        axis.set_title(title, fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("seconds on two threads", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel(style.error, fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    wide = style.legend[0] if columns > style.few else style.legend[1]
    figure.legend(
        handles, labels, loc="lower center", ncols=wide, fontsize=8, frameon=False,
        title=style.heading, title_fontsize=8,
    )  # fmt: skip
    figure.tight_layout(rect=(0.0, style.room[0] if lines > 1 else style.room[1], 1.0, 1.0))
    return save(figure, out, name)


def pyplot() -> Any:
    """matplotlib's, without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def save(figure: Any, out: pathlib.Path, name: str) -> list[pathlib.Path]:
    """As PNG and as PDF without a date; the figure is closed."""
    files = [out / f"{name}.png", out / f"{name}.pdf"]
    figure.savefig(files[0], dpi=160)
    figure.savefig(files[1], metadata={"CreationDate": None})
    pyplot().close(figure)
    return files
