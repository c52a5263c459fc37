"""What needs a person's eye: collected from headers, tables, notes and logs."""

import json

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from bokeh.plotting import figure as bokeh_figure
from matplotlib.figure import Figure

from lyot.analysis.measurements import range_to_measure
from lyot.records.manifest import Manifest, Record, product_of
from lyot.report.flags import collect_flags
from lyot.report.marks import marked_sources, read_sources
from lyot.report.page import answer
from lyot.report.sections import mark_sources
from lyot.report.sky import Marked, distance_to_lines, mask_boundaries, regions_text
from lyot.report.tables import companions_table, sources_table
from lyot.report.viewer import _mark

ROLL = {"INSTRUME": "MIRI", "FILTER": "F1550C", "ROLL_REF": 108.171, "V3I_YANG": 4.83544897}


def psfsub(out, **more):
    (out / "stage3").mkdir(exist_ok=True)
    header = fits.Header({**ROLL, **more})
    fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(np.zeros((20, 20), np.float32), name="SCI")]).writeto(
        out / "stage3" / "jw1_psfsub.fits"
    )


def detections(out, angle):
    table = QTable({"separation": [1.6] * u.arcsec, "position_angle": [angle] * u.deg, "snr": [9.0]})
    (out / "measure").mkdir(exist_ok=True)
    table.write(out / "measure" / "detections.ecsv", format="ascii.ecsv")


@pytest.fixture
def out(tmp_path):
    Manifest(tmp_path).begin()
    return tmp_path


def texts(out):
    return [flag.text for flag in collect_flags(out, read_sources(out))]


def test_nothing_to_say(out):
    assert collect_flags(out, None) == []


def test_a_source_on_a_boundary_of_the_mask_is_named_and_one_between_is_not(out):
    psfsub(out)
    east, north = mask_boundaries(ROLL)[0]
    angle = float(np.degrees(np.arctan2(east[1], north[1])))
    detections(out, angle)
    assert any("Detection 1" in t and "mask boundary in roll 1" in t for t in texts(out))
    (out / "measure" / "detections.ecsv").unlink()
    detections(out, angle + 45)
    assert texts(out) == []


def test_peaks_that_are_no_point_sources_are_said(out):
    table = QTable({"separation": [1.6, 2.0] * u.arcsec, "position_angle": [30.0, 60.0] * u.deg, "snr": [9.0, 7.0],
                    "status": ["extended", "source"], "reason": ["part of a disk", ""]})  # fmt: skip
    (out / "measure").mkdir()
    table.write(out / "measure" / "detections.ecsv", format="ascii.ecsv")
    assert texts(out) == [
        '1 peak above the threshold was not classified as a point source: 1.600", PA 30.00 deg, S/N 9.0.'
    ]


def test_candidates_are_flagged(out):
    table = QTable({"separation": [1.6, 2.0] * u.arcsec, "position_angle": [30.0, 60.0] * u.deg, "snr": [9.0, 7.0],
                    "status": ["source", "candidate"], "reason": ["", ""], "false_alarm": [1e-9, 0.04],
                    "significance": [7.0, 4.6]})  # fmt: skip
    (out / "measure").mkdir()
    table.write(out / "measure" / "detections.ecsv", format="ascii.ecsv")
    assert texts(out) == ['Detection 2 (2.000", PA 60.00 deg, S/N 7.0) is a candidate: false-alarm probability 0.040.']
    headline, _ = answer(out, read_sources(out))
    assert headline.startswith("Brightest source: separation 1.600")
    shown = sources_table(read_sources(out))
    companions = QTable({"separation": [1.6, 2.01] * u.arcsec, "position_angle": [30.0, 60.1] * u.deg,
                         "flux": [3e-4, 2e-5], "flux_err": [2e-5, 5e-6]})  # fmt: skip
    companions.meta["fwhm_arcsec"] = 0.49
    companions.write(out / "measure" / "companions.ecsv", format="ascii.ecsv")
    fitted = companions_table(out)
    assert fitted is not None and fitted.text.endswith("C2 may be noise: a candidate.")
    assert shown is not None and shown.columns[-1] == "status" and shown.rows[1][-1].text == "candidate"
    marked = marked_sources(out, read_sources(out))
    assert [m.label for m in marked] == ["1", "2?", "C1", "C2?"]
    assert [m.name for m in marked] == ["1", "2", "C1", "C2"]  # as the tables call them


