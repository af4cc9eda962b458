"""Proofs about norms of batch-normalised weights over many steps: growth, momentum, rescaling as a schedule."""

import sympy as sp

from proofs_check.against import equal, obeys
from proofs_check.inequalities import coefficients_nonnegative
from proofs_check.judge import zero
from proofs_check.normalised import HALF, Checks, claim, g, product, u, w
from proofs_check.scale_invariance import euler
from proofs_check.systems import R, flow_rate, momentum_step, sgd_step
from proofs_check.vectors import Gram, Vector, letters
from sdetheory.predictions import intrinsic_lr as predicted
from sdetheory.predictions.intrinsic_lr import lr, squared_gradient, unit_squared_gradient, weight_decay
from sdetheory.predictions.outside_span import outside_rescaled, target

_BN = "Liu et al. 2021, reconstructed"
_N, _c = sp.symbols("N c")


@claim(
    "A4",
    "batch-normalised weights: grad L(cw) = grad L(w)/c, Hess(cw) = Hess(w)/c^2, Hess w = -grad L",
    "any dimension, any twice differentiable loss of normalised neurons without epsilon (A1): the proof of I1",
    _BN,
    latex=r"\nabla L(cw)=\nabla L(w)/c,\quad \nabla^2L(w)w=-\nabla L(w),\quad w^\top\nabla^2L(w)w=0",
)
def homogeneity(scale_invariant: bool = True) -> Checks:
    """I1."""
    yield from euler(scale_invariant)


@claim(
    "A5",
    "gradient flow keeps |w| of every batch-normalised neuron",
    "any dimension, any loss, no weight decay",
    _BN,
    latex=r"\tfrac{d}{dt}\|w\|^2=0",
)
def flow_keeps_norm(tangent: bool = True, no_decay: bool = True) -> Checks:
    """2 <w, dw/dt>."""
    dot = Gram(w_w=R, **({"g_w": 0} if tangent else {}))
    yield zero("d|w|^2/dt", 2 * dot(w, flow_rate(w, g, sp.S.Zero if no_decay else weight_decay)))


@claim(
    "A7",
    "without decay |w_t|^4 lies between |w_0|^4 + 2 lr^2 G^2 t and that plus t lr^4 G^4/|w_0|^4",
    "any dimension, every step of SGD, constant gradient G on the sphere",
    "derived",
    latex=r"2\eta^2G^2t\le\|w_t\|^4-\|w_0\|^4\le2\eta^2G^2t+\tfrac{\eta^4G^4t}{\|w_0\|^4}",
)
def norm_growth(tangent: bool = True, grown: bool = True) -> Checks:
    """One step of |w|^4, and |w|^4 = |w_0|^4 + more (A6)."""
    s, start, more = unit_squared_gradient, sp.Symbol("fourth_0"), sp.Symbol("more")
    dot = Gram(w_w=R, g_g=s / R, **({"g_w": 0} if tangent else {}))
    after = sgd_step(w, g, lr, sp.S.Zero)
    rest = dot(after, after) ** 2 - R**2 - 2 * lr**2 * s
    yield equal("rise of |w|^4", rest, lr**4 * s**2 / R**2)
    now = start + more if grown else start / (1 + more)
    yield coefficients_nonnegative("upper bound", lr**4 * s**2 * (1 / start - 1 / now))


@claim(
    "A8",
    "heavy ball without decay: |w'|^2 = |w|^2 + lr^2 |p|^2 + 2 lr^2 sum over earlier steps of b^(t-k) |p_k|^2",
    "any dimension, every step, any batches; buffer 0 at the start",
    "Heo et al. 2021, lemma; derived",
    latex=r"\|w_{t+1}\|^2=\|w_t\|^2+\eta^2\|p_t\|^2+2\eta^2\sum_{k<t}\beta^{t-k}\|p_k\|^2",
)
def momentum_growth(tangent: bool = True, empty_buffer: bool = True) -> Checks:
    """Induction: <w, p> = -lr old, old the sum; the next buffer is b p + g with g orthogonal to the next w."""
    b, squared, old = predicted.momentum, sp.Symbol("P"), sp.Symbol("old")
    (p,) = letters("p")
    dot = Gram(w_w=R, p_p=squared, p_w=-lr * old if empty_buffer else sp.Symbol("<p,w>"))
    after = w - lr * p
    inner = b * dot(after, p) + (0 if tangent else sp.Symbol("<g,w>"))
    yield equal("<w,p> after", inner, -lr * (b * (old + squared)))
    yield equal("norm", dot(after, after), R + lr**2 * squared + 2 * lr**2 * old)
    _, buffer = momentum_step(w, p, g, lr, sp.S.Zero, b)
    yield zero("the buffer of the package", buffer["p"] - b + buffer["g"] - 1)


@claim(
    "A9",
    "under Adam the norm changes by -2 lr <w,u> + lr^2 |u|^2: it can fall although gradients are tangent",
    "any update u; a rational example in the plane: the first step of Adam, u = sign of the gradient",
    "derived",
    latex=r"\|w'\|^2-\|w\|^2=-2\eta\langle w,u\rangle+\eta^2\|u\|^2",
)
def adam_norm(preconditioned: bool = True) -> Checks:
    """w = (2, 1), g = (1, -2), <w,g> = 0, lr = 1/2."""
    dot = Gram(w_w=R)
    after = sgd_step(w, u, lr, sp.S.Zero)
    yield equal("change", dot(after, after) - R, -2 * lr * dot(w, u) + lr**2 * dot(u, u))
    point, slope = sp.Matrix([2, 1]), sp.Matrix([1, -2])
    yield zero("tangent", point.dot(slope))
    step = slope.applyfunc(sp.sign) if preconditioned else slope
    moved = point - HALF * step
    yield equal("it falls", moved.dot(moved) - point.dot(point), -HALF)


