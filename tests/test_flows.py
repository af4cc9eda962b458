"""Gradient flows: tableaus, orders, conservation, agreement with scipy, and members that step on their
own."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.integrate import solve_ivp

import sdetheory
from sdetheory import flow
from sdetheory.integrators import DOP853, RK4, Euler, GaussLegendre4, dop853_tableau
from sdetheory.integrators.gauss_legendre import GAUSS_A, GAUSS_B
from sdetheory.integrators.runge_kutta import EULER_A, EULER_B, RK4_A, RK4_B
from sdetheory.lanes.vector import load, store
from sdetheory.lanes.verbs import gradient
from sdetheory.models.deep_linear import deep_linear, scalar_chain
from sdetheory.models.weights import balanced_weights, pack
from sdetheory.observables import chain_imbalance, end_to_end, imbalance_norm, matrix_imbalance, squared_norm
from sdetheory.observers import SquaredNorm
from sdetheory.predictions import deep_linear as predictions
from sdetheory.statistics import fit_order
from tests.deep_linear_cases import SLOPE, STARTS, close, gradient_by_hand

WIDTHS = (3, 4, 2, 3)
TARGET = np.array([[1.0, 0.5, 0.0], [-0.5, 2.0, 0.3], [0.2, 0.0, -1.0]])
MODEL = deep_linear(WIDTHS, TARGET)
W0 = 0.7 * np.random.default_rng(7).standard_normal((11, 26))


def simulate(integrator, w0, ts, weight_decay=0.0, model=MODEL, **options):
    """A gradient flow, quietly, all states kept."""
    return sdetheory.simulate(
        model,
        sdetheory.GradientFlow(weight_decay),
        w0,
        ts,
        integrator=integrator,
        keep_states=True,
        **{"threads": 1, "progress": False, **options},
    )


def oracle(w, ts, weight_decay=0.0, method="DOP853", **tolerances):
    """The same flow by scipy, on the gradient by hand."""

    def force(t, state):
        return (
            -gradient_by_hand(state, WIDTHS, np.eye(3), TARGET, SLOPE["square"], 1.0) - weight_decay * state
        )

    return solve_ivp(force, (0, ts[-1]), w, method=method, t_eval=ts, **tolerances)


# ---- tableaus


def order_conditions(a, b):
    """Residuals of the eight conditions for order 4, by order (Butcher; Hairer, Norsett, Wanner, table
    II.2.1)."""
    c = a.sum(axis=1)
    return {
        1: [b.sum() - 1],
        2: [b @ c - 1 / 2],
        3: [b @ c**2 - 1 / 3, b @ a @ c - 1 / 6],
        4: [b @ c**3 - 1 / 4, b @ (c * (a @ c)) - 1 / 8, b @ a @ c**2 - 1 / 12, b @ a @ a @ c - 1 / 24],
    }


@pytest.mark.parametrize(
    ("integrator", "a", "b"),
    [
        (Euler(), EULER_A, EULER_B),
        (RK4(), RK4_A, RK4_B),
        (GaussLegendre4(), GAUSS_A, GAUSS_B),
        (DOP853(), dop853_tableau.A[:12, :12], dop853_tableau.B[:12]),
    ],
)
def test_tableau_meets_the_conditions_of_its_declared_order(integrator, a, b):
    for order, residuals in order_conditions(a, b).items():
        if order <= integrator.order:
            assert np.abs(residuals).max() < 1e-14, f"{integrator}: order {order}: {residuals}"
        elif order == integrator.order + 1:
            assert np.abs(residuals).max() > 1e-3, (
                f"{integrator} has a higher order than declared: {residuals}"
            )


def test_gauss_tableau_conserves_quadratic_invariants():
    """b_i a_ij + b_j a_ji = b_i b_j (Cooper 1987)."""
    defect = GAUSS_B[:, None] * GAUSS_A + (GAUSS_B[:, None] * GAUSS_A).T - np.outer(GAUSS_B, GAUSS_B)
    assert np.abs(defect).max() < 1e-16, defect


def test_dop853_tableau_is_hairers():
    """Against scipy's copy, and the quadrature and row-sum conditions up to order 8."""
    from scipy.integrate._ivp import dop853_coefficients as theirs

    assert np.array_equal(dop853_tableau.A, theirs.A) and np.array_equal(dop853_tableau.B[:12], theirs.B)
    assert np.array_equal(dop853_tableau.E3[:13], theirs.E3) and np.array_equal(
        dop853_tableau.E5[:13], theirs.E5
    )
    assert np.array_equal(dop853_tableau.D, theirs.D)
    nodes = dop853_tableau.NODES
    close(dop853_tableau.A.sum(axis=1), nodes, tolerance=1e-14)
    for k in range(8):
        close(dop853_tableau.B[:12] @ nodes[:12] ** k, 1 / (k + 1), tolerance=1e-15)