def test_candidates_are_drawn_dashed_with_a_question_mark(out):
    detected = QTable({"separation": [1.6, 2.0] * u.arcsec, "position_angle": [30.0, 60.0] * u.deg,
                       "status": ["source", "candidate"]})  # fmt: skip
    axes = Figure().subplots()
    mark_sources(axes, detected, 0.2)
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]
    assert [text.get_text() for text in axes.texts] == ["1", "2?"]
    marked = [Marked("1", "detection", 1.0, 2.0), Marked("2", "detection", 2.0, 1.0, unsure=True)]
    lines = [line for line in regions_text((150.0, -60.0), marked, 0.2).splitlines() if line.startswith("circle")]
    assert ["dash=1" in line for line in lines] == [False, True] and "text={2?}" in lines[1]
    plot = bokeh_figure()
    _mark(plot, marked, 3.0)
    circles = [r.glyph.line_dash for r in plot.renderers if hasattr(r.glyph, "radius")]
    names = [r.data_source.data["text"] for r in plot.renderers if not hasattr(r.glyph, "radius")]
    assert circles == ["solid", "dashed"] and names == [["1"], ["2?"]]


def test_references_of_which_nothing_was_used_are_named(out):
    (out / "stage3").mkdir()
    planes = np.zeros(3, [("EXPOSURE", "i4"), ("FILENAME", "S30")])
    planes["EXPOSURE"], planes["FILENAME"] = [0, 1, 1], [b"a_calints.fits", b"b_calints.fits", b"b_calints.fits"]
    ranks = np.zeros(3, [("KEPT", "?")])
    ranks["KEPT"] = [True, False, False]
    for name, extension, table in (("psfalign", "REFS", planes), ("psfsub", "REFRANK", ranks)):
        science = fits.ImageHDU(np.zeros((4, 4), np.float32), name="SCI")
        table_hdu = fits.BinTableHDU(table, name=extension)
        fits.HDUList([fits.PrimaryHDU(), science, table_hdu]).writeto(out / "stage3" / f"x_{name}.fits")
    assert texts(out) == ["1 of 2 reference exposures rejected: b."]


def test_boundaries_follow_roll_and_star():
    here = mask_boundaries(ROLL)
    assert len(here) == 2 and distance_to_lines(0.0, 0.0, here) == pytest.approx(0.0, abs=1e-9)
    moved = mask_boundaries({**ROLL, "STARDX": 100.0})  # the star off the mask's center along x
    assert distance_to_lines(0.0, 0.0, moved) == pytest.approx(0.1 * np.sin(np.radians(4.835)), abs=1e-3)
    turned = mask_boundaries({**ROLL, "ROLL_REF": ROLL["ROLL_REF"] + 90})
    assert distance_to_lines(float(turned[0][0][0]), float(turned[0][1][0]), here) < 1e-9  # quadrants are alike
    assert mask_boundaries({"INSTRUME": "NIRCAM", "FILTER": "F444W", "ROLL_REF": 0.0}) == []
    assert len(mask_boundaries({**ROLL, "FILTER": "F2300C"})) == 3


def test_the_star_s_position(out):
    psfsub(out, STARNOTE="no acquisition image", STARERRX=40.0)
    assert any("not determined with the configured method: no acquisition image" in t for t in texts(out))


