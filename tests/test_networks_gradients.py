"""The backward pass of the networks: against complex steps, torch, and the exact radial identities."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from network_problems import WIDTHS, problems, spread
from network_reference import amplification, complex_step, losses, torch_loss

from sdetheory.networks import mlp, per_sample_gradients, radial_leak

KINDS = {
    "relu": {},
    "tanh": {"activation": "tanh", "eps": 0.1},
    "linear": {"activation": "linear", "normalised_output": True},
    "affine": {"affine": True, "eps": 1e-3, "normalised_output": True},
    "plain": {"normalised": False, "activation": "tanh"},
    "frozen": {"frozen_output": True},
    "sigmoid": {"activation": "sigmoid", "norm": "after"},
    "gelu": {"activation": "gelu", "affine": True},
    "residual": {"residual": True, "widths": (3, 4, 4, 2, 3), "norm": "after", "affine": True},
}
SMOOTH = mlp(WIDTHS, activation="tanh", normalised_output=True)  # its Hessian is everywhere
NETS = {name: mlp(**{"widths": WIDTHS, **how}) for name, how in KINDS.items()}


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_gradient_equals_complex_steps_through_the_batch_statistics(name, data):
    net = NETS[name]
    parameters, x, labels = data.draw(problems(net))
    amplified = amplification(net, parameters, x)
    assume(amplified < 1e5)
    truth = complex_step(net, parameters, x, labels)
    each = per_sample_gradients(net, parameters, x, labels)
    loss, gradient = net.gradient(parameters[None], x, labels)
    assert loss[0] == pytest.approx(losses(net, parameters, x, labels).mean(), rel=1e-12, abs=1e-12)
    for group in net.groups():
        if group.frozen:
            assert not group.select(gradient).any(), (
                f"{group.name} is frozen and has gradient {group.select(gradient)}"
            )
            continue
        expected = group.select(truth)
        error = np.abs(group.select(gradient)[0] - expected.mean(axis=0)).max()
        error_each = np.abs(group.select(each) - expected).max()
        allowed = 1e-13 * amplified
        assert max(error, error_each) < allowed, (
            f"{group.name}: {error:.1e}, per example {error_each:.1e}, {allowed:.1e}"
        )


@pytest.mark.claim("A2", "I1", kind="property")
@pytest.mark.claim("A3", kind="property")
@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.1, 1.0])
@given(data=st.data())
def test_radial_gradient_is_the_leak_of_eps_and_zero_without(eps, data):
    net = mlp(WIDTHS, eps=eps, affine=True, normalised_output=True)
    parameters, x, labels = data.draw(problems(net))
    amplified = amplification(net, parameters, x)
    assume(amplified < 1e5)
    gradient = net.gradient(parameters[None], x, labels)[1]
    leak = radial_leak(net, parameters[None], x, labels)
    for group in net.groups("neuron"):
        name, row = group.name.rstrip("]").split("[")
        if name in leak:
            w, g = group.select(parameters), group.select(gradient)[0]
            expected, allowed = leak[name][0, int(row)], 1e-14 * amplified * np.linalg.norm(w)
            assert (eps > 0) or expected == 0.0
            assert abs(w @ g - expected) < allowed, (
                f"{group.name}: <w,g> {w @ g:.3e}, leak {expected:.3e}, {allowed:.1e}"
            )


def test_the_leak_is_large_where_eps_is_and_the_orthogonality_test_would_see_it():
    """The broken twin: with eps = 0.1 the same neurons have <w, g>/|w||g| of 1e-3 and more, not 1e-12."""
    net = mlp(WIDTHS, eps=0.1, normalised_output=True)
    parameters = net.start([3])
    x, labels = np.cos(np.arange(15.0)).reshape(5, 3), np.array([0, 1, 2, 1, 0])
    gradient = net.gradient(parameters, x, labels)[1]
    cosines = [
        abs(np.vdot(g.select(parameters), g.select(gradient)))
        / np.sqrt(np.sum(g.select(parameters) ** 2) * np.sum(g.select(gradient) ** 2))
        for g in net.groups()
    ]
    assert min(cosines) > 1e-3, cosines


@pytest.mark.claim("I1", "A4", kind="property")
@given(problem=problems(SMOOTH), factor=st.floats(1e-2, 1e2), along=spread(12))
@example(problem=None, factor=1.0, along=np.ones(12))
def test_gradient_and_hessian_of_a_scale_invariant_group_are_homogeneous(problem, factor, along):
    net, group = SMOOTH, SMOOTH.groups()[0]
    if problem is None:
        problem = net.start([1])[0], np.cos(np.arange(15.0)).reshape(5, 3), np.array([0, 1, 2, 1, 0])
    parameters, x, labels = problem
    w = group.select(parameters)
    norm, amplified = np.linalg.norm(w), amplification(net, parameters, x)
    assume(amplified < 300 and norm > 0.5)

    def derivatives(point, direction):
        """Gradient of the group, and its central difference along a direction, relative step 1e-5."""
        size = 1e-5 * np.linalg.norm(group.select(point)) / np.linalg.norm(direction)
        nudge = np.zeros(net.size)
        nudge[group.segments[0][0] : group.segments[0][1]] = size * direction
        below, here, above = group.select(
            net.gradient(np.stack([point - nudge, point, point + nudge]), x, labels)[1]
        )
        return here, (above - below) / (2 * size)

    gradient, curvature = derivatives(parameters, along)
    scaled_gradient, scaled_curvature = derivatives(group.scaled(parameters, factor), along)
    allowed = 1e-13 * amplified
    error = np.abs(scaled_gradient * factor - gradient).max()
    assert error < allowed, f"grad(c w) = grad(w)/c: {error:.1e} against {allowed:.1e}"
    # Rounding 1e-16 and the third derivative 1e-10 of a relative step of 1e-5, each amplified.
    allowed = 1e-9 * amplified**3 * np.linalg.norm(along) / norm
    error = np.abs(scaled_curvature * factor**2 - curvature).max()
    assert error < allowed, f"Hess(c w) = Hess(w)/c^2: {error:.1e} against {allowed:.1e}"
    radial = derivatives(parameters, w)[1]
    error, allowed = np.abs(radial + gradient).max(), 1e-9 * amplified**3
    assert error < allowed, (
        f"Hess w = -grad: {error:.1e} against {allowed:.1e}, |grad| {np.abs(gradient).max():.1e}"
    )
    assert abs(w @ radial) < allowed * norm, f"w^T Hess w = {w @ radial:.1e}"


@pytest.mark.parametrize("name", KINDS)
def test_gradient_equals_torch_autograd(name):
    torch = pytest.importorskip(
        "torch", reason="torch is not installed: the optional oracle of the nets extra"
    )
    net = mlp(**{**KINDS[name], "widths": (6, 7, 7, 8, 4)})
    parameters = net.start([0, 1]) + 0.1 * np.cos(np.arange(2 * net.size)).reshape(2, -1)
    x, labels = np.sin(np.arange(54.0) ** 1.5).reshape(9, 6), np.arange(9) % 4
    loss, gradient = net.gradient(parameters, x, labels)
    for e, row in enumerate(parameters):
        w = torch.tensor(row, requires_grad=True)
        value = torch_loss(net, w, x, labels)
        value.backward()
        assert loss[e] == pytest.approx(value.item(), rel=1e-13)
        for group in net.groups():
            if not group.frozen:
                got, expected = group.select(gradient[e]), group.select(w.grad.numpy())
                error = np.abs(got - expected).max() / np.abs(expected).max()
                assert error < 1e-12, f"{group.name}: {error:.1e}"
