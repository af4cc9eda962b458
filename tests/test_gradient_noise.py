"""Gradient noise and label noise: the formulas against simulated steps, moments and quadrature."""

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdetheory.predictions import gradient_noise, label_noise, stationary_law
from sdetheory.statistics import equivalent, mean_test

weights = arrays(float, st.integers(2, 5), elements=st.floats(0.3, 2.0))
entries = st.floats(-1.5, 1.5)


def others(layers):
    return np.array([np.delete(layers, i).prod() for i in range(layers.size)])


@pytest.mark.claim("D50", kind="property")
@given(weights, arrays(float, 5, elements=st.floats(-2, 2)), st.floats(0.01, 0.5))
def test_ito_term_of_scalar_layers_from_samples(layers, slopes, temperature):
    """Second moments of dw = -(mean) dt + sqrt(T) (sample - mean) dB over the samples of a data set."""
    gradients = slopes[:, None] * others(layers)
    covariance = np.cov(gradients.T, ddof=0)
    drift_of_squares = -2 * layers * gradients.mean(0) + temperature * np.diag(covariance)
    whole, known = layers.prod(), {"temperature": temperature, "slope_variance": slopes.var()}
    rate = gradient_noise.balance_rate(
        imbalance=layers[0] ** 2 - layers[1] ** 2, rest=np.prod(layers[2:]), **known
    )
    found = drift_of_squares[0] - drift_of_squares[1]
    assert np.isclose(found, rate, rtol=1e-9, atol=1e-9), (found, rate)
    hessian = whole / np.outer(layers, layers) * (1 - np.eye(layers.size))  # of the product
    drift = -others(layers) @ gradients.mean(0) + temperature / 2 * (hessian * covariance).sum()
    inverse = layers**-2
    predicted = gradient_noise.product_drift(
        end_to_end=whole, inverse_squares=inverse.sum(), slope_mean=slopes.mean(),
        inverse_pairs=(inverse.sum() ** 2 - (inverse**2).sum()) / 2, **known,
    )  # fmt: skip
    assert np.isclose(drift, predicted, rtol=1e-9, atol=1e-9), (drift, predicted)


@pytest.mark.claim("D53", kind="property")
@given(arrays(float, (3, 2), elements=entries), arrays(float, (2, 4), elements=entries),
       arrays(float, (2, 3), elements=entries), st.floats(0.1, 2))  # fmt: skip
def test_ito_term_of_matrix_layers(second, first, above, noise):
    """White noise of the gradient of A U V, entry by entry over a basis of its noise."""
    outputs, inputs, temperature = above.shape[0], first.shape[1], 0.3
    rate = np.zeros((2, 2))
    for o in range(outputs):
        for i in range(inputs):
            X = np.zeros((outputs, inputs))
            X[o, i] = noise
            upper, lower = above.T @ X @ first.T, (above @ second).T @ X
            rate += temperature * (upper.T @ upper - lower @ lower.T)
    known = {"temperature": temperature, "noise_variance": noise**2, "below": inputs}
    squares = {"lower_square": first @ first.T, "upper_square": (above @ second).T @ above @ second}
    size = max((above**2).sum(), 1e-12)
    predicted = gradient_noise.matrix_balance_rate(above=size, **known, **squares)
    assert np.allclose(rate, predicted, rtol=1e-9, atol=1e-9), (rate, predicted)


@pytest.mark.claim("D53", kind="simulation")
def test_label_noise_balances_hidden_units_not_layers():
    """Monte Carlo of the Ito term of the imbalance at a fit: zero at noise balance, not at balance."""
    rng = np.random.default_rng(11)
    first, scales = rng.normal(size=(2, 3)), np.array([0.7, 1.0, 1.6])
    hidden = (first * scales**2) @ first.T
    upper = gradient_noise.noise_balanced_upper(above=2.0, below=(scales**2).sum(), lower_square=hidden)
    second = np.linalg.cholesky(upper).T
    n, label = 200_000, 0.5
    x, xi = rng.normal(size=(n, 3)) * scales, rng.normal(size=(n, 2)) * label
    h, back = x @ first.T, xi @ second
    samples = (xi**2).sum(1)[:, None] * h**2 - (x**2).sum(1)[:, None] * back**2
    scale = label**2 * np.diag(hidden) * 2
    for k in range(2):
        outcome = mean_test(samples[:, k], 0.0, detectable=0.05 * scale[k], false_alarm=1e-8)
        assert outcome, outcome
    known = {"temperature": 1.0, "noise_variance": label**2, "above": 2.0, "below": (scales**2).sum()}
    at_balance = gradient_noise.matrix_balance_rate(lower_square=hidden, upper_square=first @ first.T, **known)
    assert np.abs(np.diag(at_balance)).max() > 0.2 * scale.min(), at_balance


