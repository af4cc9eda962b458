"""The flow of a chain solved through W^2 = P(m): against a general solver, closed forms, and its own inverse."""

import numpy as np
import pytest
import scipy.integrate
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sdetheory.predictions import deep_linear, scalar_chains
from sdetheory.predictions.two_layers import two_layer_flow
from tests.deep_linear_cases import close


@pytest.mark.claim("D43", "D38", kind="property")
@settings(max_examples=15)  # two fifths of a second each
@given(st.lists(st.floats(0.05, 2), min_size=2, max_size=5), st.floats(0.3, 2), st.floats(0.01, 20))
def test_layers_along_the_flow_are_those_of_a_general_solver(layers, target, t):
    w = np.array(layers)
    w[:2] *= -1
    assume(abs(w.prod() - target) > 1e-3)

    def rate(_, w):
        return -(w.prod() - target) * w.prod() / w

    run = scipy.integrate.solve_ivp(rate, (0, t), w, method="DOP853", rtol=1e-12, atol=1e-14)
    found = scalar_chains.chain_flow(t, w, target)
    close(found, run.y[:, -1], tolerance=1e-9)
    product = found.prod()
    if 1e-6 < abs(product / target - 1):
        close(scalar_chains.chain_time(w, product, target) / t, 1.0, tolerance=1e-8)


@pytest.mark.claim("D37", "D38", "D39", "D40", kind="property")
def test_times_and_strengths_are_those_of_the_closed_forms():
    """Two and four layers, starts down to 1e-100; unbalanced ones by the Riccati solution; three by the escape time."""
    for small in (1e-2, 1e-10, 1e-100):
        known = {"strength0": small, "strength": 0.6, "target": 1.3}
        for depth, law in ((2, scalar_chains.two_layer_growth_time), (4, scalar_chains.four_layer_growth_time)):
            found = scalar_chains.chain_time(np.full(depth, small ** (1 / depth)), 0.6, 1.3)
            close(found / law(**known), 1.0, tolerance=1e-12)
    found = scalar_chains.chain_time(np.full(3, 1e-8), 0.5)
    close(found / scalar_chains.escape_time(strength0=1e-24, depth=3.0, target=1.0), 1.0, tolerance=1e-7)
    for t in (0.1, 2.0, 9.0):
        found = scalar_chains.chain_flow(t, np.array([0.1, 0.1]), 0.8).prod()
        close(found, deep_linear.mode_strength(strength0=0.01, two_layer_target=0.8, t=t), tolerance=1e-12)
        close(scalar_chains.chain_flow(t, [0.3, 1.6], 0.8), np.array(two_layer_flow(t, 0.3, 1.6, 0.8)), tolerance=1e-11)
    close(scalar_chains.chain_flow(1e4, [0.3, 1.6, 0.2]), scalar_chains.chain_endpoint([0.3, 1.6, 0.2]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scalar_chains.chain_flow(-1.0, [1.0, 2.0]), "`t` must not be negative"),
        (lambda: scalar_chains.chain_flow(1.0, [-1.0, 2.0]), "a positive product"),
        (lambda: scalar_chains.chain_flow(1.0, [[1.0, 2.0]]), r"shape \(d,\)"),
        (lambda: scalar_chains.chain_time([0.5, 0.5], 0.1), "`product` must lie between"),
        (lambda: scalar_chains.chain_time([0.5, 0.5], 0.5, -1.0), "`target` must be finite and positive"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
