"""Proofs about the imbalance under plain gradient descent: how much of it is lost, and that some is kept."""

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.field import Derivation
from proofs_check.inequalities import coefficients_nonnegative, nonnegative
from proofs_check.judge import zero
from proofs_check.layers import Checks, claim
from proofs_check.systems import sgd_step
from sdetheory.predictions import descent as predicted
from sdetheory.predictions.descent import distance, gap, lr, widest
from sdetheory.predictions.descent import end_to_end as W

Q = sp.Rational
_w1, _w2, _total = sp.symbols("w_1 w_2 sigma")  # sigma = w_1^2 + w_2^2 = sqrt(D^2 + 4 W^2)
_MEANINGS = {
    "same_slope": "both layers see the same dl/dW (one loss, one batch)",
    "small_step": "the squared step lr^2 g^2 is at most 1/2",
    "half_band": "the start has |W - 1| <= 1/2",
}
_KEPT = "prod(1 - x_t) >= 1 - sum x_t for 0 <= x_t <= 1: induction by (1-a)(1-b) >= 1-a-b"


@claim(
    "D12",
    "GD on two layers: |ln(D_inf/D_0) + lr I| <= C lr^2, I = (integral of g^2 along gradient flow)",
    "every D_0 != 0 and W_0; lr <= 1/(3 sqrt(D_0^2 + 4 max(1, W_0^2))), 1/(4|W_0-1|), |D_0|/(16 (W_0-1)^2); C explicit",
    "derived",
    given=[
        _KEPT,
        "mean value theorem for the integral of h(v, D) = 2 (1-v)/sqrt(D^2 + 4 v^2) over a step in v and in D",
        "|D_t| >= |D_0|/2 for all t: the first t that breaks it has sum x_s <= 8 lr (W_0-1)^2/|D_0| <= 1/2 before it",
    ],
    where=_MEANINGS,
    latex=r"|\ln(D_\infty/D_0)+\eta I|\le C(D_0,W_0)\,\eta^2",
)
def descent_loses(same_slope: bool = True, small_step: bool = True) -> Checks:
    """I(W, D) falls by 4 lr u^2, u = 1 - W, in a step, up to K lr^2 u^2; ln|D| by x = 4 lr^2 u^2, up to x^2;
    W stays between W_0 and 1, and the sum of u^2 is at most 2 (W_0-1)^2/(lr |D_0|).
    """
    u, D = 1 - W, sp.Symbol("D")
    x, y = sp.symbols("x y")
    yield equal("slope of x + x^2 + ln(1-x)", 1 + 2 * x - 1 / (1 - x), x * (1 - 2 * x) / (1 - x))
    small = 1 / (2 + y) if small_step else (1 + y) / (2 + y)
    yield coefficients_nonnegative("-ln(1-x) <= x + x^2", sp.cancel((x * (1 - 2 * x) / (1 - x)).subs(x, small)))
    yield from _step(same_slope, u, D)
    flow = {W: -2 * (W - 1) * _total}  # dW/dt = -g sigma

    def integral(f: Face) -> list[sp.Expr]:
        rate = f.rate(W) * flow[W]
        root = f.reader.form(sp.sqrt(gap**2 + 4 * W**2)).expr
        return [rate.subs(_total, root) + (2 * (W - 1)) ** 2, f.at(end_to_end=1)]

    yield obeys("dI/dt = -g^2 along the flow, I = 0 at W = 1", predicted.descent_imbalance_loss, integral)
    yield from _integrand(D)
    yield from _sums()


def _step(same_slope: bool, u: sp.Expr, D: sp.Symbol) -> Checks:
    """W and D after a step: 1 - W' = u (1 - 2 lr sigma (1 + k)) with |k| = |2 lr u W/sigma| <= lr |u| <= 1/4."""
    of_weights = {"end_to_end": _w1 * _w2, "sigma": _w1**2 + _w2**2, "D": _w1**2 - _w2**2}
    slope = sp.diff(systems.square_loss(W, 1), W).subs(W, _w1 * _w2)
    other = slope if same_slope else sp.Symbol("other_slope")
    first, second = sgd_step(_w1, slope * _w2, lr, 0), sgd_step(_w2, other * _w1, lr, 0)
    rise = 2 * lr * u * _total * (1 + 2 * lr * u * W / _total)
    yield equal("W' - W", first * second - _w1 * _w2, rise, **of_weights)
    yield equal("D'", first**2 - second**2, D * (1 - 4 * lr**2 * u**2), **of_weights)
    yield equal("sigma^2", of_weights["sigma"] ** 2, D**2 + 4 * W**2, **of_weights)
    yield equal("|W|/sigma <= 1/2", (_w1**2 - _w2**2) ** 2, _total**2 - 4 * W**2, **of_weights)
    loss = 2 * u / _total * rise  # h(W) (W' - W)
    yield equal("h(W) (W' - W)", loss, 4 * lr * u**2 + 8 * lr**2 * u**3 * W / _total)
    k, more, room = sp.symbols("k more room")  # lr sigma = 1/(3 + room), |k| <= 1/4: more >= 0 from one end
    factor = 1 - 2 * (1 + k) / (3 + room)
    shrinks = sp.cancel((1 - 1 / (3 + room) - factor).subs(k, more - Q(1, 4)))
    yield coefficients_nonnegative("|1-W'| <= |u| (1 - lr sigma)", shrinks)
    yield coefficients_nonnegative("1 - W' has the sign of u", sp.cancel(factor.subs(k, Q(1, 4) - more)))


