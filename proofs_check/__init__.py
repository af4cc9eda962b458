"""Proofs of the claims: exact certificates derived from the definitions, every hypothesis dropped and
refuted.

`python -m proofs_check [ID ...]` runs them. A claim of your own is a generator function under `@claim`, in
any module, run by `python -m proofs_check --module yours ID`.
"""

import importlib
import re

from proofs_check.against import equal, obeys, vanishes
from proofs_check.field import Derivation, Ito
from proofs_check.judge import Given, Undecided, Verdict, given, zero
from proofs_check.registry import CLAIMS, Claim, Outcome, claim, examine
from proofs_check.unproved import UNPROVED
from proofs_check.vectors import Gram, Vector, letters
from proofs_check.words import matrices, trace, vanish

THEORIES = (
    "scale_invariance", "norm_equation", "equilibrium", "finite_steps", "sphere_models", "rotation",
    "relaxation", "lion", "exponential_rates", "validity", "auto_tuning", "slow_time", "chain",
    "imbalance", "noisy_layers", "modes", "batch_norm", "weight_rescaling", "regularity", "bounds",
)  # fmt: skip
__all__ = [
    "CLAIMS", "THEORIES", "Claim", "Derivation", "Given", "Gram", "Ito", "Outcome", "Undecided", "Vector",
    "Verdict",
    "claim", "claims", "equal", "examine", "given", "letters", "matrices", "obeys", "statements", "trace",
    "vanish",
    "vanishes", "zero",
]  # fmt: skip


def claims() -> dict[str, Claim]:
    """Every claim of the project, by id, and those of modules imported besides."""
    for theory in THEORIES:
        importlib.import_module(f"proofs_check.{theory}")
    return dict(sorted(CLAIMS.items(), key=lambda item: _natural(item[0])))


def _natural(id: str) -> list[tuple[bool, int, str]]:
    """I2 before I10, theory by theory."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.findall(r"\d+|\D+", id)]


def statements() -> dict[str, str]:
    """id -> the sentence claimed, with those that have no certificate."""
    proved = {id: claim.says for id, claim in claims().items()}
    return {**proved, **{id: f"({status}) {says}" for id, (status, says) in UNPROVED.items()}}
