"""Proofs about deep linear networks: any depth and widths unless a claim says otherwise."""

from collections.abc import Iterator, Mapping
from functools import partial

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.claim import claim as _claim
from proofs_check.face import Face
from proofs_check.field import Derivation
from proofs_check.judge import Given, Verdict, given, zero
from proofs_check.systems import flow_rate, sgd_step
from proofs_check.words import Words, derive, gradient, matrices, trace, vanish
from sdetheory.predictions import deep_linear as predicted
from sdetheory.predictions.deep_linear import (
    depth, end_to_end as W, imbalance, imbalance0, inverse_squares as S, lower_gram, lr, penalty, rest, slope, step,
    strength, t, target, two_layer_target, upper_gram, weight_decay,
)  # fmt: skip

MEANINGS = {
    "same_slope": "both layers see the same dl/dW (one loss, one batch)",
    "same_decay": "both layers have the same weight decay",
    "one_loss": "both gradients belong to one differentiable loss of the end to end matrix",
    "minimum": "the point is a minimum: W = target",
    "initial": "the imbalance starts at its initial value",
    "conserved": "the flow has no weight decay, so the imbalance is conserved (D7)",
    "stationary": "the state does not move",
    "balanced": "all layers have the same square",
    "penalised": "the data loss is followed under the penalty",
}
claim = partial(_claim, where=MEANINGS)
_GINSBURG = "Ginsburg 2020"
Checks = Iterator[Verdict]
wi, wj, other = sp.symbols("w_i w_j P")  # W = w_i w_j P: any depth, P is the product of the other layers
IN_GINSBURG = {weight_decay: 2 * penalty}
_AT = {wi: 2, wj: 3, other: 5, W: 30}


def _chain(more: tuple[sp.Expr, ...] = (), at: Mapping[sp.Symbol, object] | None = None) -> Given:
    """W = w_i w_j P, and further relations."""
    return given([wi * wj * other - W, *more], {**_AT, **(at or {})})


def _pull(loss_slope: sp.Expr, layer: sp.Symbol) -> sp.Expr:
    """The gradient in one layer: dl/dW times dW/dw."""
    return loss_slope * sp.diff(wi * wj * other, layer)


def _over_layers(expr: sp.Expr, w: sp.Symbol, sums: Mapping[int, sp.Expr]) -> sp.Expr:
    """The sum over all layers of a Laurent polynomial in one weight, through power sums sum w_k^n: any depth."""
    terms = sp.Add.make_args(sp.expand(expr))
    return sp.Add(*(term.as_independent(w)[0] * sums[sp.degree(sp.expand(term * w**8), w) - 8] for term in terms))


@claim(
    "D1", "dL/dw_i = 2 (W - 1) W/w_i for L = (W - 1)^2", "every depth", _GINSBURG + ", section 2",
    latex=r"\partial_iL=2(W-1)W/w_i",
)  # fmt: skip
def chain_gradient(product_of_layers: bool = True) -> Checks:
    """Derivative of the loss of the product."""
    whole = wi * wj * other if product_of_layers else wi + wj + other
    loss = systems.square_loss(whole, 1)
    yield equal("w_i dL/dw_i", wi * sp.diff(loss, wi), 2 * (W - 1) * W, _chain())
    yield equal("w_j dL/dw_j", wj * sp.diff(loss, wj), 2 * (W - 1) * W, _chain())


@claim(
    "D2", "H_ii = 2 W^2/w_i^2, H_ij = 2 W (2W - 1)/(w_i w_j)", "every depth", _GINSBURG + ", section 2",
    latex=r"H_{ii}=2W^2/w_i^2,\quad H_{ij}=2W(2W-1)/(w_iw_j)",
)  # fmt: skip
def chain_hessian(product_of_layers: bool = True) -> Checks:
    """Second derivatives of the loss of the product."""
    whole = wi * wj * other if product_of_layers else wi + wj + other
    loss = systems.square_loss(whole, 1)
    yield equal("H_ii w_i^2", wi**2 * sp.diff(loss, wi, 2), 2 * W**2, _chain())
    yield equal("H_ij w_i w_j", wi * wj * sp.diff(loss, wi, wj), 2 * W * (2 * W - 1), _chain())


