"""Eigenvalues of the generator on the circle, enclosed: Fourier modes, a bound of the rest, signs of pivots.

-G = -D d^2/dphi^2 + V' d/dphi with V = (a/2)(1 - cos 2 phi) is similar to the symmetric H = -D d^2/dphi^2 +
V'^2/(4D) - V''/2, which couples modes whose degrees differ by 2 or 4.
"""

from collections.abc import Sequence
from typing import Any

import flint
import sympy as sp

from proofs_check.judge import Undecided, Verdict
from proofs_check.points import exact

_MODES, _BITS = 24, 192


def _potential(degree: int, diffusion: Any, pull: Any) -> Any:
    """Fourier coefficient, 2 for cos(degree phi) once: (a^2/8D)(1 - cos 4 phi) - a cos 2 phi."""
    return {0: pull * pull / (8 * diffusion), 2: -pull / 2, 4: -pull * pull / (16 * diffusion)}.get(degree, 0)


def _section(degrees: Sequence[int], parity: int, diffusion: Any, pull: Any) -> list[list[Any]]:
    """H on cos(k phi) (parity 1) or sin(k phi) (parity -1), normalised."""
    rows: list[list[Any]] = []
    for j in degrees:
        row = []
        for k in degrees:
            entry = _potential(abs(j - k), diffusion, pull) + parity * _potential(j + k, diffusion, pull)
            scale = flint.arb(1) / 2 if j == k == 0 else flint.arb(1)
            scale = flint.arb(1) / flint.arb(2).sqrt() if (j == 0) != (k == 0) else scale
            row.append(scale * entry + (diffusion * j * j if j == k else 0))
        rows.append(row)
    return rows


def _negative_pivots(matrix: list[list[Any]]) -> int:
    """Number of negative eigenvalues of a symmetric matrix of balls: signs of the pivots of Gauss."""
    rows, negative = [list(r) for r in matrix], 0
    for i in range(len(rows)):
        pivot = rows[i][i]
        if not (pivot > 0 or pivot < 0):
            raise Undecided("a pivot may be zero")
        negative += bool(pivot < 0)
        for j in range(i + 1, min(i + 3, len(rows))):
            factor = rows[j][i] / pivot
            for k in range(i, min(i + 3, len(rows))):
                rows[j][k] = rows[j][k] - factor * rows[i][k]
    return negative


def _count(first: int, parity: int, diffusion: Any, pull: Any, level: Any) -> tuple[int, int]:
    """Bounds of the number of eigenvalues below `level` on the modes first, first + 2, ...

    The section alone gives at least; less its coupling B B^T/(c - level) to the rest, which is at least c, at
    most.
    """
    degrees = range(first, first + 2 * _MODES, 2)
    last = first + 2 * _MODES
    shifted = _section(degrees, parity, diffusion, pull)
    for i, _ in enumerate(degrees):
        shifted[i][i] = shifted[i][i] - level
    fewest = _negative_pivots(shifted)
    size = abs(_potential(2, diffusion, pull)), abs(_potential(4, diffusion, pull))
    floor = diffusion * last * last + _potential(0, diffusion, pull) - 2 * (size[0] + size[1]) - level
    if not floor > 0:
        raise Undecided("too few modes")
    loss = (size[0] + size[1]) ** 2 / floor  # |B|^2 over the gap to the rest; B reaches the last two modes
    for i in (-2, -1):
        shifted[i][i] = shifted[i][i] - loss
    return fewest, _negative_pivots(shifted)


def gap_enclosed(
    label: str, odd: bool, height: sp.Rational, product: sp.Rational, low: Any, high: Any
) -> Verdict:
    """low < gap/(lr wd) < high for functions even or odd under phi -> phi + pi; sigma = 1, loss h sin^2 phi."""
    saved, flint.ctx.prec = flint.ctx.prec, _BITS
    try:
        diffusion = flint.arb(exact(product))
        pull = (2 * diffusion).sqrt() * flint.arb(exact(height))
        found = []
        for level in (low, high):
            at = diffusion * flint.arb(exact(sp.Rational(level)))
            sectors = ((1, 1), (1, -1)) if odd else ((0, 1), (2, -1))
            counts = [_count(first, parity, diffusion, pull, at) for first, parity in sectors]
            found.append(tuple(map(sum, zip(*counts, strict=True))))
    finally:
        flint.ctx.prec = saved
    known = 0 if odd else 1  # the constant has eigenvalue 0
    (_, most), (fewest, _) = found
    kind = f"enclosed: Arb, {_MODES} Fourier modes and a bound of the rest"
    if most == known and fewest > known:
        return Verdict(label, True, kind)
    if found[0][0] > known or found[1][1] == known:
        return Verdict(label, False, kind, witness={"eigenvalues below": f"{found}"})
    raise Undecided(label)
