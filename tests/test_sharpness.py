"""Hessian products, the largest eigenvalue, and which preconditioned Hessian has its edge at 2."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_problems import spread

from sdetheory import evaluate
from sdetheory.models.scale_invariant import Rayleigh
from sdetheory.networks import labelled, mlp
from sdetheory.networks.sharpness import hessian_product, lanczos, sharpness, stability

NET = mlp((3, 4, 3), activation="tanh", normalised_output=True)
DATA = labelled(np.sin(np.arange(36.0) ** 1.3).reshape(12, 3), np.arange(12) % 3)
PARAMETERS = NET.start([0, 1, 5])


def explicit(net, w, data, step=1e-3):
    """The Hessian (P, P) at w (P,), by a difference of sixth order with large steps of their own."""
    weights = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    total = np.zeros((net.size, net.size))
    for k, weight in weights.items():
        ahead, behind = (
            net.gradient(w + sign * k * step * np.eye(net.size), data.inputs, data.labels)[1] for sign in (1, -1)
        )
        total += weight * (ahead - behind) / step
    return total


def unit_groups(net, w, by):
    """w with every group divided by its norm, and the norm of its group for every parameter."""
    out, norms = w.copy(), np.ones_like(w)
    for group in net.groups(by):
        norm = np.linalg.norm(group.select(w))
        out, norms = group.scaled(out, 1 / norm), group.scaled(norms, norm)
    return out, norms


@settings(max_examples=10)
@given(directions=spread(len(PARAMETERS), NET.size))
def test_products_are_those_of_the_explicit_hessian(directions):
    got = hessian_product(NET, PARAMETERS, directions, DATA)
    for w, v, hv in zip(PARAMETERS, directions, got, strict=True):
        H = explicit(NET, w, DATA)
        error = np.abs(hv - H @ v).max() / (np.abs(H).max() * np.linalg.norm(v) + 1e-30)
        assert error < 1e-7, f"relative error {error:.1e}"


def test_frozen_parameters_are_left_out():
    """The Hessian of the trainable parameters alone, whatever the direction or the first vectors do elsewhere."""
    net = mlp((3, 4, 3), activation="tanh", frozen_output=True)
    w, free = net.start([4]), slice(0, 12)
    H = explicit(net, w[0], DATA)[free, free]
    product = hessian_product(net, w, np.ones_like(w), DATA)
    assert (product[:, 12:] == 0).all()
    assert np.allclose(product[0, free], H.sum(axis=1), rtol=1e-7, atol=1e-7 * np.abs(H).max())
    value, vector = sharpness(net, w, DATA, start=np.ones_like(w), tolerance=1e-6)
    assert value[0] == pytest.approx(np.linalg.eigvalsh((H + H.T) / 2)[-1], rel=1e-7)
    assert (vector[:, 12:] == 0).all()


def test_a_zero_direction_gives_zero():
    assert (hessian_product(NET, PARAMETERS, np.zeros_like(PARAMETERS), DATA) == 0).all()


@pytest.mark.claim("I1", kind="property")
@given(exponent=st.floats(-2, 2))
def test_the_hessian_takes_a_group_to_minus_its_gradient_and_scales_like_the_norm_to_the_minus_two(exponent):
    """Euler's identities: Hess w_i = -grad_i with nothing in the other groups; Hess(c w) = Hess(w)/c^2."""
    gradient = NET.gradient(PARAMETERS, DATA.inputs, DATA.labels)[1]
    for by in ("layer", "neuron"):
        for group in NET.groups(by):
            along, expected = np.zeros_like(PARAMETERS), np.zeros_like(PARAMETERS)
            for a, b in group.segments:
                along[:, a:b], expected[:, a:b] = PARAMETERS[:, a:b], -gradient[:, a:b]
            error = np.abs(hessian_product(NET, PARAMETERS, along, DATA) - expected).max() / np.abs(gradient).max()
            assert error < 1e-7, f"{group.name}: {error:.1e}"
    factor = 10.0**exponent
    there = hessian_product(NET, factor * PARAMETERS, along + 0.1, DATA) * factor**2
    here = hessian_product(NET, PARAMETERS, along + 0.1, DATA)
    assert np.allclose(there, here, rtol=1e-7, atol=1e-7 * np.abs(here).max()), np.abs(there - here).max()


def test_largest_eigenvalues_are_those_of_the_explicit_hessian():
    values, vectors = sharpness(NET, PARAMETERS, DATA, tolerance=1e-6)
    for w, value, v in zip(PARAMETERS, values, vectors, strict=True):
        H = explicit(NET, w, DATA)
        assert value == pytest.approx(np.linalg.eigvalsh((H + H.T) / 2)[-1], rel=1e-7)
        assert np.linalg.norm(v) == pytest.approx(1) and np.linalg.norm(H @ v - value * v) < 2e-6 * value


