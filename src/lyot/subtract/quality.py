"""Integrations that should not be used: without their star, or with most of their pixels flagged; and missing errors.

What is looked at is one exposure: its integrations show the same star, so that each can be compared with the others.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.stacks import nanmedian
from lyot.subtract.sequence import BoolArray, FloatArray

LOST = 0.5
"""An integration with less than this of the star's light, relative to the others of its exposure, has lost it."""

SEEN = 10.0
"""Least correlation of an integration with the others for which it is compared, standard deviations: its brightness is
then known to a tenth, and `LOST` is five standard deviations off."""

UNEVEN = 0.2
"""An integration with this much more of its pixels flagged than is usual in its exposure is reported."""

MOSTLY = 0.5
"""An integration with this much more of its pixels flagged than is usual is left out."""

CHI2_MEDIAN = 0.4549364
"""Median of the square of a standard normal variable."""


@dataclass(frozen=True)
class IntegrationQuality:
    """What the integrations of an exposure are like.

    Attributes
    ----------
    brightness : (nints,) float64 ndarray
        Light of the star relative to the median of the exposure; NaN where it cannot be told.
    flagged : (nints,) float64 ndarray
        Fraction of the field's pixels that are not usable.
    starless, masked : (nints,) bool ndarray
        Integrations that lost the star; that are mostly masked, unlike the others.
    uneven : (nints,) bool ndarray
        Integrations with many more masked pixels than the others, those that are mostly masked included.
    """

    brightness: FloatArray
    flagged: FloatArray
    starless: BoolArray
    masked: BoolArray
    uneven: BoolArray

    @property
    def use(self) -> BoolArray:
        """Integrations that are used: (nints,)."""
        return ~(self.starless | self.masked)


def judge_integrations(
    data: NDArray[np.floating], near: BoolArray, variance: NDArray[np.floating] | None = None
) -> IntegrationQuality:
    """Find integrations that lost the star or most of their pixels.

    At least half of the integrations stay; with one integration nothing is judged.

    Parameters
    ----------
    data : (nints, ny, nx) float ndarray
        Integrations of one exposure, NaN where bad. Not changed.
    near : (ny, nx) bool ndarray
        Pixels in which the star is bright.
    variance : (nints, ny, nx) float ndarray, optional
        Variance of `data`; two integrations are compared only with it.
    """
    n = len(data)
    field = np.isfinite(data).any(axis=0)
    flagged = 1.0 - np.isfinite(data)[:, field].mean(axis=1) if field.any() else np.ones(n)
    excess = flagged - np.median(flagged) if n > 2 else flagged - flagged.min()
    masked = excess > MOSTLY
    if 2 * int(masked.sum()) > n:
        masked = np.zeros(n, bool)
    brightness = relative_brightness(data[:, near], None if variance is None else variance[:, near])
    with np.errstate(invalid="ignore"):
        starless = (brightness < LOST) & ~masked
    if 2 * int((starless | masked).sum()) > n:
        starless = np.zeros(n, bool)
    return IntegrationQuality(brightness, flagged, starless, masked, excess > UNEVEN)


def relative_brightness(pixels: NDArray[np.floating], variance: NDArray[np.floating] | None = None) -> FloatArray:
    """Light of the star in each integration relative to the others.

    Parameters
    ----------
    pixels : (nints, npixels) float ndarray
        Pixels about the star, NaN where bad.
    variance : (nints, npixels) float ndarray, optional

    Returns
    -------
    (nints,) float64 ndarray
        NaN where the integrations do not show a star in common, or there is no other.
    """
    n = len(pixels)
    unknown = np.full(n, np.nan)
    if n < 2 or pixels.shape[1] < 20:
        return unknown
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels that are bad in all integrations
        cube = np.asarray(pixels, dtype=np.float64)
        cube = cube - nanmedian(cube.T)[:, None]
        if n == 2:
            return _of_two(cube, variance)
        others = list(_medians_of_others(cube))
        seen = [_significance(frame, template) for frame, template in zip(cube, others, strict=True)]
        if not np.nanmedian(seen) > SEEN:
            return unknown
    found = np.array([_projection(frame, template) for frame, template in zip(cube, others, strict=True)])
    return found / np.nanmedian(found) if np.isfinite(found).any() else unknown


