"""The same accidents for every tool: what is lost, what is wrong afterwards, and whether anybody noticed."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from .peers import TOOLS
from .work import LOG, WAIT, truth


class Seen(NamedTuple):
    """A run as seen from outside: exit status, values, points computed in it, seconds, last line of its errors."""

    status: int
    values: dict[int, float]
    computed: list[int]
    seconds: float
    error: str

    def wrong(self, count: int) -> int:
        """Values that are not what they should be, or not there, though the tool ended without complaint."""
        return sum(self.values.get(x) != truth(float(x)) for x in range(count)) if self.status == 0 else 0

    def says(self, count: int) -> str:
        """In words."""
        if self.status:
            return f"fails: {self.error[:80]}"
        return f"{self.wrong(count)} wrong" if self.wrong(count) else "all right"


class Scan:
    """One tool's scan in a folder."""

    def __init__(self, tool: str, folder: pathlib.Path, count: int, wait: float) -> None:
        self.tool, self.folder, self.count, self.wait = tool, folder, count, wait
        self.log = folder.with_name(folder.name + ".log")

    def start(self) -> subprocess.Popen[str]:
        """The scan as a process in its own group, with an empty log."""
        self.folder.mkdir(exist_ok=True)
        self.log.write_text("")
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scans.program", self.tool, str(self.folder), str(self.count)],
            env={**os.environ, LOG: str(self.log), WAIT: str(self.wait), "TQDM_DISABLE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def done(self) -> list[int]:
        """Points computed since the start."""
        return [int(line) for line in self.log.read_text().split()]

    def finish(self, process: subprocess.Popen[str] | None = None) -> Seen:
        """Run to the end."""
        process = process or self.start()
        out, err = process.communicate(timeout=300)
        line = next((one for one in out.splitlines() if one.startswith("RESULT ")), "")
        found = json.loads(line[7:]) if line else {"seconds": float("nan"), "values": {}}
        errors = [one for one in err.splitlines() if one.strip()]
        values = {int(x): y for x, y in found["values"].items()}
        return Seen(process.returncode, values, self.done(), found["seconds"], errors[-1] if errors else "")

    def results(self) -> list[pathlib.Path]:
        """Files that hold results."""
        return sorted(one for one in self.folder.glob(TOOLS[self.tool].results) if one.is_file())


def kill(scan: Scan, after: int) -> dict[str, Any]:
    """kill -9 of the whole group when `after` points are done; then resume."""
    process = scan.start()
    while len(scan.done()) < after and process.poll() is None:
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    finished = set(scan.done())
    seen = scan.finish()
    again = len(finished & set(seen.computed))
    return {"finished": len(finished), "lost": again, "after": seen.says(scan.count)}


def damage(scan: Scan, how: str, number: int) -> dict[str, Any]:
    """Truncate a result file or flip one bit in it, after a complete run; then run again."""
    first = scan.finish()
    files = scan.results()
    if first.status or not files:
        return {"noticed": None, "computed_again": 0, "after": f"did not run: {first.error[:60]}"}
    file = files[number * 7 % len(files)]
    data = file.read_bytes()
    place = (number * 2 + 1) * len(data) // 16 % len(data)
    flipped = data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]
    file.write_bytes(data[: len(data) // 2] if how == "truncate" else flipped)
    seen = scan.finish()
    noticed = seen.status != 0 or bool(seen.computed)
    return {"noticed": noticed, "computed_again": len(seen.computed), "after": seen.says(scan.count)}


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, kilobytes: int) -> Iterator[bool]:
    """A disk of this size mounted at the folder; False where this is not allowed."""
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    allowed = subprocess.run(options, capture_output=True).returncode == 0
    try:
        yield allowed
    finally:
        if allowed:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def full(tool: str, where: pathlib.Path, count: int, kilobytes: int) -> dict[str, Any]:
    """A disk that fills during the scan; then there is space, and it is resumed."""
    with small_disk(where / "disk", kilobytes) as allowed:
        if not allowed:
            return {"after": "not tried: cannot mount a small disk"}
        scan = Scan(tool, where / "disk" / "scan", count, 0.0)
        scan.log = where / "log"
        first = scan.finish()
        kept = set(first.computed)
        subprocess.run(["mount", "-o", "remount,size=64m", str(where / "disk")], check=True)
        seen = scan.finish()
        lost = len(kept & set(seen.computed))
        return {"said": first.status != 0, "finished": len(kept), "lost": lost, "after": seen.says(count)}


def all_of(tool: str, quick: bool) -> dict[str, Any]:
    """Every accident of one tool, each in a fresh folder."""
    count, flips = 100, 2 if quick else 8
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        where = pathlib.Path(folder)

        def fresh(name: str, wait: float) -> Scan:
            return Scan(tool, where / name, count, wait)

        found["kill"] = kill(fresh("kill", 0.02), 35)
        found["truncate"] = damage(fresh("truncate", 0.0), "truncate", 0)
        found["flip"] = [damage(fresh(f"flip{n}", 0.0), "flip", n) for n in range(flips)]
        for name in ("kill", "truncate", *(f"flip{n}" for n in range(flips))):
            shutil.rmtree(where / name, ignore_errors=True)
        # as much disk as the tool needs for about half of the points
        whole = fresh("whole", 0.0)
        whole.finish()
        used = sum(one.stat().st_blocks * 512 for one in whole.folder.rglob("*") if one.is_file())
        found["full"] = full(tool, where, count, max(16, int(used / 1024 * 0.6) // 4 * 4))
    return found


def race(tools: list[str], count: int, wait: float, repeats: int) -> dict[str, Any]:
    """Seconds for the same scan, interleaved, and for running it again when all is done."""
    seconds: dict[str, list[tuple[float, float]]] = {tool: [] for tool in tools}
    for _ in range(repeats):
        for tool in tools:
            with tempfile.TemporaryDirectory() as folder:
                scan = Scan(tool, pathlib.Path(folder) / "scan", count, wait)
                seconds[tool].append((scan.finish().seconds, scan.finish().seconds))
    return {tool: {"first": statistics.median(a for a, _ in both), "again": statistics.median(b for _, b in both)}
            for tool, both in seconds.items()}  # fmt: skip
