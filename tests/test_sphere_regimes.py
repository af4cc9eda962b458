"""SGD with a fixed effective lr: the same directions as SGD in its other gauge, and the three regimes of a model."""

import numpy as np
import pytest

import sdetheory as st
from figures.sphere_regimes import predicted_exponent
from sdetheory.predictions import edge_of_stability as theory
from sdetheory.statistics import equivalent, mean_test

NETS = st.networks
D = 6
A = np.array([0.0, *np.ones(D - 1)])  # samples without component along the first axis: a common minimum


@pytest.mark.claim("I14", "I54", kind="property")
def test_training_on_the_sphere_is_training_at_the_lr_that_keeps_the_effective_lr():
    """Without weight decay, lr_t = effective_lr |w_t|^2 gives the same directions, same batches, same losses."""
    net, digits = NETS.mlp((64, 12, 10), normalised_output=True), NETS.digits().subset(slice(0, 200))
    elr, steps, seeds, size = np.array([0.002, 0.05]), 300, [3, 4], 1.7
    run = NETS.train_on_sphere(net, digits, effective_lr=elr, steps=steps, seeds=seeds, batch_size=16)
    record = NETS.train_on_sphere(
        net, digits, effective_lr=elr, steps=steps, seeds=seeds, batch_size=16, record_every=1
    )
    np.testing.assert_array_equal(run.final, record.final)
    growth = np.cumprod(1 + elr[:, None] ** 2 * record.squared_gradient[:, 1:], axis=1)
    lr = elr[:, None] * size**2 * np.hstack([np.ones((2, 1)), growth[:, :-1]])
    start = net.start(seeds)
    start *= size / np.linalg.norm(start, axis=1, keepdims=True)
    other = NETS.train(net, digits, lr=lr, steps=steps, seeds=seeds, start=start, batch_size=16, record_every=1)
    direction = other.final / np.linalg.norm(other.final, axis=1, keepdims=True)
    assert np.abs(direction - run.final).max() < 1e-9, np.abs(direction - run.final).max()
    assert np.allclose(other.loss[:, :-1], record.loss_mean[:, 1:], rtol=1e-8), "losses differ"
    assert np.allclose(np.linalg.norm(run.final, axis=1), 1, rtol=1e-14)


def test_a_run_goes_on_as_if_never_stopped_and_frozen_weights_stay():
    net, digits = NETS.mlp((64, 12, 10), frozen_output=True), NETS.digits().subset(slice(0, 200))
    common = {"effective_lr": 0.01, "seeds": 2, "batch_size": 16}
    whole = NETS.train_on_sphere(net, digits, steps=300, **common)
    part = NETS.train_on_sphere(net, digits, steps=130, **common)
    rest = NETS.train_on_sphere(net, digits, steps=170, first_step=130, start=part.final, **common)
    assert np.abs(rest.final - whole.final).max() < 1e-12 and rest.steps[-1] == 300
    (output,) = (group for group in net.groups() if group.frozen)
    np.testing.assert_array_equal(output.select(whole.final), output.select(net.start([0, 1])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net": NETS.mlp((64, 12, 10))}, "`net` must be scale invariant in every trained group: dense2 is not"),
        ({"effective_lr": -0.1}, "`effective_lr` must not be negative: effective_lr=-0.1"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"start": np.ones((1, 3))}, "`start` must have shape"),
    ],
)
def test_impossible_settings_of_training_are_refused(change, message):
    settings = {"net": NETS.mlp((64, 12, 10), frozen_output=True), "effective_lr": 0.1, "steps": 2} | change
    with pytest.raises(ValueError, match=message):
        NETS.train_on_sphere(settings.pop("net"), NETS.digits(), **settings)


def test_samples_of_negative_variance_are_refused():
    with pytest.raises(ValueError, match="`a` must not be negative"):
        st.simulate(st.Rayleigh(A), st.SGD(0.1), np.ones(D), [1], noise=st.SampleBatch(-A))


