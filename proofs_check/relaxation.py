"""Proofs about relaxation to rotational equilibrium: SGD, momentum, AdamW and Lion, Adam with L2."""

from collections.abc import Sequence
from dataclasses import replace

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.field import Derivation
from proofs_check.judge import zero
from proofs_check.normalised import HALF, SMD, Checks, claim, g, norm_map, product, w
from proofs_check.rotation import KOSSON, at_rest, keep, leading
from proofs_check.systems import R, coupled_step, rescaled_growth, sgd_step
from proofs_check.vectors import Gram, letters
from sdetheory.predictions import Prediction, Quantity, intrinsic_lr
from sdetheory.predictions import rotational_equilibrium as theory
from sdetheory.predictions.intrinsic_lr import lr, trace, unit_squared_gradient, weight_decay
from sdetheory.predictions.rotational_equilibrium import beta2, dimension, momentum, multiplier

_v, _size = sp.symbols("v size")  # mean of |gradient|^2, and the size of an entry: size^2 = v/d


@claim(
    "I40",
    "|w|^2 relaxes at 2 lr wd under AdamW and Lion, gamma at 4 lr wd under SGD; also momentum, Adam, memory",
    "any dimension; exact multipliers of second moments; rates to first order in lr wd, averages as an ODE",
    KOSSON + "; " + SMD,
    given=["gradients of different steps are independent"],
)
def relaxation(rescaled: bool = True, homogeneous: bool = True, forgetting: bool = True) -> Checks:
    """Slopes of the maps of the second moments, and of the mean squared gradient, at their fixed point."""
    growth = sp.Symbol("growth") if rescaled else norm_map() - keep**2 * R
    slow = sp.diff(keep**2 * R + growth, R)  # the law of a rescaled update does not depend on |w|
    yield obeys("AdamW, Lion", theory.rescaled_relaxation_multiplier, lambda f: [f.value - slow])
    rate = product * leading(1 - slow)
    yield obeys("their rate", theory.rescaled_relaxation_rate, lambda f: [f.value - rate])
    sgd = norm_map() if homogeneous else keep**2 * R + lr**2 * unit_squared_gradient
    star = {unit_squared_gradient: R**2 * (1 - keep**2) / lr**2}
    yield equal("SGD", product * leading(1 - sp.diff(sgd, R).subs(star)), intrinsic_lr.relaxation_rate)
    yield from _with_momentum()
    yield from _with_memory(forgetting)


def _with_momentum() -> Checks:
    """The map of (E|w|^2, the same a step before, E<w, w before>) under heavy ball."""
    A, old, cross, G, x = sp.symbols("A A_old C G x")
    (before,) = letters("b")
    E = Gram(w_w=A, b_w=cross, b_b=old, g_g=G, g_w=0, b_g=0)
    after = sgd_step(w, g, lr, weight_decay) + momentum * (w - before)
    norm, pair = (sp.expand(E(after, y)) for y in (after, w))
    rest = at_rest([norm.subs(old, A) - A, pair - cross], (cross, G))
    following = sp.Matrix([norm.subs(G, unit_squared_gradient / A), A, pair])
    slopes = following.jacobian([A, old, cross]).subs(unit_squared_gradient, rest[G] * A)
    determinant = (slopes - multiplier * sp.eye(3)).det(method="berkowitz")
    yield obeys("momentum", theory.momentum_relaxation_polynomial, lambda f: [f.value - determinant])
    near = theory.momentum_relaxation_polynomial.at(weight_decay=x / lr)

    def first_order(f: Face) -> list[sp.Expr]:
        moved = near.subs(multiplier, 1 - f.at(weight_decay=x / lr))
        return [moved.subs(x, 0), sp.diff(moved, x).subs(x, 0)]

    yield obeys("its rate", theory.momentum_relaxation_rate, first_order)


