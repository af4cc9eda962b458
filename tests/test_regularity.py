"""The regularity parameter of trajectories: identities for any rule, classical conditions, rescaling, refusals."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from network_problems import spread
from scipy import special

from figures.press.landscapes import LANDSCAPES
from sdetheory.networks import digits, mlp, train, train_in_pieces
from sdetheory.predictions import regularity as predicted
from sdetheory.regularity import regularity

RUNS, STEPS, SIZE = 2, 6, 3
paths = spread(RUNS, STEPS + 1, SIZE)
losses = spread(RUNS, STEPS + 1).map(lambda values: np.abs(values) + 1e-3)
rates = spread(RUNS, STEPS).map(lambda values: np.exp(values))
references = st.sampled_from(["final", "best", np.zeros(SIZE), np.arange(RUNS * SIZE).reshape(RUNS, SIZE) / 2.0])


def slow(w, loss, lr, reference):
    """gamma and cosine of one run from the definition: sup of gamma with <U, x> >= (lr/2)|U|^2 + gamma l."""
    r = {"final": w[-1], "best": w[np.argmin(loss)]}[reference] if isinstance(reference, str) else reference
    gamma, cosine = [], []
    for k in range(len(w) - 1):
        U = (w[k] - w[k + 1]) / lr[k]
        x = w[k] - r
        gamma.append((sum(U * x) - lr[k] / 2 * sum(U * U)) / loss[k])
        norms = np.sqrt(sum(U * U)) * np.sqrt(sum(x * x))
        cosine.append(sum(U * x) / norms if norms else np.nan)
    return np.array(gamma), np.array(cosine)


@pytest.mark.claim("B1", kind="property")
@given(paths, losses, rates, references)
@example(np.zeros((RUNS, STEPS + 1, SIZE)), np.ones((RUNS, STEPS + 1)), np.ones((RUNS, STEPS)), "best")
def test_any_path_has_the_gamma_of_the_definition(w, loss, lr, reference):
    """Whatever made the path: the fall of the squared distance is the inner product less half the square."""
    got = regularity(w, loss, lr, reference=reference)
    for e in range(RUNS):
        point = reference[e] if isinstance(reference, np.ndarray) and reference.ndim == 2 else reference
        gamma, cosine = slow(w[e], loss[e], lr[e], point)
        scale = (np.abs(w).max() + 2) ** 2 / (lr[e] * loss[e, :-1])
        error = np.abs(got.gamma[e] - gamma) / scale
        assert (error < 1e-13).all(), error
        assert np.allclose(got.cosine[e], cosine, atol=1e-7, equal_nan=True), (got.cosine[e], cosine)
    distance = got.squared_distance
    assert np.allclose(got.fall, distance[:, :-1] - distance[:, 1:], atol=1e-12 * distance.max()), got.fall


def descend(rule, w, lr, gradient, steps):
    """Iterates and update directions of a rule in plain numpy, (T + 1, P) and (T, P)."""
    path, moves, m, v = [w], [], 0 * w, 0 * w
    for k in range(1, steps + 1):
        g = gradient(w, k)
        if rule == "momentum":
            m = 0.9 * m + g
        elif rule == "adam":
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        U = {"sgd": g, "momentum": m, "adam": m / (1 - 0.9**k) / (np.sqrt(v / (1 - 0.99**k)) + 1e-8)}[rule]
        w = w - lr * U
        path.append(w)
        moves.append(U)
    return np.array(path), np.array(moves)


@pytest.mark.claim("B1", kind="simulation")
@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
def test_update_directions_of_real_rules(rule):
    """<U, w - w_T> - (lr/2)|U|^2 with the rule's own direction, against the distances alone."""
    draw = np.random.default_rng(3)
    a, start = draw.standard_normal((40, 5)), draw.standard_normal(5)
    path, U = descend(rule, start, 0.02, lambda w, k: a[k % 40] * (a[k % 40] @ w), 300)
    loss = 0.5 * np.einsum("kp,kp->k", a[np.arange(1, 301) % 40], path[:-1]) ** 2
    got = regularity(path, loss, 0.02)
    x = path[:-1] - path[-1]
    wanted = np.einsum("kp,kp->k", U, x) - 0.01 * np.einsum("kp,kp->k", U, U)
    error = np.abs(got.fall[0] / 0.04 - wanted) / (np.abs(U).max() * np.abs(x).max())
    assert error.max() < 1e-13, error.max()


