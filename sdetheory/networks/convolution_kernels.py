"""Compiled bodies of convolution and pooling: eight pixels at a time, a vector of filters in each lane register.

Images are (E, N, C): E nets, N = batch x height x width pixels in row order, C channels last. With an image framed
by zeros, `starts` the place of each pixel's window in it and `steps` the places inside a window, a convolution is
y[p] = sum_k x[starts[p] + steps[k]] w[k] and the gradient of its weights dw[k] = sum_p x[steps[k] + starts[p]] dy[p]:
one body for both, no columns in memory. It is 3-4 times faster than columns and a product, which for so few filters
is narrow. Each net is treated alone, in a fixed order, so that its numbers do not depend on the others.
"""

from functools import cache

import numpy as np

from sdetheory.lanes.vector import as_lanes, float_rows, fma, lane_array, load, store
from sdetheory.networks.kernels import compiled

TILE = 8  # sums that are carried at once


def _eight(x, starts, steps, rows, sums):
    """sums[i] += sum_n x[starts[i] + steps[n]] rows[n] for 8 i; rows, sums lane arrays, places unsigned.

    Unsigned places spare the test for negative ones, half of the time of these loops.
    """
    p, q, r, s = starts[0], starts[1], starts[2], starts[3]
    t, u, v, w = starts[4], starts[5], starts[6], starts[7]
    a, b, c, d = load(sums, 0), load(sums, 1), load(sums, 2), load(sums, 3)
    e, f, g, h = load(sums, 4), load(sums, 5), load(sums, 6), load(sums, 7)
    for n in range(len(steps)):
        k, z = steps[n], load(rows, n)
        a = fma(x[p + k], z, a)
        b = fma(x[q + k], z, b)
        c = fma(x[r + k], z, c)
        d = fma(x[s + k], z, d)
        e = fma(x[t + k], z, e)
        f = fma(x[u + k], z, f)
        g = fma(x[v + k], z, g)
        h = fma(x[w + k], z, h)
    store(sums, 0, a)
    store(sums, 1, b)
    store(sums, 2, c)
    store(sums, 3, d)
    store(sums, 4, e)
    store(sums, 5, f)
    store(sums, 6, g)
    store(sums, 7, h)


_eight_sums = compiled(_eight)


def _frame(x, first, height, width, channels, reach, framed):
    """Copy the image that starts at pixel `first` into the zeros of `framed`; flat arrays."""
    wide = width + 2 * reach
    for row in range(height):
        source, target = (first + row * width) * channels, ((row + reach) * wide + reach) * channels
        for i in range(width * channels):
            framed[target + i] = x[source + i]


_in_zeros = compiled(_frame)


def _convolve(x, weight, height, width, reach, starts, steps, framed, sums, rows, y):
    """y = x * weight: x (E or 1, N, C), lanes weight (E, blocks, k k C) and y (E, blocks, N), which starts at 0."""
    pixels, channels = height * width, x.shape[2]
    for e in range(len(weight)):
        flat = x[e if len(x) > 1 else 0].reshape(-1)
        for first in range(0, x.shape[1], pixels):
            _in_zeros(flat, first, height, width, channels, reach, framed)
            for block in range(weight.shape[1]):
                filters, out = weight[e, block], y[e, block, first : first + pixels]
                for tile in range(0, pixels - TILE + 1, TILE):
                    _eight_sums(framed, starts[tile : tile + TILE], steps, filters, out[tile : tile + TILE])
                rest = pixels % TILE
                if rest:
                    rows[:] = 0.0
                    _eight_sums(framed, starts[pixels - rest : pixels - rest + TILE], steps, filters, sums)
                    for i in range(rest):
                        store(out, pixels - rest + i, load(sums, i))


def _convolve_weights(x, dy, height, width, reach, starts, steps, framed, gradient):
    """Lanes of d(loss)/d(weight) (E, blocks, k k C and more), which start at 0, from lanes dy (E, blocks, N)."""
    pixels, channels = height * width, x.shape[2]
    for e in range(len(dy)):
        flat = x[e if len(x) > 1 else 0].reshape(-1)
        for first in range(0, x.shape[1], pixels):
            _in_zeros(flat, first, height, width, channels, reach, framed)
            for block in range(dy.shape[1]):
                images, out = dy[e, block, first : first + pixels], gradient[e, block]
                for tile in range(0, len(starts), TILE):
                    _eight_sums(framed, starts[tile : tile + TILE], steps, images, out[tile : tile + TILE])


_convolve_nets = compiled(_convolve)
_convolve_weights_nets = compiled(_convolve_weights)