def _with_memory(forgetting: bool) -> Checks:
    """dR/dt = lr^2 d (s/R)/v - decay, dv/dt = (1 - beta2)(s/R - v): gradients like 1/|w|, s on the sphere.

    The decay is 2 lr wd R (AdamW) or, divided by the size of an entry, 2 lr wd R/size (Adam with L2).
    """
    growth, dot = rescaled_growth(trace / R, _v, dimension, lr), Gram(w_w=R, g_g=trace / R, g_w=0)
    decoupled, coupled = 2 * product * R, 2 * product * R / _size
    x, after = sp.Symbol("x"), coupled_step(w, g, _size, lr, weight_decay)  # x: lr wd, for the first order
    change = (dot(after, after) - R).subs(weight_decay, x / lr)
    yield equal("growth of Adam", change.subs(x, 0).subs(_size**2, _v / dimension), growth)
    yield equal("decay of Adam's |w|^2", -product * sp.diff(sp.expand(change), x).subs(x, 0), coupled)
    rest = {R: sp.solve(growth.subs(_v, trace / R) - decoupled, R)[0]}
    rate = sp.Symbol("rate")
    polynomial = sp.cancel(_determinant((growth - decoupled, _recall(forgetting)), rate).subs(rest))
    yield obeys(
        "AdamW with memory",
        theory.adamw_relaxation_rate,
        lambda f: [
            polynomial.subs(rate, f.value),
            f.at(beta2=1, lr=1, weight_decay=1),  # the slow one of the two: nothing is forgotten
        ],
    )
    yield from _adam(growth, coupled, forgetting)


def _recall(forgetting: bool) -> sp.Expr:
    return (1 - beta2) * (trace / R - _v) if forgetting else sp.S.Zero


def _determinant(drift: Sequence[sp.Expr], rate: sp.Expr) -> sp.Expr:
    """det(slopes + rate) at v = s/R: zero where e^(-rate t) is a deviation."""
    by = Derivation({R: 1}), Derivation({_v: 1, _size: _size / (2 * _v)})
    slopes = sp.Matrix(2, 2, lambda i, j: by[j](drift[i])).subs(_v, trace / R)
    return (slopes + rate * sp.eye(2)).det(method="berkowitz")


def _adam(growth: sp.Expr, coupled: sp.Expr, forgetting: bool) -> Checks:
    """Norm, intrinsic lr, turn and rates at v = s/R; every positive argument is rational in p = sqrt(s d),
    q = |w|_*, the weight decay and lambda_e = lr wd/size.
    """
    p, q, decay, intrinsic = sp.symbols("p q decay lambda_e", positive=True)
    d = intrinsic * p**2 / (2 * decay**2 * q**4)
    all_positive = {"trace": p**2 / d, "dimension": d, "lr": 2 * decay * q**3 / p, "weight_decay": decay}
    at = {sp.Symbol(name): value for name, value in all_positive.items()} | {_v: p**2 / d / R}
    rest = {R: q**2, _size: p / (d * q)}  # size^2 = v/d
    yield zero("size^2 = v/d", rest[_size] ** 2 - at[_v].subs(rest) / d)
    yield zero("growth balances decay", (growth - coupled).subs(at).subs(at).subs(rest))
    yield obeys("norm of Adam", theory.adam_equilibrium_squared_norm, lambda f: [f.at(**all_positive) - q**2])
    yield zero("lambda_e", (product / _size).subs(at).subs(rest) - intrinsic)
    yield obeys("decay of Adam", theory.adam_intrinsic_lr, lambda f: [f.at(**all_positive) - intrinsic])
    cosine = theory.ema_turn_cosine.at(weight_decay=intrinsic / lr)
    yield obeys("turn of Adam", theory.adam_turn_cosine, lambda f: [f.at(**all_positive) - cosine])
    along = Derivation({R: 1, _size: -_size / (2 * R), _v: -_v / R})
    slope = along(growth - coupled).subs(at).subs(at).subs(rest)
    yield obeys("Adam, short memory", theory.adam_relaxation_rate, lambda f: [f.at(**all_positive) + slope])
    rate = sp.Symbol("rate")
    drift = growth - coupled, _recall(forgetting)
    polynomial = sp.cancel(_determinant(drift, rate).subs(at).subs(at).subs(rest))
    per_product = {"size": intrinsic / product}
    yield obeys(
        "Adam with memory",
        _with_size(theory.adam_memory_relaxation_rate),
        lambda f: [polynomial.subs(rate, f.at(**per_product)), f.at(beta2=1, size=1 / product)],
    )


def _with_size(prediction: Prediction) -> Prediction:
    """The prediction with its intrinsic lr written lr wd size: the root in it as an argument."""
    (root,) = (x for x in theory.adam_intrinsic_lr.expr.args if x.is_Pow and x.exp == HALF)
    two, size = sp.cbrt(2), Quantity("size", "1", "lambda_e over lr wd")
    expr = prediction.expr.subs(root, two * size.symbol)
    return replace(prediction, expr=expr, quantities=(*prediction.quantities, size))