def test_dop853_tableau_has_its_declared_order():
    """Global error of the tableau with equal steps on the pendulum against the same with small ones."""
    a, b = dop853_tableau.A[:12, :12], dop853_tableau.B[:12]

    def pendulum(steps):
        y, h = np.array([1.5, 0.0]), 4.0 / steps
        for _ in range(steps):
            k = np.zeros((12, 2))
            for s in range(12):
                angle, speed = y + h * a[s] @ k
                k[s] = speed, -np.sin(angle)
            y = y + h * b @ k
        return y

    numbers = np.array([4, 5, 6, 8, 10])
    errors = np.array([np.abs(pendulum(n) - pendulum(64)).max() for n in numbers])
    slope = fit_order(1 / numbers, errors, floor=1e-13)
    assert abs(slope - DOP853.order) < 0.2, (slope, errors)


# ---- orders and conservation on the compiled schemes


@pytest.fixture(scope="module")
def exact():
    return oracle(W0[0], [1.0], 0.1, rtol=1e-13, atol=1e-14).y[:, -1]


STEPS = {"Euler": (160, 320, 640, 1280), "RK4": (20, 28, 40, 56), "GaussLegendre4": (14, 20, 28, 40)}


@pytest.mark.parametrize("integrator", [Euler(), RK4(), GaussLegendre4()])
def test_fixed_step_schemes_have_their_declared_order(integrator, exact):
    numbers = np.array(STEPS[type(integrator).__name__])
    errors = [np.abs(simulate(integrator, W0[0], [1.0], 0.1, dt=1 / n).final - exact).max() for n in numbers]
    slope = fit_order(1 / numbers, np.array(errors), floor=1e-12)
    assert abs(slope - integrator.order) < 0.2, f"slope {slope}, errors {errors}"


@pytest.mark.compiled
@pytest.mark.claim("D7", kind="property")
@given(
    hnp.arrays(np.float64, 26, elements=st.floats(-0.5, 0.5, width=32)), st.sampled_from((0.03, 0.05, 0.1))
)
@example(np.zeros(26), 0.1)
@example(np.full(26, 0.5), 0.1)
def test_gauss_legendre_conserves_balancedness_to_rounding(w, dt):
    """W_{j+1}^T W_{j+1} - W_j W_j^T along 40 steps of any size that the sweeps solve."""
    run = simulate(GaussLegendre4(), w, dt * np.arange(41), dt=dt)
    scale = max(1.0, squared_norm(run.states).max())
    for defect in matrix_imbalance(run.states[0], WIDTHS):
        close(defect, defect[0], tolerance=1e-14 * 10, scale=scale)


@pytest.mark.compiled
@pytest.mark.claim("D7", kind="simulation")
@pytest.mark.parametrize("integrator", [Euler(), RK4()])
def test_explicit_schemes_conserve_balancedness_to_their_order(integrator):
    numbers = (1 if integrator.order == 1 else 6) * np.array(STEPS[type(integrator).__name__])
    defects = []
    for n in numbers:
        states = simulate(integrator, W0[1], [0.0, 1.0], dt=1 / n).states[0]
        defects.append(max(np.abs(d[1] - d[0]).max() for d in matrix_imbalance(states, WIDTHS)))
    slope = fit_order(1 / numbers, np.array(defects), floor=1e-13)
    assert abs(slope - integrator.order) < 0.2, f"slope {slope}, defects {defects}"


