"""Proofs about slow mixing: two antipodal wells on the circle at every lr wd, and minimisers that form a sphere."""

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.field import Derivation, Ito
from proofs_check.inequalities import coefficients_nonnegative
from proofs_check.judge import given, zero
from proofs_check.normalised import Checks, claim, product
from sdetheory.predictions import intrinsic_lr, mixing
from sdetheory.predictions.intrinsic_lr import lr, trace, weight_decay
from sdetheory.predictions.mixing import barrier, bessel, slow_rate, slow_time

Q = sp.Rational


@claim(
    "I33",
    "circle: 4/(pi I)^2 <= odd gap/(lr wd) <= 4/(pi I)^2 (1 - 1/2I)^-3, I = I_0(beta h/2): ln of it is -beta h",
    "every lr wd, height and noise: mixing of antipodes is exponential in (lr wd)^(-1/2), exactly with barrier h; the "
    "bounds by times to the barrier hold for any slope U', so in any d; wells of unequal depth are measured",
    "derived; exponent as in Li, Wang, Wang 2024, introduction",
    given=[
        "the slowest odd function has one sign on each half circle (Sturm)",
        "Rayleigh's quotient bounds a gap from above; Cauchy-Schwarz: (int T e^-U)^2 <= F(top) int T^2 e^-U",
        "int_0^pi e^(x cos t) dt = pi I_0(x), and I_0(x) e^-x sqrt(2 pi x) -> 1",
    ],
    where={
        "equal_wells": "the potential is symmetric about the middle of the slope: antipodes are equally deep",
        "stationary": "gamma is at equilibrium",
    },
    latex=r"\tfrac4{\pi^2I_0^2(\beta h/2)}\le\tfrac{\Delta_{\rm odd}}{\eta\lambda}\le"
    r"\tfrac4{\pi^2I_0^2(\beta h/2)}\bigl(1-\tfrac1{2I_0(\beta h/2)}\bigr)^{-3}",
)
def antipodal_wells(equal_wells: bool = True, stationary: bool = True) -> Checks:
    """Quarter circle from the well (s = 0) to the barrier; F = int_0 e^-U, T = int^top F e^U the mean time to it."""
    h, noise, (sine, cosine) = intrinsic_lr.height, intrinsic_lr.noise, sp.symbols("sine cosine")
    point = systems.column("w", 2)
    tilt = 0 if equal_wells else sp.Symbol("tilt")
    loss = lambda x, y: systems.circle(point, h).subs(dict(zip(point, (x, y), strict=True))) + tilt * x**2 * y
    on_circle = given([sine**2 + cosine**2 - 1], {sine: Q(3, 5), cosine: Q(4, 5)})
    yield zero("U(s) + U(quarter - s) = beta h", loss(sine, cosine) + loss(cosine, sine) - h, on_circle)
    gamma = intrinsic_lr.equilibrium_gamma.at(trace=trace) if stationary else sp.Symbol("gamma")
    diffusion = (noise**2 / (2 * gamma)).subs(trace, noise**2)
    yield zero("diffusion is lr wd", diffusion - product)

    e, F, T, slope, f, df, rate, full = sp.symbols("e F T slope f df rate full")  # e = e^-U, slope = U', D = 1
    along = Derivation({e: -slope * e, F: e, T: -F / e, f: df, df: slope * df - rate * f})
    yield equal("T is the mean time: -T'' + U' T' = 1", -along(along(T)) + slope * along(T), 1)
    yield equal("Wronskian: rate int f T e^-U = int f e^-U", along(e * (f * along(T) - T * df)), e * (rate * f * T - f))
    yield coefficients_nonnegative("so 1 <= rate T(0), as T falls: -T'", -along(T))
    yield equal("by parts: int T e^-U = int F^2 e^U", along(T * F), T * e - F**2 / e)
    yield equal("Rayleigh's quotient of T: int T'^2 e^-U", along(T) ** 2 * e, F**2 / e)
    rest = sp.Symbol("rest", positive=True)  # F(top) = F + rest
    yield coefficients_nonnegative("T(0) <= F(top) int e^U", ((F + rest) - F) / e)
    dual = Derivation({e: -slope * e, F: e, T: (full - F) / e})  # odd about the well: well to barrier and back
    yield equal("from the barrier: -T'' + U' T' = 1", -dual(dual(T)) + slope * dual(T), 1)

    low, half = sp.symbols("x half")  # x = e^(-beta h/2); half = F(middle)/F(top)
    Z = sp.pi / 2 * low * bessel  # F(top) = int_0^(pi/2) e^(-beta h sin^2)
    turned = Z / low**2  # int e^U, by the symmetry
    same = lambda face: [face.value - face.companions[0]]
    yield obeys("lower bound 1/(F(top) int e^U)", mixing.odd_gap_lower, same, companions=[1 / (Z * turned)])
    middle = (Z * half) ** 2 * (turned * half)  # int F^2 e^U beyond the middle, F >= F(middle) there
    share = 1 - sp.pi / 4 * low / Z  # half at least: beyond the middle e^-U <= x, over an interval pi/4
    bound = (Z / middle).subs(half, share)
    yield obeys("upper bound F(top)/int F^2 e^U", mixing.odd_gap_upper, same, companions=[bound])
    large = mixing.odd_gap_lower.expr.subs(bessel, sp.exp(barrier / 2) / sp.sqrt(sp.pi * barrier))
    yield obeys("Kramers", mixing.kramers_odd_gap, same, companions=[large])


