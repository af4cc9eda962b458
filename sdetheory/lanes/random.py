"""Addressable randomness: the increments of (seed, path, step) are the same in every run that asks for them.

A *generator* turns an address into random words: `Block(256)` is xoshiro256++ re-seeded by Philox for every
block of 256 steps of every path (the default), `Philox()` computes every pair of words from its own address
(the reference). An *increment* turns words into numbers of mean 0 and variance 1: `Gaussian()`, or
`TwoPoint()` and `ThreePoint()` for weak schemes; `lanes.uniform`, `mask` and `epochs` have more.  Any pair
works; `increments` hands the numbers that the kernels consume to Python.

Sources: J. Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3" (Philox4x32-10); D. Blackman
and S. Vigna (2021), "Scrambled linear pseudorandom number generators" (xoshiro256++); G. Box and M. Muller
(1958); P. Kloeden and E. Platen (1992), section 14.2 (two- and three-point increments).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sdetheory import checks
from sdetheory.lanes.cache import compiled
from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.parts import part
from sdetheory.lanes.tag import tag
from sdetheory.lanes.vector import (
    float_rows,
    fma,
    from_bits,
    lane_array,
    load,
    select,
    sqrt,
    store,
    to_bits,
)

W64 = np.uint64
SAVED = 8  # word rows a generator may keep between steps
_MASK32, _32 = W64(0xFFFFFFFF), W64(32)
_ONE = W64(0x3FF0000000000000)  # the bits of 1.0
_MANTISSA = W64(0x000FFFFFFFFFFFFF)
_SIGN = W64(0x8000000000000000)
_ROOT_HALF = W64(0x3FE6A09E667F3BCD)  # the bits of sqrt(1/2)
_TO_ROOT_HALF = W64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
_TWO52 = W64(0x4330000000000000)  # the bits of 2**52

stream = verb("stream", "generator", "seed", "path", "step", "saved")  # -> state, a tuple of word lanes
pair = verb("pair", "generator", "state", "p")  # -> state, two word lanes
suspend = verb("suspend", "generator", "state", "saved")  # keep the state for the next step
restart = verb("restart", "generator", "step")  # -> last step <= step it can begin at
fill = verb("fill", "increment", "generator", "state", "z", "n")  # z[:n] <- increments; -> state


def _own_stream(increment: Any, path: Any) -> Any:
    """Every path has its own."""
    return path


def _as_drawn(increment: Any, path: Any, z: Any, n: int) -> None:
    """Nothing to change."""


source = verb("source", "increment", "path", default=_own_stream)  # -> path whose stream it draws from
reflect = verb("reflect", "increment", "path", "z", "n", default=_as_drawn)  # z[:n] <- what this path makes of it


@njit(inline="always")
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Philox4x32-10: four 32-bit counter words and two key words to two 64-bit words (x1:x0, x3:x2)."""
    for _ in range(10):
        low, high = c0 * W64(0xD2511F53), c2 * W64(0xCD9E8D57)
        c0 = (high >> _32) ^ c1 ^ k0
        c2 = (low >> _32) ^ c3 ^ k1
        c1 = high & _MASK32
        c3 = low & _MASK32
        k0 = (k0 + W64(0x9E3779B9)) & _MASK32
        k1 = (k1 + W64(0xBB67AE85)) & _MASK32
    return (c1 << _32) | c0, (c3 << _32) | c2


@njit(inline="always")
def _rotate(x: Any, k: int) -> Any:
    return (x << W64(k)) | (x >> W64(64 - k))


@njit(inline="always")
def xoshiro(a0: Any, a1: Any, a2: Any, a3: Any) -> Any:
    """One step of xoshiro256++: the four state words and the output word."""
    word = _rotate(a0 + a3, 23) + a0
    shifted = a1 << W64(17)
    a2 = a2 ^ a0
    a3 = a3 ^ a1
    a1 = a1 ^ a2
    a0 = a0 ^ a3
    a2 = a2 ^ shifted
    a3 = _rotate(a3, 45)
    return a0, a1, a2, a3, word


@njit(inline="always")
def _log(u: Any) -> Any:
    """log u for u in (0, 1], absolute error below 3e-12: exponent, and a minimax polynomial of the
    mantissa.
    """
    bits = to_bits(u) + _TO_ROOT_HALF
    k = from_bits((bits >> W64(52)) | _TWO52) - 4503599627371519.0
    f = from_bits((bits & _MANTISSA) + _ROOT_HALF) - 1.0
    f2 = f * f
    f4 = f2 * f2
    p0 = fma(f, 0.3333333336687036357, -0.4999999999883053267)
    p1 = fma(f, 0.1999999321956394056, -0.2500000085462270698)
    p2 = fma(f, 0.1428604773958587757, -0.1666656227870220916)
    p3 = fma(f, 0.1110687333526309184, -0.1250475681410033027)
    p4 = fma(f, 0.09040110492302338247, -0.09901969265143174445)
    p5 = fma(f, 0.09068095456193818839, -0.09224975002734860205)
    tail = fma(f4, -0.04859616129090470666, fma(p5, f2, p4))
    q = fma(f4 * f4, tail, fma(fma(p3, f2, p2), f4, fma(p1, f2, p0)))
    return fma(f2, q, fma(k, 0.6931471805599453, f))


