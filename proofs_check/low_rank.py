"""Proofs about penalties of a product of layers: weight decay, its thresholds at any depth, dropout."""

from functools import partial
from typing import Any

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.end_to_end import ROOTS, induction
from proofs_check.field import Derivation
from proofs_check.flat_factors import cauchy_schwarz
from proofs_check.inequalities import coefficients_nonnegative, positive
from proofs_check.judge import given, zero
from proofs_check.layers import Checks
from proofs_check.registry import claim as _claim
from proofs_check.vectors import Gram, letters
from proofs_check.words import Words, derive, matrices, rewrite, trace, vanish
from sdetheory.predictions import low_rank as predicted
from sdetheory.predictions.low_rank import depth, dropout, kept_modes, kept_sum, strength, weight_decay, width

Q = sp.Rational
NEUMANN = "tr(A^T B) <= sum sigma_i(A) sigma_i(B) (von Neumann), equality for common singular vectors"
claim = partial(
    _claim,
    where={
        "minimum": "the layers have the least sum of squares for their product",
        "both_layers": "a change of basis between two layers acts on both",
        "stationary": "the mode rests",
        "equal_depth": "both minima are equally deep",
        "independent": "masks are independent",
        "centred": "a mask has the mean of the probability it is divided by",
        "isotropic": "inputs are whitened: E x x^T = 1",
        "partial_isometry": "Q is the polar factor of the product: Q Q^T Q = Q",
        "subgradient": "M - X is the threshold times a subgradient of the nuclear norm at X",
    },
)


@claim(
    "D60",
    "the least sum |W_j|_F^2 over layers with product W is N sum sigma_r(W)^(2/N), attained by balanced layers",
    "every depth, hidden widths >= rank W",
    "Schatten-2/N quasi-norm; proof by a change of basis between layers",
    given=["a continuous function that grows to infinity has a minimum on a closed set", ROOTS],
)
def least_weights(both_layers: bool = True, minimum: bool = True) -> Checks:
    """W_{j+1} e^(-sD), e^(sD) W_j keeps W and lowers the sum by 2 s |D|^2: D = 0; then W W^T = X^N, |W_j|^2 =
    tr X.
    """
    U, V = matrices("U V")
    D = U.T @ U - V @ V.T
    moves = {"U": -1 * (U @ D), "V": D @ V} if both_layers else {"V": D @ V}
    yield from vanish("the product stays", derive(U @ V, moves))
    cost = trace(derive(U.T @ U + V @ V.T, moves))
    yield from vanish("the sum falls", cost + 2 * trace(D.T @ D))
    yield from induction(balanced=minimum)
    rules: list[Any] = [((("V", False), ("V", True)), U.T @ U)] if minimum else []
    yield from vanish("equal norms", trace(rewrite(V @ V.T - U.T @ U, rules)))
    yield obeys(
        "N tr X, eigenvalues of X are sigma^(2/N)",
        predicted.least_weight_cost,
        lambda f: [f.value - depth * f.reader.form(strength ** (2 / depth)).expr],
    )


@claim(
    "D61",
    "under weight decay a mode rests where s = sigma + wd sigma^(2/N-1): N >= 3 has a jump at s_1 and hysteresis "
    "down to s_*",
    "every real depth > 2, every mode; all modes at once by D60",
    "derived; N = 2: soft threshold (D19)",
    given=[NEUMANN + ": modes decouple", "a convex function has one minimum"],
)
def thresholds(stationary: bool = True, equal_depth: bool = True) -> Checks:
    """Cost (1/2)(a-s)^2 + (wd N/2) a^(2/N), p = a^(2/N-1): its slope, the least s at rest, equal depth with
    zero.
    """
    a, p, s = strength, sp.Symbol("p"), sp.Symbol("s")
    D = Derivation({a: 1, p: (2 / depth - 1) * p / a})
    cost = (a - s) ** 2 / 2 + weight_decay * depth / 2 * a * p
    force = sp.S.Zero if stationary else sp.Symbol("force")
    at_rest = a + weight_decay * p
    yield equal("slope", D(cost), at_rest - s)
    yield obeys(
        "target at rest",
        predicted.stationary_target,
        lambda f: [D(cost).subs(s, f.value).subs(p, _power(f) / a) - force],
    )
    n = sp.Symbol("n")
    second = D(D(at_rest)).subs(depth, n + 2)
    yield coefficients_nonnegative("s(sigma) is convex", sp.factor(second))
    curvature = D(at_rest)
    yield equal("curvature of the cost", D(D(cost)), curvature)
    yield from _transition(cost - s**2 / 2, p, s, equal_depth)
    yield from _vanishing(curvature, p)
    yield from _window()


