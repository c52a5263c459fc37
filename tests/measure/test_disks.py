"""Disks of known scale in small sequences, put in by another way than the one that fits them."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.errors import InputError, ReductionError
from lyot.geometry import sky_offset
from lyot.measure.disks import (
    Detector,
    DiskModel,
    DiskParams,
    disk_imager,
    disk_signal,
    fit_disk,
    fit_scale,
    on_detector,
    same_pixels,
)
from tests.measure.conftest import PA_Y, SCALE, SHAPE, STAR, unit_source

DETECTOR = Detector(np.array([STAR, STAR]), np.array(PA_Y), (SCALE, SCALE))


def ring(position_angle=0.0, *, turn=35.0, pixel_scale=0.07, size=61):
    """A ring of 1.6 arcsec, inclined, brighter on one side; total flux 1."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    t = np.radians(turn)
    u, v = x * np.cos(t) + y * np.sin(t), (-x * np.sin(t) + y * np.cos(t)) / 0.45
    r = np.hypot(u, v) * pixel_scale
    image = np.exp(-((r - 1.6) ** 2) / (2 * 0.15**2)) * (1 + 0.6 * np.tanh(u / 8))
    image[image < 1e-4] = 0.0
    return DiskModel(image / image.sum(), pixel_scale, position_angle)


def by_points(model):
    """The disk in each exposure as a sum of single sources: slow, and nothing of the fitted way in it."""
    out = np.zeros((2, *SHAPE))
    for east, north, flux in zip(*model.light(), strict=True):
        for exposure in (0, 1):
            out[exposure] += flux * unit_source(exposure, float(east), float(north))
    return out


@pytest.fixture(scope="module")
def points():
    return by_points(ring())


def test_a_pixel_of_the_model_lies_where_it_is_on_the_sky():
    image = np.zeros((41, 41))
    image[20, 5] = 1.0  # to the left of the star: east, as the position angle of +y is 0
    model = DiskModel(image, 0.1)
    east, north, flux = model.light()
    assert (float(east[0]), float(north[0]), float(flux[0])) == (pytest.approx(1.5), pytest.approx(0.0), 1.0)
    turned = DiskModel(image, 0.1, 30.0)
    e, n = (float(v) for v in sky_offset(1.5, 120.0))
    assert (float(turned.light()[0][0]), float(turned.light()[1][0])) == (pytest.approx(e), pytest.approx(n))
    light = on_detector(model, DETECTOR, 0, SHAPE)
    assert light.sum() == pytest.approx(1.0)
    y, x = np.indices(SHAPE)
    px, py = DETECTOR.pixel(0, east, north)
    assert (light * x).sum() == pytest.approx(float(px[0])) and (light * y).sum() == pytest.approx(float(py[0]))


def test_detector_and_sky_are_inverse():
    east, north = DETECTOR.sky(1, np.array([10.0, 60.0]), np.array([33.0, 12.0]))
    x, y = DETECTOR.pixel(1, east, north)
    np.testing.assert_allclose(x, [10.0, 60.0], atol=1e-9)
    np.testing.assert_allclose(y, [33.0, 12.0], atol=1e-9)


def test_spreading_is_the_sum_of_points(bench, points):
    injector = bench.injector(bench.sequence(1))
    signal = disk_signal(injector, ring(), DETECTOR, bench.fwhm)
    # sub-pixel shifts by six points of a Gaussian of 4.4 pixels, whose far wings the stamps leave out
    assert np.abs(signal - points).max() < 2e-3 * points.max()
    assert signal.sum() == pytest.approx(points.sum(), rel=2e-3)


@pytest.mark.parametrize("linear", [True, False])
def test_scale_is_recovered(bench, points, linear):
    pulls = []
    for seed in range(5 if linear else 2):
        sequence = bench.sequence(seed)
        true = 900.0
        sequence = sequence.replace(science=sequence.science + true * points)
        strategy = "rdi" if linear else "adi+rdi"
        fit = fit_disk(bench.injector(sequence, linear=linear, strategy=strategy), ring(), DETECTOR, bench.fwhm)
        assert fit.snr > 10
        # with rolls in the basis the noise follows the scale: see lyot.measure.disks
        assert abs(fit.scale / true - 1) < (0.2 if linear else 0.35)
        pulls.append((fit.scale - true) / fit.error)
        # what is left is the noise, without the disk, of which the rolls leave less than the references do
        left = 0.8 if linear else 0.9
        assert np.std(fit.residual[fit.region]) < left * np.std((fit.residual + fit.model)[fit.region])
    # width of pulls; 3.5 sigma is the worst of a handful
    assert not linear or np.abs(pulls).max() < 3.5


