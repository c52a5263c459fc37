"""What the headers of a product say about the star's position, and limits behind an opaque spot."""

from types import SimpleNamespace

import numpy as np
import pytest

from lyot.analysis.combined_image import CombinedImage, star_error
from lyot.analysis.measurements import _without_spot
from lyot.measure.contrast import ContrastCurve, Responses


def image_with(primary, header=None):
    return CombinedImage(np.zeros((3, 3)), header or {}, primary, (1.0, 1.0), 0.11, 4.4)


def test_error_of_the_star_from_the_headers():
    assert star_error(image_with({})) is None
    assert star_error(image_with({"STARERRX": 3.0}, {"STARERRY": 4.0})) == pytest.approx(np.sqrt(12.5) * 1e-3)
    assert star_error(image_with({"STARERRX": float("nan"), "STARERRY": "?"})) is None


def test_no_limits_behind_a_spot():
    separation = np.array([1.0, 2.0, 3.0])
    one, angles = np.ones(3), np.zeros((3, 2))
    curve = ContrastCurve(separation, one, one, one, one, one, np.array([9, 9, 9]), one, one, angles + 1,
                          Responses(separation, angles, angles + 1), 5.0, 0.7, None)  # fmt: skip
    run = SimpleNamespace(sequence=SimpleNamespace(injector=SimpleNamespace(center=(40.0, 40.0), pixel_scale=0.1)))
    hidden, limits = _without_spot(curve, np.ones((81, 81)), run, 2.125)
    np.testing.assert_array_equal(np.isnan(hidden.flux_limit), [True, True, False])
    np.testing.assert_array_equal(np.isnan(hidden.limits).any(axis=1), [True, True, False])
    assert np.isfinite(hidden.noise).all()
    assert np.isnan(limits[40, 60]) and limits[40, 62] == 1  # 2.0 and 2.2 arcsec from the star
