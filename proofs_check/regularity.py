"""Proofs about the regularity principle <U, x - x_T> >= (lr/2)|U|^2 + gamma (l - l*) along a trajectory."""

import sympy as sp

from proofs_check.against import equal
from proofs_check.inequalities import coefficients_nonnegative
from proofs_check.judge import given
from proofs_check.normalised import Checks, claim, g, w
from proofs_check.systems import sgd_step
from proofs_check.vectors import Gram, Vector, letters
from sdetheory.predictions import regularity as predicted
from sdetheory.predictions.intrinsic_lr import lr

_RP = "Chen, Yang, Zhou 2020, reconstructed"
_loss, _gamma, _D, _L, _slack = sp.symbols("l gamma D L slack")  # l is the loss above its infimum
_inner, _square = sp.symbols("inner square")  # <g, x - x*> and |g|^2
_excess = _inner - lr / 2 * _square


@claim(
    "B1",
    "<U, x - x_T> - (lr/2)|U|^2 = (D_k - D_(k+1))/(2 lr), D_k the squared distance to the reference",
    "any update rule, any dimension, any reference",
    _RP,
    latex=r"\langle U,\theta-\theta_T\rangle-\tfrac\eta2\|U\|^2=\tfrac{D_k-D_{k+1}}{2\eta}",
)
def identity(step_along_update: bool = True) -> Checks:
    """Expansion of |x - lr U|^2, x from the reference."""
    dot, (update, other) = Gram(), letters("U n")
    after = sgd_step(w, update, lr, sp.S.Zero) + (0 if step_along_update else 1) * other
    fall = dot(w, w) - dot(after, after)
    yield equal("identity", fall / (2 * lr), dot(update, w) - lr / 2 * dot(update, update))


@claim(
    "B2",
    "the regularity principle gives mean (l_k - l_k*) <= D_0/(2 lr gamma T)",
    "any update rule, any T: induction over steps; D_T >= 0",
    _RP,
    latex=r"\tfrac1T\sum_k(l_k-l_k^*)\le\tfrac{D_0}{2\eta\gamma T}",
)
def convergence(regular: bool = True) -> Checks:
    """What is left of D_0 after 2 lr gamma times the sum so far and D_k never becomes negative (B1)."""
    left, excess = sp.symbols("left excess")
    by = excess if regular else -excess  # <U,x> - (lr/2)|U|^2 - gamma l
    start, total = sp.symbols("D_0 total")
    now = start - 2 * lr * _gamma * total - left
    after = now - 2 * lr * (_gamma * _loss + by)
    remains = start - 2 * lr * _gamma * (total + _loss) - after
    yield equal("left after a step", remains, left + 2 * lr * by)
    yield coefficients_nonnegative("it stays >= 0", remains)
    steps = sp.Symbol("T")
    largest = sp.solve(sp.Eq(2 * lr * _gamma * steps * _loss, start), _loss)[0]  # a mean loss that leaves nothing
    at = {"squared_distance0": start, "regularity": _gamma, "steps": steps}
    yield equal("the bound", largest, predicted.mean_loss_bound, **at)


@claim(
    "B3",
    "with the last iterate as reference and the loss-weighted mean of gamma the bound is an equality: no content",
    "any update rule, any run",
    "derived",
    latex=r"\bar\gamma=\tfrac{D_0}{2\eta\sum_k(l_k-l_k^*)}",
)
def tautology(last_iterate: bool = True) -> Checks:
    """Sum of D_k - D_(k+1) is D_0 - D_T (induction), and D_T = 0."""
    start, after, total = sp.symbols("D_0 D_after total")
    so_far = start - _D
    yield equal("induction", so_far + (_D - after), start - after)
    end = sp.S.Zero if last_iterate else sp.Symbol("D_T")
    mean = (start - end) / (2 * lr * total)
    yield equal("bound = mean loss times T", start / (2 * lr * mean), total)


@claim(
    "B4",
    "quadratics under GD: the principle holds with gamma = 2 - lr lambda_max, attained on the top eigenvector",
    "any dimension, one eigenvalue at a time; 0 at the edge of stability",
    "derived",
    latex=r"\inf_x\gamma(x)=2-\eta\lambda_{\max}",
)
def quadratic(largest: bool = True) -> Checks:
    """l = a x^2/2 and g = a x along an eigenvector of eigenvalue a; lambda_max = a + gap."""
    a, gap, x = sp.symbols("a gap x")
    top = a + gap if largest else a - gap
    loss = a * x**2 / 2
    slope = sp.diff(loss, x)
    excess, promised = slope * x - lr / 2 * slope**2, predicted.quadratic_regularity
    left = sp.expand(excess - promised.at(smoothness=top) * loss)
    yield coefficients_nonnegative("per eigenvalue", left)
    yield equal("equality at the top", left.subs(gap, 0), 0 * x)
    yield equal("gamma on an eigenvector", sp.cancel(excess / loss), promised, smoothness=a)


