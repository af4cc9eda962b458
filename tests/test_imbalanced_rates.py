"""Imbalance-accelerated rates: the bound at any state, each layer's own, along the flow, and the wrong
pairing.
"""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory.predictions import imbalanced_rates as theory


@st.composite
def layers(draw, largest=4):
    """W_1 of shape (n, h), W_2 of shape (h, m), all sizes from 1, entries of very different sizes."""
    n, h, m = (draw(st.integers(1, largest)) for _ in range(3))
    entry = st.floats(-3, 3, width=32)
    outer, inner = draw(arrays(float, (n, h), elements=entry)), draw(arrays(float, (h, m), elements=entry))
    return outer * draw(st.sampled_from([1.0, 0.1])), inner * draw(st.sampled_from([1.0, 0.1]))


def squares(outer, inner):
    """sigma_n^2(W_1) and sigma_m^2(W_2), by the eigenvalues of W_1 W_1^T and W_2^T W_2."""
    return np.linalg.eigvalsh(outer @ outer.T)[0], np.linalg.eigvalsh(inner.T @ inner)[0]


@pytest.mark.claim("D45", kind="property")
@given(layers())
@example((np.diag([1.5, 1.0]), np.array([[0.25], [0.0]])))
@example((np.eye(2), np.zeros((2, 2))))
@example((np.array([[2.0], [1.0]]), np.array([[1.0, 3.0]])))
@example((np.array([[1.0, 0.0]]), np.array([[0.0], [1.0]])))
def test_the_rate_bounds_both_layers(factors):
    outer, inner = factors
    actual = sum(squares(outer, inner))
    bound = theory.rate_bound(outer, inner)
    assert bound <= actual + 1e-9 * (1 + np.sum(outer**2) + np.sum(inner**2)), (bound, actual)


@pytest.mark.claim("D45", kind="property")
@given(layers())
@example((np.diag([1.5, 1.0]), np.array([[0.25], [0.0]])))
def test_each_layer_has_its_own_bound(factors):
    outer, inner = factors
    n, m = outer.shape[0], inner.shape[1]
    imbalance = np.linalg.eigvalsh(outer.T @ outer - inner @ inner.T)
    values = np.linalg.svd(outer @ inner, compute_uv=False)
    for size, other, eigenvalues, actual in zip(
        (n, m), (m, n), (imbalance[::-1], -imbalance), squares(outer, inner), strict=True
    ):
        least = max(eigenvalues[size - 1], 0.0) if size <= len(eigenvalues) else 0.0
        value = values[size - 1] if size <= other else 0.0
        bound = theory.layer_bound(
            least_positive=least, most_negative=max(-eigenvalues[-1], 0.0), singular_value=value
        )
        assert bound <= actual + 1e-9 * (1 + np.sum(outer**2) + np.sum(inner**2)), (bound, actual, size)


@pytest.mark.claim("D45", kind="property")
@given(st.floats(-3, 3, width=32), st.floats(-3, 3, width=32))
@example(0.0, 0.0)
def test_scalar_layers_attain_it(first, second):
    bound = theory.rate_bound([[first]], [[second]])
    assert np.isclose(bound, first**2 + second**2, rtol=1e-12, atol=1e-300), (bound, first, second)


def losses_along_the_flow(outer, inner, target, times, pieces=1):
    """Loss at the times, by Runge-Kutta steps on the factors, `pieces` of them between two times."""
    losses, dt = [], (times[1] - times[0]) / pieces

    def rates(outer, inner):
        error = outer @ inner - target
        return -error @ inner.T, -outer.T @ error

    for step in range(len(times) * pieces):
        if step % pieces == 0:
            losses.append(0.5 * np.sum((outer @ inner - target) ** 2))
        k1 = rates(outer, inner)
        k2 = rates(outer + dt / 2 * k1[0], inner + dt / 2 * k1[1])
        k3 = rates(outer + dt / 2 * k2[0], inner + dt / 2 * k2[1])
        k4 = rates(outer + dt * k3[0], inner + dt * k3[1])
        outer, inner = (
            x + dt / 6 * (a + 2 * b + 2 * c + d) for x, a, b, c, d in zip((outer, inner), k1, k2, k3, k4, strict=True)
        )
    return np.array(losses)


@pytest.mark.claim("D45", kind="property")
@given(layers(3), st.integers(0, 2**32 - 1), st.floats(0.05, 1.0))
@example((2 * np.eye(2), 0.5 * np.eye(2)), 0, 0.1)
@example((np.array([[2.0, 0.0]]), np.array([[0.0], [0.5]])), 1, 1.0)
@example((np.zeros((1, 3)), np.full((3, 1), 3.0)), 0, 1.0)  # attained, at a rate of 27
def test_the_loss_stays_below_its_bound(factors, seed, size):
    """With the margin of the target where there is one, by imbalance alone otherwise.

    The bound is attained by some starts: what the integration is uncertain about is allowed, as measured by halving
    its steps.
    """
    outer, inner = factors
    noise = np.random.default_rng(seed).standard_normal((outer.shape[0], inner.shape[1]))
    target = outer @ inner + size * noise
    alpha = theory.rate_bound(outer, inner, target)
    assume(alpha > 1e-3)
    times = np.linspace(0, 1.0, 201)
    losses = losses_along_the_flow(outer, inner, target, times, pieces=2)
    unsure = np.abs(losses_along_the_flow(outer, inner, target, times) - losses)
    bound = theory.accelerated_loss_bound(t=times, rate=alpha, loss0=losses[0])
    assert np.all(losses <= bound * (1 + 1e-6) + 1e-14 + unsure), (alpha, np.max(losses / bound))


def swapped(outer, inner):
    known = theory.spectrum_of_imbalance(outer, inner)
    known["row_value"], known["column_value"] = known["column_value"], known["row_value"]
    return theory.accelerated_rate(**known)


@pytest.mark.claim("D46", kind="simulation")
def test_the_swapped_pairing_fails_for_unequal_dimensions_only():
    """Gaussian layers: about a quarter of shapes drawn from 1 to 4 violate it, none with n = m."""
    rng, failures, unequal = np.random.default_rng(5), 0, 0
    for _ in range(2000):
        n, h, m = rng.integers(1, 5, size=3)
        outer, inner = rng.standard_normal((n, h)), rng.standard_normal((h, m))
        fails = swapped(outer, inner) > sum(squares(outer, inner)) + 1e-9
        failures, unequal = failures + fails, unequal + (n != m)
        assert not (fails and n == m), (outer, inner)
    assert 0.2 * unequal < failures < 0.6 * unequal, (failures, unequal)


@pytest.mark.claim("D46", kind="property")
def test_the_exact_point_that_refutes_the_swapped_pairing():
    outer, inner = np.diag([1.5, 1.0]), np.array([[0.25], [0.0]])
    assert np.isclose(sum(squares(outer, inner)), 17 / 16, rtol=1e-14)
    assert np.isclose(theory.rate_bound(outer, inner), 17 / 16, rtol=1e-14)
    assert np.isclose(swapped(outer, inner), 18 / 16, rtol=1e-14)


def test_matrices_that_do_not_multiply_are_refused():
    with pytest.raises(ValueError, match="must be matrices that multiply"):
        theory.rate_bound(np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="`target` must have the shape of W"):
        theory.rate_bound(np.eye(2), np.eye(2), np.eye(3))
