"""Gradient-flow solutions: against the closed form of chains, conserved imbalances, and what a saddle makes of them."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import sdetheory
from sdetheory import observables
from sdetheory.models.deep_linear import PseudoHuber, deep_linear, deep_linear_from_data, scalar_chain
from sdetheory.models.weights import gaussian_weights
from sdetheory.predictions import flow_sharpness, scalar_chains
from tests.deep_linear_cases import close

pytestmark = pytest.mark.compiled


@pytest.mark.claim("D63", "D43", kind="simulation")
@given(st.lists(st.floats(0.1, 2.5), min_size=2, max_size=4), st.booleans())
def test_flows_of_chains_end_where_the_closed_form_says(layers, negative):
    w = np.array(layers)
    squares = np.sort(w**2)
    assume(squares[1] - squares[0] > 0.05)
    w[0] *= -1 if negative else 1
    end = observables.flow_limit(scalar_chain(w.size), w)
    close(end, scalar_chains.chain_endpoint(w), tolerance=1e-10)
    sharp = observables.flow_sharpness(scalar_chain(w.size), w)
    close(sharp, flow_sharpness.flow_sharpness(w), tolerance=1e-9, scale=sharp)


@pytest.mark.claim("D7", kind="simulation")
def test_the_limit_is_a_minimum_with_the_imbalance_of_the_start():
    """Matrix layers in target form, on data with a residual, and with the pseudo-Huber loss; leading axes are kept."""
    rng, widths = np.random.default_rng(1), (3, 4, 3, 2)
    data = rng.standard_normal((3, 8)), rng.standard_normal((2, 8))
    models = (
        deep_linear(widths, rng.standard_normal((2, 3))),
        deep_linear_from_data(*data, widths),
        deep_linear_from_data(*data, widths, PseudoHuber()),
    )
    w = gaussian_weights(widths, rng, paths=6).reshape(3, 2, -1)
    for model in models:
        ends = observables.flow_limit(model, w)
        close(observables.spectra.gradient(model, ends), 0.0, tolerance=1e-9)
        for before, after in zip(*(observables.matrix_imbalance(s, widths) for s in (w, ends)), strict=True):
            close(after, before, tolerance=1e-9)
        values = np.linalg.eigvalsh(observables.hessian(model, ends))
        assert values.min() > -1e-8 * values.max(), values.min()
        close(observables.flow_limit(model, ends), ends, tolerance=1e-10)


@pytest.mark.claim("D63", kind="simulation")
def test_descent_on_matrix_layers_can_raise_the_sharpness_of_its_gradient_flow_solution():
    """D63 is about chains: the second-order term of D32 has a sign there and none for matrices. Here lr times the
    sharpness is 0.74, the loss falls in every step, and the fourth step raises the sharpness by 5e-4.
    """
    rng, widths = np.random.default_rng(3), (2, 3, 2)
    model = deep_linear(widths, rng.standard_normal((2, 2)))
    w = 1.5 * gaussian_weights(widths, rng)
    run = sdetheory.simulate(
        model, sdetheory.GradientDescent(0.05), w, np.arange(10), keep_states=True, progress=False
    )
    missed = observables.end_to_end(run.states[0], widths) - model.targets
    assert (np.diff(np.sum(missed**2, axis=(1, 2))) < 0).all(), missed
    sharp = observables.flow_sharpness(model, run.states[0])
    close(observables.flow_sharpness(model, run.states[0], tolerance=1e-10), sharp, tolerance=1e-8)
    rises = np.diff(sharp)
    assert rises[0] < -0.1 and rises[3:].min() > 1e-5 and 4e-4 < rises[3] < 6e-4, rises


def test_a_flow_into_a_saddle_has_no_solution():
    """w_1 + w_2 = 0 is led to the origin; the origin stays."""
    for start in ([1.0, -1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="`w` must lead to a minimum"):
            observables.flow_limit(scalar_chain(2), np.array(start), longest=50.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"w": [1.0, np.nan]}, "`w` must be finite"),
        ({"w": [1.0, 1.0, 1.0]}, "must have 2 weights"),
        ({"w": [1.0, 1.0], "longest": 0.0}, "`longest` must be positive"),
        ({"w": [1.0, 1.0], "tolerance": -1.0}, "`tolerance` must be positive"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        observables.flow_limit(scalar_chain(2), **arguments)
