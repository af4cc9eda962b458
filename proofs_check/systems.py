"""The systems: losses, noises and dynamics, defined once, for the proofs and for the bridge to the compiled
kernels.

Dynamics are written for any vectors with + and scalar *: abstract letters in proofs, sympy columns in
coordinates, numpy arrays. Losses and covariances are sympy expressions in a column w and parameters;
gradients are derivatives of the loss, covariances are moments of the batch gradient.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs_check.field import Derivation, Ito, coordinates
from proofs_check.judge import Given, given
from proofs_check.vectors import Gram, letters
from sdetheory.predictions.intrinsic_lr import (
    lr,
    lr_log_rate,
    squared_norm_now,
    trace,
    weight_decay,
)

# -- dynamics, over any vectors


def sgd_step(w: Any, gradient: Any, lr: Any, weight_decay: Any) -> Any:
    """w' = (1 - lr wd) w - lr g, with g the gradient of this step's batch (the full gradient: gradient
    descent)."""
    return (1 - lr * weight_decay) * w - lr * gradient


def momentum_step(
    w: Any, v: Any, gradient: Any, lr: Any, weight_decay: Any, momentum: Any
) -> tuple[Any, Any]:
    """v' = momentum v + h, w' = w - lr v', h = g + wd w: heavy ball, the lr outside the buffer."""
    buffer = momentum * v + (gradient + weight_decay * w)
    return w - lr * buffer, buffer


def nesterov_step(
    w: Any, v: Any, gradient: Any, lr: Any, weight_decay: Any, momentum: Any
) -> tuple[Any, Any]:
    """v' = momentum v + h, w' = w - lr (h + momentum v'), h = g + wd w."""
    push = gradient + weight_decay * w
    buffer = momentum * v + push
    return w - lr * (push + momentum * buffer), buffer


def average(old: Any, new: Any, memory: Any) -> Any:
    """memory old + (1 - memory) new: the averages of Adam, AdamW and Lion."""
    return memory * old + (1 - memory) * new


def rescaled_step(w: Any, update: Any, lr: Any, weight_decay: Any) -> Any:
    """w' = (1 - lr wd) w - lr u: AdamW, u the averaged gradient over its size; Lion, u the signs of an average."""
    return (1 - lr * weight_decay) * w - lr * update


def coupled_step(w: Any, gradient: Any, size: Any, lr: Any, weight_decay: Any) -> Any:
    """w' = w - lr (g + wd w)/size: Adam with L2 and no average, every entry of the gradient of the same size."""
    return w - (lr / size) * (gradient + weight_decay * w)


def rescaled_growth(squared_gradient: Any, mean_square: Any, dimension: Any, lr: Any) -> Any:
    """lr^2 |g|^2/size^2, by which a gradient across w makes |w|^2 grow; size^2 = mean of |g|^2 over dimension."""
    return lr**2 * dimension * squared_gradient / mean_square


def flow_rate(w: Any, gradient: Any, weight_decay: Any) -> Any:
    """dw/dt = -grad L(w) - wd w."""
    return -gradient - weight_decay * w


def sde_drift(w: Any, gradient: Any, lr: Any, weight_decay: Any) -> Any:
    """Drift of dW = -lr wd W dt - lr grad L(W) dt + lr Sigma_W^(1/2) dB, time in steps."""
    return (-lr * weight_decay) * w - lr * gradient


def sde_noise(noise: Any, lr: Any) -> Any:
    """lr Sigma_W^(1/2) dB, from Sigma_W^(1/2) dB."""
    return lr * noise


def euler_maruyama_step(
    w: Any, gradient: Any, noise: Any, lr: Any, weight_decay: Any, dt: Any, root_dt: Any
) -> Any:
    """One Euler-Maruyama step; `noise` is G(w) z, G G^T = Sigma_w, and the increment is root_dt z,
    root_dt^2 = dt.
    """
    return w + dt * sde_drift(w, gradient, lr, weight_decay) + root_dt * sde_noise(noise, lr)


# -- the weight-decay SDE in any dimension

R, G_u = squared_norm_now, sp.Symbol("<u,gradL>")
c, r, S_uu = sp.symbols("c r S_uu")

RADIUS = given([r**2 - R], {r: 2, R: 4})


@dataclass(frozen=True)
class Sphere:
    """The SDE seen through R = |W|^2 and c = <u, W> for an arbitrary fixed u; r = |W| is a letter with r^2 =
    R.

    `pull` is <u, grad L(W/|W|)>; `trace` and S_uu belong to the covariance at W/|W|.
    """

    ito: Ito
    pull: sp.Expr = G_u
    radius: Given = RADIUS


