"""Proof that GD on deep linear networks converges linearly, with the constants of Arora, Cohen, Golowich, Hu 2019.

Scaled to |Phi|_F = 1, so that margin c <= 1; kappa = c^(2-2/N), delta_0 = c^2/(256 N^3), lr <= c^2 kappa/(6144 N^3).
As long as |E| = |W - Phi| has not grown and |D_j| <= 2 delta_0 = delta (d_N <= d_0; otherwise transpose):
1. With X = W_N W_N^T, A the product of the top k layers: |A A^T - X^k| <= delta b^(2k-2) k (k-1)/2, b >= |W_j|.
2. |W| <= 2, so b^(2N) <= 4.1; sigma_min(W) >= c, so the product A of the top N - 1 layers has A A^T >= kappa (1 - 2p).
3. One step: E' = E - lr H E + R with H >= A A^T, |R| of second order; so l' <= (1 - 1.9 lr kappa) l.
4. The imbalances grow by at most 4 lr^2 b^(2N-2) l a step, in all by less than delta_0.
"""

from functools import partial
from typing import Any

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.end_to_end import word
from proofs_check.face import Face
from proofs_check.inequalities import coefficients_nonnegative, nonnegative
from proofs_check.judge import zero
from proofs_check.layers import Checks
from proofs_check.registry import claim as _claim
from proofs_check.systems import flow_rate
from proofs_check.words import Words, derive, gradient, matrices, rewrite, trace, vanish
from sdetheory.predictions import linear_convergence as predicted
from sdetheory.predictions.linear_convergence import depth, lr, margin, target_norm

Q = sp.Rational
claim = partial(
    _claim,
    where={
        "small_imbalance": "neighbouring layers are balanced to delta_0 at the start",
        "has_margin": "|W - Phi|_F <= sigma_min(Phi) - c at the start",
        "small_rate": "the learning rate is at most the stated one",
        "one_loss": "all layers follow the gradient of one loss of W",
    },
)
# nu = 1/N, c2 = c^2, kappa = c^(2-2/N), u = lr over its largest value: all in a box, no letter is N
nu, c2, kappa, u = sp.symbols("nu c2 kappa u")
_NU, _UNIT = (0, Q(1, 2)), (0, 1)
_GROWTH, _ROOT = Q(41, 10), Q(81, 40)  # b^(2N) and b^N are at most these
_RATE, _SHARE = Q(19, 10), Q(49, 50)
_MUCH = 1_000_000


@claim(
    "D36",
    "GD with lr <= c^(4-2/N)/(6144 N^3 |Phi|^(6-4/N)) from delta-balanced layers with margin c: every step multiplies "
    "the loss by at most 1 - 1.9 lr c^(2-2/N)",
    "every depth >= 2, all widths; the published theorem, which has 1 for 1.9, with its constants 256 and 6144",
    "Arora, Cohen, Golowich, Hu 2019, theorem 1; proof and factor derived",
    given=[
        "Weyl: eigenvalues of symmetric matrices and singular values move by at most the norm of the change",
        "|A B|_F <= |A|_2 |B|_F; |H E|^2 <= |H| <E, H E> for positive semi-definite H",
        "(1 - p)^a >= 1 - p for a <= 1",
    ],
)
def linear_convergence(
    small_imbalance: bool = True, has_margin: bool = True, small_rate: bool = True, one_loss: bool = True
) -> Checks:
    """Scaling, then the four parts of the module's text; inequalities on boxes in 1/N, c^2, kappa, lr."""
    yield from _gradients(one_loss)
    yield from _sizes(small_imbalance)
    yield from _margin(has_margin)
    yield from _one_step(small_rate)
    yield from _balance_stays(small_rate)
    yield from _powers_of_the_top()
    yield from _scaling()


def _scaled(f: Face, unit: sp.Expr) -> sp.Expr:
    """A formula at margin c phi and target norm phi over `unit`: powers of positive letters, exponents added."""
    c, phi, n = sp.symbols("c phi n", positive=True)
    moved = f.expr.subs({margin: c * phi, target_norm: phi, depth: n}, simultaneous=True)
    split = sp.expand_power_base(moved / unit.subs({target_norm: phi, depth: n}))
    return f.reader.form(sp.powsimp(split, combine="exp")).expr


