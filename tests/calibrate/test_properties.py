"""What holds for every background and every cube with bad pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot.calibrate import BackgroundExposure, BackgroundParams, find_bad_pixels, repair, subtract_background
from lyot.testing import cubes

QUICK = settings(max_examples=25, deadline=None)
PLAIN = BackgroundParams(method="mean", first_integration="same", reject_sources=False)


def with_background(draw, *, bad=0.0):
    science = draw(cubes(frames=(1, 4), side=(10, 16), bad=bad))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return science, [BackgroundExposure(rng.normal(10, 1, (n, *science.shape[1:]))) for n in (3, 4)]


@QUICK
@given(st.data())
def test_what_is_subtracted_is_the_image(data):
    science, exposures = with_background(data.draw)
    result = subtract_background(science, exposures, PLAIN)
    # sums near ten of double precision
    np.testing.assert_allclose(result.data + result.image, science, atol=1e-12)
    np.testing.assert_allclose(result.image, np.concatenate([e.data for e in exposures]).mean(axis=0), rtol=1e-12)


@QUICK
@given(st.data(), st.floats(-100, 100))
def test_a_level_in_all_exposures_is_taken_out(data, level):
    science, exposures = with_background(data.draw)
    raised = [BackgroundExposure(e.data + level) for e in exposures]
    for method in ("mean", "median", "clipped_mean"):
        params = BackgroundParams(method=method, first_integration="same", reject_sources=False)
        plain = subtract_background(science, exposures, params).data
        found = subtract_background(science + level, raised, params).data
        np.testing.assert_allclose(found, plain, atol=1e-10)


@QUICK
@given(st.data())
def test_the_order_of_backgrounds_does_not_matter(data):
    science, exposures = with_background(data.draw)
    for method in ("mean", "median", "clipped_mean"):
        params = BackgroundParams(method=method, first_integration="same", reject_sources=False)
        first = subtract_background(science, exposures, params)
        second = subtract_background(science, exposures[::-1], params)
        np.testing.assert_allclose(second.data, first.data, atol=1e-12)  # a sum in another order
        np.testing.assert_allclose(second.variance, first.variance, rtol=1e-9)


@QUICK
@given(st.data())
def test_only_bad_pixels_are_bad_afterwards_and_nothing_is_changed(data):
    science, exposures = with_background(data.draw, bad=0.1)
    before = science.copy(), exposures[0].data.copy()
    result = subtract_background(science, exposures, PLAIN)
    np.testing.assert_array_equal(np.isnan(result.data), np.isnan(science))
    np.testing.assert_array_equal(science, before[0])
    np.testing.assert_array_equal(exposures[0].data, before[1])


@QUICK
@given(cubes(frames=(5, 8), side=(12, 20)), st.floats(40, 1e4))
def test_an_outlier_of_one_integration_is_found(cube, height):
    cube = cube.copy()
    cube[2, 6, 6] += height
    found = find_bad_pixels(cube, np.ones(cube.shape))
    assert found.in_time[2, 6, 6] and not found.in_space[6, 6]


@QUICK
@given(st.data())
def test_repair_fills_what_it_is_told_and_leaves_the_rest(data):
    cube = data.draw(cubes(frames=(2, 5), side=(10, 16)))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    bad = rng.random(cube.shape) < 0.1
    variance = np.ones(cube.shape)
    before = cube.copy()
    fixed = repair(cube, variance, bad)
    np.testing.assert_array_equal(cube, before)
    np.testing.assert_array_equal(fixed.data[~bad], cube[~bad])
    np.testing.assert_array_equal(fixed.variance[~bad], variance[~bad])
    assert (fixed.filled <= bad).all()
    from_time = bad & (~bad).any(axis=0)
    assert fixed.filled[from_time].all()
    assert (fixed.variance[from_time] > 1).all()  # a filled pixel is no measurement of its own
    # its value lies between those of the other integrations
    low, high = np.nanmin(np.where(bad, np.inf, cube), axis=0), np.nanmax(np.where(bad, -np.inf, cube), axis=0)
    inside = (fixed.data >= low - 1e-12) & (fixed.data <= high + 1e-12)
    assert inside[from_time].all()
