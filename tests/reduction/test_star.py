"""The star behind the mask, from an image of its acquisition and two pointings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyot.instrument import coronagraph
from lyot.reduction.star import Pointing, offset_behind_mask
from tests.steps.stage23_synthetic import point

C = coronagraph("F1550C")
HERE = Pointing((201.15, -51.5046), 108.171, (-389.7919, -371.8462), 4.83544897, (1, 463))
STAR = (60.0, 176.0)


@pytest.fixture(scope="module")
def image():
    return 400 * point(C.shape, *STAR, fwhm=4.0) + np.random.default_rng(2).normal(scale=0.5, size=C.shape)


def test_without_a_move_it_is_the_distance_from_the_mask(image):
    offset, error = offset_behind_mask(image, HERE, HERE, C)
    expected = (np.array(STAR) - np.array(C.reference_point)) * np.array(C.pixel_scale)
    # centroid of a bright star in the window: some hundredths of a pixel
    np.testing.assert_allclose(offset, expected, atol=0.004)
    assert 0.02 * 0.1 < error < 0.005


def test_the_stated_error_is_the_scatter_of_a_faint_star():
    rng = np.random.default_rng(4)
    star = 400 * point(C.shape, *STAR, fwhm=4.0)
    found = [offset_behind_mask(star + rng.normal(scale=25, size=C.shape), HERE, HERE, C) for _ in range(60)]
    scatter = np.std([offset for offset, _ in found], axis=0).mean()
    stated = np.mean([error for _, error in found])
    # measured 0.84, as the window weights pixels better than the aperture; 60 draws tell it to 7 %
    assert scatter / stated == pytest.approx(0.85, abs=0.25)


def test_where_the_telescope_went_is_subtracted(image):
    still, _ = offset_behind_mask(image, HERE, HERE, C)
    north = replace(HERE, sky=(HERE.sky[0], HERE.sky[1] + 2.0 / 3600))
    moved, _ = offset_behind_mask(image, HERE, north, C)
    angle = np.radians(HERE.pa_y)  # the star goes south by 2 arcsec: x points to PA - 90 deg, y to PA
    expected = still - 2.0 * np.array([np.sin(angle), np.cos(angle)])
    # tangent plane: 2 arcsec of 9
    np.testing.assert_allclose(moved, expected, atol=1e-4)


def test_the_subarrays_corner_counts_in_pixels(image):
    still, _ = offset_behind_mask(image, HERE, HERE, C)
    shifted, _ = offset_behind_mask(image, replace(HERE, corner=(11, 463)), HERE, C)
    # rounding of the rotations back and forth
    np.testing.assert_allclose(shifted - still, [10 * C.pixel_scale[0], 0.0], atol=1e-9)


def test_around_the_meridian_a_move_is_small(image):
    west, east = replace(HERE, sky=(359.9999, 0.0)), replace(HERE, sky=(0.0001, 0.0))
    offset, _ = offset_behind_mask(image, west, east, C)
    still, _ = offset_behind_mask(image, west, west, C)
    # 0.72 arcsec, in the tangent plane
    np.testing.assert_allclose(np.hypot(*(offset - still)), 0.72, atol=1e-4)
