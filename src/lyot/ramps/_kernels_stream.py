"""Kernels of the streaming engine: read rows of planes from a file, turn them over, and correct one row of ramps.

Pixel-major arrays ``(row, x, integration, group)`` hold the ramps of a band of detector rows. Files are read with
``pread``, which needs no lock and no memory map: mapped pages would count as memory of the process. No checks here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from lyot.ramps import _kernels_corrections as kernels

JUMP = np.uint8(4)
DNU = np.uint8(1)
PERSISTENCE = np.uint8(32)
PLANES_AT_ONCE = 256
"""Planes read before they are turned over: most ramps whole, so that each is written at once to one place."""
PADDING = 32
"""Samples between planes: without, the groups of a pixel would share a few sets of the cache."""
TURN_AT_ONCE = 32
"""Planes of an array that are turned over together: their groups fill a cache line."""

_pread = types.ExternalFunction("pread", types.int64(types.int32, types.uintp, types.uintp, types.int64))


@njit(cache=True, nogil=True)
def _read(fd: Any, address: Any, size: Any, offset: Any) -> bool:
    """Read `size` bytes at `offset` to a memory address; False if the file ends before."""
    done = 0
    while done < size:
        got = _pread(np.int32(fd), np.uintp(address + done), np.uintp(size - done), np.int64(offset + done))
        if got <= 0:
            return False
        done += got
    return True


def _to_native(line: Any) -> None:
    """Bring samples as they are in a file into the byte order and meaning of this machine, in place.

    uint16: level-1b samples, int16 with BZERO = 32768. uint32: the bits of float32 values; those of NaN become zero.
    """


def _native_ramps(line: Any) -> None:
    for k in range(line.size):
        v = line[k]
        line[k] = np.uint16((v >> np.uint16(8)) | (v << np.uint16(8))) ^ np.uint16(0x8000)


def _native_floats(line: Any) -> None:
    for k in range(line.size):
        v = line[k]
        v = ((v & np.uint32(0x00FF00FF)) << np.uint32(8)) | ((v >> np.uint32(8)) & np.uint32(0x00FF00FF))
        v = np.uint32((v << np.uint32(16)) | (v >> np.uint32(16)))
        line[k] = np.uint32(0) if (v & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000) else v


@overload(_to_native, jit_options={"nogil": True})
def _to_native_of(line: Any) -> Any:
    return _native_ramps if line.dtype == types.uint16 else _native_floats


@njit(cache=True, nogil=True)
def read_rows(fd: Any, offset: Any, shape: Any, corner: Any, integrations: Any, out: Any) -> bool:
    """Read rows of an array in a file for some integrations and turn them over.

    Parameters
    ----------
    fd, offset : int
        Open file, and where its array (nints, ngroups, ny, nx) of big-endian int16 with BZERO = 32768, or of float32,
        begins.
    shape : (int, int, int, int)
        Of the array.
    corner : (int, int)
        First row and column.
    integrations : (int, int)
        First, and last + 1.
    out : (rows, columns, nints, groups) ndarray
        Filled for those integrations and the first groups: uint16, DN; or uint32, the bits of float32 values, zero for
        NaN.

    Returns
    -------
    bool
        False if the file ends before the array.
    """
    _, ngroups, ny, nx = shape
    rows, _, _, used = out.shape
    y0, x0 = corner
    planes = min(PLANES_AT_ONCE, used)
    scratch = np.empty((planes, rows * nx + PADDING), out.dtype)
    size = rows * nx * out.itemsize
    for i in range(integrations[0], integrations[1]):
        for g0 in range(0, used, planes):
            n = min(planes, used - g0)
            for k in range(n):
                at = offset + ((i * ngroups + g0 + k) * ny + y0) * nx * out.itemsize
                if not _read(fd, scratch[k].ctypes.data, size, at):
                    return False
            _turn_read(scratch, nx, x0, i, (g0, g0 + n), out)
    return True


@njit(cache=True, nogil=True, _nrt=False)
def _turn_read(scratch: Any, nx: Any, x0: Any, i: Any, groups: Any, out: Any) -> None:
    """Turn over planes that were read, ``scratch (planes, rows * nx)``, into some groups of integration `i`."""
    rows, columns = out.shape[:2]
    n = groups[1] - groups[0]
    for y in range(rows):
        for x in range(columns):
            line = out[y, x, i, groups[0] : groups[1]]
            at = y * nx + x0 + x
            for k in range(n):
                line[k] = scratch[k, at]
            _to_native(line)  # afterwards, where they lie together: in vector instructions


@njit(cache=True, nogil=True)
def turn_rows(cube: Any, corner: Any, integrations: Any, out: Any) -> None:
    """Turn over rows of an array ``cube (nints, ngroups, ny, nx)`` into ``out (rows, columns, nints, ngroups)``."""
    rows, columns, _, ngroups = out.shape
    y0, x0 = corner
    for i in range(integrations[0], integrations[1]):
        for y in range(rows):
            for g0 in range(0, ngroups, TURN_AT_ONCE):
                for x in range(columns):
                    for g in range(g0, min(g0 + TURN_AT_ONCE, ngroups)):
                        out[y, x, i, g] = cube[i, g, y0 + y, x0 + x]


@njit(cache=True, nogil=True, _nrt=False)
def first_saturated(ramps: Any, threshold: Any, corner: Any, integrations: Any, first: Any) -> None:
    """First saturated group of ``ramps (rows, columns, nints, ngroups)``, for ``threshold (ny, nx)`` float32, DN.

    ``first (nints, ny, nx)`` int32 is filled for some integrations, from row and column ``corner`` on.
    """
    rows, nx, _, ngroups = ramps.shape
    y0, x0 = corner
    for y in range(rows):
        for x in range(nx):
            limit = threshold[y0 + y, x0 + x]
            for i in range(integrations[0], integrations[1]):
                ramp = ramps[y, x, i]
                top = ramp[0]
                for g in range(1, ngroups):
                    top = max(top, ramp[g])
                first[i, y0 + y, x0 + x] = kernels.first_saturated_ramp(ramp, limit) if top >= limit else ngroups


@njit(cache=True, nogil=True, _nrt=False)
def grow_first_row(first: Any, y: Any, columns: Any, n: Any, grown: Any) -> None:
    """Earliest first saturated group within `n` pixels, for row `y` of ``first (nints, ny, nx)`` int32.

    ``grown (nints, x1 - x0)`` is filled for columns ``(x0, x1)``.
    """
    nints, ny, nx = first.shape
    x0, x1 = columns
    for i in range(nints):
        for x in range(x0, x1):
            least = first[i, y, x]
            for b in range(max(y - n, 0), min(y + n + 1, ny)):
                for a in range(max(x - n, 0), min(x + n + 1, nx)):
                    least = min(least, first[i, b, a])
            grown[i, x - x0] = least


class RowReferences(NamedTuple):
    """References for one row of ramps, each pixel's values consecutive; see `correct_row`."""

    base: Any
    """(nx,) uint8: flags of every group, from the mask."""
    reset: Any
    """(nx, reset integrations, reset groups) float32, DN."""
    coefficients: Any
    """(nx, ncoef) float32: linearity, lowest order first."""
    dark: Any
    """(nx, dark integrations, groups) floating, DN."""


