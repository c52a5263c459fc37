"""A position of the star that the user gives, without any reference: it reaches headers, image and measurement."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.exceptions import NoTypeWarning

import lyot
from lyot.run.config import build_config
from lyot.run.execute import run
from lyot.steps.sequence_io import STAR_TABLE
from tests.finished import write_calints
from tests.steps.stage23_synthetic import F1550C, STAR

GIVEN = np.array(STAR) + np.array([0.4, -0.3])
OFFSET = 1e3 * np.array([0.4, -0.3]) * F1550C.pixel_scale
"""From the mask's reference point, mas."""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adi")
    write_calints(folder / "data")
    for path in (folder / "data").glob("jw01001003001_*"):
        path.unlink()  # the references
    settings = {
        "run": {"stages": "3"},
        "stage3": {
            "klip": {"strategy": "adi", "use_throughput": False},
            "locate_star": {"position": f"{GIVEN[0]},{GIVEN[1]}"},
        },
    }
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
        # of the official association reader and data models
        warnings.filterwarnings("ignore", "Input association file contains path information")
        warnings.filterwarnings("ignore", category=NoTypeWarning)
        run([folder / "data"], folder / "out", build_config(settings), inline=True)
    return folder / "out"


def test_it_is_in_the_headers_of_all_products(out):
    products = [p for kind in ("psfsub", "i2d", "klcube") for p in (out / "stage3").glob(f"*_{kind}.fits")]
    assert len(products) == 2 + 3 + 1  # two exposures, their image and that of each roll, the truncations
    for path in products:
        header = fits.getheader(path)
        assert header["STARFROM"] == "GIVEN", path.name
        # three decimals of a mas are written
        np.testing.assert_allclose((header["STARDX"], header["STARDY"]), OFFSET, atol=2e-3)
    for path in (out / "stage3").glob("*_psfsub.fits"):
        with fits.open(path) as hdus:
            np.testing.assert_allclose([*hdus[STAR_TABLE].data[0]][1:3], OFFSET, atol=1e-9)
            crpix = (hdus["SCI"].header["CRPIX1"], hdus["SCI"].header["CRPIX2"])
            np.testing.assert_allclose(crpix, GIVEN + 1, atol=1e-6)  # a header holds some ten digits


def test_the_image_turns_about_it(out):
    """The star's pixel of the combined image has the coordinates of the star."""
    image = lyot.open(out).image
    sky = image.wcs.pixel_to_world(*image.meta["star"])
    assert (sky.ra.deg, sky.dec.deg) == pytest.approx((201.15, -51.5046), abs=1e-7)  # 0.4 mas


def test_the_reopened_measurement_has_it(out):
    sequence = lyot.open(out)._opened.sequence
    np.testing.assert_allclose(sequence.detector.star, [GIVEN, GIVEN], atol=1e-6)
    product = fits.getdata(next(p for p in (out / "stage3").glob("*_i2d.fits") if "roll" not in p.name), "SCI")
    np.testing.assert_allclose(sequence.injector.image, product, rtol=1e-6, atol=1e-5)  # float32 of the product