@claim(
    "B5",
    "convex L-smooth interpolation: gamma >= 1 for lr <= 1/L, and 2 - lr L from there to 2/L",
    "any dimension, any batch",
    "derived",
    given=["convex and L-smooth: <g, x - x*> >= l + |g|^2/(2L), and |g|^2 <= 2 L l"],
    latex=r"\gamma\ge\min(1,2-\eta L)",
)
def interpolation(cocoercive: bool = True, smooth: bool = True) -> Checks:
    """|g|^2 = 2 L (l - h), <g, x - x*> = l + |g|^2/(2L) + s with h, s >= 0 and l = h + rest."""
    h, s, rest, more = sp.symbols("h s rest more")
    loss = h + rest
    square = 2 * _L * (rest if smooth else loss + h)
    inner = loss + square / (2 * _L) + (s if cocoercive else -s)
    left = inner - lr / 2 * square
    yield coefficients_nonnegative("lr = 1/(L + more)", (left - loss).subs(lr, 1 / (_L + more)))
    late = (left - predicted.quadratic_regularity.at(smoothness=_L) * loss).subs(lr, (1 + more) / _L)
    yield coefficients_nonnegative("lr = (1 + more)/L", late)


@claim(
    "B6",
    "gamma = tau - lr L where <g,x-x*> >= tau l (star-convex: tau = 1), (2/L)(mu - lr L^2/2) where >= mu |x-x*|^2",
    "any dimension, L-smooth losses",
    "derived",
    given=["L-smooth: |g|^2 <= 2 L l, |g| <= L |x - x*|, l <= L |x - x*|^2/2"],
    latex=r"\gamma=\tau-\eta L,\qquad \gamma=\tfrac2L(\mu-\tfrac{\eta L^2}{2})",
)
def star_convex(quasar: bool = True, monotone: bool = True, smooth: bool = True) -> Checks:
    """Each inequality with a slack >= 0; the second needs mu = lr L^2/2 + margin."""
    tau, h, k, s, X, margin = sp.symbols("tau h k s X margin")
    square = 2 * _L * _loss - h if smooth else 2 * _L * _loss + h
    first = {_inner: tau * _loss + (s if quasar else -s), _square: square}
    promised = predicted.quasar_regularity.at(quasar=tau, smoothness=_L)
    yield coefficients_nonnegative("tau - lr L", sp.expand(_excess.subs(first) - promised * _loss))
    least = sp.cancel(_excess.subs(first).subs({s: 0, h: 0}) / _loss)
    yield equal("all slack gone", least, predicted.quasar_regularity, quasar=tau, smoothness=_L)
    mu = lr * _L**2 / 2 + margin
    second = {_inner: mu * X + (s if monotone else -s), _square: _L**2 * X - k}
    rest = _excess.subs(second) - predicted.restricted_regularity.at(restricted=mu, smoothness=_L) * _loss
    at = given([X - 2 * _loss / _L - h], {X: 3, _loss: 1, _L: 1, h: 1}, nonzero=[_L])
    sign = s if monotone else -s
    yield equal("(2/L)(mu - lr L^2/2)", rest, margin * h + sign + lr * k / 2, at)
    yield coefficients_nonnegative("it is >= 0", margin * h + sign + lr * k / 2)
    mu = sp.Symbol("mu")
    least = sp.cancel((mu * X - lr / 2 * _L**2 * X) / (_L * X / 2))
    yield equal("all slack gone", least, predicted.restricted_regularity, restricted=mu, smoothness=_L)


@claim(
    "B7",
    "gamma does not change under w -> c w, lr -> c^2 lr",
    "any dimension, every step of SGD on a scale-invariant loss",
    "derived",
    latex=r"\gamma(cw,c^2\eta)=\gamma(w,\eta)",
)
def scale_free(scale_invariant: bool = True, scaled_reference: bool = True) -> Checks:
    """gamma = (D_k - D_(k+1))/(2 lr l), both distances to the last iterate, which scales as well."""
    k = sp.Symbol("k")
    (end, other) = letters("end other")

    def gamma(start: Vector, gradient: Vector, last: Vector, rate: sp.Expr) -> sp.Expr:
        after = sgd_step(start, gradient, rate, sp.S.Zero)
        dot = Gram()
        return (dot(start - last, start - last) - dot(after - last, after - last)) / (2 * rate * _loss)

    at_kw = (1 / k) * g if scale_invariant else other
    last = k * end if scaled_reference else end
    yield equal("gamma", gamma(k * w, at_kw, last, k**2 * lr), sp.expand(gamma(w, g, end, lr)))
