"""Predictions: units, limits, letter forms, numbers from the papers, and what they refuse."""

import subprocess
import sys

import mpmath
import numpy as np
import pytest
import scipy.special
import sympy as sp
from hypothesis import example, given
from hypothesis import strategies as st

from sdetheory import predictions
from sdetheory.predictions import deep_linear, intrinsic_lr
from sdetheory.predictions.functions import bessel_ratio_values, saturation_values
from sdetheory.predictions.letters import NotRational, letter_form

ALL = predictions.all()
names = pytest.mark.parametrize("p", ALL, ids=lambda p: f"{p.theory}.{p.name}")
rates = st.floats(1e-4, 1.0)
positive = st.floats(1e-3, 1e3)
times = st.floats(0, 1e5)

# What besides weights (w) and losses can be rescaled: the unit of the end to end product is y; some formulas
# fix the loss (a square: loss = y^2), some also the target (1, so that y = 1), two-layer ones y = w^2.
FREE = {"w": 1.7, "loss": 0.6, "y": 2.3}
SQUARE = {"w": 1.7, "loss": 2.3**2, "y": 2.3}
TARGET_ONE = {"w": 1.7, "loss": 1.0, "y": 1.0}
TWO_LAYERS = {"w": 1.7, "loss": 1.7**4, "y": 1.7**2}
TWO_LAYERS_ONE = {"w": 1.0, "loss": 1.0, "y": 1.0}
FIXED_SCALES = {
    **dict.fromkeys(("sharpness_at_minimum", "averaged_noise_minimum"), SQUARE),
    **dict.fromkeys(
        ("ginsburg_loss_rate", "optimisation_time", "weight_decay_band_lower"), TARGET_ONE
    ),
    **dict.fromkeys(("sharpness_two_layers", "equilibrium_end_to_end", "mode_strength"), TWO_LAYERS),
    **dict.fromkeys(("ginsburg_end_to_end", "ginsburg_stationary_penalty", "critical_penalty",
    "coexistence_penalty",
                     "mode_rate", "label_noise_imbalance_rate"), TWO_LAYERS_ONE),
}  # fmt: skip

RANGES = {"momentum": (0.01, 0.05)}  # small: real roots of the exponential learning rate
NOT_RATIONAL = {"vmf_mean"}


def scale(unit, scales):
    """The factor by which a quantity of this unit changes when the base units are rescaled."""
    expr = sp.sympify(unit.replace("^", "**"))
    return float(expr.subs({sp.Symbol(name): value for name, value in scales.items()}))


def inputs(p, rng=None):
    """Arguments inside the domain and the conditions of a prediction."""
    rng = rng or np.random.default_rng(7)
    values = {name: float(rng.uniform(*RANGES.get(name, (0.2, 0.6)))) for name in p.known}
    for name, low in (
        ("dimension", 3.0),
        ("refinement", 3.0),
        ("closeness", 1.5),
        ("depth", 3.0),
        ("factor", 4.0),
        ("two_layer_target", 1.5),
        ("target", 1.5),
    ):
        if name in values:
            values[name] = low + values[name]
    return values


@names
def test_rescaling_the_base_units_rescales_the_value(p):
    scales = FIXED_SCALES.get(p.name, FREE)
    values = inputs(p)
    moved = {name: value * scale(p.units[name], scales) for name, value in values.items()}
    if p.name == "equilibrium_end_to_end":
        moved["weight_decay"] = values["weight_decay"] * scales["w"] ** 2
    wanted = p(**values) * scale(p.unit, scales)
    assert np.isclose(p(**moved), wanted, rtol=1e-12), (p.name, p(**moved), wanted)


@names
def test_letter_form_means_the_formula(p):
    if p.name in NOT_RATIONAL:
        with pytest.raises(NotRational):
            letter_form(p.expr)
        return
    form, values = p.letters, {p.symbols[k]: sp.Float(v, 40) for k, v in inputs(p).items()}
    known = dict(values)
    for letter, meaning in form.meanings.items():
        known[letter] = meaning.subs(known).evalf(40)
    gap = abs((form.expr.subs(known) - p.expr.rewrite(sp.exp).subs(values)).evalf(30))
    assert gap < 1e-25, (p.name, gap)
    for relation in form.relations:
        assert abs(relation.subs(known).evalf(30)) < 1e-25, (p.name, relation)


