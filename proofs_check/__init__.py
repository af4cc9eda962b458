"""Proofs of the claims: exact certificates derived from the definitions, every hypothesis dropped and
refuted.

`python -m proofs_check [ID ...]` runs them. A claim of your own is a generator function under `@claim`, in
any module, run by `python -m proofs_check --module yours ID`.
"""

import importlib
import pkgutil
import re

from proofs_check.against import equal, obeys, vanishes
from proofs_check.field import Derivation, Ito
from proofs_check.judge import Given, Undecided, Verdict, given, zero
from proofs_check.registry import CLAIMS, Claim, Outcome, claim, examine
from proofs_check.unproved import UNPROVED
from proofs_check.vectors import Gram, Vector, letters
from proofs_check.words import matrices, trace, vanish

__all__ = [
    "CLAIMS", "Claim", "Derivation", "Given", "Gram", "Ito", "Outcome", "Undecided", "Vector",
    "Verdict",
    "claim", "claims", "equal", "examine", "given", "letters", "matrices", "obeys", "statements", "trace",
    "vanish",
    "vanishes", "zero",
]  # fmt: skip


def claims() -> dict[str, Claim]:
    """Every claim of the modules of this package, by id, and those of modules imported besides."""
    for module in pkgutil.iter_modules(__path__):
        if module.name != "__main__":
            importlib.import_module(f"proofs_check.{module.name}")
    return dict(sorted(CLAIMS.items(), key=lambda item: _natural(item[0])))


def _natural(id: str) -> list[tuple[bool, int, str]]:
    """I2 before I10, theory by theory."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.findall(r"\d+|\D+", id)]


def statements() -> dict[str, str]:
    """id -> the sentence claimed, with those that have no certificate."""
    proved = {id: claim.says for id, claim in claims().items()}
    return {**proved, **{id: f"({status}) {says}" for id, (status, says) in UNPROVED.items()}}
