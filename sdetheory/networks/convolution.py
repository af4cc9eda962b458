"""Convolution and pooling: images as (E, B x height x width, channels), so that products and norms stay the same.

A filter is a row of a weight (out, k k in), and a product takes its pixels as examples: a batch normalisation
then runs over examples and pixels, a 1 x 1 convolution is a `Dense` layer. `Images` turns inputs (E, B, F) into
pixels, a pool over the whole image turns pixels into examples again.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sdetheory.networks import convolution_kernels as kernels
from sdetheory.networks.layers import Parameters, Plain, sum_over_batch


@dataclass(frozen=True)
class Images(Plain):
    """Inputs (E, B, height width channels), channels last, as pixels (E, B height width, channels)."""

    height: int
    width: int
    channels: int
    homogeneous: ClassVar[bool] = True
    elementwise: ClassVar[bool] = False

    @property
    def inputs(self) -> int:
        return self.height * self.width * self.channels

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        return x.reshape(len(x), -1, self.channels), None

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        return dy.reshape(len(dy), -1, self.inputs)


@dataclass(frozen=True)
class Flat(Plain):
    """Pixels (E, B height width, channels) as features (E, B, height width channels)."""

    height: int
    width: int
    channels: int
    homogeneous: ClassVar[bool] = True

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        return x.reshape(len(x), -1, self.height * self.width * self.channels), None

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        return dy.reshape(len(dy), -1, self.channels)


@dataclass(frozen=True)
class Conv:
    """k x k convolution (correlation) of stride 1, zeros around the image: weight (out, k k in), bias (out,).

    The entries of a filter stand row after row of its window, then pixel after pixel, then channel; k is odd.
    """

    height: int
    width: int
    channels: int
    outputs: int
    kernel: int = 3
    bias: bool = False
    frozen: bool = False
    elementwise: ClassVar[bool] = False
    removes_scale: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.kernel % 2 != 1 or self.kernel < 1:
            raise ValueError(f"`kernel` must be odd: kernel={self.kernel}")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        weight = {"weight": (self.outputs, self.kernel**2 * self.channels)}
        return {**weight, "bias": (self.outputs,)} if self.bias else dict(weight)

    @property
    def homogeneous(self) -> bool:
        return not self.bias

    @property
    def kept(self) -> int:
        """With what a normalisation and an activation behind it keep."""
        return 4 * self.height * self.width * self.outputs

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y = kernels.convolve(x, p["weight"], self.height, self.width, self.kernel)
        if self.bias:
            y += p["bias"][:, None]
        return y, x

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        """The convolution of dy with the kernels turned upside down, inputs and outputs exchanged."""
        windows = p["weight"].reshape(-1, self.outputs, self.kernel**2, self.channels)
        turned = windows[:, :, ::-1].transpose(0, 3, 2, 1)
        turned = turned.reshape(len(turned), self.channels, -1)
        return kernels.convolve(dy, turned, self.height, self.width, self.kernel)

    def parameter_gradient(self, p: Parameters, g: Parameters, cache: Any, dy: np.ndarray) -> None:
        g["weight"][:] = kernels.convolve_weights(cache, dy, self.height, self.width, self.kernel)
        if self.bias:
            sum_over_batch(dy, g["bias"])


@dataclass(frozen=True)
class _Pool(Plain):
    """Windows of down x across pixels, side by side; they must tile the image."""

    height: int
    width: int
    down: int = 2
    across: int = 2
    homogeneous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.height % self.down or self.width % self.across:
            raise ValueError(
                f"`down`, `across` must tile the image: {self.down} x {self.across} in {self.height} x {self.width}"
            )

    def _smaller(self, x: np.ndarray) -> np.ndarray:
        return np.empty((len(x), x.shape[1] // (self.down * self.across), x.shape[2]))

    @property
    def _window(self) -> tuple[int, int, int]:
        return self.width, self.down, self.across


@dataclass(frozen=True)
class MeanPool(_Pool):
    """Means over windows; over the whole image with down = height, across = width."""

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y = self._smaller(x)
        kernels.mean_pool(x, *self._window, y)
        return y, x.shape

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        dx = np.empty((len(dy), *cache[1:]))
        kernels.mean_pool_back(np.ascontiguousarray(dy), *self._window, dx)
        return dx


@dataclass(frozen=True)
class MaxPool(_Pool):
    """Maxima over windows; the gradient goes to the first pixel that attains one."""

    def forward(self, p: Parameters, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y = self._smaller(x)
        where = np.empty(y.shape, dtype=np.int64)
        kernels.max_pool(x, *self._window, y, where)
        return y, (x.shape, where)

    def input_gradient(self, p: Parameters, cache: Any, dy: np.ndarray) -> np.ndarray:
        shape, where = cache
        dx = np.empty((len(dy), *shape[1:]))
        kernels.max_pool_back(np.ascontiguousarray(dy), where, dx)
        return dx
