"""Random ramps that exercise every flag, and the official jump and ramp-fit algorithms to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lyot import dq
from lyot.ramps.jump_params import JumpParams
from lyot.ramps.ramp_fit import RampFitParams
from lyot.ramps.slopes import GroupTimes

GROUP_TIME = 2.0


@dataclass
class Cube:
    """Ramps (nints, ngroups, ny, nx) with flags, gain, read noise and dark."""

    data: np.ndarray
    groupdq: np.ndarray
    pixeldq: np.ndarray
    gain: np.ndarray
    read_noise: np.ndarray
    dark: np.ndarray

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.data, self.groupdq, self.pixeldq


def make_cube(seed: int, shape: tuple[int, int, int, int], *, flags: str = "all", cosmic_rays: float = 0.02) -> Cube:
    """Poisson ramps with cosmic rays; a NaN, a negative gain and a zero read noise among the pixels.

    ``flags``: "none"; "all" (saturation from a random group on, random DO_NOT_USE, JUMP_DET and PERSISTENCE, one pixel
    all DO_NOT_USE, pixel flags); "miri" (as all, first and last group DO_NOT_USE everywhere); "charge" (CHARGELOSS as
    well); "wild" (half of all groups flagged).
    """
    rng = np.random.default_rng(seed)
    nints, ngroups, ny, nx = shape
    rate = rng.uniform(0, 40, (ny, nx)) * (rng.random((ny, nx)) > 0.1)
    gain = (3.1 + rng.normal(0, 0.3, (ny, nx))).astype(np.float32)
    read_noise = rng.uniform(3, 8, (ny, nx)).astype(np.float32)
    steps = rng.poisson(rate * 3.1, shape) / 3.1
    steps += (rng.random(shape) < cosmic_rays) * rng.exponential(300, shape)
    data = (np.cumsum(steps, axis=1) + rng.normal(0, 4, shape) + 1000).astype(np.float32)
    groupdq = np.zeros(shape, np.uint8)
    pixeldq = np.zeros((ny, nx), np.uint32)
    if flags != "none":
        gain[0, 0], gain[0, 3], read_noise[0, 5] = np.nan, -1, 0
        start = rng.integers(0, ngroups * 4, (nints, 1, ny, nx))
        groupdq[np.arange(ngroups)[None, :, None, None] >= start] |= dq.SATURATED
        for bit, part in ((dq.DO_NOT_USE, 0.02), (dq.JUMP_DET, 0.01), (dq.PERSISTENCE, 0.01)):
            groupdq[rng.random(shape) < part] |= bit
        groupdq[:, :, 1, 1] = dq.DO_NOT_USE
        for bit in (dq.DO_NOT_USE, dq.SATURATED, dq.DEAD):
            pixeldq[rng.random((ny, nx)) < 0.1] |= bit
    if flags == "miri":
        groupdq[:, 0] |= dq.DO_NOT_USE
        groupdq[:, -1] |= dq.DO_NOT_USE
    elif flags == "charge":
        groupdq[rng.random(shape) < 0.03] |= dq.CHARGELOSS | dq.DO_NOT_USE
        groupdq[rng.random(shape) < 0.01] |= dq.CHARGELOSS
    elif flags == "wild":
        groupdq[rng.random(shape) < 0.5] |= dq.JUMP_DET
        groupdq[rng.random(shape) < 0.3] = dq.SATURATED
    dark = rng.uniform(0, 0.1, (ny, nx)).astype(np.float32)
    return Cube(data, groupdq, pixeldq, gain, read_noise, dark)


def official_jump(
    cube: Cube, params: JumpParams, *, nframes: int = 1, group_time: float = GROUP_TIME
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """(groupdq, pixeldq, primary, extended) of `stcal.jump.jump`, set up as `jwst.jump.JumpStep` does."""
    from stcal.jump.jump import detect_jumps_data
    from stcal.jump.jump_class import JumpData

    p, official = params, JumpData()
    official.nframes = nframes
    official.dt_group, official.n_reads_groupdiff = np.ones(1), np.ones(1) * 2 * nframes
    official.init_arrays_from_arrays(*(a.copy() for a in cube.arrays()))
    official.gain_2d, official.rnoise_2d = cube.gain.copy(), cube.read_noise.copy()
    official.fl_good, official.fl_sat, official.fl_jump = dq.GOOD, dq.SATURATED, dq.JUMP_DET
    official.fl_ngv, official.fl_dnu, official.fl_ref = dq.NO_GAIN_VALUE, dq.DO_NOT_USE, dq.REFERENCE_PIXEL
    official.set_detection_settings(
        p.rejection_threshold,
        p.three_group_rejection_threshold,
        p.four_group_rejection_threshold,
        p.max_jump_to_flag_neighbors,
        p.min_jump_to_flag_neighbors,
        p.flag_4_neighbors,
    )
    n1, n2 = (int(t // group_time) for t in (p.after_jump_flag_time1, p.after_jump_flag_time2))
    official.set_after_jump(p.after_jump_flag_dn1, n1, p.after_jump_flag_dn2, n2)
    official.set_snowball_info(
        p.expand_large_events,
        p.min_jump_area,
        p.min_sat_area,
        p.expand_factor,
        p.sat_required_snowball,
        p.min_sat_radius_extend,
        p.sat_expand * 2,
        p.edge_size,
    )
    official.set_shower_info(
        p.find_showers,
        p.extend_snr_threshold,
        p.extend_min_area,
        p.extend_inner_radius,
        p.extend_outer_radius,
        p.extend_ellipse_expand_ratio,
        p.min_diffs_single_pass,
        p.max_extended_radius * 2,
    )
    official.set_sigma_clipping_info(p.minimum_groups, p.minimum_sigclip_groups, p.only_use_ints)
    official.max_cores = "1"
    official.grps_masked_after_shower = int(p.time_masked_after_shower // group_time)
    official.mask_persist_grps_next_int = p.mask_snowball_core_next_int
    official.persist_grps_flagged = int(p.snowball_time_masked_next_int // group_time)
    official.max_shower_amplitude *= group_time
    with np.errstate(all="ignore"):
        return detect_jumps_data(official)


def official_fit(cube: Cube, params: RampFitParams, times: GroupTimes) -> tuple[Any, Any, np.ndarray]:
    """(rate, rateints, groupdq) of `stcal.ramp_fitting`, set up as `jwst.ramp_fitting.RampFitStep` does."""
    from jwst.ramp_fitting.ramp_fit_step import set_groupdq
    from stcal.ramp_fitting.ramp_fit import ramp_fit_data
    from stcal.ramp_fitting.ramp_fit_class import RampData
    from stdatamodels.jwst.datamodels import dqflags

    data, groupdq, pixeldq = (a.copy() for a in cube.arrays())
    ngroups = data.shape[1]
    if params.firstgroup is not None or params.lastgroup is not None:
        set_groupdq(params.firstgroup, params.lastgroup, ngroups, groupdq, dqflags.group)
    ramps = RampData()
    ramps.algorithm = params.algorithm
    keep = params.algorithm == "OLS_C" and bool(np.any(groupdq & dq.CHARGELOSS))
    ramps.set_arrays(data, groupdq, pixeldq, cube.dark.copy(), orig_gdq=groupdq.copy() if keep else None)
    name = "MIRI" if times.drop_leading else "NIRCAM"
    ramps.set_meta(name, times.frame_time, times.group_time, times.groupgap, times.nframes, 0)
    ramps.set_dqflags(dqflags.pixel)
    ramps.start_row, ramps.num_rows = 0, data.shape[2]
    ramps.suppress_one_group_ramps = params.suppress_one_group and ngroups > 1
    noise, gain = cube.read_noise.copy(), cube.gain.copy()
    with np.errstate(all="ignore"):
        rate, rateints, _ = ramp_fit_data(ramps, False, noise, gain, params.algorithm, "optimal", "1")
    return rate, rateints, ramps.groupdq
