"""The largest eigenvalue of the Hessian of an ensemble's loss, and how far gradient descent is from its edge.

Which eigenvalue decides about stability when every layer has a norm of its own? Let w_i, i = 1 .. k, be the
scale-invariant groups, r_i = |w_i|, u_i = w_i/r_i, h = lr wd. A step of gradient descent turns the directions by

    u_i' = Pi(u_i - t_i grad_i L(u)),    t_i = lr/((1 - h) r_i^2),    Pi(x) = x/|x|,

each with its own effective learning rate t_i (Lyu, Li, Arora 2022, for one group). At a critical point of L on
the product of spheres its linearisation is I - D H(u), D = diag(t_i) block by block, H(u) the Hessian at the unit
vectors; I - D H is similar to I - D^(1/2) H(u) D^(1/2), so that the point is stable if and only if

    lambda_1(D^(1/2) H(u) D^(1/2)) < 2    (and no eigenvalue is negative).

Since H_ij(w) = H_ij(u)/(r_i r_j), that matrix is lr/(1 - h) times the Hessian at w itself. So the edge is

    stability = lr/(1 - lr wd) lambda_1(Hess L(w)) = 2,

the same number for every way to group (one vector, layers, neurons), invariant under w_i -> c_i w_i with the lr of
each group times c_i^2, and for a single group it is the effective learning rate times the spherical sharpness
lambda_1(Hess L(w/|w|)). A group's own block has a smaller largest eigenvalue: it says nothing about the edge.
"""

from collections.abc import Callable

import numpy as np

from sdetheory import checks
from sdetheory.networks.data import Data
from sdetheory.networks.network import Network

Product = Callable[[np.ndarray], np.ndarray]
_TOGETHER = 8
_RELATIVE_STEP = 6e-6  # near the cube root of the rounding error: the best step of a central difference


def hessian_product(net: Network, parameters: np.ndarray, directions: np.ndarray, data: Data) -> np.ndarray:
    """Hess L(w_e) v_e of the loss on all the data, for nets (E, P) and directions (E, P), as (E, P).

    A central difference of exact gradients, its step 6e-6 of the smallest norm among the neurons' weights:
    relative error about 1e-9 for smooth activations; with rectifiers it is the curvature between two points
    that near. Frozen parameters stay: the product ignores the direction there and is 0 there.
    """
    checks.shape("directions", directions, np.shape(parameters))
    return _difference(net, parameters, directions * _trainable(net), data, _steps(net, parameters))


def _difference(
    net: Network, parameters: np.ndarray, directions: np.ndarray, data: Data, steps: np.ndarray
) -> np.ndarray:
    """The central difference with steps (E,)."""
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    shift = steps[:, None] / np.where(length > 0, length, 1.0)
    moved = np.concatenate([parameters + shift * directions, parameters - shift * directions])
    gradients = np.concatenate([
        net.gradient(moved[a : a + _TOGETHER], data.inputs, data.labels)[1]
        for a in range(0, len(moved), _TOGETHER)
    ])  # fmt: skip
    ahead, behind = np.split(gradients, 2)
    return (ahead - behind) / (2 * shift)


def _steps(net: Network, parameters: np.ndarray) -> np.ndarray:
    """Lengths of the steps (E,): small against the weights of every neuron."""
    norms = [np.linalg.norm(group.select(parameters), axis=1) for group in net.groups("neuron") if not group.frozen]
    return _RELATIVE_STEP * np.min(norms, axis=0)


def sharpness(
    net: Network,
    parameters: np.ndarray,
    data: Data,
    *,
    start: np.ndarray | None = None,
    tolerance: float = 1e-4,
    most: int = 60,
) -> tuple[np.ndarray, np.ndarray]:
    """lambda_1(Hess L(w)), (E,), on all the data and its unit eigenvectors (E, P), of nets (E, P) at once.

    Lanczos with full orthogonalisation, stopped when |H v - lambda v| <= tolerance lambda for every net, after
    at most `most` products. `start` (E, P): first vectors, such as the eigenvectors a few steps of training
    before; by default the gradients plus a fixed wave. Raises ValueError on wrong shapes.
    """
    parameters = checks.finite("parameters", checks.shape("parameters", parameters, (None, net.size)))
    if start is None:
        start = net.gradient(parameters, data.inputs, data.labels)[1]
        start = start / np.linalg.norm(start, axis=1, keepdims=True) + _wave(net)
    checks.shape("start", start, parameters.shape)
    checks.integer("most", most, 1)
    steps = _steps(net, parameters)
    product = lambda v: _difference(net, parameters, v, data, steps)
    return lanczos(product, start * _trainable(net), checks.positive("tolerance", tolerance), most)


def _trainable(net: Network) -> np.ndarray:
    """1 at trainable parameters, 0 at frozen ones, (P,)."""
    out = np.zeros(net.size)
    for group in net.groups():
        for a, b in group.segments if not group.frozen else ():
            out[a:b] = 1.0
    return out


def _wave(net: Network) -> np.ndarray:
    """A fixed unit vector (P,) along every trainable parameter, in no special direction."""
    wave = _trainable(net) * np.cos(np.arange(net.size) ** 1.5)
    return wave / np.linalg.norm(wave)


def lanczos(product: Product, start: np.ndarray, tolerance: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues (E,) and eigenvectors (E, P) of E symmetric operators that act on the rows of (E, P)."""
    nets, size = start.shape
    most = min(most, size)
    basis, images = np.zeros((2, nets, most, size))
    vector = start / np.linalg.norm(start, axis=1, keepdims=True)
    for count in range(1, most + 1):
        basis[:, count - 1], images[:, count - 1] = vector, product(vector)
        v, hv = basis[:, :count], images[:, :count]
        small = v @ hv.mT
        values, rotations = np.linalg.eigh((small + small.mT) / 2)
        value, weights = values[:, -1], rotations[:, None, :, -1]
        ritz = (weights @ v)[:, 0]
        residual = np.linalg.norm((weights @ hv)[:, 0] - value[:, None] * ritz, axis=1)
        if (residual <= tolerance * np.abs(value)).all():
            break
        vector = images[:, count - 1]
        for _ in range(2):  # twice is enough (Parlett 1998)
            vector = vector - ((vector[:, None] @ v.mT) @ v)[:, 0]
        length = np.linalg.norm(vector, axis=1, keepdims=True)
        vector = vector / np.where(length > 0, length, 1.0)
    return value, ritz


def stability(lr: np.ndarray | float, weight_decay: np.ndarray | float, sharpness: np.ndarray) -> np.ndarray:
    """lr/(1 - lr wd) lambda_1(Hess L(w)): gradient descent leaves a minimum where this exceeds 2; broadcasts."""
    return np.asarray(lr) * sharpness / (1 - np.asarray(lr) * np.asarray(weight_decay))
