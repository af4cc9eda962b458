"""Parts of a run: chunks, code and its digest, locks without a lock service, workers cut off, what an import loads."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan_program import points

from sdetheory.scan import sources
from sdetheory.scan.chunks import GROWTH, Chunks
from sdetheory.scan.due import Due
from sdetheory.scan.identity import Point
from sdetheory.scan.lock import Lock, StoreBusy
from sdetheory.scan.progress import SHOWN, Progress
from sdetheory.scan.records import OK, Record
from sdetheory.scan.runner import run
from sdetheory.scan.store import Store
from sdetheory.scan.writing import Writing, commit

# -- chunks ------------------------------------------------------------------------------------------------


def waiting(costs):
    return [Due(Point("e", {"cost": cost, "batch": i % 3}, i), "", 0) for i, cost in enumerate(costs)]


@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=60),
    st.lists(st.floats(1e-4, 5.0), min_size=1, max_size=60),
    st.integers(1, 4),
)
def test_every_point_travels_once_and_chunks_grow_with_care(costs, seconds, workers):
    """Whatever the chunks take, each point is handed out once, with its own batch, in the order given."""
    todo = waiting(costs)
    chunks = Chunks(todo, batch=lambda p: p.parameters["batch"], cost=lambda p: p.parameters["cost"])
    handed, largest = [], 0.0
    while (chunk := chunks.take(workers)) is not None:
        assert len({one.point.parameters["batch"] for one in chunk.due}) == 1
        assert len(chunk.due) == 1 or chunk.cost <= GROWTH * largest * (1 + 1e-12), (chunk.cost, largest)
        rate = chunks.rate.get("e")
        assert len(chunk.due) == 1 or chunk.cost * rate <= chunks.target * (1 + 1e-12), (chunk.cost, rate)
        handed += chunk.due
        chunks.learn(chunk, seconds[len(handed) % len(seconds)])
        largest = max(largest, chunk.cost)
    assert len(chunks) == 0
    assert sorted(handed, key=todo.index) == todo
    assert [one for one in handed if one.point.parameters["batch"] == 0] == todo[::3]


def test_chunks_reach_their_second_and_shrink_at_the_end():
    chunks = Chunks(waiting([1.0] * 6000), batch=lambda p: (), cost=lambda p: 1.0)
    sizes = []
    while (chunk := chunks.take(2)) is not None:
        sizes.append(len(chunk.due))
        chunks.learn(chunk, 0.005 * len(chunk.due) + (5.0 if len(sizes) == 1 else 0.0))  # the first one compiles
    assert 190 <= max(sizes) <= 200 and sizes.index(max(sizes)) < 20, sizes
    assert sizes[-1] == 1 and sum(sizes) == 6000, sizes


# -- code --------------------------------------------------------------------------------------------------


def test_the_digest_follows_imports_and_stops_at_packages_of_others(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a_root.py").write_text("import numpy\nimport sdetheory as st\n\n\ndef f():\n"
                                        "    from a_pack.leaf import g\n    return st.deep_linear, g\n")  # fmt: skip
    pack = tmp_path / "a_pack"
    pack.mkdir()
    (pack / "__init__.py").write_text("")
    (pack / "leaf.py").write_text("from .twig import h as g\n")
    (pack / "twig.py").write_text("def h():\n    return 1\n")
    (pack / "stranger.py").write_text("")
    files = sources.code_files(["a_root"])
    assert {"a_root", "a_pack", "a_pack.leaf", "a_pack.twig", "sdetheory.models.deep_linear"} <= files.keys()
    assert not [name for name in files if name.startswith(("numpy", "numba", "os", "a_pack.stranger"))]
    assert not [name for name in files if name.startswith("sdetheory.scan")]
    before = sources.digests(files)
    (pack / "twig.py").write_text("def h():\n    return 2\n")
    after = sources.digests(files)
    assert sources.digest(before) != sources.digest(after)
    assert sources.differences(before, after) == "changed: a_pack.twig"
    with pytest.raises(LookupError, match="a_rot"):
        sources.code_files(["a_rot"])


def test_numbers_of_an_experiment_depend_on_kernels_and_predictions_not_on_the_machinery():
    files = sources.code_files(["sdetheory.scan.experiments.effective_lr", "sdetheory.scan.comparison"])
    assert {"sdetheory.simulation", "sdetheory.lanes.driver", "sdetheory.predictions.intrinsic_lr"} <= files.keys()
    assert {"sdetheory.integrators.strang", "sdetheory.scan.comparison"} <= files.keys()
    assert not {"sdetheory.scan.store", "sdetheory.scan.report", "sdetheory.cli"} & files.keys()


# -- locks and runs that are over ---------------------------------------------------------------------------


def no_locks(monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def owner(tmp_path, **fields):
    lease = tmp_path / "lease"
    lease.mkdir()
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": "1"}
    (lease / "owner").write_text(json.dumps(mine | fields))


def test_without_a_lock_service_a_lease_decides(tmp_path, monkeypatch):
    no_locks(monkeypatch)
    with Lock(tmp_path):
        with pytest.raises(StoreBusy, match=f'"pid": {os.getpid()}'), Lock(tmp_path):
            pass
        assert (tmp_path / "lease").exists(), "the loser took the lease along"
    assert not (tmp_path / "lease").exists()


def test_a_lease_of_a_dead_process_is_taken_over_but_not_of_another_host(tmp_path, monkeypatch):
    no_locks(monkeypatch)
    owner(tmp_path, started="0")  # the number lives on in another process
    with Lock(tmp_path):
        pass
    owner(tmp_path, host="elsewhere")
    with pytest.raises(StoreBusy, match=r"elsewhere.*remove"), Lock(tmp_path):
        pass


def test_a_worker_of_an_older_run_commits_nothing(tmp_path):
    code = {"e": {"m": "0"}}
    begin = lambda: Writing(tmp_path / "store", settings={"root_seed": 0}, code=code)
    one = Point("e", {"x": 1.0})
    record = Record(one.id, "e", one.parameters, 0, OK, code=sources.digest(code["e"]))
    with begin() as first:
        pass
    with begin(), pytest.raises(StoreBusy, match="superseded by run 2"):
        commit(tmp_path / "store", first.run, {"root_seed": 0}, [record])
    assert not Store(tmp_path / "store").entries


# -- the rest ----------------------------------------------------------------------------------------------


def test_values_depend_on_the_root_seed_and_the_point_alone(tmp_path):
    grid = points(4, seeds=2)
    for name, some, root in (("a", grid, 1), ("b", grid[5:], 1), ("c", grid, 2)):
        run(some, tmp_path / name, serial=True, progress=False, root_seed=root)
    a, b, c = ({r.id: r.measured for r in Store(tmp_path / name).records()} for name in "abc")
    assert all(a[name] == value for name, value in b.items()) and len(b) == 3
    assert not any(a[name] == c[name] for name in a)


@pytest.mark.parametrize("wrong, says", [
    ({"tries": 0}, "tries"), ({"workers": 0}, "workers"), ({"changed": "kep"}, "did you mean 'keep'"),
    ({"retry": ["fail"]}, "did you mean 'failed'"), ({"settings": {"x": float("nan")}}, "settings"),
])  # fmt: skip
def test_wrong_options_are_refused_before_work(tmp_path, wrong, says):
    with pytest.raises(ValueError, match=says):
        run(points(2), tmp_path / "store", serial=True, progress=False, **wrong)
    assert not (tmp_path / "store").exists()


def test_failures_are_said_as_they_happen_and_not_without_end(capsys):
    with Progress(100, 0, False) as bar:
        for number in range(SHOWN + 5):
            bar.failures([f"point {number}"])
    err = capsys.readouterr().err
    assert err.count("failed: point") == SHOWN and err.count("further failures") == 1, err


def test_importing_scans_loads_neither_dask_nor_the_compiler():
    code = (
        "import sys, sdetheory, sdetheory.scan.store, sdetheory.scan.runner, sdetheory.scan.worker;"
        "print([n for n in ('dask', 'distributed', 'numba', 'scipy.stats', 'matplotlib') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]", out.stdout


def test_a_point_whose_result_depends_on_something_else_is_found(tmp_path):
    """Twins (as after two runs on a disk whose locks do not work) count once; if they differ, that is told."""
    code = {"e": {"m": "0"}}
    one, other = Point("e", {"x": 1.0}), Point("e", {"x": 2.0})

    def records(shift):
        same = {"code": sources.digest(code["e"]), "seconds": shift}
        return [Record(one.id, "e", one.parameters, 0, OK, {"y": 1.0}, **same),
                Record(other.id, "e", other.parameters, 0, OK, {"y": 2.0 + shift}, **same)]  # fmt: skip

    with Writing(tmp_path, settings={}, code=code) as writing:
        writing.commit(records(0.0))
        writing.commit(records(1.0))
    store = Store(tmp_path)
    assert len(list(store.records())) == 2 and set(store.twins) == {one.id, other.id}
    assert store.conflicts() == [other.id]
