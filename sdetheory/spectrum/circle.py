"""The circle: any smooth loss of the angle, by Fourier modes, even and odd functions under x -> -x apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sdetheory import checks
from sdetheory.spectrum.factored import Inverse, Modes, slowest
from sdetheory.spectrum.resolution import band, centred, on_grid, sampled
from sdetheory.spectrum.result import Function, Spectrum


def circle(loss: Function | Sequence[Any], inverse_temperature: float, *, count: int = 12) -> Spectrum:
    """The `count` slowest rates of the direction (cos phi, sin phi) under isotropic noise at equilibrium, d = 2.

    rates/(lr wd) of f -> f'' - beta L' f'.  loss: a function of an array of angles, or a pair (cosines, sines) of
    Fourier coefficients, L = sum_k cosines[k] cos(k phi) + sines[k] sin(k phi), k = 0, 1, ...; in units of loss.
    inverse_temperature: beta, 1/loss.  Parities are separated where L(phi + pi) = L(phi).

    Raises ValueError for a loss that is not periodic and smooth, is too steep for double precision
    (beta (max L - min L) > 650), and for invalid numbers.
    """
    beta = checks.positive("inverse_temperature", inverse_temperature)
    count = checks.integer("count", count, least=1)
    energy = centred(beta * _coefficients(loss))
    degree = band(energy) + count + len(energy) + 8
    size = 4 * (degree + len(energy))
    separated = not np.abs(energy[1::2]).any()
    sectors = [_sector(energy, degree, size, parity, count) for parity in ((1, -1) if separated else (0,))]
    angles = 2 * np.pi * np.arange(size) / size
    root = np.exp(-on_grid(energy, size) / 2)
    return _merged(sectors, (1, -1) if separated else (0,), count, beta, angles, root)


def _merged(
    sectors: list[Modes], parities: tuple[int, ...], count: int, beta: float, angles: np.ndarray, root: np.ndarray
) -> Spectrum:
    """The slowest of all sectors."""
    values, errors = (np.concatenate([getattr(s, name) for s in sectors]) for name in ("values", "errors"))
    functions = np.concatenate([s.functions for s in sectors])
    labels = np.repeat(parities, [len(s.values) for s in sectors])
    order = np.argsort(values, kind="stable")[:count]
    weights = np.full(len(angles), 2 * np.pi / len(angles))
    root = root / np.sqrt(root**2 @ weights)
    return Spectrum(
        2, beta, values[order], errors[order], labels[order], angles, weights, root, functions[order]
    )  # fmt: skip


def _coefficients(loss: Any) -> np.ndarray:
    """Complex Fourier coefficients c_k, k >= 0, of L = Re sum_k c_k e^(i k phi)."""
    if callable(loss):
        return sampled(loss)
    if not hasattr(loss, "__len__") or len(loss) != 2:
        raise ValueError(f"`loss` must be a function or a pair (cosines, sines): loss={loss!r}")
    pair = [checks.finite("loss", part) for part in loss]
    if any(part.ndim != 1 for part in pair) or not max(part.size for part in pair):
        raise ValueError("`loss` must be a function or a pair (cosines, sines) of arrays (k,), not both empty")
    coefficients = np.zeros(max(part.size for part in pair), dtype=complex)
    coefficients[: pair[0].size] += pair[0]
    coefficients[: pair[1].size] -= 1j * pair[1]
    return coefficients


def _sector(energy: np.ndarray, degree: int, size: int, parity: int, count: int) -> Modes:
    """The slowest modes among functions of one parity; parity 0: all."""
    basis, slopes = _modes(degree, size, parity)
    step = np.sqrt(2 * np.pi / size)
    forward = step * (slopes + 0.5 * on_grid(energy, size, 1)[:, None] * basis)
    half = on_grid(energy, size) / 2
    ground, rising = (step * unit for unit in (np.exp(-half), np.exp(half)))
    if parity == -1:
        backward = _integrated(rising[:, None] * basis) * np.exp(-half)[:, None]
        return slowest(count, forward, basis, None, Inverse(backward, np.full(size, step), np.exp(np.ptp(half))))
    along = rising @ basis * step  # the constant flux: e^(U/2) on the basis
    across = basis - np.outer(basis @ along, along) / (along @ along)
    backward = _integrated(rising[:, None] * across) * np.exp(-half)[:, None]
    unit = ground / np.linalg.norm(ground)
    backward -= np.outer(unit, unit @ backward)
    return slowest(
        count, forward, basis, step * (ground @ basis), Inverse(backward, np.full(size, step), np.exp(np.ptp(half)))
    )


def _modes(degree: int, size: int, parity: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal cosines and sines up to `degree` at the angles, (size, n), and their derivatives."""
    degrees = np.arange(degree + 1)
    degrees = degrees if parity == 0 else degrees[degrees % 2 == (parity == -1)]
    turns = np.outer(2 * np.pi * np.arange(size) / size, degrees)
    unit = np.where(degrees == 0, np.sqrt(0.5), 1.0) / np.sqrt(np.pi)
    cosines, sines = unit * np.cos(turns), unit * np.sin(turns)
    moving = degrees > 0
    return (
        np.hstack([cosines, sines[:, moving]]),
        np.hstack([-degrees * sines, (degrees * cosines)[:, moving]]),
    )


def _integrated(values: np.ndarray) -> np.ndarray:
    """The antiderivative of mean zero of columns of mean zero."""
    transformed = np.fft.rfft(values, axis=0)
    frequencies = np.arange(len(transformed))
    transformed[1:] /= 1j * frequencies[1:, None]
    transformed[0] = 0
    return np.fft.irfft(transformed, len(values), axis=0)
