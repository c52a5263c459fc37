"""Run the official packages' own unit tests of jump detection and slope fits against Lyot's algorithms.

    python benchmarks/official_unit_tests.py

The tests of stcal are in its source distribution only: it is fetched with ``pip download`` into a temporary folder (so
this needs the network). Those of jwst are installed with it; its step tests need the CRDS server, and are left out.
The official functions are replaced by thin adaptors around ours before the tests are collected; everything else in
the tests is as it is. Calls that ours does not serve (uneven read patterns, zero frames) go to the official function,
and are counted; optional results of the fit are the official ones.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

STCAL_TESTS = (
    "test_jump_twopoint_difference.py",
    "test_jump.py",
    "test_ramp_fitting.py",
    "test_ramp_fitting_cases.py",
    "test_ramp_fitting_likely_fit.py",
)
CALLS: Counter[str] = Counter()


def pytest_configure(config: Any) -> None:
    """Plugin hook: put our algorithms in place of the official ones."""
    install()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Plugin hook: tell how often ours was called, and how often the official function."""
    terminalreporter.write_line("calls: " + ", ".join(f"{k} {v}" for k, v in sorted(CALLS.items())))


def install() -> None:
    """Replace the official entry points, and the names bound to them at import."""
    from stcal.jump import jump, twopoint_difference
    from stcal.ramp_fitting import ramp_fit

    twopoint_difference.find_crs = _find_crs(twopoint_difference.find_crs)
    jump.flag_large_events = _flag_large_events(jump.flag_large_events)
    jump.find_faint_extended = _find_faint_extended(jump.find_faint_extended)
    ramp_fit.ramp_fit_data = _ramp_fit_data(ramp_fit.ramp_fit_data)


def _params_of(jump_data: Any) -> Any:
    from lyot.ramps.jump_params import JumpParams

    j = jump_data
    return JumpParams(
        min_sat_area=j.min_sat_area,
        min_jump_area=j.min_jump_area[0] if isinstance(j.min_jump_area, tuple) else j.min_jump_area,
        expand_factor=j.expand_factor,
        sat_required_snowball=j.sat_required_snowball,
        min_sat_radius_extend=j.min_sat_radius_extend,
        sat_expand=j.sat_expand / 2,
        edge_size=j.edge_size,
        mask_snowball_core_next_int=j.mask_persist_grps_next_int,
        snowball_time_masked_next_int=j.persist_grps_flagged,
        extend_snr_threshold=j.extend_snr_threshold,
        extend_min_area=j.extend_min_area,
        extend_inner_radius=j.extend_inner_radius,
        extend_outer_radius=j.extend_outer_radius,
        extend_ellipse_expand_ratio=j.extend_ellipse_expand_ratio,
        time_masked_after_shower=j.grps_masked_after_shower,
        max_extended_radius=j.max_extended_width / 2,
        minimum_sigclip_groups=j.minimum_sigclip_groups,
    )


def _plan_of(p: Any, groupdq: np.ndarray) -> Any:
    from lyot.ramps import jump as ours

    params = ours.JumpParams(
        rejection_threshold=p.normal_rej_thresh,
        three_group_rejection_threshold=p.two_diff_rej_thresh,
        four_group_rejection_threshold=p.three_diff_rej_thresh,
        flag_4_neighbors=p.flag_4_neighbors,
        max_jump_to_flag_neighbors=p.max_jump_to_flag_neighbors,
        min_jump_to_flag_neighbors=p.min_jump_to_flag_neighbors,
        min_diffs_single_pass=p.min_diffs_single_pass,
        minimum_sigclip_groups=p.minimum_sigclip_groups,
        only_use_ints=p.only_use_ints,
    )
    nframes = int(p.n_reads_groupdiff[0]) // 2
    ones = np.ones((1, 1), np.float32)
    all_dnu = ours.all_do_not_use(groupdq)
    plan = ours.plan_jump(params, all_dnu=all_dnu, gain=ones, nframes=nframes, group_time=1.0)
    usable = groupdq.shape[1] - int(all_dnu.sum(axis=1).max())
    if usable < p.minimum_groups and plan.method in (ours.SINGLE_PASS, ours.ITERATIVE):
        plan = plan._replace(method=ours.SKIP)
    elif plan.method == ours.SKIP and usable >= p.minimum_groups:
        plan = plan._replace(method=ours.ITERATIVE)
    e1, e2 = p.after_jump_flag_e1 or 0.0, p.after_jump_flag_e2 or 0.0
    return plan._replace(after_e1=e1, after_n1=p.after_jump_flag_n1, after_e2=e2, after_n2=p.after_jump_flag_n2)


