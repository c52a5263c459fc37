"""Background: the official mean, noise, transients, crops, sources, scales."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.calibrate.background import (
    METHODS,
    BackgroundExposure,
    BackgroundParams,
    clipped_mean,
    first_integration_difference,
    subtract_background,
)
from lyot.calibrate.background_combine import calibration_factor, place, scatter_variance, shared_variance
from lyot.calibrate.glow_sticks import glow_excess, glow_strips
from lyot.errors import InputError, LyotWarning, ReductionError
from lyot.geometry import radius_map
from lyot.instrument import coronagraph

F1550C = coronagraph("F1550C")
SHAPE = (64, 72)


def thermal(shape=SHAPE) -> np.ndarray:
    """A background with structure: slope, a bright line, level 20."""
    y, x = np.indices(shape, dtype=float)
    return 20 + 0.02 * x + 0.01 * y + 2.0 * np.exp(-0.5 * ((y - 30 + 0.08 * x) / 2) ** 2)


def exposure(rng, n=10, level=None, noise=0.3, shape=SHAPE) -> BackgroundExposure:
    image = thermal(shape) if level is None else level
    return BackgroundExposure(rng.normal(image, noise, (n, *shape)), np.full((n, *shape), noise**2))


def science(rng, n=6, noise=0.3, scale=1.0, offset=0.0) -> np.ndarray:
    return rng.normal(scale * thermal() + offset, noise, (n, *SHAPE))


# this background has no glow stick to scale, and says so
@pytest.mark.filterwarnings("ignore:no glow stick is detected")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_nothing_of_a_steady_background(method):
    rng = np.random.default_rng(1)
    cube = science(rng)
    kept = cube.copy()
    params = BackgroundParams(method=method, reject_sources=False)
    result = subtract_background(cube, [exposure(rng), exposure(rng, n=7)], params)
    np.testing.assert_array_equal(cube, kept)
    # mean over 6 x 4608 pixels of noise 0.3, and the offset's error with the scale's (structure of rms 0.6): < 0.02
    assert abs(result.data.mean()) < 0.02
    pull = result.data / np.sqrt(0.09 + result.variance)
    # a standard deviation over 27648 values is good to 0.004; clipping at 3 sigma and fits take a percent or two
    assert pull.std() == pytest.approx(1.0, abs=0.03)


def test_clipped_mean_equals_the_official_one():
    official = pytest.importorskip("jwst.background.background_sub")
    from stdatamodels.jwst import datamodels

    rng = np.random.default_rng(2)
    cubes = [rng.normal(thermal(), 0.3, (n, *SHAPE)).astype(np.float32) for n in (8, 5, 11)]
    cubes[0][2, 10, 10] += 50
    cubes[1][:, 20, 20] = np.nan
    cubes[2][4, 30, 30] = np.nan
    models = []
    for cube in cubes:
        err, flags = np.full(cube.shape, 0.3, np.float32), np.zeros(cube.shape, np.uint32)
        model = datamodels.CubeModel(data=cube, err=err, dq=flags)
        model.meta.subarray.instance.update(xstart=1, ystart=1, xsize=SHAPE[1], ysize=SHAPE[0])
        models.append(model)
    expected = official.average_background(models[0], models, 3.0, None).data
    params = BackgroundParams(first_integration="same", reject_sources=False)
    result = subtract_background(np.zeros((1, *SHAPE)), [BackgroundExposure(c) for c in cubes], params)
    # a pixel that is bad in all integrations of one exposure counts as 0 in the official mean; here it is left out
    assert expected[20, 20] == pytest.approx(result.image[20, 20] * 2 / 3, rel=1e-6)
    expected[20, 20] = result.image[20, 20]
    # the official step sums float32: 24 numbers near 20, rounding of 1e-6 each
    np.testing.assert_allclose(result.image, expected, rtol=2e-6)


def test_variance_of_the_combined_background_is_that_of_many_realizations():
    rng = np.random.default_rng(3)
    images = [
        subtract_background(
            np.zeros((1, 40, 40)),
            [exposure(rng, n=8, level=5.0, shape=(40, 40)), exposure(rng, n=4, level=5.0, shape=(40, 40))],
            BackgroundParams(reject_sources=False),
        )
        for _ in range(30)
    ]
    measured = np.var([r.image for r in images], axis=0).mean() * 30 / 29
    # 3-sigma clipping of 4 to 8 values about the median loses some percent of efficiency
    assert np.mean(images[0].image_variance) == pytest.approx(measured, rel=0.1)


def test_unequal_numbers_of_integrations_matched_one_by_one():
    rng = np.random.default_rng(4)
    drift = 1.0 + 0.1 * np.arange(6)
    cube = rng.normal(0, 1e-3, (6, *SHAPE)) + drift[:, None, None]
    back = BackgroundExposure(rng.normal(0, 1e-3, (4, *SHAPE)) + drift[:4, None, None])
    result = subtract_background(cube, [back], BackgroundParams(method="integration_matched"))
    assert np.abs(result.data[:4].mean(axis=(1, 2))).max() < 1e-3
    # beyond the last: minus the mean of all but the first
    np.testing.assert_allclose(result.data[5].mean(), 1.5 - np.mean(drift[1:4]), atol=1e-3)


def test_first_integration_transient_is_seen_and_matched():
    rng = np.random.default_rng(5)
    back, cube = exposure(rng, n=10).data, science(rng)
    back[0] += 0.5
    cube[0] += 0.5
    backs = [BackgroundExposure(back)]
    difference, error = first_integration_difference(backs)
    # five of its own errors
    assert difference == pytest.approx(0.5, abs=5 * error) and error < 0.02
    result = subtract_background(cube, backs, BackgroundParams())
    assert result.first_matched
    # noise of the mean of 4608 pixels is 0.006
    assert np.abs(result.data.mean(axis=(1, 2))).max() < 0.03
    assert result.variance[0].mean() > 5 * result.variance[1].mean()
    same = subtract_background(cube, backs, BackgroundParams(first_integration="same"))
    assert same.data[0].mean() > 0.4


def test_no_transient_no_matching():
    rng = np.random.default_rng(6)
    assert not subtract_background(science(rng), [exposure(rng)], BackgroundParams()).first_matched


def test_scale_is_not_diluted_by_noise():
    """Ordinary least squares would give scale * S / (S + N) = 0.9 * 0.36 / (0.36 + 0.08) = 0.73 here."""
    rng = np.random.default_rng(7)
    cube = science(rng, n=20, noise=0.1, scale=0.9, offset=1.5)
    backs = [exposure(rng, n=1, noise=0.28)]
    result = subtract_background(cube, backs, BackgroundParams(method="scaled", maxiters=1))
    # noise of the fit is 0.01; the biased value would be 0.73
    assert result.scale.mean() == pytest.approx(0.9, abs=0.04)
    assert np.abs(result.data.mean()) < 0.01


def test_star_does_not_bias_the_scale_when_left_out():
    rng = np.random.default_rng(8)
    cube = science(rng, n=3, scale=1.2)
    y, x = np.indices(SHAPE)
    star = np.hypot(x - 36, y - 30) < 12
    cube[:, star] += 500
    result = subtract_background(cube, [exposure(rng, n=30)], BackgroundParams(method="scaled"), fit_region=~star)
    # three times the noise of the fit to one integration; with the star it is off by far more
    np.testing.assert_allclose(result.scale, 1.2, atol=0.03)


def test_components_take_a_pattern_that_varies():
    rng = np.random.default_rng(9)
    x = np.indices(SHAPE)[1]
    pattern = np.sin(x / 4)
    back = exposure(rng, n=20).data + rng.normal(0, 1, 20)[:, None, None] * pattern
    cube = science(rng, n=5) + np.linspace(-1, 1, 5)[:, None, None] * pattern
    result = subtract_background(cube, [BackgroundExposure(back)], BackgroundParams(method="pca", components=1))
    amplitude = (result.data * pattern).sum(axis=(1, 2)) / (pattern**2).sum()
    assert np.abs(amplitude).max() < 0.05  # of up to 1 that was put in; the mean background's noise is 0.01


def test_source_in_one_background_leaves_no_hole():
    rng = np.random.default_rng(10)
    y, x = np.indices((96, 96))
    flat = np.full((96, 96), 20.0)
    star = 10 * np.exp(-((x - 50) ** 2 + (y - 60) ** 2) / 6.0)
    first = BackgroundExposure(rng.normal(flat + star, 0.3, (10, 96, 96)))
    second = BackgroundExposure(rng.normal(flat, 0.3, (10, 96, 96)))
    cube = rng.normal(flat, 0.3, (5, 96, 96))
    hole = subtract_background(cube, [first, second], BackgroundParams(reject_sources=False)).data.mean(axis=0)[60, 50]
    mended = subtract_background(cube, [first, second], BackgroundParams())
    assert hole < -4
    assert abs(mended.data.mean(axis=0)[60, 50]) < 0.6  # noise 0.16
    assert 0 < mended.rejected_pixels < 300


def test_pixel_without_background_is_nan_and_others_are_not():
    rng = np.random.default_rng(11)
    back = exposure(rng, n=4).data
    back[:, 7, 8] = np.nan
    back[1, 9, 9] = np.nan
    result = subtract_background(science(rng), [BackgroundExposure(back)])
    assert np.isnan(result.data[:, 7, 8]).all()
    assert np.isnan(result.data).sum() == result.data.shape[0]


def test_single_integration_and_single_background():
    rng = np.random.default_rng(12)
    result = subtract_background(science(rng, n=1), [exposure(rng, n=1)])
    assert np.isfinite(result.data).all()
    assert np.isnan(result.first_difference)


@pytest.mark.parametrize(
    ("shape", "exposures", "match"),
    [((2, 8, 8), [], "no background"), ((2, 8, 8), [(3, 8, 9)], "crop both"), ((8, 8), [(3, 8, 8)], "nints, ny, nx")],
)
def test_bad_input_is_refused(shape, exposures, match):
    with pytest.raises(InputError, match=match):
        subtract_background(np.zeros(shape), [BackgroundExposure(np.zeros(s)) for s in exposures])


def test_too_few_pixels_for_a_fit():
    rng = np.random.default_rng(13)
    with pytest.raises(ReductionError, match="good pixels"):
        subtract_background(
            science(rng), [exposure(rng)], BackgroundParams(method="scaled"), fit_region=np.zeros(SHAPE, bool)
        )


def test_clipped_mean_of_nothing_is_nan():
    mean, count = clipped_mean(np.full((3, 2, 2), np.nan))
    assert np.isnan(mean).all() and (count == 0).all()


def glow(scale: float, shape: tuple[int, int], center: tuple[float, float]) -> np.ndarray:
    y, x = np.indices(shape, dtype=float)
    t = np.radians(F1550C.boundary_tilt)
    v = -(x - center[0]) * np.sin(t) + (y - center[1]) * np.cos(t)
    return scale * np.exp(-0.5 * ((v - 0.8) / 1.5) ** 2)


def test_glow_excess_of_a_known_line():
    shape, center = (224, 288), F1550C.reference_point
    strips = glow_strips(F1550C, shape, center)
    assert [s.name for s in strips] == ["left", "right"]
    rng = np.random.default_rng(14)
    y, x = np.indices(shape)
    image = rng.normal(15 + 0.01 * x - 0.02 * y, 0.3) + glow(1.5, shape, center)
    for excess, strip in zip(glow_excess(image, strips), strips, strict=True):
        expected = glow(1.5, shape, center)[strip.strip].mean() - glow(1.5, shape, center)[strip.comparison].mean()
        slope = (-0.02 * y)[strip.strip].mean() - (-0.02 * y)[strip.comparison].mean()
        # four of its own errors
        assert excess.value == pytest.approx(expected + slope, abs=4 * excess.error)
        assert 0 < excess.error < 0.05


@pytest.mark.parametrize("name", ["F1065C", "F1140C", "F1550C", "F2300C"])
def test_every_filter_and_any_crop_has_strips(name):
    known = coronagraph(name)
    full = glow_strips(known, known.shape, known.reference_point)
    assert len(full) == 2
    x, y = known.reference_point
    cropped = glow_strips(known, (known.shape[0] - 14, known.shape[1] - 73), (x - 13, y - 7))
    for a, b in zip(full, cropped, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.strip[7:-7, 13:-60], b.strip)
        assert not (a.strip & a.comparison).any()


def test_glow_gets_a_scale_of_its_own():
    """The glow is 2.5 times brighter than in the background while the field is 0.95 times as bright."""
    shape, center = (224, 288), F1550C.reference_point
    rng = np.random.default_rng(15)
    x = np.indices(shape)[1]
    field = 18 + 0.01 * x + 1.5 * np.exp(-0.5 * ((x - 100) / 15.0) ** 2)
    back = BackgroundExposure(rng.normal(field + glow(0.8, shape, center), 0.3, (12, *shape)))
    cube = rng.normal(0.95 * field + glow(2.0, shape, center), 0.3, (3, *shape))
    strips = glow_strips(F1550C, shape, center)
    left = {}
    for method in ("clipped_mean", "scaled", "scaled_glow"):
        result = subtract_background(cube, [back], BackgroundParams(method=method), strips=strips)
        left[method] = glow_excess(result.data.mean(axis=0), strips)
    assert min(e.value for e in left["clipped_mean"]) > 0.5
    assert min(e.value for e in left["scaled"]) > 0.5
    assert all(abs(e.value) < 5 * e.error for e in left["scaled_glow"])
    # near the star too, where its scale is not measured (0.89 were left there when the template ended at 4 arcsec):
    # within 4 errors, from the noise of 3 frames and, 2.5 times, of 12
    near = glow_strips(F1550C, shape, center, exclusion_radius=0.0)
    inside = radius_map(shape, center) * F1550C.pixel_scale[0] < 3.5
    for strip in near:
        line, beside = strip.strip & inside, strip.comparison & inside
        excess = result.data.mean(axis=0)[line].mean() - result.data.mean(axis=0)[beside].mean()
        assert abs(excess) < 4 * 0.3 * np.sqrt((1 / 3 + 2.5**2 / 12) * (1 / line.sum() + 1 / beside.sum()))


def test_strip_without_good_pixels_is_nan():
    strips = glow_strips(F1550C, F1550C.shape, F1550C.reference_point)
    assert all(np.isnan(e.value) for e in glow_excess(np.full(F1550C.shape, np.nan), strips))


@pytest.mark.filterwarnings("ignore:no glow stick is detected")
@pytest.mark.parametrize("method", METHODS)
def test_segments_give_the_bits_of_the_whole(method):
    """Science and background with a first integration that is 2 higher, whole and in two files each."""
    rng = np.random.default_rng(31)
    cube, backs = science(rng), [exposure(rng), exposure(rng, n=7)]
    cube[0] += 2.0
    for b in backs:
        b.data[0] += 2.0
    params = BackgroundParams(method=method)
    whole = subtract_background(cube, backs, params)
    assert whole.first_matched or method == "integration_matched"
    parts = [
        subtract_background(cube[:2], backs, params, n_integrations=6),
        subtract_background(cube[2:], backs, params, first_integration=3, n_integrations=6),
    ]
    for name in ("data", "variance", "scale", "offset", "glow"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name))
    np.testing.assert_array_equal(parts[1].image, whole.image)
    # the second file does not get the background of first integrations: nothing is left, where -2 would be
    assert abs(parts[1].data[0].mean()) < 0.02


def test_a_first_segment_of_one_integration_is_matched():
    rng = np.random.default_rng(32)
    cube, backs = science(rng), [exposure(rng)]
    cube[0] += 2.0
    backs[0].data[0] += 2.0
    first = subtract_background(cube[:1], backs, n_integrations=6)
    assert first.first_matched and abs(first.data.mean()) < 0.03  # noise of 4608 pixels, 0.42 each: 0.006


def test_a_background_whose_first_segment_is_missing_has_no_first_integration():
    rng = np.random.default_rng(33)
    cube, late = science(rng), exposure(rng, n=5)
    late = BackgroundExposure(late.data, late.variance, (6, 7, 8, 9, 10))
    early = exposure(rng, n=5)
    early.data[0] += 2.0
    cube[0] += 2.0
    both = subtract_background(cube, [early, late], BackgroundParams(reject_sources=False))
    assert both.first_matched and abs(both.data[0].mean()) < 0.03 and abs(both.data[1].mean()) < 0.03
    # the level of first integrations is measured in the exposure that has one: 2 within its error
    assert both.first_difference == pytest.approx(2.0, abs=5 * both.first_difference_error)
    with pytest.warns(LyotWarning, match="first integration cannot be matched"):
        alone = subtract_background(cube, [late], BackgroundParams(first_integration="matched"))
    assert not alone.first_matched and np.isnan(alone.first_difference)


def test_place_cuts_and_pads():
    data = np.arange(12.0).reshape(1, 3, 4)
    out = place(data, (2, 6), (1, -1))
    np.testing.assert_array_equal(out[0, :, 1:5], data[0, 1:])
    assert np.isnan(out[0, :, [0, 5]]).all()
    assert np.isnan(place(data, (2, 2), (10, 0))).all()


def test_factor_of_the_calibration_from_the_variance():
    before = np.array([[1.0, 4.0], [0.0, 2.0]])
    after = np.array([[9.0, 1.0], [3.0, np.nan]])
    np.testing.assert_array_equal(calibration_factor(before, after), [[3.0, 0.5], [np.nan, np.nan]])
    assert np.isnan(calibration_factor(before, None)).all()


def test_backgrounds_that_are_the_same_share_their_noise():
    same, other = np.zeros((2, 3)), np.ones((2, 3))
    error = np.full((2, 3), 2.0)
    np.testing.assert_array_equal(shared_variance([same, same], [error, error]), np.full((2, 3), 4.0))
    np.testing.assert_array_equal(shared_variance([same, other], [error, error]), np.full((2, 3), 2.0))
    np.testing.assert_array_equal(shared_variance([same, other], [error, None]), np.full((2, 3), 1.0))
    assert shared_variance([same], [None]) is None


def test_the_scatter_of_integrations_is_about_the_mean_of_their_exposure():
    first = np.array([1.0, 3.0, np.nan]).reshape(3, 1, 1)
    second = np.array([10.0, 11.0, 12.0]).reshape(3, 1, 1)
    # sums of squares 2 and 2, of which one and two degrees of freedom
    assert scatter_variance([BackgroundExposure(first), BackgroundExposure(second)]) == pytest.approx(4 / 3)
    assert np.isnan(scatter_variance([BackgroundExposure(first[:1])]))
