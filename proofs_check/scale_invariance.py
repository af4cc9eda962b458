"""Proofs about scale-invariant losses: orthogonality, homogeneity, exact steps of norm and direction,
gauges."""

from collections.abc import Iterator

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys, vanishes
from proofs_check.judge import given, zero
from proofs_check.normalised import LLA, SMD, Checks, claim, g, product, u, w
from proofs_check.systems import R, r, sgd_step
from proofs_check.vectors import Gram, letters, taylor
from sdetheory.predictions import intrinsic_lr as predicted
from sdetheory.predictions.intrinsic_lr import lr, squared_gradient, unit_squared_gradient, weight_decay


@claim(
    "I1",
    "scale invariance: <w, grad L> = 0, Hess w = -grad L, grad L(cw) = grad L(w)/c, Hess(cw) = Hess/c^2",
    "any dimension, any twice differentiable loss; the scale-invariant models and their batches",
    "Li, Arora 2019, lemma 1; " + LLA,
    latex=r"\langle w,\nabla L(w)\rangle=0,\quad \nabla L(cw)=\nabla L(w)/c,\quad \nabla^2L(w)w=-\nabla L(w)",
)
def euler(scale_invariant: bool = True) -> Checks:
    """Taylor coefficients of L((1+e)(w+fu)) - L(w+fu) and of L(cw+cfu) - L(w+fu), which vanish by
    definition."""
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
    x, A, mu, z = (
        systems.column("w", 3),
        systems.symmetric("a", 3),
        systems.column("mu", 3),
        systems.column("z", 3),
    )
    k, h, s, sigma = sp.symbols("k h s sigma")
    yield "Rayleigh", systems.rayleigh(x, A), x
    yield "von Mises-Fisher", systems.von_mises_fisher(x, mu, k), x
    yield "circle", systems.circle(systems.column("w", 2), h), systems.column("w", 2)
    yield "GOE batch", systems.goe_batch(x, A, s, systems.symmetric("e", 3)), x
    yield "noisy linear batch", systems.noisy_linear_batch(x, mu, k, sigma, z), x
    plane = systems.column("w", 2)
    yield "circle batch", systems.circle_batch(plane, h, sigma, systems.column("z", 2)), plane


@claim(
    "I2",
    "the covariance of scale-invariant batches has Sigma_w w = 0 and Sigma_cw = Sigma_w/c^2",
    "any dimension, any law of batches; isotropic for GOE (2s), noisy linear and circle batches",
    LLA,
    latex=r"\Sigma_w w=0,\quad \Sigma_{cw}=c^{-2}\Sigma_w",
)
def covariance(scale_invariant: bool = True) -> Checks:
    """Sigma_w = E n n^T, n = (batch gradient - its mean): both statements hold for every batch, under E."""
    k = sp.Symbol("k")
    batch, batch_c, mean_c = letters("b b_c g_c")
    dot = Gram(b_w=0, g_w=0) if scale_invariant else Gram()
    n = batch - g
    n_c = (1 / k) * n if scale_invariant else batch_c - mean_c
    yield zero("<u, n n^T w> for every batch", dot(u, n) * dot(n, w))
    yield zero("<u, n n^T u> at cw", dot(u, n_c) ** 2 - dot(u, n) ** 2 / k**2)
    for name, loss, point, variances, scale in _isotropic_batches():
        gap = systems.batch_covariance(loss, point, variances) - systems.isotropic(point, scale)
        for entry in gap:
            yield vanishes(f"{name}: Sigma is isotropic", entry)


def _isotropic_batches() -> Iterator[tuple[str, sp.Expr, sp.Matrix, dict[sp.Symbol, int], sp.Expr]]:
    """Batch losses, weights, variances of the batch letters, and the sigma of the isotropic covariance
    they have.
    """
    x, mu, z = systems.column("w", 3), systems.column("mu", 3), systems.column("z", 3)
    s, sigma, k, h = sp.symbols("s sigma k h")
    E = systems.symmetric("e", 3)
    goe = systems.goe_batch(x, systems.symmetric("a", 3), s, E)
    yield "GOE batch", goe, x, systems.goe_variances(E), 2 * s
    yield "noisy linear batch", systems.noisy_linear_batch(x, mu, k, sigma, z), x, dict.fromkeys(z, 1), sigma
    plane, turn = systems.column("w", 2), systems.column("z", 2)
    yield "circle batch", systems.circle_batch(plane, h, sigma, turn), plane, dict.fromkeys(turn, 1), sigma


