"""Adam, AdamW and Lion against their equations, their symmetries, and what they refuse."""

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

import sdetheory as st
from sdetheory.lanes.random import increments
from sdetheory.lanes.verbs import draws
from sdetheory.models.deep_linear_noise import input_noise, label_noise

MODEL, NOISE = st.Rayleigh([0.0, 0.3, -0.5]), st.Isotropic(0.7)
# no zero coordinate: the sign of a gradient that is zero up to rounding is a matter of rounding
starts = arrays(np.float64, (3, 3), elements=some.floats(0.25, 2)).map(lambda w: w * [1.0, -1.0, 1.0])
W0 = np.array([[1.0, -0.4, 0.7], [0.3, 0.9, -1.1]])


def train(rule, w0, steps, model=MODEL, **options):
    """States (paths, steps + 1, 3) of the rule with scale-invariant noise."""
    run = {"noise": NOISE, "keep_states": True, "width": 16, **options}
    return st.simulate(model, rule, w0, np.arange(steps + 1), **run).states


def adam(rule, t, w, g, memory):
    decoupled = rule.weight_decay if isinstance(rule, st.AdamW) else 0.0
    h = g + (rule.weight_decay - decoupled) * w
    m = memory["m"] = rule.beta1 * memory.get("m", 0.0) + (1 - rule.beta1) * h
    v = memory["v"] = rule.beta2 * memory.get("v", 0.0) + (1 - rule.beta2) * h**2
    m, v = m / (1 - rule.beta1 ** (t + 1)), v / (1 - rule.beta2 ** (t + 1))
    return (1 - rule.lr * decoupled) * w - rule.lr * m / (np.sqrt(v) + rule.epsilon)


def lion(rule, t, w, g, memory):
    m = memory.get("m", np.zeros(3))
    memory["m"] = rule.beta2 * m + (1 - rule.beta2) * g
    keep = 1 - rule.lr * rule.weight_decay
    return keep * w - rule.lr * np.sign(rule.beta1 * m + (1 - rule.beta1) * g)


RULES = [
    (st.Adam(0.05, 0.3, 0.8, 0.95, 1e-3), adam),
    (st.AdamW(0.05, 0.3, 0.8, 0.95, 1e-3), adam),
    (st.Lion(0.05, 0.3, 0.8, 0.95), lion),
]


@pytest.mark.parametrize(("rule", "move"), RULES, ids=lambda v: type(v).__name__)
def test_steps_are_the_written_ones(rule, move):
    """Every step in numpy, with the increments that `simulate` feeds to the path."""
    states = train(rule, W0, 6)
    for path, w in enumerate(W0):
        memory = {}
        for t, z in enumerate(increments(0, path, 0, 6, 3)):
            g = st.evaluate.gradient(MODEL, w) + st.evaluate.diffusion(NOISE, w) @ z
            w = move(rule, t, w, g, memory)
            error = np.abs(states[path, t + 1] - w).max()
            assert error < 1e-13, (rule, path, t, error)


@given(w0=starts, lr=some.floats(1e-3, 0.1))
@example(w0=np.eye(3) + 0.25, lr=0.1)
def test_the_first_step_of_adam_is_the_sign_of_the_gradient(w0, lr):
    moved = train(st.AdamW(lr, 0.0, epsilon=0.0), w0, 1)
    first = train(st.Lion(lr, 0.0), w0, 1)
    assert np.allclose(np.abs(moved[:, 1] - moved[:, 0]), lr, rtol=1e-9), moved[:, 1] - moved[:, 0]
    assert np.allclose(moved[:, 1], first[:, 1], atol=1e-12), np.abs(moved[:, 1] - first[:, 1]).max()


@given(w0=starts, c=some.floats(0.1, 10), wd=some.floats(0, 1))
@example(w0=np.eye(3) + 0.25, c=4.0, wd=1.0)
def test_scaling_start_and_learning_rate_together_scales_the_path(w0, c, wd):
    """lr in units of w, decoupled weight decay in units of 1/w: (c lr, wd/c, c w0); for SGD it is c^2 lr."""
    for rule in (lambda lr, wd: st.AdamW(lr, wd, epsilon=0.0), st.Lion):
        path, scaled = train(rule(0.03, wd), w0, 3), train(rule(c * 0.03, wd / c), c * w0, 3) / c
        error = np.abs(scaled - path).max()
        assert error < 1e-10, (rule(0.03, wd), c, error)


@given(w0=starts, lr=some.floats(1e-3, 0.1))
def test_without_weight_decay_coupling_does_not_matter(w0, lr):
    assert np.array_equal(train(st.Adam(lr), w0, 4), train(st.AdamW(lr), w0, 4))


