"""The theory of training dynamics, made executable.

Names are loaded on first use, so that `import sdetheory.predictions` never loads the compiler.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Diverged": "checks",
    "simulate": "simulation",
    "Ensemble": "ensemble",
    "deep_linear": "models.deep_linear",
    "deep_linear_from_data": "models.deep_linear",
    "scalar_chain": "models.deep_linear",
    **dict.fromkeys(("Square", "PseudoHuber"), "models.deep_linear"),
    **dict.fromkeys(("label_noise", "input_noise", "multiplicative_input_noise"), "models.deep_linear_noise"),
    **dict.fromkeys(("White", "Skewed"), "models.independent_noise"),
    **dict.fromkeys(("NoLoss", "Rayleigh", "RayleighQuotient", "VonMisesFisher", "Circle"), "models.scale_invariant"),
    **dict.fromkeys(
        ("DiagonalNetwork", "DiagonalLabelNoise", "DiagonalFlowNoise", "DiagonalBatch"), "models.diagonal_network"
    ),
    **dict.fromkeys(("layer_noise", "weight_noise", "dropout", "drop_connect"), "models.factor_noise"),
    "epoch_batches": "models.epoch_batches",
    "Equator": "models.equator",
    "SampleBatch": "models.sample_noise",
    **dict.fromkeys(
        ("NoNoise", "Isotropic", "Covariance", "GOEBatch", "NoisyLinearBatch", "CircleBatch"), "models.noise"
    ),
    **dict.fromkeys(("GradientFlow", "GradientDescent", "SGD", "WeightDecaySDE"), "dynamics"),
    **dict.fromkeys(("HeavyBall", "InnerHeavyBall", "Nesterov", "SGDW"), "dynamics.momentum"),
    **dict.fromkeys(("Adam", "AdamW", "Lion"), "dynamics.adaptive"),
    **dict.fromkeys(("SVAG", "CoinSVAG"), "dynamics.svag"),
    "SphereSGD": "dynamics.sphere_sgd",
    "LayerRateSGD": "dynamics.layer_rate",
    **dict.fromkeys(("sharpness_flow", "edge_start", "equator_longitude"), "slow_flow"),
    "minibatch": "models.deep_linear_batches",
    "gaussian_batch": "models.deep_linear_gaussian",
    "Antithetic": "lanes.antithetic",
    **dict.fromkeys(("Uniform", "uniform_level"), "lanes.uniform"),
    "Held": "lanes.held",
    "Mask": "lanes.mask",
}
_MODULES = (
    "checks", "conventions", "dynamics", "evaluate", "flow", "integrators", "lanes", "models", "networks",
    "observables", "observers", "predictions", "regularity", "scan", "spectrum", "stationary", "statistics",
)  # fmt: skip
__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
