"""The goals: what must be reached, what is aimed at, and what this run measured."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import heatmap


class Goal(NamedTuple):
    """One line of the table; `more` says whether more is better."""

    text: str
    measured: float
    must: float
    aim: float
    unit: str = "x"
    more: bool = True

    @property
    def verdict(self) -> str:
        """aim, must or MISSED."""
        sign = 1.0 if self.more else -1.0
        if sign * self.measured >= sign * self.aim:
            return "aim"
        return "must" if sign * self.measured >= sign * self.must else "MISSED"


def _best(race: dict[str, Any], *words: str) -> dict[str, Any] | None:
    """The fastest rival timed whose name starts with one of the words (any, if none are given)."""
    timed = [row for row in race["rivals"] if "ratio" in row and (not words or row["name"].startswith(words))]
    return min(timed, key=lambda row: row["ratio"], default=None)


def _races(races: dict[str, Any]) -> Iterator[Goal]:
    for name in ("W2", "W3"):
        if name in races:
            race = races[name]
            if rival := _best(race):
                yield Goal(f"{name} against {rival['name']}", rival["ratio"], 5.0, 10.0)
            for prefix in ("normals alone: one", "normals alone: Block"):
                row = next(row for row in race["limits"] if row["name"].startswith(prefix))
                text = f"{name}, share of {row['name']} (processor time)"
                yield Goal(text, row["processor_ratio"], 0.45, 0.65, "")
    if "W1" in races:
        if rival := _best(races["W1"], "numbalsoda"):
            yield Goal(f"W1 against {rival['name']}", rival["ratio"], 4.0, 6.0)
        if rival := _best(races["W1"], "scipy"):
            yield Goal(f"W1 against {rival['name']}", rival["ratio"], 25.0, 40.0)
    if "W1b" in races and (rival := _best(races["W1b"])):
        yield Goal(f"W1b against {rival['name']}", rival["ratio"], 4.0, 7.0)


def _study(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    texts = {
        ("default", "plain"): ("default to 1e-3 against Euler-Maruyama", 30.0, 500.0),
        ("controlled", "plain"): ("fast with controls to 1e-3 against Euler-Maruyama", 100.0, 500.0),
        ("controlled", "extrapolated"): ("fast with controls to 1e-3 against extrapolated", 10.0, 30.0),
    }
    for (ours, theirs), (text, must, aim) in texts.items():
        ratios = {row["case"]: row["ratios"][f"{ours}/{theirs}"] for row in rows}
        worst = min(ratios, key=lambda case: ratios[case])
        reached = sum(ratio >= must for ratio in ratios.values())
        text = f"{text}, least ({worst}); {reached} of {len(rows)} reach the must"
        yield Goal(text, ratios[worst], must, aim)


def _heatmap(measured: dict[str, Any]) -> Iterator[Goal]:
    for name, (must, aim) in heatmap.GOALS.items():
        if cell := heatmap.least(measured, name):
            if cell["peer"].startswith("scipy"):  # numbalsoda, which it never beats, is not installed
                must, aim = 25.0, 40.0
            reached = [c["ratio"] >= must for c in measured["cells"] if c["workload"] == name and "ratio" in c]
            where = f"depth {cell['depth']}, width {cell['width']}, {cell['peer']}"
            text = f"{name} over depths and widths, least ({where}); {sum(reached)} of {len(reached)} reach the must"
            cells = [c for c in measured["cells"] if c["workload"] == name]
            if beyond := sum(c.get("most", math.inf) < must for c in cells):
                text += f", {beyond} could not at any speed of products"
            yield Goal(text, cell["ratio"], must, aim)


def _networks(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    """The best peer, case by case."""
    for row in rows:
        timed = [peer for peer in row["peers"] if "ratio" in peer]
        if timed:
            best = min(timed, key=lambda peer: peer["processor_ratio"])
            nets = "1 net" if row["nets"] == 1 else f"{row['nets']} nets"
            text = f"{row['case']}, {nets}, against {best['name']} (processor time)"
            yield Goal(text, best["processor_ratio"], 1.5, 3.0)


def goals(results: dict[str, Any]) -> list[Goal]:
    """Every goal this run has a number for."""
    found = list(_races(results.get("races", {})))
    if results.get("heatmap"):
        found += list(_heatmap(results["heatmap"]))
    if results.get("study"):
        found += _study(results["study"]["rows"])
    found += _networks(results.get("networks", {}).get("rows", []))
    for name, ratio in results.get("speed_up", {}).items():
        found.append(Goal(f"{name}, two threads against one", ratio["ratio"], 1.8, 1.95))
    for name, call in results.get("first_call", {}).items():
        found.append(Goal(f"{name}, first call with a filled cache", call["warm"], 0.5, 0.3, " s", more=False))
        found.append(Goal(f"{name}, first call with an empty cache", call["cold"], 6.0, 3.0, " s", more=False))
    for name, peak in results.get("memory", {}).items():
        ratio = peak["allocated"] / (peak["inputs"] + peak["outputs"])
        found.append(Goal(f"{name}, memory over inputs + outputs", ratio, 4.0, 3.0, "x", more=False))
    return found
