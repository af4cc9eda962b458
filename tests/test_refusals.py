"""What is refused before any work starts, through the public call; and observers that need scratch memory."""

import numpy as np
import pytest

import sdetheory as st

RAYLEIGH, NOISE = st.Rayleigh(np.linspace(0, 1, 4)), st.Isotropic(0.5)


def run(model=RAYLEIGH, dynamics=None, w0=(1.0, 1.0, 1.0, 1.0), ts=(0, 10), noise=NOISE, **options):
    rule = st.SGD(0.1) if dynamics is None else dynamics
    return st.simulate(model, rule, np.array(w0), np.array(ts, float), noise=noise, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: run(dynamics=st.SGD(-0.1)), ValueError, r"`lr` must not be negative: lr=-0.1"),
        (lambda: run(w0=[0.0] * 4), ValueError, r"`w0` must not be zero for a scale-invariant loss"),
        (lambda: run(w0=[1, 2, np.nan, 1]), ValueError, r"`w0` must be finite: w0\[2\]=nan"),
        (lambda: run(w0=[1.0] * 3), ValueError, r"`a` must have shape \(3\)"),
        (lambda: run(dynamics=st.WeightDecaySDE(0.1, 0.1), dt=0.3), ValueError, r"`dt` must divide the spacing"),
        (lambda: run(model="Rayleigh"), TypeError, r"`model` must be a plug-in.*model='Rayleigh'"),
        (lambda: run(model=st.Rayleigh), TypeError, r"`model` must be a plug-in"),
        (lambda: run(noise=0.5), TypeError, r"`noise` must be a plug-in.*noise=0.5"),
        (lambda: run(dynamics="sgd"), TypeError, r"`dynamics` must be a training rule.*dynamics='sgd'"),
        (lambda: run(dynamics=st.SGD), TypeError, r"`dynamics` must be a training rule"),
        (lambda: run(integrator="euler"), TypeError, r"`integrator` must be a plug-in.*integrator='euler'"),
        (lambda: run(width=5), ValueError, r"`width` must be one of 8, 16, 32: width=5"),
        (lambda: run(threads=0), ValueError, r"`threads` must be at least 1: threads=0"),
        (lambda: run(paths=0), ValueError, r"`paths` must be at least 1: paths=0"),
        (lambda: run(dynamics=st.GradientFlow()), ValueError, r"`noise` must be left out for GradientFlow"),
    ],
)  # fmt: skip
def test_refused_before_work_with_argument_rule_and_value(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.compiled
def test_the_loss_of_a_deep_linear_network_is_observed_along_an_adaptive_flow():
    chain, ts = st.scalar_chain(2), [0.0, 5.0, 100.0]
    runs = st.simulate(
        chain, st.GradientFlow(0.1), [[0.5, 1.0], [0.1, 1.7]], ts, observe=[st.observers.Loss(chain)], keep_states=True
    )
    wanted = (runs.states.prod(axis=2) - 1) ** 2
    assert np.allclose(runs["loss"], wanted, rtol=1e-12, atol=1e-15), (runs["loss"], wanted)