def test_the_wrong_orientation_fits_worse(bench, points):
    sequence = bench.sequence(3)
    injector = bench.injector(sequence.replace(science=sequence.science + 900 * points))
    right = fit_disk(injector, ring(), DETECTOR, bench.fwhm)
    wrong = fit_disk(injector, ring(70.0), DETECTOR, bench.fwhm)
    assert np.std(right.residual[right.region]) < 0.7 * np.std(wrong.residual[right.region])
    assert wrong.snr < 0.5 * right.snr


def compared(injector, models, fwhm):
    reach = max(float(np.hypot(*model.light()[:2]).max()) for model in models)
    imager = disk_imager(injector, DETECTOR, fwhm, reach)
    return same_pixels([fit_disk(injector, m, DETECTOR, fwhm, imager=imager) for m in models], injector, fwhm)


def test_models_are_compared_on_the_same_pixels(bench, points):
    sequence = bench.sequence(3)
    injector = bench.injector(sequence.replace(science=sequence.science + 900 * points))
    alone = fit_disk(injector, ring(), DETECTOR, bench.fwhm)
    right, wrong = compared(injector, [ring(), ring(70.0)], bench.fwhm)
    np.testing.assert_array_equal(right.region, wrong.region)
    assert right.region.sum() > alone.region.sum()
    # alone, each has the noise that it leaves itself, and a reduced chi2 of 1 by construction
    assert alone.reduced_chi2 == pytest.approx(1.0, abs=0.15)
    assert right.reduced_chi2 < 1.3 and wrong.reduced_chi2 > 2 * right.reduced_chi2
    assert right.scale == pytest.approx(alone.scale, abs=2 * alone.error)


def test_models_are_compared_where_the_reduction_is_not_linear(bench, points):
    sequence = bench.sequence(3)
    sequence = sequence.replace(science=sequence.science + 900 * points)
    injector = bench.injector(sequence, strategy="adi+rdi")
    right, wrong = compared(injector, [ring(), ring(70.0)], bench.fwhm)
    np.testing.assert_array_equal(right.region, wrong.region)
    assert wrong.chi2 > 1.2 * right.chi2


def test_nothing_is_found_where_nothing_is(bench):
    pulls = [
        (f := fit_disk(bench.injector(bench.sequence(s)), ring(), DETECTOR, bench.fwhm)).scale / f.error
        for s in range(10, 16)
    ]
    assert np.abs(pulls).max() < 4.0  # six draws, few independent places in the ring


def test_error_of_correlated_noise():
    from scipy import ndimage

    rng = np.random.default_rng(4)
    y, x = np.indices((101, 101)) - 50.0
    template = np.exp(-((np.hypot(x, y) - 25) ** 2) / 50)
    pulls = []
    for _ in range(60):
        noise = ndimage.gaussian_filter(rng.normal(size=(101, 101)), 1.5) * 5
        fit = fit_scale(10 * template + noise, template, (50.0, 50.0), 0.11, 4.0, DiskParams(threshold=0.05))
        pulls.append((fit.scale - 10) / fit.error)
    # 60 pulls: width known to 9 %; white errors would give 3 times too much
    assert 0.7 < np.std(pulls) < 1.35
    assert abs(np.mean(pulls)) < 0.45


def test_models_that_cannot_be_used(bench):
    with pytest.raises(InputError, match="not all 0"):
        DiskModel(np.zeros((5, 5)), 0.1)
    with pytest.raises(InputError, match="pixel scale"):
        DiskModel(np.ones((5, 5)), 0.0)
    injector = bench.injector(bench.sequence(1))
    far = DiskModel(ring().image, 0.07, center=(900.0, 900.0))
    with pytest.raises(InputError, match="no flux falls"):
        fit_disk(injector, far, DETECTOR, bench.fwhm)
    with pytest.raises(ReductionError, match="no data"):
        fit_scale(np.full((9, 9), np.nan), np.ones((9, 9)), (4.0, 4.0), 0.1, 3.0)
