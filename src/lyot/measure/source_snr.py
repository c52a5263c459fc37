"""Significance of one source, its own image taken out of the noise that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.measure.noise import MIN_ELEMENTS, FloatArray, aperture_sums, gaussian_significance


@dataclass(frozen=True)
class SourceSnr:
    """A source against the noise of the other apertures on its ring, its own image taken out of them.

    Attributes
    ----------
    signal, noise : float
        Aperture flux and its noise, unit of the image times pixels; NaN where nothing can be said.
    elements : int
        Number of other apertures.
    scale : float
        Factor on the model that gives the signal.
    """

    signal: float
    noise: float
    elements: int
    scale: float

    @property
    def snr(self) -> float:
        """Corrected for few samples (Mawet et al. 2014)."""
        return self.signal / self.noise

    @property
    def significance(self) -> float:
        """The same as Gaussian sigmas."""
        return float(gaussian_significance(np.array(self.snr), np.array(self.elements)))


def source_snr(
    image: FloatArray,
    model: FloatArray,
    at: tuple[float, float],
    center: tuple[float, float],
    fwhm: float,
    *,
    exclude: NDArray[np.bool_] | None = None,
) -> SourceSnr:
    """S/N of a source at a pixel, as `snr_map` but for the source's own image: that is taken out of the noise.

    Close to the star a source must be many times the noise to be significant, and then its wings, left in the few other
    apertures of its ring, would count as noise.

    Parameters
    ----------
    image : (ny, nx) float64 ndarray
        NaN where there are no data.
    model : (ny, nx) float64 ndarray
        Image of the source, any flux; NaN where there are no data.
    at, center : (x, y)
        Pixel of the source (rounded) and position of the star, 0-based.
    fwhm : float
        Diameter of the apertures, pixels.
    exclude : (ny, nx) bool ndarray, optional
        As for `snr_map`.
    """
    x, y = round(at[0]), round(at[1])
    rows, columns = ring_apertures((x, y), center, fwhm, (image.shape[0], image.shape[1]))
    sums, unit = aperture_sums(image, fwhm), aperture_sums(model, fwhm)
    use = np.isfinite(sums[rows, columns]) & np.isfinite(unit[rows, columns])
    if exclude is not None:
        use &= ~exclude[rows, columns]
    others, own = sums[rows, columns][use], unit[rows, columns][use]
    n = int(use.sum())
    if n < MIN_ELEMENTS:
        return SourceSnr(np.nan, np.nan, n, np.nan)
    scale = (sums[y, x] - others.mean()) / (unit[y, x] - own.mean())
    noise = float((others - scale * own).std(ddof=1) * np.sqrt(1 + 1 / n))
    return SourceSnr(float(scale * unit[y, x]), noise if noise > 0 else np.nan, n, float(scale))


def ring_apertures(
    at: tuple[int, int], center: tuple[float, float], fwhm: float, shape: tuple[int, int], *, guard: int = 1
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the other apertures on the ring through a pixel (x, y), as `snr_map` places them."""
    dx, dy = at[0] - center[0], at[1] - center[1]
    r = float(np.hypot(dx, dy))
    n = int(2 * np.pi * r / fwhm)
    theta = np.arctan2(dy, dx) + 2 * np.pi * np.arange(1 + guard, max(n - guard, 1 + guard)) / max(n, 1)
    columns = np.rint(center[0] + r * np.cos(theta)).astype(np.intp)
    rows = np.rint(center[1] + r * np.sin(theta)).astype(np.intp)
    inside = (rows >= 0) & (columns >= 0) & (rows < shape[0]) & (columns < shape[1])
    return rows[inside], columns[inside]
