"""Significance of a source with the combined noise, for rings with too few apertures.

At 0.8 arcsec a ring has room for seven other apertures. Their scatter alone leaves a source of S/N 9 a false-alarm
probability of 1e-4 at its place, and of a half in the searched area. More is known: the references, each reduced as if
it were the science star, show how strong residual starlight is at every place behind the mask; and the apertures of
the neighboring rings, each over the scatter expected there, follow the same distribution as those of the ring. The
science image sets the scale of that map, from the apertures within `REACH` of the source's separation.

The ratio of the source's aperture to that noise follows Student's t, with the number of elements in the annulus
minus one as degrees of freedom, at most `MOST_FREEDOM`. This was calibrated on planet-free sequences of four settings
of the simulator (``benchmarks/measure_truth.py significance``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.geometry import radius_map
from lyot.last_results import LastResults
from lyot.measure.noise import (
    FloatArray,
    annulus_mean,
    annulus_sums,
    aperture_sums,
    ring_means,
    ring_statistics,
    t_to_gaussian,
)

REACH = 1.5
"""Half-width of the annulus that sets the scale of the noise, resolution elements."""

SMOOTHING = 0.5
"""Standard deviation of the Gaussian over which the references' power is averaged, resolution elements."""

RING_WEIGHT = 30.0
"""Weight of the ring's mean in the references' power, in reference exposures. Their pattern scatters by itself: with a
weight of 9 there are twice as many peaks beyond 4.5 sigmas in planet-free images as there should be."""

MOST_FREEDOM = 40.0
"""Maximum number of degrees of freedom: residual starlight has heavier tails than Gaussian noise. Without it there are
1.4 to 1.8 times as many peaks beyond 3 to 4 sigmas in planet-free images as there should be; with it, 0.7 to 1.0."""

APART = 1.5
"""Apertures nearer to the source are left out, resolution elements."""

MOST_SIGMAS = 37.0
"""Maximum of a significance: beyond, probabilities are smaller than numbers can be."""

MIN_ELEMENTS = 8.0
"""Minimum number of resolution elements in the annulus."""


@dataclass(frozen=True)
class Combined:
    """A source against the combined noise.

    Attributes
    ----------
    ratio : float
        Aperture over its noise; NaN where nothing can be said.
    elements : float
        Number of resolution elements that the scale of the noise comes from.
    significance : float
        The same as Gaussian sigmas.
    """

    ratio: float
    elements: float
    significance: float


def speckle_pattern(
    speckles: NDArray[np.floating] | None, center: tuple[float, float], fwhm: float
) -> FloatArray | None:
    """Expected variance of an aperture at each place over that of its ring, from the residuals of the references.

    Parameters
    ----------
    speckles : (n, ny, nx) float array or None
        Residuals of the references on the pixels of the science image, any unit; NaN where there are no data.
    center : (x, y)
        Position of the star, 0-based pixels.
    fwhm : float
        Diameter of the apertures, pixels.

    Returns
    -------
    (ny, nx) float64 ndarray or None
        About 1, and 1 where nothing is known; None without references. Read-only.
    """
    if speckles is None or not len(speckles):
        return None
    return _last_patterns.of((speckles, center, fwhm), lambda: _pattern(speckles, center, fwhm))


_last_patterns: LastResults[FloatArray] = LastResults(2)
"""Of the second pass, whose pattern the contrast curve asks for again, and of the search for sources between them."""


def _pattern(speckles: NDArray[np.floating], center: tuple[float, float], fwhm: float) -> FloatArray:
    """`speckle_pattern`, computed."""
    sums = np.stack([aperture_sums(np.asarray(s, dtype=float), fwhm) for s in speckles])
    offsets = sums - ring_means(sums, center, fwhm)
    good = np.isfinite(offsets)
    power = np.where(good, offsets, 0.0) ** 2
    total, seen = (ndimage.gaussian_filter(a, SMOOTHING * fwhm) for a in (power.sum(axis=0), good.sum(axis=0) * 1.0))
    n = len(speckles)
    with np.errstate(invalid="ignore", divide="ignore"):
        local = np.where(seen > 0.2 * n, total / seen, np.nan)
        relative = (n * local / _radial_power(np.sqrt(local), center, fwhm) + RING_WEIGHT) / (n + RING_WEIGHT)
    return np.where(np.isfinite(relative), relative, 1.0)


