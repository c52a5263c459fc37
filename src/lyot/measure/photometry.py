"""Fluxes, contrasts and magnitudes of one filter.

Fluxes are flux densities in Jy at the filter's mean wavelength; magnitudes are Vega magnitudes with the zero point of
the instrument table. Contrast is a flux over the star's flux in the same filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lyot.errors import InputError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Star:
    """Flux of the star in the filter.

    Attributes
    ----------
    flux : float
        Jy, before the coronagraph; NaN if it is not known: contrasts are then NaN.
    error : float
        Jy.
    source : str
        Where it comes from.
    """

    flux: float = float("nan")
    error: float = 0.0
    source: str = "not given"

    def __post_init__(self) -> None:
        if self.flux <= 0 or self.error < 0:
            raise InputError(f"star: expected a positive flux in Jy and an error, got {self.flux} +- {self.error}.")

    @classmethod
    def from_magnitude(cls, magnitude: float, zero_point: float, error: float = 0.0) -> Star:
        """From a Vega magnitude in the filter; `zero_point` is the flux of magnitude 0, Jy."""
        flux = zero_point * 10 ** (-0.4 * magnitude)
        return cls(float(flux), float(flux * error * np.log(10) / 2.5), f"magnitude {magnitude}")

    @classmethod
    def from_sed(cls, wavelength: ArrayLike, flux: ArrayLike, band: tuple[float, float], error: float = 0.0) -> Star:
        """From a spectral energy distribution: its photon-weighted mean over a top-hat band.

        Parameters
        ----------
        wavelength : (n,) array_like
            um, any order.
        flux : (n,) array_like
            Flux density, Jy.
        band : (mean, width)
            Of the filter, um.
        error : float, optional
            Relative error of the distribution.

        Raises
        ------
        InputError
            If the distribution does not reach over the band.
        """
        w, f = np.ravel(np.asarray(wavelength, float)), np.ravel(np.asarray(flux, float))
        good = np.isfinite(w) & np.isfinite(f) & (w > 0) & (f > 0)
        order = np.argsort(w[good])
        w, f = w[good][order], f[good][order]
        low, high = band[0] - band[1] / 2, band[0] + band[1] / 2
        if len(w) < 2 or w[0] > low or w[-1] < high:
            raise InputError(
                f"the star's spectral energy distribution must reach from {low:.3f} to {high:.3f} um; "
                f"it has {len(w)} usable points" + (f" from {w[0]:.3f} to {w[-1]:.3f} um." if len(w) else ".")
            )
        grid = np.linspace(low, high, 201)
        values = np.exp(np.interp(np.log(grid), np.log(w), np.log(f)))
        mean = float(np.sum(values / grid) / np.sum(1 / grid))  # photons per unit wavelength go as F_nu / wavelength
        return cls(mean, error * mean, "spectral energy distribution")


def contrast_of(flux: ArrayLike, star: Star) -> FloatArray:
    """Flux over the star's; NaN where the star's flux is not known."""
    return np.asarray(np.asarray(flux, float) / star.flux)


def magnitude_of(flux: ArrayLike, zero_point: float) -> FloatArray:
    """Vega magnitude of a flux in Jy; NaN for fluxes that are not positive."""
    f = np.asarray(flux, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(f > 0, -2.5 * np.log10(np.where(f > 0, f, 1.0) / zero_point), np.nan))