@claim(
    "D3", "at a minimum the Hessian is 2 s^2 n n^T, n_i = 1/w_i: its only non-zero eigenvalue is 2 s^2 S >= 2 d",
    "every depth; s = 1 for the lower bound", _GINSBURG + ", section 2",
    given=["the non-zero eigenvalue of n n^T is |n|^2", "arithmetic and geometric means, equality iff all |w_i| = 1"],
)  # fmt: skip
def sharpness(minimum: bool = True) -> Checks:
    """Entries of the Hessian on W = s, and its trace over the layers."""
    loss = systems.square_loss(wi * wj * other, target)
    relation = (W - target,) if minimum else ()
    modulo = _chain(relation, {target: 30})
    entry, diagonal = wi * wj * sp.diff(loss, wi, wj), wi**2 * sp.diff(loss, wi, 2)
    yield equal("H_ij w_i w_j", entry, 2 * target**2, modulo)
    yield equal("H_ii w_i^2", diagonal, 2 * target**2, modulo)
    w = sp.Symbol("w")
    yield equal("trace", _over_layers(2 * target**2 / w**2, w, {-2: S}), predicted.sharpness_at_minimum)
    yield equal("flattest: all w_i^2 = 1", _over_layers(2 / w**2, w, {-2: depth}), predicted.flattest_sharpness)


@claim(
    "D4", "two layers: the sharpness at a minimum is 2 sqrt(D^2 + 4 s^2)", "two layers, any s > 0", "derived",
)  # fmt: skip
def sharpness_by_imbalance(minimum: bool = True) -> Checks:
    """S from z_1 z_2 = s^2 and z_1 - z_2 = D; the square root is compared squared, both are positive."""
    modulo = given([wi * wj - two_layer_target] if minimum else [], {wi: 2, wj: 3, two_layer_target: 6})
    found = predicted.sharpness_at_minimum.at(target=two_layer_target, inverse_squares=wi**-2 + wj**-2)
    yield obeys("sharpness", predicted.sharpness_two_layers,
                lambda f: [f.power(2, imbalance=wi**2 - wj**2) - found**2], modulo)


@claim(
    "D7", "gradient flow keeps the imbalance: w_i^2 - w_j^2, and W_{j+1}^T W_{j+1} - W_j W_j^T",
    "every depth, any widths, any differentiable loss; two layers: the flow can only end at the predicted point",
    "Arora, Cohen, Hazan 2018; Du, Hu, Lee 2018; Ginsburg 2020",
    latex=r"\tfrac{d}{dt}(W_{j+1}^\top W_{j+1}-W_jW_j^\top)=0",
)  # fmt: skip
def conservation(one_loss: bool = True, no_decay: bool = True) -> Checks:
    """Scalars with an arbitrary slope; matrices with an arbitrary first variation <E, dW>; then the end point."""
    decay = sp.S.Zero if no_decay else weight_decay
    yield zero("scalars", _flow(one_loss, decay, decay)(wi**2 - wj**2))
    yield from vanish("matrices", _matrix_flow(one_loss, decay))
    first, second = predicted.flow_endpoint_two_layers, predicted.flow_endpoint_two_layers_second
    for one in (first, second):
        sign = 1 if one is first else -1
        yield obeys(f"end of the flow: {one.name}", one,
                    lambda f, sign=sign: [f.value - two_layer_target**2 / f.value - sign * imbalance])


def _flow(same_slope: bool, decay_i: sp.Expr, decay_j: sp.Expr) -> Derivation:
    """d/dt along gradient flow of two layers of a chain, with an arbitrary dl/dW."""
    slope_j = slope if same_slope else sp.Symbol("other_slope")
    return Derivation({
        wi: flow_rate(wi, _pull(slope, wi), decay_i), wj: flow_rate(wj, _pull(slope_j, wj), decay_j),
    })  # fmt: skip


def _matrix_pair(one_loss: bool) -> tuple[Words, Words, Words, Words]:
    """Two neighbouring layers U above V of A U V B, and their gradients under the first variation <E, d(A U V B)>."""
    A, U, V, B, E, G = matrices("A U V B E G")
    variation = trace(E.T @ A @ U @ V @ B)
    return U, V, gradient(variation, "U"), gradient(variation, "V") if one_loss else G


def _imbalance(U: Words, V: Words) -> Words:
    return U.T @ U - V @ V.T


def _matrix_flow(one_loss: bool, decay: sp.Expr) -> Words:
    """d/dt of U^T U - V V^T along gradient flow with weight decay, plus its decay 2 wd D."""
    U, V, GU, GV = _matrix_pair(one_loss)
    return derive(_imbalance(U, V), {"U": flow_rate(U, GU, decay), "V": flow_rate(V, GV, decay)})


