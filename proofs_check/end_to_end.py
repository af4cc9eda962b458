"""Proofs about the end to end matrix of balanced layers: its flow, its singular values, its loss.

Products of layers are words: A the layers above, B those below the one or two layers at hand. Every depth is
one induction: with X = W_N W_N^T and A ending (on the right) in the layer U, A U^T U = X A and A A^T = X^k.
"""

import itertools
from collections.abc import Sequence
from functools import partial

import sympy as sp

from proofs_check.against import Residuals, equal, obeys
from proofs_check.face import Face
from proofs_check.inequalities import coefficients_nonnegative
from proofs_check.judge import given, zero
from proofs_check.layers import Checks
from proofs_check.registry import claim as _claim
from proofs_check.systems import flow_rate
from proofs_check.words import Word, Words, derive, gradient, matrices, rewrite, trace, vanish
from sdetheory.predictions import end_to_end as predicted
from sdetheory.predictions.end_to_end import depth, mode_slope, other_strength, smallest, strength

Q = sp.Rational
ROOTS = "a positive semi-definite matrix has one positive semi-definite N-th root"
SPECTRAL = "singular value decomposition; tr of a product in an orthonormal basis"
claim = partial(
    _claim,
    where={
        "balanced": "neighbouring layers are exactly balanced, W_{j+1}^T W_{j+1} = W_j W_j^T",
        "one_loss": "all layers follow the gradient of one differentiable loss of W",
        "unit_vectors": "singular vectors have norm 1 at all times",
        "square": "W is square: no singular vector is left without a singular value",
        "smallest_value": "no singular value is below the one named",
    },
)
_U, _V, _A, _B, _X, _Y = (((name, False),) for name in "UVABXY")
_Ut, _Vt, _At, _Bt = (((name, True),) for name in "UVAB")
Rules = list[tuple[Word, Words]]


def word(*letters: Word) -> Words:
    """The product of letters."""
    return Words({sum(letters, ()): sp.S.One})


def from_above(balanced: bool) -> tuple[Rules, Words, Words]:
    """One layer V more below A, which ends in U: A V (V^T V) - X A V and A V (A V)^T - X A A^T."""
    rules = [(_V + _Vt, word(_Ut, _U)), (_A + _Ut + _U, word(_X, _A))] if balanced else []
    return rules, word(_A, _V, _Vt, _V) - word(_X, _A, _V), word(_A, _V, _Vt, _At) - word(_X, _A, _At)


def from_below(balanced: bool) -> tuple[Rules, Words, Words]:
    """One layer U more above B, which begins with V: (U U^T) U B - U B Y and (U B)^T U B - B^T B Y."""
    rules = [(_Ut + _U, word(_V, _Vt)), (_V + _Vt + _B, word(_B, _Y))] if balanced else []
    return rules, word(_U, _Ut, _U, _B) - word(_U, _B, _Y), word(_Bt, _Ut, _U, _B) - word(_Bt, _B, _Y)


def induction(balanced: bool) -> Checks:
    """A A^T = (W_N W_N^T)^k and B^T B = (W_1^T W_1)^k for products of k layers, from k to k + 1."""
    for side, build in (("above", from_above), ("below", from_below)):
        rules, passes, gram = build(balanced)
        yield from vanish(f"{side}: passes to the end", rewrite(passes, rules))
        yield from vanish(f"{side}: next power", rewrite(gram, rules))


def rotation(cosine: sp.Rational, sine: sp.Rational) -> sp.Matrix:
    """A rational rotation of the plane."""
    return sp.Matrix([[cosine, -sine], [sine, cosine]])


_FRAMES = (rotation(Q(3, 5), Q(4, 5)), rotation(Q(5, 13), Q(12, 13)), rotation(Q(8, 17), Q(15, 17)),
           rotation(Q(7, 25), Q(24, 25)))  # fmt: skip


def balanced_layers(roots: Sequence[sp.Expr], frames: Sequence[sp.Matrix], wide: bool) -> list[sp.Matrix]:
    """W_j = F_j diag(roots) F_{j-1}^T, exactly balanced; with `wide` the input has one dimension more."""
    middle = sp.diag(*roots)
    layers = [b * middle * a.T for a, b in itertools.pairwise(frames)]
    if wide:
        layers[0] = layers[0].row_join(sp.zeros(layers[0].rows, 1))
    return layers