def _find_crs(official: Any) -> Any:
    def find_crs(data: np.ndarray, group_dq: np.ndarray, read_noise: np.ndarray, twopt_p: Any) -> Any:
        from lyot.ramps import jump as ours
        from lyot.ramps._jump_rows import Row

        if np.size(twopt_p.dt_group) != 1 or np.any(twopt_p.dt_group != 1) or data.dtype != np.float32:
            CALLS["find_crs official"] += 1
            return official(data, group_dq, read_noise, twopt_p)
        CALLS["find_crs ours"] += 1
        plan = _plan_of(twopt_p, group_dq)
        original = group_dq.copy()
        noise = np.ascontiguousarray(read_noise, np.float32)
        primary = ours._detect(data, group_dq, np.ones(noise.shape, np.float32), noise, plan, 1)
        nints, ngroups, ny, nx = data.shape
        edges = [np.zeros((nints, ngroups, nx), np.uint8) for _ in range(2)]
        gain, row, work = np.ones(nx, np.float32), Row(nx, nints, ngroups), ours.kernels.work_arrays(nints, ngroups)
        for edge, y in zip(edges, (0, ny - 1), strict=True):
            ours.kernels.gather_row(data, y, row.ramps)
            ours.kernels.gather_row(original, y, row.flags)
            row.detect(y, gain, noise[y], plan, work)
            x, i, g = np.unravel_index(row.seeds if plan.flag_neighbors else row.seeds[:0], (nx, nints, ngroups))
            edge[i, g, x] = 4
        return group_dq, edges[0], edges[1], primary

    return find_crs


def _flag_large_events(official: Any) -> Any:
    def flag_large_events(gdq: np.ndarray, jump_flag: int, sat_flag: int, jump_data: Any) -> Any:
        from lyot.ramps.jump_showers import flag_snowballs

        CALLS["flag_large_events ours"] += 1
        return gdq, flag_snowballs(gdq, params=_params_of(jump_data), group_time=1.0)

    return flag_large_events


def _find_faint_extended(official: Any) -> Any:
    def find_faint_extended(
        indata: np.ndarray, ingdq: np.ndarray, pdq: np.ndarray, readnoise_2d: np.ndarray, jump_data: Any, **more: Any
    ) -> Any:
        from lyot.ramps.jump_showers import flag_showers

        if more:
            CALLS["find_faint_extended official"] += 1
            return official(indata, ingdq, pdq, readnoise_2d, jump_data, **more)
        CALLS["find_faint_extended ours"] += 1
        return flag_showers(
            indata,
            ingdq,
            pdq,
            noise=readnoise_2d,
            nframes=jump_data.nframes,
            group_time=1.0,
            params=_params_of(jump_data),
            amplitude=jump_data.max_shower_amplitude,
        )

    return find_faint_extended


def _ramp_fit_data(official: Any) -> Any:
    def ramp_fit_data(
        ramps: Any, save_opt: bool, readnoise: np.ndarray, gain: np.ndarray, algorithm: str, *rest: Any
    ) -> Any:
        from lyot.ramps.ramp_fit import RampFitParams, fit_ramps
        from lyot.ramps.slopes import GroupTimes

        likely = algorithm.upper() == "LIKELY"
        uneven = ramps.read_pattern is not None or ramps.rejection_threshold is not None
        zero = ramps.zeroframe is not None and (likely or not ramps.suppress_one_group_ramps)
        optional = None
        if save_opt and not (zero or likely):  # ours has no optional results: these from the official fit
            optional = official(copy.deepcopy(ramps), True, readnoise.copy(), gain.copy(), algorithm, *rest)[2]
        elif save_opt or zero or (likely and uneven):
            CALLS["ramp_fit_data official"] += 1
            return official(ramps, save_opt, readnoise, gain, algorithm, *rest)
        CALLS[f"ramp_fit_data ours {algorithm}"] += 1
        times = GroupTimes(
            ramps.group_time, ramps.frame_time, ramps.nframes, ramps.groupgap or 0, ramps.instrument_name == "MIRI"
        )
        result = fit_ramps(
            ramps.data,
            ramps.groupdq,
            ramps.pixeldq,
            gain=gain,
            read_noise=readnoise,
            times=times,
            dark=ramps.average_dark_current,
            params=RampFitParams(
                algorithm="LIKELY" if likely else "OLS_C", suppress_one_group=bool(ramps.suppress_one_group_ramps)
            ),
        )
        if result is None:
            return None, None, None
        if result.groupdq is not None:
            ramps.groupdq[...] = result.groupdq
        names = ("slope", "dq", "var_poisson", "var_rnoise", "err", "chisq")
        parts = [{n: getattr(p, n) for n in names if getattr(p, n) is not None} for p in (result.rate, result.rateints)]
        return parts[0], parts[1], optional

    return ramp_fit_data


def main() -> int:
    """Fetch the tests, run them with this file as a plugin, print the counts."""
    import jwst

    installed = Path(jwst.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "stcal", "stcal==1.20.0"]
        subprocess.run([*command, "-d", folder], check=True)
        with tarfile.open(next(Path(folder).glob("stcal-*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        tests = [str(Path(folder, "stcal-1.20.0", "tests", name)) for name in STCAL_TESTS]
        tests.append(str(installed / "ramp_fitting" / "tests" / "test_ramp_fit.py"))
        paths = (str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))  # the lyot that this process imports
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        options = ["-q", "-p", "official_unit_tests", "-p", "no:cacheprovider", "--tb=line", "-rfE"]
        where = ["--rootdir", folder, "-c", os.devnull]
        return subprocess.run([sys.executable, "-m", "pytest", *options, *where, *tests], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
