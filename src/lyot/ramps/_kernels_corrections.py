"""Kernels of the corrections before jump detection, each on one ramp (the groups of one pixel in one integration).

The standing-alone functions of this room and the streaming engine both call these, so that they agree to the last bit.
Arithmetic is in the precision of the arrays given (float32 ramps). No checks here; the callers have made them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from lyot import dq
from lyot.ramps._kernels_layout import load_row, store_row

DO_NOT_USE = np.uint8(dq.DO_NOT_USE)
SATURATED = np.uint8(dq.SATURATED)
FLOOR = np.uint8(dq.AD_FLOOR | dq.DO_NOT_USE)


@njit(cache=True, nogil=True, _nrt=False)
def first_saturated_ramp(ramp: Any, threshold: Any) -> int:
    """Index of the first group at or above `threshold`, or the number of groups."""
    for g in range(ramp.size):
        if ramp[g] >= threshold:
            return g
    return int(ramp.size)


@njit(cache=True, nogil=True, _nrt=False)
def flag_saturated_ramp(ramp: Any, flags: Any, first: int) -> None:
    """Set SATURATED from group `first` on, and the A/D floor (with DO_NOT_USE) where the raw value is not positive."""
    for g in range(ramp.size):
        flags[g] = np.uint8(flags[g] | (FLOOR if ramp[g] <= 0 else np.uint8(0)))  # no branch: vector instructions
    for g in range(first, ramp.size):
        flags[g] |= SATURATED


@njit(cache=True, nogil=True, _nrt=False)
def subtract_ramp(ramp: Any, reference: Any, n: int) -> None:
    """Subtract the first `n` groups of a reference ramp (reset anomaly, dark)."""
    for g in range(n):
        ramp[g] = ramp[g] - reference[g]


@njit(cache=True, nogil=True, _nrt=False)
def linearize_ramp(ramp: Any, flags: Any, coefficients: Any, work: Any) -> None:
    """Apply the correction polynomial (Horner) to the groups that are not saturated; `work` is as long as the ramp."""
    order = coefficients.size - 1
    top = coefficients[order]
    for g in range(ramp.size):
        work[g] = top * ramp[g]
    for j in range(order - 1, 0, -1):
        c = coefficients[j]
        for g in range(ramp.size):
            work[g] = (work[g] + c) * ramp[g]
    c = coefficients[0]
    union = np.uint8(0)
    for g in range(ramp.size):
        union = np.uint8(union | flags[g])
    if union & SATURATED:
        for g in range(ramp.size):
            if not flags[g] & SATURATED:
                ramp[g] = work[g] + c
    else:
        for g in range(ramp.size):
            ramp[g] = work[g] + c


@njit(cache=True, nogil=True, _nrt=False)
def rscd_skip_ramp(flags: Any, skip: int) -> int:
    """Groups to give up at the start of a ramp, fewer than `skip` where saturation would leave less than two.

    From ``skip + 2`` groups downward, one group is won back for each group that is saturated; a ramp that is saturated
    in its first group is beyond help and keeps `skip`.
    """
    kept = skip
    if flags[0] & SATURATED:
        return kept
    needed = skip + 2
    while needed > 1 and flags[needed - 1] & SATURATED:
        kept = max(kept - 1, 0)
        needed -= 1
    return kept


@njit(cache=True, nogil=True, _nrt=False)
def flag_first_groups_ramp(flags: Any, n: int) -> None:
    """Set DO_NOT_USE in the first `n` groups."""
    for g in range(n):
        flags[g] |= DO_NOT_USE


# Drivers over rows [y0, y1) of cubes (nints, ngroups, ny, nx), for the functions that stand alone.


@njit(cache=True, nogil=True, _nrt=False)
def first_saturated_rows(data: Any, threshold: Any, first: Any, y0: int, y1: int) -> None:
    """Fill ``first (nints, ny, nx)`` int32 with `first_saturated_ramp`."""
    nints, ngroups, _, nx = data.shape
    for y in range(y0, y1):
        for i in range(nints):
            line_first = first[i, y]
            line_first[:] = ngroups
            for g in range(ngroups):
                line = data[i, g, y]
                for x in range(nx):
                    hit = g if line[x] >= threshold[y, x] else ngroups
                    line_first[x] = min(line_first[x], np.int32(hit))


@njit(cache=True, nogil=True, _nrt=False)
def flag_saturated_rows(data: Any, groupdq: Any, first: Any, y0: int, y1: int) -> None:
    """`flag_saturated_ramp` for every ramp, in the order of the cube."""
    nints, ngroups, _, nx = data.shape
    for y in range(y0, y1):
        for i in range(nints):
            for g in range(ngroups):
                for x in range(nx):
                    if data[i, g, y, x] <= 0:
                        groupdq[i, g, y, x] |= FLOOR
                    if g >= first[i, y, x]:
                        groupdq[i, g, y, x] |= SATURATED


@njit(cache=True, nogil=True)
def linearize_rows(data: Any, groupdq: Any, coefficients: Any, y0: int, y1: int) -> None:
    """`linearize_ramp` for every ramp; ``coefficients (ny, nx, ncoef)``."""
    nints, ngroups, _, nx = data.shape
    ramps = np.empty((nx, ngroups), data.dtype)
    flags = np.empty((nx, ngroups), np.uint8)
    work = np.empty(ngroups, data.dtype)
    for y in range(y0, y1):
        for i in range(nints):
            load_row(data, i, y, ramps)
            load_row(groupdq, i, y, flags)
            for x in range(nx):
                linearize_ramp(ramps[x], flags[x], coefficients[y, x], work)
            store_row(ramps, data, i, y)


@njit(cache=True, nogil=True, _nrt=False)
def subtract_rows(data: Any, reference: Any, plane: Any, n: int, y0: int, y1: int) -> None:
    """Subtract the first `n` groups of integration ``plane[i]`` of a reference cube from integration i."""
    nints, _, _, nx = data.shape
    for y in range(y0, y1):
        for i in range(nints):
            for g in range(n):
                for x in range(nx):
                    data[i, g, y, x] = data[i, g, y, x] - reference[plane[i], g, y, x]


@njit(cache=True, nogil=True, _nrt=False)
def flag_rscd_rows(groupdq: Any, skip: Any, kept: Any, y0: int, y1: int) -> None:
    """`rscd_skip_ramp` and `flag_first_groups_ramp`; ``skip (nints,)``, ``kept (nints, ny, nx)`` int16 is filled."""
    nints, _, _, nx = groupdq.shape
    for y in range(y0, y1):
        for i in range(nints):
            for x in range(nx):
                n = rscd_skip_ramp(groupdq[i, :, y, x], skip[i])
                kept[i, y, x] = n
                flag_first_groups_ramp(groupdq[i, :, y, x], n)