def _integrand(D: sp.Symbol) -> Checks:
    """Slopes of h(v, D) = 2 (1-v)/s, s^2 = D^2 + 4 v^2: in v at most 2/|D| + 2|1-v|/D^2, in D at most 2|1-v|/D^2."""
    v, s = sp.symbols("v s")
    h = 2 * (1 - v) / s
    in_v, in_D = Derivation({v: 1, s: 4 * v / s}), Derivation({D: 1, s: D / s})
    yield zero("s^2 along v", in_v(s**2) - sp.diff(D**2 + 4 * v**2, v))
    yield zero("s^2 along D", in_D(s**2) - sp.diff(D**2 + 4 * v**2, D))
    yield equal("-h'", -in_v(h), 2 / s + 8 * v * (1 - v) / s**3)
    yield equal("|v|/s^2 <= 1/(4|D|)", D**2 + 4 * v**2 - 4 * D * v, (D - 2 * v) ** 2)
    yield equal("-dh/dD", -in_D(h), 2 * (1 - v) * D / s**3)


def _sums() -> Checks:
    """|u'| <= |u| (1 - x), x = lr |D_0|/2, so sum u^2 <= u_0^2/(1 - (1-x)^2) <= u_0^2/x; then all bounds together."""
    x, y = sp.symbols("x y")
    yield equal("1/x less the sum", 1 / x - 1 / (1 - (1 - x) ** 2), (1 - x) / (x * (2 - x)))
    yield coefficients_nonnegative("it is >= 0", sp.cancel(((1 - x) / (x * (2 - x))).subs(x, 1 / (1 + y))))
    least, u0 = gap / 2, distance  # |D_t|, |u_t|
    bend = 2 / least + 2 * u0 / least**2  # |dh/dv|
    step = 3 * lr * widest  # |W' - W|/|u|
    per_square = 4 * u0 + bend * (step / lr) ** 2 / 2 + u0**2 * 4 * gap / least**2  # K
    total = u0**2 / (lr * gap / 2)  # sum u^2
    missed = lr * per_square * lr**2 * total  # lr |sum 4 lr u^2 - I|
    second = 4 * lr**2 * u0**2 * (4 * lr**2 * total)  # sum x^2
    yield equal("all together", missed + second, predicted.descent_loss_error)
    yield equal("sum x before |D| halves", 4 * lr**2 * total, 8 * lr * u0**2 / gap)


@claim(
    "D13",
    "plain GD at the adaptive rate 1/(4S) keeps at least the part 1 - 3 (W_0 - 1)^2/5 >= 17/20 of every imbalance",
    "every depth, every start with |W_0 - 1| <= 1/2; two layers at a small constant rate keep half of D_0 (D12)",
    "derived from Ginsburg 2020, theorems 3.1 and 3.2",
    given=[
        _KEPT,
        "D10: |W' - 1| <= (7/8)|W - 1|",
        "D11: every imbalance is multiplied by 1 - (W-1)^2 W^2 r_i r_j/4 with r_i r_j <= 1/4",
    ],
    where=_MEANINGS,
)
def descent_keeps(half_band: bool = True) -> Checks:
    """1 - k <= (9/64)(W-1)^2 <= (9/64)(49/64)^t (W_0-1)^2, a geometric series."""
    a, b, share = sp.symbols("a b share")
    yield equal("induction step", (1 - a) * (1 - b) - (1 - a - b), a * b)
    band = (Q(1, 2), Q(3, 2)) if half_band else (Q(1, 2), 2)
    lost = (W - 1) ** 2 * W**2 * share / 4
    worst = (W - 1) ** 2 * W**2 / 16
    yield equal("1 - k at r_i r_j = 1/4", lost.subs(share, Q(1, 4)), worst)
    yield nonnegative("W^2/16 <= 9/64", Q(9, 64) - W**2 / 16, {W: band})
    series = Q(9, 64) * distance**2 / (1 - Q(7, 8) ** 2)
    yield obeys("kept", predicted.adaptive_imbalance_kept, lambda f: [f.value - 1 + series])
    at_most = predicted.adaptive_imbalance_kept.at(distance=Q(1, 2))
    yield equal("at distance 1/2", at_most, Q(17, 20))
