"""Proofs about factorisations of a matrix: Hessian at a fit, the flattest ones, the least trace."""

from functools import partial
from typing import Any

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.field import Derivation
from proofs_check.judge import given, zero
from proofs_check.layers import Checks
from proofs_check.registry import claim as _claim
from proofs_check.vectors import Gram, letters
from proofs_check.words import Words, derive, gradient, matrices, rewrite, trace, vanish
from sdetheory.predictions import flat_factors as predicted
from sdetheory.predictions.flat_factors import (
    depth,
    input_trace,
    lower_norm,
    lower_square,
    outputs,
    strength,
    upper_norm,
    upper_square,
)

Q = sp.Rational
_KP = "Kamber, Parhi 2025"
claim = partial(
    _claim,
    where={
        "fit": "the product of the layers is M",
        "singular_vectors": "u, v are unit singular vectors of M for its largest singular value",
        "spectrally_balanced": "both layers have the same spectral norm",
        "several_modes": "M has more than one mode",
        "partial_isometry": "Q is the polar factor of M Sx^(1/2): Q Q^T Q = Q",
        "noise_balance": "the factors satisfy o W_1 Sx W_1^T = tr(Sx) W_2^T W_2",
    },
)


@claim(
    "D47",
    "at a fit the non-zero Hessian spectrum is that of sum_i (A_i A_i^T) kron (B_i^T B_i); two layers: "
    "lambda_max = |W_2|^2 + |W_1|^2",
    "every depth, any widths; characteristic polynomials checked for three layers with entries",
    _KP,
    latex=r"\mathrm{spec}\,H\setminus0=\mathrm{spec}\sum_iA_iA_i^\top\otimes B_i^\top B_i\setminus0",
    given=["J^T J and J J^T have the same non-zero eigenvalues, with multiplicity"],
)
def hessian_at_a_fit(fit: bool = True) -> Checks:
    """H is J^T J in two layers of a product, J J^T E by the chain rule, entries, the largest eigenvalue."""
    A, U, C, V, B, M, X, Y, E = matrices("A U C V B M X Y E")
    whole, moves = A @ U @ C @ V @ B, {"U": X, "V": Y}
    step = derive(whole, moves)
    second = derive(derive(Q(1, 2) * ((whole - M).T @ (whole - M)), moves), moves)
    rules: list[Any] = [((("M", False),), whole), ((("M", True),), whole.T)] if fit else []
    yield from vanish("second variation is |dW|^2", trace(rewrite(second, rules)) - trace(step.T @ step))
    pulled = {name: gradient(trace(E.T @ whole), name) for name in "UV"}
    claimed = A @ A.T @ E @ (C @ V @ B).T @ (C @ V @ B) + (A @ U @ C) @ (A @ U @ C).T @ E @ B.T @ B
    yield from vanish("J J^T", derive(whole, pulled) - claimed)
    for label, gap in _entries(fit):
        yield zero(label, gap)
    yield from _two_layers()


def _entries(fit: bool) -> list[tuple[str, sp.Expr]]:
    """Coefficients of the characteristic polynomials for layers 1 x 2, 1 x 1 and 2 x 1."""
    a, b, c, d, s, x = sp.symbols("a b c d s x")
    layers = [sp.Matrix([[a, b]]), sp.Matrix([[s]]), sp.Matrix([c, d])]
    whole = systems.end_to_end(layers)
    point = {a: 1, b: 2, c: 3, d: 1, s: 2}
    target = whole.subs(point) + (sp.zeros(2, 2) if fit else sp.ones(2, 2))
    loss = sum(systems.half_square(r) for r in whole - target)
    hessian = sp.hessian(loss, (a, b, s, c, d)).subs(point)
    total = sp.zeros(4, 4)
    for i in range(3):
        above = systems.end_to_end([sp.eye(layers[i].rows), *layers[i + 1 :]])
        below = systems.end_to_end([sp.eye(2), *layers[:i]])
        total += sp.kronecker_product(above * above.T, below.T * below).subs(point)
    gap = hessian.charpoly(x).as_expr() - x * total.charpoly(x).as_expr()
    return [(f"characteristic polynomial, x^{n}", sp.expand(gap).coeff(x, n)) for n in range(6)]


def _two_layers() -> Checks:
    """u v^T is an eigenvector of E -> W_2 W_2^T E + E W_1^T W_1 for top singular vectors of both."""
    second, first, u, v = matrices("S F u v")
    rules: list[Any] = [
        ((("S", False), ("S", True), ("u", False)), upper_norm**2 * u),
        ((("v", True), ("F", True), ("F", False)), lower_norm**2 * v.T),
    ]
    moved = rewrite(second @ second.T @ u @ v.T + u @ v.T @ first.T @ first, rules)
    (found,) = moved.values()
    yield equal("eigenvalue", found, predicted.two_matrix_sharpness)


