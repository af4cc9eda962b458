"""Every claim proved in the suite, its predictions all derived somewhere, the command, and a user's own
claim.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import proofs_check
from proofs_check.__main__ import main
from proofs_check.report import problems, record, text
from proofs_check.unproved import UNPROVED
from sdetheory import predictions

ROOT = pathlib.Path(__file__).parents[1]
CLAIMS = proofs_check.claims()
DEFINITIONS = {"intrinsic_lr", "gamma_of_norm", "squared_norm_of_gamma"}  # nothing to derive
GIVEN = {"vmf_mean"}  # the mean of a von Mises-Fisher law, a cited integral; its concentration is derived


@pytest.fixture(scope="module")
def outcomes():
    """Each claim is examined once, by the first test that asks."""
    cache = {}

    def of(id):
        if id not in cache:
            cache[id] = proofs_check.examine(CLAIMS[id])
        return cache[id]

    return of


@pytest.mark.parametrize("id", [pytest.param(id, marks=pytest.mark.claim(id, kind="proof")) for id in CLAIMS])
def test_claim_is_proved_and_every_broken_twin_refuted(id, outcomes, record_property):
    outcome = outcomes(id)
    record_property("proof", record(outcome))
    assert outcome.verdict == "proved", text(outcome)
    assert all(t.outcome == "refuted" and t.witness for t in outcome.twins), text(outcome)
    assert not problems(outcome) and all(v.proved for v in outcome.checks), text(outcome)


def test_every_prediction_is_derived_by_a_claim(outcomes):
    derived = {p.name for id in CLAIMS for p in outcomes(id).predictions}
    stated = {p.name for p in predictions.all()}
    missing = stated - derived - DEFINITIONS - GIVEN
    assert not missing, missing


def test_no_prediction_can_be_changed_unnoticed(outcomes):
    for id in CLAIMS:
        for check in outcomes(id).checks:
            assert not check.survivors, (id, check.label, check.survivors)
            assert not check.predictions or check.mutants >= 1, (id, check.label)


def test_every_claim_says_what_it_needs_and_where_it_comes_from():
    for claim in CLAIMS.values():
        assert claim.says and claim.establishes and claim.source and claim.hypotheses, claim
        assert claim.proof.__doc__, claim


def test_a_changed_formula_is_caught(monkeypatch):
    """A factor 2 in weight decay, a missing Ito term, an unprojected noise: each in its own system."""
    from proofs_check import imbalance, norm_equation, systems

    monkeypatch.setattr(norm_equation, "weight_decay_sde", lambda *a, **k: _double_decay(systems, *a, **k))
    assert proofs_check.examine(CLAIMS["I9"]).verdict == "refuted"
    monkeypatch.setattr(imbalance, "sgd_step", lambda w, g, lr, wd: (1 - 2 * lr * wd) * w - lr * g)
    assert proofs_check.examine(CLAIMS["D32"]).verdict == "refuted"


def _double_decay(systems, *arguments, **options):
    sde = systems.weight_decay_sde(*arguments, **options)
    doubled = {k: v.subs(systems.weight_decay, 2 * systems.weight_decay) for k, v in sde.ito.drift.items()}
    ito = proofs_check.Ito(sde.ito.partials, doubled, sde.ito.bracket, sde.ito.noise, sde.ito.time)
    return systems.Sphere(ito)


def test_command_prints_a_certificate(capsys):
    assert main(["I9"]) == 0
    out = capsys.readouterr().out
    for part in (
        "proved",
        "establishes",
        "source",
        "needs",
        "refuted in",
        "certificate",
        "gamma_rate",
        "1 of 1",
    ):
        assert part in out, out


def test_command_json_has_everything(capsys):
    assert main(["I10", "D14", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["proved"] == 2
    for claim in document["claims"]:
        for key in (
            "id",
            "statement",
            "source",
            "establishes",
            "verdict",
            "seconds",
            "certificate",
            "divided_by",
            "given",
        ):
            assert key in claim, (key, claim)
        assert claim["latex"]["statement"] and claim["latex"]["formulas"], claim
        assert all(h["when_dropped"] == "refuted" and h["witness"] for h in claim["hypotheses"]), claim


def test_every_claim_has_a_formula_to_print(outcomes):
    missing = [id for id in CLAIMS if not record(outcomes(id))["latex"]["statement"]]
    assert not missing, missing


def test_command_lists(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(f"{id} " in out for id in CLAIMS), out


def test_a_claim_without_a_proof_is_named_and_is_not_a_success(capsys):
    id, (status, _) = next(iter(UNPROVED.items()))
    assert main(["I9", id]) == 1
    out = capsys.readouterr().out
    assert f"{status:10} {id}" in out and "[no certificate]" in out, out
    assert not set(UNPROVED) & set(CLAIMS), set(UNPROVED) & set(CLAIMS)


def test_command_suggests_for_an_unknown_claim(capsys):
    assert main(["i9x"]) == 2
    assert "did you mean I9" in capsys.readouterr().err


OWN = '''
"""A user's theory: exponential approach, in ten lines."""
import sympy as sp
from proofs_check import claim, obeys
from sdetheory.predictions import Prediction, Quantity

t, k, x0 = sp.symbols("t k x0")
names = Quantity("t", "s", "time"), Quantity("k", "1/s", "stiffness"), Quantity("x0", "m", "start")
cooling = Prediction("cooling", "a spring without mass", x0 * sp.exp(-k * t), "m", "Hooke 1678", names)


@claim("U1", "x' = -k x decays exponentially", "every k", "Hooke 1678")
def hooke(linear_force=True):
    force = (lambda x: k * x) if linear_force else (lambda x: k * x**3)
    yield obeys("solution", cooling, lambda f: [f.rate(t) + force(f.value), f.at(t=0) - x0])
'''


def run_in(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_claim_of_a_user_is_proved_from_another_folder(tmp_path):
    (tmp_path / "my_theory.py").write_text(OWN)
    done = run_in(tmp_path, "proofs_check", "--module", "my_theory", "U1")
    assert done.returncode == 0 and "proved    U1" in done.stdout, done.stdout + done.stderr
    assert "linear force; without it: refuted" in done.stdout, done.stdout
    (tmp_path / "my_theory.py").write_text(OWN.replace("exp(-k * t)", "exp(-2 * k * t)"))
    broken = run_in(tmp_path, "proofs_check", "--module", "my_theory", "U1")
    assert broken.returncode == 1 and "refuted   U1" in broken.stdout, broken.stdout + broken.stderr


def test_an_unknown_module_is_named(tmp_path):
    done = run_in(tmp_path, "proofs_check", "--module", "no_such_theory")
    assert done.returncode == 2 and "no_such_theory" in done.stderr, done.stderr
