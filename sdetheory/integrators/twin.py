"""WithTwin: a scheme beside a twin that sees the same increments but no loss, whose mean direction is known."""

from typing import Any, NamedTuple

from sdetheory.integrators.strang import StrangGeodesic
from sdetheory.integrators.two_states import carries_two_states
from sdetheory.lanes.verbs import step, substeps
from sdetheory.models.scale_invariant import NoLoss


@carries_two_states
class WithTwin(NamedTuple):
    """`scheme` as it is, and after its views those of a twin: the same start, increments and rates, no loss.

    The twin is Brownian motion on the sphere with weight decay, whose mean direction at time t is the starting one
    times e^{-t lr wd} |w_0|/|w_t| for isotropic noise; Strang's schemes have this mean exactly, for every step
    (Euler-Maruyama up to its own bias).  While the twin stays close, its error is that of the path, and a control
    variate takes it away: by most of it for lr wd t <= .3, by half at 1, little at 3.

        runs = simulate(..., integrator=WithTwin(), observe={"u": Cosine(mu)})
        mean, error = runs.mean("u", controls={("u", 1): u_0 * known})

    where `known` is `predictions.intrinsic_lr.direction_correlation` at runs.ts.  The first view of the twin is
    number 1, or 3 with StrangAveraged or StrangSimpson.  An observed value is the scheme's; states are its own.
    To extrapolate write Richardson(WithTwin(...)), whose views are those of the fine level (path, twin), then
    those of the coarse one: the controls are ("u", 1) and ("u", 3), of the same expectation.
    """

    scheme: Any = StrangGeodesic()

    @property
    def weak_order(self) -> float:
        """The scheme's."""
        return self.scheme.weak_order

    @property
    def strong_order(self) -> float:
        """The scheme's."""
        return self.scheme.strong_order

    @property
    def calculus(self) -> str:
        """The scheme's."""
        return self.scheme.calculus

    @property
    def weights(self) -> tuple[float, ...]:
        """The scheme's, and nothing of the twin."""
        own = getattr(self.scheme, "weights", (1.0,))
        return (*own, *(0.0 for _ in own))

    def validated(self, d: int) -> "WithTwin":
        """Raises ValueError unless the scheme is one for SDEs and consumes one increment a step."""
        if not hasattr(self.scheme, "weak_order"):
            raise ValueError(f"`scheme` must be an SDE scheme with a declared weak order: scheme={self.scheme!r}")
        if substeps.python(self.scheme) != 1 or isinstance(self.scheme, WithTwin):
            raise ValueError(
                f"`scheme` must consume one increment a step and have no twin: scheme={self.scheme!r}; "
                f"to extrapolate use Richardson(WithTwin(...))"
            )
        return self

    def check_fits(self, model: Any, noise: Any) -> None:
        """What the scheme asks of model and noise."""
        if hasattr(self.scheme, "check_fits"):
            self.scheme.check_fits(model, noise)


@step.of(WithTwin)
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
    """The scheme's step with the loss, and without."""
    rows = y.size // 2
    step(integrator.scheme, model, noise, lr, weight_decay, dt, y[:rows], z, work)
    step(integrator.scheme, NoLoss(), noise, lr, weight_decay, dt, y[rows:], z, work)
