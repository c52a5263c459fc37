"""Exact order statistics of one pixel's group differences, without allocation and almost without branches.

The jump detection needs the exact median of all differences of a pixel (15 000 for 60 integrations of 250 groups), the
ramp fit the median of each integration. Quickselect mispredicts a branch for every second value it touches. Here the
values are counted instead, each time in one vectorised pass that is ten times cheaper than a pass of quickselect: a
guess of the median is improved by Newton steps on the number of values below it until it is enclosed, then by
interpolation between the values that enclose it. Detectors count in whole DN, so the differences lie in narrow heaps
with nothing between them: each pass therefore moves the limits onto values that occur, and where interpolation does not
halve what is left, halving the distance does. If that does not end, quickselect answers. The result is always exact.

Vector instructions for minima exist for integers only (NaN stands in the way), so values are compared by *keys*: the
bits of a float32 as int32, reflected for negative numbers, which sort as the numbers do. Values to be left out have
the key `NONE`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

NONE = np.int32(2**31 - 1)
"""Key of a value that is left out; larger than that of any number."""

SAMPLE = 32
"""Values drawn for the first guess."""

_LOWEST = np.int32(-(2**31))
_MAGNITUDE = np.int32(2**31 - 1)
_FEW = 24
_MARGIN = 2.0
_PASSES = 40


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def key_of(value: Any) -> Any:
    """Key of one float32 number."""
    bits = np.float32(value).view(np.int32)
    return np.int32(bits ^ ((bits >> np.int32(31)) & _MAGNITUDE))


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def value_of(key: Any) -> Any:
    """The float32 number of a key."""
    return np.int32(key ^ ((key >> np.int32(31)) & _MAGNITUDE)).view(np.float32)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def to_keys(bits: Any) -> Any:
    """Turn the bits (``values.view(int32)``) of float32 numbers into keys, in place; NaN become `NONE`.

    Returns
    -------
    int
        Number of keys that are not `NONE`.
    """
    valid = np.int32(0)
    infinity = np.int32(0x7F800000)
    for k in range(bits.size):
        b = bits[k]
        key = np.int32(b ^ ((b >> np.int32(31)) & _MAGNITUDE))
        good = np.int32(b & _MAGNITUDE) <= infinity
        bits[k] = key if good else NONE
        valid = np.int32(valid + np.int32(good))
    return valid


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def quickselect(a: Any, n: Any, k: Any) -> Any:
    """Move the k-th smallest of ``a[:n]`` to ``a[k]``, smaller or equal ones before it; no NaN allowed."""
    low = 0
    high = n - 1
    while low < high:
        x, y, z = a[low], a[(low + high) >> 1], a[high]
        if x > y:  # median of three as pivot: sorted or constant input is not the worst case
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


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _split(keys: Any, limit: Any) -> Any:
    """Number of keys below a limit, the smallest key from it on, and the largest below it, in one vectorised pass."""
    count = np.int32(0)
    above = NONE
    below = _LOWEST
    for k in range(keys.size):
        key = keys[k]
        less = key < limit
        count = np.int32(count + np.int32(less))
        above = np.int32(min(above, NONE if less else key))
        below = np.int32(max(below, key if less else _LOWEST))
    return np.int64(count), above, below


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _mean(lower: Any, upper: Any) -> Any:
    return (np.float64(value_of(lower)) + np.float64(value_of(upper))) / 2.0


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _selected(keys: Any, valid: Any, kept: Any) -> Any:
    """Median of the keys that are not `NONE` by quickselect."""
    n = 0
    for k in range(keys.size):
        kept[n] = keys[k]
        n += int(keys[k] != NONE)
    upper = quickselect(kept, n, valid // 2)
    if valid % 2 == 1:
        return np.float64(value_of(upper))
    lower = kept[0]
    for k in range(1, valid // 2):
        lower = max(lower, kept[k])
    return _mean(lower, upper)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _between(low: Any, high: Any, share: Any) -> Any:
    """Key to try next in ``(low, high]``: at this share of the way in value, or halfway in keys where that is none."""
    start = np.float64(value_of(low))
    value = start + (np.float64(value_of(high)) - start) * share
    if share < 0.0 or not np.isfinite(value):
        return np.int32(low + (np.int64(high) - np.int64(low) + 1) // 2)
    return np.int32(min(max(np.int64(key_of(value)), np.int64(low) + 1), np.int64(high)))


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def median_of_keys(keys: Any, valid: Any, guess: Any, density: Any, kept: Any) -> Any:
    """Exact median of the numbers behind keys.

    Parameters
    ----------
    keys : (n,) int32 ndarray
        Keys; those equal to `NONE` are left out. Not changed.
    valid : int
        Number of keys that are not `NONE`.
    guess : float
        Where the median probably is.
    density : float
        Number of values per unit there; not positive or not finite: no guess.
    kept : (>= n + 1,) int32 ndarray
        Scratch.

    Returns
    -------
    float64
        Median, the mean of the two middle values for an even number; NaN when there is no value.
    """
    if valid == 0:
        return np.nan
    if valid < _FEW or not (density > 0.0 and density < np.inf):
        return _selected(keys, valid, kept)
    first = np.int64((valid - 1) // 2)
    second = np.int64(valid // 2)
    low, low_count, low_known = _LOWEST, np.int64(0), False  # the smallest key that may be of rank `first`
    high, high_count, high_known = NONE, np.int64(valid), False  # the largest that may be of rank `second`
    value = np.float64(guess)
    limit = key_of(value)
    before, earlier = valid, valid  # keys in question after the last pass, and after that before it
    for _ in range(_PASSES):
        count, above, below = _split(keys, limit)
        if count == second and count > first:
            return _mean(below, above)
        if count <= first:
            low, low_count, low_known = above, count, True
            if count == first and first < second:
                more, beyond, _ = _split(keys, np.int32(above + 1))
                return _mean(above, above if more > second else beyond)
        else:
            high, high_count, high_known = below, count, True
            if count == second + 1 and first < second:
                fewer, _, beyond = _split(keys, below)
                return _mean(below if fewer <= first else beyond, below)
        if low == high or (first == second and (low_count == first or high_count == second + 1)):
            return np.float64(value_of(low if low == high or low_count == first else high))
        if low_known and high_known:
            left = high_count - low_count
            # equal steps of a digitised signal make interpolation slow: then halve
            slow = 2 * left > earlier
            earlier, before = before, left
            limit = _between(low, high, -1.0 if slow else (0.5 * valid - low_count) / left)
        else:
            missing = 0.5 * valid - count
            value += (1.15 * missing + (_MARGIN if missing > 0 else -_MARGIN)) / density
            limit = key_of(value)
    return _selected(keys, valid, kept)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def first_guess(keys: Any, sample: Any) -> Any:
    """Median and density of keys from a strided sample of them: (guess, density per unit and per value).

    ``sample`` (>= SAMPLE + 1,) int32 is scratch. Density 0 when there are too few values for sampling to pay.
    """
    n = keys.size
    if n < 4 * SAMPLE:
        return 0.0, 0.0
    count = 0
    for i in range(SAMPLE):
        key = keys[(i * n) // SAMPLE]
        sample[count] = key
        count += int(key != NONE)
    if count < SAMPLE // 2:
        return 0.0, 0.0
    quarter = count // 4
    upper = np.float64(value_of(quickselect(sample, count, count - 1 - quarter)))
    lower = np.float64(value_of(quickselect(sample, count - quarter, quarter)))
    middle = np.float64(value_of(quickselect(sample, count - quarter, count // 2)))
    # between the quartiles of a normal distribution lies half of it; at the peak it is denser by 1.077
    return middle, 1.077 * (count - 1 - 2 * quarter) / count / (upper - lower)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def nan_median(values: Any, kept: Any) -> Any:
    """Exact median of float32 values leaving out NaN, by quickselect; ``kept`` (>= n + 1,) float32 is scratch."""
    n = 0
    for k in range(values.size):
        kept[n] = values[k]
        n += int(values[k] == values[k])
    if n == 0:
        return np.nan
    upper = quickselect(kept, n, n // 2)
    if n % 2 == 1:
        return np.float64(upper)
    lower = kept[0]
    for k in range(1, n // 2):
        lower = max(lower, kept[k])
    return (np.float64(lower) + np.float64(upper)) / 2.0
