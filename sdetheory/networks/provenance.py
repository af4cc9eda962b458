"""Where a training record comes from: network, data, settings and versions, in plain values."""

import hashlib
import platform
from typing import Any

import numba
import numpy as np

import sdetheory
from sdetheory.dynamics.coordinatewise import PlainStep


def how(run: Any, init_scale: Any, rescaling: Any) -> dict[str, Any]:
    """Everything needed to repeat a run: what was trained on what, with which settings, by which versions."""
    return {
        "network": [repr(layer) for layer in run.net.layers],
        "data": {"examples": len(run.data), "digest": _digest(run.data.inputs, run.data.labels)},
        "seeds": run.seeds.tolist(),
        "lr": _brief(run.lr),
        "weight_decay": _brief(run.weight_decay),
        "optimiser": "SGD" if isinstance(run.descent.rule, PlainStep) else repr(run.descent.rule),
        "rescaling": rescaling and repr(rescaling),
        "init_scale": init_scale if isinstance(init_scale, str) else np.asarray(init_scale).tolist(),
        "first_step": run.first,
        "steps": run.steps,
        "batch_size": run.batch_size,
        "label_noise": run.label_noise,
        "versions": {
            "sdetheory": sdetheory.__version__,
            "numpy": np.__version__,
            "numba": numba.__version__,
            "python": platform.python_version(),
        },
    }


def _brief(rate: np.ndarray) -> Any:
    """One number if constant, one a net if constant in time, else a digest."""
    if (rate == rate[:, :1]).all():
        values = rate[:, 0].tolist()
        return values[0] if all(value == values[0] for value in values) else values
    return {"shape": list(rate.shape), "digest": _digest(np.ascontiguousarray(rate))}


def _digest(*arrays: np.ndarray) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]
