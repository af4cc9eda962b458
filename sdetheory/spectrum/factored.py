"""Eigenvalues of A^T A with small relative error: singular values of A, and of its inverse where they are tiny.

-generator = A^T A with A f = e^(-U/2) grad(e^(U/2) f), U = beta L.  A singular value s of A is good to eps |A|, so
that s^2 drowns below eps |A|^2.  The inverse, e^(-U/2) (integral) e^(U/2), is known in closed form; there the slow
rates are the *large* singular values, good to eps e^(osc(U)/2).  Of the two values the one with the smaller error
estimate is taken, and the estimate is returned: equal wells keep 13 digits down to gaps of 1e-282; wells of depths
that differ by D lose e^(D/2), and a gap of which nothing is left is refused.
"""

from typing import NamedTuple

import numpy as np
from scipy import linalg

EPS = float(np.finfo(np.float64).eps)
COARSEST = 0.01  # relative error from which on a rate is refused
SAFETY = 4.0  # on the rounding errors eps |A| and eps e^(osc/2); tests compare with 900 bits
FLOOR = 256 * EPS  # relative error of everything else: nodes, weights, polynomials


class Modes(NamedTuple):
    """Eigenvalues ascending, their relative errors, eigenfunctions as rows of values on the nodes."""

    values: np.ndarray
    errors: np.ndarray
    functions: np.ndarray


class Inverse(NamedTuple):
    """The inverse of A on a basis, (nodes, k), rows times the roots of the weights; the largest number in it."""

    matrix: np.ndarray
    root_weights: np.ndarray
    size: float


def slowest(
    count: int, forward: np.ndarray, basis: np.ndarray, ground: np.ndarray | None, inverse: Inverse | None
) -> Modes:
    """The `count` smallest eigenvalues of A^T A off the ground state.

    forward: (rows, n) A on n basis functions, of values `basis` (nodes, n).  ground: (n,) coefficients of the
    function that A kills, if it lies in their span.
    """
    keep = np.eye(basis.shape[1]) if ground is None else linalg.qr(ground[:, None])[0][:, 1:]
    _, sigma, right = linalg.svd(forward @ keep, full_matrices=False, check_finite=False)
    order = np.argsort(sigma, kind="stable")[:count]
    errors = FLOOR + 2 * SAFETY * EPS * sigma[0] / np.maximum(sigma[order], EPS * sigma[0])
    found = Modes(sigma[order] ** 2, errors, right[order] @ (basis @ keep).T)
    found = found if inverse is None else _refined(found, inverse)
    if found.errors.max() > COARSEST:
        raise ValueError(
            f"`inverse_temperature` must be smaller for wells of such different depth: a rate near "
            f"{found.values[found.errors.argmax()]:.2g} would have the relative error {found.errors.max():.2g}"
        )
    return found


def _refined(direct: Modes, inverse: Inverse) -> Modes:
    """Values and functions replaced where the inverse knows them better."""
    left, large, _ = linalg.svd(inverse.matrix, full_matrices=False, check_finite=False)
    count = len(direct.values)
    left, large = left.T[:count] / inverse.root_weights, large[:count]
    errors = FLOOR + 2 * SAFETY * EPS * inverse.size / large
    better = errors < direct.errors
    return Modes(
        np.where(better, large**-2.0, direct.values),
        np.where(better, errors, direct.errors),
        np.where(better[:, None], left, direct.functions),
    )
