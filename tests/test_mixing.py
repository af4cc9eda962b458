"""Slow mixing in parameters: gaps within their proved bounds, exponents, escape rates; the slow manifold's clock."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from scipy import special

from sdetheory.predictions import intrinsic_lr, mixing
from sdetheory.spectrum import circle, zonal

BARRIERS = np.geomspace(20, 300, 8)


def plane_gap(barrier):
    """Odd gap over lr wd of h cos^2 on the circle, at beta h."""
    return circle(([0, 0, barrier / 2], []), 1.0).gap("odd")


@pytest.mark.claim("I33", "I32", kind="property")
@given(barrier=some.floats(1e-3, 150))
@example(barrier=1e-3)
@example(barrier=600.0)
def test_the_odd_gap_lies_within_its_bounds(barrier):
    """At every barrier; where the bounds are closer than rounding, on them."""
    gap, bessel = plane_gap(barrier), special.iv(0, barrier / 2)
    lower, upper = (bound(bessel=bessel) for bound in (mixing.odd_gap_lower, mixing.odd_gap_upper))
    assert lower * (1 - 1e-12) <= gap <= upper * (1 + 1e-12), (lower, gap, upper)


@pytest.mark.claim("I33", kind="property")
def test_the_bounds_are_sharp_and_tend_to_kramers():
    """gap/lower - 1 falls below the proved 3/(2 I_0) and faster; Kramers is off by 1/(2 barrier)."""
    for barrier in (10.0, 20.0, 40.0):
        ratio = plane_gap(barrier) / mixing.odd_gap_lower(bessel=special.iv(0, barrier / 2)) - 1
        assert -1e-13 < ratio < 3 / special.iv(0, barrier / 2), (barrier, ratio)
    for barrier in (100.0, 600.0):
        ratio = mixing.kramers_odd_gap(barrier=barrier) / plane_gap(barrier) - 1
        assert np.isclose(ratio, 1 / (2 * barrier), rtol=0.03), (barrier, ratio)


@pytest.mark.claim("I33", kind="property")
@pytest.mark.parametrize("d", [2, 3, 12])
def test_exponent_and_prefactor_of_antipodal_wells_in_any_dimension(d):
    """ln gap = A - S b + B ln b + C/b over b = 20 to 300: S = 1 (the barrier), B = d/2, A that of Eyring-Kramers."""
    gaps = np.array([zonal(lambda u: -u * u, b, dimension=d).gap("odd") for b in BARRIERS])
    design = np.stack([np.ones(BARRIERS.size), -BARRIERS, np.log(BARRIERS), 1 / BARRIERS], axis=1)
    _, slope, power, _ = np.linalg.lstsq(design, np.log(gaps), rcond=None)[0]
    assert abs(slope - 1) < 1e-4 * d and abs(power / (d / 2) - 1) < 0.02, (slope, power)
    ratios = gaps / [mixing.antipodal_rate(b, d) for b in BARRIERS]
    assert abs(ratios[-1] - 1) < d * d / BARRIERS[-1], ratios
    assert (np.diff(np.abs(ratios - 1)) < 0).all(), ratios
    if d == 2:
        assert np.allclose(mixing.antipodal_rate(7.0, 2), mixing.kramers_odd_gap(barrier=7.0), rtol=1e-14)


@pytest.mark.claim("I33", kind="property")
def test_exponent_in_lr_wd_of_unequal_wells():
    """-ln(gap) over (lr wd)^(-1/2) has the slope sqrt 2/sigma times the barrier of the shallower well."""
    h, c, noise = 0.3, 0.06, 1.1
    root = np.linspace(60, 220, 9)
    beta = intrinsic_lr.inverse_temperature(lr=1.0, weight_decay=root**-2, dimension=2, noise=noise)
    found = [circle(([0, -c, -h / 2], []), b) for b in beta]
    assert max(f.errors[0] for f in found) < 1e-6, [f.errors[0] for f in found]
    design = np.stack([np.ones(root.size), root, np.log(root), 1 / root], axis=1)
    _, slope, power, _ = np.linalg.lstsq(design, np.log([f.gap() for f in found]), rcond=None)[0]
    assert np.isclose(slope, -np.sqrt(2) / noise * (h - c / 2) ** 2 / h, rtol=1e-3), slope
    assert np.isclose(power, 1.0, atol=0.05), power


def test_unequal_wells_have_no_parity_and_their_slow_mode_is_the_lighter_well():
    """E of the slow mode's relaxation: a start in the shallow well leaves it at the slow rate."""
    found = circle(([0, -0.1, -0.5], []), 25.0, count=40)
    side = lambda a: np.cos(a)
    late = found.mean(side, [2 / found.gap(), 3 / found.gap()], lambda a: ((1 - np.cos(a)) / 2) ** 8)
    rest = found.expectation(side)
    assert np.isclose(np.log((late[0] - rest) / (late[1] - rest)), 1.0, rtol=1e-6), late
