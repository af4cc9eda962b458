"""Proofs about solvable models on the sphere: memory, harmonics, the von Mises-Fisher law."""

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys, vanishes
from proofs_check.field import Derivation, Ito
from proofs_check.judge import given, zero
from proofs_check.normalised import HALF, Checks, claim, g, gamma_of_R, w
from proofs_check.systems import R, c, r, sgd_step, weight_decay_sde
from proofs_check.vectors import letters
from sdetheory.predictions import intrinsic_lr as predicted
from sdetheory.predictions.intrinsic_lr import gamma_now, lr, t, trace, weight_decay


@claim(
    "I28",
    "isotropic noise, no loss: E<W_t/|W_t|, W_0/|W_0|> = e^(-lr wd t) |W_0|/|W_t|",
    "every dimension and time, S constant; SGD with gradients of fixed length: (1 - lr wd)^t |w_0|/|w_t|",
    "derived",
)
def memory(no_loss: bool = True, constant_trace: bool = True) -> Checks:
    """The mean of the direction obeys the linear part of I8; gamma is then deterministic (I10)."""
    sde = weight_decay_sde()
    shrink = predicted.direction_shrinkage
    drift = sde.ito.generator(c / r).subs({sde.pull: 0} if no_loss else {})
    yield zero("mean of the direction", drift + shrink.at(gamma=gamma_of_R) * c / r, sde.radius)
    rate = -shrink.expr if constant_trace else -shrink.at(trace=sp.Symbol("S_other"))
    yield obeys(
        "correlation",
        predicted.direction_correlation,
        lambda f: [f.rate(t) - rate.subs(gamma_now, f.companions[0]) * f.value, f.at(t=0) - 1],
        companions=[predicted.gamma.expr],
    )
    mean_step = sgd_step(w, 0 * g, lr, weight_decay)["w"]  # E<u, g> = 0 given the past
    yield obeys(
        "SGD",
        predicted.discrete_direction_correlation,
        lambda f: [f.at(t=t + 1) - mean_step * f.value, f.at(t=0) - predicted.correlation0],
    )


@claim(
    "I29",
    "isotropic noise at equilibrium: spherical harmonics of degree l decay at rate l(l+d-2) lr wd/(d-1)",
    "every dimension d and degree l, any homogeneous harmonic polynomial",
    "Laplace-Beltrami spectrum",
)
def harmonics(harmonic: bool = True, homogeneous_polynomial: bool = True) -> Checks:
    """Generator of spherical Brownian motion on H/|w|^l: Laplacian of a function of degree 0, times lr^2
    sigma^2/(2R)."""
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
    "I30",
    "linear loss, isotropic noise: the direction is von Mises-Fisher, kappa = k sqrt(2(d-1)/(lr wd))/sigma",
    "every dimension d; zero probability flux of <mu, W/|W|> at the equilibrium of gamma",
    "derived; Mardia, Jupp 2000",
    given=["the one-dimensional diffusion <mu, W/|W|> has one stationary law, the one without flux"],
)
def von_mises_fisher(tangent: bool = True, stationary: bool = True) -> Checks:
    """Drift and variance of x = <mu, W/|W|> from I8; p'/p of (1-x^2)^((d-3)/2) e^(kappa x) makes the flux
    vanish."""
    x, d, k, sigma = sp.Symbol("x"), predicted.dimension, predicted.strength, predicted.noise
    point, mu = systems.column("w", 3), systems.column("mu", 3)
    R3 = point.dot(point)
    pull = mu.dot(systems.gradient(systems.von_mises_fisher(point, mu, k), point))
    yield vanishes(
        "<mu,grad L> = -k(|mu|^2 - x^2)/|w|, d = 3",
        pull + k * (mu.dot(mu) - mu.dot(point) ** 2 / R3) / sp.sqrt(R3),
    )
    sde = weight_decay_sde(tangent)
    unit = {
        c: x * r,
        sde.pull: -k * (1 - x**2),
        trace: sigma**2 * (d - 1),
        systems.S_uu: sigma**2 * (1 - x**2),
    }
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
    "I31",
    "isotropic noise: the direction has the stationary law exp(-beta L), beta = 2/(effective lr sigma^2)",
    "every dimension and every scale-invariant loss; Bingham for the Rayleigh quotient",
    "detailed balance on the sphere",
    given=["a density without probability flux is stationary"],
    latex=r"p(\bar w)\propto e^{-\beta L(\bar w)},\quad \beta=2/(\eta_e\sigma^2)",
)
def detailed_balance(isotropic: bool = True, stationary: bool = True) -> Checks:
    """Flux -etae grad L - (etae^2 sigma^2/2) grad ln p on the sphere; beta^2 at the equilibrium effective
    lr.
    """
    speed, d, sigma = sp.Symbol("etae"), predicted.dimension, predicted.noise
    gradient, other = letters("gradL other")
    beta = 2 / (speed * sigma**2)
    flux = -speed * gradient - (speed**2 * sigma**2 / 2) * ((-beta) * (gradient if isotropic else other))
    for name, v in flux.items():
        yield zero(f"flux along {name}", v)
    at_rest = predicted.equilibrium_effective_lr.at(trace=sigma**2 * (d - 1)) ** 2
    modulo = (
        given([speed**2 - at_rest], {speed: 1, lr: 1, weight_decay: 2, sigma: 2, d: 2}) if stationary else ()
    )
    yield obeys("beta", predicted.inverse_temperature, lambda f: [f.power(2) - beta**2], modulo)
