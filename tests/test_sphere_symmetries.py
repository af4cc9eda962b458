"""Sphere schemes: coupled levels (T7), symmetries path by path (T9, T10), transients and extrapolation (T11)."""


import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from operator_kernel import (
    isotropic_setting,
    steps,
    transient,
)

from benchmarks.equilibrium_cases import case
from sdetheory.dynamics.rules import WeightDecaySDE
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
from sdetheory.integrators.clocks import times_uniform_in_noise_clock
from sdetheory.models.noise import Covariance, Isotropic
from sdetheory.models.scale_invariant import VonMisesFisher
from sdetheory.observers import Coordinate, SquaredNorm
from sdetheory.simulation import simulate

SEEN = {"u": Coordinate(0), "square": SquaredNorm()}  # the same everywhere: one compilation a scheme
compiled = pytest.mark.compiled


# ---- T7: coupled levels


RUNS = {}  # by name: as tuples, schemes without parameters are all equal


def coupled(integrator, h):
    if (repr(integrator), h) not in RUNS:
        RUNS[repr(integrator), h] = _coupled(integrator, h)
    return RUNS[repr(integrator), h]


def _coupled(integrator, h):
    chosen = case("von_mises_fisher", 16, 0.5, lr=0.23, weight_decay=0.06, sigma=0.7)
    dt = h / chosen.intrinsic_lr
    ts = dt * np.arange(20, 41, 10)
    rates = WeightDecaySDE(chosen.lr, chosen.weight_decay)
    return (
        chosen,
        rates,
        ts,
        simulate(
            chosen.model,
            rates,
            chosen.starts(2000),
            ts,
            noise=chosen.noise,
            dt=dt,
            seed=3,
            integrator=integrator,
            observe=SEEN,
            progress=False,
        ),
    )


@compiled
def test_t7_levels_stay_close_and_extrapolation_costs_no_variance():
    _, _, _, run = coupled(Richardson(StrangGeodesic()), 0.2)
    fine, coarse = run.views["u"]
    share = (fine - coarse).var() / fine.var()
    assert 0.005 < share < 0.1, share
    assert run.values["u"].var() / fine.var() < 1.25, run.values["u"].var() / fine.var()
    np.testing.assert_allclose(run.values["u"], (4 * fine - coarse) / 3, rtol=1e-12)


@compiled
def test_t7_levels_are_the_scheme_at_both_step_sizes():
    chosen, rates, ts, run = coupled(Richardson(StrangGeodesic()), 0.2)
    for view, (dt, coarsen) in enumerate(((0.1, 1), (0.2, 2))):
        alone = simulate(
            chosen.model,
            rates,
            chosen.starts(2000),
            ts,
            noise=chosen.noise,
            dt=dt / chosen.intrinsic_lr,
            seed=3,
            coarsen=coarsen,
            integrator=StrangGeodesic(),
            observe=SEEN,
            progress=False,
        )
        np.testing.assert_allclose(run.views["u"][view], alone.values["u"], rtol=0, atol=1e-12)


