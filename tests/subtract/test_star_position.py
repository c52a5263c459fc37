"""The star's position from the fit of the optical model: other wavefronts than its own, planets, and poor data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyot.errors import InputError, ReductionError
from lyot.geometry import offset_grid
from lyot.optics import CoronagraphModel, OpticsParams, drifted, realistic_wavefront
from lyot.optics.small_errors import small_errors, wavefront_modes
from lyot.subtract.star_position import StarFitParams, fit_star

PIXELS = 96
DITHERS = np.array([[0, 0], [10, 0], [-10, 10], [0, -10], [-10, 0]], dtype=float)
TRUE = np.vstack([[4.0, -5.0], DITHERS + np.array([2.0, -1.0])])


class Setup:
    """Science and references with a wavefront that the fit does not know, on the pixels near the mask."""

    def __init__(self) -> None:
        self.model = CoronagraphModel.build("F1550C", OpticsParams(n_wavelengths=2, pupil_pixels=PIXELS))
        c = self.model.coronagraph
        dx, dy = offset_grid(c.shape, c.reference_point)
        self.dx, self.dy = dx * c.pixel_scale[0], dy * c.pixel_scale[1]
        self.near = np.hypot(self.dx, self.dy) < StarFitParams().radius
        self.fields = small_errors(
            self.model, (self.dx[self.near], self.dy[self.near]), wavefront_modes(n=40, npix=PIXELS)
        )
        rng = np.random.default_rng(8)
        static = realistic_wavefront(rng, 120.0, npix=PIXELS)
        images = []
        for e, (x, y) in enumerate(TRUE):
            wavefront = drifted(static, 4.0 if e else 0.5, rng)
            brightness = 3.0 if e else 1.0
            images.append(brightness * self.model.psf((x * 1e-3, y * 1e-3), wavefront=wavefront)[self.near])
        self.frames = 1e5 * np.array(images) + 3.0
        self.variance = np.full(self.frames.shape, 0.01)
        self.frames += rng.normal(scale=0.1, size=self.frames.shape)


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup()


def test_offsets_and_their_differences(setup):
    fit = fit_star(setup.frames, setup.fields, variance=setup.variance)
    assert fit.believed, fit.reason
    # three of its own errors (1.7 mas, the floor included): what an unknown wavefront of 120 nm leaves
    assert np.all(np.abs(fit.offset - TRUE) < 3 * fit.error)
    assert np.all((fit.error > 1.5) & (fit.error < 4))
    wrong = (fit.offset - TRUE) - (fit.offset - TRUE).mean(axis=0)
    # differences do not depend on the static wavefront; a drift of 4 nm looks like some tenths of a mas
    assert np.abs(wrong).max() < 1.5
    np.testing.assert_allclose(fit.flux[1:] / fit.flux[0], 3.0, rtol=0.02)


def test_a_planet_bad_pixels_and_a_background_hardly_move_it(setup):
    clean = fit_star(setup.frames, setup.fields, variance=setup.variance)
    frames = setup.frames.copy()
    planet = 1e5 * 7e-4 * setup.model.psf((0.45, 0.69))[setup.near]
    pattern = np.exp(-0.5 * (setup.dy[setup.near] / 0.3) ** 2)
    frames[0] += planet + 8.0 * pattern
    frames[:, ::37] = np.nan
    fit = fit_star(frames, setup.fields, variance=setup.variance, background=pattern)
    assert fit.believed
    # the planet moves the science's offset by 0.9 mas, half of its error; the references follow by less
    assert np.abs(fit.offset - clean.offset).max() < 1.3


def test_a_star_unlike_the_model_is_not_believed(setup):
    blob = 1e3 * np.exp(-(setup.dx**2 + setup.dy**2)[setup.near] / 0.2)
    fit = fit_star(blob, setup.fields)
    assert not fit.believed and ("of the starlight" in fit.reason or "converge" in fit.reason)
    assert len(f"model: {fit.reason}") <= 68  # a card of a header holds no more
    nothing = fit_star(-setup.frames[:1], setup.fields, variance=setup.variance[:1])
    assert not nothing.believed


def test_noise_is_not_the_models_fault(setup):
    rng = np.random.default_rng(2)
    sigma = 0.3 * float(np.sqrt(np.mean(setup.frames[0] ** 2)))
    frames = setup.frames + rng.normal(scale=sigma, size=setup.frames.shape)
    fit = fit_star(frames, setup.fields, variance=np.full(frames.shape, sigma**2))
    # noise of 30 % of the science's light; its own scatter over 800 pixels leaves a quarter of that
    assert fit.residual[0] < 0.12
    assert fit.believed


def test_far_offsets_are_not_believed(setup):
    params = replace(StarFitParams(), largest_offset=3.0)
    fit = fit_star(setup.frames[1:], setup.fields, variance=setup.variance[1:], params=params)
    assert not fit.believed and "mas from" in fit.reason


def test_frames_that_cannot_be_fitted(setup):
    with pytest.raises(InputError, match="pixels"):
        fit_star(setup.frames[:, :-1], setup.fields)
    with pytest.raises(ReductionError, match="good pixels"):
        fit_star(np.full_like(setup.frames, np.nan), setup.fields)
