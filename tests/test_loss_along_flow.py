"""The loss of chains along penalised flow, its band, and the speed of balanced modes, at random states."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sdetheory.models.deep_linear import deep_linear, scalar_chain
from sdetheory.observables import chain_product, inverse_square_sum
from sdetheory.observables.spectra import gradient
from sdetheory.predictions import deep_linear as predictions
from tests.deep_linear_cases import close

layers = st.lists(st.floats(0.2, 2.0), min_size=2, max_size=5).map(np.array)


@pytest.mark.claim("D8", "D16", "D17", kind="property")
@given(layers, st.floats(0, 0.5), st.booleans())
@example(np.array([0.6, 1.7]), 0.0, False)
@example(np.ones(2), 4.706713995845052e-07, False)  # the lower end, near 1, is rounded by up to 2^-53
def test_the_data_loss_falls_outside_the_band_alone(w, penalty, signs):
    """Its rate is -lr <grad L, grad L + 2 mu w>, by the model's gradient; the band is at most mu W^(2/d-1) wide."""
    if signs:
        w = w * np.where(np.arange(w.size) < 2, -1.0, 1.0)
    lr, product, sums = 0.1, chain_product(w), inverse_square_sum(w)
    slope = gradient(scalar_chain(w.size), w)
    rate = -lr * slope @ (slope + 2 * penalty * w)
    known = {"end_to_end": product, "inverse_squares": sums, "penalty": penalty, "depth": float(w.size)}
    found = predictions.ginsburg_loss_rate(lr=lr, **known)
    close(found, rate, tolerance=1e-11, scale=lr * (slope @ slope) + abs(rate))
    lower = predictions.weight_decay_band_lower(**known)
    widest = penalty * product ** (2 / w.size - 1)
    assert 0 <= 1 - lower <= widest * (1 + 1e-12) + 2**-53, (lower, penalty, product)
    assume(min(abs(product - 1), abs(product - lower)) > 1e-9)
    assert (rate < 0) == (product > 1 or product < lower), (rate, product, lower)


@pytest.mark.claim("D38", kind="property")
@given(st.floats(0.01, 2), st.floats(0.1, 2), st.integers(2, 6))
def test_speed_of_a_balanced_mode(strength, target, depth):
    """d(w_1 ... w_d)/dt = -<grad W, grad l> where all layers are equal."""
    w = np.full(depth, strength ** (1 / depth))
    speed = -(strength / w) @ gradient(deep_linear((1,) * (depth + 1), [[target]]), w)
    found = predictions.mode_rate(depth=float(depth), strength=strength, target=target)
    close(found, speed, tolerance=1e-12, scale=depth * strength**2 + target)
