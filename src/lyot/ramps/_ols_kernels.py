"""Kernels of the slope fit by optimally weighted least squares: one segment, one pixel, one detector row.

What stcal 1.20 calls OLS_C: each integration's ramp is cut into segments at flagged groups; each segment is fitted
with weights ``|x|**power`` (x from -1 to 1 along the segment, the power rising with its signal to noise; Fixsen et al.
2000, PASP 112, 1350), and segments are averaged by the inverse of their read-noise variance, over the integration and
over the exposure.

Here sums are taken about the middle of the segment, where the weights are symmetric: the slope is then one weighted
sum over the other, without the cancellation of the textbook form, and the loop runs in vector instructions. It agrees
with the official code to float32 rounding. Arrays are pixel-major, as in `lyot.ramps._jump_kernels`; no checks, no
allocation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from lyot.ramps._jump_kernels import flags_union
from lyot.ramps._jump_median import SAMPLE, first_guess, median_of_keys, to_keys
from lyot.ramps._ols_chargeloss import chargeloss_pixel
from lyot.ramps._ols_segments import (
    JUMP,
    LARGE_VARIANCE,
    NOT_PERSISTENCE,
    SATURATED,
    Weights,
    bad_gain,
    fit_integration,
    set_whole,
    small,
    weights_tables,
)

DNU = np.uint8(1)
INVALID = np.uint32(3)
NO_GAIN = np.uint32(524288 | 1)


class FitPlan(NamedTuple):
    """What the kernels need to know, the same for every pixel of an exposure; from `lyot.ramps.ramp_fit.plan_fit`."""

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
    exact_errors: bool
    """Variances by propagation through the weights of the fit, instead of the official formulas."""
    dropped: int
    """Integrations given up at the start: they do not count in the mean rate."""
    own_first: int
    """First integration that is fitted; the others (of other segments) only count in the mean rate."""
    own_last: int
    """One more than the last integration that is fitted."""


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
    weights: Weights


class FitArrays(NamedTuple):
    """Result arrays: rate (ny, nx) and, with ``_ints``, rateints (nints, ny, nx). DN/s; variances (DN/s)**2.

    Of the integrations that are fitted: the first plane is that of `FitPlan.own_first`.
    """

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
        weights_tables(ngroups),
    )


def fit_arrays(nints: int, ny: int, nx: int, zeros: Callable[..., Any] = np.zeros) -> FitArrays:
    """Allocate the result arrays; `zeros` makes those of the integrations."""
    image, cube = (ny, nx), (nints, ny, nx)
    parts = []
    for shape, make in ((image, np.zeros), (cube, zeros)):
        parts += [make(shape, np.float32), make(shape, np.uint32)]
        parts += [make(shape, np.float32) for _ in range(3)]
    return FitArrays(*parts)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _differences(y: Any, flag: Any, union: Any, diffs: Any) -> Any:
    """Differences of one integration, DN, NaN where the official median leaves them out."""
    n = y.size - 1
    for k in range(n):
        diffs[k] = y[k + 1] - y[k]
    if union & np.uint8(7):
        for k in range(n):
            bad = np.uint8((flag[k] | flag[k + 1]) & np.uint8(3)) | np.uint8(flag[k + 1] & JUMP)
            diffs[k] = np.float32(np.nan) if bad else diffs[k]


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def median_rate(ramp: Any, flag: Any, plan: Any, work: Any) -> Any:
    """Mean over the integrations of the median rate of each, DN/s: the rate of the photon noise.

    ``ramp``, ``flag`` (nints, ngroups) with all groups: slices of single integrations stay contiguous, which vector
    loops need. Integrations that were given up at the start (``plan.dropped``) do not count.
    """
    nints = ramp.shape[0]
    used = nints - plan.dropped
    a, b = plan.first, plan.last
    n = b - a
    total = 0.0
    if n == 1:
        for i in range(plan.dropped, nints):
            total += np.float64(np.nan if flag[i, a] & SATURATED else ramp[i, a]) / plan.one_group_time
        return total / used
    nd = n - 1
    keys = work.diffs[: nints * nd].view(np.int32)
    for i in range(nints):
        union = flags_union(flag[i, a:b])
        _differences(ramp[i, a:b], flag[i, a:b], union, work.diffs[i * nd : (i + 1) * nd])
        work.valid[i] = to_keys(keys[i * nd : (i + 1) * nd])
    guess, density = first_guess(keys, work.sample)
    for i in range(plan.dropped, nints):
        if work.only_first[i]:
            total += np.float64(ramp[i, a]) / plan.one_group_time
            continue
        valid = work.valid[i]
        middle = median_of_keys(keys[i * nd : (i + 1) * nd], valid, guess, density * valid, work.kept)
        if np.isnan(middle):
            middle = np.nan if flag[i, a] & np.uint8(3) else np.float64(ramp[i, a])
        if not np.isnan(middle):
            total += middle / plan.group_time
    return total / used


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def suppress_one_group(flag: Any) -> Any:
    """Mark ramps with a single good group as not usable: (nints, ngroups)."""
    nints, ngroups = flag.shape
    for i in range(nints):
        if not flags_union(flag[i]) & NOT_PERSISTENCE:
            continue
        good = 0
        for g in range(ngroups):
            good += flag[i, g] & NOT_PERSISTENCE == 0
            if good == 2:
                break
        if good == 1:
            for g in range(ngroups):
                flag[i, g] |= DNU


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _count(flag: Any, union: Any) -> Any:
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


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _prepare(flag: Any, plan: Any, work: Any) -> Any:
    """Change flags as the official step does before the fit, and note ramps of which only the first group is good."""
    if plan.chargeloss:
        for i in range(flag.shape[0]):
            for g in range(flag.shape[1]):
                work.original[i, g] = flag[i, g]
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


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _integration_flags(used: Any, union: Any, pixeldq: Any) -> Any:
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


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _average(sums: Any, exact: Any) -> Any:
    """Slope, variances and error of one integration from the sums of `fit_integration`."""
    inv_read, inv_poisson, inv_total, weighted, exact_poisson, exact_read = sums
    if inv_total == 0.0:
        return 0.0, 0.0, 0.0, 0.0
    slope = weighted * small(1.0 / inv_read)
    if exact:
        var_poisson, var_read = exact_poisson / (inv_read * inv_read), exact_read / (inv_read * inv_read)
        return slope, small(var_poisson), small(var_read), np.sqrt(small(var_poisson + var_read))
    var_poisson = small(1.0 / inv_poisson) if inv_poisson > 0.0 else 0.0
    err = 0.0 if 1.0 / inv_total > LARGE_VARIANCE else np.sqrt(1.0 / inv_total)
    return slope, var_poisson, small(1.0 / inv_read), err


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _add(a: Any, b: Any) -> Any:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5]


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _write_rate(sums: Any, flags: Any, partly_saturated: Any, at: Any, out: Any) -> Any:
    """Average the integrations: ``sums`` are those of `fit_integration`, (6,), over all of them."""
    row, x, exact = at
    sum_read, sum_poisson = sums[0], sums[1]
    var_poisson = 1.0 / sum_poisson if sum_poisson > 0.0 else sum_poisson
    var_read = small(1.0 / sum_read if sum_read > 0.0 else sum_read)
    slope = sums[3] * var_read
    if exact and sum_read > 0.0:
        var_poisson, var_read = sums[4] / (sum_read * sum_read), small(sums[5] / (sum_read * sum_read))
    if var_poisson >= LARGE_VARIANCE or var_poisson < 0.0:
        var_poisson = 0.0
    valid = not flags & INVALID
    out.slope[row, x] = slope if valid else np.nan
    out.var_poisson[row, x] = var_poisson if valid else 0.0
    out.var_rnoise[row, x] = var_read if valid else 0.0
    out.err[row, x] = np.sqrt(var_poisson + var_read) if valid else 0.0
    out.dq[row, x] = flags | np.uint32(2) if partly_saturated else flags


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def fit_pixel(ramp: Any, flag: Any, pixeldq: Any, pixel: Any, plan: Any, at: Any, out: Any, work: Any) -> Any:
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
    nints = plan.own_last - plan.own_first
    a, b = plan.first, plan.last
    _prepare(flag, plan, work)
    if bad_gain(gain):
        pixeldq |= NO_GAIN
    rate = median_rate(ramp, flag, plan, work)
    photons = (gain, noise, rate + dark if rate > 0.0 else dark)

    rate_dq = pixeldq
    total = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    unusable_ints = 0
    saturated_ints = 0
    partly_saturated = False
    for plane in range(nints):
        i = plan.own_first + plane
        used = flag[i, a:b]
        union = flags_union(used)
        rate_dq |= np.uint32(union & np.uint8(4 | 32))
        flags, saturated, unusable = _integration_flags(used, union, pixeldq)
        slope, var_poisson, var_read, err = 0.0, 0.0, 0.0, 0.0
        if unusable < b - a:
            timing = plan.one_group_time if work.only_first[i] else plan.group_time
            sums = fit_integration(ramp[i, a:b], used, union, photons, plan, timing, work.weights)
            total = _add(total, sums)
            if not flags & INVALID:
                slope, var_poisson, var_read, err = _average(sums, plan.exact_errors)
        unusable_ints += int(flags & np.uint32(1) != 0)
        saturated_ints += int(flags & np.uint32(2) != 0)
        out.slope_ints[plane, row, x] = np.nan if flags & INVALID else slope
        out.var_poisson_ints[plane, row, x] = var_poisson
        out.var_rnoise_ints[plane, row, x] = var_read
        out.err_ints[plane, row, x] = err
        if saturated > 0:
            flags |= np.uint32(2)
            partly_saturated = True
        out.dq_ints[plane, row, x] = flags

    if unusable_ints == nints:
        rate_dq |= np.uint32(1)
    if saturated_ints == nints:
        rate_dq |= np.uint32(2)
    _write_rate(total, rate_dq, partly_saturated, (row, x, plan.exact_errors), out)
    if plan.chargeloss:
        chargeloss_pixel(flag, photons, plan, at, out, work)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def fit_row(
    ramps: Any, flags: Any, pixeldq: Any, gain: Any, noise: Any, dark: Any, plan: Any, row: Any, out: Any, work: Any
) -> Any:
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
    set_whole(work.weights, plan.last - plan.first)
    for x in range(ramps.shape[0]):
        pixel = (np.float64(gain[x]), np.float64(noise[x]), np.float64(dark[x]))
        fit_pixel(ramps[x], flags[x], pixeldq[x], pixel, plan, (row, x), out, work)
