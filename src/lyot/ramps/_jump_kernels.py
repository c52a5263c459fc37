"""Kernels of the jump detection: one pixel, one detector row. No checks, no allocation, no Python objects.

Arrays are pixel-major, one detector row at a time, so that everything of a pixel lies together in the cache:

- ``ramps`` (nx, nints, ngroups) float32 - ramps, DN;
- ``flags`` (nx, nints, ngroups) uint8 - group flags, changed in place;
- ``gain`` (nx,) float32, electrons/DN; ``read_noise`` (nx,) float32, DN, of a difference of two reads (CDS);
- ``seeds`` (capacity,) int64 - jumps that flag their neighbors, each ``column * nints * ngroups + integration *
  ngroups + group``. A capacity of ``nx * nints * ngroups`` is always enough, and as `numpy.empty` touches no memory,
  costs nothing;
- ``work``: see `work_arrays`, one per thread.

Kernels that allocate nothing are compiled with ``_nrt=False``: each slice of an array would otherwise count references
with locked instructions, which cost more than the arithmetic on a ramp, and more again when threads share the array.

The arithmetic repeats that of stcal 1.20, for identical flags at the threshold: charges are rounded to float32 after
the gain, differences are float32, medians and noise float64. The order of the calls is in `lyot.ramps.jump`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from lyot.ramps._jump_clip import clip_all, clip_integrations
from lyot.ramps._jump_median import NONE, SAMPLE, first_guess, key_of, median_of_keys, nan_median, to_keys, value_of

DNU_OR_SATURATED = np.uint8(3)
JUMP = np.uint8(4)
TILE = 32


class Work(NamedTuple):
    """Scratch of one thread."""

    diffs: Any
    """(nints * (ngroups - 1),) float32: differences of a pixel, electrons, NaN where not usable; or their keys."""
    kept: Any
    """(nints * ngroups + 1,) float32."""
    sample: Any
    """(SAMPLE + 1,) int32."""
    wide: Any
    """(nints * ngroups + 1,) float64."""


def work_arrays(nints: int, ngroups: int) -> Work:
    """Allocate the scratch of one thread for ramps of this size."""
    total = nints * ngroups + 1
    return Work(
        np.empty(nints * max(ngroups - 1, 0), np.float32),
        np.empty(total, np.float32),
        np.empty(SAMPLE + 1, np.int32),
        np.empty(total, np.float64),
    )


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def gather_row(cube: Any, row: Any, out: Any) -> Any:
    """Copy one row of a (nints, ngroups, ny, nx) cube to pixel-major ``out`` (nx, nints, ngroups), in tiles."""
    nints, ngroups, _, nx = cube.shape
    for integration in range(nints):
        for g0 in range(0, ngroups, TILE):
            g1 = min(g0 + TILE, ngroups)
            for x0 in range(0, nx, TILE):
                for x in range(x0, min(x0 + TILE, nx)):
                    for g in range(g0, g1):
                        out[x, integration, g] = cube[integration, g, row, x]


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def scatter_row(values: Any, row: Any, cube: Any) -> Any:
    """Copy pixel-major ``values`` (nx, nints, ngroups) back to one row of a (nints, ngroups, ny, nx) cube."""
    nints, ngroups, _, nx = cube.shape
    for integration in range(nints):
        for g0 in range(0, ngroups, TILE):
            g1 = min(g0 + TILE, ngroups)
            for x0 in range(0, nx, TILE):
                for g in range(g0, g1):
                    for x in range(x0, min(x0 + TILE, nx)):
                        cube[integration, g, row, x] = values[x, integration, g]


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def flags_union(flags: Any) -> Any:
    """Bitwise OR of one integration's flags (ngroups,) uint8."""
    union = np.uint8(0)
    for g in range(flags.size):
        union = np.uint8(union | flags[g])  # the cast keeps the loop in bytes
    return union


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def difference_pixel(ramp: Any, flag: Any, gain: Any, diffs: Any) -> Any:
    """Differences of adjacent groups in electrons, NaN where either group is DO_NOT_USE or SATURATED.

    ``ramp``, ``flag`` (nints, ngroups); ``diffs`` (nints * (ngroups - 1),) float32 is filled.
    """
    nints, ngroups = ramp.shape
    nd = ngroups - 1
    for i in range(nints):
        y = ramp[i]
        d = diffs[i * nd : (i + 1) * nd]
        for k in range(nd):
            d[k] = y[k + 1] * gain - y[k] * gain
        if flags_union(flag[i]) & DNU_OR_SATURATED:
            f = flag[i]
            for k in range(nd):
                bad = np.uint8((f[k] | f[k + 1]) & DNU_OR_SATURATED)
                d[k] = np.float32(np.nan) if bad else d[k]


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def noise_of(median: Any, noise_squared: Any, nframes: Any) -> Any:
    """Standard deviation of a difference, electrons; NaN when it is zero (such pixels have no jumps)."""
    sigma = np.sqrt(np.abs(np.float64(median)) + np.float64(noise_squared) / np.float64(nframes))
    return sigma if sigma != 0.0 else np.nan


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _flag_single_pass(keys: Any, flag: Any, median: Any, sigma: Any, threshold: Any) -> Any:
    """Flag every difference further than `threshold` sigma from the median; ``keys`` are those of the differences."""
    nints, ngroups = flag.shape
    nd = ngroups - 1
    if not (sigma > 0.0):
        return
    # limits a little inside the true ones: the exact test is made only beyond them
    span = threshold * sigma
    slack = 1e-5 * (np.abs(median) + span)
    low = key_of(median - span + slack)
    high = key_of(median + span - slack)
    for i in range(nints):
        row = keys[i * nd : (i + 1) * nd]
        beyond = np.int32(0)
        for k in range(nd):
            beyond = np.int32(beyond + np.int32((row[k] < low) | ((row[k] > high) & (row[k] != NONE))))
        if beyond == 0:
            continue
        for k in range(nd):
            if (row[k] < low or row[k] > high) and row[k] != NONE:
                v = np.float64(value_of(row[k]))
                if np.isfinite(v) and np.abs(v - median) / sigma > threshold:
                    flag[i, k + 1] |= JUMP


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _clipped_median(diffs: Any, usable: Any, largest: Any, work: Any) -> Any:
    """Median after leaving out the largest value (4 or more usable), of all (3), or the smaller of two."""
    n = diffs.size
    if usable < 2:
        return np.nan
    if usable == 2:
        smallest = np.float32(np.inf)
        for k in range(n):
            if diffs[k] < smallest:
                smallest = diffs[k]
        return np.float64(smallest)
    if usable == 3:
        return nan_median(diffs, work.kept)
    rest = work.wide[: n // 2 + 1].view(np.float32)[:n]
    for k in range(n):
        rest[k] = np.nan if diffs[k] == largest else diffs[k]
    return nan_median(rest, work.kept)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _usable(a: Any) -> Any:
    """Number of values that are not NaN, and the largest of them."""
    usable = 0
    largest = np.float32(-np.inf)
    for k in range(a.size):
        usable += a[k] == a[k]
        if a[k] > largest:
            largest = a[k]
    return usable, largest


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _ratio(value: Any, median: Any, sigma: Any) -> Any:
    """Distance from the median in sigma; the difference is rounded to float32, as officially."""
    return np.float64(np.abs(np.float32(np.float64(value) - median))) / sigma


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _threshold(usable: Any, plan: Any) -> Any:
    """Threshold for this number of usable differences."""
    if usable == 3:
        return plan.threshold_3diffs
    return plan.threshold_2diffs if usable == 2 else plan.threshold


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _flag_iterative(flag: Any, noise_squared: Any, plan: Any, work: Any) -> Any:
    """Flag the largest outlier of a pixel, leave it out, and look again, until none is left. Spoils ``work.diffs``."""
    nd = flag.shape[1] - 1
    a = work.diffs
    for k in range(a.size):
        a[k] = np.abs(a[k])
    for step in range(a.size):
        usable, largest = _usable(a)
        if usable < 2:
            return
        median = _clipped_median(a, usable, largest, work)
        if step > 0:
            median = np.float64(np.float32(median))
        sigma = noise_of(median, noise_squared, plan.nframes)
        best = -1.0
        for k in range(a.size):
            ratio = _ratio(a[k], median, sigma)
            if ratio > best:
                best = ratio
        if not (best > _threshold(usable, plan)):
            return
        for k in range(a.size):
            if _ratio(a[k], median, sigma) == best:
                flag[k // nd, k % nd + 1] |= JUMP
                a[k] = np.nan


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def jump_pixel(ramp: Any, flag: Any, gain: Any, read_noise: Any, plan: Any, work: Any) -> Any:
    """Flag the jumps of one pixel.

    Parameters
    ----------
    ramp : (nints, ngroups) float32 ndarray
        Ramps, DN.
    flag : (nints, ngroups) uint8 ndarray
        Group flags; JUMP_DET is added.
    gain, read_noise : float32
        See the module.
    plan : JumpPlan
    work : Work

    Returns
    -------
    median, sigma : float64
        Median difference and its noise, electrons; NaN when no difference is usable.
    """
    difference_pixel(ramp, flag, gain, work.diffs)
    keys = work.diffs.view(np.int32)
    if plan.method == 1 or plan.method == 5:
        valid = to_keys(keys)
        guess, density = first_guess(keys, work.sample)
        median = median_of_keys(keys, valid, guess, density * valid, work.kept.view(np.int32))
    else:
        median = nan_median(work.diffs, work.kept)
    noise = read_noise * gain
    noise_squared = noise * noise
    sigma = noise_of(median, noise_squared, plan.nframes)
    if plan.method == 1:
        _flag_single_pass(keys, flag, median, sigma, plan.threshold)
    elif plan.method == 2:
        _flag_iterative(flag, noise_squared, plan, work)
    elif plan.method == 3:
        clip_integrations(work.diffs, flag, plan.threshold, work.wide)
    elif plan.method == 4:
        clip_all(work.diffs, flag, plan.threshold, work.wide)
    return median, sigma


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _seeds_pixel(ramp: Any, flag: Any, gain: Any, limits: Any, first: Any, seeds: Any, count: Any) -> Any:
    """Append the jumps of one pixel that flag neighbors; return (new count, number of flagged groups).

    ``limits`` = (median, sigma, smallest, largest jump in sigma); ``first`` = number of integrations in the pixels
    before this one in the row.
    """
    nints, ngroups = ramp.shape
    median, sigma, smallest, largest = limits
    primary = 0
    for i in range(nints):
        if not flags_union(flag[i]) & JUMP:
            continue
        for g in range(ngroups):
            if not flag[i, g] & JUMP:
                continue
            primary += 1
            if g == 0 or (flag[i, g] | flag[i, g - 1]) & DNU_OR_SATURATED:
                continue
            d = np.float32(ramp[i, g] * gain - ramp[i, g - 1] * gain)
            ratio = np.abs(np.float64(d) - median) / sigma
            if ratio < largest and ratio > smallest:
                seeds[count] = (first + i) * ngroups + g
                count += 1
    return count, primary


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def detect_row(
    ramps: Any, flags: Any, gain: Any, read_noise: Any, plan: Any, medians: Any, seeds: Any, work: Any
) -> Any:
    """Flag the jumps of each pixel of one detector row, and list those that flag neighbors.

    Parameters
    ----------
    ramps, flags, gain, read_noise, seeds, work
        See the module; `flags` and `seeds` are written.
    plan : JumpPlan
    medians : (nx,) float64 ndarray
        Filled with the median difference of each pixel (the mean of those of its integrations, where the plan takes
        each by itself), electrons, for `finish_row`.

    Returns
    -------
    nseeds : int
        Number of seeds written.
    primary : int
        Number of flagged groups.
    """
    count = 0
    primary = 0
    if plan.method == 0:
        return count, primary
    nints = ramps.shape[1]
    together = 1 if plan.by_integration else nints
    part = Work(work.diffs[: together * max(ramps.shape[2] - 1, 0)], work.kept, work.sample, work.wide)
    for x in range(ramps.shape[0]):
        total = 0.0
        known = 0
        for i in range(0, nints, together):
            ramp, flag = ramps[x, i : i + together], flags[x, i : i + together]
            median, sigma = jump_pixel(ramp, flag, gain[x], read_noise[x], plan, part)
            limits = (median, sigma, plan.min_neighbor, plan.max_neighbor)
            count, more = _seeds_pixel(ramp, flag, gain[x], limits, x * nints + i, seeds, count)
            primary += more
            if median == median:
                total += median
                known += 1
        medians[x] = total / known if known else np.nan
    return count, primary


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def neighbors_row(flags: Any, seeds_here: Any, seeds_beside: Any) -> Any:
    """Flag the neighbors of seeds in one row.

    Parameters
    ----------
    flags : (nx, nints, ngroups) uint8 ndarray
        Flags of the row; JUMP_DET is added where neither SATURATED nor DO_NOT_USE is set.
    seeds_here : (n,) int64 ndarray
        Seeds of this row (sliced to their number): the pixels left and right are flagged.
    seeds_beside : (n,) int64 ndarray
        Seeds of the row above or below: the pixel in the same column is flagged. Call once for each.
    """
    nx, nints, ngroups = flags.shape
    size = nints * ngroups
    flat = flags.reshape(nx * size)
    for s in range(seeds_here.size):
        at = seeds_here[s]
        if at >= size and not flat[at - size] & DNU_OR_SATURATED:
            flat[at - size] |= JUMP
        if at + size < flat.size and not flat[at + size] & DNU_OR_SATURATED:
            flat[at + size] |= JUMP
    for s in range(seeds_beside.size):
        at = seeds_beside[s]
        if not flat[at] & DNU_OR_SATURATED:
            flat[at] |= JUMP


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _after_jumps(ramp: Any, flag: Any, gain: Any, median: Any, plan: Any) -> Any:
    """Flag the groups that follow a strong jump in one integration: ``ramp``, ``flag`` (ngroups,)."""
    ngroups = ramp.size
    for g in range(ngroups - 1, 0, -1):  # backwards: flags added here must not count as jumps
        if not flag[g] & JUMP or (flag[g] | flag[g - 1]) & DNU_OR_SATURATED:
            continue
        d = np.float64(np.float32(ramp[g] * gain - ramp[g - 1] * gain)) - median
        last = g
        if d >= plan.after_e1:
            last = max(last, g + plan.after_n1)
        if d >= plan.after_e2:
            last = max(last, g + plan.after_n2)
        for h in range(g + 1, min(last + 1, ngroups)):
            if not flag[h] & DNU_OR_SATURATED:
                flag[h] |= JUMP


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def finish_row(ramps: Any, flags: Any, gain: Any, medians: Any, plan: Any) -> Any:
    """Flag the groups after strong jumps, if asked, and clear JUMP_DET where the group is not usable anyway."""
    nx, nints, ngroups = flags.shape
    after = plan.method != 0 and (plan.after_n1 > 0 or plan.after_n2 > 0)
    for x in range(nx):
        for i in range(nints):
            union = flags_union(flags[x, i])
            if not union & JUMP:
                continue
            if after:
                _after_jumps(ramps[x, i], flags[x, i], gain[x], medians[x], plan)
            if union & DNU_OR_SATURATED:
                for g in range(ngroups):
                    if flags[x, i, g] & DNU_OR_SATURATED:
                        flags[x, i, g] &= ~JUMP