@claim(
    "D8", "dL/dk = -4 lr W^2 S L along the continuous GD on L = (W - 1)^2", "every depth", _GINSBURG + ", section 3",
)  # fmt: skip
def loss_along_flow(no_decay: bool = True) -> Checks:
    """The penalised rate at penalty 0."""
    decay = sp.S.Zero if no_decay else penalty
    yield equal("dL/dk", _loss_rate(decay), -4 * lr * W**2 * S * (W - 1) ** 2)


def _loss_rate(decay: sp.Expr) -> sp.Expr:
    """dL/dk of (W-1)^2 along the flow with penalty mu sum w_i^2, time in steps: sum over layers of dW/dw_k dw_k/dk."""
    w = sp.Symbol("w")
    slope_now = sp.diff(systems.square_loss(W, 1), W)
    rate = lr * flow_rate(w, slope_now * W / w, 2 * decay)
    return slope_now * _over_layers(W / w * rate, w, {0: depth, -2: S})


@claim(
    "D9", "one step: D_ij' = D_ij ((1 - lr wd)^2 - lr^2 g^2 W^2/(w_i w_j)^2) for any scalar g = dl/dW",
    "every depth, any loss, batch, noise and weight decay", _GINSBURG + "; his case is wd = 0",
)  # fmt: skip
def scalar_step(same_slope: bool = True, same_decay: bool = True) -> Checks:
    """The squares of two layers after one step."""
    slope_j = slope if same_slope else sp.Symbol("other_slope")
    decay_j = weight_decay if same_decay else sp.Symbol("other_decay")
    after = (sgd_step(wi, _pull(slope, wi), lr, weight_decay), sgd_step(wj, _pull(slope_j, wj), lr, decay_j))
    yield equal("D'", after[0] ** 2 - after[1] ** 2, predicted.scalar_imbalance_step, imbalance=wi**2 - wj**2, rest=other)
    yield equal("rest = W/(w_i w_j)", other, W / (wi * wj), _chain())


@claim(
    "D14", "with weight decay the flow has D(t) = D_0 e^(-2 wd t); Ginsburg's convention: e^(-4 lr mu k) after k steps",
    "every depth, any widths, any differentiable loss", "Du, Hu, Lee 2018; " + _GINSBURG + ", theorem 4.1",
)  # fmt: skip
def decay_flow(one_loss: bool = True, same_decay: bool = True, initial: bool = True) -> Checks:
    """The rate for scalars and for matrices, then the solution of dD/dt = rate(D)."""
    decay_j = weight_decay if same_decay else sp.Symbol("other_decay")
    D = wi**2 - wj**2
    yield equal("scalars", _flow(one_loss, weight_decay, decay_j)(D), predicted.imbalance_rate, imbalance=D)
    U, V, _, _ = _matrix_pair(one_loss)
    rate = sp.diff(predicted.imbalance_rate.expr, imbalance)
    yield from vanish("matrices", _matrix_flow(one_loss, weight_decay) - rate * _imbalance(U, V))
    start = imbalance0 if initial else sp.Symbol("other_start")
    yield obeys("solution", predicted.imbalance_flow,
                lambda f: [f.rate(t) - predicted.imbalance_rate.at(imbalance=f.value), f.at(t=0) - start])
    ginsburg = predicted.imbalance_rate.expr.subs(IN_GINSBURG) * lr  # d/dk = lr d/dt
    yield obeys("in Ginsburg's convention", predicted.ginsburg_imbalance_flow,
                lambda f: [f.rate(step) - ginsburg.subs(imbalance, f.value), f.at(step=0) - start])


@claim(
    "D15", "one step of GD on (W-1)^2 + mu sum w_i^2: D_ij' = D_ij ((1 - 2 lr mu)^2 - lr^2 g^2 W^2/(w_i w_j)^2)",
    "every depth, any slope g", _GINSBURG + ", theorem 4.1",
)  # fmt: skip
def ginsburg_step(same_slope: bool = True) -> Checks:
    """The gradient of the penalised loss, in his convention (no one half)."""
    slope_j = slope if same_slope else sp.Symbol("other_slope")
    after = [
        sgd_step(w, _pull(g, w) + sp.diff(penalty * (wi**2 + wj**2), w), lr, 0) for w, g in ((wi, slope), (wj, slope_j))
    ]
    yield equal("D'", after[0] ** 2 - after[1] ** 2, predicted.ginsburg_imbalance_step, imbalance=wi**2 - wj**2, rest=other)
    yield equal("our weight decay", sp.diff(penalty * wi**2, wi) / wi, predicted.weight_decay_of_penalty)


