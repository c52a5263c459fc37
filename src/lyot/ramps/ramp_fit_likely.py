"""The LIKELY slope fit on whole arrays, and what an engine needs to run it row by row.

An engine calls `plan_likely` once, `lyot.ramps._likely_kernels.likely_row` for each row, and `combine_integrations` at
the end. Unlike OLS_C, this fit looks for jumps itself, and leaves out both differences of any group that has a flag;
neither ``suppress_one_group`` nor the dropping of unused MIRI groups plays a part (as officially).
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from lyot import dq
from lyot.ramps import _likely_kernels as kernels
from lyot.ramps._jump_kernels import gather_row, scatter_row
from lyot.ramps.slopes import GroupTimes, RampFitResult, SlopeImage
from lyot.stacks import nanmedian

THRESHOLD_ONE = 20.25
"""Fall of chi squared (4.5 sigma) for which one difference is left out."""
THRESHOLD_TWO = 23.8
"""Fall of chi squared for which two adjacent differences are left out."""


def plan_likely(times: GroupTimes, ngroups: int) -> kernels.LikelyPlan:
    """Covariance of the group differences of evenly sampled ramps (paper I, equations 4, 11, 28, 29).

    Parameters
    ----------
    times : GroupTimes
        Sampling of the exposure.
    ngroups : int
        Number of groups, at least 4.
    """
    reads = np.arange(1, times.nframes + 1)
    step = times.nframes + times.groupgap
    group_reads = [(reads + g * step) * times.frame_time for g in range(ngroups)]
    count = times.nframes
    mean = np.array([np.mean(t) for t in group_reads])
    weight = 2 * count + 1 - 2 * np.arange(1, count + 1)
    tau = np.array([np.sum(weight * t) / count**2 for t in group_reads])
    delta = np.diff(mean)
    return kernels.LikelyPlan(
        delta_t=delta,
        alpha_photon=(tau[:-1] + tau[1:] - 2 * mean[:-1]) / delta**2,
        alpha_read=(2.0 / count) / delta**2,
        beta_photon=(mean[1:-1] - tau[1:-1]) / (delta[1:] * delta[:-1]),
        beta_read=-1.0 / (count * delta[1:] * delta[:-1]),
        two_omit=np.full(ngroups - 2, 1.0 if count > 1 else 0.0),
        threshold_one=THRESHOLD_ONE,
        threshold_two=THRESHOLD_TWO,
    )


def read_noise_single(read_noise: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Noise of one read, DN, from that of a difference of two reads (CDS)."""
    return np.asarray(read_noise, dtype=np.float64) / np.sqrt(2.0)


def fit_likely(
    data: npt.NDArray[np.float32],
    flags: npt.NDArray[np.uint8],
    pixeldq: npt.NDArray[np.uint32],
    *,
    images: tuple[npt.NDArray[Any], ...],
    times: GroupTimes,
    threads: int = 1,
) -> RampFitResult:
    """Fit whole arrays; ``flags`` is changed. For parameters see `lyot.ramps.ramp_fit.fit_ramps`.

    ``images`` = (gain, read noise, dark), (ny, nx) each.
    """
    nints, ngroups, ny, nx = data.shape
    gain, read_noise, dark = images
    noise = read_noise_single(read_noise)
    plan = plan_likely(times, ngroups)
    out = kernels.likely_arrays(nints, ny, nx)
    pixeldq = np.asarray(pixeldq, dtype=np.uint32)

    def band(rows: tuple[int, int]) -> None:
        work = kernels.likely_work(ngroups)
        ramps = np.empty((nx, nints, ngroups), np.float32)
        buffer = np.empty((nx, nints, ngroups), np.uint8)
        for row in range(*rows):
            gather_row(data, row, ramps)
            gather_row(flags, row, buffer)
            kernels.likely_row(ramps, buffer, pixeldq[row], gain[row], noise[row], dark[row], plan, row, out, work)
            scatter_row(buffer, row, flags)

    edges = [int(e) for e in np.linspace(0, ny, max(1, min(threads, ny)) + 1)]
    with ThreadPoolExecutor(len(edges) - 1) as pool:
        for done in [pool.submit(band, rows) for rows in itertools.pairwise(edges)]:
            done.result()
    rate, rateints = combine_integrations(out)
    return RampFitResult(rate, rateints, flags)


def combine_integrations(out: kernels.LikelyArrays) -> tuple[SlopeImage, SlopeImage]:
    """Average the integrations, weighted by inverse variance with the photon noise of the average rate.

    Returns
    -------
    rate, rateints : SlopeImage
        Of the exposure, and of each integration (the given arrays).
    """
    rateints = SlopeImage(out.slope, out.dq, out.var_poisson, out.var_rnoise, out.err, out.chisq)
    if out.slope.shape[0] == 1:
        first = [part[0].copy() for part in out]
        return SlopeImage(*first), rateints
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        slope = nanmedian(out.slope)
        for _ in range(2):
            ratio = slope[np.newaxis] / out.slope
            ratio[~np.isfinite(ratio) | (ratio < 0)] = 0
            poisson = out.var_poisson * ratio
            weight = 1 / (poisson + out.var_rnoise)
            weight /= np.nansum(weight, axis=0)[np.newaxis]
            slope = _nan_total(out.slope * weight)
        var_poisson = _nan_total(poisson * weight**2)
        var_read = _nan_total(out.var_rnoise * weight**2)
        err = np.sqrt(var_poisson + var_read)
        chisq = np.sum(out.chisq, axis=0)
    flags = np.bitwise_or.reduce(out.dq, axis=0) & ~np.uint32(dq.DO_NOT_USE)
    flags |= np.bitwise_and.reduce(out.dq, axis=0) & np.uint32(dq.DO_NOT_USE)
    return SlopeImage(slope, flags, var_poisson, var_read, err, chisq), rateints


def _nan_total(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sum over the first axis leaving out NaN; NaN where all are."""
    total = np.nansum(values, axis=0)
    total[np.all(np.isnan(values), axis=0)] = np.nan
    return total