@njit(inline="always")
def box_muller(r0: Any, r1: Any) -> Any:
    """Two independent standard normals from two words; the radius from r0, angle and sign from r1."""
    u = 2.0 - from_bits((r0 >> W64(12)) | _ONE) - 1.1102230246251565e-16
    radius = sqrt(_log(u) * -2.0)
    t = 2.0 * from_bits((r1 >> W64(12)) | _ONE) - 3.0  # the angle is pi t / 2, t in [-1, 1)
    y = t * t
    s = fma(y, -6.449471237809134035e-10, 5.688318064017795329e-8)
    s = fma(s, y, -3.598810706313679529e-6)
    s = fma(s, y, 0.0001604411695631063026)
    s = fma(s, y, -0.00468175413144706254)
    s = fma(s, y, 0.07969262624568336343)
    s = fma(s, y, -0.6459640975062232278)
    s = fma(s, y, 1.570796326794896439) * t
    c = fma(y, -6.128934583773126194e-9, 4.706713995845051977e-7)
    c = fma(c, y, -0.00002520169138273590043)
    c = fma(c, y, 0.000919260110598354416)
    c = fma(c, y, -0.02086348072159005524)
    c = fma(c, y, 0.2536695078958309265)
    c = fma(c, y, -1.233700550135921475)
    c = fma(c, y, 0.9999999999999980599)
    return radius * from_bits(to_bits(c) ^ (r1 << W64(63))), radius * s


# ---- generators
# -----------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """xoshiro256++ whose state is a Philox function of (seed, path, step // steps); the default,
    steps=256.
    """

    steps: int = 256


class Philox(NamedTuple):
    """Philox4x32-10 of (seed, path, step, pair): every word by its own address; the reference generator."""


@stream.of(Block)
def _block_stream(generator, seed, path, step, saved):
    if step % generator.steps == 0:
        block = W64(step // generator.steps)
        zero = path & W64(0)
        low, high = zero | (block & _MASK32), zero | (block >> _32)
        k0, k1 = seed & _MASK32, seed >> _32
        a0, a1 = philox(path & _MASK32, path >> _32, low, high, k0, k1)
        a2, a3 = philox(path & _MASK32, path >> _32, low, high | W64(0x80000000), k0, k1)
    else:
        a0, a1, a2, a3 = load(saved, 0), load(saved, 1), load(saved, 2), load(saved, 3)
    return a0, a1, a2, a3


@pair.of(Block)
def _block_pair(generator, state, p):
    a0, a1, a2, a3, r0 = xoshiro(state[0], state[1], state[2], state[3])
    a0, a1, a2, a3, r1 = xoshiro(a0, a1, a2, a3)
    return (a0, a1, a2, a3), r0, r1


@suspend.of(Block)
def _block_suspend(generator, state, saved):
    for k in range(4):
        store(saved, k, state[k])


@restart.of(Block)
def _block_restart(generator, step):
    return step - step % generator.steps


@restart.of(Philox)
def _philox_restart(generator, step):
    return step


@stream.of(Philox)
def _philox_stream(generator, seed, path, step, saved):
    zero = path & W64(0)
    t = W64(step)
    return zero | seed, path & _MASK32, zero | (t & _MASK32), (path >> _32) ^ (zero | ((t >> _32) << W64(16)))


@pair.of(Philox)
def _philox_pair(generator, state, p):
    seed = state[0]
    r0, r1 = philox((seed & W64(0)) | W64(p), state[1], state[2], state[3], seed & _MASK32, seed >> _32)
    return state, r0, r1


@suspend.of(Philox)
def _philox_suspend(generator, state, saved):
    pass


# ---- increments
# -----------------------------------------------------------------------------------------------


class Gaussian(NamedTuple):
    """Standard normals (Box-Muller); an odd count drops one, so that a step's numbers depend on the step
    alone.
    """


class TwoPoint(NamedTuple):
    """+1 or -1 with probability 1/2 each: enough for weak order 1, one random bit a number."""


class ThreePoint(NamedTuple):
    """0 with probability 2/3 and +-sqrt(3) with 1/6 each: moments 1 to 5 are Gaussian, for weak order 2."""


@fill.of(Gaussian)
def _fill_gaussian(increment, generator, state, z, n):
    for p in range((n + 1) // 2):
        state, r0, r1 = pair(generator, state, p)
        x, y = box_muller(r0, r1)
        store(z, 2 * p, x)
        store(z, 2 * p + 1, y)
    return state


@fill.of(TwoPoint)
def _fill_two_point(increment, generator, state, z, n):
    for p in range((n + 127) // 128):
        state, r0, r1 = pair(generator, state, p)
        for i in range(128 * p, min(n, 128 * p + 64)):
            store(z, i, from_bits((r0 & _SIGN) | _ONE))
            r0 = r0 << W64(1)
        for i in range(128 * p + 64, min(n, 128 * p + 128)):
            store(z, i, from_bits((r1 & _SIGN) | _ONE))
            r1 = r1 << W64(1)
    return state


@njit(inline="always")
def _three_point(word: Any) -> Any:
    u = from_bits((word >> W64(12)) | _ONE) - 1.0
    return select(u < 1.0 / 6.0, -1.7320508075688772, select(u < 1.0 / 3.0, 1.7320508075688772, 0.0 * u))


@fill.of(ThreePoint)
def _fill_three_point(increment, generator, state, z, n):
    for p in range((n + 1) // 2):
        state, r0, r1 = pair(generator, state, p)
        store(z, 2 * p, _three_point(r0))
        store(z, 2 * p + 1, _three_point(r1))
    return state


def _from_stream(increment, generator, seed, path, step, saved, z, n):
    """The generator's words of (seed, path, step), turned into numbers by `fill`."""
    state = fill(increment, generator, stream(generator, seed, source(increment, path), step, saved), z, n)
    suspend(generator, state, saved)
    reflect(increment, path, z, n)


