"""Quantities instead of plain numbers: in each place where a parameter has a unit, and in any unit that converts."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u

import lyot
from lyot.errors import ConfigError, InputError
from lyot.interface.quantities import _unit, number, plain_parameters
from lyot.optics.fitting import OpticsFitParams
from lyot.params import describe
from lyot.run import execute
from lyot.run.config import OWN
from lyot.run.pipelines import STAGE_NAMES, step_parameters
from lyot.subtract import ReductionParams


class StopError(Exception):
    """Ends a run before it begins."""


@pytest.fixture
def configured(monkeypatch, tmp_path):
    """The configuration that `lyot.reduce` makes of its keywords."""

    def stopped(inputs, out, settings, **_):
        raise StopError(settings)

    monkeypatch.setattr(execute, "run", stopped)

    def made(**parameters):
        with pytest.raises(StopError) as caught:
            lyot.reduce("data", tmp_path, progress=False, **parameters)
        return caught.value.args[0]

    return made


def test_sections_of_a_run(configured):
    config = configured(
        star={"flux": 100 * u.mJy, "distance": 107 * u.pc, "error": 5 * u.percent},
        contrast={"outer_radius": 3000 * u.mas, "age": 0.014 * u.Gyr, "age_error": 2.0},
        disk={"pixel_scale": 0.02 * u.arcsec / u.pix, "position_angle": 0.5 * u.rad, "ring": True},
        astrometry={"pm_ra": 0.3 * u.arcsec / u.yr},
        systematics={"mask_position": 3 * u.percent},
        stage3={"klip": {"outer_radius": 50 * u.mas, "zone_edges": [2.4, 5000 * u.mas], "sectors": 2}},
    )
    assert (config.star.flux, config.star.distance, config.star.error) == pytest.approx((0.1, 107.0, 0.05))
    assert (config.contrast.outer_radius, config.contrast.age, config.contrast.age_error) == pytest.approx((3, 14, 2))
    assert (config.disk.pixel_scale, config.disk.position_angle) == pytest.approx((0.02, np.degrees(0.5)))
    assert config.disk.ring is True
    assert config.astrometry.pm_ra == pytest.approx(300.0) and config.systematics.mask_position == pytest.approx(0.03)
    klip = config.stages["stage3"]["steps"]["klip"]
    assert klip["outer_radius"] == pytest.approx(0.05) and klip["zone_edges"] == pytest.approx([2.4, 5.0])
    assert klip["sectors"] == 2


def test_a_magnitude(configured):
    assert configured(star={"magnitude": 6.6 * u.mag}).star.magnitude == 6.6


@pytest.mark.parametrize(("sections", "sentence"), [
    ({"star": {"flux": 1 * u.m}}, "[star] flux: expected a plain number or a quantity in Jy, got 1.0 m."),
    ({"star": {"distance": 9.3 * u.mas}},
     "[star] distance: expected a plain number or a quantity in pc, got 9.3 mas."),
    ({"star": {"magnitude": 1 * u.Jy}}, "[star] magnitude: expected a plain number or a quantity in mag, got 1.0 Jy."),
    ({"contrast": {"sigma": 5 * u.deg}}, "[contrast] sigma: expected a number without unit, got 5.0 deg."),
    ({"stage3": {"klip": {"zone_edges": [1.0, 2 * u.s]}}},
     "stage3.klip: zone_edges: expected a plain number or a quantity in arcsec, got 2.0 s."),
    ({"stage1": {"jump": {"rejection_threshold": 4 * u.m}}},
     "stage1.jump: rejection_threshold: expected a number without unit, got 4.0 m."),
])  # fmt: skip
def test_a_unit_that_does_not_convert_is_one_sentence(sections, sentence, tmp_path):
    with pytest.raises(ConfigError) as caught:
        lyot.reduce("data", tmp_path, progress=False, **sections)
    assert str(caught.value) == sentence


def test_a_quantity_is_checked_as_a_number_is(configured, tmp_path):
    for sections, words in (
        ({"star": {"flux": -1 * u.mJy}}, "flux: must be at least 0 Jy, got -0.001"),
        ({"star": {"flux": [1, 2] * u.Jy}}, r"flux: expected a number, got \[1.0, 2.0\]"),
        ({"star": {"fluxx": 1 * u.Jy}}, "fluxx"),
        ({"stars": {"flux": 1 * u.Jy}}, "stars"),
        ({"stage3": {"klipp": {"outer_radius": 1 * u.arcsec}}}, "klipp"),
    ):
        with pytest.raises(ConfigError, match=words):
            lyot.reduce("data", tmp_path, progress=False, **sections)


def test_subtract_star():
    rng = np.random.default_rng(4)
    images = [rng.normal(size=(61, 61)) for _ in range(6)]
    plain, other = (
        lyot.subtract_star(images[:1], images[1:], star=(30, 30), position_angle=0.0, modes=2, **more).image.data
        for more in (
            {"pixel_scale": 0.11, "inner_radius": 0.3, "outer_radius": 2.0},
            {"pixel_scale": 0.11 * u.arcsec / u.pix, "inner_radius": 300 * u.mas, "outer_radius": 2 * u.arcsec},
        )
    )
    # 300 mas and 0.3 arcsec may differ in the last bit, which no pixel is near to
    np.testing.assert_array_equal(other, plain)
    assert np.isnan(plain).sum() > np.isnan(plain[20:41, 20:41]).sum()  # the radii were used
    with pytest.raises(ConfigError) as caught:
        lyot.subtract_star(images[:1], images[1:], star=(30, 30), position_angle=0.0, pixel_scale=0.11,
                           outer_radius=2 * u.s)  # fmt: skip
    assert str(caught.value) == (
        "subtract_star: outer_radius: expected a plain number or a quantity in arcsec, got 2.0 s."
    )
    with pytest.raises(InputError, match="pixel_scale: expected one number in arcsec"):
        lyot.subtract_star(images[:1], images[1:], star=(30, 30), position_angle=0.0, pixel_scale=0.11 / u.pix)


def test_only_a_scale_may_be_per_pixel():
    assert number(110 * u.mas / u.pix, u.arcsec, "pixel_scale") == pytest.approx(0.11)
    with pytest.raises(InputError, match="radius: expected one number in arcsec"):
        number(1 * u.arcsec / u.pix, u.arcsec, "radius")


def test_every_unit_of_a_parameter_is_understood():
    """Names such as lambda/D are no units of astropy, or others than meant."""
    infos = [info for cls in (*OWN.values(), ReductionParams, OpticsFitParams) for info in describe(cls)]
    for stage in STAGE_NAMES:
        infos += [p.info for found in step_parameters(stage).values() for p in found if p.info is not None]
    for info in infos:
        unit = u.mag if info.name in ("magnitude", "k_magnitude") else _unit(info.unit)
        assert plain_parameters({info.name: 2.0 * unit}, [info]) == {info.name: 2.0}, info.name
