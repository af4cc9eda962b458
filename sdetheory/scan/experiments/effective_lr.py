"""Effective learning rate at equilibrium over (lr, weight_decay): its iso-lines are those of the product."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from sdetheory.checks import Diverged
from sdetheory.scan.experiments.protocol import Observable, Parameter, Parameters, Predicted, complete
from sdetheory.scan.records import Outcome, diverged

_SECONDS_A_STEP = 4e-9  # of one path and one entry of the random matrix, measured


class EffectiveLR:
    """SGD on random batches of a Rayleigh quotient w^T (A + s E) w/|w|^2, A = diag(0 .. height), E from the GOE.

    Runs from norm 1 for `settle`/(lr wd) steps, then averages over `horizon`/(lr wd) steps and over paths.
    Prediction: gamma = |w|^4/lr^2 -> T/(2 lr wd), effective lr -> sqrt(2 lr wd/T), with T = 4 s^2 (d - 1) plus the
    measured squared gradient of the loss on the unit sphere: first order in lr wd, which is the margin of the verdict.
    Source: Li, Lyu, Arora (2020), section 4.
    """

    name = "effective_lr"
    says = "effective learning rate of SGD at equilibrium, scale-invariant loss: depends on lr x weight_decay alone"
    parameters: Mapping[str, Parameter] = {
        "lr": Parameter("float", unit="w^2/loss", says="learning rate", rule="positive"),
        "weight_decay": Parameter("float", unit="loss/w^2", says="weight decay", rule="positive"),
        "batch_noise": Parameter("float", 0.5, "loss", "s, size of the random matrix of a batch", "positive"),
        "height": Parameter("float", 0.2, "loss", "largest eigenvalue of A", "nonnegative"),
        "d": Parameter("integer", 16, "1", "dimension", 2),
        "paths": Parameter("integer", 64, "1", "independent runs averaged", 8),
        "settle": Parameter("float", 3.0, "1", "steps before the average, times lr wd", "positive"),
        "horizon": Parameter("float", 3.0, "1", "steps averaged over, times lr wd", "positive"),
        "records": Parameter("integer", 32, "1", "times averaged over", 1),
    }
    observables: Mapping[str, Observable] = {
        "effective_lr": Observable("1/loss", "lr/|w|^2, the speed of the direction"),
        "gamma": Observable("loss^2", "|w|^4/lr^2"),
        "squared_norm": Observable("w^2", "|w|^2"),
        "squared_gradient": Observable("loss^2", "|grad L|^2 of the mean loss on the unit sphere"),
    }

    def validate(self, parameters: Parameters) -> dict[str, Any]:
        """Also lr x weight_decay < 0.5: beyond it SGD is far from the law, and soon unstable."""
        found = complete(self.parameters, parameters, self.name)
        if found["lr"] * found["weight_decay"] >= 0.5:
            raise ValueError(
                f"`weight_decay` must be below 0.5/lr: lr={found['lr']}, weight_decay={found['weight_decay']}"
            )
        return found

    def run(self, points: Sequence[Parameters], seeds: Sequence[int]) -> list[Outcome]:
        """One ensemble of paths a point."""
        return [self._one(point, seed) for point, seed in zip(points, seeds, strict=True)]

    def _one(self, p: Parameters, seed: int) -> Outcome:
        import sdetheory as st

        model = st.Rayleigh(np.linspace(0.0, p["height"], p["d"]))
        product, rates = p["lr"] * p["weight_decay"], {"lr": p["lr"], "weight_decay": p["weight_decay"]}
        first, last = p["settle"] / product, (p["settle"] + p["horizon"]) / product
        ts = np.unique(np.rint(first + (last - first) * np.arange(1, p["records"] + 1) / p["records"]))
        observe = {
            "effective_lr": st.observers.EffectiveLR(p["lr"]), "gamma": st.observers.Gamma(p["lr"]),
            "squared_gradient": st.observers.SquaredGradient(model), "squared_norm": st.observers.SquaredNorm(),
        }  # fmt: skip
        start = np.full(p["d"], p["d"] ** -0.5)
        try:
            runs = st.simulate(
                model, st.SGD(**rates), start, ts, noise=st.GOEBatch(p["batch_noise"]), paths=p["paths"], seed=seed,
                observe=observe, threads=1, progress=False,
            )  # fmt: skip
        except Diverged as error:
            return diverged(error)
        found = {name: runs.average(name) for name in observe}
        return Outcome({name: float(one.estimate) for name, one in found.items()},
                       {name: float(one.standard_error) for name, one in found.items()},
                       samples=p["paths"])  # fmt: skip

    def predict(self, parameters: Parameters, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The equilibrium of the norm; without a measurement the gradient of the loss is left out."""
        from sdetheory.predictions import intrinsic_lr

        rates = {name: parameters[name] for name in ("lr", "weight_decay")}
        margin = 2 * rates["lr"] * rates["weight_decay"]
        trace = 4 * parameters["batch_noise"] ** 2 * (parameters["d"] - 1) + (measured or {}).get("squared_gradient", 0)
        laws = {"effective_lr": intrinsic_lr.equilibrium_effective_lr, "gamma": intrinsic_lr.equilibrium_gamma,
                "squared_norm": intrinsic_lr.equilibrium_squared_norm}  # fmt: skip
        return {
            name: Predicted(law(trace=trace, **rates), f"intrinsic_lr.{law.name}", margin) for name, law in laws.items()
        }

    def batch_key(self, parameters: Parameters) -> Hashable:
        """Nothing is shared but the compiled kernel."""
        return parameters["d"]

    def cost(self, parameters: Parameters) -> float:
        """Path-steps times entries of the random matrix."""
        p = parameters
        steps = (p["settle"] + p["horizon"]) / (p["lr"] * p["weight_decay"])
        return 0.003 + _SECONDS_A_STEP * steps * p["paths"] * p["d"] ** 2 / 2

    def modules(self) -> list[str]:
        """The simulation and what it is made of."""
        return [__name__, "sdetheory.simulation"]


EXPERIMENT = EffectiveLR()
