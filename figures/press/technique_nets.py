"""Nets with and without the techniques of deep learning on digits: a tuned learning rate, speed and regularity."""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import networks
from sdetheory.dynamics.adaptive import Adam
from sdetheory.dynamics.momentum import HeavyBall
from sdetheory.networks import Regularity
from sdetheory.regularity import PathRegularity

WINDOW = 10  # steps over which the loss of the batches is averaged before it is compared with the level
RATE_SHARE = {"SGD": 1.0, "momentum": 0.1, "Adam": 0.03}  # of the learning rates of the grid


class Technique(NamedTuple):
    """One way to build and to train the net."""

    activation: str = "relu"
    normalised: bool = True
    residual: bool = True
    rule: str = "SGD"


class Run(NamedTuple):
    """E runs of one technique: what they measured, one number a run, and the paths themselves."""

    measures: dict[str, np.ndarray]
    losses: np.ndarray
    final: PathRegularity
    products: np.ndarray


class StepProducts:
    """Instrument: inner products of all pairs of steps, (E, T, T). They know how any order of them would do."""

    def __init__(self) -> None:
        self._steps: list[np.ndarray] = []

    def see(self, step: Any) -> None:
        """One step of all nets."""
        self._steps.append(step.after - step.before)

    def reading(self) -> dict[str, np.ndarray]:
        """The products, in the order of the steps."""
        moves = np.stack(self._steps, axis=1)
        return {"products": moves @ moves.mT}


def nearer(products: np.ndarray) -> np.ndarray:
    """Share of steps that come nearer to where all of them end, (E,), from their products (E, T, T).

    D_k - D_(k+1) = |u_k|^2 + 2 <u_k, sum of the steps after k>.
    """
    after = np.triu(products, 1).sum(axis=2)
    return (np.einsum("ekk->ek", products) + 2 * after > 0).mean(axis=1)


def walks(products: np.ndarray, size: int, draw: np.random.Generator) -> np.ndarray:
    """Products (E, T, T) of independent steps in random directions of a space of `size`, as long as the given ones."""
    runs, steps, _ = products.shape
    out = np.empty_like(products)
    for e in range(runs):
        v = draw.standard_normal((steps, size))
        v *= np.sqrt(np.diag(products[e]) / np.einsum("kp,kp->k", v, v))[:, None]
        out[e] = v @ v.T
    return out


def shuffled(products: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Products of the same steps in random order, (E, T, T)."""
    orders = [draw.permutation(len(one)) for one in products]
    return np.stack([one[np.ix_(order, order)] for one, order in zip(products, orders, strict=True)])


class Bench(NamedTuple):
    """Data, architecture and length of all runs; the learning rate is tuned on seeds that are not used again."""

    params: dict[str, Any]

    @property
    def data(self) -> networks.Data:
        return networks.digits().subset(slice(0, self.params["training_digits"]))

    @property
    def epoch(self) -> int:
        """Steps that see as many examples as there are."""
        return self.params["training_digits"] // self.params["batch_size"]

    def net(self, technique: Technique) -> networks.Network:
        """The net of a technique."""
        switches = {"normalised": technique.normalised, "residual": technique.residual}
        return networks.mlp(self.params["widths"], activation=technique.activation, **switches)

    def train(self, technique: Technique, rates: np.ndarray, seeds: np.ndarray, steps: int, *instruments: Any) -> Any:
        """One net a rate and seed, (E,) both."""
        lr, rule = RATE_SHARE[technique.rule] * rates[:, None], technique.rule
        how = {"SGD": lambda: {"lr": lr}, "momentum": lambda: {"optimiser": HeavyBall(lr=lr)},
               "Adam": lambda: {"optimiser": Adam(lr=lr)}}[rule]()  # fmt: skip
        return networks.train(
            self.net(technique), self.data, steps=steps, seeds=seeds, batch_size=self.params["batch_size"],
            record_every=WINDOW, instruments=instruments, threads=1, **how,
        )  # fmt: skip

    def times(self, losses: np.ndarray) -> np.ndarray:
        """Steps until the loss of a window is below the level, twice the length of the run where it never is."""
        losses = np.where(np.isfinite(losses), losses, np.inf)
        below = losses < self.params["level"]
        return np.where(below.any(axis=1), WINDOW * (1 + below.argmax(axis=1)), 2 * self.params["steps"])

    def tuned(self, technique: Technique) -> tuple[float, dict[str, np.ndarray]]:
        """The rate of the smallest geometric mean time (then mean loss) and all measures (rates, tuning seeds)."""
        rates = np.array(self.params["rates"])
        seeds = self.params["seed"] + 10_000 + np.arange(self.params["tuning_seeds"])
        run = self.measured(technique, np.repeat(rates, len(seeds)), np.tile(seeds, len(rates)), far=False)
        grid = {name: values.reshape(len(rates), -1) for name, values in run.measures.items()}
        merit = np.log(grid["time"]).mean(axis=1) + 1e-3 * np.minimum(grid["mean_loss"], 10).mean(axis=1)
        return float(rates[merit.argmin()]), grid

    def measured(
        self, technique: Technique, rates: np.ndarray, seeds: np.ndarray, far: bool = True, products: bool = False
    ) -> Run:
        """Speed and regularity of runs; far: also seen from where runs `far` times as long end."""
        steps, instruments = self.params["steps"], list[Any]([Regularity("final", name="final")])
        if far:
            end = self.train(technique, rates, seeds, self.params["far"] * steps).final
            instruments.append(Regularity(end, name="far"))
        if products:
            instruments.append(StepProducts())
        record = self.train(technique, rates, seeds, steps, *instruments)
        losses = record.loss_mean[:, 1:]
        final = PathRegularity.of(record.readings["final"])
        measures = {"time": self.times(losses), "mean_loss": np.nan_to_num(losses, nan=np.inf).mean(axis=1)}
        for name in ("final", "far")[: 1 + far]:
            measures |= self._seen(name, PathRegularity.of(record.readings[name]))
        measures["positive_steps"] = final.positive
        measures["positive_epochs"] = (final.gamma_over(self.epoch) > 0).mean(axis=1)
        measures["least_step"] = np.nan_to_num(final.gamma, nan=-np.inf).min(axis=1)
        kept = record.readings["step_products"]["products"] if products else np.empty((0, 0, 0))
        return Run(measures, losses, final, kept)

    def _seen(self, name: str, path: PathRegularity) -> dict[str, np.ndarray]:
        """Typical and smallest gamma of epochs, that of the run, the smallest relative one, and the mean cosine."""
        epochs = path.gamma_over(self.epoch)
        out = {
            f"gamma_{name}": np.median(epochs, axis=1), f"least_{name}": epochs.min(axis=1), f"mean_{name}": path.mean,
            f"relative_{name}": path.relative(self.epoch).min(axis=1), f"cosine_{name}": path.cosine.mean(axis=1),
        }  # fmt: skip
        return out | ({"positive_far": path.positive} if name == "far" else {})
