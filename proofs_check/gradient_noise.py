"""Proofs about gradient noise and balance: the law of balance of scalar layers, noise balance of matrices."""

import sympy as sp

from proofs_check import finite_step_noise
from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.field import Derivation, Ito
from proofs_check.judge import zero
from proofs_check.layers import Checks, chain, claim, other, over_layers, wi, wj
from proofs_check.words import IDENTITY, Words, gradient, matrices, rewrite, trace, vanish
from sdetheory.predictions import gradient_noise as predicted
from sdetheory.predictions.gradient_noise import (
    above,
    below,
    inverse_pairs,
    lower_square,
    noise_variance,
    slope_mean,
    slope_variance,
    temperature,
    upper_square,
)
from sdetheory.predictions.gradient_noise import end_to_end as W
from sdetheory.predictions.gradient_noise import inverse_squares as S

_MEANINGS = {
    "rescaling": "the loss of a sample depends on u and w through w u^T alone",
    "one_noise": "one noise dl/dW drives all layers",
    "white": "the noise of the end to end gradient has independent rows, alike up to the inputs",
}


@claim(
    "D50",
    "law of balance: gradient noise moves |u|^2 - |w|^2 by -T (u^T C_1 u - w^T C_2 w) dt, without a martingale",
    "any loss of w u^T, any widths; scalar layers of any depth: dD_ij/dt = -T Var(A) (W/(w_i w_j))^2 D_ij; "
    "means of a discrete step of two layers, exact in the learning rate",
    "Ziyin, Li, Ueda 2023, theorem 1",
    where=_MEANINGS,
)
def law_of_balance(rescaling: bool = True, one_noise: bool = True) -> Checks:
    """Ito's formula; A = dl/d(w u^T) of a sample, X its deviation from the mean, E X^T X = C_1, E X X^T =
    C_2.
    """
    u, w, A, X, B = matrices("u w A X B")
    slopes = {"u": A.T @ w, "w": (A if rescaling else B) @ u}
    deviations = {"u": X.T @ w, "w": X @ u}
    drift = -2 * trace(u.T @ slopes["u"]) + 2 * trace(w.T @ slopes["w"])
    yield from vanish("drift of |u|^2 - |w|^2 without noise", drift)
    yield from vanish("martingale", trace(u.T @ deviations["u"]) - trace(w.T @ deviations["w"]))
    second = temperature * (trace(deviations["u"].T @ deviations["u"]) - trace(deviations["w"].T @ deviations["w"]))
    C1, C2 = X.T @ X, X @ X.T
    law = -temperature * (trace(u.T @ C1 @ u) - trace(w.T @ C2 @ w))
    yield from vanish("Ito's term", second - law)
    yield from _scalar_layers(one_noise)
    yield from finite_step_noise.means(one_noise)


