"""Parts of explicit Runge-Kutta steps on lane arrays: the force of a flow and sums of slopes, four rows at a
time."""

from typing import Any

from numba import njit

from sdetheory.lanes.parts import OPTIONS, part
from sdetheory.lanes.vector import constant, fma, load, store
from sdetheory.lanes.verbs import gradient

inner = part
inlined = njit(forceinline=True, **OPTIONS)  # where it is called, once: a call passes every array word by word


@inner
def force(model: Any, lr: float, weight_decay: float, w: Any, out: Any, work: Any) -> None:
    """out <- lr (grad L(w) + weight_decay w), so that the flow is dw/dt = -out."""
    gradient(model, w, out, work)
    if weight_decay != 0.0 or lr != 1.0:
        for i in range(w.size):
            store(out, i, lr * fma(weight_decay, load(w, i), load(out, i)))


@inner
def combine(y: Any, h: Any, row: Any, terms: int, k: Any, out: Any) -> None:
    """out <- y + h sum_{s < terms} row[s] k_s, h one lane vector, k_s the s-th group of d rows of `k`."""
    d = y.size
    i = 0
    while i + 4 <= d:
        c0 = constant(y, 0.0)
        c1, c2, c3 = c0, c0, c0
        for s in range(terms):
            a, at = row[s], s * d + i
            c0 = fma(a, load(k, at), c0)
            c1 = fma(a, load(k, at + 1), c1)
            c2 = fma(a, load(k, at + 2), c2)
            c3 = fma(a, load(k, at + 3), c3)
        store(out, i, fma(h, c0, load(y, i)))
        store(out, i + 1, fma(h, c1, load(y, i + 1)))
        store(out, i + 2, fma(h, c2, load(y, i + 2)))
        store(out, i + 3, fma(h, c3, load(y, i + 3)))
        i += 4
    while i < d:
        c0 = constant(y, 0.0)
        for s in range(terms):
            c0 = fma(row[s], load(k, s * d + i), c0)
        store(out, i, fma(h, c0, load(y, i)))
        i += 1