def run_from(start, elr, ts, *, seed=0):
    """Loss and the component along the first axis, (paths, T)."""
    model, noise = st.Rayleigh(A), st.SampleBatch(A)
    observe = {"loss": st.observers.Loss(model), "first": st.observers.Coordinate(0)}
    return st.simulate(model, st.SphereSGD(elr), start, ts, noise=noise, seed=seed, observe=observe, width=8)


@pytest.mark.compiled
@pytest.mark.claim("I54", kind="simulation")
@pytest.mark.parametrize("elr", [0.1, 0.3, 0.7])
def test_distances_to_the_fixed_points_grow_with_the_predicted_exponents(elr):
    """Next to the common minimum of all batches, and next to the maximum; margin 0.01 a step, power > 0.99."""
    steps, draw = 60, np.random.default_rng(2).standard_normal((4096, D)) * A
    draw /= np.linalg.norm(draw, axis=1, keepdims=True)
    for place, start in (("minimum", np.eye(D)[0] + 1e-80 * draw), ("maximum", draw + 1e-80 * np.eye(D)[0])):
        run = run_from(start, elr, [0, steps])
        log = np.log(run["loss"]) / 2 if place == "minimum" else np.log(np.abs(run["first"]))
        outcome = equivalent(np.diff(log, axis=1)[:, 0] / steps, predicted_exponent(place, elr, D), margin=0.01)
        assert outcome, (place, elr, outcome)


@pytest.mark.compiled
@pytest.mark.claim("I54", kind="simulation")
def test_the_regimes_change_where_an_exponent_changes_its_sign():
    """Below the first zero every run converges, above the second every run goes to the maximum, in between the loss
    keeps a level that grows with the effective lr and forgets the start."""
    low, high = 0.1756, 0.5022  # the zeros
    assert predicted_exponent("minimum", low - 0.01, D) < 0 < predicted_exponent("minimum", low + 0.01, D)
    assert predicted_exponent("maximum", high + 0.02, D) < 0 < predicted_exponent("maximum", high - 0.02, D)
    starts = np.random.default_rng(5).standard_normal((64, D))
    ts = np.arange(2000, 4001, 5)
    loss = {elr: run_from(starts, elr, ts)["loss"] for elr in (0.05, 0.15, 0.25, 0.3, 0.35, 0.6, 0.8)}
    assert max(loss[0.05].max(), loss[0.15][:, -1].max()) < 1e-12, loss[0.15][:, -1].max()
    assert min(loss[0.6][:, -1].min(), loss[0.8].min()) > 1 - 1e-12, loss[0.6][:, -1].min()
    levels = [loss[elr].mean() for elr in (0.25, 0.3, 0.35)]
    assert levels[0] < levels[1] - 0.05 and levels[1] < levels[2] - 0.05, levels
    near, far = np.eye(D)[0] + 0.01 * starts, starts * A + 0.01 * np.eye(D)[0]
    means = [run_from(start, 0.3, ts, seed=9)["loss"].mean(axis=1) for start in (near, far)]
    assert abs(np.diff([m.mean() for m in means])[0]) < 5 * np.hypot(*(m.std() / 8 for m in means)), means


@pytest.mark.compiled
@pytest.mark.claim("I25", kind="simulation")
def test_the_mean_squared_distance_stays_at_the_mean_square_edge():
    """One step next to the minimum: at effective lr 1/(d + 1) the mean squared factor is 1; detectable: 0.05."""
    draw = np.random.default_rng(4).standard_normal((40000, D)) * A
    draw /= np.linalg.norm(draw, axis=1, keepdims=True)
    edge = theory.sample_mean_square_edge(sample_variance=1.0, dimension=D)
    loss = run_from(np.eye(D)[0] + 1e-9 * draw, edge, [0, 1])["loss"]
    outcome = mean_test(loss[:, 1] / loss[:, 0], 1.0, detectable=0.05)
    assert outcome, outcome
    assert np.isclose(edge, 1 / 7) and edge < 0.1756, edge
