"""What is refused before any work starts, through the public call; and observers that need scratch memory."""

import numpy as np
import pytest

import sdetheory as st

RAYLEIGH, NOISE = st.Rayleigh(np.linspace(0, 1, 4)), st.Isotropic(0.5)
NORM = st.observers.SquaredNorm()


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
        (lambda: run(generator=3), TypeError, r"`generator` must be a plug-in such as Block\(\): generator=3"),
        (lambda: run(increment=st.Antithetic), TypeError, r"`increment` must be a plug-in such as Antithetic\(\)"),
        (lambda: run(observe="gamma"), TypeError, r"`observe` must hold plug-ins.*it holds 'gamma'"),
        (lambda: run(observe=None), TypeError, r"`observe` must hold plug-ins.*it holds None"),
        (lambda: run(observe=[NORM, 3]), TypeError, r"`observe` must hold plug-ins.*it holds 3"),
        (lambda: run(observe={1: NORM}), TypeError, r"`observe` must name observers by texts: it has the name 1"),
        (lambda: run(first_path=2**63), ValueError, r"`first_path` must be below 2\*\*63"),
        (lambda: run(coarsen=10**30), ValueError, r"`coarsen` must be below 2\*\*53: coarsen=1000"),
        (lambda: run(paths=np.nan), ValueError, r"`paths` must be an integer: paths=nan"),
        (lambda: run(ts=[1e19]), ValueError, r"`ts` must be below 2\*\*53 times `dt`: ts=1e\+19"),
        (lambda: run(noise=st.Isotropic("1")), ValueError, r"`sigma` must be a real number: sigma='1'"),
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


@pytest.mark.compiled
def test_what_is_asked_of_a_result_is_refused_by_name():
    runs = run(paths=8, observe=[NORM])
    with pytest.raises(ValueError, match=r"`controls` must give a number or one for each of 2 times.*\(3,\)"):
        runs.mean("squared_norm", controls={"squared_norm": [1, 2, 3]})
    with pytest.raises(TypeError, match=r"`controls` must map names to their known expectations: controls=\['squ"):
        runs.mean("squared_norm", controls=["squared_norm"])


@pytest.mark.compiled
def test_a_width_may_be_a_float_that_is_whole():
    assert (run(width=8.0).final == run(width=8).final).all()
