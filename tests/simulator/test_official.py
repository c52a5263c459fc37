"""The official pipeline on a simulated sequence: it takes the files unchanged and recovers the truth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from lyot import dq
from lyot.simulator.plan import Size
from lyot.simulator.sequence import simulate_sequence
from tests.simulator.simulate_support import QUICK

pytestmark = pytest.mark.slow

STAGES = """
import sys
from jwst.pipeline import Detector1Pipeline, Image2Pipeline
Detector1Pipeline.call(sys.argv[1], save_results=True, output_dir=sys.argv[2])
Image2Pipeline.call(sys.argv[3], save_results=True, output_dir=sys.argv[2])
"""


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    made = simulate_sequence(folder / "sim", size=Size((3, 16), (1, 5)), seed=2, optics=QUICK)
    assert made.crds is not None
    environment = {k: v for k, v in os.environ.items() if k != "CRDS_SERVER_URL"} | made.crds.environment()
    science = made.uncal[9]
    rateints = folder / science.name.replace("uncal", "rateints")
    command = [sys.executable, "-W", "ignore", "-c", STAGES, str(science), str(folder), str(rateints)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_stage_1_recovers_the_slopes(reduced: Path) -> None:
    with datamodels.open(next(reduced.glob("*_rate.fits"))) as rate:
        data, error = rate.data.copy(), rate.err.copy()
        good = (rate.dq & dq.DO_NOT_USE) == 0
        name = rate.meta.filename.split("_mirimage")[0].upper()
    truth = fits.getdata(reduced / "sim" / "truth_slopes.fits", name)
    assert good.mean() > 0.97
    pull = ((data - truth) / error)[good]
    assert np.median(pull) == pytest.approx(0.0, abs=0.05)  # 0.004 is the error of the median
    # the robust scatter: errors are those of the noise, to the accuracy of the official weights on ten groups
    assert 1.4826 * np.median(np.abs(pull - np.median(pull))) == pytest.approx(1.0, abs=0.08)


def test_stage_2_calibrates_and_places_the_image(reduced: Path) -> None:
    with datamodels.open(next(reduced.glob("*_calints.fits"))) as cal:
        x, y = cal.meta.wcsinfo.crpix1 - 1, cal.meta.wcsinfo.crpix2 - 1
        ra, dec = cal.meta.wcs(x, y)
        # the mask's center is at RA_REF, DEC_REF to a tenth of a pixel of 0.11 arcsec
        assert ra == pytest.approx(cal.meta.wcsinfo.ra_ref, abs=0.011 / 3600 / np.cos(np.radians(51.5)))
        assert dec == pytest.approx(cal.meta.wcsinfo.dec_ref, abs=0.011 / 3600)
        assert cal.meta.bunit_data == "MJy/sr"
        open_field = np.s_[:, 40:100, 150:200]
        good = (cal.dq[open_field] & dq.DO_NOT_USE) == 0
        assert np.median(cal.data[open_field][good]) == pytest.approx(42.0, rel=0.05)  # the level, its drift, the flat