@claim(
    "A15",
    "rescaling to norm r after each step divides w outside the span by sqrt(1 + lr^2 |g|^2/r^2)",
    "any batch and loss, every step of SGD from |w| = r; it stops where gradients vanish, weight decay does not",
    "derived",
    latex=r"P_\perp w'=P_\perp w/c,\quad c^2=1+\eta^2\|g\|^2/r^2",
)
def rescaling_outside(tangent: bool = True, gradient_in_span: bool = True) -> Checks:
    """c^2 = |w - lr g|^2/r^2, and <u, w'> for u orthogonal to the span."""
    known = {"g_w": 0} if tangent else {}
    dot = Gram(w_w=target**2, g_g=squared_gradient, **known, **({"g_u": 0} if gradient_in_span else {}))
    after = sgd_step(w, g, lr, sp.S.Zero)
    yield obeys("c", outside_rescaled, lambda f: [f.power(-2) - dot(after, after) / target**2])
    yield zero("c <u,w'> - <u,w>", _c * dot(u, (1 / _c) * after) - dot(u, w))


@claim(
    "A19",
    "weight rescaling is the learning rate lr N_t^2 without it, N_t the product of the divisors so far; with "
    "momentum the buffer is divided by the divisor too where the lr is inside, multiplied by it where it is outside",
    "any dimension, every step of SGD with or without momentum, with the same batches, any divisors",
    "derived",
    latex=r"w_t=v_t/N_t,\quad v_{t+1}=v_t-\eta N_t^2\nabla L(v_t)",
)
def rescaling_is_a_schedule(scale_invariant: bool = True, buffer_follows: bool = True) -> Checks:
    """w = v/N, divided by c after the step; the gradient at v/N is N times that at v."""
    v, at_v, other = letters("v g other")
    gradient = _N * at_v if scale_invariant else other
    rescaled = (1 / _c) * sgd_step((1 / _N) * v, gradient, lr, sp.S.Zero)
    schedule = (1 / (_N * _c)) * sgd_step(v, at_v, lr * _N**2, sp.S.Zero)
    for name, x in (rescaled - schedule).items():
        yield zero(f"coefficient of {name}", x)
    yield from _momentum_is_rescaled(gradient, buffer_follows)


def _momentum_is_rescaled(gradient: Vector, follows: bool) -> Checks:
    """A step from v/N with buffer p/N (lr inside) or N p (outside), against that of the schedule from v with p."""
    v, p, at_v = letters("v p g")
    mu, one, none = predicted.momentum, sp.S.One, sp.S.Zero
    cases = (
        ("inside", 1 / _N, 1 / _c, momentum_step((1 / _N) * v, (1 / _N) * p, lr * gradient, one, none, mu),
         momentum_step(v, p, (lr * _N**2) * at_v, one, none, mu)),
        ("outside", _N, _c, momentum_step((1 / _N) * v, _N * p, gradient, lr, none, mu),
         momentum_step(v, p, at_v, lr * _N**2, none, mu)),
    )  # fmt: skip
    for where, held, factor, (w_next, buffer), (v_next, schedule) in cases:
        for name, x in ((1 / _c) * w_next - (1 / (_N * _c)) * v_next).items():
            yield zero(f"lr {where}, coefficient of {name}", x)
        held_next = held.subs(_N, _N * _c)  # the next step finds the product of all divisors so far
        for name, x in ((factor if follows else one) * buffer - held_next * schedule).items():
            yield zero(f"buffer, lr {where}, coefficient of {name}", x)


@claim(
    "A20",
    "no decay at lr/(1 - lr wd) |v|^2/|w|^2 replays weight decay: the same directions, hence the same noise ratio",
    "any dimension, every step of SGD with the same batches; scale-invariant weights only, no momentum, no epsilon",
    "derived; against the claim that the effective lr is insufficient to explain weight decay",
    latex=r"\tilde\eta_t=\frac{\eta}{1-\eta\lambda}\frac{\|v_t\|^2}{\|w_t\|^2}\ \Rightarrow\ w_t=(1-\eta\lambda)^tv_t",
)
def replay(scale_invariant: bool = True, divided_by_keep: bool = True) -> Checks:
    """w = A v with A = (1 - lr wd)^t, so |v|^2/|w|^2 = A^-2 and the gradient at w is 1/A that at v."""
    A, keep = sp.Symbol("A"), 1 - product
    v, at_v, other = letters("v g other")
    gradient = (1 / A) * at_v if scale_invariant else other
    replayed = lr / (keep if divided_by_keep else 1) / A**2
    gap = sgd_step(A * v, gradient, lr, weight_decay) - (A * keep) * sgd_step(v, at_v, replayed, sp.S.Zero)
    for name, x in gap.items():
        yield zero(f"coefficient of {name}", x)
    outside = Gram(u_v=sp.Symbol("<u,v>"), v_v=R)
    yield equal(
        "noise ratio, squared",
        outside(u, A * v) ** 2 / outside(A * v, A * v),
        outside(u, v) ** 2 / outside(v, v),
    )
