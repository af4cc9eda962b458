"""Any model, dynamics, noise and integrator of the package as an experiment, with any of its observables."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks, simulation
from sdetheory.dynamics.rules import default_integrator
from sdetheory.plugins import canonical
from sdetheory.scan.experiments import components
from sdetheory.scan.experiments.components import ROLES, Component
from sdetheory.scan.experiments.function import plain
from sdetheory.scan.experiments.protocol import REQUIRED, Observable, Parameter, Parameters, checked, known
from sdetheory.scan.records import Outcome

_TOP: dict[str, Parameter] = {
    "model": Parameter("text", says="the loss: Rayleigh, VonMisesFisher, scalar_chain, deep_linear, ..."),
    "dynamics": Parameter("text", "SGD", says="the training rule"),
    "noise": Parameter("text", "NoNoise", says="the gradient noise"),
    "integrator": Parameter("text", "default", says="of continuous dynamics; default: what `simulate` takes"),
    "d": Parameter("integer", 16, "1", "dimension, where the model does not say it", 1),
    "start": Parameter("array", "ones", says='"ones", "random" (Gaussian), "e1", or the list of weights'),
    "start_norm": Parameter("float", None, "w", "norm of the start (default: of what `start` says, 1 for ones)"),
    "time": Parameter("float", unit="steps", says="of the end (flow time for GradientFlow)", rule="positive"),
    "after": Parameter("float", None, "steps", "average over time from here on (default: value at the end)"),
    "records": Parameter("integer", 32, "1", "times that the average is over", 1),
    "dt": Parameter("float", 1.0, "steps", "step of the integrator", "positive"),
    "paths": Parameter("integer", 64, "1", "independent runs averaged", 1),
    "record": Parameter("texts", None, says="observables; by default what suits the model"),
}


_FROM_OTHERS = ("lr", "weight_decay", "widths")  # what an observable takes from dynamics and model


def _optional(fields: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Parameters of an observable: other components may say what is required (a direction is that of the loss)."""
    own = {name: one for name, one in fields.items() if name not in _FROM_OTHERS}
    return {name: one._replace(default=None) if one.default is REQUIRED else one for name, one in own.items()}


class Parts(NamedTuple):
    """The components of a point, and its parameters by component."""

    chosen: dict[str, Component]
    seen: dict[str, Component]
    fields: dict[str, tuple[str, str, Parameter]]  # name of the parameter -> (component, field, what it is)


class Built(NamedTuple):
    """What `simulate` is called with."""

    model: Any
    dynamics: Any
    noise: Any
    integrator: Any
    observe: dict[str, Any]
    functions: dict[str, Any]
    start: np.ndarray
    ts: np.ndarray


