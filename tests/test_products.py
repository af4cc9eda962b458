"""Lane-wise products in register tiles: every shape and stride equals numpy, and nothing depends on the
width."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numba import njit

from sdetheory.lanes import products
from sdetheory.lanes.products import OUTPUT, WEIGHTS, WORK, Operand, multiply, product
from sdetheory.lanes.vector import float_rows, lane_array


@njit(error_model="numpy")
def carry(program, first, last, w, out, work, constants):
    multiply(program, first, last, w, out, work, constants)


def lanes_of(numbers, width):
    """Rows of whole numbers: lane l holds number + l."""
    x = lane_array(numbers.size, width)
    float_rows(x)[:] = numbers[:, None] + np.arange(width)
    return x


sizes = st.integers(1, 12)
numbers = st.lists(st.integers(-9, 9), min_size=1, max_size=20).map(lambda v: np.array(v, float))


@given(
    m=sizes,
    n=sizes,
    q=sizes,
    a=numbers,
    b=numbers,
    c=st.none() | numbers,
    left_t=st.booleans(),
    right_t=st.booleans(),
    width=st.sampled_from((8, 16)),
)
@example(m=1, n=1, q=1, a=np.ones(1), b=np.ones(1), c=None, left_t=False, right_t=False, width=8)
@example(
    m=5, n=3, q=10, a=np.arange(7.0), b=np.arange(3.0), c=np.arange(2.0), left_t=True, right_t=True, width=8
)
def test_every_shape_and_stride_equals_numpy(m, n, q, a, b, c, left_t, right_t, width):
    """Whole numbers, so equality is exact; operands stored transposed are read by strides."""
    w, work = lanes_of(np.resize(a, m * n), width), lanes_of(np.resize(b, n * q + 3), width)
    out = lane_array(m * q + 2, width)
    left = Operand(WEIGHTS, 0, (n, m)).T if left_t else Operand(WEIGHTS, 0, (m, n))
    right = Operand(WORK, 3, (q, n)).T if right_t else Operand(WORK, 3, (n, q))
    constants = np.zeros(0) if c is None else np.resize(c, m * q)
    row = product(left, right, Operand(OUTPUT, 2, (m, q)), init=-1 if c is None else 0)
    carry(np.array(row), 0, products.ROW, w, out, work, constants)
    x, y = float_rows(w).reshape((n, m, width) if left_t else (m, n, width)), float_rows(work)[3:]
    y = y.reshape((q, n, width) if right_t else (n, q, width))
    x, y = x.swapaxes(0, 1) if left_t else x, y.swapaxes(0, 1) if right_t else y
    expected = np.einsum("ikl,kjl->ijl", x, y) + (0.0 if c is None else constants.reshape(m, q, 1))
    found = float_rows(out)[2:].reshape(m, q, width)
    assert np.array_equal(found, expected), (
        f"{(m, n, q)}: largest difference {np.abs(found - expected).max()}"
    )
    assert not float_rows(out)[:2].any(), "rows outside the result were written"


def test_rows_run_in_order_on_one_memory():
    """A program of two rows: the second reads what the first wrote, between any two arrays."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 4, 8)), rng.standard_normal((4, 7, 8))
    w, work, out = lane_array(24, 8), lane_array(28 + 42, 8), lane_array(16, 8)
    float_rows(w)[:], float_rows(work)[:28] = x.reshape(24, 8), y.reshape(28, 8)
    middle = Operand(WORK, 28, (6, 7))
    program = product(Operand(WEIGHTS, 0, (6, 4)), Operand(WORK, 0, (4, 7)), middle)
    program += product(
        Operand(WEIGHTS, 0, (6, 4)).T, Operand(WORK, 28, (6, 4), (7, 1)), Operand(OUTPUT, 0, (4, 4))
    )
    carry(np.array(program), 0, len(program), w, out, work, np.zeros(0))
    first = np.einsum("ikl,kjl->ijl", x, y)
    second = np.einsum("kil,kjl->ijl", x, first[:, :4])
    error = np.abs(float_rows(out).reshape(4, 4, 8) - second).max()
    assert error < 1e-13, f"largest difference {error}"


def test_widths_agree_bitwise():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((9, 11)), rng.standard_normal((11, 8))
    program = np.array(
        product(Operand(WEIGHTS, 0, (9, 11)), Operand(WORK, 0, (11, 8)), Operand(OUTPUT, 0, (9, 8)))
    )
    found = []
    for width in (8, 16):
        w, work, out = lane_array(99, width), lane_array(88, width), lane_array(72, width)
        float_rows(w)[:], float_rows(work)[:] = x.reshape(99, 1), y.reshape(88, 1)
        carry(program, 0, program.size, w, out, work, np.zeros(0))
        assert np.ptp(float_rows(out), axis=1).max() == 0.0, "lanes with equal input differ"
        found.append(float_rows(out)[:, 0].copy())
    assert np.array_equal(*found), np.abs(found[0] - found[1]).max()


def test_shapes_that_do_not_chain_are_refused():
    with pytest.raises(ValueError, match=r"shapes do not chain: \(2, 3\) @ \(4, 5\)"):
        product(Operand(WEIGHTS, 0, (2, 3)), Operand(WORK, 0, (4, 5)), Operand(OUTPUT, 0, (2, 5)))
