"""Snowballs and showers: flags identical to the official algorithm."""

from __future__ import annotations

import numpy as np
import pytest

from lyot import dq
from lyot.ramps.jump_params import JumpParams
from lyot.ramps.jump_showers import Ellipse, find_ellipses, flag_showers
from tests.ramps.jump_cubes import Cube, make_cube
from tests.ramps.test_jump import assert_official, detect

CHANGES = {
    "snowballs": {"expand_large_events": True, "edge_size": 5},
    "snowballs without core": {"expand_large_events": True, "sat_required_snowball": False},
    "next integration": {"expand_large_events": True, "edge_size": 5, "snowball_time_masked_next_int": 7},
    "showers": {"find_showers": True},
    "many showers": {"find_showers": True, "extend_snr_threshold": 1.0, "extend_min_area": 20},
    "both": {"find_showers": True, "expand_large_events": True, "time_masked_after_shower": 6.0},
    "clipped": {"find_showers": True, "minimum_sigclip_groups": 3},
}


FAINT = JumpParams(**CHANGES["many showers"])


def cube_with_events(seed: int, shape: tuple[int, int, int, int]) -> Cube:
    """Ellipses of extra charge that start in a random group, half of them with a saturated core."""
    rng = np.random.default_rng(seed)
    nints, ngroups, ny, nx = shape
    cube = make_cube(seed, shape, flags="none", cosmic_rays=0.001)
    y, x = np.mgrid[:ny, :nx]
    for integration in range(nints):
        for event in range(4):
            group = rng.integers(1, ngroups)
            cy, cx, radius = rng.uniform(8, ny - 8), rng.uniform(8, nx - 8), rng.uniform(3, 9)
            distance = ((y - cy) / radius) ** 2 + ((x - cx) / radius / 1.3) ** 2
            cube.data[integration, group:][:, distance < 1] += rng.choice([15.0, 40.0, 2000.0])
            if event < 2:
                cube.groupdq[integration, group:][:, distance < 0.25] |= dq.SATURATED
    cube.groupdq[:, 0] |= dq.DO_NOT_USE
    cube.pixeldq[:, :4] = dq.REFERENCE_PIXEL
    cube.pixeldq[rng.random((ny, nx)) < 0.01] |= dq.DO_NOT_USE
    return cube


# ramps of five groups are too short for showers, and the step says so
@pytest.mark.filterwarnings("ignore:too few differences")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("shape", [(2, 8, 50, 54), (1, 14, 56, 50), (3, 12, 48, 40), (1, 5, 40, 40)])
def test_flags_are_the_official_ones(change: str, shape: tuple[int, int, int, int]) -> None:
    assert_official(cube_with_events(len(change), shape), JumpParams(**CHANGES[change]))


def test_events_are_found_at_all() -> None:
    # the comparison above would pass with no events
    cube = cube_with_events(4, (2, 12, 50, 54))
    assert detect(cube, JumpParams(expand_large_events=True, edge_size=5)).extended > 3
    assert detect(cube, FAINT).extended > 3


def test_shower_amplitude_takes_flags_back() -> None:
    cube = cube_with_events(4, (2, 12, 50, 54))
    flags = detect(cube).groupdq
    common = {
        "noise": cube.read_noise * cube.gain,
        "nframes": 1,
        "group_time": 2.0,
        "params": FAINT,
    }
    more, _ = flag_showers(cube.data * cube.gain, flags, cube.pixeldq, amplitude=1e9, **common)
    none, _ = flag_showers(cube.data * cube.gain, flags, cube.pixeldq, amplitude=-1.0, **common)
    assert np.count_nonzero(more != flags) > 50
    np.testing.assert_array_equal(none, flags)


def test_ellipse_of_a_disk() -> None:
    y, x = np.mgrid[:60, :70]
    image = ((y - 25) ** 2 / 12**2 + (x - 40) ** 2 / 6**2 < 1).astype(np.uint8)
    (found,) = find_ellipses(image, 10)
    assert (found.x, found.y) == pytest.approx((40, 25))
    # second moments of a pixelated ellipse give its axes to about a pixel; the official recipe takes one off
    assert (found.minor, found.major) == pytest.approx((11, 23), abs=1.2)
    assert find_ellipses(image, 1000) == []
    # the official test of containment turns the ellipse by 90 deg
    assert found.contains(50, 25) and not found.contains(40, 35)


def test_point_in_turned_ellipse() -> None:
    tilted = Ellipse(0.0, 0.0, 2.0, 10.0, 45.0)
    assert tilted.contains(3, 3) != tilted.contains(3, -3)
