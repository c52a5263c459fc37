"""The second pass in the pipeline, and by itself."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from astropy.io import fits

from lyot.errors import ConfigError
from lyot.steps.coron3 import Coron3Pipeline
from lyot.steps.extra_fits import add_table
from lyot.steps.sequence_io import open_exposure
from lyot.steps.stage3_plan import PARAMETERS_TABLE, parameters_of
from lyot.steps.stage3_refine import RefineStep
from tests.steps.stage23_synthetic import sequence as exposures
from tests.steps.stage23_synthetic import write_association

pytestmark = pytest.mark.filterwarnings("ignore::stdatamodels.exceptions.NoTypeWarning")


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refine")
    science, references = exposures(np.random.default_rng(1), planet=(1.6, 149.4, 12.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        asn = write_association(folder, science, references)
        steps = {"klip": {"use_throughput": False}}
        Coron3Pipeline.call(str(asn), output_dir=str(folder), save_results=True, steps=steps)
    return folder


def test_the_product_has_coordinates_and_the_table_of_sources(products):
    with fits.open(products / "target_refined.fits") as refined, fits.open(products / "target_i2d.fits") as plain:
        assert refined["SCI"].shape == plain["SCI"].shape
        for key in ("CRVAL1", "CRPIX1", "CRPIX2", "CDELT1", "PC1_1"):
            assert refined["SCI"].header[key] == plain["SCI"].header[key]
        assert refined[0].header["NPROTECT"] == len(refined["PROTECTED"].data) == 1
        row = refined["PROTECTED"].data[0]
        # half a pixel, at 1.6 arcsec 2 degrees
        assert row["SEPARATION"] == pytest.approx(1.6, abs=0.06) and row["PA"] == pytest.approx(149.4, abs=2.0)
        assert refined[0].header["WFDRIFT"] == 4.0 and np.isfinite(refined["ERR"].data).any()


def test_the_second_pass_can_be_left_out(products, tmp_path, monkeypatch):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    steps = {"klip": {"use_throughput": False}, "refine": {"skip": True}}
    Coron3Pipeline.call(str(products / "coron3_asn.json"), output_dir=str(tmp_path), save_results=True, steps=steps)
    names = {p.name for p in tmp_path.glob("*.fits")}
    assert "target_i2d.fits" in names and "target_refined.fits" not in names


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({"refine": {"protect": "0.8"}}, "refine.protect"),
        ({"locate_star": {"position": "star"}}, "locate_star.position"),
        ({"klip": {"wavefront_drift": 4.0, "method": "classical"}}, "klip.wavefront_drift"),
    ],
)
def test_what_cannot_be_read_is_told_before_the_work_begins(products, tmp_path, monkeypatch, steps, words):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    with pytest.raises(ConfigError, match=words):
        Coron3Pipeline.call(str(products / "coron3_asn.json"), output_dir=str(tmp_path), save_results=True, steps=steps)
    assert not list(tmp_path.glob("*.fits"))


def test_by_itself_it_makes_the_same_image(products, monkeypatch):
    """From the association, the registered references and the parameters that the first pass wrote into its product."""
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    inputs = ("coron3_asn.json", "jw01001001001_a3001_psfalign.fits", "jw01001001001_a3001_psfsub.fits")
    alone = RefineStep.call(*(str(products / name) for name in inputs))
    with fits.open(products / "target_refined.fits") as hdus:
        np.testing.assert_array_equal(alone.data, hdus["SCI"].data)
        np.testing.assert_array_equal(alone.err, hdus["ERR"].data)


def test_without_pixels_to_fit_it_says_so(products, monkeypatch, caplog):
    """The parameters in the product of the first pass are obeyed: here a disk of half an arcsecond, all masked."""
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    first = open_exposure(str(products / "jw01001001001_a3001_psfsub.fits"))
    parameters = parameters_of(first) | {"outer_radius": 0.5, "zone_edges": []}
    rows = [(name, json.dumps(value)) for name, value in parameters.items()]
    add_table(first, PARAMETERS_TABLE, np.array(rows, dtype=[("NAME", "S40"), ("VALUE", "S80")]))
    inputs = [str(products / name) for name in ("coron3_asn.json", "jw01001001001_a3001_psfalign.fits")]
    with caplog.at_level(logging.WARNING, logger="lyot"):
        step = RefineStep(protect="0.2,30", protect_radius=5.0, wavefront_drift=0.0)
        assert step.process(*inputs, first) is None
    assert "no second pass: no pixels left" in caplog.text
