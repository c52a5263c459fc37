"""Input and output of a slope fit: times of the groups, slope images, and the result for one exposure."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class GroupTimes:
    """Sampling of an exposure, from its metadata (``meta.exposure``)."""

    group_time: float
    """Time between groups, s."""
    frame_time: float
    """Time of one frame, s."""
    nframes: int = 1
    """Frames averaged in a group."""
    groupgap: int = 0
    """Frames dropped between groups."""
    drop_leading: bool = True
    """Drop groups that are DO_NOT_USE everywhere at the start or end, and clear the jump that follows: MIRI."""


@dataclasses.dataclass(frozen=True)
class SlopeImage:
    """Slopes with errors and flags, (ny, nx) or (nints, ny, nx)."""

    slope: npt.NDArray[np.float32]
    """DN/s; NaN where no slope could be measured."""
    dq: npt.NDArray[np.uint32]
    """Pixel flags."""
    var_poisson: npt.NDArray[np.float32]
    """Variance from photon noise, (DN/s)**2."""
    var_rnoise: npt.NDArray[np.float32]
    """Variance from read noise, (DN/s)**2."""
    err: npt.NDArray[np.float32]
    """Standard deviation, DN/s."""
    chisq: npt.NDArray[np.float32] | None = None
    """LIKELY only: chi squared of the fit."""


@dataclasses.dataclass(frozen=True)
class RampFitResult:
    """Result of `fit_ramps`."""

    rate: SlopeImage
    """Of the whole exposure."""
    rateints: SlopeImage
    """Of each integration."""
    groupdq: npt.NDArray[np.uint8] | None = None
    """LIKELY only: group flags with the jumps it found, (nints, ngroups, ny, nx)."""
