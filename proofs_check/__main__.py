"""The command `python -m proofs_check [ID ...]`: prove claims, refute their broken twins, print the
certificates."""

import argparse
import difflib
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence

from proofs_check import claims, statements
from proofs_check.registry import Claim, examine
from proofs_check.report import record, text
from proofs_check.unproved import UNPROVED


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when every certificate holds and every broken twin is refuted, 1 when not, 2 for a
    wrong call."""
    options = _parser().parse_args(arguments)
    sys.path.insert(0, os.getcwd())
    before = set(claims())
    for module in options.module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as missing:
            if missing.name != module:
                raise
            print(f"no module named {module!r} in {os.getcwd()} or on the path", file=sys.stderr)
            return 2
    known = claims()
    own = [c for c in known if c not in before]
    if options.list:
        for id, says in statements().items():
            print(f"{id:6} {says}")
        return 0
    wanted = options.id or own or list(known)
    unknown = [id for id in wanted if id not in known and id not in UNPROVED]
    if unknown:
        print("\n".join(_suggestion(id, known) for id in unknown), file=sys.stderr)
        return 2
    status = _run([known[id] for id in wanted if id in known], options.json)
    unproved = [id for id in options.id if id in UNPROVED] if options.id or own else list(UNPROVED)
    if not options.json:
        for id in unproved:
            print(f"{UNPROVED[id][0]:10} {id:5} {UNPROVED[id][1]}  [no certificate]")
    return status or int(any(id in UNPROVED for id in options.id))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m proofs_check",
        description="Prove the claims from the definitions of the models and dynamics, drop every hypothesis "
        "in turn, and require that the broken claim is refuted by a point.",
    )
    parser.add_argument("id", nargs="*", help="claims to run, such as I9 D32 (all without arguments)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    parser.add_argument("--list", action="store_true", help="ids and sentences, nothing is run")
    parser.add_argument(
        "--module", action="append", default=[], help="import this module first: it registers claims"
    )
    return parser


def _suggestion(id: str, known: dict[str, Claim]) -> str:
    near = difflib.get_close_matches(id.upper(), known, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"no claim {id!r}{hint} (python -m proofs_check --list shows all)"


def _run(wanted: Sequence[Claim], as_json: bool) -> int:
    start, outcomes = time.perf_counter(), []
    progress = sys.stderr.isatty()
    for n, claim in enumerate(wanted, 1):
        if progress:
            print(f"\r\033[K{n}/{len(wanted)} {claim.id}", end="", file=sys.stderr, flush=True)
        outcome = examine(claim)
        outcomes.append(outcome)
        if progress:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        if not as_json:
            print(text(outcome), flush=True)
    proved = sum(o.verdict == "proved" for o in outcomes)
    twins, mutants = sum(len(o.twins) for o in outcomes), sum(o.mutants for o in outcomes)
    seconds = time.perf_counter() - start
    if as_json:
        document = {"claims": [record(o) for o in outcomes], "proved": proved, "seconds": round(seconds, 2)}
        print(json.dumps(document))
    else:
        failed = f", {len(outcomes) - proved} NOT" if proved < len(outcomes) else ""
        print(
            f"{proved} of {len(outcomes)} claims proved{failed}; {twins} hypotheses dropped in turn,", end=" "
        )
        print(f"{mutants} changed predictions refused; {seconds:.1f} s")
    return 0 if proved == len(outcomes) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