@claim(
    "I3",
    "squared norm after one SGD step: (1 - lr wd)^2 |w|^2 + lr^2 |g|^2",
    "any dimension, every step, any batch",
    "van Laarhoven 2017; " + SMD,
)
def norm_step(tangent: bool = True) -> Checks:
    """Pythagoras."""
    dot = Gram(w_w=R, g_g=squared_gradient, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, weight_decay)
    yield equal("|w'|^2", dot(after, after), predicted.squared_norm_step)


@claim(
    "I4",
    "the direction performs projected SGD with learning rate lr/((1 - lr wd)|w|^2)",
    "any dimension, every step, any batch",
    "Lyu, Li, Arora 2022",
    latex=r"\bar w'=\Pi(\bar w-\tilde\eta\,\bar g)",
)
def direction_step(homogeneous: bool = True) -> Checks:
    """w' is a positive multiple of w/|w| - etat grad L(w/|w|): letters w, g are the unit vector and its
    gradient."""
    gradient = (1 / r) * g if homogeneous else g
    after = sgd_step(r * w, gradient, lr, weight_decay)
    scale = after["w"]
    yield equal("etat", -after["g"] / scale, predicted.direction_lr, squared_norm=r**2)
    yield zero("scale", scale - r * (1 - product))


@claim(
    "I5",
    "1/etat' = (1 - lr wd)^2 (1/etat + etat |gbar|^2)",
    "any dimension, every step, constant lr and wd",
    "Lyu, Li, Arora 2022, quasi-RMSprop",
)
def direction_lr_step(tangent: bool = True) -> Checks:
    """etat of the next step, from the norm of the next state."""
    dot = Gram(w_w=R, g_g=unit_squared_gradient / R, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, weight_decay)
    etat = predicted.direction_lr.expr
    following = predicted.direction_lr.at(squared_norm=dot(after, after))
    yield obeys("etat'", predicted.direction_lr_step, lambda f: [f.at(step_lr=etat) - following])


@claim(
    "I13",
    "(lr, wd, w) -> (c^2 lr, wd/c^2, c w) gives the same directions",
    "any dimension, every step with the same batches, pathwise",
    "Li, Arora 2019, lemma 2",
    latex=r"(c^2\eta,\lambda/c^2,cw_0)\ \Rightarrow\ w'_t=c\,w_t",
)
def rescaling(scale_invariant: bool = True) -> Checks:
    """One step, homogeneous gradient."""
    k = sp.Symbol("k")
    at_kw = (1 / k) * g if scale_invariant else letters("g_k")[0]
    for name, v in (
        sgd_step(k * w, at_kw, k**2 * lr, weight_decay / k**2) - k * sgd_step(w, g, lr, weight_decay)
    ).items():
        yield zero(f"coefficient of {name}", v)


@claim(
    "I14",
    "w'_t = c_t w_t is SGD with lr' = c_t c_(t+1) lr and 1 - lr' wd' = (c_(t+1)/c_t)(1 - lr wd)",
    "any dimension, any gauge c_t > 0, pathwise",
    "generalises Li, Arora 2019",
    latex=r"\eta'_t=c_tc_{t+1}\eta,\quad 1-\eta'_t\lambda'_t=\tfrac{c_{t+1}}{c_t}(1-\eta\lambda)",
)
def gauge(scale_invariant: bool = True) -> Checks:
    """One step from c w to c+ w'."""
    k, following = sp.symbols("k k_next")
    at_kw = (1 / k) * g if scale_invariant else letters("g_k")[0]
    new_lr = k * following * lr
    new_decay = (1 - following / k * (1 - product)) / new_lr
    gap = sgd_step(k * w, at_kw, new_lr, new_decay) - following * sgd_step(w, g, lr, weight_decay)
    for name, v in gap.items():
        yield zero(f"coefficient of {name}", v)
