"""Input checks: the message names the argument, the rule and the value."""

import numpy as np
import pytest

from sdetheory import checks


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checks.positive("lr", 0), r"`lr` must be positive: lr=0"),
        (lambda: checks.positive("lr", np.nan), r"`lr` must be finite: lr=nan"),
        (lambda: checks.nonnegative("wd", -1e-3), r"`wd` must not be negative: wd=-0.001"),
        (lambda: checks.real("lr", "fast"), r"`lr` must be a real number: lr='fast'"),
        (lambda: checks.integer("paths", 2.5), r"`paths` must be an integer: paths=2.5"),
        (lambda: checks.integer("paths", True), r"`paths` must be an integer: paths=True"),
        (lambda: checks.integer("paths", 0, least=1), r"`paths` must be at least 1: paths=0"),
        (lambda: checks.integer("paths", np.nan), r"`paths` must be an integer: paths=nan"),
        (lambda: checks.integer("paths", np.inf), r"`paths` must be an integer: paths=inf"),
        (lambda: checks.real("lr", "0.1"), r"`lr` must be a real number: lr='0.1'"),
        (lambda: checks.real("lr", 10**400), r"`lr` must be below 1e308: lr=1000"),
        (lambda: checks.finite("w0", "ones"), r"`w0` must be a number or an array of numbers: w0='ones'"),
        (lambda: checks.finite("w0", [[1, 2], [3]]), r"`w0` must be a number or an array.*w0=\[\[1, 2\], \[3\]\]"),
        (lambda: checks.finite("w0", [1j]), r"`w0` must be a number or an array of numbers: w0=\[1j\]"),
        (lambda: checks.multiples("ts", [1e19], "dt", 1.0), r"`ts` must be below 2\*\*53 times `dt`: ts=1e\+19"),
        (lambda: checks.multiples("ts", [1e300], "dt", 1e-30), r"`ts` must be below 2\*\*53 times `dt`"),
        (lambda: checks.finite("w0", [[1.0, np.inf]]), r"`w0` must be finite: w0\[0, 1\]=inf"),
        (lambda: checks.shape("w0", np.zeros((2, 3)), (None, 4)), r"`w0` must have shape \(any, 4\).*\(2, 3\)"),
        (lambda: checks.choice("loss", "sqare", ["square", "huber"]), r"`loss` must be one of.*did you mean 'square'"),
        (lambda: checks.increasing("ts", [0, 2, 2]), r"`ts` must be non-negative and strictly increasing"),
        (lambda: checks.increasing("ts", []), r"`ts` must not be empty"),
        (lambda: checks.multiples("ts", [0, 1.0], "dt", 0.3), r"`dt` must divide.*of `ts`: dt=0.3, spacing=1.0"),
        (lambda: checks.start_norm("w0", np.array([[1.0], [0.0]])), r"`w0` must not be zero.*row 1"),
    ],
)  # fmt: skip
def test_the_message_names_argument_rule_and_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_good_input_comes_back_as_numbers():
    assert checks.positive("lr", np.float32(0.5)) == 0.5
    assert checks.integer("paths", 4.0, least=1) == 4
    assert checks.multiples("ts", [0, 0.3, 0.9], "dt", 0.1).tolist() == [0, 3, 9]
    assert checks.choice("loss", "huber", ["square", "huber"]) == "huber"


def test_diverged_says_when_and_what_to_do():
    error = checks.Diverged(3.5, 7)
    assert (error.time, error.step) == (3.5, 7)
    assert str(error) == "state became non-finite at t=3.5, step 7; reduce dt or lr"