@cache
def _places(height: int, width: int, channels: int, kernel: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Where windows start, where their entries are from there on, and the size of an image framed by zeros."""
    wide = width + kernel - 1
    corners = (np.arange(height)[:, None] * wide + np.arange(width)).ravel() * channels
    entries = (np.arange(kernel)[:, None] * wide * channels + np.arange(kernel * channels)).ravel()
    return corners.astype(np.uint64), entries.astype(np.uint64), (height + kernel - 1) * wide * channels


def _tiled(places: np.ndarray) -> np.ndarray:
    """A whole number of tiles: the last place again and again."""
    return np.append(places, np.repeat(places[-1], -len(places) % TILE))


def _lanes(values: np.ndarray) -> np.ndarray:
    """(E, n, filters) as a lane array (E, blocks, n) of 8 or 16 filters a lane, the last ones 0; a view if they fit."""
    nets, rows, filters = values.shape
    lanes = 16 if filters >= 16 else 8
    if filters == lanes:
        return as_lanes(np.ascontiguousarray(values)).reshape(nets, 1, rows)
    out = lane_array((nets, -(-filters // lanes), rows), lanes)
    for block in range(out.shape[1]):
        here = values[:, :, block * lanes : (block + 1) * lanes]
        float_rows(out)[:, block, :, : here.shape[2]] = here
    return out


def _filters(lanes: np.ndarray, filters: int, rows: int) -> np.ndarray:
    """The reverse: (E, rows, filters)."""
    values = float_rows(lanes)[:, :, :rows].swapaxes(1, 2)
    return values.reshape(len(lanes), rows, -1)[:, :, :filters]


def convolve(x: np.ndarray, weight: np.ndarray, height: int, width: int, kernel: int) -> np.ndarray:
    """The k x k convolution of stride 1 with zeros around: x (E or 1, N, C), weight (E, out, k k C) -> (E, N, out)."""
    corners, entries, framed = _places(height, width, x.shape[2], kernel)
    across = _lanes(weight.swapaxes(1, 2))
    lanes = float_rows(across).shape[-1]
    sums, y = lane_array(TILE, lanes), lane_array((*across.shape[:2], x.shape[1]), lanes)
    _convolve_nets(
        np.ascontiguousarray(x), across, height, width, kernel // 2, _tiled(corners), entries, np.zeros(framed), sums,
        float_rows(sums), y,
    )  # fmt: skip
    return np.ascontiguousarray(_filters(y, weight.shape[1], x.shape[1]))


def convolve_weights(x: np.ndarray, dy: np.ndarray, height: int, width: int, kernel: int) -> np.ndarray:
    """The gradient (E, out, k k C) of the weights, from dy (E, N, out)."""
    corners, entries, framed = _places(height, width, x.shape[2], kernel)
    tiled, across = _tiled(entries), _lanes(dy)
    gradient = lane_array((*across.shape[:2], len(tiled)), float_rows(across).shape[-1])
    _convolve_weights_nets(
        np.ascontiguousarray(x), across, height, width, kernel // 2, tiled, corners, np.zeros(framed), gradient
    )
    return _filters(gradient, dy.shape[2], len(entries)).swapaxes(1, 2)


def _mean_pool(x, width, down, across, y):
    """Means over windows of down x across pixels: x (E, N, C), y (E, N / (down across), C)."""
    wide, share = width // across, 1.0 / (down * across)
    for e in range(len(x)):
        for to in range(y.shape[1]):
            corner = (to // wide) * down * width + (to % wide) * across
            for c in range(x.shape[2]):
                y[e, to, c] = 0.0
            for i in range(down):
                for pixel in range(corner + i * width, corner + i * width + across):
                    for c in range(x.shape[2]):
                        y[e, to, c] += x[e, pixel, c]
            for c in range(x.shape[2]):
                y[e, to, c] *= share


def _mean_pool_back(dy, width, down, across, dx):
    """Each pixel gets its share of its window's gradient."""
    wide, share = width // across, 1.0 / (down * across)
    for e in range(len(dx)):
        for to in range(dy.shape[1]):
            corner = (to // wide) * down * width + (to % wide) * across
            for i in range(down):
                for pixel in range(corner + i * width, corner + i * width + across):
                    for c in range(dx.shape[2]):
                        dx[e, pixel, c] = share * dy[e, to, c]


def _max_pool(x, width, down, across, y, where):
    """Maxima over windows, and the pixel of each (the first among equals; a NaN wins); `where` like y."""
    wide = width // across
    for e in range(len(x)):
        for to in range(y.shape[1]):
            corner = (to // wide) * down * width + (to % wide) * across
            for c in range(x.shape[2]):
                y[e, to, c], where[e, to, c] = x[e, corner, c], corner
            for i in range(down):
                for pixel in range(corner + i * width, corner + i * width + across):
                    for c in range(x.shape[2]):
                        value = x[e, pixel, c]
                        if value > y[e, to, c] or np.isnan(value):
                            y[e, to, c], where[e, to, c] = value, pixel


def _max_pool_back(dy, where, dx):
    """The gradient goes to the pixel that won."""
    for e in range(len(dx)):
        dx[e] = 0.0
        for to in range(dy.shape[1]):
            for c in range(dy.shape[2]):
                dx[e, where[e, to, c], c] = dy[e, to, c]


mean_pool = compiled(_mean_pool)
mean_pool_back = compiled(_mean_pool_back)
max_pool = compiled(_max_pool)
max_pool_back = compiled(_max_pool_back)
