"""Sealed files: a line with kind, version, SHA-256 and length, then the body; shards, the sealed records of a chunk.

A file is believed only if sealing its body again gives its very bytes: every flipped, missing or added byte shows.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sdetheory.scan.failing import StoreFailed
from sdetheory.scan.records import STATUSES, Record

VERSION = 1
SUFFIX = ".shard"


class Damaged(ValueError):
    """Bytes that are not what was written."""


def seal(kind: str, body: bytes, version: int = VERSION) -> bytes:
    """The body under a line that vouches for it, and for its own words."""
    words = f"sdetheory {kind} {version}".encode()
    total = hashlib.sha256(words)
    total.update(body)
    return b"%s %s %d\n%s" % (words, total.hexdigest().encode(), len(body), body)


def unseal(kind: str, data: bytes) -> bytes:
    """The body of a sealed file.

    Raises Damaged if a single byte differs from what was sealed, StoreFailed for an intact file of another version.
    """
    head, newline, body = data.partition(b"\n")
    if newline and seal(kind, body) == data:
        return body
    version = head.split(b" ")[2:3]
    if newline and version and version[0].isdigit() and seal(kind, body, int(version[0])) == data:
        raise StoreFailed(f"this store has format {int(version[0])}, this version of sdetheory reads {VERSION}")
    raise Damaged(f"its bytes do not match its SHA-256 ({len(data)} bytes, head {head[:24]!r})")


def seal_json(kind: str, value: Any) -> bytes:
    """A sealed document."""
    return seal(kind, json.dumps(value, sort_keys=True, indent=1).encode() + b"\n")


def unseal_json(kind: str, data: bytes) -> Any:
    """The document in a sealed file; Damaged if it was touched."""
    return json.loads(unseal(kind, data))


@dataclasses.dataclass(frozen=True)
class About:
    """The first line of a shard: enough to index its records, and to rebuild a lost manifest."""

    experiment: str
    code: str
    run: int
    settings: dict[str, Any]
    ids: list[str]
    statuses: str  # one letter a record: o, d, f
    tries: list[int]


def shard(records: Sequence[Record], run: int, settings: dict[str, Any]) -> tuple[str, bytes]:
    """Name and bytes of the file of these records (one experiment, one code); the name is the hash of the content."""
    first = records[0]
    about = About(
        experiment=first.experiment,
        code=first.code,
        run=run,
        settings=settings,
        ids=[r.id for r in records],
        statuses="".join(r.status[0] for r in records),
        tries=[r.tries for r in records],
    )
    head = json.dumps(dataclasses.asdict(about), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    data = seal("shard", head + b"".join(r.line() for r in records))
    return _name(data), data


def _name(data: bytes) -> str:
    return hashlib.sha256(data[: data.index(b"\n")]).hexdigest()[:32] + SUFFIX


def open_shard(name: str, data: bytes) -> tuple[About, bytes]:
    """What a shard is about, and its records as lines. Raises Damaged also for a shard under another one's name."""
    body = unseal("shard", data)
    if _name(data) != name:
        raise Damaged(f"it is another shard's content: {_name(data)}")
    head, _, lines = body.partition(b"\n")
    return About(**json.loads(head)), lines


def statuses(about: About) -> list[str]:
    """The status of each record, spelled out."""
    words = {word[0]: word for word in STATUSES}
    return [words[letter] for letter in about.statuses]