@pytest.mark.parametrize(
    ("p", "by"),
    [(intrinsic_lr.gamma, "t"), (intrinsic_lr.direction_correlation, "t"), (intrinsic_lr.squared_norm, "lr"),
     (deep_linear.flow_endpoint_two_layers, "imbalance"), (intrinsic_lr.time_to_equilibrium, "distance0")],
    ids=lambda v: getattr(v, "name", v),
)  # fmt: skip
def test_derivation_table_differentiates(p, by):
    values = inputs(p)
    step = 1e-6
    numeric = (p(**{**values, by: values[by] + step}) - p(**{**values, by: values[by] - step})) / (2 * step)
    known = {p.symbols[k]: sp.Float(v, 40) for k, v in values.items()}
    for letter, meaning in p.letters.meanings.items():
        known[letter] = meaning.subs(known).evalf(40)
    exact = float(p.letters.rate(p.symbols[by]).subs(known))
    assert np.isclose(numeric, exact, rtol=1e-6), (p.name, numeric, exact)


@names
def test_names_sources_and_latex(p):
    module = getattr(predictions, p.theory)
    assert (
        getattr(module, p.name) is p
        and predictions.find(p.name)
        and predictions.find(f"{p.theory}.{p.name}") is p
    )
    assert p.says and p.source and " = " in p.latex and p.formula
    arrays = {name: np.full((2, 1), value) for name, value in inputs(p).items()}
    assert np.shape(p(**arrays)) == ((2, 1) if arrays else ())
    assert isinstance(p(**inputs(p)), float)


@given(st.floats(0, 700))
@example(0.0)
@example(1e-300)
@example(1e-9)
def test_saturation_is_exact_at_its_limit(x):
    with mpmath.workdps(40):
        wanted = float(-mpmath.expm1(-mpmath.mpf(x)) / x) if x else 1.0
    assert np.isclose(saturation_values(x), wanted, rtol=5e-16, atol=0), (x, saturation_values(x), wanted)


@given(st.floats(2, 60), st.floats(0, 400))
@example(2.0, 0.0)
@example(3.0, 1e-12)
@example(8.0, 2.4806184264041576e-86)
def test_bessel_ratio_is_scipys(d, kappa):
    with np.errstate(invalid="ignore", divide="ignore"):
        above, below = scipy.special.ive([d / 2, d / 2 - 1], kappa)
        # where the functions underflow, the first term of the series: kappa/d to relative order kappa^2
        wanted = kappa / d if kappa < 1e-8 else above / below
    if np.isfinite(wanted):
        assert np.isclose(bessel_ratio_values(d, kappa), wanted, rtol=1e-12, atol=1e-300), (d, kappa, wanted)


def test_bessel_ratio_where_bessel_functions_underflow():
    value = bessel_ratio_values(5000.0, 3.0)
    assert np.isclose(value, 3 / 5000, rtol=1e-5), value


@pytest.mark.claim("I10", kind="property")
@given(times, times, rates, st.floats(0, 1), positive, positive)
@example(10.0, 20.0, 0.1, 0.0, 2.0, 1.0)
@example(0.0, 0.0, 1.0, 1.0, 1.0, 1.0)
def test_gamma_is_a_flow(t1, t2, lr, weight_decay, trace, gamma0):
    constants = {"lr": lr, "weight_decay": weight_decay, "trace": trace}
    middle = intrinsic_lr.gamma(t=t1, gamma0=gamma0, **constants)
    there = intrinsic_lr.gamma(t=t2, gamma0=middle, **constants)
    direct = intrinsic_lr.gamma(t=t1 + t2, gamma0=gamma0, **constants)
    assert np.isclose(there, direct, rtol=1e-12), (there, direct)


@given(positive, positive, rates, positive)
def test_gamma_without_weight_decay_is_its_limit(gamma0, trace, lr, t):
    at_zero = intrinsic_lr.gamma(t=t, lr=lr, weight_decay=0.0, trace=trace, gamma0=gamma0)
    near = intrinsic_lr.gamma(t=t, lr=lr, weight_decay=1e-14, trace=trace, gamma0=gamma0)
    assert at_zero == gamma0 + 2 * trace * t and np.isclose(near, at_zero, rtol=1e-9), (at_zero, near)


