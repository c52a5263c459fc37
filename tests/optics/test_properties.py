"""What holds for every source and every wavefront behind the coronagraph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot.optics import CoronagraphModel, OpticsParams, Wavefront, drifted, realistic_wavefront
from lyot.optics.propagate import ARCSEC, fourier_matrix, two_sided
from lyot.testing import source_offsets, wavefronts

QUICK = settings(max_examples=8, deadline=None)


@pytest.fixture(scope="module")
def model():
    return CoronagraphModel.build("F1550C", OpticsParams(n_wavelengths=1))


@settings(max_examples=25, deadline=None)
@given(source_offsets(), st.none() | wavefronts(npix=256))
def test_light_is_lost_and_not_made(model, offset, wavefront):
    # the mask carries light from the stop's margin into its opening: a few percent more than one in places
    assert 0 <= model.energy(offset, wavefront=wavefront) < 1.1


@QUICK
@given(source_offsets(radius=(1.0, 6.0)))
def test_a_source_and_its_mirror_lose_the_same(model, offset):
    """The mask has the symmetry of a point; pupil and stop that of a line, and the wavefront none of its own here."""
    flat = Wavefront.flat(model.pupil.amplitude.shape[0])
    one, two = (model.energy(o, wavefront=flat) for o in (offset, (-offset[0], -offset[1])))
    # the pupil is not symmetric about its center: a percent
    assert one == pytest.approx(two, abs=0.02)


@QUICK
@given(source_offsets(radius=(1.5, 4.0), from_boundary=25.0))
def test_an_image_is_light_and_lies_at_its_source(model, offset):
    stamp = model.off_axis_psf(offset, size=41)
    assert (stamp >= 0).all() and 0.2 < stamp.sum() < 1.1
    y, x = np.indices(stamp.shape) - 20.0
    near = np.hypot(x, y) < 4
    middle = [(stamp[near] * a[near]).sum() / stamp[near].sum() for a in (x, y)]
    assert np.hypot(*middle) < 0.4  # away from the boundaries, which draw the light to one side


@QUICK
@given(source_offsets(radius=(2.0, 4.0)), st.integers(-3, 3), st.integers(-3, 3))
def test_a_whole_pixel_moves_the_stamp_by_a_pixel(model, offset, dx, dy):
    plain = model.off_axis_psf(offset, size=41)
    moved = model.off_axis_psf(offset, size=41, phase=(dx, dy))
    inside = (slice(6, 35), slice(6, 35))
    # the same points of the image, interpolated from grids that begin elsewhere
    np.testing.assert_allclose(np.roll(moved, (-dy, -dx), axis=(0, 1))[inside], plain[inside], atol=1e-5 * plain.max())


@QUICK
@given(st.integers(0, 10**6), st.floats(1, 200))
def test_a_wavefront_has_the_rms_that_is_asked_for(seed, rms):
    wavefront = realistic_wavefront(seed, rms, npix=64)
    assert wavefront.rms_nm == pytest.approx(rms, rel=1e-9)
    again = realistic_wavefront(seed, rms, npix=64)
    np.testing.assert_array_equal(wavefront.opd, again.opd)


@QUICK
@given(wavefronts(), st.integers(0, 10**6))
def test_a_drift_has_the_rms_that_is_asked_for(wavefront, seed):
    before = wavefront.opd.copy()
    after = drifted(wavefront, 2.0, seed)
    np.testing.assert_array_equal(wavefront.opd, before)
    assert Wavefront(after.opd - wavefront.opd).rms_nm == pytest.approx(2.0, rel=1e-6)


@QUICK
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(-3, 3))
def test_the_mask_is_linear_in_the_field(model, seed, a, b):
    rng = np.random.default_rng(seed)
    n = model.pupil.amplitude.shape[0]
    one, two = (rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)) for _ in range(2))
    found = model.behind_mask(a * one + b * two, 0)
    expected = a * model.behind_mask(one, 0) + b * model.behind_mask(two, 0)
    np.testing.assert_allclose(found, expected, atol=1e-9)  # sums of order one over some hundred points


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 12))
def test_a_fourier_transform_keeps_the_light(seed, n):
    """On a full grid of angles the matrix is unitary, but for its scale."""
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    coordinates = np.arange(n) - (n - 1) / 2
    matrix = fourier_matrix(coordinates / n / ARCSEC, coordinates, 1.0)
    scale = np.abs(matrix @ matrix.conj().T)[0, 0]
    np.testing.assert_allclose(matrix @ matrix.conj().T, scale * np.eye(n), atol=1e-9 * scale)
    image = two_sided(matrix, field, matrix.T)
    assert np.sum(np.abs(image) ** 2) == pytest.approx(scale**2 * np.sum(np.abs(field) ** 2), rel=1e-9)
