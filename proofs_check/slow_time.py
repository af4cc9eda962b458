"""Proofs at leading order in lr wd: clocks, quasi-RMSprop, sharpness flow, barriers, distances at a lag."""

import sympy as sp

from proofs_check import systems
from proofs_check.against import equal, obeys
from proofs_check.field import Derivation
from proofs_check.judge import given, zero
from proofs_check.normalised import HALF, LLA, Checks, claim, g, product, w
from proofs_check.spectrum import gap_enclosed
from proofs_check.systems import sgd_step
from proofs_check.vectors import Gram, letters
from sdetheory.predictions import edge_of_stability as theory
from sdetheory.predictions import exponential_lr, intrinsic_lr, stationary_moments
from sdetheory.predictions.intrinsic_lr import lr, step_lr, trace, unit_squared_gradient, weight_decay

_x = sp.Symbol("x")  # lr wd, the small number
_GAPS = tuple(
    (odd, sp.Rational(le), sp.Rational(low), sp.Rational(high))
    for odd, le, low, high in (
        (False, "1/100", "4.332", "4.333"), (True, "1/100", "0.4626", "0.4627"),
        (False, "1/1000", "7.211", "7.212"), (True, "1/1000", "0.05749", "0.05750"),
        (False, "1/10000", "25.954", "25.955"), (True, "1/10000", "0.00001250", "0.00001251"),
    )
)  # fmt: skip


@claim(
    "I27",
    "an OU process saturates, E|X_t - X_(t+s)|^2 -> 2 Tr Sigma at its own rate; without loss 2R(1-(1-lr wd)^D)",
    "any dimension, any stationary law with centred tangent gradients; increasing in the lag D on 1/(lr wd)",
    LLA + ", figure of distances",
    latex=r"E\|w_T-w_{T+D}\|^2=2R_*\left(1-(1-\eta\lambda)^D\right)",
)
def distance_at_a_lag(stationary: bool = True, no_loss: bool = True) -> Checks:
    """Covariance c = E<w_T, w_(T+D)> falls by 1 - lr wd a step; for OU it is Tr Sigma e^(-theta s)."""
    R, c = intrinsic_lr.squared_norm_now, sp.Symbol("c")
    (start,) = letters("start")
    dot = Gram(start_w=c, **({"g_start": 0} if no_loss else {}))  # E<g_(T+D), w_T> = 0 without loss
    yield equal("c after another step", dot(sgd_step(w, g, lr, weight_decay), start), (1 - product) * c)
    later = R if stationary else sp.Symbol("R_later")
    covariance = lambda distance: (R + later - distance) / 2
    yield obeys(
        "distance",
        stationary_moments.lag_squared_distance,
        lambda f: [
            covariance(f.at(t=intrinsic_lr.t + 1)) - (1 - product) * covariance(f.value),
            covariance(f.at(t=0)) - R,
            f.at(t=intrinsic_lr.t + 1) - f.value - product * (2 * R - f.value),  # it grows, towards 2 R
        ],
    )
    total, theta = 2 * stationary_moments.variance, stationary_moments.stiffness
    yield obeys(
        "OU relaxes to 2 Tr Sigma",
        stationary_moments.ou_squared_distance,
        lambda f: [f.rate(intrinsic_lr.t) + theta * (f.value - total), f.at(t=0)],
    )


@claim(
    "I50",
    "the slow time of K(T) = ln(1 + T wd/lr)/(4 lr wd) steps is T/4: the sum of squared lr of the equivalent run",
    "leading coefficient as lr wd -> 0 at fixed wd/lr, not exact at finite lr wd",
    "Li, Wang, Yu 2022, abstract; derived",
    latex=r"\sum_{k<K(T)}\tilde\eta_k^2\to T/4",
)
def fast_mixing_clock(right_time: bool = True) -> Checks:
    """Geometric sum of I41's lr at momentum 0, whose root is 1 - lr wd; then a series in x = lr wd."""
    T, ratio, log, P = sp.symbols("T ratio log P")  # ratio = wd/lr, log = ln(1 + T ratio), P = (1-x)^(-4K)
    yield equal("root", exponential_lr.tapered_root.at(momentum=0), 1 - product)
    squared = exponential_lr.exponential_lr.at(t=0).subs(exponential_lr.root, 1 - _x) ** 2
    total = squared * (P - 1) / ((1 - _x) ** -4 - 1)
    yield equal("one more step", total.subs(P, P / (1 - _x) ** 4) - total, squared * P)
    yield zero("no steps", total.subs(P, 1))
    orders = range(3)
    stretch = sp.Add(*(_x**k / (k + 1) for k in orders))  # -ln(1-x)/x, to order 2
    exponent = log * ((1 if right_time else 2) * stretch - 1)
    power = (1 + T * ratio) * sp.Add(*(exponent**k / sp.factorial(k) for k in orders))
    at = sp.cancel(total.subs(lr, 1) * _x / ratio)  # lr^2 = x/ratio
    yield equal("leading coefficient", sp.cancel(sp.together(at.subs(P, power))).subs(_x, 0), T / 4)


