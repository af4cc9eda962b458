"""What the proofs about scalar layers share: two layers of a chain of any depth, sums over layers, the
claim decorator."""

from collections.abc import Iterator, Mapping
from functools import partial

import sympy as sp

from proofs_check.judge import Given, Verdict, given
from proofs_check.registry import claim as _claim
from sdetheory.predictions.deep_linear import end_to_end as W
from sdetheory.predictions.deep_linear import penalty, weight_decay

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
GINSBURG = "Ginsburg 2020"
Checks = Iterator[Verdict]
wi, wj, other = sp.symbols("w_i w_j P")  # W = w_i w_j P: any depth, P is the product of the other layers
IN_GINSBURG = {weight_decay: 2 * penalty}
_AT = {wi: 2, wj: 3, other: 5, W: 30}


def chain(more: tuple[sp.Expr, ...] = (), at: Mapping[sp.Symbol, object] | None = None) -> Given:
    """W = w_i w_j P, and further relations."""
    return given([wi * wj * other - W, *more], {**_AT, **(at or {})})


def pull_of(loss_slope: sp.Expr, layer: sp.Symbol) -> sp.Expr:
    """The gradient in one layer: dl/dW times dW/dw."""
    return loss_slope * sp.diff(wi * wj * other, layer)


def over_layers(expr: sp.Expr, w: sp.Symbol, sums: Mapping[int, sp.Expr]) -> sp.Expr:
    """The sum over all layers of a Laurent polynomial in one weight, through power sums sum w_k^n: any
    depth."""
    terms = sp.Add.make_args(sp.expand(expr))
    return sp.Add(
        *(term.as_independent(w)[0] * sums[sp.degree(sp.expand(term * w**8), w) - 8] for term in terms)
    )
