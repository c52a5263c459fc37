"""Extended emission in star-subtracted images: disks and other structures that are neither point sources nor noise.

A ring of apertures that crosses an edge-on disk has a scatter that is the disk's and not the noise's. Where the image
holds such structure, its pixels are left out of the noise, so that a source next to a disk is compared with the empty
part of its ring. Structure differs from point sources in its total light: the aperture holds a fifth or
more of a point source's light, its diffraction pattern behind the mask included, however bright it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.geometry import offset_grid, radius_map
from lyot.measure.noise import FloatArray, aperture_sums

LEVEL = 2.5
"""Aperture flux at which a pixel belongs to a structure, robust standard deviations of its ring."""

LIGHT = (3.5, 6.0)
"""Minimum light of a structure over that in its brightest aperture, for peaks of `BRIGHT` robust standard deviations.
A point source has 2.5, and up to 5 when the whole of its diffraction pattern next to a boundary of a four-quadrant mask
is above the noise."""

BRIGHT = (30.0, 300.0)
"""Peaks for which the limits hold, standard deviations; between them it rises with the logarithm."""

LENGTH = 3.0
"""Minimum extent of a structure, resolution elements."""

ELONGATION = 4.0
"""Minimum ratio of the extent along and across a line through the star of structures that are an edge-on disk."""

AXIS_WIDTH = 1.5
"""Half-width of the disk's axis, resolution elements."""

AXIS_LABEL = -1
"""What `ExtendedLight.holds` gives for pixels on the axis alone."""

LINE_LENGTH = 11
"""Length of a line through the star that may be an edge-on disk below the level of structures, resolution elements."""

LINE_LEVEL = 2.5
"""Median of the apertures on such a line, robust standard deviations. The highest of all lines through an image of
white noise with a radius of 6.6 arcsec was below 1.7 in 60 images."""

SOURCE_REACH = 2
"""Apertures on both sides of the highest that may hold light of the same point source."""

LINE_WIDTH = 0.75
"""Half-width of what is left out along such a line, resolution elements."""

LINE_START = 1.5
"""Distance from the star at which a line begins, resolution elements."""

LINE_GAP = 3.5
"""Largest distance from the star at which the high part of a line begins, resolution elements."""

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
    axis : (ny, nx) bool ndarray or None
        Pixels along the common axis of structures that lie on a line through the star: an edge-on disk goes on there,
        below the noise; None where there is no such line.
    """

    labels: NDArray[np.int32]
    count: int
    axis: NDArray[np.bool_] | None = None

    def holds(self, x: int, y: int) -> int:
        """Number of the structure that a peak may belong to: on it, or on the axis of an edge-on disk; 0: none."""
        label = int(self.labels[y, x])
        return AXIS_LABEL if not label and self.axis is not None and self.axis[y, x] else label

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels of any structure."""
        return self.labels > 0

    def fraction(self, image: FloatArray) -> float:
        """Part of the pixels with data that belong to a structure."""
        return float(self.mask[np.isfinite(image)].mean()) if np.isfinite(image).any() else 0.0


