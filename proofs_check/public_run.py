"""Proof of the public run of two scalar layers: where GD ends, enclosed, and how fast batches balance it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flint
import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.judge import Undecided, Verdict, given
from proofs_check.layers import Checks
from proofs_check.registry import claim as _claim
from proofs_check.systems import sgd_step
from sdetheory.predictions import Prediction, deep_linear
from sdetheory.predictions import public_run as predicted
from sdetheory.predictions.public_run import (
    batch,
    curvature,
    imbalance,
    lr,
    residual_variance,
    samples,
    size,
    slope_variance,
    two_layer_target,
)

claim = partial(
    _claim,
    where={
        "stated_rate": "the learning rate is 1/10",
        "minimum": "W = b/a",
        "stationary": "the second moment of W - b/a does not change",
        "without_replacement": "the samples of a batch are distinct",
    },
)
_BITS, _STEPS = 256, 200
w1, w2 = sp.symbols("w1 w2")
W, squares = w1 * w2, w1**2 + w2**2
a, s = curvature, two_layer_target


def _slope(product: sp.Expr) -> sp.Expr:
    """dl/dW of a (W - s)^2."""
    return sp.diff(a * (sp.Symbol("P") - s) ** 2, sp.Symbol("P")).subs(sp.Symbol("P"), product)


@claim(
    "D31",
    "the public run: GD ends at sharpness 6.10688116, imbalance -2.763861; batches of 95 bring it to -0.3273 in 10^5 "
    "steps",
    "GD: enclosed for all later steps, exact data. Batches: rate for the linearised step with W stationary",
    "Schneider, Dangel, Hennig 2021, Cockpit; Ginsburg 2020",
    given=["the data are those of the stated seed"],
)
def public_run(
    stated_rate: bool = True, minimum: bool = True, stationary: bool = True, without_replacement: bool = True
) -> Checks:
    """200 steps in balls, then a contraction; the sharpness; the rate of batches, integrated; one step exactly."""
    saved, flint.ctx.prec = flint.ctx.prec, _BITS
    try:
        verdicts = list(_enclosed(stated_rate))
    finally:
        flint.ctx.prec = saved
    yield from verdicts
    yield from _sharpness(minimum)
    yield from _sampling(without_replacement)
    yield from _rate(stationary)
    yield from _integrated()
    yield from _one_step()


def _one_step() -> Checks:
    """W' - s and D' after one step of GD: what the enclosure of all later steps uses."""
    g = _slope(W)
    n1, n2 = sgd_step(w1, g * w2, lr, 0), sgd_step(w2, g * w1, lr, 0)
    yield equal("W' - s", n1 * n2 - s, (W - s) * _factor(lr, a, squares, W, s))
    after = deep_linear.scalar_imbalance_step.at(weight_decay=0, slope=g, rest=1, imbalance=w1**2 - w2**2)
    yield equal("D'", n1**2 - n2**2, sp.expand(after))


def _factor(step: Any, a: Any, squares: Any, product: Any, target: Any) -> Any:
    """What one step of GD multiplies W - s by."""
    return 1 - 2 * step * a * squares + 4 * (step * a) ** 2 * product * (product - target)


def _sharpness(minimum: bool) -> Checks:
    """The Hessian of a (W - s)^2 at W = s is 2 a (w2, w1)(w2, w1)^T: eigenvalue 2 a (w1^2 + w2^2)."""
    loss = a * (W - s) ** 2
    modulo = given([W - s] if minimum else [], {w1: 2, w2: 3, s: 6})
    yield equal("determinant", sp.hessian(loss, (w1, w2)).det(), 0, modulo)
    found = sp.hessian(loss, (w1, w2)).trace()
    yield obeys(
        "sharpness",
        predicted.quadratic_sharpness,
        lambda f: [f.power(2, imbalance=w1**2 - w2**2) - found**2],
        modulo,
    )


def _rate(stationary: bool) -> Checks:
    """e' = (1 - 2 lr a q) e - lr q n of e = W - s, slope 2 a e + n with Var n = V; D9: rate lr^2 E slope^2."""
    moment, q = sp.symbols("moment q")  # E e^2; q = w1^2 + w2^2 at the minimum
    after = (1 - 2 * lr * a * q) ** 2 * moment + (lr * q) ** 2 * slope_variance
    balance = sp.cancel(sp.expand(after - moment) / (lr * q))
    example = {lr: 1, q: 1, a: sp.Rational(1, 2), moment: 1, slope_variance: 1}
    relations = [balance] if stationary else []
    square = 4 * a**2 * moment + slope_variance
    d, target = sp.symbols("d target")
    modulo = given(relations, example, [lr, q, a])
    yield obeys(
        "rate",
        predicted.batch_imbalance_rate,
        lambda f: [f.at(imbalance=d, two_layer_target=target).subs(_letter_of(f, d, target), q) - lr**2 * square],
        modulo,
    )


def _letter_of(face: Any, d: sp.Symbol, target: sp.Symbol) -> sp.Symbol:
    """The letter of sqrt(d^2 + 4 target^2): q, the positive root."""
    return face.reader.form(sp.sqrt(d**2 + 4 * target**2)).expr


