"""Enclosed gaps of the generator on the circle against a dense eigensolver, and false enclosures refused."""

import numpy as np
import pytest
import sympy as sp

from proofs_check.judge import Undecided
from proofs_check.spectrum import gap_enclosed

CASES = [(1, 20, 200), (1, 5, 100), (3, 10, 50), (0, 1, 30)]  # height, its divisor, 1/(lr wd)


def gap(height, product, odd, size=61):
    """Smallest non-zero real part of the spectrum of -D d2 + a sin(2 phi) d on Fourier modes of one parity."""
    degrees = np.arange(-size, size + 1, 2) if odd else np.arange(-size - 1, size + 2, 2)
    pull = np.sqrt(2 * product) * height
    matrix = np.diag(product * degrees**2).astype(complex)
    for i, k in enumerate(degrees):  # sin(2 phi) d e^(ik phi) = (k/2)(e^(i(k+2) phi) - e^(i(k-2) phi))
        for shift, sign in ((1, 1), (-1, -1)):
            if 0 <= i + shift < len(degrees):
                matrix[i + shift, i] += sign * pull * k / 2
    rates = np.sort(np.linalg.eigvals(matrix).real)
    return rates[rates > 1e-9][0]


@pytest.mark.claim("I32", kind="property")
@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize(("height", "divisor", "steps"), CASES)
def test_gaps_enclose_those_of_a_dense_solver_on_the_unsymmetric_generator(height, divisor, steps, odd):
    ratio = gap(height / divisor, 1 / steps, odd) * steps
    near = sp.Rational(round(ratio * 10**6), 10**6)
    width = sp.Rational(1, 10**4) * max(near, 1)
    h, product = sp.Rational(height, divisor), sp.Rational(1, steps)
    verdict = gap_enclosed("gap", odd, h, product, near - width, near + width)
    assert verdict.proved, (ratio, verdict)


def test_false_enclosures_are_refuted():
    h, product = sp.Rational(1, 10), sp.Rational(1, 100)
    for low, high in (("4.2", "4.3"), ("4.4", "4.5")):
        verdict = gap_enclosed("gap", False, h, product, sp.Rational(low), sp.Rational(high))
        assert verdict.refuted and verdict.witness, verdict


def test_too_few_modes_are_undecided():
    with pytest.raises(Undecided, match="modes"):
        gap_enclosed("gap", False, sp.Integer(100), sp.Rational(1, 10**6), sp.Integer(4), sp.Integer(5))