@claim(
    "D48",
    "flat minima need not be balanced: W_2 = diag(2, 2), W_1 = diag(2, 1/2) is flattest, |W_2|^2 - |W_1|^2 = 15/4",
    "one exact point of two layers: flattest by D49, its sharpness by D47: equal spectral norms replace balance",
    "derived; corrects the matrix version of Ginsburg 2020",
    latex=r"\lambda_{\max}=8=2\sigma_1(M),\quad\|W_2\|_F^2-\|W_1\|_F^2=\tfrac{15}4",
)
def flat_but_unbalanced(spectrally_balanced: bool = True, several_modes: bool = True) -> Checks:
    """Both sharpnesses of M = diag(4, 1), and the Frobenius imbalance; one mode alone forces balance."""
    second, first = (sp.diag(2, 2), sp.diag(2, Q(1, 2))) if spectrally_balanced else (sp.eye(2), sp.diag(4, 1))
    if not several_modes:
        second, first = sp.Matrix([[2]]), sp.Matrix([[2]])
    product = second * first
    size = product.rows
    total = sp.kronecker_product(second * second.T, sp.eye(size))
    total += sp.kronecker_product(sp.eye(size), first.T * first)
    largest = max(total.eigenvals(multiple=True))
    norms = [max(m.singular_values()) for m in (second, first)]
    yield zero("sharpness", largest - predicted.two_matrix_sharpness.at(upper_norm=norms[0], lower_norm=norms[1]))
    top = max(product.singular_values())
    yield zero("flattest", largest - predicted.flattest_matrix_sharpness.at(depth=2, strength=top))
    yield equal("imbalance", (second.T * second).trace() - (first * first.T).trace(), Q(15, 4))


@claim(
    "D49",
    "every factorisation of M has lambda_max >= N sigma_1(M)^(2 - 2/N), and balanced factors attain it",
    "every depth, any widths: Cauchy and Schwarz at each cut of the product, then arithmetic and geometric means",
    _KP + "; Mulayoff, Michaeli 2020",
    given=[
        "a function that falls before 1 and rises after it is at least its value at 1",
        "lambda_max is at least the quadratic form on a unit vector; D33 and D47 for balanced factors",
    ],
)
def flattest(fit: bool = True, singular_vectors: bool = True) -> Checks:
    """On u v^T the form is sum_i a_i^2 b_i^2, a_i = |A_i^T u|, b_i = |B_i v|, and a_i b_{i+1} >= sigma_1."""
    u, v, A, B, M = matrices("u v A B M")
    a, b, sigma = sp.symbols("a b sigma")
    rules: list[Any] = [
        ((("u", True), ("A", False), ("A", True), ("u", False)), Words({(): a**2})),
        ((("v", True), ("B", True), ("B", False), ("v", False)), Words({(): b**2})),
    ]
    form = rewrite((u @ v.T).T @ A @ A.T @ u @ v.T @ B.T @ B @ v, rules)
    yield from vanish("form on u v^T", form - a**2 * b**2 * v)
    cut: list[Any] = [((("A", False), ("B", False)), M)] if fit else []
    if singular_vectors:
        cut.append(((("u", True), ("M", False), ("v", False)), Words({(): sigma})))
    yield from vanish("A_i B_{i+1} = M", rewrite((A.T @ u).T @ (B @ v), cut) - Words({(): sigma}))
    yield from cauchy_schwarz()
    yield from _means()
    yield from _attained()


def cauchy_schwarz() -> Checks:
    """|p|^2 |q|^2 - <p, q>^2 = |p|^2 |q - (<p, q>/|p|^2) p|^2."""
    p, q = letters("p q")
    gram = Gram()
    pp, pq, qq = gram(p, p), gram(p, q), gram(q, q)
    rest = q - (pq / pp) * p
    yield equal("Cauchy and Schwarz", pp * gram(rest, rest), pp * qq - pq**2)


def _means() -> Checks:
    """x_i = a_i^2 b_i^2 sigma^(2/N - 2): f(x) = x - 1 - ln x >= 0 summed, and sum ln x_i >= 0 by the cuts."""
    x, log_x, cuts, ends = sp.symbols("x log_x cuts ends")
    D = Derivation({x: 1, log_x: 1 / x})
    f = x - 1 - log_x
    yield equal("f'", D(f), (x - 1) / x)
    yield zero("f(1)", f.subs({x: 1, log_x: 0}))
    # sum over i of ln a_i^2 b_i^2 = sum over cuts of ln a_i^2 b_{i+1}^2 + ln a_N^2 b_1^2 (= 0: A_N = 1 = B_1)
    log_sigma2 = sp.Symbol("log_sigma2")
    total_log = (cuts + ends) - depth * (1 - 1 / depth) * log_sigma2
    excess = cuts - (depth - 1) * log_sigma2  # each cut is at least ln sigma_1^2
    yield zero("sum of logarithms", total_log - excess, given([ends], {ends: 0}))

    def least(f: Any) -> list[sp.Expr]:
        scale = strength**2 * f.reader.form(strength ** (-2 / depth)).expr  # sigma^(2 - 2/N)
        return [f.value - depth * scale]

    yield obeys("bound", predicted.flattest_matrix_sharpness, least)


