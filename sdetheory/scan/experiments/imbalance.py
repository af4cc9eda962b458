"""How long label noise needs to halve the imbalance of a chain of scalar layers, over depth and noise."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from sdetheory.checks import Diverged
from sdetheory.scan.experiments.crossing import crossing
from sdetheory.scan.experiments.protocol import Observable, Parameter, Parameters, Predicted, complete
from sdetheory.scan.records import Outcome, diverged

_SECONDS_A_STEP = 4.5e-8  # of one path and one layer, measured


class ImbalanceHalfLife:
    """SGD on (w_1 ... w_N - 1)^2 with a fresh label 1 + `noise` xi in every step, from a minimum.

    At the start w_1^2 = `large` and the other layers are equal, their product 1.  The half-life is the time, in steps,
    until the mean over paths of w_1^2 less the mean square of the others is half of what it was; its standard error
    from `batches` groups of paths.  Prediction: the limiting flow of label noise, sped up by 1/(1 - lr S) (Damian,
    Ma, Lee 2021), integrated until half; its margin is the relative variance that noise gives the product of layers.
    Source: Li, Wang, Arora (2022).
    """

    name = "imbalance_half_life"
    says = "steps in which label noise halves the imbalance of a chain of scalar layers"
    parameters: Mapping[str, Parameter] = {
        "depth": Parameter("integer", says="number of layers", rule=2),
        "noise": Parameter("float", unit="1", says="standard deviation of the label noise", rule="positive"),
        "lr": Parameter("float", 0.05, "1", "learning rate", "positive"),
        "large": Parameter("float", 2.0, "1", "square of the first layer at the start, above 1", "positive"),
        "paths": Parameter("integer", 256, "1", "independent runs averaged", 16),
        "batches": Parameter("integer", 16, "1", "groups of paths that the standard error comes from", 8),
        "records": Parameter("integer", 64, "1", "times looked at in one run", 8),
        "horizon": Parameter("float", 1.0, "1", "length of the first run in units of 1/(2 lr noise)^2", "positive"),
    }
    observables: Mapping[str, Observable] = {
        "half_life": Observable("steps", "until the mean imbalance is half its first value"),
        "slow_half_life": Observable("1", "the same in units of 1/(2 lr noise)^2"),
    }

    def validate(self, parameters: Parameters) -> dict[str, Any]:
        """Also: an imbalance at the start, a stable minimum, batches of equally many paths."""
        found = complete(self.parameters, parameters, self.name)
        if found["large"] <= 1:
            raise ValueError(f"`large` must be above 1, where layers are balanced: large={found['large']}")
        inverse = float((1 / self.start(found)).sum())
        if found["lr"] * inverse >= 0.9:
            raise ValueError(f"`lr` must be below 0.9/S, S = {inverse:.3g} the sum of 1/w_i^2: lr={found['lr']}")
        if found["paths"] % found["batches"]:
            raise ValueError(f"`batches` must divide paths={found['paths']}: batches={found['batches']}")
        return found

    @staticmethod
    def start(p: Parameters) -> np.ndarray:
        """Squares of the layers at the start, (depth,)."""
        rest = p["large"] ** (-1.0 / (p["depth"] - 1))
        return np.array([p["large"], *[rest] * (p["depth"] - 1)])

    def run(self, points: Sequence[Parameters], seeds: Sequence[int]) -> list[Outcome]:
        """One ensemble of paths a point."""
        return [self._one(point, seed) for point, seed in zip(points, seeds, strict=True)]

    def _one(self, p: Parameters, seed: int) -> Outcome:
        unit = (2 * p["lr"] * p["noise"]) ** -2
        length = p["horizon"]
        for _ in range(6):
            ts = np.unique(np.rint(length * unit * np.arange(p["records"] + 1) / p["records"]))
            try:
                imbalance = self._imbalance(p, ts, seed)
            except Diverged as error:
                return diverged(error)
            parts = [half_life(ts, part.mean(axis=0)) for part in np.split(imbalance, p["batches"])]
            if all(map(math.isfinite, parts)):
                break
            length *= 2
        else:
            raise ValueError(f"`horizon` is too short: the imbalance did not halve in {ts[-1]:.3g} steps")
        mean, spread = half_life(ts, imbalance.mean(axis=0)), float(np.std(parts, ddof=1) / math.sqrt(len(parts)))
        return Outcome({"half_life": mean, "slow_half_life": mean / unit},
                       {"half_life": spread, "slow_half_life": spread / unit}, samples=p["batches"])  # fmt: skip

    def _imbalance(self, p: Parameters, ts: np.ndarray, seed: int) -> np.ndarray:
        """w_1^2 less the mean square of the other layers, (paths, times)."""
        import sdetheory as st

        model = st.scalar_chain(p["depth"])
        runs = st.simulate(
            model, st.SGD(p["lr"]), np.sqrt(self.start(p)), ts, noise=st.label_noise(model, p["noise"]),
            paths=p["paths"], seed=seed, keep_states=True, threads=1, progress=False,
        )  # fmt: skip
        if runs.diverged.any():
            worst = int(runs.diverged_step[runs.diverged].min())
            raise Diverged(float(worst), worst, f"{int(runs.diverged.sum())} of {p['paths']} paths; reduce lr or noise")
        squares = runs.states**2
        return squares[..., 0] - squares[..., 1:].mean(axis=-1)

    def predict(self, parameters: Parameters, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The limiting flow, with the factor of a finite learning rate."""
        p = parameters
        slow = flow_half_life(self.start(p), p["lr"], p["noise"])
        unit = (2 * p["lr"] * p["noise"]) ** -2
        steps, margin = slow / p["lr"] ** 2, self.margin(p)
        source = "label_noise.limiting_square_rate / (1 - lr S)"
        found = {"half_life": steps, "slow_half_life": steps / unit}
        return {name: Predicted(value, source, margin) for name, value in found.items()}

    def margin(self, p: Parameters) -> float:
        """Relative error of the flow: of first order in the variance of the product of layers."""
        slope = p["lr"] * float((1 / self.start(p)).sum())
        return 3 * p["noise"] ** 2 * slope / (1 - slope)

    def batch_key(self, parameters: Parameters) -> Hashable:
        """Depth decides the kernel's tables."""
        return parameters["depth"]

    def cost(self, parameters: Parameters) -> float:
        """Path-steps times layers, for the first horizon."""
        p = parameters
        return 0.003 + _SECONDS_A_STEP * p["horizon"] * (2 * p["lr"] * p["noise"]) ** -2 * p["paths"] * p["depth"]

    def modules(self) -> list[str]:
        """The simulation and what it is made of."""
        return [__name__, "sdetheory.simulation"]


def half_life(ts: np.ndarray, imbalance: np.ndarray) -> float:
    """When a curve falls to half its first value."""
    return crossing(ts, imbalance, imbalance[0] / 2)


def flow_half_life(squares: np.ndarray, lr: float, noise: float) -> float:
    """Slow time, lr^2 times steps, in which the predicted flow halves w_1^2 less the mean of the others."""
    from scipy.integrate import solve_ivp

    from sdetheory.predictions import label_noise

    def rate(_: float, z: np.ndarray) -> np.ndarray:
        inverse = (1 / z).sum()
        limit = label_noise.limiting_square_rate(
            square=z, noise=noise, inverse_squares=inverse, inverse_fourths=(z**-2).sum()
        )
        return np.asarray(limit / (1 - lr * inverse))

    def gap(z: np.ndarray) -> float:
        return float(z[0] - z[1:].mean())

    def halved(_: float, z: np.ndarray) -> float:
        return gap(z) - gap(squares) / 2

    halved.terminal = True  # type: ignore[attr-defined]
    found = solve_ivp(rate, (0, 100 / noise**2), squares, events=halved, rtol=1e-9, atol=1e-11)
    return float(found.t_events[0][0])


EXPERIMENT = ImbalanceHalfLife()
