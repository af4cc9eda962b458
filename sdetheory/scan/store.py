"""The store of a scan: immutable sealed shards, the newest manifest, and an index that is only a memory of them.

    DIR/runs/000001/manifest.json, manifest.copy.json    one numbered folder a run
    DIR/shards/3f/3f0c....shard                          the records of one chunk
    DIR/index.json                                       which shards there were: what is gone is noticed
    DIR/quarantine/                                      damaged files, moved here by the next run
    DIR/lock                                             held by the run that writes

Opening reads and verifies every byte; nothing is believed because an index says so. A reader needs no lock.
"""

import collections
import functools
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from sdetheory.scan import manifest as manifests
from sdetheory.scan.failing import StoreFailed
from sdetheory.scan.files import Disk
from sdetheory.scan.manifest import Manifest
from sdetheory.scan.records import OK, Record, read_line
from sdetheory.scan.shards import SUFFIX, About, Damaged, open_shard, statuses, unseal_json


class Entry(NamedTuple):
    """Where the record of a point is: its status, the tries it took, shard name and line."""

    status: str
    tries: int
    shard: str
    line: int

    def beats(self, other: "Entry") -> bool:
        """Ok is never superseded; of the others the latest try counts; twins are decided by name."""
        if (self.status == OK) != (other.status == OK):
            return self.status == OK
        if self.tries != other.tries:
            return (self.tries < other.tries) if self.status == OK else self.tries > other.tries
        return (self.shard, self.line) < (other.shard, other.line)


class Problem(NamedTuple):
    """A file that is not as it was written: kind (damaged, gone, foreign), file, and what was seen."""

    kind: str
    file: pathlib.Path
    says: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: {self.says}"


