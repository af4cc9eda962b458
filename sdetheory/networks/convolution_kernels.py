"""Compiled bodies of convolution and pooling: columns of a few rows of pixels at a time, and one product.

Images are (E, N, C): E nets, N = batch x height x width pixels in row order, C channels last. The columns of a
pixel are the k x k pixels around it, 0 outside the image; as few rows are gathered at a time as fit in the
processor's cache beside the weights. Each net is treated alone, so that its numbers do not depend on the others.
"""

import numpy as np
import scipy.linalg  # noqa: F401  (products in compiled code run on scipy's BLAS: loaded here, it is limited like numpy's)

from sdetheory.networks.kernels import compiled

_CACHED = 32768  # numbers of a block of columns, 256 KB


def _columns(x, first, last, height, width, kernel, columns):
    """Columns of the pixel rows first .. last - 1, counted over images; x flat (N C), columns flat."""
    channels = columns.size // ((last - first) * width * kernel * kernel)
    reach, run = kernel // 2, kernel * channels
    at = 0
    for line in range(first, last):
        row = line % height
        for column in range(width):
            left, right = max(0, reach - column), min(kernel, width + reach - column)
            for down in range(kernel):
                inside = 0 <= row + down - reach < height
                a, b = (left * channels, right * channels) if inside else (run, run)
                start = ((line + down - reach) * width + column - reach) * channels
                for i in range(a):
                    columns[at + i] = 0.0
                for i in range(a, b):
                    columns[at + i] = x[start + i]
                for i in range(b, run):
                    columns[at + i] = 0.0
                at += run


_gather = compiled(_columns)


def _lines(lines, numbers):
    """How many rows of pixels to take at a time, when each has so many numbers in its columns."""
    return min(lines, max(1, _CACHED // numbers))


_rows_at_a_time = compiled(_lines)


def _convolve(x, weight, height, width, kernel, y):
    """y = x * weight, 'same' size, stride 1: x (E or 1, N, C), weight (E, out, k k C), y (E, N, out)."""
    lines, size = x.shape[1] // width, weight.shape[2]
    step = _rows_at_a_time(lines, width * size)
    room = np.empty(step * width * size)
    for e in range(len(weight)):
        image = x[e if len(x) > 1 else 0].reshape(-1)
        turned, flat = weight[e].T, y[e]
        for first in range(0, lines, step):
            last = min(first + step, lines)
            columns = room[: (last - first) * width * size]
            _gather(image, first, last, height, width, kernel, columns)
            flat[first * width : last * width] = np.dot(columns.reshape(-1, size), turned)


def _convolve_weights(x, dy, height, width, kernel, gradient):
    """d(loss)/d(weight) (E, out, k k C) from dy (E, N, out)."""
    lines, size = x.shape[1] // width, gradient.shape[2]
    step = _rows_at_a_time(lines, width * size)
    room = np.empty(step * width * size)
    for e in range(len(dy)):
        image = x[e if len(x) > 1 else 0].reshape(-1)
        gradient[e] = 0.0
        for first in range(0, lines, step):
            last = min(first + step, lines)
            columns = room[: (last - first) * width * size]
            _gather(image, first, last, height, width, kernel, columns)
            gradient[e] += np.dot(dy[e, first * width : last * width].T, columns.reshape(-1, size))


def _mean_pool(x, height, width, down, across, y):
    """Means over windows of down x across pixels: x (E, N, C), y (E, N / (down across), C)."""
    lines = x.shape[1] // width
    for e in range(len(x)):
        y[e] = 0.0
        for line in range(lines):
            for column in range(width):
                to = (line // down) * (width // across) + column // across
                for c in range(x.shape[2]):
                    y[e, to, c] += x[e, line * width + column, c]
        y[e] /= down * across


def _mean_pool_back(dy, height, width, down, across, dx):
    """Each pixel gets its share of its window's gradient."""
    for e in range(len(dx)):
        for pixel in range(dx.shape[1]):
            line, column = pixel // width, pixel % width
            to = (line // down) * (width // across) + column // across
            for c in range(dx.shape[2]):
                dx[e, pixel, c] = dy[e, to, c] / (down * across)


def _max_pool(x, height, width, down, across, y, where):
    """Maxima over windows, and the pixel of each (the first among equals; a NaN wins); `where` like y."""
    for e in range(len(x)):
        where[e] = -1
        for pixel in range(x.shape[1]):
            line, column = pixel // width, pixel % width
            to = (line // down) * (width // across) + column // across
            for c in range(x.shape[2]):
                value = x[e, pixel, c]
                if where[e, to, c] < 0 or value > y[e, to, c] or np.isnan(value):
                    y[e, to, c], where[e, to, c] = value, pixel


def _max_pool_back(dy, where, dx):
    """The gradient goes to the pixel that won."""
    for e in range(len(dx)):
        dx[e] = 0.0
        for to in range(dy.shape[1]):
            for c in range(dy.shape[2]):
                dx[e, where[e, to, c], c] = dy[e, to, c]


convolve = compiled(_convolve)
convolve_weights = compiled(_convolve_weights)
mean_pool = compiled(_mean_pool)
mean_pool_back = compiled(_mean_pool_back)
max_pool = compiled(_max_pool)
max_pool_back = compiled(_max_pool_back)
