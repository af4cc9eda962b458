"""The comparison of scan tools as a table, and the size of scans in numbers."""

from typing import Any


def lines(found: dict[str, Any]) -> list[str]:
    """What was measured, as text."""
    text: list[str] = []
    if "accidents" in found:
        text += _accidents(found["accidents"])
    if "race" in found:
        text += _race(found["race"])
    if "size" in found:
        text += _size(found["size"])
    return text


def _accidents(found: dict[str, Any]) -> list[str]:
    rows = [("", "kill -9: finished, lost", "cut result file", "one flipped bit", "disk full: finished, lost")]
    for tool, one in found.items():
        kill, flips = one["kill"], one["flip"]
        rows.append((
            tool,
            f"{kill['lost']} of {kill['finished']}" + _unless_right(kill),
            _damage([one["truncate"]]),
            _damage(flips),
            _full(one["full"]),
        ))  # fmt: skip
    return ["accidents of a scan of 100 points (lost: computed before, computed again after)", *_columns(rows), ""]


def _unless_right(one: dict[str, Any]) -> str:
    return "" if one["after"] == "all right" else f"; then {one['after']}"


def _damage(cases: list[dict[str, Any]]) -> str:
    """Every case falls under one heading: recomputed, wrong, unusable, or unnoticed because harmless."""
    if cases[0]["noticed"] is None:
        return "no result file"
    counts = {
        "recomputed": sum(one["after"] == "all right" and one["noticed"] for one in cases),
        "WRONG VALUES": sum(one["after"].endswith("wrong") for one in cases),
        "unusable": sum(one["after"].startswith("fails") for one in cases),
        "unnoticed, values right": sum(one["after"] == "all right" and not one["noticed"] for one in cases),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _full(one: dict[str, Any]) -> str:
    if "said" not in one:
        return one["after"]
    said = "said" if one["said"] else "NOT said"
    return f"{said}; {one['lost']} of {one['finished']}" + _unless_right(one)


def _race(found: dict[str, Any]) -> list[str]:
    rows = [("", "seconds", "again, all done")]
    rows += [(tool, f"{one['first']:.2f}", f"{one['again']:.2f}") for tool, one in found["seconds"].items()]
    own = found["count"] * found["wait"]
    head = f"{found['count']} points of {1e3 * found['wait']:.0f} ms (their own time: {own:.1f} s)"
    return [head, *_columns(rows), ""]


def _size(found: dict[str, Any]) -> list[str]:
    count, run, opened, planned = found["count"], found["run"], found["open"], found["plan"]
    return [
        f"a scan of {count} points that take no time, two workers",
        f"  {1e3 * run['seconds'] / count:.3f} ms a point, {1e3 * run['cpu'] / count:.3f} ms of it in the runner",
        f"  {found['disk'] / count:.0f} bytes a point on disk, {opened['shards']} shards",
        f"  opening (every byte verified): {opened['open']:.2f} s; all records in order: {opened['read']:.2f} s",
        f"  nothing to do: {run['again']:.2f} s; memory {run['peak_mb'] - run['before_mb']:.0f} MB in the runner, "
        f"{opened['open_mb']:.0f} MB in a reader",
        f"  chunks of a second on two workers: {found['efficiency']['efficiency']:.3f} of ideal, "
        f"in points {found['efficiency']['busy']:.3f} of the time, "
        f"{found['efficiency']['against_one']:.3f} of twice one worker",
        "a million points on paper: "
        + ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in planned.items()),
    ]


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  " + "  ".join(row).rstrip() for row in padded]
