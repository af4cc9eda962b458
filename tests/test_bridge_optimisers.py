"""The averages and steps of the proofs about rotational equilibrium are those of the compiled optimisers, at random
states with random memories.
"""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

import sdetheory as st
from proofs_check import systems
from sdetheory.lanes.vector import float_rows, lane_array
from sdetheory.lanes.verbs import extra, step, workspace
from sdetheory.plugins import canonical
from tests.bridge_twins import close

D = 3
MODEL, NOISE = st.Rayleigh(np.array([0.0, 0.3, -0.5])), st.Isotropic(0.7)
vectors = arrays(np.float64, D, elements=some.floats(-2, 2, allow_subnormal=False))
starts = vectors.filter(lambda w: np.linalg.norm(w) > 0.3)
rates, memories = some.floats(0.01, 0.5), some.floats(0.0, 0.95)
COMMON = settings(max_examples=15)


def compiled_step(rule, w, memory, z):
    """(state after one compiled step, gradient of the batch): state = w, |w|^2, then the memory of the rule."""
    stepper, (lr, weight_decay) = rule.stepper(), (float(rate[0]) for rate in rule.rates(1, 1.0))
    model, noise = (canonical(plugin, D) for plugin in (MODEL, NOISE))
    y = lane_array(D + extra.python(stepper, D), 8)
    float_rows(y)[:] = np.concatenate([w, [w @ w], memory])[:, None]
    increments, work = lane_array(D + 1, 8), lane_array(workspace.python(stepper, D) + 4 * D + 1, 8)
    float_rows(increments)[:D] = z[:, None]
    step(stepper, model, noise, lr, weight_decay, 1.0, y, increments, work)
    g = st.evaluate.gradient(MODEL, w) + st.evaluate.diffusion(NOISE, w) @ z
    return float_rows(y)[:, 5].copy(), g


def agree(*pairs):
    for got, wanted in pairs:
        ok, why = close(got, wanted, scale=10.0)
        assert ok, why


@pytest.mark.claim("I38", kind="property")
@given(
    w=starts, m=vectors, v=vectors, z=vectors, lr=rates, wd=rates, betas=some.tuples(memories, memories),
    t=some.integers(1, 50),
)  # fmt: skip
@example(w=np.ones(D), m=np.zeros(D), v=np.zeros(D), z=np.ones(D), lr=0.1, wd=0.1, betas=(0.0, 0.0), t=1)
@COMMON
def test_adamw_averages_gradient_and_square_and_steps_against_their_ratio(w, m, v, z, lr, wd, betas, t):
    """u = mhat/(sqrt(vhat) + epsilon); at large t and vhat of size 1 this is the averaged update of the proof."""
    beta1, beta2 = betas
    memory = [*m, *(v**2), beta1 ** (t - 1), beta2 ** (t - 1)]
    found, g = compiled_step(st.AdamW(lr, wd, beta1, beta2, 1e-3), w, memory, z)
    first, second = systems.average(m, g, beta1), systems.average(v**2, g**2, beta2)
    update = first / (1 - beta1**t) / (np.sqrt(second / (1 - beta2**t)) + 1e-3)
    after = systems.rescaled_step(w, update, lr, wd)
    agree((found[:D], after), (found[D], after @ after), (found[D + 1 : 2 * D + 1], first))
    agree((found[2 * D + 1 : 3 * D + 1], second), (found[3 * D + 1 :], [beta1**t, beta2**t]))


@pytest.mark.claim("I38", kind="property")
@given(w=starts, u=vectors, z=vectors, lr=rates, wd=rates, beta1=memories, size=some.floats(0.5, 3))
@COMMON
def test_adamw_with_a_known_squared_gradient_is_the_averaged_update_of_the_proof(w, u, z, lr, wd, beta1, size):
    """After many steps, the mean square being size^2 in every entry: u' = b1 u + (1 - b1) g/size, w' = a w - lr u'."""
    beta2 = 1 - 2.0**-40  # what one gradient adds to the mean square is below the tolerance
    memory = [*(size * u), *np.full(D, size**2), 0.0, 0.0]
    found, g = compiled_step(st.AdamW(lr, wd, beta1, beta2, 0.0), w, memory, z)
    update = systems.average(u, g / size, beta1)
    agree((found[D + 1 : 2 * D + 1] / size, update))
    error = np.abs(found[:D] - systems.rescaled_step(w, update, lr, wd)).max()
    assert error < 1e-8 * (1 + np.abs(update).max()), error


@pytest.mark.claim("I39", kind="property")
@given(w=starts, m=vectors, z=vectors, lr=rates, wd=rates, betas=some.tuples(memories, memories))
@example(w=np.ones(D), m=np.zeros(D), z=np.ones(D), lr=0.1, wd=0.1, betas=(0.9, 0.99))
@COMMON
def test_lion_steps_by_the_signs_of_one_average_and_keeps_another(w, m, z, lr, wd, betas):
    found, g = compiled_step(st.Lion(lr, wd, *betas), w, m, z)
    c = systems.average(m, g, betas[0])
    assume(np.abs(c).min() > 1e-12)  # a sign of rounding is nobody's
    after = systems.rescaled_step(w, np.sign(c), lr, wd)
    agree((found[:D], after), (found[D], after @ after), (found[D + 1 :], systems.average(m, g, betas[1])))


@pytest.mark.claim("I40", kind="property")
@given(w=starts, z=vectors, lr=rates, wd=rates, size=some.floats(0.5, 3))
@COMMON
def test_adam_with_l2_divides_the_decay_too_and_its_norm_grows_as_in_the_proof(w, z, lr, wd, size):
    """No average, mean square known: w' = w - lr (g + wd w)/size.  The mean |w'|^2 of the two steps with g and -g
    is |w|^2 less twice lr wd |w|^2/size (and its second order) plus the growth lr^2 d |g|^2/v, v = d size^2."""
    rule, memory = st.Adam(lr, wd, 0.0, 1 - 2.0**-40, 0.0), [*np.zeros(D), *np.full(D, size**2), 0.0, 0.0]
    z = z - st.evaluate.gradient(MODEL, w) * np.linalg.norm(w) / NOISE.sigma  # the batch gradient is the noise at z
    plus, g = compiled_step(rule, w, memory, z)
    error = np.abs(plus[:D] - systems.coupled_step(w, g, size, lr, wd)).max()
    assert error < 1e-8, error
    other = -z - 2 * st.evaluate.gradient(MODEL, w) * np.linalg.norm(w) / NOISE.sigma
    minus, opposite = compiled_step(rule, w, memory, other)
    agree((opposite, -g))
    shrink, square = lr * wd / size, w @ w
    growth = systems.rescaled_growth(g @ g, D * size**2, D, lr)
    mean = (plus[D] + minus[D]) / 2
    assert abs(mean - (square * (1 - shrink) ** 2 + growth)) < 1e-7, (mean, square, growth)
