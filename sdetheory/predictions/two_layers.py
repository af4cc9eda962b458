"""Two layers solved exactly: scalars from any start, matrices balanced up to a multiple of the identity, one
neuron.

Loss (1/2)|W_2 W_1 - Y|^2 on whitened inputs, gradient flow, no weight decay; scalars w_1 w_2 with target s.
Conserved: w_2^2 - w_1^2, W_2^T W_2 - W_1 W_1^T. Base unit: w (a weight), so that time has unit 1/w^2.
"""

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("t", "1/w^2", "flow time", "t", "nonnegative"),
    Quantity("two_layer_target", "w^2", "end to end product of the minimum", "s", "positive"),
    Quantity("strength0", "w^2", "w_1 w_2 at t = 0", "a_0"),
    Quantity("clock", "1/w^2", "(2/K) tanh(K t/2), K^2 = lambda^2 + 4 s^2", "T", "nonnegative"),
    Quantity("clock_rate", "1", "1 - (K T/2)^2, the rate of the clock", r"\dot T", "nonnegative"),
    Quantity("ratio0", "1", "first over second weight at t = 0", "y_0"),
    Quantity("imbalance", "w^2", "w_2^2 - w_1^2, conserved", r"\lambda"),
    Quantity("balance", "w^2", "lr_in a^2 - lr_out |w|^2 of a neuron a <w, x>, conserved", r"\delta"),
    Quantity("squared_weight", "w^4", "|beta|^2, squared norm of the end to end weight a w",
    r"\|\beta\|^2", "nonnegative"),
    Quantity("lr_in", "1", "learning rate of w, the weights into the neuron", r"\eta_w", "positive"),
    Quantity("lr_out", "1", "learning rate of a, the weight out of the neuron", r"\eta_a", "positive"),
)  # fmt: skip
(t, two_layer_target, strength0, clock, clock_rate, ratio0, imbalance, balance, squared_weight, lr_in,
 lr_out) = (q.symbol for q in QUANTITIES)  # fmt: skip

_BRAUN = "Fukumizu 1998; Braun, Domine, Fitzgerald, Saxe 2022"
_KUNIN = "Kunin et al. 2024, Get rich quick"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="two_layers")


_rate = sp.sqrt(imbalance**2 + 4 * two_layer_target**2)
_fading = sp.exp(-t * _rate)
_start = sp.sqrt(imbalance**2 + 4 * strength0**2)  # w_1^2 + w_2^2 at t = 0
_pull = imbalance**2 + 4 * two_layer_target * strength0
_scale = clock_rate + _start * clock + _pull * clock**2 / 2

# -- scalars, any start, any sign: rational in the clock (2/K) tanh(K t/2) and its rate (no cancellation)
two_layer_clock = _prediction(
    "two_layer_clock", "the clock (2/K) tanh(K t/2) in which the flow of two layers is rational",
    2 * (1 - _fading) / (_rate * (1 + _fading)), "1/w^2", _BRAUN, latex_name="T",
)  # fmt: skip
two_layer_clock_rate = _prediction(
    "two_layer_clock_rate", "the rate of that clock, 1 - (K T/2)^2",
    4 * _fading / (1 + _fading) ** 2, "1", _BRAUN, latex_name=r"\dot T",
)  # fmt: skip
two_layer_product = _prediction(
    "two_layer_product", "w_1 w_2 along gradient flow on (1/2)(w_1 w_2 - s)^2, from any start",
    (strength0 + two_layer_target * _start * clock
     + (two_layer_target * _pull / 2 - strength0 * _rate**2 / 4) * clock**2) / _scale,
    "w^2", _BRAUN, latex_name="a(T)",
)  # fmt: skip
two_layer_squares = _prediction(
    "two_layer_squares", "w_1^2 + w_2^2 along the same flow: the rate at which w_1 w_2 approaches s",
    (_start * (2 - clock_rate) + _pull * clock) / _scale, "w^2", _BRAUN, latex_name=r"\sigma(T)",
)  # fmt: skip
two_layer_ratio = _prediction(
    "two_layer_ratio", "w_1/w_2 along the same flow: y' = s - lambda y - s y^2",
    (ratio0 + (two_layer_target - imbalance * ratio0 / 2) * clock)
    / (1 + (two_layer_target * ratio0 + imbalance / 2) * clock),
    "1", _BRAUN, latex_name="y(T)",
)  # fmt: skip
two_layer_rate = _prediction(
    "two_layer_rate", "rate K at which the flow forgets its start: the gap of the roots of the Riccati equation",
    _rate, "w^2", _BRAUN, latex_name="K",
)  # fmt: skip
two_layer_local_rate = _prediction(
    "two_layer_local_rate", "rate at which w_1 w_2 - s falls near the minimum with this imbalance",
    _rate, "w^2", "Tarmoun et al. 2021", latex_name="r",
)  # fmt: skip

# -- one neuron a <w, x>: d beta/dt = -M grad, M = across (I - beta beta^T/|beta|^2) + along beta beta^T/|beta|^2
neuron_kernel_along = _prediction(
    "neuron_kernel_along", "eigenvalue of M along beta = a w: kappa = lr_in a^2 + lr_out |w|^2",
    sp.sqrt(balance**2 + 4 * lr_in * lr_out * squared_weight), "w^2", _KUNIN, latex_name=r"\kappa",
)  # fmt: skip
neuron_kernel_across = _prediction(
    "neuron_kernel_across", "eigenvalue of M across beta = a w: lr_in a^2",
    (neuron_kernel_along.expr + balance) / 2, "w^2", _KUNIN, latex_name=r"\tfrac{\kappa+\delta}2",
)  # fmt: skip


