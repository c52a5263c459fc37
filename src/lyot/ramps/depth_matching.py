"""Depth matching: ramps of a bright reference cut where they have collected what the science ramps collect.

Two stars of different brightness do not look alike to the detector even after the linearity correction: charge spreads
(brighter-fatter) and lingers with the depth of the well. When each pixel of the reference uses only as many groups as
bring it to the depth that the science ramps reach there, both are taken through the same part of the well. The number
of groups is the same for all integrations of a pixel and comes from its median rate, so that the noise of a ramp does
not decide where it is cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lyot.errors import InputError
from lyot.ramps._checks import check_image, check_ramps, writable
from lyot.ramps._jump_kernels import gather_row, scatter_row
from lyot.stacks import nanmedian

UNUSABLE = np.uint8(3)
DNU = np.uint8(1)


@njit(cache=True, nogil=True)
def groups_to_depth(ramps: Any, flags: Any, target: Any, least: Any, rates: Any) -> int:
    """Groups of one pixel's ramps, from the first usable on, that reach `target` DN; the ramp's length if none need go.

    ``ramps, flags (nints, ngroups)``; ``rates (nints,)`` is scratch.
    """
    nints, ngroups = ramps.shape
    n = 0
    start = ngroups
    for i in range(nints):
        first, last = ngroups, -1
        for g in range(ngroups):
            if not flags[i, g] & UNUSABLE:
                first, last = min(first, g), g
        if last > first:
            rates[n] = (ramps[i, last] - ramps[i, first]) / (last - first)
            n += 1
            start = min(start, first)
    if n == 0 or not target >= 0:
        return ngroups
    rate = np.median(rates[:n])
    if not rate > 0:
        return ngroups
    wanted = max(np.float64(least), np.ceil(target / rate) + 1)
    return int(min(np.float64(ngroups), start + wanted))


@njit(cache=True, nogil=True)
def truncate_row(ramps: Any, flags: Any, target: Any, least: Any, rates: Any) -> None:
    """Set DO_NOT_USE in ``(nx, nints, ngroups)`` flags beyond a depth; ``target (nx,)`` DN, NaN for no limit."""
    nx, nints, ngroups = ramps.shape
    for x in range(nx):
        end = groups_to_depth(ramps[x], flags[x], target[x], least, rates)
        for i in range(nints):
            for g in range(end, ngroups):
                flags[x, i, g] |= DNU


def truncate_to_depth(
    data: NDArray[np.float32],
    group_dq: NDArray[np.uint8],
    target: NDArray[np.floating[Any]],
    *,
    min_groups: int = 10,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Give up the groups of each pixel beyond a target depth.

    Parameters
    ----------
    data : (nints, ngroups, ny, nx) float32 ndarray
        Corrected ramps, DN.
    group_dq : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags.
    target : (ny, nx) floating ndarray
        Signal to collect from the first usable group on, DN; NaN leaves a pixel alone. See `depth_of_slopes`.
    min_groups : int, optional
        Groups that are kept in any case.
    out : ndarray, optional
        Flags to write to, which may be `group_dq`.

    Returns
    -------
    (nints, ngroups, ny, nx) uint8 ndarray
        Flags, with DO_NOT_USE in the groups that are given up.

    Raises
    ------
    InputError, ReferenceFileError
        If the arrays do not fit each other.
    """
    nints, ngroups, ny, nx = check_ramps(data, group_dq)
    check_image("depth map", target, data.shape)
    if min_groups < 2:
        raise InputError(f"depth_min_groups: a slope needs 2 groups at least, got {min_groups}.")
    flags = writable(group_dq, out)
    limit = np.ascontiguousarray(target, np.float32)
    ramps, row = np.empty((nx, nints, ngroups), np.float32), np.empty((nx, nints, ngroups), np.uint8)
    rates = np.empty(nints, np.float64)
    for y in range(ny):
        gather_row(data, y, ramps)
        gather_row(flags, y, row)
        truncate_row(ramps, row, limit[y], min_groups, rates)
        scatter_row(row, y, flags)
    return flags


def depth_of_slopes(slope: NDArray[np.floating[Any]], group_time: float, n_groups: int) -> NDArray[np.float32]:
    """Depth that an exposure reaches, from its slopes.

    Parameters
    ----------
    slope : (ny, nx) or (nints, ny, nx) floating ndarray
        DN/s (``rate`` or ``rateints``); NaN where unknown. Of integrations the median is taken.
    group_time : float
        s.
    n_groups : int
        Groups of a ramp.

    Returns
    -------
    (ny, nx) float32 ndarray
        Signal of a whole ramp, DN; NaN where the slope is unknown or not positive.
    """
    image = slope if slope.ndim == 2 else nanmedian(slope)
    depth = np.asarray(image * group_time * (n_groups - 1), np.float32)
    return np.where(depth > 0, depth, np.float32(np.nan))
