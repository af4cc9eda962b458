"""The report of a run: a table for the eyes, JSON for machines."""

import json
import os
import pathlib
import platform
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np

from . import networks
from .goals import goals
from .heatmap import TITLES as GRIDS
from .workloads import TITLES


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
    }


def _race_lines(name: str, race: dict[str, Any]) -> Iterator[str]:
    yield f"\n{name}: {TITLES[name]}"
    heads = (
        ("version", 9),
        ("part run", 9),
        ("seconds", 10),
        ("ratio", 8),
        ("least-most", 14),
        ("cpu ratio", 10),
    )
    yield f"  {'':34}" + "".join(f"{head:>{width}}" for head, width in heads)
    ours = race["candidate"]
    yield f"  {'sdetheory':34}{'':9}{ours['share']:9.3g}{ours['seconds']:10.3g}{1:8.2f}"
    for row in race["rivals"] + race["limits"]:
        start = f"  {row['name']:34}{row.get('version') or '':>9}"
        if "ratio" not in row:
            yield f"{start}  {row['status']}"
            continue
        spread = f"{row['low']:.3g}-{row['high']:.3g}"
        processor = "" if "processes" in row["name"] else f"{row['processor_ratio']:.3g}"
        end = f"{row['ratio']:8.3g}{spread:>14}{processor:>10}"
        speed = f"  {row['normals_per_second'] / 1e6:.0f} M/s" if "normals_per_second" in row else ""
        yield f"{start}{row['share']:9.3g}{row['seconds']:10.3g}{end}{speed}"
    if "normals_per_second" in ours:
        yield f"  sdetheory uses {ours['normals_per_second'] / 1e6:.0f} M normals a second"


def _peers(row: dict[str, Any]) -> str:
    """Milliseconds of the peers to the same error."""
    return ", ".join(f"{1e3 * row['methods'][name]['time']:.3g} ms {name}" for name in ("plain", "extrapolated"))


def _study_lines(study: dict[str, Any]) -> Iterator[str]:
    rows = study["rows"]
    methods, pairs = list(rows[0]["methods"]), list(rows[0]["ratios"])
    yield "\nSeconds to relative error 1e-3 of an equilibrium expectation, each method at its best step h (lr wd dt)"
    yield f"  {'case':28}{'exact':>9}" + "".join(f"{name:>14}{'h':>9}" for name in methods)
    for row in rows:
        cells = (row["methods"][name] for name in methods)
        times = "".join(f"{cell['time']:14.3g}{cell['h']:9.2g}" for cell in cells)
        yield f"  {row['case']:28}{row['exact']:9.5f}{times}"
    z = [abs(cell["z"]) for row in rows for cell in row["methods"].values() if "z" in cell]
    if z:
        yield f"  {len(z)} estimates of ours against exact value + the kernel's bias: largest |z| {max(z):.1f}"
    yield "\nThe peer's time over ours (peers: plain and extrapolated Euler-Maruyama in numpy)"
    yield f"  {'case':28}" + "".join(f"{pair.replace('/', ' / '):>28}" for pair in pairs)
    for row in rows:
        yield f"  {row['case']:28}" + "".join(f"{row['ratios'][pair]:28.3g}" for pair in pairs)
    if any("complete" in row for row in rows):
        yield "\nOne whole call of the controlled method from uniform directions: wall time, path-steps, relative error"
        for row in rows:
            whole = row["complete"]
            text = f"{1e3 * whole['seconds']:14.2f} ms{whole['steps']:12.0f}{whole['error']:14.1e}"
            yield f"  {row['case']:28}{text}  (2-thread time of the peers: {_peers(row)})"