def test_coupled_weight_decay_is_rescaled_with_the_gradient():
    """Without loss and noise Adam's L2 is a sign step, AdamW's a contraction."""
    w0, lr, wd = np.array([2.0, -1.0, 0.5]), 0.01, 0.2
    adam_path, adamw_path = (
        train(rule, w0, 5, model=st.Rayleigh(np.zeros(3)), noise=st.Isotropic(0.0))[0]
        for rule in (st.Adam(lr, wd), st.AdamW(lr, wd))
    )
    assert np.allclose(adam_path[1], w0 - lr * np.sign(w0), atol=1e-6), adam_path[1]
    shrunk = w0 * (1 - lr * wd) ** np.arange(6)[:, None]
    assert np.allclose(adamw_path, shrunk, rtol=1e-13), adamw_path - shrunk


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES], ids=lambda rule: type(rule).__name__)
def test_paths_do_not_depend_on_threads_or_company(rule):
    w0 = np.random.default_rng(2).standard_normal((40, 3))
    run = lambda w0, **how: st.simulate(MODEL, rule, w0, [9], noise=NOISE, seed=4, width=16, **how).final
    whole = run(w0, threads=1)
    assert np.array_equal(whole, run(w0, threads=2))
    assert np.array_equal(whole[20:30], run(w0[20:30], first_path=20))


@pytest.mark.slow  # compiles a second width; the driver under test in test_simulate.py is the same
def test_paths_do_not_depend_on_the_width():
    rule, w0 = RULES[0][0], np.random.default_rng(2).standard_normal((40, 3))
    assert np.array_equal(train(rule, w0, 5), train(rule, w0, 5, width=8))


ALL = [
    st.HeavyBall(0.05, 0.1),
    st.InnerHeavyBall(0.05, 0.1),
    st.Nesterov(0.05, 0.1),
    *(rule for rule, _ in RULES),
    st.SVAG(0.05, 0.1, 3),
    st.CoinSVAG(0.05, 0.1, 3),
    st.SphereSGD(0.05),
]


def problems():
    """Every model with every noise that fits it, and a start."""
    mu, network = np.array([0.6, 0.8]), st.deep_linear((1, 2, 1), np.array([[0.7]]))
    for model in (st.Rayleigh([0.3, -0.2]), st.RayleighQuotient(np.diag([0.3, -0.2])), st.VonMisesFisher(mu, 0.4),
                  st.Circle(1.0)):  # fmt: skip
        for noise in (st.Isotropic(0.3), st.Covariance(np.eye(2)), st.GOEBatch(0.3), st.NoisyLinearBatch(0.2),
                      st.CircleBatch(0.2), st.White(0.3), st.Skewed(st.Isotropic(0.3)), st.NoNoise()):  # fmt: skip
            yield model, noise, np.array([0.9, -0.4])
    for noise in (label_noise(network, 0.3), input_noise(network, 0.3), st.White(0.1)):
        yield network, noise, np.array([0.9, -0.4, 0.5, 0.3])


@pytest.mark.skipif(not numba.config.DISABLE_JIT, reason="300 combinations: only where nothing is compiled")
@pytest.mark.parametrize("rule", ALL, ids=lambda rule: type(rule).__name__)
def test_every_rule_trains_every_model_under_every_noise(rule):
    for model, noise, w0 in problems():
        if isinstance(rule, st.CoinSVAG) and isinstance(noise, st.NoNoise):
            continue
        n = draws.python(noise, w0.size)
        z = increments(0, 0, 0, 2 if isinstance(rule, st.SVAG) else 1, n)
        ens = st.simulate(model, rule, w0, [1, 4], noise=noise, keep_states=True)
        assert np.isfinite(ens.states).all() and not np.array_equal(ens.final[0], w0), (rule, model, noise)
        first = st.evaluate.step(rule, model, noise, w0, z)
        assert np.array_equal(first, ens.states[0, 0]), (rule, model, noise, first - ens.states[0, 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.Adam(0.1, beta1=1.0), "`beta1` must be below 1: beta1=1.0"),
        (lambda: st.AdamW(0.1, beta2=-0.1), "`beta2` must not be negative: beta2=-0.1"),
        (lambda: st.AdamW(0.1, epsilon=-1e-8), "`epsilon` must not be negative"),
        (lambda: st.Lion(0.1, beta2=1.5), "`beta2` must be below 1: beta2=1.5"),
        (lambda: st.Lion(0.1, weight_decay=-1.0), "`weight_decay` must not be negative"),
    ],
)
def test_impossible_memories_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
