"""Accidents of workers: points that kill their process, kills from outside, signals, and a queue of jobs."""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from scan_program import ForkedWorkers, check_killed, points, program, reference, session, wait_for

from sdetheory.scan.runner import run
from sdetheory.scan.store import Store
from sdetheory.scan.worker import DiedBefore, run_chunk
from sdetheory.scan.workers import Serial
from sdetheory.scan.writing import BEGUN


@pytest.mark.parametrize("how", ["kill", "abort"])
def test_a_point_that_crashes_the_interpreter_fails_and_spares_its_neighbours(tmp_path, monkeypatch, how):
    from sdetheory.scan import runner

    monkeypatch.setattr(runner, "opened", lambda *_: contextlib.nullcontext(ForkedWorkers()))
    grid = points(12, name="bad", how=how)
    summary = run(grid, tmp_path, progress=False, tries=2)
    store = Store(tmp_path)
    assert (summary.ok, summary.failed, summary.exit_status) == (11, 1, 1), summary
    assert "died 2 times" in store.record(grid[3].id).reason["message"] and not store.twins
    assert run(grid, tmp_path, progress=False).computed == 0


class Repeating(Serial):
    """Repeats every task after its receipt was taken in, as dask does when a worker dies before it may forget it."""

    def __init__(self):
        super().__init__()
        self.past, self.refused = [], 0

    def submit(self, task):
        for old in self.past:
            with pytest.raises(DiedBefore):
                run_chunk(old)
            self.refused += 1
        self.past.append(task)
        super().submit(task)


def test_a_task_that_is_repeated_after_its_receipt_commits_nothing(tmp_path, monkeypatch):
    from sdetheory.scan import runner

    pool, grid = Repeating(), points(12)
    monkeypatch.setattr(runner, "opened", lambda *_: contextlib.nullcontext(pool))
    assert run(grid, tmp_path, progress=False).ok == 12 and pool.refused > 0
    assert not Store(tmp_path).twins and not list(tmp_path.rglob(f"*{BEGUN}"))


def test_two_workers_give_the_table_of_one_process(tmp_path):
    pytest.importorskip("distributed")
    process = program(tmp_path / "store", points={"count": 12, "seeds": 2}, workers=2)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, (out, err)
    assert Store(tmp_path / "store").table() == reference(tmp_path / "clean", points(12, seeds=2))
    assert not Store(tmp_path / "store").twins
    wait_for(lambda: not session(process.pid), patience=5)


@pytest.mark.slow
def test_workers_die_of_a_point_and_only_that_point_fails(tmp_path):
    pytest.importorskip("distributed")
    grid = points(60, name="bad", how="abort")
    process = program(tmp_path, points={"count": 60, "name": "bad", "how": "abort"}, workers=2)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 1 and "died 3 times" in err, (out, err)
    store = Store(tmp_path)
    assert store.statuses[grid[3].id] == "failed" and list(store.statuses.values()).count("ok") == 59, store.statuses
    assert not store.twins
    wait_for(lambda: not session(process.pid), patience=5)  # the tracker of resources ends after its parent


@pytest.mark.slow
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_workers_end_with_the_run(tmp_path, number, status):
    """The whole group is signalled, as a terminal does; SIGKILL only hits the runner."""
    pytest.importorskip("distributed")
    where = tmp_path / "store"
    process = program(where, points={"count": 400, "wait": 0.05}, workers=2)
    wait_for(lambda: where.exists() and len(Store(where).entries) >= 4)
    (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
    began = time.monotonic()
    process.communicate(timeout=20)
    assert process.returncode == status and time.monotonic() - began < 5, (process.returncode, time.monotonic() - began)
    wait_for(lambda: not session(process.pid), patience=5)
    assert not Store(where).problems or number == signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("delay", [1.0, 2.0, 3.0])
def test_a_signal_while_workers_start_is_heard_at_once(tmp_path, delay):
    """Before Python has loaded the package a signal kills it the ordinary way (-15)."""
    pytest.importorskip("distributed")
    process = program(tmp_path / "store", points={"count": 4000, "wait": 0.05}, workers=2)
    time.sleep(delay)
    process.terminate()
    began = time.monotonic()
    process.communicate(timeout=30)
    assert process.returncode in (143, -15) and time.monotonic() - began < 5, (process.returncode, delay)
    wait_for(lambda: not session(process.pid), patience=5)


@pytest.mark.slow
def test_kill_9_of_workers_and_of_the_run_at_random_instants(tmp_path):
    """Kills of the runner (which takes its workers along) and of single workers; SCAN_KILLS sets how many."""
    pytest.importorskip("distributed")
    where, draw, committed = tmp_path / "store", random.Random(5), set()
    call, kills = {"count": 300, "wait": 0.03}, int(os.environ.get("SCAN_KILLS", 6))
    clean = reference(tmp_path / "clean", points(**call))
    for kill in range(kills):
        process = program(where, points=call, workers=2)
        if kill % 3 == 2:
            time.sleep(draw.uniform(2.0, 4.0))
            for victim in session(process.pid)[-1:]:
                os.kill(victim, signal.SIGKILL)
        time.sleep(draw.uniform(0.0, 3.5))
        process.kill()
        process.communicate()
        wait_for(lambda pid=process.pid: not session(pid), patience=5)
        now = set(Store(where).entries) if where.exists() else set()
        assert committed <= now, f"{len(committed - now)} committed points lost"
        committed = now
        if len(committed) == call["count"]:
            check_killed(where, clean)
            shutil.rmtree(where)
            committed = set()
    assert program(where, points=call, workers=2).wait(timeout=100) == 0
    check_killed(where, clean)


JOBS = """
import sys
sys.path[:0] = sys.argv[2:]
from dask_jobqueue.local import LocalCluster
from scan_program import points
from sdetheory.scan.runner import run

if __name__ == "__main__":
    with LocalCluster(cores=1, memory="1GB", processes=1, scheduler_options={"dashboard_address": ":0"}) as cluster:
        cluster.scale(jobs=2)
        print(run(points(24), sys.argv[1], scheduler=cluster.scheduler_address, progress=False))
"""


@pytest.mark.slow
def test_a_job_queue_takes_the_same_scan(tmp_path):
    """dask-jobqueue with its local stand-in for a queueing system: jobs are scripts, workers come and are found."""
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra: cluster)")
    script, paths = tmp_path / "jobs.py", [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]
    script.write_text(JOBS)
    out = subprocess.run(
        [sys.executable, script, tmp_path / "store", *paths],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, timeout=200, cwd=tmp_path,
    )  # fmt: skip
    assert out.returncode == 0 and "ok=24" in out.stdout, (out.stdout, out.stderr)
    assert Store(tmp_path / "store").table() == reference(tmp_path / "clean", points(24))
