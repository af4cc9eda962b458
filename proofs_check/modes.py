"""Proofs about balanced modes: sigmoid growth, any depth."""

from collections.abc import Mapping

import sympy as sp

from proofs_check import systems
from proofs_check.against import obeys
from proofs_check.face import Face
from proofs_check.layers import Checks, claim, over_layers
from proofs_check.systems import flow_rate
from sdetheory.predictions import deep_linear as predicted
from sdetheory.predictions.deep_linear import depth, strength, t, target, two_layer_target


@claim(
    "D37",
    "a balanced mode of two layers grows as a sigmoid",
    "aligned and balanced, whitened data, any start",
    "Saxe, McClelland, Ganguli 2014",
)
def sigmoid(balanced: bool = True, initial: bool = True) -> Checks:
    """da/dt = sum over layers of (a/w)^2 times -(dl/da): w^2 = a for two balanced layers."""
    a, s = sp.Symbol("a"), two_layer_target
    rate = _mode_rate(a, s, {-2: 2 / a if balanced else sp.Symbol("S")})
    start = predicted.strength0 if initial else sp.Symbol("other_start")
    yield obeys(
        "a(t)", predicted.mode_strength, lambda f: [f.rate(t) - rate.subs(a, f.value), f.at(t=0) - start]
    )


def _mode_rate(a: sp.Expr, s: sp.Expr, sums: Mapping[int, sp.Expr]) -> sp.Expr:
    """da/dt of one mode with loss (1/2)(a - s)^2 along gradient flow of its layers."""
    w = sp.Symbol("w")
    return over_layers(a / w * flow_rate(w, sp.diff(systems.square_loss(a, s) / 2, a) * a / w, 0), w, sums)


@claim(
    "D38",
    "a balanced mode of depth d: da/dt = d a^(2 - 2/d) (s - a)",
    "every real depth; aligned, whitened data",
    "Saxe, McClelland, Ganguli 2014",
)
def deep_mode(balanced: bool = True) -> Checks:
    """All w_k^2 equal a^(2/d), so that sum 1/w_k^2 = d a^(-2/d)."""

    def residual(f: Face) -> list[sp.Expr]:
        inverse = f.reader.form(strength ** (-2 / depth)).expr
        return [f.value - _mode_rate(strength, target, {-2: depth * inverse if balanced else sp.Symbol("S")})]

    yield obeys("da/dt", predicted.mode_rate, residual)
