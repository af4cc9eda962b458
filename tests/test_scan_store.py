"""The store of a scan: identities, records, seals, and a machine that crashes, corrupts, retries, extends, reopens."""

import contextlib
import json
import pathlib

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scan_disk import Crash, MemoryDisk

from sdetheory.scan import manifest, records, shards
from sdetheory.scan.due import due
from sdetheory.scan.failing import StoreFailed
from sdetheory.scan.identity import Point, canonical, point_id, point_seed
from sdetheory.scan.records import DIVERGED, FAILED, OK, Record
from sdetheory.scan.store import Store
from sdetheory.scan.writing import Writing

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
tables = st.dictionaries(st.text(max_size=3), values, max_size=4)
measurable = st.floats() | st.lists(st.floats(), max_size=3) | st.lists(st.lists(st.floats(), max_size=2), max_size=2)


# -- identity ----------------------------------------------------------------------------------------------


@given(tables, st.integers(0, 2**40))
@example({"x": -0.0, "y": 1e-310, "z": 0.1 + 0.2}, 0)
def test_an_identity_is_of_values_and_knows_no_order(table, seed):
    name = point_id("e", table, seed)
    shuffled = dict(reversed(list(table.items())))
    assert point_id("e", shuffled, seed) == name
    assert point_id("e", json.loads(canonical(table)), seed) == name, "the text form lost something"
    assert point_id("e", table, seed + 1) != name and point_id("f", table, seed) != name
    assert Point("e", table, seed).group == Point("e", table, seed + 1).group


@given(tables, tables)
@example({"x": 1}, {"x": 1.0})
@example({"x": 0.1}, {"x": float(np.nextafter(0.1, 1))})
@example({"x": True}, {"x": 1})
@example({"x": None}, {})
def test_different_parameters_have_different_identities(one, other):
    assume(repr(sorted(one.items())) != repr(sorted(other.items())))
    assume(json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True))
    assert point_id("e", one, 0) != point_id("e", other, 0), f"{one} {other}"


def test_identities_and_seeds_are_for_all_time():
    """Values in released stores: a change of these loses every store there is."""
    name = point_id("effective_lr", {"lr": 0.1, "weight_decay": 5e-4, "d": 16}, 3)
    assert name == "cf1c60003a175e5c7cb7436a33b69cf46be6b475dd61af16bdcd4bda86ac766d", name
    assert point_seed(7, name) == 1703024036236713352, point_seed(7, name)
    assert canonical({"b": [1, 1.0, -0.0, True, None], "a": "é"}) == b'{"a":"\\u00e9","b":[1,1.0,-0.0,true,null]}'


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1j, {1: 2}, {"a": {2, 3}}, [np.nan]])
def test_what_identifies_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="parameters"):
        point_id("e", {"x": wrong}, 0)


def test_numpy_values_are_plain_ones():
    mine = {"x": np.float64(0.1), "n": np.int32(3), "v": np.arange(3.0), "t": (1, 2)}
    assert canonical(mine) == canonical({"x": 0.1, "n": 3, "v": [0.0, 1.0, 2.0], "t": [1, 2]})


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=20, unique=True), st.integers(0, 2**32))
def test_seeds_of_points_differ(seeds, root):
    drawn = [point_seed(root, point_id("e", {"x": 1.0}, seed)) for seed in seeds]
    assert len(set(drawn)) == len(seeds) and all(0 <= one < 2**63 for one in drawn)
    assert point_seed(root + 1, point_id("e", {"x": 1.0}, seeds[0])) != drawn[0]


# -- records and seals -------------------------------------------------------------------------------------


def same(one, other):
    """Equal, NaN to NaN, whatever the order of names."""
    one, other = ([f"{name}={value}" for name, value in sorted(records.encoded(x).items())] for x in (one, other))
    return one == other


