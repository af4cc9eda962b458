"""A loss of a user, found by the experiment `simulate+scan_plugins`."""

from typing import NamedTuple

import numpy as np

from sdetheory.lanes import gradient, load, store


class Bowl(NamedTuple):
    """L(w) = sum_i a_i w_i^2 / 2."""

    a: np.ndarray


@gradient.of(Bowl)
def _bowl(model, w, out, work):
    for i in range(w.size):
        store(out, i, model.a[i] * load(w, i))
