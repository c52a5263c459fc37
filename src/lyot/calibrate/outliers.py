"""Outliers of calibrated exposures that no flag names: pixels sharper than anything the telescope can image.

A telescope of diameter D passes no detail finer than lambda/D, and the coronagraphs sample that with 2.2 pixels or
more. Each pixel of an image can therefore be predicted from its 24 neighbors, whatever the scene is: a star behind a
mask, speckles, a planet of any brightness. What a cosmic ray or a hot pixel adds cannot. The prediction has the
weights of minimum mean square error for a scene whose spectrum is flat up to the cutoff.

Each integration is compared with the others of its exposure, and the mean of each exposure with those of the same star
(dithers, other rolls), which takes the star away and leaves the outliers of both; an outlier belongs to the exposure
in whose own image the pixel stands out as well. The mean by itself is looked at too, for a pixel that is bad in every
exposure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import j1

from lyot.calibrate.bad_pixels import MIN_INTEGRATIONS, BadPixelParams, Bool, Float, find_bad_pixels
from lyot.errors import InputError
from lyot.params import param
from lyot.stacks import nanmedian

HALF = 2
"""The prediction is from the pixels within this many rows and columns."""

NOISE_POWER = 0.01
"""Noise over signal power for which the prediction is made: more lets bright sources through (3 % of their peak at
0.01, 9 % at 0.1, 1 % at 0.001), less makes the prediction itself noisy."""

BLOCK = 8
"""Side of the blocks in which the scatter of the deviations is measured, pixels."""

MIN_NEIGHBORS = 14
"""Minimum number of the 24 neighbors that must have data."""

MIN_SAMPLING = 2.0
"""Minimum lambda/D in pixels: below, point sources are as sharp as outliers."""

ROUNDS = 6
"""Maximum number of passes; each finds one pixel of a group of neighboring ones."""


@dataclass(frozen=True)
class OutlierParams:
    """Thresholds of `find_outliers`."""

    threshold: float = param(
        6.0,
        help="minimum deviation of an outlier from its neighbors or in time; 0: off",
        unit="sigma",
        min=0,
    )
    sharpness: float = param(
        0.3,
        help="minimum ratio of the deviation of an outlier from its neighbors to the largest contrast among them; "
        "0.03 for a point source",
        min=0.1,
    )


def find_outliers(
    exposures: Sequence[NDArray[np.floating]],
    variances: Sequence[NDArray[np.floating]],
    resolution: float,
    params: OutlierParams | None = None,
    *,
    alike: bool = True,
) -> tuple[Bool, ...]:
    """Find unflagged outliers of exposures of one star.

    Parameters
    ----------
    exposures : sequence of (nints, ny, nx) float ndarray
        Calibrated integrations of each exposure, same unit, on the same detector pixels; NaN where known to be bad.
        Not changed.
    variances : sequence of (nints, ny, nx) float ndarray
        Their variances; NaN where unknown.
    resolution : float
        lambda/D for the full aperture, pixels: the cutoff of the telescope is its inverse.
    params : OutlierParams, optional
    alike : bool, optional
        Whether the exposures show the star at the same pixels, so that they can be compared with each other.

    Returns
    -------
    tuple of (nints, ny, nx) bool ndarray
        True for outliers, one array per exposure. Pixels that are NaN already are not reported.

    Raises
    ------
    InputError
        If shapes do not fit, or the sampling is too coarse.
    """
    p = params or OutlierParams()
    _check(exposures, variances, resolution, alike)
    if p.threshold == 0:
        return tuple(np.zeros(np.shape(e), bool) for e in exposures)
    cubes = [np.asarray(e, dtype=np.float64) for e in exposures]
    noise = [np.asarray(v, dtype=np.float64) for v in variances]
    single = [_of_integrations(c, v, resolution, p) for c, v in zip(cubes, noise, strict=True)]
    means = [_mean(np.where(s, np.nan, c), v) for c, v, s in zip(cubes, noise, single, strict=True)]
    always = _of_exposures([m[0] for m in means], [m[1] for m in means], resolution, p, alike=alike)
    return tuple((s | a) & np.isfinite(c) for s, a, c in zip(single, always, cubes, strict=True))


def _check(
    exposures: Sequence[NDArray[np.floating]], variances: Sequence[NDArray[np.floating]], resolution: float, alike: bool
) -> None:
    if len(exposures) != len(variances):
        raise InputError(f"expected one variance per exposure ({len(exposures)}), got {len(variances)}.")
    for e, v in zip(exposures, variances, strict=True):
        if np.ndim(e) != 3 or np.shape(e) != np.shape(v):
            raise InputError(f"expected integrations and variances (nints, ny, nx), got {np.shape(e)}, {np.shape(v)}.")
    if alike and len({np.shape(e)[1:] for e in exposures}) > 1:
        raise InputError("exposures to be compared must cover the same pixels.")
    if resolution < MIN_SAMPLING:
        raise InputError(
            f"outliers: lambda/D is {resolution:.2f} pixels; expected {MIN_SAMPLING} or more, as a point source is as "
            "sharp as an outlier otherwise."
        )


def _of_integrations(cube: Float, var: Float, resolution: float, p: OutlierParams) -> Bool:
    """Outliers of single integrations: in time where there are enough, else each against the mean of the others."""
    if len(cube) >= MIN_INTEGRATIONS:
        return find_bad_pixels(cube, var, BadPixelParams(time_threshold=p.threshold, space_threshold=0.0)).in_time
    found = np.zeros(cube.shape, bool)
    if len(cube) == 1:
        return found
    for _ in range(ROUNDS):
        clean = np.where(found, np.nan, cube)
        new = np.zeros(cube.shape, bool)
        for i in range(len(cube)):
            others, others_var = _mean(np.delete(clean, i, 0), np.delete(var, i, 0))
            new[i] = _sharp_in_difference(clean[i], var[i], others, others_var, resolution, p)
        if not new.any():
            break
        found |= new
    return found


def _of_exposures(
    images: Sequence[Float], variances: Sequence[Float], resolution: float, p: OutlierParams, *, alike: bool
) -> list[Bool]:
    """Outliers of the means of exposures: by themselves, and against those of the others."""
    found = [np.zeros(image.shape, bool) for image in images]
    for _ in range(ROUNDS):
        clean = [np.where(f, np.nan, image) for f, image in zip(found, images, strict=True)]
        new = [sharp_pixels(c, v, resolution, p) for c, v in zip(clean, variances, strict=True)]
        if alike and len(images) > 1:
            for e in range(len(images)):
                rest = np.stack([c for k, c in enumerate(clean) if k != e])
                rest_var = np.stack([v for k, v in enumerate(variances) if k != e])
                others, others_var = _typical(rest, rest_var)
                scale = _scale(clean[e], others)
                new[e] |= _sharp_in_difference(
                    clean[e], variances[e], scale * others, scale**2 * others_var, resolution, p
                )
        if not any(n.any() for n in new):
            break
        found = [f | n for f, n in zip(found, new, strict=True)]
    return found


def _sharp_in_difference(
    image: Float, var: Float, others: Float, others_var: Float, resolution: float, p: OutlierParams
) -> Bool:
    """Outliers of an image that stand out of its difference from others, and do so in the image itself."""
    difference = image - others
    candidates = sharp_pixels(difference, var + others_var, resolution, p)
    if not candidates.any():
        return candidates
    at = np.argwhere(candidates)
    own, _ = _deviations(image, resolution, at)
    both, _ = _deviations(difference, resolution, at)
    keep = own * np.sign(both) > 0.5 * np.abs(both)  # else the outlier is that of the others
    out = np.zeros(image.shape, bool)
    out[tuple(at[keep].T)] = True
    return out


def sharp_pixels(image: Float, variance: Float, resolution: float, params: OutlierParams) -> Bool:
    """Pixels that stand out of the prediction from their neighbors, the highest of each 3 x 3 only.

    Parameters
    ----------
    image, variance : (ny, nx) float64 ndarray
        NaN where bad.
    resolution : float
        lambda/D, pixels.
    params : OutlierParams

    Returns
    -------
    (ny, nx) bool ndarray
    """
    good = np.isfinite(image)
    if not good.any():
        return np.zeros(image.shape, bool)
    weights = _kernel(resolution)
    filled = _filled(image, good, weights)
    rough = np.where(good, filled - ndimage.convolve(filled, weights, mode="nearest"), 0.0)
    var = np.where(np.isfinite(variance), variance, 0.0)
    sigma = np.sqrt(var + ndimage.convolve(var, weights**2, mode="nearest"))
    scatter = 1.4826 * _local_median(np.abs(rough))  # the errors may be too small
    limit = params.threshold * np.maximum(sigma, scatter)
    top = np.abs(rough) >= ndimage.maximum_filter(np.abs(rough), size=3, mode="nearest")
    at = np.argwhere(good & top & (np.abs(rough) > 0.7 * limit) & (limit > 0))
    deviation, rival = _deviations(image, resolution, at)
    guard = max(params.sharpness, 3.0 * _leak(resolution))
    with np.errstate(invalid="ignore"):
        keep = (np.abs(deviation) > limit[tuple(at.T)]) & (np.abs(deviation) > guard * rival)
    out = np.zeros(image.shape, bool)
    out[tuple(at[keep].T)] = True
    return out


def _local_median(values: Float) -> Float:
    """Median in blocks of `BLOCK` pixels, at every pixel."""
    ny, nx = values.shape
    padded = np.pad(values, ((0, -ny % BLOCK), (0, -nx % BLOCK)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK)
    return np.repeat(np.repeat(np.asarray(np.median(blocks, axis=(1, 3)), np.float64), BLOCK, 0), BLOCK, 1)[:ny, :nx]


def _deviations(image: Float, resolution: float, at: NDArray[np.intp]) -> tuple[Float, Float]:
    """Deviation from the prediction by the neighbors with data, and their largest contrast, at some pixels: (n,) each.

    NaN where fewer than `MIN_NEIGHBORS` have data.
    """
    dy, dx = _neighbors()
    padded = np.pad(image, HALF, constant_values=np.nan)
    values = padded[at[:, :1] + dy + HALF, at[:, 1:] + dx + HALF]
    good = np.isfinite(values)
    enough = good.sum(axis=1) >= MIN_NEIGHBORS
    matrix, vector = _normal_equations(resolution)
    both = good[:, :, None] & good[:, None, :]
    system = np.where(both, matrix, 0.0) + np.where(good, 0.0, 1.0)[:, :, None] * np.eye(len(dy))
    weights = np.linalg.solve(system, np.where(good, vector, 0.0)[:, :, None])[:, :, 0]
    level = np.array([np.median(v[g]) if g.any() else np.nan for v, g in zip(values, good, strict=True)])
    offset = np.where(good, values - level[:, None], 0.0)
    deviation = image[tuple(at.T)] - level - np.sum(weights * offset, axis=1)
    return np.where(enough, deviation, np.nan), np.abs(offset).max(axis=1, initial=0.0)


def _neighbors() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Offsets (dy, dx) of the 24 neighbors."""
    dy, dx = (a.ravel() for a in np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1])
    other = (dy != 0) | (dx != 0)
    return dy[other], dx[other]


