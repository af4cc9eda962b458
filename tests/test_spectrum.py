"""Spectral solver of the direction's generator: exact spectra, 900-bit inertia, enclosures, Kramers, simulations."""

import flint
import numpy as np
import pytest
import sympy as sp
from hypothesis import example, given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from numpy.polynomial import Polynomial
from scipy import integrate

import sdetheory as st
from proofs_check.judge import Undecided
from proofs_check.spectrum import gap_enclosed
from sdetheory.predictions import intrinsic_lr
from sdetheory.spectrum import circle, zonal
from sdetheory.statistics import mean_test

CASES = [(1, 20, 200), (1, 5, 100), (3, 10, 50), (0, 1, 30)]  # height, its divisor, 1/(lr wd)
NOTHING = lambda u: 0.0 * u


def beta(product, dimension, noise=1.0):
    return intrinsic_lr.inverse_temperature(lr=1.0, weight_decay=product, dimension=dimension, noise=noise)


# ---- against certified numbers


@pytest.mark.claim("I32", kind="property")
@pytest.mark.parametrize("parity", ["even", "odd"])
@pytest.mark.parametrize(("height", "divisor", "steps"), CASES)
def test_gaps_lie_in_their_enclosures(height, divisor, steps, parity):
    """The solver's gap +- 1e-5 is proved by 24 Fourier modes in balls; the solver shares nothing with that."""
    ratio = circle(([0, 0, height / divisor / 2], []), beta(1 / steps, 2)).gap(parity)
    near = sp.Rational(round(ratio * 10**6), 10**6)
    width = sp.Rational(1, 10**5) * max(near, 1)
    h, product = sp.Rational(height, divisor), sp.Rational(1, steps)
    verdict = gap_enclosed("gap", parity == "odd", h, product, near - width, near + width)
    assert verdict.proved, (ratio, verdict)


def test_false_enclosures_are_refuted():
    h, product = sp.Rational(1, 10), sp.Rational(1, 100)
    for low, high in (("4.2", "4.3"), ("4.4", "4.5")):
        verdict = gap_enclosed("gap", False, h, product, sp.Rational(low), sp.Rational(high))
        assert verdict.refuted and verdict.witness, verdict


def test_too_few_modes_are_undecided():
    with pytest.raises(Undecided, match="modes"):
        gap_enclosed("gap", False, sp.Integer(100), sp.Rational(1, 10**6), sp.Integer(4), sp.Integer(5))


def schrodinger(cosines, sines, strength):
    """Fourier coefficients of U'^2/4 - U''/2, U = strength L, as {degree: ball}."""
    energy = {}
    for k, (c, s) in enumerate(zip(cosines, sines, strict=True)):
        if k and (c or s):
            half = flint.acb(float(c), -float(s)) * flint.arb(float(strength)) / 2
            energy |= {k: half, -k: flint.acb(half.real, -half.imag)}
    potential = {k: a * (k * k) / 2 for k, a in energy.items()}
    for j, a in energy.items():
        for k, b in energy.items():
            potential[j + k] = potential.get(j + k, flint.acb(0)) - a * b * (j * k) / 4
    return potential


def below(potential, level, modes=130):
    """Number of eigenvalues of -d2 + potential below the level: negative pivots, 900 bits."""
    width, size = max(potential, default=0), 2 * modes + 1
    rows = [{} for _ in range(size)]
    for i in range(size):
        for j in range(i, min(size, i + width + 1)):
            rows[i][j] = potential.get(i - j, flint.acb(0)) + (((i - modes) ** 2 - flint.arb(level)) if i == j else 0)
    negative = 0
    for i in range(size):
        pivot = rows[i][i].real
        assert pivot > 0 or pivot < 0
        negative += bool(pivot < 0)
        for j in range(i + 1, min(size, i + width + 1)):
            factor = flint.acb(rows[i][j].real, -rows[i][j].imag) / pivot
            for k in range(j, min(size, i + width + 1)):
                rows[j][k] = rows[j][k] - factor * rows[i][k]
    return negative


unit = some.floats(-1, 1, width=16)


