"""The two phases: switch and both time constants of runs against the predictions, and the geometry behind them."""

import numpy as np
import pytest
from hypothesis import given

import sdetheory as st
from sdetheory import observables
from sdetheory.integrators import DOP853
from sdetheory.models.deep_linear import deep_linear, scalar_chain
from sdetheory.models.weights import gaussian_weights
from sdetheory.predictions import deep_linear as predictions
from tests.deep_linear_cases import arrays, close

START, LR = np.array([0.1, 1.7]), 0.05
WIDTHS = (2, 3, 2)


@given(arrays(12), arrays(2, 2))
def test_the_gradient_of_the_loss_points_across(w, target):
    """At every state, fitted or not; the parts of any velocity are at right angles."""
    model = deep_linear(WIDTHS, target)
    across, along = observables.valley_motion(model, w, observables.spectra.gradient(model, w))
    close(along, 0.0, tolerance=1e-9, scale=across)
    v = np.arange(12.0)
    across, along = observables.valley_motion(model, np.stack([w, w]), np.stack([v, 2 * v]))
    close(across**2 + along**2, [v @ v, 4 * v @ v], tolerance=1e-11, scale=4 * v @ v)


def penalised(penalty, rule, times, lr=LR):
    """States of a penalised chain of two layers from Ginsburg's start."""
    decay = float(predictions.weight_decay_of_penalty(penalty=penalty))
    model = scalar_chain(2)
    if rule == "flow":
        exact = DOP853(rtol=1e-12, atol=1e-12)
        return st.simulate(
            model, st.GradientFlow(decay), START, lr * times, integrator=exact, keep_states=True, progress=False
        ).states[0]
    return st.simulate(
        model, st.GradientDescent(lr, decay), START, times, keep_states=True, progress=False
    ).states[0]


@pytest.mark.compiled
@pytest.mark.claim("D20", "D14", kind="simulation")
def test_both_time_constants_of_the_penalised_flow():
    """tau_1 tends to 1/(2 lr S) as mu falls (17 %, 4 %, 1 % of its value allowed), tau_2 is 1/(4 lr mu)."""
    model = scalar_chain(2)
    total = observables.inverse_square_sum(observables.flow_limit(model, START))
    first = predictions.optimisation_time(lr=LR, inverse_squares=total)
    for penalty, slack in ((1e-2, 0.17), (1e-3, 0.04), (1e-4, 0.01)):
        second = predictions.regularisation_time(lr=LR, penalty=penalty)
        times = np.concatenate([np.linspace(0, 60, 241), np.geomspace(61, 3 * second, 60)])
        found = observables.two_phases(model, times, penalised(penalty, "flow", times))
        close(found.optimisation_time / first, 1.0, tolerance=slack)
        close(found.regularisation_time / second, 1.0, tolerance=1e-4)
        assert 3 * first < found.switch < second / 10, (first, found.switch, second)


@pytest.mark.compiled
@pytest.mark.claim("D20", "D16", kind="simulation")
def test_the_switch_comes_before_the_band_is_entered():
    """mu = 0.05, lr = 0.05: the band is entered at step 20 (independent number), where W turns and nothing moves
    across; more moves along than across a few optimisation times earlier.
    """
    times, model = np.arange(300.0), scalar_chain(2)
    states = penalised(0.05, "descent", times)
    found = observables.two_phases(model, times, states)
    lower = predictions.weight_decay_band_lower(
        penalty=0.05,
        depth=2.0,
        end_to_end=observables.chain_product(states),
        inverse_squares=observables.inverse_square_sum(states),
    )
    entry = int(np.argmax(observables.chain_product(states) >= lower))
    assert entry == 20 and abs(int(np.argmin(found.across[:60])) - entry) <= 2, (entry, np.argmin(found.across[:60]))
    assert 5 < found.switch < entry, found.switch


@pytest.mark.compiled
@pytest.mark.claim("D20", "D30", kind="simulation")
def test_the_second_phase_of_label_noise():
    """The mean of 256 paths: tau_2 is the predicted one within 5 %, which a rate without 1/(1 - lr S) misses."""
    model, lr, spread = scalar_chain(2), 0.05, 0.3
    rest = observables.flow_limit(model, START)
    times = np.concatenate([np.arange(0, 40, 4), np.arange(200, 4001, 200)]).astype(float)
    run = st.simulate(
        model, st.SGD(lr), START, times, noise=st.label_noise(model, spread), paths=256, keep_states=True, seed=4,
        progress=False,
    )  # fmt: skip
    found = observables.two_phases(model, times, run.states.mean(axis=0))
    totals = observables.inverse_square_sum(rest), 2.0  # S falls from its value at the start of the phase to 2
    slow, fast = sorted(
        1 / predictions.label_noise_imbalance_rate(lr=lr, noise=spread, inverse_squares=s) for s in totals
    )[::-1]
    assert 0.95 * fast < found.regularisation_time < 1.05 * slow, (fast, found.regularisation_time, slow)
    assert slow < 0.95 / (4 * lr**2 * spread**2), "the factor is seen"


@pytest.mark.compiled
@pytest.mark.claim("D14", "D20", kind="simulation")
def test_matrix_layers_have_the_same_second_phase():
    rng, decay = np.random.default_rng(2), 1e-4
    model, w = deep_linear(WIDTHS, np.diag([2.0, 1.0])), gaussian_weights(WIDTHS, rng)
    times = np.concatenate([np.linspace(0, 20, 101), np.geomspace(21, 15000, 50)])
    exact = DOP853(rtol=1e-11, atol=1e-12)
    run = st.simulate(model, st.GradientFlow(decay), w, times, integrator=exact, keep_states=True, progress=False)
    found = observables.two_phases(model, times, run.states[0])
    close(found.regularisation_time * 2 * decay, 1.0, tolerance=1e-4)
    slowest = observables.kernel_spectrum(model, observables.flow_limit(model, w))[-1]
    close(found.optimisation_time * slowest, 1.0, tolerance=0.1)


def test_without_penalty_there_is_one_phase():
    times = np.arange(0, 200.0)
    states = START * (1 + 0.1 * np.exp(-times / 3)[:, None] * np.array([1.0, 0.0]))
    model = deep_linear((1, 1, 1), [[0.17]])
    found = observables.two_phases(model, times, START - (states - START) * START[::-1] / START)
    assert np.isnan(found.switch) and np.isnan(found.regularisation_time), found[:3]
    close(found.optimisation_time, 3.0, tolerance=0.1)


@pytest.mark.parametrize(
    ("ts", "shape", "message"),
    [
        ([0, 1, 2, 3], (4, 2), "`ts` must have at least 5 times"),
        ([0, 1, 1, 3, 4], (5, 2), "`ts` must"),
        ([0, 1, 2, 3, 4], (4, 2), "`states` must have shape"),
    ],
)
def test_bad_input_is_refused_by_name(ts, shape, message):
    with pytest.raises(ValueError, match=message):
        observables.two_phases(scalar_chain(2), ts, np.ones(shape))