@lru_cache(maxsize=16)
def _normal_equations(resolution: float) -> tuple[Float, Float]:
    """Covariance of the neighbors with each other (noise included) and with the middle, for a flat spectrum."""
    dy, dx = _neighbors()

    def covariance(distance: Float) -> Float:
        k = np.maximum(2 * np.pi * distance / resolution, 1e-9)
        return np.asarray(2 * j1(k) / k)

    apart = np.hypot(dy[:, None] - dy, dx[:, None] - dx)
    return covariance(apart) + NOISE_POWER * np.eye(len(dy)), covariance(np.hypot(dy, dx))


@lru_cache(maxsize=16)
def _kernel(resolution: float) -> Float:
    """Weights of the neighbors as a 5 x 5 kernel (symmetric, 0 in the middle, sum 1: a constant is predicted)."""
    matrix, vector = _normal_equations(resolution)
    kernel = np.zeros((2 * HALF + 1,) * 2)
    dy, dx = _neighbors()
    kernel[dy + HALF, dx + HALF] = np.linalg.solve(matrix, vector)
    return np.asarray(kernel / kernel.sum())


@lru_cache(maxsize=16)
def _leak(resolution: float) -> float:
    """Largest deviation of a point source (Airy pattern) from its prediction, over its peak, at any sub-pixel phase."""
    grid = np.arange(-8, 9.0)
    worst = 0.0
    for phase in ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.25, 0.25)):
        r = np.maximum(np.hypot(grid[:, None] - phase[0], grid - phase[1]) * np.pi / resolution, 1e-9)
        image = (2 * j1(r) / r) ** 2
        deviation = image - ndimage.convolve(image, _kernel(resolution), mode="nearest")
        worst = max(worst, float(np.abs(deviation[3:-3, 3:-3]).max() / image.max()))
    return worst