@given(cosines=arrays(float, 4, elements=unit), sines=arrays(float, 4, elements=unit), strength=some.floats(0.5, 20))
@example(cosines=np.array([0, 0.3, 1, 0]), sines=np.array([0, 0.2, 0, 0]), strength=40.0)
@example(cosines=np.array([0, 0.05, 0.3, 1]), sines=np.array([0, 0.2, 0, 0.2]), strength=25.0)
@example(cosines=np.array([0, 0, 1.0, 0]), sines=np.zeros(4), strength=30.0)
def test_each_rate_lies_within_its_error_of_an_eigenvalue(cosines, sines, strength):
    """Any trigonometric polynomial: inertia at 900 bits counts k eigenvalues below rate_k (1 - error), and more
    below rate_k (1 + error); deep unequal wells lose digits, and say so."""
    saved, flint.ctx.prec = flint.ctx.prec, 900
    try:
        found = circle((cosines, sines), strength, count=3)
        potential = schrodinger(cosines, sines, strength)
        for k, (rate, error) in enumerate(zip(found.rates, found.errors, strict=True), 1):
            few, many = below(potential, rate * (1 - error)), below(potential, rate * (1 + error))
            assert few <= k < many, (k, rate, error, few, many)
    finally:
        flint.ctx.prec = saved


@pytest.mark.claim("I29", kind="property")
@pytest.mark.parametrize("d", [2, 3, 4, 7, 64, 400])
def test_without_loss_the_rates_are_those_of_spherical_harmonics(d):
    rate = lambda degrees: intrinsic_lr.harmonic_rate(lr=1.0, weight_decay=1.0, dimension=d, degree=degrees)
    for m in range(2 if d == 2 else 3):
        found = zonal(NOTHING, 1.0, dimension=d, degree=m, count=6)
        wanted = rate(np.arange(max(m, 1), max(m, 1) + 6))
        assert (np.abs(found.rates / wanted - 1) <= found.errors).all(), (m, found.rates / wanted - 1, found.errors)
    if d == 2:
        found = circle(NOTHING, 1.0, count=6)
        assert np.allclose(found.rates, rate(np.array([1, 1, 2, 2, 3, 3])), rtol=1e-13), found.rates
        assert list(found.parities) == [-1, -1, 1, 1, -1, -1], found.parities


def test_high_dimension_does_not_pass_rounding_for_a_gap():
    """d = 200, a mild linear loss: the polynomials of the inverse reach 1e100 at the poles; the gap stays near 1 and
    above Bakry and Emery's bound (d - 2 - beta k)/(d - 1), below the Rayleigh quotient of u."""
    found = zonal(lambda u: -0.5 * u, 40.0, dimension=200, count=3)
    mean, square = (found.expectation(lambda u, k=k: u**k) for k in (1, 2))
    assert (200 - 2 - 20) / 199 < found.gap() < (1 - square) / (square - mean**2) / 199, found.rates
    assert found.errors.max() < 1e-12, found.errors


@given(slopes=arrays(float, 3, elements=unit), strength=some.floats(0.5, 15))
@example(slopes=np.array([0.02, -0.1, 0.0]), strength=141.0)
def test_the_plane_is_the_circle(slopes, strength):
    """d = 2: degrees 0 and 1 of the zonal solver are the cosines and sines of the other."""
    loss = Polynomial([0, *slopes])
    whole = circle(lambda angle: loss(np.cos(angle)), strength, count=6)
    parts = [zonal(loss, strength, dimension=2, degree=m, count=6).rates for m in (0, 1)]
    both = np.sort(np.concatenate(parts))[:6]
    assert np.allclose(whole.rates, both, rtol=1e-12 + 2 * whole.errors.max()), (whole.rates, both)


def by_monomials(slopes, strength, d, m, size=60):
    """Rates from the unsymmetric matrix of -G g = -(1 - u2) g'' + (2m + d - 1) u g' + m (m + d - 2) g + beta v'
    ((1 - u2) g' - m u g) on powers of u, 200 bits."""
    pull, u = strength * Polynomial([0, *slopes]).deriv(), Polynomial([0, 1])
    matrix = flint.acb_mat(size, size)
    for n in range(size):
        g = u**n
        image = -(1 - u**2) * g.deriv(2) + (2 * m + d - 1) * u * g.deriv() + m * (m + d - 2) * g
        image = image + pull * ((1 - u**2) * g.deriv() - m * u * g)
        for row, value in enumerate(image.coef[:size]):
            matrix[row, n] = flint.acb(float(value))
    return np.sort([float(x.real) for x in matrix.eig(algorithm="approx")]) / (d - 1)


@pytest.mark.parametrize(("d", "m"), [(3, 0), (3, 1), (6, 2)])
def test_zonal_rates_are_those_of_the_unsymmetric_generator(d, m):
    saved, flint.ctx.prec = flint.ctx.prec, 400
    try:
        slopes = np.array([0.5, -0.75, 0.25])  # exact in binary
        wanted = by_monomials(slopes, 4.0, d, m)
    finally:
        flint.ctx.prec = saved
    found = zonal(Polynomial([0, *slopes]), 4.0, dimension=d, degree=m, count=3)
    wanted = wanted[(m == 0) : 3 + (m == 0)]
    assert np.allclose(found.rates, wanted, rtol=1e-11), (found.rates, wanted)


