"""Two states of one scheme side by side, first the one that is returned: what Richardson and WithTwin share."""

from typing import Any

from sdetheory.lanes.verbs import decode, decode_view, encode, extra, views, workspace


def carries_two_states(cls: type) -> type:
    """Class decorator: states, start and views of an integrator whose field `scheme` runs twice."""
    for verb, kernel in (
        (extra, _extra), (workspace, _workspace), (encode, _encode), (decode, _decode), (views, _views),
        (decode_view, _decode_view),
    ):  # fmt: skip
        verb.of(cls)(kernel)
    return cls


def _extra(integrator: Any, d: int) -> int:
    """Two states of the scheme, less d."""
    return d + 2 * extra(integrator.scheme, d)


def _workspace(integrator: Any, d: int) -> int:
    """The scheme's."""
    return workspace(integrator.scheme, d)


def _encode(integrator: Any, w: Any, lr: float, y: Any) -> None:
    """The same start twice."""
    rows = y.size // 2
    encode(integrator.scheme, w, lr, y[:rows])
    encode(integrator.scheme, w, lr, y[rows:])


def _decode(integrator: Any, y: Any, lr: float, w: Any) -> None:
    """The first state."""
    decode(integrator.scheme, y[: y.size // 2], lr, w)


def _views(integrator: Any) -> int:
    """The scheme's, of both states."""
    return 2 * views(integrator.scheme)


def _decode_view(integrator: Any, y: Any, lr: float, k: int, w: Any) -> None:
    """The scheme's views of the first state, then those of the second."""
    rows, count = y.size // 2, views(integrator.scheme)
    which = k // count
    decode_view(integrator.scheme, y[which * rows : (which + 1) * rows], lr, k % count, w)