def _filled(image: Float, good: Bool, weights: Float) -> Float:
    """The image with its gaps filled from the prediction, for a first look."""
    if good.all():
        return image
    filled = np.where(good, image, 0.0)
    positive = np.abs(weights)
    total = ndimage.convolve(good.astype(float), positive, mode="nearest")
    with np.errstate(invalid="ignore", divide="ignore"):
        around = ndimage.convolve(filled, positive, mode="nearest") / total
    return np.where(good, image, np.where(total > 0, around, 0.0))


def _mean(cube: Float, var: Float) -> tuple[Float, Float]:
    """Mean over integrations and its variance, NaN where none is good."""
    good = np.isfinite(cube)
    count = good.sum(axis=0)
    n = np.where(count > 0, count, 1)
    mean = np.where(count > 0, np.where(good, cube, 0.0).sum(axis=0) / n, np.nan)
    return mean, np.where(good, np.nan_to_num(var), 0.0).sum(axis=0) / n**2


def _typical(images: Float, variances: Float) -> tuple[Float, Float]:
    """Median of three images or more, mean of two, and about its variance."""
    mean, var = _mean(images, variances)
    if len(images) < 3:
        return mean, var
    padded = np.where(np.isfinite(images).any(axis=0), images, 0.0)
    return np.where(np.isfinite(mean), nanmedian(padded), np.nan), np.pi / 2 * var


def _scale(image: Float, others: Float) -> float:
    """Brightness relative to others: median ratio of the brightest pixels, which no outlier moves."""
    both = np.isfinite(image) & np.isfinite(others)
    if not both.any():
        return 1.0
    bright = both & (np.abs(others) >= np.quantile(np.abs(others[both]), 0.98)) & (others != 0)
    return float(np.median(image[bright] / others[bright])) if bright.any() else 1.0
