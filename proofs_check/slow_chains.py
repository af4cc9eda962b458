"""Proofs that deep chains of scalar layers start slowly, from random and from nearly equal layers."""

from functools import partial

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.inequalities import nonnegative
from proofs_check.layers import Checks, over_layers, pull_of, wi, wj
from proofs_check.layers import other as rest
from proofs_check.registry import claim as _claim
from proofs_check.systems import flow_rate, half_square, sgd_step
from sdetheory.predictions import slow_chains as predicted
from sdetheory.predictions.slow_chains import depth, largest_rest, lr, mean_size, move, slope_bound, twice_spread

claim = partial(
    _claim,
    where={
        "independent": "layers start independently",
        "bounded_slope": "|f'(W)| is at most G for |W| <= 1",
        "small_layers": "E|w| + move is below 1",
        "small_spread": "no imbalance exceeds d, below 1/2",
        "small_rate": "GD from layers near 1: lr is at most d/8",
    },
)


@claim(
    "D62",
    "deep scalar chains need exponentially many steps in the depth: (move/(lr G)) rho^(-(k-1)/2) from random layers "
    "with E|w| + move = rho < 1; (d/2) (2d)^(-k/2)/lr from layers near 1 to change the sign of W",
    "every depth; GD, any f with bounded slope, any law of layers with E|w| < 1; GD and flow on (W + 1)^2/2 for layers "
    "near 1",
    "Shamir 2019, theorems 2 and 3, with constants of a direct proof",
    given=["Markov's inequality; the union of k + 1 events"],
)
def exponential_time(
    independent: bool = True,
    bounded_slope: bool = True,
    small_layers: bool = True,
    small_spread: bool = True,
    small_rate: bool = True,
) -> Checks:
    """No layer moves far for long; the products are small by Markov; crossing zero takes long."""
    yield from _no_layer_moves(bounded_slope)
    yield from _small_products(independent, small_layers)
    yield from _crossing(small_spread)
    yield from _crossing_by_steps(small_rate)


def _no_layer_moves(bounded_slope: bool) -> Checks:
    """|w(n) - w(0)| <= n lr G M: one step more; with all layers within `move`, the others' product k is <= M."""
    steps, slope, slack, k, inside, size, more = sp.symbols("steps slope slack k inside size more")
    pushed = wi - sgd_step(wi, pull_of(slope, wi), lr, 0)
    yield equal("one step moves w_i by", pushed, lr * slope * wj * rest)
    largest = slope + slack if bounded_slope else slope - slack
    left = lr * largest * (k + inside) - lr * slope * k
    yield equal("less than lr G M by", sp.expand(left), lr * (slope * inside + slack * k + slack * inside))
    bound = lr * slope_bound * largest_rest
    yield equal("after one step more", steps * bound + bound, (steps + 1) * bound)
    yield equal("one factor more: grows by", (k + more) * (size + inside) - k * size, more * size + (k + more) * inside)
    yield obeys("steps", predicted.still_steps, lambda f: [f.value * bound - move])


def _small_products(independent: bool, small_layers: bool) -> Checks:
    """E prod (|w| + move) = rho^n; P(> b) <= rho^n/b with b = rho^((k-1)/2); unit variance makes E|w| <= 1."""
    mean, product, covariance, root = sp.symbols("mean product covariance root")
    crossed = sp.S.Zero if independent else covariance
    yield equal("one independent factor more", product * mean_size + crossed, product * mean_size)
    size, square = sp.symbols("size square")
    poly = sp.Poly((size - 1) ** 2 / 2, size)
    averaged = sum(c * {0: 1, 1: mean, 2: square}[n] for (n,), c in poly.terms())
    yield equal("1 - E|w| = E(|w| - 1)^2/2", averaged.subs(square, 1), 1 - mean)
    # root = rho^((k-1)/2): the bound b; k events of probability rho^(k-1)/b and one of rho^k/b <= rho^(k-1)/b
    x = sp.Symbol("x")
    rho = 1 / (1 + x) if small_layers else 1 + x
    yield equal("rho = 1/(1 + x) is below 1 by", 1 - rho, x * rho)
    yield equal("two layers more multiply the steps by 1 + x", 1 / rho, 1 + x)
    total = depth * root**2 / root + root**2 / root

    def residual(f: Face) -> list[sp.Expr]:
        letter = f.reader.form(mean_size ** (depth / 2 - sp.Rational(1, 2))).expr
        return [f.value - total.subs(root, letter)]

    yield obeys("probability", predicted.slow_start_failure, residual)
    yield obeys(
        "steps at that M",
        predicted.slow_start_steps,
        lambda f: [f.value - f.companions[0]],
        companions=[predicted.still_steps.at(largest_rest=mean_size ** ((depth - 1) / 2))],
    )


def _crossing(small_spread: bool) -> Checks:
    """m = min w^2 falls from d to 0 at rate 2 W (1 + W) <= 4 W, W^2 = prod(m + gap_i) <= (2d)^k."""
    W, below, slack = sp.symbols("W below slack")
    w = sp.Symbol("w")
    pull = sp.diff(half_square(W + 1), W)
    rate = over_layers(2 * w * flow_rate(w, pull * W / w, 0), w, {0: 1})
    yield equal("dm/dt", rate, -2 * W * (1 + W))
    yield equal("below 4 W by, W <= 1", 4 * W + rate, 2 * W * (1 - W))
    d = twice_spread / 2
    m, gap = d - below, d - slack if small_spread else d + slack
    yield equal("m + gap is below 2d by", 2 * d - m - gap, below + slack)

    def residual(f: Face) -> list[sp.Expr]:
        inverse = f.reader.form(twice_spread ** (-depth / 2)).expr  # (2d)^(-k/2)
        return [4 * f.value - twice_spread / 2 * inverse]

    yield obeys("time", predicted.crossing_time, residual)


def _crossing_by_steps(small_rate: bool) -> Checks:
    """Until all w^2 <= 2d the smallest is above d: imbalances shrink (D9), no w^2 loses more than 4 lr in a step.

    So all are at least d/2 when all are at most 2d, and then a step moves a layer by at most 2 lr (2d)^((k-1)/2).
    """
    w, W, slope, less, u = sp.symbols("w W slope less u")  # slope = 1 + W = 2 - less
    after = sgd_step(w, slope * W / w, lr, 0) ** 2
    yield equal("a square after one step", sp.expand(after), w**2 - 2 * lr * slope * W + (lr * slope * W / w) ** 2)
    lost = (2 * lr * slope * W).subs(slope, 2 - less)
    yield equal("loses less than 4 lr by", sp.expand(4 * lr - lost), 2 * lr * (less * W + 2 * (1 - W)))
    d, rate = twice_spread / 2, u * twice_spread / 16
    box = {u: (0, 1) if small_rate else (0, 8)}
    push = 2 * rate / d  # lr g W/(w_i w_j) <= 2 lr/d
    yield equal("push", push, u / 4)
    yield nonnegative("imbalances keep their sign and shrink", 1 - push**2, box)
    left = sp.expand((d - 4 * rate) / d)
    yield equal("left of d", left, 1 - u / 2)
    yield nonnegative("at least a half", sp.expand(left - sp.Rational(1, 2)), box)

    def residual(f: Face) -> list[sp.Expr]:
        root, inverse = (f.reader.form(power).expr for power in (sp.sqrt(twice_spread), twice_spread ** (-depth / 2)))
        moved = 2 * lr / (root * inverse)  # 2 lr (2d)^((k-1)/2)
        return [f.value * moved - root / 2]  # sqrt(d/2)

    yield obeys("steps to cross", predicted.crossing_steps, residual)
