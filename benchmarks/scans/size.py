"""What a point costs in a scan of 100,000: time beside its own, disk, memory, and opening the store again."""

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from sdetheory.scan import Outcome

WHAT = "benchmarks.scans.size:Instant"


class _Instant:
    """An experiment that takes no time: what is measured is the scan around it."""

    name, says = WHAT, "two numbers"
    parameters = observables = MappingProxyType({})

    def validate(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return parameters

    def run(self, points: Sequence[dict[str, Any]], seeds: Sequence[int]) -> list[Outcome]:
        return [Outcome({"y": 2.0 * p["x"], "z": s / 2**63}, {"y": 0.1}) for p, s in zip(points, seeds, strict=True)]

    def predict(self, parameters: dict[str, Any], measured: Any = None) -> dict[str, float]:
        return {"y": 2.0 * parameters["x"]}

    def batch_key(self, parameters: dict[str, Any]) -> tuple[()]:
        return ()

    def cost(self, parameters: dict[str, Any]) -> None:
        return None

    def modules(self) -> list[str]:
        return ["benchmarks.scans.size"]


Instant = _Instant()


def wait(x: float) -> dict[str, float]:
    """A point of 50 ms."""
    time.sleep(0.05)
    return {"y": x}


def _points(count: int, what: str) -> list[Any]:
    from sdetheory.scan import Point

    return [Point(what, {"x": 0.5 * x, "lr": 0.1, "d": 16}) if what == WHAT else Point(what, {"x": float(x)})
            for x in range(count)]  # fmt: skip


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _run(count: int, folder: str) -> dict[str, float]:
    """A run of `count` instant points on two workers, and again with nothing to do."""
    import distributed  # noqa: F401  (its memory does not grow with the scan)

    from sdetheory.scan.runner import run

    base = _megabytes()
    began, cpu = time.perf_counter(), time.process_time()
    points = _points(count, WHAT)
    listed = _megabytes()
    summary = run(points, folder, workers=2, progress=False)
    seconds, own = time.perf_counter() - began, time.process_time() - cpu
    assert summary.ok == count, summary
    again = run(points, folder, workers=2, progress=False)
    return {"seconds": seconds, "cpu": own, "again": again.seconds, "before_mb": base, "points_mb": listed,
            "peak_mb": _megabytes()}  # fmt: skip


def _open(folder: str) -> dict[str, float]:
    """Opening the store, all statuses at hand; then reading the whole table."""
    from sdetheory.scan import Store

    base, began = _megabytes(), time.perf_counter()
    store = Store(folder)
    opened, held = time.perf_counter() - began, _megabytes()
    began = time.perf_counter()
    rows = sum(1 for _ in store.records())
    return {"open": opened, "open_mb": held - base, "read": time.perf_counter() - began, "rows": rows,
            "shards": len(store.shards), "read_mb": _megabytes() - held}  # fmt: skip


def _efficiency(folder: str, count: int) -> dict[str, float]:
    """Seconds for `count` points of 50 ms in chunks of about a second, on one and on two workers, start excluded.

    busy: the share of two workers' time that was spent in points, which a busy machine does not spoil.
    """
    from sdetheory.scan import Store, runner, workers

    found = {}
    for number in (1, 2):
        with workers.opened(number, None, False) as pool:
            shared = lambda *_, pool=pool: _Kept(pool)
            original, runner.opened = runner.opened, shared  # type: ignore[assignment]
            try:
                warm = [one for one in _points(20 * number, "benchmarks.scans.size:wait")]
                runner.run(warm, f"{folder}/warm{number}", progress=False)
                began = time.perf_counter()
                runner.run(_points(count, "benchmarks.scans.size:wait"), f"{folder}/e{number}", progress=False)
                found[str(number)] = time.perf_counter() - began
            finally:
                runner.opened = original
    busy = sum(one.seconds for one in Store(f"{folder}/e2").records()) / 2 / found["2"]
    return {**found, "busy": busy, "ideal_one": count * 0.05, "efficiency": count * 0.05 / 2 / found["2"],
            "against_one": found["1"] / 2 / found["2"]}  # fmt: skip


class _Kept:
    """Workers that outlive a run."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def __enter__(self) -> Any:
        return self.pool

    def __exit__(self, *_: Any) -> None:
        return None


def _child(part: str, *arguments: str) -> dict[str, float]:
    out = subprocess.run([sys.executable, "-m", "benchmarks.scans.size", part, *arguments], capture_output=True,
                         text=True)  # fmt: skip
    if out.returncode:
        raise RuntimeError(out.stderr)
    return json.loads(out.stdout.splitlines()[-1])


def measure(quick: bool) -> dict[str, Any]:
    """All of it, each part in a process of its own."""
    count = 5_000 if quick else 100_000
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {"count": count, "run": _child("run", str(count), f"{folder}/store")}
        found["open"] = _child("open", f"{folder}/store")
        found["disk"] = sum(one.stat().st_size for one in pathlib.Path(folder, "store").rglob("*.shard"))
        found["efficiency"] = _child("efficiency", folder, "80" if quick else "800")
    return found


def plan(found: dict[str, Any], count: int = 1_000_000) -> dict[str, float]:
    """A larger scan on paper: everything measured is proportional to the number of points but the start."""
    scale = count / found["count"]
    return {
        "overhead_seconds": found["run"]["seconds"] * scale,
        "open_seconds": found["open"]["open"] * scale,
        "disk_gb": found["disk"] * scale / 1e9,
        "memory_gb": (found["run"]["peak_mb"] - found["run"]["before_mb"]) * scale / 1e3,
        "shards": found["open"]["shards"] * scale,
    }


if __name__ == "__main__":
    parts = {"run": lambda count, folder: _run(int(count), folder), "open": _open,
             "efficiency": lambda folder, count: _efficiency(folder, int(count))}  # fmt: skip
    print(json.dumps(parts[sys.argv[1]](*sys.argv[2:])))
