"""The picture of a scan: a heat map with iso-lines over two axes, or curves with error bars; predictions overlaid."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sdetheory.scan.experiments.protocol import known
from sdetheory.scan.groups import Found, Group
from sdetheory.scan.report import Report, scale_of, short

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SYMBOLS = "os^Dv<>"
STYLE: dict[str, Any] = {
    "font.size": 8, "axes.titlesize": 8, "legend.fontsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "axes.linewidth": 0.6,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42, "savefig.dpi": 200, "svg.hashsalt": "sdetheory", "mathtext.fontset": "cm",
}  # fmt: skip
PREDICTED: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 0.9}


def plot(found: Report, path: str | Path, *, observable: str | None = None, x: str | None = None,
         y: str | None = None, at: Mapping[str, str] | None = None, curves: bool = False) -> Path:  # fmt: skip
    """Draw one observable and write it to `path` (png, pdf or svg).

    x, y: the axes (default: the first two that vary); curves=True, or an axis of two values, draws curves along x,
    one a value of y.  at:
    parameter -> value (as text) for further axes.  Raises ValueError for unknown names and axes left open.
    """
    path = Path(path)
    name = found.chosen([observable] if observable else None)[0]
    groups = _selected(found, at or {})
    x, y = _axes(found, groups, x, y)
    style: Any = STYLE
    with rc_context(style):
        figure = Figure(figsize=(3.6, 2.9))
        axes = figure.subplots()
        heat = y is not None and not curves and min(len(_ticks(groups, n)) for n in (x, y)) > 2
        if heat and y is not None and _numbers(groups, x) and _numbers(groups, y):
            draw_map(axes, found, groups, name, x, y)
        else:
            draw_curves(axes, found, groups, name, x, y)
        try:
            figure.savefig(path, metadata=_no_date(path))
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def _no_date(path: Path) -> dict[str, Any]:
    return {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {"Software": None}}.get(path.suffix, {})


def _selected(found: Report, at: Mapping[str, str]) -> list[Group]:
    """Groups whose parameters print as asked."""
    known("the store", at, found.axes, "axis")
    groups = [g for g in found.groups if all(short(g.parameters.get(n)) == _as_shown(v) for n, v in at.items())]
    if not groups:
        asked = ", ".join(f"{n}={v}" for n, v in at.items())
        values = "; ".join(f"{n}: {', '.join(short(v) for v in _ticks(found.groups, n))}" for n in at)
        raise ValueError(f"no group has {asked}; there are {values}")
    return groups


def _as_shown(text: str) -> str:
    try:
        return short(float(text)) if "." in text or "e" in text.lower() else text
    except ValueError:
        return text


def _axes(found: Report, groups: Sequence[Group], x: str | None, y: str | None) -> tuple[str, str | None]:
    """Names of the axes to draw; everything else must be fixed."""
    open_axes = [n for n in found.axes if len(_ticks(groups, n)) > 1]
    known("the store", [n for n in (x, y) if n], found.axes, "axis")
    rest = [n for n in open_axes if n not in (x, y)]
    if x is None:
        if not rest:
            raise ValueError("nothing varies in this store: `sdetheory show` prints its one group")
        x = rest.pop(0)
    if y is None and rest:
        y = rest.pop(0)
    if rest:
        free = "; ".join(f"{n}: {', '.join(short(v) for v in _ticks(groups, n))}" for n in rest)
        raise ValueError(f"fix the further axes with --at NAME=VALUE: {free}")
    return x, y


def _ticks(groups: Sequence[Group], name: str) -> list[Any]:
    values = list(dict.fromkeys(_hashable(g.parameters.get(name)) for g in groups))
    return sorted(values) if all(isinstance(v, int | float) for v in values) else values


def _hashable(value: Any) -> Any:
    return short(value) if isinstance(value, list | dict) else value


def _numbers(groups: Sequence[Group], name: str) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in _ticks(groups, name))


def _label(found: Report, name: str) -> str:
    """Name and unit of an observable or a parameter."""
    from sdetheory.scan.experiments import find

    text = name.replace("_", " ")
    try:
        what = find(found.groups[0].experiment)
    except (ValueError, ImportError):
        return text
    one = what.observables.get(name) or what.parameters.get(name)
    unit = re.sub(r"\^(\{[^}]*\}|-?\w+)", r"$^{\1}$", getattr(one, "unit", ""))
    return f"{text} [{unit}]" if unit and unit != "1" else text


# -- two axes


def draw_map(axes: Axes, found: Report, groups: Sequence[Group], name: str, x: str, y: str) -> None:
    """Cells coloured by the mean over seeds; lines of equal value: white as measured, dashed as predicted."""
    columns, rows = _ticks(groups, x), _ticks(groups, y)
    values, laws = (np.full((len(rows), len(columns)), np.nan) for _ in range(2))
    marks: dict[str, list[tuple[float, float]]] = {"differs": [], "no result": []}
    for group in groups:
        i, j = rows.index(group.parameters[y]), columns.index(group.parameters[x])
        one = group.found(name)
        if one is None:
            marks["no result"].append((columns[j], rows[i]))
            continue
        values[i, j], laws[i, j] = one.mean, np.nan if one.predicted is None else one.predicted
        if one.verdict == "differs":
            marks["differs"].append((columns[j], rows[i]))
    scales = [scale_of(found.description, n, ticks) for n, ticks in ((x, columns), (y, rows))]
    seen = values[np.isfinite(values)]
    logarithmic = bool(seen.size) and bool((seen > 0).all()) and seen.max() > 8 * seen.min()
    low, high = (seen.min(), seen.max()) if seen.size else (0.0, 1.0)
    norm = LogNorm(low, high) if logarithmic and high > low else Normalize(low, high)
    edges = [_edges(np.array(t, dtype=float), s) for t, s in zip((columns, rows), scales, strict=True)]
    mesh = axes.pcolormesh(*edges, values, norm=norm, cmap="cividis", rasterized=True)
    bar = axes.figure.colorbar(mesh, ax=axes, label=_label(found, name))
    bar.outline.set_linewidth(0.5)
    _few(bar.ax.yaxis, logarithmic, low, high)
    axes.set(xscale=scales[0], yscale=scales[1], xlabel=_label(found, x), ylabel=_label(found, y))
    axes.set_xlim(edges[0][0], edges[0][-1])
    axes.set_ylim(edges[1][0], edges[1][-1])
    _few_ticks(axes)
    levels = np.geomspace(low, high, 7)[1:-1] if logarithmic else np.linspace(low, high, 7)[1:-1]
    handles: list[Any] = []
    labels: list[tuple[Any, dict[float, str]]] = []
    figure: Any = axes.figure
    if min(values.shape) > 1 and high > low:
        where = (np.array(columns, dtype=float), np.array(rows, dtype=float))
        white = {"colors": "white", "linewidths": 1.4, "linestyles": "-"}
        black = {"colors": "black", "linewidths": 0.9, "linestyles": [(0, (4, 2))]}
        for number, (field, lines_look) in enumerate(((values, white), (laws, black))):
            if np.isfinite(field).sum() > 3:
                lines = _contours(axes, where, scales, field, levels, logarithmic, lines_look)
                labels += [lines] if number == 1 or not _any(laws) else []
        handles.append(Line2D([], [], color="0.75", linewidth=1.4, label="measured"))
        handles += [Line2D([], [], label="predicted", **PREDICTED)] if _any(laws) else []
    for text, (symbol, colour) in {"differs": ("x", "#D55E00"), "no result": ("s", "0.5")}.items():
        if marks[text]:
            points = np.array(marks[text]).T
            look: dict[str, Any] = {"marker": symbol, "color": colour, "s": 14, "linewidths": 1.0, "zorder": 5}
            handles.append(axes.scatter(*points, label=text, **look))
    if handles:
        axes.figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    for drawn, texts in labels:
        figure.draw_without_rendering()  # the angles of the labels are those of the final layout
        for label in axes.clabel(drawn, fmt=texts, fontsize=6, inline_spacing=2, colors="black"):
            label.set_path_effects([withStroke(linewidth=2, foreground="white")])


def _any(field: np.ndarray) -> bool:
    return bool(np.isfinite(field).any())


def _contours(
    axes: Axes, where: tuple[np.ndarray, np.ndarray], scales: Sequence[str], field: np.ndarray, levels: np.ndarray,
    logarithmic: bool, look: Mapping[str, Any],
) -> tuple[Any, dict[float, str]]:  # fmt: skip
    """Iso-lines and their labels; found on a refined bilinear grid, in logarithms where the scale is logarithmic."""
    fine = [_refined(w, s) for w, s in zip(where, scales, strict=True)]
    with np.errstate(invalid="ignore"):
        surface = np.log(field) if logarithmic else field
    half = np.array([np.interp(_scaled(fine[0], scales[0]), _scaled(where[0], scales[0]), row) for row in surface])
    full = np.array([np.interp(_scaled(fine[1], scales[1]), _scaled(where[1], scales[1]), col) for col in half.T]).T
    at = np.log(levels) if logarithmic else levels
    drawn = axes.contour(*fine, np.ma.masked_invalid(full), levels=at, **look)
    return drawn, {a: f"{float(f'{v:.2g}'):g}" for a, v in zip(at, levels, strict=True)}


def _scaled(x: np.ndarray, scale: str) -> np.ndarray:
    return np.log(x) if scale == "log" else x


def _refined(ticks: np.ndarray, scale: str, factor: int = 8) -> np.ndarray:
    t = np.arange((len(ticks) - 1) * factor + 1) / factor
    fine = np.interp(t, np.arange(len(ticks)), _scaled(ticks, scale))
    return np.exp(fine) if scale == "log" else fine


def _edges(ticks: np.ndarray, scale: str) -> np.ndarray:
    """Borders of the cells: half way between ticks, in logarithms on a logarithmic axis."""
    t = _scaled(ticks, scale)
    if len(t) == 1:
        inner = np.array([t[0] - 0.5, t[0] + 0.5])
    else:
        middle = (t[1:] + t[:-1]) / 2
        inner = np.concatenate([[2 * t[0] - middle[0]], middle, [2 * t[-1] - middle[-1]]])
    return np.exp(inner) if scale == "log" else inner


# -- one axis


def draw_curves(axes: Axes, found: Report, groups: Sequence[Group], name: str, x: str, y: str | None) -> None:
    """Mean over seeds with two standard errors along x, one colour a value of y; predictions as dashed lines."""
    lines = _ticks(groups, y) if y is not None else [None]
    if len(lines) > len(COLOURS):
        raise ValueError(f"`{y}` has {len(lines)} values, at most {len(COLOURS)} curves can be told apart: use --at")
    ticks, numeric = _ticks(groups, x), _numbers(groups, x)
    predicted, all_values = False, []
    for value, colour, symbol in zip(lines, COLOURS, SYMBOLS, strict=False):
        mine = [g for g in groups if y is None or _hashable(g.parameters.get(y)) == value]
        pairs = [(g.parameters[x], one) for g in mine if (one := g.found(name)) is not None]
        if numeric:
            pairs.sort(key=lambda pair: pair[0])
        at = [p if numeric else ticks.index(p) for p, _ in pairs]
        values = [one.mean for _, one in pairs]
        errors = [2 * (one.standard_error or 0.0) for _, one in pairs]
        label = None if y is None else f"{value:.3g}" if isinstance(value, float) else short(value)
        axes.errorbar(at, values, errors, marker=symbol, color=colour, markersize=3.5, linestyle="", elinewidth=0.8,
                      markerfacecolor="white", markeredgewidth=0.9, label=label)  # fmt: skip
        if numeric and not any(one.predicted is not None for _, one in pairs):
            axes.plot(at, values, color=colour, linewidth=0.7, alpha=0.5)  # to tell the curves apart
        _draw_laws(axes, at, [one for _, one in pairs], colour, joined=numeric)
        predicted |= any(one.predicted is not None for _, one in pairs)
        all_values += values
    if numeric:
        axes.set_xscale(scale_of(found.description, x, ticks))
    else:
        axes.set_xticks(range(len(ticks)), [short(t) for t in ticks])
    if all_values and min(all_values) > 0 and max(all_values) > 8 * min(all_values):
        axes.set_yscale("log")
    _few_ticks(axes)
    axes.set(xlabel=_label(found, x), ylabel=_label(found, name))
    handles, labels = axes.get_legend_handles_labels()
    if predicted:
        handles, labels = [*handles, Line2D([], [], **PREDICTED)], [*labels, "predicted"]
    if y is not None:
        axes.figure.legend(handles, labels, loc="outside right center", title=_label(found, y), title_fontsize=7)
    elif handles:
        axes.figure.legend(handles, labels, loc="outside upper center")


def _draw_laws(axes: Axes, at: Sequence[float], found: Sequence[Found], colour: str, joined: bool) -> None:
    """The predictions: a dashed line through them, or a bar at each."""
    known_ = [(p, one.predicted) for p, one in zip(at, found, strict=True) if one.predicted is not None]
    if not known_:
        return
    where, laws = zip(*known_, strict=True)
    if joined and len(where) > 1:
        axes.plot(where, laws, **{**PREDICTED, "color": colour})
    else:
        axes.plot(where, laws, linestyle="", marker="_", markersize=10, color="black")


def _few_ticks(axes: Axes) -> None:
    """On a logarithmic axis of less than a decade or so, label 1, 2 and 5 too."""
    for axis in (axes.xaxis, axes.yaxis):
        _few(axis, axis.get_scale() == "log", *sorted(axis.get_view_interval()))


def _few(axis: Any, logarithmic: bool, low: float, high: float) -> None:
    if logarithmic and low > 0 and high / low < 40:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
