"""What holds for every image that is measured: scale, level, bad pixels, injections, arrays of the caller unchanged."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot.measure import Star, snr_map
from lyot.measure.masking import model_mask
from lyot.measure.noise import MIN_ELEMENTS, aperture_signal, aperture_sums, threshold_for
from lyot.measure.photometry import contrast_of, magnitude_of
from lyot.measure.stim import stim_ratio
from lyot.testing import cubes

FWHM = 3.0
QUICK = settings(max_examples=20, deadline=None)
IMAGES = cubes(frames=(1, 1), side=(41, 51))


def center_of(image):
    return (image.shape[1] // 2, image.shape[0] // 2)


@QUICK
@given(IMAGES, st.floats(1e-6, 1e6), st.floats(-10, 10))
def test_signal_to_noise_knows_no_unit_and_no_level(cube, scale, level):
    (image,) = cube
    first = snr_map(image, center_of(image), FWHM)
    second = snr_map(scale * (image + level), center_of(image), FWHM)
    # differences of aperture sums of order ten, in double precision
    np.testing.assert_allclose(second.snr, first.snr, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(second.noise, scale * first.noise, rtol=1e-6)
    np.testing.assert_array_equal(second.elements, first.elements)


@QUICK
@given(cubes(frames=(1, 1), side=(41, 51), bad=0.05))
def test_the_callers_image_is_not_changed_and_nothing_is_infinite(cube):
    (image,) = cube
    before = image.copy()
    found = snr_map(image, center_of(image), FWHM)
    np.testing.assert_array_equal(image, before)
    assert not np.isinf(found.snr).any() and (found.noise[np.isfinite(found.noise)] > 0).all()


@QUICK
@given(IMAGES, st.floats(0, 360), st.floats(8, 15), st.floats(-3, 3))
def test_the_signal_of_a_sum_is_the_sum_of_the_signals(cube, angle, radius, factor):
    (image,) = cube
    x0, y0 = center_of(image)
    where = np.array([[x0 + radius * np.cos(np.radians(angle)), y0 + radius * np.sin(np.radians(angle))]])
    y, x = np.indices(image.shape)
    source = np.exp(-0.5 * ((x - where[0, 0]) ** 2 + (y - where[0, 1]) ** 2) / 1.5)
    one, two, both = (aperture_signal(i, (x0, y0), FWHM, where)[0] for i in (image, source, image + factor * source))
    assert np.isclose(both, one + factor * two, atol=1e-9)


@QUICK
@given(IMAGES, st.integers(-3, 3), st.integers(-3, 3))
def test_aperture_sums_move_with_the_image(cube, dx, dy):
    (image,) = cube
    moved = np.roll(image, (dy, dx), axis=(0, 1))
    inside = (slice(8, -8), slice(8, -8))
    expected = np.roll(aperture_sums(image, FWHM), (dy, dx), axis=(0, 1))
    np.testing.assert_allclose(aperture_sums(moved, FWHM)[inside], expected[inside], atol=1e-9)


@QUICK
@given(st.floats(1, 7), st.integers(MIN_ELEMENTS, 200))
def test_fewer_elements_need_a_higher_threshold(sigma, elements):
    assert threshold_for(sigma, elements) >= threshold_for(sigma, elements + 1) > sigma


@QUICK
@given(IMAGES, st.floats(0.1, 5), st.floats(0.1, 5))
def test_a_lower_level_masks_no_less(cube, level, more):
    model = np.abs(cube[0])
    noise = np.ones(model.shape)
    wide = model_mask(model, noise, FWHM, level=level)
    assert (model_mask(model, noise, FWHM, level=level + more) <= wide).all()


@QUICK
@given(st.floats(1e-7, 1e-1), st.floats(1e-3, 10), st.floats(0.1, 100))
def test_magnitudes_and_contrast_of_a_flux(flux, star, zero):
    difference = float(magnitude_of(flux, zero)) - float(magnitude_of(star, zero))
    assert np.isclose(10 ** (-0.4 * difference), contrast_of(flux, Star(star, 0.0, "given")), rtol=1e-9)


@QUICK
@given(cubes(frames=(4, 8), side=(12, 16)), st.floats(0.1, 100))
def test_stim_knows_no_unit_and_no_order(cube, scale):
    first = stim_ratio(cube)
    np.testing.assert_allclose(stim_ratio(scale * cube[::-1]), first, rtol=1e-9, atol=1e-12)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.floats(0.8, 2.5), st.floats(0, 360), st.floats(1, 50))
def test_an_injection_is_linear_and_of_zero_flux_the_same_bits(seed, separation, angle, flux):
    from tests.measure.conftest import injector_for, make_sequence

    injector = injector_for(make_sequence(seed))
    east, north = separation * np.sin(np.radians(angle)), separation * np.cos(np.radians(angle))
    assert injector.inject([(east, north, 0.0)]).tobytes() == injector.image.tobytes()
    with_source = injector.inject([(east, north, flux)])
    # the forward model of the linear reduction is the difference, to 1e-13 of the brightest pixel of 50
    np.testing.assert_allclose(with_source - injector.image, flux * injector.forward(east, north), atol=1e-7)
    x, y = injector.pixel(east, north)
    np.testing.assert_allclose(injector.sky(x, y), (east, north), atol=1e-12)
