"""The subspace that inputs span, data that span a chosen one, and test inputs that leave it.

Under a batch normalisation the gradient of a neuron of the first layer is a combination of inputs less their
mean: it stays in the span of the centred inputs, and what a weight has outside is never trained.  Test inputs
with a part outside see that rest as noise (Liu et al. 2021).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sdetheory import checks
from sdetheory.networks.data import Data, labelled
from sdetheory.networks.streams import generator

BASIS, CENTRES, EXAMPLES, OUTSIDE = 21, 22, 23, 24  # purposes of random numbers, beside those of `streams`


@dataclass(frozen=True)
class Span:
    """A subspace of R^F by an orthonormal basis (F, r), 0 <= r <= F.

    Raises ValueError if the columns are not orthonormal to 1e-9.
    """

    basis: np.ndarray

    def __post_init__(self) -> None:
        basis = checks.shape("basis", checks.finite("basis", self.basis), (None, None))
        off = np.abs(basis.T @ basis - np.eye(basis.shape[1])).max(initial=0.0)
        if off > 1e-9:
            raise ValueError(f"`basis` must have orthonormal columns: its products are off by {off:.1e}")
        object.__setattr__(self, "basis", basis)

    @property
    def features(self) -> int:
        """F, the dimension of the space."""
        return self.basis.shape[0]

    @property
    def rank(self) -> int:
        """r, the dimension of the subspace."""
        return self.basis.shape[1]

    @cached_property
    def projector(self) -> np.ndarray:
        """P (F, F), the orthogonal projector on the subspace."""
        return self.basis @ self.basis.T

    @cached_property
    def complement(self) -> np.ndarray:
        """An orthonormal basis (F, F - r) of what is orthogonal to the subspace."""
        return np.linalg.svd(self.basis, full_matrices=True)[0][:, self.rank :] if self.rank else np.eye(self.features)

    def inside(self, x: np.ndarray) -> np.ndarray:
        """P x for vectors (..., F)."""
        return (x @ self.basis) @ self.basis.T

    def outside(self, x: np.ndarray) -> np.ndarray:
        """x - P x for vectors (..., F)."""
        return x - self.inside(x)


def input_span(inputs: np.ndarray, *, centred: bool = True, tolerance: float = 1e-10) -> Span:
    """The span of inputs (n, F), less their mean if `centred` (what batch normalisation lets through).

    Directions with a singular value up to `tolerance` times the largest do not count.
    """
    inputs = checks.shape("inputs", checks.finite("inputs", inputs), (None, None))
    if centred:
        inputs = inputs - inputs.mean(axis=0)
    _, values, rows = np.linalg.svd(inputs, full_matrices=False)
    return Span(rows[values > checks.nonnegative("tolerance", tolerance) * values.max(initial=0.0)].T)


def random_span(features: int, rank: int, seed: int = 0) -> Span:
    """A uniformly random subspace: the Q of a Gaussian matrix (F, r)."""
    features = checks.integer("features", features, 1)
    if checks.integer("rank", rank, 0) > features:
        raise ValueError(f"`rank` must not exceed the features: rank={rank}, {features} features")
    gaussian = generator(checks.integer("seed", seed), BASIS).standard_normal((features, int(rank)))
    return Span(np.linalg.qr(gaussian)[0])


def clusters(
    count: int, span: Span, *, classes: int, separation: float = 2.0, seed: int = 0, draw: int = 0
) -> Data:
    """Gaussian classes in a subspace: x = basis (m_label + z), z ~ N(0, 1) in each of the r directions.

    The means m have N(0, separation^2/2) entries, so that two of them lie separation sqrt(r) apart on average; they
    depend on `seed` alone, the `count` examples also on `draw`: another draw gives test data of the same law. Labels
    are uniform. Linear discriminants are optimal: argmax_k <m_k, z> - |m_k|^2/2 of z = basis^T x.
    """
    count, classes = checks.integer("count", count, 1), checks.integer("classes", classes, 2)
    if not span.rank:
        raise ValueError(f"`span` must have a direction for the classes to differ in: its rank is {span.rank}")
    scale = checks.positive("separation", separation) / np.sqrt(2)
    means = scale * generator(checks.integer("seed", seed), CENTRES).standard_normal((classes, span.rank))
    rows = generator(seed, EXAMPLES, checks.integer("draw", draw))
    labels = rows.integers(0, classes, count)
    return labelled((means[labels] + rows.standard_normal((count, span.rank))) @ span.basis.T, labels, classes)


def embedded(data: Data, features: int, seed: int | None = None) -> tuple[Data, Span]:
    """The data in a subspace of R^features, and that subspace: x -> basis x, distances and angles unchanged.

    The basis (features, F) is random; without a seed zeros are appended, x -> (x, 0). A method that treats
    coordinates one by one sees the difference: it leaves appended ones alone, but not what is merely orthogonal.
    The images' shape is lost. Raises ValueError if `features` is below F.
    """
    own = data.inputs.shape[1]
    if checks.integer("features", features, 1) < own:
        raise ValueError(f"`features` must be at least those of the data: features={features}, data has {own}")
    span = Span(np.eye(int(features), own)) if seed is None else random_span(features, own, seed)
    return replace(data, inputs=data.inputs @ span.basis.T, image=None), span


def shifted(data: Data, span: Span, strength: float, seed: int = 0) -> Data:
    """The data with noise in the directions outside the span: x + strength C z, C (F, F - r), z ~ N(0, 1).

    A weight w then adds strength |P_perp w| N(0, 1) to its product with x. Raises ValueError if the span is
    everything or has other features than the data.
    """
    checks.shape("data.inputs", data.inputs, (None, span.features))
    if span.rank == span.features:
        raise ValueError(f"`span` must leave a direction for the shift: it has all {span.rank} of them")
    size = checks.nonnegative("strength", strength)
    z = generator(checks.integer("seed", seed), OUTSIDE).standard_normal((len(data), span.features - span.rank))
    return replace(data, inputs=data.inputs + size * z @ span.complement.T)
