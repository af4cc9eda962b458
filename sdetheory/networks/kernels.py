"""Compiled bodies of the layers: batch normalisation, rectifier, cross-entropy, SGD with its norms.

Arrays are (E, B, F): E nets, B examples, F features, in C order. Each net is treated alone, in a fixed order
of operations, so that its numbers do not depend on which other nets share the array.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from sdetheory.lanes.cache import on_disk


def compiled(function: Callable, **options: Any) -> Callable:
    """Jit, kept on disk."""
    return on_disk(njit(nogil=True, error_model="numpy", **options)(function))


def _standardise(x, eps, z, rate):
    """One net: z = (x - mean) rate, rate = (variance + eps)^(-1/2) over the batch; x, z (B, F), rate (F,)."""
    batch, features = x.shape
    for f in range(features):
        rate[f] = 0.0
    for b in range(batch):
        for f in range(features):
            rate[f] += x[b, f]
    for f in range(features):
        rate[f] /= batch
    for b in range(batch):
        for f in range(features):
            z[b, f] = x[b, f] - rate[f]
    for f in range(features):
        rate[f] = 0.0
    for b in range(batch):
        for f in range(features):
            rate[f] += z[b, f] * z[b, f]
    for f in range(features):
        rate[f] = 1.0 / np.sqrt(rate[f] / batch + eps)
    for b in range(batch):
        for f in range(features):
            z[b, f] *= rate[f]


def _standardise_back(dz, z, rate, dx, mean, along):
    """One net: dx = rate (dz - mean(dz) - z mean(dz z)), for every eps; `mean`, `along` (F,) are scratch."""
    batch, features = z.shape
    for f in range(features):
        mean[f] = 0.0
        along[f] = 0.0
    for b in range(batch):
        for f in range(features):
            mean[f] += dz[b, f]
            along[f] += dz[b, f] * z[b, f]
    for f in range(features):
        mean[f] /= batch
        along[f] /= batch
    for b in range(batch):
        for f in range(features):
            dx[b, f] = rate[f] * (dz[b, f] - mean[f] - z[b, f] * along[f])


# Small functions on whole arrays: the same loops written inside one large function ran up to twice as slow.
_standardise_one = compiled(_standardise)
_standardise_back_one = compiled(_standardise_back)


def _normalise(x, eps, z, rate):
    """Standardise every net: x, z (E, B, F), rate (E, F)."""
    for e in range(len(x)):
        _standardise_one(x[e], eps, z[e], rate[e])


def _normalise_back(dz, z, rate, dx):
    """Gradient with respect to the input of `normalise`, through mean and variance."""
    mean = np.empty(z.shape[2])
    along = np.empty(z.shape[2])
    for e in range(len(z)):
        _standardise_back_one(dz[e], z[e], rate[e], dx[e], mean, along)


def _rectify(x, y):
    """y = max(x, 0), NaN kept; flat arrays."""
    for i in range(x.size):
        y[i] = 0.0 if x[i] <= 0.0 else x[i]


def _rectify_back(x, dy, dx):
    """dx = dy where x > 0 (or NaN), else 0; flat arrays."""
    for i in range(x.size):
        dx[i] = 0.0 if x[i] <= 0.0 else dy[i]


def _centre(logits, truth, shifted, accuracy):
    """shifted = logits - largest logit, (E, B, C); accuracy (E,), the share whose true logit is largest."""
    batch, classes = logits.shape[1:]
    for e in range(len(logits)):
        right = 0
        for b in range(batch):
            best = 0
            for c in range(1, classes):
                if logits[e, b, c] > logits[e, b, best]:
                    best = c
            for c in range(classes):
                shifted[e, b, c] = logits[e, b, c] - logits[e, b, best]
            right += best == truth[e, b]
        accuracy[e] = right / batch


def _cross_entropy(shifted, labels, gradient, loss):
    """Mean loss (E,) from shifted logits; `gradient`, their exponentials, becomes d(loss)/d(logits)."""
    batch, classes = shifted.shape[1:]
    for e in range(len(shifted)):
        loss[e] = 0.0
        for b in range(batch):
            total = 0.0
            for c in range(classes):
                total += gradient[e, b, c]
            loss[e] += np.log(total) - shifted[e, b, labels[e, b]]
            for c in range(classes):
                gradient[e, b, c] /= total * batch
            gradient[e, b, labels[e, b]] -= 1.0 / batch
        loss[e] /= batch


def _descend_one(w, g, keep, lr):
    """w <- keep w - lr g on one segment; |w|^2, |g|^2 and <w, g> from before the step."""
    norm, growth, radial = 0.0, 0.0, 0.0
    for i in range(w.size):
        a, b = w[i], g[i]
        norm += a * a
        growth += b * b
        radial += a * b
        w[i] = keep * a - lr * b
    return norm, growth, radial


# The three sums may be taken in vector order (11 times faster): NaN and infinity keep their meaning, and the
# order depends on the length of the segment alone.
_descend_segment = compiled(_descend_one, fastmath={"reassoc", "contract", "nsz"})


def _descend(w, g, segments, lr, weight_decay, moments, sums):
    """One SGD step w <- (1 - lr wd) w - lr g of every net, with its measurements.

    w, g (E, P); segments (S, 3) rows (start, stop, group), parameters outside every segment are frozen; lr,
    weight_decay (E,); moments (E, G, 3) is set to |w|^2, |g|^2, <w, g> of each group before the step; sums
    (E, G, 4) gathers s = |w|^2 |g|^2, s^2 lr^2 / |w|^4, lr^2 |g|^2 and 2 lr <w, g>.
    """
    for e in range(len(w)):
        keep = 1.0 - lr[e] * weight_decay[e]
        moments[e] = 0.0
        for start, stop, group in segments:
            norm, growth, radial = _descend_segment(w[e, start:stop], g[e, start:stop], keep, lr[e])
            moments[e, group, 0] += norm
            moments[e, group, 1] += growth
            moments[e, group, 2] += radial
        for group in range(moments.shape[1]):
            norm, growth, radial = moments[e, group]
            sums[e, group, 0] += norm * growth
            sums[e, group, 1] += (lr[e] * growth) ** 2
            sums[e, group, 2] += lr[e] ** 2 * growth
            sums[e, group, 3] += 2.0 * lr[e] * radial


normalise = compiled(_normalise)
normalise_back = compiled(_normalise_back)
rectify = compiled(_rectify)
rectify_back = compiled(_rectify_back)
centre = compiled(_centre)
cross_entropy = compiled(_cross_entropy)
descend = compiled(_descend)
