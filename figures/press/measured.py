"""What several figures measure: standard errors, traces of noises, gamma by the law with measured noise."""

from typing import Any

import numpy as np
from scipy.signal import lfilter
from scipy.stats import t as student

import sdetheory as st
from sdetheory import evaluate, networks
from sdetheory.observers import SquaredGradient, SquaredNorm
from sdetheory.predictions import intrinsic_lr

# He's start times this times (lr^2/product)^(1/4) begins near the equilibrium of the network on digits.
START_SCALE = 0.16


def standard_error(samples: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis."""
    return samples.std(axis=0, ddof=1) / np.sqrt(len(samples))


def paired_interval(differences: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the last axis (seeds, paired) and the half width of its interval by Student's t."""
    count = differences.shape[-1]
    error = differences.std(axis=-1, ddof=1) / np.sqrt(count)
    return differences.mean(axis=-1), student.ppf((1 + confidence) / 2, count - 1) * error


def sphere_trace(noise: Any, dimension: int) -> float:
    """Tr Sigma at a unit vector, from the compiled noise itself (where the trace is the same everywhere)."""
    return float(np.sum(evaluate.diffusion(noise, np.eye(dimension)[0]) ** 2))


def near_equilibrium(lr: np.ndarray, product: float) -> np.ndarray:
    """Start scales of nets with learning rates `lr` (E, 1) and lr wd = product."""
    return START_SCALE * (lr[:, 0] ** 2 / product) ** 0.25


def driven_gamma(run: networks.TrainingRecord, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """gamma of every layer, mean over nets `members`, and the law from the same start: both (times, layers).

    The law is applied from record to record, its trace the mean |gradient|^2 on the unit sphere in between; lr and
    weight decay may change at records.
    """
    gamma, spherical = run.gamma[members].mean(axis=0), run.spherical_mean[members].mean(axis=0)
    law, lr, weight_decay = [gamma[0]], run.lr[members[0]], run.weight_decay[members[0]]
    for number, gap in enumerate(np.diff(run.steps), 1):
        rates = {"lr": lr[number - 1], "weight_decay": weight_decay[number - 1]}
        after = intrinsic_lr.gamma(t=gap, trace=spherical[number], gamma0=law[-1], **rates)
        law.append(after * (lr[number - 1] / lr[number]) ** 2)
    return gamma, np.array(law)


def rmsprop_form(
    model: Any, noise: Any, start: np.ndarray, ts: np.ndarray, *, lr: float, weight_decay: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Discrete effective lr of SGD after each step of `ts` = 0, 1, ..., and its RMSprop form, (paths, steps).

    The form is sqrt(2 lr wd/M), M the average of |gradient|^2 on the sphere with memory 1 - 4 lr wd, from the
    M that fits the start.  The gradient is that of the loss, or, with batches, of the step of |w|^2 (I3).
    """
    rates, product = {"lr": lr, "weight_decay": weight_decay}, lr * weight_decay
    observe = {"size": SquaredNorm(), "gradient": SquaredGradient(model)}
    run = st.simulate(model, st.SGD(**rates), start, ts, noise=noise, seed=seed, observe=observe)
    size, unit = run["size"], run["gradient"][:, :-1]
    if isinstance(noise, st.GOEBatch):
        unit = (size[:, 1:] - (1 - product) ** 2 * size[:, :-1]) * size[:, :-1] / lr**2
    speed = intrinsic_lr.direction_lr(squared_norm=size, **rates)
    kept, first = 1 - 4 * product, 2 * product / speed[:, 0] ** 2
    average, _ = lfilter([4 * product], [1, -kept], unit, zi=kept * first[:, None])
    return speed[:, 1:], intrinsic_lr.equilibrium_effective_lr(trace=average, **rates)