def _transient_lines(transients: dict[str, Any]) -> Iterator[str]:
    rows = transients["rows"]
    methods = list(rows[0]["methods"])
    ours = [name for name in methods if "z" in rows[0]["methods"][name]]
    yield "\nSeconds to absolute error 1e-3 of E u_T, each method at its best number of (fine) steps n"
    yield f"  {'case':38}{'exact':>9}" + "".join(f"{name:>13}{'n':>5}" for name in methods)
    for row in rows:
        cells = (row["methods"][name] for name in methods)
        times = "".join(f"{cell['time']:13.3g}{cell['steps']:5d}" for cell in cells)
        yield f"  {row['case']:38}{row['exact']:9.5f}{times}"
    z = [abs(row["methods"][name]["z"]) for row in rows for name in ours]
    yield f"  {len(z)} estimates of ours against exact value + the kernel's bias: largest |z| {max(z):.1f}"
    for peer in (name for name in methods if name not in ours):
        yield f"\nTime of {peer} Euler-Maruyama in numpy over ours"
        yield f"  {'case':38}" + "".join(f"{name:>13}" for name in ours)
        for row in rows:
            yield f"  {row['case']:38}" + "".join(f"{row['ratios'][f'{peer}/{name}']:13.3g}" for name in ours)


def _heatmap_lines(heatmap: dict[str, Any]) -> Iterator[str]:
    for name, title in GRIDS.items():
        cells = [cell for cell in heatmap["cells"] if cell["workload"] == name]
        absent = sorted({row["name"] for cell in cells for row in cell["rivals"] if row["status"] == "not installed"})
        yield f"\n{title}: processor time of the best peer over ours, one core each"
        if absent:
            yield f"  not installed: {'; '.join(absent)}"
        yield f"  {'depth':>5}{'width':>6}{'ms':>9}{'ratio':>8}{'least-most':>14}{'at most':>9}  best peer (others)"
        for cell in cells:
            start = f"  {cell['depth']:5d}{cell['width']:6d}{1e3 * cell['seconds']:9.1f}"
            if "ratio" not in cell:
                yield f"{start}  no peer took part"
                continue
            spread, most = f"{cell['low']:.3g}-{cell['high']:.3g}", f"{cell['most']:.3g}" if "most" in cell else ""
            others = ", ".join(
                f"{row['name']} {row['ratio']:.3g}" if "ratio" in row else f"{row['name']} {row['status']}"
                for row in cell["rivals"] if row["name"] != cell["peer"] and row["status"] != "not installed"
            )  # fmt: skip
            yield f"{start}{cell['ratio']:8.3g}{spread:>14}{most:>9}  {cell['peer']} ({others})"
        if any("most" in cell for cell in cells):
            yield "  at most: were ours nothing but its multiply-adds, at the rate of those from registers"


def _goal_lines(results: dict[str, Any]) -> Iterator[str]:
    yield f"\n{'goal':98}{'measured':>10}{'must':>8}{'aim':>8}  reached"
    for goal in goals(results):
        sign = ">=" if goal.more else "<="
        measured = f"{goal.measured:.3g}{goal.unit}"
        must, aim = (f"{sign}{value:g}" for value in (goal.must, goal.aim))
        yield f"{goal.text:98}{measured:>10}{must:>8}{aim:>8}  {goal.verdict}"


def lines(results: dict[str, Any]) -> Iterator[str]:
    """The report, line by line."""
    about = results["machine"]
    yield f"{about['processor']}, {about['cores']} cores, load {about['load']:.1f} at the start"
    yield f"Python {about['python']}, numpy {about['numpy']}, numba {about['numba']}; {results['mode']} run"
    yield "seconds: medians, scaled from the part run to the whole; ratio: to sdetheory, run before and after"
    for name, race in results.get("races", {}).items():
        yield from _race_lines(name, race)
    if results.get("heatmap"):
        yield from _heatmap_lines(results["heatmap"])
    if results.get("study"):
        yield from _study_lines(results["study"])
    if results.get("transients"):
        yield from _transient_lines(results["transients"])
    if results.get("networks"):
        yield from networks.lines(results["networks"])
    yield from _goal_lines(results)


def save(results: dict[str, Any], out: pathlib.Path) -> list[pathlib.Path]:
    """Write benchmarks.json (with the goals) and benchmarks.txt into the folder."""
    out.mkdir(parents=True, exist_ok=True)
    table = [goal._asdict() | {"verdict": goal.verdict} for goal in goals(results)]
    (out / "benchmarks.json").write_text(json.dumps(results | {"goals": table}, indent=1, default=float) + "\n")
    (out / "benchmarks.txt").write_text("\n".join(lines(results)) + "\n")
    return [out / "benchmarks.json", out / "benchmarks.txt"]
