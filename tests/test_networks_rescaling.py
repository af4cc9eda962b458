"""Weight rescaling on networks: its knobs, and the learning-rate schedule it is."""

import numpy as np
import pytest

import sdetheory as st
from sdetheory.networks import BatchNorm, Dense, Network, WeightRescaling, labelled, mlp, train

DATA = labelled(np.sin(np.arange(200.0) ** 1.4).reshape(40, 5), np.arange(40) % 3)
NET = mlp((5, 4, 3), normalised_output=True)
PLAIN_OUTPUT = mlp((5, 4, 3))
NEURONS = NET.groups("neuron")
COMMON = dict(batch_size=8, label_noise=0.2, seeds=2)


def norms(net, w, by):
    return np.stack([np.linalg.norm(g.select(w), axis=-1) for g in net.groups(by) if g.scale_invariant], axis=-1)


@pytest.mark.parametrize("by", ["neuron", "layer"])
@pytest.mark.parametrize("target", [1.0, 2.5, "start"])
def test_norms_return_to_their_target_when_it_is_time(by, target):
    rescaling = WeightRescaling(every=3, by=by, target=target)
    run = train(NET, DATA, lr=0.3, steps=9, rescaling=rescaling, by=by, **COMMON)
    wanted = norms(NET, NET.start([0, 1]), by) if target == "start" else target
    reached = np.sqrt(run.squared_norm[:, ::3]) / np.broadcast_to(wanted, run.squared_norm[:, 0].shape)[:, None]
    assert np.abs(reached - 1).max() < 1e-14, np.abs(reached - 1).max()
    between = run.squared_norm[:, [1, 2, 4, 5, 7, 8]] / run.squared_norm[:, [0, 0, 3, 3, 6, 6]]
    assert (between > 1 + 1e-12).all(), between.min()
    assert [g.name for g in run.rescaled] == [g.name for g in NET.groups(by)]


@pytest.mark.claim("A15", kind="simulation")
def test_divisors_of_every_step_are_the_growth_of_the_norm():
    run = train(NET, DATA, lr=0.3, steps=30, by="neuron", rescaling=WeightRescaling(), **COMMON)
    divided = np.diff(run.log_divisor, axis=1)
    law = 0.5 * np.log1p(0.09 * run.squared_gradient[:, :-1])
    error = np.abs(divided - law).max()
    assert error < 1e-13 and divided.min() > 1e-6, (error, divided.min())
    assert np.allclose(run.log_divisor[:, 0], np.log(norms(NET, NET.start([0, 1]), "neuron")), rtol=1e-14)


@pytest.mark.claim("A19", kind="simulation")
@pytest.mark.parametrize(("every", "by", "target"), [(1, "neuron", 1.0), (4, "neuron", "start"), (4, "layer", 3.0)])
def test_rescaling_is_a_schedule_of_the_lr(every, by, target):
    """The rescaled run and one without at lr N_t^2 of each group: w_t = v_t / N_t."""
    steps = 25
    rescaling = WeightRescaling(every=every, by=by, target=target)
    run = train(NET, DATA, lr=0.3, steps=steps, by=by, rescaling=rescaling, **COMMON)
    divisor = np.exp(run.log_divisor)
    free = train(NET, DATA, lr=0.3 * divisor[:, :-1] ** 2, steps=steps, by=by, **COMMON)
    scaled = free.final.copy()
    for i, group in enumerate(NET.groups(by)):
        scaled = group.scaled(scaled, 1 / divisor[:, -1, i : i + 1])
    error = np.abs(scaled / run.final - 1).max()
    assert error < 1e-10, f"{error:.1e}"
    late = train(NET, DATA, lr=0.3 * divisor[:, 1:] ** 2, steps=steps, by=by, **COMMON)
    assert np.abs(late.loss - run.loss).max() > 1e-5, "divisors of the step after should not do"


