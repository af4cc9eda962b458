"""Every SDE scheme against solvable models: the whole stationary law, decay of harmonics, both gaps of the circle.

Parameters: lr .3, wd .05, sigma .8, d = 9 (von Mises-Fisher with kappa 10.2, bipolar Bingham with beta 16.3), d = 5
for harmonics, and d = 2 with lr .3, wd .1, sigma 1.3, h .25.  A distance of MARGIN is allowed to laws, for the bias of
a scheme at its step and what is left of the start; concentrations off by 3 % are farther away, and are refused.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
from exact_laws import bingham, circle_mode, cosine_series, von_mises_fisher
from scipy import special

import sdetheory as st
from sdetheory.integrators import (
    EulerMaruyama,
    Flow2,
    ProjectedEulerMaruyama,
    Richardson,
    StrangAveraged,
    StrangFrozen,
    StrangGeodesic,
    StrangSimpson,
)
from sdetheory.lanes.vector import load, store
from sdetheory.lanes.verbs import decode, encode, extra, step, workspace
from sdetheory.observers import Coordinate
from sdetheory.predictions import intrinsic_lr
from sdetheory.statistics import law_test, mean_test

pytestmark = pytest.mark.compiled
RATES = {"lr": 0.3, "weight_decay": 0.05}
CIRCLE = {"lr": 0.3, "weight_decay": 0.1}
SIGMA, D, K, A = 0.8, 9, 0.25, -0.4
OFF, MARGIN = 1.03, 0.003


class Inflated(NamedTuple):
    """Mutant: a scheme whose noise has a wrong factor."""

    scheme: Any
    factor: float
    weak_order = 2.0
    calculus = "ito"


extra.of(Inflated)(lambda integrator, d: extra(integrator.scheme, d))
workspace.of(Inflated)(lambda integrator, d: workspace(integrator.scheme, d))
encode.of(Inflated)(lambda integrator, w, lr, y: encode(integrator.scheme, w, lr, y))
decode.of(Inflated)(lambda integrator, y, lr, w: decode(integrator.scheme, y, lr, w))


@step.of(Inflated)
def _step(integrator, model, noise, lr, weight_decay, dt, y, z, work):
    for i in range(z.size):
        store(z, i, integrator.factor * load(z, i))
    step(integrator.scheme, model, noise, lr, weight_decay, dt, y, z, work)


SCHEMES = [  # and the step lr wd dt, of the coarse level if there are two; the first runs by default
    (StrangGeodesic(), 0.05),
    (EulerMaruyama(), 0.005),
    (ProjectedEulerMaruyama(), 0.005),
    (StrangAveraged(), 0.05),
    (StrangSimpson(), 0.05),
    (StrangFrozen(), 0.025),
    (Flow2(), 0.05),
    (Richardson(StrangGeodesic()), 0.05),
    (Richardson(EulerMaruyama()), 0.01),
    (Richardson(Flow2()), 0.05),
]
MORE = [
    (Richardson(ProjectedEulerMaruyama()), 0.01),
    (Richardson(StrangFrozen()), 0.05),
    (Richardson(StrangSimpson()), 0.1),
]


def each(schemes):
    """A test for every scheme; the first is quick to compile, the others are slow."""
    parameters = [
        pytest.param(*case, id=repr(case[0]).replace("()", ""), marks=[pytest.mark.slow] * (k > 0))
        for k, case in enumerate(schemes)
    ]
    return pytest.mark.parametrize(("scheme", "h"), parameters)


def run(model, scheme, h, times, start, *, paths, sigma=SIGMA, rates=RATES, noise=None):
    """From the direction `start` at the equilibrium norm to `times`, in units of 1/(lr wd)."""
    start, product = np.asarray(start, float), rates["lr"] * rates["weight_decay"]
    square = intrinsic_lr.equilibrium_squared_norm(trace=sigma**2 * (start.size - 1), **rates)
    return st.simulate(
        model, st.WeightDecaySDE(**rates), start / np.linalg.norm(start) * np.sqrt(square),
        np.rint(np.asarray(times) / h) * h / product, noise=st.Isotropic(sigma) if noise is None else noise,
        integrator=scheme, dt=h / product, paths=paths, observe={"u": Coordinate(0)},
        seed=13, threads=1, progress=False,
    )  # fmt: skip


def combined(runs, scheme, f, time):
    """What the scheme says of f(u): the weighted sum over its views, path by path."""
    weights = getattr(scheme, "weights", (1.0,))
    return sum(w * f(view[:, time]) for w, view in zip(weights, runs.views["u"], strict=True))


def states(runs, scheme):
    """The views that are states at the end of a step: of both levels, and not those half a flow away."""
    scheme = scheme.scheme if isinstance(scheme, Richardson) else scheme
    return runs.views["u"][:: len(getattr(scheme, "weights", (1.0,)))]


def judge(runs, scheme, law, others, absolute=False):
    """All verdicts: the law of every state, and two moments of the weighted views, each with 3 % detectable."""
    seen = np.abs if absolute else lambda u: u
    for other in others:
        for view in states(runs, scheme):
            yield law_test(seen(view[:, -1]), law.cdf, detectable=other.cdf, margin=MARGIN)
        for f in (seen, np.square):
            effect = abs(other.mean(f) - law.mean(f))
            yield mean_test(combined(runs, scheme, f, -1), law.mean(f), detectable=effect)


def fisher_runs(scheme, h, k=K, paths=98304):
    return run(st.VonMisesFisher(np.eye(D)[0], k), scheme, h, [4.0], np.eye(D)[1], paths=paths)


def bingham_runs(scheme, h, a=A, noise=None, paths=65536):
    start = np.eye(D)[1] + 0.3 * np.eye(D)[0]
    return run(st.Rayleigh(a * np.eye(D)[0]), scheme, h, [4.0], start, paths=paths, noise=noise)


FISHER, *OTHER_FISHERS = (von_mises_fisher(D, K * f, SIGMA, **RATES) for f in (1.0, OFF, 1 / OFF))
BINGHAM, *OTHER_BINGHAMS = (bingham(D, A * f, SIGMA, **RATES) for f in (1.0, OFF, 1 / OFF))


@each(SCHEMES + MORE)
@pytest.mark.claim("I30", kind="simulation")
def test_directions_are_von_mises_fisher(scheme, h):
    for outcome in judge(fisher_runs(scheme, h), scheme, FISHER, OTHER_FISHERS):
        assert outcome, outcome


@each(SCHEMES)
@pytest.mark.claim("I31", kind="simulation")
def test_directions_are_bingham(scheme, h):
    for outcome in judge(bingham_runs(scheme, h), scheme, BINGHAM, OTHER_BINGHAMS, absolute=True):
        assert outcome, outcome


@pytest.mark.slow
@pytest.mark.claim("I31", kind="simulation")
@pytest.mark.parametrize(("scheme", "h"), [(StrangFrozen(), 0.025), (EulerMaruyama(), 0.01)], ids=["Strang", "Euler"])
def test_random_symmetric_batches_have_the_law_of_isotropic_noise(scheme, h):
    """Sigma of GOEBatch(s) is that of Isotropic(2 s): the SDE, and so the law, is the same."""
    runs = bingham_runs(scheme, h, noise=st.GOEBatch(SIGMA / 2))
    for outcome in judge(runs, scheme, BINGHAM, OTHER_BINGHAMS, absolute=True):
        assert outcome, outcome


def refused(runs, law, others, absolute=False):
    """Do all tests fail, each with the power to?"""
    for outcome in judge(runs, StrangGeodesic(), law, others, absolute):
        assert not outcome and outcome.power >= 0.99, outcome


def test_concentrations_off_by_three_percent_are_refused():
    refused(fisher_runs(StrangGeodesic(), 0.05, OFF * K), FISHER, OTHER_FISHERS)
    refused(bingham_runs(StrangGeodesic(), 0.05, OFF * A), BINGHAM, OTHER_BINGHAMS, absolute=True)


@pytest.mark.slow
def test_a_step_with_a_noise_variance_off_by_three_percent_is_refused():
    mutant = Inflated(StrangGeodesic(), np.sqrt(OFF))
    refused(fisher_runs(mutant, 0.05), FISHER, OTHER_FISHERS)
    refused(bingham_runs(mutant, 0.05), BINGHAM, OTHER_BINGHAMS, absolute=True)


@each(SCHEMES)
@pytest.mark.claim("I28", "I29", kind="simulation")
def test_harmonics_of_degree_one_two_three_decay_at_their_rates(scheme, h):
    """No loss (k = 0), from the pole of d = 5; four percent of a rate are seen."""
    d, s = 5, 0.4
    runs = run(st.VonMisesFisher(np.eye(d)[0], 0.0), scheme, h / 2, [s], np.eye(d)[0], paths=98304)
    for degree in (1, 2, 3):
        polynomial = special.gegenbauer(degree, d / 2 - 1)
        harmonic = lambda u, p=polynomial: p(u) / p(1.0)
        decay = intrinsic_lr.harmonic_rate(dimension=d, degree=degree, **RATES) * runs.ts[0]
        effect = 0.04 * decay * np.exp(-decay)
        outcome = mean_test(combined(runs, scheme, harmonic, 0), np.exp(-decay), detectable=effect)
        assert outcome, (degree, outcome)


@each(SCHEMES)
@pytest.mark.claim("I32", kind="simulation")
def test_both_gaps_of_the_circle(scheme, h):
    """Eigenfunctions of the generator decay as pure exponentials: even (functions of the network) and odd ones
    (which antipode), from one start; six percent of a rate are seen.
    """
    height, sigma, angle, product = 0.25, 1.3, 0.1, CIRCLE["lr"] * CIRCLE["weight_decay"]
    modes = [circle_mode(parity, height, sigma, **CIRCLE) for parity in (0, 1)]
    times = sorted(0.7 * product / rate for rate, _ in modes)
    step_size = times[0] / np.ceil(times[0] / h)
    start = np.array([np.cos(angle), np.sin(angle)])
    model = st.Rayleigh([0.0, height])
    runs = run(model, scheme, step_size, times, start, paths=131072, sigma=sigma, rates=CIRCLE)
    for j, (rate, series) in enumerate(modes):
        begin = cosine_series(series, start[0])
        decay = rate * runs.ts[j]
        mode = lambda u, c=series, b=begin: cosine_series(c, u) / b
        effect = 0.06 * decay * np.exp(-decay)
        outcome = mean_test(combined(runs, scheme, mode, j), np.exp(-decay), detectable=effect)
        assert outcome, (("even", "odd")[j], outcome)


def test_gaps_are_those_of_the_theory():
    """Without a loss 4 lr wd and lr wd; for a high barrier the odd one is Kramers' exponentially small rate."""
    flat = [circle_mode(parity, 0.0, 1.0, **CIRCLE)[0] / 0.03 for parity in (0, 1)]
    np.testing.assert_allclose(flat, [4.0, 1.0], rtol=1e-10)
    h, product = 0.1, 1e-4
    speed, depth = np.sqrt(2 * product), h * np.sqrt(2 / product)
    odd = circle_mode(1, h, 1.0, 0.1, product / 0.1)[0]
    assert abs(odd / (4 * speed * h / np.pi * np.exp(-depth)) - 1) < 0.05, odd
