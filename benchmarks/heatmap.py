"""W1 and W1b for a grid of depths and widths: by how much the best peer is slower, cell by cell, on one core.

A cell is `depth` layers of n x n: the adaptive flow of many members to t = 10, and gradient descent of 256
members (64 of n > 16).  Every peer installed must first give the candidate's numbers; each is tried with all of
its chunk sizes and timed with the best; those within a factor of the fastest are then timed again, round by
round, between runs of the candidate.  The flow's ensemble repeats 16 distinct starts, so that every peer's part
of the work is the same mixture.  Beside the ratio stands the most it could be: the peer's time over that of the
candidate's fused multiply-adds alone, as fast as this core makes them.

Cells run in a process of their own that may use one core, libraries' thread pools included, so that times are
processor times of that process: little moved by what else the machine does.
"""

import math
import multiprocessing
import os
import pathlib
import statistics
import textwrap
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from . import panels
from .rivals import Rival
from .timing import clock, interleave
from .workloads import Descent, Flow, descent, flow

DEPTHS, WIDTHS = (2, 3, 4, 6, 8), (2, 4, 8, 10, 16, 24, 32)
QUICK_DEPTHS, QUICK_WIDTHS = (2, 6), (4, 12)
GOALS = {"W1": (4.0, 6.0), "W1b": (4.0, 7.0)}
TITLES = {"W1": "adaptive gradient flow (W1)", "W1b": "gradient descent (W1b)"}
DISTINCT, END = 16, 10.0
CONTENDER = 2.0  # a peer this many times slower than the fastest is timed once only
CHUNKS = (16, 64, 256)
RHS_OF_A_STEP, STEPS_OF_A_FLOW = 12, 100  # of DOP853; about


class Contender(NamedTuple):
    """A way a peer does a workload, and the chunk sizes it may choose from."""

    rival: Rival
    letter: str
    chunks: tuple[int, ...] = ()
    widths: tuple[int, int] = (1, 1000)  # layers for which it has a chance

    def variants(self, members: int) -> list[Rival]:
        """The rival with each of its chunk sizes, up to all members."""
        options = [{**self.rival.options, "chunk": chunk} for chunk in self.chunks if chunk <= members]
        return [self.rival._replace(options=option) for option in options] or [self.rival]


def _rival(name: str, package: str, module: str, function: str, **options: Any) -> Rival:
    return Rival(name, package, f"with_{module}", function, 1.0, 1.0, options)


CONTENDERS = {
    "W1": (
        Contender(_rival("numbalsoda DOP853, loops", "numbalsoda", "numbalsoda", "flow"), "n"),
        Contender(_rival("numbalsoda DOP853, BLAS", "numbalsoda", "numbalsoda", "flow", blas=True), "b", (), (8, 1000)),
        Contender(_rival("scipy DOP853", "scipy", "scipy", "flow"), "s"),
        Contender(_rival("diffrax Tsit5", "diffrax", "diffrax", "flow", solver="Tsit5"), "d", (), (1, 16)),
        Contender(_rival("diffrax Dopri8", "diffrax", "diffrax", "flow", solver="Dopri8"), "D", (), (1, 16)),
    ),
    "W1b": (
        Contender(_rival("numpy, batched matmul", "numpy", "numpy", "descent"), "m", CHUNKS),
        Contender(
            _rival("numpy, einsum, members last", "numpy", "numpy", "descent", members_last=True), "e", CHUNKS, (1, 8)
        ),
        Contender(_rival("torch, bmm", "torch", "torch", "descent"), "t", CHUNKS),
        Contender(_rival("jax, vmap", "jax", "jax", "descent"), "j", CHUNKS[1:]),
        Contender(_rival("jax, members last", "jax", "jax", "descent", members_last=True), "J", CHUNKS[1:], (1, 8)),
    ),
}


# ---- one cell, in a process of its own


def flops(depth: int, n: int) -> float:
    """Of one gradient: 3 (depth - 1) products of n x n matrices."""
    return 6.0 * (depth - 1) * n**3


def _sums(part: Flow | Descent, depth: int, n: int) -> float:
    """Fused multiply-adds the candidate cannot do without: in products, and in the sums of slopes of a flow's steps."""
    products = 0.5 * flops(depth, n)
    if isinstance(part, Descent):
        return products * len(part.starts) * part.steps
    from sdetheory.integrators.dop853_tableau import E3, E5, A, B

    from .candidate import flow_steps

    accepted, rejected = flow_steps(part)
    stages, ends = np.count_nonzero(A[:12]), sum(np.count_nonzero(row) for row in (B, E3, E5))
    return products * (12 * accepted + 11 * rejected) + (stages + ends) * depth * n * n * (accepted + rejected)


