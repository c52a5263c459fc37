"""Kernels of the slope fit by optimally weighted least squares: one segment, one pixel, one detector row.

What stcal 1.20 calls OLS_C: each integration's ramp is cut into segments at flagged groups; each segment is fitted with weights
``|x|**power`` (x from -1 to 1 along the segment, the power rising with its signal to noise; Fixsen et al. 2000, PASP 112, 1350),
and segments are averaged by the inverse of their read-noise variance, over the integration and over the exposure.

Here sums are taken about the middle of the segment, where the weights are symmetric: the slope is then one weighted sum over the
other, without the cancellation of the textbook form, and the loop runs in vector instructions. It agrees with the official code
to float32 rounding. Arrays are pixel-major, as in `lyot.ramps._jump_kernels`; no checks, no allocation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from lyot.ramps._jump_kernels import flags_union
from lyot.ramps._jump_median import SAMPLE, first_guess, median_of_keys, to_keys

DNU = np.uint8(1)
SATURATED = np.uint8(2)
JUMP = np.uint8(4)
PERSISTENCE = np.uint8(32)
CHARGELOSS = np.uint8(128)
NOT_PERSISTENCE = np.uint8(255 - 32)
INVALID = np.uint32(3)
NO_GAIN = np.uint32(524288 | 1)
LARGE_VARIANCE = 1.0e6
"""Variances (DN/s)**2 from here on are written as zero, as officially."""


class FitPlan(NamedTuple):
    """What the kernels need to know, the same for every pixel of an exposure; made by `lyot.ramps.ramp_fit.plan_fit`."""

    first: int
    """First group used; the groups before it are DO_NOT_USE in every pixel."""
    last: int
    """One more than the last group used."""
    suppress_one_group: bool
    clear_first_jump: bool
    """Leading groups were dropped: JUMP_DET of the first remaining group means nothing."""
    chargeloss: bool
    """Some group has CHARGELOSS: its read-noise variance is computed as if it had been used."""
    group_time: float
    one_group_time: float
    """Exposure time of the first group, for ramps of which only that is good, s."""


class FitWork(NamedTuple):
    """Scratch of one thread."""

    diffs: Any
    kept: Any
    sample: Any
    valid: Any
    """(nints,) int32: number of usable differences."""
    original: Any
    """(nints, ngroups) uint8: flags before suppression."""
    only_first: Any
    """(nints,) uint8: only the first group is good."""
    weights: Any
    """Weights |x|**0.4 of segments of every length, one after the other."""


class FitArrays(NamedTuple):
    """Result arrays: rate (ny, nx) and, with ``_ints``, rateints (nints, ny, nx). DN/s; variances (DN/s)**2."""

    slope: Any
    dq: Any
    var_poisson: Any
    var_rnoise: Any
    err: Any
    slope_ints: Any
    dq_ints: Any
    var_poisson_ints: Any
    var_rnoise_ints: Any
    err_ints: Any


def fit_work(nints: int, ngroups: int) -> FitWork:
    """Allocate the scratch of one thread for ramps of this size."""
    total = nints * ngroups
    return FitWork(
        np.empty(total, np.float32),
        np.empty(total + 1, np.int32),
        np.empty(SAMPLE + 1, np.int32),
        np.empty(nints, np.int32),
        np.empty((nints, ngroups), np.uint8),
        np.empty(nints, np.uint8),
        _weights_table(ngroups),
    )


def fit_arrays(nints: int, ny: int, nx: int) -> FitArrays:
    """Allocate the result arrays."""
    image, cube = (ny, nx), (nints, ny, nx)
    parts = []
    for shape in (image, cube):
        parts += [np.zeros(shape, np.float32), np.zeros(shape, np.uint32)]
        parts += [np.zeros(shape, np.float32) for _ in range(3)]
    return FitArrays(*parts)


def _weights_table(ngroups: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """|x|**0.4 for segments of 0, 1, ... `ngroups` groups; those of length n start at n * (n - 1) / 2."""
    table = np.ones(ngroups * (ngroups + 1) // 2 + 1)
    for n in range(2, ngroups + 1):
        x = np.linspace(-1.0, 1.0, n)
        table[n * (n - 1) // 2 :][:n] = np.abs(x, dtype=np.float32) ** np.float32(0.4)
    return table


@njit(cache=True, nogil=True, error_model="numpy")
def snr_class(snr):
    """Index of the weighting power 0, 0.4, 1, 3, 6, 10 for a signal to noise."""
    if snr < 5.0:
        return 0
    if snr < 10.0:
        return 1
    if snr < 20.0:
        return 2
    if snr < 50.0:
        return 3
    if snr < 100.0:
        return 4
    return 5


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def weighted_slope(y, kind, weights):
    """Slope of one segment per group, with the weighting of `snr_class`.

    Parameters
    ----------
    y : (n >= 3,) float32 ndarray
        The segment, DN; a NaN counts as zero, as officially.
    kind : int
        See `snr_class`.
    weights : (n,) float64 ndarray
        |x|**0.4.
    """
    n = y.size
    middle = (n - 1) / 2.0
    step = 1.0 / middle
    zero = np.float64(y[0]) if y[0] == y[0] else 0.0
    total = 0.0
    norm = 0.0
    if kind == 0:
        for k in range(n):
            x = k * step - 1.0
            v = (np.float64(y[k]) if y[k] == y[k] else 0.0) - zero
            total += x * v
            norm += x * x
    elif kind == 1:
        for k in range(n):
            x = k * step - 1.0
            v = (np.float64(y[k]) if y[k] == y[k] else 0.0) - zero
            wx = weights[k] * x
            total += wx * v
            norm += wx * x
    elif kind == 2:
        for k in range(n):
            x = k * step - 1.0
            v = (np.float64(y[k]) if y[k] == y[k] else 0.0) - zero
            wx = np.abs(x) * x
            total += wx * v
            norm += wx * x
    elif kind == 3:
        for k in range(n):
            x = k * step - 1.0
            v = (np.float64(y[k]) if y[k] == y[k] else 0.0) - zero
            wx = np.abs(x) * x * x * x
            total += wx * v
            norm += wx * x
    elif kind == 4:
        for k in range(n):
            x = k * step - 1.0
            v = (np.float64(y[k]) if y[k] == y[k] else 0.0) - zero
            cube = x * x * x
            wx = cube * cube * x
            total += wx * v
            norm += wx * x
    else:
        for k in range(n):
            x = k * step - 1.0
            v = (np.float64(y[k]) if y[k] == y[k] else 0.0) - zero
            square = x * x
            fourth = square * square
            wx = fourth * fourth * square * x
            total += wx * v
            norm += wx * x
    return total / norm * step


@njit(cache=True, nogil=True, error_model="numpy")
def read_variance(length, timing, gain, noise):
    """Read-noise variance of the slope of a segment of `length` groups, (DN/s)**2; one group counts as two."""
    if length > 2 and (gain <= 0.0 or np.isnan(gain)):
        return 0.0
    n = max(np.float64(length), 2.0)
    ratio = noise / timing
    return 12.0 * ratio * ratio / ((n * n * n - n) * gain * gain)


@njit(cache=True, nogil=True, error_model="numpy")
def _segment(y, pixel, plan, timing, weights):
    """Fit one segment; ``pixel`` = (gain, read noise in electrons, rate for the photon noise in DN/s).

    Returns (slope DN/s, photon variance, read variance).
    """
    gain, noise, rate = pixel
    n = y.size
    if n == 1:
        slope = np.float64(y[0]) / timing
        return slope, rate / (timing * gain), read_variance(1, timing, gain, noise)
    if n == 2:
        slope = (np.float64(y[1]) - np.float64(y[0])) / plan.group_time
        return slope, rate / (plan.group_time * gain), read_variance(2, plan.group_time, gain, noise)
    signal = np.float64(y[n - 1]) - np.float64(y[0])
    variance = noise * noise + signal * gain
    snr = 0.0
    if variance > 0.0 and gain != 0.0:
        snr = max(signal * gain / np.sqrt(variance), 0.0)
    table = weights[n * (n - 1) // 2 : n * (n + 1) // 2]
    slope = weighted_slope(y, snr_class(snr), table) / plan.group_time
    var_poisson = rate / (plan.group_time * gain * (n - 1.0))
    return slope, var_poisson, read_variance(n, plan.group_time, gain, noise)


@njit(cache=True, nogil=True, error_model="numpy")
def next_segment(flag, start):
    """Next run of usable groups from `start` on: (first, end), with a jump just before it as its first group.

    ``first == end`` when there is none. PERSISTENCE does not matter.
    """
    n = flag.size
    g = start
    while g < n and flag[g] & NOT_PERSISTENCE:
        g += 1
    if g == n:
        return n, n
    first = g
    if g > 0 and flag[g - 1] & NOT_PERSISTENCE == JUMP:
        first = g - 1
    while g < n and not flag[g] & NOT_PERSISTENCE:
        g += 1
    return first, g


@njit(cache=True, nogil=True, error_model="numpy")
def longest_segment(flag):
    """Length of the longest segment: if it is one group, only the first segment counts, else those of one group do not."""
    longest = 0
    first, end = next_segment(flag, 0)
    while first < end:
        longest = max(longest, end - first)
        first, end = next_segment(flag, end)
    return longest


@njit(cache=True, nogil=True, error_model="numpy")
def fit_integration(y, flag, union, pixel, plan, timing, weights):
    """Sums over the segments of one integration.

    Returns
    -------
    inv_read, inv_poisson, inv_total, weighted : float64
        Sums of the inverse variances, and of slope over read variance; all zero when there is no segment.
    """
    inv_read = 0.0
    inv_poisson = 0.0
    inv_total = 0.0
    weighted = 0.0
    longest = y.size
    if union & NOT_PERSISTENCE:
        longest = 0 if flag[0] & SATURATED else longest_segment(flag)
    if longest == 0:
        return inv_read, inv_poisson, inv_total, weighted
    shortest = min(longest, 2)
    first, end = 0, y.size
    if union & NOT_PERSISTENCE:
        first, end = next_segment(flag, 0)
    while first < end:
        if end - first >= shortest:
            slope, var_poisson, var_read = _segment(y[first:end], pixel, plan, timing, weights)
            inv_read += 1.0 / var_read
            if var_poisson > 0.0:
                inv_poisson += 1.0 / var_poisson
            inv_total += 1.0 / (var_poisson + var_read)
            weighted += slope / var_read
            if longest == 1:
                break
        if end == y.size:
            break
        first, end = next_segment(flag, end)
    return inv_read, inv_poisson, inv_total, weighted


@njit(cache=True, nogil=True, error_model="numpy")
def _differences(y, flag, union, diffs):
    """Differences of one integration, DN, NaN where the official median leaves them out."""
    n = y.size - 1
    for k in range(n):
        diffs[k] = y[k + 1] - y[k]
    if union & np.uint8(7):
        for k in range(n):
            bad = np.uint8((flag[k] | flag[k + 1]) & np.uint8(3)) | np.uint8(flag[k + 1] & JUMP)
            diffs[k] = np.float32(np.nan) if bad else diffs[k]


@njit(cache=True, nogil=True, error_model="numpy")
def median_rate(ramp, flag, plan, work):
    """Mean over the integrations of the median rate of each, DN/s: the rate of the photon noise.

    ``ramp``, ``flag`` (nints, ngroups) with all groups: slices of single integrations stay contiguous, which vector loops need.
    """
    nints = ramp.shape[0]
    a, b = plan.first, plan.last
    n = b - a
    total = 0.0
    if n == 1:
        for i in range(nints):
            total += np.float64(np.nan if flag[i, a] & SATURATED else ramp[i, a]) / plan.one_group_time
        return total / nints
    nd = n - 1
    keys = work.diffs[: nints * nd].view(np.int32)
    for i in range(nints):
        union = flags_union(flag[i, a:b])
        _differences(ramp[i, a:b], flag[i, a:b], union, work.diffs[i * nd : (i + 1) * nd])
        work.valid[i] = to_keys(keys[i * nd : (i + 1) * nd])
    guess, density = first_guess(keys, work.sample)
    for i in range(nints):
        if work.only_first[i]:
            total += np.float64(ramp[i, a]) / plan.one_group_time
            continue
        valid = work.valid[i]
        middle = median_of_keys(keys[i * nd : (i + 1) * nd], valid, guess, density * valid, work.kept)
        if np.isnan(middle):
            middle = np.nan if flag[i, a] & np.uint8(3) else np.float64(ramp[i, a])
        if not np.isnan(middle):
            total += middle / plan.group_time
    return total / nints


@njit(cache=True, nogil=True, error_model="numpy")
def suppress_one_group(flag):
    """Mark ramps with a single good group as not usable: (nints, ngroups)."""
    nints, ngroups = flag.shape
    for i in range(nints):
        if not flags_union(flag[i]) & NOT_PERSISTENCE:
            continue
        good = 0
        for g in range(ngroups):
            good += flag[i, g] & NOT_PERSISTENCE == 0
        if good == 1:
            for g in range(ngroups):
                flag[i, g] |= DNU


@njit(cache=True, nogil=True, error_model="numpy")
def _count(flag, union):
    """Numbers of groups in (ngroups,) flags: (saturated, DO_NOT_USE or saturated, without any flag)."""
    if union == 0:
        return 0, 0, flag.size
    saturated = 0
    unusable = 0
    good = 0
    for g in range(flag.size):
        saturated += flag[g] & SATURATED != 0
        unusable += flag[g] & np.uint8(3) != 0
        good += flag[g] == 0
    return saturated, unusable, good


@njit(cache=True, nogil=True, error_model="numpy")
def _small(variance):
    """The variance, or zero when it is too large to mean anything."""
    return 0.0 if variance >= LARGE_VARIANCE else variance


@njit(cache=True, nogil=True, error_model="numpy")
def _prepare(flag, plan, work):
    """Change flags as the official step does before the fit, and note the ramps of which only the first group is good."""
    if plan.chargeloss:
        work.original[:] = flag
    if plan.suppress_one_group:
        suppress_one_group(flag)
    first = plan.first
    for i in range(flag.shape[0]):
        if plan.clear_first_jump:
            flag[i, first] &= ~JUMP
        work.only_first[i] = 0
        if not plan.suppress_one_group and flag[i, first] == 0:
            used = flag[i, first : plan.last]
            work.only_first[i] = _count(used, flags_union(used))[2] == 1


@njit(cache=True, nogil=True, error_model="numpy")
def _integration_flags(used, union, pixeldq):
    """Flags of one integration before partial saturation, and its numbers of saturated and of unusable groups."""
    saturated, unusable, _ = _count(used, union)
    flags = pixeldq | np.uint32(union & np.uint8(4 | 32))
    if used[0] & SATURATED:
        flags |= np.uint32(3)
    if unusable == used.size:
        flags |= np.uint32(1)
        if saturated == used.size:
            flags |= np.uint32(2)
    return flags, saturated, unusable


@njit(cache=True, nogil=True, error_model="numpy")
def _average(inv_read, inv_poisson, inv_total, weighted):
    """Slope, variances and error of one integration from the sums of `fit_integration`."""
    if inv_total == 0.0:
        return 0.0, 0.0, 0.0, 0.0
    var_poisson = _small(1.0 / inv_poisson) if inv_poisson > 0.0 else 0.0
    var_read = _small(1.0 / inv_read)
    err = 0.0 if 1.0 / inv_total > LARGE_VARIANCE else np.sqrt(1.0 / inv_total)
    return weighted * var_read, var_poisson, var_read, err


@njit(cache=True, nogil=True, error_model="numpy")
def _write_rate(sums, flags, partly_saturated, at, out):
    """Average the integrations; ``sums`` = (inverse read variance, inverse photon variance, slope over read variance)."""
    row, x = at
    sum_read, sum_poisson, sum_weighted = sums
    var_poisson = 1.0 / sum_poisson if sum_poisson > 0.0 else sum_poisson
    if var_poisson >= LARGE_VARIANCE or var_poisson < 0.0:
        var_poisson = 0.0
    var_read = _small(1.0 / sum_read if sum_read > 0.0 else sum_read)
    valid = not flags & INVALID
    out.slope[row, x] = sum_weighted * var_read if valid else np.nan
    out.var_poisson[row, x] = var_poisson if valid else 0.0
    out.var_rnoise[row, x] = var_read if valid else 0.0
    out.err[row, x] = np.sqrt(var_poisson + var_read) if valid else 0.0
    out.dq[row, x] = flags | np.uint32(2) if partly_saturated else flags


@njit(cache=True, nogil=True, error_model="numpy")
def fit_pixel(ramp, flag, pixeldq, pixel, plan, at, out, work):
    """Fit the ramps of one pixel and write rate and rateints.

    Parameters
    ----------
    ramp : (nints, ngroups) float32 ndarray
        Ramps, DN.
    flag : (nints, ngroups) uint8 ndarray
        Group flags. May be changed (suppressed ramps, cleared first jump).
    pixeldq : uint32
        Pixel flags.
    pixel : (float64, float64, float64)
        Gain, electrons/DN; read noise of one group, electrons; mean dark current, DN/s.
    plan : FitPlan
    at : (int, int)
        Row and column in the result arrays.
    out : FitArrays
    work : FitWork
    """
    row, x = at
    gain, noise, dark = pixel
    nints = ramp.shape[0]
    a, b = plan.first, plan.last
    _prepare(flag, plan, work)
    if gain <= 0.0 or np.isnan(gain):
        pixeldq |= NO_GAIN
    rate = median_rate(ramp, flag, plan, work)
    photons = (gain, noise, rate + dark if rate > 0.0 else dark)

    rate_dq = pixeldq
    sum_read = 0.0
    sum_poisson = 0.0
    sum_weighted = 0.0
    unusable_ints = 0
    saturated_ints = 0
    partly_saturated = False
    for i in range(nints):
        used = flag[i, a:b]
        union = flags_union(used)
        rate_dq |= np.uint32(union & np.uint8(4 | 32))
        flags, saturated, unusable = _integration_flags(used, union, pixeldq)
        slope, var_poisson, var_read, err = 0.0, 0.0, 0.0, 0.0
        if unusable < b - a:
            timing = plan.one_group_time if work.only_first[i] else plan.group_time
            sums = fit_integration(ramp[i, a:b], used, union, photons, plan, timing, work.weights)
            sum_read += sums[0]
            sum_poisson += sums[1]
            sum_weighted += sums[3]
            if not flags & INVALID:
                slope, var_poisson, var_read, err = _average(sums[0], sums[1], sums[2], sums[3])
        unusable_ints += np.int64(flags & np.uint32(1) != 0)
        saturated_ints += np.int64(flags & np.uint32(2) != 0)
        out.slope_ints[i, row, x] = np.nan if flags & INVALID else slope
        out.var_poisson_ints[i, row, x] = var_poisson
        out.var_rnoise_ints[i, row, x] = var_read
        out.err_ints[i, row, x] = err
        if saturated > 0:
            flags |= np.uint32(2)
            partly_saturated = True
        out.dq_ints[i, row, x] = flags

    if unusable_ints == nints:
        rate_dq |= np.uint32(1)
    if saturated_ints == nints:
        rate_dq |= np.uint32(2)
    _write_rate((sum_read, sum_poisson, sum_weighted), rate_dq, partly_saturated, at, out)
    if plan.chargeloss:
        _chargeloss_pixel(flag, photons, plan, at, out, work)


@njit(cache=True, nogil=True, error_model="numpy")
def _chargeloss_pixel(flag, pixel, plan, at, out, work):
    """Read-noise variances as if groups flagged CHARGELOSS had been used (they bias the slope, not its read noise)."""
    row, x = at
    gain, noise, _ = pixel
    affected = False
    total = 0.0
    for i in range(flag.shape[0]):
        if not flags_union(flag[i, plan.first : plan.last]) & CHARGELOSS:
            variance = np.float64(out.var_rnoise_ints[i, row, x])
            if variance > 0.0:
                total += 1.0 / variance
            continue
        affected = True
        original = work.original[i, plan.first : plan.last]
        for g in range(original.size):
            if original[g] & CHARGELOSS:
                original[g] ^= CHARGELOSS | DNU
        longest = longest_segment(original)
        inverse = 0.0
        first, end = next_segment(original, 0)
        while first < end:
            if end - first >= min(longest, 2):
                timing = plan.one_group_time if work.only_first[i] and end - first == 1 else plan.group_time
                variance = read_variance(end - first, timing, gain, noise)
                if variance > 0.0:
                    inverse += 1.0 / variance
                if longest == 1:
                    break
            first, end = next_segment(original, end)
        total += inverse
        out.var_rnoise_ints[i, row, x] = _small(1.0 / inverse)
    if affected:
        if total > 0.0:
            out.var_rnoise[row, x] = _small(1.0 / total)
        elif out.var_rnoise[row, x] >= LARGE_VARIANCE:
            out.var_rnoise[row, x] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def fit_row(ramps, flags, pixeldq, gain, noise, dark, plan, row, out, work):
    """Fit one detector row.

    Parameters
    ----------
    ramps, flags : (nx, nints, ngroups) float32, uint8 ndarray
        Pixel-major ramps, DN, and group flags (which may be changed).
    pixeldq : (nx,) uint32 ndarray
        Pixel flags.
    gain, noise, dark : (nx,) float32 ndarray
        Gain, electrons/DN; read noise of one group, electrons (`lyot.ramps.ramp_fit.group_noise`); mean dark, DN/s.
    plan : FitPlan
    row : int
        Row in the result arrays.
    out : FitArrays
    work : FitWork
    """
    for x in range(ramps.shape[0]):
        pixel = (np.float64(gain[x]), np.float64(noise[x]), np.float64(dark[x]))
        fit_pixel(ramps[x], flags[x], pixeldq[x], pixel, plan, (row, x), out, work)