def weight_decay_sde(tangent: bool = True, homogeneous: bool = True, varying: bool = False) -> Sphere:
    """dW = -lr wd W dt - lr grad L dt + lr Sigma_W^(1/2) dB in the coordinates R and c, any dimension.

    Tangent: <W, grad L> = 0 and Sigma_W W = 0. Homogeneous: grad L(W) = grad L(W/|W|)/|W| and
    Sigma_W = Sigma_{W/|W|}/|W|^2. `varying`: lr depends on time, d ln(lr)/dt = lr_log_rate.
    """
    w, g, u = letters("w g u")
    gram = Gram(w_w=R, u_w=c, g_u=G_u / r if homogeneous else G_u, **({"g_w": 0} if tangent else {}))
    scale = lr**2 / R if homogeneous else lr**2
    loose = {} if tangent else {"w_w": scale * sp.Symbol("S_ww"), "u_w": scale * sp.Symbol("S_uw")}
    covariance = Gram(u_u=scale * S_uu, **(loose or {"w_w": 0, "u_w": 0}))
    curvature = {R: 2 * scale * trace, c: sp.S.Zero}  # Hessians 2 I and 0
    rates, brackets = coordinates(
        gram, sde_drift(w, g, lr, weight_decay), covariance, {R: 2 * w, c: u}, curvature
    )
    partials = {R: Derivation({R: 1, r: 1 / (2 * r)}), c: Derivation({c: 1})}
    radial = {} if tangent else {"<W,dM>": 2 * sde_noise(1, lr) / r}
    noise = {
        R: radial,
        c: {"<u,dM>": sde_noise(1, lr) / r},
    }  # dM = Sigma_unit^(1/2) dB = |W| Sigma_W^(1/2) dB
    clock = Derivation({lr: lr * lr_log_rate}) if varying else None
    return Sphere(Ito(partials, rates, brackets, noise, clock))


# -- scale-invariant losses in coordinates


def column(name: str, size: int) -> sp.Matrix:
    """A column of symbols."""
    return sp.Matrix(sp.symbols(f"{name}:{size}"))


def symmetric(name: str, size: int) -> sp.Matrix:
    """A symmetric matrix of symbols."""
    return sp.Matrix(size, size, lambda i, j: sp.Symbol(f"{name}{min(i, j)}{max(i, j)}"))


def rayleigh(w: sp.Matrix, A: sp.Matrix) -> sp.Expr:
    """w^T A w/|w|^2."""
    return (w.T * A * w)[0] / w.dot(w)


def von_mises_fisher(w: sp.Matrix, mu: sp.Matrix, k: Any) -> sp.Expr:
    """-k <mu, w>/|w|."""
    return -k * mu.dot(w) / sp.sqrt(w.dot(w))


def circle(w: sp.Matrix, h: Any) -> sp.Expr:
    """h x^2/(x^2 + y^2)."""
    return h * w[0] ** 2 / w.dot(w)


def equator(w: sp.Matrix, mean: Any, amplitude: Any) -> sp.Expr:
    """(mean + amplitude u_1/|u|) z^2/(2|w|^2), w = (u, z)."""
    u, z = list(w)[:-1], w[-1]
    sharpness = mean + amplitude * u[0] / sp.sqrt(sp.Add(*(x**2 for x in u)))
    return sharpness * z**2 / (2 * w.dot(w))


def goe_batch(w: sp.Matrix, A: sp.Matrix, s: Any, E: sp.Matrix) -> sp.Expr:
    """w^T (A + s E) w/|w|^2, E symmetric Gaussian, variance 1 off and 2 on the diagonal."""
    return rayleigh(w, A + s * E)


def noisy_linear_batch(w: sp.Matrix, mu: sp.Matrix, k: Any, sigma: Any, z: sp.Matrix) -> sp.Expr:
    """-<k mu + sigma z, w>/|w|, z standard normal."""
    return von_mises_fisher(w, mu, k) + von_mises_fisher(w, z, sigma)


def circle_batch(w: sp.Matrix, h: Any, sigma: Any, z: sp.Matrix) -> sp.Expr:
    """h x^2/|w|^2 + (sigma/2) (z_0 (x^2 - y^2) + 2 z_1 x y)/|w|^2: cos and sin of twice the angle."""
    E = sp.Matrix([[z[0], z[1]], [z[1], -z[0]]])
    return circle(w, h) + rayleigh(w, sigma * E / 2)


def sample_batch(w: sp.Matrix, sizes: Sequence[Any], z: Sequence[Any]) -> sp.Expr:
    """<x, w>^2/|w|^2 of one sample x_i = sizes_i z_i, z standard normal."""
    return sp.Add(*(size * v * x for size, v, x in zip(sizes, z, w, strict=True))) ** 2 / w.dot(w)