@pytest.mark.claim("B2", kind="property")
@given(paths, losses, rates, references, st.floats(0.01, 0.9))
@example(np.zeros((RUNS, STEPS + 1, SIZE)), np.ones((RUNS, STEPS + 1)), np.ones((RUNS, STEPS)), "final", 0.5)
def test_the_smallest_gamma_bounds_the_mean_loss(w, loss, lr, reference, shrink):
    """Also of paths made to come nearer at every step, where the bound is finite."""
    towards = shrink ** np.arange(STEPS + 1.0)[:, None] * w[:, :1]
    for path, r in ((w, reference), (towards, np.zeros(SIZE))):
        got = regularity(path, loss, lr, reference=r)
        assert (got.mean_excess <= got.bound() * (1 + 1e-12)).all(), (got.mean_excess, got.bound())
        with np.errstate(invalid="ignore", divide="ignore"):
            tightness = np.where(got.smallest > 0, got.mean_excess / got.bound(), 0.0)
        seen = got.smallest > 0
        assert np.allclose(got.relative().min(axis=1)[seen], tightness[seen], rtol=1e-10), (tightness, got.relative())
    if (np.abs(w[:, 0]) > 1e-9).any(axis=1).all():
        assert np.isfinite(got.bound()).all(), got.smallest


def test_the_bound_is_the_prediction_at_a_constant_rate():
    got = regularity(0.5 ** np.arange(9.0)[:, None] * np.ones(2), np.ones(8), 0.1, reference=np.zeros(2))
    wanted = predicted.mean_loss_bound(squared_distance0=2.0, lr=0.1, regularity=float(got.smallest[0]), steps=8)
    assert got.bound()[0] == pytest.approx(wanted, rel=1e-13)


@pytest.mark.claim("B3", kind="property")
@given(paths, losses, rates)
def test_with_the_last_iterate_the_mean_gamma_is_no_news(w, loss, lr):
    """Every path, a random walk too: the mean is D_0/(2 sum lr l), the bound with it the mean loss itself."""
    got = regularity(w, loss, lr)
    told = got.squared_distance[:, 0] / got.spent
    assert np.allclose(got.mean, told, rtol=1e-12, atol=1e-12 * (1 / got.spent).max()), (got.mean, told)
    moved = got.mean > 1e-9
    assert np.allclose(got.bound(got.mean)[moved], got.mean_excess[moved], rtol=1e-6), (got.bound(got.mean))
    whole = got.gamma_over(STEPS)[:, 0]
    assert np.allclose(whole, got.mean, rtol=1e-12, atol=1e-15), (whole, got.mean)


@pytest.mark.claim("B4", kind="property")
@given(spread(4).map(np.exp), spread(4), st.floats(0.01, 2.5))
@example(np.array([4.0, 1.0, 0.5, 0.1]), np.ones(4), 0.499 * 4)
@example(np.array([1.0, 1.0, 1.0, 1.0]), np.ones(4), 2.0)
def test_quadratics_have_gamma_two_less_lr_times_curvature(a, start, edge):
    """Never below 2 - lr lambda_max, at every step from anywhere; equal to it on the top eigenvector."""
    lr = edge / a.max()
    promised = predicted.quadratic_regularity(lr=lr, smoothness=a.max())
    for first, margin in ((start + 0.01, np.inf), ((a == a.max()) * 1.0, 1e-11)):
        path = (1 - lr * a) ** np.arange(12.0)[:, None] * first
        loss = 0.5 * np.einsum("p,kp->k", a, path**2)[:-1]
        keep = loss > 1e-200
        gamma = regularity(path, np.where(keep, loss, 1.0), lr, reference=np.zeros(4)).gamma[0, keep]
        assert (gamma >= promised - 1e-11).all() and (gamma <= promised + margin).all(), (gamma, promised)


@pytest.mark.claim("B4", kind="simulation")
def test_at_the_edge_of_stability_nothing_is_left():
    """lr = 0.499, curvature 4: 0.004 is left; beyond the edge gamma is negative and the distance grows."""
    for lr, wanted in ((0.499, 0.004), (0.501, -0.004)):
        path = (1 - 4 * lr) ** np.arange(200.0)[:, None]
        got = regularity(path, 2 * path[:-1, 0] ** 2, lr, reference=np.zeros(1))
        assert np.allclose(got.gamma, wanted, atol=1e-12), got.gamma
        assert ((np.diff(got.squared_distance) < 0) == (wanted > 0)).all()


INTERPOLATING = {  # l(margin or residual z), l', and its smoothness
    "least squares": (lambda z: z**2 / 2, lambda z: z, 1.0),
    "squared hinge": (lambda z: np.maximum(1 - z, 0) ** 2 / 2, lambda z: -np.maximum(1 - z, 0), 1.0),
    "logistic": (lambda z: np.logaddexp(0, -z), lambda z: -special.expit(-z), 0.25),
}


