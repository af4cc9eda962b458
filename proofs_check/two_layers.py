"""Proofs about two layers solved exactly: scalars, matrices balanced up to a multiple of the identity, one
neuron.
"""

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.field import Derivation
from proofs_check.judge import given, zero
from proofs_check.layers import Checks, claim
from proofs_check.systems import flow_rate
from proofs_check.vectors import Gram, letters
from proofs_check.words import IDENTITY, Words, derive, matrices, rewrite, vanish
from sdetheory.predictions import deep_linear
from sdetheory.predictions import two_layers as predicted
from sdetheory.predictions.two_layers import (
    clock,
    clock_rate,
    imbalance,
    lr_in,
    lr_out,
    t,
    two_layer_target,
)

HALF = sp.Rational(1, 2)
_first, _second, y_ = sp.symbols("first second y")
_EXPLICIT = "explicit 2 x 2 example"


def _flow(conserved: bool = True) -> Derivation:
    """Gradient flow of (1/2)(w_1 w_2 - s)^2; without conservation, weight decay on the first layer."""
    loss = systems.square_loss(_first * _second, two_layer_target) / 2
    decay = sp.S.Zero if conserved else sp.Symbol("decay")
    return Derivation({w: flow_rate(w, sp.diff(loss, w), decay) for w in (_first, _second)})


@claim(
    "D40",
    "two scalar layers solved from any start; y = w_1/w_2 has y' = s - lam y - s y^2, a = w_1 w_2 in closed form",
    "every start, sign and imbalance lam = w_2^2 - w_1^2, 0 included; a' = sqrt(lam^2 + 4 a^2)(s - a)",
    "Fukumizu 1998; Braun et al. 2022; the form without singularity at lam = 0 is derived",
    given=["an ODE with a smooth right side has one solution from a start"],
)
def riccati_mode(conserved: bool = True, initial: bool = True) -> Checks:
    """The product and the sum of squares have the rates of the flow, and its start; so they are the flow."""
    s, D, lam = two_layer_target, _flow(conserved), imbalance
    modulo = given([_second**2 - _first**2 - lam], {_first: 2, _second: 3, lam: 5}) if conserved else ()
    yield zero("lam is conserved", D(_second**2 - _first**2))
    y = _first / _second
    yield equal("Riccati", D(y), s - lam * y - s * y**2, modulo)
    speed = (D(_first * _second) / (s - _first * _second)) ** 2
    yield equal("a'^2", speed, lam**2 + 4 * (_first * _second) ** 2, modulo)
    start = predicted.strength0 if initial else sp.Symbol("other_start")
    product, squares = predicted.two_layer_product, predicted.two_layer_squares

    def of_product(f: Face) -> list[sp.Expr]:
        return [tick(f.value) - f.companions[0] * (s - f.value), f.at(**zero_time) - start]

    def of_squares(f: Face) -> list[sp.Expr]:
        a = f.companions[0]
        return [tick(f.value) - 4 * a * (s - a), f.power(2, **zero_time) - lam**2 - 4 * start**2]

    square = lam**2 + 4 * s**2  # K^2
    tick = Derivation({clock: clock_rate, clock_rate: -square * clock * clock_rate / 2})
    ticking = given([clock_rate - 1 + square * clock**2 / 4], {lam: 0, s: 1, clock: HALF, clock_rate: 3 * HALF**2})
    zero_time = {"clock": 0, "clock_rate": 1}
    yield equal("a'", D(_first * _second), (_first**2 + _second**2) * (s - _first * _second))
    yield equal("(w_1^2 + w_2^2)'", D(_first**2 + _second**2), 4 * _first * _second * (s - _first * _second))
    yield obeys("product", product, of_product, ticking, [squares.expr])
    yield obeys("squares", squares, of_squares, ticking, [product.expr])
    yield obeys(
        "clock",
        predicted.two_layer_clock,
        lambda f: [f.rate(t) - f.companions[0], f.at(t=0)],
        companions=[predicted.two_layer_clock_rate.expr],
    )
    yield obeys(
        "its rate",
        predicted.two_layer_clock_rate,
        lambda f: [f.value - 1 + square * f.companions[0] ** 2 / 4],
        companions=[predicted.two_layer_clock.expr],
    )
    yield obeys(
        "ratio",
        predicted.two_layer_ratio,
        lambda f: [tick(f.value) - s + lam * f.value + s * f.value**2, f.at(**zero_time) - predicted.ratio0],
        ticking,
    )
    gap = sp.discriminant(s - lam * y_ - s * y_**2, y_)
    yield obeys("rate", predicted.two_layer_rate, lambda f: [f.power(2) - gap])
    yield from _balanced(product.expr)


