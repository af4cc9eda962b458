"""Proof that small steps of GD never raise the sharpness of the gradient-flow solution of a scalar chain."""

from functools import partial

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.bounds import flatter
from proofs_check.judge import given
from proofs_check.layers import Checks, chain, other, wi, wj
from proofs_check.registry import claim as _claim
from sdetheory.predictions import deep_linear
from sdetheory.predictions import flow_sharpness as predicted
from sdetheory.predictions.deep_linear import end_to_end as W
from sdetheory.predictions.deep_linear import lr, slope

claim = partial(
    _claim,
    where={
        "small_step": "lr^2 g^2 W^2 is at most the product of the two smallest squares",
        "sorted_layers": "layers are in the order of their squares, which the step keeps",
        "no_decay": "there is no weight decay",
    },
)


@claim(
    "D63",
    "a step of GD with lr^2 g^2 W^2 <= z_(1) z_(2) never raises the sharpness of the gradient-flow solution",
    "every depth >= 2, any differentiable loss of W, batch or noise: D9 and D6",
    "derived; Kreisler et al. 2023 for two-sided steps",
    given=["S along a path that shrinks one sorted gap at a time at fixed product (D6), integrated"],
)
def flow_solution_gets_flatter(small_step: bool = True, sorted_layers: bool = True, no_decay: bool = True) -> Checks:
    """k_ij = 1 - lr^2 g^2 W^2/(z_i z_j) in [0, 1] for all pairs: gaps keep their order and shrink; S falls (D6)."""
    zi, zj, z1, z2 = sp.symbols("z_i z_j z_1 z_2")
    decay = sp.S.Zero if no_decay else sp.Symbol("weight_decay")
    modulo = chain((wi**2 - zi, wj**2 - zj), {zi: 4, zj: 9})
    gap, push = zi - zj, (lr * slope * W) ** 2
    after = deep_linear.scalar_imbalance_step.at(imbalance=gap, weight_decay=decay, rest=other)
    yield equal("one step (D9)", after, gap * (1 - push / (zi * zj)), modulo)
    a, b, slack = sp.symbols("a b slack")
    square = z1 * z2 - slack if small_step else z1 * z2 + slack  # lr^2 g^2 W^2
    larger = (z1 + a) * (z2 + b)  # z_i z_j of any other pair
    kept = sp.expand((1 - square / larger) * larger)
    yield equal("no gap changes its sign: k z_i z_j", sp.cancel(kept), slack + a * z2 + b * z1 + a * b)
    yield equal("no gap grows: 1 - k is a square", push / (zi * zj), (lr * slope * W / (wi * wj)) ** 2, modulo)
    yield obeys(
        "smallest factor",
        predicted.least_imbalance_factor,
        lambda f: [f.at(smallest_square=z1, next_square=z2) - (1 - push / (z1 * z2))],
    )
    at_most = given([push - z1 * z2], {lr: 2, slope: 3, W: 1, z1: 4, z2: 9})
    yield obeys(
        "largest rate",
        predicted.largest_monotone_lr,
        lambda f: [f.power(2, smallest_square=z1, next_square=z2) - lr**2],
        at_most,
    )
    yield from flatter(sorted_layers)
