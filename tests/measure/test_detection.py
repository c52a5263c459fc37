"""S/N maps and detections on images whose answer is known."""

import numpy as np
import pytest
from scipy import ndimage, stats

from lyot.errors import InputError, LyotWarning
from lyot.geometry import detector_offset, offset_grid
from lyot.measure import DetectionParams, detect_sources, noise, snr_map
from lyot.measure.detection import away_from_edges
from lyot.measure.noise import aperture_kernel, ring_means, ring_statistics, t_to_gaussian
from lyot.measure.source_snr import source_snr

FWHM = 4.5
CENTER = (60.3, 59.1)
SCALE = 0.11


def noise_image(seed, shape=(121, 121)):
    # white noise smoothed over far less than an aperture, so that aperture sums one FWHM apart are independent
    return np.random.default_rng(seed).normal(size=shape)


def add_source(image, sep, pa, peak):
    dx, dy = detector_offset(sep / SCALE, pa, 0.0)
    gx, gy = offset_grid(image.shape, (CENTER[0] + dx, CENTER[1] + dy))
    return image + peak * np.exp(-4 * np.log(2) * (gx**2 + gy**2) / FWHM**2)


def test_means_of_rings_of_many_images_are_those_of_each():
    rng = np.random.default_rng(8)
    values = rng.normal(size=(3, 61, 70))
    values[:, :5] = np.nan
    values[1, 20:30, 40:44] = np.nan
    values[2, 3:-3] = np.nan  # almost nothing is left
    found = ring_means(values, (33.3, 29.8), 4.4)
    one_by_one = [ring_statistics(v, np.zeros(v.shape, bool), (33.3, 29.8), 4.4)[0] for v in values]
    # a sum divided once and a running mean differ by the rounding of some hundred additions of values near 1
    np.testing.assert_allclose(found, np.stack(one_by_one), rtol=0, atol=1e-13)
    assert np.isfinite(found[0]).mean() > 0.5


def test_aperture_area():
    # sub-pixel sampling on a grid of 10: area to 1 %
    assert aperture_kernel(FWHM).sum() == pytest.approx(np.pi * FWHM**2 / 4, rel=0.01)


def test_snr_follows_students_t():
    values, dof = [], []
    for seed in range(30):
        s = snr_map(noise_image(seed), CENTER, FWHM, guard=0)
        # one pixel per resolution element, at small separation where the correction matters
        for pa in np.arange(0, 360, 60):
            dx, dy = detector_offset(2 * FWHM, pa, 0.0)
            iy, ix = round(CENTER[1] + dy), round(CENTER[0] + dx)
            values.append(s.snr[iy, ix])
            dof.append(s.elements[iy, ix] - 1)
    p = stats.t.cdf(values, dof)
    # 180 draws of a uniform variable: the Kolmogorov-Smirnov test rejects wrong statistics at 0.1 %
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_scaling_and_offset_do_not_change_snr():
    image = noise_image(1)
    a, b = snr_map(image, CENTER, FWHM), snr_map(7.0 * image + 100.0, CENTER, FWHM)
    np.testing.assert_allclose(a.snr, b.snr, rtol=1e-6, atol=1e-6)  # float64 sums of offsets 100 times the scatter


def _ring_of(values, excluded, x, y, spacing, guard):
    """The definition: mean, scatter and number of the pixels on the ring through (x, y), one by one."""
    r, t = np.hypot(x - CENTER[0], y - CENTER[1]), np.arctan2(y - CENTER[1], x - CENTER[0])
    n = int(2 * np.pi * r / spacing)
    found = []
    for k in range(1 + guard, n - guard):
        u = t + 2 * np.pi * k / n
        i, j = round(CENTER[1] + r * np.sin(u)), round(CENTER[0] + r * np.cos(u))
        if 0 <= i < values.shape[0] and 0 <= j < values.shape[1] and not excluded[i, j] and np.isfinite(values[i, j]):
            found.append(values[i, j])
    return np.mean(found), np.std(found, ddof=1), len(found)