def neuron_kernel(weight: Any, balance: float, lr_in: float = 1.0, lr_out: float = 1.0) -> np.ndarray:
    """The matrix M of d beta/dt = -M grad l(beta) for one neuron beta = a w, from beta and what is conserved.

    `weight` is beta, shape (n,), not zero; `balance` is lr_in a^2 - lr_out |w|^2.
    """
    beta = np.asarray(weight, dtype=float)
    if beta.ndim != 1 or not np.isfinite(beta).all() or not beta.any():
        raise ValueError(f"`weight` must be finite, shape (n,), and not zero: weight={weight}")
    known = {"balance": balance, "squared_weight": beta @ beta, "lr_in": lr_in, "lr_out": lr_out}
    along, across = neuron_kernel_along(**known), neuron_kernel_across(**known)
    return across * np.eye(beta.size) + (along - across) * np.outer(beta, beta) / (beta @ beta)


def two_layer_flow(t: Any, first: Any, second: Any, target: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(w_1, w_2) after time t of gradient flow on (1/2)(w_1 w_2 - target)^2, signs included; arrays
    broadcast.

    The larger weight never changes its sign; the smaller one is the product over it.
    """
    t, first, second = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (t, first, second)))
    gap = (second - first) * (second + first)
    known = {"imbalance": gap, "two_layer_target": target}
    time = {"clock": two_layer_clock(t=t, **known), "clock_rate": two_layer_clock_rate(t=t, **known)}
    product = np.asarray(two_layer_product(strength0=first * second, **known, **time))
    squares = np.hypot(gap, 2 * product)
    size = np.sqrt((squares + np.abs(gap)) / 2)
    large = np.copysign(size, np.where(gap >= 0, second, first))
    small = np.divide(product, large, out=np.zeros_like(large), where=large != 0)
    return np.where(gap >= 0, small, large), np.where(gap >= 0, large, small)


def factor_flow(t: float, first: Any, second: Any, target: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W_1^T W_1, W_2 W_1 and W_2 W_2^T after time t of gradient flow on (1/2)|W_2 W_1 - Y|^2.

    With Q = [W_1^T; W_2], F = [[-lam/2, Y^T], [Y, lam/2]] and W_2^T W_2 - W_1 W_1^T = lam I:
    Q Q^T(t) = X R (I + (1/2) R^T J R)^-1 R^T X, R = Q(0), X = e^(Ft), J = (e^(2Ft) - 1)/F, which needs no
    inverse of F. `first` is (hidden, inputs), `second` (outputs, hidden), `target` Y (outputs, inputs);
    ValueError when the start is not balanced up to a multiple of the identity.
    Source: Fukumizu 1998; Braun et al. 2022; Domine et al. 2025; this stable form is derived.
    """
    first, second, target = (np.asarray(m, dtype=float) for m in (first, second, target))
    if first.ndim != 2 or second.ndim != 2 or target.shape != (second.shape[0], first.shape[1]):
        raise ValueError(f"`target` must be (outputs, inputs): {target.shape=}, {first.shape=}, {second.shape=}")
    if not t >= 0:
        raise ValueError(f"`t` must not be negative: t={t}")
    gram = second.T @ second - first @ first.T
    lam, size = np.trace(gram) / len(gram), np.linalg.norm(first) ** 2 + np.linalg.norm(second) ** 2
    excess = np.linalg.norm(gram - lam * np.eye(len(gram)))
    if excess > 1e-10 * size:
        raise ValueError(f"`first`, `second` must have W_2^T W_2 - W_1 W_1^T = lam I: off by {excess}")
    outputs, inputs = target.shape
    generator = np.block([[-lam / 2 * np.eye(inputs), target.T], [target, lam / 2 * np.eye(outputs)]])
    rates, modes = np.linalg.eigh(generator)
    state = modes.T @ np.vstack([first.T, second])
    steps = max(1, int(np.ceil(np.abs(rates).max() * t / 4)))  # e^(2Ft) stays below e^8 in a step
    for _ in range(steps if t > 0 else 0):
        state = _factor_step(state, rates, t / steps)
    whole = modes @ state
    first_t, second_t = whole[:inputs], whole[inputs:]
    return first_t @ first_t.T, second_t @ first_t.T, second_t @ second_t.T


def _factor_step(state: np.ndarray, rates: np.ndarray, dt: float) -> np.ndarray:
    """A factor of Q Q^T after dt, in the eigenbasis of F: X R (chol)^-T of I + (1/2) R^T J R."""
    safe = np.where(rates == 0.0, 1.0, rates)
    weight = np.where(rates == 0.0, 2 * dt, np.expm1(2 * safe * dt) / safe)
    _, triangle = np.linalg.qr(np.vstack([np.eye(state.shape[1]), np.sqrt(weight / 2)[:, None] * state]))
    return np.asarray(np.linalg.solve(triangle.T, (np.exp(rates * dt)[:, None] * state).T).T)