@claim(
    "I53",
    "the discrete effective lr is sqrt(2 lr wd)/sqrt(average of |gbar|^2 with memory 1 - 4 lr wd), to leading order",
    "any dimension, any gradients; the step of I5 and the average agree up to (lr wd)^2 a step",
    "Lyu, Li, Arora 2022, quasi-RMSprop",
    latex=r"\tilde\eta_t\approx\sqrt{2\eta\lambda}/\sqrt{\mathrm{EMA}_{1-4\eta\lambda}\|\bar g\|^2}",
)
def quasi_rmsprop(right_memory: bool = True) -> Checks:
    """M = 2x/etat^2: its exact step (I5, squared) and that of the average differ by order x^2."""
    s, M, e = unit_squared_gradient, sp.Symbol("M"), step_lr
    following = sp.cancel(2 * _x / intrinsic_lr.direction_lr_step.at(weight_decay=_x / lr) ** 2)
    exact = (1 - _x) ** 4 * (M + 4 * _x * s + 4 * _x**2 * s**2 / M)
    yield equal("M'", following, exact, given([e**2 * M - 2 * _x], {e: 1, M: 1, _x: HALF}, nonzero=[e, M]))
    average = (1 - 4 * _x) * M + (4 if right_memory else 2) * _x * s
    gap = exact - average
    yield zero("order 0", gap.subs(_x, 0))
    yield zero("order 1", sp.diff(gap, _x).subs(_x, 0))
    yield equal("order 2", sp.diff(gap, _x, 2).subs(_x, 0) / 2, 6 * M - 16 * s + 4 * s**2 / M)


@claim(
    "I52",
    "GD with weight decay at the edge, etat lambda_1 = 2: slow flow -2 grad ln lambda_1/(4 + |grad ln lambda_1|^2)",
    "leading order in lr wd and in the square of the oscillation, any dimension of the manifold of minimisers; the "
    "clock without assuming that effective lr x lambda_1 rests",
    "Lyu, Li, Arora 2022; constant derived",
    given=["averaging: the oscillation along the top eigenvector has a slowly varying squared size x^2"],
    latex=r"\tfrac{d\zeta}{d\tau}=-\tfrac{2\nabla\ln\lambda_1}{4+\|\nabla\ln\lambda_1\|^2}",
)
def sharpness_flow(edge: bool = True, at_rest: bool = True) -> Checks:
    """L = lambda_1(zeta) x^2/2: gradients along both; ln etat changes as in I5; ln(etat lambda_1) stays."""
    sharp, slope, x, small = sp.symbols("lambda_1 slope x small")  # slope = |grad ln lambda_1|; x^2 per lr wd
    loss = sharp * x**2 / 2
    along, across = sp.diff(loss, sharp) * sharp * slope, sp.diff(loss, x)
    step = intrinsic_lr.direction_lr_step.at(weight_decay=small / lr, unit_squared_gradient=small * across**2)
    change = sp.cancel(sp.diff(step, small).subs(small, 0) / step_lr)
    yield equal("change of ln etat", change, 2 - step_lr**2 * sharp**2 * x**2)
    move, square = -step_lr * along, slope**2
    on_edge = [step_lr * sharp - 2] * edge
    point = {step_lr: 1, sharp: 2, x: HALF, slope: 2}
    yield obeys("the edge", theory.edge_effective_lr, lambda f: [1 - f.at(sharpness=sharp) * sharp + 1])
    modulo = given([*on_edge, *[change + slope * move] * at_rest], point, nonzero=[sharp])
    flow = theory.sharpness_flow_rate
    yield obeys("slow flow", flow, lambda f: [f.at(log_slope=slope, log_slope_square=square) - move], modulo)
    fall = theory.sharpness_log_rate
    yield obeys("fall of ln lambda_1", fall, lambda f: [f.at(log_slope_square=square) - slope * move], modulo)
    size = theory.edge_oscillation
    yield obeys("x^2", size, lambda f: [f.at(log_slope_square=square) - product * x**2], modulo)
    # Swings: P = etat lambda_1 and y = ln x^2; at rest their rates vanish, linearised they turn at rate 2 pi/T.
    multiplier = step_lr * sharp - 1  # of |x| beyond P = 1
    bend, press = sp.diff(2 * sp.log(multiplier), step_lr) / sharp, 2 * (change + slope * move - 2)
    square_rate = sp.expand(bend * press).subs(step_lr, 2 / sharp)  # d(dy/dt)/dP times d(dP/dt)/dy, per lr wd
    yield obeys(
        "swings",
        theory.edge_swing_period,
        lambda f: [f.power(2) * -square_rate * product - 4 * f.reader.letter(sp.pi, "pi") ** 2],
        modulo,
    )
    # The clock needs the edge alone: d sigma = d tau - d ln(etat lambda_1)/2 carries zeta along the flow.
    start, now = theory.edge_product0, theory.edge_product
    velocity = flow.at(log_slope=slope, log_slope_square=square)
    yield obeys(
        "clock",
        theory.sharpness_clock,
        lambda f: [
            velocity * (f.rate(theory.slow_time) + f.rate(now) * now * (change + slope * move)) - move,
            f.rate(start) * start + f.rate(now) * now,
            f.at(edge_product0=now, slow_time=0),
        ],
        given(on_edge, point, nonzero=[sharp]),
    )
    yield from _equator()


