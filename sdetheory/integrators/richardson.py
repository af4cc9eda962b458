"""Richardson: a scheme at two step sizes, on the same increments, extrapolated to a higher weak order."""

from typing import Any, NamedTuple

from sdetheory.integrators.strang import StrangGeodesic
from sdetheory.integrators.two_states import carries_two_states
from sdetheory.lanes.parts import part
from sdetheory.lanes.vector import load, store
from sdetheory.lanes.verbs import draws, extra, step, substeps, views

ROOT_HALF = 0.7071067811865476


@carries_two_states
class Richardson(NamedTuple):
    """Two steps dt/2 of `scheme` beside one step dt, driven by z_1, z_2 and by (z_1 + z_2)/sqrt 2.

    For a scheme of weak order p, (2^p E_fine - E_coarse)/(2^p - 1) has weak order p + 1 (p + 2 where the
    error of the scheme has even powers only).  Both levels see the same ambient increments and a contracting
    flow, so they stay close and the extrapolation costs almost no variance.  An observed value is the
    combination, path by path; the two levels are kept too (view 0 fine, view 1 coarse; for a scheme with
    several views all of the fine level, then all of the coarse one), and the states returned are the fine
    ones.

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
    def weights(self) -> tuple[float, ...]:
        """Of the fine and the coarse values in an observation: each level's times the scheme's own."""
        power = 2.0**self.scheme.weak_order
        levels = power / (power - 1.0), -1.0 / (power - 1.0)
        return tuple(level * own for level in levels for own in getattr(self.scheme, "weights", (1.0,)))

    def validated(self, d: int) -> "Richardson":
        """Raises ValueError unless the scheme declares its weak order, weighs each of its views and consumes
        one increment a step."""
        if not hasattr(self.scheme, "weak_order"):
            raise ValueError(f"`scheme` must be an SDE scheme with a declared weak order: scheme={self.scheme!r}")
        if substeps.python(self.scheme) != 1:
            raise ValueError(f"`scheme` must consume one increment a step: scheme={self.scheme!r}")
        seen, weighed = views.python(self.scheme), len(getattr(self.scheme, "weights", (1.0,)))
        if seen != weighed:
            raise ValueError(
                f"`scheme` must have one weight a view: views={seen}, weights={weighed}, scheme={self.scheme!r}"
            )
        return self

    def check_fits(self, model: Any, noise: Any) -> None:
        """What the scheme asks of model and noise."""
        if hasattr(self.scheme, "check_fits"):
            self.scheme.check_fits(model, noise)


@substeps.of(Richardson)
def _substeps(integrator: Any) -> int:
    """Two."""
    return 2


@part
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
