"""Subtraction of the dark ramp, matched to the exposure's groups by averaging or extrapolation where they differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import warn
from lyot.ramps import _kernels_corrections as kernels
from lyot.ramps._checks import check_image, check_ramps, writable
from lyot.ramps.threads import over_rows

MIN_FITTED = 5
"""Fewest groups that a line is fitted to, where the dark has as many."""


@dataclass(frozen=True)
class GroupTiming:
    """How frames make groups: `nframes` averaged in each, `groupgap` dropped between them."""

    nframes: int
    groupgap: int

    def frames(self, n_groups: int) -> int:
        """Frames that `n_groups` groups take."""
        return n_groups * self.nframes + (n_groups - 1) * self.groupgap


@dataclass(frozen=True)
class DarkReference:
    """Dark ramps (nints, ngroups, ny, nx) floating, DN, without NaN; flags (ny, nx) uint32 for PIXELDQ; its timing."""

    data: NDArray[np.floating[Any]]
    dq: NDArray[np.uint32]
    timing: GroupTiming


def dark_reference(data: NDArray[np.float32], flags: NDArray[np.uint32], timing: GroupTiming) -> DarkReference:
    """Bundle a dark reference.

    Parameters
    ----------
    data : (nints, ngroups, ny, nx) or (ngroups, ny, nx) float32 ndarray
        Dark ramps of the first integrations, DN; the last serves all later ones. NaN where unknown.
    flags : (nints, 1, ny, nx) or (ny, nx) uint32 ndarray
        DQ bits; integrations are joined.
    timing : GroupTiming
        Of the dark.
    """
    cube = data if data.ndim == 4 else data[None]
    bits = flags.astype(np.uint32)
    image = bits if bits.ndim == 2 else np.bitwise_or.reduce(bits.reshape(-1, *bits.shape[-2:]), axis=0)
    return DarkReference(cube, image, timing)


def match_dark(
    dark: DarkReference, n_groups: int, timing: GroupTiming, *, extrapolation: str = "last"
) -> DarkReference | None:
    """Match a dark to the groups of an exposure.

    A dark that is too short is extrapolated; one of the same timing is used as it is; one of shorter groups is
    averaged.

    Parameters
    ----------
    dark : DarkReference
        From `dark_reference`.
    n_groups : int
        Groups of the exposure.
    timing : GroupTiming
        Of the exposure.
    extrapolation : {"last", "fit"}, optional
        With the last difference, as officially, or with a line fitted to the last quarter of the groups. The difference
        of two groups carries their noise, which grows with every group that is added and gives every pixel (and, where
        the noise is common to a row, every row) a slope of its own.

    Returns
    -------
    DarkReference or None
        With at least `n_groups` groups, NaN replaced by zero. None where the dark's groups hold more frames than the
        exposure's, so that it cannot be used.

    Examples
    --------
    A dark of single frames, for groups that average four:

    >>> import numpy as np
    >>> frames = np.arange(1, 9, dtype=np.float32).reshape(1, 8, 1, 1)
    >>> dark = dark_reference(frames, np.zeros((1, 1), np.uint32), GroupTiming(nframes=1, groupgap=0))
    >>> match_dark(dark, 2, GroupTiming(nframes=4, groupgap=0)).data.ravel().tolist()
    [2.5, 6.5]
    """
    data: NDArray[np.floating[Any]] = dark.data
    missing = timing.frames(n_groups) - dark.timing.frames(data.shape[1])
    if missing > 0:
        warn(
            "Not enough data in dark reference file to match to science data. "
            "Dark reference will be extrapolated to match length of science file."
        )
        per_group = dark.timing.nframes + dark.timing.groupgap
        n_more = -(-(missing + dark.timing.groupgap) // per_group)
        data = _extrapolate_line(data, n_more) if extrapolation == "fit" else _extrapolate(data, n_more)
    if dark.timing.nframes > timing.nframes or dark.timing.groupgap > timing.groupgap:
        return None
    if np.isnan(data).any():
        data = np.where(np.isnan(data), data.dtype.type(0), data)
    if dark.timing == timing:
        return replace(dark, data=data)
    return DarkReference(_average(data, n_groups, timing), dark.dq, timing)


def _extrapolate(data: NDArray[np.floating[Any]], n_more: int) -> NDArray[np.floating[Any]]:
    """Append `n_more` groups by the last difference, in double precision as officially."""
    rate = data[:, -1] - data[:, -2]
    steps = np.arange(1, n_more + 1).reshape(1, -1, 1, 1)
    return np.concatenate((data, steps * rate[:, None] + data[:, -1:]), axis=1, dtype=np.float64)


def _extrapolate_line(data: NDArray[np.floating[Any]], n_more: int) -> NDArray[np.floating[Any]]:
    """Append `n_more` groups of the line through the last quarter of the groups (five at least, where there are)."""
    n = data.shape[1]
    used = min(n, max(-(-n // 4), MIN_FITTED))
    if used < 2:
        return np.concatenate((data, np.repeat(data[:, -1:], n_more, axis=1)), axis=1, dtype=np.float64)
    tail = data[:, -used:].astype(np.float64)
    time = np.arange(used) - 0.5 * (used - 1)
    slope = np.tensordot(time, tail, axes=(0, 1)) / float(time @ time)
    steps = (time[-1] + np.arange(1, n_more + 1)).reshape(1, -1, 1, 1)
    return np.concatenate((data, tail.mean(axis=1)[:, None] + steps * slope[:, None]), axis=1, dtype=np.float64)


def _average(data: NDArray[np.floating[Any]], n_groups: int, timing: GroupTiming) -> NDArray[np.float32]:
    """Mean of the frames that make each group."""
    nints, _, ny, nx = data.shape
    out = np.empty((nints, n_groups, ny, nx), np.float32)
    for group in range(n_groups):
        start = group * (timing.nframes + timing.groupgap)
        out[:, group] = data[:, start : start + timing.nframes].mean(axis=1)
    return out


def dark_planes(n_integrations: int, n_reference: int, first_integration: int = 1) -> NDArray[np.int64]:
    """Integration of the dark for each integration of a file.

    The last integration of the dark serves all later ones. `first_integration` is the number of the file's first
    integration in the exposure, from 1: a segment gets the darks that the whole exposure would get. (Officially any
    later segment gets the last; the same for darks of two integrations, as those of MIRI.)
    """
    return np.minimum(np.arange(n_integrations) + first_integration - 1, n_reference - 1)


def subtract_dark(
    data: NDArray[np.float32],
    dark: DarkReference,
    *,
    first_integration: int = 1,
    out: NDArray[np.float32] | None = None,
    threads: int = 0,
) -> NDArray[np.float32]:
    """Subtract a dark.

    Parameters
    ----------
    data : (nints, ngroups, ny, nx) float32 ndarray
        Linearized ramps, DN.
    dark : DarkReference
        From `match_dark`.
    first_integration : int, optional
        Number of the file's first integration in the exposure, from 1.
    out : (nints, ngroups, ny, nx) float32 ndarray, optional
        Array to write to, which may be `data`.
    threads : int, optional
        0 takes every core.

    Returns
    -------
    (nints, ngroups, ny, nx) float32 ndarray
        Ramps without the dark, DN; `out`, or a copy.

    Raises
    ------
    ReferenceFileError
        If the dark is of another subarray.

    Examples
    --------
    >>> import numpy as np
    >>> timing = GroupTiming(nframes=1, groupgap=0)
    >>> frames = np.array([0.5, 1.0], np.float32).reshape(1, 2, 1, 1)
    >>> dark = match_dark(dark_reference(frames, np.zeros((1, 1), np.uint32), timing), 2, timing)
    >>> subtract_dark(np.full((1, 2, 1, 1), 10.0, np.float32), dark).ravel().tolist()
    [9.5, 9.0]
    """
    nints, ngroups, ny, _ = check_ramps(data)
    check_image("dark", dark.data, data.shape)
    ramps = writable(data, out)
    planes = dark_planes(nints, dark.data.shape[0], first_integration)
    over_rows(lambda a, b: kernels.subtract_rows(ramps, dark.data, planes, ngroups, a, b), ny, threads=threads)
    return ramps
