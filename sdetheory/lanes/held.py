"""Increments that stay the same for several steps: noise of its own clock, for steps that get smaller."""

from typing import NamedTuple

from sdetheory import checks
from sdetheory.lanes.random import Philox, pair, restart, stream, suspend


class Held(NamedTuple):
    """Philox of (seed, path, step // steps): the increments of a step are those of the `steps - 1` after it too.

    With learning rate lr/steps the noisy loss is followed for a time lr by `steps` small steps before the noise
    changes; steps -> infinity is gradient flow on a randomly switched loss.
    """

    steps: int = 1

    def validated(self, d: int) -> "Held":
        """Raises ValueError unless `steps` is a positive integer."""
        return Held(checks.integer("steps", self.steps, least=1))


@stream.of(Held)
def _stream(generator, seed, path, step, saved):
    return stream(Philox(), seed, path, step // generator.steps, saved)


@pair.of(Held)
def _pair(generator, state, p):
    return pair(Philox(), state, p)


@suspend.of(Held)
def _suspend(generator, state, saved):
    pass


@restart.of(Held)
def _restart(generator, step):
    return step