@claim(
    "D16", "under the penalty the data loss falls unless 1 - mu d/(W S) < W < 1: the weight-decay band",
    "every depth; W > 0 and S > 0 give the signs", _GINSBURG + ", section 4",
)  # fmt: skip
def weight_decay_band(penalised: bool = True) -> Checks:
    """dL/dk factors as -4 lr W^2 S (W - 1)(W - lower edge)."""
    found = _loss_rate(penalty if penalised else sp.S.Zero)
    yield equal("dL/dk", found, predicted.ginsburg_loss_rate)
    yield obeys("band", predicted.weight_decay_band_lower,
                lambda f: [found + 4 * lr * W**2 * S * (W - 1) * (W - f.value)])
    yield obeys("upper edge", predicted.weight_decay_band_upper, lambda f: [found.subs(W, f.at(target=1))])


@claim(
    "D18", "resting points with W > 0 are balanced, w_i^2 = (1-W) W/mu, so that mu = (1-W) W^(1-2/d)",
    "every depth", "derived",
)  # fmt: skip
def resting_points(stationary: bool = True) -> Checks:
    """Zero gradient of every layer fixes w_i^2; P = W^(2/d) is the common square of balanced layers."""
    moving = sp.S.Zero if stationary else sp.Symbol("speed")
    slope_now = sp.diff(systems.square_loss(W, 1), W)
    square = (1 - W) * W / penalty
    at_rest = sp.expand(flow_rate(wi, slope_now * W / wi, 2 * penalty) * wi - moving)
    yield zero("w_i^2", at_rest.subs(wi**2, square))
    yield obeys("penalty", predicted.ginsburg_stationary_penalty,
                lambda f: [at_rest.subs(wi**2, 1 / _inverse_square(f)).subs(penalty, f.value)])


def _inverse_square(f: Face) -> sp.Expr:
    """W^(-2/d), the inverse square of balanced layers, in the letters of a formula."""
    return f.reader.form(W ** (-2 / depth)).expr


@claim(
    "D19", "two layers: W_* = 1 - mu; deeper: mu_c and mu_1 where the non-zero minimum vanishes and stops being global",
    "two layers: exact; every real depth > 2: critical point, and equal depth with the origin", "derived",
)  # fmt: skip
def thresholds(stationary: bool = True, balanced: bool = True) -> Checks:
    """Stationarity in W for two balanced layers; extremum of mu(W) = (1-W) W p, p = W^(-2/d); equal costs."""
    force, square = (sp.S.Zero if stationary else sp.Symbol("force")), (W if balanced else sp.Symbol("square"))
    for label, prediction, loss, decay in (
        ("Ginsburg", predicted.ginsburg_end_to_end, systems.square_loss(W, 1), 2 * penalty),
        ("ours", predicted.equilibrium_end_to_end, systems.square_loss(W, two_layer_target) / 2, weight_decay),
    ):
        pull = sp.expand(flow_rate(wi, sp.diff(loss, W) * W / wi, decay) * wi).subs(wi**2, square) / W
        yield obeys(f"two layers, {label}", prediction, lambda f, pull=pull: [pull.subs(W, f.value) - force])
    p = sp.Symbol("p")
    D, mu = Derivation({W: 1, p: -2 * p / (depth * W)}), (1 - W) * W * p
    yield obeys("W_c", predicted.critical_end_to_end, lambda f: [sp.cancel(D(mu) / p).subs(W, f.value) - force])
    cost = sp.cancel(systems.square_loss(W, 1) + mu * depth / p)
    yield obeys("W_1", predicted.coexistence_end_to_end, lambda f: [cost.subs(W, f.value) - 1 - force])
    for threshold, where in (
        (predicted.critical_penalty, predicted.critical_end_to_end),
        (predicted.coexistence_penalty, predicted.coexistence_end_to_end),
    ):
        yield obeys(threshold.name, threshold, lambda f: [f.value - f.companions[0]],
                    companions=[predicted.ginsburg_stationary_penalty.at(end_to_end=where.expr)])


