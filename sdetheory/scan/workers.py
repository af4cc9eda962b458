"""Where chunks run: processes of this machine, an existing dask cluster, or this very process.

All three take tasks and put (key, receipt or exception) into a queue. Local processes are spawned, have one numba
thread each, ignore the terminal's interrupt (the runner decides), and die with the runner, however it dies.

On a cluster, start the scheduler with dask-jobqueue (extra `cluster`) and give its address to the same scan:

    cluster = dask_jobqueue.SLURMCluster(cores=1, processes=1, memory="4GB",
                                         job_script_prologue=["export NUMBA_NUM_THREADS=1"])
    cluster.scale(jobs=100)
    run(points, store, scheduler=cluster.scheduler_address)       # or: sdetheory scan FILE.toml --scheduler ADDRESS

Its workers need the package, the experiment's modules under the same path, and the store's folder on a shared disk.
"""

import contextlib
import logging
import multiprocessing
import os
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import Any, Protocol

from sdetheory.scan.worker import DiedBefore, Task, run_chunk

THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PATIENCE = 1.0  # seconds that a cluster gets to close by itself


class Workers(Protocol):
    """What the runner needs of them."""

    done: "queue.SimpleQueue[tuple[str, Any]]"

    def submit(self, task: Task) -> None:
        """Have it run; the answer comes to `done`."""

    def count(self) -> int:
        """How many there are now."""


class Died(RuntimeError):
    """The process that worked on a chunk died."""


class Serial:
    """This process: a chunk runs when it is submitted."""

    def __init__(self) -> None:
        self.done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def submit(self, task: Task) -> None:
        """Run it now."""
        try:
            self.done.put((task.key, run_chunk(task)))
        except ValueError as error:  # the run cannot go on: the disk, another run, other code
            self.done.put((task.key, error))

    def count(self) -> int:
        """One."""
        return 1


class Dask:
    """The workers behind a dask client."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.futures: dict[str, Any] = {}
        self.asked, self.threads = -1e9, 1

    def submit(self, task: Task) -> None:
        """Send it; dask's own retries are off, because a task knows better what to repeat."""
        future = self.client.submit(run_chunk, task, key=task.key, pure=False, retries=0)
        self.futures[task.key] = future
        future.add_done_callback(self._finished)

    def _finished(self, future: Any) -> None:
        self.done.put((future.key, _answer(future)))
        self.futures.pop(future.key, None)

    def count(self) -> int:
        """Threads of all workers; at least one, for a cluster that is still starting."""
        now = time.monotonic()
        if now - self.asked > 1.0:
            self.asked, self.threads = now, max(1, sum(self.client.nthreads().values()))
        return self.threads


def _answer(future: Any) -> Any:
    """The receipt, or the exception that says why there is none."""
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except (KilledWorker, DiedBefore, CancelledError) as death:
        return Died(str(death))
    except Exception as error:  # whatever it is: the runner raises it, a callback cannot
        return error


@contextlib.contextmanager
def opened(
    workers: int | None, scheduler: str | None, serial: bool, hurry: Callable[[], bool] = lambda: True
) -> Iterator[Workers]:
    """Workers while the block lasts; afterwards no process of ours is left.

    workers: processes of this machine (default: its processors). scheduler: address of a dask scheduler; its workers
    must see the store's folder and the same code. hurry: asked at the end, whether workers are to be killed at once
    or may tidy up. Raises ValueError if nothing answers there.
    """
    if serial:
        yield Serial()
    elif scheduler is not None:
        with _client(scheduler) as client:
            yield Dask(client)
    else:
        with _local(workers or _processors(), hurry) as client:
            yield Dask(client)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"no dask scheduler answers at scheduler={address!r}: {error}") from None
    try:
        yield client
    finally:
        client.close(timeout=PATIENCE)


@contextlib.contextmanager
def _local(workers: int, hurry: Callable[[], bool]) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    environment = dict(dask.config.get("distributed.nanny.pre-spawn-environ"))
    settings = {
        "distributed.nanny.pre-spawn-environ": environment | dict.fromkeys(THREADS, 1),
        "distributed.scheduler.allowed-failures": 0,
        "distributed.scheduler.http.routes": [],
    }
    before = set(multiprocessing.active_children())
    cluster = client = None
    with dask.config.set(settings), _environment(environment.keys() | set(THREADS)):
        try:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                preload=["sdetheory.scan.preload"],
            )
            client = Client(cluster, set_as_default=False)
            yield client
        finally:
            if not hurry():
                _close(client, cluster)
            _end(cluster, client, before)


def _end(cluster: Any, client: Any, before: set[Any]) -> None:
    """End the workers: what they committed is on the disk, and nothing else of theirs is wanted.

    Dask gets a moment to say goodbye; it may wait for a worker that was just starting, so it is not relied upon. Either
    is None if a signal came before it was made.
    """
    from distributed import SpecCluster

    for nanny in list(cluster.workers.values()) if cluster else ():
        nanny.auto_restart = False
    _kill(before)
    logging.getLogger("distributed.batched").setLevel(logging.CRITICAL)  # else it tells of each connection we cut
    _close(client, cluster)
    for one in list(SpecCluster._instances) if cluster is None else [cluster]:
        one.shutdown_on_close = False  # not once more when the interpreter ends
    _kill(before)


def _close(*ours: Any) -> None:
    for one in ours:
        if one is not None:
            with contextlib.suppress(TimeoutError, OSError):
                one.close(timeout=PATIENCE)


def _kill(before: set[Any]) -> None:
    for child in set(multiprocessing.active_children()) - before:
        child.kill()


@contextlib.contextmanager
def _environment(names: Iterable[str]) -> Iterator[None]:
    """Dask sets the workers' variables in this process too: put them back."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
