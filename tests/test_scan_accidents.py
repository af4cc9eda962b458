"""Accidents of a scan: what was committed stays, what is damaged is found and computed again, and every end is clean.

Short forms by default; the long ones (50 kills, every byte, workers, small disks) are marked slow.
"""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from scan_program import check_killed, ended, forked, points, reference, wait_for

from sdetheory.scan import shards
from sdetheory.scan.due import due
from sdetheory.scan.failing import StoreFailed
from sdetheory.scan.lock import StoreBusy
from sdetheory.scan.manifest import CodeChanged, SettingsChanged
from sdetheory.scan.runner import run
from sdetheory.scan.store import Store

GRID = points(40, wait=0.004)


def serial(grid, where, **options):
    """A run in this process."""
    return run(grid, where, serial=True, progress=False, **options)


def kill_and_look(pid, where, delay, committed):
    """Kill after `delay`; returns the ids in the store, of which none may be lost."""
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    now = set(Store(where).entries) if where.exists() else set()
    assert committed <= now, f"{len(committed - now)} committed points lost"
    return now


def survive_kills(where, kills, seed, slowest):
    """Kill a run in this process at random instants; the number of kills that interrupted it, and what was left."""
    draw, committed, interrupted = random.Random(seed), set(), 0
    for _ in range(kills):
        pid = forked(lambda: serial(GRID, where).exit_status)
        committed = kill_and_look(pid, where, draw.uniform(0.0, slowest), committed)
        interrupted += len(committed) < len(GRID)
        if len(committed) == len(GRID):
            shutil.rmtree(where)
            committed = set()
    serial(GRID, where)
    return interrupted


def test_kill_9_at_random_instants_loses_and_doubles_nothing(tmp_path):
    clean = reference(tmp_path / "clean", GRID)
    interrupted = survive_kills(tmp_path / "killed", 4, seed=1, slowest=0.3)
    assert interrupted >= 2, f"only {interrupted} kills came in the middle"
    check_killed(tmp_path / "killed", clean)


@pytest.mark.slow
def test_kill_9_at_fifty_random_instants(tmp_path):
    clean = reference(tmp_path / "clean", GRID)
    interrupted = survive_kills(tmp_path / "killed", 50, seed=2, slowest=0.3)
    assert interrupted >= 25, f"only {interrupted} kills came in the middle"
    check_killed(tmp_path / "killed", clean)


# -- damage ------------------------------------------------------------------------------------------------


def damage(file, how, place):
    """Flip a bit, cut, or delete."""
    data = file.read_bytes()
    if how == "delete":
        file.unlink()
    elif how == "truncate":
        file.write_bytes(data[:place])
    else:
        file.write_bytes(data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :])


def files(where):
    """Everything that holds results or says whose they are (the lock is empty)."""
    return sorted(one for one in where.rglob("*") if one.is_file() and one.stat().st_size)


def found(where, file, how, place):
    """Damage a file: it must show; then it is put back."""
    data = file.read_bytes()
    damage(file, how, place)
    problems = Store(where).problems
    file.write_bytes(data)
    return any(one.file == file for one in problems)


def test_any_flipped_byte_cut_or_deleted_file_is_detected(tmp_path):
    where, draw = tmp_path / "store", random.Random(3)
    serial(points(6), where)
    for file in files(where):
        for how in ("flip", "flip", "truncate", "delete"):
            place = draw.randrange(file.stat().st_size)
            assert found(where, file, how, place), f"{how} {file} at {place} went unnoticed"
    assert not Store(where).problems


@pytest.mark.slow
def test_every_single_byte_of_a_store(tmp_path):
    """Each byte breaks the seal of its file; for every tenth the store is opened and must name the file."""
    where, tried = tmp_path / "store", 0
    serial(points(2), where)
    for file in files(where):
        data = file.read_bytes()
        kind = data.split(b" ")[1].decode()
        for place in range(len(data)):
            flipped = data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
            with pytest.raises(shards.Damaged):
                shards.unseal(kind, flipped)
            assert place % 10 or found(where, file, "flip", place), f"{file} at {place} went unnoticed"
            tried += 1
    assert tried > 1000 and not Store(where).problems, tried


