"""The machine's own limit of an SDE step: normal variates alone, as fast as each generator makes them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from sdetheory.lanes.random import SAVED, Block, Gaussian, Philox, draw
from sdetheory.lanes.vector import float_rows, fma, lane_array, load, store

from .workloads import NormalisedSDE

LANES = 64
U = np.uint64
MANTISSA, ONE, OFFSET = (
    U(0x000FFFFFFFFFFFFF),
    U(0x3FF0000000000000),
    U(0x3FF0000000000000 - 0x3FE6A09E667F3BCD),
)
ROOT_HALF, MAGIC = U(0x3FE6A09E667F3BCD), U(0x4330000000000000)
C12, C17, C19, C23, C41, C45, C52, C63 = (U(k) for k in (12, 17, 19, 23, 41, 45, 52, 63))


@numba.njit(error_model="numpy", inline="always")
def _log(u):
    """Natural logarithm on (0, 1], relative error below 2e-10: a polynomial, so that it vectorises."""
    bits = np.float64(u).view(np.uint64) + OFFSET
    k = np.uint64((bits >> C52) | MAGIC).view(np.float64) - 4503599627371519.0
    f = np.uint64((bits & MANTISSA) + ROOT_HALF).view(np.float64) - 1.0
    s = f / (2.0 + f)
    t = s * s
    r = t * (0.6666666666666735 + t * (0.3999999999940942 + t * (0.2857142874366239 + t * (0.22222198432149784
        + t * (0.1818357216161805 + t * (0.15313837699209373 + t * 0.14798198605116586))))))  # fmt: skip
    return k * 0.6931471805599453 + (f - s * (f - r))


@numba.njit(error_model="numpy", inline="always")
def _sine_cosine(t):
    """sin and cos of pi t / 2 for t in (-1, 1)."""
    y = t * t
    s = t * (1.570796326794896439 + y * (-0.6459640975062232278 + y * (0.07969262624568336343
        + y * (-0.00468175413144706254 + y * (1.604411695069251063e-4 + y * (-3.598810706313679529e-6
        + y * (5.688318064017795329e-8 - y * 6.449471237809134035e-10)))))))  # fmt: skip
    c = 0.9999999999999980599 + y * (-1.233700550135921475 + y * (0.2536695078958309265
        + y * (-0.02086348072159005524 + y * (9.19260110598354416e-4 + y * (-2.520169138273590043e-5
        + y * (4.706713995845051977e-7 - y * 6.128934583773126194e-9))))))  # fmt: skip
    return s, c


@numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})
def fused_normals(seed, rounds, out):
    """`rounds` times 2 x LANES normals into out (2, LANES): xoshiro256++ and Box-Muller in plain loops."""
    s0, s1 = np.empty(LANES, np.uint64), np.empty(LANES, np.uint64)
    s2, s3 = np.empty(LANES, np.uint64), np.empty(LANES, np.uint64)
    x = U(seed)
    for l in range(LANES):
        for k in range(4):
            x = x + U(0x9E3779B97F4A7C15)
            y = (x ^ (x >> U(30))) * U(0xBF58476D1CE4E5B9)
            y = (y ^ (y >> U(27))) * U(0x94D049BB133111EB)
            y = y ^ (y >> U(31))
            if k == 0:
                s0[l] = y
            elif k == 1:
                s1[l] = y
            elif k == 2:
                s2[l] = y
            else:
                s3[l] = y
    cosines, sines = out[0], out[1]
    for _ in range(rounds):
        for l in range(LANES):
            a, b, c, d = s0[l], s1[l], s2[l], s3[l]
            r = a + d
            one = ((r << C23) | (r >> C41)) + a
            t = b << C17
            c ^= a
            d ^= b
            b ^= c
            a ^= d
            c ^= t
            d = (d << C45) | (d >> C19)
            r = a + d
            two = ((r << C23) | (r >> C41)) + a
            t = b << C17
            c ^= a
            d ^= b
            b ^= c
            a ^= d
            c ^= t
            s0[l], s1[l], s2[l], s3[l] = a, b, c, (d << C45) | (d >> C19)
            u = 2.0 - np.uint64((one >> C12) | ONE).view(np.float64)
            radius = np.sqrt(-2.0 * _log(u))
            sine, cosine = _sine_cosine(2.0 * np.uint64((two >> C12) | ONE).view(np.float64) - 3.0)
            cosines[l] = radius * np.uint64(np.float64(cosine).view(np.uint64) ^ (two << C63)).view(np.float64)
            sines[l] = radius * sine


@numba.njit(nogil=True, error_model="numpy")
def own_normals(increment, generator, seed, path, steps, saved, z, n):
    """The increments of `steps` steps of one block of paths, each overwriting the last."""
    for step in range(steps):
        draw(increment, generator, seed, load(path, 0), step, saved, z, n)


def _threaded(task: Callable[[int], Any], count: int, threads: int) -> Callable[[], Any]:
    def run() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(task, range(count)))

    return run


def fused(case: NormalisedSDE, threads: int = 2) -> Callable[[], Any]:
    """As many normals as the workload uses, from one hand-fused loop without addresses."""
    fused_normals(1, 1, np.empty((2, LANES)))
    rounds = round(case.normals / threads / (2 * LANES))
    return _threaded(lambda i: fused_normals(i, rounds, np.empty((2, LANES))), threads, threads)


def own(case: NormalisedSDE, threads: int = 2, generator: Any = Block(256), width: int = 32) -> Callable[[], Any]:
    """The normals of the workload from this package's generators, addressable by (seed, path, step)."""
    paths, d = case.w0.shape
    blocks = -(-paths // width)

    def task(block: int, steps: int = case.steps) -> None:
        path = lane_array(1, width, "u8")
        float_rows(path)[:] = np.arange(block * width, (block + 1) * width)
        z, saved = lane_array(d + 2, width), lane_array(SAVED, width, "u8")
        own_normals(Gaussian(), generator, np.uint64(7), path, steps, saved, z, d)

    task(0, 1)
    return _threaded(task, blocks, threads)


def numpy_sfc64(case: NormalisedSDE, threads: int = 2) -> Callable[[], Any]:
    """The normals of the workload from numpy's fastest generator, into a buffer that stays in the cache."""

    def task(thread: int) -> None:
        rng, z = np.random.Generator(np.random.SFC64(thread)), np.empty(8192)
        for _ in range(round(case.normals / threads / z.size)):
            rng.standard_normal(out=z)

    return _threaded(task, threads, threads)


@numba.njit(nogil=True, error_model="numpy")
def _fused(rounds, x):
    """`rounds` times eight independent multiply-adds of 8 lanes: as many as hide their latency."""
    keep, more = load(x, 8), load(x, 9)
    a, b, c, d = load(x, 0), load(x, 1), load(x, 2), load(x, 3)
    e, f, g, h = load(x, 4), load(x, 5), load(x, 6), load(x, 7)
    for _ in range(rounds):
        a, b, c, d = fma(a, keep, more), fma(b, keep, more), fma(c, keep, more), fma(d, keep, more)
        e, f, g, h = fma(e, keep, more), fma(f, keep, more), fma(g, keep, more), fma(h, keep, more)
    store(x, 0, ((a + b) + (c + d)) + ((e + f) + (g + h)))


def multiply_adds(count: float) -> Callable[[], Any]:
    """run(): so many fused multiply-adds of doubles from registers, on one core."""
    x = lane_array(10, 8)
    float_rows(x)[8:] = np.array([[0.999], [1e-3]])
    _fused(1, x)
    return lambda: _fused(max(1, round(count / 64)), x)


LIMITS = {
    "normals alone: one fused loop": fused,
    "normals alone: Block(256)": own,
    "normals alone: Philox": lambda case, threads=2: own(case, threads, Philox()),
    "normals alone: numpy SFC64": numpy_sfc64,
}
LIMIT_SHARE = {name: 0.05 if "numpy" in name else 0.2 for name in LIMITS}
