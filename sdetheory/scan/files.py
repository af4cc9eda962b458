"""Files that survive a crash: the few system calls a store uses, and the order in which they make a write durable.

Every call goes through a `Disk`, so that a test can stop the world between any two of them, fill the disk, or forget
what was never synced.
"""

import itertools
import os
import pathlib
import socket
from contextlib import AbstractContextManager

from sdetheory.scan.failing import refuse
from sdetheory.scan.lock import Lock

TEMPORARY = ".tmp"
_count = itertools.count()


class Disk:
    """The operating system's files: one method a step that can fail or be interrupted."""

    def read(self, path: pathlib.Path) -> bytes:
        """All bytes of a file; FileNotFoundError if there is none."""
        return path.read_bytes()

    def names(self, folder: pathlib.Path) -> list[str]:
        """Names in a folder, sorted; none if there is no folder."""
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []

    def exists(self, path: pathlib.Path) -> bool:
        """Whether something stands there."""
        return path.exists()

    def make_folder(self, path: pathlib.Path) -> None:
        """A new folder; FileExistsError if somebody else made it (atomic on network file systems too)."""
        path.mkdir()

    def write(self, path: pathlib.Path, data: bytes) -> None:
        """A new file with these bytes, not yet durable."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

    def sync(self, path: pathlib.Path) -> None:
        """A file's bytes, or a folder's names, are on the disk when this returns."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, old: pathlib.Path, new: pathlib.Path) -> None:
        """Rename, atomically, over what stood there."""
        os.replace(old, new)

    def remove(self, path: pathlib.Path) -> None:
        """Delete a file."""
        path.unlink(missing_ok=True)

    def lock(self, folder: pathlib.Path, holder: str) -> AbstractContextManager[object]:
        """The store is ours while the block lasts; `holder`: who to name if it is not."""
        return Lock(folder, holder)


def write_durably(disk: Disk, path: pathlib.Path, data: bytes) -> None:
    """All or nothing, and there to stay: temporary file, fsync, atomic replace, fsync of the folder.

    Raises StoreFailed where the disk is full, read-only or failing; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{next(_count)}{TEMPORARY}")
    try:
        disk.write(temporary, data)
        disk.sync(temporary)
        disk.replace(temporary, path)
        disk.sync(path.parent)
    except OSError as error:
        _remove_quietly(disk, temporary)
        refuse(path, error)


def make_folder_durably(disk: Disk, path: pathlib.Path, exclusive: bool = False) -> None:
    """A folder whose name survives a crash. Raises FileExistsError if `exclusive` and it is there, StoreFailed."""
    try:
        try:
            disk.make_folder(path)
        except FileExistsError:
            if exclusive:
                raise
            return
        disk.sync(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        refuse(path, error)


def _remove_quietly(disk: Disk, path: pathlib.Path) -> None:
    try:
        disk.remove(path)
    except OSError:  # a disk that failed to write may fail to delete: the next run sweeps temporary files
        return
