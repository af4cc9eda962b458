"""Do two ensembles of networks have the same law of labels?  Distances between them and what chance alone gives.

A net trained with seed s is a random classifier F_s. For an input x the labels of many seeds estimate its law
p(. | x); two ensembles are compared by their laws, input by input (Li, Lyu, Arora 2020, fast equilibrium).
Everything starts from counts (..., n inputs, C classes): how many nets give each input each label.
"""

from dataclasses import dataclass

import numpy as np

from sdetheory import checks


def label_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """How many nets give each input each label: labels (E, n) of E nets, counts (n, classes) int64."""
    _checked("labels", labels, checks.integer("classes", classes, 2), 1)
    return np.stack([(labels == label).sum(axis=0) for label in range(classes)], axis=1)


def total_variation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean over inputs of (1/2) sum_k |a_k / n_a - b_k / n_b|, half the l1 distance: counts (..., n, C), result (...).

    Biased upwards: for equal laws its mean is not 0 but the Monte Carlo floor (see `floor`, `gaussian_floor`).
    """
    shares = [counts / _nets(name, counts)[..., None, None] for name, counts in _pair(a, b)]
    return 0.5 * _mean(np.abs(shares[0] - shares[1]))


def disagreement(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Chance that two nets, one of each ensemble (without b: two different nets of a), label an input differently.

    Mean over inputs, counts (..., n, C) -> (...). Unbiased: 1 - sum_k p_k q_k has the estimate 1 - sum_k a_k b_k /
    (n_a n_b), and within one ensemble 1 - sum_k a_k (a_k - 1) / (n_a (n_a - 1)).
    """
    if b is None:
        nets = _nets("a", a)
        if (nets < 2).any():
            raise ValueError(f"`a` must count at least two nets: {nets.min()}")
        return 1 - _mean(a * (a - 1)) / (nets * (nets - 1))
    (_, a), (_, b) = _pair(a, b)
    return 1 - _mean(a * b) / (_nets("a", a) * _nets("b", b))


