"""Spectrum of the direction's generator at equilibrium: relaxation rates, mixing gaps, stationary density.

At equilibrium under isotropic noise gamma is constant, and the direction x = W/|W| is a diffusion on the sphere,

    generator/(lr wd) = (Laplace-Beltrami - beta <grad L, grad>)/(d - 1),      stationary density ~ exp(-beta L),

so that in units of lr wd its rates depend on the loss through beta L alone; beta is the prediction
`intrinsic_lr.inverse_temperature(lr=, weight_decay=, dimension=, noise=)`.  `circle` solves d = 2 for any smooth
loss, `zonal` any d for a loss of one coordinate, sector by sector.
"""

from sdetheory.spectrum.circle import circle
from sdetheory.spectrum.result import Spectrum
from sdetheory.spectrum.zonal import zonal

__all__ = ["Spectrum", "circle", "zonal"]
