"""Proofs about weight decay as an exponential learning rate: both roots, phases, where the lr stands."""

from collections.abc import Callable

import flint
import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.inequalities import coefficients_nonnegative, positive
from proofs_check.judge import given, zero
from proofs_check.normalised import HALF, Checks, claim, product
from proofs_check.systems import momentum_step
from proofs_check.vectors import Vector, letters
from sdetheory.predictions import exponential_lr as theory
from sdetheory.predictions import outside_span
from sdetheory.predictions.exponential_lr import (
    lr,
    lr_ratio,
    momentum,
    root,
    steps_per_epoch,
    t,
    weight_decay,
)

LI_ARORA = "Li, Arora 2020, An exponential learning rate schedule"
Q = sp.Rational
_s, _gap = sp.symbols("s gap")  # s^2 = momentum
_root = sp.Symbol("s", positive=True)
_sum = 1 + momentum - product
_quadratic = root**2 - _sum * root + momentum
_EXAMPLE = {root: HALF, momentum: Q(1, 4), lr: 1, weight_decay: Q(1, 4)}
_TWO_ROOTS = given([_quadratic], _EXAMPLE, nonzero=[root, lr])


def _following() -> Vector:
    """w of the next step in w, w before and the gradient: heavy ball, v = (w_before - w)/lr."""
    now, old, gradient = letters("now old gradient")
    return momentum_step(now, (1 / lr) * (old - now), gradient, lr, weight_decay, momentum)[0]


def _gap_of(f: Face, ratio: sp.Expr, scale_invariant: bool) -> Vector:
    """alpha^t times (w~' - w~ - ratio (w~ - w~_before) + lr~ g~) for w~_t = alpha^-t w_t, g~ = alpha^t g."""
    now, old, gradient, other = letters("now old gradient other")
    power = f.companions[0]  # alpha^(-2t)
    push = (f.value / power) * gradient if scale_invariant else f.value * other
    return (1 / root) * _following() - now - ratio * (now - root * old) + push


@claim(
    "I41",
    "weight decay with momentum is momentum without at lr alpha^(-2t-1), alpha either root of the quadratic",
    "any dimension, every step, pathwise; lr outside (same momentum) or inside the buffer (momentum/alpha^2)",
    LI_ARORA + "; real roots for lr wd <= (1 - sqrt(momentum))^2, and again from (1 + sqrt(momentum))^2 on",
)
def exponential_lr(root_of_the_quadratic: bool = True, scale_invariant: bool = True) -> Checks:
    """Coefficients of w, w before and the gradient in the step of alpha^-t w_t."""
    modulo = _TWO_ROOTS if root_of_the_quadratic else ()
    yield obeys(
        "lr of step t",
        theory.exponential_lr,
        lambda f: list(_gap_of(f, momentum * f.value / f.at(t=t - 1), scale_invariant).values()),
        modulo,
        companions=[root ** (-2 * t)],
    )
    for stated, start in (
        (theory.exponential_lr_root, sp.S.One),
        (theory.exponential_lr_other_root, Q(1, 4)),
    ):
        yield obeys(stated.name, stated, _a_root(start))
    first = theory.exponential_lr.at(t=-1)
    yield obeys("start of the buffer", theory.exponential_lr_buffer, lambda f: [f.value * first + 1 - root])
    now, old = letters("now old")
    inner = _following()
    yield obeys(
        "momentum inside",
        theory.exponential_lr_inner_momentum,
        lambda f: [
            ((1 / root) * inner - now - f.value * (now - root * old))[name] for name in ("now", "old")
        ],
        modulo,
    )
    yield obeys("buffer inside", theory.exponential_lr_inner_buffer, lambda f: [f.value + 1 - root])
    yield from _real_roots()


def _a_root(start: sp.Expr) -> Callable[[Face], list[sp.Expr]]:
    """A root of the quadratic, the one that is `start` without weight decay at momentum 1/4."""
    return lambda f: [
        f.value**2 - _sum * f.value + momentum,
        f.at(weight_decay=0, momentum=Q(1, 4)) - start,
    ]


def _real_roots() -> Checks:
    """The discriminant (x - (1-s)^2)(x - (1+s)^2): `if and only if x <= (1-s)^2` is false."""
    discriminant = (1 + _s**2 - product) ** 2 - 4 * _s**2
    x = sp.Symbol("x")
    at = sp.expand(discriminant.subs(weight_decay, x / lr))
    yield equal("discriminant", at, (x - (1 - _s) ** 2) * (x - (1 + _s) ** 2))
    yield obeys(
        "the lower edge",
        theory.exponential_lr_critical_product,
        lambda f: [f.at(momentum=_root**2) - (1 - _root) ** 2],
    )
    yield coefficients_nonnegative("real below", at.subs(x, (1 - _s) ** 2 - _gap))
    yield coefficients_nonnegative("real above", at.subs(x, (1 + _s) ** 2 + _gap))
    rest = 4 * _s - _gap
    yield equal("complex between", at.subs(x, (1 - _s) ** 2 + _gap), -_gap * rest)
    yield equal("`only if` fails: momentum 1/4, lr wd 13/4", at.subs({x: Q(13, 4), _s: HALF}), 3)


