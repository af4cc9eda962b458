"""Proofs about normalised networks under SGD and weight decay: any dimension, any scale-invariant loss."""

from collections.abc import Iterator
from functools import partial

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys, vanishes
from proofs_check.claim import claim as _claim
from proofs_check.face import Face
from proofs_check.field import Derivation, Ito
from proofs_check.judge import Verdict, given, zero
from proofs_check.systems import R, c, r, sgd_step, weight_decay_sde
from proofs_check.vectors import Gram, letters, taylor
from sdetheory.predictions import intrinsic_lr as predicted
from sdetheory.predictions.intrinsic_lr import (
    error, factor, gamma0, gamma_now, lr, lr_log_rate, mean_fourth, mean_square, squared_gradient, step_lr, t, trace,
    unit_squared_gradient, weight_decay,
)  # fmt: skip

MEANINGS = {
    "scale_invariant": "every batch loss satisfies L(c w) = L(w) for all c > 0",
    "tangent": "gradients and noise are orthogonal to w (I1, I2)",
    "homogeneous": "gradient and noise scale like 1/|w| (I1, I2)",
    "stationary": "the law of |w| does not change",
    "constant_trace": "the trace of the gradient covariance on the sphere is constant",
    "initial": "gamma starts at gamma0",
    "equilibrium_before": "gamma was at equilibrium when lr or wd was divided by K",
    "continuous_norm": "|W| does not jump when lr does",
    "same_product": "lr*wd is the same",
    "same_gamma": "gamma is the same at the start",
}
claim = partial(_claim, where=MEANINGS)
_LLA = "Li, Lyu, Arora 2020"
_SMD = "Wan et al. 2021"
Checks = Iterator[Verdict]
w, g, u = letters("w g u")
HALF = sp.Rational(1, 2)
product = lr * weight_decay
gamma_of_R = predicted.gamma_of_norm.expr


@claim(
    "I1", "a scale-invariant loss has <w, grad L> = 0, Hess w = -grad L, grad L(cw) = grad L(w)/c, Hess(cw) = Hess/c^2",
    "any dimension, any twice differentiable loss; the models Rayleigh, von Mises-Fisher, circle and their batches",
    "Li, Arora 2019, lemma 1; " + _LLA,
    latex=r"\langle w,\nabla L(w)\rangle=0,\quad \nabla L(cw)=\nabla L(w)/c,\quad \nabla^2L(w)w=-\nabla L(w)",
)  # fmt: skip
def euler(scale_invariant: bool = True) -> Checks:
    """Taylor coefficients of L((1+e)(w+fu)) - L(w+fu) and of L(cw+cfu) - L(w+fu), which vanish by definition."""
    dot, form, dot_c, form_c = Gram(), _form("H"), _form("g_c"), _form("H_c")
    e, f, k = sp.symbols("e f k")
    gap = taylor(dot, form, e * w + ((1 + e) * f) * u) - taylor(dot, form, f * u)
    moved = taylor(dot_c, form_c, (k * f) * u) - taylor(dot, form, f * u)
    relations = [sp.diff(gap, *by).subs({e: 0, f: 0}) for by in ((e,), (e, 2), (e, f))]
    relations += [sp.diff(moved, f, n).subs(f, 0) for n in (1, 2)]
    gw, gu, Huw, Hww, Huu = dot(g, w), dot(g, u), form(u, w), form(w, w), form(u, u)
    gcu, Hcuu = dot_c(g, u), form_c(u, u)
    example = {gw: 0, Hww: 0, gu: 6, Huw: -6, Huu: 12, k: 2, gcu: 3, Hcuu: 3}
    modulo = given(relations, example) if scale_invariant else ()
    yield zero("<w,g> = 0", gw, modulo)
    yield zero("<u,Hw> = -<u,g> for every u", Huw + gu, modulo)
    yield zero("<w,Hw> = 0", Hww, modulo)
    yield zero("<u,grad L(cw)> = <u,grad L(w)>/c for every u", gcu - gu / k, modulo)
    yield zero("<u,Hess(cw)u> = <u,Hess(w)u>/c^2 for every u", Hcuu - Huu / k**2, modulo)
    for name, loss, x in _models():
        yield vanishes(f"<w,grad L> of {name}", x.dot(systems.gradient(loss, x)))


def _form(name: str) -> Gram:
    """A bilinear form with free values <x, y>_name."""
    return Gram(**{f"{x}_{y}": sp.Symbol(f"{name}({x},{y})") for x in "guw" for y in "guw" if x <= y})


