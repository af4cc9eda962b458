"""Training an ensemble of networks, measured at every step.

By default w <- (1 - lr wd) w - lr g with g the gradient of the batch loss, for every trainable parameter of every net;
or the step of an optimiser of `sdetheory.dynamics`, with or without weight rescaling, watched by instruments.
Nets run in chunks that stay in the processor's cache for all their steps, chunks on threads; a net's numbers
do not depend on chunk, threads or on the other nets.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
from tqdm import tqdm

from sdetheory import checks
from sdetheory.networks import provenance
from sdetheory.networks.blas import one_thread
from sdetheory.networks.data import Data
from sdetheory.networks.descent import check_optimiser, descent
from sdetheory.networks.groups import segment_table
from sdetheory.networks.instruments import check_instruments, joined
from sdetheory.networks.network import Network
from sdetheory.networks.rates import Rate, per_step
from sdetheory.networks.record import TrainingRecord
from sdetheory.networks.replay import ReplayedRate
from sdetheory.networks.rescaling import Rescaler, WeightRescaling
from sdetheory.networks.run import Run
from sdetheory.networks.state import TrainingState, begin


def train(
    net: Network,
    data: Data,
    *,
    lr: Rate | ReplayedRate | None = None,
    weight_decay: Rate = 0.0,
    optimiser: Any = None,
    rescaling: WeightRescaling | None = None,
    instruments: Sequence[Any] = (),
    steps: int,
    batch_size: int | None = 32,
    label_noise: float = 0.0,
    seeds: int | Sequence[int] | np.ndarray = 1,
    init_scale: float | np.ndarray = 1.0,
    start: np.ndarray | None = None,
    state: TrainingState | None = None,
    first_step: int = 0,
    record_every: int | Sequence[int] | np.ndarray = 1,
    by: str = "layer",
    threads: int | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> TrainingRecord:
    """Train E nets for `steps` steps; see `TrainingRecord` for what comes back.

    seeds: a number E (seeds 0 .. E-1), or one seed a net; a net's start and batches depend on its seed alone.
    lr, weight_decay: a number, a callable step -> value, or an array with one value a step, (steps,), one a
        net, (E, 1), or both, (E, steps): a scan over (lr, weight_decay, init_scale) is one ensemble. A third axis,
        (E or 1, steps or 1, G), holds one value a group of the record. lr may also be a `ReplayedRate`.
    optimiser: None is SGD, w' = (1 - lr wd) w - lr g. Or a rule of `sdetheory.dynamics` with its own lr and
        weight_decay, which take all these forms too: HeavyBall (torch's SGD), InnerHeavyBall, Nesterov, SGDW, Adam,
        AdamW, Lion.
    rescaling: see `WeightRescaling`; instruments: see `Instrument`; their readings are in record.readings.
    batch_size: examples a batch, drawn with replacement; each label is replaced by a uniform one with
        probability label_noise, anew at each step. None is gradient descent: every example in every step.
    init_scale: factor of He's start, one number or one a net; start, (E, P), replaces the start.
    first_step: number of the first step; with start = record.final, state = record.state and first_step =
        record.steps[-1] a run goes on bitwise as if never stopped.
    record_every: spacing of the records, or the steps themselves; by: norms per "layer" or per "neuron".
    Raises ValueError before work on bad arguments; Diverged if every net left the finite numbers (else they
    are marked).
    """
    _check_kinds(net, data, rescaling, state)
    lr, weight_decay = check_optimiser(optimiser, lr, weight_decay)
    members, watch = _members(seeds), check_instruments(instruments, rescaling is not None)
    steps, first = checks.integer("steps", steps, 1), checks.integer("first_step", first_step)
    if first + steps > checks.LARGEST:
        raise ValueError(f"`first_step` + `steps` must be at most 2**53: first_step={first}, steps={steps}")
    _check_data(net, data, batch_size, label_noise)
    groups = tuple(group for group in net.groups(by) if not group.frozen)
    # A lr that follows the weights is written down as the run goes.
    follow = lr.bind(groups, len(members), first, steps) if hasattr(lr, "bind") else None
    rates = [
        np.zeros((len(members), steps, len(groups)))
        if hasattr(rate, "bind")
        else per_step(name, rate, len(members), first, steps, len(groups))
        for name, rate in (("lr", lr), ("weight_decay", weight_decay))
    ]
    rule = descent(optimiser)
    rescaler = Rescaler.of(rescaling, net, rule.rule, data, batch_size)
    run = Run(
        net, data, members, rates[0], rates[1], first, steps, None if batch_size is None else int(batch_size),
        float(label_noise), _marks(record_every, steps), groups, segment_table(groups), rule, rescaler, watch,
        follow, Event(),
    )  # fmt: skip
    parameters = _start(net, members, init_scale, start)
    carried = begin(state, parameters, rule, rescaler, rescaling is not None and rescaling.at_start and first == 0)
    workers = os.cpu_count() or 1 if threads is None else checks.integer("threads", threads, 1)
    size = run.chunk_size(workers) if chunk is None else checks.integer("chunk", chunk, 1)
    out = run.room()
    bar = tqdm(total=len(members) * (steps + 1), unit="net-step", disable=None if progress else True)
    parts = [slice(a, min(a + size, len(members))) for a in range(0, len(members), size)]
    # One BLAS thread each: with more, sums would depend on their number, and small products run slower.
    with bar, one_thread(), ThreadPoolExecutor(workers) as pool:
        try:
            seen = list(pool.map(lambda p: run(p, parameters[p], carried.part(p), bar.update, out), parts))
        finally:
            run.stop.set()  # an interrupt ends the threads at their next block
    if (out["failed"] >= 0).all():
        step = int(out["failed"].max())
        raise checks.Diverged(step, step, "every net did; reduce lr, or start from a smaller effective lr")
    how = provenance.how(run, init_scale if start is None else "given", rescaling)
    return run.record(parameters, carried, out, joined(watch, seen, first, steps), how)


def _check_kinds(net: Any, data: Any, rescaling: Any, state: Any) -> None:
    """Raises TypeError for something that is not of the kind its argument names."""
    kinds: tuple[tuple[str, Any, type, str], ...] = (("net", net, Network, "mlp((64, 32, 10))"),)
    kinds += (("data", data, Data, "digits()"),)
    kinds += (("rescaling", rescaling, WeightRescaling, "WeightRescaling()"),) if rescaling is not None else ()
    kinds += (("state", state, TrainingState, "record.state"),) if state is not None else ()
    for name, value, kind, like in kinds:
        if not isinstance(value, kind):
            raise TypeError(f"`{name}` must be a {kind.__name__} such as {like}: it is a {type(value).__name__}")


def _members(seeds: int | Sequence[int] | np.ndarray) -> np.ndarray:
    if np.ndim(seeds) == 0:
        return np.arange(checks.integer("seeds", seeds, 1), dtype=np.int64)
    members = [checks.integer(f"seeds[{i}]", seed) for i, seed in enumerate(np.asarray(seeds).tolist())]
    if not members:
        raise ValueError("`seeds` must not be empty: seeds=[]")
    if max(members) >= 2**63:
        raise ValueError(f"`seeds` must be below 2**63: seeds={members}")
    return np.array(members, dtype=np.int64)


def _check_data(net: Network, data: Data, batch_size: int | None, label_noise: float) -> None:
    """The data fit the network, and the batch the data."""
    checks.shape("data.inputs", data.inputs, (None, net.inputs))
    if data.classes > net.classes:
        raise ValueError(
            f"`data` must have labels below the network's {net.classes} classes: it has {data.classes}"
        )
    if batch_size is not None and checks.integer("batch_size", batch_size, 2 if net.normalises else 1) > len(data):
        raise ValueError(
            f"`batch_size` must not exceed the data: batch_size={batch_size}, {len(data)} examples"
        )
    if checks.nonnegative("label_noise", label_noise) > 1:
        raise ValueError(f"`label_noise` must be a probability: label_noise={label_noise}")
    if label_noise and batch_size is None:
        raise ValueError(f"`label_noise` must be 0 with batch_size=None, which draws nothing: {label_noise}")


def _start(
    net: Network, members: np.ndarray, init_scale: float | np.ndarray, start: np.ndarray | None
) -> np.ndarray:
    if start is not None:
        return checks.shape("start", checks.finite("start", start), (len(members), net.size)).copy()
    return net.start(members, init_scale)


def _marks(record_every: int | Sequence[int] | np.ndarray, steps: int) -> np.ndarray:
    """Recorded steps, counted from the start of this call, int64."""
    if np.ndim(record_every) == 0:
        every = checks.integer("record_every", record_every, 1)
        return np.unique(np.append(np.arange(0, steps + 1, every), steps))
    marks = checks.increasing("record_every", record_every)
    if (marks != np.rint(marks)).any() or marks[-1] > steps:
        raise ValueError(f"`record_every` must hold whole steps in 0 .. {steps}: record_every={marks}")
    return marks.astype(np.int64)
