"""README is true: its examples run as a reader would run them, from another folder."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
FILES = {m.group(1): block for block in BLOCKS if (m := re.match(r"# (\w+\.py)\n", block))}
pytestmark = pytest.mark.compiled


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A reader's folder with the modules of README in it."""
    folder = tmp_path_factory.mktemp("reader")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def run(folder, *arguments):
    """Run Python in the reader's folder; the package is found as an installed one would be."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_there_are_two_command_blocks_and_they_name_the_main_job_and_the_tests():
    commands = re.findall(r"```sh\n(.*?)```", README, re.S)
    assert len(commands) == 2, commands
    assert commands[0].rstrip().endswith("python -m figures") and commands[1].rstrip().endswith("python -m pytest")


def test_the_simulation_follows_the_law(elsewhere):
    (script,) = [block for block in BLOCKS if "GOEBatch" in block]
    worst = float(run(elsewhere, "-c", script).strip())
    assert worst < 0.02, worst


def test_pairs_and_the_twin_shrink_the_error(elsewhere):
    (script,) = [block for block in BLOCKS if "WithTwin" in block]
    early, middle, late = map(float, re.findall(r"[\d.]+", run(elsewhere, "-c", script)))
    assert early > 15 and middle > 6 and late > 3 and early > middle > late, (early, middle, late)


def test_a_replay_without_decay_is_the_same_function(elsewhere):
    (script,) = [block for block in BLOCKS if "ReplayedRate" in block]
    start, one, last, difference = map(float, re.findall(r"\d[\d.e-]*", run(elsewhere, "-c", script)))
    assert start == 1 and abs(one - 0.991) < 1e-6 and abs(last - 0.991**49) < 1e-6, (start, one, last)
    assert difference < 1e-12, difference


def test_a_users_loss_noise_and_observer_run_from_another_folder(elsewhere):
    first, middle, last = map(float, re.findall(r"[\d.]+", run(elsewhere, "run.py").split("array")[1])[:3])
    assert first == 3.0 and 0.5 < last < 2.9 and last < middle <= 3.0, (first, middle, last)


def test_a_users_claim_is_judged_from_another_folder(elsewhere):
    printed = run(elsewhere, "-m", "proofs_check", "--module", "mine", "M1")
    assert "proved" in printed and "M1" in printed and "1 of 1 claims proved" in printed, printed