@claim(
    "I42",
    "lr 0.1, momentum 0.9, wd 5e-4: the equivalent lr grows by 1.4812 per epoch of 391 steps, not per step",
    "the growth over n steps at any t; Arb enclosure of the number",
    LI_ARORA + ", figure (whose text says iteration)",
    latex=r"\alpha^{-2\cdot391}=1.4812\ldots",
)
def growth_per_epoch(per_epoch: bool = True) -> Checks:
    """alpha^-2n at the larger root, in balls."""
    yield obeys(
        "growth",
        theory.exponential_lr_growth_per_epoch,
        lambda f: [
            f.at(steps_per_epoch=0) - 1,
            f.at(steps_per_epoch=steps_per_epoch + 1) / f.value - f.companions[1] / f.companions[0],
        ],
        companions=[theory.exponential_lr.expr, theory.exponential_lr.at(t=t + 1)],
    )
    n, decay = (391 if per_epoch else 1), flint.fmpq(1, 20000)

    def close(memory: flint.arb) -> flint.arb:
        total = 1 + memory - decay
        alpha = (total + (total * total - 4 * memory).sqrt()) / 2
        return flint.arb(flint.fmpq(1, 20000)) - abs(alpha ** (-2 * n) - flint.fmpq(14812, 10000))

    yield positive("|growth - 1.4812| < 0.00005", close, ((Q(9, 10), Q(9, 10)),))


@claim(
    "I43",
    "step decay with weight decay is a tapered exponential lr without: alpha_t from alpha_(t-1) and lr_t/lr_(t-1)",
    "any dimension, any lr schedule, pathwise; between two drops alpha_t is at rest at a root of I41",
    LI_ARORA + ", theorem 2 (TEXP); exact with momentum",
)
def tapered(scale_invariant: bool = True, same_scale: bool = True) -> Checks:
    """w~_(t+1) = w_(t+1)/(alpha_0 ... alpha_t): coefficients of w, w before and the gradient, times the product.

    `root` is alpha_(t-1); lr~_t = lr_t/(P^2 alpha_t), P the product before.
    """
    now, old, gradient, other = letters("now old gradient other")
    P, before = sp.Symbol("P"), lr / lr_ratio
    following = momentum_step(now, (1 / before) * (old - now), gradient, lr, weight_decay, momentum)[0]

    def residuals(f: Face) -> list[sp.Expr]:
        alpha = f.value
        new, previous = lr / (P**2 * alpha), before * root / P**2
        if not same_scale:
            new = lr / P**2
        push = (new * P) * (P * gradient if scale_invariant else other)
        gap = (1 / alpha) * following - now - (momentum * new / previous) * (now - root * old) + push
        return list(gap.values())

    yield obeys("alpha_t", theory.tapered_root, residuals)
    rest = theory.tapered_root.at(lr_ratio=1) - root
    yield zero("at rest: the quadratic of I41", rest + _quadratic / root)
    yield equal("no momentum: at once", theory.tapered_root.at(momentum=0), 1 - product)


@claim(
    "A14",
    "heavy ball with decay on weights no data touch: roots of z^2 - (1 + mu - lr wd) z + mu, of modulus "
    "sqrt(mu) when complex",
    "exact; real roots below (1 - sqrt(mu))^2 and above (1 + sqrt(mu))^2, complex between",
    "derived",
    latex=r"z^2-(1+\mu-\eta\lambda)z+\mu=0",
)
def untouched_weights(no_gradient: bool = True) -> Checks:
    """w_t = z^t: the step divided by z^(t-1); z = p + i q with q nonzero has z + conj z = sum, |z|^2 = mu."""
    z, p, q = sp.symbols("z p q")
    step = _following()
    push = sp.S.Zero if no_gradient else step["gradient"] * sp.Symbol("g")
    yield equal("characteristic", z**2 - step["now"] * z - step["old"] - push, z**2 - _sum * z + momentum)
    real, imaginary = p**2 - q**2 - _sum * p + momentum, 2 * p * q - _sum * q
    modulo = given(
        [real, imaginary], {p: 0, q: HALF, momentum: Q(1, 4), lr: 1, weight_decay: Q(5, 4)}, [q, lr]
    )
    yield equal("modulus", p**2 + q**2, momentum, modulo)
    now, before = outside_span.outside, outside_span.outside_before
    yield equal("a step", step["now"] * now + step["old"] * before + push, outside_span.outside_momentum_step)
    yield obeys(
        "modulus after t steps", outside_span.outside_envelope,
        lambda f: [f.power(2, t=t + 1) - (p**2 + q**2) * f.power(2), f.at(t=0) - 1], modulo,
    )  # fmt: skip
    yield from _real_roots()


@claim(
    "A18",
    "the same momentum needs the lr outside the buffer; inside it becomes mu/alpha^2",
    "any dimension, every step; the sheet's wording (inside, same momentum) is refuted by its twin",
    LI_ARORA + "; corrected",
    latex=r"v'=\mu v+g,\ w'=w-\tilde\eta_tv'",
)
def where_the_lr_stands(outside: bool = True) -> Checks:
    """The displacement is multiplied by mu lr~_t/lr~_(t-1) outside and by the momentum itself inside."""
    yield obeys(
        "same momentum",
        theory.exponential_lr,
        lambda f: list(_gap_of(f, momentum * (f.value / f.at(t=t - 1) if outside else 1), True).values()),
        _TWO_ROOTS,
        companions=[root ** (-2 * t)],
    )
    lr_after = theory.exponential_lr.at(t=0) / theory.exponential_lr.at(t=-1)
    yield equal("momentum inside", momentum * lr_after, theory.exponential_lr_inner_momentum)
