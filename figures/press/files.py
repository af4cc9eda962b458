"""Files with the same bytes on every run: arrays, PDF, PNG, JSON without dates, written whole or not."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

Arrays = dict[str, np.ndarray]
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip archive can carry


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def write(path: Path, content: bytes) -> str:
    """Replace the file in one move, after its bytes are on the disk; returns their SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return sha256(content)


def pack(arrays: Mapping[str, Any]) -> bytes:
    """An npz archive, keys sorted, without dates; its zip checksums betray a damaged file when it is read."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(arrays[name]), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()


def unpack(path: Path) -> Arrays:
    """The arrays of an npz archive; zipfile.BadZipFile, ValueError or EOFError if it is damaged."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def json_bytes(record: Any) -> bytes:
    """Indented JSON, keys in the order given; floats as the shortest text that reads back the same."""
    return (json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def pdf_bytes(figure: Figure) -> bytes:
    """The page as vector graphics, without a creation date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()


def png_bytes(figure: Figure) -> bytes:
    """The page as an image, without the name of the software."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
