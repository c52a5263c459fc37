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

MAGNITUDE = 2.5 / np.log(10)
"""Magnitudes of a small relative change of flux, 1.0857."""


@dataclass(frozen=True)
class Bandpass:
    """Photon-counting transmission of a filter as a function of wavelength; only the shape matters.

    Attributes
    ----------
    wavelength : (n,) float64 ndarray
        um, increasing.
    transmission : (n,) float64 ndarray
        Photons counted per photon, any scale; not negative, 0 outside the table.
    """

    wavelength: FloatArray
    transmission: FloatArray

    def __post_init__(self) -> None:
        w, t = np.ravel(np.asarray(self.wavelength, float)), np.ravel(np.asarray(self.transmission, float))
        if len(w) != len(t) or len(w) < 2 or not (np.isfinite(w).all() and np.isfinite(t).all()):
            raise InputError("bandpass: expected two or more wavelengths [um], each with a finite transmission.")
        order = np.argsort(w)
        w, t = w[order], np.maximum(t[order], 0.0)
        if w[0] <= 0 or (np.diff(w) <= 0).any() or not t.any():
            raise InputError("bandpass: expected different positive wavelengths [um] and some transmission above 0.")
        object.__setattr__(self, "wavelength", w)
        object.__setattr__(self, "transmission", t)

    @classmethod
    def top_hat(cls, mean: float, width: float) -> Bandpass:
        """Constant between `mean` - `width`/2 and `mean` + `width`/2, um."""
        return cls(np.array([mean - width / 2, mean + width / 2]), np.ones(2))

    def support(self) -> tuple[float, float]:
        """Tabulated wavelengths around those whose transmission exceeds 1 % of the maximum, um."""
        w, t = self.wavelength, self.transmission
        high = np.flatnonzero(t >= 0.01 * t.max())
        return float(w[max(high[0] - 1, 0)]), float(w[min(high[-1] + 1, len(w) - 1)])

    def mean_flux(self, wavelength: ArrayLike, flux: ArrayLike) -> float:
        """Photon-weighted mean of a flux density over the band: int F T dl/l over int T dl/l.

        Parameters
        ----------
        wavelength : (n,) array_like
            um, any order.
        flux : (n,) array_like
            Flux density per unit frequency (Jy), interpolated as a power law between the points; those that are not
            positive and finite are left out.

        Raises
        ------
        InputError
            If it does not reach over the band (`support`).
        """
        w, f = np.ravel(np.asarray(wavelength, float)), np.ravel(np.asarray(flux, float))
        good = np.isfinite(w) & np.isfinite(f) & (w > 0) & (f > 0)
        order = np.argsort(w[good])
        w, f = w[good][order], f[good][order]
        low, high = self.support()
        if len(w) < 2 or w[0] > low or w[-1] < high:
            raise InputError(
                f"the star's spectral energy distribution must reach from {low:.3f} to {high:.3f} um; "
                f"it has {len(w)} usable points" + (f" from {w[0]:.3f} to {w[-1]:.3f} um." if len(w) else ".")
            )
        points = np.concatenate([w, self.wavelength])
        grid = np.unique(np.concatenate([np.linspace(low, high, 401), points[(points > low) & (points < high)]]))
        values = np.exp(np.interp(np.log(grid), np.log(w), np.log(f)))
        weight = np.interp(grid, self.wavelength, self.transmission) / grid
        return float(np.trapezoid(values * weight, grid) / np.trapezoid(weight, grid))


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

    Examples
    --------
    >>> from lyot.measure import Star
    >>> star = Star.from_magnitude(5.0, zero_point=3.5, error=0.02)
    >>> round(star.flux, 6), round(star.error / star.flux, 4)
    (0.035, 0.0184)
    """

    flux: float = float("nan")
    error: float = 0.0
    source: str = "not given"

    def __post_init__(self) -> None:
        if self.flux <= 0 or self.error < 0:
            raise InputError(f"star: expected a positive flux in Jy and an error, got {self.flux} and {self.error}.")

    @classmethod
    def from_magnitude(cls, magnitude: float, zero_point: float, error: float = 0.0) -> Star:
        """The star from its Vega magnitude in the filter.

        Parameters
        ----------
        magnitude : float
            Vega magnitude.
        zero_point : float
            Flux of magnitude 0, Jy.
        error : float, optional
            Error of the magnitude.

        Returns
        -------
        Star
        """
        flux = zero_point * 10 ** (-0.4 * magnitude)
        return cls(float(flux), float(flux * error / MAGNITUDE), f"magnitude {magnitude}")

    @classmethod
    def from_sed(
        cls, wavelength: ArrayLike, flux: ArrayLike, band: tuple[float, float] | Bandpass, error: float = 0.0
    ) -> Star:
        """The star from its spectral energy distribution: the photon-weighted mean over the band.

        Parameters
        ----------
        wavelength : (n,) array_like
            um, any order.
        flux : (n,) array_like
            Flux density, Jy.
        band : Bandpass or (mean, width)
            Of the filter; mean and width (um) stand for a top hat.
        error : float, optional
            Relative error of the distribution.

        Returns
        -------
        Star

        Raises
        ------
        InputError
            If the distribution does not reach over the band.

        Examples
        --------
        >>> from lyot.measure import Star
        >>> star = Star.from_sed([10.0, 15.0, 20.0], [2.0, 2.0, 2.0], band=(15.5, 0.9), error=0.05)
        >>> round(star.flux, 6), round(star.error, 6)
        (2.0, 0.1)
        """
        bandpass = band if isinstance(band, Bandpass) else Bandpass.top_hat(*band)
        mean = bandpass.mean_flux(wavelength, flux)
        return cls(mean, error * mean, "spectral energy distribution")


def contrast_of(flux: ArrayLike, star: Star) -> FloatArray:
    """Flux relative to the star; NaN if the stellar flux is unknown."""
    return np.asarray(np.asarray(flux, float) / star.flux)


def magnitude_of(flux: ArrayLike, zero_point: float) -> FloatArray:
    """Vega magnitude of a flux in Jy; NaN for fluxes that are not positive."""
    f = np.asarray(flux, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(f > 0, -2.5 * np.log10(np.where(f > 0, f, 1.0) / zero_point), np.nan))
