"""A scan as a program of its own, and as a forked child, so that tests can kill it: `scan_program.py DIR JSON`."""

import contextlib
import faulthandler
import json
import os
import pathlib
import queue
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from sdetheory.scan.identity import Point  # noqa: E402
from sdetheory.scan.runner import run  # noqa: E402
from sdetheory.scan.store import Store  # noqa: E402
from sdetheory.scan.worker import Receipt, run_chunk  # noqa: E402
from sdetheory.scan.workers import Died  # noqa: E402


def points(count, name="sample", seeds=1, **parameters):
    """A grid over x = 0, 1, 2, ..."""
    what = f"scan_experiments:{name}"
    return [Point(what, {"x": float(x), **parameters}, seed) for x in range(count) for seed in range(seeds)]


def reference(where, grid, **options):
    """The table of an uninterrupted run in this process."""
    run(grid, where, serial=True, progress=False, **options)
    return Store(where).table()


def check_killed(where, clean):
    """Nothing lost, nothing twice, the same bytes, and no problem found."""
    store = Store(where)
    assert not store.problems, store.problems
    assert not store.twins, f"{len(store.twins)} points computed twice"
    assert store.table() == clean


def forked(work):
    """The process number of a child that does `work` and exits with what it returns."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    faulthandler.disable()
    try:
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        status = work()
    finally:
        os._exit(status)


def ended(pid, patience=30.0):
    """Exit status of a child (negative: the signal that killed it), and how long it took to end."""
    began = time.monotonic()
    while time.monotonic() - began < patience:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), time.monotonic() - began
        time.sleep(0.005)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    raise AssertionError(f"child {pid} did not end within {patience} s")


class ForkedWorkers:
    """Workers that are forked for each chunk: a death is a death, and takes milliseconds."""

    def __init__(self):
        self.done = queue.SimpleQueue()

    def count(self):
        return 1

    def submit(self, task):
        reading, writing = os.pipe()

        def work():
            receipt = run_chunk(task)
            os.write(writing, json.dumps(receipt).encode())
            return 0

        status, _ = ended(forked(work))
        os.close(writing)
        with os.fdopen(reading) as file:
            self.done.put((task.key, Receipt(*json.loads(file.read())) if status == 0 else Died(str(status))))


def program(where, **call):
    """The program as a process in a session of its own."""
    return subprocess.Popen(
        [sys.executable, __file__, str(where), json.dumps(call)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def session(pid):
    """Processes that are still in the session of `pid`, itself excluded."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != pid:
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == pid and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def wait_for(condition, patience=60.0):
    """Wait until it holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience, f"not within {patience} s"
        time.sleep(0.01)


if __name__ == "__main__":
    call = json.loads(sys.argv[2])
    grid = points(**call.pop("points"))
    summary = run(grid, sys.argv[1], progress=False, **call)
    print(summary)
    sys.exit(summary.exit_status)
