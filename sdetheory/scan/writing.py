"""Writing to a store: one run at a time takes it, puts damage aside, and numbers itself; its workers commit shards.

A committed shard stays whatever happens next. A worker of an older run, cut off and forgotten, finds that a newer run
has begun and commits nothing.
"""

import pathlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from sdetheory.scan import manifest as manifests
from sdetheory.scan.failing import StoreFailed, refuse
from sdetheory.scan.files import TEMPORARY, Disk, make_folder_durably, write_durably
from sdetheory.scan.lock import StoreBusy
from sdetheory.scan.manifest import COPIES, Manifest
from sdetheory.scan.records import Record
from sdetheory.scan.shards import seal_json, shard
from sdetheory.scan.store import Store

BEGUN = ".begun"  # marks of chunks that have begun
_PARTS = ("runs", "shards", "quarantine")
_KNOWN = {*_PARTS, "lock", "lease", "index.json"}


class Writing:
    """A run that writes: `with Writing(path, settings=..., code=...) as writing: writing.commit(records)`.

    settings, description, code and changed: see `manifest.Manifest` and `manifest.accept`. Taking the store quarantines
    damaged files, deletes temporary ones, and writes a new manifest and index.
    Raises StoreBusy (another run), SettingsChanged, CodeChanged, StoreFailed; then nothing has changed.
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        *,
        settings: Mapping[str, Any],
        code: Mapping[str, Mapping[str, str]],
        description: Any = None,
        changed: str = "refuse",
        command: list[str] | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.path, self.disk = pathlib.Path(path), disk or Disk()
        self.settings, self.code, self.description = dict(settings), code, description
        self.changed, self.command = changed, command
        self.quarantined: list[str] = []

    def __enter__(self) -> "Writing":
        self._make()
        self.lock = self.disk.lock(self.path, self._holder())
        self.lock.__enter__()
        try:
            self._take()
        except BaseException:
            self.lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.write_index()
        except StoreFailed:  # a full disk: the index is only a memory, the next run writes it
            pass
        finally:
            self.lock.__exit__(kind, value, trace)

    def commit(self, records: Sequence[Record]) -> str:
        """Commit records in this process; they count at once."""
        name = commit(self.path, self.run, self.settings, records, self.disk)
        self.store.admit(name)
        return name

    def write_index(self) -> None:
        """Remember which shards there are."""
        write_durably(self.disk, self.path / "index.json", seal_json("index", self.store.index()))

    # -- taking the store ----------------------------------------------------------------------------------

    def _make(self) -> None:
        """The folder and its parts. Raises StoreFailed for a folder that holds something else."""
        try:
            names = self.disk.names(self.path)
        except OSError as error:  # a file stands there, or nobody may look
            refuse(self.path, error)
        foreign = [n for n in names if n not in _KNOWN and not n.endswith(TEMPORARY)]
        if foreign:
            raise StoreFailed(f"`{self.path}` is not a store, it holds {foreign[0]!r}: choose an empty or new folder")
        missing = [one for one in (self.path, *self.path.parents) if not self.disk.exists(one)]
        parts = [self.path / name for name in _PARTS if not self.disk.exists(self.path / name)]
        for one in [*reversed(missing), *parts]:
            make_folder_durably(self.disk, one)

    def _holder(self) -> str:
        """Who wrote last, in words; a damaged store has nobody."""
        for run in sorted((int(n) for n in self.disk.names(self.path / "runs") if n.isdigit()), reverse=True)[:1]:
            for copy in COPIES:
                try:
                    return manifests.unsealed(self.disk.read(manifests.folder(self.path, run) / copy)).holder
                except (OSError, ValueError):  # it is only for a message
                    continue
        return ""

    def _take(self) -> None:
        self.store = Store(self.path, self.disk)
        accepted, files = self._check()
        self._sweep()
        self.quarantined = [self._quarantine(problem.file) for problem in self.store.problems if problem.kind != "gone"]
        run = max(self.store.runs, default=0) + 1
        folder = manifests.folder(self.path, run)
        try:
            make_folder_durably(self.disk, folder, exclusive=True)
        except FileExistsError:
            raise StoreBusy(f"another run began on `{self.path}` just now: wait for it, or stop it") from None
        manifest = Manifest(run, self.settings, self.description, accepted, files, manifests.origin(self.command))
        for copy in COPIES:
            write_durably(self.disk, folder / copy, manifests.sealed(manifest))
        self.run, problems, lost = run, self.store.problems, self.store.lost
        self.store = Store(self.path, self.disk)
        self.store.problems, self.store.lost = problems + self.store.problems, {**lost, **self.store.lost}
        self.write_index()

    def _check(self) -> tuple[dict[str, list[str]], dict[str, Mapping[str, str]]]:
        """Refuse to mix settings or code."""
        if self.store.settings is not None:
            manifests.check_settings(self.store.settings, self.settings, self.path)
        return manifests.accept(self.store.manifest, self.store.codes, self.code, self.changed)

    def _sweep(self) -> None:
        """Delete what interrupted writes left."""
        shards = [self.path / "shards" / prefix for prefix in self.disk.names(self.path / "shards")]
        runs = [manifests.folder(self.path, run) for run in self.store.runs]
        for folder in (self.path, *shards, *runs):
            for name in self.disk.names(folder):
                if name.endswith((TEMPORARY, BEGUN)):
                    self._carry_out(self.disk.remove, folder / name)

    def _quarantine(self, file: pathlib.Path) -> str:
        """Move a damaged file aside, keeping it for inspection."""
        taken, count = set(self.disk.names(self.path / "quarantine")), 0
        while f"{file.name}.{count}" in taken:
            count += 1
        aside = self.path / "quarantine" / f"{file.name}.{count}"
        self._carry_out(self.disk.replace, file, aside)
        return str(aside)

    def _carry_out(self, act: Any, *paths: pathlib.Path) -> None:
        try:
            act(*paths)
        except FileNotFoundError:
            return
        except OSError as error:
            refuse(paths[0], error)


def commit(
    path: pathlib.Path, run: int, settings: dict[str, Any], records: Sequence[Record], disk: Disk | None = None
) -> str:
    """Commit the records of a chunk (one experiment, one code) as a shard; its name.

    When this returns they are on the disk. Raises StoreBusy if a newer run has begun, StoreFailed if the disk refuses.
    """
    disk = disk or Disk()
    if disk.exists(manifests.folder(path, run + 1)):
        raise StoreBusy(f"run {run} on `{path}` was superseded by run {run + 1}: this worker commits nothing")
    name, data = shard(records, run, settings)
    folder = path / "shards" / name[:2]
    if not disk.exists(folder):
        make_folder_durably(disk, folder)
    write_durably(disk, folder / name, data)
    return name
