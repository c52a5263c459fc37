"""Epochs and dates as they are typed, and the companion of the finished run against other positions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lyot.analysis.astrometry import AstrometrySection, parse_date, parse_epoch
from lyot.analysis.finished_run import open_run
from lyot.analysis.proper_motion import date_of, measure_motion, observer_at
from lyot.errors import ConfigError, InputError
from lyot.exposures.names import PROPER_MOTION
from lyot.geometry import separation_and_pa, sky_offset
from lyot.measure.proper_motion import background_track
from lyot.run.config import build_config


@pytest.fixture(scope="module")
def opened(finished_once):
    return open_run(finished_once)


@pytest.fixture
def run(opened, tmp_path):
    return dataclasses.replace(opened, tables=tmp_path)


COMPANIONS = Table({"separation": [3.0, 1.6], "separation_err": [0.01, 0.01], "position_angle": [20.0, 149.4],
                    "position_angle_err": [0.2, 0.3]})  # fmt: skip
MOTION = {"pm_ra": -39.0, "pm_dec": -12.9, "parallax": 9.68}


def test_dates():
    assert parse_date("2015.41", "x") == 2015.41
    # to the digits that are given here: 0.001 years are 9 hours
    assert parse_date(" 2015-05-30 ", "x") == pytest.approx(2015.408, abs=1e-3)
    assert parse_date("2015-05-30T12:00:00", "x") == pytest.approx(2015.4096, abs=1e-3)
    assert parse_date("57172", "x") == pytest.approx(2015.408, abs=1e-3)
    for text in ("yesterday", "12", "2015-13-40", "1e9"):
        with pytest.raises(ConfigError, match="a date such as"):
            parse_date(text, "x")


def test_epochs():
    epoch = parse_epoch("2015.41,7.11,0.03,307.3,0.2")
    assert dataclasses.astuple(epoch) == (2015.41, 7.11, 0.03, 307.3, 0.2)
    for text, words in (("2015,7.11,0.03", "found 3 values"), ("2015,a,0.03,307.3,0.2", "DATE,SEPARATION"),
                        ("2015,-7,0.03,307,0.2", "positive"), ("2015,7,0,307,0.2", "positive")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            parse_epoch(text)


def test_the_observer():
    years = np.linspace(2020, 2021, 5)
    earth = observer_at(years)
    assert np.linalg.norm(earth, axis=1) == pytest.approx(np.ones(5), abs=0.03)  # the orbit, and the Sun's own motion
    l2 = observer_at(years, at_l2=[True] * 5)
    assert np.linalg.norm(l2 - earth, axis=1) == pytest.approx(np.full(5, 0.01), rel=0.03)
    assert ((l2 * earth).sum(axis=1) > 0).all()


def test_the_date_of_the_images(opened, tmp_path):
    assert date_of(opened) == pytest.approx(2022.57, abs=0.01)  # MJD 59790
    bare = tmp_path / "a_calints.fits"
    fits.PrimaryHDU().writeto(bare)
    lost = dataclasses.replace(opened, finished=dataclasses.replace(opened.finished, calints=(bare,)))
    with pytest.raises(InputError, match=r"--date"):
        date_of(lost)
    fits.setval(bare, "DATE-OBS", value="2024-07-01")
    # a day is 2.7e-3 yr: the right day
    assert date_of(lost) == pytest.approx(2024.497, abs=2e-3)


@pytest.mark.parametrize("background", [True, False])
def test_the_companion_that_the_epochs_belong_to_is_tested(run, background):
    section = AstrometrySection(**MOTION)
    start = np.array(sky_offset(1.6, 149.4))
    star = section.motion(run.sequence.sky, None)
    years = [date_of(run), 2012.3]
    change = background_track(years, observer_at(years, at_l2=[True, False]), star)[1] if background else np.zeros(2)
    separation, angle = (float(v) for v in separation_and_pa(*(start + change)))
    assert np.hypot(*change) > 0.35 or not background
    section = dataclasses.replace(section, epochs=(f"2012.3,{separation:.4f},0.01,{angle:.3f},0.3",))
    table, test = measure_motion(run, COMPANIONS, section)
    assert test.verdict == ("background" if background else "common proper motion")
    assert list(table["companion"]) == [2, 2]  # not the one at 3 arcsec
    written = Table.read(run.tables / PROPER_MOTION, format="ascii.ecsv")
    assert written.meta["verdict"] == test.verdict and written.meta["degrees_of_freedom"] == 2
    assert written.meta["parallax_mas"] == 9.68
    name = "background" if background else "common"
    # the error of the epoch that the star position is fitted with
    np.testing.assert_allclose(written[f"{name}_separation"], written["separation"], atol=0.01)
    track = np.array(written.meta["track"])
    # 0.1 mas: the dates of the track are some days apart
    assert track[np.argmin(np.abs(track[:, 0] - years[0])), 1:] == pytest.approx([0, 0], abs=1e-4)


def test_the_section():
    with pytest.raises(ConfigError, match="pm_ra and pm_dec"):
        build_config({"astrometry": {"epochs": ["2015.4,7.1,0.03,307.3,0.2"]}})
    with pytest.raises(ConfigError, match=r"give it in mas, or \[star\] distance"):
        build_config({"astrometry": {"epochs": ["2015.4,7.1,0.03,307.3,0.2"], "pm_ra": 1.0, "pm_dec": 1.0}})
    config = build_config({"astrometry": {"epochs": ["2015.4,7.1,0.03,307.3,0.2"], "pm_ra": 1.0, "pm_dec": 1.0},
                           "star": {"distance": 100.0}})  # fmt: skip
    assert config.astrometry.motion((10.0, -20.0), config.star.distance).parallax == pytest.approx(10.0)
    with pytest.raises(ConfigError, match="date"):
        build_config({"astrometry": {"date": "soon"}})


def test_without_a_companion_there_is_nothing_to_test(run):
    with pytest.raises(InputError, match="no companion was fitted"):
        measure_motion(run, COMPANIONS[:0], AstrometrySection(**MOTION))
    with pytest.raises(InputError, match="not all the same"):
        measure_motion(run, COMPANIONS, AstrometrySection(**MOTION, date="2012.3", epochs=("2012.3,1.6,0.1,149,1",)))
