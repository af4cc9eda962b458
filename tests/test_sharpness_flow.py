"""Descent with weight decay at the edge of stability: the Equator loss, the slow flow along it, the way there."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from scipy.signal import lfilter

import sdetheory as st
from sdetheory.predictions import edge_of_stability as theory
from sdetheory.predictions import intrinsic_lr
from sdetheory.statistics import fit_order

LR = 0.1
LOSSES = [st.Equator(2.0, 1.0), st.Equator(1.0, -0.9)]
LONGITUDES = np.array([0.8, 1.2, 1.8])
vectors = arrays(np.float64, 4, elements=some.floats(-2, 2, allow_subnormal=False))


def loss_by_hand(w, mean, amplitude):
    """Also for complex w: no absolute values."""
    square = np.sum(w[:-1] ** 2)
    return (mean + amplitude * w[0] / np.sqrt(square)) * w[-1] ** 2 / (2 * (square + w[-1] ** 2))


@pytest.mark.claim("I1", kind="property")
@given(w=vectors, mean=some.floats(0.1, 3), share=some.floats(-0.99, 0.99), scale=some.floats(0.1, 10))
@example(w=np.array([1.0, 0.0, 0.0, 0.0]), mean=1.0, share=0.5, scale=2.0)
def test_gradient_of_the_equator_by_complex_steps(w, mean, share, scale):
    assume(np.linalg.norm(w[:-1]) > 0.05)
    model, step = st.Equator(mean, mean * share), 1e-30
    wanted = [loss_by_hand(w + 1j * step * e, *model).imag / step for e in np.eye(4)]
    found, size = st.evaluate.gradient(model, w), 1 / np.linalg.norm(w[:-1])
    assert np.allclose(found, wanted, rtol=1e-12, atol=1e-13 * mean * size), (found, wanted)
    assert np.isclose(st.evaluate.loss(model, w), loss_by_hand(w, *model).real, rtol=1e-13, atol=1e-300)
    assert abs(found @ w) < 1e-13 * mean * (1 + np.linalg.norm(w) * size), found @ w
    scaled = st.evaluate.gradient(model, scale * w) * scale
    assert np.allclose(scaled, found, rtol=1e-12, atol=1e-13 * mean * size), (scaled, found)


@given(u=vectors)
def test_sharpness_and_its_slope_are_those_of_the_hessian(u):
    """On the equator the Hessian has the eigenvalue lambda_1 along z and no other that is not zero."""
    u[-1] = 0.0
    assume(np.linalg.norm(u) > 0.3)
    model, zeta, h = LOSSES[0], u / np.linalg.norm(u), 1e-5
    both = [(zeta + h * e, zeta - h * e) for e in np.eye(4)]
    differences = [st.evaluate.gradient(model, after) - st.evaluate.gradient(model, before) for after, before in both]
    wanted = np.zeros((4, 4))
    wanted[-1, -1] = model.sharpness(zeta)
    assert np.allclose(np.array(differences) / (2 * h), wanted, atol=1e-7), differences
    slope = [np.log(model.sharpness(after) / model.sharpness(before)) / (2 * h) for after, before in both]
    assert np.allclose(model.log_slope(zeta), slope, atol=1e-7), (model.log_slope(zeta), slope)


@pytest.mark.parametrize("model", LOSSES, ids=str)
def test_the_solver_finds_the_closed_form_in_any_dimension(model):
    ts, side = np.linspace(0, 3, 13), np.array([0.0, 0.6, -0.8, 0.0])
    for longitude in LONGITUDES:
        start = 3 * (np.cos(longitude) * np.eye(4)[0] + np.sin(longitude) * side)
        zeta = st.sharpness_flow(model.log_slope, start, ts)
        found, wanted = np.arctan2(zeta @ side, zeta[:, 0]), st.equator_longitude(model, longitude, ts)
        assert np.abs(found - wanted).max() < 1e-8, (found, wanted)
        before, now, after = st.sharpness_flow(model.log_slope, start, [0.999, 1.0, 1.001])
        fall = np.log(model.sharpness(after) / model.sharpness(before)) / 0.002
        rate = theory.sharpness_log_rate(log_slope_square=np.sum(model.log_slope(now) ** 2))
        assert np.isclose(fall, rate, rtol=1e-5), (fall, rate)


def descend(model, product, horizon, *, kick=0.0, points=200, lr=LR, **start):
    """(slow times, longitudes, effective lr x sharpness, x^2 over its prediction) from LONGITUDES."""
    zeta = np.stack([np.cos(LONGITUDES), np.sin(LONGITUDES), 0 * LONGITUDES], axis=1)
    rates = {"lr": lr, "weight_decay": product / lr}
    slope = np.sum(model.log_slope(zeta) ** 2, axis=1)
    known = {"sharpness": model.sharpness(zeta), "log_slope_square": slope}
    w0 = st.edge_start(zeta, [0.0, 0.0, 1.0], **known, **rates, **start)
    ts = np.unique(np.rint(np.linspace(0, horizon / product, points + 1)))
    run = st.simulate(model, st.SGD(**rates), w0, ts, noise=st.Isotropic(kick), keep_states=True, width=8)
    size = np.sum(run.states**2, axis=-1)
    edge = intrinsic_lr.direction_lr(squared_norm=size, **rates) * model.sharpness(run.states)
    slope = np.sum(model.log_slope(run.states) ** 2, axis=-1)
    ratio = run.states[..., 2] ** 2 / size / theory.edge_oscillation(log_slope_square=slope, **rates)
    return ts * product, np.arctan2(run.states[..., 1], run.states[..., 0]), edge, ratio


def distances(model, product, *, by_clock=False, **start):
    """Largest distance to the flow up to slow time 2, one a start."""
    time, longitude, edge, _ = descend(model, product, 2.0, **start)
    clock = theory.sharpness_clock(slow_time=time, edge_product0=edge[:, :1], edge_product=edge)
    times = clock if by_clock else np.broadcast_to(time, edge.shape)
    flow = [st.equator_longitude(model, a, row) for a, row in zip(LONGITUDES, times, strict=True)]
    return np.abs(longitude - flow).max(axis=1)


@pytest.mark.compiled
@pytest.mark.claim("I52", kind="simulation")
@pytest.mark.parametrize(
    ("start", "by_clock", "order", "margin"),
    [
        ({}, False, 1.0, 0.1),
        ({"lr": 0.7}, False, 1.0, 0.1),
        ({"swing": 0.5}, False, 0.5, 0.2),
        ({"swing": 0.5}, True, 1.0, 0.35),
        ({"edge_product": 2.4}, False, 0.0, 0.2),
    ],
    ids=["edge", "other lr", "other amplitude", "other amplitude, clock", "off the edge"],
)
def test_distance_to_the_flow_is_of_the_order_of_the_start(start, by_clock, order, margin):
    """First order in lr wd on the edge with the predicted amplitude, one half with another, none off the edge."""
    products = np.array([1e-4, 1e-3, 1e-2])
    for model in LOSSES:
        rows = np.array([distances(model, product, by_clock=by_clock, **start) for product in products])
        orders = [fit_order(products, column) for column in rows.T]
        assert np.abs(np.array(orders) - order).max() < margin, (model, orders, rows)
        assert rows[0].max() < 5 * 1e-4**order or order == 0.0, rows


@pytest.mark.compiled
@pytest.mark.claim("I52", kind="simulation")
def test_effective_lr_times_sharpness_comes_to_two_and_swings_with_the_predicted_period():
    """From below the edge it arrives at 2 when predicted; near rest it swings with the period of the prediction,
    and its time average and that of the oscillation are the predicted ones."""
    product = 1e-4
    wanted = theory.sharpness_clock(slow_time=0.0, edge_product0=2.0, edge_product=1.3)
    time, _, edge, _ = descend(LOSSES[0], product, 0.4, kick=1e-9, points=4000, edge_product=1.3)
    arrival = time[np.argmax(edge > 2, axis=1)]
    assert np.abs(arrival - wanted).max() < 3e-3, (arrival, wanted)
    time, _, edge, ratio = descend(LOSSES[0], product, 1.5, points=15000, swing=1.05)
    assert np.abs(edge - 2).max() < 0.01 and np.abs(ratio.mean(axis=1) - 1).max() < 5e-3, (edge, ratio)
    for row in ratio:
        above = row > 1
        rises = time[1:][above[1:] & ~above[:-1]] / product
        period = np.diff(rises).mean()
        assert np.isclose(period, theory.edge_swing_period(lr=LR, weight_decay=product / LR), rtol=0.01), period


@pytest.mark.compiled
@pytest.mark.claim("I52", kind="simulation")
def test_snapshots_of_the_sheet_miss_the_flow_by_their_swing_not_by_their_period():
    """lr = 0.1, wd = 2e-4 from below the edge, slow times 0.5 to 2.9 and 4.7: displacements off by up to a few per
    cent.  Means of two steps leave that as it is (the loss is even in z); the clock takes it off: first order."""
    model, product = LOSSES[0], 2e-5
    zeta = np.array([np.cos(0.5), np.sin(0.5), 0.0])
    known = {"sharpness": model.sharpness(zeta), "log_slope_square": np.sum(model.log_slope(zeta) ** 2)}
    rates = {"lr": LR, "weight_decay": product / LR}
    start = [st.edge_start(zeta, [0, 0, 1.0], **known, **rates, edge_product=1.5, swing=s) for s in (5.0, 20.0, 40.0)]
    snapshots = np.rint(np.array([0.5, 2.9, 4.7]) / product)
    ts = np.unique(np.concatenate([snapshots, snapshots + 1]))
    noise = st.Isotropic(1e-9)
    states = st.simulate(model, st.SGD(**rates), np.array(start), ts, noise=noise, keep_states=True, width=8).states
    edge = intrinsic_lr.direction_lr(squared_norm=np.sum(states**2, axis=-1), **rates) * model.sharpness(states)
    longitude = np.arctan2(states[..., 1], states[..., 0])
    mean = (longitude[:, ::2] + longitude[:, 1::2]) / 2
    clock = theory.sharpness_clock(slow_time=(ts - ts[0]) * product, edge_product0=edge[:, :1], edge_product=edge)
    off = {"snapshots": [], "means": [], "clock": []}
    for path in range(len(start)):
        for name, found, times in (
            ("snapshots", longitude[path, ::2], (ts[::2] - ts[0]) * product),
            ("means", mean[path], (ts[::2] - ts[0]) * product),
            ("clock", longitude[path, ::2], clock[path, ::2]),
        ):
            missed = found - st.equator_longitude(model, found[0], times)
            off[name] += [np.abs(missed[1:] / (found[1:] - found[0]))]
    snapshots, means, clocks = (np.concatenate(off[name]) for name in ("snapshots", "means", "clock"))
    assert 1e-3 < snapshots.max() < 4e-2, snapshots
    assert np.abs(means / snapshots - 1).max() < 0.1, (means, snapshots)
    assert clocks.max() < 1e-4, clocks


@pytest.mark.claim("I52", kind="simulation")
def test_without_noise_rounding_ends_the_motion():
    """z passes 0 below the edge and is rounded away: every gradient is 0, and |w| falls to nothing."""
    run = st.simulate(LOSSES[0], st.SGD(0.1, 0.5), [0.6, 0.8, 0.0], [400], width=8)
    assert run.final[0, 2] == 0.0 and np.isclose(np.linalg.norm(run.final), 0.95**400, rtol=1e-9), run.final
    assert not st.evaluate.gradient(LOSSES[0], run.final[0]).any()


def rmsprop_distance(model, noise, start, product):
    """Largest relative distance of the discrete effective lr to sqrt(2 lr wd/M), from every step up to 1/(lr wd)."""
    rates = {"lr": LR, "weight_decay": product / LR}
    run = st.simulate(
        model, st.SGD(**rates), start, np.arange(int(1 / product) + 1), noise=noise, width=8, seed=3,
        observe={"size": st.observers.SquaredNorm(), "gradient": st.observers.SquaredGradient(model)},
    )  # fmt: skip
    speed = intrinsic_lr.direction_lr(squared_norm=run["size"], **rates)
    first = 2 * product / speed[:, :1] ** 2
    average, _ = lfilter([4 * product], [1, 4 * product - 1], run["gradient"][:, :-1], zi=(1 - 4 * product) * first)
    form = intrinsic_lr.equilibrium_effective_lr(trace=average, **rates)
    return np.abs(form / speed[:, 1:] - 1).max()


@pytest.mark.compiled
@pytest.mark.claim("I53", kind="simulation")
def test_the_effective_lr_is_that_of_rmsprop_to_first_order():
    """Descent from below the edge through its swings: the distance of the two is of first order in lr wd."""
    products = np.array([1e-4, 3e-4, 1e-3, 3e-3])
    zeta, found = np.array([np.cos(0.8), np.sin(0.8), 0.0]), []
    for product in products:
        known = {"sharpness": LOSSES[0].sharpness(zeta), "log_slope_square": np.sum(LOSSES[0].log_slope(zeta) ** 2)}
        start = st.edge_start(zeta, [0, 0, 1.0], **known, lr=LR, weight_decay=product / LR, edge_product=1.3)
        found.append(rmsprop_distance(LOSSES[0], st.Isotropic(1e-9), start, product))
    order = fit_order(products, np.array(found))
    assert 0.8 < order < 1.3 and found[0] < 20 * products[0], (order, found)


@pytest.mark.claim("I25", kind="simulation")
@given(
    lr=some.floats(0.01, 1), product=some.floats(0.01, 0.3), height=some.floats(0.3, 3),
    above=some.floats(1.001, 30), axis=some.sampled_from((-1.0, 1.0)),
)  # fmt: skip
@example(lr=0.1, product=0.01, height=1.0, above=20.0, axis=1.0)
def test_the_ray_loses_its_stability_after_the_predicted_steps(lr, product, height, above, axis):
    """|x/y| grows for the first time in the step after the prediction: the exact map, from x near 0."""
    rates = {"lr": lr, "weight_decay": product / lr}
    square = above * intrinsic_lr.circle_threshold(height=height, **rates)
    wanted = theory.steps_to_threshold(height=height, squared_norm0=square, **rates)
    assume(abs(wanted - round(wanted)) > 1e-6)
    steps = int(wanted) + 2
    start = np.sqrt(square) * np.array([1e-9, axis])
    run = st.simulate(
        st.Circle(height), st.GradientDescent(**rates), start, np.arange(steps + 1), keep_states=True, width=8
    )
    ratio = np.abs(run.states[0, :, 0] / run.states[0, :, 1])
    assume((ratio > 0).all())
    grows = np.flatnonzero(ratio[1:] > ratio[:-1])
    assert grows[0] == int(wanted) + 1, (grows, wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.evaluate.loss(st.Equator(), [1.0, 1.0]), "`w0?` must have d >= 3 coordinates for Equator: d=2"),
        (lambda: st.evaluate.loss(st.Equator(1.0, -1.0), np.ones(3)), "`amplitude` must be smaller than `mean`=1"),
        (lambda: st.equator_longitude(st.Equator(), 0.0, [1.0]), "`longitude` must lie between 0 and pi"),
        (lambda: st.equator_longitude(st.Equator(1.0, 0.0), 1.0, [1.0]), "`model` must have an amplitude"),
        (lambda: st.sharpness_flow(LOSSES[0].log_slope, np.zeros(3), [1.0]), "`start` must not be zero"),
        (lambda: st.sharpness_flow(LOSSES[0].log_slope, np.ones(3), [2.0, 1.0]), "`ts` must be"),
        (lambda: descend(LOSSES[0], 1e-2, 1.0, swing=100.0), "`swing` must keep the oscillation below 1: swing=100"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
