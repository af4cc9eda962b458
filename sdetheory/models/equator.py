"""A loss whose minimisers form a manifold of varying sharpness: where descent with weight decay drifts."""

from typing import NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes.vector import constant, fma, load, sqrt, store
from sdetheory.lanes.verbs import gradient, loss


class Equator(NamedTuple):
    """L(w) = (mean + amplitude c) z^2/(2|w|^2) for w = (u, z), u in R^(d-1), c = u_1/|u|, d >= 3.

    Scale invariant; minimal, with value 0, on the equator z = 0 of the sphere.  There the Hessian on the
    sphere has one eigenvalue that is not zero, along z: the sharpness lambda_1 = mean + amplitude c.  In three
    dimensions c is the cosine of the longitude.  With z exactly 0 (which rounding reaches after long descent
    below the edge of stability) every gradient is 0: add noise, or start near the edge.
    """

    mean: float = 2.0
    amplitude: float = 1.0
    scale_invariant = True

    def validated(self, d: int) -> "Equator":
        """Raises ValueError unless d >= 3 and 0 <= |amplitude| < mean."""
        if d < 3:
            raise ValueError(f"`w0` must have d >= 3 coordinates for Equator: d={d}")
        mean, amplitude = checks.positive("mean", self.mean), checks.real("amplitude", self.amplitude)
        if abs(amplitude) >= mean:
            raise ValueError(f"`amplitude` must be smaller than `mean`={mean}: amplitude={amplitude}")
        return Equator(mean, amplitude)

    def sharpness(self, w: np.ndarray) -> np.ndarray:
        """lambda_1 = mean + amplitude c of states (..., d), as (...)."""
        u = np.asarray(w, dtype=float)[..., :-1]
        return self.mean + self.amplitude * u[..., 0] / np.linalg.norm(u, axis=-1)

    def log_slope(self, w: np.ndarray) -> np.ndarray:
        """grad ln lambda_1 along the equator at the directions of states (..., d), as (..., d)."""
        u = np.asarray(w, dtype=float)[..., :-1]
        unit = u / np.linalg.norm(u, axis=-1, keepdims=True)
        slope = np.zeros(np.shape(w))
        slope[..., 0] = 1.0
        slope[..., :-1] -= unit[..., :1] * unit
        return self.amplitude * slope / self.sharpness(w)[..., None]


@gradient.of(Equator)
def _gradient(model, w, out, work):
    """By the chain rule through c, z^2/|w|^2 and |u|^2."""
    last = w.size - 1
    z, square = load(w, last), constant(w, 0.0)
    for i in range(last):
        square = fma(load(w, i), load(w, i), square)
    inverse, size = 1.0 / (square + z * z), sqrt(square)
    cosine, height = load(w, 0) / size, z * z * inverse
    sharpness = model.mean + model.amplitude * cosine
    turn = 0.5 * model.amplitude * height / size  # dL/dc / |u|
    along = -(turn * cosine / size + sharpness * height * inverse)
    for i in range(last):
        store(out, i, along * load(w, i))
    store(out, 0, load(out, 0) + turn)
    store(out, last, sharpness * square * inverse * inverse * z)


@loss.of(Equator)
def _loss(model, w, work):
    """(mean + amplitude c) z^2/(2|w|^2)."""
    last = w.size - 1
    z, square = load(w, last), constant(w, 0.0)
    for i in range(last):
        square = fma(load(w, i), load(w, i), square)
    sharpness = model.mean + model.amplitude * load(w, 0) / sqrt(square)
    return 0.5 * sharpness * z * z / (square + z * z)