@claim(
    "D20", "two phases: W - 1 relaxes in 1/(2 lr S) steps, the imbalance in 1/(4 lr mu)",
    "every depth; linearised at W = 1 without penalty, and the exact rate of D14", _GINSBURG,
)  # fmt: skip
def time_scales(minimum: bool = True) -> Checks:
    """The derivative of dW/dk at the minimum, and the rate of the imbalance."""
    w = sp.Symbol("w")
    slope_now = sp.diff(systems.square_loss(W, 1), W)
    dW = _over_layers(W / w * lr * flow_rate(w, slope_now * W / w, 0), w, {-2: S})
    first = sp.diff(dW, W).subs({W: 1} if minimum else {})
    yield obeys("optimisation", predicted.optimisation_time, lambda f: [f.value * first + 1])
    second = sp.diff(predicted.imbalance_rate.expr, imbalance).subs(IN_GINSBURG) * lr
    yield obeys("regularisation", predicted.regularisation_time, lambda f: [f.value * second + 1])


@claim(
    "D21", "two layers under the penalty rest at data loss mu^2", "two layers, mu < 1", "derived", latex=r"L_*=\mu^2",
)  # fmt: skip
def cost_of_decay(stationary: bool = True) -> Checks:
    """(W_* - 1)^2."""
    at = predicted.ginsburg_end_to_end.expr if stationary else W
    yield equal("data loss", systems.square_loss(at, 1), penalty**2)


@claim(
    "D23", "input noise averages to (W-1)^2 + sigma^2 W^2, minimal at W = 1/(1 + sigma^2)",
    "every depth, any noise of mean 0 and variance sigma^2", "Bishop 1995; " + _GINSBURG,
)  # fmt: skip
def averaged_noise(centred: bool = True) -> Checks:
    """The mean of the batch loss over the noise, by its first two moments."""
    e, sigma = sp.Symbol("e"), predicted.input_noise
    mean_e = sp.S.Zero if centred else sp.Symbol("mean")
    noisy = sp.Poly(systems.input_noise_batch(W, 1, e), e)
    averaged = sum(c * {0: 1, 1: mean_e, 2: sigma**2}[n] for (n,), c in noisy.terms())
    yield equal("mean loss", averaged, (W - 1) ** 2 + sigma**2 * W**2)
    yield obeys("minimum", predicted.averaged_noise_minimum, lambda f: [sp.diff(averaged, W).subs(W, f.value)])


@claim(
    "D24", "input noise: D_ij' = D_ij (1 - 4 lr^2 (1+e)^2 (W(1+e) - 1)^2 W^2/(w_i w_j)^2)", "every depth, any noise e",
    _GINSBURG + ", theorem 4.2", latex=r"D'_{ij}=D_{ij}(1-4\lambda^2(1+e)^2(W(1+e)-1)^2W^2/(w_iw_j)^2)",
)  # fmt: skip
def input_noise_step(same_slope: bool = True) -> Checks:
    """D9 with the slope of the noisy batch."""
    e = sp.Symbol("e")
    g = sp.diff(systems.input_noise_batch(W, 1, e), W)
    slope_j = g if same_slope else sp.Symbol("other_slope")
    after = [sgd_step(w, _pull(one, w), lr, 0) for w, one in ((wi, g), (wj, slope_j))]
    factor = 1 - 4 * lr**2 * (1 + e) ** 2 * (W * (1 + e) - 1) ** 2 * W**2 / (wi * wj) ** 2
    yield equal("D'", after[0] ** 2 - after[1] ** 2, (wi**2 - wj**2) * factor, _chain())


@claim(
    "D28", "mini-batches a W^2 - 2 b W: D_ij' = D_ij (1 - 4 lr^2 (a W - b)^2 W^2/(w_i w_j)^2)",
    "every depth, every batch", _GINSBURG + ", section 5",
    latex=r"D'_{ij}=D_{ij}(1-4\lambda^2(a_BW-b_B)^2W^2/(w_iw_j)^2)",
)  # fmt: skip
def batch_step(same_slope: bool = True) -> Checks:
    """D9 with the slope of the batch."""
    a, b = sp.symbols("a b")
    g = sp.diff(a * W**2 - 2 * b * W, W)
    slope_j = g if same_slope else sp.Symbol("other_slope")
    after = [sgd_step(w, _pull(one, w), lr, 0) for w, one in ((wi, g), (wj, slope_j))]
    yield equal("D'", after[0] ** 2 - after[1] ** 2,
                (wi**2 - wj**2) * (1 - 4 * lr**2 * (a * W - b) ** 2 * W**2 / (wi * wj) ** 2), _chain())


