"""STIM maps of frames whose answer is known."""

import numpy as np
import pytest

from lyot.errors import InputError, ReductionError
from lyot.geometry import offset_grid
from lyot.measure.stim import stim_map, stim_ratio


def frames(seed=1, n=40, shape=(41, 41), source=0.0):
    dx, dy = offset_grid(shape, (30.0, 20.0))
    cube = np.random.default_rng(seed).normal(size=(n, *shape))
    return cube + source * np.exp(-(dx**2 + dy**2) / 8)


def test_ratio_in_closed_form():
    cube = np.array([1.0, 2.0, 3.0, 6.0])[:, None, None] * np.ones((4, 2, 3))
    cube[3, 1, 1] = np.nan
    ratio = stim_ratio(cube)
    assert ratio[0, 0] == pytest.approx(3.0 / np.sqrt(14 / 3))
    assert np.isnan(ratio[1, 1])  # three frames only


def test_noise_alone_stays_below_and_a_source_stands_out():
    # of 1681 pixels of either map some are above the other's maximum in half of all cases; a source is far above
    found = stim_map(frames(1, source=3.0), frames(1))
    assert found.detected[20, 30]
    assert found.frames == 40
    y, x = np.unravel_index(np.nanargmax(found.stim), found.stim.shape)
    assert np.hypot(x - 30, y - 20) <= 1
    quiet = stim_map(frames(2), frames(3))
    assert quiet.detected.sum() <= 3
    # mean over scatter of 40 frames of noise: 1/sqrt(40)
    assert np.nanstd(quiet.stim) == pytest.approx(1 / np.sqrt(40), rel=0.1)


def test_scaling_does_not_matter():
    np.testing.assert_allclose(stim_ratio(7.0 * frames(4)), stim_ratio(frames(4)), rtol=1e-12)


def test_search_region():
    search = np.zeros((41, 41), bool)
    search[:, 20:] = True
    wrong = frames(5)
    wrong[:, 5, 5] += 100
    assert stim_map(frames(6), wrong, search=search).threshold < 1
    assert stim_map(frames(6), wrong).threshold > 50


def test_errors():
    with pytest.raises(ReductionError, match="4 frames"):
        stim_map(frames(n=2), frames(n=2))
    with pytest.raises(InputError, match="shape"):
        stim_map(frames(n=5), frames(n=6))
    with pytest.raises(InputError, match="frames"):
        stim_ratio(np.ones((3, 3)))