def _models() -> Iterator[tuple[str, sp.Expr, sp.Matrix]]:
    """Every loss of the package that has to be scale invariant, with its weights."""
    x, A, mu, z = systems.column("w", 3), systems.symmetric("a", 3), systems.column("mu", 3), systems.column("z", 3)
    k, h, s, sigma = sp.symbols("k h s sigma")
    yield "Rayleigh", systems.rayleigh(x, A), x
    yield "von Mises-Fisher", systems.von_mises_fisher(x, mu, k), x
    yield "circle", systems.circle(systems.column("w", 2), h), systems.column("w", 2)
    yield "GOE batch", systems.goe_batch(x, A, s, systems.symmetric("e", 3)), x
    yield "noisy linear batch", systems.noisy_linear_batch(x, mu, k, sigma, z), x


@claim(
    "I2", "the covariance of scale-invariant batches has Sigma_w w = 0 and Sigma_cw = Sigma_w/c^2",
    "any dimension, any law of batches; explicitly isotropic for GOE batches (2s) and noisy linear batches, d = 3",
    _LLA, latex=r"\Sigma_w w=0,\quad \Sigma_{cw}=c^{-2}\Sigma_w",
)  # fmt: skip
def covariance(scale_invariant: bool = True) -> Checks:
    """Sigma_w = E n n^T, n = (batch gradient - its mean): both statements hold for every batch, under E."""
    k = sp.Symbol("k")
    batch, batch_c, mean_c = letters("b b_c g_c") if not scale_invariant else (*letters("b"), None, None)
    dot = Gram(b_w=0, g_w=0) if scale_invariant else Gram()
    n = batch - g
    n_c = (1 / k) * n if scale_invariant else batch_c - mean_c
    yield zero("<u, n n^T w> for every batch", dot(u, n) * dot(n, w))
    yield zero("<u, n n^T u> at cw", dot(u, n_c) ** 2 - dot(u, n) ** 2 / k**2)
    x, mu, z = systems.column("w", 3), systems.column("mu", 3), systems.column("z", 3)
    E, s, sigma, strength = systems.symmetric("e", 3), *sp.symbols("s sigma k")
    goe = systems.goe_batch(x, systems.symmetric("a", 3), s, E)
    linear = systems.noisy_linear_batch(x, mu, strength, sigma, z)
    for name, loss, variances, scale in (
        ("GOE batch", goe, systems.goe_variances(E), 2 * s),
        ("noisy linear batch", linear, dict.fromkeys(z, 1), sigma),
    ):
        gap = systems.batch_covariance(loss, x, variances) - systems.isotropic(x, scale)
        for entry in gap:
            yield vanishes(f"{name}: Sigma is isotropic", entry)


@claim(
    "I3", "squared norm after one SGD step: (1 - lr wd)^2 |w|^2 + lr^2 |g|^2",
    "any dimension, every step, any batch", "van Laarhoven 2017; " + _SMD,
)  # fmt: skip
def norm_step(tangent: bool = True) -> Checks:
    """Pythagoras."""
    dot = Gram(w_w=R, g_g=squared_gradient, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, weight_decay)
    yield equal("|w'|^2", dot(after, after), predicted.squared_norm_step)


@claim(
    "I4", "the direction performs projected SGD with learning rate lr/((1 - lr wd)|w|^2)",
    "any dimension, every step, any batch", "Lyu, Li, Arora 2022",
    latex=r"\bar w'=\Pi(\bar w-\tilde\eta\,\bar g)",
)  # fmt: skip
def direction_step(homogeneous: bool = True) -> Checks:
    """w' is a positive multiple of w/|w| - etat grad L(w/|w|): letters w, g are the unit vector and its gradient."""
    gradient = (1 / r) * g if homogeneous else g
    after = sgd_step(r * w, gradient, lr, weight_decay)
    scale = after["w"]
    yield equal("etat", -after["g"] / scale, predicted.direction_lr, squared_norm=r**2)
    yield zero("scale", scale - r * (1 - product))


@claim(
    "I5", "1/etat' = (1 - lr wd)^2 (1/etat + etat |gbar|^2)",
    "any dimension, every step, constant lr and wd", "Lyu, Li, Arora 2022, quasi-RMSprop",
)  # fmt: skip
def direction_lr_step(tangent: bool = True) -> Checks:
    """etat of the next step, from the norm of the next state."""
    dot = Gram(w_w=R, g_g=unit_squared_gradient / R, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, weight_decay)
    etat = predicted.direction_lr.expr
    following = predicted.direction_lr.at(squared_norm=dot(after, after))
    yield obeys("etat'", predicted.direction_lr_step, lambda f: [f.at(step_lr=etat) - following])


