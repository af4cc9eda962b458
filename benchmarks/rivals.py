"""Who takes part in which workload, with which library, and which share of the work it is timed on."""

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .workloads import Workload


class Rival(NamedTuple):
    """One way a peer library does one workload.

    `share` is the part of the work it is timed on, `quick_share` the part in a quick run (0: left out).
    """

    name: str
    package: str
    module: str
    function: str
    share: float
    quick_share: float
    options: Mapping[str, Any] = MappingProxyType({})

    @property
    def version(self) -> str | None:
        """The installed version of the library, None where it is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def prepare(self, case: Workload, threads: int = 2) -> Callable[[], Any]:
        """Everything up to the first timed run: import, compilation, copies."""
        module = importlib.import_module(f"{__package__}.peers.{self.module}")
        return getattr(module, self.function)(case, threads, **self.options)


def _sde(others: float) -> tuple[Rival, ...]:
    """The peers of an SDE workload; `others` scales the quick share of all but numpy and jax."""
    return (
        Rival("numpy, SFC64, 2 threads", "numpy", "with_numpy", "normalised_sde", 0.25, 0.05),
        Rival("jax, scan", "jax", "with_jax", "normalised_sde", 0.1, 0.02),
        Rival("diffrax, UnsafeBrownianPath", "diffrax", "with_diffrax", "normalised_sde", 0.1, 0.02 * others,
              {"path": "UnsafeBrownianPath"}),
        Rival("diffrax, VirtualBrownianTree", "diffrax", "with_diffrax", "normalised_sde", 0.001, 0.0,
              {"path": "VirtualBrownianTree"}),
        Rival("torchsde, own increments", "torchsde", "with_torchsde", "normalised_sde", 0.04, 0.005 * others,
              {"path": "independent"}),
        Rival("torchsde, BrownianInterval", "torchsde", "with_torchsde", "normalised_sde", 0.02, 0.0,
              {"path": "interval"}),
    )  # fmt: skip


RIVALS = {
    "W1": (
        Rival("numbalsoda DOP853, 2 threads", "numbalsoda", "with_numbalsoda", "flow", 1.0, 0.5),
        Rival("scipy DOP853, 2 processes", "scipy", "with_scipy", "flow", 0.5, 0.06),
        Rival("diffrax Tsit5", "diffrax", "with_diffrax", "flow", 0.5, 0.0, {"solver": "Tsit5"}),
        Rival("diffrax Dopri8", "diffrax", "with_diffrax", "flow", 0.5, 0.0, {"solver": "Dopri8"}),
    ),
    "W1b": (
        Rival("numpy, batched matmul, 2 threads", "numpy", "with_numpy", "descent", 0.05, 0.005),
        Rival("jax, scan and vmap", "jax", "with_jax", "descent", 0.05, 0.005),
    ),
    "W2": _sde(others=1.0),
    "W3": _sde(others=0.0),
}
CANDIDATE_SHARE = {"W1": (1.0, 1.0), "W1b": (0.25, 0.02), "W2": (0.3, 0.1), "W3": (0.3, 0.1)}
