"""Richardson: a scheme at two step sizes, on the same increments, extrapolated to a higher weak order."""

from typing import Any, NamedTuple

from numba import njit

from sdetheory.integrators.strang import StrangGeodesic
from sdetheory.lanes.vector import load, store
from sdetheory.lanes.verbs import (
    decode,
    decode_view,
    draws,
    encode,
    extra,
    step,
    substeps,
    views,
    workspace,
)

ROOT_HALF = 0.7071067811865476


class Richardson(NamedTuple):
    """Two steps dt/2 of `scheme` beside one step dt, driven by z_1, z_2 and by (z_1 + z_2)/sqrt 2.

    For a scheme of weak order p, (2^p E_fine - E_coarse)/(2^p - 1) has weak order p + 1 (p + 2 where the
    error of the scheme has even powers only).  Both levels see the same ambient increments and a contracting
    flow, so they stay close and the extrapolation costs almost no variance.  An observed value is the
    combination, path by path; the two levels are kept too (view 0 fine, view 1 coarse), and the states
    returned are the fine ones.

    Source: D. Talay and L. Tubaro (1990), Expansion of the global error for numerical schemes solving SDEs.
    """

    scheme: Any = StrangGeodesic()

    @property
    def weak_order(self) -> float:
        """One more than the scheme's."""
        return self.scheme.weak_order + 1.0

    @property
    def strong_order(self) -> float:
        """The fine level's."""
        return self.scheme.strong_order

    @property
    def calculus(self) -> str:
        """The scheme's."""
        return self.scheme.calculus

    @property
    def weights(self) -> tuple[float, float]:
        """Of the fine and the coarse value in an observation."""
        power = 2.0**self.scheme.weak_order
        return power / (power - 1.0), -1.0 / (power - 1.0)

    def validated(self, d: int) -> "Richardson":
        """Raises ValueError unless the scheme declares its weak order and consumes one increment a step."""
        if not hasattr(self.scheme, "weak_order") or hasattr(self.scheme, "weights"):
            raise ValueError(f"`scheme` must be a plain SDE scheme with a declared weak order: scheme={self.scheme!r}")
        if substeps.python(self.scheme) != 1:
            raise ValueError(f"`scheme` must consume one increment a step: scheme={self.scheme!r}")
        return self

    def check_fits(self, model: Any, noise: Any) -> None:
        """What the scheme asks of model and noise."""
        if hasattr(self.scheme, "check_fits"):
            self.scheme.check_fits(model, noise)


@extra.of(Richardson)
def _extra(integrator: Any, d: int) -> int:
    """Two states of the scheme, less d."""
    return d + 2 * extra(integrator.scheme, d)


@workspace.of(Richardson)
def _workspace(integrator: Any, d: int) -> int:
    """The scheme's."""
    return workspace(integrator.scheme, d)


@substeps.of(Richardson)
def _substeps(integrator: Any) -> int:
    """Two."""
    return 2


@encode.of(Richardson)
def _encode(integrator: Any, w: Any, lr: float, y: Any) -> None:
    """The same start twice."""
    rows = y.size // 2
    encode(integrator.scheme, w, lr, y[:rows])
    encode(integrator.scheme, w, lr, y[rows:])


@decode.of(Richardson)
def _decode(integrator: Any, y: Any, lr: float, w: Any) -> None:
    """The fine state."""
    decode(integrator.scheme, y[: y.size // 2], lr, w)


@views.of(Richardson)
def _views(integrator: Any) -> int:
    """Fine and coarse."""
    return 2


@decode_view.of(Richardson)
def _decode_view(integrator: Any, y: Any, lr: float, k: int, w: Any) -> None:
    """k = 0: the fine state; 1: the coarse one."""
    rows = y.size // 2
    decode(integrator.scheme, y[k * rows : (k + 1) * rows], lr, w)


@njit(error_model="numpy")
def _dimension(scheme: Any, rows: int) -> int:
    """d of a state of the scheme with that many rows."""
    d = rows
    while d + extra(scheme, d) > rows:
        d -= 1
    return d


@step.of(Richardson)
def _step(
    integrator: Any,
    model: Any,
    noise: Any,
    lr: float,
    weight_decay: float,
    dt: float,
    y: Any,
    z: Any,
    work: Any,
) -> None:
    """Two fine steps, then the increments are replaced by their sum for the coarse one."""
    rows = y.size // 2
    n = draws(noise, _dimension(integrator.scheme, rows))
    for j in range(2):
        step(integrator.scheme, model, noise, lr, weight_decay, 0.5 * dt, y[:rows], z[j * n :], work)
    for i in range(n):
        store(z, i, ROOT_HALF * (load(z, i) + load(z, n + i)))
    step(integrator.scheme, model, noise, lr, weight_decay, dt, y[rows:], z, work)
