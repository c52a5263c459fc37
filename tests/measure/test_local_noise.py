"""Noise from place to place."""

import numpy as np
import pytest
from scipy import ndimage

from lyot.geometry import radius_map
from lyot.measure.contrast import spread_angles
from lyot.measure.local_noise import local_noise, speckle_shape

SHAPE, CENTER, FWHM = (101, 101), (50.0, 50.0), 4.0
NEAR = radius_map(SHAPE, (50.0, 62.0)) <= 6.0


def speckles(seed, n, truth):
    """Correlated noise with the scatter `truth`."""
    white = np.random.default_rng(seed).normal(size=(n, *SHAPE))
    smooth = ndimage.gaussian_filter(white, (0, 1.5, 1.5)) * 2 * np.sqrt(np.pi) * 1.5
    return smooth * truth


@pytest.fixture(scope="module")
def truth():
    y, x = np.indices(SHAPE)
    return 1.0 + 0.7 * np.cos(2 * np.arctan2(y - 50, x - 50))  # 0.3 to 1.7 along each ring


def test_the_references_tell_where_noise_is_strong(truth):
    shape = speckle_shape(speckles(1, 12, truth), CENTER, FWHM)
    ring = np.abs(radius_map(SHAPE, CENTER) - 20) < 8
    assert np.corrcoef(np.log(shape[ring]), np.log(truth[ring]))[0, 1] > 0.9
    # normalized over rings, not over this annulus
    assert np.mean(shape[ring] ** 2) == pytest.approx(1.0, abs=0.1)


def test_the_image_decides_how_far_it_follows(truth):
    shape = speckle_shape(speckles(2, 12, truth), CENTER, FWHM)
    ring = np.abs(radius_map(SHAPE, CENTER) - 12) <= 6
    ratios = []
    for scatter in (truth, np.ones(SHAPE)):
        image = speckles(3, 1, scatter)[0]
        found = local_noise(image, shape, CENTER, NEAR, FWHM, ring=ring)
        row = (50, 38), (38, 50)  # along x, where noise is strong, and along y
        ratios.append(found.sigma[row[0]] / found.sigma[row[1]])
    assert ratios[0] > 2.5  # 5.7 in truth
    assert ratios[1] < 1.6  # 1 in truth


def test_a_narrow_ring_is_followed():
    radius = radius_map(SHAPE, CENTER)
    image = np.where(np.abs(radius - 12) < 2, -5.0, 0.0) + 0.01 * speckles(4, 1, np.ones(SHAPE))[0]
    found = local_noise(image, None, CENTER, NEAR, FWHM)
    # beside the source, whose own pixels are left out; within half a pixel of the ring's edges the mean is a mixture
    middle = NEAR & (np.abs(radius - 12) < 1)
    assert np.abs(found.mean[middle] + 5).max() < 0.1


def test_the_scatter_close_to_the_star_is_that_of_the_noise():
    """Of few resolution elements: about their own mean they scatter less, which is made up for."""
    images = speckles(6, 300, np.ones(SHAPE))
    places = (50, 56), (56, 50), (50, 44), (44, 50)  # 1.5 resolution elements from the star
    nowhere = np.zeros(SHAPE, bool)
    square = [local_noise(image, None, CENTER, nowhere, FWHM).sigma[place] ** 2 for image in images for place in places]
    truth = np.mean([image[place] ** 2 for image in images for place in places])
    # scatter of the mean of 300 rings of ten elements: 3 %; uncorrected they are 9 % low
    assert np.mean(square) / truth == pytest.approx(1.0, abs=0.05)


def test_pixels_that_nobody_else_tells_have_no_noise():
    near = radius_map(SHAPE, (50.0, 54.0)) <= 6.0
    found = local_noise(speckles(5, 1, np.ones(SHAPE))[0], None, CENTER, near, FWHM)
    assert np.isnan(found.sigma[50, 50])
    assert np.isfinite(found.sigma[58, 50])


@pytest.mark.parametrize("n", [4, 8, 16])
def test_angles_spread_over_a_quarter_turn(n):
    angles = spread_angles(n)
    np.testing.assert_allclose(np.sort(angles % 90), np.arange(n) * 90 / n, atol=1e-9)
    assert (np.diff(angles) > 0).all() and angles[-1] < 360
    assert [int((angles // 90 == q).sum()) for q in range(4)] == [n // 4] * 4
