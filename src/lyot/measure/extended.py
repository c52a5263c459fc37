"""Extended light in star-subtracted images: disks and other structure that is no point source and no noise.

A ring of apertures that crosses an edge-on disk has a scatter that is the disk's and not the noise's. Where the image
holds such structure, its pixels are left out of the noise, so that a source next to a disk is compared with the empty
part of its ring. Structure is told from point sources by how much light it has in all: the aperture holds a fifth or
more of a point source's light, its diffraction pattern behind the mask included, however bright it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.geometry import radius_map
from lyot.measure.noise import FloatArray, aperture_sums

LEVEL = 3.0
"""Aperture flux at which a pixel belongs to a structure, robust standard deviations of its ring."""

LIGHT = 6.0
"""Minimum light of a structure over that in its brightest aperture. A point source has 2.5, and up to 5 when its
whole diffraction pattern next to a boundary of a four-quadrant mask is above the noise."""

LENGTH = 3.0
"""Minimum extent of a structure, resolution elements."""

ROUNDS = 3
"""Passes: the ring's own scatter is known better once the structure is left out."""

SMALLEST_RING = 40
"""Minimum number of pixels of a ring whose scatter is used."""


@dataclass(frozen=True)
class ExtendedLight:
    """Structure found in an image.

    Attributes
    ----------
    labels : (ny, nx) int32 ndarray
        Number of the structure at each pixel, from 1; 0 outside of all.
    count : int
    """

    labels: NDArray[np.int32]
    count: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels of any structure."""
        return self.labels > 0

    def fraction(self, image: FloatArray) -> float:
        """Part of the pixels with data that belong to a structure."""
        return float(self.mask[np.isfinite(image)].mean()) if np.isfinite(image).any() else 0.0


def extended_light(image: FloatArray, center: tuple[float, float], fwhm: float) -> ExtendedLight:
    """Find structures that are too large and too bright in all to be point sources.

    Parameters
    ----------
    image : (ny, nx) float64 ndarray
        Star-subtracted image; NaN where there are no data.
    center : (x, y)
        Position of the star, 0-based pixels.
    fwhm : float
        Resolution element, pixels.

    Returns
    -------
    ExtendedLight
        Nothing where the image has noise and point sources alone.
    """
    sums = aperture_sums(image, fwhm)
    ring = np.rint(radius_map((image.shape[0], image.shape[1]), center) / (0.5 * fwhm)).astype(int)
    labels, count = np.zeros(image.shape, np.int32), 0
    for _ in range(ROUNDS):
        level, scatter = _ring_level(sums, ring, labels == 0)
        with np.errstate(invalid="ignore"):
            high = (sums - level) > LEVEL * scatter
        found, n = _structures(image, sums - level, level, high, fwhm)
        same = np.array_equal(found > 0, labels > 0)
        labels, count = found, n
        if same or n == 0:
            break
    return ExtendedLight(labels, count)


def _ring_level(sums: FloatArray, ring: NDArray[np.intp], use: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Median and robust standard deviation of the apertures of each ring, at every pixel."""
    n = int(ring.max()) + 1
    level, scatter = np.full(n, np.nan), np.full(n, np.nan)
    good = np.isfinite(sums) & use
    order = np.argsort(ring[good], kind="stable")
    edges = np.searchsorted(ring[good][order], np.arange(n + 1))
    values = sums[good][order]
    for k in range(n):
        part = values[edges[max(k - 1, 0)] : edges[min(k + 2, n)]]  # with the rings on both sides
        if len(part) >= SMALLEST_RING:
            level[k] = np.median(part)
            scatter[k] = 1.4826 * np.median(np.abs(part - level[k]))
    return level[ring], scatter[ring]


def _structures(
    image: FloatArray, excess: FloatArray, level: FloatArray, high: NDArray[np.bool_], fwhm: float
) -> tuple[NDArray[np.int32], int]:
    """Connected regions of high apertures that hold more light than a point source of their peak could."""
    regions, n = ndimage.label(high, structure=np.ones((3, 3)))
    out, count = np.zeros(image.shape, np.int32), 0
    if n == 0:
        return out, 0
    area = np.pi * fwhm**2 / 4
    light = np.where(np.isfinite(image), image, 0.0) - np.nan_to_num(level) / area
    total = ndimage.sum_labels(light, regions, np.arange(1, n + 1))
    peak = ndimage.maximum(np.where(high, excess, -np.inf), regions, np.arange(1, n + 1))
    for index in np.flatnonzero(total > LIGHT * peak):
        region = regions == index + 1
        rows, columns = np.nonzero(region)
        if np.hypot(np.ptp(rows), np.ptp(columns)) < LENGTH * fwhm:
            continue
        count += 1
        out[region] = count
    return out, count