def _layer(pull: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Drift and noise of one scalar layer, dw_k = -(W/w_k)(E A dt + dB), dB of variance T Var A; pull is
    W/w_k.
    """
    return -pull * slope_mean, -pull


def _scalar_layers(one_noise: bool) -> Checks:
    """One dB for all layers; W = w_i w_j P for a pair, power sums for ln W = sum ln w_k."""
    pull, spread = {wi: wj * other, wj: wi * other}, temperature * slope_variance
    drift, noise = ({x: _layer(pull[x])[part] for x in pull} for part in (0, 1))
    bracket = {(x, y): spread * noise[x] * noise[y] for x in pull for y in pull if one_noise or x == y}
    letters = {x: {"dB" if one_noise else f"dB_{x}": noise[x]} for x in pull}
    ito = Ito({x: Derivation({x: 1}) for x in pull}, drift, bracket, letters)
    D = wi**2 - wj**2
    yield equal("dD_ij/dt", ito.generator(D), predicted.balance_rate, imbalance=D, rest=other)
    for letter, coefficient in ito.martingale(D).items():
        yield zero(f"no {letter} in D_ij", coefficient)
    yield equal("P", other, W / (wi * wj), chain())
    w, sums = sp.Symbol("w"), {-2: S, -4: S**2 - 2 * inverse_pairs}
    own_drift, own_noise = _layer(W / w)
    log_drift = over_layers(own_drift / w - spread * own_noise**2 / (2 * w**2), w, sums)
    log_noise = over_layers(own_noise / w, w, sums)
    yield equal("drift of W", W * (log_drift + spread * log_noise**2 / 2), predicted.product_drift)


@claim(
    "D53",
    "matrix noise balance: d(U^T U - V V^T)/dt = T s^2 (|A|^2 E h h^T - E|Bx|^2 (AU)^T AU), not balance",
    "every depth, any widths; two layers: T s^2 (o W_1 W_1^T - i W_2^T W_2); label noise: inputs of covariance C",
    "derived; Ziyin, Li, Ueda 2023 for two vectors",
    where=_MEANINGS,
)
def noise_balance(white: bool = True, rescaling: bool = True) -> Checks:
    """Noise X of the end to end gradient with E X^T M X = s^2 tr(M) C, E X M X^T = s^2 tr(M C) I: white, or
    label noise xi x^T.
    """
    A, U, V, B, X, C, other_noise = matrices("A U V B X C N")
    variation = trace(X.T @ A @ U @ V @ B)
    GU, GV = gradient(variation, "U"), gradient(variation, "V") if rescaling else other_noise
    yield from vanish("no martingale", U.T @ GU + GU.T @ U - V @ GV.T - GV @ V.T)
    inner = ("X", True), ("A", False), ("A", True), ("X", False)
    outer = ("X", False), ("B", True), ("B", False), ("X", True)
    rows = C if white else matrices("R")[0]
    rules = [(inner, noise_variance * above * rows), (outer, noise_variance * below * IDENTITY)]
    mean = temperature * rewrite(GU.T @ GU - GV @ GV.T, rules)
    hidden, seen = V @ B @ C @ B.T @ V.T, (A @ U).T @ A @ U

    def words(f: Face) -> list[sp.Expr]:
        claimed = sp.diff(f.value, lower_square) * hidden + sp.diff(f.value, upper_square) * seen
        gap: Words = mean - claimed
        return [*gap.values(), f.value.subs({lower_square: 0, upper_square: 0})]

    yield obeys("every word", predicted.matrix_balance_rate, words)
    rate = predicted.matrix_balance_rate.expr
    yield obeys("noise balance", predicted.noise_balanced_upper, lambda f: [rate.subs(upper_square, f.value)])
    yield from _label_noise()


def _label_noise() -> Checks:
    """X = xi x^T, xi of covariance s^2 I independent of x: both rules, entry by entry for two outputs and
    inputs.
    """
    xi, x = sp.Matrix(sp.symbols("xi_1 xi_2")), sp.Matrix(sp.symbols("x_1 x_2"))
    M = sp.Matrix(2, 2, sp.symbols("m:4"))
    C = sp.Matrix([[sp.Symbol("c11"), sp.Symbol("c12")], [sp.Symbol("c12"), sp.Symbol("c22")]])
    X = xi * x.T
    for name, found, wanted in (
        ("E X^T M X", X.T * M * X, M.trace() * C),
        ("E X M X^T", X * M * X.T, (M * C).trace() * sp.eye(2)),
    ):
        for entry, claimed in zip(found, wanted, strict=True):
            yield zero(name, _mean(entry, xi, x, C) - noise_variance * claimed)


def _mean(expr: sp.Expr, xi: sp.Matrix, x: sp.Matrix, C: sp.Matrix) -> sp.Expr:
    """E over xi and x, by their second moments."""
    poly = sp.Poly(sp.expand(expr), *xi, *x)
    total = sp.S.Zero
    for powers, coefficient in poly.terms():
        i = [k for k, n in enumerate(powers[:2]) for _ in range(n)]
        j = [k for k, n in enumerate(powers[2:]) for _ in range(n)]
        total += coefficient * (noise_variance if i[0] == i[1] else 0) * C[j[0], j[1]]
    return total
