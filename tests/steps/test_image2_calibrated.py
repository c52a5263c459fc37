"""Stage 2 on exposures that are calibrated already: only their background is subtracted, and in their own unit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits

from lyot.steps.image2 import Image2Pipeline
from tests.steps.stage1_synthetic import offline
from tests.steps.stage23_synthetic import F1550C, NOISE, exposure, point

SHAPE, STAR = F1550C.shape, F1550C.reference_point
LEVEL, PLANET = 20.0, 50.0
"""Of the background and of the source, MJy/sr."""


def level() -> np.ndarray:
    return LEVEL + 0.02 * np.indices(SHAPE)[1]


@pytest.fixture
def association(tmp_path, monkeypatch):
    """A science exposure of three integrations and two background exposures of four, in MJy/sr."""
    monkeypatch.chdir(tmp_path)  # where the official reader looks for the members
    rng = np.random.default_rng(8)
    scene = level() + PLANET * point(SHAPE, 200.0, 150.0)
    made = [("jw01001001001_04101_00001_mirimage", scene, 3, "science")]
    made += [(f"jw0100103{i}001_04101_00001_mirimage", level(), 4, "background") for i in (0, 1)]
    members = []
    for name, image, nints, role in made:
        model = exposure(rng.normal(image, NOISE, (nints, *SHAPE)), name=f"{name}_calints.fits", star=STAR)
        model.meta.exposure.nints = nints
        model.save(tmp_path / f"{name}_calints.fits")
        members.append({"expname": f"{name}_calints.fits", "exptype": role})
    asn = {"asn_type": "image2", "asn_rule": "DMSLevel2bBase", "asn_pool": "none", "asn_id": "a3001",
           "program": "01001", "target": "t001", "products": [{"name": made[0][0], "members": members}]}  # fmt: skip
    (tmp_path / "image2_asn.json").write_text(json.dumps(asn))
    with offline(tmp_path):
        yield tmp_path / "image2_asn.json"


def reduced(association, **steps) -> fits.HDUList:
    folder = association.parent / "out"
    folder.mkdir()
    Image2Pipeline.call(str(association), save_results=True, output_dir=str(folder), steps=steps)
    (path,) = folder.glob("*_calints.fits")
    return fits.open(path)


def test_only_the_background_is_subtracted(association, caplog):
    with caplog.at_level("INFO"):
        hdus = reduced(association, bad_pixels={"skip": True})
    assert "is already calibrated: only its background is subtracted" in caplog.text
    found, header = hdus["SCI"].data, hdus[0].header
    assert header["S_BKDSUB"] == "COMPLETE"
    assert "S_FLAT" not in header and "S_PHOTOM" not in header  # they are not applied a second time
    assert hdus["SCI"].header["BUNIT"] == "MJy/sr"
    expected = fits.getdata(association.parent / "jw01001001001_04101_00001_mirimage_calints.fits") - level()
    # the noise of the mean of eight background integrations, 0.3 / sqrt(8) = 0.1, by its median absolute deviation
    difference = found - expected
    assert 1.4826 * np.median(np.abs(difference)) == pytest.approx(NOISE / np.sqrt(8), rel=0.05)
    assert abs(np.median(difference)) < 5e-3  # 60 000 pixels give it to 5e-4
    assert found[:, 150, 200].mean() == pytest.approx(PLANET, abs=4 * NOISE * np.sqrt(1 / 3 + 1 / 8))
    hdus.close()


def test_bad_pixels_are_looked_for_in_what_is_left(association):
    name = association.parent / "jw01001001001_04101_00001_mirimage_calints.fits"
    with fits.open(name, mode="update") as hdus:
        hdus["SCI"].data[:, 60, 70] = 500.0  # in each integration
    hdus = reduced(association)
    assert (hdus["DQ"].data[:, 60, 70] & 1).all()
    assert not (hdus["DQ"].data[:, 150, 200] & 1).any()  # the source
    hdus.close()
