"""Stein's identity of the stationary direction: zero under the exact laws, and what it does for time averages."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from numba import njit
from scipy import special

import sdetheory as st
from benchmarks.equilibrium_cases import bingham_second_moment, von_mises_fisher_kappa
from sdetheory.integrators import Richardson, StrangSimpson
from sdetheory.lanes.vector import float_rows, lane_array
from sdetheory.lanes.verbs import channels, measure_all, workspace
from sdetheory.observers import Coordinate, Cosine, Loss
from sdetheory.plugins import canonical
from sdetheory.predictions import intrinsic_lr
from sdetheory.stationary import IdentityOf, StationaryIdentity, stationary_identity

LR, WEIGHT_DECAY, SIGMA = 0.05, 0.02, 0.7  # none of them a value of the benchmarks
RUN = st.WeightDecaySDE(LR, WEIGHT_DECAY)
NOISE = st.Isotropic(SIGMA)
FULL = np.array([[0.05, 0.02, 0.0], [0.02, 0.0, 0.01], [0.0, 0.01, -0.03]])


@njit(error_model="numpy")
def look(observer, w, out, work):
    """The observer alone, block by block: compiles in a tenth of the time of a run."""
    for block in range(w.shape[0]):
        measure_all(observer, w[block], out[block], work)


def seen(observer, w):
    """(channels, n): an observer's values at states w (n, d)."""
    n, d = w.shape
    observer = canonical(observer, d)
    count, blocks = channels.python(observer), -(-n // 8)
    lanes, out = lane_array((blocks, d), 8), lane_array((blocks, count), 8)
    float_rows(lanes)[:] = w[np.arange(8 * blocks) % n].reshape(blocks, 8, d).transpose(0, 2, 1)
    look(observer, lanes, out, lane_array(workspace.python(observer, d) + 1, 8))
    return float_rows(out).transpose(1, 0, 2).reshape(count, -1)[:, :n]


def zonal(d, count=60):
    """Quadrature of the uniform law on the sphere for functions of w_1: states (n, d) and masses."""
    u, mass = special.roots_jacobi(count, (d - 3) / 2, (d - 3) / 2)
    w = np.zeros((count, d))
    w[:, 0], w[:, 1] = u, np.sqrt(1.0 - u * u)
    return w, mass / mass.sum()


def sphere(count=40):
    """Quadrature of the uniform law on the sphere in three dimensions."""
    z, mass = special.roots_legendre(count)
    angle = 2 * np.pi * np.arange(2 * count) / (2 * count)
    side = np.sqrt(1.0 - z * z)[:, None]
    w = np.stack([side * np.cos(angle), side * np.sin(angle), np.broadcast_to(z[:, None], (count, 2 * count))], axis=-1)
    return w.reshape(-1, 3), np.repeat(mass / mass.sum() / (2 * count), 2 * count)


def means(model, beta, w, mass, powers=4, wrong=1.0):
    """E T phi_k over E |T phi_k| under the density exp(-beta L)."""
    identity = StationaryIdentity(model, wrong * beta, powers)
    law = mass * np.exp(-beta * seen(Loss(model), w)[0])
    values = seen(identity, w)
    return values @ law / (np.abs(values) @ law)


@pytest.mark.claim("I57", kind="property")
@given(d=some.integers(2, 40), kappa=some.floats(0.5, 20), scale=some.floats(0.2, 3), bingham=some.booleans())
@example(d=2, kappa=1.0, scale=1.0, bingham=True)
@settings(max_examples=15)
def test_the_identity_is_zero_under_the_exact_laws(d, kappa, scale, bingham):
    """By quadrature, at states of any norm; and not zero when beta is 10 % off."""
    axis = np.eye(d)[0]
    model = st.Rayleigh(kappa * axis) if bingham else st.VonMisesFisher(axis, kappa)
    w, mass = zonal(d)
    found = means(model, 1.0, scale * w, mass)
    assert np.abs(found).max() < 1e-9, found
    wrong = means(model, 1.0, scale * w, mass, wrong=1.1)
    assert np.abs(wrong[0]) > 1e-3, wrong


@pytest.mark.claim("I57", kind="property")
@given(a=arrays(np.float64, (3, 3), elements=some.floats(-2, 2)), beta=some.floats(0.1, 3))
@example(a=np.zeros((3, 3)), beta=1.0)
@settings(max_examples=10)
def test_the_identity_is_zero_for_a_full_spectrum(a, beta):
    model = st.RayleighQuotient(a + a.T)
    w, mass = sphere()
    values = seen(StationaryIdentity(model, beta, 4), w)
    law = mass * np.exp(-beta * seen(Loss(model), w)[0])
    found = values @ law / np.maximum(np.abs(values) @ law, 1e-12)
    assert np.abs(found).max() < 1e-8, found


@given(
    a=arrays(np.float64, (3, 3), elements=some.floats(-2, 2)),
    b=arrays(np.float64, (3, 3), elements=some.floats(-2, 2)),
    beta=some.floats(0.1, 3),
)
@example(a=np.diag([0.0, 1.0, 2.0]), b=np.diag([0.0, 1.0, 4.0]), beta=2.0)
@settings(max_examples=10)
def test_the_identity_of_a_function_of_ones_own(a, b, beta):
    """Zero under the law of the model, not of the function; for the loss itself it is the first power's."""
    model, function = st.RayleighQuotient(a + a.T), st.RayleighQuotient(b + b.T)
    w, mass = sphere()
    law = mass * np.exp(-beta * seen(Loss(model), w)[0])
    values = seen(IdentityOf(model, function, beta), 1.7 * w)[0]
    size = max(np.abs(values) @ law, 1e-9)
    assert abs(values @ law) / size < 1e-8, (values @ law, size)
    same = seen(IdentityOf(model, model, beta), w)[0] - seen(StationaryIdentity(model, beta, 1), w)[0]
    assert np.abs(same).max() < 1e-11 * (1 + beta * np.abs(a).max() ** 2), same


@given(w=arrays(np.float64, 4, elements=some.floats(-1, 1)), a=arrays(np.float64, 4, elements=some.floats(-1, 1)))
@example(w=np.zeros(4), a=np.ones(4))
def test_the_laplacian_is_the_divergence_of_the_gradient(w, a):
    """|w|^2 div grad L by central differences of the model's own gradient kernel."""
    w = w + np.array([1.5, 0.0, 0.0, 0.0])
    d, h = 4, 1e-4
    full = np.outer(a, a[::-1]) + np.diag(a)
    models = [st.Rayleigh(a), st.RayleighQuotient(full + full.T), st.VonMisesFisher(a, 0.8), st.Circle(a[0])]
    for model in models:
        x = w[:2] if isinstance(model, st.Circle) else w
        d = x.size
        slope = lambda i, x=x, d=d, model=model: (
            st.evaluate.gradient(model, x + h * np.eye(d)[i])[i] - st.evaluate.gradient(model, x - h * np.eye(d)[i])[i]
        )
        divergence = (x @ x) * sum(slope(i) for i in range(d)) / (2 * h)
        # T L = Laplace L - beta |grad L|^2: beta = 0 leaves the Laplacian
        found = seen(StationaryIdentity(model, 0.0, 1), x[None])[0, 0]
        assert abs(found - divergence) < 1e-5, (model, x, found, divergence)


@pytest.mark.compiled
def test_beta_is_the_predicted_one():
    for d in (2, 5, 128):
        found = stationary_identity(st.Rayleigh(np.ones(d)), RUN, NOISE, d).inverse_temperature
        law = intrinsic_lr.inverse_temperature(dimension=d, noise=SIGMA, lr=LR, weight_decay=WEIGHT_DECAY)
        assert found == pytest.approx(float(law), rel=1e-13), (d, found, law)


def stationary_run(model, d, observe, paths=384, h=0.1, length=24.0, **options):
    """Richardson(StrangSimpson) from the uniform law, `length` relaxation times of the norm, seen every 2 h."""
    w0 = np.random.default_rng(5).standard_normal((paths, d))
    dt = 2 * h / (LR * WEIGHT_DECAY)
    ts = dt * np.arange(round(length / (2 * h)) + 1)
    given = {"integrator": Richardson(StrangSimpson()), "dt": dt, "threads": 1, "progress": False, "keep_views": False}
    identity = stationary_identity(model, RUN, NOISE, d)
    return st.simulate(model, RUN, w0, ts, noise=NOISE, observe={**observe, "identity": identity}, **given | options)


AFTER = 6.0 / (LR * WEIGHT_DECAY)


@pytest.mark.compiled
@pytest.mark.claim("I57", kind="simulation")
def test_von_mises_fisher_mean_and_the_variance_left():
    """kappa = 2.6, d = 5: the controls leave less than a thousandth of the variance, and the estimate is right."""
    axis, d = np.ones(5) / np.sqrt(5.0), 5
    beta = stationary_identity(st.VonMisesFisher(axis, 1.0), RUN, NOISE, d).inverse_temperature
    model = st.VonMisesFisher(axis, 2.6 / beta)
    run = stationary_run(model, d, {"u": Cosine(axis), "warm": StationaryIdentity(model, 1.6 * beta, 1)})
    plain, found = run.average("u", after=AFTER), run.average("u", after=AFTER, controls="identity")
    exact = float(special.ive(d / 2, 2.6) / special.ive(d / 2 - 1, 2.6))
    assert von_mises_fisher_kappa(d, exact) == pytest.approx(2.6)
    for result, margin in ((plain, 0.0), (found, 1e-5)):  # margin: bias of the scheme, to be seen by the second only
        assert abs(result.estimate - exact) < 6 * result.standard_error + margin, (result, exact)
    assert 12 * found.standard_error + 2e-5 < 5e-4, found  # a deviation of 5e-4 would be seen
    assert found.variance_ratio < 1e-3, found
    assert np.abs(found.deviations).max() < 5, found.deviations


@pytest.mark.compiled
def test_functions_that_are_not_the_loss_and_the_honest_limit():
    """A matrix with three eigenvalues: gains for the loss and another even function, none for an odd one; an
    identity of a function of one's own adds to them."""
    scale = 1.0 / (0.05 * stationary_identity(st.RayleighQuotient(FULL), RUN, NOISE, 3).inverse_temperature)
    model, other = st.RayleighQuotient(3.0 * scale * FULL), st.Rayleigh(np.array([0.0, 0.0, 1.0]))
    own = stationary_identity(model, RUN, NOISE, 3, of=other)
    observe = {"loss": Loss(model), "square": Loss(other), "odd": Coordinate(0), "own": own}
    run = stationary_run(model, 3, observe, h=0.05)
    w, mass = sphere()
    beta = stationary_identity(model, RUN, NOISE, 3).inverse_temperature
    law = mass * np.exp(-beta * seen(Loss(model), w)[0])
    law /= law.sum()
    exact = {"loss": seen(Loss(model), w)[0] @ law, "square": w[:, 2] ** 2 @ law, "odd": 0.0}
    ratios = {}
    for name, value in exact.items():
        found = run.average(name, after=AFTER, controls="identity")
        ratios[name] = found.variance_ratio
        assert abs(found.estimate - value) < 6 * found.standard_error, (name, found, value)
        assert 12 * found.standard_error < (0.2 if name == "odd" else 0.1 * abs(value)), (name, found, value)
    assert ratios["loss"] < 0.45 and ratios["square"] < 0.95 and ratios["odd"] > 0.9, ratios
    found = run.average("square", after=AFTER, controls=["identity", "own"])
    assert abs(found.estimate - exact["square"]) < 6 * found.standard_error, (found, exact)
    assert found.variance_ratio < 0.6 * ratios["square"], (found, ratios)


@pytest.mark.compiled
@pytest.mark.claim("I57", kind="simulation")
def test_deviations_tell_a_run_that_is_not_at_equilibrium():
    """Averaged from the uniform start on, or with a temperature 60 % off, the identity is not zero."""
    axis, d = np.eye(3)[0], 3
    beta = stationary_identity(st.VonMisesFisher(axis, 1.0), RUN, NOISE, d).inverse_temperature
    model = st.VonMisesFisher(axis, 2.0 / beta)
    extra = {"u": Cosine(axis), "warm": StationaryIdentity(model, 1.6 * beta, 1)}
    run, begun = (stationary_run(model, d, extra, length=length) for length in (12.0, 2.0))
    late, early = run.average("u", after=AFTER, controls="identity"), begun.average("u", controls="identity")
    assert np.abs(late.deviations).max() < 5 and np.abs(early.deviations).max() > 8, (late.deviations, early.deviations)
    warm = run.average("u", after=AFTER, controls="warm")
    assert np.abs(warm.deviations[0]) > 8, warm.deviations


@pytest.mark.compiled
def test_average_is_over_paths_pairs_and_batches():
    axis = np.eye(3)[0]
    model = st.VonMisesFisher(axis, 0.02)
    extra = {"u": Cosine(axis), "warm": StationaryIdentity(model, 1.0, 1)}
    run = stationary_run(model, 3, extra, paths=16, length=4.0)
    kept = run["u"][:, run.ts >= 1000.0]
    plain = run.average("u", after=1000.0)
    assert plain.estimate == pytest.approx(kept.mean(), rel=1e-12) and plain.samples == 16, plain
    cut = run.average("u", after=1000.0, batches=3, controls=["identity_1"])
    size = kept.shape[1] // 3
    assert cut.samples == 48 and cut.coefficients.shape == (1,), cut
    y, c = (run[name][:, -3 * size :].reshape(16, 3, size).mean(2).ravel() for name in ("u", "identity_1"))
    slope, intercept = np.polyfit(c, y, 1)
    assert cut.fitted == pytest.approx(intercept, rel=1e-10), (cut, intercept)
    assert cut.coefficients[0] == pytest.approx(slope, rel=1e-10), (cut, slope)
    for call, error, message in (
        (lambda: run.average("v"), KeyError, "one of u, warm, identity_1"),
        (lambda: run.average("u", controls="stein"), KeyError, "'stein'"),
        (lambda: run.average("u", after=1e9), ValueError, "`after` must leave at least batches=1"),
        (lambda: run.average("u", batches=0), ValueError, "`batches` must be at least 1"),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: StationaryIdentity(st.Equator(), 1.0).validated(3), TypeError, "no `laplacian`"),
        (lambda: IdentityOf(st.Circle(), st.Equator(), 1.0).validated(3), TypeError, "no `laplacian`"),
        (lambda: IdentityOf(st.scalar_chain(2), st.Circle(), 1.0).validated(2), ValueError, "scale invariant"),
        (lambda: StationaryIdentity(st.Circle(), 1.0, 0).validated(2), ValueError, "`powers`"),
        (lambda: StationaryIdentity(st.Circle(), np.inf).validated(2), ValueError, "`inverse_temperature`"),
        (lambda: StationaryIdentity(st.Circle(), 1.0).validated(1), ValueError, "d >= 2"),
        (lambda: StationaryIdentity(st.scalar_chain(2), 1.0).validated(2), ValueError, "scale invariant"),
        (
            lambda: st.simulate(
                st.Circle(), RUN, [1.0, 0.0], [1], noise=NOISE,
                observe={"s": StationaryIdentity(st.Circle(), 1.0, 2), "s_2": Loss(st.Circle())},
            ),
            ValueError,
            "s_2 more than once",
        ),
        (lambda: stationary_identity(st.Circle(), st.SGD(0.1, 0.1), NOISE, 2), TypeError, "WeightDecaySDE"),
        (lambda: stationary_identity(st.Circle(), st.WeightDecaySDE(0.1, 0.0), NOISE, 2), ValueError, "`weight_decay`"),
    ],
)
def test_what_has_no_identity_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_bingham_law_of_the_quadrature_is_the_one_of_the_cases():
    """The zonal quadrature used above against a closed form."""
    w, mass = zonal(7)
    law = mass * np.exp(-4.0 * w[:, 0] ** 2)
    assert law @ w[:, 0] ** 2 / law.sum() == pytest.approx(bingham_second_moment(7, 4.0), rel=1e-12)