class Simulate:
    """`sdetheory.simulate` by names: what components need are parameters too (k; model.k where k is not unique)."""

    parameters: Mapping[str, Parameter] = _TOP

    def __init__(self, modules: tuple[str, ...] = ()):
        self.plugins = modules
        self.name = "+".join(["simulate", *modules])
        self.says = "any model x dynamics x noise x integrator of the package, any observable, by name"

    @property
    def more(self) -> str:
        """What can be chosen."""
        lines = []
        for role, table in components.tables(self.plugins).items():
            lines.append(f"{role}:")
            lines += [f"  {name:28} {', '.join(one.fields)}" for name, one in sorted(table.items())]
        lines += ["\nWhat components need are parameters of the experiment (sigma, or noise.sigma where the name is",
                  'not unique). An array is a number, a list, "first:last" (equal steps) or "e1" (a unit vector).',
                  'experiment = "simulate+mymodule" finds the plug-ins of your own module too.']  # fmt: skip
        return "\n".join(lines)

    @property
    def observables(self) -> dict[str, Observable]:
        """Of the observers and functions of states of the package."""
        found = components.observed(self.plugins)
        return {name: Observable("", _summary(one.make.__doc__ or name)) for name, one in found.items()}

    # -- parameters

    def validate(self, parameters: Parameters) -> dict[str, Any]:
        """The components' own checks too: everything is built once."""
        parts = self._parts(parameters)
        options = {**{n: p for n, p in _TOP.items()}, **{n: p for n, (_, _, p) in parts.fields.items()}}
        given = self._renamed(parameters, parts, options)
        if missing := [n for n, p in options.items() if p.default is REQUIRED and n not in given]:
            raise ValueError(f"{self.name} needs {', '.join(f'`{name}`' for name in missing)}")
        found = {n: self._value(n, given.get(n, p.default), p) for n, p in options.items()}
        found["record"] = sorted(parts.seen)
        found = {name: value for name, value in found.items() if value is not None}
        self._check(found)
        if not found.get("after", 0.0) < found["time"]:
            raise ValueError(f"`after` must be before the end, time={found['time']}: after={found['after']}")
        if found["dt"] > (recorded := found["time"] - found.get("after", 0.0)):  # would round away
            raise ValueError(f"`dt` must not exceed the time that is recorded, {recorded:g}: dt={found['dt']}")
        if "after" not in found:
            del found["records"]
        return found

    def _check(self, p: dict[str, Any]) -> None:
        """Everything that `simulate` would refuse; leaves out what the model says itself."""
        built = self._build(p, np.random.default_rng(0))
        if hasattr(built.model, "dimension"):
            del p["d"]
        d = built.start.size
        model, noise = canonical(built.model, d), canonical(built.noise, d)
        integrator = built.integrator
        if integrator is None:
            integrator = default_integrator(built.dynamics, model, noise)
        starts = built.start[None]
        simulation._check_match(model, built.dynamics, noise, canonical(integrator, d), starts)
        simulation._check_kernels(model, noise, integrator, simulation._observers(built.observe, d)[0])
        if "discrete" in built.dynamics.calculi and p["dt"] != 1.0:
            raise ValueError(f"`dt` must be 1 for {type(built.dynamics).__name__}, which counts steps: dt={p['dt']}")
        for name, (one, own, context) in built.functions.items():
            value = np.asarray(_call(one, starts[None], own, context))
            if not np.isfinite(value).all():
                raise ValueError(f"`record` has {name}, which is not finite at the start")

    def _value(self, name: str, value: Any, parameter: Parameter) -> Any:
        if name == "start" and value in ("ones", "random"):
            return value
        if parameter.kind != "array":
            return checked(name, value, parameter)
        return None if value is None else components.plain_array(name, value)

    def _parts(self, given: Parameters) -> Parts:
        """Components that the parameters name, and the parameters these have."""
        tables = components.tables(self.plugins)
        names = {role: given.get(role, _TOP[role].default) for role in ROLES}
        if names["model"] is REQUIRED:
            raise ValueError(f"{self.name} needs `model`: one of {', '.join(sorted(tables['model']))}")
        found = {r: components.chosen(tables[r], r, str(names[r])) for r in ROLES if names[r] != "default"}
        every = components.observed(self.plugins)
        record = given.get("record") or self._usual(found)
        known(self.name, record, every, "observable")
        seen = {name: every[name] for name in record}
        fields = [(role, f, p) for role, one in found.items() for f, p in one.fields.items()]
        optional = {name: _optional(one.fields) for name, one in seen.items()}
        fields += [(name, f, p) for name, own in optional.items() for f, p in own.items()]
        count = Counter([f for _, f, _ in fields])
        named = {f if count[f] == 1 and f not in _TOP else f"{r}.{f}": (r, f, p) for r, f, p in fields}
        return Parts(found, seen, named)

    def _usual(self, found: Mapping[str, Component]) -> list[str]:
        """What is recorded by default: norms where the loss is scale invariant, and the loss."""
        from sdetheory.lanes import verbs

        make = found["model"].make
        rates = "lr" in found["dynamics"].fields
        names = ["squared_norm"]
        if getattr(make, "scale_invariant", False):
            names += ["effective_lr", "gamma"] if rates else []
        return names + (["loss"] if found["model"].name == make.__name__ and make in verbs.loss.kernels else [])

    def _renamed(self, given: Parameters, parts: Parts, options: Mapping[str, Any]) -> dict[str, Any]:
        """Names as they are kept: short where they are unique, component.field where not."""
        full = {f"{role}.{field}": name for name, (role, field, _) in parts.fields.items()}
        found: dict[str, Any] = {}
        for name, value in given.items():
            kept = full.get(name, name)
            if kept not in options:
                shared = [one for one in full if one.endswith(f".{name}")]
                if shared:
                    raise ValueError(f"parameter '{name}' is not unique: say {' or '.join(shared)}")
                near = [*options, *(one for one in full if "." in name)]
                known(self.name, [name], near)
            if kept in found:
                raise ValueError(f"`{kept}` is given twice")
            found[kept] = value
        return found

    # -- running

    def _build(self, p: Parameters, draw: np.random.Generator) -> Built:
        """The plug-ins of a complete point."""
        parts = self._parts(p)
        own: dict[str, dict[str, Any]] = {}
        for name, (owner, field, _) in parts.fields.items():
            if name in p:
                own.setdefault(owner, {})[field] = p[name]
        context: dict[str, Any] = {}
        model = components.build(parts.chosen["model"], own.get("model", {}), p.get("d", 1), context)
        d: Any = getattr(model, "dimension", p.get("d", 1))
        context |= {"model": model, "widths": getattr(model, "widths", None)}
        made = {r: components.build(one, own.get(r, {}), d, context) for r, one in parts.chosen.items() if r != "model"}
        context |= {name: getattr(made["dynamics"], name, None) for name in ("lr", "weight_decay")}
        context["mu"] = context["direction"] = getattr(model, "mu", None)
        observe, functions = {}, {}
        for name, one in parts.seen.items():
            if isinstance(one.make, type):
                observe[name] = components.build(one, own.get(name, {}), d, context)
            else:
                functions[name] = (one, own.get(name, {}), context)
        return Built(model, made["dynamics"], made["noise"], made.get("integrator"), observe, functions,
                     _start(p, d, draw), times(p))  # fmt: skip

    def run(self, points: Sequence[Parameters], seeds: Sequence[int]) -> list[Outcome]:
        """One ensemble of paths a point."""
        return [self._one(point, seed) for point, seed in zip(points, seeds, strict=True)]

    def _one(self, p: Parameters, seed: int) -> Outcome:
        built = self._build(p, np.random.default_rng(seed))
        options: dict[str, Any] = {"threads": 1, "progress": False, "seed": seed, "paths": p["paths"], "dt": p["dt"]}
        options |= {} if built.integrator is None else {"integrator": built.integrator}
        options |= {"noise": built.noise} if built.dynamics.noisy else {}
        arguments = (built.model, built.dynamics, built.start)
        try:
            runs = simulation.simulate(
                *arguments, built.ts, observe=built.observe, keep_states=bool(built.functions), **options
            )
        except checks.Diverged as error:
            return Outcome({}, diverged=_last(error, arguments, options | {"observe": built.observe}, p["dt"]))
        if runs.diverged.any():
            step = int(runs.diverged_step[runs.diverged].min())
            some = checks.Diverged(step * p["dt"], step, f"{int(runs.diverged.sum())} of {p['paths']} paths")
            return Outcome({}, diverged=_last(some, arguments, options | {"observe": built.observe}, p["dt"]))
        states: Any = runs.states
        values = {name: runs.values[name] for name in built.observe}
        for name, (one, own, context) in built.functions.items():
            values[name] = np.asarray(_call(one, states, own, context))
        found = {name: _mean(value, "after" in p) for name, value in values.items()}
        return Outcome({n: plain(n, m) for n, (m, _) in found.items()},
                       {n: None if e is None else plain(n, e) for n, (_, e) in found.items()},
                       samples=p["paths"] if p["paths"] > 1 else None)  # fmt: skip

    def predict(self, parameters: Parameters, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Laws of the norm under constant noise, and of the direction at equilibrium."""
        from sdetheory.scan.experiments.laws import laws

        return laws(self._build(parameters, np.random.default_rng(0)), parameters)

    def batch_key(self, parameters: Parameters) -> Hashable:
        """The kernel that is compiled."""
        return tuple(parameters.get(role, "") for role in ROLES)

    def cost(self, parameters: Parameters) -> float | None:
        """Unknown: a pilot says it."""
        return None

    def modules(self) -> list[str]:
        """The simulation, its plug-ins and the functions of states."""
        return [__name__, "sdetheory.simulation", "sdetheory.models.scale_invariant", *_everything(), *self.plugins]


def _everything() -> list[str]:
    """Modules of all components: which of them a point uses is not known beforehand."""
    tables = components.tables()
    made = [one.make.__module__ for table in tables.values() for one in table.values()]
    return sorted({*made, "sdetheory.observers", "sdetheory.observables"})


def times(p: Parameters) -> np.ndarray:
    """Times of the record: the end, or `records` equal steps from `after` to the end, multiples of dt."""
    if "after" not in p:
        return np.array([np.rint(p["time"] / p["dt"]) * p["dt"]])
    ts = p["after"] + (p["time"] - p["after"]) * np.arange(1, p["records"] + 1) / p["records"]
    return np.unique(np.rint(ts / p["dt"])) * p["dt"]


def _summary(text: str) -> str:
    """The first paragraph, on one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def _start(p: Parameters, d: int, draw: np.random.Generator) -> np.ndarray:
    """Start (d,), scaled to `start_norm` where it is given."""
    kind = p["start"]
    if kind == "random":
        w = draw.standard_normal(d)
    else:
        w = np.full(d, d**-0.5) if kind == "ones" else components.array("start", kind, d)
    if w.shape != (d,):
        raise ValueError(f"`start` must have {d} weights: it has {w.size}")
    norm = float(np.linalg.norm(w))
    if "start_norm" not in p:
        return w
    if norm == 0 or p["start_norm"] <= 0:
        raise ValueError(f"`start_norm` must be positive, the start not zero: start_norm={p['start_norm']}")
    return w * (p["start_norm"] / norm)


def _call(one: Component, states: np.ndarray, own: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
    """A function of states, (paths, times, ...)."""
    if one.takes_model:
        return one.make(context["model"], states)
    given = {name: own.get(name, context.get(name)) for name in one.fields}
    if lacking := [name for name in ("widths", "lr") if name in one.fields and given[name] is None]:
        raise ValueError(f"`record` has {one.name}, which needs {lacking[0]}: this model or dynamics has none")
    return one.make(states, **{name: value for name, value in given.items() if value is not None})


def _mean(values: np.ndarray, averaged: bool) -> tuple[Any, Any]:
    """Mean over paths of the last value or of the time average, (...), and its standard error (None for one path)."""
    rows = values.mean(axis=1) if averaged else values[:, -1]
    n = len(rows)
    return rows.mean(axis=0), rows.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else None


def _last(
    error: checks.Diverged, arguments: tuple[Any, Any, np.ndarray], options: Mapping[str, Any], dt: float
) -> dict[str, Any]:
    """When, and what the last finite state of the first path was: one step before."""
    found = {"time": error.time, "step": error.step, "message": str(error)}
    if not isinstance(error.step, int) or error.step < 2:
        return found | {"last": {"norm": float(np.linalg.norm(arguments[2]))}}
    try:
        before = simulation.simulate(*arguments, [(error.step - 1) * dt], **options).final
    except checks.Diverged:
        return found
    norms = np.linalg.norm(before, axis=-1)
    worst = before[int(np.argmax(norms))]
    return found | {"last": {"norm": float(norms.max()), "largest": float(np.abs(worst).max())}}


EXPERIMENT = Simulate()
