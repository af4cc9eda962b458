"""Proofs about SDEs as models of SGD: moments of SVAG, what closeness of the two requires of the noise."""

from collections.abc import Callable

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.inequalities import coefficients_nonnegative
from proofs_check.judge import given
from proofs_check.normalised import Checks, claim, g, product, w
from proofs_check.systems import R, sgd_step, weight_decay_sde
from proofs_check.vectors import Gram, letters
from sdetheory.predictions import stationary_moments, svag
from sdetheory.predictions.intrinsic_lr import lr, trace, unit_squared_gradient, weight_decay
from sdetheory.predictions.stationary_moments import closeness, noise_trace, squared_mean
from sdetheory.predictions.svag import refinement

LMA = "Li, Malladi, Arora 2021"
_C, _G, _N = closeness, squared_mean, noise_trace
_R2, _G2, _N2 = sp.symbols("R_2 G_2 N_2")
_norm_slack, _noise_slack, _gradient_slack = sp.symbols("norm_slack noise_slack gradient_slack")


@claim(
    "I45",
    "SVAG(l): sums of powers of the two weights 1, l, (3l-1)/2, (l^2+2l-1)/2; third cumulant per time like 1/l",
    "every l >= 1, independent batches of any law; the second variant: Sigma + (l-1)(Sigma + grad L grad L^T)",
    LMA,
    given=["cumulants of independent batches add up, the p-th with the p-th powers of the weights"],
)
def svag_moments(right_root: bool = True, independent: bool = True, fair_coin: bool = True) -> Checks:
    """First weight a and second 1 - a; the coin variant multiplies the gradient by 1 + root xi, xi = +-1."""
    first = svag.svag_first_coefficient
    target = refinement if right_root else 2 * refinement
    yield obeys(
        "first weight",
        first,
        lambda f: [f.value**2 + (1 - f.value) ** 2 - target, f.at(refinement=1) - 1],
    )
    a, b, s = first.expr, 1 - first.expr, sp.Symbol("s")
    E = Gram(x_x=trace, y_y=trace, **({"x_y": 0} if independent else {}))
    x, y = letters("x y")
    modulo = given([s**2 - 2 * refinement + 1], {s: 3, refinement: 5})
    step = ((1 + s) / 2) * x + ((1 - s) / 2) * y
    yield equal("covariance", E(step, step), refinement * trace, modulo)
    for power, moment in (
        (2, svag.svag_second_moment), (3, svag.svag_third_moment), (4, svag.svag_fourth_moment),
    ):  # fmt: skip
        yield obeys(moment.name, moment, _sum_of_powers(power), companions=[a, b])
    third = refinement * svag.svag_third_moment.expr / refinement**3  # l steps, each with lr/l
    yield obeys("third cumulant per time", svag.svag_third_cumulant_per_time, lambda f: [f.value - third])
    total = trace + unit_squared_gradient  # E|batch gradient|^2
    root, mean = sp.Symbol("root"), 0 if fair_coin else sp.Symbol("bias")
    coin = given([root**2 - refinement + 1], {root: 2, refinement: 5})
    covariance = (1 + 2 * root * mean + root**2) * total - unit_squared_gradient
    yield obeys("coin variant", svag.coin_svag_variance, lambda f: [f.value - covariance], coin)


def _sum_of_powers(power: int) -> Callable[[Face], list[sp.Expr]]:
    """What is left of the formula without the sum of the powers of its companions."""
    return lambda f: [f.value - sp.Add(*(weight**power for weight in f.companions))]


def _sgd_balance(rate: sp.Expr, norm: sp.Expr, gradient: sp.Expr, noise: sp.Expr) -> sp.Expr:
    """E|w'|^2 - E|w|^2 over lr, at E|g|^2 = gradient + noise: zero for a stationary law (I47)."""
    dot = Gram(w_w=norm, g_g=gradient + noise, g_w=0)
    after = sgd_step(w, g, rate, weight_decay)
    return sp.expand((dot(after, after) - norm) / rate)


def _sde_balance() -> sp.Expr:
    """The drift of E|W|^2 over lr, at E Tr Sigma_W = N_2 and E|W|^2 = R_2."""
    drift = sp.expand(weight_decay_sde().ito.generator(R).subs(trace, _N2 * R))
    return sp.expand(drift.subs(R, _R2) / lr)


