"""Where a result comes from: calibrations of given files, changed parameters, the methods paragraph and citations."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from lyot.exposures.read import read_exposure
from lyot.exposures.roles import Assigned, Role
from lyot.records.manifest import Manifest
from lyot.report.citations import CITATIONS, software
from lyot.report.methods import methods_of
from lyot.report.page import _assigned
from lyot.report.provenance import calibration_table, changed_table, command_text, versions_text
from lyot.report.tables import exposures_table, times_text
from tests.run.exposures import write_exposure


@pytest.fixture
def given(tmp_path):
    """A calibrated exposure that says how it was calibrated, and one that does not."""
    told = {"CAL_VER": "1.20.2", "CRDS_CTX": "jwst_1464.pmap", "DATE": "2026-08-04T10:00:00", "EFFINTTM": 360.0}
    one = write_exposure(tmp_path / "jw01386008001_04101_00001_mirimage_calints.fits", "calints", **told)
    two = write_exposure(tmp_path / "jw01386007001_04101_00001_mirimage_calints.fits", "calints", IS_PSF=True)
    return [
        Assigned(read_exposure(one), Role.SCIENCE, roll_number=1),
        Assigned(read_exposure(two), Role.REFERENCE),
    ]


def test_given_calints_say_how_they_were_calibrated(given, finished_once):
    table = calibration_table(given)
    rows = [tuple(cell.text for cell in row) for row in table.rows]
    assert ("1.20.2", "jwst_1464.pmap", "2026-08-04", "1") in rows
    assert ("not stated", "not stated", "", "1") in rows
    records = Manifest(finished_once).records
    assert "in the table below" in versions_text([replace(records[-1], crds_context="none")], calibrated=True)
    assert "jwst_1.pmap" in versions_text([replace(records[-1], crds_context="jwst_1.pmap")], calibrated=False)
    assert calibration_table([]) is None


def test_exposure_times_are_shown(given):
    assert times_text(given) == "Exposure time: science 720 s, reference 1 s."
    table = exposures_table(given)
    assert "time [s]" in table.columns and table.rows[0][table.columns.index("time [s]")].text == "720"


def test_parameters_that_were_changed_are_listed_and_no_other(finished_once):
    table = changed_table(finished_once, Manifest(finished_once).records)
    found = {row[0].text: (row[1].text, row[2].text) for row in table.rows}
    assert found["contrast.separations"] == ("3", "20")
    assert found["run.stages"] == ('"3"', '"1-3"')
    assert not any(name.startswith("stage3.klip") for name in found)


def test_the_methods_paragraph_says_what_was_done_and_cites_it(finished_once):
    records = Manifest(finished_once).records
    methods = methods_of(finished_once, _assigned(finished_once, records))
    for text in (
        "STAR was observed with JWST/MIRI in F1550C with the four-quadrant phase mask",
        "at 2 roll angles",
        "The reference star REFERENCE was observed in 6 exposures",
        "from calibrated exposures with Lyot",
        "Karhunen-Loève modes (Soummer et al. 2012)",
        "In a second pass",
        "small-sample statistics (Mawet et al. 2014)",
    ):
        assert text in methods.text, text
    assert "posterior" not in methods.text and "injecting" not in methods.text  # neither was measured
    assert "[" not in methods.text
    cited = {key for group in re.findall(r"\\citep\{([^}]*)\}", methods.latex) for key in group.split(",")}
    assert cited == set(re.findall(r"@\w+\{(\w+),", methods.bibtex))
    assert "Soummer2012" in cited and "ForemanMackey2013" not in cited


def set_used(out, mode=None, **values):
    """Change what the products say of the subtraction."""
    for path in (out / "stage3").glob("*_psfsub.fits"):
        with fits.open(path, mode="update") as hdus:
            hdus[0].header["BKGTMPL"] = values.get("template", True)
            rows = {str(r["NAME"]): str(r["VALUE"]) for r in hdus["KLIPPARS"].data}
            rows |= {name: json.dumps(value) for name, value in values.items()}
            table = np.array(list(rows.items()), dtype=[("NAME", "S30"), ("VALUE", "S60")])
            hdus["KLIPPARS"] = fits.BinTableHDU(table, name="KLIPPARS")
    for path in (out / "stage3").glob("*_i2d.fits") if mode else ():
        fits.setval(path, "KLMODES", value=mode)


def text_of(out):
    return methods_of(out, _assigned(out, Manifest(out).records)).text


def test_the_methods_paragraph_says_which_annuli_and_backgrounds_were_used(finished):
    text = text_of(finished)  # nothing was set, and stage 2 was not run: defaults
    assert "separately in annuli with boundaries at 2.4 and 5 arcsec." in text
    assert "A constant and the pattern that a uniform background has behind the mask were fitted along" in text
    for path in (finished / "stage3").glob("*_crfints.fits"):
        with fits.open(path, mode="append") as hdus:
            hdus.append(fits.ImageHDU(np.ones((3, 3), np.float32), name="BACKGROUND"))
    assert "A constant and the mean background that was subtracted in stage 2 were fitted" in text_of(finished)
    set_used(finished, zone_edges=[1.8, 5.0], sectors=4, template=False)  # as chosen from the data
    text = text_of(finished)
    assert "annuli with boundaries at 1.8 and 5 arcsec and in 4 sectors of each annulus except the innermost" in text
    assert "A constant was fitted along with the star in each of these regions." in text
    set_used(finished, zone_edges=[], sectors=1, subtract_mean=False, template=False)
    text = text_of(finished)
    assert "annuli" not in text and "constant" not in text and "uniform" not in text


def test_one_mode_is_not_several(finished):
    set_used(finished, mode=1)
    assert "onto the first Karhunen-Loève mode (Soummer" in text_of(finished)
    set_used(finished, mode=2)
    assert "onto the first 2 Karhunen-Loève modes (Soummer" in text_of(finished)
    set_used(finished, mode=1, method="nmf")
    text = text_of(finished)
    assert "with 1 component (Ren" in text and "uniform background" not in text  # NMF fits no template


def test_bibtex_entries_are_whole():
    for citation in (*CITATIONS.values(), software("jwst", "3.0.0"), software("lyot", "0.1.0")):
        assert citation.bibtex.count("{") == citation.bibtex.count("}")
        needed = {"author", "title", "journal", "year", "volume", "pages"} if citation.kind == "article" else {
            "author", "title", "version"
        }  # fmt: skip
        assert needed <= set(citation.fields), citation.key
        assert all(citation.fields[name] for name in needed)
        assert citation.bibtex.isascii(), citation.key


def test_the_command_repeats_the_run(given, finished_once):
    command = command_text(finished_once, given)
    assert command.startswith(f"lyot run {given[0].exposure.path.parent} --config ")
    assert str(finished_once / "lyot.toml") in command


@pytest.mark.data
@pytest.mark.xdist_group("hd106906")
def test_the_report_of_hd_106906_says_what_was_given_and_what_was_not_used(hd106906_run):
    page = (hd106906_run / "report" / "index.html").read_text()
    assert "CRDS context: none" not in page
    assert "jwst_1464.pmap" in page and "1.20.2" in page
    flags = page.partition('id="flags"')[2].partition("</section>")[0]
    assert "3 background exposures are not used" in flags and "VAR_POISSON" in flags
    assert "Exposure time: science 360 s" in page
    assert len(page) < 15e6