def _balanced(product: sp.Expr) -> Checks:
    """At lam = 0, a_0 > 0 and s > 0 the roots are 2 a_0 and 2 s, and the product is the sigmoid of D37."""
    s, a0, faded = two_layer_target, predicted.strength0, sp.Symbol("E")
    at = product.subs(imbalance, 0).subs(sp.sqrt(a0**2), a0)
    time = {clock: (1 - faded) / (s * (1 + faded)), clock_rate: 4 * faded / (1 + faded) ** 2}
    sigmoid = deep_linear.mode_strength.expr.subs(sp.exp(-2 * s * t), faded)
    yield equal("lam = 0: the sigmoid of D37", at.subs(time), sigmoid)


@claim(
    "D41",
    "two matrix layers with W_2^T W_2 - W_1 W_1^T = lam I: Q Q^T = X R (I + R^T J R/2)^-1 R^T X solves the flow",
    "any widths and any Y; X = e^(Ft), J = (e^(2Ft) - 1)/F: no inverse of F, no rank condition",
    "Fukumizu 1998; Braun et al. 2022; Domine et al. 2025; J in place of F^-1 is derived",
    given=["an ODE with a smooth right side has one solution from a start"],
    latex=r"QQ^\top(t)=e^{Ft}R\,[I+\tfrac12R^\top J(t)R]^{-1}R^\top e^{Ft},\quad J=(e^{2Ft}-1)F^{-1}",
    where={
        "identity_balance": "W_2^T W_2 - W_1 W_1^T is a multiple of the identity",
        "whitened": "the inputs have covariance I",
    },
)
def matrix_riccati(identity_balance: bool = True, whitened: bool = True) -> Checks:
    """The blocks of Q Q^T obey P' = F P + P F - P^2; so does the closed form, with P = R R^T at t = 0."""
    W1, W2, Y, C = matrices("W1 W2 Y C")
    inputs = IDENTITY if whitened else C
    error = (Y - W2 @ W1) @ inputs
    table = {"W1": W2.T @ error, "W2": error @ W1.T}
    lam = Words({(): imbalance})
    rules = [((("W2", True), ("W2", False)), W1 @ W1.T + lam)] if identity_balance else []
    Q, F = [W1.T, W2], [[-HALF * lam, Y.T], [Y, HALF * lam]]
    P = [[a @ b.T for b in Q] for a in Q]
    for i in range(2):
        for j in range(2):
            claimed = Words()
            for k in range(2):
                claimed = claimed + F[i][k] @ P[k][j] + P[i][k] @ F[k][j] - P[i][k] @ P[k][j]
            yield from vanish(f"block {i + 1}{j + 1}", rewrite(derive(P[i][j], table) - claimed, rules))
    yield from _closed_form()
    yield from _explicit_blocks(identity_balance)


def _closed_form() -> Checks:
    """X' = F X, J' = 2 X X, K = (I + R^T J R/2)^-1: P = X R K R^T X has P' = F P + P F - P P."""
    X, F, J, R, K = matrices("X F J R K")
    rates = {"X": F @ X, "J": 2 * (X @ X)}
    inverse = derive(HALF * (R.T @ J @ R), rates)
    rates["K"] = -(K @ inverse @ K)
    P = X @ R @ K @ R.T @ X
    symmetric = [((name, True), (name, False)) for name in ("X", "F", "K", "J")]
    commute = [((("X", False), ("F", False)), F @ X)]
    gap = _turned(derive(P, rates) - (F @ P + P @ F - P @ P), dict(symmetric))
    yield from vanish("closed form", rewrite(gap, commute))
    start = {"X": IDENTITY, "K": IDENTITY}
    yield from vanish("start", _substituted(P, start) - R @ R.T)


