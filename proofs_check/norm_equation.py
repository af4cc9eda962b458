"""Proofs about the weight-decay SDE of a normalised network: norm, direction, gamma, closed forms."""

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.field import Derivation, Ito, coordinates
from proofs_check.judge import zero
from proofs_check.normalised import LLA, Checks, claim, gamma_drift, gamma_of_R, product
from proofs_check.systems import R, c, r, sde_drift, weight_decay_sde
from proofs_check.vectors import Gram, letters
from sdetheory.predictions import intrinsic_lr as predicted
from sdetheory.predictions.intrinsic_lr import gamma0, gamma_now, lr, lr_log_rate, t, trace, weight_decay


@claim(
    "I6",
    "d|W|^2/dt = -2 lr wd |W|^2 + lr^2 S/|W|^2, without noise",
    "any dimension, any S(W), pathwise",
    LLA,
)
def norm_equation(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """Ito's formula for |W|^2."""
    ito = weight_decay_sde(tangent, homogeneous).ito
    yield equal("drift of |W|^2", ito.generator(R), predicted.squared_norm_rate)
    yield zero("no noise in |W|^2", ito.martingale(R).get("<W,dM>", sp.S.Zero))
    yield zero("no quadratic variation", ito.bracket[R, R])
    yield zero("none with any direction", ito.bracket[R, c])


@claim(
    "I7",
    "d|W|^4/dt = -4 lr wd |W|^4 + 2 lr^2 S: linear",
    "any dimension, any S(W), pathwise",
    LLA,
)
def fourth_power(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """Ito's formula for |W|^4."""
    ito = weight_decay_sde(tangent, homogeneous).ito
    yield equal("drift of |W|^4", ito.generator(R**2), predicted.fourth_power_rate)


@claim(
    "I8",
    "dWbar = -gamma^(-1/2) (grad L dt + Sigma^(1/2) dB) - S/(2 gamma) Wbar dt",
    "any dimension: tested against every fixed vector u",
    LLA,
    latex=r"d\bar W=-\gamma^{-1/2}(\nabla L\,dt+\Sigma^{1/2}dB)-\tfrac{S}{2\gamma}\bar W\,dt",
)
def direction_sde(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """Ito's formula for <u, W>/|W|; effective_lr_of_gamma is the square root, so its square is compared."""
    sde = weight_decay_sde(tangent, homogeneous)
    speed = lr / R
    rest = -(sde.ito.generator(c / r) + speed * sde.pull) / (c / r)
    yield equal("coefficient of -Wbar", rest, predicted.direction_shrinkage, sde.radius, gamma=gamma_of_R)
    noise = sde.ito.martingale(c / r)
    yield zero("coefficient of Sigma^(1/2) dB", noise["<u,dM>"] - speed, sde.radius)
    yield zero("no radial noise", noise.get("<W,dM>", sp.S.Zero), sde.radius)
    yield obeys(
        "gamma^(-1/2) = lr/|W|^2",
        predicted.effective_lr_of_gamma,
        lambda f: [f.power(2, gamma=gamma_of_R) - speed**2],
    )
    yield equal("effective lr", speed, predicted.effective_lr)


@claim(
    "I9",
    "d gamma/dt = -4 lr wd gamma + 2 S",
    "any dimension, any S(W), constant lr, pathwise",
    LLA,
)
def gamma_equation(tangent: bool = True, homogeneous: bool = True) -> Checks:
    """Ito's formula for gamma = |W|^4/lr^2."""
    ito = weight_decay_sde(tangent, homogeneous).ito
    yield equal("drift of gamma", ito.generator(gamma_of_R), predicted.gamma_rate, gamma=gamma_of_R)
    yield zero("no noise", ito.partials[R](gamma_of_R) * ito.bracket[R, R])


@claim(
    "I10",
    "gamma_t = e^(-4 lr wd t) gamma_0 + 2 int e^(-4 lr wd (t-s)) S_s ds",
    "any integrable S(t), pathwise; closed form for constant S, wd = 0 included as the limit",
    LLA,
    latex=r"\gamma_t=e^{-4\eta\lambda t}\gamma_0+2\int_0^te^{-4\eta\lambda(t-s)}S_s\,ds",
)
def closed_form(tangent: bool = True, initial: bool = True) -> Checks:
    """The derivative and the initial value; E is e^(-4 lr wd t), J is the integral of S/E."""
    rate = gamma_drift(tangent)
    start = gamma0 if initial else sp.Symbol("other_start")
    E, J = sp.symbols("E J")
    D = Derivation({E: -4 * product * E, J: trace / E})
    general = E * start + 2 * E * J
    yield zero("derivative, any S(t)", D(general) - rate.subs(gamma_now, general))
    yield equal("start, any S(t)", general.subs({E: 1, J: 0}), gamma0)
    yield obeys(
        "constant S",
        predicted.gamma,
        lambda f: [f.rate(t) - rate.subs(gamma_now, f.value), f.at(t=0) - start],
    )
    yield obeys(
        "effective lr",
        predicted.effective_lr_at,
        lambda f: [f.power(2) * f.companions[0] - 1],
        companions=[predicted.gamma.expr],
    )
    yield obeys(
        "squared norm",
        predicted.squared_norm,
        lambda f: [f.power(2) - lr**2 * f.companions[0]],
        companions=[
            predicted.gamma.at(gamma0=predicted.gamma_of_norm.at(squared_norm=predicted.squared_norm0))
        ],
    )


@claim(
    "I11",
    "under schedules, lr wd becomes lr wd + (1/2) d ln(lr)/dt",
    "any dimension, smooth lr(t) and wd(t), pathwise",
    LLA,
)
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
    "I12",
    "the law of (W/|W|, gamma) depends on (lr, wd, W_0) only through lr*wd and gamma_0",
    "any dimension: every coefficient of the generator of (direction, gamma) is free of lr",
    LLA,
    latex=r"\mathrm{Law}(\bar W_t,\gamma_t)=F_t(\eta\lambda,\gamma_0,\bar W_0)",
)
def only_the_product(same_product: bool = True, same_gamma: bool = True) -> Checks:
    """In the chart |W|^2 = r^2, lr = r^2/q, wd = le/lr, <u,W> = x r (so that gamma = q^2) nothing depends
    on r."""
    sde = weight_decay_sde()
    q, le, x = sp.symbols("q le x")
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
    "I17",
    "S between s1 and s2 keeps gamma between the two solutions with constant S",
    "any dimension, pathwise",
    LLA,
    given=["a function with non-negative derivative does not decrease"],
    latex=r"s_1\le S\le s_2\ \Rightarrow\ \gamma[s_1]\le\gamma\le\gamma[s_2]",
)
def brackets(tangent: bool = True, same_start: bool = True) -> Checks:
    """With S = trace + excess, (gamma - gamma[trace])/E starts at 0 and has derivative 2 excess/E: it
    keeps its sign."""
    rate, excess = gamma_drift(tangent), sp.Symbol("excess")
    start = gamma0 if same_start else sp.Symbol("other_start")
    J = sp.Symbol("J")

    def distance(f: Face) -> list[sp.Expr]:
        (E,) = f.companions
        D = Derivation({**f.form.rates(t), J: (trace + excess) / E})
        gamma = E * start + 2 * E * J
        own = D(gamma) - rate.subs({gamma_now: gamma, trace: trace + excess}, simultaneous=True)
        return [own, D((gamma - f.value) / E) - 2 * excess / E, start - f.at(t=0)]

    yield obeys(
        "distance to the solution with constant S",
        predicted.gamma,
        distance,
        companions=[sp.exp(-4 * product * t)],
    )


@claim(
    "I56",
    "a loss invariant to rescaling each layer gives each its own gamma equation, with its block of the trace",
    "any number of layers and widths, constant lr, pathwise; one layer against all the others",
    "derived from I9",
    latex=r"\tfrac{d\gamma^{(i)}}{dt}=-4\eta\lambda\gamma^{(i)}+2\,\mathrm{Tr}\,\Sigma^{(i)}",
)
def layerwise(layer_invariant: bool = True) -> Checks:
    """|W_1|^2 of W = W_1 + W_2 (orthogonal blocks): only its own gradient and its own block of the noise
    enter.
    """
    one, rest, g_one, g_rest = letters("one rest gone grest")
    known = {"one_one": R, "one_rest": 0, "grest_one": 0, "gone_rest": 0} | (
        {"gone_one": 0} if layer_invariant else {}
    )
    drift = sde_drift(one + rest, g_one + g_rest, lr, weight_decay)
    block = lr**2 * trace / R  # trace of the block of Sigma_W, homogeneous in W_1
    radial = Gram(one_one=0 if layer_invariant else sp.Symbol("S_radial"))
    rates, brackets = coordinates(Gram(**known), drift, radial, {R: 2 * one}, {R: 2 * block})
    ito = Ito({R: Derivation({R: 1})}, rates, brackets)
    yield equal("gamma of one layer", ito.generator(gamma_of_R), predicted.gamma_rate, gamma=gamma_of_R)
