"""The LIKELY fit: the official numbers, except where rounding decides between equals."""

from __future__ import annotations

import numpy as np
import pytest

from lyot import dq
from lyot.ramps.ramp_fit import RampFitParams
from lyot.ramps.slopes import GroupTimes
from tests.ramps.jump_cubes import Cube, make_cube, official_fit
from tests.ramps.test_ramp_fit import MIRI, NIRCAM, fit

NAMES = ("slope", "var_poisson", "var_rnoise", "err", "chisq")


def usable_differences(cube: Cube) -> np.ndarray:
    """(nints, ny, nx) number of differences between two groups without flags."""
    good = cube.groupdq == 0
    return np.count_nonzero(good[:, 1:] & good[:, :-1], axis=1)


def compare(cube: Cube, times: GroupTimes) -> tuple[int, int]:
    """Compare with the official fit; return (ramps that differ, ramps).

    A jump among two differences is a tie: leaving out either makes chi squared zero, and rounding decides which. Ramps
    with so few differences may differ, all others must not.
    """
    params = RampFitParams(algorithm="LIKELY")
    rate, rateints, groupdq = official_fit(cube, params, times)
    with np.errstate(all="ignore"):
        ours = fit(cube, params, times, threads=2)
    assert ours is not None and ours.groupdq is not None
    differs = np.any(ours.groupdq != groupdq, axis=1)
    differs |= ours.rateints.dq != rateints["dq"]
    for name in NAMES:
        # float64 recursions of up to 130 steps: 1e-5; chi squared of an exact fit is rounding, hence the floor
        floor = {"slope": 1e-6, "chisq": 1e-5}.get(name, 0.0)
        mine, official = getattr(ours.rateints, name), rateints[name]
        differs |= ~np.isclose(mine, official, rtol=1e-5, atol=floor, equal_nan=True)
    assert np.all(usable_differences(cube)[differs] <= 2)
    same = ~np.any(differs, axis=0)
    for name in NAMES:
        floor = {"slope": 1e-6, "chisq": 1e-5}.get(name, 0.0)
        mine, official = getattr(ours.rate, name)[same], rate[name][same]
        # as above
        np.testing.assert_allclose(mine, official, rtol=1e-5, atol=floor, err_msg=name)
    np.testing.assert_array_equal(ours.rate.dq[same], rate["dq"][same])
    return int(np.count_nonzero(differs)), differs.size


@pytest.mark.parametrize("times", [MIRI, NIRCAM], ids=["MIRI", "NIRCam"])
@pytest.mark.parametrize("flags", ["none", "all", "miri", "wild"])
def test_fit_is_the_official_one(flags: str, times: GroupTimes) -> None:
    different = total = 0
    for seed, (nints, ngroups) in enumerate([(1, 4), (3, 5), (2, 6), (3, 9), (2, 12), (3, 30), (1, 130)]):
        cube = make_cube(seed, (nints, ngroups, 6, 7), flags=flags, cosmic_rays=0.03)
        more, ramps = compare(cube, times)
        different, total = different + more, total + ramps
    # ties are rare: none without flags, and a few in a thousand with many
    assert different <= (0 if flags == "none" else 0.02 * total)


def test_jumps_are_found_and_flagged() -> None:
    cube = make_cube(1, (1, 30, 4, 7), flags="none", cosmic_rays=0)
    clean = fit(cube, RampFitParams(algorithm="LIKELY"), MIRI)
    cube.data[0, 12:, 2, 3] += 3000
    hit = fit(cube, RampFitParams(algorithm="LIKELY"), MIRI)
    assert clean is not None and hit is not None and hit.groupdq is not None
    assert hit.groupdq[0, 12, 2, 3] == dq.JUMP_DET
    assert hit.rate.dq[2, 3] & dq.JUMP_DET
    change = hit.rate.slope[2, 3] - clean.rate.slope[2, 3]
    assert abs(change) < 3 * clean.rate.err[2, 3]  # one difference of 29 left out; without that it would be 50 DN/s


def test_few_groups_fall_back_to_least_squares() -> None:
    cube = make_cube(1, (2, 3, 4, 7), flags="none")
    likely, ols = (fit(cube, RampFitParams(algorithm=a), NIRCAM) for a in ("LIKELY", "OLS_C"))
    assert likely is not None and ols is not None
    np.testing.assert_array_equal(likely.rate.slope, ols.rate.slope)
    assert likely.rate.chisq is None


def test_chi_squared_is_that_of_pure_noise() -> None:
    rng = np.random.default_rng(3)
    shape = (1, 25, 40, 40)
    gain, noise = 3.0, 6.0
    data = np.cumsum(rng.poisson(60, shape), axis=1) / gain + rng.normal(0, noise / np.sqrt(2), shape)
    flat = np.ones(shape[2:], np.float32)
    zeros = np.zeros(shape[2:], np.uint32)
    cube = Cube(data.astype(np.float32), np.zeros(shape, np.uint8), zeros, gain * flat, noise * flat, 0 * flat)
    result = fit(cube, RampFitParams(algorithm="LIKELY"), MIRI)
    assert result is not None and result.rate.chisq is not None
    degrees = 23  # 24 differences, one parameter; 4 sigma of the mean, and 2 % for a Poisson law of 60 counts
    assert result.rate.chisq.mean() == pytest.approx(degrees, rel=4 * np.sqrt(2 / degrees / 1600) + 0.02)
    pull = (result.rate.slope - 10.0) / result.rate.err
    assert abs(pull.mean()) < 4 / 40 and pull.std() == pytest.approx(1, abs=4 / np.sqrt(3200) + 0.01)
