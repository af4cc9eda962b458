"""The regularity principle: does each step of training come nearer to where the run ends, in proportion to its loss?

A step w' = w - lr U of any rule, seen from a reference point r, with D = |w - r|^2, obeys exactly

    <U, w - r> - (lr/2) |U|^2 = (D - D') / (2 lr),

so that the principle <U, w - r> >= (lr/2) |U|^2 + gamma (l - l*) of Chen, Yang and Zhou (2020, as reconstructed here)
says D' <= D - 2 lr gamma (l - l*), and the largest gamma a step allows is

    gamma_k = (D_k - D_(k+1)) / (2 lr_k (l_k - l_k*)).

Summed over a run with gamma_k >= gamma > 0 it bounds the mean loss by D_0 / (2 gamma sum lr). That has content only if
the reference is not taken from the run, or in the smallest gamma_k: with the last iterate as reference the
loss-weighted mean of gamma_k is D_0 / (2 sum lr (l - l*)) for every run, good or bad, and turns the bound into an
equality.
"""

from dataclasses import dataclass, fields

import numpy as np

from sdetheory import checks

REFERENCES = ("final", "best")


@dataclass(frozen=True)
class PathRegularity:
    """E runs of T steps seen from a reference point.

    squared_distance (E, T + 1): D_k; fall (E, T): D_k - D_(k+1), without cancellation; excess (E, T): l_k - l_k*;
    lr (E, T); cosine (E, T): of the angle between the step's direction and w_k - r, NaN where one of them vanishes.
    """

    squared_distance: np.ndarray
    fall: np.ndarray
    excess: np.ndarray
    lr: np.ndarray
    cosine: np.ndarray

    @classmethod
    def of(cls, reading: dict[str, np.ndarray]) -> "PathRegularity":
        """From the reading of the instrument `networks.regularity.Regularity`."""
        return cls(**{field.name: reading[field.name] for field in fields(cls)})

    @property
    def gamma(self) -> np.ndarray:
        """gamma_k of every step, (E, T): fall / (2 lr excess); not finite where the excess loss is 0."""
        return _ratio(self.fall, 2 * self.lr * self.excess)

    def gamma_over(self, steps: int) -> np.ndarray:
        """gamma of windows (epochs) of so many steps, (E, T // steps): both sums over the window; a rest is left."""
        return _ratio(_windows(self.fall, steps), 2 * _windows(self.lr * self.excess, steps))

    @property
    def smallest(self) -> np.ndarray:
        """The gamma with which the principle holds for the run, (E,): the smallest over its steps."""
        return np.nanmin(self.gamma, axis=1)

    @property
    def mean(self) -> np.ndarray:
        """Loss-weighted mean of gamma_k, (E,); with the last iterate as reference D_0 / (2 sum lr excess), always."""
        return _ratio(self.fall.sum(axis=1), self.spent)

    @property
    def spent(self) -> np.ndarray:
        """2 sum lr (l - l*), (E,): what a run with gamma = 1 at every step would take off its squared distance."""
        return 2 * (self.lr * self.excess).sum(axis=1)

    @property
    def positive(self) -> np.ndarray:
        """Share of the steps that come nearer to the reference, (E,)."""
        return (self.fall > 0).mean(axis=1)

    @property
    def mean_excess(self) -> np.ndarray:
        """Mean of l_k - l_k*, (E,), weighted with lr_k where that varies: what `bound` bounds."""
        return (self.lr * self.excess).sum(axis=1) / self.lr.sum(axis=1)

    def bound(self, gamma: np.ndarray | float | None = None) -> np.ndarray:
        """D_0 / (2 gamma sum lr), (E,), by default with the smallest gamma_k; infinite unless gamma > 0."""
        gamma = np.asarray(self.smallest if gamma is None else gamma, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(gamma > 0, self.squared_distance[:, 0] / (2 * gamma * self.lr.sum(axis=1)), np.inf)

    def relative(self, steps: int = 1) -> np.ndarray:
        """Scale-free gamma of windows, (E, T // steps): gamma 2 sum lr (l - l*) / D_0 = gamma mean_excess / bound(1).

        The share of the squared distance a window covers over the share of the loss it spends: free of the units of
        weights, losses and learning rates, 1 throughout for a run that covers distance as it spends loss. Its
        smallest value over steps is mean_excess / bound(), the tightness of the theorem, and at most 1.
        """
        start = self.squared_distance[:, :1]
        spent = 2 * _windows(self.lr * self.excess, steps)
        return _ratio(_windows(self.fall, steps) * self.spent[:, None], spent * start)

    def quantiles(self, levels: tuple[float, ...] = (0.0, 0.05, 0.5, 0.95), steps: int = 1) -> np.ndarray:
        """Quantiles over windows of gamma, (E, levels)."""
        return np.nanquantile(self.gamma_over(steps), levels, axis=1).T


def regularity(
    iterates: np.ndarray,
    losses: np.ndarray,
    lr: float | np.ndarray,
    *,
    reference: str | np.ndarray = "final",
    least_loss: float | np.ndarray = 0.0,
) -> PathRegularity:
    """The regularity of trajectories of any rule.

    iterates: (E, T + 1, P), or (T + 1, P) of one run; losses: l_k at iterate k, of its batch or of all data,
    (E, T) or (T,), or one more each, which only "best" looks at; lr: a number or anything that broadcasts to (E, T);
    reference: "final", the last iterate; "best", that of the smallest loss; or points (P,) or (E, P) known
    beforehand; least_loss: the infimum l_k* of the losses, 0 under interpolation, a number or (E, T).
    Raises ValueError for shapes that do not fit, lr <= 0, an unknown reference, or a loss below its infimum.
    Source: Chen, Yang, Zhou (2020), reconstructed; see the module.
    """
    w = checks.finite("iterates", iterates)
    w = w[None] if w.ndim == 2 else w
    checks.shape("iterates", w, (None, None, None))
    runs, steps = len(w), w.shape[1] - 1
    loss = np.atleast_2d(checks.finite("losses", losses))
    if loss.shape not in ((runs, steps), (runs, steps + 1)) or steps < 1:
        raise ValueError(f"`losses` must hold one number a step, ({runs}, {steps}): it has shape {loss.shape}")
    r = reference_point(w, loss, reference)
    return path_regularity(w[:, :-1], w[:, 1:], r[:, None], loss[:, :steps], lr, least_loss)


def reference_point(w: np.ndarray, loss: np.ndarray, reference: str | np.ndarray) -> np.ndarray:
    """The reference of each run, (E, P), from iterates (E, T + 1, P) and losses (E, T) or (E, T + 1)."""
    if not isinstance(reference, str):
        points = np.atleast_2d(checks.finite("reference", reference))
        return checks.shape("reference", points, (1 if len(points) == 1 else len(w), w.shape[2]))
    if checks.choice("reference", reference, REFERENCES) == "final":
        return w[:, -1]
    return w[np.arange(len(w)), loss.argmin(axis=1)]


def path_regularity(
    before: np.ndarray,
    after: np.ndarray,
    reference: np.ndarray,
    loss: np.ndarray,
    lr: float | np.ndarray,
    least_loss: float | np.ndarray = 0.0,
) -> PathRegularity:
    """From weights before and after each step, (E, T, P), reference points (E or 1, 1, P), and losses (E, T)."""
    distance, fall, cosine = geometry(before, after, reference)
    end = after[:, -1] - reference[:, 0]
    return gathered(np.column_stack([distance, np.einsum("ep,ep->e", end, end)]), fall, cosine, loss, lr, least_loss)


def gathered(
    distance: np.ndarray,
    fall: np.ndarray,
    cosine: np.ndarray,
    loss: np.ndarray,
    lr: float | np.ndarray,
    least_loss: float | np.ndarray,
) -> PathRegularity:
    """The parts of a path together, rates and losses checked."""
    rates = np.array(np.broadcast_to(checks.finite("lr", lr), loss.shape))
    if (rates <= 0).any():
        raise ValueError(f"`lr` must be positive: lr={rates.min()}")
    excess = loss - checks.finite("least_loss", least_loss)
    if (excess < 0).any():
        raise ValueError(f"`least_loss` must not exceed a loss: excess={np.nanmin(excess)}")
    return PathRegularity(distance, fall, excess, rates, cosine)


def geometry(before: np.ndarray, after: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """D = |w - r|^2, D - D' = <w - w', (w - r) + (w' - r)> and the cosine of w - w' and w - r, for arrays (..., P)."""
    move, x = before - after, before - reference
    square, size = (np.einsum("...p,...p->...", v, v) for v in (x, move))
    fall = np.einsum("...p,...p->...", move, x + (after - reference))
    along = np.einsum("...p,...p->...", move, x)
    return square, fall, _ratio(along, np.sqrt(square * size))


def _windows(values: np.ndarray, steps: int) -> np.ndarray:
    """Sums (E, T // steps) over windows of so many steps."""
    whole = values.shape[1] // checks.integer("steps", steps, 1)
    if not whole:
        raise ValueError(f"`steps` must not exceed the run: steps={steps}, {values.shape[1]} steps were seen")
    return values[:, : whole * steps].reshape(len(values), whole, steps).sum(axis=2)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return above / below