def _attained() -> Checks:
    """Balanced: the eigenvalues are sums of N products of N - 1 factors sigma^(2/N) (D33), largest at sigma_1."""
    share, more, p, x = sp.symbols("share more p x")
    grown = (share + more) * (p + x) - share * p
    yield equal("one factor more: grows by", grown, more * p + (share + more) * x)


@claim(
    "D56",
    "the least trace of the Hessian over factorisations of M is 2 sqrt(o tr Sx) |M Sx^(1/2)|_*, where "
    "o W_1 Sx W_1^T = tr(Sx) W_2^T W_2",
    "two layers, any widths >= rank M, Sx positive definite: one sum of squares",
    "Blanc et al. 2020 for the trace under label noise; minimum derived",
    given=["the nuclear norm is tr(Q^T K) with Q the polar factor of K; trace of a Kronecker product"],
)
def least_trace(fit: bool = True, partial_isometry: bool = True, noise_balance: bool = True) -> Checks:
    """Trace with entries; t|A|^2 + o|B|^2 - 2 sqrt(t o) tr(Q^T A B) as squares, B = W_1 Sx^(1/2); the minimum."""
    yield from _trace_with_entries()
    A, B, K, P = matrices("A B K Q")
    s, r, n = sp.symbols("s r n")  # s^2 = tr Sx, r^2 = o
    gap = s**2 * trace(A.T @ A) + r**2 * trace(B.T @ B) - 2 * s * r * trace(P.T @ K)
    one, two = s * (A.T @ P) - r * B, A - P @ P.T @ A
    squares = trace(one.T @ one) + s**2 * trace(two.T @ two)
    rules: list[Any] = [((("K", False),), A @ B)] if fit else []
    if partial_isometry:
        rules.append(((("Q", False), ("Q", True), ("Q", False)), P))
    yield from vanish("sum of squares", trace(rewrite(gap - squares, rules)))
    yield obeys(
        "minimum",
        predicted.least_hessian_trace,
        lambda f: [f.power(2, outputs=r**2, input_trace=s**2, nuclear=n) - (2 * s * r * n) ** 2],
    )
    yield from _attained_trace(noise_balance)


def _trace_with_entries() -> Checks:
    """Hessian of layers 1 x 2 and 2 x 1 and any covariance, at any point."""
    a, b, c, d, p, q, z = sp.symbols("a b c d p q z")
    first, second, covariance = sp.Matrix([[a, b]]), sp.Matrix([c, d]), sp.Matrix([[p, q], [q, z]])
    error = second * first - sp.Matrix(2, 2, sp.symbols("m:4"))
    loss = (error * covariance * error.T).trace() / 2
    found = sum(sp.diff(loss, x, 2) for x in (a, b, c, d))
    yield equal(
        "trace",
        sp.expand(found),
        predicted.hessian_trace,
        input_trace=covariance.trace(),
        outputs=2,
        upper_square=(second.T * second)[0],
        lower_square=(first * covariance * first.T)[0],
    )


def _attained_trace(noise_balance: bool) -> Checks:
    """A = k U P, B = (1/k) P V^T with U^T U = V^T V = 1, P^2 = Sigma, k^2 = r/s."""
    U, V, P = matrices("U V P")
    s, r, k = sp.symbols("s r k")
    rules: list[Any] = [
        ((("U", True), ("U", False)), Words({(): sp.S.One})),
        ((("V", True), ("V", False)), Words({(): sp.S.One})),
        ((("P", True),), P),
    ]
    A, B = k * (U @ P), (1 / k) * (P @ V.T)
    modulo = given([k**2 * s - r], {k: 2, s: 1, r: 4}, [k, s]) if noise_balance else ()
    yield from vanish("they factorise", rewrite(A @ B - U @ P @ P @ V.T, rules), modulo)
    total = rewrite(s**2 * (A.T @ A) + r**2 * (B @ B.T) - 2 * s * r * (P @ P), rules)
    yield from vanish("their trace is the minimum", total, modulo)
    yield from vanish("noise balance", rewrite(r**2 * (B @ B.T) - s**2 * (A.T @ A), rules), modulo)
    values = {upper_square: sp.Symbol("A2"), lower_square: sp.Symbol("B2"), input_trace: s**2, outputs: r**2}
    of_trace = predicted.hessian_trace.expr.subs(values) - s**2 * values[upper_square] - r**2 * values[lower_square]
    yield zero("the trace in these letters", of_trace)