def extended_light(image: FloatArray, center: tuple[float, float], fwhm: float) -> ExtendedLight:
    """Find structures that are too large, and in total too bright, to be point sources.

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
        excess = sums - level
        with np.errstate(invalid="ignore"):
            high = excess > LEVEL * scatter
        found, n = _structures(image, excess, level, scatter, high, fwhm)
        same = np.array_equal(found > 0, labels > 0)
        labels, count = found, n
        if same or n == 0:
            break
    across = _across(labels > 0, image, center) if count else None
    if across is not None:
        both = _both_sides(labels > 0, across, center, fwhm)
        labels = np.where(both & (labels == 0), 1, labels).astype(np.int32)
        return ExtendedLight(labels, count, across <= AXIS_WIDTH * fwhm)
    if count == 0:
        level, scatter = _ring_level(sums, ring, labels == 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            line, along = _faint_line((sums - level) / scatter, center, fwhm)
        if line.any():
            return ExtendedLight(line.astype(np.int32), 1, along)
    return ExtendedLight(labels, count, None)


def _both_sides(
    mask: NDArray[np.bool_], across: FloatArray, center: tuple[float, float], fwhm: float
) -> NDArray[np.bool_]:
    """An edge-on disk as far out as its structures reach, on both sides of the star: one may be below their level."""
    radius = radius_map((mask.shape[0], mask.shape[1]), center)
    inside = (radius >= (LINE_START - 0.5) * fwhm) & (radius <= radius[mask].max())
    return np.asarray(inside & (across <= LINE_WIDTH * fwhm))


def _without_highest(values: FloatArray) -> float:
    """Median without the highest and its neighbors on both sides, which a point source on the line takes up."""
    highest = int(np.argmax(values))
    return float(np.median(np.delete(values, np.s_[max(highest - SOURCE_REACH, 0) : highest + SOURCE_REACH + 1])))


def _faint_line(
    sigmas: FloatArray, center: tuple[float, float], fwhm: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The part of a line through the star along which most apertures are high, and the whole of that line.

    An edge-on disk whose brightest aperture is hardly above the noise breaks up into clumps, each of which could be a
    point source; together, on one line with the star, they are not. A single source on the line does not raise the
    median.

    Parameters
    ----------
    sigmas : (ny, nx) float64 ndarray
        Aperture fluxes above the level of their ring, in its standard deviations.
    center : (x, y)
        Position of the star, 0-based pixels.
    fwhm : float
        Resolution element, pixels.

    Returns
    -------
    (ny, nx) bool ndarray, (ny, nx) bool ndarray
        Nothing where there is no such line.
    """
    shape = (sigmas.shape[0], sigmas.shape[1])
    reach = float(min(center[0], center[1], shape[1] - 1 - center[0], shape[0] - 1 - center[1]))
    one_side = np.arange(LINE_START, reach / fwhm) * fwhm
    along = np.concatenate([-one_side[::-1], one_side])
    windows = [slice(first, first + LINE_LENGTH) for first in range(len(along) - LINE_LENGTH + 1)]
    # a disk of the star does not begin far out
    windows = [part for part in windows if np.abs(along[part]).min() <= LINE_GAP * fwhm]
    best = (LINE_LEVEL, 0.0, 0.0, 0.0)
    for angle in np.arange(0.0, np.pi, 0.5 * fwhm / max(reach, fwhm)):
        x, y = center[0] + along * np.cos(angle), center[1] + along * np.sin(angle)
        values = ndimage.map_coordinates(sigmas, [y, x], order=0, cval=np.nan)
        for part in windows:
            if np.isfinite(values[part]).all() and (typical := _without_highest(values[part])) > best[0]:
                best = (typical, angle, along[part][0], along[part][-1])
    dx, dy = offset_grid(shape, center)
    if best[0] <= LINE_LEVEL:
        return np.zeros(shape, bool), np.zeros(shape, bool)
    _, angle, start, end = best
    position, across = dx * np.cos(angle) + dy * np.sin(angle), np.abs(-dx * np.sin(angle) + dy * np.cos(angle))
    inside = (across <= LINE_WIDTH * fwhm) & (position >= start - 0.5 * fwhm) & (position <= end + 0.5 * fwhm)
    return inside & (np.hypot(dx, dy) >= (LINE_START - 0.5) * fwhm), across <= AXIS_WIDTH * fwhm


def _across(mask: NDArray[np.bool_], image: FloatArray, center: tuple[float, float]) -> FloatArray | None:
    """Distance from the line through the star that all structures lie on, pixels; None if they do not."""
    dx, dy = offset_grid((image.shape[0], image.shape[1]), center)
    light = np.where(mask & np.isfinite(image), np.maximum(image, 0.0), 0.0) / np.maximum(np.hypot(dx, dy), 1.0)
    if light.sum() <= 0:
        return None
    moments = np.array([[np.sum(light * dx * dx), np.sum(light * dx * dy)], [0.0, np.sum(light * dy * dy)]])
    moments[1, 0] = moments[0, 1]
    values, vectors = np.linalg.eigh(moments / light.sum())
    if values[1] < ELONGATION**2 * values[0]:
        return None
    return np.asarray(np.abs(dx * vectors[0, 0] + dy * vectors[1, 0]))


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
    image: FloatArray, excess: FloatArray, level: FloatArray, scatter: FloatArray, high: NDArray[np.bool_], fwhm: float
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
    with np.errstate(invalid="ignore", divide="ignore"):
        sigmas = ndimage.maximum(np.where(high, excess / scatter, 0.0), regions, np.arange(1, n + 1))
    limit = np.interp(np.log(np.maximum(sigmas, 1.0)), np.log(BRIGHT), LIGHT)
    for index in np.flatnonzero(total > limit * peak):
        region = regions == index + 1
        rows, columns = np.nonzero(region)
        if np.hypot(np.ptp(rows), np.ptp(columns)) < LENGTH * fwhm:
            continue
        count += 1
        out[region] = count
    return out, count