@pytest.mark.compiled
@pytest.mark.claim("D7", "D14", kind="simulation")
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_imbalance_decays_at_twice_the_weight_decay(weight_decay):
    """D_j(t) = e^{-2 wd t} D_j(0) for every matrix entry, DOP853 at its tolerance."""
    ts = np.array([0.0, 0.5, 2.0, 5.0])
    run = simulate(DOP853(1e-10, 1e-12), W0, ts, weight_decay)
    for defect in matrix_imbalance(run.states, WIDTHS):
        predicted = predictions.imbalance_flow(
            t=ts[:, None, None], weight_decay=weight_decay, imbalance0=defect[:, :1]
        )
        close(defect, predicted, tolerance=2e-8)


@pytest.mark.claim("D7", kind="simulation")
@pytest.mark.compiled
def test_norm_of_scale_invariant_weights_is_conserved():
    """|w|^2 under the Rayleigh flow: to rounding with Gauss-Legendre, whatever the step."""
    model = sdetheory.Rayleigh(np.array([0.0, 0.3, 1.0, 2.5]))
    run = simulate(GaussLegendre4(), [1.0, -0.5, 0.7, 0.2], 0.2 * np.arange(201), model=model, dt=0.2)
    close(squared_norm(run.states[0]), squared_norm(run.states[0, 0]), tolerance=2e-14)
    assert abs(run.final[0, 1:] / run.final[0, 0]).max() < 1e-4, run.final


@pytest.mark.compiled
def test_gauss_legendre_refuses_steps_its_sweeps_cannot_solve():
    with pytest.raises(sdetheory.Diverged, match="reduce dt"):
        simulate(GaussLegendre4(), 3 * W0[0], [40.0], dt=4.0)


# ---- DOP853


@pytest.mark.parametrize(
    ("rtol", "atol"), [pytest.param(1e-8, 1e-10, marks=pytest.mark.compiled), (1e-5, 1e-6)]
)
def test_dop853_takes_scipys_steps(rtol, atol):
    """Same numbers of steps, same dense output; a member differs from scipy by rounding only."""
    ts = np.array([0.0, 0.3, 0.31, 1.0, 5.0, 20.0])
    run = simulate(DOP853(rtol, atol), W0, ts, 0.1)
    for i in range(0, 11, 3):
        theirs = oracle(W0[i], ts, 0.1, rtol=rtol, atol=atol)
        close(run.states[i], theirs.y.T, tolerance=max(1e-12, 1e-4 * rtol))
        steps = run.how["accepted_steps"][i] + run.how["rejected_steps"][i]
        assert theirs.nfev - 2 - 12 * steps in range(0, 3 * len(ts) + 1, 3), (theirs.nfev, steps)


@pytest.mark.compiled
def test_dop853_meets_its_tolerance_against_an_implicit_scheme():
    ts = np.array([0.7, 3.0])
    run = simulate(DOP853(1e-10, 1e-12), W0[:1], ts, 0.1)
    theirs = oracle(W0[0], ts, 0.1, method="Radau", rtol=1e-10, atol=1e-12)
    close(run.states[0], theirs.y.T, tolerance=1e-8)


@pytest.mark.compiled
def test_members_do_not_depend_on_company_width_threads_or_times():
    ts = np.array([0.5, 2.0, 4.0])
    run = simulate(DOP853(), W0, ts, 0.1)
    other = simulate(DOP853(), W0, ts, 0.1, threads=2)
    assert np.array_equal(run.states, other.states), "threads changed the result"
    some = simulate(DOP853(), W0[[8, 2, 5]], ts, 0.1)
    assert np.array_equal(some.states, run.states[[8, 2, 5]]), "company changed the result"
    more = simulate(DOP853(), W0, np.linspace(0, 4, 9), 0.1)
    assert np.array_equal(more.states[:, [1, 4, 8]], run.states), "more times changed the states"
    assert np.array_equal(more.states[:, 0], W0) and np.array_equal(more.final, more.states[:, -1])


