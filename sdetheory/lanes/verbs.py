"""The verbs of the package: what a model, a noise, an integrator, an observer can be asked, compiled or not.

Throughout, `w`, `y`, `z`, `out`, `work` are one-dimensional lane arrays (see `lanes.vector`), lr and
weight_decay and dt are scalars, d = w.size, and a "lane" is a lane vector.  `work` is scratch memory: a
plug-in uses the first `workspace(plugin, d)` rows of what it is given and hands the rest on.
"""

from typing import Any

from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.vector import fma, load, store

# ---- anything that needs scratch rows


def _nothing(plugin: Any, d: int) -> int:
    """No scratch."""
    return 0


workspace = verb("workspace", "plugin", "d", default=_nothing)

# ---- models

gradient = verb("gradient", "model", "w", "out", "work")  # out <- grad L(w)
loss = verb("loss", "model", "w", "work")  # -> lane L(w)


def _descend_by_gradient(model: Any, w: Any, keep: float, drift: float, count: int, out: Any, work: Any) -> None:
    """Any model: fill the gradient, then move."""
    for _ in range(count):
        gradient(model, w, out, work)
        for i in range(w.size):
            store(w, i, fma(keep, load(w, i), drift * load(out, i)))


def _nothing_to_climb(model: Any, weight_decay: float, vectors: Any, head: Any, work: Any) -> None:
    """Other models are asked slope by slope."""


# `count` times w <- keep w + drift grad L(w); a model may move weights as soon as their gradients are there.
# `out`: d rows.
descend = verb("descend", "model", "w", "keep", "drift", "count", "out", "work", default=_descend_by_gradient)
# A step of a flow, see `lanes.climb`, for models with a form for few members at a time.
climb = verb("climb", "model", "weight_decay", "vectors", "head", "work", default=_nothing_to_climb)
# -> lane, the Laplacian of a scale-invariant L on the unit sphere at w/|w|, which is |w|^2 times that of R^d
laplacian = verb("laplacian", "model", "w", "work")


def _prepare_by_filling(model: Any, w: Any, q: Any, out: Any, work: Any) -> Any:
    """Any model: fill the whole gradient."""
    gradient(model, w, out, work)
    return (q,)


def _coordinate_of_filled(model: Any, c: Any, v: Any, i: int, out: Any) -> Any:
    """Any model: read the filled gradient."""
    return load(out, i)


# The pointwise pair: with q = |w|^2 given, `prepare` returns a tuple c of whatever the coordinates share, and
# `coordinate` gives gradient coordinate i from c and v = w_i.  It saves an array and a pass in every step.
prepare = verb("prepare", "model", "w", "q", "out", "work", default=_prepare_by_filling)
coordinate = verb("coordinate", "model", "c", "v", "i", "out", default=_coordinate_of_filled)

# ---- noises

draws = verb("draws", "noise", "d")  # -> increments consumed by one step
disturb = verb("disturb", "noise", "w", "z", "out", "work")  # out <- G(w) z with G G^T = Sigma_w


def _prepare_noise_by_filling(noise: Any, w: Any, q: Any, z: Any, out: Any, work: Any) -> Any:
    """Any noise: fill the whole disturbance."""
    disturb(noise, w, z, out, work)
    return (q,)


def _coordinate_noise_of_filled(noise: Any, c: Any, v: Any, z: Any, i: int, out: Any) -> Any:
    """Any noise: read the filled disturbance."""
    return load(out, i)


prepare_noise = verb(
    "prepare_noise", "noise", "w", "q", "z", "out", "work", default=_prepare_noise_by_filling
)
coordinate_noise = verb(
    "coordinate_noise", "noise", "c", "v", "z", "i", "out", default=_coordinate_noise_of_filled
)

# ---- integrators: the state y has d + extra(integrator) rows


def _one(integrator: Any) -> int:
    """One base increment a step."""
    return 1


def _copy_in(integrator: Any, w: Any, lr: float, y: Any) -> None:
    """The state starts as w."""
    for i in range(w.size):
        store(y, i, load(w, i))


def _copy_out(integrator: Any, y: Any, lr: float, w: Any) -> None:
    """w is the start of the state."""
    for i in range(w.size):
        store(w, i, load(y, i))


step = verb("step", "integrator", "model", "noise", "lr", "weight_decay", "dt", "y", "z", "work")


def _step_by_step(
    integrator: Any, model: Any, noise: Any, lr: float, weight_decay: float, dt: float, count: int, y: Any, z: Any,
    work: Any,
) -> None:  # fmt: skip
    """Any integrator."""
    for _ in range(count):
        step(integrator, model, noise, lr, weight_decay, dt, y, z, work)


# as many steps as `count` with one lr and weight_decay, and more than one only without noise
steps = verb(
    "steps", "integrator", "model", "noise", "lr", "weight_decay", "dt", "count", "y", "z", "work",
    default=_step_by_step,
)  # fmt: skip
extra = verb("extra", "integrator", "d", default=_nothing)  # -> rows of the state beyond d
substeps = verb("substeps", "integrator", default=_one)  # -> base increments one step consumes
encode = verb("encode", "integrator", "w", "lr", "y", default=_copy_in)
decode = verb("decode", "integrator", "y", "lr", "w", default=_copy_out)


def _one_view(integrator: Any) -> int:
    """Observations see the state."""
    return 1


def _decode_only_view(integrator: Any, y: Any, lr: float, k: int, w: Any) -> None:
    """The state."""
    decode(integrator, y, lr, w)


# An integrator that carries several states (two step sizes, say) has as many views; every observer sees each
# of them, and
# `weights` of the integrator combine what it saw.
views = verb("views", "integrator", default=_one_view)
decode_view = verb("decode_view", "integrator", "y", "lr", "k", "w", default=_decode_only_view)

# ---- observers

observe = verb("observe", "observer", "w")  # -> lane


def _by_observe(observer: Any, w: Any, work: Any) -> Any:
    """An observer that needs no scratch."""
    return observe(observer, w)


# the same, for one that needs scratch
measure = verb("measure", "observer", "w", "work", default=_by_observe)


def _one_channel(observer: Any) -> int:
    """One number a state."""
    return 1


def _by_measure(observer: Any, w: Any, out: Any, work: Any) -> None:
    """The one number."""
    store(out, 0, measure(observer, w, work))


# An observer of several numbers that share work has as many channels, and fills out[0], ..., out[channels - 1].
channels = verb("channels", "observer", default=_one_channel)
measure_all = verb("measure_all", "observer", "w", "out", "work", default=_by_measure)
