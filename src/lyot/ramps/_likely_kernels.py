"""Kernels of the LIKELY slope fit: generalised least squares with the full covariance of group differences.

T. Brandt 2024, PASP 136, 045004 (paper I: the fit) and 045005 (paper II: jumps), as in stcal 1.20. Group differences
have a tridiagonal covariance matrix (photon noise and read noise), inverted by recursions along the ramp. A jump is a
difference (or two adjacent ones, when groups average several reads) without which chi squared falls by more than a
threshold; it is left out, and the search repeated. Names of the recursions are those of the papers: theta (38-40), phi
(41-43), Phi (46), Theta (47).

Arrays are pixel-major, as in `lyot.ramps._jump_kernels`; no checks, no allocation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from lyot.ramps._jump_kernels import flags_union
from lyot.ramps._jump_median import quickselect

JUMP = np.uint8(4)


class LikelyPlan(NamedTuple):
    """What is the same for every pixel of an exposure; made by `lyot.ramps.ramp_fit_likely.plan_likely`.

    Arrays of float64, one value per difference (n) or per pair of adjacent differences (n - 1).
    """

    delta_t: Any
    """(n,) time between the mean times of two groups, s."""
    alpha_photon: Any
    """(n,) variance of a difference per unit count rate."""
    alpha_read: Any
    """(n,) variance of a difference per unit read variance."""
    beta_photon: Any
    """(n - 1,) covariance of adjacent differences."""
    beta_read: Any
    two_omit: Any
    """(n - 1,) 1.0 where the group between averages several reads (a jump inside spoils both differences), else 0."""
    threshold_one: float
    threshold_two: float


class LikelyWork(NamedTuple):
    """Scratch of one thread: rows of a float64 array with one name each, and the mask of used differences."""

    diff: Any
    alpha: Any
    beta: Any
    theta: Any
    phi: Any
    Theta: Any
    ThetaD: Any
    Phi: Any
    PhiD: Any
    part_b: Any
    part_c: Any
    rate_one: Any
    rate_two: Any
    chisq_one: Any
    chisq_two: Any
    use: Any


class LikelyArrays(NamedTuple):
    """Result per integration, (nints, ny, nx) float32 (dq: uint32)."""

    slope: Any
    dq: Any
    var_poisson: Any
    var_rnoise: Any
    err: Any
    chisq: Any


def likely_work(ngroups: int) -> LikelyWork:
    """Allocate the scratch of one thread."""
    return LikelyWork._make([*np.zeros((15, ngroups + 2)), np.zeros(ngroups, np.uint8)])


def likely_arrays(nints: int, ny: int, nx: int, zeros: Callable[..., Any] = np.zeros) -> LikelyArrays:
    """Allocate the result arrays with `zeros`."""
    shape = (nints, ny, nx)
    cubes = [zeros(shape, np.float32) for _ in range(5)]
    return LikelyArrays(cubes[0], zeros(shape, np.uint32), *cubes[1:])


@njit(cache=True, nogil=True, error_model="numpy")
def _covariance(guess: Any, gain: Any, noise: Any, plan: Any, work: Any) -> Any:
    """Fill alpha and beta, scaled to a determinant of 1; return the scale (every tenth step keeps it from overflow)."""
    n = plan.delta_t.size
    for i in range(n):
        work.alpha[i] = guess / gain * plan.alpha_photon[i] + noise * noise * plan.alpha_read[i]
    for i in range(n - 1):
        work.beta[i] = guess / gain * plan.beta_photon[i] + noise * noise * plan.beta_read[i]
    theta = work.theta
    theta[0] = 1.0
    theta[1] = work.alpha[0]
    scale = 1.0
    for i in range(2, n + 1):
        a = work.alpha[i - 1] / scale
        b = work.beta[i - 2] ** 2 / scale**2
        theta[i] = a * theta[i - 1] - b * theta[i - 2]
        if i % 10 == 0 or i == n:
            f = theta[i] ** (1.0 / i)
            scale *= f
            rest = theta[i] / f
            theta[i - 1] /= rest
            theta[i - 2] /= rest / f
            theta[i] = 1.0
    for i in range(n):
        work.alpha[i] /= scale
    for i in range(n - 1):
        # a difference left out is cut off from its neighbors
        work.beta[i] = work.beta[i] / scale * work.use[i + 1] * work.use[i]
    return scale


@njit(cache=True, nogil=True, error_model="numpy")
def _recursions(n: Any, work: Any) -> Any:
    """Fill theta, phi, Theta, ThetaD, Phi, PhiD."""
    alpha, beta, theta, phi = work.alpha, work.beta, work.theta, work.phi
    theta[0] = 1.0
    theta[1] = alpha[0]
    for i in range(2, n + 1):
        theta[i] = alpha[i - 1] * theta[i - 1] - beta[i - 2] ** 2 * theta[i - 2]
    phi[n] = 1.0
    phi[n - 1] = alpha[n - 1]
    work.Phi[n - 1] = 0.0
    work.PhiD[n - 1] = 0.0
    for i in range(n - 2, -1, -1):
        phi[i] = alpha[i] * phi[i + 1] - beta[i] ** 2 * phi[i + 2]
        sign = 1.0 if (i + 1) % 2 else -1.0
        work.Phi[i] = work.Phi[i + 1] * beta[i] + sign * beta[i] * phi[i + 2]
        masked = work.diff[i + 1] * work.use[i + 1]
        work.PhiD[i] = (work.PhiD[i + 1] + sign * masked * phi[i + 2]) * beta[i]
    work.Theta[0] = -theta[0]
    work.ThetaD[0] = 0.0
    work.ThetaD[1] = -work.diff[0] * work.use[0] * theta[0]
    for i in range(1, n):
        sign = 1.0 if i % 2 else -1.0
        work.Theta[i] = work.Theta[i - 1] * beta[i - 1] + sign * theta[i]
        masked = work.diff[i] * work.use[i]
        work.ThetaD[i + 1] = beta[i - 1] * work.ThetaD[i] + sign * masked * theta[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _sums(n: Any, work: Any) -> Any:
    """Fill the parts dB, dC of the sums; return the sums A, B, C of paper I (61-63)."""
    a = 0.0
    square = 0.0
    b = 0.0
    c = 0.0
    determinant = work.theta[n]
    for i in range(n):
        sign = 1.0 if i % 2 else -1.0
        phi = work.phi[i + 1]
        masked = work.diff[i] * work.use[i]
        work.part_c[i] = sign / determinant * (phi * work.Theta[i] + work.theta[i] * work.Phi[i]) * work.use[i]
        work.part_b[i] = sign / determinant * (phi * work.ThetaD[i + 1] + work.theta[i] * work.PhiD[i])
        beta = work.beta[i - 1] if i > 0 else 1.0
        a += masked * sign / determinant * beta * phi * work.ThetaD[i]
        square += masked**2 * work.theta[i] * phi / determinant
        b += masked * work.part_c[i]
        c += work.part_c[i]
    return 2.0 * a + square, b, c


@njit(cache=True, nogil=True, error_model="numpy")
def fit_differences(guess: Any, gain: Any, noise: Any, plan: Any, work: Any) -> Any:
    """Fit the differences in ``work.diff`` that ``work.use`` allows.

    Returns
    -------
    sums : (float64, float64, float64)
        A, B, C of paper I.
    scale : float64
        Scale of the covariance matrix; chi squared and variance are to be divided or multiplied by it.
    """
    n = plan.delta_t.size
    scale = _covariance(guess, gain, noise, plan, work)
    _recursions(n, work)
    return _sums(n, work), scale


@njit(cache=True, nogil=True, error_model="numpy")
def _variances(guess: Any, gain: Any, noise: Any, c: Any, plan: Any, work: Any) -> Any:
    """Photon and read-noise variance of the fitted rate."""
    n = plan.delta_t.size
    photon = 0.0
    read = 0.0
    for i in range(n):
        weight = work.part_c[i] / c
        photon += weight**2 * (guess / gain * plan.alpha_photon[i])
        read += weight**2 * (noise * noise * plan.alpha_read[i])
    photon_pairs = 0.0
    read_pairs = 0.0
    for i in range(n - 1):
        weight = work.part_c[i + 1] / c * (work.part_c[i] / c)
        photon_pairs += weight * (guess / gain * plan.beta_photon[i])
        read_pairs += weight * (noise * noise * plan.beta_read[i])
    return photon + 2.0 * photon_pairs, read + 2.0 * read_pairs


@njit(cache=True, nogil=True, error_model="numpy")
def _omissions(sums: Any, scale: Any, n: Any, work: Any) -> Any:
    """Rate and chi squared without each difference, and without each pair of adjacent ones (paper II, 3.1 and 3.2)."""
    A, B, C = sums
    determinant = work.theta[n]
    rate = B / C
    chisq = (A - B**2 / C) / scale
    for i in range(n):
        if work.use[i] == 0:
            work.rate_one[i] = rate
            work.chisq_one[i] = chisq
            continue
        dB, dC = work.part_b[i], work.part_c[i]
        inverse = work.theta[i] * work.phi[i + 1] / determinant
        a = (inverse * B - dB * dC) / (C * inverse - dC**2)
        b = (dB - a * dC) / inverse
        work.rate_one[i] = a
        total = A + a**2 * C - 2 * a * B + b**2 * inverse - 2 * b * dB + 2 * a * b * dC
        work.chisq_one[i] = total / scale
    for i in range(n - 1):
        if work.use[i] == 0 or work.use[i + 1] == 0:
            # officially the one before is taken first, then the one after where the first is left out
            j = i + 1 if work.use[i] == 0 else i
            work.rate_two[i] = work.rate_one[j]
            work.chisq_two[i] = work.chisq_one[j]
            continue
        dB0, dB1, dC0, dC1 = work.part_b[i], work.part_b[i + 1], work.part_c[i], work.part_c[i + 1]
        inv0 = work.theta[i] * work.phi[i + 1] / determinant
        inv1 = work.theta[i + 1] * work.phi[i + 2] / determinant
        off = -work.beta[i] * work.theta[i] * work.phi[i + 2] / determinant
        cpj = dC0**2 - C * inv0
        cjck = dC0 * dC1 - C * off
        bcpj = B * dC0 - dB0 * C
        c = bcpj / cpj - (B * dC1 - dB1 * C) / cjck
        c /= cjck / cpj - (dC1**2 - C * inv1) / cjck
        b = (bcpj - c * cjck) / cpj
        a = (B - b * dC0 - c * dC1) / C
        work.rate_two[i] = a
        total = A + a**2 * C + b**2 * inv0 + c**2 * inv1
        total -= 2 * a * B + 2 * b * dB0 + 2 * c * dB1
        total += 2 * a * b * dC0 + 2 * a * c * dC1 + 2 * b * c * off
        work.chisq_two[i] = total / scale
    return chisq


@njit(cache=True, nogil=True, error_model="numpy")
def _median_guess(n: Any, work: Any) -> Any:
    """Median of all differences, flagged ones too; NaN if any is."""
    kept = work.alpha
    for i in range(n):
        if np.isnan(work.diff[i]):
            return np.nan
        kept[i] = work.diff[i]
    upper = quickselect(kept, n, n // 2)
    if n % 2 == 1:
        return upper
    lower = kept[0]
    for i in range(1, n // 2):
        lower = max(lower, kept[i])
    return (lower + upper) / 2.0


@njit(cache=True, nogil=True, error_model="numpy")
def _best_gain(chisq: Any, without: Any, factor: Any, n: Any) -> Any:
    """Largest fall of chi squared; NaN if any is, as `numpy.amax`. ``factor`` (n,) or empty."""
    best = -np.inf
    for i in range(n):
        gain = chisq - without[i]
        if factor.size > 0:
            gain *= factor[i]
        if np.isnan(gain):
            return np.nan
        best = max(best, gain)
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _drop_worst(chisq: Any, rate: Any, n: Any, plan: Any, work: Any) -> Any:
    """Leave out the difference, or pair, that improves chi squared most. Returns (found one, rate without it)."""
    best_one = _best_gain(chisq, work.chisq_one, work.alpha[:0], n)
    best_two = _best_gain(chisq, work.chisq_two, plan.two_omit, n - 1)
    if np.isnan(best_one) or np.isnan(best_two):  # then officially nothing is dropped
        return False, rate
    new_rate = 0.0
    if best_one - plan.threshold_one > best_two - plan.threshold_two:
        if not best_one > plan.threshold_one:
            return False, rate
        for i in range(n):
            if chisq - work.chisq_one[i] == best_one:
                new_rate += work.rate_one[i]
                work.use[i] = 0
        return True, new_rate
    if not best_two > plan.threshold_two:
        return False, rate
    found = False
    for i in range(n - 1):
        if chisq - work.chisq_two[i] == best_two:
            found = True
            new_rate += work.rate_two[i]
            work.use[i] = 0
            work.use[i + 1] = 0
    return found, new_rate if found else rate


@njit(cache=True, nogil=True, error_model="numpy")
def mask_jumps(gain: Any, noise: Any, plan: Any, work: Any) -> Any:
    """Search jumps in ``work.diff``, clearing ``work.use``; return the count rate, DN/s."""
    n = plan.delta_t.size
    guess = _median_guess(n, work)
    if not guess > 0.0:
        guess = guess * 0.0
    rate = np.nan
    for step in range(n):
        sums, scale = fit_differences(guess, gain, noise, plan, work)
        chisq = _omissions(sums, scale, n, work)
        if step == 0:
            rate = sums[1] * (1.0 / sums[2])
        found, rate = _drop_worst(chisq, rate, n, plan, work)
        if not found:
            break
        left = 0
        for i in range(n):
            left += work.use[i]
        if left <= 3:
            break
    return rate


@njit(cache=True, nogil=True, error_model="numpy")
def likely_integration(y: Any, flag: Any, pixeldq: Any, pixel: Any, plan: Any, at: Any, out: Any, work: Any) -> Any:
    """Fit one ramp and write the result.

    Parameters
    ----------
    y : (ngroups,) float32 ndarray
        Ramp, DN.
    flag : (ngroups,) uint8 ndarray
        Group flags; JUMP_DET is added.
    pixeldq : uint32
        Pixel flags.
    pixel : (float64, float64, float64)
        Gain, electrons/DN; read noise of one read, DN; mean dark current, DN/s.
    plan : LikelyPlan
    at : (int, int, int)
        Integration, row, column of the result.
    out : LikelyArrays
    work : LikelyWork
    """
    gain, noise, dark = pixel
    n = y.size - 1
    for i in range(n):
        work.diff[i] = np.float64(np.float32(y[i + 1] - y[i])) / plan.delta_t[i]
        work.use[i] = flag[i] | flag[i + 1] == 0
    rate = mask_jumps(gain, noise, plan, work)
    for i in range(n):
        if work.use[i] == 0 and flag[i] | flag[i + 1] == 0:
            work.part_b[i] = 1.0
        else:
            work.part_b[i] = 0.0
    for i in range(n):
        if work.part_b[i] == 1.0:
            flag[i + 1] |= JUMP
    guess = (rate if rate > 0.0 else rate * 0.0) + dark
    sums, scale = fit_differences(guess, gain, noise, plan, work)
    A, B, C = sums
    photon, read = _variances(guess, gain, noise, C, plan, work)
    union = flags_union(flag)
    flags = pixeldq | np.uint32(union & np.uint8(6))
    unusable = 0
    for g in range(n + 1):
        unusable += int(flag[g] & np.uint8(3) != 0)
    if unusable == n + 1:
        flags |= np.uint32(1)
    out.slope[at] = B * (1.0 / C)
    out.chisq[at] = (A - B**2 / C) / scale
    out.err[at] = np.sqrt(scale / C)
    out.var_poisson[at] = photon
    out.var_rnoise[at] = read
    out.dq[at] = flags


@njit(cache=True, nogil=True, error_model="numpy")
def likely_row(
    ramps: Any, flags: Any, pixeldq: Any, gain: Any, noise: Any, dark: Any, plan: Any, row: Any, out: Any, work: Any
) -> Any:
    """Fit one detector row.

    Parameters as in `lyot.ramps._ols_kernels.fit_row`, but ``noise`` (nx,) float64 is that of one read, DN.
    """
    for x in range(ramps.shape[0]):
        pixel = (np.float64(gain[x]), noise[x], np.float64(dark[x]))
        for i in range(ramps.shape[1]):
            likely_integration(ramps[x, i], flags[x, i], pixeldq[x], pixel, plan, (i, row, x), out, work)
