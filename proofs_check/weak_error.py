"""Proof that SVAG approximates the SDE weakly at order 1/l: the moments of one step, at first order in 1/l."""

import sympy as sp

from proofs_check.against import equal
from proofs_check.field import Derivation, Ito
from proofs_check.judge import zero
from proofs_check.normalised import Checks, claim
from sdetheory.predictions import svag
from sdetheory.predictions.intrinsic_lr import lr
from sdetheory.predictions.svag import refinement


@claim(
    "I46",
    "SVAG at fixed lr has weak error O(1/l): the moments of its step are those of the SDE up to l^-2",
    "any dimension and direction, any batches with four moments; the variant with a coin tends to another SDE",
    "Li, Malladi, Arora 2021, theorem on SVAG",
    given=["Milstein, Talay: smooth coefficients of polynomial growth, moments 1 to 3 of a step of length 1/l equal "
           "to l^-2 and a fourth of that order give weak error O(1/l)"],
    where={
        "amplified": "the two batches have the weights a and 1 - a of I45, not 1 and 0",
        "two_batches": "a step takes two batches, not one rescaled by a coin",
    },
    latex=r"|E f(w^{\mathrm{SVAG}}_{lt})-E f(W_t)|\le C/l",
)  # fmt: skip
def weak_order_one(amplified: bool = True, two_batches: bool = True) -> Checks:
    """Displacement along any direction: drift b, batch cumulants s2, s3, s4; power sums of I45; h = 1/l."""
    b, s2, s3, s4, h, x = sp.symbols("b s2 s3 s4 h x")
    sums = svag.svag_second_moment, svag.svag_third_moment, svag.svag_fourth_moment
    p2, p3, p4 = (made.expr.subs(refinement, 1 / h) if amplified else sp.S.One for made in sums)
    c2, c3, c4 = p2 * s2, p3 * s3, p4 * s4
    if not two_batches:  # (1 + sqrt(l - 1) coin) (b + noise): the gradient itself is amplified
        c2 = s2 + (1 / h - 1) * (s2 + b**2)
    step = -lr * h
    moments = (
        step * b,
        step**2 * (b**2 + c2),
        step**3 * (b**3 + 3 * b * c2 + c3),
        step**4 * (b**4 + 6 * b**2 * c2 + 4 * b * c3 + 3 * c2**2 + c4),
    )
    sde = Ito({x: Derivation({x: 1})}, {x: -lr * b}, {(x, x): lr**2 * s2})
    for power, moment in enumerate(moments, 1):
        at = sp.cancel(sp.together(moment))
        yield zero(f"moment {power} at 1/l = 0", at.subs(h, 0))
        rate = sde.generator(x**power).subs(x, 0)
        yield equal(f"moment {power}, first order in 1/l: the generator on x^{power}", sp.diff(at, h).subs(h, 0), rate)
