"""Noise of the reference frames, alone and in common, measured on the frames themselves.

References share the noise of the background that was subtracted from all of them, which their stated errors do not
tell apart from their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.subtract.sequence import BoolArray, FloatArray, IntArray

LEAST_PIXELS = 500
"""Fewest pixels on which the noise is measured: to 6 %."""

OUTLIER = 4.0
"""Distance from 0 beyond which a pixel is left out, standard deviations."""

LARGEST_VARIANCE = 10.0
"""Variances larger than this times their median belong to pixels that are not good."""


@dataclass(frozen=True)
class LibraryNoise:
    """Covariance of the noise of a pixel between the frames of a library.

    Attributes
    ----------
    covariance : (nlibrary, nlibrary) float64 ndarray
        Mean over the pixels where it was measured; unit of the frames, squared.
    variance : (nlibrary, npix) float ndarray or None
        Stated variances of the frames.
    region : (npix,) bool ndarray
        Pixels where the covariance was measured.
    """

    covariance: FloatArray
    variance: NDArray[np.floating[Any]] | None
    region: BoolArray

    @cached_property
    def _typical_there(self) -> FloatArray:
        """Typical variance of each frame where the covariance was measured, for all zones."""
        assert self.variance is not None
        return np.array([_typical(v[self.region]) for v in self.variance])

    def sum_over(self, pixels: IntArray) -> FloatArray:
        """Expected Gram matrix of the noise on some pixels: (nlibrary, nlibrary).

        The noise that a frame does not share increases with its stated variance, because of the photons of the star.
        """
        total = self.covariance * len(pixels)
        if self.variance is not None:
            here = np.array([_typical(v[pixels]) for v in self.variance])
            ratio = here / self._typical_there
            grown = np.where(np.isfinite(ratio), ratio - 1.0, 0.0)
            total = total + np.diag(np.diag(total) * grown)
        return np.asarray(total)

    def of_mean(self) -> LibraryNoise:
        """Of the mean of the frames, as a library of one."""
        variance = None if self.variance is None else self.variance.mean(axis=0, dtype=np.float64, keepdims=True)
        return LibraryNoise(self.covariance.mean(keepdims=True), variance, self.region)


def library_noise(
    library: FloatArray, variance: NDArray[np.floating[Any]] | None, usable: BoolArray, radius: FloatArray
) -> LibraryNoise | None:
    """Measure the noise of reference frames on the outer half of their pixels.

    Second differences along both axes leave white noise its variance and take out what is as wide as a diffraction
    pattern (Immerkaer 1996, eq. 3, with unit norm).

    Parameters
    ----------
    library : (nlibrary, ny * nx) float64 ndarray
        Without NaN.
    variance : (nlibrary, ny * nx) float ndarray or None
        Stated variances; NaN and 0 count as unknown.
    usable : (ny, nx) bool ndarray
    radius : (ny, nx) float64 ndarray
        Distance from the star, any unit.

    Returns
    -------
    LibraryNoise or None
        None where too few pixels are good.
    """
    if np.count_nonzero(usable) < LEAST_PIXELS:
        return None
    region = usable & (radius >= np.median(radius[usable]))
    inside = np.zeros_like(region)
    inside[1:-1, 1:-1] = np.lib.stride_tricks.sliding_window_view(region, (3, 3)).all(axis=(2, 3))
    if np.count_nonzero(inside) < LEAST_PIXELS:
        return None
    differences = np.array([_second_differences(f.reshape(region.shape))[inside] for f in library])
    spread = 1.4826 * np.median(np.abs(differences), axis=1, keepdims=True)
    good = (np.abs(differences) <= OUTLIER * spread).all(axis=0)
    if np.count_nonzero(good) < LEAST_PIXELS:
        return None
    differences = differences[:, good]
    return LibraryNoise(differences @ differences.T / differences.shape[1], variance, inside.ravel())


def _second_differences(image: FloatArray) -> FloatArray:
    out = np.zeros_like(image)
    rows = image[:-2] - 2.0 * image[1:-1] + image[2:]
    out[1:-1, 1:-1] = (rows[:, :-2] - 2.0 * rows[:, 1:-1] + rows[:, 2:]) / 6.0
    return out


def _typical(variance: NDArray[np.floating[Any]]) -> float:
    """Mean of variances, without those of bad pixels."""
    known = np.asarray(variance[np.isfinite(variance) & (variance > 0)], dtype=np.float64)
    if not len(known):
        return np.nan  # not stated, as where ERR is 0
    return float(known[known <= LARGEST_VARIANCE * np.median(known)].mean())
