"""Proofs about chains of scalar layers: flatness against imbalance, the flow in one dimension, escape times."""

from collections.abc import Callable

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.field import Derivation
from proofs_check.inequalities import coefficients_nonnegative, nonnegative
from proofs_check.judge import given, zero
from proofs_check.layers import Checks, chain, claim, other, over_layers, pull_of, wi, wj
from proofs_check.roots import one_root
from proofs_check.systems import flow_rate
from sdetheory.predictions import scalar_chains as predicted
from sdetheory.predictions import two_layers
from sdetheory.predictions.deep_linear import weight_decay
from sdetheory.predictions.scalar_chains import (
    common_square,
    depth,
    slope,
    strength,
    strength0,
    target,
)
from sdetheory.predictions.scalar_chains import end_to_end as W
from sdetheory.predictions.scalar_chains import inverse_squares as S

Q = sp.Rational


@claim(
    "D5",
    "the imbalance does not order minima by sharpness: of two minima the more unbalanced one can be flatter",
    "every depth from 3 on, every D > 0: one small layer is sharper than one large layer; exact pairs; D6 replaces it",
    "derived",
    where={"three_layers": "there are at least three layers"},
)
def no_order(three_layers: bool = True) -> Checks:
    """All layers but one have square x, the last x^(1-d): sharp for x > 1 (one small layer), flat for x < 1.

    Layers 1 lie between the smallest and the largest, so that they change no imbalance and add 2 to both.
    """
    x = common_square
    sharp, uneven = predicted.sharpness_of_equal_layers, predicted.imbalance_of_equal_layers
    others = (depth - 1) * 2 / x
    yield obeys("sharpness", sharp, lambda f: [f.value - others - 2 * f.reader.form(x ** (depth - 1)).expr])
    yield obeys("imbalance", uneven, lambda f: [f.value - x + f.reader.form(x ** (1 - depth)).expr])
    yield from _at_every_imbalance(three_layers)
    n, large = (3, Q(37, 50)) if three_layers else (2, Q(1, 2))
    values = [p.at(common_square=c, depth=n) for p in (uneven, sharp) for c in (Q(3, 2), large)]
    yield coefficients_nonnegative("one large layer: more unbalanced", -values[1] - values[0])
    yield coefficients_nonnegative("yet flatter", values[2] - values[3])
    known = Q(19, 18), -Q(74347, 68450), Q(43, 6), Q(300653, 46250)
    names = "imbalance, small", "imbalance, large", "sharpness, small", "sharpness, large"
    for name, value, wanted in zip(names, values, known, strict=True):
        yield equal(name, value, wanted)
    yield from _cubic_pair()


def _at_every_imbalance(three_layers: bool) -> Checks:
    """With D = +-(x - x^(1-d)), dS/dD = D h(x) on both sides of x = 1, and h rises in x: S is larger on the
    side x > 1 (one small layer) at every D.
    """
    x, power, more = common_square, sp.Symbol("x^d"), sp.Symbol("more")
    D = Derivation({x: 1, power: depth * power / x})
    gap, total = x - x / power, power / x + (depth - 1) / x
    h = (depth - 1) * power**2 / (x**3 * (power + depth - 1))
    yield equal("dS/dD", D(total) / D(gap), gap * h)
    yield equal("dD/dx > 0", D(gap), 1 + (depth - 1) / power)
    rises = ((depth - 3) * power + (2 * depth - 3) * (depth - 1)) / (power + depth - 1)
    yield equal("x h'/h", x * D(h) / h, rises)
    yield coefficients_nonnegative("h rises", rises.subs(depth, 3 + more if three_layers else 2))


def _cubic_pair() -> Checks:
    """Squares (a, a+1, a+1), imbalance 1, and (b, b, b+6/5), imbalance 6/5: their cubics, their sharpness."""
    a, b = sp.symbols("a b")
    first, second = (a, a + 1, a + 1), (b, b, b + Q(6, 5))
    box = {a: (Q(465, 1000), Q(466, 1000)), b: (Q(72, 100), Q(73, 100))}
    yield one_root("a", sp.prod(first) - 1, (0, 2), box[a])
    yield one_root("b", sp.prod(second) - 1, (0, 2), box[b])
    for squares, x, bound, sign in ((first, a, Q(702, 100), 1), (second, b, Q(66, 10), -1)):
        sharpness = over_layers_of(squares)
        gap = sp.expand(sp.cancel(sign * (sharpness - bound) * sp.prod(squares)))
        yield nonnegative(f"sharpness {'above' if sign > 0 else 'below'} {bound}", gap, {x: box[x]})


