"""How long a batch-normalised network on digits remembers its start, over lr x weight_decay and the start's norm."""

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from sdetheory.scan.experiments.crossing import crossing
from sdetheory.scan.experiments.protocol import Observable, Parameter, Parameters, Predicted, complete
from sdetheory.scan.records import Outcome

DIGITS = 500  # trained on; the last 300 are held out
TIMES = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0])  # times 1/(lr wd)
_SECONDS_A_STEP = 2.2e-5  # of one net, measured


class FastEquilibrium:
    """Memory of the start of nets 64-`hidden`-10, batch normalisation also on the logits, SGD with label noise.

    Function: nets that start from one net fitted to shuffled labels against nets from random starts, all of the same
    norm; their memory is the unbiased squared distance of the two laws of labels on held-out digits, summed over
    2/(lr wd) steps (a sum has no bias from noise, unlike the time at which a noisy curve first is below a level).  No
    formula is known; the fast equilibrium conjecture says O(1/(lr wd)) (Li, Lyu, Arora 2020).  All points share the
    fitted net.
    Norm: steps until the mean of gamma = |w|^4/lr^2, first layer of the nets from random starts, is twice its value at
    the end, measured where it starts 3 times above or more.  Prediction: the law of gamma with the |gradient|^2 on
    the unit sphere that these nets had, from record to record; first order in lr wd.
    A start_norm below 0.8 measures something else: the first steps are then so large that they destroy the start.
    """

    name = "fast_equilibrium"
    says = "how many steps nets on digits remember their start, in function and in norm, over lr x weight_decay"
    parameters: Mapping[str, Parameter] = {
        "product": Parameter("float", unit="1", says="lr x weight_decay", rule="positive"),
        "start_norm": Parameter("float", 1.0, "1", "norm of the start, in units of `start_scale`", "positive"),
        "lr": Parameter("float", 0.3, "w^2/loss", "learning rate", "positive"),
        "nets": Parameter("integer", 96, "1", "nets an ensemble", 16),
        "hidden": Parameter("integer", 16, "1", "width of the hidden layer", 2),
        "batch_size": Parameter("integer", 16, "1", "digits a batch", 2),
        "label_noise": Parameter("float", 0.2, "1", "share of labels replaced at random in every step", "unit"),
        "fit": Parameter("integer", 0, "1", "which fitted net: its start, its batches and its labels", 0),
        "fitting_steps": Parameter("integer", 4000, "1", "steps of the fit to shuffled labels", 1),
        "start_scale": Parameter(
            "float", 0.24, "1", "start: He's times this times (lr^2/product)^(1/4), near the equilibrium", "positive"
        ),
    }
    observables: Mapping[str, Observable] = {
        "function_memory": Observable("steps", "squared distance of laws of labels to a fitted start, sum over steps"),
        "function_clock": Observable("1", "the same times lr wd"),
        "norm_time": Observable("steps", "until gamma, started high, is twice its equilibrium"),
        "norm_clock": Observable("1", "the same times lr wd"),
        "law_time": Observable("steps", "when the law of gamma with the measured gradients is there"),
        "accuracy": Observable("1", "held-out accuracy of the nets from random starts at the end"),
    }

    def validate(self, parameters: Parameters) -> dict[str, Any]:
        """Also product <= 0.1: beyond it a step turns the weights too far."""
        found = complete(self.parameters, parameters, self.name)
        if found["product"] > 0.1:
            raise ValueError(f"`product` must be at most 0.1: product={found['product']}")
        return found

    def run(self, points: Sequence[Parameters], seeds: Sequence[int]) -> list[Outcome]:
        """Two ensembles of nets a point, trained as one."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):
            return [self._one(point, seed) for point, seed in zip(points, seeds, strict=True)]

    def _one(self, p: Parameters, seed: int) -> Outcome:
        from sdetheory import networks

        digits, n = networks.digits(), p["nets"]
        held_out = digits.subset(slice(len(digits) - 300, None))
        net, starts, seeds = _starts(p, seed)
        stops = np.unique(np.maximum(1, np.rint(TIMES / p["product"])))
        labels: list[np.ndarray] = []
        gammas: list[np.ndarray] = []
        traces: list[float] = []
        for record in networks.train_in_pieces(
            net, digits.subset(slice(0, DIGITS)), stops=stops, lr=p["lr"], weight_decay=p["product"] / p["lr"],
            start=starts, seeds=seeds, batch_size=p["batch_size"], label_noise=p["label_noise"], threads=1, chunk=64,
        ):  # fmt: skip
            labels.append(networks.predict(net, record.final, held_out.inputs))
            gammas += [record.gamma[:n, 0, 0]] * (not gammas) + [record.gamma[:n, -1, 0]]
            traces.append(float(record.spherical_mean[:n, -1, 0].mean()))
        found = _function(p, stops, np.array(labels), seed) | _norm(p, stops, np.array(gammas), traces)
        right = (labels[-1][:n] == held_out.labels).mean(axis=1)
        found["accuracy"] = (float(right.mean()), float(right.std(ddof=1) / math.sqrt(n)))
        measured, errors = ({name: pair[i] for name, pair in found.items()} for i in range(2))
        return Outcome(measured, errors, samples=n)

    def predict(self, parameters: Parameters, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The clock of the norm by its law, once the gradients are measured."""
        if not measured or "law_time" not in measured:
            return {}
        product, law = parameters["product"], measured["law_time"]
        clocks = {"norm_time": law, "norm_clock": law * product}
        return {name: Predicted(value, "intrinsic_lr.gamma", 0.02 + 2 * product) for name, value in clocks.items()}

    def batch_key(self, parameters: Parameters) -> Hashable:
        """Nothing is shared."""
        return ()

    def cost(self, parameters: Parameters) -> float:
        """Net-steps."""
        return 0.3 + _SECONDS_A_STEP * 2 * parameters["nets"] * TIMES[-1] / parameters["product"]

    def modules(self) -> list[str]:
        """Networks and how they are compared."""
        return [__name__, "sdetheory.networks", "sdetheory.networks.agreement"]