def _equator() -> Checks:
    """Its closed form: d tau/d longitude times the rate of the flow is 1, and no time at the start."""
    c, c0, sine = theory.cosine, theory.cosine0, sp.Symbol("sine")
    log_slope = -theory.amplitude * sine / (theory.mean + theory.amplitude * c)
    rate = theory.sharpness_flow_rate.at(log_slope=log_slope, log_slope_square=log_slope**2)
    circle = given([sine**2 + c**2 - 1], {sine: sp.Rational(3, 5), c: sp.Rational(4, 5)}, nonzero=[sine])
    yield obeys(
        "time between longitudes",
        theory.equator_slow_time,
        lambda f: [f.rate(c) * -sine * rate - 1, f.at(cosine=c0)],
        circle,
    )


@claim(
    "I32",
    "circle: even observables relax at 4 lr wd without loss; antipodes mix at (4 etae h/pi) e^(-beta h)",
    "leading order at low lr wd (Kramers); the even rate exactly at h = 0; both gaps enclosed at three lr wd",
    "derived; Kramers 1940",
    given=["Kramers: a well is left over a barrier at rate sqrt(V''|V''_top|)/(2 pi) e^(-height/D)"],
    latex=r"\Delta_{\rm odd}\simeq\tfrac{4\eta_eh}{\pi}e^{-\beta h},\quad\beta h=h\sqrt{2/(\eta\lambda)}",
)
def circle_gaps(isotropic: bool = True, two_barriers: bool = True) -> Checks:
    """Angle phi of (x, y) = (sin, cos): d phi = -etae h sin 2 phi dt + etae sigma dB, S = sigma^2 at d = 2."""
    h, noise, (speed, pi, k) = intrinsic_lr.height, intrinsic_lr.noise, sp.symbols("etae pi k")
    sine, cosine, mode, dual = sp.symbols("sine cosine mode dual")
    turn = Derivation({sine: cosine, cosine: -sine, mode: -k * dual, dual: k * mode})  # mode = cos(k phi)
    point = systems.column("w", 2)
    on_circle = given([sine**2 + cosine**2 - 1], {sine: sp.Rational(3, 5), cosine: sp.Rational(4, 5)})
    loss = systems.circle(point, h).subs(dict(zip(point, (sine, cosine), strict=True)))
    potential = h * sine**2
    yield equal("loss on the circle", loss, potential, on_circle)
    diffusion = speed**2 * noise**2 / 2
    rest = intrinsic_lr.equilibrium_effective_lr.at(trace=noise**2 if isotropic else trace) ** 2
    yield zero("diffusion is lr wd", diffusion.subs(speed**2, rest) - product)
    generator = diffusion.subs(speed**2, rest) * turn(turn(mode))
    yield equal("rate k^2 lr wd, h = 0", generator, -product * k**2 * mode)
    yield equal("as I29", -generator / mode, intrinsic_lr.harmonic_rate.at(dimension=2, degree=k))
    curve = turn(turn(potential))
    bottom, top = curve.subs({sine: 0, cosine: 1}), curve.subs({sine: 1, cosine: 0})
    yield zero("curvatures are opposite", bottom + top)
    escape = speed * bottom / (2 * pi)  # sqrt(V'' |V''_top|) = V''
    ways = 2 if two_barriers else 1
    yield equal("gap of two equal wells: both rates", 2 * ways * escape, 4 * speed * h / pi)
    height = speed * (potential.subs(sine, 1) - potential.subs(sine, 0))
    yield obeys(
        "exponent",
        intrinsic_lr.inverse_temperature,
        lambda f: [f.power(2, dimension=2) * h**2 - (height / diffusion) ** 2],
        given([speed**2 - rest], {speed: 1, lr: 1, weight_decay: 2, noise: 2, trace: 4}),
    )
    for odd, le, low, high in _GAPS:
        name = f"{'odd' if odd else 'even'} gap/(lr wd) in ({low}, {high}) at h = 1/10, lr wd = {le}"
        yield gap_enclosed(name, odd, sp.Rational(1, 10), le, low, high)
