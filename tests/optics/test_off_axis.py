"""Quick images of sources are those of the model."""

import numpy as np
import pytest

from lyot.errors import InputError
from lyot.optics import CoronagraphModel, OpticsParams
from lyot.optics.off_axis import SourceImager

PLACES = [(0.45, 0.2), (1.1, -0.9), (-2.9, 1.3), (1.7, -0.14), (-0.3, 4.6)]  # the fourth lies on a boundary
PHASE = (0.31, -0.44)


@pytest.mark.parametrize("name", ["F1140C", "F1550C", "F2300C"])
def test_same_samples_give_the_same_image(name):
    model = CoronagraphModel.build(name, OpticsParams(pupil_pixels=128, n_wavelengths=2))
    imager = SourceImager.build(model, size=41)
    for place in PLACES:
        exact = model.off_axis_psf(place, size=41, phase=PHASE)
        # single precision: 1e-7 of the brightest amplitude
        np.testing.assert_allclose(imager(place, PHASE), exact, atol=3e-6 * exact.max())


@pytest.mark.parametrize("name", ["F1065C", "F1550C", "F2300C"])
def test_half_the_samples_in_the_lyot_plane_are_enough(name):
    model = CoronagraphModel.build(name, OpticsParams(n_wavelengths=1))
    imager = SourceImager.build(model, size=41)
    unit = model.off_axis_psf((6.0, 6.0), size=41).max()
    for place in PLACES:
        exact = model.off_axis_psf(place, size=41, phase=PHASE)
        # what LYOT_PIXELS states, in units of a source in the open field: light through the mask is dimmer than that
        # (measured 0.6e-3 to 1.1e-3)
        assert np.abs(imager(place, PHASE) - exact).max() < 1.5e-3 * unit
        assert imager(place, PHASE).sum() == pytest.approx(exact.sum(), abs=2e-3)


def test_size_must_be_odd():
    with pytest.raises(InputError, match="odd"):
        SourceImager.build(CoronagraphModel.build("F1550C", OpticsParams(pupil_pixels=64)), size=40)