# z[:n] <- increments; an increment whose steps share randomness (an order of an epoch) has an address of its own
numbers = verb(
    "numbers", "increment", "generator", "seed", "path", "step", "saved", "z", "n", default=_from_stream
)


@part
def draw(increment: Any, generator: Any, seed: Any, path: Any, step: int, saved: Any, z: Any, n: int) -> None:
    """z[:n] <- the n increments of (seed, path, step); steps of one block come in order."""
    numbers(increment, generator, seed, path, step, saved, z, n)


@part
def draw_coarse(
    increment: Any,
    generator: Any,
    seed: Any,
    path: Any,
    step: int,
    coarsen: int,
    saved: Any,
    fine: Any,
    z: Any,
    n: int,
) -> None:
    """z[:n] <- (z_1 + ... + z_m)/sqrt(m), m = coarsen, over fine steps m*step, ..., m*step + m - 1."""
    if coarsen == 1:
        draw(increment, generator, seed, path, step, saved, z, n)
        return
    scale = 1.0 / np.sqrt(float(coarsen))
    for k in range(coarsen):
        draw(increment, generator, seed, path, step * coarsen + k, saved, fine, n)
        for i in range(n):
            store(z, i, scale * load(fine, i) if k == 0 else fma(scale, load(fine, i), load(z, i)))


# ---- the increments as an array
# -------------------------------------------------------------------------------


@compiled
def _record(tag, increment, generator, seed, path, start, first, last, coarsen, saved, fine, z, out):
    """Row k of `out` <- the increments of step first + k; `start` is where the generator can begin."""
    n = out.shape[1]
    for step in range(start, last):
        draw_coarse(increment, generator, seed, load(path, 0), step, coarsen, saved, fine, z, n)
        if step >= first:
            for i in range(n):
                store(out[step - first], i, load(z, i))


def increments(
    seed: int,
    path: int,
    first: int,
    last: int,
    n: int,
    *,
    generator: Any = Block(),
    increment: Any = Gaussian(),
    coarsen: int = 1,
) -> np.ndarray:
    """The numbers that steps first, ..., last-1 of one path consume: an array (last - first, n).

    The very increments `simulate(..., seed=seed, coarsen=coarsen)` feeds to path number `path` when one step
    takes n of them.  Raises ValueError for a negative address or last < first.
    """
    for name, value in (("seed", seed), ("path", path), ("first", first), ("last", last), ("n", n)):
        checks.integer(name, value)
    checks.integer("coarsen", coarsen, least=1)
    if last < first:
        raise ValueError(f"`last` must not be below `first`: first={first}, last={last}")
    out = lane_array((last - first, n), 8)
    rows = n + 256
    start = restart.python(generator, first * coarsen) // coarsen
    address = lane_array(1, 8, "u8")
    float_rows(address)[:] = path
    _record(
        tag(increment, generator),
        increment,
        generator,
        W64(seed),
        address,
        start,
        first,
        last,
        coarsen,
        lane_array(SAVED, 8, "u8"),
        lane_array(rows, 8),
        lane_array(rows, 8),
        out,
    )
    return np.ascontiguousarray(float_rows(out)[:, :, 0])
