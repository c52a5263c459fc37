"""Fit of one segment of a ramp, and of the segments of one integration, by optimally weighted least squares.

See `lyot.ramps._ols_kernels`, which says what and why.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

SATURATED = np.uint8(2)
JUMP = np.uint8(4)
NOT_PERSISTENCE = np.uint8(255 - 32)
LARGE_VARIANCE = 1.0e6
"""Variances (DN/s)**2 from here on are written as zero, as officially."""
N_CLASSES = 6


class Weights(NamedTuple):
    """Weights that are computed once."""

    power: Any
    """|x|**0.4 for segments of 0, 1, ... groups; those of length n start at n * (n - 1) / 2. float64."""
    whole: Any
    """(6, ngroups) float64: weight times x of a ramp without gaps, for each class of `snr_class`."""
    norm: Any
    """(6,) float64: their sums of weight times x squared."""
    propagation: Any
    """(6, 2) float64: `propagation` of a ramp without gaps."""
    length: Any
    """(1,) int64: for which length `whole` is; see `set_whole`."""


def weights_tables(ngroups: int) -> Weights:
    """Allocate the weights for ramps of this size."""
    table = np.ones(ngroups * (ngroups + 1) // 2 + 1)
    for n in range(2, ngroups + 1):
        x = np.linspace(-1.0, 1.0, n)
        table[n * (n - 1) // 2 :][:n] = np.abs(x, dtype=np.float32) ** np.float32(0.4)
    whole = (np.zeros((N_CLASSES, ngroups)), np.ones(N_CLASSES), np.zeros((N_CLASSES, 2)))
    return Weights(table, *whole, np.zeros(1, np.int64))


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def small(variance: Any) -> Any:
    """The variance, or zero when it is too large to mean anything."""
    return 0.0 if variance >= LARGE_VARIANCE else variance


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def snr_class(snr: Any) -> Any:
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


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _weight(x: Any, kind: Any, power: Any) -> Any:
    """Weight of a group at `x` (-1 to 1) for the class of `snr_class`; `power` is |x|**0.4."""
    if kind == 0:
        return 1.0
    if kind == 1:
        return power
    if kind == 2:
        return np.abs(x)
    square = x * x
    if kind == 3:
        return square * np.abs(x)
    if kind == 4:
        return square * square * square
    return square * square * square * square * square


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def propagation(n: Any, kind: Any, norm: Any, table: Any) -> Any:
    """How noise of the groups enters the slope of a segment of `n` groups, with the weighting of `snr_class`.

    The slope per group is a sum of groups y[k] with coefficients c[k]. Independent noise of variance v in each group
    gives it the variance v sum(c**2); charge that arrives between two groups stays in all later ones, so photon noise
    of variance v per group gives v sum(S**2), where S[j] is the sum of c from group j on.

    Parameters
    ----------
    n : int
        Number of groups, 3 or more.
    kind : int
        See `snr_class`.
    norm : float
        Sum of weight times x squared.
    table : (n,) float64 ndarray
        |x|**0.4.

    Returns
    -------
    sum(c**2), sum(S**2) : float64
    """
    step = 2.0 / (n - 1)
    squares, tails, tail = 0.0, 0.0, 0.0
    for k in range(n - 1, 0, -1):
        x = k * step - 1.0
        c = _weight(x, kind, table[k]) * x / norm * step
        squares += c * c
        tail += c
        tails += tail * tail
    first = _weight(-1.0, kind, table[0]) / norm * step
    return squares + first * first, tails


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def exact_variances(n: Any, kind: Any, pixel: Any, group_time: Any, weights: Any) -> Any:
    """Photon and read variance, (DN/s)**2, of the slope that `weighted_slope` gives for `n` >= 3 groups."""
    gain, noise, rate = pixel
    if n == weights.length[0]:
        squares, tails = weights.propagation[kind, 0], weights.propagation[kind, 1]
    else:
        table = weights.power[n * (n - 1) // 2 : n * (n + 1) // 2]
        step = 2.0 / (n - 1)
        norm = 0.0
        for k in range(n):
            x = k * step - 1.0
            norm += _weight(x, kind, table[k]) * x * x
        squares, tails = propagation(n, kind, norm, table)
    ratio = noise / (gain * group_time)
    return rate / (gain * group_time) * tails, ratio * ratio * squares


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def set_whole(weights: Any, n: Any) -> Any:
    """Prepare the weights of a ramp of `n` groups without gaps, unless they are there."""
    if weights.length[0] == n or n < 3:
        return
    step = 2.0 / (n - 1)
    table = weights.power[n * (n - 1) // 2 : n * (n + 1) // 2]
    for kind in range(N_CLASSES):
        norm = 0.0
        for k in range(n):
            x = k * step - 1.0
            wx = _weight(x, kind, table[k]) * x
            weights.whole[kind, k] = wx
            norm += wx * x
        weights.norm[kind] = norm
        weights.propagation[kind] = propagation(n, kind, norm, table)
    weights.length[0] = n


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _weighted_sum(y: Any, zero: Any, wx: Any) -> Any:
    total = 0.0
    for k in range(y.size):
        total += wx[k] * ((np.float64(y[k]) if y[k] == y[k] else 0.0) - zero)
    return total


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def weighted_slope(y: Any, kind: Any, weights: Any) -> Any:
    """Slope of one segment per group, with the weighting of `snr_class`.

    Parameters
    ----------
    y : (n >= 3,) float32 ndarray
        The segment, DN; a NaN counts as zero, as officially.
    kind : int
        See `snr_class`.
    weights : Weights
    """
    n = y.size
    step = 2.0 / (n - 1)
    zero = np.float64(y[0]) if y[0] == y[0] else 0.0
    if n == weights.length[0]:
        return _weighted_sum(y, zero, weights.whole[kind, :n]) / weights.norm[kind] * step
    table = weights.power[n * (n - 1) // 2 : n * (n + 1) // 2]
    total = 0.0
    norm = 0.0
    for k in range(n):
        x = k * step - 1.0
        wx = _weight(x, kind, table[k]) * x
        total += wx * ((np.float64(y[k]) if y[k] == y[k] else 0.0) - zero)
        norm += wx * x
    return total / norm * step


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def bad_gain(gain: Any) -> Any:
    """Whether the gain of a pixel is not a positive number; `lyot.ramps._checks.bad_gain` for one."""
    return gain <= 0.0 or np.isnan(gain)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def read_variance(length: Any, timing: Any, gain: Any, noise: Any) -> Any:
    """Read-noise variance of the slope of a segment of `length` groups, (DN/s)**2; one group counts as two."""
    if length > 2 and bad_gain(gain):
        return 0.0
    n = max(np.float64(length), 2.0)
    ratio = noise / timing
    return 12.0 * ratio * ratio / ((n * n * n - n) * gain * gain)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def _segment(y: Any, pixel: Any, plan: Any, timing: Any, weights: Any) -> Any:
    """Fit one segment; ``pixel`` = (gain, read noise in electrons, rate for the photon noise in DN/s).

    Returns (slope DN/s, photon variance, read variance, and, if the plan asks for them, the two exact ones; else 0).
    """
    gain, noise, rate = pixel
    n = y.size
    if n <= 2:
        time = timing if n == 1 else plan.group_time
        slope = (np.float64(y[n - 1]) - (0.0 if n == 1 else np.float64(y[0]))) / time
        poisson, read = rate / (time * gain), read_variance(n, time, gain, noise)
        return slope, poisson, read, poisson, read
    signal = np.float64(y[n - 1]) - np.float64(y[0])
    variance = noise * noise + signal * gain
    snr = 0.0
    if variance > 0.0 and gain != 0.0:
        snr = max(signal * gain / np.sqrt(variance), 0.0)
    kind = snr_class(snr)
    slope = weighted_slope(y, kind, weights) / plan.group_time
    var_poisson = rate / (plan.group_time * gain * (n - 1.0))
    exact_poisson, exact_read = 0.0, 0.0
    if plan.exact_errors:
        exact_poisson, exact_read = exact_variances(n, kind, pixel, plan.group_time, weights)
    return slope, var_poisson, read_variance(n, plan.group_time, gain, noise), exact_poisson, exact_read


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def next_segment(flag: Any, start: Any) -> Any:
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


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def longest_segment(flag: Any) -> Any:
    """Length of the longest segment: if one group, only the first segment counts, else those of one group do not."""
    longest = 0
    first, end = next_segment(flag, 0)
    while first < end:
        longest = max(longest, end - first)
        first, end = next_segment(flag, end)
    return longest


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def fit_integration(y: Any, flag: Any, union: Any, pixel: Any, plan: Any, timing: Any, weights: Any) -> Any:
    """Sums over the segments of one integration.

    Returns
    -------
    inv_read, inv_poisson, inv_total, weighted, exact_poisson, exact_read : float64
        Sums of the inverse variances, of slope over read variance, and (if the plan asks for them) of the exact
        variances over the square of the read variance; all zero when there is no segment.
    """
    exact_poisson = 0.0
    exact_read = 0.0
    inv_read = 0.0
    inv_poisson = 0.0
    inv_total = 0.0
    weighted = 0.0
    longest = y.size
    if union & NOT_PERSISTENCE:
        longest = 0 if flag[0] & SATURATED else longest_segment(flag)
    if longest == 0:
        return inv_read, inv_poisson, inv_total, weighted, exact_poisson, exact_read
    shortest = min(longest, 2)
    first, end = 0, y.size
    if union & NOT_PERSISTENCE:
        first, end = next_segment(flag, 0)
    while first < end:
        if end - first >= shortest:
            slope, var_poisson, var_read, exact_p, exact_r = _segment(y[first:end], pixel, plan, timing, weights)
            inv_read += 1.0 / var_read
            if var_poisson > 0.0:
                inv_poisson += 1.0 / var_poisson
            inv_total += 1.0 / (var_poisson + var_read)
            weighted += slope / var_read
            exact_poisson += exact_p / (var_read * var_read)
            exact_read += exact_r / (var_read * var_read)
            if longest == 1:
                break
        if end == y.size:
            break
        first, end = next_segment(flag, end)
    return inv_read, inv_poisson, inv_total, weighted, exact_poisson, exact_read
