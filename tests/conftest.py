"""Profiles of hypothesis, and the claim table printed at the end of every run, derived from the tests that ran."""

import importlib.util
import os
import re
from collections import defaultdict

import hypothesis
import pytest

# A change is judged by the same examples every time: a refusal by an unlucky draw says nothing about it. Luck is for
# `nightly` and `explore`, which look for what the fixed examples miss; what they find becomes an @example or a repair.
PROFILES = {
    "dev": {"max_examples": 25, "derandomize": True},
    "ci": {"max_examples": 200, "derandomize": True},
    "nightly": {"max_examples": 2000, "print_blob": True},
    "explore": {"max_examples": int(os.environ.get("HYPOTHESIS_EXAMPLES", "500")), "print_blob": True},
}
for name, how in PROFILES.items():
    hypothesis.settings.register_profile(name, deadline=None, **how)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
PRIVATE = "hypothesis.internal.conjecture.providers"
if hypothesis.settings.default.derandomize and importlib.util.find_spec(PRIVATE):
    # Hypothesis also draws numbers that it finds in the source of whatever is imported: an edit anywhere, or other
    # tests run before, would make other examples. Where it has no such function any more, there is nothing to undo.
    providers = importlib.import_module(PRIVATE)
    if hasattr(providers, "_get_local_constants") and hasattr(providers, "_local_constants"):
        providers._get_local_constants = lambda: providers._local_constants

KINDS = ("proof", "property", "simulation", "figure")


def pytest_collection_modifyitems(config, items):
    for item in items:
        for marker in item.iter_markers("claim"):
            kind = marker.kwargs.get("kind")
            if kind not in KINDS or not marker.args:
                raise pytest.UsageError(f"{item.nodeid}: claim(*ids, kind=...) with kind one of {KINDS}, got {marker}")
            item.user_properties += [("claim", f"{claim}:{kind}") for claim in marker.args]


def _order(claim):
    return [int(part) if part.isdigit() else part for part in re.findall(r"\d+|\D+", claim)]


def _outcomes(terminalreporter):
    """claim -> kind -> the outcomes of its tests ("passed", "failed", "skipped")."""
    table = defaultdict(lambda: defaultdict(list))
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if outcome == "passed" and report.when != "call":
                continue
            for name, value in getattr(report, "user_properties", ()):
                if name == "claim":
                    claim, kind = value.rsplit(":", 1)
                    table[claim][kind].append("failed" if outcome == "error" else outcome)
    return table


def _cell(outcomes):
    if not outcomes:
        return "-"
    failed, skipped = outcomes.count("failed"), outcomes.count("skipped")
    if failed:
        return f"{failed} FAILED"
    if skipped == len(outcomes):
        return "skipped"
    return f"ok ({len(outcomes) - skipped})" if len(outcomes) > 1 else "ok"


def pytest_terminal_summary(terminalreporter):
    table = _outcomes(terminalreporter)
    if not table:
        return
    try:
        from proofs_check import statements
    except ImportError:
        says = {}
    else:
        says = statements()
    write = terminalreporter.write_line
    terminalreporter.section("claims: what ran in this session")
    write(f"{'claim':7}" + "".join(f"{kind:12}" for kind in KINDS) + "statement")
    for claim in sorted(table, key=_order):
        cells = "".join(f"{_cell(table[claim][kind]):12}" for kind in KINDS)
        write(f"{claim:7}{cells}{says.get(claim, '')[:96]}".rstrip())