def test_damaged_shards_are_put_aside_and_computed_again(tmp_path):
    where, grid = tmp_path / "store", points(12)
    clean = reference(where, grid)
    every = sorted((where / "shards").rglob("*.shard"))
    for shard, how in zip(every, ["flip", "truncate", "delete", "flip"], strict=False):
        damage(shard, how, 200)
    store = Store(where)
    lost = [one.why for one in due(grid, store)]
    assert len(store.problems) == 4, store.problems
    assert set(lost) == {"its shard is damaged", "its shard is gone"}, lost
    summary = serial(grid, where)
    assert summary.computed == len(lost) and len(summary.quarantined) == 3, summary
    assert Store(where).table() == clean and not Store(where).problems
    assert len(list((where / "quarantine").iterdir())) == 3


def test_a_store_without_manifests_and_index_is_rebuilt_from_its_shards(tmp_path):
    where, grid = tmp_path / "store", points(8)
    clean = reference(where, grid)
    for file in [*(where / "runs").rglob("*.json"), where / "index.json"]:
        damage(file, "flip", 40)
    assert len(Store(where).problems) == 3 and Store(where).table() == clean
    with pytest.raises(SettingsChanged, match="root_seed=1"):
        serial(grid, where, root_seed=1)
    assert serial(grid, where).computed == 0
    assert Store(where).table() == clean and not Store(where).problems


# -- disks -------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_refused_before_work(tmp_path):
    """As an ordinary user, also where tests run as root."""
    folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
    clean = reference(folder / "store", GRID[:5])
    for one in [folder, *folder.rglob("*")]:
        one.chmod(0o555 if one.is_dir() else 0o444)

    def work():
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        try:
            serial(GRID, folder / "store")
        except StoreFailed as error:
            return 7 if "permission" in str(error) and Store(folder / "store").table() == clean else 8
        return 9

    try:
        assert ended(forked(work))[0] == 7
    finally:
        for one in [folder, *folder.rglob("*")]:
            one.chmod(0o755 if one.is_dir() else 0o644)
    assert serial(GRID, folder / "store").computed == len(GRID) - 5
    shutil.rmtree(folder)


