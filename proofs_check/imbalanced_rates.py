"""Proofs about two layers W = W_1 W_2: their imbalance bounds their singular values, so the loss falls fast.

A short proof of the bound of Min, Vidal, Mallada. With lam_+ the n-th eigenvalue of D = W_1^T W_1 - W_2 W_2^T
(or 0) and -lam_- its smallest (or 0), each d in its spectrum has d >= lam_+ - lam_- + lam_+ lam_-/d. So for a
unit vector e, <e, D e> >= lam_+ - lam_- + lam_+ lam_- <e, D^-1 e>. Let e = W_1^T u/sqrt(x), where u is the
eigenvector of W_1 W_1^T with the smallest eigenvalue x = sigma_n^2(W_1). The Schur complement S of D on the range
of W_1^T is at most W_1^T W_1 there, and positive because D has n positive eigenvalues; so <e, D^-1 e> >= 1/x.
Then sigma_n^2(W) <= <u, W W^T u> = x (x - <e, D e>) <= (x - lam_+)(x + lam_-).
"""

from functools import partial
from typing import Any

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.inequalities import coefficients_nonnegative
from proofs_check.judge import given, zero
from proofs_check.layers import Checks
from proofs_check.registry import claim as _claim
from proofs_check.systems import flow_rate
from proofs_check.words import Words, derive, gradient, matrices, rewrite, trace, vanish
from sdetheory.predictions import imbalanced_rates as predicted
from sdetheory.predictions.imbalanced_rates import least_positive, loss0, most_negative, rate, singular_value, t

Q = sp.Rational
_MIN = "Min, Vidal, Mallada 2023; Xu, Min, Tarmoun, Mallada, Vidal 2023"
claim = partial(
    _claim,
    where={
        "imbalance": "D is the imbalance of the two layers",
        "nth_positive": "no positive eigenvalue of D is below lam_+, and there are n when lam_+ > 0",
        "bounded_below": "no eigenvalue of D is below -lam_-",
        "unequal": "input and output dimensions differ",
    },
)
x, root = sp.symbols("x root")  # root^2 = x = sigma_n^2(W_1)


@claim(
    "D45",
    "sigma_n^2(W_1) is at least the root of (x - lam_+)(x + lam_-) = sigma_n^2(W); with W_2's bound this is "
    "Min's rate: dl/dt <= -2 alpha l",
    "all shapes (n, h), (h, m); D singular or not (by continuity), h < n (then lam_+ = 0 = x)",
    _MIN + "; each layer's own bound and this proof are derived",
    given=[
        "inertia of D = inertia of its Schur complement + that of the other block (Haynsworth)",
        "inversion reverses the order of positive definite matrices; spectral theorem",
        "|W_1^T E|_F^2 >= sigma_n^2(W_1) |E|_F^2",
        "Gronwall; sigma_k(W) >= sigma_k(Y) - |Y - W|_F (Weyl) gives the margin",
    ],
)
def accelerated(imbalance: bool = True, nth_positive: bool = True, bounded_below: bool = True) -> Checks:
    """W W^T on the eigenvector, the spectrum of D, the Schur complement, the quadratic, both layers, the loss."""
    yield from _on_the_eigenvector(imbalance)
    yield from _on_the_spectrum(nth_positive, bounded_below)
    yield from _schur_complement()
    lam, bar = least_positive, most_negative
    square = x * (x - (lam - bar + lam * bar / x))
    yield equal("sigma_n^2(W) <=", square, (x - lam) * (x + bar))
    y, h = sp.symbols("y h")
    value = lambda z: (z - lam) * (z + bar)
    grown = sp.expand(value(lam + y + h) - value(lam + y))
    yield equal("increasing from lam_+ on", grown, h * (2 * y + h + lam + bar))
    yield obeys(
        "layer", predicted.layer_bound, lambda f: [(f.value - lam) * (f.value + bar) - singular_value**2]
    )
    yield from _both_layers()
    yield from _loss()
    yield from _tight()


