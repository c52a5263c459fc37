"""Darks of fewer groups than the exposure: continued by their last difference, or by a line."""

import numpy as np
import pytest

from lyot.ramps.dark import GroupTiming, dark_planes, dark_reference, match_dark

# a dark that is too short is the subject here
pytestmark = pytest.mark.filterwarnings("ignore:Not enough data in dark reference file")

TIMING = GroupTiming(1, 0)
RATE, NOISE = 0.02, 0.6
"""DN per group, and noise of a group of the dark, DN."""


def dark(n_groups, noise=NOISE, shape=(40, 50), seed=1):
    rng = np.random.default_rng(seed)
    truth = 3.0 + RATE * np.arange(60)[None, :, None, None] + np.zeros((2, 1, *shape))
    data = truth[:, :n_groups] + rng.normal(0, noise, (2, n_groups, shape[0], 1))  # common to a row: bands
    return dark_reference(data.astype(np.float32), np.zeros(shape, np.uint32), TIMING), truth


def slopes(data):
    """Slope of each pixel over all groups, DN per group."""
    time = np.arange(data.shape[1]) - 0.5 * (data.shape[1] - 1)
    return np.tensordot(time, data, axes=(0, 1)) / (time @ time)


@pytest.mark.parametrize("extrapolation", ["last", "fit"])
def test_a_straight_dark_is_continued(extrapolation):
    short, truth = dark(12, noise=0.0)
    found = match_dark(short, 60, TIMING, extrapolation=extrapolation)
    assert found.data.shape == truth.shape
    # float32 of 3 to 5 DN: 2e-7 each, times up to 48 groups
    np.testing.assert_allclose(found.data, truth, atol=3e-5)


def test_a_fit_leaves_no_bands():
    short, _ = dark(24)
    last, fit = (slopes(match_dark(short, 60, TIMING, extrapolation=e).data) - RATE for e in ("last", "fit"))
    # the last difference has a noise of sqrt(2) x 0.6 DN, which most of the ramp then follows: bands of 0.7 DN/group;
    # the line through six groups has an error of 0.6 / sqrt(17.5) = 0.14
    assert 0.4 < last.std() < 0.9
    assert fit.std() < 0.2
    assert abs(fit.mean()) < 5 * 0.14 / np.sqrt(80)


def test_a_dark_of_one_group_is_held():
    short, _ = dark(1, noise=0.0)
    np.testing.assert_array_equal(match_dark(short, 3, TIMING, extrapolation="fit").data, np.full((2, 3, 40, 50), 3.0))


def test_a_dark_that_is_long_enough_is_used_as_it_is():
    whole, _ = dark(60)
    for extrapolation in ("last", "fit"):
        assert match_dark(whole, 60, TIMING, extrapolation=extrapolation).data is whole.data


@pytest.mark.parametrize("n_reference", [1, 2, 4])
@pytest.mark.parametrize("first", [1, 2, 3, 41])
def test_a_segment_gets_the_darks_of_the_whole_exposure(n_reference, first):
    whole = dark_planes(60, n_reference)
    np.testing.assert_array_equal(dark_planes(5, n_reference, first), whole[first - 1 : first + 4])