@pytest.mark.claim("I16", "I18", kind="property")
@given(rates, rates, positive, positive)
def test_gamma_settles_at_equilibrium_at_the_relaxation_rate(lr, weight_decay, trace, ratio):
    star = intrinsic_lr.equilibrium_gamma(lr=lr, weight_decay=weight_decay, trace=trace)
    tau = intrinsic_lr.relaxation_time(lr=lr, weight_decay=weight_decay)
    later = intrinsic_lr.gamma(t=tau, lr=lr, weight_decay=weight_decay, trace=trace, gamma0=ratio * star)
    assert np.isclose(later / star - 1, (ratio - 1) / np.e, rtol=1e-9, atol=1e-12), (later / star, ratio)
    squared = intrinsic_lr.equilibrium_squared_norm(lr=lr, weight_decay=weight_decay, trace=trace)
    assert np.isclose(intrinsic_lr.gamma_of_norm(lr=lr, squared_norm=squared), star, rtol=1e-12), (
        squared,
        star,
    )


@pytest.mark.claim("I20", "I21", kind="property")
@given(st.floats(1.5, 50), rates, st.floats(1e-3, 1), positive, st.floats(0, 3))
def test_drops_are_chained_phases(factor, lr, weight_decay, trace, relative_time):
    star = intrinsic_lr.equilibrium_squared_norm(lr=lr, weight_decay=weight_decay, trace=trace)
    t = relative_time * factor / (lr * weight_decay)
    for prediction, phase in (
        (intrinsic_lr.lr_drop_gamma_ratio, (lr / factor, weight_decay)),
        (intrinsic_lr.wd_drop_gamma_ratio, (lr, weight_decay / factor)),
    ):
        start = 3.0
        phases = [(0.0, lr, weight_decay), (start, *phase)]
        gamma = intrinsic_lr.gamma_piecewise([start + t], phases, trace=trace, squared_norm0=star)[0]
        new = intrinsic_lr.equilibrium_gamma(lr=phase[0], weight_decay=phase[1], trace=trace)
        ratio = prediction(t=t, lr=lr, weight_decay=weight_decay, factor=factor)
        assert np.isclose(gamma / new, ratio, rtol=1e-9), (prediction.name, gamma / new, ratio)


def test_numbers_of_the_lr_drop():
    t = np.array([0, 0.25, 0.5, 1, 2]) * 10  # in units of 1/(lr wd) after the drop, at lr wd = 1 before it
    ratio = intrinsic_lr.lr_drop_effective_lr_ratio(t=t, lr=1.0, weight_decay=1.0, factor=10.0)
    assert np.allclose(ratio, [0.316, 0.48, 0.67, 0.93, 0.998], atol=0.005), ratio
    assert np.isclose(ratio[0] * intrinsic_lr.lr_drop_recovery(factor=10.0), 1.0), ratio


def test_numbers_of_the_von_mises_fisher_example():
    given_ = {"lr": 0.01, "weight_decay": 0.2, "strength": 0.06, "noise": 1.0, "dimension": 3.0}
    kappa = intrinsic_lr.vmf_concentration(**given_)
    assert abs(kappa - 2.683) < 1e-3 and abs(intrinsic_lr.vmf_mean(**given_) - 0.6367) < 1e-4
    assert np.isclose(intrinsic_lr.vmf_mean(**given_), 1 / np.tanh(kappa) - 1 / kappa, rtol=1e-13)


@pytest.mark.claim("D19", kind="property")
def test_numbers_of_the_weight_decay_thresholds():
    critical = deep_linear.critical_penalty(depth=np.array([3, 4, 5, 10]))
    assert np.allclose(critical, [0.47247, 0.38490, 0.34698, 0.29039], atol=6e-6), critical
    assert np.isclose(deep_linear.coexistence_penalty(depth=3.0), 0.39685, atol=6e-6)


