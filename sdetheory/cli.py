"""The `sdetheory` command: subcommands in a table, each importing what it needs only when it runs."""

import argparse
import difflib
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sdetheory.predictions import Prediction


class Command(NamedTuple):
    """A subcommand: one line of help, how to add its arguments, what it does (returns the exit status)."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; exit status 0, or 2 with a message for wrong input."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        print(
            f"sdetheory: no command {name!r}{f'; did you mean {near[0]!r}?' if near else ''}\n{_overview()}",
            file=sys.stderr,
        )
        return 2
    command = COMMANDS[name]
    parser = argparse.ArgumentParser(
        f"sdetheory {name}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.arguments(parser)
    try:
        return command.run(parser.parse_intermixed_args(rest))
    except (ValueError, LookupError) as error:
        print(f"sdetheory {name}: {error.args[0]}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _overview() -> str:
    lines = [f"  {name:10} {command.help}" for name, command in COMMANDS.items()]
    usage = "usage: sdetheory COMMAND ...\n\nThe theory of training dynamics, made executable.\n\ncommands:"
    return "\n".join([usage, *lines, "\nsdetheory COMMAND --help explains one of them"])


# -- predict -----------------------------------------------------------------------------------------------

_PREDICT = """Evaluate a prediction: a formula of the theory, stated once, proved by `python -m proofs_check`.

Without a name, list all predictions. With a name alone, show its formula and what it needs."""
_EXAMPLES = """examples:
  sdetheory predict
  sdetheory predict gamma
  sdetheory predict equilibrium_norm lr=0.1 weight_decay=5e-4 trace=2
  sdetheory predict gamma lr=0.1 weight_decay=5e-4 trace=2 gamma0=100 t=0,1000,10000
  sdetheory predict imbalance_flow imbalance0=-2.88 weight_decay=0.1 t=0:50:6
  sdetheory predict --module my_theory my_formula x=1

values: a number, a list a,b,c, or first:last:count (equally spaced); lists of equal length go together."""


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = _PREDICT, _EXAMPLES
    parser.add_argument("name", nargs="?", help="name of a prediction, or theory.name")
    parser.add_argument("values", nargs="*", metavar="key=value", help="its arguments")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument(
        "--module", action="append", default=[], help="also take predictions from this module"
    )


def _predict(options: argparse.Namespace) -> int:
    from sdetheory import predictions

    modules = [*map(_imported, options.module), *predictions.THEORIES]
    if options.name is None:
        _list(predictions.all(modules), options.json)
        return 0
    prediction = predictions.find(options.name, modules)
    values: dict[str, Any] = {}
    for name, value in map(_value, options.values):
        if name in values:
            raise ValueError(f"`{name}` must be given once: {' '.join(options.values)!r}")
        values[name] = value
    if not values and prediction.known:
        print(json.dumps(_described(prediction)) if options.json else _explained(prediction))
        return 0
    result = prediction(**values)
    if options.json:
        print(json.dumps({**_described(prediction), "given": _plain(values), "value": _plain(result)}))
    else:
        print(f"{_explained(prediction)}\n{_table(prediction, values, result)}")
    return 0


def _imported(name: str) -> Any:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        raise LookupError(f"no module named {name!r} in {os.getcwd()} or on the path") from None


def _value(text: str) -> tuple[str, Any]:
    """key=value as a pair; the value is a number or an array."""
    import numpy as np

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"arguments are key=value: {text!r}")
    try:
        if value.count(":") == 2:
            first, last, count = value.split(":")
            return name, np.linspace(float(first), float(last), int(count))
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        raise ValueError(f"`{name}` must be a number, a,b,c or first:last:count: {text!r}") from None
    return name, numbers[0] if len(numbers) == 1 else np.array(numbers)


def _list(found: Sequence["Prediction"], as_json: bool) -> None:
    if as_json:
        print(json.dumps([_described(p) for p in found]))
        return
    theory = None
    for p in found:
        if p.theory != theory:
            theory = p.theory
            print(f"{theory or 'own'}:")
        print(f"  {p.name:34} {p.says}")
    print(
        "\nsdetheory predict NAME shows a formula and what it needs; sdetheory predict --help shows examples"
    )


def _described(p: "Prediction") -> dict[str, Any]:
    needs = {name: {"unit": q.unit, "meaning": q.says, "domain": q.domain} for name, q in p.known.items()}
    return {"name": p.name, "theory": p.theory, "says": p.says, "formula": p.formula, "latex": p.latex,
            "unit": p.unit, "arguments": needs, "where": [str(c) for c in p.where],
            "source": p.source}  # fmt: skip


def _explained(p: "Prediction") -> str:
    rows = [
        f"{p.name}: {p.says}",
        f"  formula  {p.formula}   [{p.unit}]",
        f"  LaTeX    {p.latex}",
        f"  source   {p.source}",
    ]
    rows += [
        f"  {'needs' if i == 0 else '':8} {name} [{q.unit}]  {q.says}"
        for i, (name, q) in enumerate(p.known.items())
    ]
    rows += [f"  {'where':8} {condition}" for condition in p.where]
    return "\n".join(rows)


def _table(p: "Prediction", values: dict[str, Any], result: Any) -> str:
    """The varied arguments beside the value, one row each."""
    import numpy as np

    columns = {name: v for name, v in values.items() if np.ndim(v)} | {f"{p.name} [{p.unit}]": result}
    shape = np.shape(result)
    rows = [np.broadcast_to(v, shape).ravel() for v in columns.values()]
    head = "  ".join(f"{name:>{max(12, len(name))}}" for name in columns)
    body = ["  ".join(f"{x:>{max(12, len(name))}.10g}" for name, x in zip(columns, row, strict=True))
            for row in zip(*rows, strict=True)]  # fmt: skip
    return "\n".join(["", head, *body])


def _plain(value: Any) -> Any:
    """Arrays as lists."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


# -- scan --------------------------------------------------------------------------------------------------


def _scanning(name: str, help: str) -> Command:
    """A command of `sdetheory.scan.command`, loaded when it is used."""

    def arguments(parser: argparse.ArgumentParser) -> None:
        from sdetheory.scan import command

        getattr(command, f"{name}_arguments")(parser)

    def run(options: argparse.Namespace) -> int:
        from sdetheory.scan import command

        return int(getattr(command, name)(options))

    return Command(help, arguments, run)


COMMANDS: dict[str, Command] = {
    "predict": Command("evaluate a formula of the theory, or list them all", _predict_arguments, _predict),
    "scan": _scanning("scan", "run an experiment over a grid of parameters, losing nothing"),
    "show": _scanning("show", "what a scan has found, predictions beside measurements"),
    "export": _scanning("export", "write the results of a scan as a table"),
    "plot": _scanning("plot", "draw the results of a scan"),
}

if __name__ == "__main__":
    sys.exit(main())
