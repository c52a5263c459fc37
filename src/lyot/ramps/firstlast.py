"""Flags of the first group (deprecated in the official pipeline, off by default) and of the last group of a ramp.

The last group of a MIRI ramp is disturbed by the reset of the next row; the first carries the settling after the reset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot import dq
from lyot.params import param
from lyot.ramps._checks import writable
from lyot.ramps.dq_init import Flags

MIN_GROUPS_FIRST = 4
"""Fewest groups for which the first is given up."""
MIN_GROUPS_LAST = 3
"""Fewest groups for which the last is given up."""


@dataclass(frozen=True)
class FirstFrameParams:
    """Parameters of the first-group flags; names and defaults are the official ones."""

    bright_use_group1: bool = param(True, help="do not flag group1 if group3 is saturated")


def flag_first_group(
    pixel_dq: NDArray[np.uint32],
    group_dq: NDArray[np.uint8],
    params: FirstFrameParams | None = None,
    *,
    out: Flags | None = None,
) -> Flags:
    """Set DO_NOT_USE in the first group of ramps of more than three groups.

    Parameters
    ----------
    pixel_dq : (ny, nx) uint32 ndarray
        Pixel flags.
    group_dq : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags with saturation.
    params : FirstFrameParams, optional
        Whether ramps that saturate by the third group keep their first.
    out : Flags, optional
        Arrays to write to, which may be those given.

    Returns
    -------
    Flags
        Pixels with a kept first group have FLUX_ESTIMATED. Shorter ramps come back as they were.

    Examples
    --------
    >>> import numpy as np
    >>> pixels, groups = np.zeros((1, 1), np.uint32), np.zeros((1, 5, 1, 1), np.uint8)
    >>> flag_first_group(pixels, groups).group_dq.ravel().tolist()
    [1, 0, 0, 0, 0]
    >>> groups[:, 2:] = dq.SATURATED
    >>> flag_first_group(pixels, groups).group_dq.ravel().tolist()
    [0, 0, 2, 2, 2]
    """
    params = params or FirstFrameParams()
    pixels = writable(pixel_dq, out.pixel_dq if out else None)
    groups = writable(group_dq, out.group_dq if out else None)
    if groups.shape[1] < MIN_GROUPS_FIRST:
        return Flags(pixels, groups)
    if params.bright_use_group1:
        keep = (groups[:, 2] & np.uint8(dq.SATURATED)) != 0
        pixels[keep.any(axis=0)] |= np.uint32(dq.FLUX_ESTIMATED)
        groups[:, 0] |= np.where(keep, 0, dq.DO_NOT_USE).astype(np.uint8)
    else:
        groups[:, 0] |= np.uint8(dq.DO_NOT_USE)
    return Flags(pixels, groups)


def flag_last_group(group_dq: NDArray[np.uint8], *, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Set DO_NOT_USE in the last group of ramps of more than two groups; shorter ones come back as they were.

    Parameters
    ----------
    group_dq : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags.
    out : (nints, ngroups, ny, nx) uint8 ndarray, optional
        Array to write to, which may be `group_dq`.

    Returns
    -------
    (nints, ngroups, ny, nx) uint8 ndarray
        `out`, or a copy.

    Examples
    --------
    >>> import numpy as np
    >>> flag_last_group(np.zeros((1, 5, 1, 1), np.uint8)).ravel().tolist()
    [0, 0, 0, 0, 1]
    """
    groups = writable(group_dq, out)
    if groups.shape[1] >= MIN_GROUPS_LAST:
        groups[:, -1] |= np.uint8(dq.DO_NOT_USE)
    return groups