@claim(
    "I51",
    "minimisers that form a great sphere: the slow direction mixes in O(1/(lr wd)) steps, at (d - 2)/(d - 1) lr wd",
    "loss a u^2/2 of one coordinate u, isotropic noise, leading order at low lr wd, every dimension; decay from any "
    "start at step K(T) a function of T alone",
    "Li, Wang, Yu 2022; derived",
    given=["averaging: on the time 1/(lr wd) the fast u^2 may be replaced by its stationary mean"],
    where={"isotropic": "Sigma = sigma^2 (I - w w'/|w|^2)/|w|^2", "stationary_fast": "the mean of u^2 does not change"},
    latex=r"E\langle\bar w_t,\bar w_0\rangle\simeq e^{-\frac{d-2}{d-1}\eta\lambda t},\quad"
    r"C(K(T))=\left(1+\tfrac{ST}{2\|w_0\|^4}\right)^{-r/4}",
)
def great_sphere(isotropic: bool = True, stationary_fast: bool = True) -> Checks:
    """Coordinates u (across) and v (along) of the direction: gradients of a u^2/2, brackets of spherical noise."""
    d, noise = intrinsic_lr.dimension, intrinsic_lr.noise
    u, v, a, speed, mean, excess, other = sp.symbols("u v a speed mean excess other")  # speed = sigma^2/(2 gamma)
    beta = sp.Symbol("beta")
    partials = {u: Derivation({u: 1}), v: Derivation({v: 1})}
    pull = {u: a * u * (1 - u**2), v: -a * u**2 * v}  # gradient of a u^2/2 on the sphere
    drift = {x: -speed * ((d - 1) * x + beta * pull[x]) for x in (u, v)}
    bracket = {(x, y): 2 * speed * ((1 if x == y else 0) - x * y) for x in (u, v) for y in (u, v)}
    ito = Ito(partials, drift, bracket)
    square = sp.expand(ito.generator(u**2) / (2 * speed))
    equipartition = square.subs(u**4, mean**2 * excess).subs(u**2, mean)  # u^4 has the mean excess mean^2
    balance = sp.limit(equipartition.subs(mean, sp.Symbol("share") / (a * beta)), beta, sp.oo)
    yield equal("a beta E u^2 -> 1", balance, 1 - sp.Symbol("share"))
    share = 1 if stationary_fast else sp.Symbol("share")
    rate = -sp.cancel(ito.generator(v) / v).subs(u**2, share / (a * beta))
    total = noise**2 * (d - 1) if isotropic else other
    at_rest = noise**2 / 2 / intrinsic_lr.equilibrium_gamma.at(trace=total)
    yield equal("rate over lr wd", rate.subs(speed, at_rest) / product, mixing.great_sphere_rate)

    grown = 1 + slow_time * weight_decay / lr  # e^(4 lr wd t)
    start = intrinsic_lr.gamma_of_norm.at(squared_norm=sp.sqrt(1)) * intrinsic_lr.squared_norm0**2
    rest = intrinsic_lr.equilibrium_gamma.expr
    gamma = (start + rest * (grown - 1)) / grown
    lapse = weight_decay / lr / grown / (4 * product)
    yield obeys("clock", mixing.mixing_steps, lambda f: [f.rate(slow_time) - lapse, f.at(slow_time=0)])
    table = Derivation({slow_time: lapse**-1})  # d/dt
    yield zero("gamma as in I10", table(gamma) - 2 * trace + 4 * product * gamma)
    yield obeys(
        "decay at step K(T)",
        mixing.log_slow_correlation,
        lambda f: [f.rate(slow_time) + slow_rate * product * rest / gamma * lapse, f.at(slow_time=0)],
    )
