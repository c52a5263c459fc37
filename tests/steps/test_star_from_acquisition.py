"""The star's position from target acquisition, in stage 3: which image is taken, and what is done without one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lyot.exposures.acquisition import offset_from_acquisition, open_acquisition
from lyot.steps.stage3_star import StarPositionParams, locate_star
from tests.exposures.test_acquisition import C, acquired
from tests.steps.stage23_synthetic import exposure


def science_model(header):
    """A science exposure with the pointing and the visit of a header."""
    model = exposure(np.ones((1, *C.shape)), name="jw01386008001_calints.fits", star=C.reference_point,
                     roll=header["ROLL_REF"])  # fmt: skip
    wcs, observation = model.meta.wcsinfo, model.meta.observation
    wcs.ra_ref, wcs.dec_ref, wcs.v2_ref, wcs.v3_ref = (header[k] for k in ("RA_REF", "DEC_REF", "V2_REF", "V3_REF"))
    observation.program_number, observation.observation_number = header["PROGRAM"], header["OBSERVTN"]
    observation.visit_number = header["VISIT"]
    model.meta.exposure.start_time = header["EXPSTART"]
    return model


def test_the_step_takes_the_acquisition_of_the_visit(tmp_path):
    path, science = acquired(tmp_path / "ta.fits", moved=(0.012, -0.007))
    params = StarPositionParams(position="acquisition", acquisition=(str(path),), acquisition_error=5.0)
    found = locate_star([science_model(science)], None, params)
    assert found.source == "acquisition"
    np.testing.assert_allclose(found.offset, [[12.0, -7.0]], atol=4.0)  # mas; see above
    centroid = offset_from_acquisition(open_acquisition(path), science, C)[1]
    np.testing.assert_allclose(found.error, np.hypot(1e3 * centroid, 5.0))


@pytest.mark.parametrize(("moved", "visit", "given", "words"), [
    ((0.0, 0.0), "008", False, "no target-acquisition images were given"),
    ((0.0, 0.0), "009", True, "no acquisition image .* of its visit was given"),
    ((1.2, 0.9), "008", True, "its star would be 1.5 arcsec from the mask"),
])  # fmt: skip
def test_why_the_reference_point_is_taken_instead(tmp_path, moved, visit, given, words):
    path, science = acquired(tmp_path / "ta.fits", moved=moved)
    params = StarPositionParams(position="acquisition", acquisition=(str(path),) if given else ())
    found = locate_star([science_model({**science, "OBSERVTN": visit})], None, params)
    assert found.source == "reference" and re.search(words, found.note)
    assert not found.offset.any() and (found.error == 7.0).all()


@pytest.mark.parametrize(("instrument", "given", "error"), [
    ("MIRI", None, 7.0), ("NIRCAM", None, 20.0), ("NIRCAM", 12.0, 12.0), ("NIRISS", None, 20.0),
])  # fmt: skip
def test_the_reference_point_has_the_error_of_the_acquisition_of_its_instrument(tmp_path, instrument, given, error):
    model = science_model(acquired(tmp_path / "ta.fits")[1])
    model.meta.instrument.name = instrument
    found = locate_star([model], None, StarPositionParams(reference_error=given))
    assert found.source == "reference" and (found.error == error).all()
