"""Proofs about scale-invariant losses without weight decay: the norm tunes the effective learning rate."""

import sympy as sp

from proofs_check.against import equal
from proofs_check.inequalities import coefficients_nonnegative
from proofs_check.normalised import Checks, claim, g, w
from proofs_check.systems import R, sgd_step
from proofs_check.vectors import Gram
from sdetheory.predictions.intrinsic_lr import lr, squared_gradient, weight_decay

_smoothness, _slack, _more, _part = sp.symbols("ell slack more part")


@claim(
    "I44",
    "GD without weight decay: |w| never falls, stays bounded, min |grad L(w/|w|)|^2 <= 2 R_inf Delta/(lr T)",
    "any dimension, any lr; from the step on at which |w|^2 >= ell lr, summed over steps",
    "Arora, Li, Lyu 2018; self-contained bound derived",
    given=[
        "Taylor: L(w') <= L(w) + <grad L, w' - w> + |w' - w|^2/2 times the largest Hessian on the segment",
        "ell bounds the Hessian on the unit sphere, so ell/R does where |w|^2 >= R (I1)",
    ],
    latex=r"\min_{t<T}\|\nabla L(\bar w_t)\|^2\le\tfrac{2R_\infty\Delta}{\eta T}",
)
def auto_tuning(tangent: bool = True, no_decay: bool = True, large_norm: bool = True) -> Checks:
    """Descent of a step, lr (1 - ell lr/(2R))|g|^2, against the growth of the norm, lr^2 |g|^2."""
    dot = Gram(w_w=R, g_g=squared_gradient, **({"g_w": 0} if tangent else {}))
    decay = sp.S.Zero if no_decay else weight_decay
    segment = sgd_step(w, g, _part * lr, decay)  # the point after a part of the step
    yield coefficients_nonnegative("|w|^2 on the segment never falls", dot(segment, segment) - R)
    after = sgd_step(w, g, lr, decay)
    rise = dot(after, after) - R
    yield equal("rise of |w|^2", rise, lr**2 * squared_gradient)
    move = after - w
    descent = -(dot(g, move) + _smoothness / R * dot(move, move) / 2)
    yield equal("descent", descent, lr * (1 - _smoothness * lr / (2 * R)) * squared_gradient)
    at = {R: _smoothness * lr + _slack} if large_norm else {}
    yield coefficients_nonnegative(
        "rise <= 2 lr descent, so R_inf <= R + 2 lr Delta", (2 * lr * descent - rise).subs(at)
    )
    unit = squared_gradient * R  # |grad L(w/|w|)|^2
    yield coefficients_nonnegative(
        "descent >= lr |unit gradient|^2/(2 R_inf)", (descent - lr * unit / (2 * (R + _more))).subs(at)
    )
