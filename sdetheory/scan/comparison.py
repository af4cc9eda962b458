"""A measured value beside the predicted one: ratio, z-score, and a verdict with a stated false-alarm rate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from sdetheory.scan import experiments
from sdetheory.scan.experiments.protocol import Experiment, Parameters, Predicted
from sdetheory.scan.records import Outcome

FALSE_ALARM = 1e-6  # of each comparison: a true prediction is called different with this probability
DETECTABLE = 0.1  # "agrees" needs power 0.99 to have seen a relative deviation of this size beyond the margin
ROUNDING = 1e-9
VERDICTS = ("agrees", "differs", "undecided", "no prediction")


class Comparison(NamedTuple):
    """ratio measured/predicted (None without both), z beyond the margin, and the verdict."""

    ratio: float | None
    z: float | None
    verdict: str


def compare(
    measured: float | None,
    standard_error: float | None,
    predicted: float | None,
    *,
    margin: float = 0.0,
    samples: int | None = None,
    false_alarm: float = FALSE_ALARM,
    detectable: float = DETECTABLE,
) -> Comparison:
    """Does a measured number agree with the predicted one?

    It differs if it lies further than margin |predicted| + c standard errors away, c the two-sided critical value at
    `false_alarm` of Student's t with samples - 1 degrees of freedom (of the normal law without `samples`).  Else it
    agrees, provided that a relative deviation of `detectable` beyond the margin would have been called different with
    probability 0.99; otherwise it is undecided.  A standard error of None is an exact number (rounding 1e-9).
    """
    if predicted is None or measured is None or not math.isfinite(predicted):
        return Comparison(None, None, "no prediction")
    ratio = measured / predicted if predicted else None
    if not math.isfinite(measured):
        return Comparison(ratio, None, "differs")
    beyond = max(0.0, abs(measured - predicted) - margin * abs(predicted))
    error = max(standard_error or 0.0, ROUNDING * abs(predicted) / 4)
    critical, powerful = _critical(false_alarm, samples) if standard_error else (4.0, 4.0)
    if not math.isfinite(error):
        return Comparison(ratio, None, "undecided")
    z = beyond / error if error else math.inf * beyond if beyond else 0.0
    if z > critical:
        return Comparison(ratio, z, "differs")
    return Comparison(ratio, z, "agrees" if powerful * error <= detectable * abs(predicted) else "undecided")


@lru_cache(maxsize=256)
def _critical(false_alarm: float, samples: int | None) -> tuple[float, float]:
    """Critical value in standard errors, and the deviation that passes it with probability 0.99."""
    from scipy.special import ndtri, stdtrit  # not scipy.stats, which takes a second to import

    if samples is not None and samples < 2:
        return math.inf, math.inf
    critical, rest = (-float(ndtri(p) if samples is None else stdtrit(samples - 1, p)) for p in (false_alarm / 2, 0.01))
    return critical, critical + rest


@dataclass(frozen=True)
class Beside:
    """What stands beside the measurements of one point: name -> value."""

    predicted: dict[str, Any] = field(default_factory=dict)
    margin: dict[str, float] = field(default_factory=dict)
    ratio: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, str] = field(default_factory=dict)


def beside(experiment: Experiment | str, parameters: Parameters, outcome: Outcome) -> Beside:
    """Predictions, ratios and verdicts of everything that a point measured; lists are compared nowhere."""
    if outcome.diverged is not None or not outcome.measured:
        return Beside()
    what = experiments.find(experiment) if isinstance(experiment, str) else experiment
    if "record" not in what.parameters:
        parameters = {name: value for name, value in parameters.items() if name != "record"}
    found = what.predict(parameters, outcome.measured)
    result = Beside()
    for name, value in outcome.measured.items():
        one = as_predicted(found.get(name))
        error = outcome.standard_error.get(name)
        if isinstance(value, list):
            one = None
        said = compare(
            None if isinstance(value, list) else value, error if one else None, one.value if one else None,
            margin=one.margin if one else 0.0, samples=outcome.samples,
        )  # fmt: skip
        result.predicted[name], result.ratio[name] = one.value if one else None, said.ratio
        result.verdict[name] = said.verdict
        if one:
            result.margin[name] = one.margin
    return result


def as_predicted(value: Any) -> Predicted | None:
    """A Predicted, from one, from a number or from None."""
    if value is None or isinstance(value, Predicted):
        return value
    return Predicted(float(value))


def over_seeds(values: Mapping[int, tuple[float, float | None]]) -> tuple[float, float | None, int | None]:
    """Mean over seed indices, its standard error, and how many samples that rests on.

    values: seed index -> (measured, standard error).  With standard errors at every seed they are combined (they count
    many samples each); else the spread of the seeds is used, None for one seed.
    """
    numbers, errors = [v for v, _ in values.values()], [e for _, e in values.values()]
    n, mean = len(numbers), math.fsum(numbers) / len(numbers)
    if all(e is not None for e in errors):
        return mean, math.sqrt(math.fsum((e or 0.0) ** 2 for e in errors)) / n, None
    if n < 2:
        return mean, None, None
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in numbers) / (n - 1) / n)
    return mean, spread, n
