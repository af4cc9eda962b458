"""How long a batch-normalised network on digits needs to forget its start, over the product lr x weight_decay."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from sdetheory.scan.experiments.crossing import crossing
from sdetheory.scan.experiments.protocol import Observable, Parameter, Parameters, Predicted, complete
from sdetheory.scan.records import Outcome

TIMES = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0])
_SECONDS_A_STEP = 2.2e-5  # of one net, measured


class FastEquilibrium:
    """Two clocks of SGD on a net 64-`hidden`-10 with batch normalisation (also on the logits) and label noise.

    Function: nets that start from one net fitted to shuffled labels against nets from random starts; steps until the
    unbiased squared distance of their laws of labels on held-out digits is below `level`.  No formula is known; the
    claim is that it is of order 1/(lr wd) (Li, Lyu, Arora 2020, fast equilibrium conjecture).
    Norm: nets that start with `stretch` times the norm of the others; steps until the mean of gamma = |w|^4/lr^2 of
    the first layer is twice that of the others.  Prediction: the law of gamma with the |gradient|^2 on the unit sphere
    that these nets had, from record to record; first order in lr wd.
    """

    name = "fast_equilibrium"
    says = "steps until nets on digits forget their start, in function and in norm, over lr x weight_decay"
    parameters: Mapping[str, Parameter] = {
        "product": Parameter("float", unit="1", says="lr x weight_decay", rule="positive"),
        "lr": Parameter("float", 0.3, "w^2/loss", "learning rate", "positive"),
        "nets": Parameter("integer", 128, "1", "nets an ensemble", 16),
        "hidden": Parameter("integer", 16, "1", "width of the hidden layer", 2),
        "batch_size": Parameter("integer", 16, "1", "digits a batch", 2),
        "label_noise": Parameter("float", 0.2, "1", "share of labels replaced at random in every step", "unit"),
        "level": Parameter("float", 0.003, "1", "squared distance at which the start counts as forgotten", "positive"),
        "stretch": Parameter("float", 2.0, "1", "factor of the norm at the start of the clock of the norm", "positive"),
        "horizon": Parameter("float", 1.5, "1", "steps trained, times lr wd, at most 4", "positive"),
        "fitting_steps": Parameter("integer", 3000, "1", "steps of the fit to shuffled labels", 1),
        "start_scale": Parameter(
            "float", 0.16, "1", "start: He's times this times (lr^2/product)^(1/4), near the equilibrium", "positive"
        ),
    }
    observables: Mapping[str, Observable] = {
        "function_time": Observable("steps", "until the law of the labels has forgotten a fitted start"),
        "function_clock": Observable("1", "the same times lr wd"),
        "norm_time": Observable("steps", "until gamma, started high, is twice its equilibrium"),
        "norm_clock": Observable("1", "the same times lr wd"),
        "law_time": Observable("steps", "when the law of gamma with the measured gradients is there"),
        "accuracy": Observable("1", "held-out accuracy of the nets from random starts at the end"),
    }

    def validate(self, parameters: Parameters) -> dict[str, Any]:
        """Also: product below 0.1, stretch above 1.2, a horizon of 0.3 to 4."""
        found = complete(self.parameters, parameters, self.name)
        if found["product"] > 0.1:
            raise ValueError(f"`product` must be at most 0.1: product={found['product']}")
        if not 0.3 <= found["horizon"] <= TIMES[-1]:
            raise ValueError(f"`horizon` must lie in [0.3, {TIMES[-1]:g}]: horizon={found['horizon']}")
        if found["stretch"] <= 1.2:
            raise ValueError(f"`stretch` must be above 1.2: gamma must start above twice: stretch={found['stretch']}")
        return found

    def run(self, points: Sequence[Parameters], seeds: Sequence[int]) -> list[Outcome]:
        """Three ensembles a point."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):
            return [self._one(point, seed) for point, seed in zip(points, seeds, strict=True)]

    def _one(self, p: Parameters, seed: int) -> Outcome:
        from sdetheory import networks
        from sdetheory.networks import agreement

        digits, n = networks.digits(), p["nets"]
        training, held_out = digits.subset(slice(0, 500)), digits.subset(slice(len(digits) - 300, None))
        net = networks.mlp((64, p["hidden"], 10), normalised_output=True)
        first = seed % 2**40 * 2**12  # further seeds, of this point alone
        scale = np.full(n, p["start_scale"] * (p["lr"] ** 2 / p["product"]) ** 0.25)
        random, stretched = net.start(first + np.arange(n), scale), net.start(first + n + np.arange(n), scale)
        fit = networks.train(
            net, training.shuffled_labels(seed % 2**31), lr=p["lr"], steps=p["fitting_steps"], batch_size=32,
            seeds=[first + 3 * n], record_every=p["fitting_steps"], threads=1,
        )  # fmt: skip
        fitted = _with_norms(net, np.repeat(fit.final, n, axis=0), random)
        stops = np.unique(np.maximum(1, np.rint(TIMES[TIMES <= p["horizon"]] / p["product"])))
        starts = np.concatenate([random, fitted, p["stretch"] * stretched])
        labels, gammas, traces = [], [], []
        for record in networks.train_in_pieces(
            net, training, stops=stops, lr=p["lr"], weight_decay=p["product"] / p["lr"], start=starts,
            seeds=first + np.arange(len(starts)), batch_size=p["batch_size"], label_noise=p["label_noise"], threads=1,
            chunk=64,
        ):  # fmt: skip
            labels.append(networks.predict(net, record.final, held_out.inputs))
            gammas.append(record.gamma[:, [0, -1], 0])
            traces.append(record.spherical_mean[2 * n :, -1, 0].mean())
        curve, resampled = _distances(agreement, np.array(labels)[:, : 2 * n], n, seed % 2**31)
        function, errors = crossing(stops, curve, p["level"]), [crossing(stops, c, p["level"]) for c in resampled]
        if not math.isfinite(function):
            raise ValueError(f"`horizon` is too short: the squared distance is {curve[-1]:.3g} at the end, not "
                             f"level={p['level']}")  # fmt: skip
        norm, norm_error, law = _norm_clock(p, stops, gammas, traces)
        found = {"function": (function, _spread(errors)), "norm": (norm, norm_error)}
        measured = {f"{name}_time": value for name, (value, _) in found.items()}
        measured |= {f"{name}_clock": value * p["product"] for name, (value, _) in found.items()}
        standard = {f"{name}_time": error for name, (_, error) in found.items()}
        standard |= {f"{name}_clock": error * p["product"] for name, (_, error) in found.items()}
        right = (labels[-1][:n] == held_out.labels).mean(axis=1)
        measured |= {"law_time": law, "accuracy": float(right.mean())}
        standard |= {"law_time": None, "accuracy": float(right.std(ddof=1) / math.sqrt(n))}
        return Outcome(measured, standard, samples=n)

    def predict(self, parameters: Parameters, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The clock of the norm by its law, once the gradients are measured."""
        if not measured or "law_time" not in measured:
            return {}
        product, law = parameters["product"], measured["law_time"]
        clocks = {"norm_time": law, "norm_clock": law * product}
        return {n: Predicted(v, "intrinsic_lr.gamma", 0.02 + 2 * product) for n, v in clocks.items()}

    def batch_key(self, parameters: Parameters) -> Hashable:
        """Nothing is shared."""
        return ()

    def cost(self, parameters: Parameters) -> float:
        """Net-steps."""
        p = parameters
        return 0.3 + _SECONDS_A_STEP * (3 * p["nets"] * p["horizon"] / p["product"] + 3 * p["fitting_steps"])

    def modules(self) -> list[str]:
        """Networks and how they are compared."""
        return [__name__, "sdetheory.networks"]


def _with_norms(net: Any, weights: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Nets (E, P), each layer scaled to the root mean square norm it has in `like`."""
    for group in net.groups():
        wanted = np.sqrt((group.select(like) ** 2).sum(axis=1).mean())
        weights = group.scaled(weights, wanted / np.linalg.norm(group.select(weights), axis=1)[:, None])
    return weights


def _distances(agreement: Any, labels: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distance of the laws at every time (T,), and of random halves of the nets (R, T)."""
    pairs = [[agreement.label_counts(part, 10) for part in (row[:n], row[n:])] for row in labels]
    drawn = [[agreement.halves(part, 10, 50, seed + i) for i, part in enumerate((row[:n], row[n:]))] for row in labels]
    curve = np.array([agreement.squared_distance(*pair) for pair in pairs])
    return curve, np.array([agreement.squared_distance(*pair) for pair in drawn]).T


def _norm_clock(
    p: Parameters, stops: np.ndarray, gammas: list[np.ndarray], traces: list[np.ndarray]
) -> tuple[float, float, float]:
    """Steps until gamma of the stretched nets is twice that of the random ones: mean, standard error, by the law."""
    from sdetheory.predictions import intrinsic_lr

    n, ts = p["nets"], np.concatenate([[0.0], stops])
    seen = np.array([gammas[0][:, 0], *(g[:, 1] for g in gammas)])  # (T, nets)
    goal = 2 * seen[len(ts) // 2 :, :n].mean()
    rates, law = {"lr": p["lr"], "weight_decay": p["product"] / p["lr"]}, [seen[0, 2 * n :].mean()]
    for gap, trace in zip(np.diff(ts), traces, strict=True):
        law.append(intrinsic_lr.gamma(t=gap, trace=trace, gamma0=law[-1], **rates))
    mine = seen[:, 2 * n :]
    parts = [crossing(ts, mine[:, i::8].mean(axis=1), goal) for i in range(8)]
    return crossing(ts, mine.mean(axis=1), goal), _spread(parts, 1 / 8), crossing(ts, np.array(law), goal)


def _spread(times: Sequence[float], share: float = 1.0) -> float:
    """Standard deviation of the finite times, sqrt(share) of it; inf where more than a tenth are not finite."""
    finite = [t for t in times if math.isfinite(t)]
    if len(finite) < 0.9 * len(times):
        return math.inf
    return float(np.std(finite, ddof=1) * math.sqrt(share))


EXPERIMENT = FastEquilibrium()
