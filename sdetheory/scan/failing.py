"""What a disk refuses, in words that say what to do."""

import pathlib
from typing import NoReturn


class StoreFailed(ValueError):
    """The store cannot be written or read; what was committed before is intact."""


def refuse(path: pathlib.Path, error: OSError) -> NoReturn:
    """Say what the disk said, and what to do."""
    raise StoreFailed(
        f"cannot write `{path}`: {error.strerror or error} (errno {error.errno}); what was committed is intact: "
        "give the folder space and write permission, then run the same command again"
    ) from error
