"""Run one workload: candidate against every rival installed and the normals limit; one thread against two."""

from collections.abc import Callable
from typing import Any

from .agreement import compare
from .candidate import PREPARE
from .machine import LIMIT_SHARE, LIMITS
from .rivals import CANDIDATE_SHARE, RIVALS
from .timing import Call, Race, alternate, interleave
from .workloads import NormalisedSDE, workload

Tick = Callable[[str], Any]


def _timed(race: Race, name: str) -> dict[str, Any]:
    ratio = race.ratio(name)
    return {
        "seconds": race.seconds(name),
        "ratio": ratio.median,
        "low": ratio.low,
        "high": ratio.high,
        "processor_ratio": race.processor_ratio(name),
    }


def check(name: str, quick: bool = False, tick: Tick = lambda text: None, size: str = "check") -> list[dict[str, Any]]:
    """One row a rival: not installed, left out, agrees or DISAGREES, with the deviation on the small workload."""
    case = workload(name, size)
    tick(f"{name}: candidate, first call")
    ours = PREPARE[name](case)()
    rows = []
    for rival in RIVALS[name]:
        share = rival.quick_share if quick else rival.share
        row = {"name": rival.name, "version": rival.version, "share": share, "status": "not installed"}
        if share == 0.0:
            row["status"] = "left out of a quick run"
        elif rival.version is not None:
            tick(f"{name}: does {rival.name} agree?")
            verdict = compare(case, ours, rival.prepare(case)())
            row |= {"status": str(verdict), "agrees": verdict.passed}
        rows.append(row)
    return rows


def race(name: str, quick: bool = False, repeats: int = 5, tick: Tick = lambda text: None) -> dict[str, Any]:
    """Rows of rivals that agree, timed between runs of the candidate; for the SDEs the limit rows too."""
    rows = check(name, quick, tick)
    case = workload(name)
    calls: dict[str, tuple[Call, float]] = {}
    for rival, row in zip(RIVALS[name], rows, strict=True):
        if row.get("agrees"):
            tick(f"{name}: {rival.name}, compiling")
            calls[rival.name] = (rival.prepare(case.part(row["share"])), row["share"])
    limits: list[dict[str, Any]] = []
    if isinstance(case, NormalisedSDE):
        for limit, prepare in LIMITS.items():
            part = LIMIT_SHARE[limit] / (4 if quick else 1)
            calls[limit] = (prepare(case.part(part)), part)
            limits.append({"name": limit, "share": part})
    share = CANDIDATE_SHARE[name][quick]
    ours = PREPARE[name](case.part(share))
    timed = interleave(ours, calls, repeats, share, lambda text: tick(f"{name}: {text}"))
    for row in rows + limits:
        if row["name"] in timed.rivals:
            row |= _timed(timed, row["name"])
    result = {"candidate": {"seconds": timed.seconds(), "share": share}, "rivals": rows, "limits": limits}
    if isinstance(case, NormalisedSDE):
        for row in limits:
            row["normals_per_second"] = case.normals / row["seconds"]
        result["candidate"]["normals_per_second"] = case.normals / timed.seconds()
    return result


def speed_up(name: str, quick: bool = False, repeats: int = 5) -> dict[str, float]:
    """Time on one thread over time on two, alternating."""
    case = workload(name).part(CANDIDATE_SHARE[name][quick])
    ratio = alternate(PREPARE[name](case, 1), PREPARE[name](case, 2), repeats)
    return {"ratio": ratio.median, "low": ratio.low, "high": ratio.high}
