"""Attitude and WCS keywords against pysiaf and astropy."""

from __future__ import annotations

import numpy as np
import pysiaf
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from lyot.geometry import pa_of_detector_y, position_angle
from lyot.instrument import CORONAGRAPHS, coronagraph
from lyot.simulator.headers import exposure_attitude, primary_header, science_cards, target_position
from lyot.simulator.plan import BACKGROUND_DITHER, plan_sequence
from lyot.simulator.pointing import attitude, offset_position, shifted_pointing
from lyot.simulator.scene import Scene
from tests.simulator.simulate_support import plan

SCENE = Scene()


@pytest.mark.parametrize("filter_name", sorted(CORONAGRAPHS))
def test_attitude_agrees_with_pysiaf(filter_name: str) -> None:
    c = coronagraph(filter_name)
    a = attitude(201.15, -51.5, 108.171, v2_ref=c.v2_ref, v3_ref=c.v3_ref)
    matrix = pysiaf.utils.rotations.attitude_matrix(c.v2_ref, c.v3_ref, 201.15, -51.5, 108.171)
    ra, dec = pysiaf.utils.rotations.pointing(matrix, 0.0, 0.0)
    assert (a.ra_v1, a.dec_v1) == pytest.approx((float(ra), float(dec)), abs=1e-9)
    pa = float(pysiaf.utils.rotations.sky_posangle(matrix, ra, dec))
    assert a.pa_v3 == pytest.approx(pa % 360.0, abs=1e-6)


def test_archival_pointing_is_reproduced() -> None:
    """RA_REF, DEC_REF, ROLL_REF to RA_V1, DEC_V1, PA_V3 of jw01277019001_04101_00001, from its public header."""
    a = attitude(184.47121164728577, -55.97553838920803, 64.81087393012638, v2_ref=-391.75259, v3_ref=-396.280919)
    assert a.ra_v1 == pytest.approx(184.73235050908497, abs=1e-8)
    assert a.dec_v1 == pytest.approx(-56.026885014888045, abs=1e-8)
    assert a.pa_v3 == pytest.approx(64.5944813089902, abs=1e-6)


def _wcs(exposure) -> WCS:  # type: ignore[no-untyped-def]
    wcs = WCS(naxis=2)
    cards = {k: v for k, v, _ in science_cards(exposure, SCENE)}
    wcs.wcs.crpix = [cards["CRPIX1"], cards["CRPIX2"]]
    wcs.wcs.crval = [cards["CRVAL1"], cards["CRVAL2"]]
    wcs.wcs.cdelt = [cards["CDELT1"], cards["CDELT2"]]
    wcs.wcs.pc = [[cards["PC1_1"], cards["PC1_2"]], [cards["PC2_1"], cards["PC2_2"]]]
    wcs.wcs.ctype = [cards["CTYPE1"], cards["CTYPE2"]]
    return wcs


@pytest.mark.parametrize("index", [0, 4, 9, 10, 12])
def test_wcs_puts_the_target_at_the_dither(index: int) -> None:
    exposure = plan()[index]
    _, ra, dec = target_position(exposure, SCENE)
    x, y = _wcs(exposure).world_to_pixel_values(ra, dec)
    c = exposure.coronagraph
    offset = exposure.offset_keyword
    expected = (
        c.reference_point[0] + offset[0] / c.pixel_scale[0],
        c.reference_point[1] + offset[1] / c.pixel_scale[1],
    )
    assert (float(x), float(y)) == pytest.approx(expected, abs=0.005)  # north turns by 6e-5 rad over the 9" of a dither


