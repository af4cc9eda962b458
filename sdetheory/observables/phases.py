"""The two phases of training a deep linear network: along the gradient to the valley, then along the valley.

Near a manifold of minima a state can move in two ways: across the valley, which changes the end to end product W X, and
along it, which does not. The gradient of the loss points across at every state; weight decay and noise drift along.
"""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.models.deep_linear import DeepLinear
from sdetheory.observables.curvature import each_state, surroundings
from sdetheory.observables.layers import imbalance_norm

_RANK = 1e-9  # singular values of the tangents below this part of the largest are zero
_ROUNDING = 1e-13  # of |w|: displacements below this are rounding
_FADED = 1e-3  # part of the imbalance at the switch down to which its decay is fitted
_ABOVE, _FLOOR, _START = 10.0, 1e-5, 0.5  # see `Phases.optimisation_time`


class Phases(NamedTuple):
    """When a run turns from optimisation to regularisation, and the time constant of each phase.

    switch: first time from which three records running show more motion along the valley than across; NaN if none.
    optimisation_time: time in which the speed across falls by e before the switch, over its last decade above 10 times
    the speed along (above 1e-5 of its largest, where that is more), from half of its largest on; NaN with
    fewer than three such records.
    regularisation_time: time in which max_j |W_{j+1}^T W_{j+1} - W_j W_j^T|_F falls by e after the switch, down to a
    thousandth; inf where it does not fall, NaN without a switch.
    times, across, along: middle times of the records and the two speeds there, (T - 1,).
    """

    switch: float
    optimisation_time: float
    regularisation_time: float
    times: np.ndarray
    across: np.ndarray
    along: np.ndarray


def valley_motion(model: DeepLinear, w: Any, velocity: Any) -> tuple[np.ndarray, np.ndarray]:
    """(|v across|, |v along|) of velocities at states, both (..., d): lengths in the span of grad (W X)_oi and outside.

    The span of the tangents of W X holds the gradient of every loss of W X. At a minimum what is outside is the
    tangent of the manifold of minima. ValueError for a d that does not fit the widths or shapes that differ.
    """
    states = np.asarray(w, np.float64)
    velocities = checks.shape("velocity", np.asarray(velocity, np.float64), states.shape)
    flat = velocities.reshape(-1, states.shape[-1])
    lengths = []
    for layers, v in zip(each_state(model, states), flat, strict=True):
        basis = _tangents(model, layers)
        inside = basis @ v
        lengths.append((np.linalg.norm(inside), np.linalg.norm(v - inside @ basis)))
    across, along = np.reshape(lengths, (*states.shape[:-1], 2)).T
    return np.asarray(across.T), np.asarray(along.T)


def two_phases(model: DeepLinear, ts: Any, states: Any) -> Phases:
    """Switch and time constants of a recorded run: times ts (T,), states (T, d), T > 4; see `Phases`.

    Speeds are those of displacements between records, split at their middle. Give noisy runs as the mean over paths,
    recorded at gaps that are long against the optimisation time. ValueError for shapes that do not fit, times that do
    not increase. Source: the two phases are those of Ginsburg 2020 (abstract, section 4); this definition is ours.
    """
    ts = checks.increasing("ts", ts)
    states = checks.shape("states", checks.finite("states", states), (ts.size, model.dimension))
    if ts.size < 5:
        raise ValueError(f"`ts` must have at least 5 times: it has {ts.size}")
    gaps, middles = np.diff(ts), (states[1:] + states[:-1]) / 2
    moves = np.diff(states, axis=0)
    moves[np.abs(moves).max(axis=1) <= _ROUNDING * np.abs(states[1:]).max(axis=1)] = 0.0
    across, along = valley_motion(model, middles, moves / gaps[:, None])
    times = (ts[1:] + ts[:-1]) / 2
    over = along > across
    running = over[:-2] & over[1:-1] & over[2:]
    first = int(np.argmax(running)) if running.any() else None
    sizes = imbalance_norm(states, model.widths)
    return Phases(
        float(times[first]) if first is not None else np.nan,
        _optimisation_time(times, across, along, across.size if first is None else first),
        np.nan if first is None else _regularisation_time(ts[first + 1 :], sizes[first + 1 :]),
        times, across, along,
    )  # fmt: skip


def _optimisation_time(times: np.ndarray, across: np.ndarray, along: np.ndarray, switch: int) -> float:
    before = slice(int(np.argmax(across)), switch)
    speed, other = across[before], along[before]
    least = np.maximum(_ABOVE * other, _FLOOR * across.max())
    kept = (speed > least) & (speed < 10 * least) & (speed < _START * across.max())
    return _fall(times[before][kept], speed[kept]) if kept.sum() >= 3 else np.nan


def _regularisation_time(times: np.ndarray, sizes: np.ndarray) -> float:
    kept = np.cumsum(sizes <= _FADED * sizes[0]) == 0
    return _fall(times[kept], sizes[kept]) if kept.sum() >= 2 else np.nan


def _fall(times: np.ndarray, values: np.ndarray) -> float:
    """The time in which the values fall by e: from the line through their logarithms; inf where they do not fall."""
    slope = float(np.polyfit(times - times[0], np.log(values), 1)[0])
    return -1.0 / slope if slope < 0 else np.inf


def _tangents(model: DeepLinear, layers: list[np.ndarray]) -> np.ndarray:
    """Orthonormal rows that span the gradients of the entries of W X, (rank, d)."""
    above, below = surroundings(layers)
    rows = np.hstack([np.kron(a, (b @ model.inputs).T) for a, b in zip(above, below, strict=True)])
    _, values, right = np.linalg.svd(rows, full_matrices=False)
    return right[values > _RANK * max(values[0], 1e-300)]