def _scaling() -> Checks:
    """W_j = phi^(1/N) V_j: D in units phi^(2/N), lr in phi^(2/N-2), lr c^(2-2/N) in none; the steps."""
    c, n = sp.symbols("c n", positive=True)
    root = c ** (-2 / n)
    yield obeys(
        "imbalance",
        predicted.sufficient_balance,
        lambda f: [_scaled(f, target_norm ** (2 / depth)) - f.reader.form(c**2 / (256 * n**3)).expr],
    )
    yield obeys(
        "learning rate",
        predicted.sufficient_lr,
        lambda f: [_scaled(f, target_norm ** (2 / depth - 2)) - f.reader.form(c**4 * root / (6144 * n**3)).expr],
    )

    def speed(f: Face) -> sp.Expr:
        return lr * margin**2 * f.reader.form(margin ** (-2 / depth)).expr

    yield obeys("published factor", predicted.stated_loss_factor, lambda f: [f.value - 1 + speed(f)])
    yield obeys("factor", predicted.proved_loss_factor, lambda f: [f.value - 1 + _RATE * speed(f)])
    loss0, loss = sp.symbols("loss0 loss")

    def late(f: Face) -> list[sp.Expr]:
        speed = lr * margin**2 / f.reader.form(margin ** (2 / depth)).expr
        return [f.rate(loss) * speed * loss + 1, f.rate(loss0) * speed * loss0 - 1, f.at(loss0=loss)]

    yield obeys("steps: l_0 e^(-lr kappa T) = loss", predicted.sufficient_steps, late)


def _powers_of_the_top() -> Checks:
    """A U^T U = X A + F and V V^T = U^T U - D for the next layer V: the errors of A and of A A^T, and their sizes."""
    U, V, A, D, X, F, B, Y = ((((name, False),)) for name in "UVADXFBY")
    Ut, Vt, At, Bt = ((((name, True),)) for name in "UVAB")
    above: list[Any] = [(V + Vt, word(Ut, U) - word(D)), (A + Ut + U, word(X, A) + word(F))]
    passed = word(A, V, Vt, V) - word(X, A, V) - (word(F, V) - word(A, D, V))
    yield from vanish("above: next error F", rewrite(passed, above))
    gram = word(A, V, Vt, At) - word(X, A, At) - (word(F, At) - word(A, D, At))
    yield from vanish("above: next power", rewrite(gram, above))
    below: list[Any] = [(Ut + U, word(V, Vt) + word(D)), (V + Vt + B, word(B, Y) + word(F))]
    passed = word(U, Ut, U, B) - word(U, B, Y) - (word(U, F) + word(U, D, B))
    yield from vanish("below: next error F", rewrite(passed, below))
    gram = word(Bt, Ut, U, B) - word(Bt, B, Y) - (word(Bt, F) + word(Bt, D, B))
    yield from vanish("below: next power", rewrite(gram, below))
    b, power, delta, k = sp.symbols("b power delta k")  # power = b^k
    error = (k - 1) * power * delta
    yield equal("|F|", b * error + b * power * delta, error.subs({k: k + 1, power: b * power}, simultaneous=True))
    added = error * power + power**2 * delta
    yield equal("error of A A^T added", added, k * power**2 * delta)
    total = k * (k - 1) / 2 * (power / b) ** 2 * delta
    grown = total.subs({k: k + 1, power: b * power}, simultaneous=True)
    yield equal("|A A^T - X^k|", b**2 * total + added, sp.expand(grown))


def _sizes(small_imbalance: bool) -> Checks:
    """x = |X|: x^N <= |W W^T| + error <= 4 + b^(2N)/(256 N), b^2 <= x + N delta <= x (1 + 1/(128 N^2)) if x >= 1."""
    y, z = sp.symbols("y z")
    one_more = sp.expand((1 - z) - (1 + y) * (1 - z - y))
    yield equal("(1+y)^n <= 1/(1-ny), one factor more", one_more, y**2 + y * z)
    times, box = 1 if small_imbalance else _MUCH, {nu: _NU, c2: _UNIT}
    delta = times * 2 * c2 * nu**3 / 256
    chain, halves = sp.cancel(delta / nu), sp.expand(sp.cancel(delta / nu * (1 / nu - 1) / 2))
    yield equal("N delta", chain, times * c2 * nu**2 / 128)
    yield equal("delta N (N-1)/2", halves, times * c2 * nu * (1 - nu) / 256)
    yield nonnegative("N delta <= 1/(128 N^2)", sp.expand(nu**2 / 128 - chain), box)
    yield nonnegative("delta N (N-1)/2 <= c^2/(256 N)", sp.expand(c2 * nu / 256 - halves), box)
    room = 1 - nu / 128  # b^(2N) <= x^N/room
    yield nonnegative("b^(2N) <= 4.1", sp.expand(_GROWTH * (room - nu / 256) - 4), {nu: _NU})
    yield nonnegative("b^(2N) <= 4.1 if x < 1", sp.expand(_GROWTH * room - 1), {nu: _NU})
    yield coefficients_nonnegative("b^N <= 81/40", _ROOT**2 - _GROWTH)