def _medians_of_others(cube: FloatArray) -> FloatArray:
    """Median of all frames but one, for each of them: (n, npixels), from one sorting; NaN where no other is good.

    The values of the others are all that are sorted but the frame's own, so that those from its place on move up.
    """
    frames = np.moveaxis(cube, 0, -1)
    order = np.argsort(frames, axis=-1)
    values = np.take_along_axis(frames, order, axis=-1)  # NaN last
    place = np.argsort(order, axis=-1)
    count = np.count_nonzero(values == values, axis=-1, keepdims=True) - (frames == frames)
    last = frames.shape[-1] - 1
    halves = []
    for index in (np.maximum(count - 1, 0) // 2, count // 2):
        halves.append(np.take_along_axis(values, np.minimum(index + (index >= place), last), axis=-1))
    middle = np.where(count > 0, (halves[0] + halves[1]) / 2, np.nan)
    return np.moveaxis(middle, -1, 0)


def _of_two(cube: FloatArray, variance: NDArray[np.floating] | None) -> FloatArray:
    """Relative brightness of two integrations from the power above their noise."""
    if variance is None:
        return np.full(2, np.nan)
    good = np.isfinite(cube) & np.isfinite(variance)
    noise = np.array([float(np.asarray(v, dtype=np.float64)[g].sum()) for v, g in zip(variance, good, strict=True)])
    power = np.array([float(np.sum(c[g] ** 2)) for c, g in zip(cube, good, strict=True)]) - noise
    if not power.max() > noise[np.argmax(power)]:
        return np.full(2, np.nan)
    return np.sqrt(np.maximum(power, 0.0) / power.max())


def _significance(a: FloatArray, b: FloatArray) -> float:
    """Correlation of two images over that of independent noise: standard deviations."""
    good = np.isfinite(a) & np.isfinite(b)
    if good.sum() < 20 or a[good].std() == 0 or b[good].std() == 0:
        return float("nan")
    return float(np.corrcoef(a[good], b[good])[0, 1] * np.sqrt(good.sum()))


def _projection(frame: FloatArray, template: FloatArray) -> float:
    good = np.isfinite(frame) & np.isfinite(template)
    power = float(np.sum(template[good] ** 2))
    return float(np.sum(frame[good] * template[good])) / power if power > 0 and good.sum() >= 20 else float("nan")


def estimate_variance(data: NDArray[np.floating], *, block: int = 9) -> FloatArray:
    """Variance of each integration where a file has no errors: from the scatter of the integrations, or of neighbors.

    With two integrations or more, the sample variance of each pixel, its mean within `block` pixels. With one, the
    difference between each pixel and the mean of its two neighbors along x, whose square has 1.5 times the variance of
    a pixel: the median within `block` pixels, so that sources hardly count.

    Parameters
    ----------
    data : (nints, ny, nx) float ndarray
        Integrations, NaN where bad.
    block : int, optional
        Side of the square over which the estimate is smoothed, pixels.

    Returns
    -------
    (nints, ny, nx) float64 ndarray
        NaN where `data` is NaN or nothing is known.
    """
    cube = np.asarray(data, dtype=np.float64)
    good = np.isfinite(cube)
    if len(cube) > 1:
        count = good.sum(axis=0)
        mean = np.where(good, cube, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = np.where(good, cube - mean, 0.0) ** 2
        total = ndimage.uniform_filter(squares.sum(axis=0), block, mode="constant")
        freedom = ndimage.uniform_filter(np.maximum(count - 1, 0).astype(float), block, mode="constant")
        image = np.where(freedom > 1e-9, total / np.maximum(freedom, 1e-9), np.nan)
    else:
        image = _from_neighbors(cube[0], block)
    return np.where(good & (image > 0), image, np.nan)


def _from_neighbors(image: FloatArray, block: int) -> FloatArray:
    difference = np.full(image.shape, np.nan)
    difference[:, 1:-1] = image[:, 1:-1] - 0.5 * (image[:, :-2] + image[:, 2:])
    squares = difference**2 / 1.5
    known = np.isfinite(squares)
    if not known.any():
        return np.full(image.shape, np.nan)
    index = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = squares[index[0], index[1]]
    return np.asarray(ndimage.median_filter(filled, block, mode="nearest") / CHI2_MEDIAN)
