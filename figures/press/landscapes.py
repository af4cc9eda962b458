"""Losses with the minimiser 0 and the smallest loss 0, on which classical conditions promise a regularity."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sdetheory.predictions import regularity as predicted
from sdetheory.regularity import path_regularity


class Landscape(NamedTuple):
    """A loss (n, d) -> (n,) and its gradient (n, d) -> (n, d), with the constants of its condition.

    smoothness L; kind: "convex", "quasar" (constant tau, 1 is star-convex) or "restricted" (constant mu of the secant
    inequality); points (n, d): a grid that holds the worst point.
    """

    name: str
    loss: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray], np.ndarray]
    smoothness: float
    kind: str
    constant: float
    points: np.ndarray

    def promised(self, lr: np.ndarray) -> np.ndarray:
        """The gamma its condition promises for gradient descent at `lr`."""
        if self.kind == "convex":
            return np.minimum(1.0, predicted.quadratic_regularity(lr=lr, smoothness=self.smoothness))
        if self.kind == "quasar":
            return predicted.quasar_regularity(lr=lr, smoothness=self.smoothness, quasar=self.constant)
        return predicted.restricted_regularity(lr=lr, smoothness=self.smoothness, restricted=self.constant)

    def gamma(self, lr: float, points: np.ndarray | None = None) -> np.ndarray:
        """gamma of one step of gradient descent from each point (n, d), by default of the grid, (n,)."""
        w = self.points if points is None else points
        after = w - lr * self.gradient(w)
        origin = np.zeros((1, 1, w.shape[1]))
        return path_regularity(w[:, None], after[:, None], origin, self.loss(w)[:, None], lr).gamma[:, 0]


_LINE = np.geomspace(1e-4, 1e6, 40_001)[:, None]
_NEAR = np.geomspace(1e-4, 60.0, 60_001)[:, None]  # sin(x)/x is worst at the first of its minima
_SHARP, _WAVES, _FLOOR = 24, 8, 5e-4


class Valleys(NamedTuple):
    """l = phi(r) h(angle) in the plane, phi = r^2/(1 + r^k)^((2 - tau)/k), h = floor + sin^2(m angle).

    <g, x> = (tau + (2 - tau)/(1 + r^k)) l: the condition is tight far out; and as sin^2 near its floor is nearly a
    parabola of the largest curvature, |g|^2 = 2 L l nearly holds as well, just outside r = 1.
    """

    quasar: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """The loss."""
        r, angle = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0])
        return r**2 * self.profile(r)[0] * (_FLOOR + np.sin(_WAVES * angle) ** 2)

    def profile(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """phi/r^2 and r phi'/phi."""
        return (1 + r**_SHARP) ** ((self.quasar - 2) / _SHARP), self.quasar + (2 - self.quasar) / (1 + r**_SHARP)

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """Along the ray and across it."""
        r, angle = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0])
        size, power = self.profile(r)
        along = r * size * power * (_FLOOR + np.sin(_WAVES * angle) ** 2)
        across = r * size * _WAVES * np.sin(2 * _WAVES * angle)
        ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return along[:, None] * ray + across[:, None] * np.stack([-ray[:, 1], ray[:, 0]], axis=1)

    def smoothness(self, r: np.ndarray, angle: np.ndarray) -> float:
        """Largest absolute eigenvalue of the Hessian over the points."""
        wave, (size, power) = 2 * _WAVES * angle, self.profile(r)
        h = _FLOOR + (1 - np.cos(wave)) / 2
        bend = power**2 - power - (2 - self.quasar) * _SHARP * r**_SHARP / (1 + r**_SHARP) ** 2
        a, b, c = bend * h, (power - 1) * _WAVES * np.sin(wave), power * h + 2 * _WAVES**2 * np.cos(wave)
        sign = np.array([[1.0], [-1.0]])
        return float(np.abs(size * ((a + c) / 2 + sign * np.hypot((a - c) / 2, b))).max())


def _valleys(name: str, quasar: float) -> Landscape:
    distances, angles = np.geomspace(1e-2, 10.0, 301), np.linspace(0, np.pi / _WAVES, 801)
    r, angle = (v.ravel() for v in np.meshgrid(distances, angles))
    points, loss = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1), Valleys(quasar)
    return Landscape(name, loss, loss.gradient, loss.smoothness(r, angle), "quasar", quasar, points)


LANDSCAPES = {
    one.name: one
    for one in (
        Landscape(
            "pseudo-Huber", lambda w: (w**2 / (1 + np.hypot(1, w))).sum(axis=1), lambda w: w / np.hypot(1, w),
            1.0, "convex", 1.0, _LINE,
        ),
        _valleys("star-convex", 1.0),
        _valleys("quasar-convex", 0.5),
        Landscape(  # mu = 2 + 6 min sin(y)/y, the minimum at the root 4.4934 of tan y = y
            "restricted secant", lambda w: (w**2 + 3 * np.sin(w) ** 2).sum(axis=1),
            lambda w: 2 * w + 3 * np.sin(2 * w), 8.0, "restricted", 2 + 6 * np.cos(4.493409457909064), _NEAR,
        ),
    )
}  # fmt: skip
