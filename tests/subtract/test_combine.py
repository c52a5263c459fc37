"""Rolls turned north up: positions, flux, bad pixels, variances, weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot import geometry
from lyot.subtract import ReductionParams, plan_reduction
from lyot.subtract.combine import fill_bad, grid_for, resampler
from tests.subtract.conftest import SCALE, gaussian

SHAPE = (141, 151)
STAR = (73.3, 68.6)
FIELD = np.ones(SHAPE, dtype=bool)


def turned(image, pa_y, star=STAR, scale=SCALE):
    grid = grid_for(FIELD, np.array([star]), scale)
    return grid, resampler(grid, np.array(star), pa_y, scale, SHAPE).images(image[np.newaxis])[0]


def centroid(image, x, y, radius=12.0):
    dx, dy = geometry.offset_grid(image.shape, (x, y))
    w = np.where(np.hypot(dx, dy) < radius, np.nan_to_num(image), 0.0)
    return x + (w * dx).sum() / w.sum(), y + (w * dy).sum() / w.sum()


def gaussian_on_sky(separation, pa, pa_y, sigma=0.2):
    """A source round on the sky, on the detector's pixels of unequal sides."""
    dx, dy = geometry.offset_grid(SHAPE, STAR)
    ox, oy = geometry.detector_offset(separation, pa, pa_y)
    return np.exp(-(((dx * SCALE[0] - ox) ** 2 + (dy * SCALE[1] - oy) ** 2) / (2 * sigma**2)))


@settings(max_examples=15, deadline=None)
@given(pa=st.floats(0, 360), pa_y=st.floats(0, 360), separation=st.floats(0.5, 5.0))
def test_a_source_lands_at_its_position_angle_and_separation(pa, pa_y, separation):
    grid, image = turned(gaussian_on_sky(separation, pa, pa_y), pa_y)
    east, north = geometry.sky_offset(separation, pa)
    x, y = grid.center[0] - float(east) / grid.pixel_scale, grid.center[1] + float(north) / grid.pixel_scale
    found = centroid(image, x, y, radius=9.0)
    # figure asked for: 0.01 px
    assert np.hypot(found[0] - x, found[1] - y) < 0.01


def test_flux_and_peak_are_kept():
    source = gaussian_on_sky(3.0, 200.0, 113.0, sigma=0.15)
    grid, image = turned(source, 113.0)
    # the grid has the area of the detector's pixels; quintic spline at FWHM 3.2 px
    assert np.nansum(image) == pytest.approx(source.sum(), rel=1e-3)
    expected = np.exp(-((grid_offset(grid, 3.0, 200.0)) / (2 * 0.15**2)))
    assert np.nanmax(np.abs(image - expected)) < 2e-3


def grid_offset(grid, separation, pa):
    dx, dy = geometry.offset_grid(grid.shape, grid.center)
    east, north = geometry.sky_offset(separation, pa)
    return (dx * grid.pixel_scale + east) ** 2 + (dy * grid.pixel_scale - north) ** 2


def test_no_roll_and_square_pixels_change_nothing():
    rng = np.random.default_rng(1)
    image = rng.normal(size=SHAPE)
    grid, out = turned(image, 0.0, star=(73.0, 68.0), scale=(0.11, 0.11))
    y0, x0 = int(grid.center[1]) - 68, int(grid.center[0]) - 73
    # the spline goes through the pixels
    np.testing.assert_allclose(out[y0 : y0 + SHAPE[0], x0 : x0 + SHAPE[1]], image, atol=1e-9)


def test_bad_pixels_become_small_holes_and_do_not_ring():
    source = gaussian_on_sky(1.0, 30.0, 40.0, sigma=0.3)
    _, whole = turned(source, 40.0)
    broken = source.copy()
    broken[60:62, 70] = np.nan
    broken[100, 100] = np.nan
    _, holed = turned(broken, 40.0)
    assert 1 <= np.isnan(holed).sum() - np.isnan(whole).sum() <= 12
    # next to a bad pixel the fill (a local mean) shows by a few per cent of the peak
    assert np.nanmax(np.abs(holed - whole)) < 0.05