def _margin(has_margin: bool) -> Checks:
    """X^N >= W W^T - error >= c^2 (1 - p), p = 4.1/(256 N); A A^T >= X^(N-1) - error >= kappa (1 - 2p)."""
    more = sp.Symbol("more")
    p = _GROWTH * nu / 256  # 4.1 delta N (N-1)/2 <= p c^2
    least = c2 + more if has_margin else sp.Symbol("least")  # smallest eigenvalue of W W^T
    yield equal("X^N is above c^2 (1 - p) by", sp.expand((least - c2 * p) - c2 * (1 - p)), more)
    yield equal("p kappa is above p c^2 by", sp.expand(p * (c2 + more) - p * c2), p * more)  # kappa = c^2 + more
    yield equal("A A^T >=", kappa * (1 - p) - kappa * p, kappa * (1 - 2 * p))
    fewer = (1 - nu) - (1 - nu) * (1 - 2 * nu)  # N (N-1) less (N-1)(N-2), over N^2
    yield equal("errors of N - 1 layers are smaller by", sp.expand(fewer), 2 * nu * (1 - nu))


def _gradients(one_loss: bool) -> Checks:
    """One layer's share of H E, a sum of positive operators; |E - lr H E|^2 <= |E|^2 - 2 lr (1 - lr|H|/2) <E, H E>."""
    A, U, B, E, G = matrices("A U B E G")
    pull = gradient(trace(E.T @ A @ U @ B), "U") if one_loss else G
    moved = derive(A @ U @ B, {"U": flow_rate(U, pull, 0)})
    yield from vanish("share of one layer", moved + A @ A.T @ E @ B.T @ B)
    share = trace(E.T @ A @ A.T @ E @ B.T @ B)
    yield from vanish("<E, share> is a square", share - trace((A.T @ E @ B.T).T @ (A.T @ E @ B.T)))
    H = Words({(("H", False),): sp.S.One})
    step = E - lr * (H @ E)
    square = trace(step.T @ step) - trace(E.T @ E) - lr**2 * trace((H @ E).T @ (H @ E))
    symmetric: list[Any] = [((("H", True),), H)]
    yield from vanish("|E - lr H E|^2", trace(rewrite(square + 2 * lr * trace(E.T @ H @ E), symmetric)))
    z = sp.Symbol("z")
    yield equal("sqrt(1 - z) <= 1 - z/2", (1 - z / 2) ** 2 - (1 - z), z**2 / 4)


def _one_step(small_rate: bool) -> Checks:
    """|E'|/|E| <= 1 - lr h (1 - lr |H|/2) + |R|/|E|, |R| <= b^N (N y)^2/(1 - N y), y = lr b^(N-1) |E|, |E| <= 1."""
    rate = _rate(small_rate)
    turn = sp.cancel(rate * _GROWTH / nu / 2)  # lr |H|/2, |H| <= N b^(2N-2)
    small = sp.cancel(rate * _ROOT / nu)  # N y
    loss = sp.cancel(_ROOT * (_ROOT * rate / nu) ** 2 / (rate * kappa))  # |R| (1 - N y)/(lr kappa |E|)
    least = 1 - 2 * _GROWTH * nu / 256  # h/kappa
    share = u * c2 * (1 if small_rate else _MUCH) / 6144
    yield equal("lr |H|/2", turn, _GROWTH * share * kappa * nu**2 / 2)
    yield equal("N y", small, _ROOT * share * kappa * nu**2)
    yield equal("second order", loss, _ROOT**3 * share * nu)
    box = {nu: _NU, c2: _UNIT, kappa: _UNIT, u: _UNIT}
    inside = least * (1 - turn) - _SHARE
    yield nonnegative("N y <= 1/2", sp.expand(Q(1, 2) - small), box)
    yield nonnegative("|E'| <= (1 - 0.98 lr kappa) |E|", sp.expand(inside * (1 - small) - loss), box)
    z = sp.expand(rate * kappa)
    yield nonnegative("l' <= (1 - 1.9 lr kappa) l", sp.expand((1 - _RATE * z) - (1 - _SHARE * z) ** 2), box)


def _rate(small_rate: bool) -> sp.Expr:
    """lr = u times the largest one the theorem allows."""
    return u * c2 * kappa * nu**3 / 6144 * (1 if small_rate else _MUCH)


def _balance_stays(small_rate: bool) -> Checks:
    """D' = D + lr^2 (G^T G - G G^T) (D32): in all <= 4.1 * 4 lr^2 sum l <= 4.1 * 4 lr l(0)/(1.9 kappa), l(0) <= 1/2."""
    total = sp.cancel(4 * _GROWTH * _rate(small_rate) / (2 * _RATE * kappa))
    yield equal("all the growth", total, Q(2 * 41, 19) * _rate(small_rate) / kappa)
    yield nonnegative("less than delta_0", sp.expand(c2 * nu**3 / 256 - total), {nu: _NU, c2: _UNIT, u: _UNIT})
    ratio, first = sp.symbols("ratio first")
    rest = first / (1 - ratio)
    yield zero("geometric sum: its first term and the rest", rest - first - ratio * rest)
