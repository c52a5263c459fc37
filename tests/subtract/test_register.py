"""Registration: accuracy, capture range, masks, uncertainties; and the official steps reproduced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot import geometry
from lyot.errors import InputError, ReductionError
from lyot.subtract.compatibility import official_klip
from lyot.subtract.fourier import shiftable
from lyot.subtract.register import Registration, RegistrationParams, align, register
from tests.subtract.conftest import speckles

SHAPE = (96, 100)


def star_image(x: float, y: float, *, shape=SHAPE) -> np.ndarray:
    """An analytic band-limited star with rings and lumps, so that shifting it is exact."""
    dx, dy = geometry.offset_grid(shape, (x, y))
    r2 = dx**2 + dy**2
    lumps = 1 + 0.5 * np.cos(0.5 * dx + 0.2) * np.cos(0.4 * dy) + 0.3 * np.sin(0.3 * (dx + dy))
    return 100 * np.exp(-r2 / (2 * 9.0**2)) * lumps + 40 * np.exp(-r2 / (2 * 2.0**2))


SHIFTS = [(0.0, 0.0), (0.137, -0.312), (-0.9, 0.45), (2.6, -3.3)]


def test_shifts_and_scales_are_found_to_a_thousandth_of_a_pixel():
    science = star_image(48.2, 47.1)
    frames = np.array([1.7 * star_image(48.2 + dx, 47.1 + dy) for dx, dy in SHIFTS])
    found = register(frames, science)
    assert found.converged.all()
    # the figure asked for; noise free, the rest is the padding's ramp
    np.testing.assert_allclose(found.shift, SHIFTS, atol=1e-3)
    np.testing.assert_allclose(found.scale, 1.7, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(dx=st.floats(-12, 12), dy=st.floats(-12, 12), scale=st.floats(0.2, 5.0))
def test_capture_range_is_ten_pixels_and_more(dx, dy, scale):
    rng = np.random.default_rng(3)
    science = star_image(48.2, 47.1) + rng.normal(scale=0.1, size=SHAPE)
    frame = scale * star_image(48.2 + dx, 47.1 + dy) + rng.normal(scale=0.1, size=SHAPE)
    found = register(frame, science)
    assert found.converged[0]
    # noise of 0.1 against gradients of tens leaves a few 1e-4 px (scale 0.2: 1e-3); five times that
    np.testing.assert_allclose(found.shift[0], (dx, dy), atol=8e-3)


def test_bad_pixels_and_masks_do_not_spoil_it():
    rng = np.random.default_rng(4)
    science, frame = star_image(48.2, 47.1), 2.0 * star_image(48.6, 46.9)
    science[rng.random(SHAPE) < 0.02] = np.nan
    frame[rng.random(SHAPE) < 0.02] = np.nan
    frame[:, 80:] = 1e4
    weight = np.ones(SHAPE)
    weight[:, 70:] = 0
    found = register(frame, science, weight=weight)
    # filled science pixels enter the shifted template: a few 1e-3 px for 2 % of bad pixels
    np.testing.assert_allclose(found.shift[0], (0.4, -0.2), atol=1e-2)


def test_uncertainties_are_the_scatter():
    science = star_image(48.2, 47.1)
    rng = np.random.default_rng(5)
    frames = star_image(48.3, 47.1) + rng.normal(scale=3.0, size=(60, *SHAPE))
    found = register(frames, science)
    scatter = found.shift.std(axis=0)
    # 60 draws give the scatter to 9 %; three times that
    np.testing.assert_allclose(found.uncertainty[:, :2].mean(axis=0), scatter, rtol=0.28)


def test_nothing_comes_in_from_the_other_side():
    image = np.zeros(SHAPE)
    image[:, :6] = 100.0
    moved = shiftable(image, pad=24).shifted(-5.0, 0.0)
    # what a periodic shift would bring in at the far edge is 100
    assert np.abs(moved[:, -8:]).max() < 1.0


def test_align_brings_frames_back_and_keeps_bad_pixels():
    science = star_image(48.2, 47.1)
    frame = star_image(50.5, 45.7)
    frame[30, 40] = np.nan
    found = register(frame, science)
    back = align(frame[np.newaxis], found)[0]
    assert np.isnan(back[31, 38]) and np.isnan(back).sum() == 1
    inner = geometry.radius_map(SHAPE, (48.2, 47.1)) < 30
    # peak 170; a thousandth of it, the error of the filled pixel next to which the image curves
    assert np.nanmax(np.abs(back - science)[inner]) < 0.2


def test_variances_stay_positive():
    variance = np.ones((1, *SHAPE))
    variance[0, 40, 40] = 1e4
    registration = Registration(np.array([[0.3, 0.4]]), np.ones(1), np.zeros((1, 3, 3)), np.zeros(1), np.ones(1, bool))
    assert align(variance, registration, variance=True).min() > 0


def test_a_hopeless_frame_is_marked():
    found = register(np.full((1, *SHAPE), np.nan), star_image(48, 47))
    assert not found.converged[0]
    with pytest.raises(ReductionError, match="no good pixel"):
        register(np.ones((1, *SHAPE)), np.full(SHAPE, np.nan))
    with pytest.raises(InputError, match="must agree"):
        register(np.ones((1, 5, 5)), np.ones(SHAPE))


def test_scale_only():
    science = star_image(48.2, 47.1)
    found = register(3 * science, science, params=RegistrationParams(max_shift=0.0))
    assert found.scale[0] == pytest.approx(3.0, rel=1e-9) and not found.shift.any()


@pytest.fixture(scope="module")
def noisy_cubes():
    rng = np.random.default_rng(6)
    cube = speckles(rng, 14, shape=(60, 64)) + rng.normal(scale=0.5, size=(14, 60, 64))
    moved = [shiftable(f, pad=0).shifted(*rng.uniform(-0.4, 0.4, 2)) for f in cube[3:]]
    return cube[:3], np.array(moved)


@pytest.mark.parametrize("truncate", [1, 5, 11, 50])
def test_official_klip(noisy_cubes, truncate):
    official = pytest.importorskip("jwst.coron.klip")
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    science, references = noisy_cubes
    with datamodels.CubeModel(science) as target, datamodels.CubeModel(references) as refs:
        result, psf = official.klip(target, refs, truncate)
        expected, model = result.data, psf.data
    residuals, our_psf = official_klip(science, references, truncate=truncate)
    # the official result is stored in float32
    np.testing.assert_allclose(residuals, expected, atol=1e-5 * np.abs(science).max())
    np.testing.assert_allclose(our_psf, model, atol=1e-5 * np.abs(science).max())


def test_official_steps_refuse_bad_pixels(noisy_cubes):
    science, references = noisy_cubes
    broken = references.copy()
    broken[0, 3, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        official_klip(science, broken, truncate=3)