def _power(f: Any) -> sp.Expr:
    """sigma^(2/N) in the letters of a formula."""
    return f.reader.form(strength ** (2 / depth)).expr


def _window() -> Checks:
    """s_1/s_* = N^(N/(2N-2))/2 > 1: f = N ln N - (2N-2) ln 2 is 0 at N = 2 and its slope ln N + 1 - 2 ln 2 rises."""
    log_n, log_2 = sp.symbols("log_n log_2")
    f = depth * log_n - (2 * depth - 2) * log_2
    D = Derivation({depth: 1, log_n: 1 / depth})
    yield zero("no window at N = 2", f.subs({depth: 2, log_n: log_2}))
    yield equal("slope in N", D(f), log_n + 1 - 2 * log_2)
    yield positive("which is positive from N = 2 on", lambda n: n.log() + 1 - 2 * (n * 0 + 2).log(), ((2, 4),))
    exponent = depth / (2 * depth - 2)
    a1, a2 = ((weight_decay * (depth - 2)) / n for n in (1, depth))  # bases of sigma_1 and sigma_*, same exponent
    yield equal("sigma_1/sigma_* = N^(N/(2N-2))", a1 / a2, depth)
    yield equal("f over (2N-2) is its logarithm less ln 2", f / (2 * depth - 2), exponent * log_n - log_2)
    yield equal("s_1/s_*", ((depth - 1) / (depth - 2)) / ((2 * depth - 2) / (depth - 2)), Q(1, 2))


def _solved(scale: sp.Expr, above: sp.Expr, strength_there: Any, target_there: Any) -> Checks:
    """The strength solves wd = sigma^(2-2/N) scale: at wd = g scale it is g to the inverse of 2-2/N; its target."""
    g, inverse = sp.Symbol("g"), depth / (2 * depth - 2)
    yield zero("inverse of the exponent", inverse * (2 - 2 / depth) - 1)
    yield obeys(
        strength_there.name,
        strength_there,
        lambda f: [f.at(weight_decay=g * scale) - f.reader.form(g**inverse).expr],
    )
    yield obeys(
        target_there.name,
        target_there,
        lambda f: [f.value * (depth - 2) - f.companions[0] * above],
        companions=[strength_there.expr],
    )


def _vanishing(curvature: sp.Expr, p: sp.Symbol) -> Checks:
    """Curvature 0: wd (N-2) p = N sigma, i.e. wd = sigma^(2-2/N) N/(N-2)."""
    relation = weight_decay * (depth - 2) * p - depth * strength
    modulo = given([relation], {depth: 4, p: 2, strength: 1, weight_decay: 1}, [p, depth, strength])
    yield zero("no curvature", curvature, modulo)
    target = strength + weight_decay * p
    yield zero("target", target * (depth - 2) - strength * (2 * depth - 2), modulo)
    scale = depth / (depth - 2)
    yield from _solved(scale, 2 * depth - 2, predicted.vanishing_strength, predicted.vanishing_target)


def _transition(gain: sp.Expr, p: sp.Symbol, s: sp.Symbol, equal_depth: bool) -> Checks:
    """Equal cost at rest: wd (N-2) p = sigma, i.e. wd = sigma^(2-2/N)/(N-2)."""
    relation = weight_decay * (depth - 2) * p - strength
    modulo = given([relation] if equal_depth else [], {depth: 4, p: 1, strength: 2, weight_decay: 1}, [p])
    target = strength + weight_decay * p
    yield zero("as deep as zero", sp.expand(gain.subs(s, target)), modulo)
    yield zero("target", target * (depth - 2) - strength * (depth - 1), modulo)
    scale = 1 / (depth - 2)
    yield from _solved(scale, depth - 1, predicted.transition_strength, predicted.transition_target)


@claim(
    "D59",
    "dropout adds q sum |u_i|^2 |v_i|^2, at least (q/r)|X|_*^2 with equality iff equalised; its optimum takes tau "
    "from at most r modes",
    "any widths, one hidden layer, whitened inputs; rho counts modes j <= r, a limit the formula needs",
    "Mianjy, Arora, Vidal 2018",
    given=[
        "the nuclear norm is tr(Q^T X) with Q the polar factor of X",
        "a symmetric matrix is orthogonally similar to one with constant diagonal (Horn): equalised factors exist",
        NEUMANN,
    ],
)
def dropout_penalty(
    independent: bool = True,
    centred: bool = True,
    isotropic: bool = True,
    partial_isometry: bool = True,
    subgradient: bool = True,
) -> Checks:
    """Moments of a mask; the mean of the loss; three squares below the penalty; one square above the optimum."""
    yield from _masks(centred)
    yield from _mean_loss(independent, centred)
    A, x = matrices("A x")
    whitened: list[Any] = [((("x", False), ("x", True)), Words({(): sp.S.One}))] if isotropic else []
    yield from vanish("mean over inputs", trace(rewrite(A @ x @ x.T @ A.T, whitened)) - trace(A @ A.T))
    yield from _below_the_penalty(partial_isometry)
    yield from _threshold(subgradient)


