"""Larger sets of images from files you already have: CIFAR-10 (binary version), MNIST (IDX), NumPy archives.

Nothing is downloaded and nothing is unpickled: a pickle can run any code while it is read, so CIFAR-10's
"python version" is refused in favour of its binary version, and archives with objects are refused.
"""

import gzip
import zipfile
from pathlib import Path

import numpy as np

from sdetheory import checks
from sdetheory.networks.data import Data, labelled

PARTS = ("train", "test")
_CIFAR = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
_MNIST = {part: (f"{name}-images-idx3-ubyte", f"{name}-labels-idx1-ubyte")
          for part, name in (("train", "train"), ("test", "t10k"))}  # fmt: skip
_RECORD = 1 + 3 * 32 * 32


def cifar10(folder: str | Path, part: str = "train", *, count: int | None = None, offset: float = 0.5) -> Data:
    """CIFAR-10 (Krizhevsky 2009), binary version: inputs x/255 - offset, image (32, 32, 3), 10 classes.

    folder: where data_batch_1.bin .. data_batch_5.bin ("train", 50000 images) or test_batch.bin ("test", 10000) lie,
    or the folder above their cifar-10-batches-bin. count: only the first so many (all of "train" take 1.2 GB).
    Raises FileNotFoundError naming the files, ValueError for files that are not whole records of 3073 bytes.
    """
    names = _CIFAR[checks.choice("part", part, PARTS)]
    where = _folder(folder, "cifar-10-batches-bin")
    if _missing(where, names) and (Path(folder) / "cifar-10-batches-py").is_dir():
        _absent("CIFAR-10", where, names, "; cifar-10-batches-py is there, but made of pickles, which are not read: "
                "get the binary version (cifar-10-binary.tar.gz)")  # fmt: skip
    _require("CIFAR-10", where, names, "; the binary version (cifar-10-binary.tar.gz, unpacked) is wanted")
    left, rows = _wanted(count), []
    for name in names:
        if left is not None and left <= 0:
            break
        raw = np.fromfile(where / name, np.uint8, -1 if left is None else left * _RECORD)
        if raw.size == 0 or raw.size % _RECORD:
            raise ValueError(f"`folder` must hold whole records of {_RECORD} bytes: {where / name} ends in one")
        rows.append(raw.reshape(-1, _RECORD))
        left = None if left is None else left - len(rows[-1])
    records = np.concatenate(rows)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return _pixels(images, records[:, 0], 10, count, offset)


def mnist(folder: str | Path, part: str = "train", *, count: int | None = None, offset: float = 0.1) -> Data:
    """MNIST or a set in its format (LeCun et al. 1998): inputs x/255 - offset, image (28, 28, 1), 10 classes.

    folder: where the IDX files train-images-idx3-ubyte and train-labels-idx1-ubyte (or t10k-...) lie, plain or with
    .gz. Raises FileNotFoundError naming the files, ValueError for files that are not IDX of that kind.
    """
    names = _MNIST[checks.choice("part", part, PARTS)]
    where = _folder(folder, "raw")
    found = [next((n for n in (name, f"{name}.gz") if (where / n).is_file()), name) for name in names]
    _require("MNIST", where, found, " (each may end in .gz)")
    limit = _wanted(count)
    images, labels = (_idx(where / name, axes, limit) for name, axes in zip(found, (3, 1), strict=True))
    return _pixels(images[..., None], labels, 10, count, offset)


def from_npz(path: str | Path, *, inputs: str = "inputs", labels: str = "labels", count: int | None = None) -> Data:
    """Data from a NumPy archive: array `inputs` (n, F) or (n, height, width, channels), `labels` (n,) integers.

    Numbers are taken as they are. Raises FileNotFoundError, or ValueError for an archive without these arrays, for
    arrays of objects (they would be unpickled) and for what `labelled` refuses.
    """
    path, limit = Path(path), _wanted(count)
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a NumPy archive with arrays {inputs!r} and {labels!r}: no file {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in (inputs, labels):
                if name not in archive:
                    raise ValueError(f"`path` must hold an array {name!r}: {path} has {', '.join(archive.files)}")
            arrays = [archive[name] for name in (inputs, labels)]
    except (zipfile.BadZipFile, EOFError) as broken:
        raise ValueError(f"`path` must be a NumPy archive: {path}: {broken}") from None
    data = labelled(*arrays)  # all of it: the number of classes must not depend on `count`
    if limit is not None and limit > len(data):
        raise ValueError(f"`count` must not exceed the examples in the file: count={limit}, {len(data)} found")
    return data if limit is None else data.subset(slice(0, limit))


def _pixels(images: np.ndarray, labels: np.ndarray, classes: int, count: int | None, offset: float) -> Data:
    """Bytes as numbers about 0."""
    if count is not None and len(images) < count:
        raise ValueError(f"`count` must not exceed the images in the files: count={count}, {len(images)} found")
    shift = checks.real("offset", offset)
    return labelled(images / 255.0 - shift, labels.astype(np.int64), classes)


def _idx(path: Path, axes: int, count: int | None) -> np.ndarray:
    """The bytes of an IDX file: two zeros, 8 (unsigned bytes), the number of axes, their lengths big-endian."""
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        head = file.read(4 + 4 * axes)
        if len(head) < 4 + 4 * axes or tuple(head[:4]) != (0, 0, 8, axes):
            raise ValueError(f"`folder` must hold IDX files of bytes with {axes} axes: {path} starts {head[:4].hex()}")
        lengths = np.frombuffer(head, ">u4", axes, 4).astype(np.int64)
        lengths[0] = lengths[0] if count is None else min(count, lengths[0])
        raw = np.frombuffer(file.read(int(lengths.prod())), np.uint8)
    if raw.size != lengths.prod():
        raise ValueError(f"`folder` must hold whole IDX files: {path} has {raw.size} of {lengths.prod()} values")
    return raw.reshape(lengths)


def _wanted(count: int | None) -> int | None:
    return None if count is None else checks.integer("count", count, 1)


def _folder(folder: str | Path, inner: str) -> Path:
    """The folder, or the one inside it that archives unpack to."""
    folder = Path(folder)
    return folder / inner if (folder / inner).is_dir() else folder


def _missing(where: Path, names: tuple[str, ...] | list[str]) -> list[str]:
    return [name for name in names if not (where / name).is_file()]


def _require(what: str, where: Path, names: tuple[str, ...] | list[str], hint: str) -> None:
    if missing := _missing(where, names):
        _absent(what, where, missing, hint)


def _absent(what: str, where: Path, names: tuple[str, ...] | list[str], hint: str) -> None:
    raise FileNotFoundError(
        f"`folder` must hold the files of {what}: {where} lacks {', '.join(names)}{hint}; nothing is downloaded"
    )
