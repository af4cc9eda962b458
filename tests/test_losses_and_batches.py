"""Losses and batch noises: gradients from the loss by complex steps, exact batch gradients, scale
invariance per batch.
"""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

import sdetheory as st
from sdetheory import evaluate

numbers = some.floats(-3, 3, allow_subnormal=False)
vector = lambda d: arrays(np.float64, d, elements=numbers)
directions = lambda d: vector(d).filter(lambda w: np.linalg.norm(w) > 0.1)

STEP = 1e-30


def slope(f, w):
    """Gradient by complex steps: exact to rounding for an analytic f."""
    return np.array([f(w + 1j * STEP * e).imag / STEP for e in np.eye(w.size)])


def rayleigh(A):
    return lambda w: w @ A @ w / (w @ w)


def linear(m):
    return lambda w: -(m @ w) / np.sqrt(w @ w)


def symmetric(z, d):
    """The matrix E of GOEBatch from its increments."""
    E = np.zeros((d, d))
    E[np.diag_indices(d)] = np.sqrt(2) * z[:d]
    k = d
    for i in range(d):
        for j in range(i):
            E[i, j] = E[j, i] = z[k]
            k += 1
    return E


def cases(d):
    """(model, its loss in numpy) for dimension d."""
    rng = np.random.default_rng(d)
    a, mu, A = rng.standard_normal(d), rng.standard_normal(d), rng.standard_normal((d, d))
    yield st.Rayleigh(a), rayleigh(np.diag(a))
    yield st.RayleighQuotient(A + A.T), rayleigh(A + A.T)
    yield st.VonMisesFisher(mu, 1.7), linear(1.7 * mu)
    if d == 2:
        yield st.Circle(0.8), rayleigh(np.diag([0.8, 0.0]))


def close(got, exact, scale):
    assert np.abs(got - exact).max(initial=0.0) <= 2e-13 * scale, (got, exact)


@pytest.mark.claim("I1", kind="property")
@pytest.mark.parametrize("d", [1, 2, 4])
@given(data=some.data())
def test_gradients_are_those_of_the_loss_tangent_and_homogeneous(d, data):
    w, c = data.draw(directions(d)), data.draw(some.floats(0.1, 10))
    for model, f in cases(d):
        g, size = evaluate.gradient(model, w), 50 / (w @ w)
        close(g, slope(f, w), size)
        close(evaluate.loss(model, w), f(w), 50)
        close(evaluate.loss(model, c * w), evaluate.loss(model, w), 50)
        close(w @ g, 0.0, 50)
        close(evaluate.gradient(model, c * w), g / c, size / c)


def batch_cases(d):
    """(model, noise, z -> batch loss in numpy): the model's loss is the mean of the batch losses."""
    rng = np.random.default_rng(10 + d)
    a, mu = rng.standard_normal(d), rng.standard_normal(d)
    s, sigma, k = 0.6, 0.9, 1.3
    yield st.Rayleigh(a), st.GOEBatch(s), lambda z: rayleigh(np.diag(a) + s * symmetric(z, d))
    yield st.VonMisesFisher(mu, k), st.NoisyLinearBatch(sigma), lambda z: linear(k * (mu + sigma / k * z))
    if d == 2:
        traceless = lambda z: np.array([[z[0], z[1]], [z[1], -z[0]]])
        yield (
            st.Circle(0.8),
            st.CircleBatch(sigma),
            lambda z: rayleigh(np.diag([0.8, 0.0]) + sigma / 2 * traceless(z)),
        )


@pytest.mark.claim("I1", "I2", kind="property")
@pytest.mark.parametrize("d", [1, 2, 4])
@given(data=some.data())
def test_model_plus_disturbance_is_the_gradient_of_one_batch(d, data):
    w, c = data.draw(directions(d)), data.draw(some.floats(0.1, 10))
    for model, noise, batch in batch_cases(d):
        G = evaluate.diffusion(noise, w)
        z = data.draw(vector(G.shape[1]))
        got = evaluate.gradient(model, w) + G @ z
        close(got, slope(batch(z), w), 200 / (w @ w))
        close(evaluate.diffusion(noise, c * w), G / c, 200 / (w @ w) / c)
        one_step = evaluate.step(st.SGD(0.3, 0.1), model, noise, w, z)
        close(one_step, (1 - 0.03) * w - 0.3 * slope(batch(z), w), 200 * (1 + 1 / (w @ w)))