class Store:
    """The records in a folder. Opening never writes.

    entries: id -> Entry, what counts; problems: what was found damaged, gone or foreign; lost: id -> why a record that
    was once there is not; stale: ids computed by code that does not count; twins: ids with several ok records.
    Raises StoreFailed for a folder that cannot be read or has another format.
    """

    def __init__(self, path: str | pathlib.Path, disk: Disk | None = None) -> None:
        self.path, self.disk = pathlib.Path(path), disk or Disk()
        self._lines = functools.lru_cache(maxsize=32)(self._read_lines)
        try:
            self._load()
        except OSError as error:
            raise StoreFailed(f"cannot read the store `{path}`: {error}") from error

    def _load(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.problems: list[Problem] = []
        self.lost: dict[str, str] = {}
        self.stale: set[str] = set()
        self.twins: dict[str, list[Entry]] = collections.defaultdict(list)
        self.codes: dict[str, set[str]] = {}
        self.shards: dict[str, list[str]] = {}
        self.absent: set[pathlib.Path] = set()
        self.runs = self._runs()
        self.manifest = self._newest_manifest()
        self.settings = None if self.manifest is None else dict(self.manifest.settings)
        index = self._index()
        self._admit_new(index)
        for name in index.keys() - self.shards.keys():
            if not any(problem.file.name == name for problem in self.problems):
                self._problem("gone", self.file(name), "the index knew it", index[name])

    # -- reading -------------------------------------------------------------------------------------------

    @property
    def statuses(self) -> dict[str, str]:
        """id -> ok, diverged or failed; an id that is not there is missing."""
        return {name: entry.status for name, entry in self.entries.items()}

    def record(self, identity: str) -> Record | None:
        """The record of a point, or None if it is missing. Raises Damaged if its shard changed since opening."""
        entry = self.entries.get(identity)
        return None if entry is None else read_line(self._lines(entry.shard)[entry.line])

    def records(self) -> Iterator[Record]:
        """All records that count, in the canonical order: experiment, parameters, seed."""
        by_shard: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)
        for name, entry in self.entries.items():
            by_shard[entry.shard].append((entry.line, name))
        keys = []
        for shard, places in by_shard.items():
            lines = self._read_lines(shard)
            keys += [(read_line(lines[line]).order, name) for line, name in places]
        for _, name in sorted(keys):
            found = self.record(name)
            assert found is not None
            yield found

    def table(self) -> bytes:
        """All records as lines of JSON: the same bytes whatever the order, chunks, workers and interruptions."""
        return b"".join(record.line(volatile=False) for record in self.records())

    def conflicts(self) -> list[str]:
        """Points computed twice with different results: they depend on something besides their identity."""
        lines = {name: {self._entry_line(entry) for entry in twins} for name, twins in self.twins.items()}
        return [name for name, different in lines.items() if len(different) > 1]

    def _entry_line(self, entry: Entry) -> bytes:
        return read_line(self._lines(entry.shard)[entry.line]).line(volatile=False)

    def _read_lines(self, shard: str) -> list[bytes]:
        return open_shard(shard, self.disk.read(self.file(shard)))[1].split(b"\n")

    # -- loading -------------------------------------------------------------------------------------------

    def file(self, shard: str) -> pathlib.Path:
        """Where a shard stands."""
        return self.path / "shards" / shard[:2] / shard

    def refresh(self) -> None:
        """Take in shards that came since (a worker that died may have committed)."""
        self._admit_new({})

    def _admit_new(self, index: dict[str, list[str]]) -> None:
        for prefix in self.disk.names(self.path / "shards"):
            for name in self.disk.names(self.path / "shards" / prefix):
                if name.endswith(SUFFIX) and name not in self.shards:
                    self._try_to_admit(name, index)

    def _try_to_admit(self, name: str, index: dict[str, list[str]]) -> None:
        try:
            self.admit(name)
        except Damaged as damage:
            self._problem("damaged", self.file(name), str(damage), index.get(name, []))
        except FileNotFoundError:  # a writer put it into quarantine meanwhile
            return

    def admit(self, name: str) -> About:
        """Verify a shard and count its records. Raises Damaged, FileNotFoundError."""
        about, _ = open_shard(name, self.disk.read(self.file(name)))
        self.shards[name] = about.ids
        if self.settings is None:  # no manifest is left: the shards say what it said
            self.settings = about.settings
        if about.settings != self.settings:
            self._problem("foreign", self.file(name), "computed with other settings", [])
        elif self.manifest is not None and not self.manifest.counts(about.experiment, about.code):
            self.stale.update(about.ids)
        else:
            self._count(name, about)
        return about

    def _count(self, name: str, about: About) -> None:
        codes = self.codes.setdefault(about.experiment, set())
        for line, (identity, status, tries) in enumerate(zip(about.ids, statuses(about), about.tries, strict=True)):
            entry, old = Entry(status, tries, name, line), self.entries.get(identity)
            if old is None or entry.beats(old):
                self.entries[identity] = entry
            if status == OK and old is not None and old.status == OK:
                self.twins[identity] = [*(self.twins[identity] or [old]), entry]
            if status != "failed":
                codes.add(about.code)

    def _problem(self, kind: str, file: pathlib.Path, says: str, ids: list[str]) -> None:
        self.problems.append(Problem(kind, file, says))
        self.lost.update(dict.fromkeys(ids, f"its shard is {kind}"))

    def _runs(self) -> list[int]:
        return sorted(int(name) for name in self.disk.names(self.path / "runs") if name.isdigit())

    def _newest_manifest(self) -> Manifest | None:
        """The manifest of the last run that has a valid copy; None if there never was one, or none is left."""
        newest = None
        for run in self.runs:
            copies = [self._manifest(manifests.folder(self.path, run) / copy) for copy in manifests.COPIES]
            newest = next((one for one in copies if one is not None), newest)
        return newest

    def _manifest(self, file: pathlib.Path) -> Manifest | None:
        try:
            return manifests.unsealed(self.disk.read(file))
        except FileNotFoundError:
            self.absent.add(file)
        except Damaged as damage:
            self._problem("damaged", file, str(damage), [])
        return None

    def _index(self) -> dict[str, list[str]]:
        """Shard -> ids, as remembered; also says which manifests are gone."""
        file = self.path / "index.json"
        try:
            index = unseal_json("index", self.disk.read(file))
        except FileNotFoundError:
            if self.runs:
                self._problem("gone", file, "it is rebuilt by the next run", [])
            return {}
        except Damaged as damage:
            self._problem("damaged", file, str(damage), [])
            return {}
        expected = {manifests.folder(self.path, run) / copy for run in index["runs"] for copy in manifests.COPIES}
        here = {manifests.folder(self.path, run) for run in self.runs}
        for file in sorted(expected):
            if file in self.absent or file.parent not in here:
                self._problem("gone", file, "the index knew it", [])
        return index["shards"]

    def index(self) -> dict[str, Any]:
        """What to remember of this store."""
        return {"shards": self.shards, "runs": [run for run in self.runs if not self._incomplete(run)]}

    def _incomplete(self, run: int) -> bool:
        return any(manifests.folder(self.path, run) / copy in self.absent for copy in manifests.COPIES)
