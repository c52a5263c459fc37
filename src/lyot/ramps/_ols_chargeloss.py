"""Kernels of the slope fit for ramps with CHARGELOSS: groups left out because charge migrated out of the pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from lyot.ramps._jump_kernels import flags_union
from lyot.ramps._ols_segments import LARGE_VARIANCE, longest_segment, next_segment, read_variance, small

DNU = np.uint8(1)
CHARGELOSS = np.uint8(128)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _inverse_read_variance(original: Any, timing: Any, pixel: Any, plan: Any) -> Any:
    """Sum of the inverse read-noise variances of the segments of one integration, CHARGELOSS groups taken as good."""
    gain, noise, _ = pixel
    for g in range(original.size):
        if original[g] & CHARGELOSS:
            original[g] ^= CHARGELOSS | DNU
    longest = longest_segment(original)
    inverse = 0.0
    first, end = next_segment(original, 0)
    while first < end:
        length = end - first
        if length >= min(longest, 2):
            variance = read_variance(length, timing if length == 1 else plan.group_time, gain, noise)
            if variance > 0.0:
                inverse += 1.0 / variance
            if longest == 1:
                break
        first, end = next_segment(original, end)
    return inverse


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def chargeloss_pixel(flag: Any, pixel: Any, plan: Any, at: Any, out: Any, work: Any) -> Any:
    """Read-noise variances as if CHARGELOSS groups had been used (they bias the slope, not its read noise)."""
    row, x = at
    affected = False
    total = 0.0
    for i in range(flag.shape[0]):
        if not flags_union(flag[i, plan.first : plan.last]) & CHARGELOSS:
            variance = np.float64(out.var_rnoise_ints[i, row, x])
            if variance > 0.0:
                total += 1.0 / variance
            continue
        affected = True
        timing = plan.one_group_time if work.only_first[i] else plan.group_time
        inverse = _inverse_read_variance(work.original[i, plan.first : plan.last], timing, pixel, plan)
        total += inverse
        out.var_rnoise_ints[i, row, x] = small(1.0 / inverse)
    if affected:
        if total > 0.0:
            out.var_rnoise[row, x] = small(1.0 / total)
        elif out.var_rnoise[row, x] >= LARGE_VARIANCE:
            out.var_rnoise[row, x] = 0.0
