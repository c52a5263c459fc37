"""Kernels that move ramps between the order of files and the order in which ramps are worked on.

Files and data models hold ``(integration, group, y, x)``: consecutive groups of a pixel are a whole image apart. All
kernels of this room work on one ramp at a time, groups consecutive, so a row of pixels is turned over on the way in and
back on the way out. No checks here; the callers have made them.
"""

from __future__ import annotations

from typing import Any

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
