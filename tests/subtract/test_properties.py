"""What holds for every sequence: linearity, order, shifts and back, bad pixels, arrays of the caller unchanged."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lyot.subtract import ReductionParams, plan_reduction
from lyot.subtract.combine import NorthUpGrid, fill_bad, resampler
from lyot.subtract.fourier import shiftable
from lyot.subtract.register import RegistrationParams, register
from lyot.testing import cubes, sequences

QUICK = settings(max_examples=15, deadline=None)
PARAMS = ReductionParams(truncations=(1, 3), recommended=3, zone_edges=())


def images(result):
    return np.nan_to_num(result.combined)


@QUICK
@given(sequences(), st.randoms(use_true_random=False))
def test_the_order_of_references_does_not_matter(sequence, random):
    order = list(range(sequence.n_references))
    random.shuffle(order)
    first = plan_reduction(sequence, PARAMS).reduce()
    second = plan_reduction(sequence.replace(references=sequence.references[order]), PARAMS).reduce()
    # the eigenvectors of 100 MJy/sr in double precision
    np.testing.assert_allclose(images(second), images(first), atol=1e-7)


@QUICK
@given(sequences(), st.floats(0.1, 100.0))
def test_a_brighter_reference_star_changes_nothing(sequence, factor):
    first = plan_reduction(sequence, PARAMS).reduce()
    second = plan_reduction(sequence.replace(references=sequence.references * factor), PARAMS).reduce()
    np.testing.assert_allclose(images(second), images(first), atol=1e-7)


@QUICK
@given(sequences(), st.floats(-5, 5), st.floats(-5, 5))
def test_rdi_is_linear_in_the_science(sequence, a, b):
    plan = plan_reduction(sequence, PARAMS)
    rng = np.random.default_rng(1)
    one, two = sequence.science, rng.normal(size=sequence.science.shape)
    found = images(plan.reduce(a * one + b * two, with_variance=False))
    expected = a * images(plan.reduce(one, with_variance=False)) + b * images(plan.reduce(two, with_variance=False))
    np.testing.assert_allclose(found, expected, atol=1e-9)


@QUICK
@given(sequences(bad=0.02))
def test_the_callers_arrays_are_not_changed_and_zero_flux_gives_the_same_bits(sequence):
    before = sequence.science.copy(), sequence.references.copy()
    plan = plan_reduction(sequence, PARAMS)
    first = plan.reduce()
    again = plan.reduce(sequence.science + 0.0)
    assert again.combined.tobytes() == first.combined.tobytes()
    np.testing.assert_array_equal(sequence.science, before[0])
    np.testing.assert_array_equal(sequence.references, before[1])


@QUICK
@given(sequences(), st.integers(8, 32), st.integers(8, 32))
def test_a_bad_pixel_is_bad_alone(sequence, x, y):
    science = sequence.science.copy()
    science[0, y, x] = np.nan
    residuals = plan_reduction(sequence.replace(science=science), PARAMS).reduce().residuals
    lost = np.isnan(residuals) & np.isfinite(plan_reduction(sequence, PARAMS).reduce().residuals)
    assert lost[:, 0, y, x].all() and lost.sum() == len(residuals)


@QUICK
@given(sequences(n_references=(4, 4)))
def test_more_modes_leave_less_of_the_star_in_the_fit(sequence):
    every = ReductionParams(truncations=(1, 2, 3, 4), recommended=4, zone_edges=())
    result = plan_reduction(sequence, every).reduce()
    left = np.nansum(result.residuals**2, axis=(1, 2, 3))
    assert (np.diff(left) <= 1e-9 * left[0]).all()


def smooth(cube: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(cube, (0, 2.5, 2.5))


@QUICK
@given(cubes(frames=(1, 1), side=(40, 56)), st.floats(-4, 4), st.floats(-4, 4))
def test_a_shift_and_back_is_the_image(cube, dx, dy):
    (image,) = smooth(cube)
    moved = shiftable(image, pad=24).shifted(dx, dy)
    back = shiftable(moved, pad=24).shifted(-dx, -dy)
    inside = (slice(12, -12), slice(12, -12))
    # light that went over the edge is lost; a smooth image of order one
    np.testing.assert_allclose(back[inside], image[inside], atol=5e-3)


@QUICK
@given(cubes(frames=(1, 1), side=(32, 40)), st.floats(-3, 3), st.floats(-3, 3), st.floats(0.5, 4))
def test_a_registered_frame_is_found_where_it_was_moved_to(cube, dx, dy, scale):
    ny, nx = cube.shape[1:]
    y, x = np.indices((ny, nx), dtype=float)
    star = 50 * np.exp(-0.5 * (((x - nx / 2) / 3) ** 2 + ((y - ny / 2) / 2.5) ** 2))
    moved = scale * 50 * np.exp(-0.5 * (((x - nx / 2 - dx) / 3) ** 2 + ((y - ny / 2 - dy) / 2.5) ** 2))
    found = register(moved, star, params=RegistrationParams(max_shift=8))
    assert found.converged.all()
    np.testing.assert_allclose(found.shift[0], (dx, dy), atol=2e-3)  # nothing of the star at the edges but 1e-5
    np.testing.assert_allclose(found.scale, scale, rtol=1e-3)


@QUICK
@given(st.floats(0, 360), st.floats(-2, 2), st.floats(-2, 2))
def test_turning_an_image_keeps_its_flux(pa, dx, dy):
    y, x = np.indices((61, 61), dtype=float)
    source = np.exp(-0.5 * ((x - 30 - dx) ** 2 + (y - 30 - dy) ** 2) / 2.5**2)
    grid = NorthUpGrid((101, 101), 0.11)
    turned = resampler(grid, np.array([30.0, 30.0]), pa, (0.11, 0.11), source.shape).images(source[np.newaxis])[0]
    # a quintic spline on a source of 2.5 pixels: 1e-6 of the light
    assert abs(np.nansum(turned) / source.sum() - 1) < 1e-5


@QUICK
@given(cubes(frames=(1, 1), side=(10, 20), bad=0.2))
def test_filling_bad_pixels_changes_only_them(cube):
    (image,) = cube
    filled = fill_bad(image)
    good = np.isfinite(image)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[good], image[good])
    if good.any():
        assert filled.min() >= image[good].min() - 1e-9 and filled.max() <= image[good].max() + 1e-9
