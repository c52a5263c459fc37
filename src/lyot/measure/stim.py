"""Standardised trajectory intensity mean (STIM) map of Pairet et al. (2019, MNRAS 487, 2262).

Each pixel of the star-subtracted frames turned to north has a mean and a scatter along the frames; their ratio stands
out where a source stays, and not where a speckle comes and goes. What noise alone does is seen in the same map of the
frames turned the wrong way: its maximum is the threshold. With two rolls alone a static residual of one roll enters
both maps; many frames tell it, more rolls tell it better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError, ReductionError

FloatArray = NDArray[np.float64]

MIN_FRAMES = 4
"""Fewest frames from which a scatter is told."""


@dataclass(frozen=True)
class StimMap:
    """STIM maps; both (ny, nx), NaN where fewer than `MIN_FRAMES` frames have data.

    Attributes
    ----------
    stim : float64
        Mean over standard deviation along the frames.
    inverse : float64
        The same of the frames turned the wrong way.
    threshold : float
        Largest value of `inverse` in the searched region.
    frames : int
    """

    stim: FloatArray
    inverse: FloatArray
    threshold: float
    frames: int

    @property
    def detected(self) -> NDArray[np.bool_]:
        """Pixels above the threshold."""
        return np.asarray(np.nan_to_num(self.stim, nan=-np.inf) > self.threshold)


def stim_ratio(frames: NDArray[np.floating]) -> FloatArray:
    """Mean over standard deviation along the frames.

    Parameters
    ----------
    frames : (nframes, ny, nx) array of float
        Any linear unit, NaN where there are no data.

    Returns
    -------
    (ny, nx) float64 ndarray
        NaN where fewer than `MIN_FRAMES` frames have data or all are equal.
    """
    cube = np.asarray(frames, dtype=np.float64)
    if cube.ndim != 3:
        raise InputError(f"frames: expected (frames, ny, nx), got shape {cube.shape}.")
    good = np.isfinite(cube)
    count = good.sum(axis=0)
    mean = np.where(good, cube, 0.0).sum(axis=0) / np.maximum(count, 1)
    square = np.where(good, (cube - mean) ** 2, 0.0).sum(axis=0) / np.maximum(count - 1, 1)
    usable = (count >= MIN_FRAMES) & (square > 0)
    return np.where(usable, mean / np.sqrt(np.where(usable, square, 1.0)), np.nan)


def stim_map(
    frames: NDArray[np.floating], wrong: NDArray[np.floating], *, search: NDArray[np.bool_] | None = None
) -> StimMap:
    """STIM map and its threshold.

    Parameters
    ----------
    frames : (nframes, ny, nx) array of float
        Star-subtracted frames with north up.
    wrong : (nframes, ny, nx) array of float
        The same frames turned by the opposite of their roll relative to the mean roll.
    search : (ny, nx) bool array, optional
        Region in which the threshold is looked for.

    Returns
    -------
    StimMap

    Raises
    ------
    InputError
        If the shapes differ.
    ReductionError
        If there are fewer than `MIN_FRAMES` frames.
    """
    if np.shape(frames) != np.shape(wrong):
        raise InputError(
            f"frames have shape {np.shape(frames)}, the oppositely rotated ones {np.shape(wrong)}; expected the same."
        )
    if len(frames) < MIN_FRAMES:
        raise ReductionError(f"a STIM map needs {MIN_FRAMES} frames or more, there are {len(frames)}.")
    right, inverse = stim_ratio(frames), stim_ratio(wrong)
    region = np.isfinite(inverse) if search is None else np.isfinite(inverse) & np.asarray(search, bool)
    threshold = float(inverse[region].max()) if region.any() else float("nan")
    return StimMap(right, inverse, threshold, len(frames))
