"""Cosmic-ray jumps in ramps, as the official ``jump`` step finds them: two-point differences.

A cosmic ray adds its charge within one group, so the difference between two groups stands out from the others of the
same pixel. For each pixel the median of all differences (over groups and integrations) gives the slope, and a
difference further from it than ``rejection_threshold`` times the noise (photon noise of the median slope, and read
noise) is flagged JUMP_DET in the later group. GROUPDQ is bit for bit that of stcal 1.20 (one process); `JumpPlan`
names the branches.

How to use it
-------------
On whole arrays: `detect_jumps`. An engine that streams an exposure row by row uses the same kernels:

1. `plan_jump` once per exposure. It needs to know which groups are DO_NOT_USE in *every* pixel (`all_do_not_use`; AND
   it over the bands), because the official algorithm chooses its branch from that.
2. For each detector row: `lyot.ramps._jump_kernels.detect_row` on pixel-major arrays ``(nx, nints, ngroups)``. It
   flags the jumps of each pixel by itself, and lists the ones strong enough to flag neighbors ("seeds").
3. When the rows above and below have been through 2 as well: `_jump_kernels.neighbors_row` with the seeds of row - 1,
   row and row + 1, then `_jump_kernels.finish_row`. So a band of rows needs one more row on each side for step 2 only;
   rows are final one row later than they are detected. Keep three rows in a ring (`lyot.ramps._jump_rows.RowRing`),
   and nothing else.

All kernels release the GIL, allocate nothing and touch only the rows they are given: run bands in threads.
Snowballs and showers need whole detector images (`lyot.ramps.jump_showers`): with ``expand_large_events`` or
``find_showers`` the row-wise way is closed (`JumpPlan.needs_images`), and `detect_jumps` does it.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lyot import dq
from lyot.errors import InputError
from lyot.ramps import _jump_kernels as kernels
from lyot.ramps._checks import bad_gain
from lyot.ramps._jump_rows import RowRing
from lyot.ramps.jump_params import JumpParams
from lyot.ramps.jump_showers import flag_showers, flag_snowballs

log = logging.getLogger(__name__)

SKIP, SINGLE_PASS, ITERATIVE, CLIP_INTEGRATIONS, CLIP_ALL, FLAGGED = range(6)
"""Branches of the method: see `JumpPlan.method`."""


class JumpPlan(NamedTuple):
    """What the kernels need to know, the same for every pixel of an exposure; made by `plan_jump`.

    A NamedTuple of numbers, because numba takes those as they are.
    """

    method: int
    """SKIP (too few usable groups), SINGLE_PASS, ITERATIVE (few differences: one jump at a time), CLIP_INTEGRATIONS
    (each group over integrations), CLIP_ALL (all differences of a pixel together), or FLAGGED (JUMP_DET is set already:
    only look for seeds)."""
    threshold: float
    threshold_3diffs: float
    threshold_2diffs: float
    nframes: int
    flag_neighbors: bool
    min_neighbor: float
    max_neighbor: float
    after_e1: float
    """First after-jump amplitude, electrons."""
    after_n1: int
    after_e2: float
    after_n2: int
    needs_images: bool
    """Snowballs or showers were asked for: not possible row by row."""
    by_integration: bool
    """Each integration by itself."""


@dataclasses.dataclass(frozen=True)
class JumpResult:
    """Flags and counts of `detect_jumps`."""

    groupdq: npt.NDArray[np.uint8]
    """(nints, ngroups, ny, nx) group flags, with JUMP_DET added."""
    pixeldq: npt.NDArray[np.uint32]
    """(ny, nx) pixel flags, with NO_GAIN_VALUE | DO_NOT_USE added where the gain is not a positive number."""
    primary: int
    """Number of flagged groups before neighbors were flagged; -99 when the detection was skipped (as officially)."""
    extended: int
    """Number of snowballs or showers."""


def all_do_not_use(groupdq: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """(nints, ngroups) True where every pixel of (nints, ngroups, ny, nx) flags is DO_NOT_USE; AND it over bands."""
    return np.asarray(np.bitwise_and.reduce(groupdq, axis=(2, 3)) & 1, dtype=bool)


def plan_jump(
    params: JumpParams,
    *,
    all_dnu: npt.NDArray[np.bool_],
    gain: npt.NDArray[np.floating[Any]],
    nframes: int,
    group_time: float,
) -> JumpPlan:
    """Choose the branch and convert the parameters to the units of the kernels.

    Parameters
    ----------
    params : JumpParams
        Parameters.
    all_dnu : (nints, ngroups) bool ndarray
        Groups that are DO_NOT_USE in every pixel of the detector; see `all_do_not_use`.
    gain : (ny, nx) float ndarray
        Gain of the whole subarray, electrons/DN; NaN allowed. Only its median is used (after-jump amplitudes).
    nframes : int
        Frames averaged in a group.
    group_time : float
        Time between groups, s.
    """
    nints, ngroups = all_dnu.shape
    usable_groups = ngroups - int(all_dnu.sum(axis=1).max())
    total_groups = all_dnu.size - int(all_dnu.sum())
    by_integration = params.median_over == "integration"
    clip = (nints if params.only_use_ints else total_groups) >= params.minimum_sigclip_groups and not by_integration
    # officially ``minimum_groups`` is overwritten by 3 when one process is used
    if usable_groups < 3 and not clip:
        method = SKIP
    elif clip:
        method = CLIP_INTEGRATIONS if params.only_use_ints else CLIP_ALL
    else:
        method = SINGLE_PASS if usable_groups - 1 >= params.min_diffs_single_pass else ITERATIVE
    after = params.after_jump_flag_time1 > 0 or params.after_jump_flag_time2 > 0
    median_gain = np.nanmedian(gain) if after else 1.0  # float32 like the gain: so are the thresholds, officially
    return JumpPlan(
        method=method,
        threshold=float(params.rejection_threshold),
        threshold_3diffs=float(params.four_group_rejection_threshold),
        threshold_2diffs=float(params.three_group_rejection_threshold),
        nframes=int(nframes),
        flag_neighbors=bool(params.flag_4_neighbors),
        min_neighbor=float(params.min_jump_to_flag_neighbors),
        max_neighbor=float(params.max_jump_to_flag_neighbors),
        after_e1=float(params.after_jump_flag_dn1 * median_gain),
        after_n1=int(params.after_jump_flag_time1 // group_time),
        after_e2=float(params.after_jump_flag_dn2 * median_gain),
        after_n2=int(params.after_jump_flag_time2 // group_time),
        needs_images=bool(params.expand_large_events or params.find_showers),
        by_integration=by_integration,
    )


def detect_jumps(
    data: npt.NDArray[np.float32],
    groupdq: npt.NDArray[np.uint8],
    pixeldq: npt.NDArray[np.uint32],
    *,
    gain: npt.NDArray[np.floating[Any]],
    read_noise: npt.NDArray[np.floating[Any]],
    group_time: float,
    nframes: int = 1,
    params: JumpParams | None = None,
    threads: int = 1,
) -> JumpResult:
    """Flag cosmic-ray jumps in the ramps of one exposure.

    Parameters
    ----------
    data : (nints, ngroups, ny, nx) float32 ndarray
        Corrected ramps, DN. Not changed. NaN are left out.
    groupdq : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags; groups with DO_NOT_USE or SATURATED are left out. Not changed.
    pixeldq : (ny, nx) uint32 ndarray
        Pixel flags. Not changed.
    gain : (ny, nx) float ndarray
        Gain, electrons/DN; pixels where it is NaN or not positive are flagged.
    read_noise : (ny, nx) float ndarray
        Noise of the difference of two reads (CDS, as in the reference file), DN.
    group_time : float
        Time between groups, s.
    nframes : int, optional
        Frames averaged in a group.
    params : JumpParams, optional
        Parameters.
    threads : int, optional
        Threads to use.

    Returns
    -------
    JumpResult
        New flags and counts.

    Raises
    ------
    lyot.errors.InputError
        If the arrays do not fit each other.

    Examples
    --------
    A cosmic ray of 2000 DN hits between the groups 9 and 10 of a ramp of 50 DN per group:

    >>> import numpy as np
    >>> ramp = np.arange(20, dtype=np.float32) * 50
    >>> ramp[10:] += 2000
    >>> ramp = ramp.reshape(1, 20, 1, 1)
    >>> found = detect_jumps(
    ...     ramp, np.zeros(ramp.shape, np.uint8), np.zeros((1, 1), np.uint32),
    ...     gain=np.full((1, 1), 3.1), read_noise=np.full((1, 1), 6.0), group_time=0.24,
    ... )
    >>> np.flatnonzero(found.groupdq & 4).tolist()  # JUMP_DET
    [10]
    """
    params = params or JumpParams()
    _check(data, groupdq, pixeldq, gain, read_noise)
    gain = np.ascontiguousarray(gain, dtype=np.float32)
    read_noise = np.ascontiguousarray(read_noise, dtype=np.float32)
    plan = plan_jump(params, all_dnu=all_do_not_use(groupdq), gain=gain, nframes=nframes, group_time=group_time)
    flags = np.array(groupdq, dtype=np.uint8, order="C")
    pixel_flags = np.where(bad_gain(gain), pixeldq | np.uint32(dq.NO_GAIN_VALUE | dq.DO_NOT_USE), pixeldq)
    primary = _detect(data, flags, gain, read_noise, plan, threads)
    extended = 0
    if params.expand_large_events:
        extended = flag_snowballs(flags, params=params, group_time=group_time)
    if params.find_showers:
        electrons = data * gain
        if plan.method != SKIP:
            electrons[groupdq & (dq.DO_NOT_USE | dq.SATURATED) != 0] = np.nan
        noise = read_noise * gain
        flags, extended = flag_showers(
            electrons, flags, pixel_flags, noise=noise, nframes=nframes, group_time=group_time, params=params
        )
    return JumpResult(flags, pixel_flags.astype(np.uint32, copy=False), primary, extended)


def _check(
    data: npt.NDArray[Any],
    groupdq: npt.NDArray[Any],
    pixeldq: npt.NDArray[Any],
    gain: npt.NDArray[Any],
    read_noise: npt.NDArray[Any],
) -> None:
    if data.ndim != 4 or groupdq.shape != data.shape:
        raise InputError(
            f"jump: ramps and group flags must both be (nints, ngroups, ny, nx), got {data.shape} and {groupdq.shape}."
        )
    if data.dtype.kind != "f":
        raise InputError(f"jump: ramps must be floating point (DN after the corrections), got {data.dtype}.")
    for name, image in (("pixel flags", pixeldq), ("gain", gain), ("read noise", read_noise)):
        if image.shape != data.shape[2:]:
            raise InputError(f"jump: {name} must have the detector shape {data.shape[2:]}, got {image.shape}.")


def _detect(
    data: npt.NDArray[np.float32],
    flags: npt.NDArray[np.uint8],
    gain: npt.NDArray[np.float32],
    read_noise: npt.NDArray[np.float32],
    plan: JumpPlan,
    threads: int,
) -> int:
    """Flag jumps in `flags` in place, in bands of rows; return the number of flagged groups before neighbors."""
    ny = data.shape[2]
    edges = [int(e) for e in np.linspace(0, ny, max(1, min(threads, ny)) + 1)]
    bands = list(itertools.pairwise(edges))

    def run(plan: JumpPlan) -> int:
        original = flags.copy() if len(bands) > 1 else flags
        exposure = _Exposure(data, original, gain, read_noise)
        if len(bands) == 1:
            return _detect_band(exposure, flags, plan, bands[0])
        with ThreadPoolExecutor(len(bands)) as pool:
            return sum(pool.map(lambda band: _detect_band(exposure, flags, plan, band), bands))

    if plan.method in (CLIP_INTEGRATIONS, CLIP_ALL):
        run(plan._replace(flag_neighbors=False))
        _release_full_groups(flags)
        return run(plan._replace(method=FLAGGED))
    primary = run(plan)
    return -99 if plan.method == SKIP else primary


def _release_full_groups(flags: npt.NDArray[np.uint8]) -> None:
    """Clear the jumps of a group in which every pixel is a jump or DO_NOT_USE: then it is not cosmic rays."""
    every = np.bitwise_and.reduce((flags & (dq.JUMP_DET | dq.DO_NOT_USE)) != 0, axis=(2, 3))
    for integration, group in zip(*np.nonzero(every), strict=True):
        plane = flags[integration, group]
        plane[plane == dq.JUMP_DET] = 0


class _Exposure(NamedTuple):
    data: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint8]
    gain: npt.NDArray[np.float32]
    read_noise: npt.NDArray[np.float32]


def _detect_band(exposure: _Exposure, out: npt.NDArray[np.uint8], plan: JumpPlan, band: tuple[int, int]) -> int:
    """Detect, flag neighbors and write rows band[0] to band[1] of `out`, with a ring of three rows."""
    nints, ngroups, ny, nx = exposure.data.shape
    first, last = band
    work, ring = kernels.work_arrays(nints, ngroups), RowRing(nx, nints, ngroups)

    def write(y: int) -> None:
        if plan.method not in (CLIP_INTEGRATIONS, CLIP_ALL):  # these come back as FLAGGED
            ring.finish(y, exposure.gain[y], plan)
        kernels.scatter_row(ring[y].flags, y, out)

    primary = 0
    for y in range(max(first - 1, 0), min(last + 1, ny)):  # the rows beside the band are needed for their seeds
        kernels.gather_row(exposure.data, y, ring[y].ramps)
        kernels.gather_row(exposure.flags, y, ring[y].flags)
        found = ring[y].detect(y, exposure.gain[y], exposure.read_noise[y], plan, work)
        primary += found if first <= y < last else 0
        if y > first:
            write(y - 1)
    if last == ny:
        write(ny - 1)
    return primary
