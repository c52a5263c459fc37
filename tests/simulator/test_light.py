"""The light on the detector: where sources are, how bright, and the background."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.errors import ConfigError
from lyot.geometry import detector_offset, pa_of_detector_y
from lyot.instrument import CORONAGRAPHS, coronagraph
from lyot.simulator.background import STRAY_FRACTION, field_stop, thermal_background
from lyot.simulator.light import LightMaker, disk_points
from lyot.simulator.scene import Companion, Disk, Optics, Scene, with_changes
from tests.simulator.simulate_support import QUICK, plan

FAR = Companion("far", 5.0, 158.0, 0.5)  # bright, away from the boundaries in both rolls


def maker(scene: Scene) -> LightMaker:
    return LightMaker.build(scene, "F1550C", 5, params=QUICK)


def test_planet_is_where_its_position_angle_says_in_both_rolls() -> None:
    scene = with_changes(Scene(companions=(FAR,)), star={"flux": 1.0}, background={"level": 0.0})
    dark = with_changes(Scene(companions=()), star={"flux": 1.0}, background={"level": 0.0})
    places = []
    for index in (9, 10):
        exposure = plan(scene=scene)[index]
        light = maker(scene).light(exposure)
        image = light.image - maker(dark).light(exposure).image
        c, star = exposure.coronagraph, exposure.star_offset
        dx, dy = detector_offset(5.0, 158.0, pa_of_detector_y(exposure.roll, 4.83544897))
        x = c.reference_point[0] + (float(dx) + star[0]) / c.pixel_scale[0]
        y = c.reference_point[1] + (float(dy) + star[1]) / c.pixel_scale[1]
        assert light.companions[0].position == pytest.approx((x, y), abs=1e-6)
        yy, xx = np.indices(image.shape)
        near = np.hypot(xx - x, yy - y) < 4
        weight = np.where(near, image, 0.0)
        center = (np.sum(weight * xx) / weight.sum(), np.sum(weight * yy) / weight.sum())
        assert center == pytest.approx((x, y), abs=0.35)  # 120 nm of wavefront error shift the core by a fraction
        places.append((x, y))
    assert np.hypot(*np.subtract(*places)) > 5.0  # 9.4 deg at 45 pixels


def test_companion_flux_arrives_less_the_throughput() -> None:
    scene = with_changes(Scene(companions=(FAR,)), background={"level": 0.0})
    dark = with_changes(Scene(companions=()), background={"level": 0.0})
    exposure = plan()[9]
    light = maker(scene).light(exposure)
    image = light.image - maker(dark).light(exposure).image
    flux = image.sum() * coronagraph("F1550C").pixel_area * 1e6
    companion = light.companions[0]
    assert companion.flux == pytest.approx(0.5 * 0.0341)
    assert 0.7 < companion.throughput <= 1.06  # 64 pupil samples are coarse
    assert flux == pytest.approx(companion.flux * companion.throughput, rel=0.1)  # wings beyond the subarray


def test_star_is_rejected_and_reference_is_brighter() -> None:
    scene = Scene()
    lights = maker(scene)
    science, reference = lights.light(plan()[9]), lights.light(plan()[0])
    assert science.star is not None and reference.star is not None
    assert science.star.throughput < 0.15
    assert reference.star.flux == pytest.approx(4.0 * science.star.flux)
    assert reference.companions == ()
    assert reference.wavefront_drift == pytest.approx(np.hypot(4.0, 1.5), rel=0.3)  # two random maps in quadrature
    assert science.wavefront_drift == pytest.approx(1.5, rel=1e-6)


def test_backgrounds_hold_no_star() -> None:
    light = maker(Scene()).light(plan()[11])
    assert light.star is None and light.companions == ()
    level = light.background_level
    assert level == pytest.approx(42.0, rel=0.02)  # four sigma of the drift, and more
    np.testing.assert_array_equal(light.image, thermal_background(coronagraph("F1550C"), level))


def test_disk_adds_its_flux() -> None:
    plain = with_changes(Scene(companions=()), background={"level": 0.0})
    disk = with_changes(plain, disk={"contrast": 0.1, "radius": 4.0, "sources": 20, "inclination": 30.0})
    exposure = plan()[9]
    added = maker(disk).light(exposure).image - maker(plain).light(exposure).image
    flux = added.sum() * coronagraph("F1550C").pixel_area * 1e6
    # one to two tenths are lost at the mask's boundaries and outside the stamps
    assert 0.7 < flux / (0.1 * 0.0341) < 1.0
    again = maker(disk).light(exposure).image - maker(plain).light(exposure).image
    np.testing.assert_array_equal(added, again)


def test_disk_points_lie_on_the_inclined_ring() -> None:
    disk = Disk(contrast=1.0, radius=2.0, width=0.02, inclination=60.0, position_angle=30.0, sources=400)
    separation, pa = disk_points(disk, np.random.default_rng(1))
    along, across = separation * np.cos(np.radians(pa - 30)), separation * np.sin(np.radians(pa - 30))
    # the ring is 0.02 arcsec wide: five sigmas of half of it
    assert np.hypot(along, across / np.cos(np.radians(60.0))) == pytest.approx(np.full(400, 2.0), abs=0.05)


@pytest.mark.parametrize("name", sorted(CORONAGRAPHS))
def test_background_has_stop_and_boundaries(name: str) -> None:
    c = coronagraph(name)
    image, stop = thermal_background(c, 10.0), field_stop(c)
    assert np.isfinite(image).all() and (image > 0).all()
    assert image[stop < 1e-3].max() < 1.1 * 10.0 * STRAY_FRACTION
    # the shadow of the boundaries takes a few percent of the median
    assert np.median(image[stop > 0.99]) == pytest.approx(10.0, rel=0.06)
    if c.kind == "4QPM":
        outside = np.mean(stop < 0.5)
        assert outside == pytest.approx(0.26, abs=0.02)  # a quarter of the subarray lies behind the stop


def test_glow_stick_is_along_the_flat_boundary() -> None:
    c = coronagraph("F1140C")
    glow = thermal_background(c, 10.0, glow=1.0) - thermal_background(c, 10.0, glow=0.0)
    x = 60
    y = c.reference_point[1] + np.tan(np.radians(c.boundary_tilt)) * (x - c.reference_point[0])
    column = glow[40:180, x]
    assert abs(40 + int(np.argmax(column)) - y) < 3.0
    assert column.max() == pytest.approx(1.1, abs=0.4)  # a tenth of the level


def test_a_static_wavefront_that_the_effective_optics_do_not_use_is_refused() -> None:
    scene = Scene(optics=Optics(wavefront_rms=200.0))
    with pytest.raises(ConfigError, match="have their own static wavefront"):
        LightMaker.build(scene, "F1550C", 1)
    assert (
        LightMaker.build(scene, "F2300C", 1).model.params.wavefront_rms == 200.0
    )  # nothing was fitted behind the spot
    drawn = Scene(optics=Optics(stop="geometric", wavefront_rms=200.0))
    assert LightMaker.build(drawn, "F1550C", 1).model.wavefront.rms_nm == pytest.approx(200.0)


def test_the_stop_of_the_scene_changes_the_star_and_the_drawing_images_companions() -> None:
    effective, eroded = (LightMaker.build(Scene(optics=Optics(stop=s)), "F1550C", 1) for s in ("effective", "eroded"))
    assert effective.off_axis.params.stop == "geometric" and eroded.off_axis.params.stop == "eroded"
    # measured 1/36 against 1/24 of the light
    assert effective.model.energy((0.0, 0.0)) < 0.8 * eroded.model.energy((0.0, 0.0))
