"""What is a point source: its shape, its rolls, extended light next to it, and how significant it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyot.geometry import detector_offset, offset_grid
from lyot.measure import DetectionParams, detect_sources, snr_map
from lyot.measure.detected import NOT_COMPARED
from lyot.measure.detection import RollImages, detect_in_reduction
from lyot.measure.extended import extended_light
from lyot.measure.noise import aperture_sums
from lyot.measure.significance import combined_noise, combined_significance, speckle_pattern
from lyot.measure.vetting import RollFlux, in_one_roll, prominence, roll_difference, shape_of

FWHM = 4.5
CENTER = (60.3, 59.1)
SCALE = 0.11
SHAPE = (121, 121)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE)


def source(x: float, y: float) -> np.ndarray:
    gx, gy = offset_grid(SHAPE, (x, y))
    return np.exp(-4 * np.log(2) * (gx**2 + gy**2) / FWHM**2)


def at(separation: float, angle: float) -> tuple[float, float]:
    dx, dy = detector_offset(separation / SCALE, angle, 0.0)
    return CENTER[0] + float(dx), CENTER[1] + float(dy)


def edge_on_disk(peak: float, angle: float = 120.0) -> np.ndarray:
    """A ridge through the star, falling outward, with no light inside half an arcsecond."""
    gx, gy = offset_grid(SHAPE, CENTER)
    t = np.radians(angle)
    along, across = -gx * np.sin(t) + gy * np.cos(t), -gx * np.cos(t) - gy * np.sin(t)
    r = np.hypot(gx, gy) * SCALE
    return peak * np.exp(-0.5 * (across / 2.0) ** 2) * np.exp(-np.abs(along) * SCALE / 2.0) * (r > 0.5)


def test_hot_pixel_is_rejected_and_named():
    image = noise(1)
    image[80, 75] += 40
    found = detect_sources(image, CENTER, FWHM, SCALE, template=source)
    assert [(d.status, d.reason) for d in found] == [("rejected", "sharper than a point source")]
    assert np.hypot(found[0].x - 75, found[0].y - 80) < 2


@pytest.mark.parametrize("peak", [4.0, 10.0, 100.0, 1e4])
def test_point_sources_of_any_brightness_are_sources(peak):
    for seed in range(5):
        x, y = at(2.2 + 0.3 * seed, 70.0 * seed)
        image = noise(seed) + peak * source(x, y)
        found = detect_sources(image, CENTER, FWHM, SCALE, template=source)
        near = [d for d in found if np.hypot(d.x - x, d.y - y) < 2]
        assert [d.status for d in near] == ["source"]


def test_a_source_that_may_be_noise_is_a_candidate_after_the_sources():
    image = noise(0) + 60 * source(*at(2.2, 30.0)) + 7.5 * source(*at(4.0, 200.0))
    bright, faint = detect_sources(image, CENTER, FWHM, SCALE, template=source)
    assert (bright.status, faint.status) == ("source", "source") and faint.false_alarm < 0.01
    strict = DetectionParams(max_false_alarm=0.5 * faint.false_alarm)
    bright, faint = detect_sources(image, CENTER, FWHM, SCALE, template=source, params=strict)
    assert (bright.status, faint.status) == ("source", "candidate") and faint.accepted
    lenient = DetectionParams(max_false_alarm=1.0, threshold=3.0, min_significance=2.0)
    found = detect_sources(noise(0), CENTER, FWHM, SCALE, template=source, params=lenient)
    assert found and {d.status for d in found if d.accepted} == {"source"}
    found = detect_sources(
        noise(0), CENTER, FWHM, SCALE, template=source, params=replace(lenient, max_false_alarm=0.01)
    )
    assert found and {d.status for d in found if d.accepted} == {"candidate"}


def test_a_peak_in_one_roll_only_is_rejected():
    light = source(*at(2.5, 200.0))
    one, other = noise(2), noise(3)
    both = [one + 12 * light, other + 12 * light]
    single = [one + 24 * light, other]
    for images, status in ((both, "source"), (single, "rejected")):
        rolls = RollImages(np.stack(images), lambda x, y: np.stack([source(x, y)] * 2))
        found = detect_sources(np.mean(images, axis=0), CENTER, FWHM, SCALE, template=source, rolls=rolls)
        assert [d.status for d in found] == [status]
        assert found[0].rolls == 2
    assert found[0].reason == "in one roll only"
    assert found[0].roll_difference > 4


def test_a_source_that_the_mask_hides_in_one_roll_is_not_compared_and_it_is_said():
    light = source(*at(2.5, 200.0))
    images = [noise(2) + 24 * light, noise(3)]
    hidden = RollImages(np.stack(images), lambda x, y: np.stack([source(x, y), 0.1 * source(x, y)]))
    (found,) = detect_sources(np.mean(images, axis=0), CENTER, FWHM, SCALE, template=source, rolls=hidden)
    assert (found.status, found.rolls, found.reason) == ("source", 1, NOT_COMPARED)


TURNS = (113.0, 122.4)
"""The rolls of HIP 65426."""


def _in_rolls(separation, angles, flux):
    images = np.stack([noise(20 + k) + flux * source(*at(separation, angle)) for k, angle in enumerate(angles)])
    rolls = RollImages(images, lambda x, y: np.stack([source(x, y)] * 2), TURNS)
    return detect_sources(images.mean(axis=0), CENTER, FWHM, SCALE, template=source, rolls=rolls)


@pytest.mark.parametrize("flux", [4.0, 15.0, 100.0, 2000.0])
@pytest.mark.parametrize("separation", [0.7, 1.6, 2.6, 4.0])
def test_a_source_on_the_sky_is_not_taken_for_one_on_the_detector(separation, flux):
    for angle in (40.0, 160.0, 285.0):
        found = _in_rolls(separation, (angle, angle), flux)
        x, y = at(separation, angle)
        near = [d for d in found if np.hypot(d.x - x, d.y - y) < 2]
        # at 0.7 arcsec and flux 4 the ring has 8 apertures, and S/N 5.5 is no detection
        assert [d.status for d in near] in (["source"], ["candidate"]) or (separation, flux) == (0.7, 4.0)


def test_what_stays_in_place_on_the_detector_is_rejected():
    # 1.6 arcsec: 2.4 pixels apart, half of the width: one peak in the mean of the rolls
    for separation in (1.6, 2.0):
        found = _in_rolls(separation, (100.0, 100.0 + TURNS[1] - TURNS[0]), 40.0)
        assert [(d.status, d.reason) for d in found[:1]] == [("rejected", "fixed on the detector")]
    # without the angles of the rolls it would be a source
    angles = (100.0, 100.0 + TURNS[1] - TURNS[0])
    images = np.stack([noise(20 + k) + 40 * source(*at(1.6, angle)) for k, angle in enumerate(angles)])
    rolls = RollImages(images, lambda x, y: np.stack([source(x, y)] * 2))
    found = detect_sources(images.mean(axis=0), CENTER, FWHM, SCALE, template=source, rolls=rolls)
    assert found[0].status == "source"


def test_a_peak_from_the_roll_in_which_it_would_be_hidden_is_rejected():
    light = source(*at(2.5, 200.0))
    images = [noise(2), noise(3) + 24 * light]
    hidden = RollImages(np.stack(images), lambda x, y: np.stack([source(x, y), 0.1 * source(x, y)]))
    (found,) = detect_sources(np.mean(images, axis=0), CENTER, FWHM, SCALE, template=source, rolls=hidden)
    assert (found.status, found.rolls, found.reason) == ("rejected", 1, "in one roll only")
    only = (RollFlux(6.0, 1.0, 60),)
    assert in_one_roll(only, 4.0, combined=15.0) and not in_one_roll(only, 4.0, combined=11.0)
    assert not in_one_roll(only, 4.0)


def test_rolls_that_differ_by_noise_are_alike():
    rng = np.random.default_rng(4)
    for _ in range(200):  # 4 sigma with 60 elements: once in 10 000
        fluxes = tuple(RollFlux(float(rng.normal(8, 1)), 1.0, 60) for _ in range(2))
        assert not in_one_roll(fluxes, 4.0)
    assert np.isnan(roll_difference(fluxes[:1]))
    assert in_one_roll((RollFlux(9.0, 1.0, 60), RollFlux(0.1, 1.0, 60)), 4.0)
    # few apertures say little: the same fluxes with four others each
    assert not in_one_roll((RollFlux(9.0, 1.0, 4), RollFlux(0.1, 1.0, 4)), 4.0)


def test_a_disk_is_left_out_of_the_noise_and_is_not_a_source():
    x, y = at(3.2, 160.0)
    image = noise(5) + edge_on_disk(30.0) + 7 * source(x, y)
    masked = detect_sources(image, CENTER, FWHM, SCALE, template=source)
    plain = snr_map(image, CENTER, FWHM).snr[round(y), round(x)]
    sources = [d for d in masked if d.accepted]
    # four times what noise moves a source of S/N 18 by, FWHM / 18 = 0.25 pixels (measured 0.14)
    assert len(sources) == 1 and np.hypot(sources[0].x - x, sources[0].y - y) < 1.0
    assert sources[0].snr > 2 * plain
    # S/N as without the disk, but for the scatter of a noise that comes from 30 apertures less
    empty = detect_sources(noise(5) + 7 * source(x, y), CENTER, FWHM, SCALE, template=source)
    assert sources[0].snr == pytest.approx(empty[0].snr, rel=0.2)
    others = [d for d in masked if not d.accepted]
    assert all(d.status == "extended" for d in others)
    # one row for what is faint, and one for each end of the hole, where the disk is brightest
    assert [d.reason == "part of extended light" for d in others].count(True) == 1 and len(others) == 3


def test_what_stands_out_of_a_disk_and_is_no_point_source_is_listed():
    """One row stands for the disk; a knot, or a source whose image is not that of the model, must not be lost in it."""
    x, y = at(2.8, 122.0)
    gx, gy = offset_grid(SHAPE, (x, y))
    knot = np.exp(-4 * np.log(2) * (gx**2 + gy**2) / (3.0 * FWHM) ** 2)
    found = detect_sources(noise(5) + edge_on_disk(30.0) + 30 * knot, CENTER, FWHM, SCALE, template=source)
    assert not any(d.accepted for d in found)
    near = [d for d in found if np.hypot(d.x - x, d.y - y) < 3]
    assert [(d.status, d.reason) for d in near] == [
        ("extended", "stands out of extended light, not the shape of a point source")
    ]
    assert any(d.reason == "part of extended light" for d in found)


def test_prominence_tells_a_source_from_a_clump_of_a_ridge():
    gx, gy = offset_grid(SHAPE, (60.0, 60.0))
    ridge = np.exp(-0.5 * (gy / 1.9) ** 2) * (1 + 0.3 * np.exp(-0.5 * (gx / 3.0) ** 2))
    sums = aperture_sums(ridge, FWHM)
    assert prominence(sums, (60, 60), FWHM) < 0.3 * sums[60, 60]
    alone = aperture_sums(source(60.0, 60.0), FWHM)
    assert prominence(alone, (60, 60), FWHM) > 0.85 * alone[60, 60]
    assert np.isnan(prominence(np.full(SHAPE, np.nan), (60, 60), FWHM))


def test_faint_disk_is_found_as_extended():
    """Its brightest aperture has S/N 20 to 30, and its clumps would be sources."""
    for seed in range(3):
        found = detect_sources(noise(30 + seed) + edge_on_disk(8.0), CENTER, FWHM, SCALE, template=source)
        assert found and all(d.status == "extended" for d in found)


@pytest.mark.parametrize("peak", [3.0, 4.0])
def test_a_disk_below_the_level_of_structures_is_found_as_a_line(peak):
    """Its clumps have S/N 6 to 8 and would be sources; a source beside it stays one."""
    x, y = at(3.0, 200.0)
    for seed in range(4):
        image = noise(30 + seed) + edge_on_disk(peak) + 8 * source(x, y)
        found = detect_sources(image, CENTER, FWHM, SCALE, template=source)
        (planet,) = (d for d in found if d.status == "source")
        assert np.hypot(planet.x - x, planet.y - y) < 1.0
        assert extended_light(image, CENTER, FWHM).axis is not None


def test_noise_and_bright_sources_are_not_extended():
    for seed in range(20):
        assert extended_light(noise(seed), CENTER, FWHM).count == 0
        bright = noise(seed) + 1e5 * source(*at(2.0, 40.0 * seed))
        assert extended_light(bright, CENTER, FWHM).count == 0


def test_without_extended_light_nothing_changes():
    image = noise(6) + 8 * source(*at(2.2, 210.0))
    on = detect_sources(image, CENTER, FWHM, SCALE, template=source)
    off = detect_sources(image, CENTER, FWHM, SCALE, template=source, params=DetectionParams(extended_light=False))
    assert on == off


def test_shape_of_noise_alone_is_that_of_noise():
    scores = []
    for seed in range(60):
        image = noise(seed) + 6 * source(80.0, 70.0)
        scores.append(shape_of(image, source(80.0, 70.0), (80.0, 70.0), CENTER, FWHM).score)
    # mean of 60 standard deviates, and their width; a tenth more as the scatter is measured from few places
    assert abs(np.mean(scores)) < 0.5
    assert 0.7 < np.std(scores) < 1.4


def test_significance_close_to_the_star_uses_more_than_the_ring():
    """Seven apertures cannot make S/N 10 more significant than four sigmas; the noise is known better."""
    x, y = at(0.82, 149.0)
    light = 10 * source(x, y)  # 100 in the aperture, whose noise is 4 and that of the mean of seven others 1.5
    found = [detect_sources(noise(s) + 4 * light, CENTER, FWHM, SCALE, template=source)[0] for s in range(7)]
    assert np.median([d.snr for d in found]) > 8
    # Student's t with 6 degrees of freedom against one with 25 or more
    assert np.median([d.significance - d.ring_significance for d in found]) > 2
    assert all(d.false_alarm < 1e-6 for d in found)


@pytest.mark.parametrize("radius", [8, 14, 30])
def test_significance_is_calibrated(radius):
    values = []
    for seed in range(40):
        image = noise(seed)
        maps = snr_map(image, CENTER, FWHM)
        for angle in np.arange(0, 360, 60.0):
            dx, dy = detector_offset(radius, angle + seed, 0.0)
            x, y = round(CENTER[0] + float(dx)), round(CENTER[1] + float(dy))
            values.append(combined_significance(image, None, maps.signal[y, x], (x, y), CENTER, FWHM).significance)
    # 240 places, neighbors share their noise: the width is known to 6 %
    assert np.std(values) == pytest.approx(1.0, abs=0.18)
    assert abs(np.mean(values)) < 0.2


def test_the_map_of_the_noise_counts_as_many_elements_as_a_source_is_compared_with():
    """The map leaves out no source, and takes off the elements that one would cover."""
    image = noise(4)
    _, elements = combined_noise(image, None, CENTER, FWHM)
    for radius in (0.75, 0.9, 2.5):
        x, y = (round(v) for v in at(radius, 40.0))
        of_source = combined_significance(image, None, 1.0, (x, y), CENTER, FWHM).elements
        assert (of_source < 40) == (radius < 1)  # of more the map says 41
        # a disk of pixels around the source against a square of its diameter
        assert elements[y, x] == pytest.approx(min(of_source, 41.0), abs=4.0)


def test_noise_follows_the_references():
    """Residual light three times stronger on one side, in the references and in the science."""
    gx, _ = offset_grid(SHAPE, CENTER)
    strong = np.where(gx > 0, 3.0, 1.0)
    pattern = speckle_pattern(np.stack([noise(s) * strong for s in range(10, 19)]), CENTER, FWHM)
    image = noise(20) * strong
    there, here = (
        combined_significance(image, pattern, 30.0, at(3.0, angle), CENTER, FWHM).ratio for angle in (270.0, 90.0)
    )
    # nine references against a weight of 30 for the ring's mean: sqrt((9 * 1.8 + 30) / (9 * 0.2 + 30)) = 1.2
    assert here / there == pytest.approx(1.2, abs=0.1)
    assert speckle_pattern(None, CENTER, FWHM) is None


def test_a_reduction_is_searched_with_its_rolls(bench):
    planet = (2.2, 60.0, 400.0)
    injector = bench.injector(bench.sequence(3, (planet,)))
    assert injector.rolls is None  # that reduction does not tell the rolls apart
    found = detect_in_reduction(injector, bench.fwhm)
    assert found[0].accepted and found[0].separation == pytest.approx(2.2, abs=0.05)
