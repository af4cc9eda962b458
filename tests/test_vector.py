"""Lane vectors: every operation agrees with numpy in every lane, at every width, and scalars broadcast."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from numba import njit
from numba.core.errors import TypingError

from sdetheory.lanes import vector
from sdetheory.lanes.vector import (
    WIDTHS,
    absolute,
    any_lane,
    constant,
    cos,
    exp,
    float_rows,
    floor,
    fma,
    from_bits,
    lane_array,
    load,
    log,
    maximum,
    minimum,
    power,
    select,
    sin,
    sqrt,
    store,
    take,
    to_bits,
)

ONE_BIT = np.uint64(1)


@njit(error_model="numpy")
def arithmetic(x, y, out):
    """One row an operation."""
    a, b = load(x, 0), load(y, 0)
    store(out, 0, a + b)
    store(out, 1, a - 2.0 * b)
    store(out, 2, 3 * a * b)
    store(out, 3, a / b)
    store(out, 4, -a)
    store(out, 5, fma(a, b, 1.0))
    store(out, 6, sqrt(absolute(a)))
    store(out, 7, minimum(a, b))
    store(out, 8, maximum(a, 0.5))
    store(out, 9, floor(a))
    store(out, 10, select((a < b) | (a >= 2.0), a, 7.0))
    store(out, 11, select((a <= b) & ~(a == b), a, b))
    store(out, 12, select(a != b, 1.0, -1.0))
    store(out, 13, exp(0.1 * a) + log(1.0 + a * a) + sin(a) + cos(b))
    store(out, 14, power(absolute(a), 1.5))
    store(out, 15, from_bits(to_bits(a) ^ (to_bits(b) & ONE_BIT)))
    store(out, 16, constant(x, 2.5))
    total = 0.0
    for i in range(1, 3):
        total = fma(load(x[1:], i - 1), load(y, i), total)
    store(out, 17, total)
    return any_lane(a > 1.0)


def expected(x, y):
    a, b = x[0], y[0]
    return np.array([
        a + b, a - 2 * b, 3 * a * b, a / b, -a, a * b + 1, np.sqrt(abs(a)), np.minimum(a, b),
        np.maximum(a, 0.5), np.floor(a),
        np.where((a < b) | (a >= 2), a, 7), np.where(a < b, a, b), np.where(a != b, 1, -1),
        np.exp(0.1 * a) + np.log(1 + a * a) + np.sin(a) + np.cos(b), abs(a) ** 1.5,
        (a.view(np.uint64) ^ (b.view(np.uint64) & ONE_BIT)).view(np.float64), np.full_like(a, 2.5),
        x[1] * y[1] + x[2] * y[2],
    ])  # fmt: skip


numbers = some.floats(-8, 8, allow_subnormal=False)


@pytest.mark.parametrize("width", WIDTHS)
@given(rows=arrays(np.float64, (6, 8), elements=numbers))
@example(rows=np.zeros((6, 8)))
@example(rows=np.ones((6, 8)))
def test_operations_agree_with_numpy_in_every_lane(width, rows):
    rows = np.tile(rows, (1, width // 8))
    rows[3] = np.where(rows[3] == 0, 1.0, rows[3])
    x, y, out = lane_array(3, width), lane_array(3, width), lane_array(18, width)
    float_rows(x)[:], float_rows(y)[:] = rows[:3], rows[3:]
    some_above = arithmetic(x, y, out)
    assert some_above == bool((rows[0] > 1).any())
    np.testing.assert_allclose(
        float_rows(out), expected(rows[:3].copy(), rows[3:].copy()), rtol=4e-15, atol=1e-14
    )


def test_lane_arrays_are_aligned_and_know_their_width():
    for width in WIDTHS:
        x = lane_array((3, 5), width)
        assert x.ctypes.data % 64 == 0 and x.shape == (3, 5) and float_rows(x).shape == (3, 5, width)
        assert vector.as_lanes(float_rows(x)).dtype == x.dtype
    with pytest.raises(ValueError, match="`width` must be one of"):
        lane_array(3, 5)
    shapes = {"a": (2, 3), "none": (0, 4), "b": (5,)}
    for width in WIDTHS:
        several = vector.lane_arrays(shapes, width)
        for number, (name, x) in enumerate(several.items()):
            assert x.ctypes.data % 64 == 0 and x.shape == shapes[name], (name, x.shape)
            assert x.flags.c_contiguous and not float_rows(x).any(), (name, "not zero: another one's memory")
            float_rows(x)[...] = 1.0 + number
    with pytest.raises(ValueError, match="C-contiguous"):
        vector.as_lanes(np.zeros((8, 3)).T)


@njit
def sum_every_other(x):
    """Not contiguous: refused by the compiler."""
    y = x[::2]
    return load(y, 1) + load(y, 0)


@pytest.mark.compiled
def test_a_strided_view_is_refused():
    with pytest.raises(TypingError, match="load"):
        sum_every_other(lane_array(4, 8))


def test_comparisons_with_nan_follow_ieee():
    x, y, out = lane_array(3, 8), lane_array(3, 8), lane_array(18, 8)
    float_rows(x)[0], float_rows(y)[0] = np.nan, 1.0
    arithmetic(x, y, out)
    rows = float_rows(out)
    assert (rows[7] == 1).all() and (rows[8] == 0.5).all(), "minimum and maximum ignore a NaN"
    assert (rows[10] == 7).all() and (rows[12] == 1).all(), "ordered comparisons are false, != is true"


@njit(nogil=True)
def taken(counter, marks):
    """Raise the mark of every number taken below marks.size; how many were taken."""
    count, number = 0, take(counter)
    while number < marks.size:
        marks[number] += 1
        count, number = count + 1, take(counter)
    return count


@pytest.mark.parametrize("function", [taken, taken.py_func] if hasattr(taken, "py_func") else [taken])
def test_a_shared_counter_gives_every_number_once(function):
    """Four threads, two million numbers compiled: a lost update would show as a number taken twice."""
    size = 2_000_000 if hasattr(function, "py_func") else 20_000
    counter, marks = np.zeros(1, np.int64), np.zeros(size, np.int8)
    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(function, counter, marks) for _ in range(4)]
        counts = [count.result() for count in counts]
    assert sum(counts) == size and (marks == 1).all(), (counts, np.bincount(marks))
    assert counter[0] == size + 4, counter