def _product(layers: Sequence[sp.Matrix], size: int) -> sp.Matrix:
    whole = sp.eye(size)
    for layer in layers:
        whole = layer * whole
    return whole


def explicit_rule(count: int, balanced: bool, wide: bool) -> list[sp.Expr]:
    """Entries of the rule for `count` layers of size 2, from the layers and from the powers of W W^T."""
    a, b = sp.symbols("a b")
    frames = _FRAMES[: count + 1]
    layers = balanced_layers((a, b), frames, wide)
    if not balanced:
        layers[0] = 2 * layers[0]
    inputs = layers[0].cols
    E = sp.Matrix(2, inputs, [1, 3, -2, 5, 7, 4][: 2 * inputs])
    found, claimed = sp.zeros(2, inputs), sp.zeros(2, inputs)
    top, bottom = frames[-1], sp.diag(frames[0], 1) if wide else frames[0]
    for j in range(count):
        above, below = _product(layers[j + 1 :], 2), _product(layers[:j], inputs)
        found += above * (above.T * E * below.T) * below
        powers = sp.diag(a, b) ** (2 * (count - 1 - j)), sp.diag(a, b) ** (2 * j)
        right = sp.diag(powers[1], sp.S.One if j == 0 else sp.S.Zero) if wide else powers[1]
        claimed += top * powers[0] * top.T * E * bottom * right * bottom.T
    return list(found - claimed)


@claim(
    "D33",
    "balanced layers move W by the end to end rule dW/dt = -sum_j (WW^T)^((N-j)/N) dl/dW (W^TW)^((j-1)/N)",
    "every depth, any widths, any differentiable loss; entries checked for 3 layers 2 x 2 and 2 layers 2 x 3",
    "Arora, Cohen, Hazan 2018, theorem 1",
    latex=r"\dot W=-\sum_{j=1}^N(WW^\top)^{\frac{N-j}N}\,\nabla l(W)\,(W^\top W)^{\frac{j-1}N}",
    given=[ROOTS],
)
def end_to_end_rule(balanced: bool = True, one_loss: bool = True) -> Checks:
    """One layer's share of dW/dt; powers of the Gram matrices by induction; the geometric sum of a mode."""
    A, U, B, E, G = matrices("A U B E G")
    pull = gradient(trace(E.T @ A @ U @ B), "U") if one_loss else G
    moved = derive(A @ U @ B, {"U": flow_rate(U, pull, 0)})
    yield from vanish("share of one layer", moved + A @ A.T @ E @ B.T @ B)
    yield from induction(balanced)
    for count, wide in ((3, False), (2, True)):
        for entry in explicit_rule(count, balanced, wide):
            yield zero(f"entries, {count} layers", entry)
    yield from _geometric_sum()


def _geometric_sum() -> Checks:
    """sum_j p^(N-j) q^(j-1) = (p^N - q^N)/(p - q), from N to N + 1, and p^N = sigma_r^2."""
    p, q, p_n, q_n = sp.symbols("p q p_n q_n")
    total = (p_n - q_n) / (p - q)
    yield zero("one layer more", p * total + q_n - (p * p_n - q * q_n) / (p - q))

    def residual(f: Face) -> list[sp.Expr]:
        p, q = (f.reader.form(s ** (2 / depth)).expr for s in (strength, other_strength))
        return [f.value * (p - q) - (strength**2 - other_strength**2)]

    yield obeys("speed of a mode", predicted.end_to_end_speed, residual)


