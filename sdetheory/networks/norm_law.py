"""The norm of every group against its exact law: SGD, momentum, and the identity that is left for adaptive rules."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sdetheory.dynamics.coordinatewise import PlainStep, age, move, rates
from sdetheory.dynamics.momentum import MomentumStep, VelocityStep
from sdetheory.networks.descent import descent
from sdetheory.networks.groups import Group
from sdetheory.networks.instruments import Series, Step


class NormLaw(Series):
    """|w'|^2 of every group as its law predicts it from the step's own vectors, and the residuals; no rescaling.

    SGD, h = lr wd:   |w'|^2 = (1-h)^2 |w|^2 + lr^2 |g|^2 - 2 lr (1-h) <w, g>
    momentum:         with the step w' = k w - s d (k = 1 but for decoupled decay, d = v' but for Nesterov),
                      |w'|^2 = k^2 |w|^2 + s^2 |d|^2 - 2 k s <w, d>, where <w, v> is carried along by its recursion
                      <w', v'> = k <w, v'> - s <d, v'>, <w, v'> = momentum <w, v> + fresh (<w, g> + wd |w|^2);
                      without weight decay this is |w|^2 + lr^2 |p|^2 + 2 lr^2 sum_k momentum^(t-k) |p_k|^2 (claim A8)
    others (Adam):    |w'|^2 = |w|^2 - 2 <w, s> + |s|^2, the displacement s recomputed from the gradients seen

    Reading, each (E, T, G): squared_norm, squared_gradient, radial = <w, g>, change = |w'|^2 - |w|^2, growth = |s|^2
    (s^2 |d|^2), residual = (|w'|^2 - law)/|w'|^2, and tangent_residual, the same with <w, g> = 0 in the law at every
    step, which holds where groups are scale invariant (the same as residual for adaptive rules, which have no such
    law).

    optimiser: that of the run (None is SGD). Rules with memory must be seen from their first step, and at every step.
    Raises ValueError for `every` other than 1 with such a rule, or a rule with no law.
    """

    takes_rescaling = False

    def __init__(self, groups: Sequence[Group], optimiser: Any = None, every: Any = 1) -> None:
        super().__init__(groups, every)
        self.rule = descent(optimiser).rule
        if self.rule.buffers and self.every != 1:
            raise ValueError(f"`every` must be 1 for a rule with memory: every={every!r}, {optimiser!r}")
        kind = type(self.rule)
        self._law = {PlainStep: self._plain, MomentumStep: self._momentum, VelocityStep: self._velocity}.get(
            kind, self._adaptive
        )
        self._carried: tuple[np.ndarray, ...] = ()
        self._powers, self._parameters = (1.0, 1.0), 0

    def see(self, step: Step) -> None:
        """One row."""
        w, g = step.before, step.gradient
        self._parameters = w.shape[1]
        lr, weight_decay = self.dot.rate(step.lr), self.dot.rate(step.weight_decay)
        norm, radial, after = self.dot(w, w), self.dot(w, g), self.dot(step.after, step.after)
        growth, law, tangent = self._law(step, lr, weight_decay, norm, radial)
        self.keep(
            squared_norm=norm, squared_gradient=self.dot(g, g), radial=radial, change=after - norm, growth=growth,
            residual=(after - law) / after, tangent_residual=(after - tangent) / after,
        )  # fmt: skip

    def _plain(self, step, lr, weight_decay, norm, radial):
        keep, growth = 1.0 - lr * weight_decay, lr**2 * self.dot(step.gradient, step.gradient)
        tangent = keep**2 * norm + growth
        return growth, tangent - 2.0 * lr * keep * radial, tangent

    def _spread(self, values: np.ndarray) -> np.ndarray:
        return self.dot.spread(values, self._parameters)

    def _inner(self, step, fresh, coupled, norm, radial):
        """<w, h> and <w, v'> with h = g + coupled w, as they are and with <w, g> = 0: two rows each."""
        if not self._carried:
            v = self.rule.memory(step.before)[0]
            self._carried = (self.dot(step.before, v),) * 2
        pulls = [radial + coupled * norm, coupled * norm]
        inner = [self.rule.momentum * old + fresh * p for old, p in zip(self._carried, pulls, strict=True)]
        return pulls, inner

    def _momentum(self, step, lr, weight_decay, norm, radial):
        rule = self.rule
        coupled, keep = rule.coupling * weight_decay, 1.0 - (1.0 - rule.coupling) * lr * weight_decay
        pulls, inner = self._inner(step, rule.fresh, coupled, norm, radial)
        h = step.gradient + self._spread(coupled) * step.before
        s = self._spread(keep) * step.before - step.after
        d = np.divide(s, self._spread(lr), out=np.zeros_like(s), where=self._spread(lr) > 0)
        v = (d - rule.direct * h) / rule.share
        growth = self.dot(s, s)
        laws = [
            keep**2 * norm + growth - 2.0 * keep * lr * (rule.direct * p + rule.share * i)
            for p, i in zip(pulls, inner, strict=True)
        ]
        self._carried = tuple(keep * i - lr * self.dot(d, v) for i in inner)
        return growth, *laws

    def _velocity(self, step, lr, weight_decay, norm, radial):
        _, inner = self._inner(step, self.rule.fresh * lr, weight_decay, norm, radial)
        s = step.before - step.after
        growth = self.dot(s, s)
        self._carried = tuple(i - growth for i in inner)
        return growth, *(norm + growth - 2.0 * i for i in inner)

    def _adaptive(self, step, lr, weight_decay, norm, radial):
        if not self._carried:
            self._carried = self.rule.memory(step.before)
        self._powers = age.python(self.rule, self._powers)
        shared = rates.python(self.rule, self._spread(lr), self._spread(weight_decay), self._powers)
        moved, self._carried = move.python(self.rule, shared, step.before, step.gradient, self._carried)
        s = step.before - moved
        growth = self.dot(s, s)
        law = norm - 2.0 * self.dot(step.before, s) + growth
        return growth, law, law