def _work(name: str, depth: int, n: int, quick: bool) -> Flow | Descent:
    """The candidate's work in a cell: a sizeable part of a second, were it to run at 2 to 40 GFLOP/s."""
    seconds, speed = (0.05 if quick else 0.25), 4e10 * min(1.0, (n / 16) ** 1.5)
    if name == "W1":
        case = flow(DISTINCT, n, END, depth)
        member = RHS_OF_A_STEP * STEPS_OF_A_FLOW * flops(depth, n) / speed
        copies = min(max(round(seconds / member / DISTINCT), 2), 32)
        return case._replace(starts=np.tile(case.starts, (copies, 1, 1, 1)))
    members = 256 if n <= 16 else 64
    steps = seconds * speed / (members * flops(depth, n))
    return descent(members, min(max(round(steps), 20 if quick else 100), 10_000), n, depth)


def _part(case: Flow | Descent, share: float) -> tuple[Flow | Descent, float]:
    """A peer's part of the work, and which part it is: the distinct starts, or a share of the steps."""
    if isinstance(case, Flow):
        return case._replace(starts=case.starts[:DISTINCT]), DISTINCT / len(case.starts)
    steps = max(2, round(share * case.steps))
    return case._replace(steps=steps), steps / case.steps


def _fastest(contender: Contender, part: Flow | Descent, ours: Any) -> tuple[dict[str, Any], Any, float]:
    """The row of a peer, the call of its best chunk size, and the seconds of one run."""
    from .agreement import compare

    rival = contender.rival
    row: dict[str, Any] = {"name": rival.name, "letter": contender.letter, "version": rival.version}
    best, least = None, math.inf
    for variant in contender.variants(len(part.starts)):
        call = variant.prepare(part, 1)
        verdict = compare(part, ours, call())
        row |= {"status": str(verdict), "agrees": verdict.passed}
        if not verdict.passed:
            return row, None, math.inf
        seconds = clock(call).processor
        if seconds < least:
            best, least = call, seconds
            row["chunk"] = variant.options.get("chunk")
    return row, best, least


def measure(name: str, depth: int, n: int, quick: bool = False) -> dict[str, Any]:
    """One cell of one workload: rows of peers, the best of them, and the part of the core's limit reached."""
    from .candidate import PREPARE
    from .machine import multiply_adds

    case = _work(name, depth, n, quick)
    part, share = _part(case, 0.2)
    ours = PREPARE[name](case, 1)
    expected = PREPARE[name](part, 1)()
    rows, calls = [], {}
    for contender in CONTENDERS[name]:
        if not contender.widths[0] <= n <= contender.widths[1]:
            continue
        if contender.rival.version is None:
            rows.append({"name": contender.rival.name, "letter": contender.letter, "status": "not installed"})
            continue
        row, call, seconds = _fastest(contender, part, expected)
        rows.append(row)
        if call is not None:
            row["once"] = seconds / share
            calls[row["name"]] = (call, share, seconds)
    least = min((seconds for _, _, seconds in calls.values()), default=math.inf)
    raced = {key: (call, share) for key, (call, share, seconds) in calls.items() if seconds <= CONTENDER * least}
    raced["limit"] = (multiply_adds(_sums(part, depth, n)), share)
    race = interleave(ours, raced, 3 if quick else 5)
    return _summary(name, depth, n, rows, race)


def _summary(name: str, depth: int, n: int, rows: list[dict[str, Any]], race: Any) -> dict[str, Any]:
    seconds = statistics.median(run.processor for run in race.candidate)
    for row in rows:
        if row["name"] in race.rivals:
            ratio = race.processor(row["name"])
            row |= {"ratio": ratio.median, "low": ratio.low, "high": ratio.high}
            row["rounds"] = len(race.rivals[row["name"]])
        elif "once" in row:
            row |= {"ratio": row["once"] / seconds, "rounds": 1}
    cell = {"workload": name, "depth": depth, "width": n, "seconds": seconds, "rivals": rows}
    timed = [row for row in rows if row.get("rounds", 0) > 1]
    if timed:
        best = min(timed, key=lambda row: row["ratio"])
        cell |= {key: best[key] for key in ("ratio", "low", "high", "letter")} | {"peer": best["name"]}
        if "limit" in race.rivals:
            cell["share_of_limit"] = race.processor("limit").median
            cell["most"] = cell["ratio"] / cell["share_of_limit"]
    return cell


def _one_core() -> None:
    """This process and the thread pools it will start get one core."""
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=1 --xla_cpu_multi_thread_eigen=false"
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def run(
    quick: bool = False,
    tick: Callable[[str], Any] = lambda text: None,
    depths: tuple[int, ...] = (),
    widths: tuple[int, ...] = (),
) -> dict[str, Any]:
    """All cells of both workloads."""
    depths = depths or (QUICK_DEPTHS if quick else DEPTHS)
    widths = widths or (QUICK_WIDTHS if quick else WIDTHS)
    if not set(depths) <= set(range(2, 65)):
        raise ValueError(f"`depths` must be between 2 and 64: depths={depths}")
    cells = []
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_one_core) as alone:
        for name in GOALS:
            for depth in depths:
                for n in widths:
                    tick(f"heatmap: {name}, depth {depth}, width {n}")
                    cells.append(alone.submit(measure, name, depth, n, quick).result())
    return {"depths": list(depths), "widths": list(widths), "goals": GOALS, "cells": cells}