def gradient(loss: sp.Expr, w: Sequence[sp.Symbol]) -> sp.Matrix:
    """The column of partial derivatives."""
    return sp.Matrix([sp.diff(loss, x) for x in w])


# -- covariances


def tangent_projection(w: sp.Matrix) -> sp.Matrix:
    """I - w w^T/|w|^2."""
    return sp.eye(len(w)) - w * w.T / w.dot(w)


def isotropic(w: sp.Matrix, sigma: Any) -> sp.Matrix:
    """Sigma_w = sigma^2 P/|w|^2."""
    return sigma**2 * tangent_projection(w) / w.dot(w)


def projected(w: sp.Matrix, C: sp.Matrix) -> sp.Matrix:
    """Sigma_w = P C P/|w|^2."""
    P = tangent_projection(w)
    return P * C * P / w.dot(w)


def batch_covariance(
    batch_loss: sp.Expr, w: Sequence[sp.Symbol], variances: Mapping[sp.Symbol, Any]
) -> sp.Matrix:
    """Covariance of the gradient of a batch loss that is affine in independent centred letters."""
    g = gradient(batch_loss, w)
    parts = [(v, sp.Matrix([sp.diff(x, z) for x in g])) for z, v in variances.items()]
    if any(sp.expand(sp.diff(x, z, y)) != 0 for x in g for z in variances for y in variances):
        raise ValueError("`batch_loss` must be affine in the random letters")
    return sum((v * p * p.T for v, p in parts), sp.zeros(len(w), len(w)))


def goe_variances(E: sp.Matrix) -> dict[sp.Symbol, int]:
    """Variances of the Gaussian orthogonal ensemble: 1 off, 2 on the diagonal."""
    return {E[i, j]: 2 if i == j else 1 for i in range(E.rows) for j in range(i, E.rows)}


# -- batch normalisation


def normalised(z: Sequence[Any], epsilon: Any) -> list[Any]:
    """(z_b - mean)/sqrt(variance + epsilon) over a batch, biased variance."""
    mean = sp.Add(*z) / len(z)
    variance = sp.Add(*((x - mean) ** 2 for x in z)) / len(z)
    return [(x - mean) / sp.sqrt(variance + epsilon) for x in z]


def normalised_backward(
    slope: Any, value: Any, total: Any, correlation: Any, size: Any, deviation: Any
) -> Any:
    """dL/dz_b = (d_b - D/B - zhat_b Z/B)/q: d = dL/dzhat, D = sum d, Z = sum d zhat, q^2 = variance +
    epsilon.
    """
    return (slope - total / size - value * correlation / size) / deviation


# -- deep linear networks


def square_loss(whole: Any, target: Any) -> Any:
    """(W - s)^2 of the end to end product, Ginsburg's loss; half of it is the usual one."""
    return (whole - target) ** 2


def label_noise_batch(whole: Any, target: Any, noise: Any) -> Any:
    """(W - s - xi)^2: the target of this step is s + xi."""
    return square_loss(whole, target + noise)


def input_noise_batch(whole: Any, target: Any, noise: Any) -> Any:
    """(W (1 + e) - s)^2: the input of this step is multiplied by 1 + e."""
    return square_loss(whole * (1 + noise), target)


def end_to_end(layers: Sequence[Any]) -> Any:
    """W_N ... W_1 of sympy matrices W_1, ..., W_N."""
    whole = layers[0]
    for layer in layers[1:]:
        whole = layer * whole
    return whole


def half_square(residual: Any) -> Any:
    """r^2/2."""
    return residual**2 / 2


def pseudo_huber(residual: Any) -> Any:
    """sqrt(1 + r^2) - 1."""
    return sp.sqrt(1 + residual**2) - 1


def network_loss(
    layers: Sequence[sp.Matrix],
    inputs: sp.Matrix,
    targets: sp.Matrix,
    penalty: Callable[[Any], Any] = half_square,
) -> sp.Expr:
    """The sum over entries of penalty(R), R = W_N ... W_1 X - Y; with the half square, (1/2)|R|_F^2."""
    residual = end_to_end(layers) * inputs - targets
    return sp.Add(*(penalty(r) for r in residual))


def diagonal_network_loss(w: Sequence[Any], inputs: sp.Matrix, labels: sp.Matrix) -> sp.Expr:
    """(1/2n)|X beta - y|^2, beta = w_+^2 - w_-^2 and w = [w_+ | w_-], one sample a row of X."""
    width = inputs.cols
    beta = sp.Matrix([w[j] ** 2 - w[width + j] ** 2 for j in range(width)])
    return sp.Add(*(half_square(r) for r in inputs * beta - labels)) / inputs.rows
