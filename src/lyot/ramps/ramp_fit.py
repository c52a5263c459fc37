"""Slopes of ramps, as the official ``ramp_fit`` step fits them: OLS_C with optimal weighting, or LIKELY.

`fit_ramps` works on whole arrays. An engine that streams an exposure row by row calls `plan_fit` once, then
`lyot.ramps._ols_kernels.fit_row` for each row (or `lyot.ramps._likely_kernels.likely_row`), with one `FitWork` per
thread. The kernels release the GIL and allocate nothing; rows are independent of each other.

The official step looks at flags of the whole exposure first: groups at the beginning, or one at the end, that are
DO_NOT_USE in every pixel are dropped (MIRI), and an exposure without two usable groups, or saturated everywhere, has
no result. `plan_fit` gets these facts as ``all_dnu`` (nints, ngroups), see `lyot.ramps.jump.all_do_not_use`, and
answers None for "no result".
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from lyot import dq
from lyot.errors import InputError, warn
from lyot.params import param
from lyot.ramps import _ols_kernels as kernels
from lyot.ramps._jump_kernels import gather_row
from lyot.ramps._ols_kernels import FitArrays, FitPlan
from lyot.ramps.ramp_fit_likely import fit_likely
from lyot.ramps.slopes import GroupTimes, RampFitResult, SlopeImage

log = logging.getLogger(__name__)

LIKELY_MIN_GROUPS = 4
"""With fewer groups the official step falls back from LIKELY to OLS_C."""


@dataclasses.dataclass(frozen=True)
class RampFitParams:
    """Parameters of the slope fit: names, defaults and meaning of the official step (jwst 3.0), and our own last.

    Examples
    --------
    >>> RampFitParams(algorithm="LIKELY").algorithm
    'LIKELY'
    """

    algorithm: str = param("OLS_C", choices=("OLS_C", "LIKELY"), help="Algorithm")
    int_name: str = param("", help="Name of the per-integration product")
    save_opt: bool = param(False, help="Save the optional results of the fit (done by the official step)")
    opt_name: str = param("", help="Name of the optional product")
    suppress_one_group: bool = param(True, help="No slope for ramps with only one good group")
    firstgroup: int | None = param(None, help="Ignore groups before this one (0-based)")
    lastgroup: int | None = param(None, help="Ignore groups after this one (0-based)")
    maximum_cores: str = param("1", help="Accepted for compatibility; threads are set by the pipeline")
    exact_errors: bool = param(
        False, help="OLS_C: propagate the noise through the weights of the fit, which the official formulas do not"
    )


def group_noise(
    read_noise: npt.NDArray[np.floating[Any]], gain: npt.NDArray[np.floating[Any]], nframes: int
) -> npt.NDArray[np.float32]:
    """Read noise of one group in electrons, from the noise of a difference of two reads (CDS) in DN."""
    noise = np.array(read_noise, dtype=np.float32)
    noise *= np.asarray(gain, dtype=np.float32) / np.sqrt(2.0 * nframes)
    return noise


def group_limits(params: RampFitParams, ngroups: int) -> tuple[int, int]:
    """First group used and one more than the last, from ``firstgroup`` and ``lastgroup``."""
    first = max(params.firstgroup or 0, 0)
    last = ngroups - 1 if params.lastgroup is None else params.lastgroup
    if first >= last:
        if params.firstgroup is not None or params.lastgroup is not None:
            warn(f"firstgroup ({first}) is not before lastgroup ({last}): both are ignored")
        return 0, ngroups
    return first, min(last + 1, ngroups)


def plan_fit(
    params: RampFitParams,
    times: GroupTimes,
    *,
    all_dnu: npt.NDArray[np.bool_],
    chargeloss: bool = False,
    dropped: int = 0,
    own: tuple[int, int] | None = None,
) -> FitPlan | None:
    """Decide which groups are used.

    Parameters
    ----------
    params : RampFitParams
        Parameters.
    times : GroupTimes
        Sampling of the exposure.
    all_dnu : (nints, ngroups) bool ndarray
        Groups that are DO_NOT_USE in every pixel, those outside `group_limits` included.
    chargeloss : bool, optional
        Some group has the flag CHARGELOSS.
    dropped : int, optional
        Integrations given up at the start; their groups are DO_NOT_USE.
    own : (int, int), optional
        Integrations [first, last) that are fitted, all by default; the others only count in the mean rate, from which
        the photon noise follows.

    Returns
    -------
    FitPlan or None
        None when less than two groups are left (MIRI): the official step then gives no result.
    """
    ngroups = all_dnu.shape[1]
    first, last = 0, ngroups
    if times.drop_leading and ngroups > 1:
        unused = np.logical_and.reduce(all_dnu, axis=0)
        while first < ngroups and unused[first]:
            first += 1
        if first < ngroups and unused[-1]:
            last -= 1
        if last - first < 2:
            warn("ramp_fit: less than two usable groups; no slopes can be fitted")
            return None
    return FitPlan(
        first=first,
        last=last,
        suppress_one_group=params.suppress_one_group and ngroups > 1,
        clear_first_jump=first > 0,
        chargeloss=chargeloss,
        group_time=float(times.group_time),
        one_group_time=(times.nframes + 1.0) * float(np.float32(times.frame_time)) / 2.0,
        exact_errors=params.exact_errors,
        dropped=dropped,
        own_first=0 if own is None else own[0],
        own_last=all_dnu.shape[0] if own is None else own[1],
    )


def fit_ramps(
    data: npt.NDArray[np.float32],
    groupdq: npt.NDArray[np.uint8],
    pixeldq: npt.NDArray[np.uint32],
    *,
    gain: npt.NDArray[np.floating[Any]],
    read_noise: npt.NDArray[np.floating[Any]],
    times: GroupTimes,
    dark: npt.NDArray[np.float32] | None = None,
    params: RampFitParams | None = None,
    dropped: int = 0,
    threads: int = 1,
) -> RampFitResult | None:
    """Fit slopes to the ramps of one exposure.

    Parameters
    ----------
    data : (nints, ngroups, ny, nx) float32 ndarray
        Corrected ramps, DN. Not changed.
    groupdq : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags. Not changed.
    pixeldq : (ny, nx) uint32 ndarray
        Pixel flags. Not changed.
    gain : (ny, nx) float ndarray
        Gain, electrons/DN; pixels where it is NaN or not positive get no slope.
    read_noise : (ny, nx) float ndarray
        Noise of the difference of two reads (CDS, as in the reference file), DN.
    times : GroupTimes
        Sampling of the exposure.
    dark : (ny, nx) float ndarray, optional
        Mean dark current, DN/s, added to the photon noise (``average_dark_current``).
    params : RampFitParams, optional
        Parameters.
    dropped : int, optional
        Integrations given up at the start, whose groups must be DO_NOT_USE: they do not count in the mean rate that
        the photon noise is computed from.
    threads : int, optional
        Threads to use.

    Returns
    -------
    RampFitResult or None
        None when the exposure has no usable groups, or is saturated everywhere from the first group on.

    Raises
    ------
    lyot.errors.InputError
        If the arrays do not fit each other.

    Examples
    --------
    A ramp of 50 DN per group, one group each quarter of a second:

    >>> import numpy as np
    >>> ramp = (np.arange(20, dtype=np.float32) * 50).reshape(1, 20, 1, 1)
    >>> fit = fit_ramps(
    ...     ramp, np.zeros(ramp.shape, np.uint8), np.zeros((1, 1), np.uint32),
    ...     gain=np.full((1, 1), 3.1), read_noise=np.full((1, 1), 6.0), times=GroupTimes(0.25, 0.25),
    ... )
    >>> fit.rate.slope.tolist(), fit.rateints.slope.shape
    ([[200.0]], (1, 1, 1))
    """
    params = params or RampFitParams()
    dark = np.zeros(data.shape[2:], np.float32) if dark is None else np.asarray(dark, dtype=np.float32)
    _check(data, groupdq, {"pixel flags": pixeldq, "gain": gain, "read noise": read_noise, "dark": dark})
    first, last = group_limits(params, data.shape[1])
    flags = _Flags(groupdq, first, last)
    gain = np.ascontiguousarray(gain, dtype=np.float32)
    if params.algorithm == "LIKELY" and data.shape[1] >= LIKELY_MIN_GROUPS:
        return fit_likely(data, flags.whole(), pixeldq, images=(gain, read_noise, dark), times=times, threads=threads)
    if params.algorithm == "LIKELY":
        log.info("LIKELY needs %d groups, the ramps have %d: OLS_C is used", LIKELY_MIN_GROUPS, data.shape[1])
    all_dnu, chargeloss = flags.survey(params.suppress_one_group and data.shape[1] > 1)
    plan = plan_fit(params, times, all_dnu=all_dnu, chargeloss=chargeloss, dropped=dropped)
    if plan is None:
        return None
    if np.all(groupdq[:, plan.first] & dq.SATURATED):
        warn("ramp_fit: every ramp is saturated from its first group on; no slopes can be fitted")
        return None
    nints, _, ny, nx = data.shape
    out = kernels.fit_arrays(nints, ny, nx)
    images = (np.asarray(pixeldq, np.uint32), gain, group_noise(read_noise, gain, times.nframes), dark)
    edges = [int(e) for e in np.linspace(0, ny, max(1, min(threads, ny)) + 1)]
    bands = list(itertools.pairwise(edges))
    with ThreadPoolExecutor(len(bands)) as pool:
        for done in [pool.submit(_fit_band, data, flags, images, plan, band, out) for band in bands]:
            done.result()
    return pack(out)


def pack(out: FitArrays) -> RampFitResult:
    """Name the arrays that the kernels filled."""
    return RampFitResult(SlopeImage(*out[:5]), SlopeImage(*out[5:]))


@dataclasses.dataclass(frozen=True)
class _Flags:
    """Group flags, with the groups outside [first, last) marked DO_NOT_USE when they are read."""

    groupdq: npt.NDArray[np.uint8]
    first: int
    last: int

    def row(self, row: int, out: npt.NDArray[np.uint8]) -> None:
        gather_row(self.groupdq, row, out)
        out[:, :, : self.first] |= dq.DO_NOT_USE
        out[:, :, self.last :] |= dq.DO_NOT_USE

    def whole(self) -> npt.NDArray[np.uint8]:
        flags = np.array(self.groupdq)
        flags[:, : self.first] |= dq.DO_NOT_USE
        flags[:, self.last :] |= dq.DO_NOT_USE
        return flags

    def survey(self, suppress: bool) -> tuple[npt.NDArray[np.bool_], bool]:
        """(nints, ngroups) groups DO_NOT_USE everywhere, after suppression; and whether any has CHARGELOSS."""
        nints, ngroups, ny, nx = self.groupdq.shape
        common = np.full((nints, ngroups), 255, np.uint8)
        union = 0
        buffer = np.empty((nx, nints, ngroups), np.uint8)
        for row in range(ny):
            self.row(row, buffer)
            union |= int(np.bitwise_or.reduce(buffer, axis=None))
            if suppress:
                for x in np.nonzero(np.any(buffer, axis=(1, 2)))[0]:
                    kernels.suppress_one_group(buffer[x])
            common &= np.bitwise_and.reduce(buffer, axis=0)
        return (common & dq.DO_NOT_USE).astype(bool), bool(union & dq.CHARGELOSS)


def _fit_band(
    data: npt.NDArray[np.float32],
    flags: _Flags,
    images: tuple[npt.NDArray[Any], ...],
    plan: FitPlan,
    band: tuple[int, int],
    out: FitArrays,
) -> None:
    """Fit rows band[0] to band[1]."""
    nints, ngroups, _, nx = data.shape
    pixeldq, gain, noise, dark = images
    work = kernels.fit_work(nints, ngroups)
    ramps = np.empty((nx, nints, ngroups), np.float32)
    buffer = np.empty((nx, nints, ngroups), np.uint8)
    for row in range(*band):
        gather_row(data, row, ramps)
        flags.row(row, buffer)
        kernels.fit_row(ramps, buffer, pixeldq[row], gain[row], noise[row], dark[row], plan, row, out, work)


def _check(data: npt.NDArray[Any], groupdq: npt.NDArray[Any], images: dict[str, npt.NDArray[Any]]) -> None:
    if data.ndim != 4 or groupdq.shape != data.shape:
        raise InputError(
            f"ramp_fit: ramps and group flags must both be (nints, ngroups, ny, nx), got {data.shape}, {groupdq.shape}."
        )
    if data.dtype.kind != "f":
        raise InputError(f"ramp_fit: ramps must be floating point (DN after the corrections), got {data.dtype}.")
    for name, image in images.items():
        if image.shape != data.shape[2:]:
            raise InputError(f"ramp_fit: {name} must have the detector shape {data.shape[2:]}, got {image.shape}.")