def over_layers_of(squares: tuple[sp.Expr, ...]) -> sp.Expr:
    """2 S of given squares: the sharpness on W = 1."""
    return 2 * sp.Add(*(1 / z for z in squares))


def flow_of(whole: sp.Expr, loss_slope: sp.Expr, sums: dict[int, sp.Expr]) -> sp.Expr:
    """dW/dt of the end to end product under gradient flow of its layers, through power sums of the layers."""
    w = sp.Symbol("w")
    return over_layers(whole / w * flow_rate(w, loss_slope * whole / w, 0), w, sums)


@claim(
    "D43",
    "the flow of a scalar chain is one-dimensional: z_i = m + gap_i, W^2 = P(m), dm/dt = -2 W l'(W)",
    "every depth, any differentiable loss; dW/dt = -P'(m) l'(W)",
    "derived; Arora, Cohen, Hazan 2018 for equal layers",
)
def reduction(same_slope: bool = True, no_decay: bool = True) -> Checks:
    """Each z_i has the rate of m; P'/P = sum 1/z_i = S, so that P'(m) = W^2 S, and 2 W dW = P'(m) dm."""
    decay = sp.S.Zero if no_decay else weight_decay
    slopes = {wi: slope, wj: slope if same_slope else sp.Symbol("other_slope")}
    flow = Derivation({w: flow_rate(w, pull_of(g, w), decay) for w, g in slopes.items()})
    for w in (wi, wj):
        yield equal(f"d{w}^2/dt", flow(w**2), predicted.smallest_square_rate, chain())
    m, z = sp.symbols("m z")
    rest = sp.Symbol("rest")  # product of the other m + gap_k
    growth = Derivation({m: 1, z: 1, rest: rest * (S - 1 / z)})
    yield equal("P'(m)", growth(z * rest), W**2 * S, given([z * rest - W**2], {z: 4, rest: 1, W: 2}))
    yield equal("dW/dt", flow_of(W, slope, {-2: S}), predicted.end_to_end_rate)
    speed = W**2 * S * predicted.smallest_square_rate.expr
    yield zero("d(W^2) = P' dm", 2 * W * predicted.end_to_end_rate.expr - speed)


@claim(
    "D44",
    "near a minimum of (1/2)(W-s)^2 the flow has the rate s^2 S = sharpness >= d s^(2 - 2/d): flat is slow",
    "every depth; equality iff balanced; two layers: sqrt(D^2 + 4 s^2); far from it the kernel P'(m) rises with m",
    "derived",
    given=["the non-zero eigenvalue of n n^T is |n|^2", "D17: S >= d W^(-2/d), equality iff balanced"],
)
def local_speed(minimum: bool = True, balanced: bool = True) -> Checks:
    """The derivative of dW/dt at W = s, the Hessian there, and both at the balanced minimum."""
    at = {W: target} if minimum else {}
    loss = systems.square_loss(W, target) / 2
    rate = -sp.diff(flow_of(W, sp.diff(loss, W), {-2: S}), W).subs(at)
    yield obeys("rate", predicted.local_rate, lambda f: [f.value - rate])
    hessian = sp.diff(systems.square_loss(wi * wj * other, target) / 2, wi, wj)
    modulo = chain((W - target,) if minimum else (), {target: 30})
    yield equal("H_ij w_i w_j", wi * wj * hessian, target**2, modulo)
    w = sp.Symbol("w")
    yield equal("eigenvalue", over_layers(target**2 / w**2, w, {-2: S}), predicted.local_rate)

    def slowest(f: Face) -> list[sp.Expr]:
        inverse = f.reader.form(target ** (-2 / depth)).expr  # 1/w_k^2 of balanced layers
        return [f.value - rate.subs(S, depth * inverse if balanced else S)]

    yield obeys("balanced", predicted.slowest_local_rate, slowest)
    pairs = predicted.inverse_pairs
    growth = Derivation({W: W * S / 2, S: -(S**2 - 2 * pairs)})  # d/dm: W^2 = P, sum z^-2 = S^2 - 2 e_2
    yield equal("P''(m)", growth(W**2 * S), predicted.kernel_growth)
    s, D = two_layers.two_layer_target, two_layers.imbalance
    of_two = predicted.local_rate.at(target=s, inverse_squares=wi**-2 + wj**-2)
    yield obeys(
        "two layers",
        two_layers.two_layer_local_rate,
        lambda f: [f.power(2, imbalance=wi**2 - wj**2) - of_two**2],
        given([wi * wj - s], {wi: 2, wj: 3, s: 6, D: 5}),
    )


