"""The candidate: this package, through its public interface, on the benchmarks' workloads."""

from collections.abc import Callable
from typing import Any

import numpy as np

import sdetheory as st
from sdetheory.integrators import EulerMaruyama
from sdetheory.observers import SquaredNorm

from .workloads import Descent, Flow, NormalisedSDE


def _flow(case: Flow, threads: int) -> Callable[[], st.Ensemble]:
    n = len(case.target)
    model = st.deep_linear((n,) * (case.starts.shape[1] + 1), case.target)
    starts = case.starts.reshape(len(case.starts), -1)
    from sdetheory.integrators import DOP853

    integrator = DOP853(rtol=case.rtol, atol=case.atol)
    return lambda: st.simulate(
        model, st.GradientFlow(), starts, [case.end], integrator=integrator, threads=threads, progress=False
    )


def flow(case: Flow, threads: int = 2) -> Callable[[], np.ndarray]:
    """W1: run() -> final layers (members, N, n, n)."""
    run = _flow(case, threads)
    return lambda: run().final.reshape(case.starts.shape)


def flow_steps(case: Flow) -> tuple[int, int]:
    """W1: steps of all members that were accepted, and rejected."""
    how = _flow(case, 1)().how
    return int(how["accepted_steps"].sum()), int(how["rejected_steps"].sum())


def descent(case: Descent, threads: int = 2) -> Callable[[], np.ndarray]:
    """W1b: run() -> final layers (members, N, n, n)."""
    n = len(case.target)
    model = st.deep_linear((n,) * (case.starts.shape[1] + 1), case.target)
    starts = case.starts.reshape(len(case.starts), -1)

    def run() -> np.ndarray:
        end = st.simulate(model, st.GradientDescent(case.lr), starts, [case.steps], threads=threads, progress=False)
        return end.final.reshape(case.starts.shape)

    return run


def normalised_sde(
    case: NormalisedSDE, threads: int = 2, seed: int = 7, **options: Any
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """W2, W3: run() -> (|w|^2 (paths, records), final w (paths, d)); options go to `simulate`."""
    every = case.steps // case.records
    ts = case.dt * every * np.arange(1, case.records + 1)
    model, noise = st.Rayleigh(case.a), st.Isotropic(case.sigma)
    dynamics = st.WeightDecaySDE(lr=case.lr, weight_decay=case.weight_decay)
    given = {"integrator": EulerMaruyama(), "observe": [SquaredNorm()], **options}

    def run() -> tuple[np.ndarray, np.ndarray]:
        ensemble = st.simulate(
            model,
            dynamics,
            case.w0,
            ts,
            noise=noise,
            dt=case.dt,
            seed=seed,
            threads=threads,
            progress=False,
            **given,
        )
        return ensemble.values["squared_norm"], ensemble.final

    return run


PREPARE: dict[str, Callable[..., Callable[[], Any]]] = {
    "W1": flow,
    "W1b": descent,
    "W2": normalised_sde,
    "W3": normalised_sde,
}
