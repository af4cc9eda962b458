"""Loaded by dask into each worker process of a scan before it works."""

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """The terminal's interrupt goes to the whole group: only the runner answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