# ---- densities, covariances


@pytest.mark.claim("I30", kind="property")
@pytest.mark.parametrize("d", [3, 8])
def test_stationary_mean_is_that_of_von_mises_fisher(d):
    rates = {"lr": 0.1, "weight_decay": 0.03, "dimension": d, "noise": 0.7}
    found = zonal(lambda u: -0.4 * u, intrinsic_lr.inverse_temperature(**rates), dimension=d)
    assert np.isclose(found.expectation(lambda u: u), intrinsic_lr.vmf_mean(strength=0.4, **rates), rtol=1e-12)


def test_covariances_start_at_the_variance_and_means_at_the_start():
    found = circle(lambda a: np.cos(a) ** 2 - 0.3 * np.sin(a), 3.0, count=40)
    f, weight = lambda a: np.cos(a) + 0.2 * np.sin(3 * a), lambda a: 1.2 + np.sin(a)
    variance = found.expectation(lambda a: f(a) ** 2) - found.expectation(f) ** 2
    assert np.isclose(found.covariance(f, [0.0])[0], variance, rtol=1e-12)
    assert np.isclose(found.mean(f, [0.0], weight)[0], found.expectation(f, weight), rtol=1e-12)
    assert np.isclose(found.mean(f, [200.0], weight)[0], found.expectation(f), rtol=1e-10)
    law = found.law([0.0, 0.7], weight) * found.weights
    assert np.allclose(law @ f(found.nodes), found.mean(f, [0.0, 0.7], weight), rtol=1e-10), law.sum(axis=1)
    slope = (found.covariance(f, [1e-5])[0] - variance) / 1e-5
    energy = found.expectation(lambda a: (-np.sin(a) + 0.6 * np.cos(3 * a)) ** 2)  # -<f, G f> = E f'^2
    assert np.isclose(slope, -energy, rtol=1e-3), (slope, energy)


# ---- Kramers, and bounds that hold at every lr wd


def relaxation_times(loss, strength, dimension):
    """(mean, longest) time to reach u = 0 from the stationary law and from the pole, in units of 1/(lr wd)."""
    power = (dimension - 3) / 2
    weight = lambda t: np.exp(-strength * (loss(np.cos(t)) - loss(1.0))) * np.sin(t) ** (2 * power + 1)
    grid = np.linspace(0, np.pi / 2, 20001)[1:]
    mass = integrate.cumulative_simpson(weight(grid), x=grid, initial=weight(grid[0]) * grid[0] / (dimension - 1))
    longest = integrate.simpson(mass / weight(grid), x=grid)
    mean = integrate.simpson(mass**2 / weight(grid), x=grid) / mass[-1]
    return (dimension - 1) * mean, (dimension - 1) * longest


@pytest.mark.claim("I33", kind="property")
@pytest.mark.parametrize("dimension", [2, 3, 10, 60])
@pytest.mark.parametrize("barrier", [0.5, 5.0, 50.0, 300.0])
def test_the_odd_gap_lies_between_inverse_hitting_times_of_the_barrier(barrier, dimension):
    """1/longest <= gap <= 1/mean for wells at +-e_1 in any dimension, as the Green function of the half sphere is
    positive; both tend to Kramers' rate."""
    gap = zonal(lambda u: -u * u, barrier, dimension=dimension).gap("odd")
    mean, longest = relaxation_times(lambda u: -u * u, barrier, dimension)
    assert (1 - 1e-6) / longest <= gap <= (1 + 1e-6) / mean, (1 / longest, gap, 1 / mean)


@pytest.mark.claim("I33", "I32", kind="simulation")
@pytest.mark.compiled
@pytest.mark.parametrize(("height", "product", "noise"), [(0.17, 0.03, 0.8), (0.4, 0.05, 1.3)])
def test_simulated_autocorrelations_on_the_circle(height, product, noise):
    """20,000 stationary paths of the Strang scheme: covariances of cos (odd) and cos 2 phi (even) at three lags."""
    found = circle(lambda a: height * np.cos(a) ** 2, beta(product, 2, noise), count=30)
    check_covariances(found, st.Rayleigh([height, 0.0]), product, noise, found.nodes, angles_to_plane)


