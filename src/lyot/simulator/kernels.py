"""Compiled ramp maker: one band of rows of one integration, straight to the bytes of the file."""

# numba has no types: a decorated kernel is checked through its annotated caller
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from lyot.simulator.random import fill_normal, fill_poisson, poisson_one, seed_stream

_U16 = np.uint16


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def encode(value: Any) -> Any:  # pragma: no cover - compiled
    """uint16 value as the two bytes of a FITS int16 with BZERO = 32768 (read as a little-endian uint16)."""
    v = _U16(value) ^ _U16(0x8000)
    return _U16((v >> _U16(8)) | (v << _U16(8)))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def measured_from_linear(linear: Any, c2: Any, c3: Any) -> Any:  # pragma: no cover - compiled
    """Solve ``m + c2 m^2 + c3 m^3 = linear`` for m >= 0: series and one Newton step, to 0.02 DN up to the full well."""
    m = linear * (
        1.0 - linear * (c2 + linear * (c3 - 2.0 * c2 * c2 - linear * 5.0 * c2 * c3 - linear * linear * 3.0 * c3 * c3))
    )
    return m - (m * (1.0 + m * (c2 + m * c3)) - linear) / (1.0 + m * (2.0 * c2 + 3.0 * m * c3))


@njit(cache=True, nogil=True, error_model="numpy")
def ramp_rows(
    out: Any, level: Any, rows: Any, key: Any, light: Any, tables: Any, maps: Any, coefficients: Any, scalars: Any,
    reset_profile: Any, rscd_profile: Any, last_frame: Any, hit_start: Any, hits: Any,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """Draw rows [rows[0], rows[1]) of one integration.

    Parameters
    ----------
    out : (ngroups, ny, nx) uint16 ndarray
        Receives the encoded ramp (see `encode`).
    level : (ny, nx) float32 ndarray
        Level above pedestal at the end of the integration before, DN (0 before the first); receives that of this one.
    rows : (first, last + 1)
        Rows to draw.
    key : (seed, exposure, integration)
        Key of the random streams, one per row.
    light : (2, ny, nx) float64 ndarray
        Expected electrons per group, and its change from one group to the next (zeros without brighter-fatter effect).
    tables : (ny, nx, 128) uint32 ndarray
        Alias tables of light[0], from `lyot.simulator.random.poisson_tables`.
    maps : (4, ny, nx) float32 ndarray
        1 / gain [DN/e], noise of one read [DN], pedestal [DN], reset amplitude [DN].
    coefficients : (2, ny, nx) float64 ndarray
        Second and third order of the linearity correction.
    scalars : (ktc_noise, linear_limit, full_well)
        DN.
    reset_profile, rscd_profile : (ngroups,) float32 ndarray
        Factor of the reset amplitude, and of `level` (to be subtracted), by group.
    last_frame : (even, odd) float
        Fraction of the level that the last group is pulled down by.
    hit_start : (ny + 1,) int64 ndarray, hits : (3, n) float64 ndarray
        Cosmic-ray charge by pixel: group, column and charge [e], sorted by row and then group; those of row r are
        hit_start[r]:hit_start[r + 1].
    """
    ngroups, _, nx = out.shape
    state = np.empty(4, dtype=np.uint64)
    bits = np.empty(nx, dtype=np.uint64)
    noise = np.empty(nx)
    electrons = np.empty(nx)
    roots = np.empty(nx)
    linear = np.empty(nx)
    ktc_noise, linear_limit, full_well = scalars
    for r in range(rows[0], rows[1]):
        seed_stream(state, key[0], key[1], key[2], r)
        fill_normal(state, bits, noise)
        changing = False
        for x in range(nx):
            linear[x] = maps[2, r, x] + ktc_noise * noise[x]
            roots[x] = math.sqrt(light[0, r, x])
            changing = changing or light[1, r, x] != 0.0
        hit = hit_start[r]
        for g in range(ngroups):
            while hit < hit_start[r + 1] and hits[0, hit] <= g:
                column = int(hits[1, hit])
                linear[column] += hits[2, hit] * maps[0, r, column]
                hit += 1
            if changing:
                for x in range(nx):
                    electrons[x] = poisson_one(state, light[0, r, x] + g * light[1, r, x])
            else:
                fill_poisson(state, bits, light[0, r], roots, tables[r], electrons)
            fill_normal(state, bits, noise)
            pull = last_frame[r & 1] if g == ngroups - 1 else 0.0
            reset, rscd = reset_profile[g], rscd_profile[g]
            for x in range(nx):
                linear[x] += electrons[x] * maps[0, r, x]
                limited = min(linear[x], linear_limit)
                value = measured_from_linear(limited, coefficients[0, r, x], coefficients[1, r, x])
                value += reset * maps[3, r, x] - rscd * level[r, x] - pull * (limited - maps[2, r, x])
                noise[x] = value + maps[1, r, x] * noise[x]
            for x in range(nx):
                out[g, r, x] = encode(np.int32(min(max(noise[x], 0.0), full_well) + 0.5))
        for x in range(nx):
            level[r, x] = min(linear[x], linear_limit) - maps[2, r, x]


@njit(cache=True, nogil=True, error_model="numpy")
def reference_rows(out: Any, rows: Any, key: Any, level: Any, noise: Any) -> None:  # pragma: no cover - compiled
    """Draw rows of the reference output of one integration: a level that differs by row, and Gaussian read noise.

    out : (ngroups, ny // 4, nx) uint16; level, noise in DN; key as in `ramp_rows` (rows offset to separate streams).
    """
    ngroups, _, nx = out.shape
    state = np.empty(4, dtype=np.uint64)
    bits = np.empty(nx, dtype=np.uint64)
    deviates = np.empty(nx)
    for r in range(rows[0], rows[1]):
        seed_stream(state, key[0], key[1], key[2], r + 65536)
        fill_normal(state, bits, deviates)
        offset = level + 6.0 * deviates[0]
        for g in range(ngroups):
            fill_normal(state, bits, deviates)
            for x in range(nx):
                out[g, r, x] = encode(np.int32(min(max(offset + noise * deviates[x], 0.0), 65535.0) + 0.5))
