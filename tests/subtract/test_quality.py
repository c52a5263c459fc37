"""Integrations without their star or most of their pixels, and errors where there are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot.stacks import nanmedian
from lyot.subtract.quality import _medians_of_others, estimate_variance, judge_integrations, relative_brightness

SHAPE = (60, 66)
NOISE = 3.0


def star(peak=200.0):
    y, x = np.indices(SHAPE)
    r = np.hypot(x - 33, y - 30)
    return peak * np.exp(-r / 5) * (1.2 + np.cos(1.1 * x) * np.cos(0.9 * y))


def near():
    y, x = np.indices(SHAPE)
    return np.hypot(x - 33, y - 30) < 25


def integrations(n, seed=1, peak=200.0):
    return np.random.default_rng(seed).normal(star(peak), NOISE, (n, *SHAPE))


VARIANCE = NOISE**2


@pytest.mark.parametrize("n", [2, 3, 4, 5, 20])
def test_an_integration_that_lost_the_star_is_left_out(n):
    cube = integrations(n)
    cube[1] -= star()
    kept = cube.copy()
    found = judge_integrations(cube, near(), np.full(cube.shape, VARIANCE))
    np.testing.assert_array_equal(cube, kept)
    assert found.starless.tolist() == [i == 1 for i in range(n)]
    assert found.use.sum() == n - 1
    # what is left of 0: with two integrations the root of the noise of the power, else a projection of noise
    assert abs(found.brightness[1]) < 0.2
    # the star's power is 2e6, its error in an integration 0.2 percent
    assert found.brightness[0] == pytest.approx(1.0, abs=0.02)


def test_a_level_is_no_star():
    cube = integrations(5) + np.arange(5)[:, None, None] * 40.0
    assert judge_integrations(cube, near()).use.all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.floats(0.7, 1.4))
def test_nothing_is_left_out_of_good_exposures(seed, n, last):
    cube = integrations(n, seed=seed)
    cube[-1] += (last - 1) * star()  # a star that moved behind the mask: its light changes by some ten percent
    assert judge_integrations(cube, near(), np.full(cube.shape, VARIANCE)).use.all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_noise_alone_is_not_judged(seed, n):
    cube = integrations(n, seed=seed, peak=0.0)
    found = judge_integrations(cube, near(), np.full(cube.shape, VARIANCE))
    assert found.use.all() and np.isnan(found.brightness).all()


@pytest.mark.parametrize(("bad", "left_out"), [((1, 3), True), ((1,), True), ((0, 1, 3), False)])
def test_mostly_flagged_integrations(bad, left_out):
    cube = integrations(5)
    rng = np.random.default_rng(9)
    for k in bad:
        cube[k][rng.random(SHAPE) < 0.7] = np.nan
    found = judge_integrations(cube, near())
    assert found.flagged[list(bad)] == pytest.approx(0.7, abs=0.03)  # 4000 pixels: 0.007, three of them
    # where most are alike, they are what the exposure is: none is left out
    assert found.masked.tolist() == [left_out and k in bad for k in range(5)]


def test_a_third_flagged_is_reported_and_used():
    cube = integrations(5)
    cube[2][np.random.default_rng(3).random(SHAPE) < 0.33] = np.nan
    found = judge_integrations(cube, near())
    assert found.uneven.tolist() == [False, False, True, False, False]
    assert found.use.all()


def test_pixels_that_are_never_usable_do_not_count():
    cube = integrations(4)
    cube[:, :20] = np.nan
    found = judge_integrations(cube, near())
    np.testing.assert_array_equal(found.flagged, 0.0)


def test_too_few_pixels_to_compare():
    assert np.isnan(relative_brightness(np.ones((3, 10)))).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_variance_from_the_data(n):
    """White noise with a star and a planet in it: the median is right to some percent."""
    rng = np.random.default_rng(n)
    y, x = np.indices((100, 110))
    scene = 50 * np.exp(-np.hypot(x - 50, y - 48) / 6)
    cube = rng.normal(scene, NOISE, (n, 100, 110))
    cube[:, :5] = np.nan
    found = estimate_variance(cube)
    assert np.isnan(found[:, :5]).all() and np.isfinite(found[:, 5:]).all()
    far = np.hypot(x - 50, y - 48) > 30
    # 81 pixels: 16 % scatter each (17 % more for a median), 1 % over the field; neighbors are correlated: 3 %
    assert np.nanmedian(found[:, far]) == pytest.approx(VARIANCE, rel=0.05)


def test_brightness_is_relative_to_the_usual_integration():
    cube = integrations(5)
    cube[3] += star()
    found = relative_brightness(cube[:, near()])
    # the median of all pixels is taken off the frames, and is not that of the sky
    np.testing.assert_allclose(found, [1, 1, 1, 2, 1], atol=0.06)


def test_a_lost_integration_is_found_where_the_star_is_fainter_than_the_noise_of_a_pixel():
    """As in the demo's second roll: in a pixel the correlation is 0.28, over 1900 of them that is 12 sigma."""
    cube = integrations(5, peak=10.0)
    cube[2] -= star(10.0)
    found = judge_integrations(cube, near(), np.full(cube.shape, VARIANCE))
    assert found.starless.tolist() == [False, False, True, False, False]
    faint = integrations(5, peak=0.5)
    assert np.isnan(judge_integrations(faint, near(), np.full(faint.shape, VARIANCE)).brightness).all()


@pytest.mark.parametrize("n", [3, 4, 7, 20])
def test_medians_of_the_others_are_those_of_the_stack_without_a_frame(n):
    rng = np.random.default_rng(n)
    cube = rng.integers(0, 6, (n, 300)).astype(float)  # many alike
    cube[rng.random(cube.shape) < 0.3] = np.nan
    cube[:, 0] = np.nan
    cube[1:, 1], cube[0, 1] = np.nan, 1.0
    expected = [nanmedian(np.delete(cube, i, axis=0)) for i in range(n)]
    np.testing.assert_array_equal(_medians_of_others(cube), expected)