@claim(
    "D34",
    "balanced layers: d sigma_r/dt = -N sigma_r^(2 - 2/N) <dl/dW, u_r v_r^T>",
    "every real depth, any widths, any differentiable loss; simple singular values",
    "Arora, Cohen, Hu, Luo 2019, theorem 3",
    given=["simple singular values and their vectors are differentiable along the flow"],
)
def singular_values(balanced: bool = True, unit_vectors: bool = True) -> Checks:
    """d(u^T W v), with u^T (WW^T)^a = c u^T and (W^TW)^b v = d v; c d = p^(N-1) = sigma^2/p for each of N
    layers.
    """
    u, v, W, du, dv, P, Q_, E = matrices("u v W du dv P Q E")
    sigma, c, d, p = sp.symbols("sigma c d p")
    rate = -1 * (P @ E @ Q_) if balanced else matrices("R")[0]
    moved = derive(u.T @ W @ v, {"u": du, "v": dv, "W": rate})
    rules: Rules = [
        ((("W", False), ("v", False)), sigma * u),
        ((("u", True), ("W", False)), sigma * v.T),
        ((("u", True), ("P", False)), c * u.T),
        ((("Q", False), ("v", False)), d * v),
    ]
    if unit_vectors:
        rules += [((("du", True), ("u", False)), Words()), ((("v", True), ("dv", False)), Words())]
    yield from vanish("share of one layer", rewrite(moved, rules) + (c * d) * (u.T @ E @ v))
    yield zero("the layer below: c/p and d p", (c / p) * (d * p) - c * d)

    def summed(f: Face) -> list[sp.Expr]:
        inverse = f.reader.form(strength ** (-2 / depth)).expr  # 1/p
        return [f.value - depth * strength**2 * inverse]

    yield obeys("N equal shares", predicted.singular_value_speed, summed)
    yield obeys(
        "rate",
        predicted.singular_value_rate,
        lambda f: [f.value + f.companions[0] * mode_slope],
        companions=[predicted.singular_value_speed.expr],
    )
    yield from _balanced_speed_is_the_limit()


def _balanced_speed_is_the_limit() -> Checks:
    """Two equal strengths: the share p^(N-j) q^(j-1) at q = p does not depend on j."""
    p, share = sp.symbols("p share")
    modulo = given([share * p - strength**2], {share: 2, p: 2, strength: 2}, [p])
    yield zero("N shares of p^(N-1)", depth * share - depth * strength**2 / p, modulo)


@claim(
    "D35",
    "balanced layers, l = |W - Phi|^2/2: -dl/dt >= 2 N sigma_min^(2-2/N) l for square W, 2 sigma_min^(2-2/N) l "
    "for any shape",
    "every depth, any hidden widths, any target; without the factor N when W is not square",
    "derived; the flow behind Arora, Cohen, Golowich, Hu 2019",
    given=[SPECTRAL],
)
def loss_decay(balanced: bool = True, square: bool = True, smallest_value: bool = True) -> Checks:
    """-dl/dt = sum over modes of speed times E_rs^2; every factor of every share is at least p_min."""
    P, E, Q_ = matrices("P E Q")
    rate = -1 * (P @ E @ Q_) if balanced else matrices("R")[0]
    moved = trace(derive(Q(1, 2) * (E.T @ E), {"E": rate}))
    yield from vanish("share of one layer", moved + trace(E.T @ P @ E @ Q_))
    least, more, m, x, y = sp.symbols("least more m x y")
    sign = 1 if smallest_value else -1
    grown = (least + more) * (m + sign * x) - least * m
    yield equal("one factor more: grows by", grown, more * m + (least + more) * x)
    for count in (2, 3, 4):
        p, q = m + x, m + y if square else sp.S.Zero
        speed = sum(p ** (count - j) * q ** (j - 1) for j in range(1, count + 1))
        excess = sp.expand(speed - count * m ** (count - 1))
        yield coefficients_nonnegative(f"speed of a mode, {count} layers", excess)
        yield zero(f"slowest mode, {count} layers", excess.subs({x: 0, y: 0}))
        alone = sp.expand(p ** (count - 1) - m ** (count - 1))  # q = 0: the first share alone
        yield coefficients_nonnegative(f"mode of one side, {count} layers", alone)
        yield zero(f"slowest mode of one side, {count} layers", alone.subs(x, 0))

    def residual(count: sp.Expr) -> Residuals:
        return lambda f: [f.value - 2 * count * smallest**2 * f.reader.form(smallest ** (-2 / depth)).expr]

    yield obeys("square", predicted.loss_decay_rate, residual(depth))
    yield obeys("any shape", predicted.loss_decay_rate_any_shape, residual(sp.S.One))