@claim(
    "I6", "d|W|^2/dt = -2 lr wd |W|^2 + lr^2 S/|W|^2, without noise", "any dimension, any S(W), pathwise", _LLA,
)  # fmt: skip
def norm_equation(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """Ito's formula for |W|^2."""
    ito = weight_decay_sde(tangent, homogeneous).ito
    yield equal("drift of |W|^2", ito.generator(R), predicted.squared_norm_rate)
    yield zero("no noise in |W|^2", ito.martingale(R).get("<W,dM>", sp.S.Zero))
    yield zero("no quadratic variation", ito.bracket[R, R])
    yield zero("none with any direction", ito.bracket[R, c])


@claim(
    "I7", "d|W|^4/dt = -4 lr wd |W|^4 + 2 lr^2 S: linear", "any dimension, any S(W), pathwise", _LLA,
)  # fmt: skip
def fourth_power(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """Ito's formula for |W|^4."""
    ito = weight_decay_sde(tangent, homogeneous).ito
    yield equal("drift of |W|^4", ito.generator(R**2), predicted.fourth_power_rate)


@claim(
    "I8", "dWbar = -gamma^(-1/2) (grad L dt + Sigma^(1/2) dB) - S/(2 gamma) Wbar dt",
    "any dimension: tested against every fixed vector u", _LLA,
    latex=r"d\bar W=-\gamma^{-1/2}(\nabla L\,dt+\Sigma^{1/2}dB)-\tfrac{S}{2\gamma}\bar W\,dt",
)  # fmt: skip
def direction_sde(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """Ito's formula for <u, W>/|W|; effective_lr_of_gamma is the square root, so its square is compared."""
    sde = weight_decay_sde(tangent, homogeneous)
    speed = lr / R
    rest = -(sde.ito.generator(c / r) + speed * sde.pull) / (c / r)
    yield equal("coefficient of -Wbar", rest, predicted.direction_shrinkage, sde.radius, gamma=gamma_of_R)
    noise = sde.ito.martingale(c / r)
    yield zero("coefficient of Sigma^(1/2) dB", noise["<u,dM>"] - speed, sde.radius)
    yield zero("no radial noise", noise.get("<W,dM>", sp.S.Zero), sde.radius)
    yield obeys("gamma^(-1/2) = lr/|W|^2", predicted.effective_lr_of_gamma,
                lambda f: [f.power(2, gamma=gamma_of_R) - speed**2])
    yield equal("effective lr", speed, predicted.effective_lr)


@claim(
    "I9", "d gamma/dt = -4 lr wd gamma + 2 S", "any dimension, any S(W), constant lr, pathwise", _LLA,
)  # fmt: skip
def gamma_equation(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """Ito's formula for gamma = |W|^4/lr^2."""
    ito = weight_decay_sde(tangent, homogeneous).ito
    yield equal("drift of gamma", ito.generator(gamma_of_R), predicted.gamma_rate, gamma=gamma_of_R)
    yield zero("no noise", ito.partials[R](gamma_of_R) * ito.bracket[R, R])


@claim(
    "I10", "gamma_t = e^(-4 lr wd t) gamma_0 + 2 int e^(-4 lr wd (t-s)) S_s ds",
    "any integrable S(t), pathwise; closed form for constant S, wd = 0 included as the limit", _LLA,
    latex=r"\gamma_t=e^{-4\eta\lambda t}\gamma_0+2\int_0^te^{-4\eta\lambda(t-s)}S_s\,ds",
)  # fmt: skip
def closed_form(tangent: bool = True, initial: bool = True) -> Checks:
    """The derivative and the initial value; E is e^(-4 lr wd t), J is the integral of S/E."""
    rate = _gamma_drift(tangent)
    start = gamma0 if initial else sp.Symbol("other_start")
    E, J = sp.symbols("E J")
    D = Derivation({E: -4 * product * E, J: trace / E})
    general = E * start + 2 * E * J
    yield zero("derivative, any S(t)", D(general) - rate.subs(gamma_now, general))
    yield equal("start, any S(t)", general.subs({E: 1, J: 0}), gamma0)
    yield obeys("constant S", predicted.gamma,
                lambda f: [f.rate(t) - rate.subs(gamma_now, f.value), f.at(t=0) - start])
    yield obeys("effective lr", predicted.effective_lr_at, lambda f: [f.power(2) * f.companions[0] - 1],
                companions=[predicted.gamma.expr])
    yield obeys("squared norm", predicted.squared_norm, lambda f: [f.power(2) - lr**2 * f.companions[0]],
                companions=[predicted.gamma.at(gamma0=predicted.gamma_of_norm.at(squared_norm=predicted.squared_norm0))])


def _gamma_drift(tangent: bool = True) -> sp.Expr:
    """The drift of gamma derived from the SDE, as a function of the letter gamma: R^2 is lr^2 gamma."""
    drift = weight_decay_sde(tangent).ito.generator(gamma_of_R)
    return sp.expand(drift).subs(R**2, lr**2 * gamma_now)


@claim(
    "I11", "under schedules, lr wd becomes lr wd + (1/2) d ln(lr)/dt",
    "any dimension, smooth lr(t) and wd(t), pathwise", _LLA,
)  # fmt: skip
def schedules(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """The product rule for |W|^4/lr(t)^2, and variation of constants with E' = -4 (lr wd + lr'/(2 lr)) E."""
    ito = weight_decay_sde(tangent, homogeneous, varying=True).ito
    yield equal("drift of gamma", ito.generator(gamma_of_R), predicted.gamma_rate_schedule, gamma=gamma_of_R)
    E, J = sp.symbols("E J")
    D = Derivation({E: -4 * (product + lr_log_rate / 2) * E, J: trace / E})
    solution = E * gamma0 + 2 * E * J
    yield zero("closed form", D(solution) - predicted.gamma_rate_schedule.at(gamma=solution))
    yield equal("start", solution.subs({E: 1, J: 0}), gamma0)


@claim(
    "I12", "the law of (W/|W|, gamma) depends on (lr, wd, W_0) only through lr*wd and gamma_0",
    "any dimension: every coefficient of the generator of (direction, gamma) is free of lr", _LLA,
    latex=r"(\bar W_t,\gamma_t)\ \text{depends on}\ \eta,\lambda,W_0\ \text{only through}\ \eta\lambda,\ \gamma_0,\ \bar W_0",
)  # fmt: skip
def only_the_product(same_product: bool = True, same_gamma: bool = True) -> Checks:
    """In the chart |W|^2 = r^2, lr = r^2/q, wd = le/lr, <u,W> = x r (so that gamma = q^2) nothing depends on r."""
    sde, q, le, x = weight_decay_sde(), *sp.symbols("q le x")
    rate = r**2 / q if same_gamma else lr
    chart = {lr: rate, R: r**2, c: x * r} | ({weight_decay: le / rate} if same_product else {})
    coefficients = {
        "drift of gamma": sde.ito.generator(gamma_of_R),
        "drift of the direction": sde.ito.generator(c / r),
        "noise of the direction": sde.ito.martingale(c / r)["<u,dM>"],
    }
    for name, value in coefficients.items():
        yield zero(f"{name} is free of |W| and lr", sp.diff(value.subs(chart, simultaneous=True), r))


@claim(
    "I13", "(lr, wd, w) -> (c^2 lr, wd/c^2, c w) gives the same directions",
    "any dimension, every step with the same batches, pathwise", "Li, Arora 2019, lemma 2",
    latex=r"(c^2\eta,\lambda/c^2,cw_0)\ \Rightarrow\ w'_t=c\,w_t",
)  # fmt: skip
def rescaling(scale_invariant: bool = True) -> Checks:
    """One step, homogeneous gradient."""
    k = sp.Symbol("k")
    at_kw = (1 / k) * g if scale_invariant else letters("g_k")[0]
    for name, v in (sgd_step(k * w, at_kw, k**2 * lr, weight_decay / k**2) - k * sgd_step(w, g, lr, weight_decay)).items():
        yield zero(f"coefficient of {name}", v)


@claim(
    "I14", "w'_t = c_t w_t is SGD with lr' = c_t c_(t+1) lr and 1 - lr' wd' = (c_(t+1)/c_t)(1 - lr wd)",
    "any dimension, any gauge c_t > 0, pathwise", "generalises Li, Arora 2019",
    latex=r"\eta'_t=c_tc_{t+1}\eta,\quad 1-\eta'_t\lambda'_t=\tfrac{c_{t+1}}{c_t}(1-\eta\lambda)",
)  # fmt: skip
def gauge(scale_invariant: bool = True) -> Checks:
    """One step from c w to c+ w'."""
    k, following = sp.symbols("k k_next")
    at_kw = (1 / k) * g if scale_invariant else letters("g_k")[0]
    new_lr = k * following * lr
    new_decay = (1 - following / k * (1 - product)) / new_lr
    gap = sgd_step(k * w, at_kw, new_lr, new_decay) - following * sgd_step(w, g, lr, weight_decay)
    for name, v in gap.items():
        yield zero(f"coefficient of {name}", v)


@claim(
    "I15", "E gamma = E S/(2 lr wd) for every stationary law", "any dimension, any S(W)", _LLA,
    given=["gamma and S are integrable under the stationary law"],
)  # fmt: skip
def stationary_gamma(tangent: bool = True, stationary: bool = True) -> Checks:
    """E of the drift of gamma is zero; E is linear, so gamma and S become their means."""
    change = 0 if stationary else sp.Symbol("d_E_gamma")
    rate = _gamma_drift(tangent)
    yield obeys("E gamma", predicted.equilibrium_gamma, lambda f: [rate.subs(gamma_now, f.value) - change])


@claim(
    "I16", "|W|_*^4 = lr S/(2 wd), effective lr sqrt(2 lr wd/S)", "any dimension, S constant on the sphere", _LLA,
)  # fmt: skip
def equilibrium(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """The positive root of the drift of |W|^2."""
    drift = weight_decay_sde(tangent, homogeneous).ito.generator(R)
    yield obeys("|W|_*^2", predicted.equilibrium_squared_norm, lambda f: [drift.subs(R, f.value)])
    yield obeys("|W|_*", predicted.equilibrium_norm, lambda f: [drift.subs(R, f.value**2)])
    yield obeys("effective lr", predicted.equilibrium_effective_lr, lambda f: [drift.subs(R, lr / f.value)])
    yield obeys("gamma", predicted.equilibrium_gamma, lambda f: [lr**2 * f.value - f.companions[0] ** 2],
                companions=[predicted.equilibrium_squared_norm.expr])


@claim(
    "I17", "S between s1 and s2 keeps gamma between the two solutions with constant S", "any dimension, pathwise",
    _LLA, given=["a function with non-negative derivative does not decrease"],
    latex=r"s_1\le S\le s_2\ \Rightarrow\ \gamma[s_1]\le\gamma\le\gamma[s_2]",
)  # fmt: skip
def brackets(tangent: bool = True, same_start: bool = True) -> Checks:
    """With S = trace + excess, (gamma - gamma[trace])/E starts at 0 and has derivative 2 excess/E: it keeps its sign."""
    rate, excess = _gamma_drift(tangent), sp.Symbol("excess")
    start = gamma0 if same_start else sp.Symbol("other_start")
    J = sp.Symbol("J")

    def distance(f: Face) -> list[sp.Expr]:
        (E,) = f.companions
        D = Derivation({**f.form.rates(t), J: (trace + excess) / E})
        gamma = E * start + 2 * E * J
        own = D(gamma) - rate.subs({gamma_now: gamma, trace: trace + excess}, simultaneous=True)
        return [own, D((gamma - f.value) / E) - 2 * excess / E, start - f.at(t=0)]

    yield obeys("distance to the solution with constant S", predicted.gamma, distance, companions=[sp.exp(-4 * product * t)])


@claim(
    "I18", "gamma approaches equilibrium at rate 4 lr wd", "any dimension, S constant on the sphere, exact for all t",
    _LLA + " (as O(1/(lr wd)))",
)  # fmt: skip
def relaxation(tangent: bool = True, initial: bool = True) -> Checks:
    """The drift of gamma is -rate (gamma - gamma_*)."""
    drift = _gamma_drift(tangent)
    star = predicted.equilibrium_gamma.expr
    yield equal("rate", -sp.diff(drift, gamma_now), predicted.relaxation_rate)
    yield equal("drift", drift, -predicted.relaxation_rate.expr * (gamma_now - star))
    yield equal("time", 1 / predicted.relaxation_rate.expr, predicted.relaxation_time)
    distance = predicted.distance0
    start = sp.S.Zero if initial else sp.Symbol("delay")
    yield obeys("time to a relative distance", predicted.time_to_equilibrium,
                lambda f: [f.rate(distance) * (-drift.subs(gamma_now, star * (1 + distance)) / star) - 1,
                           f.at(distance0=error) - start])


@claim(
    "I19", "without weight decay and from a small start, effective lr = (2 S t)^(-1/2), |W|^2 = lr (2 S t)^(1/2)",
    "any dimension, S constant; exact in the limit gamma_0 -> 0", "Arora, Li, Lyu 2018",
)  # fmt: skip
def without_decay(no_decay: bool = True, small_start: bool = True) -> Checks:
    """gamma at wd = 0 and gamma_0 = 0."""
    at = ({"weight_decay": 0} if no_decay else {}) | ({"gamma0": 0} if small_start else {})
    grown = predicted.gamma.at(**at)
    yield obeys("effective lr", predicted.no_decay_effective_lr, lambda f: [f.power(2) * f.companions[0] - 1],
                companions=[grown])
    yield obeys("|W|^2", predicted.no_decay_squared_norm, lambda f: [f.power(2) - lr**2 * f.companions[0]],
                companions=[grown])


def _after_drop(rate: sp.Expr, new_lr: sp.Expr, new_decay: sp.Expr, ratio: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """(new equilibrium gamma, d ratio/dt) for ratio = gamma over that equilibrium."""
    new = {lr: new_lr, weight_decay: new_decay}
    star = predicted.equilibrium_gamma.expr.subs(new, simultaneous=True)
    return star, rate.subs(new, simultaneous=True).subs(gamma_now, ratio * star) / star


@claim(
    "I20", "lr/K at equilibrium: effective lr drops by K at once, gamma/gamma'_* = 1 + (K-1) e^(-4 lr wd t/K)",
    "any dimension, S constant; then it recovers by sqrt(K)", _LLA + ", effect of lr decay",
)  # fmt: skip
def lr_drop(tangent: bool = True, equilibrium_before: bool = True, continuous_norm: bool = True) -> Checks:
    """gamma = |W|^4/lr^2 jumps by K^2, its equilibrium by K; then the gamma equation at lr/K."""
    rate, old = _gamma_drift(tangent), predicted.equilibrium_gamma.expr
    start = old if equilibrium_before else gamma0
    jump = factor**2 if continuous_norm else 1

    def solves(f: Face) -> list[sp.Expr]:
        star, change = _after_drop(rate, lr / factor, weight_decay, f.value)
        return [f.rate(t) - change, f.at(t=0) - jump * start / star]

    yield obeys("gamma ratio", predicted.lr_drop_gamma_ratio, solves)
    ratio = predicted.lr_drop_gamma_ratio
    yield obeys("effective lr ratio", predicted.lr_drop_effective_lr_ratio,
                lambda f: [f.power(2) * f.companions[0] - 1], companions=[ratio.expr])
    yield obeys("recovery", predicted.lr_drop_recovery, lambda f: [f.power(2) - ratio.at(t=0)])


@claim(
    "I21", "wd/K at equilibrium: no jump, gamma/gamma'_* = 1 - (1-1/K) e^(-4 lr wd t/K), same equilibrium as lr/K",
    "any dimension, S constant", _LLA + ", figure of the wd and lr drops",
)  # fmt: skip
def wd_drop(tangent: bool = True, equilibrium_before: bool = True) -> Checks:
    """gamma starts at the old equilibrium; then the gamma equation at wd/K."""
    rate, old = _gamma_drift(tangent), predicted.equilibrium_gamma.expr
    start = old if equilibrium_before else gamma0

    def solves(f: Face) -> list[sp.Expr]:
        star, change = _after_drop(rate, lr, weight_decay / factor, f.value)
        return [f.rate(t) - change, f.at(t=0) - start / star]

    yield obeys("gamma ratio", predicted.wd_drop_gamma_ratio, solves)
    yield obeys("effective lr ratio", predicted.wd_drop_effective_lr_ratio,
                lambda f: [f.power(2) * f.companions[0] - 1], companions=[predicted.wd_drop_gamma_ratio.expr])
    final = predicted.equilibrium_effective_lr
    yield vanishes("same final effective lr",
                   final.at(lr=lr / factor) ** 2 - final.at(weight_decay=weight_decay / factor) ** 2)


@claim(
    "I25", "GD with weight decay on h x^2/(x^2+y^2): the ray x = 0 is unstable once y^2 < lr h/(1 - lr wd)",
    "exact multiplier of x/y, exact threshold", _LLA + ", toy example; " + "derived",
)  # fmt: skip
def circle_stability(homogeneous: bool = True) -> Checks:
    """The multiplier of x/y at x = 0 is 1 - 2 lr h/((1 - lr wd) y^2); it is -1 at the threshold."""
    z, h = systems.column("w", 2), predicted.height
    loss = systems.circle(z, h) if homogeneous else h * z[0] ** 2
    after = sgd_step(z, systems.gradient(loss, z), lr, weight_decay)
    x, y = z
    multiplier = sp.diff(sp.cancel(after[0] / after[1]), x).subs(x, 0) * y
    yield equal("multiplier", multiplier, 1 - 2 * lr * h / ((1 - product) * y**2))
    square = sp.Symbol("square")
    at = sp.cancel(multiplier).subs(y**2, square)
    yield obeys("threshold", predicted.circle_threshold, lambda f: [1 + at.subs(square, f.value)])


@claim(
    "I28", "isotropic noise, no loss: E<W_t/|W_t|, W_0/|W_0|> = e^(-lr wd t) |W_0|/|W_t|",
    "every dimension and time, S constant; SGD with gradients of fixed length: (1 - lr wd)^t |w_0|/|w_t|", "derived",
)  # fmt: skip
def memory(no_loss: bool = True, constant_trace: bool = True) -> Checks:
    """The mean of the direction obeys the linear part of I8; gamma is then deterministic (I10)."""
    sde = weight_decay_sde()
    shrink = predicted.direction_shrinkage
    drift = sde.ito.generator(c / r).subs({sde.pull: 0} if no_loss else {})
    yield zero("mean of the direction", drift + shrink.at(gamma=gamma_of_R) * c / r, sde.radius)
    rate = -shrink.expr if constant_trace else -shrink.at(trace=sp.Symbol("S_other"))
    yield obeys("correlation", predicted.direction_correlation,
                lambda f: [f.rate(t) - rate.subs(gamma_now, f.companions[0]) * f.value, f.at(t=0) - 1],
                companions=[predicted.gamma.expr])
    mean_step = sgd_step(w, 0 * g, lr, weight_decay)["w"]  # E<u, g> = 0 given the past
    yield obeys("SGD", predicted.discrete_direction_correlation,
                lambda f: [f.at(t=t + 1) - mean_step * f.value, f.at(t=0) - predicted.correlation0])


@claim(
    "I34", "fixed point |w|_*^4 = lr s/(wd (2 - lr wd)) of the exact norm step, multiplier 1 - 4 lr wd + 2 (lr wd)^2",
    "any dimension, finite steps, s = |gradient on the sphere|^2 constant", "exact form of " + _SMD,
)  # fmt: skip
def fixed_point(tangent: bool = True, stationary: bool = True) -> Checks:
    """The step of I3 with |g|^2 = s/|w|^2."""
    step = _norm_map(tangent)
    moved = sp.S.Zero if stationary else sp.Symbol("change")
    yield obeys("fixed point", predicted.discrete_equilibrium_squared_norm, lambda f: [step.subs(R, f.value) - f.value - moved])
    slope = sp.diff(step, R)
    yield obeys("multiplier", predicted.discrete_relaxation_multiplier,
                lambda f: [f.value - slope.subs(R, f.companions[0])],
                companions=[predicted.discrete_equilibrium_squared_norm.expr])


def _norm_map(tangent: bool = True) -> sp.Expr:
    """|w'|^2 as a function of |w|^2 when |gradient on the sphere|^2 is s."""
    dot = Gram(w_w=R, g_g=unit_squared_gradient / R, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, weight_decay)
    return dot(after, after)


@claim(
    "I35", "at the fixed point the direction turns by an angle with cosine 1 - lr wd in every step",
    "any dimension, finite steps, s constant", "exact form of " + _SMD,
)  # fmt: skip
def turn(tangent: bool = True, stationary: bool = True) -> Checks:
    """cos = <w, w'>/(|w||w'|), and |w'| = |w| at the fixed point."""
    dot = Gram(w_w=R, g_g=unit_squared_gradient / R, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, weight_decay)
    example = {lr: 1, weight_decay: HALF, R: 2, unit_squared_gradient: 3, sp.Symbol("<g,w>"): 0}
    star = given([dot(after, after) - R], example) if stationary else ()
    yield obeys("cosine, squared", predicted.turn_cosine,
                lambda f: [f.value**2 * R * dot(after, after) - dot(w, after) ** 2], star)
    yield equal("<w,w'>/|w|^2, its sign", dot(w, after) / R, predicted.turn_cosine)


@claim(
    "I36", "E gamma (1 - (1 - lr wd)^4) = 2 (1 - lr wd)^2 E s + E s^2/gamma",
    "any dimension, every stationary law of SGD", "derived from I3",
    given=["gamma, s and s^2/gamma are integrable under the stationary law"],
)  # fmt: skip
def stationary_identity(tangent: bool = True, stationary: bool = True) -> Checks:
    """gamma' is affine in gamma, s and s^2/gamma; E is linear."""
    s, q = unit_squared_gradient, sp.Symbol("q")
    after = _norm_map(tangent) ** 2 / lr**2
    keep = 1 - product
    affine = keep**4 * gamma_now + 2 * keep**2 * s + q
    modulo = given([R**2 - lr**2 * gamma_now, q * gamma_now - s**2], {R: 2, lr: 2, gamma_now: 1, s: 3, q: 9})
    yield equal("gamma'", after, affine, modulo)
    change = 0 if stationary else sp.Symbol("d_E_gamma")
    mean = affine.subs({s: mean_square, q: mean_fourth})
    yield obeys("mean", predicted.stationary_mean_gamma,
                lambda f: [mean.subs(gamma_now, f.value) - f.value - change])


@claim(
    "I55", "Var|w|^2/|w|_*^4 = lr wd (2 - lr wd)/(4 (1 - lr wd)^2) Var s/(E s)^2",
    "independent s of each step; the norm step linearised at its fixed point", "derived from I3",
)  # fmt: skip
def norm_fluctuation(independent: bool = True, linearised_step: bool = True) -> Checks:
    """Stationary variance V of the autoregression dR' = m dR + (lr^2/R) ds around the fixed point."""
    s, step = unit_squared_gradient, _norm_map()
    m, push = (sp.diff(step, x) for x in (R, s))
    m = m if linearised_step else m + sp.Symbol("curvature")
    crossed = 0 if independent else 2 * m * push * sp.Symbol("covariance")
    star = {s: R**2 * (1 - (1 - product) ** 2) / lr**2}
    yield zero("the fixed point", (step - R).subs(star))

    def stays(f: Face) -> list[sp.Expr]:
        variance = f.value * R**2
        after = m**2 * variance + push**2 * predicted.relative_variance * s**2 + crossed
        return [(after - variance).subs(star)]

    yield obeys("relative variance", predicted.squared_norm_fluctuation, stays)


@claim(
    "I29", "isotropic noise at equilibrium: spherical harmonics of degree l decay at rate l(l+d-2) lr wd/(d-1)",
    "every dimension d and degree l, any homogeneous harmonic polynomial", "Laplace-Beltrami spectrum",
)  # fmt: skip
def harmonics(harmonic: bool = True, homogeneous_polynomial: bool = True) -> Checks:
    """Generator of spherical Brownian motion on H/|w|^l: Laplacian of a function of degree 0, times lr^2 sigma^2/(2R)."""
    degree, d = predicted.degree, predicted.dimension
    H, p, q, laplacian = sp.symbols("H p q Lap")  # p = |w|^-l, q = |grad H|^2
    euler_degree = degree if homogeneous_polynomial else sp.Symbol("k")  # <w, grad H> = l H
    partials = {R: Derivation({R: 1, p: -degree * p / (2 * R)}), H: Derivation({H: 1})}
    drift = {R: 2 * d, H: 0 if harmonic else laplacian}
    bracket = {(R, R): 8 * R, (R, H): 4 * euler_degree * H, (H, R): 4 * euler_degree * H, (H, H): 2 * q}
    on_sphere = R * Ito(partials, drift, bracket).generator(H * p)
    yield equal("R Laplacian of H/|w|^l", on_sphere, -degree * (degree + d - 2) * H * p)
    sigma = sp.Symbol("sigma")  # trace = sigma^2 (d - 1)
    speed = sigma**2 / 2 / predicted.equilibrium_gamma.at(trace=sigma**2 * (d - 1))
    yield obeys("rate", predicted.harmonic_rate, lambda f: [f.value * H * p + speed * on_sphere])


@claim(
    "I30", "linear loss -k<mu,w>/|w|, isotropic noise: the direction is von Mises-Fisher, kappa = k sqrt(2(d-1)/(lr wd))/sigma",
    "every dimension d; zero probability flux of <mu, W/|W|> at the equilibrium of gamma", "derived; Mardia, Jupp 2000",
    given=["the one-dimensional diffusion <mu, W/|W|> has one stationary law, the one without flux"],
)  # fmt: skip
def von_mises_fisher(tangent: bool = True, stationary: bool = True) -> Checks:
    """Drift and variance of x = <mu, W/|W|> from I8; p'/p of (1-x^2)^((d-3)/2) e^(kappa x) makes the flux vanish."""
    x, d, k, sigma = sp.Symbol("x"), predicted.dimension, predicted.strength, predicted.noise
    point, mu = systems.column("w", 3), systems.column("mu", 3)
    R3 = point.dot(point)
    pull = mu.dot(systems.gradient(systems.von_mises_fisher(point, mu, k), point))
    yield vanishes("<mu,grad L> = -k(|mu|^2 - x^2)/|w|, d = 3",
                   pull + k * (mu.dot(mu) - mu.dot(point) ** 2 / R3) / sp.sqrt(R3))
    sde = weight_decay_sde(tangent)
    unit = {c: x * r, sde.pull: -k * (1 - x**2), trace: sigma**2 * (d - 1), systems.S_uu: sigma**2 * (1 - x**2)}
    drift = sde.ito.generator(c / r).subs(unit, simultaneous=True)
    variance = sde.ito.martingale(c / r)["<u,dM>"] ** 2 * sigma**2 * (1 - x**2)
    kappa = 2 * k * R / (lr * sigma**2)
    log_density = kappa - (d - 3) * x / (1 - x**2)
    yield zero("no flux", drift - (sp.diff(variance, x) + variance * log_density) / 2, sde.radius)
    rest = sde.ito.drift[R].subs(unit, simultaneous=True)
    example = {lr: 1, weight_decay: HALF, R: 6, sigma: 3, d: 5, sp.Symbol("<g,w>"): 0}
    modulo = given([rest], example, nonzero=[lr]) if stationary else ()
    yield obeys("kappa^2", predicted.vmf_concentration, lambda f: [f.power(2) - kappa**2], modulo)
    yield obeys("beta^2", predicted.inverse_temperature, lambda f: [f.power(2) * k**2 - kappa**2], modulo)


@claim(
    "I37", "heavy-ball momentum: cos of the turn 1 - lr wd/(1 + alpha), and the stationary norm",
    "any dimension, second moments of the stationary law", _SMD + "; exact form",
    given=["the second moments of the stationary law are finite"],
)  # fmt: skip
def momentum(past_tangent: bool = True, stationary: bool = True) -> Checks:
    """Second moments A = E|w|^2 and C = E<w_t, w_(t-1)> under w' = (1 + alpha - lr wd) w - alpha w_old - lr g."""
    alpha, A, C, G = predicted.momentum, *sp.symbols("A C G")
    now, old = letters("now old")
    known = {"now_now": A, "old_old": A, "now_old": C, "g_g": G, "g_now": 0} | ({"g_old": 0} if past_tangent else {})
    E = Gram(**known)
    following = sgd_step(now, g, lr, weight_decay) + alpha * (now - old)
    turn_balance, norm_balance = E(following, now) - C, E(following, following) - A
    # alpha 1/2, lr wd 1/2: C = 2A/3, and A stays for lr^2 G = 5A/12
    example = {alpha: HALF, lr: 1, weight_decay: HALF, A: 12, C: 8, G: 5, sp.Symbol("<g,old>"): 0}
    modulo = given([turn_balance, norm_balance], example, nonzero=[lr, 1 + alpha]) if stationary else ()
    yield obeys("cosine", predicted.momentum_turn_cosine, lambda f: [f.value * A - C], modulo)
    yield obeys("norm", predicted.momentum_equilibrium_squared_norm,
                lambda f: [f.power(2, unit_squared_gradient=G * A) - A**2], modulo)
