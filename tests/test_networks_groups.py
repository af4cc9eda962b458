"""Scale-invariant groups of the networks: exactly those the construction names, per layer and per neuron."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from network_problems import problems
from network_reference import amplification

from sdetheory.networks import BatchNorm, Dense, Network, Relu, Residual, Tanh, conv_net, mlp

WIDTHS = (3, 4, 4, 3)
CASES = {
    "normalised": ({}, {"dense1", "dense2"}),
    "normalised logits": ({"normalised_output": True}, {"dense1", "dense2", "dense3"}),
    # A rectifier passes the scale of (scale, shift) on to the next normalisation; tanh does not.
    "affine relu": (
        {"affine": True, "normalised_output": True},
        {"dense1", "dense2", "dense3", "norm1", "norm2"},
    ),
    "affine linear": ({"affine": True, "activation": "linear"}, {"dense1", "dense2", "norm1"}),
    "affine tanh": ({"affine": True, "activation": "tanh"}, {"dense1", "dense2"}),
    "eps": ({"eps": 0.3, "normalised_output": True}, set()),
    "plain": ({"normalised": False}, set()),
    # Behind a rectifier a normalisation removes the scale as well; behind tanh nothing does.
    "after relu": ({"norm": "after"}, {"dense1", "dense2"}),
    "after tanh": ({"norm": "after", "activation": "tanh"}, set()),
    # x + phi(BN(W x)): W is seen by its normalisation alone, but the scale of x gets past it on the shortcut.
    "residual": ({"residual": True, "affine": True, "normalised_output": True}, {"dense1", "dense2", "dense3"}),
    # At a change of width the shortcut, dense3, has a normalisation: norm1, whose scale both remove, is invariant.
    "projection": (
        {"widths": (3, 4, 2, 3), "residual": True, "affine": True},
        {"dense1", "norm1", "dense2", "dense3"},
    ),
    "residual plain": ({"residual": True, "normalised": False}, set()),
    "residual logits": ({"residual": True, "normalised": False, "normalised_output": True}, {"dense3"}),
}


def build(name):
    return mlp(**{"widths": WIDTHS, **CASES[name][0]})


def invariant(net, by="layer"):
    return {group.name for group in net.groups(by) if group.scale_invariant}


@pytest.mark.parametrize("name", CASES)
def test_the_invariant_layers_are_named_by_construction(name):
    assert invariant(build(name)) == CASES[name][1]


def test_the_invariant_neurons_are_the_rows_in_front_of_a_normalisation():
    names = invariant(mlp(WIDTHS, affine=True, activation="linear"), "neuron")
    assert names == {f"dense{layer}[{row}]" for layer in (1, 2) for row in range(4)}


def test_a_network_of_ones_own_layers_has_its_groups_found():
    """A product is homogeneous jointly with its bias, and a later normalisation removes the scale."""
    net = Network((Dense(3, 4, bias=True), Relu(), Dense(4, 3), BatchNorm(3)))
    assert invariant(net) == {"dense1", "dense2"}
    assert invariant(net, "neuron") == {f"dense2[{row}]" for row in range(3)}


SKIPS = {
    # A branch that feeds the sum in front of the normalisation: its weight is not invariant, the sum has another part.
    "sum": ((Dense(3, 4), Residual((Relu(), Dense(4, 4))), BatchNorm(4), Dense(4, 3)), {"dense1"}),
    # The same with a normalisation inside the branch: now the branch is, and what comes before no longer.
    "branch": ((Dense(3, 4), Residual((Relu(), Dense(4, 4), BatchNorm(4))), BatchNorm(4), Dense(4, 3)), {"dense2"}),
    "branch, eps": ((Dense(3, 4), Residual((Dense(4, 4), BatchNorm(4, 0.1))), BatchNorm(4), Dense(4, 3)), set()),
    "tanh": ((Dense(3, 4), Residual((Tanh(), Dense(4, 4))), BatchNorm(4), Dense(4, 3)), set()),
    "both": (
        (Dense(3, 4), Residual((Dense(4, 4), BatchNorm(4)), (Dense(4, 4), BatchNorm(4))), Dense(4, 3)),
        {"dense1", "dense2", "dense3"},
    ),
    "nested": (
        (Dense(3, 4), Residual((Residual((Dense(4, 4),)), Dense(4, 4), BatchNorm(4)), (Dense(4, 4),)), Dense(4, 3)),
        {"dense3"},
    ),
}


@pytest.mark.claim("A1", "I1", kind="property")
@pytest.mark.parametrize("name", SKIPS)
def test_weights_beside_a_skip_connection_are_invariant_where_their_own_branch_normalises(name):
    layers, expected = SKIPS[name]
    net = Network(layers)
    assert invariant(net) == expected
    parameters = net.start([7]) + 0.3 * np.cos(np.arange(net.size))
    x, labels = np.sin(np.arange(24.0) ** 1.3).reshape(8, 3), np.arange(8) % 3
    loss, gradient = net.gradient(parameters, x, labels)
    for group in (*net.groups("layer"), *net.groups("neuron")):
        change = abs(net.loss(group.scaled(parameters, 1.5), x, labels)[0] - loss[0])
        radial = abs(np.vdot(group.select(parameters), group.select(gradient)))
        small, large = (change < 1e-13 and radial < 1e-14), change > 1e-6
        assert small if group.scale_invariant else large, f"{group.name}: loss {change:.1e}, <w, g> {radial:.1e}"


def test_switches_keep_the_layout_of_the_parameters_and_the_start():
    """What a factorial experiment compares starts alike: activation, place of the normalisation, eps, skips."""
    for build in (mlp, lambda widths, **how: conv_net(widths[1:-1], widths[-1], image=(2, 2, 1), **how)):
        plain = build(WIDTHS, affine=True)
        for how in ({"activation": "tanh"}, {"norm": "after"}, {"eps": 0.1}, {"residual": True}):
            other = build(WIDTHS, affine=True, **how)
            assert (other.start([3, 5]) == plain.start([3, 5])).all(), how
            assert [group.name for group in other.groups()] == [group.name for group in plain.groups()], how


def test_the_start_scales_the_weights_whose_scale_a_normalisation_removes():
    """Also with eps > 0, in branches, and behind a rectifier; not behind tanh, not in front of a sum."""
    for how, scaled in (
        ({"eps": 0.1, "residual": True}, {"dense1", "dense2"}),
        ({"norm": "after", "affine": True}, {"dense1", "dense2"}),
    ):
        net = mlp(WIDTHS, **how)
        plain, large = net.start([1]), net.start([1], scale=3.0)
        expected = plain
        for group in net.groups():
            expected = group.scaled(expected, 3.0) if group.name in scaled else expected
        assert (large == expected).all(), how
    with pytest.raises(ValueError, match="here are none"):
        mlp(WIDTHS, norm="after", activation="tanh").start([1], scale=3.0)


@pytest.mark.claim("A1", "I1", kind="property")
@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][1]])
@given(data=st.data(), exponent=st.floats(-3, 3))
def test_scaling_an_invariant_group_leaves_the_loss_alone(name, data, exponent):
    """Where every normalisation has something to divide by: a batch on which its input is constant has no loss.

    The other groups are not scaled here: by 10^3 a tanh is 1 to the last bit on a whole batch.
    """
    net, factor = build(name), 10.0**exponent
    parameters, x, labels = data.draw(problems(net))
    assume(amplification(net, parameters, x) < 1e5)
    loss, gradient = net.gradient(parameters[None], x, labels)
    sensitive = np.abs(gradient).max() * (1 + np.linalg.norm(parameters))
    assume(sensitive < 1e4)
    for group in (*net.groups("layer"), *net.groups("neuron")):
        if group.scale_invariant:
            change = net.loss(group.scaled(parameters, factor)[None], x, labels)[0] - loss[0]
            assert abs(change) < 1e-12 * (1 + sensitive), (
                f"{group.name} x {factor:.3g} changes the loss by {change:.1e}"
            )


@pytest.mark.parametrize("name", CASES)
def test_scaling_any_other_group_changes_the_loss(name):
    """Generic parameters: a group wrongly left out of the invariant ones would show no change here."""
    net = build(name)
    parameters = net.start([7]) + 0.3 * np.cos(np.arange(net.size))
    x, labels = np.sin(np.arange(24.0) ** 1.3).reshape(8, 3), np.arange(8) % 3
    loss = net.loss(parameters, x, labels)[0]
    for group in (*net.groups("layer"), *net.groups("neuron")):
        change = abs(net.loss(group.scaled(parameters, 1.5), x, labels)[0] - loss)
        limit = "below 1e-13" if group.scale_invariant else "above 1e-6"
        assert (change < 1e-13) if group.scale_invariant else (change > 1e-6), (
            f"{group.name}: {change:.1e}, not {limit}"
        )
