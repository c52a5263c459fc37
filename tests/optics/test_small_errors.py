"""The star as a function of small offsets and wavefront errors, beside the full propagation."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.geometry import offset_grid
from lyot.optics import CoronagraphModel, OpticsParams, Wavefront
from lyot.optics.small_errors import SmallErrors, small_errors, wavefront_modes

PIXELS = 96


@pytest.fixture(scope="module")
def model() -> CoronagraphModel:
    return CoronagraphModel.build("F1550C", OpticsParams(n_wavelengths=2, pupil_pixels=PIXELS))


@pytest.fixture(scope="module")
def modes() -> list[Wavefront]:
    return wavefront_modes(n=12, npix=PIXELS)


@pytest.fixture(scope="module")
def near(model) -> np.ndarray:
    dx, dy = offset_grid(model.coronagraph.shape, model.coronagraph.reference_point)
    return np.hypot(dx, dy) < 9


@pytest.fixture(scope="module")
def fields(model, modes, near) -> SmallErrors:
    c = model.coronagraph
    dx, dy = offset_grid(c.shape, c.reference_point)
    return small_errors(model, (dx[near] * c.pixel_scale[0], dy[near] * c.pixel_scale[1]), modes)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (5.0, -3.0), (15.0, 10.0)])
def test_offsets_of_a_perfect_star(model, fields, near, offset):
    flat = Wavefront.flat(PIXELS)
    expected = model.psf((offset[0] * 1e-3, offset[1] * 1e-3), wavefront=flat)[near]
    # the pixel's quadrature and the third order in 18 mas are each of the order of 1e-4 of the peak
    np.testing.assert_allclose(fields.image(offset, np.zeros(12)), expected, atol=3e-4 * expected.max())


def test_a_wavefront_with_all_modes(model, modes, fields, near):
    z = np.random.default_rng(3).normal(size=12)
    wavefront = Wavefront(sum(a * m.opd for a, m in zip(z, modes, strict=True)))
    expected = model.psf((5e-3, -3e-3), wavefront=wavefront)[near]
    # second order of a hundred nm at 15.5 um: (2 pi 0.1 / 15.5)^2 = 0.0016 of the field, some fifteen times more of
    # what is left (measured 2.1 %)
    np.testing.assert_allclose(fields.image((5.0, -3.0), z), expected, atol=0.03 * expected.max())


def test_slopes_are_derivatives(fields):
    z = np.random.default_rng(4).normal(size=12)
    image, slopes = fields.image_with_slopes((4.0, -2.0), z)
    np.testing.assert_allclose(image, fields.image((4.0, -2.0), z))
    for k, (dx, dy, dz) in enumerate([(1e-4, 0, 0), (0, 1e-4, 0), (0, 0, 1e-4)]):
        step = dz * np.eye(12)[5]
        there = fields.image((4.0 + dx, -2.0 + dy), z + step)
        back = fields.image((4.0 - dx, -2.0 - dy), z - step)
        slope = slopes[7 if k == 2 else k]
        # central differences of a quartic polynomial at 1e-4: rounding is the larger part
        np.testing.assert_allclose((there - back) / 2e-4, slope, atol=1e-6 * np.abs(slope).max())


def test_modes_are_uncorrelated_and_without_pointing(model, modes):
    amplitude = model.pupil.amplitude
    y, x = np.meshgrid(model.pupil.coordinates, model.pupil.coordinates, indexing="ij")
    rms = [m.rms_nm for m in modes]
    assert rms == sorted(rms, reverse=True)
    assert 90 < np.sqrt(np.sum(np.square(rms))) < 125  # the strongest dozen of 120 nm, the mean of a few taken off
    products = np.array([[np.sum(a.opd * b.opd * amplitude) for a in modes] for b in modes])
    scale = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    assert np.abs(products / scale - np.eye(12)).max() < 1e-6
    for m in modes:
        for along in (x, y, np.ones_like(x)):
            slope = np.sum(m.opd * along * amplitude)
            assert abs(slope) < 1e-6 * np.sqrt(np.sum(m.opd**2 * amplitude) * np.sum(along**2 * amplitude))