@pytest.mark.parametrize("guard", [0, 2])
def test_ring_statistics_are_those_of_the_pixels_on_the_ring(guard, monkeypatch):
    values, excluded = noise_image(7), np.zeros((121, 121), bool)
    values[40:44, 30:90] = np.nan
    excluded[70:80, 50:60] = True
    mean, scatter, count = noise.ring_statistics(values, excluded, CENTER, FWHM, guard)
    for x, y in ((70, 66), (20, 100), (118, 3), (60, 75)):
        m, s, n = _ring_of(values, excluded, x, y, FWHM, guard)
        assert count[y, x] == n
        # sums in another order: a few roundings of float64
        np.testing.assert_allclose([mean[y, x], scatter[y, x]], [m, s], rtol=1e-12, atol=1e-13)
    assert np.isnan(mean[41, 50])
    assert np.isnan(mean[59, 60])  # at the star
    monkeypatch.setattr(noise, "_RING_ROOM", 100_000)  # an image that does not fit, in parts
    for whole, parts in zip(
        (mean, scatter, count), noise.ring_statistics(values, excluded, CENTER, FWHM, guard), strict=True
    ):
        np.testing.assert_array_equal(whole, parts)


def test_source_is_found_where_it_is():
    image = add_source(noise_image(3), 2.2, 210.0, 6.0)
    (best, *_) = detect_sources(image, CENTER, FWHM, SCALE)
    assert best.separation == pytest.approx(2.2, abs=0.03)  # centroid noise at this S/N: 0.2 pixel
    assert best.position_angle == pytest.approx(210.0, abs=1.0)
    assert best.snr > 5


def test_bright_companion_does_not_hide_a_fainter_one():
    image = add_source(add_source(noise_image(4), 2.2, 30.0, 200.0), 2.2, 150.0, 6.0)
    found = detect_sources(image, CENTER, FWHM, SCALE)
    assert found[0].position_angle == pytest.approx(30.0, abs=0.2)  # S/N of 200: a fiftieth of a pixel at this radius
    assert any(abs(d.position_angle - 150) < 2 and abs(d.separation - 2.2) < 0.05 for d in found)


def wide(x, y):
    """A source with wings: three quarters of the light in a core, the rest over four times its width."""
    gx, gy = offset_grid((121, 121), (x, y))
    r2 = (gx**2 + gy**2) / FWHM**2
    return np.exp(-4 * np.log(2) * r2) + 0.02 * np.exp(-4 * np.log(2) * r2 / 16)


def test_a_source_is_not_its_own_noise():
    x, y = 60 + 8, 59
    image = noise_image(12) + 60 * wide(x, y)
    mapped = snr_map(image, CENTER, FWHM)
    own = source_snr(image, wide(x, y), (x, y), CENTER, FWHM)
    empty = snr_map(noise_image(12), CENTER, FWHM)
    # without its wings the noise is that of the image without the source, but for the fit's own error of the wings
    assert own.noise == pytest.approx(empty.noise[y, x], rel=0.1)
    assert own.snr > 1.3 * mapped.snr[y, x]
    assert own.elements == mapped.elements[y, x]
    assert own.scale == pytest.approx(60, rel=0.15)  # five times the noise of the amplitude


def test_without_wings_it_is_the_map():
    image = noise_image(13)
    mapped = snr_map(image, CENTER, FWHM)
    point = np.zeros(image.shape)
    point[80, 40] = 1.0
    own = source_snr(image, point, (40, 80), CENTER, FWHM)
    assert own.snr == pytest.approx(mapped.snr[80, 40], rel=1e-6)
    assert own.significance == pytest.approx(mapped.significance()[80, 40], rel=1e-6)


def test_search_finds_a_source_that_hides_itself():
    x, y = 60 + 9, 59
    image = noise_image(14) + 25 * wide(x, y)
    params = DetectionParams(threshold=6.0, min_significance=3.0, outer_radius=1.5)
    blind = detect_sources(image, CENTER, FWHM, SCALE, params=params)
    found = detect_sources(image, CENTER, FWHM, SCALE, params=params, template=wide)
    assert len(found) >= 1
    assert np.hypot(found[0].x - x, found[0].y - y) < 1.0
    assert len(blind) == 1 and found[0].snr > blind[0].snr  # without its template it raises its own noise


def test_false_alarms_with_a_template_are_as_rare():
    params = DetectionParams(threshold=0.0, min_significance=4.5)
    n = sum(
        len(detect_sources(noise_image(s), CENTER, FWHM, SCALE, params=params, template=wide)) for s in range(100, 120)
    )
    assert n <= 5  # one is expected in 20 images, see above; more than 5 once in 1000