def _sampling(without_replacement: bool) -> Checks:
    """n v + n (n-1) cov = 0 because the sum over all samples is fixed; s^2 = n v/(n-1); slope = 2 (a_B W - b_B)."""
    v, cov = sp.symbols("v cov")
    mean = (batch * v + batch * (batch - 1) * (cov if without_replacement else 0)) / batch**2
    relations = [v + (samples - 1) * cov, residual_variance * (samples - 1) - samples * v]
    example = {samples: 2, v: 1, cov: -1, residual_variance: 2, batch: 1}
    modulo = given(relations, example, [batch, samples, samples - 1])
    yield equal("variance of a batch", 4 * mean, predicted.slope_variance_without_replacement, modulo)


def _integrated() -> Checks:
    """dk/dD = -1/(rate D), where w_1^2 + w_2^2 = D sqrt(1 + (2 s/D)^2); its origin by the value at D = s."""
    origin = a * s * (sp.sqrt(5) - 2 * sp.asinh(2)) / (lr * slope_variance)

    def residual(f: Face) -> list[sp.Expr]:
        total = size * f.reader.form(sp.sqrt((2 * s / size) ** 2 + 1)).expr
        at = predicted.batch_imbalance_rate.expr.subs(sp.sqrt(imbalance**2 + 4 * s**2), total)
        return [f.rate(size) * size * at + 1, f.at(size=s) - f.reader.form(origin).expr]

    yield obeys("clock", predicted.batch_imbalance_clock, residual)


def _exact(value: Any) -> Any:
    """A float as a rational."""
    top, bottom = float(value).as_integer_ratio()
    return flint.fmpq(top, bottom)


def _in_balls(prediction: Prediction, values: Mapping[str, Any]) -> Any:
    """A prediction at balls."""
    functions = {"sqrt": lambda x: x.sqrt(), "log": lambda x: x.log(), "asinh": lambda x: x.asinh()}
    names = list(values)
    return sp.lambdify([sp.Symbol(n) for n in names], prediction.expr, modules=[functions])(*values.values())


def _inside(label: str, value: Any, low: str, high: str) -> Verdict:
    """low < value < high for a ball; refuted where the ball excludes it."""
    below, above = (flint.arb(bound) for bound in (low, high))
    kind = f"enclosed: Arb, {_STEPS} steps and a contraction"
    if value > below and value < above:
        return Verdict(label, True, kind)
    if value < below or value > above:
        return Verdict(label, False, kind, witness={label: f"{value.str(8)} is not in [{low}, {high}]"})
    raise Undecided(f"{label}: {value}")


def _enclosed(stated_rate: bool) -> Checks:
    """Where GD ends, for ever, and where batches bring the imbalance from there."""
    x, y = ([_exact(v) for v in column] for column in predicted.public_data())
    n = len(x)
    mean_xx, mean_xy = sum(v * v for v in x) / n, sum(p * q for p, q in zip(x, y, strict=True)) / n
    target = mean_xy / mean_xx
    step = flint.fmpq(1, 10) if stated_rate else flint.fmpq(1, 20)
    last = _descended(flint.arb(mean_xx), flint.arb(target), flint.arb(step))
    D = _limit(last, flint.arb(mean_xx), flint.arb(target), flint.arb(step))
    ends = {"curvature": flint.arb(mean_xx), "two_layer_target": flint.arb(target)}
    sharpness = _in_balls(predicted.quadratic_sharpness, {**ends, "imbalance": D})
    yield _inside("sharpness of GD", sharpness, "6.106881159", "6.106881160")
    yield _inside("imbalance of GD", D, "-2.763860966", "-2.763860964")
    residuals = [p * p * target - p * q for p, q in zip(x, y, strict=True)]
    spread = sum(r * r for r in residuals) / (n - 1)  # their mean is 0 at W = b/a
    variance = _in_balls(
        predicted.slope_variance_without_replacement,
        {"residual_variance": flint.arb(spread), "batch": flint.arb(predicted.BATCH), "samples": flint.arb(n)},
    )
    for reached, low, high in (("0.3274", "99000", "100000"), ("0.3273", "100000", "101000")):
        known = {**ends, "lr": flint.arb(step), "slope_variance": variance}
        clock = [
            _in_balls(predicted.batch_imbalance_clock, {**known, "size": at}) for at in (-D, flint.arb(reached))
        ]
        yield _inside(f"steps of batches to |D| = {reached}", clock[1] - clock[0], low, high)


def _descended(a: Any, target: Any, step: Any) -> tuple[Any, Any]:
    """Both layers after GD from the stated start, in balls."""
    first, second = (flint.arb(flint.fmpq(round(10 * w), 10)) for w in predicted.START)
    for _ in range(_STEPS):
        slope = 2 * a * (first * second - target)
        first, second = first - step * slope * second, second - step * slope * first
    return first, second


def _limit(last: tuple[Any, Any], a: Any, target: Any, step: Any) -> Any:
    """The imbalance at every later step: |W - s| shrinks by 4/5 a step, and D loses at most the sum of its losses."""
    first, second = last
    D, near = first**2 - second**2, abs(first * second - target) + flint.arb("1e-40")
    total = (2 * step * a * near) ** 2 * 3  # bounds the sum of (lr g)^2, a geometric series of ratio (4/5)^2
    later = D * (1 - flint.arb(0).union(total))
    W_later = target + flint.arb(-1).union(flint.arb(1)) * near
    squares = (later**2 + 4 * W_later**2).sqrt()
    factor = _factor(step, a, squares, W_later, target)
    if not abs(factor) < flint.arb(flint.fmpq(4, 5)):
        raise Undecided(f"no contraction: {factor}")
    return later
