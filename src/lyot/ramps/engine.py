"""The streaming engine: an exposure from raw ramps to slopes, band by band, with low memory use.

A band of detector rows is read, for all integrations (the jump detection takes the median over all differences of a
pixel), and each row goes through the same kernels that the functions of this room use on whole arrays: saturation,
reset, linearity, RSCD, dark, jumps, slope. Only slopes, variances and flags are kept. Neighbors matter in two places:
saturation spreads to the pixels around, so a row is corrected when the next has been looked at, and strong jumps are
flagged in the four neighbors, so a row is fitted when the next has had its jumps found. The columns of a band are
shared out over threads, one column of overlap on either side.

Two decisions of the official steps look at the whole exposure before anything is fitted: the method of the jump
detection, and which groups are unusable in every pixel. They are made from the first groups and checked at the end,
when the flags of all pixels are known; in the odd case that they were wrong the exposure is streamed again with the
right ones.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot import dq
from lyot.errors import InputError
from lyot.ramps import _kernels_stream as kernels
from lyot.ramps import _ols_kernels as ols
from lyot.ramps._checks import bad_gain, check_image
from lyot.ramps._likely_kernels import LikelyArrays
from lyot.ramps._stream import Chunk, Exposure, Plans, Tally, band_layout
from lyot.ramps.dark import DarkReference, dark_planes
from lyot.ramps.jump import CLIP_ALL, CLIP_INTEGRATIONS, SKIP, JumpPlan, plan_jump
from lyot.ramps.jump_params import JumpParams
from lyot.ramps.linearity import LinearityReference
from lyot.ramps.options import FitLimits
from lyot.ramps.ramp_fit import LIKELY_MIN_GROUPS, RampFitParams, group_limits, group_noise, pack, plan_fit
from lyot.ramps.ramp_fit_likely import combine_integrations, plan_likely
from lyot.ramps.readers import FloatFile, PlaneFile, RampArray, RampFile, SegmentFiles
from lyot.ramps.reset import ResetReference, reset_planes
from lyot.ramps.rscd import RscdTally, rscd_tally
from lyot.ramps.saturation import SaturationReference
from lyot.ramps.scratch import Scratch
from lyot.ramps.slopes import GroupTimes, RampFitResult
from lyot.ramps.threads import row_ranges, usable_threads
from lyot.ramps.watch import Watched

log = logging.getLogger(__name__)

NEVER = np.float32(np.inf)


class NotStreamableError(Exception):
    """The exposure cannot be streamed and must be reduced step by step; says why."""


@dataclass(frozen=True)
class DarkFile:
    """A dark that is read while streaming: a file, its flags (ny, nx) uint32, and how much of it is used."""

    file: FloatFile
    dq: NDArray[np.uint32]
    n_integrations: int


@dataclass(frozen=True)
class Corrections:
    """What is done to the ramps before jump detection; None leaves a correction out.

    Attributes
    ----------
    mask : (ny, nx) uint32 ndarray, optional
        From `lyot.ramps.dq_init.mask_flags`.
    saturation, reset, linearity, dark : optional
        References, prepared by the functions of their modules, the dark matched to the exposure's groups.
    n_pix_grow_sat : int
        Pixels by which saturation grows.
    last_frame : bool
        Give up the last group.
    rscd : (nints,) int64 ndarray, optional
        Groups given up in each integration, from `lyot.ramps.rscd.integration_skips`.
    """

    mask: NDArray[np.uint32] | None = None
    saturation: SaturationReference | None = None
    n_pix_grow_sat: int = 1
    last_frame: bool = False
    reset: ResetReference | None = None
    linearity: LinearityReference | None = None
    rscd: NDArray[np.int64] | None = None
    dark: DarkReference | DarkFile | None = None


@dataclass(frozen=True)
class Detector:
    """Gain, read noise and dark current of the detector.

    Gain (ny, nx) float32, electrons/DN; read noise (ny, nx) float32, DN (CDS); mean dark current (ny, nx) float32 as
    `lyot.ramps.ramp_fit.fit_ramps` takes it.
    """

    gain: NDArray[np.float32]
    read_noise: NDArray[np.float32]
    dark_current: NDArray[np.float32]


@dataclass(frozen=True)
class StreamParams:
    """Parameters of streaming; threads and memory do not change the result.

    Attributes
    ----------
    threads : int
        0 takes every core.
    memory : float
        Room for the ramps in work, MB. The slopes come on top: 20 bytes per pixel and integration.
    scratch : Path, optional
        Folder where slopes of more than `lyot.ramps.scratch.IN_MEMORY` are kept in a nameless file while they grow.
    first_integration : int
        Number of the first integration in its exposure, from 1.
    own : (int, int), optional
        Integrations [first, last) whose slopes are wanted, 0-based; all by default. The others take part in all that
        the official steps decide from all integrations of an exposure: the median differences relative to which jumps
        stand out, and the rate from which the photon noise follows.
    limits : FitLimits
        What is given up of the ramps between jump detection and fit (this does change the result).
    watched : Watched, optional
        Filled with the corrected ramps of its pixels.
    """

    threads: int = 0
    memory: float = 200.0
    scratch: Path | None = None
    first_integration: int = 1
    own: tuple[int, int] | None = None
    limits: FitLimits = field(default_factory=FitLimits)
    watched: Watched | None = None


@dataclass(frozen=True)
class StreamResult:
    """Slopes, and the counts of the steps.

    Attributes
    ----------
    slopes : RampFitResult
    pixel_dq : (ny, nx) uint32 ndarray
        Pixel flags after all steps.
    all_unused : (nints, ngroups) bool ndarray
        Groups that are DO_NOT_USE in every pixel.
    primary : int
        Number of jumps.
    rscd : (RscdTally or None, RscdTally or None)
        What RSCD flagged in the first and in later integrations.
    n_saturated : int
        Number of pixels that saturate.
    scratch : Scratch
        Where large slopes are kept.
    """

    slopes: RampFitResult
    pixel_dq: NDArray[np.uint32]
    all_unused: NDArray[np.bool_]
    primary: int
    rscd: tuple[RscdTally | None, RscdTally | None]
    n_saturated: int
    scratch: Scratch


def process_exposure(
    ramps: NDArray[Any] | RampFile | SegmentFiles,
    corrections: Corrections,
    detector: Detector,
    times: GroupTimes,
    *,
    jump: JumpParams | None,
    fit: RampFitParams,
    params: StreamParams | None = None,
) -> StreamResult:
    """Process an exposure from raw ramps to slopes in one pass.

    Parameters
    ----------
    ramps : (nints, ngroups, ny, nx) uint16 or float32 ndarray, RampFile or SegmentFiles
        Raw ramps, DN.
    corrections : Corrections
        References and settings of the corrections.
    detector : Detector
        Gain and noise.
    times : GroupTimes
        Sampling of the exposure.
    jump : JumpParams or None
        None leaves out the jump detection.
    fit : RampFitParams
        Slope fit; the group flags with the jumps that LIKELY finds are not kept.
    params : StreamParams, optional
        Threads and memory.

    Returns
    -------
    StreamResult
        The same bits as the functions of this room give one after the other.

    Raises
    ------
    NotStreamableError
        If the parameters or the flags ask for the whole ramps at once; nothing has been changed then.
    InputError, ReferenceFileError
        If arrays do not fit each other, or the file is truncated.
    """
    params = params or StreamParams()
    source = ramps if isinstance(ramps, (RampFile, SegmentFiles)) else RampArray(ramps)
    if fit.save_opt:
        raise NotStreamableError("optional results of the fit require whole ramps")
    if min(source.shape) == 0:
        raise InputError(f"ramps of shape {source.shape} (integration, group, y, x) hold no samples.")
    _check_references(source.shape, corrections, detector)
    with ExitStack() as stack:
        for file in (source, getattr(corrections.dark, "file", None)):
            if isinstance(file, (PlaneFile, SegmentFiles)):
                stack.enter_context(file)
        exposure = _exposure(source, corrections, detector, times, params)
        if fit.algorithm == "LIKELY" and source.shape[1] >= LIKELY_MIN_GROUPS:
            exposure = replace(exposure, likely=plan_likely(times, source.shape[1]))
        guess = _guess_unused(exposure, corrections)
        return _stream_until_sure(exposure, guess, jump, fit, params)


def _check_references(shape: tuple[int, ...], c: Corrections, detector: Detector) -> None:
    images: dict[str, Any] = {
        "mask": c.mask,
        "saturation": c.saturation and c.saturation.threshold,
        "reset": c.reset and c.reset.data,
        "linearity": c.linearity and c.linearity.dq,
        "dark": c.dark and c.dark.dq,
        "gain": detector.gain,
        "readnoise": detector.read_noise,
        "average dark current": detector.dark_current,
    }
    for name, image in images.items():
        if image is not None:
            check_image(name, image, shape)


def _exposure(
    source: RampArray | RampFile | SegmentFiles,
    c: Corrections,
    detector: Detector,
    times: GroupTimes,
    params: StreamParams,
) -> Exposure:
    nints, ngroups, ny, nx = source.shape
    zero = np.zeros((ny, nx), np.uint32)
    pixel_dq = zero | np.where(bad_gain(detector.gain), np.uint32(dq.NO_GAIN_VALUE | dq.DO_NOT_USE), np.uint32(0))
    if c.mask is not None:
        pixel_dq |= c.mask
    for reference in (c.saturation, c.reset, c.linearity, c.dark):
        if reference is not None:
            pixel_dq |= reference.dq
    dark_nints = 1
    if c.dark is not None:
        dark_nints = c.dark.n_integrations if isinstance(c.dark, DarkFile) else c.dark.data.shape[0]
    settings = kernels.RowSettings(
        saturation=c.saturation is not None,
        last_frame=c.last_frame and ngroups > 2,
        reset_groups=0 if c.reset is None else min(ngroups, c.reset.data.shape[1]),
        linearity=c.linearity is not None,
        rscd=c.rscd is not None,
        dark=c.dark is not None,
        reset_plane=reset_planes(nints, 1 if c.reset is None else c.reset.data.shape[0], params.first_integration),
        dark_plane=dark_planes(nints, dark_nints, params.first_integration),
        skip=np.zeros(nints, np.int64) if c.rscd is None else c.rscd.astype(np.int64),
    )
    return Exposure(
        source=source,
        base=(zero if c.mask is None else c.mask & np.uint32(dq.DO_NOT_USE)).astype(np.uint8),
        threshold=np.full((ny, nx), NEVER) if c.saturation is None else c.saturation.threshold,
        grow=max(c.n_pix_grow_sat, 0),
        reset=None if c.reset is None else np.ascontiguousarray(np.moveaxis(c.reset.data, (0, 1), (2, 3))),
        coefficients=None if c.linearity is None else c.linearity.coefficients,
        dark=c.dark.file if isinstance(c.dark, DarkFile) else None if c.dark is None else c.dark.data,
        dark_nints=dark_nints,
        settings=settings,
        gain=np.ascontiguousarray(detector.gain, np.float32),
        read_noise=np.ascontiguousarray(detector.read_noise, np.float32),
        group_noise=group_noise(detector.read_noise, detector.gain, times.nframes),
        dark_current=np.ascontiguousarray(detector.dark_current, np.float32),
        times=times,
        pixel_dq=pixel_dq,
        first_integration=params.first_integration,
        limits=params.limits,
        own=params.own or (0, nints),
        scratch=Scratch(params.scratch, 24e-6 * nints * ny * nx),
        likely=None,
        watched=params.watched,
    )


def _guess_unused(e: Exposure, c: Corrections) -> NDArray[np.bool_]:
    """Groups that are unusable in every pixel, from the first groups alone and the last-frame flag."""
    nints, ngroups, _, _ = e.source.shape
    unused = np.zeros((nints, ngroups), bool)
    if e.settings.last_frame:
        unused[:, -1] = True
    for i in range(nints) if c.rscd is not None else ():
        skip = int(e.settings.skip[i])
        m = min(skip + 2, ngroups)
        common = np.ones(m, bool)
        kernels.head_survey(e.source.head(i, m), e.threshold, e.base, e.grow, skip, common)
        unused[i, :m] |= common
    return unused


def _plans(e: Exposure, unused: NDArray[np.bool_], fit_unused: NDArray[np.bool_], jump: JumpParams | None,
           fit: RampFitParams) -> Plans:  # fmt: skip
    """Plans of jump detection and fit for what is known of the flags."""
    use_jump = jump is not None and unused.shape[1] > 2
    times = e.times
    jump_plan: JumpPlan = plan_jump(
        jump or JumpParams(), all_dnu=unused, gain=e.gain, nframes=times.nframes, group_time=times.group_time
    )
    if use_jump and jump_plan.needs_images:
        raise NotStreamableError("snowballs and showers require whole images")
    first, last = group_limits(fit, unused.shape[1])
    outside = np.zeros_like(unused)
    outside[:, :first] = outside[:, last:] = True
    fit_plan = plan_fit(fit, times, all_dnu=fit_unused | outside, dropped=int(e.limits.drop_first), own=e.own)
    if fit_plan is None:
        raise NotStreamableError("less than two groups seem usable")
    return Plans(jump_plan if use_jump else jump_plan._replace(method=SKIP), fit_plan, (first, last))


def _stream_until_sure(
    e: Exposure, guess: NDArray[np.bool_], jump: JumpParams | None, fit: RampFitParams, params: StreamParams
) -> StreamResult:
    unused = fit_unused = guess
    plans = _plans(e, unused, fit_unused, jump, fit)
    for _ in range(3):
        tally, out = _stream(e, plans, params)
        unused = (tally.counts.common & dq.DO_NOT_USE).astype(bool)
        fit_unused = (tally.counts.common_fit & dq.DO_NOT_USE).astype(bool)
        right = _plans(e, unused, fit_unused, jump, fit)
        if right == plans:
            return _result(e, plans, tally, out)
        log.info("Usable groups differ from those expected from the first rows; streaming is repeated")
        plans = right
    raise NotStreamableError("the group flags do not converge")


def _result(e: Exposure, plans: Plans, tally: Tally, out: ols.FitArrays | LikelyArrays) -> StreamResult:
    nints = e.source.shape[0]
    if not tally.counts.any_unsaturated:
        raise NotStreamableError("every ramp is saturated from its first group on")
    clipped = plans.jump.method in (CLIP_INTEGRATIONS, CLIP_ALL)
    if clipped and np.any(tally.counts.full & tally.counts.only_jump):
        raise NotStreamableError("a group was flagged as a jump in every pixel")
    n_first = 1 if e.first_integration == 1 else 0
    rscd = (
        rscd_tally(tally.lowered[0], tally.none[0], e.settings.skip[:n_first]),
        rscd_tally(tally.lowered[1], tally.none[1], e.settings.skip[n_first:nints]),
    )
    unused = (tally.counts.common & dq.DO_NOT_USE).astype(bool)
    saturated = tally.first.min(axis=0) < e.source.shape[1]
    grown = ndimage.maximum_filter(saturated, size=2 * e.grow + 1, mode="nearest")
    slopes = RampFitResult(*combine_integrations(out)) if isinstance(out, LikelyArrays) else pack(out)
    return StreamResult(slopes, tally.pixel_dq, unused, tally.counts.primary, rscd, int(grown.sum()), e.scratch)


def _stream(e: Exposure, plans: Plans, params: StreamParams) -> tuple[Tally, ols.FitArrays | LikelyArrays]:
    """One run over the exposure."""
    _, _, ny, nx = e.source.shape
    out = e.slope_arrays(e.own[1] - e.own[0], ny, nx, e.scratch.zeros)
    tally = Tally.of(e)
    threads = usable_threads(params.threads)
    rows, passes = band_layout(e.source.shape, e.grow, params.memory)
    with ThreadPoolExecutor(threads) as pool:
        for columns in row_ranges(nx, passes):
            _stream_columns(e, plans, tally, out, columns, rows, pool, threads)
    return tally, out


def _stream_columns(
    e: Exposure,
    plans: Plans,
    tally: Tally,
    out: ols.FitArrays | LikelyArrays,
    columns: tuple[int, int],
    rows: int,
    pool: ThreadPoolExecutor,
    threads: int,
) -> None:
    """Stream a range of columns from the first row to the last."""
    nints, ngroups, ny, nx = e.source.shape
    a0, a1 = max(columns[0] - 1 - e.grow, 0), min(columns[1] + 1 + e.grow, nx)
    raw = np.empty((rows + e.grow, a1 - a0, nints, ngroups), e.source.dtype)
    n_chunks = max(1, min(2 * threads, (columns[1] - columns[0]) // 16))
    chunks = [
        Chunk(e, plans, (columns[0] + x0, columns[0] + x1)) for x0, x1 in row_ranges(columns[1] - columns[0], n_chunks)
    ]
    parts = row_ranges(nints, 4 * threads)
    kept = 0  # rows at the head of `raw` that wait for the rows after them
    for y0 in range(0, ny, rows):
        y1 = min(y0 + rows, ny)
        new = raw[kept : kept + y1 - y0]

        def read(part: tuple[int, int], new: NDArray[Any] = new, y0: int = y0) -> None:
            e.source.read((y0, a0), part, new)
            kernels.first_saturated(new, e.threshold, (y0, a0), part, tally.first)

        list(pool.map(read, parts))
        ready = y1 if y1 == ny else y1 - e.grow
        start = y0 - kept
        work = [pool.submit(chunk.rows, raw, (start, ready), a0, tally, out) for chunk in chunks]
        for done in work:
            tally.counts.add(done.result())
        e.scratch.release()
        kept = y1 - ready
        if kept:
            raw[:kept] = raw[ready - start : y1 - start].copy()