def test_lanczos_agrees_with_scipy_and_with_power_iteration():
    from scipy.sparse.linalg import LinearOperator, eigsh

    values, vectors = sharpness(NET, PARAMETERS, DATA, tolerance=1e-7)
    for number, w in enumerate(PARAMETERS):
        product = lambda v, w=w: hessian_product(NET, w[None], np.reshape(v, (1, -1)), DATA)[0]
        operator = LinearOperator((NET.size, NET.size), matvec=product)
        assert values[number] == pytest.approx(eigsh(operator, k=1, which="LA", tol=1e-9)[0][0], rel=1e-7)
    wanted = values + np.abs(values)  # power iteration on Hess + lambda: all of it positive but for the bottom
    v = vectors + 0.5 * np.cos(np.arange(NET.size))
    for _ in range(300):
        v = hessian_product(NET, PARAMETERS, v, DATA) + np.abs(values)[:, None] * v
        length = np.linalg.norm(v, axis=1, keepdims=True)
        v = v / length
    assert np.allclose(length[:, 0], wanted, rtol=1e-5), (length[:, 0], wanted)


@given(drawn=st.lists(st.floats(-3, 3), min_size=4, max_size=8), scale=st.floats(0.1, 10))
def test_sharpness_of_a_rayleigh_quotient(drawn, scale):
    """At r times the bottom eigenvector of w^T diag(a) w/|w|^2 it is 2 (a_max - a_min)/r^2."""
    a = np.array(drawn) + 0.1 * np.arange(len(drawn))
    w, step = scale * np.eye(len(a))[a.argmin()], 1e-5 * scale

    def product(v):
        ahead, behind = (evaluate.gradient(Rayleigh(a), w + s * step * v[0]) for s in (1, -1))
        return (ahead - behind)[None] / (2 * step)

    value, _ = lanczos(product, 1.0 + np.arange(len(a))[None] ** 0.5, 1e-8, 60)
    expected = 2 * (a.max() - a.min()) / scale**2
    assert value[0] == pytest.approx(expected, rel=1e-6, abs=1e-8 / scale**2), (value, expected)


@functools.cache
def at_the_second_net():
    """Hessians at w, at unit layers and unit neurons with their norms, at w/|w|; the largest eigenvalue at w."""
    w = PARAMETERS[1]
    whole = np.linalg.norm(w)
    units = {by: unit_groups(NET, w, by) for by in ("layer", "neuron")}
    hessians = {by: (explicit(NET, unit, DATA), norms) for by, (unit, norms) in units.items()}
    single = np.linalg.eigvalsh(explicit(NET, w / whole, DATA, 1e-4))[-1] / whole**2
    return explicit(NET, w, DATA), hessians, single, sharpness(NET, w[None], DATA, tolerance=1e-7)[0]


@pytest.mark.claim("I26", kind="property")
@given(lr=st.floats(0.01, 1), product=st.floats(0, 0.3))
def test_the_edge_is_one_number_for_every_grouping(lr, product):
    """lambda_1(D^(1/2) H(u) D^(1/2)) with the effective lr of every layer, or neuron, is `stability`."""
    here, hessians, single, largest = at_the_second_net()
    number = stability(lr, product / lr, largest)[0]
    for by, (hessian, norms) in hessians.items():
        root = np.sqrt(lr / (1 - product)) / norms
        preconditioned = root[:, None] * hessian * root
        found = np.linalg.eigvalsh((preconditioned + preconditioned.T) / 2)[-1]
        assert found == pytest.approx(number, rel=1e-5), (by, found, number)
    assert lr / (1 - product) * single == pytest.approx(number, rel=1e-5), (single, number)
    blocks = [here[a:b, a:b] for group in NET.groups() for a, b in group.segments]
    own = [lr / (1 - product) * np.linalg.eigvalsh(block)[-1] for block in blocks]
    assert max(own) < 0.99 * number, f"the blocks alone say less: {own} of {number}"


def test_wrong_arguments_are_refused():
    for change, message in (
        ({"parameters": PARAMETERS[:, :-1]}, "`parameters`"),
        ({"start": PARAMETERS[:1]}, "`start`"),
        ({"most": 0}, "`most`"),
        ({"tolerance": 0.0}, "`tolerance`"),
    ):
        with pytest.raises(ValueError, match=message):
            sharpness(**{"net": NET, "parameters": PARAMETERS, "data": DATA, **change})
