"""One writer a store: a lock that the operating system drops when its holder dies, however it dies.

On a local file system, and on NFS with a lock service, `flock` decides and kill -9 releases. Where the file system has
no locks (some Lustre and FUSE mounts) a lease decides: a folder made atomically, holding host and process; it outlives
a killed holder, is taken over when that process is gone from the same host, and has to be removed by hand when it
names another host. Whatever fails here, shards are immutable and runs are numbered atomically, so that two writers can
waste work but not spoil results.
"""

import errno
import fcntl
import json
import os
import pathlib
import socket
from types import TracebackType
from typing import Any

from sdetheory.scan.failing import StoreFailed, refuse

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


class StoreBusy(ValueError):
    """Another run writes to this store."""


class Lock:
    """Exclusive while the `with` block lasts. Raises StoreBusy, or StoreFailed where the folder cannot be written."""

    def __init__(self, folder: pathlib.Path, holder: str = "") -> None:
        self.file, self.lease, self.holder = folder / "lock", folder / "lease", holder
        self.descriptor: int | None = None
        self.leased = False

    def __enter__(self) -> "Lock":
        try:
            self.descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
            self._take()
        except BlockingIOError:
            self._close()
            raise StoreBusy(self._busy(self.holder)) from None
        except OSError as error:
            self._close()
            refuse(self.file, error)
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.leased:
            _drop(self.lease)
            self.leased = False
        self._close()

    def _take(self) -> None:
        assert self.descriptor is not None
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            self._take_lease()

    def _take_lease(self) -> None:
        """The lease of a file system without locks."""
        for _ in range(2):
            try:
                self.lease.mkdir()
            except FileExistsError:
                owner = _owner(self.lease)
                if not _gone(owner):
                    raise StoreBusy(self._busy(json.dumps(owner))) from None
                _drop(self.lease)
            else:
                (self.lease / "owner").write_text(json.dumps(_self()))
                self.leased = True
                return
        raise StoreBusy(self._busy("another run took it just now"))

    def _busy(self, holder: str) -> str:
        hint = f"; if that process is dead, remove `{self.lease}`" if self.lease.exists() else ""
        return f"another run writes to `{self.file.parent}` ({holder or 'unknown'}): wait for it, or stop it{hint}"

    def _close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _self() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def _started(pid: int) -> str | None:
    """When a process of this host began, so that a recycled number is not taken for it; None if there is none."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None
    return stat.rpartition(")")[2].split()[19]


def _owner(lease: pathlib.Path) -> dict[str, Any] | None:
    try:
        return json.loads((lease / "owner").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _gone(owner: dict[str, Any] | None) -> bool:
    """Whether the holder surely died: it was on this host, and its process is no more."""
    return owner is not None and owner["host"] == socket.gethostname() and _started(owner["pid"]) != owner["started"]


def _drop(lease: pathlib.Path) -> None:
    try:
        (lease / "owner").unlink(missing_ok=True)
        lease.rmdir()
    except OSError as error:
        raise StoreFailed(f"cannot remove the lease `{lease}`: {error.strerror}") from error
