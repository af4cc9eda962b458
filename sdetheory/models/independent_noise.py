"""Gradient noise that is the same everywhere, and noise whose increments are not Gaussian."""

from typing import Any, NamedTuple

from sdetheory import checks
from sdetheory.lanes.vector import load, store
from sdetheory.lanes.verbs import coordinate_noise, disturb, draws, prepare_noise, workspace

ROOT_HALF = 0.7071067811865476


class White(NamedTuple):
    """Independent noise of one size in every coordinate, at every w: Sigma = sigma^2 I, also along w."""

    sigma: float

    def validated(self, d: int) -> "White":
        """Raises ValueError for a negative or non-finite `sigma`."""
        return White(checks.nonnegative("sigma", self.sigma))


class Skewed(NamedTuple):
    """`noise` driven by (z^2 - 1)/sqrt 2 instead of z: the same covariance, third cumulant sqrt 8 a number.

    The noise itself is then its Gaussian of matched covariance, so that SGD with Skewed(noise) and with noise
    are mini-batch SGD and noisy gradient descent.  Made for Gaussian increments: with TwoPoint() ones z^2 = 1
    and there is no noise.
    """

    noise: Any
    linear = False  # in the increments: the square is not

    @property
    def scale_invariant(self) -> bool:
        """The noise's."""
        return getattr(self.noise, "scale_invariant", False)

    def validated(self, d: int) -> "Skewed":
        """Raises ValueError for a noise that is made for increments of its own."""
        if getattr(self.noise, "increment", None) is not None:
            raise ValueError(f"`noise` must take Gaussian increments: it draws {self.noise.increment}")
        return self


@draws.of(White)
def _white_draws(noise, d):
    return d


@prepare_noise.of(White)
def _white_prepare(noise, w, q, z, out, work):
    """Nothing."""
    return (0.0,)


@coordinate_noise.of(White)
def _white_coordinate(noise, c, v, z, i, out):
    """sigma z_i."""
    return noise.sigma * load(z, i)


@disturb.of(White)
def _white_disturb(noise, w, z, out, work):
    """sigma z."""
    for i in range(w.size):
        store(out, i, noise.sigma * load(z, i))


@draws.of(Skewed)
def _skewed_draws(noise, d):
    return draws(noise.noise, d)


@workspace.of(Skewed)
def _skewed_workspace(noise, d):
    """The skewed increments, and the noise's own."""
    return draws(noise.noise, d) + 1 + workspace(noise.noise, d)


@disturb.of(Skewed)
def _skewed_disturb(noise, w, z, out, work):
    """G(w) (z^2 - 1)/sqrt 2."""
    n = draws(noise.noise, w.size)
    for i in range(n):
        store(work, i, ROOT_HALF * (load(z, i) * load(z, i) - 1.0))
    disturb(noise.noise, w, work[:n], out, work[n:])