def _turned(words: Words, symmetric: dict[tuple[str, bool], tuple[str, bool]]) -> Words:
    """The same words with symmetric letters untransposed."""
    out = Words()
    for word, coefficient in words.items():
        out = out + Words({tuple(symmetric.get(k, k) for k in word): coefficient})
    return out


def _substituted(words: Words, table: dict[str, Words]) -> Words:
    """Letters replaced by words."""
    return rewrite(words, [(((name, False),), new) for name, new in table.items()])


def _explicit_blocks(identity_balance: bool) -> Checks:
    """The same equation entry by entry, at a rational start with lam = 3 and an arbitrary Y."""
    turn = sp.Matrix([[3, 4], [-4, 3]]) / 5
    W1, W2 = sp.diag(1, HALF / 2) * turn, turn.T * sp.diag(2, sp.Rational(7, 4) if identity_balance else 1)
    Y, lam = _square("y"), sp.Integer(3)
    layers = _square("u"), _square("v")
    loss = systems.network_loss(layers, sp.eye(2), Y)
    table = {x: -sp.diff(loss, x) for layer in layers for x in layer}
    at = dict(zip([*layers[0], *layers[1]], [*W1, *W2], strict=True))
    Q = sp.Matrix.vstack(layers[0].T, layers[1])
    rate = (Q * Q.T).applyfunc(lambda e: sum(sp.diff(e, x) * r for x, r in table.items())).subs(at)
    F = sp.Matrix(sp.BlockMatrix([[-lam / 2 * sp.eye(2), Y.T], [Y, lam / 2 * sp.eye(2)]]))
    P = (Q * Q.T).subs(at)
    for gap in (rate - (F * P + P * F - P * P)).upper_triangular():
        yield zero(_EXPLICIT, sp.expand(gap))


def _square(name: str) -> sp.Matrix:
    """A 2 x 2 matrix of symbols."""
    return sp.Matrix(2, 2, sp.symbols(f"{name}:4"))


@claim(
    "D42",
    "one neuron a <w, x>: beta = a w has beta' = -M grad, M with eigenvalue kappa along beta, (kappa+delta)/2 across",
    "any input dimension, any differentiable loss, any two learning rates; delta = lr_in a^2 - lr_out |w|^2",
    "Kunin et al. 2024",
    where={"one_neuron": "a and w see the same gradient of one loss of beta = a w"},
)
def neuron(one_neuron: bool = True) -> Checks:
    """<u, beta'> for an arbitrary u; kappa = lr_in a^2 + lr_out |w|^2 is positive and has the stated square."""
    a, size, pull = (sp.Symbol(name) for name in ("a", "|w|^2", "<w,grad>"))
    w, g, u = letters("w g u")
    dot = Gram(w_w=size, g_w=pull)
    other = pull if one_neuron else sp.Symbol("<w,other>")
    rate_a, rate_w = -lr_out * other, -lr_in * a * g  # dl/da = <w, grad>, dl/dw = a grad
    delta, beta_square = lr_in * a**2 - lr_out * size, a**2 * size
    yield zero("delta is conserved", 2 * lr_in * a * rate_a - lr_out * 2 * dot(w, rate_w))
    moved = dot(u, rate_a * w + a * rate_w)
    along, across = lr_in * a**2 + lr_out * size, lr_in * a**2
    yield obeys("kappa", predicted.neuron_kernel_along, lambda f: [f.power(2, **_of(delta, beta_square)) - along**2])
    yield obeys(
        "across",
        predicted.neuron_kernel_across,
        lambda f: [sp.expand((2 * across - delta) ** 2 - _squared_root(f, delta, beta_square))],
    )
    M = across * dot(u, g) + (along - across) * dot(u, a * w) * (a * pull) / beta_square
    yield equal("beta' = -M grad", moved, -M)


def _of(delta: sp.Expr, beta_square: sp.Expr) -> dict[str, sp.Expr]:
    return {"balance": delta, "squared_weight": beta_square}


def _squared_root(f: Face, delta: sp.Expr, beta_square: sp.Expr) -> sp.Expr:
    """(2 value - balance)^2 of the formula at this state: the square of its root."""
    moved = f.expr.subs({sp.Symbol(k): v for k, v in _of(delta, beta_square).items()}, simultaneous=True)
    return f.reader.form(sp.expand((2 * moved - delta) ** 2)).expr