@given(st.dictionaries(st.text(max_size=3), measurable, max_size=3), st.sampled_from(records.STATUSES))
def test_a_record_comes_back_as_it_was(measured, status):
    record = Record("ab", "e", {"x": 0.1}, 0, status, measured=measured, seconds=0.25, tries=2)
    line = record.line()
    back = records.read_line(line)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert back.line() == line
    assert same(back.measured, measured) and (back.status, back.tries) == (status, 2), line
    assert b'"seconds"' not in record.line(volatile=False)


def test_not_a_number_none_and_absent_are_three_things():
    line = Record("ab", "e", {}, 0, OK, measured={"nan": np.nan, "inf": -np.inf, "none": None}).line()
    back = records.read_line(line).measured
    assert np.isnan(back["nan"]) and back["inf"] == -np.inf and back["none"] is None and "absent" not in back


@given(st.binary(max_size=60), st.data())
def test_every_touched_byte_of_a_sealed_file_shows(body, data):
    sealed = shards.seal("shard", body)
    assert shards.unseal("shard", sealed) == body
    place, mask = data.draw(st.integers(0, len(sealed) - 1)), data.draw(st.integers(1, 255))
    touched = bytearray(sealed)
    touched[place] ^= mask
    for wrong in (bytes(touched), sealed[:place], sealed + b"x"):
        with pytest.raises(shards.Damaged):
            shards.unseal("shard", wrong)


def test_every_single_bit_of_a_sealed_file_counts():
    """The words before the checksum too: a flipped version is damage, not another version."""
    sealed = shards.seal("shard", b"one\ntwo\n")
    for place in range(len(sealed)):
        for bit in range(8):
            touched = sealed[:place] + bytes([sealed[place] ^ (1 << bit)]) + sealed[place + 1 :]
            with pytest.raises(shards.Damaged):
                shards.unseal("shard", touched)


def test_an_intact_file_of_another_version_is_not_damage():
    with pytest.raises(StoreFailed, match="format 2"):
        shards.unseal("manifest", shards.seal("manifest", b"{}", version=2))


# -- the store as a machine --------------------------------------------------------------------------------

PATH = pathlib.Path("/scan")
CODE = {"e": {"module": "0"}}


def point(number):
    return Point("e", {"x": float(number)}, 0)


def result(number, tries):
    """What a point gives: some fail first, some diverge twice, most are ok."""
    status = FAILED if number % 5 == 3 and tries < 2 else DIVERGED if number % 7 == 2 and tries < 3 else OK
    one = point(number)
    return Record(one.id, "e", one.parameters, 0, status, measured={"y": number / 3}, code=digest(CODE), tries=tries)


def digest(code):
    from sdetheory.scan import sources

    return sources.digest(code["e"])


def begin(disk, **rest):
    return Writing(PATH, settings={"root_seed": 0}, code=CODE, disk=disk, **rest)


def compute(writing, numbers, chunk, retry=(), limit=None):
    """Run what is due in chunks; yields the records of every committed chunk."""
    todo = due(map(point, numbers), writing.store, retry)[:limit]
    for start in range(0, len(todo), chunk):
        part = [result(int(one.point.parameters["x"]), one.tries + 1) for one in todo[start : start + chunk]]
        writing.commit(part)
        yield part


def complete(disk, numbers, chunk=3):
    """The table after running everything, failures and divergences again until they are ok."""
    with begin(disk) as writing:
        for retry in ((), ("failed", "diverged"), ("failed", "diverged"), ("failed", "diverged")):
            for _ in compute(writing, numbers, chunk, retry):
                pass
        assert set(writing.store.statuses.values()) <= {OK}
    return Store(PATH, disk).table()


