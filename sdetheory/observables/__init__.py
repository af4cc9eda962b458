"""Functions of states, in numpy: norms and effective rates, imbalance, modes, curvature of deep linear networks, the
end of their gradient flow, the two phases of their training.

Every function takes states of shape (..., d), flat weights as in `models.deep_linear`, and keeps the leading axes.
"""

from sdetheory.observables.curvature import hessian, sharpness
from sdetheory.observables.flow_limit import flow_limit, flow_sharpness
from sdetheory.observables.layers import (
    end_to_end,
    frobenius_imbalance,
    imbalance_norm,
    layer_imbalance,
    matrix_imbalance,
    mode_strengths,
)
from sdetheory.observables.phases import Phases, two_phases, valley_motion
from sdetheory.observables.spectra import (
    hessian_eigenvalues,
    hessian_product,
    hessian_trace,
    hessian_trace_estimate,
    kernel_spectrum,
)
from sdetheory.observables.states import (
    chain_imbalance,
    chain_product,
    effective_lr,
    inverse_square_sum,
    norm,
    squared_norm,
)

__all__ = [
    "Phases", "chain_imbalance", "chain_product", "effective_lr", "end_to_end", "flow_limit", "flow_sharpness",
    "frobenius_imbalance", "hessian", "hessian_eigenvalues", "hessian_product", "hessian_trace",
    "hessian_trace_estimate", "imbalance_norm", "inverse_square_sum", "kernel_spectrum", "layer_imbalance",
    "matrix_imbalance", "mode_strengths", "norm", "sharpness", "squared_norm", "two_phases", "valley_motion",
]  # fmt: skip
