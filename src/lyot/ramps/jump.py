"""Cosmic-ray jumps in ramps, as the official ``jump`` step finds them: two-point differences.

A cosmic ray adds its charge within one group, so the difference between two groups stands out from the others of the same
pixel. For each pixel the median of all differences (over groups and integrations) gives the slope, and a difference further
from it than ``rejection_threshold`` times the noise (photon noise of the median slope, and read noise) is flagged JUMP_DET
in the later group. GROUPDQ is bit for bit that of stcal 1.20 (one process); `JumpPlan` names the branches.

How to use it
-------------
On whole arrays: `detect_jumps`. An engine that streams an exposure row by row uses the same kernels:

1. `plan_jump` once per exposure. It needs to know which groups are DO_NOT_USE in *every* pixel (`all_do_not_use`; AND it over
   the bands), because the official algorithm chooses its branch from that.
2. For each detector row: `lyot.ramps._jump_kernels.detect_row` on pixel-major arrays ``(nx, nints, ngroups)``. It flags the
   jumps of each pixel by itself, and lists the ones strong enough to flag neighbours ("seeds").
3. When the rows above and below have been through 2 as well: `_jump_kernels.neighbours_row` with the seeds of row - 1, row and
   row + 1, then `_jump_kernels.finish_row`. So a band of rows needs one more row on each side for step 2 only; rows are final
   one row later than they are detected. Keep three rows in a ring, and nothing else.

All kernels release the GIL, allocate nothing and touch only the rows they are given: run bands in threads.
Snowballs and showers need whole detector images (`lyot.ramps.jump_showers`): with ``expand_large_events`` or
``find_showers`` the row-wise way is closed (`JumpPlan.needs_images`), and `detect_jumps` does it.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lyot.params import param

log = logging.getLogger(__name__)

SKIP, SINGLE_PASS, ITERATIVE, CLIP_INTEGRATIONS, CLIP_ALL = range(5)
"""Branches of the method: see `JumpPlan.method`."""


@dataclasses.dataclass(frozen=True)
class JumpParams:
    """Parameters of the jump detection: names, defaults and meaning of the official step (jwst 3.0)."""

    rejection_threshold: float = param(4.0, min=0, help="Threshold with more than 4 usable groups", unit="sigma")
    three_group_rejection_threshold: float = param(6.0, min=0, help="Threshold with 3 usable groups", unit="sigma")
    four_group_rejection_threshold: float = param(5.0, min=0, help="Threshold with 4 usable groups", unit="sigma")
    maximum_cores: str = param("1", help="Accepted for compatibility; threads are set by the pipeline")
    flag_4_neighbors: bool = param(True, help="Flag the four perpendicular neighbors of each jump")
    max_jump_to_flag_neighbors: float = param(1000.0, help="Largest jump whose neighbors are flagged", unit="sigma")
    min_jump_to_flag_neighbors: float = param(10.0, help="Smallest jump whose neighbors are flagged", unit="sigma")
    after_jump_flag_dn1: float = param(0.0, help="First amplitude above which later groups are flagged", unit="DN")
    after_jump_flag_time1: float = param(0.0, help="Time flagged after a jump above the first amplitude", unit="s")
    after_jump_flag_dn2: float = param(0.0, help="Second amplitude above which later groups are flagged", unit="DN")
    after_jump_flag_time2: float = param(0.0, help="Time flagged after a jump above the second amplitude", unit="s")
    expand_large_events: bool = param(False, help="Expand snowballs (near-infrared detectors)")
    min_sat_area: float = param(1.0, help="Smallest saturated core of a snowball", unit="pixel")
    min_jump_area: float = param(5.0, help="Smallest area of a large event", unit="pixel")
    expand_factor: float = param(2.0, help="Factor by which the ellipse of a large event grows")
    use_ellipses: bool = param(False, help="Deprecated, without effect")
    sat_required_snowball: bool = param(True, help="A snowball needs a saturated core")
    min_sat_radius_extend: float = param(2.5, help="Smallest saturated core that is extended", unit="pixel")
    sat_expand: int = param(2, help="Growth of the radius of saturated cores", unit="pixel")
    edge_size: int = param(25, help="No saturated core is needed this close to the edge", unit="pixel")
    mask_snowball_core_next_int: bool = param(True, help="Flag saturated cores in the next integration")
    snowball_time_masked_next_int: int = param(4000, help="Time flagged in the next integration", unit="s")
    find_showers: bool = param(False, help="Flag MIRI cosmic-ray showers")
    max_shower_amplitude: float = param(4.0, help="Largest amplitude of a shower", unit="DN/s")
    extend_snr_threshold: float = param(1.2, help="Smallest signal to noise of extended emission")
    extend_min_area: int = param(90, help="Smallest area of extended emission", unit="pixel")
    extend_inner_radius: float = param(1.0, help="Inner radius of the smoothing ring", unit="pixel")
    extend_outer_radius: float = param(2.6, help="Outer radius of the smoothing ring", unit="pixel")
    extend_ellipse_expand_ratio: float = param(1.1, help="Factor by which the ellipse of a shower grows")
    time_masked_after_shower: float = param(15.0, help="Time flagged after a shower", unit="s")
    min_diffs_single_pass: int = param(10, help="Usable differences from which all jumps are flagged in one pass")
    max_extended_radius: int = param(200, help="Largest radius of a snowball or shower", unit="pixel")
    minimum_groups: int = param(3, help="Smallest number of usable groups")
    minimum_sigclip_groups: int = param(100, help="Number of integrations from which sigma clipping is used")
    only_use_ints: bool = param(True, help="Clip each group over integrations; false clips all differences together")


class JumpPlan(NamedTuple):
    """What the kernels need to know, the same for every pixel of an exposure; made by `plan_jump`.

    A NamedTuple of numbers, because numba takes those as they are.
    """

    method: int
    """SKIP (too few usable groups), SINGLE_PASS, ITERATIVE (few differences: one jump at a time), CLIP_INTEGRATIONS
    (each group over integrations) or CLIP_ALL (all differences of a pixel together)."""
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


@dataclasses.dataclass(frozen=True)
class JumpResult:
    """Flags and counts of `detect_jumps`."""

    groupdq: npt.NDArray[np.uint8]
    """(nints, ngroups, ny, nx) group flags, with JUMP_DET added."""
    pixeldq: npt.NDArray[np.uint32]
    """(ny, nx) pixel flags, with NO_GAIN_VALUE | DO_NOT_USE added where the gain is not a positive number."""
    primary: int
    """Number of flagged groups before neighbours were flagged; -99 when the detection was skipped (as officially)."""
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
    clip = (nints if params.only_use_ints else total_groups) >= params.minimum_sigclip_groups
    # officially ``minimum_groups`` is overwritten by 3 when one process is used
    if usable_groups < 3 and not clip:
        method = SKIP
    elif clip:
        method = CLIP_INTEGRATIONS if params.only_use_ints else CLIP_ALL
    else:
        method = SINGLE_PASS if usable_groups - 1 >= params.min_diffs_single_pass else ITERATIVE
    after = params.after_jump_flag_time1 > 0 or params.after_jump_flag_time2 > 0
    median_gain = float(np.nanmedian(gain)) if after else 1.0
    return JumpPlan(
        method=method,
        threshold=float(params.rejection_threshold),
        threshold_3diffs=float(params.four_group_rejection_threshold),
        threshold_2diffs=float(params.three_group_rejection_threshold),
        nframes=int(nframes),
        flag_neighbors=bool(params.flag_4_neighbors),
        min_neighbor=float(params.min_jump_to_flag_neighbors),
        max_neighbor=float(params.max_jump_to_flag_neighbors),
        after_e1=params.after_jump_flag_dn1 * median_gain,
        after_n1=int(params.after_jump_flag_time1 // group_time),
        after_e2=params.after_jump_flag_dn2 * median_gain,
        after_n2=int(params.after_jump_flag_time2 // group_time),
        needs_images=bool(params.expand_large_events or params.find_showers),
    )
