"""Activations: linear, rectifier, hyperbolic tangent, logistic sigmoid, Gaussian error linear unit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, ndtr

from sdetheory.networks import kernels
from sdetheory.networks.layers import Layer, Parameters, Plain


@dataclass(frozen=True)
class Linear(Plain):
    """The identity: a network of products (and normalisations) alone."""

    homogeneous: ClassVar[bool] = True

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        return x, None

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        return dy


@dataclass(frozen=True)
class Relu(Plain):
    """max(x, 0); its derivative at 0 is 0."""

    homogeneous: ClassVar[bool] = True

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y = np.empty_like(x)
        kernels.rectify(x.reshape(-1), y.reshape(-1))
        return y, x

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        dx = np.empty_like(dy)
        kernels.rectify_back(cache.reshape(-1), dy.reshape(-1), dx.reshape(-1))
        return dx


@dataclass(frozen=True)
class Tanh(Plain):
    """Hyperbolic tangent."""

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y = np.tanh(x)
        return y, y

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        return dy * (1.0 - cache * cache)


@dataclass(frozen=True)
class Sigmoid(Plain):
    """The logistic function 1 / (1 + e^-x)."""

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y = expit(x)
        return y, y

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        return dy * cache * (1.0 - cache)


@dataclass(frozen=True)
class Gelu(Plain):
    """x Phi(x) = x (1 + erf(x / sqrt 2)) / 2, the exact form, not the one with tanh (Hendrycks, Gimpel 2016)."""

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        below = ndtr(x)
        return x * below, (x, below)

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        x, below = cache
        return dy * (below + x * np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi))


ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "linear": Linear, "sigmoid": Sigmoid, "tanh": Tanh, "relu": Relu, "gelu": Gelu,
}  # fmt: skip
