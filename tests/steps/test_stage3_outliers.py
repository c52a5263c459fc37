"""Outliers in the pipeline of stage 3: flagged in science and references, and the flags reach the measurements."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from astropy.io import fits

from lyot import dq
from lyot.steps.coron3 import Coron3Pipeline
from lyot.steps.stage3_outliers import FlagOutliersStep
from tests.steps.stage23_synthetic import NOISE, SHAPE, STAR, exposure, sequence, speckles, write_association

pytestmark = pytest.mark.filterwarnings("ignore::stdatamodels.exceptions.NoTypeWarning")

BAD = dq.DO_NOT_USE | dq.OUTLIER


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def contaminated():
    science, references = sequence(np.random.default_rng(11), nints=2)
    science[0].data[1, 30, 60] += 87 * NOISE
    references[3].data[0, 52, 50] += 87 * NOISE
    return science, references


def test_the_pipeline_flags_science_and_references(tmp_path, contaminated):
    association = write_association(tmp_path, *contaminated)
    Coron3Pipeline.call(
        str(association), output_dir=str(tmp_path), save_results=True, steps={"klip": {"use_throughput": False}}
    )
    with fits.open(tmp_path / "jw01001001001_a3001_crfints.fits") as hdus:
        flags = hdus["DQ"].data
        assert (flags[1, 30, 60] & BAD) == BAD and np.count_nonzero(flags & dq.OUTLIER) == 1
        assert hdus[0].header["S_OUTLIR"] == "COMPLETE" and hdus[0].header["NOUTLIER"] == 1
    with fits.open(tmp_path / "jw01001001001_a3001_psfsub.fits") as hdus:
        assert np.isnan(hdus["SCI"].data[1, 30, 60])
    with fits.open(tmp_path / "target_psfstack.fits") as hdus:
        planes = np.argwhere(hdus["DQ"].data & dq.OUTLIER)
    assert planes.tolist() == [[6, 52, 50]]  # two integrations each: the fourth exposure begins at plane 6


def test_it_can_be_left_out(tmp_path, contaminated):
    association = write_association(tmp_path, *contaminated)
    Coron3Pipeline.call(
        str(association), output_dir=str(tmp_path), save_results=True,
        steps={"klip": {"use_throughput": False}, "flag_outliers": {"skip": True}, "refine": {"skip": True}},
    )  # fmt: skip
    assert not list(tmp_path.glob("*crfints.fits"))
    assert np.isfinite(fits.getdata(tmp_path / "jw01001001001_a3001_psfsub.fits")[1, 30, 60])


def test_the_step_alone_says_what_it_did_and_leaves_its_input(contaminated, caplog):
    (first, second), _ = contaminated
    kept = first.dq.copy()
    with caplog.at_level(logging.INFO, logger="lyot"):
        flagged = FlagOutliersStep().run([first, second])
    assert "jw01001001001_calints.fits: 1 previously unflagged outliers flagged" in caplog.text
    assert "jw01001002001_calints.fits: 0 previously unflagged outliers" in caplog.text
    assert (flagged[0].dq[1, 30, 60] & BAD) == BAD
    np.testing.assert_array_equal(first.dq, kept)


def test_a_filter_of_unknown_wavelength_is_left_alone(caplog):
    model = exposure(speckles(SHAPE, STAR, 0.0)[None], name="x_calints.fits", filter_name="FND")
    model.meta.wcsinfo.cdelt1 = model.meta.wcsinfo.cdelt2 = 0.11 / 3600
    with caplog.at_level(logging.WARNING, logger="lyot"):
        FlagOutliersStep().run(model)
    assert "no outlier search: lambda/D is unknown" in caplog.text
