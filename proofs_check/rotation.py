"""Proofs about rotational equilibrium: norm and turn under heavy ball, Nesterov and averaged updates.

Second moments of independent gradients close: they obey linear equations, whose stationary solution is exact.
"""

from collections.abc import Sequence

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.normalised import SMD, Checks, claim, g, product, w
from proofs_check.systems import average, momentum_step, nesterov_step, rescaled_step
from proofs_check.vectors import Gram, letters
from sdetheory.predictions import Prediction, intrinsic_lr, rotational_equilibrium
from sdetheory.predictions.intrinsic_lr import lr, weight_decay
from sdetheory.predictions.rotational_equilibrium import beta1, dimension, momentum, update_square

KOSSON = "Kosson, Messmer, Jaggi 2024"
_A, _C, _B, _G = sp.symbols("A C B G")  # E|w|^2, E<w, buffer>, E|buffer|^2, E|g|^2
keep = 1 - product


def at_rest(balances: Sequence[sp.Expr], unknowns: Sequence[sp.Symbol]) -> dict[sp.Symbol, sp.Expr]:
    """The solution of balances that are linear in the unknown moments."""
    (found,) = sp.linsolve(balances, *unknowns)
    return dict(zip(unknowns, map(sp.factor, found), strict=True))


@claim(
    "I37",
    "momentum: cos of the turn 1 - lr wd/(1 + alpha) for heavy ball, and its norm; both for Nesterov as well",
    "any dimension, finite steps, second moments of the stationary law",
    SMD + "; exact form",
    given=["the second moments of the stationary law are finite"],
)
def momentum_equilibrium(past_tangent: bool = True, stationary: bool = True) -> Checks:
    """Second moments of w and the buffer v, whose next values are linear in w, v and the gradient."""
    (v,) = letters("v")
    E = Gram(w_w=_A, v_w=_C, v_v=_B, g_g=_G, g_w=0, **({"g_v": 0} if past_tangent else {}))
    moving = sp.S.Zero if stationary else sp.Symbol("change")
    for step, norm, cosine in (
        (momentum_step, intrinsic_lr.momentum_equilibrium_squared_norm, intrinsic_lr.momentum_turn_cosine),
        (
            nesterov_step,
            rotational_equilibrium.nesterov_equilibrium_squared_norm,
            rotational_equilibrium.nesterov_turn_cosine,
        ),
    ):
        after, buffer = step(w, v, g, lr, weight_decay, momentum)
        pairs = ((after, after, _A + moving), (after, buffer, _C), (buffer, buffer, _B))
        rest = at_rest([sp.expand(E(x, y) - was) for x, y, was in pairs], (_A, _C, _B))
        turn = sp.cancel((E(after, w) / _A).subs(rest))
        yield from _norm_and_cosine(norm, cosine, rest[_A], turn)


def _norm_and_cosine(norm: Prediction, cosine: Prediction, found: sp.Expr, turn: sp.Expr) -> Checks:
    """Against E|w|^2 in units of E|g|^2, which is the unit squared gradient over E|w|^2."""
    yield obeys("cosine", cosine, lambda f: [f.value - turn])
    yield obeys("norm", norm, lambda f: [f.power(2, unit_squared_gradient=_G * found) - found**2])


@claim(
    "I38",
    "averaged updates (AdamW): the norm, E<w,u>, cos = (a + b)/(1 + a b); the sine is lr |u across w|/|w|",
    "any dimension, finite steps, a = 1 - lr wd; AdamW with the squared gradient known",
    KOSSON + "; exact form",
    given=["the second moments of the stationary law are finite"],
)
def averaged_update(fresh_noise: bool = True, stationary: bool = True) -> Checks:
    """w' = a w - lr u, u' = b u + xi, E|u|^2 = U^2: second moments A = E|w|^2 and C = E<w, u>.

    lr U/|w| itself is larger than the sine: its square is (1 - a^2)(1 - a b)/(1 + a b).
    """
    theory, (u, xi) = rotational_equilibrium, letters("u xi")
    moving = sp.S.Zero if stationary else sp.Symbol("change")
    fresh = {"u_xi": 0, "w_xi": 0} if fresh_noise else {}
    E = Gram(w_w=_A, u_w=_C, u_u=update_square, **fresh)
    after, following = rescaled_step(w, u, lr, weight_decay), beta1 * u + xi
    balances = [E(after, after) - _A - moving, E(after, following) - _C]
    rest = at_rest(list(map(sp.expand, balances)), (_A, _C))
    norm, alignment = rest[_A], rest[_C]
    yield obeys("norm", theory.ema_equilibrium_squared_norm, lambda f: [f.value - norm])
    yield obeys("E<w,u>", theory.ema_alignment, lambda f: [f.value - alignment])
    cosine = sp.cancel((E(after, w) / _A).subs(rest))
    yield obeys("cosine", theory.ema_turn_cosine, lambda f: [f.value - cosine])
    across = update_square - alignment**2 / norm  # E|u|^2 without its part along w
    yield obeys(
        "step, squared",
        theory.ema_effective_step,
        lambda f: [f.power(2) - lr**2 * across / norm, f.power(2) + cosine**2 - 1],
    )
    whole = (1 - keep**2) * (1 - keep * beta1) / (1 + keep * beta1)
    yield equal("step of the whole u, squared", lr**2 * update_square / norm, whole)
    unit = Gram(u_u=update_square, g_g=dimension, g_u=0)  # E g_i^2 = 1 after division by its root
    averaged = average(u, g, beta1)
    size = at_rest([unit(averaged, averaged) - update_square], (update_square,))[update_square]
    yield obeys("U^2 of AdamW", theory.adamw_update_square, lambda f: [f.value - size])
    adamw = norm.subs(update_square, size)
    yield obeys("norm of AdamW", theory.adamw_equilibrium_squared_norm, lambda f: [f.value - adamw])
    sine = leading(lr**2 * size / adamw)
    yield obeys("turn of AdamW, squared", theory.adamw_rotation, lambda f: [f.power(2) - product * sine])


def leading(expr: sp.Expr) -> sp.Expr:
    """The coefficient of lr wd in an expression that vanishes with it."""
    x = sp.Symbol("x")
    return sp.cancel(sp.together(expr.subs(weight_decay, x / lr) / x)).subs(x, 0)
