"""A disk in memory that can stop the world between two system calls and then forget what was never synced."""

import contextlib
import errno
import pathlib

from sdetheory.scan.files import Disk

FOLDER = object()


class Crash(BaseException):
    """The power went out."""


class Node:
    """A file: its bytes now, and those that are on the platter (None: none yet)."""

    def __init__(self, data):
        self.data, self.safe = data, None


class MemoryDisk(Disk):
    """Names and bytes as POSIX promises them: bytes are safe after their fsync, names after that of their folder.

    crash_at: number of the call (counted from `calls`) that does not happen any more; a write stops half-way.
    full_at: number of the call from which on the disk is full.
    """

    def __init__(self):
        self.now = {pathlib.Path("/"): FOLDER}
        self.safe = dict(self.now)
        self.calls, self.crash_at, self.full_at, self.locked = 0, None, None, False

    def _call(self, writes=True):
        self.calls += 1
        if self.crash_at is not None and self.calls >= self.crash_at:
            raise Crash
        if writes and self.full_at is not None and self.calls >= self.full_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    def _there(self, path):
        if path not in self.now:
            raise FileNotFoundError(errno.ENOENT, "No such file", str(path))
        return self.now[path]

    def read(self, path):
        self._call(writes=False)
        return self._there(path).data

    def names(self, folder):
        self._call(writes=False)
        return sorted(path.name for path in self.now if path.parent == folder and path != folder)

    def exists(self, path):
        self._call(writes=False)
        return path in self.now

    def make_folder(self, path):
        self._call()
        if path in self.now:
            raise FileExistsError(errno.EEXIST, "exists")
        self._there(path.parent)
        self.now[path] = FOLDER

    def write(self, path, data):
        self._there(path.parent)
        if path in self.now:
            raise FileExistsError(errno.EEXIST, "exists")
        node = self.now[path] = Node(b"")
        try:
            self._call()
        except (Crash, OSError):
            node.data = data[: len(data) // 2]
            raise
        node.data = data

    def sync(self, path):
        self._call()
        node = self._there(path)
        if isinstance(node, Node):
            node.safe = node.data
        else:
            inside = lambda names: {p: n for p, n in names.items() if p.parent == path and p != path}
            for gone in inside(self.safe).keys() - inside(self.now).keys():
                del self.safe[gone]
            self.safe.update(inside(self.now))

    def replace(self, old, new):
        self._call()
        self.now[new] = self._there(old)
        del self.now[old]

    def remove(self, path):
        self._call()
        self.now.pop(path, None)

    def lock(self, folder, holder):
        @contextlib.contextmanager
        def held():
            assert not self.locked
            self.locked = True
            try:
                yield
            finally:
                self.locked = False

        return held()

    def reboot(self, survives):
        """After a crash: `survives(label)` decides whether a name or byte that was never synced made it."""
        names = dict(self.safe)
        for path in sorted({*self.now, *self.safe}):
            if self.now.get(path) is not self.safe.get(path) and survives(f"name {path.name}"):
                names.pop(path, None)
                if path in self.now:
                    names[path] = self.now[path]
        for path, node in names.items():
            if isinstance(node, Node) and node.safe != node.data:
                node.data = node.data if survives(f"bytes {path.name}") else node.data[: len(node.data) // 3]
                node.safe = node.data
        reachable = {path for path in names if all(parent in names for parent in path.parents)}
        self.now = {path: names[path] for path in reachable}
        self.safe = dict(self.now)
        self.crash_at = self.full_at = None
        self.locked = False

    def files(self):
        """Every file there is."""
        return sorted(path for path, node in self.now.items() if isinstance(node, Node))