class RowSettings(NamedTuple):
    """What is done to the ramps of an exposure; the same for each row."""

    saturation: bool
    last_frame: bool
    reset_groups: int
    """Groups from which the reset anomaly is subtracted; 0 for none."""
    linearity: bool
    rscd: bool
    dark: bool
    reset_plane: Any
    """(nints,) int64: integration of the reset reference for each of the exposure."""
    dark_plane: Any
    """(nints,) int64."""
    skip: Any
    """(nints,) int64: groups given up for RSCD."""


@njit(cache=True, nogil=True, _nrt=False)
def correct_row(raw: Any, first: Any, refs: Any, settings: Any, ramps: Any, flags: Any, kept: Any, work: Any) -> None:
    """Take one row of raw ramps through all corrections, in the order of the official pipeline.

    Parameters
    ----------
    raw : (nx, nints, ngroups) uint16 or float32 ndarray
        Raw ramps, DN.
    first : (nints, nx) int32 ndarray
        First saturated groups, grown to the neighbors.
    refs : RowReferences
    settings : RowSettings
    ramps, flags : (nx, nints, ngroups) float32 and uint8 ndarrays
        Filled.
    kept : (nints, nx) int64 ndarray
        Filled with the groups given up for RSCD.
    work : (ngroups,) float32 ndarray
        Scratch.
    """
    nx, nints, ngroups = ramps.shape
    for x in range(nx):
        for i in range(nints):
            ramp, flag, source = ramps[x, i], flags[x, i], raw[x, i]
            for g in range(ngroups):
                ramp[g] = np.float32(source[g])
            base = refs.base[x]
            for g in range(ngroups):
                flag[g] = base
            if settings.saturation:
                kernels.flag_saturated_ramp(ramp, flag, first[i, x])
            if settings.last_frame:
                flag[ngroups - 1] |= DNU
            if settings.reset_groups > 0:
                kernels.subtract_ramp(ramp, refs.reset[x, settings.reset_plane[i]], settings.reset_groups)
            if settings.linearity:
                kernels.linearize_ramp(ramp, flag, refs.coefficients[x], work)
            if settings.rscd:
                n = kernels.rscd_skip_ramp(flag, settings.skip[i])
                kept[i, x] = n
                kernels.flag_first_groups_ramp(flag, n)
            if settings.dark:
                kernels.subtract_ramp(ramp, refs.dark[x, settings.dark_plane[i]], ngroups)


