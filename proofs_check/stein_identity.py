"""Proof of Stein's identity of the stationary direction, and of its form for powers of the loss."""

import sympy as sp

from proofs_check.against import equal
from proofs_check.field import Derivation, Ito
from proofs_check.judge import zero
from proofs_check.normalised import Checks, claim
from proofs_check.vectors import letters
from sdetheory.predictions import intrinsic_lr as predicted

L, beta, speed, volume, density = sp.symbols("L beta etae m p")
slopes, fluxes = sp.symbols("L_1 L_2"), sp.symbols("G_1 G_2")  # dL/dx_i, and (grad phi)^i in local coordinates


@claim(
    "I57",
    "isotropic noise: E[Laplace phi - beta <grad L, grad phi>] = 0 at equilibrium, a multiple of the generator",
    "every dimension, scale-invariant loss and smooth phi; phi = L^k/k: L^(k-1) T L + (k-1) L^(k-2) |grad L|^2",
    "Stein 1972; Assaraf, Caffarel 1999",
    given=["the integral of a divergence over a closed manifold is zero"],
    where={"gibbs": "the law is exp(-beta L)", "same_loss": "the loss of the law is that of the drift"},
    latex=r"E[\Delta\varphi-\beta\langle\nabla L,\nabla\varphi\rangle]=0",
)
def stein(gibbs: bool = True, same_loss: bool = True) -> Checks:
    """m p T phi = d_i(m p (grad phi)^i), with the volume m of any coordinates; T from the generator's drift and
    noise; powers by the chain rule.

    Two coordinates stand for any number: the terms of different indices do not meet.
    """
    score = [-beta * slope for slope in slopes] if gibbs else sp.symbols("s_1 s_2")  # d ln p/dx_i
    rates = sp.symbols("m_1 m_2"), sp.symbols("G_11 G_22")
    divergence, laplacian, pull = sp.S.Zero, sp.S.Zero, sp.S.Zero
    for i in range(2):
        D = Derivation({density: density * score[i], volume: rates[0][i], fluxes[i]: rates[1][i]})
        divergence += D(volume * density * fluxes[i])
        laplacian += D(volume * fluxes[i]) / volume
        pull += slopes[i] * fluxes[i]
    yield zero("m p T phi is a divergence", divergence - volume * density * (laplacian - beta * pull))
    sigma = predicted.noise
    gradient, other = letters("gradL other")
    cold = 2 / (speed * sigma**2)  # beta of I31
    drift = -speed * (gradient if same_loss else other)
    for name, v in (drift + speed**2 * sigma**2 / 2 * cold * gradient).items():
        yield zero(f"generator over T, along {name}", v)
    bend, square = sp.symbols("LapL q")  # Laplace L, |grad L|^2
    chain = Ito({L: Derivation({L: 1})}, {L: bend}, {(L, L): 2 * square})  # the Laplacian of functions of L
    first = bend - beta * square
    for k in range(1, 5):
        found = chain.generator(L**k / k) - beta * L ** (k - 1) * square
        higher = (k - 1) * L ** (k - 2) * square if k > 1 else 0
        yield equal(f"T L^{k}/{k}", found, L ** (k - 1) * first + higher)