@claim(
    "D30", "label noise at the minimum: ln|D| decays at 4 lr^2 sigma^2/(1 - lr S) per step",
    "two layers, leading order in the distance of W from 1 (linearised step), W stationary", "Damian, Ma, Lee 2021",
)  # fmt: skip
def label_noise(stationary: bool = True, independent: bool = True) -> Checks:
    """E g^2 of g = 2 (W - 1 - xi) under W' = W - lr g S, put into D9: rate = lr^2 E g^2."""
    V, sigma = sp.Symbol("V"), predicted.noise  # V = E (W-1)^2
    crossed = sp.S.Zero if independent else sp.Symbol("covariance")
    noisy = sp.diff(systems.label_noise_batch(W, 1, sp.Symbol("xi")), W)
    yield equal("slope", noisy, 2 * (W - 1 - sp.Symbol("xi")))
    mean_square = 4 * (V + sigma**2) - 8 * crossed
    after = (1 - 2 * lr * S) ** 2 * V + (2 * lr * S) ** 2 * sigma**2 + 4 * lr * S * (1 - 2 * lr * S) * crossed
    example = {lr: 1, S: sp.Rational(1, 2), sigma: 1, V: 1, sp.Symbol("covariance"): 0}
    modulo = given([sp.expand((after - V) / (4 * lr * S))], example) if stationary else ()
    yield obeys("rate", predicted.label_noise_imbalance_rate, lambda f: [f.value - lr**2 * mean_square], modulo)


@claim(
    "D32", "one step: D_j' = (1 - lr wd)^2 D_j + lr^2 (G_{j+1}^T G_{j+1} - G_j G_j^T)",
    "every depth, any widths, any differentiable loss, batch and weight decay", "Arora, Cohen, Golowich, Hu 2019",
)  # fmt: skip
def matrix_step(one_loss: bool = True, same_decay: bool = True) -> Checks:
    """Words: the cross terms cancel because W_{j+1}^T G_{j+1} = G_j W_j^T."""
    U, V, GU, GV = _matrix_pair(one_loss)
    decay_V = weight_decay if same_decay else sp.Symbol("other_decay")
    U1, V1 = sgd_step(U, GU, lr, weight_decay), sgd_step(V, GV, lr, decay_V)
    blocks = {imbalance: _imbalance(U, V), upper_gram: GU.T @ GU, lower_gram: GV @ GV.T}

    def words(f: Face) -> list[sp.Expr]:
        claimed = Words()
        for letter, block in blocks.items():
            claimed = claimed + sp.diff(f.value, letter) * block
        gap = _imbalance(U1, V1) - claimed
        return [*gap.values(), f.value.subs(dict.fromkeys(blocks, 0))]

    yield from vanish("U^T G_U = G_V V^T", U.T @ GU - GV @ V.T)
    yield obeys("every word", predicted.imbalance_step, words)


@claim(
    "D37", "a balanced mode of two layers grows as a sigmoid", "aligned and balanced, whitened data, any start",
    "Saxe, McClelland, Ganguli 2014",
)  # fmt: skip
def sigmoid(balanced: bool = True, initial: bool = True) -> Checks:
    """da/dt = sum over layers of (a/w)^2 times -(dl/da): w^2 = a for two balanced layers."""
    a, s = sp.Symbol("a"), two_layer_target
    rate = _mode_rate(a, s, {-2: 2 / a if balanced else sp.Symbol("S")})
    start = predicted.strength0 if initial else sp.Symbol("other_start")
    yield obeys("a(t)", predicted.mode_strength, lambda f: [f.rate(t) - rate.subs(a, f.value), f.at(t=0) - start])


def _mode_rate(a: sp.Expr, s: sp.Expr, sums: Mapping[int, sp.Expr]) -> sp.Expr:
    """da/dt of one mode with loss (1/2)(a - s)^2 along gradient flow of its layers."""
    w = sp.Symbol("w")
    return _over_layers(a / w * flow_rate(w, sp.diff(systems.square_loss(a, s) / 2, a) * a / w, 0), w, sums)


@claim(
    "D38", "a balanced mode of depth d: da/dt = d a^(2 - 2/d) (s - a)", "every real depth; aligned, whitened data",
    "Saxe, McClelland, Ganguli 2014",
)  # fmt: skip
def deep_mode(balanced: bool = True) -> Checks:
    """All w_k^2 equal a^(2/d), so that sum 1/w_k^2 = d a^(-2/d)."""
    def residual(f: Face) -> list[sp.Expr]:
        inverse = f.reader.form(strength ** (-2 / depth)).expr
        return [f.value - _mode_rate(strength, target, {-2: depth * inverse if balanced else sp.Symbol("S")})]

    yield obeys("da/dt", predicted.mode_rate, residual)
