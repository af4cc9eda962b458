"""A twin without loss is the scheme's own path, its mean is known, and as a control it takes error away, not truth."""

import numpy as np
import pytest
from operator_kernel import isotropic_setting, transient

import sdetheory as st
from benchmarks.equilibrium_cases import case
from sdetheory.integrators import (
    EulerMaruyama,
    Flow2,
    ProjectedEulerMaruyama,
    Richardson,
    StrangAveraged,
    StrangFrozen,
    StrangGeodesic,
    WithTwin,
)
from sdetheory.lanes.antithetic import Antithetic
from sdetheory.models.scale_invariant import NoLoss
from sdetheory.observers import Coordinate, SquaredNorm
from sdetheory.predictions import intrinsic_lr
from sdetheory.statistics import mean_test

pytestmark = pytest.mark.compiled
RATES = {"lr": 0.1, "weight_decay": 0.1}
U = -0.6


def run(chosen, integrator, h, times, paths=64, model=None, gamma_share=1.0, **options):
    """From u = -.6 with gamma_share times the equilibrium gamma; times in units of 1/(lr wd)."""
    w0 = np.zeros(chosen.d)
    w0[:2] = U, np.sqrt(1 - U * U)
    return st.simulate(
        chosen.model if model is None else model, st.WeightDecaySDE(**RATES),
        w0 * np.sqrt(chosen.square_norm * np.sqrt(gamma_share)), np.asarray(times) / chosen.intrinsic_lr,
        noise=chosen.noise, integrator=integrator, dt=h / chosen.intrinsic_lr, paths=paths,
        observe={"u": Coordinate(0), "square": SquaredNorm()}, seed=2, threads=1, progress=False, **options,
    )  # fmt: skip


def known(chosen, times, gamma_share=1.0):
    """E u of the twin."""
    gamma0, trace = gamma_share * (chosen.square_norm / 0.1) ** 2, chosen.d - 1.0
    t = np.asarray(times) / chosen.intrinsic_lr
    return U * intrinsic_lr.direction_correlation(t=t, trace=trace, gamma0=gamma0, **RATES)


SCHEMES = [StrangAveraged(), EulerMaruyama(), ProjectedEulerMaruyama(), StrangFrozen(), Flow2()]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_path_and_twin_are_the_schemes_own_with_and_without_loss(scheme):
    chosen, times = case("von_mises_fisher", 3, 0.5, **RATES), (0.0, 0.1, 0.7)
    both, alone = run(chosen, WithTwin(scheme), 0.1, times), run(chosen, scheme, 0.1, times)
    free = run(chosen, scheme, 0.1, times, model=NoLoss())
    count = len(alone.views["u"])
    for name in ("u", "square"):
        np.testing.assert_allclose(both.values[name], alone.values[name], rtol=1e-13)
        np.testing.assert_allclose(both.views[name][:count], alone.views[name], rtol=1e-13)
        np.testing.assert_allclose(both.views[name][count:], free.views[name], rtol=1e-13)
    np.testing.assert_allclose(both.final, alone.final, rtol=1e-13)
    assert both.views["u"].shape == (2 * count, 64, 3)


@pytest.mark.claim("I28", kind="simulation")
@pytest.mark.parametrize("share", [1.0, 0.2])
def test_means_with_the_twin_are_the_schemes_exact_ones(share):
    """Against the integrated one-step kernel: unbiased, at any gamma_0, with an error five times smaller or more."""
    chosen, times, h = case("von_mises_fisher", 16, 0.5, **RATES), np.array([0.2, 0.6]), 0.2
    runs = run(chosen, WithTwin(), h, times, paths=4000, gamma_share=share, increment=Antithetic())
    twin = runs.samples("u", 1)
    for j in range(2):
        outcome = mean_test(twin[:, j], known(chosen, times, share)[j], detectable=0.02)
        assert outcome, outcome
    mean, error = runs.mean("u", controls={("u", 1): known(chosen, times, share)})
    plain_mean, plain_error = runs.mean("u")
    setting = isotropic_setting("von_mises_fisher", 16, 0.5, degree=12, **RATES)
    gamma = share * (chosen.square_norm / 0.1) ** 2
    for j, steps in enumerate((1, 3)):
        grid = h / chosen.intrinsic_lr * np.arange(steps + 1)
        exact = transient(setting, StrangGeodesic(), grid, U, gamma, nodes=10)
        z = (mean[j] - exact) / error[j], (plain_mean[j] - exact) / plain_error[j]
        assert max(map(abs, z)) < 5.8, (j, z, mean[j], exact, error[j])
        assert error[j] < 0.0011, (error[j], plain_error[j])


def test_extrapolation_has_two_controls_and_their_views_in_order():
    chosen, times = case("von_mises_fisher", 3, 0.5, **RATES), (0.4, 1.2)
    runs = run(chosen, Richardson(WithTwin()), 0.4, times, paths=6000)
    alone = run(chosen, Richardson(), 0.4, times, paths=6000)
    np.testing.assert_allclose(runs.values["u"], alone.values["u"], rtol=1e-12)
    np.testing.assert_allclose(runs.views["u"][::2], alone.views["u"], rtol=1e-12)
    expectation = known(chosen, times)
    for view in (1, 3):
        for j in range(2):
            outcome = mean_test(runs.samples("u", view)[:, j], expectation[j], detectable=0.1)
            assert outcome, (view, outcome)
    mean, error = runs.mean("u", controls={("u", 1): expectation, ("u", 3): expectation})
    plain_mean, plain_error = runs.mean("u")
    assert (error < [0.3 * plain_error[0], 0.75 * plain_error[1]]).all(), (error, plain_error)
    assert (np.abs(mean - plain_mean) < 5.8 * plain_error).all(), (mean, plain_mean, plain_error)


def test_a_twin_of_several_levels_or_of_a_twin_is_refused():
    chosen = case("von_mises_fisher", 3, 0.5, **RATES)
    for scheme in (Richardson(), WithTwin()):
        with pytest.raises(ValueError, match=r"`scheme` must consume one increment.*Richardson\(WithTwin"):
            run(chosen, WithTwin(scheme), 0.1, (0.1,))
    with pytest.raises(ValueError, match="must be an SDE scheme"):
        run(chosen, WithTwin(chosen.model), 0.1, (0.1,))
