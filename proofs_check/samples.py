"""One step on the sphere next to the minimum and the maximum that single samples have in common (for I25)."""

import sympy as sp

from proofs_check import systems
from proofs_check.against import obeys
from proofs_check.normalised import Checks
from sdetheory.predictions import edge_of_stability as theory
from sdetheory.predictions.intrinsic_lr import step_lr

_sample, _near = sp.symbols("x:3"), sp.Symbol("near")


def sample_factors(common_minimum: bool) -> Checks:
    """Batches <x, w>^2/|w|^2, x across the first axis: |distance|^2 after a step over before, to first order.

    In any dimension three axes do: the common minimum, the small distance (or w), and the rest of the sample.
    """
    squares = {"along_square": _sample[1] ** 2, "rest_square": _sample[2] ** 2}
    at_minimum, at_maximum = _factors(common_minimum)
    yield obeys("at the minimum", theory.sample_minimum_factor, lambda f: [f.at(**squares) - at_minimum])
    yield obeys("at the maximum", theory.sample_maximum_factor, lambda f: [f.at(**squares) - at_maximum])
    s, r, v, d = theory.along_square, theory.rest_square, theory.sample_variance, theory.dimension
    polynomial = sp.Poly(theory.sample_minimum_factor.expr, s, r)
    moments = {(0, 0): 1, (1, 0): v, (2, 0): 3 * v**2, (1, 1): v * (d - 2) * v}  # Gaussian samples of d - 1 entries
    mean = sp.Add(*(c * moments[powers] for powers, c in polynomial.terms()))
    yield obeys("mean factor 1", theory.sample_mean_square_edge, lambda f: [mean.subs(step_lr, f.value) - 1])


def _factors(common_minimum: bool) -> tuple[sp.Expr, sp.Expr]:
    """Squares of the first-order factors, from the exact step."""
    w = systems.column("w", 3)
    loss = systems.sample_batch(w, [0 if common_minimum else 1, 1, 1], _sample)
    moved = w - step_lr * w.dot(w) * systems.gradient(loss, w)
    minimum, maximum = (moved.subs(dict(zip(w, at, strict=True))) for at in ((1, _near, 0), (_near, 1, 0)))
    small = [sp.diff(sp.cancel(minimum[i] / minimum[0]), _near).subs(_near, 0) for i in (1, 2)]
    first = sp.diff(sp.cancel(maximum[0]), _near).subs(_near, 0)
    rest = sp.Add(*(sp.cancel(maximum[i].subs(_near, 0)) ** 2 for i in (1, 2)))
    return sp.Add(*(x**2 for x in small)), first**2 / rest