@claim(
    "I48",
    "SGD and SDE with E|w|^2 and E Tr Sigma within a factor C need G/N <= C^2 - 1",
    "any dimension, any stationary laws of scale-invariant batches",
    LMA + ", section 5",
    given=["the second moments of the stationary laws are finite"],
    latex=r"G/N\le C^2-1",
)
def closeness_to_sde(close_norm: bool = True, close_noise: bool = True) -> Checks:
    """R = C R_2 - slack and N_2 = C N - slack with slacks >= 0, in the two balances of I47."""
    norm = _C * _R2 - _norm_slack if close_norm else _C * _R2 + _norm_slack
    noise = _C * _N - _noise_slack if close_noise else _C * _N + _noise_slack
    relations = [_sgd_balance(lr, R, _G, _N), _sde_balance(), R - norm, _N2 - noise]
    sign = 1 if close_norm else -1, 1 if close_noise else -1
    rest = _C * _noise_slack * sign[1] + _N2 / _R2 * (_norm_slack * sign[0] + product * R / 2)
    modulo = given(relations, _point(relations), nonzero=[lr, weight_decay, _R2])
    limit = stationary_moments.largest_signal_to_noise
    yield obeys("(largest G/N) N - G", limit, lambda f: [f.value * _N - _G - rest], modulo)
    yield coefficients_nonnegative("it is >= 0", rest)


def _point(relations: list[sp.Expr]) -> dict[sp.Symbol, sp.Expr]:
    """A point that satisfies the relations."""
    start = {lr: 1, weight_decay: 1, R: sp.Rational(5, 2), _N: 2, _C: 2, _noise_slack: 1}
    (found,) = sp.solve([r.subs(start) for r in relations], [_G, _R2, _N2, _norm_slack], dict=True)
    return start | found


@claim(
    "I49",
    "batch and lr times kappa, with norm, gradient and noise within a factor C, need kappa <= C^2 + (C^2-1) N/G",
    "any dimension, any stationary laws, kappa >= 1; G and N of the base run",
    LMA + ", section 5",
    given=["the second moments of the stationary laws are finite"],
    latex=r"\kappa\le C^2+(C^2-1)N/G",
)
def linear_scaling_rule(
    close_norm: bool = True, close_gradient: bool = True, close_noise: bool = True
) -> Checks:
    """R_2 = C R - slack, C G_2 = G + slack, C kappa N_2 = N + slack, kappa = 1 + more, in I47 for both runs."""
    more = sp.Symbol("more")
    kappa = 1 + more
    signs = [1 if close else -1 for close in (close_norm, close_gradient, close_noise)]
    slacks = _norm_slack, _gradient_slack, _noise_slack
    norm, gradient, noise = (s * x for s, x in zip(signs, slacks, strict=True))
    relations = [
        _sgd_balance(lr, R, _G, _N),
        _sgd_balance(kappa * lr, _R2, _G2, _N2),
        _R2 - _C * R + norm,
        _C * _G2 - _G - gradient,
        _C * kappa * _N2 - _N - noise,
    ]
    pull = kappa * lr * (_G2 + _N2) / weight_decay / _R2  # = 2 - kappa lr wd > 0
    scale = _C * weight_decay / lr
    parts = scale * _C * more * product * R, scale * pull * norm, kappa * gradient, noise
    rest = sp.Add(*parts)
    by = _solution(relations, (_N, _R2, _G2, _N2, _gradient_slack))
    limit = stationary_moments.largest_scaling
    yield obeys("(largest kappa - kappa) G", limit, lambda f: [by((f.value - kappa) * _G - rest)])
    for name, part in zip(("kappa >= 1", "norm", "gradient", "noise"), parts, strict=True):
        yield coefficients_nonnegative(f"its part >= 0: {name}", part)


def _solution(relations: list[sp.Expr], letters: tuple[sp.Symbol, ...]) -> Callable[[sp.Expr], sp.Expr]:
    """Substitutes the solution of the relations, each linear in a letter."""
    (found,) = sp.solve(relations, letters, dict=True)
    return lambda expr: expr.subs(found, simultaneous=True)