@compiled
def test_averaged_observations_see_the_middle_of_the_same_paths():
    chosen, rates, ts, run = coupled(StrangAveraged(), 0.1)
    alone = simulate(
        chosen.model,
        rates,
        chosen.starts(2000),
        ts,
        noise=chosen.noise,
        dt=0.1 / chosen.intrinsic_lr,
        seed=3,
        integrator=StrangGeodesic(),
        observe=SEEN,
        progress=False,
    )
    end, before, after = run.views["u"]
    np.testing.assert_allclose(end, alone.values["u"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(run.values["u"], 0.5 * before + 0.5 * after)
    assert before.mean() > end.mean() > after.mean(), "the drift raises u before the noise lowers it"


@compiled
def test_simpson_observations_and_their_extrapolation_weigh_the_same_views():
    _, _, _, averaged = coupled(StrangAveraged(), 0.1)
    _, _, _, run = coupled(StrangSimpson(), 0.1)
    _, _, _, both = coupled(Richardson(StrangSimpson()), 0.2)
    _, _, _, plain = coupled(Richardson(StrangGeodesic()), 0.2)
    np.testing.assert_array_equal(run.views["u"], averaged.views["u"])
    end, before, after = run.views["u"]
    np.testing.assert_allclose(run.values["u"], (4 * end + before + after) / 6, rtol=0, atol=1e-15)
    levels = both.views["u"].reshape(2, 3, *end.shape)
    np.testing.assert_allclose(levels[:, 0], plain.views["u"], rtol=0, atol=1e-12)
    simpson = np.tensordot(levels, np.array([4, 1, 1]) / 6, (1, 0))
    np.testing.assert_allclose(both.values["u"], (4 * simpson[0] - simpson[1]) / 3, rtol=0, atol=1e-14)


@compiled
@pytest.mark.parametrize("scheme", [StrangAveraged(), StrangSimpson()], ids=lambda i: type(i).__name__)
def test_the_views_have_the_time_of_the_state(scheme):
    """Without noise and decay the state is exact and Phi w, Phi^-1 w lie half a step to both sides of it."""
    chosen = case("von_mises_fisher", 3, 0.5)
    w0, lr, end = np.array([-0.6, 0.8, 0.0]), 0.1, 12.0
    rate = lr * chosen.model.k
    exact = lambda t: np.tanh(rate * t + np.arctanh(-0.6))
    errors = []
    for dt in (2.0, 1.0):
        run = simulate(
            chosen.model, WeightDecaySDE(lr, 0.0), w0, [0.0, end], noise=Isotropic(0.0), dt=dt, integrator=scheme,
            observe=SEEN, progress=False,
        )  # fmt: skip
        seen = run.views["u"][:, 0] / np.sqrt(run.values["square"][0])
        np.testing.assert_allclose(seen[:, 0], -0.6, rtol=0, atol=1e-14)
        np.testing.assert_allclose(seen[:, 1], exact(end + dt * np.array([0, 0.5, -0.5])), rtol=0, atol=1e-12)
        errors.append(np.dot(scheme.weights, seen[:, 1]) - exact(end))
    assert abs(errors[0] / errors[1] - 4) < 0.2, errors


# ---- T9, T10: symmetries, path by path

SCHEMES = [EulerMaruyama(), ProjectedEulerMaruyama(), StrangGeodesic(), StrangFrozen(), Flow2()]


@compiled
@given(
    w=hnp.arrays(float, (6, 3), elements=st.floats(-2, 2)),
    z=hnp.arrays(float, (6, 3), elements=st.floats(-3, 3)),
    turn=hnp.arrays(float, (3, 3), elements=st.floats(-1, 1)),
)
@pytest.mark.parametrize("integrator", SCHEMES, ids=lambda i: type(i).__name__)
def test_t9_rotations_commute_with_a_step(integrator, w, z, turn):
    w = w + 0.5 * np.sign(w.sum(1, keepdims=True) + 0.1) * np.ones(3)
    w = w[np.linalg.norm(w, axis=1) > 0.3]
    q = np.linalg.qr(turn + 3 * np.eye(3))[0]
    mu, rates = np.array([0.6, 0.0, 0.8]), {"lr": 0.3, "weight_decay": 0.05, "dt": 2.0}
    root = np.diag([0.5, 0.7, 0.9])
    isotropic = isinstance(integrator, StrangGeodesic)
    noise, turned = (Isotropic(0.5), Isotropic(0.5)) if isotropic else (Covariance(root), Covariance(q @ root))
    plain = steps(integrator, VonMisesFisher(mu, 0.4), noise, w, z[: len(w)], **rates)
    other = steps(
        integrator,
        VonMisesFisher(q @ mu, 0.4),
        turned,
        w @ q.T,
        z[: len(w)] @ (q.T if isotropic else np.eye(3)),
        **rates,
    )
    np.testing.assert_allclose(other, plain @ q.T, rtol=1e-12, atol=1e-12 * max(1.0, np.abs(plain).max()))


@compiled
@given(c=st.floats(0.05, 20), z=hnp.arrays(float, (8, 3), elements=st.floats(-3, 3)))
@pytest.mark.parametrize("integrator", SCHEMES, ids=lambda i: type(i).__name__)
@pytest.mark.claim("I12", kind="property")
def test_t10_only_the_product_and_gamma_matter(integrator, c, z):
    """(lr, wd, w) and (c^2 lr, wd/c^2, c w) have the same lr wd and gamma: the same directions."""
    noise = Isotropic(0.5) if isinstance(integrator, StrangGeodesic) else Covariance(np.diag([0.5, 0.7, 0.9]))
    model, start = VonMisesFisher(np.array([0.6, 0.0, 0.8]), 0.4), np.array([[0.5, -0.9, 0.2]])
    w, other = start, c * start
    for row in z:
        w = steps(integrator, model, noise, w, row[None], lr=0.3, weight_decay=0.05, dt=2.0)
        other = steps(integrator, model, noise, other, row[None], lr=0.3 * c * c, weight_decay=0.05 / c**2, dt=2.0)
    np.testing.assert_allclose(other / c, w, rtol=1e-11, atol=1e-12)


# ---- T11 and transients


MILD = {"lr": 0.23, "weight_decay": 0.06, "sigma": 0.7}


def even(count):
    """`count` equal steps to T = 1/(lr wd)."""
    return np.linspace(0, 1 / (MILD["lr"] * MILD["weight_decay"]), count + 1)


@compiled
@pytest.mark.claim("I8", kind="property")
def test_t11_extrapolations_of_two_schemes_agree():
    """E u_T from u = -.6 at T = 1/(lr wd): extrapolated projected Euler and extrapolated splitting."""
    setting = isotropic_setting("von_mises_fisher", 16, 0.5, **MILD)
    full = setting._replace(noise=Covariance(MILD["sigma"] * np.eye(16)))
    plain = {n: transient(full, ProjectedEulerMaruyama(), even(n), -0.6) for n in (32, 64, 128)}
    strang = {n: transient(setting, StrangGeodesic(), even(n), -0.6) for n in (32, 64)}
    first = {n: 2 * plain[n] - plain[n // 2] for n in (64, 128)}
    best = (4 * first[128] - first[64]) / 3  # second extrapolation: order 3
    other = (4 * strang[64] - strang[32]) / 3
    report = plain, strang, first[128], best, other
    assert abs(first[128] - other) < 2e-4 and abs(best - other) < 2e-5, report
    assert abs(plain[128] - other) > 1e-3, "without extrapolation they differ visibly"


@compiled
def test_transient_errors_are_the_published_ones():
    """|error of E u_T| 1.8e-3, 4.4e-4, 1.1e-4 with 4, 8, 16 steps to T = 1/(lr wd) (d = 16, from u = -.6)."""
    setting = isotropic_setting("von_mises_fisher", 16, 0.5, **MILD)
    means = {n: transient(setting, StrangGeodesic(), even(n), -0.6) for n in (4, 8, 16, 32, 64)}
    exact = (4 * means[64] - means[32]) / 3
    errors = [abs(means[n] - exact) for n in (4, 8, 16)]
    np.testing.assert_allclose(errors, [1.8e-3, 4.4e-4, 1.1e-4], rtol=0.05)


@compiled
def test_steps_uniform_in_the_noise_clock_keep_order_two_from_a_small_norm():
    """gamma_0 = .01 gamma_*: 1.7e-3, 4.4e-4 with 8, 16 steps uniform in A; 2.9e-3 with 8 equal steps."""
    setting = isotropic_setting("von_mises_fisher", 16, 0.5, degree=10, **MILD)
    gamma = 0.01 * setting.gamma.nodes[0]

    def clocked(count):
        return times_uniform_in_noise_clock(
            count,
            even(1)[1],
            lr=MILD["lr"],
            weight_decay=MILD["weight_decay"],
            trace=15 * MILD["sigma"] ** 2,
            square_norm=MILD["lr"] * np.sqrt(gamma),
        )

    grids = clocked(8), clocked(16), clocked(32), even(8)
    means = [transient(setting, StrangGeodesic(), grid, -0.6, gamma, nodes=8) for grid in grids]
    exact = (4 * means[2] - means[1]) / 3
    errors = [abs(means[k] - exact) for k in (0, 1, 3)]
    np.testing.assert_allclose(errors, [1.7e-3, 4.4e-4, 2.9e-3], rtol=0.1)


@pytest.mark.compiled
def test_values_do_not_depend_on_whether_views_are_kept():
    """The combination is made where the state is: bit by bit the same, and the sum of the views up to rounding."""
    options = dict(noise=Isotropic(0.4), integrator=Richardson(StrangSimpson()), dt=4.0, paths=37, seed=3)
    options |= dict(observe={"u": Coordinate(0), "square": SquaredNorm()}, threads=2)
    dynamics = WeightDecaySDE(0.1, 0.1)
    model = VonMisesFisher(np.eye(3)[0], 0.3)
    kept, dropped = (
        simulate(model, dynamics, np.ones(3), [0.0, 8.0, 12.0], keep_views=keep, **options) for keep in (True, False)
    )
    assert dropped.views == {} and kept.views["u"].shape == (6, 37, 3), kept.views["u"].shape
    for name in ("u", "square"):
        assert np.array_equal(kept[name], dropped[name]), name
        weights = np.array(Richardson(StrangSimpson()).weights)
        summed = np.tensordot(weights, kept.views[name], 1)
        np.testing.assert_allclose(kept[name], summed, rtol=1e-13, atol=1e-13)
    whole = simulate(model, dynamics, np.ones(3), [0.0, 8.0, 12.0], **options | {"width": 8, "threads": 1})
    assert np.array_equal(whole.views["u"], kept.views["u"]) and np.array_equal(whole["u"], kept["u"])
