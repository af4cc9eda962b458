"""One training run seen at chosen steps: the same numbers as in one go, with the parameters in between."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.networks.data import Data
from sdetheory.networks.descent import check_optimiser
from sdetheory.networks.network import Network
from sdetheory.networks.rates import Rate, per_step
from sdetheory.networks.record import TrainingRecord
from sdetheory.networks.state import TrainingState
from sdetheory.networks.training import train


def train_in_pieces(
    net: Network,
    data: Data,
    *,
    stops: Sequence[int] | np.ndarray,
    lr: Rate | None = None,
    weight_decay: Rate = 0.0,
    optimiser: Any = None,
    start: np.ndarray,
    seeds: Sequence[int] | np.ndarray,
    state: TrainingState | None = None,
    first_step: int = 0,
    **settings: Any,
) -> Iterator[TrainingRecord]:
    """Train nets from `start` (E, P) and yield at each of the increasing `stops` (counted from `first_step`).

    Each record covers one piece: its last row holds the norms and sums of the piece, `final` the parameters at
    the stop. The run is bitwise that of one call of `train` with steps = stops[-1]; lr and weight_decay, given here or
    in the optimiser, cover all of it, (E, steps) arrays too. Raises ValueError before work for stops that are not
    increasing whole steps >= 1.
    """
    marks = checks.increasing("stops", stops)
    if (marks != np.rint(marks)).any() or marks[0] < 1:
        raise ValueError(f"`stops` must be whole steps >= 1: stops={marks}")
    first, ends = checks.integer("first_step", first_step), [0, *marks.astype(int).tolist()]
    groups = sum(not group.frozen for group in net.groups(settings.get("by", "layer")))
    rates = {
        name: per_step(name, rate, len(seeds), first, ends[-1], groups)
        for name, rate in zip(("lr", "weight_decay"), check_optimiser(optimiser, lr, weight_decay), strict=True)
    }
    for begin, end in pairwise(ends):
        piece: dict[str, Any] = {name: rate[:, begin:end] for name, rate in rates.items()}
        record = train(
            net, data, start=start, state=state, seeds=seeds, first_step=first + begin, steps=end - begin,
            record_every=end - begin, **(piece if optimiser is None else {"optimiser": replace(optimiser, **piece)}),
            **settings,
        )  # fmt: skip
        start, state = record.final, record.state
        yield record
