"""What a simulation returns: the ensemble of paths, with what is needed to run it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import Any

import numpy as np

from sdetheory import checks


@dataclass(frozen=True)
class Ensemble:
    """Observed values of an ensemble of paths.

    ts (T,); values: name -> (paths, T); states (paths, T, d) or None; final (paths, d): the state after the
    last step; diverged (paths,) and diverged_step (paths,), the step after which a path first was non-finite
    (-1: never); how: parameters, seed, versions and digest of the sources; views: name -> (views, paths, T),
    what was seen of each state of an integrator that carries several (Richardson: fine and coarse), of which
    `values` is the combination; group: how many consecutive paths make one independent sample (2: antithetic
    pairs).
    """

    ts: np.ndarray
    values: dict[str, np.ndarray]
    final: np.ndarray
    diverged: np.ndarray
    diverged_step: np.ndarray
    states: np.ndarray | None = None
    how: dict[str, Any] = field(default_factory=dict)
    views: dict[str, np.ndarray] = field(default_factory=dict)
    group: int = 1

    def mean(
        self, name: str, *, controls: Mapping[str | tuple[str, int], Any] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard error over independent samples, both (T,); the error is NaN for a single sample.

        Samples are healthy paths, or the means of groups of dependent paths that are all healthy (see `samples`).
        controls: observed name, or (name, view), -> its known expectation, a number or (T,).  The estimate is then
        that of `statistics.controlled` at every time (unbiased, coefficients fitted).  Where a control does not
        vary it must equal its expectation, and is left out.

        Raises KeyError for an unknown name, ValueError for what `controlled` refuses.
        """
        samples = self.samples(name)
        if controls:
            return self._controlled(samples, controls)
        error = (
            samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
            if len(samples) > 1
            else np.full(self.ts.shape, np.nan)
        )
        return samples.mean(axis=0), error

    def average(self, name: str, *, after: float = 0.0, controls: str | Sequence[str] = (), batches: int = 1) -> Any:
        """Equilibrium expectation of an observed value: its time average over ts >= `after`, with controls.

        controls: observed names whose expectation at equilibrium is zero, such as StationaryIdentity's (the name it
        was given stands for all its channels).  The samples are the time averages of every path (of antithetic pairs,
        pair by pair), cut into `batches` equal stretches of time, which must be long compared with the relaxation
        time to count as independent.  Coefficients are fitted to them by `statistics.controlled`; that is free of
        bias for independent samples, though not of what is left of start and step size.  Its result is returned:
        estimate, standard_error, coefficients, variance_ratio, and `deviations`, the controls' own means in standard
        errors: where they are far from zero the run is not at the equilibrium that the controls belong to.

        Raises KeyError for an unknown name, ValueError for no time after `after`, too few samples, and what
        `controlled` refuses.
        """
        from sdetheory.control_variates import Controlled, controlled

        checks.integer("batches", batches, least=1)
        size = np.count_nonzero(self.ts >= after) // batches
        if not size:
            raise ValueError(f"`after` must leave at least batches={batches} of the times: after={after}")

        def means(name: str) -> np.ndarray:
            last = self.samples(name)[:, -size * batches :]
            return last.reshape(len(last), batches, size).mean(axis=2).ravel()

        y, names = means(name), self._channels([controls] if isinstance(controls, str) else controls)
        if names:
            return controlled(y, np.column_stack([means(c) for c in names]), np.zeros(len(names)), refuse=False)
        if y.size < 2:
            raise ValueError(f"`batches` must be at least 2 for a single path: batches={batches}")
        estimate, error = float(y.mean()), float(y.std(ddof=1) / np.sqrt(y.size))
        return Controlled(estimate, error, np.zeros(0), 1.0, estimate, 0.0, np.zeros(0), y.size)

    def _channels(self, names: Sequence[str]) -> list[str]:
        """The names, with name_1, name_2, ... for the name of an observer of several channels."""
        found = []
        for name in names:
            several = list(takewhile(self.values.__contains__, (f"{name}_{k}" for k in count(1))))
            found += [name] if name in self.values or not several else several
        return found

    def samples(self, name: str, view: int | None = None) -> np.ndarray:
        """Independent samples (n, T) of an observed value, or of one view of it.

        Its values on healthy paths; with antithetic increments the means of pairs, without the pairs of which a
        path diverged.
        """
        if name not in self.values:
            raise KeyError(
                f"`name` must be one of {', '.join(self.values) or 'no observed values'}: name={name!r}"
            )
        if view is None:
            return self._grouped(self.values[name])
        if not 0 <= view < len(self.views.get(name, ())):
            raise KeyError(f"`view` must be below {len(self.views.get(name, ()))} for {name!r}: view={view}")
        return self._grouped(self.views[name][view])

    def _grouped(self, values: np.ndarray) -> np.ndarray:
        """(paths, T) -> (n, T): means over whole healthy groups."""
        if self.group == 1:
            return values[~self.diverged] if self.diverged.any() else values
        healthy = ~self.diverged.reshape(-1, self.group).any(axis=1)
        return values.reshape(-1, self.group, values.shape[1])[healthy].mean(axis=1)

    def _controlled(
        self, samples: np.ndarray, controls: Mapping[str | tuple[str, int], Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Estimate and standard error at every time."""
        from sdetheory.control_variates import controlled, varies

        if not isinstance(controls, Mapping):
            raise TypeError(f"`controls` must map names to their known expectations: controls={controls!r}")
        for key, value in controls.items():
            if np.shape(value) not in ((), (1,), self.ts.shape):
                raise ValueError(
                    f"`controls` must give a number or one for each of {self.ts.size} times: that of {key!r} has shape "
                    f"{np.shape(value)}"
                )
        keys = [key if isinstance(key, tuple) else (key, None) for key in controls]
        seen = np.stack([self.samples(*key) for key in keys])
        known = np.stack([np.broadcast_to(np.asarray(c, float), self.ts.shape) for c in controls.values()])
        estimate, error = samples.mean(axis=0), np.zeros(self.ts.size)
        for t in range(self.ts.size):
            use = varies(seen[:, :, t].T)
            wrong = ~use & ~np.isclose(seen[:, 0, t], known[:, t], rtol=1e-9, atol=1e-12)
            if wrong.any():
                j = int(np.argmax(wrong))
                raise ValueError(
                    f"`controls` must have the expectation given: {keys[j][0]} is {seen[j, 0, t]:.6g} on every path "
                    f"at t={self.ts[t]:g}, not {known[j, t]:.6g}"
                )
            if use.any():
                result = controlled(samples[:, t], seen[use, :, t].T, known[use, t])
                estimate[t], error[t] = result.estimate, result.standard_error
            else:
                error[t] = samples[:, t].std(ddof=1) / np.sqrt(len(samples))
        return estimate, error

    def __getitem__(self, name: str) -> np.ndarray:
        """values[name]."""
        return self.values[name]

    def __repr__(self) -> str:
        kept = ", ".join(self.values) or "nothing"
        size = f"{len(self.final)} paths, {self.ts.size} times"
        return f"<Ensemble: {size}, {kept} observed, {self.diverged.sum()} diverged>"
