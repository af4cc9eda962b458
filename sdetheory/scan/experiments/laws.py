"""Predictions for simulations put together from components: norm under constant noise, direction at equilibrium."""

from functools import lru_cache
from typing import Any

import numpy as np

from sdetheory import evaluate
from sdetheory.scan.experiments.protocol import Parameters, Predicted

CONSTANT = ("Isotropic", "GOEBatch")  # noises whose trace is the same at every direction


def laws(built: Any, p: Parameters) -> dict[str, Predicted]:
    """Observable -> Predicted, for the pieces of a point; empty where nothing is known."""
    known = type(built.noise).__name__ in CONSTANT and getattr(built.model, "scale_invariant", False)
    rates: dict[str, Any] = {name: getattr(built.dynamics, name, None) for name in ("lr", "weight_decay")}
    if not known or not all(isinstance(rate, int | float) for rate in rates.values()) or rates["lr"] <= 0:
        return {}
    kind = type(built.dynamics).__name__
    if kind == "WeightDecaySDE":
        return _norm(built, rates, _margin(built, rates, p["dt"])) | _direction(built, p, rates)
    if kind == "SGD" and type(built.model).__name__ == "NoLoss":
        return _norm(built, rates, 2 * rates["lr"] * rates["weight_decay"])
    return {}


def _margin(built: Any, rates: dict[str, Any], dt: float) -> float:
    """The norm is exact with the schemes that solve its equation, of first order in dt with others."""
    name = type(built.integrator).__name__ if built.integrator is not None else _default(built)
    return 1e-9 if name.startswith("Strang") else 2 * rates["lr"] * rates["weight_decay"] * dt


def _default(built: Any) -> str:
    from sdetheory.dynamics.rules import default_integrator

    return type(default_integrator(built.dynamics, built.model, built.noise)).__name__


def _norm(built: Any, rates: dict[str, Any], margin: float) -> dict[str, Predicted]:
    """Time averages of gamma, effective lr and squared norm along the law of gamma."""
    from sdetheory.predictions import intrinsic_lr

    square = float(built.start @ built.start)
    gamma0 = intrinsic_lr.gamma_of_norm(lr=rates["lr"], squared_norm=square)
    gamma = intrinsic_lr.gamma(t=built.ts, trace=_trace(built.noise, built.start.size), gamma0=gamma0, **rates)
    values = {
        "gamma": gamma,
        "effective_lr": intrinsic_lr.effective_lr_of_gamma(gamma=gamma),
        "squared_norm": intrinsic_lr.squared_norm_of_gamma(lr=rates["lr"], gamma=gamma),
    }
    return {name: Predicted(float(np.mean(v)), "intrinsic_lr.gamma", margin) for name, v in values.items()}


def _direction(built: Any, p: Parameters, rates: dict[str, Any]) -> dict[str, Predicted]:
    """Mean cosine with mu of a von Mises-Fisher loss, where the average begins after 3 times of equilibration."""
    from sdetheory.predictions import intrinsic_lr

    if type(built.model).__name__ != "VonMisesFisher" or type(built.noise).__name__ != "Isotropic":
        return {}
    if "cosine" not in built.observe or "after" not in p:
        return {}
    d, k, sigma = built.start.size, float(built.model.k), float(built.noise.sigma)
    product = rates["lr"] * rates["weight_decay"]
    mixing = max(1 / (4 * product), 1 / intrinsic_lr.harmonic_rate(dimension=d, degree=1, **rates))
    if k <= 0 or p["after"] < 6 * mixing or not np.allclose(built.observe["cosine"].direction, built.model.mu):
        return {}
    value = intrinsic_lr.vmf_mean(dimension=d, strength=k, noise=sigma, **rates)
    return {"cosine": Predicted(float(value), "intrinsic_lr.vmf_mean", 2 * product * p["dt"] + np.exp(-6))}


def _trace(noise: Any, d: int) -> float:
    """Tr Sigma at a unit vector, from the compiled noise itself."""
    cls: Any = type(noise)
    return _trace_of(cls, tuple(noise), d)


@lru_cache(maxsize=256)
def _trace_of(cls: Any, fields: tuple[Any, ...], d: int) -> float:
    """The class is part of the key: two plug-ins with equal fields are equal tuples."""
    return float(np.sum(evaluate.diffusion(cls(*fields), np.eye(d)[0]) ** 2))
