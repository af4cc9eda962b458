"""Proofs about chains of scalar layers: sharpness, weight decay and its band, resting points."""

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.field import Derivation
from proofs_check.judge import given, zero
from proofs_check.layers import GINSBURG, IN_GINSBURG, Checks, chain, claim, other, over_layers, wi, wj
from proofs_check.systems import flow_rate
from sdetheory.predictions import deep_linear as predicted
from sdetheory.predictions.deep_linear import (
    depth,
    imbalance,
    lr,
    penalty,
    target,
    two_layer_target,
    weight_decay,
)
from sdetheory.predictions.deep_linear import end_to_end as W
from sdetheory.predictions.deep_linear import inverse_squares as S


@claim(
    "D1",
    "dL/dw_i = 2 (W - 1) W/w_i for L = (W - 1)^2",
    "every depth",
    GINSBURG + ", section 2",
    latex=r"\partial_iL=2(W-1)W/w_i",
)
def chain_gradient(product_of_layers: bool = True) -> Checks:
    """Derivative of the loss of the product."""
    whole = wi * wj * other if product_of_layers else wi + wj + other
    loss = systems.square_loss(whole, 1)
    yield equal("w_i dL/dw_i", wi * sp.diff(loss, wi), 2 * (W - 1) * W, chain())
    yield equal("w_j dL/dw_j", wj * sp.diff(loss, wj), 2 * (W - 1) * W, chain())


@claim(
    "D2",
    "H_ii = 2 W^2/w_i^2, H_ij = 2 W (2W - 1)/(w_i w_j)",
    "every depth",
    GINSBURG + ", section 2",
    latex=r"H_{ii}=2W^2/w_i^2,\quad H_{ij}=2W(2W-1)/(w_iw_j)",
)
def chain_hessian(product_of_layers: bool = True) -> Checks:
    """Second derivatives of the loss of the product."""
    whole = wi * wj * other if product_of_layers else wi + wj + other
    loss = systems.square_loss(whole, 1)
    yield equal("H_ii w_i^2", wi**2 * sp.diff(loss, wi, 2), 2 * W**2, chain())
    yield equal("H_ij w_i w_j", wi * wj * sp.diff(loss, wi, wj), 2 * W * (2 * W - 1), chain())


@claim(
    "D3",
    "at a minimum the Hessian is 2 s^2 n n^T, n_i = 1/w_i: its only non-zero eigenvalue is 2 s^2 S >= 2 d",
    "every depth; s = 1 for the lower bound",
    GINSBURG + ", section 2",
    given=[
        "the non-zero eigenvalue of n n^T is |n|^2",
        "arithmetic and geometric means, equality iff all |w_i| = 1",
    ],
)
def sharpness(minimum: bool = True) -> Checks:
    """Entries of the Hessian on W = s, and its trace over the layers."""
    loss = systems.square_loss(wi * wj * other, target)
    relation = (W - target,) if minimum else ()
    modulo = chain(relation, {target: 30})
    entry, diagonal = wi * wj * sp.diff(loss, wi, wj), wi**2 * sp.diff(loss, wi, 2)
    yield equal("H_ij w_i w_j", entry, 2 * target**2, modulo)
    yield equal("H_ii w_i^2", diagonal, 2 * target**2, modulo)
    w = sp.Symbol("w")
    yield equal("trace", over_layers(2 * target**2 / w**2, w, {-2: S}), predicted.sharpness_at_minimum)
    yield equal("flattest: all w_i^2 = 1", over_layers(2 / w**2, w, {-2: depth}), predicted.flattest_sharpness)


@claim(
    "D4",
    "two layers: the sharpness at a minimum is 2 sqrt(D^2 + 4 s^2)",
    "two layers, any s > 0",
    "derived",
)
def sharpness_by_imbalance(minimum: bool = True) -> Checks:
    """S from z_1 z_2 = s^2 and z_1 - z_2 = D; the square root is compared squared, both are positive."""
    modulo = given([wi * wj - two_layer_target] if minimum else [], {wi: 2, wj: 3, two_layer_target: 6})
    found = predicted.sharpness_at_minimum.at(target=two_layer_target, inverse_squares=wi**-2 + wj**-2)
    yield obeys(
        "sharpness",
        predicted.sharpness_two_layers,
        lambda f: [f.power(2, imbalance=wi**2 - wj**2) - found**2],
        modulo,
    )


@claim(
    "D8",
    "dL/dk = -4 lr W^2 S L along the continuous GD on L = (W - 1)^2",
    "every depth",
    GINSBURG + ", section 3",
    latex=r"\tfrac{dL}{dk}=-4\eta W^2SL",
)
def loss_along_flow(no_decay: bool = True) -> Checks:
    """The penalised rate at penalty 0."""
    decay = sp.S.Zero if no_decay else penalty
    yield equal("dL/dk", _loss_rate(decay), -4 * lr * W**2 * S * (W - 1) ** 2)


def _loss_rate(decay: sp.Expr) -> sp.Expr:
    """dL/dk of (W-1)^2 along the flow with penalty mu sum w_i^2, time in steps: sum over layers of
    dW/dw_k dw_k/dk."""
    w = sp.Symbol("w")
    slope_now = sp.diff(systems.square_loss(W, 1), W)
    rate = lr * flow_rate(w, slope_now * W / w, 2 * decay)
    return slope_now * over_layers(W / w * rate, w, {0: depth, -2: S})


