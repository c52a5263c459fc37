"""Fluxes, magnitudes, masses."""

import numpy as np
import pytest

from lyot.errors import InputError
from lyot.measure import Star
from lyot.measure.photometry import Bandpass, contrast_of, magnitude_of


def test_magnitudes():
    assert magnitude_of(29.66, 29.66) == pytest.approx(0.0)
    assert magnitude_of(2.966, 29.66) == pytest.approx(2.5)
    assert np.isnan(magnitude_of(-1.0, 29.66))
    star = Star.from_magnitude(5.0, 29.66, 0.1)
    assert star.flux == pytest.approx(0.2966)
    assert star.error / star.flux == pytest.approx(0.0921, rel=1e-3)  # 0.1 mag x ln(10)/2.5


def test_contrast_is_unknown_without_the_star():
    assert np.isnan(contrast_of(1.0, Star()))
    assert contrast_of(1e-5, Star(0.1)) == pytest.approx(1e-4)


def test_sed_of_a_power_law():
    w = np.linspace(8, 20, 50)
    star = Star.from_sed(w[::-1], (10.0 / w[::-1]) ** 2, (11.3, 0.6), 0.05)
    # in closed form: int w^-3 dw / int w^-1 dw; interpolation in log-log is exact for a power law
    low, high = 11.0, 11.6
    expected = 100 * 0.5 * (low**-2 - high**-2) / np.log(high / low)
    assert star.flux == pytest.approx(expected, rel=1e-4)  # sum over 201 points
    assert star.error == pytest.approx(0.05 * star.flux)


def test_bad_stars():
    with pytest.raises(InputError, match="positive flux"):
        Star(-1.0)
    with pytest.raises(InputError, match="must reach"):
        Star.from_sed([5, 11.2], [1, 1], (11.3, 0.6))


def test_coarse_bandpass():
    w = np.linspace(5, 30, 3000)
    # three points: a triangle, whose variance is twice a top hat's of half the base: second order in width / wavelength
    triangle = Bandpass(np.array([10.0, 11.0, 12.0]), np.array([0.0, 1.0, 0.0])).mean_flux(w, w**-2.0)
    narrow = Bandpass.top_hat(11.0, 0.01).mean_flux(w, w**-2.0)
    # (width / wavelength)^2
    assert narrow == pytest.approx(11.0**-2, rel=1e-4)
    # the fourth order
    assert triangle == pytest.approx(11.0**-2 * (1 + (6 - 1) * (1 / 6) / 121), rel=1e-3)
    with pytest.raises(InputError, match="transmission above 0"):
        Bandpass(np.array([1.0, 2.0]), np.zeros(2))
    with pytest.raises(InputError, match="two or more"):
        Bandpass(np.array([1.0]), np.ones(1))