@pytest.mark.claim("A19", kind="simulation")
@pytest.mark.parametrize(
    ("rule", "buffer", "degree"),
    [
        (st.InnerHeavyBall, "rescale", 2),
        (st.HeavyBall, "gradient", 2),
        (lambda lr: st.Adam(lr, epsilon=0.0), "gradient", 1),
    ],
    ids=["inner heavy ball, rescale", "heavy ball, gradient", "Adam, gradient"],
)
def test_with_memory_the_schedule_depends_on_what_becomes_of_the_buffer(rule, buffer, degree):
    """lr N^2 inside the buffer if displacements shrink like weights, outside it if gradients grow; lr N for Adam."""
    steps, lr = 20, 0.02
    rescaling = WeightRescaling(every=3, target=2.0, buffer=buffer)
    run = train(NET, DATA, optimiser=rule(lr), steps=steps, by="neuron", rescaling=rescaling, **COMMON)
    divisor = np.exp(run.log_divisor)
    free = train(NET, DATA, optimiser=rule(lr * divisor[:, :-1] ** degree), steps=steps, by="neuron", **COMMON)
    error = np.abs(free.loss - run.loss).max()
    assert error < 1e-10, f"{error:.1e}"
    kept = WeightRescaling(every=3, target=2.0, buffer="keep")
    other = train(NET, DATA, optimiser=rule(lr), steps=steps, by="neuron", rescaling=kept, **COMMON)
    assert np.abs(other.loss - run.loss).max() > 1e-5, "keeping the buffer is another run"


def test_projected_buffers_have_no_part_along_the_weights():
    rescaling = WeightRescaling(every=5, buffer="project", at_start=False)
    run = train(NET, DATA, optimiser=st.HeavyBall(0.05), steps=10, rescaling=rescaling, **COMMON)
    v = run.state.memory[:, 0]
    along = [(g.select(v) * g.select(run.final)).sum(-1) / np.linalg.norm(g.select(v), axis=-1) for g in NEURONS]
    assert np.abs(along).max() < 1e-14, np.abs(along).max()
    kept = train(NET, DATA, optimiser=st.HeavyBall(0.05), steps=10, rescaling=WeightRescaling(every=5), **COMMON)
    v = kept.state.memory[:, 0]
    assert max(np.abs((g.select(v) * g.select(kept.final)).sum(-1)).max() for g in NEURONS) > 1e-4


def test_a_rescaled_run_goes_on_bitwise():
    for target in (1.0, "start"):
        how = dict(optimiser=st.HeavyBall(0.1), rescaling=WeightRescaling(every=3, target=target, buffer="rescale"))
        whole = train(NET, DATA, steps=20, chunk=1, **how, **COMMON)
        first = train(NET, DATA, steps=7, **how, **COMMON)
        rest = train(NET, DATA, steps=13, start=first.final, state=first.state, first_step=7, **how, **COMMON)
        assert (rest.final == whole.final).all() and (rest.log_divisor[:, -1] == whole.log_divisor[:, -1]).all()


def test_other_groups_are_left_alone():
    rescaling = WeightRescaling(every=2, unit="epoch")
    assert rescaling.period(DATA, 8) == 10 and rescaling.period(DATA, None) == 2
    run = train(PLAIN_OUTPUT, DATA, lr=0.1, steps=10, rescaling=rescaling, by="neuron", **COMMON)
    bare = train(PLAIN_OUTPUT, DATA, lr=0.1, steps=10, start=run.final * 0 + PLAIN_OUTPUT.start([0, 1]), **COMMON)
    assert [g.name for g in run.rescaled] == [f"dense1[{i}]" for i in range(4)]
    assert np.allclose(norms(PLAIN_OUTPUT, run.final, "neuron"), 1, rtol=1e-14)
    assert (norms(PLAIN_OUTPUT, bare.final, "neuron") > 1.01).any()
    affine = mlp((5, 4, 4, 3), affine=True)
    assert {g.name for g in WeightRescaling(by="layer").chosen(affine)} == {"dense1", "dense2"}
    some = train(affine, DATA, lr=0.1, steps=1, rescaling=WeightRescaling(groups=("dense2",)), **COMMON)
    assert {g.name for g in some.rescaled} == {f"dense2[{i}]" for i in range(4)}


