"""Kernels that move ramps between the order of files and the order in which ramps are worked on.

Files and data models hold ``(integration, group, y, x)``: consecutive groups of a pixel are a whole image apart. All
kernels of this room work on one ramp at a time, groups consecutive, so a row of pixels is turned over on the way in and
back on the way out. No checks here; the callers have made them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

X_BLOCK = 96
"""Pixels turned over at a time: their ramps' cache lines stay in the first-level cache."""


@njit(cache=True, nogil=True)
def load_row(cube: Any, i: int, y: int, rows: Any) -> None:
    """Copy row `y` of integration `i` of ``cube (nints, ngroups, ny, nx)`` into ``rows (nx, ngroups)``."""
    nx, ngroups = rows.shape
    for x0 in range(0, nx, X_BLOCK):
        x1 = min(x0 + X_BLOCK, nx)
        for g in range(ngroups):
            line = cube[i, g, y]
            for x in range(x0, x1):
                rows[x, g] = line[x]


@njit(cache=True, nogil=True)
def store_row(rows: Any, cube: Any, i: int, y: int) -> None:
    """Copy ``rows (nx, ngroups)`` back into row `y` of integration `i` of ``cube (nints, ngroups, ny, nx)``."""
    nx, ngroups = rows.shape
    for x0 in range(0, nx, X_BLOCK):
        x1 = min(x0 + X_BLOCK, nx)
        for g in range(ngroups):
            line = cube[i, g, y]
            for x in range(x0, x1):
                line[x] = rows[x, g]


@njit(cache=True, nogil=True)
def load_raw_row(raw: Any, y: int, x0: int, ramps: Any) -> None:
    """Decode row `y` of a level-1b cube from column `x0` on into ``ramps (n, nints, ngroups)`` float32, DN.

    ``raw (nints, ngroups, ny, nx)`` is the file's own memory, big-endian signed 16 bit with BZERO = 32768, looked at as
    uint16 of a little-endian machine.
    """
    n, nints, ngroups = ramps.shape
    for i in range(nints):
        for b0 in range(0, n, X_BLOCK):
            b1 = min(b0 + X_BLOCK, n)
            for g in range(ngroups):
                line = raw[i, g, y]
                for k in range(b0, b1):
                    v = line[x0 + k]
                    v = np.uint16((v >> np.uint16(8)) | (v << np.uint16(8))) ^ np.uint16(0x8000)
                    ramps[k, i, g] = np.float32(v)


@njit(cache=True, nogil=True)
def first_saturated_raw_row(raw: Any, y: int, limit: Any, first: Any) -> None:
    """First group at or above `limit` in each ramp of row `y`, for `raw` as in `load_raw_row`.

    ``limit (nx,)`` int32 DN (above 65535: never saturated); ``first (nints, nx)`` int32 is filled, with the number of
    groups where none is.
    """
    nints, ngroups, _, nx = raw.shape
    for i in range(nints):
        line_first = first[i]
        line_first[:] = ngroups
        for g in range(ngroups):
            line = raw[i, g, y]
            for x in range(nx):
                v = line[x]
                v = np.uint16((v >> np.uint16(8)) | (v << np.uint16(8))) ^ np.uint16(0x8000)
                hit = g if np.int32(v) >= limit[x] else ngroups
                line_first[x] = min(line_first[x], np.int32(hit))
