"""One sentence of a caption as a check: a number found, the interval it must lie in, and whether it does."""

import math
from typing import Any, NamedTuple


class Expectation(NamedTuple):
    """`sentence` says with its numbers what the reader should see; it holds if low <= found <= high."""

    name: str
    sentence: str
    found: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        return bool(self.low <= self.found <= self.high)

    @property
    def interval(self) -> str:
        """The interval in words."""
        if math.isinf(self.low):
            return f"at most {self.high:.4g}"
        if math.isinf(self.high):
            return f"at least {self.low:.4g}"
        return f"{self.low:.6g} to {self.high:.6g}"


def at_most(name: str, found: Any, bound: Any, sentence: str) -> Expectation:
    """The number found must not exceed `bound`; the sentence may show {found} and {bound} in any format."""
    return between(name, found, -math.inf, bound, sentence)


def at_least(name: str, found: Any, bound: Any, sentence: str) -> Expectation:
    """The number found must reach `bound`."""
    found, bound = float(found), float(bound)
    return Expectation(name, sentence.format(found=found, bound=bound), found, bound, math.inf)


def between(name: str, found: Any, low: Any, high: Any, sentence: str) -> Expectation:
    """The number found must lie in [low, high]; NaN lies nowhere."""
    found, low, high = float(found), float(low), float(high)
    return Expectation(name, sentence.format(found=found, low=low, high=high, bound=high), found, low, high)


def near(name: str, found: Any, expected: Any, margin: Any, sentence: str) -> Expectation:
    """The number found must lie within `margin` of `expected`; the sentence may show all three."""
    found, expected, margin = float(found), float(expected), float(margin)
    text = sentence.format(found=found, expected=expected, margin=margin)
    return Expectation(name, text, found, expected - margin, expected + margin)
