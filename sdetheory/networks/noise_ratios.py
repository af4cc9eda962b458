"""What weights of the first layer have outside the span of the inputs: an instrument, and three noise ratios.

Gradients of a normalised neuron lie in the span of the centred inputs, so SGD never touches the rest of a weight:
w = P w + P_perp w with the projector P of `input_span`. Test inputs that leave the span meet the rest as noise.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.networks.groups import Group
from sdetheory.networks.instruments import Series, Step
from sdetheory.networks.spans import Span


def noise_ratio(w: np.ndarray, span: Span) -> np.ndarray:
    """|P_perp w|^2 / |w|^2 of weights (..., F), in 0 .. 1: the share of w that no input of the span sees."""
    w = _weights(w, span.features)
    outside = span.outside(w)
    return np.einsum("...f,...f->...", outside, outside) / np.einsum("...f,...f->...", w, w)


def eigen_noise_ratio(w: np.ndarray, inputs: np.ndarray, tau: float) -> np.ndarray:
    """The share of |w|^2, w (..., F), outside the leading principal directions of inputs (n, F).

    They are the fewest that explain at least a share 1 - tau of the variance of the inputs; tau = 0 keeps every
    direction of positive variance, and is `noise_ratio` with the span of the centred inputs. Raises ValueError unless
    0 <= tau < 1.
    """
    inputs = checks.shape("inputs", checks.finite("inputs", inputs), (None, None))
    if checks.nonnegative("tau", tau) >= 1.0:
        raise ValueError(f"`tau` must be below 1: tau={tau}")
    _, values, rows = np.linalg.svd(inputs - inputs.mean(axis=0), full_matrices=False)
    positive = int((values > 1e-10 * values[0]).sum())
    explained = np.cumsum(values[:positive] ** 2)
    count = positive if tau == 0 else int(np.searchsorted(explained, (1.0 - tau) * explained[-1] * (1 - 1e-12))) + 1
    return noise_ratio(w, Span(rows[:count].T))


def signal_to_noise(w: np.ndarray, span: Span, test_inputs: np.ndarray) -> np.ndarray:
    """Var_x <w, P x> / Var_x <w, P_perp x> over test inputs (n, F), of weights (..., F); inf if none leaves."""
    w = _weights(w, span.features)
    x = checks.shape("test_inputs", checks.finite("test_inputs", test_inputs), (None, span.features))
    signal, noise = (np.var(w @ part.T, axis=-1) for part in (span.inside(x), span.outside(x)))
    with np.errstate(divide="ignore"):
        return signal / noise


def patches(inputs: np.ndarray, image: tuple[int, int, int], kernel: int = 3) -> np.ndarray:
    """What filters see of images (n, height width channels), channels last: windows (n height width, k k channels).

    One window around each pixel, zeros outside the image, entries in the order of a filter of `Conv`. Their span is
    that of the gradients of a convolution: ``input_span(patches(data.inputs, (8, 8, 1)))``. Raises ValueError for an
    even kernel or inputs of another size.
    """
    height, width, channels = image
    if checks.integer("kernel", kernel, 1) % 2 != 1:
        raise ValueError(f"`kernel` must be odd: kernel={kernel}")
    inputs = checks.shape("inputs", checks.finite("inputs", inputs), (None, height * width * channels))
    reach = kernel // 2
    padded = np.pad(inputs.reshape(-1, height, width, channels), [(0, 0), (reach, reach), (reach, reach), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * channels)


class InputSpan(Series):
    """The part of every group outside a span, before each seen step; groups of products fed with what the span spans.

    Reading, each (E, T, G): squared_outside = |P_perp w_t|^2; noise_ratio = |P_perp w_t|^2/|w_t|^2; along, the
    coefficient c_t = <P_perp w_t, P_perp w_0>/|P_perp w_0|^2, w_0 the weights before the first seen step; and drift =
    |P_perp w_t - c_t P_perp w_0|/|P_perp w_0|. With gradients in the span drift is 0 and c_t follows from the rule:
    1 under SGD with or without momentum, prod (1 - lr wd) with weight decay, 1/N under rescaling, the recursion
    c' = (1 + m - lr wd) c - m c_before for torch's momentum with L2; Adam leaves the span.

    groups: their first segment must hold rows of F weights, F = span.features (a bias behind them is left out): neurons
    or layers behind the inputs, filters with the span of patches. Raises ValueError if one does not.
    """

    def __init__(self, groups: Sequence[Group], span: Span, every: Any = 1) -> None:
        rows = [group._replace(segments=group.segments[:1]) for group in groups]
        for group in rows:
            if group.size % span.features:
                raise ValueError(f"`groups` must hold rows of {span.features} weights: {group.name} has {group.size}")
        super().__init__(rows, every)
        self.span = span
        # every row of F weights, by the places of its entries: (rows, F)
        entries = np.concatenate([np.arange(*group.segments[0]) for group in rows])
        self._places = entries.reshape(-1, span.features)
        self._start: np.ndarray | None = None

    def see(self, step: Step) -> None:
        """One row."""
        outside = np.zeros_like(step.before)
        outside[:, self._places] = self.span.outside(step.before[:, self._places])
        if self._start is None:
            self._start = outside
        square, first = self.dot(outside, outside), self.dot(self._start, self._start)
        with np.errstate(invalid="ignore"):  # nothing outside at the start: no coefficient
            along = self.dot(outside, self._start) / first
            rest = outside - self.dot.spread(along, outside.shape[1]) * self._start
            drift = np.sqrt(self.dot(rest, rest) / first)
        ratio = square / self.dot(step.before, step.before)
        self.keep(squared_outside=square, noise_ratio=ratio, along=along, drift=drift)


def _weights(w: np.ndarray, features: int) -> np.ndarray:
    w = np.asarray(w, dtype=np.float64)
    if not w.ndim or w.shape[-1] != features:
        raise ValueError(f"`w` must have {features} features along its last axis: it has shape {w.shape}")
    return w
