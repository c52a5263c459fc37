"""Sigma clipping of one pixel's differences, as the official jump step does for 100 or more integrations.

It uses `astropy.stats.sigma_clip` (median, standard deviation about the mean, at most five rounds). Sums run in the
order the values have after astropy's selection of the median (Wirth's algorithm), so that the bounds agree to the last
bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

JUMP = np.uint8(4)
ROUNDS = 5


@njit(cache=True, nogil=True, error_model="numpy")
def _wirth(a: Any, n: Any, k: Any) -> Any:
    """k-th smallest of ``a[:n]`` by Wirth's selection, reordering it."""
    low = 0
    high = n - 1
    while low < high:
        pivot = a[k]
        i = low
        j = high
        while True:
            while a[i] < pivot:
                i += 1
            while pivot < a[j]:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i += 1
                j -= 1
            if i > j:
                break
        if j < k:
            low = i
        if k < i:
            high = j
    return a[k]


@njit(cache=True, nogil=True, error_model="numpy")
def clip_bounds(a: Any, n: Any, threshold: Any) -> Any:
    """Bounds (low, high) of ``a[:n]`` after clipping at `threshold` standard deviations; spoils `a`; NaN for n = 0."""
    low = np.nan
    high = np.nan
    for _ in range(ROUNDS):
        if n == 0:
            break
        if n % 2 == 0:
            upper = _wirth(a, n, n // 2)
            median = 0.5 * (upper + _wirth(a, n, n // 2 - 1))
        else:
            median = _wirth(a, n, (n - 1) // 2)
        mean = 0.0
        for i in range(n):
            mean += a[i]
        mean /= n
        square = 0.0
        for i in range(n):
            square += (a[i] - mean) * (a[i] - mean)
        deviation = np.sqrt(square / n)
        low = median - threshold * deviation
        high = median + threshold * deviation
        kept = 0
        for i in range(n):
            if a[i] >= low and a[i] <= high:
                a[kept] = a[i]
                kept += 1
        if kept == n or kept == 0:
            break
        n = kept
    return low, high


@njit(cache=True, nogil=True, error_model="numpy")
def _clip(diffs: Any, first: Any, step: Any, count: Any, flag: Any, limits: Any, wide: Any) -> Any:
    """Clip ``diffs[first::step][:count]`` together; ``limits`` = (threshold, differences per integration)."""
    threshold, nd = limits
    n = 0
    for i in range(count):
        v = np.float64(diffs[first + i * step])
        if np.isfinite(v):
            wide[n] = v
            n += 1
    low, high = clip_bounds(wide, n, threshold)
    for i in range(count):
        at = first + i * step
        v = np.float64(diffs[at])
        if np.isfinite(v) and (v < low or v > high):
            flag[at // nd, at % nd + 1] |= JUMP


@njit(cache=True, nogil=True, error_model="numpy")
def clip_integrations(diffs: Any, flag: Any, threshold: Any, wide: Any) -> Any:
    """Flag differences that stand out from the same group of the other integrations."""
    nints, ngroups = flag.shape
    nd = ngroups - 1
    for k in range(nd):
        _clip(diffs, k, nd, nints, flag, (threshold, nd), wide)


@njit(cache=True, nogil=True, error_model="numpy")
def clip_all(diffs: Any, flag: Any, threshold: Any, wide: Any) -> Any:
    """Flag differences that stand out from all others of the pixel."""
    nd = flag.shape[1] - 1
    _clip(diffs, 0, 1, diffs.size, flag, (threshold, nd), wide)
