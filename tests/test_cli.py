"""The `sdetheory` command: predictions listed, explained and evaluated; wrong input answered with a
suggestion.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from sdetheory import predictions
from sdetheory.cli import main

OWN = """
import sympy as sp
from sdetheory.predictions import Prediction, Quantity
k = sp.Symbol("k")
stiffness = Prediction("stiffness", "twice k", 2 * k, "N/m", "own", (Quantity("k", "N/m", "half of it"),))
"""


def said(capsys, *arguments):
    """(exit status, standard output, standard error) of a command."""
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_without_a_name_every_prediction_is_listed(capsys):
    status, out, _ = said(capsys, "predict")
    assert status == 0 and all(f" {p.name} " in out for p in predictions.all()), out


def test_a_name_alone_is_explained(capsys):
    status, out, _ = said(capsys, "predict", "gamma")
    assert status == 0
    for part in (
        "saturation",
        r"\gamma_0",
        "Li, Lyu, Arora 2020",
        "lr [w^2/loss]",
        "learning rate",
        "[loss^2]",
    ):
        assert part in out, (part, out)


def test_values_are_evaluated(capsys):
    status, out, _ = said(capsys, "predict", "equilibrium_norm", "lr=0.1", "weight_decay=5e-4", "trace=2")
    assert status == 0 and out.split()[-1].startswith("3.7606"), out
    assert np.isclose(float(out.split()[-1]), (0.1 * 2 / (2 * 5e-4)) ** 0.25, rtol=1e-9), out


def test_lists_and_ranges_make_a_table(capsys):
    given = ("lr=1", "weight_decay=0", "trace=1", "gamma0=1")
    status, out, _ = said(capsys, "predict", "gamma", "t=0:2:3", *given)
    assert status == 0 and [row.split() for row in out.splitlines()[-3:]] == [
        ["0", "1"],
        ["1", "3"],
        ["2", "5"],
    ], out
    _, listed, _ = said(capsys, "predict", "gamma", "t=0,1,2", *given)
    assert listed == out


def test_json_may_stand_anywhere(capsys):
    status, out, _ = said(capsys, "predict", "turn_cosine", "--json", "lr=0.5", "weight_decay=0.5")
    document = json.loads(out)
    assert status == 0 and document["value"] == 0.75 and document["given"] == {"lr": 0.5, "weight_decay": 0.5}
    for key in ("name", "latex", "formula", "unit", "arguments", "source", "where"):
        assert document[key], document
    _, everything, _ = said(capsys, "predict", "--json")
    assert len(json.loads(everything)) == len(predictions.all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "gama"], "did you mean 'gamma'"),
        (["predict", "gamma", "lr=0.1"], "needs `t`"),
        (["predict", "gamma", "learning_rate=0.1"], "no argument `learning_rate`"),
        (["predict", "turn_cosine", "lr=-1", "weight_decay=0"], "`lr` must be finite and positive"),
        (["predict", "turn_cosine", "lr=2", "weight_decay=1"], "lr*weight_decay < 1"),
        (["predict", "turn_cosine", "lr", "weight_decay=1"], "key=value: 'lr'"),
        (
            ["predict", "turn_cosine", "lr=fast", "weight_decay=1"],
            "`lr` must be a number, a,b,c or first:last:count",
        ),
        (["predict", "gamma", "--module", "no_such_theory"], "no module named 'no_such_theory'"),
        (["predikt"], "did you mean 'predict'"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_wrong_input_is_answered(capsys, arguments, message):
    status, out, err = said(capsys, *arguments)
    assert status == 2 and message in err and not out, (status, out, err)


def test_help_teaches(capsys):
    assert main([]) == 2 and "predict" in capsys.readouterr().out
    assert main(["--help"]) == 0
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "examples:" in out and "first:last:count" in out, out


def test_predictions_of_a_user(capsys, tmp_path, monkeypatch):
    (tmp_path / "own_theory.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    status, out, _ = said(capsys, "predict", "--module", "own_theory", "stiffness", "k=3")
    assert status == 0 and out.split()[-1] == "6", out
    _, listed, _ = said(capsys, "predict", "--module", "own_theory")
    assert "own:" in listed and "stiffness" in listed, listed


def test_the_command_does_not_load_the_compiler():
    code = "import sys, sdetheory.cli as c; c.main(['predict', 'gamma']); print('numba' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split()[-1] == "False", out.stdout


def test_the_module_is_the_command():
    out = subprocess.run([sys.executable, "-m", "sdetheory", "predict", "gamma"], capture_output=True, text=True)
    assert out.returncode == 0 and out.stdout.startswith("gamma: "), out.stderr


def test_an_argument_given_twice_is_refused(capsys):
    status, _, err = said(capsys, "predict", "gamma", "lr=0.1", "t=1", "weight_decay=1", "trace=1", "gamma0=1", "lr=1")
    assert status == 2 and "`lr` must be given once: 'lr=0.1 t=1" in err, err
