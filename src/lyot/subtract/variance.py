"""Variances of frames and of the combined image, with the part that the background exposures have put into all of them.

The noise of a subtracted background is the same in every integration of an exposure. It does not average out over them,
as that of the pixels' own photons and reads does. Between rolls it counts as independent: turned by 9 deg, a pixel of
the detector comes to lie on other pixels of the sky from half an arcsec on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.subtract.combine import Resampler
from lyot.subtract.sequence import CoronagraphicSequence, FloatArray, IntArray, mean_by_group


def frame_variance(sequence: CoronagraphicSequence, *, means: bool) -> FloatArray | None:
    """Variance of each frame that is subtracted, NaN where its data are: (nframes, ny, nx); None without variances.

    Parameters
    ----------
    sequence : CoronagraphicSequence
    means : bool
        Frames are the means of the exposures, not the integrations.
    """
    variance = sequence.science_variance
    if variance is None:
        return None
    masked = np.where(np.isfinite(sequence.science), variance, np.nan)
    if not means:
        return np.asarray(masked, dtype=np.float64)
    return mean_variance(masked, sequence.exposure, sequence.n_exposures, sequence.background_variance)


def mean_variance(
    variance: NDArray[np.floating[Any]], exposure: IntArray, n_exposures: int, common: NDArray[np.floating[Any]] | None
) -> FloatArray:
    """Variance of the mean of the frames of each exposure, of which `common` (nexposures, ny, nx) does not average."""
    if common is None:
        return mean_by_group(variance, exposure, n_exposures, variance=True)
    shared = np.nan_to_num(common)
    mean = np.empty((n_exposures, *variance.shape[1:]))
    for e in range(n_exposures):  # one after the other, for the memory
        own = np.maximum(variance[exposure == e] - shared[e], 0.0)
        mean[e] = mean_by_group(own, np.zeros(len(own), np.intp), 1, variance=True)[0]
    return mean + shared


def roll_variance(
    sequence: CoronagraphicSequence,
    variance: FloatArray,
    frame_exposure: IntArray,
    resamplers: tuple[Resampler, ...],
) -> FloatArray:
    """Variance of the mean of each exposure, north up: (nK, nexposures, Ny, Nx) from (nK, nframes, ny, nx).

    NaN where there is no data.
    """
    out = np.empty((len(variance), len(resamplers), *resamplers[0].x.shape))
    common = sequence.background_variance if len(np.unique(frame_exposure)) < len(frame_exposure) else None
    for t, frames in enumerate(variance):
        means = mean_variance(frames, frame_exposure, len(resamplers), common)
        for e, (turn, mean) in enumerate(zip(resamplers, means, strict=True)):
            out[t, e] = turn.variance(mean[np.newaxis])[0]
    return out


def combined_variance(variance: FloatArray, weights: FloatArray) -> FloatArray:
    """Variance of the combined image: (nK, Ny, Nx) from that of the rolls and their normalized weights."""
    out = np.empty((len(variance), *weights.shape[1:]))
    for t, turned in enumerate(variance):
        out[t] = np.sum(weights**2 * np.where(weights > 0, turned, 0.0), axis=0)
    out[:, weights.sum(axis=0) == 0] = np.nan
    return out
