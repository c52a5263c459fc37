"""Local noise: the dependence of the residual starlight on the position behind the mask, from the references.

Behind a four-quadrant mask residual starlight is not the same along a ring: it is bright where light leaks through, and
faint elsewhere, by a factor of four at one separation. An image of two rolls alone has few places to tell it. The
references have seen the same places of the mask: each of them, reduced with the others as if it were the science star,
leaves a pattern of its own, and their mean power is a map of where residuals are strong. How far the science image
follows that map is told by its own residuals.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.measure.covariance import BoolArray, FloatArray, RadialNoise, radial_noise
from lyot.measure.noise import annulus_mean

SMOOTHING = 0.35
"""Standard deviation of the Gaussian over which the power of the references' residuals is averaged, resolution
elements."""

EXPONENTS = np.linspace(0.0, 1.0, 6)
"""How far the noise follows the map: not at all (0) to fully (1)."""

LIMITS = (0.25, 4.0)
"""Least and largest local noise over that of the ring."""

HALF_WIDTH = 0.5
"""Half-width of the annuli of the scatter, resolution elements."""

MEAN_HALF_WIDTH = 0.15
"""The same of the radial mean: narrow, as close to the star the mean changes within a resolution element. A ring of
light that was subtracted too much there would shift a source outward and make it fainter."""


def speckle_shape(speckles: NDArray[np.floating], center: tuple[float, float], fwhm: float) -> FloatArray:
    """Local scatter of residual starlight over that of its ring.

    Parameters
    ----------
    speckles : (n, ny, nx) float array
        Residuals of the references at the places of the science image, any unit; NaN where there are no data.
    center : (x, y)
        Position of the star, 0-based pixels.
    fwhm : float
        Resolution element, pixels.

    Returns
    -------
    (ny, nx) float64 ndarray
        Mean square 1 on each ring; 1 where nothing is known.
    """
    shape = (speckles.shape[1], speckles.shape[2])
    nowhere = np.zeros(shape, bool)
    power, seen = np.zeros(shape), np.zeros(shape)
    for image in speckles:
        mean = radial_noise(image, center, nowhere, width=HALF_WIDTH * fwhm).mean
        square = (image - mean) ** 2
        good = np.isfinite(square)
        power += np.where(good, square, 0.0)
        seen += good
    power, seen = (ndimage.gaussian_filter(a, SMOOTHING * fwhm) for a in (power, seen))
    with np.errstate(invalid="ignore", divide="ignore"):
        local = np.where(seen > 0.2, power / seen, np.nan)
        ratio = np.sqrt(local / annulus_mean(local, center, HALF_WIDTH * fwhm))
    return np.asarray(np.clip(np.where(np.isfinite(ratio), ratio, 1.0), *LIMITS))


def local_noise(
    residual: FloatArray,
    shape: FloatArray | None,
    center: tuple[float, float],
    near: BoolArray,
    fwhm: float,
    *,
    ring: BoolArray | None = None,
) -> RadialNoise:
    """Mean of the residuals against separation, and their scatter at each place.

    Parameters
    ----------
    residual : (ny, nx) float64 ndarray
        Image less the model of the known sources; NaN where there are no data.
    shape : (ny, nx) float64 ndarray or None
        See `speckle_shape`; without it the scatter is that of the ring.
    center : (x, y)
        Position of the star, 0-based pixels.
    near : (ny, nx) bool ndarray
        Pixels around the source, left out.
    fwhm : float
        Resolution element, pixels.
    ring : (ny, nx) bool ndarray, optional
        Pixels that tell how far the scatter follows the shape; by default all outside of `near`.

    Returns
    -------
    RadialNoise
        NaN where fewer than two resolution elements tell the scatter.
    """
    ringlike = radial_noise(residual, center, near, width=MEAN_HALF_WIDTH * fwhm)
    flat = residual - ringlike.mean
    width = HALF_WIDTH * fwhm
    plain = radial_noise(flat, center, near, width=width)
    element = np.pi / 4 * fwhm**2
    # pixels of one resolution element scatter less about their own mean than about the true one
    free = 1.0 - element / np.maximum(plain.count, 1.0)
    widen = np.where(free >= 0.5, 1.0 / np.sqrt(np.maximum(free, 0.5)), np.nan)
    sigma = plain.sigma
    if shape is not None:
        use = np.isfinite(flat) & ~near & np.isfinite(widen) & (True if ring is None else ring)

        def scatter(factor: FloatArray) -> FloatArray:
            return radial_noise(flat / factor, center, near, width=width).sigma * factor

        sigma = scatter(shape ** _exponent(flat, shape, use, element, scatter))
    return RadialNoise(ringlike.mean, sigma * widen, ringlike.count, ringlike.width)


def _exponent(
    flat: FloatArray,
    shape: FloatArray,
    use: BoolArray,
    element: float,
    scatter: Callable[[FloatArray], FloatArray],
) -> float:
    """How far the scatter follows the shape: mean over its posterior, from the pixels `use`, `element` for each."""
    evidence = []
    for exponent in EXPONENTS:
        sigma = scatter(shape**exponent)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.log(sigma) + 0.5 * (flat / sigma) ** 2
        evidence.append(-float(np.nansum(each[use])) / element)
    weight = np.exp(np.array(evidence) - max(evidence))
    return float(weight @ EXPONENTS / weight.sum())