def squared_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean over inputs of |p - q|^2, unbiased: 2 d(a, b) - d(a) - d(b) with d the `disagreement`; may be negative.

    For equal laws its mean is 0: no floor. counts (..., n, C) -> (...).
    """
    return 2 * disagreement(a, b) - disagreement(a) - disagreement(b)


def start_share(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of the disagreement across ensembles that nets of one ensemble do not show: 1 - (d_a + d_b) / (2 d_ab).

    0 for equal laws, 1 for two ensembles that never agree and are each of one mind (in genetics F_ST, Hudson
    et al. 1992): free of the scale on which nets disagree at all. NaN if nobody disagrees.
    """
    across = 2 * disagreement(a, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(across > 0, squared_distance(a, b) / across, np.nan)


def gaussian_floor(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Expected total variation of two samples of one law, by the normal approximation at the pooled shares p:

    mean over inputs of sum_k sqrt(p_k (1 - p_k) (1/n_a + 1/n_b) / (2 pi)). Too high where a label is given by
    about one net or none (there E|X - Y| is of order p, not sqrt(p)). counts (..., n, C) -> (...).
    """
    (_, a), (_, b) = _pair(a, b)
    first, second = _nets("a", a), _nets("b", b)
    p = (a + b) / (first + second)[..., None, None]
    return _mean(np.sqrt(p * (1 - p) / (2 * np.pi))) * np.sqrt(1 / first + 1 / second)


def exchanged(
    a: np.ndarray, b: np.ndarray, classes: int, shuffles: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Counts of two ensembles after their nets were exchanged at random: labels (E_a, n), (E_b, n).

    Returns two arrays (shuffles, n, classes). Were the laws equal, each shuffle would be as likely as the data.
    """
    a, b, draw = _two(a, b, classes, seed)
    checks.integer("shuffles", shuffles, 1)
    order = draw.permuted(np.tile(np.arange(len(a) + len(b)), (shuffles, 1)), axis=1)
    pooled = np.concatenate([a, b])
    mine = (order < len(a)).astype(np.float32)
    first = _weighted(pooled, classes, mine)
    return first, label_counts(pooled, classes) - first


def halves(labels: np.ndarray, classes: int, resamples: int, seed: int = 0) -> np.ndarray:
    """Counts of random halves of an ensemble, drawn without replacement: labels (E, n), (resamples, n, classes).

    The mean of a half varies about that of the whole as the whole does about its law (variance (1 - 1/2) / (E/2) =
    1/E), and, as no net is drawn twice, unbiased estimates stay unbiased. Where an estimate has no linear part
    (`squared_distance` of equal laws) its error comes out sqrt(3) times too large, never too small.
    """
    _checked("labels", labels, checks.integer("classes", classes, 2), 2)
    draw = np.random.default_rng(checks.integer("seed", seed))
    every = np.tile(np.arange(len(labels)), (checks.integer("resamples", resamples, 2), 1))
    chosen = draw.permuted(every, axis=1) < len(labels) // 2
    return _weighted(labels, classes, chosen.astype(np.float32))


@dataclass(frozen=True)
class Comparison:
    """Two ensembles of label assignments, with what chance gives and the errors of each number."""

    distance: float
    floor: float
    floor_sd: float
    gaussian_floor: float
    p_value: float
    squared: float
    squared_error: float
    share: float
    share_error: float

    @property
    def excess(self) -> float:
        """Distance above the floor in standard deviations of the floor."""
        return (self.distance - self.floor) / self.floor_sd if self.floor_sd else float(self.distance > self.floor)


def compare(
    a: np.ndarray, b: np.ndarray, classes: int, *, shuffles: int = 100, resamples: int = 100, seed: int = 0
) -> Comparison:
    """Compare the laws of labels of two independent ensembles, labels (E_a, n) and (E_b, n) of the same n inputs.

    distance: mean total variation; floor, floor_sd: its mean and standard deviation when nets are exchanged at
    random between the ensembles; p_value: of that exchange test, at least 1 / (shuffles + 1); squared, share:
    unbiased `squared_distance` and `start_share`, with standard errors from random halves of the seeds.
    The nets must be independent also across ensembles (no seed in both), else the floor is too high. Raises
    ValueError for labels that are not (E, n) integers in 0 .. classes - 1, other inputs, or fewer than 4 nets.
    """
    counts = [label_counts(labels, classes) for labels in (a, b)]
    if min(len(a), len(b)) < 4:
        raise ValueError(f"`a` and `b` must have at least 4 nets: {len(a)}, {len(b)}")
    null = total_variation(*exchanged(a, b, classes, shuffles, seed))
    drawn = [halves(labels, classes, resamples, seed + 1 + i) for i, labels in enumerate((a, b))]
    distance = float(total_variation(*counts))
    return Comparison(
        distance, float(null.mean()), float(null.std()), float(gaussian_floor(*counts)),
        float((1 + (null >= distance).sum()) / (1 + shuffles)),
        float(squared_distance(*counts)), float(squared_distance(*drawn).std(ddof=1)),
        float(start_share(*counts)), float(start_share(*drawn).std(ddof=1)),
    )  # fmt: skip


def _checked(name: str, labels: np.ndarray, classes: int, least: int) -> np.ndarray:
    labels = np.asarray(labels)
    checks.shape(name, labels, (None, None))
    if labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0 or labels.max() >= classes:
        span = f"{labels.min()} .. {labels.max()}" if labels.size else "none"
        raise ValueError(f"`{name}` must be integers in 0 .. {classes - 1}: dtype={labels.dtype}, values {span}")
    if len(labels) < least:
        raise ValueError(f"`{name}` must have at least {least} nets: {len(labels)}")
    return labels


def _two(a: np.ndarray, b: np.ndarray, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    classes = checks.integer("classes", classes, 2)
    a = _checked("a", a, classes, 1)
    b = _checked("b", b, classes, 1)
    checks.shape("b", b, (None, a.shape[1]))
    return a, b, np.random.default_rng(checks.integer("seed", seed))


def _weighted(labels: np.ndarray, classes: int, weights: np.ndarray) -> np.ndarray:
    """Counts with net e taken weights[r, e] times, (R, n, classes) int64; sums of small integers are exact."""
    told = (labels[:, :, None] == np.arange(classes)).astype(np.float32).reshape(len(labels), -1)
    return np.rint(weights @ told).astype(np.int64).reshape(len(weights), labels.shape[1], classes)


def _mean(values: np.ndarray) -> np.ndarray:
    """Sum over classes, mean over inputs: values (..., n, C) -> (...)."""
    return values.sum(axis=(-2, -1)) / values.shape[-2]


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[tuple[str, np.ndarray], tuple[str, np.ndarray]]:
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-2:] != b.shape[-2:]:
        raise ValueError(f"`a` and `b` must count the same inputs and classes: shapes {a.shape} and {b.shape}")
    return ("a", a), ("b", b)


def _nets(name: str, counts: np.ndarray) -> np.ndarray:
    """How many nets were counted, (...); the same at every input."""
    nets = np.einsum("...k->...", np.asarray(counts))
    if nets.ndim < 1 or not nets.size or (nets != nets[..., :1]).any() or (nets < 1).any():
        raise ValueError(f"`{name}` must count the same nets, at least one, at every input: sums {nets}")
    return nets[..., 0]
