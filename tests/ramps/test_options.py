"""Options beyond the official stage 1: each does what it says, and the same streamed and on whole arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyot import dq
from lyot.errors import InputError
from lyot.ramps import engine
from lyot.ramps.depth_matching import depth_of_slopes, truncate_to_depth
from lyot.ramps.jump import detect_jumps
from lyot.ramps.jump_params import JumpParams
from lyot.ramps.options import FitLimits, RoleOptions, reject_integrations
from lyot.ramps.ramp_fit import RampFitParams, fit_ramps
from lyot.ramps.slopes import RampFitResult, SlopeImage

from .cubes import Scenario, ramps
from .jump_cubes import make_cube
from .test_engine import TIMES, assert_same, prepared, step_by_step


def straight(rate: float, *, nints: int = 3, ngroups: int = 40, shape: tuple[int, int] = (4, 6)) -> np.ndarray:
    """Ramps without noise, DN."""
    groups = np.arange(ngroups, dtype=np.float32)[None, :, None, None]
    return np.broadcast_to(100 + rate * groups, (nints, ngroups, *shape)).astype(np.float32)


def test_ramps_are_cut_at_the_depth() -> None:
    data = straight(10.0)
    flags = np.zeros(data.shape, np.uint8)
    flags[:, :2] = dq.DO_NOT_USE
    target = np.full(data.shape[2:], 200.0, np.float32)
    target[0, 0], target[1, 1], target[2, 2] = np.nan, 5.0, 1e9
    cut = truncate_to_depth(data, flags, target, min_groups=8)
    used = (cut == 0).sum(axis=1)
    # 200 DN at 10 DN per group are 20 differences, 21 groups
    assert set(np.unique(used[:, 3])) == {21}
    assert (used[:, 0, 0] == 38).all() and (used[:, 2, 2] == 38).all()
    assert (used[:, 1, 1] == 8).all()
    assert (flags[:, 2:] == 0).all()
    with pytest.raises(InputError, match="2 groups"):
        truncate_to_depth(data, flags, target, min_groups=1)


def test_depth_of_slopes_is_that_of_a_whole_ramp() -> None:
    slope = np.array([[[2.0, -1.0]], [[4.0, -2.0]], [[3.0, np.nan]]])
    np.testing.assert_array_equal(depth_of_slopes(slope, 0.5, 11), np.array([[15.0, np.nan]], np.float32))


@pytest.mark.parametrize("limits", [FitLimits(drop_first=True), FitLimits(depth=np.empty(0, np.float32), min_groups=4)])
def test_limits_are_the_same_streamed(limits: FitLimits) -> None:
    scenario = Scenario(nints=3, ngroups=22, seed=41)
    raw = ramps(scenario)
    c, d = prepared(scenario)
    if limits.depth is not None:
        limits = replace(limits, depth=np.full(scenario.shape, 500.0, np.float32))
    free = engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams())
    params = engine.StreamParams(limits=limits, memory=0.3)
    streamed = engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams(), params=params)
    other = engine.StreamParams(limits=limits, threads=1)
    again = engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams(), params=other)
    assert_same(streamed, again.slopes, again.primary)
    slopes, primary, _ = step_by_step(raw, c, d, JumpParams(), RampFitParams(), limits=limits)
    assert_same(streamed, slopes, primary)
    assert streamed.primary == free.primary
    assert not np.array_equal(streamed.slopes.rate.slope, free.slopes.rate.slope, equal_nan=True)
    if limits.drop_first:
        assert np.isnan(streamed.slopes.rateints.slope[0]).all()
        kept = np.isfinite(free.slopes.rateints.slope[1])
        np.testing.assert_allclose(
            streamed.slopes.rateints.slope[1][kept],
            free.slopes.rateints.slope[1][kept],
            rtol=1e-6,  # the same fit of the same ramp
        )


def test_without_the_first_integration_slopes_and_errors_are_those_of_the_others() -> None:
    cube = make_cube(3, (4, 20, 6, 8), flags="none", cosmic_rays=0.0)
    flags = cube.groupdq.copy()
    flags[0] |= dq.DO_NOT_USE
    detector = {"gain": cube.gain, "read_noise": cube.read_noise, "times": TIMES, "dark": cube.dark}
    dropped = fit_ramps(cube.data, flags, cube.pixeldq, dropped=1, **detector)
    others = fit_ramps(cube.data[1:], cube.groupdq[1:], cube.pixeldq, **detector)
    assert dropped is not None and others is not None
    for name in ("slope", "var_poisson", "var_rnoise", "err"):
        np.testing.assert_array_equal(getattr(dropped.rate, name), getattr(others.rate, name), err_msg=name)
        np.testing.assert_array_equal(getattr(dropped.rateints, name)[1:], getattr(others.rateints, name), err_msg=name)


@pytest.mark.parametrize("nints", [3, 120])
def test_medians_over_each_integration(nints: int) -> None:
    # the slope of an integration is its own: what the official medians over the exposure take for a jump is none
    cube = make_cube(9, (nints, 15, 3, 6), flags="all")
    detector = {"gain": cube.gain, "read_noise": cube.read_noise, "group_time": 2.0}
    plain = JumpParams(median_over="integration")
    one_by_one = [
        detect_jumps(cube.data[i : i + 1], cube.groupdq[i : i + 1], cube.pixeldq, params=plain, **detector)
        for i in range(nints)
    ]
    at_once = detect_jumps(cube.data, cube.groupdq, cube.pixeldq, params=plain, **detector)
    np.testing.assert_array_equal(at_once.groupdq, np.concatenate([r.groupdq for r in one_by_one]))
    assert at_once.primary == sum(r.primary for r in one_by_one)
    pooled = detect_jumps(cube.data, cube.groupdq, cube.pixeldq, params=JumpParams(), **detector)
    assert not np.array_equal(pooled.groupdq, at_once.groupdq)


def test_medians_over_each_integration_are_the_same_streamed() -> None:
    scenario = Scenario(nints=3, ngroups=22, seed=43)
    raw = ramps(scenario)
    c, d = prepared(scenario)
    jump, fit = JumpParams(median_over="integration"), RampFitParams(exact_errors=True)
    streamed = engine.process_exposure(raw, c, d, TIMES, jump=jump, fit=fit, params=engine.StreamParams(memory=0.3))
    slopes, primary, _ = step_by_step(raw, c, d, jump, fit)
    assert_same(streamed, slopes, primary)


def slopes_with_an_outlier() -> RampFitResult:
    """Slopes of 8 integrations; one is 30 sigma off in one pixel."""
    rng = np.random.default_rng(3)
    cube = rng.normal(100, 1, (8, 5, 6)).astype(np.float32)
    cube[2, 1, 1] += 30
    one = np.ones_like(cube)
    ints = SlopeImage(cube, np.zeros(cube.shape, np.uint32), 0.4 * one, 0.6 * one, one)
    image = np.ones((5, 6), np.float32)
    mean = SlopeImage(cube.mean(axis=0), np.zeros((5, 6), np.uint32), 0.05 * image, 0.075 * image, 0.35 * image)
    return RampFitResult(mean, ints)


def test_outlying_integrations_are_given_up() -> None:
    slopes = slopes_with_an_outlier()
    clean = reject_integrations(slopes, 6.0)
    rejected = np.isnan(clean.rateints.slope)
    assert rejected.sum() == 1 and rejected[2, 1, 1]
    assert clean.rateints.dq[2, 1, 1] == dq.OUTLIER | dq.DO_NOT_USE
    others = np.delete(slopes.rateints.slope[:, 1, 1], 2)
    assert clean.rate.slope[1, 1] == pytest.approx(others.mean(), rel=1e-6)
    assert clean.rate.var_rnoise[1, 1] == pytest.approx(0.6 / 7, rel=1e-6)
    assert clean.rate.var_poisson[1, 1] == pytest.approx(0.4 / 7, rel=1e-6)
    untouched = np.ones((5, 6), bool)
    untouched[1, 1] = False
    np.testing.assert_array_equal(clean.rate.slope[untouched], slopes.rate.slope[untouched])
    assert slopes.rateints.dq.sum() == 0


def test_mean_of_kept_integrations_is_that_of_the_fit() -> None:
    """Giving up an integration afterwards, and not fitting it at all, agree."""
    scenario = Scenario(nints=6, ngroups=30, seed=42, rays=0, saturating=0)
    c, d = prepared(scenario)
    raw = ramps(scenario).astype(np.float32)
    slope = np.arange(30, dtype=np.float32)[:, None, None]
    raw[3] += 400 * slope  # far off in every pixel
    del c
    data, flags = raw, np.zeros(raw.shape, np.uint8)
    pixels = np.zeros(scenario.shape, np.uint32)
    gain, noise = np.full(scenario.shape, 5.5), np.full(scenario.shape, 6.0)
    fit = fit_ramps(data, flags, pixels, gain=gain, read_noise=noise, times=TIMES)
    assert fit is not None and d is not None
    clean = reject_integrations(fit, 8.0)
    gone = np.isnan(clean.rateints.slope[3]) & (np.isnan(clean.rateints.slope).sum(axis=0) == 1)
    assert gone.mean() > 0.6  # the others have a dropout in another integration too
    flags = flags.copy()
    flags[3] = dq.DO_NOT_USE
    without = fit_ramps(data, flags, pixels, gain=gain, read_noise=noise, times=TIMES)
    assert without is not None
    # the photon noise is set by the mean rate of all integrations; weights by read noise alone: the slopes agree
    np.testing.assert_allclose(clean.rate.slope[gone], without.rate.slope[gone], rtol=1e-5)
    np.testing.assert_allclose(clean.rate.var_rnoise[gone], without.rate.var_rnoise[gone], rtol=1e-5)


def test_few_integrations_are_left_alone() -> None:
    slopes = slopes_with_an_outlier()
    few = replace(slopes, rateints=SlopeImage(*(a[:3] for a in vars(slopes.rateints).values() if a is not None)))
    assert reject_integrations(few, 3.0) is few


def test_threshold_by_role() -> None:
    options = RoleOptions(jump_threshold_reference=8.0, jump_threshold_background=5.0)
    assert options.threshold(is_reference=False, is_background=False) is None
    assert options.threshold(is_reference=True, is_background=False) == 8.0
    assert options.threshold(is_reference=True, is_background=True) == 5.0