@pytest.mark.claim("D7", kind="property")
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 5))
@example(1e-9, 1e4, 1.0)
@example(-0.2, -1.8, 1.0)
def test_flow_endpoint_fits_the_target_and_keeps_the_imbalance(first, second, target):
    if first + second == 0:
        with pytest.raises(ValueError, match="must not be zero"):
            deep_linear.flow_endpoint(first, second, target)
        return
    w1, w2 = deep_linear.flow_endpoint(first, second, target)
    imbalance = first**2 - second**2
    assert np.isclose(w1 * w2, target, rtol=1e-12), (w1, w2)
    assert np.isclose(w1**2 - w2**2, imbalance, rtol=1e-11, atol=1e-12), (w1, w2, imbalance)
    assert np.sign(w1) == np.sign(w2) == np.sign(first + second), (w1, w2)


def test_flow_endpoints_of_ginsburgs_plane():
    starts = np.array([(0.1, 1.7), (2, 0.1), (-0.2, -1.8), (1.6, 0.3)]).T
    ends = np.stack(deep_linear.flow_endpoint(*starts), axis=1)
    wanted = [(0.55961, 1.78694), (2.05587, 0.48641), (-0.53553, -1.86730), (1.68050, 0.59506)]
    assert np.allclose(ends, wanted, atol=6e-6), ends


@pytest.mark.claim("D14", kind="property")
@given(st.floats(0, 50), rates, rates, st.floats(-5, 5))
def test_ginsburgs_convention_is_ours_converted(step, lr, penalty, imbalance0):
    his = deep_linear.ginsburg_imbalance_flow(step=step, lr=lr, penalty=penalty, imbalance0=imbalance0)
    decay = deep_linear.weight_decay_of_penalty(penalty=penalty)
    ours = deep_linear.imbalance_flow(t=lr * step, weight_decay=decay, imbalance0=imbalance0)
    assert np.isclose(his, ours, rtol=1e-12, atol=1e-300), (his, ours)
    assert np.isclose(his, imbalance0 * np.exp(-4 * lr * penalty * step), rtol=1e-12, atol=1e-300), (
        his,
        imbalance0,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": -1.0}, "`lr` must be finite and positive: lr=-1.0"),
        ({"t": [0.0, -2.0]}, "`t` must be finite and not negative: t=-2.0"),
        ({"trace": float("nan")}, "`trace` must be finite"),
        ({"lr": "fast"}, "`lr` must be a number"),
        ({"weight_decoy": 1.0}, "did you mean 'weight_decay'"),
    ],
)
def test_wrong_arguments_are_refused_with_their_name(values, message):
    good = {"t": 1.0, "lr": 0.1, "weight_decay": 0.1, "trace": 1.0, "gamma0": 1.0}
    with pytest.raises(ValueError, match=message):
        intrinsic_lr.gamma(**{**good, **values})


def test_missing_arguments_and_broken_conditions_are_named():
    with pytest.raises(ValueError, match="needs `t`, `gamma0`"):
        intrinsic_lr.gamma(lr=0.1, weight_decay=0.1, trace=1.0)
    with pytest.raises(ValueError, match="needs weight_decay > 0: weight_decay=0"):
        intrinsic_lr.equilibrium_gamma(lr=0.1, weight_decay=0, trace=1.0)
    with pytest.raises(ValueError, match="lr\\*weight_decay < 1"):
        intrinsic_lr.turn_cosine(lr=2.0, weight_decay=1.0)
    with pytest.raises(LookupError, match="did you mean 'gamma'"):
        predictions.find("gama")
    with pytest.raises(ValueError, match="increasing starts"):
        intrinsic_lr.gamma_piecewise([0.0], [(0, 1, 1), (0, 1, 1)], trace=1.0, squared_norm0=1.0)
    with pytest.raises(ValueError, match="before the first phase"):
        intrinsic_lr.gamma_piecewise([0.0], [(1, 1, 1)], trace=1.0, squared_norm0=1.0)
    with pytest.raises(ValueError, match="symbols without a Quantity: banana"):
        predictions.Prediction("p", "says", sp.Symbol("banana"), "1", "source", ())


def test_shapes_that_do_not_go_together_are_named():
    with pytest.raises(ValueError, match=r"gamma needs arrays whose shapes go together: t \(3,\), lr \(2,\)"):
        intrinsic_lr.gamma(t=[0, 1, 2], lr=[0.1, 0.2], weight_decay=1, trace=1, gamma0=1)


def test_predictions_load_without_the_compiler():
    unwanted = ("numba", "scipy", "proofs_check")
    code = f"import sys, sdetheory.predictions; print([m for m in {unwanted} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]", out.stdout