@pytest.mark.claim("I2", kind="property")
@given(w=directions(3), root=arrays(np.float64, (3, 2), elements=numbers), sigma=some.floats(0, 3))
@example(w=np.array([1.0, 0.0, 0.0]), root=np.zeros((3, 2)), sigma=0.0)
def test_covariances_are_tangent_and_as_declared(w, root, sigma):
    q = w @ w
    P = np.eye(3) - np.outer(w, w) / q
    for noise, C in (
        (st.Isotropic(sigma), sigma**2 * np.eye(3)),
        (st.NoisyLinearBatch(sigma), sigma**2 * np.eye(3)),
        (st.GOEBatch(sigma), 4 * sigma**2 * np.eye(3)),
        (st.Covariance(root), root @ root.T),
    ):
        G = evaluate.diffusion(noise, w)
        close(G @ G.T, P @ C @ P / q, 100 / q)
        close(w @ G, 0.0, 100)


@given(w=directions(2), sigma=some.floats(0, 3))
def test_circle_batches_are_isotropic(w, sigma):
    q = w @ w
    G = evaluate.diffusion(st.CircleBatch(sigma), w)
    close(G @ G.T, sigma**2 * (np.eye(2) - np.outer(w, w) / q) / q, 100 / q)


def test_no_noise_has_no_increments():
    assert evaluate.diffusion(st.NoNoise(), [1.0, 2.0]).shape == (2, 0)


@given(w=directions(3), z=vector(3), lr=some.floats(0, 1), wd=some.floats(0, 1), dt=some.floats(0.1, 2))
def test_one_euler_maruyama_step(w, z, lr, wd, dt):
    from sdetheory.integrators import EulerMaruyama

    model, noise = st.Rayleigh([0.3, -0.2, 1.0]), st.Isotropic(0.7)
    assume(np.linalg.norm(w) > 0.3)
    got = evaluate.step(EulerMaruyama(), model, noise, w, z, lr=lr, weight_decay=wd, dt=dt)
    drift = -lr * wd * w - lr * evaluate.gradient(model, w)
    close(got, w + drift * dt + lr * np.sqrt(dt) * evaluate.diffusion(noise, w) @ z, 100)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: evaluate.gradient(st.Rayleigh([1.0]), [1.0, 2.0]),
            r"`a` must have shape \(2\): it has shape \(1,\)",
        ),
        (
            lambda: evaluate.gradient(st.RayleighQuotient(np.ones((2, 3))), [1.0, 2.0]),
            r"`A` must have shape \(2, 2\)",
        ),
        (
            lambda: evaluate.gradient(st.RayleighQuotient([[0, 1], [2, 0]]), [1.0, 2.0]),
            "`A` must be symmetric",
        ),
        (
            lambda: evaluate.gradient(st.VonMisesFisher([1, np.nan], 1.0), [1.0, 2.0]),
            r"`mu` must be finite: mu\[1\]=nan",
        ),
        (lambda: evaluate.gradient(st.Circle(1.0), [1.0, 2.0, 3.0]), "d=2 coordinates for Circle: d=3"),
        (
            lambda: evaluate.diffusion(st.Isotropic(-1.0), [1.0, 2.0]),
            "`sigma` must not be negative: sigma=-1.0",
        ),
        (lambda: evaluate.diffusion(st.Covariance([1.0, 2.0]), [1.0, 2.0]), "`root` must have shape"),
        (
            lambda: evaluate.step(st.SGD(0.1), st.Rayleigh([1.0]), None, [1.0], [1.0]),
            r"`z` must have shape \(0\)",
        ),
    ],
)
def test_bad_parameters_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