def test_fill_bad():
    image = np.full((30, 30), 3.0)
    image[:, :10] = np.nan
    image[20, 20] = np.nan
    np.testing.assert_allclose(fill_bad(image), 3.0)
    assert np.isnan(image[0, 0])
    assert not fill_bad(np.full((4, 4), np.nan)).any()


def test_variance_of_sums_is_their_scatter():
    rng = np.random.default_rng(2)
    shape, star = (61, 65), np.array([31.0, 30.0])
    grid = grid_for(np.ones(shape, dtype=bool), star[np.newaxis], SCALE)
    turn = resampler(grid, star, 37.0, SCALE, shape)
    images = turn.images(rng.normal(scale=2.0, size=(400, *shape)))
    variance = turn.variance(np.full((1, *shape), 4.0))[0]
    ratios = []
    for x, y in ((0, 0), (14, 3), (-14, 5), (2, -15), (-3, 15)):
        dx, dy = geometry.offset_grid(grid.shape, (grid.center[0] + x, grid.center[1] + y))
        aperture = np.hypot(dx, dy) < 6
        ratios.append(images[:, aperture].sum(axis=1).var() / variance[aperture].sum())
    # five apertures of 400 draws give the variance to 3 %, their soft edges take off up to 6 %
    assert np.mean(ratios) == pytest.approx(0.97, abs=0.13)
    # single pixels scatter less, as documented
    assert 0.7 < images[:, aperture].var(axis=0).mean() / 4.0 < 1.0


def test_variance_of_the_reduction_is_its_scatter(make_sequence):
    sequence = make_sequence(noise=0.0).replace(science_variance=np.full((2, 61, 65), 0.25))
    plan = plan_reduction(sequence, ReductionParams(truncations=(5,)))
    rng = np.random.default_rng(3)
    result = plan.reduce()
    signals = rng.normal(scale=0.5, size=(150, 2, 61, 65))
    scatter = plan.reduce_many(signals)[:, 0]
    dx, dy = geometry.offset_grid(result.image.shape, (result.center[0] + 10, result.center[1] + 8))
    aperture = np.hypot(dx, dy) < 5
    predicted = result.combined_variance[0][aperture].sum()
    # 150 draws: 12 %; twice that
    assert scatter[:, aperture].sum(axis=1).var() == pytest.approx(predicted, rel=0.25)


def test_weights_follow_variance_and_throughput(make_sequence):
    throughput = np.ones((61, 65))
    throughput[:, :31] = 0.5
    variance = np.ones((2, 61, 65))
    variance[1] = 4.0
    sequence = make_sequence(throughput=throughput, science_variance=variance)
    equal = plan_reduction(sequence, ReductionParams(roll_weights="equal")).reduce().weights
    by_variance = plan_reduction(sequence, ReductionParams(roll_weights="variance")).reduce().weights
    both = plan_reduction(sequence).reduce()
    x, y = (round(c) for c in both.center)
    assert equal[:, y + 5, x + 5] == pytest.approx([0.5, 0.5])
    assert by_variance[:, y + 5, x + 5] == pytest.approx([0.8, 0.2])
    covered = both.weights.sum(axis=0)
    assert np.allclose(covered[covered > 0], 1.0)
    # where the rolls see unequal throughput the better one counts twice as much
    ratio = both.weights[0] / np.where(both.weights[1] > 0, both.weights[1], np.nan)
    assert np.nanmax(ratio) == pytest.approx(8.0, rel=1e-6) and np.nanmin(ratio[ratio > 0]) == pytest.approx(
        2.0, rel=1e-6
    )
    assert 0.5 <= np.nanmin(both.throughput) <= np.nanmax(both.throughput) <= 1.0


def test_a_hole_in_one_roll_is_filled_from_the_other(make_sequence):
    sequence = make_sequence()
    science = sequence.science.copy()
    science[0, 38:41, 20:23] = np.nan
    one = plan_reduction(sequence.replace(science=science)).reduce()
    assert np.isnan(one.rolls[0, 0]).sum() > np.isnan(one.rolls[0, 1]).sum()
    inside = geometry.radius_map(one.image.shape, one.center) < 25
    assert np.isfinite(one.image[inside]).all()


def test_gaussian_helper_has_unit_sum():
    assert gaussian(30, 30).sum() == pytest.approx(1.0, rel=1e-6)
