"""Combination of background exposures: means, clipping, variance, and sources present in only one of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.stats import sigma_clip
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, median_filter, zoom

from lyot.params import param
from lyot.stacks import joint_nanmean, nanmean, nanmedian

Float = NDArray[np.float64]

_ROWS = 32
"""Rows of pixels that are clipped at a time."""

METHODS = ("clipped_mean", "mean", "median", "scaled", "scaled_glow", "pca", "integration_matched")


@dataclass(frozen=True)
class BackgroundParams:
    """Parameters of `subtract_background`.

    Examples
    --------
    >>> BackgroundParams(method="scaled_glow").exclusion_radius > 0
    True
    """

    method: str = param("clipped_mean", help="method of the background estimate", choices=METHODS)
    sigma: float = param(3.0, help="threshold of sigma clipping of integrations and fits", unit="sigma", min=0.5)
    maxiters: int | None = param(None, help="number of clipping iterations; none: until convergence", min=1)
    first_integration: str = param(
        "auto",
        help="background of the first science integration: same (as for the others), matched (first background "
        "integrations), or auto (matched if the first background integrations differ)",
        choices=("auto", "matched", "same"),
    )
    components: int = param(3, help="number of principal components (method pca)", min=1, max=50)
    fit_offset: bool = param(
        True, help="fit a constant together with the scale or the components (methods scaled and pca)"
    )
    exclusion_radius: float = param(
        4.0, help="radius around the star excluded from fits (methods scaled and pca)", unit="arcsec", min=0.0
    )
    reject_sources: bool = param(
        True, help="replace stars and ghosts in one background exposure by the values of the other exposures"
    )


@dataclass(frozen=True)
class BackgroundExposure:
    """One background exposure.

    Attributes
    ----------
    data : (nints, ny, nx) float ndarray
        Integrations, in the unit and on the pixels of the science; NaN where bad.
    variance : (nints, ny, nx) float ndarray or None
        Variance of `data`; None lets the scatter of the integrations speak.
    numbers : tuple of int or None
        Numbers of the integrations within the exposure, from 1, ascending; None: 1 to nints.

    Examples
    --------
    >>> import numpy as np
    >>> exposure = BackgroundExposure(np.zeros((3, 4, 4)))
    >>> exposure.integrations, exposure.part(1, None).integrations
    ((1, 2, 3), (2, 3))
    """

    data: NDArray[np.floating]
    variance: NDArray[np.floating] | None = None
    numbers: tuple[int, ...] | None = None

    @property
    def integrations(self) -> tuple[int, ...]:
        """Numbers of the integrations within the exposure, from 1."""
        return tuple(range(1, self.data.shape[0] + 1)) if self.numbers is None else self.numbers

    @property
    def has_first(self) -> bool:
        """Whether the first integration of the exposure is here."""
        return self.integrations[:1] == (1,)

    def part(self, start: int, stop: int | None) -> BackgroundExposure:
        """Some of the integrations, which keep their numbers.

        Parameters
        ----------
        start : int
            Index of the first along the first axis of `data`, from 0.
        stop : int or None
            Index after the last; None for all that follow.

        Returns
        -------
        BackgroundExposure
            Views of the arrays, not copies.
        """
        variance = None if self.variance is None else self.variance[start:stop]
        return BackgroundExposure(self.data[start:stop], variance, self.integrations[start:stop])


def clipped_mean(
    data: NDArray[np.floating], *, sigma: float = 3.0, maxiters: int | None = None
) -> tuple[Float, NDArray[np.int64]]:
    """Sigma-clipped mean along the first axis, about the median, as the official pipeline has it.

    Parameters
    ----------
    data : (n, ny, nx) float ndarray
        Values; NaN is left out.
    sigma : float
        Clipping threshold, standard deviations.
    maxiters : int, optional
        Largest number of iterations; until convergence by default.

    Returns
    -------
    mean : (ny, nx) float64 ndarray
        NaN where nothing is left.
    count : (ny, nx) int ndarray
        Values kept.
    """
    mean, count = np.empty(data.shape[1:]), np.empty(data.shape[1:], np.int64)
    for start in range(0, data.shape[1], _ROWS):  # pixels do not depend on each other: copies of a part are smaller
        rows = slice(start, start + _ROWS)
        values = np.asarray(data[:, rows], np.float64)
        finite = np.where(np.isfinite(values), values, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy warns of NaN in the input and of empty slices: both are meant
            kept = sigma_clip(finite, sigma=sigma, maxiters=maxiters, axis=0, masked=False)
        mean[rows], count[rows] = nanmean(kept), np.isfinite(kept).sum(axis=0)
    return mean, count


def scatter_variance(exposures: Sequence[BackgroundExposure]) -> Float:
    """Variance of a single integration from the scatter of the integrations of each exposure; NaN if single."""
    sums = np.zeros(exposures[0].data.shape[1:])
    dof = np.zeros_like(sums)
    for exposure in exposures:
        deviation = exposure.data - nanmean(exposure.data)
        sums += np.nansum(deviation**2, axis=0)
        dof += np.maximum(np.isfinite(deviation).sum(axis=0) - 1, 0)
    return np.where(dof > 0, sums / np.maximum(dof, 1), np.nan)


def single_variance(exposures: Sequence[BackgroundExposure], scatter: Float | None) -> Float:
    """Variance of a single integration: from the exposures' own variances, or the scatter."""
    given = [e.variance for e in exposures if e.variance is not None]
    if len(given) == len(exposures):
        return joint_nanmean(given)
    single = scatter_variance(exposures) if scatter is None else scatter
    return np.where(np.isfinite(single), single, 0.0)