@pytest.mark.compiled
def test_the_shared_queue_and_pauses_change_no_bit(monkeypatch, capsys):
    """Few lanes, three threads, short slices: members meet other lanes, and are left and taken up in mid-step."""
    w0 = np.resize(W0, (150, 26)) * np.linspace(0.2, 1.5, 150)[:, None]
    run = simulate(DOP853(), w0, [1.0, 4.0], 0.1)
    assert np.ptp(run.how["accepted_steps"]) > 20, run.how["accepted_steps"]  # members of unequal length
    monkeypatch.setattr(flow, "SLICE", 1)
    other = simulate(DOP853(), w0, [1.0, 4.0], 0.1, threads=3, progress=True)
    assert np.array_equal(run.states, other.states), np.abs(run.states - other.states).max()
    assert all(np.array_equal(run.how[k], other.how[k]) for k in ("accepted_steps", "rejected_steps"))
    assert "150/150" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32])
def test_members_do_not_depend_on_wider_lanes(width):
    ts = np.array([0.5, 2.0, 4.0])
    narrow, wide = simulate(DOP853(), W0, ts, 0.1), simulate(DOP853(), W0, ts, 0.1, width=width)
    assert np.array_equal(narrow.states, wide.states), np.abs(narrow.states - wide.states).max()


class Power(NamedTuple):
    """L = rate |w|^4 / 4: the flow is w' = -rate |w|^2 w, which blows up in finite time for a negative
    rate."""

    rate: float


@gradient.of(Power)
def _power_gradient(model, w, out, work):
    q = 0.0
    for i in range(w.size):
        q = q + load(w, i) * load(w, i)
    for i in range(w.size):
        store(out, i, model.rate * q * load(w, i))


@pytest.mark.compiled
def test_blow_up_marks_its_members_and_spares_the_others():
    """|w|^2(t) = q/(1 - 2 q t) leaves the numbers at t = 1/(2 q); with an observer."""
    q = np.array([0.1, 4.0, 0.2, 1.0, 0.3] * 5)
    w0 = np.stack([np.sqrt(q / 2), -np.sqrt(q / 2)], axis=1)
    run = simulate(DOP853(), w0, [0.0, 0.3, 0.4], model=Power(-1.0), width=8, observe=[SquaredNorm()])
    assert np.array_equal(run.diverged, 2 * q * 0.4 >= 1), run.diverged
    assert (run.diverged_step[run.diverged] > 10).all() and (run.diverged_step[~run.diverged] == -1).all()
    healthy = ~run.diverged
    expected = q[healthy, None] / (1 - 2 * q[healthy, None] * np.array([0.0, 0.3, 0.4]))
    close(run["squared_norm"][healthy], expected, tolerance=1e-7)
    assert np.isnan(run["squared_norm"][q == 4.0, 1:]).all()
    with pytest.raises(sdetheory.Diverged, match=r"t=0\.125"):
        simulate(DOP853(), w0[q == 4.0], [0.3], model=Power(-1.0), width=8, observe=[SquaredNorm()])


# ---- what the flows of deep linear networks are known to do


def test_flow_ends_where_ginsburgs_figure_ends():
    ends = [(0.55961, 1.78694), (2.05587, 0.48641), (-0.53553, -1.86730), (1.68050, 0.59506)]
    run = simulate(DOP853(1e-11, 1e-13), STARTS, [0.0, 60.0], model=scalar_chain(2))
    close(run.final, ends, tolerance=6e-6)
    close(run.final, np.stack(predictions.flow_endpoint(*STARTS.T), axis=1), tolerance=1e-9)
    imbalance = chain_imbalance(run.states)[:, :, 0, 1]
    close(imbalance[:, 1], imbalance[:, 0], tolerance=1e-9)