def angles_to_plane(angles, rng):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.mark.claim("I33", kind="simulation")
@pytest.mark.compiled
def test_simulated_autocorrelations_on_the_sphere():
    product, noise, a = 0.02, 0.6, np.array([-0.12, 0.0, 0.0])
    found = zonal(lambda u: a[0] * u * u, beta(product, 3, noise), dimension=3, count=30)

    def points(u, rng):
        turn = 2 * np.pi * rng.random(u.size)
        across = np.sqrt(1 - u * u)
        return np.stack([u, across * np.cos(turn), across * np.sin(turn)], axis=1)

    check_covariances(found, st.Rayleigh(a), product, noise, np.arccos(found.nodes), points)


def check_covariances(found, model, product, noise, angles, points, paths=20_000):
    """Covariance of the odd x and the even x^2 against the solver's, from stationary starts on quadrature nodes."""
    rng, lags, d = np.random.default_rng(33), np.array([0.25, 0.5, 1.0]), found.dimension
    law = found.density * found.weights
    start = points(found.nodes[rng.choice(law.size, paths, p=law / law.sum())], rng)
    lr = 0.1
    square = intrinsic_lr.equilibrium_squared_norm(lr=lr, weight_decay=product / lr, trace=noise**2 * (d - 1))
    dt = 0.025 / product
    ts = dt * np.rint(lags / product / dt)
    axis = np.eye(d)[0]
    run = st.simulate(
        model, st.WeightDecaySDE(lr, product / lr), start * np.sqrt(square), ts, noise=st.Isotropic(noise), dt=dt,
        observe={"x": st.observers.Cosine(axis)}, seed=7, threads=1, width=16,
    )  # fmt: skip
    first = np.cos if d == 2 else lambda u: u
    for function in (lambda x: x, lambda x: x * x):
        observable = lambda node, f=function: f(first(node))
        mean, wanted = found.expectation(observable), found.covariance(observable, ts * product)
        variance = found.covariance(observable, [0.0])[0]
        for k in range(len(ts)):
            samples = (function(run["x"][:, k]) - mean) * (function(start[:, 0]) - mean)
            outcome = mean_test(samples, wanted[k], detectable=0.12 * variance)
            assert outcome, (function(2.0), ts[k], outcome)


# ---- what is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: circle(np.abs, 1.0), "`loss` must be smooth"),
        (lambda: circle(np.sin, -1.0), "`inverse_temperature` must be positive"),
        (lambda: circle(np.sin, 1.0, count=0), "`count` must be at least 1"),
        (lambda: circle(([0, 1.0],), 1.0), r"`loss` must be a function or a pair \(cosines, sines\)"),
        (lambda: circle(([0, np.nan], []), 1.0), "`loss` must be finite"),
        (lambda: circle(lambda a: a * np.nan, 1.0), "`loss` must be finite"),
        (lambda: circle(np.cos, 400.0), "`inverse_temperature` times the range of `loss` must be at most 650: 800"),
        (lambda: circle(([0, 0.3, 1], [0, 0.2, 0]), 150.0), "`inverse_temperature` must be smaller for wells"),
        (lambda: circle(np.cos, 1.0).gap("evn"), "did you mean 'even'"),
        (lambda: circle(np.cos, 1.0).gap("odd"), "`parity` must be None for a loss that differs at antipodes"),
        (lambda: circle(NOTHING, 1.0, count=2).gap("even"), "`count` must be larger"),
        (lambda: circle(NOTHING, 1.0, count=2).covariance(lambda a: np.cos(5 * a), [0]), "`count` must be larger"),
        (lambda: circle(NOTHING, 1.0).mean(np.cos, [0], np.cos), "`weight` must be non-negative"),
        (lambda: circle(NOTHING, 1.0).covariance(np.cos, [1, 0.5]), "`ts` must be non-negative and strictly"),
        (lambda: circle(3.0, 1.0), r"`loss` must be a function or a pair \(cosines, sines\): loss=3.0"),
        (lambda: circle(lambda a: np.zeros(3), 1.0), r"`loss` must have shape \(64\): it has shape \(3,\)"),
        (lambda: zonal(3.0, 1.0, dimension=3), "`loss` must be a function of an array: loss=3.0"),
        (lambda: zonal(np.abs, 1.0, dimension=3), "`loss` must be smooth"),
        (lambda: zonal(np.sin, 1.0, dimension=1), "`dimension` must be at least 2"),
        (lambda: zonal(np.sin, 1.0, dimension=2, degree=2), "`degree` must be 0 or 1 for dimension=2"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
