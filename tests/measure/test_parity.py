"""Numbers of VIP 2.1.1 and pyKLIP 2.10.1 on arrays made here, from `benchmarks/measure_parity.py`'s set-up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lyot.measure.contrast import noise_profile
from lyot.measure.noise import snr_map, t_to_gaussian, threshold_for

FWHM, SIZE, CENTER = 4.4, 121, (60.0, 60.0)

VIP_NOISE = {12: 11.125, 18: 9.701, 24: 10.426, 30: 12.799, 36: 13.713, 42: 11.939, 48: 11.788}
"""``noise_per_annulus`` of the smoothed noise, radius in pixels."""

VIP_SIGNIFICANCE = {8.0: (3.413, 11.836), 12.0: (3.784, 8.225), 20.0: (4.160, 6.530), 40.0: (4.521, 5.655)}
"""``significance`` of 5: Gaussian sigmas of a Student S/N of 5, and the S/N of 5 Gaussian sigmas."""

PYKLIP_CONTRAST = {16.8: 0.9266, 23.4: 0.8625, 30.0: 0.8199, 36.6: 0.7433, 43.2: 0.7883, 49.8: 0.8813}
"""``meas_contrast`` of the white noise."""


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(1)
    white = rng.normal(size=(SIZE, SIZE))
    return white, ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), FWHM / 2.355) * 6


def test_noise_of_annuli(arrays):
    radii = np.array(list(VIP_NOISE), float)
    ours, _ = noise_profile(snr_map(arrays[1], CENTER, FWHM, guard=0), CENTER, radii)
    ratio = ours / np.array(list(VIP_NOISE.values()))
    # VIP takes one set of 17 to 68 apertures on the ring (its scatter is known to 18 % and better), ours all of them;
    # ours has the factor sqrt(1 + 1/n) of one more aperture in it
    assert np.median(ratio) == pytest.approx(1.02, abs=0.03)
    assert np.abs(ratio - 1).max() < 0.1


def test_statistics_of_few_samples():
    for radius, (sigmas, limit) in VIP_SIGNIFICANCE.items():
        n = int(2 * np.pi * radius / FWHM)
        # VIP does not round the number of apertures down; at 8 pixels, with 11 of them, that is 5 % of the limit
        assert float(t_to_gaussian(np.array([5.0]), np.array([n - 2]))[0]) == pytest.approx(sigmas, abs=0.04)
        assert float(threshold_for(5.0, n - 1)) == pytest.approx(limit, rel=0.05 if radius < 10 else 0.007)


def test_raw_contrast(arrays):
    radii = np.array(list(PYKLIP_CONTRAST))
    sigma = FWHM / 2.355
    theirs = (
        np.array(list(PYKLIP_CONTRAST.values())) * 4 * np.pi * sigma**2
    )  # flux of a Gaussian with that smoothed peak
    noise, elements = noise_profile(snr_map(arrays[0], CENTER, FWHM, guard=0), CENTER, radii)
    ours = threshold_for(5.0, elements) * noise / 0.5  # an aperture of one width holds half of a Gaussian
    # on white noise: sqrt(pi) / 2 x width of noise over half the light, against 2 sqrt(pi) sigma of a Gaussian filter
    expected = np.sqrt(np.pi) * FWHM / (2 * np.sqrt(np.pi) * sigma)
    assert np.median(ours / theirs) == pytest.approx(expected, rel=0.04)
    assert np.abs(ours / theirs / expected - 1).max() < 0.2