def _masks(centred: bool) -> Checks:
    """e = b/theta - 1 with b = 1 with probability theta, 0 otherwise."""
    theta = predicted.keep
    chance = theta if centred else sp.Symbol("chance")
    yield zero("mean", chance * (1 / theta - 1) + (1 - chance) * (-1))
    variance = chance * (1 / theta - 1) ** 2 + (1 - chance)
    yield equal("variance", variance, predicted.dropout_strength)


def _mean_loss(independent: bool, centred: bool) -> Checks:
    """E |R - e_i T_i - e_j T_j|^2 = |R|^2 + q (|T_i|^2 + |T_j|^2) for T = u v^T, |T|^2 = |u|^2 |v|^2."""
    R, Ti, Tj = letters("R Ti Tj")
    ei, ej = sp.symbols("e_i e_j")
    gram = Gram()
    residual = R - ei * Ti - ej * Tj
    loss = sp.Poly(sp.expand(gram(residual, residual)), ei, ej)
    mean = sp.S.Zero if centred else sp.Symbol("mean")
    both = sp.S.Zero if independent else sp.Symbol("covariance")
    moments = {(0, 0): 1, (1, 0): mean, (0, 1): mean, (1, 1): both, (2, 0): dropout, (0, 2): dropout}
    averaged = sum(coefficient * moments[powers] for powers, coefficient in loss.terms())
    yield equal("mean over masks", averaged, gram(R, R) + dropout * (gram(Ti, Ti) + gram(Tj, Tj)))
    u, v = matrices("u v")
    uu, vv = sp.symbols("uu vv")
    squares = (("u", uu), ("v", vv))
    scalars: list[Any] = [(((name, True), (name, False)), Words({(): square})) for name, square in squares]
    yield from vanish("|u v^T|^2 = |u|^2 |v|^2", rewrite(v @ u.T @ u @ v.T @ v, scalars) - (uu * vv) * v)


def _below_the_penalty(partial_isometry: bool) -> Checks:
    """|u|^2 |v|^2 >= |u|^2 |Q v|^2 >= n_i^2, n_i = u_i^T Q v_i, sum n_i = |X|_*; sum n_i^2 >= |X|_*^2/r."""
    P, v = matrices("Q v")
    rules: list[Any] = [((("Q", False), ("Q", True), ("Q", False)), P)] if partial_isometry else []
    rest = v - P.T @ P @ v
    yield from vanish("|v|^2 - |Q v|^2", rewrite(v.T @ v - (P @ v).T @ (P @ v) - rest.T @ rest, rules))
    yield from cauchy_schwarz()
    squares, total = sp.symbols("squares total")  # sum n_i^2, sum n_i
    mean = total / width
    yield equal("sum (n_i - mean)^2", squares - 2 * mean * total + width * mean**2, squares - total**2 / width)
    equalised = width * (total / width) ** 2  # |u_i| |v_i| = |X|_*/r
    yield equal("equalised", dropout * equalised, predicted.least_dropout_cost, nuclear=total)


def _threshold(subgradient: bool) -> Checks:
    """Cost(Z) - cost(X) = |Z - X|^2 + c (z - T)^2 + 2 tau (z - <G, Z>), c = q/r, T = |X|_*, z = |Z|_* >= <G, Z>.

    In the singular values of M by von Neumann: G_i = 1 where X_i > 0, s_i/tau <= 1 elsewhere.
    """
    M, X, Z, G = letters("M X Z G")
    z, T, tau, c = sp.symbols("z T tau c")
    known: dict[str, Any] = {"G_X": T} if subgradient else {}
    gram = Gram(**known)
    M = X + tau * G
    gain = gram(M - Z, M - Z) - gram(M - X, M - X) + c * (z**2 - T**2)
    claimed = gram(Z - X, Z - X) + c * (z - T) ** 2 + 2 * tau * (z - gram(G, Z))
    modulo = given([tau - c * T], {tau: 6, c: 2, T: 3})
    yield zero("every other product costs more", sp.expand(gain - claimed), modulo)
    yield obeys(
        "threshold",
        predicted.dropout_threshold,
        lambda f: [f.value - dropout / width * (kept_sum - kept_modes * f.value)],
    )
    tail = sp.Symbol("s_next")
    fails = tail * (width + (kept_modes + 1) * dropout) - dropout * (kept_sum + tail)
    yield equal("the next mode is below tau", fails, tail * (width + kept_modes * dropout) - dropout * kept_sum)