@claim(
    "D16",
    "under the penalty the data loss falls unless 1 - mu d/(W S) < W < 1: the weight-decay band",
    "every depth; W > 0 and S > 0 give the signs",
    GINSBURG + ", section 4",
)
def weight_decay_band(penalised: bool = True) -> Checks:
    """dL/dk factors as -4 lr W^2 S (W - 1)(W - lower edge)."""
    found = _loss_rate(penalty if penalised else sp.S.Zero)
    yield equal("dL/dk", found, predicted.ginsburg_loss_rate)
    yield obeys(
        "band",
        predicted.weight_decay_band_lower,
        lambda f: [found + 4 * lr * W**2 * S * (W - 1) * (W - f.value)],
    )
    yield obeys("upper edge", predicted.weight_decay_band_upper, lambda f: [found.subs(W, f.at(target=1))])


@claim(
    "D18",
    "resting points with W > 0 are balanced, w_i^2 = (1-W) W/mu, so that mu = (1-W) W^(1-2/d)",
    "every depth",
    "derived",
)
def resting_points(stationary: bool = True) -> Checks:
    """Zero gradient of every layer fixes w_i^2; P = W^(2/d) is the common square of balanced layers."""
    moving = sp.S.Zero if stationary else sp.Symbol("speed")
    slope_now = sp.diff(systems.square_loss(W, 1), W)
    square = (1 - W) * W / penalty
    at_rest = sp.expand(flow_rate(wi, slope_now * W / wi, 2 * penalty) * wi - moving)
    yield zero("w_i^2", at_rest.subs(wi**2, square))
    yield obeys(
        "penalty",
        predicted.ginsburg_stationary_penalty,
        lambda f: [at_rest.subs(wi**2, 1 / _inverse_square(f)).subs(penalty, f.value)],
    )


def _inverse_square(f: Face) -> sp.Expr:
    """W^(-2/d), the inverse square of balanced layers, in the letters of a formula."""
    return f.reader.form(W ** (-2 / depth)).expr


@claim(
    "D19",
    "two layers: W_* = 1 - mu; deeper: mu_c and mu_1, where the non-zero minimum ends and stops being global",
    "two layers: exact; every real depth > 2: critical point, and equal depth with the origin",
    "derived",
)
def thresholds(stationary: bool = True, balanced: bool = True) -> Checks:
    """Stationarity in W for two balanced layers; extremum of mu(W) = (1-W) W p, p = W^(-2/d); equal costs."""
    force = sp.S.Zero if stationary else sp.Symbol("force")
    square = W if balanced else sp.Symbol("square")  # w_i^2 of two balanced layers

    def pull(loss: sp.Expr, decay: sp.Expr) -> sp.Expr:
        return sp.expand(flow_rate(wi, sp.diff(loss, W) * W / wi, decay) * wi).subs(wi**2, square) / W

    his, ours = systems.square_loss(W, 1), systems.square_loss(W, two_layer_target) / 2
    yield obeys(
        "two layers, Ginsburg",
        predicted.ginsburg_end_to_end,
        lambda f: [pull(his, 2 * penalty).subs(W, f.value) - force],
    )
    yield obeys(
        "two layers, ours",
        predicted.equilibrium_end_to_end,
        lambda f: [pull(ours, weight_decay).subs(W, f.value) - force],
    )
    p = sp.Symbol("p")
    D, mu = Derivation({W: 1, p: -2 * p / (depth * W)}), (1 - W) * W * p
    yield obeys("W_c", predicted.critical_end_to_end, lambda f: [sp.cancel(D(mu) / p).subs(W, f.value) - force])
    cost = sp.cancel(systems.square_loss(W, 1) + mu * depth / p)
    yield obeys("W_1", predicted.coexistence_end_to_end, lambda f: [cost.subs(W, f.value) - 1 - force])
    for threshold, where in (
        (predicted.critical_penalty, predicted.critical_end_to_end),
        (predicted.coexistence_penalty, predicted.coexistence_end_to_end),
    ):
        yield obeys(
            threshold.name,
            threshold,
            lambda f: [f.value - f.companions[0]],
            companions=[predicted.ginsburg_stationary_penalty.at(end_to_end=where.expr)],
        )


@claim(
    "D20",
    "two phases: W - 1 relaxes in 1/(2 lr S) steps, the imbalance in 1/(4 lr mu)",
    "every depth; linearised at W = 1 without penalty, and the exact rate of D14",
    GINSBURG,
)
def time_scales(minimum: bool = True) -> Checks:
    """The derivative of dW/dk at the minimum, and the rate of the imbalance."""
    w = sp.Symbol("w")
    slope_now = sp.diff(systems.square_loss(W, 1), W)
    dW = over_layers(W / w * lr * flow_rate(w, slope_now * W / w, 0), w, {-2: S})
    first = sp.diff(dW, W).subs({W: 1} if minimum else {})
    yield obeys("optimisation", predicted.optimisation_time, lambda f: [f.value * first + 1])
    second = sp.diff(predicted.imbalance_rate.expr, imbalance).subs(IN_GINSBURG) * lr
    yield obeys("regularisation", predicted.regularisation_time, lambda f: [f.value * second + 1])


@claim(
    "D21",
    "two layers under the penalty rest at data loss mu^2",
    "two layers, mu < 1",
    "derived",
    latex=r"L_*=\mu^2",
)
def cost_of_decay(stationary: bool = True) -> Checks:
    """(W_* - 1)^2."""
    at = predicted.ginsburg_end_to_end.expr if stationary else W
    yield equal("data loss", systems.square_loss(at, 1), penalty**2)