@claim(
    "D39",
    "a balanced mode of depth d > 2 grows from a_0 to a in tau(a_0) - tau(a) + r, 0 <= r <= a^(2/d)/(2s(s-a))",
    "every real depth > 2 and every a_0 < a < s; so time/tau(a_0) -> 1 as a_0 -> 0; exact at d = 2, 4, infinity",
    "Saxe, McClelland, Ganguli 2014; the remainder is derived",
    given=["an integral is monotone in its integrand"],
    where={"growing": "the mode grows towards its end value a, below the target"},
)
def escape(balanced: bool = True, growing: bool = True) -> Checks:
    """dt/da = 1/(da/dt) lies between -tau'(a) and -tau'(a) + (excess)'; q = a^(2/d), dq/da = 2 q/(d a)."""
    (a, s), (end, x, v) = (strength, target), sp.symbols("end x v")

    def letters(f: Face, name: sp.Symbol) -> tuple[Derivation, sp.Expr]:
        """d/da and dt/da."""
        q = f.reader.form(name ** (2 / depth)).expr
        slope_now = sp.diff(systems.square_loss(name, s) / 2, name)
        rate = flow_of(name, slope_now, {-2: depth / q if balanced else S})
        return Derivation({name: 1, q: 2 * q / (depth * name)}), 1 / rate

    def below(f: Face) -> list[sp.Expr]:
        d, pace = letters(f, strength0)
        return [-d(f.value) - pace * (s - strength0) / s]

    def above(f: Face) -> list[sp.Expr]:
        d, pace = letters(f, a)
        return [d(f.value * (s - a)) - pace * a * (s - a) / s]  # the end value is fixed

    yield obeys("-tau' is dt/da less its part a/s", predicted.escape_time, below)
    yield obeys("a/s of dt/da, with s - a at the end", predicted.escape_time_excess, above)
    nearer = (end - a) / ((s - end) * (s - a))
    yield equal("1/(s - end) - 1/(s - a)", 1 / (s - end) - 1 / (s - a), nearer)
    ends = {s: a + x + v, end: a + x} if growing else {s: a + v, end: a - x}
    yield coefficients_nonnegative("s - a is smallest at the end", nearer.subs(ends))
    yield coefficients_nonnegative("both parts are >= 0", (a / s).subs(s, a + v))
    slope_now = sp.diff(systems.square_loss(a, s) / 2, a)
    pace = 1 / flow_of(a, slope_now, {-2: 2 / a if balanced else S})
    yield obeys("two layers", predicted.two_layer_growth_time, _time(lambda f: pace))
    square = sp.sqrt(a)  # of each of four layers
    quarter = 1 / flow_of(a, slope_now, {-2: 4 / sp.Symbol("q")})
    yield obeys(
        "four layers",
        predicted.four_layer_growth_time,
        _time(lambda f: quarter.subs(sp.Symbol("q"), f.reader.form(square).expr)),
    )
    limit = 1 / flow_of(a, slope_now, {-2: 1})  # times the depth: all squares a^(2/d) tend to 1
    yield obeys("many layers", predicted.deep_growth_time, _time(lambda f: limit))


def _time(pace: Callable[[Face], sp.Expr]) -> Callable[[Face], list[sp.Expr]]:
    """Residuals of a time to grow: its rate in the end value, 0 at the start."""
    return lambda f: [f.rate(strength) - pace(f), f.at(strength=strength0)]