class StoreMachine(RuleBasedStateMachine):
    """Whatever happens, what was committed stays, and what is read is what was written."""

    @initialize()
    def empty(self):
        self.disk, self.size = MemoryDisk(), 6
        self.committed = {}  # id -> (status, tries) that some commit promised

    def promise(self, part):
        for record in part:
            self.committed[record.id] = (record.status, record.tries)

    def remembered(self):
        """Files that the index knows."""
        try:
            index = shards.unseal_json("index", self.disk.read(PATH / "index.json"))
        except (FileNotFoundError, shards.Damaged):
            return []
        known = Store(PATH, self.disk)
        copies = [manifest.folder(PATH, run) / copy for run in index["runs"] for copy in manifest.COPIES]
        return [str(file) for file in [*copies, *map(known.file, index["shards"])]]

    @rule(chunk=st.integers(1, 4), limit=st.none() | st.integers(1, 4), retry=st.sampled_from([(), (FAILED, DIVERGED)]))
    def work(self, chunk, limit, retry):
        with begin(self.disk) as writing:
            for part in compute(writing, range(self.size), chunk, retry, limit):
                self.promise(part)

    @rule(chunk=st.integers(1, 3), crash=st.integers(1, 120), data=st.data(), retry=st.sampled_from([(), (FAILED,)]))
    def crash(self, chunk, crash, data, retry):
        self.disk.crash_at = self.disk.calls + crash
        with contextlib.suppress(Crash), begin(self.disk) as writing:
            for part in compute(writing, range(self.size), chunk, retry):
                self.promise(part)
        self.disk.reboot(lambda label: data.draw(st.booleans(), label))

    @rule(chunk=st.integers(1, 3), full=st.integers(1, 80))
    def fill(self, chunk, full):
        self.disk.full_at = self.disk.calls + full
        with contextlib.suppress(StoreFailed), begin(self.disk) as writing:
            for part in compute(writing, range(self.size), chunk):
                self.promise(part)
        self.disk.full_at = None

    @rule(more=st.integers(1, 4))
    def extend(self, more):
        self.size += more

    @precondition(lambda self: any("quarantine" not in p.parts for p in self.disk.files()))
    @rule(data=st.data(), how=st.sampled_from(["flip", "truncate", "delete", "append"]))
    def corrupt(self, data, how):
        names = [p for p in self.disk.files() if "quarantine" not in p.parts and not p.name.endswith(".tmp")]
        assume(names)
        path = data.draw(st.sampled_from(names))
        old = self.disk.now[path].data
        assume(old)
        place = data.draw(st.integers(0, len(old) - 1))
        known = Store(PATH, self.disk)
        assume(path not in [problem.file for problem in known.problems])  # a second flip may mend the first
        was_seen = path.name == "index.json" or str(path) in self.remembered()
        if how == "delete":
            self.disk.remove(path)
        else:
            flipped = old[:place] + bytes([old[place] ^ (1 << place % 8)]) + old[place + 1 :]
            self.disk.now[path].data = {"flip": flipped, "truncate": old[:place], "append": old + b"\n"}[how]
        problems = Store(PATH, self.disk).problems
        complained = any(problem.file == path for problem in problems)
        assert complained or (how == "delete" and not was_seen), f"{how} {path} at {place}: {problems}"
        if path.suffix == ".shard":
            for one in known.shards.get(path.name, []):
                self.committed.pop(one, None)
    @invariant()
    def what_was_promised_is_there_and_reads_as_written(self):
        store = Store(PATH, self.disk)
        for name, (status, tries) in self.committed.items():
            entry = store.entries.get(name)
            assert entry is not None, f"{name} was committed ({status}) and is gone: {store.problems}"
            assert entry.status == OK or (status != OK and entry.tries >= tries), (entry, status, tries)

        for record in store.records():
            expected = result(int(record.parameters["x"]), record.tries)
            assert record.line() == expected.line()

    def teardown(self):
        if hasattr(self, "disk") and self.disk.crash_at is None:
            with begin(self.disk):  # damage that nobody has looked at yet goes to quarantine
                pass
            assert not Store(PATH, self.disk).problems
            table, clean = complete(self.disk, range(self.size)), complete(MemoryDisk(), range(self.size), chunk=5)
            assert table == clean, "the table depends on its history"


class TestStore(StoreMachine.TestCase):
    settings = settings(max_examples=10, stateful_step_count=12, deadline=None)


@pytest.mark.slow
class TestStoreAtLength(StoreMachine.TestCase):
    settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