# ---- what came out


def least(heatmap: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The cell of a workload where the best peer comes nearest."""
    timed = [cell for cell in heatmap["cells"] if cell["workload"] == name and "ratio" in cell]
    return min(timed, key=lambda cell: cell["ratio"], default=None)


def median(heatmap: dict[str, Any], name: str) -> float:
    """Of the ratios of a workload."""
    return statistics.median(c["ratio"] for c in heatmap["cells"] if c["workload"] == name and "ratio" in c)


def draw(heatmap: dict[str, Any], out: pathlib.Path) -> list[pathlib.Path]:
    """Two panels of cells coloured and lettered by ratio and best peer, those below the must framed, as PNG and PDF."""
    from matplotlib import colors

    plt = panels.pyplot()
    depths, widths = heatmap["depths"], heatmap["widths"]
    size = (max(7.2, 1.2 + 1.15 * len(widths)), 1.6 + 0.52 * len(depths))
    figure, axes = plt.subplots(1, 2, figsize=size, sharey=True)
    top = max([c["ratio"] for c in heatmap["cells"] if "ratio" in c], default=16.0)
    must = GOALS["W1"][0]
    norm = colors.TwoSlopeNorm(0.0, math.log2(1.0 / must), max(1.0, math.log2(top / must)))
    letters: dict[str, str] = {}
    for axis, name in zip(axes, GOALS, strict=True):
        cells = {(c["depth"], c["width"]): c for c in heatmap["cells"] if c["workload"] == name and "ratio" in c}
        grid = np.full((len(depths), len(widths)), np.nan)
        for (depth, n), cell in cells.items():
            i, j = depths.index(depth), widths.index(n)
            grid[i, j] = math.log2(cell["ratio"] / must)
            dark = norm(grid[i, j])
            colour = "w" if not 0.2 < dark < 0.8 else "k"
            axis.text(j, i - 0.12, f"{cell['ratio']:.3g}", ha="center", va="center", fontsize=8, color=colour)
            below, most = cell["ratio"] < must, cell.get("most", math.inf)
            small = cell["letter"] + (f"  $\\leq$ {most:.2g}" if below and most < math.inf else "")
            axis.text(j, i + 0.27, small, ha="center", va="center", fontsize=6, color=colour)
            letters[cell["letter"]] = cell["peer"]
            if below:
                style = "-" if most >= must else ":"
                axis.add_patch(plt.Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, lw=1.6, ls=style, ec="k"))
        image = axis.imshow(grid, cmap="RdBu", norm=norm, aspect="auto", origin="upper")
        axis.set_xticks(range(len(widths)), [str(n) for n in widths])
        axis.set_yticks(range(len(depths)), [str(depth) for depth in depths])
        axis.set_xlabel("width $n$ of the layers", fontsize=8)
        axis.set_title(TITLES[name], fontsize=9)
        axis.tick_params(labelsize=8, length=0)
    axes[0].set_ylabel("depth", fontsize=8)
    figure.tight_layout(rect=(0.0, 0.13, 0.9, 1.0))
    _bar(figure, image, must, top)
    unbroken = (f"{letter}: {name}".replace(" ", "\u00a0") for letter, name in sorted(letters.items()))
    text = "\n".join(textwrap.wrap("best peer: " + ";  ".join(unbroken), int(16 * size[0])))
    note = f"framed: below {must:g}; $\\leq$: the ratio if our multiply-adds alone took time; dotted: so out of reach"
    figure.text(0.5, 0.02, f"{text}\n{note}", ha="center", va="bottom", fontsize=7)
    return panels.save(figure, out, "heatmap")


def _bar(figure: Any, image: Any, must: float, top: float) -> None:
    """The colour bar in plain ratios, with lines at the must and the aims."""
    bar = figure.colorbar(image, cax=figure.add_axes((0.92, 0.25, 0.015, 0.62)))
    marks = [ratio for ratio in (1, 2, 4, 8, 16, 32) if ratio <= max(top, 2.0 * must)]
    bar.set_ticks([math.log2(ratio / must) for ratio in marks], labels=[f"{ratio:g}" for ratio in marks])
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_title("best peer /\nsdetheory", fontsize=7)
    for goal in {must, *(aim for _, aim in GOALS.values())}:
        bar.ax.axhline(math.log2(goal / must), color="k", lw=2.0 if goal == must else 0.8)