def combine(
    exposures: Sequence[BackgroundExposure], params: BackgroundParams, *, scatter: Float | None = None
) -> tuple[Float, Float]:
    """Combine background exposures to one image.

    Parameters
    ----------
    exposures : sequence of BackgroundExposure
        At least one.
    params : BackgroundParams
        `method`, `sigma` and `maxiters` are used.
    scatter : (ny, nx) float64 ndarray, optional
        Variance of one integration, used where an exposure brings none.

    Returns
    -------
    image, variance : (ny, nx) float64 ndarray
        Combined background and its variance; NaN where no integration is good.
    """
    single = single_variance(exposures, scatter)
    if params.method in ("mean", "median"):
        stack = np.concatenate([e.data for e in exposures])
        count = np.isfinite(stack).sum(axis=0)
        image = nanmean(stack) if params.method == "mean" else nanmedian(stack.astype(np.float64))
        # the median of a normal sample is pi/2 less efficient than its mean; of one or two values it is the mean
        loss = np.where(count > 2, np.pi / 2, 1.0) if params.method == "median" else 1.0
        return image, divide(single * loss, count)
    means, counts = [], []
    for exposure in exposures:
        mean, count = clipped_mean(exposure.data, sigma=params.sigma, maxiters=params.maxiters)
        means.append(mean)
        counts.append(count)
    image, n_exposures = clipped_mean(np.stack(means), sigma=params.sigma, maxiters=params.maxiters)
    # variance of a mean of means: sum of single / n_i over the exposures, by their number squared
    each = np.where(np.stack(counts) > 0, 1.0 / np.maximum(np.stack(counts), 1), 0.0)
    return image, divide(single * each.sum(axis=0), n_exposures**2)


def divide(value: Float, count: NDArray[np.integer]) -> Float:
    """Quotient by a count; NaN where the count is zero."""
    return np.where(count > 0, value / np.maximum(count, 1), np.nan)


def first_integration_difference(exposures: Sequence[BackgroundExposure]) -> tuple[float, float]:
    """Median over the field of first minus later background integrations, and its statistical error.

    Needs an exposure with at least three integrations; (nan, nan) otherwise.
    """
    long = [e for e in exposures if e.data.shape[0] >= 3 and e.has_first]
    if not long:
        return float("nan"), float("nan")
    difference = nanmean(np.stack([e.data[0] - nanmean(e.data[1:]) for e in long]))
    good = difference[np.isfinite(difference)]
    if good.size < 10:
        return float("nan"), float("nan")
    median = float(np.median(good))
    spread = 1.4826 * float(np.median(np.abs(good - median)))
    return median, 1.2533 * spread / np.sqrt(good.size)


