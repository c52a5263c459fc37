"""Slopes by weighted least squares: the official numbers, and the truth."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot import dq
from lyot.errors import InputError, LyotWarning
from lyot.ramps._ols_segments import set_whole, weighted_slope, weights_tables
from lyot.ramps.ramp_fit import RampFitParams, fit_ramps, group_limits, plan_fit
from lyot.ramps.slopes import GroupTimes, RampFitResult
from tests.ramps.jump_cubes import Cube, make_cube, official_fit

MIRI = GroupTimes(group_time=2.0, frame_time=2.0)
NIRCAM = GroupTimes(group_time=10.0, frame_time=2.0, nframes=4, groupgap=1, drop_leading=False)


def fit(cube: Cube, params: RampFitParams, times: GroupTimes, *, threads: int = 1) -> RampFitResult | None:
    return fit_ramps(
        *cube.arrays(),
        gain=cube.gain,
        read_noise=cube.read_noise,
        times=times,
        dark=cube.dark,
        params=params,
        threads=threads,
    )


def assert_close(official: dict[str, Any], ours: Any, names: tuple[str, ...]) -> None:
    np.testing.assert_array_equal(ours.dq, official["dq"])
    for name in names:
        # both compute in float64 and write float32: 1e-5 is the project's bar; slopes near zero get 1e-6 DN/s
        atol = 1e-6 if name == "slope" else 0
        np.testing.assert_allclose(getattr(ours, name), official[name], rtol=1e-5, atol=atol, err_msg=name)


def assert_official(cube: Cube, params: RampFitParams, times: GroupTimes, *, threads: int = 1) -> None:
    rate, rateints, _ = official_fit(cube, params, times)
    ours = fit(cube, params, times, threads=threads)
    if rate is None:
        assert ours is None
        return
    assert ours is not None
    names = ("slope", "var_poisson", "var_rnoise", "err")
    assert_close(rate, ours.rate, names)
    assert_close(rateints, ours.rateints, names)


SHAPES = [(1, 1), (1, 2), (2, 2), (1, 3), (1, 4), (3, 5), (2, 6), (1, 8), (3, 7), (2, 12), (5, 30), (1, 60), (6, 130)]


@pytest.mark.filterwarnings("ignore:ramp_fit. less than two usable groups")  # ramps of one and two groups
@pytest.mark.parametrize("times", [MIRI, NIRCAM], ids=["MIRI", "NIRCam"])
@pytest.mark.parametrize("flags", ["none", "all", "miri", "charge", "wild"])
@pytest.mark.parametrize("suppress", [True, False], ids=["suppress", "keep"])
def test_slopes_are_the_official_ones(flags: str, times: GroupTimes, suppress: bool) -> None:
    for seed, (nints, ngroups) in enumerate(SHAPES):
        cube = make_cube(seed, (nints, ngroups, 7, 8), flags=flags)
        assert_official(cube, RampFitParams(suppress_one_group=suppress), times, threads=1 + seed % 2)


@pytest.mark.filterwarnings("ignore:firstgroup")  # limits that exclude each other are ignored, and it is said
@pytest.mark.parametrize("limits", [(1, None), (None, 5), (2, 9), (-1, 40), (7, 3)])
def test_first_and_last_group(limits: tuple[int | None, int | None]) -> None:
    cube = make_cube(5, (2, 12, 5, 8), flags="all")
    for times in (MIRI, NIRCAM):
        assert_official(cube, RampFitParams(firstgroup=limits[0], lastgroup=limits[1]), times)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    nints=st.integers(1, 4),
    ngroups=st.integers(1, 14),
    flags=st.sampled_from(["none", "all", "miri", "charge", "wild"]),
    miri=st.booleans(),
    suppress=st.booleans(),
)
def test_random_flags(seed: int, nints: int, ngroups: int, flags: str, miri: bool, suppress: bool) -> None:
    cube = make_cube(seed, (nints, ngroups, 3, 7), flags=flags)
    assert_official(cube, RampFitParams(suppress_one_group=suppress), MIRI if miri else NIRCAM)


def test_every_weighting_power_is_used_and_official() -> None:
    cube = make_cube(1, (2, 40, 6, 8), flags="none", cosmic_rays=0)
    cube.read_noise[:] = np.linspace(1, 400, cube.read_noise.size).reshape(cube.read_noise.shape)
    assert_official(cube, RampFitParams(), MIRI)
    signal = (cube.data[0, -1] - cube.data[0, 0]) * cube.gain
    noise = cube.read_noise * cube.gain / np.sqrt(2)
    snr = signal / np.sqrt(noise**2 + np.maximum(signal, 0))
    classes = np.digitize(snr, [5, 10, 20, 50, 100])
    assert set(np.unique(classes)) >= {0, 1, 2, 3}


def test_exposures_without_result() -> None:
    cube = make_cube(1, (1, 6, 3, 7), flags="none")
    cube.groupdq[:, 0] = dq.SATURATED
    with pytest.warns(LyotWarning, match="every ramp is saturated from its first group on; no slopes can be fitted"):
        assert fit(cube, RampFitParams(), MIRI) is None
    cube.groupdq[:] = dq.DO_NOT_USE
    with pytest.warns(LyotWarning, match="less than two usable groups; no slopes can be fitted"):
        assert fit(cube, RampFitParams(), MIRI) is None
    cube.groupdq[:, 2] = 0
    with pytest.warns(LyotWarning, match="less than two usable groups"):
        assert fit(cube, RampFitParams(), MIRI) is None


@pytest.mark.parametrize("kind", range(6))
def test_weighted_slope_of_a_line_is_its_slope(kind: int) -> None:
    for n in (3, 4, 17, 250):
        y = (5000 + 3.25 * np.arange(n)).astype(np.float32)
        weights = weights_tables(n)
        # values and slope are exact in float32; the sums are float64
        assert weighted_slope(y, kind, weights) == pytest.approx(3.25, rel=1e-12)
        set_whole(weights, n)  # the same from weights that are computed beforehand
        assert weighted_slope(y, kind, weights) == pytest.approx(3.25, rel=1e-12)


def test_slopes_are_unbiased_and_errors_right() -> None:
    # 3000 ramps of pure noise: read noise dominates, so that the weights are equal and the error is exact
    rng = np.random.default_rng(7)
    shape = (1, 20, 50, 60)
    gain, noise, rate = 3.0, 30.0, 0.5
    charge = np.cumsum(rng.poisson(rate * 2.0 * gain, shape), axis=1) / gain
    data = (charge + rng.normal(0, noise / np.sqrt(2), shape)).astype(np.float32)
    flat = np.ones(shape[2:], np.float32)
    cube = Cube(data, np.zeros(shape, np.uint8), np.zeros(shape[2:], np.uint32), gain * flat, noise * flat, 0 * flat)
    result = fit(cube, RampFitParams(), MIRI)
    assert result is not None
    pull = (result.rate.slope - rate) / result.rate.err
    assert abs(pull.mean()) < 4 / np.sqrt(pull.size)  # 4 sigma
    assert pull.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * pull.size) + 0.01)  # 4 sigma, photon noise approximate


def propagated(flags: np.ndarray, power: float, photons: float, read: float) -> tuple[float, float]:
    """Photon and read variance of the slope per group, from the covariance of the groups: segments at jumps.

    ``photons`` DN**2 per group, ``read`` DN**2 of a group. Segments are averaged by the official weights.
    """
    edges = [0, *np.nonzero(flags & dq.JUMP_DET)[0].tolist(), flags.size]
    rows, weights = [], []
    for a, b in itertools.pairwise(edges):
        if b - a < 2:
            continue
        x = np.linspace(-1, 1, b - a)
        w = np.abs(x) ** power * x
        row = np.zeros(flags.size)
        row[a:b] = w / np.sum(w * np.arange(b - a))
        rows.append(row)
        n = b - a
        weights.append((n**3 - n) / 12)
    c = np.average(rows, axis=0, weights=weights)
    group = np.arange(flags.size)
    accumulated = photons * np.minimum(group[:, None], group[None, :])
    return float(c @ accumulated @ c), float(read * np.sum(c**2))


@pytest.mark.parametrize("jumps", [(), (9,), (4, 17)])
def test_exact_errors_are_those_of_propagation(jumps: tuple[int, ...]) -> None:
    # a steep ramp: power 10 in each segment. The photon noise is computed from the median difference.
    gain, noise, rate, n = 4.0, 6.0, 5000.0, 25
    data = (rate * np.arange(n, dtype=np.float32)).reshape(1, n, 1, 1).repeat(2, axis=0)
    flags = np.zeros(data.shape, np.uint8)
    flags[:, list(jumps)] = dq.JUMP_DET
    flat = np.ones((1, 1), np.float32)
    cube = Cube(data, flags, np.zeros((1, 1), np.uint32), gain * flat, noise * flat, 0 * flat)
    exact = fit(cube, RampFitParams(exact_errors=True), MIRI)
    official = fit(cube, RampFitParams(), MIRI)
    assert exact is not None and official is not None
    poisson, read = propagated(flags[0, :, 0, 0], 10.0, rate / gain, noise**2 / 2)
    time = MIRI.group_time**2
    # results are float32
    assert exact.rateints.var_poisson[0, 0, 0] == pytest.approx(poisson / time, rel=1e-6)
    assert exact.rateints.var_rnoise[0, 0, 0] == pytest.approx(read / time, rel=1e-6)
    assert exact.rateints.err[0, 0, 0] == pytest.approx(np.sqrt((poisson + read) / time), rel=1e-6)
    assert exact.rate.err[0, 0] == pytest.approx(np.sqrt((poisson + read) / time / 2), rel=1e-6)
    np.testing.assert_array_equal(exact.rate.slope, official.rate.slope)
    np.testing.assert_array_equal(exact.rateints.dq, official.rateints.dq)


@pytest.mark.parametrize("rate", [0.5, 30.0, 400.0, 8000.0])
def test_exact_errors_are_the_scatter(rate: float) -> None:
    rng = np.random.default_rng(11)
    shape = (2, 30, 60, 80)
    gain, noise = 3.0, 12.0
    charge = np.cumsum(rng.poisson(rate * gain, shape), axis=1) / gain
    data = (charge + rng.normal(0, noise / np.sqrt(2), shape)).astype(np.float32)
    flat = np.ones(shape[2:], np.float32)
    cube = Cube(data, np.zeros(shape, np.uint8), np.zeros(shape[2:], np.uint32), gain * flat, noise * flat, 0 * flat)
    result = fit(cube, RampFitParams(exact_errors=True), MIRI)
    assert result is not None
    for slopes in (result.rate, result.rateints):
        pull = (slopes.slope - rate / MIRI.group_time) / slopes.err
        # 4 sigma of the width; 1.5 % because the weights follow the noise of each ramp a little
        assert pull.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * pull.size) + 0.015)


def test_input_is_not_changed() -> None:
    cube = make_cube(3, (2, 9, 5, 6), flags="all")
    arrays = (*cube.arrays(), cube.gain, cube.read_noise, cube.dark)
    before = [a.copy() for a in arrays]
    for algorithm in ("OLS_C", "LIKELY"):
        fit(cube, RampFitParams(algorithm=algorithm, firstgroup=1), MIRI)
    for was, now in zip(before, arrays, strict=True):
        np.testing.assert_array_equal(was, now)


def test_plan_drops_unused_groups_for_miri_only() -> None:
    all_dnu = np.zeros((2, 10), bool)
    all_dnu[:, :3] = True
    all_dnu[0, 3] = True
    all_dnu[:, -1] = True
    plan = plan_fit(RampFitParams(), MIRI, all_dnu=all_dnu)
    assert plan is not None and (plan.first, plan.last, plan.clear_first_jump) == (3, 9, True)
    plan = plan_fit(RampFitParams(), NIRCAM, all_dnu=all_dnu)
    assert plan is not None and (plan.first, plan.last, plan.clear_first_jump) == (0, 10, False)


def test_group_limits() -> None:
    assert group_limits(RampFitParams(), 1) == (0, 1)
    assert group_limits(RampFitParams(firstgroup=2, lastgroup=7), 10) == (2, 8)
    with pytest.warns(LyotWarning, match=r"firstgroup \(7\) is not before lastgroup"):
        assert group_limits(RampFitParams(firstgroup=7, lastgroup=2), 10) == (0, 10)


@pytest.mark.parametrize("broken", ["shape", "dtype", "gain"])
def test_bad_input_is_refused(broken: str) -> None:
    cube = make_cube(1, (1, 5, 3, 6), flags="none")
    if broken == "shape":
        cube.groupdq = cube.groupdq[:, 1:]
    elif broken == "dtype":
        cube.data = cube.data.astype(np.uint16)
    else:
        cube.gain = cube.gain[1:]
    with pytest.raises(InputError, match="ramp_fit"):
        fit(cube, RampFitParams(), MIRI)