def test_wcs_rotation_is_the_position_angle_of_y() -> None:
    exposure = plan()[9]
    wcs, c = _wcs(exposure), exposure.coronagraph
    x, y = c.reference_point
    here = SkyCoord(*wcs.pixel_to_world_values(x, y), unit="deg")
    pa_y = pa_of_detector_y(exposure.roll, 4.83544897)
    for dx, dy in [(0.0, 10.0), (10.0, 0.0), (-7.0, 4.0)]:
        there = SkyCoord(*wcs.pixel_to_world_values(x + dx, y + dy), unit="deg")
        pa = float(position_angle(dx * c.pixel_scale[0], dy * c.pixel_scale[1], pa_y))
        assert here.position_angle(there).deg == pytest.approx(pa, abs=1e-3)  # the field's curvature is far below


def test_keywords_agree_with_one_another() -> None:
    for exposure in plan():
        h = primary_header(exposure, SCENE, seed=5)
        s = {k: v for k, v, _ in science_cards(exposure, SCENE)}
        assert s["PA_APER"] == pytest.approx((s["ROLL_REF"] + s["V3I_YANG"]) % 360.0)
        assert (s["CRVAL1"], s["CRVAL2"]) == (s["RA_REF"], s["DEC_REF"])
        assert (h["BKGDTARG"], h["IS_PSF"]) == (exposure.is_background, exposure.role == "reference")
        assert (
            h["FILENAME"]
            == f"jw{h['PROGRAM']}{h['OBSERVTN']}001_{h['VISITGRP']}101_0000{h['EXPOSURE']}_mirimage_uncal.fits"
        )
        assert h["EXPEND"] - h["EXPSTART"] == pytest.approx(h["DURATION"] / 86400.0, abs=1e-9)
        assert (h["SUBSIZE2"], h["SUBSIZE1"]) == exposure.coronagraph.shape
        corners = np.array(s["S_REGION"].split()[2:], dtype=float).reshape(4, 2)
        assert np.abs(corners.mean(axis=0) - [s["RA_REF"], s["DEC_REF"]]).max() < 10.0 / 3600.0  # inside the subarray


def test_dither_steps_are_in_the_offset_keywords() -> None:
    references = [e for e in plan() if e.role == "reference"]
    assert len({e.offset_keyword for e in references}) == 9
    steps = np.array([e.offset_keyword for e in references])
    assert np.abs(steps).max() == pytest.approx(0.010)
    backgrounds = [e for e in plan() if e.is_background]
    assert [e.offset_keyword for e in backgrounds] == [*BACKGROUND_DITHER] * 2
    moved = [exposure_attitude(e, SCENE).dec_ref for e in references[:6]]
    assert len(set(moved)) > 3


def test_shifted_pointing_is_undone_by_the_offset() -> None:
    ra, dec = shifted_pointing(10.0, 20.0, (3.0, -4.0), 50.0)
    pa_y = pa_of_detector_y(50.0, 4.83544897)
    back = offset_position(ra, dec, 5.0, float(position_angle(3.0, -4.0, pa_y)))
    assert back == pytest.approx((10.0, 20.0), abs=1e-7)


def test_full_sequence_is_that_of_the_program() -> None:
    full = plan_sequence(coronagraph("F1550C"), "full", SCENE, 1)
    names = [e.filename for e in full]
    assert len(names) == len(set(names)) == 15
    assert "jw01386008001_04101_00001_mirimage_uncal.fits" in names
    assert "jw01386009001_04101_00001_mirimage_uncal.fits" in names
    assert "jw01386007001_04101_00009_mirimage_uncal.fits" in names
    assert {f"jw013860{o}001_02101_0000{k}_mirimage_uncal.fits" for o in (30, 31) for k in (1, 2)} <= set(names)
    science = [e for e in full if e.role == "science"]
    assert [e.roll for e in science] == [108.171, 117.550]
    assert [e.shape for e in science] == [(60, 250, 224, 288)] * 2
    starts = [e.start for e in full]
    assert starts == sorted(starts)
    other = plan_sequence(coronagraph("F1140C"), "full", SCENE, 1)
    assert sorted({e.observation for e in other}) == [4, 5, 6, 28, 29]