def interpolating_run(name, edge, steps=10_000, batch=2):
    """gamma of SGD on examples that one point r fits: of all steps with a loss, and the smoothness it used."""
    loss, slope, curvature = INTERPOLATING[name]
    draw = np.random.default_rng(11)
    x, r = draw.standard_normal((30, 6)), draw.standard_normal(6)
    if name != "least squares":
        x *= np.sign(x @ r)[:, None]
        r *= {"squared hinge": 1.0, "logistic": 60.0}[name] / (x @ r).min()
    offset = x @ r if name == "least squares" else np.zeros(30)
    L = curvature * (x**2).sum(axis=1).max()  # of any batch, as of each example
    w, lr, path, seen = np.zeros(6), edge / L, [], []
    for chosen in draw.integers(0, 30, (steps, batch)):
        z = x[chosen] @ w - offset[chosen]
        path.append(w)
        seen.append(loss(z).mean())
        w = w - lr * slope(z) @ x[chosen] / batch
    got = regularity(np.array([*path, w]), np.array(seen), lr, reference=r)
    told = np.array(seen) > 1e-10  # a smaller step is lost in part when it is added to w
    return got.gamma[0, told], L, lr


@pytest.mark.claim("B5", kind="simulation")
@pytest.mark.parametrize("edge", [0.1, 0.5, 1.0, 1.5, 1.99])
@pytest.mark.parametrize("name", INTERPOLATING)
def test_convex_interpolation_keeps_what_it_promises(name, edge):
    gamma, L, lr = interpolating_run(name, edge)
    promised = min(1.0, predicted.quadratic_regularity(lr=lr, smoothness=L))
    assert len(gamma) > 20 and gamma.min() >= promised - 1e-9, (gamma.min(), promised, len(gamma))


@pytest.mark.claim("B5", kind="simulation")
def test_the_promise_of_convex_interpolation_is_attained():
    """Both parts of min(1, 2 - lr L): on the ends of a pseudo-Huber loss."""
    one = LANDSCAPES["pseudo-Huber"]
    for lr in (0.1, 0.5, 1.0, 1.5, 1.99):
        assert one.gamma(lr).min() == pytest.approx(float(one.promised(lr)), abs=1e-5), lr


def stable_rates(one):
    """Learning rates up to the one at which the promise ends."""
    last = {"convex": 2.0, "quasar": one.constant, "restricted": 2 * one.constant / one.smoothness}[one.kind]
    return np.array([0.01, 0.25, 0.5, 0.75, 1.0]) * last / one.smoothness


