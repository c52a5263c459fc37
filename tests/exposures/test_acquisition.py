"""Target acquisition: synthetic files of every form, and the star's place behind the mask from them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from lyot import geometry
from lyot.errors import InputError, MissingInputError
from lyot.exposures.acquisition import acquisition_for, offset_from_acquisition, open_acquisition
from lyot.instrument import coronagraph
from tests.steps.stage23_synthetic import point

C = coronagraph("F1550C")
MASK = {"V2_REF": -389.7919, "V3_REF": -371.8462, "V3I_YANG": 4.83544897, "ROLL_REF": 108.171,
        "RA_REF": 201.15, "DEC_REF": -51.5046, "SUBSTRT1": 1, "SUBSTRT2": 463}  # fmt: skip
UPPER_LEFT = (62.5 - 1, 638.5 - 463)
"""MIRIM_TA1550_UL on the subarray, 0-based, from the instrument's aperture file (detector reference 62.5, 638.5)."""
VISIT = {"PROGRAM": "01386", "OBSERVTN": "008", "VISIT": "001"}


def sky_of(dx, dy, header):
    """(RA, Dec) of a place (dx, dy) arcsec on the detector from the exposure's reference point."""
    pa_y = geometry.pa_of_detector_y(header["ROLL_REF"], header["V3I_YANG"])
    east, north = geometry.sky_offset(np.hypot(dx, dy), geometry.position_angle(dx, dy, pa_y))
    cos = np.cos(np.radians(header["DEC_REF"]))
    return header["RA_REF"] + float(east) / 3600 / cos, header["DEC_REF"] + float(north) / 3600


def acquired(path, *, star=(0.3, -0.2), form="cal", moved=(0.0, 0.0), change=None, kind="MIR_TACQ"):
    """Write an acquisition with the star `star` pixels from the region's middle; the telescope then moves so that the
    star ends `moved` arcsec from the mask's center. Returns the path and the science header."""
    x, y = UPPER_LEFT[0] + star[0], UPPER_LEFT[1] + star[1]
    image = 400 * point(C.shape, x, y, fwhm=4.0) + np.random.default_rng(2).normal(scale=0.5, size=C.shape) + 12
    offset = (np.array([x, y]) - np.array(C.reference_point)) * np.array(C.pixel_scale)
    ra, dec = sky_of(*offset, MASK)
    science = dict(MASK)
    for _ in range(2):  # the pointing that puts the star at `moved`
        there = sky_of(*moved, science)
        science["RA_REF"] += ra - there[0]
        science["DEC_REF"] += dec - there[1]
    header = {**MASK, **VISIT, "EXP_TYPE": kind, "FILTER": "FND", "EXPSTART": 59777.1, **(change or {})}
    data = image.astype(np.float32)
    if form == "uncal":
        first = np.full(C.shape, 9000.0, np.float32)
        data = np.stack([first + k * data / 4 for k in range(5)])[None]
    elif form == "rateints":
        data = np.stack([np.zeros_like(data), data])
    primary = fits.PrimaryHDU(
        header=fits.Header({k: header[k] for k in header if not k.startswith(("RA", "V", "DEC"))})
    )
    primary.header["VISIT"] = VISIT["VISIT"]
    sci = fits.ImageHDU(data, name="SCI")
    for key in ("RA_REF", "DEC_REF", "ROLL_REF", "V2_REF", "V3_REF", "V3I_YANG"):
        if header.get(key) is not None:
            sci.header[key] = header[key]
    fits.HDUList([primary, sci]).writeto(path, overwrite=True)
    return path, {**science, **VISIT, "EXPSTART": 59777.2}


@pytest.mark.parametrize("form", ["cal", "rateints", "uncal"])
@pytest.mark.parametrize("moved", [(0.0, 0.0), (0.012, -0.007)])
def test_the_star_is_where_the_telescope_brought_it(tmp_path, form, moved):
    path, science = acquired(tmp_path / "ta.fits", form=form, moved=moved)
    offset, error = offset_from_acquisition(open_acquisition(path), science, C)
    # centroid of a bright star in the window: some hundredths of a pixel; tangent plane over 10 arcsec: 1e-3 mas
    np.testing.assert_allclose(offset, moved, atol=0.004)
    assert 0.001 < error < 0.005


def test_the_region_may_be_an_aperture_of_its_own(tmp_path):
    """The keywords of the pointing belong to the region's reference point, not to the mask's."""
    dx, dy = (np.array(UPPER_LEFT) - np.array(C.reference_point)) * np.array(C.pixel_scale)
    ra, dec = sky_of(dx, dy, MASK)
    change = {"V2_REF": -382.865, "V3_REF": -365.5277, "RA_REF": ra, "DEC_REF": dec}
    path, science = acquired(tmp_path / "ta.fits", change=change)
    offset, _ = offset_from_acquisition(open_acquisition(path), science, C)
    # the aperture file has optical distortion over these 9 arcsec, the plate scale of the mask has not: 0.1 arcsec
    np.testing.assert_allclose(offset, 0.0, atol=0.12)


def test_a_roll_between_them_counts(tmp_path):
    path, science = acquired(tmp_path / "ta.fits", moved=(0.02, 0.01))
    pa = geometry.pa_of_detector_y(science["ROLL_REF"], science["V3I_YANG"])
    east, north = geometry.sky_offset(np.hypot(0.02, 0.01), geometry.position_angle(0.02, 0.01, pa))
    science["ROLL_REF"] += 90.0  # the same pointing, turned: the star's place in the frame turns with it
    offset, _ = offset_from_acquisition(open_acquisition(path), science, C)
    separation, angle = geometry.separation_and_pa(east, north)
    expected = geometry.detector_offset(separation, angle, pa + 90.0)
    # the centroid of an undersampled image: 0.04 pixel
    np.testing.assert_allclose(offset, expected, atol=0.004)


def test_the_last_acquisition_of_the_visit_is_taken(tmp_path):
    names = {
        "first": {"EXPSTART": 59777.05}, "second": {"EXPSTART": 59777.1}, "later": {"EXPSTART": 59777.3},
        "other": {"OBSERVTN": "009", "EXPSTART": 59777.15},
    }  # fmt: skip
    images = [open_acquisition(acquired(tmp_path / f"{n}.fits", change=c)[0]) for n, c in names.items()]
    images.append(open_acquisition(acquired(tmp_path / "conf.fits", kind="MIR_TACONFIRM")[0]))
    science = acquired(tmp_path / "x.fits")[1]
    assert acquisition_for(images, science).name == "second.fits"
    assert acquisition_for(images, {**science, "OBSERVTN": "10"}) is None


def test_what_is_no_acquisition(tmp_path):
    with pytest.raises(MissingInputError, match="no such"):
        open_acquisition(tmp_path / "none.fits")
    (tmp_path / "text.fits").write_text("hello")
    with pytest.raises(InputError, match="expected a FITS file"):
        open_acquisition(tmp_path / "text.fits")
    path, science = acquired(tmp_path / "ta.fits", change={"RA_REF": None})
    with pytest.raises(InputError, match="RA_REF missing"):
        offset_from_acquisition(open_acquisition(path), science, C)
    empty = open_acquisition(acquired(tmp_path / "empty.fits")[0])
    empty.image[:] = np.nan
    with pytest.raises(InputError, match="NaN"):
        offset_from_acquisition(empty, science, C)