def _local_level(image: Float, *, block: int = 4, size: int = 7) -> Float:
    """Median within about 14 pixels of each pixel: of the means of blocks, interpolated; forty times quicker."""
    ny, nx = image.shape
    padded = np.pad(image, ((0, -ny % block), (0, -nx % block)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block).mean(axis=(1, 3))
    level = zoom(median_filter(blocks, size=size, mode="nearest"), block, order=1, mode="nearest", grid_mode=True)
    return np.asarray(level[:ny, :nx], dtype=np.float64)


def reject_sources(
    exposures: Sequence[BackgroundExposure], *, threshold: float = 5.0, width: float = 1.5
) -> tuple[list[BackgroundExposure], int]:
    """Set to NaN what is present in only one background exposure: a star, galaxy or ghost that moved with the dither.

    The mean of each exposure is compared with the lowest mean of the others after light smoothing; pixels that stand
    out by `threshold` times the spread of that difference are blanked in all integrations of the exposure, unless all
    exposures would be blank there. With one exposure nothing can be compared.

    Parameters
    ----------
    exposures : sequence of BackgroundExposure
        At least one.
    threshold : float
        In units of the robust spread of the smoothed difference.
    width : float
        Gaussian sigma of the smoothing, pixels.

    Returns
    -------
    exposures : list of BackgroundExposure
        New exposures that share the variances.
    n_pixels : int
        Pixels blanked, summed over the exposures.
    """
    means = np.stack([nanmean(e.data) for e in exposures])
    bad = np.zeros(means.shape, bool)
    for i in range(len(means)):
        others = np.delete(means, i, axis=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            difference = means[i] - np.nanmin(others, axis=0)
        finite = np.isfinite(difference)
        filled = np.where(finite, difference, np.nanmedian(difference) if finite.any() else 0.0)
        smooth = gaussian_filter(filled - _local_level(filled), width)
        spread = 1.4826 * np.median(np.abs(smooth[finite] - np.median(smooth[finite]))) if finite.any() else 0.0
        if spread > 0:
            bad[i] = binary_dilation((smooth > threshold * spread) & finite, iterations=2)
    bad &= ~np.all(bad | ~np.isfinite(means), axis=0)
    cleaned = [
        BackgroundExposure(np.where(bad[i], np.nan, e.data), e.variance, e.numbers) for i, e in enumerate(exposures)
    ]
    return cleaned, int(bad.sum())


def place(data: NDArray[np.floating], shape: tuple[int, int], offset: tuple[int, int]) -> Float:
    """Cut and pad images, so that their first pixel comes to lie at `offset` of frames of `shape`.

    Parameters
    ----------
    data : (n, ny, nx) float ndarray
    shape : (ny, nx)
        Of the frames that are made.
    offset : (x, y)
        Pixels; may be negative.

    Returns
    -------
    (n, ny, nx) float64 ndarray
        NaN where there are no data.
    """
    out = np.full((len(data), *shape), np.nan)
    x, y = offset
    y0, y1 = max(y, 0), min(y + data.shape[1], shape[0])
    x0, x1 = max(x, 0), min(x + data.shape[2], shape[1])
    if y1 > y0 and x1 > x0:
        out[:, y0:y1, x0:x1] = data[:, y0 - y : y1 - y, x0 - x : x1 - x]
    return out


def calibration_factor(before: NDArray[np.floating], after: NDArray[np.floating] | None) -> Float:
    """Factor of each pixel from slopes to calibrated data: photometric scale over flat field, as they were applied.

    Parameters
    ----------
    before, after : (ny, nx) float ndarray
        Variance from reading the detector, before and after the calibration: it is only ever multiplied. `after` None
        if it was lost.

    Returns
    -------
    (ny, nx) float64 ndarray
        NaN where unknown.
    """
    if after is None:
        return np.full(before.shape, np.nan)
    good = (before > 0) & (after > 0)
    return np.sqrt(np.where(good, after, np.nan) / np.where(good, before, np.nan), dtype=np.float64)


def shared_variance(images: Sequence[Float], errors: Sequence[Float | None]) -> Float | None:
    """Variance of the mean of backgrounds, of which those that are the same share their noise.

    Parameters
    ----------
    images : sequence of (ny, nx) float64 ndarray
        Backgrounds of the exposures, NaN where unknown.
    errors : sequence of (ny, nx) float64 ndarray or None
        Their errors; None where an exposure has none.

    Returns
    -------
    (ny, nx) float64 ndarray or None
        NaN where unknown; None if no exposure has errors.
    """
    left = [(image, error) for image, error in zip(images, errors, strict=True) if error is not None]
    if not left:
        return None
    total = np.zeros(left[0][0].shape)
    while left:
        image, error = left[0]
        same = [p for p in left if np.array_equal(p[0], image, equal_nan=True)]
        total += (len(same) / len(images)) ** 2 * error**2
        left = [p for p in left if not np.array_equal(p[0], image, equal_nan=True)]
    return total