def test_logs_notes_quality_and_limits(out):
    logs = out / "logs"
    logs.mkdir()
    line = (
        "2026-11-26 09:12:34,505 WARNING lyot.steps.sequence_io: jw{}_calints.fits: VAR_POISSON and other arrays "
        "have shape ({}, 224, 288), the data (1, 210, 215); these arrays are not used.\n"
    )
    other = "2026-11-26 09:12:34,505 WARNING stpipe: something of a library\n"
    (logs / "stage3_jw1.log").write_text(line.format(1, 3) + line.format(2, 2) + other)
    (out / "notes.json").write_text(json.dumps(["3 background exposures are not used, because of that."]))
    (out / "stage3").mkdir()
    quality = {"warnings": [{"code": "starless", "text": "jw3: integration 2 is left out."}],
               "exposures": [{"exposure": "jw4_calints", "role": "psf", "flagged": [0.02, 0.3], "used": [True, True],
                              "brightness": [None, None]}]}  # fmt: skip
    (out / "stage3" / "x_quality.json").write_text(json.dumps(quality))
    curve = QTable({"separation": [0.5, 1.0, 3.0] * u.arcsec, "flux_5sigma": [np.nan, 1e-4, 1e-5] * u.Jy})
    (out / "measure").mkdir()
    curve.write(out / "measure" / "contrast.ecsv", format="ascii.ecsv")
    found = texts(out)
    for text in (
        "2 files (jw1_calints.fits, jw2_calints.fits): VAR_POISSON and other arrays have shape (2 to 3, 224, 288)",
        "Input: 3 background exposures are not used",
        "integration 2 is left out",
        "jw4: up to 30 % of the pixels",
        "The flux of the star is unknown",
        'Limits end at 3.00"',
        'No limit at 0.50"',
    ):
        assert any(text in t for t in found), text
    assert not any("library" in t for t in found)
    assert all(flag.meaning and flag.anchor for flag in collect_flags(out, None))


def test_a_failed_measurement_comes_first(out):
    failed = Record(
        "measure/contrast", "measure", "contrast", "key", [], [], {}, {}, "", "2026-01-01T00:00:00", 0.0, 0.0,
        failure="no detection limit could be measured.",
    )  # fmt: skip
    Manifest(out).add(failed)
    (out / "notes.json").write_text(json.dumps(["one roll only."]))
    assert "no detection limit could be measured." in texts(out)[0]


@pytest.mark.parametrize("section", ["contrast", "maps"])
def test_a_source_outside_of_what_is_measured_is_flagged(out, section, caplog):
    range_to_measure(5.0, 5.0, [(4.0, -5.7, 1e-4)], f"{section}.outer_radius")
    (out / "logs").mkdir()
    (out / "logs" / "measure.log").write_text(f"2026-01-01 00:00:00 WARNING lyot.analysis: {caplog.messages[0]}\n")
    (flag,) = collect_flags(out, None)
    assert f"outside {section}.outer_radius, 5.00 arcsec" in flag.text and flag.anchor == section


def test_regions_name_what_was_found():
    marked = [Marked("1", "detection", -1.0, 0.5), Marked("C1", "companion", -1.0, 0.5), Marked("x", "rejected", 2, 2)]
    text = regions_text((150.0, -60.0), marked, 0.2)
    circles = [line for line in text.splitlines() if line.startswith("circle")]
    assert len(circles) == 2 and "text={1}" in circles[0] and "text={C1}" in circles[1]
    ra, dec = (float(v) for v in circles[0][7:].split(",")[:2])
    # written with eight decimals of a degree; the offsets are along great circles, the difference is flat
    assert (ra - 150) * np.cos(np.radians(60)) * 3600 == pytest.approx(-1.0, abs=1e-3)
    assert (dec + 60) * 3600 == pytest.approx(0.5, abs=1e-3)


def test_products_that_are_gone_or_cut_are_named(out):
    (out / "stage3").mkdir()
    products = []
    for name in ("a_i2d.fits", "a_klcube.fits", "a_psfsub.json"):
        path = out / "stage3" / name
        path.write_bytes(b"0" * 100)
        products.append(product_of(path, out))
    Manifest(out).add(Record("stage3/a", "stage3", "a", "key", [], products, {}, {}, "", "2026-01-01", 1.0, 1.0))
    assert not texts(out)
    (out / "stage3" / "a_klcube.fits").unlink()
    (out / "stage3" / "a_i2d.fits").write_bytes(b"0" * 99)
    assert texts(out) == [
        "1 product is missing: stage3/a_klcube.fits.",
        "1 product is damaged: stage3/a_i2d.fits is truncated (99 bytes, expected 100 bytes).",
    ]
