"""Layers as pairs forward / backward over ensembles: activations (E, B, F), weights (E, out, in).

A layer is a small immutable description; parameters are handed in as dictionaries of views, one entry a name
in ``shapes``. ``forward(p, x)`` gives (output, cache), ``input_gradient(p, cache, dy)`` the gradient with
respect to the input, and ``parameter_gradient(p, g, cache, dy)`` writes those with respect to the parameters
into the views ``g``.

Three traits say how scale travels, for `groups`: ``homogeneous`` (forward(c x) = c forward(x) for c > 0),
``elementwise`` (every output feature from one input feature alone) and ``removes_scale`` (forward(c x) =
forward(x)). ``kept`` is how many numbers an example leaves in the caches, roughly: the size of chunks follows.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from sdetheory.networks import kernels

Parameters = dict[str, np.ndarray]


class Layer(Protocol):
    """What a network asks of every layer, also of one with chains of layers inside (`chain.Residual`)."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]: ...
    @property
    def homogeneous(self) -> bool: ...
    @property
    def elementwise(self) -> bool: ...
    @property
    def removes_scale(self) -> bool: ...
    @property
    def frozen(self) -> bool: ...
    @property
    def kept(self) -> int: ...
    def forward(self, p: Any, x: np.ndarray) -> tuple[np.ndarray, Any]: ...


class Leaf(Layer, Protocol):
    """A layer without layers inside; write your own with these nine names."""

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray: ...
    def parameter_gradient(self, p: Parameters, g: Parameters, cache: Any, dy: np.ndarray) -> None: ...


def sum_over_batch(values: np.ndarray, out: np.ndarray) -> None:
    """Sum (E, B, F) over B as a product: numpy's own sums change their order with the number of nets."""
    np.matmul(np.ones((1, values.shape[1])), values, out=out[:, None])


class Plain:
    """A layer without parameters, elementwise if it does not say otherwise."""

    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}
    homogeneous: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True
    removes_scale: ClassVar[bool] = False
    frozen: ClassVar[bool] = False
    kept: ClassVar[int] = 0

    def parameter_gradient(self, p: Parameters, g: Parameters, cache: Any, dy: np.ndarray) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Dense:
    """y = W x (+ b): weight (out, in), bias (out,); `frozen` keeps both at their start."""

    inputs: int
    outputs: int
    bias: bool = False
    frozen: bool = False
    elementwise: ClassVar[bool] = False
    removes_scale: ClassVar[bool] = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        weight = {"weight": (self.outputs, self.inputs)}
        return {**weight, "bias": (self.outputs,)} if self.bias else dict(weight)

    @property
    def homogeneous(self) -> bool:
        return not self.bias

    @property
    def kept(self) -> int:
        """With what a normalisation and an activation behind it keep."""
        return 4 * self.outputs

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y = x @ p["weight"].mT
        if self.bias:
            y += p["bias"][:, None]
        return y, x

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        return dy @ p["weight"]

    def parameter_gradient(self, p: Parameters, g: Parameters, cache: Any, dy: np.ndarray) -> None:
        np.matmul(dy.mT, cache, out=g["weight"])
        if self.bias:
            sum_over_batch(dy, g["bias"])


@dataclass(frozen=True)
class BatchNorm:
    """(x - mean) / sqrt(variance + eps), times scale plus shift if `affine` (Ioffe, Szegedy 2015).

    The gradient passes through mean and variance. eps = 0 is exact scale invariance; a feature that is
    constant over the batch is then 0/0 and the net is reported as diverged.
    """

    features: int
    eps: float = 0.0
    affine: bool = False
    homogeneous: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True
    frozen: ClassVar[bool] = False
    kept: ClassVar[int] = 0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"scale": (self.features,), "shift": (self.features,)} if self.affine else {}

    @property
    def removes_scale(self) -> bool:
        return self.eps == 0.0

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        z, rate = np.empty_like(x), np.empty((len(x), self.features))
        kernels.normalise(x, float(self.eps), z, rate)
        y = z * p["scale"][:, None] + p["shift"][:, None] if self.affine else z
        return y, (z, rate)

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        z, rate = cache
        dx = np.empty_like(z)
        kernels.normalise_back(self.standardised_gradient(p, dy), z, rate, dx)
        return dx

    def standardised_gradient(self, p: Parameters, dy: np.ndarray) -> np.ndarray:
        """d(loss)/dz of the standardised value z, from d(loss)/dy."""
        return dy * p["scale"][:, None] if self.affine else dy

    def parameter_gradient(self, p: Parameters, g: Parameters, cache: Any, dy: np.ndarray) -> None:
        """Also sum_b (d(loss)/dz_b) z_b, (E, F), where `g` has room for it under "along"."""
        if self.affine:
            sum_over_batch(dy * cache[0], g["scale"])
            sum_over_batch(dy, g["shift"])
        if "along" in g:
            sum_over_batch(self.standardised_gradient(p, dy) * cache[0], g["along"])