def test_truncations_are_merged():
    images = np.stack([add_source(noise_image(s), 3.0, 90.0, 10.0) for s in range(3)])
    found = detect_sources(images, CENTER, FWHM, SCALE, truncations=[1, 5, 10])
    assert found[0].images == 3
    assert found[0].truncation in (1, 5, 10)
    # 0.4 and 0.3 FWHM (0.5 arcsec, 9.5 deg there), within which peaks are one detection; noise moves a source of S/N 30
    # by a thirtieth of a FWHM, 0.02 arcsec and 0.3 deg
    assert sum(abs(d.separation - 3.0) < 0.2 and abs(d.position_angle - 90) < 3 for d in found) == 1


def test_a_search_that_ends_early_warns():
    image = add_source(add_source(noise_image(3), 3.0, 90.0, 30.0), 4.0, 250.0, 25.0)
    with pytest.warns(LyotWarning, match=r"the search ends at 1 sources \(max_sources\); there may be more"):
        found = detect_sources(image, CENTER, FWHM, SCALE, params=DetectionParams(max_sources=1))
    assert sum(d.accepted for d in found) == 1


def test_false_alarms_are_as_rare_as_stated():
    # 40 images of 14641 pixels: at 4.5 Gaussian sigmas (3.4e-6) two pixels are expected above the threshold; more than
    # 7 peaks happen by chance once in 1000
    params = DetectionParams(threshold=0.0, min_significance=4.5)
    n = sum(len(detect_sources(noise_image(s), CENTER, FWHM, SCALE, params=params)) for s in range(40))
    assert n <= 7


def test_nan_regions_are_left_out():
    image = add_source(noise_image(5), 2.2, 210.0, 8.0)
    image[:, :40] = np.nan
    s = snr_map(image, CENTER, FWHM)
    assert np.isnan(s.snr[:, :35]).all()
    assert np.isfinite(s.snr[60, 80])
    assert detect_sources(image, CENTER, FWHM, SCALE)[0].separation == pytest.approx(2.2, abs=0.05)  # half a pixel


def test_input_is_not_changed():
    image = noise_image(6)
    image[3, 3] = np.inf
    before = image.copy()
    snr_map(image, CENTER, FWHM)
    detect_sources(image, CENTER, FWHM, SCALE, params=DetectionParams(threshold=4.0))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "message"),
    [(np.full((20, 20), np.nan), "all pixels are NaN"), (np.zeros(5), "2-D")],
)
def test_bad_images(image, message):
    with pytest.raises(InputError, match=message):
        snr_map(image, (10, 10), 3.0)


def test_blank_image_has_no_detection():
    assert detect_sources(np.zeros((50, 50)), (25, 25), 4.0, SCALE) == ()


def test_t_to_gaussian_limits():
    # many samples: the same; few: less significant
    assert float(t_to_gaussian(np.array([3.0]), np.array([100000]))[0]) == pytest.approx(3.0, abs=1e-3)
    assert float(t_to_gaussian(np.array([5.0]), np.array([6]))[0]) < 3.5


def test_speed_class_of_convolution_is_used():
    # the map of a smooth ramp is finite everywhere inside: guards against losing rings at image corners
    s = snr_map(ndimage.gaussian_filter(noise_image(8, (200, 200)), 1), (100, 100), FWHM)
    assert np.isfinite(s.snr[20:180, 20:180]).mean() > 0.99


def test_edges_are_not_searched():
    image = noise_image(9)
    image[:, :20] = np.nan
    image[60:64, 80:84] = np.nan  # a hole is no edge
    image[:, 20:23] += 8.0  # what is left of a step at the edge
    found = detect_sources(image, CENTER, FWHM, SCALE, params=DetectionParams(edge=0.0))
    assert any(d.x < 24 for d in found)
    assert not detect_sources(image, CENTER, FWHM, SCALE)
    inside = away_from_edges(image, 3 * FWHM)
    assert inside[62, 82] and inside[60, 40]
    assert not inside[60, 30] and not inside[60, 5] and not inside[5, 60]


def test_a_source_is_searched_where_all_exposures_have_data():
    image = add_source(noise_image(10), 3.0, 270.0, 30.0)
    coverage = np.full(image.shape, 2)
    assert len(detect_sources(image, CENTER, FWHM, SCALE, coverage=coverage)) == 1
    coverage[:, 85:] = 1  # north up: a position angle of 270 degrees is at +x
    assert not detect_sources(image, CENTER, FWHM, SCALE, coverage=coverage)