def test_bad_rescaling_is_refused():
    common = dict(lr=0.1, steps=2, **COMMON)
    for bad, message in (
        (dict(every=0), "`every`"), (dict(by="filter"), "`by`"), (dict(target=0.0), "`target` must be positive"),
        (dict(target="unit"), "`target`"), (dict(buffer="drop"), "`buffer`"), (dict(unit="pass"), "`unit`"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            WeightRescaling(**bad)
    with pytest.raises(ValueError, match="`groups` must be scale invariant and trained: dense2"):
        train(PLAIN_OUTPUT, DATA, rescaling=WeightRescaling(groups=("dense1", "dense2")), **common)
    with pytest.raises(ValueError, match=r"`groups`.*dense9"):
        train(NET, DATA, rescaling=WeightRescaling(groups=("dense9",)), **common)
    with pytest.raises(ValueError, match="needs scale-invariant groups"):
        train(mlp((5, 4, 3), normalised=False), DATA, rescaling=WeightRescaling(), **common)
    with pytest.raises(ValueError, match="`target`"):
        train(NET, DATA, rescaling=WeightRescaling(target=np.ones(3)), **common)
    leaky = mlp((5, 4, 3), eps=1e-3, normalised_output=True)
    for groups in (None, ("dense1",)):
        with pytest.raises(ValueError, match=r"scale.invariant.*`despite_eps=True` rescales nevertheless"):
            train(leaky, DATA, rescaling=WeightRescaling(groups=groups), **common)
    for net, despite_eps in ((PLAIN_OUTPUT, True), (mlp((5, 4, 3), eps=1e-3), True), (mlp((5, 4, 3), eps=1e-3), False)):
        with pytest.raises(ValueError, match=r"dense2\[0\] is not$"):
            train(net, DATA, rescaling=WeightRescaling(groups=("dense2",), despite_eps=despite_eps), **common)


@pytest.mark.parametrize("by", ["neuron", "layer"])
@pytest.mark.parametrize("residual", [False, True])
def test_with_eps_the_same_groups_are_rescaled_if_asked_for(by, residual):
    """Also those inside of residual blocks; without eps the knob changes nothing."""
    how = {"residual": residual, "normalised_output": True}
    leaky, exact = mlp((5, 4, 4, 3), eps=0.01, **how), mlp((5, 4, 4, 3), **how)
    assert leaky.with_eps(0.0) == exact and exact.with_eps(0.01) == leaky
    rescaling = WeightRescaling(every=2, by=by, target=0.5, despite_eps=True)
    run, other = (train(net, DATA, lr=0.3, steps=4, rescaling=rescaling, by=by, **COMMON) for net in (leaky, exact))
    assert [g.name for g in run.rescaled] == [g.name for g in other.rescaled] != []
    assert np.abs(np.sqrt(run.squared_norm[:, ::2]) / 0.5 - 1).max() < 1e-14
    plain = train(exact, DATA, lr=0.3, steps=4, rescaling=WeightRescaling(every=2, by=by, target=0.5), by=by, **COMMON)
    assert np.array_equal(plain.final, other.final) and not np.allclose(run.final, other.final)


@pytest.mark.parametrize("eps", [1e-4, 0.1])
def test_a_rescaling_despite_eps_leaks_what_is_said(eps):
    net, divisor = Network((Dense(5, 3), BatchNorm(3, eps))), 7.0
    w = net.start([3])
    before = w[0].reshape(3, 5) @ DATA.inputs.T
    variance = before.var(axis=1, keepdims=True)
    logits = [net.forward(net.bind(v), DATA.inputs[None])[0][0].T for v in (w, w / divisor)]
    factor = np.sqrt((variance + eps) / (variance + divisor**2 * eps))
    error = np.abs(logits[1] / logits[0] - factor).max()
    assert error < 1e-12, f"{error:.1e}"
    assert factor.max() < 1 - 1e-4