@pytest.mark.compiled
@pytest.mark.claim("D14", "D18", kind="simulation")
def test_weight_decay_flow_slides_to_the_balanced_minimum():
    """mu = 0.05: D = D_0 e^{-4 mu t}, resting at W = 1 - mu with w_1 = w_2."""
    ts = np.array([0.0, 5.0, 20.0, 150.0])
    run = simulate(DOP853(1e-11, 1e-13), STARTS, ts, 0.1, model=scalar_chain(2))
    imbalance = chain_imbalance(run.states)[:, :, 0, 1]
    close(
        imbalance,
        predictions.ginsburg_imbalance_flow(step=ts, lr=1.0, penalty=0.05, imbalance0=imbalance[:, :1]),
        tolerance=1e-9,
    )
    close(run.final.prod(axis=1), predictions.ginsburg_end_to_end(penalty=0.05), tolerance=1e-9)


@pytest.mark.claim("D37", kind="simulation")
def test_balanced_aligned_modes_follow_the_sigmoid():
    """Two layers, diagonal target: every mode a(t) on its own (Saxe, McClelland, Ganguli 2014)."""
    strengths, start = np.array([3.0, 1.5, 0.5]), np.array([1e-3, 1e-2, 1e-4])
    ts = np.linspace(0, 12, 13)
    run = simulate(
        DOP853(1e-10, 1e-12),
        pack([np.diag(np.sqrt(start))] * 2),
        ts,
        model=deep_linear((3, 3, 3), np.diag(strengths)),
    )
    found = np.diagonal(end_to_end(run.states[0], (3, 3, 3)), axis1=1, axis2=2)
    close(
        found,
        predictions.mode_strength(t=ts[:, None], two_layer_target=strengths, strength0=start),
        tolerance=1e-8,
    )


@pytest.mark.compiled
@pytest.mark.claim("D7", kind="simulation")
def test_balanced_start_stays_balanced():
    w0 = balanced_weights(WIDTHS[:2] + (4, 3), 0.1 * TARGET, np.random.default_rng(2))
    run = simulate(DOP853(1e-11, 1e-13), w0, [0.0, 1.0, 10.0], model=deep_linear(WIDTHS[:2] + (4, 3), TARGET))
    close(imbalance_norm(run.states[0], WIDTHS[:2] + (4, 3)), 0.0, tolerance=1e-9)
    close(end_to_end(run.final[0], WIDTHS[:2] + (4, 3)), TARGET, tolerance=1e-3)


# ---- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: simulate(DOP853(), W0, [2.0, 1.0]), "`ts` must be non-negative and strictly increasing"),
        (lambda: simulate(DOP853(), W0, [-1.0, 1.0]), "`ts` must be non-negative and strictly increasing"),
        (lambda: simulate(DOP853(), np.full(26, np.nan), [1.0]), "`w0` must be finite"),
        (lambda: simulate(DOP853(), W0[:, :-1], [1.0]), "`w0` must have 26 weights"),
        (lambda: simulate(DOP853(rtol=1e-16), W0, [1.0]), "`rtol` must be at least"),
        (lambda: simulate(DOP853(atol=-1.0), W0, [1.0]), "`atol` must not be negative"),
        (lambda: simulate(GaussLegendre4(0.0), W0, [1.0], dt=0.1), "`tolerance` must be positive"),
        (lambda: simulate(RK4(), W0, [1.0], dt=0.3), "`dt` must divide the spacing of `ts`"),
        (
            lambda: simulate(DOP853(), W0, [1.0], sdetheory.dynamics.Piecewise((0.1, 0.2), (3,))),
            "`weight_decay` must be a number",
        ),
        (
            lambda: flow.solve(MODEL, sdetheory.GradientFlow(), np.full(26, np.inf), [1.0]),
            "`w0` must be finite",
        ),
        (lambda: flow.solve(MODEL, sdetheory.GradientFlow(), W0, [1.0], width=12), "`width` must be one of"),
    ],
)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
