"""Exact order statistics of one pixel's group differences, without allocation.

The jump detection needs the exact median of all differences of a pixel (15 000 for 60 integrations of 250 groups), the ramp fit
the median of each integration. A full quickselect touches every value several times, with unpredictable branches; here a
small sample brackets the median, one branch-free pass keeps the values inside the bracket, and only those are selected from.
If the bracket misses (a few times in 10 000), the plain quickselect answers. The result is always exact.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SAMPLE = 384
"""Values drawn to bracket the median."""

HALF_WINDOW = 40
"""Ranks of the sample on either side: 4 standard deviations of the sample median."""

_SMALL = 1200


@njit(cache=True, nogil=True, error_model="numpy")
def quickselect(a, n, k):
    """Move the k-th smallest of ``a[:n]`` to ``a[k]``, smaller or equal ones before it; no NaN allowed."""
    low = 0
    high = n - 1
    while low < high:
        middle = (low + high) >> 1
        # median of three as pivot: keeps sorted and constant input from being the worst case
        x, y, z = a[low], a[middle], a[high]
        if x > y:
            x, y = y, x
        if y > z:
            y = z if z > x else x
        pivot = y
        i = low
        j = high
        while i <= j:
            while a[i] < pivot:
                i += 1
            while pivot < a[j]:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i += 1
                j -= 1
        if j < k:
            low = i
        if k < i:
            high = j
    return a[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _middle(a, n, below, total):
    """Mean of the two middle values of `total` values, of which `below` are smaller than all of ``a[:n]``."""
    upper_rank = total // 2 - below
    upper = quickselect(a, n, upper_rank)
    if total % 2 == 1:
        return np.float64(upper)
    lower = a[0]
    for i in range(1, upper_rank):
        if a[i] > lower:
            lower = a[i]
    return (np.float64(lower) + np.float64(upper)) / 2.0


@njit(cache=True, nogil=True, error_model="numpy")
def count_within(values, n, low, high, kept):
    """Copy the values in [low, high] to `kept`; return (number below low, number kept, number that are not NaN)."""
    below = 0
    inside = 0
    valid = 0
    for i in range(n):
        v = values[i]
        kept[inside] = v
        inside += (v >= low) & (v <= high)
        below += v < low
        valid += v == v
    return below, inside, valid


@njit(cache=True, nogil=True, error_model="numpy")
def median_near(values, n, low, high, kept):
    """Median of the values that are not NaN, if it lies in [low, high]; else fall back on selecting from all.

    Parameters
    ----------
    values : (n,) float32 ndarray
        Any values; NaN are left out. Not changed.
    low, high : float32
        Bracket in which the median is expected.
    kept : (>= n + 1,) float32 ndarray
        Scratch.

    Returns
    -------
    float64
        Median, the mean of the two middle values for an even number; NaN when all are NaN.
    """
    below, inside, valid = count_within(values, n, low, high, kept)
    if valid == 0:
        return np.nan
    first = (valid - 1) // 2
    if below <= first and valid // 2 < below + inside:
        return _middle(kept, inside, below, valid)
    inside = 0
    for i in range(n):
        kept[inside] = values[i]
        inside += values[i] == values[i]
    return _middle(kept, inside, 0, inside)


@njit(cache=True, nogil=True, error_model="numpy")
def bracket(values, n, sample, half):
    """Two values between which the median of ``values[:n]`` most probably lies, from a strided sample.

    Parameters
    ----------
    values : (n,) float32 ndarray
        NaN are left out.
    sample : (>= SAMPLE + 1,) float32 ndarray
        Scratch.
    half : int
        Ranks of the sample on either side of its median.

    Returns
    -------
    low, high : float32
        (-inf, inf) when the values are too few for sampling to pay.
    """
    if n < _SMALL:
        return np.float32(-np.inf), np.float32(np.inf)
    count = 0
    for i in range(SAMPLE):
        v = values[(i * n) // SAMPLE]
        sample[count] = v
        count += v == v
    if count < SAMPLE // 2:
        return np.float32(-np.inf), np.float32(np.inf)
    centre = count // 2
    half = min(half, centre - 1)
    high = quickselect(sample, count, centre + half)
    low = quickselect(sample, centre + half, centre - half)
    return low, high


@njit(cache=True, nogil=True, error_model="numpy")
def nan_median(values, n, kept, sample):
    """Exact median of ``values[:n]`` leaving out NaN; see `median_near` for the scratch arrays."""
    low, high = bracket(values, n, sample, HALF_WINDOW)
    return median_near(values, n, low, high, kept)