@pytest.mark.parametrize("name", LANDSCAPES)
def test_landscapes_are_what_they_claim(name):
    """Gradient by differences; Lipschitz with L; the condition with its constant, which is the best."""
    one = LANDSCAPES[name]
    w = one.points[:: max(1, len(one.points) // 2000)]
    step = 1e-6 * (1 + np.linalg.norm(w, axis=1, keepdims=True))
    g = one.gradient(w)
    numerical = np.stack([
        (one.loss(w + step * e) - one.loss(w - step * e)) / (2 * step[:, 0]) for e in np.eye(w.shape[1])
    ], axis=1)  # fmt: skip
    assert np.allclose(g, numerical, rtol=1e-3, atol=1e-6 * np.abs(g).max()), np.abs(g - numerical).max()
    near = w + 1e-3 * (1 + np.abs(w)) * np.array([0.6, -0.8])[: w.shape[1]]
    stretch = np.linalg.norm(one.gradient(near) - g, axis=1) / np.linalg.norm(near - w, axis=1)
    assert 0.8 * one.smoothness < stretch.max() <= one.smoothness * (1 + 1e-6), (stretch.max(), one.smoothness)
    inner = np.einsum("np,np->n", one.gradient(one.points), one.points)
    over = one.loss(one.points) if one.kind != "restricted" else (one.points**2).sum(axis=1)
    best = (inner / over).min()
    assert one.constant * (1 - 1e-9) <= best <= one.constant * 1.001, (best, one.constant)


@pytest.mark.claim("B6", kind="simulation")
@pytest.mark.parametrize("name", ["star-convex", "quasar-convex", "restricted secant"])
def test_nonconvex_conditions_keep_what_they_promise(name):
    one = LANDSCAPES[name]
    for lr in stable_rates(one):
        found, promised = np.nanmin(one.gamma(lr)), float(one.promised(lr))
        assert found >= promised - 1e-9, (lr, found, promised)
    assert promised == pytest.approx(0.0, abs=1e-12)


@pytest.mark.claim("B6", kind="simulation")
@pytest.mark.parametrize("name", ["star-convex", "quasar-convex"])
def test_star_and_quasar_convexity_cannot_promise_much_more(name):
    """In valleys of the largest curvature gamma falls with at least two thirds of the slope the promise has."""
    one = LANDSCAPES[name]
    low, high = stable_rates(one)[[0, -1]]
    slope = (np.nanmin(one.gamma(low)) - np.nanmin(one.gamma(high))) / (high - low) / one.smoothness
    assert 2 / 3 < slope < 1.0, slope


@pytest.mark.claim("B6", kind="simulation")
def test_without_the_condition_gamma_is_negative():
    """In the hills of x^2 + 10 sin^2 x descent goes away from the minimum it will end in, or from 0."""
    x = np.linspace(0.1, 6, 200)[:, None]
    g, loss = 2 * x + 10 * np.sin(2 * x), (x**2 + 10 * np.sin(x) ** 2)[:, 0]
    path = np.stack([x, x - 0.01 * g], axis=1)
    assert regularity(path, loss[:, None], 0.01, reference=np.zeros(1)).gamma.min() < -0.1


def digit_path(scale, lr, steps, **net):
    """Iterates and batch losses of one net on digits, its start and rate given."""
    net, data = mlp((64, 8, 10), **net), digits().subset(slice(0, 200))
    start = net.start([5]) * scale
    common = {"lr": lr, "seeds": [5], "threads": 1}
    pieces = train_in_pieces(net, data, start=start, stops=np.arange(1, steps + 1), **common)
    path = np.stack([start, *(record.final for record in pieces)], axis=1)
    return path, train(net, data, start=start, steps=steps, **common).loss


@pytest.mark.compiled
@pytest.mark.claim("B7", kind="simulation")
@pytest.mark.parametrize(("factor", "steps", "error"), [(2.0, 60, 0.0), (3.0, 12, 1e-9)])
def test_gamma_of_a_normalised_net_does_not_see_the_scale(factor, steps, error):
    """w -> c w, lr -> c^2 lr: to the last bit for a power of two, and up to the growth of rounding otherwise."""
    one = regularity(*digit_path(1.0, 0.1, steps, normalised_output=True), 0.1)
    other = regularity(*digit_path(factor, 0.1 * factor**2, steps, normalised_output=True), 0.1 * factor**2)
    assert np.abs(other.gamma / one.gamma - 1).max() <= error, np.abs(other.gamma / one.gamma - 1).max()
    assert np.abs(other.cosine - one.cosine).max() <= error


@pytest.mark.compiled
@pytest.mark.claim("B7", kind="simulation")
def test_gamma_of_a_plain_net_does():
    one = regularity(*digit_path(1.0, 0.1, 30, normalised=False), 0.1)
    other = regularity(*digit_path(2.0, 0.4, 30, normalised=False), 0.4)
    assert abs(other.mean / one.mean - 1) > 0.2, (one.mean, other.mean)


@given(paths, losses, rates, spread().map(lambda x: float(np.exp(x))), spread().map(lambda x: float(np.exp(x))))
def test_relative_gamma_has_no_units(w, loss, lr, weights, rate):
    """Units of weights, losses and learning rate change gamma, but not the relative gamma or the cosine."""
    w[:, 0] += 3.0  # D_0 must not be 0
    one = regularity(w, loss, lr)
    other = regularity(w * weights, loss * weights * rate, lr * rate)
    assert np.allclose(one.relative(2), other.relative(2), rtol=1e-9, atol=1e-12), (one.relative(2), other.relative(2))
    assert np.allclose(one.cosine, other.cosine, atol=1e-9, equal_nan=True)
    assert np.allclose(one.gamma * weights / rate**2, other.gamma, rtol=1e-9, atol=1e-12)


def test_what_the_distance_grows_by_is_exact_near_the_reference():
    """No cancellation: distances of 1 that change by 1e-18 of themselves."""
    far = np.array([[1.0, 0.0], [1.0, 1e-9]])
    assert regularity(far, np.ones(1), 1.0, reference=np.zeros(2)).fall[0, 0] == -1e-18


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"losses": np.ones(3)}, r"`losses` must hold one number a step, \(1, 5\): it has shape \(1, 3\)"),
        ({"iterates": np.ones(3)}, r"`iterates` must have shape \(any, any, any\)"),
        ({"iterates": np.full((6, 2), np.nan)}, "`iterates` must be finite"),
        ({"lr": 0.0}, "`lr` must be positive: lr=0.0"),
        ({"reference": "finale"}, "did you mean 'final'"),
        ({"reference": np.ones(3)}, r"`reference` must have shape \(1, 2\)"),
        ({"least_loss": 2.0}, "`least_loss` must not exceed a loss"),
    ],
)
def test_refusals(change, message):
    arguments = {"iterates": np.ones((6, 2)), "losses": np.ones(5), "lr": 0.1, **change}
    with pytest.raises(ValueError, match=message):
        regularity(arguments.pop("iterates"), arguments.pop("losses"), arguments.pop("lr"), **arguments)


def test_windows_longer_than_the_run_are_refused():
    with pytest.raises(ValueError, match="`steps` must not exceed the run: steps=9, 5 steps were seen"):
        regularity(np.ones((6, 2)), np.ones(5), 0.1).gamma_over(9)