DATA = {
    "temperature": 0.05, "input_spread": 1.25, "crossed_spread": 1.0, "target_spread": 2.0,
    "input_power": 1.25, "correlation": 1.1,
}  # fmt: skip


@pytest.mark.claim("D51", kind="property")
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_density_has_no_flux(depth):
    """2 b p = (a p)', with drift and diffusion computed from the layers, on a grid."""
    v = np.linspace(0.3, 2.2, 4001)
    p = stationary_law.stationary_density(v, depth=depth, **DATA)
    square = v ** (2 / depth)
    variance = 4 * (DATA["input_spread"] * v**2 - 2 * DATA["crossed_spread"] * v + DATA["target_spread"])
    drift = gradient_noise.product_drift(
        end_to_end=v, inverse_squares=depth / square, inverse_pairs=depth * (depth - 1) / 2 / square**2,
        slope_mean=2 * (DATA["input_power"] * v - DATA["correlation"]), slope_variance=variance,
        temperature=DATA["temperature"],
    )  # fmt: skip
    diffusion = DATA["temperature"] * variance * (v**2 * depth / square) ** 2
    flux = drift * p - np.gradient(diffusion * p, v, edge_order=2) / 2
    assert np.abs(flux).max() < 1e-4 * np.abs(drift * p).max(), np.abs(flux).max()
    assert np.isclose(np.trapezoid(p, v), 1), np.trapezoid(p, v)


@pytest.mark.claim("D51", kind="simulation")
def test_small_steps_have_the_stationary_moments():
    """SGD of two equal layers; the sheet's example x = +-1/2, +-3/2, y = x + (+-1), lr .01."""
    lr, rng, paths = 0.01, np.random.default_rng(5), 5000
    w = np.ones(paths)
    values = []
    for step in range(1200):
        x, noise = rng.choice([0.5, 1.5], size=paths), rng.choice([-1.0, 1.0], size=paths)
        w = w - lr * 2 * x * (x * w * w - x - noise) * w
        if step >= 600 and step % 100 == 0:
            values.append(w * w)
    x2 = np.array([0.25, 2.25])
    data = {"input_spread": x2.var(), "crossed_spread": x2.var(), "target_spread": x2.var() + x2.mean(),
            "input_power": x2.mean(), "correlation": x2.mean()}  # fmt: skip
    grid = np.linspace(0.05, 2.5, 2000)
    p = stationary_law.stationary_density(grid, depth=2, temperature=lr, **data)
    mean = np.trapezoid(p * grid, grid)
    std = np.sqrt(np.trapezoid(p * (grid - mean) ** 2, grid))
    assert abs(mean - 0.98984) < 1e-4 and abs(std - 0.14185) < 1e-4, (mean, std)  # the sheet's numbers
    found = np.mean(values, axis=0)  # a sample per path; the SDE has a bias of order lr
    outcome = equivalent(found, mean, margin=0.01, false_alarm=1e-8)
    assert outcome, outcome
    assert abs(np.std(values) / std - 1) < 0.06, (np.std(values), std)


@pytest.mark.claim("D52", kind="property")
@given(st.floats(0.5, 2.0), st.floats(0.5, 2.0), st.floats(0.3, 0.95))
def test_two_layers_collapse_at_the_critical_temperature(correlation, target_spread, fraction):
    critical = stationary_law.collapse_temperature(correlation=correlation, target_spread=target_spread)
    known = {"correlation": correlation, "target_spread": target_spread}
    low, high = (
        stationary_law.origin_exponent(temperature=t, **known)
        for t in (fraction * critical, critical / fraction)
    )
    assert high < -1 < low, (high, low)
    v = np.array([1e-7, 2e-7])
    rest = {"input_spread": 1.0, "crossed_spread": 0.3, "input_power": 1.0, **known}
    score = stationary_law.stationary_score(end_to_end=v, depth=2, temperature=fraction * critical, **rest)
    assert np.allclose(v * score, low, rtol=1e-5, atol=1e-5), (v * score, low)
    deep = stationary_law.stationary_score(end_to_end=1e-9, depth=4, temperature=critical / fraction, **rest)
    barrier = stationary_law.origin_barrier(depth=4, temperature=critical / fraction, **known)
    assert np.isclose(deep, barrier / 2 * 1e-9**-1.5, rtol=1e-3), (deep, barrier)
    with pytest.raises(ValueError, match="temperature"):
        stationary_law.stationary_density([0.1, 1.0], depth=2, temperature=critical / fraction, **rest)