@njit(cache=True, nogil=True, _nrt=False)
def survey_row(flags: Any, common: Any) -> None:
    """AND the flags of ``(nx, nints, ngroups)`` ramps into ``common (nints, ngroups)`` uint8."""
    nx, nints, ngroups = flags.shape
    for x in range(nx):
        for i in range(nints):
            for g in range(ngroups):
                common[i, g] &= flags[x, i, g]


@njit(cache=True, nogil=True, _nrt=False)
def survey_fit_row(flags: Any, suppress: bool, common: Any) -> None:
    """As `survey_row`, for the flags that the fit sees: with `suppress`, a ramp with a single good group has none."""
    nx, nints, ngroups = flags.shape
    for x in range(nx):
        for i in range(nints):
            flag = flags[x, i]
            good = 0
            if suppress:
                for g in range(ngroups):
                    good += (flag[g] & ~PERSISTENCE) == 0
            if good == 1:
                continue
            for g in range(ngroups):
                common[i, g] &= flag[g]


@njit(cache=True, nogil=True, _nrt=False)
def count_jumps(flags: Any) -> int:
    """Number of groups with JUMP_DET in ``(nx, nints, ngroups)`` flags."""
    nx, nints, ngroups = flags.shape
    total = 0
    for x in range(nx):
        for i in range(nints):
            n = 0
            for g in range(ngroups):
                n += (flags[x, i, g] & JUMP) != 0
            total += n
    return total


@njit(cache=True, nogil=True, _nrt=False)
def survey_full_row(flags: Any, full: Any, only: Any) -> None:
    """Groups that are flagged in every pixel: for sigma clipping, where such jumps are taken back.

    ``full (nints, ngroups)`` bool stays True where every pixel has JUMP_DET or DO_NOT_USE; `only` becomes True where
    some pixel has JUMP_DET and nothing else.
    """
    nx, nints, ngroups = flags.shape
    for x in range(nx):
        for i in range(nints):
            for g in range(ngroups):
                flag = flags[x, i, g]
                full[i, g] &= (flag & (JUMP | DNU)) != 0
                only[i, g] |= flag == JUMP


@njit(cache=True, nogil=True)
def head_survey(raw: Any, threshold: Any, base: Any, n: Any, skip: Any, common: Any) -> None:
    """Which of the first groups of one integration are unusable in every pixel, before anything is streamed.

    Parameters
    ----------
    raw : (m, ny, nx) uint16 or float32 ndarray
        First `m` groups, DN, in native byte order.
    threshold : (ny, nx) float32 ndarray
        Saturation, DN.
    base : (ny, nx) uint8 ndarray
        Flags from the mask.
    n : int
        Pixels by which saturation grows.
    skip : int
        Groups given up for RSCD; ``skip + 2 <= m``.
    common : (m,) bool ndarray
        Becomes False where some pixel is usable.
    """
    m, ny, nx = raw.shape
    first = np.full((ny, nx), m, np.int32)
    for g in range(m - 1, -1, -1):
        for y in range(ny):
            for x in range(nx):
                if raw[g, y, x] >= threshold[y, x]:
                    first[y, x] = g
    flag = np.empty(m, np.uint8)
    grown = np.empty((1, nx), np.int32)
    whole = first.reshape(1, ny, nx)
    for y in range(ny):
        grow_first_row(whole, y, (0, nx), n, grown)
        for x in range(nx):
            if base[y, x] & DNU:
                continue
            for g in range(m):
                flag[g] = kernels.SATURATED if g >= grown[0, x] else 0
            for g in range(kernels.rscd_skip_ramp(flag, skip), m):
                if raw[g, y, x] > 0:
                    common[g] = False
