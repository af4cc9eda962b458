"""What a fresh process pays: the first call with an empty and a filled compiler cache, and memory."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from typing import Any

FIRST_CALLS = ("W1", "W1b", "W2", "Strang")


def _small(name: str) -> Any:
    """The call to be made first: the workload's own plug-ins on a few members and steps."""
    from . import candidate
    from .workloads import workload

    if name == "Strang":
        from sdetheory.integrators import StrangGeodesic

        return candidate.normalised_sde(workload("W2", "tiny"), integrator=StrangGeodesic())
    return candidate.PREPARE[name](workload(name, "tiny"))


def _measure_first_call(name: str) -> dict[str, float]:
    start = time.perf_counter()
    call = _small(name)
    ready, processor = time.perf_counter(), time.process_time()
    call()
    return {
        "import": ready - start,
        "call": time.perf_counter() - ready,
        "processor": time.process_time() - processor,
    }


def _reset_peak() -> None:
    """Forget the resident peak so far where the system allows it (Linux)."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _resident_peak() -> float:
    """Most bytes resident since the reset (Linux), or since the process began."""
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as file:
        return next(float(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def _measure_memory(name: str) -> dict[str, float]:
    """Peak growth of a run whose kernels have run once, beside the size of its inputs and outputs."""
    from . import candidate
    from .workloads import workload

    case = workload(name).part(0.02 if name != "W1" else 1.0)
    candidate.PREPARE[name](workload(name, "tiny"))()
    run = candidate.PREPARE[name](case)
    _reset_peak()
    before = _resident_peak()
    result = run()
    growth = _resident_peak() - before
    tracemalloc.start()
    run()
    allocated = tracemalloc.get_traced_memory()[1]
    outputs = sum(a.nbytes for a in (result if isinstance(result, tuple) else (result,)))
    inputs = sum(field.nbytes for field in case if hasattr(field, "nbytes"))
    return {"resident": growth, "allocated": allocated, "inputs": inputs, "outputs": outputs}


def _in_fresh_process(task: str, name: str, cache: str | None = None) -> dict[str, float]:
    environment = dict(os.environ)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = cache
    command = [sys.executable, "-m", __spec__.name if __spec__ else "benchmarks.fresh", task, name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def first_call(name: str, repeats: int = 3) -> dict[str, float]:
    """Seconds of the first call in a fresh process, cold and warm (median), and of the import before it."""
    with tempfile.TemporaryDirectory() as cache:
        cold = _in_fresh_process("first_call", name, cache)
        warm = sorted((_in_fresh_process("first_call", name, cache) for _ in range(repeats)), key=lambda w: w["call"])
    middle = warm[repeats // 2]
    return {
        "import": middle["import"],
        "cold": cold["call"],
        "warm": middle["call"],
        "cold_processor": cold["processor"],
        "warm_processor": middle["processor"],
    }


def memory(name: str) -> dict[str, float]:
    """Bytes: growth of the resident peak during a run, the peak numpy allocated, inputs and outputs."""
    return _in_fresh_process("memory", name)


if __name__ == "__main__":
    tasks = {"first_call": _measure_first_call, "memory": _measure_memory}
    print(json.dumps(tasks[sys.argv[1]](sys.argv[2])))