def _starts(p: Parameters, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """The net, starts (2 n, P) of the nets from random starts and from the fitted one, and a seed for each."""
    from sdetheory import networks

    net, n = networks.mlp((64, p["hidden"], 10), normalised_output=True), p["nets"]
    seeds = seed % 2**40 * 2**12 + np.arange(2 * n)
    scale = p["start_norm"] * p["start_scale"] * (p["lr"] ** 2 / p["product"]) ** 0.25
    random = net.start(seeds[:n], np.full(n, scale))
    fitted = np.repeat(_fitted(p["hidden"], p["lr"], p["fitting_steps"], p["fit"]), n, axis=0)
    for group in net.groups():
        wanted = np.sqrt((group.select(random) ** 2).sum(axis=1).mean())
        fitted = group.scaled(fitted, wanted / np.linalg.norm(group.select(fitted), axis=1)[:, None])
    return net, np.concatenate([random, fitted]), seeds


@lru_cache(maxsize=8)
def _fitted(hidden: int, lr: float, steps: int, fit: int) -> np.ndarray:
    """A net (1, P) fitted to shuffled labels without label noise or weight decay."""
    from sdetheory import networks

    wrong = networks.digits().subset(slice(0, DIGITS)).shuffled_labels(fit)
    net = networks.mlp((64, hidden, 10), normalised_output=True)
    common: dict[str, Any] = {"batch_size": 32, "seeds": [fit], "record_every": steps, "threads": 1}
    return networks.train(net, wrong, lr=lr, steps=steps, **common).final


def _function(p: Parameters, stops: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, tuple[float, float]]:
    """Squared distance of the laws of labels (times, 2 n, inputs), summed over steps; error by random halves."""
    from sdetheory.networks import agreement

    curve, resampled = [], []
    for row in labels:
        parts = row[: p["nets"]], row[p["nets"] :]
        curve.append(agreement.squared_distance(*(agreement.label_counts(part, 10) for part in parts)))
        drawn = [agreement.halves(part, 10, 50, seed % 2**31 + i) for i, part in enumerate(parts)]
        resampled.append(agreement.squared_distance(*drawn))
    memory, error = np.trapezoid(curve, stops), np.trapezoid(resampled, stops, axis=0).std(ddof=1)
    pair = np.array([memory, error])
    return {"function_memory": _floats(pair), "function_clock": _floats(pair * p["product"])}


def _norm(p: Parameters, stops: np.ndarray, gamma: np.ndarray, traces: list[float]) -> dict[str, Any]:
    """Steps until gamma (times, nets) is twice its last value: mean, error over eight parts, and by its law."""
    from sdetheory.predictions import intrinsic_lr

    ts, mean = np.concatenate([[0.0], stops]), gamma.mean(axis=1)
    if mean[0] < 3 * mean[-1]:
        return {}
    goal, rates, law = 2 * mean[-1], {"lr": p["lr"], "weight_decay": p["product"] / p["lr"]}, [mean[0]]
    for gap, trace in zip(np.diff(ts), traces, strict=True):
        law.append(intrinsic_lr.gamma(t=gap, trace=trace, gamma0=law[-1], **rates))
    parts = [crossing(ts, gamma[:, i::8].mean(axis=1), goal) for i in range(8)]
    pair = np.array([crossing(ts, mean, goal), np.std(parts, ddof=1) / math.sqrt(8)])
    known = {"norm_time": _floats(pair), "norm_clock": _floats(pair * p["product"])}
    return known | {"law_time": (crossing(ts, np.array(law), goal), None)}


def _floats(pair: np.ndarray) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


EXPERIMENT = FastEquilibrium()
