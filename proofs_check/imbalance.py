"""Proofs about layer imbalance: conserved by the flow, decaying under weight decay, exact in one step."""

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.face import Face
from proofs_check.field import Derivation
from proofs_check.judge import zero
from proofs_check.layers import GINSBURG, IN_GINSBURG, Checks, chain, claim, other, pull_of, wi, wj
from proofs_check.systems import flow_rate, sgd_step
from proofs_check.words import Words, derive, gradient, matrices, trace, vanish
from sdetheory.predictions import deep_linear as predicted
from sdetheory.predictions.deep_linear import end_to_end as W
from sdetheory.predictions.deep_linear import (
    imbalance,
    imbalance0,
    lower_gram,
    lr,
    penalty,
    slope,
    step,
    t,
    two_layer_target,
    upper_gram,
    weight_decay,
)


@claim(
    "D7",
    "gradient flow keeps the imbalance: w_i^2 - w_j^2, and W_{j+1}^T W_{j+1} - W_j W_j^T",
    "every depth, any widths, any differentiable loss; two layers: the end point of the flow",
    "Arora, Cohen, Hazan 2018; Du, Hu, Lee 2018; Ginsburg 2020",
    latex=r"\tfrac{d}{dt}(W_{j+1}^\top W_{j+1}-W_jW_j^\top)=0",
)
def conservation(one_loss: bool = True, no_decay: bool = True) -> Checks:
    """Scalars with an arbitrary slope; matrices with an arbitrary first variation <E, dW>; then the end
    point."""
    decay = sp.S.Zero if no_decay else weight_decay
    yield zero("scalars", _flow(one_loss, decay, decay)(wi**2 - wj**2))
    yield from vanish("matrices", _matrix_flow(one_loss, decay))
    yield obeys(
        "end of the flow, w_1^2",
        predicted.flow_endpoint_two_layers,
        lambda f: [f.value - two_layer_target**2 / f.value - imbalance],
    )
    yield obeys(
        "end of the flow, w_2^2",
        predicted.flow_endpoint_two_layers_second,
        lambda f: [two_layer_target**2 / f.value - f.value - imbalance],
    )


def _flow(same_slope: bool, decay_i: sp.Expr, decay_j: sp.Expr) -> Derivation:
    """d/dt along gradient flow of two layers of a chain, with an arbitrary dl/dW."""
    slope_j = slope if same_slope else sp.Symbol("other_slope")
    return Derivation(
        {
            wi: flow_rate(wi, pull_of(slope, wi), decay_i),
            wj: flow_rate(wj, pull_of(slope_j, wj), decay_j),
        }
    )


def _matrix_pair(one_loss: bool) -> tuple[Words, Words, Words, Words]:
    """Two neighbouring layers U above V of A U V B, and their gradients under the first variation <E, d(A
    U V B)>."""
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
    "D9",
    "one step: D_ij' = D_ij ((1 - lr wd)^2 - lr^2 g^2 W^2/(w_i w_j)^2) for any scalar g = dl/dW",
    "every depth, any loss, batch, noise and weight decay",
    GINSBURG + "; his case is wd = 0",
)
def scalar_step(same_slope: bool = True, same_decay: bool = True) -> Checks:
    """The squares of two layers after one step."""
    slope_j = slope if same_slope else sp.Symbol("other_slope")
    decay_j = weight_decay if same_decay else sp.Symbol("other_decay")
    after = (
        sgd_step(wi, pull_of(slope, wi), lr, weight_decay),
        sgd_step(wj, pull_of(slope_j, wj), lr, decay_j),
    )
    yield equal(
        "D'",
        after[0] ** 2 - after[1] ** 2,
        predicted.scalar_imbalance_step,
        imbalance=wi**2 - wj**2,
        rest=other,
    )
    yield equal("rest = W/(w_i w_j)", other, W / (wi * wj), chain())


@claim(
    "D14",
    "under weight decay the flow has D(t) = D_0 e^(-2 wd t); Ginsburg's convention: e^(-4 lr mu k)",
    "every depth, any widths, any differentiable loss",
    "Du, Hu, Lee 2018; " + GINSBURG + ", theorem 4.1",
)
def decay_flow(one_loss: bool = True, same_decay: bool = True, initial: bool = True) -> Checks:
    """The rate for scalars and for matrices, then the solution of dD/dt = rate(D)."""
    decay_j = weight_decay if same_decay else sp.Symbol("other_decay")
    D = wi**2 - wj**2
    yield equal("scalars", _flow(one_loss, weight_decay, decay_j)(D), predicted.imbalance_rate, imbalance=D)
    U, V, _, _ = _matrix_pair(one_loss)
    rate = sp.diff(predicted.imbalance_rate.expr, imbalance)
    yield from vanish("matrices", _matrix_flow(one_loss, weight_decay) - rate * _imbalance(U, V))
    start = imbalance0 if initial else sp.Symbol("other_start")
    yield obeys(
        "solution",
        predicted.imbalance_flow,
        lambda f: [f.rate(t) - predicted.imbalance_rate.at(imbalance=f.value), f.at(t=0) - start],
    )
    ginsburg = predicted.imbalance_rate.expr.subs(IN_GINSBURG) * lr  # d/dk = lr d/dt
    yield obeys(
        "in Ginsburg's convention",
        predicted.ginsburg_imbalance_flow,
        lambda f: [f.rate(step) - ginsburg.subs(imbalance, f.value), f.at(step=0) - start],
    )


@claim(
    "D15",
    "one step of GD on (W-1)^2 + mu sum w_i^2: D_ij' = D_ij ((1 - 2 lr mu)^2 - lr^2 g^2 W^2/(w_i w_j)^2)",
    "every depth, any slope g",
    GINSBURG + ", theorem 4.1",
)
def ginsburg_step(same_slope: bool = True) -> Checks:
    """The gradient of the penalised loss, in his convention (no one half)."""
    slope_j = slope if same_slope else sp.Symbol("other_slope")
    after = [
        sgd_step(w, pull_of(g, w) + sp.diff(penalty * (wi**2 + wj**2), w), lr, 0)
        for w, g in ((wi, slope), (wj, slope_j))
    ]
    yield equal(
        "D'",
        after[0] ** 2 - after[1] ** 2,
        predicted.ginsburg_imbalance_step,
        imbalance=wi**2 - wj**2,
        rest=other,
    )
    yield equal("our weight decay", sp.diff(penalty * wi**2, wi) / wi, predicted.weight_decay_of_penalty)


@claim(
    "D32",
    "one step: D_j' = (1 - lr wd)^2 D_j + lr^2 (G_{j+1}^T G_{j+1} - G_j G_j^T)",
    "every depth, any widths, any differentiable loss, batch and weight decay",
    "Arora, Cohen, Golowich, Hu 2019",
)
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