def _on_the_eigenvector(imbalance: bool) -> Checks:
    """u^T W W^T u = x^2 - x e^T D e, where W_1 W_1^T u = x u, e = W_1^T u/root."""
    U, V, D, u = matrices("U V D u")
    rules: list[Any] = [((("U", False), ("U", True), ("u", False)), x * u)]
    if imbalance:
        rules.append(((("V", False), ("V", True)), U.T @ U - D))
    e = (1 / root) * (U.T @ u)
    modulo = given([root**2 - x], {root: 2, x: 4}, [root])
    form = u.T @ U @ V @ V.T @ U.T @ u
    claimed = x**2 * (u.T @ u) - x * (e.T @ D @ e)
    yield from vanish("W W^T on u", rewrite(form - claimed, rules), modulo)
    yield from vanish("e has norm 1", rewrite(e.T @ e - u.T @ u, rules), modulo)


def _on_the_spectrum(nth_positive: bool, bounded_below: bool) -> Checks:
    """d - lam_+ + lam_- - lam_+ lam_-/d for d = lam_+ + gap and for d = -depth, lam_- = depth + gap."""
    gap, depth = sp.symbols("gap depth")
    lam, bar = least_positive, most_negative

    def excess(d: sp.Expr) -> sp.Expr:
        return sp.factor(d - lam + bar - lam * bar / d)

    d = sp.Symbol("d")
    yield equal("excess", excess(d), (d - lam) * (d + bar) / d)
    yield coefficients_nonnegative("positive part", excess(lam + gap if nth_positive else d))
    below = depth + gap if bounded_below else bar
    yield coefficients_nonnegative("negative part", sp.factor(excess(-depth).subs(bar, below)))
    yield coefficients_nonnegative("lam_+ = 0: D >= -lam_-", sp.expand((-depth + bar).subs(bar, depth + gap)))


def _schur_complement() -> Checks:
    """S = D11 - D12 K D21, K = D22^-1: its inverse is the corner of D^-1, and D on a + low is S; A - D >= 0."""
    D11, D12, D22, K, F, G, a, b, A, V1, V2 = matrices("D11 D12 D22 K F G a b A V1 V2")
    D21 = D12.T
    rules: list[Any] = [
        ((("D22", False), ("K", False)), Words({(): sp.S.One})),
        ((("K", True),), K),
        ((("G", False),), -1 * (K @ D21 @ F)),
    ]
    S = D11 - D12 @ K @ D21
    yield from vanish("corner of the inverse", rewrite(S @ F - (D11 @ F + D12 @ G), rules))
    low = -1 * (K @ D21 @ a)
    on_both = a.T @ D11 @ a + a.T @ D12 @ low + low.T @ D21 @ a + low.T @ D22 @ low
    yield from vanish("D on a + b", rewrite(on_both - a.T @ S @ a, rules))
    imbalance = a.T @ (A - V1 @ V1.T) @ a - a.T @ V1 @ V2.T @ b - b.T @ V2 @ V1.T @ a - b.T @ V2 @ V2.T @ b
    square = (V1.T @ a + V2.T @ b).T @ (V1.T @ a + V2.T @ b)
    yield from vanish("S <= A: A less D is a square", a.T @ A @ a - imbalance - square)


def _both_layers() -> Checks:
    """The two bounds add up to Min's: his spreads and definiteness in the eigenvalues."""
    lam, bar, mu, nu = sp.symbols("lam bar mu nu")  # W_1: lam_n(D), lam_1(-D); W_2: lam_m(-D), lam_1(D)
    row, column = sp.symbols("row column")
    parts = [
        predicted.layer_bound.at(least_positive=lam, most_negative=bar, singular_value=row),
        predicted.layer_bound.at(least_positive=mu, most_negative=nu, singular_value=column),
    ]
    values = {"spread_minus": bar - mu, "spread_plus": nu - lam, "definite": lam + mu}
    yield obeys(
        "sum of both layers",
        predicted.accelerated_rate,
        lambda f: [f.at(row_value=row, column_value=column, **values) - sum(f.companions)],
        companions=parts,
    )


