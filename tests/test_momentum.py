"""Momentum: every rule against its equation, the forms against each other, and weight decay as a growing lr."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

import sdetheory as st
from proofs_check import systems
from sdetheory.dynamics import Piecewise
from sdetheory.predictions import exponential_lr as growth

MODEL, NOISE = st.Rayleigh([0.0, 0.3, -0.5]), st.Isotropic(0.7)
starts = arrays(np.float64, (3, 3), elements=some.floats(-2, 2)).filter(
    lambda w: np.linalg.norm(w, axis=1).min() > 0.5
)
rates, decays, momenta = some.floats(0.01, 0.5), some.floats(0.0, 1.0), some.floats(0.0, 0.95)


def train(rule, w0, steps):
    """States (paths, steps + 1, 3) of the rule with scale-invariant noise."""
    return st.simulate(MODEL, rule, w0, np.arange(steps + 1), noise=NOISE, keep_states=True, width=16).states


def batch_gradient(w, z):
    """Gradient of the batch, from the kernels."""
    return st.evaluate.gradient(MODEL, w) + st.evaluate.diffusion(NOISE, w) @ z


def by_hand(rule, w, path, move):
    """States of a rule written out in numpy, fed with the increments that `simulate` feeds to the path."""
    zs = st.lanes.random.increments(0, path, 0, 6, 3)
    states, memory = [w], {}
    for t, z in enumerate(zs):
        states.append(move(rule, t, states[-1], batch_gradient(states[-1], z), memory))
    return np.array(states)


def heavy_ball(rule, t, w, g, memory):
    v = rule.momentum * memory.get("v", rule.first * w) + (1 - rule.dampening) * (g + rule.weight_decay * w)
    memory["v"] = v
    return w - rule.lr * v


def inner_heavy_ball(rule, t, w, g, memory):
    fresh = rule.lr * (1 - rule.dampening) * (g + rule.weight_decay * w)
    memory["v"] = rule.momentum * memory.get("v", rule.first * w) + fresh
    return w - memory["v"]


def nesterov(rule, t, w, g, memory):
    h = g + rule.weight_decay * w
    memory["v"] = rule.momentum * memory.get("v", 0.0) + h
    return w - rule.lr * (h + rule.momentum * memory["v"])


RULES = [
    (st.HeavyBall(0.2, 0.3, 0.7, 0.25, 0.1), heavy_ball),
    (st.InnerHeavyBall(0.2, 0.3, 0.7, 0.25, 0.1), inner_heavy_ball),
    (st.Nesterov(0.2, 0.3, 0.7), nesterov),
]


@pytest.mark.parametrize(("rule", "move"), RULES, ids=lambda v: type(v).__name__)
def test_steps_are_the_written_ones(rule, move):
    w0 = np.array([[1.0, -0.4, 0.7], [0.3, 0.9, -1.1]])
    states = train(rule, w0, 6)
    for path in range(2):
        error = np.abs(states[path] - by_hand(rule, w0[path], path, move)).max()
        assert error < 1e-13, (rule, path, error)


PROVED = [
    (st.HeavyBall(0.2, 0.3, 0.7), systems.momentum_step),
    (st.Nesterov(0.2, 0.3, 0.7), systems.nesterov_step),
]


@pytest.mark.parametrize(("rule", "step"), PROVED, ids=lambda v: getattr(v, "__name__", type(v).__name__))
def test_the_proved_steps_are_the_simulated_ones(rule, step):
    def move(rule, t, w, g, memory):
        w, memory["v"] = step(w, memory.get("v", 0.0), g, rule.lr, rule.weight_decay, rule.momentum)
        return w

    w0 = np.array([[1.0, -0.4, 0.7]])
    error = np.abs(train(rule, w0, 6)[0] - by_hand(rule, w0[0], 0, move)).max()
    assert error < 1e-13, (rule, error)


@given(w0=starts, lr=rates, wd=decays, momentum=momenta)
@example(w0=np.eye(3), lr=0.5, wd=0.0, momentum=0.0)
def test_a_constant_learning_rate_may_stand_inside_or_outside_the_buffer(w0, lr, wd, momentum):
    error = np.abs(
        train(st.HeavyBall(lr, wd, momentum), w0, 5) - train(st.InnerHeavyBall(lr, wd, momentum), w0, 5)
    ).max()
    assert error < 1e-12 * np.abs(w0).max() * 100, (error, lr, wd, momentum)


def test_a_drop_of_the_learning_rate_tells_the_two_apart():
    drop = Piecewise((0.3, 0.03), (3,))
    outside, inside = (train(rule(drop, 0.0, 0.9), np.eye(3), 6) for rule in (st.HeavyBall, st.InnerHeavyBall))
    assert np.abs(outside[:, :4] - inside[:, :4]).max() < 1e-14
    assert np.abs(outside[:, 4:] - inside[:, 4:]).max() > 0.1


@given(w0=starts, lr=rates, wd=decays, momentum=momenta, dampening=some.floats(0.0, 0.9))
@example(w0=np.eye(3), lr=0.5, wd=0.0, momentum=0.0, dampening=0.0)
def test_dampening_is_a_smaller_learning_rate(w0, lr, wd, momentum, dampening):
    damped = train(st.HeavyBall(lr, wd, momentum, dampening), w0, 5)
    plain = train(st.HeavyBall((1 - dampening) * lr, wd, momentum), w0, 5)
    assert np.abs(damped - plain).max() < 1e-11, (lr, wd, momentum, dampening, np.abs(damped - plain).max())


@given(w0=starts, lr=rates, wd=decays)
@example(w0=np.eye(3), lr=0.5, wd=0.0)
def test_without_momentum_everything_is_sgd(w0, lr, wd):
    sgd = train(st.SGD(lr, wd), w0, 4)
    for rule in (st.HeavyBall(lr, wd, 0.0), st.InnerHeavyBall(lr, wd, 0.0), st.Nesterov(lr, wd, 0.0)):
        error = np.abs(train(rule, w0, 4) - sgd).max()
        assert error < 1e-12, (rule, error)


# ---- weight decay as an exponentially growing learning rate

products = some.floats(0.0, 0.9)  # share of the largest lr wd with real roots


def grown(lr, wd, momentum, which, w0, steps, inside=False):
    """root^t times the path without weight decay that theory says is the path with it, and that root."""
    given = {"lr": lr, "weight_decay": wd, "momentum": momentum}
    root = which(**given)
    schedule = growth.exponential_lr(t=np.arange(steps), lr=lr, root=root)
    if inside:
        rule = st.InnerHeavyBall(
            schedule,
            0.0,
            growth.exponential_lr_inner_momentum(momentum=momentum, root=root),
            first=growth.exponential_lr_inner_buffer(root=root),
        )
    else:
        rule = st.HeavyBall(schedule, 0.0, momentum, first=growth.exponential_lr_buffer(lr=lr, root=root))
    return root ** np.arange(steps + 1)[:, None] * train(rule, w0, steps), root


ROOTS = [growth.exponential_lr_root, growth.exponential_lr_other_root]


@pytest.mark.claim("I41", kind="property")
@given(w0=starts, lr=some.floats(0.05, 0.5), momentum=some.floats(0.2, 0.7), share=products)
@example(w0=np.eye(3), lr=0.5, momentum=0.5, share=0.0)
@example(w0=np.eye(3), lr=0.2, momentum=0.3, share=0.9)
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("which", ROOTS, ids=["root", "other root"])
def test_both_roots_turn_weight_decay_into_a_growing_learning_rate(which, inside, w0, lr, momentum, share):
    wd = share * growth.exponential_lr_critical_product(momentum=momentum) / lr
    path = train(st.HeavyBall(lr, wd, momentum), w0, 6)
    other, root = grown(lr, wd, momentum, which, w0, 6, inside)
    error = np.abs(other - path).max() / np.abs(path).max()
    assert error < 1e-12 / min(1.0, root) ** 6, (error, lr, wd, momentum, root)


@pytest.mark.claim("I41", kind="simulation")
def test_the_growing_learning_rate_gives_the_same_path_for_a_hundred_steps():
    lr, wd, momentum, w0 = 0.1, 0.02, 0.8, 1.5 * np.eye(3) + 0.1
    path = train(st.HeavyBall(lr, wd, momentum), w0, 100)
    grown_path, _ = grown(lr, wd, momentum, growth.exponential_lr_root, w0, 100)
    error = np.abs(grown_path - path).max() / np.abs(path).max()
    assert error < 1e-12, error


def test_a_growing_learning_rate_with_the_buffer_started_at_zero_is_another_path():
    lr, wd, momentum, w0 = 0.1, 0.05, 0.5, np.eye(3)
    root = growth.exponential_lr_root(lr=lr, weight_decay=wd, momentum=momentum)
    schedule = growth.exponential_lr(t=np.arange(20), lr=lr, root=root)
    wrong = root ** np.arange(21)[:, None] * train(st.HeavyBall(schedule, 0.0, momentum), w0, 20)
    gap = np.abs(wrong - train(st.HeavyBall(lr, wd, momentum), w0, 20)).max()
    assert gap > 1e-3, gap


@pytest.mark.claim("I42", kind="property")
def test_the_published_growth_is_per_epoch():
    given = {"lr": 0.1, "weight_decay": 5e-4, "momentum": 0.9}
    root = growth.exponential_lr_root(**given)
    epoch = growth.exponential_lr_growth_per_epoch(root=root, steps_per_epoch=391)
    step = growth.exponential_lr_growth_per_epoch(root=root, steps_per_epoch=1)
    assert abs(epoch - 1.4812) < 1e-4 and abs(step - 1.001005) < 1e-6, (epoch, step)


def test_roots_are_real_up_to_the_critical_product():
    assert abs(growth.exponential_lr_critical_product(momentum=0.9) - 0.00263) < 1e-5
    with pytest.raises(ValueError, match="exponential_lr_root needs"):
        growth.exponential_lr_root(lr=0.1, weight_decay=0.03, momentum=0.9)


# ---- phases: step decay as a tapered exponential


def tapered(lrs, wd, momentum, roots, w0):
    """Product of the roots so far times the path without weight decay, lr_t/(root_t (root_0 .. root_t-1)^2)."""
    scales = np.concatenate([[1.0], np.cumprod(1 / roots)])
    buffer = growth.exponential_lr_buffer(lr=lrs[0], root=roots[0])
    rule = st.HeavyBall(scales[1:] * scales[:-1] * lrs, 0.0, momentum, first=buffer)
    return train(rule, w0, lrs.size) / scales[:, None]


def exact_roots(lrs, wd, momentum):
    """The root of every step from the one before."""
    roots = [growth.exponential_lr_root(lr=lrs[0], weight_decay=wd, momentum=momentum)]
    for before, lr in itertools.pairwise(lrs):
        given = {"lr": lr, "weight_decay": wd, "momentum": momentum, "lr_ratio": lr / before}
        roots.append(growth.tapered_root(root=roots[-1], **given))
    return np.array(roots)


LRS = np.repeat([0.2, 0.05, 0.01], 12)


def phase_roots(lrs, wd, momentum):
    """One root a phase."""
    return growth.exponential_lr_root(lr=lrs, weight_decay=wd, momentum=momentum)


@pytest.mark.claim("I43", kind="simulation")
def test_step_decay_is_a_tapered_exponential_without_momentum():
    wd, w0 = 0.2, 1.5 * np.eye(3) + 0.1
    roots = phase_roots(LRS, wd, 0.0)
    path = train(st.SGD(LRS, wd), w0, LRS.size)
    error = np.abs(tapered(LRS, wd, 0.0, roots, w0) - path).max()
    assert error < 1e-12, error


@pytest.mark.claim("I43", kind="simulation")
@pytest.mark.parametrize("momentum", [0.5, 0.8])
def test_with_momentum_the_root_passes_from_phase_to_phase_geometrically(momentum):
    """Exact with the root of every step; with one root a phase it is off by the transient after a drop."""
    wd, w0 = 0.04, 1.5 * np.eye(3) + 0.1
    path = train(st.HeavyBall(LRS, wd, momentum), w0, LRS.size)
    exact = exact_roots(LRS, wd, momentum)
    error = np.abs(tapered(LRS, wd, momentum, exact, w0) - path).max()
    assert error < 1e-12, error
    phases = phase_roots(LRS, wd, momentum)
    gap = np.abs(tapered(LRS, wd, momentum, phases, w0) - path).max(axis=(0, 2))
    assert gap[:13].max() < 1e-12 and 1e-4 < gap[13:].max() < 0.1, (momentum, gap)
    transient = (exact - phases)[13:24]
    ratio = transient[1:6] / transient[:5]
    assert np.allclose(ratio, momentum / phases[13] ** 2, rtol=0.05), (ratio, momentum / phases[13] ** 2)


# ---- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.HeavyBall(0.1, momentum=-0.1), "`momentum` must not be negative: momentum=-0.1"),
        (lambda: st.HeavyBall(0.1, dampening=1.5), "`dampening` must not be above 1: dampening=1.5"),
        (lambda: st.HeavyBall(0.1, dampening=-0.5), "`dampening` must not be negative"),
        (lambda: st.HeavyBall(-0.1), "`lr` must not be negative: lr=-0.1"),
        (lambda: st.HeavyBall(0.1, first=np.nan), "`first` must be finite"),
        (lambda: st.Nesterov(0.1, momentum=np.inf), "`momentum` must be finite"),
    ],
)
def test_impossible_momentum_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_another_integrator_is_refused():
    with pytest.raises(ValueError, match="`integrator` must be left out for HeavyBall"):
        st.simulate(
            MODEL, st.HeavyBall(0.1), np.ones(3), [1], noise=NOISE, integrator=st.integrators.TrainingStep()
        )


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES], ids=lambda rule: type(rule).__name__)
def test_paths_do_not_depend_on_width_threads_or_company(rule):
    w0 = np.random.default_rng(2).standard_normal((40, 3))
    run = lambda w0, **how: st.simulate(MODEL, rule, w0, [9], noise=NOISE, seed=4, **how).final
    whole = run(w0, width=16, threads=1)
    assert np.array_equal(whole, run(w0, width=16, threads=2))
    assert np.array_equal(whole[20:30], run(w0[20:30], width=16, first_path=20))