def _offsets(
    image: FloatArray,
    center: tuple[float, float],
    fwhm: float,
    exclude: NDArray[np.bool_],
    wanted: NDArray[np.bool_] | None = None,
) -> FloatArray:
    """Apertures minus the mean of their rings, NaN where excluded or not wanted (whole rings)."""
    sums = aperture_sums(image, fwhm)
    if wanted is not None:
        sums = np.where(wanted, sums, np.nan)
    mean = ring_statistics(sums, exclude, center, fwhm)[0]
    return np.where(exclude, np.nan, sums - mean)


def _radial_power(offsets: FloatArray, center: tuple[float, float], fwhm: float) -> FloatArray:
    """Mean square in annuli half a resolution element wide, at every pixel."""
    return annulus_mean(offsets**2, center, 0.5 * fwhm)


def combined_significance(
    image: FloatArray,
    pattern: FloatArray | None,
    signal: float,
    at: tuple[float, float],
    center: tuple[float, float],
    fwhm: float,
    *,
    exclude: NDArray[np.bool_] | None = None,
) -> Combined:
    """Significance of a source whose image has been subtracted from `image`.

    Parameters
    ----------
    image : (ny, nx) float64 ndarray
        Star-subtracted image without the source; NaN where there are no data.
    pattern : (ny, nx) float64 ndarray or None
        See `speckle_pattern`; None: the noise depends on separation alone.
    signal : float
        Aperture flux of the source above the mean of its ring, unit of the image times pixels.
    at, center : (x, y)
        Pixel of the source (rounded) and position of the star, 0-based.
    fwhm : float
        Diameter of the apertures, pixels.
    exclude : (ny, nx) bool ndarray, optional
        Pixels of other sources and of extended light.

    Returns
    -------
    Combined
        NaN where too few apertures are near.
    """
    nowhere = np.zeros(image.shape, bool) if exclude is None else exclude
    shape = (image.shape[0], image.shape[1])
    x, y = round(at[0]), round(at[1])
    radius = radius_map(shape, center)
    from_ring = np.abs(radius - radius[y, x])
    offsets = _offsets(image, center, fwhm, nowhere, from_ring <= (REACH + 0.5) * fwhm + 1)
    others = np.where(radius_map(shape, (x, y)) > APART * fwhm, offsets, np.nan)
    expected = _radial_power(others, center, fwhm) * (1.0 if pattern is None else pattern)
    use = (from_ring <= REACH * fwhm) & np.isfinite(others) & (expected > 0)
    elements = float(use.sum()) / (np.pi * fwhm**2 / 4)
    if elements < MIN_ELEMENTS or not expected[y, x] > 0:
        return Combined(np.nan, elements, np.nan)
    scale = np.mean(others[use] ** 2 / expected[use]) * expected[y, x] * (1.0 + 1.0 / elements)
    ratio = float(signal / np.sqrt(scale))
    significance = float(t_to_gaussian(np.array(ratio), np.array(min(elements - 1.0, MOST_FREEDOM))))
    return Combined(ratio, elements, float(np.clip(significance, -MOST_SIGMAS, MOST_SIGMAS)))


def combined_noise(
    image: FloatArray,
    pattern: FloatArray | None,
    center: tuple[float, float],
    fwhm: float,
    *,
    exclude: NDArray[np.bool_] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Noise that a source at each pixel would be compared with by `combined_significance`.

    Parameters
    ----------
    image, pattern, center, fwhm, exclude
        As for `combined_significance`; `image` without sources.

    Returns
    -------
    noise : (ny, nx) float64 ndarray
        Of an aperture, unit of the image times pixels; NaN where too few apertures are near.
    elements : (ny, nx) float64 ndarray
        Resolution elements of which Student's t has one degree of freedom less; 0 where the noise is NaN.
    """
    nowhere = np.zeros(image.shape, bool) if exclude is None else exclude
    offsets = _offsets(image, center, fwhm, nowhere)
    expected = _radial_power(offsets, center, fwhm) * (1.0 if pattern is None else pattern)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(expected > 0, offsets**2 / expected, np.nan)
    total, count = annulus_sums(relative, center, 2 * REACH * fwhm)
    elements = count / (np.pi * fwhm**2 / 4) - 4 * APART**2  # without those that the source covers
    enough = (elements >= MIN_ELEMENTS) & (expected > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = np.sqrt(total / count * expected * (1.0 + 1.0 / elements))
    return np.where(enough, noise, np.nan), np.where(enough, np.minimum(elements, MOST_FREEDOM + 1.0), 0.0)
