"""What several figures measure: standard errors, traces of noises, gamma by the law with measured noise."""

from typing import Any

import numpy as np

from sdetheory import evaluate, networks
from sdetheory.predictions import intrinsic_lr

# He's start times this times (lr^2/product)^(1/4) begins near the equilibrium of the network on digits.
START_SCALE = 0.16


def standard_error(samples: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis."""
    return samples.std(axis=0, ddof=1) / np.sqrt(len(samples))


def sphere_trace(noise: Any, dimension: int) -> float:
    """Tr Sigma at a unit vector, from the compiled noise itself (where the trace is the same everywhere)."""
    return float(np.sum(evaluate.diffusion(noise, np.eye(dimension)[0]) ** 2))


def near_equilibrium(lr: np.ndarray, product: float) -> np.ndarray:
    """Start scales of nets with learning rates `lr` (E, 1) and lr wd = product."""
    return START_SCALE * (lr[:, 0] ** 2 / product) ** 0.25


def driven_gamma(run: networks.TrainingRecord, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """gamma of every layer, mean over nets `members`, and the law from the same start: both (times, layers).

    The law is applied from record to record, its trace the mean |gradient|^2 on the unit sphere in between.
    """
    gamma, spherical = run.gamma[members].mean(axis=0), run.spherical_mean[members].mean(axis=0)
    law, rates = [gamma[0]], {"lr": run.lr[members[0], 0], "weight_decay": run.weight_decay[members[0], 0]}
    for number, gap in enumerate(np.diff(run.steps), 1):
        law.append(intrinsic_lr.gamma(t=gap, trace=spherical[number], gamma0=law[-1], **rates))
    return gamma, np.array(law)