@pytest.mark.claim("D54", kind="property")
@given(weights, st.floats(0.1, 2))
def test_limiting_flow_is_the_projected_trace_gradient(layers, noise):
    layers = layers / layers.prod() ** (1 / layers.size)
    z, step = layers**2, 1e-5
    trace = lambda w: 2 * w.prod() ** 2 * (1 / w**2).sum()  # of the Hessian of (W - 1)^2 where W = 1
    slope = np.array([(trace(layers + step * e) - trace(layers - step * e)) / (2 * step) for e in np.eye(z.size)])
    normal = 1 / layers
    moved = -(2 * noise**2 / 4) * (slope - normal * (normal @ slope) / (normal @ normal))
    known = {"inverse_squares": (1 / z).sum(), "inverse_fourths": (z**-2).sum(), "noise": noise}
    rate = label_noise.limiting_square_rate(square=z, **known)
    size = 4 * noise**2 * (1 / z).max()
    assert np.allclose(2 * layers * moved, rate, rtol=0, atol=1e-5 * size), (moved, rate)
    falls = label_noise.flattening_rate(inverse_sixths=(z**-3).sum(), **known)
    assert np.isclose(-(rate / z**2).sum(), falls, rtol=0, atol=1e-9 * size / z.min() ** 2), falls
    assert falls <= 1e-9 * size / z.min() ** 2, falls
    rest = np.prod(layers[2:])
    gap = label_noise.limiting_imbalance_rate(noise=noise, rest=rest, imbalance=z[0] - z[1])
    assert np.isclose(rate[0] - rate[1], gap, rtol=0, atol=1e-9 * size), (rate, gap)


@pytest.mark.claim("D54", "D55", kind="simulation")
def test_label_noise_balances_two_layers_at_the_regularisers_speed():
    """GD on (W - 1 - xi)^2 up to slow time 5, at a learning rate that the limiting flow alone does not fit."""
    rng, paths, lr, sigma = np.random.default_rng(8), 256, 0.1, 0.1
    start = 3.75
    w1 = np.full(paths, np.sqrt((start + np.sqrt(start**2 + 4)) / 2))
    w2 = 1 / w1
    for _ in range(round(5 / lr**2)):
        g = 2 * (w1 * w2 - 1 - sigma * rng.normal(size=paths))
        w1, w2 = w1 - lr * g * w2, w2 - lr * g * w1
    imbalance = w1**2 - w2**2

    def rate(tau, D):
        S = np.sqrt(D**2 + 4)
        pull = [label_noise.limiting_imbalance_rate(noise=sigma, rest=1.0, imbalance=d) for d in D]
        return np.array(pull) / (1 - lr * S)  # the regulariser at this lr over its limit

    exact = scipy.integrate.solve_ivp(rate, (0, 5), [start], rtol=1e-9).y[0, -1]
    leading = label_noise.limiting_imbalance(slow_time=5.0, noise=sigma, imbalance0=start)
    outcome = mean_test(imbalance, exact, detectable=0.04, false_alarm=1e-8)
    assert outcome, outcome
    assert leading - exact > 0.1, (leading, exact)  # the finite learning rate is seen


@pytest.mark.claim("D55", kind="property")
@given(arrays(float, (3, 3), elements=entries), st.floats(0.05, 0.9), st.floats(0.1, 2))
def test_covariance_and_regulariser_of_a_hessian(root, fraction, label):
    hessian = root @ root.T + 0.1 * np.eye(3)
    values, vectors = np.linalg.eigh(hessian)
    lr, batch = 2 * fraction / values[-1], 3.0
    keep, covariance = np.eye(3) - lr * hessian, np.zeros((3, 3))
    stationary = label_noise.label_noise_variance(lr=lr, label_variance=label, batch=batch, sharpness=values)
    covariance = vectors @ np.diag(stationary) @ vectors.T
    moved = keep @ covariance @ keep + lr**2 * label / batch * hessian
    assert np.allclose(moved, covariance, rtol=1e-9), (moved, covariance)
    direction = np.diag([1.0, -0.5, 0.3])
    step = 1e-6
    ahead, behind = (label_noise.regulariser(hessian + s * step * direction, lr) for s in (1, -1))
    strength = label_noise.damian_strength(lr=lr, label_variance=label, batch=batch)
    wanted = np.trace(covariance @ direction) / 2
    assert np.isclose(strength * (ahead - behind) / (2 * step), wanted, rtol=1e-4, atol=1e-8), (ahead, wanted)
    tiny = label_noise.regulariser(hessian, 1e-7)
    assert np.isclose(tiny, np.trace(hessian) / 4, rtol=1e-5), tiny