def test_a_foreign_folder_is_not_taken_for_a_store(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreFailed, match=r"not a store, it holds 'thesis\.tex'"):
        serial(GRID, tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_a_full_disk_is_said_and_keeps_what_there_was(tmp_path):
    disk = tmp_path / "small"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        grid = points(400, wait=0.001)
        with pytest.raises(StoreFailed, match="No space left"):
            serial(grid, disk / "store")
        store = Store(disk / "store")
        kept = set(store.entries)
        assert 0 < len(kept) < len(grid) and not [p for p in store.problems if p.kind == "damaged"], store.problems
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        summary = serial(grid, disk / "store")
        assert summary.computed == len(grid) - len(kept), summary
        assert Store(disk / "store").table() == reference(tmp_path / "clean", grid)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# -- two runs, other code, larger grids ---------------------------------------------------------------------


def test_a_second_run_on_the_same_store_is_refused_by_name(tmp_path):
    where, slow = tmp_path / "store", points(400, wait=0.05)
    pid = forked(lambda: serial(slow, where).exit_status)
    try:
        wait_for(lambda: where.exists() and Store(where).manifest is not None)
        with pytest.raises(StoreBusy, match=f"pid {pid}"):
            serial(slow, where)
    finally:
        os.kill(pid, signal.SIGKILL)
    assert ended(pid)[0] == -signal.SIGKILL
    assert serial(slow[:2], where).missing == 0, "the lock outlived its holder"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A user's module that can be edited."""
    from sdetheory.scan import experiments, worker

    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(factor):
        (folder / "users_part.py").write_text(f"FACTOR = {factor!r}\n")
        (folder / "users_scan.py").write_text(
            "from users_part import FACTOR\n\n\ndef double(x: float):\n    return {'y': FACTOR * x}\n"
        )
        for name in ("users_scan", "users_part"):
            sys.modules.pop(name, None)
        experiments.find.cache_clear()
        worker._files.cache_clear()

    yield write
    for name in ("users_scan", "users_part"):
        sys.modules.pop(name, None)
    experiments.find.cache_clear()


def test_other_code_is_refused_with_the_file_named_and_ways_on(tmp_path, module):
    where = tmp_path / "store"
    grid = [one.__class__("users_scan:double", {"x": one.parameters["x"]}) for one in points(4)]
    module(2.0)
    assert serial(grid[:2], where).ok == 2
    module(2.5)
    with pytest.raises(CodeChanged, match="changed: users_part"):
        serial(grid, where)
    assert Store(where).manifest.run == 1, "a refused run left traces"
    assert serial(grid[:3], where, changed="keep").computed == 1
    assert [one.measured["y"] for one in Store(where).records()] == [0.0, 2.0, 5.0]
    assert len({one.code for one in Store(where).records()}) == 2
    assert serial(grid, where).computed == 1, "code once accepted needs no word"
    assert serial(grid, where, changed="recompute").computed == 2, "those of the first code do not count any more"
    assert [one.measured["y"] for one in Store(where).records()] == [0.0, 2.5, 5.0, 7.5]
    module(3.0)
    assert serial(grid, where, changed="recompute").computed == 4
    assert [one.measured["y"] for one in Store(where).records()] == [0.0, 3.0, 6.0, 9.0]


def test_a_larger_grid_leaves_old_points_alone(tmp_path):
    where, small, large = tmp_path / "store", points(5), points(9, seeds=2)
    serial(small, where)
    before = {one: (where / one).read_bytes() for one in files(where / "shards")}
    summary = serial(list(reversed(large)), where)
    assert summary.computed == 18 - 5, summary
    assert all(file.read_bytes() == data for file, data in before.items())
    assert Store(where).table() == reference(tmp_path / "other", large)


# -- points that misbehave ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how, status, says", [
    ("raise", "failed", "no value at x=3.0"), ("diverge", "diverged", "t=1.5"), ("complex", "failed", "must be"),
    ("exit", "failed", "3"), ("nan", "ok", None),
])  # fmt: skip
def test_one_bad_point_is_recorded_with_its_reason_and_spares_the_others(tmp_path, how, status, says):
    grid = points(8, name="bad", how=how)
    summary = serial(grid, tmp_path)
    assert (summary.ok, summary.missing) == (7 + (status == "ok"), 0), summary
    record = Store(tmp_path).record(grid[3].id)
    assert record.status == status and (says is None or says in record.reason["message"]), record
    if status == "failed":
        assert "scan_experiments" in record.reason["traceback"] or how == "complex"
        assert "worker.py" not in record.reason["traceback"], record.reason["traceback"]
    assert serial(grid, tmp_path).computed == 0
    if status != "ok":
        assert serial(grid, tmp_path, retry=(status,)).computed == 1
        assert Store(tmp_path).record(grid[3].id).tries == 2


def test_fail_fast_stops_at_the_first_failure(tmp_path):
    grid = points(40, name="bad")
    assert serial(grid, tmp_path, fail_fast=True).missing > 20
    assert serial(grid, tmp_path).missing == 0


# -- signals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_order(tmp_path, number, status):
    where = tmp_path / "store"
    pid = forked(lambda: serial(points(40, wait=0.02), where).exit_status)
    wait_for(lambda: where.exists() and len(Store(where).entries) >= 2)
    os.kill(pid, number)
    code, seconds = ended(pid)
    assert code == status and seconds < 5, (code, seconds)
    assert not list(where.rglob("*.tmp")) and not Store(where).problems


def test_the_summary_of_a_run_that_was_stopped_counts_all_that_was_kept(tmp_path):
    where = tmp_path / "store"

    def counted():
        summary = serial(points(40, wait=0.12), where)
        return 0 if summary.computed == summary.ok == len(Store(where).entries) > 0 else 7

    pid = forked(counted)
    wait_for(lambda: where.exists() and len(Store(where).entries) >= 5)
    os.kill(pid, signal.SIGINT)
    assert ended(pid)[0] == 0