def _loss() -> Checks:
    """dl/dt = -|E W_2^T|^2 - |W_1^T E|^2 for E = W_1 W_2 - Y; then dl/dt = -2 alpha l solved."""
    U, V, Y, E = matrices("U V Y E")
    residual = U @ V - Y
    pull = {name: flow_rate(Words(), gradient(trace(E.T @ U @ V), name), 0) for name in "UV"}
    moved = trace(E.T @ derive(residual, pull))
    yield from vanish("dl/dt", moved + trace(V @ E.T @ E @ V.T) + trace(E.T @ U @ U.T @ E))
    yield obeys(
        "loss", predicted.accelerated_loss_bound, lambda f: [f.rate(t) + 2 * rate * f.value, f.at(t=0) - loss0]
    )


def _tight() -> Checks:
    """Explicit entries: (x - lam_+)(x + lam_-) = W^2 for W_1 = (a b), W_2 = (c d)^T; scalars attain the sum."""
    a, b, c, d = sp.symbols("a b c d")
    lam, bar = least_positive, most_negative
    D = sp.Matrix([[a**2 - c**2, a * b - c * d], [a * b - c * d, b**2 - d**2]])
    relations = [lam - bar - D.trace(), lam * bar + sp.expand(D.det())]
    example = {a: 2, b: 0, c: 0, d: 1, lam: 4, bar: 1}
    yield zero("one output, one input, width 2", _excess_square(a, b, c, d), given(relations, example))
    D1, w1, w2 = a**2 - c**2, a, c
    scalar = predicted.accelerated_rate.at(
        spread_minus=0, spread_plus=0, definite=D1, row_value=w1 * w2, column_value=w1 * w2
    )
    yield equal("three scalars", sp.expand(scalar**2), sp.expand((w1**2 + w2**2) ** 2))


def _excess_square(a: sp.Expr, b: sp.Expr, c: sp.Expr, d: sp.Expr) -> sp.Expr:
    size = a**2 + b**2
    return (size - least_positive) * (size + most_negative) - (a * c + b * d) ** 2


def _spectrum(outer: sp.Matrix, inner: sp.Matrix) -> tuple[dict[str, Any], sp.Expr]:
    """The arguments of `accelerated_rate` and sigma_n^2(W_1) + sigma_m^2(W_2), exactly, for n <= h."""
    n, m = outer.rows, inner.cols
    eigenvalues = sorted((outer.T * outer - inner * inner.T).eigenvals(multiple=True), reverse=True)
    above = [max(v, sp.S.Zero) for v in eigenvalues]
    below = [max(-v, sp.S.Zero) for v in reversed(eigenvalues)]
    squares = sorted((outer * inner * inner.T * outer.T).eigenvals(multiple=True), reverse=True)
    values = [sp.sqrt(v) for v in squares] + [sp.S.Zero] * m
    arguments = {
        "spread_plus": above[0] - above[n - 1],
        "spread_minus": below[0] - below[m - 1],
        "definite": above[n - 1] + below[m - 1],
        "row_value": values[n - 1] if n <= m else sp.S.Zero,
        "column_value": values[m - 1] if m <= n else sp.S.Zero,
    }
    actual = min((outer * outer.T).eigenvals(multiple=True)) + min((inner.T * inner).eigenvals(multiple=True))
    return arguments, actual


@claim(
    "D46",
    "pairing sigma_m(W) with Delta_- and sigma_n(W) with Delta_+ is false: it claims 9/8 where the sum is 17/16",
    "one exact point: W_1 = diag(3/2, 1), W_2 = (1/4, 0)^T; the right pairing, D45, is attained there and holds",
    "derived",
    latex=r"\sigma_n^2(W_1)+\sigma_m^2(W_2)=\tfrac{17}{16}<\tfrac98",
)
def swapped_pairing(unequal: bool = True) -> Checks:
    """Both bounds and the sum at that point; with a square W the two pairings are the same bound."""
    inner = sp.Matrix([Q(1, 4), 0]) if unequal else sp.diag(Q(1, 4), Q(3, 8))
    arguments, actual = _spectrum(sp.diag(Q(3, 2), 1), inner)
    swapped = arguments | {
        "row_value": arguments["column_value"],
        "column_value": arguments["row_value"],
    }
    yield equal("sum", actual, Q(17, 16))
    yield zero("the right pairing is attained", actual - predicted.accelerated_rate.at(**arguments))
    yield equal("the swapped one exceeds it by", predicted.accelerated_rate.at(**swapped) - actual, Q(1, 16))
