"""Matched filter with images that change from place to place, on maps whose answer is known."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from lyot.errors import InputError
from lyot.geometry import offset_grid, sky_offset
from lyot.measure.matched_filter import (
    MatchedFilterParams,
    completeness_of,
    matched_filter,
    matched_filter_of_sources,
    source_images,
)
from lyot.measure.noise import snr_map, threshold_for
from lyot.measure.varying import VaryingImage, from_nodes, node_grid

FWHM = 4.0
SHAPE = (121, 121)
CENTER = (60.0, 60.0)


def stamp(x, size=25):
    """A source of unit flux that is wider and fainter to the left of the map."""
    sigma = 1.7 + 0.006 * (120 - x)
    dx, dy = offset_grid((size, size), (size // 2, size // 2))
    return (0.5 + 0.004 * x) * np.exp(-(dx**2 + dy**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


@pytest.fixture(scope="module")
def images() -> VaryingImage:
    nodes = node_grid(SHAPE, np.ones(SHAPE, bool), 12)
    return from_nodes(np.stack([stamp(x) for x, _ in nodes]), nodes, SHAPE, keep=0.99999)


def noise(seed):
    return np.random.default_rng(seed).normal(size=SHAPE)


def with_source(image, x, y, flux, size=25):
    out, half = image.copy(), size // 2
    out[y - half : y + half + 1, x - half : x + half + 1] += flux * stamp(x)
    return out


def test_images_between_the_nodes(images):
    assert images.known.all()
    for x in (3, 17, 55, 118):
        # linear between nodes 12 pixels apart, over which the width changes by 4 %: second order, and what is left out
        assert np.abs(images.at(x, 40) - stamp(x)).max() < 0.01 * stamp(x).max()


def test_sums_are_those_of_the_images(images):
    data, weight = noise(1), 1 + 0.5 * np.random.default_rng(2).uniform(size=SHAPE)
    matched, power, spread = images.matched(data), images.power(weight), images.spread(np.abs(data))
    half = 12
    for x, y in ((30, 50), (90, 70), (60, 20)):
        window = (slice(y - half, y + half + 1), slice(x - half, x + half + 1))
        assert matched[y, x] == pytest.approx(np.sum(data[window] * images.at(x, y)), abs=1e-9)
        # the squares have their own stamps and are interpolated by themselves
        assert power[y, x] == pytest.approx(np.sum(weight[window] * images.at(x, y) ** 2), rel=0.01)
        brute = sum(
            abs(data[j, i]) * images.at(i, j)[y - j + half, x - i + half]
            for j in range(y - half, y + half + 1)
            for i in range(x - half, x + half + 1)
        )
        assert spread[y, x] == pytest.approx(brute, rel=1e-9)


def test_snr_follows_students_t(images):
    values, dof = [], []
    for seed in range(25):
        m = matched_filter(noise(seed), CENTER, FWHM, images, guard=1)
        for pa in np.arange(0, 360, 45):
            x, y = (round(60 + 20 * f(np.radians(pa))) for f in (np.sin, np.cos))
            values.append(m.snr[y, x])
            dof.append(m.elements[y, x] - 1)
    p = stats.t.cdf(values, dof)
    # 200 draws of a uniform variable: the Kolmogorov-Smirnov test rejects wrong statistics at 0.1 %
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_fluxes_and_their_errors(images):
    pulls = []
    rng = np.random.default_rng(5)
    for seed in range(50):
        r, t = rng.uniform(15, 40), rng.uniform(0, 2 * np.pi)
        x, y = round(60 + r * np.cos(t)), round(60 + r * np.sin(t))
        m = matched_filter(with_source(noise(seed), x, y, 100.0), CENTER, FWHM, images)
        pulls.append((m.flux[y, x] - 100.0) / m.flux_error[y, x])
    # mean and width of 50 pulls are known to 0.14 and 0.10: three times that
    assert abs(np.mean(pulls)) < 0.42
    assert 0.7 < np.std(pulls) < 1.3


def test_it_beats_the_aperture(images):
    gain = []
    for seed in range(20):
        image = with_source(noise(seed), 90, 60, 60.0)
        matched, aperture = matched_filter(image, CENTER, FWHM, images), snr_map(image, CENTER, FWHM)
        gain.append(matched.snr[60, 90] / aperture.snr[60, 90])
    assert np.median(gain) > 1.05  # a Gaussian filter against an aperture of one width, white noise: 1.1


def test_a_background_does_not_matter(images):
    dx, dy = offset_grid(SHAPE, CENTER)
    image = with_source(noise(3), 90, 60, 100.0)
    flat = matched_filter(image, CENTER, FWHM, images)
    tilted = matched_filter(image + 0.05 * dx, CENTER, FWHM, images)
    # the gradient over a stamp is left, which an even image does not see
    assert tilted.flux[60, 90] == pytest.approx(flat.flux[60, 90], abs=1.5 * flat.flux_error[60, 90])
    assert tilted.snr[60, 90] > 0.6 * flat.snr[60, 90]
    assert dy.shape == SHAPE


def test_a_bright_source_does_not_spoil_the_noise(images):
    image = with_source(with_source(noise(7), 95, 60, 3000.0), 60, 95, 90.0)
    alone = matched_filter(with_source(noise(7), 60, 95, 90.0), CENTER, FWHM, images)
    plain = matched_filter(image, CENTER, FWHM, images)
    cleaned, model, places = matched_filter_of_sources(image, CENTER, FWHM, images)
    assert places[0] == (95, 60)
    assert (60, 95) in places
    assert plain.snr[95, 60] < 0.5 * alone.snr[95, 60]
    # noise from the 30 or so elements of its ring, known to 13 %, in both
    assert cleaned.snr[95, 60] == pytest.approx(alone.snr[95, 60], rel=0.25)
    assert cleaned.snr[60, 95] > 100
    # the source is on a pixel: what is left of it is the error of its flux and of the interpolated image
    assert np.abs((image - model)[50:70, 85:105]).max() < 5.0


def test_partial_data(images):
    image = noise(8)
    image[:, 80:] = np.nan
    m = matched_filter(image, CENTER, FWHM, images)
    assert np.isnan(m.snr[:, 80:]).all()
    assert np.isfinite(m.snr[60, 40])
    with pytest.raises(InputError, match="are for"):
        matched_filter(np.zeros((30, 30)), (15, 15), FWHM, images)
    with pytest.raises(InputError, match="exclude"):
        matched_filter(image, CENTER, FWHM, images, exclude=np.zeros((3, 3), bool))


def test_completeness_is_what_injections_find(images):
    found, expected = {0.7: [], 1.0: [], 1.3: []}, {0.7: [], 1.0: [], 1.3: []}
    rng = np.random.default_rng(11)
    for seed in range(24):
        image = noise(100 + seed)
        empty = matched_filter(image, CENTER, FWHM, images)
        for factor, hits in found.items():
            r, t = rng.uniform(12, 45), rng.uniform(0, 2 * np.pi)
            x, y = round(60 + r * np.cos(t)), round(60 + r * np.sin(t))
            flux = factor * empty.limit()[y, x]
            m = matched_filter(with_source(image, x, y, flux), CENTER, FWHM, images, known=flux * _placed(images, x, y))
            hits.append(m.snr[y, x] > threshold_for(5.0, m.elements)[y, x])
            expected[factor].append(empty.completeness(flux)[y, x])
    for factor, hits in found.items():
        # 24 trials: three times the binomial error
        error = 3 * np.sqrt(max(np.mean(expected[factor]) * (1 - np.mean(expected[factor])), 0.01) / 24)
        assert abs(np.mean(hits) - np.mean(expected[factor])) < error, factor
    assert np.mean(expected[1.0]) == pytest.approx(0.5, abs=1e-6)


def _placed(images, x, y):
    one = np.zeros(SHAPE)
    one[y, x] = 1.0
    return images.spread(one)


def test_completeness_limits():
    n = np.array([50, 50, 50, 2])
    c = completeness_of(1.0, np.array([1.0, 0.5, 5.0, 1.0]), n)
    assert c[0] == pytest.approx(0.5)
    assert c[1] > 0.999 and c[2] < 0.001
    assert np.isnan(c[3])
    threshold = threshold_for(5.0, n[:3])
    tail = stats.t.sf(threshold * (1.0 - 1.0 / np.array([1.0, 0.5, 5.0])), n[:3] - 1)
    np.testing.assert_allclose(c[:3], tail, rtol=1e-12)  # the same function, by whatever way scipy calls it


def test_images_of_a_reduction(bench):
    planet = (2.2, 70.0, 400.0)
    injector = bench.injector(bench.sequence(3, (planet,)))
    params = MatchedFilterParams(outer_radius=3.5)
    sources = source_images(injector, bench.fwhm, params)
    # against the forward model itself, at a pixel that is no node
    x, y = (round(v) for v in injector.pixel(*map(float, sky_offset(1.7, 200.0))))
    forward = injector.forward(*injector.sky(x, y))
    half = sources.basis.shape[-1] // 2
    window = forward[y - half : y + half + 1, x - half : x + half + 1]
    # linear between nodes 0.7 widths apart, over-subtraction varying with the speckles
    assert np.abs(sources.at(x, y) - window).max() < 0.06 * window.max()
    maps, _, places = matched_filter_of_sources(injector.image, injector.center, bench.fwhm, sources)
    px, py = injector.pixel(*map(float, sky_offset(*planet[:2])))
    assert np.hypot(places[0][0] - px, places[0][1] - py) < 1.5
    at = maps.flux[places[0][1], places[0][0]], maps.flux_error[places[0][1], places[0][0]]
    # a pixel's phase costs up to 5 % of the flux of a source that lies between pixels
    assert abs(at[0] - 400.0) < 3 * at[1] + 0.05 * 400.0


def test_nodes_follow_the_throughput(bench):
    injector = bench.injector(bench.sequence(1))
    throughput = np.ones(injector.image.shape)
    everywhere = source_images(injector, bench.fwhm, MatchedFilterParams(outer_radius=1.5))
    sparse = source_images(injector, bench.fwhm, MatchedFilterParams(outer_radius=1.5), throughput=throughput)
    assert everywhere.known.sum() == sparse.known.sum()


def test_wrong_nodes():
    with pytest.raises(InputError, match="expected"):
        from_nodes(np.ones((5, 4, 4)), np.zeros((5, 2)), (10, 10))
    with pytest.raises(InputError, match="four nodes"):
        from_nodes(np.ones((3, 5, 5)), np.zeros((3, 2)), (10, 10))
    with pytest.raises(InputError, match="all 0"):
        from_nodes(np.zeros((4, 5, 5)), np.array([[0, 0], [0, 9], [9, 0], [9, 9]]), (10, 10))


def test_a_map_of_200_pixels_takes_less_than_a_second():
    shape = (200, 200)
    nodes = node_grid(shape, np.ones(shape, bool), 12)
    images = from_nodes(np.stack([stamp(x / 2) for x, _ in nodes]), nodes, shape)
    image = np.random.default_rng(0).normal(size=shape)
    matched_filter(image, (100.0, 100.0), FWHM, images)
    start = time.process_time()
    matched_filter(image, (100.0, 100.0), FWHM, images)
    # 0.1 s of processor time on the machine where it was written
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, 0.0), (0.5, -0.5), (-0.3, 0.4)])
def test_flux_between_the_pixels(images, shift):
    dx, dy = offset_grid(SHAPE, (90 + shift[0], 60 + shift[1]))
    sigma = 1.7 + 0.006 * (120 - 90 - shift[0])
    source = (0.5 + 0.004 * (90 + shift[0])) * np.exp(-(dx**2 + dy**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    maps = matched_filter(noise(11) + 3000 * source, CENTER, FWHM, images, known=3000 * source)
    x, y, flux = maps.peak(90, 60)
    # S/N of about 300; a paraboloid through nine pixels of a Gaussian, half a pixel off on both axes, is 1 % low
    assert flux == pytest.approx(3000, rel=0.015)
    assert np.hypot(x - 90 - shift[0], y - 60 - shift[1]) < 0.06
