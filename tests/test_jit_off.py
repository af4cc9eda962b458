"""Without the compiler the same code gives the same numbers, to rounding; and schedules are what they say."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

import sdetheory as st
from sdetheory.dynamics import Cosine, Exponential, Piecewise
from sdetheory.integrators import EulerMaruyama
from sdetheory.lanes.random import Philox, ThreePoint, TwoPoint, increments

ROOT = pathlib.Path(__file__).parents[1]
W0 = np.random.default_rng(5).standard_normal((5, 3))


def cases():
    """name -> numbers, for the same plug-ins as the other files, so that they are compiled once."""
    flat, tilted = st.Rayleigh(np.zeros(3)), st.Rayleigh([0.0, 0.3, -0.5])
    sde, common = st.WeightDecaySDE(0.2, 0.1), {"width": 16, "keep_states": True, "seed": 11}
    ts = np.arange(0, 21, 5)
    yield (
        "sde",
        lambda: st.simulate(
            tilted, sde, W0, ts, noise=st.Isotropic(0.7), integrator=EulerMaruyama(), dt=0.5, **common
        ),
    )
    yield "coarse", lambda: st.simulate(flat, sde, W0, ts, noise=st.Isotropic(0.7),
                                        integrator=EulerMaruyama(), coarsen=3, **common)  # fmt: skip
    yield "covariance", lambda: st.simulate(flat, sde, W0, ts, noise=st.Covariance(np.eye(3)[:, :2]),
                                            integrator=EulerMaruyama(), **common)  # fmt: skip
    yield (
        "sgd",
        lambda: st.simulate(
            tilted, st.SGD(Cosine(0.3, 0.1, 20), 0.1), W0, ts, noise=st.GOEBatch(0.5), **common
        ),
    )


def numbers():
    """Every case as arrays."""
    found = {name: run().states for name, run in cases()}
    for generator in ("block", "philox"):
        for increment in (TwoPoint(), ThreePoint()):
            g = {"generator": Philox()} if generator == "philox" else {}
            found[f"{generator} {increment}"] = increments(3, 2, 250, 262, 5, increment=increment, **g)
    return found


@pytest.mark.compiled
def test_plain_python_agrees_with_the_compiled_kernels(tmp_path):
    file = str(tmp_path / "plain.npz")
    code = f"import numpy; from test_jit_off import numbers; numpy.savez({file!r}, **numbers())"
    environment = {
        **os.environ,
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    plain, compiled = np.load(tmp_path / "plain.npz"), numbers()
    assert set(plain) == set(compiled)
    for name, values in compiled.items():
        error = np.abs(plain[name] - values).max()
        assert error < 1e-13 * np.abs(values).max(), (name, error)


# ---- schedules


@given(t=some.floats(0, 200))
@example(t=0.0)
@example(t=10.0)
@example(t=100.0)
def test_schedules_are_the_functions_they_name(t):
    assert Piecewise((3.0, 2.0, 1.0), (10.0, 100.0))(t) == (3.0 if t < 10 else 2.0 if t < 100 else 1.0)
    assert Exponential(2.0, -0.1)(t) == pytest.approx(2.0 * np.exp(-0.1 * t), rel=1e-15)
    half_cosine = 1.0 + 0.5 * (3.0 - 1.0) * (1 + np.cos(np.pi * min(t / 50, 1)))
    assert Cosine(3.0, 1.0, 50.0)(t) == pytest.approx(half_cosine, rel=1e-14)
    for schedule in (Piecewise((3.0, 2.0), (10.0,)), Exponential(2.0, -0.1), Cosine(3.0, 1.0, 50.0)):
        np.testing.assert_array_equal(schedule(np.array([t, 5.0])), [schedule(t), schedule(5.0)])


def test_all_ways_to_give_a_rate_are_the_same_run():
    values = np.where(np.arange(20) < 7, 0.3, 0.1)
    ways = (values, Piecewise((0.3, 0.1), (7,)), lambda step: values[step])
    finals = [
        st.simulate(
            st.Rayleigh([0.0, 0.3, -0.5]), st.SGD(way, 0.1), W0, [20], noise=st.GOEBatch(0.5), width=16
        ).final
        for way in ways
    ]
    np.testing.assert_array_equal(finals[0], finals[1])
    np.testing.assert_array_equal(finals[0], finals[2])


def test_discrete_rules_read_the_step_and_continuous_ones_its_middle():
    np.testing.assert_array_equal(st.SGD(lambda t: t, 0.0).rates(3, 1.0)[0], [0, 1, 2])
    np.testing.assert_array_equal(st.WeightDecaySDE(lambda t: t, 0.0).rates(3, 0.5)[0], [0.25, 0.75, 1.25])
    lr, weight_decay = st.GradientFlow(lambda t: -t).rates(2, 1.0)
    np.testing.assert_array_equal(lr, [1.0])
    np.testing.assert_array_equal(weight_decay, [-0.5, -1.5])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Piecewise((1.0, 2.0), (3.0, 4.0)),
            "`boundaries` must increase and be one fewer than `values`",
        ),
        (lambda: Piecewise((1.0, 2.0, 3.0), (4.0, 3.0)), "`boundaries` must increase"),
        (lambda: Cosine(1.0, 0.0, 0.0), "`length` must be positive: length=0"),
        (lambda: Exponential(np.inf, 0.0), "`initial` must be finite"),
    ],
)
def test_impossible_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
