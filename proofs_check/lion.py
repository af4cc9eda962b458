"""Proofs about Lion: memory of the sign of a Gaussian average, norm and turn at equilibrium."""

from dataclasses import replace

import sympy as sp

from proofs_check.against import obeys
from proofs_check.face import Face
from proofs_check.judge import zero
from proofs_check.normalised import Checks, claim, g, product, w
from proofs_check.rotation import KOSSON, at_rest, keep
from proofs_check.systems import average, rescaled_step
from proofs_check.vectors import Gram, letters
from sdetheory.predictions import Prediction, Quantity
from sdetheory.predictions import rotational_equilibrium as theory
from sdetheory.predictions.intrinsic_lr import lr, weight_decay
from sdetheory.predictions.rotational_equilibrium import beta1, beta2, dimension

_rho, _pi = sp.symbols("rho pi")
_TERMS = 6


def _forget(n: int) -> sp.Symbol:
    """1 - a b2^(2n+1) as a letter."""
    return sp.Symbol(f"forget{n}")


def _with_letters(prediction: Prediction) -> Prediction:
    """The prediction with Lion's correlation and the denominators of its geometric sums as arguments."""
    expr = prediction.expr.subs(theory.lion_correlation.expr, _rho)
    for n in range(_TERMS):
        expr = expr.subs(1 - keep * beta2 ** (2 * n + 1), _forget(n))
    added = (Quantity(str(x), "1", "letter") for x in (_rho, *map(_forget, range(_TERMS))))
    return replace(prediction, expr=expr, quantities=(*prediction.quantities, *added))


def _average() -> tuple[sp.Expr, sp.Expr]:
    """E c^2 and E c_next c for the stationary average m' = b2 m + (1-b2) g, c = b1 m + (1-b1) g."""
    M = sp.Symbol("M")
    (m,) = letters("m")
    E = Gram(m_m=M, g_g=1, g_m=0)
    after, c = average(m, g, beta2), average(m, g, beta1)
    rest = at_rest([sp.expand(E(after, after) - M)], (M,))
    here, lagged = (sp.cancel(sp.expand(x).subs(rest)) for x in (E(c, c), beta1 * E(after, c)))
    return here, lagged


@claim(
    "I39",
    "Lion turns by sqrt(pi/2) sqrt(2 lr wd ((1-b1)^2 + b1^2 (1-b2)/(1+b2))) to first order, sign linearised; "
    "norm and turn by the arcsine law",
    "any number of weights, independent Gaussian gradients; exact but for the series of asin (six terms)",
    KOSSON + ", code; exact form derived",
    given=[
        "Van Vleck: signs of two Gaussians of correlation r have correlation (2/pi) asin r",
        "a sign linearised: sqrt(2/pi) c/sigma, of covariances (2/pi) r",
    ],
)
def lion(gaussian: bool = True, independent_gradients: bool = True, stationary: bool = True) -> Checks:
    """Sums over lags j of a^j r_j, where r_j = rho b2^(j-1) or its powers, by their first-step equation."""
    square, with_before = _average()
    shared = sp.S.Zero if independent_gradients else sp.Symbol("E<g,g_before>")
    rho = (with_before + shared) / square
    yield obeys("correlation", theory.lion_correlation, lambda f: [f.value - rho])
    slope = 2 / _pi if gaussian else sp.Symbol("slope")
    moving = sp.S.Zero if stationary else sp.Symbol("change")
    # 1 + 2 sum over lags of the correlations: the square of the response to a constant gradient, which is 1
    yield zero("response to a constant", square + 2 * with_before / (1 - beta2) - 1)
    linear = lr**2 * dimension * slope / square / (2 * product) + moving
    yield obeys(
        "norm, linearised", theory.lion_linear_squared_norm, lambda f: [f.value - _with_pi(linear, f)]
    )
    yield obeys(
        "turn, linearised, squared",
        theory.lion_rotation,
        lambda f: [f.power(2) - _with_pi(lr**2 * dimension / linear, f)],
    )
    yield from _arcsine()
    memory = _memory(slope)
    norm, cross = _second_moments(memory, moving)
    squared_norm = _with_letters(theory.lion_equilibrium_squared_norm)
    yield obeys("norm", squared_norm, lambda f: [f.value - _with_pi(norm, f)])
    cosine = _with_letters(theory.lion_turn_cosine)
    yield obeys("cosine", cosine, lambda f: [f.value - _with_pi(keep - lr * cross / norm, f)])


def _with_pi(expr: sp.Expr, f: Face) -> sp.Expr:
    """pi as the letter of the formula's reader."""
    return expr.subs(_pi, f.reader.letter(sp.pi, "pi"))


def _arcsine() -> Checks:
    """The series of asin to six terms: (1 - x^2) y'' = x y' up to the last power, y'(0) = 1."""
    x = sp.Symbol("x")
    series = sp.Add(*(c * x ** (2 * n + 1) for n, c in enumerate(_coefficients())))
    rest = sp.Poly((1 - x**2) * sp.diff(series, x, 2) - x * sp.diff(series, x), x)
    for power in range(2 * _TERMS - 1):
        yield zero(f"asin, power {power}", rest.coeff_monomial(x**power))
    yield zero("asin'(0) = 1", sp.diff(series, x).subs(x, 0) - 1)


def _coefficients() -> list[sp.Expr]:
    return [sp.binomial(2 * n, n) / (sp.Integer(4) ** n * (2 * n + 1)) for n in range(_TERMS)]


def _memory(slope: sp.Expr) -> sp.Expr:
    """sum over j >= 1 of a^j (2/pi) asin(rho b2^(j-1)): every term is geometric, s = a (r + q s)."""
    memory = sp.S.Zero
    for n, c in enumerate(_coefficients()):
        s, q = sp.Symbol("s"), beta2 ** (2 * n + 1)
        term = at_rest([keep * (slope * c * _rho ** (2 * n + 1) + q * s) - s], (s,))[s]
        memory += sp.cancel(term * (1 - keep * q)) / _forget(n)
    return memory


def _second_moments(memory: sp.Expr, moving: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """E|w|^2 and E<w, u> under w' = a w - lr u; w = -lr sum over j >= 1 of a^(j-1) u_(t-j)."""
    A, C = sp.symbols("A C")
    (u,) = letters("u")
    E = Gram(w_w=A, u_w=C, u_u=dimension)
    after = rescaled_step(w, u, lr, weight_decay)
    cross = -lr * dimension * memory / keep
    norm = at_rest([sp.expand(E(after, after)) - A - moving], (A,))[A].subs(C, cross)
    return norm, cross
